"""The floor: what a player scores who draws every action uniformly, per game and modification string.

Measured by `python -m benchmarks.floor`: 21 games of each string, as the configurations that ship play it. The scores
are in `floors.json`, by environment id, conditions (see `conditions_of`) and string.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, NamedTuple

from continual_hackatari.names import full_id, id_in_game, parse
from continual_hackatari.reporting.statistics import mean_std_interval
from continual_hackatari.reporting.words import name_of

FILE = "floors.json"
USUAL = {"sticky": 0.25, "game_start": "steps", "fire_reset": True, "time_limit": 108_000}
"""Settings of the games on which a random player's score depends, besides the frame skip."""


class Floor(NamedTuple):
    """The mean score of the uniformly random player, and the limits of its 95 % interval."""

    mean: float
    low: float
    high: float


def floors_of(env_id: str, args: Mapping[str, Any], strings: Iterable[str]) -> dict[str, Floor | str]:
    """The floors of a run of these settings, by modification string; or why one is not known."""
    found: dict[str, Floor | str] = {}
    for string in strings:
        game = id_in_game(full_id(env_id), parse(string).game)
        found[string] = floor_of(game, conditions_of(args), string)
        if isinstance(found[string], str) and args.get("modification_digest"):  # a string without a name of that file
            found[string] = floor_of(game, conditions_of({**args, "modification_digest": ""}), string)
    return found


def conditions_of(args: Mapping[str, Any]) -> str:
    """On what a random player's score depends besides game and string: the frame skip, and what is not as usual.

    Under a string with a name of somebody's own that is also the file with such names.
    """
    usual = {**USUAL, "modification_digest": ""}
    others = [f", {name} {args[name]}" for name, value in usual.items() if args.get(name) not in (None, value)]
    return f"{args.get('frameskip', 4)}{''.join(others)}"


@functools.cache
def floor_of(env_id: str, conditions: str, string: str) -> Floor | str:
    """The floor of a canonical task string, or why it is not known; one that names its game is of all 18 actions."""
    scores = measured().get(env_id, {}).get(conditions, {}).get(string)
    if scores is None:
        at = "" if conditions == "4" else f" at frame skip {conditions}"
        return f"no score of a random player under {name_of(string)}{at} is known"
    mean, _, low, high = mean_std_interval(scores)
    return Floor(mean, low, high)


@functools.cache
def measured() -> dict[str, dict[str, dict[str, list[float]]]]:
    """Scores by environment id, conditions and modification string."""
    file = resources.files("continual_hackatari.reporting").joinpath(FILE)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return dict(content["scores"])
