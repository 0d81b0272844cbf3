"""A replay in a run: its settings, and files to which a save adds only what is new."""

import copy
import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import NEEDS_OCATARI, ROOT
from pages import blocks, rows
from test_replay import FRAMES, Games, assert_same_blocks, replay_of

from benchmarks.replay import table
from continual_hackatari import continual_training_example as training
from continual_hackatari.training.checkpoints import CheckpointError
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.ranks import ALONE, Ranks
from continual_hackatari.training.replay import MOST_FILES, ReplayFile, ReplaySettings, check_replay, make_replay
from continual_hackatari.training.resume import ResumeError, files_of, load_state, save_state, sealed_content, sealing
from continual_hackatari.training.settings import RunSettings


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "args.json").write_text("{}")
    return tmp_path


class Life:
    """A replay that is filled and saved, as a run does it."""

    def __init__(self, folder, saved=None, **settings):
        self.folder, self.replay, self.games, self.step = folder, replay_of(**settings), Games(), 0
        self.file = ReplayFile(self.replay)
        self.kept = [[], []]
        """files of the last two states"""
        if saved is not None:
            self.file.load(folder / saved["files"]["replay"])
            self.games, self.step = copy.deepcopy(saved["games"]), saved["counters"]["global_step"]
            self.kept[1] = files_of(saved)

    def play(self, rounds=1):
        for _ in range(rounds):
            self.games.fill(self.replay, 10, tasks="ab"[self.step // 100 % 2], step=self.step)
            self.replay.sample(3)
            self.step += 20
        return self

    def save(self):
        name = f"replay_step{self.step}.pt"
        others = self.file.save(self.folder / name)
        state = {"counters": {"global_step": self.step}, "files": {"replay": name, **dict(enumerate(others))}}
        save_state(self.folder, state)
        self.kept = [self.kept[1], files_of(state)]
        for path in self.folder.glob("replay*_step*.pt"):
            if path.name not in self.kept[0] + self.kept[1]:
                path.unlink()
        return {**state, "games": copy.deepcopy(self.games)}


def content_bytes(replay):
    return sum(len(block.content) for block in replay)


def on_disk(folder):
    return {path.name: path.stat().st_size for path in folder.glob("replay_blocks*_step*.pt")}


@pytest.mark.parametrize("keep", ["reservoir", "fifo", "half"])
def test_one_that_goes_on_from_its_files_is_the_same(keep, folder):
    settings = {"keep": keep, "steps": 100}
    one = Life(folder, **settings)
    for _ in range(3):
        one.play(4).save()
    saved = one.save()
    two = Life(folder, saved, **settings)
    for each in (one, two):
        each.play(6)
    assert_same_blocks(one.replay.sample(10), two.replay.sample(10))
    assert [block.content for block in one.replay] == [block.content for block in two.replay]
    assert one.replay.num_bytes == two.replay.num_bytes
    one.save()
    sizes, one_state = on_disk(folder), one.replay.state_dict()
    two.save()
    assert on_disk(folder) == sizes, "and so is what it writes next"
    np.testing.assert_equal(two.replay.state_dict(), one_state)


def test_a_save_writes_only_new_blocks(folder):
    life = Life(folder)
    life.play(2).save()
    first = on_disk(folder)
    new = content_bytes(life.replay)
    life.play(1).save()
    (name,) = set(on_disk(folder)) - set(first)
    assert first.items() <= on_disk(folder).items()
    assert on_disk(folder)[name] == pytest.approx(content_bytes(life.replay) - new, abs=100)
    life.save()
    assert len(on_disk(folder)) == 2, "nothing new, no further file"


def test_what_has_left_does_not_fill_the_disk(folder):
    life = Life(folder, keep="reservoir", steps=200)
    for _ in range(30):
        life.play(2).save()
        assert sum(on_disk(folder).values()) < 4 * content_bytes(life.replay) + 3000
    assert len(life.kept[1]) <= 1 + MOST_FILES + 1
    assert content_bytes(life.replay) < sum(on_disk(folder).values())
    two = Life(folder, life.save(), keep="reservoir", steps=200)
    assert [block.content for block in two.replay] == [block.content for block in life.replay]


def test_a_file_of_which_most_has_left_is_named_no_more(folder):
    life = Life(folder, keep="reservoir", steps=200)
    life.play(10).save()
    first = set(on_disk(folder))
    whole = len(life.replay)
    life.play(60).save()
    assert 0 < sum(block.number < whole for block in life.replay) < whole / 2, "some of its blocks are still there"
    assert not first & set(life.kept[1])


def test_both_states_stay_readable(folder):
    life, states = Life(folder, steps=60), []
    for _ in range(5):
        states.append((life.play(3).save(), [block.content for block in life.replay]))
        for state, contents in states[-2:]:
            assert [block.content for block in Life(folder, state, steps=60).replay] == contents


@pytest.mark.parametrize("harm", ["damaged", "missing"])
@pytest.mark.parametrize("which", ["index", "blocks"])
def test_damage_gives_way_to_the_state_before(harm, which, folder):
    life = Life(folder)
    life.play(2).save()
    life.play(2).save()
    assert load_state(folder)[1] == []
    path = folder / f"replay{'_blocks1' if which == 'blocks' else ''}_step80.pt"
    if harm == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    state, (note,) = load_state(folder)
    assert state["counters"]["global_step"] == 40
    assert path.name in note
    two = Life(folder, {**state, "games": None})
    assert len(two.replay) == 8
    with pytest.raises(ResumeError, match=r"damaged|cannot be read"):
        Life(folder, {"files": {"replay": "replay_step80.pt"}, "counters": {"global_step": 80}, "games": None})


def test_a_sealed_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "a.pt"
    with sealing(path) as write:
        write(b"one")
        assert not path.exists()
        write(b"two")
    assert sealed_content(path) == b"onetwo"
    with pytest.raises(TypeError), sealing(path) as write:
        write(3)
    assert sealed_content(path) == b"onetwo"
    assert os.listdir(tmp_path) == ["a.pt"]
    with pytest.raises(CheckpointError, match=r"could not be written"), sealing(Path(tmp_path / "no" / "a.pt")):
        pass


# ------------------------------------------------------------------------------------------------------------ settings


@dataclass
class Args(ReplaySettings, RunSettings):
    """Settings of a script with a replay."""


def settings_of(**given):
    return Args(**{"num_envs": 8, "seed": 1, **given})


def envs_of(num_envs):
    arrays = SimpleNamespace(observations=np.zeros((num_envs, *FRAMES.shape), np.uint8))
    config = SimpleNamespace(num_goals=0)
    return SimpleNamespace(num_envs=num_envs, observation_shape=FRAMES.shape, arrays=arrays, config=config)


def test_too_little_room_is_one_sentence_with_the_arithmetic():
    fields = {"actions": (np.int64, ())}
    check_replay(settings_of(), ALONE, block_steps=20, fields=fields)
    with pytest.raises(ConfigError, match=r"100 steps.*8 games x 20 steps = 160 steps; give more `replay_steps`"):
        check_replay(settings_of(replay_steps=100), ALONE, block_steps=20, fields=fields)
    with pytest.raises(ConfigError, match=r"1.2 MB .*\(20 \+ 4 observations of 7,056 bytes .* = 1.4 MB"):
        check_replay(settings_of(replay_mb=1.2), ALONE, block_steps=20, fields=fields)
    ranks = Ranks(1, 4, 1, 4)
    check_replay(settings_of(replay_steps=160), ranks, block_steps=20, fields=fields)
    with pytest.raises(ConfigError, match=r"39 steps .* 2 games x 20 steps = 40 steps, 4 processes sharing"):
        check_replay(settings_of(replay_steps=159), ranks, block_steps=20, fields=fields)


@NEEDS_OCATARI
def test_the_room_is_that_of_all_objects():
    args = settings_of(env_id="ALE/Freeway-v5", obs_mode="obj", buffer_window_size=2, replay_mb=0.02)
    with pytest.raises(ConfigError, match=r"0.02 MB .*\(20 \+ 1 observations of \d{3} bytes"):
        check_replay(args, ALONE, block_steps=20, fields={})


def test_the_room_of_a_method_is_that_of_goal_planes_of_halves_and_of_what_is_said_of_each_step():
    words = ["--env_id", "ALE/Freeway-v5", "--num_envs", "2", "--num_steps", "32"]
    for flags, mb, size in ((["--her"], 0.56, "14,112"), (["--cloning.keep", "half"], 0.4, ""), ([], 0.284, "7,056")):
        with pytest.raises(ConfigError, match=rf"cloning: .*\(16 \+ 4 observations of {size}.*`cloning.mb`"):
            training.prepare([*words, "--methods", "cloning", "--cloning.mb", str(mb), *flags])


def test_each_process_has_its_own_games_its_share_of_the_room_and_its_own_randomness():
    args, made = settings_of(replay_steps=400, replay_keep="half", replay_at_switch="clear"), []
    for rank in range(2):
        ranks = SimpleNamespace(size=2, rank=rank, alone=False)
        made.append(make_replay(args, ranks, envs_of(4), block_steps=5, fields={}))
    one, two = made
    assert one.num_envs == two.num_envs == 4
    assert one.stride == 8
    assert one._room == two._room == (200, 250e6)
    vars(args).update(seed=2)
    other = make_replay(args, ranks, envs_of(4), block_steps=5, fields={})
    assert other._draws.bit_generator.state != two._draws.bit_generator.state
    games = Games(num_envs=4)
    for _ in range(20):
        played = games.play(10)
        for replay in made:
            replay.add(played.seen, {}, done=played.done, tasks="a", step=0)
    assert one.num_steps == two.num_steps == 200
    assert [block.number for block in one] != [block.number for block in two]
    assert [block.number for block in one][-20:] == list(range(140, 160)), "half are the newest"
    one.begin("b")
    assert one.num_steps == 0


def test_the_page_says_the_defaults_and_what_was_measured_and_its_example_works(capsys):
    text = (ROOT / "docs" / "replay.md").read_text()
    measured = json.loads((ROOT / "benchmarks" / "results" / "replay.json").read_text())["rows"]
    assert table(measured) in text
    assert all(costs["save_new"] + costs["save_index"] < 20 for costs in measured.values()), "under 1 % of 2 ms a step"
    for name, default, _ in rows(text):
        field = ReplaySettings.__dataclass_fields__[name.strip("`-")]
        assert default.strip("`") == str(field.default)
    (example,) = blocks("python", text)
    exec(example, {})
    shown = [line.rpartition("# ")[2] for line in example.splitlines() if line.startswith("print")]
    assert capsys.readouterr().out.splitlines() == shown
