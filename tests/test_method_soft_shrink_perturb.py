"""Soft shrink and perturb: mean and variance after many steps, and noise as the initialiser's rows."""

import pytest
import torch
from made_up_methods import copy_of, method_on, seeded, small_agent

from continual_hackatari.agents import make_agent
from continual_hackatari.agents.actor_critic import orthogonal
from continual_hackatari.methods.soft_shrink_perturb import rows_like

STEPS = 60


def test_without_noise_weights_shrink_geometrically_and_nothing_is_drawn():
    agent = small_agent()
    method, start = method_on(agent, "soft_shrink_perturb", factor=0.98, noise_scale=0.0), copy_of(agent)
    for _ in range(STEPS):
        with torch.no_grad():
            method.weights([])
    for name, each in agent.named_parameters():
        torch.testing.assert_close(each.detach(), 0.98**STEPS * start[name], rtol=1e-4, atol=1e-7)
    assert torch.equal(method.learner.generator.get_state(), seeded(7).get_state())


def test_mean_and_variance_after_many_steps_are_those_of_the_formula():
    """E = a^T theta_0; Var = b^2 v (1 - a^2T) / (1 - a^2), v the initialiser's variance of an entry."""
    a, b = 0.95, 0.3
    agent = small_agent(encoder_dims=(40,), decoder_dims=(30,))
    start = copy_of(agent)
    method = method_on(agent, "soft_shrink_perturb", factor=a, noise_scale=b)
    for _ in range(STEPS):
        with torch.no_grad():
            method.weights([])
    share = b**2 * (1 - a ** (2 * STEPS)) / (1 - a**2)
    weight = agent.decoder[0].weight.detach()  # 30 rows of 80 columns: each row has length sqrt(2)
    noise = weight - a**STEPS * start["decoder.0.weight"]
    assert float(noise.square().mean()) == pytest.approx(share * 2 / 80, rel=0.1)
    assert abs(float(noise.mean())) < 4 * (share * 2 / 80 / noise.numel()) ** 0.5
    actor = agent.actor.weight.detach() - a**STEPS * start["actor.weight"]
    assert float(actor.square().mean()) == pytest.approx(share * 1e-4 / 30, rel=0.5)
    for name, each in agent.named_parameters():
        if name.endswith("bias"):
            assert not each.any()


def test_rows_of_each_layer_have_its_gain():
    agent = small_agent(encoder_dims=(3, 2), decoder_dims=(4,))  # rows are no longer than columns
    start = copy_of(agent)
    with torch.no_grad():
        method_on(agent, "soft_shrink_perturb", factor=1.0, noise_scale=0.5).weights([])
    gains = {"actor.weight": 0.01, "critic.weight": 1.0}
    for name, weight in agent.named_parameters():
        if weight.dim() == 2:
            lengths = (weight.detach() - start[name]).norm(dim=1)
            torch.testing.assert_close(
                lengths, torch.full_like(lengths, 0.5 * gains.get(name, 2**0.5)), rtol=1e-3, atol=0
            )


def test_a_step_is_the_formula_with_rows_of_a_generator_that_its_own_one_seeds():
    """The noise is not shrunk, and other randomness of the run does not shift it."""
    agent = small_agent()
    draws = seeded(int(torch.randint(2**63 - 1, (), generator=seeded(7))))
    start = copy_of(agent)
    with torch.no_grad():
        method_on(agent, "soft_shrink_perturb", factor=0.5, noise_scale=0.25).weights([])
    for name, weight in agent.named_parameters():
        expected = 0.5 * start[name]
        if weight.dim() == 2:
            gain = {"actor.weight": 0.01, "critic.weight": 1.0}.get(name, 2**0.5)
            expected = expected + 0.25 * gain * rows_like(weight.detach(), draws)
        torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (6, 2, 3, 1)])
def test_a_row_is_distributed_as_a_row_of_the_initialiser(shape):
    """Length, and the second and fourth moment of an entry."""
    draws = 3000
    mine = torch.stack([rows_like(torch.zeros(shape), seeded(i))[0].flatten() for i in range(draws)])
    its = torch.stack([orthogonal(torch.Size(shape), seeded(i))[0].flatten() for i in range(draws)])
    columns = mine.shape[1]
    for power in (2, 4):
        means = [float(each.pow(power).mean()) for each in (mine, its)]
        assert means[0] == pytest.approx(means[1], rel=0.1 if power == 4 else 0.04)
    assert float(mine.square().mean()) == pytest.approx(1 / max(shape[0], columns), rel=0.04)
    if shape[0] <= columns:
        torch.testing.assert_close(mine.norm(dim=1), torch.ones(draws))


def test_gains_of_normalisers_are_drawn_to_one():
    agent = small_agent(changes={"layer_norm": True})
    with torch.no_grad():
        for each in agent.norm.parameters():
            each.fill_(3.0)
        method = method_on(agent, "soft_shrink_perturb", factor=0.5, noise_scale=0.5)
        for _ in range(40):
            method.weights([])
    for name, each in agent.norm.named_parameters():
        torch.testing.assert_close(each.detach(), torch.full_like(each, float(name.endswith("weight"))))


def test_normalisers_without_gains_have_none_to_draw():
    agent = make_agent("own_network:Recurrent", (2, 84, 84), 4, generator=seeded(1))
    method, start = method_on(agent, "soft_shrink_perturb", factor=0.5, noise_scale=0.5), copy_of(agent)
    with torch.no_grad():
        method.weights([])
    assert not torch.equal(agent.layer.weight.detach(), 0.5 * start["layer.weight"])
    assert torch.equal(agent.layer.bias.detach(), 0.5 * start["layer.bias"])


def test_an_agent_with_an_initialiser_of_its_own_gets_noise_from_that():
    """From the method's generator alone, and what is frozen gets none."""
    agent = make_agent("own_network:DrawnRecurrent", (2, 84, 84), 4, generator=seeded(1))
    agent.actor.requires_grad_(False)
    method, before, draws = (
        method_on(agent, "soft_shrink_perturb", factor=0.5, noise_scale=0.25),
        copy_of(agent),
        seeded(7),
    )
    others = torch.get_rng_state()
    for _ in range(2):
        noise = dict(agent.fresh_copy(draws).named_parameters())
        assert noise["cell.bias_hh"].any()
        with torch.no_grad():
            method.weights([])
        for name, weight in agent.named_parameters():
            expected = before[name] if name.startswith("actor") else 0.5 * before[name] + 0.25 * noise[name].detach()
            torch.testing.assert_close(weight.detach(), expected)
        before = copy_of(agent)
    assert torch.equal(torch.get_rng_state(), others)


def test_the_default_factor_shrinks_as_exactly_as_float32_can():
    """Times 0.999999 as float32 has it would be 1.5 % more. One weight by itself is rounded by up to 6 % of that."""
    agent = small_agent(encoder_dims=(100,), decoder_dims=(100,))
    method, start = method_on(agent, "soft_shrink_perturb", noise_scale=0.0), copy_of(agent)
    steps = 300
    with torch.no_grad():
        for _ in range(steps):
            method.weights([])
    (weight, before), exact = (
        (each["decoder.0.weight"].double() for each in (copy_of(agent), start)),
        1 - 0.999999**steps,
    )
    assert float(1 - weight.abs().sum() / before.abs().sum()) == pytest.approx(exact, rel=5e-3)
    torch.testing.assert_close((1 - weight / before) / exact, torch.ones_like(weight), rtol=0.065, atol=0)


def test_each_step_has_noise_of_its_own():
    agent = small_agent()
    method, noises = method_on(agent, "soft_shrink_perturb", factor=1.0, noise_scale=0.5), []
    for _ in range(2):
        before = copy_of(agent)
        with torch.no_grad():
            method.weights([])
        noises.append(agent.actor.weight.detach() - before["actor.weight"])
    assert not torch.allclose(*noises)
