"""Concatenated ReLUs: the two halves add up to the size of what the layer gave."""

import pytest
import torch
from made_up_methods import small_agent

from continual_hackatari import continual_training_example as training
from continual_hackatari.agents import make_agent
from continual_hackatari.methods import all_methods
from continual_hackatari.training.config import as_plain_dict
from continual_hackatari.training.method_settings import changes_in_checkpoint, complete_methods

METHOD = all_methods()["crelu"]
HALF, SAME = (METHOD.build(METHOD.Settings(width=width)) for width in ("half", "same"))


@pytest.mark.parametrize("architecture", ["PPO", "PPO_OBJ"])
@pytest.mark.parametrize("changes", [HALF, SAME])
def test_the_halves_of_each_layer_add_up_to_abs_and_their_difference_is_the_layer(architecture, changes):
    agent = small_agent(architecture, changes=changes, encoder_dims=(6, 8), decoder_dims=(4,))
    shape = (3, 2, 3) if architecture == "PPO_OBJ" else (3, 2, 84, 84)
    seen = torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 255
    with torch.no_grad():
        outputs = agent(seen, True)[2]
        last = agent.hidden_layers()[-1].layer
        x = last(outputs[-2].flatten(1))
        positive, negative = outputs[-1].chunk(2, 1)
        torch.testing.assert_close(positive + negative, x.abs())
        torch.testing.assert_close(positive - negative, x)
    for layer, output in zip(agent.hidden_layers(), outputs, strict=True):
        axis = 1 if output.dim() == 4 else -1
        assert output.shape[axis] == 2 * layer.units
        one, two = output.chunk(2, axis)
        assert not (one * two).any(), "one of them is 0 everywhere"
        assert bool(((one + two).movedim(axis, 0).flatten(1).amax(1) > 0).all()), "no unit is silent"


def test_half_the_units_give_as_many_numbers_and_all_units_twice_as_many():
    plain, half, same = (make_agent("PPO", (4, 84, 84), 6, changes=changes) for changes in ({}, HALF, SAME))
    seen = torch.zeros(1, 4, 84, 84)
    sizes = [[tuple(output.shape[1:]) for output in agent.features(seen)] for agent in (plain, half, same)]
    assert sizes[0] == sizes[1]
    assert [shape[0] for shape in sizes[2]] == [2 * shape[0] for shape in sizes[0]]
    assert half.actor.weight.shape == plain.actor.weight.shape
    counts = [sum(each.numel() for each in agent.parameters()) for agent in (plain, half, same)]
    assert 0.49 < counts[1] / counts[0] < 0.51
    assert 1.9 < counts[2] / counts[0] < 2.0
    assert half.state_dict().keys() == plain.state_dict().keys()


def test_of_an_odd_number_of_units_half_gives_one_number_more():
    dims = (5, 7, 9, 11, 13)
    agent = small_agent("PPO_OBJ", changes=HALF, encoder_dims=dims, decoder_dims=())
    assert [2 * layer.units for layer in agent.hidden_layers()] == [units + 1 for units in dims]


@pytest.mark.parametrize("changes", [HALF, SAME])
def test_a_saved_agent_is_built_again_with_the_width_that_it_has(changes):
    width = {0.5: "half", 1.0: "same"}[changes["crelu"]]
    args = complete_methods(training.Args(methods=("crelu",), prefixed={"crelu.width": width}))
    assert changes_in_checkpoint(as_plain_dict(args)) == changes
