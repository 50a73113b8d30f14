"""Every example in the help of every command, run as a stranger types it: it ends as it says, and what it prints as JSON is of its schema.

The environment names servers, a scheduler with work done, and the programs (PATH). The folder it starts in is scratch.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import jsonschema_rs

# Subjects of examples, as they are called here.
HERE = [
    ("dynamodb:files", "dynamodb:acme"),
    ("sqlite:/data/state.db", "sqlite:out/_millwork/state.db"),
    ("/data/in", "./in"),
    ("/data/out", "./out"),
    ("http://10.0.0.7:8080", os.environ["MILLWORK_SCHEDULER"]),
    ("http://127.0.0.1:8080", os.environ["MILLWORK_SCHEDULER"]),
    ("/mnt/scratch", "./scratch"),
    ("/etc/millwork/tls.crt", "./tls.crt"),
]
PLAN = "7f3a02c41b9d"
RUN = "2025-12-23-batch-0407-20251223-101500"
# Commands that go on until they are told to end, and one that takes minutes.
ENDLESS = ("millwork up", "millwork runs watch", "millwork load-test --phases 10000")
# What is refused of what is there: its rows are in an output, and it is converted.
REFUSED = ("runs cancel 2", "runs retry 2", "runs force 2", "runs prioritise 2", "quarantine redrive s3:", "state update-state", "state batch-update")
# Another process has the state.
IN_USE = "millwork run --input s3://"
# Longest time for an example, in seconds.
PATIENCE = 90
# Schemas of what commands print, by the beginning of their words. A list of names says what is in a list of that name.
SCHEMAS: dict[str, str | dict[str, str]] = {
    "run": "Converted",
    "submit": {"runs": "Run"},
    "runs list": {"runs": "Run"},
    "runs put-back": "PutBack",
    "runs show": "RunDetail",
    "runs": "Plan",
    "files list": {"files": "File"},
    "files show": "FileDetail",
    "quarantine list": {"files": "File"},
    "quarantine redrive": "Plan",
    "dates list": {"items": "DateNumbers"},
    "dates recount": "Plan",
    "dates cut": {},
    "dates": "DateNumbers",
    "cost --by": "Costs",
    "cost": "RunCost",
    "plans": "Plan",
    "audit list": {"notes": "AuditEntry"},
    "status": "Stats",
    "cluster": "Cluster",
    "rejected": "RejectedLines",
    "why": "Diagnosis",
    "doctor": "Examination",
    "state get-file-state": "FileReport",
    "state query-by-status": {"files": "File"},
    "state get-stats": "FileStats",
    "state get-processing-timeline": "Story",
    "state find-orphans": "Orphans",
    "state validate-consistency": "Consistency",
    "state": "Applied",
    "config show": {"items": "Setting"},
    "top": {"runs": "Run", "executors": "Executor", "dates": "DateNumbers"},
}
DOCUMENT = json.loads((pathlib.Path(__file__).parents[2] / "docs/openapi.json").read_text())


def helps(path):
    """The words of each command below, with its help."""
    text = subprocess.run([*path, "--help"], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    yield path, text
    commands = re.search(r"^Commands:\n(.*?)(?=^\S|\Z)", text, re.M | re.S)
    for name in re.findall(r"^  ([a-z-]+)(?:\s|$)", commands.group(1) if commands else "", re.M):
        if name != "help":
            yield from helps([*path, name])


def examples(text):
    below = text.partition("Examples:\n")[2].split("\n\n")[0]
    return [line.strip() for line in below.splitlines() if line.strip()]


def run(line, seconds=PATIENCE):
    """Exit code, stdout and stderr of a line of a shell; it is told to end after a time."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(["bash", "-c", line], text=True, start_new_session=True, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def plan():
    """A fresh plan, since one is applied once; made when the run has ended that it is about."""
    until = time.monotonic() + PATIENCE
    while True:
        code, out, err = run(f"millwork runs force {RUN} --dry-run --json")
        if code == 3:
            return json.loads(out)["id"]
        assert time.monotonic() < until, err
        time.sleep(0.2)


def check_schema(words, document):
    begins = [name for name in SCHEMAS if " ".join(words).startswith(name)]
    if not begins:
        return
    wanted = SCHEMAS[max(begins, key=len)]
    for name, value in [(wanted, [document])] if isinstance(wanted, str) else [(of, document[key]) for key, of in wanted.items()]:
        schema = {"components": DOCUMENT["components"], "$ref": f"#/components/schemas/{name}"}
        validator = jsonschema_rs.validator_for(schema)
        for one in value:
            errors = [error.message for error in validator.iter_errors(one)]
            assert not errors, f"{words}: no {name}: {errors}\n{json.dumps(one)[:2000]}"


def is_right(line, code):
    if line.startswith(ENDLESS):
        # Ended by a signal, in order or as such.
        return code in (0, 130, -signal.SIGINT)
    if any(part in line for part in REFUSED):
        return code in (0, 1, 3)
    return code == 1 if line.startswith(IN_USE) else code in (0, 3)


def check(path, line):
    """Runs one example, and the same with --json where the command has that."""
    told = line
    for name, here in HERE:
        told = told.replace(name, here)
    told = told.replace(PLAN, plan()) if PLAN in told else told
    code, out, err = run(told, 3 if line.startswith(ENDLESS) else PATIENCE)
    assert is_right(line, code), f"{line}: exit code {code}\n{out}{err}"
    if "--json" in line.split("|")[0] and "|" not in line and not line.startswith(ENDLESS) and not line.startswith(IN_USE):
        check_schema(told.split()[1:], json.loads(out))


def main():
    for folder in ("scratch", "home/.zfunc", "home/.local/share/man/man1", "home/.local/share/bash-completion/completions"):
        pathlib.Path(folder).mkdir(parents=True)
    os.environ["HOME"] = str(pathlib.Path("home").absolute())
    seen = set()
    for path, text in helps(["millwork"]):
        for line in examples(text):
            assert line.startswith("millwork "), f"{path}: not a line of its own: {line}"
            needs = "jq" if "| jq" in line else "man" if "| man" in line else "bash"
            if line in seen or not shutil.which(needs):
                continue
            seen.add(line)
            check(path, line)
            has_json = "--json" in text and "--json" not in line and not re.search(r"[|<>#]", line) and not line.startswith(ENDLESS)
            if has_json and not line.startswith(("millwork generate", "millwork redrive", "millwork run ")):
                check(path, line.replace(" -- ", " --json -- ") if " -- " in line else f"{line} --json")
    print(len(seen), "examples")
    return 0 if len(seen) > 90 else 1


if __name__ == "__main__":
    sys.exit(main())
