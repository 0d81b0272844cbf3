"""What watching a run costs: training with plasticity, continual evaluation or videos, and with none of them.

python -m benchmarks.watching [--steps 20480] [--rounds 5] [--precisions float32 bfloat16]
    [--env_id ALE/Freeway-v5]

8 games, 128 steps, 4 epochs, 4 minibatches. Steps per second count from the first to the last update, so without the
wait for evaluations that are left at the end; the seconds of whole commands have it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from functools import partial

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.harness import in_turn, report
from benchmarks.training import run_training, speed

REFERENCE = "nothing watched"
PLASTICITY = "plasticity, every 10th rollout"
OFTEN = ("--plasticity_every", "10")
NO_PLASTICITY = ("--plasticity_every", "0")
EVALUATION = (*NO_PLASTICITY, "--eval_games", "1", "--eval_modifs", "no_modif", "all_black_cars")
PRECISIONS = {"float32": ("--amp", "off"), "bfloat16": ("--amp", "bf16")}


def share_of_plasticity(events: EventAccumulator) -> float:
    """Share of the run's time that was spent on measuring plasticity."""
    phases = [name for name in events.Tags()["scalars"] if name.startswith("time/")]
    seconds = {name: sum(event.value for event in events.Scalars(name)) for name in phases}
    return seconds.get("time/plasticity", 0.0) / sum(seconds.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env_id", default="ALE/Freeway-v5")
    parser.add_argument("--steps", type=int, default=20_480, help="per contestant and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    args = parser.parse_args()
    watching: dict[str, Sequence[str]] = {
        REFERENCE: NO_PLASTICITY,
        PLASTICITY: OFTEN,
        "evaluation, every half of the run": (*EVALUATION, "--eval_every", str(args.steps // 2)),
        "videos": (*NO_PLASTICITY, "--capture_video"),
    }
    for precision in args.precisions:
        seconds: dict[str, list[float]] = {name: [] for name in watching}
        shares: list[float] = []

        def measure(
            name: str, flags: Sequence[str] = PRECISIONS[precision], seconds: dict = seconds, shares: list = shares
        ) -> float:
            start = time.perf_counter()
            events = run_training(args.env_id, args.steps, (*flags, *watching[name]))
            seconds[name].append(time.perf_counter() - start)
            if name == PLASTICITY:
                shares.append(share_of_plasticity(events))
            return speed(events)

        rows = in_turn({name: partial(measure, name) for name in watching}, args.rounds)
        more = {
            "seconds_of_command": {name: statistics.median(values[1:]) for name, values in seconds.items()},
            "share_of_plasticity": statistics.median(shares[1:]),  # the first round does not count
        }
        print(json.dumps(more, indent=2))
        report(f"watching_{precision}", rows, REFERENCE, "steps/s", {**vars(args), **more})


if __name__ == "__main__":
    main()
