"""The tables of a sequence's results, in Markdown: a row for each group of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.suites.labels import PLAIN, short
from benchmarks.suites.results import Results, by_task_alone, ends, last_quarter, part_of, strengths_of
from continual_hackatari.reporting.evaluations import Mode
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.statistics import students_interval
from continual_hackatari.reporting.tables import format_table
from continual_hackatari.reporting.words import DASH, counted, name_of, number

SAME_RETURNS = " Of Progress & Compress the active column plays in training, so both its lines are the same."
TRAINED = "Scores in training, as the game counts them: mean of the whole games of the last quarter of each regime"
LOST = (
    "Points that a regime of another string has cost each string, on average (`forgetting_isolated`; below 0: gained; "
    "a dash: never learned, nothing came after it, or no score of a random player is known):"
)


def suite_table(results: Results) -> str:
    """One row per list of methods."""
    header = ["methods", "seeds", "at the end", "IQM", "minus none", "forgotten", "isolated", "recovered", "transfer"]
    rows = [[*header, "learned", "slope"]]
    for label, result, transfer in zip(results.labels, results.above, results.transfer, strict=True):
        of = result.summaries
        end = of["average_performance"]
        interval = "" if math.isnan(end.low) else f" [{number(end.low)}, {number(end.high)}]"
        steps = of["recovery_steps"].mean
        took = "" if math.isnan(steps) else f"{steps:,.0f}"
        switches = part_of([metrics["recovered_share"] for metrics in result.metrics], "switches")
        in_brackets = "; ".join(filter(None, [took, switches]))
        cells = [", ".join(run.seed for run in result.group.runs), number(end.mean) + interval, number(end.iqm)]
        cells += [
            minus_plain(results, label),
            *(number(of[f"forgetting_{kind}"].mean) for kind in ("maximal", "isolated")),
        ]
        recovered = number(of["recovered_share"].mean) + (f" ({in_brackets})" if in_brackets else "")
        cells += [recovered, transfer, number(of["learned_share"].mean)]
        rows.append([f"`{label}`", *cells, number(of["plasticity_slope"].mean)])
    if results.one:
        rows.append([results.one.label, "", number(results.one.end), *[""] * (len(rows[0]) - 3)])
    return format_table(rows, "markdown")


def minus_plain(results: Results, label: str) -> str:
    """The difference to the runs without methods with the same seeds."""
    of = {other: ends(result) for other, result in zip(results.labels, results.above, strict=True)}
    if label == PLAIN or PLAIN not in of:
        return ""
    differences_ = [score - of[PLAIN][seed] for seed, score in of[label].items() if seed in of[PLAIN]]
    if not differences_:
        return DASH
    mean, half = students_interval(differences_)
    pairs = counted(len(differences_), "pair")
    return f"{number(mean)} ({pairs})" if math.isnan(half) else f"{number(mean)} ± {number(half)} ({pairs})"


def string_table(results: Results, mode: Mode) -> str:
    """Raw scores under every string after the last regime."""
    found = results.above[0].evaluations[0]
    besides = [each for each in found.strings if each not in found.tasks + found.held_out]
    kinds = [(found.tasks, ""), (found.held_out, " (held out)"), (besides, " (not trained on)")]
    strings = [string for of_kind, _ in kinds for string in of_kind]
    rows = [["methods", *(f"`{name_of(string)}`{note}" for of_kind, note in kinds for string in of_kind)]]
    for label, result in zip(results.labels, results.above, strict=True):
        cells = []
        for string in strings:
            evaluations = [run.evaluations(mode) for run in result.group.runs]
            scores = [each.score(string, each.num_phases - 1).value for each in evaluations]
            cells.append(number(sum(scores) / len(scores)))
        rows.append([f"`{label}`", *cells])
    if one := results.one:
        rows.append([one.label, *(number(one.scores[each]) if each in one.scores else DASH for each in strings)])
    return format_table(rows, "markdown")


def trained_table(results: Results) -> str:
    """Raw scores in training, of whole games of the last quarter of each regime: mean over these, and over seeds.

    With a sentence above it that says of how many games.
    """
    regimes = range(len(results.runs[0].regimes))
    rows, games = [["methods", *(f"`{name_of(regime.modification)}`" for regime in results.runs[0].regimes)]], []
    for group in results.groups:
        found = [[last_quarter(run, regime, results.returns[run.folder]) for run in group.runs] for regime in regimes]
        games += [number_of_games for of_regime in found for _, number_of_games in of_regime]
        rows.append([f"`{group.label}`", *(number(sum(m for m, _ in each) / len(each)) for each in found)])
    how_many = str(min(games)) if min(games) == max(games) else f"{min(games)} to {max(games)}"
    twice = any("player" in run.args for run in results.runs)
    return f"{TRAINED}, {how_many} of each run.{SAME_RETURNS * twice}\n\n{format_table(rows, 'markdown')}"


def lost_table(results: Results) -> str:
    """Points that a phase of another task has cost each string, above the random player's: mean over phases and seeds.

    A dash where a string was never learned.
    """
    tasks = results.points[0].evaluations[0].tasks
    rows = [["methods", *(f"`{name_of(task)}`" for task in tasks)]]
    for label, result in zip(results.labels, results.points, strict=True):
        units = [unit for of_run in result.metrics for unit in of_run["forgetting_isolated"].units.items()]
        cells = []
        for task in tasks:
            of_task = [lost for name, lost in units if name.startswith(f"{name_of(task)}, phase ")]
            defined = [lost for lost in of_task if not math.isnan(lost)]
            cells.append(number(round(sum(defined) / len(defined), 9) + 0.0) if defined else DASH)  # 0, not -1e-16
        rows.append([f"`{label}`", *cells])
    return format_table(rows, "markdown")


def alone_table(runs: Sequence[Run], config: Mapping[str, Any]) -> str:
    """Raw scores of the runs on one task alone, before and after training."""
    rows = [["only", "steps", "seeds", "before", "at the end"]]
    for (name, steps), own in by_task_alone(runs, config).items():
        task = own[0].regimes[0].modification
        scores = [[run.evaluations().score(task, phase).value for run in own] for phase in (-1, 0)]
        cells = [f"{steps:,}", ", ".join(run.seed for run in own), *(number(sum(s) / len(s)) for s in scores)]
        rows.append([name, *cells])
    return format_table(rows, "markdown")


def strength_table(results: Results) -> str:
    """One row per value of each method."""
    rows = [["methods", "setting", "seeds", "at the end", "minus none", "chosen"]]
    for label, result, strength in zip(results.labels, results.above, strengths_of(results), strict=True):
        setting = ", ".join(f"`{key}` {short(value)}" for key, value in strength.varied.items())
        seeds = ", ".join(run.seed for run in result.group.runs)
        end = number(result.summaries["average_performance"].mean)
        cells = [setting, seeds, end, minus_plain(results, label), "yes" * strength.chosen]
        rows.append([f"`{strength.methods or PLAIN}`", *cells])
    return format_table(rows, "markdown")
