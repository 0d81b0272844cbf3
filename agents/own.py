"""Agents that are not this project's: classes that somebody names, as `package.module:Class`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import torch

from continual_hackatari.agents.actor_critic import ActorCritic
from continual_hackatari.agents.errors import AgentError

_OTHER_NUMBERS = 0x5EED
"""Makes of a seed another one, so that frozen weights are not made of the numbers that trained ones are drawn from."""


def is_own(architecture: str) -> bool:
    """Whether this names a class, and none of this project's agents."""
    return ":" in architecture


def imported_class(name: str) -> Any:
    """The class that `package.module:Class` names. Raises AgentError where there is none."""
    module_name, _, class_name = name.partition(":")
    if module_name.endswith(".py"):
        path = PurePath(module_name.removesuffix(".py"))
        inside = not path.is_absolute() and ".." not in path.parts
        right = f"{'.'.join(path.parts) if inside else path.name}:{class_name}"
        folder = "" if inside else f", with PYTHONPATH={path.parent}"
        raise AgentError(f"`architecture` {name!r} names a file, and a module is wanted; write `{right}`{folder}.")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise AgentError(
            f"`architecture` {name!r}: importing `{module_name}` failed ({error}); is its folder in PYTHONPATH (for "
            "the current folder: `PYTHONPATH=. python ...`)?"
        ) from None
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        own = {each: value for each, value in vars(module).items() if isinstance(value, type)}
        classes = [each for each, value in own.items() if value.__module__ == module.__name__]
        near = difflib.get_close_matches(class_name, classes, n=1)
        advice = f"did you mean {near[0]}?" if near else f"it holds {', '.join(classes) or 'none at all'}"
        raise AgentError(f"`architecture` {name!r}: `{module_name}` holds no class `{class_name}`; {advice}")
    return found


def actor_critic_class(name: str) -> type[ActorCritic]:
    """The same for an agent that is trained as `PPO` is. Raises AgentError for another kind of agent."""
    found = imported_class(name)
    if not issubclass(found, ActorCritic):
        raise AgentError(
            f"`architecture` {name!r} is no `continual_hackatari.agents.ActorCritic`, and no other is trained here; an "
            "agent of another kind needs a training script of its own, see docs/your-own-agent.md."
        )
    return found


def shows_hidden_layers(name: str) -> bool:
    """Whether its class says which hidden layers it has, for methods that look at them."""
    return getattr(imported_class(name), "hidden_layers", None) not in (None, ActorCritic.hidden_layers)


def own_actor_critic(
    name: str, observation_shape: Sequence[int], num_actions: int, generator: torch.Generator | None
) -> ActorCritic:
    """An agent of this class, with weights that its `initialise` draws; see `make_agent`.

    What its class has frozen stays as `__init__` made it: the same for the same generator, of which it takes nothing.
    """
    build: Any = actor_critic_class(name)
    with torch.random.fork_rng(devices=()):
        if generator is not None:
            torch.default_generator.manual_seed(generator.initial_seed() ^ _OTHER_NUMBERS)
        agent: ActorCritic = build(tuple(observation_shape), num_actions)
    agent.initialise(generator)
    return agent
