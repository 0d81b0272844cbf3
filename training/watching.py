"""Record one game of an agent as a video.

    python eval.py --agent_path runs/<folder> --play game.mp4
    python eval.py --agent_path runs/<folder> --modifs all_black_cars --play game.mp4 --seconds 20 --caption

It is the first game of an evaluation of one game.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from continual_hackatari.agents.player import Player, playing
from continual_hackatari.names import UNMODIFIED
from continual_hackatari.training.chosen_agents import PLAYING_RANGES, PlayingSettings, choose_agents
from continual_hackatari.training.config import ConfigError
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.interfaces import GameRecord
from continual_hackatari.wrappers.look import VIDEO_ENDINGS, check_output, num_frames, played, write_video


@dataclass
class Args(PlayingSettings):
    play: str = ""
    """record one game under one string into this .mp4, and do nothing else"""
    seconds: float | None = None
    """stop after so many seconds (default: a whole game)"""
    caption: bool = False
    """write the modification string and the score so far above the screen"""


RANGES = PLAYING_RANGES


class Video(NamedTuple):
    """What is recorded."""

    path: Path
    seconds: float | None = None
    """None: a whole game"""
    caption: bool = False
    """with the modification string and the score so far above the screen"""


def watch(args: Args) -> None:
    """Record what `args` ask for.

    Raises:
        USER_ERRORS: one sentence, before anything is written.
    """
    check_output("play", args.play, VIDEO_ENDINGS)
    if args.seconds is not None:
        num_frames(args.seconds)
    if len(args.agent_path) > 1:
        raise ConfigError(f"`play` records one game; give `agent_path` one value, not {len(args.agent_path)}")
    chosen = choose_agents(args)
    if len(chosen.strings) > 1:
        raise ConfigError(
            f"`play` records one game; `modifs` must be one modification string, got {len(chosen.strings)}"
        )
    print(*dict.fromkeys(chosen.notes), sep="\n")
    video = Video(Path(args.play), args.seconds, args.caption)
    (agent,), (string,) = chosen.agents, chosen.strings
    greedy, device = args.deterministic, chosen.device
    print(record_game(agent, chosen.game, string, video, seed=args.seed, deterministic=greedy, device=device))


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
    agent = playing(agent, string)
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
