"""One gradient step against PPO's loss written a second time, in NumPy: what it reports, its gradient, its clipping."""

import itertools

import numpy as np
import pytest
import torch
from conftest import mostly_slow
from torch import nn

from continual_hackatari import continual_training_example as training
from continual_hackatari.agents.actor_critic import ActorCritic
from continual_hackatari.training.rollouts import Rollout

ACTIONS, FRAMES, GOALS, ROWS = 3, 3, 2, 12
KINDS = ("played", "hindsight", "weighted hindsight")


class LinearAgent(ActorCritic):
    """Both heads read the pixels, so that the whole network is two lines of NumPy."""

    def __init__(self, planes):
        super().__init__()
        self.actor, self.critic = nn.Linear(planes, ACTIONS), nn.Linear(planes, 1)
        self.initialise(torch.Generator().manual_seed(3))
        with torch.no_grad():
            self.actor.weight.mul_(100)  # a policy that is not uniform

    def hidden(self, x):
        return x.flatten(1).float() / 255


def made_up_rollout(kind, agent, seed=0):
    """4 steps of 4 games, or of 2 games and their relabelled halves: 16 rows, all of them different."""
    draw = torch.Generator().manual_seed(seed)
    her = kind != "played"
    games, columns = (2, 4) if her else (4, 4)

    def normal(scale):
        return scale * torch.randn(4, columns, generator=draw)

    frames = torch.randint(0, 256, (4, games, FRAMES + GOALS * her, 1, 1), generator=draw, dtype=torch.uint8)
    goals = torch.randint(0, 256, (4, columns, GOALS), generator=draw, dtype=torch.uint8) if her else None
    none = np.zeros(0)
    rollout = Rollout(
        observations=frames,
        actions=torch.randint(0, ACTIONS, (4, columns), generator=draw),
        log_probs=normal(0.25),
        values=normal(0.25),
        advantages=normal(1.0) + torch.arange(columns),  # not centred, and another mean in each half
        returns=normal(0.3),
        rewards=none,
        terminated=none,
        done=none,
        achieved=none,
        goals=goals,
        weights=0.5 + torch.rand(4, columns, generator=draw) if kind == "weighted hindsight" else None,
        relabelled=(torch.arange(columns) >= games).repeat(4, 1) if her else None,
    )
    if rollout.relabelled is not None:
        rollout.relabelled[2, 3] = False  # a segment that kept its goal: it counts among the rows as they were played
    log_probs, _, values = forward(parameters_of(agent), pixels(rollout, range(16)), rollout.actions.flatten().numpy())
    rollout.log_probs.add_(torch.from_numpy(log_probs).view(4, columns))  # ratios and values inside and outside of the
    rollout.values.add_(torch.from_numpy(values).view(4, columns))  # clipping ranges
    rollout.returns.add_(rollout.values)
    return rollout


def parameters_of(agent):
    return np.concatenate([parameter.detach().double().numpy().ravel() for parameter in agent.parameters()])


def pixels(rollout, rows):
    """What the network sees in these rows, float64 [B, planes]; row by row, from where each number lies."""
    games, columns = rollout.observations.shape[1], rollout.actions.shape[1]
    seen = []
    for row in rows:
        t, column = divmod(int(row), columns)
        planes = rollout.observations[t, column % games].flatten().double().numpy().copy()
        if rollout.goals is not None:
            planes[FRAMES:] = rollout.goals[t, column].numpy()
        seen.append(planes / 255)
    return np.stack(seen)


def forward(theta, x, actions):
    """Log-probability of each action, entropy and value [B] of the linear network with the parameters `theta`."""
    planes = x.shape[1]
    actor, bias, critic, offset = np.split(theta, np.cumsum([ACTIONS * planes, ACTIONS, planes]))
    logits = x @ actor.reshape(ACTIONS, planes).T + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy = -(probabilities * np.log(probabilities)).sum(1)
    return np.log(probabilities[np.arange(len(x)), actions]), entropy, x @ critic + offset[0]


def ppo(theta, x, rollout, rows, args):
    """The loss of PPO and all that is reported of it, for the rows one after the other, which show the pixels `x`."""
    flat = {
        name: getattr(rollout, name).flatten().double().numpy()[rows]
        for name in ("log_probs", "values", "advantages", "returns")
    }
    weight = np.ones(len(rows))
    if rollout.relabelled is not None:
        relabelled = rollout.relabelled.flatten().numpy()[rows]
        weight[relabelled] = args.her_weight
        weight /= weight.mean()
    advantage = flat["advantages"].copy()
    if args.norm_adv and rollout.goals is None:
        advantage = (advantage - advantage.mean()) / (np.sqrt(((advantage - advantage.mean()) ** 2).sum() / 11) + 1e-8)
    elif args.norm_adv:
        for half in (relabelled, ~relabelled):
            advantage[half] -= advantage[half].mean()
        advantage /= np.sqrt((advantage**2).mean()) + 1e-8
    if rollout.weights is not None:
        advantage = advantage * rollout.weights.flatten().double().numpy()[rows]

    actions = rollout.actions.flatten().numpy()[rows]
    log_probs, entropy, values = forward(theta, x, actions)
    eps, policy, value, kl, outside = args.clip_coef, [], [], [], []
    for i in range(len(rows)):
        ratio = np.exp(log_probs[i] - flat["log_probs"][i])
        policy.append(-min(ratio * advantage[i], min(max(ratio, 1 - eps), 1 + eps) * advantage[i]))
        error = (values[i] - flat["returns"][i]) ** 2
        if args.clip_vloss:
            old = flat["values"][i]
            error = max(error, (min(max(values[i], old - eps), old + eps) - flat["returns"][i]) ** 2)
        value.append(error / 2)
        kl.append(ratio - 1 - np.log(ratio))
        outside.append(abs(ratio - 1) > eps)
    policy, value = np.array(policy), np.array(value)
    reported = {
        "value_loss": (weight * value).mean(),
        "policy_loss": (weight * policy).mean(),
        "entropy": entropy.mean(),
        "old_approx_kl": (flat["log_probs"] - log_probs).mean(),
        "approx_kl": np.mean(kl),
        "clipfrac": np.mean(outside),
    }
    if rollout.goals is not None:
        for name, errors in (("policy_loss", policy), ("value_loss", value)):
            reported[f"original_{name}"] = errors[~relabelled].mean()
            reported[f"relabelled_{name}"] = errors[relabelled].mean()
    loss = reported["policy_loss"] - args.ent_coef * entropy.mean() + args.vf_coef * reported["value_loss"]
    return loss, reported


def slope(function, theta, step=1e-6):
    """The gradient of `function` at `theta` by central differences."""
    gradient = np.empty_like(theta)
    for i in range(len(theta)):
        aside = np.zeros_like(theta)
        aside[i] = step
        gradient[i] = (function(theta + aside) - function(theta - aside)) / (2 * step)
    return gradient


def gradient_step(agent, rollout, rows, args):
    """What `minibatch_step` returns by name, and the direction in which it moved the parameters."""
    before = parameters_of(agent)
    optimizer = torch.optim.SGD(agent.parameters(), lr=1.0)
    autocast = torch.autocast("cpu", enabled=False)
    numbers = training.minibatch_step(args, agent, optimizer, autocast, rollout, torch.tensor(rows)).tolist()
    names = [*training.OF_GRADIENT_STEP, *(training.HINDSIGHT_LOSSES if rollout.goals is not None else ())]
    return dict(zip(names, numbers, strict=True)), before - parameters_of(agent)


@pytest.mark.parametrize(
    ("kind", "clip_vloss", "norm_adv"), mostly_slow(itertools.product(KINDS, (True, False), (True, False)), 3)
)
def test_a_gradient_step_is_that_of_the_loss_in_numpy(kind, norm_adv, clip_vloss):
    settings = itertools.product((0.1, 0.25), (0.0, 0.3), (0.0, 0.5, 1.7), (0.05, 1e3))
    outside = []
    for number, (clip_coef, ent_coef, vf_coef, max_grad_norm) in enumerate(settings):
        args = training.Args(
            norm_adv=norm_adv,
            clip_vloss=clip_vloss,
            clip_coef=clip_coef,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            her_weight=(1.0, 0.3, 0.0)[number % 3],
        )
        agent = LinearAgent(FRAMES if kind == "played" else FRAMES + GOALS)
        theta = parameters_of(agent)
        rollout = made_up_rollout(kind, agent, seed=number)
        rows = np.random.default_rng(number).permutation(16)[:ROWS]
        x = pixels(rollout, rows)
        gradient = slope(lambda at: ppo(at, x, rollout, rows, args)[0], theta)  # noqa: B023
        norm = np.sqrt((gradient**2).sum())
        numbers, moved = gradient_step(agent, rollout, rows, args)

        expected = {**ppo(theta, x, rollout, rows, args)[1], "gradient_norm": norm}
        assert numbers == pytest.approx(expected, rel=1e-4, abs=1e-5), (number, args)
        np.testing.assert_allclose(moved, gradient * min(1.0, max_grad_norm / norm), rtol=1e-3, atol=2e-5)
        assert (norm > max_grad_norm) == (max_grad_norm < 1), "one bound clips, the other does not"
        outside.append(expected["clipfrac"])
    assert 0.2 < np.mean(outside) < 0.8, "ratios inside and outside of the clipping range"


def test_the_advantage_of_a_single_row_is_left_as_it_is():
    """Its deviation would be none, and the loss not a number."""
    agent = LinearAgent(FRAMES)
    rollout = made_up_rollout("played", agent)
    rows, args = np.array([5]), training.Args(clip_coef=10.0)
    numbers, _ = gradient_step(agent, rollout, rows, args)
    args.norm_adv = False
    expected, _ = gradient_step(LinearAgent(FRAMES), rollout, rows, args)
    assert numbers == expected
    assert np.isfinite(list(numbers.values())).all()
    assert numbers["policy_loss"] != 0


@pytest.mark.parametrize("half", [0, 1])
def test_a_minibatch_may_hold_rows_of_one_half_only(half):
    agent = LinearAgent(FRAMES + GOALS)
    rollout = made_up_rollout("hindsight", agent)
    rows = np.flatnonzero(rollout.relabelled.flatten() == bool(half))
    args = training.Args(max_grad_norm=1e3)
    numbers, moved = gradient_step(agent, rollout, rows, args)
    names = ("original_policy_loss", "relabelled_policy_loss")
    assert numbers[names[half]] == pytest.approx(numbers["policy_loss"])
    assert numbers[names[1 - half]] == 0
    assert np.isfinite(moved).all()
