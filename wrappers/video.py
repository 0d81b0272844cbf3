"""An mp4 of one game, encoded beside the game so that nobody waits for it."""

from __future__ import annotations

import itertools
import os
import queue
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from continual_hackatari.names import UNMODIFIED

FRAMES_PER_SECOND = 15  # 60 emulated frames per second, one of four is an agent step
SHORTEST_CUT_VIDEO = 4 * FRAMES_PER_SECOND
_END = None


def encode(frames: Iterable[np.ndarray], path: Path) -> int:
    """Write screens, uint8 [height, width, 3], as an mp4 of twice their size; returns their number (0: no file)."""
    import imageio_ffmpeg

    number, frames = 0, iter(frames)
    first = next(frames, None)
    if first is None:
        return 0
    height, width = first.shape[:2]
    encoder = imageio_ffmpeg.write_frames(
        str(path),
        (width, height),
        fps=FRAMES_PER_SECOND,
        macro_block_size=2,
        ffmpeg_log_level="error",
        output_params=["-vf", f"scale={2 * width}:{2 * height}:flags=neighbor", "-threads", "1"],
    )
    with closing(encoder):
        encoder.send(None)
        for number, frame in enumerate(itertools.chain([first], frames), start=1):  # noqa: B007
            encoder.send(np.ascontiguousarray(frame))
    return number


def captioned(screen: np.ndarray, string: str, score: float, height: int | None = None) -> np.ndarray:
    """The screen below black lines with the modification string, as many as it needs, and one with the score.

    height: of the result, where it must be that of an earlier one, whatever the string is now; what is too long is cut.
    """
    width = screen.shape[1]
    lines = [*textwrap.wrap(string or UNMODIFIED, width // 5), f"score {score:g}"]
    if height is not None:
        number = (height - screen.shape[0]) // 10
        lines = [*(lines[:-1] + [""] * number)[: number - 1], lines[-1]]
    above = np.zeros((10 * len(lines) + 2 * (len(lines) % 2), width, 3), np.uint8)  # an even height, as videos have
    for number, line in enumerate(lines):
        place = (2, 10 * number + 8)
        cv2.putText(above, line, place, cv2.FONT_HERSHEY_PLAIN, 0.6, (255, 255, 255), lineType=cv2.LINE_AA)
    return np.concatenate([above, screen])


class GameRecorder:
    """Records whole games of one environment on request.

    A game that is cut short by a switch keeps its video, marked ``_cut``, if it lasted at least four seconds.
    """

    def __init__(self) -> None:
        self._requested: Path | None = None
        self._caption = False  # in the video that is requested, or was last
        self._height: int | None = None  # of the video in progress, from its first screen on
        self._writer: _VideoWriter | None = None
        self._closing: list[_VideoWriter] = []

    def request(self, path: Path, caption: bool = False) -> None:
        """Record the next game that starts into `path` (without suffix), with its string and score if asked for."""
        self._requested, self._caption = path, caption

    def game_started(self) -> None:
        """Begin the recording that was requested, if any."""
        if self._requested is not None:
            self._writer = _VideoWriter(self._requested, self._caption)
            self._requested = self._height = None

    def get_state(self) -> dict[str, Any]:
        """Plain data: names of the video that was requested and of the one in progress, and whether they have text."""
        return {
            "requested": None if self._requested is None else self._requested.name,
            "recording": None if self._writer is None else self._writer.path.name,
            "caption": self._caption,
            "recording_caption": self._writer is not None and self._writer.caption,
        }

    def set_state(self, state: dict[str, Any], folder: Path) -> None:
        """Continue from what `get_state` returned; the video in progress begins anew and wants all its frames again.

        Raises:
            ValueError: a name would lead out of `folder`.
        """
        recording, requested, caption = state["recording"], state["requested"], bool(state.get("caption"))
        for name in (recording, requested):
            if name is not None and (name in ("", "..") or Path(name).name != name):
                raise ValueError(f"{name!r} is no name of a video")
        if recording is not None:
            (folder / f"{recording}_cut.mp4").unlink(missing_ok=True)  # what the stopped run left of it
            self.request(folder / recording, bool(state.get("recording_caption", caption)))  # not in earlier files
            self.game_started()
        if requested is not None:
            self.request(folder / requested, caption)

    @property
    def recording(self) -> bool:
        """Whether `add` wants frames."""
        return self._writer is not None

    def add(self, screen: np.ndarray, string: str = "", score: float = 0.0) -> None:
        """Append one screen, uint8 [height, width, 3], of a game under this string that has this score."""
        if self._writer is not None:
            shown = captioned(screen, string, score, self._height) if self._writer.caption else screen
            self._height = shown.shape[0]
            self._writer.add(shown)

    def game_ended(self, cut: bool) -> None:
        """Finish the recording in the background."""
        if self._writer is not None:
            self._writer.finish(cut)
            self._closing = [writer for writer in self._closing if writer.is_alive()] + [self._writer]
            self._writer = None

    def close(self) -> None:
        """Wait until every video is on disk."""
        self.game_ended(cut=True)
        for writer in self._closing:
            writer.join()


class _VideoWriter(threading.Thread):
    """Feeds frames to an encoder process; the file appears under its name only when it is complete."""

    def __init__(self, path: Path, caption: bool) -> None:
        super().__init__(name=f"video {path.name}")
        self.path = path
        self.caption = caption
        self._unfinished = path.with_name(f".{path.name}.mp4")
        self._frames: queue.Queue[np.ndarray | None] = queue.Queue(maxsize=1024)
        self._num_frames = 0
        self._cut = False
        self._ended = False
        self.start()

    def add(self, screen: np.ndarray) -> None:
        self._num_frames += 1
        self._frames.put(screen)

    def finish(self, cut: bool) -> None:
        self._cut = cut
        self._frames.put(_END)

    def run(self) -> None:
        try:
            self._encode()
        except Exception as error:  # a full disk, a missing encoder: the video is lost, the game must go on
            print(f"warning: {self.path.name}.mp4 could not be written: {error}", file=sys.stderr)
            with suppress(OSError):
                self._unfinished.unlink(missing_ok=True)
            while not self._ended:
                self._next_frame()

    def _next_frame(self) -> np.ndarray | None:
        frame = self._frames.get()
        self._ended = frame is _END
        return frame

    def _remaining_frames(self) -> Iterator[np.ndarray]:
        while (frame := self._next_frame()) is not _END:
            yield frame

    def _encode(self) -> None:
        self._unfinished.parent.mkdir(parents=True, exist_ok=True)
        if encode(self._remaining_frames(), self._unfinished) == 0:
            return
        if self._cut and self._num_frames < SHORTEST_CUT_VIDEO:
            self._unfinished.unlink()
        else:
            os.replace(self._unfinished, self.path.with_name(f"{self.path.name}{'_cut' if self._cut else ''}.mp4"))
