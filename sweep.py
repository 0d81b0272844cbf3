"""Run a W&B sweep file, or one command with several seeds, on this machine: several runs at a time, without a server.

    python sweep.py sweep.yaml --jobs 2
    python sweep.py sweep.yaml --dry_run
    python sweep.py --seeds 1 2 3 --jobs 2 -- --config configs/freeway_speeds.json --shrink_and_perturb

The same command again goes on where it was stopped. Words after `--` are flags of the training script.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import io
import itertools
import json
import math
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal

import tyro
import yaml

from continual_hackatari.reporting.groups import experiment_settings
from continual_hackatari.training.config import ConfigError, Range, _nearest, _shown, check_ranges, parse_command_line
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.run_folder import safe_name
from continual_hackatari.training.search import Study, draw, examples, grid, is_whole, read_space, require_optuna
from continual_hackatari.training.signals import StopSignals

HERE = Path(__file__).resolve().parent
TRAINING = "continual_training_example.py"
DEFAULT_METRIC = "continual/average_performance"
RUN_FOLDER = re.compile(r"^run folder: (.+)$", re.M)
RESUME_FILES = ("resume.pt", "resume.previous.pt", "model.cleanrl_model")
"""With one of these a run can go on, or say that it has finished."""
POLL_SECONDS = 0.1
METHODS = ("grid", "random", "bayes")
KEYS = ("program", "method", "metric", "command", "run_cap", "parameters")
LABELS = ("apiVersion", "kind", "name", "description", "entity", "project", "controller")
"""Keys of a sweep file that mean something to W&B's server only, and change no run."""
SERVER_ONLY = ("early_terminate", "scheduler", "metrics", "job", "image_uri")
"""Keys of a sweep file that would change its runs, and do not work here."""
STUDY = "study.journal"
SWITCHES_OF_WANDB = ("track", "save_agent_wandb")
SETTINGS_OF_WANDB = ("wandb_project_name", "wandb_entity", "wandb_dir")
"""Flags that go with `--track`: without a word for their value, and with one."""
MAX_EXAMPLES = 2_000  # one takes about 0.05 s


class SweepError(ValueError):
    """A sweep that cannot work; the message is one sentence for the user."""


@dataclass
class Args:
    file: tyro.conf.Positional[str] = ""
    """the sweep, a W&B sweep file such as sweep.yaml"""
    seeds: tuple[int, ...] = ()
    """instead of a file: run the training flags after -- once with each of these seeds, then write a report"""
    jobs: int = 1
    """runs at a time"""
    max_runs: int | None = None
    """at most this many runs (needed for random and bayes, unless the file has a run_cap)"""
    folder: str = ""
    """where the sweep keeps its records (default: sweeps/<name of the file>, or sweeps/seeds~<letters
    that stand for the flags>)"""
    only: int | None = None
    """only the run of this number, from 0: for the array jobs of a cluster"""
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


@dataclass
class Run:
    """One training run of the sweep, and how it goes."""

    parameters: dict[str, Any]
    command: list[str]
    """what W&B's agent would run, with `python` as interpreter"""
    label: str
    """the parameters in which runs differ, for people"""
    folder: Path
    """its record: run.json (parameters), output.txt, and, when it has finished, result.json"""
    state: Literal["waiting", "running", "finished", "failed", "stopped"] = "waiting"
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    """with state finished: `run_folder`, and `metrics`, name -> last logged value"""
    process: subprocess.Popen[bytes] | None = None
    asked_to_stop: bool = False
    output_start: int = 0
    """where in output.txt the present attempt begins, in bytes"""

    @property
    def output(self) -> Path:
        return self.folder / "output.txt"

    def run_folder(self) -> Path | None:
        """The folder of the training run, as its output names it; None if it got nowhere."""
        if not self.output.exists():
            return None
        named = RUN_FOLDER.findall(self.output.read_text(encoding="utf-8", errors="replace"))
        return Path(named[-1]) if named else None


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything a user can get wrong, run what is left to run, print the table; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    divider = words.index("--") if "--" in words else len(words)
    args = parse_command_line(Args, words[:divider], description=__doc__)
    try:
        check_ranges(args, RANGES)
        config = sweep_of_seeds(args, words[divider + 1 :]) if args.seeds else read_sweep(args, words[divider + 1 :])
        if config["method"] == "grid" and args.search_seed != Args.search_seed:
            raise SweepError("`search_seed` is of random and bayes, and this is a grid, which draws nothing; leave it.")
        sweep = Sweep(args, config)
        runs = sweep.planned()
        # A Bayesian search has no list of its runs: one that is drawn stands for them.
        fault = check_commands(sweep, runs or [sweep.new_run(draw(sweep.space, args.search_seed, 0))])
        if fault:
            raise SweepError(fault)
        runs = sweep.this_job(runs)
        if not args.dry_run:
            sweep.make_folder()
    except (SweepError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.dry_run:
        print(*(shlex.join(run.command) for run in runs), sep="\n")
        return 0
    return sweep.run(runs)


# ------------------------------------------------------------------------------------------------------ what to run


def sweep_of_seeds(args: Args, flags: list[str]) -> dict[str, Any]:
    """The sweep that runs the training flags once with each seed.

    Raises:
        SweepError: there is a file as well, or the flags have a seed already.
    """
    if args.file:
        raise SweepError(
            f"`seeds` come without a file, but there is {args.file}; put seeds into the file, or leave it."
        )
    if len(set(args.seeds)) < len(args.seeds):
        raise SweepError(f"`seeds` are {' '.join(map(str, args.seeds))}, but each of them may stand there once only.")
    if any(re.match(r"--seed(=|$)", word) for word in flags):
        raise SweepError("`--seed` stands after `--` too; leave it out there, `--seeds` gives each run its own.")
    return {
        "program": os.path.relpath(HERE / TRAINING),
        "method": "grid",
        "metric": {"name": DEFAULT_METRIC, "goal": "maximize"},
        "command": ["${interpreter}", "${program}", *flags, "${args_no_boolean_flags}"],
        "parameters": {"seed": {"values": list(args.seeds)}},
    }


def read_sweep(args: Args, flags: list[str]) -> dict[str, Any]:
    """The sweep file, checked; its format is W&B's.

    Raises:
        SweepError: there is no file, it cannot be read, or it is not a sweep that runs here.
    """
    if not args.file:
        raise SweepError("`file` is missing: name a sweep file such as sweep.yaml, or give `--seeds`.")
    if flags:
        raise SweepError("flags after `--` go with `--seeds` only; in a sweep file they belong to its `command`.")
    try:
        config = yaml.safe_load(Path(args.file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"`file` names {args.file}, which cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise SweepError(f"{args.file} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(config, dict):
        raise SweepError(f"{args.file} must hold a mapping with `program`, `method` and `parameters`.")
    try:
        check_sweep(config)
        read_space(config["parameters"])
    except ConfigError as error:
        raise SweepError(f"{args.file}: {error}") from None
    return config


def check_sweep(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for what a sweep file cannot have here, all but its `parameters`."""
    for key in config:
        if key in SERVER_ONLY:
            raise ConfigError(f"`{key}` works with the W&B server only; leave it out to run the sweep here.")
        if key not in KEYS + LABELS:
            raise ConfigError(f"the key `{key}` is unknown{_nearest(str(key), KEYS + LABELS)}.")
    for key in ("program", "method", "parameters"):
        if key not in config:
            raise ConfigError(f"`{key}` is missing.")
    if config["method"] not in METHODS:
        hint = _nearest(str(config["method"]), METHODS)
        raise ConfigError(
            f"`method` is {_shown(config['method'])}, but must be grid, random or bayes to run here{hint}."
        )
    if not isinstance(config["program"], str) or not Path(config["program"]).is_file():
        raise ConfigError(f"`program` must be a script seen from the current folder, such as {TRAINING}.")
    if not isinstance(config.get("command", []), list):
        raise ConfigError("`command` must be a list of words.")
    if not is_whole(config.get("run_cap", 1)) or config.get("run_cap", 1) < 1:
        raise ConfigError(f"`run_cap` is {_shown(config['run_cap'])}, but must be a whole number of at least 1.")
    if config["method"] == "bayes" and "metric" not in config:
        raise ConfigError("`method` bayes needs a `metric`.")
    if "metric" in config:
        check_metric(config["metric"])


def check_metric(metric: Any) -> None:
    """See `check_sweep`."""
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str):
        raise ConfigError("`metric` must be a mapping with the `name` of a number that is logged, and a `goal`.")
    for key, value in metric.items():
        if key in ("target", "impute_while_running") or (key == "impute" and value != "worst"):
            raise ConfigError(
                f"`{key}` of the `metric` works with the W&B server only; leave it out to run the sweep here."
            )
        if key not in ("name", "goal", "impute"):
            raise ConfigError(
                f"`metric` has `{key}`, but may have name and goal{_nearest(str(key), ['name', 'goal'])}."
            )
    goals = ("minimize", "maximize")
    if metric.get("goal", "minimize") not in goals:
        hint = _nearest(str(metric["goal"]), goals)
        raise ConfigError(
            f"`goal` of the `metric` is {_shown(metric['goal'])}, but must be minimize or maximize{hint}."
        )


def command_of(config: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    """The command that W&B's agent would run for these parameters, without `${env}` and with `python`.

    Raises:
        SweepError: a macro that is not known here.
    """
    flags = [f"--{name}={value}" for name, value in parameters.items()]
    macros = {
        "${env}": [],
        "${interpreter}": ["python"],
        "${program}": [config["program"]],
        "${args}": flags,
        "${args_no_hyphens}": [flag.removeprefix("--") for flag in flags],
        "${args_no_boolean_flags}": [
            f"--{name}" if value is True else flag
            for flag, (name, value) in zip(flags, parameters.items(), strict=True)
            if value is not False
        ],
    }
    words: list[str] = []
    for word in map(str, config.get("command", ["${env}", "${interpreter}", "${program}", "${args}"])):
        if word.startswith("${") and word not in macros:
            raise SweepError(f"`command` has {word}, but here it may have {', '.join(macros)}.")
        words += macros.get(word, [word])
    if not words or (words[0] != "python" and shutil.which(words[0]) is None):
        raise SweepError(f"`command` begins with {' '.join(words[:1])}, which is no program here.")
    return words


def without_wandb(words: Sequence[str]) -> list[str]:
    """A command without `--track` and all flags that belong to it."""
    kept: list[str] = []
    value_follows = False
    for word in words:
        flag, equals, _ = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_") if flag.startswith("--") else ""
        if not value_follows and name.removeprefix("no_") not in SWITCHES_OF_WANDB + SETTINGS_OF_WANDB:
            kept.append(word)
        value_follows = name in SETTINGS_OF_WANDB and not equals
    return kept


class Sweep:
    """A sweep file or several seeds, and the folder that remembers how far it has come."""

    def __init__(self, args: Args, config: dict[str, Any]) -> None:
        self.args = args
        self.config = config
        # Seeds of other flags are another experiment, whose table and report must not replace those of the one before.
        name = Path(args.file).stem if args.file else f"seeds~{digest_of(config['command'])}"
        self.folder = Path(args.folder or Path("sweeps") / name)
        metric = config.get("metric", {"name": DEFAULT_METRIC, "goal": "maximize"})
        self.metric: str = metric["name"]
        self.maximize = metric.get("goal") == "maximize"  # W&B's default is to minimize
        self.space = read_space(config["parameters"])
        self.varied = [name for name, values in config["parameters"].items() if "value" not in values]
        caps = [cap for cap in (args.max_runs, config.get("run_cap")) if cap is not None]
        self.max_runs: int | None = min(caps, default=None)
        self.exhausted = False
        """a Bayesian search found nothing that was not tried before"""

    def planned(self) -> list[Run]:
        """All runs of a grid or random search; of bayes those that it has chosen before.

        Raises:
            SweepError: the search has no end, or no list of its runs.
        """
        method, args = self.config["method"], self.args
        if method != "grid" and self.max_runs is None:
            raise SweepError(f"`method` {method} has no end; say how many runs with `--max_runs` or `run_cap`.")
        if method == "bayes":
            if args.dry_run or args.only is not None:
                raise SweepError("`method` bayes chooses each run after those before it, so there is no list of them.")
            return self.chosen_before()
        runs = [self.new_run(parameters) for parameters in self.parameters_of_all()]
        return list({run.folder: run for run in runs}.values())  # a random search may draw the same twice

    def this_job(self, runs: list[Run]) -> list[Run]:
        """Of all runs those of this process: the one that `only` names, or all.

        Raises:
            SweepError: there is no run of this number.
        """
        only = self.args.only
        if only is None:
            return runs
        if only >= len(runs):
            raise SweepError(f"`only` is {only}, but the runs of this sweep are 0 to {len(runs) - 1}.")
        return [runs[only]]

    def parameters_of_all(self) -> Iterable[dict[str, Any]]:
        if self.config["method"] == "grid":
            return itertools.islice(grid(self.space), self.max_runs)
        return [draw(self.space, self.args.search_seed, number) for number in range(self.max_runs or 0)]

    # ------------------------------------------------------------------------------------------- Bayesian search

    @cached_property
    def study(self) -> Study:
        """What the search knows, in the sweep's folder."""
        fixed = {name: item["value"] for name, item in self.config["parameters"].items() if "value" in item}
        about = {
            "program": self.config["program"],
            "command": self.config.get("command", []),
            "parameters": self.config["parameters"],
            "metric": [self.metric, self.maximize],
            "config file": text_of_config([f"--{name}={value}" for name, value in fixed.items()]),
        }
        return Study(self.folder / STUDY, self.space, self.maximize, self.args.search_seed, about)

    def chosen_before(self) -> list[Run]:
        """The runs that the search has chosen in this folder, in their order; nothing is written.

        Raises:
            ConfigError, SweepError: it cannot search here.
        """
        if not self.varied:
            raise SweepError(
                "`method` bayes has nothing to search; give a parameter several `values` or a distribution."
            )
        require_optuna()
        if (self.folder / STUDY).exists():
            return [self.new_run(parameters) for parameters in self.study.tried()][: self.max_runs]
        if any(self.folder.glob("*/run.json")):
            raise SweepError(f"{self.folder} has runs that another search has chosen; name another `--folder`.")
        return []

    def tell(self, runs: Sequence[Run]) -> None:
        """Let the search know the results."""
        for run in runs:
            value = run.result.get("metrics", {}).get(self.metric, math.nan)
            if math.isfinite(value):
                self.study.tell(run.parameters, value)

    def suggested(self, runs: Sequence[Run]) -> Run | None:
        """What the search tries next, from the results so far; None when there is nothing new."""
        known = {run.folder for run in runs}
        with self.study.alone():
            self.tell(runs)
            tried = self.study.tried()
            for run in map(self.new_run, tried):
                if run.folder not in known:  # another process, which shares this search, has chosen it
                    return run
            parameters = self.study.ask() if len(tried) < (self.max_runs or 0) else None
        self.exhausted = parameters is None
        return None if parameters is None else self.new_run(parameters)

    def new_run(self, parameters: Mapping[str, Any]) -> Run:
        """A run of these parameters, in the order of the file; the same parameters have the same folder."""
        parameters = {name: parameters[name] for name in self.config["parameters"]}
        command = command_of(self.config, parameters)
        if not self.args.track:
            command = without_wandb(command)
        label = " ".join(f"{name}={parameters[name]}" for name in self.varied)
        return Run(parameters, command, label, self.folder / f"{safe_name(label, 80)}~{digest_of(command)}")

    def make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SweepError(f"`folder` {self.folder} cannot be made: {error.strerror}; name another one.") from None

    # -------------------------------------------------------------------------------------------------- running

    def run(self, runs: list[Run]) -> int:
        """Run what has not finished, `jobs` at a time; returns the exit code."""
        for run in runs:
            collect(run)
        if done := sum(run.state == "finished" for run in runs):
            print(f"{counts(runs)} {done} finished before", flush=True)
        locks: dict[Path, IO[str]] = {}
        elsewhere: set[Path] = set()
        with StopSignals() as stop:
            while True:
                for run in runs:
                    code = None if run.process is None else run.process.poll()
                    if code is not None:
                        self.end(run, code, runs)
                        locks.pop(run.folder).close()
                if not stop.requested:
                    self.start_some(runs, locks, elsewhere)
                if not any(run.state == "running" or (run.state == "waiting" and not stop.requested) for run in runs):
                    break
                if stop.requested:
                    self.ask_to_stop(runs)
                time.sleep(POLL_SECONDS)
            if stop.requested:
                print("stopped: the same command goes on", flush=True)
            stop.at_once()  # the exit code of a stopped sweep is that of its signal
            return self.conclude(runs)

    def start_some(self, runs: list[Run], locks: dict[Path, IO[str]], elsewhere: set[Path]) -> None:
        """Start runs until `jobs` are running, and let Bayesian search add some."""
        for run in itertools.chain(list(runs), self.suggestions(runs)):
            if sum(other.state == "running" for other in runs) >= self.args.jobs:
                return
            if run.state != "waiting":
                continue
            lock = exclusive_lock(run)
            if lock is None:
                if run.folder not in elsewhere:
                    print(f"waiting for {run.label}, which another process is running", flush=True)
                elsewhere.add(run.folder)
                continue
            collect(run)  # the process that held the lock may have finished it
            if run.state == "waiting":
                locks[run.folder] = lock
                self.start(run, lock)
                print(f"{counts(runs)} started {run.label}: {run.output}", flush=True)
            else:
                lock.close()

    def suggestions(self, runs: list[Run]) -> Iterable[Run]:
        """What Bayesian search adds, one by one, as long as there is room for another run."""
        while self.config["method"] == "bayes" and len(runs) < (self.max_runs or 0) and not self.exhausted:
            if sum(run.state == "running" for run in runs) >= self.args.jobs:
                return
            run = self.suggested(runs)
            if run is None:
                print(f"{counts(runs)} there is nothing left to try", flush=True)
                return
            runs.append(run)
            yield run

    def start(self, run: Run, lock: IO[str]) -> None:
        """Start the run, or go on with it where it was saved."""
        record = {"parameters": run.parameters, "command": run.command}
        if not (run.folder / "run.json").exists():
            write_json(run.folder / "run.json", record)
        folder, command = run.run_folder(), run.command
        if folder is not None and any((folder / name).exists() for name in RESUME_FILES):
            command = ["python", self.config["program"], "--resume", str(folder)]
        with open(run.output, "ab") as output:
            run.output_start = output.tell()
            output.write(f"$ {shlex.join(command)}\n".encode())
            output.flush()
            run.process = subprocess.Popen(
                [sys.executable, *command[1:]] if command[0] == "python" else command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                start_new_session=True,  # Ctrl-C in a terminal reaches the sweep alone, which asks each run once
                pass_fds=[lock.fileno()],  # a run that outlives a killed sweep keeps its lock
            )
        run.state = "running"

    def environment(self) -> dict[str, str]:
        """Runs beside each other share the cores instead of competing for all of them."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self.args.jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // self.args.jobs)))
        return environment

    def ask_to_stop(self, runs: list[Run]) -> None:
        """SIGTERM, once: a run finishes its update and saves; a second one would stop it at once."""
        for run in runs:
            if run.process is not None and not run.asked_to_stop:
                run.process.send_signal(signal.SIGTERM)
                run.asked_to_stop = True

    def end(self, run: Run, code: int, runs: list[Run]) -> None:
        """Note how the run ended."""
        run.process = None
        if code == 0:
            folder = run.run_folder()
            metrics = {} if folder is None else last_values(folder, self.metric)
            write_json(run.folder / "result.json", {"run_folder": str(folder or ""), "metrics": metrics})
            collect(run)
            value = metrics.get(self.metric)
            print(f"{counts(runs)} finished {run.label}: {self.metric} {shown(value)}", flush=True)
        elif run.asked_to_stop:
            run.state = "stopped"
        else:
            run.state, run.error = "failed", last_error(run, code)
            print(f"{counts(runs)} failed {run.label}: {run.error}", flush=True)

    # --------------------------------------------------------------------------------------------------- the end

    def conclude(self, runs: list[Run]) -> int:
        """Table, results.csv, report; the exit code is 1 if anything failed."""
        failed = [run for run in runs if run.state == "failed"]
        if self.config["method"] == "bayes":
            self.tell(runs)
        if self.args.only is None:
            method = list(experiment_settings(dict.fromkeys(self.varied)))  # all but the seed and the like
            print(table(runs, method, self.metric, self.maximize))
            print(f"runs:       {self.write_results(runs)}")
            finished = [run for run in runs if run.state == "finished"]
            if finished and all(self.metric not in run.result["metrics"] for run in finished):
                advice = (
                    "; runs with `--eval_every` log it at their end" if self.metric.startswith("continual/") else ""
                )
                print(f"`{self.metric}` was logged by no run{advice}")
        for run in failed:
            print(f"failed:     {run.label}: {run.error} ({run.output})")
        reported = self.report(runs) if self.args.seeds and self.args.only is None else True
        return 1 if failed or not reported else 0

    def write_results(self, runs: list[Run]) -> Path:
        """One row per run: parameters, state, metrics, folder."""
        path = self.folder / "results.csv"
        metrics = sorted({name for run in runs for name in run.result.get("metrics", {})})
        with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*self.config["parameters"], "state", *metrics, "run_folder", "error"])
            for run in runs:
                values = [run.result.get("metrics", {}).get(name, "") for name in metrics]
                place = run.result.get("run_folder", run.run_folder() or "")
                writer.writerow([*run.parameters.values(), run.state, *values, place, run.error])
        return path

    def report(self, runs: list[Run]) -> bool:
        """One report of all finished runs, made by report.py; returns whether it is there."""
        folders = [run.result["run_folder"] for run in runs if run.state == "finished"]
        if not folders:
            return True
        path = self.folder / "report.html"
        command = [str(HERE / "report.py"), *folders, "-o", str(path)]
        code = subprocess.run([sys.executable, *command], check=False).returncode
        if code:
            print(
                f"error: the report failed with exit code {code}: {shlex.join(['python', *command])}", file=sys.stderr
            )
        else:
            print(f"report:     {path}")
        return code == 0


# --------------------------------------------------------------------------------------------------- check the runs


def check_commands(sweep: Sweep, runs: list[Run]) -> str | None:
    """What would end one of these runs at its start, as one sentence; None when all is well.

    Only the project's own script can be asked. It loads torch, which needs much memory, so another process does it.
    """
    program = sweep.config["program"]
    if Path(program).resolve() != HERE / TRAINING or any(program not in run.command for run in runs):
        return None
    if sweep.config["method"] == "bayes":  # its further runs depend on results, but not which values it may combine
        combinations, count = examples(sweep.space, MAX_EXAMPLES)
        runs = [*runs, *map(sweep.new_run, combinations)]
        if count > len(combinations):
            print(
                f"note: {len(combinations):,} of {count:,} combinations are checked before the first run; a run that "
                "the training script refuses later counts as a bad one",
                file=sys.stderr,
            )
    if len(runs) > 100:
        print(f"checking {len(runs):,} runs", file=sys.stderr, flush=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        flags = [(run.parameters, run.command[run.command.index(program) + 1 :]) for run in runs]
        return pool.apply(first_fault, (flags, sweep.varied))


def first_fault(runs: Sequence[tuple[dict[str, Any], list[str]]], varied: Sequence[str]) -> str | None:
    """See `check_commands`; `runs` are the parameters and the training flags of each."""
    from continual_hackatari import continual_training_example as training
    from continual_hackatari.training.setup import USER_ERRORS

    for parameters, flags in runs:
        for name, value in parameters.items():
            if value is False and getattr(training.Args, name, None) is True:
                return (
                    f"`{name}` false would pass no flag, and without a flag it is on; "
                    f"vary `no_{name}` instead, where true passes `--no_{name}`."
                )
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
                training.prepare(flags)
        except USER_ERRORS as error:
            return f"{error} (of the run {shlex.join(flags)})"
        except SystemExit:  # the command line itself is wrong
            reason = said.getvalue().partition("For full helptext")[0]
            reason = " ".join(re.sub(r"[^ -~]|-{3,}", " ", reason).split())  # without the frame around it
            return f"the training script does not accept {shlex.join(flags)}: {reason}"
        in_file = json.loads(text_of_config(flags) or "{}")
        for name in varied:
            if name in in_file:
                return (
                    f"`{name}` is varied, but the config file holds it too and would win; remove it from one of them."
                )
    return None


def digest_of(command: Sequence[str]) -> str:
    """Ten letters for a name. A changed schedule is another experiment, so what the config file says counts too."""
    return hashlib.sha256(json.dumps([list(command), text_of_config(command)]).encode()).hexdigest()[:10]


def text_of_config(words: Sequence[str]) -> str:
    """The JSON file that a command names with `--config`; empty when there is none that can be read."""
    for word, after in itertools.pairwise([*words, ""]):
        if word == "--config" or word.startswith("--config="):
            name = after if word == "--config" else word.removeprefix("--config=")
            with contextlib.suppress(OSError, UnicodeDecodeError):  # the run itself says what is wrong with it
                return Path(name).read_text(encoding="utf-8-sig")
    return ""


# ------------------------------------------------------------------------------------------------- files and numbers


def exclusive_lock(run: Run) -> IO[str] | None:
    """Hold the run's folder until the file is closed here and in the run itself; None if another process holds it."""
    run.folder.mkdir(parents=True, exist_ok=True)
    file = open(run.folder / ".lock", "a")  # noqa: SIM115 - closed when the run ends
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def collect(run: Run) -> None:
    """Take over the result of a run that has finished, now or earlier."""
    path = run.folder / "result.json"
    if path.exists():
        run.result = json.loads(path.read_text(encoding="utf-8"))
        run.state = "finished"


def write_json(path: Path, value: Any) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def last_values(folder: Path, metric: str) -> dict[str, float]:
    """The last logged value of the metric and of all continual metrics, as W&B's summary has them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 1}).Reload()
    names = [name for name in events.Tags()["scalars"] if name == metric or name.startswith("continual/")]
    return {name: events.Scalars(name)[-1].value for name in names}


def last_error(run: Run, code: int) -> str:
    """The error line of the present attempt, or else its last line; and the exit code."""
    with open(run.output, "rb") as file:
        file.seek(run.output_start)
        lines = file.read().decode(errors="replace").splitlines()[1:]  # the first one is the command
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("resume:")]
    errors = [line for line in lines if line.startswith("error:")]
    said = (errors or lines or ["no output"])[-1]
    how = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
    return f"{said} ({how})"


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def counts(runs: Sequence[Run]) -> str:
    done = sum(run.state in ("finished", "failed") for run in runs)
    return f"[{done}/{len(runs)}]"


def shown(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def table(runs: Sequence[Run], method: Sequence[str], metric: str, maximize: bool) -> str:
    """One row per method (its parameters in `method`), best mean of the metric first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        label = " ".join(f"{name}={run.parameters[name]}" for name in method) or "all seeds"
        groups.setdefault(label, []).append(run)
    rows: list[tuple[float, list[str]]] = []
    for label, group in groups.items():
        found = [run.result["metrics"].get(metric, math.nan) for run in group if run.state == "finished"]
        values = [value for value in found if not math.isnan(value)]
        mean = statistics.fmean(values) if values else None
        numbers = [mean, min(values, default=None), max(values, default=None)]
        worst = -math.inf if maximize else math.inf
        rows.append((worst if mean is None else mean, [label, f"{len(found)}/{len(group)}", *map(shown, numbers)]))
    rows.sort(key=lambda row: row[0], reverse=maximize)
    cells = [["method", "finished", metric, "lowest", "highest"], *(row for _, row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for name, *others in cells:
        aligned = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned]))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
