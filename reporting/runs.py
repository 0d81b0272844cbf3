"""Reading run folders, finished or not: what is there is read, what is missing or cut short becomes a note."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from continual_hackatari.commands import script_words
from continual_hackatari.names import full_id
from continual_hackatari.reporting.asked import Asked, asked_for
from continual_hackatari.reporting.plan import read_plan
from continual_hackatari.reporting.rows import (
    ARGS,
    EPISODES,
    EVENTS,
    FINAL,
    RESULTS,
    SWITCHES,
    RunFolderError,
    read_results,
    read_whole_rows,
)

if TYPE_CHECKING:
    from continual_hackatari.reporting.evaluations import Evaluations, Mode

MARKS = (ARGS, EPISODES, SWITCHES, RESULTS, EVENTS)
"""Any of these makes a folder a run folder."""


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
    length: np.ndarray  # int64, in steps
    live: np.ndarray  # bool, a switch came in its middle and did not cut it: its return is of several strings

    def whole(self, game: str = "") -> np.ndarray:
        """bool, one item per row: those that went to their end; `game`: of this one, as task strings name it."""
        of_game = np.char.startswith(self.modification, f"{game}:") if game else np.ones(len(self.cut), bool)
        return ~self.cut & of_game


@dataclass(frozen=True)
class Run:
    """What one run folder holds. Each file is read when it is first asked for, and once.

    `events`: read the TensorBoard files too, which takes long; without them there are no scalars.
    """

    folder: Path
    events: bool = True

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @property
    def seed(self) -> str:
        """The training seed, from args.json or else from the folder's name; `?` where neither tells."""
        found = re.search(r"_s(\d+)__", self.name)
        return str(self.args["seed"]) if "seed" in self.args else found[1] if found else "?"

    @property
    def env_id(self) -> str:
        """The game; empty where args.json does not tell."""
        return full_id(str(self.args.get("env_id", "")))

    @property
    def script(self) -> str:
        """The training script that made it, seen from here; empty where args.json does not tell or it is gone."""
        parts = [self.args, *self.args.get("resumed", [])]  # a clone may have moved before the run went on
        found = [path for part in parts if isinstance(path := part.get("script"), str) and os.path.isfile(path)]
        return os.path.relpath(found[-1]) if found else ""

    @property
    def resume_command(self) -> str:
        """What a user types to go on with it."""
        start = ["python", self.script] if self.script else script_words("continual_training_example.py")
        return shlex.join([*start, "--resume", str(self.folder)])

    @property
    def evaluation_command(self) -> str:
        """What a user types to have it evaluated as far as it is not yet; it names a class (`module:Class`) anew."""
        command = [*script_words("eval.py"), "--run", str(self.folder)]
        architecture = str(self.args.get("architecture", ""))
        if ":" in architecture:
            command += ["--architecture", architecture]
        if self.script and Path(self.script).stem == architecture.partition(":")[0]:
            command = ["env", f"PYTHONPATH={os.path.dirname(self.script) or '.'}", *command]
        return shlex.join(command)

    @property
    def finished(self) -> bool:
        """Whether it went to its end."""
        return (self.folder / FINAL).exists()

    # ------------------------------------------------------------------------------------------------- its files

    @property
    def args(self) -> dict[str, Any]:
        """The settings; none where args.json cannot be read."""
        return self._args[0]

    @property
    def args_problem(self) -> str:
        """Why args.json cannot be read; empty where it can."""
        return self._args[1]

    @cached_property
    def _args(self) -> tuple[dict[str, Any], str]:
        try:
            args = json.loads((self.folder / ARGS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return {}, str(getattr(error, "strerror", None) or error)
        return (args, "") if isinstance(args, dict) else ({}, "it holds no JSON object")

    @property
    def games(self) -> Games:
        """The games of the training."""
        return self._games[0]

    @cached_property
    def _games(self) -> tuple[Games, list[str]]:
        notes: list[str] = []
        rows = read_whole_rows(self.folder / EPISODES, notes)
        read = []
        for row in rows:
            try:
                numbers = int(row["global_step"]), float(row["return"]), row["cut"] != "0"
                live = row.get("live_switches", "0") != "0"
                read.append((*numbers, row["modification"], int(row["length"]), live))
            except (KeyError, ValueError):
                continue
        if len(read) < len(rows):
            notes.append(f"{len(rows) - len(read)} rows of {EPISODES} cannot be read and are left out.")
        columns = zip(*read, strict=True) if read else [()] * 6
        kinds = (np.int64, np.float64, np.bool_, np.str_, np.int64, np.bool_)
        return Games(*(np.array(column, dtype=kind) for column, kind in zip(columns, kinds, strict=True))), notes

    @property
    def switches(self) -> list[dict[str, str]]:
        """The rows of switches.csv."""
        return self._switches[0]

    @cached_property
    def _switches(self) -> tuple[list[dict[str, str]], list[str]]:
        notes: list[str] = []
        return read_whole_rows(self.folder / SWITCHES, notes), notes

    @cached_property
    def scalars(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What was logged: name -> (steps int64, values float64), both [n]."""
        return read_scalars(self.folder) if self.events else {}

    # ------------------------------------------------------------------------------------------- what follows from them

    @cached_property
    def last_step(self) -> int:
        """How far it got, as far as its files tell."""
        last = max([0, *self.games.step, *(int(steps[-1]) for steps, _ in self.scalars.values())])
        return int(max([last, *(begin for begin, _ in self._borders)]))

    @cached_property
    def regimes(self) -> list[Regime]:
        """From switches.csv; without it from the games' modification strings; at least one."""
        begins, names = zip(*self._borders, strict=True)
        return [Regime(*regime) for regime in zip(begins, [*begins[1:], self.last_step], names, strict=True)]

    def scored(self, game: str = "") -> np.ndarray:
        """bool, one item per game: those that went to their end under the one string of the regime they ended in.

        game: of this one only. A game that goes through a switch, as with `--switch_mode` episode and live, is none.
        """
        begins, _, names = zip(*self.regimes, strict=True)
        ended_in = np.searchsorted(begins[1:], self.games.step)  # at the very step of a switch: before it
        return self.games.whole(game) & ~self.games.live & (self.games.modification == np.array(names)[ended_in])

    @cached_property
    def _borders(self) -> list[tuple[int, str]]:
        """(global step, string) of the beginning and of every switch."""
        borders: list[tuple[int, str]] = []
        for row in self.switches:
            try:
                borders.append((int(row["global_step"]), row["to"]))
            except (KeyError, ValueError):
                continue
        if borders:
            return [(0, self.switches[0].get("from") or ""), *borders]
        played = [*zip(self.games.step.tolist(), self.games.modification.tolist(), strict=True)]
        first = played[0][1] if played else str(self.args.get("modifs") or "")
        return [(0, first), *((step, new) for (step, old), (_, new) in pairwise(played) if new != old)]

    @property
    def notes(self) -> list[str]:
        """What is missing, a sentence each."""
        notes = [] if not self.args_problem else [
            f"args.json cannot be read ({self.args_problem}): the configuration cannot be shown."
        ]  # fmt: skip
        notes += self._games[1] + self._switches[1]
        if self.events and not self.scalars:
            notes.append("There are no TensorBoard events: losses, plasticity and speed cannot be shown.")
        if not self.finished:
            notes.append(
                "The run is not finished (it has no model.cleanrl_model). If it was stopped, go on: "
                f"`{self.resume_command}`"
            )
        if not (self.folder / SWITCHES).exists() and len(self.regimes) > 1:
            notes.append("Regimes are taken from episodes.csv: a switch is only seen when the next game ends.")
        return notes

    # ------------------------------------------------------------------------------------------------ its evaluations

    @property
    def results(self) -> list[dict[str, str]]:
        """The rows of evals.csv, see `read_results`; none without such a file."""
        return self._results[0]

    @cached_property
    def _results(self) -> tuple[list[dict[str, str]], list[str]]:
        notes: list[str] = []
        return read_results(self.folder, notes.append), notes

    @cached_property
    def asked(self) -> Asked | None:
        """Which evaluations it has asked for so far; None where its files do not tell."""
        if not all((self.folder / name).exists() for name in (EPISODES, SWITCHES)):
            return None
        try:
            plan = read_plan(self.folder)
        except RunFolderError:
            return None
        first, games = self._borders[0][1], self.games.step.tolist()
        return asked_for(self.args, plan, self.switches, games, first, self.finished)

    def evaluations(self, mode: Mode = "sampled", agent: str = "") -> Evaluations:
        """What it scored in its evaluations, compared with what it has asked for. agent: see `Evaluations.of`.

        Raises:
            RunFolderError: there are none of this mode or agent, or evals.csv cannot be used.
        """
        import pandas as pd  # here, because it loads slowly and training asks for nothing of this

        from continual_hackatari.reporting.evaluations import Evaluations

        path, command = self.folder / RESULTS, f"`{self.evaluation_command}`"
        if not path.is_file():
            raise RunFolderError(f"`{self.folder}` has no {RESULTS}; {command} makes it")
        try:
            if not path.read_bytes().strip():
                raise RunFolderError(f"{path} is empty; {command} fills it")
            rows, notes = self._results
        except OSError as error:
            raise RunFolderError(f"{path} cannot be read: {error.strerror or error}") from None
        if not rows:
            raise RunFolderError(f"{path} holds no evaluation; {command} fills it")
        try:
            found = Evaluations.of(pd.DataFrame(rows), mode, self.asked, agent)
        except RunFolderError as error:
            raise RunFolderError(f"{path}: {error}") from None
        found.notes += notes
        if (self.folder / EPISODES).exists() and not self.finished:
            found.notes.append("it is not finished: its last evaluation so far counts as the end of a phase")
        if found.pending:
            found.notes.append(f"{command} does the rest, as far as the run has kept its weights")
        return found


# ------------------------------------------------------------------------------------------------------------- folders


def run_folders(paths: Sequence[str], argument: str = "runs") -> list[Run]:
    """The runs in several folders.

    Raises:
        RunFolderError: one is no run folder, and the sentence names the nearest one; or it is given twice.
    """
    runs = [Run(check_run_folder(path, argument)) for path in paths]
    places = [run.folder.resolve() for run in runs]
    for run, place in zip(runs, places, strict=True):
        if places.count(place) > 1:
            raise RunFolderError(f"`{argument}` names `{run.folder}` twice; a run is one sample, name it once")
    return runs


def check_run_folder(path: str, argument: str = "runs") -> Path:
    """The folder as a path.

    Raises:
        RunFolderError: it is not a run folder; the sentence names the nearest one.
    """
    folder = Path(path)
    if folder.is_dir() and any(any(folder.glob(mark)) for mark in MARKS):
        return folder
    what = "is no run folder: it holds neither args.json nor episodes.csv" if folder.is_dir() else "does not exist"
    if folder.is_file():
        what = "is a file; a run folder is needed"
    raise RunFolderError(f"`{argument}` names `{path}`, which {what}; {advice_on(folder)}")


def advice_on(folder: Path) -> str:
    """The ending of a sentence on what is no run folder: the nearest one, or where they are."""
    near = _nearest_run_folder(folder)
    return f"did you mean `{near}`?" if near else "run folders are made by training, in `runs/`, and none is there"


def _nearest_run_folder(folder: Path) -> str:
    """The run folder inside, around or beside `folder` whose name is nearest; empty where there is none."""
    around = [parent for parent in folder.parents if parent.name][:2]
    for parent in around:  # a file of a run, or a folder in it
        if any((parent / mark).is_file() for mark in MARKS[:4]):
            return str(parent)
    places = [folder, folder.parent, Path("runs")]
    found = {str(path.parent): path.parent.name for place in places for path in place.glob(f"*/{ARGS}")}
    names = difflib.get_close_matches(folder.name, found.values(), n=1, cutoff=0.0)
    return next((path for path, name in found.items() if names and name == names[0]), "")


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
