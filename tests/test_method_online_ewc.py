"""Online EWC: one memory in which older tasks fade, as a geometric sum."""

import pytest
import torch
from made_up_methods import copy_of, method_on, seeded, small_agent
from test_method_ewc import move, penalty, switch

from continual_hackatari.methods import ewc
from continual_hackatari.methods.ewc import fisher


def test_after_equal_tasks_the_memory_is_a_geometric_sum(monkeypatch):
    """F_1 (1 - decay^k) / (1 - decay) after k of them."""
    agent, decay = small_agent(), 0.7
    one = {name: torch.rand(each.shape, generator=seeded(5)) for name, each in agent.named_parameters()}
    monkeypatch.setattr(ewc, "fisher", lambda *_: one)
    method = method_on(agent, "online_ewc", decay=decay, normalise=False)
    for k in range(1, 6):
        switch(method, "a", "a", k)
        for name, each in method._information.items():
            torch.testing.assert_close(each, one[name] * (1 - decay**k) / (1 - decay))
    assert method.numbers()["tasks"] == 5


def test_weights_are_held_where_the_last_task_left_them():
    agent = small_agent()
    method = method_on(agent, "online_ewc", strength=4.0, samples=8, normalise=False)
    assert float(penalty(method).detach()) == 0.0
    move(agent, 2)
    state = method.learner.generator.get_state()
    switch(method, "a", "b", 1)
    seen = torch.rand(4, 2, 2, 3, generator=seeded(1)).flatten(0, 1) * 255
    information, anchor = fisher(agent, seen, seeded(1).set_state(state)), copy_of(agent)
    assert float(penalty(method).detach()) == 0.0
    move(agent, 1)
    every = dict(agent.named_parameters())
    expected = 2.0 * sum((information[name] * (every[name] - anchor[name]).square()).sum() for name in every)
    torch.testing.assert_close(penalty(method), expected)
    gradients = torch.autograd.grad(penalty(method), list(every.values()))
    for name, gradient in zip(every, gradients, strict=True):
        torch.testing.assert_close(gradient, (4.0 * information[name] * (every[name] - anchor[name])).detach())
    switch(method, "b", "c", 3)
    assert float(penalty(method).detach()) == 0.0, "where the last task left them, and no longer where the first did"


def test_each_task_is_scaled_before_it_is_added():
    agent = small_agent()
    method = method_on(agent, "online_ewc", decay=0.5, samples=8)
    for k, mean in ((1, 1.0), (2, 1.5), (3, 1.75)):
        switch(method, "a", "b", k)
        every = torch.cat([each.flatten() for each in method._information.values()])
        assert float(every.mean()) == pytest.approx(mean, rel=1e-4)
