"""Freeway's chicken without the road: a row, two moves, and a reward for a crossing. Seconds per training.

For lack of pixels the agent is a small network that reads row and goal. All else is real: the goals of Freeway, and
the training script's functions for hindsight, advantages and gradient steps, with its default settings. A random walk
crosses now and then, so PPO alone learns it or, where the first crossing comes too late, does not; and where it does,
its level is the best there is. So hindsight can show here what it is for, and what it costs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from continual_hackatari import continual_training_example as training
from continual_hackatari.agents import RewardScaler
from continual_hackatari.agents.acceleration import ActingAgent
from continual_hackatari.agents.actor_critic import ActorCritic, sample_actions
from continual_hackatari.agents.hindsight import Relabelling, RewardRule, goal_rewards
from continual_hackatari.training.hindsight import fill_relabelled_half, scale_halves
from continual_hackatari.training.ranks import ALONE
from continual_hackatari.training.rollouts import Cut, Rollout, rollout_advantages, scale_rewards
from continual_hackatari.wrappers.goals import POSITIONS, Goal

GOAL = POSITIONS["Freeway"]
START, KERB, STRIDE = 6, 177, 4  # rows
MOVES = np.array([0, STRIDE, -STRIDE])  # stay, up, down
STEPS_PER_GAME = 2048
KNOCK = 16  # rows that a car would throw the chicken back


class LineAgent(ActorCritic):
    """Reads uint8 [B, 2, 1, 1]: row and goal in grey levels."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.actor, self.critic = nn.Linear(64, len(MOVES)), nn.Linear(64, 1)
        self.initialise(generator)

    def hidden(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1).double() / 255)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """As every agent's, but in double precision to the end."""
        features = self.hidden(x)
        return self.actor(features), self.critic(features).squeeze(-1)


def observe(rows: np.ndarray) -> Tensor:
    """uint8 [N, 2, 1, 1] of chickens at `rows` [N], under the desired goal."""
    both = np.stack([np.rint(rows * 255 / 178), np.full(len(rows), 255)], axis=1).astype(np.uint8)
    return torch.from_numpy(both)[:, :, None, None]


def learn(
    seed: int,
    args: training.Args,
    rollouts: int = 50,
    knocks: float = 0.0,
    scale: Callable[..., np.ndarray] = scale_halves,
) -> np.ndarray:
    """Crossings per game in each rollout; with probability `knocks` a step ends with the chicken thrown back.

    scale: hindsight's scaling of both halves' rewards, to compare others with the training script's.
    """
    weights, actions, order = (torch.Generator().manual_seed(3 * seed + i) for i in range(3))
    luck = np.random.default_rng(seed)
    steps, games = args.num_steps, args.num_envs
    agent = LineAgent(weights).double()
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    everywhere = np.arange(KERB + 1)
    acting, rollout = ActingAgent(agent, torch.float32), empty_rollout(args)
    scalers, no_autocast = training.make_scalers(args), torch.autocast("cpu", enabled=False)
    at, played, levels = np.full(games, START), 0, []
    for _ in range(rollouts):
        with torch.no_grad():  # of all rows at once, seven times faster than row by row
            logits, values = agent(observe(everywhere))
        log_probs = logits.log_softmax(-1)
        for t in range(steps):
            action = sample_actions(log_probs[at].exp(), actions)
            rollout.observations[t], rollout.actions[t, :games] = observe(at), action
            rollout.log_probs[t, :games] = log_probs[at, action]
            rollout.values[t, :games] = values[at]
            at = np.maximum(at + MOVES[action.numpy()], START)
            crossed = at > KERB
            rollout.achieved[t, :, 0] = np.where(crossed, GOAL.target[0], at)
            rollout.rewards[t] = crossed
            at = np.where(crossed, START, at)
            at = np.where(luck.random(games) < knocks, np.maximum(at - KNOCK, START), at)
            played += 1
            rollout.done[t] = rollout.terminated[t] = over = played % STEPS_PER_GAME == 0
            if over:
                at = np.full(games, START)
        levels.append(rollout.rewards.mean() * STEPS_PER_GAME)
        fill_advantages(args, rollout, acting, scalers, observe(at), scale=scale)
        for _ in range(args.update_epochs):
            for rows in torch.randperm(rollout.values.numel(), generator=order).tensor_split(args.num_minibatches):
                training.minibatch_step(args, agent, optimizer, no_autocast, rollout, rows)
    return np.array(levels)


def fill_advantages(
    args: training.Args,
    rollout: Rollout,
    acting: ActingAgent,
    scalers: tuple[RewardScaler, RewardScaler],
    last: Tensor,
    goal: Goal = GOAL,
    scale: Callable[..., np.ndarray] = scale_halves,
) -> None:
    """The phases HINDSIGHT and ADVANTAGES of the training script; `last`: the observations after the rollout."""
    rewards, terminated, done = rollout.rewards, rollout.terminated, rollout.done
    cuts: list[Cut] = []
    if args.her:
        relabelling = fill_relabelled_half(
            *(rollout, goal, acting, done, last, cuts),
            failures_only=args.her_relabel == "failures",
            importance_clip=args.her_importance_clip,
        )
        scaled = scale(args.her_rewards, rewards, done, relabelling, scalers)
        terminated, done = np.tile(terminated, (1, 2)), np.tile(done, (1, 2))
    else:
        scaled = scale_rewards(scalers[0], rewards, done, ALONE)
    last_values = acting.value(last).repeat(rollout.values.shape[1] // last.shape[0])
    rollout.advantages[:], rollout.returns[:] = rollout_advantages(
        scaled,
        rollout.values,
        last_values,
        cuts,
        terminated,
        done,
        args.gamma,
        args.gae_lambda,
    )


def one_scale(
    rule: RewardRule,
    rewards: np.ndarray,
    done: np.ndarray,
    relabelling: Relabelling,
    scalers: tuple[RewardScaler, RewardScaler],
) -> np.ndarray:
    """Both halves on the scale of all their rewards together, as it once was: crossings come to next to nothing."""
    both, done = np.hstack(goal_rewards(rewards, relabelling, rule)), np.tile(done, (1, 2))
    scaler = scalers[0]
    scaler.returns = np.resize(scaler.returns, both.shape[1])
    return np.stack([scaler(*step) for step in zip(both, done, strict=True)])


def empty_rollout(args: training.Args) -> Rollout:
    """Storage of one rollout in double precision."""
    steps = (args.num_steps, args.num_envs)
    rows = (args.num_steps, args.num_envs * (2 if args.her else 1))
    log_probs, values, advantages, returns = (torch.zeros(rows, dtype=torch.float64) for _ in range(4))
    goals = torch.from_numpy(GOAL.grey(GOAL.target)).expand(*rows, -1).clone()
    return Rollout(
        observations=torch.zeros((*steps, 2, 1, 1), dtype=torch.uint8),
        actions=torch.zeros(rows, dtype=torch.int64),
        log_probs=log_probs,
        values=values,
        advantages=advantages,
        returns=returns,
        rewards=np.zeros(steps),
        terminated=np.zeros(steps, np.bool_),
        done=np.zeros(steps, np.bool_),
        achieved=np.zeros((*steps, 1), np.float32),
        goals=goals if args.her else None,
        weights=torch.ones(rows, dtype=torch.float64) if args.her_importance_clip else None,
        relabelled=torch.zeros(rows, dtype=torch.bool) if args.her else None,
    )
