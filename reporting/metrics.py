"""The continual metrics: what each is, of one run from its evaluations, and over the runs of a group.

Every metric is a pure function of `Evaluations`, whose notation the definitions in `METRICS` use. first(i) is the first
phase that trains on i; a visit p of i lasts until e(p), the last phase before i is trained on again, or the last phase
P - 1 of the run. A new metric is an entry in `METRICS`, a function and a line in `run_metrics`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from continual_hackatari.names import parse
from continual_hackatari.reporting.asked import Asked
from continual_hackatari.reporting.evaluations import Evaluations, Scale, Value, check_rows, of_agent, undefined
from continual_hackatari.reporting.floor import Floor, floors_of
from continual_hackatari.reporting.statistics import (
    SMALLEST_SAMPLE,
    Resample,
    human_normalised,
    interquartile_mean,
    interval_of_mean,
)
from continual_hackatari.reporting.words import name_of

RECOVERY = 0.9
NO_FLOOR = "no score of a random player is known"
RAW = "raw scores have no upper reference 1; normalise them"
ABOVE_FLOOR = "scores above a random player have no upper reference 1; `--normalise human` or `single_task` have"
OF_SCORES = ("average_performance",)
"""The metrics that have an interquartile mean. Forgetting, differences and shares have none: it would cut off the few
tasks that were forgotten or never learned, which is what these metrics are there to show."""

Normalisation = Literal["raw", "human", "single_task", "floor"]


class Definition(NamedTuple):
    """What a metric is: `formula` in the notation above, averaged over its units."""

    formula: str
    sign: str
    source: str


METRICS = {
    "average_performance": Definition(
        "R[i, P-1], mean over tasks i",
        "higher is better",
        "ACC of GEM (Lopez-Paz and Ranzato 2017); Continual World (Wolczyk et al. 2021)",
    ),
    "forgetting_isolated": Definition(
        "R[i, j-1] - R[i, j], mean over tasks i and phases j > first(i) that do not train on i",
        "positive: training on another task lost score",
        "CORA (Powers et al. 2022), without its smoothing and scaling",
    ),
    "forgetting_maximal": Definition(
        "(max of R[i, l] over p <= l < e(p)) - R[i, e(p)], mean over visits p with e(p) > p",
        "positive: below the best since the visit began to be forgotten",
        "F of Chaudhry et al. 2018, per visit, from its end on",
    ),
    "backward_transfer": Definition(
        "R[i, e(p)] - R[i, p], mean over visits p with e(p) > p",
        "negative: forgotten; positive: later training helped",
        "BWT of GEM (Lopez-Paz and Ranzato 2017), per visit",
    ),
    "zero_shot_transfer": Definition(
        "R[i, j] - R[i, j-1], mean over tasks i and phases j < first(i)",
        "positive: training on another task helped before i was ever trained on",
        "CORA (Powers et al. 2022), without its smoothing and scaling",
    ),
    "gem_forward_transfer": Definition(
        "R[i, first(i)-1] - f_i, mean over tasks i with first(i) > 0; f_i: mean score of the random player",
        "positive: better than chance before it was ever trained on",
        "FWT of GEM (Lopez-Paz and Ranzato 2017), with the random player in place of an untrained network",
    ),
    "forward_transfer": Definition(
        "(AUC_i - AUC_i^b) / (1 - AUC_i^b), mean over tasks i; AUC_i over the phase first(i), "
        "AUC_i^b of single-task runs over as many steps; normalised scores",
        "positive: learned better than from scratch; 1 where the score was always 1",
        "Continual World (Wolczyk et al. 2021)",
    ),
    "switch_drop": Definition(
        "score of the old task just before the switch, minus score of the new task just after it; mean over switches",
        "positive: the score fell",
        "own definition",
    ),
    "recovery_steps": Definition(
        "steps from the switch to the first evaluation of the new task at or above u + x (v - u), mean over switches "
        "that recover; v: score of the old task just before the switch, u: of the new task before training, "
        "x: `--recovery`",
        "fewer is better",
        "own definition, after the recovery time of L2Metrics (New et al. 2022)",
    ),
    "recovered_share": Definition(
        "share of switches whose new task reached that level within its phase",
        "higher is better; 1: all recovered",
        "own definition",
    ),
    "generalisation_gap": Definition(
        "(mean of R[i, P-1] over tasks i) - R[h, P-1], mean over held-out strings h",
        "positive: worse where it was never trained",
        "Kirk et al. 2023, at the end of training",
    ),
    "learned_share": Definition(
        "share of tasks i with a score in the phase first(i), after its beginning, above the 95 % interval of f_i",
        "1: all were learned; a task that never was cannot be forgotten",
        "own definition",
    ),
    "plasticity_slope": Definition(
        "least-squares slope of AUC over visits 0, 1, ... of a task, each over as many steps as its shortest; "
        "mean over tasks with two visits or more",
        "negative: each return goes worse than the one before",
        "own definition, after Abbas et al. 2023",
    ),
}


@dataclass(frozen=True)
class Metric:
    """A metric of one run: the mean over those of its units (tasks, pairs, switches) that are defined.

    `reason` says why it is NaN, or which units are left out; it is empty when every unit counts. `reasons` has an entry
    for each unit that is NaN.
    """

    name: str
    value: float
    reason: str
    units: dict[str, float]
    reasons: dict[str, str]


@dataclass(frozen=True)
class Summary:
    """A metric over the runs of a group: mean, its 95 % interval and the interquartile mean (IQM); NaN where undefined.

    `runs` is the number of runs that have a value; `reason` says why something is NaN or what is left out.
    """

    metric: str
    runs: int
    mean: float
    low: float
    high: float
    iqm: float
    reason: str


# ---------------------------------------------------------------------------------------------------------- one run


def run_metrics(
    evaluations: Evaluations,
    *,
    single_task: Sequence[Evaluations] = (),
    normalised: bool = False,
    recovery: float = RECOVERY,
    floors: Mapping[str, Floor | str] | None = None,
    above_floor: bool = False,
) -> dict[str, Metric]:
    """Every metric of `METRICS`, of one run.

    `single_task` are runs on one task each, for the forward transfer; `normalised` says that all scores lie between 0
    and a 1 (see `Evaluations.normalised`). `recovery` is the share x of the level before a switch that counts as
    recovered. `floors` are scores of the random player by string, in the unit of the evaluations, or why one is not
    known; with `above_floor`, what was never learned, or of which that is not known, has no forgetting.
    """
    floors = floors or {}
    no_reference = ABOVE_FLOOR if above_floor else RAW
    drop, steps, share = switch_units(evaluations, recovery)
    learned = learned_tasks(evaluations, floors)
    unlearned = {}
    for task in evaluations.tasks:
        if above_floor and learned[name_of(task)].value != 1:
            unlearned[task] = _unlearned(learned[name_of(task)])
    units = {
        "average_performance": final_scores(evaluations),
        "forgetting_isolated": isolated_forgetting(evaluations, unlearned),
        "forgetting_maximal": maximal_forgetting(evaluations, unlearned),
        "backward_transfer": backward_transfer(evaluations, unlearned),
        "zero_shot_transfer": zero_shot_transfer(evaluations),
        "gem_forward_transfer": gem_forward_transfer(evaluations, floors),
        "forward_transfer": forward_transfer(evaluations, single_task, "" if normalised else no_reference),
        "switch_drop": drop,
        "recovery_steps": steps,
        "recovered_share": share,
        "generalisation_gap": generalisation_gap(evaluations),
        "learned_share": learned,
        "plasticity_slope": plasticity_slope(evaluations),
    }
    return {name: _mean(name, units[name], _why_nothing(name, evaluations)) for name in METRICS}


def _why_nothing(name: str, run: Evaluations) -> str:
    """Why a metric has no unit at all, not even an undefined one."""
    if run.num_phases == 0:
        return "there is no evaluation after training began"
    if name == "generalisation_gap":
        return "no string was held out"
    if not run.tasks:
        return "no string that was trained on was evaluated"
    if name == "plasticity_slope":
        return "no task was trained on in two phases"
    if run.num_phases == 1:
        one_phase = {
            "zero_shot_transfer": "one phase only: no task was waiting to be trained on",
            "gem_forward_transfer": "one phase only: no task was waiting to be trained on",
            "switch_drop": "one phase only: there was no switch",
            "recovery_steps": "one phase only: there was no switch",
            "recovered_share": "one phase only: there was no switch",
        }
        return one_phase.get(name, "one phase only: nothing can be forgotten")
    return "the phases leave nothing to compare among the tasks that were evaluated"


def _mean(name: str, units: Mapping[str, Value], nothing: str) -> Metric:
    """The mean over the units that are defined; `nothing` is the reason where there is no unit at all."""
    defined = [unit.value for unit in units.values() if not unit.reason]
    reasons = {key: unit.reason for key, unit in units.items() if unit.reason}
    waits = any(unit.pending for unit in units.values())  # a mean of what happens to be there would mislead
    value = float(np.mean(defined)) if defined and not waits else math.nan
    reason = _explain(list(reasons.values()), len(units)) if units else nothing
    return Metric(name, value, reason, {key: unit.value for key, unit in units.items()}, reasons)


def _explain(reasons: Sequence[str], total: int) -> str:
    """Why `len(reasons)` of `total` units are undefined; empty if none is."""
    if not reasons:
        return ""
    counts = Counter(_one_floor(reasons)).most_common()
    listed = [reason if count == total else f"{reason} ({count} of {total})" for reason, count in counts]
    more = [f"and {len(listed) - 3} other reasons"] if len(listed) > 3 else []
    return "; ".join(listed[:3] + more)


def _one_floor(reasons: Sequence[str]) -> list[str]:
    """The reasons, those of missing floors as one that names all their strings."""
    found = [
        re.fullmatch(r"(no score of a random player under )(.+?)( at frame skip .+)?( is known)", r) for r in reasons
    ]
    names = ", ".join(dict.fromkeys(each[2] for each in found if each))
    return [f"{each[1]}{names}{each[3] or ''}{each[4]}" if each else r for each, r in zip(found, reasons, strict=True)]


def _unless(reason: str, value: Value) -> Value:
    return undefined(reason) if reason else value


def final_scores(run: Evaluations) -> dict[str, Value]:
    """R[i, P-1] of every task."""
    return {name_of(task): run.score(task, run.num_phases - 1) for task in run.tasks}


def isolated_forgetting(run: Evaluations, unlearned: Mapping[str, Value] = MappingProxyType({})) -> dict[str, Value]:
    """R[i, j-1] - R[i, j] of every task i and every phase j after its first that trains on another task.

    `unlearned`: the tasks that have no forgetting, with the undefined value that says why.
    """
    units = {}
    for task in run.tasks:
        for phase in range(run.phases_of(task)[0] + 1, run.num_phases):
            if run.trained_on[phase] != task:
                change = run.score(task, phase - 1).minus(run.score(task, phase))
                units[f"{name_of(task)}, phase {phase}"] = unlearned.get(task, change)
    return units


def maximal_forgetting(run: Evaluations, unlearned: Mapping[str, Value] = MappingProxyType({})) -> dict[str, Value]:
    """Best of R[i, p], ..., R[i, e(p)-1], minus R[i, e(p)], of every visit p that others follow."""
    units = {}
    for task, phase, end in run.visits():
        scores = [run.score(task, number) for number in range(phase, end)]
        best = next((score for score in scores if score.reason), max(scores))  # undefined if one of them is
        units[f"{name_of(task)}, phase {phase}"] = unlearned.get(task, best.minus(run.score(task, end)))
    return units


def backward_transfer(run: Evaluations, unlearned: Mapping[str, Value] = MappingProxyType({})) -> dict[str, Value]:
    """R[i, e(p)] - R[i, p] of every visit p that others follow."""
    return {
        f"{name_of(task)}, phase {phase}": unlearned.get(
            task, _unless(run.gap(phase, end), run.score(task, end).minus(run.score(task, phase)))
        )
        for task, phase, end in run.visits()
    }


def zero_shot_transfer(run: Evaluations) -> dict[str, Value]:
    """R[i, j] - R[i, j-1] of every task i and every phase j before its first."""
    return {
        f"{name_of(task)}, phase {phase}": _unless(
            run.gap(0, phase), run.score(task, phase).minus(run.score(task, phase - 1))
        )
        for task in run.tasks
        for phase in range(run.phases_of(task)[0])
    }


def gem_forward_transfer(run: Evaluations, floors: Mapping[str, Floor | str]) -> dict[str, Value]:
    """R[i, first(i)-1] minus the random player's score, of every task i that is not trained on first."""
    units = {}
    for task in run.tasks:
        first = run.phases_of(task)[0]
        if first > 0:
            floor = floors.get(task, NO_FLOOR)
            chance = undefined(floor) if isinstance(floor, str) else Value(floor.mean)
            units[name_of(task)] = _unless(run.gap(0, first), run.score(task, first - 1).minus(chance))
    return units


def learned_tasks(run: Evaluations, floors: Mapping[str, Floor | str]) -> dict[str, Value]:
    """1 or 0: whether each task was ever above the random player in the phase that first trains on it.

    The evaluation at that phase's beginning does not count: there, nothing was learned yet.
    """
    units = {}
    for task in run.tasks:
        phase, floor = run.phases_of(task)[0], floors.get(task, NO_FLOOR)
        scores = [score for step, score in run.points_since(task, phase) if step > 0]
        if isinstance(floor, str):
            unit = undefined(floor)
        elif any(score > floor.high for score in scores):
            unit = Value(1.0)
        else:
            nothing = undefined(f"{name_of(task)} was not evaluated in phase {phase}")
            unit = run.pending_within(task, phase, math.inf) or (Value(0.0) if scores else nothing)
        units[name_of(task)] = unit
    return units


def _unlearned(learned: Value) -> Value:
    """The forgetting of a task that was not learned, or of which that is not known: undefined, and why."""
    return learned if learned.reason else undefined("never learned: no better than the random player")


def forward_transfer(run: Evaluations, single_task: Sequence[Evaluations], missing: str) -> dict[str, Value]:
    """(AUC - AUC_b) / (1 - AUC_b) of every task in its first phase; undefined where `missing` says why.

    AUC_b is the mean over the task's single-task runs. The denominator is the room that they leave below a normalised
    score of 1: without normalisation there is no such 1, at AUC_b = 1 it is 0, and beyond it changes the sign. Those
    cases are undefined. Close below 1 the ratio is very large: compare the areas themselves there.
    """
    return {name_of(task): _forward_transfer_of(run, task, single_task, missing) for task in run.tasks}


def _forward_transfer_of(run: Evaluations, task: str, single_task: Sequence[Evaluations], missing: str) -> Value:
    baselines = [baseline for baseline in single_task if baseline.trained_on == [task]]
    if missing:
        return undefined(missing)
    if not baselines:
        return undefined(f"no single-task run on {name_of(task)} was given")
    phase = run.phases_of(task)[0]
    area, length = run.area(task, phase), run.length(phase)
    if gap := run.gap(0, phase):
        return undefined(gap)
    if area.reason:
        return area
    areas = [baseline.area(task, 0, length) for baseline in baselines]
    for reference in areas:
        if reference.reason:
            return undefined(f"single-task run: {reference.reason}")
    reference_area = float(np.mean([reference.value for reference in areas]))
    if reference_area >= 1:
        return undefined(f"the single-task area of {name_of(task)} is 1 or more, which leaves no room above it")
    return Value((area.value - reference_area) / (1 - reference_area))


def switch_units(run: Evaluations, recovery: float) -> tuple[dict[str, Value], dict[str, Value], dict[str, Value]]:
    """Drop, steps to recovery and whether recovered (1 or 0), of every switch."""
    drop: dict[str, Value] = {}
    steps: dict[str, Value] = {}
    share: dict[str, Value] = {}
    for phase in range(1, run.num_phases):
        old, new = run.trained_on[phase - 1], run.trained_on[phase]
        if old is None or new is None:
            key, values = f"into phase {phase}", (undefined(run.gap(phase - 1, phase)),) * 3
        else:
            key = f"{name_of(old)} -> {name_of(new)}, phase {phase}"
            level = run.score(old, phase - 1)
            values = (level.minus(run.first_score(new, phase)), *_recovery(run, phase, new, level, recovery))
        drop[key], steps[key], share[key] = values
    return drop, steps, share


def _recovery(run: Evaluations, phase: int, task: str, level: Value, recovery: float) -> tuple[Value, Value]:
    """Steps until the new task first scores u + x (v - u) or more, and 1 (0: never within the phase).

    Measured from u, the untrained score, because a share of a level that may be negative (Pong) says nothing.
    """
    untrained = run.score(task, -1)
    room = level.minus(untrained)
    if not room.reason and room.value <= 0:
        room = undefined("the level before the switch was not above the untrained score, so there is nothing to reach")
    if not room.reason and not run.points_since(task, phase):
        room = undefined(f"{name_of(task)} was not evaluated in phase {phase}")
    if room.reason:
        return room, room
    missing = run.pending_within(task, phase, math.inf)
    enough = recovery * room.value * (1 - 1e-9)  # a score that is exactly there must not miss it by rounding
    for step, score in run.points_since(task, phase):
        if score - untrained.value >= enough:
            return run.pending_within(task, phase, step) or Value(float(step)), Value(1.0)
    if missing:
        return missing, missing
    return undefined("never recovered within its phase"), Value(0.0)


def generalisation_gap(run: Evaluations) -> dict[str, Value]:
    """Mean final score over the tasks, minus that of each held-out string."""
    last = run.num_phases - 1
    scores = [run.score(task, last) for task in run.tasks]
    trained = next((score for score in scores if score.reason), None)
    if trained is None:
        trained = (
            Value(float(np.mean([score.value for score in scores]))) if scores else undefined("no task was evaluated")
        )
    return {name_of(string): trained.minus(run.score(string, last)) for string in run.held_out} if last >= 0 else {}


def plasticity_slope(run: Evaluations) -> dict[str, Value]:
    """Least-squares slope of the area under the curve over the visits of each task that has several."""
    units = {}
    for task in run.tasks:
        phases = run.phases_of(task)
        if len(phases) > 1:
            lengths = [run.length(phase) for phase in phases]
            shortest = min((length for length in lengths if length is not None), default=None)
            areas = [run.area(task, phase, shortest) for phase in phases]
            reason = run.gap(phases[0], phases[-1]) or next((area.reason for area in areas if area.reason), "")
            slope = math.nan if reason else _slope([area.value for area in areas])
            units[name_of(task)] = next((area for area in areas if area.pending), Value(slope, reason))
    return units


def _slope(values: Sequence[float]) -> float:
    """Least-squares slope of values at 0, 1, ...; exactly 0 where they are all the same."""
    at = np.arange(len(values)) - (len(values) - 1) / 2
    return float(at @ (np.array(values) - values[0]) / (at @ at))  # any constant may be subtracted: `at` sums to 0


def continual_metrics(
    rows: pd.DataFrame, asked: Asked | None = None, settings: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """The metrics of one run's rows of evals.csv that are defined: name -> finite number.

    On raw scores, or human-normalised ones where the tasks are of several games, whose points differ in size.

    With what the run has `asked` for, a metric that needs what is not in `rows` is not defined. Its `settings` say what
    a random player scores.

    Sampled games count, or greedy ones where there are no others; of several players those of the first. No rows: no
    metrics.

    Raises:
        RunFolderError: the rows are not those of an evals.csv, or are of several runs.
    """
    rows = check_rows(of_agent(rows, ""))
    if rows.empty:
        return {}
    evaluations = Evaluations.of(rows, "sampled" if (rows["deterministic"] == 0).any() else "greedy", asked)
    games = {parse(string).game for string in evaluations.tasks}
    floors = floors_of(settings["env_id"], settings, evaluations.strings) if settings else {}
    normalise: Normalisation = "human" if len(games) > 1 else "raw"
    metrics = metrics_of(evaluations, "", normalise=normalise, floors=floors).values()
    return {metric.name: metric.value for metric in metrics if math.isfinite(metric.value)}


# ------------------------------------------------------------------------------------------------- normalised scores


def human_scale(env_id: str) -> Scale | str:
    """Score -> (score - random) / (human - random) of the unmodified game, by its id or name, or why not."""
    at_zero, at_one = human_normalised(env_id, 0.0), human_normalised(env_id, 1.0)
    if at_zero is None or at_one is None:
        return f"no human score of {env_id or 'this game'} is known"
    return Scale(at_one - at_zero, at_zero)


def single_task_scale(string: str, single_task: Sequence[Evaluations]) -> Scale | str:
    """Score -> (score - untrained) / (trained - untrained) of the single-task runs on a string, or why not."""
    baselines = [baseline for baseline in single_task if baseline.trained_on == [string]]
    if not baselines:
        return f"no single-task run on {name_of(string)} was given"
    scores = [(baseline.score(string, -1), baseline.score(string, 0)) for baseline in baselines]
    for value in (value for pair in scores for value in pair):
        if value.reason:
            return f"single-task run: {value.reason}"
    untrained, trained = np.mean([[before.value, after.value] for before, after in scores], axis=0)
    if trained <= untrained:
        return f"the single-task runs on {name_of(string)} did not get better than untrained"
    slope = 1 / (trained - untrained)
    return Scale(float(slope), float(-untrained * slope))


def floor_scale(floor: Floor | str) -> Scale | str:
    """Score -> score - that of the random player, or why that is not known."""
    return floor if isinstance(floor, str) else Scale(1.0, -floor.mean)


def metrics_of(
    evaluations: Evaluations,
    env_id: str,
    single_task: Sequence[Evaluations] = (),
    normalise: Normalisation = "raw",
    recovery: float = RECOVERY,
    floors: Mapping[str, Floor | str] | None = None,
) -> dict[str, Metric]:
    """Every metric of one run of the game `env_id`, on raw or normalised scores; `floors` of its strings are raw."""
    floors = floors or {}
    if normalise == "raw":
        return run_metrics(evaluations, single_task=single_task, recovery=recovery, floors=floors)
    strings = sorted({string for each in (evaluations, *single_task) for string in each.strings})
    if normalise == "human":
        scales = {string: human_scale(parse(string).game or env_id) for string in strings}
    elif normalise == "floor":
        scales = {string: floor_scale(floors.get(string, NO_FLOOR)) for string in strings}
    else:
        scales = {string: single_task_scale(string, single_task) for string in strings}
    return run_metrics(
        evaluations.normalised(scales),
        single_task=[baseline.normalised(scales) for baseline in single_task],
        normalised=normalise != "floor",
        recovery=recovery,
        floors={string: _scaled_floor(floor, scales.get(string, NO_FLOOR)) for string, floor in floors.items()},
        above_floor=normalise in ("floor", "human"),
    )


def _scaled_floor(floor: Floor | str, scale: Scale | str) -> Floor | str:
    if isinstance(floor, str) or isinstance(scale, str):
        return floor if isinstance(floor, str) else str(scale)
    return Floor(*(scale.intercept + scale.slope * score for score in floor))


# -------------------------------------------------------------------------------------------------- over several runs


def summarise(metrics: Sequence[Metric], resample: Resample = "runs") -> Summary:
    """One metric over several runs of a group.

    Interval and interquartile mean are taken over runs x units if every run has the same units and all of them are
    defined, else over one number per run: its mean over what is defined.
    """
    name = metrics[0].name
    values = [metric.value for metric in metrics if math.isfinite(metric.value)]
    undefined_units = [reason for metric in metrics for reason in metric.reasons.values()]
    reason = _explain(undefined_units, sum(len(metric.units) for metric in metrics))
    reason = reason or _explain([metric.reason for metric in metrics if metric.reason], len(metrics))
    if not values:
        return Summary(name, 0, math.nan, math.nan, math.nan, math.nan, reason)
    same_units = all(metric.units.keys() == metrics[0].units.keys() and not metric.reasons for metric in metrics)
    if same_units:
        scores = np.array([[metric.units[key] for key in metrics[0].units] for metric in metrics])
    else:
        scores = np.array(values)[:, None]
    low, high = interval_of_mean(scores, resample)
    notes = []
    if len(values) < SMALLEST_SAMPLE:
        notes.append("fewer than three runs: no interval")
    elif not same_units and resample == "units":
        notes.append("interval over one number per run")
    if name in OF_SCORES and not same_units and len(values) > 1:
        notes.append("IQM over one number per run")
    reason = "; ".join(filter(None, [*notes, reason]))
    iqm = interquartile_mean(scores) if name in OF_SCORES else math.nan
    return Summary(name, len(values), float(np.mean(values)), low, high, iqm, reason)
