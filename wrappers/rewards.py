"""Reward files: somebody's own Python file whose `reward_function(env) -> float` replaces the game's reward."""

from __future__ import annotations

import ast
import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from continual_hackatari.wrappers.errors import GameError
from continual_hackatari.wrappers.state import as_numbers, is_plain


def load_reward_function(path: str) -> Callable[[Any], float]:
    """``reward_function`` of a Python file, as hackatari's reward files define it.

    Raises:
        GameError: the file is missing or has no such function. Whatever the file itself raises is passed on.
    """
    if not Path(path).is_file():
        raise GameError(
            f"`new_rf`: there is no file {path}; give a Python file that defines reward_function(env) -> float"
        )
    spec = importlib.util.spec_from_file_location("reward_function_file", path)
    if spec is None or spec.loader is None:
        raise GameError(f"`new_rf`: {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "reward_function", None)):
        raise GameError(f"`new_rf`: {path} does not define reward_function(env) -> float")
    return module.reward_function


def reads_objects(path: str) -> bool:
    """Whether a reward file mentions the attribute `objects`, which a game has only where OCAtari is installed."""
    nodes = ast.walk(ast.parse(Path(path).read_bytes()))
    return any(isinstance(node, ast.Attribute) and node.attr == "objects" for node in nodes)


def plain_globals(function: Callable[..., Any]) -> dict[str, Any]:
    """What a file remembers in its globals, as far as that is plain data."""
    values = {
        name: value if is_plain(value) else as_numbers(value)
        for name, value in function.__globals__.items()
        if not name.startswith("__")
    }
    return copy.deepcopy({name: value for name, value in values.items() if is_plain(value)})
