"""Processes that tests look at from outside, on Linux."""

import contextlib
import re
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

from conftest import PATIENCE

from continual_hackatari.wrappers import processes


def descendants(pid):
    """Process ids of everything that a process has started, directly or not."""
    children = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):  # one per thread
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread ended meanwhile
            children += [int(child) for child in task.read_text().split()]
    return [*children, *(pid for child in children for pid in descendants(child))]


def command_of(pid):
    """The words of its command line; none where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pids):
    """Of these processes, those that have not ended (one that nobody has waited for yet has ended)."""
    found = []
    for pid in pids:
        try:
            state = re.search(r"State:\s+(\w)", Path(f"/proc/{pid}/status").read_text())[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            found.append(pid)
    return found


def workers_from_now_on(monkeypatch):
    """A list that fills with the workers' `Popen`. What else the process of the tests has started is none of theirs."""
    started = []

    def start(*arguments, **more):
        started.append(subprocess.Popen(*arguments, **more))
        return started[-1]

    monkeypatch.setattr(processes, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": start}))
    return started


def wait_until_gone(pids):
    """Wait until these processes have ended."""
    deadline = time.monotonic() + PATIENCE
    while alive(pids):
        assert time.monotonic() < deadline, f"left behind: {alive(pids)}"
        time.sleep(0.05)
