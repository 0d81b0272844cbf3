"""Which evaluations a run has asked for so far, from its settings and its switches, to be compared with evals.csv."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from continual_hackatari.reporting.rows import UNMODIFIED


class Place(NamedTuple):
    """A moment of a run whose weights are to be evaluated."""

    global_step: int
    phase: int
    trained_on: str
    stop: int
    """an evaluation of the phase before this step is the one meant: a run that was made longer has shifted rollouts"""


class Asked(NamedTuple):
    """What evals.csv holds when everything is evaluated."""

    places: list[Place]
    strings: list[str]
    """modification strings; none: those that are in the file"""


def asked_for(
    settings: Mapping[str, Any],
    switches: Sequence[Mapping[str, str]],
    games: Sequence[int],
    first: str,
    finished: bool,
) -> Asked | None:
    """What a run has asked for as far as it has come; None where its settings and switches do not tell.

    games: steps at which its games ended. first: the modification string before any switch.
    """
    try:
        borders = [int(row["global_step"]) for row in switches]
        trained_on = [first, *(row["to"] for row in switches)]
        kept = [(row["checkpoint"], row["shrink_and_perturb"] == "0") for row in switches]
        batch, every = int(settings["num_envs"]) * int(settings["num_steps"]), settings.get("eval_every")
    except (KeyError, TypeError, ValueError):
        return None
    reached = int(max([0, *games, *borders]))
    if not reached:
        return None
    places = []
    for phase, (step, (checkpoint, same_weights)) in enumerate(zip(borders, kept, strict=True)):
        if every is not None or checkpoint:
            places.append(Place(step, phase, trained_on[phase], step + 1))
        if every is not None or (checkpoint and same_weights):
            places.append(Place(step, phase + 1, trained_on[phase + 1], step + 1))
    if finished:  # the games in progress were cut at the run's last step
        places.append(Place(reached, len(borders), trained_on[-1], reached + 1))
    if isinstance(every, int):
        steps = {0} | {-(-multiple // batch) * batch for multiple in range(0, reached, max(every, batch)) if every}
        for step in sorted(step for step in steps if step < reached):
            phase = sum(border < step for border in borders)
            following = min([reached, *(border for border in borders if border >= step)])
            places.append(Place(step, phase, trained_on[phase], max(step + 1, min(step + batch, following))))
    strings = [*_list(settings, "eval_modifs"), *_list(settings, "held_out_modifs")] if every is not None else []
    return Asked(sorted(set(places)), ["" if string == UNMODIFIED else string for string in strings])


def _list(settings: Mapping[str, Any], name: str) -> list[str]:
    given = settings.get(name)
    return [str(string) for string in given] if isinstance(given, (list, tuple)) else []
