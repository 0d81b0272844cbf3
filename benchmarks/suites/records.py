"""The committed results of benchmark suites: a file per suite, size and version, with a record of each run.

A record is a run folder made small: settings, evaluations as the mean of their games, and returns in training.
`as_folder` makes a run folder of it again, so that everything that reads run folders reads records.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from continual_hackatari.reporting.evaluations import Evaluations, Mode
from continual_hackatari.reporting.groups import experiment_settings
from continual_hackatari.reporting.rows import (
    ARGS,
    EPISODE_COLUMNS,
    EPISODES,
    EVALUATION_COLUMNS,
    FINAL,
    RESULTS,
    SWITCH_COLUMNS,
    SWITCHES,
    RunFolderError,
)
from continual_hackatari.reporting.runs import Run, check_run_folder
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.suites import first_regimes, single_task_config

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / "results" / "suites"
MEASURING = ("eval_every", "eval_games", "eval_modifs", "held_out_modifs")
"""settings that are kept, besides those of the experiment: what was asked for"""
MOST_GAMES = 120
"""rows of returns per run; more games are averaged, neighbour by neighbour"""
MODES: tuple[Mode, ...] = ("sampled", "greedy")
USUAL_SCRIPT = "continual_training_example.py"
"""which a record does not name"""

Record = dict[str, Any]


def known_sequences() -> dict[str, dict[str, Any]]:
    """Suites and sequences to choose strengths on, by the name and version in their `exp_name`."""
    paths = [*(ROOT / "configs" / "suites").glob("*/*.json"), *(ROOT / "configs" / "strengths").glob("*.json")]
    configs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(paths)]
    return {config["exp_name"]: config for config in configs}


def file_of(name: str, ending: str = ".json") -> Path:
    """Where the records of the sequence of this name and version lie, or what is drawn of them."""
    return FOLDER / (name + ending)


# ------------------------------------------------------------------------------------------------- from runs to files


def run_folders_of(path: Path) -> list[Path]:
    """The folders of a sweep's finished runs, or the one run folder that `path` is.

    Raises:
        RunFolderError: it is neither.
    """
    results = sorted(path.glob("*/result.json"))
    if not results:
        try:
            return [check_run_folder(str(path), "folders")]
        except RunFolderError as error:
            raise RunFolderError(f"{error}; and a sweep has a `result.json` for each run that is finished") from None
    named = [Path(json.loads(result.read_text(encoding="utf-8"))["run_folder"]) for result in results]
    start = path.resolve().parent.parent  # where the sweep was started, if its folder is the default
    return [folder if folder.exists() else start / folder for folder in named]


def records_of(run: Run) -> list[Record]:
    """A finished run whose evaluations are all there, made small: a record for each player that its agent has.

    Raises:
        RunFolderError: it is not there or not finished, something is still to be evaluated, or it does not say what
            made it.
    """
    if not run.folder.is_dir():
        raise RunFolderError(f"`{run.folder}` is not there any more")
    missing = [name for name in ("seed", "exp_name", "versions", "processor", "command") if name not in run.args]
    if run.args_problem or missing:
        what = f"cannot be read: {run.args_problem}" if run.args_problem else f"does not say {', '.join(missing)}"
        raise RunFolderError(f"{run.folder / ARGS} {what}; a run of this version says what made it")
    if not run.finished:
        raise RunFolderError(f"`{run.folder}` is not finished")
    return [_record_of(run, player) for player in dict.fromkeys(row.get("agent", "") for row in run.results) or [""]]


def _record_of(run: Run, player: str) -> Record:
    evaluations = {mode: run.evaluations(mode, player) for mode in MODES}
    for found in evaluations.values():
        if found.pending:
            raise RunFolderError(f"`{run.folder}` is not evaluated wholly: {'; '.join(found.notes)}")
    args = {key: value for key, value in run.args.items() if key in {*experiment_settings(run.args), *MEASURING}}
    versions = {"versions": run.args["versions"], "processor": run.args["processor"]}
    script = Path(run.args.get("script", USUAL_SCRIPT)).name
    if not (ROOT / script).exists():
        raise RunFolderError(f"`{run.folder}` was made by {script}, which is no script of this project")
    made_by = {**({"script": script} if script != USUAL_SCRIPT else {}), **({"player": player} if player else {})}
    parts = [part for part in run.args.get("resumed", []) if "versions" in part]
    resumed = [{name: part[name] for name in ("versions", "processor") if name in part} for part in parts]
    return {
        "args": {"seed": run.args["seed"], **args, **made_by, **versions, **({"resumed": resumed} if resumed else {})},
        "command": re.sub(r"^\S*python\S*", "python", run.args["command"]),
        "steps": run.last_step,
        "regimes": [[regime.begin, regime.modification] for regime in run.regimes],
        "evaluated_at": places_of(evaluations["sampled"]),
        "held_out": evaluations["sampled"].held_out,
        **{mode: scores_of(found) for mode, found in evaluations.items()},
        "returns": returns_of(run),
    }


def places_of(found: Evaluations) -> list[list[int]]:
    """[phase, step] of every evaluation."""
    places = {
        (int(row.phase), int(row.global_step)) for each in found.strings for row in found.curve(each).itertuples()
    }
    return [list(place) for place in sorted(places)]


def scores_of(found: Evaluations) -> dict[str, list[float]]:
    """String -> mean score of its games at each of `places_of`."""
    scores = {}
    for string in found.strings:
        curve = {(int(row.phase), int(row.global_step)): float(row.score) for row in found.curve(string).itertuples()}
        scores[string] = [curve[phase, step] for phase, step in places_of(found)]
    return scores


def returns_of(run: Run) -> list[list[float]]:
    """[step of the last, mean score, number] of neighbouring whole games of a regime; few games stay single."""
    whole = run.scored()
    together = -(-int(whole.sum()) // MOST_GAMES) or 1
    rows = []
    for begin, end, _ in run.regimes:
        inside = np.flatnonzero(whole & (run.games.step > begin) & (run.games.step <= end))
        for start in range(0, len(inside), together):
            games = inside[start : start + together]
            mean = round(float(run.games.score[games].mean()), 3)
            rows.append([int(run.games.step[games[-1]]), mean, len(games)])
    return rows


def same_run(first: Record, second: Record) -> bool:
    """Whether two records are of the same settings and the same seed."""
    return identity(first) == identity(second)


def identity(record: Record) -> str:
    args = record["args"]
    return json.dumps([experiment_settings(args), args["seed"]], sort_keys=True)


def has_methods(args: Mapping[str, Any]) -> bool:
    """Whether one is on, by `--methods` or by the flags that two of them had before."""
    return bool(args.get("methods") or args.get("shrink_and_perturb") or args.get("architecture") == "PPO_CBP")


def is_baseline(record: Record, config: Mapping[str, Any]) -> bool:
    """Whether a run on one task alone, without methods, is one that this suite compares with."""
    args = record["args"]
    if has_methods(args):
        return False
    wanted = [{"frameskip": 4, **single_task_config(dict(config), task)} for task in first_regimes(dict(config))]
    return any(
        all(args.get(key) == value for key, value in alone.items() if key not in ("total_timesteps", "eval_modifs"))
        and record["steps"] == alone["total_timesteps"]
        for alone in wanted
    )


def add(content: dict[str, list[Record]], records: Iterable[Record]) -> None:
    """Sort the records into the runs of a sequence and into those on one task alone."""
    for record in records:
        of_kind = content["single_task" if record["args"]["exp_name"] == "single-task" else "runs"]
        of_kind[:] = [other for other in of_kind if not same_run(other, record)] + [record]
        of_kind.sort(key=lambda each: (each["args"].get("methods", []), identity(each)))


def read(path: Path) -> dict[str, list[Record]]:
    """The records of a file; each has all its settings."""
    if not path.exists():
        return {"runs": [], "single_task": []}
    content = json.loads(path.read_text(encoding="utf-8"))
    return {
        kind: [{**record, "args": {**content["settings"], **record["args"]}} for record in content[kind]]
        for kind in ("runs", "single_task")
    }


def write(path: Path, content: Mapping[str, Sequence[Record]]) -> None:
    """Settings that all runs share stand there once; a line per run, so that a change shows which."""
    records = [*content["runs"], *content["single_task"]]
    first = records[0]["args"]
    shared = {k: v for k, v in first.items() if all(k in each["args"] and each["args"][k] == v for each in records)}
    lines = [f' "settings": {json.dumps(shared)},']
    for kind in ("runs", "single_task"):
        own = [
            {**record, "args": {k: v for k, v in record["args"].items() if k not in shared}} for record in content[kind]
        ]
        lines += [
            f' "{kind}": [',
            ",\n".join(f"  {json.dumps(record)}" for record in own),
            " ]" + "," * (kind == "runs"),
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(["{", *(line for line in lines if line), "}"]) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------ from files to runs


def as_folder(record: Record, place: Path, number: int) -> Run:
    """A run folder in `place` with what the record holds; of each evaluation there is one game, the mean of all."""
    args = record["args"]
    folder = place / f"run-{number}_s{args['seed']}"
    folder.mkdir(parents=True)
    (folder / ARGS).write_text(json.dumps({**args, "command": record["command"]}), encoding="utf-8")
    (folder / FINAL).touch()
    _rows(folder / SWITCHES, SWITCH_COLUMNS, _switches(record))
    _rows(folder / EPISODES, EPISODE_COLUMNS, _episodes(record))
    _rows(folder / RESULTS, EVALUATION_COLUMNS, _evaluations(record, folder.name))
    return Run(folder, events=False)


def _rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval=0, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _switches(record: Record) -> Iterable[dict[str, Any]]:
    strings = [string for _, string in record["regimes"]]
    for number, (step, string) in enumerate(record["regimes"][1:], 1):
        yield {"switch": number, "global_step": step, "from": strings[number - 1], "to": string, "checkpoint": ""}


def _episodes(record: Record) -> Iterable[dict[str, Any]]:
    for step, score, _ in record["returns"]:
        yield {"global_step": step, "modification": _playing(record, step), "return": score}
    last = record["steps"]
    yield {"global_step": last, "modification": _playing(record, last), "return": 0.0, "cut": 1}


def _playing(record: Record, step: int) -> str:
    """The string in training just before a step."""
    return str([string for begin, string in record["regimes"] if begin < step][-1])


def _evaluations(record: Record, name: str) -> Iterable[dict[str, Any]]:
    for mode in MODES:
        for string, scores in record[mode].items():
            for (phase, step), score in zip(record["evaluated_at"], scores, strict=True):
                yield {
                    "run": name,
                    "seed": record["args"]["seed"],
                    "phase": phase,
                    "global_step": step,
                    "modification": string,
                    "split": "held_out" if string in record["held_out"] else "train",
                    "deterministic": int(mode == "greedy"),
                    "score": score,
                    "trained_on": record["regimes"][phase][1],
                }
