"""PPO_CBP: the agent, what is logged of it, and whole runs of the script."""

import copy
import math

import pytest
import torch
from restarted import entry_steps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_training import TWO_REGIMES, assert_same_weights, train_in, weights
from torch import nn

from continual_hackatari import eval as evaluation
from continual_hackatari.agents import make_agent
from continual_hackatari.agents.continual_backprop import UTILITIES, ContinualBackprop, HiddenLayer
from continual_hackatari.agents.restartable_adam import RestartableAdam
from continual_hackatari.methods.continual_backprop import ContinualBackpropMethod
from continual_hackatari.methods.moments import Learner
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.earlier_flags import UNIT_FLAGS
from continual_hackatari.training.method_settings import settings_of

LAYERS = {"conv1": 32, "conv2": 64, "conv3": 64, "fc": 512}
CBP = ["--architecture", "PPO_CBP"]
BUSY = [*CBP, "--replacement_rate", "0.01", "--maturity_threshold", "5"]
STEPS_OF_TWO_REGIMES = 128 // 32 * 16  # rollouts of 2 x 16 rows, 4 epochs of 4 minibatches each


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def frames(batch, seed=1):
    return torch.randint(0, 256, (batch, 4, 84, 84), dtype=torch.uint8, generator=seeded(seed))


def scalars(run):
    events = EventAccumulator(str(run)).Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


# ------------------------------------------------------------------------------------------------------------- agent


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_forward_pass_is_ppos_and_gives_the_features_of_every_hidden_layer(precision):
    plain, agent = (make_agent(name, (4, 84, 84), 6, generator=seeded(1)) for name in ("PPO", "PPO_CBP"))
    assert plain.state_dict().keys() == agent.state_dict().keys()
    for one in (plain, agent):
        one.to(memory_format=torch.channels_last)
    x, actions = frames(5), torch.arange(5)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        expected = plain.get_action_and_value(x, actions)
        *given, features = agent.get_action_value_and_hidden(x, actions)
        again = agent.get_action_and_value(x, actions)
    for a, b, c in zip(expected, given, again, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    assert [tuple(f.shape) for f in features] == [(5, 32, 20, 20), (5, 64, 9, 9), (5, 64, 7, 7), (5, 512)]
    assert {f.dtype for f in features} == {precision}
    assert not any(f.requires_grad for f in features)
    h = x.float() / 255
    outputs = []
    for module in copy.deepcopy(plain).network:
        h = module(h)
        if isinstance(module, nn.ReLU):
            outputs.append(h)
    tolerance = 1e-4 if precision == torch.float32 else 0.05
    for mine, expected_output in zip(features, outputs, strict=True):
        torch.testing.assert_close(mine.float().flatten(1), expected_output.flatten(1), rtol=tolerance, atol=tolerance)
        assert float(mine.min()) == 0.0


def test_layers_are_those_of_the_network_and_both_heads_read_the_last():
    agent = make_agent("PPO_CBP", (4, 84, 84), 6)
    layers = agent.hidden_layers()
    assert [layer.name for layer in layers] == list(LAYERS)
    assert [layer.layer for layer in layers] == [agent.network[i] for i in (0, 2, 4, 7)]
    assert [layer.consumers for layer in layers[:3]] == [[agent.network[i]] for i in (2, 4, 7)]
    assert layers[3].consumers == [agent.actor, agent.critic]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("utility", UTILITIES)
def test_one_pass_over_relu_features_gives_the_same_statistics(utility, precision):
    agent = make_agent("PPO_CBP", (4, 84, 84), 6, generator=seeded(2)).to(memory_format=torch.channels_last)
    settings = {"replacement_rate": 1e-9, "maturity_threshold": 9, "decay_rate": 0.9, "utility": utility}
    layers = agent.hidden_layers()
    fast = ContinualBackprop(layers, **settings)
    slow = ContinualBackprop([HiddenLayer(layer.layer, layer.consumers) for layer in layers], **settings)
    for seed in range(3):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            features = agent(frames(6, seed), True)[2]
        if seed == 1:  # the flattened layer's features, too, may lie in memory with the channels last
            features[2] = features[2].contiguous(memory_format=torch.channels_last)
        fast.step(features)
        slow.step([feature.float().contiguous() for feature in features])
    for mine, plain in zip(fast.records, slow.records, strict=True):
        rtol = 1e-5 if precision == torch.float32 else 4e-3  # one rounding to 8 bits; more samples average it out
        torch.testing.assert_close(mine.utility, plain.utility, rtol=rtol, atol=1e-8)
        torch.testing.assert_close(mine.mean_feature, plain.mean_feature, rtol=rtol, atol=1e-8)
        assert mine.utility.dtype == torch.float32


# --------------------------------------------------------------------------------------------------- logged numbers


def test_summary_of_a_layer_worked_out_by_hand():
    layer, consumer = nn.Linear(2, 4), nn.Linear(4, 1)
    with torch.no_grad():
        consumer.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, 0.5]]))
    cbp = ContinualBackprop(
        [HiddenLayer(layer, [consumer], name="only")], replacement_rate=0.125, maturity_threshold=1, decay_rate=0.5
    )
    assert cbp.summary() == {"replaced/only": 0, "eligible/only": 0.0, "age_median/only": 0.0}
    # Means of abs(output) 1, 2, 0.01, 4: the third is below 2.5 % of their mean 1.7525. Utilities 1, 4, 0.03, 2.
    features = torch.tensor([[0.5, 2.0, 0.0, 8.0], [1.5, -2.0, 0.02, 0.0]])
    cbp.step([features])
    before = cbp.summary()
    assert before["eligible/only"] == 0.0
    assert before["utility_q50/only"] == pytest.approx(1.5)
    assert before["utility_q05/only"] == pytest.approx(0.03 + 0.15 * 0.97)  # 0.15 of the way from 0.03 to 1
    assert before["utility_q95/only"] == pytest.approx(2 + 0.85 * 2)
    assert before["age_median/only"] == 1.0
    assert cbp.summary() == before, "asking changes nothing"
    assert [len(cbp.step([features])[0]) for _ in range(2)] == [0, 1]  # 4 eligible: half a unit each, one in the second
    numbers = cbp.summary()
    assert numbers["replaced/only"] == 1
    assert numbers["replaced_dormant/only"] == 1.0
    assert numbers["eligible/only"] == 0.75
    assert numbers["utility_q50/only"] == pytest.approx(2.0), "of the three that have one"
    assert numbers["age_median/only"] == 3.0
    with torch.no_grad():
        consumer.weight[0, 2] = 3.0  # learned: now this unit's utility is 3, and the first one's is the lowest
    features[:, 2] = 1.0
    while cbp.records[0].replaced == 1:
        cbp.step([features])
    assert cbp.records[0].age.tolist()[0] == 0
    assert cbp.summary()["replaced_dormant/only"] == 0.5


def test_reset_makes_all_units_new_and_keeps_the_counts():
    layer, consumer = nn.Linear(2, 8), nn.Linear(8, 1)
    cbp = ContinualBackprop(
        [HiddenLayer(layer, [consumer])], replacement_rate=0.3, maturity_threshold=2, decay_rate=0.9
    )
    for t in range(6):
        cbp.step([torch.rand(4, 8, generator=seeded(t))])
    record = cbp.records[0]
    count = record.replaced
    assert count > 0
    cbp.reset_statistics()
    assert not record.utility.any()
    assert not record.mean_feature.any()
    assert not record.age.any()
    assert record.accumulated == 0.0
    assert record.replaced == count
    assert [len(cbp.step([torch.rand(4, 8)])[0]) for _ in range(3)] == [0, 0, 2]


# ------------------------------------------------------------------------------------------------------------- runs


def replacements(units, steps, rate, maturity):
    """How many units of a layer are replaced; which ones does not matter for their number."""
    ages, due, count = [0] * units, 0.0, 0
    for _ in range(steps):
        ages = sorted(age + 1 for age in ages)
        eligible = sum(age > maturity for age in ages)
        due += rate * eligible
        whole = int(due)
        due -= whole
        count += whole
        ages = [0] * whole + ages[: units - whole]
    return count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("amp", "flags"),
    [
        pytest.param("off", ["--replacement_rate", "0"], marks=pytest.mark.slow),
        pytest.param("bf16", ["--replacement_rate", "0"], marks=pytest.mark.slow),
        ("off", ["--maturity_threshold", "9999"]),
    ],
)
def test_without_replacements_it_is_ppo_bit_for_bit(tmp_path, monkeypatch, flags, amp):
    """With rate 0 nothing is done at all; with immature units everything is measured, and nothing shifts by it."""
    common = ["--amp", amp, "--shrink_and_perturb"]
    plain = train_in(tmp_path / "plain", monkeypatch, *common, config=TWO_REGIMES)
    run = train_in(tmp_path / "cbp", monkeypatch, *common, *CBP, *flags, config=TWO_REGIMES)
    assert_same_weights(weights(plain), weights(run))
    assert (plain / "episodes.csv").read_bytes() == (run / "episodes.csv").read_bytes()
    records = load_checkpoint(run / "model.cleanrl_model").extra["continual_backprop"]["records"]
    assert [record["replaced"] for record in records] == [0, 0, 0, 0]
    assert all(record["age"].any() == ("--maturity_threshold" in flags) for record in records)


@pytest.mark.slow
def test_units_are_replaced_after_each_gradient_step_and_at_no_other_time(tmp_path, monkeypatch):
    """Every step of the optimizer is followed by one of continual backpropagation, also around rollouts and tests."""
    order = []

    def note(cls, name, word):
        original = getattr(cls, name)
        monkeypatch.setattr(cls, name, lambda self, *args: (order.append(word), original(self, *args))[1])

    note(RestartableAdam, "step", "adam")
    note(ContinualBackprop, "step", "cbp")
    drawn = ContinualBackprop.draw_incoming
    fresh = []
    monkeypatch.setattr(ContinualBackprop, "draw_incoming", lambda *args: fresh.append(drawn(*args)) or fresh[-1])
    tested = ["--test_modifs", "no_modif", "--eval_episodes", "1", "--time_limit", "400"]
    run = train_in(tmp_path, monkeypatch, *BUSY, *tested, config=TWO_REGIMES)
    assert order == ["adam", "cbp"] * STEPS_OF_TWO_REGIMES
    expected = {name: replacements(units, STEPS_OF_TWO_REGIMES, 0.01, 5) for name, units in LAYERS.items()}
    logged = scalars(run)
    assert {name: logged[f"cbp/replaced/{name}"][-1] for name in LAYERS} == expected
    assert sum(map(len, fresh)) == sum(expected.values())
    for name, units in LAYERS.items():
        first = logged[f"cbp/replaced/{name}"][0]
        assert first == replacements(units, 16, 0.01, 5) < expected[name], "cumulative, one value per update"
        assert 0 < logged[f"cbp/eligible/{name}"][-1] < 1
        assert 0 <= logged[f"cbp/replaced_dormant/{name}"][-1] <= 1
        low, middle, high = (logged[f"cbp/utility_q{q}/{name}"][-1] for q in ("05", "50", "95"))
        assert 0 <= low <= middle <= high
        assert logged[f"cbp/age_median/{name}"][0] <= 16
    assert all(math.isfinite(value) for tag, values in logged.items() if tag.startswith("cbp/") for value in values)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(tmp_path, monkeypatch):
    flags = [*BUSY, "--no-accumulate", "--init", "orthogonal"]
    first, second = (train_in(tmp_path / str(i), monkeypatch, *flags, config=TWO_REGIMES) for i in range(2))
    assert_same_weights(weights(first), weights(second))
    records = load_checkpoint(first / "model.cleanrl_model").extra["continual_backprop"]["records"]
    assert min(record["replaced"] for record in records) > 0


@pytest.mark.slow
def test_a_checkpoint_holds_all_that_going_on_needs_and_evaluates_without_flags(tmp_path, monkeypatch, capsys):
    run = train_in(tmp_path, monkeypatch, *BUSY, "--utility", "adaptable_contribution", config=TWO_REGIMES)
    path = run / "model.cleanrl_model"
    checkpoint = load_checkpoint(path)
    agent = make_agent("PPO_CBP", (4, 84, 84), checkpoint.model_weights["actor.bias"].numel())
    agent.load_state_dict(checkpoint.model_weights)
    optimizer = RestartableAdam(agent.parameters(), lr=1e-3)
    optimizer.load_state_dict(checkpoint.extra["optimizer"])
    settings = settings_of(
        "continual_backprop", {f"continual_backprop.{name}": checkpoint.args[name] for name in UNIT_FLAGS}
    )
    cbp = ContinualBackpropMethod(settings, Learner(agent, optimizer, seeded(0))).units
    cbp.load_state_dict(checkpoint.extra["continual_backprop"])
    assert (cbp.utility, cbp.replacement_rate, cbp.maturity_threshold) == ("adaptable_contribution", 0.01, 5)
    assert cbp.records[3].replaced == replacements(512, STEPS_OF_TWO_REGIMES, 0.01, 5)
    assert cbp.summary()["replaced/fc"] == scalars(run)["cbp/replaced/fc"][-1]
    # Each unit's weights are as old as the unit, to the optimizer too.
    steps = entry_steps(optimizer, agent.network[7].bias)
    assert torch.equal(steps.long(), cbp.records[3].age)
    evaluation.main(["--agent_path", str(path), "--eval_episodes", "1", "--frameskip", "400", "--num_workers", "0"])
    assert capsys.readouterr().out.splitlines()[-1].endswith(" (one game: no deviation)")


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["reset", pytest.param("keep", marks=pytest.mark.slow)])
def test_shrink_and_perturb_resets_the_records_with_adams_state(tmp_path, monkeypatch, choice):
    """A switch at vector step 20, after 16 gradient steps; 48 follow."""
    flags = [*BUSY, "--shrink_and_perturb", "--perturb_optimizer", choice]
    run = train_in(tmp_path, monkeypatch, *flags, config=TWO_REGIMES)
    extra = load_checkpoint(run / "model.cleanrl_model").extra
    oldest = max(int(record["age"].max()) for record in extra["continual_backprop"]["records"])
    after_the_switch = STEPS_OF_TWO_REGIMES - 16
    assert oldest == (after_the_switch if choice == "reset" else STEPS_OF_TWO_REGIMES)
    assert {int(state["step"]) for state in extra["optimizer"]["state"].values()} == {oldest}
    expected = replacements(512, 16, 0.01, 5) + replacements(512, after_the_switch, 0.01, 5)
    count = extra["continual_backprop"]["records"][3]["replaced"]
    assert count == (expected if choice == "reset" else replacements(512, STEPS_OF_TWO_REGIMES, 0.01, 5))


@pytest.mark.slow
def test_compiled_it_measures_the_same_features():
    agent = make_agent("PPO_CBP", (4, 84, 84), 6, generator=seeded(3)).to(memory_format=torch.channels_last)
    x, actions = frames(8), torch.zeros(8, dtype=torch.int64)
    expected = agent.get_action_value_and_hidden(x, actions)
    agent.compile()
    given = agent.get_action_value_and_hidden(x, actions)
    for a, b in zip([*expected[:4], *expected[4]], [*given[:4], *given[4]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
