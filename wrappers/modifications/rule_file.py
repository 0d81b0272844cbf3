"""Somebody's own modifications, from a Python file outside this project (`--modification_file`).

The file defines ``MODIFICATIONS = {"Freeway": {"all_gold_cars": ConstantWrites("Colours all cars gold.", cells)}}``
with `ConstantWrites` and `Rule` of `supplementary.py`. Each process that plays loads it; its digest goes with the path,
so that nobody plays other rules under the same names.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import types
from functools import cache
from pathlib import Path
from typing import NamedTuple

from continual_hackatari.names import UNMODIFIED
from continual_hackatari.wrappers.errors import ModificationError
from continual_hackatari.wrappers.modifications.console import is_switch
from continual_hackatari.wrappers.modifications.modification import MOMENTS
from continual_hackatari.wrappers.modifications.supplementary import ConstantWrites, Rule

Rules = dict[str, ConstantWrites | Rule]


class RuleFile(NamedTuple):
    """Which file, and what is in it."""

    path: str = ""
    digest: str = ""
    """SHA-256, in hexadecimal digits"""

    @property
    def name(self) -> str:
        return Path(self.path).name


NO_FILE = RuleFile()


def rule_file(path: str, digest: str = "", *copies: Path) -> RuleFile:
    """The file at `path`; of one that was recorded with its `digest`, the first of `copies` and `path` that has it.

    Raises:
        ModificationError: there is no such file, or its contents are others than those recorded.
    """
    if not path:
        return NO_FILE
    candidates = [candidate for candidate in (*copies, Path(path)) if os.path.isfile(candidate)]
    if not candidates:
        raise ModificationError(
            f"`modification_file`: there is no file {path}; give a Python file that defines MODIFICATIONS"
        )
    try:
        found = [RuleFile(str(candidate.resolve()), _digest_of(candidate)) for candidate in candidates]
    except OSError as error:
        raise ModificationError(f"`modification_file`: {error.filename} cannot be read: {error.strerror}") from None
    for file in found:
        if digest in ("", file.digest):
            return file
    raise ModificationError(
        f"`modification_file`: {candidates[-1]} holds other rules than those recorded (digest {found[-1].digest[:12]}, "
        f"recorded {digest[:12]}); put the recorded file back"
    )


@cache
def rules_of(file: RuleFile, game: str) -> Rules:
    """Name -> rule, of the file's modifications of a game.

    Raises:
        ModificationError: the file has changed, or cannot be run, or holds something else.
    """
    return _load(file).get(game, {}) if file.path else {}


def games_of(file: RuleFile) -> list[str]:
    """The games for which the file has modifications."""
    return sorted(_load(file))


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _load(file: RuleFile) -> dict[str, Rules]:
    rule_file(file.path, file.digest)  # or it has changed
    module = types.ModuleType("modification_file")
    module.__file__ = file.path
    try:
        exec(compile(Path(file.path).read_bytes(), file.path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # whatever somebody's file raises
        raise ModificationError(f"`modification_file`: {file.path} cannot be run: {error!r}") from error
    found = getattr(module, "MODIFICATIONS", None)
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


def _check_game(file: RuleFile, game: object) -> None:
    from continual_hackatari.wrappers.emulator import ale_games  # rules alone need no emulator

    games = ale_games()
    if game not in games:
        near = difflib.get_close_matches(str(game).removeprefix("ALE/").removesuffix("-v5"), games, n=1)
        advice = f"did you mean {near[0]}?" if near else "games are named as in Freeway and SpaceInvaders"
        raise ModificationError(
            f"`modification_file`: {file.name}: {game!r} is no Atari game that ale-py knows; {advice}"
        )


def _check(file: RuleFile, game: str, name: object, rule: object) -> None:
    start = f"`modification_file`: {file.name}, {game} {name!r}"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][\w-]*", name) or name == UNMODIFIED or is_switch(name):
        raise ModificationError(
            f"{start}: a name is a letter, then letters, digits, _ and -; {UNMODIFIED} and mode_<n> are taken"
        )
    if not isinstance(rule, (ConstantWrites, Rule)):
        raise ModificationError(f"{start} must be a ConstantWrites or a Rule, but it is {rule!r}")
    moments = rule.runs.split(" + ")
    if not set(moments) <= set(MOMENTS) or (isinstance(rule, ConstantWrites) and rule.runs not in ("frame", "reset")):
        raise ModificationError(
            f"{start}: `runs` must be frame or reset (of a Rule also post), but it is {rule.runs!r}"
        )
    values = [value for _, value in rule.cells] if isinstance(rule, ConstantWrites) else []
    if not all(0 <= address < 128 for address in rule.writes) or not all(0 <= value < 256 for value in values):
        raise ModificationError(f"{start}: cells are addresses from 0 to 127, their values numbers from 0 to 255")
