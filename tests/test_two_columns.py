"""The network of Progress & Compress: an active column that is given what a knowledge base says."""

import copy

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from made_up_methods import seeded

from continual_hackatari.agents import PPO, TwoColumns, make_agent
from continual_hackatari.agents.acceleration import ActingAgent
from continual_hackatari.agents.errors import AgentError
from continual_hackatari.agents.player import player_of, playing

FRAMES = torch.randint(0, 256, (3, 2, 84, 84), generator=seeded(1), dtype=torch.uint8)


@pytest.fixture(scope="module")
def drawn():
    return make_agent("TWO_COLUMNS", (2, 84, 84), 4, generator=seeded(2))


@pytest.fixture
def agent(drawn):
    return copy.deepcopy(drawn)


def is_known(name):
    return name.startswith(("knowledge_base.", "earlier."))


def own_weights(agent):
    """Of the active column as a `PPO` has them."""
    return {
        name: weight
        for name, weight in agent.state_dict().items()
        if not is_known(name) and not name.startswith("lateral.")
    }


def test_without_gates_the_active_column_is_a_plain_one(agent):
    plain = PPO(4, 2)
    plain.load_state_dict(own_weights(agent))
    with torch.no_grad():
        assert not torch.equal(agent(FRAMES)[0], plain(FRAMES)[0])
        for lateral in agent.lateral.values():
            lateral.gate.zero_()
        for mine, its in zip(agent(FRAMES), plain(FRAMES), strict=True):
            assert torch.equal(mine, its)


def test_every_layer_but_the_first_is_given_what_the_layer_below_says_in_the_knowledge_base(agent):
    """h = ReLU(W h_below + b + gate * U ReLU(V h_known + c)), written a second time."""

    def given(name, known):
        lateral = agent.lateral[name]
        if known.dim() == 2:
            seen = F.linear(known, lateral.read.weight, lateral.read.bias).relu()
            return lateral.gate * F.linear(seen, lateral.write.weight)
        stride = {"conv2": 2, "conv3": 1}[name]
        seen = F.conv2d(known, lateral.read.weight, lateral.read.bias, stride=stride).relu()
        return lateral.gate[:, None, None] * F.conv2d(seen, lateral.write.weight)

    gates = {name: lateral.gate.numel() for name, lateral in agent.lateral.items()}
    assert gates == {"conv2": 64, "conv3": 64, "fc": 512, "actor": 4, "critic": 1}, "one for each unit"
    with torch.no_grad():
        for lateral in agent.lateral.values():
            lateral.gate.uniform_(-1, 1, generator=seeded(3))
            lateral.read.bias.uniform_(-1, 1, generator=seeded(4))
        network, known = agent.network, agent.knowledge_base.features(FRAMES)
        first = F.conv2d(FRAMES / 255, network[0].weight, network[0].bias, stride=4).relu()
        second = (network[2](first) + given("conv2", known[0])).relu()
        third = (network[4](second) + given("conv3", known[1])).relu()
        last = (network[7](third.flatten(1)) + given("fc", known[2].flatten(1))).relu()
        logits = agent.actor(last) + given("actor", known[3])
        value = agent.critic(last) + given("critic", known[3])
        found = agent(FRAMES)
    torch.testing.assert_close(found[0], logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], value[:, 0], rtol=1e-4, atol=1e-5)


def test_no_gradient_reaches_the_knowledge_base_and_one_reaches_all_else(agent):
    logits, value = agent(FRAMES)
    (logits.square().sum() + value.sum()).backward()
    for name, parameter in agent.named_parameters():
        assert (parameter.grad is None) == is_known(name), name
        assert is_known(name) or bool(parameter.grad.any()), name


def test_drawn_anew_all_of_the_active_column_differs_and_nothing_of_the_knowledge_base(agent):
    begun = copy.deepcopy(agent.state_dict())
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=seeded(5)))
    before = copy.deepcopy(agent.state_dict())
    agent.initialise(seeded(6))
    for name, weight in agent.state_dict().items():
        kept = before[name.replace("earlier.", "knowledge_base.")]  # the knowledge base as it is now
        assert torch.equal(weight, kept) == is_known(name), name
        assert is_known(name) or weight.norm() == pytest.approx(float(begun[name].norm()), rel=1e-4), name
    assert all(torch.equal(lateral.gate, torch.full_like(lateral.gate, 0.1)) for lateral in agent.lateral.values())


def test_each_parameter_is_of_one_column(agent):
    columns = [agent.active_parameters(), list(agent.knowledge_base.parameters())]
    found = [id(parameter) for column in columns for parameter in column]
    assert len(found) == len(set(found)), "none is stepped or clipped twice"
    assert set(found) == {id(parameter) for parameter in agent.parameters() if parameter.requires_grad}


def test_the_knowledge_base_plays_unless_the_active_column_is_asked_for(agent):
    assert playing(agent, "any string") is agent.knowledge_base
    assert player_of(agent, "kb") is agent.knowledge_base
    active = player_of(agent, "ac")
    assert playing(active, "any string") is active
    with torch.no_grad():
        assert torch.equal(active(FRAMES)[0], agent(FRAMES)[0]), "and the agent itself acts as its active column"
        agent.actor.bias.add_(torch.tensor([0.0, 0.0, 0.0, 9.0]))
    assert active.act(FRAMES, deterministic=True).tolist() == [3] * 3, "with weights that are not copied"
    assert list(agent.players) == ["kb", "ac"]


def test_it_acts_in_bfloat16_with_float32_heads(agent):
    exact, fast = ActingAgent(agent, torch.float32), ActingAgent(agent, torch.bfloat16)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.mul_(0.9)
    fast.refresh()
    (_, policy, value), (_, other, its_value) = (each.act_with_policy(FRAMES, seeded(7)) for each in (exact, fast))
    assert policy.dtype == other.dtype == its_value.dtype == torch.float32
    torch.testing.assert_close(other, policy, rtol=0.02, atol=0.02)
    torch.testing.assert_close(its_value, value, rtol=0.1, atol=0.05)


def test_every_column_rounds_its_first_filters_after_scaling_them(agent):
    agent.to(torch.bfloat16).keep_in_float32()
    exact = {name for name, parameter in agent.named_parameters() if parameter.dtype == torch.float32}
    of_column = {"network.0.weight", *(f"{head}.{each}" for head in ("actor", "critic") for each in ("weight", "bias"))}
    columns = {prefix + name for prefix in ("", "knowledge_base.", "earlier.") for name in of_column}
    laterals = {name for name, _ in agent.named_parameters() if name.startswith(("lateral.actor.", "lateral.critic."))}
    assert exact == columns | laterals
    with torch.no_grad():
        assert agent(FRAMES)[1].isfinite().all()


def test_the_fisher_information_is_of_how_the_knowledge_base_plays(agent):
    assert list(agent.knowledge_base.fisher_terms(FRAMES, seeded(8))) == ["log_prob"]


def test_it_is_built_for_frames():
    assert isinstance(make_agent("TWO_COLUMNS", (1, 84, 84), 3, generator=seeded(9)), TwoColumns)
    with pytest.raises(AgentError, match="TWO_COLUMNS reads frames"):
        make_agent("TWO_COLUMNS", (4, 16), 3)
