"""Memory of a whole training run, all its processes together, and how it grows with games and rollout length.

python -m benchmarks.memory [--env_id ALE/Freeway-v5]

Linux only: the proportional set size of every process is read from /proc, so shared pages count once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Row, report, tree
from benchmarks.training import ROOT

STANDARD = (8, 128)
SHAPES = (STANDARD, (16, 128), (32, 128), (8, 256), (8, 512))


def proportional_set_size(pid: int) -> float:
    """Memory of a process in MB; a page that n processes share counts as 1/n of a page."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3


def loads_torch(pid: int) -> bool:
    """Whether PyTorch's libraries are mapped into the process."""
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def peak(env_id: str, num_envs: int, num_steps: int) -> tuple[float, float, bool]:
    """Peak of the whole tree and of one worker in MB over three rollouts, and whether a worker loads PyTorch."""
    command = [sys.executable, str(ROOT / "continual_training_example.py"), "--env_id", env_id]
    command += ["--num_envs", str(num_envs), "--num_steps", str(num_steps)]
    command += ["--total_timesteps", str(3 * num_envs * num_steps)]
    whole = worker = 0.0
    torch_in_worker = False
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while run.poll() is None:
            sizes = {pid: proportional_set_size(pid) for pid in tree(run.pid)}
            workers = [pid for pid in sizes if pid != run.pid]
            whole = max(whole, sum(sizes.values()))
            worker = max([worker, *(sizes[pid] for pid in workers)])
            torch_in_worker |= any(loads_torch(pid) for pid in workers)
            time.sleep(0.1)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {run.returncode}")
    return whole, worker, torch_in_worker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env_id", default="ALE/Freeway-v5")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    rows, workers, torch_in_worker = [], [], False
    for num_envs, num_steps in SHAPES:
        runs = [peak(args.env_id, num_envs, num_steps) for _ in range(args.rounds)]
        rows.append(Row(f"this project, {num_envs} games, {num_steps} steps", [whole for whole, _, _ in runs]))
        workers += [worker for _, worker, _ in runs]
        torch_in_worker |= any(loads for _, _, loads in runs)
    print(f"largest worker: {max(workers):.0f} MB; workers {'LOAD' if torch_in_worker else 'do not load'} PyTorch")
    settings = {**vars(args), "largest_worker_mb": max(workers), "workers_load_torch": torch_in_worker}
    report("memory", rows, rows[0].name, "MB", settings)


if __name__ == "__main__":
    main()
