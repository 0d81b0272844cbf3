"""What a stopped run needs to go on as if it had never been stopped: one file, sealed, read as plain data.

`resume.pt` is `torch.save` of nested plain values, followed by a seal: a word and the SHA-256 of all before it. A file
that was cut short or changed anywhere does not fit its seal. It is read with `weights_only=True`: data cannot run code.
"""

import contextlib
import hashlib
import io
import os
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from continual_hackatari.reporting.rows import ARGS, PREVIOUS, RESUME
from continual_hackatari.reporting.runs import advice_on
from continual_hackatari.training.checkpoints import CheckpointError
from continual_hackatari.training.files import atomic_path, try_lock
from continual_hackatari.training.run_folder import saved_agents

PASSED_OVER = "resume.passed_over.pt"
FORMAT = 1
SECONDS_BETWEEN_SAVES = 300.0
_SEAL = b"continual-hackatari resume file\n"
_DIGEST = hashlib.sha256().digest_size
_ARRAY, _INTEGER = "\0array", "\0integer"  # keys of what stands for a value that the reader does not know


class ResumeError(ValueError):
    """A run cannot be continued; the message is one sentence for the user."""


class UnreadableError(ResumeError):
    """The disk refuses a file that is there, and may give it the next time."""


# ------------------------------------------------------------------------------------------------------------ the file


def save_state(folder: str | Path, state: Mapping[str, Any]) -> None:
    """Write `state` to `resume.pt` in the folder; the one before it stays as `resume.previous.pt`.

    state: None, bool, int of any size, float, str, bytes, tensors, numpy arrays, and lists, tuples and dicts of these.
    At every moment, whatever happens, one of the two files is whole: a damaged `resume.pt`, from which the run could
    not go on, does not take the place of the one before it. Raises CheckpointError where it cannot be written.
    """
    path = Path(folder) / RESUME

    def keep_the_one_before() -> None:
        if _is_whole(path):
            os.replace(path, path.with_name(PREVIOUS))

    try:
        _write(path, state, keep_the_one_before)
    except OSError as error:
        kept = "; what was saved before is still there" if can_go_on(folder) else ""
        raise CheckpointError(f"`{path}` could not be written: {error.strerror or error}{kept}.") from error


def write_sealed(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state`, see `save_state`, to a file of its own, which appears whole or not at all.

    For what is too large for `resume.pt`, see `run.Filed`, whose files are all written by this. Raises CheckpointError
    where it cannot be written.
    """
    try:
        _write(path, state)
    except OSError as error:
        raise CheckpointError(f"`{path}` could not be written: {error.strerror or error}.") from error


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` wrote; raises ResumeError where the file is not whole."""
    return _read(path)


@contextlib.contextmanager
def sealing(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Write a sealed file of any content piece by piece, with what this yields; it appears whole or not at all.

    Raises CheckpointError where it cannot be written.
    """
    digest = hashlib.sha256()
    try:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:

            def write(piece: bytes) -> None:
                digest.update(piece)
                file.write(piece)

            yield write
            file.write(_SEAL + digest.digest())
    except OSError as error:
        raise CheckpointError(f"`{path}` could not be written: {error.strerror or error}.") from error


def _write(path: Path, state: Mapping[str, Any], before_rename: Callable[[], None] = lambda: None) -> None:
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "state": _pack("state", dict(state))}, buffer)
    buffer.write(_SEAL + hashlib.sha256(buffer.getbuffer()).digest())
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        before_rename()


def can_go_on(folder: str | Path) -> bool:
    """Whether the folder holds a state, of a run that has not ended or can be made longer."""
    return any((Path(folder) / name).exists() for name in (RESUME, PREVIOUS))


def forget_states(folder: str | Path, *, keep_last: bool) -> None:
    """A run has ended: remove what was saved for going on, but for `resume.pt` if that is to be kept."""
    names = (PASSED_OVER, PREVIOUS) if keep_last else (PASSED_OVER, PREVIOUS, RESUME)
    for name in names:  # in this order one is left if this is interrupted
        (Path(folder) / name).unlink(missing_ok=True)


def files_of(state: Mapping[str, Any]) -> list[str]:
    """Names of the files that belong to a state: of all ranks, what was too large for `resume.pt`."""
    ranks = (state, *state.get("other_ranks", ()))
    return [name for rank in ranks for name in rank.get("files", {}).values()]


def load_state(folder: str | Path, *, files: bool = True) -> tuple[dict[str, Any], list[str]]:
    """The state in `resume.pt`, or in `resume.previous.pt` where that one is damaged, and lines for the user.

    files: a state counts as damaged where one of the files that belong to it is, or where a CSV file has lost rows.
    Raises ResumeError where the folder holds neither state whole, and UnreadableError where one may be.
    """
    folder = Path(folder)
    if not (folder / ARGS).is_file():
        what = "is not the folder of a run; it has no args.json" if folder.exists() else "does not exist"
        raise ResumeError(f"`resume` names `{folder}`, which {what}; {advice_on(folder)}")
    problems: list[str] = []
    for name in (RESUME, PREVIOUS):
        try:
            state = _read(folder / name)
            for file in files_of(state) if files else ():
                _require_file(folder / file, name)
            if files:
                _require_rows(folder, state, name)
        except UnreadableError:
            raise
        except ResumeError as error:
            problems.append(str(error))
            continue
        return state, [f"note: {problem}; the run goes on from {name} instead" for problem in problems]
    if not can_go_on(folder):
        raise ResumeError(f"`resume`: `{folder}` has no {RESUME}: the run ended before its first save; start it again.")
    raise ResumeError(f"`resume`: {' and '.join(problems)}; this run cannot be continued.")


def seals(folder: str | Path) -> list[bytes]:
    """The ends of both states, by which they are known again; empty for one that is not there.

    Raises ResumeError where one cannot be read.
    """
    return [_seal(Path(folder) / name) for name in (RESUME, PREVIOUS)]


def _seal(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(-min(_DIGEST, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UnreadableError(f"`resume`: `{path}` cannot be read ({error.strerror or error}); try again") from None


def put_aside_passed_over(folder: Path, global_step: int) -> None:
    """Rename a `resume.pt` from which the run, which is at `global_step`, does not go on.

    Otherwise the next save would put it in the place of the one before it, which is the one that is whole.
    """
    try:
        usable = _read(folder / RESUME)["counters"]["global_step"] == global_step
    except UnreadableError:
        raise
    except (ResumeError, KeyError):
        usable = False
    if not usable:
        with contextlib.suppress(FileNotFoundError):
            os.replace(folder / RESUME, folder / PASSED_OVER)


def _require_file(path: Path, state: str) -> None:
    try:
        sealed_content(path)
    except ResumeError as error:
        raise type(error)(f"{state} needs a file of its own: {error}") from None


def _require_rows(folder: Path, state: Mapping[str, Any], name: str) -> None:
    for file, size in state.get("tracker", {}).get("files", {}).items():
        path = folder / file
        there = path.stat().st_size if path.exists() else 0
        if path.suffix == ".csv" and there < size:
            raise ResumeError(
                f"{name} needs the first {size:,} bytes of `{path}`, which has {there:,} now: put the whole file back"
            )


def sealed_content(path: Path) -> bytes:
    """What is before the seal; raises ResumeError where that does not fit or there is no such file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ResumeError(f"`{path}` cannot be read ({error.strerror})") from None
    except OSError as error:
        raise UnreadableError(
            f"`{path}` cannot be read ({error.strerror or error}); try again, and where that does not help, move this "
            "file out of the folder: the run goes on from the state before then"
        ) from None
    end = len(content) - len(_SEAL) - _DIGEST
    if end < 0 or content[end:] != _SEAL + hashlib.sha256(memoryview(content)[:end]).digest():
        raise ResumeError(f"`{path}` is damaged or cut short (its checksum does not fit)")
    return content[:end]


def _is_whole(path: Path) -> bool:
    try:
        return bool(sealed_content(path))
    except ResumeError:
        return False


def _read(path: Path) -> dict[str, Any]:
    content = sealed_content(path)
    try:
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the seal fits, so somebody made this file
        raise ResumeError(f"`{path}` is not plain data and was not loaded") from error
    if not isinstance(saved, dict) or not isinstance(saved.get("state"), dict) or "format" not in saved:
        raise ResumeError(f"`{path}` is not the state of a run")
    if saved["format"] != FORMAT:
        raise ResumeError(f"`{path}` has format {saved['format']}, but this version of the program reads {FORMAT}")
    return _unpack(saved["state"])


def _pack(name: str, value: Any) -> Any:
    """`value` in the types that `torch.load(weights_only=True)` reads."""
    if isinstance(value, bytes):
        return _packed_array(np.frombuffer(value, np.uint8), "bytes")
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufcSU":
        return _packed_array(np.asarray(value), "array" if isinstance(value, np.ndarray) else "scalar")
    if type(value) is int and not -(2**63) <= value < 2**63:
        return {_INTEGER: hex(value)}
    if type(value) in (dict, OrderedDict):
        return {_checked_key(name, key): _pack(f"{name}.{key}", item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_pack(f"{name}[{index}]", item) for index, item in enumerate(value))
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu()
    raise CheckpointError(
        f"`{name}` is a {type(value).__module__}.{type(value).__qualname__}, which is not plain data."
    )


def _packed_array(array: np.ndarray, kind: str) -> dict[str, Any]:
    memory = np.frombuffer(array.tobytes(), np.uint8).copy()  # torch lacks some of numpy's types
    return {_ARRAY: torch.from_numpy(memory), "kind": kind, "dtype": array.dtype.str, "shape": list(array.shape)}


def _checked_key(name: str, key: Any) -> Any:
    if type(key) not in (bool, int, float, str) or (type(key) is str and key.startswith("\0")):
        raise CheckpointError(f"`{name}` has the key {key!r}; keys are numbers and words.")
    return key


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if _INTEGER in value:
            return int(value[_INTEGER], 16)
        if _ARRAY in value:
            memory = value[_ARRAY].numpy().tobytes()
            array = np.frombuffer(memory, np.dtype(value["dtype"])).reshape(value["shape"]).copy()
            return memory if value["kind"] == "bytes" else array[()] if value["kind"] == "scalar" else array
        return {key: _unpack(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_unpack(item) for item in value)
    return value


# ------------------------------------------------------------------------------------------------------ when and where


class SaveClock:
    """Says when the next save is due."""

    def __init__(self, every: int | None, step: int = 0) -> None:
        """every: steps between two saves; None: about five minutes; 0: never. step: where the run begins."""
        self._every = every
        self.saved(step)

    def due(self, step: int) -> bool:
        """Whether a run that is at `step` should save."""
        if self._every is None:  # not `time.time`: that clock may be set back
            return time.perf_counter() - self._saved_at >= SECONDS_BETWEEN_SAVES
        return self._every > 0 and step // self._every > self._step // self._every

    def saved(self, step: int) -> None:
        """The run was saved at `step`."""
        self._step, self._saved_at = step, time.perf_counter()


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the run folder: no second process can continue the run or evaluate it meanwhile.

    The system lets go of it in any exit.

    Raises ResumeError where another process holds it. A folder that is still empty afterwards is removed.
    """
    path = folder / ".lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ResumeError(f"`{folder}` cannot be written: {error.strerror}.") from None
    try:
        if not try_lock(descriptor):
            raise ResumeError(f"another process is running in `{folder}`; wait for it or stop it.")
        yield
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # the folder itself may be gone
            if [entry.name for entry in folder.iterdir()] == [path.name]:
                path.unlink()
                folder.rmdir()


def lock_of(folder: Path) -> tuple[int, int]:
    """What tells the lock of this folder from that of any other. Raises OSError where there is none."""
    lock = (folder / ".lock").stat()
    return lock.st_dev, lock.st_ino


def remove_leftovers(folder: Path, global_step: int) -> None:
    """Remove what a killed run was just writing, and the agents that it saved after the step from which it goes on."""
    for saved in saved_agents(folder):
        if saved.global_step > global_step or (saved.switch and saved.global_step == global_step):
            saved.path.unlink()  # made again; but not where the run is to save other ones from now on
    for leftover in [*folder.glob(".*.tmp"), *(folder / "videos").glob(".*.mp4")]:
        leftover.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------------- generators


def generator_states(generators: Mapping[str, torch.Generator], device: torch.device) -> dict[str, Any]:
    """The states of a run's own generators and of the global ones of Python, numpy and torch.

    device: of the run; one that does not compute on a GPU leaves it alone.
    """
    return {
        "own": {name: generator.get_state() for name, generator in generators.items()},
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 - the global generator is what is meant
        "torch": torch.get_rng_state(),
        # Of this process' own GPU; to ask the others would start this process there.
        "cuda": [torch.cuda.get_rng_state(device)] if device.type == "cuda" else [],
    }


def set_generator_states(
    generators: Mapping[str, torch.Generator], states: Mapping[str, Any], device: torch.device
) -> None:
    """Continue all generators; one that has moved to another kind of device keeps its own state."""
    for name, generator in generators.items():
        if generator.get_state().shape == states["own"][name].shape:
            generator.set_state(states["own"][name])
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002 - the same
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"]:
        torch.cuda.set_rng_state(states["cuda"][0], device)
