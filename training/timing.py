"""Where the time of a run goes, phase by phase."""

import time
from collections import defaultdict


class PhaseTimer:
    """Seconds per named phase; every moment belongs to the phase that the next `lap` names."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """The time since the last lap went into `phase`."""
        now = time.perf_counter()
        self._seconds[phase] += now - self._last
        self._last = now

    def take(self) -> dict[str, float]:
        """Seconds per phase since the last call, which starts anew."""
        seconds = dict(self._seconds)
        self._seconds.clear()
        return seconds
