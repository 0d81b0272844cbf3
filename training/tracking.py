"""Tracking: CSV files and TensorBoard always, W&B when asked for. The x-axis is `global_step` everywhere.

CSV is the record: rows that the disk refuses are kept in memory and tried again. TensorBoard and W&B are views: when
one of them fails in mid-run, that is said once and training goes on.
"""

import contextlib
import csv
import inspect
import io
import os
import re
import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from continual_hackatari.names import UNMODIFIED
from continual_hackatari.reporting.rows import EPISODE_COLUMNS, EPISODES, EVENTS, SWITCH_COLUMNS, SWITCHES
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.printing import say

_CSV_FILES = (EPISODES, SWITCHES)
_OFFLINE_HINT = "set WANDB_MODE=offline to track without a connection (`wandb sync` uploads the run later)"


def _report_on_stderr(line: str) -> None:
    say(line, sys.stderr)


class Tracker:
    """Writes what a run reports: `scalar`, `episode`, `switch`, `video`, `save_artifact`.

    A context manager: leaving it flushes and closes everything, also after an exception.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        active: bool = True,
        csv_files: bool = True,
        track: bool = False,
        config: Mapping[str, Any] | None = None,
        project: str = "continual-hackatari",
        entity: str | None = None,
        wandb_dir: str | Path | None = None,
        wandb_run_id: str | None = None,
        saved: Mapping[str, Any] | None = None,
        report: Callable[[str], None] = _report_on_stderr,
    ) -> None:
        """Open the files in `folder`, an existing folder; with `track` also a W&B run with its name.

        Args:
            active: False in a process that is not the one that writes: every method does nothing.
            csv_files: write `episodes.csv` and `switches.csv`; existing ones (a resumed run) are continued.
            config: plain values that W&B shows as the run's configuration.
            wandb_dir: where W&B keeps its files, by default its own choice (WANDB_DIR, else the current folder); not in
                `folder`, where W&B would copy its own copies of the TensorBoard files again and again.
            wandb_run_id: go on with this existing W&B run instead of making a new one.
            saved: what `save` gave: the files go on from there, whatever was written to them afterwards is cut off.
            report: gets the line that says that a view failed; by default it goes to stderr.

        Raises ConfigError when W&B cannot start; an empty `folder` is removed then, so make other files afterwards.
        """
        folder = Path(folder)
        self.active = active
        self._report = report
        self._reported: set[str] = set()
        self._wandb: _WandbRun | None = None
        self._writer: SummaryWriter | None = None
        self._episodes: _CsvFile | None = None
        self._switches: _CsvFile | None = None
        if not active:
            return
        if track:
            # Before the SummaryWriter exists: W&B copies only from writers that are made after its start.
            try:
                self._wandb = _WandbRun(folder, project, entity, wandb_dir, wandb_run_id, config or {})
            except ConfigError:
                with contextlib.suppress(OSError):  # not empty: then it is not ours to remove
                    folder.rmdir()
                raise
        self._folder = folder
        self._continued_id = wandb_run_id
        suffix: dict[str, Any] = {}
        if saved is not None:
            _cut_back(folder, saved["files"])
            # A name of its own, also where the clock was set back; a TensorBoard that is open forgets what was cut off.
            suffix = {"filename_suffix": f".from{saved['step']}", "purge_step": saved["step"] + 1}
        self._excepthook, threading.excepthook = threading.excepthook, self._thread_failed
        self._writer = SummaryWriter(str(folder), flush_secs=5, **suffix)
        if csv_files:
            episodes, switches = (b"", b"") if saved is None else saved["refused"]
            self._episodes = _CsvFile(folder / EPISODES, EPISODE_COLUMNS, self._failed, episodes)
            self._switches = _CsvFile(folder / SWITCHES, SWITCH_COLUMNS, self._failed, switches)

    @property
    def wandb_run_id(self) -> str | None:
        """The id of the W&B run, to be kept in checkpoints; None when the run is not tracked."""
        return self._wandb.run_id if self._wandb is not None else None

    def scalar(self, name: str, value: float, step: int) -> None:
        """Log one number; `step` is the global step."""
        if self._writer is None:
            return
        try:
            self._writer.add_scalar(name, float(value), int(step))
        except Exception as error:  # whatever a full disk or a dead writer thread raises: only the view ends
            self._writer = None
            self._failed("TensorBoard", error)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log several numbers at the same step."""
        for name, value in values.items():
            self.scalar(name, value, step)

    def episode(self, row: Mapping[str, Any]) -> None:
        """One game ended: a row of `episodes.csv` and, unless a switch cut it short, the `charts/episodic_*` scalars.

        `row` has exactly the keys of EPISODE_COLUMNS; `return` and `length` (in steps) are of the whole game.
        """
        if self._episodes is not None:
            self._episodes.write(row)
        if row["cut"]:
            return
        step = row["global_step"]
        self.scalar("charts/episodic_return", row["return"], step)
        self.scalar("charts/episodic_length", row["length"], step)
        self.scalar(f"episodic_return_by_modif/{row['modification'] or UNMODIFIED}", row["return"], step)

    def switch(self, row: Mapping[str, Any]) -> None:
        """One switch happened: a row of `switches.csv`; `row` has exactly the keys of SWITCH_COLUMNS."""
        if self._switches is not None:
            self._switches.write(row)

    def video(self, path: str | Path, key: str, step: int) -> None:
        """Send a finished mp4 file to W&B; nothing happens in an untracked run."""
        if self._wandb is not None:
            self._to_wandb(self._wandb.video, Path(path), key, step)

    def save_artifact(self, path: str | Path, name: str) -> None:
        """Send a finished file (a checkpoint) to W&B as an artifact; nothing happens in an untracked run."""
        if self._wandb is not None:
            self._to_wandb(self._wandb.artifact, Path(path), name)

    def flush(self) -> None:
        """Bring everything to the disk (CSV rows are there at once, unless the disk refused them)."""
        for csv_file in (self._episodes, self._switches):
            if csv_file is not None:
                csv_file.flush()
        if self._writer is not None:
            try:
                self._writer.flush()
            except Exception as error:
                self._writer = None
                self._failed("TensorBoard", error)

    def save(self, step: int) -> dict[str, Any]:
        """Bring everything to the disk for good and note how far the files go: plain values for `saved`.

        Raises OSError where the disk refuses it.
        """
        self.flush()
        files = {}
        for path in [*self._folder.glob(EVENTS), *(self._folder / name for name in _CSV_FILES)]:
            if path.exists():
                with open(path, "rb+") as file:
                    os.fsync(file.fileno())
                    files[path.name] = file.seek(0, os.SEEK_END)
        refused = [b"" if csv_file is None else csv_file.pending for csv_file in (self._episodes, self._switches)]
        run_id = self.wandb_run_id or self._continued_id  # kept while the run goes on untracked
        return {"step": step, "files": files, "refused": refused, "wandb_run_id": run_id}

    def finish(self, exit_code: int = 0) -> None:
        """Flush and close everything; a second call does nothing. `exit_code` is what W&B shows (0: finished)."""
        for csv_file in (self._episodes, self._switches):
            if csv_file is not None:
                csv_file.close()
        self._episodes = self._switches = None
        if self._writer is not None:
            try:
                self._writer.close()
            except Exception as error:
                self._failed("TensorBoard", error)
            self._writer = None
        if threading.excepthook == self._thread_failed:
            threading.excepthook = self._excepthook
        if self._wandb is not None:
            self._to_wandb(self._wandb.finish, exit_code)
            self._wandb = None

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
        self.finish(exit_code=0 if kind is None else code)

    def _to_wandb(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:  # wandb raises many kinds, also those of its network library
            self._failed("W&B", error)

    def _thread_failed(self, thread: Any) -> None:
        """TensorBoard writes in a thread of its own, whose end would show as a traceback."""
        if type(thread.thread).__module__.startswith("tensorboard.") and isinstance(thread.exc_value, Exception):
            self._failed("TensorBoard", thread.exc_value)
        else:
            self._excepthook(thread)

    def _failed(self, destination: str, error: Exception) -> None:
        if destination not in self._reported:
            self._reported.add(destination)
            self._report(f"warning: {destination} failed ({_one_line(error)}); training goes on, this is said once")


def _cut_back(folder: Path, sizes: Mapping[str, int]) -> None:
    """Make the files as long as they were when the run was saved, and remove TensorBoard files that are younger."""
    for path in [*folder.glob(EVENTS), *(folder / name for name in _CSV_FILES)]:
        if path.name not in sizes:
            path.unlink(missing_ok=True)
        elif path.exists() and path.stat().st_size > sizes[path.name]:
            os.truncate(path, sizes[path.name])


class _CsvFile:
    """Appends rows; each row is one write of one whole line, so that a killed run leaves no half row."""

    def __init__(
        self, path: Path, columns: tuple[str, ...], failed: Callable[[str, Exception], None], pending: bytes = b""
    ) -> None:
        self._columns = columns
        self._name = path.name
        self._failed = failed
        self.pending = pending  # what the disk has not taken yet
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 (closed by close())
        if not pending:  # else it is the other half
            self._drop_half_row()
        if self._file.seek(0, os.SEEK_END) == 0 and not pending:
            self.pending = self._line(columns)
        self.flush()

    def write(self, row: Mapping[str, Any]) -> None:
        if row.keys() != set(self._columns):
            wrong = sorted(row.keys() ^ set(self._columns))
            raise ValueError(f"`row` for {self._name} must have the keys {list(self._columns)}; these differ: {wrong}")
        self.pending += self._line(tuple(_csv_value(row[column]) for column in self._columns))
        self.flush()

    def flush(self) -> None:
        """Write what is pending; where the disk refuses, keep it for the next time."""
        try:
            while self.pending:
                self.pending = self.pending[self._file.write(self.pending) :]
        except OSError as error:
            self._failed(self._name, error)

    def close(self) -> None:
        self.flush()
        self._file.close()

    def _drop_half_row(self) -> None:
        # A power cut or a full disk can leave the beginning of a row; the next row would be glued to it.
        self._file.seek(0)
        content = self._file.read()
        self._file.truncate(content.rfind(b"\n") + 1)

    @staticmethod
    def _line(values: tuple[Any, ...]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue().encode("utf-8", errors="backslashreplace")


def _csv_value(value: Any) -> Any:
    """Booleans as 0 and 1; numpy and torch scalars as Python numbers, whose text does not depend on the library."""
    if hasattr(value, "item"):
        value = value.item()
    return int(value) if isinstance(value, bool) else value


# ---------------------------------------------------------------------------------------------------------------- W&B


def check_wandb(timeout: float = 10.0) -> None:
    """Raise ConfigError where a tracked run could not start: wandb missing, not logged in, server out of reach.

    Call it before anything is created. Nothing is checked online with `WANDB_MODE=offline`. `timeout` is in seconds.
    """
    wandb = _import_wandb()
    settings = wandb.setup().settings
    if settings.mode in ("offline", "disabled"):
        return
    import requests

    try:  # any answer will do: what counts is that there is one, within bounded time
        requests.get(settings.base_url, timeout=timeout)
    except requests.RequestException:
        raise ConfigError(f"`--track` cannot reach the W&B server at {settings.base_url}; {_OFFLINE_HINT}.") from None
    # Newer releases ask for a key at the terminal unless told not to; older ones have no such argument.
    no_prompt = {"prompt": False} if "prompt" in inspect.signature(wandb.login).parameters else {}
    try:
        logged_in = wandb.login(verify=True, **no_prompt)
    except Exception as error:
        raise ConfigError(f"`--track`: W&B refused the login: {_one_line(error)}; {_login_or_offline()}.") from None
    if not logged_in:
        raise ConfigError(f"`--track` needs a W&B login and found no API key; {_login_or_offline()}.")


def _login_or_offline() -> str:
    return f"run `wandb login`, or {_OFFLINE_HINT}"


def _import_wandb() -> ModuleType:
    try:
        import wandb
    except ImportError:
        raise ConfigError("`--track` needs the package wandb: run `pip install wandb`, or use `--no-track`.") from None
    return wandb


def _one_line(error: Exception, limit: int = 200) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return (text if len(text) <= limit else text[: limit - 3] + "...").rstrip(".")


class _WandbRun:
    """One W&B run, online or offline, that copies every TensorBoard scalar."""

    def __init__(
        self,
        folder: Path,
        project: str,
        entity: str | None,
        wandb_dir: str | Path | None,
        run_id: str | None,
        config: Mapping[str, Any],
    ) -> None:
        wandb_dir = Path(wandb_dir or os.environ.get("WANDB_DIR") or ".")
        if wandb_dir.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"`wandb_dir` must lie outside the run folder, but it is {wandb_dir}; choose another folder."
            )
        check_wandb()
        self._wandb: Any = _import_wandb()
        offline = self._wandb.setup().settings.mode == "offline"
        self.run_id: str = run_id or uuid.uuid4().hex[:12]
        own_files = wandb_dir / "wandb"
        before = set(own_files.glob(f"*run-*-{self.run_id}*"))
        try:
            wandb_dir.mkdir(parents=True, exist_ok=True)
            # The same as sync_tensorboard=True, but with the folder named: else W&B waits ten seconds to guess it.
            self._wandb.tensorboard.patch(root_logdir=str(folder.resolve()))
            self._run = self._wandb.init(
                project=project,
                entity=entity or None,
                name=None if run_id else folder.name,
                id=self.run_id,
                # Offline nobody can know whether the run exists: `must` would be refused.
                resume=None if not run_id else "allow" if offline else "must",
                dir=str(wandb_dir),
                config=dict(config),
                settings=self._wandb.Settings(init_timeout=60),
            )
        except Exception as error:
            self._wandb.tensorboard.unpatch()
            _remove_failed_run(own_files, set(own_files.glob(f"*run-*-{self.run_id}*")) - before)
            raise ConfigError(f"`--track`: W&B could not start: {_one_line(error)}; {_login_or_offline()}.") from None
        self.run_id = self._run.id  # the agent of a sweep has chosen it already, and W&B ignores ours then

    def video(self, path: Path, key: str, step: int) -> None:
        # No `step=`: W&B counts the steps of a run that copies TensorBoard by itself; global_step is the x-axis.
        self._run.log({key: self._wandb.Video(str(path), format="mp4"), "global_step": step})

    def artifact(self, path: Path, name: str) -> None:
        artifact = self._wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:128], type="model")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def finish(self, exit_code: int) -> None:
        self._run.finish(exit_code=exit_code)
        self._wandb.tensorboard.unpatch()  # else a second run in this process could not be patched


def _remove_failed_run(own_files: Path, new_folders: set[Path]) -> None:
    """Remove what a start that failed has left, and W&B's folder itself when no other run is in it."""
    for new_folder in new_folders:
        shutil.rmtree(new_folder, ignore_errors=True)
    if own_files.is_dir() and not any(own_files.glob("*run-*-*")):
        shutil.rmtree(own_files, ignore_errors=True)
