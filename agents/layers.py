"""The hidden layers of a network as what measures, replaces or recycles units sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from continual_hackatari.agents.errors import AgentError

Layer = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class HiddenLayer:
    """A layer of units (neurons, or output channels), and the modules that read them.

    Several consumers count as one stacked consumer: all their weights of a unit together are its outgoing weights. A
    linear consumer may read every unit at several positions. Of a flattened convolution `[channels, H, W]` the
    positions of a unit lie side by side; of a layer that looked at several frames, `[frames, units]`, they do not.
    """

    layer: Layer
    consumers: Sequence[Layer]
    name: str = ""
    """For what is logged; default: the position, from 1."""
    non_negative: bool = False
    """The features are outputs of a ReLU: their mean is that of their magnitudes, one pass over them instead of two."""
    norm: nn.Module | None = None
    """Normalises what the layer gives before the activation, with a gain and an offset per unit."""
    frames: int = 1
    """At how many frames a fully connected layer looks: a consumer may read each unit in all of them."""
    halves: bool = False
    """Each unit has two outputs, of its positive and of its negative part, as CReLU gives them."""

    @property
    def units(self) -> int:
        return self.layer.weight.shape[0]

    @property
    def trained(self) -> bool:
        """Whether its units can be replaced: neither what makes them nor what reads them is frozen."""
        own = [*self.layer.parameters(), *(self.norm.parameters() if self.norm is not None else ())]
        return all(each.requires_grad for each in (*own, *(consumer.weight for consumer in self.consumers)))

    def columns_of(self, consumer: Layer, units: Tensor) -> Tensor:
        """The input columns of a consumer that read these units, int64."""
        if self.halves:
            units = torch.cat([units, self.units + units])
        outputs = self.units * (1 + self.halves)
        positions = torch.arange(consumer.weight.shape[1] // outputs, device=units.device)
        if isinstance(self.layer, nn.Linear):
            return (units.unsqueeze(1) + outputs * positions).flatten()
        return (units.unsqueeze(1) * len(positions) + positions).flatten()


def columns_per_unit(hidden: HiddenLayer, position: int) -> list[int]:
    """Input columns of each consumer that belong to one unit.

    Raises AgentError for consumers that do not read exactly this layer's output.
    """
    layer, columns = hidden.layer, []
    for consumer in hidden.consumers:
        per_unit, left = divmod(consumer.weight.shape[1], hidden.units)
        flattens = isinstance(layer, nn.Conv2d) and isinstance(consumer, nn.Linear)
        same_kind = isinstance(consumer, type(layer)) and per_unit in (1, hidden.frames)
        if left or per_unit == 0 or not (flattens or same_kind):
            raise AgentError(
                f"`layers[{position}]` has {hidden.units} units, which a consumer with {consumer.weight.shape[1]} "
                f"inputs ({type(consumer).__name__}) cannot read; consumers must read exactly this layer's output."
            )
        columns.append(per_unit)
    if len(set(columns)) != 1 or len({isinstance(consumer, nn.Linear) for consumer in hidden.consumers}) != 1:
        raise AgentError(f"`layers[{position}]` needs consumers, at least one and all of one kind.")
    return columns


class CReLU(nn.Module):
    """The positive and the negative part of every unit, `[relu(x), relu(-x)]`, one after the other along `dim`."""

    def __init__(self, inplace: bool = False, dim: int = 1) -> None:
        """inplace: as in `nn.ReLU`, which this takes the place of; without meaning here."""
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.relu(), (-x).relu()], self.dim)


def over_all(units: int) -> nn.Module:
    """A normaliser of all that a layer gives for one observation, with a gain and an offset per unit.

    Of a convolution `[B, channels, H, W]` mean and deviation are over channels and positions, so that what one place
    has more of than another is kept; of `[B, units]` over the units.
    """
    return nn.GroupNorm(1, units)
