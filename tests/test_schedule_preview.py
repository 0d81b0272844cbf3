"""The preview command shows what a run would play, converts files of the original system, and refuses bad files."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE

import modification_factories
from continual_hackatari import continual_training_example as training
from continual_hackatari.names import UNMODIFIED
from continual_hackatari.schedules.arguments import normalise_modification
from continual_hackatari.schedules.base import Schedule
from continual_hackatari.schedules.factories import make_factory, schedule_from_config
from continual_hackatari.schedules.preview import main
from continual_hackatari.training.run_folder import slug
from continual_hackatari.wrappers import modifications
from continual_hackatari.wrappers.errors import ModificationError

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = str(ROOT / "modification_factories.py")
RANDOM = {
    "modification_factory": "RandomModificationFactory",
    "modification_factory_kwargs": {"num_total_steps": 4000, "modifications": ["a", "b c", ""], "num_repetitions": 80},
}


def _write(tmp_path: Path, config: Any) -> str:
    path = tmp_path / "schedule.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return str(path)


def _run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE
    )


def _output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.mark.slow
def test_the_shipped_example_is_previewed_from_the_shell() -> None:
    result = _run("run_config.json")
    assert (result.returncode, result.stderr) == (0, "")
    assert "EpsCombinedModificationFactory, seed 42" in result.stdout
    assert re.search(r"1 +0 \.\. +999 +SequentialModificationFactory", result.stdout)
    assert re.search(r"2 +1,000 \.\. +1,999 +AllCombinationsRandomModificationFactory", result.stdout)
    assert "warning: regimes are short" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 100


@pytest.mark.parametrize("num_envs", [1, 8, 96])
def test_switches_and_shares_are_those_of_the_questions_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], num_envs: int
) -> None:
    out = _output(capsys, _write(tmp_path, RANDOM), "--num-envs", str(num_envs), "--seed", "5")
    factory = schedule_from_config(RANDOM, seed=5)
    asked = [factory.get_modification(step) for step in range(0, 4000, num_envs)]
    switches = sum(left != right for left, right in itertools.pairwise(asked))
    assert re.search(rf"switches +{switches}\b", out)
    for modification, count in Counter(asked).items():
        share = re.escape(f"{count / len(asked):.1%}")
        assert re.search(rf"^  \w  {modification or 'no_modif'} +{share}", out, re.MULTILINE), out


def test_every_prints_the_string_of_each_nth_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = _output(capsys, _write(tmp_path, RANDOM), "--every", "250", "--seed", "3")
    factory = schedule_from_config(RANDOM, seed=3)
    lines = out.split("Every 250 steps\n")[1].splitlines()
    expected = [(step, factory.get_modification(step) or "no_modif") for step in range(0, 4000, 250)]
    assert [(int(line[:14].replace(",", "")), line[14:].strip()) for line in lines[:16]] == expected


def test_the_strip_and_the_list_of_regimes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {
        "modification_factory": "SequentialModificationFactory",
        "modification_factory_kwargs": {
            "num_total_steps": 7200,
            "modifications": ["x", "y"],
            "switching_thresholds": [1800],
        },
        "num_envs": 2,
    }
    out = _output(capsys, _write(tmp_path, config))
    assert f"|{'a' * 18}{'b' * 54}|" in out
    assert re.search(r"^ +0  x\n +1,800  y$", out, re.MULTILINE)
    assert "warning" not in out


def test_the_file_wins_over_the_command_line_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _write(tmp_path, {**RANDOM, "seed": 7, "num_envs": 4, "total_timesteps": 2000, "learning_rate": 1})
    out = _output(capsys, path, "--seed", "3", "--num_envs", "4")
    assert "warning: schedule.json overrides --seed: 3 -> 7\n" in out
    assert "overrides --num_envs" not in out
    assert "seed 7" in out
    assert "Run of 2,000 steps (of 4,000 in the schedule): 4 games" in out


def test_without_a_factory_the_preview_shows_modifs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = _output(capsys, _write(tmp_path, {"modifs": "p  q", "total_timesteps": 500}))
    assert re.search(r"a  p q +100\.0%", out)
    assert re.search(r"switches +0\n", out)


def test_a_long_schedule_is_sampled_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kwargs = {"num_total_steps": 50_000_000, "modifications": [f"m{i}" for i in range(80)]}
    config = {"modification_factory": "RandomModificationFactory", "modification_factory_kwargs": kwargs}
    out = _output(capsys, _write(tmp_path, config))
    assert "estimated from samples" in out
    assert "28 further modifications" in out
    assert re.search(r"switches +about 6,\d\d\d,\d\d\d", out)  # 50M / 8 questions, 79 of 80 of them switch


def test_shares_with_and_without_a_letter_are_together_the_whole_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kwargs = {"modifications": [f"m{i}" for i in range(100)], "steps": 8, "num_cycles": 1}
    config = {"modification_factory": "CyclicModificationFactory", "modification_factory_kwargs": kwargs}
    out = _output(capsys, _write(tmp_path, config))
    assert re.findall(r"^  [\w*]  .* (\d+\.\d)%", out, re.MULTILINE) == ["1.0"] * 52 + ["48.0"]


def test_a_rollout_that_the_run_does_not_fill_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _write(tmp_path, {"total_timesteps": 1025})
    assert "2 rollouts of 1,024\n" in _output(capsys, path, "--num_envs", "8", "--num_steps", "128")


def test_switch_mode_episode_needs_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "warning" in _output(capsys, _write(tmp_path, RANDOM))
    assert "warning" not in _output(capsys, _write(tmp_path, {**RANDOM, "switch_mode": "episode"}))


@pytest.mark.slow
def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} {SCRIPT} run_config.json --every 1 | head -n 1"
    result = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert result.stderr == ""


@pytest.mark.slow
def test_custom_classes_that_import_this_module_work_from_the_shell(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from modification_factories import ModificationFactory, ScheduleError\n"
        "class Mine(ModificationFactory):\n"
        "    def get_modification(self, step):\n"
        "        if step == 50:\n"
        "            raise ScheduleError('step 50 is not planned.')\n"
        "        return 'x' if step < 20 else 'y'\n"
    )
    command = [sys.executable, "-m", "modification_factories", "c.json"]
    (tmp_path / "c.json").write_text('{"modification_factory": "mine:Mine", "total_timesteps": 40, "num_envs": 1}')
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    good = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "Mine, seed 42" in good.stdout, good.stderr
    (tmp_path / "c.json").write_text('{"modification_factory": "mine:Mine", "total_timesteps": 60}')
    bad = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (bad.returncode, bad.stderr) == (2, "error: step 50 is not planned.\n")


# ------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "not valid JSON"),
        ("[1, 2]", "must hold one JSON object"),
        ('{"modification_factory": "Nope", "modification_factory_kwargs": {}}', "'Nope' is unknown"),
        ('{"a": {"SequentialModificationFactory": 1, "SequentialModificationFactory": 2}}', "appears twice"),
        ({**RANDOM, "seed": "x"}, "`seed` must be an integer of at least 0, got 'x'"),
        ({**RANDOM, "num_envs": 0}, "`num_envs` must be an integer of at least 1, got 0"),
        ({**RANDOM, "total_timesteps": 5000}, "`total_timesteps` must be at most 4000"),
        ({"modifs": 3, "total_timesteps": 10}, "a modification must be a string"),
        ({}, "`total_timesteps`"),
    ],
)
def test_a_bad_file_is_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, expected: str
) -> None:
    assert main([_write(tmp_path, content)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert expected in captured.err


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for path, reason in (("missing.json", "No such file"), (".", "directory"), ("binary.json", "UTF-8")):
        result = _run(path, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
        assert re.fullmatch(rf"error: `config` names {re.escape(path)}, which .*{reason}.*\n", result.stderr)


@pytest.mark.parametrize("option", ["--every=0", "--seed=-1", "--num_envs=0", "--num-steps=0", "--sed=1", "--every=x"])
def test_bad_options_exit_with_2(option: str) -> None:
    result = _run("run_config.json", option)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    if "sed" in option:
        assert result.stderr.endswith("; --help lists the options. Did you mean `--seed`?\n")


# ------------------------------------------------------------------------------------------- files of the original
def test_the_converter_counts_rollouts_in_steps(tmp_path: Path) -> None:
    original = {
        "modification_factory": "EpsCombinedModificationFactory",
        "modification_factory_kwargs": {
            "modification_factory_kwargs": {
                "SequentialModificationFactory": {
                    "num_total_steps": 9000,
                    "modifications": ["a", "b"],
                    "switching_thresholds": [4000],
                },
                "RandomModificationFactory": {"num_total_steps": 9000, "modifications": ["c", "d"]},
                "AllCombinationsRandomModificationFactory": {
                    "num_total_steps": 90000,
                    "modifications": [["e", "f"]],
                    "num_repetitions": 20,
                },
            },
            "epsilon": 0.005,
        },
        "env_id": "ALE/Freeway-v5",
    }
    expected = json.loads(json.dumps(original))
    outer = expected["modification_factory_kwargs"]
    outer["num_repetitions"] = 256
    outer["modification_factory_kwargs"]["RandomModificationFactory"]["num_repetitions"] = 256
    outer["modification_factory_kwargs"]["AllCombinationsRandomModificationFactory"]["num_repetitions"] = 20 * 256
    path = _write(tmp_path, original)
    for spelling in ("--from_original", "--from-original"):
        result = _run(path, spelling, "--num_envs", "2", "--num_steps", "128")
        assert result.returncode == 0
        assert json.loads(result.stdout) == expected
        assert "2 x num_steps 128 = 256 steps" in result.stderr


def test_a_converted_hold_lasts_as_many_rollouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kwargs = {"num_total_steps": 12_800, "modifications": [f"m{i}" for i in range(1000)], "num_repetitions": 5}
    original = {"modification_factory": "RandomModificationFactory", "modification_factory_kwargs": kwargs}
    assert main([_write(tmp_path, original), "--from_original"]) == 0  # the original's defaults: 1 game, 128 steps
    factory = schedule_from_config(json.loads(capsys.readouterr().out), seed=1)
    borders = [start for start, _, _ in factory.segments()]
    assert borders == list(range(0, 12_800, 5 * 128))


def test_the_converter_takes_the_file_s_own_games_and_copies_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([_write(tmp_path, {**RANDOM, "num_envs": 3, "gamma": 0.9}), "--from_original", "--num_envs=2"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["modification_factory_kwargs"]["num_repetitions"] == 80 * 3 * 128
    assert json.loads(captured.out)["gamma"] == 0.9
    assert "warning: schedule.json overrides --num_envs: 2 -> 3" in captured.err


@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        ({"env_id": "x"}, [], "no `modification_factory` to convert"),
        (RANDOM, ["--every", "5"], "give one of them"),
        (
            {
                "modification_factory": "EpsCombinedModificationFactory",
                "modification_factory_kwargs": {
                    "modification_factory_kwargs": {"NoModificationFactory": {"num_total_steps": 5}},
                    "num_repetitions": 128,
                },
            },
            [],
            "converted already?",
        ),
        ({"modification_factory": "RandomModificationFactory", "modification_factory_kwargs": 3}, [], "got 3"),
        (
            {
                "modification_factory": "RandomModificationFactory",
                "modification_factory_kwargs": {**RANDOM["modification_factory_kwargs"], "num_repetitions": 0},  # type: ignore[dict-item]
            },
            [],
            "`num_repetitions`",
        ),
    ],
)
def test_what_cannot_be_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: Any, options: list[str], expected: str
) -> None:
    assert main([_write(tmp_path, config), "--from_original", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert expected in captured.err


FREEWAY = {
    "env_id": "ALE/Freeway-v5",
    "modification_factory": "AllCombinationsRandomModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 6000,
        "modifications": [["no_modif", "all_pink_cars"], ["disable_all_cars", "stop_top_2"]],
        "num_repetitions": 3000,
    },
}
WRONG_NAME = {**FREEWAY["modification_factory_kwargs"], "modifications": [["", "all_pink_cars"], ["stop_top_22"]]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"switch_mod": "live"}, ["`switch_mod` in schedule.json", "nearest is `switch_mode`"]),
        ({"eval_games": "1"}, ["`eval_games` in schedule.json must be a whole number"]),
        ({"frameskip": 0}, ["`frameskip` is 0"]),
        ({"env_id": "ALE/Freway-v5"}, ["`env_id`", "Freeway"]),
        (
            {"modification_factory_kwargs": WRONG_NAME},
            ["`modification_factory_kwargs.modifications[1][0]` 'stop_top_22'", "did you mean stop_top_2"],
        ),
        ({"test_modifs": "all_pink_car"}, ["`test_modifs` 'all_pink_car'"]),
        ({"eval_modifs": ["all_pink_car"]}, ["`eval_modifs` 'all_pink_car'"]),
        ({"held_out_modifs": ["all_pink_car"]}, ["`held_out_modifs` 'all_pink_car'"]),
        ({"backend": "OCAtari"}, ["`modification_factory_kwargs.modifications[1][0]`", "--backend HackAtari"]),
    ],
)
def test_keys_and_names_are_checked_as_in_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: list[str]
) -> None:
    path = _write(tmp_path, {**FREEWAY, **changes})
    assert modification_factories.main([path]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    with pytest.raises(SystemExit):
        training.main(["--config", path])
    assert capsys.readouterr().err.rstrip(".\n") == captured.err.rstrip(".\n"), "the same sentence"
    assert all(word in captured.err for word in words), captured.err


@pytest.mark.parametrize(
    ("mode", "words"),
    [("reset", "games are cut by a switch"), ("live", "played under several strings"), ("episode", "")],
)
def test_short_regimes_are_told_of_as_the_mode_of_the_file_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str, words: str
) -> None:
    out = " ".join(_output(capsys, _write(tmp_path, {**RANDOM, "switch_mode": mode})).split())
    assert ("warning: regimes are short" in out) == bool(words)
    assert words in out


LEFT_OPEN = {
    "modification_factory": "RandomModificationFactory",
    "modification_factory_kwargs": {"modifications": ["all_black_cars", "Pong:"], "num_repetitions": 512},
}
FLAGS = ["--env_id", "ALE/Freeway-v5", "--total_timesteps", "4e3", "--full_action_space"]


def test_what_training_takes_from_the_command_line_the_preview_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _write(tmp_path, LEFT_OPEN)
    setup = training.prepare(["--config", path, *FLAGS, "--num_envs", "2", "--no-cuda"])
    capsys.readouterr()
    assert modification_factories.main([path, *FLAGS, "--num_envs", "2", "--every", "512"]) == 0
    out = capsys.readouterr().out
    assert "Run of 4,000 steps: 2 games" in out
    lines = out.split("Every 512 steps\n")[1].splitlines()[:8]
    assert [line[14:].strip() for line in lines] == [setup.modification_at(step) for step in range(0, 4000, 512)]


@pytest.mark.parametrize(
    ("left_out", "words"),
    [(0, "'all_black_cars': Pong has no"), (2, "`num_total_steps` is missing"), (4, "add `--full_action_space`")],
)
def test_without_them_it_refuses_as_training_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left_out: int, words: str
) -> None:
    flags = FLAGS[:left_out] + FLAGS[left_out + 2 :]
    path = _write(tmp_path, LEFT_OPEN)
    assert modification_factories.main([path, *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    with pytest.raises(SystemExit):
        training.main(["--config", path, *flags])
    assert capsys.readouterr().err.rstrip(".\n") == error.rstrip(".\n")


def test_of_the_game_too_the_file_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _write(tmp_path, {**FREEWAY, "total_timesteps": None, "full_action_space": False})
    flags = ["--env_id", "ALE/Pong-v5", "--total_timesteps", "3e3", "--full_action_space"]
    assert modification_factories.main([path, *flags]) == 0
    out = capsys.readouterr().out
    for line in (
        "env_id: ALE/Pong-v5 -> ALE/Freeway-v5",
        "total_timesteps: 3000 -> None",
        "full_action_space: True -> False",
    ):
        assert f"warning: schedule.json overrides --{line}\n" in out
    assert "Run of 6,000 steps" in out


@pytest.mark.parametrize("steps", ["0", "2.5", "inf", "nan", "many"])
def test_a_number_of_steps_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: str) -> None:
    assert modification_factories.main([_write(tmp_path, LEFT_OPEN), "--total_timesteps", steps]) == 2
    error = capsys.readouterr().err
    assert "total_timesteps" in error
    assert error.count("\n") == 1


def test_what_training_says_of_names_the_preview_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {**FREEWAY, "replay_size": 500, "methods": ["shrink_perturb"], "shrink_perturb": {"factor": 0.5}}
    assert modification_factories.main([_write(tmp_path, config), "--every", "3000"]) == 0
    out = capsys.readouterr().out
    assert "not checked here, as only the training script knows them: replay_size\n" in out
    assert "`disable_all_cars` is played as `disable_cars`" in out
    assert re.search(r"^  a  \S", out, re.M)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"methods": ["ewcc"]}, "`methods` names `ewcc`, which is none; the nearest is `ewc`."),
        ({"methods": ["ewc"], "boundary": "none"}, "`methods`: ewc needs to know where a task ends, and with"),
        ({"boundary": "evry:100"}, "such as every:20000; the nearest is `every:20000`."),
        ({"ewc": {"strength": -3}}, "`ewc.strength` is -3.0, but it must be at least 0"),
    ],
)
def test_what_no_script_would_do_with_methods_the_preview_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], fault: str
) -> None:
    assert modification_factories.main([_write(tmp_path, {**FREEWAY, **settings})]) == 2
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings",
    [
        {"methods": ["redo"], "boundary": "none"},
        {"methods": ["ewc"], "boundary": "every:20000"},
        {"ewc": {"strength": 3}, "online_ewc": {"strength": 3}},  # of which a run switches one on, by a flag
        {"methods": ["redo"], "ewc": {"strength": 3}},
    ],
)
def test_what_a_script_does_with_methods_the_preview_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any]
) -> None:
    assert modification_factories.main([_write(tmp_path, {**FREEWAY, **settings})]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "flags", "games", "rollout"),
    [
        ({}, [], 8, 1024),
        ({"clip_coef": 0.1}, [], 8, 1024),
        ({"plasticity_every": 5}, [], 8, 1024),  # PPO and CLEAR have it
        ({"replay_ratio": 1.0}, [], 16, 320),
        ({"replay_ratio": 1.0, "num_envs": 4}, [], 4, 80),
        ({"replay_ratio": 1.0}, ["--num_steps", "40"], 16, 640),
        ({"replay_ratio": 1.0, "setting_of_nobody": 1}, [], 8, 1024),
    ],
)
def test_games_and_rollouts_are_those_of_the_script_whose_settings_the_file_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, Any], flags: list[str], games: int, rollout: int
) -> None:
    assert modification_factories.main([_write(tmp_path, {**FREEWAY, **more}), *flags]) == 0
    assert re.search(
        rf"^Run of 6,000 steps.*: {games} games, .* rollouts of {rollout:,}$", capsys.readouterr().out, re.M
    )


def test_the_unmodified_game_has_one_name_wherever_a_string_is() -> None:
    assert normalise_modification(" no_modif ") == ""
    assert schedule_from(["no_modif", "a"]).possible_modifications() == ["", "a"]
    assert slug("") == UNMODIFIED
    assert modifications.split_modifications(" no_modif") == ()
    with pytest.raises(ModificationError, match="`modifs` 'no_modif' is the unmodified game"):
        modifications.check_modifications("Freeway", "all_pink_cars no_modif")


def schedule_from(modifications: list[str]) -> Schedule:
    kwargs = {"num_total_steps": 10, "modifications": modifications}
    return make_factory("RandomModificationFactory", kwargs, seed=1)
