"""The command that previews a schedule, `python modification_factories.py FILE`, and converts one of the original."""

import argparse
import itertools
import json
import math
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from continual_hackatari.names import UNMODIFIED
from continual_hackatari.schedules.arguments import ScheduleError, checked_int, nearest, shown
from continual_hackatari.schedules.base import Schedule, Segment
from continual_hackatari.schedules.factories import load_config, schedule_from_config
from continual_hackatari.schedules.original import convert_original
from continual_hackatari.schedules.survey import Survey, as_asked, survey_of, warning_text


class _Preview(NamedTuple):
    """What the command shows: the file, its schedule, and the settings that a run with this file would have."""

    title: str
    factory: Schedule
    stop: int  # steps of the run
    seed: int
    num_envs: int
    num_steps: int
    switch_mode: str


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STRIP_WIDTH = 72  # columns of the timeline
_LISTED = 12


def _name(modification: str, width: int = 60) -> str:
    name = modification or UNMODIFIED
    return name if len(name) <= width else name[: width - 3] + "..."


def _phase_lines(factory: Schedule, offset: int, number: str) -> Iterator[str]:
    for position, phase in enumerate(factory.phases, start=1):
        label = f"{number}{position}"
        start, stop = offset + phase.start, offset + phase.stop
        yield f"  {label:<6}{start:>13,} .. {stop - 1:>13,}   {phase.factory.label}"
        yield from _phase_lines(phase.factory, start, f"{label}.")


def _summary_lines(preview: _Preview, survey: Survey) -> Iterator[str]:
    factory, num_envs = preview.factory, preview.num_envs
    rollout = num_envs * preview.num_steps
    lengths = [stop - start for start, stop, _ in survey.regimes]
    about = "" if survey.complete else "about "
    count = len(lengths) if survey.complete else max(1, round(preview.stop / survey.mean_length))
    yield f"{preview.title}: {factory.label}, seed {preview.seed}"
    part = "" if preview.stop == factory.num_total_steps else f" (of {factory.num_total_steps:,} in the schedule)"
    yield (
        f"Run of {preview.stop:,} steps{part}: {num_envs} games, {preview.stop / num_envs:,.0f} steps per game,"
        f" {math.ceil(preview.stop / rollout):,} rollouts of {rollout:,}"
    )
    if factory.phases:
        yield "\nPhases (first .. last step)"
        yield from _phase_lines(factory, 0, "")
    yield "\nRegimes" if survey.complete else f"\nRegimes (estimated from samples that cover {sum(lengths):,} steps)"
    unseen = f" ({survey.num_scheduled - 1:,} when every step is asked, a run asks every {num_envs})"
    yield f"  switches      {about}{count - 1:,}" + (unseen if survey.num_scheduled > count else "")
    for label, length in (("mean", survey.mean_length), ("shortest", min(lengths)), ("longest", max(lengths))):
        yield f"  {label:<12}{length:>14,.0f} steps = {length / num_envs:>12,.1f} per game"


def _share_lines(survey: Survey, letters: Mapping[str, str]) -> Iterator[str]:
    yield "\nShare of the steps" + ("" if survey.complete else " (estimated)")
    shown = list(letters)[: len(_LETTERS)]
    for modification in shown:
        share = survey.shares[modification]
        bar = "#" * round(24 * share)
        yield f"  {letters[modification]}  {_name(modification, 48):<48} {share:>6.1%} {bar}".rstrip()
    if len(letters) > len(shown):
        rest = sum(survey.shares[modification] for modification in list(letters)[len(shown) :])
        yield f"  *  {f'{len(letters) - len(shown):,} further modifications':<48} {rest:>6.1%}"


def _timeline_lines(preview: _Preview, letters: Mapping[str, str]) -> Iterator[str]:
    """One letter per column: what is played at the column's first step."""
    width = min(_STRIP_WIDTH, preview.stop)
    firsts = [column * preview.stop // width // preview.num_envs * preview.num_envs for column in range(width)]
    strip = "".join(letters.get(preview.factory.get_modification(step), "*") for step in firsts)
    yield f"\nTimeline (a column is {preview.stop / width:,.0f} steps, its letter what is played where it begins)"
    yield f"  |{strip}|"
    yield f"   0{preview.stop:>{max(width - 1, 1)},}"


def _preview_lines(preview: _Preview, every: int | None) -> Iterator[str]:
    survey = survey_of(preview.factory, preview.stop, preview.num_envs)
    letters = dict(zip(survey.shares, itertools.chain(_LETTERS, itertools.repeat("*")), strict=False))
    yield from _summary_lines(preview, survey)
    yield from _share_lines(survey, letters)
    yield from _timeline_lines(preview, letters)
    if every is not None:
        yield f"\nEvery {every:,} steps"
        for step in range(0, preview.stop, every):
            yield f"{step:>14,}  {_name(preview.factory.get_modification(step), 200)}"
    else:
        yield "\nFirst regimes (step where it begins, modification); all steps: --every N"
        first = list(
            itertools.islice(as_asked(preview.factory.segments(0, preview.stop), preview.num_envs), _LISTED + 1)
        )
        for start, _, modification in first[:_LISTED]:
            yield f"{start:>14,}  {_name(modification, 80)}"
        if len(first) > _LISTED:
            yield f"{'...':>14}"
    warning = warning_text(survey, preview.num_envs, preview.switch_mode)
    if warning:
        yield "\n" + textwrap.fill(f"warning: {warning}", width=96)


_PICTURES = (".png", ".pdf", ".svg")


def _checked_picture(path: str) -> Path:
    target = Path(path)
    if target.suffix.lower() not in _PICTURES:
        raise ScheduleError(f"`plot` must end in {', '.join(_PICTURES[:-1])} or {_PICTURES[-1]}, got {shown(path)}.")
    if target.is_dir() or not target.parent.is_dir():
        problem = "is a folder itself" if target.is_dir() else "lies in a folder that does not exist"
        raise ScheduleError(f"`plot` must be a file in a folder that exists, but {shown(path)} {problem}.")
    return target


def _leaf_phases(factory: Schedule, stop: int, offset: int = 0, number: str = "") -> Iterator[Segment]:
    """Yield the innermost phases before `stop` with the numbers that the preview gives them."""
    for position, phase in enumerate(factory.phases, start=1):
        start, end = offset + phase.start, min(offset + phase.stop, stop)
        if start < end and phase.factory.phases:
            yield from _leaf_phases(phase.factory, stop, start, f"{number}{position}.")
        elif start < end:
            yield start, end, f"{number}{position} {phase.factory.label.removesuffix('ModificationFactory')}"


def _plot(preview: _Preview, target: Path) -> None:
    """Draw the schedule as a run sees it; ScheduleError if the file cannot be written."""
    from continual_hackatari.schedules import (
        plot,  # loads matplotlib, which takes half a second and is needed here only
    )

    survey = survey_of(preview.factory, preview.stop, preview.num_envs)
    about = "" if survey.complete else "about "
    count = len(survey.regimes) if survey.complete else max(1, round(preview.stop / survey.mean_length))
    timeline = plot.Timeline(
        title=f"{preview.title}: {preview.factory.label}, seed {preview.seed}",
        subtitle=f"{preview.stop:,} steps in {preview.num_envs} games, {about}{count - 1:,} switches,"
        f" {survey.mean_length:,.0f} steps per regime on average",
        regimes=[(start, stop, name or UNMODIFIED) for start, stop, name in survey.regimes],
        sampled=not survey.complete,
        phases=list(_leaf_phases(preview.factory, preview.stop)),
        stop=preview.stop,
    )
    try:
        plot.draw(target, timeline)
    except OSError as error:
        raise ScheduleError(f"`plot` {shown(str(target))} cannot be written: {error.strerror or error}.") from None


class _Parser(argparse.ArgumentParser):
    """A wrong option is one sentence, as everything else that is wrong."""

    def error(self, message: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        unknown = message.partition("unrecognized arguments: ")[2].split("=")[0].split()
        near = nearest(unknown[0], known) if unknown else ""
        raise ScheduleError(f"{message}; --help lists the options.{near}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="modification_factories.py", allow_abbrev=False, description="Preview the schedule of a run's JSON file."
    )
    parser.add_argument("config", help="JSON file with modification_factory and modification_factory_kwargs")
    parser.add_argument("--every", type=int, metavar="N", help="print the modification of every N-th step")
    parser.add_argument("--plot", metavar="FILE", help="also draw the schedule (.png, .pdf or .svg)")
    in_training = "as in training, if not in the JSON file"
    parser.add_argument("--modification_file", "--modification-file", metavar="FILE", help=in_training)
    parser.add_argument("--env_id", "--env-id", metavar="ID", help=in_training)
    parser.add_argument(
        "--full_action_space", "--full-action-space", action="store_true", default=None, help=in_training
    )
    parser.add_argument("--total_timesteps", "--total-timesteps", type=float, metavar="N", help=in_training)
    parser.add_argument("--seed", type=int, help="seed of the run (default 42)")
    parser.add_argument("--num_envs", "--num-envs", type=int, help="games (default 8; 1 with --from_original)")
    parser.add_argument("--num_steps", "--num-steps", type=int, help="steps per game and rollout (default 128)")
    parser.add_argument(
        "--from_original",
        "--from-original",
        action="store_true",
        help="convert a file of the original system, whose num_repetitions counted rollouts; prints the new JSON",
    )
    return parser


_OF_THE_GAME = ("modification_file", "env_id", "full_action_space")


def _settings(path: str, config: Mapping[str, Any], options: argparse.Namespace, notes: Any) -> dict[str, Any]:
    """Return what command line and file say: defaults < command line < JSON, as in training; say what is overridden."""
    minima = {"total_timesteps": 1, "seed": 0, "num_envs": 1, "num_steps": 1}
    settings: dict[str, Any] = {"seed": 42, "num_envs": 1 if options.from_original else 8, "num_steps": 128}
    settings |= dict.fromkeys(("total_timesteps", *_OF_THE_GAME))

    def checked(name: str, value: Any) -> Any:
        free = name not in minima or (name, value) == ("total_timesteps", None)
        return value if free else checked_int(name, value, minima[name])

    for name in settings:
        asked = getattr(options, name)
        if asked is not None:
            settings[name] = asked = checked(name, asked)
        if name in config:
            settings[name] = checked(name, config[name])
            if asked not in (None, settings[name]):
                print(f"warning: {Path(path).name} overrides --{name}: {asked} -> {settings[name]}", file=notes)
    return settings


def _print_converted(config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    name = config.get("modification_factory")
    if name in (None, ""):
        raise ScheduleError("there is no `modification_factory` to convert.")
    rollout = settings["num_envs"] * settings["num_steps"]
    converted = dict(config)
    if "modification_factory_kwargs" in config:
        converted["modification_factory_kwargs"] = convert_original(
            name, config["modification_factory_kwargs"], rollout
        )
    schedule_from_config(converted, seed=settings["seed"], total_timesteps=settings["total_timesteps"])
    print(json.dumps(converted, indent=4))
    print(
        f"Holds were counted in rollouts of num_envs {settings['num_envs']} x num_steps {settings['num_steps']} ="
        f" {rollout:,} steps; totals and thresholds were steps already. All other keys are copied.",
        file=sys.stderr,
    )


Checked = tuple[Sequence[str], Callable[[str], str], Mapping[str, int]]
"""Lines about what else is in a file, what is for `Schedule.rewrite`, and `num_envs` and `num_steps` as the training
script of the file has them by default."""
Check = Callable[[str, Mapping[str, Any]], Checked]
"""(a JSON file, what flags say of the run) -> what is known of it."""


def _not_checked(path: str, flags: Mapping[str, Any]) -> Checked:
    """Schedules need neither the keys of a training nor the names of a game, so who knows these hands in a check."""
    return [], str, {}


def _run_command(options: argparse.Namespace, check: Check) -> None:
    config = load_config(options.config)
    settings = _settings(options.config, config, options, sys.stderr if options.from_original else sys.stdout)
    if options.every is not None:
        checked_int("every", options.every, minimum=1)
    target = None if options.plot is None else _checked_picture(options.plot)
    if options.from_original:
        for name in ("every", "plot"):
            if getattr(options, name) is not None:
                raise ScheduleError(f"`--{name}` previews and `--from_original` converts: give one of them.")
        _print_converted(config, settings)
        return
    total_timesteps = settings["total_timesteps"]
    factory = schedule_from_config(
        config, seed=settings["seed"], total_timesteps=total_timesteps, modifs=config.get("modifs", "")
    )
    flags = {name: settings[name] for name in ("total_timesteps", *_OF_THE_GAME) if settings[name] is not None}
    notes, form, rollout = check(options.config, flags)
    settings |= {name: n for name, n in rollout.items() if name not in config and getattr(options, name) is None}
    factory.rewrite(form)
    preview = _Preview(
        title=Path(options.config).name,
        factory=factory,
        stop=factory.num_total_steps if total_timesteps is None else total_timesteps,
        switch_mode=config.get("switch_mode", "reset"),
        **{name: settings[name] for name in ("seed", "num_envs", "num_steps")},
    )
    for line in [*notes, *_preview_lines(preview, options.every)]:
        print(line)
    if target is not None:
        _plot(preview, target)
        print(f"\nplot: {target}")


def _one_line(text: str, limit: int = 1000) -> str:
    """`text`, in which there may be anything from the file, on one line that a terminal shows as it is."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    half = limit // 2 - 3
    return text if len(text) <= limit else f"{text[:half]} ... {text[-half:]}"


def main(argv: Sequence[str] | None = None, check: Check = _not_checked) -> int:
    """Run the preview command; return its exit code, 2 for anything wrong in the file or the options.

    check: of the names of the game and the keys of a training, see `Check`; it may raise ScheduleError.
    """
    try:
        _run_command(_parser().parse_args(argv), check)
        sys.stdout.flush()
    except ScheduleError as error:
        print(f"error: {_one_line(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, e.g. `head`, has seen enough; Python would complain again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
