"""The benchmark suites: what their files say, and how sweep.py runs one."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import NEEDS_HACKATARI, ROOT
from pages import section

from continual_hackatari import continual_training_example as training
from continual_hackatari import sweep
from continual_hackatari.methods import all_methods
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.training import method_words
from continual_hackatari.training.command_line import parse_command_line
from continual_hackatari.training.config import ConfigError, apply_config_file, prefixed_of
from continual_hackatari.training.suites import (
    Cost,
    cost_of,
    first_regimes,
    plan_table,
    single_task_config,
    suite_file,
    write_single_tasks,
)
from continual_hackatari.training.sweeps import command_of, made_unlike, methods_flag, read_sweep
from continual_hackatari.wrappers.config import check_string, game_config

A_METHOD_IS = "a method is its name and then its settings, as in `ewc:strength=10`, and + stands between methods"
SIZES = ("cpu", "full")
FOLDER = ROOT / "configs" / "suites"
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
OF_HACKATARI = ("seaquest-", "spaceinvaders-looks", "spaceinvaders-mixed")
"""whose modifications are the package's, as their page says"""
CONFIGS = {(name, size): json.loads((FOLDER / name / f"{size}.json").read_text()) for name in NAMES for size in SIZES}
RECORDED = json.loads((ROOT / "tests" / "data" / "suites.json").read_text())


def digest(config):
    """Of all that decides what a score of the suite means."""
    rest = {key: value for key, value in config.items() if key != "notes"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:12]


def test_a_changed_suite_has_another_version():
    """Scores of one name must be comparable: who changes a file gives `exp_name` a new ending, and records it here."""
    assert {config["exp_name"]: digest(config) for config in CONFIGS.values()} == RECORDED
    assert all(config["exp_name"].rpartition("-")[0] == f"{name}-{size}" for (name, size), config in CONFIGS.items())


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[NEEDS_HACKATARI] if name.startswith(OF_HACKATARI) else []) for name in NAMES],
)
def test_both_sizes_are_one_sequence_that_can_be_played(name):
    cpu, full = (CONFIGS[name, size] for size in ("cpu", "full"))
    for key in (
        "env_id",
        "frameskip",
        "full_action_space",
        "max_pool",
        "reward_scaling",
        "held_out_modifs",
        "anneal_lr",
    ):
        assert cpu.get(key) == full.get(key)
    both = [schedule_from_config(config, seed=0) for config in (cpu, full)]
    played = [[string for *_, string in schedule.segments()] for schedule in both]
    before = ["disable_cars"] if name.startswith("freeway-modes") else []
    assert played[0] == [*before, *played[1]]
    assert both[1].num_total_steps == (500_000 if name == "three-games" else 1_000_000) * len(played[1])
    game, _ = game_config(cpu["env_id"], full_action_space=cpu.get("full_action_space", False))
    strings = [*played[0], *cpu.get("held_out_modifs", [])]
    assert [task.string for task in first_regimes(cpu)] == list(dict.fromkeys(played[1])), "what is before is no task"
    assert all(check_string(game, string)[0] == string for string in strings)
    assert not set(cpu.get("held_out_modifs", [])) & set(played[0])
    if name.endswith("mixed"):
        assert len(set(played[0])) < len(played[0]), "something comes back"
    assert cost_of(cpu).hours < (1.1 if name.startswith("atari_6") else 0.75)


def test_the_papers_sequences():
    for game, number in (("freeway", 8), ("spaceinvaders", 10)):
        for name, skip in ((f"{game}-modes", 4), (f"{game}-modes-skip16", 16)):
            config = CONFIGS[name, "full"]
            assert config["modification_factory_kwargs"]["modifications"] == [f"mode_{n}" for n in range(number)]
            assert config["eval_modifs"] == config["modification_factory_kwargs"]["modifications"]
            assert config.get("frameskip", 4) == skip


def test_coras_sequences():
    six = ["SpaceInvaders:", "Krull:", "BeamRider:", "Hero:", "StarGunner:", "MsPacman:"]
    sequences = {"atari_6_tasks_5_cycles": six * 5, "mini_atari_3_tasks_3_cycles": [six[0], six[2], six[5]] * 3}
    for name, expected in sequences.items():
        for size in SIZES:
            assert [string for *_, string in schedule_from_config(CONFIGS[name, size], seed=0).segments()] == expected


def test_a_run_on_one_game_of_several_is_the_same_task_there(tmp_path):
    """It plays the second game with all actions, under the string that the sequence has for it."""
    config = CONFIGS["three-games", "cpu"]
    task = first_regimes(config)[1]
    (tmp_path / "alone.json").write_text(json.dumps(single_task_config(config, task)))
    args, _ = apply_config_file(training.Args(), str(tmp_path / "alone.json"))
    assert (args.env_id, args.modifs, args.full_action_space) == ("ALE/Freeway-v5", "Breakout:", True)
    assert args.reward_scaling == "clip", "as in the sequence, where it is because there are several games"
    game, _ = game_config(args.env_id, full_action_space=True)
    assert check_string(game, args.eval_modifs[0]) == ("Breakout:", [])


def test_a_run_on_one_task_is_the_suite_without_its_sequence(tmp_path):
    config = CONFIGS["freeway-mixed", "cpu"]
    tasks = first_regimes(config)
    assert [(task.string, task.steps) for task in tasks] == [
        ("disable_cars", 40_000),
        ("", 40_000),
        ("all_black_cars", 40_000),
        ("reverse_car_speed_bottom", 40_000),
    ]
    alone = single_task_config(config, tasks[2])
    (tmp_path / "alone.json").write_text(json.dumps(alone))
    args, _ = apply_config_file(training.Args(), str(tmp_path / "alone.json"))
    assert (args.modifs, args.total_timesteps, args.eval_modifs) == ("all_black_cars", 40_000, ("all_black_cars",))
    assert (args.eval_every, args.eval_games, args.anneal_lr) == (20_000, 5, False)


SHORT = {
    "env_id": "ALE/Freeway-v5",
    "modification_factory": "SequentialModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 330,
        "modifications": ["", "stop_top_4", ""],
        "switching_thresholds": [100, 250],
    },
    "eval_modifs": ["", "stop_top_4"],
    "held_out_modifs": ["all_black_cars"],
    "eval_every": 40,
    "eval_games": 3,
    "num_envs": 2,
    "num_steps": 5,
}


def test_a_task_that_comes_back_is_compared_over_its_first_regime_with_runs_that_suites_share(tmp_path):
    assert first_regimes(SHORT) == [("", 100), ("stop_top_4", 150)]
    files = {
        name: {Path(path).name for path in write_single_tasks(CONFIGS[f"freeway-{name}", "cpu"], tmp_path)}
        for name in ("dynamics", "looks")
    }
    assert (len(files["dynamics"]), len(files["looks"]), len(files["dynamics"] & files["looks"])) == (4, 5, 2)
    assert not any("held_out_modifs" in json.loads(path.read_text()) for path in tmp_path.iterdir())


def test_what_a_run_costs_worked_out_by_hand():
    """Before training, at 40, 80 ... 320, at two switches and at the end: 12 times, 3 strings, 3 games, both modes."""
    games = 12 * 3 * 3 * 2
    assert cost_of(SHORT) == (330, games * 2048)
    assert cost_of(SHORT).hours == pytest.approx((330 / 300 + games * 2048 / 1300) / 3600)
    assert cost_of(SHORT, weights_change=True).game_steps == (12 + 2) * 3 * 3 * 2 * 2048, "before and after a switch"
    assert cost_of({**SHORT, "frameskip": 16}).game_steps == games * 512
    assert cost_of({**SHORT, "eval_every": 0}).game_steps == 4 * 3 * 3 * 2 * 2048
    assert cost_of({**SHORT, "eval_modifs": []}).game_steps == games * 2048, "all that is trained on"


def test_the_plan_counts_what_is_left():
    hour = Cost(300 * 3600, 0)
    head, *rows = plan_table([("none", 3, 1, hour), ("redo", 2, 2, hour), ("only gravity", 4, 0, Cost(150 * 3600, 0))])
    assert head[-1] == "hours left"
    assert [row[-1] for row in rows] == ["2.0", "0.0", "2.0", "4.0"]
    assert rows[-1][:3] == ["all", "9", "3"]


def test_strengths_are_chosen_from_three_values_on_a_string_that_no_suite_has():
    used = {string for config in CONFIGS.values() for *_, string in schedule_from_config(config, seed=0).segments()}
    used |= {string for config in CONFIGS.values() for string in config.get("held_out_modifs", [])}
    folder = ROOT / "configs" / "strengths"
    for path in folder.glob("*.json"):
        *_, (*_, last) = schedule_from_config(json.loads(path.read_text()), seed=0).segments()
        assert last not in used
    files = sorted(folder.glob("*.yaml"))
    assert len(files) >= 4
    for path in files:
        sweep = read_sweep(str(path))
        (varied,) = [values["values"] for values in sweep["parameters"].values() if len(values.get("values", [])) > 1]
        assert len(varied) == 3
        assert sweep["parameters"]["methods"]["value"] == path.stem.partition("-")[2]
        assert sweep["command"][3] == f"configs/strengths/{path.stem.partition('-')[0]}.json"


def test_methods_are_a_list_for_the_training_script():
    assert [methods_flag(value) for value in ("none", "redo", "layer_norm+redo")] == [
        [],
        ["--methods", "redo"],
        ["--methods", "layer_norm", "redo"],
    ]
    assert methods_flag("layer_norm+ewc:strength=10:samples=64") == [
        *("--methods", "layer_norm", "ewc", "--ewc.strength=10", "--ewc.samples=64")
    ]
    file = {"program": "train.py", "command": ["${interpreter}", "${program}", "${args_no_boolean_flags}"]}
    assert command_of(file, {"methods": "a+b", "her": True, "seed": 1}) == [
        *("python", "train.py", "--methods", "a", "b", "--her", "--seed=1")
    ]
    del file["command"]
    assert command_of(file, {"methods": ["a", "b"], "her": True}) == [
        *("python", "train.py", "--methods", "a", "b", "--her=True")
    ]
    assert command_of(file, {"methods": "none"}) == ["python", "train.py"]


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        (
            {"methods": "redo+ewc:strength=3", "ewc.strength": 1},
            "`methods` has `redo+ewc:strength=3`, and `ewc.strength` is a parameter of its own too; leave one of them "
            "out.",
        ),
        ({"methods": "ewc:strength=1:strength=2"}, "which says `ewc.strength` twice; say it once."),
        (
            {"methods": "ewc:normalise=True", "no_ewc.normalise": True},
            "and `no_ewc.normalise` is a parameter of its own too; leave one of them out.",
        ),
        (
            {"methods": "ewc:normalise=True", "ewc.no-normalise": True},
            "`ewc.no-normalise` is a parameter of its own too; leave one of them out.",
        ),
        (
            {"methods": "online_ewc:strength=3"},
            "and `command` has `--online-ewc.strength=7` too; leave one of them out.",
        ),
        ({"methods": "ewc:samples=3"}, "and `command` has `--ewc.samples` too; leave one of them out."),
    ],
)
def test_a_setting_that_would_not_be_what_the_methods_say_is_refused(parameters, fault):
    """The last value would count, under a label with the other."""
    with pytest.raises(ConfigError) as caught:
        command_of(
            {"program": "train.py", "command": ["python", "--online-ewc.strength=7", "--ewc.samples", "7"]}, parameters
        )
    assert str(caught.value).endswith(fault)
    assert command_of({"program": "train.py"}, {"methods": "ewc:strength=3", "ewc.samples": 1})


@pytest.mark.parametrize(("alone", "together"), [(1, 0), (0, 1)])
def test_a_failed_run_of_a_suite_is_in_the_exit_code(fake, monkeypatch, alone, together):
    batches, codes = [], [alone, together]
    monkeypatch.setattr(sweep.Sweep, "run", lambda self, *_: batches.append(self) or codes.pop(0))
    assert sweep.main(["--suite", "freeway-dynamics", "--seeds", "1", "--folder", "mine"]) == 1
    assert [str(batch.folder) for batch in batches] == ["sweeps/single-task", "mine"]


def test_a_suite_is_tracked_where_both_sides_of_the_divider_say_so(fake, capsys):
    words = ["--suite", "freeway-dynamics", "--seeds", "1", "--dry_run"]
    for more, count in ((["--track"], 5), ([], 0)):
        assert sweep.main([*words, *more, "--", "--track"]) == 0
        assert sum("--track" in line for line in capsys.readouterr().out.splitlines()) == count


def test_runs_of_one_row_with_other_settings_are_told(tmp_path):
    """As where the default of a setting has changed since the first of them."""
    jobs = []
    for seed, strength in ((1, 100.0), (2, 0.01), (3, 0.01)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "args.json").write_text(json.dumps({"seed": seed, "methods": ["ewc"], "ewc.strength": strength}))
        jobs.append(SimpleNamespace(parameters={"methods": "ewc"}, result={"run_folder": str(folder)}))
    assert [*made_unlike(jobs, ["methods"])] == [
        "the runs of `methods=ewc` are of different settings: ewc.strength 100.0 and 0.01"
    ]
    assert [*made_unlike(jobs[1:], ["methods"])] == []
    shutil.rmtree(tmp_path / "3")
    assert [*made_unlike(jobs[1:], ["methods"])] == [], "a folder that is gone says nothing"
    for number, job in enumerate(jobs):  # of a queue
        job.parameters = {"methods": "ewc", "experiment": number}
    assert len([*made_unlike(jobs, ["methods"])]) == 1
    jobs[0].parameters = {"methods": "ewc", "num_workers": 2}
    assert [*made_unlike(jobs, ["methods"])] == [], "they were told different things"


@pytest.mark.parametrize(
    ("word", "parameters"),
    [
        ("--methods=ewc", {"methods": "none"}),
        ("--ewc.strength", {"ewc.strength": 1}),
        ("--ewc.no_normalise", {"no_ewc.normalise": True}),
        ("--no-norm-adv", {"norm_adv": True}),
        ("--seed=3", {"gamma": 0.9, "seed": 1}),
    ],
)
def test_a_parameter_that_stands_in_the_command_too_is_refused(word, parameters):
    """The last of them would count, under the label of the parameter."""
    command = ["python", "${program}", "${args_no_boolean_flags}", word, "--num_envs", "2"]
    sentence = rf"is a parameter, and `command` has `{word}` too; leave one of them out\.$"
    with pytest.raises(ConfigError, match=sentence):
        command_of({"program": "train.py", "command": command}, parameters)
    assert command_of({"program": "train.py", "command": [*command, "--exp_name", "gamma"]}, {"gamma": 0.9})


def test_only_counts_the_runs_on_one_task_with_each_seed(fake, capsys):
    words = ["--suite", "freeway-dynamics", "--seeds", "1", "2", "--dry_run", "--only"]
    for number, file in (("0", "--config=sweeps/single-task/"), ("9", "--config configs/suites/freeway-dynamics/")):
        assert sweep.main([*words, number]) == 0
        assert file in capsys.readouterr().out.replace(os.path.relpath(ROOT) + "/", "").replace("'", "")
    assert sweep.main([*words, "10"]) == 2
    assert capsys.readouterr().err.endswith("is 10, but the runs of this sweep are 0 to 9.\n")


def test_a_flag_that_the_file_of_a_suite_would_override_is_refused():
    config = json.loads((ROOT / "configs" / "suites" / "freeway-dynamics" / "cpu.json").read_text())
    program = str(ROOT / "continual_training_example.py")
    told = sweep.told_by_flags(program, ["--num-envs", "4"], config)
    assert told == {"num_envs": 4, "num_steps": 128}
    assert sweep.told_by_flags(str(ROOT / "tests" / "fake_training.py"), ["--score=1"], config) == {}
    for flag in ("--eval-every=5", "--anneal_lr"):
        name = flag.partition("=")[0].replace("-", "_").replace("__", "--")
        with pytest.raises(ConfigError, match=rf"^`{name}` stands in the suite's file, which would win; leave it out"):
            sweep.told_by_flags(program, [flag], config)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--only", "5"], "`only` (or `resume_id`) is 5, but the runs of this sweep are 0 to 4."),
        (
            ["--methods", "ewc", "--", "--ewc.strength", "5"],
            "`--ewc.strength` after `--` would go to every run, and those on one task alone have no methods; write "
            "`ewc:strength=VALUE` in `--methods`.",
        ),
        (["--", "--no-ewc.normalise"], "write `ewc:normalise=False` in `--methods`."),
        (["--", "--ewc.no_normalise"], "write `ewc:normalise=False` in `--methods`."),
        (["--", "--online-ewc.strength=5"], "write `online_ewc:strength=5` in `--methods`."),
        (["--", "--methods", "redo"], "those on one task alone have no methods; name them before it."),
        (["--", "--config=other.json"], "`python sweep.py --seeds ... -- --config FILE`, without `--suite`."),
        (["--", "--continual_backprop.decay-rate=0.5"], "write `continual_backprop:decay_rate=0.5` in `--methods`."),
        (["--max_runs", "2"], "`max_runs` is of sweep files, and of a suite there are all runs; leave it."),
        (["--search_seed", "2"], "`search_seed` is of sweep files, and of a suite there are all runs; leave it."),
    ],
)
def test_a_suite_is_refused_before_anything_is_written(fake, workdir, capsys, words, fault):
    before = sorted(workdir.iterdir())
    assert sweep.main(["--suite", "freeway-dynamics", "--seeds", "1", *words]) == 2
    assert capsys.readouterr().err.endswith(f"{fault}\n")
    assert sorted(workdir.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (
            "layer_norm,redo",
            "write `layer_norm+redo` for one run with all of them, or `layer_norm redo` for one run with each",
        ),
        (
            "layer_norm redo",
            "write `layer_norm+redo` for one run with all of them, or `layer_norm redo` for one run with each",
        ),
        ("layer_norm + redo", "write `layer_norm+redo`"),
        ("redo:every:50", "write `redo:every=50`"),
        ("ewc:strength", "write `ewc:strength=VALUE`"),
        ("layer_norm+ewc:strength=", "write `layer_norm+ewc:strength=VALUE`"),
        (
            "ewc:strength=10,redo",
            "write `ewc:strength=10+redo` for one run with all of them, or `ewc:strength=10 redo` for one run "
            "with each",
        ),
        *((text, A_METHOD_IS) for text in (":strength=10", "", "+", ",", "ewc=10", "ewc:10")),
        *(
            (text, "write `ewc:strength=1e-3 ewc:strength=1E2` for one run with each value")
            for text in ("ewc:strength=1e-3,1E2", "ewc.strength=1e-3,1E2")
        ),
        (
            "a+b:c=1:d=e,f",
            "write `a+b:c=1:d=e a+b:c=1:d=f` for one run with each value",
        ),
        ("ewc.strength=1+redo", "write `ewc:strength=1+redo`"),
        ("ewc:strength=1,samples=5", "write `ewc:strength=1:samples=5`"),
        *(
            (text, "write `none redo` for one run with each, of which `none` has no method")
            for text in ("none,redo", "none+redo")
        ),
    ],
)
def test_methods_that_are_written_otherwise_are_refused_with_how_a_sweep_wants_them(text, advice):
    with pytest.raises(ConfigError) as caught:
        methods_flag(text)
    assert str(caught.value) == f"`methods` has `{text}`, which cannot be read; {advice}."


@pytest.mark.parametrize(
    "text", ["shrink_perturb:noise=initialiser", "continual_backprop:accumulate=True+redo", "ewc:normalise=False"]
)
def test_what_is_written_as_in_a_sweep_is_told_as_flags_and_as_json_that_can_be_used(text, tmp_path):
    words = method_words.apart(text, all_methods()).partition("write `")[2].partition("`")[0]
    inside_braces = method_words.apart(text, all_methods()).partition("in a JSON file `")[2].removesuffix("`")
    (tmp_path / "run.json").write_text(f"{{{inside_braces}}}")
    by_flags = parse_command_line(training.Args, words.split())
    by_file, _ = apply_config_file(training.Args(), tmp_path / "run.json")
    assert by_flags == by_file
    assert [*by_file.methods] == [name for name, _ in method_words.methods_in(text)]
    assert len(prefixed_of(by_file)) == 1
    assert method_words.apart(f"{text}+nobody", all_methods()) == ""


def test_the_plan_has_the_rounds_of_the_script_and_of_its_flags(fake, capsys, monkeypatch):
    """Evaluations share games where no round was between them."""
    monkeypatch.setattr(sweep, "TRAINING", str(ROOT / "continual_training_example.py"))
    words = ["--suite", "freeway-dynamics", "--seeds", "1", "--dry_run"]
    of_clear = ["--num_envs", "16", "--num_steps", "20"]
    of_ppo = ["--program", CLEAR, "--", "--num_envs", "8", "--num_steps", "128"]
    hours = []
    for more in ([], ["--", *of_clear], ["--program", CLEAR], of_ppo):
        assert sweep.main([*words, *more]) == 0
        lines = capsys.readouterr().out.splitlines()
        (together,) = [line.split()[4] for line in lines if line.startswith("none ")]
        hours.append(together)
    assert hours == ["0.46", "0.38", "0.38", "0.46"]


@pytest.mark.parametrize(
    "flags", [["--total-timesteps", "2000"], ["--modifs=left_drift"], ["--eval_modifs", "no_modif"]]
)
def test_what_a_suite_trains_on_and_evaluates_cannot_be_changed(fake, capsys, monkeypatch, flags):
    monkeypatch.setattr(sweep, "TRAINING", str(ROOT / "continual_training_example.py"))
    name = flags[0].partition("=")[0].replace("-", "_").replace("__", "--")
    assert sweep.main(["--suite", "freeway-dynamics", "--seeds", "1", "--dry_run", "--", *flags]) == 2
    assert f"error: `{name}` would make it another suite, which says what is trained on" in capsys.readouterr().err
    assert not Path("sweeps").exists()


@pytest.mark.parametrize(
    ("flags", "method"),
    [
        (["--shrink-and-perturb", "--shrink_factor", "0.9"], "shrink_perturb"),
        (["--architecture=PPO_CBP"], "continual_backprop"),
    ],
)
def test_the_earlier_flags_of_methods_do_not_go_to_every_run_of_a_suite(fake, capsys, monkeypatch, flags, method):
    monkeypatch.setattr(sweep, "TRAINING", str(ROOT / "continual_training_example.py"))
    assert sweep.main(["--suite", "freeway-dynamics", "--seeds", "1", "--dry_run", "--", *flags]) == 2
    assert capsys.readouterr().err.endswith(f"these switch on {method}; write `{method}` in `--methods`.\n")
    assert not Path("sweeps").exists()


CLEAR = str(ROOT / "continual_clear.py")


@pytest.fixture
def fake(workdir, monkeypatch):
    """The stand-in of the training script, and what is reported in the end."""
    shutil.copy(ROOT / "tests" / "fake_training.py", workdir / "fake.py")
    monkeypatch.setattr(sweep, "TRAINING", str(workdir / "fake.py"))
    monkeypatch.setattr(sweep, "check", lambda *_: None)
    reported = []
    monkeypatch.setattr(sweep, "suite_report", lambda *what: reported.append(what) or True)
    return reported


def calls():
    return [json.loads(line) for line in Path("calls.txt").read_text().splitlines()]


@pytest.mark.slow
def test_a_suite_runs_its_methods_and_each_single_task_once(fake, capsys):
    words = ["--size", "cpu", "--jobs", "2", "--seeds", "1"]
    given = ["--methods", "none", "layer_norm+redo", *words, "--", "--score=1"]
    assert sweep.main(["--suite", "freeway-dynamics", *given]) == 0
    out = capsys.readouterr().out
    assert "layer_norm+redo" in out
    assert "only stop_bottom_4" in out
    begun = calls()
    alone = [call for call in begun if any("single-task" in word for word in call)]
    assert len(alone) == 4, "four tasks, whatever the number of methods"
    methods = [call[call.index("--methods") + 1 : call.index("--methods") + 3] for call in begun if "--methods" in call]
    assert methods == [["layer_norm", "redo"]]
    assert len(begun) == 4 + 2
    folder, runs, baselines = fake[-1]
    assert (len(runs), len(baselines)) == (2, 4)
    assert folder.match("sweeps/freeway-dynamics-cpu~*"), "what other flags say does not replace the suite's own"
    assert len((folder / "results.csv").read_text().splitlines()) == 1 + 2

    assert sweep.main(["--suite", "freeway-dynamics", *given]) == 0
    assert calls() == begun, "the same command runs nothing again"
    assert "0.0" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("all "))

    assert sweep.main(["--suite", "freeway-looks", "--methods", "none", *words, "--", "--score=1"]) == 0
    new = calls()[len(begun) :]
    assert len([call for call in new if any("single-task" in word for word in call)]) == 3, "two strings are there"
    assert len(fake[-1][2]) == 5


@pytest.mark.slow
def test_other_scripts_and_flags_have_a_report_of_their_own(fake):
    shutil.copy("fake.py", "other.py")
    words = ["--suite", "breakout-looks", "--seeds", "1", "--jobs", "2"]
    for more in (["--", "--score=1"], ["--", "--score=2"], ["--program", "other.py", "--", "--score=1"]):
        assert sweep.main([*words, *more]) == 0
    folders = {folder for folder, *_ in fake}
    assert len(folders) == 3
    assert all(folder.match("sweeps/breakout-looks-cpu~*") for folder in folders)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--suite", "freeway-look", "--seeds", "1"], "the nearest is `freeway-looks`"),
        (["--suite", "freeway-look"], "the nearest is `freeway-looks`"),
        (["--suite", "freeway-looks"], "`suite` needs `--seeds`"),
        (["--suite", "freeway-looks", "--seeds", "1", "--methods", "redo", "redo"], "`methods` names redo twice"),
        (["--suite", "freeway-looks", "--seeds", "1", "1"], "each of them may stand there once only"),
        (["--seeds", "1", "--methods", "redo"], "`methods` go with `--suite`"),
        (["sweep.yaml", "--suite", "freeway-looks"], "`suite` comes without a file"),
        (["--seeds", "1", "--ewc.strength=3"], "`--ewc.strength`: nothing called `ewc` has settings here"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(words, said, workdir, capsys):
    assert sweep.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert not Path("sweeps").exists() or not list(Path("sweeps").rglob("run.json"))


def test_metrics_that_could_not_be_made_are_no_file_to_look_at(workdir, monkeypatch, capsys):
    (workdir / "report.py").write_text("")
    (workdir / "metrics.py").write_text("import sys; sys.exit(1 if 'floor' in sys.argv else 0)")
    monkeypatch.setattr(sweep, "HERE", workdir)
    assert not sweep.suite_report(Path("mine"), ["runs/a"], ["runs/b"])
    said = capsys.readouterr()
    assert [line for line in said.out.splitlines() if "metrics" in line] == [
        "metrics:    mine/metrics_single_task.csv and .json"
    ]
    assert said.err.startswith("error: metrics failed with exit code 1: python ")
    assert said.err.endswith("--normalise floor -o mine/metrics_floor\n")
    for name, code in (("metrics", 0), ("report", 1)):
        (workdir / f"{name}.py").write_text(f"import sys; sys.exit({code})")
    assert not sweep.suite_report(Path("mine"), ["runs/a"], [])
    assert "error: the report failed with exit code 1" in capsys.readouterr().err


def test_the_page_names_every_suite():
    page = section("Benchmark suites")
    assert [name for name in NAMES if f"`{name}`" not in page] == []
    with pytest.raises(Exception, match="is none of"):
        suite_file(FOLDER, "nothing", "cpu")
    with pytest.raises(ConfigError, match="not installed"):
        suite_file(FOLDER / "of a wheel", "freeway-looks", "cpu")


@pytest.mark.slow
def test_a_small_suite_from_the_command_to_its_report(workdir, monkeypatch, capfd):
    """Two regimes of Breakout with the real script: transfer is computed, and scores count from the floor."""
    tiny = {**CONFIGS["breakout-dynamics", "cpu"], "eval_every": 0, "eval_games": 1, "held_out_modifs": []}
    schedule = {"num_total_steps": 1024, "modifications": ["", "gravity"], "switching_thresholds": [512]}
    place = workdir / "suites" / "tiny"
    place.mkdir(parents=True)
    (place / "cpu.json").write_text(json.dumps({**tiny, "modification_factory_kwargs": schedule}))
    monkeypatch.setattr(sweep, "SUITES", workdir / "suites")
    flags = ["--no-cuda", "--num_envs", "2", "--num_steps", "64", "--num_workers", "1"]
    assert sweep.main(["--suite", "tiny", "--seeds", "1", "--jobs", "2", "--", *flags]) == 0
    (folder,) = Path("sweeps").glob("tiny-cpu~*")
    assert (folder / "report.html").stat().st_size > 10_000
    above = json.loads((folder / "metrics_floor.json").read_text())
    assert above["groups"][0]["summary"]["learned_share"]["mean"] is not None
    transfer = json.loads((folder / "metrics_single_task.json").read_text())
    assert transfer["single_task"], "runs on one task were there to compare with"


def test_the_plan_knows_which_methods_are_evaluated_twice_at_a_switch(capsys):
    names = ("none", "redo", "redo+from_scratch", "shrink_perturb:shrink_factor=0.5")
    runs = [SimpleNamespace(parameters={"methods": name}, state="waiting", collect=lambda: None) for name in names]
    sweep.print_plan(CONFIGS["freeway-dynamics", "cpu"], runs, [], {})
    hours = {line.split()[0]: line.split()[-2] for line in capsys.readouterr().out.splitlines()}
    plain, redo, scratch, shrunk = (float(hours[name]) for name in names)
    assert plain == redo < scratch == shrunk


def test_games_of_several_sizes_cost_what_each_takes():
    several = {**SHORT, "eval_modifs": ["Freeway:", "Pong:", "Breakout:"], "held_out_modifs": []}
    assert cost_of(several).game_steps == 12 * 3 * 2 * (2048 + 1500 + 600)
    alone = {**SHORT, "modification_factory": "CyclicModificationFactory", "eval_modifs": [], "held_out_modifs": []}
    alone["modification_factory_kwargs"] = {
        "modifications": ["Pong: mode_1", "Freeway:"],
        "steps": 165,
        "num_cycles": 1,
    }
    places = cost_of({**alone, "eval_modifs": ["Pong:"]}).game_steps // 1500
    assert cost_of(alone).game_steps == places * (2 * 1500 + 2048), "Pong itself is evaluated too"


def test_a_suite_is_checked_before_it_starts(checked_here, workdir, capsys, monkeypatch):
    # Nobody reads what evaluations would cost there, and a game must be played to know it.
    monkeypatch.setattr("continual_hackatari.training.setup.cost_of_games", lambda *_: pytest.fail("a game is played"))
    assert sweep.main(["--suite", "freeway-looks", "--seeds", "1", "--methods", "redoo", "--dry_run"]) == 2
    assert "redoo" in capsys.readouterr().err
    assert not Path("sweeps").exists(), "nothing is written"
    words = ["--suite", "freeway-looks", "--seeds", "1", "--methods", "ewc", "--dry_run", "--"]
    assert sweep.main([*words, "--ewc.strength=10"]) == 2, "runs on one task have no methods"
    assert capsys.readouterr().err.endswith("write `ewc:strength=10` in `--methods`.\n")
    assert sweep.main([*words, "--boundary=every:20000"]) == 0
    assert capsys.readouterr().out.count("--boundary=every:20000") == 6


@pytest.mark.slow
def test_single_task_runs_have_the_flags_of_the_others(fake, workdir):
    sweep.main(["--suite", "breakout-looks", "--seeds", "1", "--jobs", "2", "--", "--score=1"])
    assert all("--score=1" in call for call in calls())
