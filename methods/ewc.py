"""Elastic weight consolidation: weights that earlier tasks rely on are held where these tasks left them.

Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks", https://arxiv.org/abs/1612.00796.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from continual_hackatari.agents.acceleration import where_float64_is
from continual_hackatari.methods.moments import Boundary, Changed, Learner, Method, Rows, trained_parameters

Weights = dict[str, Tensor]


class EWC(Method):
    """Adds strength / 2 * sum over earlier tasks t of sum F_t (theta - theta_t)^2 to the loss.

    theta_t are the weights at the end of task t, F_t the diagonal of the Fisher information there: the mean over the
    last observations of the task of the squared gradient of each row by itself, see `fisher`. A task that is met again
    replaces what is remembered of it, and while it is trained it has no penalty.
    """

    @dataclass(frozen=True)
    class Settings:
        strength: float = 0.01
        """how strongly weights are held"""
        samples: int = 1024
        """the last observations of a task, from which its Fisher information is measured (of each process)"""
        normalise: bool = True
        """scale the Fisher information of each task to a mean of 1 over all weights, so that a strength means the same
        for all; without it, it is as measured"""
        memory: Literal["tasks", "sum"] = "tasks"
        """remember every task by its string, twice the size of the network each; or only the sum of all that ended,
        one met again counting twice, the one in training too"""

    ranges: ClassVar = {"strength": (0, 1e30), "samples": (1, 10**6)}
    needs = frozenset({"fisher"})
    remembers = True

    def begin(self) -> None:
        self._parameters = trained_parameters(self.learner.agent)
        self._last = LastRows(self.settings.samples)
        self._tasks: dict[str, tuple[Weights, Weights]] = {}
        """task -> F and theta"""
        self._held = Held(self._parameters)
        self._penalty: Any = 0.0

    def rows(self, rows: Rows) -> None:
        self._last.add(rows.observations)

    def loss(self, observations: Tensor, outputs: Mapping[str, Tensor], hidden: Sequence[Tensor]) -> Tensor:
        if not self._held.number:
            self._penalty = 0.0
            return torch.zeros(())
        penalty = 0.5 * self.settings.strength * self._held.distance(self._parameters)
        self._penalty = penalty.detach()
        return penalty

    def before_boundary(self, boundary: Boundary) -> None:
        observations = self._last.observations
        if observations is None:  # it ended before anything was played
            return
        information = information_of(self.learner, observations, self.settings.normalise)
        weights = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        if self.settings.memory == "sum":
            self._held.add(information, weights)
        else:
            self._tasks[boundary.before] = information, weights

    def boundary(self, boundary: Boundary) -> Changed:
        self._last.clear()
        if self.settings.memory == "tasks":  # one sum of all penalties but that of the present task
            self._held = Held(self._parameters)
            for task, (information, weights) in self._tasks.items():
                if task != boundary.after:
                    self._held.add(information, weights)
        return Changed()

    def numbers(self) -> dict[str, float]:
        return {"penalty": float(self._penalty), "tasks": float(self._held.number)}

    def state_dict(self) -> dict[str, Any]:
        return {"penalty": float(self._penalty)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._penalty = state["penalty"]

    def large_state(self) -> dict[str, Any]:
        tasks = [[task, *each] for task, each in self._tasks.items()]
        return {"rows": self._last.observations, "tasks": tasks, "held": self._held.state_dict()}

    def load_large_state(self, state: Mapping[str, Any]) -> None:
        self._last.load(state["rows"], next(iter(self._parameters.values())).device)
        self._tasks = {
            task: (like(information, self._parameters), like(weights, self._parameters))
            for task, information, weights in state["tasks"]
        }
        self._held.load_state_dict(state["held"])


class LastRows:
    """The last observations that were seen, up to a number of them."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._parts: deque[Tensor] = deque()  # as they came, because joining them copies all

    @property
    def observations(self) -> Tensor | None:
        """[n, ...]; None before the first."""
        if not self._parts:
            return None
        joined = torch.cat(list(self._parts))  # of which a part would be saved with all of it
        return joined if len(joined) <= self._number else joined[-self._number :].clone()

    def add(self, observations: Tensor) -> None:
        """Steps of all games, [T, N, ...], the newest last."""
        new = observations.flatten(0, 1)[-self._number :]
        if not len(new):
            return
        self._parts.append(new.clone())
        while sum(map(len, self._parts)) - len(self._parts[0]) >= self._number:
            self._parts.popleft()

    def clear(self) -> None:
        self._parts.clear()

    def load(self, observations: Tensor | None, device: torch.device) -> None:
        self._parts = deque([] if observations is None else [observations.to(device)])


class Held:
    """A sum of quadratic penalties, sum_t F_t (theta - theta_t)^2, in the room of one: around its minimum."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self.number = 0
        self.information = {name: torch.zeros_like(each) for name, each in parameters.items()}
        self.centre = {name: each.detach().clone() for name, each in parameters.items()}
        self.rest = 0.0
        """the sum at its minimum"""

    @torch.no_grad()
    def add(self, information: Weights, weights: Weights) -> None:
        """F (theta - a)^2 + G (theta - b)^2 = (F + G)(theta - c)^2 + FG / (F + G) (a - b)^2, c the weighted mean."""
        self.number += 1
        for name, new in information.items():
            before, both = self.information[name], self.information[name] + new
            share = torch.where(both > 0, new / both.clamp_min(torch.finfo(both.dtype).tiny), torch.zeros_like(both))
            apart = weights[name] - self.centre[name]
            self.rest += float(where_float64_is(before * share * apart.square()).sum(dtype=torch.float64))
            self.centre[name] += share * apart
            self.information[name] = both

    def distance(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The sum for these weights."""
        terms = [
            (self.information[name] * (parameter - self.centre[name]).square()).sum()
            for name, parameter in parameters.items()
        ]
        return torch.stack(terms).sum() + self.rest

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number, "rest": self.rest, "information": self.information, "centre": self.centre}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.number, self.rest = state["number"], state["rest"]
        self.information = like(state["information"], self.information)
        self.centre = like(state["centre"], self.centre)


def like(state: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Weights:
    """Copies of saved tensors that lie where and as the others do."""
    return {name: torch.empty_like(other, requires_grad=False).copy_(state[name]) for name, other in others.items()}


def fisher(agent: Any, observations: Tensor, generator: torch.Generator) -> Weights:
    """The diagonal of the Fisher information of `agent`, the mean over rows of `observations`; by parameter.

    The gradient of every row is squared by itself: the square of a minibatch's mean gradient is another quantity, which
    is near 0 where rows pull in different directions.
    """
    parameters = trained_parameters(agent)
    sums = {name: torch.zeros_like(parameter, requires_grad=False) for name, parameter in parameters.items()}
    with torch.enable_grad():
        for row in observations.split(1):
            terms = list(agent.fisher_terms(row, generator).values())
            for number, term in enumerate(terms):
                again = number + 1 < len(terms)
                each = torch.autograd.grad(term.sum(), list(parameters.values()), retain_graph=again, allow_unused=True)
                for name, gradient in zip(parameters, each, strict=True):
                    if gradient is not None:
                        sums[name].addcmul_(gradient, gradient)
    return {name: each / len(observations) for name, each in sums.items()}


def information_of(learner: Learner, observations: Tensor, normalise: bool) -> Weights:
    """The Fisher information at the learner's weights, of the observations of all processes; see `normalised`."""
    found = fisher(learner.agent, observations, learner.generator)
    found = {name: learner.average(each) for name, each in found.items()}
    return normalised(found) if normalise else found


def normalised(information: Weights) -> Weights:
    """The same with a mean of 1 over all weights; as it is where it is 0."""
    total = sum(float(where_float64_is(each).sum(dtype=torch.float64)) for each in information.values())
    number = sum(each.numel() for each in information.values())
    return {name: each * (number / total) if total > 0 else each for name, each in information.items()}


METHOD = EWC
