"""A method of somebody's own, which does next to nothing at every moment: halves gradients, and counts."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from continual_hackatari.methods.moments import Boundary, Changed, Method, Rows


class HalfRate(Method):
    @dataclass(frozen=True)
    class Settings:
        share: float = 0.5
        """of each gradient that is left"""

    ranges = {"share": (0, 1)}  # noqa: RUF012

    def begin(self) -> None:
        self.calls = dict.fromkeys(("rows", "loss", "gradients", "weights", "before_boundary", "boundary"), 0)

    def rows(self, rows: Rows) -> None:
        self.calls["rows"] += rows.rewards.size

    def loss(self, observations: Tensor, outputs: Mapping[str, Tensor], hidden: Sequence[Tensor]) -> Tensor:
        self.calls["loss"] += 1
        return next(iter(outputs.values())).new_zeros(())

    def gradients(self) -> None:
        self.calls["gradients"] += 1
        for parameter in self.learner.agent.parameters():
            parameter.grad.mul_(self.settings.share)

    def weights(self, hidden: Sequence[Tensor]) -> None:
        self.calls["weights"] += 1

    def before_boundary(self, boundary: Boundary) -> None:
        self.calls["before_boundary"] += 1

    def boundary(self, boundary: Boundary) -> Changed:
        self.calls["boundary"] += 1
        return Changed()

    @classmethod
    def playing(cls, settings: Any, agent: Any, task: str) -> Any:
        """Plays nothing but action 1 under black cars."""
        if task != "all_black_cars":
            return agent
        part = copy.deepcopy(agent)
        with torch.no_grad():
            part.actor.weight.zero_()
            part.actor.bias.copy_(torch.tensor([0.0, 100.0, 0.0]))
        return part

    def numbers(self) -> dict[str, float]:
        return {name: float(number) for name, number in self.calls.items()}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.calls)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.calls = dict(state)


METHOD = HalfRate
