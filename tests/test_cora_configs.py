"""configs/cora: the Atari configurations of CORA, each for the script that plays it."""

import json

import pytest
from conftest import ROOT

from continual_hackatari import continual_clear, continual_progress_compress, continual_training_example
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.training.setup import prepare

FILES = sorted((ROOT / "configs" / "cora").glob("*.json"))
CONFIGS = {path.stem: json.loads(path.read_text()) for path in FILES}
OTHERS: dict = {"pnc": continual_progress_compress, "ppo": continual_training_example}
"""Those that continual_clear.py does not play."""
GAMES = ["SpaceInvaders:", "Krull:", "BeamRider:", "Hero:", "StarGunner:", "MsPacman:"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_can_be_played_by_its_script(path, monkeypatch, capsys):
    """Under CORA's conditions: no sticky actions, 10,000 steps of 4 frames, its buttons, 18 actions."""
    monkeypatch.chdir(ROOT)
    script = OTHERS.get(path.stem, continual_clear).SCRIPT
    if path.stem == "clear":  # a replay of this size does not fit every machine
        monkeypatch.setattr("continual_hackatari.training.setup.check_memory", lambda *_: None)
    ready = prepare(script, ["--config", str(path), "--no_cuda"])
    assert ready.total_timesteps == 6 * 5 * 50_000_000
    game = ready.game
    assert (game.repeat_action_probability, game.max_num_frames_per_episode) == (0.0, 40_000)
    assert (game.game_start, game.max_pool, game.full_action_space) == ("original", True, True)
    assert ready.args.reward_scaling == "clip"
    assert 20 * ready.args.eval_every == 50_000_000, "and --rolling 2 is a tenth of a phase, as there"


def test_they_are_one_experiment():
    """What is compared plays the same games, in the same order, measured alike."""
    own = ("notes", "exp_name")
    same = [*CONFIGS["ppo"].keys() - {*own, "anneal_lr"}]
    for name, config in CONFIGS.items():
        assert {key: config[key] for key in same} == {key: CONFIGS["ppo"][key] for key in same}, name
    schedule = schedule_from_config(CONFIGS["ppo"], seed=0)
    assert [string for *_, string in schedule.segments()] == GAMES * 5


def test_which_there_are():
    assert list(CONFIGS) == ["clear", "ewc", "impala", "online_ewc", "pnc", "ppo"]
    for name in CONFIGS.keys() - {"ppo"}:
        script = OTHERS.get(name, continual_clear).__name__.rpartition(".")[2]
        assert CONFIGS[name]["notes"].startswith(f"For {script}.py."), name
