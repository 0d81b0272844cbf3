"""Adam as PPO uses it: its betas, and a weight decay that counts as a part of the gradient."""

import pytest
import torch
from made_up_methods import small_agent, step

from continual_hackatari import continual_training_example as training
from continual_hackatari.agents.restartable_adam import RestartableAdam
from continual_hackatari.training.config import ConfigError


class OneNumber(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))


def steps_of(gradients, **settings):
    """How far each step of Adam goes, as a multiple of the learning rate."""
    one, found = OneNumber(), []
    optimizer = training.make_optimizer(training.Args(learning_rate=1.0, **settings), one)
    for gradient in gradients:
        before = float(one.weight.detach())
        one.weight.grad = torch.tensor([gradient])
        optimizer.step()
        found.append(before - float(one.weight.detach()))
    return found


def test_with_equal_betas_no_step_is_above_the_learning_rate_when_gradients_jump():
    """By Cauchy-Schwarz. With the usual ones a jump from 1 to 111 makes a step of 3.3 times the learning rate."""
    gradients = [1.0] * 2000 + [111.0]
    equal, usual = steps_of(gradients, adam_betas=(0.99, 0.99)), steps_of(gradients)
    assert max(equal) < 1.001
    assert equal[-1] == pytest.approx((0.99 + 0.01 * 111) / (0.99 + 0.01 * 111**2) ** 0.5, rel=1e-3)
    assert usual[-1] > 3


@pytest.mark.parametrize("methods", [(), ("redo",)], ids=["plain", "with units that start over"])
def test_the_runs_optimizer_has_a_weight_decay_that_goes_through_adam(methods):
    """Alone it is a gradient like any other, whose first step has the length of the learning rate."""
    one = OneNumber()
    settings = {"learning_rate": 0.25, "weight_decay": 0.1, "methods": methods}
    optimizer = training.make_optimizer(training.Args(**settings), one)
    with torch.no_grad():
        one.weight.fill_(1.0)
    one.weight.grad = torch.zeros(1)
    optimizer.step()
    assert float(one.weight.detach()) == pytest.approx(0.75, rel=1e-3)


def test_weight_decay_is_a_part_of_the_gradient_and_units_start_over_with_it():
    """As in PyTorch's Adam, bit for bit; recycled entries as in one that has just begun."""
    agents = [small_agent() for _ in range(3)]
    settings = {"lr": 0.01, "eps": 1e-5, "weight_decay": 0.1, "fused": True}
    ours, its = (
        RestartableAdam(agents[0].parameters(), **settings),
        torch.optim.Adam(agents[1].parameters(), **settings),
    )
    for seed in range(5):
        step(agents[0], ours, seed)
        step(agents[1], its, seed)
    for mine, other in zip(agents[0].parameters(), agents[1].parameters(), strict=True):
        assert torch.equal(mine, other)
    weight = agents[0].encoder[0].weight
    ours.restart(weight, 0, torch.tensor([2]))
    agents[2].load_state_dict(agents[0].state_dict())
    new = torch.optim.Adam(agents[2].parameters(), **settings)
    for seed in range(5, 8):
        for parameter, other in zip(agents[0].parameters(), agents[2].parameters(), strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
            other.grad = parameter.grad.clone()
        ours.step()
        new.step()
    torch.testing.assert_close(weight[2], agents[2].encoder[0].weight[2], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(weight[1], agents[2].encoder[0].weight[1], rtol=1e-5, atol=1e-6)


def test_the_papers_setting_of_continual_backpropagation_is_a_config(workdir):
    from conftest import ROOT

    path = str(ROOT / "configs" / "methods" / "continual_backprop_paper.json")
    args = training.prepare(["--config", path, "--no_cuda"]).args
    units = args.chosen_methods["continual_backprop"]
    assert (units.replacement_rate, units.maturity_threshold, units.accumulate) == (1e-4, 10_000, False)
    assert (units.init, units.utility, units.decay_rate) == ("lecun", "contribution", 0.99)
    assert (args.adam_betas, args.weight_decay, args.learning_rate) == ((0.99, 0.99), 1e-4, 1e-4)
    with pytest.raises(ConfigError, match="`adam_betas`"):
        training.prepare(["--adam_betas", "0.9", "1", "--no_cuda"])
