"""A replay in a run: its settings, one for each process, and files to which a save adds only what is new."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np

from continual_hackatari.replay import Keep, Layout, Replay
from continual_hackatari.replay.blocks import Fields
from continual_hackatari.training.config import ConfigError, Range
from continual_hackatari.training.ranks import Ranks
from continual_hackatari.training.resume import read_sealed, sealed_content, sealing, write_sealed
from continual_hackatari.training.room import check_room_of
from continual_hackatari.training.run import derive_seeds
from continual_hackatari.training.settings import LARGE, MANY, Rule
from continual_hackatari.training.system import memory_of
from continual_hackatari.wrappers.interfaces import VectorGames


@dataclass
class ReplaySettings:
    """What a script inherits beside `RunSettings`; `REPLAY_RULES` go with it."""

    # replay
    replay_steps: int = 200_000
    """past agent steps that are kept at most (with torchrun: by all of its processes together)"""
    replay_mb: float = 500.0
    """megabytes that they may take, compressed (with torchrun: in all of its processes together)"""
    replay_keep: Keep = "reservoir"
    """who stays when it is full: a uniform sample of all that was played; the newest; such samples of every
    modification string, all of one size; or the newest in one half and a sample of all before in the other"""
    replay_at_switch: Literal["keep", "clear"] = "keep"
    """at a switch: keep what was played, or forget it"""


REPLAY_RULES = {
    "replay_steps": Rule(Range(1, MANY)),
    "replay_mb": Rule(Range(0, LARGE, above=True)),
    "replay_at_switch": Rule(at_switches=True),
}


def make_replay(args: Any, ranks: Ranks, envs: VectorGames, *, block_steps: int, fields: Fields) -> Replay:
    """The replay of this process, for its own games, with its share of the room.

    args: settings, `ReplaySettings` among them. fields: what is kept of each step besides what it saw, by name: dtype,
    and shape in one step.
    """
    return Replay(
        Layout(envs.observation_shape, envs.arrays.observations.dtype, fields, envs.config.num_goals),
        envs.num_envs,
        block_steps=block_steps,
        steps=args.replay_steps // ranks.size,
        mb=args.replay_mb / ranks.size,
        keep=args.replay_keep,
        forgets=args.replay_at_switch == "clear",
        seed=derive_seeds(args.seed, 1, crc32(b"replay"), ranks.rank)[0],
        stride=args.num_envs,
    )


def check_replay(args: Any, ranks: Ranks, *, block_steps: int, fields: Fields) -> None:
    """Raise ConfigError where the room that `args` give cannot hold a block of each game, or is not there.

    For `Script.check`.
    """
    steps, mb = args.replay_steps // ranks.size, args.replay_mb / ranks.size
    here, present = mb * ranks.local_size, memory_of("cpu")  # never a GPU's
    if not args.resume and present is not None and here * 1e6 > present:  # a run that has begun keeps what it may take
        raise ConfigError(
            f"`replay_mb`: the replay may take {here:,.0f} MB of this machine's memory, which has {present / 1e6:,.0f} "
            "MB; choose less"
        )
    check_room_of(args, steps, mb, block_steps, processes=ranks.size, fields=fields, keep=args.replay_keep)


def numbers_of(replay: Replay, ranks: Ranks) -> dict[str, float]:
    """What is kept in all processes together, to log: each has games of its own, and all have the same tasks.

    Empty but on the main rank, which logs.
    """
    of_ranks = ranks.gather([replay.numbers()])
    names = of_ranks[0] if of_ranks else {}
    return {name: (max if name == "tasks" else sum)(each[name] for each in of_ranks) for name in names}


MOST_FILES = 12
"""That hold blocks, before the smallest are written anew."""


class ReplayFile:
    """Saves a replay, see `run.Filed`: what there is in one file, the blocks in others that are written once.

    A block is written by the first save after it was made. What has left the replay stays in such a file, until more
    than half of the file is that: then the next save writes the rest of it anew, and nobody names it any more. So does
    the smallest file where there are too many.
    """

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._sizes: dict[str, int] = {}  # of the files with blocks
        self._written = 0  # such files

    def save(self, path: Path) -> Sequence[str]:
        """Write what is new; returns the files with blocks."""
        blocks = list(self._replay)
        used: dict[str, int] = defaultdict(int)
        for block in blocks:
            if block.saved is not None:
                used[block.saved[0]] += len(block.content)
        name = path.name.replace("_step", f"_blocks{self._written}_step")  # never that of a file in use
        written_anew = {file for file, size in used.items() if 2 * size < self._sizes[file]}
        written_anew |= set(sorted(used, key=lambda file: used[file])[: max(0, len(used) - MOST_FILES)])
        new = [block for block in blocks if block.saved is None or block.saved[0] in written_anew]
        if new:
            self._sizes[name], self._written = 0, self._written + 1
            with sealing(path.with_name(name)) as write:
                for block in new:
                    write(block.content)
                    block.saved = (name, self._sizes[name])
                    self._sizes[name] += len(block.content)
        places = [block.saved for block in blocks if block.saved is not None]
        files = list(dict.fromkeys(file for file, _ in places))
        self._sizes = {file: self._sizes[file] for file in files}
        state = {
            "replay": self._replay.state_dict(),
            "written": self._written,
            "files": files,
            "sizes": [self._sizes[file] for file in files],
            "file_of_block": np.array([files.index(file) for file, _ in places], np.int64),
            "starts": np.array([start for _, start in places], np.int64),
            "lengths": np.array([len(block.content) for block in blocks], np.int64),
        }
        write_sealed(path, state)
        return files

    def load(self, path: Path) -> None:
        state = read_sealed(path)
        files, self._written = state["files"], state["written"]
        self._sizes = dict(zip(files, state["sizes"], strict=True))
        contents: list[Any] = [None] * len(state["lengths"])
        for number, file in enumerate(files):
            content = sealed_content(path.with_name(file))
            for i in np.flatnonzero(state["file_of_block"] == number):
                start = int(state["starts"][i])
                contents[i] = content[start : start + int(state["lengths"][i])], (file, start)
            del content  # before the next is read
        self._replay.load_state_dict(state["replay"], contents)
