"""Runs of the training script whose learning is compared: same games and seeds, other flags."""

from __future__ import annotations

import contextlib
import functools
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.training import ROOT
from continual_hackatari.reporting.groups import experiment_settings
from continual_hackatari.reporting.rows import ARGS, FINAL
from continual_hackatari.reporting.runs import Run as RunFolder
from continual_hackatari.training.resume import can_go_on
from continual_hackatari.training.run_folder import safe_name
from continual_hackatari.training.runner import Job, Runner
from continual_hackatari.training.sweeps import digest_of


class Training(NamedTuple):
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
def settings_of(run: Training) -> dict[str, Any]:
    """What `args.json` of this run says: every setting, as the training script completes them."""
    from continual_hackatari import continual_training_example as training  # loads torch
    from continual_hackatari.training.config import as_plain_dict

    with contextlib.redirect_stdout(io.StringIO()):
        return as_plain_dict(training.prepare(run.words).args)


def folders(root: Path, run: Training) -> list[Path]:
    """The folders in `root/runs` of this run, the oldest first: of its seed, and of the same experiment."""
    wanted = experiment_settings(settings_of(run))
    there = (RunFolder(path.parent) for path in sorted((root / "runs").glob(f"*/{ARGS}")))
    return [one.folder for one in there if one.seed == str(run.seed) and experiment_settings(one.args) == wanted]


def finished(root: Path, run: Training) -> Path | None:
    """The folder of this run if it went to its end."""
    return next((path for path in folders(root, run) if (path / FINAL).exists()), None)


def require_finished(root: Path, run: Training) -> Path:
    """The folder of this run; SystemExit if it did not go to its end."""
    path = finished(root, run)
    if path is None:
        raise SystemExit(f"error: there is no finished run of {run} in {root / 'runs'}")
    return path


def train_all(root: Path, runs: Iterable[Training], at_a_time: int) -> None:
    """Run them to their ends, so many at a time; what was interrupted goes on, what is finished stays as it is.

    With several at a time each of them plays its games itself.
    """
    jobs = [job_of(root, run, at_a_time) for run in runs if finished(root, run) is None]
    runner = Runner(jobs, at_a_time, place=root)
    failed = runner.run(lambda: sum(job.state != "finished" for job in jobs))
    if failed:
        raise SystemExit(f"error: {failed} of {len(jobs)} trainings did not go to their ends, see above")


def job_of(root: Path, run: Training, at_a_time: int) -> Job:
    """How the runner sees a training that has not finished; its record is in `root/jobs`."""
    begun = next((["--resume", str(path.resolve())] for path in folders(root, run) if can_go_on(path)), None)
    alone = ["--num_workers", "0"] if at_a_time > 1 else []
    script = str(ROOT / "continual_training_example.py")
    label = f"{run.name} {run.game} seed {run.seed}"
    folder = root.resolve() / "jobs" / f"{safe_name(label, 80)}~{digest_of(run.words)}"
    (folder / "result.json").unlink(missing_ok=True)  # of a run folder that is gone
    return Job({}, ["python", script, *(begun or run.words), *alone], label, folder, script)


def returns(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Step and return of every whole game."""
    run = RunFolder(folder, events=False)
    return run.games.step[run.scored()], run.games.score[run.scored()]


def curve(folder: Path, at: np.ndarray, width: int) -> np.ndarray:
    """Mean return of the games that ended in the `width` steps before each step of `at`; the last known one if none."""
    steps, values = returns(folder)
    means, last = [], math.nan
    for step in at:
        inside = values[(steps > step - width) & (steps <= step)]
        last = float(inside.mean()) if len(inside) else last
        means.append(last)
    return np.array(means)
