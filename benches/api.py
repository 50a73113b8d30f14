#!/usr/bin/env python3
"""Times of the API and the web UI on a large state: api.py --bin DIRECTORY --state DIRECTORY [--runs N] [--files N] [--rounds N].

Seeds the state if it is not there, starts a scheduler on it, and asks for every list, number, filter and page. Prints for each the
median, 95th percentile and largest time in ms to the first byte, and its size; exits 1 if a budget is exceeded. With --load each
second so many runs are submitted meanwhile, of a file of one line each, which an executor converts as fast as it can. With --tabs the
processor time of the scheduler is measured while so many tabs show the overview, as its script does. Standard library of Python alone.
"""

import argparse
import contextlib
import gzip
import http.client
import json
import multiprocessing
import os
import pathlib
import re
import sys
import threading
import time
import urllib.parse

from seed_state import TOKEN, Scheduler, executor, seed

BUDGET_MS = 50
PAGE_BYTES, ASSET_BYTES = 150_000, 30_000
TABS_PERCENT = 2
SEEN_SECONDS = 2
# Clients that submit at the same time: each waits for what it wrote to be on the disk.
CLIENTS = 32


class Client:
    def __init__(self, port, encoding="identity"):
        self.encoding = encoding
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, path, method="GET", body=None):
        """Status, body, and seconds to the first byte."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": self.encoding, **({"Content-Type": "application/json"} if body else {})}
        began = time.perf_counter()
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        first = time.perf_counter() - began
        return answer.status, answer.read(), first

    def json(self, path):
        status, body, _ = self.ask(path)
        if status != 200:
            raise SystemExit(f"{path}: {status} {body[:300]}")
        return json.loads(body)


def deep(client, path, pages=20):
    """Address of a page that many come before."""
    cursor = ""
    for _ in range(pages):
        sign = "&" if "?" in path else "?"
        cursor = client.json(path + (f"{sign}cursor={urllib.parse.quote(cursor)}" if cursor else ""))["next_cursor"] or cursor
    return f"{path}{'&' if '?' in path else '?'}cursor={urllib.parse.quote(cursor)}"


def questions(client):
    """Names and addresses of everything that is asked for."""
    quote = urllib.parse.quote

    def one(state):
        return client.json(f"/api/v1/runs?state={state}&limit=1")["items"][0]

    done, failed, queued = one("completed"), one("failed"), one("queued")

    def file_of(state):
        return quote(client.json(f"/api/v1/files?state={state}&limit=1")["items"][0]["uri"], "")

    dates = [each["date"] for each in client.json("/api/v1/dates")["items"]]
    today, other = done["date"], dates[len(dates) // 2]
    kept = client.json(f"/api/v1/runs/{done['manifest_id']}/files?limit=1")["items"][0]["uri"]
    place = quote(kept.rsplit("/", 2)[0] + "/" + other + "/", "")
    middle = f"{other}T00:00:00Z"
    run = "/api/v1/runs"
    found = {
        "stats": "/api/v1/stats",
        "attention": "/api/v1/attention",
        "schedulers": "/api/v1/schedulers",
        "executors": "/api/v1/executors",
        "config": "/api/v1/config",
        "openapi": "/api/v1/openapi.json",
        "metrics": "/metrics",
        "readyz": "/readyz",
        "leaderz": "/leaderz",
        "runs": run,
        "runs limit=1000": f"{run}?limit=1000",
        "runs deep": deep(client, f"{run}?limit=1000"),
        "runs since": f"{run}?since={quote(client.json(run)['items'][50]['created_at'])}",
        "runs until middle": f"{run}?until={middle}",
        "runs since+until": f"{run}?since={other}T00:00:00Z&until={other}T06:00:00Z",
        "runs prefix": f"{run}?prefix={other}",
        "runs prefix nothing": f"{run}?prefix=zzz",
        "runs date": f"{run}?date={other}",
        "runs today deep": deep(client, f"{run}?date={today}&limit=1000", 5),
        "runs two states": f"{run}?state=failed,cancelled",
        "runs two classes": f"{run}?failure_class=storage,timeout",
        "runs state+date": f"{run}?state=failed&date={other}",
        "runs state+class": f"{run}?state=failed&failure_class=timeout",
        "runs state+prefix": f"{run}?state=completed&prefix={other}",
        "runs class+date": f"{run}?failure_class=input&date={other}",
        "run": f"{run}/{done['manifest_id']}",
        "run failed": f"{run}/{failed['manifest_id']}",
        "run files": f"{run}/{done['manifest_id']}/files",
        "run ledger": f"{run}/{done['manifest_id']}/ledger",
        "run cost": f"{run}/{done['manifest_id']}/cost",
        "manifest": f"/api/v1/manifests/{done['manifest_id']}",
        "files": "/api/v1/files",
        "files limit=1000": "/api/v1/files?limit=1000",
        "files deep": deep(client, "/api/v1/files?limit=1000"),
        "files date": f"/api/v1/files?date={other}",
        "files today deep": deep(client, f"/api/v1/files?date={today}&limit=1000"),
        "files state+date": f"/api/v1/files?state=completed&date={other}",
        "files rare state+date": f"/api/v1/files?state=failed&date={today}",
        "files prefix": f"/api/v1/files?prefix={place}",
        "files prefix nothing": "/api/v1/files?prefix=s3%3A%2F%2Fnowhere%2F",
        "files state+prefix": f"/api/v1/files?state=completed&prefix={place}",
        "files reason": "/api/v1/files?reason=too-small",
        "files reason nothing": "/api/v1/files?reason=nothing",
        "files state+reason": "/api/v1/files?state=quarantined&reason=too-small",
        "files two states": "/api/v1/files?state=failed,quarantined",
        "files since": f"/api/v1/files?since={middle}",
        "files until": f"/api/v1/files?until={middle}",
        "files state+since": f"/api/v1/files?state=completed&since={middle}",
        "files since future": "/api/v1/files?since=2999-01-01T00:00:00Z",
        "quarantine": "/api/v1/quarantine",
        "quarantine date": f"/api/v1/quarantine?date={today}",
        "quarantine deep": deep(client, "/api/v1/quarantine", 10),
        "dates": "/api/v1/dates",
        "dates from+to": f"/api/v1/dates?from={other}&to={today}",
        "date": f"/api/v1/dates/{today}",
        "date why today": f"/api/v1/dates/{today}/why",
        "date why": f"/api/v1/dates/{other}/why",
        "cost": "/api/v1/cost",
        "cost from": f"/api/v1/cost?from={other}",
        "audit": "/api/v1/audit",
        "audit limit=1000": "/api/v1/audit?limit=1000",
        "audit subject": "/api/v1/audit?subject=run-7",
        "audit subject nothing": "/api/v1/audit?subject=nothing",
        "run why unknown": f"{run}/{other}-batch-x/why",
        "executor why": "/api/v1/executors/nobody/why",
        "state get-stats": "/api/v1/state/get-stats",
        "timeline run": f"/api/v1/state/get-processing-timeline?run={done['manifest_id']}",
        "timeline file": f"/api/v1/state/get-processing-timeline?uri={quote(kept, '')}",
        "query-by-status": "/api/v1/state/query-by-status?state=failed",
        "query-by-status prefix": f"/api/v1/state/query-by-status?prefix={place}&limit=1000",
        "query-by-status manifest": f"/api/v1/state/query-by-status?manifest={done['manifest_id']}",
    }
    for state in ["queued", "planning", "running", "committing", "completed", "failed", "cancelled"]:
        found[f"runs {state}"] = f"{run}?state={state}"
    for kind in ["input", "storage", "bug"]:
        found[f"runs {kind}"] = f"{run}?failure_class={kind}"
    for kind, each in [("completed", done), ("failed", failed), ("queued", queued)]:
        found[f"run why {kind}"] = f"{run}/{each['manifest_id']}/why"
    for state in ["pending", "processing", "completed", "failed", "quarantined"]:
        uri = file_of(state)
        found |= {
            f"files {state}": f"/api/v1/files?state={state}",
            f"file {state}": f"/api/v1/files/by-uri?uri={uri}",
            f"file why {state}": f"/api/v1/files/why?uri={uri}",
            f"get-file-state {state}": f"/api/v1/state/get-file-state?uri={uri}",
        }
    for name in ["throughput-in", "backlog-bytes"]:
        found |= {f"series {name}": f"/api/v1/series?name={name}", f"series {name} long": f"/api/v1/series?name={name}&from={dates[-1]}T00:00:00Z"}
    found |= {"scan find-orphans": "/api/v1/state/find-orphans", "scan validate-consistency": "/api/v1/state/validate-consistency"}
    found |= {
        "/ui/": "/ui/",
        "/ui/runs": "/ui/runs",
        "/ui/runs failed": "/ui/runs?state=failed",
        "/ui/runs two states": "/ui/runs?state=queued,running",
        "/ui/runs q": f"/ui/runs?q={other}",
        "/ui/runs date": f"/ui/runs?date={today}",
        "/ui/files": "/ui/files",
        "/ui/files prefix": f"/ui/files?prefix={place}",
        "/ui/files failed": "/ui/files?state=failed",
        "/ui/file": f"/ui/file?uri={file_of('failed')}",
        "/ui/file unknown": "/ui/file?uri=" + quote(kept + "x", ""),
        "/ui/quarantine": "/ui/quarantine",
        "/ui/dates": "/ui/dates",
        "/ui/dates/today": f"/ui/dates/{today}",
        "/ui/cluster": "/ui/cluster",
        "/ui/cost": "/ui/cost",
        "/ui/activity": "/ui/activity",
        "/ui/help": "/ui/help",
        "/ui/run": f"/ui/runs/{done['manifest_id']}",
        "/ui/run failed": f"/ui/runs/{failed['manifest_id']}",
    }
    tabs = re.findall(rf"/ui/runs/{re.escape(done['manifest_id'])}/([a-z-]+)", client.ask(found["/ui/run"])[1].decode())
    return found | {f"/ui/run/{tab}": f"/ui/runs/{done['manifest_id']}/{tab}" for tab in dict.fromkeys(tabs)}


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def measure(client, asked, rounds, skip):
    """Whether all keep their budgets. The rounds are interleaved: no question finds what it asked for a moment ago in a cache of its own."""
    times: dict[str, list[float]] = {name: [] for name in asked}
    last = {}
    for _ in range(rounds):
        for name, path in asked.items():
            status, body, first = client.ask(path)
            times[name].append(first * 1000)
            last[name] = status, len(body)
    over = []
    print(f"{'question':32} {'p50':>7} {'p95':>7} {'max':>7} {'kB':>7}  status")
    for name, taken in times.items():
        status, size = last[name]
        p95 = percentile(taken, 0.95)
        is_slow = p95 > BUDGET_MS and not (skip and re.search(skip, name))
        is_large = name.startswith("/ui") and size > PAGE_BYTES
        remark = "  SLOW" * is_slow + "  LARGE" * is_large
        print(f"{name:32} {percentile(taken, 0.5):7.1f} {p95:7.1f} {max(taken):7.1f} {size / 1000:7.1f}  {status}{remark}")
        over += [name] * (is_slow or is_large)
    return over


def assets(client):
    page = client.ask("/ui/")[1].decode()
    found = set(re.findall(r'(?:src|href)="(/ui/assets/[^"]+\.(?:js|css))"', page))
    total = sum(len(gzip.compress(client.ask(path)[1])) for path in found)
    print(f"script and style: {len(found)} files, {total / 1000:.1f} kB gzipped, at most {ASSET_BYTES / 1000:.0f}")
    return ["assets"] * (total > ASSET_BYTES)


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return {name: int(kilobytes) / 1000 for name, kilobytes in re.findall(r"(VmRSS|VmHWM):\s+(\d+)", status)}


def events(port, heard, stop):
    """Reads the stream that pages follow, and tells of each event."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    while not stop.is_set():
        line = answer.readline()
        if not line:
            return
        if line.startswith(b"data:"):
            heard(line)


def tab(port, path, stop):
    """A tab as its script is: asks for the page again after an event, at most once a second, and each 15 seconds."""
    client, changed = Client(port, "gzip"), threading.Event()
    threading.Thread(target=events, args=(port, lambda _: changed.set(), stop), daemon=True).start()
    while not stop.is_set():
        client.ask(path)
        time.sleep(1)
        changed.wait(14)
        changed.clear()


def manifest(directory, index):
    """A manifest of a file of one line, which is made."""
    place = directory / "in" / "load" / f"{time.time_ns()}-{index}.ndjson"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"id": index}) + "\n")
    day = time.strftime("%Y-%m-%d", time.gmtime())
    uri = f"file://{place}"
    return json.dumps({"fileLocations": [{"URIPrefixes": [uri]}], "metadata": {"date_prefix": day, "manifest_id": f"{day}-load-{place.stem}", "file_count": 1}})


def submit(port, directory, rate, stop, sent, first):
    """Submits every so many-th manifest, as one of several clients, at its share of the rate."""
    client, began = Client(port), time.monotonic()
    for index in range(first, 10**8, CLIENTS):
        status, body, _ = client.ask("/api/v1/manifests", "POST", manifest(directory, index))
        if status not in (200, 202):
            print(f"a submission was refused: {status} {body[:200]!r}", file=sys.stderr)
            return
        with sent.get_lock():
            sent.value += 1
        if stop.wait(max(0.0, began + index / rate - time.monotonic())):
            return


def submit_all(port, directory, rate, stop, sent):
    """The clients, in a process of their own: what they compute holds up no question."""
    clients = [threading.Thread(target=submit, args=(port, directory, rate, stop, sent, first)) for first in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


class Load:
    """Submissions, so many a second, and an executor, until the block ends."""

    def __init__(self, scheduler, binary, rate):
        self.scheduler, self.binary, self.rate = scheduler, binary, rate
        self.stop, self.sent = multiprocessing.Event(), multiprocessing.Value("Q", 0)

    def __enter__(self):
        self.works = executor(self.binary, self.scheduler, 1) if self.binary else contextlib.nullcontext()
        self.works.__enter__()
        given = (self.scheduler.port, self.scheduler.directory, self.rate, self.stop, self.sent)
        self.process = multiprocessing.Process(target=submit_all, args=given)
        self.began = time.monotonic()
        self.process.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.process.join()
        self.seconds = time.monotonic() - self.began
        self.works.__exit__(None, None, None)


def watched(scheduler, count, seconds):
    """Share of a core that tabs cost, and how soon a change is told."""
    stop, pid = threading.Event(), scheduler.process.pid

    def percent():
        before = processor_seconds(pid)
        time.sleep(seconds)
        return 100 * (processor_seconds(pid) - before) / seconds

    alone = percent()
    for _ in range(count):
        threading.Thread(target=tab, args=(scheduler.port, "/ui/", stop), daemon=True).start()
    time.sleep(3)
    idle = percent()
    told = threading.Event()
    threading.Thread(target=events, args=(scheduler.port, lambda _: told.set(), stop), daemon=True).start()
    time.sleep(1)
    told.clear()
    client, document = Client(scheduler.port), manifest(scheduler.directory, 10**9)
    began = time.monotonic()
    client.ask("/api/v1/manifests", "POST", document)
    told.wait(10)
    shown = json.loads(document)["metadata"]["manifest_id"].encode() in client.ask("/ui/runs")[1]
    seen = time.monotonic() - began
    stop.set()
    print(f"{count} tabs for {seconds} s: {idle - alone:.2f} % of a core more than the {alone:.2f} % without; at most {TABS_PERCENT} %")
    print(f"a change was told, and shown by the page, after {seen * 1000:.0f} ms" if shown else "a change was not shown")
    return ["tabs"] * (idle - alone > TABS_PERCENT) + ["change"] * (not shown or seen > SEEN_SECONDS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="directory of millwork-scheduler and millwork-executor")
    parser.add_argument("--state", type=pathlib.Path, required=True, help="directory of the state; seeded if there is none")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="", help="only questions whose names match this")
    parser.add_argument("--skip", default="^scan ", help="questions that have no budget: those that look at everything, unless told")
    parser.add_argument("--load", type=float, default=0, help="runs that are submitted a second")
    parser.add_argument("--no-executor", action="store_true", help="nothing converts what is submitted")
    parser.add_argument("--tabs", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=60, help="time for which tabs are watched")
    given = parser.parse_args()
    binary = str(given.bin / "millwork-scheduler")
    if not (given.state / "state.db").exists():
        with Scheduler(binary, given.state):
            pass
        seed(given.state / "state.db", given.runs, given.files, False)
    with Scheduler(binary, given.state) as scheduler:
        client = Client(scheduler.port)
        while not client.json("/api/v1/stats")["leads"] or not client.json("/api/v1/stats")["files_counted_at"]:
            time.sleep(0.1)
        print("memory (MB):", memory_mb(scheduler.process.pid))
        asked = {name: path for name, path in questions(client).items() if re.search(given.only, name)}

        def measure_now():
            return measure(client, asked, given.rounds, given.skip)

        over = assets(client)
        if given.load:
            with Load(scheduler, None if given.no_executor else str(given.bin / "millwork-executor"), given.load) as load:
                over += measure_now()
            print(f"submitted {load.sent.value / load.seconds:.0f} runs a second")
        else:
            over += measure_now()
        if given.tabs:
            over += watched(scheduler, given.tabs, given.seconds)
        print("memory (MB):", memory_mb(scheduler.process.pid))
    print(f"over budget: {', '.join(over) or 'nothing'}")
    return bool(over)


if __name__ == "__main__":
    sys.exit(main())
