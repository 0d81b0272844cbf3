"""Many games at once: workers, switches, seeds, scores."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import ale_py
import numpy as np
import pytest
from conftest import NEEDS_OCATARI, PATIENCE, mostly_slow
from gymnasium.error import AlreadyPendingCallError, NoAsyncCallError, ResetNeeded
from gymnasium.vector import AutoresetMode
from processes import wait_until_gone, workers_from_now_on

from continual_hackatari.wrappers.agent_game import AgentGame, derive_seeds
from continual_hackatari.wrappers.config import check_string, game_config
from continual_hackatari.wrappers.errors import GameError, ModificationError, WorkerError
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

ROOT = Path(__file__).resolve().parent.parent


def make(env_id="ALE/Breakout-v5", num_envs=3, num_workers=0, num_groups=1, copy=True, **settings):
    config, _ = game_config(env_id, **settings)
    return ModifiedVectorEnv(config, num_envs, num_workers=num_workers, num_groups=num_groups, copy=copy)


def play(envs, steps, switches=None, seed=0):
    """Play random actions; returns everything that came back."""
    actions = np.random.default_rng(seed)
    seen = []
    for step in range(steps):
        if step in (switches or {}):
            observation, info = envs.set_modifications(*switches[step])
            seen.append((observation.copy(), info.get("games", [])))
        result = envs.step(actions.integers(envs.single_action_space.n, size=envs.num_envs))
        seen.append(
            (
                *[np.copy(array) for array in result[:4]],
                result[4].get("games", []),
                result[4].get("_final_obs", np.zeros(0)),
            )
        )
    return seen


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


SLOW = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_workers", "num_groups"), [(2, 2), *(pytest.param(*split, marks=SLOW) for split in ((1, 1), (2, 1), (3, 1)))]
)
def test_the_number_of_workers_and_groups_changes_nothing(num_workers, num_groups):
    switches = {
        0: ("", "reset"),
        40: ("color_all_blocks_red", "reset"),
        70: ("right_drift", "episode"),
        110: ("left_drift", "live"),
    }
    with_workers = make(num_envs=5, num_workers=num_workers, num_groups=num_groups, seed=3)
    in_process = make(num_envs=5, num_workers=0, seed=3)
    try:
        assert len(with_workers.worker_pids()) == num_workers
        assert_same(play(with_workers, 150, switches), play(in_process, 150, switches))
    finally:
        with_workers.close()
        in_process.close()


@pytest.mark.slow
def test_random_modifications_are_seeded_per_environment():
    switches = {0: ("stop_random_car", "reset")}
    runs = []
    for seed, num_workers in ((1, 2), (1, 0), (2, 0)):
        envs = make("ALE/Freeway-v5", num_envs=2, num_workers=num_workers, seed=seed)
        runs.append(play(envs, 60, switches))
        envs.close()
    assert_same(runs[0], runs[1])
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(runs[0], runs[2], strict=True))
    final = runs[0][-1][0]
    assert not np.array_equal(final[0], final[1]), "two environments must not share their randomness"


def test_it_is_a_gymnasium_vector_environment():
    envs = make(num_envs=2)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    observation, _ = envs.reset()
    assert observation.dtype == np.uint8
    assert observation.shape == (2, 4, 84, 84)
    assert envs.observation_space.contains(observation)
    assert envs.action_space.contains(np.array([0, 1]))
    envs.close()


@NEEDS_OCATARI
def test_object_features_are_numbers_in_their_space():
    features = make("ALE/Freeway-v5", num_envs=2, obs_mode="obj")
    observation, _ = features.reset()
    assert observation.dtype == np.float32
    assert features.observation_space.contains(observation)
    features.close()


class Interrupting:
    """Stands in for what a worker's answers are awaited with: Ctrl-C comes while the first one is awaited."""

    def __init__(self, readable):
        self.readable, self.calls = readable, 0

    def poll(self, milliseconds):
        self.calls += 1
        if self.calls == 1:
            raise KeyboardInterrupt
        return self.readable.poll(milliseconds)


def interrupt_next_answer(envs, worker, monkeypatch):
    monkeypatch.setattr(worker, "_readable", Interrupting(worker._readable))


@pytest.mark.slow
@pytest.mark.parametrize("which", [pytest.param(0, marks=SLOW), 1])
@pytest.mark.parametrize(
    "interrupted", ["step", *(pytest.param(n, marks=SLOW) for n in ("reset", "set_modifications"))]
)
def test_after_an_interrupted_call_only_a_reset_goes_on_and_no_old_answer_is_taken_for_a_new_one(
    interrupted, which, monkeypatch
):
    envs, fresh = make(num_envs=4, num_workers=2, num_groups=2), make(num_envs=4, seed=5)
    calls = {
        "step": lambda: envs.step(np.ones(4, int)),
        "reset": envs.reset,
        "set_modifications": lambda: envs.set_modifications("right_drift", "episode"),
    }
    try:
        envs.reset()
        play(envs, 3)
        interrupt_next_answer(envs, envs._workers[which], monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            calls[interrupted]()
        for call in (calls["step"], calls["set_modifications"], envs.get_state, envs.cut_games, envs.step_wait):
            with pytest.raises(ResetNeeded, match="interrupted"):
                call()
        observation, _ = envs.reset(seed=5, options={"modifications": "left_drift"})
        expected, _ = fresh.set_modifications("left_drift", "reset")
        assert np.array_equal(observation, expected)
        assert_same(play(envs, 150), play(fresh, 150))
    finally:
        envs.close()
        fresh.close()


@pytest.mark.slow
def test_an_interruption_in_the_middle_of_a_message_ends_the_workers(monkeypatch):
    envs = make(num_envs=2, num_workers=2)
    pids = envs.worker_pids()
    envs.reset()

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(envs._workers[1]._pipe, "recv_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        envs.step(np.zeros(2, int))
    with pytest.raises(WorkerError, match="interrupted"):
        envs.reset()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    envs.close()


def test_an_interrupted_step_in_this_process_needs_a_reset_too(monkeypatch):
    envs, fresh = make(num_envs=2), make(num_envs=2, seed=1)
    envs.reset()

    def interrupted(game, action):
        if game.index == 1:
            raise KeyboardInterrupt
        return whole(game, action)

    whole = AgentGame.step
    with monkeypatch.context() as patch:
        patch.setattr(AgentGame, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            envs.step(np.ones(2, int))
    with pytest.raises(ResetNeeded, match="interrupted"):
        envs.step(np.ones(2, int))
    assert np.array_equal(envs.reset(seed=1)[0], fresh.reset()[0])
    assert_same(play(envs, 60), play(fresh, 60))


def test_calls_come_in_an_order_that_makes_sense():
    envs = make(num_envs=4, num_workers=2, num_groups=2)
    actions = np.ones(2, int)
    try:
        for call in (lambda: envs.step(np.ones(4, int)), lambda: envs.step_async(actions, 1)):
            with pytest.raises(ResetNeeded, match="`reset`"):
                call()
        with pytest.raises(ResetNeeded, match="live"):
            envs.set_modifications("right_drift", "live")
        envs.reset()
        with pytest.raises(NoAsyncCallError, match="group 1"):
            envs.step_wait(1)
        envs.step_async(actions, 1)
        for call in (
            lambda: envs.step(np.ones(4, int)),
            lambda: envs.step_async(actions, 1),
            lambda: envs.set_modifications("right_drift", "episode"),
            envs.get_state,
            envs.cut_games,
        ):
            with pytest.raises(AlreadyPendingCallError, match="group 1"):
                call()
        envs.step_async(actions, 0)
        envs.step_wait(1)
        envs.step_wait(0)
        with pytest.raises(NoAsyncCallError):
            envs.step_wait(0)
        envs.step_async(actions, 0)
        envs.reset()  # drops it
        envs.step(np.ones(4, int))
    finally:
        envs.close()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_reset_finishes_the_step_in_flight(num_workers):
    """Whoever plays it: the game that is cut has it, and what is played from then on follows from it."""
    with closing(make(num_envs=2, num_workers=num_workers, num_groups=2)) as envs, closing(make(num_envs=2)) as plain:
        for each in (envs, plain):
            each.reset()
            play(each, 5)
        envs.step_async(np.ones(1, int), 1)
        envs.step_async(np.ones(1, int), 0)
        plain.step(np.ones(2, int))
        (seen, cut), (expected, cut_there) = envs.reset(), plain.reset()
        assert [game.length for game in cut["games"]] == [6, 6]
        assert cut == cut_there
        assert np.array_equal(seen, expected)
        assert_same(play(envs, 5), play(plain, 5))


def test_a_switch_that_waits_for_the_next_game_begins_none():
    envs, fresh = make(num_envs=1), make(num_envs=1)
    envs.set_modifications("right_drift", "episode")
    with pytest.raises(ResetNeeded, match="no game has begun"):
        envs.step(np.ones(1, int))
    expected, _ = fresh.set_modifications("right_drift", "reset")
    assert np.array_equal(envs.reset()[0], expected)
    assert_same(play(envs, 5), play(fresh, 5))


@pytest.mark.slow
def test_groups_can_be_awaited_in_any_order():
    runs = []
    for order in ((0, 1), (1, 0)):
        envs = make(num_envs=4, num_workers=2, num_groups=2, seed=2)
        envs.set_modifications("", "reset")
        actions = np.random.default_rng(0)
        run = []
        for _ in range(300):
            chosen = actions.integers(envs.num_actions, size=4)
            for group in (0, 1):
                envs.step_async(chosen[envs.groups[group]], group)
            records = {group: envs.step_wait(group) for group in order}
            run.append((*(np.copy(array) for array in envs.arrays), records[0], records[1]))
        envs.close()
        runs.append(run)
    assert any(step[-1] for step in runs[0]), "no game ended"
    assert_same(*runs)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=SLOW)])
def test_a_reset_with_a_seed_plays_what_a_new_environment_plays(num_workers):
    settings = {"num_envs": 3, "env_id": "ALE/Freeway-v5"}
    used, fresh = make(num_workers=num_workers, seed=8, **settings), make(seed=21, **settings)
    try:
        used.set_modifications("all_black_cars", "reset")
        play(used, 70)
        observation, info = used.reset(seed=21, options={"modifications": "stop_random_car"})
        assert [(game.modification, game.cut, game.length) for game in info["games"]] == [
            ("all_black_cars", True, 70)
        ] * 3
        assert np.array_equal(observation, fresh.set_modifications("stop_random_car", "reset")[0])
        assert_same(play(used, 120), play(fresh, 120))
        assert used.modifications == ("stop_random_car",)
        used.reset()  # the string stays, the generators go on
        fresh.reset()
        assert_same(play(used, 60), play(fresh, 60))
    finally:
        used.close()
        fresh.close()


@pytest.mark.slow
def test_a_reset_with_a_seed_counts_evaluation_games_from_the_first():
    config = replace(game_config("ALE/Breakout-v5", episodic_life=False, frameskip=40)[0], reseed_every_game=True)
    runs = []
    envs = ModifiedVectorEnv(config, 2, num_workers=0)
    for seed in (4, 4, 0):
        envs.reset(seed=seed)
        runs.append(play(envs, 25))
    assert_same(runs[0], runs[1])
    assert [game.number for result in runs[1] for game in result[4] if game.env == 0][:1] == [0]
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(runs[0], runs[2], strict=True))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "`seed`.*-1"),
        ({"seed": [1, 2]}, "`seed`.*one for all games or a list of 1.*a list of 2"),
        ({"seed": [-1]}, "`seed`.*-1"),
        ({"seed": True}, "`seed`"),
        ({"options": "right_drift"}, "`options` must be a dict"),
        ({"options": {"modification": "right_drift"}}, "'modification' is unknown.*`modifications`"),
        ({"options": {"modifications": ["right_drift"]}}, "one string"),
        ({"options": {"modifications": "right_drft"}}, "did you mean right_drift"),
    ],
)
def test_a_reset_that_cannot_be_is_refused_and_changes_nothing(arguments, words):
    envs, undisturbed = make(num_envs=1), make(num_envs=1)
    for each in (envs, undisturbed):
        each.reset()
        play(each, 5)
    with pytest.raises((GameError, ModificationError), match=words):
        envs.reset(**arguments)
    assert_same(play(envs, 20), play(undisturbed, 20))


@pytest.mark.parametrize(
    ("actions", "words"),
    mostly_slow(
        [
            ([0, 4], "go from 0 to 3, but they are \\[0, 4\\]"),
            ([-1, 0], "go from 0 to 3"),
            ([2**63, 0], "go from 0 to 3|whole numbers"),
            ([0], "2 whole numbers.*shape is \\(1,\\)"),
            ([[0, 1]], "shape is \\(1, 2\\)"),
            (1, "shape is \\(\\)"),
            ([0.0, 1.0], "type float64"),
            ([True, False], "type bool"),
        ],
        4,
    ),
)
@pytest.mark.parametrize("num_groups", [pytest.param(1, marks=SLOW), 2])
def test_actions_that_the_game_does_not_have_are_refused_before_anything_is_played(actions, words, num_groups):
    envs, undisturbed = make(num_envs=2, num_groups=num_groups), make(num_envs=2)
    envs.reset()
    undisturbed.reset()
    with pytest.raises(GameError, match=words):
        envs.step(actions)
    assert_same(play(envs, 5), play(undisturbed, 5))
    assert np.array_equal(envs.step([1, 0])[0], undisturbed.step(np.array([1, 0], np.uint8))[0])


def test_copies_stay_and_views_move():
    for copy in (True, False):
        envs = make(num_envs=1, copy=copy)
        before, _ = envs.reset()
        kept = before.copy()
        for _ in range(5):
            envs.step(np.array([1]))
        assert np.array_equal(before, kept) == copy
        envs.close()


def test_reset_switch_cuts_games_and_starts_new_ones():
    envs = make("ALE/Freeway-v5", num_envs=2, num_workers=2)
    _, info = envs.set_modifications("all_white_cars", "reset")
    assert info["games"] == []
    play(envs, 30)
    _, info = envs.set_modifications("all_black_cars", "reset")
    assert [(r.env, r.modification, r.cut, r.length) for r in info["games"]] == [
        (0, "all_white_cars", True, 30),
        (1, "all_white_cars", True, 30),
    ]
    _, info = envs.set_modifications("all_red_cars", "reset")
    assert info["games"] == [], "a game of no steps is no game"
    envs.close()


@pytest.mark.slow
def test_episode_switch_waits_for_each_game():
    envs = make("ALE/Breakout-v5", num_envs=2, num_workers=1, frameskip=20)
    envs.set_modifications("", "reset")
    play(envs, 5)
    before = envs.step(np.zeros(2, int))[0]
    observation, info = envs.set_modifications("color_all_blocks_red", "episode")
    assert np.array_equal(before, observation)
    assert info["games"] == []
    games = [game for result in play(envs, 160) for game in result[4]]
    for env in (0, 1):
        own = [game.modification for game in games if game.env == env]
        assert own[0] == ""
        assert len(own) > 1
        assert set(own[1:]) == {"color_all_blocks_red"}
        assert not any(game.cut for game in games)
    envs.close()


def test_live_switch_acts_in_mid_game():
    envs = make("ALE/Freeway-v5", num_envs=1)
    envs.set_modifications("all_black_cars", "reset")
    play(envs, 10)
    game = envs._host._games[0]
    number = game.game.ale.getEpisodeFrameNumber()
    envs.set_modifications("all_red_cars", "live")
    envs.step(np.zeros(1, int))
    assert game.game.ale.getEpisodeFrameNumber() == number + 4, "the game goes on"
    assert set(game.game.view.get_ram()[77:87]) == {66}
    envs.set_modifications("", "live")
    record = envs.cut_games()[0]
    assert (record.modification, record.live_switches) == ("", 2)
    envs.close()


def test_scores_are_of_whole_games_below_episodic_life():
    """Lives end training episodes; the recorded score is the sum of the emulator's rewards over the whole game."""
    envs = make("ALE/Breakout-v5", num_envs=1, episodic_life=True, game_start="none", fire_reset=False, seed=5)
    envs.set_modifications("", "reset")
    emulator_seed, _, _ = derive_seeds(5, 0)
    ale = plain_emulator("breakout", emulator_seed)
    actions = np.random.default_rng(1)
    score = episodes = lost = 0
    records = []
    while not records:
        action = int(actions.integers(4))
        _, _, terminated, _, info = envs.step(np.array([action]))
        lives = ale.lives()
        score += sum(ale.act(ale.getMinimalActionSet()[action]) for _ in range(4))
        lost += lives - ale.lives()
        episodes += int(terminated[0])
        records = info.get("games", [])
    assert ale.game_over()
    (record,) = records
    assert (record.score, record.lives, record.cut) == (score, 5, False)
    assert episodes == 5, "each of the five lives was a training episode"
    assert sum(record.life_scores) == score
    assert sum(record.life_lengths) == record.length
    assert len(record.life_scores) == 5
    envs.close()


def plain_emulator(rom, seed):
    from ale_py import roms

    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.25)
    ale.setInt("random_seed", seed)
    ale.loadROM(roms.get_rom_path(rom))
    ale.reset_game()
    return ale


def test_without_episodic_life_only_game_over_terminates():
    envs = make("ALE/Breakout-v5", num_envs=1, episodic_life=False, frameskip=16)
    envs.set_modifications("", "reset")
    results = play(envs, 175)
    ends = sum(int(result[2][0]) for result in results)
    games = sum(len(result[4]) for result in results)
    assert ends == games >= 1
    envs.close()


def test_final_observation_is_the_last_of_the_old_episode():
    envs = make("ALE/Breakout-v5", num_envs=2, fire_reset=False, copy=True)
    previous, _ = envs.set_modifications("", "reset")
    actions = np.random.default_rng(0)
    ended = games = 0
    while games < 2:  # lives and whole games
        observation, _, terminated, _, info = envs.step(actions.integers(4, size=2))
        games += len(info.get("games", ()))
        for i in np.flatnonzero(terminated):
            assert info["_final_obs"][i]
            # the newest three frames of the step before are the oldest three of the final observation
            assert np.array_equal(info["final_obs"][i][:3], previous[i][1:])
            ended += 1
        previous = observation
    assert ended >= 10
    envs.close()


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=SLOW), pytest.param(2, marks=SLOW), 3])
def test_the_time_limit_truncates_and_keeps_the_last_observation(num_workers):
    config, _ = game_config("ALE/Freeway-v5", game_start="none")
    config = replace(config, max_num_frames_per_episode=100)
    envs = ModifiedVectorEnv(config, 4, num_workers=num_workers)
    envs.set_modifications("", "reset")
    for _ in range(24):
        previous = envs.step(np.ones(4, int))[0]
    envs.step_async(np.ones(4, int))
    records = envs.step_wait()
    arrays = envs.arrays
    assert [record.env for record in records] == [0, 1, 2, 3], "in the order of the environments, whoever plays them"
    assert [(record.length, record.cut) for record in records] == [(25, False)] * 4
    assert arrays.truncated.all()
    assert not arrays.terminated.any()
    assert np.array_equal(arrays.final_observations[:, :3], previous[:, 1:])
    assert not np.array_equal(arrays.final_observations, arrays.observations)
    envs.close()


def test_games_start_with_noops_and_fire(monkeypatch):
    config, _ = game_config("ALE/Breakout-v5", game_start="frames", seed=1)
    observation = np.zeros((4, 84, 84), np.uint8)
    game = AgentGame(config, 0, observation, observation.copy())
    frames = []
    for _ in range(40):
        game.start_game()
        frames.append(game.game.ale.getEpisodeFrameNumber() - 4)  # FIRE was held for one agent step
    assert min(frames) >= 1
    assert max(frames) <= 30
    assert len(set(frames)) > 10
    quiet = AgentGame(replace(config, game_start="none", fire_reset=False), 0, observation, observation.copy())
    quiet.start_game()
    assert quiet.game.ale.getEpisodeFrameNumber() == 0


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=SLOW)])
@pytest.mark.parametrize(("total", "games"), [(3, [(0, 0), (1, 0), (0, 1)]), (None, [(0, 0), (1, 0), (0, 1), (1, 1)])])
def test_no_more_games_are_played_than_were_asked_for(total, games, num_workers):
    config = game_config("ALE/Breakout-v5", time_limit=60, game_start="none", fire_reset=False)[0]
    envs = ModifiedVectorEnv(replace(config, reseed_every_game=True), 2, num_workers=num_workers)
    for _ in range(2):  # a switch begins games everywhere
        envs.restart_numbering(total)
        envs.set_modifications("", "reset")
        results = [envs.step(np.array([2, 3])) for _ in range(40)]  # games of 15 steps
        ended = [(game.env, game.number) for result in results for game in result[4].get("games", ())]
        assert ended == games
        of_1 = [(observations[1].tobytes(), truncated[1]) for observations, _, _, truncated, _ in results]
        assert (len(set(of_1[15:])) == 1) == (total == 3)  # it waits, or plays its second game
        assert not results[-1][1].any(), "no reward"
        assert not results[-1][2].any(), "and no end"
        assert not results[-1][3].any(), "comes again from one that waits"
        assert len(envs.cut_games()) == (0 if total == 3 else 2)
    envs.reset(seed=1)
    ended = [len(envs.step(np.array([2, 3]))[4].get("games", ())) for _ in range(40)]
    assert sum(ended) == 4, "another seed counts from 0 again, without an end"
    envs.close()


@pytest.mark.slow
def test_evaluation_games_are_seeded_by_their_number_alone():
    config, _ = game_config("ALE/Breakout-v5", episodic_life=False, frameskip=16, seed=9)
    config = replace(config, reseed_every_game=True)
    scores = {}
    for num_envs in (1, 2):
        envs = ModifiedVectorEnv(config, num_envs, num_workers=0)
        envs.set_modifications("", "reset")
        found = {}
        while not {0, 1, 2, 3} <= found.keys():
            for game in envs.step(np.full(num_envs, 2))[4].get("games", ()):
                found.setdefault(game.env + game.number * num_envs, (game.score, game.length))
        scores[num_envs] = [found[k] for k in range(4)]
        envs.close()
    assert scores[1] == scores[2]
    assert len(set(scores[1])) > 1


def test_a_bare_name_means_the_sticky_v5_game():
    config, notes = game_config("Freeway")
    assert config.env_id == "ALE/Freeway-v5"
    assert config.repeat_action_probability == 0.25
    assert notes == ["`env_id` Freeway means ALE/Freeway-v5 (sticky actions with probability 0.25)"]
    assert game_config("FreewayNoFrameskip-v4")[0].repeat_action_probability == 0.0


@pytest.mark.parametrize(
    ("env_id", "settings", "words"),
    [
        ("ALE/Freway-v5", {}, ["env_id", "ALE/Freway-v5", "ALE/Freeway-v5"]),
        ("CartPole-v1", {}, ["CartPole-v1", "not an Atari game"]),
        ("ALE/Freeway-v5", {"backend": "Hackatari"}, ["backend", "Hackatari", "did you mean HackAtari"]),
        ("ALE/Freeway-v5", {"obs_mode": "rgb"}, ["obs_mode", "dqn, obj"]),
        pytest.param("ALE/Freeway-v5", {"backend": "Gym", "obs_mode": "obj"}, ["Gym", "OCAtari"], marks=NEEDS_OCATARI),
        pytest.param("ALE/Qbert-v5", {"obs_mode": "obj"}, ["Qbert", "--obs_mode dqn"], marks=NEEDS_OCATARI),
        ("ALE/Freeway-v5", {"reward_file": "missing.py"}, ["new_rf", "missing.py"]),
        ("ALE/Freeway-v5", {"reward_file": "x.py", "backend": "Gym"}, ["new_rf", "Gym"]),
        *(
            ("ALE/Freeway-v5", {name: value}, [f"`{name}`", f"whole number from {low}", f"it is {value!r}"])
            for name, low in {"frameskip": 1, "window": 1, "noop_max": 1, "time_limit": 1, "seed": 0}.items()
            for value in (low - 1, -4, 4.0, "4", True)
        ),
        *(("ALE/Freeway-v5", {"sticky": value}, ["`sticky`", "0 to 1", repr(value)]) for value in (-0.1, 1.1, "0")),
        ("ALE/Freeway-v5", {"sticky": float("nan")}, ["`sticky`"]),
    ],
)
def test_impossible_games_are_one_sentence(env_id, settings, words):
    with pytest.raises(GameError) as raised:
        game_config(env_id, **settings)
    assert all(word in str(raised.value) for word in words)
    assert "\n" not in str(raised.value)


def test_other_backends_play_the_unmodified_game_only():
    config, _ = game_config("ALE/Freeway-v5", backend="OCAtari")
    assert check_string(config, " ") == ("", [])
    with pytest.raises(ModificationError, match="--backend HackAtari"):
        check_string(config, "all_black_cars")


@NEEDS_OCATARI
def test_reward_file_replaces_the_reward_and_leaves_the_score(tmp_path):
    path = tmp_path / "climb.py"
    path.write_text(
        "def reward_function(env):\n    return float(env.get_ram()[14]) + 1000 * env.org_reward + len(env.objects)\n"
    )
    envs = make("ALE/Freeway-v5", num_envs=1, reward_file=str(path))
    envs.set_modifications("", "reset")
    rewards = [envs.step(np.array([1]))[1][0] for _ in range(40)]
    objects = len(envs._host._games[0].game.view.objects)
    assert rewards[-1] == envs._host._games[0].game.view.get_ram()[14] + objects
    assert max(rewards) > rewards[0] + 20, "UP climbs, until a car comes"
    record = envs.cut_games()[0]
    assert record.score == 0
    envs.close()


def test_an_exception_in_a_reward_file_stops_the_run_with_its_traceback(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def reward_function(env):\n    return 1 / 0\n")
    envs = make("ALE/Freeway-v5", num_envs=2, num_workers=1, reward_file=str(path))
    envs.set_modifications("", "reset")
    with pytest.raises(WorkerError, match="ZeroDivisionError") as raised:
        envs.step(np.zeros(2, int))
    assert "broken.py" in str(raised.value)
    envs.close()


def test_a_dead_worker_is_named():
    envs = make("ALE/Freeway-v5", num_envs=2, num_workers=2)
    envs.set_modifications("all_black_cars", "reset")
    os.kill(envs.worker_pids()[1], signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"worker 1 \(environments 1 of ALE/Freeway-v5\).*all_black_cars"):
        play(envs, 3)
    envs.close()


@pytest.mark.slow
@NEEDS_OCATARI
def test_workers_end_with_a_killed_parent_and_never_load_torch():
    program = textwrap.dedent(
        """
        import sys
        from continual_hackatari.wrappers.config import game_config
        from continual_hackatari.wrappers.vector import ModifiedVectorEnv
        envs = ModifiedVectorEnv(game_config("ALE/Freeway-v5", obs_mode="obj")[0], 2, num_workers=2)
        envs.set_modifications("all_black_cars", "reset")
        print(*envs.worker_pids(), flush=True)
        sys.stdin.read()
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    for pid in pids:
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
    parent.kill()
    parent.wait()
    wait_until_gone(pids)


def proportional_memory(pids):
    """Resident memory of the processes in bytes, shared pages counted once per process."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") for pid in pids)


@pytest.mark.parametrize("switches", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_switches_start_no_process_and_leak_nothing(switches, monkeypatch):
    envs = make("ALE/Freeway-v5", num_envs=2, num_workers=2, noop_max=5)
    strings = ["all_black_cars", "stop_random_car", "", "all_white_cars align_all_cars"]
    pids = envs.worker_pids()
    everyone = [os.getpid(), *pids]

    def switch(number):
        for k in range(number):
            envs.set_modifications(strings[k % 4], ("reset", "live", "episode")[k % 3])
            envs.step(np.ones(2, int))

    switch(50)  # caches fill
    gc.collect()  # what tests before it have left
    started = workers_from_now_on(monkeypatch)
    grown, opened = [], []
    for _ in range(3):  # what leaks does so every time; what else this process keeps may grow once
        before, files = proportional_memory(everyone), len(os.listdir("/proc/self/fd"))
        switch(switches)
        grown.append(proportional_memory(everyone) - before)
        opened.append(len(os.listdir("/proc/self/fd")) - files)
    assert envs.worker_pids() == pids
    assert started == []
    assert min(opened) <= 0
    assert min(grown) < 6e6
    envs.close()


@pytest.mark.slow
def test_video_of_the_first_game_after_a_switch(tmp_path):
    import cv2

    envs = make("ALE/Breakout-v5", num_envs=2, num_workers=1)
    envs.record_next_game(tmp_path / "videos" / "step000_color_all_blocks_blue")
    envs.set_modifications("color_all_blocks_blue", "reset")
    games = []
    while not any(game.env == 0 for game in games):
        games += [game for result in play(envs, 50) for game in result[4]]
    envs.record_next_game(tmp_path / "videos" / "step001_no_modif")
    envs.set_modifications("", "reset")
    play(envs, 5)
    envs.close()
    first = next(game for game in games if game.env == 0)
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["step000_color_all_blocks_blue.mp4"], (
        "5 steps are no video"
    )
    video = cv2.VideoCapture(str(tmp_path / "videos" / "step000_color_all_blocks_blue.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == first.length - 1  # all but the game-over frame
    assert (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (320, 420)
    assert video.get(cv2.CAP_PROP_FPS) == 15
    ok, frame = video.read()
    blue, _, red = frame[120:160, 40:280].mean(axis=(0, 1))
    assert ok
    assert blue > red + 30, "the blocks are blue"


@pytest.mark.slow
@NEEDS_OCATARI
def test_an_object_environment_leaves_nothing_behind():
    """ocatari keeps a list that every environment shares, hackatari silences all warnings, pygame prints a banner."""
    program = """
        import sys, warnings
        before = list(warnings.filters)
        from continual_hackatari.wrappers.config import game_config
        from continual_hackatari.wrappers.vector import ModifiedVectorEnv
        for env_id, obs_mode in (("ALE/Freeway-v5", "obj"), ("ALE/Qbert-v5", "dqn")):
            envs = ModifiedVectorEnv(game_config(env_id, obs_mode=obs_mode)[0], 1, num_workers=0)
            observation, _ = envs.set_modifications("", "reset")
            envs.step(envs.action_space.sample())
            print(observation.shape[1:])
            envs.close()
        assert warnings.filters[-len(before):] == before and not any(f[0] == "ignore" and f[2] is UserWarning
            for f in warnings.filters[: len(warnings.filters) - len(before)]), warnings.filters
        assert "hackatari" not in sys.modules
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert result.returncode == 0, result.stderr
    shapes = result.stdout.splitlines()
    assert len(shapes) == 2, "no banner, one line per environment"
    assert shapes[1] == "(4, 84, 84)"
    assert result.stderr == ""


def test_a_video_that_cannot_be_written_stops_nothing(tmp_path, capfd):
    (tmp_path / "videos").write_text("a file where the folder should be")
    envs = make("ALE/Breakout-v5", num_envs=1, num_workers=0)
    envs.record_next_game(tmp_path / "videos" / "step000")
    envs.set_modifications("", "reset")
    play(envs, 100)
    envs.close()
    assert "step000.mp4 could not be written" in capfd.readouterr().err


def test_a_worker_that_cannot_start_takes_the_others_with_it(tmp_path, monkeypatch):
    path = tmp_path / "reward.py"
    path.write_text("def reward_function(env):\n    return 0.0\n")
    config, _ = game_config("ALE/Freeway-v5", reward_file=str(path))
    path.write_text("def reward_function(env):\n    return 1.0\n")
    started = workers_from_now_on(monkeypatch)
    with pytest.raises(GameError, match=r"^`new_rf`: \S+ holds another reward than that recorded"):
        ModifiedVectorEnv(config, 4, num_workers=2)
    assert len(started) == 2
    assert all(worker.returncode is not None for worker in started), "ended, and waited for"
