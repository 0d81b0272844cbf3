"""L2 Init: the penalty and its pull, in closed form."""

import pytest
import torch
from made_up_methods import copy_of, method_on, seeded, small_agent

from continual_hackatari.agents.actor_critic import ActorCritic
from continual_hackatari.methods import all_methods

RATE, STRENGTH, STEPS = 0.05, 0.4, 30


def moved(agent):
    """Move every weight away from where it began."""
    with torch.no_grad():
        for each in agent.parameters():
            each.add_(torch.randn(each.shape, generator=seeded(3)))


def term(method):
    return method.loss(torch.zeros(1), {"value": torch.zeros(1)}, [])


def test_at_the_start_the_term_and_its_gradient_are_exactly_zero():
    agent = small_agent()
    loss = term(method_on(agent, "l2_init", strength=STRENGTH))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not any(bool(each.grad.any()) for each in agent.parameters())


def test_it_is_half_the_squared_distance_and_not_the_distance():
    agent = small_agent()
    method, start = method_on(agent, "l2_init", strength=STRENGTH), copy_of(agent)
    moved(agent)
    squared = sum(
        float((each.detach() - start[name]).double().square().sum()) for name, each in agent.named_parameters()
    )
    assert term(method).item() == pytest.approx(0.5 * STRENGTH * squared, rel=1e-5)
    assert method.numbers() == pytest.approx({"distance": squared**0.5, "penalty": 0.5 * STRENGTH * squared}, rel=1e-5)
    assert set(method_on(agent, "l2_init", form="decoupled").numbers()) == {"distance"}, "there is no term"


@pytest.mark.parametrize("form", ["loss", "decoupled"])
def test_without_other_gradients_distances_fall_geometrically(form):
    """By (1 - rate * strength) per step: of the loss' term with plain gradient steps, of the decoupled one with any."""
    agent = small_agent()
    start = copy_of(agent)
    kind = torch.optim.SGD if form == "loss" else torch.optim.Adam
    optimizer = kind(agent.parameters(), lr=RATE)
    method = method_on(agent, "l2_init", optimizer, strength=STRENGTH, form=form)
    moved(agent)
    apart = {name: (each - start[name]).detach() for name, each in agent.named_parameters()}
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = term(method)
        if form == "loss":
            loss.backward()
            optimizer.step()
        else:
            assert loss.item() == 0.0, "past Adam, and not a second time through it"
        with torch.no_grad():
            method.weights([])
    share = (1 - RATE * STRENGTH) ** STEPS
    for name, each in agent.named_parameters():
        torch.testing.assert_close(each.detach() - start[name], share * apart[name], rtol=1e-4, atol=1e-5)


def test_the_decoupled_pull_follows_the_learning_rate():
    """As it is in this step, where it is annealed; also a rate that is a tensor, as on a GPU."""
    agent = small_agent()
    optimizer = torch.optim.Adam(agent.parameters(), lr=RATE)
    method, start = method_on(agent, "l2_init", optimizer, strength=STRENGTH, form="decoupled"), copy_of(agent)
    moved(agent)
    for rate in (RATE / 4, torch.tensor(RATE / 8), 0.0):
        apart = {name: (each - start[name]).detach() for name, each in agent.named_parameters()}
        optimizer.param_groups[0]["lr"] = rate
        with torch.no_grad():
            method.weights([])
        for name, each in agent.named_parameters():
            torch.testing.assert_close(each.detach() - start[name], (1 - rate * STRENGTH) * apart[name])


def test_a_rate_that_is_a_tensor_is_never_read():
    """A recorded gradient step cannot, and any other would wait for the GPU; tensors of `meta` have no numbers."""
    agent = small_agent().to("meta")
    optimizer = torch.optim.Adam(agent.parameters())
    optimizer.param_groups[0]["lr"] = torch.tensor(RATE, device="meta")
    method = method_on(agent, "l2_init", optimizer, strength=STRENGTH, form="decoupled")
    with torch.no_grad():
        method.weights([])


def test_gains_and_offsets_of_normalisers_are_left_alone_and_what_it_remembers_is_no_parameter():
    agent = small_agent(changes=all_methods()["layer_norm"].build(None))
    method = method_on(agent, "l2_init", strength=STRENGTH)
    assert isinstance(agent, ActorCritic)
    before = len(list(agent.parameters()))
    moved(agent)
    term(method).backward()
    for name, each in agent.named_parameters():
        assert (each.grad is None) == name.startswith("norm."), name
    assert len(list(agent.parameters())) == before


def test_a_continued_run_remembers_where_the_first_one_began():
    agent = small_agent()
    state = method_on(agent, "l2_init", strength=STRENGTH)
    moved(agent)
    again = method_on(agent, "l2_init", strength=STRENGTH)
    assert term(again).item() == 0.0
    again.load_state_dict(state.state_dict())
    assert term(again).item() == term(state).item() > 0
