"""Write docs/reference/flags.md, every flag of every command, from the code that reads them.

    python docs/make_flags.py

A flag is described once, in the text below its field. `training/help.py` reads it for `--help` and for this page.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

# `python docs/make_flags.py` puts docs/ on the path, not the folder above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from continual_hackatari import (
    continual_clear,
    continual_progress_compress,
    continual_training_example,
    metrics,
    report,
    sweep,
)
from continual_hackatari import eval as evaluation
from continual_hackatari.methods import all_methods
from continual_hackatari.schedules import preview
from continual_hackatari.training import run_evaluation, watching
from continual_hackatari.training.help import Flag, groups_of, prefixed_flags
from continual_hackatari.training.settings import RULES, RunSettings, ranges_of
from continual_hackatari.wrappers.modifications import __main__ as modifications

PAGE = Path(__file__).parent / "reference" / "flags.md"
AS_GOOD_AS_INFINITE = 10**9  # a limit that keeps nonsense out tells a reader nothing

SHARED = (
    "Besides these it has the flags above of the groups Run, Environment, Switch, Methods, Continual evaluation, "
    "Tracking and Config file only.\n"
)

INTRODUCTION = """\
# Every flag

This page is made by `python docs/make_flags.py` from the code, so it says what `--help` says.
[Training](../training.md#settings) tells what holds for all flags.

`--env_id` and `--env-id` are the same.
What is on or off is turned on by its name (`--track`) and off with `no` (`--no_track`).
In a JSON file the names have no dashes; on and off are `true` and `false`, and "none" is `null`.
"""


Row = tuple[str, str, str, str]


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    of_any = [flag for flags in groups_of(RunSettings).values() for flag in flags]
    names_of_any = [flag.name for flag in of_any if "_" in flag.name and not flag.hidden]
    ranges = ranges_of(RULES)
    common = [row_of(flag, ranges.get(flag.name), names_of_any) for flag in of_any]
    for title, script in (
        ("Training: continual_training_example.py", continual_training_example),
        ("Training: continual_clear.py", continual_clear),
        ("Training: continual_progress_compress.py", continual_progress_compress),
        ("Evaluation: eval.py", evaluation),
        ("Evaluation of a run: eval.py --run", run_evaluation),
        ("A video of one game: eval.py --play", watching),
        ("Continual metrics: metrics.py", metrics),
        ("Report: report.py", report),
        ("Sweeps: sweep.py", sweep),
    ):
        parts.append(f"## {title}\n")
        groups = groups_of(script.Args)
        limits = {name: rule.range for name, rule in getattr(script, "RULES", {}).items()}
        limits.update(getattr(script, "RANGES", {}))
        names = [flag.name for flags in groups.values() for flag in flags if "_" in flag.name and not flag.hidden]
        is_sibling = hasattr(script, "SCRIPT") and script is not continual_training_example
        known = common if is_sibling else []
        parts += [SHARED] if known else []
        for group, flags in groups.items():
            found = [row for flag in flags if (row := row_of(flag, limits.get(flag.name), names)) not in known]
            parts += [f"**{group[0].upper()}{group[1:]}**\n"] if group and found else []
            parts += [table(found)] if found else []
    parts.append("## Settings of methods\n")
    parts.append("Each belongs to a method of `--methods`; see [methods](../methods/index.md#switching-methods-on).\n")
    for name, method in all_methods().items():
        flags = prefixed_flags(name, method.Settings)
        if flags:
            limits = {f"{name}.{key}": limit for key, limit in method.ranges.items()}
            parts.append(table([row_of(flag, limits.get(flag.name), []) for flag in flags]))
    for title, parser in (
        ("Preview: modification_factories.py", preview._parser()),
        ("Modifications: wrappers.modifications", modifications._parser()),
    ):
        parts += [f"## {title}\n", table(rows_of(parser))]
    return "\n".join(parts)


def table(rows: list[Row]) -> str:
    lines = [("flag", "default", "allowed", "meaning"), ("---", "---", "---", "---"), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# ------------------------------------------------------------------------------------------------------ dataclasses


def row_of(flag: Flag, limits: Any, names: list[str]) -> Row:
    """One flag; a positional one and one that only a file may set stand there without dashes."""
    bare = flag.positional or flag.hidden
    name = ", ".join(f"`{word}`" for word in (flag.name if bare else f"--{flag.name}", *flag.aliases))
    return name, shown(flag.default), allowed(flag, limits), linked(flag.text, names)


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
    return " ".join(map(str, default)) if isinstance(default, tuple) else f"{default}"


def allowed(flag: Flag, limits: Any) -> str:
    """What a flag takes: its choices, or the kind of its values and their limits."""
    if flag.choices:
        return ", ".join(f"`{choice}`" for choice in flag.choices)
    words = {bool: "on, off", int: "whole number", float: "number", str: "text"}.get(flag.item, "object")
    return f"{words}{'s' * flag.is_list}{limited(limits)}"


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


def rows_of(parser: argparse.ArgumentParser) -> list[Row]:
    """The rows of a parser; its defaults stand in its texts."""
    kinds: dict[Any, str] = {int: "whole number", float: "number", None: "text"}
    rows = []
    for action in parser._actions:
        if action.dest == "help":
            continue
        switch = action.nargs == 0
        name = f"`{action.option_strings[0]}`" if action.option_strings else f"`{action.dest}`"
        default = "off" if switch else "required" if action.required and not action.option_strings else "none"
        rows.append((name, default, "on, off" if switch else kinds[action.type], linked(action.help or "", [])))
    return rows


def main() -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
