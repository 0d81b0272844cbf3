"""A game in the emulator that changes while it is played."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.emulator import (
    FIRE,
    NOOP,
    Action,
    Emulator,
    load_game,
    new_emulator,
    possible_actions,
    restore,
    save,
    seed_game,
    set_console,
)
from continual_hackatari.wrappers.errors import GameError
from continual_hackatari.wrappers.modifications import ModificationRunner, Switches, first_numbers, switches_of
from continual_hackatari.wrappers.objects import ObjectDetector, why_missing
from continual_hackatari.wrappers.rewards import RewardFile


class GameView:
    """What modifications and reward files see of a game; the names are those of hackatari's environment."""

    def __init__(self, ale: Emulator, game: str, env_id: str) -> None:
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
        self.ale = ale = new_emulator(config.repeat_action_probability, config.max_num_frames_per_episode)
        self.view = GameView(ale, config.game, config.env_id)
        self.seed_modifications(modification_seed)
        self.names: tuple[str, ...] = ()
        detects_for_rewards = self._rewards is not None and not why_missing("ocatari")
        self._detection_always = config.obs_mode == "obj" or detects_for_rewards
        self.before_last_frame: Callable[[], None] | None = None
        load_game(ale, config.rom, seed)
        self._untouched = save(ale, generator=False)
        self._switches = Switches()
        self.buttons: list[Action] = possible_actions(ale, full_action_space=False)
        self.actions = possible_actions(ale, full_action_space=True) if config.full_action_space else self.buttons

    def seed_modifications(self, seed: int) -> None:
        """Give the modifications, from the next `start` on, generators of this seed, and begin a reward file anew."""
        self.runner = ModificationRunner(self.config.game, self.view, seed, self.config.rules)
        self._rewards = RewardFile(self.config.rewards, seed) if self.config.reward_file else None

    def seed(self, seed: int) -> None:
        """Seed the emulator, from the next `start` on."""
        seed_game(self.ale, self.config.rom, seed)
        self._switches = Switches()

    def start(self, names: tuple[str, ...], observe: Callable[[], None]) -> None:
        """Start a new game under `names`.

        `observe` is called where hackatari takes the reset observation: before the modifications of the reset run.
        """
        self._set_console(switches_of(names))
        self.ale.reset_game()
        self.view.org_reward = self.view.org_return = 0.0
        self.set_modifications(names)
        observe()
        for modify in self.runner.after_reset:
            modify()
        for modify in self.runner.after_detection:
            modify()

    def _set_console(self, switches: Switches) -> None:
        """Set the console's switches for the next reset; they stay as they are until they are set otherwise."""
        if switches == self._switches:
            return
        first = first_numbers(self.config.game)
        chosen = []
        for old, new, unset in zip(self._switches, switches, first, strict=True):
            if new is None and old is not None and unset is None:
                restore(self.ale, self._untouched)  # no number is what the console begins with
            chosen.append(unset if new is None and old is not None else new)
        set_console(self.ale, *chosen)
        self._switches = switches

    def set_modifications(self, names: tuple[str, ...]) -> None:
        """Take other modifications in place, with fresh state for each; the console's switches wait for `start`."""
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

    def play(self, action: Action, frames: int) -> float:
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
        return reward if self._rewards is None else float(self._rewards.function(self.view))

    def carried_over(self) -> dict[str, Any]:
        """All that the next game takes over from this one, as plain data: emulator, generators, a reward file's memory.

        Whatever else there is begins anew with `start`: handlers of modifications and the detector's objects too.
        """
        return {
            "emulator": save(self.ale),
            "console": list(self._switches),
            "modifications": self.runner.random_state(),
            "rewards": {} if self._rewards is None else self._rewards.state(),
        }

    def carry_over(self, state: dict[str, Any]) -> None:
        """Take over what `carried_over` returned in another process; good for `start`, not for `step` (see `save`)."""
        restore(self.ale, state["emulator"])
        self._switches = Switches(*state.get("console", ()))  # files of earlier versions have none
        self.runner.set_random_state(state["modifications"])
        if self._rewards is not None and "rewards" in state:
            self._rewards.set_state(state["rewards"])
        elif self._rewards is not None:
            self._rewards.set_state_of_earlier_versions(state["reward_file"])

    @property
    def terminated(self) -> bool:
        return self.ale.game_over(with_truncation=False)

    @property
    def truncated(self) -> bool:
        return self.ale.game_truncated()

    @property
    def over(self) -> bool:
        return self.ale.game_over()  # or truncated

    @property
    def noop(self) -> Action:
        return NOOP

    @property
    def fire(self) -> Action:
        return FIRE

    def lives(self) -> int:
        return self.ale.lives()

    def ram(self) -> np.ndarray:
        return self.view.get_ram()

    def screen(self) -> np.ndarray:
        return self.view.getScreenRGB()
