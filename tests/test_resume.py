"""A run that was stopped goes on as if it had not been: killed anywhere, continued, compared with one that was not."""

import dataclasses
import json
import os
import random
import re
import shlex
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from conftest import mostly_slow, only_run, read_csv, write_config
from lives import Life
from processes import wait_until_gone
from siblings import CLEAR, EVERY, EVERY_BUT_SLOWLY, PPO, PPO_ALONE, PROGRESS_COMPRESS, Q_LEARNER
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from continual_hackatari import continual_training_example as training
from continual_hackatari.methods import all_methods
from continual_hackatari.reporting.groups import MADE_BY
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.config import ConfigError, as_plain_dict
from continual_hackatari.training.resume import PREVIOUS, RESUME, load_state
from continual_hackatari.training.run_folder import saved_agents
from continual_hackatari.training.settings import changeable
from continual_hackatari.training.setup import machine, what_is_not_exact
from continual_hackatari.training.signals import StopSignals

SWITCHING = {
    "env_id": "ALE/Freeway-v5",
    "modification_factory": "RandomModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 320,
        "modifications": ["all_black_cars", "stop_random_car", "align_all_cars"],
        "num_repetitions": 50,
    },
}
METHODS = {
    "PPO": ["--shrink_and_perturb", "--noise_scale", "0.001", "--save_agent_with_switch"],
    "PPO_CBP": PPO.method,
    "HER": ["--her", "--switch_mode", "live"],
    "Q_LEARNER": Q_LEARNER.method,
    "CLEAR": CLEAR.method,
    "PROGRESS_COMPRESS": PROGRESS_COMPRESS.method,
}
OTHER_SCRIPTS = {"Q_LEARNER": Q_LEARNER, "CLEAR": CLEAR, "PROGRESS_COMPRESS": PROGRESS_COMPRESS}
BUSY = {
    "continual_backprop": [
        *("--continual_backprop.replacement_rate", "0.02"),
        *("--continual_backprop.maturity_threshold", "2"),
    ],
    "a_gem": ["--a_gem.samples", "6"],
    "cloning": ["--cloning.samples", "6"],
    "ewc": ["--ewc.samples", "20"],
    "l2_init": ["--l2_init.strength", "0.01"],
    "online_ewc": ["--online_ewc.samples", "20"],
    "redo": ["--redo.every", "3", "--redo.threshold", "0.3"],
    "soft_shrink_perturb": ["--soft_shrink_perturb.factor", "0.999", "--soft_shrink_perturb.noise_scale", "0.01"],
}
TOGETHER = [
    ("layer_norm", "l2_init", "redo", "soft_shrink_perturb", "ewc", "cloning"),
    ("crelu", "online_ewc", "shrink_perturb", "a_gem"),
    ("continual_backprop", "from_scratch", "reset_optimizer"),
]
"""All methods, several in each run."""
TIMES = re.compile(r"time/.*|charts/SPS|switch/seconds")


def begin(folder, *flags, config=None, fault=None, every=32, sibling=PPO):
    folder.mkdir(exist_ok=True)
    config = write_config(folder, **{**SWITCHING, **(config or {})})
    flags = [*sibling.small, "--checkpoint_every", str(every), "--save_agent_every", "100", "--config", config, *flags]
    return Life(folder, *flags, fault=fault, sibling=sibling)


def go_on(folder, *flags, fault=None, sibling=PPO):
    run = str(only_run(folder).relative_to(folder))
    return Life(folder, "--resume", run, *flags, fault=fault, sibling=sibling)


def scalars(run):
    """Everything in TensorBoard that does not measure time: name -> [(step, value), ...]."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}, purge_orphaned_data=False).Reload()
    names = [name for name in events.Tags()["scalars"] if not TIMES.fullmatch(name)]
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def assert_same_run(run, other):
    names = [sorted(path.name for path in r.glob("*.cleanrl_model")) for r in (run, other)]
    assert names[0] == names[1]
    for agent in names[0]:
        first, second = (load_checkpoint(r / agent) for r in (run, other))
        assert first.global_step == second.global_step
        assert all(torch.equal(first.model_weights[name], second.model_weights[name]) for name in first.model_weights)
    assert (run / "episodes.csv").read_bytes() == (other / "episodes.csv").read_bytes()
    switches = [[{**row, "seconds": ""} for row in read_csv(r / "switches.csv")] for r in (run, other)]
    assert switches[0] == switches[1]
    assert scalars(run) == scalars(other)


@pytest.fixture(scope="module")
def uninterrupted(sibling, tmp_path_factory):
    """The run folder of a run that nobody disturbed; most tests compare with it."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert begin(folder, *sibling.method, every=0, sibling=sibling).end() == 0, said(folder)
    return only_run(folder)


def said(folder):
    output = folder / "output.txt"
    return output.read_text() if output.exists() else ""


def inode(path):
    try:
        return path.stat().st_ino
    except FileNotFoundError:  # between its two renames
        return None


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@EVERY_BUT_SLOWLY
def test_killed_in_a_switch_it_ends_as_if_nothing_had_happened(sibling, tmp_path, uninterrupted):
    fault = ("die_in_switch", "set_modifications", 3)
    assert begin(tmp_path, *sibling.method, fault=fault, sibling=sibling).end() == -signal.SIGKILL
    assert go_on(tmp_path, sibling=sibling).end() == 0, said(tmp_path)
    assert_same_run(only_run(tmp_path), uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sibling", "methods"),
    [pytest.param(PPO, names, id="+".join(names)) for names in TOGETHER]
    + [pytest.param(CLEAR, ("ewc", "cloning"), id="clear+ewc+cloning")],
)
def test_with_methods_killed_in_a_switch_it_ends_as_if_nothing_had_happened(sibling, methods, tmp_path):
    """What a method needs at a boundary it has kept, also where the run was killed between a save and the boundary."""
    assert sorted(name for names in TOGETHER for name in names) == sorted(all_methods()), "each in one of these runs"
    flags = ["--methods", *methods, *(word for name in methods for word in BUSY.get(name, []))]
    assert begin(tmp_path / "whole", *flags, every=0, sibling=sibling).end() == 0, said(tmp_path / "whole")
    cut, fault = tmp_path / "cut", ("die_in_switch", "set_modifications", 3)
    assert begin(cut, *flags, fault=fault, sibling=sibling).end() == -signal.SIGKILL
    assert go_on(cut, sibling=sibling).end() == 0, said(cut)
    assert_same_run(only_run(cut), only_run(tmp_path / "whole"))


@pytest.mark.slow
@EVERY
def test_killed_in_a_save_and_in_a_switch_it_ends_as_if_nothing_had_happened(sibling, tmp_path, uninterrupted):
    killed = -signal.SIGKILL
    assert (
        begin(tmp_path, *sibling.method, fault=("die_while_writing", sibling.files + 1), sibling=sibling).end()
        == killed
    )
    run = only_run(tmp_path)
    assert list(run.glob(".*.tmp")), "it was killed in the middle of a file"
    assert go_on(tmp_path, fault=("die_while_renaming", 6), sibling=sibling).end() == killed
    assert (run / PREVIOUS).exists()
    assert go_on(tmp_path, fault=("die_in_switch", "switch", 1), sibling=sibling).end() == killed
    assert go_on(tmp_path, fault=("die_in_switch", "set_modifications", 2), sibling=sibling).end() == killed
    assert go_on(tmp_path, sibling=sibling).end() == 0, said(tmp_path)
    assert not list(run.glob(".*.tmp"))
    assert_same_run(run, uninterrupted)
    assert [saved.global_step for saved in saved_agents(run)] == [128, 224, 320], "at the first border after each 100"


@pytest.mark.slow
@EVERY
def test_signals_save_first_and_say_how_to_go_on(sibling, tmp_path, uninterrupted):
    life = begin(tmp_path, *sibling.method, "--num_workers", "1", every=0, sibling=sibling)
    for number in (signal.SIGINT, signal.SIGTERM):
        life.wait_for(lambda: said(tmp_path).count("step ") + said(tmp_path).count("run folder") >= 1)
        workers = children(life.pid)
        life.kill(number)
        assert life.end() == 128 + number, said(tmp_path)
        wait_until_gone(workers)
        assert "Traceback" not in said(tmp_path)
        (command,) = re.findall(r"^resume:\s+(.*)$", said(tmp_path), re.M)
        (tmp_path / "output.txt").write_text("")
        words = shlex.split(command)
        assert (tmp_path / words[1]).resolve() == sibling.file
        life = Life(tmp_path, *words[2:], sibling=sibling)
    assert life.end() == 0, said(tmp_path)
    assert_same_run(only_run(tmp_path), uninterrupted)


@pytest.mark.slow
def test_a_second_signal_stops_at_once_and_the_last_whole_file_stays(tmp_path):
    """Both in the middle of the fourth update, which is 8 gradient steps."""
    assert begin(tmp_path, "--num_workers", "1", fault=("two_signals", 28)).end() == 128 + signal.SIGTERM
    assert "stopping" in said(tmp_path)
    assert "resume:" not in said(tmp_path), "it did not even finish its update"
    assert load_state(only_run(tmp_path))[0]["counters"]["global_step"] == 96


def worker_of(life):
    (worker,) = children(life.pid)
    return worker


@pytest.mark.slow
@EVERY
def test_a_worker_that_dies_is_named_and_costs_nothing(sibling, tmp_path, uninterrupted):
    life = begin(tmp_path, *sibling.method, "--num_workers", "1", sibling=sibling)
    life.wait_for(lambda: "run folder" in said(tmp_path) and (only_run(tmp_path) / PREVIOUS).exists())
    os.kill(worker_of(life), signal.SIGKILL)
    assert life.end() == 1
    assert re.search(r"^error: worker 0 \(environments 0, 1 of ALE/Freeway-v5\)", said(tmp_path), re.M)
    assert "resume:     python" in said(tmp_path)
    assert go_on(tmp_path, sibling=sibling).end() == 0
    assert_same_run(only_run(tmp_path), uninterrupted)


@pytest.mark.slow
@EVERY
def test_a_tensorboard_that_fails_is_said_once_and_training_goes_on(sibling, tmp_path, uninterrupted):
    assert begin(tmp_path, *sibling.method, fault=("tensorboard_fails", 30), sibling=sibling).end() == 0
    assert said(tmp_path).count("warning: TensorBoard failed") == 1
    run = only_run(tmp_path)
    assert (run / "episodes.csv").read_bytes() == (uninterrupted / "episodes.csv").read_bytes()
    ends = [load_checkpoint(r / "model.cleanrl_model").global_step for r in (run, uninterrupted)]
    assert ends[0] == ends[1] == 320


@pytest.fixture(scope="module")
def stopped(sibling, tmp_path_factory):
    """The run folder of the same run, killed in its second update."""
    folder = tmp_path_factory.mktemp("stopped")
    life = begin(folder, *sibling.method, fault=("two_signals", sibling.gradient_steps + 4), sibling=sibling)
    assert life.end() == 128 + signal.SIGTERM, said(folder)
    return only_run(folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 2, 3])
@EVERY
def test_killed_at_its_end_a_run_is_ended_or_finished(sibling, number, tmp_path, uninterrupted):
    """Before its model is there, with the model and both states, with the model and one of them."""
    life = begin(tmp_path, *sibling.method, every=0, fault=("die_at_the_end", number), sibling=sibling)
    assert life.end() == -signal.SIGKILL
    run = only_run(tmp_path)
    assert (run / RESUME).exists()
    assert (run / "model.cleanrl_model").exists() == (number > 0)
    assert (run / PREVIOUS).exists() == (number < 3)
    (tmp_path / "output.txt").write_text("")
    assert go_on(tmp_path, sibling=sibling).end() == 0, said(tmp_path)
    assert (said(tmp_path).count("is finished") == 1) == (number == 3)
    assert_same_run(run, uninterrupted)


@pytest.mark.slow
@EVERY
def test_a_run_can_go_on_from_its_first_moment(sibling, tmp_path, uninterrupted):
    """It is killed in its first update, and saves nothing between its start and its end."""
    assert (
        begin(tmp_path, *sibling.method, every=0, fault=("two_signals", 2), sibling=sibling).end()
        == 128 + signal.SIGTERM
    )
    assert load_state(only_run(tmp_path))[0]["counters"]["global_step"] == 0
    assert go_on(tmp_path, sibling=sibling).end() == 0
    assert_same_run(only_run(tmp_path), uninterrupted)


@pytest.mark.slow
def test_a_disk_that_is_full_ends_the_run_before_it_plays(tmp_path):
    assert begin(tmp_path, fault=("disk_full", 0)).end() == 1
    (line,) = re.findall(r"^error: .*$", said(tmp_path), re.M)
    assert re.fullmatch(r"error: `.*resume.pt` could not be written: No space left on device\.", line)
    assert "Traceback" not in said(tmp_path)
    assert "resume:" not in said(tmp_path)
    assert scalars(only_run(tmp_path)) == {}


def finished_copy(run, folder):
    """A copy of a run that is finished, and `folder` as the current folder."""
    shutil.copytree(run, folder / "runs" / run.name)
    return folder / "runs" / run.name


@pytest.mark.slow
@EVERY_BUT_SLOWLY
def test_a_finished_run_says_so_in_one_line(sibling, uninterrupted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = finished_copy(uninterrupted, tmp_path)
    assert not (run / RESUME).exists()
    assert not (run / PREVIOUS).exists()
    assert not list(run.glob("*_step*.pt"))
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(SystemExit) as ended:
        sibling.main(["--resume", str(run), "--num_workers", "1"])
    assert ended.value.code == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"the run in `{run}` is finished, after 320 steps (`--test_modifs` would evaluate its agent)"
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    with pytest.raises(SystemExit) as refused:
        sibling.main(["--resume", str(run), "--total_timesteps", "640"])
    assert refused.value.code == 2
    assert "`total_timesteps` cannot change" in capsys.readouterr().err


@pytest.mark.slow
@EVERY
def test_a_finished_run_does_what_was_asked_for_as_at_its_end(sibling, tmp_path, monkeypatch, capsys):
    """The same games, so the same table, as where the run itself was asked. This one can be made longer."""
    monkeypatch.chdir(tmp_path)
    tested = ["--test_modifs", "no_modif, all_black_cars", "--eval_episodes", "2"]
    flags = ["--env_id", "ALE/Freeway-v5", "--total_timesteps", "32", "--time_limit", "800"]
    flags += ["--no_anneal_lr"] if sibling is PPO else []
    sibling.main([*sibling.small, *flags, *tested])
    run, out = only_run(tmp_path), capsys.readouterr().out
    row = re.compile(r"(no_modif|all_black_cars) +2 .*")
    table = [line for line in out.splitlines() if row.match(line)]
    assert len(table) == 2, out
    assert (run / RESUME).exists()
    assert not (run / PREVIOUS).exists()
    for name in ("with its state", "without it"):
        sibling.main(["--resume", str(run), *tested])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"the run in `{run}` is finished, after 32 steps", name
        assert [line for line in lines if row.match(line)] == table
        with pytest.raises(SystemExit) as ended:
            sibling.main(["--resume", str(run)])  # what the run was asked for is not asked for again
        assert ended.value.code == 0
        assert len(capsys.readouterr().out.splitlines()) == 1
        (run / RESUME).unlink(missing_ok=True)
    evaluated = scalars(run)["eval/all_black_cars/mean"]
    assert [step for step, _ in evaluated] == [32] * 3
    assert len({value for _, value in evaluated}) == 1


@pytest.mark.slow
@EVERY
def test_a_tracked_run_goes_on_under_its_id(sibling, tmp_path):
    died = begin(tmp_path, "--track", fault=("track_offline", ("die_in_switch", "switch", 3)), sibling=sibling)
    assert died.end() == -signal.SIGKILL, said(tmp_path)
    assert go_on(tmp_path, fault=("track_offline",), sibling=sibling).end() == 0
    first, second = sorted(path.name for path in (tmp_path / "wandb").glob("offline-run-*"))
    identity = load_checkpoint(only_run(tmp_path) / "model.cleanrl_model").extra["wandb_run_id"]
    assert first.endswith(identity)
    assert second.endswith(identity)


@pytest.mark.slow
def test_a_run_that_is_alive_cannot_be_continued(tmp_path):
    life = begin(tmp_path)
    life.wait_for(lambda: "run folder" in said(tmp_path) and (only_run(tmp_path) / PREVIOUS).exists())
    life.kill(signal.SIGSTOP)
    before = {path.name: path.stat().st_mtime_ns for path in only_run(tmp_path).iterdir()}
    assert go_on(tmp_path).end() == 2
    assert re.search(r"^error: another process is running in `runs/.*`", said(tmp_path), re.M)
    assert {path.name: path.stat().st_mtime_ns for path in only_run(tmp_path).iterdir()} == before
    life.kill()
    life.end()


@pytest.mark.slow
@EVERY
def test_an_update_that_is_not_finite_is_not_kept(sibling, tmp_path, uninterrupted):
    """In the fifth update, the one after step 160, the third gradient step if there are so many."""
    step = min(3, sibling.gradient_steps)
    number, at = sibling.fifth_update or (4 * sibling.gradient_steps + step, 160)
    assert begin(tmp_path, *sibling.method, fault=("loss_becomes_nan", number), sibling=sibling).end() == 1
    run = only_run(tmp_path)
    where = rf"after step {at} .*{sibling.loss}.* gradient step {step} of {sibling.gradient_steps}"
    assert re.search(rf"^error: .*{where}", said(tmp_path), re.M), said(tmp_path)
    state, _ = load_state(run)
    assert state["counters"]["global_step"] == 128
    saved = load_checkpoint(run / f"before_update_step{at}.cleanrl_model")
    learned = saved.model_weights.keys() - {"epsilon"}  # which is set before each round
    assert all(torch.equal(saved.model_weights[name], state["agent"][name]) for name in learned)
    if sibling is PPO:  # PPO_CBP's checkpoints hold its optimizer
        assert saved.extra["optimizer"]["state"][0]["step"] == 32

    anomaly = go_on(tmp_path, "--detect_anomaly", fault=("loss_becomes_nan", 1), sibling=sibling)
    assert anomaly.end() == 1
    assert re.search(r"^error: .*the gradient in gradient step 1, Function '\w+' returned nan", said(tmp_path), re.M)
    (run / f"before_update_step{at}.cleanrl_model").unlink()
    assert go_on(tmp_path, "--no_detect_anomaly", sibling=sibling).end() == 0
    assert_same_run(run, uninterrupted)


@pytest.mark.slow
@EVERY
def test_a_full_disk_ends_the_run_and_costs_nothing(sibling, tmp_path, uninterrupted):
    assert begin(tmp_path, *sibling.method, fault=("disk_full", 3 * sibling.files), sibling=sibling).end() == 1
    (line,) = re.findall(r"^error: .*$", said(tmp_path), re.M)
    assert ".pt` could not be written: No space left on device" in line
    assert "Traceback" not in said(tmp_path)
    assert load_state(only_run(tmp_path))[0]["counters"]["global_step"] == 64
    assert go_on(tmp_path, sibling=sibling).end() == 0
    assert_same_run(only_run(tmp_path), uninterrupted)


@pytest.mark.slow
@PPO_ALONE
def test_a_clock_that_is_set_back_changes_nothing(sibling, tmp_path, uninterrupted):
    assert (
        begin(tmp_path, *sibling.method, fault=("die_in_switch", "switch", 3), sibling=sibling).end() == -signal.SIGKILL
    )
    assert go_on(tmp_path, fault=("clock_set_back",), sibling=sibling).end() == 0
    assert_same_run(only_run(tmp_path), uninterrupted)


@pytest.mark.slow
def test_a_run_without_an_end_of_its_own_can_be_made_longer(tmp_path):
    flags = ["--no_anneal_lr", "--modifs", "stop_random_car"]
    none = {"modification_factory": "", "modification_factory_kwargs": {}}
    for folder, steps in (("longer", 64), ("long", 128)):
        life = begin(tmp_path / folder, *flags, "--total_timesteps", str(steps), config=none)
        assert life.end() == 0, said(tmp_path / folder)
    assert go_on(tmp_path / "longer", "--total_timesteps", "32").end() == 2
    assert go_on(tmp_path / "longer", "--total_timesteps", "128").end() == 0
    assert_same_run(only_run(tmp_path / "longer"), only_run(tmp_path / "long"))


@pytest.mark.slow
@PPO_ALONE
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--seed", "7"], "`seed` cannot change in a run that goes on: it was 42 and is 7 now"),
        (["--config", "other.json"], "`config` cannot change"),
        (["--total_timesteps", "640"], "`total_timesteps` cannot change"),
        (["--encoder_dims", "8", "9"], "`encoder_dims` cannot change"),
        (["--no_anneal_lr"], "`anneal_lr` cannot change"),
        (["--eval_episodes", "0"], "`eval_episodes`"),
    ],
)
def test_flags_that_would_change_the_past_are_refused(sibling, flags, words, stopped):
    with pytest.raises(ConfigError, match=re.escape(words)):
        training.prepare(["--resume", str(stopped), *flags])


@pytest.mark.slow
@EVERY_BUT_SLOWLY
def test_flags_that_leave_the_past_alone_are_accepted_and_said(sibling, stopped, capsys):
    saved = {
        name: value for name, value in json.loads((stopped / "args.json").read_text()).items() if name not in MADE_BY
    }
    flags = ["--num_workers", "1", "--test_modifs", "no_modif", "--checkpoint_every", "64", "--seed", "42"]
    setup = sibling.prepare(["--resume", str(stopped), *flags])
    changes = {"num_workers": 1, "test_modifs": ["no_modif"], "checkpoint_every": 64, "resume": str(stopped)}
    assert as_plain_dict(setup.args) == {**saved, **changes}
    out = capsys.readouterr().out
    assert "--resume changes num_workers: 0 -> 1" in out
    assert "seed" not in out
    inexact = [line for line in out.splitlines() if "not bit for bit" in line]
    assert [line for line in inexact if "saved with commit" not in line] == [], "a commit may come between two tests"
    names = {field.name for field in dataclasses.fields(sibling.load().Args)}
    assert set(changeable(sibling.load().SCRIPT.rules)) < names


@pytest.mark.slow
@EVERY_BUT_SLOWLY
def test_what_is_not_exact_is_said(sibling, stopped, monkeypatch, capsys):
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    sibling.prepare(["--resume", str(stopped)])
    assert f"saved with threads {threads} and goes on with {threads + 1}" in capsys.readouterr().out


def test_another_machine_or_other_versions_are_said():
    """Not by a state of an earlier version, which has no such thing."""
    cpu = torch.device("cpu")
    now = machine(cpu)
    assert {"instructions", "numpy", "opencv", "ale-py", "continual-hackatari", "torch"} <= now.keys()
    assert what_is_not_exact({"machine": now}, cpu) == []
    earlier = {name: now[name] for name in ("device", "threads", "torch")}
    assert what_is_not_exact({"machine": earlier}, cpu) == []
    other = {**now, "instructions": "others", "numpy": "0.1", "GPU": "of another run"}
    notes = what_is_not_exact({"machine": other}, cpu)
    assert [note.split(" and ")[0] for note in notes] == [
        "note: the run was saved with instructions others",
        "note: the run was saved with numpy 0.1",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("fast", mostly_slow([True, False], 2))
def test_the_precision_that_auto_chose_is_kept_on_another_machine(fast, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("continual_hackatari.agents.acceleration._fast_bfloat16", lambda device: (fast, "a machine"))
    flags = ["--total_timesteps", "32", "--amp", "auto", "--checkpoint_every", "0", "--no_anneal_lr"]
    training.main([*PPO.small, "--env_id", "ALE/Freeway-v5", *flags])
    monkeypatch.setattr("continual_hackatari.agents.acceleration._fast_bfloat16", lambda device: (not fast, "another"))
    for flags in ([], ["--amp", "auto"]):
        setup = training.prepare(["--resume", str(only_run(tmp_path)), "--total_timesteps", "64", *flags])
        assert setup.precision == (torch.bfloat16 if fast else torch.float32)
        assert setup.args.amp == ("bf16" if fast else "off")


def test_a_config_file_cannot_say_what_to_resume(tmp_path):
    with pytest.raises(ConfigError, match="`resume` cannot stand"):
        training.prepare(["--config", write_config(tmp_path, resume="runs/x")])


@pytest.mark.parametrize("words", [["--resume", ""], ["--resume="], ["--start_from", ""], ["--runs_dir", ""]])
def test_a_variable_that_is_empty_begins_no_other_run(words):
    with pytest.raises(ConfigError, match=r"is given and empty; give it .*, or leave it out"):
        training.prepare(words)


def test_nor_does_a_config_file_with_an_empty_folder(tmp_path):
    with pytest.raises(ConfigError, match="`runs_dir` is given and empty; give it a folder, or leave it out"):
        training.prepare(["--config", write_config(tmp_path, runs_dir="")])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_ignored_signal_stays_ignored(number, monkeypatch):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), number)
            assert not stop.requested
    finally:
        signal.signal(number, before)


def test_the_first_signal_asks_and_what_came_before_is_restored():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        with pytest.raises(SystemExit) as stopped:
            stop.at_once()
        assert stopped.value.code == 143
    with StopSignals() as stop:
        stop.at_once()
        with pytest.raises(SystemExit):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_is_obeyed_where_nobody_can_be_told(monkeypatch):
    def refuse(*_):
        raise OSError(5, "Input/output error")

    with StopSignals() as stop:
        monkeypatch.setattr(os, "write", refuse)
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.undo()
        assert stop.requested


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_killed_at_random_points_it_ends_as_if_nothing_had_happened(method, tmp_path):
    generator, sibling = random.Random(method), OTHER_SCRIPTS.get(method, PPO)
    length = {"modification_factory_kwargs": {**SWITCHING["modification_factory_kwargs"], "num_total_steps": 1600}}
    flags = [*METHODS[method], "--num_workers", "2", "--capture_video"]
    assert begin(tmp_path / "uninterrupted", *METHODS[method], config=length, every=0, sibling=sibling).end() == 0

    folder, kills, saved_steps = tmp_path / "killed", 0, set()
    life = begin(folder, *flags, config=length, sibling=sibling)
    life.wait_for(lambda: "run folder" in said(folder) and (only_run(folder) / RESUME).exists())
    while kills < 12:
        for _ in range(generator.choice((0, 1, 2))):  # so that it gets somewhere, however slow the machine is
            last = inode(only_run(folder) / RESUME)
            life.wait_for(lambda last=last: inode(only_run(folder) / RESUME) not in (None, last))
        time.sleep(generator.uniform(0, 0.5))
        if not life.running:
            break
        workers = children(life.pid)
        life.kill()
        assert life.end() == -signal.SIGKILL
        wait_until_gone(workers)
        kills += 1
        saved_steps.add(load_state(only_run(folder))[0]["counters"]["global_step"])
        (folder / "output.txt").write_text("")
        life = go_on(folder, sibling=sibling)
        life.wait_for(lambda: "run folder" in said(folder))
    assert life.end() == 0, said(folder)
    assert kills >= 10
    assert len(saved_steps) >= 5, "it was killed in different places"
    assert_same_run(only_run(folder), only_run(tmp_path / "uninterrupted"))


@pytest.mark.long
@pytest.mark.parametrize("sibling", ["ppo", "clear", "progress_compress"], indirect=True)
def test_whole_trainings_are_equal_and_three_kills_change_nothing(sibling, tmp_path):
    """20,000 steps of eight games of Breakout with the script's own settings; the other tests' runs are small."""
    schedule = {"modifications": ["", "gravity"], "num_total_steps": 20_000, "switching_thresholds": [10_000]}
    config = {"modification_factory": "SequentialModificationFactory", "modification_factory_kwargs": schedule}
    flags = ["--num_envs", "8", "--checkpoint_every", "2000", "--no-cuda"]
    generator = random.Random(sibling.name)

    def begin_in(folder):
        folder.mkdir()
        file = write_config(folder, env_id="ALE/Breakout-v5", **config)
        return Life(folder, "--config", file, *flags, sibling=sibling)

    lives = {name: begin_in(tmp_path / name) for name in ("first", "second", "killed")}
    folder = tmp_path / "killed"
    lives["killed"].wait_for(lambda: "run folder" in said(folder) and (only_run(folder) / RESUME).exists())
    saved_steps = []
    for saves in (2, 3, 3):  # before the switch, about there, and after it
        for _ in range(saves):
            last = inode(only_run(folder) / RESUME)
            lives["killed"].wait_for(lambda last=last: inode(only_run(folder) / RESUME) not in (None, last))
        time.sleep(generator.uniform(0, 1))
        lives["killed"].kill()
        assert lives["killed"].end() == -signal.SIGKILL, said(folder)
        saved_steps.append(load_state(only_run(folder))[0]["counters"]["global_step"])
        (folder / "output.txt").write_text("")
        lives["killed"] = go_on(folder, sibling=sibling)
        lives["killed"].wait_for(lambda: "run folder" in said(folder))
    assert saved_steps[0] < 10_000 < saved_steps[-1], saved_steps
    for name, life in lives.items():
        assert life.end() == 0, said(tmp_path / name)
    first, second, killed = (only_run(tmp_path / name) for name in lives)
    assert len(read_csv(first / "switches.csv")) == 1
    assert_same_run(second, first)
    assert_same_run(killed, first)


@pytest.mark.slow
@pytest.mark.parametrize("sibling", ["q_learner"], indirect=True)
@pytest.mark.parametrize("words", ["damaged or cut short", "cannot be read"], ids=["damaged", "missing"])
def test_a_replay_that_is_missing_or_damaged_gives_way_to_the_one_before(
    words, sibling, tmp_path, stopped, uninterrupted
):
    """Also where the run is killed again, in its next save: until that is whole, the one before stays."""
    run = Path(shutil.copytree(stopped, tmp_path / "runs" / stopped.name))
    before, last = (run / f"replay_step{step}.pt" for step in (0, 32))
    if words == "cannot be read":
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[:-1])
    renames = ("the state that was passed over", "args.json", "the replay", "the state")
    assert go_on(tmp_path, fault=("die_while_renaming", len(renames)), sibling=sibling).end() == -signal.SIGKILL
    (note,) = re.findall(r"^note: .*$", said(tmp_path), re.M)
    assert re.search(rf"{RESUME} needs .*{last.name}` {words if words[0] == 'c' else 'is ' + words}.*{PREVIOUS}", note)
    assert not (run / RESUME).exists()
    assert before.exists()
    assert go_on(tmp_path, sibling=sibling).end() == 0, said(tmp_path)
    assert_same_run(run, uninterrupted)
    assert not list(run.glob("replay_*"))


@pytest.mark.slow
@pytest.mark.parametrize("sibling", ["q_learner"], indirect=True)
def test_a_run_without_any_replay_is_one_sentence(sibling, tmp_path, stopped):
    run = Path(shutil.copytree(stopped, tmp_path / "runs" / stopped.name))
    for replay in run.glob("replay_*"):
        replay.unlink()
    assert go_on(tmp_path, sibling=sibling).end() == 2
    (line,) = re.findall(r"^error: .*$", said(tmp_path), re.M)
    assert "replay_step32.pt" in line
    assert "replay_step0.pt" in line
    assert line.endswith("this run cannot be continued.")
    assert "Traceback" not in said(tmp_path)
