"""Saved states are plain data: nothing in them can run when they are read.

A game's state is the recipe that leads to it: what the game began with, and the actions since (see
`wrappers.agent_game.AgentGame`). Snapshots of the emulator alone would not do: they lack the action that sticky actions
repeat, some of the television chip's registers, and the memory that modifications and object detection keep.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

_MERSENNE_WORDS = 624
_SEQUENCES: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in (list, tuple, set, frozenset)}
_MAPPINGS: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in (dict, OrderedDict, Counter)}
_FACTORIES: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in (int, float, list, dict, set)}
"""of a defaultdict"""
_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


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


def pack(value: Any) -> Any:
    """A copy of `value` as plain data, from which `unpack` makes it again.

    Containers, numpy's numbers and its generators become a dict: the name of their type, and what is in them.

    Raises:
        TypeError: it is something else.
    """
    kind = type(value)
    name = kind.__name__
    if kind in _SEQUENCES.values():
        return {name: [pack(item) for item in value]}
    if kind in _MAPPINGS.values():
        return {name: [[pack(key), pack(item)] for key, item in value.items()]}
    if kind is deque:
        return {name: [pack(item) for item in value], "length": value.maxlen}
    if kind is defaultdict and value.default_factory in _FACTORIES.values():
        return {name: pack(dict(value)), "factory": value.default_factory.__name__}
    if kind is np.random.Generator and type(value.bit_generator).__name__ in _BIT_GENERATORS:
        return {name: value.bit_generator.state}
    plain = np.asarray(value) if isinstance(value, np.generic) else as_numbers(value)
    if isinstance(plain, dict) or not is_plain(plain):
        raise TypeError(f"{name} is no plain data")
    plain = plain.copy() if isinstance(plain, np.ndarray) else plain
    return {"number": plain} if isinstance(value, np.generic) else plain


def unpack(packed: Any) -> Any:
    """What `pack` packed.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: it is damaged.
    """
    if type(packed) is not dict:
        return packed.copy() if isinstance(packed, np.ndarray) else packed
    name, content = next(iter(packed.items()))
    if name in _SEQUENCES:
        return _SEQUENCES[name](map(unpack, content))
    if name in _MAPPINGS:
        return _MAPPINGS[name]({unpack(key): unpack(item) for key, item in content})
    if name == "deque":
        return deque(map(unpack, content), packed["length"])
    if name == "defaultdict":
        return defaultdict(_FACTORIES[packed["factory"]], unpack(content))
    if name == "Generator":
        if content["bit_generator"] not in _BIT_GENERATORS:
            raise ValueError(f"no generator is called {content['bit_generator']!r}")
        generator = np.random.Generator(getattr(np.random, content["bit_generator"])())
        generator.bit_generator.state = content
        return generator
    return content[()]


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
