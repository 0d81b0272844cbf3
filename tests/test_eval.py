"""eval.py on tiny checkpoints: what it plays, prints and writes, and what it refuses."""

import functools
import json
import os
import re
import subprocess
import sys

import ale_py
import cv2
import numpy as np
import pytest
import torch
from conftest import NEEDS_OCATARI, PATIENCE, ROOT, mostly_slow, read_csv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from continual_hackatari import eval as evaluation
from continual_hackatari.agents import ActorCritic, make_agent
from continual_hackatari.reporting.statistics import human_normalised, mean_std_interval
from continual_hackatari.training import playing, summary
from continual_hackatari.training.checkpoints import save_checkpoint
from continual_hackatari.wrappers.agent_game import AgentGame, derive_seeds
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

BREAKOUT = {"env_id": "ALE/Breakout-v5", "backend": "HackAtari", "obs_mode": "dqn", "architecture": "PPO"}
BREAKOUT |= {
    "frameskip": 4,
    "buffer_window_size": 4,
    "her": False,
    "game_specific_goals": False,
    "game_start": "frames",
}
BREAKOUT_ACTIONS = 4
FEW = ["--num_workers", "0", "--no-cuda", "--eval_episodes", "2"]
SHORT = ["--frameskip", "40"]
"""Whole games of a dozen steps."""


@functools.cache
def random_agent():
    """A PPO agent for Breakout with random weights."""
    return make_agent("PPO", (4, 84, 84), BREAKOUT_ACTIONS, generator=torch.Generator().manual_seed(0))


def make_checkpoint(folder, agent=None, *, without=(), **args):
    """A checkpoint of an untrained agent, by default for Breakout; returns its path."""
    args = {name: value for name, value in {**BREAKOUT, **args}.items() if name not in without}
    path = folder / "model.cleanrl_model"
    weights = (agent or random_agent()).state_dict()
    save_checkpoint(path, model_weights=weights, args=args, global_step=123, wandb_run_id=None)
    return path


@pytest.fixture
def checkpoint(workdir):
    return make_checkpoint(workdir)


def evaluate(path, *flags):
    """Run eval.py in this process; returns its output folder."""
    before = set(path.parent.glob("eval/*"))
    evaluation.main(["--agent_path", str(path), *FEW, *flags])
    (folder,) = set(path.parent.glob("eval/*")) - before
    return folder


def refused(capsys, path, *flags):
    """The one sentence with which eval.py refuses; nothing was written."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        evaluation.main(["--agent_path", str(path), *(["--no-cuda"] if "--play" in flags else FEW), *flags])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sorted(path.parent.rglob("*")) == before
    return error


def run_script(*flags, cwd, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "eval.py"), *flags],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=PATIENCE,
    )


# ------------------------------------------------------------------------------------------------- what is played


def test_no_game_is_begun_that_nobody_asked_for(monkeypatch):
    """Of three games on two environments, one plays the third, and the other waits."""
    begun, start_game = [], AgentGame.start_game

    def record_start(game):
        begun.append((game.index, game._number + 1))
        start_game(game)

    monkeypatch.setattr(AgentGame, "start_game", record_start)
    game, _ = game_config("ALE/Breakout-v5", game_start="none", fire_reset=False, time_limit=60)
    options = {"num_envs": 2, "num_workers": 0, "device": torch.device("cpu")}
    games = playing.evaluate(LivelyAgent(), game, [""], episodes=3, seed=1, deterministic=True, **options)
    assert [(record.env, record.number) for record in games[""]] == [(0, 0), (1, 0), (0, 1)]
    assert sorted(begun) == [(0, 0), (0, 1), (1, 0)]


class LivelyAgent:
    """Acts on what it sees, so that every game goes its own way but depends on nothing else."""

    def act(self, x, *, deterministic, generator):
        return x.long().sum(dim=(1, 2, 3)) % BREAKOUT_ACTIONS

    def describe(self, x):
        sums = x.long().sum(dim=(1, 2, 3))
        return {"entropy": (sums % 7).double(), "value": (sums % 11).double()}


def play(num_envs, episodes, seed=1):
    """The records of `playing.evaluate` for the lively agent, in the order of the games."""
    game, _ = game_config("ALE/Breakout-v5", game_start="frames")
    games = playing.evaluate(
        LivelyAgent(),
        game,
        ["", "left_drift"],
        episodes=episodes,
        seed=seed,
        deterministic=True,
        num_envs=num_envs,
        num_workers=0,
        device=torch.device("cpu"),
    )
    assert list(games) == ["", "left_drift"]
    return games


@pytest.mark.slow
def test_the_first_games_count_whatever_their_length(monkeypatch):
    """Game k is the one that a lone environment plays as its k-th, under each string; the longest are not left out."""
    ended = []
    step_wait = ModifiedVectorEnv.step_wait

    def record_wait(envs):
        records = step_wait(envs)
        ended.extend((record.modification, record.env + 4 * record.number) for record in records)
        return records

    alone = play(1, 6, seed=2)
    monkeypatch.setattr(ModifiedVectorEnv, "step_wait", record_wait)
    together = play(4, 6, seed=2)
    for string in ("", "left_drift"):
        assert [record.env + 4 * record.number for record in together[string]] == list(range(6))
        assert [record[1:6] for record in together[string]] == [record[1:6] for record in alone[string]]
        assert len({record.length for record in alone[string]}) > 3
        in_their_order = [number for played, number in ended if played == string]
        assert sorted(in_their_order) == list(range(6)), "and no other game is played to its end"
    assert in_their_order != list(range(6)), "it matters: a short game ends before a long one that began earlier"


def breakout_by_hand(seed, number):
    """Game `number` on the bare emulator after its no-op frames and FIRE: (ale, actions, act, window, points so far).

    `act(action, frames)` plays and returns the points; `window` collects the screens that the agent would see.
    """
    emulator_seed, noop_seed, _ = derive_seeds(seed, number)
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", emulator_seed)
    ale.setFloat("repeat_action_probability", 0.25)
    ale.loadROM(ale_py.roms.get_rom_path("breakout"))
    actions, screen, window = ale.getMinimalActionSet(), np.empty((210, 160), np.uint8), []

    def act(action, frames):
        reward = sum(ale.act(action) for _ in range(frames))
        ale.getScreenGrayscale(screen)
        window.append(cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA))
        return reward

    points = act(actions[0], int(np.random.default_rng(noop_seed).integers(1, 31)))
    window[:] = window * 4
    points += act(actions[1], 4)
    return ale, actions, act, window, points


def test_whole_games_are_scored_by_the_emulator():
    """Game 2 once more, frame by frame on the bare emulator: the same score, over all five lives."""
    record = play(2, 3)[""][2]
    ale, actions, act, window, score = breakout_by_hand(1, 2)
    length, lives = 0, 5
    while not ale.game_over():
        chosen = sum(int(frame.sum()) for frame in window[-4:]) % BREAKOUT_ACTIONS
        score, length = score + act(actions[chosen], 4), length + 1
        if 0 < ale.lives() < lives:
            score += act(actions[1], 4)
        lives = ale.lives()
    assert (record.score, record.length, record.lives) == (score, length, 5)


@pytest.mark.slow
def test_same_seed_same_games_also_with_other_workers(checkpoint):
    flags = ["--modifs", "no_modif, left_drift", "--num_envs", "2", *SHORT]
    first, again, workers = (
        (evaluate(checkpoint, *flags, *more) / "games.csv").read_bytes() for more in ([], [], ["--num_workers", "2"])
    )
    assert first == again == workers
    other_seed = (evaluate(checkpoint, *flags, "--seed", "2") / "games.csv").read_bytes()
    assert first != other_seed.replace(b",2,123", b",1,123")


def test_sampled_by_default_greedy_on_request(checkpoint, monkeypatch):
    asked = []
    decide = ActorCritic.act_and_describe

    def record(agent, x, *, deterministic=False, generator=None):
        asked.append((deterministic, agent.training, torch.is_grad_enabled(), generator.initial_seed()))
        return decide(agent, x, deterministic=deterministic, generator=generator)

    monkeypatch.setattr(ActorCritic, "act_and_describe", record)
    sampled = evaluate(checkpoint, *SHORT)
    assert set(asked) == {(False, False, False, 1)}
    asked.clear()
    greedy = evaluate(checkpoint, "--deterministic", *SHORT)
    assert set(asked) == {(True, False, False, 1)}
    entropies = [[row["mean_entropy"] for row in read_csv(folder / "games.csv")] for folder in (sampled, greedy)]
    assert entropies[0] != entropies[1], "other frames were seen"


def test_game_backend_and_frameskip_may_be_chosen_anew(checkpoint, capsys):
    folder = evaluate(checkpoint, "--env_id", "Breakout", "--backend", "Gym", "--frameskip", "8")
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["env_id"], summary["backend"], summary["frameskip"]) == ("ALE/Breakout-v5", "Gym", 8)
    assert "`env_id` Breakout means ALE/Breakout-v5" in capsys.readouterr().out


def test_a_checkpoint_knows_its_game_backend_and_frameskip(workdir):
    agent = make_agent("PPO", (2, 84, 84), BREAKOUT_ACTIONS)
    path = make_checkpoint(workdir, agent, backend="OCAtari", frameskip=6, game_start="none", buffer_window_size=2)
    summary = json.loads((evaluate(path, "--eval_episodes", "1") / "summary.json").read_text())
    assert [summary[name] for name in ("env_id", "backend", "frameskip", "buffer_window_size")] == [
        "ALE/Breakout-v5",
        "OCAtari",
        6,
        2,
    ]


def test_flags_that_agree_with_the_checkpoint_are_welcome(checkpoint):
    flags = ["--architecture", "PPO", "--obs-mode", "dqn", "--no-her", "--no_game_specific_goals"]
    assert evaluate(checkpoint, *flags, *SHORT, "--buffer-window-size", "4", "--eval-episodes", "1").is_dir()


# ------------------------------------------------------------------------------------- what is printed and written


def test_table_files_and_last_line_agree(checkpoint, capsys):
    folder = evaluate(checkpoint, "--modifs", "no_modif, color_all_blocks_red", *SHORT, "--eval_episodes", "3")
    lines = capsys.readouterr().out.splitlines()
    rows = read_csv(folder / "games.csv")
    assert [(row["modification"], row["game"]) for row in rows] == [
        (string, str(number)) for string in ("", "color_all_blocks_red") for number in range(3)
    ]
    assert {(row["deterministic"], row["seed"], row["global_step"]) for row in rows} == {("0", "1", "123")}

    scores = [float(row["score"]) for row in rows]
    assert lines[-1] == f"{np.mean(scores):.2f} +- {np.std(scores, ddof=1):.2f}"
    assert lines[-2] == f"files: {folder}"
    assert lines[-5].split("  ")[0] == "modification"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["mean"], summary["std"]) == pytest.approx((np.mean(scores), np.std(scores, ddof=1)))
    for line, result, own in zip(lines[-4:-2], summary["results"], (scores[:3], scores[3:]), strict=True):
        mean, std, low, high = mean_std_interval(own, seed=1)
        assert (result["mean"], result["std"]) == pytest.approx((np.mean(own), np.std(own, ddof=1)))
        assert (result["low"], result["high"]) == (low, high)
        assert result["human_normalised"] == pytest.approx(human_normalised("ALE/Breakout-v5", mean))
        name = result["modification"] or "no_modif"
        normalised = f"{result['human_normalised']:.3f}"
        assert re.split(r"\s{2,}", line) == [
            name,
            "3",
            f"{mean:.2f}",
            f"{std:.2f}",
            f"[{low:.2f}, {high:.2f}]",
            normalised,
        ]
    logged = EventAccumulator(str(folder)).Reload()
    assert logged.Scalars("eval/color_all_blocks_red/mean")[0].step == 123
    assert "eval/no_modif/human_normalised" in logged.Tags()["scalars"]


def test_a_single_game_has_no_spread_and_json_has_no_nan(checkpoint, capsys):
    folder = evaluate(checkpoint, *SHORT, "--eval_episodes", "1")
    out = capsys.readouterr().out
    text = (folder / "summary.json").read_text()
    assert "NaN" not in text
    (result,) = json.loads(text)["results"]
    assert [result[key] for key in ("std", "low", "high")] == [None] * 3
    assert re.fullmatch(r"-?[\d.]+ \(one game: no deviation\)", out.splitlines()[-1])
    assert "nan" not in out


def test_the_table_where_no_human_score_is_known():
    result = summary.Result("a b", 2, 1.0, 0.5, 0.25, 1234567.0, None)
    header, row = summary.table([result]).splitlines()
    assert re.split(r"\s{2,}", row) == ["a b", "2", "1.00", "0.50", "[0.25, 1234567.00]", "-"]
    assert len(header) == len(row)


def test_two_evaluations_in_the_same_second_keep_their_files(checkpoint, monkeypatch):
    monkeypatch.setattr("continual_hackatari.training.run_folder.time.time", lambda: 1_700_000_000.0)
    folders = [evaluate(checkpoint, *SHORT, "--eval_episodes", "1", *more) for more in ([], [], ["--deterministic"])]
    assert [folder.name for folder in folders] == [
        "ALE-Breakout-v5_s1__sampled_model__PPO__1700000000",
        "ALE-Breakout-v5_s1__sampled_model__PPO__1700000000-2",
        "ALE-Breakout-v5_s1__greedy_model__PPO__1700000000",
    ]
    assert all((folder / "games.csv").is_file() for folder in folders)


def test_output_dir_is_used_once(checkpoint, workdir, capsys):
    flags = ["--agent-path", str(checkpoint), *FEW, *SHORT, "--eval_episodes", "1", "--output-dir"]
    evaluation.main([*flags, "results/first"])
    assert {"games.csv", "summary.json"} <= {path.name for path in (workdir / "results/first").iterdir()}
    assert not (workdir / "eval").exists()
    assert "results/first" in refused(capsys, checkpoint, "--output_dir", "results/first")


@pytest.mark.slow
def test_videos_are_named_after_the_modification(checkpoint):
    flags = ["--modifs", "no_modif, color_all_blocks_red left_drift", "--capture_video", "--eval_episodes", "1"]
    folder = evaluate(checkpoint, *flags, "--frameskip", "16")
    videos = sorted((folder / "videos").iterdir())
    assert [path.name for path in videos] == ["color_all_blocks_red+left_drift.mp4", "no_modif.mp4"]
    for path in videos:
        assert path.read_bytes()[4:8] == b"ftyp"
        assert path.stat().st_size > 1000


# ------------------------------------------------------------------------------------------------- one game as a video


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", mostly_slow([pytest.param((), id="sampled"), pytest.param(("--deterministic",), id="greedy")], 2)
)
def test_play_records_the_whole_first_game_of_an_evaluation(checkpoint, workdir, capsys, mode):
    """As many frames as the game has steps, and the score, that the same game has in an evaluation of one game."""
    flags = ["--modifs", "left_drift  color_all_blocks_red", "--seed", "3", "--frameskip", "8", *mode]
    folder = evaluate(checkpoint, *flags, "--eval_episodes", "1")
    (game,) = read_csv(folder / "games.csv")
    before = sorted(workdir.rglob("*"))
    capsys.readouterr()
    evaluation.main(["--agent_path", str(checkpoint), "--no-cuda", *flags, "--play", "game.mp4"])
    frames = int(game["length"])
    done = f"game.mp4: {frames} frames under left_drift color_all_blocks_red, a whole game, score {game['score'][:-2]}"
    assert capsys.readouterr().out.splitlines()[-1] == done
    assert sorted(workdir.rglob("*")) == sorted([*before, workdir / "game.mp4"])
    video = cv2.VideoCapture("game.mp4")
    size = [video.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
    assert size == [frames, 320, 420]


def test_play_of_an_agent_that_has_all_actions(workdir, capsys):
    """Its strings name the game."""
    flags = ["--agent_path", "random", "--env_id", "ALE/Freeway-v5", "--full_action_space", "--no-cuda"]
    evaluation.main([*flags, "--play", "game.mp4", "--seconds", "0.2"])
    assert "game.mp4: 3 frames under Freeway:, not a whole game" in capsys.readouterr().out


def test_play_of_some_seconds(checkpoint, capsys):
    evaluation.main(["--agent_path", str(checkpoint), "--no-cuda", "--play", "game.mp4", "--seconds", "1.4"])
    assert "game.mp4: 21 frames under no_modif, not a whole game" in capsys.readouterr().out
    assert cv2.VideoCapture("game.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 21


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--play", "a.avi"], ["`play`", ".mp4"]),
        (["--play", "no/a.mp4"], ["`play`", "no folder"]),
        (["--play", "a.mp4", "--modifs", "no_modif, left_drift"], ["`modifs`", "one modification string, got 2"]),
        (["--play", "a.mp4", "--modifs", "left_drifd"], ["left_drift"]),
        (["--play", "a.mp4", "--seconds", "0"], ["`seconds`"]),
        (["--seconds", "3"], ["`seconds`", "--play"]),
        (["--play", "a.mp4", "--capture_video"], ["`--capture_video`", "`play`"]),
        (["--play", "a.mp4", "--output_dir", "out"], ["`--output_dir`", "`play`"]),
    ],
    ids=" ".join,
)
def test_play_refuses_what_it_cannot_do(checkpoint, capsys, flags, words):
    error = refused(capsys, checkpoint, *flags)
    for word in words:
        assert word in error


# -------------------------------------------------------------------------------------------------- original files


def original_checkpoint(folder, **args):
    """A file as the original system writes it: weights and args, names unknown here, no global step."""
    known = {"env_id": "ALE/Breakout-v5", "backend": "HackAtari", "architecture": "PPO", "her": False}
    unknown = {"ckpt": "", "feature_func": "", "logging_level": 40, "cnn": "nature", "encoder_dims": (256, 512)}
    path = folder / "original.cleanrl_model"
    torch.save({"model_weights": random_agent().state_dict(), "args": {**known, **unknown, **args}}, path)
    return path


@pytest.mark.slow
def test_files_of_the_original_system(checkpoint, workdir):
    ours = read_csv(evaluate(checkpoint, "--frameskip", "16", "--game_start", "original") / "games.csv")
    theirs = read_csv(evaluate(original_checkpoint(workdir), "--frameskip", "16") / "games.csv")
    assert {row["global_step"] for row in theirs} == {""}
    keys = ("modification", "game", "score", "length", "lives")
    assert [[row[key] for key in keys] for row in theirs] == [[row[key] for key in keys] for row in ours]


def test_flags_fill_in_what_a_file_does_not_say(workdir, capsys):
    path = make_checkpoint(workdir, without=list(BREAKOUT))
    assert "--env_id" in refused(capsys, path)
    flags = ["--env_id", "ALE/Breakout-v5", "--buffer_window_size", "4", "--obs_mode", "dqn"]
    assert evaluate(path, *flags, *SHORT, "--eval_episodes", "1").is_dir()


# ------------------------------------------------------------------------------------------------- what is refused


CONTRADICTIONS = [
    (["--architecture", "PPO_OBJ"], ["architecture", "PPO_OBJ", "PPO;"]),
    (["--architecture", "PPO_CBP"], ["architecture", "PPO_CBP"]),
    (["--obs_mode", "obj"], ["obs_mode", "obj", "dqn"]),
    (["--buffer_window_size", "2"], ["buffer_window_size", "2", "4"]),
    (["--her"], ["her", "True", "False"]),
    (["--her", "True"], ["her", "True", "False"]),
    (["--game-specific-goals"], ["game_specific_goals", "True", "False"]),
    (["--env_id", "ALE/Freeway-v5"], ["4 actions", "ALE/Freeway-v5", "3"]),
    (["--env_id", "ALE/Brekout-v5"], ["env_id", "ALE/Breakout-v5"]),
    (["--modifs", "color_all_blocks_rad"], ["color_all_blocks_rad", "color_all_blocks_red"]),
    (["--modifs", "no_modif, left_drift, left_drift"], ["modifs", "left_drift", "twice"]),
    (["--modifs", "left_drift, left_drift left_drift"], ["modifs", "left_drift", "twice"]),
    (["--modifs", "no_modif", "left_drift", "left_drift"], ["modifs", "left_drift", "twice"]),
    (["--modifs", '["left_drift", "no_modif, left_drift"]'], ["modifs", "left_drift", "twice"]),
    (["--modifs", "left_drift", "--backend", "Gym"], ["left_drift", "Gym"]),
    (["--eval_episodes", "0"], ["eval_episodes", "0", "1"]),
    (["--num_envs", "0"], ["num_envs", "0", "1"]),
    (["--frameskip", "0"], ["frameskip", "0", "1"]),
    (["--seed", "-1"], ["seed", "-1", "0"]),
    (["--wandb_run_id", "abc"], ["wandb_run_id", "--track"]),
]


@pytest.mark.parametrize(("flags", "words"), CONTRADICTIONS, ids=[" ".join(flags) for flags, _ in CONTRADICTIONS])
def test_flags_that_cannot_work(checkpoint, capsys, flags, words):
    error = refused(capsys, checkpoint, *flags)
    assert all(word in error for word in words), error


STRANGE = [
    ({"architecture": "PPO_XYZ"}, ["PPO_XYZ", "PPO_CBP"]),
    ({"her": True}, ["her", "Breakout", "Freeway"]),
    ({"her": True, "env_id": "ALE/Frostbite-v5"}, ["4 actions", "18"]),
    pytest.param({"obs_mode": "obj"}, ["obs_mode", "PPO"], marks=NEEDS_OCATARI),
    ({"obs_mode": "ori"}, ["obs_mode", "ori"]),
    ({"buffer_window_size": 3}, ["4 input planes", "3"]),
    ({"buffer_window_size": 0}, ["buffer_window_size", "0"]),
    ({"env_id": "ALE/Pong-v5"}, ["4 actions", "6"]),
    ({"env_id": 5}, ["env_id", "5", "str"]),
    ({"frameskip": "4"}, ["frameskip", "'4'", "int"]),
]


@pytest.mark.parametrize(("args", "words"), STRANGE, ids=str)
def test_checkpoints_that_do_not_fit(workdir, capsys, args, words):
    error = refused(capsys, make_checkpoint(workdir, **args))
    assert all(word in error for word in words), error


@NEEDS_OCATARI
def test_object_agents_do_not_play_frames_nor_other_layers(workdir, capsys):
    config, _ = game_config("ALE/Pong-v5", obs_mode="obj")
    envs = ModifiedVectorEnv(config, 1, num_workers=0)
    pong = {"env_id": "ALE/Pong-v5", "obs_mode": "obj", "architecture": "PPO_OBJ"}
    dims = {"encoder_dims": [16, 8], "decoder_dims": [8]}
    agent = make_agent("PPO_OBJ", envs.observation_shape, envs.num_actions, **dims)
    envs.close()
    path = make_checkpoint(workdir, agent, **pong, **dims)
    assert "obs_mode" in refused(capsys, path, "--obs_mode", "dqn")
    assert "architecture" in refused(capsys, path, "--architecture", "PPO")
    assert "Gym" in refused(capsys, path, "--backend", "Gym")
    assert "features" in refused(capsys, path, "--env_id", "ALE/DemonAttack-v5")

    content = torch.load(path, weights_only=True)
    for dims in ([12, 8], 16):
        content["args"]["encoder_dims"] = dims
        torch.save(content, path)
        assert "encoder" in refused(capsys, path)


def test_files_that_are_no_checkpoints(checkpoint, workdir, capsys):
    missing = checkpoint.with_name(f"{checkpoint.stem}l.cleanrl_model")
    assert f"`{missing}` does not exist; did you mean `{checkpoint}`?" in refused(capsys, missing)
    (workdir / "empty").mkdir()
    assert "not the folder of a run" in refused(capsys, workdir / "empty")
    whole = checkpoint.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 30):
        checkpoint.write_bytes(whole[:length])
        assert "cut short" in refused(capsys, checkpoint)
    torch.save({"weights": {}}, checkpoint)
    assert "model_weights" in refused(capsys, checkpoint)


@pytest.mark.parametrize("flags", [[], ["--output_dir", "eval"], ["--output_dir", "eval/deeper"]])
def test_an_output_folder_that_cannot_be_created(checkpoint, workdir, capsys, flags):
    (workdir / "eval").write_text("a file where the folder should be")
    error = refused(capsys, checkpoint, *flags)
    assert "eval" in error
    assert "output_dir" in error


def test_a_failing_start_of_tracking_takes_the_folder_away_again(checkpoint, capsys, monkeypatch):
    def fail(*args):
        raise evaluation.ConfigError("`--track`: W&B could not start")

    monkeypatch.setattr(evaluation, "check_wandb", lambda: None)
    monkeypatch.setattr("continual_hackatari.training.tracking._WandbRun", fail)
    assert "could not start" in refused(capsys, checkpoint, "--track")
    assert "could not start" in refused(capsys, checkpoint, "--track", "--output_dir", "one/two")


# ------------------------------------------------------------------------------------------------ from the shell


@pytest.mark.slow
def test_from_the_shell(checkpoint, workdir):
    result = run_script("--agent_path", checkpoint.name, *FEW, *SHORT, cwd=workdir)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"\d+\.\d\d \+- \d+\.\d\d", result.stdout.splitlines()[-1])
    (folder,) = (workdir / "eval").iterdir()
    assert len(read_csv(folder / "games.csv")) == 2


@pytest.mark.slow
def test_a_refusal_from_the_shell(workdir):
    result = run_script("--agent-path", "nothing", cwd=workdir)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: `nothing` does not exist")


@pytest.mark.slow
def test_weights_and_biases_offline(checkpoint, workdir):
    flags = ["--agent_path", checkpoint.name, *FEW, "--modifs", "left_drift", "--track", "--wandb_run_id", "run17"]
    result = run_script(*flags, "--capture_video", cwd=workdir, WANDB_MODE="offline")
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "warning: W&B" not in result.stderr
    (run,) = workdir.glob("wandb/offline-run-*")
    assert run.name.endswith("-run17")
    content = next(run.glob("*.wandb")).read_bytes()
    assert b"eval/left_drift/mean" in content
    assert b"eval/videos/left_drift" in content


def test_tracking_is_checked_before_anything_is_written(checkpoint, capsys, monkeypatch):
    def fail():
        raise evaluation.ConfigError("`--track` needs a login")

    monkeypatch.setattr(evaluation, "check_wandb", fail)
    assert refused(capsys, checkpoint, "--track") == "error: `--track` needs a login\n"


@pytest.mark.slow
def test_tracking_without_login_leaves_nothing(checkpoint, workdir):
    clean = {"HOME": str(workdir), "WANDB_API_KEY": "", "NETRC": str(workdir / "none"), "WANDB_MODE": "online"}
    # nobody listens there: the answer does not depend on the network
    clean["WANDB_BASE_URL"] = "http://127.0.0.1:9"
    result = run_script("--agent_path", checkpoint.name, *FEW, "--track", cwd=workdir, **clean)
    assert result.returncode == 2
    assert result.stderr.startswith("error: `--track`")
    assert "WANDB_MODE=offline" in result.stderr
    assert not (workdir / "eval").exists()
