"""Benchmark suites: named sequences in two sizes, `configs/suites/<name>/<size>.json`, and what their runs come to.

A suite is an ordinary configuration of the training script, so everything that reads one reads a suite. Its version is
in its `exp_name`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from continual_hackatari import names
from continual_hackatari.names import UNMODIFIED, parse
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.training.config import ConfigError, nearest
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.plan import place_evaluations
from continual_hackatari.training.run_folder import safe_name

STEPS_PER_SECOND = 300
"""of plain PPO on two cores, and of evaluation games: for a rough plan, as whole runs of freeway-dynamics took"""
GAME_STEPS_PER_SECOND = 1_300
PPO_ROUND = {"num_envs": 8, "num_steps": 128}
"""between which the weights change: a run is evaluated once with the same"""
SEQUENCE = {"total_timesteps", "modifs", "modification_factory", "modification_factory_kwargs"}
"""settings that say what is trained on, and nothing of the learner"""
EVALUATED = {"eval_modifs", "held_out_modifs"}
"""settings that say what is evaluated; how often and how well, every suite's file says"""
GAME_STEPS = {"Freeway": 2048, "Pong": 1500}
"""of an evaluation game at frame skip 4; other games: `SOME_STEPS`, more as an agent survives longer"""
SOME_STEPS = 600


def suite_file(folder: Path, name: str, size: str) -> Path:
    """The configuration of a suite.

    Raises:
        ConfigError: there is no such suite.
    """
    if not folder.is_dir():
        raise ConfigError("`suite`: the suites are files of this project's clone, configs/suites, and not installed.")
    known = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if name not in known:
        raise ConfigError(f"`suite` {name!r} is none of {', '.join(known)}{nearest(name, known)}.")
    return folder / name / f"{size}.json"


def game_of(config: dict[str, Any]) -> str:
    """The name of the game, as in files and tables."""
    return names.game_of(str(config["env_id"]))


class Regime(NamedTuple):
    """The first regime of a task."""

    string: str
    steps: int


def first_regimes(config: dict[str, Any]) -> list[Regime]:
    """Each task of a suite once, with the steps of its first regime; a string that is never evaluated is none."""
    schedule = schedule_from_config(config, seed=0)
    evaluated = {string or UNMODIFIED for string in config.get("eval_modifs", ())}
    found: dict[str, int] = {}
    for start, stop, string in schedule.segments():
        found.setdefault(string, stop - start)
    return [Regime(*task) for task in found.items() if not evaluated or (task[0] or UNMODIFIED) in evaluated]


def single_task_config(config: dict[str, Any], task: Regime) -> dict[str, Any]:
    """The run on one task alone that forward transfer compares with: the same but for the sequence.

    Nothing in it names the suite: suites that share a task share its runs.
    """
    left_out = ("notes", "modification_factory", "modification_factory_kwargs", "held_out_modifs")
    kept = {name: value for name, value in config.items() if name not in left_out}
    alone = {"exp_name": "single-task", "modifs": task.string, "total_timesteps": task.steps}
    return {**kept, **alone, "eval_modifs": [task.string or UNMODIFIED]}


def write_single_tasks(config: dict[str, Any], folder: Path) -> list[str]:
    """The files of all single-task runs of a suite; the same run has the same file, whichever suite needs it."""
    paths = []
    for task in first_regimes(config):
        alone = single_task_config(config, task)
        text = json.dumps(alone, indent=4, sort_keys=True) + "\n"
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        path = folder / f"{game_of(config)}_{safe_name(task.string or UNMODIFIED, 60)}~{digest}.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        paths.append(str(path))
    return paths


class Cost(NamedTuple):
    """What a run comes to, roughly."""

    steps: int
    game_steps: int
    """of its evaluations"""

    @property
    def hours(self) -> float:
        """On two cores."""
        return (self.steps / STEPS_PER_SECOND + self.game_steps / GAME_STEPS_PER_SECOND) / 3600


def cost_of(config: dict[str, Any], weights_change: bool = False) -> Cost:
    """A rough cost of one run of a configuration that is evaluated on all that it trains on.

    weights_change: by one of its methods, at switches.
    """
    schedule = schedule_from_config(
        config, seed=0, total_timesteps=config.get("total_timesteps"), modifs=config.get("modifs", "")
    )
    steps = config.get("total_timesteps") or schedule.num_total_steps
    places = place_evaluations(
        schedule.segments(0, steps),
        total_timesteps=steps,
        every=config["eval_every"],
        weights_change=weights_change,
        **{name: config.get(name, usual) for name, usual in PPO_ROUND.items()},
    )
    strings = {*config.get("eval_modifs", ()), *config.get("held_out_modifs", ())}
    if not config.get("eval_modifs"):
        trained_on = schedule.possible_modifications()
        strings |= {*trained_on, *(str(parse(string)._replace(names=())) for string in trained_on)}
    games = [parse(string).game or game_of(config) for string in strings]
    length = sum(GAME_STEPS.get(game, SOME_STEPS) * 4 // config.get("frameskip", 4) for game in games)
    return Cost(steps, 2 * places.played * config["eval_games"] * length)


def plan_table(rows: Sequence[tuple[str, int, int, Cost]]) -> list[list[str]]:
    """Rows of (what, runs, of which finished, cost of one) as a table, with their sum."""
    lines = [["what", "runs", "finished", "steps each", "hours each", "hours left"]]
    for what, runs, finished, cost in rows:
        left = (runs - finished) * cost.hours
        lines.append([what, str(runs), str(finished), f"{cost.steps:,}", f"{cost.hours:.2f}", f"{left:.1f}"])
    total = sum((runs - finished) * cost.hours for _, runs, finished, cost in rows)
    return [*lines, ["all", str(sum(row[1] for row in rows)), str(sum(row[2] for row in rows)), "", "", f"{total:.1f}"]]
