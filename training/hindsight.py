"""Hindsight on rollouts: their second half, under goals that were reached; `agents/hindsight.py` says what it is."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from continual_hackatari.agents import RewardScaler
from continual_hackatari.agents.acceleration import ActingAgent
from continual_hackatari.agents.hindsight import (
    Relabelling,
    RewardRule,
    goal_rewards,
    importance_weights,
    reevaluate,
    relabel,
    show_goals,
)
from continual_hackatari.training.ranks import ALONE, Ranks
from continual_hackatari.training.rollouts import Cut, Rollout, scale_rewards, to_device
from continual_hackatari.wrappers.goals import Goal


def fill_relabelled_half(
    rollout: Rollout,
    goal: Goal,
    acting_agent: ActingAgent,
    done: np.ndarray,
    last: Tensor,
    cuts: list[Cut],
    *,
    failures_only: bool = True,
    importance_clip: float = 0.0,
) -> Relabelling:
    """Fill the columns N to 2N - 1 of the first T steps of a rollout: what was played, under the goals it reached.

    done: bool [T, N]. last: the N observations after the rollout. cuts: (t, games, their last observations, values),
    where play was cut; added to it are the same of the columns from N on, and what follows their step T - 1.
    failures_only: see `relabel`. importance_clip: the most that importance weights are; 0: there are none.
    """
    assert rollout.goals is not None
    assert rollout.relabelled is not None
    steps, games = done.shape
    played, second, device = np.s_[:steps, :games], np.s_[:steps, games:], rollout.goals.device
    relabelling = relabel(rollout.achieved[:steps], done, goal.target, goal.reached, failures_only)
    rollout.relabelled[second] = changed = to_device(relabelling.changed, device)
    rollout.goals[second] = to_device(goal.grey(relabelling.goals), device)
    rollout.actions[second] = rollout.actions[played]
    new = reevaluate(
        acting_agent.evaluate,
        rollout.observations[:steps].flatten(0, 1),
        rollout.actions[second].flatten(),
        rollout.goals[second].flatten(0, 1),
    )
    for of_rows, anew in zip((rollout.log_probs, rollout.values), new, strict=True):
        of_rows[second] = torch.where(changed, anew.view(steps, games), of_rows[played])
    for t, ended, seen, _ in [(steps - 1, np.arange(games), last, last), *cuts]:
        seen = show_goals(seen.clone(), rollout.goals[t, games + torch.from_numpy(ended).to(device)])
        cuts.append((t, games + ended, seen, acting_agent.value(seen)))
    if rollout.weights is not None:
        rollout.weights[second] = importance_weights(
            rollout.log_probs[second], rollout.log_probs[played], changed, importance_clip
        )
    return relabelling


def scale_halves(
    rule: RewardRule,
    rewards: np.ndarray,
    done: np.ndarray,
    relabelling: Relabelling,
    scalers: tuple[RewardScaler, RewardScaler],
    ranks: Ranks = ALONE,
) -> np.ndarray:
    """Scaled rewards float32 [T, 2N] of a rollout and its relabelled half, from the game's own and `done`, [T, N].

    Each half has its own scaler; with the rule `game` the first half is what there would be without hindsight.
    """
    played, relabelled = goal_rewards(rewards, relabelling, rule)
    as_played = scale_rewards(scalers[0], played, done, ranks)
    anew = scale_rewards(scalers[1], relabelled, relabelling.ends, ranks, counted=relabelling.changed)
    return np.hstack([as_played, np.where(relabelling.changed, anew, as_played)])


def join_relabelling(relabelling: Relabelling, ranks: Ranks) -> Relabelling:
    """That of all ranks' games, for its shares."""
    goals, *flags = relabelling
    return Relabelling(goals, *(ranks.join_games(array) for array in flags))
