"""The games as gymnasium's own environments, for agents that are not this project's.

    import continual_hackatari
    gymnasium.make("continual_hackatari/Freeway-v5", modifications="all_black_cars")
    gymnasium.make_vec("continual_hackatari/Freeway-v5", num_envs=8, modifications="all_black_cars")

Both play the same games: equal seeds and actions give equal episodes. An episode is a whole game unless `episodic_life`
is set. What `gymnasium.make` hands on are the settings of `config.game_config`.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from continual_hackatari.names import parse
from continual_hackatari.wrappers.agent_game import AgentGame
from continual_hackatari.wrappers.backends import observation_layout, observation_space
from continual_hackatari.wrappers.config import GameConfig, check_choice, check_string, check_whole, game_config
from continual_hackatari.wrappers.errors import GameError, ModificationError
from continual_hackatari.wrappers.goals import GOALS
from continual_hackatari.wrappers.interfaces import GameRecord
from continual_hackatari.wrappers.modifications import waits
from continual_hackatari.wrappers.vector import WORKER_TIMEOUT, ModifiedVectorEnv, Seed, check_reset
from continual_hackatari.wrappers.worker import WAIT

LARGEST_SEED = 2**63 - 1
RENDER_MODES = ("rgb_array",)
EMULATED_FRAMES_PER_SECOND = 60
SETTINGS = tuple(sorted(set(inspect.signature(game_config).parameters) - {"env_id", "episodic_life", "seed"}))
OF_MANY = ("num_envs", "num_workers", "worker_timeout", "autoreset_mode")
"""what goes with `gymnasium.make_vec` alone"""
SWITCHES = ("episodic_life", "fire_reset", "full_action_space")
FILES = ("reward_file", "modification_file")
ARGUMENTS = {
    "`new_rf`": "`reward_file`",
    "`her` with `game_specific_goals`": "`goal_kind='game_specific'`",
    "has goals for `her`": "has goals for `goal_kind='position'`",
    "`her`": "`goal_kind`",
    "`switch_mode`": "`mode`",
    "`--full_action_space`": "`full_action_space=True`",
    "`--max_pool`": "`max_pool=True`",
    "`--no_max_pool`": "`max_pool=False`",
}
"""What flags of training are called here, the longer ones first; with values see `_arguments_of`."""


class ContinualAtariEnv(gymnasium.Env[np.ndarray, np.int64]):
    """One game; observations as the agent sees them, uint8 [window, 84, 84] or, with ``obs_mode`` obj, float32.

    `reset` takes ``options={"modifications": string}``; without, the game keeps the modifications that it has.
    ``info["modification"]`` says at a reset what is played, as a place in the list `strings`; ``info["game"]`` at a
    game's end what was achieved in it. All of it are numbers, which wrappers can turn into arrays of other libraries.

    Args:
        ale_id: the emulator's id of the game, such as ``ALE/Freeway-v5``.
        modifications: the modification string to begin with.
        render_mode: ``rgb_array`` or None.
        episodic_life: end an episode at each lost life, while the game goes on.
        settings: further ones of `game_config`, such as ``frameskip`` or ``obs_mode``.

    Raises:
        GameError, ModificationError: a setting or string that cannot be played, in one sentence.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 15}  # noqa: RUF012 - of `frameskip` 4

    def __init__(
        self,
        ale_id: str,
        *,
        modifications: str = "",
        render_mode: str | None = None,
        episodic_life: bool = False,
        **settings: Any,
    ) -> None:
        self.config, string = _described(ale_id, modifications, render_mode, episodic_life, settings)
        self.metadata = {**self.metadata, "render_fps": _frames_per_second(self.config)}
        self.render_mode = render_mode
        shape, dtype = observation_layout(self.config)
        self._final: np.ndarray = np.zeros(shape, dtype)
        self._game = AgentGame(self.config, 0, np.zeros(shape, dtype), self._final)
        self._game.keep_final_screen = render_mode is not None
        self._ask_for(string)
        self.strings = [string]
        self._seeded = self._ended = self._just_begun = False
        self.observation_space = observation_space(self.config)
        self._num_actions = len(self._game.game.actions)
        self.action_space = gymnasium.spaces.Discrete(self._num_actions)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a new game, or the next life of this one where a lost life ended the episode.

        Args:
            seed: play from here on what a new environment of this seed plays. None: go on (at first: a random seed).
            options: ``{"modifications": string}`` begins a game under this string.
        """
        check_reset(seed, options)
        super().reset(seed=seed)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(LARGEST_SEED))
        if seed is not None:
            self._game.seed(seed)
            self._seeded = True
        if options:
            with _in_arguments():
                string, _ = check_string(self.config, options["modifications"], "modifications")
            self._ask_for(string)
        if seed is not None or options or not self._just_begun:
            self._game.start_game()
        self._ended, self._just_begun = False, True
        return self._game.observation.copy(), {"modification": place_of(self._game.modification, self.strings)}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Play one agent step."""
        if not self._seeded:
            raise gymnasium.error.ResetNeeded("no game has begun; call `reset` before the first step")
        if not self.action_space.contains(action):
            raise GameError(
                f"`action` of {self.config.game} must be a whole number from 0 to {self._num_actions - 1}, "
                f"but it is {action!r}"
            )
        reward, terminated, truncated, record = self._game.step(int(action))
        self._ended = self._just_begun = terminated or truncated
        observation = self._final if self._ended else self._game.observation
        info = {} if record is None else {"game": achieved(record, self.strings)}
        return observation.copy(), reward, terminated, truncated, info

    def _ask_for(self, string: str) -> None:
        """From the next game on, play this canonical string."""
        game, names = parse(string)
        self._game.set_modifications(names, "episode", game)

    def render(self) -> np.ndarray | None:
        """The screen, uint8 [height, width, 3]; after an episode's end the last one of it."""
        if self.render_mode is None:
            return None
        return self._game.final_screen if self._ended else self._game.game.screen()


class ContinualAtariVectorEnv(ModifiedVectorEnv):
    """Many games in worker processes; `info` in gymnasium's form, keys as in `ContinualAtariEnv`.

    Args:
        ale_id: the emulator's id of the game, such as ``ALE/Freeway-v5``.
        num_envs: number of games.
        modifications: the modification string to begin with.
        render_mode: ``rgb_array`` or None.
        autoreset_mode: ``AutoresetMode.NEXT_STEP`` or ``SAME_STEP``.
        episodic_life: end an episode at each lost life, while the game goes on.
        num_workers: processes (default: one per core, at most one per game); 0 plays in this process.
        worker_timeout: a worker that does not answer a step for so many seconds hangs.
        settings: further ones of `game_config`, such as ``frameskip`` or ``obs_mode``.

    Raises:
        GameError, ModificationError: a setting or string that cannot be played, in one sentence.
    """

    def __init__(
        self,
        ale_id: str,
        num_envs: int = 1,
        *,
        modifications: str = "",
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        episodic_life: bool = False,
        num_workers: int | None = None,
        worker_timeout: float = WORKER_TIMEOUT,
        **settings: Any,
    ) -> None:
        config, string = _described(ale_id, modifications, render_mode, episodic_life, settings)
        _check_processes(num_envs, num_workers, worker_timeout)
        mode = autoreset_mode.value if isinstance(autoreset_mode, AutoresetMode) else autoreset_mode
        check_choice("autoreset_mode", mode, (AutoresetMode.NEXT_STEP.value, AutoresetMode.SAME_STEP.value))
        with _in_arguments():
            super().__init__(config, num_envs, num_workers=num_workers, worker_timeout=worker_timeout)
        self._take(string)
        self.render_mode = render_mode
        self.metadata = {
            "autoreset_mode": AutoresetMode(mode),
            "render_modes": list(RENDER_MODES),
            "render_fps": _frames_per_second(config),
        }
        self._next_step = AutoresetMode(mode) == AutoresetMode.NEXT_STEP
        self._ended = np.zeros(num_envs, bool)  # in the last step
        self.strings = [string]
        self._places = np.zeros(num_envs, int)  # in `strings`: what each game is played under
        self._seeded = False
        if render_mode is not None:
            self._everywhere("keep_final_screens")

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a new game everywhere.

        Args:
            seed: play from here on what new environments of this seed play; environment i's games depend on (seed, i).
                None: go on (at first: a random seed). A list has one for each game, which then plays what
                `gymnasium.make` plays with it.
            options: ``{"modifications": string}`` begins the games under this string.
        """
        check_reset(seed, options, self.num_envs)
        if not self._seeded:
            if seed is None:
                seed = self._random_seed()
            elif not isinstance(seed, (int, np.integer)):
                seed = [self._random_seed() if one is None else one for one in seed]
        with _in_arguments():
            observations, _ = super().reset(seed=seed, options=options)
        self._seeded = True
        return observations, self._all_began()

    def set_modifications(self, string: str, mode: str = "reset") -> tuple[np.ndarray, dict[str, Any]]:
        """Switch every game: ``reset`` at once in a new game, ``episode`` at its next one, ``live`` in mid-game."""
        _check_types({"modifications": string})
        with _in_arguments():
            observations, _ = super().set_modifications(string, mode)
        if mode == "reset":
            return observations, self._all_began()
        if mode == "live":
            new = place_of(self.string, self.strings)
            for row, old in enumerate(self._places):
                game, names = parse(self.strings[old])
                stays = game in ("", self.game)  # another one waits, see `AgentGame.set_modifications`
                if stays and not waits(self.game, names, self.modifications, self.config.rules):
                    self._places[row] = new
        return observations, {}

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The screens, uint8 [height, width, 3]; where the observation is an episode's last one, so is the screen."""
        if self.render_mode is None:
            return None
        final = np.flatnonzero(self._ended).tolist() if self._next_step else []
        parts = self._ask_each("screens", [(final,)] * len(self._parts()))
        screens = {row: screen for part in parts for row, screen in part.items()}
        return tuple(screens[row] for row in range(self.num_envs))

    def _begin_step(self, actions: np.ndarray, group: int) -> None:
        if self._next_step:  # the reset of these games is this step
            actions = np.where(self._ended[self.groups[group]], WAIT, actions)
        super()._begin_step(actions, group)

    def _results(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        observations, rewards, terminated, truncated = super()._results()
        if self._next_step:
            done = terminated | truncated
            observations[done] = self._arrays.final_observations[done]
        return observations, rewards, terminated, truncated

    def _info(self, records: list[GameRecord]) -> dict[str, Any]:
        """Of a step; `modification` stands where its observation is the first one of an episode."""
        info: dict[str, Any] = {}
        ended = self._arrays.terminated | self._arrays.truncated
        if self._next_step:
            self._tell_modifications(info, self._ended)
        games: dict[int, dict[str, Any]] = {record.env: {"game": achieved(record, self.strings)} for record in records}
        self._places[list(games)] = place_of(self.string, self.strings)  # their next games have begun
        for row in np.flatnonzero(ended).tolist():
            last = games.get(row, {})
            if not self._next_step:
                last = {"final_obs": self._arrays.final_observations[row].copy(), "final_info": last}
            self._add_info(info, last, row)
        if not self._next_step:
            self._tell_modifications(info, ended)
        self._ended = ended
        return info

    def _random_seed(self) -> int:
        return int(self.np_random.integers(LARGEST_SEED))

    def _all_began(self) -> dict[str, Any]:
        """After all games were begun: what `info` says."""
        self._ended[:] = False
        self._places[:] = place_of(self.string, self.strings)
        info: dict[str, Any] = {}
        self._tell_modifications(info, ~self._ended)
        return info

    def _tell_modifications(self, info: dict[str, Any], rows: np.ndarray) -> None:
        for row in np.flatnonzero(rows).tolist():
            self._add_info(info, {"modification": int(self._places[row])}, row)


def _described(
    ale_id: str, modifications: str, render_mode: str | None, episodic_life: bool, settings: dict[str, Any]
) -> tuple[GameConfig, str]:
    """The checked description of the game, and the canonical task string; warns of what a user should know."""
    for name in settings:
        if name == "env_id":
            raise GameError("`env_id` is said by the name of the environment, such as continual_hackatari/Freeway-v5")
        if name in OF_MANY:
            raise GameError(f"`{name}` goes with `gymnasium.make_vec`; `gymnasium.make` plays one game in this process")
        check_choice("setting", name, SETTINGS)
    _check_types({"modifications": modifications, "episodic_life": episodic_life, **settings})
    if render_mode is not None:
        check_choice("render_mode", render_mode, RENDER_MODES)
    settings = {name: os.fspath(value) if name in FILES else value for name, value in settings.items()}
    with _in_arguments():
        config, notes = game_config(ale_id, episodic_life=bool(episodic_life), **settings)
        string, warnings = check_string(config, modifications, "modifications")
    for line in [*notes, *warnings]:
        gymnasium.logger.warn(_arguments_of(line))
    return config, string


def _check_types(given: dict[str, Any]) -> None:
    """Raise GameError for what `game_config` trusts: it is told by the command line, which has checked it."""
    for name, value in given.items():
        if name == "modifications" and not isinstance(value, str):
            raise GameError(f"`modifications` must be one string, such as 'all_black_cars', but it is {value!r}")
        if name in SWITCHES and not isinstance(value, (bool, np.bool_)):
            raise GameError(f"`{name}` must be True or False, but it is {value!r}")
        if name == "max_pool" and not isinstance(value, (bool, np.bool_, type(None))):
            raise GameError(f"`max_pool` must be True, False or None (as the backend does), but it is {value!r}")
        if name in FILES and not isinstance(value, (str, os.PathLike)):
            raise GameError(f"`{name}` must be the path of a Python file, but it is {value!r}")
        if name == "goal_kind" and not isinstance(value, str):
            check_choice(name, value, tuple(GOALS))


def _check_processes(num_envs: Any, num_workers: Any, worker_timeout: Any) -> None:
    """Raise GameError unless they are in the ranges of the training's flags of these names."""
    check_whole("num_envs", num_envs, 1, 10_000)
    if num_workers is not None:
        check_whole("num_workers", num_workers, 0, 10_000, "; 0 plays in this process, None takes one per core")
    number = isinstance(worker_timeout, Real) and not isinstance(worker_timeout, bool)
    if not number or not 1 <= worker_timeout <= 86_400:
        raise GameError(f"`worker_timeout` must be seconds, from 1 to 86,400, but it is {worker_timeout!r}")


@contextmanager
def _in_arguments() -> Iterator[None]:
    """Errors speak of the arguments of `gymnasium.make`, not of the flags of training."""
    try:
        yield
    except (GameError, ModificationError) as error:
        raise type(error)(_arguments_of(str(error))) from error.__cause__


def _arguments_of(sentence: str) -> str:
    for flag, argument in ARGUMENTS.items():
        sentence = sentence.replace(flag, argument)
    sentence = re.sub(r"`--(\w+) (\d+)`", r"`\1=\2`", sentence)
    return re.sub(r"`--(\w+) (\w+)`", r"`\1='\2'`", sentence)


def _frames_per_second(config: GameConfig) -> int | float:
    """How fast `render` shows the game as it is played on the console; whole where it can be."""
    exact = EMULATED_FRAMES_PER_SECOND / config.frameskip
    return int(exact) if exact.is_integer() else exact


def place_of(string: str, strings: list[str]) -> int:
    """The place of `string` in `strings`, to which it is added if it is new."""
    if string not in strings:
        strings.append(string)
    return strings.index(string)


def achieved(record: GameRecord, strings: list[str]) -> dict[str, float]:
    """What `info` says of a game that has ended."""
    numbers = {name: getattr(record, name) for name in ("score", "length", "lives", "live_switches")}
    return {**numbers, "modification": place_of(record.modification, strings)}
