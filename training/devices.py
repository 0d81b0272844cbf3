"""On which device the agent computes, and the line that says so."""

from __future__ import annotations

import torch

from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.ranks import ALONE, Ranks


def choose_device(device: str, cuda: bool, ranks: Ranks = ALONE) -> torch.device:
    """The device of this process: `auto` takes a GPU that CUDA knows, else a Mac's (mps), else the CPU.

    cuda: the older flag; off, `auto` takes the CPU.

    Raises:
        ConfigError: what is asked for is not there, or not for so many processes.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "cuda" and not cuda:
        raise ConfigError("`device` cuda and `--no_cuda` contradict each other; leave one of the two out")
    if not there.get(device, True):
        others = [name for name, found in there.items() if found]
        raise ConfigError(
            f"`device` {device}: PyTorch finds no such GPU on this machine; choose {' or '.join([*others, 'cpu'])}, or "
            "auto, which takes what there is"
        )
    if device == "mps" and not ranks.alone:
        raise ConfigError(
            f"`device` mps: torchrun has started {ranks.size} processes, which can compute with cuda or on the CPU "
            "only; add `--device cpu`"
        )
    if device == "auto":
        allowed = {"cuda": cuda, "mps": cuda and ranks.alone}
        device = next((name for name in there if there[name] and allowed[name]), "cpu")
    if device == "cuda" and ranks.local_size > torch.cuda.device_count():
        raise ConfigError(
            f"`cuda`: torchrun has started {ranks.local_size} processes on this machine, which has "
            f"{torch.cuda.device_count()} GPUs, and each needs its own; start fewer, or add `--no-cuda`"
        )
    return torch.device(device) if device != "cuda" or ranks.alone else torch.device("cuda", ranks.local_rank)


def device_line(doing: str, chosen: torch.device, device: str, cuda: bool) -> str:
    """What was chosen, for the user. doing: training, or evaluating."""
    if chosen.type == "cuda":
        return f"{doing} on the GPU: {torch.cuda.get_device_name(chosen)}"
    if chosen.type == "mps":
        return f"{doing} on the GPU of this Mac (mps), which was never tested; `--device cpu` does without it"
    return f"no GPU found: {doing} on the CPU" if device == "auto" and cuda else f"{doing} on the CPU"
