"""Run folders that earlier versions have written are read: by metrics.py, report.py and the evaluation of runs.

`data/run_of_<commit>` was recorded with that commit: 96 steps of a tiny agent through two switches, evaluated while it
trained; its metrics.json holds what that commit computed.
"""

import json
import math
import shutil

import pytest
from conftest import NEEDS_OCATARI, ROOT, mostly_slow, read_csv

from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari import metrics, report
from continual_hackatari.reporting import figures
from continual_hackatari.reporting import report as sections
from continual_hackatari.reporting.metrics import run_metrics
from continual_hackatari.reporting.runs import Regime, Run

COMMITS = ("e5d8623", "da2de10")


@pytest.fixture(params=COMMITS)
def old(request, tmp_path):
    return shutil.copytree(ROOT / "tests" / "data" / f"run_of_{request.param}", tmp_path / "old")


def test_everything_in_the_folder_is_read(old):
    run = Run(old)
    assert run.notes == []
    assert run.finished
    assert run.regimes == [Regime(0, 32, ""), Regime(32, 64, "left_drift"), Regime(64, 96, "")]
    assert len(run.games.step) == len(read_csv(old / "episodes.csv")) > 0
    assert {"losses/value_loss", "charts/SPS", "time/update"} <= set(run.scalars)
    steps = [(place.global_step, place.phase) for place in run.asked.places]
    assert steps == [(0, 0), (32, 0), (32, 1), (64, 1), (64, 2), (96, 2)]
    assert run.asked.strings == ["", "left_drift", "right_drift"]
    evaluations = run.evaluations()
    assert not evaluations.pending
    assert evaluations.held_out == ["right_drift"]


def test_metrics_are_what_they_were(old, tmp_path, monkeypatch, capsys):
    found = run_metrics(Run(old).evaluations())
    for name, before in json.loads((old / "metrics.json").read_text()).items():
        units = {key: math.nan if value is None else value for key, value in before["units"].items()}
        assert found[name].units == pytest.approx(units, nan_ok=True), name
        assert found[name].reasons == before["reasons"], name
    monkeypatch.chdir(tmp_path)
    metrics.main([str(old)])
    assert "group 1: ALE/Breakout-v5 PPO_OBJ, 1 run" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("old", mostly_slow(COMMITS, 2), indirect=True)
def test_a_report_shows_all_of_it(old, tmp_path, monkeypatch):
    def draw_once(name, draw):
        with figures.drawing(figures.LIGHT):
            svg = figures.render(draw(figures.LIGHT), "svg")
        return {}, svg, svg

    monkeypatch.setattr(sections, "drawn_figure", draw_once)
    report.main([str(old), "-o", str(tmp_path / "x.html")])
    text = (tmp_path / "x.html").read_text()
    for name in ("returns", "evaluation", "switches", "losses", "speed"):
        assert f'id="figure-{name}"' in text, name
    assert "not finished" not in text


@NEEDS_OCATARI
@pytest.mark.parametrize("old", mostly_slow(COMMITS, 2), indirect=True)
def test_what_is_missing_is_evaluated_later(old, capsys):
    before = read_csv(old / "evals.csv")
    lines = (old / "evals.csv").read_text().splitlines(keepends=True)
    (old / "evals.csv").write_text("".join(line for line in lines if ",96," not in line))
    evaluation.main(["--run", str(old), "--num_workers", "0", "--no_cuda"])

    def games(rows):
        names = ("seed", "phase", "global_step", "modification", "split", "episode", "deterministic", "trained_on")
        return sorted(tuple(row[name] for name in names) for row in rows)

    assert games(read_csv(old / "evals.csv")) == games(before)


def test_a_run_that_cannot_go_on_says_what_its_settings_became(tmp_path, capsys):
    old = shutil.copytree(ROOT / "tests" / "data" / "run_of_e5d8623", tmp_path / "old")
    before = sorted(path.name for path in old.iterdir())
    with pytest.raises(SystemExit, match="2"):
        training.main(["--resume", str(old), "--no_cuda"])
    assert (
        "is finished, after 96 steps; `noop_max`, 30, is a setting that this version does not know; `game_start`"
        in (capsys.readouterr().err)
    )
    assert sorted(path.name for path in old.iterdir()) == before
