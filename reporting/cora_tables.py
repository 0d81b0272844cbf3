"""CORA's two tables, isolated forgetting and zero-shot transfer, as its own code counts them, and ours beside them.

Powers et al. 2022, "CORA: Benchmarks, baselines, and metrics as a platform for continual reinforcement learning
agents". A run trains on its tasks one after the other. Row i, column j is what training on task j, the *impactor*, did
to task i: forgetting where j came after i, transfer where it came before. Only the first time round counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, NamedTuple

from continual_hackatari.reporting.evaluations import Evaluations, Point
from continual_hackatari.reporting.metrics import Metric
from continual_hackatari.reporting.words import name_of

WINDOW = 20
"""evaluations in CORA's rolling mean"""
SCALE = 10
"""CORA's tables hold ten times the share of the largest score"""
MEAN = "mean"

Cells = Mapping[tuple[int, int], float]
"""(number of the task, number of the impactor) -> value, of one run"""


class Cell(NamedTuple):
    """Mean over runs and its standard error, which is NaN for one run."""

    mean: float
    error: float

    def __str__(self) -> str:
        mean = round(self.mean, 1) + 0.0  # no minus before a zero
        return f"{mean:.1f}" if math.isnan(self.error) else f"{mean:.1f} ± {self.error:.1f}"


@dataclass(frozen=True)
class Matrix:
    """One table of a group of runs."""

    name: str
    """for programs"""
    title: str
    """for people"""
    tasks: Sequence[str]
    runs: Sequence[Cells]

    def cell(self, task: int | None, impactor: int | None) -> Cell | None:
        """One cell, or the mean of a row, a column or of all (None): first within each run, then over runs.

        What is in one run is not independent, so only numbers of different runs make a standard error.
        """
        means = []
        for cells in self.runs:
            chosen = [value for (i, j), value in cells.items() if task in (None, i) and impactor in (None, j)]
            if not chosen:
                return None
            means.append(fmean(chosen))
        return Cell(fmean(means), stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan)

    @property
    def cells(self) -> list[list[Cell | None]]:
        """All of them, the means last."""
        numbers = [*range(len(self.tasks)), None]
        return [[self.cell(task, impactor) for impactor in numbers] for task in numbers]

    def rows(self) -> list[list[str]]:
        """As a table with a heading; `-` where there is nothing."""
        names = [*map(name_of, self.tasks), MEAN]
        lines = [["task", *names]]
        for name, row in zip(names, self.cells, strict=True):
            lines.append([name, *("-" if cell is None else str(cell) for cell in row)])
        return lines

    def as_json(self) -> dict[str, Any]:
        """The last row and the last column are means."""
        mean, error = ([[cell and cell[part] for cell in row] for row in self.cells] for part in (0, 1))
        return {"title": self.title, "tasks": list(self.tasks), "mean": mean, "standard_error": error}


def cora_tables(
    runs: Sequence[Evaluations], metrics: Sequence[Mapping[str, Metric]], normalise: str, window: int = WINDOW
) -> list[Matrix] | str:
    """The tables of a group, CORA's and ours in turns; or why there are none.

    metrics: of each run, on scores that `normalise` describes.
    """
    tasks = first_round(runs[0])
    if isinstance(tasks, str):
        return tasks
    if any(first_round(run) != tasks for run in runs):
        return "the runs of the group do not train on the same tasks in the same order"
    curves = [[smoothed(run, task, window) for task in tasks] for run in runs]
    largest = [max((abs(score) for run in curves for _, score in run[i]), default=0.0) for i in range(len(tasks))]
    if not all(largest):
        return f"all scores of {name_of(tasks[largest.index(0.0)])} are 0, and CORA divides by the largest"
    changes = []
    for run, of_run in zip(runs, curves, strict=True):
        found = changes_of(run, tasks, of_run, largest)
        if isinstance(found, str):
            return found
        changes.append(found)
    n = len(tasks)
    about = f"CORA: rolling mean of {window} evaluations, x {SCALE} / largest score"
    matrices = []
    for name, metric, sign in (
        ("isolated_forgetting", "forgetting_isolated", -1),
        ("zero_shot_transfer", "zero_shot_transfer", 1),
    ):
        title = name.replace("_", " ").replace("zero shot", "zero-shot")
        wanted = [(i, j) for i in range(n) for j in range(n) if (j > i if sign < 0 else j < i)]
        cells = [{place: sign * SCALE * change[place] for place in wanted} for change in changes]
        matrices.append(Matrix(f"cora_{name}", f"{title}, {about}", tasks, cells))
        own = ours(metrics, metric, tasks, wanted)
        matrices.append(Matrix(name, f"{title}, `{metric}`: ends of phases, {normalise} scores", tasks, own))
    return matrices


def first_round(run: Evaluations) -> list[str] | str:
    """The tasks in the order of their phases, if each was trained on once before any came back; or why not."""
    tasks = list(dict.fromkeys(run.trained_on))
    if len(tasks) < 2 or run.trained_on[: len(tasks)] != tasks:
        return "CORA's tables need two tasks or more, and each of them trained on once before any comes back"
    if None in tasks or None in run.phase_ends[: len(tasks)] or run.tasks != tasks:
        return "CORA's tables need evaluations of every task, and in every phase after its beginning"
    return run.tasks


def smoothed(run: Evaluations, task: str, window: int) -> list[Point]:
    """The evaluations of a task, each as the mean of the last `window`, also across switches as CORA has it.

    A switch is evaluated before and after it, mostly of the same weights: that before it counts.
    """
    points: dict[int, float] = {}
    for step, score in run.curve(task)[["global_step", "score"]].itertuples(index=False):
        points.setdefault(int(step), float(score))
    scores = list(points.values())
    return [Point(step, fmean(scores[max(0, k + 1 - window) : k + 1])) for k, step in enumerate(points)]


def changes_of(
    run: Evaluations, tasks: Sequence[str], curves: Sequence[Sequence[Point]], largest: Sequence[float]
) -> Cells | str:
    """What the phase of each task j changed of each task i, i not j, as a share of the largest score; or why not."""
    found = {}
    for j, impactor in enumerate(tasks):
        begin, end = run.start(j), run.phase_ends[j]
        assert begin is not None
        assert end is not None
        for i, curve in enumerate(curves):
            inside = [score for step, score in curve if begin < step < end]
            before = [score for step, score in curve if step < begin] or [score for _, score in curve[:1]]
            if not inside:
                return (
                    f"CORA's tables need an evaluation strictly inside every phase, and phase {j} "
                    f"({name_of(impactor)}) has none of {name_of(tasks[i])}; evaluate more often with `--eval_every`"
                )
            if i != j:
                found[i, j] = (inside[-1] - before[-1]) / largest[i]
    return found


def ours(
    metrics: Sequence[Mapping[str, Metric]], metric: str, tasks: Sequence[str], wanted: Sequence[tuple[int, int]]
) -> list[Cells]:
    """The same cells of one of our metrics, as far as they are defined in every run."""
    keys = {(i, j): f"{name_of(tasks[i])}, phase {j}" for i, j in wanted}
    units = [of_run[metric].units for of_run in metrics]
    known = [place for place, key in keys.items() if all(math.isfinite(unit.get(key, math.nan)) for unit in units)]
    return [{place: unit[keys[place]] for place in known} for unit in units]


def window_note(runs: Sequence[Evaluations], tasks: Sequence[str], window: int) -> str:
    """A sentence where the rolling mean is longer than a phase, as it mixes what was before and after it."""
    last = len(tasks) - 1
    per_phase = [
        sum(step <= (run.phase_ends[last] or 0) for step, _ in smoothed(run, task, 1)) / len(tasks)
        for run in runs
        for task in tasks
    ]
    if min(per_phase) >= window:
        return ""
    return (
        f"{window} evaluations, of which CORA's rolling mean is made, are {window / min(per_phase):.1f} phases here; "
        "`--rolling` makes it shorter"
    )
