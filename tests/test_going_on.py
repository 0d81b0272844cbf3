"""Going on with a stopped run, all in one process: what is in the way is said, and nothing that was saved is lost."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from conftest import only_run
from own_network import OwnNetwork
from siblings import PPO
from torch import nn

from continual_hackatari import continual_training_example as training
from continual_hackatari.training import run as runs
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.resume import PREVIOUS, RESUME, ResumeError, read_sealed, write_sealed
from continual_hackatari.training.run import Run

FLAGS = ["--env_id", "ALE/Freeway-v5", "--modifs", "stop_random_car", "--no_anneal_lr", "--update_epochs", "1"]
OWN = ["--architecture", "own_network:OwnNetwork"]
FLAGS += ["--plasticity_every", "0", "--checkpoint_every", "32"]


def main(*flags):
    """The exit code of a training."""
    try:
        training.main(list(flags))
    except SystemExit as ended:
        return ended.code
    return 0


def at_step(patch, number, act):
    """Call `act` when a run has played this many steps."""
    stepped = Run.stepped

    def replacement(run):
        stepped(run)
        if run.global_step == number:
            act()

    patch.setattr(Run, "stepped", replacement)


def stop():
    os.kill(os.getpid(), signal.SIGTERM)


def step_of(path):
    return read_sealed(path)["counters"]["global_step"]


def begin(folder, *flags):
    """The folder of a run of 128 steps that was stopped after 64 of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        at_step(patch, 64, stop)
        assert main(*PPO.small, *FLAGS, *flags, "--total_timesteps", "128") == 143
    return only_run(folder)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    return begin(tmp_path_factory.mktemp("stopped"))


@pytest.fixture
def stopped(stopped_once, tmp_path, monkeypatch):
    """A copy of it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(stopped_once, Path("runs") / "stopped"))


def test_what_was_saved_after_the_state_was_read_is_not_thrown_away(stopped, monkeypatch, capsys):
    """The process before is still ending when the new one starts: the folder is locked after the state was read."""
    exclusive = runs.exclusive

    def another_goes_on_first(folder):
        with monkeypatch.context() as patch:
            patch.setattr(runs, "exclusive", exclusive)
            at_step(patch, 96, stop)
            assert main("--resume", str(stopped)) == 143
        assert "it goes on at step 64\n" in capsys.readouterr().out
        return exclusive(folder)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "exclusive", another_goes_on_first)
        assert main("--resume", str(stopped)) == 2
    assert re.search(r"^error: .*has gone on since its state was read.*; start it again", capsys.readouterr().err, re.M)
    assert step_of(stopped / RESUME) == 96
    assert step_of(stopped / PREVIOUS) == 64
    assert main("--resume", str(stopped)) == 0
    assert "it goes on at step 96\n" in capsys.readouterr().out


def test_a_folder_in_the_place_of_the_own_one_is_noticed(stopped, monkeypatch, capsys):
    def replace():
        stopped.rename("moved")
        stopped.mkdir()

    at_step(monkeypatch, 96, replace)
    assert main("--resume", str(stopped)) == 1
    assert f"error: `{stopped}` is not the folder of this run any more" in capsys.readouterr().err
    assert not list(stopped.glob("*.pt"))
    assert step_of(Path("moved") / RESUME) == 64


def test_a_csv_file_that_is_gone_is_not_begun_anew(stopped):
    """Of a real run: its state says how long the file was."""
    (stopped / "episodes.csv").unlink()
    with pytest.raises(ResumeError, match=rf"{RESUME} needs the first \d+ bytes of .*episodes.csv`, which has 0 now"):
        training.prepare(["--resume", str(stopped)])
    assert step_of(stopped / RESUME) == 64


def test_a_run_that_is_made_longer_is_longer_from_its_first_moment(stopped, monkeypatch, capsys):
    """Also where it is killed before its first save, after which the state of its earlier end would say: finished."""

    def killed():
        raise KeyboardInterrupt

    whole = Path(shutil.copytree(stopped, "runs/whole"))
    assert main("--resume", str(whole), "--total_timesteps", "192") == 0
    assert main("--resume", str(stopped)) == 0
    with monkeypatch.context() as patch:
        at_step(patch, 160, killed)
        with pytest.raises(KeyboardInterrupt):
            main("--resume", str(stopped), "--total_timesteps", "192", "--checkpoint_every", "0")
    capsys.readouterr()
    assert main("--resume", str(stopped)) == 0
    assert "is finished" not in capsys.readouterr().out
    one, other = (load_checkpoint(run / "model.cleanrl_model") for run in (stopped, whole))
    assert one.global_step == other.global_step == 192
    assert all(torch.equal(one.model_weights[name], other.model_weights[name]) for name in one.model_weights)


def content(run):
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != ".lock"}


def test_a_network_that_was_changed_in_between_is_one_sentence(tmp_path, monkeypatch, capsys):
    run = begin(tmp_path, *OWN)
    before = content(run)

    def wider(network, shape, num_actions, build=OwnNetwork.__init__):
        build(network, shape, num_actions)
        network.actor = nn.Linear(17, num_actions)

    with monkeypatch.context() as patch:
        patch.setattr(OwnNetwork, "__init__", wider)
        assert main("--resume", str(run)) == 2
    assert "own_network:OwnNetwork is not the network that was saved, put it back" in capsys.readouterr().err
    assert content(run) == before


def test_a_state_of_another_version_is_one_sentence(stopped, capsys):
    state = read_sealed(stopped / RESUME)
    write_sealed(stopped / RESUME, {**state, "counters": {**state["counters"], "rounds": 1}})
    before = content(stopped)
    assert main("--resume", str(stopped)) == 2
    assert "is one of another version of the program" in capsys.readouterr().err
    assert content(stopped) == before
    write_sealed(stopped / RESUME, {**state, "agent": {"weights": torch.zeros(1)}})
    assert main("--resume", str(stopped)) == 2
    assert f"error: `resume`: `agent` of the state in `{stopped}` does not fit" in capsys.readouterr().err
    write_sealed(stopped / RESUME, state)
    assert main("--resume", str(stopped)) == 0
