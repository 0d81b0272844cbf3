"""Several processes train one agent: what they compute is what one process would, and no end of one loses the run."""

import os
import re
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import rank_math
import torch
from conftest import only_run, read_csv, write_config
from jobs import HERE, Job, end, free_port, notes_of, start_ranks
from processes import descendants, wait_until_gone
from siblings import EVERY, PPO, PPO_ALONE
from test_resume import assert_same_run

from continual_hackatari import continual_clear
from continual_hackatari import continual_training_example as training
from continual_hackatari.training import setup
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.ranks import Ranks
from continual_hackatari.training.replay import numbers_of
from continual_hackatari.training.resume import ResumeError, load_state
from continual_hackatari.training.run_folder import folder_of_job, forget_job, write_job
from continual_hackatari.training.signals import StopSignals
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.vector import ModifiedVectorEnv


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What two processes computed, by rank."""
    folder = tmp_path_factory.mktemp("math")
    codes = end(start_ranks([HERE / "rank_math.py", folder], folder))
    assert codes == [0, 0], (folder / "rank0.txt").read_text() + (folder / "rank1.txt").read_text()
    ranks = [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in (0, 1)]
    return [{**rank, "folder": folder} for rank in ranks]


@pytest.mark.slow
@pytest.mark.parametrize("method", rank_math.METHODS)
def test_the_same_batch_gives_the_same_update(method, together):
    alone = rank_math.update(method, Ranks())
    first, second = (rank[method] for rank in together)
    for name, weights in alone["agent"].items():
        assert torch.equal(first["agent"][name], second["agent"][name]), "bit for bit on all ranks"
        # Adam makes full steps out of last bits where a gradient is near zero. Where the ranks normalise their
        # advantages by themselves, the distance is half of the way for the actor's weights.
        assert (first["agent"][name] - weights).norm() < 0.1 * (weights - alone["start"][name]).norm(), name
    assert torch.equal(first["losses"], second["losses"])
    assert ((first["losses"] - alone["losses"]).abs() < 0.02 * alone["losses"].abs().mean(0)).all()
    if method == "PPO_CBP":
        assert torch.equal(first["utility"], second["utility"])
        assert torch.equal(first["ages"], alone["ages"]), "the same units were replaced at the same time"
        assert int((alone["ages"] < rank_math.UPDATES).sum()) > 10
        assert first["dormant"] == second["dormant"] == alone["dormant"]
    if method == "redo":
        assert first["numbers"] == second["numbers"] == alone["numbers"]
        assert sum(number for name, number in alone["numbers"].items() if "/recycled/" in name) > 90
    if method in ("ewc", "online_ewc"):
        assert first["numbers"] == second["numbers"]
        assert first["numbers"][f"methods/{method}/tasks"] == 1
        mine, its, whole = (information_of(method, found["large"]) for found in (first, second, alone))
        assert torch.equal(mine, its), "the mean over the rows of both"
        assert (mine - whole).norm() < 0.05 * whole.norm()


def information_of(method, large):
    """The Fisher information that a method remembers, as one tensor."""
    state = large[method]
    information = state["tasks"][0][1] if method == "ewc" else state["information"]
    return torch.cat([each.flatten() for each in information.values()])


@pytest.mark.slow
def test_reward_statistics_are_those_of_one_process(together):
    alone = rank_math.scaled_rewards(Ranks())
    first, second = (rank["rewards"] for rank in together)
    assert first["state"] == second["state"] == alone["state"]
    halves = [part["scaled"].reshape(2, rank_math.STEPS, 2, -1) for part in (first, second, alone)]
    assert torch.equal(torch.cat(halves[:2], -1), halves[2])


@pytest.mark.slow
def test_messages(together):
    main, other = (rank["talk"] for rank in together)
    assert main.pop("gather") == ["item 0 of rank 0", "item 0 of rank 1", "item 1 of rank 1"]
    assert other.pop("gather") == []
    assert (main.pop("own").tolist(), other.pop("own").tolist()) == ([0, 1], [2, 3])
    assert (main.pop("main_first"), other.pop("main_first")) == (0, 1)
    assert (main.pop("silent"), other.pop("silent")) == (False, True)
    for heard in (main, other):
        assert heard["any"] == [True, False, True]
        assert heard["join"].tolist() == [[0, 10], [1, 10]]
        assert heard["bools"].tolist() == [True, False, True, True]
        assert heard["games"].tolist() == [[0, 5, 1, 5], [7, 0, 7, 1]]
        assert heard["mean"].tolist() == [0.5, 3]
        assert heard["from_main"] == {"rank": 0, "pi": 3.14}
        assert "raised" not in heard


@pytest.mark.slow
def test_evaluations_are_shared_and_a_stop_of_one_is_for_all(together, tmp_path, monkeypatch):
    monkeypatch.setattr("continual_hackatari.training.evaluations.SECONDS_WITHOUT_A_WORD", 1.0)  # put back afterwards
    alone = rank_math.evaluate(Ranks(), tmp_path / "run")
    assert alone["jobs"] == 6
    assert len(read_csv(tmp_path / "run" / "evals.csv")) == 6
    assert (together[0]["folder"] / "run" / "evals.csv").read_bytes() == (tmp_path / "run" / "evals.csv").read_bytes()
    first, second = (rank["evaluated"] for rank in together)
    assert first == second
    assert first["done"] == alone["done"] == (False, True)
    assert 6 < first["words"] < 0.8 * alone["words"], "they talk in the middle of games, and each plays a part"


# ----------------------------------------------------------------------------------------------------------- whole runs

SMALL = ["--num_envs", "4", "--num_steps", "8", "--checkpoint_every", "32"]
METHOD = [*PPO.method, "--num_minibatches", "2", "--shrink_and_perturb"]
COMMON = ("step", "switches", "modification", "parts", "replaced", "remembered")


def flags_for(folder, *flags, steps=320, sibling=PPO, **settings):
    folder.mkdir(exist_ok=True)
    config = {
        "env_id": "ALE/Freeway-v5",
        "modification_factory": "RandomModificationFactory",
        "modification_factory_kwargs": {
            "num_total_steps": steps,
            "modifications": ["all_black_cars", "stop_random_car", "align_all_cars"],
            "num_repetitions": 50,
        },
    }
    method = METHOD if sibling is PPO else sibling.method
    return ["--config", write_config(folder, **{**config, **settings}), *sibling.small, *SMALL, *(flags or method)]


def start_both(folder, fault, *flags, sibling=PPO):
    return start_ranks([HERE / "rank_job.py", sibling.name, folder, fault, *flags], folder)


@pytest.fixture(scope="module")
def uninterrupted(sibling, tmp_path_factory):
    """Folder of a job of two processes that nobody disturbed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    codes = end(start_both(folder, "keep_states:0:0", *flags_for(folder, sibling=sibling), sibling=sibling))
    assert codes == [0, 0], (folder / "rank0.txt").read_text() + (folder / "rank1.txt").read_text()
    return folder


def assert_ranks_agree(folder, saves):
    first, second = (notes_of(folder, rank) for rank in (0, 1))
    assert len(first) == len(second) >= saves
    for one, other in zip(first, second, strict=True):
        assert [one[name] for name in COMMON] == [other[name] for name in COMMON]
        assert one["actions"] != other["actions"]


@pytest.mark.slow
@EVERY
def test_all_ranks_have_the_same_agent_and_one_of_them_writes(sibling, uninterrupted):
    assert_ranks_agree(uninterrupted, saves=10)
    last = notes_of(uninterrupted, 0)[-1]
    assert last["switches"] >= 4
    if sibling is PPO:
        assert last["replaced"] > 10
        ratios = [note["log_ratio"] for note in notes_of(uninterrupted, 0)]
        assert max(ratios) < 1e-5, "switches shrink the weights in mid-rollout, yet every update starts at its rows"
    assert (uninterrupted / "rank1.txt").read_text() == "", "the others say nothing"
    assert (uninterrupted / "rank0.txt").read_text().count("precision: float32") == 1
    run = only_run(uninterrupted)
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    rows = read_csv(run / "episodes.csv")
    assert [int(row["env"]) for row in rows] == [0, 1, 2, 3] * (len(rows) // 4), "games of all ranks, in order"
    assert len(rows) == 4 * (last["switches"] + 1)


LOOKING = {
    "redo+ewc": ["--methods", "redo", "ewc", "--redo.every", "3", "--redo.threshold", "0.3", "--ewc.samples", "20"],
    "online_ewc": ["--methods", "online_ewc", "--online_ewc.samples", "20"],
}
"""Methods that look at rows, of which each rank has its own."""


@pytest.mark.slow
@pytest.mark.parametrize("names", LOOKING)
def test_methods_remember_the_same_on_all_ranks_from_rows_of_their_own(names, tmp_path):
    """And a rank that is killed between a save and a switch finds its own rows again."""
    flags = [*LOOKING[names], "--num_minibatches", "2"]
    codes = end(start_both(tmp_path / "whole", "keep_states:0:0", *flags_for(tmp_path / "whole", *flags)))
    assert codes == [0, 0], (tmp_path / "whole" / "rank0.txt").read_text()
    assert_ranks_agree(tmp_path / "whole", saves=10)
    first, second = (notes_of(tmp_path / "whole", rank) for rank in (0, 1))
    assert first[0]["remembered"] != first[-1]["remembered"]
    assert all(one["rows"] != other["rows"] for one, other in zip(first[1:], second[1:], strict=True))
    if names == "redo+ewc":  # rounds of 32 steps, all saved, in which each group of a rank's games steps 8 times
        restart = ("--nproc_per_node=2", "--max-restarts=1")
        cut = tmp_path / "cut"
        job = Job(cut, *flags_for(cut, *flags), torchrun=restart, fault="die_in_rollout:1:20")
        assert job.end() == 0, job.said
        assert job.said.count("torchrun has started the job anew") == 1
        assert_same_run(only_run(cut), only_run(tmp_path / "whole"))


@pytest.mark.slow
@EVERY
def test_the_schedule_is_that_of_one_process(sibling, uninterrupted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sibling.main(flags_for(tmp_path, sibling=sibling))
    runs = [only_run(folder) for folder in (uninterrupted, tmp_path)]
    switches = [[{**row, "seconds": ""} for row in read_csv(run / "switches.csv")] for run in runs]
    assert switches[0] == switches[1]
    assert (runs[0] / "episodes.csv").read_bytes() == (runs[1] / "episodes.csv").read_bytes(), "Freeway: all cut"


@pytest.mark.slow
def test_environments_play_the_same_games_in_every_division():
    config, _ = game_config("ALE/Breakout-v5", seed=3)
    names = ["right_drift", "color_all_blocks_red"]
    whole = ModifiedVectorEnv(config, 4, num_workers=0)
    parts = [
        ModifiedVectorEnv(config, 2, first_env=first, total_envs=4, num_workers=workers)
        for first, workers in ((0, 0), (2, 2))
    ]
    actions = np.random.default_rng(0).integers(4, size=(300, 4))
    records, seen = [[], []], []
    for played, environments in enumerate(([whole], parts)):
        frames = []
        for step, action in enumerate(actions):
            if step % 200 == 0:
                for env in environments:
                    env.set_modifications(names[step // 200], "reset")
            results = [
                env.step(part) for env, part in zip(environments, np.split(action, len(environments)), strict=True)
            ]
            frames.append(np.concatenate([result[0] for result in results]))
            records[played] += sorted([game for result in results for game in result[4].get("games", [])])
        seen.append(np.stack(frames))
        records[played] += [game for env in environments for game in env.cut_games()]
    assert np.array_equal(*seen)
    assert records[0] == records[1]
    assert [record.env for record in records[0][-4:]] == [0, 1, 2, 3]
    assert len(records[0]) > 4

    state = parts[1].get_state()
    with pytest.raises(ValueError, match="`first_env` is 2, the present one is 0"):
        parts[0].set_state(state)
    for env in (whole, *parts):
        env.close()


@pytest.mark.slow
@EVERY
def test_a_killed_rank_costs_nothing_when_torchrun_starts_the_job_anew(sibling, uninterrupted, tmp_path):
    """Killed in its sixth update; the restarted job finds the run by itself and ends as if nothing had happened."""
    steps = {"ppo": 22, "q_learner": 42, "clear": 6, "progress_compress": 9}
    torchrun, fault = ("--nproc_per_node=2", "--max-restarts=1"), f"die_in_update:1:{steps[sibling.name]}"
    job = Job(tmp_path, *flags_for(tmp_path, sibling=sibling), torchrun=torchrun, fault=fault, sibling=sibling)
    assert job.end() == 0, job.said
    assert job.said.count("torchrun has started the job anew: it goes on in runs/") == 1
    assert_ranks_agree(tmp_path, saves=10)
    assert len({note["pid"] for note in notes_of(tmp_path, 0)}) == 2, "two lives"
    assert_same_run(only_run(tmp_path), only_run(uninterrupted))


@pytest.mark.slow
@EVERY
def test_a_signal_to_torchrun_stops_all_ranks_after_the_same_update(sibling, uninterrupted, tmp_path):
    job = Job(tmp_path, *flags_for(tmp_path, sibling=sibling), "--checkpoint_every", "0", sibling=sibling)
    job.wait_for(lambda: "run folder" in job.said)
    processes = descendants(job.process.pid)
    job.process.send_signal(signal.SIGTERM)
    assert job.end() != 0
    wait_until_gone(processes)
    assert "Traceback" not in job.said.split("torch/distributed")[0], job.said
    assert job.said.count("stopping: this update is finished and saved first") == 1
    commands = re.findall(r"^resume: +torchrun --nproc_per_node=2 (.*)$", job.said, re.M)
    assert len(commands) == 1, job.said
    run = only_run(tmp_path)
    assert len(load_state(run)[0]["other_ranks"]) == 1
    own = {path.name.partition("_step")[0] for path in run.glob("*_rank[01]_step*.pt")}
    assert len(own) == (2 if sibling.files > 1 else 0), "each rank has its own files"
    job = Job(tmp_path, *commands[0].split()[1:], name="again.txt", sibling=sibling)
    assert job.end() == 0, job.said
    assert_ranks_agree(tmp_path, saves=2)
    assert_same_run(run, only_run(uninterrupted))


@pytest.mark.slow
def test_what_cannot_be_shared_is_said_once_before_anything_starts(tmp_path):
    flags = ["--num_envs", "3", "--no-cuda"]
    assert end(start_both(tmp_path, "-", *flags)) == [2, 2]
    said = [(tmp_path / f"rank{rank}.txt").read_text() for rank in (0, 1)]
    assert "error: `num_envs` 3 games cannot be shared equally among the 2 processes of torchrun" in said[0]
    assert said[1] == ""
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_weights_that_differ_end_the_run(tmp_path):
    """A rank whose arithmetic goes its own way, from the sixth gradient step on."""
    codes = end(start_both(tmp_path, "differ:1:6", *flags_for(tmp_path)))
    assert codes == [1, 1]
    assert "error: the processes have computed different weights" in (tmp_path / "rank0.txt").read_text()
    assert load_state(only_run(tmp_path))[0]["counters"]["global_step"] == 32, "the last save before it"


@pytest.mark.parametrize(
    ("flags", "size", "sentence"),
    [
        (["--num_envs", "8"], 3, "`num_envs` 8 games cannot be shared equally among the 3 processes"),
        (["--num_envs", "6", "--num_steps", "16", "--num_minibatches", "32"], 2, "`num_minibatches` 32 .* 48 rows"),
        (["--cuda_graphs"], 2, "`cuda_graphs` replays .* leave one out"),
        ([], 2, "`cuda`: .* started 2 processes on this machine, which has 1 GPUs"),
    ],
)
def test_what_cannot_be_shared_is_refused(flags, size, sentence, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    args, _ = setup.read_settings(training.SCRIPT, flags, Ranks())
    with pytest.raises(ConfigError, match=sentence):
        setup.check_settings(training.SCRIPT, args, None, Ranks(0, size, 0, size))


@pytest.mark.slow
@PPO_ALONE
def test_another_number_of_processes_is_refused(sibling, uninterrupted, monkeypatch):
    monkeypatch.chdir(uninterrupted)
    with pytest.raises(ResumeError, match="is one of 2 processes and this job has 1; start it with torchrun and 2"):
        training.prepare(["--resume", str(only_run(uninterrupted))])
    _, saved = setup.read_settings(training.SCRIPT, ["--resume", str(only_run(uninterrupted))], Ranks())
    with pytest.raises(ResumeError, match="is one of 1 process and this job has 2; start it without torchrun"):
        setup.check_ranks(training.Args(), {**saved, "other_ranks": []}, Ranks(0, 2))


def test_a_job_finds_its_own_run_and_no_older_one(tmp_path, monkeypatch):
    for number, job in enumerate(("7", "8", "7")):
        (tmp_path / "runs" / f"run{number}").mkdir(parents=True)
        write_job(tmp_path / "runs" / f"run{number}", job)
        os.utime(tmp_path / "runs" / f"run{number}" / "torchrun.txt", (number, number))
    assert folder_of_job(tmp_path / "runs", "7").name == "run2"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7")
    for name, value in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)):
        monkeypatch.setenv(name, str(value))
    with Ranks.of_this_process() as ranks:
        setup.read_settings(training.SCRIPT, [], ranks)  # a first start: whatever was called so before is another job
    assert folder_of_job("runs", "7") is None
    assert folder_of_job("runs", "8").name == "run1"
    forget_job("runs", "8")
    assert folder_of_job("runs", "8") is None


def test_copies_and_what_is_no_note_are_not_where_a_job_runs(tmp_path):
    (tmp_path / "run").mkdir()
    write_job(tmp_path / "run", "7")
    shutil.copytree(tmp_path / "run", tmp_path / "run_backup")
    os.utime(tmp_path / "run" / "torchrun.txt", (1, 1))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "torchrun.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "strange" / "torchrun.txt").mkdir(parents=True)
    assert folder_of_job(tmp_path, "7") == tmp_path / "run"
    forget_job(tmp_path, "7")
    assert folder_of_job(tmp_path, "7") is None
    assert (tmp_path / "run_backup" / "torchrun.txt").exists()


def test_a_job_finds_its_run_in_the_folder_that_its_file_names(tmp_path, monkeypatch):
    """As in its first start, and where that file is gone by then, in that of the command line."""
    config = write_config(tmp_path, runs_dir="others")
    for place in ("others", "runs"):
        (tmp_path / place / "run").mkdir(parents=True)
        write_job(tmp_path / place / "run", "7")
    monkeypatch.chdir(tmp_path)
    assert setup.place_of_runs(training.Args(config=config)) == "others"
    assert setup.place_of_runs(training.Args(config="absent.json")) == "runs"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7")
    for name, value in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)):
        monkeypatch.setenv(name, str(value))
    with Ranks.of_this_process() as ranks:
        setup.read_settings(training.SCRIPT, ["--config", config], ranks)
    assert folder_of_job("others", "7") is None
    assert folder_of_job("runs", "7") is not None


def test_jobs_without_a_name_are_told_apart_by_their_torchrun(monkeypatch):
    assert Ranks().job == ""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert re.fullmatch(rf"torchrun process {os.getppid()} on \S+", Ranks().job)
    assert not Ranks().orphaned
    ranks, parent = Ranks(), os.getppid()
    monkeypatch.setattr(os, "getppid", lambda: parent + 1)
    assert ranks.orphaned


def test_signals_that_another_program_passes_on_may_come_twice():
    with StopSignals(supervised=True) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
    with StopSignals() as stop:
        stop.request()
        assert stop.requested
        with pytest.raises(SystemExit) as stopped:
            stop.at_once()
        assert stopped.value.code == 143


# ----------------------------------------------------------------------------------------------------------------- long


@pytest.mark.long
def test_ranks_agree_after_thousands_of_updates(tmp_path):
    """Everything that changes weights at once: 2,000 updates of 2 gradient steps, switches, S&P, CBP, hindsight."""
    flags = ["--num_envs", "2", "--num_steps", "2", "--num_minibatches", "2", "--update_epochs", "1", "--her"]
    flags += ["--num_workers", "0", "--no-cuda", "--checkpoint_every", "400", *METHOD]
    flags = [*flags_for(tmp_path, steps=8_000)[:2], *flags]
    codes = end(start_both(tmp_path, "-", *flags), timeout=3000)
    assert codes == [0, 0], (tmp_path / "rank0.txt").read_text() + (tmp_path / "rank1.txt").read_text()
    assert_ranks_agree(tmp_path, saves=20)
    last = notes_of(tmp_path, 1)[-1]
    assert last["step"] == 8_000
    assert last["switches"] > 75
    assert last["replaced"] > 1000


@pytest.mark.long
@pytest.mark.parametrize("fault", ["die_in_update:0:22", "die_in_rollout:1:30"])
@PPO_ALONE
def test_a_killed_rank_ends_the_job_soon_and_nothing_is_left(sibling, fault, uninterrupted, tmp_path):
    job = Job(tmp_path, *flags_for(tmp_path, "--num_workers", "1", *METHOD), fault=fault)
    job.wait_for(lambda: len(notes_of(tmp_path, 0)) >= 1)
    processes = descendants(job.process.pid)
    assert len(processes) >= 4, "two ranks with a worker each"
    assert job.end() == 1
    wait_until_gone(processes)
    run = only_run(tmp_path)
    assert 32 <= load_state(run)[0]["counters"]["global_step"] < 320
    job = Job(tmp_path, "--resume", str(run.relative_to(tmp_path)), name="again.txt")
    assert job.end() == 0, job.said
    assert_same_run(run, only_run(uninterrupted))


@pytest.mark.long
@PPO_ALONE
def test_without_its_torchrun_a_job_saves_and_stops(sibling, uninterrupted, tmp_path):
    job = Job(tmp_path, *flags_for(tmp_path, "--num_workers", "1", "--checkpoint_every", "0", *METHOD))
    job.wait_for(lambda: "run folder" in job.said)
    processes = descendants(job.process.pid)
    job.process.kill()
    wait_until_gone(processes)
    job = Job(tmp_path, "--resume", str(only_run(tmp_path).relative_to(tmp_path)), name="again.txt")
    assert job.end() == 0, job.said
    assert_same_run(only_run(tmp_path), only_run(uninterrupted))


@pytest.mark.long
@PPO_ALONE
def test_two_torchruns_that_meet_make_one_job(sibling, uninterrupted, tmp_path):
    """As on two machines: two torchruns with a process each and a rendezvous, once undisturbed, once with a death."""
    for name, fault, restarts in (("quiet", "-", 0), ("disturbed", "die_in_update:1:22", 1)):
        folder = tmp_path / name
        meeting = ("--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{free_port()}", "--rdzv_id=7")
        torchrun = ("--nnodes=2", "--nproc_per_node=1", f"--max-restarts={restarts}", *meeting)
        flags = flags_for(folder)
        jobs = [Job(folder, *flags, torchrun=torchrun, fault=fault, name=f"node{n}.txt") for n in (0, 1)]
        assert [job.end() for job in jobs] == [0, 0], jobs[0].said + jobs[1].said
        assert_ranks_agree(folder, saves=10)
        assert_same_run(only_run(folder), only_run(uninterrupted))


def test_what_processes_share_counts_for_each_and_what_they_keep_together():
    args = setup.of_one_process(continual_clear.Args(num_envs=16, replay_mb=500.0), 4)
    assert (args.num_envs, args.replay_mb) == (4, 125.0)
    assert setup.of_one_process(training.Args(num_envs=8), 2).num_envs == 4
    kept = {"steps": 20, "mb": 0.5, "blocks": 1, "tasks": 2}
    replay = SimpleNamespace(numbers=lambda: kept)
    of_both = SimpleNamespace(gather=lambda own: [*own, {**kept, "steps": 40, "tasks": 1}])
    assert numbers_of(replay, of_both) == {"steps": 60, "mb": 1.0, "blocks": 2, "tasks": 2}
    assert numbers_of(replay, SimpleNamespace(gather=lambda _: [])) == {}, "on the other ranks"
