"""Cloning: the agent keeps saying of past observations what it said when it played them.

The two cloning terms of Rolnick et al. 2019, "Experience Replay for Continual Learning" (CLEAR),
https://arxiv.org/abs/1811.11682, without its replayed policy gradients; from there also distillation in the sense of
"Learning without Forgetting". `continual_clear.py` is the whole of CLEAR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from continual_hackatari.methods.moments import Learner, Method, Rows
from continual_hackatari.replay import Keep, Replay

BLOCK_STEPS = 16
"""Steps of a block: drawing a single step unpacks all of its block, and a shorter block takes more room."""
ROWS_AT_ONCE = 256  # in a forward pass over rows that are to be kept
NOT_IN_GRAPHS = "a recorded gradient step cannot draw anew from the past"


class Cloning(Method):
    """Adds policy * mean KL(then || now) + value * mean (V - V_then)^2 over rows drawn from the past to the loss.

    `then` is what the agent said of these rows when they were played, all of its logits. What stays of the past is up
    to `keep`; by default it is a uniform sample of everything, the present task included.
    """

    @dataclass(frozen=True)
    class Settings:
        policy: float = 1.0
        """weight of the divergence of the present policy from the earlier one, a mean over rows"""
        value: float = 0.5
        """weight of the squared change of the value, a mean over rows"""
        samples: int = 64
        """rows of the past in every gradient step"""
        steps: int = 100_000
        """steps that are kept at most (by each process)"""
        mb: float = 500.0
        """megabytes that they may take, compressed (in each process)"""
        keep: Keep = "reservoir"
        """who stays when it is full, as with --replay_keep"""

    ranges: ClassVar = {
        **dict.fromkeys(("policy", "value"), (0, 1e30)),
        "samples": (1, 10**6),
        "steps": (1, 10**15),
        "mb": (0, 1e30, True),
    }
    remembers = True
    not_with: ClassVar[Mapping[str, str]] = {"cuda_graphs": NOT_IN_GRAPHS}

    @classmethod
    def room(cls, settings: Any) -> tuple[int, float, int] | None:
        return settings.steps, settings.mb, BLOCK_STEPS

    def begin(self) -> None:
        self.memory = empty_memory(self)
        self._distances: dict[str, float] = {}

    def rows(self, rows: Rows) -> None:
        remember(self.memory, self.learner, rows, rows.task)

    def loss(self, observations: Tensor, outputs: Mapping[str, Tensor], hidden: Sequence[Tensor]) -> Tensor:
        if self.memory is None or not len(self.memory):
            return torch.zeros(())
        distances = distances_from_then(self.memory, self.learner, self.settings.samples)
        self._distances = {name: float(each.detach()) for name, each in distances.items()}
        return weighted(distances, self.settings)

    def numbers(self) -> dict[str, float]:
        return {**self._distances, **numbers_of(self.memory)}

    def state_dict(self) -> dict[str, Any]:
        return {"distances": self._distances}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._distances = dict(state["distances"])


def empty_memory(method: Method) -> Replay:
    """The replay of a method, with a seed of its own; the one that it has already, emptied."""
    if method.memory is not None:
        method.memory.forget()
        return method.memory
    steps, mb, block_steps = method.room(method.settings) or (0, 0.0, 0)
    seed = int(torch.randint(2**62, (), generator=method.learner.generator))
    return Replay(block_steps=block_steps, steps=steps, mb=mb, keep=method.settings.keep, seed=seed)


def remember(memory: Replay | None, learner: Learner, rows: Rows, task: str) -> None:
    """Keep these rows with what the agent says of them; its weights are still those that played them."""
    if memory is None or not len(rows.observations):  # a switch may come before the first step of a rollout
        return
    T, N = rows.observations.shape[:2]  # noqa: N806 - as in the shape comments
    with torch.no_grad():
        parts = [learner.agent.outputs(part) for part in rows.observations.flatten(0, 1).split(ROWS_AT_ONCE)]
    memory.stride = rows.stride
    fields = {name: torch.cat([part[name] for part in parts]).unflatten(0, (T, N)) for name in parts[0]}
    memory.add(
        rows.observations.cpu().numpy(),
        {name: each.cpu().numpy() for name, each in fields.items()},
        done=np.asarray(rows.ends),
        tasks=task,
        step=rows.clock.step - T * rows.stride,
        goals=rows.goals,
    )


def distances_from_then(memory: Replay, learner: Learner, samples: int, *, but: str | None = None) -> dict[str, Tensor]:
    """Means over drawn rows of how far the agent's outputs are from what they were. but: a task that is left out."""
    device = next(learner.agent.parameters()).device
    steps = memory.sample_steps(samples, but=but)
    now = learner.agent.outputs(torch.from_numpy(steps.observations).to(device))
    then = {name: torch.from_numpy(steps.fields[name][0]).to(device) for name in now}
    return {name: each.mean() for name, each in learner.agent.distances(now, then).items()}


def weighted(distances: Mapping[str, Tensor], settings: Any) -> Tensor:
    """Their sum, each with the weight that the settings name for it."""
    return torch.stack([getattr(settings, name) * each for name, each in distances.items()]).sum()


def numbers_of(memory: Replay | None) -> dict[str, float]:
    """What is kept, to log."""
    return {} if memory is None else {f"memory_{name}": number for name, number in memory.numbers().items()}


METHOD = Cloning
