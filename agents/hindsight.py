"""Hindsight: learn a second time from every rollout, under the goals that it did reach.

Andrychowicz et al. 2017, "Hindsight Experience Replay", https://arxiv.org/abs/1707.01495, with its strategy `final`,
for an on-policy learner. A rollout of T steps of N games becomes `[T, 2N]`: columns 0 to N - 1 are what was played,
with the desired goal; column N + n is game n again, with the same frames and actions under another goal:

1. Each game's steps fall into segments; one ends where `done` is true or with the rollout (`segment_ends`). The goal
   of a segment becomes what was achieved at its last step (`relabel`).
2. Rewards of both halves follow one rule (`goal_rewards`), so that reward is one function of state, action and goal.
3. Values and log-probabilities are computed anew under the new goal, with the weights that the update starts from
   (`reevaluate`), advantages from these values and rewards.
4. Minibatches are drawn from all 2TN rows. Advantages are centred in each half by itself (`normalise_halves`): a
   common mean would call everything that was played for a goal seldom reached bad, whatever was done.

A segment that was at its new goal in *every* step keeps the desired goal: nothing in it was done to reach the new one,
and all it could teach is that every step pays the same.

**What the probability ratio means.** In the first half all is on-policy: actions were drawn from pi_old(a | s, g), and
PPO's ratio pi(a | s, g) / pi_old(a | s, g) corrects for the small change of pi during the update. In the second half
the ratio is pi(a | s, g') / pi_old(a | s, g'). It starts at 1 and bounds, as always, how far the policy under g' moves.
But the actions were drawn under g, not g', and the states were visited under g: this half is off-policy and its
gradient biased, the less so the less the policy depends on the goal. `importance_weights` gives the factor
pi_old(a | s, g') / pi_old(a | s, g), clipped from above, which corrects how each step's action was chosen. It corrects
neither which states were visited nor the later steps inside an advantage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.errors import AgentError

CHUNK = 512  # rows per forward pass of `reevaluate`: bounds its memory, big enough to keep the cores busy


class Relabelling(NamedTuple):
    """The second half of a rollout of T steps of N games."""

    goals: NDArray[Any]
    """[T, N, G]: the goal of each step"""
    reached: NDArray[np.bool_]
    """[T, N]: the step is at that goal"""
    desired_reached: NDArray[np.bool_]
    """[T, N]: the step is at the desired goal (the first half)"""
    changed: NDArray[np.bool_]
    """[T, N]: its segment has a new goal; False where it keeps the desired one"""

    @property
    def shares(self) -> dict[str, float]:
        """Share of steps at their goal in either half (in the second among those with a new goal), and of new goals."""
        at_new_goal = self.reached[self.changed]
        return {
            "original_reached": float(self.desired_reached.mean()),
            "relabelled_reached": float(at_new_goal.mean()) if at_new_goal.size else 0.0,
            "relabelled": float(self.changed.mean()),
        }


def segment_ends(done: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The last step of the segment that each step belongs to, int64 [T, N], from `done` bool [T, N].

    Done at steps 1 and 2 of 5 gives 1 1 2 4 4: the last segment ends with the rollout.
    """
    if done.ndim != 2:
        raise AgentError(f"`segment_ends` needs `done` of shape [T, N], got {list(done.shape)}.")
    last = len(done) - 1
    ends = np.where(done, np.arange(len(done))[:, None], last)
    return np.minimum.accumulate(ends[::-1])[::-1]


def relabel(
    achieved: NDArray[Any],
    done: NDArray[np.bool_],
    desired: NDArray[Any],
    reached: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.bool_]],
) -> Relabelling:
    """New goals of a rollout: what each segment achieved at its end.

    achieved: [T, N, G], what held after each step, before whatever followed the end of an episode.
    done: bool [T, N], the next row does not continue this one. desired: [G], the goal played for.
    reached: (achieved [..., G], goal [..., G]) -> bool [...], broadcasting. Raises AgentError when shapes differ.
    """
    if achieved.ndim != 3 or achieved.shape[:2] != done.shape or achieved.shape[2:] != desired.shape:
        raise AgentError(
            f"`relabel` needs `achieved` [T, N, G], `done` [T, N] and `desired` [G], got the shapes "
            f"{list(achieved.shape)}, {list(done.shape)} and {list(desired.shape)}."
        )
    ends, games = segment_ends(done), np.arange(done.shape[1])[None, :]
    final = achieved[ends, games]  # [T, N, G]
    misses = np.zeros(done.shape, np.int64)  # at a segment's last step: how many of its steps are not at `final`
    np.add.at(misses, (ends, np.broadcast_to(games, ends.shape)), ~reached(achieved, final))
    changed = misses[ends, games] > 0
    goals = np.where(changed[..., None], final, desired)
    return Relabelling(goals, reached(achieved, goals), reached(achieved, desired), changed)


def goal_rewards(rewards: NDArray[Any], reached: NDArray[np.bool_]) -> NDArray[Any]:
    """Unscaled rewards as they count for a goal: `(reward + 1) * 2` at the goal, else `reward`. Any shape."""
    return np.where(reached, (rewards + 1) * 2, rewards)


def show_goals(observations: Tensor, goals: Tensor) -> Tensor:
    """Overwrite the last G planes of `observations` [B, planes, ...] by `goals` [B, G] (grey levels); returns them."""
    planes = goals.view(*goals.shape, *[1] * (observations.dim() - 2))
    observations[:, -goals.shape[1] :] = planes
    return observations


# In a rollout with both halves, row t * 2N + n is step t of game n, and row t * 2N + N + n the same under its new goal.
# Frames are stored once, [T, N, planes, ...]; so `rows` of any minibatch take the frames of `frame_rows` and their own
# goals. The halves lie side by side, not one after the other, so that a shorter last rollout still has no gap.


def frame_rows(rows: Tensor, num_envs: int) -> Tensor:
    """Where the frames of `rows` lie among the T * N that are stored, int64 [B]; row t * N + n is step t of game n."""
    return rows // (2 * num_envs) * num_envs + rows % num_envs  # N divides 2N, so rows % N is the game


def is_relabelled(rows: Tensor, num_envs: int) -> Tensor:
    """Which `rows` belong to the second half, bool [B]."""
    return rows % (2 * num_envs) >= num_envs


@torch.no_grad()
def reevaluate(
    evaluate: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], observations: Tensor, actions: Tensor, goals: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of `actions` [B] and values [B] of `observations` [B, planes, ...] under `goals` [B, G].

    evaluate: (observations, actions) -> (log-probabilities, values), with the weights that the update starts from.
    """
    parts = zip(observations.split(CHUNK), actions.split(CHUNK), goals.split(CHUNK), strict=True)
    results = [evaluate(show_goals(seen.clone(), goal), action) for seen, action, goal in parts]
    log_probs, values = zip(*results, strict=True)
    return torch.cat(log_probs), torch.cat(values)


def importance_weights(new_log_probs: Tensor, played_log_probs: Tensor, clip: float) -> Tensor:
    """pi_old(a | s, g') / pi_old(a | s, g), at most `clip`; any shape."""
    return (new_log_probs - played_log_probs).exp().clamp(max=clip)


def normalise_halves(advantages: Tensor, relabelled: Tensor) -> Tensor:
    """`advantages` [B] centred among the rows as played and among the `relabelled` ones (bool [B]), at a common scale.

    The scale is the deviation of all centred rows, so that a half in which nothing was earned stays small: on a scale
    of its own, the errors of its values would count as much as the other's successes.
    """
    centres = means_of_halves(advantages, relabelled)
    centred = advantages - torch.where(relabelled, centres[1], centres[0])
    return centred / (centred.square().mean().sqrt() + 1e-8)


def means_of_halves(per_row: Tensor, relabelled: Tensor) -> list[Tensor]:
    """Mean of `per_row` [B] over the rows as played and over the relabelled ones; 0 where there are none."""
    return [(per_row * half).sum() / half.sum().clamp(min=1) for half in (~relabelled, relabelled)]
