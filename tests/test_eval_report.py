"""What eval.py reports beyond the scores, against games played on the bare emulator and against closed forms."""

import csv
import functools
import json
import math
import os
import shutil
from dataclasses import replace

import ale_py
import numpy as np
import pytest
import torch
from conftest import mostly_slow, read_csv
from test_eval import (
    BREAKOUT_ACTIONS,
    FEW,
    LivelyAgent,
    breakout_by_hand,
    evaluate,
    make_checkpoint,
    random_agent,
    refused,
)

from continual_hackatari import eval as evaluation
from continual_hackatari.agents import make_agent
from continual_hackatari.reporting.statistics import statistics, without_nan
from continual_hackatari.reporting.tables import format_table
from continual_hackatari.training import playing, summary
from continual_hackatari.training.checkpoints import Checkpoint, load_checkpoint
from continual_hackatari.training.chosen_agents import unlike_agents
from continual_hackatari.training.evaluation_files import ValueTarget, value_error_of, value_target
from continual_hackatari.training.game_report import (
    Life,
    Trace,
    discounted_returns,
    failure_statistics,
    game_columns,
    known_returns,
    lives_of,
    value_error,
)
from continual_hackatari.wrappers.config import game_config

OLD_COLUMNS = ["modification", "game", "score", "length", "lives", "deterministic", "seed", "global_step"]
GAME_COLUMNS = ["lives_with_reward", "positive_life_ratio", "total_positive_events", "total_fire_presses"]
GAME_COLUMNS += ["avg_first_positive_step", "max_positive_streak", "mean_entropy"]
LIFE_COLUMNS = ["reward", "length", "positive_events", "first_positive_step", "fire_presses", "first_fire_step"]
LIFE_COLUMNS += ["max_positive_streak"]


@functools.cache
def lively_games(episodes=3, seed=2, max_frames=None):
    """Games of Breakout that `eval.play` plays with the lively agent."""
    game, _ = game_config("ALE/Breakout-v5", game_start="frames")
    if max_frames:
        game = replace(game, max_num_frames_per_episode=max_frames)
    settings = {"deterministic": True, "num_envs": 2, "num_workers": 0, "device": torch.device("cpu")}
    return playing.play(LivelyAgent(), game, [""], episodes=episodes, seed=seed, **settings)[""]


@functools.cache
def played_by_hand(number, seed=2):
    """The same game on the bare emulator, as lives: lists of (reward, FIRE, value, entropy), and each life's points."""
    ale, actions, act, window, points = breakout_by_hand(seed, number)
    lives = [([], [points])]
    while not ale.game_over():
        before, total = ale.lives(), sum(int(frame.sum()) for frame in window[-4:])
        action = actions[total % BREAKOUT_ACTIONS]
        reward = act(action, 4)
        lives[-1][0].append((reward, action == ale_py.Action.FIRE, total % 11, total % 7))
        lives[-1][1].append(reward)
        if 0 < ale.lives() < before:
            lives.append(([], [act(actions[1], 4)]))
    return lives


def longest_streak(rewards):
    best = streak = 0
    for reward in rewards:
        streak = streak + 1 if reward > 0 else 0
        best = max(best, streak)
    return best


@pytest.mark.slow
def test_every_life_as_on_the_bare_emulator():
    seen_events = 0
    for number, game in enumerate(lively_games()):
        by_hand = played_by_hand(number)
        expected = []
        for steps, points in by_hand:
            positive = [t for t, step in enumerate(steps, 1) if step[0] > 0]
            fires = [t for t, step in enumerate(steps, 1) if step[1]]
            first_positive, first_fire = (times[0] if times else None for times in (positive, fires))
            streak = longest_streak([step[0] for step in steps])
            row = (sum(points), len(steps), len(positive), first_positive, len(fires), first_fire, streak)
            expected.append(row)
            seen_events += len(positive)
        assert [tuple(life) for life in game.lives] == expected
        all_steps = np.array([step for steps, _ in by_hand for step in steps], dtype=float)
        assert np.array_equal(game.trace.values, all_steps[:, 2])
        assert np.array_equal(game.trace.entropies, all_steps[:, 3])
        columns = game_columns(game.trace, game.lives)
        with_reward = [row for row in expected if row[0] > 0]
        firsts = [row[3] for row in expected if row[3] is not None]
        assert columns == {
            "lives_with_reward": len(with_reward),
            "positive_life_ratio": len(with_reward) / 5,
            "total_positive_events": sum(row[2] for row in expected),
            "total_fire_presses": sum(row[4] for row in expected),
            "avg_first_positive_step": np.mean(firsts) if firsts else None,
            "max_positive_streak": max(row[6] for row in expected),
            "mean_entropy": pytest.approx(all_steps[:, 3].mean()),
        }
    assert seen_events > 2  # or this test says nothing about them


def returns_by_hand(number, gamma, episodic_life, scale):
    """Discounted sums, each added up on its own."""
    lives = [[scale(step[0]) for step in steps] for steps, _ in played_by_hand(number)]
    episodes = lives if episodic_life else [[reward for life in lives for reward in life]]
    return [
        sum(gamma**k * reward for k, reward in enumerate(episode[t:]))
        for episode in episodes
        for t in range(len(episode))
    ]


@pytest.mark.parametrize("episodic_life", mostly_slow([True, False], 2))
@pytest.mark.parametrize(
    ("scaling", "variance", "scale"),
    mostly_slow(
        [
            ("normalize", 0.0025, lambda reward: min(reward * 20, 10)),
            ("normalize", 4.0, lambda reward: reward / 2),
            ("none", None, float),
            ("clip", None, np.sign),
        ],
        4,
    ),
)
def test_value_error_as_added_up_by_hand(scaling, variance, scale, episodic_life):
    target = ValueTarget(0.95, scaling, variance, episodic_life)
    report = value_error_of(lively_games(), target)
    returns = np.concatenate([returns_by_hand(number, 0.95, episodic_life, scale) for number in range(3)])
    values = np.concatenate([game.trace.values for game in lively_games()])
    assert report["steps"] == len(values) == len(returns)
    assert report["mean_error"] == pytest.approx(np.mean(values - returns), rel=1e-5)
    assert report["rmse"] == pytest.approx(np.sqrt(np.mean((values - returns) ** 2)), rel=1e-5)
    assert report["explained_variance"] == pytest.approx(1 - np.var(returns - values) / np.var(returns), rel=1e-5)
    assert report["correlation"] == pytest.approx(np.corrcoef(values, returns)[0, 1], rel=1e-4)


@pytest.mark.parametrize(("scaling", "variance"), [(None, None), ("normalize", None)])
def test_without_the_scale_only_the_correlation_is_told(scaling, variance):
    report = value_error_of(lively_games(), ValueTarget(0.95, scaling, variance, True))
    known = value_error_of(lively_games(), ValueTarget(0.95, "none", None, True))
    assert [report[name] for name in ("mean_error", "rmse", "explained_variance")] == [None] * 3
    assert report["correlation"] == known["correlation"]


def test_returns_in_closed_form():
    gamma = 0.9
    returns, left = discounted_returns(np.ones(7), [3, 4], gamma)
    expected = [3, 2, 1, 4, 3, 2, 1]
    assert left.tolist() == expected
    assert returns == pytest.approx([(1 - gamma**n) / (1 - gamma) for n in expected])


def test_value_error_in_closed_form():
    returns = np.array([0.0, 1.0, 2.0, 5.0])
    perfect = {"mean_error": 0, "rmse": 0, "explained_variance": 1, "correlation": 1}
    assert value_error(returns, returns) == pytest.approx(perfect)
    assert value_error(returns + 3, returns) == pytest.approx({**perfect, "mean_error": 3, "rmse": 3})
    doubled = value_error(2 * returns, returns)  # the error is the return itself
    assert doubled == pytest.approx(
        {"mean_error": 2, "rmse": math.sqrt(7.5), "explained_variance": 0, "correlation": 1}
    )
    constant = value_error(np.full(4, 2.0), returns)
    assert (constant["mean_error"], constant["explained_variance"], constant["correlation"]) == (0, 0, None)
    assert value_error(returns, np.zeros(4))["explained_variance"] is None
    assert set(value_error(np.zeros(0), np.zeros(0)).values()) == {None}


def test_what_a_time_limit_cuts_off_is_not_taken_for_nothing():
    (game,) = lively_games(episodes=1, max_frames=600)
    (whole, *_) = lively_games()
    assert game.trace.cut_short
    assert not whole.trace.cut_short
    assert game.record.length < whole.record.length
    near_end = min(44, game.record.life_lengths[-1] + 1) - 1  # 0.9 ** 44 < 1 % < 0.9 ** 43
    report = value_error_of([game], ValueTarget(0.9, "none", None, True))
    assert report["steps"] == game.record.length - near_end
    left = np.array([2, 1, 3, 2, 1])
    assert known_returns(left, 3, 0.1, True).tolist() == [True, True, True, True, False]
    assert known_returns(left, 3, 1.0, True).tolist() == [True, True, False, False, False]
    assert known_returns(left, 3, 1.0, False).all()


def test_exactly_one_percent_is_known_however_the_processor_rounds():
    for steps in range(1, 200):
        gamma = 0.01 ** (1 / steps)
        for near in (np.nextafter(gamma, 0), gamma, np.nextafter(gamma, 1)):
            known = known_returns(np.arange(steps, -1, -1), steps + 1, near, True)
            assert known.tolist() == [True] + [False] * steps


# ------------------------------------------------------------------------------------------------ made-up lives


def test_streaks_and_first_steps_end_with_their_life():
    flags = np.array([0, 0, 1, 1, 0], bool)
    trace = Trace(np.array([0.0, 2.0, 1.0, 3.0, -1.0]), flags, np.zeros(5), np.array([0, 1, 2, 3, 4.0]), False)
    first, second = lives_of(trace, [4.0, 2.0], [3, 2])  # one point more in the first: it fell between steps
    assert first == Life(4.0, 3, 2, 2, 1, 3, 2)
    assert second == Life(2.0, 2, 1, 1, 1, 1, 1)
    assert game_columns(trace, [first, second])["avg_first_positive_step"] == 1.5
    assert game_columns(trace, [first, second])["mean_entropy"] == 2


def test_lives_without_reward():
    def life(reward, length, fires):
        return Life(reward, length, 0, None, fires, None, 0)

    games = [[life(3, 10, 9), life(0, 20, 2)], [life(-1, 40, 3), life(0, 30, 4), life(0.5, 7, 0)]]
    report = failure_statistics(games)
    longest = report.pop("longest_zero_reward_lives")
    assert report == {
        "zero_reward_lives": 3,
        "zero_reward_mean_length": 30,
        "zero_reward_mean_fire": 3,
        "high_fire_zero_count": 2,
    }
    assert [(one["game_index"], one["life_index"], one["length"]) for one in longest] == [
        (1, 0, 40),
        (1, 1, 30),
        (0, 1, 20),
    ]
    assert failure_statistics([[life(1, 1, 9)]]) == {
        "zero_reward_lives": 0,
        "zero_reward_mean_length": None,
        "zero_reward_mean_fire": None,
        "high_fire_zero_count": 0,
        "longest_zero_reward_lives": [],
    }


def test_statistics():
    assert statistics([1, 2, 6]) == {"count": 3, "mean": 3, "stdev": pytest.approx(math.sqrt(7)), "min": 1, "max": 6}
    assert statistics([4]) == {"count": 1, "mean": 4, "stdev": None, "min": 4, "max": 4}
    assert statistics([])["count"] == 0
    assert without_nan({"a": [math.nan, (1, math.inf)], "b": "x"}) == {"a": [None, [1, None]], "b": "x"}


# ------------------------------------------------------------------------------------------------------ files


LOGITS = [0.0, math.log(2), 0.0, 0.0]  # probabilities 1/5, 2/5, 1/5, 1/5
ENTROPY = -(3 * 0.2 * math.log(0.2) + 0.4 * math.log(0.4))


def constant_agent():
    """A policy and a value that do not depend on what it sees."""
    agent = make_agent("PPO", (4, 84, 84), BREAKOUT_ACTIONS)
    with torch.no_grad():
        agent.actor.weight.zero_()
        agent.critic.weight.zero_()
        agent.actor.bias.copy_(torch.tensor(LOGITS))
        agent.critic.bias.fill_(0.75)
    return agent


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Folder of an evaluation with two seeds and two strings, of two games each."""
    folder = tmp_path_factory.mktemp("report")
    path = make_checkpoint(folder, constant_agent(), gamma=0.9, reward_scaling="none", deactivate_episodic_life=True)
    return evaluate(path, "--seeds", "7", "3", "--modifs", "no_modif, left_drift")


def test_files_agree_with_each_other(report):
    games, lives = read_csv(report / "games.csv"), read_csv(report / "per_life.csv")
    summary = json.loads((report / "summary.json").read_text())
    assert list(games[0]) == [*OLD_COLUMNS, *GAME_COLUMNS, "agent_path"]
    start = ["seed", "deterministic", "modification", "game_index", "life_index"]
    assert list(lives[0]) == [*start, *LIFE_COLUMNS, "global_step", "agent_path"]
    keys = [(seed, string, game) for seed in "73" for string in ("", "left_drift") for game in "01"]
    assert [(row["seed"], row["modification"], row["game"]) for row in games] == keys
    for key, row in zip(keys, games, strict=True):
        own = [life for life in lives if (life["seed"], life["modification"], life["game_index"]) == key]
        assert [life["life_index"] for life in own] == list("01234")
        totals = {"score": "reward", "length": "length", "total_positive_events": "positive_events"}
        for column, of_life in {**totals, "total_fire_presses": "fire_presses"}.items():
            assert float(row[column]) == sum(float(life[of_life]) for life in own)
        assert int(row["lives_with_reward"]) == sum(float(life["reward"]) > 0 for life in own)
        assert float(row["mean_entropy"]) == pytest.approx(ENTROPY, rel=1e-6)
        assert (row["global_step"], own[0]["global_step"], row["deterministic"]) == ("123", "123", "0")
    assert [(one["seed"], one["modification"]) for one in summary["evaluations"]] == [
        (seed, string) for seed in (7, 3) for string in ("", "left_drift")
    ]
    for one in summary["evaluations"]:
        seed, string = str(one["seed"]), one["modification"]
        own = [row for row in games if (row["seed"], row["modification"]) == (seed, string)]
        own_lives = [row for row in lives if (row["seed"], row["modification"]) == (seed, string)]
        for name, rows, column in (
            ("per_game_rewards", own, "score"),
            ("per_game_lengths", own, "length"),
            ("per_life_rewards", own_lives, "reward"),
            ("per_life_lengths", own_lives, "length"),
        ):
            assert one[name] == pytest.approx(statistics(float(row[column]) for row in rows))
        without = [row for row in own_lives if float(row["reward"]) == 0]
        assert one["failure_stats"]["zero_reward_lives"] == len(without)
        assert one["action_entropy"] == pytest.approx(ENTROPY, rel=1e-6)
        assert one["value_error"]["steps"] == sum(int(row["length"]) for row in own)
        assert one["value_error"]["correlation"] is None  # the value never changes


def test_seeds_are_more_games_of_the_same_agent(report, tmp_path):
    """The games of two seeds are those of each alone; the table has them together."""
    summary = json.loads((report / "summary.json").read_text())
    path = make_checkpoint(tmp_path, constant_agent(), gamma=0.9, reward_scaling="none", deactivate_episodic_life=True)
    alone = evaluate(path, "--seed", "3")
    ours = [row for row in read_csv(report / "games.csv") if (row["seed"], row["modification"]) == ("3", "")]
    without_path = [{**row, "agent_path": ""} for row in ours]
    assert without_path == [{**row, "agent_path": ""} for row in read_csv(alone / "games.csv")]
    assert (summary["seeds"], summary["seed"], summary["global_step"]) == ([7, 3], 7, 123)
    for result in summary["results"]:
        rows = read_csv(report / "games.csv")
        scores = [float(row["score"]) for row in rows if row["modification"] == result["modification"]]
        assert (result["episodes"], result["mean"]) == (4, pytest.approx(np.mean(scores)))
        assert result["std"] == pytest.approx(np.std(scores, ddof=1))


def test_the_value_of_a_constant_agent(report):
    """Its error is its constant minus the mean return: greedy or sampled, whatever is played."""
    game, _ = game_config("ALE/Breakout-v5", game_start="frames")
    settings = {"deterministic": False, "num_envs": 8, "num_workers": 0, "device": torch.device("cpu")}
    games = playing.play(constant_agent().eval(), game, [""], episodes=2, seed=7, **settings)[""]
    returns = []
    for played in games:
        rewards = played.trace.rewards.tolist()
        returns += [sum(0.9**k * reward for k, reward in enumerate(rewards[t : t + 400])) for t in range(len(rewards))]
    error = json.loads((report / "summary.json").read_text())["evaluations"][0]["value_error"]
    assert error["mean_error"] == pytest.approx(0.75 - np.mean(returns))
    assert error["rmse"] == pytest.approx(np.sqrt(np.mean((0.75 - np.array(returns)) ** 2)))
    assert (error["gamma"], error["scaling"], error["episodic_life"]) == (0.9, "none", False)


def test_what_values_were_trained_on(workdir):
    def target(**args):
        return value_target(load_checkpoint(make_checkpoint(workdir, **args)))

    assert target() == ValueTarget(0.99, None, None, True)
    assert target(reward_scaling="clip", gamma=0.5, deactivate_episodic_life=True) == ValueTarget(
        0.5, "clip", None, False
    )
    assert target(new_rf="mine.py") is target(her=True) is None
    assert target(new_rf=None, gamma=1) == ValueTarget(1, None, None, True)
    for gamma in ("x", None, 1.5, math.nan, True):
        with pytest.raises(evaluation.CheckpointError, match="gamma"):
            target(gamma=gamma)
    checkpoint = load_checkpoint(make_checkpoint(workdir, reward_scaling="normalize"))
    known = replace(checkpoint, extra={"reward_variance": 4.0})
    assert value_target(known).scaled(np.array([3.0])) == pytest.approx(1.5)
    for variance in ("x", -1.0, math.nan, math.inf, True):
        with pytest.raises(evaluation.CheckpointError, match="reward_variance"):
            value_target(replace(checkpoint, extra={"reward_variance": variance}))


@pytest.mark.slow
def test_training_saves_the_scale_of_its_values(workdir):
    from continual_hackatari import continual_training_example as training

    flags = ["--env_id", "Breakout", "--num_workers", "0", "--num_envs", "2", "--num_steps", "64", "--no-cuda"]
    scalers = []
    scaler = training.RewardScaler

    def remember(*arguments):
        scalers.append(scaler(*arguments))
        return scalers[-1]

    training.RewardScaler = remember
    try:
        training.main([*flags, "--total_timesteps", "256"])
    finally:
        training.RewardScaler = scaler
    (path,) = workdir.glob("runs/*/model.cleanrl_model")
    checkpoint = load_checkpoint(path)
    assert checkpoint.extra["reward_variance"] == scalers[0].variance != 1.0
    assert value_target(checkpoint).scale_known


# ---------------------------------------------------------------------------------------------- tables and agents


@pytest.fixture
def two_agents(workdir):
    paths = []
    for name, agent in (("one", random_agent()), ("two", constant_agent())):
        (workdir / name).mkdir()
        paths.append(make_checkpoint(workdir / name, agent))
    return paths


@pytest.mark.slow
def test_several_agents_are_several_seeds_of_one_method(two_agents, workdir, capsys):
    flags = ["--modifs", "no_modif, left_drift", "--output_dir", "all", "--format", "csv", "--eval_episodes", "1"]
    flags += ["--seeds", "1", "2"]
    evaluation.main(["--agent_path", *map(str, two_agents), *FEW, *flags])
    output = capsys.readouterr()
    games = read_csv(workdir / "all/games.csv")
    summary = json.loads((workdir / "all/summary.json").read_text())
    assert summary["agent_path"] == [str(path) for path in two_agents]
    assert len(summary["evaluations"]) == 8
    printed = list(csv.DictReader(output.out.splitlines()))  # nothing but the table
    assert [row["modification"] for row in printed] == ["no_modif", "left_drift"]
    for row, result in zip(printed, summary["results"], strict=True):
        means = [
            np.mean([float(g["score"]) for g in games if (g["agent_path"], g["modification"]) == (str(path), string)])
            for path, string in ((path, result["modification"]) for path in two_agents)
        ]
        assert (row["agents"], row["games"]) == ("2", "4")
        assert float(row["mean"]) == result["mean"] == pytest.approx(np.mean(means))
        assert float(row["std"]) == result["std"] == pytest.approx(np.std(means, ddof=1))
        assert (row["low"], result["low"]) == ("", None), "two agents have no interval"
    scores = [float(game["score"]) for game in games]
    assert output.err.splitlines()[-2:] == [
        "files: all",
        f"{np.mean(scores):.2f} +- {np.std(scores, ddof=1):.2f}",
    ]


def test_checkpoints_of_one_run_are_no_sample_of_agents(two_agents, workdir, capsys):
    """Whatever their files are called: the same settings and the same training seed."""
    words = ["--agent_path", *map(str, two_agents), *FEW, "--frameskip", "40", "--format", "csv"]
    printed = {}
    for case, seeds in {"one run": (1, 1), "two runs": (1, 2)}.items():
        for path, seed in zip(two_agents, seeds, strict=True):
            longer = case == "one run" and path == two_agents[1]  # when it went on
            make_checkpoint(path.parent, seed=seed, num_workers=seed, total_timesteps=2000 if longer else 1000)
        evaluation.main([*words, "--output_dir", case])
        output = capsys.readouterr()
        (row,) = csv.DictReader(output.out.splitlines())
        printed[case] = (row, output.err)
    (row, lines), (row_of_two, lines_of_two) = printed.values()
    assert (row["agents"], row["std"], row["low"], row["high"]) == ("2", "", "", "")
    assert row["mean"] == row_of_two["mean"]
    assert row_of_two["std"] != ""
    one, two = two_agents
    assert f"{one} and {two} have the same settings and the same training seed 1, so they are no independent" in lines
    assert "(steps: 123, 123)" in lines
    assert "note: " not in lines_of_two


def test_agents_that_were_trained_otherwise_are_named():
    kept = {"seed": 1, "methods": (), "gamma": 0.9, "num_workers": 2}
    agents = [Checkpoint({}, kept, 100), Checkpoint({}, {**kept, "seed": 2, "methods": ("ewc",)}, 2000)]
    assert unlike_agents(agents) == [
        "note: `methods` of their training is not the same for all agents, but one mean is over all",
        "note: the agents were not trained for as many steps: 100, 2,000",
    ]
    assert unlike_agents([Checkpoint({}, {}, None), *agents]) == [], "files of other programs do not say"


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_action_is_that_of_act(deterministic):
    frames = torch.randint(256, (6, 4, 84, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    agent = random_agent()
    asked, again = ({"deterministic": deterministic, "generator": torch.Generator().manual_seed(6)} for _ in range(2))
    action, said = agent.act_and_describe(frames, **asked)
    assert torch.equal(action, agent.act(frames, **again))
    assert torch.equal(said["value"], agent.get_value(frames))
    assert torch.allclose(said["entropy"], torch.distributions.Categorical(logits=agent(frames)[0]).entropy())


def test_a_video_shows_one_game(two_agents, capsys):
    one, two = map(str, two_agents)
    for paths, flags, words in (([one, two], [], "`agent_path` one value"), ([one], ["--seeds", "1", "2"], "`seeds`")):
        with pytest.raises(SystemExit):
            evaluation.main(["--agent_path", *paths, *flags, "--play", "game.mp4"])
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--seeds", "1", "2", "1"], ["seeds", "1 twice"]),
        (["--seeds", "1", "2", "--seed", "3"], ["seed", "seeds"]),
        (["--seeds", "-1"], ["seeds", "0"]),
    ],
)
def test_seeds_that_cannot_work(workdir, capsys, flags, words):
    error = refused(capsys, make_checkpoint(workdir), *flags)
    assert all(word in error for word in words), error


def test_agents_of_different_kinds_are_refused(two_agents, workdir, capsys):
    one, two = map(str, two_agents)
    make_checkpoint(workdir / "two", random_agent(), frameskip=2)
    for paths, words in (
        ([one, one], ["agent_path", "twice"]),
        ([one, os.path.relpath(one)], ["agent_path", "twice"]),
        ([""], ["`agent_path` is given and empty"]),
        ([one, str(shutil.copy(one, workdir / "copy.cleanrl_model"))], ["agent_path", "copy of", one]),
        (
            [one, str(workdir / "two" / "model.cleanrl_model"), str(workdir / "copy.cleanrl_model")],
            ["agent_path", "copy of", one],
        ),
        (["random", "random", "--env_id", "ALE/Pong-v5"], ["agent_path", "random twice"]),
        ([one, two], ["frameskip", "4", "2", two]),
        ([one, "nothing"], ["nothing", "does not exist"]),
    ):
        with pytest.raises(SystemExit):
            evaluation.main(["--agent_path", *paths, *FEW])
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert all(word in error for word in words), error
    assert not (workdir / "one/eval").exists()
    evaluation.main(["--agent_path", one, two, *FEW, "--eval_episodes", "1", "--frameskip", "4"])


ROWS = [["modification", "mean", "95 % interval"], ["left_drift & x|y", "1.50", "[1.00, 2.00]"]]
TABLES = {
    "text": "modification      mean  95 % interval\nleft_drift & x|y  1.50   [1.00, 2.00]",
    "markdown": "| modification | mean | 95 % interval |\n|---|---:|---:|\n"
    "| left_drift & x\\|y | 1.50 | [1.00, 2.00] |",
    "latex": "\\begin{tabular}{lrr}\n\\toprule\nmodification & mean & 95 \\% interval \\\\\n\\midrule\n"
    "left\\_drift \\& x|y & 1.50 & [1.00, 2.00] \\\\\n\\bottomrule\n\\end{tabular}",
    "csv": 'modification,mean,95 % interval\nleft_drift & x|y,1.50,"[1.00, 2.00]"',
}


@pytest.mark.parametrize("style", TABLES)
def test_tables(style):
    assert format_table(ROWS, style) == TABLES[style]


def test_what_is_not_known_is_a_hole_in_csv_and_a_dash_elsewhere():
    result = summary.Result("", 1, 1.5, math.nan, math.nan, math.nan, None)
    assert summary.table([result], "csv").splitlines()[1] == "no_modif,1,1.5,,,,"
    assert summary.table([result], "markdown").splitlines()[2] == "| no_modif | 1 | 1.50 | - | - | - |"
