"""Does the agent learn as well in bfloat16 as in float32? Same games, same seeds, both precisions.

python -m benchmarks.precision [--games Freeway Breakout] [--seeds 1 2 3] [--steps 500000] [--jobs 1] [--folder runs]

Finished runs in the folder are not run again. With several jobs each run has one thread and plays its games itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import RESULTS, machine
from benchmarks.training import ROOT

PRECISIONS = {"off": "float32", "bf16": "bfloat16"}
COLOURS = {"off": "#0072b2", "bf16": "#d55e00"}
# Student's t, 97.5 % quantile, by degrees of freedom
T_QUANTILE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
LAST_GAMES = 100


class Run(NamedTuple):
    game: str
    seed: int
    amp: str

    @property
    def command(self) -> list[str]:
        return [
            *(sys.executable, str(ROOT / "continual_training_example.py"), "--env_id", f"ALE/{self.game}-v5"),
            *("--seed", str(self.seed), "--amp", self.amp, "--exp_name", f"precision_{self.amp}"),
        ]


def finished(folder: Path, run: Run, steps: int) -> Path | None:
    """The folder of a run that went to its end."""
    for path in sorted((folder / "runs").glob("*/model.cleanrl_model")):
        args = json.loads((path.parent / "args.json").read_text())
        wanted = (f"ALE/{run.game}-v5", run.seed, run.amp, f"precision_{run.amp}", steps)
        if (args["env_id"], args["seed"], args["amp"], args["exp_name"], args["total_timesteps"]) == wanted:
            return path.parent
    return None


def train(folder: Path, run: Run, steps: int, jobs: int) -> None:
    """Run it, unless that was done before."""
    if finished(folder, run, steps) is not None:
        return
    alone = ["--num_workers", "0"] if jobs > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if jobs > 1 else None
    command = [*run.command, "--total_timesteps", str(steps), *alone]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"error: {' '.join(command)} failed: {result.stderr}")
    print("finished:", run, flush=True)


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
    return statistics.mean(values), T_QUANTILE[len(values) - 1] * error


def draw(folder: Path, games: Sequence[str], seeds: Sequence[int], steps: int) -> None:
    """Curves of all seeds, thin, and their mean, thick."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    at = np.linspace(0, steps, 101)[1:]
    figure, axes = plt.subplots(1, len(games), figsize=(5 * len(games), 3.6), layout="constrained", squeeze=False)
    for panel, game in zip(axes[0], games, strict=True):
        for amp, name in PRECISIONS.items():
            curves = [curve(path, at, steps // 20) for path in run_folders(folder, game, amp, seeds, steps)]
            for one in curves:
                panel.plot(at, one, color=COLOURS[amp], linewidth=0.7, alpha=0.6)
            panel.plot(at, np.mean(curves, axis=0), color=COLOURS[amp], linewidth=2.2, label=f"{name}, mean")
        panel.set(title=f"{game}, {len(seeds)} seeds each", xlabel="agent steps", ylabel="return of whole games")
        panel.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(frameon=False)
    figure.savefig(RESULTS / "precision.png", dpi=120)


def run_folders(folder: Path, game: str, amp: str, seeds: Sequence[int], steps: int) -> Iterator[Path]:
    for seed in seeds:
        path = finished(folder, Run(game, seed, amp), steps)
        if path is None:
            raise SystemExit(f"error: there is no finished run of {game}, seed {seed}, {PRECISIONS[amp]} in {folder}")
        yield path


def compare(folder: Path, games: Sequence[str], seeds: Sequence[int], steps: int) -> list[dict[str, Any]]:
    """Per game and precision: the mean return of each seed's last games, and of all games, with intervals."""
    table = []
    for game, amp in product(games, PRECISIONS):
        per_run = [returns(path)[1] for path in run_folders(folder, game, amp, seeds, steps)]
        if not all(map(len, per_run)):
            raise SystemExit(f"error: a run of {game} finished no whole game; raise `--steps`")
        last = [float(values[-LAST_GAMES:].mean()) for values in per_run]
        whole = [float(values.mean()) for values in per_run]
        table.append({"game": game, "precision": PRECISIONS[amp], "last": last, "all": whole})
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=["Freeway", "Breakout"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=500_000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("."), help="where `runs` is")
    args = parser.parse_args()
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = [Run(*choice) for choice in product(args.games, args.seeds, PRECISIONS)]
        list(pool.map(lambda run: train(args.folder, run, args.steps, args.jobs), runs))
    rows = compare(args.folder, args.games, args.seeds, args.steps)
    print(f"mean return of the last {LAST_GAMES} games and of all games, over seeds {args.seeds}, 95 % intervals")
    for row in rows:
        (last, last_width), (whole, whole_width) = interval(row["last"]), interval(row["all"])
        figures = f"{last:8.2f} +- {last_width:6.2f}   {whole:8.2f} +- {whole_width:6.2f}"
        print(f"{row['game']:10} {row['precision']:9} {figures}   seeds: {[round(value, 1) for value in row['last']]}")
    RESULTS.mkdir(exist_ok=True)
    settings = {"games": args.games, "seeds": args.seeds, "steps": args.steps}
    content = {"title": "precision", "settings": settings, "machine": machine(), "rows": rows}
    (RESULTS / "precision.json").write_text(json.dumps(content, indent=2) + "\n")
    draw(args.folder, args.games, args.seeds, args.steps)
    print(f"files: {RESULTS / 'precision'}.json, .png")


if __name__ == "__main__":
    main()
