"""Schedules of users, who write a class that is asked step by step."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Set
from typing import Any

from continual_hackatari.schedules.arguments import ScheduleError, normalise_modification, shown
from continual_hackatari.schedules.base import Schedule, Segment

_PIECE = 4096  # steps that are asked together


class CustomSchedule(Schedule):
    """Makes a class from outside a pure function: asks it once for every step, in rising order, and keeps the regimes.

    Raises ScheduleError when the class returns something else than a string, or one that its own list lacks.
    """

    def __init__(self, custom: Any, num_total_steps: int) -> None:
        super().__init__(num_total_steps)
        self._custom = custom
        self.lists_everything = callable(getattr(custom, "possible_modifications", None))
        listed = custom.possible_modifications() if self.lists_everything else []
        self._possible = list(dict.fromkeys(normalise_modification(string) for string in listed))
        self._form: Callable[[str], str] = str
        self._starts: list[int] = []
        self._strings: list[str] = []
        self._num_asked = 0

    @property
    def label(self) -> str:
        return type(self._custom).__name__

    def get_modification(self, step: int) -> str:
        step = self._checked_step(step)
        self._ask_before(step + 1)
        return self._strings[bisect_right(self._starts, step) - 1]

    def possible_modifications(self) -> list[str]:
        return list(self._possible)

    def rewrite(self, form: Callable[[str], str]) -> None:
        self._form, self._possible = form, list(dict.fromkeys(map(form, self._possible)))

    def _segments(self, start: int, stop: int, skip: Set[str] = frozenset()) -> Iterator[Segment]:
        for low in range(start, stop, _PIECE):  # in pieces, so that a caller who needs few regimes asks few steps
            high = min(low + _PIECE, stop)
            self._ask_before(high)
            index = bisect_right(self._starts, low) - 1
            while low < high:
                end = self._starts[index + 1] if index + 1 < len(self._starts) else high
                yield low, min(end, high), self._strings[index]
                low, index = end, index + 1

    def _ask_before(self, stop: int) -> None:
        while self._num_asked < stop:
            answer = self._custom.get_modification(self._num_asked)
            if not isinstance(answer, str):
                raise ScheduleError(
                    f"{self.label}: `get_modification({self._num_asked})` must return a string, got {shown(answer)}."
                )
            modification = self._form(normalise_modification(answer))
            if not self._strings or modification != self._strings[-1]:
                self._check_listed(modification)
                self._starts.append(self._num_asked)
                self._strings.append(modification)
            self._num_asked += 1

    def _check_listed(self, modification: str) -> None:
        # An unlisted string would reach the games without having been validated before training.
        if self.lists_everything and modification not in self._possible:
            raise ScheduleError(
                f"{self.label}: step {self._num_asked} gives {modification!r}, which its `possible_modifications()`"
                f" lacks: {shown(self._possible)}."
            )


def custom_parts(factory: Schedule) -> list[CustomSchedule]:
    if isinstance(factory, CustomSchedule):
        return [factory]
    return [custom for phase in factory.phases for custom in custom_parts(phase.factory)]


def lists_everything(factory: Schedule) -> bool:
    return all(custom.lists_everything for custom in custom_parts(factory))
