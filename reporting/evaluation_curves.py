"""From evaluations to the numbers of their figures: pure functions, NaN means that there is no value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from continual_hackatari.reporting.curves import Aligned, HeatMap, Transition
from continual_hackatari.reporting.evaluations import Evaluations
from continual_hackatari.reporting.statistics import nanmean


def points(evaluated: Evaluations, modification: str, phase: int | None = None) -> list[tuple[int, int, float]]:
    """(phase, global_step, mean score) of every evaluation of a string."""
    rows: Iterable[tuple[int, int, float]] = evaluated.curve(modification, phase).itertuples(index=False)
    return [(int(number), int(step), float(score)) for number, step, score in rows]


def heat_map(label: str, evaluated: Sequence[Evaluations]) -> list[tuple[str, HeatMap]]:
    """One map for runs that met the same tasks in the same phases, else one per run, each with its title."""
    if not evaluated:
        return []
    shortest = min(each.num_phases for each in evaluated)
    if len({tuple(each.trained_on[:shortest]) for each in evaluated}) > 1:
        return [(f"{label}, run {i}", one_heat_map([each])) for i, each in enumerate(evaluated, 1)]
    return [(label, one_heat_map(evaluated))]


def one_heat_map(evaluated: Sequence[Evaluations]) -> HeatMap:
    """Mean over runs; a cell that one of the runs lacks is NaN, as it would be a mean of other runs.

    Evaluations of several runs are one column where they are near each other, see `shared_columns`.
    """
    longest = max(evaluated, key=lambda each: each.num_phases)
    strings = dict.fromkeys(string for each in evaluated for string in each.strings)
    held_out = {string for each in evaluated for string in each.held_out}
    trained = [string for string in longest.tasks if string in strings]
    rows = [
        *trained,
        *(s for s in strings if s not in trained and s not in held_out),
        *(s for s in strings if s in held_out),
    ]
    cells = [
        {(row, phase, step): score for row in rows for phase, step, score in points(each, row)} for each in evaluated
    ]
    for phase in range(max((phase for each in cells for _, phase, _ in each), default=-1) + 1):
        steps = [sorted({step for _, number, step in each if number == phase}) for each in cells]
        shared = shared_columns(steps)
        for i, each in enumerate(cells):
            cells[i] = {(row, p, shared[step] if p == phase else step): score for (row, p, step), score in each.items()}
    columns = sorted({(phase, step) for each in cells for _, phase, step in each})
    values = np.full((len(rows), len(columns)), np.nan)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            values[i, j] = np.mean([each.get((row, *column), np.nan) for each in cells])
    trained_on = [longest.trained_on[phase] if phase < len(longest.trained_on) else None for phase, _ in columns]
    return HeatMap(
        rows, [row in held_out for row in rows], [p for p, _ in columns], [s for _, s in columns], trained_on, values
    )


def shared_columns(steps: Sequence[Sequence[int]]) -> dict[int, int]:
    """Step -> that of its column, the lowest; `steps`: of each run, rising, those of one phase.

    A column reaches over half of the usual stretch between two evaluations of a run, and has each run once.
    """
    stretches = [later - earlier for own in steps for earlier, later in pairwise(own)]
    reach = float(np.median(stretches)) / 2 if stretches else 0.0
    found: dict[int, int] = {}
    first, runs = -1, set[int]()
    for step in sorted({step for own in steps for step in own}):
        owners = {run for run, own in enumerate(steps) if step in own}
        if first < 0 or step - first > reach or owners & runs:
            first, runs = step, set()
        runs |= owners
        found[step] = first
    return found


def around_switches(evaluated: Sequence[Evaluations], of: Literal["old", "new"] | str, bins: int = 8) -> Aligned | None:
    """Evaluated scores of one string (that of the old or of the new regime) through every switch; None without any.

    The two evaluations at the switch itself, before and after it, have places of their own at 0; the others are
    averaged in `bins` stretches on each side of it, drawn at their mean step.
    """
    found = []  # (run, number of the switch, old, new, [(steps since the switch, is after it, score)])
    for run, each in enumerate(evaluated):
        for phase in range(1, each.num_phases):
            old, new, start = each.trained_on[phase - 1], each.trained_on[phase], each.start(phase)
            if old is None or new is None or start is None:
                continue
            string = old if of == "old" else new
            near = [
                (step - start, side == phase, score)
                for side in (phase - 1, phase)
                for _, step, score in points(each, string, side)
            ]
            if near:
                found.append((run, phase, old, new, near))
    if not found:
        return None
    window = max(abs(step) for *_, near in found for step, _, _ in near) or 1
    places = [[_place(step, after, window, bins) for step, after, _ in near] for *_, near in found]
    steps = np.full((len(found), 2 * bins + 2), np.nan)
    values = np.full_like(steps, np.nan)
    for i, (*_, near) in enumerate(found):
        for place in set(places[i]):
            inside = [point for point, its in zip(near, places[i], strict=True) if its == place]
            steps[i, place] = np.mean([step for step, _, _ in inside])
            values[i, place] = np.mean([score for _, _, score in inside])
    used = np.isfinite(values).any(axis=0)
    transitions = [
        Transition(run, phase, old, new, row[used])
        for (run, phase, old, new, _), row in zip(found, values, strict=True)
    ]
    return Aligned(nanmean(steps)[used], transitions, int(used[: bins + 1].sum()), joined=True)


def _place(step: int, after: bool, window: int, bins: int) -> int:
    """Bins 0 to bins - 1 lie before the switch, then come the evaluations just before and just after it, then bins."""
    if step == 0:
        return bins + int(after)
    place = min(int(abs(step) / window * bins), bins - 1)
    return bins + 2 + place if after else bins - 1 - place
