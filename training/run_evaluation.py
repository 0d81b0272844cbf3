"""Evaluate all weights of a run that are not in its evals.csv yet, greedy and sampled.

    python eval.py --run runs/<folder>

The training does the same between its updates. The game, the network and the strings are those of the run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from continual_hackatari.agents import players_of
from continual_hackatari.names import UNMODIFIED
from continual_hackatari.reporting.asked import still_to_do
from continual_hackatari.reporting.plan import PLAN, Label, Plan, read_plan
from continual_hackatari.reporting.rows import FINAL, RESULTS, SPLITS, read_results
from continual_hackatari.reporting.runs import Run, check_run_folder
from continual_hackatari.training.checkpoint_settings import choose_game, complete_settings
from continual_hackatari.training.checkpoints import Checkpoint, load_checkpoint, trained_with
from continual_hackatari.training.config import ConfigError, Range, check_not_empty, check_ranges
from continual_hackatari.training.evaluations import (
    Evaluator,
    RunEvaluation,
    saved_weights,
    snapshot_paths,
    trained_strings,
    unevaluated,
)
from continual_hackatari.training.playing import load_agent
from continual_hackatari.training.resume import exclusive
from continual_hackatari.training.rules import rules_of_folder
from continual_hackatari.training.strings import canonical_strings, choose_evaluated
from continual_hackatari.wrappers.processes import available_cores
from continual_hackatari.wrappers.vector import WORKER_TIMEOUT


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


RANGES = {
    "eval_games": Range(1, 10**6),
    "num_workers": Range(0, 10_000),
    "seed": Range(0, 2**63 - 1),
}


def evaluate_run(args: Args) -> None:
    """Evaluate all weights of a run that are not in its evals.csv yet.

    Raises:
        USER_ERRORS: one sentence; what was evaluated before it is in the file.
    """
    check_ranges(args, RANGES)
    check_not_empty(args, {"run": "a run folder"})
    folder = Path(args.run)
    settings = settings_of(folder)
    with exclusive(folder):
        how, architecture, notes = plan_run(args, folder, settings)
        print(*dict.fromkeys(notes), sep="\n", end="\n" if notes else "", flush=True)
        with contextlib.closing(Evaluator(how)) as evaluator:
            for labels, tensors in unevaluated(folder):
                checkpoint = Checkpoint(tensors, settings, None)
                evaluate_weights(evaluator, labels, str(folder), checkpoint, architecture)
            for path in snapshot_paths(folder):
                path.unlink()
            for path, labels in saved_weights(folder):
                evaluate_weights(evaluator, labels, str(path), load_checkpoint(path), architecture)
        results = read_results(folder)
        if line := what_cannot_be_done(folder, results):
            print(line)
        print(f"results: {folder / RESULTS}, {len(results):,} games")


def what_cannot_be_done(folder: Path, results: Sequence[Mapping[str, str]]) -> str | None:
    """A line about evaluations that the run has asked for, but has not kept the weights for."""
    asked = Run(folder).asked
    if asked is None:
        return None
    done: dict[tuple[str, str], list[tuple[str, int, int]]] = {
        (mode, agent): [] for mode in ("0", "1") for agent in {row.get("agent", "") for row in results} or {""}
    }
    for row in results:
        place = row["modification"], int(row["phase"]), int(row["global_step"])
        done[row["deterministic"], row.get("agent", "")].append(place)
    left = sorted({(step, phase) for each in done.values() for _, phase, step in still_to_do(asked, each)})
    if not left:
        return None
    step, phase = left[0]
    advice = "" if (folder / FINAL).exists() else ", unless the training goes on and does them itself"
    return (
        f"note: {len(left)} evaluations that the run has asked for cannot be done, as their weights are not kept, the "
        f"first at step {step:,} (phase {phase}){advice}"
    )


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings of the run in this folder.

    Raises:
        ConfigError, RunFolderError: it is not that of a run.
    """
    run = Run(check_run_folder(str(folder), "run"))
    if run.args_problem:
        raise ConfigError(f"`run` names `{folder}`, and its args.json cannot be read ({run.args_problem})")
    return run.args


def plan_run(args: Args, folder: Path, settings: dict[str, Any]) -> tuple[RunEvaluation, str, list[str]]:
    """How to evaluate the run with these settings, the agent's architecture, and lines for the user.

    Raises:
        ConfigError, GameError, ModificationError: the flags do not fit it.
    """
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
                f"`eval_games` {games} and `seed` {args.seed} are not those of `{folder / RESULTS}`, {before[0]} "
                f"and {before[1]}; leave the flags out, or move the file away"
            )
    num_workers = available_cores() if args.num_workers is None else args.num_workers
    architecture = network["architecture"]
    how = RunEvaluation(
        *(folder, trained_with(trained, "seed", 0), game, splits, games, num_workers),
        players_of(architecture),
        args.seed,
        trained_with(trained, "worker_timeout", WORKER_TIMEOUT),
    )
    return how, architecture, notes + more


def named_strings(trained: Checkpoint, plan: Plan | None) -> dict[str, list[str]]:
    """What the training evaluates, by flag; without a plan what its settings name."""
    names = ("eval_modifs", "held_out_modifs")
    if plan is None:
        return {name: trained_with(trained, name, []) for name in names}
    return {name: plan.strings(split) for name, split in zip(names, SPLITS, strict=True)}


def evaluate_weights(
    evaluator: Evaluator, labels: Sequence[Label], path: str, checkpoint: Checkpoint, architecture: str
) -> None:
    """Evaluate the weights of a checkpoint as far as they are not in evals.csv yet.

    labels: where in the run they were taken. path: of the checkpoint, for errors.

    Raises:
        CheckpointError: they fit no agent of this architecture, or the results cannot be written.
    """
    begin, jobs = time.perf_counter(), evaluator.missing([labels])
    if jobs:
        agent = load_agent(path, checkpoint, architecture, evaluator.how.game)
        evaluator.play(jobs, lambda _: agent)
        where = ", ".join(f"{label.global_step:,} (phase {label.phase})" for label in labels)
        rows = sum(len(job.labels) for job in jobs) * evaluator.how.games
        print(f"step {where}: {rows} rows, {time.perf_counter() - begin:.1f} s", flush=True)
