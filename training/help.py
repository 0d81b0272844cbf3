"""What `--help` prints, and what docs/reference/flags.md shows: every flag of a dataclass, in groups.

A comment above a field begins a group, and the literal below a field is its text. Both are read from the source, as
tyro reads texts. What a subclass says of a field of its base wins.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import shutil
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import tyro

PREFIXED = "prefixed"
"""The field of a dataclass that holds the settings of its sections, `<section>.<name>` -> value, as they were given."""
LAST = ("continual evaluation", "tracking", "config file only")
"""Beginnings of the titles of groups that come after all others, wherever their fields stand."""


class Flag(NamedTuple):
    """A field as people see it."""

    name: str
    kind: Any
    """its type, without None"""
    default: Any
    """`dataclasses.MISSING` where there is none"""
    text: str
    positional: bool
    hidden: bool
    """only a config file may set it"""
    aliases: tuple[str, ...]

    @property
    def choices(self) -> tuple[Any, ...]:
        return typing.get_args(self.kind) if typing.get_origin(self.kind) is Literal else ()

    @property
    def is_switch(self) -> bool:
        """Given without a value."""
        return self.kind is bool and self.default is not None

    @property
    def spellings(self) -> tuple[str, ...]:
        """On the command line."""
        off = (f"--no_{self.name}",) if self.kind is bool else ()
        return () if self.positional or self.hidden else (f"--{self.name}", *off, *self.aliases)

    @property
    def item(self) -> Any:
        """The type of one value."""
        return typing.get_args(self.kind)[0] if self.is_list else self.kind

    @property
    def is_list(self) -> bool:
        return typing.get_origin(self.kind) in (tuple, list)


def groups_of(cls: type) -> dict[str, list[Flag]]:
    """Title -> flags; a group without a comment above it has the title ""."""
    groups: dict[str, list[Flag]] = {}
    flags = {flag.name: flag for flag in flags_of(cls)}
    for name, (title, text) in _described(cls).items():
        if name in flags:
            groups.setdefault(title, []).append(flags[name]._replace(text=text))
    return dict(sorted(groups.items(), key=lambda group: group[0].startswith(LAST)))


def flags_of(cls: type) -> Iterator[Flag]:
    """All flags, without their texts."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in (field for field in dataclasses.fields(cls) if field.name != PREFIXED):
        hint, marks = hints[field.name], getattr(hints[field.name], "__metadata__", ())
        if marks:
            hint = typing.get_args(hint)[0]
        options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        kinds = [option for option in options if option is not types.NoneType]
        positional = typing.get_args(tyro.conf.Positional[int])[1] in marks
        aliases = tuple(alias for mark in marks for alias in getattr(mark, "aliases", None) or ())
        hidden = tyro.conf.Suppress in marks
        yield Flag(field.name, kinds[0], default, "", positional, hidden, aliases)


def _described(cls: type) -> dict[str, tuple[str, str]]:
    """Name -> title of its group and text, in the order in which groups and fields appear."""
    described: dict[str, tuple[str, str]] = {}
    for part in reversed(cls.__mro__):
        if dataclasses.is_dataclass(part):
            for name, (title, text) in _described_by(part).items():
                known_title, known_text = described.get(name, ("", ""))
                if title:  # it moves to that group, and to its end
                    described.pop(name, None)
                described[name] = (title or known_title, text or known_text)
    return described


def _described_by(cls: type) -> dict[str, tuple[str, str]]:
    lines = textwrap.dedent(inspect.getsource(cls)).splitlines()
    (definition,) = ast.parse("\n".join(lines)).body
    assert isinstance(definition, ast.ClassDef)
    described, title = {}, ""
    for node, following in zip(definition.body, [*definition.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        first = node.lineno - 1
        while lines[first - 1].lstrip().startswith("#"):
            first -= 1
        if first < node.lineno - 1:
            title = " ".join(line.lstrip("# ") for line in lines[first : node.lineno - 1]).split(". ")[0]
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = " ".join(str(following.value.value).split())
        described[node.target.id] = (title, text)
    return described


# -------------------------------------------------------------------------------------------------------- for terminals


def help_text(cls: type, description: str | None = None, sections: Mapping[str, type] = MappingProxyType({})) -> str:
    """All flags of the command line, as wide as the terminal; sections: prefix -> dataclass, to be shown as well."""
    width = min(shutil.get_terminal_size().columns, 120)
    groups = {title: [flag for flag in flags if not flag.hidden] for title, flags in groups_of(cls).items()}
    groups |= {f"settings of {prefix}": prefixed_flags(prefix, section) for prefix, section in sections.items()}
    every = [flag for flags in groups.values() for flag in flags]
    words = [f"{flag.name.upper()}{' ...' * flag.is_list}" for flag in every if flag.positional]
    usage = " ".join(["usage:", Path(sys.argv[0]).name, *words, "[flags]"])
    parts = [usage, description.strip()] if description else [usage]
    for title, flags in groups.items():
        if flags:
            parts.append("\n".join([f"{title or 'flags'}:", *(_lines(flag, width) for flag in flags)]))
    return "\n\n".join(parts)


def prefixed_flags(prefix: str, section: type) -> list[Flag]:
    """The flags of a section, with its prefix."""
    found = [flag for flags in groups_of(section).values() for flag in flags]
    return [flag._replace(name=f"{prefix}.{flag.name}") for flag in found]


def _lines(flag: Flag, width: int) -> str:
    """Name and values, and the text below them or beside them."""
    indent = " " * 28
    text = textwrap.wrap(f"{flag.text}{_default(flag)}", max(width - len(indent), 30))
    name = f"  {_usage(flag)}"
    begin = [f"{name:<28}{text.pop(0)}"] if len(name) < len(indent) and text else [name]
    return "\n".join([*begin, *(indent + line for line in text)])


def _usage(flag: Flag) -> str:
    name = ", ".join([*flag.aliases, f"--{flag.name}"])
    if flag.positional:
        return flag.name.upper()
    if flag.item is bool:
        return f"{name}, --no_{flag.name}" if flag.default is not False else name
    if flag.choices:
        return f"{name} {{{','.join(map(str, flag.choices))}}}"
    value = {int: "INT", float: "FLOAT"}.get(flag.item, "TEXT")
    return f"{name} [{value} ...]" if flag.is_list else f"{name} {value}"


def _default(flag: Flag) -> str:
    """The default, unless it says nothing or the text tells it."""
    default = flag.default
    if default is dataclasses.MISSING or default is None or default is False or default in ("", (), []):
        return ""
    if "(default:" in flag.text:
        return ""
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else "on" if default is True else default
    return f" (default: {shown})"
