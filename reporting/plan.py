"""What is evaluated of a run while it trains, as its `evals/plan.json` says; `training/plan.py` makes and writes it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from continual_hackatari.reporting.rows import SPLITS, RunFolderError

PLAN = "evals/plan.json"


class Label(NamedTuple):
    """Where in a run weights are taken."""

    global_step: int
    phase: int
    """number of the regime in training, from 0"""
    trained_on: str
    """its modification string"""


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


def read_plan(folder: Path) -> Plan | None:
    """The plan in a run folder; None where there is none, of a run that is not evaluated or of an earlier version.

    Raises RunFolderError where the file cannot be read.
    """
    path = folder / PLAN
    try:
        return _as_plan(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise RunFolderError(
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
