"""Run a W&B sweep file, a list of experiments, or one command with several seeds, on this machine: several runs at a
time, without a server.

    python sweep.py sweep.yaml --jobs 2
    python sweep.py sweep.yaml --dry_run
    python sweep.py experiments.json
    python sweep.py --seeds 1 2 3 --jobs 2 -- --config configs/freeway_speeds.json --shrink_and_perturb
    python sweep.py --suite freeway-dynamics --size cpu --methods none redo layer_norm+redo --seeds 1 2 3

The same command again goes on where it was stopped, and several at once share the runs. Words after `--` are flags of
the training script.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from continual_hackatari.names import UNMODIFIED
from continual_hackatari.reporting.tables import format_table
from continual_hackatari.training.command_line import given_flags, parse_command_line
from continual_hackatari.training.config import ConfigError, Range, check_ranges
from continual_hackatari.training.method_words import methods_in, setting_of
from continual_hackatari.training.queues import Queue, is_queue
from continual_hackatari.training.runner import Job
from continual_hackatari.training.script_files import is_training_script, load_script
from continual_hackatari.training.suites import (
    EVALUATED,
    PPO_ROUND,
    SEQUENCE,
    cost_of,
    first_regimes,
    plan_table,
    suite_file,
    write_single_tasks,
)
from continual_hackatari.training.sweep_checks import check
from continual_hackatari.training.sweeps import (
    Batch,
    Sweep,
    digest_of,
    read_sweep,
    single_task_sweep,
    sweep_of_seeds,
    sweep_of_suite,
)

HERE = Path(__file__).resolve().parent
SUITES = HERE / "configs" / "suites"
SINGLE_TASKS = Path("sweeps") / "single-task"
"""of all suites, so that none is run twice"""
TRAINING = "continual_training_example.py"
AFTER_DIVIDER = "after `--` would go to every run, and those on one task alone have no methods"
OF_TRAINING = "; flags of the training script come after `--`, as in `--seeds 1 2 -- --num_envs 4`"


@dataclass
class Args:
    file: tyro.conf.Positional[str] = ""
    """the sweep, a W&B sweep file such as sweep.yaml; or a queue, a .json file with a list of experiments"""
    seeds: tuple[int, ...] = ()
    """instead of a file: run the training flags after -- once with each of these seeds, then write a report"""
    suite: str = ""
    """instead of a file: a benchmark suite, a folder of configs/suites, with each of --methods and of --seeds"""
    size: Literal["cpu", "full"] = "cpu"
    """of the suite: a run of half an hour on two cores, or a long one"""
    methods: tuple[str, ...] = ()
    """with --suite: what to compare, each a method, several with + between them, or none (default: none); with
    settings: ewc:strength=10"""
    program: str = ""
    """with seeds: the training script (default: the project's own)"""
    jobs: int = 1
    """runs at a time"""
    max_runs: int | None = None
    """at most this many runs (needed for random and bayes, unless the file has a run_cap)"""
    folder: str = ""
    """where the sweep keeps its records (default: sweeps/<name of the file>, or sweeps/seeds~<letters
    that stand for the flags>)"""
    only: Annotated[int | None, tyro.conf.arg(aliases=["--resume_id"])] = None
    """only the run of this number, from 0: for the array jobs of a cluster, or to go on with one experiment"""
    search_seed: int = 0
    """seed of random and bayes, which choose parameters; runs have seeds of their own"""
    track: bool = False
    """keep the file's --track and what belongs to it; without it runs do not log to W&B"""
    dry_run: bool = False
    """print the commands, start nothing"""


RANGES = {
    "jobs": Range(1),
    "max_runs": Range(1),
    "only": Range(0),
    "search_seed": Range(0, 2**32 - 1),
    "seeds": Range(0, 2**63 - 1),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything a user can get wrong, run what is left to run, print the table; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    divider = words.index("--") if "--" in words else len(words)
    try:
        args = parse_command_line(Args, words[:divider], description=__doc__, elsewhere=OF_TRAINING)
        check_ranges(args, RANGES)
        if args.suite:
            return run_suite(args, words[divider + 1 :])
        if args.methods:
            raise ConfigError("`methods` go with `--suite`; in a sweep file they are a parameter, among others.")
        batch = batch_of(args, words[divider + 1 :])
        runs = batch.planned(whole=args.dry_run or args.only is not None)
        check(batch, runs)
        runs = this_job(runs, args.only)
        if args.dry_run:
            print(*(shlex.join(run.command) for run in runs), sep="\n")
            return 0
        batch.make_folder()
        return run_batch(batch, runs, args)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_batch(batch: Batch, runs: list[Job], args: Args) -> int:
    """Run what is left of it, and report where its runs are repetitions or experiments; the exit code."""
    whole = args.only is None
    # The runs of a sweep file are many variants, which its table compares; those of other programs are no run folders.
    reported = whole and (args.seeds or (isinstance(batch, Queue) and all(is_training_script(r.program) for r in runs)))
    return batch.run(runs, args.jobs, whole, lambda folders: not reported or report(batch.folder, folders))


def batch_of(args: Args, flags: list[str]) -> Batch:
    """The runs of a file, or of several seeds with these training flags.

    Raises:
        ConfigError: there is neither or both, or it cannot run here.
    """
    if args.seeds and args.file:
        raise ConfigError(
            f"`seeds` come without a file, but there is {args.file}; put seeds into the file, or leave it."
        )
    if not args.seeds and not args.file:
        raise ConfigError(
            "`file` is missing: name a sweep file such as sweep.yaml or a queue such as experiments.json, or give "
            "`--seeds`."
        )
    if args.file and flags:
        raise ConfigError("flags after `--` go with `--seeds` only; in a file they belong to its runs.")
    if args.file and args.program:
        raise ConfigError("`program` goes with `--seeds` only; a file has its own.")
    program = training_program(args)
    if is_queue(args.file):
        for name in ("max_runs", "search_seed"):
            if getattr(args, name) != getattr(Args, name):
                raise ConfigError(f"`{name}` is of sweeps, and {args.file} is a list of experiments; leave it.")
        return Queue(args.file, program, Path(args.folder or Path("sweeps") / Path(args.file).stem), args.track)
    config = read_sweep(args.file) if args.file else sweep_of_seeds(program, args.seeds, flags)
    if config["method"] == "grid" and args.search_seed != Args.search_seed:
        raise ConfigError("`search_seed` is of random and bayes, and this is a grid, which draws nothing; leave it.")
    # Seeds of other flags are another experiment, whose table and report must not replace those of the one before.
    name = Path(args.file).stem if args.file else f"seeds~{digest_of(config['command'])}"
    folder = Path(args.folder or Path("sweeps") / name)
    return Sweep(config, folder, max_runs=args.max_runs, search_seed=args.search_seed, track=args.track)


def run_suite(args: Args, flags: list[str]) -> int:
    """Print the plan of a suite, run what is left of it and of its single-task runs, and report; the exit code.

    Raises:
        ConfigError: the suite, a method or a flag cannot be used; nothing is started then.
    """
    path = suite_file(SUITES, args.suite, args.size)
    if args.file or not args.seeds:
        raise ConfigError(
            f"`suite` comes without a file, but there is {args.file}; leave it."
            if args.file
            else "`suite` needs `--seeds`, such as `--seeds 1 2 3`."
        )
    for name in ("max_runs", "search_seed"):
        if getattr(args, name) != getattr(Args, name):
            raise ConfigError(f"`{name}` is of sweep files, and of a suite there are all runs; leave it.")
    program, methods = training_program(args), args.methods or ("none",)
    config = json.loads(path.read_text(encoding="utf-8"))
    check_flags_of_suite(flags)
    told = told_by_flags(program, flags, config) if args.program or flags else {}
    # As with seeds: what another script or other flags say must not replace the report of those before.
    other = f"~{digest_of([program, *flags])}" if args.program or flags else ""
    folder = Path(args.folder or Path("sweeps") / f"{args.suite}-{args.size}{other}")
    sweep = Sweep(sweep_of_suite(program, os.path.relpath(path), methods, args.seeds, flags), folder, track=args.track)
    runs = sweep.planned()
    check_only(args.only, len(runs) + len(first_regimes(config)) * len(args.seeds))
    check(sweep, runs)
    # The commands name the files of single-task runs, so these are written even where nothing is started.
    files = write_single_tasks(config, SINGLE_TASKS / "configs")
    alone = Sweep(single_task_sweep(program, files, args.seeds, flags), SINGLE_TASKS, track=args.track)
    runs_alone = alone.planned()
    print_plan(config, runs, runs_alone, told)
    if args.only is not None or args.dry_run:
        chosen = this_job([*runs_alone, *runs], args.only)
        if args.dry_run:
            print(*(shlex.join(run.command) for run in chosen), sep="\n")
            return 0
        return sweep.run(chosen, args.jobs, False, lambda _: True)
    sweep.make_folder()
    code = alone.run(runs_alone, args.jobs, False, lambda _: True)
    baselines = [run.result["run_folder"] for run in runs_alone if run.state == "finished"]
    return max(code, sweep.run(runs, args.jobs, True, lambda folders: suite_report(folder, folders, baselines)))


def told_by_flags(program: str, flags: list[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """What these flags say, and how often the weights change: games and steps between updates of this script.

    Raises:
        ConfigError: the suite's `config` says something else, and would win; or it would be no run of the suite.
    """
    if not is_training_script(program):
        return {}
    settings = load_script(program).settings
    given = given_flags(settings, flags)
    for name in sorted(given & config.keys()):
        raise ConfigError(f"`--{name}` stands in the suite's file, which would win; leave it out.")
    for name in sorted(given & (SEQUENCE | EVALUATED)):
        raise ConfigError(
            f"`--{name}` would make it another suite, which says what is trained on and evaluated; leave it out, or "
            f"train one run of it: `python {program} --config FILE --{name} ...`."
        )
    args = parse_command_line(settings, flags)
    for name in getattr(args, "earlier_methods", ()):
        raise ConfigError(f"flags {AFTER_DIVIDER}, and these switch on {name}; write `{name}` in `--methods`.")
    return {name: getattr(args, name) for name in {*PPO_ROUND, *given} if hasattr(args, name)}


def print_plan(config: dict[str, Any], runs: list[Job], runs_alone: list[Job], told: Mapping[str, Any]) -> None:
    """What a suite will take, roughly. told: by flags, where the file does not say it."""
    for run in (*runs, *runs_alone):
        run.collect()
    rows = []
    for methods in dict.fromkeys(run.parameters["methods"] for run in runs):
        own = [run for run in runs if run.parameters["methods"] == methods]
        cost = cost_of({**told, **config}, weights_change(methods))
        rows.append((methods, len(own), sum(run.state == "finished" for run in own), cost))
    for file in dict.fromkeys(run.parameters["config"] for run in runs_alone):
        own = [run for run in runs_alone if run.parameters["config"] == file]
        of_task = json.loads(Path(file).read_text(encoding="utf-8"))
        name = f"only {of_task['modifs'] or UNMODIFIED}"
        rows.append((name, len(own), sum(run.state == "finished" for run in own), cost_of({**told, **of_task})))
    print(format_table(plan_table(rows)))
    print("hours: roughly, of plain PPO on two cores, one run after the other; a method costs more", flush=True)


def weights_change(methods: str) -> bool:
    """Whether one of these methods, as in `--methods`, changes the weights at switches."""
    if methods == "none":
        return False
    from continual_hackatari.methods import all_methods  # here, because it loads torch, which takes long

    named = {method.name for method in methods_in(methods)}
    return any(method.changes_weights for name, method in all_methods().items() if name in named)


def suite_report(folder: Path, runs: Sequence[str], baselines: Sequence[str]) -> bool:
    """The report of all finished runs, and their metrics above chance and beside the single-task runs."""
    made = report(folder, runs)
    kinds = ["floor", *(["single_task"] if baselines else [])]
    for kind in kinds:
        output = folder / f"metrics_{kind}"
        more = ["--single_task", *baselines] if baselines else []
        command = [str(HERE / "metrics.py"), *runs, *more, "--normalise", kind, "-o", str(output)]
        code = subprocess.run([sys.executable, *command], check=False, stdout=subprocess.DEVNULL).returncode
        if code:
            made = False
            print(f"error: metrics failed with exit code {code}: {shlex.join(['python', *command])}", file=sys.stderr)
        else:
            print(f"metrics:    {output}.csv and .json")
    return made


def training_program(args: Args) -> str:
    """The training script that `args` name, or the project's own.

    Raises:
        ConfigError: there is no such file.
    """
    program = args.program or os.path.relpath(HERE / TRAINING)
    if args.seeds and not Path(program).is_file():
        raise ConfigError(f"`program` names {program}, which is no file; name a training script.")
    return program


def this_job(runs: list[Job], only: int | None) -> list[Job]:
    """Of all runs those of this process: the one that `only` names, or all.

    Raises:
        ConfigError: there is no run of this number.
    """
    check_only(only, len(runs))
    return runs if only is None else [runs[only]]


def check_only(only: int | None, number: int) -> None:
    """Raise ConfigError unless there are so many runs that one is called `only`."""
    if only is not None and only >= number:
        raise ConfigError(f"`only` (or `resume_id`) is {only}, but the runs of this sweep are 0 to {number - 1}.")


def check_flags_of_suite(flags: list[str]) -> None:
    """Raise ConfigError for flags that not all runs of a suite can have."""
    for word in flags:
        flag, _, value = word.partition("=")
        if word.startswith("--") and (setting := setting_of(word)):
            off = re.match(r"--no[-_]|.*\.no[-_]", flag)
            written = f"{setting.replace('.', ':')}={'False' if off else value or 'VALUE'}"
            raise ConfigError(f"`{flag}` {AFTER_DIVIDER}; write `{written}` in `--methods`.")
        if flag == "--methods":
            raise ConfigError(f"`--methods` {AFTER_DIVIDER}; name them before it.")
        if flag == "--config":
            raise ConfigError(
                "`--config` after `--` would take the place of the suite's file; for one of your own write "
                "`python sweep.py --seeds ... -- --config FILE`, without `--suite`."
            )


def report(folder: Path, runs: Sequence[str]) -> bool:
    """One report of all finished runs, made by report.py; returns whether it is there."""
    path = folder / "report.html"
    command = [str(HERE / "report.py"), *runs, "-o", str(path)]
    code = subprocess.run([sys.executable, *command], check=False).returncode
    if code:
        print(f"error: the report failed with exit code {code}: {shlex.join(['python', *command])}", file=sys.stderr)
    else:
        print(f"report:     {path}")
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
