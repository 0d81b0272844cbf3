"""What runs inside a worker process: some of the games, stepped on command.

A worker is started by `wrappers.processes` as a plain interpreter, not as a copy of the training process: it imports
the emulator, numpy and OpenCV, never torch, and it ends when the training process is gone.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from continual_hackatari.wrappers.agent_game import AgentGame
from continual_hackatari.wrappers.backends import observation_layout
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.errors import GameError, ModificationError
from continual_hackatari.wrappers.interfaces import GameRecord
from continual_hackatari.wrappers.video import GameRecorder

# A command is a byte for its kind, a byte for its number, then the group to step or a pickled (method, arguments). Its
# answer begins with the number: after an interruption the other side cannot know which answers are still to come.
STEP, CALL = 0, 1
WAIT = -1
"""in place of an action: leave this game alone for a step"""
NUMBERS = 256


class SharedArrays(NamedTuple):
    """One row per environment; training process and workers see the same memory."""

    actions: np.ndarray
    """int64 [num_envs]"""
    observations: np.ndarray
    """[num_envs, *observation_shape]"""
    final_observations: np.ndarray
    """[num_envs, *observation_shape]; a row is meaningful where an episode just ended"""
    rewards: np.ndarray
    """float64 [num_envs]"""
    terminated: np.ndarray
    """bool [num_envs]"""
    truncated: np.ndarray
    """bool [num_envs]"""
    achieved: np.ndarray
    """float32 [num_envs, G]: what goal the step achieved, before any restart; G is 0 without goals"""


def array_layout(
    num_envs: int, observation_shape: tuple[int, ...], dtype: Any, num_goals: int = 0
) -> list[tuple[tuple[int, ...], np.dtype, int]]:
    """Shape, dtype and byte offset of each of the `SharedArrays`, each on a cache line of its own."""
    observations = (num_envs, *observation_shape)
    kinds: list[tuple[tuple[int, ...], Any]] = [((num_envs,), np.int64), (observations, dtype), (observations, dtype)]
    kinds += [((num_envs,), np.float64), ((num_envs,), np.bool_), ((num_envs,), np.bool_)]
    kinds += [((num_envs, num_goals), np.float32)]
    layout, offset = [], 0
    for shape, kind in kinds:
        layout.append((shape, np.dtype(kind), offset))
        offset += -(-int(np.prod(shape)) * np.dtype(kind).itemsize // 64) * 64
    return layout


def layout_size(layout: list[tuple[tuple[int, ...], np.dtype, int]]) -> int:
    """Bytes that a layout needs."""
    shape, dtype, offset = layout[-1]
    return offset + int(np.prod(shape)) * dtype.itemsize


def map_arrays(memory: Any, config: GameConfig, num_envs: int) -> SharedArrays:
    """The arrays of `config` inside `memory` (a buffer of `layout_size` bytes)."""
    layout = array_layout(num_envs, *observation_layout(config), config.num_goals)
    return SharedArrays(*(np.ndarray(shape, dtype, memory, offset) for shape, dtype, offset in layout))


class Task(NamedTuple):
    """What one worker plays: the first message to it."""

    config: GameConfig
    num_envs: int
    groups: Sequence[Sequence[int]]
    """its rows of the arrays per group"""
    first_env: int


class GameHost:
    """The games of one process.

    Args:
        config: the game to build.
        groups: rows of the arrays per group; a step command plays one group.
        arrays: where actions come from and results go.
        first: row i plays environment first + i of the run.
    """

    def __init__(
        self, config: GameConfig, groups: Sequence[Sequence[int]], arrays: SharedArrays, first: int = 0
    ) -> None:
        self._arrays = arrays
        self._first = first
        self._groups = [
            [
                AgentGame(config, first + i, arrays.observations[i], arrays.final_observations[i], arrays.achieved[i])
                for i in group
            ]
            for group in groups
        ]
        self._games = [game for group in self._groups for game in group]
        self._recorders = {game.index: GameRecorder() for game in self._games if game.index == 0}

    @property
    def num_actions(self) -> int:
        """Number of actions of the game."""
        return len(self._games[0].game.actions)

    def start_games(
        self, names: tuple[str, ...], seed: int | Sequence[int | None] | None, played: str = ""
    ) -> list[GameRecord]:
        """Begin a new game everywhere under `names`, as a new environment with this seed would (None: go on).

        seed: of several, row i takes its own and plays what environment 0 of that seed plays.
        played: the game, here and below as in `AgentGame.set_modifications`.

        Returns the records of games that this cut short.
        """
        records = self.cut_games()
        for game in self._games:
            if isinstance(seed, int):
                game.seed(seed)
            elif seed is not None and (own := seed[game.index - self._first]) is not None:
                game.seed(own, 0)
            game.set_modifications(names, "episode", played)
            game.start_game()
            self._game_started(game)
        return records

    def set_modifications(self, names: tuple[str, ...], mode: str, played: str = "") -> list[GameRecord]:
        """Hand new modifications to every game; returns the records of games that this cut short."""
        records = []
        for game in self._games:
            if mode == "reset" and game.index in self._recorders:
                self._recorders[game.index].game_ended(cut=True)
            record = game.set_modifications(names, mode, played)
            if record is not None:
                records.append(record)
            if mode == "reset":
                self._game_started(game)
        return records

    def cut_games(self) -> list[GameRecord]:
        """The records of all unfinished games."""
        for recorder in self._recorders.values():
            recorder.game_ended(cut=True)
        return [record for game in self._games if (record := game.cut()) is not None]

    def restart_numbering(self, total: int | None = None) -> None:
        """Count the games of every environment from 0 again; total: see `AgentGame.restart_numbering`."""
        for game in self._games:
            game.restart_numbering(total)

    def record_next_game(self, path: str, caption: bool = False) -> None:
        """Make an mp4 of the next game of environment 0, if it is played here."""
        for recorder in self._recorders.values():
            recorder.request(Path(path), caption)

    def step(self, group: int) -> list[GameRecord]:
        """Play one agent step in every game of `group`; returns the records of games that ended."""
        arrays, records = self._arrays, []
        for game in self._groups[group]:
            i = game.index - self._first
            action = int(arrays.actions[i])
            if action == WAIT or game.done:
                arrays.rewards[i], arrays.terminated[i], arrays.truncated[i] = 0.0, False, False
                continue
            reward, terminated, truncated, record = game.step(action)
            arrays.rewards[i], arrays.terminated[i], arrays.truncated[i] = reward, terminated, truncated
            if record is not None:
                records.append(record)
            if game.index in self._recorders:
                self._record_frame(game, record)
        return records

    def get_state(self) -> dict[int, dict[str, Any]]:
        """State of every environment that is played here, by row."""
        states = {game.index - self._first: game.get_state() for game in self._games}
        for index, recorder in self._recorders.items():
            states[index - self._first]["video"] = recorder.get_state()
        return states

    def set_state(self, states: dict[int, dict[str, Any]], videos: str | None) -> None:
        """Continue from what `get_state` returned, with the videos in folder `videos` (None: make none)."""
        for game in self._games:
            state, recorder = states[game.index - self._first], self._recorders.get(game.index)
            if recorder is None or videos is None:
                game.set_state(state)
                continue
            try:
                recorder.set_state(state["video"], Path(videos))
            except (LookupError, TypeError, ValueError) as error:
                raise GameError(f"the saved state of the videos is damaged: {error}") from error
            game.set_state(state, partial(self._add_frame, game, recorder))

    def keep_final_screens(self) -> None:
        """From now on, keep the screen of each episode's end for `screens`."""
        for game in self._games:
            game.keep_final_screen = True

    def screens(self, final: list[int]) -> dict[int, np.ndarray | None]:
        """Row -> its screen; for rows in `final` that of the last episode's end."""
        rows = {game.index - self._first: game for game in self._games}
        return {row: game.final_screen if row in final else game.game.screen() for row, game in rows.items()}

    def close(self) -> None:
        """Wait for videos that are still being written."""
        for recorder in self._recorders.values():
            recorder.close()

    def _record_frame(self, game: AgentGame, record: GameRecord | None) -> None:
        recorder = self._recorders[game.index]
        if record is not None:
            recorder.game_ended(cut=False)
            self._game_started(game)
        else:
            self._add_frame(game, recorder)

    def _add_frame(self, game: AgentGame, recorder: GameRecorder) -> None:
        if recorder.recording:
            recorder.add(game.game.screen(), game.modification, game.score)

    def _game_started(self, game: AgentGame) -> None:
        if game.index in self._recorders:
            self._recorders[game.index].game_started()


def serve(connection: Connection, memory_fd: int) -> None:
    """Build the games that the first message describes and obey until the other side closes the connection."""
    host = None
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the training process is gone
        task: Task = connection.recv()
        try:
            arrays = map_arrays(mmap.mmap(memory_fd, 0), task.config, task.num_envs)
            host = GameHost(task.config, task.groups, arrays, task.first_env)
        except BaseException as error:
            connection.send_bytes(_answer(0, *_failure(error)))
            return
        connection.send_bytes(_answer(0, True, host.num_actions))
        _obey(connection, host)
    if host is not None:
        host.close()  # or the thread of an unfinished video would keep this process alive


def _obey(connection: Connection, host: GameHost) -> None:
    """Carry out commands until one is to close or fails."""
    while True:
        message = connection.recv_bytes()
        kind, number = message[:2]
        try:
            if kind == STEP:
                records = host.step(message[2])
                answer = _answer(number, True, records) if records else message[1:2]
            else:
                method, arguments = pickle.loads(memoryview(message)[2:])
                answer = _answer(number, True, getattr(host, method)(*arguments))
        except BaseException as error:
            connection.send_bytes(_answer(number, *_failure(error)))
            return
        connection.send_bytes(answer)
        if kind == CALL and method == "close":
            return


def _answer(number: int, succeeded: bool, value: Any) -> bytes:
    return bytes((number,)) + pickle.dumps((succeeded, value))


def _failure(error: BaseException) -> tuple[bool, tuple[bool, str, str]]:
    """Of the answer to a command that raised `error`, what follows the number."""
    return False, (isinstance(error, (GameError, ModificationError)), str(error), traceback.format_exc())


def main() -> None:
    """Entry point of a worker process; arguments: two inherited file descriptors, process id of the parent or 0."""
    # Ctrl-C and batch systems signal the whole group, but the training process decides when workers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection, memory_fd, parent = Connection(int(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    if parent:
        die_with(parent)
    cv2.setNumThreads(1)
    serve(connection, memory_fd)


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, even if it hangs or is stopped then (Linux)."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG in <sys/prctl.h>
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that call
        sys.exit(1)
