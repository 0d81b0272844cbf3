"""ReDo: who is dormant, that recycling silent units changes nothing, and that only they start over."""

import pytest
import torch
from made_up_methods import copy_of, method_on, small_agent, step
from restarted import entry_steps

from continual_hackatari.agents.restartable_adam import RestartableAdam
from continual_hackatari.methods.moments import Learner
from continual_hackatari.methods.redo import METHOD as REDO
from continual_hackatari.methods.together import Methods

KINDS = ("PPO", "PPO_OBJ")


def seen_by(architecture, rows=4):
    shape = (rows, 2, 3) if architecture == "PPO_OBJ" else (rows, 2, 84, 84)
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 255


def silence(layer, units):
    with torch.no_grad():
        layer.layer.weight[units] = 0
        layer.layer.bias[units] = -1


def test_the_score_is_the_mean_output_over_that_of_the_layer():
    agent = small_agent()
    method = method_on(agent, "redo", threshold=0.25)
    assert not any(name.startswith("dormant/") for name in method.numbers()), "nobody has looked yet"
    encoder = torch.tensor([[[1.0, 2, 0, 4, 5, 6], [3, 2, 0, 0, 1, 0]], [[0, 0, 0, 0, 0, 0], [0, 0, 0.4, 0, 2, 2]]])
    # Means over 2 rows and 2 frames: 1, 1, 0.1, 1, 2, 2; their mean is 7.1 / 6, so a quarter of it is 0.296.
    decoder = torch.tensor([[0.0, 1, 8, 8, 8], [0, 3, 8, 8, 8]])  # 0, 2, 8, 8, 8: a quarter of 5.2 is 1.3
    assert [units.tolist() for units in method.dormant_units([encoder, decoder])] == [[2], [0]]
    assert method.numbers()["dormant/encoder1"] == pytest.approx(1 / 6)
    signed = torch.tensor([[-8.0, 8, 8, 8, 0], [8, 8, 8, 8, 0]])  # of an agent whose units may give less than 0
    assert [units.tolist() for units in method.dormant_units([encoder, signed])] == [[2], [4]]
    silent = method.dormant_units([torch.zeros(2, 2, 6), decoder])
    assert silent[0].tolist() == [0, 1, 2, 3, 4, 5], "a layer that is dead needs it most"


def test_a_unit_that_gives_something_on_another_process_is_not_dormant():
    agent = small_agent()
    settings, there = REDO.Settings(threshold=0.0), {6: torch.tensor([0.0, 1, 0, 0, 0, 0]), 5: torch.zeros(5)}
    average = lambda size: (size + there[len(size)]) / 2  # noqa: E731
    optimizer = RestartableAdam(agent.parameters(), lr=0.01)
    method = REDO(settings, Learner(agent, optimizer, torch.Generator(), average))
    encoder, decoder = torch.ones(3, 2, 6), torch.ones(3, 5)
    encoder[..., [1, 4]] = 0
    assert [units.tolist() for units in method.dormant_units([encoder, decoder])] == [[4], []]


@pytest.mark.parametrize("architecture", KINDS)
def test_recycling_silent_units_changes_no_output_and_gives_them_new_weights(architecture):
    agent, seen = small_agent(architecture, encoder_dims=(6, 8), decoder_dims=(5, 7)), seen_by(architecture)
    method = method_on(agent, "redo", threshold=0.0, every=1)
    for layer in agent.hidden_layers():
        silence(layer, [1, 3])
    with torch.no_grad():
        logits, value, outputs = agent(seen, True)
        method.weights(outputs)
        again = agent(seen)
    torch.testing.assert_close(again[0], logits, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(again[1], value, rtol=1e-5, atol=1e-6)
    for layer in agent.hidden_layers():
        assert method.numbers()[f"recycled/{layer.name}"] >= 2
        for unit in (1, 3):
            assert layer.layer.bias[unit].item() == 0.0
            for consumer in layer.consumers:
                assert not consumer.weight[:, layer.columns_of(consumer, torch.tensor([unit]))].any()
    first = agent.hidden_layers()[0].layer.weight[1]
    columns = first.numel()
    expected = 2**0.5 if len(agent.hidden_layers()[0].layer.weight) <= columns else None
    assert expected is None or first.norm().item() == pytest.approx(expected, rel=1e-4), "drawn as the network's own"


@pytest.mark.parametrize("architecture", KINDS)
def test_a_weight_that_comes_in_to_one_recycled_unit_and_goes_out_of_another_ends_at_zero(architecture):
    agent = small_agent(architecture, encoder_dims=(6, 8))
    method = method_on(agent, "redo")
    with torch.no_grad():
        for each in agent.parameters():
            each.fill_(1.0)
        method.recycle(
            [torch.tensor([2]), torch.tensor([4]), *[torch.tensor([], dtype=torch.int64)] * 2][: len(method.layers)]
        )
    first, second = agent.hidden_layers()[:2]
    columns = first.columns_of(second.layer, torch.tensor([2]))
    assert not second.layer.weight[:, columns].any()
    fresh = second.layer.weight[4].clone()
    fresh[columns] = 1.0
    assert bool((fresh != 1.0).any()), "its other incoming weights are new"


def test_recycled_weights_take_the_steps_of_a_new_adam_and_all_others_the_steps_that_they_took():
    agent, other = small_agent(), small_agent()
    optimizers = [RestartableAdam(each.parameters(), lr=0.01, eps=1e-5) for each in (agent, other)]
    method = method_on(agent, "redo", optimizers[0])
    for seed in range(20):
        for each, optimizer in zip((agent, other), optimizers, strict=True):
            step(each, optimizer, seed)
    with torch.no_grad():
        method.recycle([torch.tensor([2]), torch.tensor([], dtype=torch.int64)])
    layer = agent.hidden_layers()[0]
    columns = layer.columns_of(layer.consumers[0], torch.tensor([2]))
    for parameter, new in ((layer.layer.weight, (2,)), (layer.layer.bias, (2,)), (layer.consumers[0].weight, columns)):
        steps = entry_steps(optimizers[0], parameter)
        young = torch.zeros_like(steps, dtype=torch.bool)
        young[(slice(None), new) if parameter is layer.consumers[0].weight else new] = True
        assert not steps[young].any()
        assert bool((steps[~young] == 20).all())
    # The same gradients for both: what was not recycled moves bit for bit as in an agent without.
    before = copy_of(agent)
    for each, optimizer in zip((agent, other), optimizers, strict=True):
        for parameter in each.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4))
        optimizer.step()
    moved = (agent.encoder[0].weight - before["encoder.0.weight"])[2].detach().abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-3, atol=1e-6)  # Adam's first step
    untouched = [row for row in range(6) if row != 2]
    assert torch.equal(agent.encoder[0].weight[untouched], other.encoder[0].weight[untouched])
    assert torch.equal(agent.actor.weight, other.actor.weight)


@pytest.mark.parametrize("order", [("redo", "continual_backprop"), ("continual_backprop", "redo")], ids="+".join)
def test_to_continual_backpropagation_a_recycled_unit_is_a_new_one(order):
    """Young, so that it is not replaced at once, and nothing is known of it; of all others everything."""
    agent = small_agent()
    settings = {"redo": {"every": 5}, "continual_backprop": {"maturity_threshold": 3, "replacement_rate": 1e-9}}
    methods = {name: method_on(agent, name, **settings[name]) for name in order}
    together, record = Methods(methods), methods["continual_backprop"].units.records[0]
    encoder = torch.ones(3, 2, 6)
    encoder[..., 1] = 0.001
    for _ in range(4):
        together.weights([encoder, torch.ones(3, 5)])
    before, others = [each.clone() for each in (record.utility, record.mean_feature)], [0, 2, 3, 4, 5]
    assert all(bool((each > 0).all()) for each in before)
    together.weights([encoder, torch.ones(3, 5)])
    assert methods["redo"].numbers()["recycled/encoder1"] == 1
    assert record.age.tolist() == [5, int(order[0] == "redo"), 5, 5, 5, 5]
    assert record.utility[1] == 0
    assert record.mean_feature[1] < 2 * 0.01 * 0.001, "of this step at most"
    for known, earlier in zip((record.utility, record.mean_feature), before, strict=True):
        assert bool((known[others] > earlier[others]).all())


def test_it_acts_every_so_many_gradient_steps_also_after_a_stop():
    agent, seen = small_agent(), seen_by("PPO_OBJ")
    silence(agent.hidden_layers()[0], [1])

    def recycled(method, steps):
        for _ in range(steps):
            with torch.no_grad():
                method.weights(agent(seen, True)[2])
        return method.numbers()["recycled/encoder1"]

    method = method_on(agent, "redo", every=3, threshold=0.0)
    assert [recycled(method, 1) for _ in range(2)] == [0, 0]
    again = method_on(agent, "redo", every=3, threshold=0.0)
    again.load_state_dict(method.state_dict())
    so_far = recycled(again, 1)
    assert so_far >= 1
    with torch.no_grad():
        again.recycle([torch.tensor([0, 1]), torch.tensor([], dtype=torch.int64)])
    assert again.numbers()["recycled/encoder1"] == so_far + 2, "of the whole run"
