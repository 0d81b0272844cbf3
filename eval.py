"""Evaluate a checkpoint on whole games, under one or many modification strings.

    python eval.py --agent_path runs/.../model.cleanrl_model
    python eval.py --agent_path runs/.../model.cleanrl_model --modifs "no_modif, all_black_cars" --deterministic
    python eval.py --agent_path runs/.../model.cleanrl_model --modifs all_black_cars --play game.mp4
    python eval.py --agent_path runs/*my_method*/model.cleanrl_model --seeds 0 1 2 --format latex > table.tex
    python eval.py --run runs/<folder>    # fill the run's evals.csv from all its checkpoints

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
import csv
import itertools
import json
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from continual_hackatari.agents import ActorCritic, AgentError, RewardScaler
from continual_hackatari.reporting.asked import still_to_do
from continual_hackatari.reporting.plan import PLAN, Label, Plan, read_plan
from continual_hackatari.reporting.rows import SPLITS, UNMODIFIED, RunFolderError
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.statistics import human_normalised, mean_std_interval, statistics, without_nan
from continual_hackatari.training.checkpoints import Checkpoint, CheckpointError, load_checkpoint, trained_with
from continual_hackatari.training.config import (
    ConfigError,
    Range,
    as_plain_dict,
    check_ranges,
    parse_command_line,
    sentence,
)
from continual_hackatari.training.evaluations import (
    add_results,
    evaluating,
    labels_of,
    read_results,
    remove_unfinished,
    saved_weights,
    snapshot_paths,
    trained_strings,
)
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.game_report import (
    Life,
    discounted_returns,
    failure_statistics,
    game_columns,
    known_returns,
    value_error,
)
from continual_hackatari.training.playing import PlayedGame, evaluate, load_agent, play
from continual_hackatari.training.run_folder import create_run_folder
from continual_hackatari.training.strings import canonical_strings, choose_evaluated, choose_modifications
from continual_hackatari.training.summary import Result, summarise, table
from continual_hackatari.training.tracking import Tracker, check_wandb
from continual_hackatari.wrappers.config import NOOP_MAX, GameConfig, game_config, same_game
from continual_hackatari.wrappers.errors import GameError, ModificationError, OutputError, WorkerError
from continual_hackatari.wrappers.goals import goal_kind
from continual_hackatari.wrappers.interfaces import GameRecord
from continual_hackatari.wrappers.look import VIDEO_ENDINGS, check_output, num_frames, played, write_video
from continual_hackatari.wrappers.worker import die_with

USER_ERRORS = (AgentError, CheckpointError, ConfigError, GameError, ModificationError, OutputError, RunFolderError)
FOR_RUNS = ("eval_modifs", "held_out_modifs", "eval_games", "follow")
FOR_BOTH = ("run", "seed", "num_workers", "cuda", "architecture")
"""With `run` and without; all others are for one checkpoint."""


@dataclass
class Args:
    agent_path: tuple[str, ...] = ()
    """the checkpoint, a .cleanrl_model file; several are several training seeds of one method"""
    modifs: str = ""
    """modification strings, separated by commas (no_modif or nothing: the unmodified game)"""
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
    game_start: Literal["auto", "frames", "steps", "original", "none"] = "auto"
    """how a game starts (auto: as in training; a checkpoint of the original system: original)"""
    max_pool: bool | None = None
    """--max_pool or --no_max_pool: frames are the maximum of a step's last two, or the last one"""
    sticky: float | None = None
    """probability that an emulated frame repeats the last action (with another env_id: that id's own)"""
    time_limit: int | None = None
    """emulated frames after which a game is cut (with another env_id: that id's own)"""

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


RANGES = {
    "eval_episodes": Range(1, 10**6),
    "num_envs": Range(1, 10_000),
    "num_workers": Range(0, 10_000),
    "frameskip": Range(1, 1000),
    "sticky": Range(0, 1),
    "time_limit": Range(1, 2**31 - 1),
    "buffer_window_size": Range(1, 1000),
    "eval_games": Range(1, 10**6),
    "seed": Range(0, 2**63 - 1),
    "seeds": Range(0, 2**63 - 1),
}
# Settings that come from the checkpoint, and their values where a checkpoint does not say. The first kind may be chosen
# anew; the second decides what the network reads and writes, so a flag that contradicts the checkpoint is an error.
GAME_SETTINGS = {"env_id": "", "backend": "HackAtari", "frameskip": 4}
HOW_TO_PLAY = ("game_start", "max_pool", "sticky", "time_limit")  # see `how_to_play`
NETWORK_SETTINGS = {
    "architecture": "PPO",
    "obs_mode": "dqn",
    "buffer_window_size": 4,
    "her": False,
    "game_specific_goals": False,
}


class ValueTarget(NamedTuple):
    """What a checkpoint's value head was trained to foretell: the discounted sum of scaled rewards of an episode."""

    gamma: float
    scaling: str | None
    """as in the training, None where the checkpoint does not say"""
    variance: float | None
    """with scaling `normalize`: of the discounted returns, None where the checkpoint does not say"""
    episodic_life: bool
    """an episode is a life, not a game"""

    @property
    def scale_known(self) -> bool:
        """Whether the unit of the values is known."""
        return self.scaling in ("clip", "none") or (self.scaling == "normalize" and self.variance is not None)

    def scaled(self, rewards: np.ndarray) -> np.ndarray:
        """Rewards as the value head knows them, or as the game gives them where the scale is not known."""
        if not self.scale_known:
            return rewards
        scaler = RewardScaler(1, self.gamma, str(self.scaling))
        scaler.variance = 1.0 if self.variance is None else self.variance
        return scaler.scale(rewards)


class Evaluation(NamedTuple):
    """All games of one checkpoint with one evaluation seed."""

    agent_path: str
    global_step: int | None
    seed: int
    target: ValueTarget | None
    """None: the agent learned from other rewards than the game's"""
    games: dict[str, list[PlayedGame]]
    """per modification string, in the order of the games"""


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything, play, print the table and write the files."""
    try:
        args = parse_command_line(Args, argv, description=__doc__)
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
    """Evaluate one or several checkpoints as `args` say."""
    if not args.agent_path:
        raise ConfigError("`agent_path` is missing; give `--agent_path` a checkpoint, or `--run` a run folder")
    refuse_flags(args, FOR_RUNS, "belongs to `--run`, which is not given")
    args = choose_seeds(args)
    checkpoints = [load_checkpoint(path) for path in args.agent_path]
    settings, game, notes = choose_common_game(args, checkpoints)
    strings, warnings = choose_modifications("modifs", args.modifs, game)
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

    args = replace(args, **{**settings, **game.chosen, "env_id": game.env_id})
    if args.play:
        print(record_game(agents[0].to(device), game, strings[0], args, device))
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
                evaluations.append(Evaluation(path, checkpoint.global_step, seed, target, games))
        results = summarise_agents(evaluations, game.env_id, args.seed)
        print(table(results, args.format))  # before anything is written: a full disk must not lose it
        scores = [game.record.score for one in evaluations for games in one.games.values() for game in games]
        mean, std, _, _ = mean_std_interval(scores)
        write_games(folder / "games.csv", args, evaluations)
        write_lives(folder / "per_life.csv", args, evaluations)
        write_summary(folder / "summary.json", args, evaluations, results, mean, std)
        log_results(tracker, results, max(checkpoint.global_step or 0 for checkpoint in checkpoints), folder)
    print(f"files: {folder}", file=beside_table)
    spread = f"+- {std:.2f}" if len(scores) > 1 else "(one game: no deviation)"
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
        ConfigError: what `complete_settings` raises, a checkpoint twice, or checkpoints that do not agree.
        GameError: unknown game or backend, or a combination that cannot work.
    """
    (settings, game, notes), *others = (
        (settings := complete_settings(args, checkpoint), *choose_game(settings, checkpoint))
        for checkpoint in checkpoints
    )
    first, *paths = args.agent_path
    for path, (other, other_game, _) in zip(paths, others, strict=True):
        if args.agent_path.count(path) > 1:
            raise ConfigError(f"`agent_path` names {path} twice; name every checkpoint once")
        pairs = ((game, settings), (other_game, other))
        one, two = ({**asdict(game), **settings, **game.chosen} for game, settings in pairs)
        differing = [name for name in one if one[name] != two[name]]
        if differing:
            name = differing[0]
            raise ConfigError(
                f"`agent_path`: `{name}` is {one[name]!r} for {first}, but {two[name]!r} for {path}; several "
                "checkpoints must be of one method on one game, so evaluate these one by one"
            )
    return settings, game, notes


def value_target(checkpoint: Checkpoint) -> ValueTarget | None:
    """What the value head was trained to foretell; None if it was not the game's rewards.

    Raises:
        CheckpointError: the checkpoint holds an impossible value.
    """
    reward_file, scaling = (checkpoint.args.get(name) for name in ("new_rf", "reward_scaling"))
    if (isinstance(reward_file, str) and reward_file) or checkpoint.args.get("her") is True:
        return None
    variance = checkpoint.extra.get("reward_variance")
    if variance is not None and not (type(variance) is float and 0 <= variance < float("inf")):
        raise CheckpointError(f"`reward_variance` is {variance!r} in the checkpoint, where a positive number belongs")
    gamma = checkpoint.args.get("gamma", 0.99)
    if type(gamma) not in (int, float) or not 0 <= gamma <= 1:
        raise CheckpointError(f"`gamma` is {gamma!r} in the checkpoint, where a number from 0 to 1 belongs")
    return ValueTarget(
        gamma=gamma,
        scaling=scaling if isinstance(scaling, str) else None,
        variance=variance,
        episodic_life=checkpoint.args.get("deactivate_episodic_life") is not True,
    )


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
    for name in ("agent_path", "seeds"):
        if len(getattr(args, name)) > 1:
            raise ConfigError(f"`play` records one game; give `{name}` one value, not {len(getattr(args, name))}")
    for name in ("track", "capture_video", "output_dir"):
        if getattr(args, name):
            raise ConfigError(f"`play` records one game and writes nothing else; leave out `--{name}`")
    refuse_flags(args, ("format", "eval_episodes"), "is of an evaluation, and `play` records one game; leave it out")


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
        return int(agent.act(seen, deterministic=args.deterministic, generator=generator))

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
    if not settings["env_id"]:
        raise ConfigError("`env_id`: the checkpoint does not say which game it was trained on; give `--env_id`")
    if ":" in settings["architecture"] and args.architecture is None:  # a checkpoint is data, it must not name code
        raise ConfigError(
            f"`architecture` {settings['architecture']} is not this project's; if you trust that code, say so with "
            f"`--architecture {settings['architecture']}`"
        )
    settings |= how_to_play(args, checkpoint, settings)
    check_ranges(replace(args, **settings), RANGES)
    if args.wandb_run_id is not None and not args.track:
        raise ConfigError("`wandb_run_id` is given, but nothing is logged to W&B; add `--track`")
    return settings


def how_to_play(args: Args, checkpoint: Checkpoint, settings: Mapping[str, Any]) -> dict[str, Any]:
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
    given = {name: getattr(args, name) for name in HOW_TO_PLAY}
    return {name: chosen.get(name) if value in (None, "auto") else value for name, value in given.items()}


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
        game_start=settings["game_start"],
        noop_max=trained_with(checkpoint, "noop_max", NOOP_MAX) or NOOP_MAX,
        fire_reset=trained_with(checkpoint, "fire_reset", True),
        max_pool=settings["max_pool"],
        sticky=settings["sticky"],
        time_limit=settings["time_limit"],
        goal_kind=goal_kind(settings["her"], settings["game_specific_goals"]),
    )


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


def write_games(path: Path, args: Args, evaluations: Sequence[Evaluation]) -> None:
    """games.csv: one row per game; `length` in agent steps, `lives` lost."""
    rows: list[list[Any]] = []
    more: dict[str, Any] = {}
    for one in evaluations:
        for string, games in one.games.items():
            for number, game in enumerate(games):
                more = {**game_columns(game.trace, game.lives), "agent_path": one.agent_path}
                row = [string, number, game.record.score, game.record.length, game.record.lives]
                rows.append([*row, int(args.deterministic), one.seed, one.global_step, *more.values()])
    heading = ["modification", "game", "score", "length", "lives", "deterministic", "seed", "global_step", *more]
    write_csv(path, heading, rows)


def write_lives(path: Path, args: Args, evaluations: Sequence[Evaluation]) -> None:
    """per_life.csv: one row per life of every game of games.csv; a game without lives is one."""
    heading = ["seed", "deterministic", "modification", "game_index", "life_index", *Life._fields]
    rows = [
        [one.seed, int(args.deterministic), string, number, index, *life, one.global_step, one.agent_path]
        for one in evaluations
        for string, games in one.games.items()
        for number, game in enumerate(games)
        for index, life in enumerate(game.lives)
    ]
    write_csv(path, [*heading, "global_step", "agent_path"], rows)


def write_csv(path: Path, heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A CSV file that appears whole or not at all; None is an empty cell."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([heading, *rows])


def write_summary(
    path: Path, args: Args, evaluations: Sequence[Evaluation], results: Sequence[Result], mean: float, std: float
) -> None:
    """summary.json: settings, the table, mean and deviation over all games, and details per agent, seed and string."""
    settings = ["env_id", "backend", "architecture", "obs_mode", "buffer_window_size", "frameskip"]
    settings += [*HOW_TO_PLAY, "eval_episodes", "deterministic", "seed", "seeds", "num_envs"]
    single = len(args.agent_path) == 1
    summary = {
        "agent_path": args.agent_path[0] if single else list(args.agent_path),
        **{name: getattr(args, name) for name in settings},
        "global_step": evaluations[0].global_step if single else None,
        "results": [result._asdict() for result in results],
        "mean": mean,
        "std": std,
        "evaluations": [
            {
                "agent_path": one.agent_path,
                "global_step": one.global_step,
                "seed": one.seed,
                "deterministic": args.deterministic,
                "modification": string,
                **details(games, one.target),
            }
            for one in evaluations
            for string, games in one.games.items()
        ],
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(without_nan(summary), indent=2, allow_nan=False) + "\n")


def details(games: Sequence[PlayedGame], target: ValueTarget | None) -> dict[str, Any]:
    """What summary.json says about one agent's games under one string with one seed."""
    lives = [game.lives for game in games]
    return {
        "per_game_rewards": statistics(game.record.score for game in games),
        "per_game_lengths": statistics(game.record.length for game in games),
        "per_life_rewards": statistics(life.reward for own in lives for life in own),
        "per_life_lengths": statistics(life.length for own in lives for life in own),
        "failure_stats": failure_statistics(lives),
        "action_entropy": float(np.concatenate([game.trace.entropies for game in games]).mean()),
        "value_error": None if target is None else value_error_of(games, target),
    }


def value_error_of(games: Sequence[PlayedGame], target: ValueTarget) -> dict[str, Any]:
    """`value_error` over all steps whose return is known, and what it was computed with.

    Where the checkpoint does not say how rewards were scaled, only the correlation can be told.
    """
    values, returns = [], []
    for game in games:
        lengths = game.record.life_lengths if target.episodic_life else (game.record.length,)
        own, left = discounted_returns(target.scaled(game.trace.rewards), lengths, target.gamma)
        known = known_returns(left, lengths[-1], target.gamma, game.trace.cut_short)
        values.append(game.trace.values[known])
        returns.append(own[known])
    errors = value_error(np.concatenate(values), np.concatenate(returns))
    if not target.scale_known:
        errors = {name: number if name == "correlation" else None for name, number in errors.items()}
    return {"steps": sum(map(len, values)), **target._asdict(), **errors}


def log_results(tracker: Tracker, results: Sequence[Result], global_step: int, folder: Path) -> None:
    """The results as scalars, and the videos."""
    for result in results:
        for key in ("mean", "std", "low", "high", "human_normalised"):
            value = without_nan(getattr(result, key))
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
        results = read_results(folder)
        if args.follow is None and (line := what_cannot_be_done(folder, results)):
            print(line)
        print(f"results: {folder / 'evals.csv'}, {len(results):,} games")


def what_cannot_be_done(folder: Path, results: Sequence[Mapping[str, str]]) -> str | None:
    """A line about evaluations that the run has asked for, but has not kept the weights for."""
    asked = Run(folder).asked
    done = {(row["modification"], int(row["phase"]), int(row["global_step"])) for row in results}
    left = sorted({(step, phase) for _, phase, step in still_to_do(asked, done)}) if asked is not None else []
    if not left:
        return None
    step, phase = left[0]
    advice = "" if (folder / "model.cleanrl_model").exists() else ", unless the training goes on and does them itself"
    return (
        f"note: {len(left)} evaluations that the run has asked for cannot be done, as their weights are not kept, the "
        f"first at step {step:,} (phase {phase}){advice}"
    )


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
    plan = read_plan(folder)
    given = named_strings(trained, plan)
    strings, held_out = (
        list(dict.fromkeys(string for some in (given[name], flag) for string in canonical_strings(name, some, game)[0]))
        for name, flag in (("eval_modifs", args.eval_modifs), ("held_out_modifs", args.held_out_modifs))
    )
    splits, more = choose_evaluated(strings, held_out, trained_strings(folder), game)
    if plan is None and not strings and settings.get("eval_every") is not None:
        names = ", ".join(string or UNMODIFIED for string in splits)
        more.append(f"note: {folder / PLAN} is gone, so what is evaluated is chosen anew: {names}")
    games = args.eval_games or (trained_with(trained, "eval_games", 5) if plan is None else plan.games)
    results = read_results(folder, notes.append)
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


def named_strings(trained: Checkpoint, plan: Plan | None) -> dict[str, list[str]]:
    """What the training evaluates, by flag; without a plan what its settings name."""
    names = ("eval_modifs", "held_out_modifs")
    if plan is None:
        return {name: trained_with(trained, name, []) for name in names}
    return {name: plan.strings(split) for name, split in zip(names, SPLITS, strict=True)}


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
    end_on_interrupt()
    main()
