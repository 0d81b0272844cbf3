"""Does hindsight help, and does it do harm? Its forms beside PPO, same seeds.

python -m benchmarks.hindsight line [--seeds 1 2 ... 8] [--jobs 1]                  a small world, seconds a training
python -m benchmarks.hindsight freeway [--seeds 1 2 3 4 5] [--jobs 1] [--folder .]  two regimes, minutes a training

Each writes its part of `benchmarks/results/hindsight.json`. Finished runs of Freeway in the folder are not run again,
interrupted ones go on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.harness import RESULTS, machine, with_interval
from benchmarks.learning import Training, finished, train_all
from benchmarks.line_world import STEPS_PER_GAME, learn, one_scale
from continual_hackatari.continual_training_example import Args
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.tables import format_table
from continual_hackatari.training.hindsight import scale_halves

CONFIG = Path(__file__).parent / "sequences" / "freeway_two_regimes.json"
BORDERS = (0, 24576, 49152)
KNOCKS = (0.0, 0.04)
CROSSES = 5.0  # crossings per game from which on an agent has learned to cross


class Form(NamedTuple):
    name: str
    title: str
    settings: dict[str, Any]

    @property
    def flags(self) -> tuple[str, ...]:
        words = [[f"--{name}"] if value is True else [f"--{name}", str(value)] for name, value in self.settings.items()]
        return tuple(word for pair in words for word in pair)


PPO = Form("ppo", "PPO", {})
DOCUMENTED = {"her": True, "her_rewards": "original", "her_relabel": "all"}
FORMS = (
    PPO,
    Form("default", "hindsight", {"her": True}),
    Form("documented", "hindsight, `original` rewards, `all`", DOCUMENTED),
)
ONE_SCALE = Form("one_scale", "hindsight as it was: one scale", DOCUMENTED)
"""What `--her` alone meant up to commit e5d8623. Its runs of Freeway are that commit's, where the folder has some."""


def level(job: tuple[Form, float, int]) -> float:
    """Crossings per game in the last quarter of a training in the small world."""
    form, knocks, seed = job
    torch.set_num_threads(1)
    rewards = one_scale if form == ONE_SCALE else scale_halves  # a worker has copies of both
    crossings = learn(seed, Args(**form.settings), knocks=knocks, scale=rewards)
    return float(crossings[-len(crossings) // 4 :].mean())


def line_world(seeds: Sequence[int], jobs: int) -> list[dict[str, Any]]:
    """Per form and probability of knock-backs: the level of every seed."""
    rows = []
    with ProcessPoolExecutor(jobs) as pool:
        for knocks, form in product(KNOCKS, (*FORMS, ONE_SCALE)):
            levels = list(pool.map(level, [(form, knocks, seed) for seed in seeds]))
            rows.append({"form": form.title, "knocks": knocks, "levels": levels})
            print(line_row(rows[-1]), flush=True)
    return rows


def line_row(row: dict[str, Any]) -> str:
    """Of those seeds that cross: how many, and the lowest, median and highest level."""
    crossing = [level for level in row["levels"] if level > CROSSES]
    spread = " | ".join(f"{number:.1f}" for number in np.quantile(crossing, (0, 0.5, 1))) if crossing else "| |"
    share = f"{len(crossing)} of {len(row['levels'])}"
    return f"| {row['form']} | {100 * row['knocks']:.0f} % | {share} | {spread} |"


def run_of(form: Form, seed: int) -> Training:
    return Training(f"hindsight_{form.name}", "Freeway", seed, ("--config", str(CONFIG), "--amp", "off", *form.flags))


def crossings(folder: Path) -> list[float]:
    """Crossings per game of 2,048 steps in each regime; games that a switch or the end cut count by their length."""
    games = Run(folder, events=False).games
    regimes = [(games.step > start) & (games.step <= end) for start, end in pairwise(BORDERS)]
    return [float(STEPS_PER_GAME * games.score[one].sum() / games.length[one].sum()) for one in regimes]


def freeway(folder: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Per form: crossings per game, [seeds][regimes], of the finished runs."""
    rows = []
    for form in (*FORMS, ONE_SCALE):
        paths = {seed: path for seed in seeds if (path := finished(folder, run_of(form, seed))) is not None}
        if paths:
            rows.append(
                {"form": form.title, "seeds": [*paths], "regimes": [crossings(path) for path in paths.values()]}
            )
    return rows


def freeway_table(rows: Iterable[dict[str, Any]]) -> str:
    """Mean and 95 % interval over seeds of each regime and of both."""
    lines = [["", "seeds", "disable_cars", "unmodified", "both"]]
    for row in rows:
        columns = [*zip(*row["regimes"], strict=True), [float(np.mean(one)) for one in row["regimes"]]]
        cells = [with_interval(column) for column in columns]
        lines.append([row["form"], str(len(row["seeds"])), *cells])
    return format_table(lines, "markdown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=["line", "freeway"])
    parser.add_argument("--seeds", nargs="+", type=int, help="default: 1 to 8 in the small world, 1 to 5 on Freeway")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, each with one thread")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where `runs` of Freeway are")
    args = parser.parse_args()
    seeds = args.seeds or list(range(1, 9 if args.world == "line" else 6))
    if args.world == "line":
        rows = line_world(seeds, args.jobs)
    else:
        train_all(args.folder, [run_of(form, seed) for seed, form in product(seeds, FORMS)], args.jobs)
        rows = freeway(args.folder, seeds)
        print(freeway_table(rows))
    path = RESULTS / "hindsight.json"
    content = json.loads(path.read_text()) if path.exists() else {"title": "hindsight"}
    content[args.world] = {"seeds": seeds, "machine": machine(), "rows": rows}
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(f"file: {path}")


if __name__ == "__main__":
    main()
