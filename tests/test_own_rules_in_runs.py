"""Somebody's own modifications in training, resume, evaluation and preview."""

import hashlib
import json
import re
import shutil

import pytest
import torch
from conftest import only_run, read_csv, write_config
from siblings import EVERY, PPO
from test_modification_file import RULES

import modification_factories
from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.config import ConfigError
from continual_hackatari.wrappers.errors import ModificationError
from continual_hackatari.wrappers.modifications.rule_file import _known_rules

# Who runs the file leaves a trace beside it.
TRACED = "from pathlib import Path\nPath(__file__).with_suffix('.trace').touch()\n" + RULES
SHORT = {"env_id": "ALE/Freeway-v5", "game_start": "none", "time_limit": 200}
SWITCHING = {
    **SHORT,
    "modification_factory": "SequentialModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 64,
        "modifications": ["all_gold_cars", "slow_cars"],
        "switching_thresholds": [32],
    },
}


def train(sibling, folder, *flags, config=SWITCHING):
    """Train with `my_rules.py` in a new folder, in which the current folder then is; returns the run folder."""
    folder.mkdir()
    (folder / "my_rules.py").write_text(TRACED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        flags = ["--config", write_config(folder, **config), "--modification_file", "my_rules.py", *flags]
        sibling.main([*sibling.small, *flags])
    return only_run(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that was evaluated while it trained, also on what it did not train on."""
    flags = ["--eval_every", "0", "--eval_modifs", "all_gold_cars", "--held_out_modifs", "high_start"]
    return train(PPO, tmp_path_factory.mktemp("trained") / "place", *flags, "--eval_games", "1")


def evaluate(*flags):
    evaluation.main([*flags, "--num_workers", "0", "--no_cuda"])


SOME = ["--modifs", "no_modif, all_gold_cars", "--eval_episodes", "1"]


@pytest.mark.slow
def test_path_digest_and_a_copy_are_kept_and_the_evaluations_play_it(trained):
    digest = hashlib.sha256(TRACED.encode()).hexdigest()
    settings = json.loads((trained / "args.json").read_text())
    assert (settings["modification_file"], settings["modification_digest"]) == ("my_rules.py", digest)
    assert load_checkpoint(trained / "model.cleanrl_model").args["modification_digest"] == digest
    assert (trained / "modification_file.py").read_text() == TRACED
    rows = read_csv(trained / "evals.csv")
    assert {row["modification"] for row in rows} == {"all_gold_cars", "high_start"}, (
        trained / "evals/log.txt"
    ).read_text()
    assert [row["to"] for row in read_csv(trained / "switches.csv")] == ["slow_cars"]


@pytest.mark.slow
@EVERY
def test_a_run_goes_on_with_the_copy_and_with_nothing_else(sibling, tmp_path, monkeypatch, capsys):
    plain = {**SHORT, "modifs": "slow_cars all_gold_cars", **({"anneal_lr": False} if sibling is PPO else {})}
    whole = train(sibling, tmp_path / "whole", "--total_timesteps", "64", config=plain)
    run = train(sibling, tmp_path / "parted", "--total_timesteps", "32", config=plain)
    monkeypatch.chdir(tmp_path / "parted")
    (tmp_path / "parted" / "my_rules.py").write_text(RULES.replace("28", "30"))
    sibling.main(["--resume", str(run), "--total_timesteps", "64"])
    ends = [load_checkpoint(each / "model.cleanrl_model").model_weights for each in (whole, run)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])

    copy = run / "modification_file.py"
    copy.write_text(RULES.replace("28", "31"))
    capsys.readouterr()
    for begin in (
        "error: `modification_file`: my_rules.py holds other rules than those recorded (digest ",
        "error: `modification_file`: there is no file my_rules.py",
    ):
        with pytest.raises(SystemExit) as refused:
            sibling.main(["--resume", str(run), "--total_timesteps", "96"])
        assert refused.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith(begin)
        assert error.count("\n") == 1
        copy.unlink(missing_ok=True)
        (tmp_path / "parted" / "my_rules.py").unlink(missing_ok=True)
    (tmp_path / "parted" / "my_rules.py").write_text(TRACED)  # put back, and copied again
    sibling.main(["--resume", str(run), "--total_timesteps", "96"])
    assert copy.read_text() == TRACED


@pytest.mark.slow
def test_the_file_may_change_while_a_run_runs(tmp_path):
    """What it tests at its end is what it was trained on."""
    from continual_hackatari.training.run import Run

    finish = Run.finish

    def change(run):
        (tmp_path / "run" / "my_rules.py").write_text("1 / 0")
        finish(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "finish", change)
        tests = ["--test_modifs", "all_gold_cars", "--eval_episodes", "1", "--total_timesteps", "32"]
        train(PPO, tmp_path / "run", *tests, config={**SHORT, "modifs": "slow_cars"})


@pytest.mark.slow
def test_an_agent_is_evaluated_with_the_copy_beside_it(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    second = tmp_path / "second"
    shutil.copytree(trained, second)
    paths = [str(run / "model.cleanrl_model") for run in (trained, second)]
    torch.save(torch.load(paths[1], weights_only=True) | {"global_step": 7}, paths[1])  # no copy, which is refused
    evaluate("--agent_path", *paths, *SOME, "--output_dir", "out")
    assert re.search(r"^all_gold_cars +2 ", capsys.readouterr().out, re.M)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["modification_file"] == str(trained.resolve() / "modification_file.py")
    assert summary["modification_digest"] == hashlib.sha256(TRACED.encode()).hexdigest()
    evaluate("--run", str(second), "--eval_modifs", "slow_cars")
    assert {row["modification"] for row in read_csv(second / "evals.csv")} > {"slow_cars"}

    (second / "modification_file.py").write_text(RULES)
    for words in (["--agent_path", paths[1], *SOME], ["--run", str(second), "--eval_modifs", "slow_cars"]):
        with pytest.raises(SystemExit):
            evaluate(*words)
        error = capsys.readouterr().err
        assert "holds other rules than those recorded" in error
        assert error.count("\n") == 1


@pytest.mark.slow
def test_what_only_a_checkpoint_names_is_not_run(trained, tmp_path, monkeypatch, capsys):
    place = trained.parent.parent
    monkeypatch.chdir(place)
    alone = tmp_path / "model.cleanrl_model"
    shutil.copy(trained / "model.cleanrl_model", alone)
    for trace in place.rglob("*.trace"):
        trace.unlink()
    _known_rules.cache_clear()  # in another process nothing of the training is known
    with pytest.raises(SystemExit):
        evaluate("--agent_path", str(alone), *SOME)
    error = capsys.readouterr().err
    assert "no modification of this name" in error
    assert "; the agent was trained with modifications of a file my_rules.py, and no copy" in error
    assert "`--modification_file` names it" in error
    evaluate("--agent_path", str(alone), "--eval_episodes", "1")
    assert "note: the agent was trained with modifications of a file my_rules.py" in capsys.readouterr().out
    assert not list(place.rglob("*.trace"))
    evaluate("--agent_path", str(alone), *SOME, "--modification_file", "my_rules.py")
    assert "note" not in capsys.readouterr().out
    assert (place / "my_rules.trace").exists()
    (tmp_path / "others.py").write_text(RULES)
    evaluate("--agent_path", str(alone), *SOME, "--modification_file", str(tmp_path / "others.py"))
    assert "others.py is not the my_rules.py that the agent was trained with" in capsys.readouterr().out


@pytest.mark.slow
def test_another_game_needs_no_rules(trained, tmp_path, capsys):
    words = ["--agent_path", str(trained / "model.cleanrl_model"), "--eval_episodes", "1", "--output_dir"]
    evaluate(*words, str(tmp_path / "a"), "--backend", "OCAtari")
    with pytest.raises(SystemExit):
        evaluate(*words, str(tmp_path / "b"), "--env_id", "ALE/Pong-v5")
    assert "chooses among 3 actions" in capsys.readouterr().err, "and nothing of the rules, which Pong has none of"


def test_a_run_without_a_file_is_evaluated_without_one(trained, tmp_path, capsys):
    (tmp_path / "args.json").write_text(json.dumps({"env_id": "ALE/Freeway-v5", "seed": 1}))
    with pytest.raises(SystemExit):
        evaluate("--run", str(tmp_path), "--modification_file", str(trained / "modification_file.py"))
    assert "was trained without one, so its evals.csv could not say" in capsys.readouterr().err


def test_a_recorded_file_is_told_from_another_one(tmp_path):
    path = tmp_path / "my_rules.py"
    path.write_text(RULES)
    config = {**SHORT, "cuda": False, "modifs": "slow_cars", "modification_file": str(path)}
    digest = training.prepare(["--config", write_config(tmp_path, **config)]).args.modification_digest
    assert training.prepare(["--config", write_config(tmp_path, **config, modification_digest=digest)])
    with pytest.raises(ModificationError, match=r"holds other rules than those recorded .* recorded 0123\)"):
        training.prepare(["--config", write_config(tmp_path, **config, modification_digest="0123")])
    with pytest.raises(ModificationError, match=r"there is no file absent\.py"):
        training.prepare(["--config", write_config(tmp_path, **{**config, "modification_file": "absent.py"})])
    with pytest.raises(ConfigError, match="`modification_digest` 0123 is recorded of somebody's own modifications"):
        training.prepare(["--config", write_config(tmp_path, cuda=False, modification_digest="0123")])


def test_a_preview_knows_their_names(tmp_path, capsys):
    path = tmp_path / "my_rules.py"
    path.write_text(RULES)
    assert modification_factories.main([write_config(tmp_path, **SWITCHING, modification_file=str(path))]) == 0
    assert modification_factories.main([write_config(tmp_path, **SWITCHING), "--modification_file", str(path)]) == 0
    assert "all_gold_cars" in capsys.readouterr().out
    assert modification_factories.main([write_config(tmp_path, **SWITCHING)]) == 2
    assert "no modification of this name" in capsys.readouterr().err
