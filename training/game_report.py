"""What the steps of played games tell beyond the score: lives and their events, and how right the values were."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from continual_hackatari.reporting.statistics import statistics

MANY_FIRES = 3  # FIRE presses in a life without reward from which on it counts as one that kept trying
UNKNOWN_SHARE = 0.01  # a return that lacks at most this share of what a time limit cut off counts as known
_ROUNDING = 1e-9  # relative; processors differ in the last bit of a power


class Trace(NamedTuple):
    """The L agent steps of one whole game."""

    rewards: NDArray[np.float64]
    """[L] the game's points; those of no-op frames and of automatic FIRE presses belong to no step"""
    fires: NDArray[np.bool_]
    """[L] whether the agent pressed FIRE, also together with a direction"""
    values: NDArray[np.float64]
    """[L] the agent's value of what it saw"""
    entropies: NDArray[np.float64]
    """[L] the entropy of its policy there, in nats"""
    cut_short: bool
    """a time limit ended the game, so that rewards beyond it are not known"""


class Life(NamedTuple):
    """One life; steps count from 1, None where there is no such step. The names are columns of per_life.csv."""

    reward: float
    """points between its start and its end, those of no-op frames and automatic FIRE presses included"""
    length: int
    positive_events: int
    """steps with a positive reward"""
    first_positive_step: int | None
    fire_presses: int
    first_fire_step: int | None
    max_positive_streak: int
    """most consecutive steps with a positive reward"""


def lives_of(trace: Trace, scores: Sequence[float], lengths: Sequence[int]) -> list[Life]:
    """The lives of a game, in order; `scores` and `lengths` are those of its lives, and sum to those of the game."""
    lives, start = [], 0
    for score, length in zip(scores, lengths, strict=True):
        positive, fires = (steps[start : start + length] for steps in (trace.rewards > 0, trace.fires))
        first_positive, first_fire = _first(positive), _first(fires)
        events, presses = int(positive.sum()), int(fires.sum())
        lives.append(Life(score, length, events, first_positive, presses, first_fire, _longest_run(positive)))
        start += length
    return lives


def _first(flags: NDArray[np.bool_]) -> int | None:
    return int(flags.argmax()) + 1 if flags.any() else None


def _longest_run(flags: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))  # starts and ends
    return int((edges[1::2] - edges[::2]).max(initial=0))


def game_columns(trace: Trace, lives: Sequence[Life]) -> dict[str, float | None]:
    """What games.csv says about a game besides its score."""
    with_reward = sum(life.reward > 0 for life in lives)
    first_steps = [life.first_positive_step for life in lives if life.first_positive_step is not None]
    return {
        "lives_with_reward": with_reward,
        "positive_life_ratio": with_reward / len(lives),
        "total_positive_events": sum(life.positive_events for life in lives),
        "total_fire_presses": sum(life.fire_presses for life in lives),
        "avg_first_positive_step": sum(first_steps) / len(first_steps) if first_steps else None,
        "max_positive_streak": max(life.max_positive_streak for life in lives),
        "mean_entropy": float(trace.entropies.mean()),
    }


def failure_statistics(games: Sequence[Sequence[Life]]) -> dict[str, Any]:
    """About the lives whose reward is not above zero: how many, how long, how often they pressed FIRE, the longest."""
    failed = [
        {"game_index": game, "life_index": index, "length": life.length, "fire_presses": life.fire_presses}
        for game, lives in enumerate(games)
        for index, life in enumerate(lives)
        if not life.reward > 0
    ]
    return {
        "zero_reward_lives": len(failed),
        "zero_reward_mean_length": statistics(life["length"] for life in failed)["mean"],
        "zero_reward_mean_fire": statistics(life["fire_presses"] for life in failed)["mean"],
        "high_fire_zero_count": sum(life["fire_presses"] >= MANY_FIRES for life in failed),
        "longest_zero_reward_lives": sorted(failed, key=lambda life: -life["length"])[:5],
    }


def discounted_returns(
    rewards: NDArray[Any], lengths: Sequence[int], gamma: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`G_t = r_t + gamma * G_{t+1}`, nothing beyond an episode's end, and how many steps that end is away, both `[L]`.

    lengths: of the episodes, in order; they sum to L.
    """
    left = np.concatenate([np.arange(length, 0, -1) for length in lengths])  # 1 at the last step of an episode
    returns, following = np.zeros(len(rewards)), 0.0
    for step in range(len(rewards) - 1, -1, -1):
        following = float(rewards[step]) + (gamma * following if left[step] > 1 else 0.0)
        returns[step] = following
    return returns, left


def known_returns(left: NDArray[np.int64], last_length: int, gamma: float, cut_short: bool) -> NDArray[np.bool_]:
    """Of which steps the return is known `[L]`: all, but near the end of a game that was cut short those far from it.

    left: steps to the end of the episode, the last of which has `last_length` steps.
    """
    known = np.ones(len(left), np.bool_)
    if cut_short:
        share = gamma ** left[len(left) - last_length :].astype(float)
        known[len(left) - last_length :] = share <= UNKNOWN_SHARE * (1 + _ROUNDING)
    return known


def value_error(values: NDArray[np.float64], returns: NDArray[np.float64]) -> dict[str, float | None]:
    """How well `values` foretold `returns`, both `[n]`.

    mean_error is the mean of value - return: positive means too optimistic. explained_variance is
    1 - Var(return - value) / Var(return): 1 is perfect, 0 as good as a constant. correlation is Pearson's, which needs
    no scale. None where they are not defined: without steps, or where one of the two never changes.
    """
    if not len(values):
        return dict.fromkeys(("mean_error", "rmse", "explained_variance", "correlation"))
    error = values - returns
    spread, spread_of_values = float(returns.std()), float(values.std())
    covariance = float(((values - values.mean()) * (returns - returns.mean())).mean())
    return {
        "mean_error": float(error.mean()),
        "rmse": math.sqrt(float((error**2).mean())),
        "explained_variance": 1.0 - float(error.var()) / spread**2 if spread > 0 else None,
        "correlation": covariance / (spread * spread_of_values) if spread > 0 and spread_of_values > 0 else None,
    }
