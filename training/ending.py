"""The end of a run: tests of its last agent, what its evaluations come to, and where everything is."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from continual_hackatari.agents.acceleration import put_channels_last
from continual_hackatari.commands import script_words
from continual_hackatari.names import UNMODIFIED
from continual_hackatari.reporting.rows import FINAL, RESULTS, RunFolderError
from continual_hackatari.reporting.runs import Run as RunFolder
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.config import as_plain_dict
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.playing import evaluate, with_weights
from continual_hackatari.training.printing import say
from continual_hackatari.training.resume import exclusive
from continual_hackatari.training.settings import RunSettings
from continual_hackatari.training.setup import Setup
from continual_hackatari.training.strings import canonical_strings
from continual_hackatari.training.summary import summarise, table
from continual_hackatari.training.tracking import Tracker
from continual_hackatari.training.versions import evaluation_command
from continual_hackatari.wrappers.config import GameConfig


def test(args: RunSettings, agent: Any, game: GameConfig, tracker: Tracker, global_step: int) -> None:
    """Evaluate the final agent under `test_modifs`, as eval.py does; print and log the results."""
    games = evaluate(
        agent,
        game,
        canonical_strings("test_modifs", args.test_modifs, game)[0],
        episodes=args.eval_episodes,
        seed=args.seed,
        deterministic=False,
        num_envs=args.num_envs,
        num_workers=args.num_workers,
        worker_timeout=args.worker_timeout,
        device=next(agent.parameters()).device,
    )
    results = summarise(games, game.env_id, args.seed)
    for result in results:
        tracker.scalar(f"eval/{result.modification or UNMODIFIED}/mean", result.mean, global_step)
    say(table(results))


def test_finished_run(setup: Setup[Any]) -> None:
    """What was asked of the agent of a run that has ended, as at its end."""
    args, game, folder = setup.args, setup.game, Path(setup.args.resume)
    if not setup.ranks.is_main:
        return
    final = load_checkpoint(folder / FINAL)

    def build(shape: Sequence[int], num_actions: int) -> Any:
        return setup.script.build(args, shape, num_actions, torch.Generator())  # whatever it draws is replaced

    agent = with_weights(str(folder / FINAL), final, game, build).to(setup.device)
    put_channels_last(agent)
    run_id = final.extra.get("wandb_run_id")
    with exclusive(folder), tracker_of(args, folder, wandb_run_id=run_id, csv_files=False) as tracker:
        test(args, agent, game, tracker, final.global_step or 0)


def tracker_of(args: RunSettings, folder: Path, **others: Any) -> Tracker:
    """The tracker that these settings ask for."""
    return Tracker(
        folder,
        track=args.track,
        config=as_plain_dict(args),
        project=args.wandb_project_name,
        entity=args.wandb_entity,
        wandb_dir=args.wandb_dir or None,
        **others,
    )


def log_continual_metrics(
    results: Sequence[Mapping[str, str]], folder: Path, tracker: Tracker, global_step: int
) -> None:
    """Log what metrics.py computes from the rows of evals.csv as `continual/<metric>`; no rows, no metrics."""
    if not results:
        return
    import pandas as pd  # here, because it loads slowly and most runs do not need it

    from continual_hackatari.reporting.metrics import continual_metrics

    try:
        run = RunFolder(folder)
        metrics = continual_metrics(pd.DataFrame(results), run.asked, run.args)
    except RunFolderError as error:  # somebody changed the file; the run itself is whole
        say(f"warning: no continual metrics: {error}")
    else:
        tracker.scalars({f"continual/{name}": value for name, value in metrics.items()}, global_step)


def say_what_there_is(folder: Path, env_id: str, architecture: str, script: str) -> None:
    """Draw the returns, then print where everything of a finished run is and the commands that make more of it."""
    picture = folder / "returns.png"
    try:
        run = RunFolder(folder, events=False)
        if run.scored().any():
            from continual_hackatari.reporting.picture import returns_png  # here, because matplotlib loads slowly

            drawn = returns_png(run)
            with atomic_path(picture) as temporary:
                temporary.write_bytes(drawn)
    except Exception as error:  # whatever it is, the run is whole
        say(f"warning: no picture of the returns: {type(error).__name__}: {error}")
    say(f"run folder: {folder}")
    for name, path in (("picture:   ", picture), ("evaluated: ", folder / RESULTS)):
        if path.exists():
            say(f"{name} {path}")
    say("report:     " + shlex.join([*script_words("report.py"), str(folder)]))
    words = ("--agent_path", str(folder / FINAL), "--env_id", env_id)
    say("evaluate:   " + shlex.join(evaluation_command(architecture, script, *words)))
