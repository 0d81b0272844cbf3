"""The progress bar: return, steps per second, active modification and time left, on stderr."""

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TextIO

from tqdm import tqdm

from continual_hackatari.names import UNMODIFIED
from continual_hackatari.training.printing import drop, say

_BAR = "{{percentage:3.0f}}%|{{bar}}| {{n_fmt}}/{{total_fmt}} [{{elapsed}}<{left}, {rate} steps/s]{{postfix}}"
_WINDOW = 60.0
"""Seconds over which the speed is taken: rollouts and updates alternate, a shorter time may hold only one of them."""
_FIRST_SECONDS = 3.0
"""Before that, what is known is the speed of the first rollout, without an update."""


class _View:
    """A stream that never raises: tqdm would keep its lock, for which other bars wait for ever."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None
        """why it shows nothing any more"""

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except BlockingIOError:  # for the moment
            pass
        except OSError as error:
            self.error = error

    def __eq__(self, other: object) -> bool:  # tqdm asks whether it is standard error
        return other is self or other is self._stream

    def __hash__(self) -> int:
        return hash(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class ProgressBar:
    """Progress of a run; in a terminal a bar, elsewhere (a file, a cluster's log) one plain line every ten seconds.

    Both say how much time is left from the third second on, by the speed of the last minute.

    `update` may be called at every step: between two refreshes it costs one look at the clock.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        initial_step: int = 0,
        enabled: bool = True,
        mean_of_games: int = 20,
        recent_returns: Sequence[float] = (),
        stream: TextIO | None = None,
    ) -> None:
        """`initial_step` and `recent_returns` are where a resumed run goes on; it shows the mean of `mean_of_games`."""
        self._stream = sys.stderr if stream is None else stream
        self._enabled = enabled
        self._total_steps = total_steps
        self._returns: deque[float] = deque(recent_returns, maxlen=mean_of_games)
        self._modification = ""
        self._step = initial_step
        self._marks: deque[tuple[float, int]] = deque()  # (when, step) of the last minute, oldest first
        self._start: tuple[float, int] | None = None  # the first step: games and network are loaded before it
        self._bar: tqdm | None = None
        self._view = _View(self._stream)
        if enabled and self._stream.isatty():
            self._bar = tqdm(
                total=total_steps,
                initial=initial_step,
                file=self._view,
                unit="step",
                unit_scale=True,
                dynamic_ncols=True,
                mininterval=0.0,  # refreshes are timed here
            )
        self._seconds_between = 0.2 if self._bar is not None else 10.0
        self._next_refresh = 0.0

    @property
    def recent_returns(self) -> list[float]:
        """Returns of the last games, which a resumed run shows the mean of."""
        return list(self._returns)

    def game(self, episodic_return: float) -> None:
        """A game ended (not cut by a switch) with this return."""
        self._returns.append(episodic_return)

    def update(self, global_step: int, modification: str = "") -> None:
        """The run is at `global_step` (steps over all environments), under this modification string."""
        self._step = global_step
        self._modification = modification
        now = time.perf_counter()
        if self._start is None:
            self._start = (now, global_step)
            self._marks.append(self._start)
            self._next_refresh = now + min(self._seconds_between, _FIRST_SECONDS)
        elif self._enabled and now >= self._next_refresh:
            self._refresh(now)

    def write(self, line: str) -> None:
        """Print `line` to standard output without breaking the bar."""
        if self._bar is None:
            say(line)
            return
        with tqdm.external_write_mode(file=sys.stdout):
            say(line)
        self._drop_what_nobody_sees()

    def close(self) -> None:
        """Show the last state and let go of the terminal; a second call does nothing."""
        if not self._enabled:
            return
        now = time.perf_counter()
        self._marks = deque([self._start or (now, self._step)])  # the last line: the whole run's speed
        self._refresh(now)
        if self._bar is not None:
            self._bar.close()
        self._drop_what_nobody_sees()
        self._enabled = False

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refresh(self, now: float) -> None:
        while len(self._marks) > 1 and now - self._marks[0][0] > _WINDOW:
            self._marks.popleft()
        when, step = self._marks[0]
        self._marks.append((now, self._step))
        speed, missing = (self._step - step) / max(now - when, 1e-9), self._total_steps - self._step
        known = speed > 0 and (now - when >= _FIRST_SECONDS or missing <= 0)
        left = tqdm.format_interval(missing / speed) if known else "unknown"
        self._show(speed, left)
        self._drop_what_nobody_sees()
        self._next_refresh = now + self._seconds_between

    def _show(self, speed: float, left: str) -> None:
        if self._bar is not None:
            self._bar.bar_format = _BAR.format(left=left, rate=f"{speed:,.0f}")
            self._bar.set_postfix_str(f"{self._return_words()}, {self._modification_words()}", refresh=False)
            self._bar.update(self._step - self._bar.n)
        else:
            share = 100 * self._step / max(self._total_steps, 1)
            print(
                f"step {self._step:,}/{self._total_steps:,} ({share:.0f} %), {self._return_words()}, "
                f"{speed:,.0f} steps/s, {self._modification_words()}, time left {left}",
                file=self._view,
                flush=True,
            )

    def _drop_what_nobody_sees(self) -> None:
        """Training goes on without a view that was refused."""
        if self._view.error is None:
            return
        error, self._view.error, self._enabled = self._view.error, None, False
        if self._bar is not None:
            self._bar.disable = True
            self._bar = None
        drop(self._stream, error)

    def _return_words(self) -> str:
        return f"return {sum(self._returns) / len(self._returns):.1f}" if self._returns else "no game finished yet"

    def _modification_words(self) -> str:
        name = self._modification or UNMODIFIED
        return name if len(name) <= 40 else name[:37] + "..."
