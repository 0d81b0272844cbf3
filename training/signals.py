"""SIGTERM and SIGINT (Ctrl-C, a batch system): the first asks a run to stop, a second one ends it."""

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_STOPPING = b"\nstopping: this update is finished and saved first; a second signal stops at once\n"


def end_on_interrupt(*, at_once: bool = False) -> None:
    """From now on Ctrl-C ends this process with exit code 130 and without a traceback, until `StopSignals` takes over.

    at_once: for as long as there is nothing to clean up, while modules are loaded, which might swallow an exception.
    A signal that is ignored stays ignored.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if at_once:
            os._exit(128 + number)
        raise SystemExit(128 + number)

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, end)


class StopSignals:
    """Notes that the run is asked to stop; a context manager, effective in the main thread only.

    A signal that is ignored (`nohup`, a shell's background) stays ignored.
    """

    def __init__(self, *, supervised: bool = False, quiet: bool = False) -> None:
        """
        supervised: another program (torchrun) passes signals on, so that a process may get one twice, and ends what
            does not stop in time: a second signal changes nothing.
        quiet: another process says what happens.
        """
        self._supervised = supervised
        self._quiet = quiet
        self._number = 0
        self._at_once = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._number != 0

    def request(self) -> None:
        """Ask the run to stop as a signal would: another process of the job got one."""
        self._number = self._number or signal.SIGTERM

    def at_once(self) -> None:
        """From now on there is nothing left to save: end with SystemExit, also for a signal that has come already."""
        self._at_once = True
        if self._number:
            raise SystemExit(128 + self._number)

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self._number = self._number, self._number or number
        if again and self._supervised:
            return
        if again:
            os._exit(128 + number)  # no clean-up that could hang: workers end by themselves, files appear whole
        if self._at_once:
            raise SystemExit(128 + number)
        if not self._quiet:
            with contextlib.suppress(OSError):  # nobody reads it
                os.write(2, _STOPPING)  # not `print`: the signal may have come in the middle of one
