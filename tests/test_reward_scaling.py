"""Reward scaling against a brute-force computation over the whole history, and against VecNormalize's own steps."""

import json
import math

import numpy as np
import pytest

from continual_hackatari.agents import AgentError, RewardScaler


def history(steps: int, num_envs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sparse rewards of several sizes, and episode ends."""
    rng = np.random.default_rng(seed)
    rewards = rng.choice([0.0, 0.0, 0.0, 1.0, -1.0, 40.0], size=(steps, num_envs))
    return rewards, rng.random((steps, num_envs)) < 0.05


def brute_force(rewards: np.ndarray, done: np.ndarray, gamma: float) -> np.ndarray:
    """Every return summed from its episode's rewards; the variance of all of them, taken anew at each step.

    The initial guess counts as 1e-4 of a sample of mean 0 and variance 1.
    """
    steps, num_envs = rewards.shape
    returns = np.zeros((steps, num_envs))
    for env in range(num_envs):
        start = 0
        for t in range(steps):
            returns[t, env] = sum(gamma ** (t - k) * rewards[k, env] for k in range(start, t + 1))
            if done[t, env]:
                start = t + 1
    scaled = np.zeros_like(rewards)
    for t in range(steps):
        seen = returns[: t + 1].ravel()
        weight = len(seen) + 1e-4
        mean = seen.sum() / weight
        variance = (1e-4 * (1 + mean**2) + ((seen - mean) ** 2).sum()) / weight
        scaled[t] = np.clip(rewards[t] / math.sqrt(variance + 1e-8), -10, 10)
    return scaled


@pytest.mark.parametrize(("num_envs", "gamma"), [(1, 0.99), (3, 0.99), (8, 0.5), (4, 0.0), (2, 1.0)])
def test_normalize_equals_brute_force(num_envs: int, gamma: float) -> None:
    rewards, done = history(120, num_envs, seed=num_envs)
    scaler = RewardScaler(num_envs, gamma)
    scaled = np.array([scaler(r, d) for r, d in zip(rewards, done, strict=True)])
    np.testing.assert_allclose(scaled, brute_force(rewards, done, gamma), rtol=1e-6)
    assert scaled.any()


def test_normalize_equals_vecnormalize() -> None:
    """VecNormalize's order within a step: decay and add, update, scale with the new variance, clip, then forget ends.

    Its running moments start at mean 0, variance 1, count 1e-4 and merge one batch of N returns per step.
    """
    rewards, done = history(500, 8, seed=4)
    gamma = 0.99
    scaler = RewardScaler(8, gamma)
    returns, mean, var, count = np.zeros(8), 0.0, 1.0, 1e-4
    for step, (reward, end) in enumerate(zip(rewards, done, strict=True)):
        returns = returns * gamma + reward
        batch_mean, batch_var, batch_count = np.mean(returns), np.var(returns), 8
        delta, total = batch_mean - mean, count + batch_count
        m_2 = var * count + batch_var * batch_count + np.square(delta) * count * batch_count / total
        mean, var, count = mean + delta * batch_count / total, m_2 / total, total
        expected = np.clip(reward / np.sqrt(var + 1e-8), -10.0, 10.0)
        returns[end] = 0
        np.testing.assert_allclose(scaler(reward, end), expected, rtol=1e-6, err_msg=f"step {step}")
    assert scaler.mean == pytest.approx(mean, rel=1e-12)
    assert scaler.variance == pytest.approx(var, rel=1e-12)
    assert scaler.count == pytest.approx(count, rel=1e-12)


def test_two_steps_worked_by_hand() -> None:
    """One game, gamma 1/2, rewards 2 then 1. Returns 2, 2; one sample of 2 beside 1e-4 of (mean 0, variance 1):
    variance (1e-4 + 2^2 * 1e-4 / 1.0001) / 1.0001 = 4.9991e-4, so 2 / sqrt = 89.4 is clipped to 10; then with two
    samples (1e-4 + 2^2 * 2e-4 / 2.0001) / 2.0001 = 2.49978e-4, so 1 / sqrt = 63.2, clipped too.
    """
    scaler = RewardScaler(1, 0.5)
    assert scaler(np.array([2.0]), np.array([False])).tolist() == [10.0]
    assert scaler.variance == pytest.approx((1e-4 + 4e-4 / 1.0001) / 1.0001, rel=1e-9)
    assert scaler(np.array([1.0]), np.array([True])).tolist() == [10.0]
    assert scaler.variance == pytest.approx((1e-4 + 8e-4 / 2.0001) / 2.0001, rel=1e-9)
    assert scaler.returns.tolist() == [0.0]


def test_rewards_are_not_centred_and_zero_stays_zero() -> None:
    scaler = RewardScaler(2, 0.9)
    for _ in range(50):
        scaled = scaler(np.array([5.0, 0.0]), np.array([False, False]))
    assert scaled[0] > 0
    assert scaled[1] == 0


@pytest.mark.parametrize("mode", ["normalize", "clip", "none"])
def test_type_shape_and_untouched_input(mode: str) -> None:
    rewards, done = np.array([3.0, -7.0, 0.0]), np.array([False, True, False])
    scaled = RewardScaler(3, 0.99, mode)(rewards, done)
    assert scaled.dtype == np.float32
    assert scaled.shape == (3,)
    assert rewards.tolist() == [3.0, -7.0, 0.0]
    expected = {"clip": [1.0, -1.0, 0.0], "none": [3.0, -7.0, 0.0]}
    assert scaled.tolist() == expected.get(mode, scaled.tolist())


def test_float32_rewards_are_summed_in_float64() -> None:
    """Large rewards with a small part: sums in float32 would lose the small part."""
    rewards, done = history(300, 4, seed=2)
    rewards = rewards * 1e4 + 0.001
    wide, narrow = RewardScaler(4, 1.0), RewardScaler(4, 1.0)
    for reward, end in zip(rewards.astype(np.float32), done, strict=True):
        np.testing.assert_array_equal(wide(reward.astype(np.float64), end), narrow(reward, end))


def test_scale_alone_changes_nothing() -> None:
    rewards, done = history(20, 3, seed=1)
    scaler = RewardScaler(3, 0.99)
    for reward, end in zip(rewards, done, strict=True):
        scaled = scaler(reward, end)
    before = scaler.state_dict()
    np.testing.assert_array_equal(scaler.scale(rewards)[-1], scaled)
    assert scaler.scale(rewards).shape == (20, 3)
    assert scaler.state_dict() == before


def test_saved_and_loaded_equals_uninterrupted() -> None:
    rewards, done = history(60, 3, seed=7)
    whole, first, second = (RewardScaler(3, 0.99) for _ in range(3))
    expected = [whole(r, d).tolist() for r, d in zip(rewards, done, strict=True)]
    for r, d in zip(rewards[:30], done[:30], strict=True):
        first(r, d)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))  # plain values survive even JSON
    assert [second(r, d).tolist() for r, d in zip(rewards[30:], done[30:], strict=True)] == expected[30:]


def test_a_saved_state_is_not_changed_by_later_steps() -> None:
    scaler = RewardScaler(2, 0.99)
    state = scaler.state_dict()
    scaler(np.ones(2), np.zeros(2, dtype=bool))
    assert state["returns"] == [0.0, 0.0]


def test_a_state_of_other_settings_is_refused() -> None:
    state = RewardScaler(3, 0.99).state_dict()
    for other, message in (
        (RewardScaler(4, 0.99), "`num_envs` is 4, .* with 3"),
        (RewardScaler(3, 0.9), "`gamma` is 0.9, .* with 0.99"),
        (RewardScaler(3, 0.99, "clip"), "`reward_scaling` is clip, .* with normalize"),
    ):
        with pytest.raises(AgentError, match=message):
            other.load_state_dict(state)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_stops_the_run(bad: float) -> None:
    with pytest.raises(AgentError, match="not a finite number"):
        RewardScaler(2, 0.99)(np.array([1.0, bad]), np.array([False, False]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 0.99, "normalise"), "`reward_scaling` is 'normalise'; allowed is normalize, clip, none"),
        ((0, 0.99), "`num_envs` is 0"),
        ((8, 1.5), "`gamma` is 1.5"),
    ],
)
def test_impossible_settings_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(AgentError, match=message):
        RewardScaler(*arguments)
