"""Environments that continue in other processes where they stopped, exactly."""

import functools
import os
import pickle
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from conftest import NEEDS_HACKATARI, NEEDS_OCATARI, PATIENCE, mostly_slow
from test_vector import ROOT, assert_same, make, play

from continual_hackatari.wrappers import emulator
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.emulator import ale_games
from continual_hackatari.wrappers.errors import GameError
from continual_hackatari.wrappers.modifications import catalogue
from continual_hackatari.wrappers.modified_game import ModifiedGame
from continual_hackatari.wrappers.objects import supports_object_features
from continual_hackatari.wrappers.state import is_plain
from continual_hackatari.wrappers.vector import ModifiedVectorEnv


def fingerprints(envs):
    """Digests of emulators (generators and frame numbers included), RAM, observations, scores."""
    return [game.get("fingerprint") for game in envs.get_state()["games"]]


def assert_continues(envs, resumed, before, after=120, first=None, then=None, mode=None):
    """Play `before` steps in `envs`, hand its state over to `resumed`, and play on in both."""
    play(envs, before, first)
    state = pickle.loads(pickle.dumps(envs.get_state()))  # as from a file: no object is shared
    assert is_plain(state)
    resumed.set_state(state)
    for name, array in envs.arrays._asdict().items():
        assert np.array_equal(array, getattr(resumed.arrays, name)), name
    assert resumed.modifications == envs.modifications
    assert fingerprints(envs) == fingerprints(resumed)
    assert_same(play(envs, after, then, seed=1), play(resumed, after, then, seed=1))
    assert envs.cut_games() == resumed.cut_games()
    assert fingerprints(envs) == fingerprints(resumed)
    envs.close()
    resumed.close()


def games(seen):
    """The records of all games that ended in what `play` returned."""
    return [game for result in seen if len(result) > 2 for game in result[4]]


# env_id, modifications at the start, settings, slow
CASES = [
    ("ALE/Freeway-v5", "vary_car_speeds blinking_mode", {}, True),
    ("ALE/Freeway-v5", "stop_random_car", {"goal_kind": "position"}, True),
    ("ALE/Freeway-v5", "", {}, True),
    ("ALE/Pong-v5", "lazy_enemy up_drift", {}, True),
    ("ALE/Pong-v5", "random_perturbation_enemy hidden_enemy", {"obs_mode": "obj"}, True),
    ("ALE/Breakout-v5", "sample_new_brick_colors right_drift", {}, False),
    ("ALE/Breakout-v5", "sample_new_player_and_ball_color strobo_mode_blocks", {"episodic_life": False}, True),
    ("ALE/Breakout-v5", "", {"backend": "Gym"}, True),
    ("ALE/Breakout-v5", "", {"backend": "OCAtari", "obs_mode": "obj"}, True),
    ("BreakoutNoFrameskip-v4", "gravity", {}, True),
    ("ALE/Boxing-v5", "drunken_boxing one_armed", {"obs_mode": "obj"}, True),
    ("ALE/Riverraid-v5", "", {"obs_mode": "obj", "frameskip": 2}, True),
    ("ALE/Seaquest-v5", "random_color_enemies", {}, True),
    ("ALE/MsPacman-v5", "end_game", {"window": 2}, True),
    ("ALE/Qbert-v5", "", {"game_start": "none"}, True),
]


def marks(_env_id, string, settings, slow):
    needed = [NEEDS_OCATARI] if settings.get("obs_mode") == "obj" else []
    needed += [NEEDS_HACKATARI] if string in ("random_color_enemies", "end_game") else []
    return [*needed, pytest.mark.slow] if slow else needed


@pytest.mark.parametrize(
    ("env_id", "string", "settings", "steps"),
    [
        pytest.param(*case[:3], 60 + 7 * i, marks=marks(*case), id=f"{case[0]}-{case[1]}-{i}")
        for i, case in enumerate(CASES)
    ],
)
def test_games_continue_in_other_processes(env_id, string, settings, steps):
    envs, resumed = make(env_id, 3, 0, **settings), make(env_id, 3, 2, num_groups=2, **settings)
    # The game that is saved is the second one: its generators are no longer those of a new environment.
    assert_continues(envs, resumed, steps, first={0: (string, "reset"), 25: (string, "reset")})


@pytest.mark.slow
def test_games_continue_after_every_kind_of_switch():
    first = {
        0: ("vary_car_speeds", "reset"),
        20: ("phantom_mode", "live"),
        21: ("phantom_mode", "live"),
        50: ("blinking_mode all_black_cars", "live"),
        70: ("stop_random_car", "episode"),  # taken at the next game start, after the state was saved
    }
    then = {10: ("strobo_mode", "live"), 30: ("all_pink_cars", "reset"), 35: ("", "episode")}
    envs, resumed = make("ALE/Freeway-v5", 2, 0), make("ALE/Freeway-v5", 2, 1)
    assert_continues(envs, resumed, 80, first=first, then=then)


@pytest.mark.slow
def test_a_pending_switch_is_taken_at_the_next_game_start():
    envs, resumed = make("ALE/Breakout-v5", 2, 0), make("ALE/Breakout-v5", 2, 2)
    first = {0: ("", "reset"), 30: ("sample_new_brick_colors", "episode"), 60: ("color_all_blocks_red", "episode")}
    play(envs, 90, first)
    resumed.set_state(envs.get_state())
    seen = play(envs, 500, seed=1)
    assert "color_all_blocks_red" in [game.modification for game in games(seen)]
    assert_same(seen, play(resumed, 500, seed=1))
    resumed.close()


@pytest.mark.slow
def test_a_switch_right_before_or_after_the_save():
    for step in (40, 39):
        envs, resumed = make("ALE/Pong-v5", 2, 0), make("ALE/Pong-v5", 2, 0)
        assert_continues(envs, resumed, 40, 40, first={0: ("up_drift", "reset"), step: ("lazy_enemy", "live")})
    envs, resumed = make("ALE/Pong-v5", 2, 0), make("ALE/Pong-v5", 2, 1)
    play(envs, 30, {0: ("up_drift", "reset")})
    envs.set_modifications("lazy_enemy", "live")
    assert_continues(envs, resumed, 0, 60)


def test_environments_that_have_not_started_yet():
    envs, resumed = make("ALE/Pong-v5", 2, 0), make("ALE/Pong-v5", 2, 1)
    assert_continues(envs, resumed, 0, 30, then={0: ("lazy_enemy", "reset")})


SEEDED = ["Pong", "Seaquest", *(pytest.param(name, marks=pytest.mark.long) for name in ale_games())]


@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_that_was_there_before_begins_the_same_game_without_inserting_it(name, monkeypatch):
    """As in a new emulator, its generator included, whatever was played in between."""
    config, _ = game_config(f"ALE/{name}-v5")
    fresh, other = (ModifiedGame(config, seed=seed, modification_seed=0) for seed in (12345, 5))

    def played(game, steps=100):
        game.start((), lambda: None)
        seen = []
        for action in np.random.default_rng(1).integers(len(game.actions), size=steps):
            seen.append((game.step(int(action)), *game.ram()))
            if game.over:
                game.start((), lambda: None)
        return seen, game.screen().tobytes(), emulator.save(game.ale)

    expected = played(fresh)
    assert played(other) != expected
    other.seed(12345)
    played(other, 50)
    monkeypatch.setattr(emulator, "load_game", None)
    other.seed(12345)
    assert played(other) == expected


def test_a_state_after_a_reset_with_a_seed_is_one_of_that_seed():
    envs, old, resumed = (make("ALE/Breakout-v5", 1, seed=seed) for seed in (3, 3, 8))
    envs.reset(seed=8)
    play(envs, 5)
    with pytest.raises(GameError, match="`seed` is 8, the present one is 3"):
        old.set_state(envs.get_state())
    assert_continues(envs, resumed, 0, 20)


@pytest.mark.slow
def test_scores_and_numbers_go_on_across_the_save():
    envs, resumed = make("ALE/Breakout-v5", 2, 0), make("ALE/Breakout-v5", 2, 2)
    before = play(envs, 250, {0: ("right_drift", "reset")})
    resumed.set_state(envs.get_state())
    after, again = play(envs, 300, seed=1), play(resumed, 300, seed=1)
    records = [games(seen) for seen in (before, after, again)]
    assert records[1] == records[2]
    assert len(records[0]) >= 2
    assert len(records[1]) >= 2
    for env in range(2):
        numbers = [game.number for part in records[:2] for game in part if game.env == env]
        assert numbers == list(range(len(numbers)))
    crossing = [next(game for game in records[2] if game.env == env) for env in range(2)]
    assert all(len(game.life_scores) == 5 for game in crossing)
    resumed.close()


@pytest.mark.slow
def test_evaluation_games_continue():
    def build(workers):
        config, _ = game_config("ALE/Breakout-v5", seed=5)
        config = config.__class__(**{**vars(config), "reseed_every_game": True})
        return ModifiedVectorEnv(config, 2, num_workers=workers)

    envs, resumed = build(0), build(1)
    play(envs, 200, {0: ("strobo_mode_blocks", "reset")})
    envs.restart_numbering()
    assert_continues(envs, resumed, 50, 250, first={0: ("sample_new_brick_colors", "reset")})


def test_evaluation_games_continue_under_seeds_that_were_given_as_a_list():
    """Each game begins with its seed, so the next one needs it too."""

    def build():
        config, _ = game_config("ALE/Breakout-v5", time_limit=60, game_start="none", fire_reset=False)
        config = config.__class__(**{**vars(config), "reseed_every_game": True})
        return ModifiedVectorEnv(config, 2, num_workers=0)

    envs, resumed = build(), build()  # games of 15 steps
    envs.reset(seed=[7, None])
    assert_continues(envs, resumed, 20, 40)


@pytest.mark.parametrize("before", [5, 20, 32], ids=["all play", "one waits", "all wait"])
def test_an_environment_that_waits_goes_on_waiting(before):
    def build():
        config, _ = game_config("ALE/Breakout-v5", time_limit=60, game_start="none", fire_reset=False)
        config = config.__class__(**{**vars(config), "reseed_every_game": True})
        return ModifiedVectorEnv(config, 2, num_workers=0)

    envs, resumed = build(), build()  # games of 15 steps, of which three are played
    envs.restart_numbering(3)
    assert_continues(envs, resumed, before, 40, first={0: ("", "reset")})


@pytest.mark.slow
@NEEDS_OCATARI
def test_a_reward_file_keeps_what_it_remembers(tmp_path):
    path = tmp_path / "reward.py"
    path.write_text(
        "calls, seen = 0, []\n"
        "def reward_function(env):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    seen.append(int(env.get_ram()[72]))\n"
        "    return calls + len(seen) + seen[0] + len(env.objects)\n"
    )
    envs, resumed = (make("ALE/Breakout-v5", 1, n, reward_file=str(path)) for n in (0, 1))
    assert_continues(envs, resumed, 250, 50, first={0: ("", "reset")})  # several games


@pytest.mark.slow
@NEEDS_OCATARI
def test_saving_changes_nothing():
    def run(every):
        envs = make("ALE/Breakout-v5", 2, 1, obs_mode="obj")
        seen = play(envs, 0)
        envs.set_modifications("right_drift sample_new_brick_colors", "reset")
        for part in range(3):
            seen += play(envs, 40, seed=part)
            if every:
                envs.get_state()
        envs.close()
        return seen

    assert_same(run(False), run(True))


@pytest.mark.slow
def test_a_process_that_knows_nothing_but_the_file(tmp_path):
    """Another interpreter, another number of workers, and two saves in a row."""
    path = tmp_path / "state.pickle"
    envs = make("ALE/Pong-v5", 3, 2, seed=4)
    play(envs, 70, {0: ("lazy_enemy random_perturbation_enemy", "reset")})
    path.write_bytes(pickle.dumps(envs.get_state()))
    program = """
        import pickle, sys
        from pathlib import Path
        sys.path.insert(0, "tests")
        from test_vector import make, play
        path = Path(sys.argv[1])
        for _ in range(2):  # a save of a resumed run
            envs = make("ALE/Pong-v5", 3, 1, seed=4)
            envs.set_state(pickle.loads(path.read_bytes()))
            result = play(envs, 60, seed=1)
            path.write_bytes(pickle.dumps(envs.get_state()))
            envs.close()
        path.write_bytes(pickle.dumps(result))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(path)], cwd=ROOT, check=True, timeout=PATIENCE)
    play(envs, 60, seed=1)
    assert_same(play(envs, 60, seed=1), pickle.loads(path.read_bytes()))
    envs.close()


@NEEDS_OCATARI
def test_a_new_game_shows_no_warning_again(recwarn):
    """ocatari and hackatari compute with bytes; Python shows an overflow once per module, and modules are made anew."""
    import warnings

    from continual_hackatari.wrappers.modifications.installed import load_module
    from continual_hackatari.wrappers.objects import _private_module

    warnings.simplefilter("default")
    for make_module in (
        lambda: _private_module("Pong"),
        lambda: load_module("Pong", random.Random(0), np.random.RandomState(0)),
    ):
        recwarn.clear()
        for _ in range(3):
            exec("import warnings; warnings.warn('overflow', RuntimeWarning)", make_module().__dict__)
        assert len(recwarn) == 1


@pytest.mark.long
@pytest.mark.parametrize("game", ale_games())
def test_every_game_continues(game):
    """Random play of all games, saved several times, across game over."""
    kinds = [{}, {"obs_mode": "obj"}] if supports_object_features(game) else [{}]
    for settings in kinds:
        envs = make(f"ALE/{game}-v5", 2, 0, seed=1, **settings)
        envs.set_modifications("", "reset")
        for part in range(3):
            play(envs, 400, seed=part)
            resumed = make(f"ALE/{game}-v5", 2, 0, seed=1, **settings)
            resumed.set_state(envs.get_state())
            ours, theirs = play(envs, 150, seed=9), play(resumed, 150, seed=9)
            assert_same(ours, theirs)
            assert fingerprints(envs) == fingerprints(resumed)


@pytest.mark.long
@pytest.mark.parametrize("game", [game for game in ale_games() if catalogue(game)])
def test_every_modification_continues(game):
    for name, modification in catalogue(game).items():
        if modification.refused:
            continue
        envs, resumed = make(f"ALE/{game}-v5", 1, 0), make(f"ALE/{game}-v5", 1, 0)
        assert_continues(envs, resumed, 150, 100, first={0: (name, "reset")})


@pytest.mark.slow
def test_many_points_of_a_sticky_game():
    """The frames before the save decide which action a sticky action repeats in the first frame after it."""
    envs = make("ALE/Freeway-v5", 2, 0)
    envs.set_modifications("stop_random_car", "reset")
    actions = np.random.default_rng(0)
    for _ in range(20):
        envs.step(actions.integers(3, size=2))
        resumed = make("ALE/Freeway-v5", 2, 0)
        resumed.set_state(envs.get_state())
        assert_same(play(envs, 5), play(resumed, 5))


# --- what does not fit ------------------------------------------------------------------------------------------


@functools.cache
def state_of_two_games():
    envs = make("ALE/Breakout-v5", 2)
    play(envs, 60, {0: ("right_drift", "reset"), 30: ("", "live")})
    return pickle.dumps(envs.get_state())


@pytest.fixture
def saved():
    """A state of two games of Breakout, as from a file: each test has its own to damage."""
    return pickle.loads(state_of_two_games())


@pytest.mark.parametrize(
    ("env_id", "num_envs", "settings", "words"),
    [
        ("ALE/Pong-v5", 2, {}, ["`env_id`", "Breakout", "Pong"]),
        ("ALE/Breakout-v5", 3, {}, ["`num_envs`", "2", "3"]),
        ("ALE/Breakout-v5", 2, {"seed": 1}, ["`seed`"]),
        ("ALE/Breakout-v5", 2, {"episodic_life": False}, ["`episodic_life`"]),
    ],
)
def test_a_state_of_other_games_is_refused(saved, env_id, num_envs, settings, words):
    with pytest.raises(GameError) as raised:
        make(env_id, num_envs, **settings).set_state(saved)
    assert all(word in str(raised.value) for word in words)
    assert "\n" not in str(raised.value)


def damage(name):
    """Functions that damage a state."""
    return {
        "no games": lambda s: s.pop("games"),
        "a game too few": lambda s: s["games"].pop(),
        "an action left out": lambda s: s["games"][1].update(actions=s["games"][1]["actions"][:-1]),
        # the last, and one that moves the paddle otherwise: an earlier one may leave no trace
        "another action": lambda s: s["games"][0]["actions"].__setitem__(-1, (s["games"][0]["actions"][-1] + 2) % 4),
        "endless actions": lambda s: s["games"][0].update(actions=np.zeros(200_000, np.int16)),
        "actions of the wrong kind": lambda s: s["games"][0].update(actions=5),
        "a game of the wrong kind": lambda s: s["games"].__setitem__(1, []),
        "an impossible action": lambda s: s["games"][0]["actions"].__setitem__(5, 99),
        "a cut emulator": lambda s: s["games"][0]["origin"].update(emulator=s["games"][0]["origin"]["emulator"][:50]),
        "an empty emulator": lambda s: s["games"][0]["origin"].update(emulator=b""),
        "another generator": lambda s: s["games"][1]["origin"]["modifications"]["numpy"].update(position=3),
        "a wild generator": lambda s: s["games"][1]["origin"]["modifications"]["numpy"].update(position=10**6),
        "no no-ops": lambda s: s["games"][1]["origin"].update(noops={}),
        "an unknown modification": lambda s: s["games"][0]["origin"].update(names=["no_such_thing"]),
        "a live switch left out": lambda s: s["games"][0].update(live_changes=[]),
        "a wrong shape": lambda s: s["arrays"].update(rewards=np.zeros(3)),
        "a wrong dtype": lambda s: s["arrays"].update(rewards=np.zeros(2, np.float32)),
        "no config": lambda s: s.update(config=None),
        "no state": lambda s: s.clear(),
    }[name]


DAMAGES = ["no games", "a game too few", "an action left out", "another action", "an impossible action"]
DAMAGES += ["endless actions", "actions of the wrong kind", "a game of the wrong kind"]
DAMAGES += ["a cut emulator", "an empty emulator", "another generator", "a wild generator", "no no-ops"]
DAMAGES += ["an unknown modification", "a live switch left out", "a wrong shape", "a wrong dtype", "no config"]


@pytest.mark.parametrize("name", mostly_slow([*DAMAGES, "no state"], 4))
def test_a_damaged_state_is_one_sentence(saved, name):
    damage(name)(saved)
    with pytest.raises(GameError, match="saved state") as raised:
        make("ALE/Breakout-v5", 2).set_state(saved)
    assert "\n" not in str(raised.value)


def test_a_damaged_state_ends_the_workers(saved):
    damage("another action")(saved)
    envs = make("ALE/Breakout-v5", 2, 2)
    pids = envs.worker_pids()
    with pytest.raises(GameError, match="environment 0 leads to another game"):
        envs.set_state(saved)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(GameError, match="environment 0 leads to another game"):
        envs.step(np.zeros(2, int))
    envs.close()


class Evil:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return os.abort, ()


DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]
NOT_PLAIN = [DEEP, Evil(), np.array([Evil()], object), np.array(["text"]), {1: 2}, {3}, np.int64(1), 1j]


@pytest.mark.parametrize("which", mostly_slow(range(len(NOT_PLAIN)), 4))
def test_whatever_is_not_plain_data_reaches_no_worker(saved, which):
    envs = make("ALE/Breakout-v5", 2, 1)
    saved["games"][0]["next_names"] = [NOT_PLAIN[which]]
    with pytest.raises(GameError, match="plain data"):
        envs.set_state(saved)
    envs.set_modifications("", "reset")  # nothing has happened
    envs.close()


# --- videos -----------------------------------------------------------------------------------------------------


def frames(path):
    """All frames of a video, as bytes."""
    import cv2

    video, found = cv2.VideoCapture(str(path)), []
    while (result := video.read())[0]:
        found.append(result[1].tobytes())
    return found


@pytest.mark.slow
def test_a_video_in_progress_is_made_again_whole(tmp_path):
    def start(name):
        envs = make("ALE/Breakout-v5", 1, 1)
        envs.record_next_game(tmp_path / name / "step0", caption=True)
        play(envs, 100, {0: ("color_all_blocks_blue", "reset")})
        envs.record_next_game(tmp_path / name / "step9", caption=True)
        return envs

    def until_over(envs):
        while not games(play(envs, 20, seed=1)):
            pass
        play(envs, 20)
        envs.close()

    until_over(start("uninterrupted"))
    stopped = start("resumed")
    state = stopped.get_state()
    stopped.close()
    assert [path.name for path in (tmp_path / "resumed").iterdir()] == ["step0_cut.mp4"]
    resumed = make("ALE/Breakout-v5", 1, 1)
    resumed.set_state(state, tmp_path / "resumed")
    until_over(resumed)
    assert sorted(path.name for path in (tmp_path / "resumed").iterdir()) == ["step0.mp4"]  # step9 is too short
    assert frames(tmp_path / "resumed" / "step0.mp4") == frames(tmp_path / "uninterrupted" / "step0.mp4")


@pytest.mark.parametrize("name", mostly_slow(["../step0", "/tmp/step0", "..", "", "a/b", 3], 3))
def test_a_video_never_leaves_its_folder(saved, tmp_path, name):
    for key in ("recording", "requested"):
        saved["games"][0]["video"] = {"recording": None, "requested": None, key: name}
        with pytest.raises(GameError, match="saved state of the videos is damaged"):
            make("ALE/Breakout-v5", 2).set_state(saved, tmp_path / "videos")
    assert list(tmp_path.iterdir()) == []
