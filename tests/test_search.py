"""What a sweep tries: grids against products, draws against closed forms and W&B's own, Bayesian search by Optuna."""

import datetime
import itertools
import json
import math
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from continual_hackatari.training import search
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.search import Study, draw, grid, read_space

DRAWS = 4000
UNLIKELY = 1e-4  # draws are the same in every call, so that this is no matter of luck


def draws(number=DRAWS, seed=0, **setting):
    space = read_space({"p": setting})
    return [draw(space, seed, k)["p"] for k in range(number)]


# -------------------------------------------------------------------------------------------------------------- grid


def test_a_grid_is_the_product_with_the_last_name_changing_fastest():
    space = read_space(
        {
            "seed": {"values": [3, 1, 2]},
            "method": {"values": ["x", "y"]},
            "fixed": {"value": [1, 2]},
            "size": {"min": 2, "max": 4},
            "share": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25},
        }
    )
    expected = itertools.product([[1, 2]], ["x", "y"], [3, 1, 2], [0.0, 0.25, 0.5, 0.75], [2, 3, 4])
    found = list(grid(space))
    assert [tuple(point.values()) for point in found] == list(expected)
    assert list(found[0]) == ["fixed", "method", "seed", "share", "size"]


def test_a_grid_has_every_value_once():
    values = [1, 1.0, True, "1", 2, 2, None, [1], [1]]
    found = [point["a"] for point in grid(read_space({"a": {"values": values}}))]
    assert [json.dumps(value) for value in found] == ["1.0", "true", '"1"', "2", "null", "[1]"]
    assert list(grid(read_space({"a": {"value": 5}}))) == [{"a": 5}]


@pytest.mark.parametrize(
    "setting",
    [{"min": 0.0, "max": 1.0}, {"distribution": "normal"}, {"values": [1, 2], "probabilities": [0.5, 0.5]}],
)
def test_a_grid_without_a_list_of_its_values(setting):
    with pytest.raises(ConfigError, match="`method` grid cannot list the values of `a`"):
        grid(read_space({"a": setting}))


def test_a_grid_that_nobody_could_run():
    with pytest.raises(ConfigError, match="grid has 10,000,000,000 runs"):
        grid(read_space({"a": {"min": 1, "max": 10**10}}))


# ------------------------------------------------------------------------------------------------------------ random

CONTINUOUS = [
    ({"min": 0.5, "max": 3}, stats.uniform(0.5, 2.5)),
    ({"distribution": "uniform", "min": -1, "max": 1}, stats.uniform(-1, 2)),
    ({"distribution": "log_uniform_values", "min": 1e-6, "max": 0.1}, stats.loguniform(1e-6, 0.1)),
    ({"distribution": "inv_log_uniform_values", "min": 0.01, "max": 5}, stats.loguniform(0.01, 5)),
    ({"distribution": "normal"}, stats.norm()),
    ({"distribution": "normal", "mu": 3, "sigma": 0.2}, stats.norm(3, 0.2)),
    ({"distribution": "log_normal", "mu": -1, "sigma": 2}, stats.lognorm(2, scale=math.exp(-1))),
    ({"distribution": "beta"}, stats.uniform()),
    ({"distribution": "beta", "a": 2, "b": 5.5}, stats.beta(2, 5.5)),
]


@pytest.mark.parametrize(("setting", "expected"), CONTINUOUS, ids=lambda item: str(item)[:60])
def test_continuous_draws_have_the_distribution_that_they_are_called_by(setting, expected):
    found = draws(**setting)
    assert all(type(value) is float for value in found)
    assert stats.kstest(found, expected.cdf).pvalue > UNLIKELY


@pytest.mark.parametrize("name", [name for name in search.DISTRIBUTIONS if name.startswith("q_")])
@pytest.mark.parametrize("q", [0.5, 2])
def test_quantized_draws_are_the_nearest_multiples(name, q):
    limits = {"min": 1, "max": 9} if "uniform" in name else {}
    q = q / 8 if name == "q_beta" else q  # which lies between 0 and 1
    exact = draws(500, distribution=name.removeprefix("q_"), **limits)
    found = draws(500, distribution=name, q=q, **limits)
    assert all(type(value) is type(q) and value % q == 0 for value in found)
    assert all(abs(value - real) <= q / 2 for value, real in zip(found, exact, strict=True))
    assert len(set(found)) > 1


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"min": 2, "max": 6}, {2: 0.2, 3: 0.2, 4: 0.2, 5: 0.2, 6: 0.2}),
        ({"distribution": "int_uniform", "min": -1, "max": 0}, {-1: 0.5, 0: 0.5}),
        ({"values": ["x", None, 2.5]}, {"x": 1 / 3, None: 1 / 3, 2.5: 1 / 3}),
        ({"values": ["x", "y", "z"], "probabilities": [0.25, 0, 0.75]}, {"x": 0.25, "z": 0.75}),
        ({"value": 7}, {7: 1.0}),
    ],
    ids=str,
)
def test_discrete_draws_have_their_values_and_shares(setting, expected):
    counts = Counter(draws(**setting))
    assert counts.keys() == expected.keys()
    if len(expected) > 1:
        found = [counts[value] for value in expected]
        assert stats.chisquare(found, [share * DRAWS for share in expected.values()]).pvalue > UNLIKELY


def test_a_draw_depends_on_its_seed_and_number_only():
    space = read_space({"a": {"min": 0.0, "max": 1.0}, "b": {"min": 0.0, "max": 1.0}, "c": {"values": [1, 2, 3]}})
    forward = [draw(space, 3, k) for k in range(20)]
    assert forward == [draw(space, 3, k) for k in reversed(range(20))][::-1]
    assert forward[5] != draw(space, 4, 5)
    assert len({point["a"] for point in forward}) == 20
    pairs = np.array([[point["a"], point["b"]] for point in (draw(space, 0, k) for k in range(DRAWS))])
    assert stats.pearsonr(*pairs.T).pvalue > UNLIKELY, "parameters are independent of each other"


def test_draws_are_those_of_wandb():
    """Recorded from sweeps 0.3.0: `random.seed(f"7 {k}"); sweeps.next_run(config, [])` for k = 0, 1, 2."""
    parameters = {
        "zeta": {"values": ["a", "b", "c"]},
        "alpha": {"value": 3},
        "weighted": {"values": [1, 2, 5], "probabilities": [0.2, 0.5, 0.3]},
        "whole": {"min": 2, "max": 9},
        "flat": {"min": 0.0, "max": 1.5},
        "steps": {"distribution": "q_uniform", "min": 0, "max": 100, "q": 5},
        "tenths": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1},
        "rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-3},
        "inverse": {"distribution": "inv_log_uniform_values", "min": 1e-6, "max": 1e-3},
        "coarse": {"distribution": "q_log_uniform_values", "min": 1, "max": 1000, "q": 4},
        "bell": {"distribution": "normal", "mu": 3, "sigma": 2},
        "bells": {"distribution": "q_normal", "mu": 3.5, "sigma": 20, "q": 2},
        "skew": {"distribution": "log_normal", "mu": 1, "sigma": 0.5},
        "skews": {"distribution": "q_log_normal", "mu": 3},
        "share": {"distribution": "beta", "a": 2, "b": 5},
        "shares": {"distribution": "q_beta", "a": 0.5, "b": 0.5, "q": 0.25},
    }
    # fmt: off
    names = ["alpha", "bell", "bells", "coarse", "flat", "inverse", "rate", "share", "shares", "skew", "skews", "steps",
             "tenths", "weighted", "whole", "zeta"]
    recorded = [
        [3, 1.679824352302979, 0, 0, 0.1677329769818927, 0.0003695041660186728, 7.988299291517566e-06,
         0.041166309668571995, 0.0, 2.128127498291782, 5.0, 40, 0.6000000000000001, 1, 3, "a"],
        [3, -1.0330211837212175, 4, 124, 0.5308679901149085, 0.0008286329362665682, 1.692604193419767e-05,
         0.18833291479536476, 1.0, 1.1922331883991382, 58.0, 30, 0.0, 5, 4, "a"],
        [3, 1.9371201701325438, -4, 800, 0.809268074613919, 2.319714749007766e-06, 3.8171891169146765e-06,
         0.17874302123489968, 0.75, 1.7034927252399013, 122.0, 20, 0.2, 5, 6, "b"],
    ]
    # fmt: on
    for number, expected in enumerate(recorded):
        found = draw(read_space(parameters), 7, number)
        assert list(found) == names
        for value, known in zip(found.values(), expected, strict=True):
            assert type(value) is type(known)
            assert value == (pytest.approx(known, rel=1e-9) if isinstance(known, float) else known)


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (3, "`a` is 3, but must be a mapping"),
        ([1, 2], "`a` is [1, 2], but must be a mapping"),
        ({}, "`a` needs `value`, `values`, `min` and `max`, or a `distribution`."),
        ({"vales": [1, 2]}, "the nearest is `values`"),
        ({"parameters": {"b": {"value": 1}}}, "flags are not nested"),
        ({"values": [1], "value": 2}, "`a` is constant and has `values`, but may have value"),
        ({"min": 0, "max": 1, "mxa": 1}, "has `mxa`, but may have min, max; the nearest is `max`"),
        ({"min": 0.0, "max": 1, "q": 1}, "`a` is uniform and has `q`, but may have min, max"),
        ({"min": 1}, "`a` is int_uniform, but has no `max`"),
        ({"distribution": "unifrom", "min": 0, "max": 1}, "unifrom, which is unknown; the nearest is `uniform`"),
        ({"distribution": ["uniform"]}, "which is unknown"),
        ({"distribution": "log_uniform", "min": -3, "max": 1}, "exponents of e; use log_uniform_values"),
        ({"distribution": "q_log_uniform", "min": -3, "max": 1}, "use q_log_uniform_values"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 3}, "min 0.5, but int_uniform needs a whole number"),
        ({"min": 3, "max": 1}, "min 3 and max 1, but min must be less"),
        ({"min": 3.0, "max": 3.0}, "but min must be less"),
        ({"min": True, "max": 4}, "min true, but it must be a number"),
        (
            {"min": "1e-6", "max": 1},
            "min 1e-6, but it must be a number; YAML reads that as a text, write min: 1.0e-06.",
        ),
        ({"min": "little", "max": 1}, "min little, but it must be a number."),
        ({"min": 0.0, "max": math.inf}, "but it must be a number"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "needs one greater than 0"),
        ({"distribution": "normal", "sigma": 0}, "sigma 0, but it must be greater than 0"),
        ({"distribution": "q_beta", "q": -1}, "q -1, but it must be greater than 0"),
        ({"values": []}, "needs a list of at least one"),
        ({"values": 3}, "needs a list of at least one"),
        ({"probabilities": [1]}, "`a` is categorical_w_probabilities, but has no `values`"),
        ({"values": [1, 2], "probabilities": [1.0]}, "2 values, but 1 probabilities"),
        ({"values": [1, 2], "probabilities": [0.5, 0.6]}, "must add up to 1"),
        ({"values": [1, 2], "probabilities": [-0.5, 1.5]}, "must add up to 1"),
        ({"values": [1, 2], "probabilities": ["x", 1]}, "probability x, but it must be a number"),
        ({"value": datetime.date(2026, 1, 1)}, "quote it"),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_sentence(setting, sentence):
    with pytest.raises(ConfigError) as caught:
        read_space({"a": setting})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("parameters", [None, {}, [1], {True: {"value": 1}}, {"a b": {"value": 1}}, {"": {"value": 1}}])
def test_parameters_that_are_none(parameters):
    with pytest.raises(ConfigError, match="`parameters`"):
        read_space(parameters)


def test_names_of_flags_may_have_a_prefix():
    assert list(read_space({"ewc.strength": {"value": 1}, "no-anneal-lr": {"value": True}})) == [
        "ewc.strength",
        "no-anneal-lr",
    ]


# ---------------------------------------------------------------------------------------------------------- Bayesian

MIXED = {
    "x": {"min": 0.0, "max": 1.0},
    "rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1},
    "kind": {"values": ["a", "b", [1, 2]]},
    "fixed": {"value": "f"},
}


def loss(parameters):
    assert parameters["fixed"] == "f"
    far = (parameters["x"] - 0.7) ** 2 + (math.log10(parameters["rate"]) + 3) ** 2 / 4
    return far + (parameters["kind"] != "b")


@pytest.fixture
def study(tmp_path):
    pytest.importorskip("optuna", reason="Bayesian search needs Optuna, which `pip install optuna` brings")

    def make(parameters=MIXED, maximize=False, seed=0, name="study.journal", about=None):
        return Study(tmp_path / name, read_space(parameters), maximize, seed, about or {"parameters": parameters})

    return make


@pytest.mark.parametrize("maximize", [False, True])
def test_a_bayesian_search_learns_from_its_results(study, maximize):
    first, last = [], []
    for seed in (0, 1):
        searching, losses = study(seed=seed, maximize=maximize, name=f"{seed}.journal"), []
        for _ in range(30):
            parameters = searching.ask()
            losses.append(loss(parameters))
            searching.tell(parameters, -losses[-1] if maximize else losses[-1])
        first += losses[:10]  # drawn at random
        last += losses[-10:]
    assert statistics.fmean(last) < 0.65 * statistics.fmean(first)


def test_a_stopped_search_goes_on_as_if_it_had_not_been_stopped(study):
    def go_on(searching, number):
        for _ in range(number):
            parameters = searching.ask()
            searching.tell(parameters, loss(parameters))
        return searching.tried()

    whole = go_on(study(name="whole.journal"), 14)
    for _ in range(7):
        parts = go_on(study(name="parts.journal"), 2)
    assert parts == whole
    assert go_on(study(name="other.journal", seed=1), 2) != whole[:2]


def test_results_are_told_once_and_optuna_can_read_them(study, tmp_path):
    searching = study()
    asked = [searching.ask() for _ in range(12)]
    assert searching.tried() == asked
    for _ in range(2):
        searching.tell(asked[3], 0.5)
    import optuna

    # The file is an ordinary study of Optuna, which its own tools can read.
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    )
    trials = optuna.load_study(study_name="sweep", storage=storage).trials
    assert [trial.value for trial in trials if trial.state.is_finished()] == [0.5]
    assert trials[3].params["x"] == asked[3]["x"]
    assert trials[3].user_attrs["parameters"] == asked[3]


def test_runs_without_a_result_count_as_bad(study):
    # The best is at the border of what fails: a search that took no notice of failures would try 0.45 for ever (20 of
    # the last 20 fail, in each of six searches, where Optuna is told to ignore them; 8 to 11 where it is not).
    searching = study({"x": {"min": 0.0, "max": 1.0}})
    for _ in range(40):
        parameters = searching.ask()
        if parameters["x"] >= 0.5:
            searching.tell(parameters, (parameters["x"] - 0.45) ** 2)
    assert sum(parameters["x"] < 0.5 for parameters in searching.tried()[-20:]) <= 14


def test_every_distribution_can_be_searched(study):
    names = search.DISTRIBUTIONS
    parameters = {}
    for number, (name, allowed) in enumerate(names.items()):
        known = {"value": 1, "values": [1, 2], "probabilities": [0.5, 0.5], "min": 1, "max": 9, "q": 2}
        setting = {key: known[key] for key in allowed if key in known}
        parameters[f"p{number}"] = {"distribution": name, **setting}
    searching = study(parameters)
    for _ in range(12):
        found = searching.ask()
        searching.tell(found, found["p4"])
        json.dumps(found)
        assert list(found) == list(parameters)
        for name, setting in parameters.items():
            if "min" in setting:
                low, high = (0, 10) if "q" in setting else (1, 9)  # rounding may leave the limits
                assert low <= found[name] <= high
            if "q" in setting:
                assert found[name] % 2 == 0
            if setting["distribution"] in ("constant", "categorical", "int_uniform"):
                assert type(found[name]) is int
    assert len({found["p9"] for found in searching.tried()}) == 12, "normal"


def test_a_small_space_is_searched_without_repetition_until_nothing_is_left(study, monkeypatch):
    monkeypatch.setattr(search, "ATTEMPTS", 50)  # quicker to give up
    searching = study({"a": {"values": [1, 2, 3]}, "b": {"values": [True, False]}})
    found = []
    while parameters := searching.ask():
        found.append((parameters["a"], parameters["b"]))
        searching.tell(parameters, 1.0)
    assert sorted(found) == sorted(itertools.product([1, 2, 3], [True, False]))


def test_a_study_of_something_else_is_refused(study):
    study(about={"parameters": 1, "metric": "m"}).ask()
    study(about={"parameters": 1, "metric": "m"})
    with pytest.raises(ConfigError, match="began with another `metric`; put it back, or begin"):
        study(about={"parameters": 1, "metric": "n"})


def test_optuna_is_loaded_by_bayesian_search_only_and_scipy_by_bells():
    code = (
        "import sys; from continual_hackatari import sweep; from continual_hackatari.training.search import *;"
        "space = read_space({'a': {'distribution': 'q_log_uniform_values', 'min': 1, 'max': 2}});"
        "draw(space, 0, 0); print({'optuna', 'scipy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_without_optuna_the_pip_line_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=re.escape("needs the package optuna: run `pip install optuna`.")):
        Study(tmp_path / "study.journal", read_space(MIXED), True, 0, {})
    assert list(Path(tmp_path).iterdir()) == []
