"""The files of an evaluation: games.csv, per_life.csv and summary.json."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from continual_hackatari.agents import RewardScaler
from continual_hackatari.reporting.statistics import statistics, without_nan
from continual_hackatari.training.checkpoints import Checkpoint, CheckpointError
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.game_report import (
    Life,
    discounted_returns,
    failure_statistics,
    game_columns,
    known_returns,
    value_error,
)
from continual_hackatari.training.playing import PlayedGame
from continual_hackatari.training.summary import Result


class ValueTarget(NamedTuple):
    """What a checkpoint's value head was trained to foretell: the discounted sum of scaled rewards of an episode."""

    gamma: float
    scaling: str | None
    """as in the training, None where the checkpoint does not say"""
    variance: float | None
    """with scaling `normalize`: of the discounted returns, None where the checkpoint does not say"""
    episodic_life: bool
    """an episode is a life, not a game"""

    @property
    def scale_known(self) -> bool:
        """Whether the unit of the values is known."""
        return self.scaling in ("clip", "none") or (self.scaling == "normalize" and self.variance is not None)

    def scaled(self, rewards: np.ndarray) -> np.ndarray:
        """Rewards as the value head knows them, or as the game gives them where the scale is not known."""
        if not self.scale_known:
            return rewards
        scaler = RewardScaler(1, self.gamma, str(self.scaling))
        scaler.variance = 1.0 if self.variance is None else self.variance
        return scaler.scale(rewards)


class Evaluation(NamedTuple):
    """All games of one checkpoint with one evaluation seed."""

    agent_path: str
    global_step: int | None
    seed: int
    deterministic: bool
    target: ValueTarget | None
    """None: the agent learned from other rewards than the game's"""
    games: dict[str, list[PlayedGame]]
    """per modification string, in the order of the games"""


def value_target(checkpoint: Checkpoint) -> ValueTarget | None:
    """What the value head was trained to foretell; None if it was not the game's rewards.

    Raises:
        CheckpointError: the checkpoint holds an impossible value.
    """
    reward_file, scaling = (checkpoint.args.get(name) for name in ("new_rf", "reward_scaling"))
    if (isinstance(reward_file, str) and reward_file) or checkpoint.args.get("her") is True:
        return None
    variance = checkpoint.extra.get("reward_variance")
    if variance is not None and not (type(variance) is float and 0 <= variance < float("inf")):
        raise CheckpointError(f"`reward_variance` is {variance!r} in the checkpoint, where a positive number belongs")
    gamma = checkpoint.args.get("gamma", 0.99)
    if type(gamma) not in (int, float) or not 0 <= gamma <= 1:
        raise CheckpointError(f"`gamma` is {gamma!r} in the checkpoint, where a number from 0 to 1 belongs")
    return ValueTarget(
        gamma=gamma,
        scaling=scaling if isinstance(scaling, str) else None,
        variance=variance,
        episodic_life=checkpoint.args.get("deactivate_episodic_life") is not True,
    )


def mean_and_std(evaluations: Sequence[Evaluation]) -> tuple[float, float]:
    """Mean and sample deviation of the scores of all games; of one game there is no deviation, NaN."""
    scores = [game.record.score for one in evaluations for games in one.games.values() for game in games]
    return float(np.mean(scores)), float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan


def write_games(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """games.csv: one row per game; `length` in agent steps, `lives` lost."""
    rows: list[list[Any]] = []
    more: dict[str, Any] = {}
    for one in evaluations:
        for string, games in one.games.items():
            for number, game in enumerate(games):
                more = {**game_columns(game.trace, game.lives), "agent_path": one.agent_path}
                row = [string, number, game.record.score, game.record.length, game.record.lives]
                rows.append([*row, int(one.deterministic), one.seed, one.global_step, *more.values()])
    heading = ["modification", "game", "score", "length", "lives", "deterministic", "seed", "global_step", *more]
    write_csv(path, heading, rows)


def write_lives(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """per_life.csv: one row per life of every game of games.csv; a game without lives is one."""
    heading = ["seed", "deterministic", "modification", "game_index", "life_index", *Life._fields]
    rows = [
        [one.seed, int(one.deterministic), string, number, index, *life, one.global_step, one.agent_path]
        for one in evaluations
        for string, games in one.games.items()
        for number, game in enumerate(games)
        for index, life in enumerate(game.lives)
    ]
    write_csv(path, [*heading, "global_step", "agent_path"], rows)


def write_csv(path: Path, heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A CSV file that appears whole or not at all; None is an empty cell."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([heading, *rows])


def write_summary(
    path: Path, settings: Mapping[str, Any], evaluations: Sequence[Evaluation], results: Sequence[Result]
) -> None:
    """summary.json: settings, the table, mean and deviation over all games, and details per agent, seed and string."""
    paths = list(dict.fromkeys(one.agent_path for one in evaluations))
    mean, std = mean_and_std(evaluations)
    summary = {
        "agent_path": paths[0] if len(paths) == 1 else paths,
        **settings,
        "global_step": evaluations[0].global_step if len(paths) == 1 else None,
        "results": [result._asdict() for result in results],
        "mean": mean,
        "std": std,
        "evaluations": [
            {
                "agent_path": one.agent_path,
                "global_step": one.global_step,
                "seed": one.seed,
                "deterministic": one.deterministic,
                "modification": string,
                **details(games, one.target),
            }
            for one in evaluations
            for string, games in one.games.items()
        ],
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(without_nan(summary), indent=2, allow_nan=False) + "\n")


def details(games: Sequence[PlayedGame], target: ValueTarget | None) -> dict[str, Any]:
    """What summary.json says about one agent's games under one string with one seed."""
    lives = [game.lives for game in games]
    return {
        "per_game_rewards": statistics(game.record.score for game in games),
        "per_game_lengths": statistics(game.record.length for game in games),
        "per_life_rewards": statistics(life.reward for own in lives for life in own),
        "per_life_lengths": statistics(life.length for own in lives for life in own),
        "failure_stats": failure_statistics(lives),
        "action_entropy": float(np.concatenate([game.trace.entropies for game in games]).mean()),
        "value_error": None if target is None else value_error_of(games, target),
    }


def value_error_of(games: Sequence[PlayedGame], target: ValueTarget) -> dict[str, Any]:
    """`value_error` over all steps whose return is known, and what it was computed with.

    Where the checkpoint does not say how rewards were scaled, only the correlation can be told.
    """
    values, returns = [], []
    for game in games:
        lengths = game.record.life_lengths if target.episodic_life else (game.record.length,)
        own, left = discounted_returns(target.scaled(game.trace.rewards), lengths, target.gamma)
        known = known_returns(left, lengths[-1], target.gamma, game.trace.cut_short)
        values.append(game.trace.values[known])
        returns.append(own[known])
    errors = value_error(np.concatenate(values), np.concatenate(returns))
    if not target.scale_known:
        errors = {name: number if name == "correlation" else None for name, number in errors.items()}
    return {"steps": sum(map(len, values)), **target._asdict(), **errors}
