"""The resume file: what goes in comes out, damage anywhere is noticed, the one before stays for as long as needed."""

import errno
import json
import math
import os
import pickle
import random
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from continual_hackatari.training import resume
from continual_hackatari.training import run as runs
from continual_hackatari.training.checkpoints import CheckpointError
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.resume import (
    PASSED_OVER,
    PREVIOUS,
    RESUME,
    ResumeError,
    SaveClock,
    can_go_on,
    exclusive,
    forget_states,
    generator_states,
    load_state,
    put_aside_passed_over,
    read_sealed,
    remove_leftovers,
    save_state,
    set_generator_states,
    write_sealed,
)
from continual_hackatari.wrappers.video import GameRecorder

STATE = {
    "counters": {"global_step": 12, "name": "ü\0", "none": None, "yes": True, 3: -1.5, "inf": math.inf},
    "large": [2**63, -(2**4000), 2**63 - 1, -(2**63)],
    "bytes": (b"", bytes(range(256))),
    "arrays": [
        np.arange(6, dtype=np.uint16).reshape(2, 3),
        np.zeros((0, 4), np.bool_),
        np.array(3.5),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["é", "long"]),
    ],
    "scalars": (np.float32(0.1), np.uint64(2**64 - 1), np.bool_(True)),
    "tensor": torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "args.json").write_text("{}")
    return tmp_path


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second) and first.stride() == second.stride()
    if isinstance(first, (np.ndarray, np.generic)):
        return type(first) is type(second) and first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second


def damage(path):
    path.write_bytes(path.read_bytes()[:-1])


def test_what_goes_in_comes_out(folder):
    save_state(folder, STATE)
    state, notes = load_state(folder)
    assert same(state, STATE)
    assert notes == []
    assert not same({**STATE, "bytes": (b"", b"")}, state), "the comparison itself"
    state["arrays"][0][:] = 0  # arrays are writable


@pytest.mark.parametrize(
    "wrong", [object(), {1, 2}, np.array([object()]), np.zeros(1, "i4,f8"), {("a", 1): 2}, {"\0array": 1}]
)
def test_only_plain_data_goes_in(folder, wrong):
    with pytest.raises(CheckpointError, match=r"`state.part`"):
        save_state(folder, {"part": wrong})
    assert [path.name for path in folder.iterdir()] == ["args.json"]


def damaged_copies(content, positions, bits=range(8)):
    for position in positions:
        yield content[:position]
        for bit in bits:
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            yield bytes(changed)


def assert_noticed(folder, copies):
    for content in copies:
        (folder / RESUME).write_bytes(content)
        with pytest.raises(ResumeError, match="damaged or cut short"):
            load_state(folder)


def test_damage_anywhere_is_noticed(folder):
    save_state(folder, {"step": 1})
    content = (folder / RESUME).read_bytes()
    ends = [*range(40), *range(len(content) - 100, len(content))]
    assert_noticed(folder, damaged_copies(content, [*ends, *random.Random(0).sample(range(len(content)), 60)], (0, 7)))
    assert_noticed(folder, [content + b"\0", content * 2, b""])


@pytest.mark.slow
def test_damage_of_every_single_bit_is_noticed(folder):
    save_state(folder, {"step": 1})
    content = (folder / RESUME).read_bytes()
    assert_noticed(folder, damaged_copies(content, range(len(content))))


def test_a_damaged_file_gives_way_to_the_one_before(folder):
    for step in (1, 2, 3):
        save_state(folder, {"step": step})
    os.truncate(folder / RESUME, 100)
    state, (note,) = load_state(folder)
    assert state == {"step": 2}
    assert RESUME in note
    assert PREVIOUS in note

    (folder / RESUME).unlink()  # killed between the two renames
    state, (note,) = load_state(folder)
    assert state == {"step": 2}

    os.truncate(folder / PREVIOUS, 100)
    with pytest.raises(ResumeError, match=RESUME):
        load_state(folder)


@pytest.mark.parametrize("harm", [damage, Path.unlink], ids=["damaged", "missing"])
def test_a_state_whose_own_file_is_not_whole_gives_way_to_the_one_before(harm, folder):
    """The file may be another rank's."""
    for step in (1, 2):
        names = [f"replay_rank{rank}_step{step}.pt" for rank in (0, 1)]
        for name in names:
            write_sealed(folder / name, {"step": step})
        own, other = ({"files": {"replay": name}} for name in names)
        save_state(folder, {"counters": {"global_step": step}, **own, "other_ranks": [other]})
    assert load_state(folder)[1] == []
    harm(folder / "replay_rank1_step2.pt")
    state, (note,) = load_state(folder)
    assert state["counters"]["global_step"] == 1
    assert note.startswith(f"note: {RESUME} needs a file of its own: `{folder}/replay_rank1_step2.pt`")
    assert note.endswith(f"the run goes on from {PREVIOUS} instead")
    assert load_state(folder, files=False)[0]["counters"]["global_step"] == 2
    harm(folder / "replay_rank0_step1.pt")
    with pytest.raises(ResumeError, match=r"replay_rank1_step2.pt.* and .*replay_rank0_step1.pt"):
        load_state(folder)


def test_a_state_from_which_a_run_does_not_go_on_is_put_aside(folder):
    """Otherwise the next save would move it over the one that the run goes on from."""
    for step in (1, 2):
        save_state(folder, {"counters": {"global_step": step}})
    put_aside_passed_over(folder, 2)
    assert load_state(folder)[0]["counters"]["global_step"] == 2
    put_aside_passed_over(folder, 1)
    assert load_state(folder)[0]["counters"]["global_step"] == 1
    assert read_sealed(folder / PASSED_OVER)["counters"]["global_step"] == 2
    save_state(folder, {"counters": {"global_step": 3}})
    damage(folder / RESUME)
    put_aside_passed_over(folder, 1)
    put_aside_passed_over(folder, 1)
    assert not (folder / RESUME).exists()
    assert (folder / PREVIOUS).exists()
    forget_states(folder, keep_last=True)
    assert not (folder / PASSED_OVER).exists()


@pytest.mark.parametrize("name", [RESUME, "replay_step2.pt"])
def test_a_disk_that_refuses_a_file_once_costs_no_state(name, folder, monkeypatch):
    """It may be whole, and is the newest: the run does not go on from the one before it."""
    for step in (1, 2):
        write_sealed(folder / f"replay_step{step}.pt", {"step": step})
        save_state(folder, {"counters": {"global_step": step}, "files": {"replay": f"replay_step{step}.pt"}})

    def refuse(path, read_bytes=Path.read_bytes):
        if path.name == name:
            raise OSError(5, "Input/output error")
        return read_bytes(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(ResumeError, match=rf"{name}` cannot be read \(Input/output error\); try again"):
            load_state(folder)
        if name == RESUME:
            with pytest.raises(ResumeError, match="try again"):
                put_aside_passed_over(folder, 2)
    state, notes = load_state(folder)
    assert (state["counters"]["global_step"], notes) == (2, [])
    (folder / name).unlink()  # what the sentence says
    assert load_state(folder)[0]["counters"]["global_step"] == 1


def test_a_csv_file_that_has_lost_rows_is_not_continued(folder):
    """An older copy of it, or none: the state before may need no more than there is."""
    csv_file = folder / "episodes.csv"
    for step in (1, 2):
        csv_file.write_bytes(b"a row\n" * step)
        tracker = {"files": {csv_file.name: 6 * step, "events.out.tfevents.1": 1000}}
        save_state(folder, {"counters": {"global_step": step}, "tracker": tracker})
    assert load_state(folder)[1] == []
    csv_file.write_bytes(b"a row\na ro")
    state, (note,) = load_state(folder)
    assert state["counters"]["global_step"] == 1
    needed = f"{RESUME} needs the first 12 bytes of `{csv_file}`, which has 10 now: put the whole file back"
    assert note == f"note: {needed}; the run goes on from {PREVIOUS} instead"
    csv_file.unlink()
    with pytest.raises(ResumeError, match=r"which has 0 now: .*; this run cannot be continued"):
        load_state(folder)


def test_a_folder_without_state_says_what_it_lacks(tmp_path, folder):
    with pytest.raises(ResumeError, match="ended before its first save"):
        load_state(folder)
    (tmp_path / "empty").mkdir()
    for name, fault in (("nowhere", "does not exist"), ("empty", r"is not the folder of a run; it has no args\.json")):
        with pytest.raises(ResumeError, match=rf"{name}`, which {fault}; did you mean `{tmp_path}`\?"):
            load_state(tmp_path / name)


def test_another_format_is_said(folder, monkeypatch):
    monkeypatch.setattr(resume, "FORMAT", 2)
    save_state(folder, {"step": 1})
    monkeypatch.undo()
    with pytest.raises(ResumeError, match="has format 2"):
        load_state(folder)


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("payload",))


def test_a_sealed_pickle_with_code_is_refused_and_does_not_run(folder, monkeypatch):
    import hashlib
    import io

    monkeypatch.chdir(folder)
    zipped = io.BytesIO()
    torch.save({"format": 1, "state": Payload()}, zipped)
    for content in (zipped.getvalue(), pickle.dumps(Payload(), protocol=2)):
        (folder / RESUME).write_bytes(content + resume._SEAL + hashlib.sha256(content).digest())
        with pytest.raises(ResumeError, match="is not plain data"):
            load_state(folder)
    assert not (folder / "payload").exists()


def test_at_every_failing_write_one_whole_file_stays(folder, monkeypatch):
    """The disk refuses each operation in turn: what is loaded afterwards is always the newest whole state."""
    save_state(folder, {"step": 1})
    save_state(folder, {"step": 2})
    for name in ("fsync", "replace"):
        for number in (1, 2):
            real, calls = getattr(os, name), iter(range(1, 100))

            def refuse(*args, real=real, calls=calls, number=number):
                if next(calls) == number:
                    raise OSError(28, "No space left on device")
                return real(*args)

            monkeypatch.setattr(os, name, refuse)
            with pytest.raises(CheckpointError, match="No space left on device"):
                save_state(folder, {"step": 3})
            monkeypatch.undo()
            assert load_state(folder)[0] == {"step": 2}
            assert not list(folder.glob(".*.tmp"))
            save_state(folder, {"step": 2})


class Killed(BaseException):
    """The process ends here: from now on it touches no file."""


class Kill:
    """Stands for SIGKILL before an operation on the files of a folder, counted from 1: open, rename, remove."""

    folder, operations, at = "", 0, 0

    def __call__(self, event, args):
        if self.folder and event in ("open", "os.rename", "os.remove") and str(args[0]).startswith(self.folder):
            self.operations += 1
            if self.operations >= self.at > 0:
                raise Killed

    def before(self, folder, number, act):
        """Whether `act()` was killed before the operation with this number; False: there was none."""
        self.folder, self.operations, self.at = str(folder), 0, number
        try:
            act()
        except Killed:
            return True
        finally:
            self.folder = ""
        return False


@pytest.fixture(scope="module")
def kill():
    hook = Kill()
    sys.addaudithook(hook)  # sees every operation, however it is made; it cannot be taken away again
    return hook


BEFORE_A_SAVE = {
    "the first": ((), None),
    "the second": ((1,), None),
    "the third": ((1, 2), None),
    "the file is damaged": ((1, 2), RESUME),
    "the one before it is damaged": ((1, 2), PREVIOUS),
}


@pytest.mark.parametrize("before", BEFORE_A_SAVE)
def test_killed_at_any_moment_of_a_save_the_last_whole_state_is_loaded(before, tmp_path, kill):
    steps, damaged = BEFORE_A_SAVE[before]
    last = 1 if damaged == RESUME else max(steps, default=None)
    loaded = []
    for number in range(1, 100):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "args.json").write_text("{}")
        for step in steps:
            save_state(folder, {"step": step})
        if damaged:
            damage(folder / damaged)
        killed = kill.before(folder, number, lambda folder=folder: save_state(folder, {"step": 3}))
        state, notes = load_state(folder) if can_go_on(folder) else ({"step": None}, [])
        loaded.append(state["step"])
        assert len(notes) <= 1
        if not killed:
            break
        save_state(folder, {"step": 4})  # the next process goes on and saves
        assert load_state(folder)[0] == {"step": 4}
    assert loaded == sorted(loaded, key=[last, 3].index)
    assert set(loaded) == {last, 3}
    assert number > 4, "operations: the new file, the old one, two names, the folder"


@pytest.mark.parametrize("keep_last", [True, False])
def test_killed_at_any_moment_of_forgetting_a_state_is_left_or_none_is_meant_to_be(keep_last, folder, kill):
    for number in range(1, 100):
        for step in (1, 2):
            save_state(folder, {"step": step})
        killed = kill.before(folder, number, lambda: forget_states(folder, keep_last=keep_last))
        assert can_go_on(folder) == (killed or keep_last)
        if can_go_on(folder):
            assert load_state(folder) == ({"step": 2}, [])
        if not killed:
            break
    assert number == (3 if keep_last else 4)
    assert not (folder / PREVIOUS).exists()


def test_a_full_disk_does_not_speak_of_what_was_never_saved(folder, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CheckpointError, match=r"could not be written: No space left on device\.$"):
        save_state(folder, {"step": 1})


def test_saves_are_due_at_multiples_and_by_time(monkeypatch):
    clock = SaveClock(100, 250)
    assert [step for step in range(250, 520, 30) if clock.due(step) and clock.saved(step) is None] == [310, 400]
    never = SaveClock(0)
    assert not any(never.due(step) for step in range(10_000))
    now = [0.0]
    monkeypatch.setattr(resume.time, "perf_counter", lambda: now[0])
    by_time = SaveClock(None)
    now[0] = 299.9
    assert not by_time.due(10**9)
    now[0] = 300.0
    assert by_time.due(1)
    by_time.saved(1)
    assert not by_time.due(2)


def test_what_a_killed_run_was_just_writing_is_removed_and_nothing_else(folder, monkeypatch):
    """A file and a video that lack nothing but the rename that gives them their names."""
    (folder / "videos").mkdir()
    for name in ("resume.pt", "args.tmp", ".lock", "videos/step000_no_modif.mp4", "videos/.notes"):
        (folder / name).touch()
    kept = sorted(folder.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: None)
        with atomic_path(folder / "episodes.csv") as temporary:
            temporary.write_text("a row")
        recorder = GameRecorder()
        recorder.request(folder / "videos" / "step032_no_modif")
        recorder.game_started()
        recorder.add(np.zeros((210, 160, 3), np.uint8))
        recorder.game_ended(cut=False)
        recorder.close()
    left_behind = [path.relative_to(folder) for path in folder.rglob("*") if path not in kept]
    assert sorted(str(path.parent) for path in left_behind) == [".", "videos"]
    remove_leftovers(folder, 0)
    assert sorted(folder.rglob("*")) == kept


def test_agents_that_a_run_saves_again_are_removed_when_it_goes_on(folder):
    """At step 64 it had saved its own before the state, and a switch comes after that."""
    known = ["model", "agent_step32_no_modif", "agent_step64_no_modif", "switch_2_step32_b", "before_update_step96"]
    later = ["agent_step96_a", "switch_3_step64_a", "switch_10_step128_a+b", "agent_step640_no_modif"]
    for name in (*known, *later):
        (folder / f"{name}.cleanrl_model").touch()
    remove_leftovers(folder, 64)
    assert {path.stem for path in folder.glob("*.cleanrl_model")} == set(known)


def test_a_folder_is_held_by_one_process_only(folder):
    with exclusive(folder), pytest.raises(ResumeError, match="another process is running"), exclusive(folder):
        pass
    with exclusive(folder):
        pass
    assert json.loads((folder / "args.json").read_text()) == {}


def test_a_folder_that_cannot_be_locked_is_said(folder, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with exclusive(folder):
        assert "note: no lock could be had (No locks available): a second process" in capsys.readouterr().out


def test_a_file_system_whose_folders_cannot_be_flushed_is_no_fault(folder, monkeypatch):
    """The file itself is; a fault of the disk stays one."""

    def refuse(descriptor, fsync=os.fsync):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, "refused")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    for number in (errno.EINVAL, errno.ENOTSUP):
        save_state(folder, {"step": number})
        assert load_state(folder)[0] == {"step": number}
    number = errno.EIO
    with pytest.raises(CheckpointError, match="refused"):
        save_state(folder, {"step": 0})


def test_a_folder_that_stayed_empty_goes(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(KeyError), exclusive(empty):
        raise KeyError
    assert not empty.exists()


def test_what_is_too_large_for_the_state_has_a_sealed_file_of_its_own(tmp_path):
    path = tmp_path / "replay_step8.pt"
    state = {"frames": np.arange(6, dtype=np.uint8), "next": 3}
    write_sealed(path, state)
    read = read_sealed(path)
    assert read["next"] == 3
    assert np.array_equal(read["frames"], state["frames"])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ResumeError, match="damaged or cut short"):
        read_sealed(path)
    with pytest.raises(CheckpointError, match="could not be written"):
        write_sealed(tmp_path / "missing" / "x.pt", state)


def test_a_run_on_the_cpu_leaves_the_gpu_alone(monkeypatch):
    """To ask a GPU for its generator is to start there; other runs may have filled it. Earlier versions asked."""

    def touch(*_):
        raise AssertionError("the GPU was touched")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", touch)
    monkeypatch.setattr(torch.cuda, "set_rng_state", touch)
    own, cpu = {"actions": torch.Generator()}, torch.device("cpu")
    states = generator_states(own, cpu)
    numbers = torch.rand(3), torch.rand(3, generator=own["actions"])
    set_generator_states(own, {**states, "cuda": [torch.zeros(16, dtype=torch.uint8)]}, cpu)
    assert torch.equal(torch.stack(numbers), torch.stack((torch.rand(3), torch.rand(3, generator=own["actions"]))))


def test_the_time_that_a_run_was_stopped_does_not_count(monkeypatch, tmp_path):
    """Steps per second are those of all its time, so where it goes on it takes up the seconds that it had."""
    now = 1000.0
    monkeypatch.setattr(runs.time, "perf_counter", lambda: now)
    run = object.__new__(runs.Run)
    run.ranks, run.args = SimpleNamespace(is_main=True), SimpleNamespace(captures_video=False)
    run.envs = SimpleNamespace(set_state=lambda *_: None)
    run.folder, run._parts, run._generators, run._filed = tmp_path, {}, {}, {}
    run._start_time, run.device = now, torch.device("cpu")
    before = runs.Counters(64, 2, 32, "a", {"": 0, "a": 1}, 50.0, round_began=32)
    monkeypatch.setattr(runs, "set_generator_states", lambda *_: None)
    run._restore({"counters": before._asdict(), "envs": None, "generators": {}})
    assert run.counters == before
    now += 7
    assert run.counters == before._replace(seconds=57.0)
