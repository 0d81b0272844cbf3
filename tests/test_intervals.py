"""Interquartile means, and the means' bootstrap intervals: against rliable's recorded ones and all resamples."""

import itertools
import json
import math

import numpy as np
import pytest
from conftest import ROOT, mostly_slow

from continual_hackatari.reporting import statistics
from continual_hackatari.reporting.statistics import (
    interquartile_mean,
    interval_of_mean,
    mean_std_interval,
    students_interval,
)

RECORDED = json.loads((ROOT / "tests" / "data" / "rliable_intervals.json").read_text())
ROUNDING = 1e-9


@pytest.fixture(autouse=True)
def many_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", RECORDED["tested with"])


@pytest.mark.parametrize("resample", ["units", "runs"])
@pytest.mark.parametrize("matrix", mostly_slow(RECORDED["matrices"], 3), ids=lambda matrix: matrix["name"])
def test_they_are_those_of_rliable(matrix, resample):
    scores = np.array(matrix["scores"])
    assert interquartile_mean(scores) == pytest.approx(matrix["iqm"], rel=1e-12, abs=1e-12)
    limits = interval_of_mean(scores, resample)
    # Both are random; how far they may be apart follows from the numbers of resamples (data/record_rliable.py).
    for limit, (low, high) in zip(limits, matrix[resample]["bands"], strict=True):
        assert low - ROUNDING <= limit <= high + ROUNDING


def middle_mean(scores):
    """The mean of what is left when a quarter, rounded down, is cut at each end."""
    ordered, cut = sorted(scores), len(scores) // 4
    return math.fsum(ordered[cut : len(ordered) - cut]) / (len(ordered) - 2 * cut)


SCORES = np.array([[0.0, 10.0], [1.0, 17.0], [5.0, 12.0], [7.0, 40.0]])  # [runs, units]
PICKS = list(itertools.product(range(4), repeat=4))


@pytest.mark.parametrize(
    ("resample", "samples"),
    [
        ("units", [np.append(SCORES[[*a], 0], SCORES[[*b], 1]) for a, b in itertools.product(PICKS, PICKS)]),
        ("runs", [SCORES[[*pick]].ravel() for pick in PICKS]),
    ],
)
def test_resampling_is_that_of_all_resamples_one_by_one(resample, samples):
    assert interquartile_mean(SCORES) == middle_mean(SCORES.ravel())
    every = np.mean(samples, axis=1)
    limits = interval_of_mean(SCORES, resample)
    for limit, share in zip(limits, (0.025, 0.975), strict=True):
        margin = 5 * math.sqrt(0.025 * 0.975 / statistics.RESAMPLES)
        low, high = np.quantile(every, [share - margin, share + margin])
        assert low - ROUNDING <= limit <= high + ROUNDING


def test_the_same_scores_have_the_same_interval_and_the_global_generator_is_left_alone():
    np.random.seed(3)  # noqa: NPY002
    first = interval_of_mean(SCORES)
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    assert interval_of_mean(SCORES) == first
    assert np.random.random() == expected  # noqa: NPY002


@pytest.mark.parametrize("resample", ["units", "runs"])
def test_fewer_than_three_runs_have_no_interval(resample):
    scores = np.array([[1.0, 2.0, 30.0, 4.0], [2.0, 3.0, 4.0, 5.0], [0.0, 0.0, 0.0, 1.0]])
    assert interquartile_mean(scores[:1]) == 3.0
    for few in (1, 2):
        assert all(map(math.isnan, interval_of_mean(scores[:few], resample)))
        assert all(map(math.isnan, mean_std_interval(scores[:few, 0].tolist())[2:]))
        assert math.isnan(students_interval(scores[:few, 0].tolist())[1])
    assert all(map(math.isfinite, interval_of_mean(scores, resample)))
    assert all(map(math.isfinite, mean_std_interval(scores[:, 0].tolist())))
    assert math.isfinite(students_interval(scores[:, 0].tolist())[1])
