"""Our own modifications, used for names that the installed hackatari lacks (the installed one always comes first).

PyPI's hackatari 0.0.6 lacks many names that configurations of published experiments use, and ignores unknown names
without a word; and from Python 3.13 on it cannot be installed. Here are all names that the files of this project use,
and those of Breakout, Freeway, Kangaroo and Pong: constant writes as data, everything else as short rules. Where
release 0.0.6 has a name, the rule is the release's, draw for draw; other addresses and values are those of hackatari's
development version, so that a name means the same whichever release is installed.

The second half of the file says what to do with old spellings and with names whose meaning nobody knows.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from continual_hackatari.wrappers.modifications.modification import Hook
from continual_hackatari.wrappers.objects import load_extraction

Cells = tuple[tuple[int, int], ...]
"""pairs of RAM address and value"""


class Game(Protocol):
    """What a rule may touch."""

    set_ram: Callable[[int, int], None]
    get_ram: Callable[[], np.ndarray]
    """the 128 bytes of RAM, as Python integers"""
    objects: list[Any]
    memory: dict[str, int]
    """shared by all rules of a game, empty at its start"""


class Hooks(NamedTuple):
    """What a rule does, and when: once after a reset, before every emulated frame, once after object detection."""

    reset: Hook | None = None
    frame: Hook | None = None
    post: Hook | None = None


Start = Callable[[Game, random.Random, np.random.RandomState], Hooks]


@dataclass(frozen=True)
class ConstantWrites:
    """A modification that writes the same values each time it runs."""

    description: str
    cells: Cells
    runs: str = "frame"

    @property
    def writes(self) -> tuple[int, ...]:
        """The RAM addresses."""
        return tuple(sorted({address for address, _ in self.cells}))

    objects_only = False

    def start(self, game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
        """The hooks for a new game."""
        set_ram, cells = game.set_ram, self.cells

        def write() -> None:
            for address, value in cells:
                set_ram(address, value)

        return Hooks(reset=write) if self.runs == "reset" else Hooks(frame=write)


@dataclass(frozen=True)
class Rule:
    """A modification that looks at the game or draws random numbers; `start` makes its hooks for a new game."""

    description: str
    start: Start
    writes: tuple[int, ...]
    runs: str = "frame"
    objects_only: bool = False
    """changes the detected objects instead of the RAM"""


def fill(addresses: range, value: int) -> Cells:
    """The same value for a range of addresses."""
    return tuple((address, value) for address in addresses)


def is_due(game: Game, period: int) -> bool:
    """Whether this call is the first of each `period` calls; drifts of a game count their calls together."""
    calls = game.memory.get("drift calls", 0)
    game.memory["drift calls"] = calls + 1
    return calls % period == 0


# --- Freeway: lane i counts from the bottom; its car moves one pixel whenever RAM[33 + i] has counted down to 0 ----
FREEWAY_DELAYS = range(33, 43)
FREEWAY_COLORS = range(77, 87)
FREEWAY_RIGHTWARD = range(108, 113)
FREEWAY_LEFTWARD = range(113, 118)
FREEWAY_FRAME = 1
FREEWAY_CHICKEN = 14
BLINKING_COLORS = (0, 2, 66, 15, 210, 120, 145, 6)
ROAD_GREY = 6
BLINK_FRAMES = 30


def stop_random_car(game: Game, python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """Each frame one lane, drawn anew, stops for 100 frames; with probability 0.1 its car moves at once instead."""

    def frame() -> None:
        delay = 0 if python.random() < 0.1 else 100
        game.set_ram(python.randint(FREEWAY_DELAYS[0], FREEWAY_DELAYS[-1]), delay)

    return Hooks(frame=frame)


def align_all_cars(game: Game, python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """Each frame all cars move one pixel with probability 0.6, and stand still otherwise."""

    def frame() -> None:
        delay = 0 if python.random() < 0.6 else 100
        for address in FREEWAY_DELAYS:
            game.set_ram(address, delay)

    return Hooks(frame=frame)


def reverse_car_speed(first_lane: int, step: int) -> Start:
    """Lanes first_lane, first_lane + step, ... move every 1, 2, 3, 4, 5 frames: the slow become the fast."""

    def start(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
        def frame() -> None:
            clock = int(game.get_ram()[FREEWAY_FRAME])
            for i in range(5):
                game.set_ram(first_lane + step * i, clock % (i + 1))

        return Hooks(frame=frame)

    return start


def vary_car_speeds(game: Game, python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """Each game draws for each lane how many frames (1 to 11) its car takes per pixel."""
    delays = list(range(10))

    def reset() -> None:
        delays[:] = [python.randint(0, 10) for _ in FREEWAY_DELAYS]

    def frame() -> None:
        clock = int(game.get_ram()[FREEWAY_FRAME])
        for address, delay in zip(FREEWAY_DELAYS, delays, strict=True):
            game.set_ram(address, clock % (delay + 1))

    return Hooks(reset=reset, frame=frame)


def stop_nearest_5(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """The five lanes of the road's half in which the chicken is stand still."""

    def frame() -> None:
        in_lower_half = game.get_ram()[FREEWAY_CHICKEN] < 95
        for address in FREEWAY_DELAYS[:5] if in_lower_half else FREEWAY_DELAYS[5:]:
            game.set_ram(address, 100)

    return Hooks(frame=frame)


def speed_mode(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """Two pixels per frame on top of each car's own speed."""

    def frame() -> None:
        ram = game.get_ram()
        for address in FREEWAY_RIGHTWARD:
            game.set_ram(address, min(int(ram[address]) + 2, 255))
        for address in FREEWAY_LEFTWARD:
            game.set_ram(address, max(int(ram[address]) - 2, 0))

    return Hooks(frame=frame)


def random_cells(addresses: range, lowest: int) -> Start:
    """Each cell gets its own random value from `lowest` to 255 in every frame."""

    def start(game: Game, python: random.Random, _numpy: np.random.RandomState) -> Hooks:
        def frame() -> None:
            for address in addresses:
                game.set_ram(address, python.randint(lowest, 255))

        return Hooks(frame=frame)

    return start


def phantom_mode(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """Black for half a second, the colour of the road for the next half."""
    calls = 0

    def frame() -> None:
        nonlocal calls
        if calls % BLINK_FRAMES == 0:
            color = 1 if calls % (2 * BLINK_FRAMES) == 0 else ROAD_GREY
            for address in FREEWAY_COLORS:
                game.set_ram(address, color)
        calls += 1

    return Hooks(frame=frame)


def blinking_mode(game: Game, python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """A new random colour for each car every half second."""
    calls = 0

    def frame() -> None:
        nonlocal calls
        if calls % BLINK_FRAMES == 0:
            for address in FREEWAY_COLORS:
                game.set_ram(address, BLINKING_COLORS[python.randint(1, 8) - 1])
        calls += 1

    return Hooks(frame=frame)


FREEWAY: dict[str, ConstantWrites | Rule] = {
    "align_all_cars": Rule("All cars drive and stop together, at random.", align_all_cars, tuple(FREEWAY_DELAYS)),
    "all_black_cars": ConstantWrites("Colors all cars black.", fill(FREEWAY_COLORS, 0)),
    "all_blue_cars": ConstantWrites("Colors all cars blue.", fill(FREEWAY_COLORS, 145)),
    "all_green_cars": ConstantWrites("Colors all cars green.", fill(FREEWAY_COLORS, 210)),
    "all_pink_cars": ConstantWrites("Colors all cars pink.", fill(FREEWAY_COLORS, 90)),
    "all_red_cars": ConstantWrites("Colors all cars red.", fill(FREEWAY_COLORS, 66)),
    "all_white_cars": ConstantWrites("Colors all cars white.", fill(FREEWAY_COLORS, 15)),
    "blinking_mode": Rule("Gives each car a new random color every 30 frames.", blinking_mode, tuple(FREEWAY_COLORS)),
    "disable_cars": ConstantWrites(
        "Removes all cars: they stand where none is drawn and nothing collides.",
        fill(FREEWAY_DELAYS, 100) + fill(FREEWAY_RIGHTWARD, 3) + fill(FREEWAY_LEFTWARD, 3),
    ),
    "invisible_mode": ConstantWrites(
        "Colors all cars like the road; the dark wheels stay visible.", fill(FREEWAY_COLORS, ROAD_GREY)
    ),
    "phantom_mode": Rule(
        "Cars are black for 30 frames and colored like the road for the next 30.", phantom_mode, tuple(FREEWAY_COLORS)
    ),
    "reverse_car_speed_bottom": Rule(
        "Reverses the speeds of the five bottom lanes: the fastest car becomes the slowest.",
        reverse_car_speed(33, 1),
        tuple(range(33, 38)),
    ),
    "reverse_car_speed_top": Rule(
        "Reverses the speeds of the five top lanes: the fastest car becomes the slowest.",
        reverse_car_speed(42, -1),
        tuple(range(38, 43)),
    ),
    "speed_mode": Rule(
        "All cars drive two pixels per frame faster.", speed_mode, (*FREEWAY_RIGHTWARD, *FREEWAY_LEFTWARD)
    ),
    "stop_all_cars_edge": ConstantWrites(
        "Stops all cars at the side of the road where they drove in.",
        fill(FREEWAY_DELAYS, 100) + fill(FREEWAY_RIGHTWARD, 15) + fill(FREEWAY_LEFTWARD, 150),
    ),
    "stop_all_cars_tunnel": ConstantWrites(
        "Stops all cars on both sides of the chicken, which walks through a tunnel of cars.",
        fill(FREEWAY_DELAYS, 100) + fill(FREEWAY_RIGHTWARD, 35) + fill(FREEWAY_LEFTWARD, 55),
    ),
    "stop_bottom_2": ConstantWrites("Stops the cars of the two bottom lanes.", fill(range(33, 35), 100)),
    "stop_bottom_4": ConstantWrites("Stops the cars of the four bottom lanes.", fill(range(33, 37), 100)),
    "stop_nearest_5": Rule(
        "Stops the cars of the five lanes in whose half of the road the chicken is.",
        stop_nearest_5,
        tuple(FREEWAY_DELAYS),
    ),
    "stop_random_car": Rule(
        "Stops the car of a lane drawn anew in each frame.", stop_random_car, tuple(FREEWAY_DELAYS)
    ),
    "stop_top_2": ConstantWrites("Stops the cars of the two top lanes.", fill(range(41, 43), 100)),
    "stop_top_4": ConstantWrites("Stops the cars of the four top lanes.", fill(range(39, 43), 100)),
    "strobo_mode": Rule(
        "Gives each car a new random color in every frame.", random_cells(FREEWAY_COLORS, 0), tuple(FREEWAY_COLORS)
    ),
    "vary_car_speeds": Rule(
        "Each game draws a new speed for each lane: one pixel every 1 to 11 frames.",
        vary_car_speeds,
        tuple(FREEWAY_DELAYS),
        runs="reset + frame",
    ),
}

# --- Pong ----------------------------------------------------------------------------------------------------------
PONG_SERVE = 11
PONG_ENEMY_Y = 21
PONG_BALL_X = 49
PONG_BALL_Y = 54
PONG_PLAYER_Y = 60
PONG_CENTRE_X = 130
PONG_CENTRE_Y = 127


def lazy_enemy(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """The enemy stands still while the ball flies towards the agent."""
    last_ball_x, last_height = PONG_CENTRE_X, PONG_CENTRE_Y

    def frame() -> None:
        nonlocal last_ball_x, last_height
        ram = game.get_ram()
        if 0 < ram[PONG_SERVE] < 5:
            game.set_ram(PONG_ENEMY_Y, PONG_CENTRE_Y)
            game.set_ram(PONG_BALL_X, PONG_CENTRE_X)
        if last_ball_x < ram[PONG_BALL_X]:
            game.set_ram(PONG_ENEMY_Y, last_height)
        else:
            last_height = ram[PONG_ENEMY_Y]
        last_ball_x = ram[PONG_BALL_X]

    return Hooks(frame=frame)


def pong_drift(address: int, pixels: int) -> Start:
    """The ball, while there is one, moves by so many pixels more in every sixth frame."""

    def start(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
        def frame() -> None:
            position = game.get_ram()[address]
            if is_due(game, 6) and position != 0:
                game.set_ram(address, position + pixels)

        return Hooks(frame=frame)

    return start


def parallel_enemy(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """The enemy's paddle is always at the height of the agent's."""

    def copy_height() -> None:
        game.set_ram(PONG_ENEMY_Y, int(game.get_ram()[PONG_PLAYER_Y]))

    return Hooks(frame=copy_height, post=copy_height)


def parallel_enemy_after_hit(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """The enemy's paddle is at the height of the agent's while the ball is in the agent's part of the field."""

    def copy_height() -> None:
        ram = game.get_ram()
        if 0 < ram[PONG_SERVE] < 5:
            game.set_ram(PONG_ENEMY_Y, PONG_CENTRE_Y)
            game.set_ram(PONG_BALL_X, PONG_CENTRE_X)
        if ram[PONG_BALL_X] > PONG_CENTRE_X:
            game.set_ram(PONG_ENEMY_Y, int(ram[PONG_PLAYER_Y]))

    return Hooks(frame=copy_height, post=copy_height)


def random_perturbation_enemy(game: Game, _python: random.Random, numpy: np.random.RandomState) -> Hooks:
    """The enemy's paddle jumps up to five pixels up or down at any time."""

    def jump() -> None:
        height = int(game.get_ram()[PONG_ENEMY_Y]) + int(numpy.randint(-5, 6))
        game.set_ram(PONG_ENEMY_Y, min(max(height, 0), 250))

    return Hooks(frame=jump, post=jump)


def hidden_enemy(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """Object features do not show the enemy."""
    load_extraction()  # ocatari, without its side effects
    no_object = sys.modules["ocatari.ram.game_objects"].NoObject

    def hide() -> None:
        for i, item in enumerate(game.objects):
            if item.category == "Enemy":
                game.objects[i] = no_object()
                return

    return Hooks(post=hide)


PONG: dict[str, ConstantWrites | Rule] = {
    "down_drift": Rule("The ball drifts downwards.", pong_drift(PONG_BALL_Y, 1), (PONG_BALL_Y,)),
    "hidden_enemy": Rule(
        "The enemy is missing from the object features.", hidden_enemy, (), runs="post", objects_only=True
    ),
    "lazy_enemy": Rule(
        "The enemy does not move while the ball flies towards the agent.", lazy_enemy, (PONG_ENEMY_Y, PONG_BALL_X)
    ),
    "left_drift": Rule("The ball drifts to the left.", pong_drift(PONG_BALL_X, -1), (PONG_BALL_X,)),
    "parallel_enemy": Rule(
        "The enemy's paddle is always at the height of the agent's.",
        parallel_enemy,
        (PONG_ENEMY_Y,),
        runs="frame + post",
    ),
    "parallel_enemy_after_hit": Rule(
        "The enemy's paddle is at the height of the agent's while the ball is in the agent's part of the field.",
        parallel_enemy_after_hit,
        (PONG_ENEMY_Y, PONG_BALL_X),
        runs="frame + post",
    ),
    "random_perturbation_enemy": Rule(
        "The enemy's paddle jumps by -5 to 5 pixels in every frame.",
        random_perturbation_enemy,
        (PONG_ENEMY_Y,),
        runs="frame + post",
    ),
    "right_drift": Rule("The ball drifts to the right.", pong_drift(PONG_BALL_X, 1), (PONG_BALL_X,)),
    "up_drift": Rule("The ball drifts upwards.", pong_drift(PONG_BALL_Y, -1), (PONG_BALL_Y,)),
}

# --- Breakout: the game rewrites all colours in every frame --------------------------------------------------------
BREAKOUT_BALL_X = 99
BREAKOUT_BALL_Y = 101
PADDLE_AND_BALL_COLOR = 62
BLOCK_ROW_COLORS = range(64, 70)
BLOCK_COLORS = (134, 198, 22, 38, 54, 70)
"""the six rows of the unmodified game"""


def breakout_drift(pixels: int) -> Start:
    """The ball moves sideways by so many pixels in every tenth frame, between the walls and above the paddle."""

    def start(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
        def frame() -> None:
            ram = game.get_ram()
            x = ram[BREAKOUT_BALL_X] + pixels
            if is_due(game, 10) and 57 <= x <= 199 and ram[BREAKOUT_BALL_Y] <= 187:
                game.set_ram(BREAKOUT_BALL_X, x)

        return Hooks(frame=frame)

    return start


def breakout_fall(pixels: int, lowest: int) -> Start:
    """The ball moves down by so many pixels in every tenth frame, where that leaves it between 90 and `lowest`."""

    def start(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
        def frame() -> None:
            y = game.get_ram()[BREAKOUT_BALL_Y] + pixels
            if is_due(game, 10) and 90 <= y <= lowest:
                game.set_ram(BREAKOUT_BALL_Y, y)

        return Hooks(frame=frame)

    return start


def sample_new_player_and_ball_color(game: Game, python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """Each game draws one of the block colours for paddle and ball, at its first frame."""
    color: int | None = None

    def frame() -> None:
        nonlocal color
        if color is None:
            color = python.choice(BLOCK_COLORS)
        game.set_ram(PADDLE_AND_BALL_COLOR, color)

    return Hooks(frame=frame)


def sample_new_brick_colors(game: Game, _python: random.Random, numpy: np.random.RandomState) -> Hooks:
    """Each game shuffles the colours of the block rows, at its first frame."""
    colors: list[int] = []

    def frame() -> None:
        if not colors:
            colors.extend(BLOCK_COLORS)
            numpy.shuffle(colors)
        for address, color in zip(BLOCK_ROW_COLORS, colors, strict=True):
            game.set_ram(address, color)

    return Hooks(frame=frame)


def _strobo(what: str, addresses: range, black: bool) -> Rule:
    text = f"Gives {what} a new random color in every frame{'' if black else ', never black'}."
    return Rule(text, random_cells(addresses, 0 if black else 1), tuple(addresses))


_PADDLE_AND_BALL = range(PADDLE_AND_BALL_COLOR, PADDLE_AND_BALL_COLOR + 1)
_BREAKOUT_PALETTE = {"black": 0, "blue": 113, "green": 200, "red": 48, "white": 12}
BREAKOUT: dict[str, ConstantWrites | Rule] = {
    **{
        f"color_all_blocks_{color}": ConstantWrites(f"Colors all blocks {color}.", fill(BLOCK_ROW_COLORS, value))
        for color, value in _BREAKOUT_PALETTE.items()
    },
    **{
        f"color_player_and_ball_{color}": ConstantWrites(
            f"Colors paddle and ball {color}.", fill(_PADDLE_AND_BALL, value)
        )
        for color, value in _BREAKOUT_PALETTE.items()
    },
    "gravity": Rule("Pulls the ball down.", breakout_fall(2, lowest=165), (BREAKOUT_BALL_Y,)),
    "inverse_gravity": Rule("Pushes the ball up.", breakout_fall(-2, lowest=180), (BREAKOUT_BALL_Y,)),
    "left_drift": Rule("The ball drifts to the left.", breakout_drift(-2), (BREAKOUT_BALL_X,)),
    "right_drift": Rule("The ball drifts to the right.", breakout_drift(2), (BREAKOUT_BALL_X,)),
    "sample_new_brick_colors": Rule(
        "Each game shuffles the colors of the rows of blocks.", sample_new_brick_colors, tuple(BLOCK_ROW_COLORS)
    ),
    "sample_new_player_and_ball_color": Rule(
        "Each game draws one of the block colors for paddle and ball.",
        sample_new_player_and_ball_color,
        (PADDLE_AND_BALL_COLOR,),
    ),
    "strobo_mode_blocks": _strobo("each row of blocks", BLOCK_ROW_COLORS, black=True),
    "strobo_mode_blocks_no_black": _strobo("each row of blocks", BLOCK_ROW_COLORS, black=False),
    "strobo_mode_player_and_ball": _strobo("paddle and ball", _PADDLE_AND_BALL, black=True),
    "strobo_mode_player_and_ball_no_black": _strobo("paddle and ball", _PADDLE_AND_BALL, black=False),
}

# --- Kangaroo ------------------------------------------------------------------------------------------------------
THROWN_COCONUTS = range(25, 28)
COCONUTS_AND_MONKEYS: Cells = ((33, 255), (35, 255), *fill(range(31, 33), 0), *fill(range(8, 12), 127))


def no_danger(game: Game, _python: random.Random, _numpy: np.random.RandomState) -> Hooks:
    """No monkeys and no coconuts, neither falling nor thrown."""

    def frame() -> None:
        ram = game.get_ram()
        for address in THROWN_COCONUTS:
            if ram[address] != 255:
                game.set_ram(address, 255)
                game.set_ram(address + 3, 255)
        for address, value in COCONUTS_AND_MONKEYS:
            game.set_ram(address, value)

    return Hooks(frame=frame)


KANGAROO_FLOORS = {1: ((17, 65), (16, 12), (33, 255)), 2: ((17, 100), (16, 6), (33, 255))}
"""floor -> the kangaroo's place on it, and no coconut falling at that moment"""
KANGAROO_LEVEL = 36


def set_kangaroo_position(*floors: int) -> Start:
    """At a game's first frame the kangaroo is on one of these floors; with several, each frame draws a number."""

    def start(game: Game, python: random.Random, _numpy: np.random.RandomState) -> Hooks:
        def frame() -> None:
            floor = floors[python.randint(0, 1)] if len(floors) > 1 else floors[0]
            if "kangaroo placed" not in game.memory:
                game.memory["kangaroo placed"] = floor
                for address, value in KANGAROO_FLOORS[floor]:
                    game.set_ram(address, value)

        return Hooks(frame=frame)

    return start


KANGAROO: dict[str, ConstantWrites | Rule] = {
    **{
        f"change_level_{level}": ConstantWrites(f"Plays level {level}, counted from 0.", ((KANGAROO_LEVEL, level),))
        for level in range(3)
    },
    "disable_coconut": ConstantWrites("Removes the falling coconut.", ((33, 255), (35, 255))),
    "disable_monkeys": ConstantWrites("Removes the monkeys.", fill(range(8, 12), 127)),
    "disable_thrown_coconut": ConstantWrites(
        "Removes one of the coconuts that monkeys throw.", ((25, 255), (28, 255), (31, 0))
    ),
    "no_danger": Rule(
        "Removes the monkeys and all coconuts, falling and thrown.", no_danger, (*range(8, 12), *range(25, 34), 35)
    ),
    "quick_start": ConstantWrites(
        "Skips the waiting time at the start of a game.", ((19, 0), (53, 8), (54, 0), (57, 1)), runs="reset"
    ),
    "randomize_kangaroo_position": Rule(
        "A game starts on the first or second floor above the ground.", set_kangaroo_position(1, 2), (16, 17, 33)
    ),
    "set_kangaroo_position_floor1": Rule(
        "A game starts on the first floor above the ground.", set_kangaroo_position(1), (16, 17, 33)
    ),
    "set_kangaroo_position_floor2": Rule(
        "A game starts on the second floor above the ground.", set_kangaroo_position(2), (16, 17, 33)
    ),
    "unlimited_time": ConstantWrites("The time does not run out.", ((59, 32),)),
}

# --- Frostbite, SpaceInvaders, YarsRevenge: constants only ---------------------------------------------------------
FROSTBITE: dict[str, ConstantWrites | Rule] = {
    "full_igloo": ConstantWrites("A game starts with the igloo finished.", ((77, 15),), runs="reset"),
    "half_igloo": ConstantWrites("A game starts with the igloo half built.", ((77, 7),), runs="reset"),
    "ice_inactive": ConstantWrites(
        "Floes carry the player but give neither points nor ice for the igloo.", fill(range(43, 47), 152)
    ),
    "one_remaining_igloo": ConstantWrites(
        "A game starts with one block of ice missing from the igloo.", ((77, 14),), runs="reset"
    ),
}
SPACE_INVADERS: dict[str, ConstantWrites | Rule] = {
    "no_danger": ConstantWrites(
        "Removes the shots of the enemies, and the shields.",
        fill(range(43, 71), 0) + fill(range(80, 83), 0) + fill(range(83, 85), 255),
    ),
    "relocate_shields_off_by_three": ConstantWrites("Shifts the shields three pixels to the right.", ((27, 46),)),
}
# hackatari has these three names, but in no release so far can they run.
YARS_REVENGE: dict[str, ConstantWrites | Rule] = {
    "disable_block_movement": ConstantWrites("The blocks do not move.", fill(range(24, 26), 0)),
    "disable_enemy_movement": ConstantWrites("The enemy does not move.", fill(range(40, 42), 0)),
    "static": ConstantWrites("Enemy and blocks do not move up or down.", ((42, 90), (26, 37))),
}

SUPPLEMENT: dict[str, dict[str, ConstantWrites | Rule]] = {
    "Breakout": BREAKOUT,
    "Freeway": FREEWAY,
    "Frostbite": FROSTBITE,
    "Kangaroo": KANGAROO,
    "Pong": PONG,
    "SpaceInvaders": SPACE_INVADERS,
    "YarsRevenge": YARS_REVENGE,
}
"""game -> name -> modification"""

# --- names ---------------------------------------------------------------------------------------------------------
ALIASES: dict[str, dict[str, str]] = {
    # names that one release of hackatari has and another calls differently, for the same rule
    "Amidar": {
        "change_enemy": "pig_enemies",
        "pig_enemies": "change_enemy",
        "change_player": "paint_roller_player",
        "paint_roller_player": "change_player",
    },
    "KungFuMaster": {
        "infinite_lives": "unlimited_lives",
        "unlimited_lives": "infinite_lives",
        "infinite_time": "unlimited_time",
        "unlimited_time": "infinite_time",
    },
    "NameThisGame": {
        "endless_oxygen": "unlimited_oxygen",
        "unlimited_oxygen": "endless_oxygen",
        "infinite_lives": "unlimited_lives",
        "unlimited_lives": "infinite_lives",
        "octopus_rest": "octopus_reset",
        "octopus_reset": "octopus_rest",
    },
    # names of published configurations and evaluations, of development branches, and slips of the pen in them
    "Boxing": {"switch_position": "switch_positions"},
    "Freeway": {
        "all_cars_black": "all_black_cars",
        "disable_all_cars": "disable_cars",
        "stop_all_cars": "stop_all_cars_edge",
        "vary_cars_speeds": "vary_car_speeds",
    },
    "Frostbite": {"igloo-1": "one_remaining_igloo", "reposition_flow_easy": "reposition_floes_easy"},
    "Pong": {
        "parallel_enemy_complete": "parallel_enemy",
        "random_pertubation_enemy": "random_perturbation_enemy",
    },
}
"""game -> name -> the name that means the same; used when the first is not available and the second is"""

_NOWHERE = "is named in published evaluations, but no release or branch of hackatari has it"
NO_KNOWN_MEANING: dict[str, dict[str, str]] = {
    "Breakout": {
        "color_all_blocks_yellow": f"{_NOWHERE}; three published agents scored 314, 350 and 336 under it and 376, 388"
        " and 409 in the unmodified game, so it did something there, but nobody knows what"
    },
    "Freeway": {"disable_car": f"{_NOWHERE}; `disable_cars` removes all cars"},
    "Frostbite": {
        "fixed_temperature": _NOWHERE,
        "full_igloo-1": f"{_NOWHERE}; `one_remaining_igloo` starts with one block of ice missing",
        "start_in_front_of_igloo": _NOWHERE,
        "water_disabled": _NOWHERE,
    },
}
"""game -> name -> why it is not guessed"""

OVERLAY = "it only draws into the screen image, which no observation of the agent shows"
REFUSED: dict[str, dict[str, str]] = {"Kangaroo": {"no_flickering": OVERLAY}}
"""game -> name -> why it cannot be played, for names that the installed hackatari lacks"""

_ALREADY_SO = "the unmodified game has this value anyway"
_FIRST_LEVEL = "a game starts on this level anyway, and it takes long to leave it"
NO_EFFECT: dict[str, dict[str, str]] = {
    "Boxing": {"color_enemy_black": _ALREADY_SO, "color_player_white": _ALREADY_SO},
    "DoubleDunk": {"enemy_color_white": _ALREADY_SO, "player_color_green": _ALREADY_SO},
    "Kangaroo": {"change_level_0": _FIRST_LEVEL},
    "MontezumaRevenge": {"set_level_0": _FIRST_LEVEL},
    "MsPacman": {"set_level_0": _FIRST_LEVEL},
}
"""game -> name -> why playing it hardly differs from the unmodified game"""

HANDLER_MENDS: dict[str, dict[str, Any]] = {"Asterix": {"speed": 0}}
"""game -> attributes that hackatari's handler of that game reads but forgets to define"""
