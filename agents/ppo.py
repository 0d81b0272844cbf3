"""PPO on frames: the convolutional network of DQN with a policy and a value head."""

from itertools import islice
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from continual_hackatari.agents.actor_critic import ActorCritic, blank

HIDDEN_LAYERS = ("conv1", "conv2", "conv3", "fc")


class PPO(ActorCritic):
    """Three convolutions, 512 units, two heads (Mnih et al. 2015, https://doi.org/10.1038/nature14236).

    Observations: `[B, num_planes, 84, 84]`, uint8 or float, grey levels 0 to 255; the network scales them itself.
    Weights: `network.{0,2,4,7}`, `actor`, `critic`; checkpoints of CleanRL-style PPO agents have the same names.
    For speed, on any device: `agent.to(memory_format=torch.channels_last)`, autocast to bfloat16, `torch.compile`.
    """

    def __init__(self, num_actions: int, num_planes: int = 4, *, generator: torch.Generator | None = None) -> None:
        """num_planes: the stacked frames, plus goal planes where hindsight is used; generator: see `make_agent`."""
        super().__init__()
        self.network = nn.Sequential(
            blank(nn.Conv2d, num_planes, 32, 8, stride=4),  # -> [B, 32, 20, 20]
            nn.ReLU(inplace=True),
            blank(nn.Conv2d, 32, 64, 4, stride=2),  # -> [B, 64, 9, 9]
            nn.ReLU(inplace=True),
            blank(nn.Conv2d, 64, 64, 3, stride=1),  # -> [B, 64, 7, 7]
            nn.Flatten(),  # before the ReLU: in channels-last memory its gradient then passes the ReLU in one order
            nn.ReLU(inplace=True),
            blank(nn.Linear, 64 * 7 * 7, 512),
            nn.ReLU(inplace=True),
        )
        self.actor = blank(nn.Linear, 512, num_actions)
        self.critic = blank(nn.Linear, 512, 1)
        self.initialise(generator)

    def hidden(self, x: Tensor) -> Tensor:
        """Features `[B, 512]`."""
        return self.features(x)[-1]

    def inspect(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Outputs of the four hidden layers, `[B, H, W, channels]` three times and `[B, 512]`; and the last of them."""
        features = self.features(x)
        return {n: f.movedim(1, -1) for n, f in zip(HIDDEN_LAYERS, features, strict=True)}, features[-1]

    def features(self, x: Tensor) -> list[Tensor]:
        """Outputs of the four hidden layers after their ReLU: `[B, channels, H, W]` three times, and `[B, 512]`."""
        first = cast(nn.Conv2d, self.network[0])
        if not x.is_floating_point():
            x = x.to(_arithmetic(first.weight))
        # Grey levels become 0..1 by scaling the 8 x 8 filters instead of every pixel: the same sum, and the conversion
        # from uint8, exact even in bfloat16, is the only pass over the frames.
        x = F.conv2d(x, first.weight * (1 / 255), first.bias, stride=4)
        outputs = []
        for layer in islice(self.network, 1, None):  # a slice of the Sequential would build a new module at every call
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                outputs.append(x)
        outputs[2] = outputs[2].unflatten(1, (64, 7, 7))
        return outputs


def _arithmetic(weight: Tensor) -> torch.dtype:
    """The dtype that a convolution with `weight` computes in, here and now."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
