"""Files that appear whole or not at all."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from continual_hackatari.training.printing import say


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block succeeds, it becomes `path` in one step.

    The block must create the temporary file (write it and close it). It is then flushed to the disk and renamed, so
    that a reader, or the next run after a power cut, finds either the old file or the new one, never a part of it.
    When the block raises, the temporary file is removed and `path` stays as it was.
    """
    path = Path(path)
    # In the same folder, because a rename is atomic only within one file system; short and unique, because the name of
    # the final file may already be as long as names can be, and two writers must not share a temporary file.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this process, until it is closed or the process ends; False where another one holds it.

    Where the system or the file system knows no such locks, the answer is True, and a line says so.
    """
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError) as error:  # Windows, or a file system without locks
        reason = getattr(error, "strerror", None) or "this system has none"
        say(f"note: no lock could be had ({reason}): a second process in the same folder would not be noticed")
    return True


def _sync_folder(folder: Path) -> None:
    """Flush the folder's own entry to the disk, without which the rename itself could be lost in a power cut."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems flush files only
            raise
    finally:
        os.close(descriptor)
