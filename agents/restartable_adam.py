"""Adam that can begin anew for single rows or columns of a weight matrix."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Below this a correction `1 - beta^step` counts as 1; with the usual betas that is after 9,200 steps.
NEGLIGIBLE = 1e-4


@dataclass
class _Young:
    """The rows and columns of a parameter that were restarted and whose correction still matters."""

    slices: list[tuple[int, Tensor]]
    """(dim, index) pairs."""
    steps_left: int = 1000
    """Until they are looked for again, so that those grown old cost nothing."""


class RestartableAdam(torch.optim.Adam):
    """PyTorch's Adam, where `restart` makes some entries of a parameter start over: moments and step count zero.

    Adam divides its moments by `1 - beta^step` because they start at zero. A weight that is replaced in mid-training
    starts at zero again, while the parameter's own step count goes on: with the usual betas such an entry would make
    steps of up to 6.6 times the learning rate. Here each restarted entry has its own step count.

    All entries that were never restarted take exactly the step of `torch.optim.Adam`, at its speed; the restarted ones
    are computed separately until their correction is negligible. State per parameter: `exp_avg`,
    `exp_avg_sq`, `step`, and, once an entry was restarted, `restarted_at`, the step count of the parameter at that
    moment (0 for the other entries).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        fused: bool | None = None,
    ) -> None:
        """The arguments of `torch.optim.Adam`, without weight decay and variants."""
        super().__init__(params, lr=lr, betas=betas, eps=eps, fused=fused)
        self._young: dict[Tensor, _Young] = {}

    def restart(self, parameter: Tensor, dim: int, index: Tensor) -> None:
        """Start over for the entries `index` along `dim`: dim 0 are rows of a weight, dim 1 its columns."""
        state = self.state.get(parameter)
        if not state:  # no step was made yet: everything is at its start
            return
        if "restarted_at" not in state:
            state["restarted_at"] = torch.zeros_like(parameter)
        state["restarted_at"].index_fill_(dim, index, float(state["step"]))
        for moment in ("exp_avg", "exp_avg_sq"):  # never one without the other
            state[moment].index_fill_(dim, index, 0.0)
        self._young.pop(parameter, None)

    def entry_steps(self, parameter: Tensor) -> Tensor:
        """Steps made since each entry's start, a tensor of the parameter's shape."""
        state = self.state[parameter]
        steps = torch.full_like(parameter, float(state["step"]))
        return steps - state["restarted_at"] if "restarted_at" in state else steps

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # after loading, copying, unpickling
        self._young = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; `closure` as in `torch.optim.Adam`."""
        restarted = [
            (group, parameter, self._young_slices(parameter, group["betas"]))
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and "restarted_at" in self.state[parameter]
        ]
        before = [[parameter.index_select(*where) for where in slices] for _, parameter, slices in restarted]
        loss = super().step(closure)
        for (group, parameter, slices), values in zip(restarted, before, strict=True):
            for where, value in zip(slices, values, strict=True):
                self._step_young(parameter, where, value, group)
        return loss

    def _young_slices(self, parameter: Tensor, betas: tuple[float, float]) -> list[tuple[int, Tensor]]:
        young = self._young.get(parameter)
        if young is None or young.steps_left == 0:
            horizon = math.log(NEGLIGIBLE) / math.log(max(betas)) if max(betas) > 0 else 0
            state = self.state[parameter]
            slices = []
            for dim in range(min(parameter.dim(), 2)):
                # Entries of a restarted row began with it, or later with their column; and the other way round.
                others = [other for other in range(parameter.dim()) if other != dim]
                restarted_at = state["restarted_at"].amin(others) if others else state["restarted_at"]
                matters = (restarted_at > 0) & (state["step"] - restarted_at < horizon)
                if matters.any():
                    slices.append((dim, matters.nonzero().flatten()))
            young = self._young[parameter] = _Young(slices)
        young.steps_left -= 1
        return young.slices

    def _step_young(self, parameter: Tensor, where: tuple[int, Tensor], before: Tensor, group: dict[str, Any]) -> None:
        """Adam's step of some rows or columns from their values before it, with the moments it has just updated."""
        state = self.state[parameter]
        age = state["step"] - state["restarted_at"].index_select(*where)
        beta_1, beta_2 = group["betas"]
        mean = state["exp_avg"].index_select(*where) / (1 - beta_1**age)
        root = (state["exp_avg_sq"].index_select(*where) / (1 - beta_2**age)).sqrt()
        parameter.index_copy_(*where, before - group["lr"] * mean / (root + group["eps"]))
