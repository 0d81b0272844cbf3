"""`python metrics.py`: groups of seeds, intervals, normalised scores, the table and the files."""

import csv
import json
import math
import os
import re
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from conftest import ROOT
from evaluations import by_matrix, make_rows, make_run
from pages import section

from continual_hackatari.metrics import main
from continual_hackatari.reporting import statistics
from continual_hackatari.reporting.evaluations import Evaluations, Scale
from continual_hackatari.reporting.groups import group_runs
from continual_hackatari.reporting.metrics import METRICS, Metric, run_metrics, summarise
from continual_hackatari.reporting.rows import EVALUATION_COLUMNS
from continual_hackatari.reporting.runs import Run, run_folders
from continual_hackatari.reporting.statistics import human_normalised, interval_of_mean


def matrix(seed):
    generator = np.random.default_rng(seed)
    return {name: generator.integers(0, 20, 3).astype(float).tolist() for name in ("", "a", "b")}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Intervals as rough as most of these tests need."""
    monkeypatch.setattr(statistics, "RESAMPLES", 100)


@pytest.fixture
def three_seeds(workdir):
    """runs/s1, s2, s3: the same experiment, "" -> a -> b."""
    for seed in (1, 2, 3):
        rows = make_rows(["", "a", "b"], by_matrix(matrix(seed)), run=f"s{seed}", seed=seed)
        make_run(workdir / "runs" / f"s{seed}", rows)
    return ["runs/s1", "runs/s2", "runs/s3"]


def csv_rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def error_of(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code == 2
    return capsys.readouterr().err


# --------------------------------------------------------------------------------------------- table and files


def test_table_and_files_of_three_seeds(three_seeds, workdir, capsys):
    main([*three_seeds, "-o", "result"])
    printed = capsys.readouterr().out
    assert "sampled games, raw scores" in printed
    assert "group 1: ALE/Freeway-v5 PPO, 3 runs" in printed
    assert "  seed 2: runs/s2" in printed
    assert "files: result.json, result.csv" in printed
    finals = np.array([[matrix(seed)[name][2] for name in ("", "a", "b")] for seed in (1, 2, 3)])
    mean, iqm = finals.mean(), scipy.stats.trim_mean(finals, 0.25, axis=None)
    (line,) = [line for line in printed.splitlines() if line.startswith("average_performance")]
    cells = line.split()
    assert (cells[1], cells[4]) == (f"{mean:.3f}", f"{iqm:.3f}")
    (line,) = [line for line in printed.splitlines() if line.startswith("forward_transfer")]
    assert line.split()[1:4] == ["-", "-", "0"]
    mark = line.split()[4]
    assert f"{mark} raw scores have no upper reference 1; normalise them" in printed

    content = json.loads((workdir / "result.json").read_text())
    (group,) = content["groups"]
    assert content["definitions"].keys() == group["summary"].keys() == METRICS.keys()
    assert group["summary"]["average_performance"]["mean"] == pytest.approx(mean)
    assert group["summary"]["forward_transfer"]["mean"] is None
    second = group["runs"][1]
    assert (second["run"], second["seed"], second["trained_on"]) == ("s2", 2, ["", "a", "b"])
    assert second["raw_scores"]["a"] == {"-1": 0.0, **{str(k): value for k, value in enumerate(matrix(2)["a"])}}
    expected = run_metrics(Run(workdir / "runs" / "s2").evaluations())["forgetting_isolated"]
    assert second["metrics"]["forgetting_isolated"]["units"] == pytest.approx(expected.units)

    rows = csv_rows(workdir / "result.csv")
    assert len(rows) == len(METRICS) * 4
    (row,) = [row for row in rows if row["metric"] == "average_performance" and row["run"] == "s3"]
    assert float(row["value"]) == pytest.approx(finals[2].mean())
    (row,) = [row for row in rows if row["metric"] == "average_performance" and not row["run"]]
    assert float(row["value"]) == pytest.approx(mean)
    assert float(row["iqm"]) == pytest.approx(iqm)
    assert float(row["low"]) <= mean <= float(row["high"])
    assert {row["metric"] for row in rows if row["iqm"]} == {"average_performance"}
    (row,) = [row for row in rows if row["metric"] == "forward_transfer" and not row["run"]]
    assert (row["value"], row["runs"]) == ("", "0")
    assert "normalise" in row["reason"]


def test_the_same_table_every_time(three_seeds, workdir, capsys):
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    main([*three_seeds, "-o", "one"])
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    np.random.seed(6)  # noqa: NPY002
    main([*three_seeds, "-o", "two"])
    assert (workdir / "one.csv").read_text() == (workdir / "two.csv").read_text()


def test_one_run_has_no_interval(three_seeds, workdir, capsys):
    main(["runs/s1"])
    assert "fewer than three runs: no interval" in capsys.readouterr().out
    rows = csv_rows(workdir / "metrics.csv")
    assert all(row["low"] == row["high"] == "" for row in rows)


def test_greedy_games(three_seeds, workdir, capsys):
    main([*three_seeds, "--mode", "greedy"])
    main([*three_seeds, "-o", "sampled"])
    greedy, sampled = csv_rows(workdir / "metrics.csv"), csv_rows(workdir / "sampled.csv")
    assert float(greedy[0]["value"]) == pytest.approx(float(sampled[0]["value"]) + 1000)


def test_the_games_of_one_player_count_where_there_are_several(workdir, capsys):
    """Those of the first, unless another one is asked for; runs of other agents beside them count as they are."""
    alone, other = (make_rows(["", "a"], lambda *_, level=level: level, run="both") for level in (3.0, 5.0))
    rows = pd.concat([alone.assign(agent="kb"), other.assign(agent="ac")])
    make_run(workdir / "both", rows, architecture="TWO_COLUMNS")
    make_run(workdir / "plain", make_rows(["", "a"], lambda *_: 4.0, run="plain"))
    for words, level in ([], 3.0), (["--agent", "kb"], 3.0), (["--agent", "ac"], 5.0):
        main(["both", "plain", *words])
        assert "its agent is several players" in capsys.readouterr().out
        rows = [row for row in csv_rows("metrics.csv") if row["metric"] == "average_performance" and row["run"]]
        assert {row["run"]: float(row["value"]) for row in rows} == {"both": level, "plain": 4.0}
    with pytest.raises(SystemExit):
        main(["both", "--agent", "agent"])
    assert "there is no evaluation of `agent` agent; choose kb or ac" in capsys.readouterr().err


def test_notes_are_printed(workdir, capsys):
    rows = make_rows(["a", "b"], lambda s, p, step: 1.0, strings=["a"])
    make_run(workdir / "r", rows)
    main(["r"])
    assert "note, r: b was trained on, but never evaluated" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------- its page


def test_the_page_defines_every_metric_as_the_program_does():
    expected = [f"| `{name}` | {' | '.join(definition)} |" for name, definition in METRICS.items()]
    assert [
        line for line in section("Continual metrics").splitlines() if line.startswith("| `") and line in expected
    ] == expected


def test_the_commands_of_the_page_run_as_printed(workdir, capsys):
    for seed in (1, 2):
        rows = make_rows(["", "a"], lambda s, p, step: float(step), seed=seed)
        make_run(workdir / "runs" / f"Game_s{seed}__continual__PPO__1", rows)
    for name in ("", "a"):
        rows = make_rows([name], lambda s, p, step: step / 2)
        make_run(workdir / "runs" / f"Game_s1__alone__PPO__{name or 'plain'}", rows, modifs=name)
    (workdir / "runs" / "without_evaluations").mkdir()
    commands = "".join(re.findall(r"^```bash\n(.*?)^```", section("Continual metrics"), re.S | re.M))
    expand = 'python() { echo "$*"; }\n'  # the shell expands the words, and this process runs them
    done = subprocess.run(["bash", "-euc", expand + commands], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    of_metrics = [words[1:] for words in lines if words[0] == "metrics.py"]
    assert len(of_metrics) == 6
    for words in of_metrics:
        main(words)
    assert capsys.readouterr().out.count("group 3:") == 5
    assert {path.stem for path in workdir.glob("*.csv")} == {"metrics", "human", "transfer", "above_chance", "cora"}
    (row,) = [row for row in csv_rows("transfer.csv") if row["metric"] == "forward_transfer" and not row["run"]]
    # Alone, scores go from 0 to 50 with area 0.5; here from 0 to 100 (area 1), and a from 100 to 200 (area 3).
    assert float(row["value"]) == pytest.approx(((1 - 0.5) / 0.5 + (3 - 0.5) / 0.5) / 2)


# ------------------------------------------------------------------------------------------------- groups


def test_groups_differ_in_a_setting_that_the_label_names(workdir, capsys):
    rows = make_rows(["a", "b"], lambda s, p, step: float(step))
    for number, rate in enumerate([1e-3, 2e-3, 1e-3, 2e-3]):
        make_run(
            workdir / str(number), rows.assign(seed=number), learning_rate=rate, num_workers=number, notes=f"{number}"
        )
    groups = group_runs(run_folders(["0", "1", "2", "3"]))
    assert [[run.name for run in group.runs] for group in groups] == [["0", "2"], ["1", "3"]]
    assert groups[0].title == "ALE/Freeway-v5 PPO learning_rate=0.001"
    assert groups[1].title == "ALE/Freeway-v5 PPO learning_rate=0.002"


def test_strings_in_another_order_are_no_other_experiment_and_another_grid_is_said(workdir, capsys):
    for seed in (1, 2, 3):  # as random schedules were stored before: in the order of their draw
        strings = ["a", "b", "c"][seed - 1 :] + ["a", "b", "c"][: seed - 1]
        rows = make_rows(strings, lambda s, p, step: float(step), seed=seed)
        make_run(
            workdir / str(seed), rows, eval_modifs=strings, eval_every=100 if seed < 3 else 50, worker_timeout=seed
        )
    main(["1", "2"])
    printed = capsys.readouterr().out
    assert "group 1: ALE/Freeway-v5 PPO, 2 runs" in printed
    assert "note" not in printed
    main(["1", "2", "3"])
    assert "note: `eval_every` is not the same in all runs of group 1" in capsys.readouterr().out


def test_groups_that_were_measured_or_made_unlike_are_said_to_be_so(workdir, capsys):
    for name, method, every, commit in (("a", [], 100, "one"), ("b", ["redo"], 7, "two"), ("c", ["redo"], 100, "one")):
        rows = make_rows(["", "a"], lambda s, p, step: 1.0)
        make_run(workdir / name, rows, methods=method, eval_every=every, versions={"commit": commit})
    main(["a", "b"])
    printed = capsys.readouterr().out
    assert "note: `eval_every` is not the same in all groups: they were measured differently" in printed
    assert "note: of all groups, the runs were made by different versions: commit one and two" in printed
    main(["a", "c"])
    assert "note" not in capsys.readouterr().out


def test_runs_with_different_tasks_are_said_to_be_so(workdir, capsys):
    make_run(workdir / "x", make_rows(["a", "b"], lambda s, p, step: 1.0))
    make_run(workdir / "y", make_rows(["a", "c"], lambda s, p, step: 3.0, seed=2))
    main(["x", "y"])
    printed = capsys.readouterr().out
    assert "the runs do not have the same tasks" in printed
    assert "IQM over one number per run" in printed
    row = csv_rows(workdir / "metrics.csv")[0]
    assert (float(row["value"]), float(row["iqm"]), row["low"]) == (2.0, 2.0, "")


def test_a_renamed_folder_and_a_foreign_line(three_seeds, workdir, capsys):
    main([*three_seeds, "-o", "before"])
    path = workdir / "runs" / "s2" / "evals.csv"
    text = path.read_text()
    half = len(text.splitlines()) // 2
    lines = [line.replace("s2,", "old,", 1) if number < half else line for number, line in enumerate(text.splitlines())]
    lines.insert(half, 'a note, with "half a quotation')
    path.write_text("\n".join([*lines, "and no end"]))
    main([*three_seeds, "-o", "after"])
    printed = capsys.readouterr().out
    assert f"note, s2: warning: `runs/s2/evals.csv` holds in line {half + 1} and in 1 more what is no ev" in printed
    assert (workdir / "before.csv").read_text() == (workdir / "after.csv").read_text()


# ----------------------------------------------------------------------------------------------- intervals


def metric(values, reasons=None):
    defined = [value for value in values.values() if not math.isnan(value)]
    return Metric("m", float(np.mean(defined)) if defined else math.nan, "", values, reasons or {})


def test_whole_runs_are_resampled_as_wholes():
    # Every unit of a run has the same score: resampled one by one they average out, as whole runs they do not.
    scores = np.repeat(np.arange(6.0)[:, None], 20, axis=1)
    low, high = interval_of_mean(scores, "units")
    whole_low, whole_high = interval_of_mean(scores)
    assert whole_high - whole_low > 2 * (high - low)


def test_one_forgotten_task_of_five_shows_in_mean_and_interval(workdir, capsys):
    # Forgetting is 20 in one task of five, and 0 in the others: their interquartile mean would be 0 in every run.
    tasks = ["a", "b", "c", "d", "e"]

    def score(string, phase, step):
        before = phase < tasks.index(string) or step == 100 * tasks.index(string)
        return 0.0 if before or (string == "a" and phase) else 20.0

    folders = [workdir / f"s{seed}" for seed in (1, 2, 3)]
    for seed, folder in enumerate(folders, 1):
        make_run(folder, make_rows(tasks, score, seed=seed, run=folder.name))
    main([*map(str, folders)])
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line}
    assert lines["metric"] == ["mean", "95", "%", "interval", "IQM", "runs"]
    assert lines["forgetting_maximal"] == ["5.000", "[5.000,", "5.000]", "3"]
    assert lines["backward_transfer"] == ["-5.000", "[-5.000,", "-5.000]", "3"]
    assert lines["average_performance"] == ["16.000", "[16.000,", "16.000]", "20.000", "3"]


def test_units_that_are_not_the_same_in_every_run_count_as_one_number_per_run():
    odd = metric({"x": 4.0, "y": math.nan}, {"y": "never"})
    summary = summarise([metric({"x": 1.0, "y": 3.0})] * 2 + [odd], "units")
    assert (summary.mean, summary.runs) == (pytest.approx(8 / 3), 3)
    assert (summary.low, summary.high) == (2.0, 4.0)
    assert summary.reason == "interval over one number per run; never (1 of 6)"
    assert math.isnan(summary.iqm), "it is no score"
    summary = summarise([replace(each, name="average_performance") for each in [metric({"x": 1.0})] * 3 + [odd]])
    assert summary.iqm == 1.0
    assert summary.reason == "IQM over one number per run; never (1 of 5)"


def test_a_run_without_a_value_is_left_out_and_counted():
    summary = summarise([metric({"x": 1.0}), metric({"x": math.nan}, {"x": "never"}), metric({"x": 3.0})])
    assert (summary.mean, summary.runs) == (2.0, 2)
    none = summarise([metric({"x": math.nan}, {"x": "never"})] * 2)
    assert none.runs == 0
    assert math.isnan(none.mean)
    assert math.isnan(none.iqm)
    assert none.reason == "never"


# ------------------------------------------------------------------------------------------------ normalised scores


def test_human_normalised(three_seeds, workdir, capsys):
    main([*three_seeds, "--normalise", "human"])
    main([*three_seeds, "-o", "raw"])
    human, raw = csv_rows(workdir / "metrics.csv"), csv_rows(workdir / "raw.csv")
    for mine, theirs in zip(human, raw, strict=True):
        if mine["metric"] == "average_performance":
            expected = human_normalised("ALE/Freeway-v5", float(theirs["value"]))
            assert float(mine["value"]) == pytest.approx(expected)
        if mine["metric"] == "switch_drop":
            one, zero = human_normalised("ALE/Freeway-v5", 1.0), human_normalised("ALE/Freeway-v5", 0.0)
            assert float(mine["value"]) == pytest.approx(float(theirs["value"]) * (one - zero))


def test_a_game_without_a_human_score_has_a_reason(workdir, capsys):
    make_run(workdir / "r", make_rows(["a"], lambda s, p, step: 1.0), env_id="ALE/Nowhere-v5")
    main(["r", "--normalise", "human"])
    assert "no human score of ALE/Nowhere-v5 is known" in capsys.readouterr().out
    assert csv_rows(workdir / "metrics.csv")[0]["value"] == ""


def test_single_task_normalised_and_forward_transfer(workdir, capsys):
    # a: 0 -> 10 -> 20 alone, so scores are divided by 20; b: 4 -> 4 -> 14 alone: (score - 4) / 10
    make_run(workdir / "alone_a", make_rows(["a"], lambda s, p, step: step / 5, strings=["a"]))
    make_run(workdir / "alone_b", make_rows(["b"], lambda s, p, step: 14.0 if step == 100 else 4.0, strings=["b"]))
    scores = {("a", 0): 10.0, ("b", 0): 4.0, ("a", 1): 5.0, ("b", 1): 9.0}
    make_run(workdir / "run", make_rows(["a", "b"], lambda s, p, step: scores[s, p]))
    main(["run", "--single_task", "alone_a", "alone_b", "--normalise", "single_task"])
    (run,) = json.loads((workdir / "metrics.json").read_text())["groups"][0]["runs"]
    of_run = run["metrics"]
    assert of_run["average_performance"]["units"] == {"a": 0.25, "b": 0.5}
    # a: area 0.5 against 0.5; b: 0.5 against (0 + 0) / 4 + (0 + 1) / 4
    assert of_run["forward_transfer"]["units"] == pytest.approx({"a": 0.0, "b": (0.5 - 0.25) / 0.75})
    assert run["raw_scores"]["a"] == {"-1": 10.0, "0": 10.0, "1": 5.0}


@pytest.mark.parametrize(
    ("alone", "reason"),
    [
        (lambda s, p, step: 100.0 - step, "did not get better than untrained"),
        (lambda s, p, step: None if step == 0 else 1.0, "single-task run: a was not evaluated before training"),
    ],
)
def test_a_single_task_run_that_is_no_reference(alone, reason, workdir, capsys):
    make_run(workdir / "alone", make_rows(["a"], alone))
    make_run(workdir / "run", make_rows(["a", "b"], lambda s, p, step: float(step)))
    main(["run", "--single_task", "alone", "--normalise", "single_task"])
    printed = capsys.readouterr().out
    assert reason in printed
    assert "no single-task run on b was given" in printed


def test_single_task_runs_of_several_settings_are_no_reference(workdir, capsys):
    alone = make_rows(["a"], lambda s, p, step: step / 5)
    make_run(workdir / "run", make_rows(["a", "b"], lambda s, p, step: step / 10), methods=["redo"])
    make_run(workdir / "plain", alone, methods=[], total_timesteps=100, modifs="a", exp_name="alone")
    make_run(workdir / "longer", alone, methods=[], total_timesteps=900, modifs="b", seed=2, eval_every=7)
    make_run(workdir / "older", alone)
    make_run(workdir / "redo", alone, methods=["redo"])
    words = ("run", "--normalise", "single_task", "--single_task")
    error = error_of(capsys, *words, "plain", "longer", "older", "redo")
    assert 'the single-task runs differ in `methods`: [] of `plain`, ["redo"] of `redo`; give those of one' in error
    assert not list(workdir.glob("metrics.*"))
    main([*words, "plain", "longer", "older"])
    main([*words, "redo", "older"])


# ---------------------------------------------------------------------------------------- what a user can get wrong


def test_what_is_no_run(workdir, capsys, three_seeds):
    assert "`runs` names `nowhere`, which does not exist" in error_of(capsys, "nowhere")
    (workdir / "bare").mkdir()
    assert "`runs` names `bare`, which is no run folder" in error_of(capsys, "bare")
    (workdir / "bare" / "args.json").write_text("{}")
    script = os.path.relpath(ROOT / "eval.py")  # this folder is not the clone's
    assert f"`bare` has no evals.csv; `python {script} --run bare` makes it" in error_of(capsys, "bare")
    own = {"architecture": "my_q:QNetwork", "script": str(workdir / "mine" / "my_q.py")}
    (workdir / "bare" / "args.json").write_text(json.dumps(own))
    foreign = f"python {script} --run bare --architecture my_q:QNetwork"
    assert f"`bare` has no evals.csv; `{foreign}` makes it" in error_of(capsys, "bare")
    (workdir / "mine").mkdir()
    (workdir / "mine" / "my_q.py").touch()
    assert f"`bare` has no evals.csv; `env PYTHONPATH=mine {foreign}` makes it" in error_of(capsys, "bare")
    (workdir / "bare" / "evals.csv").write_text("")
    (workdir / "bare" / "args.json").unlink()
    assert "args.json cannot be read" in error_of(capsys, "bare")
    (workdir / "bare" / "args.json").write_text("[]")
    assert "args.json cannot be read: it holds no JSON object" in error_of(capsys, "bare")
    (workdir / "bare" / "args.json").write_text("{}")
    assert "evals.csv is empty" in error_of(capsys, "bare")
    (workdir / "bare" / "evals.csv").write_text(",".join(EVALUATION_COLUMNS) + "\n")
    assert "evals.csv holds no evaluation" in error_of(capsys, "bare")
    (workdir / "bare" / "evals.csv").write_text("run,score\nx,1\n")
    assert "`bare/evals.csv` has other columns than run, seed" in error_of(capsys, "bare")
    (workdir / "bare" / "evals.csv").write_bytes(b"\xff\xfe\x00")
    assert "`bare/evals.csv` has other columns than" in error_of(capsys, "bare")
    assert not list(workdir.glob("metrics.*"))


def test_settings_that_cannot_work(workdir, capsys, three_seeds):
    assert "`runs` names `runs/s1` twice" in error_of(capsys, "runs/s1", "runs/../runs/s1")
    assert "give at least one run folder" in error_of(capsys, "--mode", "greedy")
    assert "there is no folder `not`; create it" in error_of(capsys, "runs/s1", "-o", "not/there")
    assert "`new/..`" in error_of(capsys, "runs/s1", "-o", "new/..")
    assert "a folder; name the files in it, as in `runs/metrics`" in error_of(capsys, "runs/s1", "-o", "runs/")
    assert "a folder; name the files in it, as in `new/metrics`" in error_of(capsys, "runs/s1", "-o", "new/")
    for name in ("x.csv", "x.xlsx"):
        assert f"`output` is `{name}`; leave out the ending, `x`:" in error_of(capsys, "runs/s1", "-o", name)
    assert "`runs` is given and empty" in error_of(capsys, "runs/s1", "")
    assert "`single_task` is given and empty" in error_of(capsys, "runs/s1", "--single_task", "")
    assert "the agents of these runs are one player" in error_of(capsys, "runs/s1", "--agent", "ac")
    assert "there is no folder `xxx" in error_of(capsys, "runs/s1", "-o", f"{'x' * 300}/m")
    assert "add `--single_task" in error_of(capsys, "runs/s1", "--normalise", "single_task")
    assert "`recovery` is 0.0" in error_of(capsys, "runs/s1", "--recovery", "0")
    assert "`recovery` is 1.5" in error_of(capsys, "runs/s1", "--recovery", "1.5")
    assert "which has 3 phases" in error_of(capsys, "runs/s1", "--single_task", "runs/s2")
    make_run(workdir / "pong", make_rows(["a"], lambda s, p, step: 1.0), env_id="ALE/Pong-v5")
    assert "played ALE/Pong-v5" in error_of(capsys, "runs/s1", "--single_task", "pong")
    make_run(workdir / "again", make_rows(["", "a", "b"], by_matrix(matrix(1))))
    assert "the same seed 1" in error_of(capsys, "runs/s1", "again")
    make_run(workdir / "sampled", make_rows(["a"], lambda s, p, step: 1.0, modes=(0,)))
    assert "there is no greedy evaluation; choose the other `--mode`" in error_of(capsys, "sampled", "--mode", "greedy")
    assert not list(workdir.glob("metrics.*"))


def test_tables_are_printed_where_the_disk_refuses_the_files(three_seeds, workdir, capsys):
    output = "x" * 300  # no file can be called so
    with pytest.raises(SystemExit) as stop:
        main([*three_seeds, "-o", output])
    said = capsys.readouterr()
    assert stop.value.code == 1
    assert "average_performance" in said.out
    assert "files:" not in said.out
    assert said.err == f"error: {output}.json and .csv could not be written: File name too long\n"
    assert [path.name for path in workdir.iterdir()] == ["runs"]


def test_normalised_evaluations_keep_what_is_known():
    evaluations = Evaluations.of(make_rows(["a", "b"], lambda s, p, step: float(step)))
    changed = evaluations.normalised({"a": Scale(2.0, 1.0), "b": "no idea"})
    assert changed.matrix.loc["a"].tolist() == [1.0, 201.0, 401.0]
    assert changed.matrix.loc["b"].isna().all()
    assert changed.score("b", 0).reason == "no idea"
    assert evaluations.curve("a", 1)["score"].tolist() == [100.0, 150.0, 200.0]
    assert evaluations.curve("a")["phase"].tolist() == [0, 0, 0, 1, 1, 1]


def test_several_single_task_runs_count_by_their_mean(workdir, capsys):
    for seed, top in ((1, 10.0), (2, 30.0)):
        rows = make_rows(
            ["a"], lambda s, p, step, top=top: top * step / 100, strings=["a"], run=f"alone{seed}", seed=seed
        )
        make_run(workdir / f"alone{seed}", rows)
    make_run(workdir / "run", make_rows(["a", "b"], lambda s, p, step: 15.0, strings=["a"]))
    main(["run", "--single_task", "alone1", "alone2", "--normalise", "single_task"])
    of_run = json.loads((workdir / "metrics.json").read_text())["groups"][0]["runs"][0]["metrics"]
    assert of_run["average_performance"]["units"] == {"a": 0.75}, "of (10 + 30) / 2"
    assert of_run["forward_transfer"]["units"]["a"] == pytest.approx((0.75 - 0.5) / (1 - 0.5))
