"""Which evaluations a run has asked for so far, from its plan and its switches, to be compared with evals.csv."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.plan import Plan, read_plan


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


def asked_for(folder: Path, settings: Mapping[str, Any]) -> Asked | None:
    """What the run in `folder` has asked for as far as it has come; None where its files do not tell."""
    switches, games = (_read(folder / f"{name}.csv") for name in ("switches", "episodes"))
    try:
        borders = [(int(row["global_step"]), row["from"], row["to"]) for row in switches or []]
        reached = max([0, *(int(row["global_step"]) for row in games or []), *(step for step, *_ in borders)])
        plan = read_plan(folder)
        batch, every = int(settings["num_envs"]) * int(settings["num_steps"]), settings.get("eval_every")
        kept = [(row["checkpoint"], row["shrink_and_perturb"] == "0") for row in switches or []]
        modifs = str(settings.get("modifs") or "")
        first = borders[0][1] if borders else str(games[0]["modification"]) if games else modifs
    except (KeyError, TypeError, ValueError, ConfigError):
        return None
    if switches is None or games is None or not reached:
        return None
    finished = (folder / "model.cleanrl_model").exists()
    if plan is not None:
        return _of_plan(plan, batch, {step for step, *_ in borders}, reached, finished)
    # No plan: a run that was not evaluated while it trained, or one of an earlier version.
    given = [*_list(settings, "eval_modifs"), *_list(settings, "held_out_modifs")]
    if every is None and given:
        every = 0
    trained_on = [first, *(to for _, _, to in borders)]
    places = []
    for phase, (step, _, _) in enumerate(borders):
        checkpoint, same_weights = kept[phase]
        if every is not None or checkpoint:
            places.append(Place(step, phase, trained_on[phase], step + 1))
        if every is not None or (checkpoint and same_weights):
            places.append(Place(step, phase + 1, trained_on[phase + 1], step + 1))
    if finished:  # the games in progress were cut at the run's last step
        places.append(Place(reached, len(borders), trained_on[-1], reached + 1))
    if isinstance(every, int):
        steps = {0} | {-(-multiple // batch) * batch for multiple in range(0, reached, max(every, batch)) if every}
        for step in sorted(step for step in steps if step < reached):
            phase = sum(border < step for border, _, _ in borders)
            following = min([reached, *(border for border, _, _ in borders if border >= step)])
            places.append(Place(step, phase, trained_on[phase], max(step + 1, min(step + batch, following))))
    return Asked(sorted(set(places)), ["" if string == "no_modif" else string for string in given])


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


def _read(path: Path) -> list[dict[str, str]] | None:
    try:
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            return list(csv.DictReader(file))
    except (OSError, csv.Error):
        return None
