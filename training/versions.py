"""What made a run: versions, processor and command line, kept in its args.json beside the settings."""

import json
import os
import platform
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from continual_hackatari.agents.own import is_own
from continual_hackatari.commands import script_words
from continual_hackatari.reporting.rows import ARGS

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "continual-hackatari"
PACKAGES = ("numpy", "torch", "ale-py", "hackatari", "ocatari")
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


def evaluation_command(architecture: str, script: str, *words: str) -> list[str]:
    """What a user types to evaluate an agent; with where the class of a `module:Class` is."""
    command = [*script_words("eval.py"), *words]
    if not is_own(architecture):
        return command
    name = architecture.partition(":")[0]
    file = getattr(sys.modules.get(name), "__file__", None) or script
    folder = os.path.relpath(Path(file).resolve().parents[name.count(".")])
    return ["env", f"PYTHONPATH={folder}", *command, "--architecture", architecture]


def made_by(folder: Path, global_step: int, script: str) -> dict[str, Any]:
    """What args.json says of how the run in `folder` is made, besides its settings, at its start or where it goes on.

    A run that goes on keeps what it began with; what made it since is added to a list, `resumed`, with the step.
    """
    now: dict[str, Any] = {"versions": versions(), "processor": processor(), "command": shlex.join(sys.orig_argv)}
    now["script"] = os.path.abspath(script)
    try:
        before = json.loads((folder / ARGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return now
    kept = {name: before[name] for name in now if name in before}  # nothing where an earlier version began it
    return {**kept, "resumed": [*before.get("resumed", []), {"global_step": global_step, **now}]}


def versions(root: Path = ROOT) -> dict[str, str]:
    """Versions of this project (with its commit in a clone), of Python and of what decides about the numbers."""
    found = {PROJECT: _own_version(root), "commit": commit(root), "python": platform.python_version()}
    found |= {name: _version_of(name) for name in PACKAGES}
    found["opencv"] = next(filter(None, map(_version_of, OPENCV)), None)
    return {name: version for name, version in found.items() if version is not None}


def _own_version(root: Path) -> str | None:
    """From the clone that runs; another version may be the installed one."""
    path = root / "pyproject.toml"
    match = re.search(r'^version = "(.+)"$', path.read_text(encoding="utf-8"), re.M) if path.exists() else None
    return match[1] if match else _version_of(PROJECT)


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit(root: Path) -> str | None:
    """The commit that is checked out in the clone `root`, read from its files; None where it is no clone."""
    folder = root / ".git"
    try:
        if folder.is_file():  # a further worktree of a clone: a file that names its folder
            folder = root / folder.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (folder / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref:"):
            return head
        name, shared = head.removeprefix("ref:").strip(), folder / "commondir"
        common = folder / shared.read_text(encoding="utf-8").strip() if shared.exists() else folder
        for place in (folder, common):
            if (place / name).is_file():
                return (place / name).read_text(encoding="utf-8").strip()
        packed = (common / "packed-refs").read_text(encoding="utf-8")
    except OSError:
        return None
    return next((line.split()[0] for line in packed.splitlines() if line.endswith(f" {name}")), None)


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.exists() else ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return match[1].strip() if match else platform.processor() or platform.machine()
