"""Agents and what acts on them: networks, advantages, reward scaling, shrink and perturb, continual backpropagation.

Everything here takes tensors or numbers and returns them; nothing knows about environments, files or the command line.
"""

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from continual_hackatari.agents.actor_critic import ActorCritic
from continual_hackatari.agents.advantages import generalised_advantages
from continual_hackatari.agents.continual_backprop import ContinualBackprop
from continual_hackatari.agents.errors import AgentError
from continual_hackatari.agents.mismatch import explain_mismatch
from continual_hackatari.agents.own import actor_critic_class, is_own, own_actor_critic
from continual_hackatari.agents.ppo import PPO
from continual_hackatari.agents.ppo_obj import PPOObj
from continual_hackatari.agents.reward_scaling import RewardScaler
from continual_hackatari.agents.shrink_and_perturb import shrink_and_perturb
from continual_hackatari.agents.two_columns import COLUMNS, TwoColumns

ARCHITECTURES = ("PPO", "PPO_OBJ", "PPO_CBP")
TWO_COLUMNS = "TWO_COLUMNS"
"""The agent of Progress & Compress, which no other learner trains."""

__all__ = [
    "ARCHITECTURES",
    "PPO",
    "TWO_COLUMNS",
    "ActorCritic",
    "AgentError",
    "ContinualBackprop",
    "PPOObj",
    "RewardScaler",
    "TwoColumns",
    "check_architecture",
    "explain_mismatch",
    "generalised_advantages",
    "make_agent",
    "players_of",
    "shrink_and_perturb",
]


def check_architecture(architecture: str) -> None:
    """Raise AgentError unless `make_agent` can build `architecture`."""
    if is_own(architecture):
        actor_critic_class(architecture)
    elif architecture not in ARCHITECTURES:
        near = difflib.get_close_matches(str(architecture).upper(), ARCHITECTURES, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        known = ", ".join(ARCHITECTURES)
        raise AgentError(f"`architecture`: {architecture!r} is none of {known}, and no `package.module:Class`.{hint}")


def players_of(architecture: str) -> tuple[str, ...]:
    """The names of the players that such an agent is, the first of which counts; of most it is one without a name."""
    return COLUMNS if architecture == TWO_COLUMNS else ("",)


def make_agent(
    architecture: str,
    observation_shape: Sequence[int],
    num_actions: int,
    *,
    encoder_dims: Sequence[int] = (256, 256),
    decoder_dims: Sequence[int] = (128,),
    changes: Mapping[str, Any] = MappingProxyType({}),
    generator: torch.Generator | None = None,
) -> ActorCritic:
    """Build a freshly initialised agent, on the CPU and in float32.

    architecture: `PPO` for frames (`PPO_CBP` is the same network), `PPO_OBJ` for object features, `TWO_COLUMNS`, or
        `package.module:Class` of an `ActorCritic` that is built from `observation_shape` and `num_actions`.
    observation_shape: of one game, without the batch: `(planes, 84, 84)`, for PPO_OBJ `(window, features)`.
    num_actions: size of the discrete action space.
    encoder_dims, decoder_dims: hidden layer sizes of PPO_OBJ (see `PPOObj`); PPO has no use for them.
    changes: what methods change of the network, by the names of the arguments that it goes by (see `methods/`); and
        `parts`, see `ActorCritic`.
    generator: a CPU generator for the initial weights; None draws from PyTorch's global one.

    Raises AgentError for an unknown architecture, or for sizes that it cannot be built with.
    """
    if architecture != TWO_COLUMNS:
        check_architecture(architecture)
    if num_actions < 1:
        raise AgentError(f"`num_actions` is {num_actions}; an agent needs at least one action to choose from.")
    shape = tuple(int(size) for size in observation_shape)
    network = {name: value for name, value in changes.items() if name != "parts"}
    if is_own(architecture):
        return own_actor_critic(architecture, shape, num_actions, generator)
    if architecture in ("PPO", "PPO_CBP", TWO_COLUMNS):
        if len(shape) != 3 or shape[0] < 1 or shape[1:] != (84, 84):
            raise AgentError(
                f"`architecture` {architecture} reads frames of shape (planes, 84, 84), but the observations have "
                f"shape {shape}; use obs_mode dqn, or architecture PPO_OBJ for object features."
            )
        build = TwoColumns if architecture == TWO_COLUMNS else PPO
        agent: ActorCritic = build(num_actions, num_planes=shape[0], generator=generator, **network)
    elif len(shape) != 2 or min(shape) < 1:
        raise AgentError(
            "`architecture` PPO_OBJ reads object features of shape (window, features), but the observations have "
            f"shape {shape}; use obs_mode obj, or architecture PPO for frames."
        )
    else:
        dims: Any = {"encoder_dims": encoder_dims, "decoder_dims": decoder_dims}
        agent = PPOObj(num_actions, shape[0], shape[1], **dims, generator=generator, **network)
    agent.parts = changes.get("parts", agent.parts)
    return agent
