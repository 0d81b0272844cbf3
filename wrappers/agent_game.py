"""A game as the agent meets it: the start of games, lives as episodes, and the score of each whole game below that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from continual_hackatari.names import Task
from continual_hackatari.wrappers.backends import open_game
from continual_hackatari.wrappers.config import GameConfig, in_game
from continual_hackatari.wrappers.errors import GameError
from continual_hackatari.wrappers.interfaces import Game, GameRecord, Observer
from continual_hackatari.wrappers.modifications import waits


class Console(NamedTuple):
    """One emulator with its game, and all that the game's next start depends on."""

    game: Game
    observe: Observer
    presses: tuple[Any, ...]
    noops: np.random.Generator
    seeded: bool
    """by the present seed; otherwise that is still to be done"""


class AgentGame:
    """A game as the agent meets it, written into shared arrays.

    It may become another game at a start (`set_modifications`). Each game has an emulator of its own that stays, seeded
    as if no other game were played: so the n-th start of a game is what it is in an environment of that game alone.

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
        self._seed_index = index
        self._others: dict[str, Console] = {}  # by game, those that are not played at present
        self.game: Game
        self._use(self._open(config))
        self.observation = observation
        self.final_observation = final_observation
        self.final_screen: np.ndarray | None = None
        self.keep_final_screen = False
        self.achieved = np.zeros(config.num_goals, np.float32) if achieved is None else achieved
        self._goal = config.goal
        if self._goal is not None:
            observation[config.window :] = self._goal.grey(self._goal.target)[:, None, None]
        self._frames = observation[: config.window]
        self._next_names: tuple[str, ...] = ()
        self._next_game = config.game
        self._number = -1
        self._total: int | None = None  # of the games to play, see `restart_numbering`
        self.done = False
        self._origin: dict[str, Any] | None = None  # what the present game began with, see `get_state`
        self._actions: list[int] = []
        self._live_changes: list[tuple[int, tuple[str, ...]]] = []
        self._clear_score()

    @property
    def modification(self) -> str:
        """The task string that this game is played under, see `check_string`."""
        return str(Task(self.config.game if self.config.full_action_space else "", self.game.names))

    def set_modifications(self, names: tuple[str, ...], mode: str, game: str = "") -> GameRecord | None:
        """Take new modifications: at once in a new game, at the next game start, or in mid-game.

        Where one of them acts at the start of a game only (`waits`), ``live`` is ``episode`` for all of them: half of a
        string would be something that nobody asked for, and has no name for the record. So it is for another game.

        game: whose they are; empty: as at the last call, or first.

        Returns the record of the game that mode ``reset`` cut short, if it had begun.
        """
        self._next_names, self._next_game = names, game or self._next_game
        old, present, rules = self.game.names, self.config.game, self.config.rules
        if mode == "episode":
            return None
        if mode == "live" and (self._next_game != present or waits(present, old, names, rules)):
            return None
        if mode == "live":
            self._live_changes.append((len(self._actions), names))
            self._live_switches += names != old
            self.game.change(names)
            return None
        record = self.cut()
        self.start_game()
        return record

    def seed(self, seed: int, index: int | None = None) -> None:
        """From the next game on, play what a new environment of this seed and index (None: its own) plays."""
        self.config = replace(self.config, seed=seed)
        self._seed_index = self.index if index is None else index
        self._seed_generators(self._seed_index)
        self._others = {game: console._replace(seeded=False) for game, console in self._others.items()}
        self.restart_numbering()

    def _seed_generators(self, index: int) -> None:
        """Seed emulator, no-op starts and modifications as environment (or game) `index` of the run."""
        emulator_seed, noop_seed, modification_seed = derive_seeds(self.config.seed, index)
        self.game.seed(emulator_seed)
        self._noops = np.random.default_rng(noop_seed)
        self.game.seed_modifications(modification_seed)

    def _open(self, config: GameConfig) -> Console:
        """A new emulator with the game of `config`."""
        emulator_seed, noop_seed, modification_seed = derive_seeds(config.seed, self._seed_index)
        game, observe = open_game(config, emulator_seed, modification_seed)
        return Console(game, observe, start_presses(config, game), np.random.default_rng(noop_seed), seeded=True)

    def _use(self, console: Console) -> None:
        self.game, self._observe, self._presses, self._noops, seeded = console
        if not seeded:
            self._seed_generators(self._seed_index)

    @property
    def _console(self) -> Console:
        return Console(self.game, self._observe, self._presses, self._noops, seeded=True)

    def _change_game(self, game: str) -> None:
        """Put the present game aside and take up this one where it was left, or from its beginning."""
        if game == self.config.game:
            return
        self._others[self.config.game] = self._console
        self.config = in_game(self.config, game)
        self._use(self._others.pop(game) if game in self._others else self._open(self.config))

    def restart_numbering(self, total: int | None = None) -> None:
        """Count the games from 0 again: with `reseed_every_game` the same games come again.

        total: of the games of all environments that are to be played. This one is `done` after its last of them, and
        begins another with the next switch in mode ``reset``. None: play on.
        """
        self._number, self._total = -1, total

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
        self._change_game(self._next_game)
        self._origin = {"number": self._number, "names": self._next_names, **carried_over(self._console)}
        self._actions, self._live_changes = [], []
        self._number += 1
        self.done = False
        if self.config.reseed_every_game:
            self._seed_generators(self._place(self._number))
        self._wait()
        for action in self._presses:
            self._press(action)
            if self._over:
                self._wait()

    def _wait(self) -> None:
        """Start the game and let the no-op frames or steps pass."""
        self._reset()
        if self.config.game_start == "frames":
            self._play(self.game.noop, int(self._noops.integers(1, self.config.noop_max + 1)))
            if self._over:
                self._reset()
            self._observe.start(self._frames)
        elif self.config.game_start != "none":
            for _ in range(int(self._noops.integers(1, self.config.noop_max + 1))):
                self._play_and_observe(self.game.noop)
                if self._over:
                    self._reset()
        self._lives = self.game.lives()

    def _reset(self) -> None:
        """The emulator's own start of a game."""
        self._clear_score()
        self.game.start(self._next_names, lambda: self._observe.start(self._frames))

    def _start_life(self) -> None:
        """What follows a lost life; the game may end in it."""
        if self.config.game_start == "original":
            if not self.config.episodic_life:
                return
            self._play_and_observe(self.game.noop)
            self._note_lives()
        for action in self._presses:
            if not self._over:
                self._press(action)

    def _press(self, action: Any) -> None:
        """Play one agent step of a start; in ``original`` a life that it costs is followed by a no-op step."""
        self._play_and_observe(action)
        if self.config.game_start == "original" and self.config.episodic_life:
            life_lost = 0 < self.game.lives() < self._lives and not self._over
            self._note_lives()
            if life_lost:
                self._play_and_observe(self.game.noop)
                self._note_lives()

    def _note_lives(self) -> None:
        """Count the lives that a step of a start cost; `step` does it where the game is over."""
        if not self._over:
            lives = self.game.lives()
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
            self.achieved[:] = self._goal.achieved(game.ram(), reward)
        terminated, truncated = game.terminated, game.truncated
        lives = game.lives()
        life_lost = 0 < lives < self._lives  # some games show 0 lives for a while before they are over
        training_reward = game.training_reward(reward)
        record = None
        if life_lost or terminated or truncated:
            self._end_life(self._lives - lives)
            self._lives = lives
        if terminated or truncated:
            self._keep_last()
            record = self._record(cut=False)
            self._go_on()
        elif life_lost:
            terminated = self.config.episodic_life
            if terminated:
                self._keep_last()
            self._start_life()
            if self.config.episodic_life and self._over:
                self._end_life(max(0, self._lives - game.lives()))
                record = self._record(cut=False)
                self._go_on()
        else:
            self._lives = max(lives, self._lives)  # an extra life
        return training_reward, terminated, truncated, record

    def _go_on(self) -> None:
        """Begin the next game, if there is another to be played."""
        if self._total is None or self._place(self._number + 1) < self._total:
            self.start_game()
        else:
            self._clear_score()
            self.done = True

    def _place(self, number: int) -> int:
        """Of this environment's game `number`: its place among those of all environments."""
        return self.index + number * self.config.num_envs

    @property
    def score(self) -> float:
        """The points of the game so far."""
        return self._score

    def _keep_last(self) -> None:
        """Keep what an episode ends with, before the next one begins."""
        self.final_observation[:] = self.observation
        if self.keep_final_screen:
            self.final_screen = self.game.screen()

    def get_state(self) -> dict[str, Any]:
        """Plain data that lets a new environment continue exactly: what the game began with, and all actions since.

        The same beginning and the same actions give the same game, so this holds for everything, known or not, that
        emulator, modifications, detector and observations remember. Playing it again costs its number of steps.
        """
        state: dict[str, Any] = {"number": self._number, "next_names": list(self._next_names), "origin": None}
        state |= {"total": self._total, "seed": self.config.seed, "seed_index": self._seed_index}
        state |= {"game": self.config.game, "next_game": self._next_game}
        state["others"] = {game: carried_over(other) for game, other in self._others.items() if other.seeded}
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
        home = self.config.game
        try:
            seed, index = state.get("seed", self.config.seed), state.get("seed_index", self._seed_index)
            if (seed, index) != (self.config.seed, self._seed_index):  # `reset` gave this environment one of its own
                self.seed(seed, index)
            for game, carried in state.get("others", {}).items():  # files of earlier versions have one game
                console = self._console if game == home else self._open(in_game(self.config, game))
                carry_over(console, carried)
                if game != home:
                    self._others[game] = console
            self._change_game(state.get("game", home))
            if state["origin"] is not None:
                self._play_again(state, watch)
            self._number, self._next_names = int(state["number"]), tuple(state["next_names"])
            self._total = state.get("total")
            self._next_game = state.get("next_game", home)
            fits = state["origin"] is None or state["fingerprint"] == self._fingerprint()
        except Exception as error:  # whatever emulator, modifications or generators raise about what they are given
            raise GameError(f"the saved state of environment {self.index} is damaged: {error!r}") from error
        if not fits:
            raise GameError(
                f"the saved state of environment {self.index} leads to another game here: it is damaged, "
                "or was saved with other versions of ale-py, hackatari or ocatari, or a file of one's own depends on "
                "something besides the game, such as the time"
            )

    def _play_again(self, state: dict[str, Any], watch: Callable[[], None] | None) -> None:
        origin = state["origin"]
        self._number, self._next_names = int(origin["number"]), tuple(origin["names"])
        self._next_game = self.config.game
        self._total = 0  # a game that ends here is the one after which this environment waited
        carry_over(self._console, origin)
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
        for part in (carried["emulator"], bytes(game.ram().tolist()), self._frames.tobytes(), repr(counts).encode()):
            digest.update(part)
        for generator in generators:
            for value in generator.values():
                digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
        return digest.digest()

    @property
    def _over(self) -> bool:
        return self.game.over

    def _play(self, action: Any, frames: int) -> float:
        reward = self.game.play(action, frames)
        self._score += reward
        self._life_score += reward
        return reward

    def _play_and_observe(self, action: Any) -> float:
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


def carried_over(console: Console) -> dict[str, Any]:
    """All that the next start of its game depends on, as plain data."""
    return {"noops": console.noops.bit_generator.state, **console.game.carried_over()}


def carry_over(console: Console, state: dict[str, Any]) -> None:
    """Take over what `carried_over` returned elsewhere."""
    console.noops.bit_generator.state = state["noops"]
    console.game.carry_over(state)


def derive_seeds(seed: int, index: int) -> tuple[int, int, int]:
    """Seeds of the emulator (31 bits), the no-op starts and the modifications of environment (or game) `index`.

    They depend on nothing else: not on how many workers or environments there are.
    """
    emulator, noops, modifications = np.random.SeedSequence(entropy=seed, spawn_key=(index,)).generate_state(3)
    return int(emulator >> 1), int(noops), int(modifications)


def start_presses(config: GameConfig, game: Game) -> tuple[Any, ...]:
    """What is pressed at the start of a game, and of a life, for one agent step each."""
    actions, fire = game.actions, game.fire
    if config.game_start == "original":  # whose wrappers refuse games where action 1 is something else than FIRE
        return tuple(actions[1:3]) if len(actions) > 2 and actions[1] == fire else ()
    return (fire,) if config.fire_reset and fire in game.buttons else ()
