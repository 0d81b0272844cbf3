"""Somebody's own modifications, from a file outside this project."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from continual_hackatari.wrappers.config import check_string, game_config
from continual_hackatari.wrappers.errors import GameError, ModificationError
from continual_hackatari.wrappers.modifications import catalogue, rule_file
from continual_hackatari.wrappers.modifications.__main__ import main
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

RULES = """
from continual_hackatari.wrappers.modifications import ConstantWrites, Hooks, Rule

def slow(game, python, numpy):
    delay = python.randrange(6, 10)

    def frame():
        for cell in range(33, 43):
            game.set_ram(cell, delay)

    return Hooks(frame=frame)

GOLD = tuple((cell, 28) for cell in range(77, 87))
MODIFICATIONS = {
    "Freeway": {
        "all_gold_cars": ConstantWrites("Colours all cars gold.", GOLD),
        "slow_cars": Rule("All cars are slow.", slow, writes=tuple(range(33, 43))),
        "high_start": ConstantWrites("The chicken starts high.", ((14, 100),), runs="reset"),
    }
}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "my_rules.py"
    path.write_text(RULES)
    return path


def described(path, **settings):
    return game_config("ALE/Freeway-v5", modification_file=str(path), game_start="none", **settings)[0]


def test_the_names_stand_beside_the_others(path):
    config = described(path)
    entry = catalogue("Freeway", config.rules)["all_gold_cars"]
    assert (entry.origin, entry.runs, entry.writes) == ("my_rules.py", "frame", tuple(range(77, 87)))
    assert "all_gold_cars" not in catalogue("Freeway"), "who has not asked for the file does not get them"
    string, warnings = check_string(config, " slow_cars  all_gold_cars all_black_cars ")
    assert string == "slow_cars all_gold_cars all_black_cars"
    assert any("`all_gold_cars` and `all_black_cars` both write RAM 77-86" in line for line in warnings)
    with pytest.raises(ModificationError, match="did you mean all_gold_cars"):
        check_string(config, "all_gold_car")
    with pytest.raises(ModificationError, match="no modification of this name"):
        check_string(game_config("ALE/Freeway-v5")[0], "all_gold_cars")


def played(config, num_workers, string="all_gold_cars slow_cars"):
    envs = ModifiedVectorEnv(config, 2, num_workers=num_workers)
    seen = [envs.set_modifications(string)[0]]
    seen += [envs.step(np.array([1, t % 3]))[0] for t in range(20)]
    state = envs.get_state()
    envs.close()
    return np.stack(seen), state


def test_workers_load_the_file_and_play_it(path):
    here, state = played(described(path), 0)
    there, other = played(described(path), 2)
    assert np.array_equal(here, there)
    assert [game["fingerprint"] for game in state["games"]] == [game["fingerprint"] for game in other["games"]]
    assert not np.array_equal(here, played(described(path), 0, string="all_gold_cars")[0])


def test_they_write_what_they_say(path):
    envs = ModifiedVectorEnv(described(path), 1, num_workers=0)
    game = envs._host
    envs.set_modifications("all_gold_cars high_start")
    ram = game._games[0].game.ram()
    assert ram[14] == 100
    envs.step(np.array([0]))
    assert set(game._games[0].game.ram()[77:87]) == {28}
    envs.set_modifications("high_start", "live")  # which waits for a game's start, as ours do
    assert game._games[0].modification == "all_gold_cars high_start"
    envs.close()


def test_a_saved_state_goes_on_with_a_copy_of_the_file_and_with_no_other(path, tmp_path):
    _, state = played(described(path), 0)
    copy = tmp_path / "run" / "copy.py"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    envs = ModifiedVectorEnv(described(copy), 2, num_workers=0)
    envs.set_state(state)
    envs.close()
    copy.write_text(RULES.replace("28", "30"))
    envs = ModifiedVectorEnv(described(copy), 2, num_workers=0)
    with pytest.raises(GameError, match="its `modification_digest` is"):
        envs.set_state(state)
    envs.close()


def test_a_recorded_file_is_found_by_its_digest(path, tmp_path):
    recorded = rule_file(str(path))
    copy = tmp_path / "copy.py"
    copy.write_bytes(path.read_bytes())
    path.write_text(RULES.replace("28", "30"))
    assert rule_file(recorded.path, recorded.digest, copy).path == str(copy)
    path.unlink()
    assert rule_file(recorded.path, recorded.digest, copy).path == str(copy)
    copy.write_text("MODIFICATIONS = {}")
    with pytest.raises(
        ModificationError, match=r"holds other rules than those recorded \(digest \w{12}, recorded \w{12}"
    ):
        rule_file(recorded.path, recorded.digest, copy)
    assert rule_file("") == rule_file("", "", copy)


def test_a_file_that_changes_while_games_are_built_is_noticed(path):
    config = described(path)
    path.write_text(RULES.replace("28", "30"))
    changed = replace(config, modification_digest=rule_file(str(path)).digest)
    assert changed.modification_digest != config.modification_digest
    with pytest.raises(GameError, match=r"^`modification_file`: \S+ holds other rules than those recorded"):
        ModifiedVectorEnv(config, 1, num_workers=1).set_modifications("all_gold_cars")


CELLS = "ConstantWrites('Gold.', ((77, 28),))"


def one(rule):
    """A file with this rule."""
    return f"MODIFICATIONS = {{'Freeway': {{'gold': {rule}}}}}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("MODIFICATIONS = [", ["cannot be run: SyntaxError"]),
        ("import sys\nsys.exit(0)", ["cannot be run: SystemExit(0)"]),
        (
            f"MODIFICATIONS = {{'Freeway': {{'gold': {CELLS}}}, 'Breakot': {{'gold': {CELLS}}}}}",
            ["'Breakot' is no Atari game that ale-py knows; did you mean Breakout?"],
        ),
        ("MODIFICATIONS = {3: {}}", ["3 is no Atari game that ale-py knows;"]),
        ("1 / 0", ["cannot be run: ZeroDivisionError"]),
        ("", ["must define MODIFICATIONS, a dictionary of games"]),
        ("MODIFICATIONS = {'Freeway': 3}", ["must define MODIFICATIONS"]),
        (f"MODIFICATIONS = {{'Pong': {{'gold': {CELLS}}}}}", ["has no modifications of Freeway, but of Pong"]),
        (f"MODIFICATIONS = {{'Freeway': {{'all_black_cars': {CELLS}}}}}", ["'all_black_cars' already", "another name"]),
        (f"MODIFICATIONS = {{'Freeway': {{'a b': {CELLS}}}}}", ["Freeway 'a b': a name is a letter"]),
        (f"MODIFICATIONS = {{'Freeway': {{'no_modif': {CELLS}}}}}", ["'no_modif': a name is a letter"]),
        ("MODIFICATIONS = {'Freeway': {'gold': 28}}", ["'gold' must be a ConstantWrites or a Rule, but it is 28"]),
        (f"MODIFICATIONS = {{'Freeway': {{'gold': {CELLS.replace('77', '128')}}}}}", ["addresses from 0 to 127"]),
        (f"MODIFICATIONS = {{'Freeway': {{'gold': {CELLS.replace('28', '256')}}}}}", ["numbers from 0 to 255"]),
        (f"MODIFICATIONS = {{'Freeway': {{'gold': {CELLS[:-1]}, runs='post')}}}}", ["`runs` must be frame or reset"]),
        (
            one("ConstantWrites('Gold.', {77: 28, 78: 28})"),
            ["`cells` must be pairs of whole numbers", "{77: 28, 78: 28}"],
        ),
        (one("ConstantWrites('Gold.', [77.0, 28])"), ["`cells` must be pairs of whole numbers", "[77.0, 28]"]),
        (one("ConstantWrites('Gold.', ((77.0, 28),))"), ["`cells` must be pairs of whole numbers", "((77.0, 28),)"]),
        (one("ConstantWrites('Gold.', ((77, 28, 3),))"), ["`cells` must be pairs of whole numbers", "((77, 28, 3),)"]),
        (one("ConstantWrites(3, ((77, 28),))"), ["the description must be text, but it is 3"]),
        (one("ConstantWrites('Gold.', ((77, 28),), runs=None)"), ["`runs` must be frame or reset", "None"]),
        (one("Rule('Gold.', print, 77)"), ["`writes` must be the addresses that it writes", "they are 77"]),
        (one("Rule('Gold.', print, (77.0,))"), ["`writes` must be the addresses that it writes", "(77.0,)"]),
        (one("Rule('Gold.', 3, (77,))"), ["`start` must be a function, but it is 3"]),
    ],
    ids=lambda value: value[-40:] if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_file_is_a_sentence(text, words, tmp_path, capsys):
    path = tmp_path / "rules.py"
    path.write_text("from continual_hackatari.wrappers.modifications import ConstantWrites, Rule\n" + text)
    assert main(["Freeway", "--modification_file", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: `modification_file`: ")
    assert error.count("\n") == 1
    assert all(word in error for word in words), error


def test_other_backends_play_no_modifications(path):
    with pytest.raises(GameError, match="`modification_file`: backend OCAtari plays unmodified games only"):
        described(path, backend="OCAtari")


def test_the_command_lists_and_plays_them(path, tmp_path, capsys):
    assert main(["Freeway", "--modification_file", str(path)]) == 0
    assert "all_gold_cars" in capsys.readouterr().out
    video = tmp_path / "gold.mp4"
    flags = ["--play", str(video), "--modifs", "all_gold_cars", "--seconds", "0.2"]
    assert main(["Freeway", "--modification_file", str(path), *flags]) == 0
    assert video.stat().st_size > 0
    assert main(["--modification_file", str(Path("x.py"))]) == 2
    assert "`modification_file` goes with a game" in capsys.readouterr().err
