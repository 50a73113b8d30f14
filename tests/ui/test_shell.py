"""The command line as a shell has it: codes, pipes, colours, completions, the manual, and a load test that is led astray."""

import json
import os
import re
import shutil
import subprocess

import pytest
from test_actions import fail_one

from conftest import BIN, ROOT


@pytest.fixture(scope="module")
def ask(up):
    """Runs a command against the scheduler that runs."""

    def run(*words, **environment):
        known = {**os.environ, "MILLWORK_SCHEDULER": up.base, "MILLWORK_TOKEN": up.token(), **environment}
        return subprocess.run([BIN, *words], capture_output=True, text=True, env=known, timeout=60, stdin=subprocess.DEVNULL)

    return run


def test_each_exit_code_is_met_as_the_table_says(ask, up):
    run = fail_one(up, "codes")
    shown = ask("runs", "retry", run, "--json")
    plan = json.loads(shown.stdout)["id"]
    met = {
        3: shown,
        0: ask("plans", "apply", plan, "--yes"),
        6: ask("plans", "apply", plan, "--yes"),
        1: ask("runs", "show", "no-such-run"),
        2: ask("runs", "list", "--state", "sleeping"),
        4: ask("runs", "list", MILLWORK_TOKEN="wrong"),
        5: ask("runs", "list", MILLWORK_SCHEDULER="http://127.0.0.1:1"),
    }
    assert {code: done.returncode for code, done in met.items()} == {code: code for code in met}
    assert all(met[code].stderr.startswith(("millwork: ", "error: ")) and not met[code].stdout for code in (1, 2, 4, 5)), met
    table = re.findall(r"^ +(\d+)  (.+)$", ask("help", "exit-codes").stdout, re.M)
    assert {int(code) for code, _ in table} == {*met, 130, 141}
    text = (ROOT / "docs/commands.md").read_text()
    assert all(f"| {code} | {meaning} |" in text for code, meaning in table)


def test_a_reader_that_goes_ends_a_command_quietly(up):
    environment = {**os.environ, "MILLWORK_SCHEDULER": up.base, "MILLWORK_TOKEN": up.token()}
    for words in ["runs list", "files list --json", "completions bash", "config reference", "man"]:
        reading, writing = os.pipe()
        os.close(reading)
        process = subprocess.Popen([BIN, *words.split()], stdout=writing, stderr=subprocess.PIPE, text=True, env=environment)
        os.close(writing)
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait(30) == 141 and not told, (words, told)


def test_documents_are_never_coloured_and_tables_only_on_a_terminal(ask):
    for environment in [{}, {"CLICOLOR_FORCE": "1"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}]:
        for words in [["runs", "list"], ["runs", "list", "--json"], ["status"], ["doctor"], ["runs", "show", "no-such-run"], ["--help"]]:
            done = ask(*words, **environment)
            is_document = "--json" in words
            assert not is_document or json.loads(done.stdout)
            if is_document or "CLICOLOR_FORCE" not in environment:
                assert "\x1b" not in done.stdout + done.stderr, (words, environment)


def test_completions_load_and_the_manual_is_whole(ask, tmp_path):
    script = "source <(millwork completions bash); COMP_WORDS=(millwork ru) COMP_CWORD=1; _millwork millwork ru millwork; echo ${COMPREPLY[*]}"
    path = f"{BIN.parent}:{os.environ['PATH']}"
    loaded = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=30, env={**os.environ, "PATH": path})
    assert loaded.returncode == 0 and "runs" in loaded.stdout.split() and not loaded.stderr, loaded.stderr
    # As their users have them: a key pressed in a terminal, and a script that is read.
    zsh = r"""
        mkdir $HOME/f && millwork completions zsh > $HOME/f/_millwork && zmodload zsh/zpty && zpty -b z zsh --no-rcs -i
        zpty -w z 'PS1=; fpath=($HOME/f $fpath); autoload -Uz compinit && compinit -u; stty -echo; print READY'
        zpty -r z out '*READY*READY*' && zpty -w -n z $'millwork ru\t\t' && zpty -r z out '*runs*' && print -r -- $out
    """
    fish = "millwork completions fish | source; complete --do-complete 'millwork ru'; complete --do-complete 'millwork runs list --st'"
    for words, expected in {("zsh", "--no-rcs", "-c", zsh): ["runs"], ("fish", "--no-config", "-c", fish): ["runs", "--state"]}.items():
        assert shutil.which(words[0]), f"{words[0]} is not there: `make ui` installs it"
        environment = {**os.environ, "PATH": path, "HOME": str(tmp_path / words[0]), "TERM": "dumb"}
        (tmp_path / words[0]).mkdir()
        loaded = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment)
        assert loaded.returncode == 0 and not loaded.stderr, (words[0], loaded.stderr)
        assert all(word in loaded.stdout for word in expected), (words[0], loaded.stdout)
        shutil.rmtree(tmp_path / words[0])
    assert ask("man", str(tmp_path)).returncode == 0
    pages = {page.stem for page in tmp_path.glob("*.1")}
    commands = re.findall(r"^  ([a-z][a-z-]+)  ", ask("--help").stdout, re.M)
    assert len(commands) > 20 and {f"millwork-{name}" for name in commands if name != "help"} <= pages
    assert all(page.read_text().count("\n.SH NAME") == 1 for page in tmp_path.glob("*.1"))


def test_a_load_test_counts_what_is_lost_and_what_is_there_twice(ask, tmp_path):
    query = tmp_path / "query.sql"
    query.write_text("SELECT * REPLACE (CASE WHEN _source_line = 8 THEN CAST(7 AS BIGINT) ELSE _source_line END AS _source_line) FROM read_manifest($manifest)")
    words = ["load-test", "--phases", "1,2", "--dir", str(tmp_path), "--json"]
    well = ask(*words)
    assert well.returncode == 0 and [(phase["lost"], phase["double"]) for phase in json.loads(well.stdout)] == [(0, 0), (0, 0)]
    assert list(tmp_path.iterdir()) == [query]
    # Line 8 of each file is told as line 7: one is not there, and another is twice.
    wrong = ask(*words, MILLWORK_SQL=str(query))
    assert wrong.returncode == 1 and [(phase["lost"], phase["double"]) for phase in json.loads(wrong.stdout)] == [(1, 1), (2, 2)], wrong.stdout
    assert "are kept in" in wrong.stderr
