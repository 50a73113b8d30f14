"""A real Prometheus reads real services: its numbers are those of the API, its rules work, and the dashboard asks for what is there."""

import json
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
import yaml
from test_monitoring import FOREIGN, MONITORS, dashboard_expressions, documented, names_in

import pipeline as pipelines
from pipeline import BIN, Services, free_port

FILES, LINES = 12, 3000
# Shown where there are certificates, or once a manifest is refused.
SELDOM = {"millwork_tls_certificate_expiry_timestamp_seconds", "millwork_manifests_refused_total"}


class Scraped(Services):
    """The services, and a Prometheus that asks them each second, the scheduler with a token."""

    def __init__(self, folder):
        super().__init__(folder)
        made = subprocess.run(
            [BIN / "millwork", "token", "new", "--id", "check", "--role", "admin", "--file", folder / "tokens", "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        self.token = json.loads(made.stdout)["token"]

    def environment(self, role):
        more = {"scheduler": {"HTTP_TOKEN_FILE": str(self.folder / "tokens")}, "operator": {"MILLWORK_TOKEN": getattr(self, "token", "")}}
        return {**super().environment(role), **more.get(role, {})}

    def start_prometheus(self):
        self.web = free_port()
        rules = yaml.safe_load((MONITORS / "rules.yaml").read_text())["spec"]
        (self.folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        jobs: dict[str, dict] = {}
        for name, port in self.ports.items():
            job = name.partition("-")[0]
            made = jobs.setdefault(job, {"job_name": job, "static_configs": []})
            made["static_configs"].append({"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "m", "pod": name}})
        jobs["scheduler"]["authorization"] = {"credentials": self.token}
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": ["rules.yaml"], "scrape_configs": list(jobs.values())}
        (self.folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.start(
            "prometheus",
            [
                "prometheus",
                "--config.file",
                self.folder / "prometheus.yaml",
                "--storage.tsdb.path",
                self.folder / "tsdb",
                "--web.listen-address",
                f"127.0.0.1:{self.web}",
            ],
            self.environment("none"),
        )

    def get(self, url, token=None):
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def prometheus(self, path, **parameters):
        answer = json.loads(self.get(f"http://127.0.0.1:{self.web}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def value(self, expression):
        """The one number that an expression is; none, if there is none yet."""
        try:
            found = self.prometheus("query", query=expression)["result"]
        except OSError:
            return None
        return float(found[0]["value"][1]) if found else None

    def api(self, path):
        """An answer of the scheduler that leads."""
        return json.loads(self.get(f"http://127.0.0.1:{self.ports['scheduler-0']}/api/v1/{path}", self.token))


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    made = Scraped(tmp_path_factory.mktemp("scraped") / "services")
    try:
        for name in ("scheduler-0", "scheduler-1", "executor-0", "executor-1", "builder-0"):
            made.start_one(name)
        made.start_prometheus()
        # Before anything is counted: what has grown before the first look is no growth.
        made.until("Prometheus has read all services", lambda: made.value("sum(up)") == 5)
        for number in range(FILES):
            made.put(f"in/2026-02-0{1 + number % 2}-{number:03}.ndjson", pipelines.lines(number, LINES, wrong=1))
        made.put("in/no-date.ndjson", pipelines.lines(1, 1))
        made.until("all files are converted", lambda: made.done() == FILES, 120)
        made.until("Prometheus has read all of it", lambda: made.value("sum(millwork_rows_total)") == FILES * LINES, 60)
        yield made
    finally:
        made.close()


def test_every_service_is_read_and_its_metrics_have_good_names(scraped):
    assert len(scraped.ports) == 5
    for expression in ("sum(up)", "count(up)"):
        scraped.until(f"{expression} is 5", lambda expression=expression: scraped.value(expression) == 5)
    for name, port in scraped.ports.items():
        text = scraped.get(f"http://127.0.0.1:{port}/metrics", scraped.token)
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0, f"{name}: {checked.stdout}{checked.stderr}"


def test_prometheus_and_the_api_agree(scraped):
    runs = scraped.api("runs?limit=1000")["items"]
    assert {run["state"] for run in runs} == {"completed"}
    for expression, expected in {
        'sum(millwork_runs_ended_total{state="completed"})': len(runs),
        "sum(millwork_rejected_lines_total)": FILES,
        "sum(millwork_manifests_total)": len(runs),
        'sum(millwork_files_total{outcome="quarantined"})': 1,
        "max(millwork_executors)": len(scraped.api("executors")["items"]),
        "sum(millwork_connected)": 2,
        "sum(millwork_leader)": 1,
        "max(millwork_backlog_bytes)": 0,
        "sum(millwork_ledger_mismatch_total)": 0,
    }.items():
        scraped.until(f"{expression} is {expected}", lambda expression=expression, expected=expected: scraped.value(expression) == expected, 30)


def test_every_rule_works_and_no_page_is_due(scraped):
    def evaluated():
        rules = [rule for group in scraped.prometheus("rules")["groups"] for rule in group["rules"]]
        return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None

    scraped.until("all rules are evaluated", evaluated, 90)
    assert {rule["health"] for rule in evaluated()} == {"ok"}, [rule for rule in evaluated() if rule["health"] != "ok"]
    firing = {alert["labels"]["alertname"] for alert in scraped.prometheus("alerts")["alerts"] if alert["state"] == "firing"}
    assert not firing


def test_the_dashboard_asks_for_what_is_there(scraped):
    for _, expression in dashboard_expressions():
        scraped.prometheus("query", query=expression)
    wanted = {name: title for title, expression in dashboard_expressions() for name in names_in(expression)} | dict.fromkeys(documented(), "docs/metrics.md")

    def missing():
        there = set(scraped.prometheus("label/__name__/values"))
        return {name: title for name, title in wanted.items() if not {name, f"{name}_bucket"} & there and name not in FOREIGN | SELDOM}

    # Rates are recorded once there are two samples.
    end = time.monotonic() + 60
    while missing() and time.monotonic() < end:
        time.sleep(0.5)
    assert not missing(), missing()
