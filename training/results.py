"""`evals.csv`, the one file of everything that was evaluated of a run, and reading it without fear of foreign lines."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

from continual_hackatari.training.config import ConfigError

RESULTS = "evals.csv"
COLUMNS = (
    *("run", "seed", "phase", "global_step", "modification", "split", "episode", "evaluation_seed", "deterministic"),
    *("score", "length", "lives", "trained_on"),
)
_WHOLE = ("phase", "global_step", "episode", "evaluation_seed", "deterministic", "length", "lives")


def read_results(folder: Path, report: Callable[[str], None] = lambda _: None) -> list[dict[str, str]]:
    """The rows of a run's `evals.csv` by column; none where there is no such file.

    A line that is no row, which an editor or another program has left there, is left out, and `report` gets one
    sentence about all of them. All rows have the folder's name, also those from before it was renamed; rows of several
    seeds keep theirs, since they cannot be of one run.

    Raises ConfigError where the file has other columns, or cannot be read.
    """
    if not (folder / RESULTS).exists():
        return []
    lines = read_lines(folder / RESULTS)
    rows = [dict(zip(COLUMNS, line, strict=True)) for line in lines if is_row(line)]
    foreign = [number for number, line in enumerate(lines, 2) if line and not is_row(line)]
    if foreign:
        more = f" and in {len(foreign) - 1} more" if len(foreign) > 1 else ""
        report(f"warning: `{folder / RESULTS}` holds in line {foreign[0]}{more} what is no evaluation; it is left out")
    if len({row["seed"] for row in rows}) == 1:
        for row in rows:
            row["run"] = folder.resolve().name
    return rows


def read_lines(path: Path) -> list[list[str]]:
    """The values of every line after the heading, of rows (see `is_row`) and of what stands between them.

    Raises ConfigError where the heading is another one, or the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "\ufffd")
    except OSError as error:
        raise ConfigError(f"`{path}` cannot be read: {error.strerror or error}.") from None
    # Line by line: else a quotation mark in one of them would take all lines that follow for its own.
    heading, *lines = map(_values, text.split("\n"))
    if tuple(heading) != COLUMNS:
        raise ConfigError(f"`{path}` has other columns than {', '.join(COLUMNS)}; move it away.")
    return lines


def _values(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:  # endlessly long
        return [line]


def is_row(line: list[str]) -> bool:
    """Whether these are the values of one game."""
    if len(line) != len(COLUMNS):
        return False
    row = dict(zip(COLUMNS, line, strict=True))
    try:
        return all(int(row[name]) >= 0 for name in _WHOLE) and math.isfinite(float(row["score"]))
    except ValueError:
        return False
