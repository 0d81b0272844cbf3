"""Schedules in files of the original system, whose holds counted rollouts."""

from collections.abc import Mapping
from typing import Any

from continual_hackatari.schedules.arguments import ScheduleError, checked_int


def convert_original(name: Any, kwargs: Any, rollout: int) -> Any:
    """Return the arguments of factory `name` in steps; the original asked its factories once per rollout.

    Totals and thresholds were steps there too. `num_repetitions` counted rollouts (1 when omitted), and epsilon was
    tossed once per rollout, so both become holds of `rollout` = num_envs x num_steps steps, or multiples of it.
    """
    if not isinstance(kwargs, Mapping):
        return kwargs  # building the converted schedule reports it
    converted = dict(kwargs)
    if name in ("RandomModificationFactory", "AllCombinationsRandomModificationFactory"):
        converted["num_repetitions"] = checked_int("num_repetitions", kwargs.get("num_repetitions", 1), 1) * rollout
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
