"""Continual evaluation: which weights of a run are evaluated when, and the one file of all results, `evals.csv`.

The training process only writes *snapshots*, ordinary checkpoints in the run folder's `evals/`. Another process plays
the games, adds the rows to `evals.csv` and removes the snapshot. So training computes the same with and without, and
what a crash leaves undone can be done later.
"""

import contextlib
import csv
import io
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

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
from continual_hackatari.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.files import atomic_path, try_lock
from continual_hackatari.training.plan import is_due, write_plan
from continual_hackatari.training.playing import evaluation_games, play_one
from continual_hackatari.training.ranks import ALONE, Ranks
from continual_hackatari.training.setup import Setup
from continual_hackatari.training.tracking import Tracker
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.interfaces import GameRecord, VectorGames
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

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
    """The checkpoints that a run keeps: of its switches (`save_agent_with_switch`) and of its end.

    Raises CheckpointError for a final checkpoint that is damaged or does not say at which step it was written.
    """
    switches, found = Run(folder).switches, []
    for row in switches:
        number, step = int(row["switch"]), int(row["global_step"])
        if row["checkpoint"] and (folder / row["checkpoint"]).exists():
            labels = [Label(step, number - 1, row["from"])]
            if row["shrink_and_perturb"] == "0":  # then the weights after the switch are those before it
                labels.append(Label(step, number, row["to"]))
            found.append((folder / row["checkpoint"], labels))
    final = folder / "model.cleanrl_model"
    if final.exists():
        checkpoint = load_checkpoint(final)
        end, trained_on = checkpoint.global_step, checkpoint.extra.get("modification")
        if end is None or not isinstance(trained_on, str):
            raise CheckpointError(f"`{final}` does not say at which step and on which modification it was trained.")
        phase = sum(int(row["global_step"]) < end for row in switches)
        found.append((final, [Label(end, phase, trained_on)]))
    return found


def trained_strings(folder: Path) -> list[str]:
    """The modification strings that a run was trained on so far, as its switches and checkpoints tell."""
    strings = [row[side] for row in Run(folder).switches for side in ("from", "to")]
    labels = [labels for _, labels in saved_weights(folder)]
    labels += [labels_of(path, load_checkpoint(path)) for path in snapshot_paths(folder)]
    return list(dict.fromkeys([*strings, *(label.trained_on for some in labels for label in some)]))


# -------------------------------------------------------------------------------------------------- between two updates


class Pending(NamedTuple):
    """Weights that are to be evaluated."""

    labels: list[Label]
    """where in the run they were taken: several where no update came in between"""
    weights: dict[str, Tensor]
    """on the CPU"""


class Job(NamedTuple):
    """Games that are still to be played: of these weights, under one string, greedy or sampled."""

    weights: int
    """number of the weights among those that are pending"""
    labels: list[Label]
    string: str
    deterministic: bool


class ContinualEvaluation:
    """Notes what is to be evaluated, keeps weights until it is, and plays the games between two updates.

    With several processes each plays a part of the games; the main one writes. A context manager: leaving it ends the
    worker processes of the evaluation's games.
    """

    def __init__(
        self,
        folder: Path,
        *,
        plan: Plan | None,
        game: GameConfig,
        seed: int,
        batch_size: int,
        make_agent: Callable[[], nn.Module],
        num_workers: int = 0,
        ranks: Ranks = ALONE,
        resume_step: int | None = None,
        pending: Sequence[Any] = (),
        logged: Iterable[Sequence[Any]] = (),
        report: Callable[[str], None] = print,
    ) -> None:
        """Write the plan; without one nothing is evaluated.

        Args:
            seed: of the training.
            batch_size: as for `is_due`.
            make_agent: an agent whose weights will be replaced.
            num_workers: processes that run the games; 0: none.
            resume_step: a run that goes on: the step from which it does.
            pending, logged: with it: `state_dict` of then.
        """
        self._folder, self._plan, self._game, self._seed, self._report = folder, plan, game, seed, report
        self._batch_size, self._make_agent, self._ranks = batch_size, make_agent, ranks
        self._num_workers = num_workers
        self._logged = {tuple(key) for key in logged}
        self._noted: list[Label] = []
        self._pending = [Pending([Label(*label) for label in labels], weights) for labels, weights in pending]
        self._lanes: list[ModifiedVectorEnv] = []
        self._warned = False
        if ranks.is_main and resume_step is not None:
            forget_after(folder, resume_step)
        if ranks.is_main and plan is not None:
            write_plan(folder, plan)

    def state_dict(self) -> dict[str, Any]:
        """What has been logged and what is pending, as plain values for the run's saved state."""
        pending = [[[list(label) for label in labels], weights] for labels, weights in self._pending]
        return {"evaluations": [list(key) for key in sorted(self._logged)], "pending_evaluations": pending}

    @property
    def pending(self) -> bool:
        """Whether there are weights to evaluate."""
        return bool(self._pending)

    def begin_rollout(self, global_step: int, phase: int, trained_on: str) -> None:
        """Ask for an evaluation of the weights with which this rollout begins, if one is due."""
        if self._plan is not None and is_due(global_step, self._plan.every, self._batch_size):
            self.note(global_step, phase, trained_on)

    def note(self, global_step: int, phase: int, trained_on: str) -> None:
        """Ask for an evaluation of the present weights; `keep` must follow before they change."""
        label = Label(global_step, phase, trained_on)
        if self._plan is not None and label not in self._noted:
            self._noted.append(label)

    def keep(self, agent: nn.Module) -> None:
        """Call it before the weights change: copies them if an evaluation was asked for since the last change."""
        if self._noted:
            weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in agent.state_dict().items()}
            self._pending.append(Pending(self._noted, weights))
            self._noted = []

    def play(self, tracker: Tracker, stopped: Callable[[], bool] = lambda: False) -> None:
        """Evaluate what is pending, as far as it is not in `evals.csv` yet, and log it.

        stopped: asked every moment; once it is true, the rest stays pending.
        """
        assert self._plan is not None
        jobs: list[Job] = self._ranks.from_main(self._jobs)
        mine = iter([number for number in range(len(jobs)) if number % self._ranks.size == self._ranks.rank])
        playing = self._playing(jobs, mine)
        finished: dict[int, list[GameRecord]] = {}
        written, going = 0, bool(jobs)
        num_threads = torch.get_num_threads()
        torch.set_num_threads(1)  # for a few frames more threads are no faster, and the emulators need the cores
        try:
            while going:
                new, more = _advance(playing, SLICE)
                finished |= self._ranks.gather(new)
                while written in finished:
                    self._write(jobs[written], finished.pop(written))
                    written += 1
                stopping, going = self._ranks.any(stopped(), more)
                if stopping:
                    return
        finally:
            playing.close()
            torch.set_num_threads(num_threads)
        self._pending = []
        self.log(tracker)

    def _jobs(self) -> list[Job]:
        """What is to be played, in the order in which it is written."""
        assert self._plan is not None
        names = ("global_step", "phase", "modification", "deterministic")
        present = {tuple(row[name] for name in names) for row in read_results(self._folder)}
        jobs = []
        for number, (labels, _) in enumerate(self._pending):
            for deterministic in (False, True):
                for string in self._plan.splits:
                    left = [
                        at for at in labels if (str(at[0]), str(at[1]), string, str(int(deterministic))) not in present
                    ]
                    if left:
                        jobs.append(Job(number, left, string, deterministic))
        return jobs

    def _playing(self, jobs: Sequence[Job], numbers: Iterator[int]) -> Iterator[tuple[int, list[GameRecord]] | None]:
        """Play jobs in all lanes in turn: while the games of one are emulated, the agent thinks about another's."""
        self._open()
        under_way: dict[int, tuple[int, Iterator]] = {}
        agents = {}
        waiting = deque(numbers)
        while waiting or under_way:
            for lane, envs in enumerate(self._lanes):
                if lane not in under_way:
                    if not waiting:
                        continue
                    number = waiting.popleft()
                    job = jobs[number]
                    if job.weights not in agents:
                        agent = self._make_agent()
                        agent.load_state_dict(self._pending[job.weights].weights)
                        agents[job.weights] = agent.eval()
                    agreed = {"episodes": self._plan.games, "seed": 1, "device": torch.device("cpu")}
                    game = play_one(agents[job.weights], envs, job.string, deterministic=job.deterministic, **agreed)
                    under_way[lane] = number, game
                number, game = under_way[lane]
                try:
                    next(game)
                    yield None
                except StopIteration as end:
                    del under_way[lane]
                    yield number, [played.record for played in end.value]

    def _open(self) -> None:
        if not self._lanes:
            num_lanes = min(2, max(1, self._num_workers))
            num_envs = min(self._plan.games, 8)
            for _ in range(num_lanes):
                self._lanes.append(
                    evaluation_games(self._game, num_envs, seed=1, num_workers=self._num_workers // num_lanes)
                )

    def _write(self, job: Job, records: list[GameRecord]) -> None:
        run = self._folder.resolve().name
        rows = [
            (
                *(run, self._seed, label.phase, label.global_step, job.string, self._plan.splits[job.string], episode),
                *(1, int(job.deterministic), record.score, record.length, record.lives),
                label.trained_on,
            )
            for label in job.labels
            for episode, record in enumerate(records)
        ]
        add_results(self._folder, rows)

    def log(self, tracker: Tracker) -> None:
        """Log the mean scores of evaluations that were finished meanwhile, each at its own step."""

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
        """Evaluate what is left; returns the rows of `evals.csv`, none without evaluations."""
        if self._plan is None:
            return []
        self.play(tracker)
        return read_results(self._folder)

    def __enter__(self) -> "ContinualEvaluation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for envs in self._lanes:
            envs.close()

    def _warn(self, sentence: str) -> None:
        """Report that `evals.csv` is not as it should be, once."""
        if not self._warned:
            self._warned = True
            self._report(sentence)


def _advance(playing: Iterator[Any], seconds: float) -> tuple[list[Any], bool]:
    begin, new = time.perf_counter(), []
    for result in playing:
        if result is not None:
            new.append(result)
        if time.perf_counter() - begin > seconds:
            return new, True
    return new, False


SLICE = 1.0


def open_evaluations(
    setup: Setup[Any], folder: Path, envs: VectorGames, report: Callable[[str], None]
) -> ContinualEvaluation:
    """What evaluates; does nothing unless that was asked for."""
    saved = setup.saved or {}

    def make_agent() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            return setup.script.build(setup.args, envs.observation_shape, envs.num_actions, torch.Generator())

    return ContinualEvaluation(
        folder,
        plan=setup.plan,
        game=setup.game,
        seed=setup.args.seed,
        batch_size=setup.args.batch_size,
        make_agent=make_agent,
        num_workers=len(envs.worker_pids()),
        ranks=setup.ranks,
        resume_step=saved["counters"]["global_step"] if saved else None,
        pending=saved.get("pending_evaluations", ()),
        logged=saved.get("evaluations", ()),
        report=report,
    )
