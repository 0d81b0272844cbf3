"""Configuration: one flat dataclass, filled from the command line (`command_line.py`), then from a JSON file, checked.

Precedence: defaults < command line < JSON file. What a user can get wrong in one of them, or a number out of its range,
ends in a `ConfigError` with one sentence.
"""

import dataclasses
import difflib
import json
import math
import types
import typing
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar, Union

import tyro

from continual_hackatari import json_files
from continual_hackatari.json_files import shorten as _shorten
from continual_hackatari.training.help import PREFIXED

ArgsT = TypeVar("ArgsT")


class ConfigError(ValueError):
    """A setting that cannot work; the message is one sentence for the user."""


def sentence(error: BaseException, limit: int = 1000) -> str:
    """What `error` says on one line that any terminal shows as it is: what a user gave may be in it, however odd."""
    text = " ".join("".join(" " if unreadable(character) else character for character in str(error)).split())
    half = limit // 2 - 3
    return text if len(text) <= limit else f"{text[:half]} ... {text[-half:]}"


def unreadable(character: str) -> bool:
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
    hints, sections = all_type_hints(type(args)), sections_of(type(args))
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
                known_setting(sections[prefix], prefix, setting, file)
            if name in flat:
                raise ConfigError(f"{file} says `{name}` twice; say it once.")
            flat[name] = each
    return flat


def known_setting(section: type, prefix: str, name: str, file: str = "") -> None:
    """Raise ConfigError for what is no setting of this section; `file` is what sentences call where it stands."""
    if name not in type_hints(section):
        names = [f"{prefix}.{known}" for known in type_hints(section)]
        near = nearest(f"{prefix}.{name}", names) or (f"; it has {', '.join(names)}" if names else "; it has none")
        where = f" in {file}" if file else ""
        raise ConfigError(f"`{_shorten(f'{prefix}.{name}')}`{where} is not a setting of {prefix}{near}.")


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


def type_hints(cls: type) -> dict[str, Any]:
    """Field name -> annotation, without `Annotated` and tyro's markers."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.name != PREFIXED}


def all_type_hints(cls: type) -> dict[str, Any]:
    """The same, and `<section>.<name>` -> annotation of its sections."""
    of_sections = {name: type_hints(section) for name, section in sections_of(cls).items()}
    prefixed = {f"{name}.{each}": hint for name, hints in of_sections.items() for each, hint in hints.items()}
    return type_hints(cls) | prefixed


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
    raise _TypeMismatchError(describe(annotation))


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
    raise _TypeMismatchError(describe(annotation))


def _convert_literal(value: Any, allowed: tuple[Any, ...]) -> Any:
    for option in allowed:
        if value == option and type(value) is type(option):  # True == 1, so types must agree too
            return option
    near = nearest(value, [str(option) for option in allowed]) if isinstance(value, str) else ""
    raise _TypeMismatchError(describe(Literal[allowed]), near)


def _convert_sequence(value: Any, annotation: Any) -> Any:
    origin, items = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(value, str) and annotation == tuple[str, ...]:
        value = [value] if value else []  # a list of one, as on the command line
    if not isinstance(value, list):
        raise _TypeMismatchError(describe(annotation))
    if origin is tuple and items[-1] is not Ellipsis:
        if len(value) != len(items):
            raise _TypeMismatchError(describe(annotation))
        item_types = list(items)
    else:
        item_types = [items[0]] * len(value)
    try:
        return origin(_convert(item, item_type) for item, item_type in zip(value, item_types, strict=True))
    except _TypeMismatchError:
        raise _TypeMismatchError(describe(annotation)) from None


_TYPE_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", types.NoneType: "null"}


def describe(annotation: Any) -> str:
    origin, items = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(item) for item in items)
    if origin is Literal:
        return "one of " + ", ".join(json.dumps(item) for item in items)
    if origin is list or (origin is tuple and items[-1] is Ellipsis):
        return f"a list, each item {describe(items[0])}"
    if origin is tuple:
        return f"a list of {len(items)}: " + ", ".join(describe(item) for item in items)
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
    by_spelling = {option.lstrip("-").lower(): option for option in known}
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
    hints = all_type_hints(cls)
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
    own = {name: getattr(args, name) for name in type_hints(type(args))}
    return {name: _plain(value) for name, value in {**own, **prefixed_of(args)}.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
