"""What the runs of a sequence came to: metrics of every group, and of the best player that presses one button."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import one_action
from benchmarks.suites.labels import label_of, of_several_games, script_label
from benchmarks.suites.records import Record, as_folder
from continual_hackatari.names import parse
from continual_hackatari.reporting.floor import floors_of
from continual_hackatari.reporting.groups import Group, differences, experiment_settings
from continual_hackatari.reporting.metrics import Metric, floor_scale, human_scale
from continual_hackatari.reporting.metrics_tables import GroupResult, Settings, evaluate_groups
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.words import DASH, name_of, number

STRENGTHS = "strengths-"
"""how `exp_name` of a sequence begins on which strengths are chosen"""


class OneAction(NamedTuple):
    """The best player that always presses the same button."""

    action: str
    scores: dict[str, float]
    """string -> mean score, as the game counts; of strings under which it was measured"""
    end: float
    """its mean over the tasks, on the scale of the agents'"""

    @property
    def label(self) -> str:
        return f"always `{self.action}`"


class Results(NamedTuple):
    """All of a file, with the groups in the order of the table."""

    name: str
    config: dict[str, Any]
    above: list[GroupResult]
    """metrics of scores above the random player's, human-normalised where there are several games"""
    points: list[GroupResult]
    """the same in points of each game, above the random player's"""
    transfer: list[str]
    """forward transfer of each group, as the table shows it"""
    alone: list[Run]
    """runs on one task alone"""
    one: OneAction | None
    """beside the agents, where it was measured"""
    returns: dict[Path, Sequence[Sequence[float]]]
    """of each run's record, by its folder"""

    @property
    def labels(self) -> list[str]:
        return [label_of(result.group.runs[0].args, self.config) for result in self.above]

    @property
    def groups(self) -> list[Group]:
        return [Group(label, r.group.runs) for label, r in zip(self.labels, self.above, strict=True)]

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]


def results_of(name: str, config: dict[str, Any], content: Mapping[str, Sequence[Record]], place: Path) -> Results:
    """The metrics of a file's runs, which become run folders in `place`."""
    runs, alone = (
        [as_folder(record, place / kind, number) for number, record in enumerate(content[kind])]
        for kind in ("runs", "single_task")
    )
    points = evaluate_groups(runs, (), Settings(normalise="floor")) if runs else []
    above = evaluate_groups(runs, (), Settings(normalise="human")) if runs and of_several_games(config) else points
    transfer = [forward_transfer(result.group.runs, alone, config) for result in above]
    order = sorted(range(len(above)), key=lambda i: (above[i].group.runs[0].args.get("methods", []), i))
    above, points = ([each[i] for i in order] for each in (above, points))
    one = best_action(above[0], of_several_games(config)) if above else None
    returns = {run.folder: record["returns"] for run, record in zip(runs, content["runs"], strict=True)}
    return Results(name, config, above, points, [transfer[i] for i in order], alone, one, returns)


def best_action(result: GroupResult, several_games: bool) -> OneAction | None:
    """Of the players that always press the same button, the one with the best mean over the tasks of these runs."""
    args, found = result.group.runs[0].args, result.evaluations[0]
    env_id = args["env_id"]
    measured = {each: one_action.scores_of(env_id, args, each) for each in found.strings}
    floors = floors_of(env_id, args, found.tasks)
    scales = [human_scale(parse(task).game) if several_games else floor_scale(floors[task]) for task in found.tasks]
    means: dict[str, float] = {}
    for action in measured[found.tasks[0]]:
        pairs = zip(scales, (measured[task].get(action) for task in found.tasks), strict=True)
        scaled = [s.intercept + s.slope * score for s, score in pairs if not isinstance(s, str) and score is not None]
        if len(scaled) == len(scales):
            means[action] = sum(scaled) / len(scaled)
    if not means:
        return None
    best = max(means, key=lambda action: means[action])
    return OneAction(best, {each: own[best] for each, own in measured.items() if best in own}, means[best])


def solved(one: OneAction, points: Sequence[GroupResult]) -> bool:
    """Whether one action scores at least nine tenths of the best row under every task, above the random player."""
    found, args = points[0].evaluations[0], points[0].group.runs[0].args
    for task, floor in floors_of(args["env_id"], args, found.tasks).items():
        if isinstance(floor, str):
            return False
        rows = [[each.score(task, each.num_phases - 1).value for each in result.evaluations] for result in points]
        best = max(sum(scores) / len(scores) for scores in rows) - floor.mean
        if one.scores[task] - floor.mean < 0.9 * best:
            return False
    return True


def forward_transfer(runs: Sequence[Run], alone: Sequence[Run], config: Mapping[str, Any]) -> str:
    """Of a group of runs, beside those on one task alone of the same learner, without methods; a dash: there are none.

    With the number of tasks, over all seeds, if it is not a mean over all of them.
    """
    learner = script_label(runs[0].args, config)
    alike = [run for run in alone if script_label(run.args, config) == learner]
    if not alike:
        return DASH
    (compared,) = evaluate_groups(runs, alike, Settings(normalise="single_task"))
    in_brackets = part_of([metrics["forward_transfer"] for metrics in compared.metrics], "tasks")
    return number(compared.summaries["forward_transfer"].mean) + (f" ({in_brackets})" if in_brackets else "")


def part_of(metrics: Sequence[Metric], units: str) -> str:
    """`1 of 4 tasks`: over how many units, of all runs, a mean is taken that leaves some out; empty: none, or all."""
    total = sum(len(metric.units) for metric in metrics)
    defined = total - sum(len(metric.reasons) for metric in metrics)
    return f"{defined} of {total} {units}" if 0 < defined < total else ""


def ends(result: GroupResult) -> dict[str, float]:
    """Seed -> mean score over tasks at the end."""
    pairs = zip(result.group.runs, result.metrics, strict=True)
    return {run.seed: metrics["average_performance"].value for run, metrics in pairs}


def by_task_alone(runs: Sequence[Run], config: Mapping[str, Any]) -> dict[tuple[str, int], list[Run]]:
    """(task and learner, steps) -> the runs on this task alone."""
    found: dict[tuple[str, int], list[Run]] = {}
    for run in sorted(runs, key=lambda each: each.regimes[0].modification):
        learner = script_label(run.args, config)
        name = f"`{name_of(run.regimes[0].modification)}`" + (f", `{learner}`" if learner else "")
        found.setdefault((name, run.last_step), []).append(run)
    return found


def last_quarter(run: Run, regime: int, returns: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The mean score of the games of a regime's last quarter (NaN: there are none), and how many they are.

    returns: of the run's record, where neighbouring games are one row: rows that begin before the quarter do not count.
    """
    begin, end, _ = run.regimes[regime]
    last = end - (end - begin) // 4
    inside = [
        (score, games)
        for (before, *_), (step, score, games) in zip([(0,), *returns[:-1]], returns, strict=True)
        if last < step <= end and (before >= last or games == 1)
    ]
    total = int(sum(games for _, games in inside))
    return (sum(score * games for score, games in inside) / total if total else math.nan), total


class Strength(NamedTuple):
    """A row of the table of strengths."""

    methods: str
    varied: dict[str, Any]
    """the settings that are not the same in all rows of these methods, as `ewc.strength`"""
    chosen: bool
    """the best mean score at the end, the first of equals"""


def strengths_of(results: Results) -> list[Strength]:
    """In the order of the groups."""
    means = [result.summaries["average_performance"].mean for result in results.above]
    lists = ["+".join(result.group.runs[0].args["methods"]) for result in results.above]
    settings = [experiment_settings(result.group.runs[0].args) for result in results.above]
    found = []
    for i, own in enumerate(settings):
        same = [j for j in range(len(lists)) if lists[j] == lists[i]]
        varied = {key: own[key] for key in differences([settings[j] for j in same]) if key in own}
        best = max(same, key=lambda j: means[j]) == i and len(same) > 1
        found.append(Strength(lists[i], varied, best))
    return found
