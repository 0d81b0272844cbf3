"""Videos of games in training: when one is asked for, what stands above the screen."""

import cv2
import numpy as np
import pytest
from siblings import EVERY, PPO
from test_training import train_in

from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.run import Run
from continual_hackatari.wrappers import video
from continual_hackatari.wrappers.vector import ModifiedVectorEnv
from continual_hackatari.wrappers.video import GameRecorder, captioned

SHORT = ["--env_id", "ALE/Breakout-v5", "--frameskip", "40"]


@pytest.mark.slow
@EVERY
def test_a_game_is_recorded_after_every_so_many_steps_also_in_a_run_that_goes_on(sibling, tmp_path, monkeypatch):
    """Rounds end at 32, 64 and 96; 40 and 80 lie in the last two. The first game is recorded as well."""
    asked, done, save = [], [], Run.save

    def ask(envs, path, caption):
        asked.append((path.name, caption))
        done.append("asked")

    monkeypatch.setattr(ModifiedVectorEnv, "record_next_game", ask)
    monkeypatch.setattr(Run, "save", lambda run: (done.append("saved"), save(run)))
    flags = [*SHORT, "--capture_video_every", "40", "--caption", *(["--no_anneal_lr"] if sibling is PPO else [])]
    run = train_in(tmp_path, monkeypatch, *flags, "--total_timesteps", "64", sibling=sibling)
    assert asked == [("step000000000_no_modif", True), ("step000000064", True)]
    assert done == ["asked", "saved", "asked", "saved"], "whoever goes on from what was saved knows of the request"
    sibling.main(["--resume", str(run), "--total_timesteps", "96", "--no_caption"])
    assert asked[2:] == [("step000000096", False)]


@pytest.mark.slow
def test_the_videos_of_a_run(tmp_path, monkeypatch):
    """Games are whole after a dozen steps, so that one begins between any two requests."""
    flags = [*SHORT, "--capture_video_every", "32", "--caption", "--total_timesteps", "128"]
    run = train_in(tmp_path, monkeypatch, *flags)
    videos = sorted(path.name for path in (run / "videos").iterdir())
    assert videos[:2] == ["step000000000_no_modif.mp4", "step000000032.mp4"]
    for name in videos:
        made = cv2.VideoCapture(str(run / "videos" / name))
        assert made.get(cv2.CAP_PROP_FRAME_HEIGHT) == 2 * (210 + 20), "a line for the string and one for the score"
    assert (run / "resume.pt").exists() is False


def test_a_caption_belongs_to_videos(workdir):
    with pytest.raises(ConfigError, match="`caption` true is written into videos, and none are made; add"):
        PPO.prepare(["--no_cuda", "--caption"])
    for flags in (["--capture_video"], ["--capture_video_every", "10"]):
        assert PPO.prepare(["--no_cuda", "--caption", *flags]).args.captures_video


def test_the_height_of_a_video_is_that_of_its_first_screen(tmp_path):
    """A string that changes in mid-game may need more lines, or fewer."""
    screen = np.random.default_rng(0).integers(256, size=(210, 160, 3), dtype=np.uint8)
    long = "all_black_cars stop_all_cars reverse_car_speed_top"
    for string, other in (("a", long), (long, "")):
        first = captioned(screen, string, 1.0)
        later = captioned(screen, other, 2.0, first.shape[0])
        assert later.shape == first.shape
        assert (later[-210:] == screen).all()
        above = first.shape[0] - 210
        other_score = captioned(screen, other, 3.0, first.shape[0])
        (rows,) = (later != other_score).any(axis=(1, 2)).nonzero()
        assert 10 * (above // 10 - 1) <= rows.min() <= rows.max() < above, "the score stands in the last line"
        assert later[:10].any(), "and the string in the first"
    recorder = GameRecorder()
    recorder.request(tmp_path / "game", caption=True)
    recorder.game_started()
    for string in ("a", long, ""):
        recorder.add(screen, string, 0.0)
    recorder.game_ended(cut=False)
    recorder.close()
    assert cv2.VideoCapture(str(tmp_path / "game.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


SCREEN = np.random.default_rng(0).integers(256, size=(210, 160, 3), dtype=np.uint8)


def sizes_in(folder):
    """Of every video, its frames and their height."""
    wanted = (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_HEIGHT)
    videos = {path.stem: cv2.VideoCapture(str(path)) for path in folder.iterdir()}
    return {name: [int(made.get(key)) for key in wanted] for name, made in videos.items()}


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_caption_begins_with_the_video_that_it_was_asked_for(first, resumed, tmp_path):
    """And ends with it: a game is still being recorded when the next video is asked for."""
    recorder = GameRecorder()
    recorder.request(tmp_path / "first", caption=first)
    recorder.game_started()
    recorder.add(SCREEN)
    recorder.request(tmp_path / "second", caption=not first)
    if resumed:
        state = recorder.get_state()
        recorder.close()
        recorder = GameRecorder()
        recorder.set_state(state, tmp_path)
        recorder.add(SCREEN)
    recorder.add(SCREEN)
    recorder.game_ended(cut=False)
    recorder.game_started()
    recorder.add(SCREEN)
    recorder.game_ended(cut=False)
    recorder.close()
    heights = (420, 460)
    assert sizes_in(tmp_path) == {"first": [2, heights[first]], "second": [1, heights[not first]]}


@pytest.mark.parametrize("caption", [False, True])
def test_what_earlier_versions_saved_of_videos_has_one_caption_for_both(caption, tmp_path):
    recorder = GameRecorder()
    recorder.set_state({"requested": "second", "recording": "first", "caption": caption}, tmp_path)
    state = recorder.get_state()
    recorder.close()
    assert (state["recording_caption"], state["caption"]) == (caption, caption)


def test_a_video_that_fails_leaves_no_file(tmp_path, monkeypatch, capfd):
    def fail(frames, path):
        next(iter(frames))
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video, "encode", fail)
    recorder = GameRecorder()
    recorder.request(tmp_path / "game")
    recorder.game_started()
    recorder.add(SCREEN)
    recorder.game_ended(cut=False)
    recorder.close()
    assert "game.mp4 could not be written: [Errno 28] No space left" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
