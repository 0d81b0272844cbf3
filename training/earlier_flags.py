"""Flags by which two methods go since before there was `--methods`; they mean the same and compute the same bits.

The settings of the methods say what each means; a test holds that these say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from continual_hackatari.training.config import Belonging, Range
from continual_hackatari.training.method_settings import settings_of
from continual_hackatari.training.settings import LARGE, MANY, RULES, Rule, RunSettings


@dataclass
class EarlierFlags(RunSettings):
    # continual backpropagation by its earlier name, `--architecture PPO_CBP`
    replacement_rate: float = 1e-5
    """PPO_CBP: share of the eligible units of a layer that is replaced per gradient step (0: none)"""
    init: Literal["default", "xavier", "lecun", "kaiming", "orthogonal"] = "kaiming"
    """PPO_CBP: distribution of the incoming weights of new units (orthogonal: that of the network's own start)"""
    maturity_threshold: int = 100
    """PPO_CBP: gradient steps for which a new unit is protected"""
    decay_rate: float = 0.99
    """PPO_CBP: decay of the running averages of utility and output"""
    utility: Literal["contribution", "zero_contribution", "adaptation", "adaptable_contribution"] = "contribution"
    """PPO_CBP: what makes a unit useful"""
    accumulate: bool = True
    """PPO_CBP: fractions of a unit add up until one is due; without it they are its probability in each step"""
    count: Literal["eligible", "all"] = "eligible"
    """PPO_CBP: the replacement rate applies to the eligible units, or to all units of the layer"""

    # shrink and perturb by its earlier name, `--shrink_and_perturb`
    shrink_and_perturb: bool = False
    """at every switch: weights <- shrink_factor * weights + noise_scale * noise"""
    shrink_factor: float = 0.7
    """factor on all weights (1: unchanged). PPO's logits pass five layers and shrink by about factor^5: 0.7 makes
    a policy nearly random at once (on Freeway 18.6 crossings per game became 1.9, with 0.9 they became 13.4)"""
    noise_scale: float = 0.01
    """scale of the noise added to all weights (0: none)"""
    perturb_noise: Literal["gaussian", "initialiser"] = "gaussian"
    """noise from N(0, 1), or a fresh draw of each layer's own initialiser"""
    perturb_optimizer: Literal["reset", "keep"] = "reset"
    """what becomes of the optimizer's state, and of what other methods measured of the old weights"""

    @property
    def earlier_methods(self) -> dict[str, Any]:
        """The settings of the methods that these flags switch on, by name."""
        on = {"continual_backprop": self.architecture == "PPO_CBP", "shrink_perturb": self.shrink_and_perturb}
        return {
            method: settings_of(method, {f"{method}.{name}": getattr(self, flag) for name, flag in flags.items()})
            for method, flags in self.earlier_flags.items()
            if on[method]
        }

    @property
    def earlier_flags(self) -> dict[str, dict[str, str]]:
        """Of each of these methods: the flag that each of its settings has."""
        return {"continual_backprop": {name: name for name in UNIT_FLAGS}, "shrink_perturb": SHRINK_FLAGS}

    @property
    def chosen_methods(self) -> dict[str, Any]:
        return self.earlier_methods | super().chosen_methods

    @property
    def agent_name(self) -> str:
        return super().agent_name + ("_shrink_perturb" if self.shrink_and_perturb else "")


UNIT_FLAGS = ("replacement_rate", "init", "maturity_threshold", "decay_rate", "utility", "accumulate", "count")
SHRINK_FLAGS = {
    "factor": "shrink_factor",
    "noise_scale": "noise_scale",
    "noise": "perturb_noise",
    "optimizer": "perturb_optimizer",
}
UNITS = {
    flag: Belonging(
        "says how PPO_CBP replaces units, which is another architecture",
        lambda args: args.architecture == "PPO_CBP",
        f"choose `--architecture PPO_CBP`, or give the method of `--methods` `--continual_backprop.{flag}`",
    )
    for flag in UNIT_FLAGS
}
SHRINKING = {
    flag: Belonging(
        "says how shrink and perturb works, which is off",
        lambda args: args.shrink_and_perturb,
        f"add `--shrink_and_perturb`, or give the method of `--methods` `--shrink_perturb.{name}`",
    )
    for name, flag in SHRINK_FLAGS.items()
}
RANGES = {
    "replacement_rate": Range(0, 1),
    "maturity_threshold": Range(0, MANY),
    "decay_rate": Range(0, 1),
    "shrink_factor": Range(0, 1),
    "noise_scale": Range(0, LARGE),
}
EARLIER_RULES = {
    **RULES,
    "shrink_and_perturb": Rule(at_switches=True),
    **{flag: Rule(RANGES.get(flag), of=belonging) for flag, belonging in (UNITS | SHRINKING).items()},
}
