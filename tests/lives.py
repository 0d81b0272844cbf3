"""Training runs in processes of their own that can be killed at chosen or random points; they start within moments."""

import importlib
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from conftest import PATIENCE
from siblings import PPO

import continual_hackatari.training.resume
import continual_hackatari.training.run
from continual_hackatari.reporting.rows import FINAL
from continual_hackatari.training import cost, evaluations
from continual_hackatari.training.run import Run
from continual_hackatari.training.tracking import Tracker
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

CONTEXT = multiprocessing.get_context("forkserver")
# What a run loads after its start too, so that no run has to do it anew.
CONTEXT.set_forkserver_preload([PPO.module, "torch._dynamo", "matplotlib.pyplot"])


class Life:
    """One process of a training script, with `folder` as its current folder; its output is in `folder`/output.txt."""

    def __init__(self, folder: Path, *flags, fault=None, sibling=PPO):
        self.output = folder / "output.txt"
        self._process = CONTEXT.Process(target=_live, args=(str(folder), flags, fault, sibling), daemon=True)
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def running(self):
        return self._process.is_alive()

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)

    def end(self):
        """Wait for the end; the exit code, negative for a signal."""
        self._process.join(PATIENCE)
        assert not self.running, "the run hangs"
        return self._process.exitcode

    def wait_for(self, condition):
        """Wait until `condition()` holds or the process has ended."""
        deadline = time.monotonic() + PATIENCE
        while not condition() and self.running:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _live(folder, flags, fault, sibling):
    os.chdir(folder)
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    cost.PROBED_STEPS = 60  # as in conftest.py
    training = importlib.import_module(sibling.module)
    if fault is not None:
        name, *arguments = fault
        FAULTS[name](training, *arguments)
    sys.argv = [sibling.file.name, *flags]
    training.main(list(flags))


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _at_call(function, number, act):
    """`function`, which calls `act` before its call of this number."""
    calls = iter(range(1, 10**9))

    def replacement(*args, **kwargs):
        if next(calls) == number:
            act()
        return function(*args, **kwargs)

    return replacement


def die_while_writing(training, number):
    """SIGKILL in the middle of writing the resume file of this number."""
    writes = iter(range(1, 10**9))

    class Half:
        def __init__(self, path, mode):
            self.file = open(path, mode, buffering=0)  # noqa: SIM115

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.file.close()

        def write(self, content):
            if next(writes) == number:
                self.file.write(content[: len(content) // 2])
                _die()
            self.file.write(content)

        def flush(self):
            pass

        def fileno(self):
            return self.file.fileno()

    continual_hackatari.training.resume.open = Half


def die_while_renaming(training, number):
    """SIGKILL before the rename of this number: that of args.json, then two for every save, of the old and new file."""
    os.replace = _at_call(os.replace, number, _die)


def die_at_the_end(training, number):
    """SIGKILL at the run's end: 0 before its last model is written, else before this removal of a saved state."""
    if number == 0:
        save_agent = Run.save_agent
        Run.save_agent = lambda run, path: _die() if path.name == FINAL else save_agent(run, path)
        return
    forget = continual_hackatari.training.run.forget_states

    def replacement(*args, **kwargs):
        Path.unlink = _at_call(Path.unlink, number, _die)
        forget(*args, **kwargs)

    continual_hackatari.training.run.forget_states = replacement


def die_in_switch(training, method, number):
    """SIGKILL before this call of a step of the switch."""
    owners = {"set_modifications": ModifiedVectorEnv, "switch": Tracker, "save_agent": Run}
    owner = owners.get(method, training)
    setattr(owner, method, _at_call(getattr(owner, method), number, _die))


def die_in_evaluation(training, name, number):
    """SIGKILL in continual evaluation: before the results of the job of this number are written (`add_results`), or
    this many steps into its games (`_advance`), while worker processes play them."""
    evaluations.SECONDS_WITHOUT_A_WORD = 0.0  # so that every step is one, and jobs end one by one
    setattr(evaluations, name, _at_call(getattr(evaluations, name), number, _die))


def disk_full(training, after):
    """No room for another resume file after this many."""
    import errno

    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    continual_hackatari.training.resume.open = lambda *args: next(opened)(*args)
    opened = iter([open] * after + [lambda *args: full()] * 1000)


def folder_replaced(training, number):
    """Before the save of this number the run folder moves away and a file takes its place."""

    def replace():
        (run,) = Path("runs").iterdir()
        run.rename(f"{run}.moved")
        run.touch()

    Run.save = _at_call(Run.save, number, replace)


def loss_becomes_nan(training, number):
    """The gradient step of this number has a loss that is not a number, because a weight is none."""
    import torch

    step = training.minibatch_step
    calls = iter(range(1, 10**9))

    def replacement(args, agent, *others, **named):
        if next(calls) == number:
            next(agent.parameters()).data.fill_(torch.nan)
        return step(args, agent, *others, **named)

    training.minibatch_step = replacement


def two_signals(training, number):
    """SIGTERM twice before the gradient step of this number."""

    def send():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)

    training.minibatch_step = _at_call(training.minibatch_step, number, send)


def clock_set_back(training):
    """Every look at the clock of the wall shows a second less."""
    seconds = iter(range(2_000_000_000, 0, -1))
    time.time = lambda: float(next(seconds))


def tensorboard_fails(training, number):
    """TensorBoard refuses the number with this number."""
    from continual_hackatari.training.tracking import SummaryWriter

    def fail():
        raise OSError("no more numbers")

    SummaryWriter.add_scalar = _at_call(SummaryWriter.add_scalar, number, fail)


def track_offline(training, fault=None):
    """W&B without a connection, and another fault."""
    os.environ["WANDB_MODE"] = "offline"
    if fault is not None:
        name, *arguments = fault
        FAULTS[name](training, *arguments)


FAULTS = {
    function.__name__: function
    for function in (
        die_while_writing,
        die_while_renaming,
        die_at_the_end,
        die_in_evaluation,
        die_in_switch,
        disk_full,
        folder_replaced,
        loss_becomes_nan,
        clock_set_back,
        tensorboard_fails,
        track_offline,
        two_signals,
    )
}
