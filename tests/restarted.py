"""What optimizers that start over for single entries have made of them."""

import torch

from continual_hackatari.agents.restartable_adam import STARTS


def entry_steps(optimizer, parameter):
    """Steps of a `RestartableAdam` since each entry's start, a tensor of the parameter's shape."""
    state = optimizer.state[parameter]
    steps = torch.full_like(parameter, float(state["step"]))
    for dim, name in enumerate(STARTS[: parameter.dim()]):
        if name in state:
            shape = [-1 if i == dim else 1 for i in range(parameter.dim())]
            steps = torch.minimum(steps, (float(state["step"]) - state[name]).reshape(shape))
    return steps
