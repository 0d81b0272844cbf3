"""What a run sees of a schedule: its regimes, and what is to be said of them before it begins."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from continual_hackatari.schedules.base import Schedule, Segment, merged
from continual_hackatari.schedules.custom import custom_parts

_SHORT_REGIME = 300  # steps per game; few Atari games are over before that
_MAX_SEGMENTS = 50_000  # regimes that a survey looks at before it turns to samples
_WINDOWS = 500  # equal parts of the run, of each of which there is a sample
_GOLDEN_RATIO = 0.618034  # its multiples, without their whole parts, are spread evenly
_MAX_CUSTOM_STEPS = 1_000_000  # steps that the warning asks a custom class, about one second


class Survey(NamedTuple):
    """The regimes that a run with a number of games sees, all of them or a sample spread over the schedule."""

    regimes: list[Segment]
    complete: bool
    num_scheduled: int  # regimes of the schedule itself, some of which may begin and end between two questions
    mean_length: float  # steps per regime, over all games
    shares: dict[str, float]  # of the steps, of each string, in the order of appearance


def as_asked(segments: Iterable[Segment], num_envs: int) -> Iterator[Segment]:
    """Yield the regimes that a run notices which asks at the steps 0, num_envs, 2 num_envs, ... only."""
    asked = (
        (-(-start // num_envs) * num_envs, -(-stop // num_envs) * num_envs, name) for start, stop, name in segments
    )
    return merged(segment for segment in asked if segment[0] < segment[1])


def survey_of(factory: Schedule, stop: int, num_envs: int) -> Survey:
    segments = list(itertools.islice(factory.segments(0, stop), _MAX_SEGMENTS + 1))
    if len(segments) <= _MAX_SEGMENTS:
        regimes = list(as_asked(segments, num_envs))
        whole = _Part(regimes, True, regimes[-1][1])
        return _survey([whole], complete=True, num_scheduled=len(segments))
    if stop <= num_envs * _MAX_SEGMENTS:  # so many games ask few questions, each of which can be put
        asked = ((step, step + num_envs, factory.get_modification(step)) for step in range(0, stop, num_envs))
        regimes = list(merged(asked))
        return _survey([_Part(regimes, True, regimes[-1][1])], complete=True, num_scheduled=len(segments))
    parts = []
    for window in range(_WINDOWS):
        begin, end = window * stop // _WINDOWS, (window + 1) * stop // _WINDOWS
        part = _part(factory, begin, end, num_envs)
        if not part.whole:  # what follows may be another kind of regime, so not always from the beginning on
            part = _part(factory, begin + int((end - begin) * (window * _GOLDEN_RATIO % 1)), end, num_envs)
            part = part._replace(whole=False, steps=end - begin)
        parts.append(part)
    return _survey([part for part in parts if part.regimes], complete=False, num_scheduled=0)


class _Part(NamedTuple):
    """A part of a schedule."""

    regimes: list[Segment]
    """those in it, or a sample: the first that begins somewhere in it, and some that follow"""
    whole: bool
    """whether these are all"""
    steps: int
    """of the part"""


def _part(factory: Schedule, begin: int, end: int, num_envs: int) -> _Part:
    number = _MAX_SEGMENTS // _WINDOWS
    segments = list(itertools.islice(factory.segments(begin, end), number + 1))
    regimes = list(as_asked(segments[:number], num_envs))
    return _Part(regimes, len(segments) <= number, regimes[-1][1] - regimes[0][0] if regimes else 0)


def _survey(parts: Sequence[_Part], *, complete: bool, num_scheduled: int) -> Survey:
    """What the parts say together; a sample stands for the whole of its part, however few steps it has."""
    steps = sum(part.steps for part in parts)
    regimes: list[Segment] = []
    number, shares = 0.0, dict[str, float]()
    for part in parts:
        sampled = part.regimes[-1][1] - part.regimes[0][0]
        for start, stop, name in part.regimes:
            shares[name] = shares.get(name, 0) + (stop - start) / sampled * part.steps / steps
            goes_on = bool(regimes) and regimes[-1][1:] == (start, name)  # from the part before
            number += (not goes_on) if part.whole else 0
            regimes.append((regimes.pop()[0] if goes_on else start, stop, name))
        if not part.whole:  # the first of them has begun before the sample
            _, first_end, _ = part.regimes[0]
            later = len(part.regimes) - 1
            # Where none ends, as many games may see it: half of one, as good a guess as there is.
            number += part.steps * (later / (part.regimes[-1][1] - first_end) if later else 0.5 / sampled)
    return Survey(regimes, complete, num_scheduled, steps / max(number, 1), shares)


def regime_warning(
    factory: Schedule, num_envs: int, total_timesteps: int | None = None, switch_mode: str = "reset"
) -> str | None:
    """Return a warning when regimes are on average shorter than 300 steps per game, with the arithmetic and remedies.

    None when they are longer, when nothing switches, and with `switch_mode episode`, which is a remedy. Costs about a
    second at most: beyond 50,000 regimes it samples, and of a custom class it asks the first 1,000,000 steps only.
    """
    if switch_mode == "episode":
        return None
    return warning_text(survey_of(factory, steps_to_ask(factory, total_timesteps), num_envs), num_envs, switch_mode)


def steps_to_ask(factory: Schedule, total_timesteps: int | None = None) -> int:
    """Up to which step of a run its notes ask the schedule; a custom class, which is asked step by step, not all."""
    stop = factory.num_total_steps if total_timesteps is None else total_timesteps
    return min(stop, _MAX_CUSTOM_STEPS) if custom_parts(factory) else stop


def regime_end(factory: Schedule, began: int, step: int, num_envs: int, total_timesteps: int) -> int | None:
    """When the regime that begins at `began` ends, as a run with so many games sees it; at `step` is the run.

    None where only a custom class could tell, and it had to be asked for more than `steps_to_ask` and `step`.
    """
    stop = min(total_timesteps, max(steps_to_ask(factory, total_timesteps), step + 1))
    _, end, _ = next(as_asked(factory.segments(began, stop), num_envs))
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
    return [start for start, _, _ in as_asked(segments, num_envs)]


def warning_text(survey: Survey, num_envs: int, switch_mode: str) -> str | None:
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
