"""Adam that can begin anew for single rows or columns of a weight matrix."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# From here on the remaining difference of a correction `1 - beta^steps` from 1 is left out: with the usual betas after
# 3,900 steps, from which on a restarted entry's steps are up to 1 % longer than a new Adam's.
NEGLIGIBLE = 0.02
STARTS = ("restarted_rows", "restarted_columns")
"""State per parameter, for dim 0 and dim 1: the parameter's step count at each row's (column's) last restart, or 0."""
MOMENTS = ("exp_avg", "exp_avg_sq")
LOOKED = "looked_for_young"
"""State per parameter: its step count when its young entries were last looked for, so that a continued optimizer treats
the same entries as young as one that was never interrupted."""
LOOK_EVERY = 500


@dataclass
class _Young:
    """The entries of a parameter that were restarted and whose correction still matters."""

    length: int
    """They lie in memory in blocks of this many entries: what is contiguous is copied many times faster."""
    blocks: Tensor
    """int64, the numbers of the blocks."""
    starts: Tensor
    """The parameter's step count when they began, one per entry."""
    steps_left: int = LOOK_EVERY
    """Until they are looked for again, so that those grown old cost nothing."""


class RestartableAdam(torch.optim.Adam):
    """PyTorch's Adam, where `restart` makes some entries of a parameter start over: moments and step count zero.

    Adam divides its moments by `1 - beta^step` because they start at zero. A weight that is replaced in mid-training
    starts at zero again, while the parameter's own step count goes on: with the usual betas such an entry would make
    steps of up to 6.6 times the learning rate. Here each restarted entry has its own step count.

    All entries that were never restarted take exactly the step of `torch.optim.Adam`, at its speed; the restarted ones
    are computed separately until their correction is negligible. State per parameter: `exp_avg`, `exp_avg_sq`, `step`,
    and, once something was restarted, `STARTS`: an entry began with the later one of its row and its column.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        fused: bool | None = None,
        capturable: bool = False,
    ) -> None:
        """The arguments of `torch.optim.Adam`, without its variants."""
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused, capturable=capturable
        )
        self._young: dict[Tensor, _Young] = {}

    def restart(self, parameter: Tensor, dim: int, index: Tensor) -> None:
        """Start over for the entries `index` along `dim`: dim 0 are rows of a weight, dim 1 its columns."""
        state = self.state.get(parameter)
        if not state:  # no step was made yet: everything is at its start
            return
        if STARTS[0] not in state:
            for name, size in zip(STARTS, parameter.shape[:2], strict=False):
                state[name] = torch.zeros(size, device=parameter.device)
        state[STARTS[dim]].index_fill_(0, index, float(state["step"]))
        for moment in MOMENTS:  # never one without the other
            state[moment].index_fill_(dim, index, 0.0)
        self._young.pop(parameter, None)
        state.pop(LOOKED, None)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # after loading, copying, unpickling
        self._young = {}
        for parameter, kept in self.state.items():
            for moment in set(MOMENTS) & set(kept):  # a moment lies in memory as its parameter does, see `_flat`
                kept[moment] = torch.empty_like(parameter).copy_(kept[moment])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; `closure` as in `torch.optim.Adam`."""
        young = [
            {p: entries for p in group["params"] if (entries := self._find(p, group))} for group in self.param_groups
        ]
        before = [[_taken(parameter, entries) for parameter, entries in found.items()] for found in young]
        loss = super().step(closure)
        for group, found, values in zip(self.param_groups, young, before, strict=True):
            if found:
                self._step_young(found, torch.cat(values), group)
        return loss

    def _find(self, parameter: Tensor, group: dict[str, Any]) -> _Young | None:
        """The parameter's young entries, None where it has none."""
        state = self.state.get(parameter, {})
        if STARTS[0] not in state or parameter.grad is None:
            return None
        young = self._young.get(parameter)
        if young is None and LOOKED in state:  # after loading
            young = self._look(parameter, group)
            young.steps_left -= int(state["step"] - state[LOOKED])
        if young is None or young.steps_left <= 0:
            state[LOOKED] = state["step"].clone()
            young = self._look(parameter, group)
        young.steps_left -= 1
        return young if len(young.blocks) else None

    def _look(self, parameter: Tensor, group: dict[str, Any]) -> _Young:
        """The entries that were young at step `LOOKED`."""
        state = self.state[parameter]
        starts = torch.zeros_like(parameter)
        for dim, name in enumerate(STARTS[: parameter.dim()]):
            torch.maximum(starts, _along(state[name], dim, parameter.dim()), out=starts)
        beta = max(group["betas"])
        horizon = math.log(NEGLIGIBLE) / math.log(beta) if beta > 0 else 0
        flat = _flat(starts)
        matters = (flat > 0) & (state[LOOKED] - flat < horizon)
        borders = (matters[1:] != matters[:-1]).nonzero().flatten() + 1
        length = math.gcd(len(flat), *borders.tolist())
        blocks = matters[::length].nonzero().flatten()
        young = self._young[parameter] = _Young(length, blocks, flat[matters])
        return young

    def _step_young(self, young: dict[Tensor, _Young], before: Tensor, group: dict[str, Any]) -> None:
        """Adam's step of the young entries, from their values before it, with the moments it has just updated.

        Those of all parameters together: there are few of them, so that the number of operations is what costs.
        """
        moments = [torch.cat([_taken(self.state[p][name], y) for p, y in young.items()]) for name in MOMENTS]
        steps = torch.cat([self.state[p]["step"] - y.starts for p, y in young.items()])
        for moment, beta in zip(moments, group["betas"], strict=True):
            moment.div_(torch.expm1(steps * (math.log(beta) if beta > 0 else -math.inf)).neg_())  # 1 - beta^steps
        mean, square = moments
        after = before.sub_(mean.div_(square.sqrt_().add_(group["eps"])).mul_(group["lr"]))
        for (parameter, entries), values in zip(
            young.items(), after.split([len(y.starts) for y in young.values()]), strict=True
        ):
            _flat(parameter, entries.length).index_copy_(0, entries.blocks, values.reshape(-1, entries.length))


def _along(vector: Tensor, dim: int, dims: int) -> Tensor:
    """`vector` as a tensor of `dims` dimensions that has its values along `dim`."""
    return vector.reshape([-1 if i == dim else 1 for i in range(dims)])


def _flat(tensor: Tensor, length: int | None = None) -> Tensor:
    """All entries in the order of the memory, or blocks of `length` of them; weights and moments have no gaps."""
    entries = tensor.as_strided((tensor.numel(),), (1,))
    return entries if length is None else entries.view(-1, length)


def _taken(tensor: Tensor, young: _Young) -> Tensor:
    """A copy of the young entries."""
    return _flat(tensor, young.length).index_select(0, young.blocks).flatten()
