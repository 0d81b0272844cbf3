"""Sweeps: the runs that a W&B sweep file, or one command with several seeds, asks for, run on this machine.

The folder of a sweep remembers how far it has come.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import json
import math
import re
import shutil
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from continual_hackatari.reporting.groups import differences, experiment_settings
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.tables import format_table
from continual_hackatari.training import method_words
from continual_hackatari.training.config import ConfigError, nearest, shown
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.run_folder import safe_name
from continual_hackatari.training.runner import Job, Runner, four_digits
from continual_hackatari.training.search import Study, draw, grid, is_whole, read_space, require_optuna

DEFAULT_METRIC = "continual/average_performance"
METHODS = ("grid", "random", "bayes")
KEYS = ("program", "method", "metric", "command", "run_cap", "parameters")
LABELS = ("apiVersion", "kind", "name", "description", "entity", "project", "controller")
"""Keys of a sweep file that mean something to W&B's server only, and change no run."""
SERVER_ONLY = ("early_terminate", "scheduler", "metrics", "job", "image_uri")
"""Keys of a sweep file that would change its runs, and do not work here."""
FILES = ("config", "start_from", "modification_file")
"""Flags that name a file in which something of the experiment is; a run records what is in it, not its name."""
STUDY = "study.journal"
SWITCHES_OF_WANDB = ("track", "save_agent_wandb")
SETTINGS_OF_WANDB = ("wandb_project_name", "wandb_entity", "wandb_dir")
"""Flags that go with `--track`: without a word for their value, and with one."""
CHANGED = "the file that `--config` names has changed since this plan was made; the same command plans anew"


def sweep_of_seeds(program: str, seeds: Sequence[int], flags: Sequence[str]) -> dict[str, Any]:
    """The sweep that runs the training flags once with each seed.

    Raises:
        ConfigError: a seed stands there twice, or in the flags too.
    """
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"`seeds` are {' '.join(map(str, seeds))}, but each of them may stand there once only.")
    if any(re.match(r"--seed(=|$)", word) for word in flags):
        raise ConfigError("`--seed` stands after `--` too; leave it out there, `--seeds` gives each run its own.")
    return {
        "program": program,
        "method": "grid",
        "metric": {"name": DEFAULT_METRIC, "goal": "maximize"},
        "command": ["${interpreter}", "${program}", *flags, "${args_no_boolean_flags}"],
        "parameters": {"seed": {"values": list(seeds)}},
    }


def sweep_of_suite(
    program: str, config: str, methods: Sequence[str], seeds: Sequence[int], flags: Sequence[str]
) -> dict[str, Any]:
    """The sweep that runs a suite's configuration with each list of methods and each seed.

    methods: names of methods with + between them, or none.

    Raises:
        ConfigError: a seed or a list of methods stands there twice, or a seed in the flags too.
    """
    twice = [name for name in methods if methods.count(name) > 1]
    if twice:
        raise ConfigError(f"`methods` names {twice[0]} twice, which would run the same twice; name it once.")
    sweep = sweep_of_seeds(program, seeds, ["--config", config, *flags])
    return {**sweep, "parameters": {"methods": {"values": list(methods)}, **sweep["parameters"]}}


def single_task_sweep(program: str, configs: Sequence[str], seeds: Sequence[int], flags: Sequence[str]) -> Any:
    """The sweep that runs each of these single-task configurations with each seed."""
    sweep = sweep_of_seeds(program, seeds, flags)
    return {**sweep, "parameters": {"config": {"values": list(configs)}, **sweep["parameters"]}}


def read_sweep(path: str) -> dict[str, Any]:
    """The sweep file, checked; its format is W&B's.

    Raises:
        ConfigError: it cannot be read, or it is not a sweep that runs here.
    """
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"`file` names {path}, which cannot be read: {reason}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path} must hold a mapping with `program`, `method` and `parameters`.")
    try:
        check_sweep(config)
        read_space(config["parameters"])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


def check_sweep(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for what a sweep file cannot have here, all but its `parameters`."""
    for key in config:
        if key in SERVER_ONLY:
            raise ConfigError(f"`{key}` works with the W&B server only; leave it out to run the sweep here.")
        if key not in KEYS + LABELS:
            raise ConfigError(f"the key `{key}` is unknown{nearest(str(key), KEYS + LABELS)}.")
    for key in ("program", "method", "parameters"):
        if key not in config:
            raise ConfigError(f"`{key}` is missing.")
    if config["method"] not in METHODS:
        hint = nearest(str(config["method"]), METHODS)
        raise ConfigError(
            f"`method` is {shown(config['method'])}, but must be grid, random or bayes to run here{hint}."
        )
    if not isinstance(config["program"], str) or not Path(config["program"]).is_file():
        raise ConfigError(
            "`program` must be a script seen from the current folder, such as continual_training_example.py."
        )
    if not isinstance(config.get("command", []), list):
        raise ConfigError("`command` must be a list of words.")
    if not is_whole(config.get("run_cap", 1)) or config.get("run_cap", 1) < 1:
        raise ConfigError(f"`run_cap` is {shown(config['run_cap'])}, but must be a whole number of at least 1.")
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
            raise ConfigError(f"`metric` has `{key}`, but may have name and goal{nearest(str(key), ['name', 'goal'])}.")
    goals = ("minimize", "maximize")
    if metric.get("goal", "minimize") not in goals:
        hint = nearest(str(metric["goal"]), goals)
        raise ConfigError(f"`goal` of the `metric` is {shown(metric['goal'])}, but must be minimize or maximize{hint}.")


def command_of(config: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    """The command that W&B's agent would run for these parameters, without `${env}` and with `python`.

    Raises:
        ConfigError: a macro that is not known here, or a parameter that stands there as a flag too: the last would
            count, under a label with the other.
    """
    flags: list[str] = []
    switches: list[str] = []
    in_command = {flag_name(word): word for word in map(str, config.get("command", [])) if word.startswith("--")}
    for name, value in parameters.items():
        given = [f"--{name}={value}"]
        if name == "methods":
            given = methods_of(parameters)
            check_settings_once(str(value), given, parameters, in_command)
        if word := in_command.get(flag_name(name)):
            raise ConfigError(f"`{name}` is a parameter, and `command` has `{word}` too; leave one of them out.")
        flags += given
        switches += [f"--{name}"] if value is True else [] if value is False else given
    macros = {
        "${env}": [],
        "${interpreter}": ["python"],
        "${program}": [config["program"]],
        "${args}": flags,
        "${args_no_hyphens}": [flag.removeprefix("--") for flag in flags],
        "${args_no_boolean_flags}": switches,
    }
    words: list[str] = []
    for word in map(str, config.get("command", ["${env}", "${interpreter}", "${program}", "${args}"])):
        if word.startswith("${") and word not in macros:
            raise ConfigError(f"`command` has {word}, but here it may have {', '.join(macros)}.")
        words += macros.get(word, [word])
    if not words or (words[0] != "python" and shutil.which(words[0]) is None):
        raise ConfigError(f"`command` begins with {' '.join(words[:1])}, which is no program here.")
    return words


def methods_of(parameters: Mapping[str, Any]) -> list[str]:
    """The words of the training script for the methods of a run, and for the settings that stand with them."""
    value = parameters.get("methods", "none")
    return methods_flag("+".join(map(str, value)) if isinstance(value, list) else str(value))


def methods_flag(value: str) -> list[str]:
    """The words of the training script for `none`, `redo`, `layer_norm+redo`, or with settings `ewc:strength=10`.

    Raises:
        ConfigError: it is not written so; which methods there are says the training script.
    """
    if value == "none":
        return []
    if fault := method_words.fault_of(value):
        raise ConfigError(fault)
    methods = method_words.methods_in(value)
    settings = [f"--{name}.{key}={given}" for name, with_it in methods for key, given in with_it]
    return ["--methods", *(name for name, _ in methods), *settings]


def flag_name(word: str) -> str:
    """`norm_adv` of `--no-norm_adv`, `ewc.normalise` of `--ewc.no_normalise=True`."""
    name = word.partition("=")[0].removeprefix("--").replace("-", "_")
    return method_words.setting_of(word) or name.removeprefix("no_")


def check_settings_once(
    methods: str, words: Sequence[str], parameters: Mapping[str, Any], in_command: Mapping[str, str]
) -> None:
    """Raise ConfigError for a setting that stands twice with the methods of a run, or with them and elsewhere.

    words: the flags of these methods. in_command: the words of the command by their `flag_name`. The last value would
    count alone, under a label that says another.
    """
    settings = list(filter(None, map(method_words.setting_of, words)))
    elsewhere = {method_words.setting_of(name): f"`{name}` is a parameter of its own" for name in parameters}
    elsewhere |= {name: f"`command` has `{word}`" for name, word in in_command.items()}
    for setting in settings:
        if settings.count(setting) > 1:
            raise ConfigError(f"`methods` has `{methods}`, which says `{setting}` twice; say it once.")
        if setting in elsewhere:
            raise ConfigError(f"`methods` has `{methods}`, and {elsewhere[setting]} too; leave one of them out.")


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


class Batch:
    """Several runs, and the folder that remembers how far they have come."""

    def __init__(self, folder: Path, parameters: Sequence[str], varied: Sequence[str]) -> None:
        """
        parameters: names of all that the runs are told. varied: those whose values are not the same in all of them.
        """
        self.folder, self.parameters, self.varied = folder, list(parameters), list(varied)
        self.metric, self.maximize = DEFAULT_METRIC, True

    def planned(self, whole: bool = False) -> list[Job]:
        """All runs, or those that are known so far: an error then if they must be the `whole` list.

        Raises:
            ConfigError: there is no such list.
        """
        raise NotImplementedError

    def another(self, runs: list[Job]) -> Job | None:
        """A run to add to the present ones when there is room for it."""
        return None

    def tell(self, runs: Sequence[Job]) -> None:
        """How they ended."""

    def fault_of(self, run: Job) -> str:
        """Why a run, when its turn comes, is not what was planned any more; empty: it is.

        A `config` file that was edited is no fault of a run that another starter has finished meanwhile.
        """
        raise NotImplementedError

    @property
    def method(self) -> list[str]:
        """Of what is varied, what makes another method: not the seed and the like.

        Another file is another one, as it says what the experiment is.
        """
        return [name for name in self.varied if name in FILES or experiment_settings({name: None})]

    def make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"`folder` {self.folder} cannot be made: {error.strerror}; name another one.") from None

    def run(self, runs: list[Job], at_a_time: int, table: bool, report: Callable[[list[str]], bool]) -> int:
        """Run what has not finished; returns the exit code, 1 if anything failed.

        table: end with a table and results.csv. report: makes the report of these run folders, and says if it did.
        """
        runner = Runner(runs, at_a_time, self.metric, self.another, fault=self.fault_of)
        return runner.run(lambda: self.conclude(runner.jobs, table, report))

    def conclude(self, runs: list[Job], with_table: bool, report: Callable[[list[str]], bool]) -> int:
        """Table, results.csv, report; the exit code is 1 if anything failed."""
        failed = [run for run in runs if run.state == "failed"]
        finished = [run for run in runs if run.state == "finished"]
        self.tell(runs)
        if with_table:
            print(table(runs, self.method, self.metric, self.maximize))
            print(f"runs:       {self.write_results(runs)}")
            for fault in made_unlike(finished, self.method):
                print(f"warning: {fault}; without their folders in {self.folder}, older ones are made anew")
            if finished and all(self.metric not in run.result["metrics"] for run in finished):
                advice = (
                    "; runs with `--eval_every` log it at their end" if self.metric.startswith("continual/") else ""
                )
                print(f"`{self.metric}` was logged by no run{advice}")
        for run in failed:
            print(f"failed:     {run.label}: {run.error} ({run.output})")
        reported = report([run.result["run_folder"] for run in finished]) if finished else True
        return 1 if failed or not reported else 0

    def write_results(self, runs: list[Job]) -> Path:
        """One row per run: parameters, state, metrics, folder."""
        path = self.folder / "results.csv"
        metrics = sorted({name for run in runs for name in run.result.get("metrics", {})})
        with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*self.parameters, "state", *metrics, "run_folder", "error"])
            for run in runs:
                values = [run.result.get("metrics", {}).get(name, "") for name in metrics]
                place = run.result.get("run_folder", run.run_folder() or "")
                parameters = [run.parameters.get(name, "") for name in self.parameters]
                writer.writerow([*parameters, run.state, *values, place, run.error])
        return path


class Sweep(Batch):
    """A sweep file or several seeds, and the folder that remembers how far it has come."""

    def __init__(
        self,
        config: dict[str, Any],
        folder: Path,
        *,
        max_runs: int | None = None,
        search_seed: int = 0,
        track: bool = False,
    ) -> None:
        """
        max_runs: at most so many. search_seed: of the search that chooses parameters.
        track: the runs keep `--track` and what belongs to it.
        """
        parameters = config["parameters"]
        super().__init__(folder, parameters, [name for name, values in parameters.items() if "value" not in values])
        self.config, self.search_seed, self.track = config, search_seed, track
        if "metric" in config:
            self.metric = config["metric"]["name"]
            self.maximize = config["metric"].get("goal") == "maximize"  # W&B's default is to minimize
        self.space = read_space(parameters)
        caps = [cap for cap in (max_runs, config.get("run_cap")) if cap is not None]
        self.max_runs: int | None = min(caps, default=None)
        self.exhausted = False
        """a Bayesian search found nothing that was not tried before"""

    def planned(self, whole: bool = False) -> list[Job]:
        """All runs of a grid or random search; of bayes those that it has chosen before, an error if `whole`.

        Raises:
            ConfigError: the search has no end, or no list of its runs.
        """
        method = self.config["method"]
        if method != "grid" and self.max_runs is None:
            raise ConfigError(f"`method` {method} has no end; say how many runs with `--max_runs` or `run_cap`.")
        if method == "bayes":
            if whole:
                raise ConfigError("`method` bayes chooses each run after those before it, so there is no list of them.")
            return self.chosen_before()
        runs = [self.new_run(parameters) for parameters in self.parameters_of_all()]
        return list({run.folder: run for run in runs}.values())  # a random search may draw the same twice

    def parameters_of_all(self) -> Iterable[dict[str, Any]]:
        if self.config["method"] == "grid":
            return itertools.islice(grid(self.space), self.max_runs)
        return [draw(self.space, self.search_seed, number) for number in range(self.max_runs or 0)]

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
        return Study(self.folder / STUDY, self.space, self.maximize, self.search_seed, about)

    def chosen_before(self) -> list[Job]:
        """The runs that the search has chosen in this folder, in their order; nothing is written.

        Raises:
            ConfigError: it cannot search here.
        """
        if not self.varied:
            raise ConfigError(
                "`method` bayes has nothing to search; give a parameter several `values` or a distribution."
            )
        require_optuna()
        if (self.folder / STUDY).exists():
            return [self.new_run(parameters) for parameters in self.study.tried()][: self.max_runs]
        if any(self.folder.glob("*/run.json")):
            raise ConfigError(f"{self.folder} has runs that another search has chosen; name another `--folder`.")
        return []

    def tell(self, runs: Sequence[Job]) -> None:
        """Let the search know the results."""
        for run in runs if self.config["method"] == "bayes" else ():
            value = run.result.get("metrics", {}).get(self.metric, math.nan)
            if math.isfinite(value):
                self.study.tell(run.parameters, value)

    def suggested(self, runs: Sequence[Job]) -> Job | None:
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

    def new_run(self, parameters: Mapping[str, Any]) -> Job:
        """A run of these parameters, in the order of the file; the same parameters have the same folder."""
        parameters = {name: parameters[name] for name in self.config["parameters"]}
        command = command_of(self.config, parameters)
        if not self.track:
            command = without_wandb(command)
        label = label_of(parameters, self.varied)
        folder = self.folder / f"{safe_name(label, 80)}~{digest_of(command)}"
        return Job(parameters, command, label, folder, self.config["program"])

    def fault_of(self, run: Job) -> str:
        return "" if run.state == "finished" or run.folder.name.endswith(digest_of(run.command)) else CHANGED

    def another(self, runs: list[Job]) -> Job | None:
        """What Bayesian search adds when there is room for another run."""
        if self.config["method"] != "bayes" or self.exhausted or len(runs) >= (self.max_runs or 0):
            return None
        found = self.suggested(runs)
        if found is None:
            print("there is nothing left to try", flush=True)
        return found


def label_of(parameters: Mapping[str, Any], names: Sequence[str]) -> str:
    """Those of the parameters that tell runs apart, in words."""
    return " ".join(f"{name}={parameters[name]}" for name in names if name in parameters)


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


def row_of(run: Job, method: Sequence[str]) -> str:
    """The label of its row; `method`: the parameters that make another one."""
    return label_of(run.parameters, method) or ("defaults" if method else "all seeds")


def made_unlike(finished: Sequence[Job], method: Sequence[str]) -> Iterable[str]:
    """Of runs that were told the same, but for the seed, and had other settings, as where a default has changed."""
    told: dict[str, list[Job]] = {}
    for run in finished:
        same = {name: value for name, value in run.parameters.items() if name not in ("seed", "experiment")}
        told.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    for group in told.values():
        label = row_of(group[0], method)
        args = [Run(Path(run.result["run_folder"]), events=False).args for run in group]
        settings = [experiment_settings(each) for each in args if each]
        if names := differences(settings):
            values = (
                f"{name} {' and '.join(dict.fromkeys(shown(each.get(name)) for each in settings))}" for name in names
            )
            yield f"the runs of `{label}` are of different settings: {', '.join(values)}"


def table(runs: Sequence[Job], method: Sequence[str], metric: str, maximize: bool) -> str:
    """One row per method (its parameters in `method`), best mean of the metric first."""
    rows: list[tuple[float, list[str]]] = []
    groups: dict[str, list[Job]] = {}
    for run in runs:
        groups.setdefault(row_of(run, method), []).append(run)
    for label, group in groups.items():
        found = [run.result["metrics"].get(metric, math.nan) for run in group if run.state == "finished"]
        values = [value for value in found if not math.isnan(value)]
        mean = statistics.fmean(values) if values else None
        numbers = [mean, min(values, default=None), max(values, default=None)]
        worst = -math.inf if maximize else math.inf
        rows.append(
            (worst if mean is None else mean, [label, f"{len(found)}/{len(group)}", *map(four_digits, numbers)])
        )
    rows.sort(key=lambda row: row[0], reverse=maximize)
    return format_table([["method", "finished", metric, "lowest", "highest"], *(row for _, row in rows)])
