"""Runs of the training script whose learning is compared: same games and seeds, other flags."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from benchmarks.training import ROOT
from continual_hackatari.reporting.groups import experiment_settings
from continual_hackatari.training.resume import can_go_on


class Run(NamedTuple):
    """One run; `name` is its exp_name."""

    name: str
    game: str
    seed: int
    flags: tuple[str, ...]
    total_timesteps: int | None = None
    """None: the length of the schedule."""

    @property
    def words(self) -> list[str]:
        """Its command line, without the interpreter and the script."""
        steps = [] if self.total_timesteps is None else ["--total_timesteps", str(self.total_timesteps)]
        return [*self.flags, "--seed", str(self.seed), "--exp_name", self.name, *steps]


@functools.cache
def settings_of(run: Run) -> dict[str, Any]:
    """What `args.json` of this run says: every setting, as the training script completes them."""
    from continual_hackatari import continual_training_example as training  # loads torch
    from continual_hackatari.training.config import as_plain_dict

    with contextlib.redirect_stdout(io.StringIO()):
        return as_plain_dict(training.prepare(run.words).args)


def folders(root: Path, run: Run) -> list[Path]:
    """The folders in `root/runs` of this run, the oldest first: of its seed, and of the same experiment."""
    wanted, found = settings_of(run), []
    for path in sorted((root / "runs").glob("*/args.json")):
        args = json.loads(path.read_text())
        if args.get("seed") == run.seed and experiment_settings(args) == experiment_settings(wanted):
            found.append(path.parent)
    return found


def finished(root: Path, run: Run) -> Path | None:
    """The folder of this run if it went to its end."""
    return next((path for path in folders(root, run) if (path / "model.cleanrl_model").exists()), None)


def require_finished(root: Path, run: Run) -> Path:
    """The folder of this run; SystemExit if it did not go to its end."""
    path = finished(root, run)
    if path is None:
        raise SystemExit(f"error: there is no finished run of {run} in {root / 'runs'}")
    return path


def train(root: Path, run: Run, jobs: int) -> None:
    """Run it to its end; one that was interrupted goes on, one that is finished stays as it is."""
    if finished(root, run) is not None:
        return
    words = next((["--resume", str(path)] for path in folders(root, run) if can_go_on(path)), run.words)
    alone = ["--num_workers", "0"] if jobs > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if jobs > 1 else None
    command = [sys.executable, str(ROOT / "continual_training_example.py"), *words, *alone]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"error: {' '.join(command)} failed: {result.stderr}")
    print("finished:", run, flush=True)


def train_all(root: Path, runs: Iterable[Run], jobs: int) -> None:
    """So many at a time; with several jobs each run has one thread and plays its games itself."""
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda run: train(root, run, jobs), runs))


def returns(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Step and return of every whole game."""
    with (folder / "episodes.csv").open() as file:
        games = [row for row in csv.DictReader(file) if row["cut"] == "0"]
    return np.array([int(row["global_step"]) for row in games]), np.array([float(row["return"]) for row in games])


def curve(folder: Path, at: np.ndarray, width: int) -> np.ndarray:
    """Mean return of the games that ended in the `width` steps before each step of `at`; the last known one if none."""
    steps, values = returns(folder)
    means, last = [], math.nan
    for step in at:
        inside = values[(steps > step - width) & (steps <= step)]
        last = float(inside.mean()) if len(inside) else last
        means.append(last)
    return np.array(means)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval (Student's t)."""
    if len(values) < 2:
        return values[0], math.nan
    error = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), float(stdtrit(len(values) - 1, 0.975)) * error
