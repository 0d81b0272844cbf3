"""Train a small Q-learner on an Atari game that changes on a schedule; docs/your-own-agent.md explains it.

python tests/q_learner.py --config configs/first_run.json
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from continual_hackatari.methods.together import NO_METHODS, Methods
from continual_hackatari.training import scripts
from continual_hackatari.training.config import Range
from continual_hackatari.training.ranks import Ranks
from continual_hackatari.training.resume import read_sealed, write_sealed
from continual_hackatari.training.run import Run, derive_seeds
from continual_hackatari.training.run_methods import make_methods
from continual_hackatari.training.settings import LARGE, MANY, RULES, Rule, RunSettings
from continual_hackatari.training.setup import Script, Setup
from continual_hackatari.training.signals import end_on_interrupt


@dataclass
class Args(RunSettings):
    exp_name: str = "q_learner"
    """name of the experiment, part of the run folder's name"""
    obs_mode: Literal["dqn"] = "dqn"
    """what the agent sees: grey 84 x 84 frames"""
    # Q-learning
    architecture: Literal["q_learner:QNetwork"] = "q_learner:QNetwork"
    """the agent's module and class, by which eval.py finds it"""
    learning_rate: float = 1e-4
    """step size of Adam"""
    gamma: float = 0.99
    """discount factor"""
    replay_size: int = 2000
    """past steps to learn from"""
    minibatch_size: int = 32
    """steps per minibatch"""
    target_every: int = 2000
    """agent steps after which the target network is renewed"""
    exploration_steps: int = 100_000
    """agent steps in which the share of random actions falls from 1 to final_epsilon"""
    final_epsilon: float = 0.05
    """share of random actions from then on"""


OWN_RULES = {
    "learning_rate": Rule(Range(0, LARGE, above=True)),
    **dict.fromkeys(("gamma", "final_epsilon"), Rule(Range(0, 1))),
    **dict.fromkeys(("replay_size", "minibatch_size"), Rule(Range(1, 100_000))),
    **dict.fromkeys(("target_every", "exploration_steps"), Rule(Range(1, MANY))),
}


class QNetwork(nn.Module):
    """What each action is worth: Q-values `[B, A]` of frames `[B, planes, 84, 84]`."""

    epsilon: Tensor

    def __init__(self, shape: Sequence[int], num_actions: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(shape[0], 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU()]
        head = [nn.Flatten(), nn.Linear(32 * 9 * 9, 256), nn.ReLU(), nn.Linear(256, num_actions)]
        self.network = nn.Sequential(*convolutions, *head)
        self.register_buffer("epsilon", torch.ones(()))  # in checkpoints, so that evaluations explore as the training

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x / 255)

    def act(self, x: Tensor, *, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """The best action `[B]`, or with probability epsilon any."""
        q = self(x)
        exploring = torch.rand(len(x), generator=generator, device=x.device) < (0 if deterministic else self.epsilon)
        drawn = torch.randint(q.shape[1], (len(x),), generator=generator, device=x.device)
        return torch.where(exploring, drawn, q.argmax(-1))

    def describe(self, x: Tensor) -> dict[str, Tensor]:
        return {"value": self(x).amax(-1)}


class Replay:
    """The last `size` steps. It is large, so it is saved in a file of its own, which `resume.pt` names."""

    def __init__(self, size: int, shape: Sequence[int]) -> None:
        frames = {name: np.zeros((size, *shape), np.uint8) for name in ("observations", "next_observations")}
        self.columns: dict[str, np.ndarray] = {**frames, "actions": np.zeros(size, np.int64)}
        self.columns |= {"rewards": np.zeros(size, np.float32), "terminated": np.zeros(size, np.bool_)}
        self.size, self.added = size, 0

    def __len__(self) -> int:
        return min(self.added, self.size)

    def add(self, **columns: np.ndarray) -> None:
        """One step of all games, `[N, ...]` by name; the newest takes the place of the oldest."""
        rows = np.arange(self.added, self.added + len(columns["actions"])) % self.size
        for name, values in columns.items():
            self.columns[name][rows] = values
        self.added += len(rows)

    def sample(self, number: int, generator: torch.Generator, device: torch.device) -> dict[str, Tensor]:
        """So many steps, drawn with replacement, `[number, ...]` by name."""
        rows = torch.randint(len(self), (number,), generator=generator).numpy()
        return {name: torch.from_numpy(column[rows]).to(device) for name, column in self.columns.items()}

    def save(self, path: Path) -> None:
        write_sealed(path, {"added": self.added, **{name: rows[: len(self)] for name, rows in self.columns.items()}})

    def load(self, path: Path) -> None:
        saved = read_sealed(path)
        self.added = saved["added"]
        for name, column in self.columns.items():
            column[: len(self)] = saved[name]


def train(setup: Setup[Args]) -> None:
    """The whole run, in rounds: play, learn, log."""
    args, device, ranks = setup.args, setup.device, setup.ranks
    weights_seed, exploration_seed, replay_seed = derive_seeds(args.seed, 3, ranks.rank)
    exploration = torch.Generator(device).manual_seed(exploration_seed)
    drawing = torch.Generator().manual_seed(replay_seed)
    with Run(setup) as run:
        envs = run.envs
        agent: QNetwork = run.new_agent(torch.Generator().manual_seed(weights_seed))
        target = copy.deepcopy(agent)
        optimizer = Adam(agent.parameters(), args.learning_rate)
        methods = make_methods(args, agent, optimizer, ranks)
        replay = Replay(args.replay_size, envs.observation_shape)
        autocast = torch.autocast(device.type, setup.precision, enabled=setup.precision != torch.float32)
        run.start(
            agent,
            parts={"optimizer": optimizer, "target": target, "methods": methods},
            generators={"exploration": exploration, "drawing": drawing},
            files={"replay": replay},
        )
        while run.goes_on:
            steps, first = run.begin_round(), run.global_step
            agent.epsilon.fill_(max(args.final_epsilon, 1 - (1 - args.final_epsilon) * first / args.exploration_steps))
            for _ in range(steps):
                # ============================== SWITCH ==============================
                modification = run.asked_for()
                if modification != run.modification:
                    run.end_regime()
                    if args.boundary == "schedule":
                        methods.boundary(run.modification, modification, run.clock())
                    run.begin_regime(modification)
                # ============================== ROLLOUT ==============================
                seen = envs.arrays.observations.copy()
                with torch.no_grad():
                    actions = agent.act(torch.from_numpy(seen).to(device), generator=exploration).cpu().numpy()
                replay.add(observations=seen, actions=actions, **run.play(actions)._asdict())
            run.log_games()
            # ============================== UPDATE ==============================
            losses: list[Tensor] = []
            with run.updating(losses, ["td_loss"]), autocast:
                for _ in range(steps):
                    batch = replay.sample(args.minibatch_size, drawing, device)
                    losses.append(minibatch_step(args, agent, target, optimizer, batch, ranks, methods))
            if first // args.target_every < run.global_step // args.target_every:
                target.load_state_dict(agent.state_dict())
            # ============================== LOG + CHECKPOINT ==============================
            numbers = {"losses/td_loss": float(torch.cat(losses).mean()), "charts/epsilon": float(agent.epsilon)}
            run.end_round(numbers | methods.numbers())
        run.finish()


def minibatch_step(
    args: Args,
    agent: QNetwork,
    target: QNetwork,
    optimizer: Optimizer,
    batch: Mapping[str, Tensor],
    ranks: Ranks,
    methods: Methods = NO_METHODS,
) -> Tensor:
    """A gradient step towards reward + gamma * what follows is worth to the target network (Mnih et al. 2015)."""
    with torch.no_grad():
        future = torch.where(batch["terminated"], 0, target(batch["next_observations"]).amax(-1))
    q = agent(batch["observations"]).gather(-1, batch["actions"][:, None])[:, 0]
    loss = nn.functional.smooth_l1_loss(q, batch["rewards"].sign() + args.gamma * future)
    if methods.adds_to_loss:
        loss = loss + methods.loss(batch["observations"], {"q": q}, [])
    optimizer.zero_grad()
    loss.backward()
    losses = ranks.mean_gradients(agent, loss.detach().reshape(1))
    methods.gradients()
    optimizer.step()
    methods.weights([])
    return losses


def build(args: Args, shape: Sequence[int], num_actions: int, generator: torch.Generator) -> QNetwork:
    """An untrained agent, whose weights come from this generator alone."""
    agent = QNetwork(shape, num_actions)
    for weights in agent.parameters():
        nn.init.kaiming_uniform_(weights, generator=generator) if weights.dim() > 1 else nn.init.zeros_(weights)
    return agent


MOMENTS = frozenset({"loss", "gradients", "weights", "before_boundary", "boundary"})
SCRIPT = Script(__file__, __doc__ or "", Args, RULES | OWN_RULES, build, ("optimizer", "target"), moments=MOMENTS)
main = functools.partial(scripts.main, SCRIPT, train)

if __name__ == "__main__":
    end_on_interrupt()
    main()
