"""The training scripts: what surrounds a training is tested over all of them."""

import functools
import importlib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import ROOT

from continual_hackatari.training import setup


class Sibling(NamedTuple):
    """A training script, and how it makes a short run of two games in rounds of 16 steps."""

    module: str
    file: Path
    small: list[str]
    method: list[str]
    """what of its algorithm is worth a look in a run that is stopped"""
    gradient_steps: int
    """per round, with both of these"""
    loss: str
    files: int
    """that a save writes: `resume.pt`, and before it what has a file of its own"""
    generator: str
    """of its actions, which each rank of a job has for itself"""
    fifth_update: tuple[int, int] | None = None
    """the first gradient step after step 128, and at which step it is, in test_resume.py; None: at 160 as they say"""

    @property
    def name(self) -> str:
        return next(name for name, one in SIBLINGS.items() if one is self)

    def load(self) -> Any:
        return importlib.import_module(self.module)

    @property
    def main(self) -> Any:
        return self.load().main

    @property
    def prepare(self) -> Any:
        return functools.partial(setup.prepare, self.load().SCRIPT)


SMALL = ["--num_envs", "2", "--num_steps", "16", "--num_workers", "0", "--no-cuda"]
PPO = Sibling(
    "continual_hackatari.continual_training_example",
    ROOT / "continual_training_example.py",
    [*SMALL, "--update_epochs", "2", "--plasticity_every", "3"],
    ["--architecture", "PPO_CBP", "--replacement_rate", "0.02", "--maturity_threshold", "2"],
    gradient_steps=8,
    loss="policy_loss",
    files=1,
    generator="actions",
)
# The replay is full after three rounds and the target network renewed in every second one.
Q_LEARNER = Sibling(
    "q_learner",
    ROOT / "tests" / "q_learner.py",
    [*SMALL, "--replay_size", "90", "--minibatch_size", "4", "--target_every", "64"],
    ["--exploration_steps", "200", "--final_epsilon", "0.2"],
    gradient_steps=16,
    loss="td_loss",
    files=2,
    generator="exploration",
)
# The replay is full after three rounds.
CLEAR = Sibling(
    "continual_hackatari.continual_clear",
    ROOT / "continual_clear.py",
    [*SMALL, "--plasticity_every", "3", "--replay_steps", "96"],
    ["--methods", "redo", "--redo.every", "2", "--redo.threshold", "0.3"],
    gradient_steps=1,
    loss="policy_loss",
    files=3,  # the replay's blocks, what it knows of them, and `resume.pt`
    generator="actions",
)
# Rounds are parted where a phase or a regime ends in them.
PROGRESS_COMPRESS = Sibling(
    "continual_hackatari.continual_progress_compress",
    ROOT / "continual_progress_compress.py",
    [*SMALL, "--progress_steps", "30", "--ewc_samples", "20"],
    ["--methods", "redo", "--redo.every", "2", "--redo.threshold", "0.3"],
    gradient_steps=1,
    loss="distillation",
    files=2,  # what online EWC remembers, and `resume.pt`
    generator="actions",
    fifth_update=(9, 130),
)
SIBLINGS = {"ppo": PPO, "q_learner": Q_LEARNER, "clear": CLEAR, "progress_compress": PROGRESS_COMPRESS}

# Parametrises a test; a test's module-wide fixtures may ask for `sibling` too (see conftest.py).
EVERY = pytest.mark.parametrize(
    "sibling",
    [pytest.param(name, marks=() if name in ("ppo", "q_learner") else pytest.mark.slow) for name in SIBLINGS],
    indirect=True,
)
EVERY_BUT_SLOWLY = pytest.mark.parametrize(
    "sibling",
    ["ppo", *(pytest.param(name, marks=pytest.mark.slow) for name in SIBLINGS if name != "ppo")],
    indirect=True,
)
PPO_ALONE = pytest.mark.parametrize("sibling", ["ppo"], indirect=True)
