"""The protocols of `wrappers.interfaces`: other games fulfil them, and nothing more is asked of these."""

from dataclasses import replace

import made_up_game
import numpy as np
import pytest
from made_up_game import MadeUpGames, play

from continual_hackatari.wrappers import agent_game
from continual_hackatari.wrappers.agent_game import AgentGame
from continual_hackatari.wrappers.config import GameConfig, game_config
from continual_hackatari.wrappers.interfaces import Arrays, Description, Game, Observer, VectorGames
from continual_hackatari.wrappers.vector import ModifiedVectorEnv


def members(protocol):
    return {name for name in [*dir(protocol), *protocol.__annotations__] if not name.startswith("_")}


class Only:
    """Shows the members of a protocol, and hides whatever else an object has."""

    def __init__(self, shown, protocol, parts):
        object.__setattr__(self, "_all", (shown, protocol, parts))

    def __getattr__(self, name):
        shown, protocol, parts = self._all
        if name not in members(protocol):
            raise AssertionError(f"{protocol.__name__} has no {name}")
        value = getattr(shown, name)
        return Only(value, parts[name], parts) if name in parts else value


def test_training_asks_other_games_for_the_protocol_alone(tmp_path, monkeypatch):
    made = []

    def only(*arguments, **named):
        made.append(MadeUpGames(*arguments, **named))
        return Only(made[-1], VectorGames, {"arrays": Arrays, "config": Description})

    monkeypatch.setattr(made_up_game, "MadeUpGames", only)
    flags = ["--total_timesteps", "256", "--her", "--capture_video"]
    recording = play(monkeypatch, tmp_path, *flags, regimes=[(0, "all_black_cars"), (128, "all_white_cars")])
    assert len(recording.updates) > 0
    assert [switch.to for switch in recording.switches] == ["all_white_cars"]
    assert len(made) == 1
    assert members(VectorGames) <= set(dir(made[0]))


def test_our_games_fulfil_what_is_asked():
    config, _ = game_config("ALE/Freeway-v5")
    games = ModifiedVectorEnv(config, 1, num_workers=0)
    for shown, protocol in [
        (games, VectorGames),
        (games.arrays, Arrays),
        (games.config, Description),
        (games._host._games[0].game, Game),
        (games._host._games[0]._observe, Observer),
    ]:
        assert members(protocol) <= set(dir(shown)), protocol
    games.close()


class Hill:
    """A cart on a hill, pushed by a force: continuous actions and no frames, behind the protocol `Game`.

    It has two lives, loses one where it rolls off to the left, and is over when both are lost, or after 30 pushes.
    """

    actions = buttons = (-1.0, 0.0, 1.0)
    noop, fire = 0.0, None
    before_last_frame = None

    def __init__(self, seed):
        self.names = ()
        self.seed(seed)

    def seed(self, seed):
        self.generator = np.random.default_rng(seed)

    def seed_modifications(self, seed):
        """Nothing is modified."""

    def start(self, names, observe):
        self.names, self.pushes, self.left, self.place = names, 0, 2, self.generator.normal()
        observe()

    def change(self, names):
        self.names = names

    def play(self, action, frames):
        for _ in range(frames):
            self.place += 0.5 * action + 0.1 * self.generator.normal()
        self.pushes += 1
        if self.place < -3:
            self.left, self.place = self.left - 1, 0.0
        return self.place

    def training_reward(self, reward):
        return reward

    terminated = property(lambda self: self.left == 0)
    truncated = property(lambda self: self.pushes >= 30)
    over = property(lambda self: self.terminated or self.truncated)

    def lives(self):
        return self.left

    def ram(self):
        return np.array([self.pushes % 256, self.left], object)

    def screen(self):
        return np.zeros((2, 2, 3), np.uint8)

    def carried_over(self):
        state = self.generator.bit_generator.state
        none = {"python": {}, "numpy": {}}
        return {"emulator": repr(state).encode(), "modifications": none, "state": repr(state)}

    def carry_over(self, state):
        self.generator.bit_generator.state = eval(state["state"])


class Place:
    def __init__(self, hill):
        self.hill = hill

    def start(self, out):
        out[:] = self.hill.place

    def push(self, out):
        out[:-1] = out[1:].copy()
        out[-1] = self.hill.place


@pytest.fixture
def hill(monkeypatch):
    def open_hill(config, seed, modification_seed):
        game = Hill(seed)
        return game, Place(game)

    monkeypatch.setattr(agent_game, "open_game", open_hill)
    config = GameConfig("Hill-v0", "Hill", "", 0.0, False, 10_000, window=2, frameskip=1, game_start="none")
    return lambda **changes: AgentGame(
        replace(config, **changes), 0, np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32)
    )


def played(game, steps, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        reward, terminated, truncated, record = game.step(int(rng.integers(2)))  # seldom to the right
        yield game.observation.copy(), reward, terminated, truncated, record


def test_lives_scores_and_restarts_lie_above_the_game(hill):
    game = hill()
    game.start_game()
    steps = list(played(game, 200))
    records = [record for *_, record in steps if record is not None]
    assert len(records) > 3
    assert max(record.lives for record in records) == 2
    first = steps[: records[0].length]
    assert records[0].score == pytest.approx(sum(reward for _, reward, *_ in first))
    _, _, ends, cuts, _ = zip(*first, strict=True)
    assert sum(ends) + sum(cuts) == len(records[0].life_scores)


def test_a_life_that_was_won_can_be_lost_again(hill):
    game = hill(episodic_life=True)
    game.start_game()
    ends = []
    for lives in (2, 3, 3, 2):
        game.game.left, game.game.place = lives, 0.0
        ends.append(game.step(1)[1])
    assert ends == [False, False, False, True]


def test_a_saved_state_continues_exactly_in_another_kind_of_game_too(hill):
    game = hill()
    game.start_game()
    list(played(game, 47))
    other = hill()
    other.set_state(game.get_state())
    ours, theirs = list(played(game, 60, seed=1)), list(played(other, 60, seed=1))
    for mine, other_one in zip(ours, theirs, strict=True):
        assert np.array_equal(mine[0], other_one[0])
        assert mine[1:] == other_one[1:]
