"""Command lines and config files that nobody would write: each ends in a run or in one clear sentence, exit code 2."""

import contextlib
import copy
import dataclasses
import functools
import io
import json
import math
import os
import re
import subprocess
import tempfile
import typing
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from conftest import NEEDS_OCATARI, ROOT, mostly_slow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modification_factories
from continual_hackatari import continual_clear, continual_progress_compress
from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari.agents import make_agent
from continual_hackatari.training import checkpoint_settings
from continual_hackatari.training.checkpoints import save_checkpoint
from continual_hackatari.training.settings import ranges_of

with contextlib.suppress(ImportError):  # what it imports asks the system for its processor in a process, once
    import hackatari  # noqa: F401

QUICK = settings(
    max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(QUICK, max_examples=2000)

# --------------------------------------------------------------------------------------------------------- strategies

STRANGE = ["", " ", "\0", "\n", "a\nb", "\x1b[31mred", "\ud800", "é実験😀", "x" * 5000, "9" * 400, "9" * 5000, "[1, 2]"]
WORDS = [
    "..",
    "../../etc/passwd",
    "/",
    "/dev/null",
    ".",
    "~",
    "-",
    "--",
    "None",
    "nan",
    "1e999",
    "-1",
    "0",
    "0x10",
    "1_000",
    "٣",
    "True",
    "[]",
    "(1,",
    "{}",
    "%s%n",
    "%(prog)s",
]
NAMES = ["no_modif", "all_green_cars", "all_green_car", "a,b,,c", ","]
TEXTS = st.sampled_from([*STRANGE, *WORDS, *NAMES]) | st.text(st.characters(exclude_categories=()), max_size=12)
INTEGERS = [0, 1, -1, 2, 3, 7, 128, 10**6, 10**9, 10**15, 2**31, 2**63 - 1, 2**63, 2**64, 10**40, 10**299, -(10**299)]
FLOATS = [0.0, -0.0, 0.5, 1.0, 1.5, 1e-320, 1e-45, 1e30, 1e39, 1e300, -1e308, math.nan, math.inf, -math.inf]
NUMBERS = st.sampled_from([*INTEGERS, *FLOATS])
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
JUNK = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3))

SCRIPTS = {"ppo": training, "clear": continual_clear, "progress_compress": continual_progress_compress}
FIELDS_OF = {name: sorted(field.name for field in dataclasses.fields(s.Args)) for name, s in SCRIPTS.items()}
FIELDS = FIELDS_OF["ppo"]
HINTS = {name: hint for s in reversed(SCRIPTS.values()) for name, hint in typing.get_type_hints(s.Args).items()}
MODIFICATIONS = ["", "all_black_cars", "all_green_cars disable_cars", " stop_random_car  align_all_cars"]


def plausible(name):
    """Values of the type of a field, in and out of its range."""
    annotation = HINTS[name]
    if annotation is bool:
        return st.booleans()
    if typing.get_origin(annotation) is typing.Literal:
        return st.sampled_from(typing.get_args(annotation))
    if name.endswith("_dims"):
        return st.lists(st.sampled_from([-1, 0, 1, 3, 64, 10**6, 10**9, 2**70]), max_size=4)
    if name == "env_id":
        return st.sampled_from(["ALE/Freeway-v5", "ALE/Pong-v5", "Pong", "Breakout", "FreewayNoFrameskip-v4"])
    if name in ("modifs", "test_modifs"):
        return st.sampled_from(
            [*MODIFICATIONS, "no_modif", "no_modif, all_black_cars", "all_black_cars,all_black_cars"]
        )
    if name == "runs_dir":
        return st.sampled_from(["runs", "", "config.json", "\0", "\ud800", "x" * 300])
    if name in ("new_rf", "modification_file"):
        return st.sampled_from(["", "absent.py", "..", "/dev/null", "config.json"])
    if name in ("config", "resume", "start_from"):
        return st.sampled_from(["", "absent", "..", "/dev/null", "/dev/zero", "config.json"])
    if annotation is str or annotation == str | None:
        return TEXTS
    return NUMBERS | st.integers(-3, 300) | st.floats()


RANGES = {name: range_ for s in reversed(SCRIPTS.values()) for name, range_ in ranges_of(s.RULES).items()}


def in_range(name):
    """Values that a field may have, its limits among them."""
    if name not in RANGES:
        return plausible(name)
    low, high, above = RANGES[name]
    if name.endswith("_dims"):
        return st.lists(st.sampled_from([1, 3, 64, high]), max_size=3)
    if HINTS[name] in (int, int | None):
        return st.sampled_from([low, low + 1, 2, 3, 8, high // 2, high]).map(lambda value: min(max(value, low), high))
    values = [low, 1e-320, 1e-30, 0.1, 0.5, 1, 0.99, high]
    return st.sampled_from([value for value in values if low <= value <= high and not (above and value == low)])


def any_value(name):
    return in_range(name) | in_range(name) | in_range(name) | plausible(name)


def factories(depth):
    """(class, arguments) of schedules, right ones and slightly wrong ones."""
    steps = st.sampled_from([1, 2, 40, 128, 300, 10**6, 10**14, 10**20, 10**298])
    strings = st.lists(st.sampled_from(MODIFICATIONS), min_size=1, max_size=4) | st.just([])
    held = st.sampled_from([1, 7, 100, 10**9, 10**200])
    chance = st.sampled_from([0, 0.0, 0.005, 0.5, 1, 1.5, True])
    kinds = [
        st.tuples(st.just("NoModificationFactory"), st.fixed_dictionaries({"num_total_steps": steps})),
        st.tuples(
            st.sampled_from(["SequentialModificationFactory", "EpsSequentialModificationFactory"]),
            st.fixed_dictionaries(
                {
                    "num_total_steps": steps,
                    "modifications": strings,
                    "switching_thresholds": st.lists(st.integers(0, 400), max_size=3).map(sorted),
                },
                optional={"epsilon": chance, "num_repetitions": held},
            ),
        ),
        st.tuples(
            st.just("RandomModificationFactory"),
            st.fixed_dictionaries(
                {"modifications": strings},
                optional={
                    "num_total_steps": steps,
                    "num_repetitions": held,
                    "probabilities": st.lists(chance, max_size=4),
                },
            ),
        ),
        st.tuples(
            st.just("AllCombinationsRandomModificationFactory"),
            st.fixed_dictionaries(
                {"num_total_steps": steps, "modifications": st.lists(strings, max_size=4)},
                optional={"num_repetitions": held},
            ),
        ),
    ]
    kinds.append(
        st.tuples(
            st.sampled_from(
                ["json:JSONDecoder", "absent.module:Class", "os.path:join", ":", "a:b:c", "NoModification"]
            ),
            st.dictionaries(TEXTS, LEAVES, max_size=2),
        )
    )
    if depth > 0:
        inner = factories(depth - 1)
        listed = st.lists(
            inner.map(lambda pair: {"modification_factory": pair[0], "modification_factory_kwargs": pair[1]}),
            max_size=3,
        )
        kinds.append(
            st.tuples(
                st.sampled_from(["CombinedModificationFactory", "EpsCombinedModificationFactory"]),
                st.fixed_dictionaries(
                    {"modification_factory_kwargs": st.lists(inner, max_size=3).map(dict) | listed},
                    optional={"epsilon": chance, "num_repetitions": held},
                ),
            )
        )
    return st.one_of(kinds)


SHIPPED = [json.loads((ROOT / "run_config.json").read_text())]


@st.composite
def objects(draw, fields=FIELDS):
    """A configuration: a right one, or one that was a right one before something happened to it."""
    config = copy.deepcopy(draw(st.sampled_from([{}, *SHIPPED])))
    if draw(st.booleans()):
        config["env_id"] = "ALE/Freeway-v5"
        config["modification_factory"], config["modification_factory_kwargs"] = draw(factories(3))
    for name in draw(st.lists(st.sampled_from(fields), max_size=3)):
        config[name] = draw(JUNK if draw(st.integers(0, 9)) == 0 else any_value(name))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        mutate(draw, config)
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 3, 60, 250]))):  # a phase in a phase in a phase ...
        if "modification_factory" in config:
            inner = {config["modification_factory"]: config["modification_factory_kwargs"]} if hashable(config) else {}
            config["modification_factory_kwargs"] = {"modification_factory_kwargs": inner}
            config["modification_factory"] = "CombinedModificationFactory"
    return config


def hashable(config):
    return isinstance(config["modification_factory"], str) and "modification_factory_kwargs" in config


def mutate(draw, value):
    """Change something somewhere in a nested value, in place."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if not isinstance(value[key], (dict, list)) or draw(st.booleans()):
            break
        value = value[key]
    if isinstance(value, dict):
        new_key = draw(TEXTS | st.sampled_from(FIELDS).map(lambda name: name[:-1]))
        if keys and draw(st.booleans()):
            del value[key]
        value[new_key if draw(st.booleans()) or not keys else key] = draw(JUNK)
    elif keys:
        value[key] = draw(JUNK)
    else:
        value.append(draw(JUNK))


@st.composite
def files(draw, fields=FIELDS):
    """The bytes of a config file."""
    text = json.dumps(
        draw(JUNK if draw(st.integers(0, 19)) == 0 else objects(fields)), ensure_ascii=draw(st.booleans())
    )
    damage = draw(st.sampled_from([""] * 20 + ["cut", "twice", "raw", "deep", "comma", "bytes", "digits"]))
    if damage == "cut":
        text = text[: draw(st.integers(0, len(text)))]
    elif damage == "twice":
        text = re.sub(r'"(\w+)": ', r'"\1": 1, "\1": ', text, count=1)
    elif damage == "raw":
        text = text.replace('": ', '": ' + draw(TEXTS), 1)
    elif damage == "deep":
        text = '{"notes": ' + "[" * 100_000 + "]" * 100_000 + "}"
    elif damage == "comma":
        text = text.replace("}", ",}", 1)
    elif damage == "digits":
        text = re.sub(r"\b\d\b", "1" * draw(st.sampled_from([299, 5000])), text, count=1)
    encoding = draw(st.sampled_from(["utf-8"] * 20 + ["utf-8-sig", "utf-16", "utf-32-be", "latin-1"]))
    content = text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")
    if damage == "bytes":
        position = draw(st.integers(0, len(content)))
        content = content[:position] + draw(st.binary(min_size=1, max_size=3)) + content[position:]
    return content


def as_words(name, value):
    """A flag and its value, as a shell passes them."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no_{name}"]
    values = value if isinstance(value, list) else [value]
    return [f"--{name}", *(str(item).replace("\0", "?") for item in values)]  # no system passes a null character


ODD = ["--", "-", "---", "", "--=", "--=x", "-x", "=", "--no_", "--no-no_track", "@x", "--\n"]


@st.composite
def command_lines(draw, fields=FIELDS, any_value=any_value):
    words = []
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=4)):
        value = draw(TEXTS if draw(st.integers(0, 9)) == 0 else any_value(name))
        flag, *rest = as_words(name, value)
        if draw(st.booleans()):
            flag = flag.replace("_", "-")
        form = draw(st.sampled_from(["apart"] * 12 + ["joined", "missing", "near", "twice"]))
        if form == "joined":
            words.append("=".join([flag, *rest]))
        elif form == "missing":
            words.append(flag)
        elif form == "near":
            words += [flag[:-1], *rest]
        else:
            words += [flag, *rest] * (2 if form == "twice" else 1)
    if draw(st.sampled_from([False] * 9 + [True])):
        odd = draw(st.sampled_from(ODD))
        words.insert(draw(st.integers(0, len(words))), odd)
    return words


# ------------------------------------------------------------------------------------------------------------- oracle


class StartedError(Exception):
    """Something was started that must not be."""


def everything_in(folder):
    return {path.relative_to(folder): path.lstat().st_mtime_ns for path in folder.rglob("*")}


@contextlib.contextmanager
def no_process():
    """A process that is started is an error."""

    def refuse(*args, **kwargs):
        raise StartedError(args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        patch.setattr(os, "fork", refuse)
        yield


@contextlib.contextmanager
def workplace(content=None):
    """A new current folder, with this config file; leaving it, it must be as it was."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        folder = Path(name)
        if content is not None:
            (folder / "config.json").write_bytes(content)
        (folder / "other").mkdir()
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def run(main, words):
    """Exit code (0 for a return), stdout and stderr; both streams are strict about what they can write."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words) or 0
        except SystemExit as end:
            code = end.code or 0
        out.flush()
        err.flush()
    return code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode()


def assert_one_sentence(err):
    """One line `error: ...`."""
    assert "Traceback" not in err
    assert not re.search(r"[^\n\x20-\x7e\u00a0-\uffff\U00010000-\U0010ffff]", err), "control characters"
    lines = [line for line in err.splitlines() if not line.startswith(("note: ", "warning: "))]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert len(lines[0]) <= len("error: ") + 1000, lines[0]
    assert len(lines[0]) >= 20, lines[0]


def check(main, words, content=None):
    """Exit code; asserts that nothing was started or written and that an error is one sentence."""
    with workplace(content) as folder, no_process():
        before = everything_in(folder)
        code, _, err = run(main, words)
        assert everything_in(folder) == before
    if code == 0:
        assert "Traceback" not in err
    else:
        assert code == 2, (code, err)
        assert_one_sentence(err)
    return code


def prepare(script, words):
    """A training script up to its first act."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SCRIPTS[script], "train", lambda setup: None)
        SCRIPTS[script].main(words)


OUTCOMES = Counter()


def check_training(script, data):
    fields = FIELDS_OF[script]
    words = data.draw(st.just([]) | command_lines(fields))
    content = data.draw(st.none() | files(fields) | files(fields) | files(fields))
    words = ["--config", "config.json", *words] if content is not None else words
    OUTCOMES[script, check(functools.partial(prepare, script), words, content)] += 1


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
@QUICK
@given(st.data())
def test_training_is_refused_in_one_sentence_or_could_start(script, data):
    check_training(script, data)


@pytest.mark.long
@pytest.mark.parametrize("script", SCRIPTS)
@LONG
@given(st.data())
def test_thousands_of_trainings_are_refused_in_one_sentence_or_could_start(script, data):
    check_training(script, data)


def nested(depth):
    """A config file with as many combined schedules inside each other."""
    name, kwargs = "NoModificationFactory", '{"num_total_steps": 100}'
    for _ in range(depth):
        name, kwargs = "CombinedModificationFactory", f'{{"modification_factory_kwargs": {{"{name}": {kwargs}}}}}'
    return f'{{"modification_factory": "{name}", "modification_factory_kwargs": {kwargs}}}'.encode()


@pytest.mark.parametrize(
    ("words", "content", "part"),
    [
        ([], nested(51), "at most 50 deep"),
        ([], nested(250), "nested too deeply"),
        ([], nested(480), "nested too deeply"),
        (["--config", "/dev/zero"], None, "too large to be a configuration"),
        (["--exp_name", "\x1b[2J"], None, "cannot be shown"),
        (["--exp_name", "\udcff"], None, "cannot be shown"),
        ([], b'{"a\\nb\\u001b": 1}', "not a known argument"),
        (["--num_envs", "1000000000"], None, "at most 10,000"),
        (["--total_timesteps", "9" * 400], None, "at most 1,000,000,000,000,000"),
        (["--num_envs", "10000", "--num_steps", "1000000"], None, "GiB of memory"),
        pytest.param(
            ["--obs_mode", "obj", "--architecture", "PPO_OBJ", "--encoder_dims", "1000000", "1000000"],
            None,
            "smaller `encoder_dims`",
            marks=NEEDS_OCATARI,
        ),
        (["--encoder_dims", "0"], None, "`encoder_dims`"),
        (["--clip_coef", "1e300"], None, "at most 1e+30"),
        (["--worker_timeout", "0"], None, "at least 1 and at most 86,400"),
    ],
)
def test_what_once_ended_in_a_traceback(words, content, part):
    words = ["--config", "config.json", *words] if content is not None else words
    with workplace(content), no_process():
        code, _, err = run(functools.partial(prepare, "ppo"), words)
    assert code == 2
    assert_one_sentence(err)
    assert part in err


@pytest.mark.parametrize("depth", [51, 330, 480])
def test_the_preview_refuses_what_is_too_deep(depth):
    assert check(modification_factories.main, ["config.json"], nested(depth)) == 2
    assert check(modification_factories.main, ["config.json"], nested(50)) == 0


# ------------------------------------------------------------------------------------------------- runs that do start

SMALL = {
    "num_envs": [1, 2, 3],
    "num_steps": [1, 2, 5],
    "num_minibatches": [1, 2, 3],
    "update_epochs": [1, 2],
    "total_timesteps": [1, 7, 20],
    "buffer_window_size": [1, 2, 5],
    "frameskip": [1, 4, 50],
    "encoder_dims": [[], [3], [8, 4]],
    "decoder_dims": [[], [3]],
    "env_id": ["ALE/Freeway-v5", "ALE/Pong-v5"],
    "eval_episodes": [1],
}
FIXED = {"num_workers": 0, "cuda": False, "compile": False, "track": False}
FILES = {"config", "runs_dir", "resume", "start_from", "start_from_digest", "start_from_experiment"}
FILES |= {"new_rf", "new_rf_digest", "modification_file", "modification_digest"}
NOT_FREE = {*SMALL, *FIXED, *FILES, "test_modifs", "capture_video", "capture_video_every"}


@st.composite
def small_runs(draw, script):
    """A config file of a run of a few steps, with any value that the other settings may have."""
    fields = FIELDS_OF[script]
    own = {name: values for name, values in SMALL.items() if name in fields}
    config = {**FIXED, **{name: draw(st.sampled_from(values)) for name, values in own.items()}}
    if config["num_envs"] * config["num_steps"] % config.get("num_minibatches", 1):
        config["num_minibatches"] = 1
    config["modification_factory"] = "RandomModificationFactory"
    config["modification_factory_kwargs"] = {"modifications": ["", "all_black_cars"], "num_repetitions": 4}
    if config["env_id"] != "ALE/Freeway-v5":
        config["modification_factory_kwargs"]["modifications"] = ["lazy_enemy", ""]
    free = sorted(set(fields) - NOT_FREE)
    for name in draw(st.lists(st.sampled_from(free), max_size=5, unique=True)):
        if not name.startswith("modification_factory"):
            config[name] = draw(in_range(name).filter(lambda value: value == value))
    if config.get("architecture") == "PPO_OBJ" or config.get("obs_mode") == "obj":
        objects = find_spec("ocatari") is not None
        config.update(architecture="PPO_OBJ" if objects else "PPO", obs_mode="obj" if objects else "dqn")
    return config


def check_small_run(script, data):
    config = data.draw(small_runs(script))
    with workplace(json.dumps(config).encode()) as folder:
        before = everything_in(folder)
        code, _, err = run(SCRIPTS[script].main, ["--config", "config.json"])
        new = everything_in(folder).keys() - before.keys()
        OUTCOMES["run", code] += 1
        if code == 2:
            assert_one_sentence(err)
            assert not new
            return
        outside = [path for path in new if path.parts[0] != "runs"]
        assert not outside
        assert len([path for path in new if len(path.parts) == 2]) == 1, "one run folder"
        if code == 1:  # a setting that breaks the network
            (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
            assert "not finite" in line
        else:
            assert code == 0, err
        assert "Traceback" not in err


@pytest.mark.parametrize("script", mostly_slow(list(SCRIPTS), 1))
@settings(QUICK, max_examples=4)
@given(st.data())
def test_a_run_with_any_allowed_settings_ends_well(script, data):
    check_small_run(script, data)


@pytest.mark.long
@pytest.mark.parametrize("script", SCRIPTS)
@settings(QUICK, max_examples=200)
@given(st.data())
def test_hundreds_of_runs_with_any_allowed_settings_end_well(script, data):
    check_small_run(script, data)


# ------------------------------------------------------------------------------------------------ the other two scripts


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The weights of an agent for Freeway, as a file holds them."""
    agent = make_agent("PPO", (4, 84, 84), 3)
    path = tmp_path_factory.mktemp("agent") / "model.cleanrl_model"
    save_checkpoint(path, model_weights=agent.state_dict(), args={"env_id": "ALE/Freeway-v5"}, global_step=8)
    return path


EVAL_HINTS = typing.get_type_hints(evaluation.Args)


def eval_value(name):
    if name == "agent_path":
        return st.sampled_from(["", "absent", "..", "/dev/null", "config.json", "model.cleanrl_model"])
    if name in HINTS and name != "seed":
        return any_value(name)
    if name == "output_dir":
        return st.sampled_from(["", "new/deep", "other", "config.json/x", "x" * 300])
    return st.booleans() if EVAL_HINTS[name] is bool else st.integers(-2, 2**64) | TEXTS


SETTINGS = [*checkpoint_settings.GAME_SETTINGS, *checkpoint_settings.NETWORK_SETTINGS]
SETTINGS += [*checkpoint_settings.HOW_TO_PLAY, "noop_max"]
CHECKPOINT_ARGS = st.dictionaries(
    st.sampled_from(SETTINGS) | TEXTS,
    st.none()
    | st.booleans()
    | st.integers(-3, 2**70)
    | st.sampled_from(["PPO", "PPO_OBJ", "obj", "Gym", "ALE/Pong-v5"])
    | TEXTS,
    max_size=2,
)


def evaluate_nothing(words):
    """The evaluation up to its first act."""

    def first_act(args, game):
        raise SystemExit(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "output_folder", first_act)
        evaluation.main(words)


def check_evaluation(words, args, checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    content["args"].update(args)
    file = io.BytesIO()
    torch.save(content, file)
    words = ["--agent_path", "config.json", *words]  # of whatever name
    OUTCOMES["evaluation", check(evaluate_nothing, words, file.getvalue())] += 1


@settings(QUICK, max_examples=20)
@given(command_lines(list(EVAL_HINTS), eval_value), CHECKPOINT_ARGS)
def test_evaluation_is_refused_in_one_sentence_or_could_start(checkpoint, words, args):
    check_evaluation(words, args, checkpoint)


@pytest.mark.long
@settings(QUICK, max_examples=500)
@given(command_lines(list(EVAL_HINTS), eval_value), CHECKPOINT_ARGS)
def test_hundreds_of_evaluations_are_refused_in_one_sentence_or_could_start(checkpoint, words, args):
    check_evaluation(words, args, checkpoint)


def preview_value(name):
    if name == "every":  # a small one prints very many lines
        return st.sampled_from([-1, 0, 10**15, 10**20, "x"])
    return in_range(name) | plausible(name)


PREVIEW = command_lines(["seed", "num_envs", "num_steps", "every"], preview_value)


def check_preview(words, original, content):
    words = [*words, *(["--from_original"] if original else []), "config.json"]
    OUTCOMES["preview", check(modification_factories.main, words, content)] += 1


@settings(QUICK, max_examples=30)
@given(st.just([]) | PREVIEW, st.booleans(), files())
def test_preview_is_refused_in_one_sentence_or_shown(words, original, content):
    check_preview(words, original, content)


@pytest.mark.long
@settings(QUICK, max_examples=1000)
@given(st.just([]) | PREVIEW, st.booleans(), files())
def test_a_thousand_previews_are_refused_in_one_sentence_or_shown(words, original, content):
    check_preview(words, original, content)
