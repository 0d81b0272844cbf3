"""Schedules: which modification string is played at which step, and a command that previews them.

    python modification_factories.py run_config.json                  # phases, switches, shares, timeline; no emulator
    python modification_factories.py run_config.json --plot timeline.png
    python modification_factories.py old.json --from_original         # convert a file of the original system

A factory is a pure function of (constructor arguments, seed, step): it may be asked in any order, any number of times
and from any process, and touches no global random state. A *step* is one agent step in one environment, counted over
all environments, so `num_repetitions 800` with 8 games is 100 steps per game. A *switch* is a change of the
modification string, a *regime* the time between two switches. `docs/schedules.md` describes every argument.
"""

import argparse
import difflib
import importlib
import inspect
import itertools
import json
import math
import operator
import os
import sys
import textwrap
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from continual_hackatari.json_files import JSONFileError, read_json
from continual_hackatari.names import UNMODIFIED, parse

Segment = tuple[int, int, str]  # first step, first step after it, modification string

_CHUNK = 4096  # blocks whose random numbers are computed together; a multiple of 4, the words per Philox counter
_MAX_COMBINATIONS = 100_000  # a larger product is a mistake in the file: every combination is validated before training
_MAX_DEPTH = 50
_MAX_STEPS = 10**15  # more could not be counted one by one in floating point
_SUM_TOLERANCE = 1e-5  # on the sum of probabilities, so that three times 0.333333 passes
_SHORT_REGIME = 300  # steps per game; few Atari games are over before that
_MAX_SEGMENTS = 50_000  # regimes that a survey looks at before it turns to samples
_MAX_CUSTOM_STEPS = 1_000_000  # steps that the warning asks a custom class, about one second

# Streams of random numbers of one factory. A new use takes a new number, so that the others keep their values.
_DRAW, _REPLAY_COIN, _REPLAY_CHOICE, _PHASE_SEED = range(4)


class ScheduleError(ValueError):
    """Something in a schedule that its author can mend: one sentence says what was given and what is allowed."""


# ------------------------------------------------------------------------------------------------ checks of arguments
def normalise_modification(string: str) -> str:
    """Return `string` with single spaces between its names and none around them; the order of the names stays.

    `no_modif`, which is how people write the unmodified game, becomes "", and `Breakout: no_modif` becomes `Breakout:`.
    """
    if not isinstance(string, str):
        raise ScheduleError(
            f'a modification must be a string of names, "" for the unmodified game, got {_show(string)}.'
        )
    return str(parse(string))


def key_of(arguments: Any, wanted: str, path: str) -> str | None:
    """Return where in `arguments`, which lie at `path` of a file, this string stands, or the first with this name."""
    if isinstance(arguments, str):
        task = parse(arguments)
        return path if wanted in (str(task), task.game, *task.names) else None
    items: Iterable[tuple[str, Any]] = ()
    if isinstance(arguments, Mapping):
        items = ((f"{path}.{key}", value) for key, value in arguments.items())
    elif isinstance(arguments, (list, tuple)):
        items = ((f"{path}[{index}]", value) for index, value in enumerate(arguments))
    return next((found for place, value in items if (found := key_of(value, wanted, place)) is not None), None)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _nearest(name: object, allowed: Iterable[str]) -> str:
    matches = difflib.get_close_matches(str(name), list(allowed), n=1)
    return f" Did you mean `{matches[0]}`?" if matches else ""


def _checked_int(name: str, value: object, minimum: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON's 1e6
    # bool is a subclass of int: without the second test `true` in the JSON would silently mean 1.
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < minimum:
        raise ScheduleError(f"`{name}` must be an integer of at least {minimum}, got {_show(value)}.")
    if name != "seed" and value > _MAX_STEPS:
        raise ScheduleError(f"`{name}` must be at most {_MAX_STEPS:,}, got {_show(value)}.")
    return int(value)


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    try:
        return number and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _checked_list(name: str, value: object, content: str, allow_empty: bool = False) -> list[Any]:
    if not isinstance(value, (list, tuple)) or not (value or allow_empty):
        size = "a list" if allow_empty else "a list with at least one entry"
        raise ScheduleError(f"`{name}` must be {size}, of {content}, got {_show(value)}.")
    return list(value)


def _checked_modifications(name: str, value: object) -> list[str]:
    modifications = []
    for index, entry in enumerate(_checked_list(name, value, "modification strings")):
        if not isinstance(entry, str):
            raise ScheduleError(f"`{name}[{index}]` must be a modification string, got {_show(entry)}.")
        modifications.append(normalise_modification(entry))
    return modifications


def _checked_thresholds(value: object, num_modifications: int, num_total_steps: int) -> list[int]:
    """Return the steps at which modification 1, 2, ... begins: one fewer than there are modifications."""
    name = "switching_thresholds"
    given = _checked_list(name, value, "steps", allow_empty=True)
    if len(given) not in (num_modifications - 1, num_modifications):
        raise ScheduleError(
            f"`{name}` must hold {num_modifications - 1} steps, where modifications 2 to {num_modifications} begin"
            f" (or {num_modifications}, the last one being the end), for {num_modifications} modifications,"
            f" got {len(given)}: {_show(value)}."
        )
    thresholds = [_checked_int(f"{name}[{index}]", entry, minimum=1) for index, entry in enumerate(given)]
    for earlier, later in itertools.pairwise(thresholds):
        if later <= earlier:
            raise ScheduleError(f"`{name}` must be strictly increasing, got {later} after {earlier} in {_show(value)}.")
    begins, end = thresholds[: num_modifications - 1], thresholds[num_modifications - 1 :]
    if begins and begins[-1] >= num_total_steps:
        raise ScheduleError(
            f"`{name}` must be smaller than `num_total_steps` {num_total_steps}, got {begins[-1]}:"
            " the modification that begins there would never be played."
        )
    if end and end[0] > num_total_steps:
        raise ScheduleError(f"`{name}` must end at `num_total_steps` {num_total_steps} or before, got {end[0]}.")
    return begins


def _checked_steps(value: object, num_modifications: int) -> list[int]:
    """Return how long each modification is played; one number is for all of them."""
    if not isinstance(value, (list, tuple)):
        return [_checked_int("steps", value, minimum=1)] * num_modifications
    if len(value) != num_modifications:
        raise ScheduleError(
            f"`steps` must be one number, or hold one for each of the {num_modifications} modifications, got"
            f" {len(value)}: {_show(value)}."
        )
    return [_checked_int(f"steps[{index}]", entry, minimum=1) for index, entry in enumerate(value)]


def _checked_probabilities(value: object, num_modifications: int) -> list[float]:
    """Return `num_modifications` probabilities that sum to 1; uniform ones for None."""
    if value is None:
        return [1.0 / num_modifications] * num_modifications
    probabilities = _checked_list("probabilities", value, "numbers")
    if len(probabilities) != num_modifications:
        raise ScheduleError(
            f"`probabilities` must hold one number for each of the {num_modifications} modifications or combinations,"
            f" got {len(probabilities)}: {_show(value)}."
        )
    for index, entry in enumerate(probabilities):
        if not _is_number(entry) or entry < 0:
            raise ScheduleError(f"`probabilities[{index}]` must be a number of at least 0, got {_show(entry)}.")
    total = math.fsum(probabilities)
    if abs(total - 1.0) > _SUM_TOLERANCE:
        raise ScheduleError(f"`probabilities` must sum to 1, got a sum of {total:g}: {_show(value)}.")
    return [entry / total for entry in probabilities]


# ------------------------------------------------------------------------------------------------------- randomness
class _Draws:
    """Uniform numbers in [0, 1), one per block, each a function of (seed, stream, block) only.

    Philox is a counter-based generator: the numbers of any chunk of blocks are computed without those before it.
    """

    def __init__(self, seed: int, stream: int) -> None:
        self._key = np.random.SeedSequence(seed, spawn_key=(stream,)).generate_state(2, np.uint64)
        self._cached_index = -1
        self._cached: np.ndarray = np.empty(0)

    def __getitem__(self, block: int) -> float:
        index, offset = divmod(block, _CHUNK)
        return float(self._chunk(index)[offset])

    def ranges(self, first: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first block, numbers) pieces that together cover the blocks `first` to `end - 1`."""
        while first < end:
            index, offset = divmod(first, _CHUNK)
            values = self._chunk(index)[offset : offset + end - first]
            yield first, values
            first += len(values)

    def _chunk(self, index: int) -> np.ndarray:
        # The cache only saves time: a chunk is the same whenever it is computed.
        if index != self._cached_index:
            bits = np.random.Philox(key=self._key, counter=index * (_CHUNK // 4)).random_raw(_CHUNK)
            self._cached = (bits >> np.uint64(11)) * 2.0**-53  # 53 bits, as many as a double holds
            self._cached_index = index
        return self._cached


def _phase_seed(seed: int, position: int) -> int:
    """Seed of the phase at `position`: by position, so that one class can be used twice and draw differently."""
    sequence = np.random.SeedSequence(seed, spawn_key=(_PHASE_SEED, position))
    return int(sequence.generate_state(1, np.uint64)[0])


# ------------------------------------------------------------------------------------------------------ base classes
class ModificationFactory(ABC):
    """Base for schedules of your own: `__init__(num_total_steps, ...)` and `get_modification(step)` are enough.

    Name the class as `package.module:Class` in the JSON, or add it to `modification_factory_mapping`. It is asked once
    for every step, in rising order. If its `__init__` has a `seed` it receives the run's; if it has
    `possible_modifications() -> list[str]`, those strings are validated before training starts, otherwise each one is
    when it first appears.
    """

    def __init__(self, num_total_steps: int) -> None:
        self.num_total_steps = _checked_int("num_total_steps", num_total_steps, minimum=1)

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
        return _merged(self._segments(start, self.num_total_steps if stop is None else stop))

    def _checked_step(self, step: int) -> int:
        """Return `step` as an int; raise ScheduleError outside the schedule."""
        try:
            number = operator.index(step)
        except TypeError:
            raise ScheduleError(f"`step` must be an integer, got {_show(step)}.") from None
        if not 0 <= number < self.num_total_steps or isinstance(step, bool):
            raise ScheduleError(
                f"`step` must be from 0 to {self.num_total_steps - 1}, as this schedule holds"
                f" {self.num_total_steps} steps, got {_show(step)}."
            )
        return number


def _merged(segments: Iterable[Segment]) -> Iterator[Segment]:
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


# --------------------------------------------------------------------------------------------------------- factories
class SequentialModificationFactory(Schedule):
    """The listed modifications one after the other.

    switching_thresholds: strictly increasing steps, threshold i is where modification i+1 begins: one fewer than
        modifications, or as many (then the last one is where the last modification ends, and changes nothing).
    seed: accepted as by all factories; nothing is random here.
    """

    def __init__(
        self, num_total_steps: int, modifications: Sequence[str], switching_thresholds: Sequence[int], seed: int = 0
    ) -> None:
        super().__init__(num_total_steps)
        _checked_int("seed", seed, minimum=0)
        self._modifications = _checked_modifications("modifications", modifications)
        self._begins = _checked_thresholds(switching_thresholds, len(self._modifications), self.num_total_steps)

    def get_modification(self, step: int) -> str:
        return self._modifications[bisect_right(self._begins, self._checked_step(step))]

    def possible_modifications(self) -> list[str]:
        return list(dict.fromkeys(self._modifications))

    def _segments(self, start: int, stop: int, skip: Set[str] = frozenset()) -> Iterator[Segment]:
        borders = [0, *self._begins, self.num_total_steps]
        for (begin, end), modification in zip(itertools.pairwise(borders), self._modifications, strict=True):
            if begin < stop and end > start:
                yield max(begin, start), min(end, stop), modification


class CyclicModificationFactory(Schedule):
    """The listed modifications one after the other, and all of that `num_cycles` times.

    steps: how long each one is played in every cycle, one number for all or one per modification; so the schedule holds
        `num_cycles` times their sum.
    """

    def __init__(
        self, modifications: Sequence[str], steps: int | Sequence[int], num_cycles: int, seed: int = 0
    ) -> None:
        _checked_int("seed", seed, minimum=0)  # accepted as by all factories; nothing is random here
        self._modifications = _checked_modifications("modifications", modifications)
        lengths = _checked_steps(steps, len(self._modifications))
        self._begins = [0, *itertools.accumulate(lengths)]  # within a cycle, the last one being where it ends
        super().__init__(_checked_int("num_cycles", num_cycles, minimum=1) * self._begins[-1])

    def get_modification(self, step: int) -> str:
        return self._modifications[bisect_right(self._begins, self._checked_step(step) % self._begins[-1]) - 1]

    def possible_modifications(self) -> list[str]:
        return list(dict.fromkeys(self._modifications))

    def _segments(self, start: int, stop: int, skip: Set[str] = frozenset()) -> Iterator[Segment]:
        cycle = self._begins[-1]
        for first in range(start // cycle * cycle, stop, cycle):
            for (begin, end), modification in zip(itertools.pairwise(self._begins), self._modifications, strict=True):
                if first + begin < stop and first + end > start:
                    yield max(first + begin, start), min(first + end, stop), modification


class NoModificationFactory(SequentialModificationFactory):
    """The unmodified game throughout."""

    def __init__(self, num_total_steps: int, seed: int = 0) -> None:
        super().__init__(num_total_steps, [""], [], seed=seed)


class RandomModificationFactory(Schedule):
    """Independent draws from `modifications`, each held for `num_repetitions` steps; the first draw is like any other.

    probabilities: one per modification, summing to 1; uniform when omitted.
    """

    def __init__(
        self,
        num_total_steps: int,
        modifications: Sequence[str],
        probabilities: Sequence[float] | None = None,
        num_repetitions: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(num_total_steps)
        strings = _checked_modifications("modifications", modifications)
        weights = _checked_probabilities(probabilities, len(strings))
        self._num_repetitions = _checked_int("num_repetitions", num_repetitions, minimum=1)
        self._draws = _Draws(_checked_int("seed", seed, minimum=0), _DRAW)
        # What has probability 0 goes here, not when drawing, where rounding of the sums could let it through.
        drawn = [(string, weight) for string, weight in zip(strings, weights, strict=True) if weight > 0]
        self._modifications = [string for string, _ in drawn]
        # Upper ends of all intervals of [0, 1) but the last: a number above them all belongs to the last modification.
        self._edges = list(itertools.accumulate(weight for _, weight in drawn[:-1]))

    def get_modification(self, step: int) -> str:
        block = self._checked_step(step) // self._num_repetitions
        return self._modifications[bisect_right(self._edges, self._draws[block])]

    def possible_modifications(self) -> list[str]:
        return list(dict.fromkeys(self._modifications))

    def _segments(self, start: int, stop: int, skip: Set[str] = frozenset()) -> Iterator[Segment]:
        if len(set(self._modifications)) == 1:
            yield start, stop, self._modifications[0]
            return
        hold = self._num_repetitions
        wanted = np.ones(len(self._modifications), dtype=bool)  # false: found to be in `skip`, which may grow meanwhile
        for first, numbers in self._draws.ranges(start // hold, -(-stop // hold)):
            choices = np.searchsorted(self._edges, numbers, side="right")
            changes = np.flatnonzero(np.diff(choices)) + 1
            begins, ends = np.append(0, changes), np.append(changes, len(choices))
            kept = wanted[choices[begins]]
            for begin, end in zip(begins[kept].tolist(), ends[kept].tolist(), strict=True):
                modification = self._modifications[choices[begin]]
                if modification in skip:
                    wanted[choices[begin]] = False
                    continue
                yield max((first + begin) * hold, start), min((first + end) * hold, stop), modification


class AllCombinationsRandomModificationFactory(RandomModificationFactory):
    """Independent draws from the product of several lists, e.g. colour x speed, joined in the order of the lists.

    probabilities: one per combination, in the order of `itertools.product`; uniform when omitted.
    """

    def __init__(
        self,
        num_total_steps: int,
        modifications: Sequence[Sequence[str]],
        probabilities: Sequence[float] | None = None,
        num_repetitions: int = 1,
        seed: int = 0,
    ) -> None:
        factors = [
            _checked_modifications(f"modifications[{index}]", factor)
            for index, factor in enumerate(
                _checked_list("modifications", modifications, "lists of modification strings")
            )
        ]
        count = math.prod(len(factor) for factor in factors)
        if count > _MAX_COMBINATIONS:
            raise ScheduleError(f"`modifications` must have at most {_MAX_COMBINATIONS} combinations, got {count}.")
        combinations = [" ".join(names) for names in itertools.product(*factors)]
        super().__init__(num_total_steps, combinations, probabilities, num_repetitions, seed)


class CombinedModificationFactory(Schedule):
    """Several factories back to back; each one, a *phase*, sees its own local step.

    modification_factory_kwargs: a mapping of factory name to its arguments, or, so that a class can be used twice, a
        list of {"modification_factory": name, "modification_factory_kwargs": arguments}. A phase may be combined too.
    """

    def __init__(
        self, modification_factory_kwargs: Mapping[str, Any] | Sequence[Mapping[str, Any]], seed: int = 0
    ) -> None:
        seed = _checked_int("seed", seed, minimum=0)
        phases: list[Phase] = []
        start = 0
        for position, (name, kwargs) in enumerate(_phase_entries(modification_factory_kwargs)):
            try:
                factory = make_factory(name, kwargs, seed=_phase_seed(seed, position))
            except ScheduleError as error:
                raise ScheduleError(f"phase {position + 1}: {error}") from None
            phases.append(Phase(start, start + factory.num_total_steps, factory))
            start += factory.num_total_steps
        self.depth = 1 + max(phase.factory.depth for phase in phases)
        if self.depth > _MAX_DEPTH:  # each level costs several calls inside each other, of which Python allows 1000
            raise ScheduleError(f"combined schedules may be at most {_MAX_DEPTH} deep inside each other.")
        super().__init__(start)
        self.phases = phases
        self._starts = [phase.start for phase in phases]

    def rewrite(self, form: Callable[[str], str]) -> None:
        for phase in self.phases:
            phase.factory.rewrite(form)

    def get_modification(self, step: int) -> str:
        step = self._checked_step(step)
        phase = self.phases[bisect_right(self._starts, step) - 1]
        return phase.factory.get_modification(step - phase.start)

    def possible_modifications(self) -> list[str]:
        return list(dict.fromkeys(name for phase in self.phases for name in phase.factory.possible_modifications()))

    def _segments(self, start: int, stop: int, skip: Set[str] = frozenset()) -> Iterator[Segment]:
        for phase in self.phases:
            low, high = max(phase.start, start), min(phase.stop, stop)
            if low < high:
                for begin, end, modification in phase.factory.segments(low - phase.start, high - phase.start):
                    yield phase.start + begin, phase.start + end, modification


def _phase_entries(given: object) -> list[tuple[str, Any]]:
    """Return (factory name, arguments) of each phase from either form of `modification_factory_kwargs`."""
    wanted = ("modification_factory", "modification_factory_kwargs")
    if isinstance(given, Mapping) and given:
        return list(given.items())
    if not isinstance(given, (list, tuple)) or not given:
        raise ScheduleError(
            "`modification_factory_kwargs` must be an object of factory names and their arguments, or a list of"
            f' {{"{wanted[0]}": ..., "{wanted[1]}": ...}}, with at least one phase, got {_show(given)}.'
        )
    entries = []
    for position, entry in enumerate(given, start=1):
        if not isinstance(entry, Mapping) or wanted[0] not in entry:
            raise ScheduleError(f"phase {position} must be an object with `{wanted[0]}`, got {_show(entry)}.")
        for key in entry:
            if key not in wanted:
                raise ScheduleError(f"phase {position} has an unknown key `{key}`.{_nearest(key, wanted)}")
        entries.append((entry[wanted[0]], entry.get(wanted[1], {})))
    return entries


class _EpsilonSchedule(Schedule):
    """A schedule that now and then replays something from one of its earlier parts.

    Time is cut into hold blocks of `num_repetitions` steps. In each block, with probability `epsilon`, one string is
    replayed for the whole block, drawn uniformly from `_earlier[:_counts[part]]`, where `part` is what the block's
    first step belongs to. Where nothing is earlier, the block follows the schedule.

    Purity: whether a block replays, and what, depends on its own two random numbers and on its part alone.
    """

    def __init__(
        self, scheduled: Schedule, borders: Sequence[int], epsilon: float, num_repetitions: int, seed: int
    ) -> None:
        super().__init__(scheduled.num_total_steps)
        if not _is_number(epsilon) or not 0 <= epsilon <= 1:
            raise ScheduleError(f"`epsilon` must be a number from 0 to 1, got {_show(epsilon)}.")
        self.phases, self.depth = scheduled.phases, scheduled.depth
        self._scheduled = scheduled
        self._borders = list(borders)  # where the parts after the first begin
        self._epsilon = float(epsilon)
        self._num_repetitions = _checked_int("num_repetitions", num_repetitions, minimum=1)
        self._coins = _Draws(seed, _REPLAY_COIN)
        self._choices = _Draws(seed, _REPLAY_CHOICE)
        self._earlier: list[str] = []  # what can be replayed in the last part; earlier parts know its beginning
        self._counts = [0]  # how much of it, for each part

    def rewrite(self, form: Callable[[str], str]) -> None:
        self._scheduled.rewrite(form)

    def _look_back(self, part: int) -> None:
        """Complete `_earlier` and `_counts` as far as `part` needs them."""

    def get_modification(self, step: int) -> str:
        step = self._checked_step(step)
        block = step // self._num_repetitions
        if self._coins[block] < self._epsilon:
            part = bisect_right(self._borders, block * self._num_repetitions)
            self._look_back(part)
            if part > 0:
                return self._earlier[int(self._choices[block] * self._counts[part])]
        return self._scheduled.get_modification(step)

    def possible_modifications(self) -> list[str]:
        return self._scheduled.possible_modifications()

    def _segments(self, start: int, stop: int, skip: Set[str] = frozenset()) -> Iterator[Segment]:
        replays = self._replays(start, stop)
        replay = next(replays, None)
        for position, end, modification in self._scheduled.segments(start, stop):
            while position < end:
                if replay is None or position < replay[0]:
                    border = end if replay is None else min(replay[0], end)
                    yield position, border, modification
                else:
                    border = min(replay[1], end)
                    yield position, border, replay[2]
                    if border == replay[1]:
                        replay = next(replays, None)
                position = border

    def _replays(self, start: int, stop: int) -> Iterator[Segment]:
        """Yield the replays between `start` and `stop` in order; neighbouring blocks with one choice are one piece."""
        hold = self._num_repetitions
        if not self._borders or self._epsilon == 0:
            return
        first = max(start // hold, -(-self._borders[0] // hold))  # blocks before it have nothing to replay
        for begin, coins in self._coins.ranges(first, -(-stop // hold)):
            blocks = begin + np.flatnonzero(coins < self._epsilon)
            if not len(blocks):
                continue
            parts = np.searchsorted(self._borders, blocks * hold, side="right")
            self._look_back(int(parts[-1]))
            numbers = np.concatenate([numbers for _, numbers in self._choices.ranges(begin, begin + len(coins))])
            choices = (numbers[blocks - begin] * np.array(self._counts)[parts]).astype(int)
            changes = np.flatnonzero((np.diff(blocks) > 1) | (np.diff(choices) != 0)) + 1
            firsts, lasts = np.append(0, changes), np.append(changes, len(blocks)) - 1
            for low, high, choice in zip(
                blocks[firsts].tolist(), blocks[lasts].tolist(), choices[firsts].tolist(), strict=True
            ):
                yield max(low * hold, start), min((high + 1) * hold, stop), self._earlier[choice]


class EpsSequentialModificationFactory(_EpsilonSchedule):
    """`SequentialModificationFactory` that, in each hold block of `num_repetitions` steps, with probability `epsilon`
    replays one of the list entries before the present one. All of them are as likely: what stands in the list twice
    is replayed twice as often."""

    def __init__(
        self,
        num_total_steps: int,
        modifications: Sequence[str],
        switching_thresholds: Sequence[int],
        epsilon: float = 0.05,
        num_repetitions: int = 1,
        seed: int = 0,
    ) -> None:
        scheduled = SequentialModificationFactory(num_total_steps, modifications, switching_thresholds, seed)
        super().__init__(scheduled, scheduled._begins, epsilon, num_repetitions, seed)
        self._earlier = scheduled._modifications
        self._counts = list(range(len(self._earlier)))


class EpsCombinedModificationFactory(_EpsilonSchedule):
    """`CombinedModificationFactory` that, in each hold block of `num_repetitions` steps (of the whole schedule), with
    probability `epsilon` replays one of the distinct strings that the phases before the present one really played.

    The phases are the entries of this factory itself; one that is combined again is one phase. A string that was due
    but hidden by replays was not played.
    """

    def __init__(
        self,
        modification_factory_kwargs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        epsilon: float = 0.05,
        num_repetitions: int = 1,
        seed: int = 0,
    ) -> None:
        scheduled = CombinedModificationFactory(modification_factory_kwargs, seed)
        super().__init__(scheduled, scheduled._starts[1:], epsilon, num_repetitions, seed)
        self._seen: set[str] = set()  # the same as `_earlier`

    def _look_back(self, part: int) -> None:
        # Replays add nothing to what was played before, so phases can be gone through one after the other, once.
        while len(self._counts) <= part:
            self._see(self.phases[len(self._counts) - 1])
            self._counts.append(len(self._earlier))

    def _see(self, phase: Phase) -> None:
        """Add what `phase` plays for the first time, in the order in which its schedule does."""
        missing = set(phase.factory.possible_modifications()) - self._seen
        is_complete = _lists_everything(phase.factory)
        if is_complete and not missing:
            return
        # `_seen` grows while the phase leaves out what is in it: that saves walking through millions of draws.
        for start, stop, modification in phase.factory._segments(0, phase.stop - phase.start, skip=self._seen):
            if modification in self._seen or not self._is_shown(phase.start + start, phase.start + stop):
                continue
            self._earlier.append(modification)
            self._seen.add(modification)
            missing.discard(modification)
            if is_complete and not missing:
                return

    def _is_shown(self, start: int, stop: int) -> bool:
        """Return whether any of the steps `start` to `stop - 1` follows the schedule."""
        hold = self._num_repetitions
        if not self._borders or start // hold * hold < self._borders[0]:
            return True
        return any((coins >= self._epsilon).any() for _, coins in self._coins.ranges(start // hold, -(-stop // hold)))


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
        for low in range(start, stop, _CHUNK):  # in pieces, so that a caller who needs few regimes asks few steps
            high = min(low + _CHUNK, stop)
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
                    f"{self.label}: `get_modification({self._num_asked})` must return a string, got {_show(answer)}."
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
                f" lacks: {_show(self._possible)}."
            )


modification_factory_mapping: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        NoModificationFactory,
        SequentialModificationFactory,
        EpsSequentialModificationFactory,
        CyclicModificationFactory,
        RandomModificationFactory,
        AllCombinationsRandomModificationFactory,
        CombinedModificationFactory,
        EpsCombinedModificationFactory,
    )
}
_BUILT_IN = frozenset(modification_factory_mapping.values())


def _custom_parts(factory: Schedule) -> list[CustomSchedule]:
    if isinstance(factory, CustomSchedule):
        return [factory]
    return [custom for phase in factory.phases for custom in _custom_parts(phase.factory)]


def _lists_everything(factory: Schedule) -> bool:
    return all(custom.lists_everything for custom in _custom_parts(factory))


# ------------------------------------------------------------------------------------------- from names to factories
def make_factory(name: str, kwargs: Mapping[str, Any], *, seed: int) -> Schedule:
    """Build the factory `name`: a key of `modification_factory_mapping` or an importable `package.module:Class`.

    `seed` goes to every class whose `__init__` has that argument, unless `kwargs` gives one. Other classes
    than those of this module come back inside a `CustomSchedule`. Raises ScheduleError, the factory's name in front.
    """
    cls = _factory_class(name)
    try:
        arguments = _checked_arguments(cls, kwargs, seed)
        factory = cls(**arguments)
        if isinstance(factory, Schedule) and cls in _BUILT_IN:
            return factory
        total: Any = getattr(factory, "num_total_steps", arguments.get("num_total_steps"))
        return CustomSchedule(factory, total)
    except ScheduleError as error:
        raise ScheduleError(f"{name}: {error}") from None


def _factory_class(name: object) -> type:
    if isinstance(name, str) and ":" in name:
        return _imported_class(name)
    if not isinstance(name, str) or name not in modification_factory_mapping:
        known = ", ".join(modification_factory_mapping)
        raise ScheduleError(
            f"`modification_factory` {_show(name)} is unknown.{_nearest(name, modification_factory_mapping)}"
            f" Allowed are {known}, or a class of your own as `package.module:Class`."
        )
    return modification_factory_mapping[name]


def _imported_class(name: str) -> type:
    module_name, _, class_name = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), class_name]):
        raise ScheduleError(f"`modification_factory` {name!r} must have the form `package.module:Class`.")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ScheduleError(
            f"`modification_factory` {name!r}: importing `{module_name}` failed ({error});"
            " is its folder in PYTHONPATH (for the current folder: `PYTHONPATH=. python ...`)?"
        ) from error
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type) or not callable(getattr(cls, "get_modification", None)):
        raise ScheduleError(
            f"`modification_factory` {name!r}: `{module_name}` must hold a class `{class_name}` with a method"
            f" `get_modification(step)`.{_nearest(class_name, vars(module))}"
        )
    return cls


def _checked_arguments(cls: type, kwargs: object, seed: int) -> dict[str, Any]:
    """Return the keyword arguments for `cls`; an unknown or a missing one is a ScheduleError, not a TypeError."""
    if not isinstance(kwargs, Mapping):
        raise ScheduleError(f"`modification_factory_kwargs` must be an object of arguments, got {_show(kwargs)}.")
    parameters = inspect.signature(cls).parameters
    named = [name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in kwargs:
        if name not in named and not takes_any:
            raise ScheduleError(
                f"unknown argument `{name}`.{_nearest(name, named)} Allowed are {', '.join(named) or 'none'}."
            )
    arguments = {"seed": seed, **kwargs} if "seed" in named else dict(kwargs)
    missing = [name for name in named if parameters[name].default is inspect.Parameter.empty and name not in arguments]
    if missing:
        raise ScheduleError(f"the argument `{missing[0]}` is missing, got {_show(list(kwargs))}.")
    return arguments


def schedule_from_config(
    config: Mapping[str, Any], *, seed: int, total_timesteps: int | None = None, modifs: str = ""
) -> Schedule:
    """Return the schedule of a run from `modification_factory` and `modification_factory_kwargs` of its configuration.

    Without a factory the run plays `modifs` throughout. A factory without `num_total_steps` gets `total_timesteps`.
    Raises ScheduleError, also when `total_timesteps` is more than the schedule holds.
    """
    name, kwargs = config.get("modification_factory"), config.get("modification_factory_kwargs")
    if total_timesteps is not None:
        total_timesteps = _checked_int("total_timesteps", total_timesteps, minimum=1)
    if name in (None, ""):
        if kwargs:
            raise ScheduleError("`modification_factory_kwargs` is given but `modification_factory`, its class, is not.")
        if total_timesteps is None:
            raise ScheduleError("nothing says how long the run is: give `total_timesteps` or a `modification_factory`.")
        return SequentialModificationFactory(total_timesteps, [normalise_modification(modifs)], [], seed=seed)
    kwargs = {} if kwargs is None else kwargs
    takes_total = "num_total_steps" in inspect.signature(_factory_class(name)).parameters
    if total_timesteps is not None and takes_total and isinstance(kwargs, Mapping):
        kwargs = {"num_total_steps": total_timesteps, **kwargs}
    try:
        factory = make_factory(name, kwargs, seed=seed)
    except RecursionError:  # deeper still than what `CombinedModificationFactory` refuses
        raise ScheduleError(f"combined schedules may be at most {_MAX_DEPTH} deep inside each other.") from None
    if total_timesteps is not None and total_timesteps > factory.num_total_steps:
        raise ScheduleError(
            f"`total_timesteps` must be at most {factory.num_total_steps}, the steps that the schedule holds,"
            f" got {total_timesteps}; lengthen the schedule or shorten the run."
        )
    return factory


def load_config(path: str | Path) -> dict[str, Any]:
    """Read a JSON object; raise ScheduleError when the file is missing, not JSON, no object, or names a key twice."""
    try:
        config = read_json(Path(path), "config")
    except JSONFileError as error:
        raise ScheduleError(str(error)) from None
    if not isinstance(config, dict):
        raise ScheduleError(f"`{path}` must hold one JSON object {{...}}, got {_show(config)}.")
    return config


# ------------------------------------------------------------------------------- what a run sees, and the warning on it
class _Survey(NamedTuple):
    """The regimes that a run with a number of games sees, all of them or a sample spread over the schedule."""

    regimes: list[Segment]
    complete: bool
    num_scheduled: int  # regimes of the schedule itself, some of which may begin and end between two questions

    @property
    def mean_length(self) -> float:
        """Steps per regime, over all games."""
        return sum(stop - start for start, stop, _ in self.regimes) / len(self.regimes)


def _as_asked(segments: Iterable[Segment], num_envs: int) -> Iterator[Segment]:
    """Yield the regimes that a run notices which asks at the steps 0, num_envs, 2 num_envs, ... only."""
    asked = (
        (-(-start // num_envs) * num_envs, -(-stop // num_envs) * num_envs, name) for start, stop, name in segments
    )
    return _merged(segment for segment in asked if segment[0] < segment[1])


def _survey(factory: Schedule, stop: int, num_envs: int) -> _Survey:
    segments = list(itertools.islice(factory.segments(0, stop), _MAX_SEGMENTS + 1))
    if len(segments) <= _MAX_SEGMENTS:
        return _Survey(list(_as_asked(segments, num_envs)), complete=True, num_scheduled=len(segments))
    windows = 100
    sample: list[Segment] = []
    for window in range(windows):
        piece = factory.segments(window * stop // windows, (window + 1) * stop // windows)
        sample += _as_asked(itertools.islice(piece, _MAX_SEGMENTS // windows), num_envs)
    return _Survey(sample, complete=False, num_scheduled=0)


def regime_warning(
    factory: Schedule, num_envs: int, total_timesteps: int | None = None, switch_mode: str = "reset"
) -> str | None:
    """Return a warning when regimes are on average shorter than 300 steps per game, with the arithmetic and remedies.

    None when they are longer, when nothing switches, and with `switch_mode episode`, which is a remedy. Costs about a
    second at most: beyond 50,000 regimes it samples, and of a custom class it asks the first 1,000,000 steps only.
    """
    if switch_mode == "episode":
        return None
    return _warning_text(_survey(factory, steps_to_ask(factory, total_timesteps), num_envs), num_envs, switch_mode)


def steps_to_ask(factory: Schedule, total_timesteps: int | None = None) -> int:
    """Up to which step of a run its notes ask the schedule; a custom class, which is asked step by step, not all."""
    stop = factory.num_total_steps if total_timesteps is None else total_timesteps
    return min(stop, _MAX_CUSTOM_STEPS) if _custom_parts(factory) else stop


def regime_end(factory: Schedule, began: int, step: int, num_envs: int, total_timesteps: int) -> int | None:
    """When the regime that begins at `began` ends, as a run with so many games sees it; at `step` is the run.

    None where only a custom class could tell, and it had to be asked for more than `steps_to_ask` and `step`.
    """
    stop = min(total_timesteps, max(steps_to_ask(factory, total_timesteps), step + 1))
    _, end, _ = next(_as_asked(factory.segments(began, stop), num_envs))
    return end if end < stop or stop == total_timesteps else None


def decay_note(factory: Schedule, total_timesteps: int | None = None) -> str | None:
    """Return a note for a run whose learning rate decays over all regimes of the schedule; None where nothing switches.

    Of a custom class it asks the first 1,000,000 steps only.
    """
    if next(itertools.islice(factory.segments(0, steps_to_ask(factory, total_timesteps)), 1, None), None) is None:
        return None
    return (
        "note: the learning rate decays to zero over the whole run, so later regimes are learned at lower rates, which "
        "looks like lost plasticity; `--no_anneal_lr` keeps it, `--anneal_lr_per_regime` decays within each regime"
    )


def regime_starts(segments: Iterable[Segment], num_envs: int) -> list[int]:
    """Return the first step of every regime that a run with so many games sees."""
    return [start for start, _, _ in _as_asked(segments, num_envs)]


def _warning_text(survey: _Survey, num_envs: int, switch_mode: str) -> str | None:
    per_game = survey.mean_length / num_envs
    if switch_mode == "episode" or len(survey.regimes) == 1 or per_game >= _SHORT_REGIME:
        return None
    consequence = "most games are cut by a switch before they end"
    if switch_mode == "live":
        consequence = "most games are played under several strings, and their scores belong to none of these"
    return (
        f"regimes are short: {survey.mean_length:,.1f} steps on average / {num_envs} games = {per_game:,.1f} steps per"
        f" game, fewer than {_SHORT_REGIME}, so {consequence}."
        f" Remedies: `--switch_mode episode` (each game finishes first), or longer regimes (larger `num_repetitions`,"
        f" wider thresholds): {_SHORT_REGIME} steps per game are {_SHORT_REGIME * num_envs:,} steps here."
        " In files of the original system N counted rollouts: `python modification_factories.py FILE --from_original`"
        " converts them."
    )


# ----------------------------------------------------------------------------------- files of the original system
def convert_original(name: Any, kwargs: Any, rollout: int) -> Any:
    """Return the arguments of factory `name` in steps; the original asked its factories once per rollout.

    Totals and thresholds were steps there too. `num_repetitions` counted rollouts (1 when omitted), and epsilon was
    tossed once per rollout, so both become holds of `rollout` = num_envs x num_steps steps, or multiples of it.
    """
    if not isinstance(kwargs, Mapping):
        return kwargs  # building the converted schedule reports it
    converted = dict(kwargs)
    if name in ("RandomModificationFactory", "AllCombinationsRandomModificationFactory"):
        converted["num_repetitions"] = _checked_int("num_repetitions", kwargs.get("num_repetitions", 1), 1) * rollout
    if name in ("EpsSequentialModificationFactory", "EpsCombinedModificationFactory"):
        if "num_repetitions" in kwargs:
            raise ScheduleError(
                f"{name}: `num_repetitions` did not exist for it in the original system: is the file converted already?"
            )
        converted["num_repetitions"] = rollout
    inner = kwargs.get("modification_factory_kwargs")
    if isinstance(inner, Mapping):
        converted["modification_factory_kwargs"] = {
            child: convert_original(child, child_kwargs, rollout) for child, child_kwargs in inner.items()
        }
    return converted


# ----------------------------------------------------------------------------------------------- the preview command
class _Preview(NamedTuple):
    """What the command shows: the file, its schedule, and the settings that a run with this file would have."""

    title: str
    factory: Schedule
    stop: int  # steps of the run
    seed: int
    num_envs: int
    num_steps: int
    switch_mode: str


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STRIP_WIDTH = 72  # columns of the timeline
_LISTED = 12


def _name(modification: str, width: int = 60) -> str:
    name = modification or UNMODIFIED
    return name if len(name) <= width else name[: width - 3] + "..."


def _phase_lines(factory: Schedule, offset: int, number: str) -> Iterator[str]:
    for position, phase in enumerate(factory.phases, start=1):
        label = f"{number}{position}"
        start, stop = offset + phase.start, offset + phase.stop
        yield f"  {label:<6}{start:>13,} .. {stop - 1:>13,}   {phase.factory.label}"
        yield from _phase_lines(phase.factory, start, f"{label}.")


def _summary_lines(preview: _Preview, survey: _Survey) -> Iterator[str]:
    factory, num_envs = preview.factory, preview.num_envs
    rollout = num_envs * preview.num_steps
    lengths = [stop - start for start, stop, _ in survey.regimes]
    about = "" if survey.complete else "about "
    count = len(lengths) if survey.complete else round(preview.stop / survey.mean_length)
    yield f"{preview.title}: {factory.label}, seed {preview.seed}"
    part = "" if preview.stop == factory.num_total_steps else f" (of {factory.num_total_steps:,} in the schedule)"
    yield (
        f"Run of {preview.stop:,} steps{part}: {num_envs} games, {preview.stop / num_envs:,.0f} steps per game,"
        f" {math.ceil(preview.stop / rollout):,} rollouts of {rollout:,}"
    )
    if factory.phases:
        yield "\nPhases (first .. last step)"
        yield from _phase_lines(factory, 0, "")
    yield "\nRegimes" if survey.complete else f"\nRegimes (estimated from samples that cover {sum(lengths):,} steps)"
    unseen = f" ({survey.num_scheduled - 1:,} when every step is asked, a run asks every {num_envs})"
    yield f"  switches      {about}{count - 1:,}" + (unseen if survey.num_scheduled > count else "")
    for label, length in (("mean", survey.mean_length), ("shortest", min(lengths)), ("longest", max(lengths))):
        yield f"  {label:<12}{length:>14,.0f} steps = {length / num_envs:>12,.1f} per game"


def _share_lines(survey: _Survey, letters: Mapping[str, str]) -> Iterator[str]:
    steps: Counter[str] = Counter()
    for start, stop, modification in survey.regimes:
        steps[modification] += stop - start
    total = sum(steps.values())
    yield "\nShare of the steps" + ("" if survey.complete else " (estimated)")
    shown = list(letters)[: len(_LETTERS)]
    for modification in shown:
        share = steps[modification] / total
        bar = "#" * round(24 * share)
        yield f"  {letters[modification]}  {_name(modification, 48):<48} {share:>6.1%} {bar}".rstrip()
    if len(letters) > len(shown):
        rest = sum(steps[modification] for modification in list(letters)[len(shown) :])
        yield f"  *  {f'{len(letters) - len(shown):,} further modifications':<48} {rest / total:>6.1%}"


def _timeline_lines(preview: _Preview, letters: Mapping[str, str]) -> Iterator[str]:
    """One letter per column: what is played at the column's first step."""
    width = min(_STRIP_WIDTH, preview.stop)
    firsts = [column * preview.stop // width // preview.num_envs * preview.num_envs for column in range(width)]
    strip = "".join(letters.get(preview.factory.get_modification(step), "*") for step in firsts)
    yield f"\nTimeline (a column is {preview.stop / width:,.0f} steps, its letter what is played where it begins)"
    yield f"  |{strip}|"
    yield f"   0{preview.stop:>{max(width - 1, 1)},}"


def _preview_lines(preview: _Preview, every: int | None) -> Iterator[str]:
    survey = _survey(preview.factory, preview.stop, preview.num_envs)
    played = dict.fromkeys(modification for _, _, modification in survey.regimes)  # in the order of appearance
    letters = dict(zip(played, itertools.chain(_LETTERS, itertools.repeat("*")), strict=False))
    yield from _summary_lines(preview, survey)
    yield from _share_lines(survey, letters)
    yield from _timeline_lines(preview, letters)
    if every is not None:
        yield f"\nEvery {every:,} steps"
        for step in range(0, preview.stop, every):
            yield f"{step:>14,}  {_name(preview.factory.get_modification(step), 200)}"
    else:
        yield "\nFirst regimes (step where it begins, modification); all steps: --every N"
        first = list(
            itertools.islice(_as_asked(preview.factory.segments(0, preview.stop), preview.num_envs), _LISTED + 1)
        )
        for start, _, modification in first[:_LISTED]:
            yield f"{start:>14,}  {_name(modification, 80)}"
        if len(first) > _LISTED:
            yield f"{'...':>14}"
    warning = _warning_text(survey, preview.num_envs, preview.switch_mode)
    if warning:
        yield "\n" + textwrap.fill(f"warning: {warning}", width=96)


_PICTURES = (".png", ".pdf", ".svg")


def _checked_picture(path: str) -> Path:
    target = Path(path)
    if target.suffix.lower() not in _PICTURES:
        raise ScheduleError(f"`plot` must end in {', '.join(_PICTURES[:-1])} or {_PICTURES[-1]}, got {_show(path)}.")
    if target.is_dir() or not target.parent.is_dir():
        problem = "is a folder itself" if target.is_dir() else "lies in a folder that does not exist"
        raise ScheduleError(f"`plot` must be a file in a folder that exists, but {_show(path)} {problem}.")
    return target


def _leaf_phases(factory: Schedule, stop: int, offset: int = 0, number: str = "") -> Iterator[Segment]:
    """Yield the innermost phases before `stop` with the numbers that the preview gives them."""
    for position, phase in enumerate(factory.phases, start=1):
        start, end = offset + phase.start, min(offset + phase.stop, stop)
        if start < end and phase.factory.phases:
            yield from _leaf_phases(phase.factory, stop, start, f"{number}{position}.")
        elif start < end:
            yield start, end, f"{number}{position} {phase.factory.label.removesuffix('ModificationFactory')}"


def _plot(preview: _Preview, target: Path) -> None:
    """Draw the schedule as a run sees it; ScheduleError if the file cannot be written."""
    from continual_hackatari.schedules import (
        plot,  # loads matplotlib, which takes half a second and is needed here only
    )

    survey = _survey(preview.factory, preview.stop, preview.num_envs)
    about = "" if survey.complete else "about "
    count = len(survey.regimes) if survey.complete else round(preview.stop / survey.mean_length)
    timeline = plot.Timeline(
        title=f"{preview.title}: {preview.factory.label}, seed {preview.seed}",
        subtitle=f"{preview.stop:,} steps in {preview.num_envs} games, {about}{count - 1:,} switches,"
        f" {survey.mean_length:,.0f} steps per regime on average",
        regimes=[(start, stop, name or UNMODIFIED) for start, stop, name in survey.regimes],
        sampled=not survey.complete,
        phases=list(_leaf_phases(preview.factory, preview.stop)),
        stop=preview.stop,
    )
    try:
        plot.draw(target, timeline)
    except OSError as error:
        raise ScheduleError(f"`plot` {_show(str(target))} cannot be written: {error.strerror or error}.") from None


class _Parser(argparse.ArgumentParser):
    """A wrong option is one sentence, as everything else that is wrong."""

    def error(self, message: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        unknown = message.partition("unrecognized arguments: ")[2].split("=")[0].split()
        near = _nearest(unknown[0], known) if unknown else ""
        raise ScheduleError(f"{message}; --help lists the options.{near}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="modification_factories.py", allow_abbrev=False, description="Preview the schedule of a run's JSON file."
    )
    parser.add_argument("config", help="JSON file with modification_factory and modification_factory_kwargs")
    parser.add_argument("--every", type=int, metavar="N", help="print the modification of every N-th step")
    parser.add_argument("--plot", metavar="FILE", help="also draw the schedule (.png, .pdf or .svg)")
    in_training = "as in training, if not in the JSON file"
    parser.add_argument("--modification_file", "--modification-file", metavar="FILE", help=in_training)
    parser.add_argument("--env_id", "--env-id", metavar="ID", help=in_training)
    parser.add_argument(
        "--full_action_space", "--full-action-space", action="store_true", default=None, help=in_training
    )
    parser.add_argument("--total_timesteps", "--total-timesteps", type=float, metavar="N", help=in_training)
    parser.add_argument("--seed", type=int, help="seed of the run (default 42)")
    parser.add_argument("--num_envs", "--num-envs", type=int, help="games (default 8; 1 with --from_original)")
    parser.add_argument("--num_steps", "--num-steps", type=int, help="steps per game and rollout (default 128)")
    parser.add_argument(
        "--from_original",
        "--from-original",
        action="store_true",
        help="convert a file of the original system, whose num_repetitions counted rollouts; prints the new JSON",
    )
    return parser


_OF_THE_GAME = ("modification_file", "env_id", "full_action_space")


def _settings(path: str, config: Mapping[str, Any], options: argparse.Namespace, notes: Any) -> dict[str, Any]:
    """Return what command line and file say: defaults < command line < JSON, as in training; say what is overridden."""
    minima = {"total_timesteps": 1, "seed": 0, "num_envs": 1, "num_steps": 1}
    settings: dict[str, Any] = {"seed": 42, "num_envs": 1 if options.from_original else 8, "num_steps": 128}
    settings |= dict.fromkeys(("total_timesteps", *_OF_THE_GAME))

    def checked(name: str, value: Any) -> Any:
        free = name not in minima or (name, value) == ("total_timesteps", None)
        return value if free else _checked_int(name, value, minima[name])

    for name in settings:
        asked = getattr(options, name)
        if asked is not None:
            settings[name] = asked = checked(name, asked)
        if name in config:
            settings[name] = checked(name, config[name])
            if asked not in (None, settings[name]):
                print(f"warning: {Path(path).name} overrides --{name}: {asked} -> {settings[name]}", file=notes)
    return settings


def _print_converted(config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    name = config.get("modification_factory")
    if name in (None, ""):
        raise ScheduleError("there is no `modification_factory` to convert.")
    rollout = settings["num_envs"] * settings["num_steps"]
    converted = dict(config)
    if "modification_factory_kwargs" in config:
        converted["modification_factory_kwargs"] = convert_original(
            name, config["modification_factory_kwargs"], rollout
        )
    schedule_from_config(converted, seed=settings["seed"], total_timesteps=settings["total_timesteps"])
    print(json.dumps(converted, indent=4))
    print(
        f"Holds were counted in rollouts of num_envs {settings['num_envs']} x num_steps {settings['num_steps']} ="
        f" {rollout:,} steps; totals and thresholds were steps already. All other keys are copied.",
        file=sys.stderr,
    )


Checked = tuple[Sequence[str], Callable[[str], str], Mapping[str, int]]
"""Lines about what else is in a file, what is for `Schedule.rewrite`, and `num_envs` and `num_steps` as the training
script of the file has them by default."""
Check = Callable[[str, Mapping[str, Any]], Checked]
"""(a JSON file, what flags say of the run) -> what is known of it."""


def _not_checked(path: str, flags: Mapping[str, Any]) -> Checked:
    """Schedules need neither the keys of a training nor the names of a game, so who knows these hands in a check."""
    return [], str, {}


def _run_command(options: argparse.Namespace, check: Check) -> None:
    config = load_config(options.config)
    settings = _settings(options.config, config, options, sys.stderr if options.from_original else sys.stdout)
    if options.every is not None:
        _checked_int("every", options.every, minimum=1)
    target = None if options.plot is None else _checked_picture(options.plot)
    if options.from_original:
        for name in ("every", "plot"):
            if getattr(options, name) is not None:
                raise ScheduleError(f"`--{name}` previews and `--from_original` converts: give one of them.")
        _print_converted(config, settings)
        return
    total_timesteps = settings["total_timesteps"]
    factory = schedule_from_config(
        config, seed=settings["seed"], total_timesteps=total_timesteps, modifs=config.get("modifs", "")
    )
    flags = {name: settings[name] for name in ("total_timesteps", *_OF_THE_GAME) if settings[name] is not None}
    notes, form, rollout = check(options.config, flags)
    settings |= {name: n for name, n in rollout.items() if name not in config and getattr(options, name) is None}
    factory.rewrite(form)
    preview = _Preview(
        title=Path(options.config).name,
        factory=factory,
        stop=factory.num_total_steps if total_timesteps is None else total_timesteps,
        switch_mode=config.get("switch_mode", "reset"),
        **{name: settings[name] for name in ("seed", "num_envs", "num_steps")},
    )
    for line in [*notes, *_preview_lines(preview, options.every)]:
        print(line)
    if target is not None:
        _plot(preview, target)
        print(f"\nplot: {target}")


def _one_line(text: str, limit: int = 1000) -> str:
    """`text`, in which there may be anything from the file, on one line that a terminal shows as it is."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    half = limit // 2 - 3
    return text if len(text) <= limit else f"{text[:half]} ... {text[-half:]}"


def main(argv: Sequence[str] | None = None, check: Check = _not_checked) -> int:
    """Run the preview command; return its exit code, 2 for anything wrong in the file or the options.

    check: of the names of the game and the keys of a training, see `Check`; it may raise ScheduleError.
    """
    try:
        _run_command(_parser().parse_args(argv), check)
        sys.stdout.flush()
    except ScheduleError as error:
        print(f"error: {_one_line(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, e.g. `head`, has seen enough; Python would complain again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
