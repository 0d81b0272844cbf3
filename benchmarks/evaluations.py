"""Evaluating between two updates, in the training's own process, against a second process beside it, as it was before.

    python -m benchmarks.evaluations 546e3d2 HEAD [--pairs 3]

The first commit is the last one that had the second process; a folder stands for what it holds. Measured are seconds to
the end of the command, with all evaluations done, and processor seconds, for PPO on 8 games of Freeway: with its
update, and with a sleep of a fifth of the rollout's time in its place, as if a GPU learned while the cores are idle;
each with two cores and bound to one. The two take turns, A B B A, and a pair gives a ratio. The second process had only
what others leave of the processor, so a pair counts only where other programs used less than `--quiet` cores meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.harness import RESULTS, machine
from benchmarks.same_results import checked_out, environment

FLAGS = "--env_id ALE/Freeway-v5 --num_envs 8 --num_steps 128 --no-cuda --amp off --plasticity_every 0"
EVALUATION = "--eval_games 4 --eval_modifs no_modif all_black_cars"
# The training script; with seconds as its first argument the update is a sleep of that length.
COMMAND = """
import contextlib, sys, time
import torch
from continual_hackatari import continual_training_example as training
from continual_hackatari.training.run import Run
seconds, updating = float(sys.argv[1]), Run.updating

@contextlib.contextmanager
def asleep(run, losses, names):
    with updating(run, losses, names):
        yield
        time.sleep(seconds)

if seconds:
    Run.updating = asleep
    training.minibatch_step = lambda *_, **__: torch.zeros(len(training.OF_GRADIENT_STEP))
training.main(sys.argv[2:])
"""


class Measured(NamedTuple):
    """One run of the command."""

    seconds: float
    processor: float
    """processor seconds of all its processes"""
    others: float
    """cores that other programs used meanwhile"""


def busy() -> float:
    """Seconds that all cores of the machine have worked since its start."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def processor() -> float:
    """Processor seconds of all commands that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(code: Path, folder: Path, cores: int, sleep: float, words: Sequence[str]) -> tuple[Measured, EventAccumulator]:
    """One training in `folder`, which is new, on so many cores."""
    folder.mkdir(parents=True)
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    before = time.perf_counter(), processor(), busy()
    subprocess.run(
        [sys.executable, "-c", COMMAND, str(sleep), *words],
        cwd=folder,
        env=environment(code),
        check=True,
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    seconds, own, all_cores = (
        now - then for now, then in zip((time.perf_counter(), processor(), busy()), before, strict=True)
    )
    (run_folder,) = (folder / "runs").iterdir()
    measured = Measured(seconds, own, max(0.0, all_cores - own) / seconds)
    return measured, EventAccumulator(str(run_folder)).Reload()


def wait_until_quiet(cores: float, seconds: float = 3.0, patience: float = 3600.0) -> None:
    """Wait until other programs have used less than so many cores for a while, or patience ends."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before, start = busy(), time.perf_counter()
        time.sleep(seconds)
        if (busy() - before) / (time.perf_counter() - start) < cores:
            return


def rollout_seconds(events: EventAccumulator) -> float:
    """What a rollout takes, in the median."""
    phases = [[event.value for event in events.Scalars(f"time/{name}")] for name in ("inference", "emulation")]
    return statistics.median(map(sum, zip(*phases, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("beside", help="a commit, or a folder: with the second process")
    parser.add_argument("between", help="a commit, or a folder: evaluating between two updates")
    parser.add_argument("--steps", type=int, default=10_240)
    parser.add_argument("--eval_every", type=int, default=5_120)
    parser.add_argument("--time_limit", type=int, default=500, help="frames of a game")
    parser.add_argument("--pairs", type=int, default=3, help="that count, per condition")
    parser.add_argument("--tries", type=int, default=20, help="pairs at most, per condition")
    parser.add_argument("--quiet", type=float, default=0.15)
    parser.add_argument("--conditions", nargs="+", default=["sleep 1", "sleep 2", "update 2", "update 1"])
    args = parser.parse_args()
    words = [*FLAGS.split(), "--total_timesteps", str(args.steps), "--time_limit", str(args.time_limit)]
    evaluated = [*words, *EVALUATION.split(), "--eval_every", str(args.eval_every)]
    results: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        codes = {
            name: stack.enter_context(checked_out(getattr(args, name), place / name)) for name in ("beside", "between")
        }
        number = iter(range(10**6))

        def measure(name: str, cores: int, sleep: float, flags: Sequence[str]) -> tuple[Measured, EventAccumulator]:
            return run(codes[name], place / str(next(number)), cores, sleep, flags)

        def alone(cores: int, sleep: float) -> tuple[Measured, EventAccumulator]:
            """Without evaluations, as soon as the machine is quiet for so long."""
            while True:
                wait_until_quiet(args.quiet)
                measured, events = measure("between", cores, sleep, words)
                if measured.others < args.quiet:
                    return measured, events

        for condition in args.conditions:
            kind, cores = condition.split()[0], int(condition.split()[1])
            without, events = alone(cores, 0.0)
            sleep = rollout_seconds(events) / 5 if kind == "sleep" else 0.0
            if kind == "sleep":
                without, _ = alone(cores, sleep)
            print(f"{condition}: without evaluations {without.seconds:.1f} s, sleep {sleep:.3f} s", flush=True)
            pairs: list[dict[str, Measured]] = []
            while sum(is_quiet(pair, args.quiet) for pair in pairs) < args.pairs and len(pairs) < args.tries:
                wait_until_quiet(args.quiet)
                order = ("beside", "between") if len(pairs) % 2 == 0 else ("between", "beside")
                pairs.append({name: measure(name, cores, sleep, evaluated)[0] for name in order})
                print(json.dumps({name: [round(x, 2) for x in one] for name, one in pairs[-1].items()}), flush=True)
            results.append(summary(condition, without, sleep, pairs, args.quiet))
            print(json.dumps(results[-1]), flush=True)
    content = {"title": "evaluations", "settings": vars(args), "machine": machine(), "conditions": results}
    (RESULTS / "evaluations.json").write_text(json.dumps(content, indent=2) + "\n")


def is_quiet(pair: dict[str, Measured], quiet: float) -> bool:
    """Whether a pair counts."""
    return all(one.others < quiet for one in pair.values())


def summary(
    condition: str, alone: Measured, sleep: float, pairs: Sequence[dict[str, Measured]], quiet: float
) -> dict[str, Any]:
    """Medians over the pairs that count; all pairs as they were measured."""
    counted = [pair for pair in pairs if is_quiet(pair, quiet)]

    def ratio(name: str) -> float | None:
        ratios = [getattr(pair["between"], name) / getattr(pair["beside"], name) for pair in counted]
        return round(statistics.median(ratios), 3) if ratios else None

    return {
        "condition": condition,
        "sleep": round(sleep, 4),
        "without_evaluations": alone._asdict(),
        "counted": len(counted),
        "ratio_of_seconds": ratio("seconds"),
        "ratio_of_processor_seconds": ratio("processor"),
        "pairs": [{name: one._asdict() for name, one in pair.items()} for pair in pairs],
    }


if __name__ == "__main__":
    main()
