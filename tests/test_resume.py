"""A run that was stopped goes on as if it had not been: killed anywhere, continued, compared with one that was not."""

import json
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import ROOT, only_run, read_csv, write_config
from lives import Life
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiment.checkpoints import load_checkpoint
from experiment.resume import PREVIOUS, RESUME, load_state

SMALL = ["--num_envs", "2", "--num_steps", "16", "--num_workers", "0", "--no-cuda"]
SWITCHING = {
    "env_id": "ALE/Freeway-v5",
    "modification_factory": "RandomModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 320,
        "modifications": ["all_black_cars", "stop_random_car", "align_all_cars"],
        "num_repetitions": 50,
    },
}
METHODS = {
    "PPO": ["--shrink_and_perturb", "--noise_scale", "0.001", "--save_agent_with_switch"],
    "PPO_CBP": ["--architecture", "PPO_CBP", "--replacement_rate", "0.02", "--maturity_threshold", "2"],
    "HER": ["--her", "--switch_mode", "live"],
}
TIMES = re.compile(r"time/.*|charts/SPS|switch/seconds")


def begin(folder, *flags, config=None, fault=None, every=32):
    folder.mkdir(exist_ok=True)
    config = write_config(folder, **{**SWITCHING, **(config or {})})
    return Life(folder, *SMALL, "--checkpoint_every", str(every), "--config", config, *flags, fault=fault)


def go_on(folder, *flags, fault=None):
    return Life(folder, "--resume", str(only_run(folder).relative_to(folder)), *flags, fault=fault)


def scalars(run):
    """Everything in TensorBoard that does not measure time: name -> [(step, value), ...]."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}, purge_orphaned_data=False).Reload()
    names = [name for name in events.Tags()["scalars"] if not TIMES.fullmatch(name)]
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def assert_same_run(run, other):
    first, second = (load_checkpoint(r / "model.cleanrl_model") for r in (run, other))
    assert first.global_step == second.global_step
    assert all(torch.equal(first.model_weights[name], second.model_weights[name]) for name in first.model_weights)
    assert (run / "episodes.csv").read_bytes() == (other / "episodes.csv").read_bytes()
    switches = [[{**row, "seconds": ""} for row in read_csv(r / "switches.csv")] for r in (run, other)]
    assert switches[0] == switches[1]
    assert scalars(run) == scalars(other)
    names = [sorted(path.name for path in r.glob("*.cleanrl_model")) for r in (run, other)]
    assert names[0] == names[1]


def reference(tmp_path, *flags):
    assert begin(tmp_path / "uninterrupted", *flags, every=0).end() == 0
    return only_run(tmp_path / "uninterrupted")


def test_killed_in_a_save_and_in_a_switch_it_ends_as_if_nothing_had_happened(tmp_path):
    folder = tmp_path / "killed"
    assert begin(folder, *METHODS["PPO_CBP"], fault=("die_while_writing", 2)).end() == -signal.SIGKILL
    run = only_run(folder)
    assert list(run.glob(".*.tmp")), "it was killed in the middle of a file"
    assert not (run / PREVIOUS).exists()
    assert go_on(folder, fault=("die_while_renaming", 6)).end() == -signal.SIGKILL
    assert (run / PREVIOUS).exists()
    assert go_on(folder, fault=("die_in_switch", "switch", 1)).end() == -signal.SIGKILL
    assert go_on(folder, fault=("die_in_switch", "set_modifications", 2)).end() == -signal.SIGKILL
    assert go_on(folder).end() == 0, (folder / "output.txt").read_text()
    assert not list(run.glob(".*.tmp"))
    assert_same_run(run, reference(tmp_path, *METHODS["PPO_CBP"]))
