"""Files of strangers run no code, names of users stay in the run folder, and a run outlives W&B and its folder."""

import hashlib
import io
import os
import pickle
import re
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import only_run, read_csv, write_config
from hypothesis import given, settings
from hypothesis import strategies as st
from lives import Life
from test_fuzz import everything_in

from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari.training import resume
from continual_hackatari.training.resume import PREVIOUS, RESUME, load_state
from continual_hackatari.training.run import video_path
from continual_hackatari.training.run_folder import create_run_folder, slug, step_checkpoint, switch_checkpoint
from continual_hackatari.wrappers.config import game_config

TINY = ["--num_envs", "1", "--num_steps", "32", "--num_workers", "0", "--no-cuda", "--update_epochs", "1"]
SWITCHING = {
    "env_id": "ALE/Freeway-v5",
    "modification_factory": "SequentialModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 200,
        "modifications": ["all_black_cars", "", "stop_random_car"],
        "switching_thresholds": [64, 128],
    },
}

# --------------------------------------------------------------------------------------------------- files of strangers


class Payload:
    """Whoever unpickles it creates a folder."""

    def __init__(self, proof):
        self.proof = str(proof)

    def __reduce__(self):
        return (os.mkdir, (self.proof,))


def zipped(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def zip_with_another_pickle(content):
    """A file of PyTorch whose data.pkl was exchanged."""
    honest, file = zipfile.ZipFile(io.BytesIO(zipped({"model_weights": {"w": torch.ones(1)}}))), io.BytesIO()
    with zipfile.ZipFile(file, "w") as changed:
        for name in honest.namelist():
            evil = pickle.dumps(content, protocol=2)
            changed.writestr(name, evil if name.endswith("data.pkl") else honest.read(name))
    return file.getvalue()


def old_format(content):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


STYLES = [zipped, zip_with_another_pickle, old_format, lambda content: pickle.dumps(content, protocol=2)]
STYLE_NAMES = ["torch.save", "other data.pkl", "old torch.save", "bare pickle"]


def refused(main, argv, capsys):
    """The one sentence with which the script ends."""
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("style", STYLES, ids=STYLE_NAMES)
def test_evaluation_refuses_a_checkpoint_with_code(style, workdir, capsys):
    proof, path = workdir / "proof", workdir / "model.cleanrl_model"
    path.write_bytes(style({"model_weights": {"w": torch.ones(1)}, "args": {"env_id": Payload(proof)}}))
    line = refused(evaluation.main, ["--agent_path", str(path)], capsys)
    assert "was not loaded" in line or "not a checkpoint at all" in line
    assert os.listdir(workdir) == [path.name]
    if style is zipped:  # the payload does work where a reader is careless
        torch.load(path, weights_only=False)
        assert proof.is_dir()


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("style", STYLES, ids=STYLE_NAMES)
def test_resume_refuses_a_state_with_code(style, sealed, workdir, capsys):
    run, proof = workdir / "run", workdir / "proof"
    run.mkdir()
    (run / "args.json").write_text("{}")
    evil = style({"format": resume.FORMAT, "state": {"args": Payload(proof)}})
    seal = resume._SEAL + hashlib.sha256(evil).digest()  # everybody can compute it
    for name in (RESUME, PREVIOUS):
        (run / name).write_bytes(evil + (seal if sealed else b""))
    line = refused(training.main, ["--resume", str(run)], capsys)
    for name in (RESUME, PREVIOUS):
        assert re.search(rf"{name}` is (not plain data|damaged)", line)
    assert ("not plain data" in line) == sealed
    assert not proof.exists()
    assert sorted(os.listdir(run)) == sorted(["args.json", RESUME, PREVIOUS])


@pytest.mark.parametrize("state", [1, [], {}, {"state": 1}, {"format": 1, "state": [1]}, {"format": 1, "state": {}}])
def test_resume_refuses_plain_data_of_another_kind(state, workdir, capsys):
    run = workdir / "run"
    run.mkdir()
    (run / "args.json").write_text("{}")
    content = zipped(state)
    (run / RESUME).write_bytes(content + resume._SEAL + hashlib.sha256(content).digest())
    assert RESUME in refused(training.main, ["--resume", str(run)], capsys)


CODE = "import os\nos.mkdir('proof')\n"


def test_what_executes_code_by_design_does(workdir, monkeypatch):
    """As docs/safety.md says; nothing else does."""
    Path("reward.py").write_text(CODE + "def reward_function(env):\n    return 0.0\n")
    training.prepare([*TINY, "--env_id", "ALE/Freeway-v5", "--new_rf", "reward.py"])
    os.rmdir("proof")

    Path("my_schedule.py").write_text(
        CODE + "class Mine:\n    def __init__(self, num_total_steps): pass\n"
        "    def get_modification(self, step): return ''\n"
    )
    monkeypatch.syspath_prepend(str(workdir))
    config = write_config(workdir, modification_factory="my_schedule:Mine", total_timesteps=64)
    training.prepare([*TINY, "--config", config])
    os.rmdir("proof")

    Path("my_network.py").write_text(CODE + "from own_network import OwnNetwork\n")
    training.prepare([*TINY, "--env_id", "ALE/Freeway-v5", "--architecture", "my_network:OwnNetwork"])
    os.rmdir("proof")


# ------------------------------------------------------------------------------------------------------ names of users

NASTY = [
    "../../up",
    "/abs/olute",
    "a\0b",
    "two\nlines",
    "x" * 4000,
    "実験é😀" * 80,
    "CON",
    "nul.",
    "C:\\x",
    " ",
    ".",
    "..",
    "~",
    "-rf",
]
ANY_TEXT = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=()), max_size=60)


def assert_inside(path, parent):
    """`path` is one new name in `parent` that every file system takes."""
    assert path.parent == parent
    assert os.path.normpath(path) == str(path)
    assert len(path.name.encode()) <= 255
    assert path.name.split(".")[0].upper() not in ("CON", "NUL", "AUX", "PRN", "COM1", "LPT1")
    assert not re.search(r'[\x00-\x1f<>:"/\\|?*]', path.name)
    assert path.name[0] not in ".~"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=ANY_TEXT, other=ANY_TEXT, step=st.integers(0, 10**15))
def test_no_name_leaves_its_folder(tmp_path_factory, text, other, step):
    root = tmp_path_factory.mktemp("names") / "runs"
    run = create_run_folder(
        root, env_id=f"ALE/{other}", seed=2**63 - 1, exp_name=text, architecture="PPO_CBP_shrink_perturb"
    )
    assert_inside(run, root)
    assert os.listdir(root) == [run.name]
    assert_inside(video_path(run, step, text).with_suffix(".mp4"), run / "videos")
    assert_inside(switch_checkpoint(run, 10**9, step, text), run)
    assert_inside(step_checkpoint(run, step, text), run)
    args = evaluation.Args(agent_path=str(run / f"{text.replace('/', '')}.cleanrl_model"), architecture="PPO")
    evaluated = evaluation.new_folder(run / "eval", args, game_config("ALE/Freeway-v5")[0])
    assert_inside(evaluated, run / "eval")
    assert slug(text).split("/") == [slug(text)]


@pytest.mark.slow
def test_everything_that_a_run_writes_lies_in_its_folder(workdir):
    (workdir / "deep" / "place").mkdir(parents=True)
    os.chdir(workdir / "deep" / "place")
    config = write_config(
        workdir, **SWITCHING, exp_name="../../up/\0/\n実験😀" * 80, save_agent_with_switch=True, capture_video=True
    )
    training.main([*TINY, "--config", config])
    run = only_run(workdir / "deep" / "place")
    model = run / "model.cleanrl_model"
    evaluation.main(["--agent_path", str(model), "--eval_episodes", "1", "--num_workers", "0", "--frameskip", "900"])
    outside = [path for path in everything_in(workdir) if workdir / path != run and run not in (workdir / path).parents]
    assert sorted(map(str, outside)) == ["config.json", "deep", "deep/place", "deep/place/runs"]
    assert len(list(run.glob("switch_*.cleanrl_model"))) == 2
    assert len(list((run / "videos").glob("*.mp4"))) == 3
    assert len(list((run / "eval").glob("*/games.csv"))) == 1


# ------------------------------------------------------------------------------------------------------- faults outside


def failing_wandb(calls):
    """A module like wandb whose run refuses everything after a while; `calls` notes what was asked of it."""

    def refuse(what):
        def call(*args, **kwargs):
            calls.append(what)
            raise ConnectionError(f"{what}: the server is gone")

        return call

    refused = {what: refuse(what) for what in ("log", "log_artifact", "finish")}
    run = types.SimpleNamespace(id="a-run", **refused)
    return types.SimpleNamespace(
        setup=lambda: types.SimpleNamespace(settings=types.SimpleNamespace(mode="offline")),
        init=lambda **settings: run,
        tensorboard=types.SimpleNamespace(patch=lambda root_logdir: None, unpatch=lambda: None),
        Settings=lambda **settings: settings,
        Video=lambda path, format: path,
        Artifact=lambda name, type: types.SimpleNamespace(add_file=lambda path: None),
    )


@pytest.mark.slow
def test_a_run_outlives_wandb(workdir, monkeypatch, capsys):
    settings = {**SWITCHING, "save_agent_with_switch": True, "capture_video": True}
    for folder, flags in (("without", []), ("with", ["--track", "--save_agent_wandb"])):
        (workdir / folder).mkdir()
        monkeypatch.chdir(workdir / folder)
        calls = []
        monkeypatch.setitem(sys.modules, "wandb", failing_wandb(calls))
        training.main([*TINY, "--config", write_config(workdir, **settings), *flags])
    assert calls == ["log_artifact"] * 3 + ["log"] * 3 + ["finish"]
    assert capsys.readouterr().err.count("warning: W&B failed (log_artifact: the server is gone)") == 1
    one, other = (only_run(workdir / folder) for folder in ("without", "with"))
    assert (one / "episodes.csv").read_bytes() == (other / "episodes.csv").read_bytes()
    assert len(read_csv(other / "episodes.csv")) == 3, "a game, cut by two switches and the end"
    assert len(read_csv(other / "switches.csv")) == 2
    assert (other / "model.cleanrl_model").exists()


@pytest.mark.slow
def test_a_run_whose_folder_is_gone_stops_and_leaves_its_last_state(tmp_path):
    """Another user moves the folder away and a file takes its place: also root cannot write there any more."""
    config = write_config(tmp_path, **SWITCHING)
    life = Life(tmp_path, *TINY, "--checkpoint_every", "32", "--config", config, fault=("folder_replaced", 4))
    assert life.end() == 1
    said = (tmp_path / "output.txt").read_text()
    (line,) = re.findall("^error: .*$", said, re.M)
    assert "Not a directory" in line
    assert "Traceback" not in said
    (moved,) = (tmp_path / "runs").glob("*.moved")
    state, notes = load_state(moved)
    assert state["counters"]["global_step"] == 64
    assert notes == []
    assert [path.name for path in moved.glob(".*.tmp")] == []

    original = moved.with_suffix("")
    original.unlink()
    moved.rename(original)
    assert Life(tmp_path, "--resume", str(original.relative_to(tmp_path))).end() == 0
    assert (original / "model.cleanrl_model").exists()
