"""Writes rliable_intervals.json: what rliable 1.2.0 says of a few score matrices, for tests/test_intervals.py.

rliable (Agarwal et al. 2021) is no dependency of this project, so its answers are kept. To make them again:

    python -m venv rliable && rliable/bin/pip install rliable==1.2.0 "numpy<2" "pandas<3"
    rliable/bin/python tests/data/record_rliable.py
"""

import json
import math
from pathlib import Path

import numpy as np
from arch.bootstrap import IIDBootstrap
from rliable.library import StratifiedBootstrap
from rliable.metrics import aggregate_iqm, aggregate_mean

RESAMPLES = 50_000
TESTED_WITH = 20_000  # resamples on this project's side
SIGMAS = 5


def matrices():
    """Score matrices [runs, games]."""
    draw = np.random.default_rng(14)
    yield "unlike games", draw.normal(size=(5, 6)) * [1, 2, 3, 4, 5, 6] + [0, 0, 5, 0, 10, -20]
    yield "ties", draw.integers(0, 3, size=(4, 5)).astype(float)
    yield "one game", draw.exponential(size=(7, 1)) * 100
    yield "many runs", draw.standard_t(3, size=(60, 4))
    yield "three runs", draw.uniform(-1, 1, size=(3, 8))
    yield "skewed, like Atari's human-normalised scores", np.exp(draw.normal(0, 1.5, size=(3, 26)))


def interval(bootstrap):
    """Limits of the mean's 95 % percentile interval, and bands in which another bootstrap's limits must lie.

    A quantile p of n resamples is the quantile p + e of their distribution, and e has the standard deviation
    sqrt(p (1 - p) / n), whatever that distribution is. So another bootstrap's limit lies among the quantiles within
    5 standard deviations of p, those of both bootstraps taken together.
    """
    values = bootstrap.apply(aggregate_mean, RESAMPLES)[:, 0]
    spread = SIGMAS * math.sqrt(0.025 * 0.975 * (1 / RESAMPLES + 1 / TESTED_WITH))
    bands = [np.quantile(values, [p - spread, p + spread]).tolist() for p in (0.025, 0.975)]
    return {"limits": np.quantile(values, [0.025, 0.975]).tolist(), "bands": bands}


def main():
    recorded = []
    for name, exact in matrices():
        scores = np.round(exact, 3)
        np.random.seed(1)  # noqa: NPY002 - what rliable draws from
        units = interval(StratifiedBootstrap(scores))
        runs = interval(IIDBootstrap(scores, seed=1))
        iqm = float(aggregate_iqm(scores))
        recorded.append({"name": name, "scores": scores.tolist(), "iqm": iqm, "units": units, "runs": runs})
    content = {"made by": "tests/data/record_rliable.py", "tested with": TESTED_WITH, "matrices": recorded}
    Path(__file__).with_name("rliable_intervals.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
