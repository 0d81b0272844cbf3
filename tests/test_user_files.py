"""What users' own files draw and remember belongs to one game: whatever shares its process, and when a run goes on."""

import pickle
import random
from collections import Counter, OrderedDict, defaultdict, deque

import numpy as np
import pytest
from conftest import mostly_slow
from test_env_state import assert_continues, fingerprints
from test_vector import assert_same, make, play

from continual_hackatari.training.resume import _pack, _unpack
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.errors import GameError
from continual_hackatari.wrappers.rewards import RewardFile
from continual_hackatari.wrappers.state import is_plain, pack, unpack
from continual_hackatari.wrappers.user_files import UserFile

SHORT = {"game_start": "none", "time_limit": 120}  # games of 30 steps

RULES = """
import random
import numpy as np
from numpy.random import randint
from random import randrange
from continual_hackatari.wrappers.modifications import Hooks, Rule

frames = random.randrange(9)
generator = np.random.default_rng()

def wild(game, _python, _numpy):
    def frame():
        global frames
        from random import choice
        frames += 1
        value = frames + random.randint(0, 9) + randrange(9) + choice((0, 9)) + np.random.randint(9) + randint(9)
        game.set_ram(14, (value + int(generator.integers(9))) % 180)

    return Hooks(frame=frame)

MODIFICATIONS = {"Freeway": {"wild": Rule("Moves the chicken.", wild, writes=(14,))}}
"""

REWARD = """
import random
from collections import Counter, defaultdict, deque
import numpy as np

visits, counted, grouped, seen, recent = {}, Counter(), defaultdict(int), set(), deque(maxlen=3)
best, own = None, np.random.default_rng(5)

def reward_function(env):
    global best
    height = int(env.get_ram()[14])
    visits[height] = visits.get(height, 0) + 1
    counted[height] += 1
    grouped[height] += 1
    seen.add(height)
    recent.append(height)
    best = np.float64(height) if best is None else np.maximum(best, np.float64(height))
    remembered = visits[height] + counted[height] + grouped[height] + len(seen) + sum(recent) + best
    return remembered + random.random() + np.random.rand() + own.random()
"""


def written(tmp_path, text, name="mine.py"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


# --- the same whatever shares the process, and exactly on ---------------------------------------------------------


def test_rules_draw_and_count_alike_with_any_workers(tmp_path):
    settings = {**SHORT, "modification_file": written(tmp_path, RULES)}
    first = {0: ("wild", "reset")}
    here, there, again = (make("ALE/Freeway-v5", 3, workers, **settings) for workers in (0, 2, 0))
    seen = play(here, 70, first)
    assert_same(seen, play(there, 70, first))
    assert_same(seen, play(again, 70, first))
    assert fingerprints(here) == fingerprints(there) == fingerprints(again)
    assert len(set(fingerprints(here))) == 3
    there.close()


@pytest.mark.parametrize("workers", mostly_slow([0, 1], 2))
def test_games_of_such_rules_continue(workers, tmp_path):
    settings = {**SHORT, "modification_file": written(tmp_path, RULES)}
    envs, resumed = make("ALE/Freeway-v5", 2, 0, **settings), make("ALE/Freeway-v5", 2, workers, **settings)
    assert_continues(envs, resumed, 50, 60, first={0: ("wild", "reset"), 40: ("wild all_black_cars", "live")})


@pytest.mark.slow
def test_rewards_draw_and_remember_alike_with_any_workers_and_continue(tmp_path):
    settings = {**SHORT, "reward_file": written(tmp_path, REWARD)}
    first = {0: ("stop_random_car", "reset")}
    here, there, resumed = (make("ALE/Freeway-v5", 2, workers, **settings) for workers in (0, 2, 1))
    assert_same(play(here, 50, first), play(there, 50, first))
    there.close()
    assert len(set(here.arrays.rewards)) == 2
    assert_continues(here, resumed, 0, 60)


def test_a_reward_file_changes_nothing_that_modifications_draw(tmp_path):
    first = {0: ("stop_random_car", "reset")}
    one, other = (
        make("ALE/Freeway-v5", 1, 0, **SHORT),
        make("ALE/Freeway-v5", 1, 0, **SHORT, reward_file=written(tmp_path, REWARD)),
    )
    play(one, 50, first)
    play(other, 50, first)
    assert fingerprints(one) == fingerprints(other)


def test_a_reset_with_a_seed_plays_what_a_new_environment_of_this_seed_plays(tmp_path):
    settings = {**SHORT, "reward_file": written(tmp_path, REWARD)}
    old, new = make("ALE/Freeway-v5", 1, 0, **settings), make("ALE/Freeway-v5", 1, 0, seed=7, **settings)
    play(old, 40, {0: ("", "reset")})
    old.reset(seed=7)
    new.reset()
    assert_same(play(old, 40), play(new, 40))


def test_nothing_else_draws_otherwise(tmp_path):
    states = random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002 - the global one is what is meant
    envs = make("ALE/Freeway-v5", 1, 0, reward_file=written(tmp_path, REWARD + "\nrandom.seed(1); np.random.seed(1)"))
    play(envs, 5, {0: ("", "reset")})
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == states  # noqa: NPY002


# --- the file itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["edited", "removed"])
def test_the_file_may_change_while_it_is_played(change, tmp_path):
    path, copy = tmp_path / "mine.py", tmp_path / "copy.py"
    for each in (path, copy):
        each.write_text("def reward_function(env):\n    return 1.0\n")
    envs = make("ALE/Freeway-v5", 1, 0, **SHORT, reward_file=str(path))
    play(envs, 5, {0: ("", "reset")})
    if change == "removed":
        path.unlink()
    else:
        path.write_text("def reward_function(env):\n    return 222.0\n")
    state = envs.get_state()
    assert envs.step(np.array([0]))[1] == [1]
    envs.close()
    same = make("ALE/Freeway-v5", 1, 0, **SHORT, reward_file=str(copy))
    same.set_state(state)
    assert same.step(np.array([0]))[1] == [1]
    if change == "edited":
        with pytest.raises(GameError, match="`reward_file` is"):
            make("ALE/Freeway-v5", 1, 0, **SHORT, reward_file=str(path)).set_state(state)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def reward_function(env)", "cannot be run: SyntaxError"),
        ("1 / 0", "cannot be run: ZeroDivisionError"),
        ("raise SystemExit(0)", "cannot be run: SystemExit"),
        ("reward_function = 3", "does not define reward_function(env) -> float"),
    ],
)
def test_what_is_wrong_with_a_reward_file_is_a_sentence(text, words, tmp_path):
    with pytest.raises(GameError, match=r"^`new_rf`: ") as raised:
        game_config("ALE/Freeway-v5", reward_file=written(tmp_path, text))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_a_reward_file_keeps_and_cannot_be_saved_is_said(tmp_path):
    text = (
        "from __future__ import annotations\nimport re, random\nfrom pathlib import Path\n"
        "WORD, HERE = re.compile('a'), Path('.')\n"
        "class Memory: pass\nmemory, mine, table = Memory(), random.Random(3), {1: {2, 3}}\n"
        "def reward_function(env): return 0.0\n"
    )
    _, notes = game_config("ALE/Freeway-v5", reward_file=written(tmp_path, text))
    assert [line for line in notes if "new_rf" in line] == [
        "note: `new_rf`: what mine.py keeps in `memory` (a Memory), `mine` (a Random) is not saved with a game, so a "
        "run that goes on forgets it; numbers, strings, arrays, and lists, sets and dicts of such are saved"
    ]
    assert not game_config("ALE/Freeway-v5", reward_file=written(tmp_path, REWARD))[1]


# --- what is saved -------------------------------------------------------------------------------------------------

VALUES = [
    *(None, True, 3, 2.5, "text", b"bytes", 2**80, [], (), (1, [2, (3,)]), {1, 2}, frozenset({(1, 2)})),
    *({}, {1: 2, (3, "x"): {4}, None: []}, {"number": 1}, {"list": [1]}, OrderedDict(b=1, a=2), Counter("abca")),
    *(deque([1, 2], 3), deque([1]), defaultdict(int, {1: 2}), defaultdict(list, {(1,): [2]})),
    *(np.float32(1.5), np.int64(3), np.bool_(True), np.zeros((2, 0), np.float32), [np.arange(3)]),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_packed_is_unpacked_the_same(value):
    packed = pack(value)
    assert is_plain(packed)
    again = unpack(_unpack(pickle.loads(pickle.dumps(_pack("value", packed)))))
    assert repr(again) == repr(value)
    assert type(again) is type(value)
    if isinstance(value, (list, dict, set)):
        assert again is not value


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_a_generator_goes_on(kind):
    generator = np.random.Generator(kind(3))
    generator.random(5)
    again = unpack(pack(generator))
    assert again.random(9).tolist() == generator.random(9).tolist()


@pytest.mark.parametrize(
    "value",
    [object(), {1: object()}, 1j, np.array(["text"]), defaultdict(lambda: 1)],
    ids=["object", "of objects", "complex", "text", "factory"],  # the same in every process
)
def test_other_things_are_not_packed(value):
    with pytest.raises(TypeError):
        pack(value)


def test_a_state_of_earlier_versions_goes_on(tmp_path):
    """They saved the plain globals, and nothing of generators."""
    text = "calls = 0\ndef reward_function(env):\n    global calls\n    calls += 1\n    return calls\n"
    settings = {**SHORT, "reward_file": written(tmp_path, text)}
    envs, resumed = (make("ALE/Freeway-v5", 1, 0, **settings) for _ in range(2))
    play(envs, 50, {0: ("", "reset")})
    state = envs.get_state()
    for game in state["games"]:
        memory = game["origin"].pop("rewards")["memory"]
        assert memory["calls"] > 0
        game["origin"]["reward_file"] = memory
    resumed.set_state(state)
    assert resumed.step(np.array([0]))[1] == envs.step(np.array([0]))[1] == [51]


def test_what_a_reward_file_draws_follows_from_the_seed(tmp_path):
    file = UserFile(written(tmp_path, REWARD))
    drawn = [RewardFile(file, seed).state()["generators"]["numpy"]["keys"].tobytes() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
