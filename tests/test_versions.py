"""What made a run: versions, processor, command line; and whether several runs were made by the same."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, only_run, write_config
from made_up_runs import make_run

from continual_hackatari import continual_training_example as training
from continual_hackatari import metrics, report
from continual_hackatari.reporting.groups import MADE_BY, differing_versions, mixed_versions
from continual_hackatari.reporting.runs import Run
from continual_hackatari.training import versions
from continual_hackatari.training.config import as_plain_dict, from_plain_dict
from continual_hackatari.training.resume import ResumeError

ONE_UPDATE = {"env_id": "ALE/Freeway-v5", "num_envs": 2, "num_steps": 8, "num_workers": 0, "cuda": False}
ONE_UPDATE = {**ONE_UPDATE, "anneal_lr": False, "total_timesteps": 16, "plasticity_every": 0}


@pytest.mark.slow
def test_args_json_says_what_made_the_run_and_each_time_it_went_on(workdir, monkeypatch):
    training.main(["--config", write_config(workdir, **ONE_UPDATE)])
    run = only_run(workdir)
    first = json.loads((run / "args.json").read_text())
    made = first["versions"]
    assert (made["python"], made["numpy"]) == (platform.python_version(), np.__version__)
    assert made["torch"] == metadata.version("torch")
    optional = {name for name in ("hackatari", "ocatari") if find_spec(name)}
    assert {"continual-hackatari", "ale-py", "opencv", *optional} <= set(made)
    assert first["processor"]
    assert Path(first["script"]).samefile(training.__file__)
    assert first["command"].split()[0].endswith(sys.orig_argv[0])
    assert "resumed" not in first
    settings = {name: value for name, value in first.items() if name not in MADE_BY}
    assert as_plain_dict(from_plain_dict(training.Args, settings)) == settings, "the settings as always"

    monkeypatch.setattr(versions, "versions", lambda: {"torch": "another"})
    training.main(["--resume", str(run), "--total_timesteps", "32"])
    second = json.loads((run / "args.json").read_text())
    assert [second[name] for name in ("versions", "command")] == [made, first["command"]]
    (gone_on,) = second["resumed"]
    assert (gone_on["global_step"], gone_on["versions"]) == (16, {"torch": "another"})
    assert second["total_timesteps"] == 32
    assert sorted(differing_versions([second])["torch"]) == sorted(["another", made["torch"]])


def test_a_run_of_an_earlier_version_goes_on(tmp_path):
    (tmp_path / "args.json").write_text(json.dumps({"seed": 1}))
    made = versions.made_by(tmp_path, 7, "script.py")
    assert set(made) == {"resumed"}
    assert made["resumed"][0]["global_step"] == 7


def test_only_the_script_of_a_run_goes_on_with_it(workdir):
    """The report and the refusal name the same command; a script that is gone is nobody's hindrance."""
    (workdir / "my_q.py").touch()
    run = make_run(workdir / "runs", finished=False, script=str(workdir / "my_q.py")).relative_to(workdir)
    command = f"`python my_q.py --resume {run}`"
    assert any(command in note for note in Run(run).notes)
    words = f"one of my_q.py, and continual_training_example.py cannot go on with it; type {command}"
    with pytest.raises(ResumeError, match=re.escape(words)):
        training.prepare(["--resume", str(run)])
    (workdir / "my_q.py").unlink()
    with pytest.raises(ResumeError, match="before its first save"):
        training.prepare(["--resume", str(run)])


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_git(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)  # the user may sign commits, or have hooks
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")

    def git(*words, cwd=tmp_path / "clone"):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *identity, *words], cwd=cwd, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    clone = tmp_path / "clone"
    clone.mkdir()
    assert versions.commit(clone) is None
    git("init", "-q")
    assert versions.commit(clone) is None, "nothing is committed yet"
    git("commit", "-q", "--allow-empty", "-m", "one")
    assert versions.commit(clone) == git("rev-parse", "HEAD")
    git("worktree", "add", "-q", "-b", "other/branch", str(tmp_path / "tree"))
    git("commit", "-q", "--allow-empty", "-m", "two", cwd=tmp_path / "tree")
    assert versions.commit(tmp_path / "tree") == git("rev-parse", "HEAD", cwd=tmp_path / "tree")
    git("pack-refs", "--all")
    assert versions.commit(tmp_path / "tree") == git("rev-parse", "other/branch") != versions.commit(clone)
    git("checkout", "-q", "--detach", "other/branch~1")
    assert versions.commit(clone) == git("rev-parse", "HEAD")


def test_the_project_version_is_that_of_the_clone():
    text = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{versions.versions()["continual-hackatari"]}"' in text


def runs_of(*torch_versions):
    return [{"versions": {"torch": version, "numpy": "1"}} for version in torch_versions]


@pytest.mark.parametrize(
    ("runs", "differing"),
    [
        ([], {}),
        (runs_of("2", "2"), {}),
        ([*runs_of("2"), {"seed": 1}], {}),
        (runs_of("3", "2", "3"), {"torch": ["3", "2"]}),
        ([{**runs_of("2")[0], "resumed": runs_of("3")}], {"torch": ["2", "3"]}),
    ],
)
def test_what_differs_is_named(runs, differing):
    assert {name: sorted(found) for name, found in differing_versions(runs).items()} == {
        name: sorted(found) for name, found in differing.items()
    }
    assert bool(mixed_versions(runs)) == bool(differing)


def test_commits_are_named_by_their_first_letters():
    runs = [{"versions": {"commit": letter * 40}} for letter in "ab"]
    assert mixed_versions(runs) == f"the runs were made by different versions: commit {'a' * 12} and {'b' * 12}"


@pytest.mark.slow
def test_metrics_and_report_say_when_a_group_mixes_versions(workdir, capsys):
    made = [{"torch": "2.1"}, {"torch": "2.13"}]
    runs = [make_run(workdir / "runs", seed=seed, versions=made[seed], evaluated=lambda *_: 1.0) for seed in (0, 1)]
    sentence = "the runs were made by different versions: torch 2.1 and 2.13"
    report.main([*map(str, runs)])
    assert sentence in (workdir / "report.html").read_text()
    capsys.readouterr()
    metrics.main([*map(str, runs)])
    table = capsys.readouterr().out
    assert "group 1: ALE/Freeway-v5 PPO, 2 runs" in table, "one experiment all the same"
    assert f"  note: {sentence}" in table.splitlines()
    metrics.main([str(runs[0])])
    assert "note" not in capsys.readouterr().out
