"""A report of one run or many, as one HTML file that opens without a network, and its figures for papers.

    python report.py runs/A
    python report.py runs/A runs/B -o report.html --against runs/C runs/D

Runs that differ in nothing but their seed are repetitions: they share curves, tables and intervals. A run that was
interrupted, or still goes on, is shown as far as it got; the report says what is missing and what makes it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tyro

from continual_hackatari import metrics
from continual_hackatari.reporting import curves, figures, page
from continual_hackatari.reporting.curves import Aligned, HeatMap
from continual_hackatari.reporting.evaluations import around_switches, heat_map
from continual_hackatari.reporting.figures import DARK, LIGHT, Keys, Theme, name_of
from continual_hackatari.reporting.page import Markup, Section
from continual_hackatari.reporting.runs import (
    DASH,
    Group,
    ReportError,
    Run,
    check_run_folder,
    differences,
    group_runs,
    load_run,
    number,
    shown,
)
from continual_hackatari.reporting.versions import mixed_versions
from continual_hackatari.training.asked import asked_for
from continual_hackatari.training.config import ConfigError, parse_command_line
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.same_experiment import experiment_settings

USER_ERRORS = (ConfigError, ReportError)
MOST_REGIMES = 2000
MOST_SCALARS = 24
MOST_UNITS = 300
MOST_COLUMNS = 100


@dataclass
class Args:
    runs: tyro.conf.Positional[list[str]]
    """run folders; those that differ in the seed alone form a group"""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "report.html"
    """the HTML file; the figures go into a folder beside it, <name>_figures"""
    against: list[str] = field(default_factory=list)
    """run folders to lay beside them"""


@dataclass(frozen=True)
class Report:
    """What the sections are made from."""

    groups: list[Group]
    keys: Keys
    evaluations: dict[str, metrics.Evaluations]  # by run folder; runs without usable evals.csv are absent
    mode: str
    """Which evaluated games count: sampled or greedy actions."""
    evaluation_notes: list[str]
    save: Callable[[str, Callable[[Theme], figures.Figure]], tuple[bytes, bytes]]
    """Writes a figure for papers and returns it as SVG, light and dark."""

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    def evaluated(self, group: Group) -> list[metrics.Evaluations]:
        """The evaluations of a group's runs, as far as there are any."""
        found = (self.evaluations.get(str(run.folder)) for run in group.runs)
        return [evaluations for evaluations in found if evaluations is not None]


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything a user can get wrong, then write the report."""
    try:
        args = parse_command_line(Args, argv, description=__doc__)
        folders, against, output = check(args)
        write_report(folders, against, output)
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


# ------------------------------------------------------------------------------------------------------------ checking


def check(args: Args) -> tuple[list[Path], list[Path], Path]:
    """The folders and the output, before any work.

    Raises:
        ReportError: no run, not a run folder, one run twice, or an output that cannot be written.
    """
    if not args.runs:
        raise ReportError("`runs` is empty; name at least one run folder, as in `python report.py runs/<folder>`")
    folders = [check_run_folder(path) for path in args.runs]
    against = [check_run_folder(path) for path in args.against]
    seen: set[Path] = set()
    for folder in (*folders, *against):
        if folder.resolve() in seen:
            raise ReportError(f"`runs` names `{folder}` twice; a run is one sample, name it once")
        seen.add(folder.resolve())
    return folders, against, check_output(args.output)


def check_output(name: str) -> Path:
    """The path of the HTML file, which can be written."""
    output = Path(name)
    if output.suffix.lower() not in (".html", ".htm"):
        raise ReportError(
            f"`output` is `{name}`; it must end in .html, as in `{output.with_suffix('').name or 'report'}.html`"
        )
    if output.is_dir():
        raise ReportError(
            f"`output` is `{name}`, which is a folder; name a file in it, such as `{output / 'report.html'}`"
        )
    for place in (output.parent, figures_folder(output)):
        existing = next(parent for parent in (place, *place.parents) if parent.exists())
        if not existing.is_dir():
            raise ReportError(f"`output` is `{name}`, but `{existing}` is no folder; choose another place")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise ReportError(f"`output` is `{name}`, but `{existing}` cannot be written; choose another place")
    return output


def figures_folder(output: Path) -> Path:
    """Where the figures of a report go."""
    return output.with_name(f"{output.stem}_figures")


# ----------------------------------------------------------------------------------------------------------- the report


def write_report(folders: Sequence[Path], against: Sequence[Path], output: Path) -> None:
    """Read the runs, draw the figures, write everything."""
    started = time.perf_counter()
    report = gather(folders, against, figures_folder(output))
    document = compose(report)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as temporary:
        temporary.write_text(document, encoding="utf-8")
    size, seconds = output.stat().st_size / 1e6, time.perf_counter() - started
    print(f"report:  {output} ({size:.1f} MB, {seconds:.1f} s)")
    print(f"figures: {figures_folder(output)} (PNG and PDF)")


def gather(folders: Sequence[Path], against: Sequence[Path], figures_at: Path) -> Report:
    """Everything that the sections need."""
    sides = [group_runs([load_run(folder) for folder in side], experiment_settings) for side in (folders, against)]
    groups = [Group(label, group.runs) for group, label in zip(sides[0] + sides[1], side_labels(*sides), strict=True)]
    runs = [run for group in groups for run in group.runs]
    evaluations, mode, notes = read_evaluations(runs)
    played = [regime.modification for run in runs for regime in run.regimes]
    evaluated = [string for each in evaluations.values() for string in each.strings]
    return Report(
        groups, Keys(played + evaluated), evaluations, mode, notes, lambda name, draw: save(figures_at, name, draw)
    )


def side_labels(groups: Sequence[Group], against: Sequence[Group]) -> list[str]:
    """The groups' labels; those of `--against` say so where both sides would read the same."""
    labels = [group.label for group in groups]
    for group in against:
        labels.append(f"{group.label} (against)" if group.label in labels else group.label)
    return labels


def read_evaluations(runs: Sequence[Run]) -> tuple[dict[str, metrics.Evaluations], str, list[str]]:
    """The evaluations by run folder, the mode (sampled unless there are only greedy games), and what is missing."""
    rows: dict[str, pd.DataFrame] = {}
    notes = []
    for run in runs:
        command = f"`python eval.py --run {run.folder}`"
        if not (run.folder / "evals.csv").exists():
            notes.append(f"{run.name} has no evals.csv; {command} makes it from the run's checkpoints.")
            continue
        left_out: list[str] = []
        try:
            rows[str(run.folder)] = metrics.read_evaluations(run.folder, left_out.append)
            notes += [f"{run.name}: {line}." for line in left_out]
        except metrics.MetricsError as error:
            notes.append(f"{run.name} has no usable evaluations: {error}.")
    mode = "sampled" if any((each["deterministic"] == 0).any() for each in rows.values()) else "greedy"
    found = {}
    settings = {str(run.folder): run.args for run in runs}
    for folder, each in rows.items():
        try:
            asked = asked_for(Path(folder), settings[folder])
            found[folder] = metrics.Evaluations.of(each, mode, asked)  # type: ignore[arg-type]
            if left := metrics.what_is_left(found[folder], Path(folder)):
                notes.append(f"{Path(folder).name}: {found[folder].notes[-1]}; {left[0]}.")
        except metrics.MetricsError as error:
            notes.append(f"The evals.csv of {Path(folder).name} cannot be used: {error}.")
    return found, mode, notes


def save(folder: Path, name: str, draw: Callable[[Theme], figures.Figure]) -> tuple[bytes, bytes]:
    """Write `<name>.png` and `<name>.pdf`, and return the figure as SVG for light and for dark screens."""
    folder.mkdir(parents=True, exist_ok=True)
    with figures.drawing(LIGHT):
        figure = draw(LIGHT)
        for format_ in ("png", "pdf"):
            with atomic_path(folder / f"{name}.{format_}") as temporary:
                temporary.write_bytes(figures.render(figure, format_))
        light = figures.render(figure, "svg")
    with figures.drawing(DARK):
        dark = figures.render(draw(DARK), "svg")
    return light, dark


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
    games = ", ".join(dict.fromkeys(str(run.args.get("env_id", "an unknown game")) for run in report.runs))
    counted = f"{len(report.runs)} run{'s' if len(report.runs) > 1 else ''}"
    introduction = [
        page.paragraph(f"{counted} of {games}, in {len(report.groups)} group{'s' if len(report.groups) > 1 else ''}."),
        page.note(*how_far_to_trust(report)),
    ]
    when = time.strftime("%Y-%m-%d %H:%M")
    return page.page("Continual learning report", introduction, sections, f"Written by report.py, {when}.")


def how_far_to_trust(report: Report) -> list[str]:
    """What the number of seeds allows to conclude."""
    fewest = min(len(group.runs) for group in report.groups)
    lines = []
    if fewest == 1:
        lines.append(
            "One seed says what happened in one run. It is no evidence that a method is better or worse: "
            "runs of the same method differ from seed to seed."
        )
    elif fewest < 5:
        lines.append(
            f"{fewest} seeds per group or little more: intervals are rough, and small differences mean nothing."
        )
    for group in report.groups:
        seeds = [run.seed for run in group.runs]
        if len(set(seeds)) < len(seeds):
            lines.append(f"{group.label} holds a seed twice ({', '.join(seeds)}): its interval is too narrow.")
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
    if max(len(group.runs) for group in report.groups) < curves.SMALLEST_SAMPLE:
        return "There is no interval: it takes three seeds."
    return "Shaded: 95 % bootstrap interval of the mean over seeds."


def draw(report: Report, name: str, draw_: Callable[[Theme], figures.Figure], alternative: str, caption: str) -> Markup:
    """One figure with its caption."""
    light, dark = report.save(name, draw_)
    return page.figure(name, light, dark, alternative, caption)


# ------------------------------------------------------------------------------------------------------------- sections


def runs_section(report: Report) -> Section:
    """Which runs there are and how far they got."""
    rows = []
    for group in report.groups:
        for run in group.runs:
            whole = int((~run.games.cut).sum())
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
            blocks.append(page.details(f"Notes of {run.name}", Markup(f"<p>{page.plain(run.args['notes'])}</p>")))
    return Section("runs", "Runs", blocks)


def returns_section(report: Report) -> Section:
    """Scores in training, with the regimes."""
    whole = sum(int((~run.games.cut).sum()) for run in report.runs)
    if not whole:
        cut = sum(int(run.games.cut.sum()) for run in report.runs)
        why = f"all {cut} games were cut by a switch or by the end of the run" if cut else "no game has ended yet"
        return Section("returns", "Returns", [page.note(f"There is no score: {why}.")])
    caption = (
        "Score of every whole game, where it ended (dots), and the mean per stretch of training (lines, broken at "
        f"switches). Bands: regimes, with their letters (see the table below). {seeds_of(report)} Games that a switch "
        "cut are left out. Regimes differ in difficulty: a drop at a switch may mean a harder game, "
        "not forgetting."
    )
    blocks = [draw(report, "returns", lambda theme: figures.draw_returns(report.groups, report.keys, theme),
                   returns_in_words(report), caption)]  # fmt: skip
    schedules = curves.same_schedule(report.runs)
    if len(schedules) > figures.MOST_PANELS:
        blocks.append(page.note(f"The first {figures.MOST_PANELS} of {len(schedules)} schedules are drawn."))
    return Section("returns", "Returns", blocks)


def returns_in_words(report: Report) -> str:
    """The alternative text of the returns: first and last level of each group."""
    parts = []
    for group in report.groups:
        binned = curves.returns(group.runs, curves.bins_for_games(group.runs))
        known = curves.mean_and_interval(binned.values).mean
        known = known[np.isfinite(known)]
        if len(known):
            first, last, most = (number(float(value)) for value in (known[0], known[-1], known.max()))
            parts.append(f"{group.label}: {first} at first, {last} at the end, at most {most}")
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
            run.games.score[~run.games.cut & (run.games.step > begin) & (run.games.step <= end)] for run in runs
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
        "line were held out: never trained on. Cells that not every run has reached are empty. Means of few games are "
        f"noisy: compare patterns, not single cells. {seeds_of(report).split('.')[0]}."
    )
    alternative = "Evaluated scores, modification by time. " + "; ".join(map_in_words(*each) for each in maps) + "."
    drawn = draw(
        report, "evaluation", lambda theme: figures.draw_heat_maps(maps, report.keys, theme), alternative, caption
    )
    tables = [
        page.details(f"The numbers: {title}", map_table(title, found, report.keys))
        for title, found in maps
        if len(found.steps) <= MOST_COLUMNS
    ]
    return Section("evaluation", "Evaluation", [*blocks, drawn, *tables])


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
    alternative = "Scores before and after a switch. " + "; ".join(
        aligned_in_words(heading, group, found) for heading, drawn in panels for group, found in drawn
    )
    drawn_ = draw(
        report, "switches", lambda theme: figures.draw_aligned(panels, report.keys, theme), alternative + ".", caption
    )
    missing = [] if len(panels) == 3 else [page.note(*report.evaluation_notes)]
    return Section("switches", title, [drawn_, *missing])


def aligned_in_words(heading: str, group: Group, aligned: Aligned) -> str:
    """The levels next to the switch and at the ends of the window."""
    mean = curves.mean_and_interval(curves.per_run(aligned, len(group.runs))).mean
    before, after = mean[: aligned.split], mean[aligned.split :]
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if not len(before) or not len(after):
        return f"{heading}, {group.label}: known on one side only"
    return f"{heading}, {group.label}: {number(before[-1])} before, {number(after[0])} after, {number(after[-1])} later"


def metrics_section(report: Report) -> Section:
    """Recovery, forgetting and transfer, with intervals."""
    title = "Continual metrics"
    groups = [group for group in report.groups if report.evaluated(group)]
    if not groups:
        return Section("metrics", title, [page.note(*report.evaluation_notes)])
    per_run = {group.label: [metrics.run_metrics(each) for each in report.evaluated(group)] for group in groups}
    rows = []
    for name in metrics.METRICS:
        cells = [summary_cell(metrics.summarise([each[name] for each in per_run[group.label]])) for group in groups]
        rows.append((name.replace("_", " "), metrics.METRICS[name].sign, *cells))
    header = ("metric", "how to read it", *(f"{group.label} (n = {len(per_run[group.label])})" for group in groups))
    blocks = [
        page.paragraph(
            f"Raw scores, {report.mode} games. First number: mean over runs. With several runs also the interquartile "
            "mean over runs and units with its 95 % stratified bootstrap interval. A dash is an undefined value, with "
            "the reason. `metrics.py` normalises scores and compares with single-task runs."
        ),
        page.table("Continual metrics", header, rows),
        page.details(
            "Definitions",
            page.table(
                "Definitions: R[i, j] is the mean score under string i at the end of phase j.",
                ("metric", "definition", "source"),
                [(name.replace("_", " "), each.formula, each.source) for name, each in metrics.METRICS.items()],
            ),
        ),
    ]
    for heading, names in UNIT_TABLES.items():
        table = unit_table(heading, names, per_run)
        if table:
            blocks.append(table)
    notes = [f"{run.name}: {line}." for run in report.runs if (found := report.evaluations.get(str(run.folder)))
             for line in found.notes]  # fmt: skip
    return Section("metrics", title, [*blocks, page.note(*notes)])


UNIT_TABLES = {
    "Recovery, switch by switch": ("switch_drop", "recovery_steps", "recovered_share"),
    "Forgetting and backward transfer, visit by visit": ("forgetting_maximal", "backward_transfer"),
    "Forgetting, phase by phase": ("forgetting_isolated",),
    "Zero-shot transfer, phase by phase": ("zero_shot_transfer",),
    "Held-out strings": ("generalisation_gap",),
}


def interval_text(values: Sequence[float]) -> str:
    """Mean and, from three runs on, its 95 % bootstrap interval."""
    mean, low, high = (float(each[0]) for each in curves.mean_and_interval(np.array(values, dtype=float)[:, None]))
    return number(mean) + (f" [{number(low)}, {number(high)}]" if np.isfinite(low) else "")


def summary_cell(summary: metrics.Summary) -> Markup:
    """A group's metric: mean, interquartile mean with interval, and below it what is undefined or left out."""
    interval = f"; {number(summary.iqm)} [{number(summary.low)}, {number(summary.high)}]"
    value = number(summary.mean) + (interval if np.isfinite(summary.low) else "")
    return page.with_reason(value, summary.reason)


def unit_table(
    caption: str, names: Sequence[str], per_run: dict[str, list[dict[str, metrics.Metric]]]
) -> Markup | None:
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
    notes = [f"{label}: {sentence}." for label, sentence in mixed if sentence]
    return Section("configuration", "Configuration", [page.note(*notes), *blocks] if notes else blocks)


if __name__ == "__main__":
    main()
