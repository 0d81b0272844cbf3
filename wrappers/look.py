"""Looking at modifications: videos of a game under a string, and a picture of all modifications of a game.

python -m wrappers.modifications ALE/Freeway-v5 --gallery gallery.png
python -m wrappers.modifications ALE/Freeway-v5 --play out.mp4 --modifs "all_black_cars stop_top_2"
"""

from __future__ import annotations

import io
import math
import os
import textwrap
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from continual_hackatari.names import UNMODIFIED, parse
from continual_hackatari.wrappers.agent_game import AgentGame
from continual_hackatari.wrappers.backends import observation_layout
from continual_hackatari.wrappers.config import GameConfig, game_config
from continual_hackatari.wrappers.errors import ModificationError, OutputError
from continual_hackatari.wrappers.interfaces import GameRecord
from continual_hackatari.wrappers.modifications import (
    Modification,
    catalogue,
    console_modifications,
    hackatari_is_missing,
)
from continual_hackatari.wrappers.user_files import NO_FILE, UserFile
from continual_hackatari.wrappers.video import FRAMES_PER_SECOND, captioned, encode

PICTURE_ENDINGS = (".png", ".pdf", ".svg")
VIDEO_ENDINGS = (".mp4",)
MOMENTS_LOOKED_AT = range(30, 301, 10)
"""Steps among which `gallery_tiles` chooses: by then most modifications show, and the games still look alike."""

_TELEVISION = 3 / 4 * 160 / 210  # a screen of 160 x 210 pixels was shown on 4:3, so a pixel is wider than high
_CHANGED = (213, 94, 0)  # the vermilion of Okabe and Ito's palette, told apart from grey by everybody
_TILE_INCHES = 2.75, 1.24
_DOTS_PER_INCH = 220  # a screen is an inch high: fewer dots would drop some of its 210 lines


# ------------------------------------------------------------------------------------------------------------ files
def check_output(argument: str, path: str, endings: Sequence[str]) -> Path:
    """The path, if a file can be written there.

    Raises:
        OutputError: another ending, a folder that is missing or cannot be written to, or `path` is a folder itself.
    """
    target = Path(path)
    if target.suffix.lower() not in endings:
        raise OutputError(f"`{argument}` {path!r} must end in {' or '.join(endings)}")
    if target.is_dir():
        raise OutputError(f"`{argument}` {path!r} is a folder; give the name of a file")
    if not target.parent.is_dir():
        raise OutputError(f"`{argument}` {path!r}: there is no folder {str(target.parent)!r}; create it first")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"`{argument}` {path!r}: the folder {str(target.parent)!r} cannot be written to")
    return target


@contextmanager
def whole_file(argument: str, path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block succeeds and is removed when it does not.

    Raises:
        OutputError: the disk or the encoder does not take the file.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"`{argument}` {str(path)!r} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------------------------- videos
def played(
    config: GameConfig, string: str, choose: Callable[[np.ndarray, int], int], caption: bool = False
) -> Iterator[tuple[np.ndarray, GameRecord | None]]:
    """Play for ever under a canonical task string; game k depends on (`config.seed`, k) and the actions alone.

    Args:
        config: the game; lives do not end its episodes here.
        string: as `check_string` returns it.
        choose: observation (as the agent sees it, without batch), number of actions -> index of the action.
        caption: write the string and the score so far above every screen.

    Yields:
        The screen, uint8 [height, width, 3]: first before any action, then after each. With it comes the record of the
        game that the action ended, if it did; the screen is then the first one of the next game.
    """
    config = replace(config, episodic_life=False, reward_file="", reseed_every_game=True, num_envs=1)
    shape, dtype = observation_layout(config)
    observation: np.ndarray = np.zeros(shape, dtype)
    game = AgentGame(config, 0, observation, np.zeros(shape, dtype))
    task = parse(string)
    game.set_modifications(task.names, "reset", task.game)
    num_actions, record = len(game.game.actions), None
    while True:
        screen = game.game.screen()
        yield captioned(screen, string, game.score) if caption else screen, record
        record = game.step(choose(observation, num_actions))[-1]


def random_play(config: GameConfig, string: str) -> Iterator[np.ndarray]:
    """Screens of `played` by an agent that draws every action uniformly, the same ones under every string.

    Games begin with the emulator's own first frame: without no-op frames and without FIRE.
    """
    draws = np.random.default_rng(config.seed)
    config = replace(config, game_start="none", fire_reset=False)
    for screen, _ in played(config, string, lambda _, num_actions: int(draws.integers(num_actions))):
        yield screen


def write_video(argument: str, path: Path, frames: Iterable[np.ndarray], total: int | None = None) -> int:
    """Encode screens into `path`, whole or not at all, with a progress bar; returns their number.

    Raises:
        OutputError: the file cannot be written.
    """
    with whole_file(argument, path) as temporary, tqdm(frames, total=total, unit="frame", disable=None) as bar:
        return encode(bar, temporary)


def record_random_play(path: str, config: GameConfig, string: str, seconds: float) -> int:
    """Record a random agent under a canonical modification string; returns the number of frames (one per agent step).

    Raises:
        OutputError: the file cannot be written, or the length is not positive.
    """
    target, number = check_output("play", path, VIDEO_ENDINGS), num_frames(seconds)
    return write_video("play", target, islice(random_play(config, string), number), number)


def num_frames(seconds: float) -> int:
    """Frames of a video of this length.

    Raises:
        OutputError: it would have none, or more than a day of them.
    """
    if not 1 / FRAMES_PER_SECOND <= seconds <= 86_400:
        raise OutputError(f"`seconds` must be from {1 / FRAMES_PER_SECOND:.2f} to 86400, got {seconds:g}")
    return round(seconds * FRAMES_PER_SECOND)


# ---------------------------------------------------------------------------------------------------------- gallery
class Tile(NamedTuple):
    """One modification at the moment of the gallery."""

    name: str
    """empty: the unmodified game"""
    screen: np.ndarray
    """uint8 [height, width, 3]"""
    changed: np.ndarray
    """bool [height, width]: where `screen` differs from that of the unmodified game"""
    note: str
    """what to say below the tile"""


class Gallery(NamedTuple):
    """All tiles of a game, the unmodified game first, then its modifications in the order of `in_gallery`."""

    game: str
    step: int
    """agent steps from the start of the game to the moment shown"""
    seed: int
    tiles: list[Tile]
    left_out: dict[str, str]
    """modifications that cannot be played, and why"""


def in_gallery(game: str, file: UserFile = NO_FILE) -> dict[str, Modification]:
    """What a gallery shows, by name: `catalogue`, then modes and difficulties but those that the console begins in."""
    modes = {name: entry for name, entry in console_modifications(game).items() if not entry.no_effect}
    return {**catalogue(game, file), **modes}


def make_gallery(game: str, seed: int, step: int | None = None, modification_file: str = "") -> Gallery:
    """Play a game (name as in the environment id, ``Freeway``) under each of its modifications, with the same actions.

    Without `step`, the earliest of `MOMENTS_LOOKED_AT` at which most modifications show is taken.

    Raises:
        ModificationError: the game has none, or `modification_file` cannot be used.
    """
    config = replace(game_config(f"ALE/{game}-v5", modification_file=modification_file)[0], seed=seed)
    known = in_gallery(game, config.rules)
    playable = {name: entry for name, entry in known.items() if not entry.refused}
    if not playable:
        missing = "; ".join(["", *hackatari_is_missing()])
        raise ModificationError(
            f"`gallery`: {game} has no modifications, so there is nothing to show beside it{missing}"
        )
    moments = list(MOMENTS_LOOKED_AT) if step is None else [step]
    screens = {
        name: screens_at(config, name, moments)
        for name in tqdm(["", *playable], desc=game, unit="modification", disable=None)
    }
    # [modification, moment, height, width]
    changed = {name: (shown != screens[""]).any(axis=-1) for name, shown in screens.items()}
    visible = {name: mask.any(axis=(1, 2)) for name, mask in changed.items()}
    chosen = int(np.argmax(np.sum(list(visible.values()), axis=0)))
    tiles = [
        Tile(name, screens[name][chosen], changed[name][chosen], _note(playable.get(name), visible[name], chosen))
        for name in screens
    ]
    left_out = {name: entry.refused for name, entry in known.items() if entry.refused}
    return Gallery(game, moments[chosen], seed, tiles, left_out)


def screens_at(config: GameConfig, string: str, steps: Sequence[int]) -> np.ndarray:
    """The screens of `random_play` after so many steps (rising): uint8 [moments, height, width, 3]."""
    wanted = set(steps)
    play = islice(random_play(config, string), max(steps) + 1)
    return np.stack([screen for step, screen in enumerate(play) if step in wanted])


def _note(entry: Modification | None, visible: np.ndarray, chosen: int) -> str:
    """What to say about a tile; `visible` bool [moments]: when its screen differs."""
    if entry is None:
        return "all others are compared with this"
    if visible[chosen]:
        return ""
    if entry.objects_only:
        return "looks the same: only detected objects change"
    if entry.no_effect:
        return "looks the same: has no visible effect"
    if visible.any():
        return f"looks the same now, but not at {visible.sum()} of {len(visible)} moments"
    return "looks the same" + (f" at all of {len(visible)} moments" if len(visible) > 1 else " now")


def draw_gallery(path: str, gallery: Gallery) -> None:
    """Draw the tiles in columns: the screen, and beside it in colour the pixels that differ.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # half a second, which only those who draw should wait for

    target = check_output("gallery", path, PICTURE_ENDINGS)
    columns = min(4, math.ceil(math.sqrt(len(gallery.tiles))))
    rows = math.ceil(len(gallery.tiles) / columns)
    width, height = _TILE_INCHES
    figure = Figure(figsize=(columns * width, rows * height + 0.6))
    header = 1 - 0.55 / figure.get_figheight()
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=header - 0.2 / figure.get_figheight())
    _draw_header(figure, gallery)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.03, "hspace": 0.34}).ravel()
    for place in axes:
        place.set_axis_off()
    for place, tile in zip(axes, gallery.tiles, strict=False):
        _draw_tile(place, tile)
    picture = io.BytesIO()
    figure.savefig(picture, format=target.suffix[1:].lower(), dpi=_DOTS_PER_INCH)
    with whole_file("gallery", target) as temporary:
        temporary.write_bytes(picture.getvalue())


def _draw_header(figure: Any, gallery: Gallery) -> None:
    at, under = (1 - inches / figure.get_figheight() for inches in (0.2, 0.42))
    figure.text(0.005, at, f"{gallery.game} under each modification", fontsize=12, fontweight="bold", va="center")
    figure.text(
        0.005,
        under,
        f"step {gallery.step} of the same random play (seed {gallery.seed}); beside each screen, in orange, the pixels "
        "that differ from the unmodified game",
        fontsize=8,
        va="center",
    )


def _draw_tile(axes: Any, tile: Tile) -> None:
    """Screen and difference as one picture, the name above, the note in the place of a difference that is empty."""
    height, width = tile.screen.shape[:2]
    gap = np.full((height, 4, 3), 255, np.uint8)
    beside = difference_picture(tile) if not tile.note else np.full_like(tile.screen, 255)
    picture = np.concatenate([tile.screen, gap, beside], axis=1)
    axes.imshow(picture, interpolation="nearest", aspect=_TELEVISION)
    axes.set_title(tile.name or UNMODIFIED, fontsize=8, fontweight="bold", loc="left", pad=4)
    axes.text(1.5 * width + 4, height / 2, textwrap.fill(tile.note, 20), fontsize=8, ha="center", va="center")


def difference_picture(tile: Tile) -> np.ndarray:
    """The screen in pale grey, uint8 [height, width, 3], with the changed pixels in one strong colour."""
    grey = tile.screen.mean(axis=-1, keepdims=True)
    pale = np.broadcast_to(190 + 0.2 * grey, tile.screen.shape)
    return np.where(tile.changed[..., None], _CHANGED, pale).astype(np.uint8)
