"""Somebody's own reward in training and resume: its digest is recorded, and the run plays a copy."""

import hashlib
import json

import pytest
import torch
from conftest import only_run, write_config
from siblings import EVERY, PPO

from continual_hackatari import continual_training_example as training
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.config import ConfigError
from continual_hackatari.wrappers.errors import GameError

REWARD = """
import random

visits = {}

def reward_function(env):
    height = int(env.get_ram()[14])
    visits[height] = visits.get(height, 0) + 1
    return 1 / visits[height] + random.random()
"""
SHORT = {"env_id": "ALE/Freeway-v5", "game_start": "none", "time_limit": 200, "modifs": "stop_random_car"}


def train(sibling, folder, steps):
    """Train with `mine.py` in a new folder; returns the run folder."""
    folder.mkdir()
    (folder / "mine.py").write_text(REWARD)
    config = {**SHORT, **({"anneal_lr": False} if sibling is PPO else {})}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        flags = ["--config", write_config(folder, **config), "--new_rf", "mine.py", "--total_timesteps", str(steps)]
        sibling.main([*sibling.small, *flags])
    return only_run(folder)


@pytest.mark.slow
@EVERY
def test_a_run_goes_on_with_the_copy_and_with_nothing_else(sibling, tmp_path, monkeypatch, capsys):
    whole, run = train(sibling, tmp_path / "whole", 64), train(sibling, tmp_path / "parted", 32)
    settings, copy, mine = run / "args.json", run / "new_rf.py", tmp_path / "parted" / "mine.py"
    digest = hashlib.sha256(REWARD.encode()).hexdigest()
    assert [json.loads(settings.read_text())[name] for name in ("new_rf", "new_rf_digest")] == ["mine.py", digest]
    assert copy.read_text() == REWARD
    monkeypatch.chdir(tmp_path / "parted")
    mine.write_text("def reward_function(env):\n    return 222.0\n")
    sibling.main(["--resume", str(run), "--total_timesteps", "64"])
    ends = [load_checkpoint(each / "model.cleanrl_model").model_weights for each in (whole, run)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])

    copy.unlink()
    before = settings.read_text()
    for begin in ("mine.py holds another reward than that recorded (digest ", "there is no file mine.py"):
        capsys.readouterr()
        with pytest.raises(SystemExit) as refused:
            sibling.main(["--resume", str(run), "--total_timesteps", "96"])
        assert refused.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: `new_rf`: {begin}")
        assert error.count("\n") == 1
        assert settings.read_text() == before
        mine.unlink(missing_ok=True)
    mine.write_text(REWARD)  # put back, and copied again
    sibling.main(["--resume", str(run), "--total_timesteps", "96"])
    assert copy.read_text() == REWARD


@pytest.mark.slow
def test_the_file_may_be_removed_while_a_run_runs(tmp_path):
    from continual_hackatari.training.run import Run

    save = Run.save

    def remove(run, *arguments):
        (tmp_path / "run" / "mine.py").unlink(missing_ok=True)
        return save(run, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", remove)
        assert (train(PPO, tmp_path / "run", 32) / "model.cleanrl_model").exists()


def test_a_recorded_file_is_told_from_another_one(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(REWARD)
    config = {**SHORT, "cuda": False, "new_rf": str(path)}
    digest = training.prepare(["--config", write_config(tmp_path, **config)]).args.new_rf_digest
    assert training.prepare(["--config", write_config(tmp_path, **config, new_rf_digest=digest)])
    with pytest.raises(GameError, match=r"holds another reward than that recorded .* recorded 0123\)"):
        training.prepare(["--config", write_config(tmp_path, **config, new_rf_digest="0123")])
    with pytest.raises(ConfigError, match="`new_rf_digest` 0123 is recorded of somebody's own reward"):
        training.prepare(["--config", write_config(tmp_path, cuda=False, new_rf_digest="0123")])
