"""Somebody's own files (`--modification_file`, `--new_rf`) in runs: copies in the run folder, known by digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from continual_hackatari.training.checkpoints import Checkpoint, trained_with
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.settings import RunSettings
from continual_hackatari.wrappers.config import GameConfig, same_game
from continual_hackatari.wrappers.modifications import rule_file
from continual_hackatari.wrappers.user_files import UserFile, content_of, find_file

COPY = "modification_file.py"
REWARD_COPY = "new_rf.py"
"""Both in the run folder, whatever the files were called."""
NO_COPY = "note: the agent was trained with modifications of a file"


def rules_of(args: RunSettings) -> UserFile:
    """The file that a run plays with: the recorded one, in a run that goes on the copy in its folder.

    Raises:
        ModificationError: there is none, or it holds other rules than those recorded.
    """
    copies = [Path(args.resume) / COPY] if args.resume else []
    return rule_file(args.modification_file, args.modification_digest, *copies)


def reward_of(args: RunSettings) -> UserFile:
    """The reward file of a run, likewise.

    Raises:
        GameError: there is none, or it holds another reward than that recorded.
    """
    # Runs of earlier versions recorded no digest: of their file nobody knows which copy is the right one.
    copies = [Path(args.resume) / REWARD_COPY] if args.resume and args.new_rf_digest else []
    return find_file("new_rf", args.new_rf, args.new_rf_digest, copies)


def keep_files(folder: Path, game: GameConfig) -> None:
    """Copy the files into the run folder, unless they are there.

    Raises:
        OSError: they cannot be written.
    """
    for flag, file, name in (("modification_file", game.rules, COPY), ("new_rf", game.rewards, REWARD_COPY)):
        copy = folder / name
        if file.path and Path(file.path) != copy.resolve():
            with atomic_path(copy) as temporary:
                temporary.write_bytes(content_of(flag, file))


def with_copy(game: GameConfig, folder: Path) -> GameConfig:
    """The same game by the copy of its modifications in the run folder, of which evaluations read them later.

    The games read a reward file once, when they are opened.
    """
    copy = folder / COPY
    if not game.modification_file or not copy.is_file():  # other ranks may be on machines that do not see the folder
        return game
    return replace(game, modification_file=rule_file(str(copy), game.modification_digest).path)


def rules_for(
    checkpoint: Checkpoint, path: Path, given: str | None, settings: Mapping[str, Any]
) -> tuple[UserFile, list[str]]:
    """The modifications with which a checkpoint is evaluated, and lines for the user.

    A checkpoint is data and must not name code: without a flag only the copy beside it counts, by its digest.

    path: of the checkpoint. settings: the game that is chosen, see `complete_settings`.

    Raises:
        ModificationError: there is no such file, or the copy is another one.
    """
    recorded = trained_with(checkpoint, "modification_digest", "")
    name = Path(trained_with(checkpoint, "modification_file", "")).name
    if given:
        rules = rule_file(given)
        other = f"note: {given} is not the {name} that the agent was trained with: other modifications, or other rules"
        return rules, [other] if recorded and rules.digest != recorded else []
    trained_on = trained_with(checkpoint, "env_id", "") or settings["env_id"]
    if not recorded or settings["backend"] != "HackAtari" or not same_game(trained_on, settings["env_id"]):
        return rule_file(""), []
    copy = path.parent / COPY
    if copy.is_file():
        return rule_file(str(copy), recorded), []
    return rule_file(""), [
        f"{NO_COPY} {name}, and no copy of it is beside the checkpoint; `--modification_file` names it"
    ]


def rules_of_folder(folder: Path, settings: Checkpoint, given: str) -> UserFile:
    """The modifications with which a whole run is evaluated: those that it was trained with, whatever is given.

    Raises:
        ConfigError: a file is given, and the run was trained without one.
        ModificationError: it cannot be found, or holds other rules.
    """
    recorded = trained_with(settings, "modification_digest", "")
    if given and not recorded:
        raise ConfigError(
            f"`modification_file`: the run in `{folder}` was trained without one, so its evals.csv could not say what "
            "a name stands for; evaluate its agents one by one, with `--agent_path`"
        )
    return rule_file(given or str(folder / COPY), recorded, folder / COPY) if recorded else rule_file("")
