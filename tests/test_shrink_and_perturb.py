"""Shrink and perturb: the exact rule, the size of its noise, what it leaves alone."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from continual_hackatari.agents import AgentError, make_agent, shrink_and_perturb
from continual_hackatari.agents.actor_critic import ActorCritic


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained_agent(seed: int = 0) -> tuple[ActorCritic, torch.optim.Adam]:
    """An agent with two optimizer steps behind it, so that weights, biases and moments are all in use."""
    agent = make_agent("PPO", (4, 84, 84), 6, generator=seeded(seed))
    optimizer = torch.optim.Adam(agent.parameters(), lr=1.25e-4, eps=1e-5)
    x = torch.randint(0, 256, (4, 4, 84, 84), dtype=torch.uint8, generator=seeded(seed + 1))
    for _ in range(2):
        optimizer.zero_grad()
        _, log_prob, entropy, value = agent.get_action_and_value(x, torch.tensor([0, 1, 2, 3]))
        (value.square() - log_prob - entropy).sum().backward()
        optimizer.step()
    return agent, optimizer


def bits(state: Any) -> Any:
    """A copy of nested tensors that compares equal only if every bit is equal (-0.0 differs from 0.0)."""
    if isinstance(state, torch.Tensor):
        return state.detach().numpy().tobytes()
    if isinstance(state, dict):
        return {key: bits(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [bits(value) for value in state]
    return copy.copy(state)


@pytest.mark.parametrize("noise", ["gaussian", "initialiser"])
def test_factor_1_without_noise_changes_no_bit(noise: Any) -> None:
    agent, optimizer = trained_agent()
    with torch.no_grad():
        agent.actor.bias[0] = -0.0  # adding zero would turn it into 0.0
    before, generator = bits([agent.state_dict(), optimizer.state_dict()]), seeded(3)
    state = generator.get_state()
    shrink_and_perturb(agent, optimizer, shrink_factor=1.0, noise_scale=0.0, noise=noise, generator=generator)
    assert bits([agent.state_dict(), optimizer.state_dict()]) == before
    assert torch.equal(generator.get_state(), state)


def test_gaussian_rule_exactly() -> None:
    agent, optimizer = trained_agent()
    old = [parameter.detach().clone() for parameter in agent.parameters()]
    storages = [parameter.data_ptr() for parameter in agent.parameters()]
    moments = bits(optimizer.state_dict())
    shrink_and_perturb(agent, optimizer, shrink_factor=0.7, noise_scale=0.01, generator=seeded(3))
    reference = seeded(3)
    for theta, new in zip(old, agent.parameters(), strict=True):
        normal = torch.randn(theta.shape, generator=reference)
        torch.testing.assert_close(new.detach(), 0.7 * theta + 0.01 * normal, rtol=1e-6, atol=1e-8)
    assert [parameter.data_ptr() for parameter in agent.parameters()] == storages, "the optimizer lost its parameters"
    assert bits(optimizer.state_dict()) == moments


def test_initialiser_rule_exactly() -> None:
    agent, optimizer = trained_agent()
    old = [parameter.detach().clone() for parameter in agent.parameters()]
    shrink_and_perturb(agent, optimizer, shrink_factor=0.4, noise_scale=0.1, noise="initialiser", generator=seeded(3))
    fresh = make_agent("PPO", (4, 84, 84), 6, generator=seeded(3))
    for theta, start, new in zip(old, fresh.parameters(), agent.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), (0.4 * theta + 0.1 * start).detach(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("noise_scale", [0, 0.1])
def test_what_is_frozen_stays_as_it_is(noise_scale) -> None:
    agent, optimizer = trained_agent()
    agent.critic.weight.requires_grad_(False)
    old = {name: parameter.detach().clone() for name, parameter in agent.named_parameters()}
    shrink_and_perturb(agent, optimizer, shrink_factor=0.5, noise_scale=noise_scale, generator=seeded(3))
    for name, parameter in agent.named_parameters():
        assert torch.equal(parameter, old[name]) == (name == "critic.weight"), name


def test_gaussian_noise_has_one_scale_in_every_layer() -> None:
    """Mean 0 and standard deviation `noise_scale` within five standard errors, biases included."""
    agent, optimizer = trained_agent()
    old = {name: parameter.detach().clone() for name, parameter in agent.named_parameters()}
    shrink_and_perturb(agent, optimizer, shrink_factor=1.0, noise_scale=0.05, generator=seeded(4))
    for name, parameter in agent.named_parameters():
        noise = (parameter.detach() - old[name]).double()
        n = noise.numel()
        assert abs(float(noise.mean())) < 5 * 0.05 / math.sqrt(n), name
        if n >= 32:
            assert abs(float(noise.std()) / 0.05 - 1) < 5 / math.sqrt(2 * n), name


def test_initialiser_noise_has_the_scale_of_each_layers_start() -> None:
    """An orthogonal matrix of gain g has root mean square g / sqrt(the longer side); heads 0.01 and 1, biases zero."""
    agent, optimizer = trained_agent()
    old = {name: parameter.detach().clone() for name, parameter in agent.named_parameters()}
    shrink_and_perturb(agent, optimizer, shrink_factor=1.0, noise_scale=0.5, noise="initialiser", generator=seeded(4))
    gains = {"actor.weight": 0.01, "critic.weight": 1.0}
    for name, parameter in agent.named_parameters():
        noise = (parameter.detach() - old[name]).double()
        if name.endswith("bias"):
            assert not noise.any(), name
        else:
            longer = max(noise.shape[0], noise[0].numel())
            expected = 0.5 * gains.get(name, math.sqrt(2)) / math.sqrt(longer)
            assert float(noise.square().mean().sqrt()) == pytest.approx(expected, rel=1e-3), name


def test_factor_0_and_full_initialiser_noise_is_a_fresh_network() -> None:
    agent, optimizer = trained_agent()
    shrink_and_perturb(agent, optimizer, shrink_factor=0.0, noise_scale=1.0, noise="initialiser", generator=seeded(5))
    for layer in agent.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            gain = 0.01 if layer is agent.actor else 1.0 if layer is agent.critic else math.sqrt(2)
            matrix = layer.weight.detach().flatten(1)
            torch.testing.assert_close(matrix @ matrix.T, gain**2 * torch.eye(len(matrix)), atol=1e-5 * gain, rtol=1e-4)
            assert not layer.bias.any()
    fresh = make_agent("PPO", (4, 84, 84), 6, generator=seeded(5))
    assert all(torch.equal(a, b) for a, b in zip(agent.parameters(), fresh.parameters(), strict=True))


def test_reset_forgets_the_moments_and_keeps_the_settings() -> None:
    agent, optimizer = trained_agent()
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    assert all("exp_avg" in state for state in optimizer.state.values())
    shrink_and_perturb(
        agent, optimizer, shrink_factor=0.7, noise_scale=0.01, optimizer_state="reset", generator=seeded(3)
    )
    assert optimizer.state_dict()["state"] == {}
    assert [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups] == settings
    assert optimizer.param_groups[0]["lr"] == 1.25e-4


def test_after_reset_the_optimizer_steps_as_a_new_one() -> None:
    agent, optimizer = trained_agent()
    shrink_and_perturb(
        agent, optimizer, shrink_factor=0.7, noise_scale=0.01, optimizer_state="reset", generator=seeded(3)
    )
    twin = copy.deepcopy(agent)
    new_optimizer = torch.optim.Adam(twin.parameters(), lr=1.25e-4, eps=1e-5)
    for parameter, other in zip(agent.parameters(), twin.parameters(), strict=True):
        parameter.grad = torch.full_like(parameter, 0.1)
        other.grad = torch.full_like(parameter, 0.1)
    optimizer.step()
    new_optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(agent.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("noise", ["gaussian", "initialiser"])
def test_other_randomness_does_not_shift(noise: Any) -> None:
    agent, optimizer = trained_agent()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    shrink_and_perturb(agent, optimizer, shrink_factor=0.7, noise_scale=0.01, noise=noise, generator=seeded(3))
    assert torch.equal(torch.rand(3), expected)


def test_two_switches_draw_different_noise() -> None:
    agent, optimizer = trained_agent()
    generator, noises = seeded(3), []
    for _ in range(2):
        before = agent.critic.weight.detach().clone()
        shrink_and_perturb(agent, optimizer, shrink_factor=1.0, noise_scale=0.01, generator=generator)
        noises.append(agent.critic.weight.detach() - before)
    assert float((noises[0] - noises[1]).abs().max()) > 0.001


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shrink_factor": 1.2}, "`shrink_factor` is 1.2"),
        ({"shrink_factor": float("nan")}, "`shrink_factor` is nan"),
        ({"noise_scale": -0.1}, "`noise_scale` is -0.1"),
        ({"noise_scale": float("nan")}, "`noise_scale` is nan"),
        ({"noise": "uniform"}, "`noise` is 'uniform'; allowed is gaussian or initialiser"),
        ({"optimizer_state": "halve"}, "`optimizer_state` is 'halve'; allowed is keep or reset"),
        ({"optimizer": None, "optimizer_state": "reset"}, "no optimizer to reset"),
    ],
)
def test_impossible_settings_change_nothing(changed: dict[str, Any], message: str) -> None:
    agent, optimizer = trained_agent()
    before = bits(agent.state_dict())
    options = {"shrink_factor": 0.7, "noise_scale": 0.01, "optimizer": optimizer, **changed}
    with pytest.raises(AgentError, match=message):
        shrink_and_perturb(agent, options.pop("optimizer"), generator=seeded(3), **options)
    assert bits(agent.state_dict()) == before
