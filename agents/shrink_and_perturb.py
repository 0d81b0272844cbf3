"""Shrink and perturb: make a network that has learned one task able to learn the next."""

from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from continual_hackatari.agents.actor_critic import ActorCritic
from continual_hackatari.agents.errors import AgentError

NOISES = ("gaussian", "initialiser")
OPTIMIZER_STATES = ("keep", "reset")


@torch.no_grad()
def shrink_and_perturb(
    agent: ActorCritic,
    optimizer: Optimizer | None,
    *,
    shrink_factor: float,
    noise_scale: float,
    noise: Literal["gaussian", "initialiser"] = "gaussian",
    optimizer_state: Literal["keep", "reset"] = "keep",
    generator: torch.Generator,
) -> None:
    """Shrink all parameters and add noise, in place: `theta <- shrink_factor * theta + noise_scale * noise`.

    Parameters that are frozen (`requires_grad` False) stay as they are.

    Ash and Adams 2020, "On Warm-Starting Neural Network Training", https://arxiv.org/abs/1910.08475.

    noise: `gaussian` is a standard normal number per parameter, weights and biases alike, the same scale in all layers.
        `initialiser` is a freshly initialised agent of the same kind, so that every layer is perturbed at the scale it
        started from (the policy head little, biases not at all), as the paper's authors do it.
    optimizer_state: `keep` leaves the moments as they are, estimated on the old weights; `reset` forgets them as a new
        optimizer would, the learning rate and all other settings stay. `optimizer` may be None with `keep`.
    generator: a CPU generator of its own, so that switching this on does not shift any other randomness of the run.

    `shrink_factor=1, noise_scale=0` changes no bit. Raises AgentError for values outside the allowed ones.
    """
    _check(shrink_factor, noise_scale, noise, optimizer_state, optimizer)
    if noise_scale != 0:  # adding 0 * noise would turn -0.0 into 0.0 and draw numbers for nothing
        noises = _noise_per_parameter(agent, noise, generator)
        for parameter, drawn in zip(agent.parameters(), noises, strict=True):
            if parameter.requires_grad:
                # In place: the optimizer holds on to these very tensors.
                parameter.mul_(shrink_factor).add_(drawn.to(parameter), alpha=noise_scale)
    else:
        for parameter in agent.parameters():
            if parameter.requires_grad:
                parameter.mul_(shrink_factor)
    if optimizer is not None and optimizer_state == "reset":
        optimizer.state.clear()  # the next step builds it anew: moments zero, step count zero


def _noise_per_parameter(agent: ActorCritic, noise: str, generator: torch.Generator) -> list[Tensor]:
    if noise == "initialiser":
        return list(agent.fresh_copy(generator).parameters())
    # Drawn on the CPU in float32 so that one seed gives the same noise on every device.
    return [torch.randn(parameter.shape, generator=generator) for parameter in agent.parameters()]


def _check(
    shrink_factor: float, noise_scale: float, noise: str, optimizer_state: str, optimizer: Optimizer | None
) -> None:
    if not 0 <= shrink_factor <= 1:
        raise AgentError(
            f"`shrink_factor` is {shrink_factor}; allowed is 0 (forget everything) to 1 (keep everything)."
        )
    if not 0 <= noise_scale < float("inf"):
        raise AgentError(f"`noise_scale` is {noise_scale}; allowed is 0 (no noise) or any positive number.")
    if noise not in NOISES:
        raise AgentError(f"`noise` is {noise!r}; allowed is {' or '.join(NOISES)}.")
    if optimizer_state not in OPTIMIZER_STATES:
        raise AgentError(f"`optimizer_state` is {optimizer_state!r}; allowed is {' or '.join(OPTIMIZER_STATES)}.")
    if optimizer is None and optimizer_state == "reset":
        raise AgentError("`optimizer_state` is 'reset', but there is no optimizer to reset; pass it, or use 'keep'.")
