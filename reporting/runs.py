"""Reading run folders, finished or not: what is there is read, what is missing or cut short becomes a note."""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reporting.versions import MADE_BY

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
EVENTS = "events.out.tfevents.*"
MARKS = ("args.json", "episodes.csv", "switches.csv", EVENTS)
"""Any of these makes a folder a run folder."""

# Settings that cannot change what is learned, or only which seed or machine it was: runs that differ in nothing else
# are repetitions of one another.
NOT_METHOD = {
    *("seed", "config", "resume", "checkpoint_every", "num_workers", "cuda", "detect_anomaly", "notes"),
    *("track", "wandb_project_name", "wandb_entity", "wandb_dir", "capture_video", "save_agent_wandb"),
    *("save_agent_with_switch", "test_modifs", "eval_episodes", "eval_every", "eval_modifs", "eval_games"),
    *("held_out_modifs", "plasticity_every", *MADE_BY),
}


class ReportError(ValueError):
    """Something that a user can get wrong; the message is one sentence."""


class Regime(NamedTuple):
    """One modification string was played from step `begin` up to `end`."""

    begin: int
    end: int
    modification: str


@dataclass(frozen=True)
class Games:
    """The rows of episodes.csv: arrays of one length, one item per game; `step` is where the game ended."""

    step: np.ndarray  # int64
    score: np.ndarray  # float64
    cut: np.ndarray  # bool, a switch or the end of the run cut the game: its return is no score
    modification: np.ndarray  # str


@dataclass(frozen=True)
class Run:
    """What one run folder holds."""

    folder: Path
    args: dict[str, Any]
    games: Games
    switches: list[dict[str, str]]
    scalars: dict[str, tuple[np.ndarray, np.ndarray]]  # name -> (steps int64, values float64), both [n]
    regimes: list[Regime]
    last_step: int
    finished: bool
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def seed(self) -> str:
        """The training seed, from args.json or else from the folder's name; `?` where neither tells."""
        found = re.search(r"_s(\d+)__", self.name)
        return str(self.args["seed"]) if "seed" in self.args else found[1] if found else "?"


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed, or one run alone."""

    label: str
    runs: list[Run]


# ------------------------------------------------------------------------------------------------------------- folders


def check_run_folder(path: str) -> Path:
    """The folder as a path.

    Raises:
        ReportError: it is not a run folder; the sentence names the nearest one.
    """
    folder = Path(path)
    if folder.is_dir() and any(any(folder.glob(mark)) for mark in MARKS):
        return folder
    what = "is no run folder: it holds neither args.json nor episodes.csv" if folder.is_dir() else "does not exist"
    if folder.is_file():
        what = "is a file; a run folder is needed"
    near = _nearest_run_folder(folder)
    advice = f"did you mean `{near}`?" if near else "run folders are made by training, in `runs/`"
    raise ReportError(f"`runs` names `{path}`, which {what}; {advice}")


def _nearest_run_folder(folder: Path) -> str:
    """The run folder inside, around or beside `folder` whose name is nearest; empty where there is none."""
    around = [parent for parent in folder.parents if parent.name][:2]
    for parent in around:  # a file of a run, or a folder in it
        if any((parent / mark).is_file() for mark in MARKS[:3]):
            return str(parent)
    places = [folder, folder.parent, Path("runs")]
    found = {str(path.parent): path.parent.name for place in places for path in place.glob("*/args.json")}
    names = difflib.get_close_matches(folder.name, found.values(), n=1, cutoff=0.0)
    return next((path for path, name in found.items() if names and name == names[0]), "")


def load_run(folder: Path, *, events: bool = True) -> Run:
    """Everything that is in a run folder, which may still be growing; without `events` no scalars, which take long."""
    notes: list[str] = []
    args = _read_args(folder / "args.json", notes)
    rows = read_whole_rows(folder / "episodes.csv", notes)
    games = _games(rows, notes)
    switches = read_whole_rows(folder / "switches.csv", notes)
    scalars = read_scalars(folder) if events else {}
    if events and not scalars:
        notes.append("There are no TensorBoard events: losses, plasticity and speed cannot be shown.")
    finished = (folder / "model.cleanrl_model").exists()
    if not finished:
        command = f"python continual_training_example.py --resume {folder}"
        notes.append(f"The run is not finished (it has no model.cleanrl_model). If it was stopped, go on: `{command}`")
    last_step = max([0, *games.step, *(int(steps[-1]) for steps, _ in scalars.values())])
    regimes = _regimes(switches, games, str(args.get("modifs") or ""), last_step)
    if not (folder / "switches.csv").exists() and len(regimes) > 1:
        notes.append("Regimes are taken from episodes.csv: a switch is only seen when the next game ends.")
    last_step = max(last_step, regimes[-1].end)
    return Run(folder, args, games, switches, scalars, regimes, last_step, finished, notes)


def _read_args(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        args = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        notes.append("args.json is missing: the configuration cannot be shown.")
        return {}
    except (OSError, ValueError) as error:
        notes.append(f"args.json cannot be read ({error}): the configuration cannot be shown.")
        return {}
    return args if isinstance(args, dict) else {}


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


def _games(rows: Sequence[dict[str, str]], notes: list[str]) -> Games:
    read = []
    for row in rows:
        try:
            read.append((int(row["global_step"]), float(row["return"]), row["cut"] != "0", row["modification"]))
        except (KeyError, ValueError):
            continue
    if len(read) < len(rows):
        notes.append(f"{len(rows) - len(read)} rows of episodes.csv cannot be read and are left out.")
    columns = list(zip(*read, strict=True)) or [(), (), (), ()]
    return Games(
        np.array(columns[0], dtype=np.int64),
        np.array(columns[1], dtype=np.float64),
        np.array(columns[2], dtype=np.bool_),
        np.array(columns[3], dtype=np.str_),
    )


def _regimes(switches: Sequence[dict[str, str]], games: Games, modifs: str, last_step: int) -> list[Regime]:
    """From switches.csv; without it from the games' modification strings; at least one."""
    borders: list[tuple[int, str]] = []
    for row in switches:
        try:
            borders.append((int(row["global_step"]), row["to"]))
        except (KeyError, ValueError):
            continue
    if borders:
        first = switches[0].get("from") or ""
    else:
        first = str(games.modification[0]) if len(games.step) else modifs
        for before, after, step in zip(games.modification, games.modification[1:], games.step, strict=False):
            if before != after:
                borders.append((int(step), str(after)))
    begins, names = [0, *(step for step, _ in borders)], [first, *(name for _, name in borders)]
    ends = [*begins[1:], max(last_step, begins[-1])]
    return [Regime(*regime) for regime in zip(begins, ends, names, strict=True)]


def read_scalars(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """All scalars of the folder's TensorBoard files: name -> (steps, values), sorted by step, the last write counts.

    The records are read one by one, which takes a tenth of the time of TensorBoard's own accumulator. A file that is
    still written, or was cut in the middle of a record, is read up to there.
    """
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto import event_pb2

    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob(EVENTS)):
        for record in RawEventFileLoader(str(path)).Load():
            event = event_pb2.Event.FromString(record)
            if event.session_log.status == event_pb2.SessionLog.START:  # a resumed run repeats what follows this step
                for values in found.values():
                    for step in [step for step in values if step >= event.step]:
                        del values[step]
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
    return {
        name: (np.array(sorted(values), dtype=np.int64), np.array([values[step] for step in sorted(values)]))
        for name, values in sorted(found.items())
        if values
    }


# -------------------------------------------------------------------------------------------------------------- groups


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Runs with the same settings (but for the seed and what cannot change learning) together, in order."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        # Without settings nothing tells whether two runs are repetitions.
        key = json.dumps(_method(run), sort_keys=True) if run.args else str(run.folder)
        found.setdefault(key, []).append(run)
    groups = list(found.values())
    return [Group(label, members) for label, members in zip(_labels(groups), groups, strict=True)]


def _method(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.args.items() if key not in NOT_METHOD}


def _labels(groups: Sequence[Sequence[Run]]) -> list[str]:
    """What tells the groups apart: the experiment's name, the settings that differ, the folder."""
    first = [group[0] for group in groups]
    differing = [key for key in differences([run.args for run in first]) if key not in NOT_METHOD]
    candidates: list[Callable[[Run], str]] = [
        lambda run: str(run.args.get("exp_name") or run.name),
        lambda run: ", ".join(f"{key} {shown(run.args.get(key))}" for key in differing if key != "exp_name"),
        lambda run: run.name,
        lambda run: str(run.folder),
    ]
    for label in candidates:
        labels = [label(run) for run in first]
        if len(set(labels)) == len(labels) and all(0 < len(text) <= 80 for text in labels):
            return labels
    return [f"run {number}" for number, _ in enumerate(first, 1)]


def differences(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The keys, sorted as they come, whose values are not the same everywhere (a missing key differs)."""
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if len({json.dumps(each.get(key, "\0"), sort_keys=True) for each in settings}) > 1]


def shown(value: Any, limit: int = 0) -> str:
    """A setting on one line."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


def number(value: float, digits: int = 3) -> str:
    """A number for people: thousands with commas, else `digits` significant digits."""
    if not math.isfinite(value):
        return DASH
    rounded = float(f"{value:.{digits}g}")
    text = f"{value:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"
    return text.replace("-", MINUS)
