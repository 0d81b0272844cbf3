"""Evaluate a checkpoint on whole games, under one or many modification strings.

    python eval.py --agent_path runs/.../model.cleanrl_model
    python eval.py --agent_path runs/.../model.cleanrl_model --modifs "no_modif, all_black_cars" --deterministic
    python eval.py --agent_path runs/.../model.cleanrl_model --modifs all_black_cars --play game.mp4
    python eval.py --agent_path runs/*my_method*/model.cleanrl_model --seeds 0 1 2 --format latex > table.tex
    python eval.py --run runs/<folder>    # fill the run's evals.csv from all its checkpoints (see `--run x --help`)

All else comes from the checkpoint; the game and how it is played may be chosen anew. Games are whole (a lost life does
not end one) and scored by the emulator. Prints a table, writes games.csv, per_life.csv and summary.json,
and ends with `mean +- std` over all games (of one game with its score).
"""

from __future__ import annotations

import os

# Threads that spin for long while they wait would steal the cores that the emulators need; set before torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

from continual_hackatari.training.signals import end_on_interrupt

if __name__ == "__main__":
    end_on_interrupt(at_once=True)

from continual_hackatari.training.system import check_system

check_system()  # before anything imports OpenCV

import contextlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from continual_hackatari.agents import AgentError
from continual_hackatari.names import UNMODIFIED, parse
from continual_hackatari.reporting.rows import RunFolderError
from continual_hackatari.reporting.statistics import human_normalised, mean_std_interval, without_nan
from continual_hackatari.training import run_evaluation, watching
from continual_hackatari.training.checkpoint_settings import HOW_TO_PLAY
from continual_hackatari.training.checkpoints import CheckpointError
from continual_hackatari.training.chosen_agents import PLAYING_RANGES, PlayingSettings, choose_agents
from continual_hackatari.training.command_line import parse_command_line
from continual_hackatari.training.config import ConfigError, Range, as_plain_dict, check_ranges, sentence
from continual_hackatari.training.evaluation_files import (
    Evaluation,
    mean_and_std,
    value_target,
    write_games,
    write_lives,
    write_summary,
)
from continual_hackatari.training.playing import play
from continual_hackatari.training.resume import ResumeError
from continual_hackatari.training.run_folder import create_run_folder
from continual_hackatari.training.summary import Result, summarise, table
from continual_hackatari.training.tracking import Tracker, check_wandb
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.errors import GameError, ModificationError, OutputError, WorkerError
from continual_hackatari.wrappers.interfaces import GameRecord
from continual_hackatari.wrappers.modifications import rule_file

Door: TypeAlias = tuple[type[Any], Callable[[Any], None], str | None]
USER_ERRORS = (
    *(AgentError, CheckpointError, ConfigError, GameError, ModificationError, OutputError),
    *(ResumeError, RunFolderError),
)


@dataclass
class Args(PlayingSettings):
    # games
    eval_episodes: int = 21
    """games per string; the first that are started count, however long they last"""
    seeds: tuple[int, ...] = ()
    """several such seeds, instead of one: so many times eval_episodes games"""
    num_envs: int = 8
    """games played in parallel"""
    num_workers: int | None = None
    """processes that run the games (default: one per core; 0: none, play in this process)"""

    # results
    output_dir: str = ""
    """where the files go, a new or empty folder (default: one in eval/ beside the first checkpoint)"""
    format: Literal["text", "markdown", "latex", "csv"] = "text"
    """of the printed table; if not text, standard output holds the table alone"""

    # tracking
    track: bool = False
    """log the results to Weights & Biases"""
    wandb_project_name: str = "continual-hackatari"
    """W&B project"""
    wandb_entity: str | None = None
    """W&B user or team"""
    wandb_dir: str = ""
    """where W&B keeps its local files (default: the current folder)"""
    wandb_run_id: str | None = None
    """existing W&B run to log into, needs --track (default: a new one)"""
    capture_video: bool = False
    """mp4 of the first game under each string (of the first checkpoint and seed)"""
    caption: bool = False
    """with --capture_video: write the modification string and the score so far above the screen"""


RECORDED: tuple[str, ...] = ("env_id", "backend", "modification_file", "architecture", "obs_mode", "buffer_window_size")
RECORDED += ("full_action_space", "frameskip", *HOW_TO_PLAY, "eval_episodes", "deterministic", "seed", "seeds")
RECORDED += ("num_envs", "agent")
"""Settings that summary.json holds."""
RANGES = {
    **PLAYING_RANGES,
    "eval_episodes": Range(1, 10**6),
    "num_envs": Range(1, 10_000),
    "num_workers": Range(0, 10_000),
    "seeds": Range(0, 2**63 - 1),
}
DOORS: dict[str, Door] = {
    "run": (run_evaluation.Args, run_evaluation.evaluate_run, run_evaluation.__doc__),
    "play": (watching.Args, watching.watch, watching.__doc__),
}
"""What evaluates something else, by the flag that asks for it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything, play, print the table and write the files."""
    try:
        words = sys.argv[1:] if argv is None else argv
        door = next(iter(named(words, DOORS)), "")
        refuse_foreign(words, door)
        settings, do, description = DOORS.get(door, (Args, run, __doc__))
        do(parse_command_line(settings, words, description=description))
    except USER_ERRORS as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except (OSError, WorkerError) as error:  # in the midst of an evaluation that was well begun
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def named(words: Sequence[str], flags: Iterable[str]) -> list[str]:
    """Which of these flags stand among the words of a command line."""
    given = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    return [flag for flag in flags if flag in given or f"no_{flag}" in given]


def refuse_foreign(words: Sequence[str], door: str) -> None:
    """Raise ConfigError for a flag that belongs to another door."""
    flags = {"": field_names(Args), **{name: field_names(settings) for name, (settings, _, _) in DOORS.items()}}
    for name, theirs in flags.items():
        for flag in named(words, sorted(theirs - flags[door])):
            if door == "run":
                raise ConfigError(f"`{flag}` is for one checkpoint; leave it out with `--run`")
            if door:
                raise ConfigError(f"`{door}` records one game, for which `{flag}` has no meaning; leave out `--{flag}`")
            raise ConfigError(f"`{flag}` goes with `--{name}`, which is not given")


def field_names(settings: type) -> set[str]:
    """The flags of a door."""
    return {field.name for field in fields(settings)}


def run(args: Args) -> None:
    """Evaluate one or several checkpoints as `args` say."""
    args = choose_seeds(args)
    check_ranges(args, RANGES)
    if args.wandb_run_id is not None and not args.track:
        raise ConfigError("`wandb_run_id` is given, but nothing is logged to W&B; add `--track`")
    if args.caption and not args.capture_video:
        raise ConfigError("`caption` goes with `--play FILE` or `--capture_video`, and neither is given")
    chosen = choose_agents(args)
    args, game, notes = replace(args, **chosen.settings), chosen.game, chosen.notes
    targets = [value_target(checkpoint) for checkpoint in chosen.checkpoints]
    if args.track:
        check_wandb()
        training_run = chosen.checkpoints[0].extra.get("wandb_run_id")
        if training_run and args.wandb_run_id is None and len(chosen.checkpoints) == 1:
            notes.append(f"logging to a new W&B run; `--wandb_run_id {training_run}` logs into the training's")
    beside_table = sys.stdout if args.format == "text" else sys.stderr  # a table for a paper goes alone into its file
    for line in dict.fromkeys(notes):
        print(line, file=beside_table)

    with output_folder(args, game) as folder, open_tracker(args, folder) as tracker:
        evaluations: list[Evaluation] = []
        for path, checkpoint, agent, target in zip(
            args.agent_path, chosen.checkpoints, chosen.agents, targets, strict=True
        ):
            for seed in args.seeds:
                games = play(
                    agent,
                    game,
                    chosen.strings,
                    episodes=args.eval_episodes,
                    seed=seed,
                    deterministic=args.deterministic,
                    num_envs=args.num_envs,
                    num_workers=args.num_workers,
                    device=chosen.device,
                    video_folder=folder / "videos" if args.capture_video and not evaluations else None,
                    caption=args.caption,
                )
                evaluations.append(Evaluation(path, checkpoint.global_step, seed, args.deterministic, target, games))
        results = summarise_agents(evaluations, game.env_id, args.seed, chosen.independent)
        print(table(results, args.format))  # before anything is written: a full disk must not lose it
        write_games(folder / "games.csv", evaluations)
        write_lives(folder / "per_life.csv", evaluations)
        recorded = {name: getattr(args, name) for name in RECORDED}
        recorded["modification_digest"] = rule_file(args.modification_file).digest
        write_summary(folder / "summary.json", recorded, evaluations, results)
        log_results(tracker, results, max(one.global_step or 0 for one in evaluations), folder)
    print(f"files: {folder}", file=beside_table)
    mean, std = mean_and_std(evaluations)
    spread = f"+- {std:.2f}" if np.isfinite(std) else "(one game: no deviation)"
    print(f"{mean:.2f} {spread}", file=beside_table)


def choose_seeds(args: Args) -> Args:
    """`args` with the evaluation seeds in `seeds` and the first of them in `seed`.

    Raises:
        ConfigError: both flags were given, a number out of range, or a seed twice, which would play its games twice.
    """
    check_ranges(args, {"seeds": RANGES["seeds"]})
    if not args.seeds:
        return replace(args, seeds=(args.seed,))
    if args.seed != Args().seed:
        raise ConfigError("`seed` and `seeds` are both given; give one of them")
    for seed in args.seeds:
        if args.seeds.count(seed) > 1:
            raise ConfigError(f"`seeds` names {seed} twice, which would play the same games twice; name it once")
    return replace(args, seed=args.seeds[0])


def summarise_agents(
    evaluations: Sequence[Evaluation], env_id: str, seed: int, independent: bool = True
) -> list[Result]:
    """One agent: over all its games, of whatever seed. Several: over the mean scores that each of them reached.

    Those that are not `independent` have a mean, but no spread that would say anything of other agents.
    """
    by_agent: dict[str, dict[str, list[GameRecord]]] = {}
    for one in evaluations:
        for string, games in one.games.items():
            by_agent.setdefault(one.agent_path, {}).setdefault(string, []).extend(game.record for game in games)
    (first, *_), agents = by_agent.values(), len(by_agent)
    if agents == 1:
        return summarise(first, env_id, seed)
    results = []
    for string in first:
        episodes = sum(len(games[string]) for games in by_agent.values())
        means = [float(np.mean([record.score for record in games[string]])) for games in by_agent.values()]
        mean, std, low, high = mean_std_interval(means, seed)
        if not independent:
            std = low = high = math.nan
        normalised = human_normalised(parse(string).game or env_id, mean)
        results.append(Result(string, episodes, mean, std, low, high, normalised, agents))
    return results


@contextlib.contextmanager
def output_folder(args: Args, game: GameConfig) -> Iterator[Path]:
    """A new folder for this evaluation; if nothing is written into it, its new parents go again.

    Raises:
        ConfigError: it cannot be created, or `output_dir` is in use.
    """
    place = Path(args.output_dir) if args.output_dir else Path(args.agent_path[0]).parent / "eval"
    missing = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        yield empty_folder(place) if args.output_dir else new_folder(place, args, game)
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty, as it should be
                folder.rmdir()


def new_folder(place: Path, args: Args, game: GameConfig) -> Path:
    """Create a folder in `place` that no other evaluation uses."""
    try:
        return create_run_folder(
            place,
            env_id=game.env_id,
            seed=args.seed,
            exp_name=f"{'greedy' if args.deterministic else 'sampled'}_{Path(args.agent_path[0]).stem}",
            architecture=str(args.architecture),
        )
    except ConfigError as error:
        raise ConfigError(f"{str(error).rstrip('.')}, with `--output_dir`") from None


def empty_folder(folder: Path) -> Path:
    """Create `folder` unless it is there and empty.

    Raises:
        ConfigError: it cannot be created, or holds files, which an evaluation must not overwrite.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        in_use = any(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"`output_dir` {folder} cannot be used ({error.strerror}); choose another folder") from None
    if in_use:
        raise ConfigError(f"`output_dir` {folder} is not empty; choose a new folder, so that no file is overwritten")
    return folder


def open_tracker(args: Args, folder: Path) -> Tracker:
    """TensorBoard and, if asked for, W&B."""
    return Tracker(
        folder,
        csv_files=False,
        track=args.track,
        config=as_plain_dict(args),
        project=args.wandb_project_name,
        entity=args.wandb_entity,
        wandb_dir=args.wandb_dir or None,
        wandb_run_id=args.wandb_run_id,
    )


def log_results(tracker: Tracker, results: Sequence[Result], global_step: int, folder: Path) -> None:
    """The results as scalars, and the videos."""
    for result in results:
        for key in ("mean", "std", "low", "high", "human_normalised"):
            value = without_nan(getattr(result, key))
            if value is not None:
                tracker.scalar(f"eval/{result.modification or UNMODIFIED}/{key}", value, global_step)
    for path in sorted((folder / "videos").glob("*.mp4")):
        tracker.video(path, f"eval/videos/{path.stem}", global_step)


if __name__ == "__main__":
    end_on_interrupt()
    main()
