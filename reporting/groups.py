"""Which runs are repetitions of one experiment, and what their groups are called."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from continual_hackatari.reporting.rows import RunFolderError
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.words import shown

MADE_BY = ("versions", "processor", "command", "script", "resumed")
"""Keys of args.json that say what made a run; they are no settings."""

NOT_OF_EXPERIMENT = frozenset(
    {
        # which repetition it is, and words about it
        *("seed", "config", "notes"),
        # where files were; what is in them, or what trained them, is said by `modification_digest` and
        # `start_from_experiment`
        *("modification_file", "start_from", "start_from_digest"),
        # where it runs, how far it has come and how it goes on
        *("runs_dir", "resume", "checkpoint_every", "cuda", "device", "num_workers", "worker_timeout"),
        "detect_anomaly",
        # what is kept and shown of it
        *("track", "wandb_project_name", "wandb_entity", "wandb_dir", "save_agent_wandb"),
        *("capture_video", "capture_video_every", "caption", "save_agent_with_switch", "save_agent_every"),
        # how it is measured, of which training notices nothing
        *("eval_every", "eval_modifs", "held_out_modifs", "eval_games", "test_modifs", "eval_episodes"),
        "plasticity_every",
        *MADE_BY,
    }
)
"""Settings that cannot change what is learned, and the seed: runs that differ in nothing else are repetitions."""


def experiment_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a run's settings (its `args.json`) that repetitions of one experiment share."""
    shared = {name: value for name, value in settings.items() if name not in NOT_OF_EXPERIMENT}
    if not shared.get("new_rf_digest"):  # earlier versions did not record it
        shared.pop("new_rf_digest", None)
    return shared


def _shared_settings(run: Run) -> dict[str, Any]:
    """`experiment_settings`, with the game by its full name, of which people may give a short one."""
    settings = experiment_settings(run.args)
    if "env_id" in settings:
        settings["env_id"] = run.env_id
    return settings


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed, or one run alone."""

    label: str
    """short, for legends"""
    runs: list[Run]
    title: str = ""
    """the game, the agent and every setting that the groups do not share"""


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Runs of the same experiment (see `experiment_settings`) together, in the order in which they are given."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        # Without settings nothing tells whether two runs are repetitions.
        key = json.dumps(_shared_settings(run), sort_keys=True) if run.args else str(run.folder)
        found.setdefault(key, []).append(run)
    groups = list(found.values())
    settings = [_shared_settings(group[0]) for group in groups]
    differing = differences(settings)
    labels = _labels([group[0] for group in groups], differing)
    names = [name for name in differing if any(each.get(name) != settings[0].get(name) for each in settings)]
    titles = [_title(each, names) for each in settings]
    return [Group(*each) for each in zip(labels, groups, titles, strict=True)]


def check_seeds(groups: Sequence[Group]) -> None:
    """Raise RunFolderError for two runs of a group with the same seed, which are no independent sample."""
    for group in groups:
        for number, run in enumerate(group.runs):
            for earlier in group.runs[:number]:
                if earlier.seed == run.seed:
                    raise RunFolderError(
                        f"`{earlier.folder}` and `{run.folder}` have the same settings and the same seed {run.seed}, "
                        "so they are no independent runs; give one of them"
                    )


def _labels(first: Sequence[Run], differing: Sequence[str]) -> list[str]:
    """What tells the groups apart: the experiment's name, the settings that differ, the folder."""
    candidates: list[Callable[[Run], str]] = [
        lambda run: str(run.args.get("exp_name") or run.name),
        lambda run: ", ".join(f"{key} {shown(run.args.get(key))}" for key in differing if key != "exp_name"),
        lambda run: run.name,
        lambda run: str(run.folder),
    ]
    for label in candidates:
        labels = [label(run) for run in first]
        if len(set(labels)) == len(labels) and all(0 < len(text) <= 80 for text in labels):
            return labels
    return [f"run {number}" for number, _ in enumerate(first, 1)]


def _title(settings: Mapping[str, Any], differing: Sequence[str]) -> str:
    words = [str(settings[name]) for name in ("env_id", "architecture") if name in settings]
    if settings.get("methods"):
        words.append("+".join(settings["methods"]))
    for name in sorted({*differing} - {"env_id", "architecture", "methods"}):
        value = json.dumps(settings.get(name))
        words.append(f"{name}={value if len(value) <= 60 else value[:57] + '...'}")
    return " ".join(words) or "no settings"


def differences(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys, sorted as they come, whose values are not the same everywhere (a missing key differs)."""
    keys = dict.fromkeys(key for each in settings for key in each)
    return [
        key
        for key in keys
        if len({json.dumps(each.get(key, "\0"), sort_keys=True, default=str) for each in settings}) > 1
    ]


# ----------------------------------------------------------------------------------------------------------- versions


def differing_versions(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What was not made by one version throughout: name -> its versions, the most frequent first.

    runs: the args.json of each run. A run that was gone on with counts under every version that it had; runs that do
    not say, as those of earlier versions of this project do not, are left out.
    """
    counts: dict[str, Counter[str]] = {}
    for args in runs:
        parts = [args, *args.get("resumed", [])]
        made = [part["versions"] for part in parts if isinstance(part.get("versions"), dict)]
        for name, version in {(name, version) for versions in made for name, version in versions.items()}:
            counts.setdefault(name, Counter())[version] += 1
    return {name: [version for version, _ in counts[name].most_common()] for name in counts if len(counts[name]) > 1}


def measured_unlike(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings of evaluation, of args.json, that are not the same in all runs."""
    return [name for name in ("eval_every", "eval_games") if len({str(args.get(name)) for args in runs}) > 1]


def mixed_versions(runs: Sequence[Mapping[str, Any]]) -> str:
    """A sentence that names what differs, see `differing_versions`; empty where nothing does."""
    differing = differing_versions(runs)
    named = [f"{name} {' and '.join(sorted(v[:12] for v in versions))}" for name, versions in sorted(differing.items())]
    return f"the runs were made by different versions: {', '.join(named)}" if named else ""
