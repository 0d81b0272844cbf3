"""Continual evaluation: which weights of a run are evaluated when, and the one file of all results, `evals.csv`.

The games are played between two updates, where a run can be saved, in worker processes of their own, with generators of
their own. So training computes the same with and without. The run is saved first: what a stop or a crash interrupts
goes on from there.
"""

import csv
import io
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from continual_hackatari.agents import players_of
from continual_hackatari.agents.player import Player, player_of
from continual_hackatari.names import UNMODIFIED
from continual_hackatari.reporting.plan import Label, Plan
from continual_hackatari.reporting.rows import (
    EVALUATION_COLUMNS,
    FINAL,
    RESULTS,
    WITH_AGENT,
    is_row,
    read_lines,
    read_results,
)
from continual_hackatari.reporting.runs import Run
from continual_hackatari.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.plan import is_due, write_plan
from continual_hackatari.training.playing import (
    Games,
    at_once,
    evaluation_games,
    play_one,
    sets_of_games,
    with_same_weights,
)
from continual_hackatari.training.ranks import ALONE, Ranks
from continual_hackatari.training.resume import can_go_on, load_state
from continual_hackatari.training.run_folder import saved_agents
from continual_hackatari.training.setup import Setup
from continual_hackatari.training.tracking import Tracker
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.interfaces import GameRecord, VectorGames
from continual_hackatari.wrappers.vector import WORKER_TIMEOUT, ModifiedVectorEnv

T = TypeVar("T")

SNAPSHOTS = "evals"
AT_ONCE = 8
"""Games beside each other, at most. Always the same: in one batch all games share the random numbers."""
SECONDS_WITHOUT_A_WORD = 1.0
"""After so long, processes of a job tell each other what they have done, and a stop is obeyed."""


# ------------------------------------------------------------------------------------------------------------ the file


def add_results(folder: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Add rows of a run to its `evals.csv`: all of them or none, whenever the process is killed."""
    path = folder / RESULTS
    columns = WITH_AGENT if len(rows[0]) == len(WITH_AGENT) else EVALUATION_COLUMNS
    before = path.read_bytes() if path.exists() else _as_csv([columns])
    if not before.endswith(b"\n"):  # a foreign line, which must not become a part of the first row
        before += b"\n"
    _write(path, before + _as_csv(rows))


def name_results(folder: Path, seed: int) -> None:
    """Where the folder was renamed, rows of this seed in its `evals.csv` take its name; it takes long with many.

    Raises RunFolderError where the file has other columns.
    """
    path, name = folder / RESULTS, folder.resolve().name
    if not path.exists():
        return
    columns, lines = read_lines(path)
    renamed = [is_row(line, columns) and line[0] != name and line[1] == str(seed) for line in lines]
    if any(renamed):
        named = [[name, *line[1:]] if old else line for line, old in zip(lines, renamed, strict=True) if line]
        _write(path, _as_csv([columns, *named]))


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


def forget_after(folder: Path, global_step: int) -> None:
    """Drop rows and snapshots of steps after `global_step`: a run that goes on from there makes them again."""
    for path in snapshot_paths(folder):
        if any(label.global_step > global_step for label in labels_of(path, load_checkpoint(path))):
            path.unlink()
    rows = read_results(folder)
    kept = [row for row in rows if int(row["global_step"]) <= global_step]
    if len(kept) < len(rows):
        _write(folder / RESULTS, _as_csv([tuple(rows[0]), *(tuple(row.values()) for row in kept)]))


# ------------------------------------------------------------------------------------------------------------- weights


class Weights(NamedTuple):
    """Weights of an agent that are to be evaluated."""

    labels: list[Label]
    """where in the run they were taken: at one place, or at several without an update in between"""
    tensors: dict[str, Tensor]
    """the agent's state, on the CPU"""


def pending_in(saved: Mapping[str, Any]) -> list[Weights]:
    """What was still to be evaluated when the state of a run was saved."""
    pending = saved.get("pending_evaluations", ())
    return [Weights([Label(*label) for label in labels], tensors) for labels, tensors in pending]


def snapshot_paths(folder: Path) -> list[Path]:
    """Files in `evals/` in which earlier versions kept weights until they were evaluated, in the order of training."""
    return sorted((folder / SNAPSHOTS).glob("*.cleanrl_model"))


def snapshots(folder: Path) -> list[Weights]:
    """What they hold."""
    found = [(path, load_checkpoint(path)) for path in snapshot_paths(folder)]
    return [Weights(labels_of(path, checkpoint), checkpoint.model_weights) for path, checkpoint in found]


def unevaluated(folder: Path) -> list[Weights]:
    """Weights that a run that was stopped, or is of an earlier version, has left to be evaluated."""
    saved = load_state(folder, files=False)[0] if can_go_on(folder) else {}
    return [*snapshots(folder), *pending_in(saved)]


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
    labels += [weights.labels for weights in unevaluated(folder)]
    return list(dict.fromkeys([*strings, *(label.trained_on for some in labels for label in some)]))


# --------------------------------------------------------------------------------------------------------------- games


class RunEvaluation(NamedTuple):
    """How the weights of one run are evaluated: all alike, whether during the training or later."""

    folder: Path
    seed: int
    """of the training"""
    game: GameConfig
    splits: Mapping[str, str]
    """modification string -> `train` or `held_out`"""
    games: int
    """per string, once greedy and once sampled"""
    num_workers: int
    """processes that run the games; 0: none"""
    players: Sequence[str] = ("",)
    """of the agent, see `agents.players_of`: all of them play"""
    evaluation_seed: int = 1
    worker_timeout: float = WORKER_TIMEOUT


class Job(NamedTuple):
    """The games of an agent under one string, all greedy or all sampled."""

    agent: int
    """number of its weights"""
    labels: list[Label]
    """where in the run these were taken, as far as it is not in evals.csv yet"""
    string: str
    deterministic: bool
    player: str = ""
    """which of the agent's players; the agent itself where it is one"""


class Evaluator:
    """Plays what is missing in a run's evals.csv and adds it there; its games stay open until `close`.

    Each job has a set of games with workers of its own and a thread in which the agent thinks, as many jobs at once as
    there are workers for. What comes of it does not depend on how many. With several processes, each plays a part of
    the jobs; the main one writes.
    """

    def __init__(self, how: RunEvaluation, ranks: Ranks = ALONE) -> None:
        self.how, self._ranks = how, ranks
        self._sets: list[ModifiedVectorEnv] = []

    def missing(self, taken: Sequence[Sequence[Label]]) -> list[Job]:
        """What is not in the file yet, in its order. taken: of all weights, where in the run they were taken.

        Raises RunFolderError where the file has other columns.
        """
        names = ("global_step", "phase", "modification", "deterministic", "agent")
        present = {tuple(row.get(name, "") for name in names) for row in read_results(self.how.folder)}
        return [
            Job(number, missing, string, mode == "1", player)
            for number, labels in enumerate(taken)
            for mode in ("0", "1")
            for string in self.how.splits
            for player in self.how.players
            if (missing := [at for at in labels if (*map(str, at[:2]), string, mode, player) not in present])
        ]

    def play(
        self, jobs: Sequence[Job], agent_of: Callable[[int], Player], stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Play these jobs, the same on all ranks; each is in the file, as a whole, soon after it is done.

        agent_of: of a number of weights. stopped: asked every moment; returns False where any rank says so, and what
        was not finished is to be played again.

        Raises:
            CheckpointError, RunFolderError: the file cannot be written.
            WorkerError: a worker process failed.
        """
        if not jobs:
            return True
        self._ranks.from_main(lambda: name_results(self.how.folder, self.how.seed))
        self._open()
        finished: dict[int, list[GameRecord]] = {}
        written, going = 0, True
        own = range(self._ranks.rank, len(jobs), self._ranks.size)
        with closing(at_once(self._sets, self._begin(jobs, own, agent_of))) as playing:
            while going:
                # Ranks may wait for each other for some minutes only, and a stop is for all of them.
                new, more = _advance(playing, SECONDS_WITHOUT_A_WORD)
                finished |= self._ranks.gather([(number, [each.record for each in games]) for number, games in new])
                while written in finished:  # in order, whichever is done first
                    add_results(self.how.folder, self._rows(jobs[written], finished.pop(written)))
                    written += 1
                stop, going = self._ranks.any(stopped(), more)
                if stop:
                    return False
        return True

    def close(self) -> None:
        """End the worker processes."""
        while self._sets:
            self._sets.pop().close()

    def _begin(
        self, jobs: Sequence[Job], numbers: Iterable[int], agent_of: Callable[[int], Player]
    ) -> Iterator[tuple[int, Callable[[ModifiedVectorEnv], Games]]]:
        """What begins each of the jobs with these numbers."""
        how = self.how
        made: dict[int, Player] = {}
        for number in numbers:
            job = jobs[number]
            if job.agent not in made:  # agent by agent, and weights are large
                made = {job.agent: agent_of(job.agent)}
            yield (
                number,
                partial(
                    play_one,
                    player_of(with_same_weights(made[job.agent]), job.player),
                    string=job.string,
                    episodes=how.games,
                    seed=how.evaluation_seed,
                    deterministic=job.deterministic,
                    device=torch.device("cpu"),
                ),
            )

    def _open(self) -> None:
        """Open as many sets of games as there are workers for, but no more than one agent's jobs need."""
        how = self.how
        jobs = 2 * len(how.splits) * len(how.players)  # greedy and sampled
        sets = sets_of_games(math.ceil(jobs / self._ranks.size), how.num_workers)
        num_envs = min(how.games, AT_ONCE)
        while len(self._sets) < sets:
            processes = {"num_workers": how.num_workers // sets, "worker_timeout": how.worker_timeout}
            self._sets.append(evaluation_games(how.game, num_envs, seed=how.evaluation_seed, **processes))

    def _rows(self, job: Job, records: Sequence[GameRecord]) -> list[tuple[Any, ...]]:
        """Rows of evals.csv: every game once for each place in the run that these weights stand for."""
        how, string, run = self.how, job.string, self.how.folder.resolve().name
        return [
            (
                *(run, how.seed, label.phase, label.global_step, string, how.splits[string], episode),
                *(how.evaluation_seed, int(job.deterministic), record.score, record.length, record.lives),
                label.trained_on,
                *([job.player] if job.player else []),
            )
            for label in job.labels
            for episode, record in enumerate(records)
        ]


def _advance(playing: Iterator[T | None], seconds: float) -> tuple[list[T], bool]:
    """Let it go on for so long; returns what came of it, and whether there is more to come."""
    end, new = time.perf_counter() + seconds, []
    for result in playing:
        if result is not None:
            new.append(result)
        if time.perf_counter() > end:
            return new, True
    return new, False


# ------------------------------------------------------------------------------------------------- between two updates


class ContinualEvaluation:
    """Notes what is to be evaluated, keeps weights until it is, and plays the games between two updates.

    Whenever the run is saved, what is pending is saved with it. A context manager: leaving it ends worker processes.
    """

    def __init__(
        self,
        how: RunEvaluation,
        *,
        plan: Plan | None,
        batch_size: int,
        make_agent: Callable[[], nn.Module],
        ranks: Ranks = ALONE,
        saved: Mapping[str, Any] | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        """Write the plan; without one nothing is evaluated.

        Args:
            batch_size: as for `is_due`.
            make_agent: an agent of the run's kind, on the CPU, whatever its weights.
            saved: the state of a run that goes on.
        """
        self._folder, self._plan, self._batch_size, self._report = how.folder, plan, batch_size, report
        self._make_agent, self._ranks, self._evaluator = make_agent, ranks, Evaluator(how, ranks)
        self._noted: list[Label] = []
        self._pending: list[Weights] = []
        self._logged: set[tuple[Any, ...]] = set()
        self._warned = False
        if saved is not None:
            ranks.from_main(lambda: forget_after(how.folder, saved["counters"]["global_step"]))
            self._logged = {tuple(key) for key in saved.get("evaluations", ())}
            self._pending = [*ranks.from_main(lambda: snapshots(how.folder)), *pending_in(saved)]
        if plan is not None:
            ranks.from_main(lambda: write_plan(how.folder, plan))

    def state_dict(self) -> dict[str, Any]:
        """What has been logged and what is pending, as plain values for the run's saved state."""
        pending = [[[list(label) for label in labels], tensors] for labels, tensors in self._pending]
        return {"evaluations": [list(key) for key in sorted(self._logged)], "pending_evaluations": pending}

    @property
    def due(self) -> bool:
        """Whether weights wait to be evaluated."""
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
            tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in agent.state_dict().items()}
            self._pending.append(Weights(self._noted, tensors))
            self._noted = []

    def evaluate(self, tracker: Tracker, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Play what is pending, as far as it is not in evals.csv yet, and log it; on all ranks.

        stopped: see `Evaluator.play`. Returns False where that ended it; all stays pending then.
        """
        taken = [weights.labels for weights in self._pending]
        jobs = self._ranks.from_main(lambda: self._evaluator.missing(taken))
        if jobs:
            steps = " and ".join(dict.fromkeys(f"{job.labels[0].global_step:,}" for job in jobs))
            games = len(jobs) * self._plan.games if self._plan else 0
            self._report(f"evaluating the weights of step {steps}: {games:,} games")
        if not self._evaluator.play(jobs, self._agent, stopped):
            return False
        self._pending = []
        if self._ranks.is_main:
            self._log(tracker)
            for path in snapshot_paths(self._folder):
                path.unlink()
        return True

    def finish(self, tracker: Tracker) -> list[dict[str, str]]:
        """Evaluate what is left; returns the rows of `evals.csv`, none without evaluations."""
        if self._plan is None:
            return []
        self.evaluate(tracker)
        return read_results(self._folder)

    def __enter__(self) -> "ContinualEvaluation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._evaluator.close()

    def _agent(self, number: int) -> Any:
        agent = self._make_agent()
        agent.load_state_dict(self._pending[number].tensors)
        return agent.eval()

    def _log(self, tracker: Tracker) -> None:
        """Log the mean scores of evaluations that were not logged yet, each at its own step."""

        def key(row: dict[str, str]) -> tuple[int, int, str, str]:
            mode = "greedy" if row["deterministic"] == "1" else "sampled"
            mode += f"/{row['agent']}" if row.get("agent") else ""
            return int(row["global_step"]), int(row["phase"]), row["modification"] or UNMODIFIED, mode

        results = read_results(self._folder, self._warn)
        for evaluation, rows in groupby(sorted(results, key=key), key=key):
            if evaluation not in self._logged:
                self._logged.add(evaluation)
                step, _, modification, mode = evaluation
                tracker.scalar(f"eval/{modification}/{mode}", fmean(float(row["score"]) for row in rows), step)

    def _warn(self, sentence: str) -> None:
        """Report that `evals.csv` is not as it should be, once."""
        if not self._warned:
            self._warned = True
            self._report(sentence)


def open_evaluations(
    setup: Setup[Any], folder: Path, envs: VectorGames, report: Callable[[str], None]
) -> ContinualEvaluation:
    """What evaluates a run while it trains; does nothing unless that was asked for. envs: of the training."""
    args, plan = setup.args, setup.plan

    def make_agent() -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # whatever a new agent draws, the training does not notice
            return setup.script.build(args, envs.observation_shape, envs.num_actions, torch.Generator())

    splits, games = ({}, 1) if plan is None else (plan.splits, plan.games)
    return ContinualEvaluation(
        RunEvaluation(
            *(folder, args.seed, setup.game, splits, games, setup.workers_per_rank, players_of(args.architecture)),
            worker_timeout=args.worker_timeout,
        ),
        plan=plan,
        batch_size=args.batch_size,
        make_agent=make_agent,
        ranks=setup.ranks,
        saved=setup.saved,
        report=report,
    )
