"""How large the tensors are that a computation makes: what it costs, without a clock."""

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Largest(TorchDispatchMode):
    """A context in which `numbers` becomes how many numbers the largest new tensor has; a view is none."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = {each.untyped_storage().data_ptr() for each in tree_leaves((args, kwargs)) if hasattr(each, "numel")}
        for each in tree_leaves(result):
            if hasattr(each, "numel") and each.untyped_storage().data_ptr() not in given:
                self.numbers = max(self.numbers, each.numel())
        return result
