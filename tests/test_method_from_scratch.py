"""From scratch: a task is learned as by a run that begins with it."""

import copy

import torch
from made_up_methods import BOUNDARY, method_on, small_agent, step

from continual_hackatari.agents import RewardScaler
from continual_hackatari.agents.restartable_adam import RestartableAdam
from continual_hackatari.methods.moments import Learner
from continual_hackatari.methods.redo import METHOD as REDO
from continual_hackatari.methods.together import Methods


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


def test_two_tasks_begin_with_different_weights():
    agent = small_agent()
    method = method_on(agent, "from_scratch")
    first = copy.deepcopy(agent.state_dict())
    method.boundary(BOUNDARY)
    second = copy.deepcopy(agent.state_dict())
    method.boundary(BOUNDARY)
    for one, two in ((first, second), (second, agent.state_dict())):
        assert not torch.equal(one["actor.weight"], two["actor.weight"])
