"""The emulator, ale-py: no other file knows it."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

import ale_py
import gymnasium
from ale_py import roms

from continual_hackatari.wrappers.errors import GameError

MOST_BEGINNINGS = 1000
"""that are kept, of 15 KB each"""
_beginnings: dict[tuple[Any, ...], bytes] = {}
_numbers: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}

Emulator: TypeAlias = ale_py.ALEInterface
Action: TypeAlias = ale_py.Action
NOOP, FIRE = ale_py.Action.NOOP, ale_py.Action.FIRE


def registered_games() -> dict[str, dict[str, Any]]:
    """Environment id -> keyword arguments of its registration, of all that ale-py registers with gymnasium."""
    gymnasium.register_envs(ale_py)
    specs = gymnasium.registry.items()
    return {env_id: spec.kwargs for env_id, spec in specs if spec.entry_point == "ale_py.env:AtariEnv"}


def ale_games() -> list[str]:
    """All games that ale-py registers, as named in ``ALE/<game>-v5``."""
    matches = (re.fullmatch(r"ALE/(\w+)-v5", env_id) for env_id in registered_games())
    return sorted(match[1] for match in matches if match)


def rom_of(game: str) -> str:
    """The name of the ROM (``space_invaders``) of a game (``SpaceInvaders``)."""
    return str(registered_games()[f"ALE/{game}-v5"]["game"])


def new_emulator(sticky: float, time_limit: int) -> Emulator:
    """An emulator without a game.

    Args:
        sticky: chance that it repeats the last action, drawn per emulated frame.
        time_limit: emulated frames after which it cuts a game.
    """
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # before the first one exists, or it prints a banner
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", sticky)
    ale.setInt("max_num_frames_per_episode", time_limit)
    return ale


def load_game(ale: Emulator, rom: str, seed: int) -> None:
    """Insert a game (name of the ROM: ``freeway``); the emulator reads its seed only then (about 80 ms)."""
    ale.setInt("random_seed", seed)
    path = roms.get_rom_path(rom)
    if path is None:
        raise GameError(f"ale-py has no ROM of {rom}; run `pip install --force-reinstall ale-py`")
    ale.loadROM(path)
    _numbers[rom] = tuple(ale.getAvailableModes()), tuple(ale.getAvailableDifficulties())


def console_numbers(rom: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of the console's modes and difficulties that a game (name of the ROM) takes."""
    if rom not in _numbers:
        load_game(new_emulator(0.0, 0), rom, seed=0)
    return _numbers[rom]


def set_console(ale: Emulator, mode: int | None, difficulty: int | None) -> None:
    """Set the console's switches, for the resets that follow; None leaves one as it is."""
    if mode is not None:
        ale.setMode(mode)
    if difficulty is not None:
        ale.setDifficulty(difficulty)


def seed_game(ale: Emulator, rom: str, seed: int) -> None:
    """Put an inserted game where `load_game` with this seed would, for a reset that follows (see `save`).

    At once, where this process has seeded an emulator of these settings so before: an evaluation plays the same seeds
    under every modification string and with every checkpoint.
    """
    settings = ale.getFloat("repeat_action_probability"), ale.getInt("max_num_frames_per_episode")
    beginning = (*settings, rom, seed)
    if beginning in _beginnings:
        restore(ale, _beginnings[beginning])
        return
    load_game(ale, rom, seed)
    if len(_beginnings) < MOST_BEGINNINGS:
        _beginnings[beginning] = save(ale)


def possible_actions(ale: Emulator, full_action_space: bool) -> list[Action]:
    """The agent's actions in the inserted game: all 18 of a joystick, or those that do something different."""
    return ale.getLegalActionSet() if full_action_space else ale.getMinimalActionSet()


def save(ale: Emulator, generator: bool = True) -> bytes:
    """The emulator's own state, its generator included, or without: `restore` then leaves the generator as it is.

    It does not hold everything (ale-py 0.12: which action a sticky action would repeat, some registers of the
    television chip); at a reset the emulator clears what it lacks.
    """
    return ale.cloneState(include_rng=generator).serialize()


def restore(ale: Emulator, state: bytes) -> None:
    """Take over what `save` returned, perhaps in another process."""
    ale.restoreState(ale_py.ALEState(state))
