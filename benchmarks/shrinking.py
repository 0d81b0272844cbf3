"""What it costs to make the agent's frame of the screen: all of it by OpenCV, or only the bands that changed.

python -m benchmarks.shrinking [--games Freeway Pong Breakout MsPacman Enduro] [--steps 500] [--rounds 5]

Between two frames the emulator plays a step, as in training, and then the processor's caches hold its data.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from benchmarks.harness import Row, report
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.modified_game import ModifiedGame
from continual_hackatari.wrappers.shrinking import FRAME_SIZE, Shrinker

WHOLE, CHANGED = "whole screen", "changed bands"


def way_of(name: str) -> Callable[[np.ndarray], object]:
    if name == CHANGED:
        return Shrinker(210, 160)
    frame = np.empty((FRAME_SIZE, FRAME_SIZE), np.uint8)
    return lambda screen: cv2.resize(screen, frame.shape, dst=frame, interpolation=cv2.INTER_AREA)


def microseconds(name: str, way: str, steps: int, seed: int) -> float:
    """Median time per frame in one game with random actions; the same game for the same seed."""
    game = ModifiedGame(game_config(f"ALE/{name}-v5")[0], seed=seed, modification_seed=0)
    game.start((), lambda: None)
    shrink, screen, seconds = way_of(way), np.empty((210, 160), np.uint8), []
    for action in np.random.default_rng(seed).integers(len(game.actions), size=steps).tolist():
        game.step(action)
        game.ale.getScreenGrayscale(screen)
        start = time.perf_counter()
        shrink(screen)
        seconds.append(time.perf_counter() - start)
        if game.terminated or game.truncated:
            game.start((), lambda: None)
    return 1e6 * statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=["Freeway", "Pong", "Breakout", "MsPacman", "Enduro"])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rows = {(name, way): Row(f"{name}, {way}") for name in args.games for way in (WHOLE, CHANGED)}
    for seed in range(args.rounds):
        for (name, way), row in rows.items():
            row.values.append(microseconds(name, way, args.steps, seed))
    report("shrinking", list(rows.values()), f"{args.games[0]}, {WHOLE}", "us", vars(args))


if __name__ == "__main__":
    main()
