"""The figures of a report: matplotlib, one function per figure, each drawing on a new figure in a light or dark theme.

Colours are those of Okabe and Ito, which people with any kind of colour vision can tell apart; nothing is said by
colour alone: lines differ in dash as well, regimes carry a letter, held-out rows a mark.
"""

from __future__ import annotations

import contextlib
import io
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from continual_hackatari.names import parse
from continual_hackatari.reporting import curves
from continual_hackatari.reporting.curves import Aligned, HeatMap
from continual_hackatari.reporting.groups import Group
from continual_hackatari.reporting.runs import Regime, Run
from continual_hackatari.reporting.statistics import mean_and_interval
from continual_hackatari.reporting.words import DASH, MINUS, name_of, number, shown

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
ON_DARK = ("#4FA8DC", "#F5853F", "#2FC796", "#E29BC3", *OKABE_ITO[4:])
"""The same for lines and dots on dark paper, where the darker ones would sink."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (8, 1, 1, 1, 1, 1)))
SHADES = (0.0, 0.5, -0.4, 0.25, -0.2)
"""Of up to five modifications of one of several games: how far its colour is mixed with white or, below 0, black."""
WIDTH = 8.4  # inches; with 9 point letters a page of a paper and a screen both read well
INK = {"light": "#1a1a1a", "dark": "#e8e6e3"}
PAPER = {"light": "#ffffff", "dark": "#16181c"}
FAINT = {"light": "#8a8a8a", "dark": "#8f959d"}
STEP, SCORE = "global_step", "score of whole games"
"""The names of these axes, in every figure."""
MAX_THIN_LINES = 60
MOST_PANELS = 6


class Theme(NamedTuple):
    """The colours of a figure that are not data."""

    ink: str
    paper: str
    faint: str
    band: float  # opacity of the regimes' bands
    strip: float  # of the strip with their letters
    dots: float  # and of single games, times what their number asks for

    def line(self, index: int) -> dict[str, Any]:
        """Colour and dash of line number `index`."""
        colours = ON_DARK if self is DARK else OKABE_ITO
        return {"color": colours[index % len(colours)], "linestyle": DASHES[index % len(DASHES)]}


LIGHT = Theme(INK["light"], PAPER["light"], FAINT["light"], 0.13, 0.45, 1.0)
DARK = Theme(INK["dark"], PAPER["dark"], FAINT["dark"], 0.17, 0.55, 1.6)


def shade_of(colour: str, amount: float) -> str:
    """A colour mixed with white (up to 1) or black (down to -1)."""
    target = 1.0 if amount > 0 else 0.0
    red, green, blue = ((1 - abs(amount)) * part + abs(amount) * target for part in to_rgb(colour))
    return str(to_hex((red, green, blue))).upper()


def colour_of_game(number: int) -> str:
    """A colour of its own; where there are more games than colours, they come again, darker and then lighter."""
    again, place = divmod(number, len(OKABE_ITO))
    return shade_of(OKABE_ITO[place], (0.0, -0.45, 0.45)[again % 3])


def shades(count: int) -> Sequence[float]:
    """For `shade_of`: as many as a game has modifications, no two the same."""
    return SHADES[:count] if count <= len(SHADES) else [float(each) for each in np.linspace(-0.5, 0.65, count)]


class Keys:
    """Letters and colours of task strings, the same in all figures and tables of a report.

    Where several games are played, each has a colour, and its modifications have lighter and darker shades of it.
    """

    def __init__(self, modifications: Sequence[str]) -> None:
        self._order = {modification: index for index, modification in enumerate(dict.fromkeys(modifications))}
        of_games: dict[str, list[str]] = {}
        for modification in self._order:
            of_games.setdefault(parse(modification).game, []).append(modification)
        self.games = list(of_games)
        self._shades = {
            modification: shade_of(colour_of_game(number), amount)
            for number, own in enumerate(of_games.values())
            for modification, amount in zip(own, shades(len(own)), strict=True)
        }

    def letter(self, modification: str) -> str:
        """a, b, ..., z, aa, ab, ...: bijective base 26."""
        index, letters = self._order[modification] + 1, ""
        while index:
            index, digit = divmod(index - 1, 26)
            letters = chr(ord("a") + digit) + letters
        return letters

    def colour(self, modification: str) -> str:
        if len(self.games) > 1:
            return self._shades[modification]
        return OKABE_ITO[self._order[modification] % len(OKABE_ITO)]

    @property
    def modifications(self) -> list[str]:
        return list(self._order)


@contextlib.contextmanager
def drawing(theme: Theme) -> Iterator[None]:
    """matplotlib's settings for all figures; nothing of the user's own configuration shines through."""
    settings: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.labelsize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": theme.faint,
        "axes.labelcolor": theme.ink,
        "axes.facecolor": "none",
        "axes.prop_cycle": cycler(color=OKABE_ITO),
        "text.color": theme.ink,
        "text.parse_math": False,  # a `$` in a user's name is a dollar sign
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "lines.linewidth": 1.8,
        "lines.solid_capstyle": "round",
        "pdf.fonttype": 42,  # letters that stay letters, as publishers ask for
        "svg.fonttype": "path",  # the same look whatever fonts the reader has
        "svg.hashsalt": "report",
        "hatch.linewidth": 0.6,
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


def render(figure: Figure, format_: str) -> bytes:
    """The figure as a file: svg, png (200 dots per inch) or pdf; the same figure gives the same bytes."""
    if figure.get_layout_engine() is not None:  # once is enough: the layout costs more than the drawing
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    buffer = io.BytesIO()
    dates: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(buffer, format=format_, dpi=200, metadata=dates.get(format_))
    return buffer.getvalue()


def new_figure(height: float, width: float = WIDTH) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


# --------------------------------------------------------------------------------------------------------------- parts


def draw_bands(axes: Axes, regimes: Sequence[Regime], keys: Keys, theme: Theme, *, letters: bool = True) -> None:
    """Regimes as shaded bands, with their letters in a strip above the plot where there is room for them."""
    axes.set_xlim(0, max(regimes[-1].end, 1))
    few, many = len(regimes) <= 40, len(regimes) > 100  # many bands are smaller as a picture
    spans: dict[str, list[Regime]] = {}
    for regime in regimes:
        spans.setdefault(keys.colour(regime.modification), []).append(regime)
        if few and regime.begin:
            width = 1.1 if len(regimes) <= 12 else 0.6
            axes.axvline(regime.begin, color=theme.ink, linewidth=width, zorder=1)
    for colour, own in spans.items():  # thousands of patches would take minutes, a collection a moment
        for low, high, opacity in [(0.0, 1.0, theme.band), (1.015, 1.09, theme.strip)][: 1 + letters]:
            boxes = PolyCollection(
                [[(begin, low), (begin, high), (stop, high), (stop, low)] for begin, stop, _ in own],
                transform=axes.get_xaxis_transform(),
                facecolor=colour,
                alpha=opacity,
                linewidth=0,
                zorder=0,
                clip_on=high <= 1,
                rasterized=many,
            )
            axes.add_collection(boxes, autolim=False)
    if letters:
        for middle, text in band_labels(regimes, keys):
            axes.text(
                middle,
                1.05,
                text,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="center",
                fontsize=8,
                clip_on=False,
            )


def band_labels(regimes: Sequence[Regime], keys: Keys, characters: float = 105.0) -> list[tuple[float, str]]:
    """(position, text) of the labels that fit: the name if its band is wide enough, else the letter, else nothing.

    `characters` is how many letters fit beside one another over the whole width of the plot. A letter may stand over
    neighbours that are too narrow for theirs, but never nearer than three letters' width to the one before.
    """
    span = max(regimes[-1].end - regimes[0].begin, 1)
    found: list[tuple[float, str]] = []
    free_from = -math.inf
    for begin, end, modification in regimes:
        room = (end - begin) / span * characters
        letter = keys.letter(modification)
        text = f"{letter}  {name_of(modification)}"
        middle = (begin + end) / 2
        if len(text) + 1 > room:
            text = letter
        half = (len(text) + 1) / 2 / characters * span
        if middle - half >= free_from and (room >= 0.6 * len(text) or len(regimes) > 40):
            found.append((middle, text))
            free_from = middle + half + (2 / characters * span if room < len(text) else 0)
    return found


def spell_out(figure: Figure, panels_: Sequence[Sequence[Regime]], keys: Keys, theme: Theme, most: int = 9) -> None:
    """Below the figure, the modification strings that stand in no band, as far as there is room."""
    written = {text for regimes in panels_ for _, text in band_labels(regimes, keys)}
    played = dict.fromkeys(regime.modification for regimes in panels_ for regime in regimes)
    left = [m for m in played if f"{keys.letter(m)}  {name_of(m)}" not in written]
    if 0 < len(left) <= most:
        patches = [
            Rectangle(
                (0, 0), 1, 1, facecolor=keys.colour(m), alpha=theme.strip, label=f"{keys.letter(m)}  {name_of(m, 100)}"
            )
            for m in left
        ]
        columns = 3 if max(len(name_of(m)) for m in left) < 30 else 1
        figure.legend(handles=patches, loc="outside lower left", ncols=columns, handlelength=1.2, handleheight=0.9)


def steps_axis(axes: Axes, label: str = STEP) -> None:
    """Steps along the x-axis, written with thousands as k and M."""
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda step, _: short_steps(step))


def short_steps(step: float, digits: int = 6) -> str:
    """1500 -> 1.5k, 2000000 -> 2M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(step) >= size:
            return f"{step / size:.{digits}g}{unit}".replace("-", MINUS)
    return f"{step:.{digits}g}".replace("-", MINUS)


def draw_group(
    axes: Axes,
    values: np.ndarray,
    x: np.ndarray,
    look: dict[str, Any],
    label: str,
    regimes: Sequence[Regime],
    known: Any,
) -> None:
    """Thin lines for the runs, a thick one for their mean, and the mean's interval from three runs on."""
    if np.isfinite(values).any(axis=0).sum() <= 40:
        look = {"marker": "o", "markersize": 3.5, "clip_on": False, **look}
    elif len(regimes) > 20:  # stretches of one point have no line
        look = {"marker": ".", "markersize": 3, "clip_on": False, **look}
    if len(values) == 1:
        axes.plot(*curves.broken_at_switches(x, values[0], regimes), label=label, **look)
        return
    for row in values:
        axes.plot(
            *curves.broken_at_switches(x, row, regimes), **{**look, "linewidth": 0.7, "alpha": 0.55, "marker": ""}
        )
    mean, low, high = mean_and_interval(values, known)
    axes.plot(*curves.broken_at_switches(x, mean, regimes), label=label, **look)
    if np.isfinite(low).any():
        step, lower = curves.broken_at_switches(x, low, regimes)
        _, upper = curves.broken_at_switches(x, high, regimes)
        axes.fill_between(step, lower, upper, color=look["color"], alpha=0.2, linewidth=0)


def group_legend(figure: Figure, panels_: Iterable[Axes], groups: Sequence[Group]) -> None:
    """A legend above the figure where there are several groups: those of any panel."""
    if len(groups) > 1:
        found: dict[str, Any] = {}
        for axes in panels_:
            handles, labels = axes.get_legend_handles_labels()
            found = {**dict(zip(labels, handles, strict=True)), **found}
        rows = [(group.label, found[group.label]) for group in groups if group.label in found]
        if rows:
            figure.legend(
                [handle for _, handle in rows],
                [textwrap.shorten(label, 60, placeholder="…") for label, _ in rows],
                loc="outside upper left",
                ncols=min(len(rows), 3),
                handlelength=3,
            )


# ------------------------------------------------------------------------------------------------------------- figures


def panels(groups: Sequence[Group]) -> list[list[Run]]:
    """One panel per schedule: runs with the same regimes share it; at most `MOST_PANELS`."""
    return curves.same_schedule([run for group in groups for run in group.runs])[:MOST_PANELS]


def draw_returns(groups: Sequence[Group], keys: Keys, theme: Theme) -> Figure:
    """Scores of whole games over the run; where it plays several games, one panel for each of them."""
    shares = panels(groups)
    games_of = [curves.games_in(curves.longest(runs).regimes) for runs in shares]
    drawn = [(runs, game) for runs, games in zip(shares, games_of, strict=True) for game in games]
    drawn = drawn[: max(MOST_PANELS, len(games_of[0]))]
    figure = new_figure(0.35 + (2.9 if len(drawn) == len(shares) else 2.2) * len(drawn))
    grid = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
    for axes, (runs, game) in zip(grid, drawn, strict=True):
        regimes, edges = curves.longest(runs).regimes, curves.bins_for_games(runs)
        draw_bands(axes, regimes, keys, theme)
        for index, group in enumerate(groups):
            members = [run for run in group.runs if run in runs]
            if not members:
                continue
            look = theme.line(index)
            x, values = curves.returns(members, edges, game)
            draw_games(axes, members, look["color"], theme, faint=len(runs) > 1, game=game)
            draw_group(axes, values, x, look, group.label, regimes, curves.covered(members, edges))
        if len(shares) > 1:
            names = runs[0].name if len(runs) == 1 else f"{len(runs)} runs with this schedule"
            axes.set_title(shown(names, 90), pad=22)
        axes.set_ylabel(f"{game}\n{SCORE}" if game else SCORE)
        steps_axis(axes)
    group_legend(figure, grid, groups)
    spell_out(figure, [curves.longest(runs).regimes for runs in shares], keys, theme)
    return figure


def explain_returns(axes: Axes, title: str) -> None:
    """A title and a legend above the returns of one run, for a picture that has no caption."""
    axes.set_title(title, pad=22, fontweight="bold")
    dots = next(drawn for drawn in axes.collections if isinstance(drawn, PathCollection))
    handles, names = [dots, axes.lines[-1]], ["one game", "mean of neighbouring games"]
    axes.legend(handles, names, loc="lower right", bbox_to_anchor=(1.0, 1.1), ncols=2, borderpad=0)


def draw_games(axes: Axes, runs: Sequence[Run], colour: str, theme: Theme, *, faint: bool, game: str = "") -> None:
    """Every whole game as a dot where it ended, whole at the edge too; many dots are one picture, a smaller file.

    game: of this one only.
    """
    for run in runs:
        whole = run.scored(game)
        few = whole.sum() <= 400  # can be seen one by one
        axes.scatter(
            run.games.step[whole],
            run.games.score[whole],
            s=16 if few else 7,
            color=colour,
            alpha=theme.dots * (0.3 if faint else 0.5 if few else 0.35),
            clip_on=False,
            linewidth=0,
            zorder=1.5,
            rasterized=not few,
        )


def draw_heat_maps(maps: Sequence[tuple[str, HeatMap]], keys: Keys, theme: Theme) -> Figure:
    """Evaluated scores, modification by time, one panel per group, all on one scale of colours.

    Where there are several games, a colour says where a score lies between the lowest and the highest of its game.
    """
    heights = [max(len(heat.rows), 2) * (0.36 if len(heat.rows) <= 12 else 0.24) + 0.7 for _, heat in maps]
    figure = new_figure(sum(heights) + 0.45)
    grid = figure.subplots(len(maps), 1, squeeze=False, height_ratios=heights)[:, 0]
    games = {parse(row).game for _, heat in maps for row in heat.rows}
    limits = {game: _limits([heat for _, heat in maps], game) for game in games}
    image = None
    for axes, (title, heat) in zip(grid, maps, strict=True):
        image = _draw_heat_map(axes, heat, keys, theme, limits)
        if len(maps) > 1:
            axes.set_title(shown(title, 90), pad=6)
    if image is not None:
        bar = figure.colorbar(image, ax=list(grid), fraction=0.03, pad=0.015)
        bar.set_label(SCORE if len(games) == 1 else "lowest to highest score")
        outline: Any = bar.outline  # whose type matplotlib 3.10 and 3.11 describe differently
        outline.set_visible(False)
    return figure


def _limits(maps: Sequence[HeatMap], game: str) -> tuple[float, float]:
    """The lowest and the highest score of a game, apart."""
    rows = [values for heat in maps for row, values in zip(heat.rows, heat.values, strict=True)
            if parse(row).game == game]  # fmt: skip
    known = np.concatenate(rows)
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return low, high if high > low else low + 1


def _draw_heat_map(axes: Axes, heat: HeatMap, keys: Keys, theme: Theme, limits: dict[str, tuple[float, float]]) -> Any:
    num_rows, num_columns = heat.values.shape
    lows, highs = np.array([limits[parse(row).game] for row in heat.rows]).T[..., None]
    shades = (heat.values - lows) / (highs - lows)
    (low, high), *others = limits.values()
    values, low, high = (shades, 0.0, 1.0) if others else (heat.values, low, high)
    image = axes.pcolormesh(
        np.arange(num_columns + 1), np.arange(num_rows + 1), values, cmap="cividis", vmin=low, vmax=high
    )
    image.set_rasterized(num_rows * num_columns > 1500)
    axes.set_ylim(num_rows, 0)
    labels = [f"{keys.letter(row)}  {name_of(row, 52)}" for row in heat.rows]
    labels = [f"{label} (held out)" if out else label for label, out in zip(labels, heat.held_out, strict=True)]
    if num_rows <= 12:
        labels = ["\n".join(textwrap.wrap(label, 30)) for label in labels]
    axes.set_yticks(np.arange(num_rows) + 0.5, labels, fontsize=8.5 if num_rows <= 25 else 6)
    labelled = num_columns if num_columns <= 16 else 12  # more would touch each other
    shown_columns = np.linspace(0, num_columns - 1, labelled).round().astype(int)
    axes.set_xticks(shown_columns + 0.5, [short_steps(heat.steps[column], 3) for column in shown_columns])
    axes.set_xlabel(f"{STEP} (gaps: switches; frames: in training)")
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    borders = [column for column in range(1, num_columns) if heat.phases[column] != heat.phases[column - 1]]
    for border in borders:
        axes.axvline(border, color=theme.paper, linewidth=2.2 if len(borders) <= 40 else 0.4)
    if True in heat.held_out:
        axes.axhline(heat.held_out.index(True), color=theme.ink, linewidth=1.2)
    for begin, end in pairwise([0, *borders, num_columns]):
        trained = heat.trained_on[begin]
        if trained in heat.rows and len(borders) <= 40:  # inside the gaps, and above everything
            place, width = (begin + 0.03, heat.rows.index(trained) + 0.05), end - begin - 0.06
            axes.add_patch(Rectangle(place, width, 0.9, fill=False, edgecolor=OKABE_ITO[1], linewidth=2, zorder=4))
    if num_columns <= 16 and num_rows <= 30:
        _write_values(axes, heat.values, shades)
    return image


def _write_values(axes: Axes, values: np.ndarray, shades: np.ndarray) -> None:
    """The numbers in the cells, dark on light and light on dark."""
    for (row, column), value in np.ndenumerate(values):
        dark_cell = np.isfinite(value) and shades[row, column] < 0.5
        text = number(value) if np.isfinite(value) else DASH
        colour = "#ffffff" if dark_cell else "#000000" if np.isfinite(value) else FAINT["light"]
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8, color=colour)


def draw_aligned(
    panels_: Sequence[tuple[str, Sequence[tuple[Group, Aligned]]]], groups: Sequence[Group], keys: Keys, theme: Theme
) -> Figure:
    """Scores around switches, one panel per kind of score; thin lines are switches, thick ones means over runs.

    A panel need not have all `groups`; each has the line that it has in all figures.
    """
    figure = new_figure(3.3 if len(panels_) > 1 else 3.1)
    grid = figure.subplots(1, len(panels_), squeeze=False, sharey=True)[0]
    for axes, (title, drawn) in zip(grid, panels_, strict=True):
        axes.axvline(0, color=theme.ink, linewidth=1)
        for group, aligned in drawn:
            look = theme.line(groups.index(group))
            chosen = aligned.transitions
            if len(chosen) > MAX_THIN_LINES:
                chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, MAX_THIN_LINES).astype(int)]
            thin = {
                **look,
                "linewidth": 0.8,
                "alpha": 0.65 if len(chosen) <= 8 else 0.35,
                "marker": ".",
                "markersize": 4,
            }
            for transition in chosen:
                axes.plot(*_line(aligned, transition.values), **thin)
            mean, lower, upper = mean_and_interval(curves.per_run(aligned))
            axes.plot(*_line(aligned, mean), marker="o", markersize=3.5, label=group.label, **look)
            if np.isfinite(lower).any():
                (x, low), (_, high) = _line(aligned, lower), _line(aligned, upper)
                axes.fill_between(x, low, high, color=look["color"], alpha=0.2, linewidth=0)
        reach = max(float(np.abs(aligned.x).max()) for _, aligned in drawn)
        few = len(drawn) == 1 and len(drawn[0][1].transitions) <= 8
        axes.set_xlim(-1.05 * reach, (1.3 if few else 1.05) * reach)
        if few:
            _name_lines(axes, drawn[0][1], keys)
        axes.set_title(title)
        steps_axis(axes, "steps since the switch")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    grid[0].set_ylabel(SCORE)
    group_legend(figure, grid, groups)
    return figure


def _name_lines(axes: Axes, aligned: Aligned, keys: Keys) -> None:
    """Old and new letter at the right end of each thin line, moved apart where lines end together."""
    ends = []
    for transition in aligned.transitions:
        known = np.flatnonzero(np.isfinite(transition.values))
        place = float(aligned.x[known[-1]]) + 0.04 * float(np.abs(aligned.x).max())
        text = f"{keys.letter(transition.before)}→{keys.letter(transition.after)}"
        ends.append((float(transition.values[known[-1]]), text, place))
    low, high = axes.get_ylim()
    gap, last = (high - low) * 0.055, -math.inf
    for value, text, place in sorted(ends):
        last = max(value, last + gap)
        axes.text(place, last, text, va="center", fontsize=8)


def _line(aligned: Aligned, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The known points, with a gap at the switch where the two sides are no one curve."""
    sides = [slice(0, aligned.split), slice(aligned.split, None)]
    (x, y), (later_x, later_y) = ((aligned.x[side][k], values[side][k]) for side in sides
                                  for k in [np.isfinite(values[side])])  # fmt: skip
    gap = ([], []) if aligned.joined else ([0.0], [np.nan])
    return np.concatenate([x, gap[0], later_x]), np.concatenate([y, gap[1], later_y])


def draw_scalars(groups: Sequence[Group], names: Sequence[str], keys: Keys, theme: Theme) -> Figure:
    """Small multiples: one panel per logged number, regimes as bands where all runs share them."""
    columns = min(3, len(names))
    num_rows = -(-len(names) // columns)
    figure = new_figure(0.3 + 1.65 * num_rows)
    grid = figure.subplots(num_rows, columns, squeeze=False, sharex=True)
    runs = [run for group in groups for run in group.runs]
    shared = len(curves.same_schedule(runs)) == 1
    regimes = curves.longest(runs).regimes if shared else [Regime(0, curves.longest(runs).last_step, "")]
    edges = curves.bins_of(regimes, 90)
    for axes, name in zip(grid.flat, names, strict=False):
        if shared:
            draw_bands(axes, regimes, keys, theme, letters=False)
        axes.set_xlim(0, max(regimes[-1].end, 1))
        for index, group in enumerate(groups):
            x, values = curves.scalar_curves(group.runs, name, edges)
            if np.isfinite(values).any():
                known = curves.covered(group.runs, edges)
                look = {**theme.line(index), "linewidth": 1.3}
                draw_group(axes, values, x, look, group.label, regimes, known)
        axes.set_title(name.split("/", 1)[-1])
        axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useOffset=False)
        axes.yaxis.get_offset_text().set_fontsize(7.5)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(lambda step, _: short_steps(step))
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes in list(grid.flat)[max(len(names) - columns, 0) : len(names)]:  # the lowest one of each column
        axes.set_xlabel(STEP)
        axes.tick_params(labelbottom=True)
    group_legend(figure, grid.flat, groups)
    return figure


def draw_speed(groups: Sequence[Group], theme: Theme) -> Figure:
    """Seconds per update by phase, stacked, one bar per run; the run's steps per second beside it."""
    runs = [(group, run) for group in groups for run in group.runs]
    speeds = [curves.speed(run) for _, run in runs]
    phases = sorted({phase for each in speeds for phase in each.phases}, key=lambda phase: -_total(speeds, phase))
    figure = new_figure(0.95 + 0.34 * len(runs))
    axes = figure.subplots()
    hatches = ("", "///", "\\\\\\", "|||", "---", "xxx", "+++", "//")
    left = np.zeros(len(runs))
    for index, phase in enumerate(phases):
        widths = np.array([each.phases.get(phase, 0.0) for each in speeds])
        axes.barh(
            range(len(runs)),
            widths,
            left=left,
            color=OKABE_ITO[index % len(OKABE_ITO)],
            hatch=hatches[index % len(hatches)],
            edgecolor=theme.paper,
            linewidth=0.6,
            height=0.66,
            label=phase,
        )
        left += widths
    for row, (each, end) in enumerate(zip(speeds, left, strict=True)):
        axes.text(end, row, f"  {number(each.steps_per_second)} steps/s", va="center", fontsize=8.5)
    axes.set_yticks(range(len(runs)), [shown(f"{group.label}, seed {run.seed}", 44) for group, run in runs])
    axes.set_ylim(len(runs) - 0.4, -0.6)
    axes.set_xlim(0, max(float(left.max()), 1e-9) * 1.2)
    axes.set_xlabel("seconds per rollout and update, mean over the run")
    figure.legend(loc="outside upper left", ncols=min(len(phases), 6) or 1, handlelength=1.6)
    return figure


def _total(speeds: Sequence[curves.Speed], phase: str) -> float:
    return sum(each.phases.get(phase, 0.0) for each in speeds)
