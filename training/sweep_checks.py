"""What would end a run of a sweep or of a queue at its start, found before the first one starts.

Training scripts can be asked, other programs cannot. They load torch, which needs much memory, so another process does
it.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import shlex
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from continual_hackatari.reporting.groups import experiment_settings
from continual_hackatari.training.config import (
    ConfigError,
    all_type_hints,
    apply_values,
    as_plain_dict,
    is_hidden,
    nearest,
    sections_of,
    shown,
)
from continual_hackatari.training.method_words import setting_of
from continual_hackatari.training.queues import NO_FLAGS, Queue, flat_names, without_notes
from continual_hackatari.training.runner import Job
from continual_hackatari.training.script_files import is_training_script, load_script
from continual_hackatari.training.search import draw, examples
from continual_hackatari.training.sweeps import FILES, Batch, Sweep, flag_name, methods_of, text_of_config

if TYPE_CHECKING:
    from continual_hackatari.training.setup import Script

MAX_EXAMPLES = 2_000  # one takes about 0.05 s
MANY = 100
"""runs, whose check takes long enough to say what is going on"""


def check(batch: Batch, runs: Sequence[Job]) -> None:
    """Raise ConfigError for what would end one of these runs at its start, as one sentence."""
    if isinstance(batch, Queue):
        fault = check_queue(batch)
    else:
        assert isinstance(batch, Sweep)
        fault = check_commands(batch, runs)
    if fault:
        raise ConfigError(fault)


def in_another_process(function: Callable[..., str | None], number: int, *arguments: Any) -> str | None:
    """What `function` finds; `number` of runs that it looks at."""
    if number > MANY:
        print(f"checking {number:,} runs", file=sys.stderr, flush=True)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# ------------------------------------------------------------------------------------------------------------- sweeps


def check_commands(sweep: Sweep, runs: Sequence[Job]) -> str | None:
    """What is wrong with one of the commands of a sweep; None when all is well."""
    # A Bayesian search has no list of its runs: one that is drawn stands for them.
    runs = runs or [sweep.new_run(draw(sweep.space, sweep.search_seed, 0))]
    program = sweep.config["program"]
    if not is_training_script(program) or any(program not in run.command for run in runs):
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
    flags = [(run.parameters, run.command[run.command.index(program) + 1 :]) for run in runs]
    return in_another_process(first_fault, len(runs), program, flags, sweep.config["method"] == "grid")


def first_fault(program: str, runs: Sequence[tuple[dict[str, Any], list[str]]], distinct: bool = False) -> str | None:
    """See `check_commands`; `runs` are the parameters and the training flags of each.

    distinct: no two may come to the same settings: the same training twice is one sample, and would count as two.
    """
    seen: dict[str, str] = {}
    try:
        script = load_script(program)
    except ConfigError as error:
        return str(error)
    for parameters, flags in runs:
        for name, value in parameters.items():
            if isinstance(value, bool) and (fault := fault_of_switch(script.settings, name, value, flags)):
                return fault
        prepared, refused = settings_or_refusal(script, flags, f"of the run {shlex.join(flags)}")
        if refused:
            return refused
        settings = map(setting_of, methods_of(parameters))
        for name in also_in_file(flags, [*parameters, *filter(None, settings)]):
            return (
                f"a run is told `{name}`, but the config file holds it too and would win; remove it from one of them."
            )
        same = seen.setdefault(json.dumps(prepared, sort_keys=True), shlex.join(flags))
        if distinct and same != shlex.join(flags):
            return f"the runs {same} and {shlex.join(flags)} would be the same training twice; leave one of them out."
    return None


def fault_of_switch(settings: type, name: str, value: bool, flags: Sequence[str]) -> str:
    """What is wrong with a parameter that is true or false; empty where nothing is, or the training script says it.

    Of one that is false it cannot, as that passes no flag.
    """
    if f"--{name}={value}" in flags:
        return (
            f"`{name}` is {shown(value)}, which `command` passes as `--{name}={value}`, and flags that are on or off "
            "take no value; write `${args_no_boolean_flags}` in it, where `${args}` stands or would stand."
        )
    known = all_type_hints(settings)
    if not value and flag_name(name) not in known:
        return f"`{name}` is no flag of the training script{nearest(name, known)}."
    hint = known.get(flag_name(name))
    if not value and bool not in (hint, *typing.get_args(hint)):
        return f"`{name}` is false, which passes no flag, and it is none that is on or off; leave false out."
    if not value and default_of(settings, name) is True:
        return (
            f"`{name}` false would pass no flag, and without a flag it is on; "
            f"vary `no_{name}` instead, where true passes `--no_{name}`."
        )
    return ""


def default_of(settings: type, name: str) -> Any:
    """What a flag, or a setting of a method such as `ewc.normalise`, is by default; None: there is no such."""
    section, _, own = name.replace("-", "_").partition(".")
    return getattr(sections_of(settings).get(section), own, None) if own else getattr(settings, section, None)


def settings_or_refusal(script: Script[Any], flags: Sequence[str], whose: str) -> tuple[dict[str, Any], str]:
    """The settings that a run with these flags has, or why the training script does not take them."""
    from continual_hackatari.training.setup import USER_ERRORS, prepare

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return as_plain_dict(prepare(script, flags, tell=False).args), ""
    except USER_ERRORS as error:
        return {}, f"{error} ({whose})"
    except SystemExit:
        advice = "leave out what asks for its help."
        return {}, f"the training script would train nothing with {shlex.join(flags)}; {advice}"


def also_in_file(flags: Sequence[str], names: Iterable[str]) -> Iterable[str]:
    """Those of the names that the config file of these flags holds as well."""
    in_file = json.loads(text_of_config(flags) or "{}")
    held = {f"{name}.{own}" for name, value in in_file.items() if isinstance(value, dict) for own in value} | {*in_file}
    yield from (name for name in names if flag_name(name) in held)


# ------------------------------------------------------------------------------------------------------------- queues


def check_queue(queue: Queue) -> str | None:
    """What is wrong with one of the experiments; None when all is well."""
    asked = [
        Asked(number, queue.where(number), run.program, entry, run.command[2:], begun=bool(run.begun_with()))
        for number, (entry, run) in enumerate(zip(queue.experiments, queue.planned(), strict=True))
        if is_training_script(run.program)
    ]
    return in_another_process(first_faulty_experiment, len(asked), asked) if asked else None


class Asked(NamedTuple):
    """An experiment of a queue."""

    number: int
    where: str
    """what sentences call it"""
    program: str
    entry: dict[str, Any]
    """its object"""
    flags: list[str]
    """its command line"""
    begun: bool


def first_faulty_experiment(asked: Sequence[Asked]) -> str | None:
    """See `check_queue`.

    No two may be the same training with the same seed, however they say it: that is one sample, and would count as
    two. One that has begun so may go on.
    """
    scripts: dict[str, Script[Any]] = {}
    seen: dict[str, int] = {}
    for number, where, program, entry, flags, begun in asked:
        try:
            script = scripts[program] = scripts.get(program) or load_script(program)
            check_flags(script, entry, where)
        except ConfigError as error:
            return str(error)
        prepared, refused = settings_or_refusal(script, flags, where)
        if refused:
            return refused
        for name in also_in_file(flags, flat_names(without_notes(entry))):
            return f"`{name}` of {where} stands in its config file too, which would win; remove it from one of them."
        same = [str(Path(program).resolve()), prepared.get("seed"), experiment_settings(prepared)]
        same += [prepared.get(name) for name in FILES if name != "config"]  # whose content the others say
        first = seen.setdefault(json.dumps(same, sort_keys=True), number)
        if first != number and not begun:
            return f"{where} is the same as experiment {first}; leave it out, or give it another `seed`."
    return None


def check_flags(script: Script[Any], entry: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for names and values that are no flags of the script; its other checks come later."""
    from continual_hackatari.training.settings import GONE

    flags = {name: value for name, value in entry.items() if name not in (*NO_FLAGS, "config")}
    apply_values(script.settings(), flags, where, gone=GONE)
    for name in flags:
        if is_hidden(script.settings, name):
            raise ConfigError(
                f"`{name}` of {where} is no flag, but stands in a file of settings; write one and name it as `config`."
            )
