"""Scores: human-normalised values and the uncertainty of a mean."""

import functools
import json
import math
import re
from collections.abc import Sequence
from importlib import resources

import numpy as np

BOOTSTRAP_RESAMPLES = 10_000


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
    text = resources.files(__package__).joinpath("atari_scores.json").read_text(encoding="utf-8")
    return {_game_key(game): (entry["random"], entry["human"]) for game, entry in json.loads(text)["scores"].items()}


def mean_std_interval(scores: Sequence[float], seed: int = 0) -> tuple[float, float, float, float]:
    """Mean, sample standard deviation (ddof = 1) and the limits of the mean's 95 % bootstrap interval.

    The interval holds the 2.5th to 97.5th percentile of the means of 10,000 resamples, drawn by a generator of its own
    (`seed`). One single score says nothing about the spread: deviation and limits are then NaN. No score: ValueError.
    """
    values = np.asarray(scores, dtype=np.float64)  # [n]
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"`scores` must be a list with at least one number, got shape {values.shape}")
    mean = float(values.mean())
    if values.size == 1:
        return mean, math.nan, math.nan, math.nan
    generator = np.random.default_rng(seed)
    means = np.empty(BOOTSTRAP_RESAMPLES)
    block = 100  # resamples at a time, so that thousands of scores need little memory
    for start in range(0, BOOTSTRAP_RESAMPLES, block):
        chosen = generator.integers(values.size, size=(block, values.size))
        means[start : start + block] = values[chosen].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, float(values.std(ddof=1)), float(low), float(high)
