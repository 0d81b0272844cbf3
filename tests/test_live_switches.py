"""Switch mode `live`: what acts in every frame changes at once, what acts at a game's start only waits for one."""

import random

import numpy as np
import pytest
from conftest import NEEDS_HACKATARI, write_config
from test_env_state import assert_continues, games
from test_vector import make, play

from continual_hackatari import continual_training_example as training
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.emulator import ale_games
from continual_hackatari.wrappers.modifications import catalogue
from continual_hackatari.wrappers.modifications.supplementary import FREEWAY_DELAYS, FREEWAY_FRAME
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

IGLOO = 77
SHORT = {"time_limit": 400}


def only_game(envs):
    return envs._host._games[0]


def ram(envs, address):
    return only_game(envs).game.view.get_ram()[address]


@NEEDS_HACKATARI
def test_every_name_waits_or_starts_as_its_parts_say():
    """All 20 names that act at a game's start, of which 16 do nothing else."""
    waited, started = [], []
    for game in ale_games():
        names = [name for name, known in catalogue(game).items() if "reset" in known.runs and not known.refused]
        if not names:
            continue
        envs = make(f"ALE/{game}-v5", num_envs=1)
        envs.set_modifications("", "reset")
        play(envs, 2)
        for name in names:
            envs.set_modifications(name, "live")
            (waited if only_game(envs).modification == "" else started).append((game, name))
            envs.set_modifications("", "live")
        envs.close()
    assert started == [
        ("Boxing", "switch_positions"),
        ("DonkeyKong", "random_start"),
        ("Freeway", "vary_car_speeds"),
        ("Venture", "random_enemy_colors"),
    ]
    assert len(waited) == 16
    assert ("Frostbite", "full_igloo") in waited
    assert sum(game == "DoubleDunk" for game, _ in waited) == 12


@pytest.mark.parametrize("string", ["full_igloo", "full_igloo ice_inactive"])
def test_a_string_with_a_name_that_waits_waits_as_a_whole(string):
    """The game in progress stays what it was, and so does what its record says; the next one is the new string's."""
    envs, untouched = (make("ALE/Frostbite-v5", num_envs=1, **SHORT) for _ in range(2))
    for each in (envs, untouched):
        each.set_modifications("half_igloo ice_inactive", "reset")
        play(each, 5)
    old = only_game(envs).modification
    envs.set_modifications(string, "live")
    (first,) = games(play(envs, 100))[:1]
    (expected,) = games(play(untouched, 100))[:1]
    assert first == expected
    assert (first.modification, first.live_switches) == (old, 0)
    assert only_game(envs).modification == string
    envs.close()
    untouched.close()


def test_what_waited_acts_at_the_next_start():
    envs = make("ALE/Frostbite-v5", num_envs=1, **SHORT)
    envs.set_modifications("", "reset")
    play(envs, 5)
    envs.set_modifications("full_igloo", "live")
    assert ram(envs, IGLOO) == 255, "no block of ice yet"
    while not games(play(envs, 1)):
        pass
    assert ram(envs, IGLOO) == 15
    envs.set_modifications("", "live")
    assert only_game(envs).modification == "", "the unmodified game starts at once"
    assert only_game(envs)._record(cut=True).live_switches == 1
    envs.close()


def noting(set_ram, written):
    def replacement(address, value):
        written.append((address, value))
        set_ram(address, value)

    return replacement


def test_car_speeds_are_drawn_at_the_switch():
    """The written delays are those of a draw at the switch, another one each time, and no earlier ones."""
    envs = make("ALE/Freeway-v5", num_envs=1, seed=3)
    envs.set_modifications("", "reset")
    play(envs, 5)
    game = only_game(envs).game
    drawn = []
    for _ in range(2):
        generator, written = random.Random(), []
        generator.setstate(game.runner._python.getstate())
        drawn.append([generator.randint(0, 10) for _ in FREEWAY_DELAYS])
        game.view.set_ram = noting(game.ale.setRAM, written)
        envs.set_modifications("vary_car_speeds", "live")
        assert written == [], "the switch draws, the frames write"
        for _ in range(8):
            clock = int(ram(envs, FREEWAY_FRAME))
            written.clear()
            envs.step(np.zeros(1, int))
            expected = [(a, clock % (delay + 1)) for a, delay in zip(FREEWAY_DELAYS, drawn[-1], strict=True)]
            assert written[: len(FREEWAY_DELAYS)] == expected
    assert drawn[0] != drawn[1]
    (record,) = envs.cut_games()
    assert (record.modification, record.live_switches) == ("vary_car_speeds", 1)
    envs.close()


@pytest.mark.slow
def test_it_is_the_same_for_any_number_of_workers_and_after_a_resume():
    config, _ = game_config("ALE/Frostbite-v5", **SHORT)
    first = {0: ("", "reset"), 30: ("full_igloo", "live"), 90: ("ice_inactive", "live")}
    then = {5: ("half_igloo", "live"), 60: ("full_igloo ice_inactive", "live")}
    for before in (45, 130):  # while it waits, and after a change in mid-game
        envs, resumed = (ModifiedVectorEnv(config, 3, num_workers=workers) for workers in (0, 2))
        assert_continues(envs, resumed, before, first=first, then=then)
    envs, resumed = make("ALE/Freeway-v5", 2, 0), make("ALE/Freeway-v5", 2, 1)
    first = {0: ("", "reset"), 10: ("vary_car_speeds", "live"), 20: ("all_black_cars", "live")}
    assert_continues(envs, resumed, 40, first=first, then={10: ("vary_car_speeds", "live")})


SCHEDULE = {
    "env_id": "ALE/Frostbite-v5",
    "modification_factory": "SequentialModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 10_000,
        "modifications": ["", "half_igloo", "full_igloo ice_inactive", "ice_inactive"],
        "switching_thresholds": [2_000, 4_000, 6_000],
    },
}


def test_a_note_before_the_run_says_which_names_wait(tmp_path, capsys):
    def notes(mode, **changes):
        config = {**SCHEDULE, **changes}
        training.prepare(["--no-cuda", "--switch_mode", mode, "--config", write_config(tmp_path, **config)])
        return [line for line in capsys.readouterr().out.splitlines() if "at the start of a game only" in line]

    (note,) = notes("live")
    assert note.startswith("note: `half_igloo`, `full_igloo` act at the start of a game only: with `switch_mode` live")
    assert notes("reset") == notes("episode") == []
    assert notes("live", modification_factory="", modification_factory_kwargs={}, modifs="full_igloo") == []
