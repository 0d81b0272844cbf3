"""Goals of a game for hindsight: what was achieved, what is desired, and when the one counts as the other.

A goal is a vector of G small numbers, read from the console's memory at the end of an agent step. Of kind ``position``
it is where the player is (the memory cells that OCAtari reads); of kind ``game_specific`` it is what the game is about.
The agent sees a goal as G grey planes behind its frames. This file knows games, not learning.

A desired goal should not be one that the agent can rest on, because every step at it is rewarded: so Freeway's goals
count an accomplished crossing, not a place at the road's far side, where a chicken can stand for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Axis(NamedTuple):
    """One number of a goal."""

    name: str
    unit: str
    cells: str
    """where it comes from, for people"""
    low: float
    """shown black"""
    high: float
    """shown white"""
    target: float
    """what is desired"""
    tolerance: float | None
    """reached within this distance, bounds included; None: reached at the goal's number or above it"""


@dataclass(frozen=True)
class Goal:
    """The goals of one game and kind. `achieved(ram, score)` reads what holds after a step.

    `ram`: uint8 [128]; `score`: what the game itself gave in this step, whatever reward the agent learns from.
    """

    meaning: str
    """the desired goal in words"""
    axes: tuple[Axis, ...]
    achieved: Callable[[np.ndarray, float], tuple[float, ...]]

    @property
    def target(self) -> np.ndarray:
        """The desired goal, float32 [G]."""
        return np.array([axis.target for axis in self.axes], np.float32)

    def reached(self, achieved: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Where `achieved` [..., G] counts as `goal` [..., G] (they broadcast): bool [...], every axis must agree."""
        difference = np.asarray(achieved, np.float32) - np.asarray(goal, np.float32)
        agrees = [
            difference[..., i] >= 0 if axis.tolerance is None else np.abs(difference[..., i]) <= axis.tolerance
            for i, axis in enumerate(self.axes)
        ]
        return np.logical_and.reduce(agrees)

    def grey(self, goal: np.ndarray) -> np.ndarray:
        """How goals [..., G] are shown to the agent: uint8 [..., G], 0 at the axis' low end, 255 at its high end."""
        low, high = (np.array([getattr(axis, end) for axis in self.axes], np.float32) for end in ("low", "high"))
        return np.rint(255 * np.clip((goal - low) / (high - low), 0, 1)).astype(np.uint8)


def _freeway_row(ram: np.ndarray, score: float) -> tuple[float]:
    """Row of the chicken, 6 to 177; 178 in the step that ends a crossing, whose last frames are back at row 6."""
    return (178.0 if score > 0 else float(ram[14]),)


def _freeway_lanes(ram: np.ndarray, score: float) -> tuple[float]:
    """Lanes that lie wholly below the chicken; the tenth counts when the crossing is accomplished."""
    return (10.0 if score > 0 else min(9.0, max(0.0, (int(ram[14]) - 14) // 16)),)


def _kangaroo_floor(ram: np.ndarray, score: float) -> tuple[float]:
    """Floors are six units of RAM 16 apart, 18 is the ground; a jump lifts by two, less than a floor."""
    return (max(0.0, (18 - int(ram[16])) // 6),)


def _frostbite_igloo(ram: np.ndarray, score: float) -> tuple[float, float]:
    """Blocks of the igloo, and whether the player is in it: only its door leads above the highest jump, RAM 100 = 22.

    Inside, the game takes the igloo apart again to pay for its blocks; they count until the next level begins.
    """
    inside = ram[100] < 20
    return (16.0 if inside else float((int(ram[77]) + 1) % 256), float(inside))


def _seaquest_divers(ram: np.ndarray, score: float) -> tuple[float, float]:
    return (float(ram[62]), float(ram[97] <= 13))


POSITIONS = {
    "Freeway": Goal(
        "the road is crossed", (Axis("row", "pixels from below", "RAM 14, score", 0, 178, 178, None),), _freeway_row
    ),
    "Frostbite": Goal(
        "inside the igloo",
        (Axis("x", "pixels", "RAM 102", 0, 160, 123, 4), Axis("y", "pixels", "RAM 100 + 29", 29, 189, 29, 6)),
        lambda ram, score: (float(ram[102]), float(ram[100]) + 29),
    ),
    "Kangaroo": Goal(
        "beside the joey on the top floor",
        (Axis("x", "pixels", "RAM 17 + 15", 15, 160, 133, 4), Axis("y", "pixels", "8 * RAM 16 + 4", 4, 180, 4, 7)),
        lambda ram, score: (float(ram[17]) + 15, 8 * float(ram[16]) + 4),
    ),
    "MontezumaRevenge": Goal(
        "at the key of the first room",
        (
            Axis("x", "pixels", "RAM 42 - 1", 0, 160, 12, 5),
            Axis("y", "pixels", "308 - RAM 43", 53, 180, 104, 6),
            Axis("room", "number", "RAM 3", 0, 23, 1, 0),
        ),
        lambda ram, score: (float(ram[42]) - 1, 308 - float(ram[43]), float(ram[3])),
    ),
}
"""game -> goals of kind ``position``; x and y are those of OCAtari's player, y grows downwards"""

GAME_SPECIFIC = {
    "Freeway": Goal(
        "all lanes crossed", (Axis("lanes crossed", "lanes", "RAM 14, score", 0, 10, 10, None),), _freeway_lanes
    ),
    "Frostbite": Goal(
        "igloo built and entered",
        (
            Axis("blocks of the igloo", "blocks", "RAM 77 + 1", 0, 16, 16, None),
            Axis("inside the igloo", "yes or no", "RAM 100 < 20", 0, 1, 1, None),
        ),
        _frostbite_igloo,
    ),
    "Kangaroo": Goal("top floor", (Axis("floor", "floors", "RAM 16", 0, 3, 3, None),), _kangaroo_floor),
    "Seaquest": Goal(
        "six divers brought to the surface",
        (
            Axis("divers on board", "divers", "RAM 62", 0, 6, 6, None),
            Axis("at the surface", "yes or no", "RAM 97 <= 13", 0, 1, 1, None),
        ),
        _seaquest_divers,
    ),
}
"""game -> goals of kind ``game_specific``"""

GOALS: dict[str, dict[str, Goal]] = {"position": POSITIONS, "game_specific": GAME_SPECIFIC}
"""kind -> game -> its goals"""


def goal_kind(her: bool, game_specific_goals: bool) -> str:
    """The kind of goals that these flags ask for; empty: none."""
    return ("game_specific" if game_specific_goals else "position") if her else ""
