"""Shared by all tests."""

import os

# Tests run beside each other: threads that spin or outnumber the cores would slow all of them down many times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import csv
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A shell starts background jobs with an ignored SIGINT, and so would be all processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _needs(package):
    return pytest.mark.skipif(
        find_spec(package) is None, reason=f"{package} is not installed (from Python 3.13 on it cannot be)"
    )


NEEDS_HACKATARI = _needs("hackatari")
NEEDS_OCATARI = _needs("ocatari")


def mostly_slow(cases, every):
    """`cases` for `parametrize`, more of the same: one in `every` is always run, the others are slow."""
    cases = [
        case if hasattr(case, "marks") else pytest.param(*(case if type(case) is tuple else (case,))) for case in cases
    ]
    return [
        case if i % every == 0 else case._replace(marks=[*case.marks, pytest.mark.slow]) for i, case in enumerate(cases)
    ]


MOST_WORKERS = 16
PATIENCE = 600
"""Seconds after which a test takes what it waits for to hang. Nothing else may depend on it: machines are busy."""


def pytest_configure():
    """Forget what the shell, a batch system or a git hook says of itself: it is not for what tests run.

    Not at import: processes of tests import this file too, and have such variables from their tests.
    """
    foreign, rank = (
        ("WANDB_", "SLURM_", "TORCHELASTIC_", "GIT_"),
        ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    )
    for name in [name for name in os.environ if name.startswith(foreign) or name in rank]:
        del os.environ[name]
    os.environ["WANDB_X_SERVICE_WAIT"] = "600"  # the process that W&B starts gets 30 seconds, a busy machine needs more
    os.environ["COLUMNS"] = "80"  # help texts are as wide as the terminal


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """With `-n auto` half as many again as there are cores: tests often wait for processes of their own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + (cores + 1) // 2, MOST_WORKERS)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items):
    """Tests with the same module-wide fixture run in the same worker: it is often a whole training run."""
    for item in items:
        shared = sorted(
            name
            for name, definitions in item._fixtureinfo.name2fixturedefs.items()
            if definitions[-1].scope == "module" and name != "sibling"
        )
        if shared:
            sibling = getattr(item, "callspec", None) and item.callspec.params.get("sibling")
            item.add_marker(pytest.mark.xdist_group(" ".join(filter(None, [item.path.stem, shared[0], sibling]))))


@pytest.fixture(scope="module")
def sibling(request):
    """One of the training scripts, see siblings.py."""
    from siblings import SIBLINGS

    return SIBLINGS[request.param]


@pytest.fixture
def checked_here(monkeypatch):
    """Sweeps check their commands in this process, which has loaded torch already."""
    from continual_hackatari.training import sweep_checks

    monkeypatch.setattr(sweep_checks, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(workers))


@pytest.fixture(scope="session", autouse=True)
def _evaluation_for_tests():
    """What evaluation costs is told by a few steps, not by seconds of play before each training."""
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("torch"):  # some tests need none, and are run where it is not installed
            patch.setattr("continual_hackatari.training.cost.PROBED_STEPS", 60)
        yield


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty current folder: `runs/` of a training lands here."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_csv(path):
    """Rows of a CSV file as dicts of strings."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_config(folder, **settings):
    """A config file in `folder`; returns its path as a string."""
    path = folder / "config.json"
    path.write_text(json.dumps(settings))
    return str(path)


def only_run(folder):
    """The single run folder under `folder`."""
    (run,) = (folder / "runs").iterdir()
    return run


def assert_refused(main, config, words, folder, capsys):
    """`main` ends with one sentence that holds all of `words`, and writes nothing beside the config file."""
    path = write_config(folder, **config)
    with pytest.raises(SystemExit) as stopped:
        main(["--config", path])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert [entry.name for entry in folder.iterdir()] == ["config.json"]
