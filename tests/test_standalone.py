"""The games as gymnasium's own environments: `gymnasium.make` and `gymnasium.make_vec`, without training."""

import importlib
import os
import re
import shlex
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from conftest import ROOT, mostly_slow
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as wrappers

import continual_hackatari  # noqa: F401 - with this import gymnasium knows the games
from continual_hackatari import commands
from continual_hackatari.reporting.runs import Run
from continual_hackatari.training.versions import evaluation_command
from continual_hackatari.wrappers.emulator import ale_games
from continual_hackatari.wrappers.errors import GameError, ModificationError

SHORT = {"game_start": "none", "time_limit": 80}
"""games of 20 steps"""
FREEWAY, BREAKOUT = "continual_hackatari/Freeway-v5", "continual_hackatari/Breakout-v5"
NEXT, SAME = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP


def make_vec(env_id=FREEWAY, num_envs=3, **settings):
    return gymnasium.make_vec(env_id, num_envs=num_envs, **{"num_workers": 0, **SHORT, **settings})


def play(envs, steps, seed=0):
    """Results of random actions, those of each episode being the same in both autoreset modes."""
    numbers = np.zeros((envs.num_envs, 2), int)  # episode, step
    ended = np.zeros(envs.num_envs, bool)
    for _ in range(steps):
        actions = np.array([np.random.default_rng([seed, i, *numbers[i]]).integers(3) for i in range(envs.num_envs)])
        result = envs.step(actions)
        resets = ended if envs.metadata["autoreset_mode"] == NEXT else np.zeros(envs.num_envs, bool)
        numbers[:, 1] += ~resets
        ended = result[2] | result[3]
        numbers[ended, 0] += 1
        numbers[ended, 1] = 0
        yield (actions, *result, resets)


def test_every_game_has_its_name():
    names = {env_id for env_id in gymnasium.registry if env_id.startswith("continual_hackatari/")}
    assert names == {f"continual_hackatari/{game}-v5" for game in ale_games()}


# ---------------------------------------------------------------------------------------------------------- one game


def test_one_game_passes_gymnasiums_check_without_a_warning():
    env = gymnasium.make(FREEWAY, render_mode="rgb_array", modifications="all_black_cars")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


@pytest.mark.parametrize("mode", mostly_slow([NEXT, SAME], 2), ids=lambda mode: mode.value)
def test_one_game_is_the_first_of_the_vector(mode):
    """Its observations, rewards, ends, screens, and what `info` says."""
    settings = {"modifications": "all_black_cars", "render_mode": "rgb_array", **SHORT}
    env, envs = gymnasium.make(FREEWAY, **settings), make_vec(autoreset_mode=mode, **settings)
    assert np.array_equal(env.reset(seed=5)[0], envs.reset(seed=5)[0][0])
    for actions, observations, rewards, terminated, truncated, infos, resets in play(envs, 65):
        if resets[0]:
            seen, info = env.reset()
            assert info["modification"] == infos["modification"][0]
        else:
            seen, reward, *ends, info = env.step(actions[0])
            assert (reward, *ends) == (rewards[0], terminated[0], truncated[0])
            told = infos.get("final_info", infos)
            assert info == ({"game": {k: v[0] for k, v in told["game"].items() if k[0] != "_"}} if any(ends) else {})
            if any(ends) and mode == SAME:
                assert np.array_equal(seen, infos["final_obs"][0])
                seen, _ = env.reset()
        assert np.array_equal(seen, observations[0])
        assert np.array_equal(env.render(), envs.render()[0])
    envs.close()
    env.close()


def test_a_seed_begins_anew_and_without_one_the_games_go_on():
    env = gymnasium.make(BREAKOUT, **SHORT)

    def episode(seed):
        env.reset(seed=seed)
        return [env.step(t % 4)[0] for t in range(19)]

    first, going_on, again = episode(1), episode(None), episode(1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, going_on)
    other, another = (gymnasium.make(BREAKOUT, **SHORT) for _ in range(2))
    for fresh in (other, another):
        fresh.reset()
    seeds = [fresh.unwrapped._game.config.seed for fresh in (other, another)]
    assert seeds[0] != seeds[1], "unseeded games differ from one another"
    for many in (make_vec(num_envs=1), make_vec(num_envs=1)):
        many.reset()
        seeds.append(many.unwrapped._host._games[0].config.seed)
        many.close()
    assert len(set(seeds)) == 4, "those of `make_vec` too"


def test_the_end_of_an_episode_is_its_last_observation_and_screen():
    env = gymnasium.make(FREEWAY, render_mode="rgb_array", **SHORT).unwrapped
    env.reset(seed=1)
    for _ in range(20):
        observation, _, terminated, truncated, info = env.step(1)
    assert (terminated, truncated) == (False, True)
    assert info["game"]["length"] == 20
    last = env.render()
    begun, info = env.reset()
    assert info == {"modification": 0}
    assert env.strings == [""]
    assert not np.array_equal(begun, observation)
    assert not np.array_equal(env.render(), last)
    number = env._game._number
    env.step(1)
    env.reset()
    assert env._game._number == number + 1, "a reset in mid-game begins another game"


def test_lost_lives_end_episodes_where_that_is_asked_for():
    def lengths(**settings):
        env = gymnasium.make(BREAKOUT, **settings)
        env.reset(seed=3)
        found, length, games = [], 0, []
        for _ in range(400):
            _, _, terminated, truncated, info = env.step(0)
            length += 1
            games += [info["game"]["length"]] if "game" in info else []
            if terminated or truncated:
                found.append(length)
                length = 0
                env.reset()
        return found, games

    lives, games = lengths(episodic_life=True)
    wholes, same = lengths()
    assert games == same == wholes
    assert len(lives) > len(games) > 0
    assert sum(lives[:5]) == games[0]


@pytest.mark.parametrize(("frameskip", "speed"), [(4, 15), (8, 7.5), (1, 60)])
def test_screens_are_shown_as_fast_as_the_console_played(frameskip, speed):
    env = gymnasium.make(FREEWAY, frameskip=frameskip, game_start="none")
    envs = gymnasium.make_vec(FREEWAY, frameskip=frameskip, game_start="none", num_workers=0)
    assert env.metadata["render_fps"] == envs.metadata["render_fps"] == speed
    envs.close()


# --------------------------------------------------------------------------------------------------------- many games


def episodes(mode, **settings):
    """Per game: the observations, rewards, ends and records of each episode; what `info` says, checked on the way."""
    envs = make_vec(autoreset_mode=mode, modifications="all_black_cars", episodic_life=True, **settings)
    seen, info = envs.reset(seed=4)
    assert envs.unwrapped.strings == ["all_black_cars"]
    assert info["modification"].tolist() == [0] * 3
    assert info["_modification"].all()
    found = [[[seen[i].tobytes()]] for i in range(3)]
    for _, observations, rewards, terminated, truncated, info, resets in play(envs, 140):
        done = terminated | truncated
        begun = resets if mode == NEXT else done
        assert np.array_equal(info.get("_modification", np.zeros(3, bool)), begun)
        assert ("final_obs" in info) == (mode == SAME and done.any())
        for i in range(3):
            if resets[i]:
                assert (rewards[i], terminated[i], truncated[i]) == (0, False, False)
                found[i].append([observations[i].tobytes()])
                continue
            last = info["final_obs"][i] if mode == SAME and done[i] else observations[i]
            told = (info["final_info"] if mode == SAME else info) if done[i] else {}
            record = None
            if "game" in told and told["_game"][i]:
                record = {name: told["game"][name][i] for name in ("score", "length", "lives", "modification")}
            found[i][-1].append((last.tobytes(), rewards[i], terminated[i], truncated[i], record))
            if done[i] and mode == SAME:
                found[i].append([observations[i].tobytes()])
    envs.close()
    return found


@pytest.mark.slow
def test_equal_actions_give_equal_episodes_in_both_modes():
    following, same = episodes(NEXT), episodes(SAME)
    for one, other in zip(following, same, strict=True):
        whole = min(len(one), len(other)) - 1
        assert whole >= 5
        assert one[:whole] == other[:whole]
        assert all(episode[-1][-1]["length"] == 20 for episode in one[:whole])


@pytest.mark.slow
def test_workers_play_the_same_in_both_modes():
    assert episodes(NEXT, num_workers=2) == episodes(NEXT)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_list_of_seeds_has_one_for_each_game(num_workers):
    """Which then plays what `gymnasium.make` plays with it; None goes on."""
    envs, env = make_vec(BREAKOUT, num_workers=num_workers), gymnasium.make(BREAKOUT, **SHORT)

    def played(first):
        return np.stack([first, *(envs.step(np.full(3, action))[0] for action in (0, 1, 2, 3) * 4)], axis=1)

    def alone(seed):
        return np.stack([env.reset(seed=seed)[0], *(env.step(action)[0] for action in (0, 1, 2, 3) * 4)])

    first = played(envs.reset(seed=[5, None, np.int64(9)])[0])
    assert np.array_equal(first[0], alone(5))
    assert np.array_equal(first[2], alone(9))
    again = played(envs.reset(seed=(5, None, 5))[0])
    assert np.array_equal(again[[0, 2]], first[[0, 0]])
    assert not np.array_equal(again[1], first[1])
    with pytest.raises(GameError, match="`seed` must be one for all games or a list of 3, but it is a list of 2"):
        envs.reset(seed=[1, 2])
    envs.close()


def test_a_reset_and_a_switch_change_what_is_played():
    envs = make_vec(modifications="all_black_cars", num_envs=2, render_mode="rgb_array")
    env = gymnasium.make(FREEWAY, modifications="all_black_cars", render_mode="rgb_array", **SHORT)
    for one in (envs, env):
        one.reset(seed=1)
        _, info = one.reset(options={"modifications": "all_red_cars"})
        assert one.unwrapped.strings == ["all_black_cars", "all_red_cars"]
        assert np.all(info["modification"] == 1)
        _, info = one.reset()
        assert np.all(info["modification"] == 1), "the games keep their modifications"
    _, info = envs.unwrapped.set_modifications("all_blue_cars", "episode")
    assert info == {}
    told = [info["modification"].tolist() for *_, info, _ in play(envs, 25) if "modification" in info]
    assert told == [[2, 2]]
    assert envs.unwrapped.strings[2] == "all_blue_cars"
    for action in [0] * 20:
        *_, info = env.step(action)
    assert info["game"]["modification"] == 1
    envs.close()


@pytest.mark.parametrize("switch", [False, True], ids=["reset", "switch"])
def test_games_that_were_begun_anew_after_their_end_play_the_next_step(switch):
    """With NEXT_STEP the step after an end is a reset, but not where somebody has begun the games already."""
    envs, fresh = make_vec(num_envs=2), make_vec(num_envs=2)
    envs.reset(seed=1)
    *_, (_, _, _, terminated, truncated, *_) = play(envs, 20)
    assert (terminated | truncated).all()
    if switch:
        begun, _ = envs.unwrapped.set_modifications("all_black_cars", "reset")
    else:
        begun, _ = envs.reset(seed=5)
        assert np.array_equal(begun, fresh.reset(seed=5)[0])
    begun = begun.copy()
    observations, *_, info = envs.step(np.array([1, 1]))
    assert info == {}, "no episode begins in this step"
    assert not np.array_equal(observations, begun)
    if not switch:
        assert np.array_equal(observations, fresh.step(np.array([1, 1]))[0])
    envs.close()
    fresh.close()


# ----------------------------------------------------------------------------------------------- gymnasium's wrappers

CASES = {
    "ClipReward": lambda envs: wrappers.ClipReward(envs, -1, 1),
    "DictInfoToList": wrappers.DictInfoToList,
    "DtypeObservation": lambda envs: wrappers.DtypeObservation(envs, np.float32),
    "FlattenObservation": wrappers.FlattenObservation,
    "GrayscaleObservation": lambda envs: wrappers.GrayscaleObservation(in_colour(envs)),
    "HumanRendering": wrappers.HumanRendering,
    "NormalizeObservation": wrappers.NormalizeObservation,
    "NormalizeReward": wrappers.NormalizeReward,
    "NumpyToTorch": lambda envs: wrappers.NumpyToTorch(envs),
    "ArrayConversion": lambda envs: wrappers.ArrayConversion(envs, np, np),
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "RecordVideo": lambda envs: wrappers.RecordVideo(envs, "videos", episode_trigger=lambda k: False),
    "RescaleObservation": lambda envs: wrappers.RescaleObservation(
        wrappers.DtypeObservation(envs, np.float32), np.float32(0), np.float32(1)
    ),
    "ReshapeObservation": lambda envs: wrappers.ReshapeObservation(envs, (4, 84 * 84)),
    "ResizeObservation": lambda envs: wrappers.ResizeObservation(in_colour(envs), (42, 42)),
    "TransformAction": lambda envs: wrappers.TransformAction(envs, lambda actions: actions),
    "TransformObservation": lambda envs: wrappers.TransformObservation(envs, lambda observations: observations),
    "TransformReward": lambda envs: wrappers.TransformReward(envs, lambda rewards: 2 * rewards),
    "VectorizeTransformAction": lambda envs: wrappers.VectorizeTransformAction(
        envs, gymnasium.wrappers.TransformAction, func=lambda action: action, action_space=envs.single_action_space
    ),
    "VectorizeTransformObservation": lambda envs: wrappers.VectorizeTransformObservation(
        envs, gymnasium.wrappers.TransformObservation, func=lambda o: o, observation_space=envs.single_observation_space
    ),
    "VectorizeTransformReward": lambda envs: wrappers.VectorizeTransformReward(
        envs, gymnasium.wrappers.TransformReward, func=lambda reward: reward
    ),
}
OTHER_SPACES = {
    "ClipAction": "continuous actions",
    "RescaleAction": "continuous actions",
    "FilterObservation": "observations of several parts",
    "JaxToNumpy": "environments that hold jax's arrays",
    "JaxToTorch": "environments that hold jax's arrays",
}
"""what these wrappers are for; Atari's games have none of it"""
NOT_SAME_STEP = {"NormalizeObservation", "TransformObservation", "VectorizeTransformObservation"}
NOT_SAME_STEP |= {f"{name}Observation" for name in ("Dtype", "Flatten", "Grayscale", "Rescale", "Reshape", "Resize")}
"""gymnasium allows them under NEXT_STEP only"""
NO_FINAL_OBS = {"ArrayConversion", "NumpyToTorch"}
"""these cannot convert the `final_obs` of gymnasium's own vector environments either: it is an array of objects"""
NEEDS = {
    "HumanRendering": "pygame",
    "ArrayConversion": "array_api_compat",
    "NumpyToTorch": "array_api_compat",
    "RecordVideo": "moviepy",
}
"""packages that only these wrappers need"""


def in_colour(envs):
    """Observations of height x width x 3, which some wrappers ask for: three of the frames."""
    space = gymnasium.spaces.Box(0, 255, (84, 84, 3), np.uint8)
    return wrappers.TransformObservation(
        envs, lambda seen: np.moveaxis(seen[:, :3], 1, -1), single_observation_space=space
    )


def test_all_of_gymnasiums_wrappers_are_tried():
    assert set(CASES) | set(OTHER_SPACES) == set(wrappers.__all__)


@pytest.mark.parametrize("mode", [NEXT, SAME], ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", mostly_slow(CASES, 12))
def test_gymnasiums_wrappers_work(name, mode, tmp_path, monkeypatch):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    envs = make_vec(autoreset_mode=mode, render_mode="rgb_array", num_envs=2)
    if mode == SAME and name in NO_FINAL_OBS:
        pytest.skip("gymnasium cannot convert its `final_obs`")
    if mode == SAME and name in NOT_SAME_STEP:
        with pytest.raises(ValueError, match="NEXT_STEP"):
            CASES[name](envs)
        envs.close()
        return
    wrapped = CASES[name](envs)
    wrapped.reset(seed=1)
    told = []
    for _ in range(45):
        actions = np.array([1, 0])
        if name == "NumpyToTorch":
            import torch

            actions = torch.from_numpy(actions)
        observations, rewards, *_, info = wrapped.step(actions)
        told.append(info)
        assert len(observations) == len(rewards) == 2
    assert observations[0].shape == wrapped.single_observation_space.shape
    if name == "RecordEpisodeStatistics":
        ends = [info["episode"]["l"].tolist() for info in told if "episode" in info]
        assert ends == [[20, 20]] * 2
    if name == "DictInfoToList":
        infos = [info.get("final_info", info) for row in told for info in row]
        assert [info["game"]["length"] for info in infos if "game" in info] == [20] * 4
    wrapped.close()


# ------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"modifications": "all_black_car"}, ["`modifications` 'all_black_car'", "did you mean all_black_cars"]),
        ({"framskip": 2}, ["`setting` 'framskip'", "did you mean frameskip?"]),
        ({"frameskip": 0}, ["`frameskip` must be a whole number from 1"]),
        ({"seed": 3}, ["`setting` 'seed'"]),
        ({"env_id": "ALE/Pong-v5"}, ["`env_id` is said by the name of the environment"]),
        ({"modifications": ["all_black_cars"]}, ["`modifications` must be one string", "['all_black_cars']"]),
        ({"modifications": None}, ["`modifications` must be one string", "None"]),
        ({"episodic_life": "yes"}, ["`episodic_life` must be True or False", "'yes'"]),
        ({"fire_reset": 3}, ["`fire_reset` must be True or False", "3"]),
        ({"max_pool": "yes"}, ["`max_pool` must be True, False or None", "'yes'"]),
        ({"obs_mode": 3}, ["`obs_mode` 3 is not one of dqn, obj"]),
        ({"goal_kind": 3}, ["`goal_kind` 3 is not one of position"]),
        ({"reward_file": 3}, ["`reward_file` must be the path of a Python file"]),
        ({"reward_file": "none.py"}, ["`reward_file`: there is no file none.py"]),
        ({"reward_file": "a.py", "backend": "Gym"}, ["`reward_file` reads objects", "`backend='HackAtari'`"]),
        ({"modifications": "x", "backend": "Gym"}, ["`modifications` 'x'", "`backend='HackAtari'`"]),
        ({"goal_kind": "position", "backend": "Gym"}, ["`goal_kind` reads the game's memory"]),
        ({"backend": "Gym", "obs_mode": "obj"}, ["`obs_mode` obj needs"]),
        ({"backend": "Gym", "max_pool": False}, ["`max_pool=False`"]),
    ],
    ids=str,
)
def test_faults_are_sentences(make, settings, words):
    with pytest.raises((GameError, ModificationError)) as raised:
        make(FREEWAY, **settings)
    assert all(word in str(raised.value) for word in words), raised.value
    assert not any(word in str(raised.value) for word in ("`--", "new_rf", "`her`")), "flags of training"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_envs": 0}, "`num_envs` must be a whole number from 1 to 10,000, but it is 0"),
        ({"num_envs": 2.0}, "`num_envs` must be a whole number.*2.0"),
        ({"num_workers": 1.5}, "`num_workers` must be a whole number from 0.*1.5"),
        ({"num_workers": -1}, "`num_workers` must be a whole number from 0.*-1"),
        ({"worker_timeout": "a"}, "`worker_timeout` must be seconds, from 1 to 86,400, but it is 'a'"),
        ({"worker_timeout": -5}, "`worker_timeout` must be seconds.*-5"),
        ({"worker_timeout": 0}, "`worker_timeout` must be seconds.*0"),
        ({"autoreset_mode": 3}, "`autoreset_mode` 3 is not one of NextStep, SameStep"),
    ],
    ids=str,
)
def test_faults_of_many_games_are_sentences(settings, words):
    with pytest.raises(GameError, match=words):
        gymnasium.make_vec(FREEWAY, **settings)


def test_what_goes_with_many_games_is_said_of_one():
    for settings in ({"num_workers": 2}, {"worker_timeout": 9}, {"autoreset_mode": SAME}):
        with pytest.raises(GameError, match=f"`{next(iter(settings))}` goes with `gymnasium.make_vec`"):
            gymnasium.make(FREEWAY, **settings)


def test_a_file_may_be_a_path(tmp_path):
    path = tmp_path / "reward.py"
    path.write_text("def reward_function(env):\n    return 7.0\n")
    env = gymnasium.make(FREEWAY, reward_file=path, **SHORT)
    env.reset(seed=1)
    assert env.step(0)[1] == 7


def test_a_reward_file_reads_the_score_of_the_game_so_far(tmp_path):
    path = tmp_path / "reward.py"
    path.write_text("def reward_function(env):\n    return env.org_return\n")
    env = gymnasium.make("continual_hackatari/Pong-v5", reward_file=path, game_start="none", time_limit=600)
    for seed in (1, None):
        env.reset(seed=seed)
        truncated = False
        while not truncated:  # who stands still loses point after point
            _, reward, _, truncated, info = env.step(0)
            assert reward == (info["game"]["score"] if truncated else env.unwrapped._game.score)
        assert reward < -1


def test_what_cannot_be_played_is_said():
    env = gymnasium.make(FREEWAY, **SHORT).unwrapped
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset(seed=1)
    for action in (-1, 3, 0.5, None):
        with pytest.raises(GameError, match="`action` of Freeway must be a whole number from 0 to 2"):
            env.step(action)
    for one in (env, make_vec()):
        with pytest.raises(GameError, match="`reset` knows one option, `modifications`"):
            one.reset(options={"modification": "x"})
        with pytest.raises(ModificationError, match="did you mean all_black_cars"):
            one.reset(options={"modifications": "all_black_car"})
        one.close()
    with pytest.raises(GameError, match=r"`modifications` must be one string.*but it is None"):
        make_vec().unwrapped.set_modifications(None)
    with pytest.raises(GameError, match="`mode` 'now' is not one of reset, episode, live"):
        make_vec().unwrapped.set_modifications("", "now")
    with pytest.raises(GameError, match="`autoreset_mode` 'Disabled' is not one of NextStep, SameStep"):
        make_vec(autoreset_mode=AutoresetMode.DISABLED)


def test_what_a_user_should_know_is_a_warning():
    with pytest.warns(UserWarning, match="MsPacman draws some objects in every other frame only"):
        gymnasium.make("continual_hackatari/MsPacman-v5")


# -------------------------------------------------------------------------------------------- somebody else's project

ELSEWHERE = """
import sys
{imports}
loaded = [name for name in ("torch", "numpy", "cv2", "gymnasium", "ale_py") if name in sys.modules]
import gymnasium
import agents, wrappers
assert (agents.MINE, wrappers.MINE) == (1, 2)
envs = gymnasium.make_vec("continual_hackatari/Freeway-v5", num_envs=2, num_workers=2, modifications="all_black_cars")
envs.reset(seed=1)
envs.step(envs.action_space.sample())
envs.close()
env = gymnasium.make("continual_hackatari:continual_hackatari/Pong-v5")
env.reset(seed=1)
assert "torch" not in sys.modules
print(loaded)
"""


def with_folders_of_the_same_names(project):
    for number, folder in enumerate(("agents", "wrappers"), start=1):
        (project / folder).mkdir()
        (project / folder / "__init__.py").write_text(f"MINE = {number}\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("imports", "loaded"),
    mostly_slow(
        [
            pytest.param("import continual_hackatari", [], id="before gymnasium"),
            pytest.param("import gymnasium, continual_hackatari", ["numpy", "gymnasium"], id="after gymnasium"),
            pytest.param("import continual_hackatari, ale_py", ["numpy", "gymnasium", "ale_py"], id="before ale_py"),
        ],
        3,
    ),
)
def test_a_project_with_folders_of_the_same_names_can_use_it(tmp_path, imports, loaded):
    """From a clone that is not installed; torch stays out, and before gymnasium so does all that is heavy."""
    with_folders_of_the_same_names(tmp_path)
    (tmp_path / "mine.py").write_text(textwrap.dedent(ELSEWHERE.format(imports=imports)))
    done = subprocess.run(
        [sys.executable, "mine.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{loaded}\n"


def advised():
    """The command that an unknown name advises to."""
    with pytest.raises(ModificationError) as raised:
        gymnasium.make(FREEWAY, modifications="all_purple_cars")
    return str(raised.value).split("`")[-2]


def test_the_command_that_errors_advise_to_works_in_such_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert advised() == "python -m wrappers.modifications ALE/Freeway-v5"
    with_folders_of_the_same_names(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    command = [sys.executable if word == "python" else word for word in shlex.split(advised())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "all_black_cars" in done.stdout


def test_an_installation_advises_to_its_console_commands(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    assert advised() == "continual-hackatari-modifications ALE/Freeway-v5"
    assert commands.script_words("report.py") == ["continual-hackatari-report"]
    assert evaluation_command("PPO", "mine.py", "--run", "a") == ["continual-hackatari-eval", "--run", "a"]
    run = Run(Path("a"))
    assert run.evaluation_command == "continual-hackatari-eval --run a"
    assert run.resume_command == "continual-hackatari-train --resume a"


@pytest.mark.parametrize("name", ["modifications", "report", "eval", "train"])
def test_the_console_commands_exist(name):
    text = (ROOT / "pyproject.toml").read_text()
    module, function = re.search(rf'^continual-hackatari-{name} = "(.+):(.+)"$', text, re.M).groups()
    assert callable(getattr(importlib.import_module(module), function))
