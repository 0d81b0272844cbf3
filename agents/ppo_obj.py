"""PPO on object features: small fully connected layers instead of convolutions."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from continual_hackatari.agents.actor_critic import ActorCritic, blank
from continual_hackatari.agents.errors import AgentError
from continual_hackatari.agents.layers import CReLU, HiddenLayer

# Features are positions and sizes in pixels of the 160 x 210 screen; dividing by its height brings them to about 0..1,
# before they are rounded to what the layers compute in.
FEATURE_SCALE = 1 / 210


class PPOObj(ActorCritic):
    """An encoder reads each frame's features, a decoder reads all frames of the window, two heads share its output.

    Observations: `[B, window, num_features]`, float, in pixels (an absent object is 0, a position may be negative); the
    network scales them itself. The encoder has one set of weights for all frames, so that an object is recognised alike
    in each; motion appears first in the decoder, where the frames meet.
    Weights: `encoder.{0,2,...}`, `decoder.{0,2,...}`, `actor`, `critic`.
    """

    castable = True

    def __init__(
        self,
        num_actions: int,
        window: int,
        num_features: int,
        *,
        encoder_dims: Sequence[int] = (256, 256),
        decoder_dims: Sequence[int] = (128,),
        layer_norm: bool = False,
        crelu: float = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        """encoder_dims, decoder_dims: units per layer, ReLU after each; empty means no such part. layer_norm, crelu:
        see `agents/layers.py`. Raises AgentError.
        """
        super().__init__()
        for name, dims in (("encoder_dims", encoder_dims), ("decoder_dims", decoder_dims)):
            if any(units < 1 for units in dims):
                raise AgentError(f"`{name}` is {list(dims)}; every layer needs at least one unit.")
        self.window, self.crelu = window, bool(crelu)
        if crelu:
            encoder_dims, decoder_dims = (
                [max(1, math.ceil(crelu * units)) for units in dims] for dims in (encoder_dims, decoder_dims)
            )
        twice = 1 + self.crelu
        self.encoder = _fully_connected(num_features, encoder_dims, self.crelu)
        read = window * (twice * encoder_dims[-1] if encoder_dims else num_features)
        self.decoder = _fully_connected(read, decoder_dims, self.crelu)
        features = twice * decoder_dims[-1] if decoder_dims else read
        self.actor = blank(nn.Linear, features, num_actions)
        self.critic = blank(nn.Linear, features, 1)
        if layer_norm:
            self.castable = False  # as in PPO
            sizes = {layer.name: layer.units for layer in self.hidden_layers()}
            self.norm = nn.ModuleDict({name: nn.LayerNorm(units) for name, units in sizes.items()})
        self.initialise(generator)

    def hidden(self, x: Tensor) -> Tensor:
        """Features `[B, units of the last layer]`."""
        if hasattr(self, "norm"):
            return self.hidden_outputs(x)[1]
        x = (x * FEATURE_SCALE).to(self._dtype)
        return self.decoder(self.encoder(x).flatten(start_dim=1))  # [B, window, units] -> [B, window * units] -> ...

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype  # of the first layer: heads are float32 always

    def hidden_layers(self) -> list[HiddenLayer]:
        """`encoder1`, `encoder2`, ... and `decoder1`, ...; the policy and the value head together read the last."""
        parts = (("encoder", self.encoder), ("decoder", self.decoder))
        layers = {f"{part}{i // 2 + 1}": x for part, ls in parts for i, x in enumerate(ls) if isinstance(x, nn.Linear)}
        readers: list[list[nn.Linear]] = [*([layer] for layer in list(layers.values())[1:]), [self.actor, self.critic]]
        norms = getattr(self, "norm", None)
        return [
            HiddenLayer(
                *(layer, reads, name),
                non_negative=True,
                norm=norms[name] if norms else None,
                frames=self.window if name.startswith("encoder") else 1,
                halves=self.crelu,
            )
            for (name, layer), reads in zip(layers.items(), readers, strict=bool(layers))
        ]

    def hidden_outputs(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Those of `inspect` in their order, and the features."""
        outputs, features = self.inspect(x)
        return list(outputs.values()), features

    def inspect(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Outputs `[B, window, units]` of `encoder1`, `encoder2`, ... and `[B, units]` of `decoder1`, ...; features."""
        x = (x * FEATURE_SCALE).to(self._dtype)
        outputs: dict[str, Tensor] = {}
        for part, layers in (("encoder", self.encoder), ("decoder", self.decoder)):
            if part == "decoder":
                x = x.flatten(start_dim=1)
            for position, layer in enumerate(layers):
                x = layer(x)
                name = f"{part}{position // 2 + 1}"
                if isinstance(layer, (nn.ReLU, CReLU)):
                    outputs[name] = x
                elif hasattr(self, "norm"):
                    x = self.norm[name](x)
        return outputs, x


def _fully_connected(inputs: int, dims: Sequence[int], crelu: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for outputs in dims:
        layers += [blank(nn.Linear, inputs, outputs), CReLU(dim=-1) if crelu else nn.ReLU()]
        inputs = outputs * (1 + crelu)
    return nn.Sequential(*layers)
