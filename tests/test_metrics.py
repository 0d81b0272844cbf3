"""The continual metrics: matrices computed by hand, and a slow independent implementation on random runs."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from evaluations import by_matrix, make_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from continual_hackatari.reporting.asked import Asked, Place
from continual_hackatari.reporting.evaluations import Evaluations, Scale, check_rows
from continual_hackatari.reporting.floor import Floor
from continual_hackatari.reporting.metrics import METRICS, continual_metrics, run_metrics
from continual_hackatari.reporting.rows import EVALUATION_COLUMNS, RunFolderError
from continual_hackatari.reporting.runs import Run


def metrics_of(rows, **options):
    return run_metrics(Evaluations.of(rows), **options)


# ---------------------------------------------------------------------------------------------- matrices by hand

# Three tasks, each trained on once. Rows: task, columns: after phase 0, 1, 2. Before training every score is 0, but 1
# for c.
#              after a   after b   after c
THREE = {"a": [10.0, 7.0, 4.0], "b": [2.0, 12.0, 13.0], "c": [0.0, 3.0, 9.0]}


def test_three_tasks_by_hand():
    metrics = metrics_of(make_rows(["a", "b", "c"], by_matrix(THREE, {"c": 1.0})))
    assert metrics["average_performance"].value == pytest.approx((4 + 13 + 9) / 3)
    assert metrics["forgetting_isolated"].units == {"a, phase 1": 3.0, "a, phase 2": 3.0, "b, phase 2": -1.0}
    assert metrics["forgetting_isolated"].value == pytest.approx(5 / 3)
    # not over c, the last task, which nothing followed; and not over what b scored before it was trained on
    assert metrics["forgetting_maximal"].units == {"a, phase 0": 6.0, "b, phase 1": -1.0}
    assert metrics["forgetting_maximal"].value == 2.5
    assert metrics["backward_transfer"].value == -2.5
    assert metrics["zero_shot_transfer"].units == {"b, phase 0": 2.0, "c, phase 0": -1.0, "c, phase 1": 3.0}
    assert metrics["zero_shot_transfer"].value == pytest.approx(4 / 3)
    # a -> b: 10 before, b at 2 after; b -> c: 12 before, c at 3 after
    assert metrics["switch_drop"].units == {"a -> b, phase 1": 8.0, "b -> c, phase 2": 9.0}
    assert metrics["switch_drop"].value == 8.5
    # b must reach 0 + 0.9 (10 - 0) = 9 and does so at its end; c 1 + 0.9 (12 - 1) = 10.9, and ends at 9
    assert metrics["recovery_steps"].value == 100
    assert metrics["recovery_steps"].reasons == {"b -> c, phase 2": "never recovered within its phase"}
    assert "1 of 2" in metrics["recovery_steps"].reason
    assert metrics["recovered_share"].value == 0.5


def test_the_maximum_is_over_the_phases_since_the_task_was_trained_on_and_before_the_last():
    # a: best after phase 1, not after its own; b: its peak of 50 is before it was trained on and does not count.
    scores = {"a": [10.0, 15.0, 8.0, 9.0], "b": [50.0, 20.0, 18.0, 30.0], "c": [0.0] * 4, "d": [0.0] * 4}
    metrics = metrics_of(make_rows(["a", "b", "c", "d"], by_matrix(scores)))
    assert metrics["forgetting_maximal"].units == {"a, phase 0": 6.0, "b, phase 1": -10.0, "c, phase 2": 0.0}


def test_a_task_of_two_phases_has_two_visits():
    # The unmodified game first and last. Its first visit is forgotten from 10 to 3; the last one is followed by none.
    scores = {"": [10.0, 12.0, 3.0, 11.0], "a": [1.0, 6.0, 5.0, 2.0], "b": [0.0, 0.0, 7.0, 4.0]}
    metrics = metrics_of(make_rows(["", "a", "b", ""], by_matrix(scores)))
    assert metrics["backward_transfer"].units == {"no_modif, phase 0": -7.0, "a, phase 1": -4.0, "b, phase 2": -3.0}
    assert metrics["forgetting_maximal"].units == {"no_modif, phase 0": 9.0, "a, phase 1": 4.0, "b, phase 2": 3.0}
    # what phase 3 did to "" is learning, no forgetting
    expected = {"no_modif, phase 1": -2.0, "no_modif, phase 2": 9.0}
    expected |= {"a, phase 2": 1.0, "a, phase 3": 3.0, "b, phase 3": 3.0}
    assert metrics["forgetting_isolated"].units == expected
    # "" was never unseen
    assert set(metrics["zero_shot_transfer"].units) == {"a, phase 0", "b, phase 0", "b, phase 1"}


def test_a_task_that_is_trained_on_again_is_measured_up_to_then():
    scores = {"a": [10.0, 4.0, 9.0, 2.0], "b": [0.0, 8.0, 5.0, 7.0]}
    metrics = metrics_of(make_rows(["a", "b", "a", "b"], by_matrix(scores)))
    assert metrics["backward_transfer"].units == {"a, phase 0": -6.0, "b, phase 1": -3.0, "a, phase 2": -7.0}


def test_signs_of_an_agent_that_forgets_and_of_one_that_does_not():
    rows = make_rows(["a", "b", "c"], lambda string, phase, step: 10.0 if string == "abc"[phase] else 1.0)
    metrics = metrics_of(rows)
    assert metrics["forgetting_isolated"].value > 0
    assert metrics["forgetting_maximal"].value > 0
    assert metrics["backward_transfer"].value < 0
    keeps = metrics_of(make_rows(["a", "b", "c"], lambda string, phase, step: float(step)))
    assert keeps["forgetting_isolated"].value < 0
    assert keeps["backward_transfer"].value > 0
    assert keeps["zero_shot_transfer"].value > 0


def test_generalisation_gap_by_hand():
    scores = {"a": [5.0, 6.0], "b": [0.0, 10.0], "h": [9.0, 3.0], "k": [9.0, 5.0], "extra": [100.0, 100.0]}
    rows = make_rows(["a", "b"], by_matrix(scores), strings=["a", "b", "extra"], held_out=["h", "k"])
    metrics = metrics_of(rows)
    assert metrics["generalisation_gap"].units == {"h": 5.0, "k": 3.0}  # mean of 6 and 10; `extra` was not trained on
    assert metrics["generalisation_gap"].value == 4.0
    assert metrics["average_performance"].value == 8.0


def test_area_is_by_trapezoids_and_plasticity_is_its_slope():
    # visits of a: 0 -> 10 -> 10, area 7.5; then 0 -> 0 -> 10, area 2.5; then 0 -> 0 -> 0
    curves = {0: [0.0, 10.0, 10.0], 2: [0.0, 0.0, 10.0], 4: [0.0, 0.0, 0.0]}
    rows = make_rows(list("ababa"), lambda s, p, step: curves.get(p, [0.0] * 3)[(step - 100 * p) // 50])
    evaluations = Evaluations.of(rows)
    assert [evaluations.area("a", phase).value for phase in (0, 2, 4)] == [7.5, 2.5, 0.0]
    assert evaluations.area("a", 0, 50).value == 5.0
    assert evaluations.area("a", 0, 75).value == pytest.approx((250 + 250) / 75)
    assert run_metrics(evaluations)["plasticity_slope"].units["a"] == pytest.approx(-3.75)


@pytest.mark.parametrize("score", [0.1, 1 / 3, -20.7])
def test_what_stays_the_same_has_no_slope(score):
    rows = make_rows(list("abacada"), lambda s, p, step: score, steps=(0, 7, 13, 30))
    evaluations = Evaluations.of(rows)
    assert run_metrics(evaluations)["plasticity_slope"].units == {"a": 0.0}
    assert evaluations.area("a", 2).value == evaluations.score("a", 2).value


def test_forward_transfer_by_hand():
    run = make_rows(["a", "b"], lambda s, p, step: {0: 0.0, 50: 0.5, 100: 1.0}[step - 100 * p])  # area 0.5
    slow = make_rows(["b"], lambda s, p, step: {0: 0.0, 50: 0.2, 100: 0.4, 150: 1.0}[step], steps=(0, 50, 100, 150))
    metrics = metrics_of(run, single_task=[Evaluations.of(slow)], normalised=True)
    # the baseline over the 100 steps of the phase alone: 0.2
    assert metrics["forward_transfer"].value == pytest.approx((0.5 - 0.2) / (1 - 0.2))
    assert metrics["forward_transfer"].reasons == {"a": "no single-task run on a was given"}


@pytest.mark.parametrize(("area", "why"), [(1.0, "1 or more"), (1.5, "1 or more")])
def test_forward_transfer_without_a_denominator_is_undefined(area, why):
    run = make_rows(["a"], lambda s, p, step: 0.5)
    baseline = Evaluations.of(make_rows(["a"], lambda s, p, step: area))
    metric = metrics_of(run, single_task=[baseline], normalised=True)["forward_transfer"]
    assert math.isnan(metric.value)
    assert why in metric.reason
    raw = metrics_of(run, single_task=[baseline])["forward_transfer"]
    assert "raw scores" in raw.reason
    above = metrics_of(run, single_task=[baseline], above_floor=True)["forward_transfer"]
    assert above.reason == "scores above a random player have no upper reference 1; `--normalise human` or " + (
        "`single_task` have"
    )


def test_a_single_task_run_that_is_too_short_is_no_reference():
    run = make_rows(["a"], lambda s, p, step: 0.5)
    baseline = Evaluations.of(make_rows(["a"], lambda s, p, step: 0.1, steps=(0, 99)))
    metric = metrics_of(run, single_task=[baseline], normalised=True)["forward_transfer"]
    assert metric.reason == "single-task run: a was evaluated for 99 of 100 steps of phase 0"


def test_recovery_is_relative_to_the_untrained_score():
    # Pong-like: untrained -20, level -10, so 0.9 of the way is -11; a share of -10 itself would be -9.
    curve = [-20.0, -11.0, -5.0]
    rows = make_rows(["a", "b"], lambda s, p, step: -10.0 if (p, step) == (0, 100) else curve[(step - 100 * p) // 50])
    assert metrics_of(rows)["recovery_steps"].value == 50
    assert metrics_of(rows, recovery=1.0)["recovery_steps"].value == 100


def test_recovered_at_once_takes_no_steps():
    rows = make_rows(["a", "b"], lambda s, p, step: float(step > 0) * 10)
    assert metrics_of(rows)["recovery_steps"].value == 0
    assert metrics_of(rows)["switch_drop"].value == 0


# ------------------------------------------------------------------------------------- a slow second implementation


FLOORS = {"": Floor(2.0, -1.0, 5.0), "a": Floor(-3.0, -12.0, 8.0)}


def slow_metrics(rows):
    """The units of each metric straight from the list of rows; None where something needed was not evaluated."""
    games = [row for row in rows.to_dict("records") if row["deterministic"] == 0]

    def score(string, phase, step):
        found = [
            g["score"] for g in games if (g["modification"], g["phase"], g["global_step"]) == (string, phase, step)
        ]
        return sum(found) / len(found) if found else None

    plan, ends = [], []
    for phase in range(1 + max(g["phase"] for g in games)):
        of_phase = [g for g in games if g["phase"] == phase]
        plan.append(of_phase[0]["trained_on"])
        ends.append(max(g["global_step"] for g in of_phase))
    last = len(plan) - 1
    starts = [0, *ends]

    def at_end(string, phase):
        return score(string, 0, 0) if phase < 0 else score(string, phase, ends[phase])

    def minus(x, y):
        return None if x is None or y is None else x - y

    evaluated = {g["modification"] for g in games}
    tasks = [task for task in dict.fromkeys(plan) if task in evaluated]
    units = {name: [] for name in METRICS if name != "forward_transfer"}
    units["average_performance"] = [at_end(task, last) for task in tasks]
    for task in tasks:
        mine = [phase for phase, string in enumerate(plan) if string == task]
        floor, first = FLOORS.get(task), mine[0]
        later = {g["global_step"] for g in games if (g["modification"], g["phase"]) == (task, first)} - {starts[first]}
        reached = [score(task, first, step) > floor.high for step in later] if floor and later else [None]
        units["learned_share"].append(None if None in reached else float(any(reached)))
        if first > 0:
            units["gem_forward_transfer"].append(minus(at_end(task, first - 1), floor and floor.mean))
        for phase in range(len(plan)):
            if phase < mine[0]:
                units["zero_shot_transfer"].append(minus(at_end(task, phase), at_end(task, phase - 1)))
            elif phase not in mine:
                units["forgetting_isolated"].append(minus(at_end(task, phase - 1), at_end(task, phase)))
        for visit, following in zip(mine, [*mine[1:], last + 1], strict=True):
            end = following - 1
            if end == visit:
                continue
            units["backward_transfer"].append(minus(at_end(task, end), at_end(task, visit)))
            earlier = [at_end(task, phase) for phase in range(visit, end)]
            best = None if None in earlier else max(earlier)
            units["forgetting_maximal"].append(minus(best, at_end(task, end)))
        if len(mine) > 1:
            shortest = min(ends[phase] - starts[phase] for phase in mine)
            areas = [slow_area(games, task, phase, starts[phase], shortest) for phase in mine]
            if None in areas:
                units["plasticity_slope"].append(None)
            else:
                x, y = np.arange(len(areas)), np.array(areas)
                units["plasticity_slope"].append(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    for phase in range(1, len(plan)):
        level = at_end(plan[phase - 1], phase - 1)
        new = plan[phase]
        units["switch_drop"].append(minus(level, score(new, phase, starts[phase])))
        room = minus(level, at_end(new, -1))
        steps = sorted({g["global_step"] for g in games if (g["modification"], g["phase"]) == (new, phase)})
        if room is None or room <= 0 or not steps:
            units["recovery_steps"].append(None)
            units["recovered_share"].append(None)
            continue
        reached = [s - starts[phase] for s in steps if score(new, phase, s) >= at_end(new, -1) + 0.9 * room - 1e-6]
        units["recovery_steps"].append(reached[0] if reached else None)
        units["recovered_share"].append(1.0 if reached else 0.0)
    held_out = {g["modification"] for g in games if g["split"] == "held_out"}
    finals = units["average_performance"]
    trained = None if None in finals or not finals else sum(finals) / len(finals)
    units["generalisation_gap"] = [minus(trained, at_end(string, last)) for string in sorted(held_out)]
    return units


def slow_area(games, task, phase, start, length):
    """Mean score over the first `length` steps, one step after another, on straight lines between evaluations."""
    found = {}
    for g in games:
        if (g["modification"], g["phase"]) == (task, phase):
            found.setdefault(g["global_step"] - start, []).append(g["score"])
    if not found or min(found) != 0 or max(found) < length:
        return None
    curve = {step: sum(scores) / len(scores) for step, scores in found.items()}
    total = 0.0
    for step in range(length):
        left = max(s for s in curve if s <= step)
        right = min(s for s in curve if s > step)
        middle = (step + 0.5 - left) / (right - left)
        total += curve[left] + middle * (curve[right] - curve[left])
    return total / length


@st.composite
def random_rows(draw):
    """A run of one to five phases over up to three tasks, with irregular evaluations, some of them missing."""
    plan = draw(st.lists(st.sampled_from(["", "a", "b c"]), min_size=1, max_size=5))
    plan = [string for string, _ in itertools.groupby(plan)]
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    missing = draw(st.sampled_from([0.0, 0.0, 0.15]))
    held_out = draw(st.sampled_from([[], ["h"], ["h", "k"]]))
    rows, start = [], 0
    for phase, trained_on in enumerate(plan):
        inside = draw(st.lists(st.integers(1, 19), max_size=3, unique=True))
        length = draw(st.integers(20, 30))
        for step in [0, *inside, length]:
            for string in ["", "a", "b c", *held_out]:
                if generator.random() >= missing or string == "":
                    split = "held_out" if string in held_out else "train"
                    for game in range(2):
                        points = float(generator.integers(-20, 20))
                        first = ["r", 1, phase, start + step, string, split, game, 7, 0]
                        rows.append([*first, points, 10, 0, trained_on])
        start += length
    return pd.DataFrame(rows, columns=list(EVALUATION_COLUMNS))


def assert_close(metrics, units):
    for name, expected in units.items():
        metric = metrics[name]
        assert len(metric.units) == len(expected), name
        got = sorted(value for value in metric.units.values() if not math.isnan(value))
        assert got == pytest.approx(sorted(value for value in expected if value is not None)), name
        defined = [value for value in expected if value is not None]
        assert metric.value == pytest.approx(sum(defined) / len(defined) if defined else math.nan, nan_ok=True), name
        assert {key for key, value in metric.units.items() if math.isnan(value)} == set(metric.reasons)
        assert bool(metric.reason) == (len(defined) < len(expected) or not expected), name


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(random_rows())
def test_equals_the_slow_implementation(rows):
    assert_close(metrics_of(rows, floors=FLOORS), slow_metrics(rows))


@settings(max_examples=25, deadline=None)
@given(random_rows(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_rows_that_stand_there_twice_do_not_matter(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    again = pd.concat([rows.iloc[order], rows.iloc[order[:5]]])
    expected, got = metrics_of(rows), metrics_of(again)
    for name, metric in expected.items():
        assert got[name].units == pytest.approx(metric.units, nan_ok=True)
        assert got[name].reasons == metric.reasons


@settings(max_examples=25, deadline=None)
@given(random_rows(), st.floats(0.1, 10), st.floats(-5, 5))
def test_a_linear_change_of_all_scores_scales_differences_and_leaves_recovery(rows, slope, intercept):
    plain = Evaluations.of(rows)
    changed = plain.normalised(dict.fromkeys(plain.strings, Scale(slope, intercept)))
    expected, got = run_metrics(plain), run_metrics(changed)
    for name in METRICS:
        factor = 1 if name in ("recovery_steps", "recovered_share") else slope
        shift = intercept if name == "average_performance" else 0
        want = expected[name].value * factor + shift
        assert got[name].value == pytest.approx(want, nan_ok=True, abs=1e-6), name


@settings(max_examples=25, deadline=None)
@given(random_rows())
def test_isolated_forgetting_adds_up_to_backward_transfer(rows):
    evaluations = Evaluations.of(rows)
    metrics = run_metrics(evaluations)
    for task, phase, end in evaluations.visits():
        name = task or "no_modif"
        steps = [metrics["forgetting_isolated"].units[f"{name}, phase {j}"] for j in range(phase + 1, end + 1)]
        total = metrics["backward_transfer"].units[f"{name}, phase {phase}"]
        if not any(math.isnan(value) for value in steps):
            assert sum(steps) == pytest.approx(-total)


# ------------------------------------------------------------------------------------------------- what is undefined


def test_one_phase_only():
    metrics = metrics_of(make_rows(["a"], lambda s, p, step: float(step)))
    assert metrics["average_performance"].value == 100
    for name, word in {
        "forgetting_isolated": "nothing can be forgotten",
        "forgetting_maximal": "nothing can be forgotten",
        "backward_transfer": "nothing can be forgotten",
        "zero_shot_transfer": "no task was waiting",
        "switch_drop": "no switch",
        "recovery_steps": "no switch",
        "recovered_share": "no switch",
        "generalisation_gap": "no string was held out",
        "plasticity_slope": "no task was trained on in two phases",
        "forward_transfer": "raw scores",
    }.items():
        assert math.isnan(metrics[name].value)
        assert word in metrics[name].reason


def test_only_the_evaluation_before_training():
    rows = make_rows(["a", "b"], lambda s, p, step: 1.0)
    rows = rows[rows["global_step"] == 0]
    metrics = metrics_of(rows)
    assert all(math.isnan(metric.value) for metric in metrics.values())
    assert metrics["average_performance"].reason == "there is no evaluation after training began"
    assert continual_metrics(rows) == {}


def test_a_run_that_ended_just_after_a_switch_is_one_of_the_phases_before():
    rows = make_rows(["a", "b", "c"], by_matrix(THREE))
    cut = rows[(rows["phase"] < 2) | (rows["global_step"] == 200)]
    whole = Evaluations.of(rows[rows["phase"] < 2])
    evaluations = Evaluations.of(cut)
    assert evaluations.num_phases == 2
    assert evaluations.notes == ["phase 2 has no evaluation after its beginning; it is not counted"]
    for name, metric in run_metrics(evaluations).items():
        if name not in ("zero_shot_transfer",):  # c is no task of either, but was evaluated
            assert metric.units == pytest.approx(run_metrics(whole)[name].units, nan_ok=True)
    assert list(evaluations.matrix.columns) == [-1, 0, 1]


def test_a_run_that_ended_within_a_phase_counts_what_it_has():
    rows = make_rows(["a", "b"], by_matrix({"a": [10.0, 2.0], "b": [0.0, 9.0]}))
    cut = rows[rows["global_step"] <= 150]
    assert Evaluations.of(cut).phase_ends == [100, 150]
    assert metrics_of(cut)["recovery_steps"].reason == "never recovered within its phase"


def test_missing_evaluations_leave_a_reason():
    def score(string, phase, step):
        if string == "b" and (phase, step) in ((0, 0), (1, 100)):
            return None
        return None if string == "a" and (phase, step) == (1, 200) else float(step)

    metrics = metrics_of(make_rows(["a", "b"], score))
    assert metrics["forgetting_isolated"].reason == "a was not evaluated at the end of phase 1"
    assert metrics["zero_shot_transfer"].reason == "b was not evaluated before training"
    assert metrics["switch_drop"].reason == "b was not evaluated at the beginning of phase 1"
    assert metrics["recovery_steps"].reason == "b was not evaluated before training"
    assert metrics["average_performance"].value == 200  # b alone
    assert metrics["average_performance"].reason == "a was not evaluated at the end of phase 1 (1 of 2)"


def test_a_phase_without_evaluations_is_not_bridged():
    scores = {
        "a": [10.0, 8.0, 6.0, 5.0],
        "b": [0.0, 5.0, 4.0, 3.0],
        "c": [0.0, 0.0, 3.0, 3.0],
        "d": [1.0, 2.0, 3.0, 7.0],
    }
    rows = make_rows(list("abcd"), by_matrix(scores))
    metrics = metrics_of(rows[rows["phase"] != 1])
    # a lost 4 over phases 1 and 2 together: that is neither of the two
    assert metrics["forgetting_isolated"].units == pytest.approx(
        {"a, phase 1": math.nan, "a, phase 2": math.nan, "a, phase 3": 1.0, "c, phase 3": 0.0}, nan_ok=True
    )
    # whether a was trained on again in phase 1 is not known
    assert metrics["backward_transfer"].reasons == {"a, phase 0": "phase 1 has no evaluation"}
    assert metrics["zero_shot_transfer"].reasons.keys() == {"c, phase 1", "d, phase 1", "d, phase 2"}
    assert metrics["switch_drop"].reasons == {
        "into phase 1": "phase 1 has no evaluation",
        "into phase 2": "phase 1 has no evaluation",
    }


@pytest.mark.filterwarnings("error")
def test_a_phase_in_the_middle_with_the_evaluation_at_its_beginning_only_is_none():
    rows = make_rows(list("abab"), lambda s, p, step: float(step % 7))
    cut = rows[(rows["phase"] != 1) | (rows["global_step"] == 100)]
    evaluations = Evaluations.of(cut)
    assert evaluations.phase_ends == [100, None, 300, 400]
    assert evaluations.notes == ["phase 1 has no evaluation after its beginning; it is not counted"]
    metrics = run_metrics(evaluations)
    assert metrics["forgetting_isolated"].reasons["a, phase 1"] == "phase 1 has no evaluation"
    for metric in metrics.values():
        assert {unit for unit, value in metric.units.items() if math.isnan(value)} == metric.reasons.keys()
        assert metric.reason or math.isfinite(metric.value)


def test_a_task_without_any_evaluation_is_noted():
    rows = make_rows(["a", "b"], lambda s, p, step: 1.0, strings=["a"])
    evaluations = Evaluations.of(rows)
    assert evaluations.tasks == ["a"]
    assert evaluations.notes == ["b was trained on, but never evaluated; it is in no metric"]
    assert run_metrics(evaluations)["average_performance"].units == {"a": 1.0}


def asked_of(rows):
    """What a run asks for whose evaluations are `rows`."""
    places = rows[["global_step", "phase", "trained_on"]].drop_duplicates().itertuples(index=False)
    return Asked([Place(step, phase, string, step + 1) for step, phase, string in places], [])


def without(rows, phase, step, string=None):
    gone = (rows["phase"] == phase) & (rows["global_step"] == step)
    return rows[~(gone & ((rows["modification"] == string) if string is not None else True))]


def test_what_was_asked_for_and_is_there_changes_nothing():
    rows = make_rows(list("abab"), lambda s, p, step: float((step * 7 + len(s)) % 31))
    assert repr(run_metrics(Evaluations.of(rows, "sampled", asked_of(rows)))) == repr(metrics_of(rows))


def test_a_third_of_a_run_is_no_run():
    rows = make_rows(["a", "b", "c"], lambda s, p, step: float(step))
    part = rows[rows["phase"] == 0]
    assert metrics_of(part)["average_performance"].value == 100.0  # nobody knows what was asked for
    run = Evaluations.of(part, "sampled", asked_of(rows))
    found = run_metrics(run)
    assert all(math.isnan(metric.value) and metric.reason for metric in found.values())
    assert found["average_performance"].reasons["a"] == "a has not been evaluated at the end of phase 2 yet"
    assert run.trained_on == ["a", "b", "c"]
    assert "6 of the 9 evaluations that the run asked for are not there yet" in run.notes[-1]
    assert "the first at step 100 (phase 1)" in run.notes[-1]
    assert continual_metrics(part, asked_of(rows)) == {}


def test_a_metric_that_needs_what_is_not_there_is_undefined_and_no_other():
    # b is at 10 in the middle of its first phase; whoever misses that takes the end of the phase for its recovery.
    rows = make_rows(list("abab"), lambda s, p, step: 10.0 if s == "a" or step > 100 else 0.0)
    whole = metrics_of(rows)
    assert whole["recovery_steps"].units["a -> b, phase 1"] == 50.0
    found = run_metrics(Evaluations.of(without(rows, 1, 150, "b"), "sampled", asked_of(rows)))
    for name in ("recovery_steps", "plasticity_slope"):
        assert math.isnan(found[name].value), name
        assert "b has not been evaluated at all of phase 1 yet" in found[name].reason
    for name in METRICS.keys() - {"recovery_steps", "plasticity_slope"}:
        assert found[name].value == pytest.approx(whole[name].value, nan_ok=True), name
    # One number of several: the mean of the others is not the metric.
    found = run_metrics(Evaluations.of(without(rows, 2, 300, "a"), "sampled", asked_of(rows)))
    assert math.isnan(found["backward_transfer"].value)
    assert not all(math.isnan(value) for value in found["forgetting_isolated"].units.values())


def test_an_area_needs_the_evaluation_at_its_last_step():
    rows = make_rows(["a", "b"], lambda s, p, step: float(step))
    run = Evaluations.of(without(rows, 1, 150, "b"), "sampled", asked_of(rows))
    assert run.area("b", 1, 50).pending
    assert not run.area("b", 1, 49).reason


def test_evaluations_with_fewer_games_are_noted():
    rows = make_rows(["a"], lambda s, p, step: 1.0, modes=(0,)).iloc[1:]
    assert Evaluations.of(rows).notes == ["1 of 3 evaluations hold fewer games than the others (2)"]


# ---------------------------------------------------------------------------------------------------- rows and modes


def test_modes_are_kept_apart():
    rows = make_rows(["a"], lambda s, p, step: 5.0)
    assert run_metrics(Evaluations.of(rows))["average_performance"].value == 5
    assert run_metrics(Evaluations.of(rows, "greedy"))["average_performance"].value == 1005
    assert continual_metrics(rows) == {"average_performance": 5.0}
    assert continual_metrics(rows[rows["deterministic"] == 1]) == {"average_performance": 1005.0}
    with pytest.raises(RunFolderError, match="no greedy evaluation"):
        Evaluations.of(rows[rows["deterministic"] == 0], "greedy")


def test_continual_metrics_are_the_finite_ones():
    rows = make_rows(["a", "b", "c"], by_matrix(THREE, {"c": 1.0}), held_out=[])
    values = continual_metrics(rows)
    assert values.keys() == METRICS.keys() - {
        *("forward_transfer", "generalisation_gap", "plasticity_slope"),
        *("gem_forward_transfer", "learned_share"),  # whose floors are not those of made-up strings
    }
    assert all(type(value) is float and math.isfinite(value) for value in values.values())
    assert values["backward_transfer"] == -2.5
    assert continual_metrics(rows.iloc[:0]) == {}


def test_a_table_read_without_care_for_the_empty_string_is_the_same(tmp_path):
    rows = make_rows(["", "a"], lambda s, p, step: float(step) + len(s))
    rows.to_csv(tmp_path / "evals.csv", index=False)
    careless = pd.read_csv(tmp_path / "evals.csv")
    assert careless["modification"].isna().any()
    assert continual_metrics(careless) == continual_metrics(rows)
    assert continual_metrics(pd.DataFrame(Run(tmp_path).results)) == continual_metrics(rows)
    assert "" in set(check_rows(careless)["modification"])
    assert Run(tmp_path).evaluations().strings == ["", "a"]


def change(column, value):
    def changed(rows):
        rows = rows.astype(object)
        rows.loc[0, column] = value
        return rows

    return changed


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (lambda rows: rows.drop(columns="trained_on"), "the column `trained_on` is missing"),
        (change("score", "x"), "`score` is 'x' in one row; it must be a finite number"),
        (change("score", math.inf), "`score` is inf in one row; it must be a finite number"),
        (change("phase", 0.5), "`phase` is 0.5 in one row; it must be a whole number"),
        (change("evaluation_seed", 0.5), "`evaluation_seed` is 0.5 in one row; it must be a whole number"),
        (change("split", "test"), "`split` is 'test' in one row; it must be train or held_out"),
        (change("deterministic", 2), "`deterministic` is 2 in one row; it must be 0 or 1"),
        (change("global_step", -5), "`global_step` is -5 in one row; it must be 0 or more"),
        (change("trained_on", "z"), "phase 0 is said to train on a and z"),
        (change("run", "other"), "the rows are of several runs"),
        (change("split", "held_out"), "a is held out, but it was trained on"),
        (lambda rows: pd.concat([rows, rows.iloc[:1].assign(score=77.0)]), "stands there twice with different results"),
        (lambda rows: rows.assign(global_step=rows["global_step"] - 60 * rows["phase"]), "before step"),
    ],
)
def test_rows_that_cannot_be_used(broken, sentence):
    rows = broken(make_rows(["a", "b"], lambda s, p, step: 60.0 + step))
    with pytest.raises(RunFolderError) as caught:
        continual_metrics(rows)
    assert sentence in str(caught.value)


def test_importing_loads_neither_plots_nor_the_library_of_the_intervals():
    heavy = {"matplotlib", "optuna", "torch", "scipy"}
    code = f"import sys, continual_hackatari.metrics; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
