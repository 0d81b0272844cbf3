"""One Atari game that changes while it is played: emulator, modifications, observations, lives and scores.

Layers, innermost first; each does one thing and hands on numbers:

    ModifiedGame   emulator, modifications, reward file; behaves bit for bit as hackatari's environment
    Pixels, PooledPixels, ObjectFeatures   turn what the emulator shows into the agent's observation window
    AgentGame      the start of games, lives as episodes, and the score of each whole game below all of that
"""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import ale_py
import numpy as np
from ale_py import roms

from continual_hackatari.wrappers.goals import GOALS, Goal
from continual_hackatari.wrappers.modifications import ModificationRunner, wait_for_start
from continual_hackatari.wrappers.objects import ObjectDetector, why_missing
from continual_hackatari.wrappers.shrinking import FRAME_SIZE, Shrinker
from continual_hackatari.wrappers.state import as_numbers, is_plain

NOOP, FIRE = ale_py.Action.NOOP, ale_py.Action.FIRE
NOOP_MAX = 30
GAME_STARTS = ("frames", "steps", "original", "none")


class GameError(ValueError):
    """A game, backend or setting that cannot be played; the text is one sentence for the user."""


@dataclass(frozen=True)
class GameConfig:
    """Everything a worker needs to build a game; plain values only, so that it travels to a worker process."""

    env_id: str
    game: str
    """name as in the environment id: ``Freeway``"""
    rom: str
    """name of the ROM: ``freeway``"""
    repeat_action_probability: float
    """sticky actions: chance that the emulator repeats the last action, drawn per emulated frame"""
    full_action_space: bool
    max_num_frames_per_episode: int
    """a game is truncated after this many emulated frames"""
    backend: str = "HackAtari"
    obs_mode: str = "dqn"
    frameskip: int = 4
    window: int = 4
    """number of past frames (or feature vectors) in an observation"""
    episodic_life: bool = True
    """end the training episode, not the game, at a lost life"""
    game_start: str = "steps"
    """before the agent acts: 1 to `noop_max` no-op ``frames`` or no-op agent ``steps``, then FIRE; ``none``: only FIRE;
    ``original``: see `AgentGame.start_game`"""
    noop_max: int = NOOP_MAX
    """another number stands in checkpoints of earlier versions only"""
    fire_reset: bool = True
    """press FIRE once at the start of a game and after a lost life, in games that have the button"""
    max_pool: bool = False
    """frames are the maximum of a step's last two (backend Gym: always)"""
    reward_file: str = ""
    seed: int = 0
    reseed_every_game: bool = False
    """evaluation: game number k of the run is seeded by (seed, k) alone, whoever plays it"""
    num_envs: int = 1
    """how many environments share the run's game numbers (environment i plays games i, i + num_envs, ...)"""
    goal_kind: str = ""
    """kind of goal that follows the frames as grey planes, a key of `wrappers.goals.GOALS`; empty: none"""

    @property
    def chosen(self) -> dict[str, Any]:
        """What `game_config` chooses where it is not told, under the names of the flags."""
        return {
            "game_start": self.game_start,
            "max_pool": self.max_pool,
            "sticky": self.repeat_action_probability,
            "time_limit": self.max_num_frames_per_episode,
        }

    @property
    def goal(self) -> Goal | None:
        """The goals of this game, where goals are asked for."""
        return GOALS[self.goal_kind][self.game] if self.goal_kind else None

    @property
    def num_goals(self) -> int:
        """Numbers per goal, and planes behind the frames."""
        return len(self.goal.axes) if self.goal else 0


class GameRecord(NamedTuple):
    """One played game, measured in the emulator's own score, below every training wrapper."""

    env: int
    modification: str
    score: float
    length: int
    """agent steps"""
    lives: int
    """lives lost"""
    cut: bool
    """ended by a switch or by the end of the run, so that `score` is no score of a whole game"""
    live_switches: int
    """switches in mid-game; `modification` is then the last one"""
    number: int
    """which game of this environment, from 0"""
    life_scores: tuple[float, ...]
    life_lengths: tuple[int, ...]


class GameView:
    """What modifications and reward files see of a game; the names are those of hackatari's environment."""

    def __init__(self, ale: ale_py.ALEInterface, game: str, env_id: str) -> None:
        self.ale = self._ale = ale
        self.game_name = game
        self.env_name = env_id
        self.set_ram: Callable[[int, int], None] = ale.setRAM
        self.org_reward = 0.0
        self.org_return = 0.0
        self.detector: ObjectDetector | None = None

    def get_ram(self) -> np.ndarray:
        """The 128 bytes of RAM, an array of Python integers.

        Rules count below 0 and beyond 255 with them, which numpy's bytes do in numpy 1 and do not in numpy 2.
        """
        return self.ale.getRAM().astype(object)

    @property
    def objects(self) -> list[Any]:
        """The game's objects as OCAtari detects them."""
        if self.detector is None:
            why = why_missing("ocatari") or "object detection is not running for this game"
            raise GameError(f"objects of {self.game_name} were asked for, but {why}")
        return self.detector.objects

    def getScreenRGB(self) -> np.ndarray:  # noqa: N802 - hackatari's name, used by reward files
        """The screen, uint8 [210, 160, 3]."""
        return self.ale.getScreenRGB()


class ModifiedGame:
    """A game in the emulator, stepped with its modifications.

    Same seed, actions and randomness give the same RAM, rewards and screens as ``hackatari.core.HackAtari`` of the
    installed release (as ``gymnasium``'s ``AtariPreprocessing`` for backend ``Gym``), except for the defects that
    `wrappers.modifications` mends. Game over and truncation are read from the emulator itself, because releases of
    hackatari differ in the order in which they return the two.
    """

    def __init__(self, config: GameConfig, *, seed: int, modification_seed: int) -> None:
        self.config = config
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # before the first one exists, or it prints a banner
        self.ale = ale = ale_py.ALEInterface()
        ale.setFloat("repeat_action_probability", config.repeat_action_probability)
        ale.setInt("max_num_frames_per_episode", config.max_num_frames_per_episode)
        self.view = GameView(ale, config.game, config.env_id)
        self.runner = ModificationRunner(config.game, self.view, modification_seed)
        self.names: tuple[str, ...] = ()
        self._reward_function = load_reward_function(config.reward_file) if config.reward_file else None
        detects_for_rewards = self._reward_function is not None and not why_missing("ocatari")
        self._detection_always = config.obs_mode == "obj" or detects_for_rewards
        self.before_last_frame: Callable[[], None] | None = None
        self.actions: list[ale_py.Action] = []
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Seed the emulator; it reads its seed when the ROM is loaded (about 80 ms)."""
        self.ale.setInt("random_seed", seed)
        rom = roms.get_rom_path(self.config.rom)
        if rom is None:
            raise GameError(f"ale-py has no ROM of {self.config.rom}; run `pip install --force-reinstall ale-py`")
        self.ale.loadROM(rom)
        self.actions = self.ale.getLegalActionSet() if self.config.full_action_space else self.ale.getMinimalActionSet()

    def start(self, names: tuple[str, ...], observe: Callable[[], None]) -> None:
        """Start a new game under `names`.

        `observe` is called where hackatari takes the reset observation: before the modifications of the reset run.
        """
        self.ale.reset_game()
        self.view.org_reward = self.view.org_return = 0.0
        self.set_modifications(names)
        observe()
        for modify in self.runner.after_reset:
            modify()
        for modify in self.runner.after_detection:
            modify()

    def set_modifications(self, names: tuple[str, ...]) -> None:
        """Take other modifications in place, with fresh state for each."""
        self.names = names
        self.runner.start_game(names)
        if self._detection_always or self.runner.needs_objects:
            if self.view.detector is None:
                self.view.detector = ObjectDetector(self.config.game, self.ale.getRAM)
            self.view.detector.restart()
        else:
            self.view.detector = None

    def change(self, names: tuple[str, ...]) -> None:
        """Change the modifications in mid-game: what they draw or note at the start of a game, they do now."""
        self.set_modifications(names)
        for modify in self.runner.after_reset:
            modify()

    def step(self, action: int) -> float:
        """Play one agent step with action index `action`; returns the reward."""
        return self.play(self.actions[action], self.config.frameskip)

    def play(self, action: ale_py.Action, frames: int) -> float:
        """Play so many emulated frames with `action`, which need not be one of the agent's; returns the reward.

        `before_last_frame` is called when the last but one is on the screen; of a game that ends early, at its end.
        After a game over inside the loop, hackatari runs its modifications and the (now inert) emulator once more; so
        do we, since random modifications and sticky actions draw numbers there. gymnasium's preprocessing does not,
        nor do we where frames are pooled as it pools them.
        """
        ale, act = self.ale, self.ale.act
        modifications = self.runner.before_frame
        reward, over = 0.0, False
        for frame in range(frames - 1):
            for modify in modifications:
                modify()
            reward += act(action)
            over = ale.game_over()
            if self.before_last_frame is not None and (over or frame == frames - 2):
                self.before_last_frame()
            if over:
                break
        if not (over and self.config.max_pool):
            for modify in modifications:
                modify()
            reward += act(action)
        for modify in self.runner.after_last_frame:
            modify()
        if self.view.detector is not None:
            self.view.detector.detect()
        for modify in self.runner.after_detection:
            modify()
        self.view.org_reward = reward
        self.view.org_return += reward
        return reward

    def training_reward(self, reward: float) -> float:
        """The reward to learn from: the game's, or what the reward file makes of the present state."""
        return reward if self._reward_function is None else float(self._reward_function(self.view))

    def carried_over(self) -> dict[str, Any]:
        """All that the next game takes over from this one, as plain data: emulator, generators, a reward file's memory.

        Whatever else there is begins anew with `start`: handlers of modifications and the detector's objects too.
        """
        memory = {} if self._reward_function is None else _plain_globals(self._reward_function)
        emulator = self.ale.cloneState(include_rng=True).serialize()
        return {"emulator": emulator, "modifications": self.runner.random_state(), "reward_file": memory}

    def carry_over(self, state: dict[str, Any]) -> None:
        """Take over what `carried_over` returned in another process; good for `start`, not for `step`.

        The emulator's own states do not hold everything (ale-py 0.12: which action a sticky action would repeat, some
        registers of the television chip). At a reset it clears what they lack.
        """
        self.ale.restoreState(ale_py.ALEState(state["emulator"]))
        self.runner.set_random_state(state["modifications"])
        if self._reward_function is not None:
            self._reward_function.__globals__.update(state["reward_file"])

    @property
    def terminated(self) -> bool:
        return self.ale.game_over(with_truncation=False)

    @property
    def truncated(self) -> bool:
        return self.ale.game_truncated()


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


class AgentGame:
    """A game as the agent meets it, written into shared arrays.

    `observation` is this environment's row of the shared observation array and always holds the newest observation:
    the frames, then the planes of the desired goal, if any. `achieved` [G] then holds what goal the last step achieved,
    before whatever game or life it began.
    """

    def __init__(
        self,
        config: GameConfig,
        index: int,
        observation: np.ndarray,
        final_observation: np.ndarray,
        achieved: np.ndarray | None = None,
    ) -> None:
        self.config = config
        self.index = index
        emulator_seed, noop_seed, modification_seed = derive_seeds(config.seed, index)
        self.game = ModifiedGame(config, seed=emulator_seed, modification_seed=modification_seed)
        self._noops = np.random.default_rng(noop_seed)
        self._observe = observation_kind(config)(self.game)
        self.observation = observation
        self.final_observation = final_observation
        self.achieved = np.zeros(config.num_goals, np.float32) if achieved is None else achieved
        self._goal = config.goal
        if self._goal is not None:
            observation[config.window :] = self._goal.grey(self._goal.target)[:, None, None]
        self._frames = observation[: config.window]
        self._presses = start_presses(config, self.game.actions)
        self._next_names: tuple[str, ...] = ()
        self._number = -1
        self._origin: dict[str, Any] | None = None  # what the present game began with, see `get_state`
        self._actions: list[int] = []
        self._live_changes: list[tuple[int, tuple[str, ...]]] = []
        self._clear_score()

    @property
    def modification(self) -> str:
        """The string that this game is played under."""
        return " ".join(self.game.names)

    def set_modifications(self, names: tuple[str, ...], mode: str) -> GameRecord | None:
        """Take new modifications: at once in a new game, at the next game start, or in mid-game.

        Where one of them acts at the start of a game only, ``live`` is ``episode`` for all of them: half of a string
        would be something that nobody asked for, and has no name for the record.

        Returns the record of the game that mode ``reset`` cut short, if it had begun.
        """
        self._next_names = names
        if mode == "episode" or (mode == "live" and wait_for_start(self.config.game, names)):
            return None
        if mode == "live":
            self._live_changes.append((len(self._actions), names))
            self._live_switches += names != self.game.names
            self.game.change(names)
            return None
        record = self.cut()
        self.start_game()
        return record

    def seed(self, seed: int) -> None:
        """From the next game on, play what a new environment of this seed and index plays."""
        self.config = self.game.config = replace(self.config, seed=seed)
        self._seed_generators(self.index)
        self.restart_numbering()

    def _seed_generators(self, index: int) -> None:
        """Seed emulator, no-op starts and modifications as environment (or game) `index` of the run."""
        emulator_seed, noop_seed, modification_seed = derive_seeds(self.config.seed, index)
        self.game.seed(emulator_seed)
        self._noops = np.random.default_rng(noop_seed)
        self.game.runner = ModificationRunner(self.config.game, self.game.view, modification_seed)

    def restart_numbering(self) -> None:
        """Count the games from 0 again: with `reseed_every_game` the same games come again."""
        self._number = -1

    def cut(self) -> GameRecord | None:
        """The record of the unfinished game, or None if no step of it was played."""
        return self._record(cut=True) if self._length else None

    def start_game(self) -> None:
        """Begin a new game: seed (in evaluation), reset, the start that `config.game_start` names.

        ``original`` is Stable-Baselines3's ``NoopResetEnv``, ``EpisodicLifeEnv`` and ``FireResetEnv``, in this order
        over hackatari's environment: no-op agent steps, then actions 1 and 2, each for one agent step; where lives are
        episodes, a lost life is followed by one no-op agent step and the same two actions. In every start, a game that
        ends before the agent acts is begun anew.
        """
        self._origin = {
            "number": self._number,
            "names": self._next_names,
            "noops": self._noops.bit_generator.state,
            **self.game.carried_over(),
        }
        self._actions, self._live_changes = [], []
        self._number += 1
        if self.config.reseed_every_game:
            self._seed_generators(self.index + self._number * self.config.num_envs)
        self._wait()
        for action in self._presses:
            self._press(action)
            if self._over:
                self._wait()

    def _wait(self) -> None:
        """Start the game and let the no-op frames or steps pass."""
        self._reset()
        if self.config.game_start == "frames":
            self._play(NOOP, int(self._noops.integers(1, self.config.noop_max + 1)))
            if self._over:
                self._reset()
            self._observe.start(self._frames)
        elif self.config.game_start != "none":
            for _ in range(int(self._noops.integers(1, self.config.noop_max + 1))):
                self._play_and_observe(NOOP)
                if self._over:
                    self._reset()
        self._lives = self.game.ale.lives()

    def _reset(self) -> None:
        """The emulator's own start of a game."""
        self._clear_score()
        self.game.start(self._next_names, lambda: self._observe.start(self._frames))

    def _start_life(self) -> None:
        """What follows a lost life; the game may end in it."""
        if self.config.game_start == "original":
            if not self.config.episodic_life:
                return
            self._play_and_observe(NOOP)
            self._note_lives()
        for action in self._presses:
            if not self._over:
                self._press(action)

    def _press(self, action: ale_py.Action) -> None:
        """Play one agent step of a start; in ``original`` a life that it costs is followed by a no-op step."""
        self._play_and_observe(action)
        if self.config.game_start == "original" and self.config.episodic_life:
            life_lost = 0 < self.game.ale.lives() < self._lives and not self._over
            self._note_lives()
            if life_lost:
                self._play_and_observe(NOOP)
                self._note_lives()

    def _note_lives(self) -> None:
        """Count the lives that a step of a start cost; `step` does it where the game is over."""
        if not self._over:
            lives = self.game.ale.lives()
            self._lives_lost += max(0, self._lives - lives)
            self._lives = lives

    def step(self, action: int) -> tuple[float, bool, bool, GameRecord | None]:
        """Play one agent step; a finished episode is followed by the next at once (gymnasium's SAME_STEP).

        Returns reward, terminated, truncated, and the record of the game if it ended.
        """
        game = self.game
        self._actions.append(action)
        reward = self._play_and_observe(game.actions[action])
        self._length += 1
        self._life_length += 1
        if self._goal is not None:
            self.achieved[:] = self._goal.achieved(game.view.get_ram(), reward)
        terminated, truncated = game.terminated, game.truncated
        lives = game.ale.lives()
        life_lost = 0 < lives < self._lives  # some games show 0 lives for a while before they are over
        training_reward = game.training_reward(reward)
        record = None
        if life_lost or terminated or truncated:
            self._end_life(self._lives - lives)
            self._lives = lives
        if terminated or truncated:
            self.final_observation[:] = self.observation
            record = self._record(cut=False)
            self.start_game()
        elif life_lost:
            terminated = self.config.episodic_life
            if terminated:
                self.final_observation[:] = self.observation
            self._start_life()
            if self.config.episodic_life and self._over:
                self._end_life(max(0, self._lives - game.ale.lives()))
                record = self._record(cut=False)
                self.start_game()
        else:
            self._lives = max(lives, self._lives)  # an extra life
        return training_reward, terminated, truncated, record

    def get_state(self) -> dict[str, Any]:
        """Plain data that lets a new environment continue exactly: what the game began with, and all actions since.

        The same beginning and the same actions give the same game, so this holds for everything, known or not, that
        emulator, modifications, detector and observations remember. Playing it again costs its number of steps.
        """
        state: dict[str, Any] = {"number": self._number, "next_names": list(self._next_names), "origin": None}
        if self._origin is not None:
            state["origin"] = {**self._origin, "names": list(self._origin["names"])}
            state["actions"] = np.array(self._actions, np.int16)
            state["live_changes"] = [(step, list(names)) for step, names in self._live_changes]
            state["fingerprint"] = self._fingerprint()
        return state

    def set_state(self, state: dict[str, Any], watch: Callable[[], None] | None = None) -> None:
        """Continue from a state that `get_state` returned in an environment of the same configuration and index.

        Args:
            state: plain data; it may come from a file that somebody has changed.
            watch: called after each step that is played again.

        Raises:
            GameError: the state is damaged, or this machine's versions play another game.
        """
        try:
            if state["origin"] is not None:
                self._play_again(state, watch)
            self._number, self._next_names = int(state["number"]), tuple(state["next_names"])
            fits = state["origin"] is None or state["fingerprint"] == self._fingerprint()
        except Exception as error:  # whatever emulator, modifications or generators raise about what they are given
            raise GameError(f"the saved state of environment {self.index} is damaged: {error!r}") from error
        if not fits:
            raise GameError(
                f"the saved state of environment {self.index} leads to another game here: it is damaged, "
                "or was saved with other versions of ale-py, hackatari or ocatari, or with another reward file"
            )

    def _play_again(self, state: dict[str, Any], watch: Callable[[], None] | None) -> None:
        origin = state["origin"]
        self._number, self._next_names = int(origin["number"]), tuple(origin["names"])
        self._noops.bit_generator.state = origin["noops"]
        self.game.carry_over(origin)
        self.start_game()
        changes = list(state["live_changes"])
        for step, action in enumerate(state["actions"].tolist()):
            changes = self._change_live(changes, step)
            self.step(action)
            if watch is not None:
                watch()
        self._change_live(changes, len(state["actions"]))

    def _change_live(self, changes: list[Any], step: int) -> list[Any]:
        """Make the live switches that came before `step`; returns the others."""
        while changes and changes[0][0] == step:
            self.set_modifications(tuple(changes[0][1]), "live")
            changes = changes[1:]
        return changes

    def _fingerprint(self) -> bytes:
        """Tells games apart: emulator, generators, score, observation."""
        game, digest = self.game, hashlib.sha256()
        counts = (self._score, self._lives, self._lives_lost, self._life_scores, self._life_lengths, game.names)
        carried = game.carried_over()
        generators = [
            self._noops.bit_generator.state,
            *(carried["modifications"][kind] for kind in ("python", "numpy")),
        ]
        for part in (carried["emulator"], game.ale.getRAM().tobytes(), self._frames.tobytes(), repr(counts).encode()):
            digest.update(part)
        for generator in generators:
            for value in generator.values():
                digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
        return digest.digest()

    @property
    def _over(self) -> bool:
        return self.game.ale.game_over()  # or truncated

    def _play(self, action: ale_py.Action, frames: int) -> float:
        reward = self.game.play(action, frames)
        self._score += reward
        self._life_score += reward
        return reward

    def _play_and_observe(self, action: ale_py.Action) -> float:
        reward = self._play(action, self.config.frameskip)
        self._observe.push(self._frames)
        return reward

    def _clear_score(self) -> None:
        self._score = self._life_score = 0.0
        self._length = self._life_length = 0
        self._lives = self._lives_lost = 0
        self._live_switches = 0
        self._life_scores: list[float] = []
        self._life_lengths: list[int] = []

    def _end_life(self, lost: int) -> None:
        self._lives_lost += lost
        self._life_scores.append(self._life_score)
        self._life_lengths.append(self._life_length)
        self._life_score, self._life_length = 0.0, 0

    def _record(self, cut: bool) -> GameRecord:
        return GameRecord(
            env=self.index,
            modification=self.modification,
            score=self._score,
            length=self._length,
            lives=self._lives_lost,
            cut=cut,
            live_switches=self._live_switches,
            number=self._number,
            life_scores=tuple(self._life_scores),
            life_lengths=tuple(self._life_lengths),
        )


def derive_seeds(seed: int, index: int) -> tuple[int, int, int]:
    """Seeds of the emulator (31 bits), the no-op starts and the modifications of environment (or game) `index`.

    They depend on nothing else: not on how many workers or environments there are.
    """
    emulator, noops, modifications = np.random.SeedSequence(entropy=seed, spawn_key=(index,)).generate_state(3)
    return int(emulator >> 1), int(noops), int(modifications)


def start_presses(config: GameConfig, actions: list[ale_py.Action]) -> tuple[ale_py.Action, ...]:
    """What is pressed at the start of a game, and of a life, for one agent step each."""
    if config.game_start == "original":  # whose wrappers refuse games where action 1 is something else than FIRE
        return tuple(actions[1:3]) if len(actions) > 2 and actions[1] == FIRE else ()
    return (FIRE,) if config.fire_reset and FIRE in actions else ()


def action_names(config: GameConfig) -> list[str]:
    """The emulator's names of the agent's actions (`NOOP`, `FIRE`, `UPFIRE`), in the order of their numbers."""
    return [action.name for action in ModifiedGame(config, seed=0, modification_seed=0).actions]


def _plain_globals(function: Callable[..., Any]) -> dict[str, Any]:
    """What a file remembers in its globals, as far as that is plain data."""
    values = {
        name: value if is_plain(value) else as_numbers(value)
        for name, value in function.__globals__.items()
        if not name.startswith("__")
    }
    return copy.deepcopy({name: value for name, value in values.items() if is_plain(value)})


def load_reward_function(path: str) -> Callable[[GameView], float]:
    """``reward_function`` of a Python file, as hackatari's reward files define it.

    Raises:
        GameError: the file is missing or has no such function. Whatever the file itself raises is passed on.
    """
    if not Path(path).is_file():
        raise GameError(
            f"`new_rf`: there is no file {path}; give a Python file that defines reward_function(env) -> float"
        )
    spec = importlib.util.spec_from_file_location("reward_function_file", path)
    if spec is None or spec.loader is None:
        raise GameError(f"`new_rf`: {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "reward_function", None)):
        raise GameError(f"`new_rf`: {path} does not define reward_function(env) -> float")
    return module.reward_function


def reads_objects(path: str) -> bool:
    """Whether a reward file mentions the attribute `objects`, which a game has only where OCAtari is installed."""
    nodes = ast.walk(ast.parse(Path(path).read_bytes()))
    return any(isinstance(node, ast.Attribute) and node.attr == "objects" for node in nodes)
