"""A run that begins with the weights of another one."""

import copy
import dataclasses
import functools
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import only_run, write_config
from jobs import HERE, end, notes_of, start_ranks
from rank_job import digest
from siblings import EVERY_BUT_SLOWLY, PPO, SIBLINGS

from continual_hackatari import continual_training_example as training
from continual_hackatari.reporting.groups import group_runs
from continual_hackatari.reporting.runs import Run as RunFolder
from continual_hackatari.training.checkpoints import load_checkpoint, save_checkpoint
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.run import Run

FREEWAY = ["--env_id", "ALE/Freeway-v5"]


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    """By the name of a script: a checkpoint of its agent that a short run has trained."""

    @functools.cache
    def agent(name):
        folder, sibling = tmp_path_factory.mktemp(name), SIBLINGS[name]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            sibling.main([*sibling.small, *FREEWAY, "--total_timesteps", "32"])
        return only_run(folder) / "model.cleanrl_model"

    return agent


@pytest.mark.slow
def test_a_run_at_its_end_keeps_the_replay_of_its_last_state_alone(agents):
    """With it the run can be made longer; that of the state before is gone."""
    assert [path.name for path in agents("q_learner").parent.glob("replay_*")] == ["replay_step32.pt"]


def agent_of(sibling, agents):
    return agents(sibling.name)


def longer(sibling):
    """Flags of a run whose length changes nothing."""
    return ["--no_anneal_lr"] if sibling is PPO else []


def train(sibling, folder, monkeypatch, *flags):
    """Train in a new folder; returns the run folder and what the run began with: the states of agent and parts."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    began, start = [], Run.start

    def note(run, agent, **known):
        parts = {"agent": agent, **known["parts"]}
        began.append({name: copy.deepcopy(part.state_dict()) for name, part in parts.items() if part is not None})
        start(run, agent, **known)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "start", note)
        sibling.main([*sibling.small, *FREEWAY, *longer(sibling), *flags])
    return only_run(folder), began[0]


@pytest.mark.slow
@EVERY_BUT_SLOWLY
def test_a_run_begins_with_the_weights_alone_and_goes_on_without_the_file(sibling, agents, tmp_path, monkeypatch):
    path = Path(shutil.copy(agent_of(sibling, agents), tmp_path))
    weights = load_checkpoint(path).model_weights
    flags = ["--start_from", str(path), "--seed", "7"]
    whole, began = train(sibling, tmp_path / "whole", monkeypatch, *flags, "--total_timesteps", "64")
    assert began["agent"].keys() == weights.keys()
    assert all(torch.equal(began["agent"][name], weights[name]) for name in weights)
    assert not began["optimizer"]["state"]
    if "reward_scaler" in began:
        assert began["reward_scaler"]["variance"] == 1.0
    else:
        assert all(torch.equal(began["target"][name], weights[name]) for name in weights)
    settings = json.loads((whole / "args.json").read_text())
    assert settings["start_from"] == str(path)
    assert settings["start_from_digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_checkpoint(whole / "model.cleanrl_model").args["start_from_digest"] == settings["start_from_digest"]

    parted, _ = train(sibling, tmp_path / "parted", monkeypatch, *flags, "--total_timesteps", "32")
    path.unlink()
    sibling.main(["--resume", str(parted), "--total_timesteps", "64"])
    ends = [load_checkpoint(run / "model.cleanrl_model") for run in (whole, parted)]
    assert all(torch.equal(ends[0].model_weights[name], ends[1].model_weights[name]) for name in weights)
    with pytest.raises(ConfigError, match="`start_from` cannot change in a run that goes on"):
        sibling.prepare(["--resume", str(parted), "--total_timesteps", "96", "--start_from", str(whole)])


@pytest.mark.slow
def test_an_agent_that_was_made_otherwise_is_not_begun_with_silently(agents, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [*PPO.small, *FREEWAY, "--total_timesteps", "32", "--start_from", str(agents("ppo"))]
    with (
        Run(training.prepare(flags)) as run,
        pytest.raises(ConfigError, match=r"`start_from` needs a script that makes its agent with `run\.new_agent`"),
    ):
        run.start(torch.nn.Linear(1, 1), parts={}, generators={})


def test_files_of_the_original_system_are_begun_with(agents, tmp_path, monkeypatch, capsys):
    """Weights and args, names that are unknown here, no step; PPO_CBP has the weights of PPO."""
    weights = load_checkpoint(agents("ppo")).model_weights
    path = tmp_path / "original.cleanrl_model"
    torch.save({"model_weights": weights, "args": {"env_id": "ALE/Pong-v5", "ckpt": "", "her": False}}, path)
    flags = ["--start_from", str(path), "--total_timesteps", "32", *PPO.method]
    _, began = train(PPO, tmp_path / "run", monkeypatch, *flags)
    assert all(torch.equal(began["agent"][name], weights[name]) for name in weights)
    assert f"the agent starts with the weights of {path} (PPO, ALE/Pong-v5)\n" in capsys.readouterr().out


def other(path, folder, weights=None, global_step=32, **args):
    """A copy of a checkpoint with other weights or settings, or of another step."""
    known, target = load_checkpoint(path), folder / "agent" / "other.cleanrl_model"
    target.parent.mkdir()
    weights = known.model_weights if weights is None else weights(known.model_weights)
    save_checkpoint(target, model_weights=weights, args={**known.args, **args}, global_step=global_step)
    return target


def broken(weights):
    return {**weights, "critic.bias": torch.full_like(weights["critic.bias"], torch.nan)}


@pytest.mark.parametrize(
    ("script", "flags", "change", "words"),
    [
        ("ppo", [], lambda ppo, q, folder: folder / "absent", ["absent` does not exist"]),
        ("ppo", [], lambda ppo, q, folder: folder / "runs.json", ["is damaged, cut short, or not a checkpoint"]),
        ("ppo", [], lambda ppo, q, folder: other(ppo, folder, broken), ["weights that are NaN or infinite"]),
        (
            "ppo",
            [],
            lambda ppo, q, folder: q,
            ["(q_learner:QNetwork) does not fit ALE/Freeway-v5", "`actor.bias` is absent"],
        ),
        ("q_learner", [], lambda ppo, q, folder: ppo, ["(PPO) does not fit ALE/Freeway-v5", "`actor.bias` is [3]"]),
        ("ppo", ["--env_id", "ALE/Pong-v5"], lambda ppo, q, folder: ppo, ["chooses among 3 actions", "game has 6"]),
        (
            "ppo",
            ["--buffer_window_size", "3"],
            lambda ppo, q, folder: ppo,
            ["`buffer_window_size` 4", "run has 3"],
        ),
        ("ppo", ["--her"], lambda ppo, q, folder: ppo, ["trained without goals", "this run trains with `her`"]),
        # As many planes, but others: two frames and two goals.
        (
            "ppo",
            [],
            lambda ppo, q, folder: other(ppo, folder, her=True),
            ["with `her`", "trains without goals"],
        ),
        ("ppo", [], lambda ppo, q, folder: other(ppo, folder, obs_mode="obj"), ["`obs_mode` obj", "this run has dqn"]),
        ("ppo", [], lambda ppo, q, folder: other(ppo, folder, her=3), ["`her` is 3 in the checkpoint"]),
    ],
    ids=[*"abcdefghijk"],
)
def test_what_does_not_fit_is_a_sentence_before_anything_starts(
    script, flags, change, words, agents, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs.json").write_text("{}")
    path = change(agents("ppo"), agents("q_learner"), tmp_path)
    capsys.readouterr()  # the agents may just have been trained
    with pytest.raises(SystemExit) as refused:
        SIBLINGS[script].main([*SIBLINGS[script].small, *FREEWAY, *flags, "--start_from", str(path)])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: `start_from`: ")
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert not (tmp_path / "runs").exists()


def test_a_recorded_agent_is_told_from_another_one(agents, tmp_path):
    path, known = agents("ppo"), {"env_id": "ALE/Freeway-v5", "start_from": str(agents("ppo")), "cuda": False}
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    setup = training.prepare(["--config", write_config(tmp_path, **known, start_from_digest=right)])
    assert setup.args.start_from_digest == right
    for name in ("start_from_digest", "start_from_experiment"):
        with pytest.raises(ConfigError, match=f"^`{name}` is 0123, but .* has .*: it is another agent"):
            training.prepare(["--config", write_config(tmp_path, **known, **{name: "0123"})])
        with pytest.raises(ConfigError, match=f"^`{name}` 0123 is recorded of the agent that a run starts from"):
            training.prepare(["--config", write_config(tmp_path, cuda=False, **{name: "0123"})])


@pytest.mark.slow
def test_seeds_that_start_from_seeds_of_one_experiment_are_repetitions(agents, tmp_path):
    """The files differ, what trained them does not; and another experiment, or another step, is another start."""
    folders = []
    for number, changes in enumerate(({"seed": 1}, {"seed": 2}, {"seed": 1, "gamma": 0.5}, {"global_step": 64})):
        (tmp_path / str(number)).mkdir()
        path = other(agents("ppo"), tmp_path / str(number), **changes)
        flags = [*FREEWAY, "--no-cuda", "--start_from", str(path), "--seed", str(number)]
        folders.append(tmp_path / f"run{number}")
        folders[-1].mkdir()
        settings = dataclasses.asdict(training.prepare(flags).args)
        (folders[-1] / "args.json").write_text(json.dumps(settings))
    assert [len(group.runs) for group in group_runs([RunFolder(folder) for folder in folders])] == [2, 1, 1]


@pytest.mark.slow
def test_all_ranks_begin_with_them(agents, tmp_path):
    flags = [*PPO.small, *FREEWAY, "--total_timesteps", "32", "--start_from", str(agents("ppo"))]
    codes = end(start_ranks([HERE / "rank_job.py", "ppo", tmp_path, "keep_states:0:0", *flags], tmp_path))
    assert codes == [0, 0], (tmp_path / "rank0.txt").read_text() + (tmp_path / "rank1.txt").read_text()
    expected = digest(load_checkpoint(agents("ppo")).model_weights)
    first, second = (notes_of(tmp_path, rank)[0] for rank in (0, 1))
    assert first["step"] == 0
    assert first["parts"]["agent"] == second["parts"]["agent"] == expected
