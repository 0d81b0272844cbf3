"""Draws a schedule: one row per modification string, coloured where it is played.

`python modification_factories.py run_config.json --plot timeline.png` gathers what is drawn here. matplotlib takes half
a second to load, so that this module is loaded only when a picture is asked for.
"""

import io
import itertools
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Segment = tuple[int, int, str]  # first step, first step after it, name
Bands = dict[str, list[tuple[int, int]]]

MAX_ROWS = 60
_RUG = 150  # up to so many switches each gets a line of its own, more are counted
_COLUMNS = 2000  # more than the picture has points, so that no border is moved visibly
_COLUMNS_OF_MANY = 400  # above `_MANY` regimes: shares of columns can be compared, single bands cannot
_MANY = 600
_COUNTS = 100  # columns of the count of switches, and of everything where the regimes are samples
# Okabe and Ito's palette without its yellow, which white swallows: told apart with any kind of colour vision. Rows have
# names, and neighbours differ, so that colours may come again.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#595959")
_PALEST = 0.25  # of a column in which a string is played at all


class Timeline(NamedTuple):
    """What is drawn."""

    title: str
    subtitle: str
    regimes: Sequence[Segment]
    """in order; all of the schedule, or samples spread over it"""
    sampled: bool
    phases: Sequence[Segment]
    """parts of a combined schedule, with their labels; may be empty"""
    stop: int
    """steps of the run"""


def bands(regimes: Sequence[Segment]) -> Bands:
    """When each string is played, as (first step, first step after it), strings in the order of appearance."""
    found: Bands = {}
    for start, stop, name in regimes:
        found.setdefault(name, []).append((start, stop))
    return found


def few_rows(found: Bands, most: int = MAX_ROWS) -> Bands:
    """At most `most` rows: those played longest, in the order of appearance, and last one row for all others."""
    if len(found) <= most:
        return found
    steps = {name: sum(stop - start for start, stop in intervals) for name, intervals in found.items()}
    kept = set(sorted(steps, key=lambda name: -steps[name])[: most - 1])
    rest = sorted(interval for name, intervals in found.items() if name not in kept for interval in intervals)
    rows = {name: intervals for name, intervals in found.items() if name in kept}
    return {**rows, f"{len(found) - len(kept):,} further modifications": rest}


def column_shares(found: Bands, edges: np.ndarray) -> np.ndarray:
    """Share of each column in which each string is played, float [strings, columns]; `edges` [columns + 1] are steps.

    Where the regimes are samples, a share of the sampled steps of the column; 0 where there are none.
    """
    played = np.stack([np.diff(_steps_before(intervals, edges)) for intervals in found.values()])
    return played / np.maximum(played.sum(axis=0), 1e-9)


def _steps_before(intervals: Sequence[tuple[int, int]], edges: np.ndarray) -> np.ndarray:
    """How many steps of the disjoint, rising intervals lie before each edge."""
    borders = np.array(intervals)
    lengths = borders[:, 1] - borders[:, 0]
    ends = np.cumsum(lengths)
    return np.interp(edges, borders.ravel(), np.stack([ends - lengths, ends], axis=1).ravel())


def switch_steps(regimes: Sequence[Segment]) -> list[int]:
    """First steps of all regimes that follow directly on another one."""
    pairs = itertools.pairwise(regimes)
    return [after[0] for before, after in pairs if before[1] == after[0] and before[2] != after[2]]


def draw(path: Path, timeline: Timeline) -> None:
    """Write the picture of a schedule; `path` ends in .png, .pdf or .svg.

    Raises:
        OSError: it cannot be written; nothing is left of it then.
    """
    rows = few_rows(bands(timeline.regimes))
    inches = [0.28] * bool(timeline.phases) + [0.5, 0.3 * len(rows)]
    figure = Figure(figsize=(11, sum(inches) + 1.5), layout="constrained")
    figure.suptitle(f"{timeline.title}\n{timeline.subtitle}", fontsize=10, x=0.01, ha="left")
    grid = figure.add_gridspec(len(inches), 2, height_ratios=inches, width_ratios=(8, 1))
    axes = [figure.add_subplot(grid[row, 0]) for row in range(len(inches))]
    for upper in axes[:-1]:
        upper.tick_params(bottom=False, labelbottom=False)
    if timeline.phases:
        _draw_phases(axes[0], timeline)
    _draw_switches(axes[-2], timeline)
    _draw_rows(axes[-1], rows, timeline)
    _draw_shares(figure.add_subplot(grid[-1, 1], sharey=axes[-1]), rows)
    for each in axes:
        each.set_xlim(0, timeline.stop)
        for phase in timeline.phases[1:]:
            each.axvline(phase[0], color="black", linewidth=0.8)
    _save(figure, path)


def _draw_phases(axes: Any, timeline: Timeline) -> None:
    """A strip with the names of the phases, as far as they fit."""
    axes.set_yticks([0.5], ["phases"], fontsize=8)
    axes.tick_params(left=False)
    axes.set_ylim(0, 1)
    for start, stop, label in timeline.phases:
        letters = int(110 * (stop - start) / timeline.stop)  # some 110 letters fit into the whole width
        shown = next((text for text in (label, label.split(" ")[0]) if len(text) <= letters), "")
        axes.text((start + stop) / 2, 0.5, shown, fontsize=8, ha="center", va="center")


def _draw_switches(axes: Any, timeline: Timeline) -> None:
    """A line for each switch, or, where there are many, how many there are in each hundredth of the run."""
    steps = switch_steps(timeline.regimes)
    if len(steps) <= _RUG and not timeline.sampled:
        axes.vlines(steps, 0, 1, color="black", linewidth=0.7)
        axes.set_ylim(0, 1)
        axes.set_yticks([0.5], ["switches"], fontsize=8)
        axes.tick_params(left=False)
        return
    edges = np.linspace(0, timeline.stop, _COUNTS + 1)
    counts = np.histogram(steps, edges)[0].astype(float)
    if timeline.sampled:
        covered = np.diff(_steps_before([(start, stop) for start, stop, _ in timeline.regimes], edges))
        counts *= np.diff(edges) / np.maximum(covered, 1)
    axes.stairs(counts, edges, fill=True, color="#595959")
    axes.set_ylim(0, None)
    axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylabel("switches\nper 1 %", fontsize=8, rotation=0, ha="right", va="center")


def _draw_rows(axes: Any, rows: Bands, timeline: Timeline) -> None:
    """One row per string: its colour where it is played, paler where for a part of the column only."""
    columns = _COLUMNS if len(timeline.regimes) <= _MANY else _COLUMNS_OF_MANY
    edges = np.linspace(0, timeline.stop, (_COUNTS if timeline.sampled else min(columns, timeline.stop)) + 1)
    shares = column_shares(rows, edges)
    picture = np.ones((len(rows), len(edges) - 1, 4))
    for row, (colour, share) in enumerate(zip(itertools.cycle(_COLOURS), shares, strict=False)):
        picture[row, :, :3] = to_rgb(colour)
        picture[row, :, 3] = np.where(share > 0, _PALEST + (1 - _PALEST) * share, 0)
    extent = (0, timeline.stop, len(rows) - 0.5, -0.5)
    axes.imshow(picture, aspect="auto", interpolation="nearest", extent=extent)
    axes.set_yticks(range(len(rows)), [_short(name) for name in rows], fontsize=8)
    axes.hlines(np.arange(len(rows) - 1) + 0.5, 0, timeline.stop, color="0.85", linewidth=0.6)
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("step, counted over all games (paler: played for a part of that time)", fontsize=8)


def _draw_shares(axes: Any, rows: Bands) -> None:
    """Bars with the share of all steps, beside the rows."""
    steps = np.array([sum(stop - start for start, stop in intervals) for intervals in rows.values()], float)
    shares = steps / steps.sum()
    axes.barh(range(len(rows)), shares, color=list(itertools.islice(itertools.cycle(_COLOURS), len(rows))), height=0.6)
    for row, share in enumerate(shares):
        axes.text(share, row, f" {share:.1%}", fontsize=7, va="center")
    axes.set_xlim(0, 1.7 * shares.max())
    axes.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)
    axes.set_frame_on(False)
    axes.set_title("share", fontsize=8, loc="left")


def _short(name: str, letters: int = 50) -> str:
    return name if len(name) <= letters else name[: letters - 3] + "..."


def _save(figure: Figure, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=150)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(picture.getvalue())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
