"""What a replay costs: room, and processor time to store, draw and save; beside what playing and learning take.

python -m benchmarks.replay [--games Freeway Breakout MsPacman SpaceInvaders] [--steps 4000]

Random play of 8 games, in blocks of 20 steps with 18 logits a step, as `continual_clear.py` keeps them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, machine
from continual_hackatari.replay import Layout, Replay
from continual_hackatari.training.replay import ReplayFile
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

GAMES, BLOCK, NUM_ENVS = ("Freeway", "Breakout", "MsPacman", "SpaceInvaders"), 20, 8
FIELDS = {"actions": (np.int64, ()), "logits": (np.float32, (18,)), "values": (np.float32, ())}


def seconds(call: Callable[[], object]) -> float:
    """Processor time of this process."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def costs(game: str, steps: int) -> dict[str, float]:
    """Microseconds of processor time and bytes, per step."""
    draws, stored = np.random.default_rng(1), 0.0
    with closing(ModifiedVectorEnv(game_config(f"ALE/{game}-v5")[0], NUM_ENVS, num_workers=0, copy=False)) as envs:
        envs.reset(seed=1)
        arrays, shape = envs.arrays, envs.observation_shape
        replay = Replay(Layout(shape, np.uint8, FIELDS), NUM_ENVS, block_steps=BLOCK, steps=10**9, mb=10**6)
        for _ in range(steps // (BLOCK * NUM_ENVS)):
            seen, done = np.zeros((BLOCK, NUM_ENVS, *shape), np.uint8), np.zeros((BLOCK, NUM_ENVS), bool)
            ends = []
            for t in range(BLOCK):
                seen[t] = arrays.observations
                envs.step(draws.integers(envs.num_actions, size=NUM_ENVS))
                done[t] = arrays.terminated | arrays.truncated
                ends.append((t, np.flatnonzero(done[t]), arrays.final_observations[done[t]]))
            fields = {
                name: draws.random((BLOCK, NUM_ENVS, *size)).astype(dtype) for name, (dtype, size) in FIELDS.items()
            }
            begin = time.process_time()
            replay.add(seen, fields, done=done, tasks="", step=0, last=arrays.observations, ends=ends)
            stored += time.process_time() - begin
    played = replay.num_steps
    with tempfile.TemporaryDirectory() as folder:
        file = ReplayFile(replay)
        saving = seconds(lambda: file.save(Path(folder) / "replay_step1.pt"))
        again = seconds(lambda: file.save(Path(folder) / "replay_step2.pt"))
    return {
        "bytes": replay.num_bytes / played,
        "store": 1e6 * stored / played,
        "draw_blocks": 1e6 * seconds(lambda: [replay.sample(NUM_ENVS) for _ in range(20)]) / (20 * NUM_ENVS * BLOCK),
        "draw_steps": 1e6 * seconds(lambda: [replay.sample_steps(32, 3) for _ in range(10)]) / 320,
        "save_new": 1e6 * saving / played,
        "save_index": 1e6 * again / played,
    }


def table(rows: dict[str, dict[str, float]]) -> str:
    """As docs/replay.md has it."""
    lines = [
        "| game | MB per 100,000 steps | store | draw, of a block | draw, single | save |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for game, row in rows.items():
        times = [row[name] for name in ("store", "draw_blocks", "draw_steps", "save_new")]
        lines.append(f"| {game} | {row['bytes'] / 10:.0f} | " + " | ".join(f"{each:.0f}" for each in times) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=list(GAMES))
    parser.add_argument("--steps", type=int, default=4_000)
    args = parser.parse_args(argv)
    rows = {game: costs(game, args.steps) for game in args.games}
    print(table(rows))
    content: dict[str, Any] = {"title": "replay", "settings": vars(args), "machine": machine(), "rows": rows}
    (RESULTS / "replay.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
