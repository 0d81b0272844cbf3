"""One run: everything that surrounds an algorithm, whatever it learns and however.

A script makes its agent and hands over what of it is saved; then it plays, learns and tells the run what happened:

    with Run(setup) as run:
        agent = run.new_agent(generator)
        run.start(agent, parts={"optimizer": optimizer}, generators={"actions": generator})
        while run.goes_on:
            for _ in range(run.begin_round()):
                new = run.asked_for()
                if new != run.modification:
                    run.end_regime()
                    run.begin_regime(new)
                seen = run.envs.arrays.observations.copy()
                after = run.play(...)     # actions; or step_async, step_wait, games_ended and stepped by hand
            run.log_games()
            with run.updating(losses, ["value"]):
                ...                       # learn
            run.end_round({"losses/value": loss})
        run.finish()
"""

from __future__ import annotations

import contextlib
import copy
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from continual_hackatari.agents.finite import NotFiniteError, not_finite
from continual_hackatari.methods.moments import Clock
from continual_hackatari.reporting.rows import FINAL
from continual_hackatari.schedules.survey import regime_end
from continual_hackatari.training import ending
from continual_hackatari.training.checkpoints import CheckpointError, save_checkpoint
from continual_hackatari.training.config import ConfigError, as_plain_dict
from continual_hackatari.training.evaluations import ContinualEvaluation, open_evaluations
from continual_hackatari.training.printing import say
from continual_hackatari.training.progress import ProgressBar
from continual_hackatari.training.ranks import Ranks
from continual_hackatari.training.resume import (
    ResumeError,
    SaveClock,
    can_go_on,
    exclusive,
    files_of,
    forget_states,
    generator_states,
    lock_of,
    put_aside_passed_over,
    remove_leftovers,
    save_state,
    seals,
    set_generator_states,
)
from continual_hackatari.training.rules import keep_files, with_copy
from continual_hackatari.training.run_folder import (
    create_run_folder,
    slug,
    step_checkpoint,
    switch_checkpoint,
    write_args,
    write_job,
)
from continual_hackatari.training.setup import ArgsT, Setup, machine
from continual_hackatari.training.signals import StopSignals
from continual_hackatari.training.timing import PhaseTimer
from continual_hackatari.training.tracking import Tracker
from continual_hackatari.training.versions import made_by
from continual_hackatari.wrappers.interfaces import GameRecord, VectorGames
from continual_hackatari.wrappers.vector import ModifiedVectorEnv


class Part(Protocol):
    """Something that changes while a run runs, saved in `resume.pt`: small, the same on all ranks."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any, /) -> Any: ...


class Filed(Protocol):
    """Something large, or each rank's own, such as a replay: saved in a file of its own, which `resume.pt` names."""

    def save(self, path: Path) -> Sequence[str] | None:
        """Write all of it to a new file, with `resume.write_sealed`; or only what is new.

        Returns the names of other files in this folder that belong to it, each sealed, each named as this one but for
        what stands before `_step`. A file that no state names any more is removed.
        """

    def load(self, path: Path) -> None:
        """Go on from such a file, with `resume.read_sealed`."""


class Step(NamedTuple):
    """What one step of all games brought."""

    rewards: np.ndarray
    """[N], as the games gave them"""
    next_observations: np.ndarray
    """[N, ...], what was there after the step; where an episode ended, its last, not the first of the next one"""
    terminated: np.ndarray
    """bool [N], nothing follows; not where a time limit or a switch ends the episode"""


class Counters(NamedTuple):
    """Where a run is, between two rounds."""

    global_step: int
    num_switches: int
    last_switch: int
    modification: str
    modification_index: dict[str, int]
    seconds: float
    round_began: int | None = None  # unknown to states of earlier versions


class Run(Generic[ArgsT]):
    """A run from its start, or where it goes on, to its end; the context in which its files and games are open.

    With several processes, each has one; what is written is written by the main one.
    """

    def __init__(self, setup: Setup[ArgsT]) -> None:
        self.setup, self.args, self.ranks, self.device = setup, setup.args, setup.ranks, setup.device
        self.total_timesteps = setup.total_timesteps
        self.global_step = 0
        """steps over all games and processes"""
        self.num_switches = 0
        self.modification = ""
        """the string that is played"""
        self.timer = PhaseTimer()
        self._last_switch = self._round_began = self._round_before = 0
        self._regime_ended = -1  # the step of the last switch that has begun
        self._period_changed = -1  # the step of the last period after which methods changed the weights
        self._modification_index: dict[str, int] = {}
        self._ended_games: list[tuple[int, GameRecord]] = []  # with the step where each of them ended
        self._stopping = self._finished = self._has_start = False
        self._files: list[str] = []  # of parts that have their own, as the last saved state names them
        self._stack = contextlib.ExitStack()

    # ------------------------------------------------------------------------------------------------- open and close

    def __enter__(self) -> Run[ArgsT]:
        """Open the run folder, its files, the games and what evaluates between them."""
        args, ranks, saved = self.args, self.ranks, self.setup.saved
        self.folder: Path = ranks.from_main(lambda: Path(args.resume) if saved is not None else new_folder(self.setup))
        with contextlib.ExitStack() as stack:  # closes what is open already where the next cannot be opened
            self._stack = stack
            enter = stack.enter_context
            enter(ranks.only_on_main(lambda: exclusive(self.folder)))
            self._lock = lock_of(self.folder) if ranks.is_main else None
            enter(saying_how_to_resume(self.setup.script.file, self.folder, ranks))
            self.tracker = enter(ranks.main_first(lambda: open_tracker(self.setup, self.folder)))
            self.setup = replace(self.setup, game=with_copy(self.setup.game, self.folder))
            self.envs: VectorGames = enter(closing(open_games(self.setup)))
            shown = saved["progress"] if saved is not None else {}
            played = -(-self.total_timesteps // args.num_envs) * args.num_envs  # all games take the last step
            self.progress = enter(ProgressBar(played, enabled=ranks.is_main, **shown))
            self.stop = enter(StopSignals(supervised=bool(ranks.job), quiet=not ranks.is_main))
            self.evaluations: ContinualEvaluation = enter(
                open_evaluations(self.setup, self.folder, self.envs, self.progress.write)
            )
            ranks.any(False)  # from here on a signal reaches no rank that does not listen yet
            self._stack = stack.pop_all()
        self.progress.write(f"run folder: {self.folder}")
        if saved is not None:
            self.progress.write(f"it goes on at step {saved['counters']['global_step']:,}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if self._finished and kind is None and self.ranks.is_main:
            setup = self.setup
            ending.say_what_there_is(self.folder, setup.game.env_id, setup.args.architecture, setup.script.file)

    def new_agent(self, generator: torch.Generator) -> Any:
        """What the script builds, with weights drawn by `generator` or of `start_from`, the same on all ranks."""
        agent = self.setup.script.build(self.args, self.envs.observation_shape, self.envs.num_actions, generator)
        if self.setup.start is not None:
            agent.load_state_dict(self.setup.start.model_weights)
        self._has_start = True
        agent.to(self.device)
        self.ranks.start_alike(agent)
        return agent

    def start(
        self,
        agent: nn.Module,
        *,
        parts: Mapping[str, Part | None],
        generators: Mapping[str, torch.Generator],
        files: Mapping[str, Filed] | None = None,
        checkpoint: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """Begin the first regime, or put everything where the run was saved.

        agent, parts, generators, files: all that changes while the run runs, besides what the run itself knows. parts:
        None for one that this run does not have. checkpoint: what checkpoints hold besides the agent's weights.
        """
        self._agent, self._parts, self._generators = agent, {"agent": agent, **parts}, generators
        self._filed, self._checkpoint = files or {}, checkpoint
        self._start_time = time.perf_counter()
        if self.setup.start is not None and not self._has_start:
            raise ConfigError(
                "`start_from` needs a script that makes its agent with `run.new_agent`, as this one does not"
            )
        (apart,) = self.ranks.any(bool(self._filed) and not self.folder.is_dir())
        if apart:  # said here: a process that cannot write its files would end in the midst of the first save
            raise ConfigError(
                f"every process keeps files of its own in the run folder, those of {' and '.join(self._filed)}, and "
                f"`{self.folder}` is not there for all of them; start them in the same folder, and let `--runs_dir` "
                "be on a file system that all machines share"
            )
        if self.setup.saved is not None:
            self._restore(self.setup.saved)
            if self.setup.saved["args"].get("total_timesteps") != self.args.total_timesteps:
                self.save()  # the state that it went on from is that of a shorter run, which may be finished
        else:
            self.modification = self.setup.modification_at(0)
            if self.args.captures_video:
                self.envs.record_next_game(video_path(self.folder, 0, self.modification), self.args.caption)
            self.envs.set_modifications(self.modification, "reset")
            # A run can go on from its first moment, and a disk without room for that is noticed before anything else.
            self.save()
        self._save_clock = SaveClock(self.args.checkpoint_every, self.global_step)

    def finish(self) -> None:
        """The run has come to its end: write the last checkpoint, do the last evaluations, log what comes of all.

        Raises SystemExit where the run was stopped; it is saved.
        """
        self.stop.at_once()  # the run is saved, here a signal ends it
        self.games_ended(self.envs.cut_games())
        self.log_games()
        self.save_agent(self.folder / FINAL)
        self.evaluations.note(self.global_step, self.num_switches, self.modification)
        self.weights_change()
        self.progress.close()
        self.envs.close()  # completes the videos
        for path in sorted((self.folder / "videos").glob("*.mp4")):
            self.tracker.video(path, f"videos/{path.stem}", self.global_step)
        results = self.evaluations.finish(self.tracker)
        # From here on nothing is done together: other ranks would wait for the tests for some minutes only.
        if self.args.test_modifs and self.ranks.is_main:
            ending.test(self.args, self._agent, self.setup.game, self.tracker, self.global_step)
        ending.log_continual_metrics(results, self.folder, self.tracker, self.global_step)
        if self.ranks.is_main:
            forget_states(self.folder, keep_last=not self.args.has_fixed_length)
            self._remove_files(kept=[] if self.args.has_fixed_length else self._files)
        self._finished = True

    # --------------------------------------------------------------------------------------------------------- rounds

    @property
    def goes_on(self) -> bool:
        """Whether there is another round: the run is not at its end and nobody has asked it to stop."""
        return self.global_step < self.total_timesteps and not self._stopping

    def begin_round(self) -> int:
        """How many steps each game plays until the next `end_round`: `num_steps`, in the last one perhaps less."""
        self.evaluations.begin_rollout(self.global_step, self.num_switches, self.modification)
        self._round_before, self._round_began = self._round_began, self.global_step
        missing = self.total_timesteps - self.global_step
        return min(self.args.num_steps, -(-missing // self.args.num_envs))

    def play(self, actions: np.ndarray) -> Step:
        """Play one step of all games of this process, for an agent that waits meanwhile. actions: [N]."""
        self.timer.lap("inference")
        for group, games in enumerate(self.envs.groups):
            self.envs.step_async(actions[games], group)
        ended = [record for group in range(len(self.envs.groups)) for record in self.envs.step_wait(group)]
        self.stepped()
        self.games_ended(ended)
        arrays = self.envs.arrays
        after, over = arrays.observations.copy(), arrays.terminated | arrays.truncated
        after[over] = arrays.final_observations[over]
        self.timer.lap("emulation")
        return Step(arrays.rewards.copy(), after, arrays.terminated.copy())

    def stepped(self) -> None:
        """All games have played, or have begun to play, one more step."""
        self.global_step += self.args.num_envs
        self.progress.update(self.global_step, self.modification)

    def games_ended(self, records: Sequence[GameRecord], step: int | None = None) -> None:
        """These games have ended at `step`, by default now; `log_games` writes them."""
        self._ended_games += [(self.global_step if step is None else step, record) for record in records]

    def log_games(self) -> None:
        """One row of episodes.csv per game that ended on any rank, in the order in which one process would see them."""
        ended, self._ended_games = self.ranks.gather(self._ended_games), []
        for global_step, game in sorted(ended, key=lambda item: (item[0], item[1].cut, item[1].env)):
            self.tracker.episode(
                {
                    "global_step": global_step,
                    "env": game.env,
                    "modification": game.modification,
                    "return": game.score,
                    "length": game.length,
                    "lives": game.lives,
                    "cut": game.cut,
                    "live_switches": game.live_switches,
                }
            )
            if not game.cut:
                self.progress.game(game.score)

    def log(self, numbers: Mapping[str, float]) -> None:
        """Log numbers at the present step."""
        self.tracker.scalars(numbers, self.global_step)

    def end_round(self, numbers: Mapping[str, float]) -> None:
        """Log `numbers` and what all runs log, and save agent and run where that is due or somebody asks it to stop."""
        index = self._modification_index.setdefault(self.modification, len(self._modification_index))
        self.log(numbers)
        self.log({"charts/SPS": self.global_step / self._seconds, "charts/modification_index": index})
        self.log({f"time/{phase}": seconds for phase, seconds in self.timer.take().items()})
        self._stopping, saving = self.ranks.any(self._asked_to_stop(), self._save_clock.due(self.global_step))
        # Before the state from which a run goes on, which then has done it.
        if self._passed(self.args.save_agent_every):
            self.save_agent(step_checkpoint(self.folder, self.global_step, self.modification))
        if self._passed(self.args.capture_video_every):
            self.envs.record_next_game(video_path(self.folder, self.global_step), self.args.caption)
        evaluating = self.evaluations.due and not self._stopping
        if saving or self._stopping or evaluating or self.global_step >= self.total_timesteps:
            self.save()
            self._save_clock.saved(self.global_step)
        self.timer.lap("logging")
        if evaluating:
            self._stopping = not self.evaluations.evaluate(self.tracker, self._asked_to_stop)
            self.timer.lap("evaluation")
        if self._stopping:
            self.stop.request()

    def _asked_to_stop(self) -> bool:
        return self.stop.requested or self.ranks.orphaned

    def _passed(self, every: int) -> bool:
        """Whether this round has come to a multiple of `every`; 0: never."""
        return every > 0 and self.global_step // every > self._round_began // every

    def weights_change(self) -> None:
        """Call it before the agent's weights change: if they are to be evaluated, they are copied for that."""
        self.evaluations.keep(self._agent)

    @contextlib.contextmanager
    def updating(self, losses: Sequence[Tensor], names: Sequence[str]) -> Iterator[None]:
        """Around an update, which appends to `losses`: where it breaks the agent, save what it was and end the run.

        names: of the numbers of each of the losses.

        Raises:
            NotFiniteError: a loss or a weight is NaN or infinite.
        """
        self.weights_change()
        writes = self.tracker.active  # of several processes one
        before = copy.deepcopy((self._agent.state_dict(), self._checkpoint())) if writes else None
        problem = ""
        try:
            with torch.autograd.set_detect_anomaly(self.args.detect_anomaly):
                yield
            problem = not_finite(losses, names, self._agent)
        except RuntimeError as error:
            if not self.args.detect_anomaly or "returned nan values" not in str(error):
                raise
            problem = f"the gradient in gradient step {len(losses) + 1}, {error}"
        if problem:
            path = self.folder / f"before_update_step{self.global_step}.cleanrl_model"
            if before is not None:
                self._write_agent(path, *before)
            kept = f"the agent before it is in `{path}`; " if path.exists() else ""
            raise NotFiniteError(
                f"the update after step {self.global_step} is not finite: {problem}; {kept}"
                "try a lower `learning_rate`, or look closer with `--resume` and `--detect_anomaly`"
            )
        self.timer.lap("update")

    def clock(self) -> Clock:
        """Where the run is, for methods: in the regime that is played, or at its end."""
        where = (self._last_switch, self.global_step, self.args.num_envs, self.total_timesteps)
        return Clock(self.global_step, self._last_switch, regime_end(self.setup.schedule, *where))

    # -------------------------------------------------------------------------------------------------------- switches

    def asked_for(self) -> str:
        """The modification string that the schedule asks for at this step."""
        return self.setup.modification_at(self.global_step)

    def end_regime(self) -> None:
        """A switch begins: save the agent of the regime that ends, where that was asked for; it will be evaluated."""
        if self._regime_ended == self.global_step:  # `end_period` has said so
            return
        self._regime_ended = self.global_step
        self._switch_start = time.perf_counter()
        self._switch_checkpoint = ""
        if self.args.save_agent_with_switch:
            path = switch_checkpoint(self.folder, self.num_switches + 1, self.global_step, self.modification)
            self.save_agent(path)
            self._switch_checkpoint = path.name
        self.evaluations.note(self.global_step, self.num_switches, self.modification)

    def end_period(self) -> tuple[str, str] | None:
        """With `boundary` every:STEPS, at the start of a round: the period that has just ended and the one that begins.

        None where the round before had no multiple of these steps. Else the agent of a regime that ends here too is
        saved and noted for evaluation, for methods may change it now.
        """
        every = self.args.boundary_every
        ended, begun = (step // every if every else 0 for step in (self._round_before, self._round_began))
        if ended == begun:
            return None
        if self.asked_for() != self.modification:
            self.end_regime()
        self.weights_change()
        if self.args.methods_change_weights:
            self._period_changed = self.global_step
        return f"period {ended}", f"period {begun}"

    def begin_regime(self, modification: str) -> None:
        """Change the games and write the switch down; games that it cut short are logged."""
        self.num_switches += 1
        self.evaluations.note(self.global_step, self.num_switches, modification)
        if self.args.capture_video:
            self.envs.record_next_game(video_path(self.folder, self.global_step, modification), self.args.caption)
        _, info = self.envs.set_modifications(modification, self.args.switch_mode)
        self.games_ended(info["games"])
        self.log_games()
        seconds = time.perf_counter() - self._switch_start
        changed = self.args.weights_change_at_switches or self._period_changed == self.global_step
        self.tracker.switch(
            {
                "switch": self.num_switches,
                "global_step": self.global_step,
                "from": self.modification,
                "to": modification,
                "mode": self.args.switch_mode,
                "seconds": f"{seconds:.4f}",
                "shrink_and_perturb": changed,
                "checkpoint": self._switch_checkpoint,
            }
        )
        steps = self.global_step - self._last_switch
        self.log({"switch/number": self.num_switches, "switch/seconds": seconds, "switch/regime_steps": steps})
        self.modification, self._last_switch = modification, self.global_step
        self.timer.lap("switch")

    # ------------------------------------------------------------------------------------------- checkpoints and state

    def save_agent(self, path: Path) -> None:
        """Write a checkpoint, and upload it where that was asked for; on the main rank."""
        self._write_agent(path, self._agent.state_dict(), self._checkpoint())

    def _write_agent(self, path: Path, weights: Mapping[str, Tensor], extra: Mapping[str, Any]) -> None:
        if not self.tracker.active:
            return
        save_checkpoint(
            path,
            model_weights=weights,
            args=as_plain_dict(replace(self.args, resume="")),
            global_step=self.global_step,
            modification=self.modification,
            wandb_run_id=self.tracker.wandb_run_id,
            **extra,
        )
        if self.args.save_agent_wandb:
            self.tracker.save_artifact(path, f"{path.parent.name}-{path.stem}")

    @property
    def _seconds(self) -> float:
        """For how long the run has run, stops not counted."""
        return time.perf_counter() - self._start_time

    @property
    def counters(self) -> Counters:
        """Where the run is."""
        where = (self.global_step, self.num_switches, self._last_switch, self.modification, self._modification_index)
        return Counters(*where, seconds=self._seconds, round_began=self._round_began)

    def save(self) -> None:
        """Write `resume.pt`: everything that the run needs to go on from here.

        The main rank writes it, with what the others have of their own: their games, generators and files.

        Raises:
            CheckpointError: it could not be written.
            RanksError: the ranks do not have the same weights any more.
        """
        self._require_folder()
        self.ranks.require_alike(self._agent)
        own = {"generators": generator_states(self._generators, self.device), "envs": self.envs.get_state()}
        of_all_ranks = self.ranks.gather([{**own, "files": self._write_files()}])
        if not self.ranks.is_main:
            return
        try:
            tracked = self.tracker.save(self.global_step)
        except OSError as error:
            raise CheckpointError(f"`{self.folder}` cannot be written any more: {error.strerror or error}.") from error
        parts = {name: None if part is None else part.state_dict() for name, part in self._parts.items()}
        state = {
            "args": as_plain_dict(replace(self.args, resume="")),
            "machine": machine(self.device),
            "counters": self.counters._asdict(),
            **parts,
            **of_all_ranks[0],
            "other_ranks": of_all_ranks[1:],
            "tracker": tracked,
            "progress": {"initial_step": self.global_step, "recent_returns": self.progress.recent_returns},
            **self.evaluations.state_dict(),
        }
        save_state(self.folder, state)
        self._remove_files(kept=[*files_of(state), *self._files])  # those of the state before are kept with it
        self._files = files_of(state)

    def _require_folder(self) -> None:
        """Raise CheckpointError where the folder is another one now, or none: its lock has gone with it."""
        try:
            problem = "" if not self.ranks.is_main or lock_of(self.folder) == self._lock else "it has another `.lock`"
        except OSError as error:
            problem = f"its `.lock`: {error.strerror or error}"
        if problem:
            raise CheckpointError(
                f"`{self.folder}` is not the folder of this run any more ({problem}): it was moved away or replaced; "
                "go on in the one that was moved."
            )

    def _restore(self, saved: dict[str, Any]) -> None:
        """Put everything that `save` saved in its place; videos that were being made are made again."""
        for name, part in self._parts.items():
            try:
                if isinstance(part, torch.optim.Optimizer):
                    load_optimizer(part, saved[name])
                elif part is not None and name in saved:  # earlier versions did not save all that this one does
                    part.load_state_dict(saved[name])
            except torch.cuda.OutOfMemoryError:  # a RuntimeError too, and no fault of the state
                raise
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                raise ResumeError(
                    f"`resume`: `{name}` of the state in `{self.folder}` does not fit this version of the program; go "
                    f"on with the one that saved it ({' '.join(str(error).split())})"
                ) from error
        own = saved if self.ranks.is_main else saved["other_ranks"][self.ranks.rank - 1]
        self.envs.set_state(own["envs"], self.folder / "videos" if self.args.captures_video else None)
        set_generator_states(self._generators, own["generators"], self.device)
        for name, filed in self._filed.items():
            filed.load(self.folder / own["files"][name])
        self._files = files_of(saved)
        counters = counters_of(saved, self.folder)
        where = counters[:5]
        self.global_step, self.num_switches, self._last_switch, self.modification, self._modification_index = where
        began = counters.round_began
        self._round_began = max(0, self.global_step - self.args.batch_size) if began is None else began
        self._start_time -= counters.seconds

    def _write_files(self) -> dict[str, str]:
        """The files of this rank's parts that have their own."""
        rank = "" if self.ranks.alone else f"_rank{self.ranks.rank}"
        names = {name: f"{name}{rank}_step{self.global_step}.pt" for name in self._filed}
        for name, filed in self._filed.items():
            others = filed.save(self.folder / names[name]) or ()
            names |= {f"{name} {number}": other for number, other in enumerate(others)}
        return names

    def _remove_files(self, kept: Sequence[str]) -> None:
        for name in self._filed:
            for path in self.folder.glob(f"{name}*_step*.pt"):
                if path.name not in kept:
                    path.unlink()


def counters_of(saved: Mapping[str, Any], folder: Path) -> Counters:
    """Where a saved run is. Raises ResumeError where another version of the program counts other things."""
    try:
        return Counters(**saved["counters"])
    except TypeError:
        other = ", ".join(sorted(saved["counters"].keys() ^ set(Counters._fields)))
        raise ResumeError(
            f"`resume`: the state in `{folder}` is one of another version of the program, with which it can go on (the "
            f"counters differ: {other})"
        ) from None


def load_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Continue an optimizer's averages with its present settings, which may be tensors that others hold."""
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def derive_seeds(seed: int, number: int, *key: int) -> list[int]:
    """Independent seeds for the generators of a run, so that none shifts another; each `key` gives other ones."""
    return [int(word) for word in np.random.SeedSequence(seed, spawn_key=key).generate_state(number)]


def new_folder(setup: Setup[Any]) -> Path:
    """Create the folder of a new run."""
    args = setup.args
    try:
        return create_run_folder(
            args.runs_dir,
            env_id=setup.game.env_id,
            seed=args.seed,
            exp_name=args.exp_name,
            architecture=args.agent_name,
        )
    except ConfigError as error:
        raise ConfigError(f"{str(error).rstrip('.')}, with `--runs_dir`") from None


def open_games(setup: Setup[Any]) -> ModifiedVectorEnv:
    """This process' games, in two groups, so that one is emulated while the agent thinks about the other."""
    args, ranks, share = setup.args, setup.ranks, setup.games_per_rank
    return ModifiedVectorEnv(
        setup.game,
        share,
        first_env=ranks.rank * share,
        total_envs=args.num_envs,
        num_workers=setup.workers_per_rank,
        num_groups=min(2, share),
        copy=False,
        worker_timeout=args.worker_timeout,
    )


def open_tracker(setup: Setup[Any], folder: Path) -> Tracker:
    """Start W&B (if tracked), TensorBoard and the CSV files of this run, or go on with them; on the main rank only."""
    args, saved, ranks = setup.args, setup.saved, setup.ranks
    if not ranks.is_main:
        return Tracker(folder, active=False)
    files = None if saved is None else saved["tracker"]
    step = 0 if saved is None else counters_of(saved, folder).global_step
    if saved is not None and seals(folder) != saved["seals"]:  # read before the folder was locked
        raise ResumeError(
            f"`resume`: the run in `{folder}` has gone on since its state was read, in another process; start it again"
        )
    try:
        if files is not None:
            remove_leftovers(folder, step)
            put_aside_passed_over(folder, step)
        tracker = ending.tracker_of(args, folder, wandb_run_id=files and files["wandb_run_id"], saved=files)
        write_args(folder, {**as_plain_dict(replace(args, resume="")), **made_by(folder, step, setup.script.file)})
        keep_files(folder, setup.game)
        if ranks.job:
            write_job(folder, ranks.job)
    except OSError as error:
        raise ConfigError(f"the run folder `{folder}` cannot be written: {error.strerror or error}") from None
    return tracker


@contextlib.contextmanager
def saying_how_to_resume(script: str, folder: Path, ranks: Ranks) -> Iterator[None]:
    """Print the command that goes on with the run when it ends before its time."""
    try:
        yield
    except BaseException:  # an error, a signal
        if can_go_on(folder):
            start = ["python"] if ranks.alone else ["torchrun", f"--nproc_per_node={ranks.local_size}"]
            if ranks.local_size < ranks.size:
                start.append(f"--nnodes={ranks.size // ranks.local_size}")
            say("resume:     " + shlex.join([*start, os.path.relpath(script), "--resume", str(folder)]))
        raise


def video_path(folder: Path, global_step: int, modification: str | None = None) -> Path:
    """Where a game is recorded, without suffix. modification: None where it may be another one when a game begins."""
    return folder / "videos" / f"step{global_step:09d}{'' if modification is None else '_' + slug(modification)}"
