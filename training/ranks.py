"""The processes of one job: who this one is, what it does for all of them, and how they agree.

`torchrun` starts the same script several times and tells each process its number, its *rank*, through the environment.
A script that was started without it is alone: every method of `Ranks` then gives back at once what it was given.

All methods but the properties are collective: every rank calls them, in the same order, or the others wait for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")

# A rank that ends is noticed at once, because its connections close; one that hangs after this time. Longer than the
# vector environment gives a worker that hangs by default, so that its own message comes first.
PATIENCE = timedelta(minutes=5)


class RanksError(RuntimeError):
    """The processes of the job cannot go on together; the message is one sentence for the user."""


class Ranks(contextlib.AbstractContextManager["Ranks"]):
    """One of `size` processes with the numbers 0 to `size` - 1; the context in which they can talk.

    Number 0 is the *main* one: it alone writes files and prints, elsewhere standard output is silent in the context.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, local_size: int = 1) -> None:
        """local_rank, local_size: the same among the processes on this machine."""
        self.rank, self.size = rank, size
        self.local_rank, self.local_size = local_rank, local_size
        self.restarts = 0
        """How often torchrun has started the job anew; the most that any rank knows of."""
        self._parent = os.getppid()
        self._stack = contextlib.ExitStack()

    @classmethod
    def of_this_process(cls) -> Ranks:
        """What torchrun says of this process; without torchrun it is alone."""
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return cls()
        return cls(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    @property
    def name(self) -> str:
        """What an error of this process starts with; empty for the main one."""
        return "" if self.is_main else f"rank {self.rank}: "

    @property
    def job(self) -> str:
        """What all starts of one torchrun job have in common on the main rank; empty without torchrun.

        It is the rendezvous' id, or, without a rendezvous, where every job is called `none`, the torchrun process.
        """
        job = os.environ.get("TORCHELASTIC_RUN_ID", "")
        return job if job != "none" else f"torchrun process {self._parent} on {socket.gethostname()}"

    @property
    def orphaned(self) -> bool:
        """Whether the torchrun that started this process is gone, so that nobody watches over it."""
        return bool(self.job) and os.getppid() != self._parent

    @property
    def _start(self) -> int:
        """The same number on all ranks, another one in every start of the job that has the same store of addresses.

        One torchrun, and several without a rendezvous, keep the store with the addresses of ranks that are dead; they
        count starts alike. Several with a rendezvous do not, but they make a new store for each start.
        """
        if self.local_size < self.size and os.environ.get("TORCHELASTIC_RUN_ID") != "none":
            return 0
        return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))

    def __enter__(self) -> Ranks:
        """Connect the ranks. Raises RanksError where they do not find each other."""
        self.restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        if self.alone:
            return self
        if not self.is_main:
            silence = self._stack.enter_context(open(os.devnull, "w"))
            self._stack.enter_context(contextlib.redirect_stdout(silence))
        if torch.cuda.is_available() and self.local_rank < torch.cuda.device_count():
            torch.cuda.set_device(self.local_rank)
        # NCCL moves what lies on GPUs, gloo the rest: flags, records, states.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with _talking():
            store, _, _ = next(dist.rendezvous("env://", timeout=PATIENCE))
            store = dist.PrefixStore(f"start {self._start}", store)
            dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.size, timeout=PATIENCE)
        self.restarts = int(self._reduced(torch.tensor(self.restarts), dist.ReduceOp.MAX))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stack.close()
        if not self.alone and kind is None:  # after an error others may be gone: do not wait for them
            dist.destroy_process_group()

    def end(self, code: int) -> NoReturn:
        """End this process with an exit code, in a job at once.

        Threads of the process group, also of one that is destroyed, would now and then abort the process while the
        interpreter tidies up, so that its exit code is another.
        """
        if self.alone:
            raise SystemExit(code) from None
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    # ----------------------------------------------------------------------------------------- the main rank and others

    def from_main(self, function: Callable[[], T]) -> T:
        """What `function()` returns on the main rank (plain values, tensors, arrays), on all ranks.

        Where it raises, the main rank does too, and the others end with SystemExit, silently.
        """
        if self.alone:
            return function()
        answer: list[Any] = [None, None]  # exit code, result
        if self.is_main:
            try:
                answer[1] = function()
            except BaseException as error:
                answer[0] = error.code if isinstance(error, SystemExit) else 2
                self._broadcast_objects(answer)
                raise
        self._broadcast_objects(answer)
        if answer[0] is not None:
            raise SystemExit(answer[0])
        return answer[1]

    def main_first(self, function: Callable[[], T]) -> T:
        """`function()`, called by the others once it has succeeded on the main rank; they end where it does not."""
        results: list[T] = []
        self.from_main(lambda: results.append(function()))
        return results[0] if results else function()

    @contextlib.contextmanager
    def only_on_main(self, make: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
        """The context that `make()` gives, on the main rank only."""
        with contextlib.ExitStack() as stack:

            def enter() -> None:
                stack.enter_context(make())

            self.from_main(enter)
            yield

    # ---------------------------------------------------------------------------------------------------- what all know

    def any(self, *flags: bool) -> list[bool]:
        """For each flag whether it is true on any rank."""
        if self.alone:
            return list(flags)
        return [bool(flag) for flag in self._reduced(torch.tensor(flags, dtype=torch.int32), dist.ReduceOp.MAX)]

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all ranks, rank after rank, on the main rank; elsewhere nothing."""
        if self.alone:
            return list(items)
        parts: list[Any] | None = [None] * self.size if self.is_main else None
        with _talking():
            dist.gather_object(list(items), parts)
        return [item for part in parts or [] for item in part]

    def join(self, rows: Tensor) -> Tensor:
        """The `rows` [B, ...] of all ranks, rank after rank, [size * B, ...], without gradients; alone: `rows`.

        B is the same everywhere.
        """
        if self.alone:
            return rows
        mine = rows.detach().contiguous()
        if mine.dtype == torch.bool:  # gloo does not know it
            return self.join(mine.byte()).bool()
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        with _talking():
            dist.all_gather(parts, mine)
        return torch.cat(parts)

    def own(self, rows: Tensor) -> Tensor:
        """This rank's part of what `join` gave."""
        return rows if self.alone else rows.chunk(self.size)[self.rank]

    def join_games(self, columns: np.ndarray) -> np.ndarray:
        """Arrays [..., N] with a column per game of this rank: those of all ranks, [..., size * N], game after game."""
        if self.alone:
            return columns
        games_first = np.ascontiguousarray(np.moveaxis(columns, -1, 0))
        return np.moveaxis(self.join(torch.from_numpy(games_first)).numpy(), 0, -1)

    def mean(self, numbers: Tensor) -> Tensor:
        """The mean of `numbers` over the ranks, the same bits on each of them; alone: `numbers`."""
        if self.alone:
            return numbers
        return self._reduced(numbers.clone(), dist.ReduceOp.SUM).div_(self.size)

    def mean_gradients(self, agent: nn.Module, numbers: Tensor) -> Tensor:
        """Replace all gradients by their means over the ranks; returns the mean of `numbers` [n] as well.

        One message: ranks wait for each other once per gradient step, not once per layer.
        """
        if self.alone:
            return numbers
        gradients = [parameter.grad for parameter in agent.parameters() if parameter.grad is not None]
        joined = torch.cat([numbers.detach(), *(gradient.reshape(-1) for gradient in gradients)])
        means = self._reduced(joined, dist.ReduceOp.SUM).div_(self.size)
        parts = means.split([len(numbers), *(gradient.numel() for gradient in gradients)])
        for gradient, part in zip(gradients, parts[1:], strict=True):
            gradient.copy_(part.view(gradient.shape))
        return parts[0].clone()

    @torch.no_grad()
    def start_alike(self, agent: nn.Module) -> None:
        """Give all ranks the main one's weights: on machines of different kinds the same seed may round otherwise."""
        for parameter in agent.parameters() if not self.alone else ():
            weights = parameter.contiguous()
            with _talking():
                dist.broadcast(weights, 0)
            parameter.copy_(weights)

    def require_alike(self, agent: nn.Module) -> None:
        """Raise RanksError unless all ranks have the same weights, bit for bit."""
        if self.alone:
            return
        mine = torch.cat([parameter.detach().reshape(-1) for parameter in agent.parameters()])
        of_main = mine.clone()
        with _talking():
            dist.broadcast(of_main, 0)
        (differ,) = self.any(not torch.equal(mine, of_main))
        if differ:
            raise RanksError(
                "the processes have computed different weights from the same numbers; use machines of one kind, with "
                "the same PyTorch"
            )

    def _reduced(self, numbers: Tensor, operation: Any) -> Tensor:
        with _talking():
            dist.all_reduce(numbers, operation)
        return numbers

    def _broadcast_objects(self, objects: list[Any]) -> None:
        with _talking():
            dist.broadcast_object_list(objects, 0)


@contextlib.contextmanager
def _talking() -> Iterator[None]:
    """Around a message: raise RanksError where another rank is gone or silent."""
    try:
        yield
    except RuntimeError as error:  # all that PyTorch raises here, some of it over several lines
        reason = re.sub(r"\[/\S+\] ", "", str(error).strip().splitlines()[0])  # without places in PyTorch's source
        raise RanksError(f"another process of the job has ended or does not answer ({reason})") from error


ALONE = Ranks()
