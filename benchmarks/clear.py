"""Whole training by PPO, V-trace, CLEAR and Progress & Compress, in turns: steps per second, or processor time.

    python -m benchmarks.clear [--steps 20480] [--rounds 3] [--processor] [--env_id ALE/Freeway-v5]

Each script with its defaults, from its first update to its last. With --processor the games play in the training's own
process, and its processor time counts, of all threads: on a machine with other work that can be compared, speed cannot.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import in_turn, report

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = "PPO"
CONTESTANTS = {
    REFERENCE: ["continual_training_example"],
    "V-trace (--replay_ratio 0)": ["continual_clear", "--replay_ratio", "0"],
    "CLEAR (--replay_ratio 1)": ["continual_clear", "--replay_ratio", "1"],
    "Progress & Compress": ["continual_progress_compress"],
}
FLAGS = ["--no_cuda", "--checkpoint_every", "0"]
NOTHING_MEASURED = ["--plasticity_every", "0"]
"""For scripts that measure plasticity."""


def train(script: str, flags: Sequence[str]) -> None:
    """Train, and print steps, seconds and processor seconds from the end of the first update to that of the last."""
    from continual_hackatari.training.run import Run

    notes: list[tuple[int, float, float]] = []
    end_round = Run.end_round

    def noting(run: Run, numbers: dict[str, float]) -> None:
        end_round(run, numbers)
        notes.append((run.global_step, time.perf_counter(), time.process_time()))

    Run.end_round = noting  # type: ignore[assignment, method-assign]
    importlib.import_module(f"continual_hackatari.{script}").main(flags)
    print(json.dumps([last - first for first, last in zip(notes[0], notes[-1], strict=True)]))


def measure(args: argparse.Namespace, words: Sequence[str]) -> float:
    """Steps per second, or milliseconds of a processor per step."""
    flags = [*words, "--env_id", args.env_id, "--total_timesteps", str(args.steps), *FLAGS]
    flags += ["--num_workers", "0"] if args.processor else []
    flags += NOTHING_MEASURED if words[0] != "continual_progress_compress" else []
    code = "import sys; from benchmarks.clear import train; train(sys.argv[1], sys.argv[2:])"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}", *flags]
        said = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
    steps, seconds, of_processor = json.loads(said.splitlines()[-1])
    return 1000 * of_processor / steps if args.processor else steps / seconds


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env_id", default="ALE/Freeway-v5")
    parser.add_argument("--steps", type=int, default=20_480, help="per contestant and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processor", action="store_true", help="measure processor time per step, not speed")
    args = parser.parse_args(argv)
    contestants = {name: lambda words=words: measure(args, words) for name, words in CONTESTANTS.items()}
    rows = in_turn(contestants, args.rounds)
    unit = "ms of a processor per step" if args.processor else "steps/s"
    report("clear_processor" if args.processor else "clear", rows, REFERENCE, unit, vars(args))


if __name__ == "__main__":
    main()
