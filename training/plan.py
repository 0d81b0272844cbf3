"""What is evaluated of a run while it trains: which strings, where, how many games. Kept in `evals/plan.json`.

`args.json` holds what the user gave; here is what that came to with this schedule. The training writes the plan once,
and everything that evaluates the run, or asks what of it is still to be done, reads it.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from continual_hackatari.reporting.plan import PLAN, Label, Plan
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.files import atomic_path

MAX_EVALUATIONS = 1000
"""More would take longer than any training."""


class Places(NamedTuple):
    """Where a run is evaluated."""

    labels: list[Label]
    """at the start, before and after every switch, every so many steps, at the end"""
    played: int
    """how many of these have weights that were not evaluated yet; the others share their games"""

    @property
    def strings(self) -> list[str]:
        """Modification strings in the order in which they are trained on."""
        return list(dict.fromkeys(label.trained_on for label in self.labels))


def place_evaluations(
    regimes: Iterable[tuple[int, int, str]],
    *,
    total_timesteps: int,
    num_envs: int,
    num_steps: int,
    every: int,
    weights_change: bool,
) -> Places:
    """The evaluations of a run before it starts.

    regimes: (first step, first step after it, modification string), in order; the run asks every `num_envs` steps.
    every: steps between two evaluations, 0: none but those of switches, start and end.
    weights_change: at switches, by a method, so that the weights before and after are both evaluated.
    Raises ConfigError for more than `MAX_EVALUATIONS`.
    """
    batch_size = num_envs * num_steps
    multiples = range(0, total_timesteps, max(every, batch_size))[: MAX_EVALUATIONS + 1] if every else range(1)
    regular = {-(-multiple // batch_size) * batch_size for multiple in multiples}
    regular = {step for step in regular if step < total_timesteps and is_due(step, every, batch_size)}
    rollouts = {step // batch_size for step in regular}  # weights change between rollouts ...
    switches: list[tuple[int, str]] = []  # the first is the beginning
    for start, stop, string in regimes:
        first = -(-start // num_envs) * num_envs
        if first >= min(stop, total_timesteps) or (switches and string == switches[-1][1]):
            continue  # it begins and ends between two questions, or does not change the game
        if switches:
            regular.discard(first)  # the same as the one before the switch
            rollouts.add(first // batch_size)
        switches.append((first, string))
        if len(regular) + 2 * len(switches) - 1 > MAX_EVALUATIONS:
            break
    evaluations = len(regular) + 2 * len(switches) - 1
    if evaluations > MAX_EVALUATIONS:
        raise ConfigError(
            f"the run would ask for at least {evaluations:,} evaluations, two per switch and one every `eval_every` "
            f"steps, but at most {MAX_EVALUATIONS:,} are allowed; make the regimes longer or `eval_every` larger, or "
            "train with `--save_agent_with_switch` and evaluate later with `eval.py --run`"
        )
    places = [(step, phase) for phase, (step, _) in enumerate(switches) if phase]
    places += [(step, phase - 1) for step, phase in places]
    places += [(step, sum(first < step for first, _ in switches[1:])) for step in regular]
    places.append((-(-total_timesteps // num_envs) * num_envs, len(switches) - 1))
    labels = [Label(step, phase, switches[phase][1]) for step, phase in sorted(places)]
    # ... and where methods change them at switches.
    played = len(rollouts) + (len(switches) - 1 if weights_change else 0) + 1
    return Places(labels, played)


def is_due(step: int, every: int, batch_size: int) -> bool:
    """Whether the rollout that begins at `step` is the first since a multiple of `every`; the first of all always is.

    It depends on the step alone, so a run that goes on asks for the same evaluations.
    """
    return step == 0 or (every > 0 and step // every > (step - batch_size) // every)


# ------------------------------------------------------------------------------------------------------------ the file


def write_plan(folder: Path, plan: Plan) -> None:
    """Write the plan into a run folder, whole or not at all.

    Raises ConfigError where the folder cannot be written.
    """
    path = folder / PLAN
    content = {
        "eval_every": plan.every,
        "eval_games": plan.games,
        "eval_modifs": plan.strings("train"),
        "held_out_modifs": plan.strings("held_out"),
        "evaluations": [label._asdict() for label in plan.labels],
    }
    try:
        path.parent.mkdir(exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"`{path}` cannot be written: {error.strerror or error}.") from None
