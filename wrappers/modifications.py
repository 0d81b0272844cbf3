"""Modifications of Atari games: which exist, whether a string can be played, and running them.

    python -m wrappers.modifications                     # games with modifications
    python -m wrappers.modifications ALE/Freeway-v5      # those of one game: origin, when each runs, what it does
    python -m wrappers.modifications ALE/Freeway-v5 --gallery gallery.png
    python -m wrappers.modifications ALE/Freeway-v5 --play out.mp4 --modifs "all_black_cars stop_top_2"

Names come from the installed hackatari first, then from `wrappers.supplementary_modifications`; where hackatari is not
installed, from the latter alone. What hackatari can select is found by asking each game's module, because its
documentation and its version number do not tell.

hackatari itself is never imported (its package pulls in pygame, matplotlib and torch, and silences all warnings of the
process): only the file of the one game is run, anew for every game, with generators of that environment's own in
place of the global `random` and `np.random`. So every environment is reproducible by itself, and so is every game.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.util
import random
import re
import shutil
import signal
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from continual_hackatari.wrappers.objects import load_extraction, why_missing
from continual_hackatari.wrappers.state import mersenne_state, set_mersenne_state
from continual_hackatari.wrappers.supplementary_modifications import (
    ALIASES,
    HANDLER_MENDS,
    NO_EFFECT,
    NO_KNOWN_MEANING,
    OVERLAY,
    REFUSED,
    SUPPLEMENT,
    Hook,
)

MOMENTS = ("reset", "frame", "post")
"""once after a reset; before every emulated frame; after object detection, once per agent step and once per reset"""
UNMODIFIED = "no_modif"
"""what people and files call the unmodified game; as a string it is also \"\""""
PROBE_STATES = 200
PROBE_GAME_LENGTH = 100


class ModificationError(ValueError):
    """A modification string that cannot be played; the text is one sentence for the user."""


class OutputError(ValueError):
    """A picture or video that cannot be written; the text is one sentence for the user."""


@dataclass(frozen=True)
class Modification:
    """One selectable name."""

    name: str
    origin: str
    """``hackatari`` or ``continual-hackatari``"""
    runs: str
    """``frame``, ``reset``, ``post`` or several, as in ``frame + post`` (see `MOMENTS`)"""
    description: str
    writes: tuple[int, ...] = ()
    """RAM addresses"""
    refused: str = ""
    """why it cannot be played"""
    no_effect: str = ""
    """why it makes no difference"""
    objects_only: bool = False
    """changes the detected objects, not the RAM: no observation but ``obs_mode`` obj shows it"""


def split_modifications(string: str) -> tuple[str, ...]:
    """The names of a modification string, in order, each once; none for `UNMODIFIED`."""
    names = tuple(dict.fromkeys(string.split()))
    return () if names == (UNMODIFIED,) else names


# --- what the installed hackatari offers ---------------------------------------------------------------------------


@cache
def _package_folder() -> Path | None:
    """Where hackatari lies, None if it is not installed; finding it does not import it."""
    spec = importlib.util.find_spec("hackatari")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def _runs_after_last_frame() -> bool:
    """Whether the installed hackatari runs the frame modifications once more after a step's last frame.

    Releases differ in it under the same version number, so the source is asked: is there a loop over the frame
    modifications behind the last emulator step of `HackAtari.step`?
    """
    folder = _package_folder()
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
    folder = _package_folder()
    path = folder and folder / "games" / f"{game.lower()}.py"
    return path.read_text(encoding="utf-8") if path and path.is_file() else ""


@cache
def _game_code(game: str) -> types.CodeType | None:
    """The compiled module of a game, or None if hackatari has none."""
    source = _game_source(game)
    if "ocatari" in source:
        load_extraction()  # the module imports it: better here, without ocatari's side effects
    return compile(source, f"hackatari/games/{game.lower()}.py", "exec") if source else None


def _load(game: str, python: random.Random, numpy: np.random.RandomState) -> Any:
    """A private copy of a game's module that draws from the given generators instead of the global ones."""
    code = _game_code(game)
    assert code is not None, game
    module: Any = types.ModuleType(f"hackatari.games.{game.lower()}")
    module.__warningregistry__ = _shown_warnings(game)
    exec(code, module.__dict__)
    module.print = _print_nothing
    numpy_with_generator = types.ModuleType("numpy")
    numpy_with_generator.__dict__.update(np.__dict__, random=numpy)
    for name, value in list(module.__dict__.items()):
        if value is random:
            module.__dict__[name] = python
        elif value is np:
            module.__dict__[name] = numpy_with_generator
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
class _Selection:
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
def _installed(game: str) -> dict[str, _Selection]:
    """All names that the installed hackatari selects in a game, found by trying every string of its module."""
    code = _game_code(game)
    if code is None:
        return {}
    module = _load(game, random.Random(0), np.random.RandomState(0))
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


def _probe(module: Any, name: str, rams: np.ndarray) -> _Selection | None:
    """What `name` selects, or None if it selects nothing."""
    recorder = _Recorder(rams[0].copy())
    try:
        lists = module.modif_funcs(_HandlerEnvironment(recorder), [name])
    except AttributeError as error:
        return _Selection(frozenset(), frozenset(), _failing(name, "", "", error))
    hooks = [hook for functions in lists[:3] for hook in functions]
    if not hooks:
        return _overlay(name) if any(lists[3:]) else None
    runs = " + ".join(moment for moment, i in (("reset", 1), ("frame", 0), ("post", 2)) if lists[i])
    codes = sorted({_code(hook) for hook in hooks}, key=lambda code: code.co_firstlineno)
    uses = frozenset(used for code in codes for used in _names_used(code, module))
    description = _first_sentence(next((hook.__doc__ for hook in hooks if hook.__doc__), ""))
    try:
        _try_out(module, name, recorder, rams)
    except AttributeError as error:  # a handler that lacks what it reads fails in the real game as well
        return _Selection(frozenset(codes), uses, _failing(name, runs, description, error))
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
    return _Selection(frozenset(codes), uses, modification)


def _try_out(module: Any, name: str, recorder: _Recorder, rams: np.ndarray) -> None:
    """Play a few games with one modification on given states of the RAM."""
    # These states need not be possible in the game, and there are no objects; only what is missing altogether
    # (AttributeError) tells that a modification cannot run.
    impossible_states = (ArithmeticError, LookupError, TypeError, ValueError)
    environment = _HandlerEnvironment(recorder)
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


def _overlay(name: str) -> _Selection:
    return _Selection(frozenset(), frozenset(), Modification(name, "hackatari", "overlay", "", refused=OVERLAY))


def _code(hook: Any) -> types.CodeType:
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
        return f"Sets RAM {_ranges(written)} to {values.pop()}."
    return f"Writes RAM {_ranges(written)}."


def _ranges(addresses: Sequence[int] | dict[int, set[int]]) -> str:
    """``33-37, 40``"""
    parts: list[list[int]] = []
    for address in sorted(addresses):
        if parts and address == parts[-1][1] + 1:
            parts[-1][1] = address
        else:
            parts.append([address, address])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


# --- the catalogue and the check of a string -----------------------------------------------------------------------


@cache
def catalogue(game: str) -> dict[str, Modification]:
    """All modifications of a game (name as in the environment id, ``Freeway``), by name; refused ones are marked."""
    found = {name: selection.modification for name, selection in _installed(game).items()}
    for name, supplement in SUPPLEMENT.get(game, {}).items():
        if name not in found or found[name].refused:
            found[name] = Modification(
                name=name,
                origin="continual-hackatari",
                runs=supplement.runs,
                description=supplement.description,
                writes=supplement.writes,
                objects_only=supplement.objects_only,
                refused=_without_objects() if supplement.objects_only else "",
            )
    for name, reason in REFUSED.get(game, {}).items():
        found.setdefault(name, Modification(name, "hackatari", "overlay", "", refused=reason))
    for name, reason in NO_EFFECT.get(game, {}).items():
        if name in found:
            found[name] = replace(found[name], no_effect=reason)
    return dict(sorted(found.items()))


def _without_objects() -> str:
    """Why what only changes the detected objects cannot be played; empty where objects can be detected."""
    why = why_missing("ocatari")
    return f"it changes the objects that OCAtari detects, and {why}" if why else ""


def check_modifications(
    game: str, string: str, *, obs_mode: str = "dqn", argument: str = "modifs"
) -> tuple[str, list[str]]:
    """Check that a modification string can be played.

    argument: the flag or the key of a file from which it comes, for errors.

    Returns the string with normalised whitespace and current names, and lines that the user should see: old names that
    were replaced, names that write the same RAM cells, names without effect.

    Raises:
        ModificationError: an unknown name, one that is refused, or any name for a game without modifications.
    """
    known = catalogue(game)
    names: list[str] = []
    warnings: list[str] = []
    for written in split_modifications(string):
        name = _current_name(game, written)
        _require_playable(game, name, argument)
        if name != written:
            warnings.append(f"`{written}` is played as `{name}`, the present name of that modification of {game}")
        if name not in names:
            names.append(name)
    for name in names:
        if known[name].no_effect:
            warnings.append(f"`{name}` has no visible effect in {game}: {known[name].no_effect}")
        elif known[name].objects_only and obs_mode != "obj":
            warnings.append(
                f"`{name}` has no visible effect with `obs_mode` {obs_mode}: it only changes the detected objects"
            )
    warnings.extend(_conflicts(game, names))
    return " ".join(names), warnings


def wait_for_start(game: str, names: Sequence[str]) -> list[str]:
    """Those of `names` that act at the start of a game only: in mid-game they can but wait for the next one."""
    return [name for name in names if catalogue(game)[name].runs == "reset"]


def _current_name(game: str, name: str) -> str:
    alias = ALIASES.get(game, {}).get(name, name)
    known = catalogue(game)
    return alias if name not in known and alias in known else name


def _require_playable(game: str, name: str, argument: str = "modifs") -> None:
    known = catalogue(game)
    if name in known and not known[name].refused:
        return
    start = f"`{argument}` {name!r}"
    if name == UNMODIFIED:
        raise ModificationError(f"{start} is the unmodified game, so it stands alone; leave out it or the other names")
    if name in known:
        raise ModificationError(f"{start}: this modification of {game} cannot be played: {known[name].refused}")
    hackatari_missing = "" if _package_folder() else why_missing("hackatari")
    if not known and hackatari_missing:
        raise ModificationError(f"{start}: {game} has no modifications of this project's own, and {hackatari_missing}")
    if not known:
        raise ModificationError(
            f'{start}: {game} has no modifications, only "" can be played; '
            "`python -m wrappers.modifications` lists the games that have some"
        )
    advice = f"`python -m wrappers.modifications ALE/{game}-v5` lists all {len(known)}"
    if name in NO_KNOWN_MEANING.get(game, {}):
        raise ModificationError(f"{start}: the name {NO_KNOWN_MEANING[game][name]}; {advice}")
    near = difflib.get_close_matches(name, [other for other in known if not known[other].refused], n=3, cutoff=0.5)
    if hackatari_missing:
        nearest = f" (nearest: {', '.join(near)})" if near else ""
        raise ModificationError(
            f"{start}: this project has no modification of {game} of this name{nearest}, and {hackatari_missing}, "
            f"or another name; {advice}"
        )
    nearest = f"; did you mean {' or '.join(near)}?" if near else ";"
    raise ModificationError(f"{start}: {game} has no modification of this name{nearest} {advice}")


def _conflicts(game: str, names: Sequence[str]) -> Iterator[str]:
    """A line for each two names that write the same RAM cells, with which of them has the last word."""
    known, installed = catalogue(game), _installed(game)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            shared = set(known[first].writes) & set(known[second].writes)
            same_function = all(known[name].origin == "hackatari" for name in (first, second)) and (
                installed[first].functions == installed[second].functions
            )
            if not shared or same_function:
                continue
            if known[second].runs == "reset" != known[first].runs:
                winner, reason = first, "which runs in every frame"
            else:
                winner, reason = second, "the later one"
            yield f"`{first}` and `{second}` both write RAM {_ranges(sorted(shared))}: `{winner}`, {reason}, wins"


# --- running -------------------------------------------------------------------------------------------------------


class _HandlerEnvironment:
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


class ModificationRunner:
    """Runs the modifications of one game.

    The four tuples hold what to call, in the order of the modification string: `before_frame` before every emulated
    frame, `after_last_frame` after the last frame of an agent step, `after_detection` at the end of an agent step and
    of a reset, `after_reset` once after a reset.

    Args:
        game: name as in the environment id, for example ``"Freeway"``.
        view: the game to change, with ``set_ram``, ``get_ram`` (an array of Python integers) and ``objects``.
        seed: of this runner's own generators.
    """

    def __init__(self, game: str, view: Any, seed: int) -> None:
        self._game = game
        self._view = view
        self._python = random.Random(seed)
        self._numpy = np.random.RandomState(seed)
        self._set_hooks({})
        self.needs_objects = False

    def start_game(self, names: Sequence[str]) -> None:
        """Take these modifications, each in its initial state: for a new game, or in mid-game.

        Raises:
            ModificationError: a name that `check_modifications` does not accept.
        """
        for name in names:
            _require_playable(self._game, name)
        known = catalogue(self._game)
        environment = _HandlerEnvironment(self._view)
        hooks = self._handler_hooks([name for name in names if known[name].origin == "hackatari"], environment, names)
        for position, name in enumerate(names):
            if known[name].origin != "hackatari":
                supplement = SUPPLEMENT[self._game][name].start(environment, self._python, self._numpy)
                for moment, hook in zip(MOMENTS, supplement, strict=True):
                    if hook is not None:
                        hooks[moment].append(((position, 0), hook))
        ordered = {moment: [hook for _, hook in sorted(hooks[moment], key=lambda item: item[0])] for moment in MOMENTS}
        installed = _installed(self._game)
        if any("step_modifs" in installed[name].uses for name in names if name in installed):
            ordered["frame"].append(environment.run_added)
        self._set_hooks(ordered)
        self.needs_objects = any(
            known[name].objects_only or (name in installed and "objects" in installed[name].uses) for name in names
        )

    def random_state(self) -> dict[str, Any]:
        """State of the generators: plain data."""
        return mersenne_state(self._python, self._numpy)

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Continue from a state that `random_state` returned."""
        set_mersenne_state(state, self._python, self._numpy)

    def _handler_hooks(
        self, installed_names: list[str], environment: _HandlerEnvironment, names: Sequence[str]
    ) -> dict[str, list[tuple[tuple[int, int], Hook]]]:
        """The functions of one new handler for all names that are hackatari's, with their places in the order.

        One handler, because names share state in it. It hands out its functions in an order that differs from process
        to process; ours is the string's, and the source's for several functions of one name.
        """
        hooks: dict[str, list[tuple[tuple[int, int], Hook]]] = {moment: [] for moment in MOMENTS}
        if not installed_names:
            return hooks
        # A new module as well (0.1 ms): what a release keeps in its globals must not outlive a game either.
        module = _load(self._game, self._python, self._numpy)
        frame, reset, post = module.modif_funcs(environment, installed_names)[:3]
        installed = _installed(self._game)
        for moment, functions in zip(MOMENTS, (reset, frame, post), strict=True):
            for function in functions:
                code = _code(function)
                position = next(names.index(name) for name in installed_names if code in installed[name].functions)
                hooks[moment].append(((position, code.co_firstlineno), function))
        return hooks

    def _set_hooks(self, hooks: dict[str, list[Hook]]) -> None:
        self.after_reset: tuple[Hook, ...] = tuple(hooks.get("reset", ()))
        self.before_frame: tuple[Hook, ...] = tuple(hooks.get("frame", ()))
        self.after_last_frame: tuple[Hook, ...] = self.before_frame if _runs_after_last_frame() else ()
        self.after_detection: tuple[Hook, ...] = tuple(hooks.get("post", ()))


# --- command -------------------------------------------------------------------------------------------------------


def ale_games() -> list[str]:
    """All games that ale-py registers, as named in ``ALE/<game>-v5``."""
    import ale_py
    import gymnasium

    gymnasium.register_envs(ale_py)
    matches = (re.fullmatch(r"ALE/(\w+)-v5", env_id) for env_id in gymnasium.registry)
    return sorted(match[1] for match in matches if match)


def _table(game: str, width: int) -> str:
    """The modifications of one game, one per row, the text wrapped to `width` characters."""
    rows = [("name", "origin", "runs", "what it does")]
    for modification in catalogue(game).values():
        text = modification.description or "(not described)"
        if modification.refused:
            text = f"Cannot be played: {modification.refused}."
        elif modification.no_effect:
            text += f" No visible effect: {modification.no_effect}."
        elif modification.objects_only:
            text += " Shows with obs_mode obj only."
        rows.append((modification.name, modification.origin, modification.runs, text))
    widths = [max(len(row[i]) for row in rows) + 2 for i in range(3)]
    indent = " " * sum(widths)
    lines = []
    for row in rows:
        start = "".join(row[i].ljust(widths[i]) for i in range(3))
        lines += textwrap.wrap(start + row[3], max(width, len(indent) + 30), subsequent_indent=indent)
    return "\n".join(lines)


def _list(game: str) -> list[str]:
    """Lines that describe all modifications of a game."""
    if not catalogue(game):
        own = "" if _package_folder() else " of this project's own"
        return [f'{game} has no modifications{own}; only the unmodified game ("") can be played.']
    return [
        _table(game, shutil.get_terminal_size((120, 24)).columns),
        "",
        "runs: frame = before every emulated frame, reset = once after a reset, post = after each agent step",
        'Several at once: --modifs "name name"; where two write the same cell, the later one wins.',
    ]


def hackatari_is_missing() -> list[str]:
    """A line for lists of modifications, where hackatari's own are not among them."""
    why = "" if _package_folder() else why_missing("hackatari")
    return [f"hackatari's own modifications are missing here: {why}."] if why else []


def _overview(games: Sequence[str]) -> str:
    """All games that have modifications, with how many."""
    counts = {game: sum(not modification.refused for modification in catalogue(game).values()) for game in games}
    lines = [f"{game:<18}{count:>3}" for game, count in counts.items() if count]
    others = "the other games have none" if _package_folder() else "this project has none of other games"
    lines.append(f"{sum(counts.values())} modifications in {len(lines)} games; {others}.")
    lines += hackatari_is_missing()
    return "\n".join([*lines, "One game: python -m wrappers.modifications ALE/Freeway-v5"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wrappers.modifications", allow_abbrev=False, description="List modifications, or look at them."
    )
    parser.add_argument("game", nargs="?", help="a game, as ALE/Freeway-v5 or Freeway; without it: all games")
    parser.add_argument("--gallery", metavar="FILE", help="draw all modifications of the game (.png, .pdf or .svg)")
    parser.add_argument("--play", metavar="FILE", help="record a random agent (.mp4)")
    parser.add_argument("--modifs", metavar="STRING", help="with --play: the modification string (default: no_modif)")
    parser.add_argument("--seconds", type=float, help="with --play: length of the video (default 20)")
    parser.add_argument("--step", type=int, help="with --gallery: the moment (default: when most modifications show)")
    parser.add_argument("--seed", type=int, help="with either: of the game and of the random agent (default 1)")
    return parser


def _check_options(options: argparse.Namespace) -> None:
    """Raise ModificationError for options that do not belong together, or numbers that cannot be used."""
    needs = {"modifs": "play", "seconds": "play", "step": "gallery"}
    for name, needed in needs.items():
        if getattr(options, name) is not None and getattr(options, needed) is None:
            raise ModificationError(f"`{name}` goes with `--{needed} FILE`, which is not given")
    if options.gallery is not None and options.play is not None:
        raise ModificationError("`gallery` draws a picture and `play` records a video: give one of them")
    if options.seed is not None and options.gallery is None and options.play is None:
        raise ModificationError("`seed` goes with `--gallery FILE` or `--play FILE`, and neither is given")
    if options.game is None and (options.gallery is not None or options.play is not None):
        raise ModificationError("`game` is missing: say whose modifications to show, such as ALE/Freeway-v5")
    for name, highest in (("seed", 2**63 - 1), ("step", 100_000)):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= highest:
            raise ModificationError(f"`{name}` must be from 0 to {highest}, got {value}")


def _known_game(given: str) -> str:
    """The name of a game, from ``ALE/Freeway-v5`` or ``Freeway``; an unknown one is a ModificationError."""
    game, games = given.removeprefix("ALE/").removesuffix("-v5"), ale_games()
    if game in games:
        return game
    near = difflib.get_close_matches(game.lower(), [other.lower() for other in games], n=3)
    names = [f"ALE/{other}-v5" for other in games if other.lower() in near]
    advice = f"did you mean {' or '.join(names)}?" if names else "without a game, this command lists them."
    raise ModificationError(f"`game` {given!r} is no Atari game that ale-py knows; {advice}")


def _show_gallery(game: str, options: argparse.Namespace) -> None:
    from continual_hackatari.wrappers import look

    look.check_output("gallery", options.gallery, look.PICTURE_ENDINGS)  # before minutes of play
    gallery = look.make_gallery(game, 1 if options.seed is None else options.seed, options.step)
    look.draw_gallery(options.gallery, gallery)
    for name, reason in gallery.left_out.items():
        print(f"`{name}` is left out, it cannot be played: {reason}")
    print(f"{options.gallery}: {len(gallery.tiles) - 1} modifications of {game} at step {gallery.step}")


def _record_play(game: str, options: argparse.Namespace) -> None:
    from continual_hackatari.wrappers import look

    config = replace(look.game_config(f"ALE/{game}-v5")[0], seed=1 if options.seed is None else options.seed)
    string, warnings = check_modifications(game, options.modifs or "")
    for line in warnings:
        print(line)
    seconds = 20.0 if options.seconds is None else options.seconds
    frames = look.record_random_play(options.play, config, string, seconds)
    print(f"{options.play}: {frames} steps of a random agent in {game}, {string or UNMODIFIED}")


def _run_command(options: argparse.Namespace) -> None:
    _check_options(options)
    if options.game is None:
        print(_overview(ale_games()))
        return
    game = _known_game(options.game)
    if options.gallery is not None:
        _show_gallery(game, options)
    elif options.play is not None:
        _record_play(game, options)
    else:
        print("\n".join([*_list(game), *hackatari_is_missing()]))


def main(arguments: Sequence[str] | None = None) -> int:
    """List modifications, draw their gallery or record one of them; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        _run_command(options)
    except (ModificationError, OutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # a reader that stops early, such as `| head`, ends this quietly
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # `look` imports this file by its name: without this line it would get a second copy of every class here.
    sys.modules["continual_hackatari.wrappers.modifications"] = sys.modules["__main__"]
    sys.exit(main())
