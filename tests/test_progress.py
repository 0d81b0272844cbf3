"""The progress bar in a terminal (a real pseudo-terminal) and in a plain log."""

import errno
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from conftest import PATIENCE
from tqdm import tqdm

from continual_hackatari.training import progress
from continual_hackatari.training.printing import say
from continual_hackatari.training.progress import ProgressBar

REPOSITORY = Path(__file__).resolve().parents[1]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "perf_counter", clock.perf_counter)
    return clock


def test_plain_lines_after_three_seconds_and_then_every_ten(clock):
    stream = io.StringIO()
    bar = ProgressBar(100_000, stream=stream)
    for second in range(1, 26):
        clock.now = 100.0 + second
        if second == 12:
            bar.game(3.0)
            bar.game(6.0)
        bar.update(second * 1000, "disable_cars" if second > 15 else "")
    bar.close()
    bar.close()
    assert stream.getvalue().splitlines() == [
        "step 4,000/100,000 (4 %), no game finished yet, 1,000 steps/s, no_modif, time left 01:36",
        "step 14,000/100,000 (14 %), return 4.5, 1,000 steps/s, no_modif, time left 01:26",
        "step 24,000/100,000 (24 %), return 4.5, 1,000 steps/s, disable_cars, time left 01:16",
        "step 25,000/100,000 (25 %), return 4.5, 1,000 steps/s, disable_cars, time left 01:15",
    ]


def test_a_resumed_run_counts_only_its_own_steps_in_the_speed(clock):
    stream = io.StringIO()
    with ProgressBar(2000, initial_step=1000, stream=stream) as bar:
        bar.update(1000)
        clock.now += 10.0
        bar.update(1100)
    assert " 10 steps/s" in stream.getvalue().splitlines()[0]
    assert "time left 01:30" in stream.getvalue().splitlines()[-1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "pattern"), [
    (io.StringIO, r"step ([\d,]+)/.*, \d+ steps/s, .* time left (\d+):(\d+)$"),
    (Terminal, r".* ([\d.]+k?)/102k \[.*<(\d+):(\d+), \d+ steps/s\]"),
])  # fmt: skip
def test_time_left_is_right_from_the_third_second_on_though_updates_make_no_step(clock, stream, pattern):
    """Rollouts of 1,024 steps in a second, updates of another second, after five seconds of preparation."""
    stream = stream()
    bar = ProgressBar(102_400, stream=stream)
    clock.now += 5.0
    for rollout in range(100):
        for step in range(8, 1025, 8):
            clock.now += 8 / 1024
            bar.update(1024 * rollout + step)
        clock.now += 1.0
    bar.close()
    lines = re.split(r"[\r\n]+", stream.getvalue())
    shown = [found.groups() for found in (re.match(pattern, line) for line in lines) if found]
    assert len(shown) > 15
    steps = [float(written.replace(",", "").replace("k", "e3")) for written, _, _ in shown]
    assert steps[0] < 3072  # within the third update
    for step, (_, minutes, seconds) in zip(steps, shown, strict=True):
        expected = 200 * (1 - step / 102_400)
        assert 60 * int(minutes) + int(seconds) == pytest.approx(expected, rel=0.25, abs=2), step
    assert re.search(r"51\d steps/s", lines[-2] + lines[-1])  # of the whole run


def test_a_run_that_slows_down_says_so_within_a_minute(clock):
    stream = io.StringIO()
    bar = ProgressBar(1_000_000, stream=stream)
    step = 0
    for second in range(700):
        clock.now += 1.0
        step += 1000 if second < 600 else 100
        bar.update(step)
    assert " 100 steps/s, " in stream.getvalue().splitlines()[-1]


def test_return_is_the_mean_of_the_last_games_and_long_names_are_cut(clock):
    stream = io.StringIO()
    with ProgressBar(10, stream=stream, mean_of_games=2) as bar:
        for value in (100.0, 1.0, 2.0):
            bar.game(value)
        bar.update(5, "a" * 50)
    assert "return 1.5," in stream.getvalue()
    assert "a" * 37 + "...," in stream.getvalue()


def test_no_progress_prints_only_messages(capsys):
    with ProgressBar(10, enabled=False) as bar:
        bar.update(5)
        bar.write("a message")
    assert capsys.readouterr() == ("a message\n", "")


def test_updates_between_two_refreshes_only_look_at_the_clock(clock, monkeypatch):
    looks, refreshes = [], []
    monkeypatch.setattr(progress.time, "perf_counter", lambda: looks.append(0) or clock.now)
    monkeypatch.setattr(ProgressBar, "_refresh", lambda bar, now: refreshes.append(bar._step))
    bar = ProgressBar(1_000_000, stream=io.StringIO())
    looks.clear()
    for step in range(1000):
        bar.update(step, "disable_cars")
    assert (len(looks), refreshes) == (1000, [])
    clock.now += 11.0
    bar.update(1000)
    assert refreshes == [1000]


class Refusing(io.StringIO):
    """A terminal that was closed, a log on a disk that is full, a pipe that nobody reads."""

    refuses, terminal, number = True, False, errno.ENOSPC

    def isatty(self):
        return self.terminal

    def write(self, text):
        if self.refuses:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "closed"])
@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_progress_that_cannot_be_shown_is_said_once_and_the_run_goes_on(terminal, number, clock, monkeypatch, capsys):
    stream = Refusing()
    stream.terminal, stream.refuses, stream.number = terminal, False, number
    monkeypatch.setattr(sys, "stderr", stream)
    with ProgressBar(10_000) as bar:
        stream.refuses = True
        for second in range(1, 40):
            clock.now = 100.0 + second
            bar.update(second * 100)
        bar.write("a message")
    warning = f"nothing can be printed to stderr any more ({os.strerror(number)}); training goes on, this is said once"
    assert capsys.readouterr().out == f"warning: {warning}\na message\n"

    def take_and_give_back():
        with tqdm.get_lock():
            pass

    thread = threading.Thread(target=take_and_give_back, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "tqdm's lock is free for the bars of other threads"
    print("whatever else is written there", file=sys.stderr, flush=True)


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_messages_that_cannot_be_printed_are_said_once_and_the_run_goes_on(terminal, clock, monkeypatch):
    log = Refusing()
    log.terminal, log.refuses = terminal, False
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(sys, "stdout", Refusing())
    with ProgressBar(10_000) as bar:
        for number in range(3):
            bar.write(f"message {number}")
    assert log.getvalue().count("warning: nothing can be printed to stdout any more") == 1
    assert "message" not in log.getvalue()


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_what_is_refused_for_the_moment_is_shown_again_later(terminal, clock, monkeypatch, capsys):
    stream = Refusing()
    stream.terminal, stream.refuses, stream.number = terminal, False, errno.EAGAIN  # raises BlockingIOError
    monkeypatch.setattr(sys, "stderr", stream)
    with ProgressBar(10_000) as bar:
        for second in range(1, 80):
            clock.now = 100.0 + second
            stream.refuses = 20 < second < 40
            say(f"line {second}", stream)
            bar.update(second * 100)
    assert capsys.readouterr().out == ""
    shown = stream.getvalue()
    assert [f"line {second}\n" in shown for second in (10, 30, 50)] == [True, False, True]
    assert "7,9" in shown or "7.9" in shown, "the bar too went on"


def test_nobody_who_reads_is_no_fault_of_the_process():
    """Both of its outputs are a pipe whose reader is gone; without more ado Python would end with exit code 120."""
    code = (
        "import sys\nfrom continual_hackatari.training.printing import say\n"
        "sys.stdin.readline()\nsay('one')\nsay('two', sys.stderr)\nsay('three')"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, **pipes) as process:
        process.stdout.close()
        process.stdin.write(b"go on\n")
        process.stdin.flush()
        assert process.wait() == 0


def test_bar_in_a_terminal_with_messages_on_lines_of_their_own():
    code = (
        "import time\nfrom continual_hackatari.training.progress import ProgressBar\n"
        "with ProgressBar(2000) as bar:\n"
        "    bar.game(21.0)\n"
        "    for step in range(0, 2001, 100):\n"
        "        time.sleep(0.03)\n"
        "        bar.update(step, 'all_green_cars')\n"
        "        if step == 1000: bar.write('switch 1')\n"
    )
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    child = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(reader, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(reader)
    assert child.wait() == 0
    pieces = [piece.strip() for piece in shown.decode().replace("\n", "\r").split("\r")]
    assert "switch 1" in pieces
    last = [piece for piece in pieces if piece][-1]
    assert last.startswith("100%|")
    assert "2.00k/2.00k" in last
    assert "return 21.0, all_green_cars" in last
    assert re.search(r"\[00:0\d<00:00, [\d,]+ steps/s\]", last)
    assert all(len(piece) <= 120 for piece in pieces)


def test_a_resumed_run_shows_the_mean_of_the_games_before(clock):
    first = ProgressBar(100, enabled=False, mean_of_games=3)
    for episodic_return in (1.0, 2.0, 3.0, 4.0):
        first.game(episodic_return)
    second = ProgressBar(100, enabled=False, mean_of_games=3, recent_returns=first.recent_returns)
    second.game(8.0)
    assert second.recent_returns == [3.0, 4.0, 8.0]
