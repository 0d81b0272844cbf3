"""V-trace against generalised advantages, the sums of its paper, numbers of another program, and its fixed point."""

import itertools
import math

import pytest
import torch
from test_advantages import rollout

from continual_hackatari.agents import AgentError, generalised_advantages
from continual_hackatari.agents.vtrace import vtrace


def test_with_an_unchanged_policy_it_is_generalised_advantages_with_lambda_1():
    for seed in range(200):
        data = rollout(1 + seed % 12, 3, seed)
        advantages, returns = generalised_advantages(*data, 0.97, 1.0)
        found = vtrace(torch.zeros_like(data[0]), *data, 0.97)
        torch.testing.assert_close(found.targets, returns, rtol=0, atol=1e-9)
        torch.testing.assert_close(found.advantages, advantages, rtol=0, atol=1e-9)


def double_sum(log_ratios, data, n, gamma, rho_bar, c_bar, lambda_):
    """Targets and advantages of one game as in equation 1 of the paper: a sum of products, for each step anew."""
    rewards, values, next_values, terminated, done = (column[:, n].tolist() for column in data)
    ratios = [math.exp(x) for x in log_ratios[:, n].tolist()]

    def follows(t, value):
        return 0.0 if terminated[t] else value

    targets = []
    for s in range(len(rewards)):
        total = values[s]
        for t in range(s, len(rewards)):
            weight = gamma ** (t - s)
            for i in range(s, t):
                weight *= 0.0 if done[i] else lambda_ * min(c_bar, ratios[i])
            delta = min(rho_bar, ratios[t]) * (rewards[t] + gamma * follows(t, next_values[t]) - values[t])
            total += weight * delta
        targets.append(total)
    advantages = []
    for t in range(len(rewards)):
        after = next_values[t] if done[t] or t == len(rewards) - 1 else targets[t + 1]
        advantages.append(min(rho_bar, ratios[t]) * (rewards[t] + gamma * follows(t, after) - values[t]))
    return targets, advantages


@pytest.mark.parametrize("bounds", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.9), (0.7, 1.3, 0.5), (math.inf, math.inf, 1.0)])
def test_it_is_the_sum_of_the_paper(bounds):
    for seed in range(10):
        data = rollout(1 + seed % 7, 2, seed)
        log_ratios = torch.randn(data[0].shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found = vtrace(log_ratios, *data, 0.9, rho_bar=bounds[0], c_bar=bounds[1], lambda_=bounds[2])
        for n in range(2):
            targets, advantages = double_sum(log_ratios, data, n, 0.9, *bounds)
            assert found.targets[:, n].tolist() == pytest.approx(targets, abs=1e-9)
            assert found.advantages[:, n].tolist() == pytest.approx(advantages, abs=1e-9)


def numbers(text):
    """Rows `a b | c d` as a float64 tensor [rows, 2, ...]."""
    rows = [[[float(x) for x in part.split()] for part in row.split("|")] for row in text.strip().splitlines()]
    return torch.tensor(rows, dtype=torch.float64)


BEHAVIOUR = numbers(
    """ .35  .82  .33 | -1.30  .91  .45
       -.54  .58  .36 |   .29  .03  .55
       -.74 -.16 -.48 |   .60  .04 -.29
       -.78 -.26  .01 |  -.28 1.29 1.01
      -2.71 -1.89 -.17 | -.42  .21  .22"""
)
TARGET = numbers(
    """ .19 -.52 -.41 | -2.44 1.80 1.14
       -.33  .77  .28 |  -.55  .98 -.31
       -.33 -.79  .45 |  -.10  .55 -.61
        .13 -.89  .84 |   .19  .33  .41
      -1.01  .78 2.06 | -1.64 -1.73 -1.50"""
)
ACTIONS = numbers("2|0\n0|0\n0|2\n2|1\n0|0").long()
REWARDS = numbers("-.65|-.17\n1.66|.66\n-1.64|-.01\n-.62|.15\n-1.61|.24")[..., 0]
VALUES = numbers("-.80|-1.32\n-.25|.42\n1.14|.11\n-.55|-.78\n.75|1.63")[..., 0]
BOOTSTRAP = numbers(".50|-.25")[..., 0]
EXPECTED_TARGETS = numbers(
    "-1.138797|-1.076873\n-0.549852|0.531321\n-2.455391|0.011091\n-0.905990|-0.152470\n-0.317767|0.015000"
)[..., 0]
EXPECTED_ADVANTAGES = numbers(
    "-0.338797|0.243127\n-0.299852|0.111321\n-3.595391|-0.098909\n-0.355990|0.627530\n-1.067767|-1.615000"
)[..., 0]


def test_numbers_of_another_program():
    """What the function of CORA gives for two unrolls, of which the second has the end of an episode in step 2."""
    of_action = [p.log_softmax(-1).gather(-1, ACTIONS)[..., 0] for p in (TARGET, BEHAVIOUR)]
    terminated = torch.zeros(5, 2, dtype=torch.bool)
    terminated[2, 1] = True
    found = vtrace(
        of_action[0] - of_action[1], REWARDS, VALUES, torch.cat([VALUES[1:], BOOTSTRAP]), terminated, terminated, 0.9
    )
    torch.testing.assert_close(found.targets, EXPECTED_TARGETS, rtol=0, atol=1.5e-6)  # they have six digits
    torch.testing.assert_close(found.advantages, EXPECTED_ADVANTAGES, rtol=0, atol=1.5e-6)


STATES, ACTIONS_OF_MDP, STEPS, GAMMA = 3, 2, 3, 0.9


def mdp():
    """Transitions [s, a, s'], rewards [s, a], and two policies [s, a]: that which acts and that which is learned."""
    draw = torch.Generator().manual_seed(4)
    transitions, policies = (
        torch.rand(*shape, generator=draw, dtype=torch.float64) + 0.1
        for shape in ((STATES, ACTIONS_OF_MDP, STATES), (2, STATES, ACTIONS_OF_MDP))
    )
    rewards = torch.randn(STATES, ACTIONS_OF_MDP, generator=draw, dtype=torch.float64)
    return transitions / transitions.sum(-1, True), rewards, policies / policies.sum(-1, True)


@pytest.mark.parametrize("rho_bar", [0.5, 1.0, 10.0])
def test_its_fixed_point_is_the_value_of_the_clipped_policy(rho_bar):
    """Every path of three steps at once, weighed by its probability; against a system of linear equations."""
    transitions, rewards, (acts, learned) = mdp()
    clipped = torch.minimum(rho_bar * acts, learned)
    clipped = clipped / clipped.sum(-1, keepdim=True)
    under = torch.einsum("sa,sat->st", clipped, transitions)
    identity = torch.eye(STATES, dtype=torch.float64)
    expected = torch.linalg.solve(identity - GAMMA * under, (clipped * rewards).sum(-1))

    choices = [range(STATES), *([range(ACTIONS_OF_MDP), range(STATES)] * STEPS)]
    paths = torch.tensor(list(itertools.product(*choices))).T  # s0, a0, s1, a1, s2, a2, s3
    states, actions = paths[0::2], paths[1::2]
    here, there = states[:-1], states[1:]
    probability = (acts[here, actions] * transitions[here, actions, there]).prod(0)
    log_ratios = (learned / acts).log()[here, actions]
    never = torch.zeros(here.shape, dtype=torch.bool)
    values = torch.zeros(STATES, dtype=torch.float64)
    for _ in range(300):
        known = (rewards[here, actions], values[here], values[there], never, never, GAMMA)
        first = vtrace(log_ratios, *known, rho_bar=rho_bar).targets[0]
        values = torch.zeros_like(values).index_add(0, states[0], probability * first)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-8)
    assert not torch.allclose(expected, torch.zeros_like(expected), atol=0.1)


def test_an_infinite_value_behind_an_end_reaches_nothing():
    data = [torch.zeros(3, 1) for _ in range(3)] + [torch.tensor([[False], [True], [False]])] * 2
    data[2][1] = math.inf
    found = vtrace(torch.zeros(3, 1), *data, 0.9)
    assert all(bool(part.isfinite().all()) for part in found)


def test_other_shapes_are_refused():
    data = rollout(4, 2, 1)
    data[0] = data[0][..., None]
    with pytest.raises(AgentError, match=r"six tensors of one shape \[T, N\]"):
        vtrace(torch.zeros(4, 2), *data, 0.9)
