"""What a method is: the moments at which it may act, and what it is given there.

A method is a class in a file of its own, named at the end of the file as `METHOD`. It overrides the moments at which it
acts; at all others it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from continual_hackatari.replay import Replay

MOMENTS = ("build", "rows", "loss", "gradients", "weights", "before_boundary", "boundary", "playing")
"""Names of the functions of a `Method` that a script calls."""


class Learner(NamedTuple):
    """What a method acts on."""

    agent: Any
    optimizer: Optimizer
    generator: torch.Generator
    """on the CPU, the method's own, so that it shifts no other randomness; alike on all ranks, saved with the run"""
    average: Callable[[Tensor], Tensor] = lambda tensor: tensor
    """the mean of a tensor over the processes that train this agent together"""
    beside: Sequence[Any] = ()
    """what else a run begins with and learns, such as the scale of rewards: it has `state_dict`, `load_state_dict`"""


def trained_parameters(agent: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of an agent by name, but for those that are frozen (`requires_grad` False)."""
    return {name: parameter for name, parameter in agent.named_parameters() if parameter.requires_grad}


class Clock(NamedTuple):
    """Where a run is, in steps over all games."""

    step: int
    began: int
    """when the present regime began; at a boundary it is the one that ends there"""
    ends: int | None
    """when it ends, where the schedule knows it"""


class Rows(NamedTuple):
    """Steps just played, before they are learned from; [T, N] each."""

    observations: Tensor
    """[T, N, ...]"""
    actions: Tensor
    outputs: Mapping[str, Tensor]
    """of the agent that acted, by name"""
    rewards: Any
    """as the games gave them"""
    ends: Any
    """bool: the episode ended with this step"""
    task: str
    """the modification string that was played"""
    clock: Clock
    goals: int = 0
    """how many of the last planes of an observation show a goal"""
    stride: int = 1
    """by how much the run's step grew with each of the T; `clock` is after the last of them"""


class Boundary(NamedTuple):
    """A border between two tasks."""

    before: str
    """the task that ends"""
    after: str
    """the task that begins"""
    clock: Clock


class Changed(NamedTuple):
    """What a method has changed at a boundary."""

    weights: bool = False
    """the agent's"""
    optimizer: bool = False
    """its state is new"""
    everything: bool = False
    """the agent begins anew: other methods do so too, and rows collected before are not learned from"""

    def __or__(self, other: Changed) -> Changed:
        return Changed(*(mine or its for mine, its in zip(self, other, strict=True)))


class Method:
    """Base of the methods. A subclass has a class `Settings`, and overrides the moments at which it acts."""

    @dataclass(frozen=True)
    class Settings:
        """The method's own settings: every field has a default and a literal below it that says what it does."""

    ranges: ClassVar[Mapping[str, tuple[float | None, float | None] | tuple[float | None, float | None, bool]]] = (
        MappingProxyType({})
    )
    """Allowed numbers of settings: lowest, highest, and whether the lowest is excluded; None: no limit."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What of a script or an agent it needs besides the moments: `hidden` outputs of layers whose units it may change,
    `fisher` terms, an `initialise`r"""
    restarts: ClassVar[bool] = False
    """It makes single rows and columns start over in the optimizer, which must have a function `restart`."""
    changes_weights: ClassVar[bool] = False
    """It changes the agent's weights at boundaries, so that both are evaluated, those before and those after."""
    remembers: ClassVar[bool] = False
    """It holds on to what earlier tasks were, for which an agent that begins anew has no use."""
    begins_anew: ClassVar[bool] = False
    """At boundaries the agent begins anew, see `Changed.everything`: refused with methods that remember."""
    first_after: ClassVar[tuple[str, int] | None] = None
    """The setting, if there is one, that says how many gradient steps there are before it acts for the first time, and
    in which step after these that is."""
    not_with: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Methods, architectures and flags with which it cannot work, each with why: the end of "`a` and `b`: ..."."""

    @classmethod
    def check(cls, settings: Any, rate: float) -> None:
        """Raise AgentError for settings that cannot work, where `ranges` do not say it.

        rate: the learning rate where it is highest. The sentence calls each setting by its name here, in backticks; a
        user is shown the method's name before it.
        """

    memory: Replay | None = None
    """Past steps that it keeps, always the same object, from the start on: saved by what is new in it."""

    @classmethod
    def room(cls, settings: Any) -> tuple[int, float, int] | None:
        """Steps and megabytes that `memory` may hold, and the length of its blocks; None where it has none."""
        return None

    @classmethod
    def draws_anew(cls, settings: Any) -> bool:
        """Whether it needs an initialiser that draws all weights of the agent."""
        return "initialise" in cls.needs

    def __init__(self, settings: Any, learner: Learner) -> None:
        self.settings, self.learner = settings, learner
        self.begin()

    def begin(self) -> None:
        """Be as at the start of a run, with the agent as it is now."""

    def forget(self) -> None:
        """Another method has changed the weights and renewed the optimizer: forget what was measured of the old."""

    def forget_units(self, units: Sequence[Tensor]) -> None:
        """Another method has replaced these units, as its `weights` returned them: forget what was measured of them."""

    # ------------------------------------------------------------------------------------------------------- moments

    @classmethod
    def build(cls, settings: Any) -> Mapping[str, Any]:
        """What it changes of the network, by the names of the arguments of the agent's class."""
        return {}

    def rows(self, rows: Rows) -> None:
        """Rows of one task were collected; copy what is to be kept."""

    def loss(self, observations: Tensor, outputs: Mapping[str, Tensor], hidden: Sequence[Tensor]) -> Tensor:
        """A term to add to the loss. hidden: the outputs of hidden layers, where `needs` names them."""
        raise NotImplementedError

    def gradients(self) -> None:
        """All gradients are there, averaged over the ranks and not clipped yet."""

    def weights(self, hidden: Sequence[Tensor]) -> Sequence[Tensor] | None:
        """The optimizer has made a step. hidden: of the forward pass before it, where `needs` names them.

        Returns the units that it has replaced by new ones, int64 `[k]` for each of the agent's `hidden_layers`, so that
        other methods hear of them; None where it replaces none.
        """
        return None

    def before_boundary(self, boundary: Boundary) -> None:
        """A task ends: look at the agent and at what was kept; change neither the agent nor the optimizer."""

    def boundary(self, boundary: Boundary) -> Changed:
        """Another task begins; the games have not changed yet."""
        return Changed()

    @classmethod
    def playing(cls, settings: Any, agent: Any, task: str) -> Any:
        """What plays a task when the agent is evaluated: all of it, or a copy that has the weights of this task only.

        An evaluation has the agent and these settings, and nothing else of the run.
        """
        return agent

    # ---------------------------------------------------------------------------------------------------- what it says

    def numbers(self) -> dict[str, float]:
        """Numbers to log, by name."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything that a continued run needs besides agent, optimizer and generator; small."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""

    def large_state(self) -> dict[str, Any]:
        """The same of what is large, or of this process alone: it has a file of its own."""
        return {}

    def load_large_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""

    def in_checkpoint(self) -> dict[str, Any]:
        """What saved agents hold of it, by name; it is copied before every update."""
        return {}


def acts_at(method: type[Method], moment: str) -> bool:
    """Whether a method has something to do at this moment."""
    return getattr(method, moment).__code__ is not getattr(Method, moment).__code__


def moments_of(method: type[Method]) -> list[str]:
    """The moments at which it acts."""
    return [moment for moment in MOMENTS if acts_at(method, moment)]
