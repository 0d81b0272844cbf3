"""The methods of a run, in their order: what a script calls at each moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from continual_hackatari.methods.moments import Boundary, Changed, Clock, Method, Rows, acts_at
from continual_hackatari.replay import Replay


class Methods:
    """Calls every method that acts at a moment; none of them costs nothing. A part of a run that is saved with it."""

    def __init__(
        self, methods: Mapping[str, Method] | None = None, *, prefixes: Mapping[str, str] | None = None
    ) -> None:
        """methods: by name, in their order. prefixes: of what is logged, where it is not `methods/<name>/`."""
        self._methods = dict(methods or {})
        self._acting_at: dict[str, list[Method]] = {}
        self._prefixes = {name: f"methods/{name}/" for name in self._methods} | dict(prefixes or {})
        self.needs_hidden = any("hidden" in method.needs for method in self)
        self.adds_to_loss = bool(self._acting("loss"))
        self.keeps_rows = bool(self._acting("rows"))
        self.has_large_state = bool(self._acting("large_state"))
        self.acts_at_boundaries = bool(self._acting("before_boundary") or self._acting("boundary"))

    def __iter__(self) -> Any:
        return iter(self._methods.values())

    def _acting(self, moment: str) -> list[Method]:
        if moment not in self._acting_at:
            self._acting_at[moment] = [method for method in self if acts_at(type(method), moment)]
        return self._acting_at[moment]

    def rows(self, rows: Rows) -> None:
        """2: rows of one task were collected, before they are learned from."""
        for method in self._acting("rows"):
            method.rows(rows)

    def loss(self, observations: Tensor, outputs: Mapping[str, Tensor], hidden: Sequence[Tensor]) -> Tensor:
        """3: what is added to the loss of this forward pass."""
        terms = (method.loss(observations, outputs, hidden) for method in self._acting("loss"))
        return sum(terms, start=torch.zeros(()))

    def gradients(self) -> None:
        """4: the gradients are there, before they are clipped."""
        for method in self._acting("gradients"):
            method.gradients()

    @torch.no_grad()
    def weights(self, hidden: Sequence[Tensor]) -> None:
        """5: the optimizer has made its step."""
        for method in self._acting("weights"):
            if (replaced := method.weights(hidden)) is not None:
                for other in self._acting("forget_units"):
                    if other is not method:
                        other.forget_units(replaced)

    def boundary(self, before: str, after: str, clock: Clock) -> Changed:
        """6: a task ends and another begins. First all methods look, then they change what they will."""
        boundary, changed = Boundary(before, after, clock), Changed()
        for method in self._acting("before_boundary"):
            method.before_boundary(boundary)
        for method in self._acting("boundary"):
            with torch.no_grad():
                now = method.boundary(boundary)
            for other in self:
                if other is not method and now.everything:
                    other.begin()
                elif other is not method and now.weights and now.optimizer:
                    other.forget()
            changed |= now
        return changed

    def numbers(self) -> dict[str, float]:
        """Numbers to log."""
        return {
            f"{self._prefixes[name]}{key}": number
            for name, method in self._methods.items()
            for key, number in method.numbers().items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Of all methods, with their generators."""
        return {
            name: {"generator": method.learner.generator.get_state(), "state": method.state_dict()}
            for name, method in self._methods.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        for name, method in self._methods.items():
            method.learner.generator.set_state(state[name]["generator"])
            method.load_state_dict(state[name]["state"])

    def large_state(self) -> dict[str, Any]:
        """What is large, or of this process alone; empty where no method has such."""
        return {name: state for name, method in self._methods.items() if (state := method.large_state())}

    def load_large_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        for name, method in self._methods.items():
            if name in state:
                method.load_large_state(state[name])

    @property
    def memories(self) -> dict[str, Replay]:
        """Past steps that methods keep, by the names of these."""
        return {name: method.memory for name, method in self._methods.items() if method.memory is not None}

    def in_checkpoint(self) -> dict[str, Any]:
        """What saved agents hold of the methods."""
        return {key: value for method in self for key, value in method.in_checkpoint().items()}


NO_METHODS = Methods()
