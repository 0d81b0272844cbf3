"""Runs many trainings on this machine, several at a time, each stopped, killed and gone on without loss.

Each job has a folder with its record: run.json (its command), output.txt and, when it has finished, result.json.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from continual_hackatari.reporting.rows import FINAL, PREVIOUS, RESUME
from continual_hackatari.reporting.runs import Run
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.signals import StopSignals
from continual_hackatari.wrappers.processes import available_cores

RUN_FOLDER = re.compile(r"^run folder: (.+)$", re.M)
RESUME_FILES = (RESUME, PREVIOUS, FINAL)
"""With one of these a run can go on, or say that it has finished."""
POLL_SECONDS = 0.1


@dataclass
class Job:
    """One training, and how it goes."""

    parameters: dict[str, Any]
    command: list[str]
    """with `python` as interpreter"""
    label: str
    """for people"""
    folder: Path
    program: str
    """the script that goes on with it"""
    state: Literal["waiting", "running", "finished", "failed", "stopped"] = "waiting"
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    """with state finished: `run_folder`, and `metrics`, name -> last logged value"""
    process: subprocess.Popen[bytes] | None = None
    asked_to_stop: bool = False
    output_start: int = 0
    """where in output.txt the present attempt begins, in bytes"""
    config_text: str = ""
    """what its config file said, where that must not change before it has finished"""

    @property
    def output(self) -> Path:
        return self.folder / "output.txt"

    def run_folder(self) -> Path | None:
        """The run folder, as its output names it; None if it got nowhere."""
        if not self.output.exists():
            return None
        named = RUN_FOLDER.findall(self.output.read_text(encoding="utf-8", errors="replace"))
        return Path(named[-1]) if named else None

    @property
    def record(self) -> Path:
        """What it began with."""
        return self.folder / "run.json"

    def begun_with(self) -> dict[str, Any]:
        """What `record` holds; nothing before it has begun."""
        found: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8")) if self.record.exists() else {}
        return found

    def collect(self) -> None:
        """Take over the result if it has finished, now or earlier."""
        path = self.folder / "result.json"
        if path.exists():
            self.result = json.loads(path.read_text(encoding="utf-8"))
            self.state = "finished"


class Runner:
    """Runs what has not finished of `jobs`, `at_a_time`; other processes may do the same with the same jobs."""

    def __init__(
        self,
        jobs: list[Job],
        at_a_time: int,
        metric: str = "",
        more: Callable[[list[Job]], Job | None] = lambda _: None,
        place: Path | None = None,
        fault: Callable[[Job], str] = lambda _: "",
    ) -> None:
        """
        metric: logged number that is kept of each run, besides the continual metrics.
        more: says which job to add to the present ones when there is room for another; None: none.
        place: folder in which the trainings run (default: the current one).
        fault: says why a job, when its turn comes, is not what was planned any more, be it that another process has
        finished it meanwhile; empty: it is.
        """
        self.jobs, self.at_a_time, self.metric, self._more, self._fault = jobs, at_a_time, metric, more, fault
        self._place = place or Path()
        self._locks: dict[Path, IO[str]] = {}
        self._elsewhere: set[Path] = set()

    def run(self, conclude: Callable[[], int]) -> int:
        """Run all, then `conclude`, whose exit code it returns; that of a runner that was stopped is its signal's."""
        for job in self.jobs:
            job.collect()
        if done := sum(job.state == "finished" for job in self.jobs):
            print(f"{self.counts()} {done} finished before", flush=True)
        with StopSignals() as stop:
            while True:
                for job in self.jobs:
                    code = None if job.process is None else job.process.poll()
                    if code is not None:
                        self._end(job, code)
                        self._locks.pop(job.folder).close()
                if not stop.requested:
                    self._start_some()
                waits = () if stop.requested else ("waiting",)
                if not any(job.state in ("running", *waits) for job in self.jobs):
                    break
                if stop.requested:
                    self._ask_to_stop()
                time.sleep(POLL_SECONDS)
            if stop.requested:
                print("stopped: the same command goes on", flush=True)
            stop.at_once()
            return conclude()

    def counts(self) -> str:
        """How many are done, of how many."""
        return f"[{sum(job.state in ('finished', 'failed') for job in self.jobs)}/{len(self.jobs)}]"

    def environment(self) -> dict[str, str]:
        """Runs beside each other share the cores instead of competing for all of them."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self.at_a_time > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // self.at_a_time)))
        return environment

    def _has_room(self) -> bool:
        return sum(job.state == "running" for job in self.jobs) < self.at_a_time

    def _start_some(self) -> None:
        for job in self.jobs:
            if not self._has_room():
                return
            if job.state == "waiting":
                self._start_alone(job)
        while self._has_room() and (another := self._more(self.jobs)) is not None:
            self.jobs.append(another)
            self._start_alone(another)

    def _start_alone(self, job: Job) -> None:
        """Start it, unless another process is running it or has finished it."""
        lock = exclusive_lock(job)
        if lock is None:
            if job.folder not in self._elsewhere:
                print(f"waiting for {job.label}, which another process is running", flush=True)
            self._elsewhere.add(job.folder)
            return
        job.collect()  # the process that held the lock may have finished it
        if fault := self._fault(job):  # hours may have passed, and other starters may have another file
            lock.close()
            job.state, job.error, job.result = "failed", fault, {}
            print(f"{self.counts()} failed {job.label}: {fault}", flush=True)
            return
        if job.state == "waiting":
            self._locks[job.folder] = lock
            self._start(job, lock)
            print(f"{self.counts()} started {job.label}: {job.output}", flush=True)
        else:
            lock.close()

    def _start(self, job: Job, lock: IO[str]) -> None:
        """Start it, or go on with it where it was saved."""
        if not job.record.exists():
            config = {"config_file": job.config_text} if job.config_text else {}
            write_json(job.record, {"parameters": job.parameters, "command": job.command, **config})
        folder, command = job.run_folder(), job.command
        if folder is not None and any((self._place / folder / name).exists() for name in RESUME_FILES):
            command = ["python", job.program, "--resume", str(folder)]
        with open(job.output, "ab") as output:
            job.output_start = output.tell()
            output.write(f"$ {shlex.join(command)}\n".encode())
            output.flush()
            job.process = subprocess.Popen(
                [sys.executable, *command[1:]] if command[0] == "python" else command,
                cwd=self._place,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                start_new_session=True,  # Ctrl-C in a terminal reaches the runner alone, which asks each run once
                pass_fds=[lock.fileno()],  # a run that outlives a killed runner keeps its lock
            )
        job.state = "running"

    def _ask_to_stop(self) -> None:
        """SIGTERM, once: a run finishes its update and saves; a second one would stop it at once."""
        for job in self.jobs:
            if job.process is not None and not job.asked_to_stop:
                job.process.send_signal(signal.SIGTERM)
                job.asked_to_stop = True

    def _end(self, job: Job, code: int) -> None:
        """Note how it ended."""
        job.process = None
        if code == 0:
            folder = job.run_folder()
            metrics = {} if folder is None else last_values(self._place / folder, self.metric)
            write_json(job.folder / "result.json", {"run_folder": str(folder or ""), "metrics": metrics})
            job.collect()
            reached = f": {self.metric} {four_digits(metrics.get(self.metric))}" if self.metric else ""
            print(f"{self.counts()} finished {job.label}{reached}", flush=True)
        elif job.asked_to_stop:
            job.state = "stopped"
        else:
            job.state, job.error = "failed", last_error(job, code)
            print(f"{self.counts()} failed {job.label}: {job.error}", flush=True)


def exclusive_lock(job: Job) -> IO[str] | None:
    """Hold the job's folder until the file is closed here and in the run itself; None if another process holds it.

    Raises:
        ConfigError: the file system has no locks.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    file = open(job.folder / ".lock", "a")  # noqa: SIM115 - closed when the run ends
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        file.close()
        raise ConfigError(
            f"`folder` {job.folder.parent} is on a file system without locks ({error.strerror}), so several starters "
            "could take the same run; choose a folder on another one."
        ) from error
    return file


def write_json(path: Path, value: Any) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def four_digits(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def last_values(folder: Path, metric: str) -> dict[str, float]:
    """The last logged value of the metric and of all continual metrics, as W&B's summary has them."""
    scalars = Run(folder).scalars.items()
    return {name: float(values[-1]) for name, (_, values) in scalars if name == metric or name.startswith("continual/")}


def last_error(job: Job, code: int) -> str:
    """The error line of the present attempt, or else its last line; and the exit code."""
    with open(job.output, "rb") as file:
        file.seek(job.output_start)
        lines = file.read().decode(errors="replace").splitlines()[1:]  # the first one is the command
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("resume:")]
    errors = [line for line in lines if line.startswith("error:")]
    said = (errors or lines or ["no output"])[-1]
    how = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
    return f"{said} ({how})"
