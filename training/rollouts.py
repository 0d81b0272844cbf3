"""Rollouts of actor-critics: what was played between two updates, and what follows from it before learning."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from continual_hackatari.agents import RewardScaler, generalised_advantages
from continual_hackatari.agents.acceleration import ActingAgent
from continual_hackatari.training.printing import say
from continual_hackatari.training.ranks import Ranks
from continual_hackatari.training.run import Run
from continual_hackatari.training.settings import RunSettings
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.interfaces import VectorGames


class Rollout(NamedTuple):
    """What the agent did and saw in T steps of N games; row t is vector step t.

    ``done`` marks every end of an episode: a lost life or game over (``terminated``: nothing follows), a truncation, or
    a switch that cut the game. The arrays are filled by the emulators, the tensors by the agent. With hindsight M is 2N
    and column N + n is game n again, under the goal that it reached; frames are not kept twice. Without, M is N.
    """

    observations: Tensor  # [T, N, *observation_shape], uint8 or float32
    actions: Tensor  # int64 [T, M]
    log_probs: Tensor  # [T, M]
    values: Tensor  # [T, M]
    advantages: Tensor  # [T, M], filled after the rollout
    returns: Tensor  # [T, M], filled after the rollout
    rewards: np.ndarray  # float64 [T, N], unscaled
    terminated: np.ndarray  # bool [T, N]
    done: np.ndarray  # bool [T, N]
    achieved: np.ndarray  # float32 [T, N, G], what goal each step achieved; G is 0 without hindsight
    goals: Tensor | None  # uint8 [T, M, G], the goal of each row in grey levels; None without hindsight
    weights: Tensor | None  # [T, M], importance weights; None: all rows weigh the same
    relabelled: Tensor | None = None  # bool [T, M], the row has a new goal; None without hindsight
    log_policies: Tensor | None = None  # [T, M, num_actions], of the policy that acted; None where nobody asks for it


Cut = tuple[int, np.ndarray, Tensor, Tensor]
"""Episodes that ended in step t of a rollout, but not in the game: t, their columns int64 [K], the last observations
[K, *observation_shape] and the values [K] of these, which stand for what would have followed."""


def act(
    run: Run[Any], rollout: Rollout, acting_agent: ActingAgent, generator: torch.Generator, t: int, group: int
) -> None:
    """One group of games begins step t, with actions that the agent draws; notes what it saw, did and said.

    What is noted is the policy as it acted, over all actions: of a rollout with `log_policies`.
    """
    assert rollout.log_policies is not None
    games = run.envs.groups[group]
    seen = torch.from_numpy(run.envs.arrays.observations[games])
    rollout.observations[t, games].copy_(seen, non_blocking=True)
    action, log_policy, value = acting_agent.act_with_policy(rollout.observations[t, games], generator)
    run.envs.step_async(action.cpu().numpy(), group)
    rollout.actions[t, games], rollout.values[t, games] = action, value
    rollout.log_policies[t, games] = log_policy
    rollout.log_probs[t, games] = log_policy.gather(-1, action[:, None])[:, 0]
    run.timer.lap("inference")


def collect(
    run: Run[Any], rollout: Rollout, cuts: list[Cut], acting_agent: ActingAgent, first_step: int, t: int, group: int
) -> None:
    """Wait for step t of one group of games and note what it gave. first_step: where in the run the rollout began."""
    envs, device = run.envs, rollout.values.device
    records, games, arrays = envs.step_wait(group), envs.groups[group], envs.arrays
    run.timer.lap("emulation")
    rollout.rewards[t, games] = arrays.rewards[games]
    rollout.terminated[t, games] = arrays.terminated[games]
    rollout.done[t, games] = arrays.terminated[games] | arrays.truncated[games]
    rollout.achieved[t, games] = arrays.achieved[games]
    truncated = np.flatnonzero(arrays.truncated[games] & ~arrays.terminated[games]) + games.start
    if len(truncated):
        last = to_device(arrays.final_observations[truncated], device)
        cuts.append((t, truncated, last, acting_agent.value(last)))
    run.games_ended(records, first_step + (t + 1) * run.args.num_envs)


def cut_running(rollout: Rollout, cuts: list[Cut], envs: VectorGames, acting_agent: ActingAgent, t: int) -> None:
    """A switch cuts all games after step t: a truncation, bootstrapped with the last observation of the old regime."""
    running = np.flatnonzero(~rollout.done[t])
    last = to_device(envs.arrays.observations[running], rollout.values.device)
    cuts.append((t, running, last, acting_agent.value(last)))
    rollout.done[t] = True


def evaluate_anew(
    acting_agent: ActingAgent, rollout: Rollout, cuts: list[Cut], steps: int, groups: Sequence[slice]
) -> None:
    """Log-probabilities and values of the rollout's first `steps` rows and of `cuts`, with the present weights.

    For a switch in the middle of a rollout at which something has changed the weights. The update starts from the new
    ones, and PPO holds it near the policy whose log-probabilities are stored. Were those the old policy's, it would
    begin far from it: shrinking by 0.7 is a KL divergence of 0.43 for a policy that plays well, so that nearly every
    earlier row is clipped, or, with a negative advantage and a ratio above the range, pushes without a bound. Now every
    ratio starts at 1. The price: the earlier actions are the old policy's, and count as if the new one had chosen them.

    It costs what acting in these steps did (no emulation). Rows are computed in the groups that acted, not in larger
    batches, so that weights that did not change give the same bits. The second half of hindsight comes later anyway.
    """
    for t in range(steps):
        for games in groups:
            log_probs, values = acting_agent.evaluate(rollout.observations[t, games], rollout.actions[t, games])
            rollout.log_probs[t, games], rollout.values[t, games] = log_probs, values
    cuts[:] = [(t, games, seen, acting_agent.value(seen)) for t, games, seen, _ in cuts]


def rollout_advantages(
    rewards: np.ndarray,
    values: Tensor,
    last_values: Tensor,
    cuts: Sequence[Cut],
    terminated: np.ndarray,
    done: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:
    """Advantages and returns [T, M] of a rollout, or of some columns of it that have rewards of their own.

    rewards [T, M] are scaled; values, terminated and done [T, M] are those of `Rollout`. last_values [M] are of the
    observations after the last step. cuts: the steps whose episode something ended from outside; their columns count
    among these M. See `generalised_advantages`, which raises AgentError when shapes differ.
    """
    next_values = torch.cat([values[1:], last_values.unsqueeze(0)])
    for t, columns, _, of_last_observation in cuts:
        next_values[t, torch.from_numpy(columns).to(values.device)] = of_last_observation
    scaled, ends, borders = (torch.as_tensor(array, device=values.device) for array in (rewards, terminated, done))
    return generalised_advantages(scaled, values, next_values, ends, borders, gamma, gae_lambda)


def scale_rewards(
    scaler: RewardScaler,
    rewards: np.ndarray,
    done: np.ndarray,
    ranks: Ranks,
    counted: np.ndarray | None = None,
    *,
    start: int = 0,
) -> np.ndarray:
    """Scaled rewards float32 [T, N] of this process' games.

    counted: bool [T, N], which enter the statistics. start: of the steps before it the scaler learns nothing, as if
    they had not been played; they are 0.

    Every rank shows the scaler the rewards of all ranks' games, as one process that plays them all would.
    """
    steps, share = rewards.shape
    counted = np.ones(rewards.shape, np.bool_) if counted is None else counted
    everyones = [ranks.join_games(array) for array in (rewards, done, counted)]
    scaled = np.zeros(everyones[0].shape, np.float32)
    for t in range(start, steps):
        scaled[t] = scaler(*(array[t] for array in everyones))
    return scaled[:, ranks.rank * share : (ranks.rank + 1) * share]


def empty_rollout(
    envs: VectorGames,
    num_steps: int,
    device: torch.device,
    *,
    twice: bool = False,
    weighed: bool = False,
    whole_policies: bool = False,
) -> Rollout:
    """Storage for one rollout; frames stay uint8, a quarter of the memory of floats.

    twice: with hindsight. weighed: its rows have importance weights. whole_policies: with `log_policies`.
    """
    steps = (num_steps, envs.num_envs)
    rows = (num_steps, envs.num_envs * (2 if twice else 1))
    shape, goal = envs.observation_shape, envs.config.goal
    if len(shape) == 3:  # channels last, [T, N, 84, 84, planes] in memory: the layout that convolutions want
        planes, height, width = shape
        observations = torch.zeros((*steps, height, width, planes), dtype=torch.uint8, device=device)
        observations = observations.permute(0, 1, 4, 2, 3)
    else:
        observations = torch.zeros((*steps, *shape), device=device)
    goals = None if goal is None else to_device(goal.grey(goal.target), device).expand(*rows, -1).clone()
    return Rollout(
        observations=observations,
        actions=torch.zeros(rows, dtype=torch.int64, device=device),
        log_probs=torch.zeros(rows, device=device),
        values=torch.zeros(rows, device=device),
        advantages=torch.zeros(rows, device=device),
        returns=torch.zeros(rows, device=device),
        rewards=np.zeros(steps),
        terminated=np.zeros(steps, np.bool_),
        done=np.zeros(steps, np.bool_),
        achieved=np.zeros((*steps, envs.config.num_goals), np.float32),
        goals=goals,
        weights=torch.ones(rows, device=device) if weighed else None,
        relabelled=None if goal is None else torch.zeros(rows, dtype=torch.bool, device=device),
        log_policies=torch.zeros((*rows, envs.num_actions), device=device) if whole_policies else None,
    )


def take_rows(observations: Tensor, rows: Tensor) -> Tensor:
    """Copies of some rows of `[T, N, ...]` observations, `[B, ...]`; in the memory's order, seven times faster."""
    if observations.dim() == 5:  # frames lie channels last
        return observations.permute(0, 1, 3, 4, 2).flatten(0, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return observations.flatten(0, 1).index_select(0, rows)


def pin(array: np.ndarray, device: torch.device) -> None:
    """Lock the array's memory, which the emulators write to, so that a GPU copies from it without waiting.

    It stays locked as long as the array is there.
    """
    if device.type != "cuda":
        return
    runtime, address = torch.cuda.cudart(), array.ctypes.data
    status = runtime.cudaHostRegister(address, array.nbytes, 0)
    if int(status) == 0:
        weakref.finalize(array, runtime.cudaHostUnregister, address).atexit = False
    else:
        with contextlib.suppress(RuntimeError):  # CUDA keeps the error for the next kernel, which raises and clears it
            torch.ones(1, device=device)
        say(f"note: the observations could not be pinned (CUDA status {int(status)}); copies to the GPU are slower")


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A copy of `array` as a tensor."""
    return torch.tensor(array, device=device)


def bytes_of_rows(args: RunSettings, game: GameConfig, stored: int, in_minibatch: int) -> int:
    """Memory of the observations of `stored` rows, and of the first layer's input for a minibatch of frames."""
    pixels = 84 * 84
    if args.obs_mode == "dqn":
        return (stored + 4 * in_minibatch) * (game.window + game.num_goals) * pixels
    return stored * game.window * 4
