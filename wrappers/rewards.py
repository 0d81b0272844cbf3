"""Reward files: somebody's own Python file whose `reward_function(env) -> float` replaces the game's reward."""

from __future__ import annotations
import __future__

import ast
import random
import re
import types
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import numpy as np

from continual_hackatari.wrappers.errors import GameError
from continual_hackatari.wrappers.state import mersenne_state, pack, set_mersenne_state, unpack
from continual_hackatari.wrappers.user_files import UserFile, content_of, run_file

FLAG = "new_rf"
NO_MEMORY = (types.ModuleType, __future__._Feature, re.Pattern, PurePath, range, complex)
"""besides what can be called: types of globals that remember nothing of a game"""


class RewardFile:
    """A reward file as one game runs it: with globals and generators of its own.

    Raises:
        GameError: the file is missing, has changed, cannot be run or has no `reward_function`.
    """

    def __init__(self, file: UserFile, seed: int) -> None:
        seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])  # other numbers than the modifications draw
        self._python, self._numpy = random.Random(seed), np.random.RandomState(seed)
        module = run_file(FLAG, file, self._python, self._numpy)
        if not callable(getattr(module, "reward_function", None)):
            raise GameError(f"`new_rf`: {file.path} does not define reward_function(env) -> float")
        self.function: Callable[[Any], float] = module.reward_function
        self._globals: dict[str, Any] = module.__dict__

    def state(self) -> dict[str, Any]:
        """What the file remembers in its globals, as far as that can be saved, and its generators: plain data."""
        return {"memory": self._memory()[0], "generators": mersenne_state(self._python, self._numpy)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._globals.update({name: unpack(packed) for name, packed in state["memory"].items()})
        set_mersenne_state(state["generators"], self._python, self._numpy)

    def set_state_of_earlier_versions(self, memory: dict[str, Any]) -> None:
        """Continue from the plain globals, which were all that was saved."""
        self._globals.update(memory)

    def not_saved(self) -> dict[str, str]:
        """Name -> type of the globals that may remember something and cannot be saved."""
        return self._memory()[1]

    def _memory(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The globals that may remember something, packed, and those that cannot be packed with their types."""
        packed, others = dict[str, Any](), dict[str, str]()
        for name, value in self._globals.items():
            if not name.startswith("__") and not callable(value) and not isinstance(value, NO_MEMORY):
                try:
                    packed[name] = pack(value)
                except (TypeError, RecursionError):
                    others[name] = type(value).__name__
        return packed, others


def reads_objects(file: UserFile) -> bool:
    """Whether a reward file mentions the attribute `objects`, which a game has only where OCAtari is installed."""
    nodes = ast.walk(ast.parse(content_of(FLAG, file)))
    return any(isinstance(node, ast.Attribute) and node.attr == "objects" for node in nodes)
