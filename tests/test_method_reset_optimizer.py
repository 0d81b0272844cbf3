"""Resetting the optimizer: its next step is that of a new one."""

import torch
from made_up_methods import BOUNDARY, copy_of, method_on, small_agent, step


def test_the_next_step_is_that_of_a_new_optimizer_and_no_weight_moves_before():
    agent = small_agent()
    optimizer = torch.optim.Adam(agent.parameters(), lr=0.01)
    method = method_on(agent, "reset_optimizer", optimizer)
    for seed in range(5):
        step(agent, optimizer, seed)
    before = copy_of(agent)
    changed = method.boundary(BOUNDARY)
    assert (changed.weights, changed.optimizer, changed.everything) == (False, True, False)
    assert all(torch.equal(before[name], each) for name, each in agent.named_parameters())
    other = small_agent()
    other.load_state_dict(agent.state_dict())
    new = torch.optim.Adam(other.parameters(), lr=0.01)
    for seed in (8, 9):
        step(agent, optimizer, seed)
        step(other, new, seed)
    for (name, mine), its in zip(agent.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its), name
    assert optimizer.param_groups[0]["lr"] == 0.01
