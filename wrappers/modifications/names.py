"""All modifications of a game, the installed hackatari's and our own, and the check of a modification string."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache

from continual_hackatari.commands import modifications_command
from continual_hackatari.names import UNMODIFIED
from continual_hackatari.wrappers.errors import ModificationError
from continual_hackatari.wrappers.modifications import installed
from continual_hackatari.wrappers.modifications.console import (
    console_modifications,
    is_switch,
    require_known,
    require_one_of_each,
    switches_of,
)
from continual_hackatari.wrappers.modifications.modification import Modification, split_modifications
from continual_hackatari.wrappers.modifications.rule_file import rules_of
from continual_hackatari.wrappers.modifications.supplementary import (
    ALIASES,
    NO_EFFECT,
    NO_KNOWN_MEANING,
    REFUSED,
    SUPPLEMENT,
    ConstantWrites,
    Rule,
)
from continual_hackatari.wrappers.objects import why_missing
from continual_hackatari.wrappers.user_files import NO_FILE, UserFile


@cache
def catalogue(game: str, file: UserFile = NO_FILE) -> dict[str, Modification]:
    """All rules of a game (name as in the environment id, ``Freeway``), by name; refused ones are marked.

    The console's own switches are not among them, see `known_names`.

    Raises:
        ModificationError: somebody's `file` cannot be used, or gives a name that exists already.
    """
    found = _without_file(game)
    for name, rule in rules_of(file, game).items():
        if name in found or name in ALIASES.get(game, {}):
            raise ModificationError(
                f"`modification_file`: {game} has a modification {name!r} already; "
                f"give that of {file.name} another name"
            )
        found[name] = _described(name, rule, file.name)
    return dict(sorted(found.items()))


def known_names(game: str, names: Iterable[str], file: UserFile = NO_FILE) -> dict[str, Modification]:
    """`catalogue`, and the console's own switches where one of `names` is such."""
    return {**catalogue(game, file), **(console_modifications(game) if any(map(is_switch, names)) else {})}


def _without_file(game: str) -> dict[str, Modification]:
    """Those of the installed hackatari, and our own."""
    found = {name: selection.modification for name, selection in installed.selections(game).items()}
    for name, supplement in SUPPLEMENT.get(game, {}).items():
        if name not in found or found[name].refused:
            found[name] = _described(name, supplement, "continual-hackatari")
    for name, reason in REFUSED.get(game, {}).items():
        found.setdefault(name, Modification(name, "hackatari", "overlay", "", refused=reason))
    for name, reason in NO_EFFECT.get(game, {}).items():
        if name in found:
            found[name] = replace(found[name], no_effect=reason)
    return found


def _described(name: str, rule: ConstantWrites | Rule, origin: str) -> Modification:
    return Modification(
        name=name,
        origin=origin,
        runs=rule.runs,
        description=rule.description,
        writes=rule.writes,
        objects_only=rule.objects_only,
        refused=_without_objects() if rule.objects_only else "",
    )


def _without_objects() -> str:
    """Why what only changes the detected objects cannot be played; empty where objects can be detected."""
    why = why_missing("ocatari")
    return f"it changes the objects that OCAtari detects, and {why}" if why else ""


def check_modifications(
    game: str, string: str, *, obs_mode: str = "dqn", argument: str = "modifs", file: UserFile = NO_FILE
) -> tuple[str, list[str]]:
    """Check that a modification string can be played.

    argument: the flag or the key of a file from which it comes, for errors.
    file: somebody's own modifications.

    Returns the string with normalised whitespace and current names, and lines that the user should see: old names that
    were replaced, names that write the same RAM cells, names without effect.

    Raises:
        ModificationError: an unknown name, one that is refused, two modes or difficulties, or any other name for a game
            without modifications.
    """
    known = known_names(game, split_modifications(string), file)
    names: list[str] = []
    warnings: list[str] = []
    for written in split_modifications(string):
        name = _current_name(game, written, file)
        require_playable(game, name, argument, file)
        if name != written:
            warnings.append(f"`{written}` is played as `{name}`, the present name of that modification of {game}")
        if name not in names:
            names.append(name)
    require_one_of_each(names, argument)
    for name in names:
        if known[name].no_effect:
            warnings.append(f"`{name}` has no visible effect in {game}: {known[name].no_effect}")
        elif known[name].objects_only and obs_mode != "obj":
            warnings.append(
                f"`{name}` has no visible effect with `obs_mode` {obs_mode}: it only changes the detected objects"
            )
    warnings.extend(_conflicts(game, names, file))
    return " ".join(names), warnings


def wait_for_start(game: str, names: Sequence[str], file: UserFile = NO_FILE) -> list[str]:
    """Those of `names` that act at the start of a game only: in mid-game they can but wait for the next one."""
    known = known_names(game, names, file)
    return [name for name in names if known[name].runs == "reset"]


def waits(game: str, old: Sequence[str], new: Sequence[str], file: UserFile = NO_FILE) -> bool:
    """Whether a game that is played under `old` can take `new` at its next start only.

    Where a name of `new` acts at a start only, and where the console's switches are to be set otherwise, or left.
    """
    rules = [name for name in new if not is_switch(name)]
    return bool(wait_for_start(game, rules, file)) or switches_of(old) != switches_of(new)


def _current_name(game: str, name: str, file: UserFile) -> str:
    alias = ALIASES.get(game, {}).get(name, name)
    known = catalogue(game, file)
    return alias if name not in known and alias in known else name


def require_playable(game: str, name: str, argument: str = "modifs", file: UserFile = NO_FILE) -> None:
    start = f"`{argument}` {name!r}"
    if is_switch(name):
        require_known(game, name, start)
        return
    known = catalogue(game, file)
    if name in known and not known[name].refused:
        return
    if name == UNMODIFIED:
        raise ModificationError(f"{start} is the unmodified game, so it stands alone; leave out it or the other names")
    if name in known:
        raise ModificationError(f"{start}: this modification of {game} cannot be played: {known[name].refused}")
    hackatari_missing = "" if installed.package_folder() else why_missing("hackatari")
    if not known and hackatari_missing:
        raise ModificationError(f"{start}: {game} has no modifications of this project's own, and {hackatari_missing}")
    if not known:
        raise ModificationError(
            f"{start}: {game} has no modifications but the console's modes and difficulties, which "
            f"`{modifications_command(f'ALE/{game}-v5')}` lists"
        )
    advice = f"`{modifications_command(f'ALE/{game}-v5')}` lists all {len(known)}"
    if name in NO_KNOWN_MEANING.get(game, {}):
        raise ModificationError(f"{start}: the name {NO_KNOWN_MEANING[game][name]}; {advice}")
    near = difflib.get_close_matches(name, [other for other in known if not known[other].refused], n=3, cutoff=0.5)
    if of_console := re.fullmatch(r"([a-z]+)[\W_]*(\d+)", name.lower()):
        kinds = difflib.get_close_matches(of_console[1], ("mode", "difficulty"), n=1, cutoff=0.7)
        near = [each for kind in kinds if (each := f"{kind}_{of_console[2]}") in console_modifications(game)] or near
    nearest = f"; did you mean {' or '.join(near)}?" if near else ";"
    of_hackatari = f"; {hackatari_missing}" if hackatari_missing else ""
    raise ModificationError(f"{start}: {game} has no modification of this name{nearest} {advice}{of_hackatari}")


def _conflicts(game: str, names: Sequence[str], file: UserFile) -> Iterator[str]:
    """A line for each two names that write the same RAM cells, with which of them has the last word."""
    known, theirs = known_names(game, names, file), installed.selections(game)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            shared = set(known[first].writes) & set(known[second].writes)
            same_function = all(known[name].origin == "hackatari" for name in (first, second)) and (
                theirs[first].functions == theirs[second].functions
            )
            if not shared or same_function:
                continue
            if known[second].runs == "reset" != known[first].runs:
                winner, reason = first, "which runs in every frame"
            else:
                winner, reason = second, "the later one"
            cells = installed.ranges(sorted(shared))
            yield f"`{first}` and `{second}` both write RAM {cells}: `{winner}`, {reason}, wins"


def hackatari_is_missing() -> list[str]:
    """A line for lists of modifications, where hackatari's own are not among them."""
    why = "" if installed.package_folder() else why_missing("hackatari")
    return [f"hackatari's own modifications are missing here: {why}."] if why else []
