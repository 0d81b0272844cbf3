"""Do continual backpropagation, shrink and perturb or hindsight help through switches? Same sequences, same seeds.

python -m benchmarks.methods [--games Freeway Breakout] [--seeds 1 2 3] [--jobs 1] [--folder .]

The sequences are `benchmarks/sequences/*.json`. Finished runs in the folder are not run again, interrupted ones go on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import RESULTS, machine, with_interval
from benchmarks.learning import Training, require_finished, returns, train_all
from continual_hackatari.names import UNMODIFIED
from continual_hackatari.reporting.statistics import students_interval
from continual_hackatari.reporting.tables import format_table

SEQUENCES = Path(__file__).parent / "sequences"


class Method(NamedTuple):
    name: str
    title: str
    flags: tuple[str, ...]
    colour: str
    marker: str


METHODS = (
    Method("ppo", "PPO", (), "#000000", "o"),
    Method("ppo_cbp", "PPO_CBP", ("--architecture", "PPO_CBP"), "#0072b2", "s"),
    Method("shrink_perturb", "PPO + shrink and perturb", ("--shrink_and_perturb",), "#d55e00", "^"),
    Method("her", "PPO + hindsight", ("--her",), "#009e73", "D"),
)
NO_GOALS = {"Breakout"}  # hindsight needs goals, and this game has none
PRECISION = ("--amp", "bf16")


class RegimeSequence(NamedTuple):
    """The regimes of one game: number i lasts from `ends[i]` to `ends[i + 1]`."""

    game: str
    modifications: list[str]
    ends: list[int]


def sequence(game: str) -> RegimeSequence:
    schedule = json.loads((SEQUENCES / f"{game.lower()}.json").read_text())["modification_factory_kwargs"]
    ends = [0, *schedule["switching_thresholds"], schedule["num_total_steps"]]
    return RegimeSequence(game, schedule["modifications"], ends)


def methods(game: str) -> list[Method]:
    """Those that can learn this game."""
    return [method for method in METHODS if not (game in NO_GOALS and method.name == "her")]


def run_of(game: str, method: Method, seed: int) -> Training:
    config = SEQUENCES / f"{game.lower()}.json"
    flags = ("--config", str(config), *PRECISION, *method.flags)
    return Training(f"methods_{method.name}", game, seed, flags)


def regime_means(folder: Path, ends: Sequence[int]) -> list[float]:
    """Mean return of the whole games that ended in each regime."""
    steps, values = returns(folder)
    return [float(values[(steps > start) & (steps <= end)].mean()) for start, end in pairwise(ends)]


def compare(folder: Path, game: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Per method: the mean return in each regime, [seeds][regimes], and over all regimes alike, [seeds]."""
    rows = []
    for method in methods(game):
        paths = [require_finished(folder, run_of(game, method, seed)) for seed in seeds]
        regimes = [regime_means(path, sequence(game).ends) for path in paths]
        rows.append(
            {"game": game, "method": method.title, "regimes": regimes, "all": [float(np.mean(r)) for r in regimes]}
        )
    return rows


def table(rows: Sequence[dict[str, Any]], modifications: Sequence[str]) -> str:
    """Mean and 95 % interval over seeds, per regime, over all, and for the difference to PPO with the same seed."""
    lines = [["", *(string or UNMODIFIED for string in modifications), "mean of all", "minus PPO"]]
    for row in rows:
        difference = [own - ppo for own, ppo in zip(row["all"], rows[0]["all"], strict=True)]
        texts = [with_interval(column) for column in (*zip(*row["regimes"], strict=True), row["all"])]
        texts.append("" if row is rows[0] else with_interval(difference, "+"))
        lines.append([row["method"], *texts])
    return format_table(lines, "markdown")


def draw(results: Mapping[str, Sequence[dict[str, Any]]], seeds: Sequence[int]) -> None:
    """Per regime and method: the mean over seeds with its 95 % interval, and every seed as a dot."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(results), 1, figsize=(9, 3.2 * len(results)), layout="constrained", squeeze=False)
    for panel, (game, rows) in zip(axes[:, 0], results.items(), strict=True):
        modifications = sequence(game).modifications
        for i, row in enumerate(rows):
            method = METHODS[[method.title for method in METHODS].index(row["method"])]
            at = np.arange(len(modifications)) + 0.18 * (i - (len(rows) - 1) / 2)
            means, widths = zip(*map(students_interval, zip(*row["regimes"], strict=True)), strict=True)
            panel.errorbar(at, means, widths, fmt=method.marker, color=method.colour, capsize=3, label=method.title)
            for one in row["regimes"]:
                panel.plot(at + 0.06, one, ".", color=method.colour, markersize=4, alpha=0.6)
        for border in range(1, len(modifications)):
            panel.axvline(border - 0.5, color="#cccccc", linewidth=0.8)
        panel.set_xticks(range(len(modifications)), [(name or UNMODIFIED).replace(" ", "\n") for name in modifications])
        panel.set(
            title=f"{game}, {len(seeds)} seeds", ylabel="score of whole games", xlim=(-0.5, len(modifications) - 0.5)
        )
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *axes[0][0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=len(METHODS)
    )
    figure.savefig(RESULTS / "methods.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=["Freeway", "Breakout"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; with several, each has one thread")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where `runs` is")
    args = parser.parse_args()
    runs = [run_of(game, method, seed) for seed in args.seeds for game in args.games for method in methods(game)]
    train_all(args.folder, runs, args.jobs)
    results = {game: compare(args.folder, game, args.seeds) for game in args.games}
    for game, rows in results.items():
        print(f"{game}: mean return of the whole games of each regime, 95 % intervals over {len(args.seeds)} seeds")
        print(table(rows, sequence(game).modifications), end="\n\n")
    RESULTS.mkdir(exist_ok=True)
    settings = {"games": args.games, "seeds": args.seeds, "flags": PRECISION}
    content = {"title": "methods", "settings": settings, "machine": machine(), "rows": results}
    (RESULTS / "methods.json").write_text(json.dumps(content, indent=2) + "\n")
    draw(results, args.seeds)
    print(f"files: {RESULTS / 'methods'}.json, .png")


if __name__ == "__main__":
    main()
