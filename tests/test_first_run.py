"""The README's first run, made short: what it prints at its end, and the picture that it leaves."""

import contextlib
import dataclasses
import io
import json
import shlex
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from conftest import ROOT, read_csv, write_config
from made_up_runs import make_run
from matplotlib.figure import Figure

from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari import report
from continual_hackatari.reporting import picture
from continual_hackatari.reporting.runs import Run
from continual_hackatari.training import ending
from continual_hackatari.training.command_line import parse_command_line

CONFIG = json.loads((ROOT / "configs" / "first_run.json").read_text())
# One game, seen every fortieth frame: each regime of 200 steps holds a whole game or more, in few seconds.
SHORT = ("--num_envs", "1", "--num_workers", "0", "--frameskip", "40", "--num_steps", "80", "--no-cuda")
QUICK = ("--update_epochs", "1", "--num_minibatches", "1")


class FirstRun(NamedTuple):
    folder: Path
    said: str
    figure: Figure


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """The shipped file with its regimes shortened, trained; the figure is the one that was written as returns.png."""
    place = tmp_path_factory.mktemp("first_run")
    schedule = {**CONFIG["modification_factory_kwargs"], "num_total_steps": 600, "switching_thresholds": [200, 400]}
    config = write_config(place, **{**CONFIG, "modification_factory_kwargs": schedule})
    figures, said = [], io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(place)
        render = picture.render
        patch.setattr(picture, "render", lambda figure, kind: figures.append(figure) or render(figure, kind))
        training.main([*SHORT, *QUICK, "--config", config])
        (folder,) = place.glob("runs/*")
        (figure,) = figures
        return FirstRun(folder, said.getvalue(), figure)


def test_the_file_says_nothing_that_is_the_default_anyway():
    defaults = {field.name: field.default for field in dataclasses.fields(training.Args)}
    assert not [name for name, value in CONFIG.items() if value == defaults[name]]
    schedule = CONFIG["modification_factory_kwargs"]
    assert schedule["modifications"] == ["", "parallel_enemy", ""]
    borders = [0, *schedule["switching_thresholds"], schedule["num_total_steps"]]
    assert np.diff(borders) == pytest.approx(25_000, rel=0.2)


@pytest.mark.slow
def test_the_picture_shows_every_whole_game_the_regimes_and_the_switches(first_run):
    whole = [(int(row["global_step"]), float(row["return"])) for row in read_csv(first_run.folder / "episodes.csv")
             if row["cut"] == "0"]  # fmt: skip
    assert len(whole) >= 2
    axes = first_run.figure.axes[0]
    (dots,) = [drawn for drawn in axes.collections if type(drawn).__name__ == "PathCollection"]
    assert sorted(map(tuple, dots.get_offsets())) == sorted(whole)
    low, high = axes.get_ylim()
    assert axes.get_xlim() == (0, 600)
    assert all(low < score < high for _, score in whole)

    words = [text.get_text() for text in axes.texts]
    assert words == ["a  no_modif", "b  parallel_enemy", "a  no_modif"]
    assert [text.get_position()[0] for text in axes.texts] == [100, 300, 500]
    assert axes.get_title(loc="left") == "ALE/Pong-v5, seed 42"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one game", "mean of neighbouring games"]
    switches = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
    assert switches == [200, 400] == [int(row["global_step"]) for row in read_csv(first_run.folder / "switches.csv")]


@pytest.mark.slow
def test_the_shades_of_the_regimes_are_in_the_file(first_run):
    image = cv2.imread(str(first_run.folder / "returns.png"))
    assert image.shape[0] < image.shape[1] < 2000
    assert (first_run.folder / "returns.png").stat().st_size < 200_000
    axes = first_run.figure.axes[0]
    height = image.shape[0]

    def colour(step):
        x, y = axes.transData.transform((step, 0))[0], axes.transAxes.transform((0, 0.98))[1]
        scale = image.shape[1] / first_run.figure.bbox.width
        return image[round(height - y * scale), round(x * scale)].tolist()

    first, second, third = colour(50), colour(250), colour(450)
    assert first == third != second
    assert [255, 255, 255] not in (first, second)


@pytest.mark.slow
def test_the_end_says_where_everything_is_and_the_commands_are_exact(first_run, monkeypatch):
    place = first_run.folder.parents[1]
    monkeypatch.chdir(place)
    run = first_run.folder.relative_to(place)
    *_, folder, drawn, report_line, evaluate_line = first_run.said.splitlines()
    assert (folder, drawn) == (f"run folder: {run}", f"picture:    {run}/returns.png")

    program, script, *words = shlex.split(report_line.removeprefix("report:     "))
    assert (program, Path(script).resolve()) == ("python", ROOT / "report.py")
    assert [found.folder for found in report.check(parse_command_line(report.Args, words))[0]] == [run]

    program, script, *words = shlex.split(evaluate_line.removeprefix("evaluate:   "))
    assert (program, Path(script).resolve()) == ("python", ROOT / "eval.py")
    args = parse_command_line(evaluation.Args, words)
    assert (args.agent_path, args.env_id) == ((f"{run}/model.cleanrl_model",), "ALE/Pong-v5")
    assert Path(args.agent_path[0]).is_file()


# ------------------------------------------------------------------------------------------- of any run, made up ones


def end_of(folder, capsys):
    """What is printed at the end of this run."""
    ending.say_what_there_is(folder, "ALE/Freeway-v5", "PPO", "")
    return capsys.readouterr().out.splitlines()


def test_what_exists_is_printed(tmp_path, capsys):
    folder = make_run(tmp_path, evaluated=lambda string, phase, step: 1.0)
    named = {line.split(":")[0]: line.split(":")[1].strip() for line in end_of(folder, capsys)}
    assert list(named) == ["run folder", "picture", "evaluated", "report", "evaluate"]
    assert named["picture"] == str(folder / "returns.png")
    assert named["evaluated"] == str(folder / "evals.csv")


def test_a_run_without_a_whole_game_has_no_picture(tmp_path, capsys):
    folder = make_run(tmp_path, games_every=5000)  # all games are cut
    assert [line.split(":")[0] for line in end_of(folder, capsys)] == ["run folder", "report", "evaluate"]
    assert not (folder / "returns.png").exists()


def test_a_run_that_went_on_has_a_picture_of_all_of_it(tmp_path, capsys):
    folder = make_run(tmp_path, strings=("", "a"))
    end_of(folder, capsys)
    before = (folder / "returns.png").read_bytes()
    with (folder / "episodes.csv").open("a") as file:
        file.write("2500,0,a,3.0,10,0,0,0\n")
    end_of(folder, capsys)
    assert (folder / "returns.png").read_bytes() != before
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("problem", ["reporting.picture.returns_png", "training.ending.atomic_path"])
def test_a_picture_that_fails_is_a_warning_and_nothing_else(tmp_path, capsys, monkeypatch, problem):
    def fail(*_):
        raise OSError(28, "No space left on device")

    folder = make_run(tmp_path)
    monkeypatch.setattr(f"continual_hackatari.{problem}", fail)
    lines = end_of(folder, capsys)
    assert lines[0] == "warning: no picture of the returns: OSError: [Errno 28] No space left on device"
    assert [line.split(":")[0] for line in lines[1:]] == ["run folder", "report", "evaluate"]
    assert not (folder / "returns.png").exists()


def test_without_events_the_same_games_and_regimes_are_read(tmp_path):
    folder = make_run(tmp_path)
    whole, part = Run(folder), Run(folder, events=False)
    assert part.scalars == {}
    assert part.regimes == whole.regimes
    assert part.games.score.tolist() == whole.games.score.tolist()
    assert part.notes == whole.notes
