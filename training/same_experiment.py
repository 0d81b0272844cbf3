"""Which settings make another experiment, for everything that puts runs together or takes one run for another."""

from collections.abc import Mapping
from typing import Any

MADE_BY = ("versions", "processor", "command", "resumed")
"""Keys of args.json that say what made a run; they are no settings."""

NOT_OF_EXPERIMENT = frozenset(
    {
        # which repetition it is, and words about it
        *("seed", "config", "notes"),
        # where it runs, how far it has come and how it goes on
        *("resume", "checkpoint_every", "cuda", "num_workers", "worker_timeout", "detect_anomaly"),
        # what is kept and shown of it
        *("track", "wandb_project_name", "wandb_entity", "wandb_dir", "save_agent_wandb"),
        *("capture_video", "save_agent_with_switch"),
        # how it is measured, of which training notices nothing
        *("eval_every", "eval_modifs", "held_out_modifs", "eval_games", "test_modifs", "eval_episodes"),
        "plasticity_every",
        *MADE_BY,
    }
)
"""Settings that cannot change what is learned, and the seed: runs that differ in nothing else are repetitions."""


def experiment_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a run's settings (its `args.json`) that repetitions of one experiment share."""
    return {name: value for name, value in settings.items() if name not in NOT_OF_EXPERIMENT}
