"""Queues: a JSON list of experiments, each an object of flags, of which any number of starters take different ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from continual_hackatari.reporting.groups import differences
from continual_hackatari.training.config import ConfigError, read_json, shown
from continual_hackatari.training.runner import Job
from continual_hackatari.training.sweeps import CHANGED, Batch, label_of, text_of_config, without_wandb

NO_FLAGS = ("program", "notes")
"""Keys of an experiment that say something else than a flag of its training script."""


class Queue(Batch):
    """A JSON file of experiments, and the folder that remembers how far they have come, by their numbers."""

    def __init__(self, path: str, program: str, folder: Path, track: bool = False) -> None:
        """
        program: the training script of experiments that name none. track: the runs keep `--track` and what belongs to
        it.

        Raises:
            ConfigError: the file holds no list of experiments, or one of them began here as another one.
        """
        self.file, self.track = Path(path).name, track
        self.experiments = [{"program": program, **entry} for entry in read_queue(path)]
        flat = [flat_names(without_notes(entry)) for entry in self.experiments]
        super().__init__(
            folder, ["experiment", *dict.fromkeys(name for each in flat for name in each)], differences(flat)
        )
        self._runs = [self._run(number, parameters) for number, parameters in enumerate(flat)]
        for run in self._runs:
            self._check_unchanged(run)

    def planned(self, whole: bool = False) -> list[Job]:
        """One run per experiment, in the order of the list."""
        return self._runs

    def where(self, number: int) -> str:
        """What sentences call an experiment."""
        return f"experiment {number} of {self.file}"

    def _run(self, number: int, parameters: Mapping[str, Any]) -> Job:
        entry = self.experiments[number]
        words = words_of({name: value for name, value in entry.items() if name not in NO_FLAGS})
        command = ["python", entry["program"], *words]
        if not self.track:
            command = without_wandb(command)
        label = f"{number}: {label_of(parameters, self.varied)}".rstrip(": ")
        named = {"experiment": number, **parameters}
        return Job(
            named, command, label, self.folder / str(number), entry["program"], config_text=text_of_config(words)
        )

    def fault_of(self, run: Job) -> str:
        """Another starter may have begun it as something else, and its `config` file may have been edited."""
        try:
            self._check_unchanged(run)
        except ConfigError as error:
            return str(error)
        return "" if run.state == "finished" or text_of_config(run.command) == run.config_text else CHANGED

    def _check_unchanged(self, run: Job) -> None:
        """Raise ConfigError if the experiment of this number began as another one."""
        before = run.begun_with()
        changes = changed(without_notes(before["parameters"]), run.parameters) if before else []
        if before and not changes:
            texts = before.get("config_file", ""), run.config_text
            changes = [f"{each} in {run.parameters.get('config')}" for each in changed(*map(_settings_in, texts))]
        if changes:
            raise ConfigError(
                f"{self.where(run.parameters['experiment'])} is not what began in {run.folder}: {', '.join(changes)}; "
                "put what is new at the end of the list, or name another `--folder`."
            )


def is_queue(path: str) -> bool:
    """Whether this file is a list of experiments; a sweep file may be JSON too.

    Raises:
        ConfigError: it cannot be read.
    """
    content = read_json(Path(path), "file") if Path(path).suffix == ".json" else {"parameters": {}}
    return not (isinstance(content, dict) and "parameters" in content)


def read_queue(path: str) -> list[dict[str, Any]]:
    """The experiments of a file.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    entries, file = read_json(Path(path), "file"), Path(path).name
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f'{file} must hold a list of experiments, each an object of flags, as in `[{{"seed": 1}}]`.')
    for number, entry in enumerate(entries):
        where = f"experiment {number} of {file}"
        if not isinstance(entry, dict):
            raise ConfigError(f"{where} is {shown(entry)}, but must be an object of flags.")
        for name in (*NO_FLAGS, "config"):
            if not isinstance(entry.get(name, ""), str):
                raise ConfigError(f"`{name}` of {where} is {shown(entry[name])}, but must be a string.")
        if "program" in entry and not Path(entry["program"]).is_file():
            raise ConfigError(
                f"`program` of {where} is {shown(entry['program'])}, which is no file; name a script seen from the "
                "current folder, such as continual_training_example.py."
            )
    return entries


def flat_names(entry: Mapping[str, Any]) -> dict[str, Any]:
    """`{"ewc": {"strength": 3}}` as `{"ewc.strength": 3}`."""
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        inner = flat_names(value) if isinstance(value, dict) else {}
        flat |= {f"{name}.{key}": item for key, item in inner.items()} or {name: value}
    return flat


def without_notes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All of it but what is for people, and may change."""
    return {name: value for name, value in settings.items() if name != "notes"}


def words_of(flags: Mapping[str, Any]) -> list[str]:
    """The words of a command line that say the same."""
    words: list[str] = []
    for name, value in flat_names(flags).items():
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no_'}{name}")
        elif isinstance(value, list):
            words += [f"--{name}", *map(_word, value)]
        elif value != {}:  # a method without settings of its own
            words.append(f"--{name}={_word(value)}")
    return words


def _word(value: Any) -> str:
    """JSON writes 1e6 for a whole number, which a flag may need to be."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs, one clause each."""
    lines = []
    for name in differences([before, after]):
        if name not in before:
            lines.append(f"`{name}` {shown(after[name])} is new")
        elif name not in after:
            lines.append(f"`{name}` {shown(before[name])} is gone")
        else:
            lines.append(f"`{name}` was {shown(before[name])} and is {shown(after[name])}")
    return lines


def _settings_in(text: str) -> dict[str, Any]:
    """Of a config file; none where it is none, and the training script says what is wrong with it."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return flat_names(without_notes(found)) if isinstance(found, dict) else {}
