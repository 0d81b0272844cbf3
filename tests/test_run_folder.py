"""Run folder names: safe for any text, never used twice."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.run_folder import (
    create_run_folder,
    safe_name,
    saved_agents,
    slug,
    step_checkpoint,
    switch_checkpoint,
    write_args,
)

RUN = {"env_id": "ALE/Freeway-v5", "seed": 7, "exp_name": "tour", "architecture": "PPO"}
NASTY = [
    "../../etc",
    "..",
    ".",
    "",
    "/abs",
    "a/b\\c",
    "x" * 5000,
    "ä実験" * 200,
    "\ud800",
    "a\0b\n",
    "~root",
    "-rf",
    ".hidden",
]


def test_name_of_the_folder(tmp_path):
    assert create_run_folder(tmp_path, **RUN, now=1700000000.9).name == "ALE-Freeway-v5_s7__tour__PPO__1700000000"
    both = create_run_folder(tmp_path, **{**RUN, "architecture": "PPO_OBJ_shrink_perturb"}, now=5)
    assert both.name == "ALE-Freeway-v5_s7__tour__PPO_OBJ_shrink_perturb__5"


def test_saved_agents_are_in_the_order_of_the_training(tmp_path):
    in_order = [
        step_checkpoint(tmp_path, 96, "a"),
        switch_checkpoint(tmp_path, 2, 96, "a"),
        step_checkpoint(tmp_path, 128, ""),
        switch_checkpoint(tmp_path, 10, 1000, "a b"),
        step_checkpoint(tmp_path, 1024, "switch_1_step5_x"),
    ]
    others = ("model", "before_update_step7", "agent_step5x_a", "my_agent_step6_a")
    for path in (*in_order[::-1], *(tmp_path / f"{name}.cleanrl_model" for name in others)):
        path.touch()
    assert [saved.path for saved in saved_agents(tmp_path)] == in_order
    assert [(saved.global_step, saved.switch) for saved in saved_agents(tmp_path)][:2] == [(96, 0), (96, 2)]


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: create_run_folder(tmp_path / "runs", **RUN, now=5), range(16)))
    assert len(set(folders)) == 16
    base = "ALE-Freeway-v5_s7__tour__PPO__5"
    assert {folder.name for folder in folders} == {base, *(f"{base}-{number}" for number in range(2, 17))}


@pytest.mark.parametrize("text", NASTY)
def test_no_name_leaves_the_root_or_grows_too_long(tmp_path, text):
    root = tmp_path / "runs"
    folder = create_run_folder(root, env_id=text, seed=-1, exp_name=text, architecture=text)
    assert folder.parent == root
    assert list(root.iterdir()) == [folder]
    assert folder.resolve().parent == root.resolve()
    assert len(folder.name.encode()) <= 255
    assert not folder.name.startswith(".")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_root_that_cannot_hold_folders_is_one_sentence_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Not a directory"):
        create_run_folder(tmp_path / "file" / "runs", **RUN)
    with pytest.raises(ConfigError, match="choose a folder"):
        create_run_folder(tmp_path / "file", **RUN)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_parents_made_for_a_folder_that_fails_are_removed(tmp_path, monkeypatch):
    real_mkdir = Path.mkdir

    def full_disk(path, *arguments, **keywords):
        if "Freeway" in path.name:
            raise OSError(28, "No space left on device")
        real_mkdir(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "mkdir", full_disk)
    (tmp_path / "old").mkdir()
    with pytest.raises(ConfigError, match="No space left"):
        create_run_folder(tmp_path / "old" / "new" / "runs", **RUN)
    assert list(tmp_path.rglob("*")) == [tmp_path / "old"]


def test_unwritable_root_seen_from_the_shell():
    # Nobody can create a folder in /proc, not even root.
    code = (
        "import sys\n"
        "from continual_hackatari.training.config import ConfigError\n"
        "from continual_hackatari.training.run_folder import create_run_folder\n"
        f"try: create_run_folder('/proc/runs', **{RUN!r})\n"
        "except ConfigError as error: sys.exit(str(error))"
    )
    repository = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.stderr.count("\n") == 1
    assert "`/proc/runs`" in done.stderr


@pytest.mark.parametrize(
    ("modification", "expected"),
    [
        ("", "no_modif"),
        ("  \t", "no_modif"),
        ("all_green_cars", "all_green_cars"),
        (" all_green_cars   igloo-1 ", "all_green_cars+igloo-1"),
    ],
)
def test_slug_of_usual_strings(modification, expected):
    assert slug(modification) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("", "no_modif"),
        ("a b", "a+b"),
        ("a/b", "a-b"),
        ("a/b", "a\\b"),
        (".a", "-a"),
        ("x" * 300, "x" * 301),
        ("a b", "b a"),
        ("..", "-"),
    ],
)
def test_different_strings_have_different_slugs(one, other):
    assert slug(one) != slug(other)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(alphabet="ab+~-_./ \n\0ä", max_size=12) | st.text(max_size=100), min_size=2, max_size=6))
def test_slugs_are_file_names_and_differ_where_the_modifications_differ(texts):
    # The same words in another spacing are the same modification.
    by_slug: dict[str, str] = {}
    for text in texts:
        name = slug(text, 40)
        assert len(name.encode()) <= 40
        assert "/" not in name
        assert "\0" not in name
        assert not name.startswith(".")
        assert name.split() == [name], "no white space, never empty"
        words = " ".join(text.split())
        assert by_slug.setdefault(name, words) == words


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.integers(1, 50))
def test_safe_names_are_bounded_and_plain(text, limit):
    name = safe_name(text, limit)
    assert name == "unnamed" or len(name.encode()) <= limit
    assert name
    assert all(character.isalnum() or character in "._-" for character in name)
    assert not name.startswith(".")


def test_args_are_written_whole(tmp_path):
    args = {"env_id": "ALE/Pong-v5", "notes": "ä", "dims": [1, 2], "kl": None}
    path = write_args(tmp_path, args)
    assert path == tmp_path / "args.json"
    assert json.loads(path.read_text(encoding="utf-8")) == args
    with pytest.raises(TypeError):
        write_args(tmp_path, {"bad": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == args, "a failed write must not harm the old file"
    assert list(tmp_path.iterdir()) == [path]
