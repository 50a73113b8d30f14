"""`millwork top` in a terminal: frames, keys, another size, changes after a yes, and a scheduler that goes."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from conftest import BIN, Up, gzip_whole, lines, put


class Terminal:
    """A program in a terminal of its own, and what its screen shows."""

    def __init__(self, up, *arguments, size=(24, 100)):
        self.master, slave = pty.openpty()
        self.size = size
        self.resize(size, None)
        environment = {**os.environ, "TERM": "xterm-256color", "MILLWORK_TOKEN": up.token(), "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            [BIN, "top", "--scheduler", up.base, "--every", "1", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.text = ""
        self.cells, self.at = {}, (0, 0)

    def resize(self, size, process):
        self.size = size
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        if process:
            process.send_signal(signal.SIGWINCH)

    def read(self, seconds=0.2):
        """Takes in what was written; False once the program has closed the terminal."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            more = os.read(self.master, 65536)
        except OSError:
            return False
        self.text += more.decode(errors="replace")
        self.draw()
        return bool(more)

    def draw(self):
        """Draws what came: places, texts, and what is cleared. The rest does not change what can be read."""
        token = re.compile(r"\x1b\[([0-9;?]*)([@-~])|\x1b[()][A-Z0-9]|\x1b[=>78]|([\r\n])|([^\x1b\r\n])")
        place = 0
        for found in token.finditer(self.text):
            place = found.end()
            numbers, what, line, character = found.groups()
            row, column = self.at
            if what == "H":
                row, column = ([int(number or 1) for number in numbers.split(";")] + [1, 1])[:2] if numbers else (1, 1)
                self.at = (row - 1, column - 1)
            elif what == "J":
                self.cells = {}
            elif line == "\r":
                self.at = (row, 0)
            elif line == "\n":
                self.at = (row + 1, column)
            elif character:
                self.cells[self.at] = character
                self.at = (row, column + 1)
        rest = self.text[place:]
        self.text = rest if rest.startswith("\x1b") and len(rest) < 64 else ""

    def screen(self):
        rows, columns = self.size
        return "\n".join("".join(self.cells.get((row, column), " ") for column in range(columns)).rstrip() for row in range(rows))

    def until(self, pattern, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            is_open = self.read()
            if re.search(pattern, self.screen()):
                return self.screen()
            assert is_open, self.screen()
        raise AssertionError(f"`{pattern}` is not on:\n{self.screen()}")

    def press(self, keys):
        os.write(self.master, keys.encode())

    def wait(self):
        while self.process.poll() is None:
            self.read()
        return self.process.returncode

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(up):
    opened = []

    def open_one(*arguments, of=up, **options):
        opened.append(Terminal(of, *arguments, **options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.end()


def test_keys_show_each_view_and_the_terminal_is_given_back(terminal):
    top = terminal()
    top.until(r"\[1 Runs\]")
    top.press("2")
    assert "2025-12-23" in top.until(r"\[2 Dates\][\s\S]*2025-12-23")
    top.press("3")
    top.until(r"\[3 Executors\][\s\S]*embedded")
    top.press("4")
    top.until(r"\[4 Attention[\s\S]*refused")
    top.press("?")
    top.until(r"PgDn")
    top.press("\x1b")
    top.until(r"\[4 Attention[\s\S]*CAUSE")
    top.press("q")
    assert top.wait() == 0
    assert termios.tcgetattr(top.master)[3] & termios.ECHO, "keys are seen again"


def test_another_size_is_drawn_anew(terminal):
    top = terminal()
    top.until(r"\[1 Runs\][\s\S]*o link")
    top.resize((30, 60), top.process)
    top.cells = {}
    screen = top.until(r"\[1 Runs\][\s\S]*q quit")
    assert all(len(line) <= 60 for line in screen.splitlines())
    top.resize((24, 40), top.process)
    top.cells = {}
    top.until(r"\[1 Runs\]")


def test_events_come_by_themselves(terminal, up):
    top = terminal("--view", "events")
    top.until(r"\[5 Events\]")
    put(up.root / "in", "2025-12-25-top.ndjson", lines(1500))
    top.until(r"2025-12-25-batch\S* +✓ completed")


def test_a_change_is_made_after_a_yes_only(terminal, up):
    whole = gzip_whole()
    put(up.root / "in", "2025-12-17-top.ndjson.gz", whole[: len(whole) // 2])
    run = up.until(lambda: next((run["manifest_id"] for run in up.api("/api/v1/runs?date=2025-12-17&state=failed")["items"]), None))

    def attempts():
        return up.api(f"/api/v1/runs/{run}")["attempts"]

    before = attempts()
    looking = terminal()
    looking.until(run)
    looking.press("/" + run + "\rR")
    looking.until(r"say --write")
    looking.press("q")
    top = terminal("--write")
    top.until(run)
    top.press("/" + run + "\r")
    top.until(rf"/ {run}")
    top.press("R")
    top.until(rf"retry 1 run\?[\s\S]*{run}: failed")
    top.press("n")
    top.until(r"nothing was changed")
    assert attempts() == before
    top.press("R")
    top.until(r"retry 1 run\?")
    top.press("y")
    top.until(r"retry: 1 of 1 done")
    up.until(lambda: attempts() > before)
    note = next(note for note in up.api("/api/v1/audit")["items"] if run in note["subjects"])
    assert note["action"] == "retry" and note["via"] == "cli"


def test_a_scheduler_that_goes_is_told_of(terminal, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "run").mkdir()
    other = Up(tmp_path)
    top = terminal(of=other)
    top.until(r"\[1 Runs\]")
    other.end()
    top.until(r"away since \d\d:\d\d:\d\d: nothing listens there")
    top.press("\x03")
    assert top.wait() == 0


def test_without_a_terminal_a_frame_is_lines(up):
    environment = {**os.environ, "TERM": "dumb", "MILLWORK_TOKEN": up.token()}
    text = subprocess.run([BIN, "top", "--scheduler", up.base], env=environment, capture_output=True, check=True, text=True).stdout
    assert "[Runs]" in text and "\x1b" not in text
