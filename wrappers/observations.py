"""What the agent sees of a game: frames, or the properties of its objects."""

from __future__ import annotations

import numpy as np

from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.errors import GameError
from continual_hackatari.wrappers.modified_game import ModifiedGame
from continual_hackatari.wrappers.objects import ObjectDetector
from continual_hackatari.wrappers.shrinking import FRAME_SIZE, Shrinker


class Pixels:
    """The last frames in grey, shrunk to 84 x 84 by area: uint8 [window, 84, 84], newest last."""

    def __init__(self, game: ModifiedGame) -> None:
        self._ale = game.ale
        self._window = game.config.window
        height, width = game.ale.getScreenDims()
        self._screen = np.empty((height, width), np.uint8)
        self._shrink = Shrinker(height, width)

    @staticmethod
    def space(config: GameConfig) -> tuple[tuple[int, ...], type]:
        """Shape and dtype of an observation, goal planes included."""
        return (config.window + config.num_goals, FRAME_SIZE, FRAME_SIZE), np.uint8

    def start(self, out: np.ndarray) -> None:
        """Fill `out` with copies of the present frame."""
        self._draw(out[-1])
        out[:-1] = out[-1]

    def push(self, out: np.ndarray) -> None:
        """Shift `out` by one frame and draw the present one."""
        for i in range(self._window - 1):  # plane by plane: one overlapping assignment would allocate a copy
            out[i] = out[i + 1]
        self._draw(out[-1])

    def _draw(self, out: np.ndarray) -> None:
        self._ale.getScreenGrayscale(self._screen)
        out[:] = self._shrink(self._screen)


class PooledPixels(Pixels):
    """As `Pixels`, each the maximum of the step's last two frames: ``gymnasium``'s ``AtariPreprocessing``.

    A step of one frame has no last two, and the first frame of a game stands alone.
    """

    def __init__(self, game: ModifiedGame) -> None:
        super().__init__(game)
        self._before_last = np.zeros_like(self._screen)
        game.before_last_frame = self._remember

    def _remember(self) -> None:
        self._ale.getScreenGrayscale(self._before_last)

    def start(self, out: np.ndarray) -> None:
        self._before_last[:] = 0
        super().start(out)

    def _draw(self, out: np.ndarray) -> None:
        self._ale.getScreenGrayscale(self._screen)
        np.maximum(self._screen, self._before_last, out=self._screen)
        out[:] = self._shrink(self._screen)


class ObjectFeatures:
    """The last feature vectors of the game's objects: float32 [window, features], newest last, in pixels."""

    def __init__(self, game: ModifiedGame) -> None:
        self._view = game.view

    @staticmethod
    def space(config: GameConfig) -> tuple[tuple[int, ...], type]:
        """Shape and dtype of an observation."""
        num_features = ObjectDetector(config.game, lambda: np.zeros(128, np.uint8)).num_features
        return (config.window, num_features), np.float32

    def start(self, out: np.ndarray) -> None:
        """Fill `out` with copies of the present features."""
        out[:] = self._features(out.shape[1])

    def push(self, out: np.ndarray) -> None:
        """Shift `out` by one and append the present features."""
        out[:-1] = out[1:].copy()
        out[-1] = self._features(out.shape[1])

    def _features(self, expected: int) -> list[float]:
        assert self._view.detector is not None
        features = self._view.detector.features()
        if len(features) != expected:
            raise GameError(
                f"the number of object features of {self._view.game_name} changed from {expected} to {len(features)}; "
                "use `--obs_mode dqn` for this game"
            )
        return features


def observation_kind(config: GameConfig) -> type[Pixels] | type[ObjectFeatures]:
    """Which class makes the observations of `config`."""
    if config.obs_mode == "obj":
        return ObjectFeatures
    return PooledPixels if config.max_pool else Pixels
