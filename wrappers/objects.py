"""Object detection from RAM with OCAtari, loaded only where something needs objects.

ocatari is not installable on every Python (`why_missing`); whatever needs no objects works without it.
Importing it costs more than a second and pulls in pygame, matplotlib and (if installed) torch, so it happens at
the first use, with pygame's banner and torch kept out.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

# Games whose OCAtari features cannot be an observation: the number of features varies during play, or detection raises.
VARYING_FEATURES = frozenset(
    {
        "Assault",
        "Asteroids",
        "BankHeist",
        "BattleZone",
        "Enduro",
        "Frogger",
        "KeystoneKapers",
        "Krull",
        "NameThisGame",
        "PrivateEye",
    }
)
FAILING_FEATURES = frozenset(
    {
        "Adventure",
        "BeamRider",
        "Carnival",
        "Centipede",
        "CrazyClimber",
        "Hero",
        "Pacman",
        "Phoenix",
        "Pitfall2",
        "Qbert",
        "RoadRunner",
    }
    | {"TimePilot", "UpNDown", "VideoPinball", "Zaxxon"}
)


def why_missing(package: str) -> str:
    """Why `package` (hackatari or ocatari) is not installed and what to do, the end of a sentence; empty where it is.

    Finding a package does not import it.
    """
    if importlib.util.find_spec(package) is not None:
        return ""
    if sys.version_info >= (3, 13):
        return (
            f"{package} is not installed, because it needs numpy 1, which does not exist from Python 3.13 on: "
            "use Python 3.12 or older"
        )
    return f"{package} is not installed: run `pip install {package}`"


class ObjectDetector:
    """The objects of one running game.

    Args:
        game: name as in the environment id, for example ``"Freeway"``.
        get_ram: returns the 128 bytes of RAM.

    Raises:
        KeyError: OCAtari has no module for the game (`supports_objects` tells beforehand).
    """

    def __init__(self, game: str, get_ram: Callable[[], np.ndarray]) -> None:
        self._extraction = load_extraction()
        self._game = game
        self._get_ram = get_ram
        self._module = _private_module(game)
        self.objects: list[Any] = []

    @property
    def num_features(self) -> int:
        """Length of the feature vector of one frame."""
        return int(self._extraction.get_object_state_size(self._game, False))

    def restart(self) -> None:
        """Forget the objects of the last game, and all else that was kept of it, and detect those of the new one."""
        self._module = _private_module(self._game)
        self.objects = self._module._init_objects_ram(False)
        self.detect()

    def detect(self) -> None:
        """Update `objects` from the RAM."""
        for item in self.objects:
            if item:  # ocatari's stand-in for a missing object is false
                item._save_prev()
        self._module._detect_objects_ram(self.objects, self._get_ram(), False)

    def features(self) -> list[float]:
        """The objects' properties in a row, in pixels: what OCAtari calls the neurosymbolic state."""
        return [value for item in self.objects for value in item._nsrepr]


@cache
def _module_code(game: str) -> types.CodeType:
    """The compiled module of a game."""
    load_extraction()
    module = sys.modules[f"ocatari.ram.{game.lower()}"]
    assert module.__file__ is not None
    return compile(Path(module.__file__).read_text(encoding="utf-8"), module.__file__, "exec")


def _private_module(game: str) -> Any:
    """A copy of ocatari's module of a game (0.05 ms).

    Some modules remember the last state of the RAM in their globals; shared, these would mix the games of a process,
    and what is detected would depend on which games those are.
    """
    code = _module_code(game)
    original = sys.modules[f"ocatari.ram.{game.lower()}"]
    module: Any = types.ModuleType(original.__name__)
    module.__package__ = original.__package__
    # Python notes in a module which of its warnings were shown: a new note would show them in every game.
    module.__warningregistry__ = original.__dict__.setdefault("__warningregistry__", {})
    exec(code, module.__dict__)
    module.sys = types.SimpleNamespace(modules={module.__name__: module})  # where it looks its own classes up
    return module


def load_extraction() -> Any:
    """Import OCAtari's RAM extraction without its side effects.

    ocatari.utils imports torch where it is installed, only for a helper that nothing here uses; a worker process that
    has not loaded torch yet keeps it out. The import also must not change the process' warning filters.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    keep_torch_out = "torch" not in sys.modules
    if keep_torch_out:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module("ocatari.ram.extract_ram_info")
    finally:
        if keep_torch_out:
            del sys.modules["torch"]


def supports_objects(game: str) -> bool:
    """Whether OCAtari can detect the objects of `game` (its module exists and declares how many there are)."""
    if why_missing("ocatari"):
        return False
    load_extraction()
    module = sys.modules.get(f"ocatari.ram.{game.lower()}")
    return module is not None and hasattr(module, "MAX_NB_OBJECTS") and hasattr(module, "_detect_objects_ram")


def supports_object_features(game: str) -> bool:
    """Whether the object features of `game` can be an observation (fixed length, no failure)."""
    return game not in VARYING_FEATURES and game not in FAILING_FEATURES and supports_objects(game)
