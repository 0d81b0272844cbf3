"""What a sweep tries: the `parameters` of a W&B sweep file, and grid, random and Bayesian search over them.

The file format is W&B's (https://docs.wandb.ai/guides/sweeps/sweep-config-keys): every parameter has one fixed `value`,
a list of `values`, or a distribution. Grid and random search hand out the same runs in the same order as W&B's own
library does, `sweeps` 0.3. Bayesian search is Optuna's, an optional package.
"""

from __future__ import annotations

import bisect
import contextlib
import fcntl
import itertools
import json
import math
import numbers
import random
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from continual_hackatari.training.config import ConfigError, nearest, shown

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
REQUIRED = object()
LIMITS = {"min": REQUIRED, "max": REQUIRED}
QUANTUM = {"q": 1.0}
BELL = {"mu": 0.0, "sigma": 1.0}
BETA = {"a": 1.0, "b": 1.0}
DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "constant": {"value": REQUIRED},
    "categorical": {"values": REQUIRED},
    "categorical_w_probabilities": {"values": REQUIRED, "probabilities": REQUIRED},
    "int_uniform": LIMITS,
    "uniform": LIMITS,
    "q_uniform": LIMITS | QUANTUM,
    "log_uniform_values": LIMITS,
    "inv_log_uniform_values": LIMITS,
    "q_log_uniform_values": LIMITS | QUANTUM,
    "normal": BELL,
    "q_normal": BELL | QUANTUM,
    "log_normal": BELL,
    "q_log_normal": BELL | QUANTUM,
    "beta": BETA,
    "q_beta": BETA | QUANTUM,
}
"""The settings of each distribution, with W&B's defaults. `q` rounds to its multiples."""
POSITIVE = ("q", "sigma", "a", "b")
LARGEST_GRID = 1_000_000
ATTEMPTS = 100
FEW = 100
TAIL = 1e-4
"""What a Bayesian search leaves out at either end of a distribution that may have no end."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a sweep: its distribution and the settings of that."""

    name: str
    distribution: str
    settings: Mapping[str, Any]

    def quantile(self, u: float) -> Any:
        """The value below which a share `u` of the distribution lies, 0 < u < 1; of lists in the order of the list."""
        settings = self.settings
        if self.distribution == "constant":
            return settings["value"]
        if self.distribution == "categorical":
            return settings["values"][min(int(u * len(settings["values"])), len(settings["values"]) - 1)]
        if self.distribution == "categorical_w_probabilities":
            place = bisect.bisect_right(list(itertools.accumulate(settings["probabilities"])), u)
            return settings["values"][min(place, len(settings["values"]) - 1)]
        if self.distribution == "int_uniform":
            count = settings["max"] - settings["min"] + 1
            return settings["min"] + min(int(u * count), count - 1)
        value = self._continuous(u)
        return round(value / settings["q"]) * settings["q"] if "q" in settings else value

    def _continuous(self, u: float) -> float:
        settings, kind = self.settings, self.distribution.removeprefix("q_")
        if kind == "uniform":
            return float(u * (settings["max"] - settings["min"]) + settings["min"])
        if kind in ("log_uniform_values", "inv_log_uniform_values"):  # if log(1 / x) is uniform, so is log(x)
            low, high = np.log(settings["min"]), np.log(settings["max"])
            return float(np.exp(u * (high - low) + low))
        from scipy import special  # here, because it loads slowly and most sweeps do not need it

        if kind == "beta":
            return float(special.betaincinv(settings["a"], settings["b"], u))
        bell = settings["sigma"] * special.ndtri(u)
        return float(bell + settings["mu"] if kind == "normal" else np.exp(bell) * np.exp(settings["mu"]))

    def examples(self) -> Sequence[Any]:
        """All its values where they are listed or few whole numbers, else those at the ends and in the middle."""
        settings = self.settings
        if self.distribution == "categorical_w_probabilities":
            return [value for value, share in zip(settings["values"], settings["probabilities"], strict=True) if share]
        few = self.distribution == "int_uniform" and settings["max"] - settings["min"] < FEW
        if few or self.distribution in ("constant", "categorical"):
            return self.grid()
        return [self.quantile(u) for u in (TAIL, 0.5, 1 - TAIL)]

    def grid(self) -> Sequence[Any]:
        """All its values, each once.

        Raises:
            ConfigError: there is no list of them.
        """
        settings = self.settings
        if self.distribution == "constant":
            return [settings["value"]]
        if self.distribution == "categorical":
            # 1 and 1.0 are the same value to W&B, true and 1 are not.
            whole = [int(v) if isinstance(v, float) and v.is_integer() else v for v in settings["values"]]
            return list(dict(zip(map(json.dumps, whole), settings["values"], strict=True)).values())
        if self.distribution == "int_uniform":
            return range(settings["min"], settings["max"] + 1)
        if self.distribution == "q_uniform":
            return np.arange(settings["min"], settings["max"], settings["q"]).tolist()  # as W&B: without its end
        raise ConfigError(
            f"`method` grid cannot list the values of `{self.name}`, which is {self.distribution}; "
            f"give it `values`, or search with `method: random`."
        )


Space = dict[str, Parameter]


def grid(space: Space) -> Iterator[dict[str, Any]]:
    """Every combination of values, the last name in alphabetical order changing fastest.

    Raises:
        ConfigError: a parameter has no list of values, or there are more than a million combinations.
    """
    names = sorted(space)
    values = [space[name].grid() for name in names]
    if (count := math.prod(map(len, values))) > LARGEST_GRID:
        raise ConfigError(f"`method` grid has {count:,} runs, but {LARGEST_GRID:,} is the most that it may have.")
    return (dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values))


def examples(space: Space, most: int) -> tuple[list[dict[str, Any]], int]:
    """What a search may try, before it is known what it will: combinations of `Parameter.examples`, and their number.

    All of them, or, where they are more than `most`, so many drawn ones, in which every value occurs.
    """
    lists = [parameter.examples() for parameter in space.values()]
    count = math.prod(map(len, lists))
    if count <= most:
        chosen = list(itertools.product(*lists))
    else:
        generator = random.Random(0)
        chosen = [tuple(values[row % len(values)] for values in lists) for row in range(max(map(len, lists)))]
        chosen += [tuple(map(generator.choice, lists)) for _ in range(most - len(chosen))]
    return [dict(zip(space, values, strict=True)) for values in chosen], count


def draw(space: Space, seed: int, number: int) -> dict[str, Any]:
    """Run `number` of a random search, which depends on nothing but the space, the seed and that number."""
    generator = random.Random(f"{seed} {number}")
    return {name: space[name].quantile(generator.uniform(0.0, 1.0)) for name in sorted(space)}


# ------------------------------------------------------------------------------------------------------ read the file


def read_space(parameters: Any) -> Space:
    """The checked `parameters` of a sweep file.

    Raises:
        ConfigError: one of them cannot be searched.
    """
    if not isinstance(parameters, dict) or not parameters:
        raise ConfigError("`parameters` must be a mapping from names of flags to their values.")
    return {name: read_parameter(name, given) for name, given in parameters.items()}


def read_parameter(name: Any, given: Any) -> Parameter:
    """See `read_space`."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"`parameters` has the name {shown(name)}, but names are letters, digits and `_ . -`.")
    if not isinstance(given, dict):
        raise ConfigError(f"`{name}` is {shown(given)}, but must be a mapping such as `value: 3` or `values: [1, 2]`.")
    if "parameters" in given:
        raise ConfigError(f"`{name}` has parameters of its own, but flags are not nested.")
    distribution = distribution_of(name, given)
    allowed = DISTRIBUTIONS[distribution]
    for key in given:
        if key not in allowed and key != "distribution":
            hint = nearest(str(key), ["distribution", *allowed])
            raise ConfigError(f"`{name}` is {distribution} and has `{key}`, but may have {', '.join(allowed)}{hint}.")
    for key, default in allowed.items():
        if default is REQUIRED and key not in given:
            raise ConfigError(f"`{name}` is {distribution}, but has no `{key}`.")
    settings = {key: given.get(key, default) for key, default in allowed.items()}
    check_settings(name, distribution, settings)
    return Parameter(name, distribution, settings)


def distribution_of(name: str, given: Mapping[str, Any]) -> str:
    """The distribution that a parameter names, or the one that its settings mean without a name."""
    if "distribution" in given:
        named = given["distribution"]
        if f"{named}_values" in DISTRIBUTIONS:
            raise ConfigError(
                f"`{name}` is {named}, whose limits are exponents of e; use {named}_values, with the limits themselves."
            )
        if not isinstance(named, str) or named not in DISTRIBUTIONS:
            hint = nearest(str(named), DISTRIBUTIONS)
            raise ConfigError(f"`{name}` has the distribution {shown(named)}, which is unknown{hint}.")
        return named
    if "value" in given:
        return "constant"
    if "values" in given or "probabilities" in given:
        return "categorical_w_probabilities" if "probabilities" in given else "categorical"
    if "min" in given or "max" in given:
        return "int_uniform" if all(is_whole(given.get(key, 0)) for key in LIMITS) else "uniform"
    hint = next(filter(None, (nearest(str(key), ["distribution", "value", "values", *LIMITS]) for key in given)), "")
    raise ConfigError(f"`{name}` needs `value`, `values`, `min` and `max`, or a `distribution`{hint}.")


def check_settings(name: str, distribution: str, settings: Mapping[str, Any]) -> None:
    """Raises ConfigError for the first setting that its distribution cannot have."""
    for key, value in settings.items():
        if key == "value":
            check_plain(name, value)
        elif key in ("values", "probabilities"):
            if not isinstance(value, list) or not value:
                raise ConfigError(f"`{name}` has {key} {shown(value)}, but needs a list of at least one.")
            for item in value:
                check_number(name, "probability", item) if key == "probabilities" else check_plain(name, item)
        elif distribution == "int_uniform" and not is_whole(value):
            raise ConfigError(f"`{name}` has {key} {shown(value)}, but int_uniform needs a whole number.")
        else:
            check_number(name, key, value)
            if key in POSITIVE and value <= 0:
                raise ConfigError(f"`{name}` has {key} {value}, but it must be greater than 0.")
    if "min" in settings and settings["min"] >= settings["max"]:
        raise ConfigError(f"`{name}` has min {settings['min']} and max {settings['max']}, but min must be less.")
    if "log_uniform" in distribution and settings["min"] <= 0:
        raise ConfigError(f"`{name}` has min {settings['min']}, but {distribution} needs one greater than 0.")
    if "probabilities" in settings:
        shares, count = settings["probabilities"], len(settings["values"])
        if len(shares) != count:
            raise ConfigError(f"`{name}` has {count} values, but {len(shares)} probabilities.")
        if min(shares) < 0 or not math.isclose(sum(shares), 1.0, rel_tol=1e-5):
            raise ConfigError(f"`{name}` has probabilities {shown(shares)}, but they must add up to 1.")


def check_number(name: str, key: str, value: Any) -> None:
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value):
        return
    hint = ""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            hint = f"; YAML reads that as a text, write {key}: {float(value)!r}" if math.isfinite(float(value)) else ""
            hint = re.sub(r"(: -?\d+)e", r"\1.0e", hint)
    raise ConfigError(f"`{name}` has {key} {shown(value)}, but it must be a number{hint}.")


def check_plain(name: str, value: Any) -> None:
    """YAML knows dates, which no flag is."""
    try:
        json.dumps(value)
    except TypeError:
        raise ConfigError(
            f"`{name}` has the value {value}, which YAML reads as a date or the like; quote it."
        ) from None


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# ----------------------------------------------------------------------------------------------------------- Bayesian


def require_optuna() -> Any:
    """Optuna, which is installed on demand.

    Raises:
        ConfigError: it is not.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError("`method` bayes needs the package optuna: run `pip install optuna`.") from None
    return optuna


class Study:
    """A Bayesian search by Optuna (its tree-structured Parzen estimator), remembered in `path`.

    Every run is a trial with the user attribute `parameters`. A run without a result - it goes on, it failed, it did
    not log the metric - counts as a bad one until it has one. Several processes may share the file.

    Raises:
        ConfigError: the study in the file began with something else than `about`.
    """

    def __init__(self, path: Path, space: Space, maximize: bool, seed: int, about: Mapping[str, Any]) -> None:
        self.optuna = optuna = require_optuna()
        self.path, self.space, self.seed = path, space, seed
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
        direction = "maximize" if maximize else "minimize"
        self.study = optuna.create_study(storage=storage, study_name="sweep", direction=direction, load_if_exists=True)
        about = json.loads(json.dumps(about))
        began = self.study.user_attrs.get("sweep")
        if began is None:
            self.study.set_user_attr("sweep", about)
        elif began != about:
            changed = ", ".join(f"`{key}`" for key in about if began.get(key) != about[key])
            raise ConfigError(
                f"the search in {path} began with another {changed}; put it back, or begin another search elsewhere."
            )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other process asks in the meantime."""
        with open(self.path.with_name(".study.lock"), "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def tried(self) -> list[dict[str, Any]]:
        """The parameters of all runs so far, in their order."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial.user_attrs["parameters"] for trial in trials if "parameters" in trial.user_attrs]

    def ask(self) -> dict[str, Any] | None:
        """Parameters worth trying next; None when a hundred attempts found none that were not tried before."""
        tried = self.tried()
        for _ in range(ATTEMPTS):
            # A generator for each trial: a search that was stopped goes on as if it had not been.
            number = len(self.study.get_trials(deepcopy=False))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", self.optuna.exceptions.ExperimentalWarning)
                self.study.sampler = self.optuna.samplers.TPESampler(
                    constant_liar=True, seed=int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
                )
            trial = self.study.ask({name: self.searched(name)[0] for name in sorted(self.space) if self.varies(name)})
            parameters = {
                name: self.searched(name)[1](trial.params[name])
                if self.varies(name)
                else self.space[name].quantile(0.5)
                for name in self.space
            }
            if parameters not in tried:
                trial.set_user_attr("parameters", parameters)
                return parameters
            self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
        return None

    def varies(self, name: str) -> bool:
        return self.space[name].distribution != "constant"

    def searched(self, name: str) -> tuple[Any, Callable[[Any], Any]]:
        """What Optuna chooses for a parameter, and how that becomes its value.

        A distribution that Optuna does not know is searched by its quantiles, so that equal steps are equally likely.
        """
        parameter, distributions = self.space[name], self.optuna.distributions
        settings, kind = parameter.settings, parameter.distribution
        if kind == "categorical":
            return distributions.CategoricalDistribution(range(len(settings["values"]))), settings["values"].__getitem__
        if kind == "int_uniform":
            return distributions.IntDistribution(settings["min"], settings["max"]), int
        if kind in ("uniform", "log_uniform_values", "inv_log_uniform_values"):
            return distributions.FloatDistribution(settings["min"], settings["max"], log=kind != "uniform"), float
        return distributions.FloatDistribution(TAIL, 1 - TAIL), parameter.quantile

    def tell(self, parameters: Mapping[str, Any], value: float) -> None:
        """The result of a run; told again, it changes nothing."""
        for trial in self.study.get_trials(deepcopy=False):
            if trial.user_attrs.get("parameters") == parameters and not trial.state.is_finished():
                self.study.tell(trial.number, value)
