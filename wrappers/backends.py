"""Which emulator plays a description, and how the agent sees it: the one place where another one is entered.

Another one fulfils `interfaces.Game`, and says what an observation is; lives, scores, restarts, saved states, worker
processes and videos lie above and ask nothing else.
"""

from __future__ import annotations

from functools import cache

import gymnasium
import numpy as np

from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.emulator import load_game, new_emulator, possible_actions
from continual_hackatari.wrappers.interfaces import Game, Observer
from continual_hackatari.wrappers.modified_game import ModifiedGame
from continual_hackatari.wrappers.observations import observation_kind


def open_game(config: GameConfig, seed: int, modification_seed: int) -> tuple[Game, Observer]:
    """A game, not yet begun, and what writes its observations."""
    game = ModifiedGame(config, seed=seed, modification_seed=modification_seed)
    return game, observation_kind(config)(game)


def observation_layout(config: GameConfig) -> tuple[tuple[int, ...], type]:
    """Shape and dtype of an observation, goal planes included."""
    return observation_kind(config).space(config)


def observation_space(config: GameConfig) -> gymnasium.spaces.Box:
    """Gymnasium's description of one observation."""
    shape, dtype = observation_layout(config)
    low, high = (0, 255) if dtype is np.uint8 else (-np.inf, np.inf)
    return gymnasium.spaces.Box(low, high, shape, dtype)


def action_names(config: GameConfig) -> tuple[str, ...]:
    """The emulator's names of the agent's actions (`NOOP`, `FIRE`, `UPFIRE`), in the order of their numbers."""
    return _action_names(config.rom, config.full_action_space)


@cache  # an emulator is needed to tell
def _action_names(rom: str, full_action_space: bool) -> tuple[str, ...]:
    ale = new_emulator(0.0, 0)
    load_game(ale, rom, seed=0)
    return tuple(action.name for action in possible_actions(ale, full_action_space))
