"""Command line, JSON file and range checks, against what a user would see."""

import dataclasses
import json
import re
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st

from continual_hackatari.continual_training_example import Args as TrainingArgs
from continual_hackatari.training.command_line import given_flags, parse_command_line
from continual_hackatari.training.config import (
    ConfigError,
    Range,
    apply_config_file,
    as_plain_dict,
    check_ranges,
    from_plain_dict,
)

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class Args:
    config: str = ""
    """path of a JSON file"""
    env_id: str = "ALE/Pong-v5"
    """game"""
    backend: Literal["HackAtari", "OCAtari", "Gym"] = "HackAtari"
    """emulator wrapper"""
    track: bool = False
    """track with W&B"""
    anneal_lr: bool = True
    """anneal the learning rate"""
    num_envs: int = 8
    """number of games"""
    learning_rate: float = 2.5e-4
    """step size of Adam"""
    target_kl: float | None = None
    """early stop"""
    encoder_dims: tuple[int, ...] = (256, 512)
    """layer sizes"""
    pair: tuple[int, float] = (1, 0.5)
    """one whole number, one number"""
    eval_modifs: list[str] = field(default_factory=list)
    """modification strings"""
    modification_factory: tyro.conf.Suppress[str] = ""
    modification_factory_kwargs: Annotated[dict[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    notes: Annotated[str, tyro.conf.Suppress] = ""


FIELDS = [entry.name for entry in dataclasses.fields(Args)]


@pytest.fixture
def config_file(tmp_path):
    def write(content: str | bytes | dict) -> Path:
        path = tmp_path / "run_config.json"
        if isinstance(content, dict):
            content = json.dumps(content)
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
        return path

    return write


def error_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        apply_config_file(Args(), path)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


# ---------------------------------------------------------------------------------------------------- command line


def test_what_is_gone_is_refused_with_what_to_do_instead(config_file):
    gone = {"old_name": "write `num_envs` instead"}
    with pytest.raises(ConfigError) as caught:
        apply_config_file(Args(), config_file({"num_envs": 3, "old_name": 1}), gone=gone)
    assert str(caught.value) == "`old_name` in run_config.json is no argument any more: write `num_envs` instead."
    for word in ("--old_name", "--old-name=1"):
        with pytest.raises(ConfigError) as caught:
            parse_command_line(Args, [word, "1"], gone=gone)
        assert str(caught.value) == "`--old_name` is no argument any more: write `num_envs` instead."


@pytest.mark.parametrize(
    ("argv", "name", "expected"),
    [
        (["--env_id", "ALE/Freeway-v5"], "env_id", "ALE/Freeway-v5"),
        (["--env-id", "ALE/Freeway-v5"], "env_id", "ALE/Freeway-v5"),
        (["--env_id=ALE/Freeway-v5"], "env_id", "ALE/Freeway-v5"),
        (["--env_id=a=b"], "env_id", "a=b"),
        (["--env_id=[1, 2]"], "env_id", "[1, 2]"),
        (["--track"], "track", True),
        (["--no-track"], "track", False),
        (["--no_anneal_lr"], "anneal_lr", False),
        (["--target_kl=None"], "target_kl", None),
        (["--target_kl", "0.02"], "target_kl", 0.02),
        (["--backend", "Gym"], "backend", "Gym"),
        (["--encoder_dims", "32", "64"], "encoder_dims", (32, 64)),
        (["--encoder_dims=[32, 64]"], "encoder_dims", (32, 64)),
        (["--encoder-dims=[32]", "--track"], "encoder_dims", (32,)),
        (["--encoder_dims=32"], "encoder_dims", (32,)),
        (["--eval_modifs=['a b', '']"], "eval_modifs", ["a b", ""]),
        (["--learning_rate=1e-3"], "learning_rate", 1e-3),
    ],
)
def test_command_line_values(argv, name, expected):
    args = parse_command_line(Args, argv)
    assert getattr(args, name) == expected
    # nothing else was touched, but for --track in the case that adds it
    changed = {key for key in FIELDS if getattr(args, key) != getattr(Args(), key)}
    assert changed <= {name, "track"}


@dataclass
class WithPlaces(Args):
    runs: tyro.conf.Positional[list[str]] = field(default_factory=list)
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "x"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--env_idd", "X"], "`--env_idd` is no flag here; the nearest is `--env_id`."),
        (["-env_id", "X"], "`-env_id` is no flag here; the nearest is `--env_id`."),
        (["--no-trak"], "`--no_trak` is no flag here; the nearest is `--no_track`."),
        (["--qqq"], "`--qqq` is no flag here; --help lists all."),
        (["--notes", "x"], "`--notes` is no flag, but a key of the JSON file that `--config` names."),
        (["num_envs", "3"], "`num_envs` belongs to no flag; the nearest is `--num_envs`."),
        (["--num_envs", "3", "4"], "`4` belongs to no flag; flags begin with --, and --help lists them."),
        (["--num_envs", "eight"], "`--num_envs` is `eight`, but it must be a whole number."),
        (["--num_envs=1.5"], "`--num_envs` is `1.5`, but it must be a whole number."),
        (["--num_envs", "None"], "`--num_envs` is `None`, but it must be a whole number."),
        (["--target_kl", "x"], "`--target_kl` is `x`, but it must be a number."),
        (["--num_envs", "--track"], "`--num_envs` is given without its value, a whole number."),
        (["--backend", "Gim"], 'must be one of "HackAtari", "OCAtari", "Gym"; the nearest is `Gym`.'),
        (["--encoder_dims=[1, "], "`--encoder_dims` has `[1, `, but each of its values must be a whole number."),
        (["--encoder_dims=['a']"], "`--encoder_dims` has `a`, but each of its values must be a whole number."),
        (["--encoder_dims", "1,2"], "write spaces between them, `--encoder_dims 1 2`."),
        (["--track=False"], "`--track` takes no value, but is given False; write `--no_track`."),
        (["--no_track", "true"], "`--no_track` takes no value, but is given true; write `--no_track`."),
        (["--no_track=False"], "`--no_track` takes no value, but is given False; write `--track`."),
        (["--track=1"], "`--track` takes no value, but is given 1; write `--track` or `--no_track`."),
        (["--env_id", "-x"], "without its value, a string; one that begins with - follows a =, as in `--env_id=-x`."),
    ],
)
def test_a_wrong_command_line_is_one_sentence(argv, words):
    with pytest.raises(ConfigError) as caught:
        parse_command_line(Args, argv)
    assert str(caught.value).endswith(words)


def test_words_without_a_flag_stand_in_one_row():
    args = parse_command_line(WithPlaces, ["-o", "y", "a", "b", "--track"])
    assert (args.runs, args.output, args.track) == (["a", "b"], "y", True)
    args = parse_command_line(WithPlaces, ["-oy", "--track", "--", "a", "b"])
    assert (args.runs, args.output, args.track) == (["a", "b"], "y", True)
    args = parse_command_line(WithPlaces, ["--track", "a", "b"])
    assert (args.runs, args.track) == (["a", "b"], True)
    for words, fault in (
        (["a", "-o", "y", "b"], "`b` belongs to no flag; give all of `runs` in one row."),
        (["--track", "true"], "`--track` takes no value, but is given true; write `--track`."),
        (["a", "-o"], "`-o` is given without its value, a string; one that begins with - follows a =, as in `-o=-x`."),
    ):
        with pytest.raises(ConfigError, match=rf"^{re.escape(fault)}$"):
            parse_command_line(WithPlaces, words)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["0.9"], "`--adam_betas` takes 2 values, as in `--adam_betas 0.9 0.999`, but is given 1."),
        (["0.9", "0.99", "0.999"], "`--adam_betas` takes 2 values, as in `--adam_betas 0.9 0.999`, but is given 3."),
        (["0.9", "0.99", "--methods", "ewc", "--ewc.samples", "5", "strength"],
         "`strength` belongs to no flag; the nearest is `--ewc.strength`."),
        (["0.9", "0.99", "--max_pool=true"], "`--max_pool` takes no value, but is given true; write `--max_pool`."),
        (["0.9", "0.99", "--no_max_pool=True"], "`--no_max_pool` takes no value, but is given True; write "
         "`--no_max_pool`."),
        (["0.9,0.99"], "`--adam_betas` takes 2 values, as in `--adam_betas 0.9 0.999`, but is given 1; write spaces "
         "between them, `--adam_betas 0.9 0.99`."),
        (["0.9", "0.99", "--methods", "ewc", "--ewc.no_normalize"],
         "`ewc.no_normalize` is not a setting of ewc; the nearest is `ewc.normalise`."),
        (["0.9", "x"], "`--adam_betas` has `x`, which must be a number."),
        (["0.9", "0.99", "--adam_betas", "0.8", "0.9"], "`--adam_betas` is given twice; give it once."),
        (["0.9", "0.99", "--methods", "ewc", "--no_ewc.strength"],
         "`--no_ewc.strength` is no flag here; the nearest is `--ewc.strength`."),
        (["0.9", "0.99", "--methods", "continual_backprop", "--continual_backprop.accumulate", "on"],
         "`--continual_backprop.accumulate` takes no value, but is given on; write `--continual_backprop.accumulate` "
         "or `--no_continual_backprop.accumulate`."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_flags_of_the_training_script_is_one_sentence(argv, sentence):
    with pytest.raises(ConfigError) as caught:
        parse_command_line(TrainingArgs, ["--adam_betas", *argv])
    assert str(caught.value) == sentence


def test_a_list_twice_is_refused_with_how_to_give_all_of_it():
    """The last would count alone. Of a single value the last counts, as everywhere."""
    with pytest.raises(ConfigError) as caught:
        parse_command_line(Args, ["--eval_modifs", "a b", "--track", "--eval-modifs=c", "d"])
    assert str(caught.value) == (
        "`--eval_modifs` is given twice; give it once, with all its values: `--eval_modifs 'a b' c d`."
    )
    assert parse_command_line(Args, ["--num_envs", "3", "--num_envs", "4"]).num_envs == 4


def test_the_sentence_on_an_unknown_flag_may_say_where_it_belongs():
    with pytest.raises(ConfigError) as caught:
        parse_command_line(Args, ["--qqq"], elsewhere="; it is one of another program")
    assert str(caught.value) == "`--qqq` is no flag here; it is one of another program."
    with pytest.raises(ConfigError) as caught:
        parse_command_line(Args, ["--num_env", "3"], elsewhere="; it is one of another program")
    both = "; the nearest is `--num_envs`; it is one of another program."
    assert str(caught.value) == f"`--num_env` is no flag here{both}"


def test_values_that_look_like_flags_or_span_lines_are_values():
    assert parse_command_line(Args, ["--learning_rate", "-.5"]).learning_rate == -0.5
    assert parse_command_line(Args, ["--env_id", "a\n\tb"]).env_id == "a\n\tb"


def test_each_value_of_a_list_of_a_fixed_length_has_its_own_type():
    assert parse_command_line(Args, ["--pair", "3", "0.25"]).pair == (3, 0.25)
    for words, fault in (
        (["3"], "takes 2 values"),
        (["0.5", "0.25"], "has `0.5`, which must be a whole number"),
    ):
        with pytest.raises(ConfigError, match=f"`--pair` {fault}"):
            parse_command_line(Args, ["--pair", *words])


def test_help_shows_the_field_docstrings_and_hides_suppressed_fields(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_command_line(Args, ["--help"], description="Train an agent.")
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "Train an agent." in printed
    assert "step size of Adam" in printed
    assert "--learning_rate" in printed
    assert "modification_factory" not in printed


def test_script_uses_its_own_command_line_and_prints_one_line_errors(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            sys.path.insert(0, {str(REPOSITORY)!r})
            from dataclasses import dataclass
            from continual_hackatari.training.command_line import parse_command_line
            from continual_hackatari.training.config import ConfigError, apply_config_file

            @dataclass
            class Args:
                config: str = ""
                num_envs: int = 8

            try:
                args = parse_command_line(Args)
                args, lines = apply_config_file(args, args.config)
            except ConfigError as error:
                print(f"error: {{error}}", file=sys.stderr)
                sys.exit(2)
            print(*lines, args.num_envs, sep="|")
            """
        )
    )
    (tmp_path / "good.json").write_text('{"num_envs": 4}')
    (tmp_path / "bad.json").write_text('{"num_env": 4}')

    def run(*argv: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, script, *argv], cwd=tmp_path, capture_output=True, text=True)

    good = run("--config=good.json", "--num-envs", "16")
    assert (good.returncode, good.stdout) == (0, "good.json overrides --num_envs: 16 -> 4|4\n")
    bad = run("--config", "bad.json")
    assert bad.returncode == 2
    assert bad.stderr == "error: `num_env` in bad.json is not a known argument; the nearest is `num_envs`.\n"
    wrong = run("--num_envs", "x")
    assert (wrong.returncode, wrong.stderr) == (2, "error: `--num_envs` is `x`, but it must be a whole number.\n")


# ------------------------------------------------------------------------------------------------------- JSON file


def test_json_wins_over_the_command_line_and_says_so(config_file):
    path = config_file(
        {"env_id": "ALE/Freeway-v5", "num_envs": 4, "track": True, "backend": "HackAtari", "notes": "a b"}
    )
    before = parse_command_line(Args, ["--num_envs", "16"])
    args, lines = apply_config_file(before, path)
    assert (args.env_id, args.num_envs, args.track) == ("ALE/Freeway-v5", 4, True)
    assert lines == [
        "run_config.json overrides --env_id: ALE/Pong-v5 -> ALE/Freeway-v5",
        "run_config.json overrides --num_envs: 16 -> 4",
        "run_config.json overrides --track: false -> true",
    ], "the notes change nothing"
    assert args.notes == "a b"
    assert before.num_envs == 16, "the original must stay as it was"


def test_a_given_flag_that_the_file_overrides_is_a_warning(config_file):
    path = config_file({"env_id": "ALE/Freeway-v5", "num_envs": 4, "track": True, "learning_rate": 1e-3})
    argv = ["--num-envs=8", "--no-track", "--learning_rate", "1e-3", "--backend", "Gym"]
    given = given_flags(Args, argv)
    assert given == {"num_envs", "track", "learning_rate", "backend"}
    assert given_flags(Args, ["--no_ewc.normalise", "--ewc.strength=3"]) == {"ewc.normalise", "ewc.strength"}
    _, lines = apply_config_file(parse_command_line(Args, argv), path, given)
    assert lines == [
        "run_config.json overrides --env_id: ALE/Pong-v5 -> ALE/Freeway-v5",
        "warning: run_config.json overrides --num_envs: 8 -> 4",
        "warning: run_config.json overrides --track: false -> true",
    ], "the learning rate is what was given, though not the default"


def test_whole_numbers_may_be_written_as_json_writes_large_ones(config_file):
    args, _ = apply_config_file(Args(), config_file('{"num_envs": 1e6}'))
    assert (args.num_envs, type(args.num_envs)) == (1_000_000, int)


def test_values_arrive_with_the_types_of_the_fields(config_file):
    path = config_file(
        {
            "learning_rate": 1,
            "target_kl": 1,
            "encoder_dims": [8],
            "pair": [3, 4],
            "eval_modifs": ["", "x"],
            "modification_factory": "NoModificationFactory",
            "modification_factory_kwargs": {"num_total_steps": 5},
        }
    )
    args, lines = apply_config_file(Args(), path)
    assert args.learning_rate == 1.0
    assert isinstance(args.learning_rate, float)
    assert isinstance(args.target_kl, float)
    assert args.encoder_dims == (8,)
    assert (args.pair, type(args.pair[1])) == ((3, 4.0), float)
    assert args.eval_modifs == ["", "x"]
    assert args.modification_factory_kwargs == {"num_total_steps": 5}
    assert len(lines) == 7
    back, _ = apply_config_file(dataclasses.replace(args, target_kl=0.5), config_file({"target_kl": None}))
    assert back.target_kl is None


def test_a_line_break_in_a_value_does_not_break_the_override_line(config_file):
    _, lines = apply_config_file(Args(), config_file({"env_id": "a\nb"}))
    assert lines == ['run_config.json overrides --env_id: ALE/Pong-v5 -> "a\\nb"']


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"num_env": 1}, ["`num_env`", "`num_envs`"]),
        ({"env-id": "x"}, ["`env-id`", "`env_id`"]),
        ({"Track": True}, ["`Track`", "`track`"]),
        ({"zzzzzzzz": 1}, ["`zzzzzzzz`", "--help"]),
        ({"__class__": 1}, ["`__class__`"]),
        ({"config": "x.json"}, ["`config`", "remove"]),
        ({"num_envs": "8"}, ["`num_envs`", '"8" (a string)', "a whole number"]),
        ({"num_envs": True}, ["`num_envs`", "true (a boolean)", "a whole number"]),
        ({"num_envs": 1.5}, ["`num_envs`", "1.5 (a number)", "a whole number"]),
        ({"num_envs": 1.5}, ["`num_envs`", "1.5 (a number)"]),
        ({"num_envs": None}, ["`num_envs`", "it is null."]),
        ({"track": 1}, ["`track`", "true or false", "1 (a whole number)"]),
        ({"learning_rate": False}, ["`learning_rate`", "a number", "false (a boolean)"]),
        ({"target_kl": "none"}, ["`target_kl`", "a number or null", '"none"']),
        ({"backend": "gym"}, ["`backend`", '"HackAtari", "OCAtari", "Gym"', '"gym"', "nearest is `Gym`"]),
        ({"backend": 3}, ["`backend`", '"OCAtari"', "3 (a whole number)"]),
        ({"encoder_dims": 3}, ["`encoder_dims`", "a list, each item a whole number"]),
        ({"encoder_dims": [1, "2"]}, ["`encoder_dims`", '[1, "2"]']),
        ({"encoder_dims": [True]}, ["`encoder_dims`", "[true]"]),
        ({"pair": [1]}, ["`pair`", "a list of 2"]),
        ({"modification_factory_kwargs": []}, ["`modification_factory_kwargs`", "an object", "[] (a list)"]),
        ({"notes": {}}, ["`notes`", "a string"]),
    ],
)
def test_wrong_keys_and_types_are_refused_by_name(config_file, content, words):
    sentence = error_of(config_file(content))
    for word in [*words, "run_config.json"]:
        assert word in sentence


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["line 1, column 1"]),
        ('{"num_envs": 1,\n "track": tru}', ["line 2, column 11"]),
        ("[1]", ["one JSON object", "a list"]),
        ('"x"', ["a string"]),
        ("null", ["null"]),
        ('{"num_envs": 1, "num_envs": 2}', ["`num_envs`", "twice"]),
        ('{"modification_factory_kwargs": {"A": {}, "A": {}}}', ["`A`", "twice"]),
        ('{"learning_rate": NaN}', ["NaN"]),
        ('{"modification_factory_kwargs": {"epsilon": -Infinity}}', ["-Infinity"]),
        ('{"learning_rate": 1e999}', ["1e999", "too large"]),
        ('{"num_envs": 1' + "0" * 5000 + "}", ["too large"]),
        ('{"notes": "\\ud800"}', ["surrogate"]),
        ("[" * 100_000, ["nested"]),
        (b'{"notes": "\xff"}', ["UTF-8"]),
    ],
)
def test_broken_files_are_one_sentence(config_file, content, words):
    sentence = error_of(config_file(content))
    assert len(sentence) < 400
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ("content", "place", "remedy"),
    [
        (" \n", "line 1, column 1", "the file is empty; {} is an object without keys"),
        ('{\n "seed": 3,\n}', "line 2, column 11", "no comma may stand before }; leave it out"),
        ('{"a": [1, 2, ]}', "line 1, column 12", "no comma may stand before ]; leave it out"),
        ('{"seed": 3\n "b": 4}', "line 2, column 2", "a comma is missing before this"),
        ('{"a": [1 2]}', "line 1, column 10", "a comma is missing before this"),
        ('{"a": [1, 2}', "line 1, column 12", "a closing bracket is missing before }"),
        ('{"a": [1,\n "b": 3}', "line 2, column 5", "a closing bracket is missing before :"),
        ('{"a": 5.}', "line 1, column 8", "this is no number of JSON, where 5.0, 10 and 1e-4 are"),
        ('{"a": 1_000}', "line 1, column 8", "this is no number of JSON"),
        ("[1.5.2]", "line 1, column 5", "this is no number of JSON"),
        ('{"a": "b\tc"}', "line 1, column 9", 'a string ends in its line, with ", and a tab in it is written as \\t'),
        ('{"a": "\\u12g4"}', "line 1, column 9", "after \\u stand four hexadecimal digits"),
        ("\ufeff\ufeff{}", "line 1, column 1", "the file begins with two byte order marks"),
        ('{"seed" 3}', "line 1, column 9", "a colon is missing between a key and its value"),
        ('{\n "a": "b,\n "c": 4}', "line 2, column 10", 'a string ends in its line, with "'),
        ('{"a": "b}', "line 1, column 7", 'the string that begins here has no closing "'),
        (
            '{\n // say\n "a": 3}',
            "line 2, column 2",
            "JSON has no comments; leave it out, or write it as the text of a k",
        ),
        ("{'a': 3}", "line 1, column 2", 'JSON has double quotes only, "'),
        ('{"a": True}', "line 1, column 7", "True is Python's; in JSON it is true"),
        ('{"a": False}', "line 1, column 7", "False is Python's; in JSON it is false"),
        ('{"a": 3 # say\n}', "line 1, column 9", "JSON has no comments"),
        ('{/* say */ "a": 1}', "line 1, column 2", "JSON has no comments"),
        ("[1e5.]", "line 1, column 5", "this is no number of JSON"),
        ("[1e-5.]", "line 1, column 6", "this is no number of JSON"),
        ("[-5.]", "line 1, column 4", "this is no number of JSON"),
        ('{"a": None}', "line 1, column 7", "None is Python's; in JSON it is null"),
        ("{seed: 3}", "line 1, column 2", 'a key in double quotes belongs here, as in "seed"'),
        ('{"a": .5}', "line 1, column 7", "a value belongs here: a number, text in double quotes"),
        ('{"a": {"b": 3}\n', "line 1, column 15", "the file ends too early; a closing bracket, } or ], is missing"),
        ('{"a": 3}}', "line 1, column 9", "the value of the file has ended before this"),
        ('{"a": "C:\\data"}', "line 1, column 10", "write a backslash in a string twice"),
    ],
)
def test_a_mistake_in_json_is_told_with_its_place_and_what_to_do(config_file, content, place, remedy):
    assert error_of(config_file(content)).startswith(f"run_config.json is not valid JSON at {place}: {remedy}")


def test_a_key_twice_is_told_with_its_lines(config_file):
    twice = "the key `a` appears twice in one object"
    assert f"{twice} (lines 2 and 3); keep one of them." in error_of(config_file('{\n "a": 1,\n "a" : 2}'))
    assert f"{twice}; keep one of them." in error_of(config_file('{"a": 1, "a": 2}')), "all in one line"
    assert f"{twice}; keep one of them." in error_of(config_file('{"b": {"a": 0},\n "a": 1,\n "a": 2}')), "which two?"
    phases = '{"modification_factory_kwargs": {"AFactory": {}, "AFactory": {}}}'
    assert "to use a factory twice, give a list of" in error_of(config_file(phases))


def test_a_file_that_is_not_there_has_a_nearest_one(config_file):
    other = config_file("{}").with_name("run_confg.json")
    other.with_suffix(".png").touch()
    assert error_of(other).endswith(f"No such file or directory; the nearest is {other.parent / 'run_config.json'}.")
    assert error_of(other.with_name("run_config\0.json")).endswith("null byte."), "which no file's name has"


def test_a_file_that_may_not_be_read_is_not_its_own_nearest_one(config_file, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    path = config_file("{}")
    monkeypatch.setattr(Path, "open", refuse)
    assert error_of(path).endswith("which cannot be read: Permission denied.")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("freeway-dynamic", "configs/suites/freeway-dynamics/cpu.json"),
        ("configs/suites/freeway-dynamic/full.json", "configs/suites/freeway-dynamics/full.json"),
        ("configs/suites/freeway-dynamics/ful.json", "configs/suites/freeway-dynamics/full.json"),
        ("freeway_sped", "configs/freeway_speeds.json"),
        ("mine/freeway_sped.json", "mine/freeway_speeds.json"),  # beside it
    ],
)
def test_a_file_of_configs_is_found_by_its_name_and_a_suite_by_its_folder(given, meant, workdir):
    suites = [f"configs/suites/{name}/{size}.json" for name in SUITES for size in ("cpu", "full")]
    for file in ("configs/freeway_speeds.json", "mine/freeway_speeds.json", *suites):
        path = workdir / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert error_of(Path(given)).endswith(f"; the nearest is {Path(meant)}.")
    for unlike in ("zzzzz", "config.json", "configs/mine.json", "results/full.json"):
        assert error_of(Path(unlike)).endswith("No such file or directory."), unlike
    assert error_of(Path("configs/suites")).endswith(f"; in it are {', '.join(sorted(SUITES))}.")
    assert error_of(Path("configs/suites/breakout-dynamics")).endswith("; in it are cpu.json, full.json.")


SUITES = ("breakout-dynamics", "freeway-dynamics", "freeway-looks")


def test_missing_file_folder_and_null_byte(tmp_path):
    assert "No such file" in error_of(tmp_path / "absent.json")
    assert "directory" in error_of(tmp_path)
    assert "null byte" in error_of(Path("a\0b"))


def test_byte_order_mark_is_accepted(config_file):
    args, _ = apply_config_file(Args(), config_file(b'\xef\xbb\xbf{"num_envs": 2}'))
    assert args.num_envs == 2


def test_a_field_type_that_json_cannot_hold_is_a_mistake_of_the_program(config_file):
    @dataclass
    class Wrong:
        blob: bytes = b""

    with pytest.raises(TypeError, match="bytes"):
        apply_config_file(Wrong(), config_file({"blob": "x"}))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([*FIELDS, "env-id", "num_env", ""]) | st.text(max_size=8)


def check_fuzzed(content: bytes) -> None:
    refused = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.json"
        path.write_bytes(content)
        try:
            args, lines = apply_config_file(Args(), path)
        except ConfigError as error:
            refused = str(error)
    if refused is not None:
        assert "\n" not in refused
        refused.encode("utf-8")
        return
    values = json.loads(content.decode("utf-8-sig"))
    assert set(values) <= set(FIELDS) - {"config"}
    for key, value in values.items():  # what was accepted is what was asked for
        assert as_plain_dict(args)[key] == value
    for line in lines:
        assert "\n" not in line
        line.encode("utf-8")


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, JSON_VALUES, max_size=3))
def test_fuzzed_objects_are_accepted_or_refused_in_one_sentence(values):
    check_fuzzed(json.dumps(values).encode())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=30) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_fuzzed_bytes_are_accepted_or_refused_in_one_sentence(content):
    check_fuzzed(content)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(st.dictionaries(KEYS, JSON_VALUES, max_size=4))
def test_fuzzed_objects_many(values):
    check_fuzzed(json.dumps(values).encode())


# --------------------------------------------------------------------------------------------------------- ranges

ABOVE_ZERO = Range(0.0, above=True)


@pytest.mark.parametrize(
    ("changes", "ranges", "words"),
    [
        ({"num_envs": 0}, {"num_envs": Range(1)}, ["`num_envs` is 0", "at least 1"]),
        ({"num_envs": 9}, {"num_envs": Range(None, 8)}, ["`num_envs` is 9", "at most 8"]),
        ({"num_envs": 10**400}, {"num_envs": Range(1, 10)}, ["`num_envs`", "at most 10"]),
        ({"learning_rate": 0.0}, {"learning_rate": ABOVE_ZERO}, ["0.0", "greater than 0"]),
        ({"learning_rate": float("nan")}, {"learning_rate": Range()}, ["NaN", "finite"]),
        ({"learning_rate": float("inf")}, {"learning_rate": ABOVE_ZERO}, ["Infinity"]),
        ({"target_kl": -1.0}, {"target_kl": ABOVE_ZERO}, ["-1.0"]),
        ({"encoder_dims": (4, 0)}, {"encoder_dims": Range(1)}, ["[4, 0]", "each"]),
    ],
)
def test_numbers_outside_their_range_are_refused(changes, ranges, words):
    with pytest.raises(ConfigError) as caught:
        check_ranges(dataclasses.replace(Args(), **changes), ranges)
    for word in words:
        assert word in str(caught.value)


def test_limits_are_allowed_and_none_is_skipped():
    args = dataclasses.replace(Args(), learning_rate=1.0, num_envs=1)
    check_ranges(args, {"learning_rate": Range(0.0, 1.0), "num_envs": Range(1, 1), "target_kl": ABOVE_ZERO})


@dataclasses.dataclass
class Lists:
    strings: tuple[str, ...] = ()
    text: str = ""
    steps: int | None = None
    sizes: tuple[int, ...] = ()


def test_a_whole_number_may_have_an_exponent():
    words = ["--steps=1e6", "--text", "1e6", "--sizes", "1.5e1", "7"]
    assert parse_command_line(Lists, words) == Lists((), "1e6", 1_000_000, (15, 7))
    for wrong in ("1.5", "1e-1", "1.25e1", "1e400"):
        with pytest.raises(ConfigError):
            parse_command_line(Lists, ["--steps", wrong])


@pytest.mark.parametrize("list_", ['["a", "b c"]', "['a', 'b c']", "('a', 'b c')"])
def test_a_list_is_words_or_a_list_in_one_word(list_):
    both = Lists(("a", "b c"), "[1]")
    for words in (["--strings", "a", "b c"], ["--strings", list_], [f"--strings={list_}"]):
        assert parse_command_line(Lists, [*words, "--text", "[1]"]) == both
        assert parse_command_line(Lists, ["--text", "[1]", *words]) == both
    assert parse_command_line(Lists, ["--strings", "[a", "b]"]).strings == ("[a", "b]")


def test_a_text_in_a_file_is_a_list_of_one(config_file):
    for text, expected in {"a, b": ("a, b",), "": ()}.items():
        args, _ = apply_config_file(Lists(), config_file({"strings": text}))
        assert args.strings == expected


def test_plain_dict_survives_json():
    args = dataclasses.replace(Args(), modification_factory_kwargs={"a": (1, {"b": (2,)})})
    plain = as_plain_dict(args)
    assert list(plain) == FIELDS
    assert plain["encoder_dims"] == [256, 512]
    assert plain["modification_factory_kwargs"] == {"a": [1, {"b": [2]}]}
    assert json.loads(json.dumps(plain)) == plain


def test_plain_dict_becomes_the_dataclass_again():
    args = dataclasses.replace(Args(), encoder_dims=(1, 2), target_kl=None, learning_rate=1.0)
    assert from_plain_dict(Args, json.loads(json.dumps(as_plain_dict(args)))) == args
    assert from_plain_dict(Args, {}) == Args()
    for wrong in ({"no_such_field": 1}, {"num_envs": "many"}):
        with pytest.raises(ConfigError, match="is a setting that this version does not know"):
            from_plain_dict(Args, wrong)
    with pytest.raises(ConfigError, match=r"`old`, 3, is a setting that .* does not know; now it is called new;"):
        from_plain_dict(Args, {"old": 3}, {"old": "now it is called new"})


def test_what_the_command_line_does_not_say_comes_from_the_default_that_was_given():
    default = dataclasses.replace(Args(), num_envs=3, encoder_dims=(7,), modification_factory_kwargs={"a": {"b": [1]}})
    assert parse_command_line(Args, [], default=default) == default
    changed = parse_command_line(Args, ["--encoder_dims", "1", "2"], default=default)
    assert changed == dataclasses.replace(default, encoder_dims=(1, 2))
