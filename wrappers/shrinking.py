"""The emulator's screen as the agent's frame: 84 x 84, by area."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

FRAME_SIZE = 84
_BAND = 5  # rows of a screen of 210 that become `_BAND_OF_FRAME` rows of the frame and have a part in no others
_BAND_OF_FRAME = 2
_CHANNELS = 4


class Shrinker:
    """What ``cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA)`` gives, bit for bit, in less time.

    Only bands of rows that differ from the screen before are shrunk, and a quarter of them each makes a channel of one
    image: OpenCV shrinks four channels in little more time than one. Screens of other heights than 210 (a few games
    have them) are shrunk as a whole, because their bands would not end at whole rows.
    """

    def __init__(self, height: int, width: int) -> None:
        self._frame = np.zeros((FRAME_SIZE, FRAME_SIZE), np.uint8)
        self._has_bands = height * _BAND_OF_FRAME == FRAME_SIZE * _BAND and _BAND * width % 8 == 0
        if self._has_bands:
            bands = height // _BAND
            self._frame_bands = self._frame.reshape(bands, -1)
            self._before = np.zeros((bands, _BAND * width), np.uint8)  # a black screen has the black frame above
            self._before_words = self._before.view(np.uint64)
            self._differences = np.empty_like(self._before_words)
            self._changed = np.empty(bands, np.uint64)
            self._workspaces = _workspaces(bands, width)

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
        if not len(changed):
            return
        space = self._workspaces[len(changed)]
        screen.take(changed, axis=0, out=space.bands, mode="clip")  # of its modes the one that makes no copy
        cv2.merge(space.channels, space.merged)
        cv2.resize(space.merged, space.size, dst=space.shrunk, interpolation=cv2.INTER_AREA)
        cv2.split(space.shrunk, space.frame_channels)
        self._before[changed] = space.bands
        self._frame_bands[changed] = space.frame_bands


class _Workspace(NamedTuple):
    """Where a number of bands becomes bands of the frame; the last channel may end with rows of an earlier call."""

    bands: np.ndarray
    channels: list[np.ndarray]
    merged: np.ndarray
    size: tuple[int, int]
    shrunk: np.ndarray
    frame_channels: list[np.ndarray]
    frame_bands: np.ndarray


def _workspaces(most: int, width: int) -> list[_Workspace]:
    """One for each number of bands up to `most`, all in the same memory: to make views at every step costs time."""
    rows = -(-most // _CHANNELS)  # bands per channel
    bands = np.zeros((_CHANNELS * rows, _BAND * width), np.uint8)
    merged = np.empty((_BAND * rows, width, _CHANNELS), np.uint8)
    shrunk = np.empty((_BAND_OF_FRAME * rows, FRAME_SIZE, _CHANNELS), np.uint8)
    frame_bands = np.empty((_CHANNELS * rows, _BAND_OF_FRAME * FRAME_SIZE), np.uint8)
    spaces = []
    for number in range(most + 1):
        rows = -(-number // _CHANNELS)
        spaces.append(
            _Workspace(
                bands[:number],
                [*bands[: _CHANNELS * rows].reshape(_CHANNELS, _BAND * rows, width)],
                merged[: _BAND * rows],
                (FRAME_SIZE, _BAND_OF_FRAME * rows),
                shrunk[: _BAND_OF_FRAME * rows],
                [*frame_bands[: _CHANNELS * rows].reshape(_CHANNELS, _BAND_OF_FRAME * rows, FRAME_SIZE)],
                frame_bands[:number],
            )
        )
    return spaces
