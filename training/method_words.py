"""How people write methods: apart for the training script, `layer_norm redo`, together for a run of a sweep,
`layer_norm+redo:every=50`."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from itertools import zip_longest
from typing import Any, NamedTuple

_NAME, _VALUE = r"[^\W\d]\w*", r"[^\s,+:=]+"
_TOGETHER = re.compile(rf"{_NAME}(?::{_NAME}={_VALUE})*")
_NUMBERS, _WORDS = r"[\d.eE-]+(?:,[\d.eE-]+)+", rf"{_NAME}(?:,{_NAME})+"
_SEVERAL_VALUES = re.compile(rf"(.+:{_NAME}=)({_NUMBERS}|{_WORDS})")
"""at the end of the methods; a word after a number, `redo:every=50,ewc`, is another method"""


class Written(NamedTuple):
    """A method, and the settings that stand with it: (name, value) each."""

    name: str
    settings: list[tuple[str, str]]


def methods_in(text: str) -> list[Written]:
    """What somebody means, with whatever between the methods; a setting without a value has VALUE."""
    methods: list[Written] = []
    for word in filter(None, re.split(r"[\s,+]+", text)):
        name, *rest = re.split("[:=]", _with_colons(word))
        if methods and re.fullmatch(f"{_NAME}={_VALUE}", word):
            methods[-1].settings.append((name, rest[0]))  # ewc:strength=10,samples=5
        else:
            settings = [(key, value or "VALUE") for key, value in zip_longest(rest[::2], rest[1::2])]
            methods.append(Written(name, settings))
    return methods


def _with_colons(text: str) -> str:
    """`ewc:strength=10` for `ewc.strength=10`."""
    return re.sub(rf"(^|\+)({_NAME})\.(?={_NAME}=)", r"\1\2:", text)


def setting_of(flag: str) -> str:
    """`ewc.normalise` of `--no-ewc.normalise` and of `ewc.no_normalise=True`; empty of what is no method's setting."""
    name = flag.partition("=")[0].removeprefix("--").replace("-", "_")
    method, _, setting = name.removeprefix("no_").partition(".")
    return f"{method}.{setting.removeprefix('no_')}" if setting else ""


def fault_of(text: str) -> str:
    """What is wrong with the methods of a run of a sweep, and what to write; empty where nothing is."""
    if all(map(_TOGETHER.fullmatch, text.split("+"))) and "none" not in text.split("+"):
        return ""
    methods = [name + "".join(f":{key}={value}" for key, value in settings) for name, settings in methods_in(text)]
    together, each = "+".join(methods), " ".join(methods)
    several = _SEVERAL_VALUES.fullmatch(_with_colons(text))
    if several and all(map(_TOGETHER.fullmatch, f"{several[1]}1".split("+"))):
        runs = " ".join(several[1] + value for value in several[2].split(","))
        advice = f"write `{runs}` for one run with each value"
    elif not methods or not all(map(_TOGETHER.fullmatch, methods)):
        advice = "a method is its name and then its settings, as in `ewc:strength=10`, and + stands between methods"
    elif len(methods) > 1 and "none" in methods:
        advice = f"write `{each}` for one run with each, of which `none` has no method"
    elif len(methods) > 1 and "+" not in text:
        advice = f"write `{together}` for one run with all of them, or `{each}` for one run with each"
    else:
        advice = f"write `{together}`"
    return f"`methods` has `{text}`, which cannot be read; {advice}."


def apart(text: str, known: Collection[str]) -> str:
    """The ending of a sentence, how the training script wants what was written as in a sweep; empty where it is not."""
    by_name: dict[str, list[tuple[str, str]]] = {}
    for name, settings in methods_in(text):  # redo:every=5+redo:threshold=1
        by_name.setdefault(name, []).extend(settings)
    names, methods = [*by_name], by_name.items()
    if not set(names) <= set(known):
        return ""
    flags = [_flag(f"{name}.{key}", value) for name, settings in methods for key, value in settings]
    words = " ".join(["--methods", *names, *flags])
    objects = {name: {key: _value(value) for key, value in settings} for name, settings in methods if settings}
    inside_braces = json.dumps({"methods": names, **objects})[1:-1]
    return f"; write `{words}`, in a JSON file `{inside_braces}`"


def _flag(name: str, value: str) -> str:
    return {"True": f"--{name}", "False": f"--no_{name}"}.get(value, f"--{name} {value}")


def _value(text: str) -> Any:
    """What a setting that is written in a sweep is in JSON: a number, true or false, or else text."""
    try:
        return json.loads({"True": "true", "False": "false"}.get(text, text))
    except json.JSONDecodeError:
        return text
