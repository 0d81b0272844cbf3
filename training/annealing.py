"""How the learning rate decays over a run or its regimes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from continual_hackatari.schedules.survey import regime_starts


def annealing_borders(schedule: Any, total_timesteps: int, num_envs: int, *, per_regime: bool) -> list[int]:
    """Where the learning rate begins anew, from 0, and the end of the run: the whole run or each of its regimes."""
    if not per_regime:
        return [0, total_timesteps]
    return [*regime_starts(schedule.segments(0, total_timesteps), num_envs), total_timesteps]


def remaining_share(borders: Sequence[int], step: int, last_step: int) -> float:
    """The part of the learning rate that is left, 1 to 0, for a rollout whose vector steps begin at these two steps.

    Of a rollout that holds a switch it is that of the new regime, which is about to be learned.
    """
    index = bisect_right(borders, last_step) - 1
    start, stop = borders[index], borders[index + 1]
    return 1.0 - max(0, step - start) / (stop - start)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Change it in place, where it is a tensor that others hold."""
    group = optimizer.param_groups[0]
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(value)
    else:
        group["lr"] = value
