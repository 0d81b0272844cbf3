"""Workers that die, hang or fail: the error names them, nothing waits for ever, no process is left behind."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import PATIENCE
from processes import alive, descendants, wait_until_gone, workers_from_now_on
from test_vector import ROOT, play

from continual_hackatari import continual_training_example as training
from continual_hackatari.training import ending, evaluations, playing, run_evaluation
from continual_hackatari.training.run import open_games
from continual_hackatari.wrappers import processes, vector
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.errors import GameError, WorkerError
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

# Workers whose modification parallel_enemy of Pong does something else, once the game is under way.
FAULTY = """
import sys; sys.path.insert(0, sys.argv.pop(1))
import ctypes, os, time
from continual_hackatari.wrappers.modifications import supplementary as supplement

def start(game, _python, _numpy):
    calls = []
    def frame():
        calls.append(0)
        if len(calls) > 200:
            {fault}
    return supplement.Hooks(frame=frame)

supplement.SUPPLEMENT["Pong"]["parallel_enemy"] = supplement.Rule("Faulty.", start, ())
from continual_hackatari.wrappers.worker import main; main()
"""


def make(num_envs=4, num_workers=2, **settings):
    settings = {"worker_timeout": PATIENCE, **settings}
    config, _ = game_config("ALE/Pong-v5", game_start="none")  # so that a rule's calls are those of the steps
    return ModifiedVectorEnv(config, num_envs, num_workers=num_workers, **settings)


def assert_every_call_raises(envs, error):
    """After a failure no call returns numbers of a game that is no longer played."""
    for call in (
        lambda: envs.step(np.zeros(4, int)),
        lambda: envs.step_wait(0),
        lambda: envs.set_modifications("", "reset"),
        envs.get_state,
        envs.cut_games,
    ):
        with pytest.raises(WorkerError) as raised:
            call()
        assert raised.value is error


FAULTS = [
    ("raise ZeroDivisionError('of the rule')", r"failed under.*ZeroDivisionError: of the rule", False),
    ("raise EOFError('not the pipe')", r"failed under.*EOFError: not the pipe", True),
    ("sys.exit(3)", r"failed under.*SystemExit: 3", True),
    ("os._exit(7)", r"ended unexpectedly \(exit code 7\) under", True),
    ("ctypes.string_at(0)", r"ended unexpectedly \(killed by SIGSEGV\) under", False),
    ("time.sleep(1000)", r"has not answered for 2 s under.*was killed", True),
    ("while True: pass", r"has not answered for 2 s under.*was killed", True),
]


@pytest.mark.parametrize(
    ("fault", "words"),
    [pytest.param(*case[:2], id=case[0], marks=[pytest.mark.slow] if case[2] else []) for case in FAULTS],
)
def test_a_faulty_modification_ends_all_workers(monkeypatch, fault, words):
    monkeypatch.setattr(processes, "_BOOTSTRAP", FAULTY.format(fault=fault))
    started = workers_from_now_on(monkeypatch)
    envs = make()
    pids = envs.worker_pids()
    envs.set_modifications("parallel_enemy", "reset")
    if "has not answered" in words:
        envs.worker_timeout = 2.0
    worker = r"(?s)^worker (0 \(environments 0, 2|1 \(environments 1, 3) of ALE/Pong-v5\) "
    with pytest.raises(WorkerError, match=worker + words) as raised:
        play(envs, 200)
    assert "modifications 'parallel_enemy'" in str(raised.value)
    assert alive(pids) == []
    assert_every_call_raises(envs, raised.value)
    envs.close()
    assert [worker.pid for worker in started] == pids
    assert all(worker.returncode is not None for worker in started), "ended, and waited for"


@pytest.mark.slow
@pytest.mark.parametrize("order", [(0, 1), pytest.param((1, 0), marks=pytest.mark.slow)])
def test_the_reason_is_told_even_where_the_next_command_finds_nobody(monkeypatch, order):
    monkeypatch.setattr(processes, "_BOOTSTRAP", FAULTY.format(fault="raise ZeroDivisionError('of the rule')"))
    envs = make(num_groups=2)
    envs.set_modifications("parallel_enemy", "reset")

    def play_slowly():
        while True:
            envs.step_async(np.zeros(2, int), order[0])
            time.sleep(0.2)  # if this group fails, its workers end before the other group is sent
            envs.step_async(np.zeros(2, int), order[1])
            for group in order:
                envs.step_wait(group)

    play(envs, 40)  # the rule fails a few steps later
    with pytest.raises(WorkerError, match="ZeroDivisionError: of the rule"):
        play_slowly()
    envs.close()


HOW = {
    signal.SIGKILL: r"ended unexpectedly \(killed by SIGKILL\)",
    signal.SIGSEGV: r"ended unexpectedly \(killed by SIGSEGV\)",
    signal.SIGSTOP: "has not answered for 15 s",
}
CALLS = ("step", "set_modifications", "get_state")
QUICK = [(signal.SIGKILL, "step"), (signal.SIGSTOP, "get_state")]


@pytest.mark.parametrize(
    ("sent", "call"),
    [
        pytest.param(sent, call, marks=[] if (sent, call) in QUICK else [pytest.mark.slow])
        for sent in HOW
        for call in CALLS
    ],
)
def test_a_worker_that_a_signal_ends_or_stops(monkeypatch, sent, call):
    monkeypatch.setattr(vector, "GAME_TIMEOUT", 0.0)
    envs = make()
    envs.set_modifications("lazy_enemy", "reset")
    if sent == signal.SIGSTOP:
        envs.worker_timeout = 15.0  # long for the other worker, which answers
    pids = envs.worker_pids()
    os.kill(pids[1], sent)
    calls = {
        "step": lambda: play(envs, 3),
        "set_modifications": lambda: envs.set_modifications("", "live"),
        "get_state": envs.get_state,
    }
    with pytest.raises(WorkerError, match=r"^worker 1 \(environments 1, 3 of ALE/Pong-v5\) " + HOW[sent]) as raised:
        calls[call]()
    assert f"modifications {'' if call == 'set_modifications' else 'lazy_enemy'!r}" in str(raised.value)
    assert alive(pids) == []
    assert_every_call_raises(envs, raised.value)
    envs.close()


class Clock:
    """In the place of a worker's poll: a wait for an answer of which `silent` parts pass without one, none in truth."""

    def __init__(self, readable, silent):
        self.readable, self.silent, self.waited = readable, silent, []

    def poll(self, milliseconds):
        self.waited.append(milliseconds)
        return [] if len(self.waited) <= self.silent else self.readable.poll(milliseconds)


def test_the_time_for_which_a_run_was_suspended_is_not_a_workers_silence():
    """As a poll returns that begins before everything is suspended and ends after it: empty, whatever the limit."""
    with closing(make(num_workers=1)) as envs:
        (worker,) = envs._workers
        worker._readable = Clock(worker._readable, silent=1)
        play(envs, 2, {0: ("", "reset")})


def test_a_silence_in_parts_is_as_long_as_the_limit(monkeypatch):
    monkeypatch.setattr(vector, "GAME_TIMEOUT", 0.0)
    envs = make(num_workers=1)
    (worker,) = envs._workers
    clock = worker._readable = Clock(worker._readable, silent=sys.maxsize)
    with pytest.raises(WorkerError, match=f"has not answered for {PATIENCE:.0f} s"):
        envs.cut_games()
    assert sum(clock.waited) == pytest.approx(1000 * PATIENCE)
    envs.close()


@pytest.mark.slow
def test_a_stopped_worker_does_not_block_a_long_message(monkeypatch):
    monkeypatch.setattr(vector, "GAME_TIMEOUT", PATIENCE)  # its start may take as long as it needs
    envs = make(worker_timeout=1.0)
    os.kill(envs.worker_pids()[0], signal.SIGSTOP)
    with pytest.raises(WorkerError, match=r"worker 0 .* has not answered for 1 s"):
        envs._everywhere("record_next_game", "x" * 10_000_000)


@pytest.mark.slow
def test_closing_does_not_wait_for_ever_for_a_stopped_worker():
    envs = make()
    pids = envs.worker_pids()
    envs.set_modifications("", "reset")
    envs.worker_timeout = 1.0
    os.kill(pids[0], signal.SIGSTOP)
    envs.close()
    assert alive(pids) == []


@pytest.mark.slow
def test_a_failed_worker_leaves_the_videos_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(vector, "CLOSING_TIMEOUT", PATIENCE)
    envs = make()
    envs.record_next_game(tmp_path / "step0")  # environment 0, of worker 0
    play(envs, 100, {0: ("", "reset")})
    os.kill(envs.worker_pids()[1], signal.SIGKILL)
    with pytest.raises(WorkerError, match="worker 1"):
        play(envs, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["step0_cut.mp4"]


@pytest.mark.parametrize("sent", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
@pytest.mark.parametrize("thread", [False, True], ids=["main thread", "other thread"])
def test_a_killed_parent_leaves_no_process(tmp_path, sent, thread):
    """Neither workers, also a stopped one, nor the encoder of a video in progress."""
    program = f"""
        import sys, threading, time
        from pathlib import Path
        import numpy as np
        from continual_hackatari.wrappers.config import game_config
        from continual_hackatari.wrappers.vector import ModifiedVectorEnv

        def run():
            global envs
            envs = ModifiedVectorEnv(game_config("ALE/Pong-v5")[0], 3, num_workers=3)
            envs.record_next_game(Path({str(tmp_path / "step0")!r}))
            envs.set_modifications("lazy_enemy", "reset")
            for _ in range(20):
                envs.step(np.zeros(3, int))

        if {thread}:  # its end must not take the workers along
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            time.sleep(0.3)
            envs.step(np.zeros(3, int))
        else:
            run()
        print(*envs.worker_pids(), flush=True)
        while True:
            time.sleep(1)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 3
        everyone = descendants(parent.pid)
        assert len(everyone) > 3, "there is an encoder"
        if not thread:
            os.kill(pids[1], signal.SIGSTOP)
        parent.send_signal(sent)
        parent.wait()
        wait_until_gone(everyone)
    finally:
        parent.kill()
        parent.stdout.close()


def test_the_time_limit_of_a_training_run_is_a_flag():
    setup = training.prepare(
        ["--num_envs", "1", "--num_workers", "1", "--worker_timeout", "777", "--num_minibatches", "1"]
    )
    with closing(open_games(setup)) as envs:
        assert envs.worker_timeout == 777.0
    assert training.RULES["worker_timeout"].changeable


def test_games_of_evaluations_wait_as_long_as_those_of_the_training(tmp_path, monkeypatch):
    flags = ["--num_envs", "1", "--num_workers", "1", "--worker_timeout", "777", "--num_minibatches", "1"]
    setup = training.prepare([*flags, "--eval_every", "1000000", "--test_modifs", "no_modif"])
    (tmp_path / "args.json").write_text(json.dumps({"env_id": "ALE/Pong-v5", "worker_timeout": 777.0}))
    settings = run_evaluation.settings_of(tmp_path)
    later, *_ = run_evaluation.plan_run(run_evaluation.Args(run=str(tmp_path)), tmp_path, settings)
    seen = []

    def opened(*_, worker_timeout, **__):
        seen.append(worker_timeout)
        raise WorkerError("none are needed")

    monkeypatch.setattr(playing, "ModifiedVectorEnv", opened)
    shapes = SimpleNamespace(observation_shape=(4, 84, 84), num_actions=6)
    between = evaluations.open_evaluations(setup, tmp_path, shapes, print)._evaluator
    agent = SimpleNamespace(parameters=lambda: iter([torch.zeros(1)]))
    for games in (
        between._open,
        evaluations.Evaluator(later)._open,
        lambda: ending.test(setup.args, agent, setup.game, None, 0),
    ):
        with pytest.raises(WorkerError, match="none are needed"):
            games()
    assert seen == [777.0] * 3


def test_the_memory_of_the_games_lies_where_there_is_room(monkeypatch):
    """/dev/shm of a container may be too small, which would show as a silent SIGBUS when a page is touched."""
    reserve, full = os.posix_fallocate, [True]

    def refuse_some(*arguments):
        if full.pop(0):
            raise OSError(errno.ENOSPC, "No space left on device")
        reserve(*arguments)

    monkeypatch.setattr(os, "posix_fallocate", refuse_some)
    full.append(False)
    with processes.anonymous_file(2**20) as file:
        assert os.fstat(file.fileno()).st_size == 2**20
        assert os.fstat(file.fileno()).st_blocks * 512 >= 2**20
    full += [True, True]
    with pytest.raises(GameError, match=r"1 MiB .* neither /dev/shm nor .* has room"):
        processes.anonymous_file(2**20)
