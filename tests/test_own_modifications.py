"""This project's own collection: it has every name that the shipped files use, and plays as the installed hackatari."""

import json
import shlex
import sys
from importlib.util import find_spec
from itertools import chain

import pytest
from conftest import NEEDS_HACKATARI, ROOT, mostly_slow
from pages import blocks
from test_lockstep import play_both

from continual_hackatari.names import game_of, parse
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.wrappers import objects
from continual_hackatari.wrappers.config import GameConfig, game_config
from continual_hackatari.wrappers.errors import GameError, ModificationError
from continual_hackatari.wrappers.modifications import (
    catalogue,
    check_modifications,
    installed,
    names,
    split_modifications,
)
from continual_hackatari.wrappers.modifications.__main__ import main
from continual_hackatari.wrappers.modifications.console import is_switch
from continual_hackatari.wrappers.modifications.supplementary import ALIASES, SUPPLEMENT
from continual_hackatari.wrappers.modified_game import ModifiedGame


def forget(monkeypatch, package_folder):
    monkeypatch.setattr(installed, "package_folder", package_folder)
    for function in [*vars(installed).values(), *vars(names).values()]:
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.fixture
def alone(monkeypatch):
    """Neither hackatari nor ocatari is installed, whatever this Python has."""
    original = installed.package_folder
    found = objects.importlib.util.find_spec
    hidden = ("hackatari", "ocatari")
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name in hidden else found(name, *rest))
    forget(monkeypatch, lambda: None)
    yield
    forget(monkeypatch, original)


# --- the names of the shipped files --------------------------------------------------------------------------------


def strings_of_config(path):
    """(game, modification string) of all that a configuration trains or evaluates."""
    config = json.loads(path.read_text())
    own = game_of(config.get("env_id", "ALE/Pong-v5"))
    schedule = schedule_from_config(config, seed=0, total_timesteps=config.get("total_timesteps"))
    lists = (config.get(key, []) for key in ("eval_modifs", "held_out_modifs", "test_modifs"))
    tasks = [parse(string) for string in [*schedule.possible_modifications(), *chain(*lists)]]
    return {(task.game or own, " ".join(task.names)) for task in tasks}


OF_HACKATARI = ("seaquest-", "spaceinvaders-")
"""suites of games whose modifications are the package's, as their page says"""
CONFIGS = [
    ROOT / "run_config.json",
    *(
        path
        for folder in ("configs", "docs", "benchmarks/sequences")
        for path in sorted((ROOT / folder).rglob("*.json"))
        if not path.parent.name.startswith(OF_HACKATARI)
    ),
]


def names_in_documented_commands():
    found = set()
    for block in blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if "--modification_file" in line:  # names of somebody's own
                continue
            flag = ""
            for word in shlex.split(line, comments=True):
                if word.startswith("--"):
                    flag = word
                elif flag in ("--modifs", "--test_modifs", "--eval_modifs", "--held_out_modifs"):
                    found.update(split_modifications(word.replace(",", " ")))
    return found - {"no_modif"}


def test_each_config_names_what_the_collection_has():
    assert len(CONFIGS) > 10
    assert_all_are_ours(set().union(*map(strings_of_config, CONFIGS)), at_least=40)


def test_readmes_commands_name_what_the_collection_has():
    names = names_in_documented_commands()
    assert len(names) >= 7
    of_rules = {name for name in names if not is_switch(name)}
    assert of_rules <= {name for names_of_game in SUPPLEMENT.values() for name in names_of_game}


def test_published_conditions_and_evaluations_are_in_the_collection():
    pytest.importorskip("torch")
    from benchmarks import published

    strings = {(row["game"], row["ours"]) for row in published.NAMES if row["ours"]}
    assert_all_are_ours(strings, at_least=20)


def assert_all_are_ours(strings, at_least):
    names = {(game, name) for game, string in strings for name in split_modifications(string) if name != "no_modif"}
    names = {(game, name) for game, name in names if not is_switch(name)}
    assert len(strings) >= at_least
    missing = {(g, n) for g, n in names if ALIASES.get(g, {}).get(n, n) not in SUPPLEMENT.get(g, {})}
    assert not missing


# --- the rules, against the installed release ----------------------------------------------------------------------

WHOLE_GAMES = ("Breakout", "Freeway", "Kangaroo", "Pong")
TOGETHER = [
    ("Breakout", "right_drift gravity color_all_blocks_red", 500),  # drifts count their calls together
    ("Breakout", "left_drift inverse_gravity", 500),
    ("Freeway", "align_all_cars stop_random_car all_green_cars", 300),  # both draw
    ("Kangaroo", "set_kangaroo_position_floor2 set_kangaroo_position_floor1 unlimited_time", 300),
    ("Kangaroo", "randomize_kangaroo_position disable_thrown_coconut disable_coconut", 300),
    ("Pong", "up_drift right_drift lazy_enemy", 500),
    ("Pong", "down_drift left_drift", 500),
]


def both_have():
    """(game, name, steps, slow) of each name that the installed hackatari and this project have."""
    for game in WHOLE_GAMES:
        for name in sorted(set(installed.selections(game)) & set(SUPPLEMENT[game])):
            quick = not name.startswith(("color_", "all_", "change_level"))  # one writes constants as the other does
            yield pytest.param(game, name, 250, marks=[] if quick else [pytest.mark.slow])


@NEEDS_HACKATARI
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("game", "string", "steps"), mostly_slow([*both_have(), *TOGETHER], 14))
def test_ours_play_as_the_installed_release(game, string, steps):
    assert {catalogue(game)[name].origin for name in string.split()} == {"continual-hackatari"}
    play_both(game, string, steps)


@NEEDS_HACKATARI
def test_four_games_are_wholly_ours():
    for game in WHOLE_GAMES:
        theirs = {name for name, s in installed.selections(game).items() if not s.modification.refused}
        lacking = theirs - set(SUPPLEMENT[game])
        assert lacking <= {"stop_all_cars"}, "which is played under its other name"
    assert ALIASES["Freeway"]["stop_all_cars"] in SUPPLEMENT["Freeway"]


@NEEDS_HACKATARI
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("game", "name"),
    [("Freeway", "stop_random_car"), ("Freeway", "align_all_cars"), ("Kangaroo", "randomize_kangaroo_position")],
)
def test_random_rules_draw_as_often_as_the_installed_ones(game, name, monkeypatch):
    ours = draws(game, name)
    forget(monkeypatch, lambda: _installed_folder())
    assert catalogue(game)[name].origin == "hackatari"
    assert draws(game, name) == ours


def _installed_folder():
    import sysconfig
    from pathlib import Path

    return Path(sysconfig.get_paths()["purelib"]) / "hackatari"


def draws(game, name):
    config, _ = game_config(f"ALE/{game}-v5")
    played = ModifiedGame(config, seed=1, modification_seed=2)
    played.start((name,), lambda: None)
    for _ in range(20):
        played.step(0)
    return played.runner._python.getstate()


# --- without hackatari and ocatari ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("version", "reason"),
    [((3, 13), ["numpy 1", "3.13", "Python 3.12 or older"]), ((3, 11), ["pip install hackatari"])],
)
def test_names_that_may_be_hackataris_are_refused_with_reason_and_remedy(monkeypatch, version, reason):
    monkeypatch.setattr(sys, "version_info", version)
    for game, name, words in (
        ("Freeway", "stop_all_car", ["Freeway has no modification of this name; did you mean stop_all_cars"]),
        ("Freeway", "Mode1", ["did you mean mode_1?"]),
        ("Freeway", "dificulty_1", ["did you mean difficulty_1?"]),
        ("Freeway", "mod_1", ["did you mean mode_1?"]),
        ("Freeway", "speed_2", ["did you mean speed_mode"]),
        ("Freeway", "mod_99", ["has no modification of this name"]),
        ("Freeway", "difficulty-1", ["did you mean difficulty_1?"]),
        ("Seaquest", "unlimited_oxygen", ["Seaquest has no modifications of this project's own"]),
    ):
        with pytest.raises(ModificationError) as refused:
            check_modifications(game, name)
        assert "\n" not in str(refused.value)
        for word in [*words, *reason, "hackatari is not installed"]:
            assert word in str(refused.value)


@pytest.mark.usefixtures("alone")
def test_what_needs_objects_is_refused_with_reason_and_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "version_info", (3, 14))
    reads, does_not = tmp_path / "reads.py", tmp_path / "does_not.py"
    reads.write_text("def reward_function(env):\n    return float(len(env.objects))\n")
    does_not.write_text("def reward_function(env):\n    return float(env.get_ram()[14])\n")
    for error, attempt in (
        (GameError, lambda: game_config("ALE/Pong-v5", obs_mode="obj")),
        (GameError, lambda: game_config("ALE/Pong-v5", reward_file=str(reads))),
        (ModificationError, lambda: check_modifications("Pong", "hidden_enemy")),
    ):
        with pytest.raises(error, match=r"ocatari is not installed.*numpy 1.*Python 3\.12 or older") as refused:
            attempt()
        assert "\n" not in str(refused.value)
    config, _ = game_config("ALE/Freeway-v5", reward_file=str(does_not))
    game = ModifiedGame(config, seed=1, modification_seed=1)
    game.start(("all_black_cars",), lambda: None)
    reward = game.training_reward(game.step(1))
    assert reward == game.view.get_ram()[14]
    with pytest.raises(GameError, match="ocatari is not installed"):
        _ = game.view.objects


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("backend", ["HackAtari", "OCAtari", "Gym"])
def test_frames_need_neither_package(backend):
    config, _ = game_config("ALE/Pong-v5", backend=backend)
    assert isinstance(config, GameConfig)
    game = ModifiedGame(config, seed=1, modification_seed=1)
    game.start((), lambda: None)
    game.step(0)


@pytest.mark.usefixtures("alone")
def test_the_list_of_modifications_says_what_is_missing(capsys):
    for arguments, own in ((["Freeway"], "all_pink_cars"), (["Seaquest"], "no modifications"), ([], "Freeway ")):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert own in out
        assert out.count("hackatari is not installed") == 1
    assert find_spec("gymnasium"), "only the two packages are hidden"


# --- Python integers -----------------------------------------------------------------------------------------------


def test_ram_holds_python_integers_for_every_kind_of_access():
    config, _ = game_config("ALE/Pong-v5")
    game = ModifiedGame(config, seed=1, modification_seed=1)
    game.start((), lambda: None)
    view, bytes_ = game.view, game.ale.getRAM()
    view.set_ram(5, 0)
    view.set_ram(6, 255)
    bytes_[5:7] = 0, 255
    ram = view.get_ram()
    assert type(ram[3]) is int
    assert {type(cell) for cell in ram} == {type(cell) for cell in ram[10:20]} == {int}
    assert (ram[5] - 1, ram[6] + 1, -ram[6], ram[6] << 8, ram[5] - ram[6]) == (-1, 256, -255, 65280, -255)
    assert len(ram) == 128
    assert (ram == bytes_).all()
    assert list(ram[5:7] + 1) == [1, 256]
    assert list(ram[[6, 5]]) == [255, 0]
    assert ram[5:7].max() - ram[5:7].sum() == 0
    ram[5] = 99
    assert view.get_ram()[5] == 0, "a copy"
