"""Shrink and perturb a little after every gradient step, without knowing of any switch.

Juliani and Ash 2024, "A study of plasticity loss in on-policy deep reinforcement learning",
https://arxiv.org/abs/2405.19153.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from continual_hackatari.agents.actor_critic import ACTOR_GAIN, CRITIC_GAIN, HIDDEN_GAIN, initialises_itself
from continual_hackatari.methods.moments import Method, trained_parameters


class SoftShrinkPerturb(Method):
    """weights <- factor * weights + noise_scale * a fresh draw of the initialiser.

    Each row of a weight is drawn by itself, as one row of the orthogonal matrices with which the network begins. Biases
    begin at 0 and gains of normalisers at 1, without chance. Of an agent whose class has an `initialise` of its own all
    of it is drawn by that, in every step.
    """

    @dataclass(frozen=True)
    class Settings:
        factor: float = 0.999999
        """factor on all weights, in every gradient step (1: unchanged)"""
        noise_scale: float = 0.000001
        """scale of the noise (0: none)"""

    ranges: ClassVar = {"factor": (0, 1), "noise_scale": (0, 1)}
    needs = frozenset({"initialise"})
    not_with: ClassVar = {"cuda_graphs": "a recorded gradient step would add the same noise again and again"}

    def begin(self) -> None:
        agent = self.learner.agent
        self._trained = trained_parameters(agent)
        gains = {id(agent.actor): ACTOR_GAIN, id(agent.critic): CRITIC_GAIN}
        layers = [part for part in agent.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
        trained = [layer for layer in layers if layer.weight.requires_grad]
        self._rows = [(layer.weight, gains.get(id(layer), HIDDEN_GAIN)) for layer in trained]
        normalisers = [part for part in agent.modules() if isinstance(part, (nn.GroupNorm, nn.LayerNorm))]
        self._gains = [part.weight for part in normalisers if part.weight is not None and part.weight.requires_grad]
        self._noise = torch.Generator(agent.actor.weight.device)

    def weights(self, hidden: Sequence[Tensor]) -> None:
        # Not times the factor: float32 has 1 - 0.999999 with an error of 1.3 %, and factor - 1 exactly enough. What is
        # left is the rounding of weights: with 0.999999 each shrinks up to 6 % too much or too little, depending on its
        # digits, and all together 0.07 % too much.
        weights: list[Tensor] = [*self._trained.values()]
        torch._foreach_add_(weights, weights, alpha=self.settings.factor - 1)
        if self.settings.noise_scale == 0:
            return
        if initialises_itself(self.learner.agent):
            fresh = self.learner.agent.fresh_copy(self.learner.generator).state_dict()
            torch._foreach_add_(weights, [fresh[name] for name in self._trained], alpha=self.settings.noise_scale)
        else:
            self._add_rows()

    def _add_rows(self) -> None:
        """The noise of agents that `ActorCritic.initialise` draws, layer by layer: no agent is copied in every step."""
        # Drawn where the weights are: a GPU would wait longer for the CPU's numbers than its gradient step takes.
        # What is saved with the run is the generator of the seeds.
        self._noise.manual_seed(int(torch.randint(2**63 - 1, (), generator=self.learner.generator)))
        for weight, gain in self._rows:
            weight.add_(rows_like(weight, self._noise), alpha=gain * self.settings.noise_scale)
        for weight in self._gains:
            weight.add_(self.settings.noise_scale)


def rows_like(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Independent rows, each distributed as a row of a random matrix with orthonormal rows, or, where there are more
    rows than columns, columns."""
    rows, columns = len(weight), weight[0].numel()
    drawn = torch.randn(rows, max(rows, columns), generator=generator, device=weight.device)
    drawn.div_(torch.linalg.vector_norm(drawn, dim=1, keepdim=True))
    return drawn[:, :columns].reshape(weight.shape)


METHOD = SoftShrinkPerturb
