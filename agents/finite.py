"""Numbers that are not finite, noticed once per update."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class NotFiniteError(ArithmeticError):
    """A loss or a weight became NaN or infinite; training on would destroy the agent."""


def not_finite(losses: Sequence[Tensor], names: Sequence[str], agent: nn.Module) -> str:
    """What of an update is NaN or infinite, in words; empty when nothing is.

    losses: one `[n]` per gradient step, at least one. names: of the n losses, at least as many. On a GPU this waits for
    it once, however many gradient steps there were.
    """
    finite = torch.stack(list(losses)).isfinite()  # [gradient steps, n]
    weights = dict(agent.named_parameters())
    finite_weights = torch.stack([_all_finite(weight.detach()) for weight in weights.values()])
    if bool(finite.all() & finite_weights.all()):
        return ""
    broken_steps = (~finite.all(1)).nonzero().flatten().tolist()
    if broken_steps:
        step = broken_steps[0]
        broken = [name for name, fine in zip(names, finite[step].tolist(), strict=False) if not fine]
        return f"{', '.join(broken)} of gradient step {step + 1} of {len(losses)}"
    broken = [name for name, fine in zip(weights, finite_weights.tolist(), strict=True) if not fine]
    return f"the weights {', '.join(broken[:3])} after the last gradient step"


def _all_finite(weight: Tensor) -> Tensor:
    """One bool. The smallest and the largest number tell of all, a NaN is both, and they are found without a copy."""
    if weight.is_complex() or weight.numel() == 0:
        return weight.isfinite().all()
    return torch.stack(weight.aminmax()).isfinite().all()
