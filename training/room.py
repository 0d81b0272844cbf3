"""Whether replays have room for a block of each game, before anything starts."""

from __future__ import annotations

from typing import Any

import numpy as np

from continual_hackatari.methods import all_methods
from continual_hackatari.replay import Layout, ReplayError
from continual_hackatari.replay.blocks import Fields
from continual_hackatari.replay.memory import check_room
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.game import choose_game
from continual_hackatari.wrappers.backends import action_names, observation_layout


def check_memories(args: Any) -> None:
    """Raise ConfigError where the memory of a method, in one process, could not hold a block of each game."""
    for name, settings in args.chosen_methods.items():
        room = all_methods()[name].room(settings)
        if room is not None:
            keep = getattr(settings, "keep", "reservoir")
            what, flags = f"`methods`: the memory of {name}", f"`{name}.steps` and `{name}.mb`"
            check_room_of(args, *room, keep=keep, what=what, flags=flags)


def check_room_of(
    args: Any,
    steps: int,
    mb: float,
    block_steps: int,
    *,
    processes: int = 1,
    fields: Fields | None = None,
    keep: str = "reservoir",
    what: str = "",
    flags: str = "`replay_steps` and `replay_mb`",
) -> None:
    """Raise ConfigError where the replay of a process, of its own games, could not hold a block of each.

    args: settings of the run. steps, mb: of this process. fields: by default what an actor and critic says of an
    observation. what, flags: for the sentence.
    """
    game, _ = choose_game(args)
    outputs: Fields = {"logits": (np.float32, (len(action_names(game)),)), "value": (np.float32, ())}
    layout = Layout(*observation_layout(game), outputs if fields is None else fields, game.num_goals)
    try:
        check_room(layout, args.num_envs // processes, block_steps, steps, mb, keep)
    except ReplayError as error:
        share = f", {processes} processes sharing {flags}" if processes > 1 else ""
        said = f"{what}: {error}" if what else str(error)
        raise ConfigError(f"{said}{share}; give more {flags}, or play fewer games") from None
