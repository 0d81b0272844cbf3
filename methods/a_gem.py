"""Averaged gradient episodic memory: no gradient step may make the agent forget earlier tasks, to first order.

Chaudhry et al. 2019, "Efficient Lifelong Learning with A-GEM", https://arxiv.org/abs/1812.00420.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from continual_hackatari.agents.acceleration import where_float64_is
from continual_hackatari.methods.cloning import (
    Cloning,
    distances_from_then,
    empty_memory,
    numbers_of,
    remember,
    weighted,
)
from continual_hackatari.methods.moments import Boundary, Changed, Method, Rows
from continual_hackatari.replay import Keep


class AGEM(Method):
    """Where <g, r> < 0, the gradient g becomes g - <g, r> / <r, r> r; over all weights together, before the clip.

    r is the gradient of a loss on rows of earlier tasks. PPO has no loss for rows that other weights have played, so it
    is the distance from what the agent said of them then: policy * KL(then || now) + value * (V - V_then)^2. The
    gradient of the first is that of behaviour cloning, -log pi(a), averaged over the actions that could have been
    played. Rows of the task that is trained are left out, those of earlier visits to it too.
    """

    @dataclass(frozen=True)
    class Settings(Cloning.Settings):
        samples: int = 128
        """rows of earlier tasks in every gradient step"""
        keep: Keep = "per_regime"
        """who stays when it is full, as with --replay_keep"""

    ranges = Cloning.ranges
    remembers = True
    not_with = Cloning.not_with
    room = Cloning.room

    def begin(self) -> None:
        self.memory = empty_memory(self)
        self._present: str | None = None
        """the task that is trained, once another has ended"""
        self._steps = self._projected = 0
        self._cosine = 0.0

    def rows(self, rows: Rows) -> None:
        remember(self.memory, self.learner, rows, rows.task if self._present is None else self._present)

    def gradients(self) -> None:
        if self._present is None:
            return
        weights = [weight for weight in self.learner.agent.parameters() if weight.grad is not None]
        reference = self._reference(weights)
        if reference is None:
            return
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        product, square = inner(gradients, reference), inner(reference, reference)
        self._cosine = float(product / (square * inner(gradients, gradients)).sqrt().clamp_min(1e-30))
        self._steps += 1
        if product < 0:
            self._projected += 1
            for gradient, each in zip(gradients, reference, strict=True):
                gradient.sub_((product / square).to(gradient.dtype) * each)

    def _reference(self, weights: list[Any]) -> list[Tensor] | None:
        """The gradient of the loss on earlier tasks, of the rows of all processes; None where none of them has any."""
        mine = self.memory is not None and self.memory.others(self._present) > 0
        share = float(self.learner.average(torch.tensor(float(mine), device=weights[0].device)))
        if share == 0:
            return None
        own: list[Tensor] = [torch.zeros_like(weight) for weight in weights]
        if self.memory is not None and mine:
            with torch.enable_grad():
                distances = distances_from_then(self.memory, self.learner, self.settings.samples, but=self._present)
                loss = weighted(distances, self.settings)
            found = torch.autograd.grad(loss, weights, allow_unused=True)
            own = [zero if each is None else each for zero, each in zip(own, found, strict=True)]
        return [self.learner.average(each) / share for each in own]

    def boundary(self, boundary: Boundary) -> Changed:
        self._present = boundary.after
        self._steps = self._projected = 0
        return Changed()

    def numbers(self) -> dict[str, float]:
        share = self._projected / max(self._steps, 1)
        return {"projected": share, "cosine": self._cosine, **numbers_of(self.memory)}

    def state_dict(self) -> dict[str, Any]:
        return {"present": self._present, "steps": self._steps, "projected": self._projected, "cosine": self._cosine}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._present, self._cosine = state["present"], state["cosine"]
        self._steps, self._projected = state["steps"], state["projected"]


def inner(one: list[Tensor], two: list[Tensor]) -> Tensor:
    """The inner product of two gradients, over all weights together; float64."""
    pairs = zip(map(where_float64_is, one), map(where_float64_is, two), strict=True)
    products = [(a.double() * b.double()).sum() for a, b in pairs]
    return torch.stack(products).sum()


METHOD = AGEM
