"""From scratch: a task is learned as by a run that begins with it."""

import copy
import shutil

import numpy as np
import pytest
import torch
from made_up_methods import BOUNDARY, method_on, small_agent, step
from test_training import TWO_REGIMES, assert_same_weights, train_in, weights

from continual_hackatari import continual_training_example as training
from continual_hackatari.agents import RewardScaler, make_agent
from continual_hackatari.agents.restartable_adam import RestartableAdam
from continual_hackatari.methods.moments import Learner
from continual_hackatari.methods.redo import METHOD as REDO
from continual_hackatari.methods.together import Methods
from continual_hackatari.training.checkpoints import load_checkpoint, save_checkpoint
from continual_hackatari.training.ranks import ALONE
from continual_hackatari.training.resume import load_state, save_state
from continual_hackatari.training.rollouts import scale_rewards
from continual_hackatari.training.run import Run


def test_what_follows_is_bit_for_bit_a_run_that_begins_there():
    agent, fresh = small_agent(), small_agent(seed=99)
    scaler, of_fresh = (RewardScaler(2, 0.99) for _ in range(2))
    optimizer = RestartableAdam(agent.parameters(), lr=0.01, eps=1e-5)
    method = method_on(agent, "from_scratch", optimizer, beside=[scaler])
    redo = REDO(REDO.Settings(every=2), Learner(agent, optimizer, torch.Generator().manual_seed(5)))
    methods = Methods({"redo": redo, "from_scratch": method})
    for seed in range(3):
        seen = step(agent, optimizer, seed)
        methods.weights(agent(seen, True)[2])
        scaler(torch.rand(2).numpy(), torch.zeros(2, dtype=torch.bool).numpy())
    states = [copy.deepcopy(each.learner.generator) for each in methods]
    changed = methods.boundary(*BOUNDARY)
    assert changed == (True, True, True)
    # A run that begins here, with generators in the same states.
    fresh.initialise(torch.Generator().set_state(states[1].get_state()))
    new = RestartableAdam(fresh.parameters(), lr=0.01, eps=1e-5)
    of_new = Methods({"redo": REDO(REDO.Settings(every=2), Learner(fresh, new, states[0]))})
    assert scaler.state_dict() == of_fresh.state_dict()
    for seed in range(10, 15):
        for each, with_it, those in ((agent, optimizer, methods), (fresh, new, of_new)):
            seen = step(each, with_it, seed)
            those.weights(each(seen, True)[2])
    for (name, mine), its in zip(agent.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(mine, its), name
    assert methods.numbers() == of_new.numbers()


def test_rewards_of_dropped_rows_do_not_reach_the_new_agents_scale():
    """Also where the games go on through a switch, so that no episode ends before the rows that count."""
    rewards, done = np.array([[0.0], [5.0], [0.0], [0.0], [1.0], [0.0]]), np.zeros((6, 1), bool)
    dropped, begun_there = RewardScaler(1, 0.99), RewardScaler(1, 0.99)
    scaled = scale_rewards(dropped, rewards, done, ALONE, start=3)
    assert np.array_equal(scaled[3:], scale_rewards(begun_there, rewards[3:], done[3:], ALONE))
    assert not scaled[:3].any()
    assert dropped.state_dict() == begun_there.state_dict()


def test_two_tasks_begin_with_different_weights():
    agent = small_agent()
    method = method_on(agent, "from_scratch")
    first = copy.deepcopy(agent.state_dict())
    method.boundary(BOUNDARY)
    second = copy.deepcopy(agent.state_dict())
    method.boundary(BOUNDARY)
    for one, two in ((first, second), (second, agent.state_dict())):
        assert not torch.equal(one["actor.weight"], two["actor.weight"])


# --------------------------------------------------------------------------------------------------------- whole runs

WITH = ["--methods", "l2_init", "from_scratch", "--l2_init.strength", "0.1", "--save_agent_with_switch"]
SWITCH_AT = 64
AT_A_BORDER = {
    **TWO_REGIMES,
    "modification_factory_kwargs": {**TWO_REGIMES["modification_factory_kwargs"], "switching_thresholds": [SWITCH_AT]},
}


@pytest.mark.slow
def test_nothing_of_the_past_is_left_after_a_switch_in_the_middle_of_a_rollout(tmp_path, monkeypatch):
    """Two runs that differ in the agent with which they begin: in Freeway, whose games go on alike whoever plays."""
    first = train_in(tmp_path / "first", monkeypatch, *WITH, config=TWO_REGIMES)
    other = make_agent("PPO", (4, 84, 84), 3, generator=torch.Generator().manual_seed(99))
    start = tmp_path / "start.cleanrl_model"
    settings = load_checkpoint(first / "model.cleanrl_model").args
    save_checkpoint(start, model_weights=other.state_dict(), args=settings, global_step=0)
    flags = [*WITH, "--start_from", str(start)]
    second = train_in(tmp_path / "second", monkeypatch, *flags, config=TWO_REGIMES)
    (name,) = (path.name for path in first.glob("switch_1_*.cleanrl_model"))
    before = [weights(run, name) for run in (first, second)]
    assert not torch.equal(before[0]["actor.weight"], before[1]["actor.weight"]), "what had been learned was another"
    assert_same_weights(weights(first), weights(second))
    variances = [load_checkpoint(run / "model.cleanrl_model").extra["reward_variance"] for run in (first, second)]
    assert variances[0] == variances[1]


@pytest.mark.slow
def test_a_task_is_bit_for_bit_a_run_that_begins_with_it(tmp_path, monkeypatch):
    """At the border of two rollouts, where a run can be put: a new agent, and generators and games as they were."""
    saved = tmp_path / "begun" / "runs" / "run"

    def save(run, save=Run.save):
        save(run)
        if run.global_step == SWITCH_AT and not saved.exists():
            shutil.copytree(run.folder, saved)

    monkeypatch.setattr(Run, "save", save)
    flags = ["--methods", "redo", "from_scratch", "--redo.every", "3", "--redo.threshold", "0.3", "--no_anneal_lr"]
    whole = train_in(tmp_path / "whole", monkeypatch, *flags, "--checkpoint_every", "32", config=AT_A_BORDER)

    state = load_state(saved)[0]
    generators = {name: state["methods"][name]["generator"] for name in ("redo", "from_scratch")}
    agent = make_agent("PPO", (4, 84, 84), 3, generator=torch.Generator().set_state(generators["from_scratch"]))
    redo = REDO(REDO.Settings(every=3, threshold=0.3), Learner(agent, None, torch.Generator()))
    state["agent"] = agent.state_dict()
    state["optimizer"] = {**state["optimizer"], "state": {}}
    state["methods"] = {"redo": {"generator": generators["redo"], "state": redo.state_dict()}}
    state["reward_scaler"] = RewardScaler(2, 0.99).state_dict()
    state["args"]["methods"] = ["redo"]
    save_state(saved, state)
    monkeypatch.chdir(saved.parent.parent)
    training.main(["--resume", str(saved)])
    assert_same_weights(weights(whole), weights(saved))
    checkpoints = [load_checkpoint(run / "model.cleanrl_model").extra for run in (whole, saved)]
    assert checkpoints[0]["reward_variance"] == checkpoints[1]["reward_variance"]
    assert (whole / "episodes.csv").read_bytes() == (saved / "episodes.csv").read_bytes()
