"""Plasticity: hand-made matrices and networks with known answers, and runs that do not notice being measured."""

import math

import numpy as np
import pytest
import torch
from conftest import NEEDS_OCATARI, only_run, write_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from continual_hackatari import continual_training_example as training
from continual_hackatari.agents import AgentError, make_agent, plasticity
from continual_hackatari.agents.plasticity import (
    PlasticityProbe,
    choose_rows,
    dormant_units,
    effective_rank,
    mean_kl,
    policy_churn,
    singular_values,
    stable_rank,
)
from continual_hackatari.agents.ppo_obj import FEATURE_SCALE
from continual_hackatari.training import run as run_module
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.resume import load_state
from continual_hackatari.training.rollouts import Rollout

SMALL = ["--num_envs", "2", "--num_steps", "16", "--num_workers", "0", "--no-cuda", "--update_epochs", "1"]
LAYERS = {"PPO": ["conv1", "conv2", "conv3", "fc"], "PPO_OBJ": ["encoder1", "encoder2", "decoder1"]}
UNITS = {"conv1": 32, "conv2": 64, "conv3": 64, "fc": 512}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def frames(number, seed=1):
    return torch.randint(0, 256, (number, 4, 84, 84), dtype=torch.uint8, generator=generator(seed))


def new_agent(architecture="PPO"):
    shape = (4, 84, 84) if architecture != "PPO_OBJ" else (2, 6)
    return make_agent(architecture, shape, 5, encoder_dims=(8, 4), decoder_dims=(7,), generator=generator())


def measured(agent, observations):
    probe = PlasticityProbe(1)
    probe.observations = observations
    return probe.measure(agent)


# ----------------------------------------------------------------------------------------------------- pure functions


def test_a_unit_is_dormant_up_to_a_fortieth_of_its_layers_mean():
    magnitude = torch.tensor([0.0, 0.1, 0.101, 7.799, 8.0], dtype=torch.float64)  # mean 3.2, a fortieth is 0.08
    assert dormant_units(magnitude).tolist() == [True, False, False, False, False]
    assert dormant_units(100 * magnitude).tolist() == [True, False, False, False, False], "scale does not matter"
    assert dormant_units(torch.tensor([1.0, 79.0], dtype=torch.float64)).tolist() == [True, False], "the limit counts"
    assert dormant_units(torch.tensor([1.01, 79.0], dtype=torch.float64)).tolist() == [False, False]
    assert dormant_units(torch.tensor([1.0, 3.0, 8.0]), tau=0.5).tolist() == [True, False, False]
    assert dormant_units(torch.zeros(3)).all(), "in a layer of zeros all are"


@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (6, 6), (1, 4), (4, 1)])
def test_singular_values_are_those_of_lapack(shape):
    features = torch.randn(shape, generator=generator(), dtype=torch.float32)
    expected = np.linalg.svd(features.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(singular_values(features).numpy(), expected, rtol=1e-6, atol=1e-6)


def with_singular_values(*sigma, rows=7, columns=6):
    """A matrix that has these, between random orthogonal ones."""
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=generator(n)).double()).Q for n in (rows, columns))
    return left[:, : len(sigma)] @ torch.diag(torch.tensor(sigma).double()) @ right[: len(sigma)]


@pytest.mark.parametrize(
    ("sigma", "effective", "stable"),
    [
        ((5.0,), 1.0, 1.0),
        ((2.0, 2.0, 2.0), 3.0, 3.0),
        ((0.5,) * 6, 6.0, 6.0),
        ((3.0, 1.0), 4 / 27**0.25, 10 / 9),  # entropy of (3/4, 1/4) is ln 4 - 3/4 ln 3
        ((4.0, 2.0, 2.0), 2 * 2**0.5, 1.5),  # entropy of (1/2, 1/4, 1/4) is 3/2 ln 2
        ((10.0, 0.1), math.exp(math.log(10.1) - 10 / 10.1 * math.log(10) - 0.1 / 10.1 * math.log(0.1)), 1.0001),
        ((0.0, 0.0), 0.0, 0.0),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_ranks_of_known_singular_values(sigma, effective, stable, scale):
    values = singular_values(scale * with_singular_values(*sigma))
    assert effective_rank(values).item() == pytest.approx(effective, rel=1e-5)
    assert stable_rank(values).item() == pytest.approx(stable, rel=1e-6)


def test_stable_rank_is_the_textbook_one():
    features = torch.randn(50, 20, generator=generator())
    expected = np.linalg.norm(features, "fro") ** 2 / np.linalg.norm(features, 2) ** 2
    sigma = singular_values(features)
    assert stable_rank(sigma).item() == pytest.approx(expected, rel=1e-5)
    of_its_name_elsewhere = int((sigma.cumsum(0) / sigma.sum() < 0.99).sum()) + 1
    assert abs(expected - of_its_name_elsewhere) > 5
    assert stable_rank(sigma) <= effective_rank(sigma) <= 20


def test_churn_and_divergence_of_known_policies():
    before = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.2, 0.8], [0.5, 0.5]]).log()
    after = torch.tensor([[0.25, 0.75], [0.75, 0.25], [0.4, 0.6], [0.5, 0.5]]).log()
    assert policy_churn(before, after).item() == 0.25
    first = 0.75 * math.log(3) - 0.25 * math.log(3)
    third = 0.2 * math.log(0.2 / 0.4) + 0.8 * math.log(0.8 / 0.6)
    assert mean_kl(before, after).item() == pytest.approx((first + third) / 4, rel=1e-6)
    assert mean_kl(after, before).item() != pytest.approx((first + third) / 4, rel=1e-2)
    assert policy_churn(before, before).item() == 0
    assert mean_kl(before, before).item() == 0


@pytest.mark.parametrize("total", [1, 31, 512, 1024, 5000])
def test_rows_of_the_probe_are_different_ones_from_everywhere(total):
    before = torch.get_rng_state()
    rows = choose_rows(total)
    assert torch.equal(torch.get_rng_state(), before), "training's numbers are left alone"
    assert torch.equal(rows, choose_rows(total))
    assert len(rows) == min(total, 512)
    assert (rows.diff() > 0).all()
    assert 0 <= rows[0] <= rows[-1] < total
    if total > 512:
        assert len((rows % 8).unique()) == 8, "from all games"
        assert rows.diff().max() < total / 20


# ---------------------------------------------------------------------------------------------------------- networks


def by_hand(agent, observations):
    """Dormant units per layer, counted unit by unit from what the layers' ReLUs give; and the features."""
    seen = []
    hooks = [
        layer.register_forward_hook(lambda _m, _i, output: seen.append(output.detach().clone().numpy()))
        for layer in agent.modules()
        if isinstance(layer, nn.ReLU)
    ]
    with torch.no_grad():
        agent.hidden(observations)
    for hook in hooks:
        hook.remove()
    if seen[0].ndim == 4:
        seen[2] = seen[2].reshape(-1, 64, 7, 7)
        seen = [np.moveaxis(output, 1, -1) for output in seen]
    counts = []
    for output in seen:
        means = [float(np.abs(output[..., unit].astype(np.float64)).mean()) for unit in range(output.shape[-1])]
        counts.append((sum(mean / (sum(means) / len(means)) <= 0.025 for mean in means), len(means)))
    return counts, seen[-1]


@pytest.mark.parametrize("architecture", ["PPO", "PPO_CBP", "PPO_OBJ"])
def test_every_number_of_a_network_is_the_one_counted_by_hand(architecture, monkeypatch):
    monkeypatch.setattr(plasticity, "CHUNK", 4)  # more than one chunk, the last one smaller
    agent = new_agent(architecture)
    agent.to(memory_format=torch.channels_last)
    observations = frames(10) if architecture != "PPO_OBJ" else 210 * torch.rand(10, 2, 6, generator=generator())
    with torch.no_grad():  # some units give little, in every layer
        for layer in agent.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer not in (agent.actor, agent.critic):
                layer.weight[:2] *= 1e-3
    numbers = measured(agent, observations)

    counts, features = by_hand(agent, observations)
    layers = LAYERS["PPO_OBJ" if architecture == "PPO_OBJ" else "PPO"]
    assert [numbers[f"dormant/{name}"] for name in layers] == [count / units for count, units in counts]
    assert all(0 < count < units for count, units in counts)
    total = sum(count for count, _ in counts) / sum(units for _, units in counts)
    assert numbers["dormant/all"] == pytest.approx(total)
    sigma = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    share = sigma[sigma > 0] / sigma.sum()
    assert numbers["effective_rank"] == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-5)
    assert numbers["stable_rank"] == pytest.approx((sigma**2).sum() / sigma[0] ** 2, rel=1e-5)
    assert numbers["feature_norm"] == pytest.approx(np.mean([np.linalg.norm(row) for row in features]), rel=1e-5)
    squares = sum(float((weight.detach().double() ** 2).sum()) for weight in agent.parameters())
    assert numbers["weight_norm"] == pytest.approx(math.sqrt(squares), rel=1e-5)
    named = {f"dormant/{name}" for name in (*layers, "all")}
    assert set(numbers) == named | {"effective_rank", "stable_rank", "feature_norm", "weight_norm"}


def silence(layer, units):
    with torch.no_grad():
        layer.weight[units] = 0
        layer.bias[units] = -1


def test_dead_channels_and_a_dead_layer():
    agent = new_agent()
    with torch.no_grad():
        agent.network[2].weight.abs_()  # what comes in is not negative either, so all its units are alive
    assert measured(agent, frames(5))["dormant/conv2"] == 0
    silence(agent.network[2], slice(0, 3))
    numbers = measured(agent, frames(5))
    assert numbers["dormant/conv2"] == 3 / 64
    silence(agent.network[7], slice(None))
    numbers = measured(agent, frames(5))
    assert numbers["dormant/fc"] == 1
    units_before = sum(UNITS[name] * numbers[f"dormant/{name}"] for name in ("conv1", "conv2", "conv3"))
    assert numbers["dormant/all"] == pytest.approx((512 + units_before) / 672)
    assert [numbers[name] for name in ("effective_rank", "stable_rank", "feature_norm")] == [0, 0, 0]
    assert all(map(math.isfinite, numbers.values()))


def linear_agent(weight):
    """Its features are `relu(weight @ x)` of a vector x of that many numbers."""
    agent = make_agent("PPO_OBJ", (1, weight.shape[1]), 2, encoder_dims=(), decoder_dims=(len(weight),))
    with torch.no_grad():
        agent.decoder[0].weight.copy_(weight / FEATURE_SCALE)
    return agent


def test_features_of_known_rank():
    one_hot = torch.eye(6).unsqueeze(1)
    orthogonal = measured(linear_agent(3 * torch.eye(6)), one_hot)
    assert orthogonal["effective_rank"] == pytest.approx(6)
    assert orthogonal["stable_rank"] == pytest.approx(6)
    assert orthogonal["feature_norm"] == pytest.approx(3)
    copies = measured(linear_agent(torch.ones(4, 6)), torch.rand(9, 1, 6, generator=generator()))
    assert copies["effective_rank"] == pytest.approx(1, abs=1e-3)
    assert copies["stable_rank"] == pytest.approx(1)
    half = measured(linear_agent(torch.eye(6) * torch.tensor([1.0, 1, 1, 0, 0, -1])), one_hot)
    assert half["effective_rank"] == pytest.approx(3)
    assert half["dormant/decoder1"] == half["dormant/all"] == 0.5


def test_a_network_without_hidden_layers_has_ranks_of_what_it_sees():
    agent = make_agent("PPO_OBJ", (1, 3), 2, encoder_dims=(), decoder_dims=())
    numbers = measured(agent, torch.eye(3).unsqueeze(1) / FEATURE_SCALE)
    assert numbers["effective_rank"] == pytest.approx(3)
    assert not [name for name in numbers if name.startswith("dormant")]


@pytest.mark.parametrize("observations", [frames(1), torch.zeros(3, 4, 84, 84, dtype=torch.uint8)])
def test_one_row_and_black_frames_give_finite_numbers(observations):
    assert all(map(math.isfinite, measured(new_agent(), observations).values()))


# ---------------------------------------------------------------------------------------------------------- the probe


def test_it_is_due_in_the_first_rollout_and_then_in_every_so_many():
    probe = PlasticityProbe(3)
    assert [probe.due() for _ in range(8)] == [True, False, False, True, False, False, True, False]
    assert not any(PlasticityProbe(0).due() for _ in range(3))
    with pytest.raises(AgentError, match="`observations`"):
        PlasticityProbe(1).measure(new_agent())


def test_the_policy_churns_only_where_the_weights_change():
    agent, probe = new_agent("PPO_OBJ"), PlasticityProbe(1)
    probe.observations = 210 * torch.rand(20, 2, 6, generator=generator())
    assert "policy_churn" not in probe.measure(agent)
    unchanged = probe.measure(agent)
    assert unchanged["policy_churn"] == unchanged["policy_kl"] == 0
    with torch.no_grad():
        before = agent(probe.observations)[0].softmax(-1).double().numpy()
        agent.actor.weight.mul_(-300)
        after = agent(probe.observations)[0].softmax(-1).double().numpy()
    changed = probe.measure(agent)
    assert changed["policy_churn"] == (before.argmax(1) != after.argmax(1)).mean() > 0
    assert changed["policy_kl"] == pytest.approx((before * np.log(before / after)).sum(1).mean(), rel=1e-4)
    assert probe.measure(agent)["policy_churn"] == 0, "since the last measurement"


def test_a_continued_probe_measures_the_same():
    agent, probe = new_agent(), PlasticityProbe(2)
    probe.due()
    probe.observations = frames(6).contiguous(memory_format=torch.channels_last)
    probe.measure(agent)
    probe.due()
    continued = PlasticityProbe(2)
    continued.load_state_dict(probe.state_dict())
    assert continued.due()
    with torch.no_grad():
        agent.actor.weight.mul_(-50)
    assert continued.measure(agent) == probe.measure(agent)


def test_measuring_leaves_no_trace_and_runs_nothing_compiled():
    def refuse(*_):
        raise AssertionError("compiled")

    agent, twin = new_agent(), new_agent()
    agent.compile(backend=refuse)
    agent.actor.weight.grad = torch.ones_like(agent.actor.weight)
    before = torch.get_rng_state()
    measured(agent, frames(4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(mine, its) for mine, its in zip(agent.parameters(), twin.parameters(), strict=True))
    assert [name for name, weight in agent.named_parameters() if weight.grad is not None] == ["actor.weight"]
    assert (agent.actor.weight.grad == 1).all()


# ----------------------------------------------------------------------------------------------------------- training


def gradient_step(max_grad_norm):
    """A gradient step without a step size: the norm that it gives, and that of the gradients that it leaves."""
    agent, rows = new_agent("PPO_OBJ"), 12
    numbers = [torch.randn(3, 4, generator=generator(seed)) for seed in range(4)]
    rollout = Rollout(
        torch.rand(3, 4, 2, 6, generator=generator()), torch.ones(3, 4, dtype=torch.int64), *numbers, *[None] * 6
    )
    args = training.Args(num_envs=4, max_grad_norm=max_grad_norm)
    optimizer = torch.optim.SGD(agent.parameters(), lr=0.0)
    step = training.minibatch_step(
        args, agent, optimizer, torch.autocast("cpu", enabled=False), rollout, torch.arange(rows)
    )
    left = math.sqrt(sum(float((weight.grad.double() ** 2).sum()) for weight in agent.parameters()))
    return step[training.OF_GRADIENT_STEP.index("gradient_norm")].item(), left


def test_the_gradients_norm_is_that_before_clipping():
    norm, left = gradient_step(1e9)
    assert norm == pytest.approx(left, rel=1e-5)
    clipped_norm, left = gradient_step(norm / 10)
    assert clipped_norm == pytest.approx(norm, rel=1e-6)
    assert left == pytest.approx(norm / 10, rel=1e-3)


RUNS = {
    "PPO": ["--env_id", "Freeway"],
    "PPO_CBP": ["--env_id", "Freeway", "--architecture", "PPO_CBP", "--replacement_rate", "0.02", "--amp", "bf16"],
    "HER": ["--env_id", "Freeway", "--her"],
    "PPO_OBJ": [
        *("--env_id", "Freeway", "--architecture", "PPO_OBJ", "--obs_mode", "obj"),
        *("--encoder_dims", "8", "4", "--decoder_dims", "7"),
    ],
}


def train(folder, monkeypatch, *flags, **config):
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(run_module, "forget_states", lambda *_, **__: None)  # so that there is one to look at
    training.main([*SMALL, "--total_timesteps", "120", *flags, "--config", write_config(folder, **config)])
    return only_run(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, marks=[*[NEEDS_OCATARI] * ("OBJ" in method), *[pytest.mark.slow] * (method != "PPO_CBP")])
        for method in RUNS
    ],
)
def test_a_run_learns_the_same_whether_it_is_measured_or_not(method, tmp_path, monkeypatch):
    every, never = (
        train(tmp_path / number, monkeypatch, *RUNS[method], "--plasticity_every", number) for number in ("2", "0")
    )
    weights, unmeasured = (load_checkpoint(run / "model.cleanrl_model").model_weights for run in (every, never))
    assert all(torch.equal(weights[name], unmeasured[name]) for name in unmeasured)

    curves = {run: EventAccumulator(str(run)).Reload() for run in (every, never)}
    logged = {run: [name for name in curves[run].Tags()["scalars"] if "plasticity" in name] for run in curves}
    assert logged[never] == []
    common = "dormant/all effective_rank stable_rank feature_norm weight_norm gradient_norm policy_churn policy_kl"
    layers = [f"dormant/{name}" for name in LAYERS["PPO_OBJ" if method == "PPO_OBJ" else "PPO"]]
    assert set(logged[every]) == {f"plasticity/{name}" for name in (*common.split(), *layers)} | {"time/plasticity"}
    for name in logged[every]:
        steps = [32, 96] if "policy" not in name else [96]
        assert [event.step for event in curves[every].Scalars(name)] == steps
    (_, last) = (event.value for event in curves[every].Scalars("plasticity/weight_norm"))
    squares = sum(float((weight.double() ** 2).sum()) for weight in weights.values())
    assert last == pytest.approx(math.sqrt(squares), rel=1e-2), "there were few steps since"

    probe = load_state(every)[0]["plasticity"]
    assert probe["rollouts"] == 4
    assert len(probe["observations"]) == 32, "a rollout shorter than the probe: all of it"
    assert load_state(never)[0]["plasticity"]["observations"] is None
    if method == "HER":
        assert (probe["observations"][:, 4:] == 255).all(), "the plane of the desired goal, the far side of the road"


@pytest.mark.slow
def test_the_probe_is_of_the_first_rollout(tmp_path, monkeypatch):
    seen = []
    step = training.minibatch_step

    def record(args, agent, optimizer, autocast, rollout, rows, **others):
        seen.append(rollout.observations.flatten(0, 1).clone())
        return step(args, agent, optimizer, autocast, rollout, rows, **others)

    monkeypatch.setattr(training, "minibatch_step", record)
    monkeypatch.setattr(plasticity.choose_rows, "__defaults__", (20,))
    run = train(tmp_path / "run", monkeypatch, *RUNS["PPO"], "--plasticity_every", "1")
    probe = load_state(run)[0]["plasticity"]["observations"]
    assert torch.equal(probe, seen[0][choose_rows(32, 20)])
    assert not torch.equal(probe, seen[-1][choose_rows(32, 20)])
