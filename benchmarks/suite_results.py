"""The results of the benchmark suites: committed files, and a page that is made of them.

    python -m benchmarks.suite_results sweeps/freeway-dynamics-cpu sweeps/single-task
    python -m benchmarks.suite_results

The first command adds the finished runs of these sweeps (or run folders) to benchmarks/results/suites/. The second
only makes docs/suite-results.md and its pictures anew, as the first does too. What is there stays; a run with the same
settings and the same seed takes the place of the old one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.labels import label_of, learner_settings
from benchmarks.suites.page import page
from benchmarks.suites.records import (
    MEASURING,
    ROOT,
    Record,
    add,
    file_of,
    has_methods,
    is_baseline,
    known_sequences,
    read,
    records_of,
    run_folders_of,
    write,
)
from benchmarks.suites.results import STRENGTHS, Results, results_of
from continual_hackatari.reporting import figures
from continual_hackatari.reporting.evaluation_curves import heat_map
from continual_hackatari.reporting.groups import differences
from continual_hackatari.reporting.rows import RunFolderError
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.words import counted, name_of
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.schedules.survey import as_asked
from continual_hackatari.training.config import shown

PAGE = ROOT / "docs" / "suite-results.md"
DOTS = 110
"""per inch of a picture: readable on a page, and small in the repository"""


def unlike(record: Record, content: Mapping[str, Sequence[Record]], config: Mapping[str, Any]) -> str:
    """Why this run would stand under the label of runs with other settings; empty where it would not.

    A label names what the scripts do not have by themselves, and those of another version may know other settings.
    """
    args = record["args"]
    label = label_of(args, config)
    for other in (each["args"] for kind in content.values() for each in kind):
        settings = [learner_settings(args), learner_settings(other)]
        same_kind = (args["exp_name"], label) == (other["exp_name"], label_of(other, config))
        if same_kind and (names := differences(settings)):
            own, theirs = (", ".join(f"{name} {each.get(name, 'unknown')}" for name in names) for each in settings)
            return (
                f"`{label}`, seed {args['seed']}, of `{args['exp_name']}` has {own}, but {config['exp_name']}.json has "
                f"runs of the same label with {theirs}; take those out of the file first"
            )
    return ""


def another_sequence(record: Record, config: Mapping[str, Any]) -> str:
    """Why a run is none of this sequence, though it has its name; empty where it is one.

    It would stand in one table with those that are, or in the place of one: what is evaluated makes no other training.
    """
    args = record["args"]
    factory = schedule_from_config(dict(config), seed=0)
    wanted = {**config, "total_timesteps": config.get("total_timesteps") or factory.num_total_steps}
    had = {**args, "total_timesteps": args.get("total_timesteps") or wanted["total_timesteps"]}
    for name in sorted({"env_id", "total_timesteps", *MEASURING} & had.keys()):
        if (had[name] or None) != (wanted.get(name) or None):
            return f"a run of `{args['exp_name']}` with `{name}` {shown(had[name])}, which is not that sequence's"
    noticed = as_asked(factory.segments(0, wanted["total_timesteps"]), args["num_envs"])
    if record["regimes"] != [[start, string] for start, _, string in noticed]:
        return f"a run of `{args['exp_name']}` through {shown(record['regimes'])}, which is not that sequence"
    return ""


def collect(paths: Sequence[Path]) -> None:
    """Add these runs, and the finished ones of these sweeps, to the committed files."""
    records: dict[str, list[Record]] = {}
    folders: list[Path] = []
    for path in paths:
        try:
            folders += run_folders_of(path)
        except RunFolderError as error:
            print(f"left out: {error}")
    for folder in folders:
        try:
            found = records_of(Run(folder, events=False))
        except RunFolderError as error:
            print(f"left out: {error}")
            continue
        records.setdefault(found[0]["args"]["exp_name"], []).extend(found)
    alone = records.pop("single-task", [])
    suites = {name: config for name, config in known_sequences().items() if not name.startswith(STRENGTHS)}
    for args in (each["args"] for each in alone if not any(is_baseline(each, config) for config in suites.values())):
        what = f"`{name_of(args.get('modifs', ''))}` alone{' with methods' * has_methods(args)}"
        print(f"left out: a run on {what}, with which no suite compares")
    for name, config in known_sequences().items():
        path = file_of(name)
        own = []
        for record in records.pop(name, []):
            if why := another_sequence(record, config):
                print(f"left out: {why}")
            else:
                own.append(record)
        if name in suites:
            own = [*own, *(record for record in alone if is_baseline(record, config))]
        content = read(path)
        for record in own:
            if why := unlike(record, content, config):
                print(f"left out: {why}")
            else:
                add(content, [record])
        if own:
            write(path, content)
            print(f"{path.name}: {counted(len(content['runs']), 'run')}, {len(content['single_task'])} on one task")
    for name, others in records.items():
        print(f"left out: {len(others)} of `{name}`, which is no suite of this version")


def draw(results: Results) -> None:
    """The pictures of a file's runs."""
    played = [regime.modification for run in results.runs for regime in run.regimes]
    evaluated = [string for result in results.above for each in result.evaluations for string in each.strings]
    keys, theme = figures.Keys(played + evaluated), figures.LIGHT
    raw = [(group, [run.evaluations() for run in group.runs]) for group in results.groups]
    maps = [each for group, members in raw for each in heat_map(group.label, members)]
    with figures.drawing(theme):
        for kind, figure in {
            "returns": figures.draw_returns(results.groups, keys, theme),
            "evaluation": figures.draw_heat_maps(maps, keys, theme),
        }.items():
            figure.savefig(file_of(f"{results.name}-{kind}", ".png"), dpi=DOTS)


def draw_all() -> None:
    """The pictures of all files."""
    for name, config in known_sequences().items():
        content = read(file_of(name))
        if content["runs"]:
            with tempfile.TemporaryDirectory() as place:
                draw(results_of(name, config, content, Path(place)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="of sweeps, or of runs (default: only make the page)")
    collect(parser.parse_args().folders)
    draw_all()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
