"""Which evaluations a run has asked for so far, from its plan and its switches, to be compared with evals.csv."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from continual_hackatari.names import game_of, parse
from continual_hackatari.reporting.plan import Plan


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


def still_to_do(asked: Asked, done: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """(string, phase, global step) of all that was asked for and is not `done`, by the same three."""
    done = list(done)
    steps: dict[tuple[str, int], list[int]] = {}
    for string, phase, step in done:
        steps.setdefault((string, phase), []).append(step)
    return [
        (string, place.phase, place.global_step)
        for place in asked.places
        for string in asked.strings or sorted({string for string, *_ in done})
        if not any(place.global_step <= step < place.stop for step in steps.get((string, place.phase), ()))
    ]


def asked_for(
    settings: Mapping[str, Any],
    plan: Plan | None,
    switches: Sequence[Mapping[str, str]],
    games: Sequence[int],
    first: str,
    finished: bool,
) -> Asked | None:
    """What a run has asked for as far as it has come; None where its files do not tell.

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
    if plan is not None:
        return _of_plan(plan, batch, set(borders), reached, finished)
    # No plan: a run that was not evaluated while it trained, or one of an earlier version.
    home = game_of(str(settings.get("env_id"))) if settings.get("full_action_space") else ""
    tasks = [parse(string) for name in ("eval_modifs", "held_out_modifs") for string in _list(settings, name)]
    given = [str(task._replace(game=task.game or home)) for task in tasks]
    if every is None and given:
        every = 0
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
    return Asked(sorted(set(places)), given)


def _of_plan(plan: Plan, batch: int, switches: set[int], reached: int, finished: bool) -> Asked:
    """What of the plan is due: `reached` is the last step that the run's files know."""
    steps = sorted({label.global_step for label in plan.labels})
    following = dict(zip(steps, [*steps[1:], steps[-1] + batch], strict=True))
    places = [
        Place(*label, min(label.global_step + batch, following[label.global_step]))
        for label in plan.labels
        if label.global_step < reached or (label.global_step == reached and (finished or reached in switches))
    ]
    return Asked(places, list(plan.splits))


def _list(settings: Mapping[str, Any], name: str) -> list[str]:
    given = settings.get(name)
    return [str(string) for string in given] if isinstance(given, (list, tuple)) else []
