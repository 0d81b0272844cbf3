"""The import directions of the design: rooms know nothing of each other, scripts put them together."""

import ast
import os

import pytest
from conftest import ROOT

ROOMS = {"agents", "wrappers", "modification_factories", "experiment", "reporting"}
SCRIPTS = {"continual_training_example", "eval", "metrics", "report", "sweep"}


def imported_roots(path):
    """Top-level names of everything that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            names.add((node.module or "").split(".")[0])
    return names


def files_of(room):
    if room == "modification_factories":
        return [ROOT / "modification_factories.py", ROOT / "schedule_plot.py"]
    return sorted((ROOT / room).rglob("*.py"))


def test_rooms_import_neither_each_other_nor_a_script():
    for room in ROOMS:
        assert files_of(room)
        for path in files_of(room):
            wrong = imported_roots(path) & ((ROOMS | SCRIPTS) - {room})
            assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_schedules_need_numpy_only():
    import sys

    allowed = set(sys.stdlib_module_names) | {"numpy", "schedule_plot"}  # the latter only where a picture is asked for
    assert imported_roots(ROOT / "modification_factories.py") <= allowed
    assert imported_roots(ROOT / "schedule_plot.py") <= set(sys.stdlib_module_names) | {"numpy", "matplotlib"}


def test_what_workers_load_does_not_import_torch():
    for path in files_of("wrappers"):
        assert "torch" not in imported_roots(path)


@pytest.fixture(scope="module")
def shared():
    """Stands for a training run."""


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_tests_that_share_a_training_run_share_a_worker(shared, request):
    """Otherwise every worker makes the run for itself, and nobody sees why the tests take twice as long."""
    assert request.node.nodeid.endswith("@test_architecture shared")
