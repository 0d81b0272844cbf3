"""Configuration: one flat dataclass, filled from the command line, then from a JSON file, then checked.

Precedence: defaults < command line < JSON file. What a user can get wrong in one of them, or a number out of its range,
ends in a `ConfigError` with one sentence.
"""

import ast
import dataclasses
import difflib
import json
import math
import os
import re
import shlex
import sys
import types
import typing
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar, Union

import tyro

from continual_hackatari import json_files
from continual_hackatari.json_files import shorten as _shorten
from continual_hackatari.training.help import PREFIXED, Flag, flags_of, help_text

ArgsT = TypeVar("ArgsT")


class ConfigError(ValueError):
    """A setting that cannot work; the message is one sentence for the user."""


def sentence(error: BaseException, limit: int = 1000) -> str:
    """What `error` says on one line that any terminal shows as it is: what a user gave may be in it, however odd."""
    text = " ".join("".join(" " if _unreadable(character) else character for character in str(error)).split())
    half = limit // 2 - 3
    return text if len(text) <= limit else f"{text[:half]} ... {text[-half:]}"


def _unreadable(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")  # control, half of a pair, line separators


class Range(NamedTuple):
    """Allowed numbers: from `low` to `high`, both included unless `above` excludes `low`; None means no limit."""

    low: float | None = None
    high: float | None = None
    above: bool = False


class Belonging(NamedTuple):
    """What flags belong to that say how something works, and do nothing where that is off."""

    why: str
    """the end of "`flag` value ...", which says what it is"""
    is_on: Callable[[Any], bool]
    """whether it is on with these arguments"""
    remedy: str


# ---------------------------------------------------------------------------------------------------- command line


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
        unreadable = [character for character in word if _unreadable(character) and character not in "\t\n"]
        if unreadable:
            raise ConfigError(
                f"the argument {_shorten(word)!r} holds {unreadable[0]!a}, a character that cannot be shown; "
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
    bools = {name for name, hint in _type_hints(section).items() if hint is bool}
    plain: list[str] = []
    for word in words:  # a sweep says `--name=True`
        name, _, value = word.removeprefix("--").partition("=")
        off = name.removeprefix("no_").removeprefix("no-").replace("-", "_")
        if word.startswith("--") and {name.replace("-", "_"), off}.isdisjoint(_type_hints(section)):
            _known_setting(section, prefix, name)
        is_flag = name.replace("-", "_") in bools and value in ("True", "False")
        plain.append(f"--{'no_' if value == 'False' else ''}{name}" if is_flag else word)
    words = _checked_words(section, plain)
    _check_flags(section, words, prefix)
    parsed: Any = tyro.cli(section, args=words, use_underscores=True)
    return {f"{prefix}.{name}": getattr(parsed, name) for name in given_flags(section, plain)}


def _check_flags(cls: type, words: Sequence[str], prefix: str = "", elsewhere: str = "") -> None:
    """Raise ConfigError for what tyro would refuse in a box of its own, and for a list that is given twice.

    Of such a list tyro would keep the last in silence. prefix: of these flags, as they were given.
    """
    flags = {spelling: flag for flag in flags_of(cls) for spelling in flag.spellings}
    places = [flag for flag in flags_of(cls) if flag.positional]
    values: dict[str, list[str]] = {}
    for name, words_after in _by_flag(words):
        rest = words_after
        if name:
            if name not in flags and name[:2] in flags:  # -oNAME
                name, words_after = name[:2], [name[2:], *words_after]
            flag = flags.get(name) or _refuse_flag(cls, name, flags, elsewhere, prefix)
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
            split = [
                f"; give all of `{flag.name}` in one row" for flag in flags_of(cls) if flag.positional and flag.is_list
            ]
            advice = _nearest_flag(rest[0], flags) or "".join(split) or "; flags begin with --, and --help lists them"
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


def _refuse_flag(cls: type, name: str, flags: Iterable[str], elsewhere: str, prefix: str) -> NoReturn:
    if name != f"--{PREFIXED}" and is_hidden(cls, name.removeprefix("--")):
        raise ConfigError(f"`{_shorten(name)}` is no flag, but a key of the JSON file that `--config` names.")
    advice = _nearest_flag(name, flags, prefix) + elsewhere or "; --help lists all"
    raise ConfigError(f"`{_shorten(_spelt(name[2:], prefix) if prefix else name)}` is no flag here{advice}.")


def _nearest_flag(word: str, flags: Iterable[str], prefix: str = "") -> str:
    known = [flag[2:] for flag in flags if flag.startswith("--")]
    return nearest(word, known, 0.7).replace("`", f"`{_spelt('', prefix)}", 1)


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
        raise ConfigError(f"`{written}` takes {fixed} values{usual}, but is given {len(words)}.")
    number = len(words) if flag.is_list else int(not flag.is_switch)
    if len(words) < number:
        dash = f"; one that begins with - follows a =, as in `{written}=-x`" if flag.item is str else ""
        raise ConfigError(f"`{written}` is given without its value, {_describe(flag.item)}{dash}.")
    kinds = typing.get_args(flag.kind) if fixed else [flag.item] * number
    for word, kind in zip(words, kinds, strict=False):
        if not _is_written(word, kind) and not (word == "None" and flag.default is None):
            given = f"`{_shorten(word)}`"
            said = f"has {given}, but each of its values" if flag.is_list else f"is {given}, but it"
            said = f"has {given}, which" if fixed else said
            near = nearest(word, map(str, flag.choices)) if flag.choices else ""
            apart = [part for part in word.split(",") if part]
            if flag.is_list and len(apart) > 1 and all(_is_written(part, kind) for part in apart):
                near = f"; write spaces between them, `{_shorten(shlex.join([written, *apart]))}`"
            raise ConfigError(f"`{written}` {said} must be {_describe(kind)}{near}.")
    return words[number:]


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


def _known_setting(section: type, prefix: str, name: str) -> None:
    if name not in _type_hints(section):
        names = [f"{prefix}.{known}" for known in _type_hints(section)]
        near = nearest(f"{prefix}.{name}", names) or (f"; it has {', '.join(names)}" if names else "; it has none")
        raise ConfigError(f"`{_shorten(f'{prefix}.{name}')}` is not a setting of {prefix}{near}.")


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
    return prefixed | {name for name in _type_hints(cls) if name in names or f"no_{name}" in names}


def _spell_out_flags(cls: type, argv: Sequence[str]) -> list[str]:
    """``--her`` -> ``--her True``, ``--no-her`` -> ``--her False`` for fields that may be None, too.

    tyro has no flags with a third state, which is needed where something else decides what was not given.
    """
    hints = _type_hints(cls)
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
    hints = _type_hints(cls)
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


# ------------------------------------------------------------------------------------------------------- JSON file


def apply_config_file(
    args: ArgsT,
    path: str | Path,
    given: Collection[str] = (),
    gone: Mapping[str, str] = MappingProxyType({}),
    foreign: list[str] | None = None,
) -> tuple[ArgsT, list[str]]:
    """Return a copy of `args` with the values of the JSON file at `path`, and one line per value that changed.

    The file holds one object whose keys are exact field names, hidden fields included; it wins over the command line.
    Where that changes one of the `given` flags, see `given_flags`, the line is a warning.
    Raises ConfigError for an unreadable file, invalid JSON, an unknown key, a value of a wrong type, and for a key that
    is `gone`, with what to do instead.
    foreign: gets the unknown keys that look like none of the known ones, instead of an error.
    """
    content, name = _read_json_object(Path(path)), Path(path).name
    if "config" in content:
        raise ConfigError(f"`config` cannot stand in {name}: it names this very file; remove the key.")
    return apply_values(args, content, name, given, gone, foreign)


def apply_values(
    args: ArgsT,
    content: Mapping[str, Any],
    file: str,
    given: Collection[str] = (),
    gone: Mapping[str, str] = MappingProxyType({}),
    foreign: list[str] | None = None,
) -> tuple[ArgsT, list[str]]:
    """`apply_config_file` for what a JSON file holds; `file` is what sentences call it."""
    hints, sections = _all_type_hints(type(args)), sections_of(type(args))
    changes: dict[str, Any] = {}
    lines: list[str] = []
    before = prefixed_of(args)
    for key, value in _without_sections(content, sections, file).items():
        if key == "resume":
            raise ConfigError(f"`resume` cannot stand in {file}: a run to go on with has its settings already.")
        if key in gone:
            raise ConfigError(f"`{key}` in {file} is no argument any more: {gone[key]}.")
        if key not in hints:
            if foreign is not None and not nearest(key, hints, 0.8):
                foreign.append(_shorten(key))
                continue
            advice = nearest(key, hints) or "; --help lists them"
            raise ConfigError(f"`{_shorten(key)}` in {file} is not a known argument{advice}.")
        try:
            new = _convert(value, hints[key])
        except _TypeMismatchError as mismatch:
            found = _shorten(json.dumps(value, ensure_ascii=False))
            found += "" if value is None else f" ({_json_type(value)})"
            raise ConfigError(
                f"`{key}` in {file} must be {mismatch.allowed}, but it is {found}{mismatch.advice}."
            ) from None
        section, _, name = key.partition(".")
        old = before.get(key, getattr(sections[section](), name)) if name else getattr(args, key)
        changes[key] = new
        if new != old and key != "notes":  # free text changes nothing
            verb = "sets " if is_hidden(type(args), key) else "overrides --"
            warning = "warning: " if key in given else ""
            lines.append(f"{warning}{file} {verb}{key}: {shown(old)} -> {shown(new)}")
    own = {key: value for key, value in changes.items() if "." not in key}
    args = dataclasses.replace(args, **own)  # type: ignore[type-var]
    return with_prefixed(args, {key: value for key, value in changes.items() if "." in key}), lines


def _without_sections(content: Mapping[str, Any], sections: Mapping[str, type], file: str) -> dict[str, Any]:
    """`{"a": {"b": 3}}` as `{"a.b": 3}`, for every section a; and `{"a.b": 3}` as it is."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if key in sections and not isinstance(value, dict):
            raise ConfigError(f"`{key}` in {file} must be an object of its settings, but is {_json_type(value)}.")
        inner = {f"{key}.{name}": each for name, each in value.items()} if key in sections else {key: value}
        for name, each in inner.items():
            prefix, _, setting = name.partition(".")
            if prefix in sections and setting:
                _known_setting(sections[prefix], prefix, setting)
            if name in flat:
                raise ConfigError(f"{file} says `{name}` twice; say it once.")
            flat[name] = each
    return flat


def _read_json_object(path: Path) -> dict[str, Any]:
    parsed = read_json(path)
    if not isinstance(parsed, dict):
        raise ConfigError(f"{path.name} must hold one JSON object, but it holds {_json_type(parsed)}.")
    return parsed


def read_json(path: Path, argument: str = "config") -> Any:
    """`json_files.read_json` of a file that a setting names; raises ConfigError."""
    try:
        return json_files.read_json(path, argument)
    except json_files.JSONFileError as error:
        raise ConfigError(str(error)) from None


# --------------------------------------------------------------------------------------------------- types of fields


class _TypeMismatchError(Exception):
    """A value of another type: what is allowed (as it stands after "must be"), and advice to end the sentence with."""

    def __init__(self, allowed: str, advice: str = "") -> None:
        super().__init__(allowed, advice)
        self.allowed = allowed
        self.advice = advice


def _type_hints(cls: type) -> dict[str, Any]:
    """Field name -> annotation, without `Annotated` and tyro's markers."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.name != PREFIXED}


def _all_type_hints(cls: type) -> dict[str, Any]:
    """The same, and `<section>.<name>` -> annotation of its sections."""
    of_sections = {name: _type_hints(section) for name, section in sections_of(cls).items()}
    prefixed = {f"{name}.{each}": hint for name, hints in of_sections.items() for each, hint in hints.items()}
    return _type_hints(cls) | prefixed


def is_hidden(cls: type, name: str) -> bool:
    """Whether the field is kept off the command line (`tyro.conf.Suppress`); settings with a prefix are not."""
    annotation = typing.get_type_hints(cls, include_extras=True).get(name)
    return tyro.conf.Suppress in getattr(annotation, "__metadata__", ())


def _convert(value: Any, annotation: Any) -> Any:
    """The JSON value as the annotated type; raises _TypeMismatchError with the description of what is allowed."""
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _convert_union(value, annotation)
    if origin is Literal:
        return _convert_literal(value, typing.get_args(annotation))
    if origin in (tuple, list):
        return _convert_sequence(value, annotation)
    if annotation is float and type(value) in (int, float):
        return float(value)
    if annotation is int and type(value) is float and value.is_integer():
        return int(value)  # 1e6
    if annotation is Any or (annotation in (bool, int, str) and type(value) is annotation):
        return value
    if (origin or annotation) is dict and isinstance(value, dict):
        return value
    raise _TypeMismatchError(_describe(annotation))


def _convert_union(value: Any, annotation: Any) -> Any:
    options = typing.get_args(annotation)
    if value is None and types.NoneType in options:
        return None
    for option in options:
        if option is types.NoneType:
            continue
        try:
            return _convert(value, option)
        except _TypeMismatchError:
            continue  # another option may fit
    raise _TypeMismatchError(_describe(annotation))


def _convert_literal(value: Any, allowed: tuple[Any, ...]) -> Any:
    for option in allowed:
        if value == option and type(value) is type(option):  # True == 1, so types must agree too
            return option
    near = nearest(value, [str(option) for option in allowed]) if isinstance(value, str) else ""
    raise _TypeMismatchError(_describe(Literal[allowed]), near)


def _convert_sequence(value: Any, annotation: Any) -> Any:
    origin, items = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(value, str) and annotation == tuple[str, ...]:
        value = [value] if value else []  # a list of one, as on the command line
    if not isinstance(value, list):
        raise _TypeMismatchError(_describe(annotation))
    if origin is tuple and items[-1] is not Ellipsis:
        if len(value) != len(items):
            raise _TypeMismatchError(_describe(annotation))
        item_types = list(items)
    else:
        item_types = [items[0]] * len(value)
    try:
        return origin(_convert(item, item_type) for item, item_type in zip(value, item_types, strict=True))
    except _TypeMismatchError:
        raise _TypeMismatchError(_describe(annotation)) from None


_TYPE_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", types.NoneType: "null"}


def _describe(annotation: Any) -> str:
    origin, items = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(item) for item in items)
    if origin is Literal:
        return "one of " + ", ".join(json.dumps(item) for item in items)
    if origin is list or (origin is tuple and items[-1] is Ellipsis):
        return f"a list, each item {_describe(items[0])}"
    if origin is tuple:
        return f"a list of {len(items)}: " + ", ".join(_describe(item) for item in items)
    if (origin or annotation) is dict:
        return "an object"
    if annotation in _TYPE_WORDS:
        return _TYPE_WORDS[annotation]
    raise TypeError(f"fields of type {annotation} cannot be read from JSON")


def _json_type(value: Any) -> str:
    for kinds, words in ((bool, "a boolean"), (int, "a whole number"), (float, "a number"), (str, "a string")):
        if isinstance(value, kinds):
            return words
    return "null" if value is None else "a list" if isinstance(value, list) else "an object"


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """The ending of an error sentence that names the known name nearest to `name`; empty when none is near."""
    known = list(known)
    wanted = name.strip().lstrip("-").replace("-", "_").lower()
    by_spelling = {option.lower(): option for option in known}
    near = difflib.get_close_matches(wanted, by_spelling, n=1, cutoff=likeness)
    return f"; the nearest is `{by_spelling[near[0]]}`" if near else ""


def shown(value: Any) -> str:
    """A value on one line: strings bare where they are readable, all else as JSON."""
    if isinstance(value, str) and value.isprintable() and value.strip():
        return _shorten(value)
    return _shorten(json.dumps(_plain(value), ensure_ascii=False))


# ------------------------------------------------------------------------------------------ settings with a prefix


def sections_of(cls: type) -> dict[str, type]:
    """What has settings of its own, which carry its name: prefix -> dataclass; see `RunSettings.sections`."""
    return cls.sections() if hasattr(cls, "sections") else {}


def prefixed_of(args: Any) -> dict[str, Any]:
    """The settings with a prefix that were given."""
    return dict(getattr(args, PREFIXED, {}))


def with_prefixed(args: ArgsT, changes: Mapping[str, Any]) -> ArgsT:
    """A copy with these settings besides those that it has."""
    return dataclasses.replace(args, **{PREFIXED: prefixed_of(args) | dict(changes)}) if changes else args  # type: ignore[type-var]


# ------------------------------------------------------------------------------------------- checks and plain values


def check_ranges(args: Any, ranges: Mapping[str, Range]) -> None:
    """Raise ConfigError for the first argument outside its range.

    Sequences are checked item by item, None is skipped (an optional argument that was not given). NaN and infinity are
    never allowed: every comparison with NaN is false, so a plain `value < low` would let it through.
    """
    for name, allowed in ranges.items():
        given = getattr(args, name)
        for value in given if isinstance(given, (tuple, list)) else (given,):
            if value is not None and not _inside(value, allowed):
                which = "each number of it" if value is not given else "it"
                raise ConfigError(f"`{name}` is {shown(given)}, but {which} must be {_describe_range(allowed)}.")


def check_not_empty(args: Any, wanted: Mapping[str, str]) -> None:
    """Raise ConfigError for a path that is empty, as that of a variable may be: it would mean the current folder.

    wanted: argument -> what it names.
    """
    for name, what in wanted.items():
        value = getattr(args, name)
        if "" in (value if isinstance(value, (tuple, list)) else (value,)):
            raise ConfigError(f"`{name}` is given and empty; give it {what}, or leave it out")


def check_belongings(args: Any, table: Mapping[str, Belonging], accepted: Any = None) -> None:
    """Raise ConfigError for the first argument that differs from its default where what it belongs to is off.

    Where the value came from does not matter. What was so in `accepted`, the settings of a run that goes on, stays.
    """
    before = set() if accepted is None else set(_idle(accepted, table))
    for name in _idle(args, table):
        if name not in before:
            default = shown(getattr(type(args)(), name))
            raise ConfigError(
                f"`{name}` {shown(getattr(args, name))} {table[name].why}; {table[name].remedy}, or leave `{name}` at "
                f"its default, {default}"
            )


def _idle(args: Any, table: Mapping[str, Belonging]) -> list[str]:
    """The arguments that differ from their defaults and do nothing."""
    default = type(args)()
    return [name for name, of in table.items() if getattr(args, name) != getattr(default, name) and not of.is_on(args)]


def _inside(value: float, allowed: Range) -> bool:
    if isinstance(value, float) and not math.isfinite(value):  # an int of any size is finite, and may not fit a float
        return False
    if allowed.low is not None and (value < allowed.low or (allowed.above and value == allowed.low)):
        return False
    return allowed.high is None or value <= allowed.high


def _describe_range(allowed: Range) -> str:
    limits = []
    if allowed.low is not None:
        limits.append(f"{'greater than' if allowed.above else 'at least'} {_readable(allowed.low)}")
    if allowed.high is not None:
        limits.append(f"at most {_readable(allowed.high)}")
    return " and ".join(limits) or "a finite number"


def _readable(limit: float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


def from_plain_dict(
    cls: type[ArgsT], values: Mapping[str, Any], gone: Mapping[str, str] = MappingProxyType({})
) -> ArgsT:
    """The dataclass that `as_plain_dict` made `values` of; fields that they lack have their defaults.

    Raises ConfigError where they name something that `cls` does not know, as those of another version may; with what
    became of it where it is `gone`.
    """
    hints = _all_type_hints(cls)
    converted: dict[str, Any] = {}
    prefixed: dict[str, Any] = {}
    for key, value in values.items():
        try:
            (prefixed if "." in key else converted)[key] = _convert(value, hints[key])
        except (KeyError, _TypeMismatchError):
            since = f"; {gone[key]}" if key in gone else ""
            raise ConfigError(
                f"`{key}`, {shown(value)}, is a setting that this version does not know{since}; the version that made "
                "the run can go on with it."
            ) from None
    return with_prefixed(cls(**converted), prefixed)


def as_plain_dict(args: Any) -> dict[str, Any]:
    """The fields as values that JSON and `torch.load(weights_only=True)` know: tuples become lists, paths strings.

    Settings with a prefix stand beside them.
    """
    own = {name: getattr(args, name) for name in _type_hints(type(args))}
    return {name: _plain(value) for name, value in {**own, **prefixed_of(args)}.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
