"""The methods of a run: made with seeds of their own, saved with it, and told where it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import nn
from torch.optim import Optimizer

from continual_hackatari.agents import AgentError
from continual_hackatari.methods import all_methods
from continual_hackatari.methods.moments import Learner, Rows
from continual_hackatari.methods.together import Methods
from continual_hackatari.training.ranks import Ranks
from continual_hackatari.training.replay import ReplayFile
from continual_hackatari.training.resume import read_sealed, write_sealed
from continual_hackatari.training.rollouts import Rollout
from continual_hackatari.training.run import Filed, Run, derive_seeds
from continual_hackatari.training.settings import RunSettings

FIRST_SEEDS = {"shrink_perturb": 3, "continual_backprop": 4}
"""Which word of the run's seed methods have that were there before `--methods`; the others' follow from the name."""
EARLIER_PREFIXES = {"continual_backprop": "cbp/"}
"""Of what is logged of methods that go by their earlier flags."""


def make_methods(
    args: RunSettings, agent: nn.Module, optimizer: Optimizer, ranks: Ranks, beside: Sequence[Any] = ()
) -> Methods:
    """All methods that are on, in their order. beside: what else begins anew with the agent, see `Learner`."""
    made = {}
    for name, settings in args.chosen_methods.items():
        method = all_methods()[name]
        generator = torch.Generator().manual_seed(seed_of(name, args.seed))
        if "hidden" in method.needs and not agent.hidden_layers():  # type: ignore[operator]
            raise AgentError(f"`methods`: {name} looks at hidden layers, and this agent has none.")
        made[name] = method(settings, Learner(agent, optimizer, generator, ranks.mean, beside))
    earlier = getattr(args, "earlier_methods", {})
    return Methods(made, prefixes={name: prefix for name, prefix in EARLIER_PREFIXES.items() if name in earlier})


def seed_of(method: str, seed: int) -> int:
    """Of a method's generator."""
    if method in FIRST_SEEDS:
        return derive_seeds(seed, 5)[FIRST_SEEDS[method]]
    return derive_seeds(seed, 1, crc32(method.encode()))[0]


class LargeState:
    """What methods keep that is large, or each rank's own: in a file beside `resume.pt`."""

    def __init__(self, methods: Methods) -> None:
        self._methods = methods

    def save(self, path: Path) -> None:
        write_sealed(path, self._methods.large_state())

    def load(self, path: Path) -> None:
        self._methods.load_large_state(read_sealed(path))


def files_of(methods: Methods) -> dict[str, Filed]:
    """What `Run.start` saves in files of their own."""
    files: dict[str, Filed] = {"methods": LargeState(methods)} if methods.has_large_state else {}
    return files | {f"methods_{name}": ReplayFile(memory) for name, memory in methods.memories.items()}


def played(run: Run[Any], rollout: Rollout, start: int, stop: int) -> Rows:
    """The steps `start` to `stop` of a rollout, all of the regime that is played, as methods are shown them."""
    games = rollout.rewards.shape[1]
    outputs = {"log_prob": rollout.log_probs[start:stop, :games], "value": rollout.values[start:stop, :games]}
    return Rows(
        rollout.observations[start:stop],
        rollout.actions[start:stop, :games],
        outputs,
        rollout.rewards[start:stop],
        rollout.done[start:stop],
        run.modification,
        run.clock(),
        0 if rollout.goals is None else rollout.goals.shape[-1],
        run.args.num_envs,
    )
