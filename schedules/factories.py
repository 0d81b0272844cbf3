"""The factories of schedules, and how a run's file names them.

A factory is a pure function of (constructor arguments, seed, step): it may be asked in any order, any number of times
and from any process, and touches no global random state. A *step* is one agent step in one environment, counted over
all environments, so `num_repetitions 800` with 8 games is 100 steps per game. A *switch* is a change of the
modification string, a *regime* the time between two switches. `docs/schedules.md` describes every argument.
"""

import importlib
import inspect
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from continual_hackatari.json_files import JSONFileError, read_json
from continual_hackatari.schedules.arguments import (
    ScheduleError,
    checked_int,
    checked_list,
    checked_modifications,
    checked_probabilities,
    checked_steps,
    checked_thresholds,
    is_number,
    nearest,
    normalise_modification,
    shown,
)
from continual_hackatari.schedules.base import ModificationFactory, Phase, Schedule, Segment
from continual_hackatari.schedules.custom import CustomSchedule, lists_everything
from continual_hackatari.schedules.draws import DRAW, REPLAY_CHOICE, REPLAY_COIN, Draws, phase_seed

_MAX_COMBINATIONS = 100_000  # a larger product is a mistake in the file: every combination is validated before training
_MAX_DEPTH = 50


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
        checked_int("seed", seed, minimum=0)
        self._modifications = checked_modifications("modifications", modifications)
        self._begins = checked_thresholds(switching_thresholds, len(self._modifications), self.num_total_steps)

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
        checked_int("seed", seed, minimum=0)  # accepted as by all factories; nothing is random here
        self._modifications = checked_modifications("modifications", modifications)
        lengths = checked_steps(steps, len(self._modifications))
        self._begins = [0, *itertools.accumulate(lengths)]  # within a cycle, the last one being where it ends
        super().__init__(checked_int("num_cycles", num_cycles, minimum=1) * self._begins[-1])

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
        strings = checked_modifications("modifications", modifications)
        weights = checked_probabilities(probabilities, len(strings))
        self._num_repetitions = checked_int("num_repetitions", num_repetitions, minimum=1)
        self._draws = Draws(checked_int("seed", seed, minimum=0), DRAW)
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
            checked_modifications(f"modifications[{index}]", factor)
            for index, factor in enumerate(
                checked_list("modifications", modifications, "lists of modification strings")
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
        seed = checked_int("seed", seed, minimum=0)
        phases: list[Phase] = []
        start = 0
        for position, (name, kwargs) in enumerate(_phase_entries(modification_factory_kwargs)):
            try:
                factory = make_factory(name, kwargs, seed=phase_seed(seed, position))
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
            f' {{"{wanted[0]}": ..., "{wanted[1]}": ...}}, with at least one phase, got {shown(given)}.'
        )
    entries = []
    for position, entry in enumerate(given, start=1):
        if not isinstance(entry, Mapping) or wanted[0] not in entry:
            raise ScheduleError(f"phase {position} must be an object with `{wanted[0]}`, got {shown(entry)}.")
        for key in entry:
            if key not in wanted:
                raise ScheduleError(f"phase {position} has an unknown key `{key}`.{nearest(key, wanted)}")
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
        if not is_number(epsilon) or not 0 <= epsilon <= 1:
            raise ScheduleError(f"`epsilon` must be a number from 0 to 1, got {shown(epsilon)}.")
        self.phases, self.depth = scheduled.phases, scheduled.depth
        self._scheduled = scheduled
        self._borders = list(borders)  # where the parts after the first begin
        self._epsilon = float(epsilon)
        self._num_repetitions = checked_int("num_repetitions", num_repetitions, minimum=1)
        self._coins = Draws(seed, REPLAY_COIN)
        self._choices = Draws(seed, REPLAY_CHOICE)
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
        is_complete = lists_everything(phase.factory)
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


modification_factory_mapping: dict[str, type[ModificationFactory]] = {
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
            f"`modification_factory` {shown(name)} is unknown.{nearest(name, modification_factory_mapping)}"
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
            f" `get_modification(step)`.{nearest(class_name, vars(module))}"
        )
    return cls


def _checked_arguments(cls: type, kwargs: object, seed: int) -> dict[str, Any]:
    """Return the keyword arguments for `cls`; an unknown or a missing one is a ScheduleError, not a TypeError."""
    if not isinstance(kwargs, Mapping):
        raise ScheduleError(f"`modification_factory_kwargs` must be an object of arguments, got {shown(kwargs)}.")
    parameters = inspect.signature(cls).parameters
    named = [name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in kwargs:
        if name not in named and not takes_any:
            raise ScheduleError(
                f"unknown argument `{name}`.{nearest(name, named)} Allowed are {', '.join(named) or 'none'}."
            )
    arguments = {"seed": seed, **kwargs} if "seed" in named else dict(kwargs)
    missing = [name for name in named if parameters[name].default is inspect.Parameter.empty and name not in arguments]
    if missing:
        raise ScheduleError(f"the argument `{missing[0]}` is missing, got {shown(list(kwargs))}.")
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
        total_timesteps = checked_int("total_timesteps", total_timesteps, minimum=1)
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
        raise ScheduleError(f"`{path}` must hold one JSON object {{...}}, got {shown(config)}.")
    return config
