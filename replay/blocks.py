"""Blocks: consecutive steps of one game under one task, put together step by step, then packed into bytes.

A frame is in up to `window` observations, and for each of these again in what followed it. Here every plane is stored
once: an observation that is the one before it, moved on by some planes, costs these planes alone, and any other one all
of its planes. What is read back is what was put in, bit for bit, whatever ended or began in between, because the planes
themselves are compared and nobody has to say where an episode or a window begins. Planes that show a goal do not move
on: they are stored beside every frame, where they cost next to nothing once they are packed.

Each plane is then XORed with the one before it, which leaves little but zeros, and all of them are packed by zlib:
17 times smaller in Freeway, 97 times in Breakout (random play), for 12 to 19 microseconds a plane.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Fields = Mapping[str, tuple[Any, tuple[int, ...]]]
"""What a script keeps of each step, by name: its dtype, and the shape that it has in one step."""

Saved = tuple[str, int]
"""Where the content of a block is saved: the name of the file, and where in it."""
DONE = "done"
"""The one field that every block has."""
_AT, _AFTER = "\0at", "\0after"  # the last plane of what a step saw, and of what followed it; -1: unknown
_LEVEL = 1  # of zlib; higher ones cost several times as much for a few percent
OVERHEAD = 640
"""Bytes that Python needs for a block besides its content, by measurement."""


class Layout:
    """What the steps of a replay look like: observations of one shape and dtype, and the fields of a script."""

    def __init__(self, shape: Sequence[int], dtype: Any, fields: Fields, goals: int = 0) -> None:
        """goals: how many of an observation's last planes show a goal, which stays while the frames move on."""
        self.shape, self.dtype, self.goals = tuple(shape), np.dtype(dtype), goals
        self.frames = self.dtype == np.uint8 and len(self.shape) == 3
        """whether observations are windows of frames; others are kept plainly"""
        self.window = self.shape[0] - goals if self.frames else 1
        self.frame_bytes = self.dtype.itemsize * math.prod(self.shape) // (self.window + goals)
        self.plane_bytes = self.frame_bytes * (1 + goals)
        """of what is stored as one plane: a frame, and beside it all goal planes"""
        own = [(_AT, np.int32, ()), (_AFTER, np.int32, ()), (DONE, np.bool_, ())]
        named = [(name, dtype, tuple(size)) for name, (dtype, size) in fields.items() if name != DONE]
        self.row = np.dtype([*own, *named])

    @property
    def names(self) -> list[str]:
        """Of all fields that a script gives and gets."""
        return [name for name in self.row.names or () if name not in (_AT, _AFTER)]

    def state_dict(self) -> dict[str, Any]:
        """The arguments from which another one is made, as plain data."""
        fields = {name: (self.row[name].base.str, self.row[name].shape) for name in self.names}
        return {"shape": self.shape, "dtype": self.dtype.str, "fields": fields, "goals": self.goals}

    def planes_of(self, observation: np.ndarray) -> np.ndarray:
        """[window, plane_bytes]"""
        planes = np.ascontiguousarray(observation).reshape(self.window + self.goals, -1).view(np.uint8)
        if not self.goals:
            return planes
        beside = np.broadcast_to(planes[self.window :].reshape(1, -1), (self.window, self.goals * self.frame_bytes))
        return np.concatenate([planes[: self.window], beside], axis=1)

    def observations_of(self, planes: np.ndarray) -> np.ndarray:
        """The inverse, [K, *shape], of planes [K, window, plane_bytes]."""
        if self.goals:
            frames, goals = planes[:, :, : self.frame_bytes], planes[:, -1, self.frame_bytes :]
            planes = np.concatenate([frames.reshape(len(planes), self.window * self.frame_bytes), goals], axis=1)
        return planes.view(self.dtype).reshape(len(planes), *self.shape)

    def bytes_of_block(self, steps: int) -> int:
        """Memory of a block of so many steps that could not be compressed, without restarts."""
        return (steps + self.window) * self.plane_bytes + steps * self.row.itemsize + OVERHEAD


@dataclass(slots=True)
class Block:
    """Steps of one game, packed."""

    number: int
    """how many blocks came before it"""
    key: float
    """drawn for it, uniformly"""
    environment: int
    task: int
    """number of its task"""
    first_step: int
    """the run's step at which its first step was played"""
    steps: int
    content: bytes
    """rows, then planes"""
    saved: Saved | None = None

    @property
    def num_bytes(self) -> int:
        return len(self.content) + OVERHEAD


class OpenBlock:
    """A block that is being put together."""

    def __init__(self, layout: Layout, environment: int, first_step: int, length: int) -> None:
        self.environment, self.first_step, self.length = environment, first_step, length
        self.steps = 0
        self._layout = layout
        self._rows = np.zeros(length, layout.row)
        self._planes: list[np.ndarray] = []
        self._seen: np.ndarray | None = None  # [window, bytes of a plane], what was put in last

    def extend(
        self,
        observations: np.ndarray,
        fields: Mapping[str, np.ndarray],
        done: np.ndarray,
        finals: Mapping[int, np.ndarray],
    ) -> None:
        """Further steps, [K, ...]: what they saw, their fields, and what is known of what followed ended episodes."""
        start = self.steps
        rows = self._rows[start : start + len(observations)]
        rows[DONE], rows[_AFTER] = done, -1
        for name, values in fields.items():
            rows[name] = values
        for k, observation in enumerate(observations):
            at = rows[_AT][k] = self._put(observation)
            if start + k > 0 and not self._rows[DONE][start + k - 1]:
                self._rows[_AFTER][start + k - 1] = at
            if k in finals:
                rows[_AFTER][k] = self._put(finals[k])
        self.steps += len(observations)

    def follow(self, observation: np.ndarray) -> None:
        """What followed the last step, in the same episode."""
        self._rows[_AFTER][self.steps - 1] = self._put(observation)

    @property
    def room(self) -> int:
        """For how many more steps."""
        return self.length - self.steps

    @property
    def num_bytes(self) -> int:
        return len(self._planes) * self._layout.plane_bytes + self._rows.nbytes + OVERHEAD

    def _put(self, observation: np.ndarray) -> int:
        """Store the planes that are new; returns where the observation ends."""
        window = self._layout.planes_of(observation)
        new = len(window)
        if self._seen is not None:
            fits = (n for n in range(len(window)) if np.array_equal(self._seen[n:], window[: len(window) - n]))
            new = next(fits, new)
        self._planes += [plane.copy() for plane in window[len(window) - new :]]
        self._seen = window.copy() if new else self._seen
        return len(self._planes) - 1

    def pack(self) -> bytes:
        """The content of a block."""
        planes = np.stack(self._planes)
        if self._layout.frames:
            planes[1:] ^= planes[:-1]
        packed = zlib.compress(planes, _LEVEL) if self._layout.frames else planes.tobytes()
        return self._rows[: self.steps].tobytes() + packed

    def state_dict(self) -> dict[str, Any]:
        return {
            "environment": self.environment,
            "first_step": self.first_step,
            "length": self.length,
            "rows": self._rows[: self.steps].tobytes(),
            "planes": np.stack(self._planes),
            "seen": self._seen,
        }

    @classmethod
    def from_state(cls, layout: Layout, state: Mapping[str, Any]) -> OpenBlock:
        block = cls(layout, state["environment"], state["first_step"], state["length"])
        rows = np.frombuffer(state["rows"], layout.row)
        block.steps = len(rows)
        block._rows[: len(rows)] = rows
        block._planes, block._seen = [plane.copy() for plane in state["planes"]], state["seen"]
        return block


class Unpacked:
    """The steps of a block."""

    def __init__(self, layout: Layout, block: Block) -> None:
        end = block.steps * layout.row.itemsize
        self._layout = layout
        self._rows = np.frombuffer(block.content[:end], layout.row)
        packed = memoryview(block.content)[end:]
        content = bytearray(zlib.decompress(packed) if layout.frames else packed)
        self._planes = np.frombuffer(content, np.uint8).reshape(-1, layout.plane_bytes)
        if layout.frames:
            for before, plane in zip(self._planes, self._planes[1:], strict=False):
                plane ^= before

    def __len__(self) -> int:
        return len(self._rows)

    def field(self, name: str) -> np.ndarray:
        """[steps, ...]"""
        return self._rows[name]

    def observations(self, positions: np.ndarray | slice = slice(None)) -> np.ndarray:
        """What these steps saw, [K, *shape]."""
        return self._windows(self._rows[_AT][positions])

    def after(self, positions: np.ndarray) -> np.ndarray:
        """What followed these steps, [K, *shape]; zeros where that is not known."""
        return self._windows(self._rows[_AFTER][positions])

    @property
    def followed(self) -> np.ndarray:
        """bool [steps]: whether it is known what followed."""
        return self._rows[_AFTER] >= 0

    def _windows(self, ends: np.ndarray) -> np.ndarray:
        planes = np.maximum(ends[:, None] + np.arange(1 - self._layout.window, 1), 0)
        windows = self._planes[planes]
        windows[ends < 0] = 0
        return self._layout.observations_of(windows)
