"""PPO on object features: small fully connected layers instead of convolutions."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from continual_hackatari.agents.actor_critic import ActorCritic, blank
from continual_hackatari.agents.errors import AgentError

# Features are positions and sizes in pixels of the 160 x 210 screen; dividing by its height brings them to about 0..1.
FEATURE_SCALE = 1 / 210


class PPOObj(ActorCritic):
    """An encoder reads each frame's features, a decoder reads all frames of the window, two heads share its output.

    Observations: `[B, window, num_features]`, float, in pixels (an absent object is 0, a position may be negative); the
    network scales them itself. The encoder has one set of weights for all frames, so that an object is recognised alike
    in each; motion appears first in the decoder, where the frames meet.
    Weights: `encoder.{0,2,...}`, `decoder.{0,2,...}`, `actor`, `critic`.
    """

    def __init__(
        self,
        num_actions: int,
        window: int,
        num_features: int,
        *,
        encoder_dims: Sequence[int] = (256, 256),
        decoder_dims: Sequence[int] = (128,),
        generator: torch.Generator | None = None,
    ) -> None:
        """encoder_dims, decoder_dims: units per layer, ReLU after each; empty means no such part. Raises AgentError."""
        super().__init__()
        for name, dims in (("encoder_dims", encoder_dims), ("decoder_dims", decoder_dims)):
            if any(units < 1 for units in dims):
                raise AgentError(f"`{name}` is {list(dims)}; every layer needs at least one unit.")
        self.encoder = _fully_connected([num_features, *encoder_dims])
        decoder_sizes = [window * [num_features, *encoder_dims][-1], *decoder_dims]
        self.decoder = _fully_connected(decoder_sizes)
        self.actor = blank(nn.Linear, decoder_sizes[-1], num_actions)
        self.critic = blank(nn.Linear, decoder_sizes[-1], 1)
        self.initialise(generator)

    def hidden(self, x: Tensor) -> Tensor:
        """Features `[B, units of the last layer]`."""
        x = x.to(self.actor.weight.dtype) * FEATURE_SCALE
        return self.decoder(self.encoder(x).flatten(start_dim=1))  # [B, window, units] -> [B, window * units] -> ...

    def inspect(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Outputs `[B, window, units]` of `encoder1`, `encoder2`, ... and `[B, units]` of `decoder1`, ...; features."""
        x = x.to(self.actor.weight.dtype) * FEATURE_SCALE
        outputs: dict[str, Tensor] = {}
        for part, layers in (("encoder", self.encoder), ("decoder", self.decoder)):
            if part == "decoder":
                x = x.flatten(start_dim=1)
            for position, layer in enumerate(layers):
                x = layer(x)
                if isinstance(layer, nn.ReLU):
                    outputs[f"{part}{position // 2 + 1}"] = x
        return outputs, x


def _fully_connected(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [blank(nn.Linear, inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers)
