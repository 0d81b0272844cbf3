"""The published results of the original system beside those of this project, under the same modifications.

python -m benchmarks.published --game Freeway [--conditions baseline] [--seeds 1 2 3] [--steps N] [--jobs 1]
    [--folder .] [--agents runs/.../model.cleanrl_model ...]

Trains the conditions in `configs/published/` (10,000,000 steps; Breakout 50,000,000), evaluates every agent on 21
sampled games per modification string and prints the table. `--steps` trains for less, and the table says so.
`--agents` evaluates agents that were trained on the unmodified game elsewhere, in the place of `--conditions`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import RESULTS, machine
from benchmarks.learning import Run, require_finished, train_all
from benchmarks.training import ROOT
from experiment.checkpoints import load_checkpoint

CONFIGS = ROOT / "configs" / "published"
EVAL_EPISODES = 21
UNMODIFIED = "no_modif"
# What the original published: mean return over 21 games, lowest and highest of 5 (Freeway) or 3 seeds, of agents that
# were trained on the unmodified game. It evaluated other agents as well, and published no table of them.
PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "Freeway": {
        UNMODIFIED: (32.3, 33.0),
        "all_black_cars": (24.5, 26.5),
        "all_red_cars": (26.8, 29.4),
        "all_white_cars": (13.7, 18.6),
        "disable_cars": (17.0, 39.0),
        "stop_random_car": (18.0, 21.0),
        "vary_car_speeds": (19.0, 22.0),
    },
    "Pong": {UNMODIFIED: (13.0, 18.5), "lazy_enemy": (-15.0, -6.0), "parallel_enemy": (-2.0, 5.0)},
    "Breakout": {UNMODIFIED: (376.0, 409.0)},
}


class Evaluation(NamedTuple):
    """One agent (`runs/<run>/<file>`): the steps it was trained for, and its mean score per modification string."""

    agent: str
    steps: int
    means: dict[str, float]


def run_of(game: str, condition: str, seed: int, steps: int | None) -> Run:
    """The training run of one condition; None: as long as its schedule."""
    config = CONFIGS / f"{game.lower()}_{condition}.json"
    return Run(f"published_{condition}", game, seed, ("--config", str(config)), steps)


def conditions(game: str) -> list[str]:
    """What the original trained on, by the files in `configs/published/`."""
    return [path.stem.split("_", 1)[1] for path in sorted(CONFIGS.glob(f"{game.lower()}_*.json"))]


def evaluate(agent: Path, game: str, folder: Path) -> Evaluation:
    """Play 21 sampled games per string with eval.py, unless its summary lies in `folder` already."""
    summary = folder / "summary.json"
    if not summary.exists():
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted evaluation left
        strings = ",".join(PUBLISHED[game])
        command = [sys.executable, str(ROOT / "eval.py"), "--agent_path", str(agent), "--env_id", f"ALE/{game}-v5"]
        command += ["--modifs", strings, "--eval_episodes", str(EVAL_EPISODES), "--output_dir", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    results = json.loads(summary.read_text())["results"]
    means = {result["modification"] or UNMODIFIED: result["mean"] for result in results}
    return Evaluation("/".join(agent.absolute().parts[-3:]), load_checkpoint(agent).global_step or 0, means)


def verdict(mean: float, published: tuple[float, float] | None) -> str:
    """Where a mean lies beside the published range."""
    if published is None:
        return "-"
    low, high = published
    return "inside" if low <= mean <= high else "above" if mean > high else "below"


def table(game: str, condition: str, evaluations: Sequence[Evaluation]) -> str:
    """One row per modification string: published range, our mean over agents, their lowest and highest."""
    steps = ", ".join(sorted({f"{evaluation.steps:,}" for evaluation in evaluations}))
    agents = "1 agent" if len(evaluations) == 1 else f"{len(evaluations)} agents"
    lines = [
        f"{game}, trained on {condition}, {agents} of {steps} steps",
        "",
        "| evaluated under | published | ours, mean | ours, lowest to highest | |",
        "|---|--:|--:|--:|---|",
    ]
    for string, of_baseline in PUBLISHED[game].items():
        published = of_baseline if condition == "baseline" else None
        ours = [evaluation.means[string] for evaluation in evaluations]
        mean = statistics.mean(ours)
        theirs = "-" if published is None else f"{published[0]:g} to {published[1]:g}"
        where = verdict(mean, published)
        lines.append(f"| `{string}` | {theirs} | {mean:.1f} | {min(ours):.1f} to {max(ours):.1f} | {where} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", choices=sorted(PUBLISHED), required=True)
    parser.add_argument("--conditions", nargs="+", default=["baseline"], help="`all`: every one of the game")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=None, help="default: as published")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; with several, each has one thread")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where `runs` is")
    parser.add_argument("--agents", nargs="+", type=Path, default=[], help="agents trained on the unmodified game")
    args = parser.parse_args()
    known = conditions(args.game)
    args.conditions = known if args.conditions == ["all"] else args.conditions
    for condition in args.conditions:
        if condition not in known:
            parser.error(f"`--conditions` {condition}: {args.game} has {', '.join(known)}")
    return args


def agents_of(args: argparse.Namespace) -> dict[str, list[Path]]:
    """The agents per condition; trains those that are not there yet."""
    if args.agents:
        return {"baseline": args.agents}
    runs = {c: [run_of(args.game, c, seed, args.steps) for seed in args.seeds] for c in args.conditions}
    train_all(args.folder, [run for group in runs.values() for run in group], args.jobs)
    return {c: [require_finished(args.folder, run) / "model.cleanrl_model" for run in runs[c]] for c in runs}


def main() -> None:
    args = parse()
    content: dict[str, Any] = {"title": "published", "game": args.game, "machine": machine(), "conditions": {}}
    for condition, agents in agents_of(args).items():
        evaluations = [evaluate(agent, args.game, agent.parent / "eval" / "published") for agent in agents]
        text = table(args.game, condition, evaluations)
        print(text, end="\n\n")
        content["conditions"][condition] = {"table": text, "agents": [e._asdict() for e in evaluations]}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"published_{args.game.lower()}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(f"file: {path}")


if __name__ == "__main__":
    main()
