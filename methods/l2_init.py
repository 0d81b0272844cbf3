"""L2 Init: weights are drawn back to where they began, instead of to zero.

Kumar et al. 2023, "Maintaining plasticity in continual learning via regenerative regularization",
https://arxiv.org/abs/2308.11958.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from continual_hackatari.agents.errors import AgentError
from continual_hackatari.methods.moments import Method, trained_parameters

NORMALISERS = (nn.GroupNorm, nn.LayerNorm)


class L2Init(Method):
    """Adds strength / 2 * sum (theta - theta0)^2 to the loss; theta0 are the weights with which the run began.

    Weights and biases of all layers, heads included; not the gains and offsets of normalisers.
    """

    @dataclass(frozen=True)
    class Settings:
        strength: float = 1e-4
        """how strongly: half of it times the sum of squared distances is added to the loss"""
        form: Literal["loss", "decoupled"] = "loss"
        """a term of the loss, which Adam scales like every gradient; or, after each step and past Adam, weights move by
        learning rate * strength towards where they began"""

    ranges: ClassVar = {"strength": (0, 1e30)}

    @classmethod
    def check(cls, settings: Any, rate: float) -> None:
        if settings.form == "decoupled" and rate * settings.strength > 1:
            raise AgentError(
                f"`strength` {settings.strength:g} with `learning_rate` {rate:g}: in each step weights would move by "
                f"{rate * settings.strength:g} times the way back to where they began, past it; allowed is a product "
                "of up to 1, so choose a smaller `strength`, or `form` loss."
            )

    def begin(self) -> None:
        agent = self.learner.agent
        inside = {id(p) for part in agent.modules() if isinstance(part, NORMALISERS) for p in part.parameters()}
        trained = trained_parameters(agent)
        self._weights = {name: each for name, each in trained.items() if id(each) not in inside}
        self._start = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def loss(self, observations: Tensor, outputs: Mapping[str, Tensor], hidden: Sequence[Tensor]) -> Tensor:
        if self.settings.form == "decoupled":
            return next(iter(outputs.values())).new_zeros(())
        return 0.5 * self.settings.strength * self._squared_distance()

    def weights(self, hidden: Sequence[Tensor]) -> None:
        if self.settings.form == "decoupled":
            share = self.learner.optimizer.param_groups[0]["lr"] * self.settings.strength
            for name, weight in self._weights.items():
                weight.lerp_(self._start[name], share)  # on a GPU a tensor, for which nobody must wait

    def _squared_distance(self) -> Tensor:
        distances = [(weight - self._start[name]).square().sum() for name, weight in self._weights.items()]
        return torch.stack(distances).sum()

    @torch.no_grad()
    def numbers(self) -> dict[str, float]:
        squared = float(self._squared_distance())
        penalty = {"penalty": 0.5 * self.settings.strength * squared} if self.settings.form == "loss" else {}
        return {"distance": squared**0.5, **penalty}

    def state_dict(self) -> dict[str, Any]:
        return {"start": {name: weight.clone() for name, weight in self._start.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, weight in self._start.items():
            weight.copy_(state["start"][name])


METHOD = L2Init
