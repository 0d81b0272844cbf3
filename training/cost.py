"""What evaluations come to, before a run starts: which games are played, and how long that takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from continual_hackatari.agents import players_of
from continual_hackatari.reporting.plan import Plan, read_plan
from continual_hackatari.training.plan import place_evaluations
from continual_hackatari.training.playing import evaluate
from continual_hackatari.training.settings import RunSettings
from continual_hackatari.training.strings import choose_evaluated
from continual_hackatari.wrappers.backends import action_names, observation_layout
from continual_hackatari.wrappers.config import GameConfig

PROBED_STEPS = 2500  # of a game that tells what evaluation costs: more than one of Freeway, a second or two


def plan_continual_evaluation(
    args: RunSettings,
    goes_on: bool,
    regimes: Iterable[tuple[int, int, str]],
    possible: Sequence[str],
    total_timesteps: int,
    game: GameConfig,
) -> tuple[Plan, int, list[str]]:
    """What is evaluated while the run trains, how many games that is, and lines for the user.

    goes_on: with `resume`. regimes, possible: what the schedule plays (first step, first step after it, string), and
    all that it could, in its own order.

    Raises:
        ConfigError: what is held out is trained on, a string is named twice, or there would be too many evaluations.
        ModificationError: the game cannot play one of them.
    """
    every = args.eval_every or 0
    before = read_plan(Path(args.resume)) if goes_on else None
    places = place_evaluations(
        regimes,
        total_timesteps=total_timesteps,
        num_envs=args.num_envs,
        num_steps=args.num_steps,
        every=every,
        weights_change=args.weights_change_at_switches,
    )
    if before is not None:  # the run may have been made longer, all else is as it was
        splits, notes = before.splits, list[str]()
    else:
        # In the order of the file, not of the draw, so that all seeds of a random schedule are evaluated on the same.
        splits, notes = choose_evaluated(args.eval_modifs, args.held_out_modifs, [*possible, *places.strings], game)
    notes.append(
        f"evaluations: {len(places.labels):,}, of which {places.played:,} are played (the others have the same "
        f"weights); each {len(splits)} modification strings x {args.eval_games} games, greedy and sampled"
    )
    plan = Plan(every, args.eval_games, splits, places.labels)
    players = len(players_of(args.architecture))
    return plan, 2 * places.played * len(splits) * args.eval_games * players, notes


Build = Callable[[Sequence[int], int, torch.Generator], Any]
"""(shape of an observation, number of actions, generator): an untrained agent"""


_measured: dict[tuple[GameConfig, str], tuple[int, float]] = {}


def cost_of_games(number: int, game: GameConfig, agent_name: str, build: Build) -> str:
    """A line that says how many steps and minutes so many games of evaluation take, by one that is played now."""
    probed = replace(game, seed=0, reward_file="")
    if (probed, agent_name) not in _measured:  # a sweep asks for many runs
        _measured[probed, agent_name] = length_and_seconds(probed, build)
    length, seconds = _measured[probed, agent_name]
    limit = game.max_num_frames_per_episode // game.frameskip
    return (
        f"cost of the evaluations: {number:,} games, about {number * length:,} steps and "
        f"{math.ceil(number * seconds / 60):,} min of one core, if all are as the one that an untrained agent played "
        f"just now, {length:,} steps at {length / seconds:,.0f} a second; a game may last up to {limit:,}"
    )


def length_and_seconds(game: GameConfig, build: Build) -> tuple[int, float]:
    """Steps of the first game of an untrained agent, or of its first `PROBED_STEPS`, and a core's seconds for them."""
    game = replace(game, max_num_frames_per_episode=min(game.max_num_frames_per_episode, PROBED_STEPS * game.frameskip))
    agent = build(observation_layout(game)[0], len(action_names(game)), torch.Generator().manual_seed(0))
    how = {"episodes": 1, "seed": 0, "deterministic": False, "num_envs": 1, "num_workers": 0}
    begin = time.process_time()  # not of the clock, which also counts what other programs do on these cores
    (record,) = evaluate(agent, game, [""], **how, device=torch.device("cpu"))[""]
    return record.length, time.process_time() - begin
