"""Which game a checkpoint plays and which network it holds: what it says of both, and what flags choose anew."""

from collections.abc import Mapping
from typing import Any

from continual_hackatari.agents.own import is_own
from continual_hackatari.training.checkpoints import Checkpoint, trained_with
from continual_hackatari.training.config import ConfigError
from continual_hackatari.wrappers.config import NOOP_MAX, GameConfig, game_config, same_game
from continual_hackatari.wrappers.goals import goal_kind
from continual_hackatari.wrappers.user_files import UserFile

# Settings that come from the checkpoint, and their values where a checkpoint does not say. The first kind may be chosen
# anew; the second decides what the network reads and writes, so a flag that contradicts the checkpoint is an error.
GAME_SETTINGS = {"env_id": "", "backend": "HackAtari", "frameskip": 4}
HOW_TO_PLAY = ("game_start", "max_pool", "sticky", "time_limit")  # see `how_to_play`
NETWORK_SETTINGS = {
    "architecture": "PPO",
    "obs_mode": "dqn",
    "buffer_window_size": 4,
    "full_action_space": False,
    "her": False,
    "game_specific_goals": False,
}


def complete_settings(flags: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """Game and network settings: a flag where one was given, else the checkpoint's.

    flags: by their names; those that are None, or missing, were not given.

    Raises:
        ConfigError: a flag that contradicts the checkpoint, or no game anywhere.
    """
    settings: dict[str, Any] = {}
    for name, default in {**GAME_SETTINGS, **NETWORK_SETTINGS}.items():
        trained, given = trained_with(checkpoint, name, default), flags.get(name)
        if name in NETWORK_SETTINGS and name in checkpoint.args and given not in (None, trained):
            raise ConfigError(
                f"`{name}` {given} contradicts the checkpoint, which was trained with {trained}; leave the flag out"
            )
        settings[name] = trained if given is None else given
    if not settings["env_id"]:
        raise ConfigError("`env_id`: the checkpoint does not say which game it was trained on; give `--env_id`")
    # A checkpoint is data, it must not name code.
    if is_own(settings["architecture"]) and flags.get("architecture") is None:
        raise ConfigError(
            f"`architecture` {settings['architecture']} is not this project's; if you trust that code, say so with "
            f"`--architecture {settings['architecture']}`"
        )
    return settings | how_to_play(flags, checkpoint, settings)


def how_to_play(flags: Mapping[str, Any], checkpoint: Checkpoint, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in `HOW_TO_PLAY`: a flag, else the checkpoint's; None: as `game_config` chooses.

    Checkpoints that do not name their start are of earlier versions, which had `noop_max`, or of the original system.
    """
    trained = checkpoint.args
    if "noop_max" in trained:
        game_start = "frames" if trained_with(checkpoint, "noop_max", 0) else "none"
    else:
        game_start = trained_with(checkpoint, "game_start", "original")
    chosen: dict[str, Any] = {"game_start": game_start}
    if "max_pool" in trained and settings["backend"] != "Gym":
        chosen["max_pool"] = trained_with(checkpoint, "max_pool", False)
    trained_on = trained_with(checkpoint, "env_id", "") or settings["env_id"]
    for name, default in (("sticky", 0.25), ("time_limit", 108_000)):
        if name in trained and same_game(trained_on, settings["env_id"]):
            chosen[name] = trained_with(checkpoint, name, default)
    given = {name: flags.get(name) for name in HOW_TO_PLAY}
    return {name: chosen.get(name) if value in (None, "auto") else value for name, value in given.items()}


def choose_game(
    settings: Mapping[str, Any], checkpoint: Checkpoint, rules: UserFile | None = None
) -> tuple[GameConfig, list[str]]:
    """The game to play, and lines that a user should see.

    Raises:
        GameError: unknown game or backend, or a combination that cannot work.
    """
    return game_config(
        settings["env_id"],
        backend=settings["backend"],
        obs_mode=settings["obs_mode"],
        frameskip=settings["frameskip"],
        window=settings["buffer_window_size"],
        game_start=settings["game_start"],
        noop_max=trained_with(checkpoint, "noop_max", NOOP_MAX) or NOOP_MAX,
        fire_reset=trained_with(checkpoint, "fire_reset", True),
        max_pool=settings["max_pool"],
        sticky=settings["sticky"],
        time_limit=settings["time_limit"],
        full_action_space=settings["full_action_space"],
        modification_file=rules or "",
        goal_kind=goal_kind(settings["her"], settings["game_specific_goals"]),
    )
