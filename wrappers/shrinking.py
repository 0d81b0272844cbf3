"""The emulator's screen as the agent's frame: 84 x 84, by area."""

from __future__ import annotations

import cv2
import numpy as np

FRAME_SIZE = 84
_BAND = 5  # rows of a screen of 210 that become `_BAND_OF_FRAME` rows of the frame and have a part in no others
_BAND_OF_FRAME = 2


class Shrinker:
    """What ``cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA)`` gives, bit for bit, in less time.

    Only the bands of rows that differ from the screen before are shrunk. Screens of other heights than 210 (a few games
    have them) are shrunk as a whole, because their bands would not end at whole rows.
    """

    def __init__(self, height: int, width: int) -> None:
        self._frame = np.zeros((FRAME_SIZE, FRAME_SIZE), np.uint8)
        self._has_bands = height * _BAND_OF_FRAME == FRAME_SIZE * _BAND and _BAND * width % 8 == 0
        if self._has_bands:
            bands = height // _BAND
            self._width = width
            self._frame_bands = self._frame.reshape(bands, -1)
            self._before = np.zeros((bands, _BAND * width), np.uint8)  # a black screen has the black frame above
            self._before_words = self._before.view(np.uint64)
            self._differences = np.empty_like(self._before_words)
            self._changed = np.empty(bands, np.uint64)
            self._bands = np.empty_like(self._before)
            self._shrunk = np.empty_like(self._frame)

    def __call__(self, screen: np.ndarray) -> np.ndarray:
        """The frame of `screen` (uint8 [height, width], contiguous); it holds until the next call."""
        if self._has_bands:
            self._shrink_changed(screen.reshape(self._before.shape))
        else:
            cv2.resize(screen, (FRAME_SIZE, FRAME_SIZE), dst=self._frame, interpolation=cv2.INTER_AREA)
        return self._frame

    def _shrink_changed(self, screen: np.ndarray) -> None:
        np.bitwise_xor(screen.view(np.uint64), self._before_words, out=self._differences)
        (changed,) = np.bitwise_or.reduce(self._differences, axis=1, out=self._changed).nonzero()
        number = len(changed)
        if number == 0:
            return
        bands, rows = self._bands[:number], number * _BAND_OF_FRAME
        screen.take(changed, axis=0, out=bands, mode="clip")  # of its modes the one that makes no copy
        shrunk = self._shrunk[:rows]
        cv2.resize(bands.reshape(-1, self._width), (FRAME_SIZE, rows), dst=shrunk, interpolation=cv2.INTER_AREA)
        self._before[changed] = bands
        self._frame_bands[changed] = shrunk.reshape(number, -1)
