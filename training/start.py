"""Agents of other runs: which file a run folder means, and the weights that a new run starts from (`--start_from`)."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from continual_hackatari.reporting.groups import experiment_settings
from continual_hackatari.reporting.rows import ARGS, FINAL
from continual_hackatari.reporting.runs import advice_on
from continual_hackatari.training.checkpoint_settings import NETWORK_SETTINGS
from continual_hackatari.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint, trained_with
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.playing import with_weights
from continual_hackatari.training.run_folder import saved_agents
from continual_hackatari.training.settings import RunSettings
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.goals import goal_kind

ArgsT = TypeVar("ArgsT", bound=RunSettings)

GOAL_FLAGS = {
    "": "without goals",
    "position": "with `her`",
    "game_specific": "with `her` and `game_specific_goals`",
}


def last_agent(folder: Path) -> Path:
    """The agent that a run folder stands for: that of its end, or the newest one of a run that goes on.

    Raises:
        CheckpointError: that of its end is damaged, or there is none yet.
    """
    final = folder / FINAL
    agents: list[tuple[float, Path]] = [(saved.global_step, saved.path) for saved in saved_agents(folder)]
    if final.exists():
        steps = load_checkpoint(final).global_step
        agents.append((math.inf if steps is None else steps, final))
    if agents:
        return max(reversed(agents), key=lambda agent: agent[0])[1]  # the last of equal ones
    if (folder / ARGS).exists():
        raise CheckpointError(
            f"`{folder}` holds no agent yet: a run saves it at its end, and on the way with `--save_agent_every`"
        )
    raise CheckpointError(
        f"`{folder}` is not the folder of a run; give that, or the path of a .cleanrl_model file; {advice_on(folder)}"
    )


def read_start(args: ArgsT) -> tuple[ArgsT, Checkpoint | None]:
    """The agent that a new run starts from, if any, and the settings with what is recorded of it.

    Raises:
        ConfigError: the file is no checkpoint, or another one than the settings say.
    """
    if not args.start_from or args.resume:  # a run that goes on has its own agent
        return args, None
    try:
        path = Path(args.start_from)
        path = last_agent(path) if os.path.isdir(path) else path
        checkpoint = load_checkpoint(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (CheckpointError, OSError, ValueError) as error:  # ValueError: no path at all
        raise ConfigError(f"`start_from`: {error}") from None
    made_by = json.dumps([experiment_settings(checkpoint.args), checkpoint.global_step], sort_keys=True, default=str)
    recorded: dict[str, Any] = {
        "start_from_digest": digest,
        "start_from_experiment": hashlib.sha256(made_by.encode("utf-8", "surrogatepass")).hexdigest()[:12],
    }
    for name, value in recorded.items():
        if getattr(args, name) not in ("", value):
            raise ConfigError(
                f"`{name}` is {getattr(args, name)}, but {args.start_from} has {value}: it is another agent; give the "
                f"one that was recorded, or leave `{name}` out"
            )
    return replace(args, start_from=str(path), **recorded), checkpoint


def check_start(
    args: RunSettings, checkpoint: Checkpoint, game: GameConfig, build: Callable[[tuple[int, ...], int], Any]
) -> str:
    """A line that says what the run starts from.

    build: makes this run's agent, from the shape of an observation and the number of actions.

    Raises:
        ConfigError: the weights are those of an agent that sees something else, or is built in another way.
    """
    where = f"`start_from`: {args.start_from}"
    try:
        trained = {name: trained_with(checkpoint, name, default) for name, default in NETWORK_SETTINGS.items()}
        env_id = trained_with(checkpoint, "env_id", "")
        for name in ("obs_mode", "buffer_window_size"):
            if name in checkpoint.args and trained[name] != getattr(args, name):
                raise ConfigError(
                    f"{where} was trained with `{name}` {trained[name]}, and this run has {getattr(args, name)}; the "
                    "agent would not see what it knows, so give both the same"
                )
        goals = goal_kind(trained["her"], trained["game_specific_goals"])
        if goals != args.goal_kind:
            raise ConfigError(
                f"{where} was trained {GOAL_FLAGS[goals]}, and this run trains {GOAL_FLAGS[args.goal_kind]}; choose an "
                "agent that sees the same"
            )
        if not all(bool(weights.isfinite().all()) for weights in checkpoint.model_weights.values()):
            raise ConfigError(f"{where} holds weights that are NaN or infinite, with which nothing can be learned")
        with_weights(f"{where} ({trained['architecture']})", checkpoint, game, build)
    except CheckpointError as error:
        raise ConfigError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None
    steps = "" if checkpoint.global_step is None else f", {checkpoint.global_step:,} steps"
    return f"the agent starts with the weights of {args.start_from} ({trained['architecture']}{steps}, {env_id or '?'})"
