"""LayerNorm: what a layer gives does not depend on the scale of its weights, nor on a common shift."""

import pytest
import torch
from made_up_methods import method_on, small_agent

from continual_hackatari.agents import make_agent
from continual_hackatari.methods import all_methods

CHANGES = all_methods()["layer_norm"].build(all_methods()["layer_norm"].Settings())
LARGE = {"encoder_dims": (30, 20), "decoder_dims": (25,)}


def seen_by(architecture, seed=3):
    shape = (4, 2, 3) if architecture == "PPO_OBJ" else (4, 2, 84, 84)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 255


@pytest.mark.parametrize("architecture", ["PPO", "PPO_OBJ"])
def test_hidden_outputs_are_normalised_before_the_activation(architecture):
    agent, seen = small_agent(architecture, changes=CHANGES, **LARGE), seen_by(architecture)
    with torch.no_grad():
        plain = agent(seen, True)[2]
        for layer in agent.hidden_layers():
            layer.layer.bias.add_(0.3)
            layer.layer.weight.mul_(50)
            layer.layer.bias.mul_(50)
        scaled = agent(seen, True)[2]
        for layer, one in zip(agent.hidden_layers(), plain, strict=True):
            assert one.dim() == (4 if layer.name.startswith("conv") else 3 if "encoder" in layer.name else 2)
        torch.testing.assert_close(plain[0], scaled[0], rtol=1e-3, atol=1e-3)  # scale and shift; up to epsilon
    # By hand: of the last layer, whose input is known.
    with torch.no_grad():
        agent = small_agent(architecture, changes=CHANGES, **LARGE)
        outputs, last = agent(seen, True)[2], agent.hidden_layers()[-1]
        x = last.layer(outputs[-2].flatten(1))
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(outputs[-1], x.relu(), rtol=1e-4, atol=1e-5)


def test_of_a_convolution_mean_and_deviation_are_over_channels_and_positions():
    agent, seen = small_agent("PPO", changes=CHANGES), seen_by("PPO")
    x = torch.nn.functional.conv2d(seen / 255, agent.network[0].weight, agent.network[0].bias, stride=4)
    axes = (1, 2, 3)
    x = (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(agent.features(seen)[0], x.relu(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", ["PPO", "PPO_OBJ"])
def test_names_are_those_of_ppo_and_of_the_normalisers_and_the_other_weights_are_drawn_alike(architecture):
    plain, agent = small_agent(architecture), small_agent(architecture, changes=CHANGES)
    own = {name: tensor for name, tensor in agent.state_dict().items() if not name.startswith("norm.")}
    assert own.keys() == plain.state_dict().keys()
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in own.items())
    norms = {name for name in agent.state_dict() if name.startswith("norm.")}
    assert norms == {f"norm.{layer.name}.{part}" for layer in agent.hidden_layers() for part in ("weight", "bias")}
    with torch.no_grad():
        for each in agent.norm.parameters():
            each.add_(3)
    agent.initialise(torch.Generator().manual_seed(1))
    assert all(bool((agent.state_dict()[name] == name.endswith("weight")).all()) for name in norms)


@pytest.mark.parametrize("architecture", ["PPO", "PPO_OBJ"])
def test_it_computes_in_bfloat16_and_measures_as_others(architecture):
    agent, seen = small_agent(architecture, changes=CHANGES, **LARGE), seen_by(architecture)
    agent.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits, value, outputs = agent(seen, True)
    assert logits.dtype == value.dtype == torch.float32
    assert [len(outputs)] == [len(agent.inspect(seen)[0])]
    torch.testing.assert_close(logits, agent(seen)[0], rtol=0.1, atol=0.01)


def test_a_replaced_unit_has_a_new_gain_and_offset():
    agent = small_agent(changes=CHANGES)
    with torch.no_grad():
        for each in agent.norm.parameters():
            each.fill_(0.5)
    method = method_on(agent, "redo")
    with torch.no_grad():
        method.recycle([torch.tensor([2]), torch.tensor([], dtype=torch.int64)])
    assert agent.norm["encoder1"].weight.tolist() == [0.5, 0.5, 1.0, 0.5, 0.5, 0.5]
    assert agent.norm["encoder1"].bias.tolist() == [0.5, 0.5, 0.0, 0.5, 0.5, 0.5]


def test_it_costs_a_pair_of_numbers_a_unit():
    plain, agent = (make_agent("PPO", (4, 84, 84), 6, changes=changes) for changes in ({}, CHANGES))
    counts = [sum(each.numel() for each in one.parameters()) for one in (plain, agent)]
    assert counts[1] - counts[0] == 2 * (32 + 64 + 64 + 512)
