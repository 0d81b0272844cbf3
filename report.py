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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from continual_hackatari.reporting.report import compose, gather
from continual_hackatari.reporting.rows import RunFolderError
from continual_hackatari.reporting.runs import Run, run_folders
from continual_hackatari.training.command_line import parse_command_line
from continual_hackatari.training.config import ConfigError, check_not_empty
from continual_hackatari.training.files import atomic_path


@dataclass
class Args:
    runs: tyro.conf.Positional[list[str]]
    """run folders; those that differ in the seed alone form a group"""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "report.html"
    """the HTML file; the figures go into a folder beside it, <name>_figures"""
    against: list[str] = field(default_factory=list)
    """run folders to lay beside them"""


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything a user can get wrong, then write the report."""
    try:
        args = parse_command_line(Args, argv, description=__doc__)
        write_report(*check(args))
    except (ConfigError, RunFolderError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def check(args: Args) -> tuple[list[Run], list[Run], Path]:
    """The runs and the output, before any work.

    Raises:
        ConfigError, RunFolderError: no run, not a run folder, one run twice, or an output that cannot be written.
    """
    if not args.runs:
        raise ConfigError("`runs` is empty; name at least one run folder, as in `python report.py runs/<folder>`")
    check_not_empty(args, {"runs": "a run folder", "against": "a run folder", "output": "a file"})
    runs = run_folders([*args.runs, *args.against])
    return runs[: len(args.runs)], runs[len(args.runs) :], check_output(args.output)


def check_output(name: str) -> Path:
    """The path of the HTML file, which can be written."""
    output = Path(name)
    if os.path.isdir(output) or name.endswith("/"):  # unlike `output.is_dir`, no error where no file can be called so
        raise ConfigError(
            f"`output` is `{name}`, which is a folder; name a file in it, such as `{output / 'report.html'}`"
        )
    if output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(
            f"`output` is `{name}`; it must end in .html, as in `{output.with_suffix('').name or 'report'}.html`"
        )
    for place in (output.parent, figures_folder(output)):
        existing = next(parent for parent in (place, *place.parents) if os.path.exists(parent))
        if not existing.is_dir():
            raise ConfigError(f"`output` is `{name}`, but `{existing}` is no folder; choose another place")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise ConfigError(f"`output` is `{name}`, but `{existing}` cannot be written; choose another place")
    return output


def figures_folder(output: Path) -> Path:
    """Where the figures of a report go."""
    return output.with_name(f"{output.stem}_figures")


def write_report(runs: Sequence[Run], against: Sequence[Run], output: Path) -> None:
    """Read the runs, draw the figures, write everything."""
    started = time.perf_counter()
    report = gather(runs, against)
    files = {output: compose(report).encode()}
    files |= {figures_folder(output) / name: content for name, content in report.files.items()}
    for path, content in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:  # a full disk, say
            print(f"error: {path} could not be written: {error.strerror or error}", file=sys.stderr)
            raise SystemExit(1) from None
    size, seconds = output.stat().st_size / 1e6, time.perf_counter() - started
    print(f"report:  {output} ({size:.1f} MB, {seconds:.1f} s)")
    print(f"figures: {figures_folder(output)} (PNG and PDF)")


if __name__ == "__main__":
    main()
