"""Generalised advantage estimation, and how much of what came the values foresaw."""

import torch
from torch import Tensor

from continual_hackatari.agents.errors import AgentError


@torch.no_grad()
def generalised_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    done: Tensor,
    gamma: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:
    """Advantages and returns of a rollout (Schulman et al. 2016, https://arxiv.org/abs/1506.02438).

    All tensors are `[T, N]`: step t of environment n.

    | argument | meaning |
    |---|---|
    | `rewards` | reward of the step |
    | `values` | V of the observation the step acted on |
    | `next_values` | V of the observation the step led to: an episode's final one, not the first after the reset |
    | `terminated` | the episode ended in the game itself: nothing follows, `next_values` is not used |
    | `done` | the next row does not continue this one: terminated, truncated, or cut by a switch |

    With `delta_t = r_t + gamma * V(s_t+1) * (1 - terminated_t) - V(s_t)`, advantages are
    `A_t = delta_t + gamma * lambda * (1 - done_t) * A_t+1` (the sum ends with the rollout) and returns `A_t + V(s_t)`.
    So a truncated or cut step is bootstrapped with the value of where it led, and no reward counts across a border.

    Returns `(advantages, returns)`, both `[T, N]`. Raises AgentError when the shapes differ.
    """
    shapes = {tuple(t.shape) for t in (rewards, values, next_values, terminated, done)}
    if len(shapes) != 1 or rewards.dim() != 2:
        # Broadcasting would accept [T, N] beside [T, N, 1] and return plausible nonsense of shape [T, T, N].
        raise AgentError(f"`generalised_advantages` needs five tensors of one shape [T, N], got the shapes {shapes}.")
    # Selected rather than multiplied by 0, so that even an infinite value behind a game's end cannot reach the sum.
    bootstrap = torch.where(terminated.bool(), 0.0, next_values)
    deltas = rewards + gamma * bootstrap - values
    decay = gamma * gae_lambda * (~done.bool()).to(values.dtype)
    advantages = torch.empty_like(deltas)
    following = torch.zeros_like(deltas[0])  # A_t+1 of each environment
    for t in range(len(deltas) - 1, -1, -1):
        following = torch.addcmul(deltas[t], decay[t], following, out=advantages[t])
    return advantages, advantages + values


def explained_variance(returns: Tensor, values: Tensor) -> dict[str, float]:
    """1 for perfect values, 0 for those no better than a constant, by its name; nothing where all returns are alike."""
    variance = returns.var(correction=0)
    explained = 1 - (returns - values).var(correction=0) / variance
    return {"losses/explained_variance": explained.item()} if variance > 0 else {}
