"""What does a player score that always presses the same button? Under every string of these configurations.

python -m benchmarks.one_action configs/suites/freeway-*/cpu.json

A sequence that one action solves asks for nothing that could be forgotten. Adds to benchmarks/results/one_action.json;
strings that are there already are not played again, unless `--again` says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.floor import wanted
from benchmarks.harness import RESULTS, write_scores
from continual_hackatari.names import id_in_game, parse
from continual_hackatari.reporting.floor import conditions_of
from continual_hackatari.reporting.words import name_of
from continual_hackatari.training.playing import evaluate
from continual_hackatari.wrappers.backends import action_names
from continual_hackatari.wrappers.config import game_config

FILE = RESULTS / "one_action.json"
GAMES = 5
SEED = 1
"""as an evaluation while training has them by default: the very same games"""
MOST_STEPS = 4000
"""of a game; longer ones are of a player that never serves the ball"""

Scores = dict[str, dict[str, dict[str, dict[str, float]]]]
"""environment id -> conditions -> string -> name of the action -> mean score"""


class OneAction(nn.Module):
    """Always the same action, whatever it sees.

    Args:
        action: its number.
    """

    def __init__(self, action: int) -> None:
        super().__init__()
        self.action = action

    def act(self, x: Tensor, *, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Actions `[B]`."""
        return torch.full((len(x),), self.action, device=x.device)

    def describe(self, x: Tensor) -> dict[str, Tensor]:
        """Its entropy `[B]`: it has no choice."""
        return {"entropy": torch.zeros(len(x), device=x.device)}


def play(env_id: str, settings: Mapping[str, Any], string: str) -> dict[str, float]:
    """Mean score of each action; a string that names its game is one of an agent with all 18."""
    game, _ = game_config(env_id, full_action_space=bool(parse(string).game), **settings)
    game = replace(game, max_num_frames_per_episode=min(game.max_num_frames_per_episode, MOST_STEPS * game.frameskip))
    options: dict[str, Any] = {"num_envs": GAMES, "num_workers": 0, "device": torch.device("cpu")}
    options |= {"episodes": GAMES, "seed": SEED, "deterministic": True}
    found = {}
    for number, name in enumerate(action_names(game)):
        records = evaluate(OneAction(number), game, [string], **options)[string]
        found[name] = sum(record.score for record in records) / GAMES
    return found


def read() -> Scores:
    """What has been measured."""
    return dict(json.loads(FILE.read_text(encoding="utf-8"))["scores"]) if FILE.exists() else {}


def scores_of(env_id: str, args: Mapping[str, Any], string: str) -> dict[str, float]:
    """Mean score of each action under a task string of a run with these settings; empty where none was measured."""
    of_game = read().get(id_in_game(env_id, parse(string).game), {}).get(conditions_of(args), {})
    return of_game.get(string, {})


def write(scores: Scores) -> None:
    """With what they are."""
    about = {"player": "always the same action", "seed": SEED, "games": GAMES, "most_steps": MOST_STEPS}
    write_scores(FILE, {**about, "command": "python -m benchmarks.one_action"}, scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="play what is there already too")
    parser.add_argument("configurations", nargs="+", type=Path, help="files with schedules")
    args = parser.parse_args()
    scores = read()
    try:
        to_play = wanted(args.configurations)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    for (env_id, conditions, string), settings in to_play.items():
        of_game = scores.setdefault(env_id, {}).setdefault(conditions, {})
        if args.again or string not in of_game:
            of_game[string] = found = play(env_id, settings, string)
            best = max(found, key=lambda action: found[action])
            print(f"{env_id} {name_of(string)}: {best} {found[best]:g}")
            write(scores)


if __name__ == "__main__":
    main()
