"""The progress bar: return, steps per second, active modification and time left, on stderr."""

import sys
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]{postfix}"


class ProgressBar:
    """Progress of a run; in a terminal a bar, elsewhere (a file, a cluster's log) one plain line every ten seconds.

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
        self._step = self._reported_step = self._first_step = initial_step
        self._reported_at = self._started_at = time.perf_counter()
        self._bar: tqdm | None = None
        if enabled and self._stream.isatty():
            self._bar = tqdm(
                total=total_steps,
                initial=initial_step,
                file=self._stream,
                unit="step",
                unit_scale=True,
                dynamic_ncols=True,
                mininterval=0.0,  # refreshes are timed here
                bar_format=_BAR,
            )
        self._seconds_between = 0.2 if self._bar is not None else 10.0
        self._next_refresh = self._reported_at + self._seconds_between

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
        if self._enabled and time.perf_counter() >= self._next_refresh:
            self._refresh()

    def write(self, line: str) -> None:
        """Print `line` to standard output without breaking the bar."""
        if self._bar is not None:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()
        else:
            print(line, flush=True)

    def close(self) -> None:
        """Show the last state and let go of the terminal; a second call does nothing."""
        if not self._enabled:
            return
        self._reported_step, self._reported_at = (
            self._first_step,
            self._started_at,
        )  # the last line: the whole run's speed
        self._refresh()
        if self._bar is not None:
            self._bar.close()
        self._enabled = False

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refresh(self) -> None:
        now = time.perf_counter()
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self._return_words()}, {self._modification_words()}", refresh=False)
            self._bar.update(self._step - self._bar.n)
        else:
            print(self._plain_line(now), file=self._stream, flush=True)
        self._reported_step, self._reported_at = self._step, now
        self._next_refresh = now + self._seconds_between

    def _plain_line(self, now: float) -> str:
        rate = (self._step - self._reported_step) / max(now - self._reported_at, 1e-9)
        left = tqdm.format_interval((self._total_steps - self._step) / rate) if rate > 0 else "unknown"
        share = 100 * self._step / max(self._total_steps, 1)
        return (
            f"step {self._step:,}/{self._total_steps:,} ({share:.0f} %), {self._return_words()}, {rate:,.0f} steps/s,"
            f" {self._modification_words()}, time left {left}"
        )

    def _return_words(self) -> str:
        return f"return {sum(self._returns) / len(self._returns):.1f}" if self._returns else "no game finished yet"

    def _modification_words(self) -> str:
        name = self._modification or "no modification"
        return name if len(name) <= 40 else name[:37] + "..."
