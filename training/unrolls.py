"""Unrolls: steps of several games side by side, as they were just played or as a replay kept them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from continual_hackatari.training.rollouts import Cut, Rollout


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
