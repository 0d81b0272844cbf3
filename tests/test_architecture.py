"""The import directions of the design: rooms know nothing of each other, scripts put them together."""

import ast
import graphlib
import itertools
import os
import sys

import pytest
from conftest import ROOT

import benchmarks
from continual_hackatari.names import UNMODIFIED
from continual_hackatari.reporting.rows import ARGS, EVENTS, FINAL, PREVIOUS, RESUME

PACKAGE = "continual_hackatari"
ROOMS = {"agents", "methods", "replay", "reporting", "schedules", "training", "wrappers"}
SCRIPTS = {
    "continual_clear",
    "continual_progress_compress",
    "continual_training_example",
    "eval",
    "metrics",
    "report",
    "sweep",
}


def imported_modules(path):
    """Full names of everything that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            names |= {str(node.args[0].value)} if called in ("import_module", "__import__") else set()
    return names


def imported_roots(path):
    """Top-level names of everything that a file imports."""
    return {name.split(".")[0] for name in imported_modules(path)}


def imported_parts(path):
    """Rooms and scripts of this project that a file imports."""
    return {name.split(".")[1] for name in imported_modules(path) if name.startswith(f"{PACKAGE}.")}


def files_of(room):
    return sorted((ROOT / room).rglob("*.py"))


def test_the_package_links_to_every_room_and_script():
    links = {path.name: path.resolve() for path in (ROOT / PACKAGE).iterdir() if path.is_symlink()}
    assert links == {name: ROOT / name for name in ROOMS | {f"{script}.py" for script in SCRIPTS}}


@pytest.mark.slow
def test_everything_imports_rooms_through_the_package():
    """A foreign `agents` would be taken otherwise, or a room be loaded twice."""
    own = [*ROOT.glob("*.py"), *(path for room in [*ROOMS, "benchmarks", "tests", PACKAGE] for path in files_of(room))]
    assert len(own) > 200
    for path in own:
        assert not imported_roots(path) & (ROOMS | SCRIPTS), path


ARROWS = {
    "methods": {"agents", "replay"},
    "training": {"agents", "methods", "replay", "reporting", "schedules", "wrappers"},
}
"""Which other rooms a room may import."""


def test_rooms_import_each_other_in_one_direction_and_no_script():
    for room in ROOMS:
        assert files_of(room)
        for path in files_of(room):
            wrong = imported_parts(path) & ((ROOMS | SCRIPTS) - {room} - ARROWS.get(room, set()))
            assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_scripts_import_no_script():
    for script in SCRIPTS | {"modification_factories"}:
        assert not imported_parts(ROOT / f"{script}.py") & SCRIPTS, script


MOST_SHARED = 10
"""Lines in a row that two scripts may have in common; more of them have one right answer, and belong in a room."""


def lines_of_algorithm(source):
    """The lines of a script without imports, comments (banners too), literals that describe, and settings."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        described = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        settings = isinstance(node, ast.ClassDef) and node.name == "Args"
        if isinstance(node, (ast.Import, ast.ImportFrom)) or described or settings:
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def shared_blocks(one, other, length=MOST_SHARED + 1):
    """Blocks of so many lines in a row that both have."""
    blocks = [{tuple(lines[i : i + length]) for i in range(len(lines) - length + 1)} for lines in (one, other)]
    return blocks[0] & blocks[1]


def test_scripts_share_no_long_block():
    lines = {script: lines_of_algorithm((ROOT / f"{script}.py").read_text()) for script in SCRIPTS}
    for one, other in itertools.combinations(sorted(SCRIPTS), 2):
        assert not shared_blocks(lines[one], lines[other]), f"{one} and {other}"


def test_a_shared_block_is_seen():
    block = "\n".join(f"x{i} = {i}" for i in range(MOST_SHARED + 1))
    once, twice = (
        lines_of_algorithm(text) for text in (f"import a\n{block}\n", f"y = 1\n# a comment\n{block}\nz = 2\n")
    )
    assert shared_blocks(once, twice)
    assert not shared_blocks(once[1:], twice)


def test_no_script_is_long():
    for script in SCRIPTS:
        assert len((ROOT / f"{script}.py").read_text().splitlines()) <= 650, script


def test_an_import_by_its_name_is_seen(tmp_path):
    (tmp_path / "room.py").write_text(f"import importlib\nimportlib.import_module('{PACKAGE}.eval')\n")
    assert imported_parts(tmp_path / "room.py") == {"eval"}


def module_of(path):
    """The full name under which a file of a room is imported."""
    parts = (PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_inside(room):
    """File -> files of the same room that it imports, all by their full names.

    A folder's `__init__` runs before its files, but they need nothing of it: only what is imported from it counts.
    """
    files = {module_of(path): path for path in files_of(room)}
    found = {}
    for module, path in files.items():
        names = imported_modules(path)
        found[module] = {name if name in files else name.rpartition(".")[0] for name in names} & set(files)
    return found


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_the_files_of_a_room_form_no_circle(room):
    assert any(imports_inside(room).values())
    graphlib.TopologicalSorter(imports_inside(room)).prepare()  # raises CycleError with the circle


def test_what_several_rooms_call_the_unmodified_game_is_spelt_once():
    """They may not import each other: games read the word, schedules too, and reports write it."""
    files = [path for room in (*ROOMS, PACKAGE) for path in files_of(room) if not path.is_symlink()]
    assert [path.name for path in files if f'"{UNMODIFIED}"' in path.read_text()] == ["names.py"]


def test_names_of_a_runs_files_are_spelt_once():
    """As whole words of the code; sentences and docstrings say them too."""
    names, files = (ARGS, FINAL, EVENTS, RESUME, PREVIOUS), [*ROOT.glob("*.py"), *files_of("benchmarks")]
    for path in [*files, *(path for room in ROOMS for path in files_of(room))]:
        words = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        spelt = {name for word in words if isinstance(word, str) for name in names if word.rpartition("/")[2] == name}
        assert spelt == ({*names} if path.name == "rows.py" else set()), path


@pytest.mark.parametrize(("module", "files"), [("ale_py", {"emulator.py"}), ("imageio_ffmpeg", {"video.py"})])
def test_what_one_file_alone_knows(module, files):
    assert {path.name for path in files_of("wrappers") if module in imported_roots(path)} == files


def test_schedules_and_replays_need_numpy_only():
    allowed = set(sys.stdlib_module_names) | {PACKAGE, "numpy"}
    for path in [*files_of("schedules"), *files_of("replay")]:  # a picture is loaded only where it is asked for
        assert imported_roots(path) <= allowed | ({"matplotlib"} if path.name == "plot.py" else set()), path


def test_what_workers_load_does_not_import_torch():
    for path in files_of("wrappers"):
        assert "torch" not in imported_roots(path)


def test_the_benchmarks_are_all_named():
    files = (ROOT / "benchmarks").glob("*.py")
    commands = {path.stem for path in files if '__name__ == "__main__"' in path.read_text()}
    table = benchmarks.__doc__.split("\n\n")[1]
    named = {word for line in table.splitlines() for word in line[20:].split()}  # after the column of what it is about
    assert commands == named


def test_the_modules_of_suites_results_use_only_those_before_them():
    order = ["records", "labels", "results", "tables", "page"]
    assert {path.stem for path in files_of("benchmarks/suites")} == {"__init__", *order}
    for place, name in enumerate(order):
        modules = imported_modules(ROOT / "benchmarks" / "suites" / f"{name}.py")
        used = {module.split(".")[2] for module in modules if module.startswith("benchmarks.suites.")}
        assert used <= set(order[:place]), name


@pytest.fixture(scope="module")
def shared():
    """Stands for a training run."""


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_tests_that_share_a_training_run_share_a_worker(shared, request):
    """Otherwise every worker makes the run for itself, and nobody sees why the tests take twice as long."""
    assert request.node.nodeid.endswith("@test_architecture shared")
