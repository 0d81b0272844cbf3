"""From the command line to a run that can start: settings are read, everything that a user can get wrong is checked.

Nothing is started or written here. A script says what is its own in a `Script`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from continual_hackatari.agents import AgentError
from continual_hackatari.agents.acceleration import choose_precision
from continual_hackatari.agents.mismatch import explain_mismatch
from continual_hackatari.agents.own import is_own
from continual_hackatari.methods import all_methods
from continual_hackatari.names import Task, parse
from continual_hackatari.reporting.plan import Plan
from continual_hackatari.reporting.rows import FINAL, PREVIOUS, RESUME, RunFolderError
from continual_hackatari.reporting.runs import Run as RunFolder
from continual_hackatari.schedules.arguments import ScheduleError, key_of
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.schedules.survey import regime_warning, steps_to_ask
from continual_hackatari.training.checkpoints import Checkpoint, load_checkpoint
from continual_hackatari.training.command_line import given_flags, parse_command_line
from continual_hackatari.training.config import (
    ConfigError,
    apply_config_file,
    as_plain_dict,
    check_not_empty,
    check_ranges,
    from_plain_dict,
)
from continual_hackatari.training.cost import cost_of_games, plan_continual_evaluation
from continual_hackatari.training.devices import choose_device, device_line
from continual_hackatari.training.game import choose_game
from continual_hackatari.training.method_settings import (
    OF_SOME_SCRIPT,
    check_drawing,
    check_methods,
    check_settings_of,
    complete_methods,
    late_notes,
    needs_boundaries,
    settings_of,
    with_methods_part,
)
from continual_hackatari.training.printing import say
from continual_hackatari.training.ranks import ALONE, Ranks
from continual_hackatari.training.resume import ResumeError, can_go_on, load_state, seals
from continual_hackatari.training.room import check_memories
from continual_hackatari.training.rules import reward_of, rules_of
from continual_hackatari.training.run_folder import folder_of_job, forget_job
from continual_hackatari.training.settings import GONE, RULES, Rule, RunSettings, changeable, check_values, ranges_of
from continual_hackatari.training.start import check_start, read_start
from continual_hackatari.training.strings import canonical_strings
from continual_hackatari.training.system import memory_of
from continual_hackatari.training.tracking import check_wandb
from continual_hackatari.training.versions import versions
from continual_hackatari.wrappers.backends import action_names, observation_layout
from continual_hackatari.wrappers.config import GameConfig, check_string, waiting_note
from continual_hackatari.wrappers.errors import GameError, ModificationError
from continual_hackatari.wrappers.processes import available_cores

ArgsT = TypeVar("ArgsT", bound=RunSettings)

USER_ERRORS = (AgentError, ConfigError, GameError, ModificationError, ResumeError, RunFolderError, ScheduleError)
"""What a user got wrong; the message is one sentence."""

REQUIRED = ("args", "machine", "counters", "agent", "generators", "envs", "tracker", "progress")
"""What every `resume.pt` holds, besides the parts of its script; see `Run.save`."""


@dataclass(frozen=True)
class Script(Generic[ArgsT]):
    """What a training script says of itself; all from `parts` on may be left out."""

    file: str
    """its `__file__`, for the commands that a user is told"""
    description: str
    """for --help"""
    settings: type[ArgsT]
    rules: Mapping[str, Rule]
    """of all of its settings"""
    build: Callable[[ArgsT, Sequence[int], int, torch.Generator], nn.Module]
    """(settings, shape of an observation, number of actions, generator): an untrained agent"""
    parts: Sequence[str] = ()
    """what of `Run.start` every state to go on from holds"""
    check: Callable[[ArgsT, Mapping[str, Any] | None, Ranks], None] = lambda args, saved, ranks: None
    """(settings, the state to go on from, this process among all): raises one of `USER_ERRORS` for what cannot work"""
    complete: Callable[[ArgsT, Sequence[str]], ArgsT] = lambda args, games: args
    """(settings, games that it trains on): the settings, with those that follow from the games"""
    notes: Callable[[ArgsT, Any], Sequence[str | None]] = lambda args, schedule: ()
    """(settings, schedule): lines for the user about the algorithm"""
    moments: frozenset[str] = frozenset()
    """at which it calls methods, and what else it has for them, see `methods/moments.py`"""
    refused: Mapping[str, str] = field(default_factory=dict)
    """methods for which it has these and which make no sense in it, each with why: the end of "ewc: ..." """
    memory: Callable[[ArgsT, GameConfig], tuple[int, str]] = lambda args, game: (0, "")
    """bytes that a process needs at least, besides the games, and the settings that make it less"""


@dataclass(frozen=True)
class Setup(Generic[ArgsT]):
    """A run that has passed every check; nothing is started or written yet."""

    script: Script[ArgsT]
    args: ArgsT
    schedule: Any
    total_timesteps: int
    game: GameConfig
    device: torch.device
    precision: torch.dtype
    saved: dict[str, Any] | None
    """With `resume`: the state to go on from."""
    ranks: Ranks
    """This process among those of torchrun, or alone."""
    plan: Plan | None
    """What is evaluated while it trains, if anything."""
    start: Checkpoint | None = None
    """With `start_from`: the agent with whose weights a new run begins."""

    @property
    def finished(self) -> bool:
        """With `resume`: the run has ended, there is nothing to go on with."""
        return bool(self.args.resume) and self.saved is None

    @property
    def games_per_rank(self) -> int:
        """Games that each process of the job plays."""
        return self.args.num_envs // self.ranks.size

    @property
    def workers_per_rank(self) -> int:
        """Processes that run the games of each process of the job."""
        own = self.args.num_workers
        return max(1, available_cores() // self.ranks.local_size) if own is None else own

    def modification_at(self, step: int) -> str:
        """What the schedule asks for at this step, as the games take it."""
        return str(self.schedule.get_modification(step))


def prepare(
    script: Script[ArgsT], argv: Sequence[str] | None, ranks: Ranks = ALONE, *, tell: bool = True
) -> Setup[ArgsT]:
    """Read the command line and the config file and check all of it; print what a user should know.

    tell: without it nothing is printed of what was found, and no game is played to know what evaluations cost.

    Raises:
        USER_ERRORS: one sentence; nothing was started or written.
    """
    args, saved = ranks.from_main(lambda: read_settings(script, argv, ranks))
    args, start = ranks.from_main(lambda: read_start(args))
    return ranks.main_first(lambda: check_settings(script, args, saved, ranks, start, tell=tell))


def read_settings(
    script: Script[ArgsT], argv: Sequence[str] | None, ranks: Ranks
) -> tuple[ArgsT, dict[str, Any] | None]:
    """The settings of a new run, or those and the state of the run to go on with; without one, of a finished run.

    Raises SystemExit(0) for a finished run that is asked for nothing.
    """
    saved: dict[str, Any] | None = None
    args = parse_command_line(script.settings, argv, description=script.description, gone=GONE)
    needed = {"resume": "the folder of a run", "start_from": "an agent"}  # else another run would begin
    check_not_empty(args, {name: needed[name] for name in needed.keys() & given_flags(script.settings, argv)})
    place = place_of_runs(args) if ranks.job else ""
    interrupted = folder_of_job(place, ranks.job) if ranks.restarts else None
    if ranks.job and not ranks.restarts:
        forget_job(place, ranks.job)
    if args.resume:
        args, saved, lines = settings_of_run(script, args.resume, argv)
    elif interrupted is not None and (can_go_on(interrupted) or (interrupted / FINAL).exists()):
        args, saved, lines = settings_of_run(script, str(interrupted), ["--resume", str(interrupted)])
        lines.insert(0, f"torchrun has started the job anew: it goes on in {interrupted}")
    else:
        given = given_flags(script.settings, argv)
        args, lines = apply_config_file(args, args.config, given, GONE) if args.config else (args, [])
        check_not_empty(args, {"runs_dir": "a folder"})
        args = replace(
            args,
            modification_digest=rules_of(args).digest or args.modification_digest,
            new_rf_digest=reward_of(args).digest or args.new_rf_digest,
        )
    args = complete_methods(args)
    if args.test_modifs == ("",):  # `--test_modifs ""` takes back what a file or a template names
        args = replace(args, test_modifs=())
    if lines:
        say("\n".join(lines))
    if args.resume and saved is None and not args.test_modifs:
        raise SystemExit(0)
    return args, saved


def place_of_runs(args: RunSettings) -> str:
    """`runs_dir`, which the config file may say."""
    with contextlib.suppress(ConfigError):  # said where the file is read for a run
        args = apply_config_file(args, args.config, gone=GONE)[0] if args.config else args
    return args.runs_dir


def check_settings(
    script: Script[ArgsT],
    args: ArgsT,
    saved: dict[str, Any] | None,
    ranks: Ranks,
    start: Checkpoint | None = None,
    *,
    tell: bool = True,
) -> Setup[ArgsT]:
    """Check everything that a user can get wrong; `prepare` after the settings are read."""
    before = from_plain_dict(script.settings, saved["args"]) if saved is not None else args if args.resume else None
    check_values(args, script.rules, before)
    if not ranks.alone or saved is not None:
        check_ranks(args, saved, ranks)
    own = of_one_process(args, ranks.size)
    check_methods(own, script.moments, Path(script.file).name, script.refused)
    check_memories(own)
    script.check(args, saved, ranks)
    device = choose_device(args.device, args.cuda, ranks)
    game, notes = choose_game(args)
    args = replace(args, **game.chosen)  # what the defaults stand for, so that a checkpoint says it
    build = functools.partial(script.build, args)
    check_drawing(args, lambda: build(observation_layout(game)[0], len(action_names(game)), torch.Generator()))
    if saved is not None and is_own(args.architecture):  # its file may have been changed since
        network = build(observation_layout(game)[0], len(action_names(game)), torch.Generator())
        if problem := explain_mismatch(network, saved["agent"]):
            raise ResumeError(
                f"`resume`: {args.architecture} is not the network that was saved, put it back: {problem}"
            )
    if start is not None:
        notes.append(check_start(args, start, game, lambda shape, number: build(shape, number, torch.Generator())))
    schedule, strings, lines = choose_schedule(args, game)
    notes += lines
    played = games_of(strings, game)
    if len(played) > 1 and args.switch_mode == "live":
        raise ConfigError(
            f"`switch_mode` live changes games in their middle, and this run plays {len(played)} games, "
            f"{' and '.join(played[:2])} among them; choose reset or episode"
        )
    args = script.complete(args, played)
    if len(played) > 1 and getattr(args, "reward_scaling", "") == "clip":
        note = f"note: {len(played)} games have points of different sizes, so of a reward only its sign counts"
        notes.append(f"{note} (`--reward_scaling`)")
    total_timesteps = args.total_timesteps or schedule.num_total_steps
    if args.switch_mode == "live":
        notes += filter(None, [waiting_note(game, strings)])
    tests, of_tests = canonical_strings("test_modifs", args.test_modifs, game)
    notes += of_tests
    evaluated_games = args.eval_episodes * len(tests)
    plan: Plan | None = None
    if args.evaluates_continually:
        regimes = schedule.segments(0, total_timesteps)
        plan, games, lines = plan_continual_evaluation(args, saved is not None, regimes, strings, total_timesteps, game)
        evaluated_games += games
        notes += lines
    if args.save_agent_every:
        number = min(total_timesteps // args.save_agent_every, -(-total_timesteps // args.batch_size))
        notes.append(f"agents saved on the way: {number:,} (`save_agent_every`)")
    notes += filter(None, [regime_warning(schedule, args.num_envs, args.total_timesteps, args.switch_mode)])
    notes += filter(None, [idle_note(args, script.rules, schedule), *script.notes(args, schedule)])
    notes += late_notes(args, total_timesteps)

    notes.append(device_line("training", device, args.device, args.cuda))
    precision, line = choose_precision(args.amp, device)
    notes.append(line)
    # What `auto` chose holds for the whole run, on whatever machine it goes on.
    args = replace(args, amp="off" if precision == torch.float32 else "bf16")
    check_memory(*script.memory(own, game), device)
    if args.torch_deterministic:
        torch.backends.cudnn.deterministic = True
    if args.track and ranks.is_main:
        check_wandb()
    if saved is not None:
        notes += what_is_not_exact(saved, device)
    elif evaluated_games and ranks.is_main and tell:
        notes.append(cost_of_games(evaluated_games, game, args.agent_name, build))
    if not ranks.alone:
        notes.append(f"{ranks.size} processes of torchrun, {args.num_envs // ranks.size} games each")
    setup = Setup(script, args, schedule, total_timesteps, game, device, precision, saved, ranks, plan, start)
    if setup.finished:  # all else is about training
        notes = of_tests
    if tell and notes:
        say("\n".join(dict.fromkeys(notes)))
    return setup


def choose_schedule(args: RunSettings, game: GameConfig) -> tuple[Any, list[str], list[str]]:
    """The schedule of these settings, the strings that it may ask for, as the games take them, and lines about them.

    Raises:
        ScheduleError: a class or an argument of it is wrong.
        ModificationError: the game cannot play a name; it says where that stands.
    """
    has_schedule, kwargs = bool(args.modification_factory), args.modification_factory_kwargs
    schedule = schedule_from_config(
        {"modification_factory": args.modification_factory, "modification_factory_kwargs": kwargs},
        seed=args.seed,
        total_timesteps=args.total_timesteps or (None if has_schedule else 10_000_000),
        modifs=args.modifs,
    )
    strings = schedule.possible_modifications()

    def place_of(task: Task) -> str:
        keys = (key_of(kwargs, each, "modification_factory_kwargs") for each in (str(task), *task.names, task.game))
        return next(filter(None, keys), "modification_factory") if has_schedule else "modifs"

    # One by one, so that an error names no more than what is wrong.
    single = (Task(of, names[i : i + 1]) for of, names in map(parse, strings) for i in range(len(names) or 1))
    for task in dict.fromkeys(single):
        check_string(game, str(task), place_of(task))
    checked = [check_string(game, string, place_of(parse(string))) for string in strings]
    schedule.rewrite(written_in(game))
    return schedule, [string for string, _ in checked], [line for _, lines in checked for line in lines]


def written_in(game: GameConfig) -> Callable[[str], str]:
    """How this game writes a task string; remembered, because a schedule of a user's own is asked for every step."""
    return functools.lru_cache(maxsize=4096)(lambda string: check_string(game, string)[0])


def games_of(strings: Sequence[str], game: GameConfig) -> list[str]:
    """The games of these task strings."""
    return list(dict.fromkeys(parse(string).game or game.game for string in strings))


def check_file(path: str | Path, flags: Mapping[str, Any]) -> tuple[list[str], Callable[[str], str], list[str]]:
    """Check keys and names of a config file as a run with it and these flags would, whatever its other flags.

    Returns lines for the user, how the game of this file writes a task string, and the settings that not every script
    has, as the file may be of any: a line says that these are not checked.

    Raises:
        USER_ERRORS: one sentence.
    """
    foreign: list[str] = []
    args, _ = apply_config_file(RunSettings(**flags), path, gone=GONE, foreign=foreign)
    check_ranges(args, ranges_of(RULES))
    # A flag of the run may switch on methods that have settings here.
    for name in {key.partition(".")[0] for key in args.prefixed} - {*args.methods}:
        check_settings_of(args, name, settings_of(name, args.prefixed))
    args = replace(args, prefixed={k: v for k, v in args.prefixed.items() if k.partition(".")[0] in args.methods})
    check_methods(complete_methods(args), OF_SOME_SCRIPT, "no script")
    game, notes = choose_game(args)
    notes += choose_schedule(args, game)[2]
    for name in ("eval_modifs", "held_out_modifs", "test_modifs"):
        notes += canonical_strings(name, getattr(args, name), game)[1]
    if foreign:
        notes.append(f"not checked here, as only the training script knows them: {', '.join(foreign)}")
    return list(dict.fromkeys(notes)), written_in(game), foreign


def check_ranks(args: RunSettings, saved: dict[str, Any] | None, ranks: Ranks) -> None:
    """Raise ConfigError or ResumeError unless this number of processes can do what is asked for."""
    size = ranks.size
    before = 1 if saved is None else 1 + len(saved.get("other_ranks", []))
    if saved is not None and before != size:
        start = "without torchrun" if before == 1 else f"with torchrun and {before} processes"
        raise ResumeError(
            f"`resume`: the run in `{args.resume}` is one of {before} process{'es' * (before > 1)} and this job has "
            f"{size}; start it {start}"
        )
    if args.num_envs % size:
        raise ConfigError(
            f"`num_envs` {args.num_envs} games cannot be shared equally among the {size} processes of torchrun; choose "
            f"a multiple of {size}"
        )


def of_one_process(args: ArgsT, size: int) -> ArgsT:
    """The settings with the share that one of so many processes has of what they have together."""
    shared: dict[str, Any] = {"num_envs": args.num_envs // size}
    if hasattr(args, "replay_mb"):
        shared["replay_mb"] = args.replay_mb / size
    return replace(args, **shared)


def check_memory(needed: int, remedy: str, device: torch.device) -> None:
    """Raise ConfigError for a run that cannot fit the memory, instead of the crash in which it would end."""
    present = memory_of(str(device))
    if present is not None and needed > present:
        raise ConfigError(
            f"the run needs at least {needed / 2**30:,.0f} GiB of memory for its rollouts and its network, but there "
            f"are {present / 2**30:,.0f}; choose smaller {remedy}"
        )


def settings_of_run(
    script: Script[ArgsT], folder: str, argv: Sequence[str] | None
) -> tuple[ArgsT, dict[str, Any] | None, list[str]]:
    """The settings of a stopped run with the changes of the command line, its state, and lines for the user.

    Of a finished run that is not to be made longer the state is None, and `test_modifs` what is asked for now.

    Raises:
        ResumeError: the folder holds nothing to go on from.
        CheckpointError: the agent of a finished run cannot be read.
        ConfigError: a flag would change what has been learned already.
    """
    allowed = changeable(script.rules)
    saved: dict[str, Any] | None = None
    lines: list[str] = []
    check_script(script, folder)
    if can_go_on(folder) or not (Path(folder) / FINAL).exists():
        ends = seals(folder)  # before they are read: another process may still write new ones
        saved, lines = load_state(folder)
        saved = {**with_methods_part(saved), "seals": ends}
        missing = [name for name in (*REQUIRED, *script.parts) if name not in saved]
        if missing:
            raise ResumeError(
                f"`resume`: the {RESUME} of `{folder}` lacks `{missing[0]}`: it was not written by a run of "
                f"{Path(script.file).name}"
            )
        before, step = from_plain_dict(script.settings, saved["args"], GONE), saved["counters"]["global_step"]
    else:
        final = load_checkpoint(Path(folder) / FINAL)
        step = final.global_step or 0
        try:
            before = from_plain_dict(script.settings, final.args, GONE)
        except ConfigError as error:
            raise ConfigError(f"the run in `{folder}` is finished, after {step:,} steps; {error}") from None
    args = parse_command_line(script.settings, argv, description=script.description, default=before)
    if args.amp == "auto":  # has chosen already
        args = replace(args, amp=before.amp)
    now = as_plain_dict(args)
    for name, old in as_plain_dict(before).items():
        new = now[name]
        if name != "resume" and new != old:
            if name not in allowed and not (saved is not None and may_extend(name, args, saved)):
                raise ConfigError(
                    f"`{name}` cannot change in a run that goes on: it was {old!r} and is {new!r} now; with `--resume` "
                    f"leave it out (these may change: {', '.join(allowed)})"
                )
            lines.append(f"--resume changes {name}: {old!r} -> {new!r}")
    # Only a run that ended, all of it, has removed the state before the last one.
    ended = saved is None or ((Path(folder) / FINAL).exists() and not (Path(folder) / PREVIOUS).exists())
    if ended and args.total_timesteps == before.total_timesteps:
        asked = parse_command_line(
            script.settings, argv, description=script.description, default=replace(before, test_modifs=())
        ).test_modifs
        line = f"the run in `{folder}` is finished, after {step:,} steps"
        line += "" if asked else " (`--test_modifs` would evaluate its agent)"
        return replace(args, test_modifs=asked), None, [line]
    return args, saved, lines


def check_script(script: Script[Any], folder: str) -> None:
    """Raise ResumeError for a run of another script, which is still there to go on with it."""
    run, name = RunFolder(Path(folder), events=False), Path(script.file).name
    if run.script and Path(run.script).name != name:
        raise ResumeError(
            f"`resume`: the run in `{folder}` is one of {Path(run.script).name}, and {name} cannot go on with it; type "
            f"`{run.resume_command}`"
        )


def may_extend(name: str, args: RunSettings, saved: dict[str, Any]) -> bool:
    """Whether this is a new `total_timesteps`, and nothing that was computed depends on it."""
    longer = (args.total_timesteps or 0) >= saved["counters"]["global_step"]
    return name == "total_timesteps" and not args.has_fixed_length and longer


def what_is_not_exact(saved: dict[str, Any], device: torch.device) -> list[str]:
    """A line for everything that keeps a continued run from being the uninterrupted one, bit for bit."""
    now = machine(device)
    return [
        f"note: the run was saved with {name} {old} and goes on with {now[name]}: the same run, but perhaps not bit "
        "for bit"
        for name, old in saved["machine"].items()
        if now.get(name, old) != old  # states of earlier versions say less
    ]


def machine(device: torch.device) -> dict[str, Any]:
    """What a run's numbers depend on besides the settings."""
    now = {"device": device.type, "threads": torch.get_num_threads()}
    if device.type == "cuda":
        now["GPU"] = torch.cuda.get_device_name(device)
    now["instructions"] = torch.backends.cpu.get_cpu_capability()  # of the processor, for which kernels are chosen
    return {**now, **loaded_versions(), "torch": str(torch.__version__)}


@functools.cache
def loaded_versions() -> dict[str, str]:
    """The versions that this process began with; files may change while it runs."""
    return versions()


def idle_note(args: RunSettings, rules: Mapping[str, Rule], schedule: Any) -> str | None:
    """A line about what is to happen at switches, in a run that has none, and of a `boundary` for nobody."""
    # No fault: runs with and without such methods are compared, and have the same flags then.
    if args.boundary != "schedule" and not any(needs_boundaries(all_methods()[name]) for name in args.chosen_methods):
        return f"note: no method of this run acts where a task ends, so `boundary` {args.boundary} will do nothing"
    steps = args.total_timesteps or schedule.num_total_steps
    if args.boundary_every >= steps:
        return f"note: a run of {steps:,} steps is over before `boundary` {args.boundary}, so it will do nothing"
    if 0 < args.boundary_every < args.batch_size:
        return f"note: `boundary` {args.boundary} falls on the borders of rollouts, which are {args.batch_size:,} steps"
    acting = [one for one in fields(args) if one.name in rules and rules[one.name].at_switches]
    given = [f"`{one.name}`" for one in acting if getattr(args, one.name) != one.default]
    if args.boundary == "schedule":
        given += [f"`methods` {name}" for name in args.methods if needs_boundaries(all_methods()[name])]
    # Not all of them: there may be millions, and some thousand of one string mean that there is no other.
    segments = islice(schedule.segments(0, steps_to_ask(schedule, args.total_timesteps)), 1000)
    if not given or len({string for *_, string in segments}) > 1:
        return None
    return f"note: nothing switches in this run, so {', '.join(given)} will do nothing"
