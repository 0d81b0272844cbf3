"""Tracking with real files: CSV, TensorBoard read back, W&B offline, and what happens when one of them fails."""

import ast
import csv
import http.server
import json
import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import PATIENCE, only_run, write_config
from lives import Life
from siblings import EVERY
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer
from wandb.proto.wandb_internal_pb2 import Record

from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.tracking import EPISODE_COLUMNS, SWITCH_COLUMNS, Tracker

REPOSITORY = Path(__file__).resolve().parents[1]
EPISODE_HEADER = "global_step,env,modification,return,length,lives,cut,live_switches\n"


def episode(step: int, value: float, modification: str = "", cut: bool = False) -> dict:
    row = (step, 0, modification, value, 10, 3, cut, 0)
    return dict(zip(EPISODE_COLUMNS, row, strict=True))


def switch(number: int, old: str, new: str) -> dict:
    row = (number, number * 100, old, new, "reset", 0.25, False, "")
    return dict(zip(SWITCH_COLUMNS, row, strict=True))


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def run_code(folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `code` in a fresh process in `folder`, where nobody is logged in to W&B."""
    kept = "WANDB_X_SERVICE_WAIT"  # set in conftest.py
    clean = {key: value for key, value in os.environ.items() if key == kept or not key.startswith("WANDB_")}
    home = folder / "home"
    home.mkdir(exist_ok=True)
    places = {"HOME": str(home), "PYTHONPATH": str(REPOSITORY), "no_proxy": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**clean, **places, **environment},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


# ------------------------------------------------------------------------------------------------- CSV, TensorBoard


def test_csv_and_tensorboard_hold_what_was_reported(tmp_path):
    with Tracker(tmp_path) as tracker:
        assert tracker.wandb_run_id is None
        tracker.scalar("charts/SPS", np.float32(1.5), 128)
        tracker.scalars({"losses/value_loss": 2.0, "losses/entropy": 0.5}, 256)
        tracker.episode(episode(300, 21.0))
        tracker.episode(episode(np.int64(400), np.float32(0.1), "all_green_cars disable_cars"))
        tracker.episode(episode(450, 2.0, 'a "quoted", name', cut=True))
        tracker.switch(switch(1, "", "all_green_cars"))
        tracker.video("absent.mp4", "videos/x", 1)  # an untracked run sends nothing anywhere
        tracker.save_artifact("absent", "x")
    with open(tmp_path / "episodes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["modification"] for row in rows] == ["", "all_green_cars disable_cars", 'a "quoted", name']
    assert [row["cut"] for row in rows] == ["0", "0", "1"]
    assert rows[1]["global_step"] == "400"
    assert float(rows[1]["return"]) == float(np.float32(0.1))
    assert (tmp_path / "switches.csv").read_text() == (
        "switch,global_step,from,to,mode,seconds,shrink_and_perturb,checkpoint\n1,100,,all_green_cars,reset,0.25,0,\n"
    )
    assert read_scalars(tmp_path) == {
        "charts/SPS": [(128, 1.5)],
        "losses/value_loss": [(256, 2.0)],
        "losses/entropy": [(256, 0.5)],
        "charts/episodic_return": [(300, 21.0), (400, pytest.approx(0.1))],
        "charts/episodic_length": [(300, 10.0), (400, 10.0)],
        "episodic_return_by_modif/no_modif": [(300, 21.0)],
        "episodic_return_by_modif/all_green_cars disable_cars": [(400, pytest.approx(0.1))],
    }


@pytest.mark.slow
def test_an_untracked_run_never_imports_wandb(tmp_path):
    done = run_code(
        tmp_path,
        """
        import sys
        from continual_hackatari.training.tracking import Tracker
        with Tracker(".") as tracker:
            tracker.scalar("a", 1.0, 1)
        print("wandb" in sys.modules)
        """,
    )
    assert done.stdout == "False\n", done.stderr
    assert not (tmp_path / "wandb").exists()


@pytest.mark.slow
def test_rows_are_on_the_disk_at_once_and_survive_a_kill(tmp_path):
    code = """
        import os, signal
        from continual_hackatari.training.tracking import EPISODE_COLUMNS, Tracker
        tracker = Tracker(".")
        for step in range(500):
            tracker.episode(dict(zip(EPISODE_COLUMNS, (step, 0, "m", 1.0, 2, 3, False, 0))))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run_code(tmp_path, code).returncode == -signal.SIGKILL
    lines = (tmp_path / "episodes.csv").read_text().splitlines()
    assert len(lines) == 501
    assert lines[-1] == "499,0,m,1.0,2,3,0,0"


def test_a_second_tracker_continues_the_files_and_drops_a_half_row(tmp_path):
    with Tracker(tmp_path) as tracker:
        tracker.episode(episode(1, 1.0))
    with open(tmp_path / "episodes.csv", "a") as file:
        file.write("2,0,half a r")
    with Tracker(tmp_path) as tracker:
        tracker.episode(episode(3, 3.0))
    assert (tmp_path / "episodes.csv").read_text() == EPISODE_HEADER + "1,0,,1.0,10,3,0,0\n3,0,,3.0,10,3,0,0\n"


def test_a_saved_tracker_goes_on_without_what_came_later(tmp_path, monkeypatch):
    """Three lives: what a life wrote after its last save is in no file that the last one leaves."""
    # Names of event files end with how many their process has begun, and are read in alphabetical order: 9 after 10.
    # Lives are processes of their own outside of tests.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    saved = None
    for life in range(3):
        tracker = Tracker(tmp_path, saved=saved)
        for later in (False, True):
            step = 10 * life + 5 * later
            tracker.episode(episode(step, float(step)))
            tracker.switch(switch(step, "a", "b"))
            tracker.scalar("a", step, step)
            if not later:
                saved = tracker.save(step)
        if life == 1:
            tracker.finish()  # this one was stopped, the others were killed
    with Tracker(tmp_path, saved=saved):
        pass
    for name in ("episodes.csv", "switches.csv"):
        steps = [row["global_step"] for row in csv.DictReader((tmp_path / name).read_text().splitlines())]
        assert steps == (["0", "10", "20"] if name == "episodes.csv" else ["0", "1000", "2000"])
    assert read_scalars(tmp_path)["a"] == [(0, 0.0), (10, 10.0), (20, 20.0)]
    assert read_scalars(tmp_path)["charts/episodic_return"] == [(0, 0.0), (10, 10.0), (20, 20.0)]
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 4, "none has overwritten another"


@pytest.mark.slow
def test_rows_that_the_disk_refused_are_saved(tmp_path):
    code = """
        import json, resource, signal
        from continual_hackatari.training.tracking import EPISODE_COLUMNS, Tracker
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        tracker = Tracker(".")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        for step in range(100):
            tracker.episode(dict(zip(EPISODE_COLUMNS, (step, 0, "m", 1.0, 2, 3, True, 0))))
        saved = tracker.save(100)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(repr(saved), flush=True)
        os._exit(0)
    """
    done = run_code(tmp_path, "import os\n" + textwrap.dedent(code))
    saved = ast.literal_eval(done.stdout)
    with Tracker(tmp_path, saved=saved):
        pass
    lines = (tmp_path / "episodes.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(step) for step in range(100)]


def test_without_csv_files_only_tensorboard_is_written(tmp_path):
    with Tracker(tmp_path, csv_files=False) as tracker:
        tracker.scalar("eval/x", 1.0, 5)
        tracker.episode(episode(5, 2.0))
    assert all(path.name.startswith("events.out") for path in tmp_path.iterdir())
    assert read_scalars(tmp_path)["charts/episodic_return"] == [(5, 2.0)]


def test_a_row_with_other_keys_is_a_mistake_of_the_program(tmp_path):
    with Tracker(tmp_path) as tracker:
        with pytest.raises(ValueError, match=r"\['lives'\]"):
            tracker.episode({key: value for key, value in episode(1, 1.0).items() if key != "lives"})
        with pytest.raises(ValueError, match="extra"):
            tracker.switch({**switch(1, "", "a"), "extra": 1})


def test_leaving_with_an_exception_still_closes_the_files(tmp_path):
    tracker = Tracker(tmp_path)

    def fail_while_tracking() -> None:
        with tracker:
            tracker.scalar("a", 1.0, 1)
            raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        fail_while_tracking()
    assert read_scalars(tmp_path) == {"a": [(1, 1.0)]}
    tracker.finish()  # again: nothing happens
    tracker.scalar("a", 2.0, 2)


@pytest.mark.slow
def test_a_full_disk_is_said_once_and_no_row_is_lost_when_it_has_room_again(tmp_path):
    # A limit on the size of files stands for the full disk: writes beyond it fail, the one at the limit is cut short.
    code = """
        import resource, signal
        from continual_hackatari.training.tracking import EPISODE_COLUMNS, Tracker
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        tracker = Tracker(".")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        for step in range(300):
            tracker.episode(dict(zip(EPISODE_COLUMNS, (step, 0, "m", 1.0, 2, 3, False, 0))))
            for name in range(20):
                tracker.scalar(f"losses/{name}", 1.0, step)
        tracker.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        tracker.finish()
        print("done")
    """
    done = run_code(tmp_path, code)
    assert done.stdout == "done\n", done.stderr
    # Not line by line: TensorBoard's own thread prints its traceback in between.
    assert sorted(re.findall(r"warning: (\S+) failed \(", done.stderr)) == ["TensorBoard", "episodes.csv"], done.stderr
    assert "File too large" in done.stderr
    lines = (tmp_path / "episodes.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(step) for step in range(300)]


# ------------------------------------------------------------------------------------------------------------ W&B

TRACKED = """
    import os, sys
    from pathlib import Path
    from continual_hackatari.training.config import ConfigError
    from continual_hackatari.training.tracking import EPISODE_COLUMNS, Tracker
    folder = Path("runs/some_run")
    folder.mkdir(parents=True)
    try:
        tracker = Tracker(folder, track=True, config={"num_envs": 8, "dims": [1]}, project="p", **eval(sys.argv[1]))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    with tracker:
        print("id", tracker.wandb_run_id)
        tracker.scalar("charts/SPS", 1234.5, 128)
        tracker.episode(dict(zip(EPISODE_COLUMNS, (256, 0, "all_green_cars", 21.0, 10, 3, False, 0))))
        Path("clip.mp4").write_bytes(b"not really a film")
        tracker.video("clip.mp4", "videos/all_green_cars", 256)
        tracker.save_artifact("clip.mp4", "model of a/b")
        tracker.video("absent.mp4", "videos/x", 1)  # fails: said once, the run goes on
        tracker.save_artifact("absent", "x")
        tracker.scalar("charts/SPS", 2345.5, 512)
""".replace("sys.argv[1]", "os.environ.get('TRACKER_ARGUMENTS', '{}')")


@pytest.mark.slow
def test_offline_run_holds_scalars_video_and_artifact(tmp_path):
    done = run_code(tmp_path, TRACKED, WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.split()[1]
    (run_folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert run_folder.name.endswith(run_id)
    record = (run_folder / f"run-{run_id}.wandb").read_bytes()
    for text in (b"num_envs", b"some_run", b"model-of-a-b"):
        assert text in record, text
    # Each scalar once: W&B must not read its own copies of the TensorBoard files.
    assert history_of(run_folder, "charts/SPS") == [(128, 1234.5), (512, 2345.5)]
    assert history_of(run_folder, "episodic_return_by_modif/all_green_cars") == [(256, 21.0)]
    assert history_of(run_folder, "videos/all_green_cars._type") == [(256, "video-file")]
    (film,) = (run_folder / "files" / "media").rglob("*.mp4")
    assert film.read_bytes() == b"not really a film"
    assert done.stderr.count("warning: W&B failed") == 1
    assert read_scalars(tmp_path / "runs" / "some_run")["charts/SPS"] == [(128, 1234.5), (512, 2345.5)]


@pytest.mark.slow
def test_an_existing_run_is_continued_under_its_id(tmp_path):
    arguments = "{'wandb_run_id': 'abc123', 'wandb_dir': 'elsewhere'}"
    done = run_code(tmp_path, TRACKED, WANDB_MODE="offline", TRACKER_ARGUMENTS=arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("id abc123\n")
    (run_folder,) = (tmp_path / "elsewhere" / "wandb").glob("offline-run-*")
    assert run_folder.name.endswith("abc123")


@pytest.mark.slow
def test_in_a_sweep_the_run_has_the_id_that_the_agent_gave_it(tmp_path):
    done = run_code(tmp_path, TRACKED, WANDB_MODE="offline", WANDB_SWEEP_ID="sweep1", WANDB_RUN_ID="fromagent")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("id fromagent\n")
    (run_folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert run_folder.name.endswith("fromagent")


def records(data: bytes) -> Iterator[bytes]:
    """What is in a .wandb file: blocks of 32 KiB, with parts of records: checksum (4), length (2), kind (1) and data.

    Kinds: 1 a whole record; 2, 3 and 4 the first, a middle and the last part of one.
    """
    record, offset = b"", 7
    while offset < len(data):
        left = 32768 - offset % 32768
        if left < 7:  # too short for a part
            offset += left
            continue
        length, kind = struct.unpack_from("<HB", data, offset + 4)
        part = data[offset + 7 : offset + 7 + length]
        record = part if kind in (1, 2) else record + part
        if kind in (1, 4):
            yield record
        offset += 7 + length


def read_history(record_file: Path) -> list[dict]:
    """The rows of a .wandb file."""
    rows = []
    for data in records(record_file.read_bytes()):
        record = Record.FromString(data)
        if record.HasField("history"):
            rows.append(
                {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            )
    return rows


def history_of(folder: Path, key: str) -> list[tuple]:
    (record_file,) = folder.glob("*.wandb")
    return [(row["global_step"], row[key]) for row in read_history(record_file) if key in row]


def refused(tmp_path: Path, **environment: str) -> str:
    """The one line of a tracked run that must not start; checks that it leaves nothing behind."""
    done = run_code(tmp_path, TRACKED, **environment)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "runs"]
    assert not list((tmp_path / "runs").iterdir())
    return errors[0]


@pytest.fixture
def server():
    """A server that answers every request, but is no W&B; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.end_headers()
            self.wfile.write(b"go away")

        do_POST = do_GET  # noqa: N815 (the names that http.server looks for)

        def log_message(self, *arguments: object) -> None:
            """Keep the test's output quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


@pytest.mark.slow
def test_not_logged_in_is_said_at_the_start(tmp_path, server):
    line = refused(tmp_path, WANDB_BASE_URL=server)
    assert "found no API key" in line
    assert "`wandb login`" in line
    assert "WANDB_MODE=offline" in line


@pytest.mark.slow
def test_a_server_out_of_reach_is_said_at_the_start(tmp_path):
    line = refused(tmp_path, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="0" * 40)
    assert "cannot reach the W&B server at http://127.0.0.1:9" in line
    assert "WANDB_MODE=offline" in line


@pytest.mark.slow
def test_a_refused_or_malformed_key_is_said_at_the_start(tmp_path, server):
    assert "WANDB_MODE=offline" in refused(tmp_path, WANDB_BASE_URL=server, WANDB_API_KEY="0" * 40)
    assert "refused the login" in refused(tmp_path, WANDB_BASE_URL=server, WANDB_API_KEY="short")


@pytest.mark.slow
def test_a_start_that_fails_late_removes_its_traces(tmp_path):
    line = refused(tmp_path, WANDB_MODE="offline", TRACKER_ARGUMENTS="{'wandb_run_id': 'not/allowed'}")
    assert "could not start" in line


@pytest.mark.slow
def test_wandb_files_may_not_lie_in_the_run_folder(tmp_path):
    line = refused(tmp_path, WANDB_MODE="offline", TRACKER_ARGUMENTS="{'wandb_dir': 'runs/some_run'}")
    assert "`wandb_dir` must lie outside" in line


@pytest.mark.slow
def test_missing_wandb_names_the_pip_line(tmp_path):
    done = run_code(tmp_path, "import sys\nsys.modules['wandb'] = None\n" + textwrap.dedent(TRACKED))
    assert done.returncode == 2
    assert "`pip install wandb`" in done.stderr


@pytest.mark.slow
def test_two_tracked_runs_in_one_process(tmp_path):
    code = """
        from pathlib import Path
        from continual_hackatari.training.tracking import Tracker
        for name in ("one", "two"):
            Path(name).mkdir()
            with Tracker(name, track=True) as tracker:
                tracker.scalar("charts/SPS", 77.5, 1)
    """
    done = run_code(tmp_path, code, WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    runs = list((tmp_path / "wandb").glob("offline-run-*"))
    assert [history_of(run, "charts/SPS") for run in runs] == [[(1, 77.5)], [(1, 77.5)]]


# --------------------------------------------------------------------------------------------------------- every script


@pytest.mark.slow
@EVERY
def test_a_run_is_in_wandb_as_on_the_disk(sibling, tmp_path):
    """All that it logs, with its agents, under the id that these name."""
    kwargs = {"num_total_steps": 128, "modifications": ["all_black_cars", "", "all_black_cars"]}
    config = write_config(
        tmp_path,
        env_id="ALE/Freeway-v5",
        modification_factory="SequentialModificationFactory",
        modification_factory_kwargs={**kwargs, "switching_thresholds": [40, 80]},
    )
    flags = ["--config", config, "--game_start", "frames", "--time_limit", "80"]  # short games
    flags += ["--track", "--save_agent_wandb", "--save_agent_with_switch"]
    life = Life(tmp_path, *sibling.small, *flags, fault=("track_offline",), sibling=sibling)
    assert life.end() == 0, (tmp_path / "output.txt").read_text()
    assert "Traceback" not in (tmp_path / "output.txt").read_text()
    run = only_run(tmp_path)
    (offline,) = tmp_path.glob("wandb/offline-run-*")
    logged = read_scalars(run)
    assert {f"losses/{sibling.loss}", "charts/SPS", "switch/number", "episodic_return_by_modif/no_modif"} <= set(logged)
    for name, values in logged.items():
        kept = dict(history_of(offline, name))  # of several games that end at one step, W&B keeps the last
        assert kept == {step: pytest.approx(value, rel=1e-6) for step, value in values}, name
    record = next(offline.glob("*.wandb")).read_bytes()
    for agent in run.glob("*.cleanrl_model"):
        assert agent.name.encode() in record
        assert load_checkpoint(agent).extra["wandb_run_id"] == offline.name.rsplit("-", 1)[1]
    assert len(list(run.glob("*.cleanrl_model"))) == 3
