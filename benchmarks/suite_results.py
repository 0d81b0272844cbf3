"""The results of the benchmark suites: committed files, and a page that is made of them.

    python -m benchmarks.suite_results sweeps/freeway-dynamics-cpu sweeps/single-task
    python -m benchmarks.suite_results

The first command adds the finished runs of these sweeps (or run folders) to benchmarks/results/suites/. The second
only makes docs/suite-results.md and its pictures anew, as the first does too. What is there stays; a run with the same
settings and the same seed takes the place of the old one.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import one_action
from benchmarks.suite_records import (
    FOLDER,
    ROOT,
    USUAL_SCRIPT,
    Record,
    add,
    as_folder,
    is_baseline,
    known_sequences,
    read,
    records_of,
    run_folders_of,
    write,
)
from continual_hackatari.methods import all_methods
from continual_hackatari.names import parse
from continual_hackatari.reporting import figures
from continual_hackatari.reporting.evaluation_curves import heat_map
from continual_hackatari.reporting.evaluations import Mode
from continual_hackatari.reporting.floor import Floor, floors_of
from continual_hackatari.reporting.groups import Group, differences, experiment_settings, mixed_versions
from continual_hackatari.reporting.metrics import Metric, floor_scale, human_scale
from continual_hackatari.reporting.metrics_tables import GroupResult, Settings, evaluate_groups
from continual_hackatari.reporting.report import Report, how_far_to_trust
from continual_hackatari.reporting.rows import RunFolderError
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.statistics import students_interval
from continual_hackatari.reporting.tables import format_table
from continual_hackatari.reporting.words import DASH, counted, name_of, number
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.training.config import as_plain_dict
from continual_hackatari.training.game import choose_game
from continual_hackatari.training.script_files import load_script
from continual_hackatari.training.suites import first_regimes, game_of

PAGE = ROOT / "docs" / "suite-results.md"
STRENGTHS = "strengths-"
"""how `exp_name` of a sequence begins on which strengths are chosen"""
PLAIN = "none"
SEQUENCE = ("exp_name", "total_timesteps", "modifs", "modification_factory", "modification_factory_kwargs")
"""settings that say what is trained on, and nothing of the learner"""
PLAYERS = {"kb": "(knowledge base)", "ac": "(active column)"}
DOTS = 110
"""per inch of a picture: readable on a page, and small in the repository"""

INTRODUCTION = """\
# Results of the suites

This page is made by `python -m benchmarks.suite_results` from the files in `benchmarks/results/suites/`, a record of \
every run of a [suite](suites.md) that was kept. A test makes it again and compares.

```bash
python -m benchmarks.suite_results sweeps/freeway-dynamics-cpu sweeps/single-task
```

adds the finished runs of these sweeps. Runs that are added later only add rows and seeds.

Scores are those of sampled games, [above a random player's](metrics.md#the-floor). Of several games they are \
human-normalised: 0 is a random player and 1 a human, both in the unmodified game; where a modification makes the game \
easier, more than 1 is no feat. An evaluation is a few games of each string, the same ones for every run: differences \
of less than a point or two mean little. In Breakout, whose games spread by 3 to 4 points late in training (standard \
deviation), the mean of five is off by about 1.5, that of three strings by 0.9, and a difference between two rows with \
one seed by 1.2, before any difference between seeds.

The row `always ...` is no agent. It is the player that [presses one button all the time](suites.md#what-one-button-\
scores), whatever it sees: of all such players the one that is best over the tasks of the sequence. Where it is as \
good as the agents, the sequence asks for nothing that could be forgotten.

| column | meaning |
|---|---|
| methods | another learner than PPO as the sequence has it, the methods, and every setting that differs from the \
sequence's |
| at the end | `average_performance`: mean over tasks after the last regime, and over seeds; from three seeds on with \
the 95 % bootstrap interval of [metrics](metrics.md), which of three seeds holds the true mean three times in four |
| IQM | its interquartile mean over seeds x tasks: of four or five tasks it mostly leaves the best and the worst out, \
so only scores have one, and forgetting has not |
| minus none | difference at the end to `none` with the same seed: mean, and from three pairs on half of its 95 % \
interval (Student's t) |
| forgotten | `forgetting_maximal`: how far a task ends below its best since it was left, mean over every time that it \
was left: in a cycle several times per task |
| isolated | `forgetting_isolated`: what a regime of another task costs a task, mean over tasks and such regimes |
| recovered | `recovered_share`: share of switches whose new task came to u + 0.9 (v - u) within its regime; v is the \
old task's score just before the switch, u the new task's before any training. In brackets the mean number of steps of \
those that did, and `2 of 3 switches`, over all seeds, where in the others v is not above u: they do not count. \
Who was bad before a switch recovers easily, and in a harder task the best may not |
| transfer | `forward_transfer`, mean over the tasks of which there are runs alone that learned something; \
`1 of 4 tasks`, counted over all seeds, where those are not all |
| learned | `learned_share` of tasks, above a random player in their first regime |
| slope | `plasticity_slope`, where tasks come back |

A dash means undefined, or not measured.
"""


PLANNED = (PLAIN, "layer_norm", "redo", "layer_norm+redo", "ewc", "from_scratch")
PLANNED_OF_GAMES = (
    *("clear:replay_ratio=0", "clear"),
    *(f"progress_compress:amp=bf16 {player}" for player in PLAYERS.values()),
)
SEEDS = ("1", "2", "3")

PLAN = """\
## Not run

Of a suite without a section above no run was kept; what shorter measurements of some of them gave is told with \
[the suites](suites.md#sizes-and-protocol). Methods that are not named above have not been run on a suite. These commands make what is missing, the most telling first. A run in size `cpu` takes about half an \
hour (Freeway) or 40 minutes (Breakout) of two cores, and each command goes on where it was stopped:

```bash
python sweep.py --suite freeway-dynamics --methods none layer_norm redo:every=50 layer_norm+redo:every=50 --seeds 1 2 3
python sweep.py --suite freeway-dynamics --methods none from_scratch ewc:strength=1 --seeds 1 2 3
python sweep.py --suite breakout-dynamics --methods none layer_norm redo:every=50 layer_norm+redo:every=50 --seeds 1 2 3
python sweep.py --suite breakout-dynamics --methods none from_scratch ewc:strength=0.01 --seeds 1 2 3
```

Hard, milder and soft [shrink and perturb](methods/shrink-and-perturb.md) beside each other:

```bash
python sweep.py --suite freeway-dynamics --methods none shrink_perturb soft_shrink_perturb --seeds 1 2 3
python sweep.py --suite freeway-dynamics --methods shrink_perturb:factor=0.9:noise_scale=0.1:noise=initialiser --seeds 1 2 3
```

Whether later regimes of the other games are long enough (what is known of the first ones is told with \
[the suites](suites.md#sizes-and-protocol)):

```bash
python sweep.py --suite pong-dynamics --seeds 1 2 3
python sweep.py --suite spaceinvaders-dynamics --seeds 1 2 3
python sweep.py --suite seaquest-dynamics --seeds 1 2 3
```

Three games one after the other, by V-trace, CLEAR and Progress & Compress; a run is two to four hours:

```bash
python sweep.py --suite three-games --size full --program continual_clear.py --seeds 1 2 3 -- --replay_ratio 0
python sweep.py --suite three-games --size full --program continual_clear.py --seeds 1 2 3
python sweep.py --suite three-games --size full --program continual_progress_compress.py --seeds 1 2 3 -- --amp bf16
```

Strengths of the other methods:

```bash
python sweep.py configs/strengths/freeway-l2_init.yaml
python sweep.py configs/strengths/freeway-soft_shrink_perturb.yaml
```
"""  # noqa: E501


class OneAction(NamedTuple):
    """The best player that always presses the same button."""

    action: str
    scores: dict[str, float]
    """string -> mean score, as the game counts; of strings under which it was measured"""
    end: float
    """its mean over the tasks, on the scale of the agents'"""

    @property
    def label(self) -> str:
        return f"always `{self.action}`"


class Results(NamedTuple):
    """All of a file, with the groups in the order of the table."""

    name: str
    config: dict[str, Any]
    above: list[GroupResult]
    """metrics of scores above the random player's, human-normalised where there are several games"""
    points: list[GroupResult]
    """the same in points of each game, above the random player's"""
    transfer: list[str]
    """forward transfer of each group, as the table shows it"""
    alone: list[Run]
    """runs on one task alone"""
    one: OneAction | None
    """beside the agents, where it was measured"""
    returns: dict[Path, Sequence[Sequence[float]]]
    """of each run's record, by its folder"""

    @property
    def labels(self) -> list[str]:
        return [label_of(result.group.runs[0].args, self.config) for result in self.above]

    @property
    def groups(self) -> list[Group]:
        return [Group(label, r.group.runs) for label, r in zip(self.labels, self.above, strict=True)]

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]


def label_of(args: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The methods as `sweep.py --methods` takes them; before them another script than PPO's, and which of its players.

    With the settings that are neither defaults nor the sequence's (`config`).
    """
    words = [label] if (label := script_label(args, config)) else []
    for name in args.get("methods", []):
        words.append(with_settings(name, *settings_of_method(name, args)))
    return "+".join(words) or PLAIN


def settings_of_method(name: str, args: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run had, and what it has by default."""
    defaults = dataclasses.asdict(all_methods()[name].Settings())
    return {key: args.get(f"{name}.{key}", default) for key, default in defaults.items()}, defaults


def script_label(args: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The learner: `clear:replay_ratio=0` of runs of `continual_clear.py`, say; empty of PPO as the sequence has it."""
    script = args.get("script", USUAL_SCRIPT)
    expected, own = expected_settings(script, json.dumps(config)), learner_settings(args)
    name = "ppo" if script == USUAL_SCRIPT else Path(script).stem.removeprefix("continual_")
    label = with_settings(name, {name: own[name] for name in expected if name in own and name != "methods"}, expected)
    if label == "ppo":
        return ""
    return f"{label} {PLAYERS[args['player']]}" if "player" in args else label


@functools.cache
def expected_settings(script: str, config: str) -> dict[str, Any]:
    """What a run of this script has that is told nothing but this sequence, which is given as JSON."""
    told, of = json.loads(config), load_script(ROOT / script)
    names = {field.name for field in dataclasses.fields(of.settings)}
    settings = of.complete(of.settings(**{name: told[name] for name in names & told.keys()}), sorted(games_of(told)))
    return {**as_plain_dict(settings), **choose_game(settings)[0].chosen}


def learner_settings(args: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the experiment; of a run on one task alone, all but its task and its steps."""
    alone = args.get("exp_name") == "single-task"
    return {name: value for name, value in experiment_settings(args).items() if not (alone and name in SEQUENCE)}


def with_settings(name: str, given: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """`ewc:strength=10`: a name, and the settings that are not as expected."""
    return ":".join([name, *(f"{key}={short(value)}" for key, value in given.items() if value != expected[key])])


def short(value: Any) -> Any:
    """10000.0 as 10000, as one would type it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def results_of(name: str, config: dict[str, Any], content: Mapping[str, Sequence[Record]], place: Path) -> Results:
    """The metrics of a file's runs, which become run folders in `place`."""
    runs, alone = (
        [as_folder(record, place / kind, number) for number, record in enumerate(content[kind])]
        for kind in ("runs", "single_task")
    )
    points = evaluate_groups(runs, (), Settings(normalise="floor")) if runs else []
    above = evaluate_groups(runs, (), Settings(normalise="human")) if runs and of_several_games(config) else points
    transfer = [forward_transfer(result.group.runs, alone, config) for result in above]
    order = sorted(range(len(above)), key=lambda i: (above[i].group.runs[0].args.get("methods", []), i))
    above, points = ([each[i] for i in order] for each in (above, points))
    one = best_action(above[0], of_several_games(config)) if above else None
    returns = {run.folder: record["returns"] for run, record in zip(runs, content["runs"], strict=True)}
    return Results(name, config, above, points, [transfer[i] for i in order], alone, one, returns)


def best_action(result: GroupResult, several_games: bool) -> OneAction | None:
    """Of the players that always press the same button, the one with the best mean over the tasks of these runs."""
    args, found = result.group.runs[0].args, result.evaluations[0]
    env_id = args["env_id"]
    measured = {each: one_action.scores_of(env_id, args, each) for each in found.tasks + found.held_out}
    floors = floors_of(env_id, args, found.tasks)
    scales = [human_scale(parse(task).game) if several_games else floor_scale(floors[task]) for task in found.tasks]
    means: dict[str, float] = {}
    for action in measured[found.tasks[0]]:
        pairs = zip(scales, (measured[task].get(action) for task in found.tasks), strict=True)
        scaled = [s.intercept + s.slope * score for s, score in pairs if not isinstance(s, str) and score is not None]
        if len(scaled) == len(scales):
            means[action] = sum(scaled) / len(scaled)
    if not means:
        return None
    best = max(means, key=lambda action: means[action])
    return OneAction(best, {each: own[best] for each, own in measured.items() if best in own}, means[best])


def forward_transfer(runs: Sequence[Run], alone: Sequence[Run], config: Mapping[str, Any]) -> str:
    """Of a group of runs, beside those on one task alone of the same learner, without methods; a dash: there are none.

    With the number of tasks, over all seeds, if it is not a mean over all of them.
    """
    learner = script_label(runs[0].args, config)
    alike = [run for run in alone if script_label(run.args, config) == learner]
    if not alike:
        return DASH
    (compared,) = evaluate_groups(runs, alike, Settings(normalise="single_task"))
    in_brackets = part_of([metrics["forward_transfer"] for metrics in compared.metrics], "tasks")
    return number(compared.summaries["forward_transfer"].mean) + (f" ({in_brackets})" if in_brackets else "")


def part_of(metrics: Sequence[Metric], units: str) -> str:
    """`1 of 4 tasks`: over how many units, of all runs, a mean is taken that leaves some out; empty: none, or all."""
    total = sum(len(metric.units) for metric in metrics)
    defined = total - sum(len(metric.reasons) for metric in metrics)
    return f"{defined} of {total} {units}" if 0 < defined < total else ""


def of_several_games(config: Mapping[str, Any]) -> bool:
    """Whether this sequence has points of different sizes."""
    return len(games_of(config)) > 1


def games_of(config: Mapping[str, Any]) -> set[str]:
    """The games that strings of this sequence name; the empty one is that of `env_id`."""
    return {parse(string).game for *_, string in schedule_from_config(dict(config), seed=0).segments()}


# ----------------------------------------------------------------------------------------------------------- tables


def suite_table(results: Results) -> str:
    """One row per list of methods."""
    header = ["methods", "seeds", "at the end", "IQM", "minus none", "forgotten", "isolated", "recovered", "transfer"]
    rows = [[*header, "learned", "slope"]]
    for label, result, transfer in zip(results.labels, results.above, results.transfer, strict=True):
        of = result.summaries
        end = of["average_performance"]
        interval = "" if math.isnan(end.low) else f" [{number(end.low)}, {number(end.high)}]"
        steps = of["recovery_steps"].mean
        took = "" if math.isnan(steps) else f"{steps:,.0f}"
        switches = part_of([metrics["recovered_share"] for metrics in result.metrics], "switches")
        in_brackets = "; ".join(filter(None, [took, switches]))
        cells = [", ".join(run.seed for run in result.group.runs), number(end.mean) + interval, number(end.iqm)]
        cells += [
            minus_plain(results, label),
            *(number(of[f"forgetting_{kind}"].mean) for kind in ("maximal", "isolated")),
        ]
        recovered = number(of["recovered_share"].mean) + (f" ({in_brackets})" if in_brackets else "")
        cells += [recovered, transfer, number(of["learned_share"].mean)]
        rows.append([f"`{label}`", *cells, number(of["plasticity_slope"].mean)])
    if results.one:
        rows.append([results.one.label, "", number(results.one.end), *[""] * (len(rows[0]) - 3)])
    return format_table(rows, "markdown")


def ends(result: GroupResult) -> dict[str, float]:
    """Seed -> mean score over tasks at the end."""
    pairs = zip(result.group.runs, result.metrics, strict=True)
    return {run.seed: metrics["average_performance"].value for run, metrics in pairs}


def minus_plain(results: Results, label: str) -> str:
    """The difference to the runs without methods with the same seeds."""
    of = {other: ends(result) for other, result in zip(results.labels, results.above, strict=True)}
    if label == PLAIN or PLAIN not in of:
        return ""
    differences_ = [score - of[PLAIN][seed] for seed, score in of[label].items() if seed in of[PLAIN]]
    if not differences_:
        return DASH
    mean, half = students_interval(differences_)
    pairs = counted(len(differences_), "pair")
    return f"{number(mean)} ({pairs})" if math.isnan(half) else f"{number(mean)} ± {number(half)} ({pairs})"


def string_table(results: Results, mode: Mode) -> str:
    """Raw scores under every string after the last regime."""
    strings = results.above[0].evaluations[0].tasks + results.above[0].evaluations[0].held_out
    out = set(results.above[0].evaluations[0].held_out)
    rows = [["methods", *(f"`{name_of(string)}`{' (held out)' * (string in out)}" for string in strings)]]
    for label, result in zip(results.labels, results.above, strict=True):
        cells = []
        for string in strings:
            evaluations = [run.evaluations(mode) for run in result.group.runs]
            scores = [each.score(string, each.num_phases - 1).value for each in evaluations]
            cells.append(number(sum(scores) / len(scores)))
        rows.append([f"`{label}`", *cells])
    if one := results.one:
        rows.append([one.label, *(number(one.scores[each]) if each in one.scores else DASH for each in strings)])
    return format_table(rows, "markdown")


def trained_table(results: Results) -> str:
    """Raw scores in training, of whole games of the last quarter of each regime: mean over these, and over seeds.

    With a sentence above it that says of how many games.
    """
    regimes = range(len(results.runs[0].regimes))
    rows, games = [["methods", *(f"`{name_of(regime.modification)}`" for regime in results.runs[0].regimes)]], []
    for group in results.groups:
        found = [[last_quarter(run, regime, results.returns[run.folder]) for run in group.runs] for regime in regimes]
        games += [number_of_games for of_regime in found for _, number_of_games in of_regime]
        rows.append([f"`{group.label}`", *(number(sum(m for m, _ in each) / len(each)) for each in found)])
    how_many = str(min(games)) if min(games) == max(games) else f"{min(games)} to {max(games)}"
    twice = any("player" in run.args for run in results.runs)
    return f"{TRAINED}, {how_many} of each run.{SAME_RETURNS * twice}\n\n{format_table(rows, 'markdown')}"


def last_quarter(run: Run, regime: int, returns: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The mean score of the games of a regime's last quarter (NaN: there are none), and how many they are.

    returns: of the run's record, where neighbouring games are one row: rows that begin before the quarter do not count.
    """
    begin, end, _ = run.regimes[regime]
    last = end - (end - begin) // 4
    inside = [
        (score, games)
        for (before, *_), (step, score, games) in zip([(0,), *returns[:-1]], returns, strict=True)
        if last < step <= end and (before >= last or games == 1)
    ]
    total = int(sum(games for _, games in inside))
    return (sum(score * games for score, games in inside) / total if total else math.nan), total


def lost_table(results: Results) -> str:
    """Points that a phase of another task has cost each string, above the random player's: mean over phases and seeds.

    A dash where a string was never learned.
    """
    tasks = results.points[0].evaluations[0].tasks
    rows = [["methods", *(f"`{name_of(task)}`" for task in tasks)]]
    for label, result in zip(results.labels, results.points, strict=True):
        units = [unit for of_run in result.metrics for unit in of_run["forgetting_isolated"].units.items()]
        cells = []
        for task in tasks:
            of_task = [lost for name, lost in units if name.startswith(f"{name_of(task)}, phase ")]
            defined = [lost for lost in of_task if not math.isnan(lost)]
            cells.append(number(round(sum(defined) / len(defined), 9) + 0.0) if defined else DASH)  # 0, not -1e-16
        rows.append([f"`{label}`", *cells])
    return format_table(rows, "markdown")


def learned_nothing(runs: Sequence[Run]) -> str:
    """A sentence about runs on one task alone that ended no better than a random player; empty: there are none."""
    tasks = []
    for run in runs:
        task, found = run.regimes[0].modification, run.evaluations()
        floor = floors_of(run.env_id, run.args, [task])[task]
        if isinstance(floor, Floor) and found.score(task, 0).value <= floor.high:
            tasks.append(f"`{name_of(task)}`")
    if not tasks:
        return ""
    return (
        f"Alone, in these steps, nothing was learned of {', '.join(dict.fromkeys(tasks))} (no better than a random "
        "player at the end). What the sequence scores there, the regimes before have taught; how much "
        "[forward transfer](metrics.md#metrics-and-their-definitions) that is, such a run cannot say."
    )


def alone_table(runs: Sequence[Run], config: Mapping[str, Any]) -> str:
    """Raw scores of the runs on one task alone, before and after training."""
    rows = [["only", "steps", "seeds", "before", "at the end"]]
    for (name, steps), own in by_task_alone(runs, config).items():
        task = own[0].regimes[0].modification
        scores = [[run.evaluations().score(task, phase).value for run in own] for phase in (-1, 0)]
        cells = [f"{steps:,}", ", ".join(run.seed for run in own), *(number(sum(s) / len(s)) for s in scores)]
        rows.append([name, *cells])
    return format_table(rows, "markdown")


def by_task_alone(runs: Sequence[Run], config: Mapping[str, Any]) -> dict[tuple[str, int], list[Run]]:
    """(task and learner, steps) -> the runs on this task alone."""
    found: dict[tuple[str, int], list[Run]] = {}
    for run in sorted(runs, key=lambda each: each.regimes[0].modification):
        learner = script_label(run.args, config)
        name = f"`{name_of(run.regimes[0].modification)}`" + (f", `{learner}`" if learner else "")
        found.setdefault((name, run.last_step), []).append(run)
    return found


class Strength(NamedTuple):
    """A row of the table of strengths."""

    methods: str
    varied: dict[str, Any]
    """the settings that are not the same in all rows of these methods, as `ewc.strength`"""
    chosen: bool
    """the best mean score at the end, the first of equals"""


def strengths_of(results: Results) -> list[Strength]:
    """In the order of the groups."""
    means = [result.summaries["average_performance"].mean for result in results.above]
    lists = ["+".join(result.group.runs[0].args["methods"]) for result in results.above]
    settings = [experiment_settings(result.group.runs[0].args) for result in results.above]
    found = []
    for i, own in enumerate(settings):
        same = [j for j in range(len(lists)) if lists[j] == lists[i]]
        varied = {key: own[key] for key in differences([settings[j] for j in same]) if key in own}
        best = max(same, key=lambda j: means[j]) == i and len(same) > 1
        found.append(Strength(lists[i], varied, best))
    return found


def strength_table(results: Results) -> str:
    """One row per value of each method."""
    rows = [["methods", "setting", "seeds", "at the end", "minus none", "chosen"]]
    for label, result, strength in zip(results.labels, results.above, strengths_of(results), strict=True):
        setting = ", ".join(f"`{key}` {short(value)}" for key, value in strength.varied.items())
        seeds = ", ".join(run.seed for run in result.group.runs)
        end = number(result.summaries["average_performance"].mean)
        cells = [setting, seeds, end, minus_plain(results, label), "yes" * strength.chosen]
        rows.append([f"`{strength.methods or PLAIN}`", *cells])
    return format_table(rows, "markdown")


# ------------------------------------------------------------------------------------------------------------- page


def page() -> str:
    """All of docs/suite-results.md."""
    with tempfile.TemporaryDirectory() as place:
        contents = {name: read(FOLDER / f"{name}.json") for name in known_sequences()}
        every = [
            results_of(name, config, contents[name], Path(place) / name)
            for name, config in known_sequences().items()
            if any(contents[name].values())
        ]
        chosen = [
            Choice(game_of(results.config), results.name, strength.varied)
            for results in every
            if results.name.startswith(STRENGTHS)
            for strength in strengths_of(results)
            if strength.chosen
        ]
        return "\n".join([INTRODUCTION, *(section_of(results, chosen) for results in every), PLAN])


class Choice(NamedTuple):
    """What was chosen on a sequence for strengths."""

    game: str
    sequence: str
    settings: dict[str, Any]


def choice_of_settings(results: Results, chosen: Sequence[Choice]) -> list[str]:
    """What is to be said of the settings of methods: which were chosen on another game, or otherwise."""
    lines = ["Settings that a label does not name are the defaults; they were not chosen for this game."]
    for name, key, value in dict.fromkeys(named for run in results.runs for named in named_settings(run.args)):
        setting = f"{name}.{key}"
        here = [each for each in chosen if each.game == game_of(results.config) and setting in each.settings]
        if not here:
            elsewhere = [each.game for each in chosen if each.settings.get(setting) == value]
            why = f"was chosen on {' and '.join(elsewhere)}, not on this game" if elsewhere else "is no measured choice"
            lines.append(f"`{setting}` {short(value)} {why}.")
        elif value not in (each.settings[setting] for each in here):
            links = [f"{short(each.settings[setting])} [was](#{each.sequence})" for each in here]
            lines.append(f"`{setting}` {short(value)} was not chosen for this game; {' and '.join(links)}.")
    return lines


def named_settings(args: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Method, setting, value of those that a label names."""
    found = []
    for name in args.get("methods", []):
        given, defaults = settings_of_method(name, args)
        found += [(name, key, value) for key, value in given.items() if value != defaults[key]]
    return found


def not_run(results: Results) -> list[str]:
    """What of the planned comparison is missing; the values of methods' settings do not count."""
    if of_several_games(results.config):
        planned, names = PLANNED_OF_GAMES, results.labels
    else:
        planned = PLANNED
        names = ["+".join(word.partition(":")[0] for word in label.split("+")) for label in results.labels]
    there = {(name, run.seed) for name, result in zip(names, results.above, strict=True) for run in result.group.runs}
    without = {name: [seed for seed in SEEDS if (name, seed) not in there] for name in planned}
    left = [f"`{name}` {', '.join(seeds)}" for name, seeds in without.items() if seeds]
    lines = [f"Not run yet, of {len(planned)} rows and seeds {', '.join(SEEDS)}: {'; '.join(left)}"] if left else []
    alone = {(run.regimes[0].modification, run.seed) for run in results.alone}
    tasks = {task.string: [s for s in SEEDS if (task.string, s) not in alone] for task in first_regimes(results.config)}
    left = [f"`{name_of(task)}` {', '.join(seeds)}" for task, seeds in tasks.items() if seeds]
    return [*lines, f"Not run yet on one task alone, of the same seeds: {'; '.join(left)}"] if left else lines


def section_of(results: Results, chosen: Sequence[Choice]) -> str:
    """What one file's runs came to."""
    blocks = [f"## {results.name}", sequence_in_words(results.config)]
    if results.above:
        choice = results.name.startswith(STRENGTHS)
        twice = any("player" in run.args for run in results.runs)
        blocks.append(strength_table(results) if choice else suite_table(results))
        blocks += ["Scores under each string after the last regime, as the game counts them:"]
        blocks += [string_table(results, "sampled")]
        blocks += ["The same in greedy games, in which the most probable action is always taken:"]
        blocks += [string_table(results, "greedy")]
        blocks += [trained_table(results)]
        if not choice:
            blocks += [LOST, lost_table(results)]
        several = of_several_games(results.config)
        captions = {
            "returns": RETURNS + SAME_RETURNS * twice,
            "evaluation": EVALUATION + COLOURS_OF_GAMES * several,
        }
        for kind, words in captions.items():
            blocks.append(f"![{words}](../benchmarks/results/suites/{results.name}-{kind}.png)\n{words}")
        blocks += ["What this does **not** show:", "\n".join(f"- {line}" for line in limits_of(results, chosen))]
    if results.alone:
        words = "Runs on one task alone, as the game counts their scores:"
        blocks += [words, alone_table(results.alone, results.config)]
        blocks += filter(None, [learned_nothing(results.alone)])
    blocks += ["What was run:", "\n".join(f"- {line}" for line in what_was_run(results))]
    return "\n\n".join(blocks) + "\n"


RETURNS = (
    "Returns while training. Dots: games, or means of neighbouring ones; lines: means of stretches. Bands: regimes."
)
SAME_RETURNS = " Of Progress & Compress the active column plays in training, so both its lines are the same."
EVALUATION = "Evaluated scores: strings in rows, evaluations in columns. A frame marks the string in training."
COLOURS_OF_GAMES = " Colours: from the lowest to the highest score of each game."


TRAINED = "Scores in training, as the game counts them: mean of the whole games of the last quarter of each regime"
LOST = (
    "Points that a regime of another string has cost each string, on average (`forgetting_isolated`; below 0: gained; "
    "a dash: never learned, nothing came after it, or no score of a random player is known):"
)


def sequence_in_words(config: Mapping[str, Any]) -> str:
    """What the runs went through."""
    segments = list(schedule_from_config(dict(config), seed=0).segments())
    parts = [f"`{name_of(string)}` for {stop - start:,} steps" for start, stop, string in segments]
    return f"{config['env_id']}: {', then '.join(parts)}."


def limits_of(results: Results, chosen: Sequence[Choice]) -> list[str]:
    """What a reader must not conclude."""
    lines = how_far_to_trust(Report(results.groups, figures.Keys([]), {}, "sampled", []))
    steps = schedule_from_config(dict(results.config), seed=0).num_total_steps
    if steps < 2_000_000:
        lines.append(
            f"{steps:,} steps are a small part of a usual Atari run of 10,000,000: what needs longer, as the loss of "
            "plasticity does, cannot be seen."
        )
    for label, result in zip(results.labels, results.above, strict=True):
        learned, end = result.summaries["learned_share"], result.summaries["average_performance"]
        if "random player" in end.reason:
            lines.append(f"`{label}`: the mean at the end is one over fewer tasks: {end.reason}.")
        if learned.mean < 1:
            lines.append(f"`{label}`: not every task was learned, and what never was cannot be forgotten.")
        forgetting = result.summaries["forgetting_maximal"]
        if math.isnan(forgetting.mean):
            lines.append(f"`{label}`: forgetting is undefined: {forgetting.reason}.")
    lines += [*what_one_action_says(results), *barely_learned(results)]
    if not results.name.startswith(STRENGTHS):
        lines += choice_of_settings(results, chosen)
    processors = sorted({run.args["processor"] for run in results.runs})
    if len(processors) > 1:
        lines.append(
            f"The runs were made on different processors, {' and '.join(processors)}. These round differently, and so "
            "do versions that sum in another order: runs of one seed need not stay alike, and a difference to "
            "`none` of the same seed may have as much luck in it as one to another seed."
        )
    if mixed := mixed_versions([run.args for run in results.runs]):
        lines.append(f"{mixed[0].upper()}{mixed[1:]}.")
    return lines


def what_one_action_says(results: Results) -> list[str]:
    """Whether the agents do more than to press a button."""
    if results.one is None:
        return []
    below = [result for result in results.above if result.summaries["average_performance"].mean < results.one.end]
    player = f"A player that always presses `{results.one.action}`, whatever it sees, has {number(results.one.end)}"
    rows = f"more than {len(below)} of {counted(len(results.above), 'row')}" if below else "less than every row"
    if not solved(results.one, results.points):
        return [f"{player} at the end, {rows}."]
    return [
        f"{player} at the end, {rows}. What one action solves cannot be forgotten by an agent that has found "
        "it: sampled games then differ by how often another action is drawn, and greedy ones hardly at all. This "
        "sequence shows who finds that action, and how far a method makes the policy more random. It does not show "
        "which method remembers more."
    ]


def solved(one: OneAction, points: Sequence[GroupResult]) -> bool:
    """Whether one action scores at least nine tenths of the best row under every task, above the random player."""
    found, args = points[0].evaluations[0], points[0].group.runs[0].args
    for task, floor in floors_of(args["env_id"], args, found.tasks).items():
        if isinstance(floor, str):
            return False
        rows = [[each.score(task, each.num_phases - 1).value for each in result.evaluations] for result in points]
        best = max(sum(scores) / len(scores) for scores in rows) - floor.mean
        if one.scores[task] - floor.mean < 0.9 * best:
            return False
    return True


def barely_learned(results: Results) -> list[str]:
    """What counts as learned with less than a tenth of the points that another row came to."""
    reached: dict[tuple[str, str, str], float] = {}
    for label, result in zip(results.labels, results.points, strict=True):
        for run, found, metrics in zip(result.group.runs, result.evaluations, result.metrics, strict=True):
            floors = floors_of(run.env_id, run.args, found.tasks)
            for task in found.tasks:
                if metrics["learned_share"].units[name_of(task)] == 1 and isinstance(floor := floors[task], Floor):
                    points = [score for step, score in found.points_since(task, found.phases_of(task)[0]) if step > 0]
                    reached[label, run.seed, task] = max(points) - floor.mean
    best = {task: max(points for (*_, each), points in reached.items() if each == task) for *_, task in reached}
    return [
        f"`{label}`, seed {seed}: `{name_of(task)}` counts as [learned](metrics.md#how-low-this-bar-is), and so as "
        f"something to forget, with at best {number(points)} points above a random player in its first regime; "
        f"others came to {number(best[task])}."
        for (label, seed, task), points in reached.items()
        if points < best[task] / 10
    ]


def what_was_run(results: Results) -> list[str]:
    """Runs with what made them, and the methods that have none."""
    lines = [f"`{group.label}`, {made_by(group.runs)}" for group in results.groups]
    lines += [f"only {name}, {made_by(own)}" for (name, _), own in by_task_alone(results.alone, results.config).items()]
    if not results.name.startswith(STRENGTHS):
        lines += not_run(results)
    return lines


def made_by(runs: Sequence[Run]) -> str:
    """Seeds, with the commits and the processor that made them, and the command of the first."""
    seeds: dict[str, list[str]] = {}
    for run in runs:
        commits = [part["versions"]["commit"][:12] for part in (run.args, *run.args.get("resumed", []))]
        made = f"commit {', then '.join(dict.fromkeys(commits))}, {run.args['processor']}"
        seeds.setdefault(made, []).append(run.seed)
    told = [f"{'seed' if len(own) == 1 else 'seeds'} {', '.join(own)}: {made}" for made, own in seeds.items()]
    return f"{'; '.join(told)}; `{runs[0].args['command']}`"


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
            figure.savefig(FOLDER / f"{results.name}-{kind}.png", dpi=DOTS)


def draw_all() -> None:
    """The pictures of all files."""
    for name, config in known_sequences().items():
        content = read(FOLDER / f"{name}.json")
        if content["runs"]:
            with tempfile.TemporaryDirectory() as place:
                draw(results_of(name, config, content, Path(place)))


# ---------------------------------------------------------------------------------------------------------- command


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
                f"runs of the same label with {theirs}; take those out of the file first, or make them anew as well"
            )
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
    for name, config in known_sequences().items():
        path = FOLDER / f"{name}.json"
        own = records.pop(name, [])
        if not name.startswith(STRENGTHS):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="of sweeps, or of runs (default: only make the page)")
    collect(parser.parse_args().folders)
    draw_all()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
