"""An agent of somebody's own, named on the command line as `own_network:OwnNetwork`."""

import torch
from torch import nn

from continual_hackatari.agents import ActorCritic


class OwnNetwork(ActorCritic):
    """One hidden layer that looks at a sixteenth of the pixels."""

    def __init__(self, shape, num_actions):
        super().__init__()
        self.layer = nn.Linear(shape[0] * 21 * 21, 16)
        self.actor, self.critic = nn.Linear(16, num_actions), nn.Linear(16, 1)
        self.initialise()

    def hidden(self, x):
        return self.layer(x[:, :, ::4, ::4].flatten(1) / 255).relu()


class OverTime(OwnNetwork):
    """Looks at neighbouring frames together, by a three-dimensional convolution."""

    def __init__(self, shape, num_actions):
        super().__init__(shape, num_actions)
        self.motion = nn.Conv3d(1, 1, (3, 1, 1), padding=(1, 0, 0))
        self.initialise()

    @torch.no_grad()
    def initialise(self, generator=None):
        super().initialise(generator)
        for parameter in self.motion.parameters() if hasattr(self, "motion") else ():
            parameter.copy_(torch.rand(parameter.shape, generator=generator))

    def hidden(self, x):
        return super().hidden(self.motion(x.unsqueeze(1).float()).squeeze(1))


class Recurrent(OwnNetwork):
    """Reads its features once more, by a layer that the base class does not draw."""

    def __init__(self, shape, num_actions):
        super().__init__(shape, num_actions)
        self.cell, self.norm = nn.GRUCell(16, 16), nn.LayerNorm(16, elementwise_affine=False)

    def hidden(self, x):
        return self.norm(self.cell(super().hidden(x)))


class Frozen(OwnNetwork):
    """Its layer stays as it was drawn, a normaliser as it was loaded; a frozen layer of another kind is no matter."""

    def __init__(self, shape, num_actions):
        super().__init__(shape, num_actions)
        self.layer.requires_grad_(False)
        self.norm, self.cell = nn.LayerNorm(16).requires_grad_(False), nn.GRUCell(16, 16).requires_grad_(False)
        nn.init.constant_(self.norm.weight, 3)
        nn.init.constant_(self.norm.bias, 2)

    def hidden(self, x):
        return self.norm(self.cell(super().hidden(x)))


class DrawnRecurrent(Recurrent):
    """The same, with an initialiser that draws this layer too."""

    @torch.no_grad()
    def initialise(self, generator=None):
        super().initialise(generator)
        for parameter in self.cell.parameters() if hasattr(self, "cell") else ():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
