"""The console's modes and difficulties as modifications, against an emulator that this project does not touch."""

import ale_py
import gymnasium
import numpy as np
import pytest
from ale_py import roms
from gymnasium.vector import AutoresetMode
from test_env_state import assert_continues, games
from test_live_switches import only_game
from test_vector import make, play

from continual_hackatari.wrappers import look
from continual_hackatari.wrappers.config import check_string, game_config
from continual_hackatari.wrappers.emulator import ale_games, rom_of
from continual_hackatari.wrappers.errors import ModificationError
from continual_hackatari.wrappers.modifications import console_modifications
from continual_hackatari.wrappers.modifications.__main__ import main
from continual_hackatari.wrappers.modifications.console import DIFFERENT_DEFAULTS, Switches, numbers
from continual_hackatari.wrappers.modified_game import ModifiedGame

SHORT = {"time_limit": 400}
BLACK_CARS = tuple((cell, 0) for cell in range(77, 87))


def plain_emulator(game, seed=0, sticky=0.0):
    """ale-py itself."""
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", sticky)
    ale.setInt("max_num_frames_per_episode", 108_000)
    ale.setInt("random_seed", seed)
    ale.loadROM(roms.get_rom_path(rom_of(game)))
    return ale


def frames(ale, number, seed=0):
    """RAM after each frame of random play, from a reset on."""
    ale.reset_game()
    actions, draws = ale.getLegalActionSet(), np.random.default_rng(seed)
    for _ in range(number):
        ale.act(actions[draws.integers(len(actions))])
        yield bytes(ale.getRAM())


# string -> what to set in ale-py, and which cells to write before every frame
SEQUENCES = {
    "Freeway": [
        ("mode_3", (3, 0), ()),
        ("all_black_cars", (0, 0), BLACK_CARS),  # both switches are left
        ("mode_5 all_black_cars difficulty_1", (5, 1), BLACK_CARS),
        ("mode_5", (5, 0), ()),  # one is left
        ("", (0, 0), ()),
    ],
    "SpaceInvaders": [("mode_9", (9, 0), ()), ("mode_2 difficulty_1", (2, 1), ()), ("difficulty_1", (0, 1), ())],
    "Centipede": [("mode_86", (86, 0), ()), ("", (22, 0), ())],  # there is no mode 0
}


@pytest.mark.parametrize("game", SEQUENCES)
def test_a_string_is_set_mode_and_a_reset(game):
    """RAM, rewards and screens of games one after the other, generator and sticky actions included."""
    theirs = plain_emulator(game, seed=11, sticky=0.25)
    ours = ModifiedGame(game_config(f"ALE/{game}-v5")[0], seed=11, modification_seed=0)
    draws = np.random.default_rng(1)
    for string, (mode, difficulty), cells in SEQUENCES[game]:
        theirs.setMode(mode)
        theirs.setDifficulty(difficulty)
        theirs.reset_game()
        ours.start(tuple(check_string(ours.config, string)[0].split()), lambda: None)
        for step in range(60):
            action, reward = int(draws.integers(len(ours.actions))), 0
            for _ in range(4):
                for cell, value in cells:
                    theirs.setRAM(cell, value)
                reward += theirs.act(ours.actions[action])
            assert ours.step(action) == reward
            assert np.array_equal(theirs.getRAM(), ours.ram()), (string, step)
            assert np.array_equal(theirs.getScreenRGB(), ours.screen()), (string, step)


def every_game():
    quick = ("Backgammon", "Centipede", "Freeway")
    return [pytest.param(game, marks=[] if game in quick else [pytest.mark.slow]) for game in ale_games()]


@pytest.mark.parametrize("game", every_game())
def test_where_the_first_number_is_another_game_than_the_unmodified_one(game):
    played = {"": list(frames(plain_emulator(game), 600))}
    for kind, set_number in (("mode", "setMode"), ("difficulty", "setDifficulty")):
        ale, number = plain_emulator(game), numbers(game)[kind][0]
        getattr(ale, set_number)(number)
        played[f"{kind}_{number}"] = list(frames(ale, 600))
    assert {(game, name) for name in played if played[name] != played[""]} == {
        entry for entry in DIFFERENT_DEFAULTS if entry[0] == game
    }


def test_unmodified_is_not_set_also_where_no_number_says_so():
    """Backgammon's only difficulty, 3, is not what it begins with."""
    game = ModifiedGame(game_config("Backgammon", sticky=0.0)[0], seed=1, modification_seed=0)
    seen = {}
    for string in ("", "difficulty_3", "no difficulty"):
        game.start(("difficulty_3",) if string == "difficulty_3" else (), lambda: None)
        seen[string] = [(game.step(step % 3), game.ram().tolist()) for step in range(20)]
    assert seen[""] == seen["no difficulty"] != seen["difficulty_3"]


@pytest.mark.slow
def test_what_the_page_says_of_all_games():
    both = {game: numbers(game) for game in ale_games()}
    assert len(both) == 104
    assert sum(len(each["mode"]) * len(each["difficulty"]) for each in both.values()) == 1090
    assert sum(len(each["mode"]) > 1 or len(each["difficulty"]) > 1 for each in both.values()) == 78


def test_a_reseeded_game_is_that_of_a_new_emulator():
    """As evaluation plays: every game seeded anew, its mode set anew."""
    config, _ = game_config("Freeway")
    fresh, used = (ModifiedGame(config, seed=seed, modification_seed=0) for seed in (5, 1))
    used.start(("mode_3",), lambda: None)
    used.step(1)
    used.seed(5)
    for game in (fresh, used):
        game.start(("mode_3",), lambda: None)
        for _ in range(20):
            game.step(1)
    assert fresh.ram().tolist() == used.ram().tolist()


@pytest.mark.parametrize(
    ("string", "sentence"),
    [
        ("mode_8", "`modifs` 'mode_8': Freeway has no such mode; mode_<n> takes n = 0, 1, 2, 3, 4, 5, 6, 7"),
        ("mode_03", "`modifs` 'mode_03': Freeway has no such mode; mode_<n> takes n = 0, 1, 2, 3, 4, 5, 6, 7"),
        (
            "stop_top_2 difficulty_2",
            "`modifs` 'difficulty_2': Freeway has no such difficulty; difficulty_<n> takes n = 0, 1",
        ),
        (
            "mode_1 stop_top_2 mode_2",
            "`modifs` 'mode_1 stop_top_2 mode_2' names mode_1 and mode_2, but a game has one mode: keep one",
        ),
        (
            "difficulty_0 difficulty_1",
            "`modifs` 'difficulty_0 difficulty_1' names difficulty_0 and difficulty_1, but a game has one difficulty: "
            "keep one",
        ),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_sentence(string, sentence):
    config, _ = game_config("Freeway")
    with pytest.raises(ModificationError) as caught:
        check_string(config, string)
    assert str(caught.value) == sentence
    assert check_string(config, "mode_1  mode_1") == ("mode_1", [])
    assert check_string(config, "mode_0")[1] == [
        "`mode_0` has no visible effect in Freeway: it is the mode that the console begins with"
    ]


def test_a_mode_waits_for_a_game_in_a_switch_in_mid_game():
    """Into a mode, within one, and out of it."""
    envs = make("ALE/Freeway-v5", num_envs=1, **SHORT)
    envs.set_modifications("", "reset")
    play(envs, 5)
    envs.set_modifications("mode_3", "live")
    assert only_game(envs).modification == ""
    (first,) = games(play(envs, 100))[:1]
    assert (first.modification, first.live_switches) == ("", 0)
    envs.set_modifications("mode_3 all_black_cars", "live")
    assert only_game(envs).modification == "mode_3 all_black_cars", "the mode is the same, the rest changes at once"
    envs.set_modifications("all_black_cars", "live")
    assert only_game(envs).modification == "mode_3 all_black_cars"
    second, third = games(play(envs, 200))[:2]
    assert (second.modification, second.live_switches) == ("mode_3 all_black_cars", 1)
    assert third.modification == "all_black_cars"
    assert only_game(envs).game._switches == Switches()
    envs.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "before", [pytest.param(30, id="in the first game", marks=pytest.mark.slow), pytest.param(130, id="after a mode")]
)
def test_a_saved_state_continues_in_the_same_mode(before):
    """The second moment is in a game without a mode that an emulator with one began."""
    envs, resumed = make("ALE/Freeway-v5", 2, 0, **SHORT), make("ALE/Freeway-v5", 2, 1, **SHORT)
    first = {0: ("mode_3 difficulty_1", "reset"), 20: ("all_black_cars", "live")}
    assert_continues(envs, resumed, before, first=first, then={10: ("mode_5", "live"), 60: ("", "episode")})


def test_a_state_of_an_earlier_version_continues():
    game = ModifiedGame(game_config("Freeway")[0], seed=1, modification_seed=0)
    state = game.carried_over()
    del state["console"]
    game.carry_over(state)
    assert game._switches == Switches()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP], ids=lambda mode: mode.value)
def test_gymnasiums_environments_play_modes(mode):
    """And `info` says what each game is played under, while some wait and some do not."""
    settings = {"modifications": "mode_3", "game_start": "none", "time_limit": 80}
    env = gymnasium.make("continual_hackatari/Freeway-v5", **settings)
    envs = gymnasium.make_vec(
        "continual_hackatari/Freeway-v5", num_envs=2, num_workers=0, autoreset_mode=mode, **settings
    )
    assert np.array_equal(env.reset(seed=4)[0], envs.reset(seed=4)[0][0])
    for _ in range(10):
        seen, *_ = env.step(1)
        assert np.array_equal(seen, envs.step(np.ones(2, int))[0][0])
    other = gymnasium.make("continual_hackatari/Freeway-v5", **{**settings, "modifications": ""})
    other.reset(seed=4)
    assert not np.array_equal(seen, [other.step(1)[0] for _ in range(10)][-1])
    envs.unwrapped.set_modifications("mode_3 all_black_cars", "live")
    assert [envs.unwrapped.strings[place] for place in envs.unwrapped._places] == ["mode_3 all_black_cars"] * 2
    envs.unwrapped.set_modifications("all_black_cars", "live")
    assert [envs.unwrapped.strings[place] for place in envs.unwrapped._places] == ["mode_3 all_black_cars"] * 2
    _, info = env.reset(options={"modifications": "difficulty_1"})
    assert env.unwrapped.strings[info["modification"]] == "difficulty_1"
    envs.close()


@pytest.mark.slow
def test_the_list_and_the_gallery_show_them(capsys):
    assert main(["SpaceInvaders"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "mode_<n> console reset The console's mode n: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15; `mode_0`"
        in out
    )
    assert main(["Backgammon"]) == 0
    assert "`difficulty_3` differs from the unmodified game" in " ".join(capsys.readouterr().out.split())
    gallery = look.make_gallery("Kangaroo", 1, 20)
    assert [tile.name for tile in gallery.tiles][-1] == "mode_1", "not mode_0, with which the console begins"
    assert [name for name, entry in console_modifications("Kangaroo").items() if entry.no_effect] == [
        "mode_0",
        "difficulty_0",
    ]


def test_backends_without_modifications_have_no_modes():
    with pytest.raises(ModificationError, match="backend Gym plays unmodified games only"):
        check_string(game_config("Freeway", backend="Gym")[0], "mode_1")
