"""RMSProp that can begin anew for single rows or columns of a weight matrix."""

import torch
from torch import Tensor


class RestartableRMSprop(torch.optim.RMSprop):
    """PyTorch's RMSProp, where `restart` makes some entries of a parameter start over.

    RMSProp corrects nothing by the number of its steps, so an entry whose averages are zero is as at its start.
    """

    def restart(self, parameter: Tensor, dim: int, index: Tensor) -> None:
        """Start over for the entries `index` along `dim`: dim 0 are rows of a weight, dim 1 its columns."""
        for average in self.state.get(parameter, {}).values():
            if isinstance(average, Tensor) and average.shape == parameter.shape:  # all but the number of steps
                average.index_fill_(dim, index, 0.0)
