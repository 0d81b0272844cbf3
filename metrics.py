"""Continual metrics of finished or interrupted runs, from their evals.csv.

    python metrics.py runs/A runs/B
    python metrics.py runs/A runs/B --single_task runs/C runs/D --normalise single_task -o freeway

Every metric is a pure function of the rows of evals.csv. Runs whose settings differ in the seed alone form a group;
a group gets the mean over its runs, the interquartile mean and its 95 % stratified bootstrap interval. Prints a table
per group and writes <output>.json (everything) and <output>.csv (one row per metric of a group and of a run).

Notation. R[i, j]: mean score of the whole games played under modification string i at the end of phase j, where a phase
is a regime in training, counted from 0, and its end is its last evaluation; j = -1 is the evaluation before training.
A task is a string that was trained on. A task may be trained on in several phases ("" first and last, say): each of
these phases is a visit of its own. first(i) is the first phase that trains on i; a visit p of i lasts until e(p), the
last phase before i is trained on again, or the last phase P - 1 of the run. Nothing is smoothed. What cannot be known
is NaN with a reason, never a guess. The definitions, sign conventions and sources are those of `METRICS`.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import tyro

from continual_hackatari.reporting.versions import mixed_versions
from continual_hackatari.training.asked import Asked, asked_for, still_to_do
from continual_hackatari.training.config import ConfigError, Range, check_ranges, parse_command_line
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.plan import SPLITS
from continual_hackatari.training.results import COLUMNS, RESULTS, read_results
from continual_hackatari.training.same_experiment import experiment_settings
from continual_hackatari.training.scores import human_normalised

WHOLE_NUMBERS = ("phase", "global_step", "episode", "deterministic", "length", "lives")
UNMODIFIED = "no_modif"
RECOVERY = 0.9
RESAMPLES = 2_000
BOOTSTRAP_SEED = 0

Mode = Literal["sampled", "greedy"]
Normalisation = Literal["raw", "human", "single_task"]
Resample = Literal["units", "runs"]


class MetricsError(ValueError):
    """Evaluations that cannot be used; the message is one sentence for the user."""


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
    "forward_transfer": Definition(
        "(AUC_i - AUC_i^b) / (1 - AUC_i^b), mean over tasks i; AUC_i over the phase first(i), "
        "AUC_i^b of single-task runs over as many steps; normalised scores",
        "positive: learned better than from scratch; 1 is the largest",
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
    "plasticity_slope": Definition(
        "least-squares slope of AUC over visits 0, 1, ... of a task, each over as many steps as its shortest; "
        "mean over tasks with two visits or more",
        "negative: each return goes worse than the one before",
        "own definition, after Abbas et al. 2023",
    ),
}


class Value(NamedTuple):
    """A number, or NaN and the reason why it is undefined; `pending`: because it was not evaluated yet."""

    value: float
    reason: str = ""
    pending: bool = False

    def minus(self, other: Value) -> Value:
        """The difference; NaN with the first reason where either is undefined."""
        unknown = [value for value in (self, other) if value.reason]
        return min(unknown, key=lambda value: not value.pending) if unknown else Value(self.value - other.value)


def undefined(reason: str) -> Value:
    """NaN, because of `reason`."""
    return Value(math.nan, reason)


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


# ------------------------------------------------------------------------------------------------- rows of evals.csv


def read_evaluations(path: str | Path, report: Callable[[str], None] = lambda _: None) -> pd.DataFrame:
    """The checked rows of an evals.csv, or of the one in a run folder; `report` gets a sentence on what is left out.

    Raises:
        MetricsError: it cannot be read, is empty, or its rows cannot be used.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    path = folder / RESULTS
    try:
        if not path.read_bytes().strip():
            raise MetricsError(f"{path} is empty; `python eval.py --run {folder}` fills it")
        rows = read_results(folder, report)
    except (OSError, ConfigError) as error:
        raise MetricsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not rows:
        raise MetricsError(f"{path} holds no evaluation; `python eval.py --run {folder}` fills it")
    try:
        return check_rows(pd.DataFrame(rows))
    except MetricsError as error:
        raise MetricsError(f"{path}: {error}") from None


def check_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in a fixed order, with proper types and no row twice; NaN as a string means the unmodified game.

    Raises:
        MetricsError: a missing column, a value that is no number, or a game that has two different scores.
    """
    missing = [name for name in COLUMNS if name not in rows.columns]
    if missing:
        raise MetricsError(f"the column `{missing[0]}` is missing; the columns must be {','.join(COLUMNS)}")
    rows = rows[list(COLUMNS)].copy()
    for name in ("run", "modification", "trained_on", "split"):
        rows[name] = rows[name].astype(object).where(rows[name].notna(), "").astype(str)
    for name in (*WHOLE_NUMBERS, "score"):
        numbers = pd.to_numeric(rows[name], errors="coerce").astype(float)
        wrong = ~np.isfinite(numbers) | ((numbers % 1 != 0) if name != "score" else False)
        if wrong.any():
            kind = "a finite number" if name == "score" else "a whole number"
            raise MetricsError(f"`{name}` is {rows[name][wrong].tolist()[0]!r} in one row; it must be {kind}")
        rows[name] = numbers if name == "score" else numbers.astype(np.int64)
    _check_words(rows)
    rows = rows.drop_duplicates()
    game = ["run", "deterministic", "phase", "global_step", "modification", "episode"]
    twice = rows[rows.duplicated(game)]
    if len(twice):
        row = twice.iloc[0]
        raise MetricsError(
            f"game {row.episode} under {shown(row.modification)} at step {row.global_step} (phase {row.phase}) stands "
            "there twice with different results; keep the rows of one evaluation only"
        )
    return rows.sort_values(game, kind="stable").reset_index(drop=True)


def _check_words(rows: pd.DataFrame) -> None:
    """Raise MetricsError for a split, a mode or a phase that does not exist."""
    allowed: dict[str, tuple[Any, ...]] = {"split": SPLITS, "deterministic": (0, 1)}
    for name, values in allowed.items():
        wrong = rows[~rows[name].isin(values)]
        if len(wrong):
            raise MetricsError(
                f"`{name}` is {wrong[name].tolist()[0]!r} in one row; it must be {values[0]} or {values[1]}"
            )
    for name in ("phase", "global_step"):
        if (rows[name] < 0).any():
            raise MetricsError(f"`{name}` is {rows[name].min()} in one row; it must be 0 or more")


def shown(modification: str) -> str:
    """A modification string as a reader sees it: the unmodified game has a name."""
    return modification or UNMODIFIED


# ------------------------------------------------------------------------------------------------------ one run


class Point(NamedTuple):
    """Mean score of one evaluation."""

    global_step: int
    score: float


class Scale(NamedTuple):
    """Normalised score = intercept + slope * score."""

    slope: float
    intercept: float


class Evaluations:
    """What one run scored in one mode: mean scores per modification string, phase and step.

    Attributes:
        tasks: strings that were trained on and evaluated, in the order of their first phases.
        held_out: strings that were evaluated and never trained on.
        trained_on: the string of each counted phase; None for a phase without an evaluation.
        phase_ends: global step of the last evaluation of each counted phase; None for a phase without one.
        pending: (string, phase, global step) of what the run asked for and was not evaluated yet.
        notes: what a reader should know, one sentence each.
    """

    def __init__(
        self,
        points: Mapping[tuple[str, int], Sequence[Point]],
        trained_on: Sequence[str | None],
        phase_ends: Sequence[int | None],
        held_out: Sequence[str],
        notes: Sequence[str] = (),
        unknown: Mapping[str, str] | None = None,
        pending: Collection[tuple[str, int, int]] = (),
    ) -> None:
        """`points` by string and phase, steps rising; `unknown`: strings that have no score, and the reason.

        `pending`: string, phase and global step of what the run asked for and was not evaluated yet.
        """
        self.pending = frozenset(pending)
        self._points = dict(points)
        self._unknown = dict(unknown or {})
        self.trained_on = list(trained_on)
        self.phase_ends = list(phase_ends)
        self.held_out = list(held_out)
        self.notes = list(notes)
        evaluated = {modification for modification, _ in points}
        self.strings = sorted(evaluated)
        trained = dict.fromkeys(string for string in trained_on if string is not None)
        self.tasks = [string for string in trained if string in evaluated]

    @classmethod
    def of(cls, rows: pd.DataFrame, mode: Mode = "sampled", asked: Asked | None = None) -> Evaluations:
        """The evaluations of the one run in `rows`, in whatever order they stand.

        `asked`: what the run has asked for. What of it is not in `rows` is pending: a metric that needs it is
        undefined. Without it the run is taken to end where its evaluations do.

        Raises:
            MetricsError: rows of several runs, none of this mode, or rows that contradict each other.
        """
        rows = check_rows(rows)
        if rows["run"].nunique() > 1:
            raise MetricsError(
                f"the rows are of several runs ({', '.join(sorted(rows['run'].unique()))}); give those of one"
            )
        rows = rows[rows["deterministic"] == (mode == "greedy")]
        if rows.empty:
            raise MetricsError(f"there is no {mode} evaluation; choose the other `--mode`")
        _check_one_history(rows)
        places = [] if asked is None else asked.places
        trained_in = {place.phase: place.trained_on for place in places}
        trained_in |= dict(zip(rows["phase"], rows["trained_on"], strict=True))
        ends: dict[int, int] = {}
        for phase, step in [*zip(rows["phase"], rows["global_step"], strict=True), *(place[1::-1] for place in places)]:
            ends[phase] = max(int(step), ends.get(phase, 0))
        phase_ends = [ends.get(phase) for phase in range(max(ends) + 1)]
        notes = _remarks(rows)
        # A phase that has only the evaluation at its beginning is no phase of training yet, as when a run was
        # interrupted just after a switch: counted, it would add differences that are zero by construction.
        before = max((end for end in phase_ends[:-1] if end is not None), default=0)
        if phase_ends[-1] == before:
            phase_ends.pop()
            if phase_ends:
                notes.append(f"phase {len(phase_ends)} has no evaluation after its beginning; it is not counted")
        while phase_ends and phase_ends[-1] is None:
            phase_ends.pop()
        means = rows.groupby(["modification", "phase", "global_step"])["score"].mean()
        points: dict[tuple[str, int], list[Point]] = {}
        for (modification, phase, step), score in means.items():
            points.setdefault((modification, phase), []).append(Point(int(step), float(score)))
        done = [(string, phase, step) for (string, phase), curve in points.items() for step, _ in curve]
        pending = still_to_do(asked, done) if asked is not None else []
        if pending:
            _, phase, step = min(pending, key=lambda place: (place[2], place[1]))
            left = len({place[1:] for place in pending})
            notes.append(
                f"{left} of the {len(places)} evaluations that the run asked for are not there yet, "
                f"or not of all strings, the first at step {step:,} (phase {phase})"
            )
        held_out = sorted(rows.loc[rows["split"] == "held_out", "modification"].unique())
        trained_on = [trained_in.get(phase) for phase in range(len(phase_ends))]
        return cls(points, trained_on, phase_ends, held_out, notes, pending=pending)

    def normalised(self, scales: Mapping[str, Scale | str]) -> Evaluations:
        """The same with normalised scores; a reason in place of a scale leaves the string without a score."""
        unknown = {string: scale for string, scale in scales.items() if isinstance(scale, str)}
        points = {
            (string, phase): [Point(step, _scaled(score, scales[string])) for step, score in curve]
            for (string, phase), curve in self._points.items()
        }
        return Evaluations(points, self.trained_on, self.phase_ends, self.held_out, self.notes, unknown, self.pending)

    @property
    def num_phases(self) -> int:
        """P, the number of counted phases."""
        return len(self.phase_ends)

    @property
    def matrix(self) -> pd.DataFrame:
        """R: one row per evaluated string, one column per phase from -1 (before training); NaN where unknown."""
        phases = range(-1, self.num_phases)
        cells = [[self.score(string, phase).value for phase in phases] for string in self.strings]
        return pd.DataFrame(cells, index=pd.Index(self.strings, name="modification"), columns=list(phases), dtype=float)

    def curve(self, modification: str, phase: int | None = None) -> pd.DataFrame:
        """Columns phase, global_step, score: every evaluation of a string, or those of one phase, in order."""
        phases = sorted(number for string, number in self._points if string == modification and phase in (None, number))
        rows = [(number, *point) for number in phases for point in self._points[modification, number]]
        return pd.DataFrame(rows, columns=["phase", "global_step", "score"])

    def score(self, modification: str, phase: int) -> Value:
        """R[modification, phase]."""
        if phase == -1:
            return self.score_at(modification, 0, 0, "before training")
        end = self.phase_ends[phase]
        if end is None:
            return undefined(f"phase {phase} has no evaluation")
        return self.score_at(modification, phase, end, f"at the end of phase {phase}")

    def first_score(self, modification: str, phase: int) -> Value:
        """Score just after the switch into a phase, before any step of it was trained."""
        start = self.start(phase)
        if start is None:
            return undefined(f"phase {phase - 1} has no evaluation")
        return self.score_at(modification, phase, start, f"at the beginning of phase {phase}")

    def score_at(self, modification: str, phase: int, step: int, when: str) -> Value:
        """Score of the evaluation at this step."""
        if modification in self._unknown:
            return undefined(self._unknown[modification])
        for point in self._points.get((modification, phase), ()):
            if point.global_step == step:
                return Value(point.score)
        if (modification, phase, step) in self.pending:
            return Value(math.nan, f"{shown(modification)} has not been evaluated {when} yet", pending=True)
        return undefined(f"{shown(modification)} was not evaluated {when}")

    def pending_within(self, modification: str, phase: int, steps: float) -> Value | None:
        """An undefined value if an evaluation in the first `steps` steps of a phase is pending."""
        start = self.start(phase) or 0
        missing = [step for string, *at, step in self.pending if (string, *at) == (modification, phase)]
        if not any(step - start <= steps for step in missing):
            return None
        return Value(
            math.nan, f"{shown(modification)} has not been evaluated at all of phase {phase} yet", pending=True
        )

    def start(self, phase: int) -> int | None:
        """Global step at which a phase began; None where the phase before has no evaluation."""
        return 0 if phase == 0 else self.phase_ends[phase - 1]

    def points_since(self, modification: str, phase: int) -> list[Point]:
        """The evaluations of a string in one phase, by steps since the phase began."""
        start = self.start(phase)
        if start is None or modification in self._unknown:
            return []
        return [Point(step - start, score) for step, score in self._points.get((modification, phase), ())]

    def length(self, phase: int) -> int | None:
        """Steps of a phase."""
        start, end = self.start(phase), self.phase_ends[phase]
        return None if start is None or end is None else end - start

    def area(self, modification: str, phase: int, length: int | None = None) -> Value:
        """Area under the curve of one phase, divided by its steps (trapezoids; `length`: the first steps only)."""
        length = self.length(phase) if length is None else length
        first = self.first_score(modification, phase)
        if length is None or first.reason:
            return first if first.reason else undefined(f"phase {phase} has no evaluation")
        if missing := self.pending_within(modification, phase, length):
            return missing
        steps, scores = zip(*self.points_since(modification, phase), strict=True)
        if steps[-1] < length:
            return undefined(f"{shown(modification)} was evaluated for {steps[-1]} of {length} steps of phase {phase}")
        at = np.array(sorted({*(step for step in steps if step < length), length}))
        gains = np.interp(at, steps, scores) - first.value  # so that a flat curve has exactly its score as area
        return Value(first.value + float(np.sum((gains[1:] + gains[:-1]) / 2 * np.diff(at)) / length))

    def gap(self, first: int, last: int) -> str:
        """A reason if one of the phases `first`..`last` has no evaluation: what it trained on is unknown."""
        absent = [phase for phase in range(first, last + 1) if self.trained_on[phase] is None]
        return f"phase {absent[0]} has no evaluation" if absent else ""

    def phases_of(self, task: str) -> list[int]:
        """The phases that train on a task, its visits."""
        return [phase for phase, string in enumerate(self.trained_on) if string == task]

    def visits(self) -> list[tuple[str, int, int]]:
        """(task, p, e(p)) of every visit that other phases follow before the next one of the task, or the end."""
        found = []
        for phase, task in enumerate(self.trained_on):
            if task in self.tasks:
                later = [number for number in self.phases_of(task) if number > phase]
                end = later[0] - 1 if later else self.num_phases - 1
                if end > phase:
                    found.append((task, phase, end))
        return found


def _scaled(score: float, scale: Scale | str) -> float:
    return math.nan if isinstance(scale, str) else scale.intercept + scale.slope * score


def _check_one_history(rows: pd.DataFrame) -> None:
    """Raise MetricsError if the phases do not follow each other, or a phase trains on two strings."""
    for phase, strings in rows.groupby("phase")["trained_on"].unique().items():
        if len(strings) > 1:
            names = " and ".join(map(shown, sorted(strings)))
            raise MetricsError(f"phase {phase} is said to train on {names}; a phase trains on one string")
    steps = rows.groupby("phase")["global_step"].agg(["min", "max"])
    for (earlier, a), (later, b) in zip(list(steps.iterrows())[:-1], list(steps.iterrows())[1:], strict=True):
        if b["min"] < a["max"]:
            raise MetricsError(
                f"phase {later} has an evaluation at step {b['min']}, before step {a['max']} of phase {earlier}"
            )
    both = set(rows.loc[rows["split"] == "held_out", "modification"]) & set(rows["trained_on"])
    if both:
        raise MetricsError(f"{shown(min(both))} is held out, but it was trained on")


def _remarks(rows: pd.DataFrame) -> list[str]:
    """Sentences on evaluations that are not as complete as the others, and on tasks without any."""
    notes = []
    games = rows.groupby(["modification", "phase", "global_step"]).size()
    short = int((games < games.max()).sum())
    if short:
        notes.append(f"{short} of {len(games)} evaluations hold fewer games than the others ({games.max()})")
    for task in sorted(set(rows["trained_on"]) - set(rows["modification"])):
        notes.append(f"{shown(task)} was trained on, but never evaluated; it is in no metric")
    return notes


# ------------------------------------------------------------------------------------------------------ the metrics


def run_metrics(
    evaluations: Evaluations,
    *,
    single_task: Sequence[Evaluations] = (),
    normalised: bool = False,
    recovery: float = RECOVERY,
) -> dict[str, Metric]:
    """Every metric of `METRICS`, of one run.

    `single_task` are runs on one task each, for the forward transfer; `normalised` says that all scores are (see
    `Evaluations.normalised`). `recovery` is the share x of the level before a switch that counts as recovered.
    """
    drop, steps, share = switch_units(evaluations, recovery)
    units = {
        "average_performance": final_scores(evaluations),
        "forgetting_isolated": isolated_forgetting(evaluations),
        "forgetting_maximal": maximal_forgetting(evaluations),
        "backward_transfer": backward_transfer(evaluations),
        "zero_shot_transfer": zero_shot_transfer(evaluations),
        "forward_transfer": forward_transfer(evaluations, single_task, normalised),
        "switch_drop": drop,
        "recovery_steps": steps,
        "recovered_share": share,
        "generalisation_gap": generalisation_gap(evaluations),
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
    counts = Counter(reasons).most_common()
    listed = [reason if count == total else f"{reason} ({count} of {total})" for reason, count in counts]
    more = [f"and {len(listed) - 3} other reasons"] if len(listed) > 3 else []
    return "; ".join(listed[:3] + more)


def _unless(reason: str, value: Value) -> Value:
    return undefined(reason) if reason else value


def final_scores(run: Evaluations) -> dict[str, Value]:
    """R[i, P-1] of every task."""
    return {shown(task): run.score(task, run.num_phases - 1) for task in run.tasks}


def isolated_forgetting(run: Evaluations) -> dict[str, Value]:
    """R[i, j-1] - R[i, j] of every task i and every phase j after its first that trains on another task."""
    units = {}
    for task in run.tasks:
        for phase in range(run.phases_of(task)[0] + 1, run.num_phases):
            if run.trained_on[phase] != task:
                units[f"{shown(task)}, phase {phase}"] = run.score(task, phase - 1).minus(run.score(task, phase))
    return units


def maximal_forgetting(run: Evaluations) -> dict[str, Value]:
    """Best of R[i, p], ..., R[i, e(p)-1], minus R[i, e(p)], of every visit p that others follow."""
    units = {}
    for task, phase, end in run.visits():
        scores = [run.score(task, number) for number in range(phase, end)]
        best = next((score for score in scores if score.reason), max(scores))  # undefined if one of them is
        units[f"{shown(task)}, phase {phase}"] = best.minus(run.score(task, end))
    return units


def backward_transfer(run: Evaluations) -> dict[str, Value]:
    """R[i, e(p)] - R[i, p] of every visit p that others follow."""
    return {
        f"{shown(task)}, phase {phase}": _unless(
            run.gap(phase, end), run.score(task, end).minus(run.score(task, phase))
        )
        for task, phase, end in run.visits()
    }


def zero_shot_transfer(run: Evaluations) -> dict[str, Value]:
    """R[i, j] - R[i, j-1] of every task i and every phase j before its first."""
    return {
        f"{shown(task)}, phase {phase}": _unless(
            run.gap(0, phase), run.score(task, phase).minus(run.score(task, phase - 1))
        )
        for task in run.tasks
        for phase in range(run.phases_of(task)[0])
    }


def forward_transfer(run: Evaluations, single_task: Sequence[Evaluations], normalised: bool) -> dict[str, Value]:
    """(AUC - AUC_b) / (1 - AUC_b) of every task in its first phase.

    AUC_b is the mean over the task's single-task runs. The denominator is the room that they leave below a normalised
    score of 1: without normalisation there is no such 1, at AUC_b = 1 it is 0, and beyond it changes the sign. Those
    cases are undefined. Close below 1 the ratio is very large: compare the areas themselves there.
    """
    return {shown(task): _forward_transfer_of(run, task, single_task, normalised) for task in run.tasks}


def _forward_transfer_of(run: Evaluations, task: str, single_task: Sequence[Evaluations], normalised: bool) -> Value:
    baselines = [baseline for baseline in single_task if baseline.trained_on == [task]]
    if not normalised:
        return undefined("raw scores have no upper reference 1; normalise them")
    if not baselines:
        return undefined(f"no single-task run on {shown(task)} was given")
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
        return undefined(f"the single-task area of {shown(task)} is 1 or more, which leaves no room above it")
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
            key = f"{shown(old)} -> {shown(new)}, phase {phase}"
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
        room = undefined(f"{shown(task)} was not evaluated in phase {phase}")
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
    return {shown(string): trained.minus(run.score(string, last)) for string in run.held_out} if last >= 0 else {}


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
            units[shown(task)] = next((area for area in areas if area.pending), Value(slope, reason))
    return units


def _slope(values: Sequence[float]) -> float:
    """Least-squares slope of values at 0, 1, ...; exactly 0 where they are all the same."""
    at = np.arange(len(values)) - (len(values) - 1) / 2
    return float(at @ (np.array(values) - values[0]) / (at @ at))  # any constant may be subtracted: `at` sums to 0


def continual_metrics(rows: pd.DataFrame, asked: Asked | None = None) -> dict[str, float]:
    """The metrics of one run's rows of evals.csv that are defined, on raw scores: name -> finite number.

    With what the run has `asked` for, a metric that needs what is not in `rows` is not defined.

    Sampled games count, or greedy ones where there are no others. No rows: no metrics.

    Raises:
        MetricsError: the rows are not those of an evals.csv, or are of several runs.
    """
    rows = check_rows(rows)
    if rows.empty:
        return {}
    evaluations = Evaluations.of(rows, "sampled" if (rows["deterministic"] == 0).any() else "greedy", asked)
    metrics = run_metrics(evaluations).values()
    return {metric.name: metric.value for metric in metrics if math.isfinite(metric.value)}


# ------------------------------------------------------------------------------------------------ runs and groups


@dataclass(frozen=True)
class Run:
    """A run folder: its settings (args.json) and its evaluations in one mode, raw."""

    folder: Path
    settings: dict[str, Any]
    evaluations: Evaluations

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def seed(self) -> Any:
        """The training seed."""
        return self.settings.get("seed")

    @property
    def env_id(self) -> str:
        """The game."""
        return str(self.settings.get("env_id", ""))

    @property
    def experiment(self) -> dict[str, Any]:
        """The settings that runs of one experiment share."""
        return experiment_settings(self.settings)


@dataclass(frozen=True)
class Group:
    """The runs of one experiment, which differ in their seeds; `label` says what it is."""

    label: str
    runs: list[Run]


@dataclass(frozen=True)
class Summary:
    """A metric over the runs of a group: mean and interquartile mean (IQM) with its 95 % interval; NaN where undefined.

    `runs` is the number of runs that have a value; `reason` says why something is NaN or what is left out.
    """

    metric: str
    runs: int
    mean: float
    iqm: float
    low: float
    high: float
    reason: str


def load_run(folder: str | Path, mode: Mode = "sampled") -> Run:
    """A run folder with its evals.csv and args.json.

    Raises:
        MetricsError: one of them is missing or cannot be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MetricsError(f"`{folder}` is not a run folder; give folders like runs/<name>")
    if not (folder / "evals.csv").is_file():
        raise MetricsError(f"`{folder}` has no evals.csv; `python eval.py --run {folder}` makes it")
    try:
        settings = json.loads((folder / "args.json").read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError) as error:
        raise MetricsError(
            f"{folder / 'args.json'} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    notes: list[str] = []
    rows = read_evaluations(folder, notes.append)
    try:
        evaluations = Evaluations.of(rows, mode, asked_for(folder, settings))
        evaluations.notes += notes + what_is_left(evaluations, folder)
        return Run(folder, settings, evaluations)
    except MetricsError as error:
        raise MetricsError(f"{folder / 'evals.csv'}: {error}") from None


def what_is_left(evaluations: Evaluations, folder: Path) -> list[str]:
    """What to do about evaluations that are pending."""
    if not evaluations.pending:
        return []
    return [f"`python eval.py --run {folder}` does the rest, as far as the run has kept its weights"]


def load_runs(folders: Sequence[str | Path], mode: Mode = "sampled") -> list[Run]:
    """Several run folders.

    Raises:
        MetricsError: one cannot be used, or is given twice.
    """
    places = [Path(folder).resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise MetricsError(f"`{folder}` is given twice; give every run once")
    return [load_run(folder, mode) for folder in folders]


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Runs of the same experiment (see `experiment_settings`), in the order in which they are given.

    A label names the game, the architecture and the settings that the groups do not share.

    Raises:
        MetricsError: two runs of a group have the same seed, so that they are no independent sample.
    """
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(json.dumps(run.experiment, sort_keys=True), []).append(run)
    for group in members.values():
        for number, run in enumerate(group):
            for earlier in group[:number]:
                if earlier.seed == run.seed:
                    raise MetricsError(
                        f"`{earlier.folder}` and `{run.folder}` have the same settings and the same seed {run.seed}, "
                        "so they are no independent runs; give one of them"
                    )
    firsts = [group[0].experiment for group in members.values()]
    names = sorted({name for first in firsts for name in first} - {"env_id", "architecture"})
    different = [name for name in names if any(first.get(name) != firsts[0].get(name) for first in firsts)]
    return [Group(_label(group[0].experiment, different), group) for group in members.values()]


def _label(experiment: Mapping[str, Any], different: Sequence[str]) -> str:
    words = [str(experiment[name]) for name in ("env_id", "architecture") if name in experiment]
    for name in different:
        value = json.dumps(experiment.get(name))
        words.append(f"{name}={value if len(value) <= 60 else value[:57] + '...'}")
    return " ".join(words) or "no settings"


# ------------------------------------------------------------------------------------------------- normalised scores


def human_scale(env_id: str) -> Scale | str:
    """Score -> (score - random) / (human - random) of the unmodified game, or why that is not known."""
    at_zero, at_one = human_normalised(env_id, 0.0), human_normalised(env_id, 1.0)
    if at_zero is None or at_one is None:
        return f"no human score of {env_id or 'this game'} is known"
    return Scale(at_one - at_zero, at_zero)


def single_task_scale(string: str, single_task: Sequence[Evaluations]) -> Scale | str:
    """Score -> (score - untrained) / (trained - untrained) of the single-task runs on a string, or why not."""
    baselines = [baseline for baseline in single_task if baseline.trained_on == [string]]
    if not baselines:
        return f"no single-task run on {shown(string)} was given"
    scores = [(baseline.score(string, -1), baseline.score(string, 0)) for baseline in baselines]
    for value in (value for pair in scores for value in pair):
        if value.reason:
            return f"single-task run: {value.reason}"
    untrained, trained = np.mean([[before.value, after.value] for before, after in scores], axis=0)
    if trained <= untrained:
        return f"the single-task runs on {shown(string)} did not get better than untrained"
    slope = 1 / (trained - untrained)
    return Scale(float(slope), float(-untrained * slope))


def metrics_of(
    run: Run, single_task: Sequence[Run] = (), normalise: Normalisation = "raw", recovery: float = RECOVERY
) -> dict[str, Metric]:
    """Every metric of a run, on raw or normalised scores.

    Raises:
        MetricsError: a single-task run has another game, or did not train on one string.
    """
    for baseline in single_task:
        if baseline.env_id != run.env_id:
            raise MetricsError(
                f"the single-task run `{baseline.folder}` played {baseline.env_id}, but `{run.folder}` {run.env_id}; "
                "give single-task runs of the same game"
            )
        if baseline.evaluations.num_phases != 1:
            raise MetricsError(
                f"`single_task` names `{baseline.folder}`, which has {baseline.evaluations.num_phases} phases of "
                "training; a single-task run has one"
            )
    baselines = [baseline.evaluations for baseline in single_task]
    if normalise == "raw":
        return run_metrics(run.evaluations, single_task=baselines, recovery=recovery)
    strings = sorted({string for evaluations in (run.evaluations, *baselines) for string in evaluations.strings})
    if normalise == "human":
        scales = dict.fromkeys(strings, human_scale(run.env_id))
    else:
        scales = {string: single_task_scale(string, baselines) for string in strings}
    return run_metrics(
        run.evaluations.normalised(scales),
        single_task=[baseline.normalised(scales) for baseline in baselines],
        normalised=True,
        recovery=recovery,
    )


# -------------------------------------------------------------------------------------------------- over several runs


def summarise(metrics: Sequence[Metric], resample: Resample = "units") -> Summary:
    """One metric over several runs of a group.

    The interquartile mean and its interval are taken over runs x units if every run has the same units and all of them
    are defined, else over one number per run: its mean over what is defined.
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
    iqm, low, high = interquartile_mean(scores, resample)
    if len(values) == 1:
        reason = "; ".join(filter(None, ["one run: no interval", reason]))
    elif not same_units:
        reason = "; ".join(filter(None, ["interval over one number per run", reason]))
    return Summary(name, len(values), float(np.mean(values)), iqm, low, high, reason)


def interquartile_mean(scores: np.ndarray, resample: Resample = "units") -> tuple[float, float, float]:
    """Interquartile mean of `scores` [runs, units] and the limits of its 95 % percentile bootstrap interval.

    `units` resamples the runs of every unit (task, pair, switch) by itself: the stratified bootstrap of Agarwal et al.
    2021, "Deep reinforcement learning at the edge of the statistical precipice". `runs` resamples whole runs, whose
    units share a network. One run has no interval. Always the same 2,000 resamples, so that a table can be made again.
    """
    from scipy.stats import bootstrap, trim_mean  # slow to import, and needed here only

    def iqm(*units: np.ndarray, axis: int) -> np.ndarray:
        return trim_mean(np.concatenate(units, axis), 0.25, axis)

    value = float(iqm(*scores.T, axis=0))
    if len(scores) == 1:
        return value, math.nan, math.nan
    limits = bootstrap(
        tuple(scores.T),
        iqm,
        paired=resample == "runs",  # of every unit the same runs
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=100,  # bounds the memory
        method="percentile",
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    ).confidence_interval
    return value, float(limits.low), float(limits.high)


# ------------------------------------------------------------------------------------------------------ the command


@dataclass
class Args:
    runs: tyro.conf.Positional[list[str]]
    """run folders; seeds of one experiment form a group"""
    single_task: list[str] = field(default_factory=list)
    """folders of runs that train on one modification string each, of any seeds"""
    normalise: Normalisation = "raw"
    """scores as they are, between a random player and a human, or between an untrained and a single-task agent"""
    mode: Mode = "sampled"
    """count the games with sampled or with greedy actions"""
    recovery: float = RECOVERY
    """share of the level before a switch, above the untrained score, that counts as recovered"""
    resample: Resample = "units"
    """bootstrap the runs of every task or switch by itself, or whole runs"""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "metrics"
    """the files are <output>.json and <output>.csv"""


RANGES = {"recovery": Range(0.0, 1.0, above=True)}


@dataclass(frozen=True)
class GroupResult:
    """What is printed and written of a group; `metrics` as `group.runs`."""

    group: Group
    metrics: list[dict[str, Metric]]
    summaries: dict[str, Summary]


def main(argv: Sequence[str] | None = None) -> None:
    """Read the runs, print a table per group and write the files."""
    try:
        run(parse_command_line(Args, argv, description=__doc__))
    except (ConfigError, MetricsError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def run(args: Args) -> None:
    """Metrics of `args.runs`.

    Raises:
        ConfigError, MetricsError: a setting or a run that cannot be used; nothing is written then.
    """
    check_ranges(args, RANGES)
    if not args.runs:
        raise MetricsError("`runs` is empty; give at least one run folder")
    if not Path(args.output).parent.is_dir() or not Path(args.output).name:
        raise MetricsError(f"`output` is {args.output!r}, but there is no such folder; create it or choose another")
    if args.normalise == "single_task" and not args.single_task:
        raise MetricsError("`normalise` is single_task, but no single-task run is given; add `--single_task <folders>`")
    groups = group_runs(load_runs(args.runs, args.mode))
    single_task = load_runs(args.single_task, args.mode)
    results = [evaluate_group(group, single_task, args) for group in groups]
    print(f"{args.mode} games, {args.normalise} scores")
    if len({tuple(sorted(member.evaluations.tasks)) for group in groups for member in group.runs}) > 1:
        print("note: the runs do not have the same tasks, so their averages are not over the same things")
    for number, result in enumerate(results, 1):
        print()
        for name in ("eval_every", "eval_games"):
            if len({str(member.settings.get(name)) for member in result.group.runs}) > 1:
                print(f"note: `{name}` is not the same in all runs of group {number}: they were measured differently")
        print(text_table(number, result))
    write_json(Path(f"{args.output}.json"), args, results)
    write_csv(Path(f"{args.output}.csv"), args, results)
    print(f"\nfiles: {args.output}.json, {args.output}.csv")


def evaluate_group(group: Group, single_task: Sequence[Run], args: Args) -> GroupResult:
    """The metrics of every run of a group, and over the group."""
    metrics = [metrics_of(member, single_task, args.normalise, args.recovery) for member in group.runs]
    summaries = {name: summarise([of_run[name] for of_run in metrics], args.resample) for name in METRICS}
    return GroupResult(group, metrics, summaries)


def text_table(number: int, result: GroupResult) -> str:
    """The metrics of a group as a text table; `-` for what is undefined, and the reasons in footnotes."""
    group = result.group
    lines = [f"group {number}: {group.label}, {len(group.runs)} run{'s' if len(group.runs) > 1 else ''}"]
    lines += [f"  seed {member.seed}: {member.folder}" for member in group.runs]
    lines += [f"  note, {member.name}: {note}" for member in group.runs for note in member.evaluations.notes]
    if mixed := mixed_versions([member.settings for member in group.runs]):
        lines.append(f"  note: {mixed}")
    footnotes: list[str] = []
    rows = [("metric", "mean", "IQM", "95 % interval", "runs", "")]
    for summary in result.summaries.values():
        if summary.reason and summary.reason not in footnotes:
            footnotes.append(summary.reason)
        mark = f"[{footnotes.index(summary.reason) + 1}]" if summary.reason else ""
        interval = "-" if math.isnan(summary.low) else f"[{_number(summary.low)}, {_number(summary.high)}]"
        rows.append((summary.metric, _number(summary.mean), _number(summary.iqm), interval, str(summary.runs), mark))
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:-1], others, strict=False)]
        lines.append("  ".join([row[0].ljust(first), *cells, row[-1]]).rstrip())
    return "\n".join(lines + [f"[{position}] {text}" for position, text in enumerate(footnotes, 1)])


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3f}"


def write_json(path: Path, args: Args, results: Sequence[GroupResult]) -> None:
    """Everything: definitions, groups, runs, every unit and the matrices of raw scores; null for what is undefined."""
    groups = [
        {
            "label": result.group.label,
            "summary": {name: asdict(summary) for name, summary in result.summaries.items()},
            "runs": [
                {
                    "run": member.name,
                    "folder": str(member.folder),
                    "seed": member.seed,
                    "notes": member.evaluations.notes,
                    "trained_on": member.evaluations.trained_on,
                    "phase_ends": member.evaluations.phase_ends,
                    "raw_scores": {
                        string: dict(zip(matrix.columns.astype(str), matrix.loc[string], strict=True))
                        for matrix in [member.evaluations.matrix]
                        for string in matrix.index
                    },
                    "metrics": {name: asdict(metric) for name, metric in metrics.items()},
                }
                for member, metrics in zip(result.group.runs, result.metrics, strict=True)
            ],
        }
        for result in results
    ]
    settings = {name: getattr(args, name) for name in ("mode", "normalise", "recovery", "resample", "single_task")}
    definitions = {name: definition._asdict() for name, definition in METRICS.items()}
    content = _without_nan({**settings, "definitions": definitions, "groups": groups})
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _without_nan(value: Any) -> Any:
    """None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_csv(path: Path, args: Args, results: Sequence[GroupResult]) -> None:
    """One row per metric of a group (`run` and `seed` empty) and of each of its runs."""
    rows = []
    for number, result in enumerate(results, 1):
        group = {"group": number, "label": result.group.label, "mode": args.mode, "normalise": args.normalise}
        for name, summary in result.summaries.items():
            rows.append({**group, "run": "", "seed": "", "metric": name, "value": summary.mean, **asdict(summary)})
            for member, metrics in zip(result.group.runs, result.metrics, strict=True):
                metric = metrics[name]
                of_run = {"run": member.name, "seed": member.seed, "value": metric.value, "reason": metric.reason}
                rows.append({**group, "metric": name, **of_run})
    columns = ["group", "label", "run", "seed", "mode", "normalise", "metric", "value", "iqm", "low", "high", "runs"]
    with atomic_path(path) as temporary:
        table = pd.DataFrame(rows)[[*columns, "reason"]].astype({"runs": "Int64"})  # empty in the rows of single runs
        table.to_csv(temporary, index=False)


if __name__ == "__main__":
    main()
