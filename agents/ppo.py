"""PPO on frames: the convolutional network of DQN with a policy and a value head."""

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from continual_hackatari.agents.actor_critic import ActorCritic, blank
from continual_hackatari.agents.layers import CReLU, HiddenLayer, over_all

HIDDEN_LAYERS = {"conv1": 0, "conv2": 2, "conv3": 4, "fc": 7}
"""Their places in `network`."""


class PPO(ActorCritic):
    """Three convolutions, 512 units, two heads (Mnih et al. 2015, https://doi.org/10.1038/nature14236).

    Observations: `[B, num_planes, 84, 84]`, uint8 or float, grey levels 0 to 255; the network scales them itself.
    Weights: `network.{0,2,4,7}`, `actor`, `critic`; checkpoints of CleanRL-style PPO agents have the same names.
    For speed, on any device: `put_channels_last`, autocast to bfloat16, `torch.compile`.
    """

    castable = True

    def __init__(
        self,
        num_actions: int,
        num_planes: int = 4,
        *,
        layer_norm: bool = False,
        crelu: float = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        """num_planes: the stacked frames, plus goal planes where hindsight is used. layer_norm, crelu: see
        `agents/layers.py`. generator: see `make_agent`."""
        super().__init__()
        self.crelu = bool(crelu)
        channels = [max(1, math.ceil((crelu or 1) * units)) for units in (32, 64, 64, 512)]
        activate: Callable[..., nn.Module] = CReLU if crelu else nn.ReLU
        seen = [units * (1 + self.crelu) for units in channels]
        self.network = nn.Sequential(
            blank(nn.Conv2d, num_planes, channels[0], 8, stride=4),  # -> [B, 32, 20, 20]
            activate(inplace=True),
            blank(nn.Conv2d, seen[0], channels[1], 4, stride=2),  # -> [B, 64, 9, 9]
            activate(inplace=True),
            blank(nn.Conv2d, seen[1], channels[2], 3, stride=1),  # -> [B, 64, 7, 7]
            nn.Flatten(),  # before the ReLU: in channels-last memory its gradient then passes the ReLU in one order
            activate(inplace=True),
            blank(nn.Linear, seen[2] * 7 * 7, channels[3]),
            activate(inplace=True),
        )
        self.actor = blank(nn.Linear, seen[3], num_actions)
        self.critic = blank(nn.Linear, seen[3], 1)
        if layer_norm:
            self.castable = False  # gains begin at 1, and near it bfloat16 has one number in 0.8 %
            self.norm = nn.ModuleDict({n: over_all(units) for n, units in zip(HIDDEN_LAYERS, channels, strict=True)})
        self.initialise(generator)

    def hidden(self, x: Tensor) -> Tensor:
        """Features `[B, 512]`."""
        return self.features(x)[-1]

    def keep_in_float32(self) -> None:
        """The heads, and the first filters, which are scaled before they are rounded."""
        super().keep_in_float32()
        filters = cast(nn.Conv2d, self.network[0]).weight
        filters.data = filters.data.float()

    def hidden_layers(self) -> list[HiddenLayer]:
        """Three convolutions and the fully connected layer; the policy and the value head together read the last."""
        layers = [cast(nn.Conv2d | nn.Linear, self.network[place]) for place in HIDDEN_LAYERS.values()]
        readers: list[list[nn.Conv2d | nn.Linear]] = [*([layer] for layer in layers[1:]), [self.actor, self.critic]]
        norms = [self.norm[name] for name in HIDDEN_LAYERS] if hasattr(self, "norm") else [None] * len(layers)
        return [
            HiddenLayer(layer, reads, name, non_negative=True, norm=norm, halves=self.crelu)
            for layer, reads, name, norm in zip(layers, readers, HIDDEN_LAYERS, norms, strict=True)
        ]

    def hidden_outputs(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Those of `features`, and the last of them."""
        features = self.features(x)
        return features, features[-1]

    def inspect(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Outputs of the four hidden layers, `[B, H, W, channels]` three times and `[B, 512]`; and the last of them."""
        features = self.features(x)
        return {n: f.movedim(1, -1) for n, f in zip(HIDDEN_LAYERS, features, strict=True)}, features[-1]

    def features(self, x: Tensor, added: Sequence[Tensor] = ()) -> list[Tensor]:
        """Outputs of the four hidden layers after their ReLU: `[B, channels, H, W]` three times, and `[B, 512]`.

        added: what to add to the second, third and fourth before their ReLU, if anything.
        """
        first, second = (cast(nn.Conv2d, self.network[place]) for place in (0, 2))
        if not x.is_floating_point():
            x = x.to(_arithmetic(second.weight))
        # Grey levels become 0..1 by scaling the 8 x 8 filters instead of every pixel: the same sum, and the conversion
        # from uint8, exact even in bfloat16, is the only pass over the frames. Scaled in float32 and rounded after it:
        # most numbers of bfloat16 times 1/255 would be rounded up, 0.2 % in the mean.
        x = F.conv2d(x, (first.weight * (1 / 255)).to(x.dtype), first.bias, stride=4)
        norms = iter(self.norm.values()) if hasattr(self, "norm") else None
        x = x if norms is None else next(norms)(x)
        outputs, others = [], iter(added)
        for layer in islice(self.network, 1, None):  # a slice of the Sequential would build a new module at every call
            x = layer(x)
            if added and isinstance(layer, (nn.Conv2d, nn.Linear)):
                x = x + next(others)
            if norms is not None and isinstance(layer, (nn.Conv2d, nn.Linear)):
                x = next(norms)(x)
            if isinstance(layer, (nn.ReLU, CReLU)):
                outputs.append(x)
        outputs[2] = outputs[2].unflatten(1, (-1, 7, 7))
        return outputs


def _arithmetic(weight: Tensor) -> torch.dtype:
    """The dtype that a convolution with `weight` computes in, here and now."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
