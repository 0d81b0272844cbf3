"""What of an update is not finite is found and named."""

import math
from types import SimpleNamespace

import pytest
import torch
from copies import Largest
from torch import nn

from continual_hackatari.agents.finite import not_finite
from continual_hackatari.training.run import Run

NAMES = ("value_loss", "policy_loss", "entropy")


def losses(**wrong):
    """Three gradient steps of three losses; `wrong` maps a loss to its value in the second step."""
    steps = [torch.tensor([1e30, -2.0, 0.0]) for _ in range(3)]
    for name, value in wrong.items():
        steps[1][NAMES.index(name)] = value
    return steps


def test_finite_numbers_pass_however_large():
    agent = nn.Linear(2, 2)
    with torch.no_grad():
        agent.weight.fill_(3e38)  # their sum is infinite, they are not
    assert not_finite(losses(), NAMES, agent) == ""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_losses_are_named_with_their_gradient_step(value):
    assert not_finite(losses(policy_loss=value), NAMES, nn.Linear(2, 2)) == "policy_loss of gradient step 2 of 3"
    both = not_finite(losses(entropy=value, value_loss=-value), NAMES, nn.Linear(2, 2))
    assert both == "value_loss, entropy of gradient step 2 of 3"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_are_named_where_the_last_step_broke_them(value):
    agent = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        agent[1].bias[1] = value
    assert not_finite(losses(), NAMES, agent) == "the weights 1.bias after the last gradient step"


def test_weights_are_looked_at_without_a_copy():
    agent = nn.Linear(200, 300)
    with Largest() as largest:
        assert not_finite(losses(), NAMES, agent) == ""
    assert largest.numbers < 300


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int64, torch.complex64])
def test_weights_may_be_of_any_kind_and_none(dtype):
    agent = nn.ParameterList(nn.Parameter(torch.ones(n, dtype=dtype), requires_grad=False) for n in (0, 3))
    assert not_finite(losses(), NAMES, agent) == ""
    if dtype != torch.int64:
        agent[1][2] = math.nan
        assert "the weights 1 " in not_finite(losses(), NAMES, agent)


def test_only_the_process_that_could_write_the_agent_copies_it_before_an_update():
    copied, agent = [], torch.nn.Linear(1, 1)
    for active in (True, False):
        run = SimpleNamespace(
            _agent=agent,
            _checkpoint=lambda active=active: copied.append(active),
            args=SimpleNamespace(detect_anomaly=False),
            tracker=SimpleNamespace(active=active),
            timer=SimpleNamespace(lap=lambda phase: None),
            weights_change=lambda: None,
        )
        with Run.updating(run, [torch.tensor([1.0])], ["loss"]):
            pass
    assert copied == [True]
