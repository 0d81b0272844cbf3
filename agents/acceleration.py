"""How an agent computes: in which precision, from which copy of its weights, and launched how.

bfloat16 has float32's range and 8 bits of mantissa: weights stay float32, and only the convolutions and the big linear
layer run in it; log-probabilities, entropies, values and losses are float32 always (see `ActorCritic`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from continual_hackatari.agents.actor_critic import ActorCritic, sample_actions
from continual_hackatari.agents.errors import AgentError

AMP_CHOICES = ("auto", "bf16", "off")


def choose_precision(amp: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The dtype of the network's big layers, and a line that says why.

    `auto` takes bfloat16 where the hardware multiplies it faster than float32. Raises AgentError for another word.
    """
    if amp not in AMP_CHOICES:
        raise AgentError(f"`amp` is {amp!r}; allowed is {', '.join(AMP_CHOICES)}.")
    if amp == "off":
        return torch.float32, f"precision: float32{_rounding_of_float32(device)}"
    if amp == "bf16":
        return torch.bfloat16, "precision: bfloat16 (--amp bf16)"
    fast, reason = _fast_bfloat16(device)
    return (torch.bfloat16 if fast else torch.float32), f"precision: {'bfloat16' if fast else 'float32'} ({reason})"


def _rounding_of_float32(device: torch.device) -> str:
    """What convolutions make of float32 where PyTorch lets the GPU round what it multiplies; nothing elsewhere."""
    if device.type != "cuda" or torch.version.hip or not torch.backends.cudnn.allow_tf32:
        return ""
    return " (TF32 in convolutions)" if torch.cuda.get_device_capability(device) >= (8, 0) else ""


def _fast_bfloat16(device: torch.device) -> tuple[bool, str]:
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return fast, f"this GPU {'has' if fast else 'lacks'} bfloat16 units"
    # PyTorch has no public question for this; a release without the private one is treated as a CPU without bfloat16.
    fast = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    return fast, f"this CPU {'has' if fast else 'lacks'} bfloat16 instructions"


def has_float64(device: torch.device) -> bool:
    """Whether it computes in float64; a Mac's GPU does not."""
    return device.type != "mps"


def where_float64_is(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy on the CPU where its device has no float64."""
    return tensor if has_float64(tensor.device) else tensor.cpu()


def put_channels_last(network: nn.Module) -> None:
    """Lay out what two-dimensional convolutions compute with as they are fastest with it; the numbers are the same."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)


class ActingAgent:
    """The agent as it acts in rollouts: in bfloat16 a copy with weights cast once per update, else the agent itself.

    Casting once instead of at every step saves a third of the time of acting on a few frames. An agent that is not
    `castable` acts in bfloat16 as it learns in it, by autocast.
    """

    def __init__(self, agent: ActorCritic, dtype: torch.dtype) -> None:
        self._agent = agent
        self._copy = agent
        self._precision: AbstractContextManager[Any] = nullcontext()
        if dtype != torch.float32 and not agent.castable:
            self._precision = torch.autocast(next(agent.parameters()).device.type, dtype)
        elif dtype != torch.float32:
            self._copy = copy.deepcopy(agent).to(dtype)
            self._copy.keep_in_float32()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the agent's weights; call it whenever they changed."""
        if self._copy is not self._agent:
            for mine, its in zip(self._copy.parameters(), self._agent.parameters(), strict=True):
                mine.copy_(its)

    @torch.no_grad()
    def act(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Action `[B]`, log-probability `[B]` and value `[B]` of observations `x`."""
        action, log_policy, value = self.act_with_policy(x, generator)
        return action, log_policy.gather(-1, action.unsqueeze(-1)).squeeze(-1), value

    @torch.no_grad()
    def act_with_policy(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Action `[B]`, log-probabilities of all actions `[B, num_actions]` and value `[B]` of observations `x`."""
        logits, value = self._outputs(x)
        log_policy = logits.log_softmax(-1)
        return sample_actions(log_policy.exp(), generator), log_policy, value

    @torch.no_grad()
    def evaluate(self, x: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability `[B]` of given actions and value `[B]` of observations `x`."""
        logits, value = self._outputs(x)
        return logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1), value

    @torch.no_grad()
    def value(self, x: Tensor) -> Tensor:
        """Value `[B]` of observations `x`."""
        return self._outputs(x)[1]

    def _outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with self._precision:
            logits, value = self._copy(x)
        return logits, value


class GraphedStep:
    """A function of row indices that a GPU replays as one CUDA graph instead of launching hundreds of kernels.

    The first calls run as they are; then one call is recorded and all later ones with as many rows replay it. Whatever
    the function reads and writes besides `rows` must stay at its place in memory; `reset` forgets the recording where
    that has changed. Without `enabled` every call runs as it is.
    """

    WARM_UP = 3  # calls before the recording: libraries choose their algorithms and the optimizer makes its state

    def __init__(self, function: Callable[[Tensor], Tensor], enabled: bool) -> None:
        self._function = function
        self._enabled = enabled
        self.reset()

    def reset(self) -> None:
        """Forget the recording; the next calls run as they are and one of them is recorded anew."""
        self._calls = 0
        self._rows: Tensor | None = None
        self._result: Tensor | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, rows: Tensor) -> Tensor:
        """The function's result for `rows` (a copy, where it was replayed)."""
        if not self._enabled or (self._rows is not None and len(self._rows) != len(rows)):
            return self._function(rows)
        self._calls += 1
        if self._calls <= self.WARM_UP:
            return self._warm_up(rows)
        if self._graph is None or self._rows is None or self._result is None:
            self._rows = rows.clone()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):  # records without running
                self._result = self._function(self._rows)
        self._rows.copy_(rows)
        self._graph.replay()
        return self._result.clone()

    def _warm_up(self, rows: Tensor) -> Tensor:
        """Run on a stream of its own, as a recording requires of what comes before it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = self._function(rows)
        torch.cuda.current_stream().wait_stream(stream)
        return result
