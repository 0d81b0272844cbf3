"""What is evaluated of a run while it trains: which strings, where, how many games. Kept in `evals/plan.json`.

`args.json` holds what the user gave; here is what that came to with this schedule. The training writes the plan once,
and everything that evaluates the run, or asks what of it is still to be done, reads it.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.files import atomic_path

PLAN = "evals/plan.json"
SPLITS = ("train", "held_out")
MAX_EVALUATIONS = 1000
"""More would take longer than any training, and a snapshot of PPO takes 7 MB until it is evaluated."""


class Label(NamedTuple):
    """Where in a run weights are taken."""

    global_step: int
    phase: int
    """number of the regime in training, from 0"""
    trained_on: str
    """its modification string"""


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


class Plan(NamedTuple):
    """What is evaluated, where and how often."""

    every: int
    """steps between two evaluations, 0: none but those of switches, start and end"""
    games: int
    """per string, once greedy and once sampled"""
    splits: dict[str, str]
    """modification string, as the games take it -> one of `SPLITS`"""
    labels: list[Label]
    """in order; those of a run that was made longer may come up to a rollout later, as its rollouts are shifted"""

    def strings(self, split: str) -> list[str]:
        """The strings of one split, in order."""
        return [string for string in self.splits if self.splits[string] == split]


def place_evaluations(
    regimes: Iterable[tuple[int, int, str]],
    *,
    total_timesteps: int,
    num_envs: int,
    num_steps: int,
    every: int,
    shrink_and_perturb: bool,
) -> Places:
    """The evaluations of a run before it starts.

    regimes: (first step, first step after it, modification string), in order; the run asks every `num_envs` steps.
    every: steps between two evaluations, 0: none but those of switches, start and end.
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
    # ... and when they shrink.
    played = len(rollouts) + (len(switches) - 1 if shrink_and_perturb else 0) + 1
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


def read_plan(folder: Path) -> Plan | None:
    """The plan in a run folder; None where there is none, of a run that is not evaluated or of an earlier version.

    Raises ConfigError where the file cannot be read.
    """
    path = folder / PLAN
    try:
        return _as_plan(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise ConfigError(
            f"`{path}`, which says what is evaluated of this run, cannot be read: {reason}; move it away, and name the "
            "strings with `--eval_modifs`"
        ) from None


def _as_plan(content: Any) -> Plan:
    splits = {
        str(string): split
        for split, name in zip(SPLITS, ("eval_modifs", "held_out_modifs"), strict=True)
        for string in content[name]
    }
    labels = [Label(int(one["global_step"]), int(one["phase"]), one["trained_on"]) for one in content["evaluations"]]
    return Plan(int(content["eval_every"]), int(content["eval_games"]), splits, labels)
