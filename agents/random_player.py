"""The floor of every comparison: a player that looks at nothing and draws each action uniformly."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class RandomPlayer(nn.Module):
    """Every action is equally likely, with `deterministic` too: no action is the best one of a player that knows none.

    Args:
        num_actions: of the game.
    """

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.num_actions = num_actions

    def act(self, x: Tensor, *, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Actions `[B]`."""
        return torch.randint(self.num_actions, (len(x),), generator=generator, device=x.device)

    def describe(self, x: Tensor) -> dict[str, Tensor]:
        """Its entropy `[B]`; it expects nothing, so it has no value."""
        return {"entropy": torch.full((len(x),), math.log(self.num_actions), device=x.device)}
