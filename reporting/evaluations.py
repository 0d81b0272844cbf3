"""What one run scored in its evaluations: checked rows of evals.csv, and the mean scores that every metric is made of.

Notation. R[i, j]: mean score of the whole games played under modification string i at the end of phase j, where a phase
is a regime in training, counted from 0, and its end is its last evaluation; j = -1 is the evaluation before training.
A task is a string that was trained on. A task may be trained on in several phases ("" first and last, say): each of
these phases is a visit of its own. Nothing is smoothed. What cannot be known is NaN with a reason, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from continual_hackatari.reporting.asked import Asked, still_to_do
from continual_hackatari.reporting.rows import EVALUATION_COLUMNS, SPLITS, WHOLE_NUMBERS, WITH_AGENT, RunFolderError
from continual_hackatari.reporting.words import name_of

Mode = Literal["sampled", "greedy"]


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


def check_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in a fixed order, with proper types and no row twice; NaN as a string means the unmodified game.

    Raises:
        RunFolderError: a missing column, a value that is no number, or a game that has two different scores.
    """
    missing = [name for name in EVALUATION_COLUMNS if name not in rows.columns]
    if missing:
        columns = ",".join(EVALUATION_COLUMNS)
        raise RunFolderError(f"the column `{missing[0]}` is missing; the columns must be {columns}")
    rows = rows.assign(agent=rows.get("agent", ""))[list(WITH_AGENT)].copy()
    for name in ("run", "modification", "trained_on", "split", "agent"):
        rows[name] = rows[name].astype(object).where(rows[name].notna(), "").astype(str)
    for name in (*WHOLE_NUMBERS, "score"):
        numbers = pd.to_numeric(rows[name], errors="coerce").astype(float)
        wrong = ~np.isfinite(numbers) | ((numbers % 1 != 0) if name != "score" else False)
        if wrong.any():
            kind = "a finite number" if name == "score" else "a whole number"
            raise RunFolderError(f"`{name}` is {rows[name][wrong].tolist()[0]!r} in one row; it must be {kind}")
        rows[name] = numbers if name == "score" else numbers.astype(np.int64)
    _check_words(rows)
    rows = rows.drop_duplicates()
    game = ["run", "agent", "deterministic", "phase", "global_step", "modification", "episode"]
    twice = rows[rows.duplicated(game)]
    if len(twice):
        row = twice.iloc[0]
        raise RunFolderError(
            f"game {row.episode} under {name_of(row.modification)} at step {row.global_step} (phase {row.phase}) "
            "stands there twice with different results; keep the rows of one evaluation only"
        )
    return rows.sort_values(game, kind="stable").reset_index(drop=True)


def of_agent(rows: pd.DataFrame, agent: str) -> pd.DataFrame:
    """The rows of one player, by default that of the first row; all of them where the agent is one player.

    Raises RunFolderError where there are players and none of this name.
    """
    names = list(dict.fromkeys(rows["agent"].dropna())) if "agent" in rows else []
    if not any(names):
        return rows
    if agent not in ("", *names):
        raise RunFolderError(f"there is no evaluation of `agent` {agent}; choose {' or '.join(names)}")
    return rows[rows["agent"] == (agent or names[0])]


def _check_words(rows: pd.DataFrame) -> None:
    """Raise RunFolderError for a split, a mode or a phase that does not exist."""
    allowed: dict[str, tuple[Any, ...]] = {"split": SPLITS, "deterministic": (0, 1)}
    for name, values in allowed.items():
        wrong = rows[~rows[name].isin(values)]
        if len(wrong):
            raise RunFolderError(
                f"`{name}` is {wrong[name].tolist()[0]!r} in one row; it must be {values[0]} or {values[1]}"
            )
    for name in ("phase", "global_step"):
        if (rows[name] < 0).any():
            raise RunFolderError(f"`{name}` is {rows[name].min()} in one row; it must be 0 or more")


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
        phase_ends: global step of the last evaluation of each counted phase; None for a phase without one after its
            beginning.
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
    def of(cls, rows: pd.DataFrame, mode: Mode = "sampled", asked: Asked | None = None, agent: str = "") -> Evaluations:
        """The evaluations of the one run in `rows`, in whatever order they stand.

        `agent`: of a run whose agent is several players, the one that counts; by default that of the first row.
        `asked`: what the run has asked for. What of it is not in `rows` is pending: a metric that needs it is
        undefined. Without it the run is taken to end where its evaluations do.

        Raises:
            RunFolderError: rows of several runs, none of this mode or agent, or rows that contradict each other.
        """
        rows = of_agent(rows, agent)
        rows = check_rows(rows)
        if rows["run"].nunique() > 1:
            raise RunFolderError(
                f"the rows are of several runs ({', '.join(sorted(rows['run'].unique()))}); give those of one"
            )
        rows = rows[rows["deterministic"] == (mode == "greedy")]
        if rows.empty:
            raise RunFolderError(f"there is no {mode} evaluation; choose the other `--mode`")
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
        before = 0
        for phase, end in enumerate(phase_ends):
            if end == before:
                phase_ends[phase] = None
                if phase:
                    notes.append(f"phase {phase} has no evaluation after its beginning; it is not counted")
            before = before if end is None else end
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
            return Value(math.nan, f"{name_of(modification)} has not been evaluated {when} yet", pending=True)
        return undefined(f"{name_of(modification)} was not evaluated {when}")

    def pending_within(self, modification: str, phase: int, steps: float) -> Value | None:
        """An undefined value if an evaluation in the first `steps` steps of a phase is pending."""
        start = self.start(phase) or 0
        missing = [step for string, *at, step in self.pending if (string, *at) == (modification, phase)]
        if not any(step - start <= steps for step in missing):
            return None
        return Value(
            math.nan, f"{name_of(modification)} has not been evaluated at all of phase {phase} yet", pending=True
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
            until = f"for {steps[-1]} of {length} steps of phase {phase}"
            return undefined(f"{name_of(modification)} was evaluated {until}")
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
    """Raise RunFolderError if the phases do not follow each other, or a phase trains on two strings."""
    for phase, strings in rows.groupby("phase")["trained_on"].unique().items():
        if len(strings) > 1:
            names = " and ".join(map(name_of, sorted(strings)))
            raise RunFolderError(f"phase {phase} is said to train on {names}; a phase trains on one string")
    steps = rows.groupby("phase")["global_step"].agg(["min", "max"])
    for (earlier, a), (later, b) in zip(list(steps.iterrows())[:-1], list(steps.iterrows())[1:], strict=True):
        if b["min"] < a["max"]:
            raise RunFolderError(
                f"phase {later} has an evaluation at step {b['min']}, before step {a['max']} of phase {earlier}"
            )
    both = set(rows.loc[rows["split"] == "held_out", "modification"]) & set(rows["trained_on"])
    if both:
        raise RunFolderError(f"{name_of(min(both))} is held out, but it was trained on")


def _remarks(rows: pd.DataFrame) -> list[str]:
    """Sentences on evaluations that are not as complete as the others, and on tasks without any."""
    notes = []
    games = rows.groupby(["modification", "phase", "global_step"]).size()
    short = int((games < games.max()).sum())
    if short:
        notes.append(f"{short} of {len(games)} evaluations hold fewer games than the others ({games.max()})")
    notes += [f"its agent is several players, of which {agent} counts" for agent in rows["agent"].unique() if agent]
    for task in sorted(set(rows["trained_on"]) - set(rows["modification"])):
        notes.append(f"{name_of(task)} was trained on, but never evaluated; it is in no metric")
    return notes
