"""A small goal-reaching world, and PPO on it with the real functions of the training script.

A player starts in the middle of an empty grid and may stay or go up, down, left or right. Only
one far cell pays, and no random walk of one episode finds it: there is nothing to learn from but hindsight.
"""

import contextlib

import numpy as np
import torch
from torch import nn

from benchmarks.line_world import fill_advantages
from continual_hackatari import continual_training_example as training
from continual_hackatari.agents.acceleration import ActingAgent
from continual_hackatari.agents.actor_critic import ActorCritic
from continual_hackatari.training.rollouts import Rollout

SIZE, HORIZON, GAMES = 32, 32, 16
MOVES = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
START, TARGET = np.array([16, 16]), np.array([26, 6])


class GridAgent(ActorCritic):
    """Reads uint8 [B, 4, 1, 1]: the player's cell and the goal's, in grey levels."""

    def __init__(self, generator):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.actor, self.critic = nn.Linear(64, len(MOVES)), nn.Linear(64, 1)
        self.initialise(generator)

    def hidden(self, x):
        cell, goal = x.flatten(1).float().chunk(2, dim=1)
        return self.layers((goal - cell) / 64)  # which way the goal is


class Goal:
    """The part of `wrappers.goals.Goal` that hindsight uses."""

    target = TARGET

    @staticmethod
    def grey(cells):
        return (cells * 255 // (SIZE - 1)).astype(np.uint8)

    @staticmethod
    def reached(achieved, goal):
        return (achieved == goal).all(-1)


def observe(cells):
    """uint8 [N, 4, 1, 1] of players at `cells` [N, 2] under the desired goal."""
    both = np.concatenate([Goal.grey(cells), np.broadcast_to(Goal.grey(TARGET), cells.shape)], axis=1)
    return torch.from_numpy(both)[:, :, None, None]


def success_rate(agent, generator, episodes=64):
    """Share of episodes that come past the target, actions sampled."""
    cells, found = np.tile(START, (episodes, 1)), np.zeros(episodes, bool)
    with torch.no_grad():
        for _ in range(HORIZON):
            action = agent.act(observe(cells), generator=generator).numpy()
            cells = np.clip(cells + MOVES[action], 0, SIZE - 1)
            found |= Goal.reached(cells, TARGET)
    return found.mean()


def learn(seed, iterations, args):
    """Success rate after training; every rollout is one episode of each game, which a time limit ends."""
    her = args.her
    weights, actions, order = (torch.Generator().manual_seed(3 * seed + i) for i in range(3))
    agent = GridAgent(weights)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    acting, scalers = ActingAgent(agent, torch.float32), training.make_scalers(args)
    rollout = empty_rollout(her)
    for _ in range(iterations):
        cells = np.tile(START, (GAMES, 1))
        for t in range(HORIZON):
            rollout.observations[t] = observe(cells)
            action, rollout.log_probs[t, :GAMES], rollout.values[t, :GAMES] = acting.act(
                rollout.observations[t], actions
            )
            rollout.actions[t, :GAMES] = action
            cells = np.clip(cells + MOVES[action.numpy()], 0, SIZE - 1)
            rollout.achieved[t], rollout.rewards[t] = cells, Goal.reached(cells, TARGET)
        fill_advantages(args, rollout, acting, scalers, observe(cells), Goal)
        for _ in range(args.update_epochs):
            for rows in torch.randperm(rollout.values.numel(), generator=order).tensor_split(args.num_minibatches):
                training.minibatch_step(args, agent, optimizer, contextlib.nullcontext(), rollout, rows)
    return success_rate(agent, actions)


def empty_rollout(her):
    rows = (HORIZON, GAMES * (1 + her))
    goals = torch.from_numpy(Goal.grey(TARGET)).expand(*rows, -1).clone() if her else None
    log_probs, values, advantages, returns = (torch.zeros(rows) for _ in range(4))
    return Rollout(
        observations=torch.zeros((HORIZON, GAMES, 4, 1, 1), dtype=torch.uint8),
        actions=torch.zeros(rows, dtype=torch.int64),
        log_probs=log_probs,
        values=values,
        advantages=advantages,
        returns=returns,
        rewards=np.zeros((HORIZON, GAMES)),
        terminated=np.zeros((HORIZON, GAMES), bool),
        done=np.arange(HORIZON)[:, None].repeat(GAMES, 1) == HORIZON - 1,
        achieved=np.zeros((HORIZON, GAMES, 2), int),
        goals=goals,
        weights=None,
        relabelled=torch.zeros(rows, dtype=torch.bool) if her else None,
    )
