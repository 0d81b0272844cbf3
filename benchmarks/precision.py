"""Does the agent learn as well in bfloat16 as in float32? Same games, same seeds, both precisions.

python -m benchmarks.precision [--games Freeway Breakout] [--seeds 1 2 3] [--steps 500000] [--jobs 1] [--folder .]

Finished runs in the folder are not run again, interrupted ones go on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, machine, with_interval
from benchmarks.learning import Training, curve, require_finished, returns, train_all
from continual_hackatari.reporting.tables import format_table

PRECISIONS = {"off": "float32", "bf16": "bfloat16"}
COLOURS = {"off": "#0072b2", "bf16": "#d55e00"}
LAST_GAMES = 100


def run_of(game: str, seed: int, amp: str, steps: int) -> Training:
    return Training(f"precision_{amp}", game, seed, ("--env_id", f"ALE/{game}-v5", "--amp", amp), steps)


def draw(folder: Path, games: Sequence[str], seeds: Sequence[int], steps: int) -> None:
    """Curves of all seeds, thin, and their mean, thick."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    at = np.linspace(0, steps, 101)[1:]
    figure, axes = plt.subplots(1, len(games), figsize=(5 * len(games), 3.6), layout="constrained", squeeze=False)
    for panel, game in zip(axes[0], games, strict=True):
        for amp, name in PRECISIONS.items():
            paths = [require_finished(folder, run_of(game, seed, amp, steps)) for seed in seeds]
            curves = [curve(path, at, steps // 20) for path in paths]
            for one in curves:
                panel.plot(at, one, color=COLOURS[amp], linewidth=0.7, alpha=0.6)
            panel.plot(at, np.mean(curves, axis=0), color=COLOURS[amp], linewidth=2.2, label=f"{name}, mean")
        panel.set(title=f"{game}, {len(seeds)} seeds each", xlabel="global_step", ylabel="score of whole games")
        panel.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(frameon=False)
    figure.savefig(RESULTS / "precision.png", dpi=120)


def compare(folder: Path, games: Sequence[str], seeds: Sequence[int], steps: int) -> list[dict[str, Any]]:
    """Per game and precision: the mean return of each seed's last games, and of all games."""
    table = []
    for game, amp in product(games, PRECISIONS):
        per_run = [returns(require_finished(folder, run_of(game, seed, amp, steps)))[1] for seed in seeds]
        if not all(map(len, per_run)):
            raise SystemExit(f"error: a run of {game} finished no whole game; raise `--steps`")
        last = [float(values[-LAST_GAMES:].mean()) for values in per_run]
        whole = [float(values.mean()) for values in per_run]
        table.append({"game": game, "precision": PRECISIONS[amp], "last": last, "all": whole})
    return table


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means and 95 % intervals over seeds, and those of the differences to float32 with the same seed."""
    last = f"last {LAST_GAMES}"
    lines = [["game", "precision", f"{last} games", "all games", f"{last} - float32", "all - float32"]]
    for row in rows:
        reference = next(other for other in rows if other["game"] == row["game"])  # float32 comes first
        texts = [with_interval(row[kind]) for kind in ("last", "all")]
        for kind in ("last", "all"):
            difference = [own - other for own, other in zip(row[kind], reference[kind], strict=True)]
            texts.append("" if row is reference else with_interval(difference, "+"))
        lines.append([row["game"], row["precision"], *texts])
    return format_table(lines, "markdown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=["Freeway", "Breakout"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=500_000)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; with several, each has one thread")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where `runs` is")
    args = parser.parse_args()
    choices = product(args.games, args.seeds, PRECISIONS)
    train_all(args.folder, [run_of(*choice, args.steps) for choice in choices], args.jobs)
    rows = compare(args.folder, args.games, args.seeds, args.steps)
    print(f"mean return over seeds {args.seeds} and 95 % intervals")
    print(table(rows))
    RESULTS.mkdir(exist_ok=True)
    settings = {"games": args.games, "seeds": args.seeds, "steps": args.steps}
    content = {"title": "precision", "settings": settings, "machine": machine(), "rows": rows}
    (RESULTS / "precision.json").write_text(json.dumps(content, indent=2) + "\n")
    draw(args.folder, args.games, args.seeds, args.steps)
    print(f"files: {RESULTS / 'precision'}.json, .png")


if __name__ == "__main__":
    main()
