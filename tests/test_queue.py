"""`sweep.py experiments.json`: experiments, checked as a whole, shared by starters, gone on with by number."""

import csv
import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PATIENCE, ROOT, mostly_slow
from pages import section
from processes import command_of, descendants

from continual_hackatari import continual_training_example as training
from continual_hackatari import sweep
from continual_hackatari.training import runner, sweep_checks
from continual_hackatari.training.command_line import parse_command_line
from continual_hackatari.training.config import apply_values
from continual_hackatari.training.queues import Queue, words_of
from continual_hackatari.training.runner import exclusive_lock
from continual_hackatari.training.sweep_checks import check_queue

TRAINING = os.path.relpath(ROOT / "continual_training_example.py")


@pytest.fixture
def fake(workdir, monkeypatch):
    """The current folder, with a stand-in of the training script, which is no training script by itself."""
    shutil.copy(ROOT / "tests" / "fake_training.py", workdir / "fake.py")
    return workdir


def write_queue(*experiments, path="tiny.json", program="fake.py"):
    Path(path).write_text(json.dumps([{**({"program": program} if program else {}), **each} for each in experiments]))
    return path


def calls():
    path = Path("calls.txt")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# ------------------------------------------------------------------------------------------------------ its commands


def test_flags_are_the_words_that_say_the_same():
    """The object, read as a config file would be, and its command line make the same settings."""
    flags = {
        "env_id": "ALE/Freeway-v5",
        "seed": 3,
        "total_timesteps": 1e6,
        "learning_rate": 1e-05,
        "clip_coef": 1.0,
        "target_kl": None,
        "track": False,
        "save_agent_with_switch": True,
        "anneal_lr": False,
        "max_pool": False,
        "modifs": "all_pink_cars stop_all_cars_edge",
        "eval_modifs": ["no_modif", "all_black_cars disable_cars"],
        "test_modifs": [],
        "encoder_dims": [16, 32],
        "methods": ["ewc", "continual_backprop"],
        "ewc": {"strength": 100, "samples": 1e2},
        "continual_backprop.accumulate": False,
        "redo": {},
    }
    parsed = parse_command_line(training.Args, words_of(flags))
    assert parsed == apply_values(training.Args(), flags, "x.json")[0]
    assert parsed.total_timesteps == 1_000_000
    assert parsed.prefixed["ewc.strength"] == 100
    assert parsed.prefixed["continual_backprop.accumulate"] is False


def test_a_dry_run_prints_the_commands_in_order_and_writes_nothing(fake, capsys):
    write_queue({"score": 1, "notes": "the first"}, {"score": 2, "track": True}, {"methods": ["a", "b"]})
    before = sorted(fake.rglob("*"))
    assert sweep.main(["tiny.json", "--dry_run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "python fake.py --score=1",
        "python fake.py --score=2",
        "python fake.py --methods a b",
    ]
    assert sweep.main(["tiny.json", "--dry_run", "--track", "--only", "1"]) == 0
    assert capsys.readouterr().out == "python fake.py --score=2 --track\n"
    assert sorted(fake.rglob("*")) == before


def test_the_program_is_the_projects_own_unless_an_experiment_names_another(workdir):
    shutil.copy(ROOT / "tests" / "q_learner.py", "my_q.py")
    write_queue({"seed": 1}, {"seed": 1, "program": "my_q.py"}, program="")
    runs = Queue("tiny.json", TRAINING, Path("sweeps/tiny")).planned()
    assert [run.command[1] for run in runs] == [TRAINING, "my_q.py"]
    assert [str(run.folder) for run in runs] == ["sweeps/tiny/0", "sweeps/tiny/1"]


# --------------------------------------------------------------------------------------------------- what is wrong

GOOD = {"env_id": "ALE/Freeway-v5", "total_timesteps": 1000, "num_workers": 0}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"seed": 1}, "tiny.json must hold a list of experiments, each an object of flags"),
        ([], "must hold a list of experiments"),
        (3, "must hold a list of experiments"),
        ([GOOD, 3], "experiment 1 of tiny.json is 3, but must be an object of flags"),
        ([{"program": "absent.py"}], "`program` of experiment 0 of tiny.json is absent.py, which is no file"),
        ([{"program": 3}], "`program` of experiment 0 of tiny.json is 3, but must be a string"),
        ([GOOD, {**GOOD, "lerning_rate": 1}], "`lerning_rate` in experiment 1 of tiny.json is not a known argument; "
         "the nearest is `learning_rate`"),
        ([{**GOOD, "seed": "1"}], '`seed` in experiment 0 of tiny.json must be a whole number, but it is "1"'),
        ([{**GOOD, "num_envs": 0}], "`num_envs` is 0"),
        ([GOOD, {**GOOD, "modifs": "all_pink_car"}], "did you mean all_pink_cars"),
        ([{**GOOD, "methods": ["ewc"], "ewc": {"strenght": 3}}], "`ewc.strenght` in experiment 0 of tiny.json is not a "
         "setting of ewc; the nearest is `ewc.strength`"),
        ([{**GOOD, "methods": ["ewk"]}], "ewc"),
        ([{**GOOD, "resume": "runs/x"}], "`resume` cannot stand in experiment 0 of tiny.json"),
        ([{"modification_factory": "NoModificationFactory"}], "`modification_factory` of experiment 0 of tiny.json "
         "is no flag, but stands in a file of settings"),
        ([{"config": "c.json", "seed": 1}, {"config": "c.json", "gamma": 0.5}], "`gamma` of experiment 1 of tiny.json "
         "stands in its config file too, which would win"),
        ([{"config": "c.json", "ewc": {"strength": 3}}], "`ewc.strength` of experiment 0"),
        ([GOOD, {**GOOD, "seed": 2}, {**GOOD, "notes": "again"}], "experiment 2 of tiny.json is the same as experiment "
         "0; leave it out"),
        ([GOOD, {**GOOD, "num_workers": 1, "runs_dir": "other"}], "experiment 1 of tiny.json is the same as "),
        ([{**GOOD, "gamma": 0.5}, {**GOOD, "gamma": 0.99}, {**GOOD, "methods": []}], "experiment 2 of tiny.json is the "
         "same as experiment 1; leave it out"),
        ([{"config": "absent.json"}], "`config` names absent.json, which cannot be read"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_before_anything_is_written(content, sentence, checked_here, workdir, capsys):
    Path("tiny.json").write_text(json.dumps(content))
    Path("c.json").write_text(json.dumps({**GOOD, "gamma": 0.9, "methods": ["ewc"], "ewc": {"strength": 9}}))
    assert sweep.main(["tiny.json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert sentence in captured.err
    assert sorted(path.name for path in workdir.iterdir()) == ["c.json", "tiny.json"]


def test_an_experiment_that_stands_there_twice_goes_on_where_it_has_begun(fake, workdir, checked_here):
    """Of a version that did not notice."""
    Path("tiny.json").write_text(json.dumps([GOOD, {**GOOD, "notes": "again"}]))
    queue = Queue("tiny.json", str(ROOT / "continual_training_example.py"), workdir / "queue")
    assert "experiment 1 of tiny.json is the same as experiment 0" in check_queue(queue)
    (run,) = queue.planned()[1:]
    run.folder.mkdir(parents=True)
    run.record.write_text('{"command": []}')
    assert check_queue(queue) is None
    write_queue({"seed": 1}, {"seed": 1}, path="other.json")
    assert check_queue(Queue("other.json", "fake.py", workdir / "other")) is None, "a script of which nothing is known"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--max_runs", "2"], "`max_runs` is of sweeps"),
        (["--search_seed", "2"], "`search_seed` is of sweeps"),
        (["--program", "fake.py"], "`program` goes with `--seeds` only"),
        (["--only", "1"], "`only` (or `resume_id`) is 1, but the runs of this sweep are 0 to 0"),
        (["--", "--her"], "flags after `--` go with `--seeds` only"),
    ],
)
def test_flags_that_are_not_of_queues(words, sentence, fake, capsys):
    assert sweep.main([write_queue({"score": 1}), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("sweeps").exists()


def test_a_sweep_file_may_be_json(fake, capsys):
    command = ["${interpreter}", "${program}", "${args_no_boolean_flags}"]
    sweep_file = {
        "program": "fake.py",
        "method": "grid",
        "command": command,
        "parameters": {"score": {"values": [1, 2]}},
    }
    Path("grid.json").write_text(json.dumps(sweep_file))
    assert sweep.main(["grid.json", "--dry_run"]) == 0
    assert capsys.readouterr().out.splitlines() == ["python fake.py --score=1", "python fake.py --score=2"]


@pytest.mark.slow
def test_every_experiment_is_checked_in_a_process_of_its_own(workdir, capsys):
    """As users run it: this process loads no torch for the check."""
    write_queue(GOOD, {**GOOD, "modifs": "all_pink_car"}, program="")
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from continual_hackatari.sweep import main; code = main()"
    script += "; assert 'torch' not in sys.modules; sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", script, "tiny.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean all_pink_cars" in done.stderr
    assert "(experiment 1 of tiny.json)" in done.stderr


# --------------------------------------------------------------------------------------------- run, go on, share


def test_the_records_are_numbered_and_the_table_has_a_row_per_method(fake, capsys):
    same = {"score": 1.0}
    write_queue({**same, "seed": 1}, {**same, "seed": 3}, {"score": 5.0, "seed": 1, "methods": ["ewc"]})
    assert sweep.main(["tiny.json", "--jobs", "2"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if re.search(r" \d/\d ", line)]
    assert rows == [["score=5.0", "methods=['ewc']", "1/1", "5", "5", "5"], ["score=1.0", "2/2", "2", "1", "3"]]
    assert sorted(path.parent.name for path in Path("sweeps/tiny").glob("*/result.json")) == ["0", "1", "2"]
    with open("sweeps/tiny/results.csv", newline="") as file:
        results = list(csv.DictReader(file))
    assert [row["experiment"] for row in results] == ["0", "1", "2"]
    assert [row["methods"] for row in results] == ["", "", "['ewc']"]
    assert [float(row["continual/forgetting"]) for row in results] == [1.0, 3.0, 5.0]
    begun = calls()
    assert sweep.main(["tiny.json"]) == 0
    assert calls() == begun, "what has finished is not repeated"
    write_queue({**same, "seed": 1}, {**same, "seed": 3}, {"score": 5.0, "seed": 1, "methods": ["ewc"]}, {"score": 2.0})
    assert sweep.main(["tiny.json"]) == 0
    assert calls()[len(begun) :] == [["--score=2"]], "more may stand at the end"


@pytest.mark.slow
def test_another_config_file_is_another_method(fake, capsys):
    for name in ("a", "b"):
        Path(f"{name}.json").write_text("{}")
    write_queue({"score": 1.0, "config": "a.json"}, {"score": 1.0, "config": "b.json", "seed": 2})
    assert sweep.main(["tiny.json"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^config=b.json +1/1 +2 ", out, re.M)
    assert re.search(r"^config=a.json +1/1 +1 ", out, re.M)


@pytest.mark.parametrize("flag", mostly_slow(["--resume_id", "--only", "--resume-id"], 3))
def test_one_experiment_by_its_number(flag, fake):
    write_queue({"score": 1.0}, {"score": 2.0}, {"score": 3.0})
    assert sweep.main(["tiny.json", flag, "2"]) == 0
    assert calls() == [["--score=3"]]
    assert [path.name for path in Path("sweeps/tiny").iterdir()] == ["2"], "and no table of the others"
    (run,) = Path("runs").iterdir()
    (run / "resume.pt").touch()
    Path("sweeps/tiny/2/result.json").unlink()  # as if it had been killed
    assert sweep.main(["tiny.json", flag, "2"]) == 0
    assert calls()[1:] == [["--resume", str(run)]]


@pytest.mark.parametrize(
    ("after", "sentence"),
    mostly_slow(
        [
            ({"score": 1.0, "seed": 2}, "`seed` was 1 and is 2"),
            ({"score": 1.0}, "`seed` 1 is gone"),
            ({"score": 1.0, "seed": 1, "ewc": {"strength": 3}}, "`ewc.strength` 3 is new"),
            ({"score": 1.0, "seed": 1, "program": "other.py"}, "`program` was fake.py and is other.py"),
        ],
        4,
    ),
)
def test_a_changed_experiment_under_an_old_number_is_refused_with_the_difference(after, sentence, fake, capsys):
    shutil.copy("fake.py", "other.py")
    write_queue({"score": 0.5}, {"score": 1.0, "seed": 1})
    assert sweep.main(["tiny.json", "--only", "1"]) == 0
    write_queue({"score": 0.5}, after)
    capsys.readouterr()
    assert sweep.main(["tiny.json"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert (
        f"experiment 1 of tiny.json is not what began in sweeps/tiny/1: {sentence}; put what is new at the end" in error
    )
    assert len(calls()) == 1
    assert sweep.main(["tiny.json", "--folder", "sweeps/other"]) == 0
    write_queue({"score": 0.7}, {"score": 1.0, "seed": 1})
    assert sweep.main(["tiny.json"]) == 0, "what has not begun may change"


def test_the_notes_of_an_experiment_may_change(fake, capsys):
    write_queue({"score": 1.0, "notes": "a note"}, {"score": 2.0, "notes": "another"})
    assert sweep.main(["tiny.json"]) == 0
    record = Path("sweeps/tiny/0/run.json")
    begun = json.loads(record.read_text())
    begun["parameters"]["notes"] = "as an earlier version wrote it"
    record.write_text(json.dumps(begun))
    write_queue({"score": 1.0, "notes": "a longer note"}, {"score": 2.0})
    assert sweep.main(["tiny.json"]) == 0
    assert len(calls()) == 2
    assert "note" not in capsys.readouterr().out


def test_an_experiment_and_its_config_may_both_have_notes(workdir, capsys):
    Path("c.json").write_text(json.dumps({**GOOD, "notes": "of the file"}))
    Path("tiny.json").write_text(json.dumps([{"config": "c.json", "seed": 1, "notes": "of the experiment"}]))
    assert sweep.main(["tiny.json", "--dry_run"]) == 0, capsys.readouterr().err


def test_a_file_system_without_locks_is_one_sentence(fake, monkeypatch, capsys):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(runner.fcntl, "flock", flock)
    write_queue({"score": 1.0})
    assert sweep.main(["tiny.json"]) == 2
    assert "sweeps/tiny is on a file system without locks (No locks available)" in capsys.readouterr().err
    assert calls() == []


def test_a_changed_config_file_is_refused_as_well(fake, capsys):
    schedule = {"modification_factory_kwargs": {"modifications": ["a", "b"], "steps": 3}}
    Path("c.json").write_text(json.dumps({"num_envs": 2, "notes": "", **schedule}))
    write_queue({"score": 1.0, "config": "c.json"})
    assert sweep.main(["tiny.json"]) == 0
    Path("c.json").write_text(json.dumps({"notes": "the same", **schedule, "num_envs": 2}, indent=4))
    assert sweep.main(["tiny.json"]) == 0, "what only reads differently has not changed"
    schedule["modification_factory_kwargs"]["steps"] = 4
    Path("c.json").write_text(json.dumps({"num_envs": 2, **schedule}))
    assert sweep.main(["tiny.json"]) == 2
    said = "sweeps/tiny/0: `modification_factory_kwargs.steps` was 3 and is 4 in c.json; put"
    assert said in capsys.readouterr().err


def test_what_changed_before_its_turn_came_is_not_run(fake, capsys):
    """The first experiment edits the file of the second, as a user may meanwhile; the third is as it was."""
    for name in ("b.json", "c.json"):
        Path(name).write_text("{}")
    Path("edits.py").write_text("open('b.json', 'w').write('{\"num_envs\": 3}')\n" + Path("fake.py").read_text())
    write_queue(
        {"score": 1.0, "program": "edits.py"}, {"score": 2.0, "config": "b.json"}, {"score": 3.0, "config": "c.json"}
    )
    assert sweep.main(["tiny.json"]) == 1
    said = "config=b.json: the file that `--config` names has changed since this plan was made; the same command plans"
    assert said in capsys.readouterr().out
    assert [Path("sweeps/tiny", str(number), "run.json").exists() for number in range(3)] == [True, False, True]
    assert sweep.main(["tiny.json"]) == 0, "the next start plans with the file as it is"


def test_what_another_starter_began_as_something_else_is_not_taken_over(fake, capsys):
    """It has read an earlier version of the file, and runs or has run its own."""
    here = Queue(write_queue({"score": 2.0}), "fake.py", Path("sweeps/tiny"))
    assert sweep.main([write_queue({"score": 1.0})]) == 0
    capsys.readouterr()
    assert here.run(here.planned(), 1, False, lambda _: True) == 0, "it was finished before: nothing is begun"
    (job,) = jobs = here.planned()
    job.state = "waiting"
    Path("sweeps/tiny/0/result.json").unlink()
    assert here.run(jobs, 1, False, lambda _: True) == 1
    assert "is not what began in sweeps/tiny/0: `score` was 1.0 and is 2.0" in capsys.readouterr().out
    assert len(calls()) == 1


@pytest.mark.parametrize(("theirs", "code"), [(2.0, 0), (1.0, 1)])
def test_what_another_starter_has_finished_meanwhile_counts_if_it_is_the_same(fake, monkeypatch, capsys, theirs, code):
    """Its config file was edited since; and what they have run by another version of the list is not ours."""
    Path("b.json").write_text("{}")
    here = Queue(write_queue({"score": 2.0, "config": "b.json"}), "fake.py", Path("sweeps/tiny"))
    lock = runner.exclusive_lock

    def taken(_):
        """By the other starter, which runs it while this one waits."""
        monkeypatch.setattr(runner, "exclusive_lock", lock)
        assert sweep.main([write_queue({"score": theirs, "config": "b.json"})]) == 0
        Path("b.json").write_text('{"num_envs": 3}')

    monkeypatch.setattr(runner, "exclusive_lock", taken)
    assert here.run(here.planned(), 1, False, lambda _: True) == code
    assert ("is not what began in sweeps/tiny/0: `score` was 1.0 and is 2.0" in capsys.readouterr().out) == bool(code)
    assert len(calls()) == 1


@pytest.mark.slow
def test_a_report_ends_a_queue_of_training_scripts(fake, monkeypatch, capsys):
    """Of other programs nobody knows what a report could show."""
    Path("report.py").write_text("import json, sys; json.dump(sys.argv[1:], open('report_argv.json', 'w'))")
    monkeypatch.setattr(sweep, "HERE", fake)
    write_queue({"score": 1.0})
    assert sweep.main(["tiny.json"]) == 0
    assert not Path("report_argv.json").exists()
    Path("script.py").write_text(f"SCRIPT = 1\n{Path('fake.py').read_text()}")
    monkeypatch.setattr(sweep, "check", lambda *_: None)  # it would load the stand-in
    write_queue({"score": 1.0}, {"score": 2.0}, path="other.json", program="script.py")
    assert sweep.main(["other.json", "--only", "0"]) == 0
    assert not Path("report_argv.json").exists()
    assert sweep.main(["other.json"]) == 0
    *folders, option, path = json.loads(Path("report_argv.json").read_text())
    assert (option, path) == ("-o", "sweeps/other/report.html")
    assert len(folders) == 2
    assert "report:     sweeps/other/report.html" in capsys.readouterr().out


def test_the_queue_of_the_page_works_as_its_commands_say(checked_here, workdir, capsys):
    page = section("A queue of experiments")
    (text,) = re.findall(r"^```text\n(.*?)^```", page, re.S | re.M)
    Path("experiments.json").write_text(text)
    Path("configs").symlink_to(ROOT / "configs")
    Path("continual_clear.py").symlink_to(ROOT / "continual_clear.py")
    printed = []
    for line in re.findall(r"^python sweep.py (.*)", page, re.M):
        assert sweep.main([*dict.fromkeys([*shlex.split(line), "--dry_run"])]) == 0
        printed.append(capsys.readouterr().out.splitlines())
    assert [len(lines) for lines in printed] == [3, 3, 1]
    assert printed[2] == printed[0][1:2]
    assert printed[0][1].endswith("--methods ewc --ewc.strength=0.1")


def test_the_commands_of_the_page_about_cora_are_accepted(fake, capsys):
    write_queue({"score": 1}, {"score": 2}, path="experiments.json")
    commands = re.findall(r"^python sweep.py (.*)", section("Coming from CORA"), re.M)
    assert len(commands) == 2
    for words in commands:
        assert sweep.main([*shlex.split(words), "--dry_run"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"python fake.py --score={score}" for score in (1, 2, 2)]


def begin(*words):
    """sweep.py as a process of its own."""
    with open("sweep.txt", "ab") as output:
        command = [sys.executable, str(ROOT / "sweep.py"), *words]
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_experiment_is_held_by_one_starter(tmp_path):
    job = SimpleNamespace(folder=tmp_path / "0")
    held = exclusive_lock(job)
    assert held is not None
    assert exclusive_lock(job) is None
    held.close()
    with exclusive_lock(job) as again:
        assert again is not None


@pytest.mark.slow
def test_two_starters_finish_every_experiment_once_and_go_on_with_a_killed_one(workdir):
    """Six tiny trainings by the real script, two starters at once, one training killed with -9."""
    name = f"queue{os.getpid()}"  # by which the process is found
    tiny = {"env_id": "ALE/Freeway-v5", "exp_name": name, "num_envs": 2, "num_steps": 32, "num_workers": 0}
    tiny |= {"cuda": False, "total_timesteps": 128}
    first = {**tiny, "total_timesteps": 4096, "seed": 0}  # longer, so that it can be killed in its middle
    write_queue(first, *({**tiny, "seed": seed} for seed in range(1, 6)), program="")
    starters = [begin("tiny.json"), begin("tiny.json")]
    output = Path("sweeps/tiny/0/output.txt")
    try:
        until(lambda: output.exists() and re.search(r"^run folder: (.+)$", output.read_text(), re.M))
        run = Path(re.search(r"^run folder: (.+)$", output.read_text(), re.M)[1])
        words = {pid: command_of(pid) for starter in starters for pid in descendants(starter.pid)}
        (victim,) = [pid for pid in words if {f"--exp_name={name}", "--seed=0"} <= {*words[pid]}]
        until(lambda: (run / "resume.pt").exists())
        os.kill(victim, signal.SIGKILL)
        codes = [starter.wait(PATIENCE) for starter in starters]
    finally:
        for starter in starters:
            starter.terminate()  # and with it what it runs
    said = Path("sweep.txt").read_text()
    assert sorted(codes) == [0, 1], said  # the one whose run was killed says so, the other goes on with it
    assert "(killed by SIGKILL)" in said
    for number in range(6):
        attempts = re.findall(r"^\$ (.*)$", Path(f"sweeps/tiny/{number}/output.txt").read_text(), re.M)
        assert len(attempts) == (2 if number == 0 else 1), f"{number} was begun more than once"
        result = json.loads(Path(f"sweeps/tiny/{number}/result.json").read_text())
        assert json.loads((Path(result["run_folder"]) / "args.json").read_text())["seed"] == number
        assert (Path(result["run_folder"]) / "model.cleanrl_model").exists()
    attempts = re.findall(r"^\$ (.*)$", output.read_text(), re.M)
    assert shlex.split(attempts[1])[-2:] == ["--resume", str(run)]
    assert len(list(Path("runs").iterdir())) == 6
    assert sorted(re.findall(r"started (\d)", said)) == [*"0012345"]


def test_each_experiment_is_checked_by_its_own_script(checked_here, workdir, capsys):
    shutil.copy(ROOT / "tests" / "q_learner.py", "my_q.py")
    write_queue(GOOD, {**GOOD, "program": "my_q.py", "replay_size": 500}, program="")
    assert sweep.main(["tiny.json", "--dry_run"]) == 0, capsys.readouterr().err
    shutil.copy("my_q.py", "other_q.py")
    write_queue({**GOOD, "program": "my_q.py"}, {**GOOD, "program": "other_q.py"}, program="")
    assert sweep.main(["tiny.json", "--dry_run"]) == 0, "the same settings of another script"


@pytest.mark.parametrize("name", ["start_from", "modification_file"])
def test_another_file_to_begin_with_is_another_experiment(name, monkeypatch):
    """A run says what is in it by other settings, which are not known before it begins."""
    prepared = ({"seed": 1, name: "a"}, {"seed": 1, name: "b"}, {"seed": 1, name: "a", "config": "c.json"})
    monkeypatch.setattr(sweep_checks, "settings_or_refusal", lambda script, flags, where: (prepared[int(flags[0])], ""))
    script = str(ROOT / "continual_training_example.py")
    asked = [sweep_checks.Asked(i, f"experiment {i}", script, {}, [str(i)], begun=False) for i in range(3)]
    assert sweep_checks.first_faulty_experiment(asked[:2]) is None
    assert sweep_checks.first_faulty_experiment(asked).startswith("experiment 2 is the same as experiment 0")
