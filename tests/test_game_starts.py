"""How games start and what frames show: against second implementations, the bare emulator and recordings."""

import math
import random
import sys
from importlib.util import find_spec

import ale_py
import cv2
import gymnasium
import numpy as np
import pytest
import torch
from conftest import ROOT, assert_refused, mostly_slow, only_run, write_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_lockstep import MODIFICATION_SEED, hackatari_environment, reset_seed, start_theirs

from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari.agents import make_agent
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.schedules.survey import decay_note, regime_end
from continual_hackatari.training.annealing import annealing_borders, remaining_share
from continual_hackatari.training.checkpoint_settings import choose_game
from continual_hackatari.training.checkpoints import load_checkpoint, save_checkpoint
from continual_hackatari.training.chosen_agents import checked_settings
from continual_hackatari.training.command_line import parse_command_line
from continual_hackatari.training.config import apply_config_file
from continual_hackatari.wrappers.agent_game import AgentGame
from continual_hackatari.wrappers.config import BLINKING, game_config
from continual_hackatari.wrappers.errors import GameError
from continual_hackatari.wrappers.modified_game import ModifiedGame
from continual_hackatari.wrappers.observations import observation_kind
from modification_factories import main as preview

FIRE_ONCE = 4  # frames


class SameDraw:
    """Stands for the generator of a game's no-ops: always the same number."""

    def __init__(self, number):
        self.number = number
        self.bit_generator = np.random.default_rng(0).bit_generator

    def integers(self, low, high):
        assert (low, high) == (1, 31)
        return self.number


def agent_game(env_id, noops=None, seed=None, **settings):
    """An `AgentGame` that has not started yet; `noops`: what it draws."""
    config, _ = game_config(env_id, **settings)
    shape, dtype = observation_kind(config).space(config)
    observation = np.zeros(shape, dtype)
    game = AgentGame(config, 0, observation, observation.copy())
    if noops is not None:
        game._noops = SameDraw(noops)
    if seed is not None:
        game.game.seed(seed)
    return game


# ------------------------------------------------------------------------------------------------ the original's start


class OriginalSystem:
    """The start of games as Stable-Baselines3's three wrappers define it, written down once more as one state machine.

    `ended_in_start` counts games that ended before the agent could act in them.
    """

    def __init__(self, env, noops, episodic_life):
        self.env, self.ale, self.noops, self.episodic_life = env, env._ale, noops, episodic_life
        meanings = env.unwrapped.get_action_meanings()
        self.presses = (1, 2) if "FIRE" in meanings else ()
        assert meanings[0] == "NOOP"
        self.game_over, self.lives, self.ended_in_start = True, 0, 0

    def reset(self, **seed):
        """Start a game, or a life where one was lost; returns the observation."""
        observation = self.begin(**seed)
        for action in self.presses:
            observation, _, ended = self.advance(action)
            if ended:
                observation = self.begin()
        return observation

    def begin(self, **seed):
        """No-ops after a real end, one no-op after a lost life."""
        if not self.game_over:
            observation, *_ = self.env.step(0)
            if self.ale.game_over():
                self.ended_in_start += 1
                self.game_over = True
        if self.game_over:
            observation, _ = self.env.reset(**seed)
            for _ in range(self.noops):
                observation, *_ = self.env.step(0)
                if self.ale.game_over():
                    observation, _ = self.env.reset()
        self.game_over, self.lives = False, self.ale.lives()
        return observation

    def advance(self, action):
        """One step: observation, reward, and whether the episode ended."""
        observation, reward, *_ = self.env.step(action)
        before, self.lives = self.lives, self.ale.lives()
        self.game_over = self.ale.game_over()
        return observation, reward, self.game_over or (self.episodic_life and 0 < self.lives < before)


def play_beside_the_original(game, noops, episodic_life, steps, time_limit=None, seed=7):
    """Play both for so many steps; returns (episodes, games, games that ended in a start)."""
    theirs = hackatari_environment(f"ALE/{game}-v5", "dqn")
    if time_limit is not None:
        theirs._ale.setInt("max_num_frames_per_episode", time_limit)
    original = OriginalSystem(theirs, noops, episodic_life)
    settings = {"game_start": "original", "episodic_life": episodic_life, "time_limit": time_limit}
    ours = agent_game(f"ALE/{game}-v5", noops, reset_seed(seed), **settings)
    ours.start_game()
    their_observation = original.reset(seed=seed)
    actions = np.random.default_rng(seed)
    episodes = games = 0
    for step in range(steps):
        assert np.array_equal(theirs.get_ram(), ours.game.view.get_ram()), f"RAM differs at step {step}"
        assert np.array_equal(their_observation, ours.observation), f"observation differs at step {step}"
        action = int(actions.integers(len(ours.game.actions)))
        their_observation, their_reward, ended = original.advance(action)
        reward, terminated, truncated, record = ours.step(action)
        assert (their_reward, ended) == (reward, terminated or truncated), f"step {step}"
        games += record is not None
        if ended:
            episodes += 1
            their_observation = original.reset()
    theirs.close()
    return episodes, games, original.ended_in_start


@pytest.mark.parametrize(
    ("game", "noops", "episodic_life", "steps"),
    [
        pytest.param("Breakout", 1, True, 300, marks=pytest.mark.slow),
        pytest.param("Breakout", 13, False, 300, marks=pytest.mark.slow),
        ("Pong", 5, True, 100),
        ("Pong", 30, False, 60),
        ("Freeway", 2, True, 60),
        ("Freeway", 30, False, 60),
        pytest.param("Pong", 17, True, 3000, marks=pytest.mark.slow),
        pytest.param("Freeway", 8, True, 2300, marks=pytest.mark.slow),
        pytest.param("Breakout", 7, True, 3000, marks=pytest.mark.slow),
    ],
)
def test_original_is_in_lockstep_with_the_wrappers_of_the_original_system(game, noops, episodic_life, steps):
    episodes, games, _ = play_beside_the_original(game, noops, episodic_life, steps)
    if game == "Breakout":  # starts after lost lives and after whole games were compared
        assert games >= 1
        assert (episodes > games) == episodic_life


def test_a_game_that_ends_in_the_start_of_a_life_is_followed_by_a_whole_start():
    """A time limit in the no-op step after the second lost life."""
    ours = agent_game("ALE/Breakout-v5", 20, reset_seed(7), game_start="original")
    ours.start_game()
    actions, lives = np.random.default_rng(7), 0
    while lives < 2:
        lives += ours.step(int(actions.integers(4)))[1]
    limit = ours.game.ale.getEpisodeFrameNumber() - 12 + 2  # after a lost life came 12 frames
    _, games, ended = play_beside_the_original("Breakout", 20, True, 200, limit)
    assert games >= ended >= 1


class Script:
    """Stands for a game's emulator: every frame pays 1, lives are lost at the given frames, and it may be over at one.

    With a script, what is rare in real games can happen in a frame that a test chooses. RAM and screens stay real.
    """

    def __init__(self, ale, lost_at, over_at=math.inf):
        self.ale, self.lost_at, self.over_at = ale, lost_at, over_at

    def __getattr__(self, name):
        return getattr(self.ale, name)

    def act(self, action):
        self.ale.act(action)
        return 1

    def lives(self):
        return 5 - sum(self.ale.getEpisodeFrameNumber() >= frame for frame in self.lost_at)

    def game_over(self, with_truncation=True):
        return self.ale.getEpisodeFrameNumber() >= self.over_at


@pytest.mark.parametrize(
    ("lost_at", "frames", "lost"),
    [
        ([10], 20, 1),  # 8 frames wait, FIRE loses a life, 4 frames wait, then comes action 2
        ([14], 20, 1),  # action 2 loses it
        ([10, 18], 24, 2),  # both do
        ([10, 14], 20, 2),  # the second is lost in the no-op step, which another does not follow
        ([6], 16, 0),  # it is lost before anything was pressed: the game begins with what is left
    ],
)
def test_a_life_that_a_press_costs_is_followed_by_a_no_op_step(lost_at, frames, lost):
    theirs = hackatari_environment("ALE/Breakout-v5", "dqn")
    original = OriginalSystem(theirs, 2, True)
    original.ale = Script(theirs._ale, lost_at)
    ours = agent_game("ALE/Breakout-v5", 2, reset_seed(7), game_start="original")
    ours.game.ale = Script(ours.game.ale, lost_at)
    their_observation = original.reset(seed=7)
    ours.start_game()
    assert ours.game.ale.getEpisodeFrameNumber() == frames
    assert np.array_equal(theirs.get_ram(), ours.game.view.get_ram())
    assert np.array_equal(their_observation, ours.observation)
    ours.step(0)
    assert ours.cut().lives == lost
    theirs.close()


def test_what_the_start_of_a_life_earned_counts_where_the_game_ends_in_it():
    """8 frames wait and 8 press, a life is lost in the first step, and the no-op step after it loses the last one."""
    ours = agent_game("ALE/Breakout-v5", 2, reset_seed(7), game_start="original")
    ours.game.ale = Script(ours.game.ale, lost_at=[18, 24], over_at=24)
    ours.start_game()
    reward, terminated, _, record = ours.step(0)
    assert (reward, terminated, record.cut, record.length, record.lives) == (4, True, False, 1, 2)
    assert record.score == 24 == sum(record.life_scores), "the start's 16, the step's 4 and the no-op step's"
    assert record.life_scores == (20, 4)
    assert record.life_lengths == (1, 0)
    assert ours.game.ale.getEpisodeFrameNumber() == 16, "another game has begun"


# ------------------------------------------------------------------------------------------------------- other starts


@pytest.mark.parametrize(
    ("game", "start", "least", "most", "unit", "presses"),
    mostly_slow(
        [
            ("Breakout", "frames", 1, 30, 1, 1),
            ("Breakout", "steps", 4, 120, 4, 1),
            ("Breakout", "original", 4, 120, 4, 2),
            ("Breakout", "none", 0, 0, 1, 1),
            ("Freeway", "frames", 1, 30, 1, 0),  # no FIRE
            ("Freeway", "original", 4, 120, 4, 0),
            ("Freeway", "none", 0, 0, 1, 0),
        ],
        3,
    ),
)
def test_how_many_frames_pass_before_the_agent_acts(game, start, least, most, unit, presses):
    played = agent_game(f"ALE/{game}-v5", game_start=start, seed=1)
    passed = []
    for _ in range(30):
        played.start_game()
        passed.append(played.game.ale.getEpisodeFrameNumber() - 4 * presses)
    assert least <= min(passed) <= max(passed) <= most
    assert {number % unit for number in passed} == {0}
    assert len(set(passed)) == 1 if start == "none" else len(set(passed)) > 10


def screens_of(game, actions_and_frames, seed):
    """The grey, shrunk screens after each (action, frames) on the bare emulator, and the emulator."""
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", seed)
    ale.setFloat("repeat_action_probability", 0.25)
    ale.loadROM(ale_py.roms.get_rom_path(game))
    ale.reset_game()
    screen, shown = np.empty((210, 160), np.uint8), []
    for action, frames in actions_and_frames:
        for _ in range(frames):
            ale.act(action)
        ale.getScreenGrayscale(screen)
        shown.append(cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA))
    return shown, ale


def test_the_agent_sees_the_steps_of_the_start_and_of_frames_the_last_alone():
    noop, fire = ale_py.Action.NOOP, ale_py.Action.FIRE
    game = agent_game("ALE/Breakout-v5", 6, 5, game_start="steps")
    game.start_game()
    shown, ale = screens_of("breakout", [(noop, 4)] * 6 + [(fire, 4)], 5)
    assert np.array_equal(game.observation, shown[-4:])
    assert np.array_equal(game.game.ale.getRAM(), ale.getRAM())
    game = agent_game("ALE/Breakout-v5", 6, 5, game_start="frames")
    game.start_game()
    shown, ale = screens_of("breakout", [(noop, 6), (fire, 4)], 5)
    assert np.array_equal(game.observation, [shown[0]] * 3 + [shown[1]])
    assert np.array_equal(game.game.ale.getRAM(), ale.getRAM())


@pytest.mark.parametrize("game", ["Backgammon", "VideoCheckers"])
def test_no_ops_touch_nothing_also_where_the_first_action_is_another(game):
    """In these two games action 0 is not NOOP; the emulator knows NOOP all the same."""
    played = agent_game(f"ALE/{game}-v5", 20, 3, game_start="steps", fire_reset=False)
    assert played.game.actions[0] != ale_py.Action.NOOP
    played.start_game()
    rom = played.config.rom
    expected, other = (screens_of(rom, [(action, 80)], 3)[1].getRAM() for action in (0, played.game.actions[0]))
    assert np.array_equal(played.game.ale.getRAM(), expected)
    assert not np.array_equal(expected, other), "pressing action 0 would have been seen"
    agent_game(f"ALE/{game}-v5", 3, 3, game_start="original").start_game()  # whose own wrappers refuse this game


def test_a_game_that_ends_while_the_agent_waits_begins_anew():
    game = agent_game("ALE/Pong-v5", 30, 1, game_start="steps")
    game.game.ale.setInt("max_num_frames_per_episode", 100)
    game.game.seed(1)
    game.start_game()
    assert not game.game.ale.game_over()
    assert game.game.ale.getEpisodeFrameNumber() == 120 - 100 + FIRE_ONCE
    assert game.cut() is None


# ------------------------------------------------------------------------------------------------------------ pooling


@pytest.mark.parametrize(("game", "noops"), mostly_slow([("Freeway", 17), ("Breakout", 1), ("Breakout", 30)], 3))
def test_no_op_frames_of_pooled_games_are_those_of_gymnasiums_preprocessing(game, noops, monkeypatch):
    """In Freeway cars move while the agent waits, and still the frame that it sees first is not pooled."""
    settings = {"noop_max": 30, "frame_skip": 4, "screen_size": 84, "grayscale_obs": True}
    theirs = gymnasium.wrappers.AtariPreprocessing(gymnasium.make(f"ALE/{game}-v5", frameskip=1), **settings)
    theirs = gymnasium.wrappers.FrameStackObservation(theirs, 4, padding_type="reset")
    theirs.reset(seed=3)  # also seeds the emulator; the number of no-ops that follows is theirs
    emulator = theirs.unwrapped
    monkeypatch.setattr(type(emulator), "np_random", SameDraw(noops))
    ours = agent_game(f"ALE/{game}-v5", noops, reset_seed(3), max_pool=True, fire_reset=False)
    assert ours.config.game_start == "frames"
    their_observation, _ = theirs.reset(seed=3)
    ours.start_game()
    actions = np.random.default_rng(noops)
    for step in range(120):
        assert np.array_equal(their_observation, ours.observation), step
        action = int(actions.integers(len(ours.game.actions)))
        their_observation, their_reward, terminated, *_ = theirs.step(action)
        assert not terminated
        assert their_reward == ours.step(action)[0]


@pytest.mark.parametrize(
    ("game", "string"),
    mostly_slow(
        [("Pong", "lazy_enemy"), ("Freeway", "stop_random_car all_black_cars"), ("Breakout", "right_drift")], 3
    ),
)
def test_pooled_modified_games_equal_a_recording_of_every_frame_pooled_by_hand(game, string):
    names = tuple(string.split())
    recording = hackatari_environment(f"ALE/{game}-v5", "dqn")
    recording._frameskip = 1
    random.seed(MODIFICATION_SEED)
    start_theirs(recording, game, names, seed=7)
    config, _ = game_config(f"ALE/{game}-v5", max_pool=True)
    ours = ModifiedGame(config, seed=reset_seed(7), modification_seed=MODIFICATION_SEED)
    observer, observation = observation_kind(config)(ours), np.zeros((4, 84, 84), np.uint8)
    ours.start(names, lambda: observer.start(observation))
    actions, differing, over = np.random.default_rng(0), 0, 0
    for step in range(400):
        action = int(actions.integers(len(ours.actions)))
        rewards, screens = [], []
        for _ in range(4):
            rewards.append(recording.step(action)[1])
            screens.append(np.empty((210, 160), np.uint8))
            recording._ale.getScreenGrayscale(screens[-1])
            if recording._ale.game_over():
                if len(screens) < 4:
                    screens.append(screens[-1])  # the last frame stands alone: nothing comes after it
                break
        pooled = np.maximum(screens[-2], screens[-1])
        assert sum(rewards) == ours.step(action), step
        observer.push(observation)
        assert np.array_equal(recording.get_ram(), ours.view.get_ram()), step
        assert np.array_equal(cv2.resize(pooled, (84, 84), interpolation=cv2.INTER_AREA), observation[-1]), step
        differing += not np.array_equal(pooled, screens[-1])
        if ours.terminated:
            over += 1
            start_theirs(recording, game, names)
            ours.start(names, lambda: observer.start(observation))
    assert differing > 10
    assert over or game != "Breakout"
    recording.close()


def test_pooling_shows_what_blinks():
    """Half of Asteroids' rocks are lit in frames that are never sampled; the brightness of a whole game tells."""
    lit = {}
    for max_pool in (False, True):
        game = agent_game("ALE/Asteroids-v5", seed=1, game_start="none", max_pool=max_pool, fire_reset=False)
        game.start_game()
        for _ in range(30):
            game.step(0)
        lit[max_pool] = int((game.observation[-1] > 0).sum())
    assert lit[True] > 1.2 * lit[False]


# ------------------------------------------------------------------------------------------- defaults, notes, refusals


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({}, ("steps", False, 0.25, 108_000)),
        ({"backend": "OCAtari"}, ("steps", False, 0.25, 108_000)),
        ({"max_pool": True}, ("frames", True, 0.25, 108_000)),
        ({"backend": "Gym"}, ("frames", True, 0.25, 108_000)),
        ({"backend": "Gym", "frameskip": 1}, ("frames", True, 0.25, 108_000)),
        ({"env_id": "PongNoFrameskip-v4"}, ("steps", False, 0.0, 108_000)),
        ({"sticky": 0.0, "time_limit": 2000, "game_start": "none"}, ("none", False, 0.0, 2000)),
    ],
)
def test_what_is_chosen_where_nothing_is_said(settings, chosen):
    config, _ = game_config(**{"env_id": "ALE/Pong-v5", **settings})
    assert tuple(config.chosen.values()) == chosen


def test_sticky_actions_and_the_time_limit_reach_the_emulator():
    game = agent_game("ALE/Breakout-v5", game_start="none", sticky=0.0, time_limit=200, fire_reset=False)
    game.start_game()
    steps = 0
    truncated = False
    while not truncated:
        _, terminated, truncated, _ = game.step(0)
        steps += 1
        assert not terminated
    assert steps == 50
    first, second = (agent_game("ALE/Breakout-v5", seed=seed, game_start="none", sticky=0.0) for seed in (1, 2))
    for game in (first, second):
        game.start_game()
        for action in np.random.default_rng(0).integers(4, size=60):
            game.step(int(action))
    assert np.array_equal(first.game.ale.getRAM(), second.game.ale.getRAM()), "without stickiness nothing is random"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backend": "Gym", "max_pool": False}, ["max_pool", "Gym", "OCAtari"]),
        ({"obs_mode": "obj", "max_pool": True}, ["max_pool", "obj"]),
        ({"frameskip": 1, "max_pool": True}, ["max_pool", "frameskip"]),
        ({"game_start": "step"}, ["game_start", "step", "did you mean steps"]),
        ({"time_limit": 128}, ["time_limit", "128", "steps"]),
        ({"time_limit": 38, "game_start": "frames"}, ["time_limit", "38", "frames"]),
    ],
)
def test_what_cannot_be_is_one_sentence(settings, words):
    with pytest.raises(GameError) as refused:
        game_config("ALE/Pong-v5", **settings)
    assert all(word in str(refused.value) for word in words), refused.value
    game_config("ALE/Pong-v5", time_limit=129)
    game_config("ALE/Pong-v5", time_limit=39, game_start="frames")


def test_games_that_blink_say_so_in_one_line():
    for game in BLINKING:
        notes = game_config(f"ALE/{game}-v5")[1]
        assert len(notes) == 1
        assert game in notes[0]
        assert "--max_pool" in notes[0]
        assert "\n" not in notes[0]
        for settings in ({"max_pool": True}, {"backend": "Gym"}, {"frameskip": 1}, {"frameskip": 3}):
            assert game_config(f"ALE/{game}-v5", **settings)[1] == []
    if find_spec("ocatari"):  # objects are seen in every frame
        assert game_config("ALE/MsPacman-v5", obs_mode="obj")[1] == []
    assert game_config("ALE/Breakout-v5")[1] == []


# ------------------------------------------------------------------------------------ checkpoints and their evaluation


@pytest.fixture(scope="module")
def pong_agent():
    return make_agent("PPO", (4, 84, 84), 6, generator=torch.Generator().manual_seed(0))


def played_as(folder, agent, trained, *flags):
    """The game that eval.py plays for a checkpoint with these args: start, largest no-op, FIRE, pooling, ..."""
    path = folder / "model.cleanrl_model"
    args = {"env_id": "ALE/Pong-v5", **trained}
    save_checkpoint(path, model_weights=agent.state_dict(), args=args, global_step=1)
    given = parse_command_line(evaluation.Args, ["--agent_path", str(path), *flags])
    checkpoint = load_checkpoint(path)
    settings = checked_settings(given, checkpoint)
    config, _ = choose_game(settings, checkpoint)
    return (*config.chosen.values(), config.noop_max, config.fire_reset)


NEW = {"backend": "HackAtari", "game_start": "none", "max_pool": True, "sticky": 0.1, "time_limit": 5000}


@pytest.mark.parametrize(
    ("trained", "flags", "expected"),
    [
        # of the original system
        ({}, [], ("original", False, 0.25, 108_000, 30, True)),
        ({"backend": "HackAtari", "ckpt": ""}, [], ("original", False, 0.25, 108_000, 30, True)),
        ({}, ["--game_start", "steps"], ("steps", False, 0.25, 108_000, 30, True)),
        # of earlier versions
        ({"noop_max": 30, "fire_reset": True}, [], ("frames", False, 0.25, 108_000, 30, True)),
        ({"noop_max": 30, "backend": "Gym"}, [], ("frames", True, 0.25, 108_000, 30, True)),
        ({"noop_max": 7, "fire_reset": False}, [], ("frames", False, 0.25, 108_000, 7, False)),
        ({"noop_max": 0, "fire_reset": True}, [], ("none", False, 0.25, 108_000, 30, True)),
        ({"noop_max": 0}, ["--game_start", "frames"], ("frames", False, 0.25, 108_000, 30, True)),
        # of this one
        (NEW, [], ("none", True, 0.1, 5000, 30, True)),
        (NEW, ["--no_max_pool", "--sticky", "0", "--time_limit", "900"], ("none", False, 0.0, 900, 30, True)),
        (NEW, ["--env_id", "Pong"], ("none", True, 0.1, 5000, 30, True)),
        (NEW, ["--env_id", "PongNoFrameskip-v4"], ("none", True, 0.0, 108_000, 30, True)),
        ({**NEW, "max_pool": False}, ["--backend", "Gym"], ("none", True, 0.1, 5000, 30, True)),
        ({**NEW, "backend": "Gym"}, ["--backend", "OCAtari"], ("none", True, 0.1, 5000, 30, True)),
    ],
)
def test_an_evaluation_plays_as_the_checkpoint_was_trained_unless_flags_say_otherwise(
    tmp_path, pong_agent, trained, flags, expected
):
    assert played_as(tmp_path, pong_agent, trained, *flags) == expected


@pytest.mark.parametrize(
    ("trained", "flags", "words"),
    [
        ({**NEW, "backend": "Gym"}, ["--no_max_pool"], ["max_pool", "Gym"]),
        (NEW, ["--frameskip", "1"], ["max_pool", "frameskip"]),
        (NEW, ["--sticky", "1.5"], ["sticky", "1.5", "at most 1"]),
        (NEW, ["--time_limit", "0"], ["time_limit", "0"]),
        ({**NEW, "game_start": "slow"}, [], ["game_start", "slow"]),
        ({**NEW, "sticky": "often"}, [], ["sticky", "often", "float"]),
        ({"noop_max": -3}, [], ["noop_max", "-3"]),
    ],
)
def test_evaluations_that_cannot_be(tmp_path, pong_agent, trained, flags, words):
    with pytest.raises(evaluation.USER_ERRORS) as refused:
        played_as(tmp_path, pong_agent, trained, *flags)
    assert all(word in str(refused.value) for word in words), refused.value


def test_the_summary_names_how_games_were_played(workdir, pong_agent):
    import json

    path = workdir / "model.cleanrl_model"
    args = {"env_id": "ALE/Pong-v5", "frameskip": 40, "game_start": "none"}
    save_checkpoint(path, model_weights=pong_agent.state_dict(), args=args, global_step=1)
    flags = ["--eval_episodes", "1", "--num_workers", "0", "--no-cuda", "--output_dir", "out", "--sticky", "0.5"]
    evaluation.main(["--agent_path", str(path), *flags, "--time_limit", "2000"])
    summary = json.loads((workdir / "out" / "summary.json").read_text())
    assert [summary[name] for name in ("game_start", "max_pool", "sticky", "time_limit")] == ["none", False, 0.5, 2000]


# ----------------------------------------------------------------------------------------------------------- training

SMALL = ["--num_envs", "2", "--num_steps", "8", "--num_minibatches", "2", "--update_epochs", "1", "--num_workers", "0"]
SMALL += ["--no-cuda", "--plasticity_every", "0"]
REGIMES = {
    "env_id": "ALE/Freeway-v5",
    "modification_factory": "SequentialModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 144,
        "modifications": ["all_black_cars", "all_white_cars"],
        "switching_thresholds": [64],
    },
}


def test_a_run_records_how_its_games_started_also_where_it_was_not_told(workdir, capsys):
    training.main([*SMALL, "--env_id", "Venture", "--total_timesteps", "16", "--sticky", "0.5"])
    assert capsys.readouterr().out.count("--max_pool") == 1
    args = load_checkpoint(only_run(workdir) / "model.cleanrl_model").args
    assert [args[name] for name in ("game_start", "max_pool", "sticky", "time_limit")] == ["steps", False, 0.5, 108_000]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backend": "Gym", "max_pool": False}, ["max_pool", "Gym"]),
        ({"game_start": "original", "fire_reset": False}, ["game_start", "`fire_reset` at its default"]),
        ({"sticky": -0.1}, ["sticky", "-0.1", "at least 0"]),
        ({"time_limit": 20}, ["time_limit", "20"]),
        ({"anneal_lr": False, "anneal_lr_per_regime": True}, ["anneal_lr_per_regime", "--no_anneal_lr"]),
    ],
)
def test_training_refuses_in_one_sentence(workdir, capsys, settings, words):
    assert_refused(training.main, {"env_id": "ALE/Pong-v5", **settings}, words, workdir, capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], None),
        (["--max_pool"], True),
        (["--max-pool"], True),
        (["--no_max_pool"], False),
        (["--no-max-pool"], False),
    ],
)
def test_a_switch_that_may_be_left_open(words, expected):
    for script in (training, evaluation):
        assert parse_command_line(script.Args, [*words, "--seed", "3"]).max_pool is expected


def learning_rates(run):
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    return [event.value for event in events.Scalars("charts/learning_rate")]


@pytest.mark.slow
@pytest.mark.parametrize("per_regime", mostly_slow([True, False], 2))
def test_the_learning_rate_falls_over_the_run_or_within_each_regime(workdir, capsys, per_regime):
    flags = ["--anneal_lr_per_regime"] if per_regime else []
    training.main([*SMALL, "--config", write_config(workdir, **REGIMES, learning_rate=0.001), *flags])
    assert ("learning rate decays to zero" in capsys.readouterr().out) != per_regime
    whole = [1 - 16 * k / 144 for k in range(9)]
    shares = [1, 3 / 4, 1 / 2, 1 / 4, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5] if per_regime else whole
    assert learning_rates(only_run(workdir)) == pytest.approx([0.001 * share for share in shares])


def test_a_rollout_with_a_switch_is_learned_at_the_rate_of_the_new_regime():
    borders = [0, 100, 260, 300]
    share = remaining_share
    assert share(borders, 0, 63) == 1
    assert share(borders, 48, 99) == pytest.approx(0.52)
    assert share(borders, 64, 127) == 1, "begun in the first regime"
    assert share(borders, 128, 191) == pytest.approx(1 - 28 / 160)
    assert share(borders, 256, 299) == 1
    assert share(borders, 299, 299) == pytest.approx(1 / 40)


def test_borders_are_those_that_the_run_sees(monkeypatch):
    """Old spellings of one string are one regime, and what lies between two questions is not seen."""
    kwargs = {"num_total_steps": 40, "modifications": ["all_black_cars", " all_black_cars", "all_red_cars", ""]}
    kwargs["switching_thresholds"] = [8, 17, 19]
    config = {"modification_factory": "SequentialModificationFactory", "modification_factory_kwargs": kwargs}
    schedule = schedule_from_config(config, seed=0)
    assert annealing_borders(schedule, 36, 4, per_regime=True) == [0, 20, 36]
    assert annealing_borders(schedule, 36, 4, per_regime=False) == [0, 36]


class Restless:
    """A schedule of a user's own."""

    def __init__(self, num_total_steps):
        self.num_total_steps = num_total_steps

    def get_modification(self, step):
        return "all_black_cars" if step < 24 else "all_white_cars"


def test_schedules_of_a_users_own_are_asked_ahead():
    config = {"modification_factory": f"{__name__}:Restless", "modification_factory_kwargs": {"num_total_steps": 64}}
    sys.modules.setdefault(__name__, sys.modules[Restless.__module__])
    schedule = schedule_from_config(config, seed=0)
    assert annealing_borders(schedule, 64, 8, per_regime=True) == [0, 24, 64]
    assert decay_note(schedule) is not None


def test_one_regime_needs_no_note():
    assert decay_note(schedule_from_config({}, seed=0, total_timesteps=10**7)) is None
    schedule = schedule_from_config(REGIMES, seed=0)
    assert "--anneal_lr_per_regime" in str(decay_note(schedule))
    assert decay_note(schedule, 64) is None, "the run ends before the switch"
    kwargs = {"num_total_steps": 10**7, "modifications": ["a", "b"], "switching_thresholds": [5 * 10**6]}
    factory = {"modification_factory": "SequentialModificationFactory", "modification_factory_kwargs": kwargs}
    late = schedule_from_config(factory, seed=0)
    assert decay_note(late) is not None, "however late the switch comes"
    assert regime_end(late, 0, 0, 8, 10**7) == 5 * 10**6


def test_cleanrls_experiment_can_be_started():
    args, _ = apply_config_file(training.Args(), str(ROOT / "configs" / "cleanrl_atari.json"))
    assert args.notes
    setup = training.prepare(["--config", str(ROOT / "configs" / "cleanrl_atari.json"), "--no-cuda"])
    game = setup.game
    assert (game.backend, game.repeat_action_probability, game.max_pool, game.frameskip) == ("Gym", 0.0, True, 4)
    assert (setup.args.reward_scaling, setup.args.seed, setup.total_timesteps) == ("clip", 1, 10_000_000)


@pytest.mark.parametrize("command", ["training", "preview", "flag"])
def test_a_file_of_an_earlier_version_is_told_about_game_start(command, workdir, capsys):
    schedule = {"modification_factory": "NoModificationFactory", "modification_factory_kwargs": {"num_total_steps": 64}}
    old = write_config(workdir, **schedule, noop_max=0)
    if command == "preview":
        assert preview([old]) == 2
    else:
        with pytest.raises(SystemExit) as stopped:
            training.main(["--noop_max", "0"] if command == "flag" else ["--config", old])
        assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "is no argument any more: `game_start` says how a game starts; what was `noop_max` 0 is" in line
    assert not (workdir / "runs").exists()
