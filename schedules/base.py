"""What every schedule is: a string for each step, and regimes that can be listed without asking for all steps."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import NamedTuple

from continual_hackatari.schedules.arguments import ScheduleError, checked_int, shown

Segment = tuple[int, int, str]  # first step, first step after it, modification string


class ModificationFactory(ABC):
    """Base for schedules of your own: `__init__(num_total_steps, ...)` and `get_modification(step)` are enough.

    Name the class as `package.module:Class` in the JSON, or add it to `modification_factory_mapping`. It is asked once
    for every step, in rising order. If its `__init__` has a `seed` it receives the run's; if it has
    `possible_modifications() -> list[str]`, those strings are validated before training starts, otherwise each one is
    when it first appears.
    """

    def __init__(self, num_total_steps: int) -> None:
        self.num_total_steps = checked_int("num_total_steps", num_total_steps, minimum=1)

    @abstractmethod
    def get_modification(self, step: int) -> str:
        """Return the modification string of `step`, which is at least 0 and smaller than `num_total_steps`."""


class Phase(NamedTuple):
    """A part of a combined schedule: `factory` plays the steps `start` to `stop - 1`; its own step 0 is `start`."""

    start: int
    stop: int
    factory: "Schedule"


class Schedule(ModificationFactory):
    """What `make_factory` returns: a pure function of the step that can also list its regimes without asking all."""

    phases: Sequence[Phase] = ()
    depth = 0  # how many combined schedules are inside each other
    _modifications: list[str]

    @property
    def label(self) -> str:
        """Class name, for the preview."""
        return type(self).__name__

    @abstractmethod
    def possible_modifications(self) -> list[str]:
        """Return the distinct strings that can be played, as far as they are known before the run."""

    def rewrite(self, form: Callable[[str], str]) -> None:
        """Write all strings as the game does, before the first is asked for, so that each task has one.

        `Pong:` is the unmodified game in a run of Pong, which a schedule alone cannot know.
        """
        self._modifications[:] = map(form, self._modifications)

    @abstractmethod
    def _segments(self, start: int, stop: int, skip: Set[str] = frozenset()) -> Iterator[Segment]:
        """Yield pieces that cover `start` to `stop - 1` in order; neighbours may have the same string.

        Pieces whose string is in `skip`, which may grow between two pieces, may be left out where that saves time.
        """

    def segments(self, start: int = 0, stop: int | None = None) -> Iterator[Segment]:
        """Yield the regimes between `start` and `stop` as (first step, first step after it, modification string)."""
        return merged(self._segments(start, self.num_total_steps if stop is None else stop))

    def _checked_step(self, step: int) -> int:
        """Return `step` as an int; raise ScheduleError outside the schedule."""
        try:
            number = operator.index(step)
        except TypeError:
            raise ScheduleError(f"`step` must be an integer, got {shown(step)}.") from None
        if not 0 <= number < self.num_total_steps or isinstance(step, bool):
            raise ScheduleError(
                f"`step` must be from 0 to {self.num_total_steps - 1}, as this schedule holds"
                f" {self.num_total_steps} steps, got {shown(step)}."
            )
        return number


def merged(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Join neighbours with the same string, so that every border that is left is a switch."""
    begin, end, current = 0, 0, None
    for start, stop, modification in segments:
        if modification != current:
            if current is not None:
                yield begin, end, current
            begin, current = start, modification
        end = stop
    if current is not None:
        yield begin, end, current
