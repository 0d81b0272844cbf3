"""Evaluate all weights of a run that are not in its evals.csv yet, greedy and sampled.

    python eval.py --run runs/<folder>

The training does the same in a process beside it. The game, the network and the strings are those of the run.
"""

from __future__ import annotations

import contextlib
import json
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from continual_hackatari.reporting.asked import still_to_do
from continual_hackatari.reporting.plan import PLAN, Label, Plan, read_plan
from continual_hackatari.reporting.rows import SPLITS, UNMODIFIED
from continual_hackatari.reporting.runs import Run
from continual_hackatari.training.checkpoint_settings import choose_game, complete_settings
from continual_hackatari.training.checkpoints import Checkpoint, load_checkpoint, trained_with
from continual_hackatari.training.config import ConfigError, Range, check_ranges
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
from continual_hackatari.training.playing import evaluate, load_agent
from continual_hackatari.training.rules import rules_of_folder
from continual_hackatari.training.strings import canonical_strings, choose_evaluated
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.interfaces import GameRecord
from continual_hackatari.wrappers.worker import die_with


@dataclass
class Args:
    run: str = ""
    """run folder: evaluate what is not in its evals.csv yet"""
    eval_modifs: tuple[str, ...] = ()
    """strings to evaluate besides those of the training (default: what it trained on and no_modif)"""
    held_out_modifs: tuple[str, ...] = ()
    """further ones, which it was not trained on"""
    eval_games: int | None = None
    """games per string, once greedy and once sampled (default: as in the training, else 5)"""
    seed: int = 1
    """seed of games and actions; game k is the same under every string"""
    num_workers: int | None = None
    """processes that run the games (default: one per core; 0: none, play in this process)"""
    cuda: bool = True
    """changes nothing: a run is evaluated on the CPU, as during its training"""
    architecture: str | None = None
    """`package.module:Class` of an agent of your own, if you trust that code"""
    modification_file: str = ""
    """the file of that name of the training, where the run folder has no copy of it"""
    follow: int | None = None
    """used by the training: its process id; evaluate snapshots as they come"""


RANGES = {
    "eval_games": Range(1, 10**6),
    "num_workers": Range(0, 10_000),
    "seed": Range(0, 2**63 - 1),
}


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
    network = complete_settings({"architecture": args.architecture}, trained)
    game, notes = choose_game(network, trained, rules_of_folder(folder, trained, args.modification_file))
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
