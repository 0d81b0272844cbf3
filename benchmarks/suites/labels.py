"""What a run is called in the tables: its methods, and every setting that is not the sequence's."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.suites.records import ROOT, USUAL_SCRIPT
from continual_hackatari.methods import all_methods
from continual_hackatari.names import parse
from continual_hackatari.reporting.groups import experiment_settings
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.training.config import as_plain_dict
from continual_hackatari.training.game import choose_game
from continual_hackatari.training.script_files import load_script
from continual_hackatari.training.suites import SEQUENCE, game_of

PLAIN = "none"
PLAYERS = {"kb": "(knowledge base)", "ac": "(active column)"}


def label_of(args: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The methods as `sweep.py --methods` takes them; before them another script than PPO's, and which of its players.

    With the settings that are neither defaults nor the sequence's (`config`).
    """
    words = [label] if (label := script_label(args, config)) else []
    for name in args.get("methods", []):
        words.append(with_settings(name, *settings_of_method(name, args)))
    return "+".join(words) or PLAIN


def settings_of_method(name: str, args: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run had, and what it has by default."""
    defaults = dataclasses.asdict(all_methods()[name].Settings())
    return {key: args.get(f"{name}.{key}", default) for key, default in defaults.items()}, defaults


def settings_of_methods(args: Mapping[str, Any]) -> list[tuple[str, Any, bool]]:
    """Setting (`ewc.strength`), value, and whether a label names it, which it does unless it is the default."""
    found = []
    for name in args.get("methods", []):
        given, defaults = settings_of_method(name, args)
        found += [(f"{name}.{key}", value, value != defaults[key]) for key, value in given.items()]
    return found


def script_label(args: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The learner: `clear:replay_ratio=0` of runs of `continual_clear.py`, say; empty of PPO as the sequence has it."""
    script = args.get("script", USUAL_SCRIPT)
    expected, own = expected_settings(script, json.dumps(config)), learner_settings(args)
    name = "ppo" if script == USUAL_SCRIPT else Path(script).stem.removeprefix("continual_")
    label = with_settings(name, {name: own[name] for name in expected if name in own and name != "methods"}, expected)
    if label == "ppo":
        return ""
    return f"{label} {PLAYERS[args['player']]}" if "player" in args else label


@functools.cache
def expected_settings(script: str, config: str) -> dict[str, Any]:
    """What a run of this script has that is told nothing but this sequence, which is given as JSON."""
    told, of = json.loads(config), load_script(ROOT / script)
    names = {field.name for field in dataclasses.fields(of.settings)}
    settings = of.complete(of.settings(**{name: told[name] for name in names & told.keys()}), sorted(games_of(told)))
    return {**as_plain_dict(settings), **choose_game(settings)[0].chosen}


def learner_settings(args: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the experiment; of a run on one task alone, all but its task and its steps."""
    of_task = {"exp_name", *SEQUENCE} if args.get("exp_name") == "single-task" else set()
    return {name: value for name, value in experiment_settings(args).items() if name not in of_task}


def with_settings(name: str, given: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """`ewc:strength=10`: a name, and the settings that are not as expected."""
    return ":".join([name, *(f"{key}={short(value)}" for key, value in given.items() if value != expected[key])])


def short(value: Any) -> Any:
    """10000.0 as 10000, as one would type it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def game_in_words(config: Mapping[str, Any]) -> str:
    """The game of this sequence, or all of them: `Breakout and Freeway`."""
    return " and ".join(sorted(name or game_of(dict(config)) for name in games_of(config)))


def games_of(config: Mapping[str, Any]) -> set[str]:
    """The games that strings of this sequence name; the empty one is that of `env_id`."""
    return {parse(string).game for *_, string in schedule_from_config(dict(config), seed=0).segments()}


def of_several_games(config: Mapping[str, Any]) -> bool:
    """Whether this sequence has points of different sizes."""
    return len(games_of(config)) > 1
