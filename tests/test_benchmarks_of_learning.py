"""What the comparisons of learning compute from run folders."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from benchmarks import hindsight, learning, methods, precision
from benchmarks.harness import with_interval
from benchmarks.learning import Training, curve, finished, folders, returns
from continual_hackatari.reporting.statistics import students_interval
from continual_hackatari.training import runner

HEADER = "global_step,env,modification,return,length,lives,cut,live_switches\n"


def write_run(root, run, *, games=(), whole=True, number=0):
    """A run folder as training writes it; `games` are (global_step, return, cut)."""
    folder = root / "runs" / f"{run.name}_{run.seed}_{number}"
    folder.mkdir(parents=True)
    (folder / "args.json").write_text(json.dumps({**learning.settings_of(run), "command": "python x.py"}))
    rows = "".join(f"{step},0,,{score},100,0,{cut},0\n" for step, score, cut in games)
    (folder / "episodes.csv").write_text(HEADER + rows)
    if whole:
        (folder / "model.cleanrl_model").touch()
    return folder


def test_finds_the_run_of_this_name_seed_length_and_flags_and_no_other(tmp_path):
    run = Training("a", "Pong", 1, ("--amp", "off", "--num_workers", "1"), 500)
    others = [run._replace(name="b"), run._replace(seed=2), run._replace(total_timesteps=None)]
    others += [run._replace(flags=flags) for flags in (("--gamma", "0.9"), ("--amp", "bf16"))]
    for number, other in enumerate(others, 2):
        write_run(tmp_path, other, number=number)
    assert folders(tmp_path, run) == []
    first = write_run(tmp_path, run._replace(flags=()), whole=False)  # where it is played makes no other run
    assert folders(tmp_path, run) == [first]
    assert finished(tmp_path, run) is None
    second = write_run(tmp_path, run, number=1)
    assert finished(tmp_path, run) == second


def test_words_of_a_run():
    run = Training("a", "Pong", 3, ("--her",), 500)
    assert run.words == ["--her", "--seed", "3", "--exp_name", "a", "--total_timesteps", "500"]
    assert run._replace(total_timesteps=None).words == ["--her", "--seed", "3", "--exp_name", "a"]


def test_interrupted_runs_go_on_and_finished_ones_stay(tmp_path, monkeypatch, capsys):
    commands = []

    class Process:
        def __init__(self, command, **_):
            commands.append(command[2:])

        def poll(self):
            return int("broken" in commands[-1][-1])

    monkeypatch.setattr(runner.subprocess, "Popen", Process)
    done, broken, new = (Training(name, "Pong", 1, ("--gamma", "0.9"), 500) for name in ("done", "broken", "new"))
    write_run(tmp_path, done)
    begun = write_run(tmp_path, broken, whole=False)
    (begun / "resume.pt").touch()
    with pytest.raises(SystemExit, match="1 of 2 trainings did not go to their ends"):
        learning.train_all(tmp_path, [done, broken, new], 1)
    assert commands == [["--resume", str(begun)], new.words]
    assert "failed broken Pong seed 1" in capsys.readouterr().out


def test_a_cut_game_is_no_return(tmp_path):
    folder = write_run(tmp_path, Training("a", "Pong", 1, ()), games=[(10, 1, 0), (20, 50, 1), (30, 3, 0)])
    steps, values = returns(folder)
    assert list(steps) == [10, 30]
    assert list(values) == [1, 3]


def test_curve_is_the_mean_of_a_window_and_holds_the_last_known_value(tmp_path):
    folder = write_run(tmp_path, Training("a", "Pong", 1, ()), games=[(10, 1, 0), (12, 3, 0), (40, 7, 0)])
    got = curve(folder, np.array([5, 10, 15, 30, 40]), width=10)
    assert math.isnan(got[0])
    assert list(got[1:]) == [1, 2, 2, 7]


def test_interval_is_that_of_students_t():
    values = [1.0, 4.0, 2.5, 3.5]
    mean, width = students_interval(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (mean - width, mean + width) == pytest.approx((low, high), abs=1e-3)
    assert math.isnan(students_interval([2.0])[1])
    assert [with_interval([1.0, 2.0]), with_interval([1.0, 2.0], "+")] == ["1.5", "+1.5"], "two seeds have none"
    assert with_interval([1.0, 2.0, 3.0], "+") == "+2.0 ± 2.5"
    for number in (11, 40):
        values = np.random.default_rng(number).normal(size=number).tolist()
        low, high = stats.t.interval(0.95, number - 1, loc=np.mean(values), scale=stats.sem(values))
        assert students_interval(values)[1] == pytest.approx((high - low) / 2)


def test_a_game_counts_for_the_regime_in_which_it_ended(tmp_path):
    games = [(1, 10, 0), (100, 20, 0), (101, 7, 0), (150, 99, 1), (200, 9, 0)]
    folder = write_run(tmp_path, Training("a", "Pong", 1, ()), games=games)
    assert methods.regime_means(folder, [0, 100, 200]) == [15, 8]


def test_table_pairs_the_seeds_for_the_difference():
    rows = [
        {"method": "PPO", "regimes": [[1.0], [2.0], [3.0]], "all": [1.0, 2.0, 3.0]},
        {"method": "other", "regimes": [[3.0], [4.0], [5.0]], "all": [3.0, 4.0, 5.0]},
    ]
    lines = methods.table(rows, ["all_black_cars"]).splitlines()
    assert lines[0] == "|  | all_black_cars | mean of all | minus PPO |"
    assert lines[3].endswith("| 4.0 ± 2.5 | 4.0 ± 2.5 | +2.0 ± 0.0 |")


def test_table_of_precisions_pairs_the_seeds_of_one_game():
    rows = [
        {"game": "Freeway", "precision": "float32", "last": [1.0, 2.0, 3.0], "all": [0.0, 1.0, 2.0]},
        {"game": "Freeway", "precision": "bfloat16", "last": [3.0, 4.0, 5.0], "all": [0.0, 2.0, 4.0]},
        {"game": "Breakout", "precision": "float32", "last": [9.0] * 3, "all": [9.0] * 3},
        {"game": "Breakout", "precision": "bfloat16", "last": [8.0] * 3, "all": [9.0] * 3},
    ]
    lines = precision.table(rows).splitlines()
    assert lines[2] == "| Freeway | float32 | 2.0 ± 2.5 | 1.0 ± 2.5 |  |  |"
    assert lines[3] == "| Freeway | bfloat16 | 4.0 ± 2.5 | 2.0 ± 5.0 | +2.0 ± 0.0 | +1.0 ± 2.5 |"
    assert lines[5] == "| Breakout | bfloat16 | 8.0 ± 0.0 | 9.0 ± 0.0 | -1.0 ± 0.0 | +0.0 ± 0.0 |"


@pytest.mark.parametrize("game", ["Freeway", "Breakout"])
def test_sequences_have_at_least_four_regimes_and_come_back_to_one(game):
    _, modifications, ends = methods.sequence(game)
    assert len(modifications) == len(ends) - 1 >= 4
    assert modifications[-1] in modifications[:-1]


def test_crossings_per_game_count_cut_games_by_their_length(tmp_path):
    run = hindsight.run_of(hindsight.PPO, 1)
    games = [(16384, 3.0, 0), (24576, 1.0, 1), (40960, 5.0, 0), (49152, 0.0, 1)]  # 100 steps each
    folder = write_run(tmp_path, run, games=games)
    assert hindsight.crossings(folder) == [2048 * 4 / 200, 2048 * 5 / 200]
    write_run(tmp_path, run._replace(seed=2), games=games)
    write_run(tmp_path, run._replace(seed=3), games=games)
    write_run(tmp_path, run._replace(seed=4), games=games, whole=False)
    (row,) = hindsight.freeway(tmp_path, [1, 2, 3, 4])
    assert row == {"form": "PPO", "seeds": [1, 2, 3], "regimes": [[40.96, 51.2]] * 3}
    assert hindsight.freeway_table([row]).splitlines()[-1] == "| PPO | 3 | 41.0 ± 0.0 | 51.2 ± 0.0 | 46.1 ± 0.0 |"


def test_forms_of_hindsight_are_told_apart_by_name_and_flags():
    flags = {form.name: form.flags for form in hindsight.FORMS}
    assert flags["ppo"] == ()
    assert flags["default"] == ("--her",)
    assert flags["documented"] == ("--her", "--her_rewards", "original", "--her_relabel", "all")
    row = {"form": "x", "knocks": 0.04, "levels": [0.0, 46.0, 44.0, 40.0]}
    assert hindsight.line_row(row) == "| x | 4 % | 3 of 4 | 40.0 | 44.0 | 46.0 |"
