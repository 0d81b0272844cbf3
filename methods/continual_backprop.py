"""Continual backpropagation: after every gradient step a few of the least useful units are replaced.

Dohare et al. 2024, "Loss of plasticity in deep continual learning", https://doi.org/10.1038/s41586-024-07711-7. What it
computes is in `agents/continual_backprop.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from continual_hackatari.agents.continual_backprop import ContinualBackprop, check_continual_backprop
from continual_hackatari.methods.moments import Method


class ContinualBackpropMethod(Method):
    """Replaces units of low utility; see `ContinualBackprop`."""

    @dataclass(frozen=True)
    class Settings:
        replacement_rate: float = 1e-5
        """share of the eligible units of a layer that is replaced per gradient step (0: none)"""
        init: Literal["default", "xavier", "lecun", "kaiming", "orthogonal"] = "orthogonal"
        """distribution of the incoming weights of new units (orthogonal: that of the network's own start)"""
        maturity_threshold: int = 100
        """gradient steps for which a new unit is protected"""
        decay_rate: float = 0.99
        """decay of the running averages of utility and output"""
        utility: Literal["contribution", "zero_contribution", "adaptation", "adaptable_contribution"] = "contribution"
        """what makes a unit useful"""
        accumulate: bool = True
        """fractions of a unit add up until one is due; without it they are its probability in each step"""
        count: Literal["eligible", "all"] = "eligible"
        """the replacement rate applies to the eligible units, or to all units of the layer"""

    ranges: ClassVar = {"replacement_rate": (0, 1), "maturity_threshold": (0, 10**15), "decay_rate": (0, 1)}
    needs = frozenset({"hidden"})
    restarts = True
    first_after = ("maturity_threshold", 1)
    not_with: ClassVar[Mapping[str, str]] = {
        "crelu": "a unit of CReLU has two outputs, and a utility is defined for one",
        "cuda_graphs": "a recorded gradient step cannot decide anew which units to replace",
    }

    @classmethod
    def check(cls, settings: Any, rate: float) -> None:
        names = ("replacement_rate", "maturity_threshold", "decay_rate", "utility", "init", "count")
        check_continual_backprop(*(getattr(settings, name) for name in names))

    def begin(self) -> None:
        learner = self.learner
        self.units = ContinualBackprop(
            learner.agent.hidden_layers(),
            **asdict(self.settings),
            optimizer=learner.optimizer,
            generator=learner.generator,
            average=learner.average,
        )

    def forget(self) -> None:
        self.units.reset_statistics()

    def forget_units(self, units: Sequence[Tensor]) -> None:
        self.units.forget_units(units)

    def weights(self, hidden: Sequence[Tensor]) -> Sequence[Tensor]:
        return self.units.step(hidden)

    def numbers(self) -> dict[str, float]:
        return self.units.summary()

    def state_dict(self) -> dict[str, Any]:
        return self.units.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.units.load_state_dict(dict(state))

    def in_checkpoint(self) -> dict[str, Any]:
        return {"continual_backprop": self.units.state_dict(), "optimizer": self.learner.optimizer.state_dict()}


METHOD = ContinualBackpropMethod
