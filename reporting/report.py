"""The report: what its sections say, and the page that holds them.

A new figure is a function in `figures` and a section here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from continual_hackatari.names import game_of, id_in_game
from continual_hackatari.reporting import curves, figures, page
from continual_hackatari.reporting.curves import Aligned, HeatMap
from continual_hackatari.reporting.evaluation_curves import around_switches, heat_map
from continual_hackatari.reporting.evaluations import Evaluations, Mode
from continual_hackatari.reporting.figures import DARK, LIGHT, Keys, Theme
from continual_hackatari.reporting.floor import floors_of
from continual_hackatari.reporting.groups import (
    Group,
    check_seeds,
    differences,
    group_runs,
    measured_unlike,
    mixed_versions,
)
from continual_hackatari.reporting.metrics import METRICS, Metric, Summary, run_metrics, summarise
from continual_hackatari.reporting.page import Markup, Section
from continual_hackatari.reporting.rows import RESULTS, RunFolderError
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.statistics import SMALLEST_SAMPLE, mean_and_interval
from continual_hackatari.reporting.words import DASH, counted, name_of, number, shown

SEVERAL_GAMES = (
    "The tasks are of several games, whose points differ in size: means over them say little. `metrics.py --normalise` "
    "human or single_task makes them comparable."
)
MOST_REGIMES = 2000
MOST_SCALARS = 24
MOST_UNITS = 300
MOST_COLUMNS = 100


@dataclass(frozen=True)
class Report:
    """What the sections are made from, and the figures that they have drawn."""

    groups: list[Group]
    keys: Keys
    evaluations: dict[str, Evaluations]  # by run folder; runs without usable evals.csv are absent
    mode: Mode
    """Which evaluated games count: sampled or greedy actions."""
    evaluation_notes: list[str]
    files: dict[str, bytes] = field(default_factory=dict)
    """The figures for papers, by the names of their files."""

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    def evaluated(self, group: Group) -> list[Evaluations]:
        """The evaluations of a group's runs, as far as there are any."""
        found = (self.evaluations.get(str(run.folder)) for run in group.runs)
        return [evaluations for evaluations in found if evaluations is not None]


def gather(runs: Sequence[Run], against: Sequence[Run] = ()) -> Report:
    """Everything that the sections need.

    Raises:
        RunFolderError: two runs are the same one.
    """
    check_seeds(group_runs([*runs, *against]))
    sides = group_runs(runs), group_runs(against)
    groups = [Group(label, group.runs) for group, label in zip(sides[0] + sides[1], side_labels(*sides), strict=True)]
    both = [run for group in groups for run in group.runs]
    evaluations, mode, notes = read_evaluations(both)
    unlike = measured_unlike([run.args for run in both if str(run.folder) in evaluations])
    notes += [f"`{name}` is not the same in all runs: they were measured differently." for name in unlike]
    played = [regime.modification for run in both for regime in run.regimes]
    evaluated = [string for each in evaluations.values() for string in each.strings]
    return Report(groups, Keys(played + evaluated), evaluations, mode, notes)


def side_labels(groups: Sequence[Group], against: Sequence[Group]) -> list[str]:
    """The groups' labels, with the game where it is not one; those of `--against` say so where they read the same."""
    several = len({group.runs[0].env_id for group in (*groups, *against)}) > 1
    labels: list[str] = []
    for index, group in enumerate((*groups, *against)):
        game = game_of(group.runs[0].env_id)
        label = f"{group.label}, {game}" if several and game not in group.label else group.label
        labels.append(f"{label} (against)" if index >= len(groups) and label in labels else label)
    return labels


def read_evaluations(runs: Sequence[Run]) -> tuple[dict[str, Evaluations], Mode, list[str]]:
    """The evaluations by run folder, the mode (sampled unless there are only greedy games), and what is missing."""
    mode: Mode = "sampled" if any(is_sampled(run) for run in runs) else "greedy"
    found, notes = {}, []
    for run in runs:
        if not (run.folder / RESULTS).exists():
            command = f"`{run.evaluation_command}`"
            notes.append(f"{run.name} has no {RESULTS}; {command} makes it from the run's checkpoints.")
            continue
        try:
            evaluations = found[str(run.folder)] = run.evaluations(mode)
            notes += [f"{run.name}: {line}." for line in evaluations.notes]
        except RunFolderError as error:
            notes.append(f"{run.name} has no usable evaluations: {error}.")
    return found, mode, notes


def is_sampled(run: Run) -> bool:
    """Whether there is an evaluated game with sampled actions."""
    try:
        return any(row["deterministic"] == "0" for row in run.results)
    except RunFolderError:
        return False


def drawn_figure(name: str, draw: Callable[[Theme], figures.Figure]) -> tuple[dict[str, bytes], bytes, bytes]:
    """A figure for papers, as files by their names, and as SVG for light and for dark screens."""
    with figures.drawing(LIGHT):
        figure = draw(LIGHT)
        files = {f"{name}.{format_}": figures.render(figure, format_) for format_ in ("png", "pdf")}
        light = figures.render(figure, "svg")
    with figures.drawing(DARK):
        dark = figures.render(draw(DARK), "svg")
    return files, light, dark


def compose(report: Report) -> str:
    """The HTML document."""
    sections = [
        runs_section(report),
        returns_section(report),
        regimes_section(report),
        evaluation_section(report),
        switches_section(report),
        metrics_section(report),
        scalars_section(report, "plasticity", "Plasticity", ("plasticity/", "cbp/"), PLASTICITY_CAPTION),
        scalars_section(report, "losses", "Losses", ("losses/",), LOSSES_CAPTION),
        speed_section(report),
        configuration_section(report),
    ]
    games = ", ".join(dict.fromkeys(game for run in report.runs for game in games_of(run)))
    introduction = [
        page.paragraph(f"{counted(len(report.runs), 'run')} of {games}, in {counted(len(report.groups), 'group')}."),
        page.note(*unlike_games(report), *how_far_to_trust(report)),
    ]
    when = time.strftime("%Y-%m-%d %H:%M")
    return page.page("Continual learning report", introduction, sections, f"Written by report.py, {when}.")


def games_of(run: Run) -> list[str]:
    """The ids of the games that it played."""
    env_id = run.env_id or "an unknown game"
    return [id_in_game(env_id, game) for game in curves.games_in(run.regimes)]


def unlike_games(report: Report) -> list[str]:
    """What must not be compared where the runs have not one game."""
    if len({run.env_id for run in report.runs}) == 1:
        return []
    return [
        "The runs are of different games. A modification string, its letter and its colour mean the game of the group "
        "that they stand beside, and the table of strings counts them over all games: compare no scores between games. "
        "One report per game says more."
    ]


def how_far_to_trust(report: Report) -> list[str]:
    """What the number of seeds allows to conclude."""
    fewest = min(len(group.runs) for group in report.groups)
    lines = []
    if fewest == 1:
        lines.append(
            "One seed says what happened in one run. It is no evidence that a method is better or worse: "
            "runs of the same method differ from seed to seed."
        )
    elif fewest < SMALLEST_SAMPLE:
        lines.append(f"{fewest} seeds have no interval, and differences between them mean nothing.")
    elif fewest < 5:
        lines.append(
            f"{fewest} seeds per group or little more: intervals are rough, and small differences mean nothing."
        )
    return lines


def seeds_of(report: Report) -> str:
    """How many runs stand behind the lines, for the captions."""
    counts = ", ".join(f"{group.label}: {len(group.runs)}" for group in report.groups)
    if len(report.groups) == 1:
        counts = str(len(report.groups[0].runs))
    several = max(len(group.runs) for group in report.groups) > 1
    thin = " Thick lines: mean over seeds; thin lines: each seed." if several else ""
    return f"Seeds: {counts}.{thin} {interval_of(report)}"


def interval_of(report: Report) -> str:
    """What is shaded, for the captions."""
    if max(len(group.runs) for group in report.groups) < SMALLEST_SAMPLE:
        return "There is no interval: it takes three seeds."
    return "Shaded: 95 % bootstrap interval of the mean over seeds."


def draw(report: Report, name: str, draw_: Callable[[Theme], figures.Figure], alternative: str, caption: str) -> Markup:
    """One figure with its caption."""
    files, light, dark = drawn_figure(name, draw_)
    report.files.update(files)
    return page.figure(name, light, dark, alternative, caption)


# ------------------------------------------------------------------------------------------------------------- sections


def runs_section(report: Report) -> Section:
    """Which runs there are and how far they got."""
    rows = []
    for group in report.groups:
        for run in group.runs:
            whole = int(run.games.whole().sum())
            rate = curves.speed(run).steps_per_second
            state = "finished" if run.finished else page.highlighted("not finished")
            counts = (f"{run.last_step:,}", f"{len(run.regimes) - 1:,}", f"{whole:,}", f"{int(run.games.cut.sum()):,}")
            rows.append((group.label, run.seed, state, *counts, number(rate), run.name))
    header = ("group", "seed", "state", "steps", "switches", "whole games", "cut games", "steps/s", "folder")
    blocks = [page.table("One row per run", header, rows, numbers=range(3, 8))]
    for run in report.runs:
        if run.notes:
            blocks.append(page.note(f"{run.name}:", *run.notes))
        if run.args.get("notes"):
            blocks.append(page.details(f"Notes of {run.name}", page.paragraph(run.args["notes"])))
    return Section("runs", "Runs", blocks)


def returns_section(report: Report) -> Section:
    """Scores in training, with the regimes."""
    if not any(run.scored().any() for run in report.runs):
        cut = np.concatenate([run.games.cut for run in report.runs])
        why = "no game was played under one string from its beginning to its end"
        if cut.all():
            why = f"all {len(cut)} games were cut by a switch or by the end of the run"
        if not len(cut):
            why = "no game has ended yet"
        return Section("returns", "Returns", [page.note(f"There is no score: {why}.", *left_out(report))])
    caption = (
        "Score of every whole game, where it ended (dots), and the mean per stretch of training (lines, broken at "
        f"switches). Bands: regimes, with their letters (see the table below). {seeds_of(report)} Games that a switch "
        "cut are left out. Regimes differ in difficulty: a drop at a switch may mean a harder game, "
        "not forgetting."
    )
    blocks = [draw(report, "returns", lambda theme: figures.draw_returns(report.groups, report.keys, theme),
                   returns_in_words(report), caption)]  # fmt: skip
    if lines := left_out(report):
        blocks.append(page.note(*lines))
    schedules = curves.same_schedule(report.runs)
    games = curves.games_in([regime for runs in schedules for regime in curves.longest(runs).regimes])
    if len(games) > 1 and len(games) * len(schedules) > figures.MOST_PANELS:
        blocks.append(page.note("Every game has a panel of its own, and not all schedules are drawn."))
    elif len(schedules) > figures.MOST_PANELS:
        blocks.append(page.note(f"The first {figures.MOST_PANELS} of {len(schedules)} schedules are drawn."))
    return Section("returns", "Returns", blocks)


def left_out(report: Report) -> list[str]:
    """How many whole games of each run are of no one regime."""
    counts = {run.name: int((run.games.whole() & ~run.scored()).sum()) for run in report.runs}
    return [
        f"{name}: {counted(games, 'whole game')} went through a switch, under one string before it and another after "
        "it; such scores are of no regime and are left out."
        for name, games in counts.items()
        if games
    ]


def returns_in_words(report: Report) -> str:
    """The alternative text of the returns: first and last level of each group."""
    parts = []
    for group in report.groups:
        for game in dict.fromkeys(game for run in group.runs for game in curves.games_in(run.regimes)):
            edges = curves.bins_for_games(group.runs)
            binned = curves.returns(group.runs, edges, game)
            known = mean_and_interval(binned.values, curves.covered(group.runs, edges)).mean
            known = known[np.isfinite(known)]
            if len(known):
                first, last, most = (number(float(value)) for value in (known[0], known[-1], known.max()))
                where = f"{group.label}, {game}" if game else group.label
                parts.append(f"{where}: {first} at first, {last} at the end, at most {most}")
    return "Mean score of whole games over training steps. " + "; ".join(parts) + "."


def regimes_section(report: Report) -> Section:
    """The key of the letters, and what was played when."""
    keys, runs = report.keys, report.runs
    total = sum(max(run.last_step, 1) for run in runs)
    rows = []
    for modification in keys.modifications:
        own = [regime for run in runs for regime in run.regimes if regime.modification == modification]
        share = sum(regime.end - regime.begin for regime in own) / total
        trained = f"{len(own):,}" if own else "never trained on"
        rows.append((letter(keys, modification), name_of(modification), trained, f"{100 * share:.1f} %"))
    blocks = [
        page.table("Modification strings", ("key", "modification string", "regimes", "share of steps"), rows, (2, 3))
    ]
    for panel in curves.same_schedule(runs)[: figures.MOST_PANELS]:
        longest = curves.longest(panel)
        title = f"Regimes of {longest.name}" if len(panel) == 1 else f"Regimes of {len(panel)} runs"
        table = regime_table(title, panel, keys)
        blocks.append(table if len(longest.regimes) <= 12 else page.details(title, table))
    return Section("regimes", "Regimes", blocks)


def letter(keys: Keys, modification: str) -> Markup:
    return page.key(keys.letter(modification), keys.colour(modification))


def regime_table(title: str, runs: Sequence[Run], keys: Keys) -> Markup:
    """One row per regime: its steps, and its whole games in all runs together."""
    rows = []
    for index, (begin, end, modification) in enumerate(curves.longest(runs).regimes[:MOST_REGIMES]):
        scores = np.concatenate([
            run.games.score[run.scored() & (run.games.step > begin) & (run.games.step <= end)] for run in runs
        ])  # fmt: skip
        mean = number(float(scores.mean())) if len(scores) else DASH
        steps = (f"{begin:,}", f"{end:,}")
        rows.append((index, letter(keys, modification), name_of(modification), *steps, f"{len(scores):,}", mean))
    header = ("regime", "key", "modification string", "from step", "to step", "whole games", "mean score")
    return page.table(
        title + ("; games of all these runs together" if len(runs) > 1 else ""), header, rows, (0, 3, 4, 5, 6)
    )


def evaluation_section(report: Report) -> Section:
    """Heat map of the evaluations."""
    blocks = [page.note(*report.evaluation_notes)]
    maps: list[tuple[str, HeatMap]] = []
    for group in report.groups:
        members = report.evaluated(group)
        maps += [(title, found) for title, found in heat_map(group.label, members) if found.rows]
    if not maps:
        return Section("evaluation", "Evaluation", blocks)
    left_out = len(maps) - figures.MOST_PANELS
    if left_out > 0:
        blocks.append(page.note(f"Runs with schedules of their own have maps of their own; {left_out} are not drawn."))
    maps = maps[: figures.MOST_PANELS]
    caption = (
        f"Mean score of whole evaluated games ({report.mode} actions, the same starts each time) under every "
        "modification string (rows) at every evaluation (columns: in order, not to scale). A gap is a switch, with the "
        "agent just before and just after it on either side. A frame marks the string in training. Rows below the long "
        "line were held out: never trained on. Cells in which not every run was evaluated are empty. Means of few "
        f"games are noisy: compare patterns, not single cells. {seeds_of(report).split('.')[0]}."
    )
    if len(report.keys.games) > 1:
        caption += " Colours: from the lowest to the highest score of each game."
    alternative = "Evaluated scores, modification by time. " + "; ".join(map_in_words(*each) for each in maps) + "."
    drawn = draw(
        report, "evaluation", lambda theme: figures.draw_heat_maps(maps, report.keys, theme), alternative, caption
    )
    tables = [
        page.details(f"The numbers: {title}", map_table(title, found, report.keys))
        for title, found in maps
        if len(found.steps) <= MOST_COLUMNS
    ]
    long = [
        f"{title}: the numbers of its {len(found.steps):,} evaluations are not listed here, since they are more than "
        f"{MOST_COLUMNS}; evals.csv has them."
        for title, found in maps
        if len(found.steps) > MOST_COLUMNS
    ]
    return Section("evaluation", "Evaluation", [*blocks, drawn, *tables, *([page.note(*long)] if long else [])])


def map_in_words(title: str, heat: HeatMap) -> str:
    """First and last known score of each row."""
    words = []
    for row, values in zip(heat.rows[:12], heat.values, strict=False):
        known = values[np.isfinite(values)]
        if len(known):
            words.append(f"{name_of(row)} from {number(known[0])} to {number(known[-1])}")
    return f"{title}: " + ", ".join(words)


def map_table(title: str, heat: HeatMap, keys: Keys) -> Markup:
    """The heat map's numbers."""
    header = ["key", "modification string", *(f"{figures.short_steps(step)} (phase {phase})"
              for step, phase in zip(heat.steps, heat.phases, strict=True))]  # fmt: skip
    rows = [
        (letter(keys, row), name_of(row) + (" (held out)" if out else ""), *map(number, values))
        for row, out, values in zip(heat.rows, heat.held_out, heat.values.tolist(), strict=True)
    ]
    return page.table(f"{title}: mean evaluated score.", header, rows, range(2, len(header)))


def switches_section(report: Report) -> Section:
    """Curves aligned at switches."""
    title = "Around a switch"
    if all(len(run.regimes) == 1 for run in report.runs):
        return Section("switches", title, [page.note("There is no switch in these runs (yet).")])
    trained = [(group, found) for group in report.groups if (found := curves.around_switches(group.runs))]
    panels: list[tuple[str, Sequence[tuple[Group, Aligned]]]] = (
        [("whole games in training", trained)] if trained else []
    )
    for of, heading in (("old", "evaluated on the string just left"), ("new", "evaluated on the new string")):
        drawn = [(group, found) for group in report.groups if (found := around_switches(report.evaluated(group), of))]
        panels += [(heading, drawn)] if drawn else []
    if not panels:
        return Section("switches", title, [page.note("No whole game ended near a switch, and no evaluation is there.")])
    number_of = sum(len(run.regimes) - 1 for run in report.runs)
    caption = (
        f"All {number_of} switches laid over each other at step 0. Thin lines: single switches (letters: old and new "
        "string); thick lines: mean over the switches of a run, then over runs. Training: mean of the whole games that "
        "ended in each stretch, left of 0 under the old string, right of it under the new one. Evaluated: one string "
        "followed through a switch; what falls right of 0 on the string just left is forgetting. "
        f"{interval_of(report)} The mean is over unlike switches, and the switches of one run are not independent."
    )
    if len(report.keys.games) > 1:
        caption += " Games have points of different sizes, so only single lines can be read here, not the mean."
    alternative = "Scores before and after a switch. " + "; ".join(
        aligned_in_words(heading, group, found) for heading, drawn in panels for group, found in drawn
    )
    draw_panels = functools.partial(figures.draw_aligned, panels, report.groups, report.keys)
    drawn_ = draw(report, "switches", draw_panels, alternative + ".", caption)
    missing = [] if len(panels) == 3 else [page.note(*report.evaluation_notes)]
    return Section("switches", title, [drawn_, *missing])


def aligned_in_words(heading: str, group: Group, aligned: Aligned) -> str:
    """The levels next to the switch and at the ends of the window."""
    mean = mean_and_interval(curves.per_run(aligned)).mean
    before, after = mean[: aligned.split], mean[aligned.split :]
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if not len(before) or not len(after):
        return f"{heading}, {group.label}: known on one side only"
    return f"{heading}, {group.label}: {number(before[-1])} before, {number(after[0])} after, {number(after[-1])} later"


def metrics_of_group(report: Report, group: Group) -> list[dict[str, Metric]]:
    """The metrics of every evaluated run of a group, on raw scores."""
    settings = group.runs[0].args
    floors = [floors_of(group.runs[0].env_id, settings, each.strings) for each in report.evaluated(group)]
    return [run_metrics(each, floors=of_run) for each, of_run in zip(report.evaluated(group), floors, strict=True)]


def metrics_section(report: Report) -> Section:
    """Recovery, forgetting and transfer, with intervals."""
    title = "Continual metrics"
    groups = [group for group in report.groups if report.evaluated(group)]
    if not groups:
        return Section("metrics", title, [page.note(*report.evaluation_notes)])
    per_run = {group.label: metrics_of_group(report, group) for group in groups}
    rows = []
    for name in METRICS:
        cells = [summary_cell(summarise([each[name] for each in per_run[group.label]])) for group in groups]
        rows.append((name.replace("_", " "), METRICS[name].sign, *cells))
    header = ("metric", "how to read it", *(f"{group.label} (n = {len(per_run[group.label])})" for group in groups))
    blocks = [
        page.paragraph(
            f"Raw scores, {report.mode} games. Mean over runs; from three runs on with its 95 % bootstrap interval. "
            "Average performance has its interquartile mean (IQM) over runs and tasks too. A dash is an undefined "
            "value, with the reason. `metrics.py` normalises scores and compares with single-task runs."
        ),
        *([page.note(SEVERAL_GAMES)] if len(report.keys.games) > 1 else []),
        page.table("Continual metrics", header, rows),
        page.details(
            "Definitions",
            page.table(
                "Definitions: R[i, j] is the mean score under string i at the end of phase j.",
                ("metric", "definition", "source"),
                [(name.replace("_", " "), each.formula, each.source) for name, each in METRICS.items()],
            ),
        ),
    ]
    for heading, names in UNIT_TABLES.items():
        table = unit_table(heading, names, per_run)
        if table:
            blocks.append(table)
    return Section("metrics", title, [*blocks, page.note(*report.evaluation_notes)])


UNIT_TABLES = {
    "Recovery, switch by switch": ("switch_drop", "recovery_steps", "recovered_share"),
    "Forgetting and backward transfer, visit by visit": ("forgetting_maximal", "backward_transfer"),
    "Forgetting, phase by phase": ("forgetting_isolated",),
    "Zero-shot transfer, phase by phase": ("zero_shot_transfer",),
    "Held-out strings": ("generalisation_gap",),
}


def interval_text(values: Sequence[float]) -> str:
    """Mean of what is not NaN and, from three runs on, its 95 % bootstrap interval."""
    known = np.array([value for value in values if np.isfinite(value)])
    mean, low, high = (float(each[0]) for each in mean_and_interval(known[:, None]))
    return number(mean) + (f" [{number(low)}, {number(high)}]" if np.isfinite(low) else "")


def summary_cell(summary: Summary) -> Markup:
    """A group's metric: mean with interval, of scores the interquartile mean, and below it what is undefined."""
    interval = f" [{number(summary.low)}, {number(summary.high)}]" if np.isfinite(summary.low) else ""
    iqm = f"; IQM {number(summary.iqm)}" if np.isfinite(summary.iqm) else ""
    return page.with_reason(number(summary.mean) + interval + iqm, summary.reason)


def unit_table(caption: str, names: Sequence[str], per_run: dict[str, list[dict[str, Metric]]]) -> Markup | None:
    """One row per unit (switch, visit, pair), one column per metric and group; None where there is no unit."""
    units = dict.fromkeys(unit for found in per_run.values() for each in found for unit in each[names[0]].units)
    if not units:
        return None
    header = [
        "",
        *(f"{name.replace('_', ' ')}{f', {label}' if len(per_run) > 1 else ''}" for label in per_run for name in names),
    ]
    rows = []
    for unit in list(units)[:MOST_UNITS]:
        row: list[object] = [unit]
        for found in per_run.values():
            for name in names:
                values = [each[name].units.get(unit, float("nan")) for each in found]
                reasons = dict.fromkeys(r for each in found if (r := each[name].reasons.get(unit)))
                row.append(page.with_reason(interval_text(values), "; ".join(reasons)))
        rows.append(row)
    more = f"; the first {MOST_UNITS} of {len(units)}, `metrics.py` writes all" if len(units) > MOST_UNITS else ""
    return page.table(f"{caption} (mean over runs; from three on with its 95 % interval{more})", header, rows)


PLASTICITY_CAPTION = (
    "Whether the network still uses its units, measured on a fixed batch of observations (dormant: share of units with "
    "almost no output; ranks: how many directions the features span; churn: share of states whose best action "
    "changed), and what continual backpropagation replaced. A trend here is no proof that learning got slower: compare "
    "with the returns."
)
LOSSES_CAPTION = (
    "Losses and diagnostics of the updates. They are measured on the agent's own data, which changes with the agent "
    "and the regime: a higher loss after a switch is expected, and losses of different methods do not rank them."
)


def scalars_section(report: Report, anchor: str, title: str, prefixes: Sequence[str], caption: str) -> Section:
    """Small multiples of logged numbers."""
    logged = dict.fromkeys(name for run in report.runs for name in run.scalars)
    names = [name for prefix in prefixes for name in logged if name.startswith(prefix)]
    if not names:
        hint = "`--plasticity_every` turns them on." if anchor == "plasticity" else "they are in the TensorBoard files."
        return Section(anchor, title, [page.note(f"No run has logged {' or '.join(prefixes)} numbers; {hint}")])
    drawn, others = names[:MOST_SCALARS], names[MOST_SCALARS:]
    words = "; ".join(scalar_in_words(report, name) for name in drawn[:9])
    figure = draw(
        report,
        anchor,
        lambda theme: figures.draw_scalars(report.groups, drawn, report.keys, theme),
        f"{title} over training steps. {words}.",
        f"{caption} Each point is the mean over a stretch of updates; bands are the regimes. {seeds_of(report)}",
    )
    more = [page.note(f"Not drawn, but in TensorBoard: {', '.join(others)}.")] if others else []
    return Section(anchor, title, [figure, *more])


def scalar_in_words(report: Report, name: str) -> str:
    """First and last value in the first group's first run that has it."""
    values = next(run.scalars[name][1] for run in report.runs if name in run.scalars)
    return f"{name} from {number(float(values[0]))} to {number(float(values[-1]))}"


def speed_section(report: Report) -> Section:
    """Steps per second and where the time goes."""
    timed = [
        Group(g.label, members) for g in report.groups if (members := [r for r in g.runs if curves.speed(r).phases])
    ]
    if not timed:
        return Section(
            "speed", "Speed", [page.note("No run has logged time/ numbers; they are in the TensorBoard files.")]
        )
    caption = (
        "Seconds per rollout and update by phase, mean over the run, and steps per second since the run's start. Runs "
        "that shared a machine, or ran on different ones, cannot be compared."
    )
    words = "; ".join(
        f"{group.label}, seed {run.seed}: {number(curves.speed(run).steps_per_second)} steps per second"
        for group in timed
        for run in group.runs
    )
    drawn = draw(report, "speed", lambda theme: figures.draw_speed(timed, theme), f"Time per phase. {words}.", caption)
    return Section("speed", "Speed", [drawn])


def configuration_section(report: Report) -> Section:
    """All settings; those that differ between runs first and marked."""
    runs = [run for run in report.runs if run.args]
    if not runs:
        return Section("configuration", "Configuration", [page.note("No run has an args.json.")])
    differing = differences([run.args for run in runs])
    same = [key for key in dict.fromkeys(key for run in runs for key in run.args) if key not in differing]
    blocks = []
    if len(runs) > 1:
        header = (
            "setting",
            *(f"{group.label}, seed {run.seed}" for group in report.groups for run in group.runs if run.args),
        )
        rows = [
            (
                page.highlighted(key),
                *(page.highlighted(shown(run.args[key])) if key in run.args else DASH for run in runs),
            )
            for key in differing
        ]
        blocks.append(page.table("Settings that differ between the runs", header, rows) if rows
                      else page.paragraph("All settings are the same."))  # fmt: skip
    settings = page.table(
        "Settings of all runs." if len(runs) > 1 else "Settings.",
        ("setting", "value"),
        [(key, shown(runs[0].args[key])) for key in same],
        tall=100,
    )
    blocks.append(
        page.details(f"The {len(same)} settings that all runs share", settings) if len(runs) > 1 else settings
    )
    mixed = [(group.label, mixed_versions([run.args for run in group.runs])) for group in report.groups]
    if len(report.groups) > 1:
        mixed.append(("All groups", mixed_versions([run.args for run in runs])))
    notes = [f"{label}: {sentence}." for label, sentence in mixed if sentence]
    return Section("configuration", "Configuration", [page.note(*notes), *blocks] if notes else blocks)
