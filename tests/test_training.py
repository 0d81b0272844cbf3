"""The training script, run as a user runs it, and checked by what it wrote."""

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import NEEDS_OCATARI, PATIENCE, ROOT, assert_refused, mostly_slow, only_run, read_csv, write_config
from siblings import EVERY, EVERY_BUT_SLOWLY, PPO, Q_LEARNER, SMALL
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari.schedules.factories import make_factory
from continual_hackatari.training import rollouts
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.settings import RunSettings
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

TWO_REGIMES = {
    "modification_factory": "SequentialModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 128,
        "modifications": ["all_black_cars", "all_white_cars"],
        "switching_thresholds": [40],
    },
    "env_id": "ALE/Freeway-v5",
}


def train_in(folder, monkeypatch, *flags, config=None, sibling=None):
    """Train in this process with `folder` as current folder; returns the run folder."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    if config is not None:
        flags = ("--config", write_config(folder, **config), *flags)
    if sibling is None:
        training.main([*SMALL, *flags])
    else:
        sibling.main([*sibling.small, *flags])
    return only_run(folder)


def weights(run, name="model.cleanrl_model"):
    return load_checkpoint(run / name).model_weights


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def run_script(script, *flags, cwd, check=True, **environment):
    result = subprocess.run(
        [sys.executable, str(ROOT / script), *flags],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=PATIENCE,
    )
    if check:
        assert result.returncode == 0, result.stderr
    return result


@pytest.mark.slow
def test_the_shipped_example_from_the_shell(tmp_path):
    result = run_script("continual_training_example.py", "--config", str(ROOT / "run_config.json"), cwd=tmp_path)
    command = assert_shipped_example(only_run(tmp_path), result.stdout, result.stderr)
    evaluated = subprocess.run(
        [sys.executable, *command[1:], "--eval_episodes", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert re.fullmatch(r"\d+\.\d\d \+- \d+\.\d\d", evaluated.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_shipped_example(workdir, capsys):
    training.main(["--config", str(ROOT / "run_config.json"), "--update_epochs", "1", "--num_workers", "0"])
    command = assert_shipped_example(only_run(workdir), *capsys.readouterr())
    assert Path(command[1]).resolve() == ROOT / "eval.py"
    evaluation.main([*command[2:], "--eval_episodes", "2", "--frameskip", "400", "--num_workers", "0"])
    assert re.fullmatch(r"\d+\.\d\d \+- \d+\.\d\d", capsys.readouterr().out.splitlines()[-1])


def assert_shipped_example(run, out, err):
    """What it printed and wrote is right; returns the words of the command for its evaluation."""
    assert re.fullmatch(r"ALE-Freeway-v5_s42__continual_training_example__PPO__\d+", run.name)
    assert "run_config.json overrides --env_id: ALE/Pong-v5 -> ALE/Freeway-v5" in out
    assert "steps/s" in err

    schedule = expected_switches()
    switches = read_csv(run / "switches.csv")
    assert [(int(row["global_step"]), row["from"], row["to"]) for row in switches] == schedule
    assert len(switches) > 10

    episodes = read_csv(run / "episodes.csv")
    borders = [0, *(step for step, _, _ in schedule), 2000]
    lengths = np.diff(borders) // 8
    assert [int(row["length"]) for row in episodes] == [length for length in lengths for _ in range(8)]
    assert all(row["cut"] == "1" for row in episodes)
    played = ["disable_cars", *(after for _, _, after in schedule)]
    assert [row["modification"] for row in episodes] == [string for string in played for _ in range(8)]

    checkpoint = load_checkpoint(run / "model.cleanrl_model")
    assert checkpoint.global_step == 2000
    assert checkpoint.args["env_id"] == "ALE/Freeway-v5"
    assert (run / "args.json").is_file()
    logged = EventAccumulator(str(run)).Reload().Tags()["scalars"]
    for name in (
        "value_loss",
        "policy_loss",
        "entropy",
        "old_approx_kl",
        "approx_kl",
        "clipfrac",
        "explained_variance",
    ):
        assert f"losses/{name}" in logged
    assert {"charts/SPS", "charts/learning_rate", "charts/modification_index", "switch/seconds"} <= set(logged)

    # the printed command is exact: it runs as it stands
    command = shlex.split(re.search(r"^evaluate:\s+(.*)$", out, re.M)[1])
    assert command[0] == "python"
    return command


def expected_switches():
    """Switches of the shipped example, asked step by step as the loop does it."""
    import json

    config = json.loads((ROOT / "run_config.json").read_text())
    factory = make_factory(config["modification_factory"], config["modification_factory_kwargs"], seed=42)
    strings = [factory.get_modification(step) for step in range(0, 2000, 8)]
    return [
        (8 * i, strings[i - 1], strings[i])
        for i in range(1, len(strings))
        if strings[i].split() != strings[i - 1].split()
    ]


@pytest.mark.slow
@EVERY
def test_the_same_seed_gives_the_same_run_whatever_the_number_of_workers(sibling, tmp_path, monkeypatch):
    config = {
        **TWO_REGIMES,
        "modification_factory_kwargs": {
            "num_total_steps": 128,
            "modifications": ["stop_random_car", "align_all_cars"],
            "switching_thresholds": [50],
        },
    }
    flags, what = ["--shrink_and_perturb"] if sibling is PPO else [], {"config": config, "sibling": sibling}
    runs = [
        train_in(tmp_path / f"run{i}", monkeypatch, "--num_workers", workers, *flags, **what)
        for i, workers in enumerate(("0", "2"))
    ]
    other = train_in(tmp_path / "other", monkeypatch, "--seed", "43", *flags, **what)
    for run in runs[1:]:
        assert (run / "episodes.csv").read_bytes() == (runs[0] / "episodes.csv").read_bytes()
        assert_same_weights(weights(runs[0]), weights(run))
    name = next(name for name, tensor in weights(other).items() if tensor.dim() > 1)
    assert not torch.equal(weights(runs[0])[name], weights(other)[name])


def test_a_cut_step_is_bootstrapped_with_the_last_observation_of_the_old_regime(tmp_path, monkeypatch):
    """Switch at step 40 of 2 games = vector step 20 = step 4 of the second rollout of 16."""
    seen = {}
    computed = []
    advantages, set_modifications = rollouts.generalised_advantages, ModifiedVectorEnv.set_modifications
    make_agent = training.make_agent

    def record_advantages(rewards, values, next_values, terminated, done, gamma, gae_lambda):
        computed.append({"values": values.clone(), "next_values": next_values.clone(), "done": done.clone()})
        computed[-1]["terminated"] = terminated.clone()
        return advantages(rewards, values, next_values, terminated, done, gamma, gae_lambda)

    def record_switch(envs, string, mode):
        if string == "all_white_cars":
            with torch.no_grad():
                seen["value"] = seen["agent"].get_value(torch.from_numpy(envs.arrays.observations.copy()))
        return set_modifications(envs, string, mode)

    monkeypatch.setattr(rollouts, "generalised_advantages", record_advantages)
    monkeypatch.setattr(ModifiedVectorEnv, "set_modifications", record_switch)
    monkeypatch.setattr(training, "make_agent", lambda *a, **k: seen.setdefault("agent", make_agent(*a, **k)))
    train_in(tmp_path, monkeypatch, config=TWO_REGIMES)

    rollout = computed[1]
    assert rollout["done"].tolist() == [[t == 3] * 2 for t in range(16)]
    assert not rollout["terminated"].any()
    assert torch.equal(rollout["next_values"][3], seen["value"])
    assert not torch.equal(rollout["next_values"][3], rollout["values"][4]), "V of the new regime must not leak back"
    others = [t for t in range(15) if t != 3]
    assert torch.equal(rollout["next_values"][others], rollout["values"][[t + 1 for t in others]])


@pytest.mark.slow
def test_shrink_one_noise_zero_is_the_identity(tmp_path, monkeypatch):
    plain = train_in(tmp_path / "plain", monkeypatch, config=TWO_REGIMES)
    flags = ["--shrink_and_perturb", "--shrink_factor", "1", "--noise_scale", "0", "--perturb_optimizer", "keep"]
    identity = train_in(tmp_path / "identity", monkeypatch, *flags, config=TWO_REGIMES)
    perturbed = train_in(tmp_path / "perturbed", monkeypatch, "--shrink_and_perturb", config=TWO_REGIMES)
    assert identity.name.split("__")[2] == "PPO_shrink_perturb"
    assert_same_weights(weights(plain), weights(identity))
    ratio = weights(perturbed)["network.7.weight"].norm() / weights(plain)["network.7.weight"].norm()
    assert 0.6 < ratio < 0.95, "0.7 times the weights, plus noise"


@pytest.mark.slow
def test_one_checkpoint_per_switch_before_the_weights_shrink(tmp_path, monkeypatch):
    config = {
        **TWO_REGIMES,
        "modification_factory_kwargs": {
            "num_total_steps": 96,
            "modifications": ["all_black_cars", "all_white_cars", "all_black_cars"],
            "switching_thresholds": [32, 64],
        },
    }
    run = train_in(tmp_path, monkeypatch, "--save_agent_with_switch", "--shrink_and_perturb", config=config)
    names = ["switch_1_step32_all_black_cars.cleanrl_model", "switch_2_step64_all_white_cars.cleanrl_model"]
    assert sorted(path.name for path in run.glob("switch_*")) == names
    assert [row["checkpoint"] for row in read_csv(run / "switches.csv")] == names
    before, after = (weights(run, name)["network.7.weight"] for name in names)
    expected = torch.hypot(0.7 * before.norm(), torch.tensor(0.01 * before.numel() ** 0.5))
    assert after.norm() == pytest.approx(float(expected), rel=0.02), "saved before its own switch, after the first one"
    assert load_checkpoint(run / names[0]).global_step == 32


@EVERY_BUT_SLOWLY
def test_a_switch_is_in_all_files_and_cuts_the_games(sibling, tmp_path, monkeypatch):
    """At step 40 of 128; both games are cut there and at the end."""
    run = train_in(tmp_path, monkeypatch, "--save_agent_with_switch", config=TWO_REGIMES, sibling=sibling)
    (switch,) = read_csv(run / "switches.csv")
    name = "switch_1_step40_all_black_cars.cleanrl_model"
    expected = {"global_step": "40", "from": "all_black_cars", "to": "all_white_cars", "mode": "reset"}
    assert expected.items() <= switch.items()
    assert switch["checkpoint"] == name
    ends = [load_checkpoint(run / file) for file in (name, "model.cleanrl_model")]
    assert [(end.global_step, end.extra["modification"]) for end in ends] == [
        (40, "all_black_cars"),
        (128, "all_white_cars"),
    ]
    episodes = [(row["global_step"], row["modification"], row["length"]) for row in read_csv(run / "episodes.csv")]
    assert episodes == [("40", "all_black_cars", "20")] * 2 + [("128", "all_white_cars", "44")] * 2
    events = EventAccumulator(str(run)).Reload()
    assert {f"losses/{sibling.loss}", "charts/SPS", "time/update", "time/emulation"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars(f"losses/{sibling.loss}")] == [32, 64, 96, 128]
    assert [(event.step, event.value) for event in events.Scalars("switch/regime_steps")] == [(40, 40)]


@EVERY_BUT_SLOWLY
@pytest.mark.parametrize("mode", mostly_slow(["episode", "live"], 2))
def test_other_switch_modes_cut_nothing(sibling, tmp_path, monkeypatch, mode):
    run = train_in(tmp_path, monkeypatch, "--switch_mode", mode, config=TWO_REGIMES, sibling=sibling)
    episodes = read_csv(run / "episodes.csv")
    assert [row["length"] for row in episodes] == ["64", "64"], (
        "one game per environment, cut only by the end of the run"
    )
    expected = ("all_black_cars", "0") if mode == "episode" else ("all_white_cars", "1")
    assert {(row["modification"], row["live_switches"]) for row in episodes} == {expected}
    assert len(read_csv(run / "switches.csv")) == 1


@EVERY_BUT_SLOWLY
def test_the_run_is_rounded_up_to_whole_vector_steps(sibling, tmp_path, monkeypatch, capsys):
    flags = ["--env_id", "ALE/Freeway-v5", "--total_timesteps", "71"]
    run = train_in(tmp_path, monkeypatch, *flags, sibling=sibling)
    assert load_checkpoint(run / "model.cleanrl_model").global_step == 72
    assert "step 72/72 (100 %)" in capsys.readouterr().err
    losses = EventAccumulator(str(run)).Reload().Scalars(f"losses/{sibling.loss}")
    assert [event.step for event in losses] == [32, 64, 72], "the last rollout is shorter"


@pytest.mark.parametrize("sibling", ["ppo", pytest.param("clear", marks=pytest.mark.slow)], indirect=True)
def test_what_a_single_row_cannot_tell_is_not_logged(sibling, tmp_path, monkeypatch):
    flags = ["--env_id", "ALE/Freeway-v5", "--num_envs", "1", "--num_steps", "4", "--total_timesteps", "5"]
    run = train_in(tmp_path, monkeypatch, *flags, sibling=sibling)
    events = EventAccumulator(str(run)).Reload()
    steps = {
        name: [event.step for event in events.Scalars(f"losses/{name}")] for name in ("entropy", "explained_variance")
    }
    assert list(steps.values()) == [[4, 5], [4]]
    for name in events.Tags()["scalars"]:
        assert all(np.isfinite(event.value) for event in events.Scalars(name)), name


@pytest.mark.slow
@NEEDS_OCATARI
def test_object_features_train_and_evaluate(tmp_path, monkeypatch, capsys):
    flags = ["--env_id", "ALE/Pong-v5", "--obs_mode", "obj", "--architecture", "PPO_OBJ", "--total_timesteps", "64"]
    run = train_in(tmp_path, monkeypatch, *flags, "--encoder_dims", "32", "16", "--decoder_dims", "8")
    path = str(run / "model.cleanrl_model")
    evaluation.main(["--agent_path", path, "--eval_episodes", "1", "--frameskip", "40", "--num_workers", "0"])
    assert re.fullmatch(r"-?\d+\.\d\d \(one game: no deviation\)", capsys.readouterr().out.splitlines()[-1])


def test_an_agent_of_ones_own_trains_and_is_evaluated(tmp_path, monkeypatch, capsys):
    """Its weights are drawn by the run's generator, whatever its constructor draws."""
    own = ["--architecture", "own_network:OverTime"]
    runs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        torch.manual_seed(len(runs))
        flags = ["--env_id", "ALE/Pong-v5", *own, "--total_timesteps", "64"]
        runs.append(train_in(tmp_path / name, monkeypatch, *flags))
    agents = [load_checkpoint(run / "model.cleanrl_model").model_weights for run in runs]
    assert agents[0]["layer.weight"].shape == (16, 4 * 21 * 21)
    assert all(torch.equal(weights, agents[1][name]) for name, weights in agents[0].items())
    assert "--architecture own_network:OverTime" in capsys.readouterr().out.splitlines()[-1]
    path = str(runs[0] / "model.cleanrl_model")
    flags = ["--agent_path", path, "--eval_episodes", "1", "--frameskip", "40", "--num_workers", "0"]
    with pytest.raises(SystemExit):
        evaluation.main(flags)
    assert "if you trust that code" in capsys.readouterr().err
    evaluation.main([*flags, *own])
    assert re.fullmatch(r"-?\d+\.\d\d \(one game: no deviation\)", capsys.readouterr().out.splitlines()[-1])


@pytest.mark.slow
def test_final_evaluation_and_videos(tmp_path, monkeypatch, capsys):
    flags = ["--env_id", "ALE/Breakout-v5", "--frameskip", "40", "--total_timesteps", "128", "--capture_video"]
    flags += ["--test_modifs", "no_modif, color_all_blocks_red", "--eval_episodes", "2"]
    run = train_in(tmp_path, monkeypatch, *flags)
    lines = capsys.readouterr().out.splitlines()
    end = len(lines) - 1 - next(i for i, line in enumerate(reversed(lines)) if line.startswith("run folder:"))
    table = lines[end - 3 : end]
    assert lines[-1].startswith("evaluate:")
    assert "eval/color_all_blocks_red/mean" in EventAccumulator(str(run)).Reload().Tags()["scalars"]
    assert table[0].startswith("modification")
    assert table[1].split()[:2] == ["no_modif", "2"]
    assert table[2].split()[:2] == ["color_all_blocks_red", "2"]
    assert [path.name for path in (run / "videos").iterdir()] == ["step000000000_no_modif.mp4"]


def test_an_exception_in_the_reward_file_ends_the_run_with_its_traceback(tmp_path, monkeypatch):
    (tmp_path / "reward.py").write_text("def reward_function(env):\n    raise KeyError('no such object')\n")
    flags = [*SMALL, "--env_id", "ALE/Freeway-v5", "--total_timesteps", "64", "--new_rf", "reward.py"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyError, match="no such object") as raised:
        training.main(flags)
    assert raised.traceback[-1].path == tmp_path / "reward.py"


@pytest.mark.slow
def test_it_runs_as_a_module_from_any_folder(tmp_path):
    flags = ["--env_id", "Freeway", "--total_timesteps", "32", *SMALL]
    result = subprocess.run(
        [sys.executable, "-m", "continual_training_example", *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 0, result.stderr
    assert "`env_id` Freeway means ALE/Freeway-v5" in result.stdout
    assert only_run(tmp_path).is_dir()


RANDOM = "RandomModificationFactory"
RUN_SETTINGS = [field.name for field in dataclasses.fields(RunSettings)]
BAD_CONFIGS = [
    ({"num_env": 4}, ["num_env", "num_envs"]),
    ({"num_envs": "4"}, ["num_envs", '"4"']),
    ({"track": 1}, ["track", "1"]),
    ({"modification_factory": "RandomModificationFaktory"}, ["RandomModificationFaktory", RANDOM]),
    ({"env_id": "ALE/Freway-v5"}, ["env_id", "ALE/Freeway-v5"]),
    ({"modifs": "all_purple_cars", "env_id": "ALE/Freeway-v5"}, ["all_purple_cars", "wrappers.modifications"]),
    ({"modifs": "all_black_cars", "env_id": "ALE/Qbert-v5"}, ["all_black_cars", "Qbert"]),
    ({"architecture": "PPO_CPB"}, ["architecture", "PPO_CBP", "module:Class"]),
    ({"architecture": "nowhere:Agent"}, ["architecture", "nowhere", "PYTHONPATH"]),
    ({"architecture": "q_learner:QNetwork"}, ["architecture", "ActorCritic", "your-own-agent.md"]),
    ({"architecture": "own_network:OwnNetwork", "methods": ["redo"]}, ["redo", "hidden layers"]),
    ({"architecture": "own_network:OwnNetwork", "methods": ["layer_norm"]}, ["own_network", "layer_norm"]),
    ({"architecture": "PPO_CBP", "cuda_graphs": True}, ["cuda_graphs", "continual_backprop"]),
    ({"architecture": "PPO_CBP", "obs_mode": "obj"}, ["obs_mode", "PPO_CBP"]),
    ({"replacement_rate": 1.5}, ["replacement_rate", "1.5"]),
    ({"architecture": "PPO_CBP", "decay_rate": 1.0}, ["decay_rate", "just below 1"]),
    ({"maturity_threshold": -1}, ["maturity_threshold", "-1"]),
    ({"init": "kaimin"}, ["init", "kaimin", "kaiming"]),
    ({"utility": "age"}, ["utility", "age", "adaptable_contribution"]),
    ({"count": "some"}, ["count", "some", "eligible"]),
    ({"backend": "hackatari"}, ["backend", "HackAtari"]),
    ({"num_envs": 0}, ["num_envs", "0"]),
    ({"num_steps": -1}, ["num_steps", "-1"]),
    ({"num_minibatches": 3}, ["num_minibatches", "1024"]),
    ({"her": True, "backend": "Gym"}, ["her", "Gym"]),
    ({"her": True}, ["her", "Pong", "Freeway"]),
    ({"game_specific_goals": True}, ["game_specific_goals", "--her"]),
    ({"obs_mode": "obj"}, ["obs_mode", "PPO_OBJ"]),
    ({"learning_rate": -1.0}, ["learning_rate", "-1"]),
    ({"test_modifs": "nothing_like_it"}, ["nothing_like_it"]),
    (
        {
            "modification_factory": RANDOM,
            "modification_factory_kwargs": {
                "num_total_steps": 100,
                "modifications": ["", "lazy_enemy"],
                "probabilities": [0.5, 0.6],
            },
        },
        ["probabilities", "1"],
    ),
    (
        {
            "modification_factory": RANDOM,
            "modification_factory_kwargs": {
                "num_total_steps": 100,
                "modifications": ["", "lazy_enemy"],
                "probabilities": [1.0],
            },
        },
        ["probabilities", "2"],
    ),
    (
        {
            "modification_factory": "SequentialModificationFactory",
            "modification_factory_kwargs": {
                "num_total_steps": 100,
                "modifications": ["", "lazy_enemy", ""],
                "switching_thresholds": [50, 50],
            },
        },
        ["switching_thresholds", "50"],
    ),
    (
        {
            "modification_factory": "NoModificationFactory",
            "modification_factory_kwargs": {"num_total_steps": 100},
            "total_timesteps": 200,
        },
        ["200", "100"],
    ),
]


@pytest.mark.parametrize(("config", "words"), BAD_CONFIGS, ids=[str(i) for i in range(len(BAD_CONFIGS))])
def test_bad_input_is_one_sentence_and_leaves_nothing(config, words, workdir, capsys):
    assert_refused(training.main, config, words, workdir, capsys)


OF_THE_Q_LEARNER = [
    ({"gamma": 1.5}, ["gamma", "1.5"]),
    ({"replay_size": 0}, ["replay_size", "0"]),
    ({"obs_mode": "obj"}, ["obs_mode", "obj", "dqn"]),
    ({"architecture": "PPO"}, ["architecture", "PPO", "q_learner:QNetwork"]),
    ({"gae_lambda": 0.9}, ["gae_lambda"]),
]
OF_EVERY_SCRIPT = [
    (config, words) for config, words in BAD_CONFIGS if set(config) <= {*RUN_SETTINGS} - {"architecture"}
]
OF_EVERY_SCRIPT = [(config, words) for config, words in OF_EVERY_SCRIPT if "obs_mode" not in config]


@pytest.mark.parametrize("number", range(len(OF_THE_Q_LEARNER) + len(OF_EVERY_SCRIPT)))
def test_bad_input_of_another_script_is_one_sentence_too(number, workdir, capsys):
    config, words = [*OF_THE_Q_LEARNER, *OF_EVERY_SCRIPT][number]
    assert len(OF_EVERY_SCRIPT) > 12
    assert_refused(Q_LEARNER.main, config, words, workdir, capsys)


@EVERY_BUT_SLOWLY
def test_bad_files_and_flags(sibling, workdir, capsys):
    (workdir / "broken.json").write_text('{"num_envs": 4,}')
    for flags, words in [
        (["--config", "missing.json"], ["missing.json"]),
        (["--config", "broken.json"], ["broken.json", "line 1"]),
        (["--num_env", "4"], ["--num_env"]),
        (["--num_envs", "four"], ["four"]),
    ]:
        with pytest.raises(SystemExit) as stopped:
            sibling.main(flags)
        error = capsys.readouterr().err
        assert stopped.value.code == 2
        assert all(word in error for word in words), error
    assert [entry.name for entry in workdir.iterdir()] == ["broken.json"]


@pytest.mark.slow
def test_a_bad_file_from_the_shell(tmp_path):
    result = run_script("continual_training_example.py", "--config", "missing.json", cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "missing.json" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@EVERY_BUT_SLOWLY
def test_runs_go_where_the_settings_say_and_go_on_where_they_are(sibling, workdir, capsys):
    """The file wins over the command line, as for all settings."""
    config = write_config(workdir, env_id="ALE/Freeway-v5", runs_dir="else/where")
    flags = ["--no_anneal_lr"] if sibling is PPO else []
    sibling.main([*sibling.small, *flags, "--config", config, "--runs_dir", "mine", "--total_timesteps", "32"])
    (run,) = (workdir / "else" / "where").iterdir()
    moved = run.rename(workdir / run.name)
    sibling.main(["--resume", str(moved), "--total_timesteps", "64"])
    assert load_checkpoint(moved / "model.cleanrl_model").global_step == 64
    assert {entry.name for entry in workdir.iterdir()} == {"config.json", "else", moved.name}
    assert not list((workdir / "else" / "where").iterdir())
    with pytest.raises(ConfigError, match="`runs_dir` cannot change in a run that goes on"):
        sibling.prepare(["--resume", str(moved), "--total_timesteps", "96", "--runs_dir", "runs"])


@pytest.mark.parametrize("place", ["config.json", "\0", "x" * 300], ids=["file", "null", "long"])
def test_a_folder_of_all_runs_that_cannot_be_is_a_sentence(place, workdir, capsys):
    path = write_config(workdir, env_id="ALE/Freeway-v5", total_timesteps=32, runs_dir=place)
    with pytest.raises(SystemExit) as refused:
        training.main(["--config", path, *SMALL])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: No run folder can be created in ")
    assert error.endswith(", with `--runs_dir`\n")
    assert error.count("\n") == 1
    assert [entry.name for entry in workdir.iterdir()] == ["config.json"]


@EVERY_BUT_SLOWLY
def test_a_run_folder_that_cannot_be_written(sibling, workdir, capsys):
    (workdir / "runs").write_text("a file where the folder should be")
    with pytest.raises(SystemExit) as stopped:
        sibling.main([*sibling.small, "--env_id", "ALE/Freeway-v5", "--total_timesteps", "32"])
    assert stopped.value.code == 2
    assert "runs" in capsys.readouterr().err


@EVERY_BUT_SLOWLY
def test_tracking_is_checked_before_anything_is_written(sibling, workdir, monkeypatch, capsys):
    def fail():
        raise ConfigError("`--track` needs a login")

    monkeypatch.setattr(training.setups, "check_wandb", fail)
    with pytest.raises(SystemExit) as stopped:
        sibling.main([*sibling.small, "--env_id", "ALE/Freeway-v5", "--total_timesteps", "32", "--track"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: `--track` needs a login\n"
    assert list(workdir.iterdir()) == []


@pytest.mark.slow
@EVERY
def test_wandb_without_login_says_so_at_the_start(sibling, tmp_path):
    clean = {"HOME": str(tmp_path), "WANDB_API_KEY": "", "NETRC": str(tmp_path / "none")}
    flags = [*sibling.small, "--env_id", "ALE/Freeway-v5", "--total_timesteps", "32", "--track"]
    environment = {key: value for key, value in os.environ.items() if key not in ("WANDB_MODE", "WANDB_API_KEY")}
    result = subprocess.run(
        [sys.executable, str(sibling.file), *flags],
        cwd=tmp_path,
        env={**environment, **clean},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: `--track`")
    assert "WANDB_MODE=offline" in result.stderr
    assert not (tmp_path / "runs").exists()
