"""What training asks of a vector of games, and what these ask of one game: here another emulator fits in.

`VectorGames` says nothing of frames, discrete actions or Atari: several games in one vector, physics with continuous
actions and vectors, or games that all run on one GPU are other classes with the same members. `Game` is what lies below
one agent's lives, scores and restarts (`agent_game.AgentGame`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from continual_hackatari.wrappers.goals import Goal


class GameRecord(NamedTuple):
    """One played game, measured in the emulator's own score, below every training wrapper."""

    env: int
    modification: str
    score: float
    length: int
    """agent steps"""
    lives: int
    """lives lost"""
    cut: bool
    """ended by a switch or by the end of the run, so that `score` is no score of a whole game"""
    live_switches: int
    """switches in mid-game; `modification` is then the last one"""
    number: int
    """which game of this environment, from 0"""
    life_scores: tuple[float, ...]
    life_lengths: tuple[int, ...]


class Arrays(Protocol):
    """Results of the last step, one row per environment; a group's rows hold from `step_wait` to its next step."""

    @property
    def observations(self) -> np.ndarray:
        """What the agent sees, [num_envs, *observation_shape]: after an episode's end that of the next one."""

    @property
    def final_observations(self) -> np.ndarray:
        """The last observation of an episode, in rows where one just ended; the others mean nothing."""

    @property
    def rewards(self) -> np.ndarray: ...

    @property
    def terminated(self) -> np.ndarray: ...

    @property
    def truncated(self) -> np.ndarray: ...

    @property
    def achieved(self) -> np.ndarray:
        """What goal the step achieved, float32 [num_envs, G], before any restart; G is 0 without goals."""


class Description(Protocol):
    """What training reads of the description of the games."""

    @property
    def goal(self) -> Goal | None:
        """The goals of the game, where goals are asked for."""

    @property
    def num_goals(self) -> int:
        """Numbers per goal."""


class VectorGames(Protocol):
    """Games stepped together, an ended episode followed by the next within the same step."""

    num_envs: int
    observation_shape: tuple[int, ...]
    """of one environment"""
    groups: list[slice]
    """rows that are stepped together, so that one group plays while the agent thinks about another"""

    @property
    def num_actions(self) -> int: ...

    @property
    def config(self) -> Description: ...

    @property
    def arrays(self) -> Arrays: ...

    def set_modifications(self, string: str, mode: str = "reset") -> tuple[np.ndarray, dict[str, Any]]:
        """Begin (``reset``), or switch to, a modification string; ``info["games"]``: records of games cut short."""

    def step_async(self, actions: np.ndarray, group: int = 0) -> None:
        """Start one step in the games of `group`."""

    def step_wait(self, group: int = 0) -> list[GameRecord]:
        """Wait for it; returns the records of games that ended, and fills `arrays`."""

    def record_next_game(self, path: Path, caption: bool = False) -> None:
        """Make a video of the next game that environment 0 starts: `path` without suffix; with string and score."""

    def cut_games(self) -> list[GameRecord]:
        """Records of the games in progress, for the end of a run."""

    def get_state(self) -> dict[str, Any]:
        """Plain data from which `set_state` continues exactly, in new games of the same description."""

    def set_state(self, state: dict[str, Any], videos: Path | None = None) -> None:
        """Continue from a state; `videos`: the folder of a video that was being made."""

    def close(self) -> None:
        """Finish videos and end all processes."""


class Observer(Protocol):
    """Writes what the agent sees of a game into its observation, without the planes of a goal."""

    def start(self, out: np.ndarray) -> None:
        """A game has just begun."""

    def push(self, out: np.ndarray) -> None:
        """A step was played."""


class Game(Protocol):
    """One game, played by actions of its own kind; lives, restarts and scores of whole games are counted above it."""

    names: tuple[str, ...]
    """the modifications that are played"""
    before_last_frame: Callable[[], None] | None
    """called in every `play` when the last but one frame is on the screen, and at the end of a game that ends early"""

    @property
    def actions(self) -> Sequence[Any]:
        """What the agent's action numbers mean."""

    @property
    def buttons(self) -> Sequence[Any]:
        """Those actions that do something different in this game, where the agent may have more."""

    @property
    def noop(self) -> Any:
        """The action of waiting."""

    @property
    def fire(self) -> Any:
        """The action that starts a game, where `buttons` has it."""

    @property
    def terminated(self) -> bool: ...

    @property
    def truncated(self) -> bool: ...

    @property
    def over(self) -> bool:
        """Terminated or truncated."""

    def lives(self) -> int:
        """Lives that are left; always 0 in games without."""

    def ram(self) -> np.ndarray:
        """What goals are read from: the console's memory, as Python integers."""

    def screen(self) -> np.ndarray:
        """The picture for people, uint8 [height, width, 3]."""

    def seed(self, seed: int) -> None:
        """Seed the game itself, from the next `start` on."""

    def seed_modifications(self, seed: int) -> None:
        """Seed what modifications draw, from the next `start` on."""

    def start(self, names: tuple[str, ...], observe: Callable[[], None]) -> None:
        """Start a new game under `names`; `observe` is called when its first observation is there."""

    def change(self, names: tuple[str, ...]) -> None:
        """Change the modifications in mid-game."""

    def play(self, action: Any, frames: int) -> float:
        """Play so many frames with one of `actions`, `noop` or `fire`; returns the game's own reward."""

    def training_reward(self, reward: float) -> float:
        """The reward to learn from, given the game's own."""

    def carried_over(self) -> dict[str, Any]:
        """All that the next game takes over from this one, as plain data."""

    def carry_over(self, state: dict[str, Any]) -> None:
        """Take over what `carried_over` returned elsewhere; good for `start`."""
