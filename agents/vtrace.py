"""V-trace: values and advantages of steps that another policy chose."""

from typing import NamedTuple

import torch
from torch import Tensor

from continual_hackatari.agents.errors import AgentError


class VTrace(NamedTuple):
    """What a rollout says of its steps, `[T, N]` each, without gradients."""

    targets: Tensor
    """what the values should be; `vs` in the paper"""
    advantages: Tensor


@torch.no_grad()
def vtrace(
    log_ratios: Tensor,
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    done: Tensor,
    gamma: float,
    *,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
    lambda_: float = 1.0,
) -> VTrace:
    """Targets and advantages (Espeholt et al. 2018, "IMPALA", https://arxiv.org/abs/1802.01561).

    All tensors are `[T, N]`: step t of environment n.

    | argument | meaning |
    |---|---|
    | `log_ratios` | log-probability of the step's action now, minus that when it was chosen |
    | `rewards`, `values`, `next_values`, `terminated`, `done` | as of `generalised_advantages` |
    | `rho_bar` | bound of the ratios that weigh errors; it decides whose values are learned |
    | `c_bar` | bound of the ratios that pass errors on to earlier steps; it decides how fast |

    With `rho_t = min(rho_bar, ratio_t)` and `c_t = lambda * min(c_bar, ratio_t)`, errors are
    `delta_t = rho_t * (r_t + gamma * V(s_t+1) * (1 - terminated_t) - V(s_t))`, targets are `vs_t = V(s_t) + E_t` with
    `E_t = delta_t + gamma * (1 - done_t) * c_t * E_t+1` (the sum ends with the rollout), and advantages are
    `rho_t * (r_t + gamma * follows_t * (1 - terminated_t) - V(s_t))`. There `follows_t` is `vs_t+1`, or `V(s_t+1)`
    where the next row does not continue this one: a truncated or cut step is bootstrapped with the value of where it
    led.

    Where the policy has not changed, all ratios are 1, and these are the returns and advantages of
    `generalised_advantages` with lambda 1. Raises AgentError when the shapes differ.
    """
    shapes = {tuple(t.shape) for t in (log_ratios, rewards, values, next_values, terminated, done)}
    if len(shapes) != 1 or rewards.dim() != 2:
        # Broadcasting would accept [T, N] beside [T, N, 1] and return plausible nonsense of shape [T, T, N].
        raise AgentError(f"`vtrace` needs six tensors of one shape [T, N], got the shapes {shapes}.")
    ratios = log_ratios.exp()
    rhos, ends = ratios.clamp(max=rho_bar), terminated.bool()
    # Selected rather than multiplied by 0, so that even an infinite value behind a game's end cannot reach the sum.
    deltas = rhos * (rewards + gamma * torch.where(ends, 0.0, next_values) - values)
    decay = gamma * lambda_ * ratios.clamp(max=c_bar) * (~done.bool()).to(values.dtype)
    errors = torch.empty_like(deltas)
    following = torch.zeros_like(deltas[0])  # E_t+1 of each environment
    for t in range(len(deltas) - 1, -1, -1):
        following = torch.addcmul(deltas[t], decay[t], following, out=errors[t])
    targets = values + errors
    follows = next_values.clone()
    follows[:-1] = torch.where(done[:-1].bool(), next_values[:-1], targets[1:])
    advantages = rhos * (rewards + gamma * torch.where(ends, 0.0, follows) - values)
    return VTrace(targets, advantages)
