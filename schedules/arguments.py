"""Arguments of schedules, checked: what is wrong is one sentence that says what was given and what is allowed."""

import difflib
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from continual_hackatari.names import parse

_MAX_STEPS = 10**15  # more could not be counted one by one in floating point
_SUM_TOLERANCE = 1e-5  # on the sum of probabilities, so that three times 0.333333 passes


class ScheduleError(ValueError):
    """Something in a schedule that its author can mend: one sentence says what was given and what is allowed."""


def normalise_modification(string: str) -> str:
    """Return `string` with single spaces between its names and none around them; the order of the names stays.

    `no_modif`, which is how people write the unmodified game, becomes "", and `Breakout: no_modif` becomes `Breakout:`.
    """
    if not isinstance(string, str):
        raise ScheduleError(
            f'a modification must be a string of names, "" for the unmodified game, got {shown(string)}.'
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


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def nearest(name: object, allowed: Iterable[str]) -> str:
    matches = difflib.get_close_matches(str(name), list(allowed), n=1)
    return f" Did you mean `{matches[0]}`?" if matches else ""


def checked_int(name: str, value: object, minimum: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON's 1e6
    # bool is a subclass of int: without the second test `true` in the JSON would silently mean 1.
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < minimum:
        raise ScheduleError(f"`{name}` must be an integer of at least {minimum}, got {shown(value)}.")
    if name != "seed" and value > _MAX_STEPS:
        raise ScheduleError(f"`{name}` must be at most {_MAX_STEPS:,}, got {shown(value)}.")
    return int(value)


def is_number(value: object) -> bool:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    try:
        return number and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # a whole number of hundreds of digits
        return False


def checked_list(name: str, value: object, content: str, allow_empty: bool = False) -> list[Any]:
    if not isinstance(value, (list, tuple)) or not (value or allow_empty):
        size = "a list" if allow_empty else "a list with at least one entry"
        raise ScheduleError(f"`{name}` must be {size}, of {content}, got {shown(value)}.")
    return list(value)


def checked_modifications(name: str, value: object) -> list[str]:
    modifications = []
    for index, entry in enumerate(checked_list(name, value, "modification strings")):
        if not isinstance(entry, str):
            raise ScheduleError(f"`{name}[{index}]` must be a modification string, got {shown(entry)}.")
        modifications.append(normalise_modification(entry))
    return modifications


def checked_thresholds(value: object, num_modifications: int, num_total_steps: int) -> list[int]:
    """Return the steps at which modification 1, 2, ... begins: one fewer than there are modifications."""
    name = "switching_thresholds"
    given = checked_list(name, value, "steps", allow_empty=True)
    if len(given) not in (num_modifications - 1, num_modifications):
        raise ScheduleError(
            f"`{name}` must hold {num_modifications - 1} steps, where modifications 2 to {num_modifications} begin"
            f" (or {num_modifications}, the last one being the end), for {num_modifications} modifications,"
            f" got {len(given)}: {shown(value)}."
        )
    thresholds = [checked_int(f"{name}[{index}]", entry, minimum=1) for index, entry in enumerate(given)]
    for earlier, later in itertools.pairwise(thresholds):
        if later <= earlier:
            raise ScheduleError(f"`{name}` must be strictly increasing, got {later} after {earlier} in {shown(value)}.")
    begins, end = thresholds[: num_modifications - 1], thresholds[num_modifications - 1 :]
    if begins and begins[-1] >= num_total_steps:
        raise ScheduleError(
            f"`{name}` must be smaller than `num_total_steps` {num_total_steps}, got {begins[-1]}:"
            " the modification that begins there would never be played."
        )
    if end and end[0] > num_total_steps:
        raise ScheduleError(f"`{name}` must end at `num_total_steps` {num_total_steps} or before, got {end[0]}.")
    return begins


def checked_steps(value: object, num_modifications: int) -> list[int]:
    """Return how long each modification is played; one number is for all of them."""
    if not isinstance(value, (list, tuple)):
        return [checked_int("steps", value, minimum=1)] * num_modifications
    if len(value) != num_modifications:
        raise ScheduleError(
            f"`steps` must be one number, or hold one for each of the {num_modifications} modifications, got"
            f" {len(value)}: {shown(value)}."
        )
    return [checked_int(f"steps[{index}]", entry, minimum=1) for index, entry in enumerate(value)]


def checked_probabilities(value: object, num_modifications: int) -> list[float]:
    """Return `num_modifications` probabilities that sum to 1; uniform ones for None."""
    if value is None:
        return [1.0 / num_modifications] * num_modifications
    probabilities = checked_list("probabilities", value, "numbers")
    if len(probabilities) != num_modifications:
        raise ScheduleError(
            f"`probabilities` must hold one number for each of the {num_modifications} modifications or combinations,"
            f" got {len(probabilities)}: {shown(value)}."
        )
    for index, entry in enumerate(probabilities):
        if not is_number(entry) or entry < 0:
            raise ScheduleError(f"`probabilities[{index}]` must be a number of at least 0, got {shown(entry)}.")
    total = math.fsum(probabilities)
    if abs(total - 1.0) > _SUM_TOLERANCE:
        raise ScheduleError(f"`probabilities` must sum to 1, got a sum of {total:g}: {shown(value)}.")
    return [entry / total for entry in probabilities]
