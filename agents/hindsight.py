"""Hindsight: learn a second time from every rollout, under the goals that it did reach.

Andrychowicz et al. 2017, "Hindsight Experience Replay", https://arxiv.org/abs/1707.01495, with its strategy `final`,
for an on-policy learner. A rollout of T steps of N games becomes `[T, 2N]`: columns 0 to N - 1 are what was played,
with the desired goal; column N + n is game n again, with the same frames and actions under another goal:

1. Each game's steps fall into segments; one ends where `done` is true or with the rollout (`segment_ends`). The goal
   of a segment becomes what was achieved at its last step (`relabel`).
2. A relabelled step gets 1 at its new goal and else 0; what was played keeps the game's rewards (`goal_rewards`). The
   halves are scaled apart: goals are reached in many steps and scores in few, so that on a common scale a score would
   be next to nothing.
3. Values and log-probabilities are computed anew under the new goal, with the weights that the update starts from
   (`reevaluate`), advantages from these values and rewards.
4. Minibatches are drawn from all 2TN rows. Advantages are centred among the relabelled rows by themselves
   (`normalise_halves`): a common mean would call everything that was played for a goal seldom reached bad, whatever was
   done.

Two kinds of segments keep the desired goal; in the second half they are copies of what was played, rewards included.
One was at its new goal in *every* step: nothing in it was done to reach that goal, and all it could teach is that every
step pays the same. The other was at its desired goal (unless `failures_only` is off): it needs no hindsight, and a
policy that succeeds everywhere is left to PPO alone.

**What the probability ratio means.** In the first half all is on-policy: actions were drawn from pi_old(a | s, g), and
PPO's ratio pi(a | s, g) / pi_old(a | s, g) corrects for the small change of pi during the update. In relabelled rows
the ratio is pi(a | s, g') / pi_old(a | s, g'). It starts at 1 and bounds, as always, how far the policy under g' moves.
But the actions were drawn under g, not g', and the states were visited under g: these rows are off-policy and their
gradient biased, the less so the less the policy depends on the goal. `importance_weights` gives the factor
pi_old(a | s, g') / pi_old(a | s, g), clipped from above, which corrects how each step's action was chosen. It corrects
neither which states were visited nor the later steps inside an advantage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from continual_hackatari.agents.errors import AgentError

RewardRule = Literal["game", "original"]
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
    ends: NDArray[np.bool_]
    """[T, N]: the last step of a segment, and so of its goal"""

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
    failures_only: bool = True,
) -> Relabelling:
    """New goals of a rollout: what each segment achieved at its end.

    achieved: [T, N, G], what held after each step, before whatever followed the end of an episode.
    done: bool [T, N], the next row does not continue this one. desired: [G], the goal played for.
    reached: (achieved [..., G], goal [..., G]) -> bool [...], broadcasting.
    failures_only: a segment with a step at the desired goal keeps it. Raises AgentError when shapes differ.
    """
    if achieved.ndim != 3 or achieved.shape[:2] != done.shape or achieved.shape[2:] != desired.shape:
        raise AgentError(
            f"`relabel` needs `achieved` [T, N, G], `done` [T, N] and `desired` [G], got the shapes "
            f"{list(achieved.shape)}, {list(done.shape)} and {list(desired.shape)}."
        )
    ends, games = segment_ends(done), np.arange(done.shape[1])[None, :]
    desired_reached = reached(achieved, desired)
    final = achieved[ends, games]  # [T, N, G]

    def anywhere(steps: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Where a step's segment has one of these `steps`, all [T, N]."""
        number = np.zeros(done.shape, np.int64)  # how many, at a segment's last step
        np.add.at(number, (ends, np.broadcast_to(games, ends.shape)), steps)
        return number[ends, games] > 0

    changed = anywhere(~reached(achieved, final))
    if failures_only:
        changed &= ~anywhere(desired_reached)
    goals = np.where(changed[..., None], final, desired)
    return Relabelling(goals, reached(achieved, goals), desired_reached, changed, ends == np.arange(len(done))[:, None])


def goal_rewards(
    rewards: NDArray[Any], relabelling: Relabelling, rule: RewardRule = "game"
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Unscaled rewards [T, N] of the steps as played and as relabelled, from those that the game gave [T, N].

    | rule | as played | as relabelled |
    |---|---|---|
    | `game` | `reward` | 1 at the goal, else 0 |
    | `original` | `(reward + 1) * 2` at the goal, else `reward` | the same, of the new goal |

    `original` is the rule of the system that this project follows. Where a segment keeps its goal, the second array has
    no meaning: its rows are copies of what was played.
    """
    if rule == "game":
        return rewards, relabelling.reached.astype(np.float64)
    bonus = (rewards + 1) * 2
    return np.where(relabelling.desired_reached, bonus, rewards), np.where(relabelling.reached, bonus, rewards)


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


def importance_weights(new_log_probs: Tensor, played_log_probs: Tensor, changed: Tensor, clip: float) -> Tensor:
    """pi_old(a | s, g') / pi_old(a | s, g), at most `clip`, where the goal has `changed`, else 1; any shape."""
    return torch.where(changed, (new_log_probs - played_log_probs).exp().clamp(max=clip), 1.0)


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
