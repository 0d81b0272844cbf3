"""The game that the settings of a run describe."""

from __future__ import annotations

from continual_hackatari.training.rules import reward_of, rules_of
from continual_hackatari.training.settings import RunSettings
from continual_hackatari.wrappers.config import GameConfig, game_config


def choose_game(args: RunSettings) -> tuple[GameConfig, list[str]]:
    """The game that these settings describe, and lines for the user.

    Raises:
        GameError: unknown game or backend, or a combination that cannot work.
    """
    return game_config(
        args.env_id,
        backend=args.backend,
        obs_mode=args.obs_mode,
        frameskip=args.frameskip,
        window=args.buffer_window_size,
        episodic_life=not args.deactivate_episodic_life,
        game_start=args.game_start,
        fire_reset=args.fire_reset,
        max_pool=args.max_pool,
        sticky=args.sticky,
        time_limit=args.time_limit,
        full_action_space=args.full_action_space,
        reward_file=reward_of(args),
        modification_file=rules_of(args),
        goal_kind=args.goal_kind,
        seed=args.seed,
    )
