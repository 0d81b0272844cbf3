"""Write docs/reference/flags.md, every flag of every command, from the code that reads them.

    python docs/make_flags.py

A flag is described once, in the text below its field. `--help` prints that text, and this page shows it.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

# `python docs/make_flags.py` puts docs/ on the path, not the folder above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro

from continual_hackatari import continual_training_example, metrics, report, sweep
from continual_hackatari import eval as evaluation
from continual_hackatari.schedules import factories
from continual_hackatari.wrappers.modifications import __main__ as modifications

PAGE = Path(__file__).parent / "reference" / "flags.md"
AS_GOOD_AS_INFINITE = 10**9  # a limit that keeps nonsense out tells a reader nothing

INTRODUCTION = """\
# Every flag

This page is made by `python docs/make_flags.py` from the code, so it says what `--help` says.
[Training](../training.md#settings) tells what holds for all flags.

`--env_id` and `--env-id` are the same.
What is on or off is turned on by its name (`--track`) and off with `no` (`--no_track`).
In a JSON file the names have no dashes; on and off are `true` and `false`, and "none" is `null`.
"""


class Flag(NamedTuple):
    """One row of a table."""

    name: str
    default: str
    allowed: str
    meaning: str


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for title, script in (
        ("Training: continual_training_example.py", continual_training_example),
        ("Evaluation: eval.py", evaluation),
        ("Continual metrics: metrics.py", metrics),
        ("Report: report.py", report),
        ("Sweeps: sweep.py", sweep),
    ):
        parts.append(f"## {title}\n")
        for group, flags in groups_of(script.Args, getattr(script, "RANGES", {})):
            parts += [f"**{group[0].upper()}{group[1:]}**\n"] if group else []
            parts.append(table(flags))
    for title, parser in (
        ("Preview: modification_factories.py", factories._parser()),
        ("Modifications: wrappers.modifications", modifications._parser()),
    ):
        parts += [f"## {title}\n", table(flags_of(parser))]
    return "\n".join(parts)


def table(flags: list[Flag]) -> str:
    rows = [("flag", "default", "allowed", "meaning"), ("---", "---", "---", "---"), *flags]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


# ------------------------------------------------------------------------------------------------------ dataclasses


def groups_of(cls: type, ranges: Mapping[str, Any]) -> Iterator[tuple[str, list[Flag]]]:
    """The title and the flags of each group: fields below one comment, or the fields of a nested dataclass."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    names = [name.strip("`") for name in hints if "_" in name]
    title, flags = "", list[Flag]()
    for name, comment, text in described(cls):
        if comment is not None:
            if flags:
                yield title, flags
            title, flags = comment, []
        if dataclasses.is_dataclass(hints[name]):
            yield from groups_of(hints[name], ranges)
        elif name in fields:
            flags.append(row_of(fields[name], hints[name], ranges.get(name), linked(text, names)))
    if flags:
        yield title, flags


def described(cls: type) -> Iterator[tuple[str, str | None, str]]:
    """Name, comment above it (None: there is none) and text below it of every field, in the order of the source."""
    lines = textwrap.dedent(inspect.getsource(cls)).splitlines()
    (definition,) = ast.parse("\n".join(lines)).body
    assert isinstance(definition, ast.ClassDef)
    for node, following in zip(definition.body, [*definition.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        first = node.lineno - 1
        while lines[first - 1].lstrip().startswith("#"):
            first -= 1
        comment = " ".join(line.lstrip("# ") for line in lines[first : node.lineno - 1])
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = " ".join(str(following.value.value).split())
        yield node.target.id, comment.split(". ")[0] or None, text


def row_of(field: dataclasses.Field[Any], hint: Any, limits: Any, text: str) -> Flag:
    """The row of one field; a positional one and one that only a file may set stand there without dashes."""
    marks = getattr(hint, "__metadata__", ())
    bare = any(mark in marks for mark in (tyro.conf.Suppress, *typing.get_args(tyro.conf.Positional[int])[1:]))
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    name = f"`{field.name}`" if bare else f"`--{field.name}`"
    return Flag(name, shown(default), allowed(hint, limits), text)


def shown(default: Any) -> str:
    """A default as people write it."""
    if default is dataclasses.MISSING:
        return "required"
    if default is None or default in ([], ()):
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, str):
        return f"`{default}`" if default else '`""`'
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return f"{default}"


def allowed(hint: Any, limits: Any) -> str:
    """What a flag takes: its choices, or the kind of its values and their limits."""
    hint = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    options = [hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not types.NoneType]
    option = options[0]
    if typing.get_origin(option) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(option))
    several = typing.get_origin(option) in (tuple, list)
    kind = typing.get_args(option)[0] if several else option
    words = {bool: "on, off", int: "whole number", float: "number", str: "text"}.get(kind, "object")
    return f"{words}{'s' * several}{limited(limits)}"


def limited(limits: Any) -> str:
    if limits is None:
        return ""
    low, high, above = (*limits, None, None, False)[:3]
    high = None if high is None or high >= AS_GOOD_AS_INFINITE else high
    if low is not None and high is not None and not above:
        return f", {readable(low)} to {readable(high)}"
    ends = [f"{'above' if above else 'from'} {readable(low)}"] if low is not None else []
    ends += [f"to {readable(high)}"] if high is not None else []
    return f", {' '.join(ends)}"


def readable(limit: float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


def linked(text: str, names: list[str]) -> str:
    """The text with the names of other flags as code, and nothing that Markdown would take for its own."""
    flag = "|".join([*(rf"(?:--)?{name}" for name in sorted(names, key=len, reverse=True)), r"--\w+"])
    parts = text.replace("|", "\\|").split("`")  # every other one is code already
    for i in range(0, len(parts), 2):
        parts[i] = parts[i].replace("<", "&lt;").replace("*", "\\*")
        parts[i] = re.sub(rf"(?<![\w/])({flag})(?!\w)", lambda found: f"`--{found[0].removeprefix('--')}`", parts[i])
    return "`".join(parts)


# --------------------------------------------------------------------------------------------------------- argparse


def flags_of(parser: argparse.ArgumentParser) -> list[Flag]:
    """The rows of a parser; its defaults stand in its texts."""
    kinds: dict[Any, str] = {int: "whole number", float: "number", None: "text"}
    flags = []
    for action in parser._actions:
        if action.dest == "help":
            continue
        switch = action.nargs == 0
        name = f"`{action.option_strings[0]}`" if action.option_strings else f"`{action.dest}`"
        default = "off" if switch else "required" if action.required and not action.option_strings else "none"
        flags.append(Flag(name, default, "on, off" if switch else kinds[action.type], linked(action.help or "", [])))
    return flags


def main() -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
