"""Many modified games in worker processes, as one gymnasium vector environment.

Several games share a worker, workers share memory with the training process, and each worker gets one short message per
step. Workers live from construction to `close`: a switch of modifications starts no process.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import AlreadyPendingCallError, NoAsyncCallError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from continual_hackatari.names import Task as TaskString
from continual_hackatari.names import parse
from continual_hackatari.wrappers.backends import observation_layout, observation_space
from continual_hackatari.wrappers.config import GameConfig, check_choice, check_string, check_whole
from continual_hackatari.wrappers.errors import GameError, WorkerError
from continual_hackatari.wrappers.interfaces import GameRecord
from continual_hackatari.wrappers.processes import Worker, anonymous_file, available_cores
from continual_hackatari.wrappers.state import is_plain
from continual_hackatari.wrappers.worker import GameHost, Task, array_layout, layout_size, map_arrays

Seed = int | Sequence[int | None] | None
SWITCH_MODES = ("reset", "episode", "live")
WORKER_TIMEOUT = 60.0  # seconds; a step takes milliseconds
GAME_TIMEOUT = 1.0  # seconds more per game for everything but a step; to build a game takes 0.1 s
REPLAY_TIMEOUT = 0.02  # seconds more per step that is played again; it takes 0.0003 s
CLOSING_TIMEOUT = 5.0  # seconds that the other workers get to finish videos after one failed


class ModifiedVectorEnv(VectorEnv):
    """`num_envs` games stepped together; ``AutoresetMode.SAME_STEP``.

    Observations are uint8 [num_envs, window, 84, 84] (``obs_mode`` dqn) or float32 [num_envs, window, features] (obj).
    With goals, G planes of the desired goal follow the frames, and ``arrays.achieved`` [num_envs, G] is filled.
    With ``copy=False`` they are views of shared memory that the next step overwrites. In ``info``, ``final_obs`` holds
    the last observation of every episode that just ended (rows where ``_final_obs`` is true), and ``games`` the
    `GameRecord` of every game that ended.

    A call that is interrupted (Ctrl-C in a notebook) leaves the games somewhere inside a step: only `reset` and `close`
    work then, until `reset` has begun new games. One that came in the middle of a message to a worker ends the workers:
    `reset` says so with a WorkerError, and a new environment is needed.

    Args:
        config: from `game_config`.
        num_envs: number of games.
        first_env, total_envs: these are the environments `first_env` to `first_env + num_envs - 1` of a run that has
            `total_envs`, the others being played elsewhere. An environment's seed, games and number in records are the
            same in every division; rows of arrays count from 0 here.
        num_workers: processes (default: one per core, at most one per game); 0 plays in this process.
        num_groups: `step_async` and `step_wait` can be called per group, so that one group is emulated while the agent
            thinks about another; a group is a contiguous slice of the environments.
        copy: return copies instead of views.
        worker_timeout: a worker that does not answer a step for so many seconds hangs.

    Raises:
        GameError: the platform cannot start workers; an action, option or modification string cannot be played.
        ResetNeeded: a step before the first `reset`, or after an interrupted call.
        AlreadyPendingCallError, NoAsyncCallError: a call that does not fit a step in flight.
        WorkerError: a worker died, hung or failed. The others are stopped, and every later call raises the same.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        config: GameConfig,
        num_envs: int,
        *,
        first_env: int = 0,
        total_envs: int | None = None,
        num_workers: int | None = None,
        num_groups: int = 1,
        copy: bool = True,
        worker_timeout: float = WORKER_TIMEOUT,
    ) -> None:
        self.config = replace(config, num_envs=num_envs if total_envs is None else total_envs)
        self.num_envs = num_envs
        self.first_env = first_env
        self.modifications: tuple[str, ...] = ()
        self.game = config.game
        """whose they are; it may change with them, see `set_modifications`"""
        self._copy = copy
        self.groups = [
            slice(int(part[0]), int(part[-1]) + 1) for part in np.array_split(np.arange(num_envs), num_groups)
        ]
        self.worker_timeout = worker_timeout
        self._workers: list[Worker] = []
        self._failure: Exception | None = None
        self._host: GameHost | None = None
        self._in_flight: dict[int, list[tuple[Worker, int]]] = {}  # group -> who steps it, under which number
        self._begun = self._interrupted = False
        try:
            self.num_actions = self._start(available_cores() if num_workers is None else num_workers)
        except BaseException:
            self.close_extras()  # the workers that did start
            raise
        self.observation_shape, _ = observation_layout(config)
        self.single_observation_space = observation_space(config)
        self.single_action_space = gymnasium.spaces.Discrete(self.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a new game everywhere; the records of the games that this cuts short are in ``info["games"]``.

        A step in flight is finished and its results are dropped.

        Args:
            seed: play from here on what a new environment with ``config.seed`` `seed` plays. None: go on. A list has
                one for each game, which then plays what environment 0 of its own seed plays.
            options: ``{"modifications": string}`` starts the games under this string; otherwise they keep theirs.

        Raises:
            GameError: the seed or an option cannot be used.
            ModificationError: the string cannot be played.
        """
        check_reset(seed, options, self.num_envs)
        if options and "modifications" in options:
            self._take(check_string(self.config, options["modifications"], "modifications")[0])
        if isinstance(seed, (int, np.integer)):
            seed = int(seed)
            self.config = replace(self.config, seed=seed)
        elif seed is not None:
            seed = [None if one is None else int(one) for one in seed]
        for group in [*self._in_flight]:
            self.step_wait(group)
        self._interrupted = False
        records = self._everywhere("start_games", self.modifications, seed, self.game)
        self._begun = True
        return self._observations(), {"games": records}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one agent step in every game; `actions` int [num_envs]."""
        chosen = self._checked_actions(actions, self.num_envs)
        for group in range(len(self.groups)):
            self._require_ready(group)
        for group, games in enumerate(self.groups):
            self._begin_step(chosen[games], group)
        records = [record for group in range(len(self.groups)) for record in self.step_wait(group)]
        return *self._results(), self._info(records)

    def step_async(self, actions: np.ndarray, group: int = 0) -> None:
        """Start one agent step in the games of `group`; `actions` int, one per game of the group."""
        self._require_ready(group)
        games = self.groups[group]
        self._begin_step(self._checked_actions(actions, games.stop - games.start), group)

    def step_wait(self, group: int = 0) -> list[GameRecord]:
        """Wait for the step that `step_async` started; results are then in `arrays`. Returns records of ended games."""
        self._require_workers()
        if group not in self._in_flight:
            raise NoAsyncCallError(f"no step of group {group} is in flight; call `step_async` first", "step_wait")
        try:
            if self._host is not None:
                records = self._host.step(group)
            else:
                answers = [worker.receive(number, self.worker_timeout) for worker, number in self._in_flight[group]]
                records = [record for answer in answers for record in answer]
            del self._in_flight[group]
        except BaseException as error:
            self._call_failed(error)
            raise
        return sorted(records, key=lambda record: record.env)

    @property
    def arrays(self) -> Any:
        """The `SharedArrays` (views, overwritten by the next step)."""
        return self._arrays

    def set_modifications(self, string: str, mode: str = "reset") -> tuple[np.ndarray, dict[str, Any]]:
        """Switch every environment to a task string: to other modifications, or to another game.

        ``reset``: at once, in a new game; ``episode``: each game at its own next game start; ``live``: in place, in
        mid-game, unless a name of the string acts at a game's start only: then as ``episode``. Returns the observations
        after the switch (changed by ``reset`` only) and in ``info["games"]`` the records of games that were cut short.

        Raises:
            ModificationError: the string cannot be played.
            GameError: unknown mode, or another game in mid-game.
        """
        check_choice("switch_mode", mode, SWITCH_MODES)
        canonical, _ = check_string(self.config, string, "modifications")
        if mode == "live" and not self._begun:
            raise ResetNeeded("`switch_mode` live changes games in progress, and none has begun; call `reset` first")
        if mode == "live" and parse(canonical).game not in ("", self.game):
            raise GameError(
                f"`switch_mode` live cannot change {self.game} in mid-game to {parse(canonical).game}; choose "
                "`--switch_mode reset` or `episode`"
            )
        self._require_idle()
        self._take(canonical)
        records = self._everywhere("set_modifications", self.modifications, mode, self.game)
        self._begun |= mode == "reset"
        return self._observations(), {"games": records}

    def record_next_game(self, path: Path, caption: bool = False) -> None:
        """Make an mp4 of the next game that environment 0 starts: `path` without suffix; with string and score."""
        self._everywhere("record_next_game", str(path.resolve()), caption)

    def restart_numbering(self, total: int | None = None) -> None:
        """Count every environment's games from 0 again: with ``reseed_every_game`` the same games come again.

        total: of the games to be played, which the environments take in turn. Those that have none left are no longer
        stepped, until a switch in mode ``reset`` begins games everywhere. None: play on.
        """
        self._everywhere("restart_numbering", total)

    def cut_games(self) -> list[GameRecord]:
        """Records of the games in progress, for the end of a run."""
        return self._everywhere("cut_games")

    def get_state(self) -> dict[str, Any]:
        """The state of all games, while no step is in flight: plain data (see `wrappers.state`) that holds no code.

        It is small (about 20 kB per game, and an observation), takes a millisecond per game, and changes nothing.
        """
        parts = self._ask_each("get_state", [()] * len(self._parts()))
        states = {index: state for part in parts for index, state in part.items()}
        return {
            "config": _plain_config(self.config),
            "first_env": self.first_env,
            "modifications": list(self.modifications),
            "game": self.game,
            "games": [states[index] for index in range(self.num_envs)],
            "arrays": {name: array.copy() for name, array in self._arrays._asdict().items()},
        }

    def set_state(self, state: dict[str, Any], videos: Path | None = None) -> None:
        """Make this new environment continue exactly where another one was at `get_state`; takes no step.

        Every game is played again from its own start, at some thousand steps per second and worker, and the outcome is
        compared with the saved one. The number of workers and groups may be another one.

        Args:
            state: what `get_state` returned; it may come from a file that somebody has changed.
            videos: the folder of the videos; a video that was being made is made again from its game's start, and one
                that was requested is remembered. None: neither.

        Raises:
            GameError: the state belongs to other games, is damaged, or this machine's versions play other games.
        """
        _check_state(state, self.config, self.first_env, self._arrays)
        games = state["games"]
        folder = None if videos is None else str(videos.resolve())
        parts = [({index: games[index] for index in part}, folder) for part in self._parts()]
        steps = max(sum(len(game.get("actions", ())) for game in part.values()) for part, _ in parts)
        self._ask_each("set_state", parts, REPLAY_TIMEOUT * steps)
        self.modifications = tuple(state["modifications"])
        self.game = state.get("game", self.config.game)  # files of earlier versions have none
        for name, array in state["arrays"].items():
            np.copyto(getattr(self._arrays, name), array)
        self._begun = all(game["origin"] is not None for game in games)

    def close_extras(self, **kwargs: Any) -> None:
        """Finish videos and stop the workers."""
        if self._host is not None:
            self._host.close()
            self._host = None
        self._end_workers(self.worker_timeout)

    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def _start(self, num_workers: int) -> int:
        """Build the games, here or in workers; returns the game's number of actions."""
        num_workers = min(num_workers, self.num_envs)
        layout = array_layout(self.num_envs, *observation_layout(self.config), self.config.num_goals)
        if num_workers == 0:
            self._memory = mmap.mmap(-1, layout_size(layout))
            self._arrays = map_arrays(self._memory, self.config, self.num_envs)
            host_groups = [range(group.start, group.stop) for group in self.groups]
            self._host = GameHost(self.config, host_groups, self._arrays, self.first_env)
            return self._host.num_actions
        if os.name != "posix":
            raise GameError("worker processes need Linux or macOS; use `--num_workers 0` to play in one process")
        with anonymous_file(layout_size(layout)) as memory_file:
            self._memory = mmap.mmap(memory_file.fileno(), layout_size(layout))
            self._arrays = map_arrays(self._memory, self.config, self.num_envs)
            for index in range(num_workers):
                everyone = range(self.num_envs)
                groups = [[i for i in everyone[group] if i % num_workers == index] for group in self.groups]
                task = Task(self.config, self.num_envs, groups, self.first_env)
                self._workers.append(Worker(task, index, memory_file.fileno(), self.worker_timeout, self._playing))
        timeout = self.worker_timeout + GAME_TIMEOUT * self.num_envs
        num_actions, *_ = [worker.receive(worker.built, timeout) for worker in self._workers]
        return num_actions

    def _take(self, canonical: str) -> None:
        """Remember a string from `check_string` as the one that is played."""
        game, self.modifications = parse(canonical)
        self.game = game or self.config.game

    @property
    def string(self) -> str:
        """What is played, or is to be played from the next games on, as `check_string` writes it."""
        return str(TaskString(self.game if self.config.full_action_space else "", self.modifications))

    def _playing(self) -> str:
        return f"modifications {self.string!r}"

    def _everywhere(self, method: str, *arguments: Any) -> list[GameRecord]:
        """Call a method of every `GameHost`; returns their records in the order of the environments."""
        results = self._ask_each(method, [arguments] * len(self._parts()))
        records: list[GameRecord] = [record for result in results for record in (result or [])]
        return sorted(records, key=lambda record: record.env)

    def _ask_each(self, method: str, arguments: Sequence[tuple[Any, ...]], more_seconds: float = 0.0) -> list[Any]:
        """Call a method of every `GameHost`, each with its own arguments; returns what they return."""
        self._require_idle()
        timeout = self.worker_timeout + GAME_TIMEOUT * self.num_envs + more_seconds
        try:
            if self._host is not None:
                return [getattr(self._host, method)(*arguments[0])]
            asked = [worker.send(method, own) for worker, own in zip(self._workers, arguments, strict=True)]
            return [worker.receive(number, timeout) for worker, number in zip(self._workers, asked, strict=True)]
        except BaseException as error:
            self._call_failed(error)
            raise

    def _begin_step(self, actions: np.ndarray, group: int) -> None:
        self._arrays.actions[self.groups[group]] = actions
        try:
            steppers = [worker for worker in self._workers if worker.groups[group]]
            self._in_flight[group] = [(worker, worker.send_step(group)) for worker in steppers]
        except BaseException as error:
            self._call_failed(error)
            raise

    def _checked_actions(self, actions: np.ndarray, number: int) -> np.ndarray:
        """`actions` as an array; GameError unless they are `number` whole numbers that the game has as actions."""
        chosen = np.asarray(actions)
        if chosen.shape != (number,) or chosen.dtype.kind not in "iu":
            raise GameError(
                f"`actions` must be {number} whole numbers, one per game, but their shape is {chosen.shape} and their "
                f"type {chosen.dtype}"
            )
        if chosen.astype(np.int64, copy=False).view(np.uint64).max() >= self.num_actions:  # negative ones are huge so
            raise GameError(
                f"`actions` of {self.game} go from 0 to {self.num_actions - 1}, but they are {chosen.tolist()}"
            )
        return chosen

    def _parts(self) -> list[list[int]]:
        """The environments of every `GameHost`."""
        if self._host is not None:
            return [list(range(self.num_envs))]
        return [[index for group in worker.groups for index in group] for worker in self._workers]

    def _require_workers(self) -> None:
        """Raise what ended the workers, if they have ended, and ResetNeeded after an interrupted call."""
        if self._failure is not None:
            raise self._failure
        if not self._workers and self._host is None:
            raise WorkerError("the environments are closed")
        if self._interrupted:
            raise ResetNeeded("the last call was interrupted in the middle of a step; `reset` begins new games")

    def _require_idle(self) -> None:
        self._require_workers()
        if self._in_flight:
            pending = ", ".join(map(str, self._in_flight))
            raise AlreadyPendingCallError(f"a step of group {pending} is in flight; call `step_wait` first", "step")

    def _require_ready(self, group: int) -> None:
        """Raise unless the games of `group` wait for their next actions."""
        self._require_workers()
        if not self._begun:
            raise ResetNeeded("no game has begun; call `reset` or `set_modifications` before the first step")
        if group in self._in_flight:
            raise AlreadyPendingCallError(f"a step of group {group} is in flight; call `step_wait` first", "step")

    def _call_failed(self, error: BaseException) -> None:
        """After a failure the workers end. After an interruption (Ctrl-C) they are heard again from `reset` on."""
        self._in_flight.clear()
        if self._host is None and isinstance(error, Exception):
            self._stop_workers(error)
            return
        self._interrupted = True
        halfway = [worker for worker in self._workers if not worker.forget_answers()]
        if halfway:
            self._stop_workers(
                WorkerError("the environments were interrupted in the middle of a message to a worker; make new ones")
            )

    def _stop_workers(self, error: Exception) -> None:
        """After one worker failed: no process is left behind, and no later call waits for one."""
        self._failure = error
        self._end_workers(CLOSING_TIMEOUT)

    def _end_workers(self, seconds: float) -> None:
        for worker in self._workers:
            worker.ask_to_close()
        deadline = time.monotonic() + seconds
        for worker in self._workers:
            worker.wait_closed(deadline)
        self._workers = []

    def _observations(self) -> np.ndarray:
        return self._arrays.observations.copy() if self._copy else self._arrays.observations

    def _results(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        results = (self._observations(), self._arrays.rewards, self._arrays.terminated, self._arrays.truncated)
        return results if not self._copy else (results[0], *(array.copy() for array in results[1:]))  # type: ignore[return-value]

    def _info(self, records: list[GameRecord]) -> dict[str, Any]:
        info: dict[str, Any] = {}
        done = self._arrays.terminated | self._arrays.truncated
        if done.any():
            final = self._arrays.final_observations
            info["final_obs"], info["_final_obs"] = final.copy() if self._copy else final, done
        if records:
            info["games"] = sorted(records, key=lambda record: record.env)
        return info


def check_reset(seed: Any, options: dict[str, Any] | None, num_envs: int = 0) -> None:
    """Raise GameError for a seed or options that `reset` cannot use.

    num_envs: of a vector, which takes a list of seeds too, with None where a game goes on.
    """
    many = num_envs > 0 and isinstance(seed, (list, tuple, np.ndarray))
    if many and len(seed) != num_envs:
        raise GameError(f"`seed` must be one for all games or a list of {num_envs}, but it is a list of {len(seed)}")
    advice = f"; a list of {num_envs} such numbers would do too" if num_envs > 0 and not many else ""
    for one in seed if many else [seed]:
        if one is not None:
            check_whole("seed", one, 0, 2**63 - 1, advice)
    if options is not None and not isinstance(options, dict):
        raise GameError(f"`options` must be a dict, such as {{'modifications': 'all_black_cars'}}, but is {options!r}")
    for name, value in (options or {}).items():
        if name != "modifications":
            raise GameError(f"`options` {name!r} is unknown; `reset` knows one option, `modifications`")
        if not isinstance(value, str):
            raise GameError(f"`options` modifications must be one string for all games, but it is {value!r}")


def _plain_config(config: GameConfig) -> dict[str, Any]:
    """The fields that saved games depend on; of files their contents, because their folder may move."""
    values = asdict(config)
    del values["modification_file"]  # its digest stays
    digest = values.pop("reward_digest")  # under this name since the first version
    return {**values, "reward_file": digest if config.reward_file else ""}


def _check_state(state: Any, config: GameConfig, first_env: int, arrays: Any) -> None:
    """Raise GameError unless `state` has the form of a state of such games; each game checks its own part."""
    longest = config.max_num_frames_per_episode  # or playing the games again might never end
    try:
        plain = is_plain(state)
    except RecursionError:
        plain = False
    if not plain:
        raise GameError("the saved state of the environments holds something else than plain data")
    try:
        saved = {**state["config"], "first_env": state.get("first_env", 0)}
        present = {**_plain_config(config), "first_env": first_env}
        differing = [name for name in {**saved, **present} if saved.get(name, "") != present.get(name, "")]
        shapes = {name: (array.shape, array.dtype) for name, array in state["arrays"].items()}
        actions = [np.asarray(game.get("actions", [])) for game in state["games"]]
        whole = len(actions) == len(arrays.actions) and all(type(name) is str for name in state["modifications"])
        whole &= all(played.ndim == 1 and len(played) <= longest for played in actions)
        whole &= type(state.get("game", "")) is str
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise GameError(f"the saved state of the environments is damaged: {error!r}") from error
    if differing:
        name = differing[0]
        raise GameError(
            f"the saved state belongs to other environments: its `{name}` is {saved.get(name)!r}, "
            f"the present one is {present.get(name)!r}"
        )
    if not whole or shapes != {name: (array.shape, array.dtype) for name, array in arrays._asdict().items()}:
        raise GameError("the saved state of the environments is damaged: parts of it are missing or have another shape")
