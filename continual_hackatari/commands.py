"""How a user starts this project's commands where something advises to: in a clone by file, installed by name."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def script_words(name: str) -> list[str]:
    """What starts a script of this project, such as ``report.py``, in the current folder."""
    if _in_a_clone():
        return ["python", os.path.relpath(ROOT / name)]
    stem = Path(name).stem
    return [f"continual-hackatari-{'train' if stem == 'continual_training_example' else stem}"]


def modifications_command(*words: str) -> str:
    """What lists modifications; in other folders than the clone `wrappers` may be somebody else's."""
    if not _in_a_clone():
        start = ["continual-hackatari-modifications"]
    elif Path.cwd() == ROOT:
        start = ["python", "-m", "wrappers.modifications"]
    else:
        found = f"PYTHONPATH={os.path.relpath(ROOT)}"
        start = ["env", found, "python", "-m", "continual_hackatari.wrappers.modifications"]
    return shlex.join([*start, *words])


def _in_a_clone() -> bool:
    return (ROOT / "pyproject.toml").is_file()
