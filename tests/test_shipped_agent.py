"""The agent that comes with the project can be evaluated as it is, and plays better than chance."""

import statistics

import pytest
import torch
from conftest import ROOT

from continual_hackatari.training import playing
from continual_hackatari.training.checkpoint_settings import choose_game, complete_settings
from continual_hackatari.training.checkpoints import load_checkpoint

PATH = ROOT / "trained" / "breakout.cleanrl_model"
RANDOM_SCORE = 1.7  # a random agent's mean in Breakout (Mnih et al. 2015)


@pytest.mark.slow
def test_the_shipped_agent_is_small_and_plays_clearly_better_than_chance():
    assert PATH.stat().st_size < 7_000_000
    checkpoint = load_checkpoint(PATH)
    assert checkpoint.args["game_start"] == "steps"
    settings = complete_settings({}, checkpoint)
    game, notes = choose_game(settings, checkpoint)
    agent = playing.load_agent(str(PATH), checkpoint, settings["architecture"], game)
    options = {"episodes": 8, "seed": 1, "deterministic": False, "num_envs": 8, "num_workers": 0}
    games = playing.evaluate(agent, game, [""], **options, device=torch.device("cpu"))[""]
    assert notes == []
    assert statistics.fmean(record.score for record in games) > 1.5 * RANDOM_SCORE
