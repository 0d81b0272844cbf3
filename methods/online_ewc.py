"""Online EWC: one memory of all tasks, in which older ones fade.

Schwarz et al. 2018, "Progress & Compress", https://arxiv.org/abs/1805.06370.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from continual_hackatari.methods.ewc import LastRows, Weights, information_of, like
from continual_hackatari.methods.moments import Boundary, Changed, Method, Rows, trained_parameters


class OnlineEWC(Method):
    """Adds strength / 2 * sum F (theta - theta*)^2 to the loss.

    At the end of every task F becomes decay * F + its Fisher information, and theta* the weights then.
    """

    @dataclass(frozen=True)
    class Settings:
        strength: float = 0.01
        """how strongly weights are held"""
        decay: float = 0.99
        """what is left of the Fisher information of earlier tasks when another one ends"""
        samples: int = 1024
        """the last observations of a task, from which its Fisher information is measured (of each process)"""
        normalise: bool = True
        """scale the Fisher information of each task to a mean of 1 over all weights before it is added"""

    ranges: ClassVar = {"strength": (0, 1e30), "decay": (0, 1), "samples": (1, 10**6)}
    needs = frozenset({"fisher"})
    remembers = True
    not_with: ClassVar[Mapping[str, str]] = {"ewc": "both hold weights where earlier tasks left them"}

    def begin(self) -> None:
        self._parameters = trained_parameters(self.learner.agent)
        self._last = LastRows(self.settings.samples)
        self._information: Weights = {name: each.detach() * 0 for name, each in self._parameters.items()}
        self._anchor: Weights = {name: each.detach().clone() for name, each in self._parameters.items()}
        self._tasks = 0
        self._penalty: Any = 0.0

    def rows(self, rows: Rows) -> None:
        self._last.add(rows.observations)

    def loss(self, observations: Tensor, outputs: Mapping[str, Tensor], hidden: Sequence[Tensor]) -> Tensor:
        if not self._tasks:
            return torch.zeros(())
        terms = [
            (self._information[name] * (parameter - self._anchor[name]).square()).sum()
            for name, parameter in self._parameters.items()
        ]
        penalty = 0.5 * self.settings.strength * sum(terms[1:], start=terms[0])
        self._penalty = penalty.detach()
        return penalty

    def before_boundary(self, boundary: Boundary) -> None:
        observations = self._last.observations
        if observations is None:  # it ended before anything was played
            return
        information = information_of(self.learner, observations, self.settings.normalise)
        for name, new in information.items():
            self._information[name] = self.settings.decay * self._information[name] + new
            self._anchor[name] = self._parameters[name].detach().clone()
        self._tasks += 1

    def boundary(self, boundary: Boundary) -> Changed:
        self._last.clear()
        return Changed()

    def numbers(self) -> dict[str, float]:
        return {"penalty": float(self._penalty), "tasks": float(self._tasks)}

    def state_dict(self) -> dict[str, Any]:
        return {"tasks": self._tasks, "penalty": float(self._penalty)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._tasks, self._penalty = state["tasks"], state["penalty"]

    def large_state(self) -> dict[str, Any]:
        return {"rows": self._last.observations, "information": self._information, "anchor": self._anchor}

    def load_large_state(self, state: Mapping[str, Any]) -> None:
        self._last.load(state["rows"], next(iter(self._parameters.values())).device)
        self._information = like(state["information"], self._parameters)
        self._anchor = like(state["anchor"], self._parameters)


METHOD = OnlineEWC
