"""Methods that keep an agent learning, or keep what it has learned: one file each, which nothing else has to name.

`moments.py` says when a method acts and what it is given; `together.py` is what a script asks at each of these moments.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from continual_hackatari.methods.moments import Method

NO_METHODS = ("moments", "together")


@functools.cache
def all_methods() -> dict[str, type[Method]]:
    """Every method by its name, which is the name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in NO_METHODS)
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module.METHOD for name, module in modules.items()}
