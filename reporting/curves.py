"""The numbers behind each figure: pure functions from runs to arrays. NaN means that there is no value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from continual_hackatari.names import parse
from continual_hackatari.reporting.runs import Regime, Run
from continual_hackatari.reporting.statistics import nanmean


class Curves(NamedTuple):
    """One line per run over common bins."""

    x: np.ndarray  # float64 [B], where each bin is drawn
    values: np.ndarray  # float64 [R, B]


class Transition(NamedTuple):
    """One switch of one run, seen from around it."""

    run: int
    number: int  # of the switch, from 1
    before: str
    after: str
    values: np.ndarray  # float64 [B], mean score per bin


class Aligned(NamedTuple):
    """Scores around switches; bins left of 0 belong to the old regime, right of it to the new one."""

    x: np.ndarray  # float64 [B], steps since the switch, mean of what is in each bin
    transitions: list[Transition]
    split: int
    """Number of bins before the switch."""
    joined: bool = False
    """Whether a line may cross the switch: only where both sides are scores under the same string."""


class HeatMap(NamedTuple):
    """Evaluated scores: one row per modification string, one column per evaluation."""

    rows: list[str]
    held_out: list[bool]
    phases: list[int]  # of each column
    steps: list[int]  # of each column, global_step
    trained_on: list[str | None]  # of each column, the string of the regime in training
    values: np.ndarray  # float64 [rows, columns], mean over the runs that evaluated it


def _mean_per_bin(x: np.ndarray, y: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean of the `y` whose `x` lies in `(edge, next edge]`, float64 [len(edges) - 1]; NaN where there is none.

    Open on the left, because what is logged at the step of a switch happened before it.
    """
    place = np.searchsorted(edges, x, side="left") - 1
    inside = (place >= 0) & (place < len(edges) - 1) & np.isfinite(y)
    count = np.bincount(place[inside], minlength=len(edges) - 1)
    total = np.bincount(place[inside], weights=y[inside], minlength=len(edges) - 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


# ------------------------------------------------------------------------------------------------------ whole training


def same_schedule(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in lists whose regimes agree as far as both runs go, so that they can share one panel."""
    found: list[list[Run]] = []
    for run in runs:
        home = next((panel for panel in found if _agree(longest(panel).regimes, run.regimes)), None)
        if home is None:
            found.append([run])
        else:
            home.append(run)
    return found


def longest(runs: Sequence[Run]) -> Run:
    """The run that got furthest; its regimes are those of its panel."""
    return max(runs, key=lambda run: run.last_step)


def _agree(one: Sequence[Regime], other: Sequence[Regime]) -> bool:
    shorter, longer = sorted((one, other), key=lambda regimes: (regimes[-1].end, len(regimes)))
    same = [(regime.begin, regime.modification) for regime in shorter]
    known = [(regime.begin, regime.modification) for regime in longer]
    # A switch that the longer run made after the shorter one ended is no contradiction.
    return known[: len(same)] == same and (len(known) == len(same) or known[len(same)][0] >= shorter[-1].end)


def bins_of(regimes: Sequence[Regime], num_bins: int = 60) -> np.ndarray:
    """About `num_bins` edges over the whole run, none of whose bins reaches across a switch; increasing, float64."""
    span = max(regimes[-1].end - regimes[0].begin, 1)
    edges: list[float] = [float(regimes[0].begin)]
    for begin, end, _ in regimes:
        if end > begin:
            count = max(1, round(num_bins * (end - begin) / span))
            edges += list(np.linspace(begin, end, count + 1)[1:])
    return np.array(edges if len(edges) > 1 else [edges[0], edges[0] + 1.0])


def bins_for_games(runs: Sequence[Run], num_bins: int = 60) -> np.ndarray:
    """Bins as `bins_of`, few enough that the games of every run fill them: about four of it per bin on average."""
    end = longest(runs).last_step
    games = [(int(run.scored().sum()), run.last_step) for run in runs]
    fewest = min((count * end // step for count, step in games if count), default=0)  # as if all had got equally far
    return bins_of(longest(runs).regimes, max(1, min(num_bins, fewest // 4)))


def games_in(regimes: Sequence[Regime]) -> list[str]:
    """The games of these regimes; one without a name where there is but the runs' own."""
    return list(dict.fromkeys(parse(regime.modification).game for regime in regimes))


def returns(runs: Sequence[Run], edges: np.ndarray, game: str = "") -> Curves:
    """Mean score of the games that ended in each bin, drawn at their mean step, of those that are `Run.scored`.

    game: of this one only.
    """
    steps = [run.games.step[run.scored(game)] for run in runs]
    scores = [run.games.score[run.scored(game)] for run in runs]
    values = [_mean_per_bin(*games, edges) for games in zip(steps, scores, strict=True)]
    ended = np.concatenate(steps).astype(np.float64)
    x = _mean_per_bin(ended, ended, edges)
    middle = (edges[:-1] + edges[1:]) / 2
    return Curves(np.where(np.isfinite(x), x, middle), np.array(values).reshape(len(runs), len(edges) - 1))


def scalar_curves(runs: Sequence[Run], name: str, edges: np.ndarray) -> Curves:
    """Mean of a logged scalar in each bin."""
    logged = [run.scalars.get(name, (np.array([]), np.array([]))) for run in runs]
    values = [_mean_per_bin(steps, numbers, edges) for steps, numbers in logged]
    return Curves((edges[:-1] + edges[1:]) / 2, np.array(values).reshape(len(runs), len(edges) - 1))


def covered(runs: Sequence[Run], edges: np.ndarray) -> np.ndarray:
    """bool [R, B]: whether a run got to the end of a bin (the last rollout may end a little before)."""
    slack = (edges[-1] - edges[0]) * 0.005
    return np.array([[run.last_step >= end - slack for end in edges[1:]] for run in runs])


def broken_at_switches(x: np.ndarray, y: np.ndarray, regimes: Sequence[Regime]) -> tuple[np.ndarray, np.ndarray]:
    """The curve with a gap (NaN) at each switch, and bins without a value left out: a line never bridges a switch."""
    known = np.isfinite(y)
    x, y = x[known], y[known]
    switches = [regime.begin for regime in regimes[1:]]
    places = np.searchsorted(x, switches)
    return np.insert(x, places, switches), np.insert(y, places, np.nan)


# ---------------------------------------------------------------------------------------------------- around a switch


def around_switches(runs: Sequence[Run], bins_per_side: int = 8) -> Aligned | None:
    """Scores of whole games around every switch of every run; None where there is no switch or no game near one.

    The window is the median length of the regimes on each side, and never reaches beyond the neighbouring switch. A
    game counts left of the switch only under the old modification string, right of it only under the new one. There
    are fewer bins than `bins_per_side` where a run has less than two games for each.
    """
    lengths = [regime.end - regime.begin for run in runs if len(run.regimes) > 1 for regime in run.regimes]
    if not lengths:
        return None
    window = max(float(np.median(lengths)), 1.0)
    near = [[_games_around(run, old, new) for old, new in pairwise(run.regimes)] for run in runs]
    games = [sum(int((np.abs(since) <= window).sum()) for since, _ in own) // (2 * len(own)) for own in near if own]
    bins_per_side = max(1, min(bins_per_side, min((count for count in games if count), default=0) // 2))
    side = np.linspace(0, window, bins_per_side + 1)
    edges = np.concatenate([-side[::-1], side[1:]])
    transitions, steps = [], []
    for index, run in enumerate(runs):
        for number, (old, new) in enumerate(pairwise(run.regimes), 1):
            since, scores = near[index][number - 1]
            values = _mean_per_bin(since, scores, edges)
            if np.isfinite(values).any():
                transitions.append(Transition(index, number, old.modification, new.modification, values))
                steps.append(since)
    if not transitions:
        return None
    ended = np.concatenate(steps).astype(np.float64)
    x = _mean_per_bin(ended, ended, edges)
    used = np.isfinite(x)
    transitions = [transition._replace(values=transition.values[used]) for transition in transitions]
    return Aligned(x[used], transitions, int(used[:bins_per_side].sum()))


def _games_around(run: Run, old: Regime, new: Regime) -> tuple[np.ndarray, np.ndarray]:
    """Steps since the switch and scores of the games of both regimes that are `Run.scored`."""
    games = run.games
    chosen = run.scored() & (games.step > old.begin) & (games.step <= new.end)
    return games.step[chosen] - new.begin, games.score[chosen]


def per_run(aligned: Aligned) -> np.ndarray:
    """Mean over the switches of each run that has any, float64 [runs, B]: those of one run are no independent samples.

    A bin for which less than nine in ten of the switches have a score has no mean: switches are unlike each other, so
    a mean over other ones than in the bin before would rise or fall without any score doing so.
    """
    rows = []
    for run in dict.fromkeys(transition.run for transition in aligned.transitions):
        own = np.array([transition.values for transition in aligned.transitions if transition.run == run])
        enough = np.isfinite(own).mean(axis=0) >= 0.9
        rows.append(np.where(enough, nanmean(own), np.nan))
    return np.array(rows)


# --------------------------------------------------------------------------------------------------------------- speed


class Speed(NamedTuple):
    """Of one run: steps per second over the whole run, and mean seconds per update in each phase."""

    steps_per_second: float
    phases: dict[str, float]


def speed(run: Run) -> Speed:
    """From `charts/SPS` (its last value: all steps over all seconds) and `time/<phase>`, summed over all updates."""
    rates = run.scalars.get("charts/SPS")
    updates = len(rates[0]) if rates is not None else 0
    phases = {
        name.removeprefix("time/"): float(values.sum()) / max(updates, 1)
        for name, (_, values) in run.scalars.items()
        if name.startswith("time/")
    }
    return Speed(float(rates[1][-1]) if rates is not None else float("nan"), phases)
