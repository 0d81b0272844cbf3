"""Which device is chosen, and what is said of it. PyTorch is asked what there is, and here it lies."""

import contextlib
import copy
import mmap
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from siblings import EVERY
from torch.overrides import TorchFunctionMode

from continual_hackatari import eval as evaluation
from continual_hackatari.methods.a_gem import inner
from continual_hackatari.methods.ewc import Held, normalised
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.devices import choose_device, device_line
from continual_hackatari.training.ranks import ALONE, Ranks
from continual_hackatari.training.rollouts import pin
from continual_hackatari.training.setup import check_memory


@pytest.fixture
def machine(monkeypatch):
    """Makes this machine one with these GPUs."""

    def has(*kinds, number=1):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in kinds)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number if "cuda" in kinds else 0)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Model {device}")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in kinds)

    return has


@pytest.mark.parametrize(
    ("kinds", "device", "cuda", "chosen", "line"),
    [
        ("", "auto", True, "cpu", "no GPU found: training on the CPU"),
        ("", "auto", False, "cpu", "training on the CPU"),
        ("cuda", "auto", True, "cuda", "training on the GPU: Model cuda"),
        ("cuda", "auto", False, "cpu", "training on the CPU"),
        ("cuda mps", "auto", True, "cuda", "training on the GPU: Model cuda"),
        (
            "mps",
            "auto",
            True,
            "mps",
            "training on the GPU of this Mac (mps), which was never tested; .*",
        ),
        ("mps", "auto", False, "cpu", "training on the CPU"),
        ("cuda", "cpu", True, "cpu", "training on the CPU"),
        ("cuda mps", "mps", True, "mps", "training on the GPU of this Mac .*"),
        ("mps", "mps", False, "mps", "training on the GPU of this Mac .*"),
        ("cuda", "cuda", True, "cuda", "training on the GPU: Model cuda"),
    ],
)
def test_what_is_there_is_chosen_and_said(kinds, device, cuda, chosen, line, machine):
    machine(*kinds.split())
    found = choose_device(device, cuda)
    assert found == torch.device(chosen)
    begin, _, any_end = line.partition(".*")
    said = device_line("training", found, device, cuda)
    assert said.startswith(begin)
    assert any_end == "" or said == begin


@pytest.mark.parametrize(
    ("kinds", "device", "cuda", "ranks", "sentence"),
    [
        ("", "cuda", True, ALONE, "`device` cuda: PyTorch finds no such GPU on this machine; choose cpu, or auto"),
        ("cuda", "mps", True, ALONE, "`device` mps: PyTorch finds no such GPU .* choose cuda or cpu, or auto"),
        ("cuda", "cuda", False, ALONE, "`device` cuda and `--no_cuda` contradict each other"),
        ("mps", "mps", True, Ranks(0, 2, 0, 2), "`device` mps: torchrun has started 2 processes.* `--device cpu`"),
        ("cuda", "cuda", True, Ranks(0, 2, 0, 2), "`cuda`: torchrun has started 2 processes .* which has 1 GPUs"),
    ],
)
def test_what_cannot_be_is_a_sentence(kinds, device, cuda, ranks, sentence, machine):
    machine(*kinds.split())
    with pytest.raises(ConfigError, match=sentence):
        choose_device(device, cuda, ranks)


def test_each_process_has_its_own_gpu(machine):
    machine("cuda", number=2)
    assert choose_device("auto", True, Ranks(3, 4, 1, 2)) == torch.device("cuda", 1)
    machine("mps")
    assert choose_device("auto", True, Ranks(1, 2, 1, 2)) == torch.device("cpu")


def test_a_run_must_fit_the_gpu_that_it_has(monkeypatch):
    sizes = {"cuda": 2**40, "cuda:0": 2**40, "cuda:1": 2**30}
    properties = {name: SimpleNamespace(total_memory=size) for name, size in sizes.items()}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties[str(device)])
    check_memory(2**35, "`num_steps`", torch.device("cuda", 0))
    with pytest.raises(ConfigError, match=r"at least 32 GiB .* but there are 1; choose smaller `num_steps`"):
        check_memory(2**35, "`num_steps`", torch.device("cuda", 1))


class Cuda:
    """A GPU's runtime that keeps an error until a kernel is launched, as CUDA does."""

    def __init__(self, status):
        self.status, self.pending, self.locked = status, False, {}

    def cudaHostRegister(self, address, size, flags):  # noqa: N802 - CUDA's names
        self.locked[address], self.pending = size, self.status != 0
        return self.status

    def cudaHostUnregister(self, address):  # noqa: N802
        del self.locked[address]
        return 0

    def launch(self, *sizes, device):
        pending, self.pending = self.pending, False
        if pending:
            raise RuntimeError("CUDA error: out of memory")


def test_memory_is_locked_as_long_as_the_array_is_there(monkeypatch, capsys):
    runtime = Cuda(0)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    memory = mmap.mmap(-1, 4096)
    array = np.frombuffer(memory, np.uint8)
    pin(array, torch.device("cpu"))
    assert not runtime.locked
    kept = []
    finalize = weakref.finalize
    monkeypatch.setattr(weakref, "finalize", lambda *args: kept.append(finalize(*args)) or kept[-1])
    pin(array, torch.device("cuda"))
    assert runtime.locked == {array.ctypes.data: 4096}
    assert [each.atexit for each in kept] == [False], "when Python ends, CUDA may have gone before"
    del array
    assert not runtime.locked
    memory.close()  # which raises BufferError while something looks at it
    assert not capsys.readouterr().out


def test_memory_that_cannot_be_locked_is_said_and_forgotten_by_cuda(monkeypatch, capsys):
    runtime = Cuda(2)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    monkeypatch.setattr(torch, "ones", runtime.launch)
    pin(np.zeros(8, np.uint8), torch.device("cuda"))
    assert not runtime.pending, "the next kernel would raise it"
    assert "could not be pinned (CUDA status 2)" in capsys.readouterr().out


@EVERY
def test_a_script_trains_where_it_is_told(sibling, machine, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    machine()
    flags = ["--env_id", "ALE/Freeway-v5", "--total_timesteps", "32"]
    assert sibling.prepare([*flags, "--device", "cpu"]).device == torch.device("cpu")
    assert capsys.readouterr().out.splitlines().count("training on the CPU") == 1
    sibling.prepare(flags)
    assert capsys.readouterr().out.splitlines().count("no GPU found: training on the CPU") == 1
    with pytest.raises(SystemExit) as refused:
        sibling.main([*flags, "--device", "cuda"])
    assert refused.value.code == 2
    assert capsys.readouterr().err.startswith("error: `device` cuda: PyTorch finds no such GPU")
    assert not list(tmp_path.iterdir())


def test_an_evaluation_plays_where_it_is_told(machine, capsys, tmp_path):
    machine()
    path = str(ROOT / "trained" / "breakout.cleanrl_model")
    words = ["--agent_path", path, "--play", str(tmp_path / "game.mp4"), "--seconds", "0.2"]
    evaluation.main([*words, "--device", "cpu"])
    assert "evaluating on the CPU\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        evaluation.main([*words, "--device", "mps"])
    assert capsys.readouterr().err.startswith("error: `device` mps: PyTorch finds no such GPU")
    with pytest.raises(SystemExit):
        evaluation.main(["--run", str(tmp_path), "--device", "cpu"])
    assert "`device` is for one checkpoint; leave it out with `--run`" in capsys.readouterr().err


class OnAMac(TorchFunctionMode):
    """Every tensor seems to lie on a Mac's GPU, which has no float64, until it is brought to the CPU."""

    def __init__(self):
        super().__init__()
        self.brought = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func == torch.Tensor.device.__get__:
            return torch.device("cpu" if any(args[0] is each for each in self.brought) else "mps")
        result = func(*args, **(kwargs or {}))
        if func is torch.Tensor.cpu:
            result = result.clone()
            self.brought.append(result)
        elif isinstance(result, torch.Tensor) and result.dtype == torch.float64:
            there = [each for each in args if isinstance(each, torch.Tensor) and each.dtype != torch.float64]
            if not all(any(each is one for one in self.brought) for each in there):
                raise TypeError("the MPS framework doesn't support float64")
        return result


def test_sums_in_float64_are_made_on_the_cpu_where_the_gpu_has_none():
    weights, others = ({"a": torch.rand(5, 3), "b": torch.rand(4)} for _ in range(2))
    held = Held(weights)
    held.add(others, weights)
    found = []
    for place in (contextlib.nullcontext(), OnAMac()):
        again = copy.deepcopy(held)
        with place:
            again.add(weights, others)
            found.append(
                [
                    float(inner(list(weights.values()), list(others.values()))),
                    normalised(others)["b"].tolist(),
                    again.rest,
                ]
            )
    assert found[0] == found[1]
    assert found[0][2] > 0
