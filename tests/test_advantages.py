"""Generalised advantages against closed forms and against a second, independent definition."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from continual_hackatari.agents import AgentError, generalised_advantages
from continual_hackatari.agents.advantages import explained_variance


def rollout(num_steps: int, num_envs: int, seed: int, p_terminated: float = 0.2, p_cut: float = 0.2) -> list[Tensor]:
    """Random rewards, values, next_values, terminated, done, in float64."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values, next_values = torch.randn(3, num_steps, num_envs, generator=generator, dtype=torch.float64)
    chance = torch.rand(num_steps, num_envs, generator=generator)
    terminated = chance < p_terminated
    done = chance < p_terminated + p_cut
    # Within an episode the next value is the value of the next row, as in a real rollout.
    next_values[:-1] = torch.where(done[:-1], next_values[:-1], values[1:])
    return [rewards, values, next_values, terminated, done]


def weighted_n_step_advantage(data: list[Tensor], t: int, env: int, gamma: float, lam: float) -> float:
    """A_t as the lambda-weighted mean of all n-step advantages, each one summed from the rewards themselves."""
    rewards, values, next_values, terminated, done = (column[:, env].tolist() for column in data)
    end = next((k for k in range(t, len(rewards)) if done[k]), len(rewards) - 1)
    n_step = []
    for last in range(t, end + 1):
        total = sum(gamma ** (k - t) * rewards[k] for k in range(t, last + 1))
        if not terminated[last]:
            total += gamma ** (last - t + 1) * next_values[last]
        n_step.append(total - values[t])
    longest = len(n_step) - 1
    weights = [(1 - lam) * lam**n for n in range(longest)] + [lam**longest]
    return math.fsum(weight * advantage for weight, advantage in zip(weights, n_step, strict=True))


@settings(max_examples=60, deadline=None)
@given(
    num_steps=st.integers(1, 12),
    num_envs=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    p_terminated=st.floats(0, 0.5),
    p_cut=st.floats(0, 0.5),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
)
def test_equals_the_weighted_mean_of_n_step_advantages(
    num_steps: int, num_envs: int, seed: int, p_terminated: float, p_cut: float, gamma: float, lam: float
) -> None:
    data = rollout(num_steps, num_envs, seed, p_terminated, p_cut)
    advantages, returns = generalised_advantages(*data, gamma, lam)
    expected = torch.tensor(
        [[weighted_n_step_advantage(data, t, env, gamma, lam) for env in range(num_envs)] for t in range(num_steps)],
        dtype=torch.float64,
    )
    torch.testing.assert_close(advantages, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(returns, expected + data[1], rtol=1e-9, atol=1e-9)


def test_lambda_1_without_ends_is_the_discounted_return() -> None:
    """Reward 1 in every step, gamma 1/2, value 4 at the end: the return is 2 - 2^-(k-1) + 4 * 2^-k, k steps before."""
    steps = 5
    ones, zeros = torch.ones(steps, 1), torch.zeros(steps, 1)
    next_values = zeros.clone()
    next_values[-1] = 4.0
    never = torch.zeros(steps, 1, dtype=torch.bool)
    _, returns = generalised_advantages(ones, zeros, next_values, never, never, 0.5, 1.0)
    k = torch.arange(steps, 0, -1, dtype=torch.float32).unsqueeze(1)
    torch.testing.assert_close(returns, 2 - 2 ** -(k - 1) + 4 * 2**-k)


def test_lambda_0_is_the_one_step_error() -> None:
    rewards, values, next_values, terminated, done = rollout(9, 4, seed=3)
    advantages, _ = generalised_advantages(rewards, values, next_values, terminated, done, 0.9, 0.0)
    expected = rewards + 0.9 * next_values * (~terminated).double() - values
    torch.testing.assert_close(advantages, expected)


def test_a_terminated_step_is_not_bootstrapped_and_a_cut_one_is() -> None:
    one, three = torch.ones(1, 2), torch.full((1, 2), 3.0)
    terminated, done = torch.tensor([[True, False]]), torch.tensor([[True, True]])
    advantages, returns = generalised_advantages(one, one, three, terminated, done, 0.5, 0.95)
    assert advantages.tolist() == [[0.0, 1.5]]
    assert returns.tolist() == [[1.0, 2.5]]


@pytest.mark.parametrize("terminates", [True, False])
def test_nothing_leaks_across_an_end(terminates: bool) -> None:
    """Whatever happens after an episode's last row, the rows up to it stay the same to the last bit."""
    data = rollout(20, 3, seed=5, p_terminated=0.0, p_cut=0.0)
    *_, terminated, done = data
    end = 11
    done[end] = True
    terminated[end] = terminates
    before, _ = generalised_advantages(*data, 0.99, 0.95)
    for changed in data[:3]:
        changed[end + 1 :] = 1e6 * torch.randn(8, 3, dtype=torch.float64)
    after, _ = generalised_advantages(*data, 0.99, 0.95)
    assert torch.equal(before[: end + 1], after[: end + 1])
    assert not torch.equal(before[end + 1 :], after[end + 1 :])


def test_the_value_behind_a_terminated_step_is_never_used() -> None:
    data = rollout(6, 2, seed=8, p_terminated=0.0, p_cut=0.0)
    _, _, next_values, terminated, done = data
    terminated[2] = done[2] = True
    before, _ = generalised_advantages(*data, 0.99, 0.95)
    next_values[2] = float("inf")
    after, _ = generalised_advantages(*data, 0.99, 0.95)
    assert torch.equal(before, after)


def test_environments_do_not_mix() -> None:
    data = rollout(15, 4, seed=6)
    together, _ = generalised_advantages(*data, 0.99, 0.95)
    for env in range(4):
        alone, _ = generalised_advantages(*(column[:, env : env + 1] for column in data), 0.99, 0.95)
        assert torch.equal(together[:, env : env + 1], alone)


def test_flags_may_be_numbers_and_inputs_stay_unchanged() -> None:
    data = rollout(7, 2, seed=9)
    copies = [column.clone() for column in data]
    from_bool = generalised_advantages(*data, 0.99, 0.95)
    from_float = generalised_advantages(*data[:3], data[3].double(), data[4].double(), 0.99, 0.95)
    assert all(torch.equal(a, b) for a, b in zip(from_bool, from_float, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(data, copies, strict=True))


def test_values_that_require_gradients_give_plain_numbers() -> None:
    data = rollout(4, 2, seed=1)
    data[1].requires_grad_(True)
    advantages, returns = generalised_advantages(*data, 0.99, 0.95)
    assert not advantages.requires_grad
    assert not returns.requires_grad


def test_shapes_that_would_broadcast_are_refused() -> None:
    data = rollout(4, 2, seed=1)
    data[1] = data[1].unsqueeze(-1)
    with pytest.raises(AgentError, match=r"one shape \[T, N\]"):
        generalised_advantages(*data, 0.99, 0.95)


def test_values_explain_all_some_or_nothing_of_returns() -> None:
    returns = torch.tensor([0.0, 2.0, 4.0, 6.0])
    assert explained_variance(returns, returns + 7) == {"losses/explained_variance": 1}
    assert explained_variance(returns, returns * 0) == {"losses/explained_variance": 0}
    assert explained_variance(returns, returns / 2) == {"losses/explained_variance": 0.75}
    assert explained_variance(returns[:1], returns[1:2]) == {}
    assert explained_variance(torch.ones(3), returns[:3]) == {}
