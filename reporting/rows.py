"""The files of a run folder: their names and the columns of CSV files, written down once, and reading those safely.

Foreign and cut lines do no harm.
"""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

EPISODES, SWITCHES, RESULTS = "episodes.csv", "switches.csv", "evals.csv"
ARGS, EVENTS = "args.json", "events.out.tfevents.*"
FINAL = "model.cleanrl_model"
"""The agent at the end: a run that has it has finished."""
RESUME, PREVIOUS = "resume.pt", "resume.previous.pt"
"""The state from which a run goes on, and the one saved before it."""
EPISODE_COLUMNS = ("global_step", "env", "modification", "return", "length", "lives", "cut", "live_switches")
# `shrink_and_perturb`, a name that files keep: 1 where any method changed the weights at the switch
SWITCH_COLUMNS = ("switch", "global_step", "from", "to", "mode", "seconds", "shrink_and_perturb", "checkpoint")
EVALUATION_COLUMNS = (
    *("run", "seed", "phase", "global_step", "modification", "split", "episode", "evaluation_seed", "deterministic"),
    *("score", "length", "lives", "trained_on"),
)
WITH_AGENT = (*EVALUATION_COLUMNS, "agent")
"""Of a run whose agent is several players, such as the two columns of Progress & Compress: which of them played."""
SPLITS = ("train", "held_out")
WHOLE_NUMBERS = ("phase", "global_step", "episode", "evaluation_seed", "deterministic", "length", "lives")


class RunFolderError(ValueError):
    """A run folder, or what is in it, that cannot be used; the message is one sentence for the user."""


def read_whole_rows(path: Path, notes: list[str]) -> list[dict[str, str]]:
    """The whole rows of a CSV file; a last line without its end, as a crash leaves it, is left out."""
    try:
        content = path.read_bytes()
    except OSError:
        notes.append(f"{path.name} is missing.")
        return []
    whole = content[: content.rfind(b"\n") + 1].decode("utf-8", errors="replace").replace("\0", "\ufffd")
    if len(whole.encode("utf-8", errors="replace")) and len(content) > content.rfind(b"\n") + 1:
        notes.append(f"The last line of {path.name} is cut short and left out.")
    lines = list(csv.reader(io.StringIO(whole, newline="")))
    if not lines:
        return []
    header, *rows = lines
    return [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]


def read_results(folder: Path, report: Callable[[str], None] = lambda _: None) -> list[dict[str, str]]:
    """The rows of a run's `evals.csv` by column; none where there is no such file.

    A line that is no row, which an editor or another program has left there, is left out, and `report` gets one
    sentence about all of them. All rows have the folder's name, also those from before it was renamed; rows of several
    seeds keep theirs, since they cannot be of one run.

    Raises RunFolderError where the file has other columns, or cannot be read.
    """
    if not (folder / RESULTS).exists():
        return []
    columns, lines = read_lines(folder / RESULTS)
    rows = [dict(zip(columns, line, strict=True)) for line in lines if is_row(line, columns)]
    foreign = [number for number, line in enumerate(lines, 2) if line and not is_row(line, columns)]
    if foreign:
        more = f" and in {len(foreign) - 1} more" if len(foreign) > 1 else ""
        report(f"warning: `{folder / RESULTS}` holds in line {foreign[0]}{more} what is no evaluation; it is left out")
    if len({row["seed"] for row in rows}) == 1:
        for row in rows:
            row["run"] = folder.resolve().name
    return rows


def read_lines(path: Path) -> tuple[tuple[str, ...], list[list[str]]]:
    """The columns, and the values of every line after them, of rows (see `is_row`) and of what stands between them.

    Raises RunFolderError where the heading is another one, or the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "\ufffd")
    except OSError as error:
        raise RunFolderError(f"`{path}` cannot be read: {error.strerror or error}.") from None
    # Line by line: else a quotation mark in one of them would take all lines that follow for its own.
    heading, *lines = map(_values, text.split("\n"))
    columns = tuple(heading)
    if columns not in (EVALUATION_COLUMNS, WITH_AGENT):
        raise RunFolderError(f"`{path}` has other columns than {', '.join(EVALUATION_COLUMNS)}; move it away.")
    return columns, lines


def _values(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:  # endlessly long
        return [line]


def is_row(line: list[str], columns: tuple[str, ...]) -> bool:
    """Whether these are the values of one game."""
    if len(line) != len(columns):
        return False
    row = dict(zip(columns, line, strict=True))
    try:
        return all(int(row[name]) >= 0 for name in WHOLE_NUMBERS) and math.isfinite(float(row["score"]))
    except ValueError:
        return False
