"""What a switch costs, what a run's start costs, and what a thousand switches leave behind.

python -m benchmarks.switches [--num_envs 8] [--switches 1000] [--env_id ALE/Freeway-v5]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, machine, report
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

STRINGS = ("all_black_cars", "stop_random_car all_white_cars", "", "stop_all_cars")
START = """
import time
begin = float({begin!r})
import sys
sys.argv = ["continual_training_example.py", "--env_id", "ALE/Freeway-v5", "--total_timesteps", "8"]
from continual_hackatari import continual_training_example as training
from continual_hackatari.wrappers.vector import ModifiedVectorEnv
first = ModifiedVectorEnv.step_async
def timed(self, *arguments):
    print("first step", time.time() - begin, flush=True)
    ModifiedVectorEnv.step_async = first
    return first(self, *arguments)
ModifiedVectorEnv.step_async = timed
training.main()
"""


def resident(pids: list[int]) -> float:
    """Resident memory of the processes in MB; pages that they share count once for each."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def switch_times(envs: ModifiedVectorEnv, mode: str, number: int) -> list[float]:
    """Milliseconds of each of `number` switches, with two steps played between them."""
    times = []
    for k in range(number):
        start = time.perf_counter()
        envs.set_modifications(STRINGS[k % len(STRINGS)], mode)
        times.append(1000 * (time.perf_counter() - start))
        for _ in range(2):
            envs.step(np.ones(envs.num_envs, int))
    return times


def start_time(folder: str) -> float:
    """Seconds from the start of a Python process to the first step that its games play."""
    root = Path(__file__).resolve().parent.parent
    output = subprocess.run(
        [sys.executable, "-c", START.format(begin=time.time())],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return float(next(line for line in output.splitlines() if line.startswith("first step")).split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env_id", default="ALE/Freeway-v5")
    parser.add_argument("--num_envs", type=int, default=8)
    parser.add_argument("--switches", type=int, default=1000)
    args = parser.parse_args()
    envs = ModifiedVectorEnv(game_config(args.env_id)[0], args.num_envs, copy=False)
    envs.set_modifications("", "reset")
    switch_times(envs, "live", 50)
    pids = [os.getpid(), *envs.worker_pids()]
    before, files = resident(pids), len(os.listdir("/proc/self/fd"))
    rows = [
        Row("live", switch_times(envs, "live", args.switches // 2)),
        Row("reset", switch_times(envs, "reset", args.switches // 2)),
    ]
    after = resident(pids)
    unchanged = envs.worker_pids() == pids[1:] and len(os.listdir("/proc/self/fd")) == files
    envs.close()
    for row in rows:
        print(f"{row.name}: 95th percentile {np.percentile(row.values, 95):.2f} ms of {len(row.values)} switches")
    print(f"processes and open files {'unchanged' if unchanged else 'CHANGED'}; memory {before:.1f} -> {after:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        starts = [start_time(folder) for _ in range(5)]
    print(f"start of the process to the first step: median {np.median(starts):.2f} s (of {len(starts)})")
    settings = {
        **vars(args),
        "percentile_95_ms": {row.name: float(np.percentile(row.values, 95)) for row in rows},
        "memory_mb": [before, after],
        "processes_and_files_unchanged": unchanged,
        "start_seconds": starts,
        "load": machine()["load"],
    }
    report("switches", rows, "live", "ms", settings)


if __name__ == "__main__":
    main()
