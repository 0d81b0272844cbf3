"""The README is true: tables equal the code, commands are accepted, examples run, links lead somewhere."""

import ast
import contextlib
import dataclasses
import inspect
import io
import json
import re
import shlex
import sys
import typing
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from conftest import NEEDS_HACKATARI, ROOT
from made_up_runs import make_run

from benchmarks import hindsight, methods, precision
from continual_hackatari import continual_training_example, metrics, report, sweep
from continual_hackatari import eval as evaluation
from continual_hackatari.agents import ContinualBackprop, make_agent
from continual_hackatari.agents.plasticity import PlasticityProbe
from continual_hackatari.schedules import factories as modification_factories
from continual_hackatari.schedules.factories import ScheduleError, make_factory, schedule_from_config
from continual_hackatari.training import summary
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.config import _is_hidden, apply_config_file, check_ranges, parse_command_line
from continual_hackatari.wrappers.config import check_string, game_config
from continual_hackatari.wrappers.errors import ModificationError
from continual_hackatari.wrappers.goals import GOALS
from continual_hackatari.wrappers.modifications import __main__ as modifications_command
from continual_hackatari.wrappers.modified_game import ModifiedGame
from continual_hackatari.wrappers.objects import why_missing
from continual_hackatari.wrappers.rewards import load_reward_function

README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = {
    "continual_training_example.py": continual_training_example,
    "eval.py": evaluation,
    "metrics.py": metrics,
    "report.py": report,
}
BENCHMARKS = ("environment", "training", "switches", "shrinking", "limits", "memory", "watching")
BENCHMARKS += ("precision", "methods", "published", "soak", "starts", "hindsight")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.S | re.M)


def section(heading):
    """The text under one heading, down to the next heading of the same or a higher level."""
    level = heading.split(" ")[0]
    start = README.index(f"\n{heading}\n") + len(heading) + 2
    end = re.compile(rf"^#{{1,{len(level)}}} ", re.M).search(README, start)
    return README[start : end.start() if end else len(README)]


def rows(text, columns=3):
    """The cells of all table rows whose first cell is code."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == columns:
            found.append([cell.strip("| ") for cell in cells])
    return found


def shown_default(value):
    """A default as the tables write it."""
    if value is dataclasses.MISSING or value is inspect.Parameter.empty:
        return "required"
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return f"`{value}`" if value else '`""`'
    if isinstance(value, dict):
        return "`{}`"
    return (" ".join(map(str, value)) or "none") if isinstance(value, tuple) else value


def assert_default(cell, value):
    expected = shown_default(value)
    if isinstance(expected, (int, float)):
        assert float(cell) == expected
    else:
        assert cell == expected


def default_of(field):
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


# ------------------------------------------------------------------------------------------------------ first screen


def test_first_two_blocks_are_the_ones_that_ci_and_newcomers_run():
    first, second = blocks("(?:bash|sh|shell|console)")[:2]
    assert first.splitlines() == [
        "pip install -e . -c constraints.txt",
        "python continual_training_example.py --config configs/first_run.json",
    ]
    assert second.splitlines() == [
        'pip install -e ".[test]" -c constraints.txt',
        "ruff check . && ruff format --check . && mypy && python -m pytest -n auto",
    ]


def test_first_screen_is_name_sentence_picture_and_two_blocks():
    before, after = README.split("```bash", 1)
    lines = [line for line in before.splitlines() if line]
    assert lines[0] == "# continual-hackatari"
    assert lines[1].count(". ") == 0
    assert lines[1].endswith(".")
    assert lines[2].startswith("![")
    assert len(lines) == 4
    assert "```bash" in after[:400]


def test_links_and_pictures_lead_somewhere():
    anchors = {
        re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README, re.M)
    }
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert len(targets) > 20
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (ROOT / target).is_file(), target


@pytest.mark.parametrize("name", ["freeway", "first_run", "report"])
def test_picture_is_small_and_a_picture(name):
    picture = (ROOT / "docs" / f"{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 300_000


def test_holds_no_open_work_no_private_path_and_no_hype():
    words = (
        r"\b(TO-?DO|FIX-?ME|TBD)\b|(^|[\s`(])/(home|root|tmp|work)\b|\b(blazing|seamless|cutting-edge|revolutionary)\b"
    )
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.py"), *(ROOT / "docs").glob("*.json")]:
        assert not re.findall(words, path.read_text(encoding="utf-8"), re.I), path.name


# ------------------------------------------------------------------------------------------------------------ tables


@pytest.mark.parametrize(
    ("heading", "script"),
    [
        ("## Training: every flag", continual_training_example),
        ("### Evaluation: every flag", evaluation),
        ("### Continual metrics: every flag", metrics),
        ("## Report", report),
    ],
)
def test_flag_tables_equal_the_dataclasses(heading, script):
    text = section(heading).split("\n### ")[0]  # sections below it have tables of their own
    table = {re.sub("^`(--)?|`$", "", name): (name, default, meaning) for name, default, meaning in rows(text)}
    fields = {field.name: field for field in dataclasses.fields(script.Args)}
    hints = typing.get_type_hints(script.Args)
    assert list(table) == list(dict.fromkeys(table))
    assert table.keys() == fields.keys()
    for name, (written, default, meaning) in table.items():
        positional = script in (metrics, report) and name == "runs"
        assert written == (f"`{name}`" if positional or _is_hidden(script.Args, name) else f"`--{name}`")
        assert_default(default, default_of(fields[name]))
        options = [hints[name], *typing.get_args(hints[name])]
        for choice in [c for option in options if typing.get_origin(option) is typing.Literal for c in option.__args__]:
            assert f"`{choice}`" in meaning, f"{name}: {choice}"


def test_each_flag_has_one_row():
    headings = (
        "## Training: every flag",
        "### Evaluation: every flag",
        "### Continual metrics: every flag",
        "## Report",
    )
    for heading in headings:
        names = [row[0] for row in rows(section(heading).split("\n### ")[0])]
        assert len(names) == len(set(names))


def test_factory_tables_equal_the_constructors():
    described = set()
    for heading in re.findall(r"^#### (.*)$", section("### The seven factories"), re.M):
        table = rows(section(f"#### {heading}"))
        for name in heading.split(", "):
            described.add(name)
            mine = [row for row in table if name.startswith("Eps") or not row[2].startswith("Eps only")]
            parameters = dict(inspect.signature(modification_factories.modification_factory_mapping[name]).parameters)
            parameters.pop("seed")  # explained once for all factories
            assert [row[0].strip("`") for row in mine] == list(parameters)
            for row, parameter in zip(mine, parameters.values(), strict=True):
                assert_default(row[1], parameter.default)
    assert described == set(modification_factories.modification_factory_mapping)


def test_goal_table_equals_the_goals():
    flags = {"position": "`--her`", "game_specific": "`--game_specific_goals`"}
    expected = []
    for kind, goals in GOALS.items():
        for game, goal in goals.items():
            for axis in goal.axes:
                reached = {None: "at or above", 0: "exactly"}.get(axis.tolerance, f"within {axis.tolerance}")
                words = (
                    f"`{game}`",
                    flags[kind],
                    goal.meaning,
                    axis.name,
                    axis.unit,
                    axis.cells,
                    f"{axis.target}",
                    reached,
                )
                expected.append(words)
    assert [tuple(row) for row in rows(section("### Goals"), columns=8)] == expected


def test_preview_options_equal_its_parser():
    table = {row[0].strip("`").split(" ")[0] for row in rows(section("### Preview"))}
    parser = modification_factories._parser()
    known = {action.option_strings[0] for action in parser._actions if action.option_strings}
    assert table == known - {"-h"}


def test_flags_that_may_change_with_resume_are_all_listed():
    paragraph = re.search(r"^\*\*Settings\*\*.*$", section("## Stop and resume"), re.M)[0]
    named = set(re.findall(r"`--(\w+)`", paragraph))
    changeable = set(continual_training_example.CHANGEABLE)
    assert named == {name for name in changeable if not name.startswith("wandb_")}
    assert "`--wandb_*`" in paragraph
    assert {name for name in changeable if name.startswith("wandb_")} == {
        field.name for field in dataclasses.fields(continual_training_example.Args) if field.name.startswith("wandb_")
    }


def test_columns_of_the_csv_files():
    from continual_hackatari.training.evaluations import COLUMNS
    from continual_hackatari.training.tracking import EPISODE_COLUMNS, SWITCH_COLUMNS

    for columns in (EPISODE_COLUMNS, SWITCH_COLUMNS):
        assert f"`{', '.join(columns)}`" in README
    table = re.search(r"^\| column of `evals.csv`.*?\n\n", README, re.S | re.M)[0]
    described = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split(" | ")[0])]
    assert sorted(described) == sorted(COLUMNS)


def test_logged_names_are_those_of_the_code():
    logged = set(
        re.findall(
            r"`((?:charts|losses|switch|time|eval|cbp|her|plasticity)/[^`]*)`", section("## Tracking and videos")
        )
    )
    source = "".join(
        (ROOT / name).read_text()
        for name in ("continual_training_example.py", "eval.py", "experiment/tracking.py", "agents/hindsight.py")
    )
    for name in logged:
        group, leaf = name.split("/", 1)
        assert f"{group}/" in source
        if "<" not in leaf:
            assert leaf in source, name


def test_logged_names_of_continual_backpropagation_are_those_of_its_summary():
    listed = set(re.findall(r"`(cbp/[^`]*)`", section("## Continual backpropagation")))
    agent = make_agent("PPO_CBP", (4, 84, 84), 6)
    cbp = ContinualBackprop(agent.cbp_layers(), replacement_rate=1.0, maturity_threshold=0, decay_rate=0.5)
    cbp.step(agent(torch.zeros(1, 4, 84, 84), True)[2])
    for record in cbp.records:
        record.age += 1  # units that were just replaced have no utility to log
    layers = [layer.name for layer in agent.cbp_layers()]
    assert {name.replace("<layer>", layer) for name in listed for layer in layers} == {
        f"cbp/{name}" for name in cbp.summary()
    }


def test_logged_names_of_plasticity_are_those_of_its_probe():
    listed = set(re.findall(r"`(plasticity/[^`]*)`", section("## Plasticity")))
    agent = make_agent("PPO", (4, 84, 84), 6)
    probe = PlasticityProbe(1)
    probe.observations = torch.zeros(1, 4, 84, 84)
    probe.measure(agent)
    logged = {f"plasticity/{name}" for name in (*probe.measure(agent), "gradient_norm")}
    layers = [layer.name for layer in make_agent("PPO_CBP", (4, 84, 84), 6).cbp_layers()]
    assert {name.replace("<layer>", layer) for name in listed for layer in layers} == logged


def test_shipped_experiments_are_all_listed_with_their_length():
    listed = {row[0].strip("`"): row for row in rows(section("### Shipped experiments"), columns=4)}
    shipped = {"run_config.json", *(f"configs/{path.name}" for path in (ROOT / "configs").glob("*.json"))}
    assert set(listed) == shipped
    for name, (_, game, _, steps) in listed.items():
        config = json.loads((ROOT / name).read_text())
        env_id = config.get("env_id", continual_training_example.Args.env_id)
        assert env_id in (f"ALE/{game}-v5", f"{game}NoFrameskip-v4")
        length = None if "modification_factory" in config else config["total_timesteps"]
        assert f"{schedule_from_config(config, seed=42, total_timesteps=length).num_total_steps:,}" == steps


# ---------------------------------------------------------------------------------------------------------- commands


def command_lines():
    """(script or module, arguments) of every Python command in the shell blocks."""
    found = []
    for block in blocks("bash"):
        for line in block.splitlines():
            words = shlex.split(re.sub(r'"?\$\(.*\)"?$', "RUN", line.replace('"$AGENT"', "AGENT")), comments=True)
            words = [word for word in words if not re.fullmatch(r"[A-Z_]+=.*", word)]
            if words[:1] == ["torchrun"]:
                words = ["python", *words[words.index("continual_training_example.py") :]]
            if words[:1] == ["python"]:
                found.append(words[1:])
    return found


def test_there_are_commands_of_every_kind():
    kinds = {" ".join(words[:2]) if words[0] == "-m" else words[0] for words in command_lines()}
    assert kinds == {
        *SCRIPTS,
        "modification_factories.py",
        "sweep.py",
        "-m wrappers.modifications",
        *(f"-m benchmarks.{name}" for name in BENCHMARKS),
        "docs/draw_first_picture.py",
    }


@pytest.mark.parametrize("words", [w for w in command_lines() if w[0] in SCRIPTS], ids=" ".join)
def test_commands_of_the_scripts_are_accepted(words, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    script = SCRIPTS[words[0]]
    args = parse_command_line(script.Args, words[1:])
    check_ranges(args, getattr(script, "RANGES", {}))
    if getattr(args, "obs_mode", None) == "obj" and find_spec("ocatari") is None:  # refused, see README
        return
    if script in (metrics, report):  # they need runs; test_metrics_command.py and test_report.py make some
        return
    if script is continual_training_example and args.resume:  # needs a run; test_resume.py has some
        return
    if script is evaluation:
        shipped = [ROOT / path for path in args.agent_path if (ROOT / path).is_file()]
        config, _ = game_config(load_checkpoint(shipped[0]).args["env_id"] if shipped else "ALE/Freeway-v5")
        for string in args.modifs.split(","):
            check_string(config, string)
        return
    arguments = words[1:]
    if args.new_rf:
        (tmp_path / args.new_rf).write_text(reward_file())
        arguments = [str(tmp_path / word) if word == args.new_rf else word for word in arguments]
    if args.track:  # would ask W&B
        arguments = sweep.without_wandb(arguments)
    setup = script.prepare(arguments)
    assert setup.total_timesteps > 0


@pytest.mark.parametrize("words", [w for w in command_lines() if w[0] == "modification_factories.py"], ids=" ".join)
def test_commands_of_the_preview_work(words, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    words = [str(tmp_path / word) if word.endswith(".png") else word for word in words]
    assert modification_factories.main(words[1:]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("words", [w for w in command_lines() if w[1:2] == ["wrappers.modifications"]], ids=" ".join)
def test_commands_of_the_list_work(words, capsys, tmp_path, monkeypatch):
    if "--gallery" in words or "--play" in words:  # test_look.py looks at what they make
        monkeypatch.chdir(tmp_path)
        (tmp_path / "docs").mkdir()
        quick = ["--step", "1"] if "--gallery" in words else []
        assert modifications_command.main([*words[2:], *quick]) == 0
        assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
        return
    assert modifications_command.main(words[2:]) == 0
    assert ("all_pink_cars" if words[2:] else "Freeway") in capsys.readouterr().out


def measured(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["environment", "training", "switches"])
def test_the_figures_of_the_speed_section_are_the_measured_ones(name):
    text, result = section("## Speed"), measured(name)
    if name == "switches":
        for milliseconds in result["settings"]["percentile_95_ms"].values():
            assert f"{milliseconds:.1f} ms" in text or f"{milliseconds:.0f} ms" in text
        return
    shown = [f"{row['median']:,.0f}" for row in result["rows"] if row["median"]]
    rows = re.findall(r"^\| [^|]* \| ([\d,]+) \| ([\d.]+) \|$", text, re.M)
    assert sum(figure in shown for figure, _ in rows) >= 4
    base = next(row["median"] for row in result["rows"] if row["name"] == result["reference"])
    for figure, ratio in rows:
        for row in result["rows"]:
            if row["median"] and f"{row['median']:,.0f}" == figure:
                assert float(ratio) == round(row["median"] / base, 2)


def test_the_figures_of_where_the_time_goes_are_the_measured_ones():
    text = (ROOT / "benchmarks" / "WHERE_THE_TIME_GOES.md").read_text()
    limits, memory = measured("limits"), measured("memory")
    median = {row["name"]: row["median"] for row in limits["rows"]}
    parts = re.findall(r"^\| [^|]* \| ([\d,]+) \|$", text, re.M)
    assert len(parts) == 6
    assert set(parts) <= {f"{value:,.0f}" for value in median.values()}
    for dtype in ("float32", "bfloat16"):
        best, whole = median[f"at best, {dtype}"], median[f"training, {dtype}"]
        assert f"| {dtype} | {best:,.0f} | {whole:,.0f} | {whole / best:.2f} |" in text
    for phase in ("inference", "emulation", "advantages", "update", "logging"):
        milliseconds = [limits["settings"]["phases_ms"][dtype][phase] for dtype in ("float32", "bfloat16")]
        assert re.search(rf"^\| {phase}[^|]* \| {milliseconds[0]:.0f} \| {milliseconds[1]:.0f} \|$", text, re.M), phase
    shrinking = {row["name"]: row["median"] for row in measured("shrinking")["rows"]}
    for way in ("whole screen", "changed bands"):
        figures = [f"{shrinking[f'{game}, {way}']:.0f}" for game in measured("shrinking")["settings"]["games"]]
        assert f"| {way} | {' | '.join(figures)} |" in text
    for row in memory["rows"]:
        games, steps = re.findall(r"\d+", row["name"])
        assert f"| {games} | {steps} | {row['median']:.0f} |" in text
    assert not memory["settings"]["workers_load_torch"]


def test_the_table_of_precisions_is_the_measured_one():
    text, result = section("### bfloat16 or float32?"), measured("precision")
    assert precision.table(result["rows"]) in text
    assert len(result["settings"]["seeds"]) >= 3
    assert result["settings"]["steps"] >= 500_000
    assert ("**float32 is the default.**" in text) == (continual_training_example.Args.amp == "off")


def test_the_table_of_methods_is_the_measured_one():
    text, result = section("### Comparing methods"), measured("methods")
    for game, rows in result["rows"].items():
        assert methods.table(rows, methods.sequence(game).modifications) in text
        assert len(rows[0]["all"]) == len(result["settings"]["seeds"]) >= 3


def test_the_tables_of_hindsight_are_the_measured_ones():
    text, result = section("### Does it help, does it do harm?"), measured("hindsight")
    for row in result["line"]["rows"]:
        assert hindsight.line_row(row) in text
        assert len(row["levels"]) == len(result["line"]["seeds"]) >= 8
    assert hindsight.freeway_table(result["freeway"]["rows"]) in text


def test_the_figures_of_the_soak_are_the_measured_ones():
    text, result = section("### Reliability"), measured("soak")
    steps, games, switches = (f"{result[name]:,}" for name in ("steps", "games", "switches"))
    assert f"In {result['hours']:.2f} hours there were {switches} switches, {steps} steps and {games} games." in text
    low, high = result["memory_mb"]
    slope = f"{result['memory_mb_per_hour']:.0f} MB per hour"
    assert f"between {low:.0f} and {high:.0f} MB, with a slope of {slope} after the first quarter" in text
    assert not result["repeated_lines"]
    assert result["exit_code"] == 143


# ---------------------------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize("text", blocks("json"), ids=range(len(blocks("json"))))
def test_config_files_can_be_trained(text, tmp_path, monkeypatch):
    (tmp_path / "my_schedules.py").write_text(python_block("class Alternating"))
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "config.json"
    path.write_text(text)
    with contextlib.redirect_stdout(io.StringIO()):
        setup = continual_training_example.prepare(["--config", str(path)])
    args, _ = apply_config_file(continual_training_example.Args(), path)
    config, _ = game_config(args.env_id)
    for string in setup.schedule.possible_modifications():
        check_string(config, string)
    assert setup.total_timesteps == setup.schedule.num_total_steps
    sys.modules.pop("my_schedules", None)


def python_block(beginning):
    (found,) = [block for block in blocks("python") if beginning in block]
    return found


def reward_file():
    return python_block("def reward_function")


def test_python_blocks_are_the_known_ones():
    assert len(blocks("python")) == 4
    for block in blocks("python"):
        ast.parse(block)


def test_own_schedule_by_its_place(tmp_path, monkeypatch):
    (tmp_path / "my_schedules.py").write_text(python_block("class Alternating"))
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = {"num_total_steps": 70_000, "first": "a", "second": "b"}
    factory = make_factory("my_schedules:Alternating", arguments, seed=0)
    assert [start for start, _, _ in factory.segments()] == [0, 10_000, 30_000, 60_000]
    assert [string for _, _, string in factory.segments()] == ["a", "b", "a", "b"]
    sys.modules.pop("my_schedules")


def test_own_schedule_by_its_name(monkeypatch):
    mapping = dict(modification_factories.modification_factory_mapping)
    monkeypatch.setattr(modification_factories, "modification_factory_mapping", mapping)
    exec(python_block("class EveryOther"), {**vars(modification_factories), "modification_factory_mapping": mapping})
    factory = make_factory("EveryOther", {"num_total_steps": 40, "modification": "a", "hold": 10}, seed=0)
    assert [factory.get_modification(step) for step in (0, 9, 10, 19, 20, 39)] == ["", "", "a", "a", "", "a"]
    with pytest.raises(ScheduleError, match="num_total_steps"):
        make_factory("EveryOther", {"num_total_steps": 0, "modification": "a", "hold": 10}, seed=0)


def test_reward_file(tmp_path):
    path = tmp_path / "near_the_top.py"
    path.write_text(reward_file())
    load_reward_function(str(path))
    config, _ = game_config("ALE/Freeway-v5", reward_file=str(path))
    game = ModifiedGame(config, seed=1, modification_seed=1)
    game.start(("disable_cars",), observe=lambda: None)
    rewards = [game.training_reward(game.step(1)) for _ in range(100)]  # up, without cars
    assert min(rewards) >= 6 / 10_000
    assert sum(reward > 1 for reward in rewards) >= 1  # a crossing, on top of the height
    assert max(rewards) <= 1 + 177 / 10_000
    for name in ("org_reward", "org_return", "get_ram", "objects", "getScreenRGB"):
        assert f"`{name}" in section("### Reward files")
        if name != "objects" or not why_missing("ocatari"):
            getattr(game.view, name)


def test_checkpoint_example(tmp_path):
    from continual_hackatari.training.checkpoints import save_checkpoint

    path = tmp_path / "model.cleanrl_model"
    save_checkpoint(path, model_weights={"w": torch.zeros(30, 40)}, args={"env_id": "ALE/Pong-v5"}, global_step=8)
    namespace = {}
    exec(python_block("load_checkpoint"), namespace)
    assert namespace["describe"](path) == "ALE/Pong-v5 at step 8: 1,200 weights"


# ------------------------------------------------------------------------------------------------------ printed text


def text_block(beginning):
    (found,) = [block for block in blocks("text") if block.startswith(beginning)]
    return found


@NEEDS_HACKATARI
def test_unknown_name_answers_as_printed():
    config, _ = game_config("ALE/Freeway-v5")
    with pytest.raises(ModificationError) as caught:
        check_string(config, "all_pink_car")
    assert text_block("error: ") == f"error: {caught.value}\n"


def test_conflict_warns_as_printed():
    config, _ = game_config("ALE/Freeway-v5")
    assert text_block("`all_black_cars`").splitlines() == check_string(config, "all_black_cars all_pink_cars")[1]


def test_preview_prints_as_printed(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    modification_factories.main(["run_config.json"])
    assert capsys.readouterr().out.startswith(text_block("run_config.json: "))


@pytest.mark.parametrize(
    ("config", "beginning"),
    [("configs/first_run.json", "first_run.json sets"), ("run_config.json", "run_config.json overrides")],
)
def test_first_runs_say_as_printed(config, beginning, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    continual_training_example.prepare(["--config", config, "--no_cuda"])
    said = capsys.readouterr().out
    first, later = text_block(beginning).split("\n...\n")[:2]
    assert said.startswith(first)
    for line in later.splitlines():  # " ..." stands for the rest of a long one
        if not line.startswith(("no GPU found", "run folder")):
            assert f"\n{line.removesuffix(' ...')}" in said


def test_the_end_of_the_first_run_is_as_printed(tmp_path, monkeypatch, capsys):
    printed = text_block("first_run.json").split("...\n")[-1]
    run = re.match("run folder: (.*)", printed)[1]
    monkeypatch.chdir(tmp_path)
    made = make_run(tmp_path / "runs")
    made.rename(run)
    monkeypatch.setattr(continual_training_example, "__file__", str(tmp_path / "continual_training_example.py"))
    pong, _ = game_config("ALE/Pong-v5")
    continual_training_example.say_what_there_is(Path(run), Path(run) / "model.cleanrl_model", pong)
    assert capsys.readouterr().out == printed


def test_old_spellings_as_told():
    freeway, _ = game_config("ALE/Freeway-v5")
    frostbite, _ = game_config("ALE/Frostbite-v5")
    assert check_string(freeway, "disable_all_cars")[0] == "disable_cars"
    assert check_string(frostbite, "igloo-1")[0] == "one_remaining_igloo"


def test_evaluation_table_has_the_columns_as_printed():
    result = summary.Result("", 3, 1.0, 2.0, 0.5, 1.5, 0.1)
    assert text_block("modification ").splitlines()[0].split() == summary.table([result]).splitlines()[0].split()


def test_draws_the_picture(tmp_path, monkeypatch):
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import draw_first_picture
    finally:
        sys.path.remove(str(ROOT / "docs"))
    monkeypatch.setattr(draw_first_picture, "PICTURE", tmp_path / "picture.png")
    (tmp_path / "episodes.csv").write_text(
        "global_step,env,modification,return,length,lives,cut,live_switches\n"
        + "".join(f"{step},0,,{step % 30},2048,0,0,0\n" for step in range(100, 3000, 100))
    )
    (tmp_path / "switches.csv").write_text(
        "switch,global_step,from,to,mode,seconds,shrink_and_perturb,checkpoint\n1,1500,,disable_cars,reset,0.0,0,\n"
    )
    draw_first_picture.main(tmp_path)
    assert (tmp_path / "picture.png").stat().st_size > 10_000
