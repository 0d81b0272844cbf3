"""What every training script does before and after it trains: read and check the settings, end with a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from continual_hackatari.agents.finite import NotFiniteError
from continual_hackatari.training.checkpoints import CheckpointError
from continual_hackatari.training.config import sentence
from continual_hackatari.training.ending import test_finished_run
from continual_hackatari.training.printing import say
from continual_hackatari.training.ranks import Ranks, RanksError
from continual_hackatari.training.setup import USER_ERRORS, ArgsT, Script, Setup, prepare
from continual_hackatari.training.system import keep_freed_memory
from continual_hackatari.wrappers.errors import WorkerError

FAILURES = (CheckpointError, NotFiniteError, RanksError, WorkerError)
"""Of a run that was well begun; the message is one sentence."""


def main(script: Script[ArgsT], train: Callable[[Setup[ArgsT]], None], argv: Sequence[str] | None = None) -> None:
    """Check everything a user can get wrong, then train; what goes wrong is one sentence and an exit code."""
    ranks = Ranks.of_this_process()
    try:
        with ranks:
            setup = prepare(script, argv, ranks)
            if setup.finished:
                test_finished_run(setup)
            else:
                keep_freed_memory()
                train(setup)
    except USER_ERRORS as error:
        say(f"error: {ranks.name}{sentence(error)}", sys.stderr)
        ranks.end(2)
    except FAILURES as error:
        say(f"error: {ranks.name}{error}", sys.stderr)
        ranks.end(1)
    except SystemExit as stop:  # help, a signal, or the main rank has said why
        if ranks.alone or not isinstance(stop.code, int):
            raise
        ranks.end(stop.code)
    if not ranks.alone:
        ranks.end(0)
