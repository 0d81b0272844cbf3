"""Checkpoints: what goes in comes out, whole or not at all; damaged and dangerous files are refused in one sentence."""

import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from continual_hackatari.agents import make_agent
from continual_hackatari.training.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from continual_hackatari.training.files import atomic_path

ROOT = Path(__file__).resolve().parents[1]
ARGS = {"env_id": "ALE/Freeway-v5", "seed": 42, "learning_rate": 2.5e-4, "target_kl": None, "encoder_dims": [64, 32]}


def write(path: Path, **changed: object) -> Path:
    options = {"model_weights": {"w": torch.arange(6.0).reshape(2, 3)}, "args": ARGS, "global_step": 2048, **changed}
    save_checkpoint(path, **options)  # type: ignore[arg-type]
    return path


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    agent = make_agent("PPO", (4, 84, 84), 6)
    optimizer = torch.optim.Adam(agent.parameters())
    agent.get_value(torch.zeros(1, 4, 84, 84)).sum().backward()
    optimizer.step()
    path = write(
        tmp_path / "model.cleanrl_model",
        model_weights=agent.state_dict(),
        optimizer=optimizer.state_dict(),
        reward_scaling={"returns": [0.5, 1.5], "count": 8.0001},
    )
    checkpoint = load_checkpoint(str(path))
    fresh = make_agent("PPO", (4, 84, 84), 6)
    fresh.load_state_dict(checkpoint.model_weights)
    assert all(torch.equal(a, b) for a, b in zip(agent.parameters(), fresh.parameters(), strict=True))
    assert checkpoint.args == ARGS
    assert checkpoint.global_step == 2048
    assert set(checkpoint.extra) == {"optimizer", "reward_scaling"}
    assert checkpoint.extra["reward_scaling"] == {"returns": [0.5, 1.5], "count": 8.0001}
    torch.optim.Adam(fresh.parameters()).load_state_dict(checkpoint.extra["optimizer"])
    saved, loaded = optimizer.state_dict()["state"], checkpoint.extra["optimizer"]["state"]
    assert all(torch.equal(saved[i][key], loaded[i][key]) for i in saved for key in saved[i])


def test_the_file_is_what_the_contract_says(tmp_path: Path) -> None:
    """Read by PyTorch alone: a dict with these entries, which loads with `weights_only=True`."""
    content = torch.load(write(tmp_path / "m.cleanrl_model"), weights_only=True)
    assert set(content) == {"model_weights", "args", "global_step"}
    assert content["args"] == ARGS
    assert list(tmp_path.iterdir()) == [tmp_path / "m.cleanrl_model"]


def test_a_slice_of_a_large_tensor_is_stored_alone(tmp_path: Path) -> None:
    large = torch.zeros(1_000_000)
    large_file = write(tmp_path / "a", model_weights={"w": large.reshape(1000, 1000)[:, :2]})
    assert large_file.stat().st_size < 100_000
    assert torch.equal(load_checkpoint(large_file).model_weights["w"], torch.zeros(1000, 2))


def test_weights_that_require_gradients_and_other_memory_formats(tmp_path: Path) -> None:
    agent = make_agent("PPO", (4, 84, 84), 6).to(memory_format=torch.channels_last)
    path = write(tmp_path / "m", model_weights=dict(agent.named_parameters()))
    weights = load_checkpoint(path).model_weights
    assert all(not t.requires_grad and t.is_contiguous() for t in weights.values())
    assert torch.equal(weights["network.0.weight"], agent.network[0].weight)


def test_files_of_the_original_load(tmp_path: Path) -> None:
    """Entries `model_weights` and `args` only, settings with names unknown here, an ordered dict as state dict."""
    agent = make_agent("PPO", (4, 84, 84), 6)
    path = tmp_path / "old.cleanrl_model"
    args = {"exp_name": "ppo", "feature_func": "xywh", "ckpt": "", "num_iterations": 9, "target_kl": None}
    torch.save({"model_weights": OrderedDict(agent.state_dict()), "args": args}, path)
    checkpoint = load_checkpoint(path)
    assert checkpoint.args == args
    assert checkpoint.global_step is None
    assert checkpoint.extra == {}
    agent.load_state_dict(checkpoint.model_weights)


def test_an_old_style_file_without_zip_loads(tmp_path: Path) -> None:
    path = tmp_path / "old.cleanrl_model"
    torch.save({"model_weights": {"w": torch.ones(2)}, "args": {}}, path, _use_new_zipfile_serialization=False)
    assert load_checkpoint(path).model_weights["w"].tolist() == [1.0, 1.0]


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "does not exist; give a .cleanrl_model file or a run folder" in refused(tmp_path / "absent.cleanrl_model")
    assert "is a folder" in refused(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.9, 0.999])
def test_files_cut_short(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "m", model_weights={"w": torch.randn(5000)})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "damaged, cut short, or not a checkpoint" in refused(path)


@pytest.mark.parametrize("seed", range(8))
def test_garbage(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "m"
    noise = np.random.default_rng(seed).bytes(3000)
    path.write_bytes((b"", b"PK\x03\x04", b"\x80\x02", b"{}\n")[seed % 4] + noise)
    assert "damaged, cut short, or not a checkpoint" in refused(path)


def test_another_zip_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "damaged" in refused(tmp_path / "m")


class Payload:
    """Unpickles by running a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


class Opener:
    """Unpickles by creating a file, through a builtin."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return open, (self.path, "w")


@pytest.mark.parametrize("kind", [Payload, Opener])
@pytest.mark.parametrize("style", ["zip", "old", "bare pickle"])
def test_a_malicious_file_does_not_run(tmp_path: Path, kind: type, style: str) -> None:
    proof, path = tmp_path / "proof", tmp_path / "evil.cleanrl_model"
    payload = Payload(f"touch {proof}") if kind is Payload else Opener(proof)
    content = {"model_weights": {"w": torch.ones(1)}, "args": {}, "extra": payload}
    if style == "bare pickle":
        path.write_bytes(pickle.dumps({"args": payload}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=style == "zip")
    sentence = refused(path)
    assert "could run code" in sentence or style == "bare pickle"
    assert not proof.exists()
    if style != "bare pickle":  # the payload does work where a reader is careless
        torch.load(path, weights_only=False)
        assert proof.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"args": {}, "state_dict": {}},
        [1, 2, 3],
        torch.ones(3),
        {"model_weights": {}, "args": {}},
        {"model_weights": torch.ones(2), "args": {}},
        {"model_weights": {"w": 1.0}, "args": {}},
        {"model_weights": {"w": torch.ones(1)}, "args": [1]},
    ],
)
def test_not_a_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "m")
    assert "is not a checkpoint" in refused(tmp_path / "m")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"args": {"run_folder": Path("runs")}}, "`args.run_folder` is a pathlib"),
        ({"args": {"dims": [1, np.int64(2)]}}, r"`args.dims[1]` is a numpy.int64"),
        ({"rng": {"state": np.zeros(3)}}, "`rng.state` is a numpy.ndarray"),
        ({"global_step": np.int64(3)}, "`global_step` is a numpy.int64"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, changed: dict, named: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        write(tmp_path / "m", **changed)
    assert named in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="could not be written") as caught:
        write(tmp_path / "absent" / "m")
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m")
    before = path.read_bytes()

    def disk_full(content: object, target: Path) -> None:
        Path(target).write_bytes(b"half of the fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.csv"
    path.write_text("old")
    script = (
        "import os, sys\n"
        "from continual_hackatari.training.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os._exit(9)\n"
    )
    finished = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=False)
    assert finished.returncode == 9
    assert path.read_text() == "old"


def test_atomic_path_replaces_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "result.csv"
    path.write_text("old")
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path_keeps_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "result.csv"
    path.write_text("old")

    def interrupted_write() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path_works_for_the_longest_names(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 255)
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"x")
    assert path.read_bytes() == b"x"


def test_a_file_that_may_not_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m")

    def denied(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "could not be read: Permission denied" in refused(path)
