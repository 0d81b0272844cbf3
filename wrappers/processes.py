"""The training process' end of worker processes, and the memory that it shares with them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import continual_hackatari
from continual_hackatari.wrappers.errors import GameError, WorkerError
from continual_hackatari.wrappers.worker import CALL, NUMBERS, STEP, Task

_ROOT = Path(continual_hackatari.__file__).parent.parent  # where the workers find the same code
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from continual_hackatari.wrappers.worker import main; main()"
)


class Worker:
    """The training process' end of one worker process.

    Args:
        task: what it plays.
        index: its number, for errors.
        memory_fd: descriptor of the memory for its `SharedArrays`.
        timeout: seconds after which it hangs if it reads no message.
        playing: what is played at present, for errors.
    """

    def __init__(self, task: Task, index: int, memory_fd: int, timeout: float, playing: Callable[[], str]) -> None:
        self.groups = task.groups
        environments = ", ".join(str(task.first_env + i) for group in task.groups for i in group)
        self._name = f"worker {index} (environments {environments} of {task.config.env_id})"
        self._timeout, self._playing = timeout, playing
        self._pipe, child = multiprocessing.Pipe()
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        # The kernel ends a worker with the thread that started it, so only the thread that lasts to the end may ask.
        lasts = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
        arguments = (child.fileno(), memory_fd, os.getpid() if lasts else 0)
        # A worker inherits the block: Ctrl-C in the second that it takes to load must not reach it.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP, str(_ROOT), *map(str, arguments)],
                pass_fds=(child.fileno(), memory_fd),
                stdin=subprocess.DEVNULL,
                env={**os.environ, **threads},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        child.close()
        self._readable = select.poll()  # made once: Connection.poll builds a selector at every call
        self._readable.register(self._pipe.fileno(), select.POLLIN)
        _limit_sending(self._pipe.fileno(), timeout)
        self._number = 0
        self._open: dict[int, bytes | None] = {}  # number of a command -> its answer, once it is there
        self._inside_message = False
        self._send(pickle.dumps(task))
        self.built = self._expect()

    def send_step(self, group: int) -> int:
        """Let the worker play one step; returns the number of this command, for `receive`."""
        number = self._expect()
        self._send(bytes((STEP, number, group)))
        return number

    def send(self, method: str, arguments: tuple[Any, ...]) -> int:
        """Call a method of the worker's `GameHost`; returns the number of this command, for `receive`."""
        number = self._expect()
        self._send(bytes((CALL, number)) + pickle.dumps((method, arguments)))
        return number

    def _expect(self) -> int:
        """The number of the next command, whose answer carries it: 0 for the first message, then 1 to 255, 0, ..."""
        number, self._number = self._number, (self._number + 1) % NUMBERS
        self._open[number] = None
        return number

    def receive(self, number: int, seconds: float) -> Any:
        """The worker's answer to this command; answers that nobody waits for any more are passed over."""
        while self._open[number] is None:
            # In ten parts: the clock goes on while this process and its workers are suspended together (Ctrl-Z, a batch
            # system that sets a job aside), and then only the part in which that happened is over.
            if not any(self._readable.poll(1000 * seconds / 10) for _ in range(10)):
                self._hung(seconds)
            self._inside_message = True
            try:
                message = self._pipe.recv_bytes()
            except (EOFError, OSError):
                self._ended()
            self._inside_message = False
            if message[0] in self._open:
                self._open[message[0]] = message
        return self._result(self._open.pop(number))

    def forget_answers(self) -> bool:
        """After an interruption nobody waits for an answer; False if it came between two halves of a message."""
        self._open.clear()
        return not self._inside_message

    def _result(self, message: bytes | None) -> Any:
        """What an answer holds; raises if it tells of a failure."""
        if message is None or len(message) == 1:
            return ()
        succeeded, value = pickle.loads(memoryview(message)[1:])
        if succeeded:
            return value
        users_fault, text, trace = value
        if users_fault:
            raise GameError(text)
        raise WorkerError(f"{self._name} failed under {self._playing()}:\n{trace}")

    def ask_to_close(self) -> None:
        """Let the worker finish its videos and end."""
        with suppress(OSError, GameError, WorkerError):  # it is gone already, which is what we want
            self.send("close", ())

    def wait_closed(self, deadline: float) -> None:
        """Wait until the worker has ended, and end it at `deadline` (of the monotonic clock)."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._pipe.close()

    def _send(self, message: bytes) -> None:
        self._inside_message = True
        try:
            self._pipe.send_bytes(message)
            self._inside_message = False
        except BlockingIOError:
            self._hung(self._timeout)
        except OSError:
            self._ended()

    def _hung(self, seconds: float) -> NoReturn:
        self.process.kill()  # also ends a stopped process, and one that hears no signal
        self.process.wait()
        raise WorkerError(f"{self._name} has not answered for {seconds:.0f} s under {self._playing()} and was killed")

    def _ended(self) -> NoReturn:
        with suppress(EOFError, OSError):
            while self._readable.poll(0):  # an answer that nobody has read yet may tell why
                self._result(self._pipe.recv_bytes())
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            how = "closed its pipe"
        else:
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise WorkerError(f"{self._name} ended unexpectedly ({how}) under {self._playing()}")


def _limit_sending(descriptor: int, seconds: float) -> None:
    """Let a blocked write to a socket fail after so long: a worker that hangs reads nothing."""
    with socket.socket(fileno=os.dup(descriptor)) as end:  # the option belongs to the connection, not the descriptor
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(seconds), 0))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def anonymous_file(size: int) -> Any:
    """A file without a name, in memory if possible: it is gone with its last user, however that one ends."""
    for folder in ("/dev/shm", None):  # the first may be small: containers often have 64 MB
        file: Any = None
        with suppress(OSError):
            file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the caller closes it
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # a page that is missing later would end the process without a word
                os.posix_fallocate(file.fileno(), 0, size)
            return file
        if file is not None:
            file.close()
    raise GameError(
        f"the games share {size / 2**20:,.0f} MiB with their processes, for which neither /dev/shm nor "
        f"{tempfile.gettempdir()} has room; use fewer games (`num_envs`), or `--num_workers 0`"
    )
