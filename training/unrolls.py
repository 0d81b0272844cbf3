"""Unrolls: steps of several games side by side, as they were just played or as a replay has kept them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from continual_hackatari.agents.vtrace import VTrace, vtrace
from continual_hackatari.replay import Blocks, Replay
from continual_hackatari.replay.blocks import Fields
from continual_hackatari.training.rollouts import Cut, Rollout, to_device


class Unrolls(NamedTuple):
    """T steps of M games. Row t + 1 of a game follows its row t, unless `done`."""

    observations: Tensor  # [T, M, *observation_shape]
    actions: Tensor  # int64 [T, M]
    log_policies: Tensor  # [T, M, num_actions], of the policy that acted
    values: Tensor  # [T, M], what that agent said they are worth
    rewards: Tensor  # float32 [T, M], scaled
    terminated: Tensor  # bool [T, M]
    done: Tensor  # bool [T, M]
    mask: Tensor  # bool [T, M]: which rows there are; those that are not have no part in anything
    after: Tensor  # [K, *observation_shape]: what followed where the next row does not say it
    places: tuple[Tensor, Tensor]  # int64 [K] each, t and m of these rows

    def next_values(self, values: Tensor, after: Tensor) -> Tensor:
        """The values `[T, M]` of what followed each row, from those of the rows `[T, M]` and of `after` `[K]`."""
        following = torch.cat([values[1:], torch.zeros_like(values[:1])])
        following[self.places] = after
        return following


def played_unrolls(
    rollout: Rollout, rewards: np.ndarray, cuts: Sequence[Cut], last: Tensor, start: int, stop: int
) -> Unrolls:
    """The steps `start` to `stop` of a rollout. rewards: [T, N] scaled. last: [N, ...], what is there after them."""
    assert rollout.log_policies is not None
    device, rows = last.device, slice(start, stop)
    running = np.flatnonzero(~rollout.done[stop - 1])
    ends = [(t - start, columns, seen) for t, columns, seen, _ in cuts if start <= t < stop]
    ends.append((stop - 1 - start, running, last[torch.from_numpy(running).to(device)]))
    steps = np.concatenate([np.full(len(columns), t) for t, columns, _ in ends])
    columns = np.concatenate([columns for _, columns, _ in ends])
    terminated, done = (torch.tensor(one[rows], device=device) for one in (rollout.terminated, rollout.done))
    return Unrolls(
        rollout.observations[rows],
        rollout.actions[rows],
        rollout.log_policies[rows],
        rollout.values[rows],
        rewards=torch.tensor(rewards[rows], device=device),
        terminated=terminated,
        done=done,
        mask=torch.ones_like(done),
        after=torch.cat([seen for *_, seen in ends]),
        places=(torch.tensor(steps, device=device), torch.tensor(columns, device=device)),
    )


def trace(args: Any, unrolls: Unrolls, log_probs: Tensor, values: Tensor, after: Tensor) -> VTrace:
    """V-trace of unrolls, from log-probabilities and values [T * M] of their rows now, and values [K] of `after`.

    args: with `gamma`, `rho_bar`, `c_bar` and `vtrace_lambda`.
    """
    behaviour = unrolls.log_policies.gather(-1, unrolls.actions[..., None])[..., 0]
    values = values.view_as(behaviour)
    return vtrace(
        log_probs.view_as(behaviour) - behaviour,
        unrolls.rewards,
        values,
        unrolls.next_values(values, after),
        unrolls.terminated,
        unrolls.done,
        args.gamma,
        rho_bar=args.rho_bar,
        c_bar=args.c_bar,
        lambda_=args.vtrace_lambda,
    )


def fields_of_unrolls(num_actions: int) -> Fields:
    """What a replay keeps of each of their steps besides what the agent saw and where episodes end."""
    numbers: Fields = dict.fromkeys(("values", "rewards"), ("float32", ()))
    policies = {"actions": ("int64", ()), "log_policies": ("float32", (num_actions,))}
    return {**numbers, **policies, "terminated": ("bool", ())}


def keep_unrolls(
    replay: Replay,
    rollout: Rollout,
    rewards: np.ndarray,
    cuts: Sequence[Cut],
    last: np.ndarray,
    tasks: Sequence[str],
    start: int,
    stop: int,
    first_step: int,
) -> None:
    """Add the steps `start` to `stop` of a rollout to a replay; arguments as of `played_unrolls`.

    tasks: what was played in each step of the rollout. first_step: where in the run the first of these steps is.
    """
    assert rollout.log_policies is not None
    rows = slice(start, stop)
    kept = {"actions": rollout.actions, "log_policies": rollout.log_policies, "values": rollout.values}
    replay.add(
        rollout.observations[rows].cpu().numpy(),
        {
            **{name: column[rows].cpu().numpy() for name, column in kept.items()},
            "rewards": rewards[rows],
            "terminated": rollout.terminated[rows],
        },
        done=rollout.done[rows],
        tasks=tasks[rows],
        step=first_step,
        last=last,
        ends=[(t - start, columns, seen.cpu().numpy()) for t, columns, seen, _ in cuts if start <= t < stop],
    )


def replayed_unrolls(blocks: Blocks, device: torch.device) -> Unrolls:
    """Blocks of a replay that keeps `fields_of_unrolls`. One that is shorter than T steps ends with its last."""
    lengths, columns = blocks.mask.sum(0), np.arange(blocks.mask.shape[1])
    done, final = blocks.fields["done"].copy(), lengths - 1
    open_at_its_end = ~done[final, columns]  # something follows that `ends` do not have
    done[final, columns] = True
    observations = to_device(blocks.observations, device)
    if observations.dim() == 5:  # channels last, as rollouts have them
        observations = observations.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    places = (
        np.concatenate([final[open_at_its_end], blocks.ends.steps]),
        np.concatenate([columns[open_at_its_end], blocks.ends.columns]),
    )
    names = ("actions", "log_policies", "values", "rewards", "terminated")
    return Unrolls(
        observations=observations,
        **{name: to_device(blocks.fields[name], device) for name in names},
        done=to_device(done, device),
        mask=to_device(blocks.mask, device),
        after=to_device(np.concatenate([blocks.last[open_at_its_end], blocks.ends.observations]), device),
        places=(to_device(places[0], device), to_device(places[1], device)),
    )
