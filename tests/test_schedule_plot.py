"""The picture of a schedule: its data against a step-by-step count, its files, its errors."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, write_config

from continual_hackatari.schedules import plot as schedule_plot
from continual_hackatari.schedules import preview
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.schedules.survey import survey_of

COMBINED = {
    "modification_factory": "EpsCombinedModificationFactory",
    "modification_factory_kwargs": {
        "modification_factory_kwargs": [
            {
                "modification_factory": "SequentialModificationFactory",
                "modification_factory_kwargs": {
                    "num_total_steps": 400,
                    "modifications": ["a", "", "b"],
                    "switching_thresholds": [130, 300],
                },
            },
            {
                "modification_factory": "CombinedModificationFactory",
                "modification_factory_kwargs": {
                    "modification_factory_kwargs": {
                        "NoModificationFactory": {"num_total_steps": 200},
                        "RandomModificationFactory": {
                            "num_total_steps": 600,
                            "modifications": ["a", "c d", "e"],
                            "num_repetitions": 20,
                        },
                    }
                },
            },
        ],
        "epsilon": 0.2,
        "num_repetitions": 7,
    },
}


def random_config(num_modifications, steps, hold):
    kwargs = {
        "num_total_steps": steps,
        "modifications": [f"modification_{i}" for i in range(num_modifications)],
        "num_repetitions": hold,
    }
    return {"modification_factory": "RandomModificationFactory", "modification_factory_kwargs": kwargs}


def regimes_of(config, num_envs, seed=42):
    factory = schedule_from_config(config, seed=seed)
    return factory, survey_of(factory, factory.num_total_steps, num_envs).regimes


def as_played(factory, num_envs):
    """What is played at each step, one by one: a run asks every `num_envs` steps."""
    return [
        factory.get_modification(step) for step in range(0, factory.num_total_steps, num_envs) for _ in range(num_envs)
    ]


@pytest.mark.parametrize("num_envs", [1, 8])
def test_bands_cover_exactly_the_steps_at_which_a_string_is_played(num_envs):
    factory, regimes = regimes_of(COMBINED, num_envs)
    played = as_played(factory, num_envs)
    found = schedule_plot.bands(regimes)
    assert list(found) == list(dict.fromkeys(played))
    for name, intervals in found.items():
        steps = [step for start, stop in intervals for step in range(start, stop)]
        assert steps == [step for step, string in enumerate(played) if string == name]
        assert all(earlier[1] < later[0] for earlier, later in pairwise(intervals)), "borders are switches"


@pytest.mark.parametrize("columns", [1, 7, 100, 1200])
def test_shares_of_columns_are_those_of_a_count_step_by_step(columns):
    factory, regimes = regimes_of(COMBINED, 8)
    played = np.array(as_played(factory, 8))
    found = schedule_plot.bands(regimes)
    edges = np.linspace(0, len(played), columns + 1)
    shares = schedule_plot.column_shares(found, edges)
    assert shares.shape == (len(found), columns)
    for row, name in enumerate(found):
        for column in range(columns):
            low, high = edges[column], edges[column + 1]
            steps = np.arange(len(played))[played == name]
            inside = np.clip(np.minimum(steps + 1, high) - np.maximum(steps, low), 0, None).sum()
            assert shares[row, column] == pytest.approx(inside / (high - low), abs=1e-9)


def test_samples_count_by_the_steps_that_they_cover():
    regimes = [(0, 10, "a"), (10, 20, "b"), (100, 130, "a"), (130, 140, "b")]  # 80 steps of each 100 are unknown
    shares = schedule_plot.column_shares(schedule_plot.bands(regimes), np.array([0.0, 100.0, 200.0, 300.0]))
    np.testing.assert_allclose(shares, [[0.5, 0.75, 0.0], [0.5, 0.25, 0.0]])


def test_switches_are_counted_once_and_not_between_samples():
    factory, regimes = regimes_of(COMBINED, 8)
    played = as_played(factory, 8)
    expected = [step for step in range(1, len(played)) if played[step] != played[step - 1]]
    assert schedule_plot.switch_steps(regimes) == expected
    assert schedule_plot.switch_steps([(0, 10, "a"), (10, 20, "b"), (100, 130, "a"), (130, 140, "a")]) == [10]


def test_rows_beyond_the_limit_become_one_that_loses_no_step():
    factory, regimes = regimes_of(random_config(9, 9000, 10), 1)
    found = schedule_plot.bands(regimes)
    rows = schedule_plot.few_rows(found, most=4)
    assert len(rows) == 4
    assert list(rows)[-1] == "6 further modifications"
    steps = {name: sum(stop - start for start, stop in intervals) for name, intervals in found.items()}
    kept = sorted(steps, key=steps.get)[-3:]
    assert list(rows)[:3] == [name for name in found if name in kept]
    others = {step for start, stop in rows["6 further modifications"] for step in range(start, stop)}
    assert others == {step for step in range(9000) if factory.get_modification(step) not in kept}
    assert schedule_plot.few_rows(found, most=9) == found


def test_phases_are_numbered_as_in_the_preview(tmp_path, capsys):
    factory = schedule_from_config(COMBINED, seed=42)
    assert list(preview._leaf_phases(factory, 1200)) == [
        (0, 400, "1 Sequential"),
        (400, 600, "2.1 No"),
        (600, 1200, "2.2 Random"),
    ]
    assert list(preview._leaf_phases(factory, 500)) == [(0, 400, "1 Sequential"), (400, 500, "2.1 No")]
    assert preview.main([write_config(tmp_path, **COMBINED)]) == 0
    assert "  2.2             600 ..         1,199   RandomModificationFactory" in capsys.readouterr().out


def test_phases_deep_inside_others_begin_where_they_are_played(tmp_path, capsys):
    kwargs = {"NoModificationFactory": {"num_total_steps": 50}}
    for steps in (200, 400):
        inner = {"modification_factory_kwargs": kwargs}
        kwargs = {"NoModificationFactory": {"num_total_steps": steps}, "CombinedModificationFactory": inner}
    config = {
        "modification_factory": "CombinedModificationFactory",
        "modification_factory_kwargs": {"modification_factory_kwargs": kwargs},
    }
    assert list(preview._leaf_phases(schedule_from_config(config, seed=42), 650)) == [
        (0, 400, "1 No"),
        (400, 600, "2.1 No"),
        (600, 650, "2.2.1 No"),
    ]
    assert preview.main([write_config(tmp_path, **config)]) == 0
    assert "  2.2.1           600 ..           649   NoModificationFactory" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------ picture


def plotted(tmp_path, config, *flags, name="timeline.png"):
    path = tmp_path / name
    assert preview.main([write_config(tmp_path, **config), "--plot", str(path), *flags]) == 0
    return path


def test_colours_stand_where_the_strings_are_played(tmp_path):
    """Two strings of one half each: in the picture blue ends where orange begins."""
    kwargs = {"num_total_steps": 8000, "modifications": ["x", "y"], "switching_thresholds": [4000]}
    config = {"modification_factory": "SequentialModificationFactory", "modification_factory_kwargs": kwargs}
    picture = cv2.imread(str(plotted(tmp_path, config)))[..., ::-1].astype(int)
    left = picture[:, : int(0.88 * picture.shape[1])]  # without the bars of the shares
    columns = []
    for colour in ((0, 0x72, 0xB2), (0xE6, 0x9F, 0)):
        columns.append(np.flatnonzero((np.abs(left - colour).sum(axis=-1) < 9).any(axis=0)))
    blue, orange = columns
    assert abs(len(blue) - len(orange)) <= 3
    assert len(blue) > 400
    assert abs(blue[-1] - orange[0]) <= 3


def test_a_run_shorter_than_its_schedule_is_drawn_as_far_as_it_goes(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(schedule_plot, "draw", lambda target, timeline: drawn.append(timeline))
    plotted(tmp_path, COMBINED, "--total_timesteps", "500", "--num_envs", "4")
    (timeline,) = drawn
    assert timeline.stop == 500
    assert timeline.regimes[-1][1] == 500
    assert list(timeline.phases) == [(0, 400, "1 Sequential"), (400, 500, "2.1 No")]
    assert timeline.subtitle.startswith("500 steps in 4 games")


@pytest.mark.slow
@pytest.mark.parametrize(("num_modifications", "hold"), [(2, 2000), (2, 20), (40, 2000), (70, 20)])
def test_names_fit_whatever_their_number(tmp_path, num_modifications, hold):
    """Nothing is drawn over the border of the picture, and rows keep their height."""
    picture = cv2.imread(str(plotted(tmp_path, random_config(num_modifications, 100_000, hold))))
    assert (np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]]) == 255).all()
    rows = min(num_modifications, schedule_plot.MAX_ROWS)
    assert picture.shape[0] > 30 * rows


@pytest.mark.parametrize("ending", ["png", "pdf", "svg", "SVG"])
def test_each_format_is_what_its_name_says(tmp_path, ending):
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    path = plotted(tmp_path, COMBINED, name=f"timeline.{ending}")
    assert path.read_bytes().startswith(begins[ending.lower()])
    assert {each.name for each in tmp_path.iterdir()} == {path.name, "config.json"}


def test_a_schedule_of_samples_is_drawn(tmp_path, capsys):
    assert plotted(tmp_path, random_config(3, 20_000_000, 8)).stat().st_size > 5000
    assert "estimated from samples" in capsys.readouterr().out


def test_the_command_names_the_file_after_the_preview(tmp_path, capsys):
    path = plotted(tmp_path, COMBINED)
    out = capsys.readouterr().out
    assert out.endswith(f"\nplot: {path}\n")
    assert "Share of the steps" in out


@pytest.mark.slow
def test_without_plot_nothing_of_matplotlib_is_loaded():
    code = (
        "import sys, modification_factories as mf; mf.main(['run_config.json']);"
        "assert not {'matplotlib', 'schedule_plot'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("a.gif", [".png", ".svg", "a.gif"]),
        ("a", [".png", "'a'"]),
        ("no/a.png", ["folder that does not exist", "no/a.png"]),
        ("folder.png", ["is a folder itself"]),
    ],
)
def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch, capsys, path, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    config = write_config(tmp_path, **COMBINED)
    before = sorted(tmp_path.rglob("*"))
    assert preview.main([config, "--plot", path]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: `plot`")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_leaves_the_old_picture(tmp_path, monkeypatch, capsys):
    def fail(self, data):
        Path.touch(self)
        raise OSError(28, "No space left on device")

    config = write_config(tmp_path, **COMBINED)
    (tmp_path / "a.png").write_text("old")
    monkeypatch.setattr(Path, "write_bytes", fail)
    assert preview.main([config, "--plot", str(tmp_path / "a.png")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert (tmp_path / "a.png").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_plot_and_conversion_exclude_each_other(tmp_path, capsys):
    assert preview.main([write_config(tmp_path, **COMBINED), "--plot", str(tmp_path / "a.png"), "--from_original"]) == 2
    assert "`--plot` previews and `--from_original` converts" in capsys.readouterr().err
