"""The template `cluster/slurm_array.sh` on a real Slurm: one that this test starts for itself, on this machine."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, read_csv
from jobs import free_port
from processes import wait_until_gone

from continual_hackatari.training.checkpoints import load_checkpoint

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
SBIN = "/usr/sbin:/usr/local/sbin"  # where the daemons are, which is not on every user's path
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:{SBIN}"
HOURS = 3600.0
TIME_LIMIT = ["--time=00:02:00", "--signal=B:USR1@60"]
SWEEP = """
program: continual_training_example.py
command: ["${{interpreter}}", "${{program}}", --no-cuda, "${{args}}"]
method: grid
metric: {{name: charts/SPS, goal: maximize}}
parameters:
  env_id: {{value: ALE/Freeway-v5}}
  config: {{value: schedule.json}}
  architecture: {{value: PPO_CBP}}
  num_envs: {{value: 4}}
  num_workers: {{value: 0}}
  seed: {{values: [1, 2]}}
"""
SCHEDULE = """{{
  "modification_factory": "RandomModificationFactory",
  "modification_factory_kwargs": {{
    "num_total_steps": {steps},
    "modifications": ["all_black_cars", "stop_random_car", ""],
    "num_repetitions": 5000
  }}
}}"""
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that is requeued waits until its old credential has expired, by default two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def run(*words, folder, **environment):
    """What a command prints; it must succeed."""
    environment = {**os.environ, "PATH": PATH, "OMP_NUM_THREADS": "1", **environment}
    result = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, (words, result.stdout, result.stderr)
    return result.stdout


def wait_for(condition, seconds, describe):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, describe()
        time.sleep(1)


@pytest.fixture
def slurm(tmp_path):
    """A Slurm of this test's own: one node, two cores; yields the path of its configuration."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f"needs Slurm, `apt-get install slurm-wlm munge` on Debian (missing: {', '.join(missing)})")
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True, mode=0o755)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    host, path = socket.gethostname().split(".")[0], folder / "slurm.conf"
    ports = (free_port(), free_port())
    path.write_text(CONFIGURATION.format(host=host, ports=ports, user=getpass.getuser(), folder=folder))
    files = {"key-file": "munge.key", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "munged.seed"}
    options = [f"--{option}={folder / name}" for option, name in {**files, "socket": "munge.socket"}.items()]
    daemons = (["munged", "--foreground", "--force", *options], ["slurmctld", "-D"], ["slurmd", "-D"])
    environment, started = {**os.environ, "PATH": PATH, "SLURM_CONF": str(path)}, []
    try:
        for words in daemons:
            with open(folder / f"{words[0]}.out", "wb") as output:
                started.append(subprocess.Popen(words, env=environment, stdout=output, stderr=output))
            if words[0] == "munged":
                wait_for((folder / "munge.socket").exists, 60, (folder / "munged.out").read_text)
        state = ["sinfo", "--noheader", "--format=%T"]
        wait_for(
            lambda: subprocess.run(state, env=environment, capture_output=True, text=True).stdout.strip() == "idle",
            120,
            lambda: "".join(log.read_text() for log in folder.glob("slurm*.out")),
        )
        yield str(path)
        subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=environment)  # jobs would outlive the daemons
        jobs = ["squeue", "--noheader"]
        wait_for(
            lambda: not subprocess.run(jobs, env=environment, capture_output=True).stdout, 300, lambda: "jobs hang"
        )
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
        wait_until_gone([process.pid for process in started])


def project(folder, steps):
    """A folder that is this project, with a sweep of two seeds and no runs."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.name not in ("runs", "sweeps") and not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    (folder / "two.yaml").write_text(SWEEP.format())
    (folder / "schedule.json").write_text(SCHEDULE.format(steps=steps))
    return folder


def starts(folder):
    """How often each run of the sweep was started."""
    outputs = sorted(folder.glob("sweeps/two/*/output.txt"))
    return [sum(line.startswith("$ ") for line in path.read_text().splitlines()) for path in outputs]


def by_seed(folder):
    return {load_checkpoint(path).args["seed"]: path.parent for path in folder.glob("runs/*/model.cleanrl_model")}


@pytest.mark.long
def test_tasks_that_are_requeued_again_and_again_end_as_if_nothing_had_happened(slurm, tmp_path):
    """Two tasks with a time limit of two minutes, compared with runs that nobody stopped."""
    steps = int(os.environ.get("SLURM_TEST_STEPS", 300_000))
    alone, cluster = project(tmp_path / "alone", steps), project(tmp_path / "cluster", steps)
    resources = ["--cpus-per-task=1", "--mem=0", *TIME_LIMIT]
    job = run(
        *["sbatch", "--parsable", "--array=0-1", *resources, "cluster/slurm_array.sh", "two.yaml"],
        folder=cluster,
        SLURM_CONF=slurm,
    ).strip()
    queue = ["squeue", "--noheader", "--array", "--format=%i %T %r", f"--jobs={job}"]
    waiting = {"folder": cluster, "SLURM_CONF": slurm}
    logs = lambda: "".join(path.read_text() for path in cluster.glob("slurm_*.log"))  # noqa: E731
    wait_for(lambda: len(by_seed(cluster)) == 2 or not run(*queue, **waiting), 3 * HOURS, logs)
    assert len(by_seed(cluster)) == 2, logs()
    assert min(starts(cluster)) > 1, "the runs were too short to come to their time limit"

    run(sys.executable, "sweep.py", "two.yaml", "--jobs", "2", folder=alone)
    assert starts(alone) == [1, 1]
    for seed in (1, 2):
        first, second = by_seed(cluster)[seed], by_seed(alone)[seed]
        weights = [load_checkpoint(folder / "model.cleanrl_model").model_weights for folder in (first, second)]
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        assert (first / "episodes.csv").read_bytes() == (second / "episodes.csv").read_bytes()
        assert len(read_csv(first / "episodes.csv")) > 0
    print(f"requeues: {[number - 1 for number in starts(cluster)]}")
