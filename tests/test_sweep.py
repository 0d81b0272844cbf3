"""sweep.py: W&B's own commands and choices, N at a time, stopped and killed and gone on, failures told."""

import csv
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import PATIENCE, ROOT
from pages import section
from processes import alive
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from continual_hackatari import continual_training_example as training
from continual_hackatari import sweep
from continual_hackatari.training import runner, sweep_checks, sweeps
from continual_hackatari.training.command_line import parse_command_line
from continual_hackatari.training.runner import Runner
from continual_hackatari.training.search import DISTRIBUTIONS
from continual_hackatari.training.sweeps import Sweep

METRIC = {"name": "continual/average_performance", "goal": "maximize"}
COMMAND = ["${env}", "${interpreter}", "${program}", "${args_no_boolean_flags}"]


@pytest.fixture
def fake(workdir):
    """The current folder, with a stand-in of the training script."""
    shutil.copy(ROOT / "tests" / "fake_training.py", workdir / "fake.py")
    yield workdir
    for name in ("hold", "hold_save"):  # whatever a test that failed has left behind ends now
        (workdir / name).unlink(missing_ok=True)
    while BEGUN:
        process = BEGUN.pop()
        process.kill()
        process.wait()


def write_sweep(parameters, path="tiny.yaml", **settings):
    config = {"program": "fake.py", "method": "grid", "metric": METRIC, "command": COMMAND, "parameters": parameters}
    Path(path).write_text(yaml.safe_dump({**config, **settings}, sort_keys=False))
    return path


def calls():
    path = Path("calls.txt")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


BEGUN = []


def begin(*words):
    """sweep.py as a process of its own, in a process group of its own; its output goes to sweep.txt."""
    with open("sweep.txt", "ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "sweep.py"), *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    BEGUN.append(process)
    return process


def said():
    return Path("sweep.txt").read_text()


# -------------------------------------------------------------------------------------------------- what W&B would do


def shipped():
    return yaml.safe_load((ROOT / "sweep.yaml").read_text())


@pytest.mark.slow
def test_the_shipped_sweep_runs_here(checked_here, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert sweep.main(["sweep.yaml", "--dry_run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(set(lines)) == len(lines) == 18
    args = [parse_command_line(training.Args, shlex.split(line)[2:]) for line in lines]
    found = {(run.replacement_rate, run.shrink_and_perturb, run.seed) for run in args}
    assert found == set(itertools.product((0.0, 1e-5, 1e-4), (False, True), (1, 2, 3)))
    assert {(run.architecture, run.config, run.track) for run in args} == {
        ("PPO_CBP", "configs/freeway_speeds.json", False)
    }


def wandb_command(config, parameters):
    """The command by W&B's own functions, as its agent puts them together."""
    macros = create_sweep_command_args({"args": {name: {"value": value} for name, value in parameters.items()}})
    macros = {**macros, "env": [], "interpreter": ["python"], "program": [config["program"]]}
    words = []
    for word in create_sweep_command(list(config["command"])):
        macro = re.fullmatch(r"\$\{(\w+)\}", str(word))
        words += macros[macro[1]] if macro else [str(word)]
    return words


@pytest.mark.parametrize("macro", ["${args_no_boolean_flags}", "${args}", "${args_no_hyphens}"])
def test_commands_are_those_of_the_wandb_agent(macro):
    config = {"program": "train.py", "command": ["${env}", "${interpreter}", "${program}", "--track", macro]}
    values = [True, False, None, 3, -3, 0.1, 1e-5, -2.5e-7, 1e20, "", "a b", "all_pink_cars x", [1, 2], "--x", 0, 1]
    generator = random.Random(0)
    for size in range(len(values)):
        parameters = {f"p{i}": value for i, value in enumerate(generator.sample(values, size))}
        assert sweeps.command_of(config, parameters) == wandb_command(config, parameters)


def test_training_reads_the_values_of_a_sweep_as_they_are_meant():
    parameters = {
        "learning_rate": 1e-5,
        "seed": 3,
        "noise_scale": -0.5,
        "shrink_and_perturb": True,
        "her": False,
        "no_anneal_lr": True,
        "target_kl": None,
        "encoder_dims": [16, 32],
        "modifs": "all_pink_cars stop_all_cars_edge",
        "architecture": "PPO_CBP",
    }
    words = sweeps.command_of({"program": "train.py", "command": COMMAND}, parameters)
    args = parse_command_line(training.Args, words[2:])
    assert (args.learning_rate, args.seed, args.noise_scale) == (1e-5, 3, -0.5)
    assert (args.shrink_and_perturb, args.her, args.anneal_lr, args.target_kl) == (True, False, False, None)
    assert args.encoder_dims == (16, 32)
    assert (args.modifs, args.architecture) == ("all_pink_cars stop_all_cars_edge", "PPO_CBP")


# ------------------------------------------------------------------------------------------------------- which runs


def planned(**settings):
    parameters = settings.pop("parameters")
    options = settings.pop("args", {})
    config = {"program": "fake.py", "method": "grid", "metric": METRIC, "command": COMMAND, **settings}
    return Sweep({**config, "parameters": parameters}, Path("sweeps") / "tiny", **options)


def test_a_grid_is_the_product_of_its_values():
    parameters = {"seed": {"values": [3, 1]}, "rate": {"values": [0.1, 0.2, 0.3]}, "her": {"values": [True, False]}}
    runs = planned(parameters={**parameters, "fixed": {"value": "x y"}}).planned()
    found = [(run.parameters["seed"], run.parameters["rate"], run.parameters["her"]) for run in runs]
    # In W&B's order: by name, the last one changing fastest.
    assert [(her, rate, seed) for seed, rate, her in found] == list(
        itertools.product((True, False), (0.1, 0.2, 0.3), (3, 1))
    )
    assert all(run.command[-1] == "--fixed=x y" for run in runs)
    assert len({run.folder for run in runs}) == 12
    assert [run.command for run in planned(parameters=parameters, args={"max_runs": 5}).planned()] == [
        run.command for run in planned(parameters=parameters).planned()[:5]
    ]
    assert len(planned(parameters=parameters, run_cap=4, args={"max_runs": 5}).planned()) == 4


RANGES_OF_SEARCH = {
    "x": {"min": 0.0, "max": 1.0},
    "steps": {"min": 2, "max": 9},
    "rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-3},
    "her": {"values": [True, False]},
}


def test_random_runs_are_the_same_in_every_call_and_inside_their_ranges():
    def draws(seed, number):
        args = {"max_runs": number, "search_seed": seed}
        runs = planned(parameters=RANGES_OF_SEARCH, method="random", args=args).planned()
        json.dumps([run.parameters for run in runs])  # Python's numbers, not numpy's
        return [run.parameters for run in runs]

    random.seed(5)
    first = draws(0, 40)
    random.seed(6)
    assert first[:10] == draws(0, 10)
    assert first[:10] != draws(1, 10)
    assert all(0 <= p["x"] <= 1 and 2 <= p["steps"] <= 9 and 1e-6 <= p["rate"] <= 1e-3 for p in first)
    assert {p["her"] for p in first} == {True, False}
    assert 5e-6 < statistics.median(p["rate"] for p in first) < 2e-4, "logarithmic: its median is near 3e-5"


def test_a_random_search_does_not_draw_the_same_run_twice():
    runs = planned(parameters={"her": {"values": [1, 2, 3]}}, method="random", args={"max_runs": 50}).planned()
    assert sorted(run.parameters["her"] for run in runs) == [1, 2, 3]


def test_another_config_file_is_another_run(workdir):
    def folder(text):
        Path("c.json").write_text(text)
        return planned(parameters={"config": {"value": "c.json"}, "seed": {"values": [1]}}).planned()[0].folder

    assert folder('{"num_envs": 2}') != folder('{"num_envs": 4}')
    assert folder('{"num_envs": 2}') == folder('{"num_envs": 2}')
    assert sweeps.text_of_config(["--config", "c.json"]) == sweeps.text_of_config(["--config=c.json"]) != ""


def test_tracking_needs_no_server_unless_asked_for():
    parameters = {"track": {"value": True}, "seed": {"values": [1]}}
    assert planned(parameters=parameters).planned()[0].command[2:] == ["--seed=1"]
    assert planned(parameters=parameters, args={"track": True}).planned()[0].command[2:] == ["--track", "--seed=1"]


# ------------------------------------------------------------------------------------------------------ what is wrong

SEED = {"seed": {"values": [1, 2]}}


@pytest.mark.parametrize(
    ("settings", "words", "sentence"),
    [
        ({}, [], "`file` is missing"),
        ({}, ["nothing.yaml"], "cannot be read"),
        ({}, ["tiny.yaml", "--seeds", "1"], "`seeds` come without a file"),
        ({}, ["tiny.yaml", "--", "--her"], "go with `--seeds` only"),
        ({}, ["tiny.yaml", "--jobs", "0"], "`jobs` is 0"),
        ({}, ["tiny.yaml", "--search_seed", "2"], "this is a grid, which draws nothing"),
        ({}, ["tiny.yaml", "--only", "2"], "the runs of this sweep are 0 to 1"),
        ({}, ["--seeds", "1", "1"], "each of them may stand there once"),
        ({}, ["--seeds", "1", "--", "--seed=2"], "leave it out there"),
        ({}, ["tiny.yaml", "--folder", "fake.py"], "cannot be made"),
        ({"method": "gird"}, ["tiny.yaml"], "tiny.yaml: `method` is gird, but must be grid"),
        ({"method": "custom"}, ["tiny.yaml"], "must be grid, random or bayes to run here"),
        ({"method": "bayes"}, ["tiny.yaml"], "has no end"),
        ({"method": "bayes", "parameters": {"a": {"value": 1}}}, ["tiny.yaml", "--max_runs", "3"], "nothing to search"),
        ({"method": "bayes", "metric": None}, ["tiny.yaml"], "`metric` must be a mapping"),
        ({"paramters": {}}, ["tiny.yaml"], "the key `paramters` is unknown; the nearest is `parameters`"),
        ({"run_cap": 0}, ["tiny.yaml"], "`run_cap` is 0, but must be a whole number of at least 1"),
        ({"command": "python fake.py"}, ["tiny.yaml"], "`command` must be a list"),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 3}},
            ["tiny.yaml"],
            "`early_terminate` works with the W&B",
        ),
        ({"metric": {**METRIC, "goal": "maximise"}}, ["tiny.yaml"], "must be minimize or maximize; the nearest is"),
        ({"metric": {**METRIC, "target": 1}}, ["tiny.yaml"], "`target` of the `metric` works with the W&B server only"),
        ({"metric": {**METRIC, "impute": "best"}}, ["tiny.yaml"], "`impute` of the `metric` works with the W&B server"),
        ({"metric": {**METRIC, "gaol": "minimize"}}, ["tiny.yaml"], "`metric` has `gaol`"),
        ({"method": "random"}, ["tiny.yaml"], "has no end"),
        ({"method": "bayes"}, ["tiny.yaml", "--max_runs", "3", "--dry_run"], "no list of them"),
        (
            {"parameters": {"a": {"min": 3, "max": 1}}},
            ["tiny.yaml"],
            "tiny.yaml: `a` has min 3 and max 1, but min must be less",
        ),
        ({"parameters": {"a": {"min": 0.0, "max": 1.0}}}, ["tiny.yaml"], "`method` grid cannot list the values of `a`"),
        ({"parameters": {"a": 3}}, ["tiny.yaml"], "`a` is 3, but must be a mapping"),
        ({"parameters": {"a": {"parameters": {"b": {"value": 1}}}}}, ["tiny.yaml"], "flags are not nested"),
        ({"program": "absent.py"}, ["tiny.yaml"], "tiny.yaml: `program` must be a script"),
        ({"command": ["${interpreter}", "${nonsense}"]}, ["tiny.yaml"], "`command` has ${nonsense}"),
        ({"command": ["no_such_program"]}, ["tiny.yaml"], "no program here"),
    ],
)
def test_what_is_wrong_is_one_sentence_before_anything_is_written(settings, words, sentence, fake, capsys):
    write_sweep(**{"parameters": SEED, **settings})
    before = sorted(fake.rglob("*"))
    assert sweep.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert sentence in captured.err
    assert sorted(fake.rglob("*")) == before


def test_a_file_that_is_no_yaml(fake, capsys):
    Path("tiny.yaml").write_text("a: [1, 2\nb: }")
    assert sweep.main(["tiny.yaml"]) == 2
    assert "is not valid YAML" in capsys.readouterr().err
    Path("tiny.yaml").write_text("- 1\n")
    assert sweep.main(["tiny.yaml"]) == 2
    assert "must hold a mapping" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_of_one_row_that_were_made_unlike_are_told_at_the_end(fake, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(
        sweeps, "made_unlike", lambda runs, method: asked.append((len(runs), method)) or ["they differ"]
    )
    assert sweep.main([write_sweep({"score": {"values": [1, 2]}, "seed": {"values": [1, 2]}})]) == 0
    assert asked == [(4, ["score"])]
    assert (
        "warning: they differ; without their folders in sweeps/tiny, older ones are made anew\n"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("name", ["config", "start_from", "modification_file"])
def test_another_file_is_another_row(name, fake, tmp_path):
    parameters = {"program": {"value": "fake.py"}, name: {"values": ["a", "b"]}, "seed": {"values": [1, 2]}}
    config = {"program": "fake.py", "method": "grid", "parameters": parameters, "command": COMMAND}
    assert sweeps.Sweep(config, tmp_path).method == [name]


def test_flags_of_training_before_the_divider_are_refused_with_where_they_belong(fake, capsys):
    assert sweep.main(["--seeds", "1", "2", "--total_timesteps", "1000"]) == 2
    assert capsys.readouterr().err == (
        "error: `--total_timesteps` is no flag here; flags of the training script come after `--`, as in "
        "`--seeds 1 2 -- --num_envs 4`.\n"
    )


def first_fault(parameters, flags=(), program=ROOT / "continual_training_example.py", command=COMMAND):
    words = sweeps.command_of({"program": "p", "command": command}, parameters)[2:]
    return sweep_checks.first_fault(program, [(parameters, [*flags, *words])])


def test_what_training_would_refuse_is_found_before_the_first_run(workdir):
    good = {"env_id": "ALE/Freeway-v5", "total_timesteps": 1000, "modifs": "all_pink_cars"}
    assert first_fault(good) is None
    assert "did you mean all_pink_cars" in first_fault({**good, "modifs": "all_pink_car"})
    wrong = "`--lerning_rate` is no flag here; the nearest is `--learning_rate`. (of the run --lerning_rate=0.1)"
    assert first_fault({"lerning_rate": 0.1}) == wrong
    assert "would train nothing with --help" in first_fault({"help": True})
    assert "vary `no_anneal_lr` instead" in first_fault({**good, "anneal_lr": False})
    assert first_fault({**good, "no_anneal_lr": True, "her": False}) is None
    ewc = {**good, "methods": "ewc"}
    assert "vary `no_ewc.normalise` instead" in first_fault({**ewc, "ewc.normalise": False})
    assert first_fault({**ewc, "no_ewc.normalise": True}) is None
    for name in ("anneal-lr", "online-ewc.normalise"):  # as some write them
        assert f"vary `no_{name}` instead" in first_fault({**good, "methods": "online_ewc", name: False})
    for name, nearest in (
        ("aneal_lr", "anneal_lr"),
        ("ewc.normalize", "ewc.normalise"),
        ("no_ewc.samplez", "ewc.samples"),
    ):
        wrong = f"`{name}` is no flag of the training script; the nearest is `{nearest}`."
        assert first_fault({**ewc, name: False}) == wrong, "no flag is passed, so nobody else says it"
    for name in ("learning_rate", "no_learning_rate", "seed"):
        assert f"`{name}` is false, which passes no flag" in first_fault({**good, name: False})
    for value in (True, False):
        passed = f"`her` is {str(value).lower()}, which `command` passes as `--her={value}`, and flags that are on or"
        assert first_fault({**good, "her": value}, command=[*COMMAND[:-1], "${args}"]).startswith(passed)
    assert first_fault({**good, "methods": "ewc:normalise=false"}) is None
    program = str(ROOT / "continual_training_example.py")
    twice = [(good, ["--env_id", "ALE/Freeway-v5", "--methods", "redo", *more]) for more in ([], ["--redo.every=1000"])]
    assert sweep_checks.first_fault(program, twice) is None, "a search may draw the same again"
    same = sweep_checks.first_fault(program, twice, distinct=True)
    assert same.endswith("--redo.every=1000 would be the same training twice; leave one of them out.")
    twice[1][1][-1] = "--redo.every=999"
    assert sweep_checks.first_fault(program, twice, distinct=True) is None
    Path("c.json").write_text('{"env_id": "ALE/Freeway-v5", "seed": 5, "total_timesteps": 1000}')
    assert "a run is told `seed`, but the config file holds it too" in first_fault({"config": "c.json", "seed": 1})
    Path("c.json").write_text('{"env_id": "ALE/Freeway-v5", "anneal_lr": true, "num_envs": 2, "total_timesteps": 1000}')
    for name, value in (("no_anneal_lr", True), ("num-envs", 4)):
        assert f"a run is told `{name}`, but" in first_fault({"config": "c.json", name: value})
    Path("c.json").write_text('{"env_id": "ALE/Freeway-v5", "ewc": {"strength": 7}, "total_timesteps": 1000}')
    assert "a run is told `ewc.strength`, but the config file holds it too" in first_fault(
        {"config": "c.json", "methods": "ewc:strength=3"}
    )
    assert first_fault({"config": "c.json", "methods": "ewc:samples=3"}) is None
    Path("c.json").write_text("{")
    assert "not valid JSON" in first_fault({"config": "c.json", "seed": 1})


def test_a_script_outside_the_project_is_asked_as_well(checked_here, workdir, capsys):
    """A sweep file and seeds of it; what merely has its name cannot be asked, and a broken one is said."""
    shutil.copy(ROOT / "tests" / "q_learner.py", "my_q.py")
    twice = {"env_id": {"value": "ALE/Freeway-v5"}, "methods": {"values": ["redo", "redo:every=1000"]}}
    assert sweep.main([write_sweep(twice, program=str(ROOT / sweep.TRAINING)), "--dry_run"]) == 2
    assert "would be the same training twice; leave one of them out" in capsys.readouterr().err
    rates = {"env_id": {"value": "ALE/Freeway-v5"}, "learning_rat": {"values": [0.001, 0.01]}}
    assert sweep.main([write_sweep(rates, program="my_q.py"), "--dry_run"]) == 2
    assert "`--learning_rat` is no flag here" in capsys.readouterr().err
    seeds = ["--seeds", "1", "2", "--program", "my_q.py", "--dry_run", "--", "--total_timesteps", "1000"]
    assert sweep.main([*seeds, "--replay_size", "0"]) == 2
    assert "`replay_size` is 0" in capsys.readouterr().err
    assert sweep.main([*seeds, "--replay_size", "9"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("python my_q.py --total_timesteps 1000 --replay_size 9")
    Path("my_q.py").write_text("import absent_module\n\nSCRIPT = None\n")
    assert sweep.main(seeds) == 2
    assert "`program` my_q.py cannot be loaded: ModuleNotFoundError" in capsys.readouterr().err
    Path("my_q.py").write_text("raise SystemExit('started')")
    assert sweep.main(seeds) == 0


@pytest.mark.slow
def test_the_check_covers_every_run_of_the_real_script(workdir, capsys):
    flags = ["--total_timesteps", "1000", "--num_steps", "17"]
    assert sweep.main(["--seeds", "1", "2", "--dry_run", "--", *flags, "--num_envs", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    script = os.path.relpath(ROOT / "continual_training_example.py")
    assert lines == [shlex.join(["python", script, *flags, "--num_envs", "8", f"--seed={seed}"]) for seed in (1, 2)]
    assert list(workdir.iterdir()) == []


def test_a_run_whose_config_file_has_changed_since_the_plan_is_not_run(fake, capsys):
    """The first one edits it; the folder of the second says what it was to be run with."""
    Path("c.json").write_text("{}")
    Path("edits.py").write_text("open('c.json', 'w').write('{\"num_envs\": 3}')\n" + Path("fake.py").read_text())
    command = ["${interpreter}", "${program}", "--config=c.json", "${args_no_boolean_flags}"]
    assert sweep.main([write_sweep({"x": {"values": [0.1, 0.2]}}, program="edits.py", command=command)]) == 1
    out = capsys.readouterr().out
    assert "finished x=0.1" in out
    assert "failed x=0.2: the file that `--config` names has changed since this plan was made; the same" in out


def test_a_run_that_another_starter_has_finished_meanwhile_has_not_failed(fake, monkeypatch):
    """Its config file was edited after that."""
    Path("c.json").write_text("{}")
    command = ["${interpreter}", "${program}", "--config=c.json", "${args_no_boolean_flags}"]
    words = [write_sweep({"x": {"values": [0.1]}}, command=command)]
    lock = runner.exclusive_lock

    def taken(_):
        """By the other starter, which runs it while this one waits."""
        monkeypatch.setattr(runner, "exclusive_lock", lock)
        assert sweep.main(words) == 0
        Path("c.json").write_text('{"num_envs": 3}')

    monkeypatch.setattr(runner, "exclusive_lock", taken)
    assert sweep.main(words) == 0
    assert len(calls()) == 1


def test_the_process_that_checks_is_not_killed(workdir):
    # What it has opened would be left behind, and a warning in the terminal.
    Path("opening.py").write_text("import multiprocessing\n\ndef fault():\n    fault.lock = multiprocessing.Lock()\n")
    script = "import opening; from continual_hackatari.training.sweep_checks import in_another_process as ask; "
    command = [sys.executable, "-c", script + "ask(opening.fault, 1)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""


REAL = {"env_id": {"value": "ALE/Freeway-v5"}, "total_timesteps": {"value": 1000}}


def search_of_training(parameters):
    script = os.path.relpath(ROOT / "continual_training_example.py")
    write_sweep({**REAL, **parameters}, program=script, method="bayes", run_cap=5)


@pytest.mark.slow
def test_a_search_checks_every_combination_that_it_may_try(checked_here, workdir, monkeypatch, capsys):
    """The last of 4 * 3 * 5 combinations, of a list, a distribution and whole numbers, is refused."""
    pytest.importorskip("optuna")
    rates = {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2}
    numbers = {"min": 2, "max": 6}
    search_of_training(
        {"num_envs": {"values": [60, 120, 180, 240]}, "learning_rate": rates, "num_minibatches": numbers}
    )
    monkeypatch.setattr(Sweep, "run", lambda self, *_: 0)
    assert sweep.main(["tiny.yaml"]) == 0
    search_of_training(
        {"num_envs": {"values": [60, 120, 180, 241]}, "learning_rate": rates, "num_minibatches": numbers}
    )
    assert sweep.main(["tiny.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "`num_minibatches` 3 does not divide the batch of num_envs * num_steps = 241 * 128" in error


def test_a_search_with_too_many_combinations_checks_some_and_says_so(checked_here, workdir, monkeypatch, capsys):
    pytest.importorskip("optuna")
    monkeypatch.setattr(sweep_checks, "MAX_EXAMPLES", 7)
    monkeypatch.setattr(Sweep, "run", lambda self, *_: 0)
    search_of_training({"seed": {"min": 1, "max": 5}, "num_steps": {"values": [64, 128]}})
    assert sweep.main(["tiny.yaml"]) == 0
    assert "note: 7 of 10 combinations are checked before the first run" in capsys.readouterr().err
    search_of_training({"seed": {"min": 1, "max": 5}, "num_minibatches": {"values": [4, 8, 16, 3]}})
    assert sweep.main(["tiny.yaml"]) == 2
    assert "`num_minibatches` 3 does not divide" in capsys.readouterr().err


def test_a_command_that_training_refuses_ends_the_sweep_before_it_begins(checked_here, workdir, capsys):
    flags = ["--total_timesteps", "1000", "--num_steps", "17", "--num_envs", "1"]
    assert sweep.main(["--seeds", "1", "--", *flags]) == 2
    assert "error: `num_minibatches` 4 does not divide" in capsys.readouterr().err
    assert list(workdir.iterdir()) == []


# -------------------------------------------------------------------------------------------------- run, stop, go on


def test_seeds_of_other_flags_keep_their_own_records(workdir):
    def folder_of(*words, seeds=(1, 2)):
        args = sweep.Args(seeds=seeds)
        return sweep.batch_of(args, list(words)).folder

    Path("x.json").write_text("{}")
    before = folder_of("--config", "x.json")
    assert before.parent == Path("sweeps")
    assert folder_of("--config", "x.json", seeds=(1, 2, 3)) == before  # the same experiment goes on
    assert folder_of("--config", "x.json", "--her") != before
    Path("x.json").write_text('{"gamma": 0.9}')
    assert folder_of("--config", "x.json") != before


@pytest.mark.slow
def test_where_a_run_is_played_is_no_method(fake, capsys):
    write_sweep({"score": {"value": 2.0}, "seed": {"values": [1, 2]}, "worker_timeout": {"values": [30, 60]}})
    assert sweep.main(["tiny.yaml", "--jobs", "2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "/4" in line and "[" not in line]
    assert rows == [["all", "seeds", "4/4", "3", "2", "4"]]


@pytest.mark.slow
def test_a_sweep_runs_all_and_the_table_has_the_best_first(fake, capsys):
    write_sweep({"score": {"values": [1.0, 4.0, 2.0]}, "seed": {"values": [1, 2, 3]}})
    assert sweep.main(["tiny.yaml", "--jobs", "2"]) == 0
    out = capsys.readouterr().out
    assert len(calls()) == 9
    # The stand-in logs score * seed: means 2, 8 and 4.
    rows = [line.split() for line in out.splitlines() if line.startswith(("method", "score="))]
    assert rows == [
        ["method", "finished", METRIC["name"], "lowest", "highest"],
        ["score=4.0", "3/3", "8", "4", "12"],
        ["score=2.0", "3/3", "4", "2", "6"],
        ["score=1.0", "3/3", "2", "1", "3"],
    ]
    with open("sweeps/tiny/results.csv", newline="") as file:
        results = list(csv.DictReader(file))
    assert len(results) == 9
    for row in results:
        assert row["state"] == "finished"
        assert float(row["continual/forgetting"]) == float(row["score"]) * float(row["seed"])
        assert json.loads((Path(row["run_folder"]) / "argv.json").read_text()) == [
            f"--score={row['score']}",
            f"--seed={row['seed']}",
        ]
    assert "losses/entropy" not in results[0]
    # Again: nothing is left to do; and with one more value only that one.
    assert sweep.main(["tiny.yaml"]) == 0
    assert len(calls()) == 9
    assert capsys.readouterr().out.splitlines()[-4:] == out.splitlines()[-4:]
    write_sweep(
        {"score": {"values": [1.0, 4.0, 2.0]}, "seed": {"values": [1, 2, 3, 4]}}, metric={**METRIC, "goal": "minimize"}
    )
    assert sweep.main(["tiny.yaml"]) == 0
    assert {call[1] for call in calls()[9:]} == {"--seed=4"}
    order = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("score=")]
    assert order == ["score=1.0", "score=2.0", "score=4.0"]


@pytest.mark.slow
def test_a_failing_run_stops_no_other_and_is_named_with_its_last_error(fake, capsys):
    write_sweep({"score": {"value": 1.0}, "fail": {"value": 2}, "seed": {"values": [1, 2, 3]}})
    assert sweep.main(["tiny.yaml"]) == 1
    out = capsys.readouterr().out
    assert len(calls()) == 3
    (line,) = [line for line in out.splitlines() if line.startswith("failed:")]
    assert "seed=2: error: the disk of seed 2 is full (exit code 1)" in line
    assert "2/3" in out
    log = Path(re.search(r"\((sweeps/\S+/output.txt)\)", line)[1]).read_text()
    assert log.startswith("$ python fake.py --score=1.0 --fail=2 --seed=2\nrun folder: ")
    # Again: the failed one only, and told again.
    assert sweep.main(["tiny.yaml"]) == 1
    assert [call[-1] for call in calls()[3:]] == ["--seed=2"]


def test_a_killed_run_is_named_by_its_signal(fake, capsys):
    write_sweep({"score": {"value": 1.0}, "fail": {"value": "killed"}, "seed": {"values": [1]}})
    assert sweep.main(["tiny.yaml"]) == 1
    assert "seed=1: so far, so good (killed by SIGKILL)" in capsys.readouterr().out


def test_an_error_of_an_earlier_attempt_is_not_told_again(workdir):
    run = planned(parameters=SEED).planned()[0]
    run.folder.mkdir(parents=True)
    run.output.write_text("$ python fake.py\nerror: of yesterday\n")
    run.output_start = run.output.stat().st_size
    with open(run.output, "a") as output:
        output.write("$ python fake.py --resume x\nstep 5\n\nresume:     python fake.py --resume x\n")
    assert runner.last_error(run, -9) == "step 5 (killed by SIGKILL)"
    with open(run.output, "a") as output:
        output.write("error: the disk is full\ngoodbye\n")
    assert runner.last_error(run, 1) == "error: the disk is full (exit code 1)"


def test_a_metric_that_nobody_logged_is_said(fake, capsys):
    write_sweep({"score": {"values": [1.0]}}, metric={"name": "continual/nothing", "goal": "maximize"})
    assert sweep.main(["tiny.yaml"]) == 0
    assert "`continual/nothing` was logged by no run" in capsys.readouterr().out


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason="Bayesian search needs Optuna, which `pip install optuna` brings")


@pytest.mark.slow
def test_bayesian_runs_are_remembered_and_end_at_max_runs(fake, optuna, capsys):
    write_sweep({"x": {"min": 0.0, "max": 1.0}}, method="bayes")
    assert sweep.main(["tiny.yaml", "--max_runs", "2"]) == 0
    assert sweep.main(["tiny.yaml", "--max_runs", "4"]) == 0
    assert len(calls()) == len({call[0] for call in calls()}) == 4
    chosen = [json.loads(path.read_text())["parameters"]["x"] for path in Path("sweeps/tiny").glob("*/run.json")]
    assert {f"--x={x}" for x in chosen} == {call[0] for call in calls()}
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("sweeps/tiny/study.journal"))
    study = optuna.load_study(study_name="sweep", storage=storage)
    assert study.direction.name == "MAXIMIZE"
    results = {trial.params["x"]: trial.value for trial in study.trials}
    assert results == {x: pytest.approx(-((x - 0.7) ** 2), rel=1e-5) for x in chosen}, "each result is told"
    # Stopped in between or not, the search is the same.
    assert sweep.main(["tiny.yaml", "--max_runs", "4", "--folder", "whole"]) == 0
    assert calls()[4:] == calls()[:4]
    capsys.readouterr()
    write_sweep({"x": {"min": 0.0, "max": 2.0}}, method="bayes")
    assert sweep.main(["tiny.yaml", "--max_runs", "5"]) == 2
    assert "began with another `parameters`" in capsys.readouterr().err


@pytest.mark.slow
def test_bayesian_search_waits_for_results_before_it_chooses(fake, optuna, monkeypatch):
    write_sweep({"x": {"min": 0.0, "max": 1.0}}, method="bayes")
    known = []
    ask = sweeps.Study.ask
    monkeypatch.setattr(
        sweeps.Study,
        "ask",
        lambda self: (known.append(sum(trial.value is not None for trial in self.study.trials)), ask(self))[1],
    )
    assert sweep.main(["tiny.yaml", "--max_runs", "4"]) == 0
    assert known == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_failed_bayesian_run_is_tried_again_and_the_search_goes_on(fake, optuna, capsys):
    write_sweep({"score": {"value": 1.0}, "fail": {"values": ["", "no"]}, "seed": {"value": 1}}, method="bayes")
    assert sweep.main(["tiny.yaml", "--max_runs", "9"]) == 1
    assert sorted(call[1] for call in calls()) == ["--fail=", "--fail=no"]
    assert "there is nothing left to try" in capsys.readouterr().out
    Path("fake.py").write_text(Path("fake.py").read_text().replace('if "fail" in flags', "if False"))
    assert sweep.main(["tiny.yaml", "--max_runs", "9"]) == 0
    assert [call[1] for call in calls()[2:]] == ["--fail="]


@pytest.mark.slow
def test_a_bayesian_search_does_not_take_over_the_runs_of_another(fake, optuna, capsys):
    write_sweep({"x": {"values": [0.1, 0.2]}})
    assert sweep.main(["tiny.yaml"]) == 0
    write_sweep({"x": {"values": [0.1, 0.2]}}, method="bayes", run_cap=2)
    assert sweep.main(["tiny.yaml"]) == 2
    assert "runs that another search has chosen; name another `--folder`" in capsys.readouterr().err
    assert sweep.main(["tiny.yaml", "--folder", "other"]) == 0
    assert len(calls()) == 4


@pytest.mark.slow
def test_two_bayesian_sweeps_share_one_search(fake, optuna):
    write_sweep({"x": {"min": 0.0, "max": 1.0}}, method="bayes", run_cap=5)
    Path("hold").touch()
    both = [begin("tiny.yaml") for _ in range(2)]
    until(lambda: len(calls()) == 2)
    Path("hold").unlink()
    assert [process.wait(PATIENCE) for process in both] == [0, 0]
    assert len(calls()) == len({call[0] for call in calls()}) == 5
    assert len(re.findall(r"^x=.* 1/1 ", said(), re.M)) == 10, "both end with the table of all"


def test_without_optuna_the_pip_line_is_said(fake, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    write_sweep({"x": {"min": 0.0, "max": 1.0}}, method="bayes", run_cap=2)
    assert sweep.main(["tiny.yaml"]) == 2
    assert "run `pip install optuna`" in capsys.readouterr().err
    assert not Path("sweeps").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_lets_the_runs_save_and_the_same_command_goes_on(number, fake):
    write_sweep({"score": {"value": 1.0}, "seed": {"values": [1, 2, 3]}})
    Path("hold").touch()
    process = begin("tiny.yaml", "--jobs", "2")
    until(lambda: len(list(Path("runs").glob("*/argv.json"))) == 2)
    until(lambda: sum("run folder" in path.read_text() for path in Path("sweeps").rglob("output.txt")) == 2)
    os.killpg(process.pid, number)  # as Ctrl-C in a terminal does
    assert process.wait(PATIENCE) == 128 + number
    assert len(calls()) == 2, "two at a time, and none is started after the signal"
    signals = Path("signals.txt").read_text().split()
    assert len(signals) == len(set(signals)) == 2, "each run is asked once"
    assert alive(signals) == []
    assert "stopped: the same command goes on" in said()
    Path("hold").unlink()
    assert sweep.main(["tiny.yaml", "--jobs", "2"]) == 0
    resumed = [call for call in calls()[2:] if call[0] == "--resume"]
    assert sorted(call[1] for call in resumed) == sorted(str(path.parent) for path in Path("runs").glob("*/resume.pt"))
    assert [call for call in calls()[2:] if call[0] != "--resume"] == [["--score=1.0", "--seed=3"]]


@pytest.mark.slow
def test_a_run_without_anything_saved_starts_anew(fake):
    write_sweep({"score": {"value": 1.0}, "seed": {"values": [1]}})
    Path("hold").touch()
    Path("hold_save").touch()
    process = begin("tiny.yaml")
    until(
        lambda: (
            Path("sweeps").exists() and any("run folder" in p.read_text() for p in Path("sweeps").rglob("output.txt"))
        )
    )
    process.terminate()
    assert process.wait(PATIENCE) == 143
    Path("hold").unlink()
    assert sweep.main(["tiny.yaml"]) == 0
    assert calls() == [["--score=1.0", "--seed=1"]] * 2


@pytest.mark.slow
def test_after_a_killed_sweep_its_runs_are_waited_for_not_doubled(fake):
    write_sweep({"score": {"value": 1.0}, "seed": {"values": [1, 2]}})
    Path("hold").touch()
    process = begin("tiny.yaml", "--jobs", "2")
    until(lambda: len(list(Path("runs").glob("*/argv.json"))) == 2)
    until(lambda: sum("run folder" in path.read_text() for path in Path("sweeps").rglob("output.txt")) == 2)
    process.kill()
    process.wait()
    second = begin("tiny.yaml", "--jobs", "2")
    until(lambda: said().count("which another process is running") == 2)
    assert len(calls()) == 2
    for folder in Path("runs").iterdir():
        (folder / "resume.pt").touch()  # as a real run leaves it at its end
    Path("hold").unlink()
    assert second.wait(PATIENCE) == 0
    assert sorted(calls()[2:]) == sorted(["--resume", str(folder)] for folder in Path("runs").iterdir())
    assert "2/2" in said()


def test_runs_beside_each_other_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runner, "available_cores", lambda: 8)
    assert Runner([], 3).environment()["OMP_NUM_THREADS"] == "2"
    assert Runner([], 9).environment()["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in Runner([], 1).environment()
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert Runner([], 3).environment()["OMP_NUM_THREADS"] == "5"


@pytest.mark.slow
def test_two_sweeps_share_the_runs_of_one_folder(fake):
    write_sweep({"score": {"value": 1.0}, "seed": {"values": [1, 2, 3, 4]}})
    Path("hold").touch()
    both = [begin("tiny.yaml") for _ in range(2)]
    until(lambda: len(calls()) == 2)
    Path("hold").unlink()
    assert [process.wait(PATIENCE) for process in both] == [0, 0]
    assert sorted(call[1] for call in calls()) == [f"--seed={seed}" for seed in (1, 2, 3, 4)]


# ----------------------------------------------------------------------------------------------------- several seeds


def test_several_seeds_end_in_one_report(fake, monkeypatch, capsys):
    shutil.copy("fake.py", sweep.TRAINING)
    Path("report.py").write_text("import json, sys; json.dump(sys.argv[1:], open('report_argv.json', 'w'))")
    monkeypatch.setattr(sweep, "HERE", fake)
    monkeypatch.setattr(sweep, "check", lambda *_: None)  # it would ask the real script
    words = ["--seeds", "5", "7", "--folder", "mine", "--", "--score=2", "--shrink_and_perturb"]
    assert sweep.main(words) == 0
    assert calls() == [["--score=2", "--shrink_and_perturb", f"--seed={seed}"] for seed in (5, 7)]
    *folders, option, path = json.loads(Path("report_argv.json").read_text())
    assert (option, path) == ("-o", "mine/report.html")
    assert sorted(folders) == sorted(str(folder) for folder in Path("runs").iterdir())
    out = capsys.readouterr().out
    assert "report:     mine/report.html" in out
    assert re.search(r"all seeds +2/2 +12 +10 +14", out)
    Path("report.py").write_text("import sys; sys.exit(3)")
    assert sweep.main(words) == 1
    assert "the report failed with exit code 3" in capsys.readouterr().err


@pytest.mark.slow
def test_two_seeds_of_the_real_script(workdir):
    flags = ["--num_envs", "2", "--num_steps", "16", "--total_timesteps", "64", "--num_workers", "0", "--no-cuda"]
    words = ["--seeds", "1", "2", "--jobs", "2", "--", *flags]
    begin(*words).wait(PATIENCE)
    runs = sorted(Path("runs").iterdir())
    assert [json.loads((run / "args.json").read_text())["seed"] for run in runs] == [1, 2]
    assert all((run / "model.cleanrl_model").exists() for run in runs)
    assert "2/2" in said()


# ---------------------------------------------------------------------------------------------------------- its page


@pytest.mark.slow
def test_the_commands_of_the_page_are_accepted(checked_here, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    lines = re.findall(r"^python sweep.py .*", section("Sweeps and many seeds"), re.M)
    commands = [shlex.split(line)[2:] for line in lines if "experiments.json" not in line]  # see test_queue.py
    assert len(commands) == 3
    for words in commands:
        assert sweep.main(["--dry_run", *[word for word in words if word != "--dry_run"]]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_the_search_of_the_page_works(checked_here, fake, optuna, monkeypatch, capsys):
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", section("Sweeps and many seeds"), re.M | re.S)
    folder = Path.cwd()
    Path("readme.yaml").write_text(text)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Sweep, "run", lambda self, *_: 0)  # all that comes before the first run
    assert sweep.main([str(folder / "readme.yaml"), "--folder", str(folder / "kept")]) == 0
    (folder / "readme.yaml").write_text(text.replace("update_epochs", "update_epohcs"))
    assert sweep.main([str(folder / "readme.yaml"), "--folder", str(folder / "kept")]) == 2
    assert "`--update_epohcs` is no flag here; the nearest is `--update_epochs`" in capsys.readouterr().err
    # The same search of the stand-in, whose best is x = 0.7.
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    text = text.replace("continual_training_example.py", "fake.py").replace("gae_lambda", "x").replace("30", "3")
    (folder / "readme.yaml").write_text(text)
    assert sweep.main(["readme.yaml", "--jobs", "2"]) == 0
    assert len(calls()) == 3


def test_the_page_has_every_distribution():
    table = section("Sweeps and many seeds").split("| distribution |")[1].split("\n\n")[0]
    listed = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.M)))
    lists = {"constant", "categorical", "categorical_w_probabilities"}
    assert sorted(listed) == sorted(DISTRIBUTIONS.keys() - lists)


# ---------------------------------------------------------------------------------------------------------- cluster


def program(name, text):
    """A program of this name, first on the path."""
    Path("bin").mkdir(exist_ok=True)
    path = Path("bin") / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def array_task(*words, **environment):
    path = f"{Path('bin').resolve()}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", str(ROOT / "cluster" / "slurm_array.sh"), *words],
        env={**os.environ, "PATH": path, "SLURM_SUBMIT_DIR": os.getcwd(), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def cluster(fake):
    program("scontrol", 'echo "$@" >> scontrol.txt')
    program("wandb", 'echo "$@" > wandb.txt')
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    script = f"{path}; from continual_hackatari.sweep import main; sys.exit(main())"
    Path("sweep.py").write_text(script)
    return fake


def test_an_array_task_is_the_run_of_its_number(cluster, capsys):
    write_sweep({"score": {"values": [1.0, 2.0]}, "seed": {"values": [1, 2, 3]}})
    assert sweep.main(["tiny.yaml", "--dry_run"]) == 0
    lines = capsys.readouterr().out.splitlines(keepends=True)
    task = array_task("tiny.yaml", "--dry_run", SLURM_ARRAY_TASK_ID="4")
    assert task.communicate(timeout=PATIENCE)[0] == lines[4]
    assert task.returncode == 0
    assert array_task("tiny.yaml").wait(PATIENCE) != 0, "submitted without --array"


@pytest.mark.slow
def test_an_array_task_at_its_time_limit_is_saved_requeued_and_goes_on(cluster):
    write_sweep({"score": {"value": 1.0}, "seed": {"values": [1, 2]}})
    Path("hold").touch()
    ids = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "99"}
    task = array_task("tiny.yaml", **ids)
    until(lambda: any("run folder" in path.read_text() for path in Path("sweeps").rglob("output.txt")))
    task.send_signal(signal.SIGUSR1)
    task.communicate(timeout=PATIENCE)
    assert task.returncode == 143
    assert Path("scontrol.txt").read_text() == "requeue 99_1\n"
    Path("hold").unlink()
    assert array_task("tiny.yaml", **ids).wait(PATIENCE) == 0
    (folder,) = Path("runs").iterdir()
    assert calls() == [["--score=1.0", "--seed=2"], ["--resume", str(folder)]]
    assert len(Path("scontrol.txt").read_text().splitlines()) == 1


@pytest.mark.slow
def test_a_cancelled_array_task_is_saved_and_not_requeued(cluster):
    write_sweep({"score": {"value": 1.0}, "seed": {"values": [1]}})
    Path("hold").touch()
    task = array_task("tiny.yaml", SLURM_ARRAY_TASK_ID="0", SLURM_ARRAY_JOB_ID="99")
    until(lambda: any("run folder" in path.read_text() for path in Path("sweeps").rglob("output.txt")))
    task.terminate()
    task.communicate(timeout=PATIENCE)
    assert task.returncode == 143
    assert list(Path("runs").glob("*/resume.pt"))
    assert not Path("scontrol.txt").exists()


def test_an_array_task_of_a_wandb_sweep_asks_wandb_for_one_run(cluster):
    assert array_task("me/project/abc123", SLURM_ARRAY_TASK_ID="0").wait(PATIENCE) == 0
    assert Path("wandb.txt").read_text() == "agent --count 1 me/project/abc123\n"
