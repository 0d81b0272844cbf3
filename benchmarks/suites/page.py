"""docs/suite-results.md: the tables, and what a reader must and must not conclude from them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.suites.labels import PLAIN, PLAYERS, game_in_words, of_several_games, settings_of_methods, short
from benchmarks.suites.records import file_of, known_sequences, read
from benchmarks.suites.results import STRENGTHS, Results, by_task_alone, results_of, solved, strengths_of
from benchmarks.suites.tables import (
    LOST,
    SAME_RETURNS,
    alone_table,
    lost_table,
    strength_table,
    string_table,
    suite_table,
    trained_table,
)
from continual_hackatari.reporting import figures
from continual_hackatari.reporting.floor import Floor, floors_of
from continual_hackatari.reporting.groups import mixed_versions
from continual_hackatari.reporting.report import Report, how_far_to_trust
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.words import counted, name_of, number
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.training.suites import first_regimes

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
`1 of 4 tasks`, counted over all seeds, where those are not all. To the first task nothing can be transferred: its \
part of the mean is how far two runs of the same training came apart |
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
python sweep.py --suite breakout-dynamics --methods none from_scratch ewc --seeds 1 2 3
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
RETURNS = (
    "Returns while training. Dots: games, or means of neighbouring ones; lines: means of stretches. Bands: regimes."
)
EVALUATION = "Evaluated scores: strings in rows, evaluations in columns. A frame marks the string in training."
COLOURS_OF_GAMES = " Colours: from the lowest to the highest score of each game."


class Choice(NamedTuple):
    """What was chosen on a sequence for strengths."""

    game: str
    """or all games of that sequence, see `game_in_words`"""
    sequence: str
    settings: dict[str, Any]


def page() -> str:
    """All of docs/suite-results.md."""
    with tempfile.TemporaryDirectory() as place:
        contents = {name: read(file_of(name)) for name in known_sequences()}
        every = [
            results_of(name, config, contents[name], Path(place) / name)
            for name, config in known_sequences().items()
            if any(contents[name].values())
        ]
        chosen = [
            Choice(game_in_words(results.config), results.name, strength.varied)
            for results in every
            if results.name.startswith(STRENGTHS)
            for strength in strengths_of(results)
            if strength.chosen
        ]
        return "\n".join([INTRODUCTION, *(section_of(results, chosen) for results in every), PLAN])


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
        blocks += filter(None, [learned_nothing(results.alone, results.config)])
    blocks += ["What was run:", "\n".join(f"- {line}" for line in what_was_run(results))]
    return "\n\n".join(blocks) + "\n"


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
    processors = sorted({each for run in results.runs for each in processors_of(run)})
    if len(processors) > 1:
        lines.append(
            f"The runs were made on different processors, {' and '.join(processors)}. These round differently, and so "
            "do versions that sum in another order: runs of one seed need not stay alike, and a difference to "
            "`none` of the same seed may have as much luck in it as one to another seed."
        )
    if mixed := mixed_versions([run.args for run in results.runs]):
        lines.append(f"{mixed[0].upper()}{mixed[1:]}.")
    return lines


def choice_of_settings(results: Results, chosen: Sequence[Choice]) -> list[str]:
    """What is to be said of the settings of methods: which were chosen on another game, or otherwise."""
    lines, chosen_defaults = [], []
    game = game_in_words(results.config)
    for setting, value, named in dict.fromkeys(each for run in results.runs for each in settings_of_methods(run.args)):
        here = [each for each in chosen if each.game == game and setting in each.settings]
        fitting = [each for each in here if each.settings[setting] == value]
        if not named:
            chosen_defaults += [f"`{setting}` {short(value)} [was](#{each.sequence})" for each in fitting]
        elif not here:
            elsewhere = [each.game for each in chosen if each.settings.get(setting) == value]
            why = f"was chosen on {' and '.join(elsewhere)}, not on this game" if elsewhere else "is no measured choice"
            lines.append(f"`{setting}` {short(value)} {why}.")
        elif not fitting:
            links = [f"{short(each.settings[setting])} [was](#{each.sequence})" for each in here]
            lines.append(f"`{setting}` {short(value)} was not chosen for this game; {' and '.join(links)}.")
    but = f", but {' and '.join(chosen_defaults)}" if chosen_defaults else ""
    return [f"Settings that a label does not name are the defaults; they were not chosen for this game{but}.", *lines]


def what_one_action_says(results: Results) -> list[str]:
    """Whether the agents do more than to press a button."""
    if results.one is None:
        return []
    means = [result.summaries["average_performance"].mean for result in results.above]
    below = [mean for mean in means if mean < results.one.end and not math.isclose(mean, results.one.end, abs_tol=1e-9)]
    player = f"A player that always presses `{results.one.action}`, whatever it sees, has {number(results.one.end)}"
    rows = f"more than {len(below)} of {counted(len(means), 'row')}" if below else "no more than any row"
    if not solved(results.one, results.points):
        return [f"{player} at the end, {rows}."]
    return [
        f"{player} at the end, {rows}. What one action solves cannot be forgotten by an agent that has found "
        "it: sampled games then differ by how often another action is drawn, and greedy ones hardly at all. This "
        "sequence shows who finds that action, and how far a method makes the policy more random. It does not show "
        "which method remembers more."
    ]


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


def learned_nothing(runs: Sequence[Run], config: Mapping[str, Any]) -> str:
    """A sentence about runs on one task alone that ended no better than a random player; empty: there are none."""
    tasks = []
    for (name, _), own in by_task_alone(runs, config).items():
        if without := [run.seed for run in own if ended_as_random(run)]:
            tasks.append(name + f" with seed {' and '.join(without)}" * (len(without) < len(own)))
    if not tasks:
        return ""
    return (
        f"Alone, in these steps, nothing was learned of {', '.join(tasks)} (no better than a random "
        "player at the end). What the sequence scores there, the regimes before have taught; how much "
        "[forward transfer](metrics.md#metrics-and-their-definitions) that is, such a run cannot say."
    )


def ended_as_random(run: Run) -> bool:
    """Whether a run on one task alone scored no more at its end than a random player may."""
    task = run.regimes[0].modification
    floor = floors_of(run.env_id, run.args, [task])[task]
    return isinstance(floor, Floor) and run.evaluations().score(task, 0).value <= floor.high


def what_was_run(results: Results) -> list[str]:
    """Runs with what made them, and the methods that have none."""
    lines = [f"`{group.label}`, {made_by(group.runs)}" for group in results.groups]
    lines += [f"only {name}, {made_by(own)}" for (name, _), own in by_task_alone(results.alone, results.config).items()]
    if not results.name.startswith(STRENGTHS):
        lines += not_run(results)
    return lines


def parts_of(run: Run) -> list[Mapping[str, Any]]:
    """What made a run: how it began, and how it went on."""
    return [run.args, *run.args.get("resumed", [])]


def processors_of(run: Run) -> list[str]:
    """In the order in which they worked on it."""
    return list(dict.fromkeys(part["processor"] for part in parts_of(run) if "processor" in part))


def made_by(runs: Sequence[Run]) -> str:
    """Seeds, with the commits and the processors that made them, and the command of the first."""
    seeds: dict[str, list[str]] = {}
    for run in runs:
        commits = dict.fromkeys(part["versions"].get("commit", "unknown")[:12] for part in parts_of(run))
        made = f"commit {', then '.join(commits)}, {', then '.join(processors_of(run))}"
        seeds.setdefault(made, []).append(run.seed)
    told = [f"{'seed' if len(own) == 1 else 'seeds'} {', '.join(own)}: {made}" for made, own in seeds.items()]
    return f"{'; '.join(told)}; `{runs[0].args['command']}`"


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
