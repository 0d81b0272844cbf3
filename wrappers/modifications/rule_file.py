"""Somebody's own modifications, from a Python file outside this project (`--modification_file`).

The file defines ``MODIFICATIONS = {"Freeway": {"all_gold_cars": ConstantWrites("Colours all cars gold.", cells)}}``
with `ConstantWrites` and `Rule` of `supplementary.py`. Each game that plays one of them runs it anew, see `user_files`;
its digest goes with the path, so that nobody plays other rules under the same names.
"""

from __future__ import annotations

import difflib
import random
import re
from functools import cache
from pathlib import Path

import numpy as np

from continual_hackatari.names import UNMODIFIED
from continual_hackatari.wrappers.errors import ModificationError
from continual_hackatari.wrappers.modifications.console import is_switch
from continual_hackatari.wrappers.modifications.modification import MOMENTS
from continual_hackatari.wrappers.modifications.supplementary import ConstantWrites, Rule
from continual_hackatari.wrappers.user_files import UserFile, find_file, run_file

Rules = dict[str, ConstantWrites | Rule]
FLAG = "modification_file"


def rule_file(path: str, digest: str = "", *copies: Path) -> UserFile:
    """The file of these modifications, see `find_file`."""
    return find_file(FLAG, path, digest, copies)


def rules_of(file: UserFile, game: str) -> Rules:
    """Name -> rule, of the file's modifications of a game, to know what there is; `load_rules` is for playing.

    Raises:
        ModificationError: the file has changed, or cannot be run, or holds something else.
    """
    return _known_rules(file).get(game, {}) if file.path else {}


def games_of(file: UserFile) -> list[str]:
    """The games for which the file has modifications."""
    return sorted(_known_rules(file))


@cache
def _known_rules(file: UserFile) -> dict[str, Rules]:
    return load_rules(file, random.Random(0), np.random.RandomState(0))


def load_rules(file: UserFile, python: random.Random, numpy: np.random.RandomState) -> dict[str, Rules]:
    """Game -> name -> rule, of a new run of the file, which draws from these generators.

    Raises:
        ModificationError: see `rules_of`.
    """
    found = getattr(run_file(FLAG, file, python, numpy), "MODIFICATIONS", None)
    if not isinstance(found, dict) or not found or not all(isinstance(named, dict) for named in found.values()):
        raise ModificationError(
            f"`modification_file`: {file.path} must define MODIFICATIONS, a dictionary of games, each a dictionary of "
            "names and their ConstantWrites or Rule"
        )
    for game, named in found.items():
        _check_game(file, game)
        for name, rule in named.items():
            _check(file, game, name, rule)
    return found


def _check_game(file: UserFile, game: object) -> None:
    from continual_hackatari.wrappers.emulator import ale_games  # rules alone need no emulator

    games = ale_games()
    if game not in games:
        near = difflib.get_close_matches(str(game).removeprefix("ALE/").removesuffix("-v5"), games, n=1)
        advice = f"did you mean {near[0]}?" if near else "games are named as in Freeway and SpaceInvaders"
        raise ModificationError(
            f"`modification_file`: {file.name}: {game!r} is no Atari game that ale-py knows; {advice}"
        )


def _check(file: UserFile, game: str, name: object, rule: object) -> None:
    start = f"`modification_file`: {file.name}, {game} {name!r}"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][\w-]*", name) or name == UNMODIFIED or is_switch(name):
        raise ModificationError(
            f"{start}: a name is a letter, then letters, digits, _ and -; {UNMODIFIED} and mode_<n> are taken"
        )
    if not isinstance(rule, (ConstantWrites, Rule)):
        raise ModificationError(f"{start} must be a ConstantWrites or a Rule, but it is {rule!r}")
    runs = rule.runs.split(" + ") if isinstance(rule.runs, str) else [""]
    if not set(runs) <= set(MOMENTS) or (isinstance(rule, ConstantWrites) and rule.runs not in ("frame", "reset")):
        raise ModificationError(
            f"{start}: `runs` must be frame or reset (of a Rule also post), but it is {rule.runs!r}"
        )
    if not isinstance(rule.description, str):
        raise ModificationError(f"{start}: the description must be text, but it is {rule.description!r}")
    if isinstance(rule, ConstantWrites):
        if not _is_pairs(rule.cells):
            raise ModificationError(
                f"{start}: `cells` must be pairs of whole numbers, (address, value), as in ((77, 28), (78, 28)), but "
                f"they are {rule.cells!r}"
            )
        values = [value for _, value in rule.cells]
    else:
        if not callable(rule.start):
            raise ModificationError(f"{start}: `start` must be a function, but it is {rule.start!r}")
        if not isinstance(rule.writes, (tuple, list, range)) or not all(map(_is_whole, rule.writes)):
            raise ModificationError(
                f"{start}: `writes` must be the addresses that it writes, as in (77, 78), but they are {rule.writes!r}"
            )
        values = []
    if not all(0 <= address < 128 for address in rule.writes) or not all(0 <= value < 256 for value in values):
        raise ModificationError(f"{start}: cells are addresses from 0 to 127, their values numbers from 0 to 255")


def _is_pairs(cells: object) -> bool:
    return isinstance(cells, (tuple, list)) and all(
        isinstance(cell, (tuple, list)) and len(cell) == 2 and all(map(_is_whole, cell)) for cell in cells
    )


def _is_whole(number: object) -> bool:
    return isinstance(number, (int, np.integer))
