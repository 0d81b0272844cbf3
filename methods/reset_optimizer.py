"""Begin every task with a new optimizer: its averages are of gradients of the task before.

Asadi et al. 2023, "Resetting the optimizer in deep RL: an empirical study", https://arxiv.org/abs/2306.17833.
"""

from __future__ import annotations

from continual_hackatari.methods.moments import Boundary, Changed, Method


class ResetOptimizer(Method):
    """Forgets the optimizer's state, step counts included; its settings stay."""

    def boundary(self, boundary: Boundary) -> Changed:
        self.learner.optimizer.state.clear()  # the next step builds it anew
        return Changed(optimizer=True)


METHOD = ResetOptimizer
