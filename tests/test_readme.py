"""README and docs are true: commands are accepted, examples run, output is as printed, links lead somewhere.

Tables and figures are compared with the code and with what was measured in test_docs.py.
"""

import ast
import contextlib
import io
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import q_learner
import torch
from conftest import NEEDS_HACKATARI, ROOT, mostly_slow
from made_up_runs import make_run
from pages import FILES, README, TEXTS, anchors, blocks, section

from continual_hackatari import (
    commands,
    continual_clear,
    continual_progress_compress,
    continual_training_example,
    metrics,
    report,
)
from continual_hackatari import eval as evaluation
from continual_hackatari.schedules import factories as modification_factories
from continual_hackatari.schedules.arguments import ScheduleError
from continual_hackatari.schedules.factories import make_factory
from continual_hackatari.training import ending, run_evaluation, setup, summary, sweeps, watching
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.command_line import parse_command_line
from continual_hackatari.training.config import check_ranges
from continual_hackatari.training.settings import ranges_of
from continual_hackatari.training.strings import canonical_strings
from continual_hackatari.wrappers.config import check_string, game_config
from continual_hackatari.wrappers.errors import ModificationError
from continual_hackatari.wrappers.modifications import __main__ as modifications_command
from continual_hackatari.wrappers.modified_game import ModifiedGame
from continual_hackatari.wrappers.objects import why_missing
from modification_factories import main as preview

SCRIPTS = {
    "continual_clear.py": continual_clear,
    "continual_progress_compress.py": continual_progress_compress,
    "continual_training_example.py": continual_training_example,
    "eval.py": evaluation,
    "metrics.py": metrics,
    "report.py": report,
    "tests/q_learner.py": q_learner,
}
BENCHMARKS = ("environment", "training", "switches", "shrinking", "limits", "memory", "watching")
BENCHMARKS += ("precision", "methods", "published", "soak", "starts", "hindsight", "evaluations", "floor")
BENCHMARKS += ("suite_results", "cost_of_methods", "replacements", "clear", "one_action")


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
    before, after = TEXTS[README].split("```bash", 1)
    lines = [line for line in before.splitlines() if line]
    assert lines[0] == "# continual-hackatari"
    assert lines[1].count(". ") == 0
    assert lines[1].endswith(".")
    assert lines[2].startswith("![")
    clone = blocks("text")[0].splitlines()
    assert [line.split()[:2] for line in clone] == [["git", "clone"], ["cd", clone[0].split()[-1]]]
    assert TEXTS[README].index(clone[0]) < TEXTS[README].index("```bash")
    assert len(lines) == 9  # with a line before the clone's two, and one before what installs and runs
    assert "```bash" in after[:400]


def test_the_readme_is_short():
    assert len(TEXTS[README].splitlines()) <= 250


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)]+)\)", re.sub(r"```.*?```", "", TEXTS[path], flags=re.S)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_in_the_index_and_in_the_sites_navigation():
    pages = {str(path.relative_to(ROOT / "docs")) for path in FILES if path != README}
    index = {target.split("#")[0] for target in re.findall(r"\]\(([^)]+)\)", TEXTS[ROOT / "docs" / "index.md"])}
    assert index == pages - {"index.md"}
    navigation = re.findall(r"- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1], re.M)
    assert sorted(navigation) == sorted(pages)


def test_files_that_are_named_exist():
    """Names of files of the project, as code, such as `wrappers/goals.py`; not those that a run or a reader makes."""
    kinds = r"`((?:[\w-]+/)*[\w.-]+\.(?:py|sh|ya?ml|cff|cleanrl_model)|(?:benchmarks|configs|docs|tests)/[\w./-]+)`"
    made = ("my_", "near_the_top.py", "model.cleanrl_model", "modification_file.py", "new_rf.py")
    named = {name for text in TEXTS.values() for name in re.findall(kinds, text) if not name.startswith(made)}
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("name", ["evaluation", "freeway", "first_run", "report", "returns"])
def test_picture_is_small_and_a_picture(name):
    picture = (ROOT / "docs" / f"{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 300_000


def test_holds_no_open_work_no_private_path_and_no_hype():
    words = (
        r"\b(TO-?DO|FIX-?ME|TBD)\b|(^|[\s`(])/(home|root|tmp|work)\b|\b(blazing|seamless|cutting-edge|revolutionary)\b"
    )
    for path in [*FILES, *(ROOT / "docs").glob("*.py"), *(ROOT / "docs").glob("*.json")]:
        assert not re.findall(words, path.read_text(encoding="utf-8"), re.I), path.name


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


@pytest.mark.parametrize("words", mostly_slow([w for w in command_lines() if w[0] in SCRIPTS], 2), ids=" ".join)
def test_commands_of_the_scripts_are_accepted(words, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    script = SCRIPTS[words[0]]
    for door, room in {"--run": run_evaluation, "--play": watching}.items():
        if words[0] == "eval.py" and door in words:
            check_ranges(parse_command_line(room.Args, words[1:]), room.RANGES)
            return
    args = parse_command_line(script.Args, words[1:])
    check_ranges(args, ranges_of(script.SCRIPT.rules) if hasattr(script, "SCRIPT") else getattr(script, "RANGES", {}))
    if getattr(args, "obs_mode", None) == "obj" and find_spec("ocatari") is None:  # refused, see README
        return
    if script in (metrics, report):  # they need runs; test_metrics_command.py and test_report.py make some
        return
    if script is continual_training_example and args.resume:  # needs a run; test_resume.py has some
        return
    if script is evaluation:
        shipped = [ROOT / path for path in args.agent_path if (ROOT / path).is_file()]
        config, _ = game_config(load_checkpoint(shipped[0]).args["env_id"] if shipped else "ALE/Freeway-v5")
        canonical_strings("modifs", args.modifs, config)
        return
    arguments = words[1:]
    for name, text in ((args.new_rf, reward_file()), (args.modification_file, rule_file())):
        if name:
            (tmp_path / name).write_text(text)
            arguments = [str(tmp_path / word) if word == name else word for word in arguments]
    if args.track:  # would ask W&B
        arguments = sweeps.without_wandb(arguments)
    assert setup.prepare(script.SCRIPT, arguments).total_timesteps > 0


@pytest.mark.parametrize("words", [w for w in command_lines() if w[0] == "modification_factories.py"], ids=" ".join)
def test_commands_of_the_preview_work(words, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    words = [str(tmp_path / word) if word.endswith(".png") else word for word in words]
    assert preview(words[1:]) == 0
    assert capsys.readouterr().out


def marked(words):
    """A gallery draws each modification of a game, which takes a while; test_look.py has a quick one."""
    return pytest.param(words, marks=pytest.mark.slow) if "--gallery" in words else words


@pytest.mark.parametrize(
    "words", [marked(w) for w in command_lines() if w[1:2] == ["wrappers.modifications"]], ids=" ".join
)
def test_commands_of_the_list_work(words, capsys, tmp_path, monkeypatch):
    if "my_rules.py" in words:
        (tmp_path / "my_rules.py").write_text(rule_file())
        words = [str(tmp_path / word) if word == "my_rules.py" else word for word in words]
    if "--gallery" in words or "--play" in words:  # test_look.py looks at what they make
        monkeypatch.chdir(tmp_path)
        (tmp_path / "docs").mkdir()
        quick = ["--step", "1"] if "--gallery" in words else []
        assert modifications_command.main([*words[2:], *quick]) == 0
        assert len([path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".py"]) == 1
        return
    assert modifications_command.main(words[2:]) == 0
    assert ("all_pink_cars" if words[2:] else "Freeway") in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize("text", blocks("json"), ids=range(len(blocks("json"))))
def test_config_files_can_be_trained(text, tmp_path, monkeypatch):
    (tmp_path / "my_schedules.py").write_text(python_block("class Alternating"))
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "config.json"
    path.write_text(text)
    with contextlib.redirect_stdout(io.StringIO()):
        ready = continual_training_example.prepare(["--config", str(path)])
    for string in ready.schedule.possible_modifications():
        check_string(ready.game, string)
    assert ready.total_timesteps == ready.schedule.num_total_steps
    sys.modules.pop("my_schedules", None)


def python_block(beginning):
    (found,) = [block for block in blocks("python") if beginning in block]
    return found


def reward_file():
    return python_block("def reward_function")


def rule_file():
    return python_block("MODIFICATIONS =")


def test_python_blocks_are_the_known_ones():
    """Five that tests of this file run, and those that tests of two pages run or compare with their file."""
    others = [
        block
        for page in ("your-own-agent", "replay")
        for block in blocks("python", TEXTS[ROOT / "docs" / f"{page}.md"])
    ]
    whole = [block for block in blocks("python") if block not in others]
    assert len(whole) == 5
    for block in whole:
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
    config, _ = game_config("ALE/Freeway-v5", reward_file=str(path))
    game = ModifiedGame(config, seed=1, modification_seed=1)
    game.start(("disable_cars",), observe=lambda: None)
    rewards = [game.training_reward(game.step(1)) for _ in range(100)]  # up, without cars
    assert min(rewards) >= 6 / 10_000
    assert sum(reward > 1 for reward in rewards) >= 1  # a crossing, on top of the height
    assert max(rewards) <= 1 + 177 / 10_000
    for name in ("org_reward", "org_return", "get_ram", "objects", "getScreenRGB"):
        assert f"`{name}" in section("Reward files")
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
    preview(["run_config.json"])
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
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").touch()  # a clone
    ending.say_what_there_is(Path(run), "ALE/Pong-v5", "PPO", "")
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
