"""Continual backpropagation against recorded traces of the authors' own code, and against what must hold anyway.

`tests/data/cbp_traces.json` was recorded by running the unmodified classes of github.com/shibhansh/loss-of-plasticity:
tiny networks whose weights, features and weight changes are small integers over 64 or 1024, listed in the file or made
by the integer generator below; every replacement with its step, layer, units and fresh weights; the statistics.
"""

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import mostly_slow
from restarted import entry_steps
from torch import Tensor, nn

from continual_hackatari.agents import AgentError, make_agent
from continual_hackatari.agents.continual_backprop import UTILITIES, ContinualBackprop, HiddenLayer, incoming_bound
from continual_hackatari.agents.restartable_adam import RestartableAdam

TRACES = json.loads((Path(__file__).parent / "data" / "cbp_traces.json").read_text())
SCENARIOS = {scenario["name"]: scenario for scenario in TRACES["scenarios"]}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def integers(seed: int) -> Iterator[Any]:
    """The recording's generator: send (low, high), get an integer of that range, both ends included."""
    state, bounds = seed, (0, 0)
    drawn = 0
    while True:
        bounds = yield drawn
        state = (1664525 * state + 1013904223) % 2**32
        drawn = bounds[0] + ((state >> 8) * (bounds[1] - bounds[0] + 1) >> 24)


def started(seed: int) -> Any:
    generator = integers(seed)
    next(generator)
    return generator


class Recording:
    """One scenario: its network, and its inputs step by step."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.scenario = scenario
        self.layers = [
            nn.Conv2d(spec["in"], spec["out"], spec["k"]) if "k" in spec else nn.Linear(spec["in"], spec["out"])
            for spec in scenario["layers"]
        ]
        self.features_source = started(scenario["seed_features"])
        self.drift_source = started(scenario["seed_drift"])
        self.grads_source = started(scenario.get("seed_grads", 0))
        initial = scenario.get("init_q1024") or self.draw_initial(started(scenario["seed_init"]))
        with torch.no_grad():
            for layer, values in zip(self.layers, initial, strict=True):
                layer.weight.copy_(torch.tensor(values).reshape(layer.weight.shape) / 1024)
                layer.bias.zero_()

    def draw_initial(self, source: Any) -> list[list[int]]:
        return [[source.send((-600, 600)) or 1 for _ in range(layer.weight.numel())] for layer in self.layers]

    def features(self, t: int) -> list[Tensor]:
        shapes = []
        for spec in self.scenario["layers"][:-1]:
            positions = (spec["h"], spec["h"]) if spec["type"] == "conv" else ()
            shapes.append((self.scenario["batch"], spec["out"], *positions))
        listed = self.scenario.get("features_q64")
        values = listed[t] if listed else [self.draw_features(t, i, shape) for i, shape in enumerate(shapes)]
        return [torch.tensor(v, dtype=torch.float32).reshape(s) / 64 for v, s in zip(values, shapes, strict=True)]

    def draw_features(self, t: int, layer: int, shape: tuple[int, ...]) -> list[int]:
        assert not self.scenario["signed"], "no recorded scenario here has signed features"
        values = []
        for _ in range(shape[0]):
            for unit in range(shape[1]):
                threshold = (37 * unit + 11 * layer + 13 * (t // self.scenario["phase"])) % 120
                positions = math.prod(shape[2:])
                values += [max(0, self.features_source.send((0, 127)) - threshold) for _ in range(positions)]
        return values

    @torch.no_grad()
    def drift(self, t: int) -> None:
        """The weight changes that stand for learning, exact in float32."""
        every = self.scenario["drift_every"]
        if t % every:
            return
        listed = self.scenario.get("drift_q1024")
        for index, layer in enumerate(self.layers):
            values = (
                listed[t // every][index]
                if listed
                else [self.drift_source.send((-16, 16)) for _ in range(layer.weight.numel())]
            )
            layer.weight += torch.tensor(values).reshape(layer.weight.shape) / 1024

    def set_gradients(self) -> None:
        for layer in self.layers:
            for parameter in (layer.weight, layer.bias):
                values = [self.grads_source.send((-64, 64)) for _ in range(parameter.numel())]
                parameter.grad = torch.tensor(values).reshape(parameter.shape) / 64


def split_heads(layers: list[Any]) -> list[Any]:
    """The last layer as two, the last row alone: a policy and a value head that share the layer before them."""
    last = layers[-1]
    heads = nn.Linear(last.in_features, last.out_features - 1), nn.Linear(last.in_features, 1)
    with torch.no_grad():
        for head, rows in zip(heads, (slice(None, -1), slice(-1, None)), strict=True):
            head.weight.copy_(last.weight[rows])
            head.bias.zero_()
    return [*layers[:-1], *heads]


def build(recording: Recording, layers: list[Any], optimizer: Any = None) -> ContinualBackprop:
    scenario = recording.scenario
    hidden = len(scenario["layers"]) - 1
    consumers = [[layer] for layer in layers[1:hidden]] + [layers[hidden:]]
    return ContinualBackprop(
        [HiddenLayer(layer, reads) for layer, reads in zip(layers[:hidden], consumers, strict=True)],
        replacement_rate=scenario["replacement_rate"],
        maturity_threshold=scenario["maturity_threshold"],
        decay_rate=scenario["decay_rate"],
        utility=scenario["util_type"],
        count="all" if scenario["class"] == "ConvGnT" else "eligible",
        optimizer=optimizer,
    )


def check_replacement(cbp: ContinualBackprop, event: dict[str, Any], units: Tensor, redrawn_next: list[int]) -> None:
    """Fresh row, zero bias, zero outgoing columns (save the rows of the next layer that were drawn anew after it)."""
    record = cbp.records[event["l"]]
    shape = record.layer.weight.shape[1:]
    for unit, row in zip(event["u"], event["draw"], strict=True):
        assert torch.equal(record.layer.weight[unit].detach(), torch.tensor(row).reshape(shape))
        assert record.layer.bias[unit] == 0
    for consumer, per_unit in zip(record.consumers, record.columns_per_unit, strict=True):
        columns = [unit * per_unit + position for unit in units.tolist() for position in range(per_unit)]
        if "out_cols" in event:
            assert sorted(columns) == sorted(event["out_cols"])
        kept = [row for row in range(consumer.weight.shape[0]) if row not in redrawn_next]
        assert not consumer.weight[kept][:, columns].any()
    assert not record.age[units].any()


def check_statistics(cbp: ContinualBackprop, expected: dict[str, Any], replaced: list[Tensor]) -> None:
    for index, record in enumerate(cbp.records):
        close = {"rtol": 2e-5, "atol": 1e-7}
        assert record.age.tolist() == expected["age"][index]
        torch.testing.assert_close(record.utility, torch.tensor(expected["util"][index]), **close)
        assert record.accumulated == pytest.approx(expected["acc"][index], abs=1e-6)
        if "mean_act" in expected:
            torch.testing.assert_close(
                record.mean_feature, torch.tensor(expected["mean_act"][index]), rtol=2e-5, atol=1e-6
            )
        if "bc_util" in expected:
            kept = [unit for unit in range(len(record.age)) if unit not in replaced[index].tolist()]
            corrected = record.utility / cbp._correction(record)
            torch.testing.assert_close(corrected[kept], torch.tensor(expected["bc_util"][index])[kept], **close)


def check_adam(optimizer: RestartableAdam, layers: list[Any], expected: list[dict[str, Any]]) -> None:
    parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    for parameter, wanted in zip(parameters, expected, strict=True):
        state = optimizer.state[parameter]
        assert entry_steps(optimizer, parameter).flatten().tolist() == wanted["step"]
        for moment in ("exp_avg", "exp_avg_sq"):
            recorded = torch.tensor(wanted[moment])
            torch.testing.assert_close(state[moment].flatten(), recorded, rtol=2e-5, atol=1e-6)
            assert torch.equal(state[moment].flatten() == 0, recorded == 0)


@pytest.mark.parametrize(
    "two_heads",
    [pytest.param(False, id="one consumer"), pytest.param(True, id="two heads", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", mostly_slow(SCENARIOS, 4))
def test_recorded_traces_replay(name: str, two_heads: bool) -> None:
    recording = Recording(SCENARIOS[name])
    scenario, whole_last = recording.scenario, recording.layers[-1]
    layers = split_heads(recording.layers) if two_heads else recording.layers
    with_adam = "seed_grads" in scenario and not two_heads
    parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    optimizer = RestartableAdam(parameters, lr=0.0) if with_adam else None
    cbp = build(recording, layers, optimizer)
    events = {(event["t"], event["l"]): event for event in scenario["events"]}
    traces = {trace["t"]: trace for trace in scenario["trace"]}
    now = 0

    def recorded_rows(layer_index: int, units: Tensor) -> Tensor:
        event = events[now, layer_index]
        rows = [event["draw"][event["u"].index(unit)] for unit in units.tolist()]
        return torch.tensor(rows).reshape(len(rows), *layers[layer_index].weight.shape[1:])

    cbp.draw_incoming = recorded_rows  # type: ignore[method-assign]
    for now in range(scenario["steps"]):
        features = recording.features(now)
        if optimizer is not None:
            recording.set_gradients()
            optimizer.step()
        before = [layer.weight.detach().clone() for layer in layers]
        replaced = cbp.step(features)
        for index, units in enumerate(replaced):
            event = events.get((now, index))
            assert sorted(units.tolist()) == sorted(event["u"] if event else []), f"step {now}, layer {index}"
            if event:
                following = replaced[index + 1].tolist() if index + 1 < len(replaced) else []
                check_replacement(cbp, event, units, following)
        if not any(len(units) for units in replaced):
            assert all(torch.equal(old, layer.weight) for old, layer in zip(before, layers, strict=True))
        if now in traces:
            check_statistics(cbp, traces[now], replaced)
            if optimizer is not None:
                check_adam(optimizer, layers, traces[now]["adam"])
        drift_with_heads(recording, now, layers, whole_last)
    if "final_weights" in scenario:
        final = [layer.weight.detach().flatten() for layer in layers[: len(cbp.records)]]
        final.append(torch.cat([layer.weight.detach().flatten() for layer in layers[len(cbp.records) :]]))
        for mine, expected in zip(final, scenario["final_weights"], strict=True):
            torch.testing.assert_close(mine, torch.tensor(expected), rtol=0, atol=1e-6)


@torch.no_grad()
def drift_with_heads(recording: Recording, t: int, layers: list[Any], whole_last: Any) -> None:
    """The recorded drift; where the last layer was split, its heads follow the whole one's change."""
    before = whole_last.weight.clone()
    recording.drift(t)
    change = whole_last.weight - before
    if layers[-1] is not whole_last:
        layers[-2].weight += change[:-1]
        layers[-1].weight += change[-1:]


def test_bounds_of_fresh_weights_are_the_authors() -> None:
    agent = make_agent("PPO", (4, 84, 84), 7)
    convolutions, fully_connected = [agent.network[i] for i in (0, 2, 4)], agent.network[7]
    for init, recorded in TRACES["bounds_nature_cnn_7_outputs"].items():
        expected = recorded["ConvGnT_conv1_conv2_conv3_fc_head"][:3]
        assert [incoming_bound(layer, init) for layer in convolutions] == pytest.approx(expected, rel=1e-6)
        assert incoming_bound(fully_connected, init) == pytest.approx(recorded["GnT_fc_head"][0], rel=1e-6)


def cbp_of(agent: Any, **options: Any) -> ContinualBackprop:
    conv_1, conv_2, conv_3, fully_connected = (agent.network[i] for i in (0, 2, 4, 7))
    layers = [
        HiddenLayer(conv_1, [conv_2]),
        HiddenLayer(conv_2, [conv_3]),
        HiddenLayer(conv_3, [fully_connected]),
        HiddenLayer(fully_connected, [agent.actor, agent.critic]),
    ]
    settings = {"replacement_rate": 0.01, "maturity_threshold": 2, "decay_rate": 0.9, "generator": seeded(1), **options}
    return ContinualBackprop(layers, **settings)


def features_of(agent: Any, x: Tensor) -> list[Tensor]:
    """Outputs after each ReLU, the plain way."""
    outputs, h = [], x / 255
    for module in agent.network:
        h = module(h)
        if isinstance(module, nn.ReLU):
            outputs.append(h)
    outputs[2] = outputs[2].reshape(len(x), 64, 7, 7)  # the network flattens the third before its ReLU
    return outputs


def frames(seed: int, batch: int = 4) -> Tensor:
    return torch.randint(0, 256, (batch, 4, 84, 84), generator=seeded(seed)).float()


@pytest.mark.parametrize("init", ["default", "xavier", "lecun", "kaiming"])
@pytest.mark.parametrize("layer_index", [0, 3])
def test_fresh_weights_are_uniform_within_their_bound(init: str, layer_index: int) -> None:
    cbp = cbp_of(make_agent("PPO", (4, 84, 84), 6), init=init)
    rows = cbp.draw_incoming(layer_index, torch.zeros(100, dtype=torch.int64)).double()
    bound, n = incoming_bound(cbp.records[layer_index].layer, init), rows.numel()
    assert bound * 0.999 < float(rows.abs().max()) <= bound
    assert abs(float(rows.mean())) < 5 * bound / math.sqrt(3 * n)
    assert float(rows.var()) == pytest.approx(bound**2 / 3, rel=5 / math.sqrt(n))


@pytest.mark.parametrize("layer_index", range(4))
def test_orthogonal_rows_look_like_the_networks_own(layer_index: int) -> None:
    agent = make_agent("PPO", (4, 84, 84), 6, generator=seeded(2))
    cbp = cbp_of(agent, init="orthogonal")
    rows = cbp.draw_incoming(layer_index, torch.zeros(300, dtype=torch.int64)).flatten(1)
    own = cbp.records[layer_index].layer.weight.detach().flatten(1)
    torch.testing.assert_close(rows.norm(dim=1), torch.full((300,), math.sqrt(2)))
    torch.testing.assert_close(own.norm(dim=1), torch.full((len(own),), math.sqrt(2)))
    assert float(rows.std()) == pytest.approx(float(own.std()), rel=0.02)
    assert abs(float(rows.mean())) < 5 * float(rows.std()) / math.sqrt(rows.numel())


def test_replacing_removes_the_units_contribution_and_nothing_else() -> None:
    """Outputs after a replacement equal those of the old network with the replaced unit's output held at zero."""
    agent = make_agent("PPO", (4, 84, 84), 6, generator=seeded(3))
    old, x = copy.deepcopy(agent), frames(1)
    cbp = cbp_of(agent, replacement_rate=0.05, maturity_threshold=0)
    replaced = cbp.step(features_of(agent, x))
    assert [len(units) for units in replaced] == [1, 3, 3, 25]
    h, position = x / 255, 0
    for module in old.network:
        h = module(h)
        if isinstance(module, nn.ReLU):
            h = h.detach().clone()
            units = h.reshape(len(h), len(cbp.records[position].age), -1)  # a view: channel after channel
            units[:, replaced[position]] = 0
            position += 1
    logits, value = agent(x)
    torch.testing.assert_close(logits, old.actor(h), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(value, old.critic(h).squeeze(1), rtol=1e-4, atol=1e-5)
    assert all(not head.weight[:, replaced[3]].any() for head in (agent.actor, agent.critic))


def test_dead_units_go_first_and_the_function_stays() -> None:
    """Units without output all have utility zero; those of lowest index go, and nobody misses them."""
    agent = make_agent("PPO", (4, 84, 84), 6, generator=seeded(4))
    cbp = cbp_of(agent, replacement_rate=3 / 512, maturity_threshold=0)
    x = frames(2)
    before, features = agent(x), features_of(agent, x)
    dead = (features[3] == 0).all(0).nonzero().flatten().tolist()
    assert len(dead) > 10, "a test of ties needs some"
    replaced = cbp.step(features)
    assert [units.tolist() for units in replaced] == [[], [], [], dead[:3]]
    for a, b in zip(agent(x), before, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def train(agent: Any, optimizer: Any, cbp: ContinualBackprop | None, steps: range) -> None:
    for t in steps:
        x = frames(100 + t)
        optimizer.zero_grad()
        _, log_prob, entropy, value = agent.get_action_and_value(x, torch.tensor([0, 1, 2, 3]))
        ((value - t % 3).square() - log_prob - 0.01 * entropy).mean().backward()
        features = features_of(agent, x)
        optimizer.step()
        if cbp is not None:
            cbp.step(features)


def test_a_unit_is_young_after_it_was_replaced_and_counts_when_it_is_hit_again() -> None:
    layer, reader = nn.Linear(3, 2), nn.Linear(2, 1)
    settings = {"replacement_rate": 1.0, "maturity_threshold": 1, "decay_rate": 0.9, "generator": seeded(1)}
    units = ContinualBackprop([HiddenLayer(layer, [reader], "only")], **settings)
    found = []
    for _ in range(4):
        replaced = units.step([torch.ones(5, 2)])
        numbers = units.summary()
        found.append((len(replaced[0]), units.records[0].age.tolist(), numbers.get("replaced_again/only")))
    assert found == [(0, [1, 1], None), (2, [0, 0], 0.0), (0, [1, 1], 0.0), (2, [0, 0], 0.5)]


def test_rate_0_is_training_without_it_bit_for_bit() -> None:
    plain = make_agent("PPO", (4, 84, 84), 6, generator=seeded(5))
    agent = copy.deepcopy(plain)
    adam = torch.optim.Adam(plain.parameters(), lr=1e-3)
    restartable = RestartableAdam(agent.parameters(), lr=1e-3)
    cbp = cbp_of(agent, replacement_rate=0, optimizer=restartable)
    before = copy.deepcopy(cbp.state_dict())
    train(plain, adam, None, range(4))
    train(agent, restartable, cbp, range(4))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), agent.parameters(), strict=True))
    assert same(before, cbp.state_dict())


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_rollouts_and_evaluation_leave_it_untouched() -> None:
    agent = make_agent("PPO", (4, 84, 84), 6, generator=seeded(6))
    optimizer = RestartableAdam(agent.parameters(), lr=1e-3)
    cbp = cbp_of(agent, optimizer=optimizer)
    train(agent, optimizer, cbp, range(3))
    before = copy.deepcopy(cbp.state_dict())
    agent.get_value(frames(1))
    agent.act(frames(2), deterministic=True)
    agent.get_action_and_value(frames(3))[3].sum().backward()
    assert same(before, cbp.state_dict())
    assert not agent._forward_hooks
    assert not any(module._forward_hooks or module._backward_hooks for module in agent.modules())
    assert set(agent.state_dict()) == set(make_agent("PPO", (4, 84, 84), 6).state_dict())


def test_saved_and_loaded_in_mid_run_equals_no_interruption(tmp_path: Path) -> None:
    whole = make_agent("PPO", (4, 84, 84), 6, generator=seeded(7))
    options = {"replacement_rate": 0.02, "maturity_threshold": 1, "accumulate": False}
    whole_optimizer = RestartableAdam(whole.parameters(), lr=1e-3)
    whole_cbp = cbp_of(whole, optimizer=whole_optimizer, **options)
    train(whole, whole_optimizer, whole_cbp, range(4))
    saved = {"agent": whole.state_dict(), "optimizer": whole_optimizer.state_dict(), "cbp": whole_cbp.state_dict()}
    torch.save(saved, tmp_path / "saved")
    train(whole, whole_optimizer, whole_cbp, range(4, 8))

    loaded = torch.load(tmp_path / "saved", weights_only=True)
    agent = make_agent("PPO", (4, 84, 84), 6)
    agent.load_state_dict(loaded["agent"])
    optimizer = RestartableAdam(agent.parameters(), lr=1e-3)
    optimizer.load_state_dict(loaded["optimizer"])
    cbp = cbp_of(agent, optimizer=optimizer, generator=seeded(99), **options)
    cbp.load_state_dict(loaded["cbp"])
    assert all("restarted_rows" in optimizer.state[p] for p in (agent.network[7].weight, agent.actor.weight))
    train(agent, optimizer, cbp, range(4, 8))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), agent.parameters(), strict=True))
    assert same(whole_cbp.state_dict(), cbp.state_dict())


def test_restarted_entries_step_as_in_a_new_adam_and_the_others_as_before() -> None:
    """Rows that begin anew at step 20 against a second Adam that begins at step 20."""
    generator = seeded(8)
    weight, plain = (nn.Parameter(torch.randn(6, 5, generator=seeded(1))) for _ in range(2))
    optimizer = RestartableAdam([weight], lr=0.01, eps=1e-5)
    adam = torch.optim.Adam([plain], lr=0.01, eps=1e-5)
    rows = torch.tensor([1, 4])
    young = new = None
    for t in range(60):
        grad = torch.randn(6, 5, generator=generator)
        if t == 20:
            optimizer.restart(weight, 0, rows)
            young = nn.Parameter(weight.detach()[rows].clone())
            new = torch.optim.Adam([young], lr=0.01, eps=1e-5)
        weight.grad, plain.grad = grad.clone(), grad.clone()
        optimizer.step()
        adam.step()
        if young is not None and new is not None:
            young.grad = grad[rows]
            new.step()
            torch.testing.assert_close(weight.detach()[rows], young.detach(), rtol=1e-5, atol=1e-6)
    others = [0, 2, 3, 5]
    assert torch.equal(weight[others], plain[others])
    assert not torch.allclose(weight[rows], plain[rows], atol=1e-2)
    assert entry_steps(optimizer, weight)[:, 0].tolist() == [60, 40, 60, 60, 40, 60]


@pytest.mark.parametrize("shape", [(6, 5), (6, 8, 3, 3), (7,)], ids=["linear", "channels last", "bias"])
def test_every_entry_has_its_own_adam(shape: tuple[int, ...]) -> None:
    """Rows and columns restarted at several moments, against Adam's formula entry by entry in double precision."""
    generator = seeded(10)
    weight = nn.Parameter(torch.randn(shape, generator=generator))
    if len(shape) == 4:
        weight = nn.Parameter(weight.detach().contiguous(memory_format=torch.channels_last))
    plain = nn.Parameter(weight.detach().clone())
    optimizer = RestartableAdam([weight], lr=0.01, eps=1e-5, fused=True)
    adam = torch.optim.Adam([plain], lr=0.01, eps=1e-5, fused=True)
    restarts = {8: (0, [1, 4]), 15: (1, [0, 3]), 16: (1, [3]), 21: (0, [4])}
    theta, mean, square, steps = weight.detach().double(), *(torch.zeros(shape).double() for _ in range(3))
    for t in range(40):
        dim, index = restarts.get(t, (0, []))
        if index and dim < len(shape):
            optimizer.restart(weight, dim, torch.tensor(index))
            for kept in (mean, square, steps):
                kept.index_fill_(dim, torch.tensor(index), 0)
        grad = torch.randn(shape, generator=generator)
        weight.grad, plain.grad = (torch.empty_like(weight).copy_(grad) for _ in range(2))
        optimizer.step()
        adam.step()
        steps += 1
        mean.mul_(0.9).add_(0.1 * grad.double())
        square.mul_(0.999).add_(0.001 * grad.double() ** 2)
        theta -= 0.01 * (mean / (1 - 0.9**steps)) / ((square / (1 - 0.999**steps)).sqrt() + 1e-5)
    torch.testing.assert_close(weight.detach().double(), theta, rtol=1e-5, atol=2e-6)
    assert torch.equal(entry_steps(optimizer, weight).double(), steps)
    never = steps == 40
    assert 0 < int(never.sum()) < weight.numel()
    assert torch.equal(weight[never], plain[never]), "the others take the very same step"


def test_moments_loaded_in_another_layout_belong_to_the_same_entries() -> None:
    weight = nn.Parameter(torch.randn(4, 3, 2, 2, generator=seeded(1)).contiguous(memory_format=torch.channels_last))
    again = nn.Parameter(weight.detach().clone())
    first, second = RestartableAdam([weight]), RestartableAdam([again])
    grads = [torch.randn(weight.shape, generator=seeded(t)) for t in range(4)]
    for optimizer, parameter in ((first, weight), (second, again)):
        for t, grad in enumerate(grads):
            parameter.grad = torch.empty_like(parameter).copy_(grad)
            if t == 2:
                optimizer.restart(parameter, 1, torch.tensor([2]))
            if t == 3 and optimizer is second:
                state = copy.deepcopy(second.state_dict())
                for moment in ("exp_avg", "exp_avg_sq"):
                    state["state"][0][moment] = state["state"][0][moment].contiguous()
                optimizer = RestartableAdam([again])
                optimizer.load_state_dict(state)
            optimizer.step()
    assert torch.equal(weight, again)


def test_old_entries_are_left_to_the_common_step() -> None:
    weight = nn.Parameter(torch.zeros(3, 2))
    optimizer = RestartableAdam([weight], lr=0.01, betas=(0.5, 0.5))
    for t in range(2100):
        weight.grad = torch.ones_like(weight)
        if t == 5:
            optimizer.restart(weight, 1, torch.tensor([1]))
        optimizer.step()
    assert len(optimizer._young[weight].blocks) == 0
    assert copy.deepcopy(optimizer)._young == {}


@pytest.mark.parametrize("saved_at", mostly_slow([6, 5, 8, 12, 520], 3))
def test_a_continued_optimizer_takes_the_same_steps(saved_at: int) -> None:
    """Which entries still count as young must not depend on when the optimizer was loaded."""

    def after(steps: int, saved_at: int | None) -> torch.Tensor:
        weight = nn.Parameter(torch.zeros(3, 2))
        optimizer = RestartableAdam([weight], lr=0.01, betas=(0.5, 0.5))
        for t in range(steps):
            if t == saved_at:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = RestartableAdam([weight], lr=0.01, betas=(0.5, 0.5))
                optimizer.load_state_dict(state)
            weight.grad = torch.sin(t + torch.arange(6.0).reshape(3, 2))
            if t == 5:
                optimizer.restart(weight, 1, torch.tensor([1]))
            optimizer.step()
        return weight.detach()

    assert torch.equal(after(530, None), after(530, saved_at))


def test_an_optimizer_with_one_step_count_forgets_both_moments() -> None:
    agent = make_agent("PPO", (4, 84, 84), 6, generator=seeded(9))
    optimizer = torch.optim.Adam(agent.parameters(), lr=1e-3)
    train(agent, optimizer, None, range(2))
    cbp = cbp_of(agent, optimizer=optimizer, replacement_rate=0.1, maturity_threshold=0)
    units = cbp.step(features_of(agent, frames(1)))[3]
    assert len(units) == 51
    others = torch.ones(512, dtype=torch.bool)
    others[units] = False
    for moment in ("exp_avg", "exp_avg_sq"):
        for parameter in (agent.network[7].weight, agent.network[7].bias, agent.actor.weight.T, agent.critic.weight.T):
            owner = {6: agent.actor.weight, 1: agent.critic.weight}.get(parameter.shape[-1], parameter)
            state = optimizer.state[owner][moment]
            state = state.T if owner is not parameter else state
            assert not state[units].any()
            assert state[others].any()


def test_bernoulli_rounding_uses_the_given_numbers() -> None:
    """Two of four eligible units' worth of 0.3 each: probability 0.6 for one unit, no accumulation."""
    layer, consumer = nn.Linear(3, 2), nn.Linear(2, 1)
    cbp = ContinualBackprop(
        [HiddenLayer(layer, [consumer])], replacement_rate=0.3, maturity_threshold=0, decay_rate=0.9, accumulate=False
    )
    numbers = iter([0.61, 0.6, 0.0, 0.99])
    cbp.draw_uniform = lambda: next(numbers)  # type: ignore[method-assign]
    counts = []
    for _ in range(4):
        cbp.records[0].age.fill_(5)
        counts.append(len(cbp.step([torch.rand(4, 2)])[0]))
    assert counts == [0, 1, 1, 0]
    assert cbp.records[0].accumulated == 0


@pytest.mark.parametrize("utility", UTILITIES)
def test_utilities_equal_their_definition(utility: str) -> None:
    """One step without memory, so that the running averages are the present values."""
    layer, consumers = nn.Conv2d(2, 3, 2), [nn.Linear(12, 4), nn.Linear(12, 1)]
    cbp = ContinualBackprop(
        [HiddenLayer(layer, consumers)], replacement_rate=1e-9, maturity_threshold=0, decay_rate=0.0, utility=utility
    )
    h = torch.randn(5, 3, 2, 2, generator=seeded(1))
    cbp.step([h])
    outgoing = torch.cat([consumer.weight for consumer in consumers]).detach().abs()
    expected = []
    for channel in range(3):
        centred = h[:, channel] - (0 if utility == "contribution" else h[:, channel].mean())
        positions = [outgoing[:, channel * 4 + p].mean() * centred.flatten(1)[:, p].abs().mean() for p in range(4)]
        contribution = torch.stack(positions).mean()
        adaptation = 1 / layer.weight[channel].abs().mean()
        expected.append(
            {"adaptation": adaptation, "adaptable_contribution": contribution * adaptation}.get(utility, contribution)
        )
    torch.testing.assert_close(cbp.records[0].utility, torch.stack(expected).detach(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"replacement_rate": -1}, "`replacement_rate` is -1"),
        ({"maturity_threshold": -1}, "`maturity_threshold` is -1"),
        ({"decay_rate": 1.0}, "`decay_rate` is 1.0"),
        ({"utility": "age"}, "`utility` is 'age'; allowed is contribution, zero_contribution"),
        ({"init": "he"}, "`init` is 'he'; allowed is default, xavier, lecun, kaiming, orthogonal"),
        ({"count": "some"}, "`count` is 'some'; allowed is eligible, all"),
    ],
)
def test_impossible_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(AgentError, match=message):
        cbp_of(make_agent("PPO", (4, 84, 84), 6), **changed)


def test_consumers_and_features_that_do_not_fit_are_refused() -> None:
    settings: dict[str, Any] = {"replacement_rate": 0.1, "maturity_threshold": 0, "decay_rate": 0.9}
    for layer, consumers in (
        (nn.Linear(3, 4), [nn.Linear(5, 1)]),
        (nn.Linear(3, 4), [nn.Linear(8, 1)]),
        (nn.Linear(3, 4), []),
        (nn.Conv2d(1, 4, 2), [nn.Linear(6, 1)]),
        (nn.Conv2d(1, 4, 2), [nn.Conv2d(4, 2, 2), nn.Linear(8, 1)]),
    ):
        with pytest.raises(AgentError, match=r"`layers\[0\]`"):
            ContinualBackprop([HiddenLayer(layer, consumers)], **settings)
    cbp = ContinualBackprop([HiddenLayer(nn.Conv2d(1, 4, 2), [nn.Linear(16, 1)])], **settings)
    for features in ([], [torch.rand(2, 16)], [torch.rand(2, 3, 2, 2)], [torch.rand(2, 4, 3, 3)]):
        with pytest.raises(AgentError, match="`features`"):
            cbp.step(features)
    other = ContinualBackprop([HiddenLayer(nn.Linear(3, 4), [nn.Linear(4, 1)])] * 2, **settings)
    with pytest.raises(AgentError, match=r"layers of \[4, 4\] units, this agent has \[4\]"):
        cbp.load_state_dict(other.state_dict())


class ByHand:
    """The algorithm unit by unit in double precision, written from the paper's and its code's rules alone."""

    def __init__(
        self, weights: list[Tensor], rate: float, maturity: int, decay: float, options: dict[str, Any]
    ) -> None:
        self.weights = [weight.detach().double() for weight in weights]  # the last one: all rows that read the units
        self.rate, self.maturity, self.decay, self.options = rate, maturity, decay, options
        sizes = [len(weight) for weight in weights[:-1]]
        self.utility, self.mean = ([[0.0] * size for size in sizes] for _ in range(2))
        self.age, self.due = [[0] * size for size in sizes], [0.0] * len(sizes)

    def outgoing(self, layer: int, unit: int, positions: int) -> Tensor:
        """Weights `[positions, rows]` that read the unit; one position stands for all where a convolution reads it."""
        following = self.weights[layer + 1]
        if following.dim() == 4:
            return following[:, unit].reshape(1, -1)
        return following.reshape(len(following), -1, positions)[:, unit].T

    def measured(self, layer: int, unit: int, h: Tensor, running: float) -> float:
        kind = self.options["utility"]
        incoming = 1 / self.weights[layer][unit].abs().mean().item()
        if kind == "adaptation":
            return incoming
        size = (h - (0 if kind == "contribution" else running)).abs().reshape(len(h), -1)  # [B, positions]
        out = self.outgoing(layer, unit, size.shape[1])
        magnitude = size.mean(0) if len(out) == size.shape[1] else size.mean().reshape(1)
        value = (out.abs().mean(1) * magnitude).mean().item()
        return value * incoming if kind == "adaptable_contribution" else value

    def step(self, features: list[Tensor], uniforms: list[float]) -> list[list[int]]:
        chosen: list[list[int]] = []
        for layer, h in enumerate(features):
            corrected = []
            for unit in range(len(self.age[layer])):
                self.age[layer][unit] += 1
                correction = 1 - self.decay ** self.age[layer][unit]
                new = h[:, unit].double()
                self.mean[layer][unit] = self.decay * self.mean[layer][unit] + (1 - self.decay) * new.mean().item()
                y = self.measured(layer, unit, new, self.mean[layer][unit] / correction)
                self.utility[layer][unit] = self.decay * self.utility[layer][unit] + (1 - self.decay) * y
                corrected.append(self.utility[layer][unit] / correction)
            eligible = [unit for unit, age in enumerate(self.age[layer]) if age > self.maturity]
            due = self.rate * (len(eligible) if self.options["count"] == "eligible" else len(corrected))
            number = 0
            if eligible and self.options["accumulate"]:
                self.due[layer] += due
                number = int(self.due[layer])
                self.due[layer] -= number
            elif eligible:
                number = int(due) if due >= 1 else int(uniforms.pop(0) <= due)
            chosen.append(sorted(eligible, key=lambda unit: corrected[unit])[:number])
        for layer, units in enumerate(chosen):
            for unit in units:
                self.utility[layer][unit] = self.mean[layer][unit] = 0.0
                self.age[layer][unit] = 0
        return chosen


@pytest.mark.parametrize("accumulate", [True, False])
@pytest.mark.parametrize("count", mostly_slow(["eligible", "all"], 2))
@pytest.mark.parametrize("utility", mostly_slow(UTILITIES, 4))
def test_signed_features_through_all_kinds_of_layers_as_worked_out_by_hand(
    utility: str, count: str, accumulate: bool
) -> None:
    """Convolution, flattened convolution, linear layer with two heads; several units at once, adjacent layers too."""
    generator = seeded(UTILITIES.index(utility))
    conv_1, conv_2, linear, heads = (
        nn.Conv2d(2, 8, 2),
        nn.Conv2d(8, 6, 2),
        nn.Linear(24, 10),
        split_heads([nn.Linear(10, 4)]),
    )
    layers = [conv_1, conv_2, linear]
    options: dict[str, Any] = {"utility": utility, "count": count, "accumulate": accumulate}
    cbp = ContinualBackprop(
        [HiddenLayer(conv_1, [conv_2]), HiddenLayer(conv_2, [linear]), HiddenLayer(linear, heads)],
        replacement_rate=0.03, maturity_threshold=6, decay_rate=0.9, generator=generator, **options,
    )  # fmt: skip
    drawn: list[float] = []
    draw = cbp.draw_uniform
    cbp.draw_uniform = lambda: drawn.append(draw()) or drawn[-1]  # type: ignore[method-assign, func-returns-value]
    hand = ByHand([*(layer.weight for layer in layers), heads[0].weight], 0.03, 6, 0.9, options)
    replaced = 0
    for t in range(150):
        means = [torch.linspace(-1, 1, n) * math.sin(t / 20 + n) for n in (8, 6, 10)]
        shapes = [(3, 8, 3, 3), (3, 6, 2, 2), (3, 10)]
        features = [
            torch.randn(shape, generator=generator) * 0.5 + mean.reshape(-1, *[1] * (len(shape) - 2))
            for shape, mean in zip(shapes, means, strict=True)
        ]
        with torch.no_grad():
            for layer in (*layers, *heads):
                layer.weight += 0.02 * torch.randn(layer.weight.shape, generator=generator)
        hand.weights = [layer.weight.detach().double() for layer in layers]
        hand.weights.append(torch.cat([head.weight for head in heads]).detach().double())
        drawn.clear()
        given = cbp.step(features)
        expected = hand.step(features, list(drawn))
        assert [sorted(units.tolist()) for units in given] == [sorted(units) for units in expected], t
        for record, age, u, f in zip(cbp.records, hand.age, hand.utility, hand.mean, strict=True):
            assert record.age.tolist() == age
            torch.testing.assert_close(record.utility.tolist(), u, rtol=2e-5, atol=1e-7)
            torch.testing.assert_close(record.mean_feature.tolist(), f, rtol=2e-5, atol=1e-6)
        replaced += sum(map(len, given))
    assert replaced > 40
