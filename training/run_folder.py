"""The run folder: one new folder per run, with names that are safe whatever a user types."""

import contextlib
import hashlib
import itertools
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from continual_hackatari.names import UNMODIFIED
from continual_hackatari.reporting.rows import ARGS
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.files import atomic_path

JOB = "torchrun.txt"
_ON_THE_WAY = re.compile(r"(?:switch_(\d+)|agent)_step(\d+)_.+\.cleanrl_model")


class SavedAgent(NamedTuple):
    """A checkpoint that a run has saved before its end."""

    global_step: int
    switch: int
    """the number of the switch before which it was saved; 0: saved every so many steps"""
    path: Path


def switch_checkpoint(folder: Path, number: int, global_step: int, modification: str) -> Path:
    """Where the agent of the regime of `modification` is saved at the switch that ends it."""
    return folder / f"switch_{number}_step{global_step}_{slug(modification)}.cleanrl_model"


def step_checkpoint(folder: Path, global_step: int, modification: str) -> Path:
    """Where the agent is saved every so many steps."""
    return folder / f"agent_step{global_step}_{slug(modification)}.cleanrl_model"


def saved_agents(folder: str | Path) -> list[SavedAgent]:
    """What a run has saved on its way, in the order of the training, whatever the order of the names."""
    found = ((path, _ON_THE_WAY.fullmatch(path.name)) for path in Path(folder).glob("*_step*.cleanrl_model"))
    return sorted(SavedAgent(int(match[2]), int(match[1] or 0), path) for path, match in found if match)


def create_run_folder(
    root: str | Path,
    *,
    env_id: str,
    seed: int,
    exp_name: str,
    architecture: str,
    now: float | None = None,
) -> Path:
    """Create and return `<root>/<env>_s<seed>__<exp>__<architecture>[_<method>...]__<unix time>`.

    A folder is never used twice: runs that start in the same second get `-2`, `-3`, ... at the end. `now` is the time
    in seconds since 1970, by default the clock's. Raises ConfigError, and leaves nothing, when that is impossible.
    """
    root = Path(root)
    method = safe_name(architecture, 80)
    start = int(time.time() if now is None else now)
    name = f"{safe_name(env_id, 60)}_s{seed}__{safe_name(exp_name, 80)}__{method}__{start}"
    missing_parents = [folder for folder in (root, *root.parents) if not os.path.exists(folder)]
    try:
        root.mkdir(parents=True, exist_ok=True)
        return _new_folder(root, name)
    except (OSError, ValueError) as error:  # ValueError: what no file system can hold
        for parent in missing_parents:  # innermost first; one that was not created or is in use stays
            with contextlib.suppress(OSError, ValueError):
                parent.rmdir()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"No run folder can be created in `{root}`: {reason}; choose a folder you can write."
        ) from None


def _new_folder(root: Path, name: str) -> Path:
    # mkdir is the test: asking first whether the name is free would let two runs take the same one.
    candidates = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    while True:
        folder = root / next(candidates)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder


def write_job(folder: str | Path, job: str) -> None:
    """Note in the run folder which job of several processes runs there, for `folder_of_job`."""
    with atomic_path(Path(folder) / JOB) as temporary:
        temporary.write_text(_note(folder, job), encoding="utf-8")


def _note(folder: str | Path, job: str) -> str:
    # A copy of the folder, under another name, is not where the job runs.
    return f"{job}\n{Path(folder).resolve().name}"


def folder_of_job(root: str | Path, job: str) -> Path | None:
    """The run folder in `root` where `job` runs, the newest one; None where there is none."""
    found = _folders_of_job(root, job)
    return max(found)[1] if found else None


def _folders_of_job(root: str | Path, job: str) -> list[tuple[int, Path]]:
    """With the time at which each was noted."""
    found = []
    for path in Path(root).glob(f"*/{JOB}"):
        with contextlib.suppress(OSError, ValueError):  # not readable, not text: of no run of this job
            if path.read_text(encoding="utf-8") == _note(path.parent, job):
                found.append((path.stat().st_mtime_ns, path.parent))
    return found


def forget_job(root: str | Path, job: str) -> None:
    """A new job has the name of an old one: nothing in `root` is the folder of this job."""
    for _, folder in _folders_of_job(root, job):
        with contextlib.suppress(OSError):  # another user's; the run of this job will be the newest
            (folder / JOB).unlink()


def safe_name(text: str, max_bytes: int) -> str:
    """`text` as one part of a file name: letters, digits and `. _ -` stay, all else becomes `-`; never empty.

    Slashes and leading dots go, so that the result cannot leave its folder or hide in it. The length counts in bytes of
    UTF-8, as file systems count it. Different texts may give the same name; `slug` is the function without that.
    """
    kept = "".join(character if character.isalnum() or character in "._-" else "-" for character in text)
    if kept.startswith("."):
        kept = "-" + kept.lstrip(".")
    return _cut(kept, max_bytes) or "unnamed"


def slug(modification: str, max_length: int = 80) -> str:
    """A modification string as part of a file name: words joined by `+`, `no_modif` for the unmodified game.

    At most `max_length` bytes. Where characters must be replaced or the string shortened, `~` and a hash of the whole
    string follow, so that two different modifications never share a name.

    >>> slug("all_green_cars  disable_cars")
    'all_green_cars+disable_cars'
    """
    words = modification.split()
    if not words:
        return UNMODIFIED
    readable = "+".join(safe_name(word, max_length) for word in words)
    # Unchanged words hold no `+`, no `~` and no space, so splitting at `+` gives the string back: no two can meet.
    if readable.split("+") == words and len(readable.encode()) <= max_length and readable != UNMODIFIED:
        return readable
    digest = hashlib.sha256(" ".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{_cut(readable, max_length - 13)}~{digest}"


def _cut(text: str, max_bytes: int) -> str:
    return text.encode()[: max(max_bytes, 0)].decode(errors="ignore")  # a character cut in half is dropped whole


def write_args(folder: str | Path, args: Mapping[str, Any]) -> Path:
    """Write `args` (plain values) to `args.json` in the folder, whole or not at all; returns its path."""
    path = Path(folder) / ARGS
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(args, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
