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
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from continual_hackatari.agents import AgentError
from continual_hackatari.reporting.rows import UNMODIFIED, RunFolderError
from continual_hackatari.reporting.statistics import human_normalised, mean_std_interval, without_nan
from continual_hackatari.training import run_evaluation
from continual_hackatari.training.checkpoint_settings import HOW_TO_PLAY, choose_game, complete_settings
from continual_hackatari.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from continual_hackatari.training.config import (
    ConfigError,
    Range,
    as_plain_dict,
    check_ranges,
    parse_command_line,
    sentence,
)
from continual_hackatari.training.evaluation_files import (
    Evaluation,
    mean_and_std,
    value_target,
    write_games,
    write_lives,
    write_summary,
)
from continual_hackatari.training.playing import load_agent, play
from continual_hackatari.training.resume import ResumeError
from continual_hackatari.training.rules import rules_for
from continual_hackatari.training.run_folder import create_run_folder
from continual_hackatari.training.strings import canonical_strings
from continual_hackatari.training.summary import Result, summarise, table
from continual_hackatari.training.tracking import Tracker, check_wandb
from continual_hackatari.training.watching import Video, record_game
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.errors import GameError, ModificationError, OutputError, WorkerError
from continual_hackatari.wrappers.interfaces import GameRecord
from continual_hackatari.wrappers.look import VIDEO_ENDINGS, check_output, num_frames
from continual_hackatari.wrappers.modifications import rule_file

USER_ERRORS = (
    *(AgentError, CheckpointError, ConfigError, GameError, ModificationError, OutputError),
    *(ResumeError, RunFolderError),
)


@dataclass
class Args:
    agent_path: tuple[str, ...] = ()
    """the checkpoint, a .cleanrl_model file; several are several training seeds of one method"""
    modifs: tuple[str, ...] = ()
    """modification strings (no_modif or nothing: the unmodified game)"""
    eval_episodes: int = 21
    """games per string; the first that are started count, however long they last"""
    deterministic: bool = False
    """take the most probable action instead of sampling"""
    seed: int = 1
    """seed of games and actions; game k is the same under every string"""
    seeds: tuple[int, ...] = ()
    """several such seeds, instead of one: so many times eval_episodes games"""
    num_envs: int = 8
    """games played in parallel"""
    num_workers: int | None = None
    """processes that run the games (default: one per core; 0: none, play in this process)"""
    cuda: bool = True
    """evaluate on the GPU if there is one"""
    output_dir: str = ""
    """where the files go, a new or empty folder (default: one in eval/ beside the first checkpoint)"""
    format: Literal["text", "markdown", "latex", "csv"] = "text"
    """of the printed table; if not text, standard output holds the table alone"""

    # the game; by default as in the checkpoint
    env_id: str | None = None
    """the game; it must have as many actions as the one trained on"""
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
    her: bool | None = None
    """--her or --no_her: trained with or without hindsight"""
    game_specific_goals: bool | None = None
    """--game_specific_goals or --no_game_specific_goals: trained with or without the game's own goals"""

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
    play: str = ""
    """record one game under one string into this .mp4, and do nothing else"""
    seconds: float | None = None
    """with --play: stop after so many seconds (default: a whole game)"""
    caption: bool = False
    """with --play: write the modification string and the score so far above the screen"""


RECORDED: tuple[str, ...] = (
    *(
        "env_id",
        "backend",
        "modification_file",
        "architecture",
        "obs_mode",
        "buffer_window_size",
        "frameskip",
        *HOW_TO_PLAY,
    ),
    *("eval_episodes", "deterministic", "seed", "seeds", "num_envs"),
)
"""Settings that summary.json holds."""
RANGES = {
    "eval_episodes": Range(1, 10**6),
    "num_envs": Range(1, 10_000),
    "num_workers": Range(0, 10_000),
    "frameskip": Range(1, 1000),
    "sticky": Range(0, 1),
    "time_limit": Range(1, 2**31 - 1),
    "buffer_window_size": Range(1, 1000),
    "seed": Range(0, 2**63 - 1),
    "seeds": Range(0, 2**63 - 1),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything, play, print the table and write the files."""
    try:
        words = sys.argv[1:] if argv is None else argv
        of_a_run = bool(named(words, ["run"]))
        refuse_foreign(words, of_a_run)
        if of_a_run:
            run_evaluation.evaluate_run(
                parse_command_line(run_evaluation.Args, words, description=run_evaluation.__doc__)
            )
        else:
            run(parse_command_line(Args, words, description=__doc__))
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


def refuse_foreign(words: Sequence[str], of_a_run: bool) -> None:
    """Raise ConfigError for a flag of checkpoints where a run is evaluated, and the other way round."""
    both = [{field.name for field in fields(one)} for one in (Args, run_evaluation.Args)]
    here, there = both[::-1] if of_a_run else both
    for flag in named(words, sorted(there - here)):
        if of_a_run:
            raise ConfigError(f"`{flag}` is for one checkpoint; leave it out with `--run`")
        raise ConfigError(f"`{flag}` belongs to `--run`, which is not given")


def run(args: Args) -> None:
    """Evaluate one or several checkpoints as `args` say."""
    if not args.agent_path:
        raise ConfigError("`agent_path` is missing; give `--agent_path` a checkpoint, or `--run` a run folder")
    args = choose_seeds(args)
    checkpoints = [load_checkpoint(path) for path in args.agent_path]
    settings, game, notes = choose_common_game(args, checkpoints)
    strings, warnings = canonical_strings("modifs", args.modifs or [""], game)
    check_play(args, strings)
    agents = [
        load_agent(path, checkpoint, settings["architecture"], game)
        for path, checkpoint in zip(args.agent_path, checkpoints, strict=True)
    ]
    targets = [value_target(checkpoint) for checkpoint in checkpoints]
    device = torch.device("cuda" if args.cuda and torch.cuda.is_available() else "cpu")
    if args.cuda and device.type == "cpu":
        notes.append("no GPU found: evaluating on the CPU")
    if args.track:
        check_wandb()
        training_run = checkpoints[0].extra.get("wandb_run_id")
        if training_run and args.wandb_run_id is None and len(checkpoints) == 1:
            notes.append(f"logging to a new W&B run; `--wandb_run_id {training_run}` logs into the training's")
    beside_table = sys.stdout if args.format == "text" else sys.stderr  # a table for a paper goes alone into its file
    for line in dict.fromkeys(notes + warnings):
        print(line, file=beside_table)

    args = replace(
        args, **{**settings, **game.chosen, "env_id": game.env_id, "modification_file": game.modification_file}
    )
    if args.play:
        video = Video(Path(args.play), args.seconds, args.caption)
        agent, greedy = agents[0].to(device), args.deterministic
        print(record_game(agent, game, strings[0], video, seed=args.seed, deterministic=greedy, device=device))
        return
    with output_folder(args, game) as folder, open_tracker(args, folder) as tracker:
        evaluations: list[Evaluation] = []
        for path, checkpoint, agent, target in zip(args.agent_path, checkpoints, agents, targets, strict=True):
            for seed in args.seeds:
                games = play(
                    agent.to(device),
                    game,
                    strings,
                    episodes=args.eval_episodes,
                    seed=seed,
                    deterministic=args.deterministic,
                    num_envs=args.num_envs,
                    num_workers=args.num_workers,
                    device=device,
                    video_folder=folder / "videos" if args.capture_video and not evaluations else None,
                )
                evaluations.append(Evaluation(path, checkpoint.global_step, seed, args.deterministic, target, games))
        results = summarise_agents(evaluations, game.env_id, args.seed)
        print(table(results, args.format))  # before anything is written: a full disk must not lose it
        write_games(folder / "games.csv", evaluations)
        write_lives(folder / "per_life.csv", evaluations)
        recorded = {name: getattr(args, name) for name in RECORDED}
        recorded["modification_digest"] = rule_file(args.modification_file).digest
        write_summary(folder / "summary.json", recorded, evaluations, results)
        log_results(tracker, results, max(checkpoint.global_step or 0 for checkpoint in checkpoints), folder)
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


def choose_common_game(args: Args, checkpoints: Sequence[Checkpoint]) -> tuple[dict[str, Any], GameConfig, list[str]]:
    """Settings and game that all checkpoints agree on, and lines that a user should see.

    Raises:
        ConfigError: what `checked_settings` raises, a checkpoint twice, or checkpoints that do not agree.
        GameError: unknown game or backend, or a combination that cannot work.
    """
    (settings, game, notes), *others = (
        (settings := checked_settings(args, checkpoint), *game_of(args, path, settings, checkpoint))
        for path, checkpoint in zip(args.agent_path, checkpoints, strict=True)
    )
    first, *paths = args.agent_path
    for path, (other, other_game, _) in zip(paths, others, strict=True):
        if args.agent_path.count(path) > 1:
            raise ConfigError(f"`agent_path` names {path} twice; name every checkpoint once")
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


def game_of(args: Args, path: str, settings: dict[str, Any], checkpoint: Checkpoint) -> tuple[GameConfig, list[str]]:
    """See `choose_game`; with the modifications that `rules_for` allows."""
    rules, lines = rules_for(checkpoint, Path(path), args.modification_file, settings)
    game, notes = choose_game(settings, checkpoint, rules)
    return game, notes + lines


def checked_settings(args: Args, checkpoint: Checkpoint) -> dict[str, Any]:
    """See `complete_settings`.

    Raises:
        ConfigError: what that raises, a number out of range, or a W&B run without tracking.
    """
    settings = complete_settings(vars(args), checkpoint)
    check_ranges(replace(args, **settings), RANGES)
    if args.wandb_run_id is not None and not args.track:
        raise ConfigError("`wandb_run_id` is given, but nothing is logged to W&B; add `--track`")
    return settings


def check_play(args: Args, strings: Sequence[str]) -> None:
    """Raise ConfigError or OutputError if `play` is given but cannot be done, or `seconds` is given without it."""
    if not args.play:
        if args.seconds is not None:
            raise ConfigError("`seconds` goes with `--play FILE`, which is not given")
        if args.caption:
            raise ConfigError("`caption` goes with `--play FILE`, which is not given")
        return
    check_output("play", args.play, VIDEO_ENDINGS)
    if args.seconds is not None:
        num_frames(args.seconds)
    if len(strings) > 1:
        raise ConfigError(f"`play` records one game; `modifs` must be one modification string, got {len(strings)}")
    for name in ("agent_path", "seeds"):
        if len(getattr(args, name)) > 1:
            raise ConfigError(f"`play` records one game; give `{name}` one value, not {len(getattr(args, name))}")
    for name in ("track", "capture_video", "output_dir"):
        if getattr(args, name):
            raise ConfigError(f"`play` records one game and writes nothing else; leave out `--{name}`")
    for name in ("format", "eval_episodes"):
        if getattr(args, name) != getattr(Args(), name):
            raise ConfigError(f"`{name}` is of an evaluation, and `play` records one game; leave it out")


def summarise_agents(evaluations: Sequence[Evaluation], env_id: str, seed: int) -> list[Result]:
    """One agent: over all its games, of whatever seed. Several: over the mean scores that each of them reached."""
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
        results.append(Result(string, episodes, mean, std, low, high, human_normalised(env_id, mean), agents))
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
            shrink_and_perturb=False,
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
