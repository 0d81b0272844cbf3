"""What does a player score who draws every action uniformly? Under every string of the shipped configurations.

python -m benchmarks.floor
python -m benchmarks.floor configs/suites/breakout-looks/cpu.json    # of these files only, which may be your own

Writes reporting/floors.json; strings that are there already are not played again, unless `--again` says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import write_scores
from continual_hackatari.agents.random_player import RandomPlayer
from continual_hackatari.names import id_in_game, parse
from continual_hackatari.reporting.floor import FILE, conditions_of
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.training.playing import evaluate
from continual_hackatari.wrappers.backends import action_names
from continual_hackatari.wrappers.config import check_string, game_config
from continual_hackatari.wrappers.modifications.rule_file import rules_of

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "reporting" / FILE
GAMES = 21
SEED = 1
ABOUT = {"command": "python -m benchmarks.floor", "games": GAMES, "player": "every action uniformly", "seed": SEED}
SETTINGS = ("frameskip", "game_start", "fire_reset", "max_pool", "sticky", "time_limit", "modification_file")
"""of a configuration, on which a random player's score depends"""


def configurations() -> list[Path]:
    """All files with a schedule that ship with this project, and what else is trained by them."""
    folders = ("configs", "benchmarks/sequences")
    return [ROOT / "run_config.json", *(path for folder in folders for path in sorted((ROOT / folder).rglob("*.json")))]


def wanted(paths: Sequence[Path]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """What some of these configurations trains on or evaluates: (id of the game, conditions, canonical string).

    With the settings that make these conditions.

    Raises:
        OSError, ValueError: a file that cannot be read, or one sentence about what is in it.
    """
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for path in paths:
        config = json.loads(path.read_text(encoding="utf-8"))
        schedule = schedule_from_config(config, seed=0, total_timesteps=config.get("total_timesteps"))
        lists = (config.get(key, []) for key in ("eval_modifs", "held_out_modifs", "test_modifs"))
        env_id = config.get("env_id", "ALE/Pong-v5")
        settings = {name: config[name] for name in SETTINGS if name in config}
        full = config.get("full_action_space", False)
        game, _ = game_config(env_id, backend=config.get("backend", "HackAtari"), full_action_space=full, **settings)
        for string in ["", *schedule.possible_modifications(), *chain(*lists)]:
            string, _ = check_string(game, string)
            task = parse(string)
            own = rules_of(game.rules, task.game or game.game).keys() & set(task.names)
            digest = game.modification_digest if own else ""
            conditions = conditions_of({**settings, **game.chosen, "modification_digest": digest})
            found.setdefault((id_in_game(env_id, task.game), conditions, string), settings)
    return dict(sorted(found.items()))


def play(env_id: str, settings: Mapping[str, Any], string: str) -> list[float]:
    """The scores of the random player's games; a string that names its game is one of an agent with all 18 actions."""
    game, _ = game_config(env_id, full_action_space=bool(parse(string).game), **settings)
    player = RandomPlayer(len(action_names(game)))
    options: dict[str, Any] = {"num_envs": GAMES // 3, "num_workers": 0, "device": torch.device("cpu")}
    games = evaluate(player, game, [string], episodes=GAMES, seed=SEED, deterministic=False, **options)
    return [record.score for record in games[string]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="play what is there already too")
    parser.add_argument("configurations", nargs="*", type=Path, help="files with schedules (default: all that ship)")
    args = parser.parse_args()
    scores = json.loads(RESULT.read_text(encoding="utf-8"))["scores"]
    try:
        to_play = wanted(args.configurations or configurations())
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    for (env_id, conditions, string), settings in to_play.items():
        of_game = scores.setdefault(env_id, {}).setdefault(conditions, {})
        if args.again or string not in of_game:
            of_game[string] = play(env_id, settings, string)
            write_scores(RESULT, ABOUT, scores)


if __name__ == "__main__":
    main()
