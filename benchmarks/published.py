"""Our results beside the published ones of the original system: every group, every modification string.

python -m benchmarks.published [--groups freeway_colours ...]      # the tables; trains and plays nothing
python -m benchmarks.published --groups freeway_colours --train [--seeds 0 1] [--steps N] [--jobs 1] [--folder .]
python -m benchmarks.published --groups freeway_baseline --agents runs/.../model.cleanrl_model ...

`published_results.json` holds the published scores, `published_names.json` what their modification names mean here and
why, `configs/published/` the training conditions. `--train` trains the agents of a group that are not there yet
(10,000,000 steps; Breakout 50,000,000), plays 21 sampled games with each under every string, and keeps the means in
`results/published.json`. `--agents` does so with agents that were trained elsewhere. Every table says how its agents
differ from the published conditions.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import RESULTS, machine, with_interval
from benchmarks.learning import Training, require_finished, train_all
from benchmarks.training import ROOT
from continual_hackatari.names import UNMODIFIED
from continual_hackatari.reporting.rows import FINAL
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.training.checkpoints import load_checkpoint

CONFIGS = ROOT / "configs" / "published"
OURS = RESULTS / "published.json"
PUBLISHED: dict[str, Any] = json.loads(Path(__file__).with_name("published_results.json").read_text())
GROUPS: dict[str, dict[str, Any]] = {group["config"]: group for group in PUBLISHED["groups"]}
"""name of its file in `configs/published/` -> one published training condition"""
NAMES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("published_names.json").read_text())
"""rows of game, published name, our name ("": it did nothing; None: not playable here), evidence"""
EVAL_EPISODES = 21
AFTER_TRAINING = "at the end of training"


class Evaluation(NamedTuple):
    """One agent (`runs/<run>/<file>`): how it was trained, and its mean score by our modification string."""

    agent: str
    steps: int
    differs: dict[str, Any]
    """settings that are not the published ones, with the agent's value; empty: trained as published"""
    means: dict[str, float]


def game_of(group: str) -> str:
    """Freeway, Pong or Breakout."""
    return str(GROUPS[group]["env_id"]).removeprefix("ALE/").removesuffix("-v5")


def translate(game: str, string: str) -> str | None:
    """The string here that plays what the published `string` played there; None if there is none.

    Raises KeyError for a name without a row in the table of names.
    """
    if string == UNMODIFIED:
        return string
    ours = {row["published"]: row["ours"] for row in NAMES if row["game"] == game}
    words = [ours[word] for word in string.split()]
    return None if None in words else " ".join(word for word in words if word) or UNMODIFIED


def compared(group: str) -> dict[str, str | None]:
    """Published string -> ours (None: nothing to compare with), for every column of the group's scores."""
    game = game_of(group)
    # Breakout's scores at the end of training are those of single lives.
    pairs: dict[str, str | None] = {AFTER_TRAINING: None if game == "Breakout" else UNMODIFIED}
    return pairs | {string: translate(game, string) for string in GROUPS[group]["scores"]}


def settings_of(group: str) -> dict[str, Any]:
    """What the published agents were trained with, in our words, without the schedule."""
    derived = {name: entry["value"] for name, entry in PUBLISHED["derived"].items() if name != "num_repetitions"}
    if not GROUPS[group]["her"]:
        del derived["her_weight"]
    return {"env_id": GROUPS[group]["env_id"], "her": GROUPS[group]["her"], **PUBLISHED["settings"], **derived}


def schedule_of(settings: dict[str, Any]) -> Any:
    """What the settings of a run say about its schedule, alike for all ways to say that nothing is modified."""
    schedule = schedule_from_config(
        settings, seed=0, total_timesteps=settings.get("total_timesteps"), modifs=settings.get("modifs", "")
    )
    if schedule.possible_modifications() == [""]:
        return UNMODIFIED
    return [settings.get(name) for name in ("modification_factory", "modification_factory_kwargs", "modifs")]


def differences(group: str, args: dict[str, Any]) -> dict[str, Any]:
    """What of a checkpoint's settings is not as published, with its own value (None: it does not say)."""
    found = {name: args.get(name) for name, value in settings_of(group).items() if args.get(name) != value}
    config = json.loads((CONFIGS / f"{group}.json").read_text())
    published = schedule_of({"modifs": "", **config})
    return found if schedule_of(args) == published else {**found, "schedule": "another"}


def run_of(group: str, seed: int, steps: int | None) -> Training:
    """The training run of one agent; None: as long as its schedule."""
    return Training(f"published_{group}", game_of(group), seed, ("--config", str(CONFIGS / f"{group}.json")), steps)


def evaluate(agent: Path, group: str, folder: Path) -> Evaluation:
    """Play 21 sampled games per string with eval.py, unless its summary lies in `folder` already."""
    summary = folder / "summary.json"
    if not summary.exists():
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted evaluation left
        strings = dict.fromkeys(string for string in compared(group).values() if string is not None)
        command = [sys.executable, str(ROOT / "eval.py"), "--agent_path", str(agent)]
        command += ["--env_id", GROUPS[group]["env_id"], "--modifs", ",".join(strings)]
        command += ["--eval_episodes", str(EVAL_EPISODES), "--output_dir", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    results = json.loads(summary.read_text())["results"]
    means = {result["modification"] or UNMODIFIED: result["mean"] for result in results}
    checkpoint = load_checkpoint(agent)
    name = "/".join(agent.absolute().parts[-3:])
    return Evaluation(name, checkpoint.global_step or 0, differences(group, checkpoint.args), means)


def shown(values: Sequence[float]) -> str:
    """Mean and 95 % interval, lowest to highest."""
    if not values:
        return "-"
    return f"{with_interval(values)} ({min(values):.1f} to {max(values):.1f})"


def name_here(string: str | None) -> str:
    """A cell for one of our strings."""
    return "-" if string is None else f"`{string}`"


def table(group: str, evaluations: Sequence[Evaluation]) -> str:
    """One row per published string: mean over agents ± half of its 95 % interval, and the lowest and highest agent."""
    lines = ["| published as | played here | published | ours |", "|---|---|--:|--:|"]
    scores = {AFTER_TRAINING: GROUPS[group]["after_training"], **GROUPS[group]["scores"]}
    for string, here in compared(group).items():
        theirs = [value for value in scores[string] if value is not None]
        ours = [evaluation.means[here] for evaluation in evaluations if here in evaluation.means]
        label = string if string == AFTER_TRAINING else f"`{string}`"
        lines.append(f"| {label} | {name_here(here)} | {shown(theirs)} | {shown(ours)} |")
    return "\n".join(lines)


def conditions(group: str, evaluations: Sequence[Evaluation]) -> str:
    """What agents there are on either side, and in what ours are not like the published ones."""
    full = GROUPS[group]["total_timesteps"]
    text = f"published: {len(GROUPS[group]['seeds'])} agents of {full:,} steps; ours: "
    if not evaluations:
        return text + "none"
    steps = " and ".join(sorted({f"{evaluation.steps:,}" for evaluation in evaluations}))
    differing = {f"{name} {value}" for evaluation in evaluations for name, value in evaluation.differs.items()}
    text += f"{len(evaluations)} of {steps} steps"
    return text + (f", with {', '.join(sorted(differing))}" if differing else ", all else as published")


def missing(group: str, evaluations: Sequence[Evaluation]) -> str | None:
    """What is not there yet, with the command that makes it; None when nothing is."""
    full, count = GROUPS[group]["total_timesteps"], len(GROUPS[group]["seeds"])
    there = sum(evaluation.steps >= full and not evaluation.differs for evaluation in evaluations)
    if there >= count:
        return None
    return (
        f"missing: {count - there} agents of {full:,} steps that are trained as published:"
        f" python -m benchmarks.published --groups {group} --train"
    )


def report(group: str, evaluations: Sequence[Evaluation]) -> str:
    """All that is printed about one group."""
    title = f"{group}: {GROUPS[group]['group']} ({conditions(group, evaluations)})"
    return "\n\n".join(part for part in (title, table(group, evaluations), missing(group, evaluations)) if part)


def names_table() -> str:
    """The names that mean something else here than there, for docs/results.md."""
    lines = ["| game | published name | played here | evidence |", "|---|---|---|---|"]
    for row in NAMES:
        if row["ours"] != row["published"]:
            here = "not playable" if row["ours"] is None else name_here(row["ours"] or UNMODIFIED)
            lines.append(f"| {row['game']} | `{row['published']}` | {here} | {row['evidence']} |")
    return "\n".join(lines)


def stored() -> dict[str, list[Evaluation]]:
    """Our results by group."""
    if not OURS.exists():
        return {}
    groups = json.loads(OURS.read_text())["groups"]
    return {name: [Evaluation(**agent) for agent in group["agents"]] for name, group in groups.items()}


def store(group: str, evaluations: Sequence[Evaluation]) -> None:
    """Replace our results of one group."""
    RESULTS.mkdir(exist_ok=True)
    content: dict[str, Any] = json.loads(OURS.read_text()) if OURS.exists() else {"title": "published", "groups": {}}
    content["groups"][group] = {"machine": machine(), "agents": [e._asdict() for e in evaluations]}
    OURS.write_text(json.dumps(content, indent=2) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), metavar="GROUP", help="default: all 16")
    parser.add_argument("--train", action="store_true", help="train and evaluate the agents that are not there yet")
    parser.add_argument("--seeds", nargs="+", type=int, default=None, help="with --train; default: as published")
    parser.add_argument("--steps", type=int, default=None, help="with --train; default: as published")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; with several, each has one thread")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where `runs` is")
    parser.add_argument("--agents", nargs="+", type=Path, default=[], help="evaluate these, in the place of training")
    args = parser.parse_args()
    for group in args.groups:
        if group not in GROUPS:
            parser.error(f"`--groups` {group}: there are {', '.join(GROUPS)}")
    if args.agents and (args.train or len(args.groups) != 1):
        parser.error("`--agents` takes the place of `--train` and needs one group, for example --groups pong_baseline")
    if not args.train and not (args.seeds is None and args.steps is None):
        parser.error("`--seeds` and `--steps` say what to train; add `--train`")
    if not args.folder.is_dir():
        parser.error(f"`--folder` {args.folder}: there is no such folder")
    for agent in args.agents:
        if not agent.is_file():
            parser.error(f"`--agents` {agent}: there is no such file")
    return args


def agents_of(group: str, args: argparse.Namespace) -> list[Path]:
    """The agents to evaluate; trains those that are not there yet."""
    if not args.train:
        return list(args.agents)
    seeds = GROUPS[group]["seeds"] if args.seeds is None else args.seeds
    runs = [run_of(group, seed, args.steps) for seed in seeds]
    train_all(args.folder, runs, args.jobs)
    return [require_finished(args.folder, run) / FINAL for run in runs]


def main() -> None:
    args = parse()
    for group in args.groups:
        agents = agents_of(group, args)
        if agents:
            store(group, [evaluate(agent, group, agent.parent / "eval" / f"published_{group}") for agent in agents])
        print(report(group, stored().get(group, [])), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
