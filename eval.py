"""Evaluate a checkpoint on whole games, under one or many modification strings.

    python eval.py --agent_path runs/.../model.cleanrl_model
    python eval.py --agent_path runs/.../model.cleanrl_model --modifs "no_modif, all_black_cars" --deterministic

Network, game and backend come from the checkpoint; the game, the backend, the frameskip and the modifications may be
chosen anew. Games are whole (a lost life does not end one) and scored by the emulator. Prints a table, writes games.csv
and summary.json, and ends with `mean +- std` over all games.
"""

from __future__ import annotations

from experiment.system import check_system

check_system()  # before anything imports OpenCV

import csv
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from tqdm import tqdm

from agents import ActorCritic, AgentError, make_agent
from agents.mismatch import explain_mismatch
from experiment.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from experiment.config import ConfigError, Range, as_plain_dict, check_ranges, parse_command_line
from experiment.files import atomic_path
from experiment.run_folder import slug
from experiment.scores import human_normalised, mean_std_interval
from experiment.tracking import Tracker
from wrappers.games import GameConfig, GameError, GameRecord
from wrappers.modifications import ModificationError
from wrappers.vector import ModifiedVectorEnv, check_string, game_config

USER_ERRORS = (AgentError, CheckpointError, ConfigError, GameError, ModificationError)
UNMODIFIED = "no_modif"


@dataclass
class Args:
    agent_path: str
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
    """where games.csv and summary.json go (default: a new folder in eval/ beside the checkpoint)"""

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
    """trained with hindsight"""
    game_specific_goals: bool | None = None
    """trained with the game's own goals"""

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
    """W&B run to log into (default: a new one)"""
    capture_video: bool = False
    """mp4 of the first game under each string"""


RANGES = {
    "eval_episodes": Range(1),
    "num_envs": Range(1),
    "num_workers": Range(0),
    "frameskip": Range(1),
    "buffer_window_size": Range(1),
    "seed": Range(0),
}
# What decides what the network reads and writes, and its value where a checkpoint does not say.
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
    try:
        run(parse_command_line(Args, argv, description=__doc__))
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def run(args: Args) -> None:
    """Evaluate one checkpoint as `args` say."""
    check_ranges(args, RANGES)
    checkpoint = load_checkpoint(args.agent_path)
    settings = network_settings(args, checkpoint)
    game, notes = game_config(
        args.env_id or trained_on(checkpoint),
        backend=args.backend or checkpoint.args.get("backend", "HackAtari"),
        obs_mode=settings["obs_mode"],
        frameskip=args.frameskip or checkpoint.args.get("frameskip", 4),
        window=settings["buffer_window_size"],
        noop_max=checkpoint.args.get("noop_max", 30),
        fire_reset=checkpoint.args.get("fire_reset", True),
    )
    strings = []
    for string in split_strings(args.modifs):
        canonical, warnings = check_string(game, string)
        strings.append(canonical)
        notes += warnings
    print(*dict.fromkeys(notes), sep="\n", end="\n" if notes else "")
    device = torch.device("cuda" if args.cuda and torch.cuda.is_available() else "cpu")
    agent = load_agent(checkpoint, settings, game, args.agent_path).to(device)

    folder = output_folder(args)
    with Tracker(
        folder,
        csv_files=False,
        track=args.track,
        config=as_plain_dict(args),
        project=args.wandb_project_name,
        entity=args.wandb_entity,
        wandb_dir=args.wandb_dir or None,
        wandb_run_id=args.wandb_run_id,
    ) as tracker:
        games = evaluate(
            agent,
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
        write_files(folder, args, game, checkpoint, games, results)
        log_results(tracker, results, checkpoint.global_step or 0, folder)
    print(table(results))
    print(f"files: {folder}")
    mean, std, _, _ = mean_std_interval([record.score for records in games.values() for record in records])
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
    return played


def summarise(games: Mapping[str, Sequence[GameRecord]], env_id: str, seed: int) -> list[Result]:
    """Mean, standard deviation, 95 % bootstrap interval and human-normalised score per string."""
    results = []
    for string, records in games.items():
        mean, std, low, high = mean_std_interval([record.score for record in records], seed)
        results.append(Result(string, len(records), mean, std, low, high, human_normalised(env_id, mean)))
    return results


def table(results: Sequence[Result]) -> str:
    """The results as a text table."""
    width = max(len("modification"), *(len(result.modification or UNMODIFIED) for result in results))
    lines = [f"{'modification':{width}}  games     mean      std   95 % interval       human-normalised"]
    for result in results:
        normalised = "" if result.human_normalised is None else f"{result.human_normalised:8.3f}"
        lines.append(
            f"{result.modification or UNMODIFIED:{width}}  {result.episodes:5d} {result.mean:8.2f} {result.std:8.2f}"
            f"   [{result.low:.2f}, {result.high:.2f}]".ljust(width + 48)
            + normalised
        )
    return "\n".join(lines)


def split_strings(text: str) -> list[str]:
    """``"a b, no_modif"`` -> ``["a b", ""]``: modification strings are separated by commas.

    Raises:
        ConfigError: the same string twice.
    """
    strings = [" ".join(part.split()) for part in text.split(",")]
    strings = ["" if string == UNMODIFIED else string for string in strings]
    if len(set(strings)) < len(strings):
        twice = next(string for string in strings if strings.count(string) > 1)
        raise ConfigError(f"`modifs` names {twice or UNMODIFIED!r} twice; name every modification string once")
    return strings


def network_settings(args: Args, checkpoint: Checkpoint) -> dict[str, Any]:
    """What the network reads and writes, from the checkpoint.

    Raises:
        ConfigError: a flag contradicts it.
    """
    settings = {}
    for name, default in NETWORK_SETTINGS.items():
        trained = checkpoint.args.get(name, default)
        given = getattr(args, name)
        if given is not None and given != trained:
            raise ConfigError(
                f"`{name}` {given} contradicts the checkpoint, which was trained with {trained}; leave the flag out"
            )
        settings[name] = trained
    if settings["her"]:
        raise ConfigError("this checkpoint was trained with hindsight, which is not available in this version")
    return settings


def trained_on(checkpoint: Checkpoint) -> str:
    """The game that the checkpoint was trained on."""
    if "env_id" not in checkpoint.args:
        raise ConfigError("`env_id`: the checkpoint does not say which game it was trained on; give `--env_id`")
    return checkpoint.args["env_id"]


def load_agent(checkpoint: Checkpoint, settings: Mapping[str, Any], game: GameConfig, path: str) -> ActorCritic:
    """The checkpoint's agent, ready to play `game`.

    Raises:
        AgentError, CheckpointError: the weights do not fit the game or the architecture.
    """
    envs = ModifiedVectorEnv(game, 1, num_workers=0)
    sizes: dict[str, Any] = {
        name: tuple(checkpoint.args[name]) for name in ("encoder_dims", "decoder_dims") if name in checkpoint.args
    }
    agent = make_agent(settings["architecture"], envs.observation_shape, envs.num_actions, **sizes)
    envs.close()
    problem = explain_mismatch(agent, checkpoint.model_weights)
    if problem:
        raise CheckpointError(f"{path} does not fit {game.env_id}: {problem}")
    agent.load_state_dict(checkpoint.model_weights)
    return agent.eval()


def output_folder(args: Args) -> Path:
    """A new folder for this evaluation.

    Raises:
        ConfigError: it cannot be created.
    """
    checkpoint = Path(args.agent_path)
    name = f"{checkpoint.stem}_s{args.seed}{'_deterministic' if args.deterministic else ''}_{int(time.time())}"
    folder = Path(args.output_dir) if args.output_dir else checkpoint.parent / "eval" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"`output_dir`: {folder} cannot be created ({error.strerror}); choose another") from None
    return folder


def write_files(
    folder: Path,
    args: Args,
    game: GameConfig,
    checkpoint: Checkpoint,
    games: Mapping[str, Sequence[GameRecord]],
    results: Sequence[Result],
) -> None:
    """games.csv (one row per game) and summary.json."""
    with atomic_path(folder / "games.csv") as path, path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["modification", "game", "score", "length", "lives", "deterministic", "seed", "global_step"])
        for string, records in games.items():
            for number, record in enumerate(records):
                writer.writerow([string, number, *record[2:5], args.deterministic, args.seed, checkpoint.global_step])
    rows = [
        {key: None if value != value else value for key, value in result._asdict().items()} for result in results
    ]  # JSON has no NaN (the interval of a single game)
    summary = {
        "agent_path": args.agent_path,
        "global_step": checkpoint.global_step,
        "env_id": game.env_id,
        "backend": game.backend,
        "frameskip": game.frameskip,
        "seed": args.seed,
        "deterministic": args.deterministic,
        "results": rows,
    }
    with atomic_path(folder / "summary.json") as path:
        path.write_text(json.dumps(summary, indent=2) + "\n")


def log_results(tracker: Tracker, results: Sequence[Result], global_step: int, folder: Path) -> None:
    """The results as scalars, and the videos."""
    for result in results:
        name = f"eval/{result.modification or UNMODIFIED}"
        for key in ("mean", "std", "low", "high"):
            tracker.scalar(f"{name}/{key}", getattr(result, key), global_step)
    for path in sorted((folder / "videos").glob("*.mp4")):
        tracker.video(path, f"eval/videos/{path.stem}", global_step)


if __name__ == "__main__":
    main()
