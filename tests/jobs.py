"""Jobs of several processes: started by hand, which is quick, or by torchrun itself."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from conftest import PATIENCE
from siblings import PPO

HERE = Path(__file__).resolve().parent


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def environment(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", **{k: str(v) for k, v in more.items()}}


def start(command, folder, output, **more):
    folder.mkdir(exist_ok=True)
    with open(folder / output, "ab") as file:
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment(**more),
        )


def start_ranks(command, folder, size=2):
    """The processes of a job as torchrun starts them, without torchrun; output in `rank<r>.txt`."""
    port = free_port()
    common = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": f"test {port}"}
    return [start(command, folder, f"rank{rank}.txt", RANK=rank, LOCAL_RANK=rank, **common) for rank in range(size)]


def end(processes, timeout=PATIENCE):
    """Exit codes; none of the processes is left."""
    deadline = time.monotonic() + timeout
    try:
        return [process.wait(max(0.1, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Job:
    """torchrun with a training script; output of all processes in `output.txt`."""

    def __init__(self, folder, *flags, torchrun=("--nproc_per_node=2",), fault="-", name="output.txt", sibling=PPO):
        self.folder, self.name = folder, name
        if not any("--rdzv" in option or "--standalone" in option for option in torchrun):
            torchrun = (*torchrun, f"--master_port={free_port()}")
        words = [HERE / "rank_job.py", sibling.name, folder, fault, *flags]
        self.process = start(["-m", "torch.distributed.run", *torchrun, *words], folder, name)

    @property
    def said(self):
        return (self.folder / self.name).read_text()

    def wait_for(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition() and self.process.poll() is None:
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def end(self):
        try:
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(PATIENCE)


def notes_of(folder, rank):
    """What `rank_job.py` noted at every save."""
    path = folder / f"rank{rank}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
