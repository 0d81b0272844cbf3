"""Watching an agent: a video of one game."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from continual_hackatari.agents.player import Player
from continual_hackatari.reporting.rows import UNMODIFIED
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.interfaces import GameRecord
from continual_hackatari.wrappers.look import num_frames, played, write_video


class Video(NamedTuple):
    """What is recorded."""

    path: Path
    seconds: float | None = None
    """None: a whole game"""
    caption: bool = False
    """with the modification string and the score so far above the screen"""


@torch.no_grad()
def record_game(
    agent: Player,
    game: GameConfig,
    string: str,
    video: Video,
    *,
    seed: int,
    deterministic: bool,
    device: torch.device,
) -> str:
    """Record game 0 of an evaluation of one game (`--eval_episodes 1`), or its first seconds; returns what was done.

    Raises:
        OutputError: the video cannot be written.
    """
    generator = torch.Generator(device).manual_seed(seed)
    ended: list[GameRecord] = []

    def choose(observation: np.ndarray, _num_actions: int) -> int:
        seen = torch.from_numpy(observation)[None].to(device)
        return int(agent.act(seen, deterministic=deterministic, generator=generator))

    def screens() -> Iterator[np.ndarray]:
        for screen, record in played(replace(game, seed=seed), string, choose, caption=video.caption):
            if record is not None:
                ended.append(record)
                return
            yield screen

    total = None if video.seconds is None else num_frames(video.seconds)
    number = write_video("play", video.path, itertools.islice(screens(), total), total)
    outcome = f"a whole game, score {ended[0].score:g}" if ended else "not a whole game"
    return f"{video.path}: {number} frames under {string or UNMODIFIED}, {outcome}"
