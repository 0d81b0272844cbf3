"""Checkpoints: one file that holds an agent and what is needed to use it again.

The file is `torch.save` of a dict with `model_weights` (the agent's state dict), `args` (the run's settings, plain
values), `global_step`, and whatever else the run adds. It is read with `weights_only=True`: a checkpoint is data, it
cannot run code.
"""

import difflib
import io
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from continual_hackatari.reporting.runs import advice_on
from continual_hackatari.training.files import atomic_path


class CheckpointError(ValueError):
    """A checkpoint cannot be written or read; the message is one sentence that says which and why."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds. All tensors are on the CPU."""

    model_weights: dict[str, Tensor]
    args: dict[str, Any]
    """The settings of the run, by name. May hold names unknown to this version, or lack known ones."""
    global_step: int | None
    """Steps over all environments when it was written; None where the file does not say (files of other programs)."""
    extra: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: str | Path, *, model_weights: Mapping[str, Tensor], args: Mapping[str, Any], global_step: int, **extra: Any
) -> None:
    """Write a checkpoint that appears whole or not at all; an older file at `path` is replaced.

    args, extra: None, bool, int, float, str, tensors, and lists, tuples and dicts of these. Anything else raises
    CheckpointError here, because the file would be refused when it is read.
    """
    path = Path(path)
    for name, value in {"args": dict(args), "global_step": global_step, **extra}.items():
        _require_plain(name, value)
    content = {
        # Detached and on the CPU: the file must load on a machine without this one's accelerator.
        "model_weights": {name: tensor.detach().cpu().contiguous() for name, tensor in model_weights.items()},
        "args": dict(args),
        "global_step": global_step,
        **extra,
    }
    try:
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # PyTorch reports a missing folder or a full disk as RuntimeError
        raise CheckpointError(f"`{path}` could not be written: {_first_line(error)}.") from error


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint, this project's or another one's with the entries `model_weights` and `args`.

    Raises CheckpointError for a file that is missing, damaged, unsafe, or not a checkpoint.
    """
    path = Path(path)
    content = _read(path)
    if not isinstance(content, dict) or "model_weights" not in content:
        raise CheckpointError(f"`{path}` is not a checkpoint: it has no entry `model_weights`.")
    weights = content.pop("model_weights")
    if not isinstance(weights, dict) or not weights or not all(isinstance(t, Tensor) for t in weights.values()):
        raise CheckpointError(f"`{path}` is not a checkpoint: its `model_weights` are not tensors by name.")
    args = content.pop("args", {})
    if not isinstance(args, dict):
        raise CheckpointError(f"`{path}` is not a checkpoint: its `args` are not values by name.")
    global_step = content.pop("global_step", None)
    if type(global_step) not in (int, type(None)):
        raise CheckpointError(f"`{path}` is not a checkpoint: its `global_step` is not a whole number.")
    return Checkpoint(dict(weights), args, global_step, content)


def trained_with(checkpoint: Checkpoint, name: str, default: Any) -> Any:
    """A setting of the training run, or `default` where the checkpoint does not say.

    Raises:
        CheckpointError: it is not of the type of `default`.
    """
    value = checkpoint.args.get(name, default)
    value = list(value) if isinstance(value, tuple) else value
    if type(value) is not type(default):
        raise CheckpointError(f"`{name}` is {value!r} in the checkpoint, where a {type(default).__name__} belongs")
    return value


def _read(path: Path) -> Any:
    if not path.exists():
        raise CheckpointError(f"`{path}` does not exist; {_advice_on(path)}")
    if path.is_dir():
        raise CheckpointError(f"`{path}` is a folder; give the path of a .cleanrl_model file in it.")
    if not path.is_file():  # a device may never end
        raise CheckpointError(f"`{path}` is not a file; give the path of a .cleanrl_model file.")
    try:
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"`{path}` could not be read: {error.strerror}.") from error
    try:
        return torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no checkpoint can make the reader fail with almost any error
        if "unsupported global" in str(error).lower():
            raise CheckpointError(
                f"`{path}` was not loaded: it holds Python objects other than tensors and plain values, and creating "
                "those could run code."
            ) from error
        raise CheckpointError(f"`{path}` is damaged, cut short, or not a checkpoint at all.") from error


def _advice_on(path: Path) -> str:
    """The nearest file beside it, or the nearest run, where there are any."""
    if str(path).lower() == "random":
        return "the random player is written `random`."
    beside = {other.name for other in path.parent.glob("*.cleanrl_model")}
    if near := difflib.get_close_matches(path.name, beside, n=1):
        return f"did you mean `{path.with_name(near[0])}`?"
    named_a_file = path.suffix == ".cleanrl_model" and not path.parent.exists()
    return f"give a .cleanrl_model file or a run folder; {advice_on(path.parent if named_a_file else path)}"


def _require_plain(name: str, value: Any) -> None:
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _require_plain(name, key)
            _require_plain(f"{name}.{key}", item)
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _require_plain(f"{name}[{index}]", item)
    elif value is not None and type(value) not in (bool, int, float, str) and not isinstance(value, Tensor):
        raise CheckpointError(
            f"`{name}` is a {type(value).__module__}.{type(value).__qualname__}; a checkpoint holds only tensors, "
            "numbers, strings, None, and lists, tuples and dicts of these."
        )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
