"""Flags and what they belong to: nothing that is given is ignored without a word."""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import time
import typing
from pathlib import Path

import pytest
import torch
import yaml
from conftest import PATIENCE, ROOT, mostly_slow, write_config
from processes import wait_until_gone
from siblings import EVERY, Q_LEARNER

from continual_hackatari import continual_training_example as training
from continual_hackatari import sweep
from continual_hackatari.training import cost, earlier_flags, run_evaluation, sweeps
from continual_hackatari.training.config import ConfigError, as_plain_dict, check_belongings, from_plain_dict
from continual_hackatari.training.help import groups_of
from continual_hackatari.training.settings import RULES, WANDB

SCHEDULE = {
    "modification_factory": "SequentialModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 96,
        "modifications": ["all_black_cars", "no_modif"],
        "switching_thresholds": [48],
    },
}
FREEWAY = {"env_id": "ALE/Freeway-v5", "total_timesteps": 64, "num_envs": 2, "num_steps": 16, "cuda": False}
OFF = {
    "modifs": SCHEDULE,
    "anneal_lr_per_regime": {"anneal_lr": False},
    "fire_reset": {"game_start": "original"},
    "worker_timeout": {"num_workers": 0},
}
"""What switches off that to which the flag belongs, where the defaults do not."""
BELONGINGS = {name: rule.of for name, rule in training.RULES.items() if rule.of is not None}
OF = {of: [name for name in BELONGINGS if BELONGINGS[name] == of] for of in BELONGINGS.values()}
ON = {
    "game_specific_goals": {"her": True, "env_id": "ALE/Kangaroo-v5"},
    **{name: {"her": True} for name in ("her_rewards", "her_relabel", "her_weight", "her_importance_clip")},
    "encoder_dims": {"architecture": "PPO_OBJ", "obs_mode": "obj"},
    "decoder_dims": {"architecture": "PPO_OBJ", "obs_mode": "obj"},
    **{name: {"architecture": "PPO_CBP"} for name in earlier_flags.UNITS},
    **{name: {"shrink_and_perturb": True} for name in earlier_flags.SHRINKING},
    "boundary": {"methods": ["ewc"]},
    "eval_games": {"eval_every": 0},
    "eval_episodes": {"test_modifs": "no_modif"},
    "save_agent_wandb": {"track": True},
    "caption": {"capture_video": True},
    "modification_digest": {"modification_file": "x"},
    "new_rf_digest": {"new_rf": "x"},
    "start_from_digest": {"start_from": "x"},
    "start_from_experiment": {"start_from": "x"},
}
FILE_ONLY = {flag.name for flags in groups_of(training.Args).values() for flag in flags if flag.hidden}
FLAGS = list(BELONGINGS)


def another(name):
    """A value that is allowed and is not the default."""
    default, hint = getattr(training.Args, name), typing.get_type_hints(training.Args)[name]
    if typing.get_origin(hint) is typing.Literal:
        return next(value for value in typing.get_args(hint) if value != default)
    if name == "modifs":
        return "all_pink_cars"
    if isinstance(default, str):
        return "0123"
    if isinstance(default, bool):
        return not default
    if isinstance(default, float):
        return default / 2 or 0.5
    return default + 1 if isinstance(default, int) else [8]


def on_command_line(settings):
    words = []
    for name, value in settings.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def refusal(words):
    with pytest.raises(ConfigError) as refused:
        training.prepare(words)
    return str(refused.value)


@pytest.mark.parametrize("name", mostly_slow(FLAGS, 3))
def test_a_flag_of_something_that_is_off_is_refused_wherever_it_stands(name, workdir):
    settings = {**FREEWAY, **OFF.get(name, {})}
    value = another(name)
    path = write_config(workdir, **settings)
    for words in (
        *([["--config", path, *on_command_line({name: value})]] if name not in FILE_ONLY else []),
        ["--config", write_config(workdir / "..", **settings, **{name: value})],
    ):
        error = refusal(words)
        assert error.startswith(f"`{name}` ")
        assert f"leave `{name}` at its default" in error
        assert "\n" not in error
    assert not (workdir / "runs").exists()
    default = as_plain_dict(training.Args())[name]
    training.prepare(["--config", write_config(workdir, **settings, **{name: default})])


@pytest.mark.parametrize("name", FLAGS)
def test_the_same_flag_is_accepted_where_it_says_something(name):
    args = from_plain_dict(training.Args, {name: another(name), **ON.get(name, {})})
    check_belongings(args, BELONGINGS)


def test_flags_that_carry_the_name_of_what_they_belong_to_are_in_the_table():
    names = {field.name for field in dataclasses.fields(training.Args)}
    assert {name for name in names if name.startswith(("her_", "perturb_", "shrink_f"))} <= set(FLAGS)
    assert set(FLAGS) <= names
    assert len(set(FLAGS)) == len(FLAGS)


OF_RUNS = [name for name, rule in RULES.items() if rule.of is not None]


@pytest.mark.parametrize("name", OF_RUNS)
def test_what_belongs_to_something_that_is_off_is_refused_in_every_script(name, workdir):
    settings = {**FREEWAY, **OFF.get(name, {}), name: another(name)}
    with pytest.raises(ConfigError, match=f"^`{name}` .*leave `{name}` at its default"):
        Q_LEARNER.prepare(["--config", write_config(workdir, **settings)])
    assert not (workdir / "runs").exists()


@EVERY
def test_rules_are_of_settings_that_are_there(sibling):
    names = {field.name for field in dataclasses.fields(sibling.load().Args)}
    assert set(RULES) < set(sibling.load().SCRIPT.rules) <= names


def test_project_entity_and_folder_of_wandb_are_never_refused(workdir):
    words = ["--wandb_project_name", "a", "--wandb_entity", "b", "--wandb_dir", "c"]
    setup = training.prepare(["--config", write_config(workdir, **FREEWAY), *words])
    assert (setup.args.wandb_project_name, setup.args.wandb_entity, setup.args.wandb_dir) == ("a", "b", "c")


def test_a_run_that_goes_on_keeps_what_it_began_with_and_takes_nothing_more():
    old = from_plain_dict(training.Args, {"replacement_rate": 0.5})
    check_belongings(old, BELONGINGS, accepted=old)
    with pytest.raises(ConfigError, match="`save_agent_wandb` true"):
        check_belongings(dataclasses.replace(old, save_agent_wandb=True), BELONGINGS, accepted=old)


def shipped_files():
    """The JSON files that `--config` takes, of all that the project holds."""
    folders = [ROOT, *(ROOT / name for name in ("configs", "configs/published", "docs", "benchmarks/sequences"))]
    paths = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    return [path for path in paths if {"modification_factory", "env_id"} & set(json.loads(path.read_text()))]


@pytest.mark.parametrize("path", shipped_files(), ids=lambda path: path.stem)
def test_shipped_files_hold_only_what_differs_from_the_defaults(path):
    settings, defaults = json.loads(path.read_text()), as_plain_dict(training.Args())
    assert [key for key, value in settings.items() if value == defaults[key]] == []
    assert "exp_name" not in settings


def test_no_shipped_file_is_forgotten():
    assert len(shipped_files()) >= 24
    assert ROOT / "run_config.json" in shipped_files()


@EVERY
def test_a_given_flag_that_the_file_overrides_stands_out(sibling, workdir, capsys):
    path = write_config(workdir, **FREEWAY)
    sibling.prepare(["--config", path, "--num_envs", "8", "--seed", "3", "--num_steps", "16"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "warning" in line] == ["warning: config.json overrides --num_envs: 8 -> 2"]
    assert "config.json overrides --env_id: ALE/Pong-v5 -> ALE/Freeway-v5" in lines
    assert not [line for line in lines if "num_steps" in line or "seed" in line], "nothing changes there"


# ------------------------------------------------------------------------------------------------------------- sweeps


def sweep_file(parameters, **settings):
    command = ["${interpreter}", "${program}", "${args_no_boolean_flags}"]
    known = {"env_id": {"value": "ALE/Freeway-v5"}, "total_timesteps": {"value": 1000}, "no-cuda": {"value": True}}
    config = {"program": str(ROOT / "continual_training_example.py"), "method": "grid", "command": command}
    config = {**config, "parameters": {**known, **parameters}, **settings}
    Path("tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


FACTORS = {"shrink_factor": {"values": [0.7, 0.8]}, "shrink_and_perturb": {"values": [True, False]}}
REFUSED = "error: `shrink_factor` 0.8 says how shrink and perturb works, which is off"
METRIC = {"name": "continual/average_performance", "goal": "maximize"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, []),
        ({}, ["--only", "0"]),
        ({"method": "random"}, ["--max_runs", "20"]),
        ({"method": "bayes", "metric": METRIC}, ["--max_runs", "1"]),
    ],
)
def test_a_sweep_with_a_refused_combination_says_so_before_its_first_run(
    settings, words, checked_here, workdir, capsys, monkeypatch
):
    monkeypatch.setattr(sweeps, "require_optuna", lambda: None)  # nothing is searched
    sweep_file(FACTORS, **settings)
    assert sweep.main(["tiny.yaml", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(REFUSED)
    assert "--shrink_factor=0.8" in error
    assert error.count("\n") == 1
    assert [path.name for path in workdir.iterdir()] == ["tiny.yaml"]


def test_a_sweep_drops_with_track_all_that_belongs_to_it(checked_here, workdir, capsys):
    named = {"wandb_project_name": "a", "wandb_entity": "b", "wandb_dir": "c"}
    flags = {"track": True, "save_agent_wandb": True, **named}
    sweep_file({name: {"value": value} for name, value in {**flags, "seed": 1}.items()})
    assert sweep.main(["tiny.yaml", "--dry_run"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("--env_id=ALE/Freeway-v5 --total_timesteps=1000 --no-cuda --seed=1")
    apart = ["python", "x", "--wandb_dir", "c", "--track", "--wandb-entity", "b", "--save-agent-wandb", "--seed", "1"]
    assert sweeps.without_wandb(apart) == ["python", "x", "--seed", "1"]
    assert set(sweeps.SWITCHES_OF_WANDB) == {"track", *OF[WANDB]}
    fields = {field.name for field in dataclasses.fields(training.Args)}
    assert set(sweeps.SETTINGS_OF_WANDB) == {name for name in fields if name.startswith("wandb_")}


def test_a_string_that_the_run_evaluates_already_may_be_named_again(tmp_path):
    settings = {"env_id": "ALE/Freeway-v5", "eval_modifs": ["", "disable_cars"], "seed": 1}
    (tmp_path / "args.json").write_text(json.dumps(settings))
    names = ("no_modif", "disable_all_cars", "all_pink_cars")
    plan, *_ = run_evaluation.plan_run(
        run_evaluation.Args(run=str(tmp_path), eval_modifs=names), tmp_path, run_evaluation.settings_of(tmp_path)
    )
    assert plan.splits == dict.fromkeys(["", "disable_cars", "all_pink_cars"], "train")
    with pytest.raises(ConfigError, match="`eval_modifs` names 'no_modif' twice"):
        run_evaluation.plan_run(
            run_evaluation.Args(run=str(tmp_path), eval_modifs=("no_modif", "")),
            tmp_path,
            run_evaluation.settings_of(tmp_path),
        )


# -------------------------------------------------------------------------------------------------- cost and last words


def test_the_cost_of_evaluations_is_said_before_the_start(workdir, monkeypatch, capsys):
    monkeypatch.setattr(cost, "length_and_seconds", lambda *_: (100, 3.0))
    words = ["--config", write_config(workdir, **FREEWAY), "--eval_every", "32", "--eval_games", "4"]
    words += ["--test_modifs", "no_modif, all_pink_cars", "--eval_episodes", "5", "--time_limit", "40000"]
    training.prepare([*words, "--eval_modifs", "no_modif", "all_pink_cars"])
    out = capsys.readouterr().out
    # Of 0, 32 and 64 each has weights of its own: 3 times 2 strings, 4 games, greedy and sampled; and 2 times 5.
    assert "evaluations: 3, of which 3 are played" in out
    assert (
        "cost of the evaluations: 58 games, about 5,800 steps and 3 min of one core, if all are as the one that an "
        "untrained agent played just now, 100 steps at 33 a second; a game may last up to 10,000\n" in out
    )
    training.prepare(words[:2])
    assert "cost" not in capsys.readouterr().out


@EVERY
def test_the_speed_is_that_of_a_game_of_this_run(sibling, workdir, monkeypatch):
    setup = sibling.prepare(["--env_id", "ALE/Breakout-v5", "--no-cuda", "--time_limit", "400"])
    build = functools.partial(sibling.load().build, setup.args)
    length, seconds = cost.length_and_seconds(setup.game, build)
    assert 0 < length <= 100
    assert seconds > 0
    used = iter((5.0, 8.0))
    monkeypatch.setattr(cost.time, "process_time", lambda: next(used))
    assert cost.length_and_seconds(setup.game, build) == (length, 3)  # a core's, whatever else it does meanwhile


SCRIPTS = ["continual_clear.py", "continual_progress_compress.py", "continual_training_example.py"]
SCRIPTS += ["eval.py", "metrics.py", "report.py", "sweep.py"]


@pytest.mark.slow
@pytest.mark.parametrize("script", mostly_slow([*SCRIPTS, "modification_factories.py"], 9))
def test_help_that_nobody_reads_to_its_end_is_no_error(script):
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert process.stderr == ""
    assert process.returncode in (0, -signal.SIGPIPE)


def children(pid):
    """Processes that `pid` has started, with their command lines."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if int(path.read_text(errors="replace").rpartition(")")[2].split()[1]) == pid:
                found[int(path.parent.name)] = (path.parent / "cmdline").read_bytes()
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads processes from /proc")
@pytest.mark.parametrize("moment", mostly_slow(["imports", "workers"], 2))
def test_ctrl_c_in_the_first_second_ends_quietly_and_leaves_nobody(moment, tmp_path):
    script = str(ROOT / "continual_training_example.py")
    words = [script, "--no-cuda", "--num_envs", "2", "--num_workers", "2", "--total_timesteps", "100000"]
    with open(tmp_path / "said.txt", "w") as said:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=tmp_path, stdout=said, stderr=said, start_new_session=True
        )
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        workers = children(process.pid)
        ready = workers if moment == "workers" else b"libtorch" in Path(f"/proc/{process.pid}/maps").read_bytes()
        if ready:
            break
        time.sleep(0.005)
    assert ready
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    text = (tmp_path / "said.txt").read_text()
    assert "Traceback" not in text, text
    assert "KeyboardInterrupt" not in text
    wait_until_gone(workers)


@pytest.mark.parametrize(
    "settings", [{"modifs": "all_pink_cars"}, {**SCHEDULE, "total_timesteps": 48}, SCHEDULE], ids=[*"123"]
)
def test_what_would_happen_at_switches_is_said_to_do_nothing_without_one(settings, workdir, capsys):
    flags = {"shrink_and_perturb": True, "save_agent_with_switch": True, "switch_mode": "episode"}
    training.prepare(["--config", write_config(workdir, **{**FREEWAY, **settings, **flags})])
    note = "note: nothing switches in this run, so `switch_mode`, `save_agent_with_switch`, `shrink_and_perturb`"
    assert (note in capsys.readouterr().out) == (settings is not SCHEDULE)
    training.prepare(["--config", write_config(workdir, **{**FREEWAY, "modifs": "all_pink_cars"})])
    assert "nothing switches" not in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_graphs_of_a_gpu_are_said_to_do_nothing_without_one(workdir, capsys):
    for flag in (True, False):
        training.prepare(["--config", write_config(workdir, **FREEWAY, cuda_graphs=flag)])
        assert ("note: `cuda_graphs` does nothing without a GPU of CUDA" in capsys.readouterr().out) == flag
