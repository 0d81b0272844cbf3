"""Where the time of training goes: each part alone, and all together, against what the machine could do at best.

python -m benchmarks.limits [--seconds 4] [--rounds 5] [--env_id ALE/Freeway-v5]

The parts of a step: the emulators play it, the agent chooses its action, and an update learns from it. The best that
a machine can do is all three after each other, each on all cores and none ever waiting for another.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.environment import emulators_alone, ours
from benchmarks.harness import RESULTS, Row, in_turn, report
from benchmarks.training import run_training, speed
from continual_hackatari import continual_training_example as training
from continual_hackatari.agents import make_agent
from continual_hackatari.agents.acceleration import ActingAgent, put_channels_last
from continual_hackatari.training.rollouts import empty_rollout
from continual_hackatari.training.system import keep_freed_memory
from continual_hackatari.training.timing import PhaseTimer
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Learner:
    """The agent, its optimizer and a full rollout of noise, without any games."""

    def __init__(self, env_id: str, dtype: torch.dtype) -> None:
        args = training.Args(env_id=env_id)
        envs = ModifiedVectorEnv(game_config(env_id)[0], args.num_envs, num_workers=0)
        self.agent = make_agent("PPO", envs.observation_shape, envs.num_actions)
        put_channels_last(self.agent)
        self.rollout = empty_rollout(envs, args.num_steps, torch.device("cpu"))
        envs.close()
        self.rollout.observations.random_(0, 256)
        self.rollout.actions.random_(0, self.agent.actor.out_features)
        self.rollout.advantages.normal_()
        self.args = args
        self._generator = torch.Generator().manual_seed(0)
        self.acting = ActingAgent(self.agent, dtype)
        autocast = torch.autocast("cpu", dtype, enabled=dtype != torch.float32)
        optimizer = torch.optim.Adam(self.agent.parameters(), lr=1e-4, eps=1e-5, fused=True)
        self._step = functools.partial(training.minibatch_step, args, self.agent, optimizer, autocast, self.rollout)

    def update(self) -> int:
        """Learn from one rollout; returns its number of steps."""
        for _ in range(self.args.update_epochs):
            for rows in torch.randperm(self.args.batch_size).tensor_split(self.args.num_minibatches):
                self._step(rows)
        return self.args.batch_size

    def act(self) -> int:
        """Choose actions for one step of all games, as in a rollout in two groups; returns the number of games."""
        half = self.args.num_envs // 2
        for group in (slice(0, half), slice(half, None)):
            self.acting.act(self.rollout.observations[0, group], self._generator)
        return self.args.num_envs


def rate(work: Callable[[], int], seconds: float, threads: int) -> float:
    """Steps per second of `work`, which returns how many steps it did."""
    torch.set_num_threads(threads)
    work()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        steps += work()
    return steps / (time.perf_counter() - start)


def best(rates: Sequence[float]) -> float:
    """Steps per second of parts that follow each other: their times per step add up."""
    return 1 / sum(1 / value for value in rates)


def timing_cost(num_steps: int = 128) -> float:
    """Seconds per rollout that measuring its phases takes: two groups of games have two laps per step each."""
    timer = PhaseTimer()
    start = time.perf_counter()
    for _ in range(4 * num_steps):
        timer.lap("emulation")
    return time.perf_counter() - start


def phases_of_training(args: argparse.Namespace, flags: Sequence[str], phases: dict[str, list[float]]) -> float:
    """One run of the training script; notes the seconds per rollout of each phase, medians, in `phases`."""
    events = run_training(args.env_id, args.steps, flags)
    for tag in events.Tags()["scalars"]:
        if tag.startswith("time/"):
            seconds = [event.value for event in events.Scalars(tag)[1:]]
            if not seconds:  # it is not in every rollout
                continue
            phases.setdefault(tag.removeprefix("time/"), []).append(statistics.median(seconds))
    return speed(events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env_id", default="ALE/Freeway-v5")
    parser.add_argument("--num_envs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0, help="per part and round")
    parser.add_argument("--steps", type=int, default=10_240, help="of training per round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    keep_freed_memory()
    threads = torch.get_num_threads()
    contestants: dict[str, Callable[[], float]] = {
        "emulators alone, one per core": lambda: emulators_alone(args),
        "games alone": lambda: ours(args, ""),
    }
    phases: dict[str, dict[str, list[float]]] = {}
    for name, dtype in DTYPES.items():
        learner = Learner(args.env_id, dtype)
        amp = "off" if name == "float32" else "bf16"
        contestants |= {
            f"acting alone, {name}": functools.partial(rate, learner.act, args.seconds, 1),
            f"updates alone, {name}": functools.partial(rate, learner.update, args.seconds, threads),
            f"training, {name}": functools.partial(
                phases_of_training, args, ["--amp", amp], phases.setdefault(name, {})
            ),
        }
    rows = in_turn(contestants, args.rounds)
    settings: dict[str, Any] = {
        **vars(args),
        "phases_ms": {
            name: {phase: 1000 * statistics.median(seconds) for phase, seconds in parts.items()}
            for name, parts in phases.items()
        },
        "timing_cost_ms": 1000 * float(np.median([timing_cost() for _ in range(20)])),
    }
    rows += [at_best(rows, name) for name in DTYPES]
    report("limits", rows, "training, bfloat16", "steps/s", settings)
    for name, parts in settings["phases_ms"].items():
        print(f"{name}, ms per 1,024 steps: " + ", ".join(f"{phase} {ms:.0f}" for phase, ms in parts.items()))
    print(f"measuring the phases: {settings['timing_cost_ms']:.2f} ms per rollout; files in {RESULTS}")


def at_best(rows: Sequence[Row], name: str) -> Row:
    """All parts after each other on all cores, round by round; acting was measured on one core and may use all."""
    values = {row.name: row.values for row in rows}
    cores = torch.get_num_threads()
    parts = zip(
        values["emulators alone, one per core"],
        values[f"acting alone, {name}"],
        values[f"updates alone, {name}"],
        strict=True,
    )
    return Row(f"at best, {name}", [best([emulators, acting * cores, updates]) for emulators, acting, updates in parts])


if __name__ == "__main__":
    main()
