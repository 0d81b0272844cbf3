"""`python metrics.py --tables cora`: CORA's two tables, by hand and as its own code has them, and ours beside them."""

import json
import math

import pandas as pd
import pytest
from conftest import ROOT
from evaluations import make_rows, make_run

from continual_hackatari.metrics import main
from continual_hackatari.reporting import statistics
from continual_hackatari.reporting.cora_tables import Cell, cora_tables
from continual_hackatari.reporting.evaluations import Evaluations
from continual_hackatari.reporting.metrics import run_metrics
from continual_hackatari.reporting.rows import EVALUATION_COLUMNS

TASKS = ["Pong: lazy_enemy", "", "left_drift gravity"]
# Scores at steps 0, 50, ..., 300 of phases that are 100 steps long, by seed and task.
SCORES = {
    1: [[0, 8, 12, 8, 4, 0, 0], [-20, -20, -20, 0, -10, -10, -10], [1, 1, 3, 1, 3, 5, 5]],
    2: [[0, 4, 16, 24, 0, 16, 0], [-20, -12, -16, -4, 0, -4, 0], [2, 4, 4, 4, 4, 4, 4]],
}
# Their means of two:
#   seed 1:  0 4 10 10 6 2 0     -20 -20 -20 -10 -5 -10 -10     1 1 2 2 2 4 5
#   seed 2:  0 2 10 20 12 8 8    -20 -16 -14 -10 -2  -2  -2     2 3 4 4 4 4 4
# Largest: 20, 20, 5. Strictly inside the phases are steps 50, 150 and 250. In tenths of the largest, seed 1 | seed 2:
#   forgetting  of the 1st by the 2nd: (4 - 10) / 2, (2 - 20) / 2 = -3 | -9
#               of the 1st by the 3rd: (10 - 2) / 2, (20 - 8) / 2 = 4 | 6
#               of the 2nd by the 3rd: (-10 + 10) / 2, (-10 + 2) / 2 = 0 | -4
#   transfer    to the 2nd from the 1st: (-20 + 20) / 2, (-16 + 20) / 2 = 0 | 2
#               to the 3rd from the 1st: (1 - 1) 2, (3 - 2) 2 = 0 | 2;  from the 2nd: (2 - 1) 2, (4 - 3) 2 = 2 | 2
# The standard error of a and b is |a - b| / 2. Means of rows, columns and all are taken of each seed first:
#   forgetting  1st row 0.5 | -1.5, last column 2 | 1, all 1/3 | -7/3
#   transfer    3rd row 1 | 2, first column 0 | 2, all 2/3 | 2
FORGETTING = [
    ["task", *TASKS, "mean"],
    [TASKS[0], "-", "-6.0 ± 3.0", "5.0 ± 1.0", "-0.5 ± 1.0"],
    [TASKS[1], "-", "-", "-2.0 ± 2.0", "-2.0 ± 2.0"],
    [TASKS[2], "-", "-", "-", "-"],
    ["mean", "-", "-6.0 ± 3.0", "1.5 ± 0.5", "-1.0 ± 1.3"],
]
TRANSFER = [
    ["task", *TASKS, "mean"],
    [TASKS[0], "-", "-", "-", "-"],
    [TASKS[1], "1.0 ± 1.0", "-", "-", "1.0 ± 1.0"],
    [TASKS[2], "1.0 ± 1.0", "2.0 ± 0.0", "-", "1.5 ± 0.5"],
    ["mean", "1.0 ± 1.0", "2.0 ± 0.0", "-", "1.3 ± 0.7"],
]
# Ours: scores as they are, at the ends of phases, which are steps 100, 200 and 300.
OUR_FORGETTING = [["12.0 ± 4.0", "2.0 ± 2.0"], ["0.0 ± 0.0"]]
OUR_TRANSFER = [["2.0 ± 2.0"], ["2.0 ± 0.0", "0.0 ± 0.0"]]


def by_hand(seed, tasks=TASKS, cycles=1):
    """Rows of a run; what stands there of the moment after a switch is another number, which must not count."""

    def score(string, phase, step):
        after_a_switch = phase > 0 and step == 100 * phase
        return 777.0 if after_a_switch else float(SCORES[seed][tasks.index(string)][step % 300 // 50])

    return make_rows(tasks * cycles, score, run=f"s{seed}", seed=seed)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """There are no intervals to look at."""
    monkeypatch.setattr(statistics, "RESAMPLES", 20)


@pytest.fixture
def two_seeds(workdir):
    for seed in SCORES:
        rows = by_hand(seed)
        last = (rows["global_step"] == 300) & (rows["deterministic"] == 0)  # where the pattern above begins anew
        for task, scores in zip(TASKS, SCORES[seed], strict=True):
            for game, offset in ((0, -0.5), (1, 0.5)):
                rows.loc[last & (rows["modification"] == task) & (rows["episode"] == game), "score"] = (
                    scores[6] + offset
                )
        make_run(workdir / f"s{seed}", rows)
    return ["s1", "s2"]


def tables_of(printed):
    """Title -> cells of each table of a Markdown text."""
    found, title = {}, ""
    for block in printed.split("\n\n"):
        lines = block.strip().splitlines()
        if lines and lines[0].startswith("| task"):
            cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
            found[title] = [cells[0], *cells[2:]]
        elif lines:
            title = lines[-1]
    return found


def named(table):
    """With names as tables have them."""
    return [["no_modif" if cell == "" else cell for cell in row] for row in table]


def test_the_tables_are_those_worked_out_by_hand(two_seeds, capsys):
    main([*two_seeds, "--tables", "cora", "--rolling", "2", "--format", "markdown"])
    captured = capsys.readouterr()
    forgetting, our_forgetting, transfer, our_transfer = tables_of(captured.out).values()
    assert forgetting == named(FORGETTING)
    assert transfer == named(TRANSFER)
    assert [row[2 + i : 4] for i, row in enumerate(our_forgetting[1:3])] == OUR_FORGETTING
    assert [row[1 : 2 + i] for i, row in enumerate(our_transfer[2:4])] == OUR_TRANSFER
    assert "files: metrics.json" in captured.err, "standard output is for the tables"
    assert "files:" not in captured.out


def test_text_latex_and_json_hold_the_same(two_seeds, workdir, capsys):
    words = [*two_seeds, "--tables", "cora", "--rolling", "2"]
    main(words)
    printed = capsys.readouterr().out
    assert "isolated forgetting, CORA: rolling mean of 2 evaluations, x 10 / largest score" in printed
    assert "zero-shot transfer, `zero_shot_transfer`: ends of phases, raw scores" in printed
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "left_drift gravity 1.0 ± 1.0 2.0 ± 0.0 - 1.5 ± 0.5" in lines
    main([*words, "--format", "latex"])
    latex = capsys.readouterr().out
    assert r"left\_drift gravity & 1.0 $\pm$ 1.0 & 2.0 $\pm$ 0.0 & - & 1.5 $\pm$ 0.5 \\" in latex
    assert all(line.startswith(("%", "\\", " ")) or line.endswith(r"\\") or not line for line in latex.splitlines())
    (group,) = json.loads((workdir / "metrics.json").read_text())["groups"]
    found = group["tables"]["cora_isolated_forgetting"]
    assert found["tasks"] == TASKS
    assert found["mean"][-1] == pytest.approx([None, -6.0, 1.5, -1.0])
    assert found["standard_error"][0] == pytest.approx([None, 3.0, 1.0, 1.0])
    assert list(group["tables"]) == [
        *("cora_isolated_forgetting", "isolated_forgetting", "cora_zero_shot_transfer", "zero_shot_transfer")
    ]


def test_without_the_flag_there_are_no_such_tables(two_seeds, workdir, capsys):
    main(two_seeds)
    assert "CORA" not in capsys.readouterr().out
    assert "tables" not in json.loads((workdir / "metrics.json").read_text())["groups"][0]


def test_one_run_has_no_standard_error(two_seeds, capsys):
    main(["s1", "--tables", "cora", "--rolling", "2", "--format", "markdown"])
    assert next(iter(tables_of(capsys.readouterr().out).values()))[2] == ["no_modif", "-", "-", "0.0", "0.0"]


def test_a_small_loss_is_no_minus_zero():
    assert [str(Cell(mean, math.nan)) for mean in (-0.04, -0.06)] == ["0.0", "-0.1"]


def test_ours_count_as_the_metric_beside_them_does(two_seeds, workdir, capsys):
    main([*two_seeds, "--tables", "cora", "--normalise", "human", "--mode", "greedy"])
    assert "`forgetting_isolated`: ends of phases, human scores" in capsys.readouterr().out
    (group,) = json.loads((workdir / "metrics.json").read_text())["groups"]
    assert group["tables"]["isolated_forgetting"]["mean"][-1][-1] == pytest.approx(
        group["summary"]["forgetting_isolated"]["mean"]
    )


def test_what_one_run_lacks_is_in_no_table_of_ours(two_seeds, workdir, capsys):
    path = workdir / "s2" / "evals.csv"
    rows = pd.read_csv(path, keep_default_na=False)
    lacks = (rows["modification"] == TASKS[0]) & (rows["global_step"] == 200)
    rows[~lacks].to_csv(path, index=False)
    main([*two_seeds, "--tables", "cora", "--rolling", "2", "--format", "markdown"])
    forgetting, our_forgetting, *_ = tables_of(capsys.readouterr().out).values()
    assert forgetting[1][2] == FORGETTING[1][2]
    assert our_forgetting[1][1:] == ["-", "-", "-", "-"], "its end of the second phase is unknown, which both need"
    assert our_forgetting[2][3] == OUR_FORGETTING[1][0]


# ---------------------------------------------------------------------------------------------- as CORA's own code

RECORDED = json.loads((ROOT / "tests" / "data" / "cora_tables.json").read_text())


def recorded_rows(run):
    """Its curves as evals.csv has them: the evaluation at a switch stands there twice, with the same score."""
    rows, length = [], RECORDED["phase_steps"]
    phases = RECORDED["steps"][-1] // length
    for task, scores in zip(RECORDED["tasks"], RECORDED["runs"][run], strict=True):
        for step, score in zip(RECORDED["steps"], scores, strict=True):
            for phase in {max(0, (step - 1) // length), min(step // length, phases - 1)}:
                trained_on = RECORDED["tasks"][phase % len(RECORDED["tasks"])]
                rows.append([f"r{run}", run, phase, step, task, "train", 0, 7, 0, score, 100, 0, trained_on])
    return pd.DataFrame(rows, columns=list(EVALUATION_COLUMNS))


@pytest.mark.parametrize("window", RECORDED["expected"])
def test_the_tables_are_those_of_coras_own_code(window, workdir, capsys):
    runs = range(len(RECORDED["runs"]))
    for run in runs:
        make_run(workdir / f"r{run}", recorded_rows(run).sample(frac=1, random_state=run))
    main([*(f"r{run}" for run in runs), "--tables", "cora", "--rolling", window])
    (group,) = json.loads((workdir / "metrics.json").read_text())["groups"]
    for name, expected in RECORDED["expected"][window].items():
        found = group["tables"][f"cora_{name}"]
        for part in ("mean", "standard_error"):
            for row, expected_row in zip(found[part], expected[part], strict=True):
                assert row == pytest.approx(expected_row, abs=1e-9, nan_ok=True), (name, part)
    said = "20 evaluations, of which CORA's rolling mean is made, are 1.0 phases here" in capsys.readouterr().out
    assert not said, "a phase and its beginning are 21 evaluations here"


# ------------------------------------------------------------------------------------------------- where there are none


@pytest.mark.parametrize(
    ("plan", "score", "why"),
    [
        (["a"], lambda s, p, step: 1.0, "need two tasks or more"),
        (["a", "b", "a", "c"], lambda s, p, step: 1.0, "each of them trained on once before any comes back"),
        (
            ["a", "b"],
            lambda s, p, step: 1.0 if step % 100 == 0 else None,
            "strictly inside every phase, and phase 0 (a)",
        ),
        (["a", "b"], lambda s, p, step: 0.0 if s == "b" else 1.0, "all scores of b are 0"),
        (["a", "b"], lambda s, p, step: 1.0 if s == "b" else None, "need evaluations of every task"),
        (
            ["a", "b", "c"],
            lambda s, p, step: None if p == 1 and step > 100 else 1.0,
            "need evaluations of every task, and in every phase after its beginning",
        ),
    ],
)
def test_why_there_are_no_tables_is_said_and_the_metrics_are_there(plan, score, why, workdir, capsys):
    make_run(workdir / "r", make_rows(plan, score, strings=sorted(set(plan))))
    main(["r", "--tables", "cora"])
    printed = capsys.readouterr().out
    assert f"no tables of CORA's: {why}" in printed or (printed.count("no tables of CORA's") == 1 and why in printed)
    assert "average_performance" in printed
    (group,) = json.loads((workdir / "metrics.json").read_text())["groups"]
    assert why in group["no_tables"]


def test_runs_in_another_order_are_no_table(workdir, capsys):
    for seed, plan in ((1, ["a", "b"]), (2, ["b", "a"])):
        make_run(workdir / f"s{seed}", make_rows(plan, lambda s, p, step: 1.0, run=f"s{seed}", seed=seed))
    main(["s1", "s2", "--tables", "cora"])
    assert "do not train on the same tasks in the same order" in capsys.readouterr().out


def test_a_rolling_mean_that_is_longer_than_a_phase_is_said(two_seeds, capsys):
    main([*two_seeds, "--tables", "cora"])
    assert "20 evaluations, of which CORA's rolling mean is made, are 8.6 phases here" in capsys.readouterr().out
    main([*two_seeds, "--tables", "cora", "--rolling", "2"])
    assert "rolling mean is made" not in capsys.readouterr().out


def test_settings_of_the_tables_that_cannot_work(two_seeds, capsys):
    for words, said in (
        (["--rolling", "5"], "`rolling` is of CORA's tables"),
        (["--tables", "cora", "--rolling", "0"], "`rolling` is 0"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*two_seeds, *words])
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err


def test_the_second_time_round_changes_only_the_largest_score():
    """What comes after the first round is no column, but its scores count for the largest one."""

    def run(last):
        scores = {("a", 150): 8.0, ("b", 150): 8.0, ("a", 350): last}
        return Evaluations.of(make_rows(["a", "b"] * 2, lambda s, p, step: scores.get((s, step), 4.0)))

    small, large = (cora_tables([each], [run_metrics(each)], "raw", 1)[0] for each in (run(4.0), run(16.0)))
    assert small.tasks == large.tasks == ["a", "b"]
    assert small.cell(0, 1).mean == pytest.approx(10 * (4 - 8) / 8)
    assert large.cell(0, 1).mean == pytest.approx(10 * (4 - 8) / 16)
