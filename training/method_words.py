"""How people write methods: apart for the training script, `layer_norm redo`, together for a run of a sweep,
`layer_norm+redo:every=50`."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import zip_longest
from typing import NamedTuple

_TOGETHER = re.compile(r"[^\s,+:=]+(?::\w+=[^\s,+:=]+)*")


class Written(NamedTuple):
    """A method, and the settings that stand with it: (name, value) each."""

    name: str
    settings: list[tuple[str, str]]


def methods_in(text: str) -> list[Written]:
    """What somebody means, with whatever between the methods; a setting without a value has VALUE."""
    words = [re.split("[:=]", word) for word in re.split(r"[\s,+]+", text) if word]
    return [
        Written(name, [(key, value or "VALUE") for key, value in zip_longest(rest[::2], rest[1::2])])
        for name, *rest in words
    ]


def fault_of(text: str) -> str:
    """What is wrong with the methods of a run of a sweep, and what to write; empty where nothing is."""
    if all(map(_TOGETHER.fullmatch, text.split("+"))):
        return ""
    methods = [name + "".join(f":{key}={value}" for key, value in settings) for name, settings in methods_in(text)]
    together = "+".join(methods)
    if not all(map(_TOGETHER.fullmatch, methods)):
        advice = "a method is its name and then its settings, as in `ewc:strength=10`, and + stands between methods"
    elif len(methods) > 1 and "+" not in text:
        advice = f"write `{together}` for one run with all of them, or `{' '.join(methods)}` for one run with each"
    else:
        advice = f"write `{together}`"
    return f"`methods` has `{text}`, which cannot be read; {advice}."


def apart(text: str, known: Collection[str]) -> str:
    """The ending of a sentence, how the training script wants what was written as in a sweep; empty where it is not."""
    methods = methods_in(text)
    names = [name for name, _ in methods]
    if not set(names) <= set(known):
        return ""
    flags = [f" --{name}.{key} {value}" for name, settings in methods for key, value in settings]
    listed = ", ".join(f'"{name}"' for name in names)
    inner = [(name, ", ".join(f'"{key}": {value}' for key, value in settings)) for name, settings in methods]
    objects = "".join(f', "{name}": {{{settings}}}' for name, settings in inner if settings)
    return f'; write `--methods {" ".join(names)}{"".join(flags)}`, in a JSON file `"methods": [{listed}]{objects}`'
