"""Evaluate a checkpoint on whole games, under one or many modification strings.

    python eval.py --agent_path runs/.../model.cleanrl_model
    python eval.py --agent_path runs/.../model.cleanrl_model --modifs "no_modif, all_black_cars" --deterministic
    python eval.py --agent_path runs/.../model.cleanrl_model --modifs all_black_cars --play game.mp4
    python eval.py --run runs/<folder>    # fill the run's evals.csv from all its checkpoints

All else comes from the checkpoint; the game, the backend and the frameskip may be chosen anew. Games are whole (a
lost life does not end one) and scored by the emulator. Prints a table, writes games.csv and summary.json, and ends with
`mean +- std` over all games.
"""

from __future__ import annotations

import os

# Threads that spin for long while they wait would steal the cores that the emulators need; set before torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

from experiment.system import check_system

check_system()  # before anything imports OpenCV

import contextlib
import csv
import itertools
import json
import math
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from agents import ActorCritic, AgentError, make_agent
from agents.mismatch import explain_mismatch
from experiment.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from experiment.config import ConfigError, Range, as_plain_dict, check_ranges, parse_command_line, sentence
from experiment.evaluations import (
    Label,
    add_results,
    evaluating,
    labels_of,
    read_results,
    remove_unfinished,
    saved_weights,
    snapshot_paths,
    trained_strings,
)
from experiment.files import atomic_path
from experiment.run_folder import create_run_folder, slug
from experiment.scores import human_normalised, mean_std_interval
from experiment.tracking import Tracker, check_wandb
from wrappers.games import GameConfig, GameError, GameRecord
from wrappers.goals import goal_kind
from wrappers.look import VIDEO_ENDINGS, check_output, num_frames, played, write_video
from wrappers.modifications import ModificationError, OutputError
from wrappers.vector import ModifiedVectorEnv, WorkerError, check_string, game_config
from wrappers.worker import die_with

USER_ERRORS = (AgentError, CheckpointError, ConfigError, GameError, ModificationError, OutputError)
UNMODIFIED = "no_modif"
MAX_EVALUATED = 8  # modification strings by default; more only when they are named
FOR_RUNS = ("eval_modifs", "held_out_modifs", "eval_games", "follow")
FOR_BOTH = ("run", "seed", "num_workers", "cuda")  # with `run` and without; all others are for one checkpoint


@dataclass
class Args:
    agent_path: str = ""
    """the checkpoint, a .cleanrl_model file"""
    modifs: str = ""
    """modification strings, separated by commas (no_modif or nothing: the unmodified game)"""
    eval_episodes: int = 21
    """games per string; the first that are started count, however long they last"""
    deterministic: bool = False
    """take the most probable action instead of sampling"""
    seed: int = 1
    """seed of games and actions; game k is the same under every string"""
    num_envs: int = 8
    """games played in parallel"""
    num_workers: int | None = None
    """processes that run the games (default: one per core; 0: none, play in this process)"""
    cuda: bool = True
    """evaluate on the GPU if there is one"""
    output_dir: str = ""
    """where games.csv and summary.json go, a new or empty folder (default: one in eval/ beside the checkpoint)"""

    # all checkpoints of a run, into its evals.csv
    run: str = ""
    """run folder: evaluate what is not in its evals.csv yet, greedy and sampled (instead of agent_path)"""
    eval_modifs: tuple[str, ...] = ()
    """with run: strings to evaluate besides those of the training (default: what it trained on and no_modif)"""
    held_out_modifs: tuple[str, ...] = ()
    """with run: further ones, which it was not trained on"""
    eval_games: int | None = None
    """with run: games per string, once greedy and once sampled (default: as in the training, else 5)"""
    follow: int | None = None
    """with run, used by the training: its process id; evaluate snapshots as they come"""

    # the game; by default as in the checkpoint
    env_id: str | None = None
    """the game; it must have as many actions as the one trained on"""
    backend: Literal["HackAtari", "OCAtari", "Gym"] | None = None
    """where the game comes from"""
    frameskip: int | None = None
    """emulated frames per agent step"""

    # what the network was built for; a value that contradicts the checkpoint is an error
    architecture: str | None = None
    """PPO, PPO_OBJ or PPO_CBP"""
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
    """mp4 of the first game under each string"""
    play: str = ""
    """record one game under one string into this .mp4, and do nothing else"""
    seconds: float | None = None
    """with --play: stop after so many seconds (default: a whole game)"""


RANGES = {
    "eval_episodes": Range(1, 10**6),
    "num_envs": Range(1, 10_000),
    "num_workers": Range(0, 10_000),
    "frameskip": Range(1, 1000),
    "buffer_window_size": Range(1, 1000),
    "eval_games": Range(1, 10**6),
    "seed": Range(0, 2**63 - 1),
}
# Settings that come from the checkpoint, and their values where a checkpoint does not say. The first kind may be chosen
# anew; the second decides what the network reads and writes, so a flag that contradicts the checkpoint is an error.
GAME_SETTINGS = {"env_id": "", "backend": "HackAtari", "frameskip": 4}
NETWORK_SETTINGS = {
    "architecture": "PPO",
    "obs_mode": "dqn",
    "buffer_window_size": 4,
    "her": False,
    "game_specific_goals": False,
}


class Result(NamedTuple):
    """Scores under one modification string."""

    modification: str
    episodes: int
    mean: float
    std: float
    low: float
    high: float
    human_normalised: float | None


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything, play, print the table and write the files."""
    words = spell_out_flags(sys.argv[1:] if argv is None else argv)
    try:
        args = parse_command_line(Args, words, description=__doc__)
        if args.run:
            evaluate_run(args)
        else:
            run(args)
    except USER_ERRORS as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except (OSError, WorkerError) as error:  # in the midst of an evaluation that was well begun
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def run(args: Args) -> None:
    """Evaluate one checkpoint as `args` say."""
    if not args.agent_path:
        raise ConfigError("`agent_path` is missing; give `--agent_path` a checkpoint, or `--run` a run folder")
    refuse_flags(args, FOR_RUNS, "belongs to `--run`, which is not given")
    checkpoint = load_checkpoint(args.agent_path)
    settings = complete_settings(args, checkpoint)
    game, notes = choose_game(settings, checkpoint)
    strings, warnings = choose_modifications(args.modifs, game)
    check_play(args, strings)
    agent = load_agent(args.agent_path, checkpoint, settings["architecture"], game)
    device = torch.device("cuda" if args.cuda and torch.cuda.is_available() else "cpu")
    if args.cuda and device.type == "cpu":
        notes.append("no GPU found: evaluating on the CPU")
    if args.track:
        check_wandb()
        training_run = checkpoint.extra.get("wandb_run_id")
        if training_run and args.wandb_run_id is None:
            notes.append(f"logging to a new W&B run; `--wandb_run_id {training_run}` logs into the training's")
    for line in dict.fromkeys(notes + warnings):
        print(line)

    args = replace(args, **{**settings, "env_id": game.env_id})
    if args.play:
        print(record_game(agent.to(device), game, strings[0], args, device))
        return
    with output_folder(args, game) as folder, open_tracker(args, folder) as tracker:
        games = evaluate(
            agent.to(device),
            game,
            strings,
            episodes=args.eval_episodes,
            seed=args.seed,
            deterministic=args.deterministic,
            num_envs=args.num_envs,
            num_workers=args.num_workers,
            device=device,
            video_folder=folder / "videos" if args.capture_video else None,
        )
        results = summarise(games, game.env_id, args.seed)
        print(table(results))  # before anything is written: a full disk must not lose it
        mean, std, _, _ = mean_std_interval([record.score for records in games.values() for record in records])
        write_games(folder / "games.csv", args, checkpoint, games)
        write_summary(folder / "summary.json", args, checkpoint, results, mean, std)
        log_results(tracker, results, checkpoint.global_step or 0, folder)
    print(f"files: {folder}")
    print(f"{mean:.2f} +- {std:.2f}")


@torch.no_grad()
def evaluate(
    agent: ActorCritic,
    game: GameConfig,
    strings: Sequence[str],
    *,
    episodes: int,
    seed: int,
    deterministic: bool,
    num_envs: int,
    num_workers: int | None,
    device: torch.device,
    video_folder: Path | None = None,
) -> dict[str, list[GameRecord]]:
    """Play the first `episodes` games under each string; game k is seeded by (seed, k) and the same under every string.

    Environment i plays games i, i + num_envs, ... whatever their lengths, so that short games are not favoured.
    Returns the records per string, in the order of the games.
    """
    num_envs = min(num_envs, episodes)
    config = replace(game, episodic_life=False, reward_file="", seed=seed, reseed_every_game=True)
    envs = ModifiedVectorEnv(config, num_envs, num_workers=num_workers, copy=False)
    played: dict[str, list[GameRecord]] = {}
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for a few frames more threads are no faster, and the emulators need the cores
    try:
        with tqdm(total=episodes * len(strings), unit="game", disable=None) as progress:
            for string in strings:
                progress.set_postfix_str(string or "no modification")
                generator = torch.Generator(device).manual_seed(seed)
                finished: dict[int, GameRecord] = {}
                if video_folder is not None:
                    envs.record_next_game(video_folder / slug(string))
                envs.restart_numbering()
                observation, _ = envs.set_modifications(string, "reset")
                while len(finished) < episodes:
                    seen = torch.from_numpy(observation).to(device)
                    action = agent.get_action(seen, deterministic=deterministic, generator=generator)
                    observation, _, _, _, info = envs.step(action.cpu().numpy())
                    for record in info.get("games", ()):
                        number = record.env + record.number * num_envs
                        if number < episodes:
                            finished[number] = record
                            progress.update()
                played[string] = [finished[number] for number in range(episodes)]
    finally:
        envs.close()
        torch.set_num_threads(num_threads)
    return played


def check_play(args: Args, strings: Sequence[str]) -> None:
    """Raise ConfigError or OutputError if `play` is given but cannot be done, or `seconds` is given without it."""
    if not args.play:
        if args.seconds is not None:
            raise ConfigError("`seconds` goes with `--play FILE`, which is not given")
        return
    check_output("play", args.play, VIDEO_ENDINGS)
    if args.seconds is not None:
        num_frames(args.seconds)
    if len(strings) > 1:
        raise ConfigError(f"`play` records one game; `modifs` must be one modification string, got {len(strings)}")
    for name in ("track", "capture_video", "output_dir"):
        if getattr(args, name):
            raise ConfigError(f"`play` records one game and writes nothing else; leave out `--{name}`")


@torch.no_grad()
def record_game(agent: ActorCritic, game: GameConfig, string: str, args: Args, device: torch.device) -> str:
    """Record game 0 of an evaluation of one game (`--eval_episodes 1`), or its first seconds; returns what was done.

    Raises:
        OutputError: the video cannot be written.
    """
    generator = torch.Generator(device).manual_seed(args.seed)
    ended: list[GameRecord] = []

    def choose(observation: np.ndarray, _num_actions: int) -> int:
        seen = torch.from_numpy(observation)[None].to(device)
        return int(agent.get_action(seen, deterministic=args.deterministic, generator=generator))

    def screens() -> Iterator[np.ndarray]:
        for screen, record in played(replace(game, seed=args.seed), string, choose):
            if record is not None:
                ended.append(record)
                return
            yield screen

    total = None if args.seconds is None else num_frames(args.seconds)
    number = write_video("play", Path(args.play), itertools.islice(screens(), total), total)
    outcome = f"a whole game, score {ended[0].score:g}" if ended else "not a whole game"
    return f"{args.play}: {number} frames under {string or UNMODIFIED}, {outcome}"


def summarise(games: Mapping[str, Sequence[GameRecord]], env_id: str, seed: int) -> list[Result]:
    """Mean, standard deviation, 95 % bootstrap interval and human-normalised score per string."""
    results = []
    for string, records in games.items():
        mean, std, low, high = mean_std_interval([record.score for record in records], seed)
        results.append(Result(string, len(records), mean, std, low, high, human_normalised(env_id, mean)))
    return results


def table(results: Sequence[Result]) -> str:
    """The results as a text table; `-` stands for what is not known (the spread of one game, a human's score)."""
    rows = [("modification", "games", "mean", "std", "95 % interval", "human-normalised")]
    for result in results:
        mean, std, low, high = (f"{number:.2f}" for number in result[2:6])
        alone = result.episodes == 1
        normalised = result.human_normalised
        rows.append(
            (
                result.modification or UNMODIFIED,
                str(result.episodes),
                mean,
                "-" if alone else std,
                "-" if alone else f"[{low}, {high}]",
                "-" if normalised is None else f"{normalised:.3f}",
            )
        )
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in rows
    )


def spell_out_flags(argv: Sequence[str]) -> list[str]:
    """``--her`` -> ``--her True``, ``--no-her`` -> ``--her False``.

    tyro has no flags with a third state, which is needed here: not given, that is, as in the checkpoint.
    """
    three_states = {"her", "game_specific_goals"}
    words = []
    for word, following in zip(argv, [*argv, ""][1:], strict=True):
        name = word.removeprefix("--").replace("-", "_")
        if not word.startswith("--") or name.removeprefix("no_") not in three_states:
            words.append(word)
        elif name.startswith("no_"):
            words += [f"--{name.removeprefix('no_')}", "False"]
        else:
            words += [word] if following in ("True", "False", "None") else [word, "True"]
    return words


def complete_settings(args: Args, checkpoint: Checkpoint) -> dict[str, Any]:
    """Game and network settings: a flag where one was given, else the checkpoint's.

    Raises:
        ConfigError: a number out of range, a flag that contradicts the checkpoint, or no game anywhere.
    """
    settings: dict[str, Any] = {}
    for name, default in {**GAME_SETTINGS, **NETWORK_SETTINGS}.items():
        trained, given = trained_with(checkpoint, name, default), getattr(args, name)
        if name in NETWORK_SETTINGS and name in checkpoint.args and given not in (None, trained):
            raise ConfigError(
                f"`{name}` {given} contradicts the checkpoint, which was trained with {trained}; leave the flag out"
            )
        settings[name] = trained if given is None else given
    check_ranges(replace(args, **settings), RANGES)
    if not settings["env_id"]:
        raise ConfigError("`env_id`: the checkpoint does not say which game it was trained on; give `--env_id`")
    if args.wandb_run_id is not None and not args.track:
        raise ConfigError("`wandb_run_id` is given, but nothing is logged to W&B; add `--track`")
    return settings


def trained_with(checkpoint: Checkpoint, name: str, default: Any) -> Any:
    """A setting of the training run, or `default` where the checkpoint does not say.

    Raises:
        CheckpointError: it is not of the type of `default`.
    """
    value = checkpoint.args.get(name, default)
    value = list(value) if isinstance(value, tuple) else value
    if type(value) is not type(default):
        raise CheckpointError(f"`{name}` is {value!r} in the checkpoint, where a {type(default).__name__} belongs")
    return value


def choose_game(settings: Mapping[str, Any], checkpoint: Checkpoint) -> tuple[GameConfig, list[str]]:
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
        noop_max=trained_with(checkpoint, "noop_max", 30),
        fire_reset=trained_with(checkpoint, "fire_reset", True),
        goal_kind=goal_kind(settings["her"], settings["game_specific_goals"]),
    )


def choose_modifications(text: str, game: GameConfig) -> tuple[list[str], list[str]]:
    """The modification strings to play, as the games take them, and warnings.

    Raises:
        ConfigError: the same string twice.
        ModificationError: the game cannot play one of them.
    """
    checked = [check_string(game, string) for string in split_strings(text)]
    strings = [canonical for canonical, _ in checked]
    require_different(strings)  # again: an old spelling may name the same modification
    return strings, [warning for _, warnings in checked for warning in warnings]


def split_strings(text: str) -> list[str]:
    """``"a b, no_modif"`` -> ``["a b", ""]``: modification strings are separated by commas.

    Raises:
        ConfigError: the same string twice.
    """
    strings = [" ".join(part.split()) for part in text.split(",")]
    strings = ["" if string == UNMODIFIED else string for string in strings]
    require_different(strings)
    return strings


def require_different(strings: Sequence[str]) -> None:
    """Raise ConfigError if a modification string comes twice."""
    for string in strings:
        if strings.count(string) > 1:
            raise ConfigError(
                f"`modifs` names {string or UNMODIFIED!r} twice; name every modification string once, "
                "and nothing between two commas only for the unmodified game"
            )


def load_agent(path: str, checkpoint: Checkpoint, architecture: str, game: GameConfig) -> ActorCritic:
    """The checkpoint's agent, ready to play `game`.

    Raises:
        AgentError, CheckpointError: the weights do not fit the game or the architecture.
    """
    with contextlib.closing(ModifiedVectorEnv(game, 1, num_workers=0)) as envs:
        observation_shape, num_actions = envs.observation_shape, envs.num_actions
    layers = {
        name: trained_with(checkpoint, name, [])
        for name in ("encoder_dims", "decoder_dims")
        if architecture == "PPO_OBJ" and name in checkpoint.args
    }
    agent = make_agent(architecture, observation_shape, num_actions, **layers)
    problem = explain_mismatch(agent, checkpoint.model_weights)
    if problem:
        raise CheckpointError(f"{path} does not fit {game.env_id}: {problem}")
    agent.load_state_dict(checkpoint.model_weights)
    return agent.eval()


@contextlib.contextmanager
def output_folder(args: Args, game: GameConfig) -> Iterator[Path]:
    """A new folder for this evaluation; if nothing is written into it, its new parents go again.

    Raises:
        ConfigError: it cannot be created, or `output_dir` is in use.
    """
    place = Path(args.output_dir) if args.output_dir else Path(args.agent_path).parent / "eval"
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
            exp_name=f"{'greedy' if args.deterministic else 'sampled'}_{Path(args.agent_path).stem}",
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


def write_games(path: Path, args: Args, checkpoint: Checkpoint, games: Mapping[str, Sequence[GameRecord]]) -> None:
    """games.csv: one row per game; `length` in agent steps, `lives` lost."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["modification", "game", "score", "length", "lives", "deterministic", "seed", "global_step"])
        run_columns = [int(args.deterministic), args.seed, checkpoint.global_step]
        for string, records in games.items():
            for number, game in enumerate(records):
                writer.writerow([string, number, game.score, game.length, game.lives, *run_columns])


def write_summary(
    path: Path, args: Args, checkpoint: Checkpoint, results: Sequence[Result], mean: float, std: float
) -> None:
    """summary.json: what was evaluated, the results per string, and mean and deviation over all games."""
    settings = ["agent_path", "env_id", "backend", "architecture", "obs_mode", "buffer_window_size", "frameskip"]
    settings += ["eval_episodes", "deterministic", "seed", "num_envs"]
    summary = {
        **{name: getattr(args, name) for name in settings},
        "global_step": checkpoint.global_step,
        "results": [{key: number_or_none(value) for key, value in result._asdict().items()} for result in results],
        "mean": mean,
        "std": number_or_none(std),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")


def number_or_none(value: Any) -> Any:
    """`value`, but None for NaN, which JSON does not have."""
    return None if isinstance(value, float) and math.isnan(value) else value


def log_results(tracker: Tracker, results: Sequence[Result], global_step: int, folder: Path) -> None:
    """The results as scalars, and the videos."""
    for result in results:
        for key in ("mean", "std", "low", "high", "human_normalised"):
            value = number_or_none(getattr(result, key))
            if value is not None:
                tracker.scalar(f"eval/{result.modification or UNMODIFIED}/{key}", value, global_step)
    for path in sorted((folder / "videos").glob("*.mp4")):
        tracker.video(path, f"eval/videos/{path.stem}", global_step)


# ------------------------------------------------------------------------------------------------ all weights of a run


class RunEvaluation(NamedTuple):
    """How the weights of one run are evaluated: all alike, whether during the training or later."""

    folder: Path
    seed: int
    """of the training"""
    game: GameConfig
    architecture: str
    splits: dict[str, str]
    """modification string -> `train` or `held_out`"""
    games: int
    """per string, once greedy and once sampled"""
    evaluation_seed: int
    num_workers: int | None


def evaluate_run(args: Args) -> None:
    """Evaluate all weights of a run that are not in its evals.csv yet.

    Raises:
        USER_ERRORS: one sentence; what was evaluated before it is in the file.
    """
    if args.follow is not None and sys.platform == "linux":
        die_with(args.follow)  # elsewhere this process ends by itself: standard input ends, no snapshots come
    others = [field.name for field in fields(Args) if field.name not in (*FOR_RUNS, *FOR_BOTH)]
    refuse_flags(args, others, "is for one checkpoint; leave it out with `--run`")
    check_ranges(args, RANGES)
    folder = Path(args.run)
    with evaluating(folder) if folder.is_dir() else contextlib.nullcontext():
        evaluation, notes = plan_run(args, folder)
        print(*dict.fromkeys(notes), sep="\n", end="\n" if notes else "", flush=True)
        if args.follow is None:
            remove_unfinished(folder)
        for path in arriving_snapshots(folder) if args.follow is not None else iter(snapshot_paths(folder)):
            evaluate_weights(evaluation, path)
            path.unlink()
        for path, labels in saved_weights(folder) if args.follow is None else ():
            evaluate_weights(evaluation, path, labels)
        print(f"results: {folder / 'evals.csv'}, {len(read_results(folder)):,} games")


def arriving_snapshots(folder: Path) -> Iterator[Path]:
    """Snapshots in the order of training, as they come, until standard input is closed and none is left."""
    ended = False
    while True:
        paths = snapshot_paths(folder)
        if paths:
            yield paths[0]
        elif ended:
            return
        else:
            ended = bool(select.select([sys.stdin], [], [], 0.5)[0])


def plan_run(args: Args, folder: Path) -> tuple[RunEvaluation, list[str]]:
    """What to evaluate and how, from the run's own settings, and lines for the user.

    Raises:
        ConfigError, GameError, ModificationError: the folder is not that of a run, or the flags do not fit it.
    """
    try:
        settings = json.loads((folder / "args.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"`run` names `{folder}`, which is not the folder of a run; it has no args.json.") from None
    trained = Checkpoint({}, settings, None)
    network = complete_settings(args, trained)
    game, notes = choose_game(network, trained)
    strings, held_out = (
        list(dict.fromkeys([*trained_with(trained, name, []), *getattr(args, name)]))
        for name in ("eval_modifs", "held_out_modifs")
    )
    splits, more = choose_evaluated(strings, held_out, trained_strings(folder), game)
    games = args.eval_games or trained_with(trained, "eval_games", 5)
    results = read_results(folder)
    if results:
        before = max(int(row["episode"]) for row in results) + 1, int(results[0]["evaluation_seed"])
        if before != (games, args.seed):
            raise ConfigError(
                f"`eval_games` {games} and `seed` {args.seed} are not those of `{folder / 'evals.csv'}`, {before[0]} "
                f"and {before[1]}; leave the flags out, or move the file away"
            )
    num_workers = args.num_workers if args.follow is None else 0
    seed = trained_with(trained, "seed", 0)
    architecture = network["architecture"]
    evaluation = RunEvaluation(folder, seed, game, architecture, splits, games, args.seed, num_workers)
    return evaluation, notes + more


def choose_evaluated(
    strings: Sequence[str], held_out: Sequence[str], trained_on: Sequence[str], game: GameConfig
) -> tuple[dict[str, str], list[str]]:
    """Modification strings to evaluate, as the games take them, each `train` or `held_out`, and lines for the user.

    strings: none means `trained_on`, and the unmodified game; at most `MAX_EVALUATED` of them.

    Raises:
        ConfigError: a string twice, or one that is held out and trained on, in whatever order of its names.
        ModificationError: the game cannot play one of them.
    """
    notes = []
    trained_on = list(dict.fromkeys(trained_on))
    chosen, warnings = canonical_strings("eval_modifs", strings, game)
    withheld, more = canonical_strings("held_out_modifs", held_out, game)
    names = {tuple(sorted(string.split())): string for string in trained_on}
    for string in withheld:
        same = names.get(tuple(sorted(string.split())))
        if same is not None or string in chosen:
            where = "is trained on" if same is not None else "is in `eval_modifs` too"
            raise ConfigError(
                f"`held_out_modifs` names {string or UNMODIFIED!r}, which {where}; what is held out is evaluated only, "
                "so take it from one of the two"
            )
    if not chosen:
        unmodified = [] if "" in withheld or "" in trained_on else [""]
        number = MAX_EVALUATED - len(unmodified)
        chosen, left_out = [*trained_on[:number], *unmodified], trained_on[number:]
        if left_out:
            notes.append(
                f"note: evaluated are {len(chosen)} modification strings; `--eval_modifs` can name others than these. "
                f"Left out: {', '.join(string or UNMODIFIED for string in left_out)}"
            )
    splits = {**dict.fromkeys(chosen, "train"), **dict.fromkeys(withheld, "held_out")}
    return splits, notes + warnings + more


def canonical_strings(argument: str, strings: Sequence[str], game: GameConfig) -> tuple[list[str], list[str]]:
    """The strings of a list flag as the games take them (`no_modif` is the unmodified game), and warnings.

    Raises:
        ConfigError: one of them twice.
        ModificationError: the game cannot play one of them.
    """
    checked = [check_string(game, "" if string == UNMODIFIED else string) for string in strings]
    canonical = [string for string, _ in checked]
    for string in canonical:
        if canonical.count(string) > 1:
            raise ConfigError(f"`{argument}` names {string or UNMODIFIED!r} twice; name every modification string once")
    return canonical, [warning for _, warnings in checked for warning in warnings]


def refuse_flags(args: Args, names: Sequence[str], why: str) -> None:
    """Raise ConfigError for the first of these arguments that is not as by default."""
    for name in names:
        if getattr(args, name) != getattr(Args(), name):
            raise ConfigError(f"`{name}` {why}")


def evaluate_weights(evaluation: RunEvaluation, path: Path, labels: Sequence[Label] = ()) -> None:
    """Evaluate one checkpoint as far as it is not in evals.csv yet, and add all its rows at once.

    labels: where in the run the weights were taken; a snapshot knows it itself.

    Raises:
        CheckpointError: the file is damaged, or the results cannot be written.
    """
    begin, checkpoint = time.perf_counter(), load_checkpoint(path)
    labels = labels or labels_of(path, checkpoint)
    names = ("global_step", "phase", "modification", "deterministic")
    present = {tuple(row[name] for name in names) for row in read_results(evaluation.folder)}
    rows: list[tuple[Any, ...]] = []
    agent = None
    for deterministic in (False, True):
        missing = {
            string: [
                label
                for label in labels
                if (str(label.global_step), str(label.phase), string, str(int(deterministic))) not in present
            ]
            for string in evaluation.splits
        }
        strings = [string for string, of in missing.items() if of]
        if strings:
            agent = agent or load_agent(str(path), checkpoint, evaluation.architecture, evaluation.game)
            games = evaluate(
                agent,
                evaluation.game,
                strings,
                episodes=evaluation.games,
                seed=evaluation.evaluation_seed,
                deterministic=deterministic,
                num_envs=min(evaluation.games, 8),  # fixed: in one batch all games share the random numbers
                num_workers=evaluation.num_workers,
                device=torch.device("cpu"),
            )
            rows += evaluation_rows(evaluation, missing, games, deterministic)
    if rows:
        add_results(evaluation.folder, sorted(rows, key=lambda row: (row[3], row[2])))
        where = ", ".join(f"{label.global_step:,} (phase {label.phase})" for label in labels)
        print(f"step {where}: {len(rows)} rows, {time.perf_counter() - begin:.1f} s", flush=True)


def evaluation_rows(
    evaluation: RunEvaluation,
    missing: Mapping[str, Sequence[Label]],
    games: Mapping[str, Sequence[GameRecord]],
    deterministic: bool,
) -> Iterator[tuple[Any, ...]]:
    """Rows of evals.csv: every game once for each place in the run that these weights stand for."""
    run = evaluation.folder.resolve().name
    for string, records in games.items():
        for label in missing[string]:
            for episode, record in enumerate(records):
                yield (
                    *(run, evaluation.seed, label.phase, label.global_step, string, evaluation.splits[string], episode),
                    *(evaluation.evaluation_seed, int(deterministic), record.score, record.length, record.lives),
                    label.trained_on,
                )


if __name__ == "__main__":
    main()
