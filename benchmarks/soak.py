"""A long run with everything on: does its memory grow, do processes or open files pile up, does a warning repeat?

python -m benchmarks.soak [soak_replay] [--hours 1] [--folder FOLDER]

Linux only (/proc). Continual backpropagation, shrink and perturb, a video and a checkpoint at every switch, and a
switch every few hundred steps. Checkpoints and videos of old switches are removed as it goes: thousands fill a disk.
`soak_replay`: CLEAR, with three replays that are soon full, of which every save writes what is new.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import RESULTS, machine, tree
from benchmarks.memory import proportional_set_size
from benchmarks.training import ROOT

SCHEDULE = {
    "modification_factory": "AllCombinationsRandomModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 1_000_000_000,
        "modifications": [["", "all_black_cars", "all_pink_cars"], ["", "stop_top_4", "disable_cars", "speed_mode"]],
        "num_repetitions": 800,
    },
}
COMMON = "--env_id ALE/Freeway-v5 --save_agent_with_switch --capture_video --checkpoint_every 20000 --no_anneal_lr"
RUNS = {
    "soak": ("continual_training_example.py", f"{COMMON} --architecture PPO_CBP --shrink_and_perturb"),
    "soak_replay": (
        "continual_clear.py",
        f"{COMMON} --replay_steps 20000 --methods cloning a_gem --cloning.steps 10000 --a_gem.steps 10000",
    ),
}
"""By name: the training script and its flags."""
PERIOD, KEPT = 5.0, 4


class Sample(NamedTuple):
    """The whole tree of processes at one moment."""

    seconds: float
    memory_mb: float
    processes: int
    threads: int
    open_files: int


def entries(pid: int, what: str) -> int:
    """How many open files (`fd`) or threads (`task`) a process has."""
    try:
        return len(os.listdir(f"/proc/{pid}/{what}"))
    except OSError:  # it has just ended
        return 0


def look(pid: int, seconds: float) -> Sample:
    """A sample of the run with this process id."""
    pids = tree(pid)
    memory = sum(map(proportional_set_size, pids))
    counts = (sum(entries(pid, what) for pid in pids) for what in ("task", "fd"))
    return Sample(seconds, memory, len(pids), *counts)


def remove_old(folder: Path) -> None:
    """All but the last few checkpoints of switches and videos."""
    for pattern in ("runs/*/switch_*.cleanrl_model", "runs/*/videos/*.mp4"):
        for path in sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            path.unlink(missing_ok=True)


def soak(name: str, folder: Path, hours: float) -> tuple[list[Sample], int, list[str]]:
    """Let one of `RUNS` run for so long, then stop it by a signal; its samples, exit code and lines."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(json.dumps(SCHEDULE))
    script, flags = RUNS[name]
    command = [sys.executable, str(ROOT / script), "--config", "soak.json", *flags.split()]
    start, samples = time.monotonic(), []
    with (folder / "soak.log").open("w") as log:
        run = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        while run.poll() is None and time.monotonic() - start < 3600 * hours:
            time.sleep(PERIOD)
            samples.append(look(run.pid, time.monotonic() - start))
            remove_old(folder)
        run.send_signal(signal.SIGTERM)
        code = run.wait(120)
    return samples, code, (folder / "soak.log").read_text().splitlines()


def slope(samples: list[Sample]) -> float:
    """MB per hour after the first quarter: the median of the slopes between all pairs of minutes (Theil and Sen)."""
    first = samples[-1].seconds / 4
    minutes = collections.defaultdict(list)
    for sample in samples:
        if sample.seconds >= first:
            minutes[int(sample.seconds // 60)].append(sample.memory_mb)
    at, medians = np.array(list(minutes)), np.array([np.median(values) for values in minutes.values()])
    i, j = np.triu_indices(len(at), 1)
    return float(np.median((medians[j] - medians[i]) / (at[j] - at[i]))) * 60


def rows(path: Path) -> int:
    """Lines of a CSV file below its header."""
    return len(path.read_text().splitlines()) - 1


def summary(folder: Path, samples: list[Sample], code: int, lines: list[str]) -> dict[str, Any]:
    """What a reader wants to know of the run."""
    (run,) = (folder / "runs").iterdir()
    spoken = collections.Counter(re.sub(r"\d+", "#", line) for line in lines if not line.startswith("step "))
    steady = [sample for sample in samples if sample.seconds >= samples[-1].seconds / 4]
    return {
        "hours": samples[-1].seconds / 3600,
        "switches": rows(run / "switches.csv"),
        "games": rows(run / "episodes.csv"),
        "steps": int((run / "switches.csv").read_text().splitlines()[-1].split(",")[1]),
        "exit_code": code,
        "memory_mb_per_hour": slope(samples),
        "memory_mb": [min(s.memory_mb for s in steady), max(s.memory_mb for s in steady)],
        "processes": sorted({s.processes for s in steady}),
        "threads": sorted({s.threads for s in steady}),
        "open_files": sorted({s.open_files for s in steady}),
        "repeated_lines": {line: count for line, count in spoken.items() if count > 1},
    }


def draw(name: str, samples: list[Sample]) -> None:
    """Memory and counts over time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 4.6), sharex=True, layout="constrained")
    hours = [sample.seconds / 3600 for sample in samples]
    above.plot(hours, [sample.memory_mb for sample in samples], color="#0072b2", linewidth=1)
    above.set(ylabel="memory of all processes, MB", ylim=(0, None))
    for count, colour in (("open_files", "#d55e00"), ("threads", "#009e73"), ("processes", "#000000")):
        values = [getattr(sample, count) for sample in samples]
        below.plot(hours, values, color=colour, label=count.replace("_", " "), linewidth=1)
    below.set(xlabel="hours", ylabel="number", ylim=(0, None))
    below.legend(frameon=False, ncols=3)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / f"{name}.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", choices=RUNS, default="soak")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, default=Path("soak"), help="a new folder")
    args = parser.parse_args()
    if args.folder.exists():
        raise SystemExit(f"error: `--folder` {args.folder} exists; choose a new one")
    samples, code, lines = soak(args.run, args.folder, args.hours)
    content = {
        "title": args.run,
        "flags": RUNS[args.run][1],
        "machine": machine(),
        **summary(args.folder, samples, code, lines),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{args.run}.json").write_text(json.dumps(content, indent=2) + "\n")
    draw(args.run, samples)
    print(json.dumps(content, indent=2))
    print(f"files: {RESULTS / args.run}.json, .png")


if __name__ == "__main__":
    main()
