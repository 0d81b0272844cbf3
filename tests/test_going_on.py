"""Going on with a stopped run, all in one process: what is in the way is said, and nothing that was saved is lost."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from conftest import only_run
from siblings import PPO

from continual_hackatari import continual_training_example as training
from continual_hackatari.training import run as runs
from continual_hackatari.training.resume import PREVIOUS, RESUME, ResumeError, read_sealed
from continual_hackatari.training.run import Run

FLAGS = ["--env_id", "ALE/Freeway-v5", "--modifs", "stop_random_car", "--no_anneal_lr", "--update_epochs", "1"]
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


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        at_step(patch, 64, stop)
        assert main(*PPO.small, *FLAGS, "--total_timesteps", "128") == 143
    return only_run(folder)


@pytest.fixture
def stopped(stopped_once, tmp_path, monkeypatch):
    """The folder of a run of 128 steps that was stopped after 64 of them, in the current folder."""
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
