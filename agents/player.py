"""What is asked of an agent of whatever kind to play with it: evaluation knows no more."""

from typing import Protocol

import torch
from torch import Tensor, nn

from continual_hackatari.agents.errors import AgentError


class Player(Protocol):
    """Chooses actions, and says numbers about what it sees. Observations `x` are `[B, *observation_shape]`.

    An agent that has both from one pass may offer `act_and_describe(x, deterministic=, generator=)` as well.
    """

    def act(self, x: Tensor, *, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Action `[B]`: the best one, or one drawn by the generator as the agent does while it learns."""

    def describe(self, x: Tensor) -> dict[str, Tensor]:
        """Numbers `[B]` by name. Known are `value` (what is to come) and `entropy` (of the choice, in nats)."""


def act_and_describe(
    agent: Player, x: Tensor, *, deterministic: bool, generator: torch.Generator | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """An agent's action `[B]` and what it says of `x`."""
    together = getattr(agent, "act_and_describe", None)
    if together is not None:
        return together(x, deterministic=deterministic, generator=generator)
    return agent.act(x, deterministic=deterministic, generator=generator), agent.describe(x)


def playing(agent: Player, task: str) -> Player:
    """What of an agent plays a modification string: all of it, unless it has been given `parts` that say otherwise."""
    for part in getattr(agent, "parts", ()):
        agent = part(agent, task)
    return agent


def player_of(agent: Player, name: str) -> Player:
    """The one of an agent's players that goes by this name; the agent itself where it is one."""
    return agent.players[name] if name else agent  # type: ignore[attr-defined]


def require_player(name: str, agent: object) -> nn.Module:
    """`agent` as a network that can play; raises AgentError where it is none. name: of its class, for the sentence."""
    missing = [method for method in ("act", "describe") if not callable(getattr(agent, method, None))]
    if not isinstance(agent, nn.Module) or missing:
        lacks = f"a method `{missing[0]}`" if missing else "the base class torch.nn.Module"
        raise AgentError(f"`architecture` {name!r} lacks {lacks}; see `agents/player.py` for what an agent needs.")
    return agent
