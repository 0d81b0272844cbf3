"""Precision, the acting copy, replayed steps, phase times."""

import time

import pytest
import torch

from continual_hackatari.agents import AgentError, make_agent
from continual_hackatari.agents.acceleration import ActingAgent, GraphedStep, choose_precision, put_channels_last
from continual_hackatari.training.timing import PhaseTimer

CPU = torch.device("cpu")


@pytest.fixture
def agent():
    return make_agent("PPO", (4, 84, 84), 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def frames():
    return torch.randint(0, 256, (6, 4, 84, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def test_precision_is_what_was_asked_for():
    assert choose_precision("off", CPU)[0] == torch.float32
    assert choose_precision("bf16", CPU)[0] == torch.bfloat16
    dtype, line = choose_precision("auto", CPU)
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    assert dtype == (torch.bfloat16 if has_instructions else torch.float32)
    assert ("has" if has_instructions else "lacks") in line
    with pytest.raises(AgentError, match=r"fp16.*auto, bf16, off"):
        choose_precision("fp16", CPU)


def test_float32_is_said_to_be_rounded_where_a_gpu_rounds_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0) if device.index else (7, 5))
    lines = [choose_precision("off", torch.device(name))[1] for name in ("cpu", "mps", "cuda:0", "cuda:1")]
    assert lines == [*["precision: float32"] * 3, "precision: float32 (TF32 in convolutions)"]
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert choose_precision("off", torch.device("cuda:1"))[1] == "precision: float32", "AMD's have no TF32"
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert choose_precision("off", torch.device("cuda:1"))[1] == "precision: float32"


def test_in_float32_the_agent_itself_acts(agent, frames):
    acting = ActingAgent(agent, torch.float32)
    generator, again = (torch.Generator().manual_seed(3) for _ in range(2))
    action, log_prob, value = acting.act(frames, generator)
    expected = agent.get_action_and_value(frames, generator=again)
    assert torch.equal(action, expected[0])
    assert torch.equal(log_prob, expected[1])
    assert torch.equal(value, expected[3])
    assert not value.requires_grad


def test_in_bfloat16_a_copy_acts_that_follows_at_refresh(agent, frames):
    acting = ActingAgent(agent, torch.bfloat16)
    with torch.no_grad():
        before = agent.get_value(frames)
        assert acting.value(frames).dtype == torch.float32
        torch.testing.assert_close(acting.value(frames), before, rtol=0.05, atol=0.05)
        for parameter in agent.parameters():
            parameter.mul_(0.5)
        after = agent.get_value(frames)
    torch.testing.assert_close(acting.value(frames), before, rtol=0.05, atol=0.05)
    acting.refresh()
    torch.testing.assert_close(acting.value(frames), after, rtol=0.05, atol=0.05)
    assert not torch.allclose(before, after, rtol=0.05, atol=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in agent.parameters())


CHANGES = pytest.mark.parametrize(
    "changes", [{}, {"layer_norm": True}, {"crelu": 0.7}], ids=["plain", "layer_norm", "crelu"]
)


@CHANGES
@pytest.mark.parametrize("architecture", ["PPO", "PPO_OBJ"])
def test_in_bfloat16_it_acts_as_it_learns(architecture, changes, frames):
    """The ratio of the two policies, of which PPO and V-trace make much, is 1 before anything is learned."""
    seeded = torch.Generator().manual_seed(1)
    seen = frames if architecture != "PPO_OBJ" else 160 * torch.rand(6, 4, 12, generator=seeded)
    agent = make_agent(architecture, seen.shape[1:], 4, changes=changes, generator=seeded)
    with torch.no_grad():
        agent.actor.weight.mul_(100)
        for layer in agent.hidden_layers():
            for each in filter(None, [layer.layer, layer.norm]):
                each.bias += 0.05 * torch.randn(each.bias.shape, generator=seeded)
            if layer.norm is not None:
                layer.norm.weight += 0.02 * torch.randn(layer.norm.weight.shape, generator=seeded)
        acting = ActingAgent(agent, torch.bfloat16)
        acting.refresh()
        with torch.autocast("cpu", torch.bfloat16):
            _, learned, _, value = agent.get_action_and_value(seen, torch.zeros(6, dtype=torch.int64))
        acted, its_value = acting.evaluate(seen, torch.zeros(6, dtype=torch.int64))
    torch.testing.assert_close(acted, learned, rtol=0, atol=5e-4)
    torch.testing.assert_close(its_value, value, rtol=0, atol=5e-4)


@CHANGES
def test_objects_are_read_in_bfloat16_as_in_float32(changes):
    seeded = torch.Generator().manual_seed(1)
    agent = make_agent("PPO_OBJ", (4, 12), 3, encoder_dims=(32,), decoder_dims=(32,), changes=changes, generator=seeded)
    features = 160 * torch.rand(6, 4, 12, generator=seeded)
    exact, fast = ActingAgent(agent, torch.float32), ActingAgent(agent, torch.bfloat16)
    torch.testing.assert_close(fast.value(features), exact.value(features), rtol=0.05, atol=0.05)
    assert not torch.equal(fast.value(features), exact.value(features))
    with torch.autocast("cpu", torch.bfloat16):
        outputs, _ = agent.hidden_outputs(features)
        loss = agent.get_action_value_and_hidden(features, torch.zeros(6, dtype=torch.int64))[3].mean()
    loss.backward()
    assert len(outputs) == 2
    assert all(each.grad.dtype == torch.float32 for each in agent.critic.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_network_of_ones_own_acts_in_any_precision_and_follows_at_once(frames, dtype):
    with torch.no_grad():
        agent = make_agent("own_network:OwnNetwork", (4, 84, 84), 3, generator=torch.Generator().manual_seed(1))
        acting = ActingAgent(agent, dtype)
        for factor in (1.0, 0.5):
            agent.layer.weight.mul_(factor)
            acting.refresh()
            action, log_prob, value = acting.act(frames, torch.Generator().manual_seed(3))
            torch.testing.assert_close(value, agent.get_value(frames), rtol=0.05, atol=0.05)
            assert torch.equal(acting.value(frames), value)
            assert torch.equal(acting.evaluate(frames, action)[0], log_prob)
    assert value.dtype == log_prob.dtype == torch.float32
    assert torch.equal(value, agent.get_value(frames)) == (dtype == torch.float32)


def test_channels_come_last_where_a_weight_has_two_directions_and_no_more():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.Conv3d(3, 4, 2), torch.nn.Linear(3, 4))
    before = [(parameter, parameter.detach().clone()) for parameter in network.parameters()]
    put_channels_last(network)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(parameter.is_contiguous() for layer in network[1:] for parameter in layer.parameters())
    for now, (parameter, weights) in zip(network.parameters(), before, strict=True):
        assert now is parameter
        assert torch.equal(now, weights)


def test_bfloat16_gradients_are_close_to_float32s(agent, frames):
    def gradient(dtype):
        agent.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            _, log_prob, _, value = agent.get_action_and_value(frames, torch.zeros(6, dtype=torch.int64))
        (log_prob.mean() + value.mean()).backward()
        return torch.cat([parameter.grad.flatten() for parameter in agent.parameters()])

    exact, rounded = gradient(torch.float32), gradient(torch.bfloat16)
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.995


def test_a_step_that_is_not_recorded_runs_as_it_is():
    calls = []

    def step(rows):
        calls.append(rows)
        return rows.sum()

    graphed = GraphedStep(step, enabled=False)
    rows = torch.arange(4)
    assert [int(graphed(rows)) for _ in range(5)] == [6] * 5
    assert all(given is rows for given in calls)


def test_every_moment_belongs_to_the_next_lap(monkeypatch):
    clock = iter([0.0, 2.0, 3.0, 7.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    timer = PhaseTimer()
    timer.lap("first")
    timer.lap("second")
    timer.lap("first")
    assert timer.take() == {"first": 6.0, "second": 1.0}
    assert timer.take() == {}
