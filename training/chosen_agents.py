"""Which agents are played, in which game and under which strings: what `eval.py` asks for, completed by checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from continual_hackatari.agents import players_of
from continual_hackatari.agents.player import player_of
from continual_hackatari.agents.random_player import RandomPlayer
from continual_hackatari.reporting.groups import differences, experiment_settings
from continual_hackatari.training.checkpoint_settings import choose_game, complete_settings
from continual_hackatari.training.checkpoints import Checkpoint, load_checkpoint
from continual_hackatari.training.config import ConfigError, Range, check_not_empty, check_ranges
from continual_hackatari.training.devices import choose_device, device_line
from continual_hackatari.training.playing import load_agent
from continual_hackatari.training.rules import NO_COPY, rules_for
from continual_hackatari.training.start import last_agent
from continual_hackatari.training.strings import canonical_strings
from continual_hackatari.wrappers.backends import action_names
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.errors import ModificationError

RANDOM = "random"
"""in place of a checkpoint: the uniformly random player"""
NO_CHECKPOINT = Checkpoint({}, {"architecture": RANDOM, "game_start": "auto"}, None)
"""what is known of it: its games begin as they do in training by default"""


@dataclass
class PlayingSettings:
    agent_path: tuple[str, ...] = ()
    """the checkpoint, a .cleanrl_model file, or a run folder, whose last agent it is; several are several training
    seeds of one method; random: a player that draws every action uniformly, for which --env_id says the game"""
    agent: str = ""
    """of a checkpoint of Progress & Compress: which column plays, kb, the knowledge base, or ac, the active column
    (default: kb)"""
    modifs: tuple[str, ...] = ()
    """modification strings (no_modif or nothing: the unmodified game), of another game as in `Breakout: gravity`"""
    deterministic: bool = False
    """take the most probable action instead of sampling"""
    seed: int = 1
    """seed of games and actions; game k is the same under every string"""
    cuda: bool = True
    """play on the GPU if there is one"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """where the agent computes, as in training"""

    # the game; by default as in the checkpoint
    env_id: str | None = None
    """the game; it must have as many actions as the one trained on (modifs may name others, see there)"""
    backend: Literal["HackAtari", "OCAtari", "Gym"] | None = None
    """where the game comes from"""
    frameskip: int | None = None
    """emulated frames per agent step"""
    game_start: Literal["auto", "frames", "steps", "original", "none"] = "auto"
    """how a game starts (auto: as in training; a checkpoint of the original system: original)"""
    max_pool: bool | None = None
    """--max_pool or --no_max_pool: frames are the maximum of a step's last two, or the last one"""
    sticky: float | None = None
    """probability that an emulated frame repeats the last action (with another env_id: that id's own)"""
    time_limit: int | None = None
    """emulated frames after which a game is cut (with another env_id: that id's own)"""
    modification_file: str = ""
    """Python file with modifications of your own (it is executed; default: the copy beside a checkpoint whose training
    had one)"""

    # what the network was built for; a value that contradicts the checkpoint is an error
    architecture: str | None = None
    """PPO, PPO_OBJ or PPO_CBP, or `package.module:Class` of an agent of your own"""
    obs_mode: Literal["dqn", "obj"] | None = None
    """frames or object features"""
    buffer_window_size: int | None = None
    """number of past frames the agent sees"""
    full_action_space: bool | None = None
    """--full_action_space or --no_full_action_space: with all 18 actions, or with those of the game"""
    her: bool | None = None
    """--her or --no_her: trained with or without hindsight"""
    game_specific_goals: bool | None = None
    """--game_specific_goals or --no_game_specific_goals: trained with or without the game's own goals"""


PLAYING_RANGES = {
    "frameskip": Range(1, 1000),
    "sticky": Range(0, 1),
    "time_limit": Range(1, 2**31 - 1),
    "buffer_window_size": Range(1, 1000),
    "seed": Range(0, 2**63 - 1),
}


class Chosen(NamedTuple):
    """What is played."""

    checkpoints: list[Checkpoint]
    agents: list[Any]
    """on `device`"""
    settings: dict[str, Any]
    """of `PlayingSettings`, as they were completed"""
    game: GameConfig
    strings: list[str]
    device: torch.device
    notes: list[str]
    """lines for the user"""
    independent: bool = True
    """no two of the agents are known to be of one training run"""


def choose_agents(args: PlayingSettings) -> Chosen:
    """Read the checkpoints, and choose what they and the flags say.

    Raises:
        AgentError, CheckpointError, ConfigError, GameError, ModificationError: one sentence.
    """
    if not args.agent_path:
        raise ConfigError(
            "`agent_path` is missing; give it a checkpoint, a run folder or `random`, or give `--run` a run folder"
        )
    check_not_empty(args, {"agent_path": "a checkpoint"})
    if RANDOM in args.agent_path and args.env_id is None:
        raise ConfigError("`agent_path` random plays any game; say which with `--env_id`, such as ALE/Freeway-v5")
    named = {folder: str(last_agent(Path(folder))) for folder in args.agent_path if Path(folder).is_dir()}
    args = replace(args, agent_path=tuple(named.get(path, path) for path in args.agent_path))
    checkpoints = [NO_CHECKPOINT if path == RANDOM else load_checkpoint(path) for path in args.agent_path]
    settings, game, notes = choose_common_game(args, checkpoints)
    notes = [*(f"the last agent of {folder} is {Path(agent).name}" for folder, agent in named.items()), *notes]
    try:
        strings, warnings = canonical_strings("modifs", args.modifs or [""], game)
    except ModificationError as error:
        why = next((f"; {line.removeprefix('note: ')}" for line in notes if line.startswith(NO_COPY)), "")
        raise ModificationError(f"{error}{why}") from None
    device = choose_device(args.device, args.cuda)
    names = players_of(settings["architecture"])
    if args.agent not in ("", *names):
        known = " or ".join(names) if any(names) else "this agent is one player, so leave the flag out"
        raise ConfigError(f"`agent` {args.agent} is none of the players of this checkpoint; {known}")
    agents = [
        RandomPlayer(len(action_names(game))).to(device)
        if path == RANDOM
        else player_of(load_agent(path, checkpoint, settings["architecture"], game).to(device), args.agent or names[0])
        for path, checkpoint in zip(args.agent_path, checkpoints, strict=True)
    ]
    if any(names):
        notes.append(f"of the two columns {args.agent or names[0]} plays (`--agent {' or '.join(names)}`)")
    chosen = {"env_id": game.env_id, "modification_file": game.modification_file, "agent_path": args.agent_path}
    alike = agents_of_one_run(args.agent_path, checkpoints)
    notes += [*warnings, *(alike or unlike_agents(checkpoints))]
    notes.append(device_line("evaluating", device, args.device, args.cuda))
    return Chosen(checkpoints, agents, {**settings, **game.chosen, **chosen}, game, strings, device, notes, not alike)


def agents_of_one_run(paths: Sequence[str], checkpoints: Sequence[Checkpoint]) -> list[str]:
    """A line for each training run of which there are several checkpoints, which are no independent agents."""
    runs: dict[str, list[tuple[str, Checkpoint]]] = {}
    for path, checkpoint in zip(paths, checkpoints, strict=True):
        if "seed" in checkpoint.args:  # files of other programs do not say it
            settings = experiment_settings(checkpoint.args)
            settings.pop("total_timesteps", None)  # a run may be made longer
            run = json.dumps([settings, checkpoint.args["seed"]], sort_keys=True, default=str)
            runs.setdefault(run, []).append((path, checkpoint))
    return [
        f"note: {' and '.join(path for path, _ in run)} have the same settings and the same training seed "
        f"{run[0][1].args['seed']}, so they are no independent agents (steps: {_steps([each for _, each in run])}): "
        "the table has their mean, but no deviation and no interval; one agent of each training seed would have both"
        for run in runs.values()
        if len(run) > 1
    ]


def unlike_agents(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Lines about what is not the same of the agents, whose mean is one over unlike things then."""
    if any("seed" not in checkpoint.args for checkpoint in checkpoints):
        return []
    names = differences([experiment_settings(checkpoint.args) for checkpoint in checkpoints])
    lines = [
        f"note: `{name}` of their training is not the same for all agents, but one mean is over all" for name in names
    ]
    if len({checkpoint.global_step for checkpoint in checkpoints}) > 1:
        lines.append(f"note: the agents were not trained for as many steps: {_steps(checkpoints)}")
    return lines


def _steps(checkpoints: Sequence[Checkpoint]) -> str:
    return ", ".join("unknown" if each.global_step is None else f"{each.global_step:,}" for each in checkpoints)


def choose_common_game(
    args: PlayingSettings, checkpoints: Sequence[Checkpoint]
) -> tuple[dict[str, Any], GameConfig, list[str]]:
    """Settings and game that all checkpoints agree on, and lines that a user should see.

    Raises:
        ConfigError: what `checked_settings` raises, a checkpoint twice, or checkpoints that do not agree.
        GameError: unknown game or backend, or a combination that cannot work.
    """
    (settings, game, notes), *others = (
        (settings := checked_settings(args, checkpoint), *game_of(args, path, settings, checkpoint))
        for path, checkpoint in zip(args.agent_path, checkpoints, strict=True)
    )
    check_distinct(args.agent_path)
    first, *paths = args.agent_path
    for path, (other, other_game, _) in zip(paths, others, strict=True):
        pairs = ((game, settings), (other_game, other))
        one, two = ({**asdict(game), **settings, **game.chosen, "modification_file": ""} for game, settings in pairs)
        differing = [name for name in one if one[name] != two[name]]
        if differing:
            name = differing[0]
            raise ConfigError(
                f"`agent_path`: `{name}` is {one[name]!r} for {first}, but {two[name]!r} for {path}; several "
                "checkpoints must be of one method on one game, so evaluate these one by one"
            )
    return settings, game, notes


def check_distinct(paths: Sequence[str]) -> None:
    """Raise ConfigError for a checkpoint twice, however it is spelled or copied: its games would count as two."""
    seen: dict[str, str] = {}
    for path in paths:
        content = RANDOM if path == RANDOM else hashlib.sha256(Path(path).read_bytes()).hexdigest()
        earlier, seen[content] = seen.get(content, ""), path
        if earlier and (path == RANDOM or os.path.samefile(earlier, path)):
            raise ConfigError(f"`agent_path` names {path} twice; name every checkpoint once")
        if earlier:
            raise ConfigError(f"`agent_path`: {path} is a copy of {earlier}; name every checkpoint once")


def game_of(
    args: PlayingSettings, path: str, settings: dict[str, Any], checkpoint: Checkpoint
) -> tuple[GameConfig, list[str]]:
    """See `choose_game`; with the modifications that `rules_for` allows."""
    rules, lines = rules_for(checkpoint, Path(path), args.modification_file, settings)
    game, notes = choose_game(settings, checkpoint, rules)
    return game, notes + lines


def checked_settings(args: PlayingSettings, checkpoint: Checkpoint) -> dict[str, Any]:
    """See `complete_settings`.

    Raises:
        ConfigError: what that raises, or a number out of range, in the checkpoint too.
    """
    settings = complete_settings(vars(args), checkpoint)
    check_ranges(replace(args, **settings), PLAYING_RANGES)
    return settings
