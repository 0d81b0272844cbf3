"""The comparison of what two commits compute notices whatever may differ, and nothing else."""

import csv

import pytest
import torch

from benchmarks import same_results
from benchmarks.same_results import KINDS, Kind, compare, contents, differences, same
from continual_hackatari.training.checkpoints import load_checkpoint, save_checkpoint
from continual_hackatari.training.tracking import EPISODE_COLUMNS, SWITCH_COLUMNS, Tracker

WEIGHTS = {"a": torch.tensor([1.0, float("nan")]), "b": torch.zeros(2, dtype=torch.int64)}


def write_run(folder, *, now=1, score=3, phase=0, weights=WEIGHTS, logged=0.5):
    """A run as training writes it; `now` stands for when and where."""
    run = folder / "runs" / f"run__{now}"
    run.mkdir(parents=True)
    with Tracker(run) as tracker:
        tracker.episode({**dict.fromkeys(EPISODE_COLUMNS, 0), "return": score})
        tracker.switch({**dict.fromkeys(SWITCH_COLUMNS, 0), "seconds": now})
        tracker.scalars({"losses/loss": logged, "losses/none": float("nan"), "time/update": now, "charts/SPS": now}, 8)
    save_checkpoint(run / "model.cleanrl_model", model_weights=weights, args={"resume": str(now)}, global_step=8)
    with (run / "evals.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["run", "phase", "score"], [run.name, phase, score]])


@pytest.fixture
def found(tmp_path):
    """What is compared of a run with these deviations from the usual one."""

    def write(name, **deviations):
        write_run(tmp_path / name, **deviations)
        return contents(tmp_path / name)

    return write


def test_when_and_where_a_run_was_makes_no_difference(found):
    assert differences(found("one"), found("other", now=2)) == []


@pytest.mark.parametrize(
    ("deviation", "names"),
    [
        ({"score": 4}, ["episodes.csv", "evals.csv", "logged charts/episodic_return"]),
        ({"phase": 1}, ["evals.csv"]),
        ({"logged": 0.5000001}, ["logged losses/loss"]),
        ({"weights": {**WEIGHTS, "a": torch.tensor([1.0000001, float("nan")])}}, ["checkpoint model.cleanrl_model"]),
        ({"weights": {**WEIGHTS, "c": torch.zeros(1)}}, ["checkpoint model.cleanrl_model"]),
    ],
    ids=["score", "phase", "logged", "weight", "layer"],
)
def test_every_difference_is_named(found, deviation, names):
    assert set(names) <= set(differences(found("one"), found("other", **deviation)))


def test_a_file_on_one_side_and_nothing_on_both_are_differences(found, tmp_path):
    whole = found("one")
    write_run(tmp_path / "other")
    (run,) = (tmp_path / "other" / "runs").iterdir()
    (run / "switches.csv").unlink()
    assert differences(whole, contents(tmp_path / "other")) == ["switches.csv is missing"]
    assert differences(contents(tmp_path / "other"), whole) == ["switches.csv is new"]
    assert differences({}, {}) == ["nothing was written"]


def test_tensors_are_compared_bit_for_bit_with_type_and_shape():
    zero = torch.zeros(1)
    assert same(zero, zero.clone())
    for other in (-zero, zero.double(), torch.zeros(1, 1), 0.0):
        assert not same(zero, other)
    assert not same({"a": [1]}, {"a": [1.0]})


def write_half(script, folder, flags):
    """Stands for a training: `code` says which of two versions it is."""
    write_run(folder, weights={"a": torch.tensor([float(script.parent.name)])})


def test_two_versions_of_the_code_are_compared_and_a_failure_is_no_agreement(tmp_path, monkeypatch):
    kind, one, two = Kind("", play=write_half), tmp_path / "1", tmp_path / "2"
    assert compare(kind, [one, one], tmp_path / "same") == []
    assert compare(kind, [one, two], tmp_path / "other") == ["checkpoint model.cleanrl_model"]
    (written,) = (tmp_path / "other" / "1").glob("runs/*/model.cleanrl_model")
    assert load_checkpoint(written).model_weights["a"] == 2
    (problem,) = compare(KINDS["ppo"], [one, one], tmp_path / "missing")  # there is no script in these folders
    assert problem.startswith("the first failed: exit code 2: ")


def test_a_commit_that_does_not_exist_is_one_sentence(capsys):
    with pytest.raises(SystemExit, match="error: not-a-commit cannot be checked out: "):
        same_results.main(["not-a-commit", "HEAD", "--kinds", "ppo"])
