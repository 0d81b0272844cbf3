"""Settings of methods: which methods a run has, with which settings, and whether they go together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Any, TypeVar

from torch import nn

from continual_hackatari.agents.actor_critic import not_drawn
from continual_hackatari.agents.errors import AgentError
from continual_hackatari.agents.own import is_own, shows_hidden_layers
from continual_hackatari.methods import all_methods
from continual_hackatari.methods.moments import Method, acts_at, moments_of
from continual_hackatari.training.config import ConfigError, Range, check_ranges, nearest, with_prefixed
from continual_hackatari.training.method_words import apart

ArgsT = TypeVar("ArgsT")

WORDS = {
    "build": "changes the network",
    "rows": "looks at what was played",
    "loss": "adds to the loss",
    "gradients": "changes gradients",
    "weights": "acts after every gradient step",
    "before_boundary": "acts at switches",
    "boundary": "acts at switches",
    "playing": "plays each task with some of the weights",
    "hidden": "looks at hidden layers",
    "fisher": "asks the agent for the terms of its Fisher information",
    "initialise": "draws weights as the agent does when it is made",
}
"""What a method does at a moment, or needs: for sentences."""
OF_SOME_SCRIPT = frozenset({*WORDS, "every"})
"""all that one script or another offers to methods"""


def settings_of(name: str, prefixed: Mapping[str, Any]) -> Any:
    """The settings of a method: those given as `<name>.<setting>`, the others as they are by default."""
    given = {key.partition(".")[2]: value for key, value in prefixed.items() if key.partition(".")[0] == name}
    return all_methods()[name].Settings(**given)


def changes_of_network(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What methods change of the network, and how what plays a task is chosen. chosen: their settings by name."""
    methods = {name: all_methods()[name] for name in chosen}
    changes = {k: v for name, settings in chosen.items() for k, v in methods[name].build(settings).items()}
    parts = [partial(method.playing, chosen[name]) for name, method in methods.items() if acts_at(method, "playing")]
    return {**changes, "parts": parts} if parts else changes


def changes_in_checkpoint(args: Mapping[str, Any]) -> dict[str, Any]:
    """The same of the methods with which a checkpoint was trained, whose `args` these are.

    Raises ConfigError where they name something that this version does not know.
    """
    methods, names = all_methods(), args.get("methods", [])
    try:
        settings = {name: settings_of(name, args if name in methods else {}) for name in names}
    except (KeyError, TypeError, AttributeError):
        raise ConfigError(
            f"the checkpoint was trained with `methods` {names}, which this version does not know"
        ) from None
    return changes_of_network(settings)


def complete_methods(args: ArgsT) -> ArgsT:
    """`args` with all settings of the methods that are on, so that a run's record holds them.

    Raises ConfigError for a method that is unknown or named twice, and for settings of one that is off.
    """
    names: Sequence[str] = args.methods  # type: ignore[attr-defined]
    given: Mapping[str, Any] = args.prefixed  # type: ignore[attr-defined]
    methods = all_methods()
    for name in names:
        if name not in methods:
            near = apart(" ".join(names), methods) or nearest(name, methods) or f"; there are {', '.join(methods)}"
            near = "; leave `methods` out for a run without any" if name == "none" else near
            raise ConfigError(f"`methods` names `{name}`, which is none{near}.")
        if names.count(name) > 1:
            raise ConfigError(f"`methods` names `{name}` twice; name it once.")
    for key in given:
        name = key.partition(".")[0]
        if name not in names:
            raise ConfigError(
                f"`{key}` is a setting of a method that is off: `methods` is {' '.join(names) or 'empty'}; add "
                f"`{name}` to it, or leave the setting out."
            )
    every = {f"{name}.{key}": value for name in names for key, value in vars(settings_of(name, given)).items()}
    return with_prefixed(args, every)


def check_methods(
    args: Any, offered: frozenset[str], script: str, refused: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Raise ConfigError for methods that cannot work together, with these settings or in this script.

    offered: the moments at which the script calls methods, and what else it has for them; see `Method.needs`. refused:
    methods that make no sense in it, each with why.
    """
    methods, chosen = all_methods(), args.chosen_methods
    if args.boundary not in ("schedule", "none") and args.boundary_every == 0:
        raise ConfigError(
            f"`boundary` is {args.boundary!r}; allowed are schedule, none, and every:STEPS, such as every:20000"
            f"{nearest(args.boundary, ('schedule', 'none', 'every:20000'))}."
        )
    if args.boundary_every and "every" not in offered:
        raise ConfigError(f"`boundary` {args.boundary}: {script} tells methods of switches only; leave it out.")
    for name in args.methods:
        if name in refused:
            raise ConfigError(f"`methods`: {name} {refused[name]}; leave it out.")
    for name in set(args.methods) & set(getattr(args, "earlier_methods", {})):
        raise ConfigError(f"`methods`: {name} is on already, by the flag that it had before; leave one of them out.")
    for name, settings in chosen.items():
        method = methods[name]
        check_settings_of(args, name, settings)
        moments = moments_of(method)
        missing = [each for each in (*moments, *sorted(method.needs)) if each not in offered]
        if missing:
            raise ConfigError(f"`methods`: {name} {WORDS[missing[0]]}, for which {script} has no place; leave it out.")
        if is_own(args.architecture) and {"build", "playing"} & {*moments}:
            raise ConfigError(f"`methods`: {name} changes networks of this project only, and not {args.architecture}.")
        if is_own(args.architecture) and "hidden" in method.needs and not shows_hidden_layers(args.architecture):
            raise ConfigError(f"`methods`: {name} looks at hidden layers, and {args.architecture} names none.")
        if args.boundary == "none" and needs_boundaries(method):
            raise ConfigError(
                f"`methods`: {name} needs to know where a task ends, and with `boundary` none it is told of no end; "
                f"leave `boundary` at schedule, or {name} out."
            )
        memories = [other for other in chosen if method.begins_anew and methods[other].remembers]
        clashes = dict.fromkeys(memories, "an agent that begins anew has nothing to remember") | {**method.not_with}
        for other, why in clashes.items():
            if other in chosen or other == args.architecture or getattr(args, other, False) is True:
                raise ConfigError(f"`{name}` and `{other}`: {why}; leave one of them out.")


def check_settings_of(args: Any, name: str, settings: Any) -> None:
    """Raise ConfigError for settings that a method does not allow, called as the user calls them."""
    method, names = all_methods()[name], names_of_settings(args, name, settings)
    ranges = {names[key]: Range(*limits) for key, limits in method.ranges.items()}
    check_ranges(SimpleNamespace(**{names[key]: value for key, value in vars(settings).items()}), ranges)
    try:
        method.check(settings, getattr(args, "learning_rate", 0.0))
    except AgentError as error:
        sentence = re.sub("`(\\w+)`", lambda found: f"`{names.get(found[1], found[1])}`", str(error))
        raise ConfigError(sentence) from None


def names_of_settings(args: Any, method: str, settings: Any) -> dict[str, str]:
    """What a user calls each of a method's settings: by the method's name, or by the flag that it had before."""
    earlier = args.earlier_flags[method] if method in getattr(args, "earlier_methods", {}) else {}
    return {key: f"{method}.{key}" for key in vars(settings)} | earlier


def late_notes(args: Any, steps: int) -> list[str]:
    """A line for every method that would act for the first time when a run of so many agent steps is over."""
    if args.gradient_steps is None:
        return []
    made, notes = args.gradient_steps * -(-steps // args.batch_size), []
    for name, settings in args.chosen_methods.items():
        setting, later = all_methods()[name].first_after or ("", 0)
        if setting and (given := getattr(settings, setting)) + later > made:
            shown = f"`{names_of_settings(args, name, settings)[setting]}` is {given:,} gradient steps"
            notes.append(f"note: {shown}, and this run makes at most {made:,}, so {name} will do nothing")
    return notes


def check_drawing(args: Any, build: Callable[[], nn.Module]) -> None:
    """Raise ConfigError where a method draws weights anew and an agent of somebody's own leaves some as they are.

    build: makes an untrained one.
    """
    drawing = [name for name, settings in args.chosen_methods.items() if all_methods()[name].draws_anew(settings)]
    if drawing and is_own(args.architecture) and (left := not_drawn(build())):
        raise ConfigError(
            f"`methods`: {drawing[0]} draws weights anew, and {args.architecture} leaves some as they are "
            f"({', '.join(left[:3])}{', ...' if left[3:] else ''}); give it an `initialise` of its own, which draws "
            f"these too, or leave {drawing[0]} out."
        )


def needs_boundaries(method: type[Method]) -> bool:
    """Whether what a method does begins, or happens, where a task ends."""
    return acts_at(method, "before_boundary") or acts_at(method, "boundary")


def with_methods_part(saved: dict[str, Any]) -> dict[str, Any]:
    """A saved state of an earlier version with the part `methods`, made of what it had instead."""
    if "methods" in saved:
        return saved
    units, own = saved.get("continual_backprop"), saved.get("generators", {}).get("own", {})
    parts = {}
    if units is not None:
        parts["continual_backprop"] = {"generator": units["generator"], "state": units}
    if "perturb" in own:
        parts["shrink_perturb"] = {"generator": own["perturb"], "state": {}}
    return {**saved, "methods": parts}
