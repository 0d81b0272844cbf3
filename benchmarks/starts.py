"""How much does the way in which games start matter? One agent for each start, evaluated under every start.

python -m benchmarks.starts [--game Breakout] [--seed 1] [--steps 200000] [--games 60] [--folder .]

Finished runs in the folder are not run again, interrupted ones go on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from benchmarks.harness import RESULTS, machine
from benchmarks.learning import Training, require_finished, returns, train_all
from continual_hackatari.reporting.rows import FINAL
from continual_hackatari.reporting.tables import format_table
from continual_hackatari.training import checkpoint_settings, playing
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.wrappers.config import GAME_STARTS

LAST_GAMES = 100


def run_of(game: str, seed: int, start: str, steps: int) -> Training:
    return Training(f"starts_{start}", game, seed, ("--env_id", f"ALE/{game}-v5", "--game_start", start), steps)


def scores(path: Path, start: str, games: int) -> list[float]:
    """Scores of whole games that the agent in `path` plays when they begin with `start`, actions sampled."""
    checkpoint = load_checkpoint(path)
    flags: dict[str, Any] = {"agent_path": (str(path),), "game_start": start}
    settings = checkpoint_settings.complete_settings(flags, checkpoint)
    game, _ = checkpoint_settings.choose_game(settings, checkpoint)
    agent = playing.load_agent(str(path), checkpoint, settings["architecture"], game)
    cpu = torch.device("cpu")
    options = {"episodes": games, "seed": 1, "deterministic": False, "num_envs": 8, "num_workers": None, "device": cpu}
    (records,) = playing.evaluate(agent, game, [""], **options).values()
    return [record.score for record in records]


def table(rows: Mapping[str, Mapping[str, tuple[float, float]]]) -> str:
    """Mean and standard error per agent (down) and start of its evaluation (across)."""
    lines = [["trained with", *(f"`{start}`" for start in GAME_STARTS)]]
    for trained, row in rows.items():
        cells = [f"{mean:.1f} ± {error:.1f}" for mean, error in (row[start] for start in GAME_STARTS)]
        lines.append([f"`{trained}`", *cells])
    return format_table(lines, "markdown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="Breakout")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--games", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; with several, each has one thread")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where `runs` is")
    args = parser.parse_args()
    runs = {start: run_of(args.game, args.seed, start, args.steps) for start in GAME_STARTS}
    train_all(args.folder, runs.values(), args.jobs)
    folders = {start: require_finished(args.folder, run) for start, run in runs.items()}
    in_training = {start: float(returns(path)[1][-LAST_GAMES:].mean()) for start, path in folders.items()}
    rows: dict[str, dict[str, tuple[float, float]]] = {}
    for trained, folder in folders.items():
        played = {start: scores(folder / FINAL, start, args.games) for start in GAME_STARTS}
        rows[trained] = {start: (fmean(of), stdev(of) / len(of) ** 0.5) for start, of in played.items()}
        print(f"{trained}: evaluated", flush=True)
    print(table(rows))
    print(f"last {LAST_GAMES} games of training: {in_training}")
    settings = {"game": args.game, "seed": args.seed, "steps": args.steps, "games": args.games}
    content = {"title": "starts", "settings": settings, "machine": machine(), "training": in_training, "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "starts.json").write_text(json.dumps(content, indent=2) + "\n")
    print(f"file: {RESULTS / 'starts.json'}")


if __name__ == "__main__":
    main()
