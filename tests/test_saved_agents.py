"""Agents that a run saves on its way, and which of them its folder stands for."""

from siblings import EVERY
from test_training import train_in

from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.run_folder import saved_agents


@EVERY
def test_an_agent_is_saved_at_the_first_border_after_each_multiple(sibling, tmp_path, monkeypatch):
    """Rounds end at 32, 64 and 68: the last one is short and holds no multiple of 40 or 64."""
    flags = ["--env_id", "ALE/Freeway-v5", "--modifs", "all_black_cars", "--total_timesteps", "68"]
    run = train_in(tmp_path, monkeypatch, *flags, "--save_agent_every", "40", sibling=sibling)
    (saved,) = saved_agents(run)
    assert saved == (64, 0, run / "agent_step64_all_black_cars.cleanrl_model")
    checkpoint = load_checkpoint(saved.path)
    assert (checkpoint.global_step, checkpoint.extra["modification"]) == (64, "all_black_cars")
