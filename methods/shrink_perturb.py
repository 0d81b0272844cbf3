"""Shrink and perturb, at boundaries: all weights are pulled towards zero and get noise.

Ash and Adams 2020, "On Warm-Starting Neural Network Training", https://arxiv.org/abs/1910.08475. What it computes is in
`agents/shrink_and_perturb.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from continual_hackatari.agents.shrink_and_perturb import shrink_and_perturb
from continual_hackatari.methods.moments import Boundary, Changed, Method


class ShrinkPerturb(Method):
    """weights <- factor * weights + noise_scale * noise."""

    @dataclass(frozen=True)
    class Settings:
        factor: float = 0.7
        """factor on all weights (1: unchanged). PPO's logits pass five layers and shrink by about factor^5: 0.7 makes
        a policy nearly random at once (on Freeway 18.6 crossings per game became 1.9, with 0.9 they became 13.4)"""
        noise_scale: float = 0.01
        """scale of the noise added to all weights (0: none)"""
        noise: Literal["gaussian", "initialiser"] = "gaussian"
        """noise from N(0, 1), or a fresh draw of each layer's own initialiser"""
        optimizer: Literal["reset", "keep"] = "reset"
        """what becomes of the optimizer's state, and of what other methods measured of the old weights"""

    ranges: ClassVar = {"factor": (0, 1), "noise_scale": (0, 1e30)}
    needs = frozenset({"initialise"})
    changes_weights = True

    @classmethod
    def draws_anew(cls, settings: Any) -> bool:
        return settings.noise == "initialiser"

    def boundary(self, boundary: Boundary) -> Changed:
        shrink_and_perturb(
            self.learner.agent,
            self.learner.optimizer,
            shrink_factor=self.settings.factor,
            noise_scale=self.settings.noise_scale,
            noise=self.settings.noise,
            optimizer_state=self.settings.optimizer,
            generator=self.learner.generator,
        )
        return Changed(weights=True, optimizer=self.settings.optimizer == "reset")


METHOD = ShrinkPerturb
