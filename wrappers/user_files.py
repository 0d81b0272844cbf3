"""Python files of users, `--new_rf` and `--modification_file`: found, known again by digest, and run for one game.

Each game runs such a file anew, with generators of its own in place of `random` and `np.random`: so nothing that the
file draws or keeps in its globals depends on which games share a process.
"""

from __future__ import annotations

import builtins
import hashlib
import os
import random
import types
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from continual_hackatari.wrappers.errors import GameError, ModificationError


class UserFile(NamedTuple):
    """Which file, and what is in it."""

    path: str = ""
    digest: str = ""
    """SHA-256, in hexadecimal digits"""

    @property
    def name(self) -> str:
        return Path(self.path).name


NO_FILE = UserFile()


class _Kind(NamedTuple):
    error: type[ValueError]
    defines: str
    another: str
    """what a file holds that is not the recorded one"""


_KINDS = {
    "modification_file": _Kind(ModificationError, "MODIFICATIONS", "other rules than those"),
    "new_rf": _Kind(GameError, "reward_function(env) -> float", "another reward than that"),
}
"""By the flag that names such a file."""


def find_file(flag: str, path: str, digest: str = "", copies: Sequence[Path] = ()) -> UserFile:
    """The file at `path`; of one that was recorded with its `digest`, the first of `copies` and `path` that has it.

    Raises:
        GameError, ModificationError: there is no such file, or its contents are others than those recorded.
    """
    if not path:
        return NO_FILE
    error, defines, another = _KINDS[flag]
    candidates = [candidate for candidate in (*copies, Path(path)) if os.path.isfile(candidate)]
    if not candidates:
        raise error(f"`{flag}`: there is no file {path}; give a Python file that defines {defines}")
    found = [UserFile(str(candidate.resolve()), _digest(_read(flag, candidate))) for candidate in candidates]
    for file in found:
        if digest in ("", file.digest):
            return file
    raise error(
        f"`{flag}`: {candidates[-1]} holds {another} recorded (digest {found[-1].digest[:12]}, recorded "
        f"{digest[:12]}); put the recorded file back"
    )


@cache
def content_of(flag: str, file: UserFile) -> bytes:
    """What is in the file; read once, so that a process plays what it began with.

    Raises:
        GameError, ModificationError: it is not what was recorded, or cannot be read.
    """
    find_file(flag, *file)  # or it has changed
    return _read(flag, Path(file.path))


def run_file(flag: str, file: UserFile, python: random.Random, numpy: np.random.RandomState) -> Any:
    """A new module of the file, for one game; see `run_with`.

    Raises:
        GameError, ModificationError: it cannot be run.
    """
    module = types.ModuleType(flag)
    module.__file__ = file.path
    content_of(flag, file)  # what is wrong with that is not wrong with the code
    try:
        run_with(module, _code_of(flag, file), python, numpy)
    except (Exception, SystemExit) as error:  # whatever somebody's file raises
        raise _KINDS[flag].error(f"`{flag}`: {file.path} cannot be run: {error!r}") from error
    return module


def run_with(module: Any, code: types.CodeType, python: random.Random, numpy: np.random.RandomState) -> None:
    """Run a module that gets the given generators, wherever it imports `random` or `np.random`."""
    own_random = _stand_in(random, {name: getattr(python, name) for name in random.__all__ if hasattr(python, name)})
    drawing = {name: getattr(numpy, name) for name in np.random.__all__ if hasattr(numpy, name)}

    def default_rng(seed: Any = None) -> np.random.Generator:
        return np.random.default_rng(numpy.randint(2**32, dtype=np.uint64) if seed is None else seed)

    alike = {"default_rng": default_rng, "sample": numpy.random_sample, "ranf": numpy.random_sample}
    own_numpy_random = _stand_in(np.random, {**drawing, **alike})
    own_numpy = _stand_in(np, {"random": own_numpy_random})
    stand_ins = {random: own_random, np: own_numpy, np.random: own_numpy_random}

    def own_import(*arguments: Any, **more: Any) -> Any:
        imported = builtins.__import__(*arguments, **more)
        return stand_ins.get(imported, imported)

    module.__builtins__ = {**vars(builtins), "__import__": own_import}
    exec(code, module.__dict__)


def _stand_in(module: types.ModuleType, other: Mapping[str, Any]) -> types.ModuleType:
    """A module as this one, but for some of what is in it."""
    copied = types.ModuleType(module.__name__)
    copied.__dict__.update(vars(module), **other)
    return copied


@cache
def _code_of(flag: str, file: UserFile) -> types.CodeType:
    return compile(content_of(flag, file), file.path, "exec")


def _read(flag: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _KINDS[flag].error(f"`{flag}`: {path} cannot be read: {error.strerror}") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
