"""What the installed hackatari offers, found by asking each game's module: its documentation does not tell.

hackatari itself is never imported (its package pulls in pygame, matplotlib and torch, and silences all warnings of the
process): only the file of the one game is run, anew for every game, with generators of that environment's own in
place of the global `random` and `np.random`. So every environment is reproducible by itself, and so is every game.
"""

from __future__ import annotations

import ast
import importlib.util
import random
import re
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from continual_hackatari.wrappers.modifications.modification import Hook, Modification
from continual_hackatari.wrappers.modifications.supplementary import HANDLER_MENDS, OVERLAY
from continual_hackatari.wrappers.objects import load_extraction
from continual_hackatari.wrappers.user_files import run_with

PROBE_STATES = 200
PROBE_GAME_LENGTH = 100


@cache
def package_folder() -> Path | None:
    """Where hackatari lies, None if it is not installed; finding it does not import it."""
    spec = importlib.util.find_spec("hackatari")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def runs_after_last_frame() -> bool:
    """Whether the installed hackatari runs the frame modifications once more after a step's last frame.

    Releases differ in it under the same version number, so the source is asked: is there a loop over the frame
    modifications behind the last emulator step of `HackAtari.step`?
    """
    folder = package_folder()
    if folder is None:
        return False
    tree = ast.parse((folder / "core.py").read_text(encoding="utf-8"))
    for cls in (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "HackAtari"):
        for method in (node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == "step"):
            text = [ast.unparse(statement) for statement in method.body]
            last_step = max((i for i, line in enumerate(text) if ".step(" in line), default=len(text))
            return any(line.startswith("for ") and "self.step_modifs" in line for line in text[last_step + 1 :])
    return False


def _game_source(game: str) -> str:
    """The source of hackatari's module of a game; empty if it has none."""
    folder = package_folder()
    path = folder and folder / "games" / f"{game.lower()}.py"
    return path.read_text(encoding="utf-8") if path and path.is_file() else ""


@cache
def _game_code(game: str) -> types.CodeType | None:
    """The compiled module of a game, or None if hackatari has none."""
    source = _game_source(game)
    if "ocatari" in source:
        load_extraction()  # the module imports it: better here, without ocatari's side effects
    return compile(source, f"hackatari/games/{game.lower()}.py", "exec") if source else None


def load_module(game: str, python: random.Random, numpy: np.random.RandomState) -> Any:
    """A private copy of a game's module that draws from the given generators instead of the global ones."""
    code = _game_code(game)
    assert code is not None, game
    module: Any = types.ModuleType(f"hackatari.games.{game.lower()}")
    module.__warningregistry__ = _shown_warnings(game)
    run_with(module, code, python, numpy)
    module.print = _print_nothing
    for name, value in HANDLER_MENDS.get(game, {}).items():
        if not hasattr(module.GameModifications, name):
            setattr(module.GameModifications, name, value)
    return module


@cache
def _shown_warnings(_game: str) -> dict[Any, Any]:
    """Where Python notes which warnings of a game's module were shown, so that not every game shows them again."""
    return {}


def _print_nothing(*_args: object, **_kwargs: object) -> None:
    """Some handlers print in every frame."""


@dataclass(frozen=True)
class Selection:
    """What one name selects in hackatari's module of a game."""

    functions: frozenset[types.CodeType]
    uses: frozenset[str]
    """names that these functions read, through all that they call"""
    modification: Modification


class _Recorder:
    """Stands in for the game while a handler is tried out; notes what is written."""

    def __init__(self, ram: np.ndarray) -> None:
        self.ram = ram
        self.written: dict[int, set[int]] = {}
        self.objects: list[Any] = []

    def get_ram(self) -> np.ndarray:
        return self.ram.astype(object)

    def set_ram(self, address: int, value: int) -> None:
        self.written.setdefault(int(address), set()).add(int(value))
        self.ram[address] = int(value) % 256


@cache
def selections(game: str) -> dict[str, Selection]:
    """All names that the installed hackatari selects in a game, found by trying every string of its module."""
    code = _game_code(game)
    if code is None:
        return {}
    module = load_module(game, random.Random(0), np.random.RandomState(0))
    if not hasattr(module, "modif_funcs"):
        return {}
    constants = list(_constants(code))
    rams = _probing_rams(constants, _game_source(game))
    candidates = {value for value in constants if isinstance(value, str)} | set(dir(module.GameModifications))
    selections = {}
    for name in sorted(candidate for candidate in candidates if re.fullmatch(r"[A-Za-z][\w-]*", candidate)):
        selection = _probe(module, name, rams)
        if selection is not None:
            selections[name] = selection
    return selections


def _constants(code: types.CodeType) -> Iterator[object]:
    """All constants of a module: those of nested functions and inside tuples too."""
    todo: list[object] = list(code.co_consts)
    while todo:
        value = todo.pop()
        if isinstance(value, types.CodeType):
            todo.extend(value.co_consts)
        elif isinstance(value, (tuple, frozenset)):
            todo.extend(value)
        else:
            yield value


def _probing_rams(constants: list[object], source: str) -> np.ndarray:
    """States of the RAM, uint8 [2 * PROBE_STATES, 128], in which the conditions of a module hold again and again.

    Half of the bytes are random and half are numbers of the module; a cell that the module compares with a number
    holds that number half of the time. Each state comes twice in a row, as in a game that moves slowly.
    """
    generator = np.random.default_rng(0)
    mentioned = sorted({value for value in constants if type(value) is int and 0 <= value <= 255} | {0})
    shape = (PROBE_STATES, 128)
    rams = generator.integers(0, 256, shape)
    rams = np.where(generator.random(shape) < 0.5, rams, generator.choice(mentioned, shape))
    for comparison in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Compare)):
        if isinstance(comparison.left, ast.Subscript):
            address = getattr(comparison.left.slice, "value", None)
            value = getattr(comparison.comparators[0], "value", None)
            if type(address) is int and type(value) is int and 0 <= address < 128:
                rams[generator.random(PROBE_STATES) < 0.5, address] = value % 256
    return np.repeat(rams.astype(np.uint8), 2, axis=0)


def _probe(module: Any, name: str, rams: np.ndarray) -> Selection | None:
    """What `name` selects, or None if it selects nothing."""
    recorder = _Recorder(rams[0].copy())
    try:
        lists = module.modif_funcs(HandlerEnvironment(recorder), [name])
    except AttributeError as error:
        return Selection(frozenset(), frozenset(), _failing(name, "", "", error))
    hooks = [hook for functions in lists[:3] for hook in functions]
    if not hooks:
        return _overlay(name) if any(lists[3:]) else None
    runs = " + ".join(moment for moment, i in (("reset", 1), ("frame", 0), ("post", 2)) if lists[i])
    codes = sorted({code_of(hook) for hook in hooks}, key=lambda code: code.co_firstlineno)
    uses = frozenset(used for code in codes for used in _names_used(code, module))
    description = _first_sentence(next((hook.__doc__ for hook in hooks if hook.__doc__), ""))
    try:
        _try_out(module, name, recorder, rams)
    except AttributeError as error:  # a handler that lacks what it reads fails in the real game as well
        return Selection(frozenset(codes), uses, _failing(name, runs, description, error))
    changes_objects_only = "objects" in uses and "set_ram" not in uses
    modification = Modification(
        name=name,
        origin="hackatari",
        runs=runs,
        description=description or _describe_writes(recorder.written),
        writes=tuple(sorted(recorder.written)),
        no_effect="" if uses & {"set_ram", "objects"} else "it writes nothing at all",
        objects_only=changes_objects_only,
    )
    return Selection(frozenset(codes), uses, modification)


def _try_out(module: Any, name: str, recorder: _Recorder, rams: np.ndarray) -> None:
    """Play a few games with one modification on given states of the RAM."""
    # These states need not be possible in the game, and there are no objects; only what is missing altogether
    # (AttributeError) tells that a modification cannot run.
    impossible_states = (ArithmeticError, LookupError, TypeError, ValueError)
    environment = HandlerEnvironment(recorder)
    frame: Sequence[Hook] = ()
    reset: Sequence[Hook] = ()
    post: Sequence[Hook] = ()
    for call, ram in enumerate(rams):
        recorder.ram = ram.copy()
        new_game = call % PROBE_GAME_LENGTH == 0
        if new_game:
            frame, reset, post = module.modif_funcs(environment, [name])[:3]
        for hook in [*(reset if new_game else ()), *frame, environment.run_added, *post]:
            with suppress(*impossible_states):
                hook()


def _failing(name: str, runs: str, description: str, error: AttributeError) -> Modification:
    refused = f"the installed hackatari's version of it cannot run: it needs `{error.name}`, which is defined nowhere"
    return Modification(name, "hackatari", runs, description, refused=refused)


def _overlay(name: str) -> Selection:
    return Selection(frozenset(), frozenset(), Modification(name, "hackatari", "overlay", "", refused=OVERLAY))


def code_of(hook: Any) -> types.CodeType:
    """The code of a bound method or function: the same object in every handler that was made from `_game_code`."""
    return hook.__code__


def _names_used(code: types.CodeType, module: Any) -> set[str]:
    """All names that a function reads, through the methods and module functions that it calls."""
    found: set[str] = set()
    todo = [code]
    while todo:
        current = todo.pop()
        todo.extend(value for value in current.co_consts if isinstance(value, types.CodeType))
        for name in set(current.co_names) - found:
            found.add(name)
            for owner in (module.GameModifications, module):
                function = getattr(owner, name, None)
                if isinstance(function, types.FunctionType):
                    todo.append(function.__code__)
    return found


def _first_sentence(docstring: str) -> str:
    text = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", text)[0]


def _describe_writes(written: dict[int, set[int]]) -> str:
    """For functions without a docstring: the cells, with their values where these are constant."""
    if not written:
        return ""
    if len(values := set.union(*written.values())) == 1:
        return f"Sets RAM {ranges(written)} to {values.pop()}."
    return f"Writes RAM {ranges(written)}."


def ranges(addresses: Sequence[int] | dict[int, set[int]]) -> str:
    """``33-37, 40``"""
    parts: list[list[int]] = []
    for address in sorted(addresses):
        if parts and address == parts[-1][1] + 1:
            parts[-1][1] = address
        else:
            parts.append([address, address])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


class HandlerEnvironment:
    """What hackatari's handlers see as ``self.env``; new for every game, so nothing left on it survives a game."""

    def __init__(self, view: Any) -> None:
        # Plain attributes: handlers call these two some forty times per agent step.
        self.set_ram: Callable[[int, int], None] = view.set_ram
        self.get_ram: Callable[[], np.ndarray] = view.get_ram
        self.memory: dict[str, int] = {}  # what our own rules share
        self.timer = 0  # Boxing's gravity counts with it; hackatari forgets to define it
        self.step_modifs: list[Hook] = []  # RoadRunner's handler adds to it and removes from it
        self._view = view

    @property
    def objects(self) -> list[Any]:
        return self._view.objects

    @objects.setter
    def objects(self, objects: list[Any]) -> None:
        self._view.objects[:] = objects

    def run_added(self) -> None:
        """Run what a handler appended to `step_modifs`; it may remove itself meanwhile."""
        for hook in list(self.step_modifs):
            hook()
