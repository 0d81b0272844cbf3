"""The console's own switches as modifications: its game modes (`mode_3`) and its difficulties (`difficulty_1`).

A cartridge holds several variants of its game, and a switch of the console chooses one before a game begins. Which
numbers there are, the emulator knows. A string without such a name leaves the switch as the emulator finds it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from continual_hackatari.wrappers.errors import ModificationError
from continual_hackatari.wrappers.modifications.modification import Modification

CONSOLE = "console"
"""the origin of these modifications"""
DIFFERENT_DEFAULTS = {("Backgammon", "difficulty_3")}
"""games whose first mode or difficulty, once set, is another game than the unmodified one; `tests/test_console.py`
looks at all games"""


class Switches(NamedTuple):
    """How the console's switches are set; None: not at all."""

    mode: int | None = None
    difficulty: int | None = None


def is_switch(name: object) -> bool:
    """Whether this is the name of a mode or a difficulty, of whatever number."""
    return re.fullmatch(rf"({'|'.join(Switches._fields)})_\d+", str(name)) is not None


def switches_of(names: Sequence[str]) -> Switches:
    """What checked names set."""
    parts = (name.rsplit("_", 1) for name in names if is_switch(name))
    return Switches(**{kind: int(number) for kind, number in parts})


def numbers(game: str) -> dict[str, tuple[int, ...]]:
    """The valid numbers of a game's modes and of its difficulties."""
    from continual_hackatari.wrappers.emulator import console_numbers, rom_of  # rules alone need no emulator

    return dict(zip(Switches._fields, console_numbers(rom_of(game)), strict=True))


def first_numbers(game: str) -> Switches:
    """The numbers that set what the console begins with; None: no number does."""
    first = {kind: allowed[0] for kind, allowed in numbers(game).items()}
    return Switches(**{kind: n for kind, n in first.items() if (game, f"{kind}_{n}") not in DIFFERENT_DEFAULTS})


@cache
def console_modifications(game: str) -> dict[str, Modification]:
    """All modes and difficulties of a game, by name."""
    found = {}
    for kind, allowed in numbers(game).items():
        for number in allowed:
            same = number == getattr(first_numbers(game), kind)
            found[f"{kind}_{number}"] = Modification(
                name=f"{kind}_{number}",
                origin=CONSOLE,
                runs="reset",
                description=f"The console's {kind} {number}.",
                no_effect=f"it is the {kind} that the console begins with" if same else "",
            )
    return found


def console_rows(game: str) -> list[tuple[str, str]]:
    """Name and text for a list of modifications: one row for all modes, and one for all difficulties."""
    found = []
    for kind, allowed in numbers(game).items():
        same = "differs from" if getattr(first_numbers(game), kind) is None else "is"
        listed = ", ".join(map(str, allowed))
        text = f"The console's {kind} n: {listed}; `{kind}_{allowed[0]}` {same} the unmodified game."
        found.append((f"{kind}_<n>", text))
    return found


def require_known(game: str, name: str, start: str) -> None:
    """Raise ModificationError, which begins with `start`, unless the game has this mode or difficulty."""
    kind = name.rsplit("_", 1)[0]
    if name not in console_modifications(game):
        allowed = ", ".join(map(str, numbers(game)[kind]))
        raise ModificationError(f"{start}: {game} has no such {kind}; {kind}_<n> takes n = {allowed}")


def require_one_of_each(names: Sequence[str], argument: str) -> None:
    """Raise ModificationError for a string with two modes, or two difficulties."""
    for kind in Switches._fields:
        several = [name for name in names if name.startswith(f"{kind}_") and is_switch(name)]
        if len(several) > 1:
            raise ModificationError(
                f"`{argument}` {' '.join(names)!r} names {' and '.join(several)}, but a game has one {kind}: keep one"
            )
