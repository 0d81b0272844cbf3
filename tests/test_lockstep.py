"""Our games against hackatari's and gymnasium's own environments: same seed, actions and randomness, bit for bit."""

import importlib
import random
import warnings

import ale_py
import gymnasium
import numpy as np
import pytest
from conftest import NEEDS_HACKATARI, mostly_slow

from continual_hackatari.wrappers.config import GameConfig, game_config
from continual_hackatari.wrappers.modifications import catalogue, split_modifications
from continual_hackatari.wrappers.modified_game import ModifiedGame
from continual_hackatari.wrappers.observations import observation_kind

gymnasium.register_envs(ale_py)
MODIFICATION_SEED = 12345

# (game, modification string, steps, slow). Strings with several names use ones that never write the same cell.
CASES = [
    ("Freeway", "", 300, False),
    ("Freeway", "stop_random_car all_black_cars", 2300, False),  # longer than one game
    ("Freeway", "align_all_cars", 1500, True),
    ("Freeway", "stop_all_cars all_blue_cars", 1500, True),
    ("Pong", "lazy_enemy", 1200, False),
    ("Pong", "up_drift right_drift", 2500, True),
    ("Breakout", "color_all_blocks_blue color_player_and_ball_white", 800, False),
    ("Breakout", "right_drift", 2000, True),
    ("Boxing", "drunken_boxing color_player_red", 700, False),
    ("Boxing", "one_armed", 1500, True),
    ("Kangaroo", "randomize_kangaroo_position disable_monkeys", 1000, False),
    ("Kangaroo", "unlimited_time disable_coconut", 2000, True),
    ("Frostbite", "ui_color_red many_enemies", 1000, True),
    ("Seaquest", "random_color_enemies", 900, False),
    ("Seaquest", "unlimited_oxygen", 2000, True),
    ("SpaceInvaders", "disable_shield_left relocate_shields_right", 900, False),
    ("SpaceInvaders", "controlable_missile", 2000, True),
    ("Tennis", "wind_effect", 1000, True),
    ("BankHeist", "revisit_city", 700, False),
    ("MsPacman", "caged_ghosts end_game", 700, False),
    ("Venture", "random_enemy_colors", 700, False),
    ("Atlantis", "random_enemies", 700, False),
    ("DoubleDunk", "player_color_red", 500, False),
    ("MontezumaRevenge", "random_position_start", 700, False),
]


def hackatari_environment(env_id, obs_mode):
    pytest.importorskip("hackatari", reason="it is not installed (from Python 3.13 on it cannot be)")
    from hackatari.core import HackAtari

    with warnings.catch_warnings():
        return HackAtari(env_id, modifs=[], obs_mode=obs_mode, create_buffer_stacks=[], frameskip=4)


def start_theirs(env, game, names, **kwargs):
    """Reset hackatari's environment with fresh handlers in the string's order, as we do at every game start."""
    module = importlib.import_module(f"hackatari.games.{game.lower()}")
    lists = module.modif_funcs(env, list(names))
    order = {name: i for i, name in enumerate(names)}

    def place(function):  # a name with two functions runs them in the order of the source, as ours does
        return order.get(function.__name__, 0), function.__code__.co_firstlineno

    env.step_modifs, env.reset_modifs, env.post_detection_modifs = (sorted(part, key=place) for part in lists[:3])
    return env.reset(**kwargs)


def reset_seed(seed):
    """The emulator seed that gymnasium's AtariEnv derives from `reset(seed=...)`."""
    return int(np.int32(np.random.SeedSequence(seed).generate_state(2)[1]))


def play_both(game, string, steps, obs_mode="dqn", seed=7):
    """Play both environments; yields (step, their observation, ours, their reward, ours, RAMs, flags)."""
    env_id = f"ALE/{game}-v5"
    config, _ = game_config(env_id, obs_mode=obs_mode)
    names = split_modifications(string)
    theirs = hackatari_environment(env_id, obs_mode)
    random.seed(MODIFICATION_SEED)
    np.random.seed(MODIFICATION_SEED)  # noqa: NPY002 - hackatari draws from the global generator
    their_observation, _ = start_theirs(theirs, game, names, seed=seed)

    ours = ModifiedGame(config, seed=reset_seed(seed), modification_seed=MODIFICATION_SEED)
    kind = observation_kind(config)
    observer = kind(ours)
    shape, dtype = kind.space(config)
    our_observation = np.zeros(shape, dtype)
    ours.start(names, lambda: observer.start(our_observation))
    actions = np.random.default_rng(seed)
    games = 0
    for step in range(steps):
        assert np.array_equal(theirs.get_ram(), ours.view.get_ram()), f"RAM differs at step {step}"
        assert np.array_equal(np.asarray(their_observation, dtype), our_observation), (
            f"observation differs at step {step}"
        )
        action = int(actions.integers(len(ours.actions)))
        their_observation, their_reward, *_ = theirs.step(action)
        reward = ours.step(action)
        observer.push(our_observation)
        assert their_reward == reward, f"reward differs at step {step}"
        assert theirs._ale.game_over(with_truncation=False) == ours.terminated
        if ours.terminated or ours.truncated:
            games += 1
            assert np.array_equal(theirs.get_ram(), ours.view.get_ram())
            their_observation, _ = start_theirs(theirs, game, names)
            ours.start(names, lambda: observer.start(our_observation))
    theirs.close()
    return games


AT_ONCE = ("Pong",)
"""Games whose cases are not slow; `test_game_digests.py` holds every modification of all games."""


@NEEDS_HACKATARI
@pytest.mark.parametrize(
    ("game", "string", "steps"),
    [
        pytest.param(
            *case[:3],
            marks=[pytest.mark.slow] if case[3] or case[0] not in AT_ONCE else [],
            id=f"{case[0]}-{case[1] or 'unmodified'}",
        )
        for case in CASES
    ],
)
def test_pixels_ram_and_rewards_equal_hackataris(game, string, steps):
    games = play_both(game, string, steps)
    if game == "Freeway" and steps > 2100:
        assert games >= 1, "the case was meant to cross a game over"


MANY_GAMES = ("Atlantis", "Boxing", "Breakout", "DoubleDunk", "Freeway", "Frostbite", "Kangaroo")
MANY_GAMES += ("MsPacman", "Pong", "Seaquest", "SpaceInvaders", "Venture")


@NEEDS_HACKATARI
@pytest.mark.slow
@pytest.mark.parametrize("game", MANY_GAMES)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_dozen_games_with_three_modifications_each(game, which):
    names = [m.name for m in catalogue(game).values() if m.origin == "hackatari" and not m.refused]
    mended = {"gravity"} if game == "Boxing" else set()  # hackatari's own raises there, see test_modifications.py
    names = [name for name in names if name not in mended]
    play_both(game, names[which * (len(names) - 1) // 2], 1200, seed=which)


@NEEDS_HACKATARI
@pytest.mark.parametrize(
    ("game", "string"), mostly_slow([("Pong", "lazy_enemy"), ("Freeway", "stop_random_car"), ("Kangaroo", "")], 3)
)
def test_object_features_equal_hackataris(game, string):
    play_both(game, string, 400, obs_mode="obj")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "settings"),
    [("Breakout", {"backend": "Gym"}), ("Pong", {"backend": "Gym"}), ("Breakout", {"max_pool": True})],
    ids=["Breakout-Gym", "Pong-Gym", "Breakout-max_pool"],
)
def test_pooled_frames_equal_gymnasiums_preprocessing(game, settings):
    env_id = f"ALE/{game}-v5"
    theirs = gymnasium.wrappers.AtariPreprocessing(
        gymnasium.make(env_id, frameskip=1), noop_max=0, frame_skip=4, screen_size=84, grayscale_obs=True
    )
    theirs = gymnasium.wrappers.FrameStackObservation(theirs, 4, padding_type="reset")
    their_observation, _ = theirs.reset(seed=3)
    config, _ = game_config(env_id, **settings)
    ours = ModifiedGame(config, seed=reset_seed(3), modification_seed=0)
    observer = observation_kind(config)(ours)
    our_observation = np.zeros((4, 84, 84), np.uint8)
    ours.start((), lambda: observer.start(our_observation))
    actions = np.random.default_rng(0)
    games = 0
    for _ in range(900):
        assert np.array_equal(their_observation, our_observation)
        action = int(actions.integers(len(ours.actions)))
        their_observation, their_reward, terminated, _, _ = theirs.step(action)
        assert their_reward == ours.step(action)
        assert terminated == ours.terminated
        if terminated:  # gymnasium's observation of a game over is the step before's, ours the real last frame
            games += 1
            their_observation, _ = theirs.reset()
            ours.start((), lambda: observer.start(our_observation))
        else:
            observer.push(our_observation)
    assert games or game != "Breakout"


def test_game_over_and_truncation_come_from_the_emulator_whatever_hackatari_returns():
    """Releases of hackatari swap the two flags; ours must agree with the emulator in both cases."""
    config, _ = game_config("ALE/Breakout-v5")
    over = ModifiedGame(config, seed=1, modification_seed=0)
    over.start((), lambda: None)
    while not (over.terminated or over.truncated):
        over.step(1)
    assert (over.terminated, over.truncated) == (True, False)
    short = GameConfig(**{**config.__dict__, "max_num_frames_per_episode": 200})
    cut = ModifiedGame(short, seed=1, modification_seed=0)
    cut.start((), lambda: None)
    steps = 0
    while not (cut.terminated or cut.truncated):
        cut.step(0)
        steps += 1
    assert (cut.terminated, cut.truncated, steps) == (False, True, 50)
