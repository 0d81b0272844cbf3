"""Reading a JSON file that a person has written: finite numbers, no key twice, and one sentence for what is wrong."""

from __future__ import annotations

import difflib
import json
import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

_LARGEST_FILE = 10_000_000  # characters
_MAX_DEPTH = 200  # whatever looks into the values calls itself as often, which Python allows 1000 times
_REMEDIES = (
    ("Expecting ',' delimiter", "a comma is missing before this"),
    ("Expecting ':' delimiter", "a colon is missing between a key and its value"),
    ("Invalid control character", 'a string ends in its line, with ", and a tab in it is written as \\t'),
    ("Unterminated string", 'the string that begins here has no closing "'),
    ("Invalid \\u", "after \\u stand four hexadecimal digits, as in \\u00e9"),
    ("Invalid \\", "write a backslash in a string twice, \\\\"),
    ("Extra data", "the value of the file has ended before this; a file holds one, and brackets come in pairs"),
    ("Unexpected UTF-8 BOM", "the file begins with two byte order marks; leave them out"),
    ("Expecting property name", 'a key in double quotes belongs here, as in "seed"'),
    (
        "Expecting value",
        "a value belongs here: a number, text in double quotes, true, false, null, a list, an object",
    ),
)
"""Beginnings of Python's messages, and what to do."""


class JSONFileError(ValueError):
    """A file that cannot be used; the message is one sentence for the user."""


def read_json(path: Path, argument: str) -> Any:
    """What the JSON file holds that was named by `argument`.

    Raises:
        JSONFileError: it cannot be read, is no JSON, has a key twice in one object, or numbers that are not finite.
    """
    text = _text_of(path, f"`{argument}` names {shorten(str(path))}, which")
    try:
        parsed = json.loads(
            text,
            object_pairs_hook=lambda pairs: _unique_keys(pairs, text),
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_finite_int,
        )
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        position, remedy = _remedy(text, error)
        line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
        raise JSONFileError(f"{path.name} is not valid JSON at line {line}, column {column}: {remedy}.") from None
    except UnicodeEncodeError:
        raise JSONFileError(f"{path.name} holds half of a surrogate pair (\\ud800 to \\udfff).") from None
    except RecursionError:
        raise JSONFileError(f"{path.name} is nested too deeply to be a configuration.") from None
    except ValueError as error:  # of the functions below: duplicate keys, NaN, huge numbers
        raise JSONFileError(f"{path.name} cannot be used: {error}.") from None
    if _depth(parsed) > _MAX_DEPTH:
        raise JSONFileError(f"{path.name} is nested too deeply to be a configuration.")
    return parsed


def shorten(text: str, limit: int = 100) -> str:
    """`text` on one line that a terminal shows as it is, and no longer than that."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _text_of(path: Path, what: str) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:  # some editors put a byte order mark in front
            text = file.read(_LARGEST_FILE + 1)
    except UnicodeDecodeError as error:
        raise JSONFileError(f"{what} is not a text file in UTF-8: {error.reason}.") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", None) or str(error)
        near = _nearest_file(path) if isinstance(error, OSError) else ""
        raise JSONFileError(f"{what} cannot be read: {reason}{near}.") from None
    if len(text) > _LARGEST_FILE:  # a device, or a file of another kind
        raise JSONFileError(f"{what} is too large to be a configuration.")
    return text


def _nearest_file(path: Path) -> str:
    """The ending of a sentence, which file may be meant; empty where none is near, or `path` is one."""
    with suppress(OSError):
        if path.is_file():
            return ""
        files = [*path.glob("*.json"), *path.glob("*/*.json")]
        if inside := sorted({each.relative_to(path).parts[0] for each in files}):
            return f"; in it are {shorten(', '.join(inside))}"
        beside = {each.stem: each for each in path.parent.glob("*.json")}
        shipped = {_name_of(each): each for each in sorted(Path("configs").rglob("*.json"), reverse=True)}
        for name, known, cutoff in ((path.stem, beside, 0.6), (_name_of(path), shipped, 0.7)):
            if near := difflib.get_close_matches(name, known, n=1, cutoff=cutoff):
                found = known[near[0]]
                same_size = found.with_stem(path.stem)
                return f"; the nearest is {shorten(str(same_size if same_size.is_file() else found))}"
    return ""


def _name_of(path: Path) -> str:
    """What is particular to it: of the files of a suite, cpu.json and full.json, the folder."""
    return path.parent.name if path.stem in ("cpu", "full") else path.stem


def _remedy(text: str, error: json.JSONDecodeError) -> tuple[int, str]:
    """Where the mistake is, and what to do."""
    position = error.pos + error.msg.startswith("Illegal trailing comma")  # where Python 3.13 points at the comma
    rest, before = text[position:].lstrip(), text[:position].rstrip()
    if not text.strip():
        return 0, "the file is empty; {} is an object without keys"
    if not rest and error.msg.startswith("Expecting"):
        return len(before), "the file ends too early; a closing bracket, } or ], is missing"
    if before.endswith(",") and rest[:1] in ("}", "]"):
        return len(before) - 1, f"no comma may stand before {rest[0]}; leave it out"
    if re.match(r"//|/\*|#", rest):
        return position, "JSON has no comments; leave it out, or write it as the text of a key `notes`"
    if rest[:1] == "'":
        return position, 'JSON has double quotes only, "'
    if error.msg.startswith("Expecting ',' delimiter"):
        if rest[:1] in ("}", "]", ":"):
            return position, f"a closing bracket is missing before {rest[0]}"
        if re.search(r"[\[:,]\s*-?\d+(\.\d+)?([eE][+-]?\d+)?$", text[:position]) and re.match(
            r"[\w.]", text[position:]
        ):
            return position, "this is no number of JSON, where 5.0, 10 and 1e-4 are"
    if word := re.match(r"True\b|False\b|None\b", rest):
        right = {"True": "true", "False": "false", "None": "null"}[word[0]]
        return position, f"{word[0]} is Python's; in JSON it is {right}"
    return position, next((remedy for begin, remedy in _REMEDIES if error.msg.startswith(begin)), error.msg.lower())


def _depth(value: Any) -> int:
    """How many lists and objects are inside each other."""
    depth, layer = 0, [value]
    while layer := [item for item in layer if isinstance(item, (dict, list))]:
        depth += 1
        layer = [inner for item in layer for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def _unique_keys(pairs: list[tuple[str, Any]], text: str) -> dict[str, Any]:
    # json would silently keep the last of two equal keys: two phases of the same factory would become one.
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            written = "|".join({re.escape(json.dumps(key, ensure_ascii=ascii)) for ascii in (True, False)})
            lines = [text.count("\n", 0, found.start()) + 1 for found in re.finditer(rf"(?:{written})\s*:", text)]
            where = f" (lines {lines[0]} and {lines[1]})" if len(lines) == len({*lines}) == 2 else ""
            remedy = "keep one of them"
            if key.endswith("Factory"):
                remedy = (
                    'to use a factory twice, give a list of {"modification_factory": ..., '
                    '"modification_factory_kwargs": ...}'
                )
            raise ValueError(f"the key `{shorten(key)}` appears twice in one object{where}; {remedy}")
        result[key] = value
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number; numbers must be finite")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {shorten(text)} is too large")
    return value


def _finite_int(text: str) -> int:
    if len(text) > 300:  # it would not fit a float, and Python itself stops at some thousand digits
        raise ValueError(f"the number {shorten(text)} is too large")
    return int(text)
