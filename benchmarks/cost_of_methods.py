"""What each method of `--methods` costs: processor time of a gradient step of PPO with it, in turns with plain PPO.

    python -m benchmarks.cost_of_methods [--rounds 8]

256 rows of made-up frames, one thread, in processor time, so that other work on the machine counts little. What a
method does at a boundary is told beside it, and how much it keeps.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks.harness import in_turn, report
from continual_hackatari import continual_training_example as training
from continual_hackatari.methods import all_methods
from continual_hackatari.methods.moments import Clock, Rows
from continual_hackatari.training.method_settings import complete_methods
from continual_hackatari.training.ranks import ALONE
from continual_hackatari.training.rollouts import Rollout
from continual_hackatari.training.run_methods import make_methods

ROWS = 256
PLAIN = "plain PPO"


def made_up_rollout() -> Rollout:
    """32 steps of 8 games, with the channels last as in training."""
    draw, rows = torch.Generator().manual_seed(1), (32, 8)
    frames = torch.randint(256, (*rows, 84, 84, 4), dtype=torch.uint8, generator=draw).permute(0, 1, 4, 2, 3)
    values, advantages, returns = (torch.randn(rows, generator=draw) for _ in range(3))
    return Rollout(
        observations=frames,
        actions=torch.randint(3, rows, generator=draw),
        log_probs=torch.full(rows, -1.1),
        values=values,
        advantages=advantages,
        returns=returns,
        rewards=np.zeros(rows),
        terminated=np.zeros(rows, np.bool_),
        done=np.zeros(rows, np.bool_),
        achieved=np.zeros((*rows, 0), np.float32),
        goals=None,
        weights=None,
    )


def step_with(
    names: tuple[str, ...], rollout: Rollout
) -> tuple[Callable[[], float], Callable[[], tuple[float, float]]]:
    """What measures a gradient step with these methods, and what measures a boundary: seconds, and MB that are kept."""
    args = complete_methods(training.Args(methods=names))
    agent = training.build(args, (4, 84, 84), 3, torch.Generator().manual_seed(1))
    agent.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = training.make_optimizer(args, agent)
    methods = make_methods(args, agent, optimizer, ALONE, training.make_scalers(args))
    autocast, rows = torch.autocast("cpu", enabled=False), torch.arange(ROWS)

    def step() -> float:
        begin = time.process_time()
        training.minibatch_step(args, agent, optimizer, autocast, rollout, rows, methods)
        return 1000 * (time.process_time() - begin)

    def boundary() -> tuple[float, float]:
        seen = rollout.observations.repeat(4, 1, 1, 1, 1)
        methods.rows(Rows(seen, rollout.actions, {}, None, None, "a", Clock(1, 0, None)))
        begin = time.process_time()
        methods.boundary("a", "b", Clock(1, 0, None))
        seconds = time.process_time() - begin
        methods.rows(Rows(seen, rollout.actions, {}, None, None, "b", Clock(1, 0, None)))
        kept = io.BytesIO()
        torch.save((methods.state_dict(), methods.large_state()), kept)
        return seconds, len(kept.getbuffer()) / 1e6

    return step, boundary


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rollout = made_up_rollout()
    contestants = {PLAIN: step_with((), rollout)} | {name: step_with((name,), rollout) for name in all_methods()}
    rows = in_turn({name: step for name, (step, _) in contestants.items()}, args.rounds)
    boundaries = {name: boundary() for name, (_, boundary) in contestants.items()}
    for name, (seconds, kept) in boundaries.items():
        print(f"{name}: {seconds:.2f} s at a boundary, {kept:.1f} MB kept")
    report("cost_of_methods", rows, PLAIN, "ms per step", {"rows": ROWS, "boundaries": boundaries})


if __name__ == "__main__":
    main()
