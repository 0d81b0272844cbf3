"""The agent's frame: exactly OpenCV's area interpolation of the whole screen, whatever has changed on it."""

import cv2
import numpy as np
import pytest

from continual_hackatari.wrappers.agent_game import AgentGame
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.shrinking import Shrinker


def whole(screen):
    return cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("number", range(43))
def test_any_number_of_changed_bands(number):
    rng = np.random.default_rng(number)
    shrink = Shrinker(210, 160)
    screen = np.zeros((210, 160), np.uint8)
    for _ in range(30):
        for band in rng.permutation(42)[:number]:
            screen[5 * band : 5 * band + 5] = rng.integers(256, size=(5, 160))
        before = screen.copy()
        np.testing.assert_array_equal(shrink(screen), whole(screen))
        np.testing.assert_array_equal(screen, before)


def test_one_pixel_anywhere():
    shrink = Shrinker(210, 160)
    for row in range(210):
        screen = np.zeros((210, 160), np.uint8)
        screen[row, 37 * row % 160] = 255
        np.testing.assert_array_equal(shrink(screen), whole(screen))


@pytest.mark.parametrize("height", [250, 105, 84])
def test_screens_of_other_heights(height):
    rng = np.random.default_rng(height)
    shrink = Shrinker(height, 160)
    for _ in range(5):
        screen = rng.integers(256, size=(height, 160), dtype=np.uint8)
        np.testing.assert_array_equal(shrink(screen), whole(screen))


@pytest.mark.parametrize("env_id", ["ALE/Freeway-v5", "ALE/Pong-v5", "ALE/Enduro-v5", "ALE/CrazyClimber-v5"])
def test_the_newest_frame_is_that_of_the_screen(env_id):
    config, _ = game_config(env_id, window=2)
    shape = (2, 84, 84)
    game = AgentGame(config, 0, np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))
    game.start_game()
    before, rng = game.observation[1].copy(), np.random.default_rng(0)
    for _ in range(200):
        _, terminated, truncated, _ = game.step(int(rng.integers(len(game.game.actions))))
        screen = game.game.ale.getScreenGrayscale()
        np.testing.assert_array_equal(game.observation[1], whole(screen))
        if not (terminated or truncated):
            np.testing.assert_array_equal(game.observation[0], before)
        before = game.observation[1].copy()
