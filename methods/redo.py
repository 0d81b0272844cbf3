"""ReDo: every so many gradient steps, units that have fallen silent are recycled.

Sokar et al. 2023, "The dormant neuron phenomenon in deep reinforcement learning", https://arxiv.org/abs/2302.12902.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from continual_hackatari.agents.actor_critic import HIDDEN_GAIN, orthogonal
from continual_hackatari.agents.layers import HiddenLayer
from continual_hackatari.methods.moments import Method


class ReDo(Method):
    """Dormant units get fresh incoming weights, bias 0, outgoing weights 0, and a new optimizer for all of these.

    The score of a unit is its mean abs(output) over the minibatch and positions, over the mean of its layer's units.
    """

    @dataclass(frozen=True)
    class Settings:
        every: int = 1000
        """gradient steps between two times that units are recycled"""
        threshold: float = 0.025
        """a unit is dormant when its mean output is at most this share of its layer's mean (0: when it is silent)"""

    ranges: ClassVar = {"every": (1, 10**15), "threshold": (0, 1)}
    needs = frozenset({"hidden"})
    restarts = True
    first_after = ("every", 0)
    not_with: ClassVar[Mapping[str, str]] = {
        "crelu": "a unit of CReLU gives its positive or its negative part, so none is ever dormant",
        "cuda_graphs": "a recorded gradient step cannot decide anew which units to recycle",
    }

    def begin(self) -> None:
        self.layers: list[HiddenLayer] = self.learner.agent.hidden_layers()
        self._step = 0
        self._recycled = [0] * len(self.layers)
        self._dormant: list[float] = []  # nobody has looked yet

    def weights(self, hidden: Sequence[Tensor]) -> Sequence[Tensor] | None:
        self._step += 1
        if self._step % self.settings.every:
            return None
        found = self.dormant_units(hidden)
        self.recycle(found)
        return found

    def dormant_units(self, hidden: Sequence[Tensor]) -> list[Tensor]:
        """The units of each layer whose score is at most the threshold, int64; none of layers that are frozen."""
        found = []
        for layer, output in zip(self.layers, hidden, strict=True):
            axis = 1 if isinstance(layer.layer, nn.Conv2d) else -1
            size = output.detach().abs().movedim(axis, 0).flatten(1).mean(1, dtype=torch.float32)
            size = self.learner.average(size)
            score = size / (size.mean() + 1e-9)
            found.append((score <= self.settings.threshold).nonzero().flatten())
        self._dormant = [len(units) / layer.units for units, layer in zip(found, self.layers, strict=True)]
        return [units if layer.trained else units[:0] for units, layer in zip(found, self.layers, strict=True)]

    def recycle(self, found: Sequence[Tensor]) -> None:
        """All incoming weights first, then all outgoing: a weight that is both ends at 0."""
        for number, (layer, units) in enumerate(zip(self.layers, found, strict=True)):
            if len(units):
                self._recycled[number] += len(units)
                # Rows of a whole fresh layer, which are what the network's own start would have given these units.
                fresh = HIDDEN_GAIN * orthogonal(layer.layer.weight.shape, self.learner.generator)
                layer.layer.weight[units] = fresh[units.cpu()].to(layer.layer.weight)
                self._restart(layer.layer.weight, 0, units)
                norm = layer.norm.parameters() if layer.norm is not None else ()
                for parameter, value in zip((layer.layer.bias, *norm), (0.0, 1.0, 0.0), strict=False):
                    if parameter is not None:
                        parameter[units] = value
                        self._restart(parameter, 0, units)
        for layer, units in zip(self.layers, found, strict=True):
            for consumer in layer.consumers if len(units) else ():
                columns = layer.columns_of(consumer, units)
                consumer.weight[:, columns] = 0
                self._restart(consumer.weight, 1, columns)

    def _restart(self, parameter: Tensor, dim: int, index: Tensor) -> None:
        self.learner.optimizer.restart(parameter, dim, index)  # type: ignore[attr-defined]

    def numbers(self) -> dict[str, float]:
        names = [layer.name for layer in self.layers]
        recycled = {f"recycled/{name}": float(n) for name, n in zip(names, self._recycled, strict=True)}
        return recycled | {f"dormant/{name}": share for name, share in zip(names, self._dormant, strict=False)}

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "recycled": list(self._recycled), "dormant": list(self._dormant)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._step, self._recycled, self._dormant = (
            state["step"],
            list(state["recycled"]),
            list(state["dormant"]),
        )


METHOD = ReDo
