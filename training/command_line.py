"""The command line: words become the fields of one flat dataclass, or one sentence says what is wrong with them.

tyro fills the dataclass. What it would refuse in a box of its own is looked for before.
"""

import ast
import os
import re
import shlex
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypeVar

import tyro

from continual_hackatari.json_files import shorten as _shorten
from continual_hackatari.training.config import (
    ConfigError,
    describe,
    is_hidden,
    known_setting,
    nearest,
    sections_of,
    type_hints,
    unreadable,
    with_prefixed,
)
from continual_hackatari.training.help import PREFIXED, Flag, flags_of, help_text

ArgsT = TypeVar("ArgsT")


def parse_command_line(
    cls: type[ArgsT],
    argv: Sequence[str] | None = None,
    *,
    description: str | None = None,
    default: ArgsT | None = None,
    gone: Mapping[str, str] = MappingProxyType({}),
    elsewhere: str = "",
) -> ArgsT:
    """Fill the dataclass `cls` from `argv` (default: the command line of this process).

    What `argv` does not say comes from `default`, or else from the defaults of the fields.

    `--env_id X`, `--env-id X` and `--env_id=X` are the same; booleans are flags (`--track`, `--no-track`).
    `--<prefix>.<name> X` is a setting of one of `sections_of(cls)`.
    elsewhere: ends the sentence on an unknown flag, which may be one of another program.
    Raises ConfigError for what is no text, no flag or no value of its flag, for a list that is given twice, and for
    flags that are `gone`, each with what to do instead.
    """
    own, prefixed = _split_prefixed(sys.argv[1:] if argv is None else argv)
    words = _checked_words(cls, own, gone)
    given: dict[str, Any] = {} if default is None else {"default": default}
    try:
        if {"-h", "--help"} & set(words):
            sections = {name: section for name, section in sections_of(cls).items() if name in words}
            print(help_text(cls, description, sections))
            raise SystemExit(0)
        _check_flags(cls, words, elsewhere=elsewhere)
        parsed = tyro.cli(cls, args=words, description=description, use_underscores=True, **given)
        if prefixed:
            changes = {name: value for each in prefixed.items() for name, value in _parse_section(cls, *each).items()}
            parsed = with_prefixed(parsed, changes)
    except SystemExit:  # after --help
        flush_or_drop()
        raise
    except BrokenPipeError:
        flush_or_drop()
        raise SystemExit(0) from None
    return parsed


def _checked_words(cls: type, given: Sequence[str], gone: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """What is given to tyro; raises ConfigError for words that are no text, and for flags that are `gone`."""
    words = _spell_out_flags(cls, _plain_words(cls, given))
    for word in words:
        # They could not be shown, and no file in UTF-8 can hold the halves of pairs that stand for other encodings.
        odd = [character for character in word if unreadable(character) and character not in "\t\n"]
        if odd:
            raise ConfigError(
                f"the argument {_shorten(word)!r} holds {odd[0]!a}, a character that cannot be shown; "
                "arguments are text in UTF-8."
            )
        flag = word.partition("=")[0].removeprefix("--").replace("-", "_")
        if word.startswith("--") and flag in gone:
            raise ConfigError(f"`--{flag}` is no argument any more: {gone[flag]}.")
    return words


def _split_prefixed(words: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The words of the class' own flags, and those of each prefix without it: `--a.b 3` -> {"a": ["--b", "3"]}."""
    own: list[str] = []
    prefixed: dict[str, list[str]] = {}
    into = own
    for word in words:
        found = re.match(r"--(no[-_])?(\w[\w-]*)\.([\w-]+(?:=.*)?)$", word, re.DOTALL)
        if found:
            into = prefixed.setdefault(found[2].replace("-", "_"), [])
            word = f"--{found[1] or ''}{found[3]}"
        elif word.startswith("-") and not re.match(r"-[\d.]", word):
            into = own
        into.append(word)
    return own, prefixed


def _parse_section(cls: type, prefix: str, words: list[str]) -> dict[str, Any]:
    """`<prefix>.<name>` -> value, of what these words say; raises ConfigError for what is no setting."""
    section = _known_section(cls, prefix, f"--{prefix}.{words[0].removeprefix('--').partition('=')[0]}")
    bools = {name for name, hint in type_hints(section).items() if hint is bool}
    plain: list[str] = []
    for word in words:  # a sweep says `--name=True`
        name, _, value = word.removeprefix("--").partition("=")
        off = name.removeprefix("no_").removeprefix("no-").replace("-", "_")
        if word.startswith("--") and {name.replace("-", "_"), off}.isdisjoint(type_hints(section)):
            known_setting(section, prefix, name)
        is_flag = name.replace("-", "_") in bools and value.lower() in ("true", "false")
        plain.append(f"--{'no_' if value.lower() == 'false' else ''}{name}" if is_flag else word)
    words = _checked_words(section, plain)
    _check_flags(section, words, prefix)
    parsed: Any = tyro.cli(section, args=words, use_underscores=True)
    return {f"{prefix}.{name}": getattr(parsed, name) for name in given_flags(section, plain)}


def _check_flags(cls: type, words: Sequence[str], prefix: str = "", elsewhere: str = "") -> None:
    """Raise ConfigError for what tyro would refuse in a box of its own, and for a list that is given twice.

    Of such a list tyro would keep the last in silence. prefix: of these flags, as they were given.
    """
    fields = [*flags_of(cls)]
    flags = {spelling: flag for flag in fields for spelling in flag.spellings}
    places = [flag for flag in fields if flag.positional]
    in_one_row = next((f"; give all of `{flag.name}` in one row" for flag in places if flag.is_list), "")
    values: dict[str, list[str]] = {}
    for name, words_after in _by_flag(words):
        rest = words_after
        if name:
            if name not in flags and name[:2] in flags:  # -oNAME
                name, words_after = name[:2], [name[2:], *words_after]
            flag = flags.get(name) or _refuse_flag(cls, name, [*flags], elsewhere, prefix)
            written = _spelt(name[2:], prefix) if name.startswith("--") else name
            if flag.is_list and flag.name in values:
                together = [] if _fixed_length(flag) else [*values[flag.name], *words_after]
                once = f", with all its values: `{_shorten(shlex.join([written, *together]))}`" if together else ""
                raise ConfigError(f"`{written}` is given twice; give it once{once}.")
            values[flag.name] = words_after
            # A switch that may be unset has been spelt out as `--name True` or `--name False`.
            spelt_out = not flag.is_switch and not name.startswith("--no_") and words_after[:1] in (["True"], ["False"])
            is_word = words_after and (not places or words_after[0].lower() in ("true", "false"))
            if flag.kind is bool and is_word and not spelt_out:
                _refuse_value(name, written, flag, words_after[0], prefix)
            rest = _without_own(written, flag, words_after)
        if rest and places:
            rest = _without_own(places[0].name, places.pop(0), rest)
        if rest:
            near = _nearest_flag(rest[0], flags, prefix)
            advice = near or in_one_row or "; flags begin with --, and --help lists them"
            raise ConfigError(f"`{_shorten(rest[0])}` belongs to no flag{advice}.")


def _by_flag(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each flag, spelt as its field is, and the words after it; those before the first one belong to none, ""."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for word in words:
        if word == "--":  # only words without a flag follow
            found.append(("", []))
        elif re.match(r"-[^\d.]", word):
            name, equals, value = word.partition("=")
            name = f"--{name[2:].replace('-', '_')}" if name.startswith("--") else name
            found.append((name, [value] if equals else []))
        else:
            found[-1][1].append(word)
    return found


def _spelt(name: str, prefix: str) -> str:
    """`--ewc.strength` for `strength`, and `--no_ewc.normalise` for `no_normalise`."""
    off = "no_" if name.startswith("no_") else ""
    return f"--{off}{prefix}.{name.removeprefix(off)}" if prefix else f"--{name}"


def _refuse_flag(cls: type, name: str, flags: list[str], elsewhere: str, prefix: str) -> NoReturn:
    if name != f"--{PREFIXED}" and is_hidden(cls, name.removeprefix("--")):
        raise ConfigError(f"`{_shorten(name)}` is no flag, but a key of the JSON file that `--config` names.")
    written = _spelt(name[2:], prefix) if prefix else name
    of_sections = [
        f"--{each}.{setting}" for each, section in sections_of(cls).items() for setting in type_hints(section)
    ]
    advice = _nearest_flag(written, flags + of_sections, prefix) + elsewhere or "; --help lists all"
    raise ConfigError(f"`{_shorten(written)}` is no flag here{advice}.")


def _nearest_flag(word: str, flags: Iterable[str], prefix: str) -> str:
    return nearest(word, [_spelt(flag[2:], prefix) for flag in flags if flag.startswith("--")], 0.7)


def _refuse_value(name: str, written: str, flag: Flag, value: str, prefix: str) -> NoReturn:
    """Of a switch, which has none."""
    on, off = _spelt(flag.name, prefix), _spelt(f"no_{flag.name}", prefix)
    right = f"`{on}` or `{off}`"
    if value.lower() in ("true", "false"):
        right = f"`{on if (value.lower() == 'true') == (name == f'--{flag.name}') else off}`"
    raise ConfigError(f"`{written}` takes no value, but is given {_shorten(value)}; write {right}.")


def _fixed_length(flag: Flag) -> int:
    """How many values it takes where that is fixed, as of two decays; else 0."""
    items = typing.get_args(flag.kind) if typing.get_origin(flag.kind) is tuple else ()
    return 0 if Ellipsis in items else len(items)


def _without_own(written: str, flag: Flag, words: list[str]) -> list[str]:
    """What is left of the words after a flag when it has taken its own; raises ConfigError where these are none."""
    fixed = _fixed_length(flag)
    if fixed and len(words) != fixed:
        usual = f", as in `{shlex.join([written, *map(str, flag.default)])}`" if flag.default else ""
        spaces = _with_spaces(written, flag, words)
        raise ConfigError(f"`{written}` takes {fixed} values{usual}, but is given {len(words)}{spaces}.")
    number = len(words) if flag.is_list else int(not flag.is_switch)
    if len(words) < number:
        dash = f"; one that begins with - follows a =, as in `{written}=-x`" if flag.item is str else ""
        raise ConfigError(f"`{written}` is given without its value, {describe(flag.item)}{dash}.")
    kinds = typing.get_args(flag.kind) if fixed else [flag.item] * number
    for word, kind in zip(words, kinds, strict=False):
        if not _is_written(word, kind) and not (word == "None" and flag.default is None):
            what = "which" if fixed else "but each of its values" if flag.is_list else "but it"
            near = nearest(word, map(str, flag.choices)) if flag.choices else ""
            near = _with_spaces(written, flag, words) or near
            has = "has" if flag.is_list else "is"
            raise ConfigError(f"`{written}` {has} `{_shorten(word)}`, {what} must be {describe(kind)}{near}.")
    return words[number:]


def _with_spaces(written: str, flag: Flag, words: list[str]) -> str:
    """The ending of a sentence, if these are the values of a list with commas between them: how to write it."""
    apart = [part for word in words for part in word.split(",") if part]
    kinds = typing.get_args(flag.kind) if _fixed_length(flag) else [flag.item] * len(apart)
    if not flag.is_list or len(apart) != len(kinds) or not all(map(_is_written, apart, kinds)):
        return ""
    return f"; write spaces between them, `{_shorten(shlex.join([written, *apart]))}`"


def _is_written(word: str, kind: Any) -> bool:
    """Whether a word of a command line is a value of this type."""
    if typing.get_origin(kind) is Literal:
        return word in map(str, typing.get_args(kind))
    if kind is bool:
        return word in ("True", "False")
    try:
        return kind not in (int, float) or kind(word) is not None
    except ValueError:
        return False


def _known_section(cls: type, prefix: str, given: str) -> type:
    sections = sections_of(cls)
    if prefix not in sections:
        near = nearest(prefix, sections) or (f"; these do: {', '.join(sections)}" if sections else "")
        raise ConfigError(f"`{_shorten(given)}`: nothing called `{_shorten(prefix)}` has settings here{near}.")
    return sections[prefix]


def flush_or_drop() -> None:
    """Print what is left; drop it where the reader, e.g. `head`, has seen enough, or Python complains as it exits."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def given_flags(cls: type, argv: Sequence[str] | None = None) -> set[str]:
    """The fields of `cls` that `argv` (default: the command line of this process) names, whatever their values."""
    names = {
        word.partition("=")[0].removeprefix("--").replace("-", "_")
        for word in (sys.argv[1:] if argv is None else argv)
        if word.startswith("--")
    }
    prefixed = {name.removeprefix("no_") for name in names if "." in name}
    return prefixed | {name for name in type_hints(cls) if name in names or f"no_{name}" in names}


def _spell_out_flags(cls: type, argv: Sequence[str]) -> list[str]:
    """``--her`` -> ``--her True``, ``--no-her`` -> ``--her False`` for fields that may be None, too.

    tyro has no flags with a third state, which is needed where something else decides what was not given.
    """
    hints = type_hints(cls)
    three_states = {name for name, hint in hints.items() if set(typing.get_args(hint)) == {bool, types.NoneType}}
    words = []
    for word, following in zip(argv, [*argv, ""][1:], strict=True):
        name = word.removeprefix("--").replace("-", "_")
        if not word.startswith("--") or name.removeprefix("no_") not in three_states:
            words.append(word)
        elif name.startswith("no_"):
            words += [f"--{name.removeprefix('no_')}", "False"]
        else:
            words += [word] if following in ("True", "False", "None") else [word, "True"]
    return words


def _plain_words(cls: type, argv: Sequence[str]) -> list[str]:
    """Turn `--dims "[1, 2]"` or `--dims=[1, 2]` into `--dims 1 2`, and `--steps 1e6` into `--steps 1000000`.

    Lists are JSON, or Python's as W&B's sweep agents pass them. All else stays as it is.
    """
    hints = type_hints(cls)
    words: list[str] = []
    flag = ""
    for word in argv:
        before, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        flag = before or flag
        hint = hints.get(flag.removeprefix("--").replace("-", "_"))
        items = _read_list(value) if typing.get_origin(hint) in (list, tuple) else None
        if items is None and int in (hint, *typing.get_args(hint)):
            items = _read_whole_number(value)
        words += [word] if items is None else [*([flag] if equals else []), *(str(item) for item in items)]
    return words


def _read_whole_number(text: str) -> list[int] | None:
    """The whole number that is written with an exponent, alone in a list; None if it is none."""
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?[eE]\+?\d{1,2}", text) is None or not float(text).is_integer():
        return None
    return [int(float(text))]


def _read_list(text: str) -> Sequence[Any] | None:
    """The list that a word holds; None if it holds none."""
    if not text.startswith(("[", "(")):
        return None
    try:
        items = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None  # not a list after all: tyro then says what it expects
    return items if isinstance(items, (list, tuple)) else None
