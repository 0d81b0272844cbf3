"""Whether a replay has room for a block of each game, before anything starts."""

from __future__ import annotations

from typing import Any

import numpy as np

from continual_hackatari.replay import Layout, ReplayError
from continual_hackatari.replay.blocks import Fields
from continual_hackatari.replay.memory import check_room
from continual_hackatari.training.config import ConfigError
from continual_hackatari.wrappers.shrinking import FRAME_SIZE


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

    args: settings of the run. steps, mb: of this process. what, flags: for the sentence.
    """
    frames = args.obs_mode == "dqn"
    shape = (args.buffer_window_size, *((FRAME_SIZE, FRAME_SIZE) if frames else (1,)))
    layout = Layout(shape, np.uint8 if frames else np.float32, fields or {})
    try:
        check_room(layout, args.num_envs // processes, block_steps, steps, mb, keep)
    except ReplayError as error:
        share = f", {processes} processes sharing {flags}" if processes > 1 else ""
        said = f"{what}: {error}" if what else str(error)
        raise ConfigError(f"{said}{share}; give more {flags}, or play fewer games") from None
