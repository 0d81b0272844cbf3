"""Tables of the pages equal the code, and their figures are the measured ones."""

import dataclasses
import inspect
import json
import re
import sys

import pytest
import torch
from conftest import ROOT
from pages import EVERYTHING, TEXTS, rows, section

from benchmarks import cost_of_methods, hindsight, methods, precision, replacements
from continual_hackatari import continual_clear, continual_progress_compress, continual_training_example
from continual_hackatari.agents import ContinualBackprop, make_agent
from continual_hackatari.agents.plasticity import PlasticityProbe
from continual_hackatari.reporting.rows import EPISODE_COLUMNS, SWITCH_COLUMNS, WITH_AGENT
from continual_hackatari.schedules import factories as modification_factories
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.training.settings import changeable
from continual_hackatari.wrappers.goals import GOALS

sys.path.insert(0, str(ROOT / "docs"))
import make_flags

sys.path.remove(str(ROOT / "docs"))


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


# ------------------------------------------------------------------------------------------------------------ tables


def test_the_page_of_flags_is_made_from_the_code():
    assert (ROOT / "docs" / "reference" / "flags.md").read_text(encoding="utf-8") == make_flags.page(), (
        "`python docs/make_flags.py` makes the page anew"
    )


def test_every_flag_has_a_text():
    flags = re.findall(r"^\| `(\S+)` \|.*\| (.*?) \|$", TEXTS[ROOT / "docs" / "reference" / "flags.md"], re.M)
    assert len(flags) > 130
    assert all(text for _, text in flags)


OF_PAGE = {"clear.md": continual_clear, "progress-and-compress.md": continual_progress_compress}
"""Pages about another script than PPO's."""


def test_defaults_that_pages_name_are_those_of_the_code():
    for page, text in TEXTS.items():
        script = OF_PAGE.get(page.name, continual_training_example)
        defaults = {field.name: default_of(field) for field in dataclasses.fields(script.Args)}
        tables = re.findall(r"^\| setting \| default \|\n\|---\|---\|\n((?:\|.*\|\n)+)", text, re.M)
        assert tables or page.name not in (*OF_PAGE, "ppo.md")
        for name, default in (row for table in tables for row in rows(table, columns=2)):
            assert_default(default, defaults[name.strip("`").removeprefix("--")])


def test_factory_tables_equal_the_constructors():
    described = set()
    for heading in re.findall(r"^### (.*)$", section("The eight factories"), re.M):
        table = rows(section(heading))
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
    assert [tuple(row) for row in rows(section("Goals"), columns=8)] == expected


def test_flags_that_may_change_with_resume_are_all_listed():
    paragraph = re.search(r"^\*\*Settings\*\*.*$", section("Stop and resume"), re.M)[0]
    named = set(re.findall(r"`--(\w+)`", paragraph))
    allowed = set(changeable(continual_training_example.RULES))
    assert named == {name for name in allowed if not name.startswith("wandb_")}
    assert "`--wandb_*`" in paragraph
    assert {name for name in allowed if name.startswith("wandb_")} == {
        field.name for field in dataclasses.fields(continual_training_example.Args) if field.name.startswith("wandb_")
    }


def test_columns_of_the_csv_files():
    for columns in (EPISODE_COLUMNS, SWITCH_COLUMNS):
        assert f"`{', '.join(columns)}`" in EVERYTHING
    table = re.search(r"^\| column of `evals.csv`.*?\n\n", EVERYTHING, re.S | re.M)[0]
    described = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split(" | ")[0])]
    assert sorted(described) == sorted(WITH_AGENT)


def test_logged_names_are_those_of_the_code():
    logged = set(
        re.findall(
            r"`((?:charts|losses|switch|time|eval|cbp|methods|her|plasticity)/[^`]*)`", section("Tracking and videos")
        )
    )
    files = [*ROOT.glob("continual_*.py"), ROOT / "eval.py", ROOT / "agents" / "hindsight.py"]
    files.append(ROOT / "methods" / "together.py")
    source = "".join(path.read_text() for path in [*files, *(ROOT / "training").glob("*.py")])
    for name in logged:
        group, leaf = name.split("/", 1)
        assert f"{group}/" in source
        if "<" not in leaf:
            assert leaf in source, name


def test_the_names_that_scripts_log_are_described():
    page = section("Tracking and videos")
    source = "".join(path.read_text() for path in [*ROOT.glob("continual_*.py"), *(ROOT / "training").glob("*.py")])
    pnc = continual_progress_compress
    of_losses = {*continual_training_example.LOSSES, *continual_clear.LOSSES, *pnc.OF_PROGRESS, *pnc.OF_COMPRESS}
    for name in {*re.findall(r'"((?:charts|switch)/\w+)"', source), *(f"losses/{name}" for name in of_losses)}:
        assert f"`{name}`" in page, name


def test_logged_names_of_continual_backpropagation_are_those_of_its_summary():
    listed = set(re.findall(r"`(cbp/[^`]*)`", section("Continual backpropagation")))
    agent = make_agent("PPO_CBP", (4, 84, 84), 6)
    cbp = ContinualBackprop(agent.hidden_layers(), replacement_rate=1.0, maturity_threshold=0, decay_rate=0.5)
    cbp.step(agent(torch.zeros(1, 4, 84, 84), True)[2])
    for record in cbp.records:
        record.age += 1  # units that were just replaced have no utility to log
    layers = [layer.name for layer in agent.hidden_layers()]
    assert {name.replace("<layer>", layer) for name in listed for layer in layers} == {
        f"cbp/{name}" for name in cbp.summary()
    }


def test_logged_names_of_plasticity_are_those_of_its_probe():
    listed = set(re.findall(r"`(plasticity/[^`]*)`", section("Plasticity")))
    agent = make_agent("PPO", (4, 84, 84), 6)
    probe = PlasticityProbe(1)
    probe.observations = torch.zeros(1, 4, 84, 84)
    probe.measure(agent)
    logged = {f"plasticity/{name}" for name in (*probe.measure(agent), "gradient_norm")}
    layers = [layer.name for layer in make_agent("PPO_CBP", (4, 84, 84), 6).hidden_layers()]
    assert {name.replace("<layer>", layer) for name in listed for layer in layers} == logged


def test_shipped_experiments_are_all_listed_with_their_length():
    listed = {row[0].strip("`"): row for row in rows(section("Shipped experiments"), columns=4)}
    shipped = {"run_config.json", *(f"configs/{path.name}" for path in (ROOT / "configs").glob("*.json"))}
    assert set(listed) == shipped
    for name, (_, game, _, steps) in listed.items():
        config = json.loads((ROOT / name).read_text())
        env_id = config.get("env_id", continual_training_example.Args.env_id)
        assert env_id in (f"ALE/{game}-v5", f"{game}NoFrameskip-v4")
        length = None if "modification_factory" in config else config["total_timesteps"]
        assert f"{schedule_from_config(config, seed=42, total_timesteps=length).num_total_steps:,}" == steps


def measured(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["environment", "training", "switches"])
def test_the_figures_of_the_speed_section_are_the_measured_ones(name):
    text, result = section("Speed", "speed.md"), measured(name)
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
    text = section("Where the time goes")
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
    text, result = section("bfloat16 or float32?"), measured("precision")
    assert precision.table(result["rows"]) in text
    assert len(result["settings"]["seeds"]) >= 3
    assert result["settings"]["steps"] >= 500_000
    assert ("**float32 is the default.**" in text) == (continual_training_example.Args.amp == "off")


def test_the_table_of_methods_is_the_measured_one():
    text, result = section("Comparing methods"), measured("methods")
    for game, runs in result["rows"].items():
        assert methods.table(runs, methods.sequence(game).modifications) in text
        assert len(runs[0]["all"]) == len(result["settings"]["seeds"]) >= 3


def test_the_tables_of_what_methods_cost_and_of_what_is_replaced_again_are_the_measured_ones():
    assert cost_of_methods.table(measured("cost_of_methods")) in section("What methods cost")
    assert replacements.table(measured("replacements")["rows"]) in section("Which units are replaced again")


def test_the_tables_of_hindsight_are_the_measured_ones():
    text, result = section("Does it help, does it do harm?"), measured("hindsight")
    for row in result["line"]["rows"]:
        assert hindsight.line_row(row) in text
        assert len(row["levels"]) == len(result["line"]["seeds"]) >= 8
    assert hindsight.freeway_table(result["freeway"]["rows"]) in text


@pytest.mark.parametrize("name", ["soak", "soak_replay"])
def test_the_figures_of_the_soak_are_the_measured_ones(name):
    text, result = section("Reliability"), measured(name)
    steps, games, switches = (f"{result[name]:,}" for name in ("steps", "games", "switches"))
    assert f"In {result['hours']:.2f} hours there were {switches} switches, {steps} steps and {games} games" in text
    low, high = result["memory_mb"]
    slope = f"{result['memory_mb_per_hour']:.0f} MB per hour"
    assert f"between {low:.0f} and {high:.0f} MB, with a slope of {slope} after the first quarter" in text
    assert not result["repeated_lines"]
    assert result["exit_code"] == 143


def test_the_readmes_table_of_methods_has_the_last_columns_of_the_measured_ones():
    per_game = []
    for game, results in measured("methods")["rows"].items():
        lines = methods.table(results, methods.sequence(game).modifications).splitlines()[2:]
        cells = [[cell.strip() for cell in line.strip().split("|")] for line in lines]
        per_game.append({row[1]: row[-3:-1] for row in cells})
    freeway, breakout = per_game
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table_of(section("Compare methods"))]
    assert shown == [[name, *freeway[name], *breakout.get(name, ["", ""])] for name in freeway]


def test_the_readmes_table_of_speeds_is_the_measured_one():
    steps = json.loads((ROOT / "configs" / "freeway_speeds.json").read_text())["modification_factory_kwargs"]
    medians = [row["median"] for row in measured("training")["rows"] if row["median"]]
    cores = measured("training")["machine"]["cores"]
    expected = []
    for median in medians:
        hours = steps["num_total_steps"] / median / 3600
        expected.append((f"{median:,.0f}", f"{hours:.1f} h", f"{hours * cores:.1f}"))
    shown = [tuple(cell.strip() for cell in line.split("|")[2:-1]) for line in table_of(section("Speed", "README.md"))]
    assert len(shown) == 4
    assert set(shown) <= set(expected)


def table_of(text):
    """The lines of the first table of a text, without its head."""
    return re.search(r"^\|[-:| ]+\|\n((?:\|.*\|\n)+)", text, re.M)[1].splitlines()
