"""Lines for the user, which are a view of a run: where they cannot be printed, it goes on without them."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line, to standard output where no other stream is named; see `drop` for what refuses it."""
    stream = sys.stdout if stream is None else stream
    try:
        print(line, file=stream, flush=True)
    except BlockingIOError:  # for the moment: this line is lost, and no other
        pass
    except OSError as error:
        drop(stream, error)


def drop(stream: TextIO, error: OSError) -> None:
    """Go on without standard output or standard error: a reader is gone, a terminal closed, a disk full.

    The other one says so, once.
    """
    for name, other in (("stdout", "stderr"), ("stderr", "stdout")):
        if getattr(sys, name) is stream:
            # In its place, so that nobody fails at it again, and the interpreter not at its end.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open to the end)
            reason = f"nothing can be printed to {name} any more ({error.strerror or error})"
            say(f"warning: {reason}; training goes on, this is said once", getattr(sys, other))
