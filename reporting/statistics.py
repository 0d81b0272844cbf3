"""Every statistic of this project: means, their intervals, and scores on a human's scale. The intervals are scipy's.

All bootstraps have a generator of their own, so that a table can be made again and nobody's random numbers change.
"""

import functools
import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Literal, NamedTuple

import numpy as np

RESAMPLES = 2_000
"""of a mean over runs"""
RESAMPLES_OF_GAMES = 10_000
"""of a mean over games"""
SMALLEST_SAMPLE = 3
"""Runs (games, pairs) below which no interval is given: two values say nothing reliable about their spread."""

Resample = Literal["units", "runs"]


class Band(NamedTuple):
    """Mean over runs and its interval, all float64 [B]."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def nanmean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean over an axis of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=axis) / np.maximum(count, 1), np.nan)


def _resampled(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    number: int,
    seed: int = 0,
    paired: bool = False,
) -> Any:
    """What scipy says of `statistic` in `number` resamples over the first axis of `samples`, 95 % of them."""
    from scipy.stats import bootstrap  # slow to import, and most that need a mean need no interval

    with warnings.catch_warnings():  # a resample of what is not known has no mean, and needs none
        warnings.simplefilter("ignore")
        return bootstrap(
            tuple(samples),
            statistic,
            axis=0,
            paired=paired,
            vectorized=True,
            n_resamples=number,
            batch=100,  # bounds the memory
            method="percentile",
            rng=np.random.default_rng(seed),
        )


def mean_and_interval(values: np.ndarray, covered: np.ndarray | None = None, seed: int = 0) -> Band:
    """Mean over runs of `values` [R, B] and its 95 % bootstrap interval over runs (percentiles of resampled means).

    A bin in which some run has no value, or to whose end it has not come (`covered` bool [R, B] false), has no mean: it
    would be one of other runs than the bin before, a step in the curve that no run made. From fewer than three runs
    there is no interval.
    """
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values) if covered is None else np.isfinite(values) & covered
    mean = np.where(known.all(axis=0), nanmean(values), np.nan)
    low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    enough = np.isfinite(mean) & (len(values) >= SMALLEST_SAMPLE)
    if enough.any():
        means = _resampled([values[:, enough]], nanmean, RESAMPLES, seed).bootstrap_distribution
        low[enough], high[enough] = np.nanpercentile(means, [2.5, 97.5], axis=-1)
    return Band(mean, low, high)


def mean_std_interval(scores: Sequence[float], seed: int = 0) -> tuple[float, float, float, float]:
    """Mean, sample standard deviation (ddof = 1) and the limits of the mean's 95 % bootstrap interval.

    One single score has no deviation, and fewer than three have no limits: they are NaN. No score: ValueError.
    """
    values = np.asarray(scores, dtype=np.float64)  # [n]
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"`scores` must be a list with at least one number, got shape {values.shape}")
    mean = float(values.mean())
    std = float(values.std(ddof=1)) if values.size > 1 else math.nan
    if values.size < SMALLEST_SAMPLE:
        return mean, std, math.nan, math.nan
    means = _resampled([values], np.mean, RESAMPLES_OF_GAMES, seed).bootstrap_distribution
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, std, float(low), float(high)


def interquartile_mean(scores: np.ndarray) -> float:
    """The mean of the middle half of all `scores`, of whatever shape."""
    from scipy.stats import trim_mean

    return float(trim_mean(scores, 0.25, axis=None))


def interval_of_mean(scores: np.ndarray, resample: Resample = "runs") -> tuple[float, float]:
    """The limits of the 95 % percentile bootstrap interval of the mean of `scores` [runs, units].

    `runs` resamples whole runs, whose units share a network. `units` resamples the runs of every unit (task, pair,
    switch) by itself: the stratified bootstrap of Agarwal et al. 2021, "Deep reinforcement learning at the edge of the
    statistical precipice". Fewer than three runs have no interval.
    """

    def mean(*units: np.ndarray, axis: int) -> np.ndarray:
        return np.concatenate(units, axis).mean(axis)

    if len(scores) < SMALLEST_SAMPLE:
        return math.nan, math.nan
    limits = _resampled([*scores.T], mean, RESAMPLES, paired=resample == "runs").confidence_interval
    return float(limits.low), float(limits.high)


def students_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval (Student's t); fewer than three values have no width."""
    from scipy.special import stdtrit

    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) < SMALLEST_SAMPLE:
        return float(numbers.mean()), math.nan
    error = float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    return float(numbers.mean()), float(stdtrit(len(numbers) - 1, 0.975)) * error


def statistics(values: Iterable[float]) -> dict[str, float | None]:
    """Count, mean, sample standard deviation (ddof = 1), least and greatest; None where there are too few values."""
    numbers = np.array(list(values), dtype=np.float64)
    if not len(numbers):
        return {"count": 0, "mean": None, "stdev": None, "min": None, "max": None}
    stdev = float(numbers.std(ddof=1)) if len(numbers) > 1 else None
    return {
        "count": len(numbers),
        "mean": float(numbers.mean()),
        "stdev": stdev,
        "min": float(numbers.min()),
        "max": float(numbers.max()),
    }


def without_nan(value: Any) -> Any:
    """`value` with None for every number that is not finite, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --------------------------------------------------------------------------------------------------- a human's scale


def human_normalised(env_id: str, score: float) -> float | None:
    """`(score - random) / (human - random)`: 0 is a random player, 1 the published human; None where no score is known.

    `env_id` is an environment id (`ALE/SpaceInvaders-v5`) or a game's name in either spelling (`SpaceInvaders`,
    `space_invaders`). The reference scores, of the unmodified games, and their source are in `atari_scores.json`.
    """
    reference = _reference_scores().get(_game_key(env_id))
    if reference is None:
        return None
    random_score, human_score = reference
    return (score - random_score) / (human_score - random_score)


def _game_key(env_id: str) -> str:
    """The same key for every spelling: `ALE/MsPacman-v5`, `MsPacmanNoFrameskip-v4`, `ms_pacman` -> `mspacman`."""
    game = re.sub(r"-v\d+$", "", env_id.removeprefix("ALE/"))
    game = re.sub(r"(NoFrameskip|Deterministic)$", "", game)
    return re.sub(r"[^a-z0-9]", "", game.lower())


@functools.cache
def _reference_scores() -> dict[str, tuple[float, float]]:
    folder = resources.files("continual_hackatari.reporting")
    text = folder.joinpath("atari_scores.json").read_text(encoding="utf-8")
    return {_game_key(game): (entry["random"], entry["human"]) for game, entry in json.loads(text)["scores"].items()}
