"""Continual metrics of finished or interrupted runs, from their evals.csv.

    python metrics.py runs/A runs/B
    python metrics.py runs/A runs/B --single_task runs/C runs/D --normalise single_task -o freeway
    python metrics.py runs/A runs/B --tables cora --format latex > tables.tex

Every metric is a pure function of the rows of evals.csv. Runs whose settings differ in the seed alone form a group;
a group gets the mean over its runs with its 95 % bootstrap interval, and scores the interquartile mean too. Prints a
table per group and writes <output>.json (everything, the definitions too) and <output>.csv (one row per metric of a
group and of a run).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from continual_hackatari.reporting.cora_tables import WINDOW
from continual_hackatari.reporting.evaluations import Mode
from continual_hackatari.reporting.metrics import RECOVERY, Normalisation
from continual_hackatari.reporting.metrics_tables import (
    Settings,
    Style,
    as_json,
    as_rows,
    as_text,
    evaluate_groups,
)
from continual_hackatari.reporting.rows import RunFolderError
from continual_hackatari.reporting.runs import run_folders
from continual_hackatari.reporting.statistics import Resample
from continual_hackatari.training.command_line import flush_or_drop, parse_command_line
from continual_hackatari.training.config import ConfigError, Range, check_not_empty, check_ranges
from continual_hackatari.training.files import atomic_path


@dataclass
class Args:
    runs: tyro.conf.Positional[list[str]]
    """run folders; seeds of one experiment form a group"""
    single_task: list[str] = field(default_factory=list)
    """folders of runs that train on one modification string each, of any seeds"""
    normalise: Normalisation = "raw"
    """scores as they are, between a random player and a human, between an untrained and a single-task agent, or above
    a random player (floor)"""
    mode: Mode = "sampled"
    """count the games with sampled or with greedy actions"""
    agent: str = ""
    """of runs whose agent is two, Progress & Compress: count the games of kb, the knowledge base, or of ac, the active
    column (default: kb)"""
    recovery: float = RECOVERY
    """share of the level before a switch, above the untrained score, that counts as recovered"""
    resample: Resample = "runs"
    """bootstrap whole runs, or the runs of every task or switch by itself (units)"""
    tables: Literal["own", "cora"] = "own"
    """own: the metrics of each group; cora: also the two tables of the CORA benchmark, and ours of the same form"""
    rolling: int = WINDOW
    """evaluations in the rolling mean of `--tables cora`"""
    format: Style = "text"
    """of the printed tables; if not text, standard output holds the tables alone"""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "metrics"
    """the files are <output>.json and <output>.csv"""


RANGES = {"recovery": Range(0.0, 1.0, above=True), "rolling": Range(1)}


def main(argv: Sequence[str] | None = None) -> None:
    """Read the runs, print a table per group and write the files."""
    try:
        run(parse_command_line(Args, argv, description=__doc__))
    except (ConfigError, RunFolderError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # `| head` has seen enough, and the files are written
        flush_or_drop()


def run(args: Args) -> None:
    """Metrics of `args.runs`.

    Raises:
        ConfigError, RunFolderError: a setting or a run that cannot be used; nothing is written then.
    """
    check_ranges(args, RANGES)
    if not args.runs:
        raise ConfigError("`runs` is empty; give at least one run folder")
    check_not_empty(args, {"runs": "a run folder", "single_task": "a run folder", "output": "a name"})
    check_output(args.output)
    if args.normalise == "single_task" and not args.single_task:
        raise ConfigError("`normalise` is single_task, but no single-task run is given; add `--single_task <folders>`")
    if args.rolling != WINDOW and args.tables != "cora":
        raise ConfigError("`rolling` is of CORA's tables, which are not asked for; add `--tables cora`, or leave it")
    how = (args.mode, args.normalise, args.recovery, args.resample, args.tables, args.rolling)
    settings = Settings(*how, args.agent)
    single_task = run_folders(args.single_task, "single_task")
    results = evaluate_groups(run_folders(args.runs), single_task, settings)
    content, refused = as_json(settings, args.single_task, results), ""
    try:
        with atomic_path(f"{args.output}.json") as temporary:
            temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        with atomic_path(f"{args.output}.csv") as temporary:
            as_rows(settings, results).to_csv(temporary, index=False)
    except OSError as error:  # a full disk must not lose the tables
        refused = error.strerror or str(error)
    beside_tables = sys.stdout if args.format == "text" else sys.stderr  # tables for a paper go alone into their file
    print(f"{args.mode} games, {args.normalise} scores", file=beside_tables)
    print(as_text(results, settings, args.format))
    if refused:
        print(f"error: {args.output}.json and .csv could not be written: {refused}", file=sys.stderr)
        raise SystemExit(1)
    print(f"\nfiles: {args.output}.json, {args.output}.csv", file=beside_tables)


def check_output(name: str) -> None:
    """Raise ConfigError for what cannot be the beginning of both files' names, or would look odd in them."""
    path = Path(name)
    if name.endswith(("/", "..")) or os.path.isdir(path):
        raise ConfigError(f"`output` is `{name}`, a folder; name the files in it, as in `{path / 'metrics'}`")
    if path.suffix.lower() in (".csv", ".json", ".html", ".md", ".tex", ".tsv", ".txt", ".xlsx"):
        raise ConfigError(
            f"`output` is `{name}`; leave out the ending, `{path.with_suffix('')}`: the files are <output>.json and "
            "<output>.csv; for another table `--format markdown > table.md`"
        )
    if not os.path.isdir(path.parent):
        raise ConfigError(f"`output` is `{name}`, but there is no folder `{path.parent}`; create it or choose another")


if __name__ == "__main__":
    main()
