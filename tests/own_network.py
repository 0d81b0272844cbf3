"""An agent of somebody's own, named on the command line as `own_network:OwnNetwork`."""

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
