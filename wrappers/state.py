"""Saved states are plain data: nothing in them can run when they are read.

A game's state is the recipe that leads to it: what the game began with, and the actions since (see
`wrappers.agent_game.AgentGame`). Snapshots of the emulator alone would not do: they lack the action that sticky actions
repeat, some of the television chip's registers, and the memory that modifications and object detection keep.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

_MERSENNE_WORDS = 624


def is_plain(value: object) -> bool:
    """Whether `value` is str, int, float, bool, None, bytes, a numeric array, or lists, tuples, dicts of such."""
    if isinstance(value, dict):
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    if type(value) in (list, tuple):
        return all(map(is_plain, value))  # type: ignore[call-overload]
    if type(value) is np.ndarray:
        return value.dtype.kind in "biuf"
    return value is None or type(value) in (str, int, float, bool, bytes)


def as_numbers(value: Any) -> Any:
    """`value` with each array of Python integers, as games give their RAM, as an int64 array, which is plain."""
    if type(value) is dict:
        return {key: as_numbers(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(as_numbers, value))
    if type(value) is np.ndarray and value.dtype == object and all(type(item) is int for item in value.flat):
        return value.astype(np.int64)
    return value


def mersenne_state(python: random.Random, numpy: np.random.RandomState) -> dict[str, Any]:
    """The states of two generators of kind MT19937, as plain data."""
    _, words, gauss = python.getstate()
    _, keys, position, has_gauss, cached = numpy.get_state(legacy=True)
    return {
        "python": {"words": np.array(words, np.uint32), "gauss": gauss},
        "numpy": {"keys": np.array(keys), "position": int(position), "gauss": float(cached) if has_gauss else None},
    }


def set_mersenne_state(state: dict[str, Any], python: random.Random, numpy: np.random.RandomState) -> None:
    """Continue from what `mersenne_state` returned.

    Raises:
        ValueError, TypeError, KeyError: it is damaged.
    """
    words, gauss = state["python"]["words"], state["python"]["gauss"]
    python.setstate((3, tuple(int(word) for word in words), gauss))
    keys, position, gauss = state["numpy"]["keys"], state["numpy"]["position"], state["numpy"]["gauss"]
    if not 0 <= position <= _MERSENNE_WORDS:  # numpy would read whatever lies in memory there
        raise ValueError(f"position {position} of a generator with {_MERSENNE_WORDS} words")
    numpy.set_state(("MT19937", np.asarray(keys, np.uint32), position, int(gauss is not None), gauss or 0.0))
