"""Reports: the numbers behind the figures, interrupted runs, escaping, one file that needs nothing else."""

import base64
import dataclasses
import html
import itertools
import json
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from conftest import ROOT, mostly_slow
from evaluations import make_rows
from made_up_runs import make_run

from continual_hackatari import continual_training_example as training
from continual_hackatari import report
from continual_hackatari.reporting import curves, evaluation_curves, figures, page
from continual_hackatari.reporting import report as sections
from continual_hackatari.reporting.evaluations import Evaluations
from continual_hackatari.reporting.groups import (
    MADE_BY,
    NOT_OF_EXPERIMENT,
    Group,
    check_seeds,
    differences,
    group_runs,
)
from continual_hackatari.reporting.metrics import run_metrics
from continual_hackatari.reporting.rows import RunFolderError
from continual_hackatari.reporting.runs import Regime, Run, check_run_folder, read_scalars
from continual_hackatari.reporting.statistics import mean_and_interval
from continual_hackatari.reporting.words import number, shown
from continual_hackatari.training.ending import say_what_there_is

# --------------------------------------------------------------------------------------------------------- run folders


def test_reads_what_a_run_wrote(tmp_path):
    run = Run(make_run(tmp_path, strings=("", "a", "a b"), score=lambda step, string: step / 10))
    assert run.regimes == [Regime(0, 1000, ""), Regime(1000, 2000, "a"), Regime(2000, 3000, "a b")]
    whole = ~run.games.cut
    assert run.games.step[whole].tolist() == list(range(100, 3001, 100))
    assert run.games.score[whole].tolist() == [step / 10 for step in range(100, 3001, 100)]
    assert run.games.cut.sum() == 3
    assert run.finished
    assert run.notes == []
    assert (run.last_step, run.seed) == (3000, "1")
    scheduled = Run(make_run(tmp_path, seed=2, strings=("b", "a")))
    assert [regime.modification for regime in scheduled.regimes] == ["b", "a"], "whatever `modifs` says"


def test_scalars_are_those_of_tensorboards_own_reader(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = make_run(tmp_path)
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    names = accumulator.Tags()["scalars"]
    found = read_scalars(folder)
    assert set(found) == set(names)
    assert {"losses/value_loss", "charts/episodic_return"} <= set(names)
    for name in set(names) - {"charts/episodic_return", "charts/episodic_length"}:
        expected = {event.step: event.value for event in accumulator.Scalars(name)}
        assert dict(zip(*(array.tolist() for array in found[name]), strict=True)) == expected


def test_what_a_resumed_run_repeats_counts_once(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    for suffix, steps, purge, value in ((".a", range(0, 50, 10), None, 1.0), (".b", range(30, 70, 10), 30, 2.0)):
        with SummaryWriter(str(tmp_path), filename_suffix=suffix, purge_step=purge) as writer:
            for step in steps:
                writer.add_scalar("x", value, step)
            if suffix == ".a":
                for step in (29, 30, 45):  # the resumed run has no such rows
                    writer.add_scalar("y", 9.0, step)
    for name in ("1.a", "2.b"):
        (file,) = tmp_path.glob(f"*{name[1:]}")
        file.rename(tmp_path / f"events.out.tfevents.{name}")
    steps, values = read_scalars(tmp_path)["x"]
    assert steps.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert values.tolist() == [1, 1, 1, 2, 2, 2, 2]
    assert read_scalars(tmp_path)["y"][0].tolist() == [29]


def test_events_cut_in_the_middle_of_a_record_are_read_up_to_there(tmp_path):
    folder = make_run(tmp_path)
    whole = read_scalars(folder)["losses/value_loss"][0]
    (events,) = folder.glob("events*")
    os.truncate(events, events.stat().st_size - 101)
    part = read_scalars(folder)["losses/value_loss"][0]
    assert 0 < len(part) <= len(whole)
    assert part.tolist() == whole[: len(part)].tolist()


def test_a_line_that_was_cut_short_is_left_out_and_said(tmp_path):
    folder = make_run(tmp_path)
    games = len(Run(folder).games.step)
    with (folder / "episodes.csv").open("a") as file:
        file.write("3100,0,,99,1,0,0,1")  # whole, or the beginning of 12
    run = Run(folder)
    assert len(run.games.step) == games
    assert any("episodes.csv is cut short" in note for note in run.notes)
    with (folder / "episodes.csv").open("a") as file:
        file.write("2\n3200,0,,99\n")
    assert len(Run(folder).games.step) == games + 1  # the second line has too few columns


def test_rows_that_make_no_sense_are_counted(tmp_path):
    folder = make_run(tmp_path)
    with (folder / "episodes.csv").open("a") as file:
        file.write("many,0,,1,1,0,0,0\n")
    assert "1 rows of episodes.csv cannot be read and are left out." in Run(folder).notes


def test_regimes_without_switches_csv_come_from_the_games(tmp_path):
    folder = make_run(tmp_path, strings=("", "a"), regime=1000)
    (folder / "switches.csv").unlink()
    run = Run(folder)
    assert [regime.modification for regime in run.regimes] == ["", "a"]
    assert run.regimes[1].begin == 1000  # where the last game of the old regime ended
    assert any(note.startswith("switches.csv is missing") for note in run.notes)


@pytest.mark.parametrize("kept", ["args.json", "episodes.csv", "switches.csv"])
def test_any_one_file_is_enough(tmp_path, kept):
    folder = make_run(tmp_path, finished=False)
    for path in folder.iterdir():
        if path.name != kept:
            path.unlink()
    run = Run(check_run_folder(str(folder)))
    assert run.regimes
    assert len(run.notes) >= 3
    assert any(f"--resume {folder}" in note for note in run.notes)


# -------------------------------------------------------------------------------------------------------------- groups


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path):
    folders = [
        make_run(tmp_path, seed=1, notes="x", num_workers=0),
        make_run(tmp_path, seed=2, notes="y", num_workers=4),
        make_run(tmp_path, seed=3, learning_rate=0.1),
    ]
    groups = group_runs([Run(folder) for folder in folders])
    assert [[run.seed for run in group.runs] for group in groups] == [["1", "2"], ["3"]]
    assert [group.label for group in groups] == ["learning_rate null", "learning_rate 0.1"]


def test_a_game_by_its_short_name_is_the_same_game(tmp_path):
    names = ("Freeway", "ALE/Freeway-v5", "Freeway-v4")
    runs = [Run(make_run(tmp_path, seed=seed, env_id=name)) for seed, name in enumerate(names)]
    groups = group_runs(runs)
    assert [[run.seed for run in group.runs] for group in groups] == [["0", "1"], ["2"]]
    assert groups[0].title.startswith("ALE/Freeway-v5")


@pytest.mark.parametrize("name", mostly_slow(sorted(NOT_OF_EXPERIMENT - {"seed"}), 4))
def test_what_makes_no_other_experiment_makes_none_for_report_and_metrics(name, tmp_path):
    folders = [make_run(tmp_path, seed=seed, evaluated=lambda *_: 1.0, **{name: seed}) for seed in (1, 2)]
    assert len(group_runs([Run(folder) for folder in folders])) == 1


def test_another_reward_is_another_experiment_and_none_is_as_in_runs_that_recorded_none(tmp_path):
    runs = [Run(make_run(tmp_path, seed=1))]
    runs += [Run(make_run(tmp_path, seed=2 + n, new_rf_digest=digest)) for n, digest in enumerate(("", "01", "02"))]
    assert [[run.seed for run in group.runs] for group in group_runs(runs)] == [["1", "2"], ["3"], ["4"]]


def test_every_setting_is_decided_about():
    names = {field.name for field in dataclasses.fields(training.Args)}
    assert names >= NOT_OF_EXPERIMENT - set(MADE_BY)
    # Who adds a setting says here whether it makes another experiment.
    assert names - NOT_OF_EXPERIMENT == {
        *("start_from_experiment", "modification_digest", "new_rf_digest", "methods", "prefixed", "boundary"),
        *("exp_name", "torch_deterministic", "amp", "compile", "cuda_graphs", "env_id", "backend"),
        *("obs_mode", "modifs", "new_rf", "full_action_space", "frameskip", "buffer_window_size"),
        *("deactivate_episodic_life", "game_start", "fire_reset", "max_pool", "sticky"),
        *("time_limit", "switch_mode", "total_timesteps", "learning_rate", "num_envs"),
        *("adam_betas", "weight_decay"),
        *("num_steps", "anneal_lr", "anneal_lr_per_regime", "gamma", "gae_lambda"),
        *("num_minibatches", "update_epochs", "norm_adv", "clip_coef", "clip_vloss", "ent_coef"),
        *("vf_coef", "max_grad_norm", "target_kl", "reward_scaling", "architecture"),
        *("encoder_dims", "decoder_dims", "replacement_rate", "init", "maturity_threshold"),
        *("decay_rate", "utility", "accumulate", "count", "her", "game_specific_goals"),
        *("her_rewards", "her_relabel", "her_weight", "her_importance_clip"),
        *("shrink_and_perturb", "shrink_factor", "noise_scale", "perturb_noise"),
        *("perturb_optimizer", "modification_factory", "modification_factory_kwargs"),
    }


def test_groups_are_called_by_their_experiments_where_that_is_enough(tmp_path):
    folders = [make_run(tmp_path, exp_name=name, architecture=name.upper()) for name in ("ppo", "ppo_cbp")]
    assert [group.label for group in group_runs([Run(folder) for folder in folders])] == ["ppo", "ppo_cbp"]


def test_groups_whose_settings_are_enough_leave_the_experiment_out(tmp_path):
    runs = [
        Run(make_run(tmp_path, seed=seed, exp_name=name, gamma=gamma))
        for seed, (name, gamma) in enumerate([("a", 0.9), ("a", 0.8), ("b", 0.7)])
    ]
    assert [group.label for group in group_runs(runs)] == ["gamma 0.9", "gamma 0.8", "gamma 0.7"]


def test_groups_name_their_methods(tmp_path):
    folders = [make_run(tmp_path, seed=i, methods=methods) for i, methods in enumerate(([], ["redo"], ["redo", "ewc"]))]
    groups = group_runs([Run(folder) for folder in folders])
    assert [group.label for group in groups] == ["methods []", 'methods ["redo"]', 'methods ["redo", "ewc"]']
    assert [("redo+ewc" in group.title, "redo" in group.title) for group in groups] == [
        *((False, False), (False, True), (True, True))
    ]


def test_runs_without_settings_are_no_repetitions_of_each_other(tmp_path):
    folders = [make_run(tmp_path, seed=seed) for seed in (1, 2)]
    for folder in folders:
        (folder / "args.json").unlink()
    assert [len(group.runs) for group in group_runs([Run(folder) for folder in folders])] == [1, 1]


def test_a_setting_that_is_missing_is_another_than_null():
    assert differences([{"a": 1, "b": None, "c": [1]}, {"a": 1, "c": [1]}]) == ["b"]
    assert differences([{"b": 1}, {"b": 1}, {"b": 2, "a": 0}]) == ["b", "a"]


def test_any_two_runs_of_one_seed_in_a_group_are_refused(tmp_path):
    runs = [Run(make_run(tmp_path / str(number), seed=seed)) for number, seed in enumerate((1, 2, 2))]
    check_seeds([Group("a", runs[:2]), Group("b", runs[2:])])
    with pytest.raises(RunFolderError, match=f"{runs[1].folder}` and `{runs[2].folder}` have .* the same seed 2, "):
        check_seeds([Group("a", runs)])


def test_groups_whose_settings_are_too_long_for_a_label_are_called_by_their_folders(tmp_path):
    """And numbered where that is too long too. A value in a title is cut short."""
    names = ["x" * 100 + end for end in "ab"]
    long = [Run(make_run(tmp_path, seed=seed, modifs=name)) for seed, name in enumerate(names)]
    groups = group_runs(long)
    assert [group.label for group in groups] == [run.name for run in long]
    assert groups[0].title == f'ALE/Freeway-v5 PPO modifs="{"x" * 56}...'
    for index, run in enumerate(long):
        run.folder.rename(tmp_path / f"{'y' * 90}{index}")
    renamed = [Run(path) for path in sorted(tmp_path.glob("y*"))]
    assert [group.label for group in group_runs(renamed)] == ["run 1", "run 2"]


# -------------------------------------------------------------------------------------------------------------- curves


def runs_of(tmp_path, *seeds, **settings):
    return [Run(make_run(tmp_path, seed=seed, **settings)) for seed in seeds]


def test_no_bin_reaches_across_a_switch():
    random = np.random.default_rng(0)
    for _ in range(200):
        borders = np.unique(random.integers(1, 10_000, size=random.integers(1, 40)))
        regimes = [Regime(int(b), int(e), "") for b, e in itertools.pairwise([0, *borders])]
        edges = curves.bins_of(regimes, int(random.integers(1, 80)))
        assert (np.diff(edges) > 0).all()
        assert set(borders) <= set(edges)


def test_returns_are_the_means_of_the_games_of_each_bin(tmp_path):
    (run,) = runs_of(tmp_path, 1, score=lambda step, string: step / 100)
    binned = curves.returns([run], np.array([0.0, 500.0, 1000.0, 3000.0]))
    assert binned.values.tolist() == [[3.0, 8.0, 20.5]]  # games 1 to 5, 6 to 10, 11 to 30; the cut ones do not count
    assert binned.x.tolist() == [300.0, 800.0, 2050.0]


def test_a_game_at_the_step_of_a_switch_belongs_to_the_old_regime(tmp_path):
    (run,) = runs_of(tmp_path, 1, games_every=1000, score=lambda step, string: 5.0 if string else 1.0)
    binned = curves.returns([run], curves.bins_of(run.regimes, 3))
    assert binned.values.tolist() == [[1.0, 5.0, 1.0]]


def test_means_per_bin_equal_a_loop():
    random = np.random.default_rng(1)
    x, y = random.integers(0, 30, size=200), random.normal(size=200)
    edges = np.array([2.0, 5.0, 9.0, 9.5, 20.0])
    found = curves._mean_per_bin(x, y, edges)
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = [value for step, value in zip(x, y, strict=True) if low < step <= high]
        assert found[i] == pytest.approx(np.mean(inside)) if inside else np.isnan(found[i])


def test_interval_is_that_of_all_resamples():
    values = np.array([[0.0], [1.0], [5.0], [6.0], [20.0], [31.0]])
    means = [np.mean(sample) for sample in itertools.product(values[:, 0], repeat=6)]
    band = mean_and_interval(values)
    assert band.mean == 10.5
    for found, percentile, narrower in ((band.low[0], 2.5, 5), (band.high[0], 97.5, 95)):
        exact, other = np.percentile(means, [percentile, narrower])
        assert abs(found - exact) < abs(found - other) / 3


def test_two_runs_have_no_interval_and_a_bin_that_one_has_not_reached_no_mean():
    values = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, 7.0]])
    band = mean_and_interval(values, np.array([[True, True, False], [True, True, True]]))
    np.testing.assert_array_equal(band.mean, [2.0, np.nan, np.nan])
    assert np.isnan(band.low).all()


def test_runs_of_different_length_share_a_panel_and_cover_what_they_played(tmp_path):
    long, short = runs_of(tmp_path, 1), runs_of(tmp_path, 2, strings=("", "a"))
    other = runs_of(tmp_path, 3, strings=("", "b", ""))
    assert curves.same_schedule([*long, *short, *other]) == [[*long, *short], other]
    assert curves.covered([*long, *short], np.array([0.0, 2000.0, 3000.0])).tolist() == [[True, True], [True, False]]


def test_a_mean_does_not_jump_between_runs_with_many_games_and_one_with_few(tmp_path):
    kinds = [{"games_every": 100}, {"games_every": 100}, {"games_every": 1000, "score": lambda step, string: 90.0}]
    usual = {"strings": ("", "a"), "regime": 10_000, "score": lambda step, string: 0.0, "scalars": ()}
    runs = [Run(make_run(tmp_path, seed=seed, **{**usual, **kind})) for seed, kind in enumerate(kinds, 1)]
    edges = curves.bins_for_games(runs)
    means = mean_and_interval(curves.returns(runs, edges).values, curves.covered(runs, edges)).mean
    assert means.tolist() == [30.0] * 4, "with five of the 20 games of the third run in each"
    around = mean_and_interval(curves.per_run(curves.around_switches(runs))).mean
    assert around.tolist() == [30.0] * 10
    sparse = np.linspace(0, 20_000, 101)
    means = mean_and_interval(curves.returns(runs, sparse).values).mean
    assert np.unique(means[np.isfinite(means)]).tolist() == [30.0]


@pytest.mark.parametrize("game", ["1500,0,,99,1,0,0,0", "1500,0,a,99,1,0,0,1"], ids=["episode", "live"])
def test_a_game_that_went_through_a_switch_is_of_no_regime_and_that_is_said(tmp_path, game):
    folder = make_run(tmp_path, strings=("", "a"), score=lambda step, string: 1.0)
    with (folder / "episodes.csv").open("a") as file:
        file.write(game + "\n")
    run = Run(folder)
    assert (run.games.whole().sum(), run.scored().sum()) == (21, 20)
    assert np.nanmax(curves.returns([run], curves.bins_of(run.regimes, 4)).values) == 1.0
    html = sections.compose(sections.gather([run]))
    table = html.split("Regimes of")[1]
    assert "99" not in re.sub("<[^>]*>", " ", table.split("</table>")[0])
    assert f"{run.name}: 1 whole game went through a switch" in html

    header = (folder / "episodes.csv").read_text().splitlines()[0]
    (folder / "episodes.csv").write_text(f"{header}\n{game}\n")
    html = sections.compose(sections.gather([Run(folder)]))
    assert "There is no score: no game was played under one string from its beginning to its end" in html
    say_what_there_is(folder, "ALE/Freeway-v5", "PPO", "continual_training_example.py")
    assert not (folder / "returns.png").exists()


def test_lines_break_at_switches():
    regimes = [Regime(0, 10, ""), Regime(10, 20, "a")]
    x, y = curves.broken_at_switches(np.array([2.0, 6.0, 12.0]), np.array([1.0, np.nan, 3.0]), regimes)
    np.testing.assert_array_equal(x, [2, 10, 12])
    np.testing.assert_array_equal(y, [1, np.nan, 3])


def test_around_switches_by_hand(tmp_path):
    (run,) = runs_of(tmp_path, 1, games_every=250, score=lambda step, string: step % 1000 + (7 if string else 0))
    aligned = curves.around_switches([run], bins_per_side=2)
    assert aligned.x.tolist() == [-625.0, -125.0, 375.0, 875.0]
    assert aligned.split == 2
    first, second = aligned.transitions
    assert (first.before, first.after, first.number) == ("", "a", 1)
    assert first.values.tolist() == [375.0, 375.0, 382.0, 382.0]  # 250, 500 | 750, 0 | 257, 507 | 757, 7
    assert second.values.tolist() == [382.0, 382.0, 375.0, 375.0]
    assert curves.per_run(aligned).tolist() == [[378.5, 378.5, 378.5, 378.5]]


def test_no_mean_over_other_switches_than_in_the_bin_before():
    rows = [[1.0, np.nan], [3.0, 9.0]]
    transitions = [curves.Transition(0, i, "", "a", np.array(row)) for i, row in enumerate(rows)]
    means = curves.per_run(curves.Aligned(np.array([-1.0, 1.0]), transitions, 1))
    np.testing.assert_array_equal(means, [[2.0, np.nan]])


def test_around_a_switch_each_side_counts_its_own_string_only(tmp_path):
    folder = make_run(tmp_path, strings=("", "a"), games_every=500, score=lambda step, string: 1.0)
    with (folder / "episodes.csv").open("a") as file:
        file.write("1400,0,,99,1,0,0,0\n")  # a game of the old string that ended after the switch
    aligned = curves.around_switches([Run(folder)])
    assert np.nanmax(aligned.transitions[0].values) == 1.0


def test_without_a_switch_there_is_nothing_around_it(tmp_path):
    assert curves.around_switches(runs_of(tmp_path, 1, strings=("",))) is None


def test_speed_is_the_mean_per_update(tmp_path):
    (run,) = runs_of(tmp_path, 1, strings=("",), regime=100)
    assert curves.speed(run) == (100.0, {"update": 75.0, "emulation": 75.0})  # logged at 50 and 100


# --------------------------------------------------------------------------------------------------------- evaluations


def scored(string, phase, step):
    """Known scores, different for every evaluation."""
    return {"": 0, "a": 1000, "out": 2000}[string] + 100 * phase + step / 100


def evaluated(tmp_path, seed=1, score=scored, **settings):
    folder = make_run(tmp_path, seed=seed, evaluated=score, held_out=("out",), **settings)
    return Run(folder).evaluations()


def test_heat_map_by_hand(tmp_path):
    ((title, heat),) = evaluation_curves.heat_map("g", [evaluated(tmp_path)])
    assert title == "g"
    assert heat.rows == ["", "a", "out"]
    assert heat.held_out == [False, False, True]
    assert heat.steps == [0, 500, 1000, 1000, 1500, 2000, 2000, 2500, 3000]
    assert heat.phases == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert heat.trained_on == ["", "", "", "a", "a", "a", "", "", ""]
    expected = [[scored(row, *at) for at in zip(heat.phases, heat.steps, strict=True)] for row in heat.rows]
    assert heat.values.tolist() == expected


def test_heat_map_is_a_mean_over_runs_and_empty_where_one_is_missing(tmp_path):
    runs = [
        evaluated(tmp_path, 1),
        evaluated(tmp_path, 2, lambda *key: scored(*key) + 4, strings=("", "a")),
    ]
    ((_, heat),) = evaluation_curves.heat_map("g", runs)
    assert heat.values[0, 1] == scored("", 0, 500) + 2
    assert np.isnan(heat.values[:, 6:]).all()
    assert np.isfinite(heat.values[:, :6]).all()


@pytest.mark.parametrize(("columns", "labelled"), [(12, 12), (16, 16), (17, 12)])
def test_all_columns_of_a_heat_map_are_labelled_where_there_is_room(columns, labelled):
    steps = [1000 * number for number in range(columns)]
    values = np.ones((2, columns))
    heat = curves.HeatMap(["", "a"], [False] * 2, [0] * columns, steps, [""] * columns, values)
    with figures.drawing(figures.LIGHT):
        figure = figures.draw_heat_maps([("g", heat)], figures.Keys(["", "a"]), figures.LIGHT)
    assert len(figure.axes[0].get_xticks()) == labelled


def test_heat_map_joins_evaluations_at_slightly_different_steps():
    steps = {1: (0, 20, 40, 60, 80, 98, 100), 2: (0, 21, 43, 61, 82, 100)}
    runs = [
        Evaluations.of(make_rows(["", "a"], lambda s, p, t: float(t), seed=seed, steps=steps[seed])) for seed in steps
    ]
    ((_, heat),) = evaluation_curves.heat_map("g", runs)
    assert heat.steps == [0, 20, 40, 60, 80, 98, 100, 100, 120, 140, 160, 180, 198, 200]
    assert heat.phases == [0] * 7 + [1] * 7
    means = [0.0, 20.5, 41.5, 60.5, 81.0, np.nan, 100.0, 100.0, 120.5, 141.5, 160.5, 181.0, np.nan, 200.0]
    np.testing.assert_array_equal(heat.values[0], means)
    # Evaluated twice as often, one run has columns of its own between those that both have.
    assert evaluation_curves.shared_columns([[0, 10, 20, 30, 40], [0, 20, 40]]) == {s: s for s in (0, 10, 20, 30, 40)}
    assert evaluation_curves.shared_columns([[100], [101]]) == {100: 100, 101: 101}


def test_runs_that_met_other_tasks_have_maps_of_their_own(tmp_path):
    runs = [evaluated(tmp_path, 1), evaluated(tmp_path, 2, strings=("a", "", "a"))]
    assert [title for title, _ in evaluation_curves.heat_map("g", runs)] == ["g, run 1", "g, run 2"]


@pytest.mark.parametrize(("of", "string"), [("old", ""), ("new", "a")])
def test_one_string_through_a_switch(tmp_path, of, string):
    aligned = evaluation_curves.around_switches([evaluated(tmp_path, strings=("", "a"))], of, bins=4)
    assert aligned.x.tolist() == [-1000, -500, 0, 0, 500, 1000]
    assert aligned.split == 3
    (transition,) = aligned.transitions
    at = [(0, 0), (0, 500), (0, 1000), (1, 1000), (1, 1500), (1, 2000)]
    assert transition.values.tolist() == [scored(string, *place) for place in at]


# ------------------------------------------------------------------------------------------------------------- figures


def test_letters_count_in_twenty_six():
    keys = figures.Keys([str(i) for i in range(800)])
    assert [keys.letter(str(i)) for i in (0, 25, 26, 27, 701, 702)] == ["a", "z", "aa", "ab", "zz", "aaa"]


def test_labels_of_many_regimes_keep_apart():
    regimes = [Regime(i * 10, i * 10 + 10, f"name{i % 40}") for i in range(300)]
    labels = figures.band_labels(regimes, figures.Keys([regime.modification for regime in regimes]))
    assert 10 <= len(labels) <= 60
    for (left, one), (right, other) in itertools.pairwise(labels):
        assert (right - left) / 3000 * 105 >= (len(one) + len(other)) / 2 + 1


def test_labels_are_names_where_there_is_room():
    regimes = [Regime(0, 500, "short"), Regime(500, 600, "a_rather_long_name"), Regime(600, 1000, "")]
    labels = figures.band_labels(regimes, figures.Keys(["short", "a_rather_long_name", ""]))
    assert [text for _, text in labels] == ["a  short", "b", "c  no_modif"]


def test_plotted_lines_are_the_data(tmp_path):
    runs = runs_of(tmp_path, 1, 2, 3, score=lambda step, string: step / 100)
    groups = [Group("g", runs)]
    with figures.drawing(figures.LIGHT):
        figure = figures.draw_returns(groups, figures.Keys(["", "a"]), figures.LIGHT)
    binned = curves.returns(runs, curves.bins_for_games(runs))
    drawn = [line for line in figure.axes[0].get_lines() if line.get_label() == "g"]
    assert len(drawn) == 1
    y = drawn[0].get_ydata()
    np.testing.assert_allclose(y[np.isfinite(y)], binned.values.mean(axis=0))
    points = sum(
        len(collection.get_offsets()) for collection in figure.axes[0].collections if collection.get_offsets().size > 2
    )
    assert points == 3 * 30  # whole games only


def test_a_game_at_the_edge_is_a_whole_dot(tmp_path):
    (run,) = runs_of(tmp_path, 1)
    assert run.games.step.max() == run.regimes[-1].end
    with figures.drawing(figures.DARK):
        figure = figures.draw_returns([Group("g", [run])], figures.Keys(["", "a"]), figures.DARK)
    dots = [drawn for drawn in figure.axes[0].collections if len(drawn.get_offsets()) > 2]
    assert [drawn.get_clip_on() for drawn in dots] == [False]


def test_a_group_has_one_line_in_all_panels(tmp_path):
    """Also where a panel lacks the groups before it."""
    groups = [Group(name, runs_of(tmp_path / name, 1)) for name in ("one", "other")]
    around = [(group, curves.around_switches(group.runs)) for group in groups]
    panels = [("both", around), ("the other alone", around[1:])]
    with figures.drawing(figures.LIGHT):
        figure = figures.draw_aligned(panels, groups, figures.Keys(["", "a"]), figures.LIGHT)
    found = [{line.get_color() for line in axes.lines if line.get_label() == "other"} for axes in figure.axes]
    assert found[0] == found[1] == {figures.LIGHT.line(1)["color"]}


def test_users_own_settings_of_matplotlib_are_left_alone(tmp_path):
    with mpl.rc_context({"lines.linewidth": 17}):
        with figures.drawing(figures.DARK):
            assert mpl.rcParams["lines.linewidth"] < 5
        assert mpl.rcParams["lines.linewidth"] == 17


def test_numbers_for_people():
    values = [number(value) for value in (1234567.0, 0.000123456, -2.0, float("nan"), 20.84, 999.6)]
    assert values == ["1,234,567", "0.000123", "\N{MINUS SIGN}2", "\N{EN DASH}", "20.8", "1,000"]
    assert [figures.short_steps(step) for step in (0, 999, 1500, -2_000_000)] == [
        "0",
        "999",
        "1.5k",
        "\N{MINUS SIGN}2M",
    ]
    assert figures.short_steps(100_352, 3) == "100k", "neighbouring labels of a heat map do not touch"
    assert shown("x" * 50, 10) == "x" * 9 + "…"


# ------------------------------------------------------------------------------------------------------------ the file


class Elements(HTMLParser):
    """All elements of a page with their attributes, and whether they are closed in order."""

    VOID = ("meta", "link", "img", "br", "source")

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def svgs(elements):
    """The pictures of a page, light and dark, as parsed XML."""
    addresses = [attributes["src"] for attributes in elements.of("img")]
    addresses += [attributes["srcset"] for attributes in elements.of("source")]
    prefix = "data:image/svg+xml;base64,"
    assert all(address.startswith(prefix) for address in addresses)
    return [ElementTree.fromstring(base64.b64decode(address.removeprefix(prefix))) for address in addresses]


def assert_self_contained(elements):
    for tag, attributes in elements.found:
        for name in ("src", "href", "srcset", "action", "data"):
            assert re.match(r"#|data:|$", attributes.get(name) or ""), (tag, attributes[name][:80])
        assert not any(name.startswith("on") for name in attributes)
        assert tag not in ("script", "iframe", "object", "embed", "base")
    (policy,) = [each["content"] for each in elements.of("meta") if "http-equiv" in each]
    assert policy.startswith("default-src 'none'")
    for svg in svgs(elements):
        for node in svg.iter():
            assert node.tag.rsplit("}", 1)[1] not in ("script", "foreignObject")
            for name, value in node.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:image/png"))


@pytest.fixture
def sketch(monkeypatch):
    """Draws every figure once, not four times: for tests that do not look at the files."""

    def draw_once(name, draw):
        with figures.drawing(figures.LIGHT):
            svg = figures.render(draw(figures.LIGHT), "svg")
        return {}, svg, svg

    monkeypatch.setattr(sections, "drawn_figure", draw_once)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A report of three seeds against one run of another method."""
    root = tmp_path_factory.mktemp("full")
    shared = {"evaluated": scored, "held_out": ("out",)}
    runs = [make_run(root / "runs", seed=seed, exp_name="one", **shared) for seed in (1, 2, 3)]
    other = make_run(root / "runs", exp_name="other", architecture="PPO_CBP", **shared)
    output = root / "out" / "report.html"
    report.main([*map(str, runs), "-o", str(output), "--against", str(other)])
    return output, Elements(output.read_text())


FIGURES = {"returns", "evaluation", "switches", "plasticity", "losses", "speed"}


def test_one_file_with_all_figures_and_tables(full):
    output, elements = full
    assert_self_contained(elements)
    assert {each["id"] for each in elements.of("figure")} == {f"figure-{name}" for name in FIGURES}
    assert len(svgs(elements)) == 2 * len(FIGURES)
    for image in elements.of("img"):
        assert len(image["alt"]) > 40
    sections = {each["id"] for each in elements.of("section")}
    assert {each["href"][1:] for each in elements.of("a")} == sections
    assert {"runs", "regimes", "metrics", "configuration"} | FIGURES == sections
    assert output.stat().st_size < 3e6
    identifiers = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_figures_for_papers(full):
    folder = full[0].with_name("report_figures")
    assert {path.name for path in folder.iterdir()} == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "pdf")}
    for path in folder.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"%PDF")


def test_captions_say_how_many_seeds_there_are(full):
    text = full[1].text
    assert text.count("Seeds: one: 3, other: 1.") >= 4
    assert "95 % bootstrap interval of the mean over seeds" in text
    assert "One seed says what happened in one run." in text


def test_tables_hold_the_metrics(full):
    first = next(path for path in (full[0].parent.parent / "runs").iterdir() if "__one__" in path.name)
    value = run_metrics(Run(first).evaluations())["backward_transfer"].value
    assert np.isfinite(value)
    rows = re.findall(r"<tr>(.*?)</tr>", full[0].read_text().split("Definitions")[0], re.S)
    (row,) = [row for row in rows if row.startswith('<th scope="row">backward transfer</th>')]
    assert f"<td>{number(value)} [{number(value)}, {number(value)}]</td>" in row
    (row,) = [row for row in rows if row.startswith('<th scope="row">average performance</th>')]
    assert "; IQM " in row


def test_settings_that_differ_are_marked(full):
    page_ = full[0].read_text()
    table = page_[page_.index("Settings that differ") :].split("</table>")[0]
    assert "<mark>PPO_CBP</mark>" in table
    assert {"seed", "exp_name", "architecture"} == set(re.findall(r'<th scope="row"><mark>(.*?)</mark>', table))
    assert "env_id" in page_[page_.index("settings that all runs share") :]


def test_the_same_runs_give_the_same_file(tmp_path, sketch, capsys):
    run = str(make_run(tmp_path, strings=("",), scalars=()))
    pages = []
    for name in ("a", "b"):
        report.main([run, "-o", str(tmp_path / f"{name}.html")])
        pages.append(re.sub(r"Written by .*?\.<", "", (tmp_path / f"{name}.html").read_text()))
    assert pages[0] == pages[1]
    assert "a_figures" in capsys.readouterr().out


def test_runs_that_were_measured_or_made_unlike_and_long_maps_are_said_to_be_so(tmp_path, sketch, monkeypatch):
    monkeypatch.setattr(sections, "MOST_COLUMNS", 5)
    kinds = [{"exp_name": "one", "eval_every": 500, "versions": {"commit": "a" * 40}},
             {"exp_name": "two", "eval_every": 250, "versions": {"commit": "b" * 40}}]  # fmt: skip
    usual = {"strings": ("", "a"), "scalars": (), "evaluated": lambda *_: 1.0}
    folders = [str(make_run(tmp_path, **usual, **kind)) for kind in kinds]
    words = {}
    for name, given in (("both", folders), ("one", folders[:1])):
        report.main([*given, "-o", str(tmp_path / f"{name}.html")])
        words[name] = re.sub(r"<[^>]*>", "", (tmp_path / f"{name}.html").read_text())
    said = ("eval_every is not the same in all runs", "All groups: the runs were made by different versions")
    for text in said:
        assert text in words["both"]
        assert text not in words["one"]
    assert "one: the numbers of its 6 evaluations are not listed here" in words["both"]
    assert "The numbers:" not in words["both"]


def test_an_interrupted_run_says_what_is_missing_and_what_makes_it(tmp_path, sketch):
    folder = make_run(tmp_path, strings=("", "a"), finished=False, scalars=())
    (folder / "switches.csv").unlink()
    for path in folder.glob("events*"):
        path.unlink()
    report.main([str(folder), "-o", str(tmp_path / "x.html")])
    elements = Elements((tmp_path / "x.html").read_text())
    for words in (
        f"python {os.path.relpath(ROOT / 'eval.py')} --run {folder}",
        f"--resume {folder}",
        "switches.csv is missing",
        "not finished",
    ):
        assert words in elements.text
    assert {each["id"] for each in elements.of("figure")} == {"figure-returns", "figure-switches"}


def test_an_evals_csv_cut_short_still_counts(tmp_path):
    folder = make_run(tmp_path, evaluated=scored, held_out=("out",), finished=False)
    with (folder / "evals.csv").open("a") as file:
        file.write("name,1,2,30")
    found, mode, notes = sections.read_evaluations([Run(folder)])
    assert (list(found), mode) == ([str(folder)], "sampled")
    number = len((folder / "evals.csv").read_text().splitlines())
    (note,) = [note for note in notes if "evals.csv" in note]
    assert f"{folder.name}: warning: `{folder}/evals.csv` holds in line {number} what is no evaluation" in note


def test_an_evals_csv_that_contradicts_itself_is_named(tmp_path):
    folder = make_run(tmp_path, evaluated=scored, held_out=("out",))
    text = (folder / "evals.csv").read_text()
    (folder / "evals.csv").write_text(text.replace(",train,0,7,0,", ",neither,0,7,0,", 1))
    found, _, (note,) = sections.read_evaluations([Run(folder)])
    assert found == {}
    assert "neither" in note


def test_a_run_that_has_only_begun(tmp_path, sketch):
    folder = make_run(tmp_path, strings=("",), games_every=10_000, regime=10, scalars=(), finished=False)
    report.main([str(folder), "-o", str(tmp_path / "x.html")])
    assert "There is no score: all 1 games were cut" in Elements((tmp_path / "x.html").read_text()).text


def test_what_users_write_is_escaped(tmp_path, sketch):
    nasty = "<script>alert('1')</script>\"&$x_{2$`"  # no valid formula either
    string = nasty.replace(" ", "")
    folder = make_run(
        tmp_path,
        strings=("", string),
        exp_name=nasty,
        notes=nasty,
        evaluated=lambda *key: 1.0,
        held_out=("<img src=x onerror=alert(1)>",),
        scalars=(f"losses/{nasty}", "time/<b>"),
    )
    report.main([str(folder), "-o", str(tmp_path / "x.html")])
    elements = Elements((tmp_path / "x.html").read_text())
    assert_self_contained(elements)
    assert elements.text.count(nasty.replace("`", "")) >= 4
    assert [each for each in elements.of("img") if "data:" not in each["src"]] == []


def test_markup_of_the_page():
    assert page.words("a < `b` & c") == "a &lt; <code>b</code> &amp; c"
    assert page.plain("`x`\x00") == "`x`\N{REPLACEMENT CHARACTER}"
    row = page.table("c", ("x", "y"), [("<", 2)], numbers=(1,))
    assert '<th scope="row">&lt;</th><td class="number">2</td>' in row
    assert page.note() == ""


@pytest.mark.slow
def test_a_hundred_and_fifty_switches(tmp_path):
    strings = [f"name_{number % 30}" for number in range(151)]
    folder = make_run(tmp_path, strings=strings, regime=100, games_every=50, evaluated=lambda *key: float(key[1] % 7))
    report.main([str(folder), "-o", str(tmp_path / "x.html")])
    assert_self_contained(Elements((tmp_path / "x.html").read_text()))
    assert (tmp_path / "x.html").stat().st_size < 3e6


# -------------------------------------------------------------------------------------------------------------- errors


def refused(arguments, capsys):
    """The one line that a wrong command line ends in."""
    with pytest.raises(SystemExit) as ended:
        report.main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_the_nearest_run_folder_is_named(workdir, capsys):
    folder = make_run(workdir / "runs")
    other = make_run(workdir / "runs", seed=7, exp_name="quite_different")
    assert f"did you mean `{folder.relative_to(workdir)}`?" in refused([f"runs/{folder.name[:-3]}"], capsys)
    assert f"did you mean `{other.relative_to(workdir)}`?" in refused([f"runs/{other.name}x"], capsys)
    assert f"did you mean `runs/{folder.name}`?" in refused([f"runs/{folder.name}/args.json"], capsys)
    assert "holds neither" in refused(["runs"], capsys)
    (workdir / "empty").mkdir()
    assert "`against`" not in refused(["nothing/at/all"], capsys)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("report.pdf", "must end in .html"),
        ("folder.html", "is a folder"),
        ("file/", "is a folder; name a file in it, such as `file/report.html`"),
        ("file/report.html", "is no folder"),
        ("closed/report.html", "cannot be written"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_work_starts(workdir, capsys, monkeypatch, output, words):
    folder = make_run(workdir / "runs")
    (workdir / "folder.html").mkdir()
    (workdir / "file").write_text("")
    (workdir / "closed").mkdir()
    monkeypatch.setattr(report.os, "access", lambda path, mode: path.name != "closed")  # root may write anywhere
    monkeypatch.setattr(report, "gather", lambda *_: pytest.fail("work has started"))
    before = sorted(workdir.rglob("*"))
    assert words in refused([str(folder), "-o", output], capsys)
    assert sorted(workdir.rglob("*")) == before


def test_a_disk_that_refuses_the_report_is_one_sentence(workdir, capsys, monkeypatch):
    """A full one, or a name that it does not allow: no check before the work knows all of that."""
    monkeypatch.setattr(report, "gather", lambda *_: SimpleNamespace(files={}))
    monkeypatch.setattr(report, "compose", lambda _: "page")
    output = f"{'x' * 300}.html"
    with pytest.raises(SystemExit) as stop:
        report.main([str(make_run(workdir / "runs")), "-o", output])
    assert stop.value.code == 1
    assert capsys.readouterr().err == f"error: {output} could not be written: File name too long\n"


def test_runs_of_different_games_say_so_at_the_top_and_in_their_labels(tmp_path):
    """Their strings are written alike, as every run's are those of its own game."""
    freeway, pong = (Run(make_run(tmp_path / game, env_id=f"ALE/{game}-v5")) for game in ("Freeway", "Pong"))
    found = sections.gather([freeway], [pong])
    assert [group.label for group in found.groups] == ["made_up, Freeway", "made_up, Pong"]
    (note,) = sections.unlike_games(found)
    assert "of different games" in note
    assert html.escape(note, quote=False) in sections.compose(found)
    again = Run(make_run(tmp_path / "more", seed=2, gamma=0.5))
    found = sections.gather([freeway], [again])
    assert [group.label for group in found.groups] == ["made_up", "made_up (against)"]
    labels = sections.side_labels([Group("Pong, redo", [pong]), Group("none", [freeway])], [])
    assert labels == ["Pong, redo", "none, Freeway"], "a label that names its game already"
    assert sections.unlike_games(found) == []


def test_one_run_twice_or_none_is_refused(workdir, capsys):
    folder = make_run(workdir)
    assert "twice" in refused([str(folder), f"./{folder.name}/"], capsys)
    assert "twice" in refused([str(folder), "--against", str(folder)], capsys)
    copy = shutil.copytree(folder, workdir / "copies" / "mine")
    for words in ([str(folder), str(copy)], [str(folder), "--against", str(copy)]):
        assert "have the same settings and the same seed 1" in refused(words, capsys)
    assert not Path("report.html").exists()
    assert "is empty" in refused([], capsys)
    assert "`runs` is given and empty" in refused([""], capsys)
    assert "`against` is given and empty" in refused([str(folder), "--against", ""], capsys)
    with pytest.raises(RunFolderError, match="is no run folder"):
        check_run_folder(str(workdir))


def test_what_it_has_asked_for_is_known_without_its_events(tmp_path):
    run = Run(make_run(tmp_path, num_envs=1, num_steps=100, eval_every=500))
    assert run.asked is not None
    assert "scalars" not in vars(run), "reading all of them takes long"


def test_settings_are_read_as_they_stand(tmp_path):
    run = Run(make_run(tmp_path, modification_factory_kwargs={"modifications": ["a", ""]}))
    assert shown(run.args["modification_factory_kwargs"]) == json.dumps({"modifications": ["a", ""]})
