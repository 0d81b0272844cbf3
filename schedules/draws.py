"""Random numbers that are functions of a seed and a place, so that a schedule may be asked in any order."""

from collections.abc import Iterator

import numpy as np

CHUNK = 4096  # blocks whose random numbers are computed together; a multiple of 4, the words per Philox counter

# Streams of random numbers of one factory. A new use takes a new number, so that the others keep their values.
DRAW, REPLAY_COIN, REPLAY_CHOICE, _PHASE_SEED = range(4)


class Draws:
    """Uniform numbers in [0, 1), one per block, each a function of (seed, stream, block) only.

    Philox is a counter-based generator: the numbers of any chunk of blocks are computed without those before it.
    """

    def __init__(self, seed: int, stream: int) -> None:
        self._key = np.random.SeedSequence(seed, spawn_key=(stream,)).generate_state(2, np.uint64)
        self._cached_index = -1
        self._cached: np.ndarray = np.empty(0)

    def __getitem__(self, block: int) -> float:
        index, offset = divmod(block, CHUNK)
        return float(self._chunk(index)[offset])

    def ranges(self, first: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first block, numbers) pieces that together cover the blocks `first` to `end - 1`."""
        while first < end:
            index, offset = divmod(first, CHUNK)
            values = self._chunk(index)[offset : offset + end - first]
            yield first, values
            first += len(values)

    def _chunk(self, index: int) -> np.ndarray:
        # The cache only saves time: a chunk is the same whenever it is computed.
        if index != self._cached_index:
            bits = np.random.Philox(key=self._key, counter=index * (CHUNK // 4)).random_raw(CHUNK)
            self._cached = (bits >> np.uint64(11)) * 2.0**-53  # 53 bits, as many as a double holds
            self._cached_index = index
        return self._cached


def phase_seed(seed: int, position: int) -> int:
    """Seed of the phase at `position`: by position, so that one class can be used twice and draw differently."""
    sequence = np.random.SeedSequence(seed, spawn_key=(_PHASE_SEED, position))
    return int(sequence.generate_state(1, np.uint64)[0])
