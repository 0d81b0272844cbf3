"""Begin every task with a new agent: the baseline that forgets everything and is never worn out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar

from continual_hackatari.methods.moments import Boundary, Changed, Method


class FromScratch(Method):
    """Weights are drawn anew, but for frozen ones; the optimizer, other methods and `Learner.beside` begin anew."""

    needs = frozenset({"initialise"})
    changes_weights = True
    begins_anew = True
    not_with: ClassVar[Mapping[str, str]] = {
        "her": "relabelling takes whole rollouts, and an agent that begins anew drops the rows before it",
        "shrink_perturb": "weights that are drawn anew at every switch cannot be shrunk there",
    }

    def begin(self) -> None:
        self._fresh = [copy.deepcopy(part.state_dict()) for part in self.learner.beside]

    def boundary(self, boundary: Boundary) -> Changed:
        self.learner.agent.initialise(self.learner.generator)
        self.learner.optimizer.state.clear()
        for part, fresh in zip(self.learner.beside, self._fresh, strict=True):
            part.load_state_dict(copy.deepcopy(fresh))
        return Changed(weights=True, optimizer=True, everything=True)


METHOD = FromScratch
