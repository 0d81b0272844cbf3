"""Continual evaluation: which weights of a run are evaluated when, and the one file of all results, `evals.csv`.

The training process only writes *snapshots*, ordinary checkpoints in the run folder's `evals/`. Another process plays
the games, adds the rows to `evals.csv` and removes the snapshot. So training computes the same with and without, and
what a crash leaves undone can be done later.
"""

import contextlib
import csv
import io
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Any

from torch import nn

from continual_hackatari.reporting.plan import Label, Plan
from continual_hackatari.reporting.rows import (
    EVALUATION_COLUMNS,
    RESULTS,
    UNMODIFIED,
    RunFolderError,
    is_row,
    read_lines,
    read_results,
)
from continual_hackatari.reporting.runs import Run
from continual_hackatari.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from continual_hackatari.training.config import ConfigError, as_plain_dict
from continual_hackatari.training.files import atomic_path, try_lock
from continual_hackatari.training.plan import is_due, write_plan
from continual_hackatari.training.run_folder import FINAL, saved_agents
from continual_hackatari.training.setup import Setup
from continual_hackatari.training.tracking import Tracker
from continual_hackatari.training.versions import evaluation_command, script_path

SNAPSHOTS = "evals"


# ------------------------------------------------------------------------------------------------------------ the file


def add_results(folder: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Add rows of a run to its `evals.csv`: all of them or none, whenever the process is killed.

    Earlier rows of its seed take the name of these: the folder was renamed since.

    Raises RunFolderError where the file has other columns.
    """
    path = folder / RESULTS
    before = path.read_bytes() if path.exists() else _as_csv([EVALUATION_COLUMNS])
    if not before.endswith(b"\n"):  # a foreign line, which must not become a part of the first row
        before += b"\n"
    name, seed = map(str, rows[0][:2])
    lines = read_lines(path) if path.exists() else []
    renamed = [is_row(line) and line[0] != name and line[1] == seed for line in lines]
    if any(renamed):
        named = [[name, *line[1:]] if old else line for line, old in zip(lines, renamed, strict=True) if line]
        before = _as_csv([EVALUATION_COLUMNS, *named])
    _write(path, before + _as_csv(rows))


def _as_csv(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _write(path: Path, content: bytes) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise CheckpointError(f"`{path}` could not be written: {error.strerror or error}.") from error


@contextlib.contextmanager
def evaluating(folder: Path, patience: float = 5.0) -> Iterator[None]:
    """Be the only process that changes a run's evaluations; wait `patience` seconds for another one to end.

    A process that was killed needs a moment: it holds the lock until the system has closed its files.

    Raises ConfigError where another process evaluates the run, or the folder cannot be written.
    """
    try:
        descriptor = os.open(folder / ".evals.lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ConfigError(f"`{folder}` cannot be written: {error.strerror}.") from None
    try:
        deadline = time.monotonic() + patience
        while not try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise ConfigError(
                    f"another process evaluates `{folder}`, as the training itself does while it runs; wait for it or "
                    "stop it."
                )
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def forget_after(folder: Path, global_step: int) -> None:
    """Drop rows and snapshots of steps after `global_step`: a run that goes on from there makes them again.

    Raises ConfigError where another process evaluates the run.
    """
    if not (folder / RESULTS).exists() and not (folder / SNAPSHOTS).exists():
        return
    with evaluating(folder, patience=20.0):
        remove_unfinished(folder)
        for path in snapshot_paths(folder):
            if any(label.global_step > global_step for label in labels_of(path, load_checkpoint(path))):
                path.unlink()
        rows = read_results(folder)
        kept = [row for row in rows if int(row["global_step"]) <= global_step]
        if len(kept) < len(rows):
            _write(folder / RESULTS, _as_csv([EVALUATION_COLUMNS, *(tuple(row.values()) for row in kept)]))


# ------------------------------------------------------------------------------------------------------------- weights


def snapshot_paths(folder: Path) -> list[Path]:
    """Snapshots that are not evaluated yet, in the order of training."""
    return sorted((folder / SNAPSHOTS).glob("*.cleanrl_model"))


def remove_unfinished(folder: Path) -> None:
    """Remove snapshots that a killed training was just writing."""
    for path in (folder / SNAPSHOTS).glob(".*.tmp"):
        path.unlink(missing_ok=True)


def labels_of(path: Path, checkpoint: Checkpoint) -> list[Label]:
    """Where in the run the weights of a snapshot were taken: at one place, or at several without an update in between.

    Raises CheckpointError for a checkpoint that is no snapshot.
    """
    try:
        labels = [Label(int(step), int(phase), str(string)) for step, phase, string in checkpoint.extra["evaluations"]]
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"`{path}` is no snapshot for evaluation: it does not say when it was taken.") from None
    return labels


def saved_weights(folder: Path) -> list[tuple[Path, list[Label]]]:
    """The checkpoints that a run keeps: of its switches, every so many steps, and of its end.

    Raises CheckpointError for one of the latter that is damaged or does not say at which step it was written.
    """
    switches, found = Run(folder).switches, []
    for row in switches:
        number, step = int(row["switch"]), int(row["global_step"])
        if row["checkpoint"] and (folder / row["checkpoint"]).exists():
            labels = [Label(step, number - 1, row["from"])]
            if row["shrink_and_perturb"] == "0":  # then the weights after the switch are those before it
                labels.append(Label(step, number, row["to"]))
            found.append((folder / row["checkpoint"], labels))
    on_the_way = [saved.path for saved in saved_agents(folder) if not saved.switch]
    for path in [*on_the_way, *([folder / FINAL] if (folder / FINAL).exists() else [])]:
        checkpoint = load_checkpoint(path)
        of_step, trained_on = checkpoint.global_step, checkpoint.extra.get("modification")
        if of_step is None or not isinstance(trained_on, str):
            raise CheckpointError(f"`{path}` does not say at which step and on which modification it was trained.")
        phase = sum(int(row["global_step"]) < of_step for row in switches)
        found.append((path, [Label(of_step, phase, trained_on)]))
    return found


def trained_strings(folder: Path) -> list[str]:
    """The modification strings that a run was trained on so far, as its switches and checkpoints tell."""
    strings = [row[side] for row in Run(folder).switches for side in ("from", "to")]
    labels = [labels for _, labels in saved_weights(folder)]
    labels += [labels_of(path, load_checkpoint(path)) for path in snapshot_paths(folder)]
    return list(dict.fromkeys([*strings, *(label.trained_on for some in labels for label in some)]))


# ------------------------------------------------------------------------------------------------- beside the training


def _start(
    command: Sequence[str], log: Path, *, beside_training: bool, environment: Mapping[str, str] | None = None
) -> subprocess.Popen:
    """Start `command`, deaf to the terminal's Ctrl-C, which is for the training; beside it with the lowest priority."""
    # Not in a session of its own: where the kernel groups processes by session, it would get as much as the training.
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None  # a new process inherits this
    try:
        with open(log, "ab") as file:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=file, env=environment)
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, before)
    if beside_training:
        yield_to_others(process.pid)  # from its first moment on: even its imports would slow the training
    return process


def yield_to_others(pid: int) -> None:
    """Let a process have only what others leave of the processor.

    Linux counts a core that plays for such a process as free, and gives it at once to whoever wakes up: with the lowest
    of the usual priorities the training took a sixth longer on two cores.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # some sandboxes forbid it
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
            return
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, pid, 19)


class ContinualEvaluation:
    """The training's side: notes what is to be evaluated, writes snapshots, logs results as they come.

    A context manager: leaving it ends the evaluating process and says what is left to do.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        *,
        by_hand: str,
        args: Mapping[str, Any],
        plan: Plan | None,
        batch_size: int,
        resume_step: int | None = None,
        logged: Iterable[Sequence[Any]] = (),
        report: Callable[[str], None] = print,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Write the plan and start the evaluating process; without a plan nothing is evaluated.

        Args:
            command: evaluates snapshots until its standard input is closed.
            by_hand: what a user types to evaluate the rest.
            args: settings of the run, for the snapshots.
            batch_size: as for `is_due`.
            resume_step: a run that goes on: the step from which it does.
            logged: with it: `state_dict` of then.
            environment: of the evaluating process; by default that of this one.

        Raises ConfigError where another process evaluates the run.
        """
        self._folder, self._command, self._by_hand, self._args, self._report = folder, command, by_hand, args, report
        self._every, self._batch_size = None if plan is None else plan.every, batch_size
        self._environment, self._logged = environment, {tuple(key) for key in logged}
        self._noted: list[Label] = []
        self._known: set[tuple[int, int]] = set()  # (global_step, phase) that is evaluated or has a snapshot
        self._seen: tuple[int, int] | None = None
        self._process: subprocess.Popen | None = None
        self._failed = self._warned = False
        if resume_step is not None:
            forget_after(folder, resume_step)
            self._known = {(int(row["global_step"]), int(row["phase"])) for row in read_results(folder)}
            for path in snapshot_paths(folder):
                self._known |= {label[:2] for label in labels_of(path, load_checkpoint(path))}
        if plan is not None:
            with evaluating(folder, patience=20.0):  # another one would remove the file before it has its name
                write_plan(folder, plan)
            self._process = self._start(beside_training=True)

    def state_dict(self) -> list[list[Any]]:
        """What has been logged, as plain values for the run's saved state."""
        return [list(key) for key in sorted(self._logged)]

    def begin_rollout(self, global_step: int, phase: int, trained_on: str) -> None:
        """Ask for an evaluation of the weights with which this rollout begins, if one is due."""
        if self._every is not None and is_due(global_step, self._every, self._batch_size):
            self.note(global_step, phase, trained_on)

    def note(self, global_step: int, phase: int, trained_on: str) -> None:
        """Ask for an evaluation of the present weights; `snapshot` must follow before they change."""
        if self._every is not None and (global_step, phase) not in self._known:
            self._known.add((global_step, phase))
            self._noted.append(Label(global_step, phase, trained_on))

    def snapshot(self, agent: nn.Module) -> None:
        """Call it before the weights change: saves them if an evaluation was asked for since the last change.

        Raises CheckpointError where the disk refuses it.
        """
        if not self._noted:
            return
        first = self._noted[0]
        save_checkpoint(
            self._folder / SNAPSHOTS / f"step{first.global_step:012d}_phase{first.phase:05d}.cleanrl_model",
            model_weights=agent.state_dict(),
            args=self._args,
            global_step=first.global_step,
            modification=first.trained_on,
            evaluations=[list(label) for label in self._noted],
        )
        self._noted.clear()

    def log(self, tracker: Tracker) -> None:
        """Log the mean scores of evaluations that were finished meanwhile, each at its own step."""
        if self._process is None:
            return
        self._look_after_process()
        try:
            status = os.stat(self._folder / RESULTS)
        except FileNotFoundError:
            return
        if self._seen == (status.st_ino, status.st_size):
            return
        self._seen = (status.st_ino, status.st_size)

        def key(row: dict[str, str]) -> tuple[int, int, str, str]:
            mode = "greedy" if row["deterministic"] == "1" else "sampled"
            return int(row["global_step"]), int(row["phase"]), row["modification"] or UNMODIFIED, mode

        try:
            results = read_results(self._folder, self._warn)
        except RunFolderError as error:  # somebody changed the file, which is no reason to end a training
            self._warn(f"warning: {error}")
            return
        for evaluation, rows in groupby(sorted(results, key=key), key=key):
            if evaluation not in self._logged:
                self._logged.add(evaluation)
                step, _, modification, mode = evaluation
                tracker.scalar(f"eval/{modification}/{mode}", fmean(float(row["score"]) for row in rows), step)

    def finish(self, tracker: Tracker) -> list[dict[str, str]]:
        """Wait until everything is evaluated and log it; returns the rows of `evals.csv`, none without evaluations."""
        if self._process is None:
            return []
        if snapshot_paths(self._folder) and self._process.poll() is None:
            self._start_again_with_usual_priority()
        assert self._process.stdin is not None
        self._process.stdin.close()  # says that no more snapshots come
        left = None
        while self._process.poll() is None:
            now = len(snapshot_paths(self._folder))
            if now and now != left:
                self._report(f"waiting for evaluations, {now} left (Ctrl-C ends the wait; they can be done later)")
            left = now
            self.log(tracker)
            time.sleep(0.2)
        self.log(tracker)
        try:
            return read_results(self._folder)
        except RunFolderError:  # `log` has said it
            return []

    def __enter__(self) -> "ContinualEvaluation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        self._kill_process()
        left = len(snapshot_paths(self._folder))
        if left:
            self._report(f"evaluate the {left} snapshots that are left: {self._by_hand}")

    def _warn(self, sentence: str) -> None:
        """Report that `evals.csv` is not as it should be, once."""
        if not self._warned:
            self._warned = True
            self._report(sentence)

    @property
    def _log_of_process(self) -> Path:
        return self._folder / SNAPSHOTS / "log.txt"

    def _kill_process(self) -> None:
        """End the evaluating process: what it is playing is played again later; files appear whole or not at all."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _start_again_with_usual_priority(self) -> None:
        """The training is done: nothing needs to be yielded to it, and other runs on this machine would take it all.

        A new process, because Linux lets no ordinary user raise the priority of a process again.
        """
        self._kill_process()
        self._process = self._start(beside_training=False)

    def _start(self, *, beside_training: bool) -> subprocess.Popen:
        log, environment = self._log_of_process, self._environment
        return _start(self._command, log, beside_training=beside_training, environment=environment)

    def _look_after_process(self) -> None:
        """Say once that the process has failed."""
        assert self._process is not None
        code, log = self._process.poll(), self._log_of_process
        if code and not self._failed:
            self._failed = True
            self._report(
                f"warning: the process that evaluates failed (exit code {code}, `{log}` says why); training goes on, "
                f"and the rest can be evaluated later: {self._by_hand}"
            )


def open_evaluations(setup: Setup[Any], folder: Path, report: Callable[[str], None]) -> ContinualEvaluation:
    """What evaluates snapshots in another process beside the training; does nothing unless that was asked for.

    On the main rank only: elsewhere it does nothing either.
    """
    is_main, saved, script = setup.ranks.is_main, setup.saved, script_path("eval.py")
    architecture, own = setup.args.architecture, str(Path(setup.script.file).resolve().parent)
    words, environment = ["--run", str(folder), "--follow", str(os.getpid())], None
    if ":" in architecture:  # its class is in the training script or beside it, and this run trusts it
        words += ["--architecture", architecture]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [own, os.environ.get("PYTHONPATH")]))}
    return ContinualEvaluation(
        folder,
        [sys.executable, script, *words],
        by_hand=shlex.join(evaluation_command(architecture, setup.script.file, "--run", str(folder))),
        args=as_plain_dict(replace(setup.args, resume="")),
        plan=setup.plan if is_main else None,
        batch_size=setup.args.batch_size,
        resume_step=None if saved is None or not is_main else saved["counters"]["global_step"],
        logged=() if saved is None else saved.get("evaluations", ()),
        report=report,
        environment=environment,
    )
