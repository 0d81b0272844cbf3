"""What each method of `--methods` costs, in turns with plain PPO: of a whole run, and of a gradient step of it.

    python -m benchmarks.cost_of_methods [--rounds 8] [--pairs 3]

A whole run is Freeway, 8 games, a round of 1,024 steps with its update, in one process and thread; a gradient step has
256 rows of made-up frames. Both are processor time, so that other work on the machine counts little. What a method does
at a boundary is told beside it, and how much it keeps.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.harness import RESULTS, in_turn, report
from continual_hackatari import continual_training_example as training
from continual_hackatari.agents.acceleration import put_channels_last
from continual_hackatari.methods import all_methods
from continual_hackatari.methods.moments import Clock, Rows
from continual_hackatari.training.method_settings import complete_methods
from continual_hackatari.training.ranks import ALONE
from continual_hackatari.training.rollouts import Rollout
from continual_hackatari.training.run import Run
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
    put_channels_last(agent)
    optimizer = training.make_optimizer(args, agent)
    methods = make_methods(args, agent, optimizer, ALONE, training.make_scalers(args))
    autocast, rows = torch.autocast("cpu", enabled=False), torch.arange(ROWS)
    seen = rollout.observations.repeat(4, 1, 1, 1, 1)
    ends = np.zeros(seen.shape[:2], np.bool_)
    if methods.memories:  # they do something once there is a past
        methods.rows(Rows(seen, rollout.actions, {}, None, ends, "", Clock(1, 0, None)))
        methods.boundary("", "a", Clock(1, 0, None))

    def step() -> float:
        begin = time.process_time()
        training.minibatch_step(args, agent, optimizer, autocast, rollout, rows, methods)
        return 1000 * (time.process_time() - begin)

    def boundary() -> tuple[float, float]:
        methods.rows(Rows(seen, rollout.actions, {}, None, ends, "a", Clock(1, 0, None)))
        begin = time.process_time()
        methods.boundary("a", "b", Clock(1, 0, None))
        seconds = time.process_time() - begin
        methods.rows(Rows(seen, rollout.actions, {}, None, ends, "b", Clock(1, 0, None)))
        kept = io.BytesIO()
        torch.save((methods.state_dict(), methods.large_state()), kept)
        past = sum(memory.num_bytes for memory in methods.memories.values())
        return seconds, (len(kept.getbuffer()) + past) / 1e6

    return step, boundary


def whole_run(names: Sequence[str]) -> float:
    """Processor seconds of a round of a run with these methods: 1,024 steps, their update, and what is logged."""
    marks: list[float] = []

    def marking(function: Callable[..., Any], before: bool) -> Callable[..., Any]:
        def marked(*args: Any) -> Any:
            if before:
                marks.append(time.process_time())
            found = function(*args)
            if not before:
                marks.append(time.process_time())
            return found

        return marked

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(contextlib.redirect_stdout(io.StringIO()))
        enter(contextlib.redirect_stderr(io.StringIO()))
        enter(patch.object(Run, "begin_round", marking(Run.begin_round, before=True)))
        enter(patch.object(Run, "end_round", marking(Run.end_round, before=False)))
        words = ["--env_id", "ALE/Freeway-v5", "--total_timesteps", "1024", "--num_workers", "0", "--no_cuda"]
        words += ["--runs_dir", folder, "--plasticity_every", "0", *(["--methods", *names] if names else [])]
        training.main(words)
    return marks[1] - marks[0]


def whole_runs(pairs: int) -> dict[str, list[float]]:
    """Of each method: processor time of a round with it over that of plain PPO right before, so many times."""
    whole_run(())  # what is loaded by the first run counts for nobody
    ratios: dict[str, list[float]] = {name: [] for name in all_methods()}
    for turn in range(pairs):
        for name, found in ratios.items():
            plain = whole_run(())
            found.append(whole_run((name,)) / plain)
            print(f"pair {turn + 1}/{pairs}  {name}: {found[-1]:.3f}", file=sys.stderr, flush=True)
    return ratios


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="of gradient steps")
    parser.add_argument("--pairs", type=int, default=3, help="of whole runs")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rollout = made_up_rollout()
    contestants = {PLAIN: step_with((), rollout)} | {name: step_with((name,), rollout) for name in all_methods()}
    rows = in_turn({name: step for name, (step, _) in contestants.items()}, args.rounds)
    boundaries = {name: boundary() for name, (_, boundary) in contestants.items()}
    for name, (seconds, kept) in boundaries.items():
        print(f"{name}: {seconds:.2f} s at a boundary, {kept:.1f} MB kept")
    settings = {"rows": ROWS, "boundaries": boundaries, "whole_runs": whole_runs(args.pairs)}
    report("cost_of_methods", rows, PLAIN, "ms per step", settings)
    print(table(json.loads((RESULTS / "cost_of_methods.json").read_text())))


def table(result: Mapping[str, Any]) -> str:
    """What `main` wrote, as Markdown; steps per second of a whole run as a multiple of plain PPO's."""
    steps = {row["name"]: row["median"] for row in result["rows"]}
    lines = ["| method | steps/s | gradient step | seconds at a boundary | MB |", "|---|---:|---:|---:|---:|"]
    for name, ratios in result["settings"]["whole_runs"].items():
        seconds, kept = result["settings"]["boundaries"][name]
        speed = f"{1 / statistics.median(ratios):.2f}" if ratios else "-"
        cells = [f"`{name}`", speed, f"{steps[name] / steps[PLAIN]:.2f}", f"{seconds:.1f}", f"{kept:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
