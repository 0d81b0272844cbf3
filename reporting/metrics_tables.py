"""The metrics of groups of runs, as metrics.py prints and writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import pandas as pd

from continual_hackatari.names import parse
from continual_hackatari.reporting.cora_tables import WINDOW, Matrix, cora_tables, window_note
from continual_hackatari.reporting.evaluations import Evaluations, Mode
from continual_hackatari.reporting.floor import floors_of
from continual_hackatari.reporting.groups import (
    Group,
    check_seeds,
    experiment_settings,
    group_runs,
    measured_unlike,
    mixed_versions,
)
from continual_hackatari.reporting.metrics import (
    METRICS,
    OF_SCORES,
    RECOVERY,
    Metric,
    Normalisation,
    Summary,
    metrics_of,
    summarise,
)
from continual_hackatari.reporting.rows import ARGS, RunFolderError
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.statistics import Resample, without_nan
from continual_hackatari.reporting.tables import format_table
from continual_hackatari.reporting.words import counted

Style = Literal["text", "markdown", "latex"]
OF_SEQUENCE = frozenset(
    {
        *("exp_name", "env_id", "modifs", "modification_factory", "modification_factory_kwargs"),
        *("modification_digest", "total_timesteps"),
    }
)
"""Settings in which runs on one task each may differ and still be one reference: what is played, and for how long."""


class Settings(NamedTuple):
    """How metrics are computed; each is described where the command line has it."""

    mode: Mode = "sampled"
    normalise: Normalisation = "raw"
    recovery: float = RECOVERY
    resample: Resample = "runs"
    tables: Literal["own", "cora"] = "own"
    rolling: int = WINDOW
    agent: str = ""


@dataclass(frozen=True)
class GroupResult:
    """The metrics of every run of a group, in the order of `group.runs`, and over the group."""

    group: Group
    evaluations: list[Evaluations]
    metrics: list[dict[str, Metric]]
    summaries: dict[str, Summary]
    cora: list[Matrix] | str | None = None
    """CORA's tables and ours of the same form, or why there are none; None: not asked for"""


def evaluate_groups(
    runs: Sequence[Run], single_task: Sequence[Run] = (), settings: Settings | None = None
) -> list[GroupResult]:
    """The metrics of all runs, by groups.

    Raises:
        RunFolderError: a run that cannot be used, or a single-task run of another game or of several tasks.
    """
    settings = settings or Settings()
    mode, normalise, recovery, resample = settings[:4]
    for run in (*runs, *single_task):
        if run.args_problem:
            raise RunFolderError(f"{run.folder / ARGS} cannot be read: {run.args_problem}")
    check_one_reference(single_task)
    groups = group_runs(runs)
    members = [[run.evaluations(mode, settings.agent) for run in group.runs] for group in groups]
    check_seeds(groups)
    if settings.agent and not any(row.get("agent") for run in runs for row in run.results):
        raise RunFolderError(f"`agent` is {settings.agent}, but the agents of these runs are one player; leave it out")
    baselines = [baseline.evaluations(mode, settings.agent) for baseline in single_task]
    for run in runs:
        check_single_task(run, single_task, baselines)
    results = []
    for group, of_group in zip(groups, members, strict=True):
        metrics = [
            metrics_of(each, run.env_id, baselines, normalise, recovery, floors_of(run.env_id, run.args, each.strings))
            for run, each in zip(group.runs, of_group, strict=True)
        ]
        summaries = {name: summarise([of_run[name] for of_run in metrics], resample) for name in METRICS}
        cora = cora_tables(of_group, metrics, normalise, settings.rolling) if settings.tables == "cora" else None
        results.append(GroupResult(group, of_group, metrics, summaries, cora))
    return results


def check_one_reference(single_task: Sequence[Run]) -> None:
    """Raise RunFolderError if single-task runs differ in more than seed and sequence: a mean over them means nothing.

    A setting that some of them do not record, as earlier versions do not record what came later, is no difference.
    """
    settings = [experiment_settings(run.args) for run in single_task]
    for name in dict.fromkeys(name for each in settings for name in each if name not in OF_SEQUENCE):
        values = [(run, each[name]) for run, each in zip(single_task, settings, strict=True) if name in each]
        first, value = values[0]
        for run, other in values[1:]:
            if other != value:
                raise RunFolderError(
                    f"the single-task runs differ in `{name}`: {json.dumps(value)} of `{first.folder}`, "
                    f"{json.dumps(other)} of `{run.folder}`; give those of one setting, which are then the reference "
                    "of all groups"
                )


def check_single_task(run: Run, single_task: Sequence[Run], baselines: Sequence[Evaluations]) -> None:
    """Raise RunFolderError if a single-task run has another game than `run`, or did not train on one string."""
    for baseline, evaluations in zip(single_task, baselines, strict=True):
        names_game = all(string is None or parse(string).game for string in evaluations.trained_on)
        if baseline.env_id != run.env_id and not names_game:
            raise RunFolderError(
                f"the single-task run `{baseline.folder}` played {baseline.env_id}, but `{run.folder}` {run.env_id}; "
                "give single-task runs of the same game"
            )
        if evaluations.num_phases != 1:
            raise RunFolderError(
                f"`single_task` names `{baseline.folder}`, which has {evaluations.num_phases} phases of training; "
                "a single-task run has one"
            )


def as_text(results: Sequence[GroupResult], settings: Settings | None = None, style: Style = "text") -> str:
    """The tables of every group, and what a reader must know before comparing them."""
    blocks = []
    games = {parse(string).game for result in results for each in result.evaluations for string in each.tasks}
    normalise = (settings or Settings()).normalise
    if len(games) > 1 and normalise in ("raw", "floor"):
        scores = "raw scores" if normalise == "raw" else "differences to the floor"
        note = f"note: the tasks are of several games, whose points differ in size, so averages of {scores} mean little"
        blocks.append(_lines([f"{note}; `--normalise` human or single_task does better"], style))
    if len({tuple(sorted(each.tasks)) for result in results for each in result.evaluations}) > 1:
        note = "note: the runs do not have the same tasks, so their averages are not over the same things"
        blocks.append(_lines([note], style).rstrip("\n"))
    if len(results) > 1:
        runs = [run.args for result in results for run in result.group.runs]
        unlike = "is not the same in all groups: they were measured differently"
        notes = [f"note: `{name}` {unlike}" for name in measured_unlike(runs)]
        if mixed := mixed_versions(runs):
            notes.append(f"note: of all groups, {mixed}")
        blocks += [_lines([note], style).rstrip("\n") for note in notes]
    for number, result in enumerate(results, 1):
        measured = [
            f"note: `{name}` is not the same in all runs of group {number}: they were measured differently"
            for name in measured_unlike([run.args for run in result.group.runs])
        ]
        blocks.append("\n".join(["", _lines(measured, style) + group_table(number, result, style)]))
        blocks += cora_blocks(result, (settings or Settings()).rolling, style)
    return "\n".join(blocks)


def group_table(number: int, result: GroupResult, style: Style = "text") -> str:
    """The metrics of a group as a table; `-` for what is undefined, and the reasons in footnotes."""
    runs = result.group.runs
    lines = [f"group {number}: {result.group.title}, {counted(len(runs), 'run')}"]
    lines += [f"  seed {run.seed}: {run.folder}" for run in runs]
    for run, evaluations in zip(runs, result.evaluations, strict=True):
        lines += [f"  note, {run.name}: {note}" for note in evaluations.notes]
    if mixed := mixed_versions([run.args for run in runs]):
        lines.append(f"  note: {mixed}")
    footnotes = [*dict.fromkeys(summary.reason for summary in result.summaries.values() if summary.reason)]
    rows = [("metric", "mean", "95 % interval", "IQM", "runs", "")]
    for summary in result.summaries.values():
        mark = f"[{footnotes.index(summary.reason) + 1}]" if summary.reason else ""
        interval = "-" if math.isnan(summary.low) else f"[{_number(summary.low)}, {_number(summary.high)}]"
        iqm = _number(summary.iqm) if summary.metric in OF_SCORES else ""
        rows.append((summary.metric, _number(summary.mean), interval, iqm, str(summary.runs), mark))
    notes = [f"[{position}] {text}" for position, text in enumerate(footnotes, 1)]
    if any("no score of a random player under" in text for text in footnotes):
        notes.append("in a clone `python -m benchmarks.floor <config>` plays the random player in what a config names")
    return (_lines(lines, style) + format_table(rows, style) + "\n" + _lines(notes, style)).rstrip("\n")


def cora_blocks(result: GroupResult, rolling: int, style: Style) -> list[str]:
    """CORA's tables of a group and ours of the same form, each with its title."""
    if result.cora is None:
        return []
    if isinstance(result.cora, str):
        return ["", _lines([f"no tables of CORA's: {result.cora}"], style).rstrip("\n")]
    note = window_note(result.evaluations, result.cora[0].tasks, rolling)
    blocks = ["", _lines([f"note: {note}"], style).rstrip("\n")] if note else []
    for matrix in result.cora:
        blocks += ["", _lines([matrix.title], style) + format_table(matrix.rows(), style)]
    return blocks


def _lines(lines: Sequence[str], style: Style) -> str:
    """What stands beside a table; a table of Markdown needs an empty line before it, LaTeX takes it as a comment."""
    if style == "markdown":
        return "".join(f"{line.strip()}\n\n" for line in lines)
    return "".join(f"{'% ' if style == 'latex' else ''}{line}\n" for line in lines)


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3f}"


def as_json(settings: Settings, single_task: Sequence[str], results: Sequence[GroupResult]) -> dict[str, Any]:
    """Everything: definitions, groups, runs, every unit and the matrices of raw scores; None for what is undefined."""
    groups = [
        {
            "label": result.group.title,
            **_cora_as_json(result),
            "summary": {name: asdict(summary) for name, summary in result.summaries.items()},
            "runs": [
                {
                    "run": run.name,
                    "folder": str(run.folder),
                    "seed": run.args.get("seed"),
                    "notes": evaluations.notes,
                    "trained_on": evaluations.trained_on,
                    "phase_ends": evaluations.phase_ends,
                    "raw_scores": {
                        string: dict(zip(matrix.columns.astype(str), matrix.loc[string].tolist(), strict=True))
                        for matrix in [evaluations.matrix]
                        for string in matrix.index
                    },
                    "metrics": {name: asdict(metric) for name, metric in metrics.items()},
                }
                for run, evaluations, metrics in zip(result.group.runs, result.evaluations, result.metrics, strict=True)
            ],
        }
        for result in results
    ]
    definitions = {name: definition._asdict() for name, definition in METRICS.items()}
    chosen = {**settings._asdict(), "single_task": single_task}
    content: dict[str, Any] = without_nan({**chosen, "definitions": definitions, "groups": groups})
    return content


def _cora_as_json(result: GroupResult) -> dict[str, Any]:
    if result.cora is None or isinstance(result.cora, str):
        return {} if result.cora is None else {"tables": {}, "no_tables": result.cora}
    return {"tables": {matrix.name: matrix.as_json() for matrix in result.cora}}


def as_rows(settings: Settings, results: Sequence[GroupResult]) -> pd.DataFrame:
    """One row per metric of a group (`run` and `seed` empty) and of each of its runs."""
    rows = []
    for number, result in enumerate(results, 1):
        group = {"group": number, "label": result.group.title, "mode": settings.mode}
        group["normalise"] = settings.normalise
        for name, summary in result.summaries.items():
            rows.append({**group, "run": "", "seed": "", "metric": name, "value": summary.mean, **asdict(summary)})
            for run, metrics in zip(result.group.runs, result.metrics, strict=True):
                metric, seed = metrics[name], run.args.get("seed")
                of_run = {"run": run.name, "seed": seed, "value": metric.value, "reason": metric.reason}
                rows.append({**group, "metric": name, **of_run})
    columns = ["group", "label", "run", "seed", "mode", "normalise", "metric", "value", "low", "high", "iqm", "runs"]
    return pd.DataFrame(rows)[[*columns, "reason"]].astype({"runs": "Int64"})  # empty in the rows of single runs
