"""Gallery and videos of modifications: what they show is compared with hackatari's own environment."""

import subprocess
import sys
from dataclasses import replace
from itertools import islice

import cv2
import numpy as np
import pytest
from ale_py import roms
from conftest import NEEDS_HACKATARI, ROOT
from pages import section
from test_lockstep import hackatari_environment, start_theirs

from continual_hackatari.wrappers import look
from continual_hackatari.wrappers.agent_game import derive_seeds
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.emulator import ale_games
from continual_hackatari.wrappers.errors import ModificationError, OutputError
from continual_hackatari.wrappers.modifications import catalogue
from continual_hackatari.wrappers.modifications.__main__ import main

SEED, STEP = 5, 40


def their_screens(game, names, steps, seed=SEED):
    """Screens of hackatari's environment, before the first and after each step of the same play as in the gallery."""
    theirs = hackatari_environment(f"ALE/{game}-v5", "dqn")
    emulator_seed, _, _ = derive_seeds(seed, 0)
    theirs._ale.setInt("random_seed", emulator_seed)
    theirs._ale.loadROM(roms.get_rom_path(game.lower()))
    start_theirs(theirs, game, names)
    draws = np.random.default_rng(seed)
    screens = [theirs._ale.getScreenRGB()]
    for _ in range(steps):
        theirs.step(int(draws.integers(len(theirs._ale.getMinimalActionSet()))))
        screens.append(theirs._ale.getScreenRGB())
    theirs.close()
    return np.stack(screens)


def frames_of(path):
    """All frames of a video, uint8 [frames, height, width, 3], RGB."""
    video, found = cv2.VideoCapture(str(path)), []
    while (result := video.read())[0]:
        found.append(result[1][..., ::-1])
    return np.stack(found)


def refused(capsys, tmp_path, *arguments):
    """The one sentence with which the command refuses; no file was left."""
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    return captured.err


# ---------------------------------------------------------------------------------------------------------- gallery


@pytest.fixture(scope="module")
def pong():
    return look.make_gallery("Pong", SEED, STEP)


def test_a_caption_stands_above_the_screen_and_leaves_it_alone():
    screen = np.random.default_rng(0).integers(256, size=(210, 160, 3), dtype=np.uint8)
    string = "all_black_cars stop_all_cars reverse_car_speed_top"
    found = look.captioned(screen, string, 1.0)
    assert (found[-210:] == screen).all()
    assert found.shape[0] % 2 == 0
    assert (found[:-210] != look.captioned(screen, string, 2.0)[:-210]).any()
    assert look.captioned(screen, "", 0.0).shape[0] < found.shape[0], "a long string has several lines"


def test_there_is_a_tile_for_the_unmodified_game_and_each_modification_in_their_order(pong):
    refused = {name: entry.refused for name, entry in catalogue("Pong").items() if entry.refused}
    modes = ["mode_1", "difficulty_1", "difficulty_2", "difficulty_3"]
    names = [name for name in catalogue("Pong") if name not in refused]
    assert [tile.name for tile in pong.tiles] == ["", *names, *modes]
    assert (pong.game, pong.step, pong.seed, pong.left_out) == ("Pong", STEP, SEED, refused)


@NEEDS_HACKATARI
@pytest.mark.parametrize("name", ["", "lazy_enemy", "up_drift", "left_drift"])
def test_a_tile_is_the_screen_that_hackatari_shows_at_that_moment(pong, name):
    (tile,) = (tile for tile in pong.tiles if tile.name == name)
    assert np.array_equal(tile.screen, their_screens("Pong", name.split(), STEP)[-1])


@NEEDS_HACKATARI
def test_what_is_marked_is_what_differs_from_the_unmodified_game(pong):
    plain = their_screens("Pong", [], STEP)[-1].astype(int)
    for tile in pong.tiles:
        differs = np.abs(tile.screen.astype(int) - plain).sum(axis=-1) > 0
        assert np.array_equal(tile.changed, differs)
        marked = (look.difference_picture(tile) == look._CHANGED).all(axis=-1)
        assert np.array_equal(marked, differs)
        assert bool(tile.note) == (not differs.any()), "a tile says that it looks the same exactly if it does"


@pytest.mark.slow
@NEEDS_HACKATARI
def test_the_moment_is_the_earliest_at_which_most_modifications_show(monkeypatch):
    moments = range(4, 61, 8)
    monkeypatch.setattr(look, "MOMENTS_LOOKED_AT", moments)
    known = catalogue("Pong")
    fewer = {name: known[name] for name in ("hidden_enemy", "lazy_enemy", "parallel_enemy_after_hit", "up_drift")}
    monkeypatch.setattr(look, "in_gallery", lambda *_: fewer)
    gallery = look.make_gallery("Pong", SEED)
    config = replace(game_config("ALE/Pong-v5")[0], seed=SEED)
    plays = {name: list(islice(look.random_play(config, name), 61)) for name in ["", *fewer]}
    shown = {step: sum((plays[name][step] != plays[""][step]).any() for name in fewer) for step in moments}
    assert min(shown.values()) < max(shown.values()) < 4
    assert gallery.step == min(step for step, count in shown.items() if count == max(shown.values()))
    for tile in gallery.tiles:
        assert np.array_equal(tile.screen, plays[tile.name][gallery.step])
    notes = {tile.name: tile.note for tile in gallery.tiles}
    assert "detected objects" in notes["hidden_enemy"]  # changes no pixel, by its description
    assert notes["up_drift"] == ""


@pytest.mark.parametrize(
    ("visible", "entry", "words"),
    [
        ([False, True, True], {}, "not at 2 of 3 moments"),
        ([False, False, False], {}, "at all of 3 moments"),
        ([False], {}, "looks the same now"),
        ([False, False, False], {"no_effect": "the game writes it anyway"}, "no visible effect"),
        ([True, False, False], {"no_effect": "said so, but it shows"}, None),
    ],
)
def test_what_does_not_show_is_said(visible, entry, words):
    modification = replace(catalogue("Freeway")["all_black_cars"], **entry)
    note = look._note(modification, np.array(visible), 0)
    assert note == "" if words is None else words in note


def test_a_modification_that_cannot_be_played_is_left_out_and_named(monkeypatch):
    known = catalogue("Pong")
    fewer = {"lazy_enemy": known["lazy_enemy"], "up_drift": replace(known["up_drift"], refused="for a reason")}
    monkeypatch.setattr(look, "in_gallery", lambda *_: fewer)
    gallery = look.make_gallery("Pong", SEED, 3)
    assert [tile.name for tile in gallery.tiles] == ["", "lazy_enemy"]
    assert gallery.left_out == {"up_drift": "for a reason"}


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_the_picture_is_written_in_each_format(pong, tmp_path, ending):
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    path = tmp_path / f"gallery.{ending}"
    look.draw_gallery(str(path), pong._replace(tiles=pong.tiles[:3]))
    assert path.read_bytes().startswith(begins[ending])
    assert list(tmp_path.iterdir()) == [path]


def test_the_screens_are_in_the_picture(pong, tmp_path):
    """All their colours, and few dots are too few for 210 lines."""
    path = tmp_path / "gallery.png"
    look.draw_gallery(str(path), pong)
    picture = cv2.imread(str(path))[..., ::-1].astype(int)
    colours = set((picture @ [65536, 256, 1]).ravel().tolist())
    for tile in pong.tiles:
        assert set((tile.screen.astype(int) @ [65536, 256, 1]).ravel().tolist()) <= colours, tile.name
    assert picture.shape[1] > 4 * 2 * 160
    assert picture.shape[0] > 3 * 210


@pytest.mark.slow
def test_the_command_draws_a_gallery(tmp_path, capsys):
    path = tmp_path / "pong.png"
    assert main(["ALE/Pong-v5", "--gallery", str(path), "--step", "12", "--seed", "3"]) == 0
    playable = sum(not modification.refused for modification in look.in_gallery("Pong").values())
    assert capsys.readouterr().out.endswith(f"{path}: {playable} modifications of Pong at step 12\n")
    assert cv2.imread(str(path)) is not None


def test_the_shown_picture_is_small_and_that_of_the_printed_command():
    picture = ROOT / "docs" / "gallery_freeway.png"
    assert picture.stat().st_size < 400_000
    command = "python -m wrappers.modifications ALE/Freeway-v5 --gallery docs/gallery_freeway.png"
    assert command in section("Modifications").splitlines()


def with_gallery():
    """All games with modifications; those whose test is not marked `long` are a sample for CI."""
    for game in filter(catalogue, ale_games()):
        yield pytest.param(game, marks=pytest.mark.slow if game in ("Carnival", "MsPacman") else pytest.mark.long)


@pytest.mark.parametrize("game", list(with_gallery()))
def test_every_game_with_modifications_has_a_gallery(game, tmp_path):
    gallery = look.make_gallery(game, 1)
    assert [tile.name for tile in gallery.tiles] == [
        "",
        *(n for n, e in look.in_gallery(game).items() if not e.refused),
    ]
    look.draw_gallery(str(tmp_path / "game.png"), gallery)
    assert [path.name for path in tmp_path.iterdir()] == ["game.png"]


# ----------------------------------------------------------------------------------------------------------- videos


@NEEDS_HACKATARI
def test_a_video_shows_the_modified_game_frame_by_frame(tmp_path, capsys):
    path = tmp_path / "out.mp4"
    arguments = ["--modifs", " all_black_cars  stop_all_cars", "--seconds", "2", "--seed", str(SEED)]
    assert main(["Freeway", "--play", str(path), *arguments]) == 0
    assert "30 steps of a random agent in Freeway, all_black_cars stop_all_cars\n" in capsys.readouterr().out
    frames = frames_of(path)
    assert frames.shape == (30, 420, 320, 3)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 15
    expected = their_screens("Freeway", ["all_black_cars", "stop_all_cars"], 29)
    plain = their_screens("Freeway", [], 29)
    for frame, modified, unmodified in zip(frames, expected, plain, strict=True):
        seen = frame[::2, ::2].astype(int)
        assert np.abs(seen - modified).mean() < 3  # the encoder loses a little
        if not np.array_equal(modified, unmodified):
            assert np.abs(seen - modified).mean() < np.abs(seen - unmodified).mean()
    assert list(tmp_path.iterdir()) == [path]


def test_play_goes_on_with_the_next_game_and_tells_of_it():
    config = replace(game_config("ALE/Breakout-v5")[0], seed=SEED)
    play = list(islice(look.played(config, "", lambda _, num_actions: num_actions - 1), 400))
    (ended, *_) = (index for index, (_, record) in enumerate(play) if record is not None)
    record = play[ended][1]
    assert (record.length, record.lives, record.number, record.cut) == (ended, 5, 0, False)
    assert not np.array_equal(play[ended][0], play[ended - 1][0])


@pytest.mark.parametrize(("string", "game", "alone"), [("Freeway: mode_3", "Freeway", "mode_3"), ("Pong:", "Pong", "")])
def test_a_string_with_a_game_shows_that_game(string, game, alone):
    """As in the string of every agent that has all actions; action 0 is the same with all actions and with few."""
    shown = []
    for env_id, full, wanted in [("ALE/Freeway-v5", True, string), (f"ALE/{game}-v5", False, alone)]:
        config = replace(game_config(env_id, full_action_space=full)[0], seed=SEED)
        shown.append(np.stack([screen for screen, _ in islice(look.played(config, wanted, lambda *_: 0), 20)]))
    assert np.array_equal(*shown)


def test_a_game_without_modifications_can_be_recorded(tmp_path, capsys):
    assert main(["Adventure", "--play", str(tmp_path / "a.MP4"), "--seconds", "0.2"]) == 0
    assert "Adventure, no_modif" in capsys.readouterr().out
    assert len(frames_of(tmp_path / "a.MP4")) == 3


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Freewey", "--play", "F/a.mp4"], ["`game`", "Freewey", "ALE/Freeway-v5"]),
        (["--gallery", "F/a.png"], ["`game` is missing"]),
        (["Freeway", "--play", "F/a.mp4", "--modifs", "all_blak_cars"], ["all_black_cars"]),
        (["Adventure", "--play", "F/a.mp4", "--modifs", "easy"], ["Adventure has no modifications"]),
        (["Koolaid", "--gallery", "F/a.png"], ["Koolaid has no modifications"]),
        (["Freeway", "--play", "F/a.avi"], ["`play`", ".mp4", "a.avi"]),
        (["Freeway", "--gallery", "F/a.gif"], ["`gallery`", ".png", "a.gif"]),
        (["Freeway", "--gallery", "F/no/a.png"], ["`gallery`", "no folder", "F/no"]),
        (["Freeway", "--play", "F/no/a.mp4"], ["`play`", "no folder", "F/no"]),
        (["Freeway", "--play", "F/folder.mp4"], ["`play`", "is a folder"]),
        (["Freeway", "--play", "F/a.mp4", "--seconds", "0"], ["`seconds`", "got 0"]),
        (["Freeway", "--play", "F/a.mp4", "--seconds", "nan"], ["`seconds`", "got nan"]),
        (["Freeway", "--play", "F/a.mp4", "--seed", "-1"], ["`seed`", "got -1"]),
        (["Freeway", "--gallery", "F/a.png", "--step", "-1"], ["`step`", "got -1"]),
        (["Freeway", "--gallery", "F/a.png", "--play", "F/a.mp4"], ["`gallery`", "`play`", "one of them"]),
        (["Freeway", "--modifs", "all_red_cars"], ["`modifs`", "--play"]),
        (["Freeway", "--seconds", "3"], ["`seconds`", "--play"]),
        (["Freeway", "--play", "F/a.mp4", "--step", "3"], ["`step`", "--gallery"]),
        (["Freeway", "--seed", "3"], ["`seed`", "--gallery", "--play"]),
    ],
    ids=lambda value: " ".join(value) if "F/" in str(value) or "Free" in str(value) else "",
)
def test_what_is_wrong_is_one_sentence_and_leaves_no_file(arguments, words, capsys, tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    error = refused(capsys, tmp_path, *(word.replace("F/", f"{tmp_path}/") for word in arguments))
    for word in words:
        assert word.replace("F/", f"{tmp_path}/") in error


def test_a_disk_that_takes_no_more_leaves_no_file(tmp_path, monkeypatch):
    def fail(frames, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(look, "encode", fail)
    old = tmp_path / "a.mp4"
    old.write_bytes(b"old")
    with pytest.raises(OutputError, match="No space left"):
        look.write_video("play", old, iter(()))
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == b"old"


def test_an_error_in_the_play_leaves_no_file(tmp_path):
    def frames():
        yield np.zeros((210, 160, 3), np.uint8)
        raise ModificationError("in mid-game")

    with pytest.raises(ModificationError, match="in mid-game"):
        look.write_video("play", tmp_path / "a.mp4", frames())
    assert list(tmp_path.iterdir()) == []


def test_the_command_from_the_shell_knows_its_own_errors(tmp_path):
    command = [sys.executable, "-m", "wrappers.modifications", "Freeway", "--play", "no/a.mp4", "--seconds", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: `play` 'no/a.mp4': there is no folder 'no'; create it first\n"
