"""PPO on frames whose least useful units are replaced while it learns."""

from typing import Literal, cast, overload

from torch import Tensor, nn

from continual_hackatari.agents.actor_critic import read_policy
from continual_hackatari.agents.continual_backprop import CbpLayer
from continual_hackatari.agents.ppo import PPO


class PPOCBP(PPO):
    """The network of `PPO`, and what `ContinualBackprop` needs to know of it.

    Weights have the names of `PPO`'s; acting and evaluating are the same. Only the forward pass of an update asks for
    the features of the hidden layers as well, and hands them to `ContinualBackprop.step` after the optimizer's step.
    """

    @overload
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(self, x: Tensor, with_features: Literal[True]) -> tuple[Tensor, Tensor, list[Tensor]]: ...

    def forward(
        self, x: Tensor, with_features: bool = False
    ) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, list[Tensor]]:
        """Logits `[B, num_actions]` and value `[B]`, and with `with_features` those of `features`."""
        features = self.features(x)
        logits, value = self.heads(features[-1])
        # Detached and not copied: they are to be read before the next forward pass.
        return (logits, value, [feature.detach() for feature in features]) if with_features else (logits, value)

    def get_action_value_and_features(
        self, x: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
        """What `get_action_and_value` gives for these actions, and the features of the same forward pass."""
        logits, value, features = self(x, True)
        return (*read_policy(logits, action), value, features)

    def cbp_layers(self) -> list[CbpLayer]:
        """The four hidden layers in the order of `features`; the policy and the value head together read the last."""
        conv_1, conv_2, conv_3 = (cast(nn.Conv2d, self.network[i]) for i in (0, 2, 4))
        fully_connected = cast(nn.Linear, self.network[7])
        return [
            CbpLayer(conv_1, [conv_2], name="conv1", non_negative=True),
            CbpLayer(conv_2, [conv_3], name="conv2", non_negative=True),
            CbpLayer(conv_3, [fully_connected], name="conv3", non_negative=True),
            CbpLayer(fully_connected, [self.actor, self.critic], name="fc", non_negative=True),
        ]
