"""Schedules are pure, exact at their borders, drawn with the stated probabilities, and refuse what is wrong."""

import itertools
import json
import pickle
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from continual_hackatari.schedules import draws, survey
from continual_hackatari.schedules import factories as mf
from continual_hackatari.schedules.arguments import ScheduleError, normalise_modification
from continual_hackatari.schedules.factories import make_factory, schedule_from_config

ROOT = Path(__file__).resolve().parent.parent
NAMES = ["", "a", "b", "c d", "e", "f", "g", "h"]

modification_lists = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5)
repetitions = st.integers(1, 40)
epsilons = st.sampled_from([0.0, 0.05, 0.3, 0.7, 0.95, 1.0])


@st.composite
def sequential_kwargs(draw: st.DrawFn) -> dict[str, Any]:
    total = draw(st.integers(6, 150))
    modifications = draw(modification_lists)
    count = len(modifications) - 1 + draw(st.integers(0, 1))
    thresholds = sorted(draw(st.sets(st.integers(1, total - 1), min_size=count, max_size=count)))
    return {"num_total_steps": total, "modifications": modifications, "switching_thresholds": thresholds}


@st.composite
def random_kwargs(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "num_total_steps": draw(st.integers(1, 150)),
        "modifications": draw(modification_lists),
        "num_repetitions": draw(repetitions),
    }


@st.composite
def cyclic_kwargs(draw: st.DrawFn) -> dict[str, Any]:
    modifications = draw(modification_lists)
    lengths = st.lists(st.integers(1, 20), min_size=len(modifications), max_size=len(modifications))
    steps = draw(st.one_of(st.integers(1, 20), lengths))
    return {"modifications": modifications, "steps": steps, "num_cycles": draw(st.integers(1, 4))}


@st.composite
def product_kwargs(draw: st.DrawFn) -> dict[str, Any]:
    factors = draw(st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), min_size=1, max_size=2))
    return {
        "num_total_steps": draw(st.integers(1, 150)),
        "modifications": factors,
        "num_repetitions": draw(repetitions),
    }


def _entry(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"modification_factory": name, "modification_factory_kwargs": kwargs}


def _with_epsilon(kwargs: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda k, e, n: {**k, "epsilon": e, "num_repetitions": n}, kwargs, epsilons, repetitions)


leaves = st.one_of(
    st.builds(lambda total: _entry("NoModificationFactory", {"num_total_steps": total}), st.integers(1, 80)),
    sequential_kwargs().map(lambda kwargs: _entry("SequentialModificationFactory", kwargs)),
    _with_epsilon(sequential_kwargs()).map(lambda kwargs: _entry("EpsSequentialModificationFactory", kwargs)),
    random_kwargs().map(lambda kwargs: _entry("RandomModificationFactory", kwargs)),
    cyclic_kwargs().map(lambda kwargs: _entry("CyclicModificationFactory", kwargs)),
    product_kwargs().map(lambda kwargs: _entry("AllCombinationsRandomModificationFactory", kwargs)),
)


def _combined(entries: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    phases = st.lists(entries, min_size=1, max_size=3).map(lambda given: {"modification_factory_kwargs": given})
    return st.one_of(
        phases.map(lambda kwargs: _entry("CombinedModificationFactory", kwargs)),
        _with_epsilon(phases).map(lambda kwargs: _entry("EpsCombinedModificationFactory", kwargs)),
    )


configs = st.recursive(leaves, _combined, max_leaves=6)
seeds = st.integers(0, 2**64)


def _timeline(factory: Any) -> list[str]:
    return [factory.get_modification(step) for step in range(factory.num_total_steps)]


def _expand(segments: Any) -> list[str]:
    return [modification for start, stop, modification in segments for _ in range(start, stop)]


# ----------------------------------------------------------------------------------------------------------- purity
@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(config=configs, seed=seeds, shuffle=st.randoms(use_true_random=False))
def test_any_order_and_number_of_queries_gives_the_same_timeline(config: Any, seed: int, shuffle: Any) -> None:
    timeline = _timeline(schedule_from_config(config, seed=seed))
    other = schedule_from_config(config, seed=seed)
    steps = [*range(len(timeline)), *range(0, len(timeline), 3)]
    shuffle.shuffle(steps)
    for step in steps:
        assert other.get_modification(step) == timeline[step], step


@settings(max_examples=150, deadline=None)
@given(config=configs, seed=seeds, data=st.data())
def test_segments_are_the_regimes_of_the_timeline(config: Any, seed: int, data: st.DataObject) -> None:
    timeline = _timeline(schedule_from_config(config, seed=seed))
    factory = schedule_from_config(config, seed=seed)
    start = data.draw(st.integers(0, len(timeline) - 1))
    stop = data.draw(st.integers(start + 1, len(timeline)))
    for begin, end in ((start, stop), (0, len(timeline))):
        segments = list(factory.segments(begin, end))
        assert _expand(segments) == timeline[begin:end]
        assert segments[0][0] == begin
        assert segments[-1][1] == end
        assert all(left[1] == right[0] and left[2] != right[2] for left, right in itertools.pairwise(segments))


@settings(max_examples=100, deadline=None)
@given(config=configs, seed=seeds)
def test_possible_modifications_hold_everything_played_once_and_normalised(config: Any, seed: int) -> None:
    factory = schedule_from_config(config, seed=seed)
    possible = factory.possible_modifications()
    assert set(_timeline(factory)) <= set(possible)
    assert len(set(possible)) == len(possible)
    assert all(normalise_modification(string) == string for string in possible)


def test_global_random_state_is_neither_read_nor_changed() -> None:
    config = json.loads((ROOT / "run_config.json").read_text())
    timelines = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global generator is what this test watches
        before = random.getstate(), pickle.dumps(np.random.get_state())  # noqa: NPY002
        factory = schedule_from_config(config, seed=5)
        timelines.append((_timeline(factory), list(factory.segments()), survey.regime_warning(factory, 8)))
        assert (random.getstate(), pickle.dumps(np.random.get_state())) == before  # noqa: NPY002
    assert timelines[0] == timelines[1]


def test_another_process_and_a_pickled_copy_see_the_same_timeline() -> None:
    program = (
        "import json, sys, modification_factories as mf\n"
        "f = mf.schedule_from_config(json.load(open('run_config.json')), seed=11)\n"
        "print(json.dumps([f.get_modification(s) for s in reversed(range(2000))][::-1]))"
    )
    there = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    factory = schedule_from_config(json.loads((ROOT / "run_config.json").read_text()), seed=11)
    here = _timeline(factory)
    assert json.loads(there.stdout) == here
    assert _timeline(pickle.loads(pickle.dumps(factory))) == here


def test_seeds_and_long_schedules_differ() -> None:
    kwargs = {"num_total_steps": 40_000, "modifications": NAMES, "num_repetitions": 1}
    one, two = (_timeline(make_factory("RandomModificationFactory", kwargs, seed=seed)) for seed in (0, 1))
    agreement = np.mean([a == b for a, b in zip(one, two, strict=True)])
    assert abs(agreement - 1 / len(NAMES)) < 0.01  # independent draws agree in one of eight steps
    for lag in range(512, 20_480, 512):  # no stretch of random numbers comes twice
        assert abs(np.mean([a == b for a, b in zip(one, one[lag:], strict=False)]) - 1 / len(NAMES)) < 0.02, lag


def test_going_back_many_blocks_gives_what_was_drawn_there() -> None:
    kwargs = {"num_total_steps": 20_000, "modifications": NAMES}
    expected = _timeline(mf.RandomModificationFactory(**kwargs, seed=1))
    factory = mf.RandomModificationFactory(**kwargs, seed=1)
    assert _expand(factory.segments()) == expected
    assert _timeline(factory) == expected


# ------------------------------------------------------------------------------------------------- exact arithmetic
@settings(max_examples=100, deadline=None)
@given(kwargs=sequential_kwargs())
def test_thresholds_are_exact_at_one_before_and_one_after(kwargs: dict[str, Any]) -> None:
    factory = mf.SequentialModificationFactory(**kwargs)
    modifications, total = kwargs["modifications"], kwargs["num_total_steps"]
    begins = kwargs["switching_thresholds"][: len(modifications) - 1]
    for index, threshold in enumerate(begins):
        assert factory.get_modification(threshold - 1) == modifications[index]
        assert factory.get_modification(threshold) == modifications[index + 1]
        following = begins[index + 1] if index + 1 < len(begins) else total
        if threshold + 1 < following:
            assert factory.get_modification(threshold + 1) == modifications[index + 1]
    assert _timeline(factory) == [modifications[sum(b <= step for b in begins)] for step in range(total)]


@settings(max_examples=100, deadline=None)
@given(kwargs=random_kwargs(), seed=seeds)
def test_holds_last_exactly_num_repetitions_steps(kwargs: dict[str, Any], seed: int) -> None:
    hold = kwargs["num_repetitions"]
    timeline = _timeline(mf.RandomModificationFactory(**kwargs, seed=seed))
    # The same draws held for a single step each: what block k plays is draw k, and nothing else.
    blocks = -(-len(timeline) // hold)
    draws = _timeline(
        mf.RandomModificationFactory(**{**kwargs, "num_total_steps": blocks, "num_repetitions": 1}, seed=seed)
    )
    assert timeline == [draws[step // hold] for step in range(len(timeline))]


@settings(max_examples=100, deadline=None)
@given(kwargs=cyclic_kwargs())
def test_cycles_are_the_list_played_again_and_again(kwargs: dict[str, Any]) -> None:
    strings, steps = kwargs["modifications"], kwargs["steps"]
    lengths = [steps] * len(strings) if isinstance(steps, int) else steps
    cycle = [string for string, length in zip(strings, lengths, strict=True) for _ in range(length)]
    factory = schedule_from_config(_entry("CyclicModificationFactory", kwargs), seed=0)
    assert factory.num_total_steps == kwargs["num_cycles"] * sum(lengths)
    assert _timeline(factory) == cycle * kwargs["num_cycles"]


def test_task_strings_of_games_are_normalised() -> None:
    """`Breakout:` and `Breakout: no_modif` are one task, so to go from one to the other is no switch."""
    given = ["Pong:  lazy_enemy ", "Breakout:", " Breakout : no_modif", "Breakout:\tno_modif", "no_modif"]
    kwargs = {"modifications": given, "steps": 2, "num_cycles": 1}
    factory = make_factory("CyclicModificationFactory", kwargs, seed=0)
    assert list(factory.segments()) == [(0, 2, "Pong: lazy_enemy"), (2, 8, "Breakout:"), (8, 10, "")]
    games = {"num_total_steps": 9, "modifications": [["Pong:", "Breakout: no_modif"], ["", "mode_1"]]}
    product = make_factory("AllCombinationsRandomModificationFactory", games, seed=0)
    assert product.possible_modifications() == ["Pong:", "Pong: mode_1", "Breakout:", "Breakout: mode_1"]


def test_the_last_threshold_may_be_the_end_of_the_schedule() -> None:
    assert _timeline(mf.SequentialModificationFactory(10, ["a", "b"], [5, 10])) == ["a"] * 5 + ["b"] * 5


def test_no_modification_and_constant_schedules() -> None:
    assert _timeline(mf.NoModificationFactory(7)) == [""] * 7
    constant = schedule_from_config({}, seed=0, total_timesteps=5, modifs=" b  a ")
    assert _timeline(constant) == ["b a"] * 5
    assert constant.possible_modifications() == ["b a"]


def test_normalise_keeps_the_order_of_names() -> None:
    assert normalise_modification("  z \t a\n z ") == "z a z"
    assert normalise_modification(" ") == ""


def test_all_combinations_are_the_product_in_the_order_of_the_lists() -> None:
    factory = mf.AllCombinationsRandomModificationFactory(5, [["x", "y "], ["", "p  q"]])
    assert factory.possible_modifications() == ["x", "x p q", "y", "y p q"]


# -------------------------------------------------------------------------------------------------------- shares
@pytest.mark.parametrize("name", ["RandomModificationFactory", "AllCombinationsRandomModificationFactory"])
def test_shares_follow_the_probabilities_first_draw_included(name: str) -> None:
    probabilities = [0.5, 0.25, 0.15, 0.1]
    choices: Any = ["a", "b", "c", "d"] if name == "RandomModificationFactory" else [["a", "b"], ["", "x"]]
    strings = ["a", "b", "c", "d"] if name == "RandomModificationFactory" else ["a", "a x", "b", "b x"]
    kwargs = {"num_total_steps": 80, "modifications": choices, "probabilities": probabilities, "num_repetitions": 20}
    seeds_drawn = 3000
    counts = np.zeros((4, 4))  # hold block x modification
    for seed in range(seeds_drawn):
        factory = make_factory(name, kwargs, seed=seed)
        for block in range(4):
            counts[block, strings.index(factory.get_modification(20 * block))] += 1
    for block in range(4):  # block 0 is the first draw, which is as likely as any other
        assert stats.chisquare(counts[block], seeds_drawn * np.array(probabilities)).pvalue > 1e-4, counts[block]


def test_shares_within_one_long_schedule_and_independence_of_neighbours() -> None:
    kwargs = {"num_total_steps": 60_000, "modifications": ["a", "b", "c"], "probabilities": [0.6, 0.3, 0.1]}
    timeline = _timeline(mf.RandomModificationFactory(**kwargs, seed=3))
    pairs = np.zeros((3, 3))
    for left, right in itertools.pairwise(timeline):
        pairs["abc".index(left), "abc".index(right)] += 1
    expected = np.outer([0.6, 0.3, 0.1], [0.6, 0.3, 0.1]).ravel() * pairs.sum()
    assert stats.chisquare(pairs.ravel(), expected).pvalue > 1e-4


def test_probability_zero_is_never_played_nor_listed() -> None:
    factory = mf.RandomModificationFactory(20_000, ["a", "b", "c"], [0.0, 1.0 - 1e-9, 0], seed=1)
    assert factory.possible_modifications() == ["b"]
    assert set(_timeline(factory)) == {"b"}


# ------------------------------------------------------------------------------------------------------- epsilon
def _uniform(seed: int, stream: int, count: int) -> list[float]:
    """The random numbers of the blocks 0 to count - 1, by numpy's own generator."""
    key = np.random.SeedSequence(seed, spawn_key=(stream,)).generate_state(2, np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(count).tolist()


def _brute_force(config: dict[str, Any], seed: int) -> list[str]:
    """The timeline step by step, as the documentation defines it."""
    name, kwargs = config["modification_factory"], dict(config["modification_factory_kwargs"])
    epsilon, hold = kwargs.pop("epsilon", 0.05), kwargs.pop("num_repetitions", 1)
    if "Combined" in name:
        entries = list(enumerate(kwargs["modification_factory_kwargs"]))
        pieces = [_brute_force(entry, draws.phase_seed(seed, position)) for position, entry in entries]
        parts = [part for part, piece in enumerate(pieces) for _ in piece]
        scheduled = [modification for piece in pieces for modification in piece]
    elif name == "EpsSequentialModificationFactory":
        total, begins = kwargs["num_total_steps"], kwargs["switching_thresholds"]
        begins = begins[: len(kwargs["modifications"]) - 1]
        parts = [sum(begin <= step for begin in begins) for step in range(total)]
        scheduled = [normalise_modification(kwargs["modifications"][part]) for part in parts]
    else:
        return _timeline(make_factory(name, config["modification_factory_kwargs"], seed=seed))
    if not name.startswith("Eps"):
        return scheduled
    coins, choices = (_uniform(seed, stream, len(scheduled)) for stream in (draws.REPLAY_COIN, draws.REPLAY_CHOICE))
    played: list[str] = []
    earlier: dict[int, list[str]] = {}  # of each part
    for step, due in enumerate(scheduled):
        if parts[step] not in earlier:  # its first step
            if name == "EpsSequentialModificationFactory":
                strings = [normalise_modification(entry) for entry in kwargs["modifications"][: parts[step]]]
            else:
                strings = list(dict.fromkeys(played))
            earlier[parts[step]] = strings
        block = step // hold
        strings = earlier[parts[block * hold]]
        replays = coins[block] < epsilon and len(strings) > 0
        played.append(strings[int(choices[block] * len(strings))] if replays else due)
    return played


@settings(max_examples=150, deadline=None)
@given(kwargs=_with_epsilon(sequential_kwargs()), seed=seeds)
def test_eps_sequential_is_what_the_definition_plays(kwargs: dict[str, Any], seed: int) -> None:
    config = _entry("EpsSequentialModificationFactory", kwargs)
    assert _timeline(schedule_from_config(config, seed=seed)) == _brute_force(config, seed)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(config=_combined(configs).filter(lambda c: c["modification_factory"].startswith("Eps")), seed=seeds)
def test_eps_combined_is_what_the_definition_plays(config: dict[str, Any], seed: int) -> None:
    expected = _brute_force(config, seed)
    assert _timeline(schedule_from_config(config, seed=seed)) == expected
    assert _expand(schedule_from_config(config, seed=seed).segments()) == expected


def test_eps_sequential_replays_positions_alike() -> None:
    names, total = ["a", "b", "a", "c"], 40_000
    factory = mf.EpsSequentialModificationFactory(total, names, [1000, 2000, 3000], epsilon=0.3, seed=9)
    timeline = _timeline(factory)
    assert timeline[:1000] == ["a"] * 1000, "before the second entry there is nothing to replay"
    counts = [timeline[3000:].count(name) for name in ("a", "b", "c")]
    assert stats.chisquare(counts, np.array([0.2, 0.1, 0.7]) * 37_000).pvalue > 1e-4
    always = _timeline(mf.EpsSequentialModificationFactory(50, names, [10, 20, 30], epsilon=1.0))
    assert always[:20] == ["a"] * 20
    assert set(always[20:]) == {"a", "b"}, "an entry that replays hid altogether is a list entry all the same"


def test_eps_combined_replays_the_phases_before_and_nothing_of_its_own() -> None:
    """A fifth of the steps of phase 2, however many strings it draws; what is rare in phase 1 as often as the rest."""
    first = {"num_total_steps": 1000, "modifications": ["a", "b"], "probabilities": [0.9, 0.1]}
    second = {"num_total_steps": 30_000, "modifications": [f"m{index}" for index in range(20)]}
    third = {"num_total_steps": 30_000, "modifications": ["a", "z"]}
    phases = [_entry("RandomModificationFactory", kwargs) for kwargs in (first, second, third)]
    factory = mf.EpsCombinedModificationFactory(phases, epsilon=0.2, seed=3)
    timeline = _timeline(factory)
    assert timeline[:1000] == _timeline(factory.phases[0].factory)
    counts = [timeline[1000:31_000].count(name) for name in ("a", "b", *second["modifications"])]
    assert stats.chisquare(counts, np.array([0.1, 0.1, *[0.04] * 20]) * 30_000).pvalue > 1e-4
    counts = [timeline[31_000:].count(name) for name in ("a", "z", "b", *second["modifications"])]
    shares = np.array([0.4 + 0.2 / 22, 0.4, *[0.2 / 22] * 21])
    assert stats.chisquare(counts, shares * 30_000).pvalue > 1e-4


def test_what_replays_hid_altogether_is_never_replayed() -> None:
    names = [f"m{index}" for index in range(60)]  # due for one block each: most of them are hidden
    phases = [
        _entry("NoModificationFactory", {"num_total_steps": 4}),
        _entry(SEQ, {"num_total_steps": 240, "modifications": names, "switching_thresholds": list(range(4, 240, 4))}),
        _entry(SEQ, {"num_total_steps": 20_000, "modifications": ["end"], "switching_thresholds": []}),
    ]
    factory = mf.EpsCombinedModificationFactory(phases, epsilon=0.8, num_repetitions=4, seed=1)
    timeline = _timeline(factory)
    before, after = set(timeline[:244]), set(timeline[244:])
    assert 2 < len(before) < 40
    assert after == before | {"end"}


def test_a_block_belongs_to_the_part_in_which_it_begins() -> None:
    """Blocks of 8 steps, a border at 12: block 1 begins in the first entry and has nothing to replay."""
    for seed in range(20):
        sequential = mf.EpsSequentialModificationFactory(
            64, ["a", "b"], [12], epsilon=0.5, num_repetitions=8, seed=seed
        )
        phases = [
            _entry(SEQ, {"num_total_steps": steps, "modifications": [name], "switching_thresholds": []})
            for name, steps in (("a", 12), ("b", 52))
        ]
        combined = mf.EpsCombinedModificationFactory(phases, epsilon=0.5, num_repetitions=8, seed=seed)
        assert _timeline(sequential) == _timeline(combined)
        assert _timeline(sequential)[:16] == ["a"] * 12 + ["b"] * 4


def test_a_combined_phase_is_one_phase() -> None:
    inner = [
        _entry(SEQ, {"num_total_steps": 3000, "modifications": [name], "switching_thresholds": []})
        for name in ("a", "b")
    ]
    phases = [
        _entry("CombinedModificationFactory", {"modification_factory_kwargs": inner}),
        _entry(SEQ, {"num_total_steps": 3000, "modifications": ["c"], "switching_thresholds": []}),
    ]
    timeline = _timeline(mf.EpsCombinedModificationFactory(phases, epsilon=0.5, seed=1))
    assert timeline[:6000] == ["a"] * 3000 + ["b"] * 3000
    assert set(timeline[6000:]) == {"a", "b", "c"}


def test_epsilon_defaults_to_one_in_twenty() -> None:
    factory = mf.EpsSequentialModificationFactory(50_000, ["a", "b"], [100], seed=1)
    replayed = _timeline(factory)[1000:].count("a")
    assert stats.binomtest(replayed, 49_000, 0.05).pvalue > 1e-4


def test_thousands_of_strings_are_looked_through_once() -> None:
    """Work per string and per thousands of draws, not per pair of strings or per draw; one string is never drawn."""

    class Counting(set[str]):
        lookups = 0

        def __contains__(self, item: object) -> bool:
            self.lookups += 1
            return super().__contains__(item)

    names = [f"m{index}" for index in range(8001)]
    probabilities = [1 / 8000] * 8000 + [0]
    probabilities[:2] = [2 / 8000 - 1e-15, 1e-15]
    drawing = {"num_total_steps": 2_000_000, "modifications": names, "probabilities": probabilities}
    phases = [_entry("RandomModificationFactory", drawing)] * 2
    phases.append(_entry("NoModificationFactory", {"num_total_steps": 2_000_000}))
    factory = mf.EpsCombinedModificationFactory(phases, seed=2)
    factory._seen = seen = Counting()
    begin = factory.num_total_steps - 2_000_000
    replayed = {factory.get_modification(step) for step in range(begin, begin + 200_000)} - {""}
    assert 4000 < len(replayed) <= len(seen) == len(factory._earlier) == 7999
    assert seen.lookups < 4 * 8000 + 30 * draws.CHUNK


def test_epsilon_zero_is_the_plain_factory_of_the_same_seed() -> None:
    phases = [_entry("RandomModificationFactory", {"num_total_steps": 90, "modifications": NAMES})] * 2
    plain = mf.CombinedModificationFactory(phases, seed=4)
    assert _timeline(mf.EpsCombinedModificationFactory(phases, epsilon=0, seed=4)) == _timeline(plain)


# ------------------------------------------------------------------------------------------------------- combined
@settings(max_examples=100, deadline=None)
@given(entries=st.lists(leaves, min_size=1, max_size=4), seed=seeds)
def test_phases_are_back_to_back_with_local_steps(entries: list[dict[str, Any]], seed: int) -> None:
    combined = mf.CombinedModificationFactory(entries, seed=seed)
    start = 0
    for phase, entry in zip(combined.phases, entries, strict=True):
        alone = _timeline(phase.factory)
        assert (phase.start, phase.stop) == (start, start + len(alone))
        assert len(alone) == schedule_from_config(entry, seed=0).num_total_steps
        assert [combined.get_modification(step) for step in range(start, phase.stop)] == alone
        start = phase.stop
    assert combined.num_total_steps == start
    with pytest.raises(ScheduleError, match=f"0 to {start - 1}"):
        combined.get_modification(start)


def test_borders_of_sequential_phases_are_exact_in_nested_schedules() -> None:
    inner = {
        "SequentialModificationFactory": {"num_total_steps": 10, "modifications": ["b"], "switching_thresholds": []},
        "NoModificationFactory": {"num_total_steps": 5},
    }
    outer = [
        _entry(
            "SequentialModificationFactory", {"num_total_steps": 7, "modifications": ["a"], "switching_thresholds": []}
        ),
        _entry("CombinedModificationFactory", {"modification_factory_kwargs": inner}),
        _entry(
            "SequentialModificationFactory", {"num_total_steps": 3, "modifications": ["c"], "switching_thresholds": []}
        ),
    ]
    combined = mf.CombinedModificationFactory(outer)
    assert _timeline(combined) == ["a"] * 7 + ["b"] * 10 + [""] * 5 + ["c"] * 3
    assert list(combined.segments()) == [(0, 7, "a"), (7, 17, "b"), (17, 22, ""), (22, 25, "c")]


def test_the_same_class_twice_draws_independently() -> None:
    kwargs = {"num_total_steps": 4000, "modifications": ["a", "b", "c", "d"]}
    nested = _entry(
        "CombinedModificationFactory", {"modification_factory_kwargs": {"RandomModificationFactory": kwargs}}
    )
    entries = [_entry("RandomModificationFactory", kwargs), _entry("RandomModificationFactory", kwargs), nested]
    timeline = _timeline(mf.CombinedModificationFactory(entries, seed=0))
    phases = [timeline[start : start + 4000] for start in (0, 4000, 8000)]
    alone = _timeline(mf.RandomModificationFactory(**kwargs, seed=0))
    for one, two in itertools.combinations([*phases, alone], 2):
        assert abs(np.mean([a == b for a, b in zip(one, two, strict=True)]) - 0.25) < 0.04


def test_a_mapping_and_a_list_of_phases_mean_the_same() -> None:
    kwargs = json.loads((ROOT / "run_config.json").read_text())["modification_factory_kwargs"]
    as_list = [_entry(name, inner) for name, inner in kwargs["modification_factory_kwargs"].items()]
    one = mf.EpsCombinedModificationFactory(**kwargs, seed=2)
    two = mf.EpsCombinedModificationFactory(**{**kwargs, "modification_factory_kwargs": as_list}, seed=2)
    assert _timeline(one) == _timeline(two)


# --------------------------------------------------------------------------------------------------------- errors
SEQ, RND, ALL = "SequentialModificationFactory", "RandomModificationFactory", "AllCombinationsRandomModificationFactory"
EPS, COMB = "EpsSequentialModificationFactory", "CombinedModificationFactory"
CYC = "CyclicModificationFactory"


def _seq(**changes: Any) -> dict[str, Any]:
    return {"num_total_steps": 100, "modifications": ["a", "b"], "switching_thresholds": [50], **changes}


def _rnd(**changes: Any) -> dict[str, Any]:
    return {"num_total_steps": 100, "modifications": ["a", "b"], **changes}


def _cyc(**changes: Any) -> dict[str, Any]:
    return {"modifications": ["a", "b"], "steps": 50, "num_cycles": 2, **changes}


BAD: list[tuple[str, Any, list[str]]] = [
    ("SequentialModificationFactroy", {}, ["'SequentialModificationFactroy'", f"`{SEQ}`", "NoModificationFactory"]),
    ("nowhere:Class", {}, ["`nowhere`", "importing", "PYTHONPATH"]),
    ("collections:Counte", {}, ["`Counte`", "get_modification"]),
    (":x", {}, ["package.module:Class"]),
    (".x:Y", {}, ["package.module:Class"]),
    (SEQ, [1], ["`modification_factory_kwargs`", "[1]", "object"]),
    (SEQ, _seq(thresholds=[1]), ["`thresholds`", "switching_thresholds"]),
    (RND, _rnd(num_repetition=3), ["`num_repetition`", "Did you mean `num_repetitions`?"]),
    (SEQ, {"num_total_steps": 5, "modifications": ["a"]}, ["`switching_thresholds` is missing"]),
    (SEQ, _seq(num_total_steps=0), ["`num_total_steps`", "at least 1", "got 0"]),
    (SEQ, _seq(num_total_steps=-5), ["`num_total_steps`", "got -5"]),
    (SEQ, _seq(num_total_steps=True), ["`num_total_steps`", "integer", "got True"]),
    (SEQ, _seq(num_total_steps="100"), ["`num_total_steps`", "integer", "got '100'"]),
    (SEQ, _seq(num_total_steps=100.5), ["`num_total_steps`", "integer", "got 100.5"]),
    (SEQ, _seq(seed=-1), ["`seed`", "at least 0", "got -1"]),
    (SEQ, _seq(modifications=[]), ["`modifications`", "at least one", "got []"]),
    (SEQ, _seq(modifications="a b"), ["`modifications`", "list", "got 'a b'"]),
    (SEQ, _seq(modifications=["a", 3]), ["`modifications[1]`", "string", "got 3"]),
    (SEQ, _seq(switching_thresholds=50), ["`switching_thresholds`", "list", "got 50"]),
    (SEQ, _seq(switching_thresholds=[]), ["`switching_thresholds`", "1 steps", "got 0"]),
    (SEQ, _seq(switching_thresholds=[1, 2, 3]), ["`switching_thresholds`", "got 3: [1, 2, 3]"]),
    (SEQ, _seq(switching_thresholds=[50.5]), ["`switching_thresholds[0]`", "integer", "got 50.5"]),
    (SEQ, _seq(switching_thresholds=[False]), ["`switching_thresholds[0]`", "got False"]),
    (SEQ, _seq(switching_thresholds=[0]), ["`switching_thresholds[0]`", "at least 1", "got 0"]),
    (
        SEQ,
        _seq(switching_thresholds=[100]),
        ["`switching_thresholds`", "smaller than `num_total_steps` 100", "got 100"],
    ),
    (SEQ, _seq(switching_thresholds=[50, 101]), ["`switching_thresholds`", "100 or before", "got 101"]),
    (SEQ, _seq(switching_thresholds=[50, 50]), ["`switching_thresholds`", "strictly increasing", "50 after 50"]),
    (EPS, _seq(epsilon=1.5), ["`epsilon`", "from 0 to 1", "got 1.5"]),
    (EPS, _seq(epsilon=-0.1), ["`epsilon`", "got -0.1"]),
    (EPS, _seq(epsilon=float("nan")), ["`epsilon`", "got nan"]),
    (EPS, _seq(epsilon=True), ["`epsilon`", "got True"]),
    (EPS, _seq(epsilon="0.1"), ["`epsilon`", "got '0.1'"]),
    (EPS, _seq(num_repetitions=0), ["`num_repetitions`", "at least 1", "got 0"]),
    (CYC, _cyc(modifications=[]), ["`modifications`", "at least one", "got []"]),
    (CYC, _cyc(steps=0), ["`steps`", "at least 1", "got 0"]),
    (CYC, _cyc(steps="50"), ["`steps`", "integer", "got '50'"]),
    (CYC, _cyc(steps=[50]), ["`steps`", "each of the 2 modifications", "got 1: [50]"]),
    (CYC, _cyc(steps=[50, 1.5]), ["`steps[1]`", "integer", "got 1.5"]),
    (CYC, _cyc(steps=[50, 0]), ["`steps[1]`", "at least 1", "got 0"]),
    (CYC, _cyc(num_cycles=0), ["`num_cycles`", "at least 1", "got 0"]),
    (CYC, _cyc(num_cycles=10**15), ["`num_total_steps`", "at most"]),
    (CYC, _cyc(num_total_steps=200), ["unknown argument `num_total_steps`", "num_cycles"]),
    (RND, _rnd(num_repetitions=-2), ["`num_repetitions`", "at least 1", "got -2"]),
    (RND, _rnd(probabilities=[1.0]), ["`probabilities`", "2 modifications", "got 1: [1.0]"]),
    (RND, _rnd(probabilities=[0.5, 0.4]), ["`probabilities`", "sum to 1", "0.9"]),
    (RND, _rnd(probabilities=[1.5, -0.5]), ["`probabilities[1]`", "at least 0", "got -0.5"]),
    (RND, _rnd(probabilities=[float("inf"), 0]), ["`probabilities[0]`", "got inf"]),
    (RND, _rnd(probabilities=[10**400, 0]), ["`probabilities[0]`", "got 1000"]),
    (RND, _rnd(probabilities=["1", 0]), ["`probabilities[0]`", "got '1'"]),
    (RND, _rnd(probabilities=[True, 0]), ["`probabilities[0]`", "got True"]),
    (RND, _rnd(probabilities={}), ["`probabilities`", "list", "got {}"]),
    (ALL, _rnd(modifications=["a", "b"]), ["`modifications[0]`", "list", "got 'a'"]),
    (ALL, _rnd(modifications=[["a"], []]), ["`modifications[1]`", "at least one"]),
    (ALL, _rnd(modifications=[]), ["`modifications`", "at least one"]),
    (ALL, _rnd(modifications=[["a", "b"], ["c", "d"]], probabilities=[0.5, 0.5]), ["4 modifications or combinations"]),
    (ALL, _rnd(modifications=[["a"] * 100] * 4), ["`modifications`", "at most 100000", "100000000"]),
    (COMB, {"modification_factory_kwargs": {}}, ["`modification_factory_kwargs`", "at least one phase", "got {}"]),
    (COMB, {"modification_factory_kwargs": 3}, ["`modification_factory_kwargs`", "got 3"]),
    (COMB, {"modification_factory_kwargs": ["a"]}, ["phase 1", "`modification_factory`", "'a'"]),
    (
        COMB,
        {"modification_factory_kwargs": [{**_entry(RND, _rnd()), "modification_kwargs": 1}]},
        ["phase 1", "`modification_kwargs`", "Did you mean `modification_factory_kwargs`?"],
    ),
    (
        COMB,
        {"modification_factory_kwargs": [_entry(RND, _rnd()), _entry(RND, {"modifications": ["a"]})]},
        ["phase 2", RND, "`num_total_steps` is missing"],
    ),
    (
        COMB,
        {"modification_factory_kwargs": {COMB: {"modification_factory_kwargs": {SEQ: _seq(modifications=[])}}}},
        [f"{COMB}: phase 1: {COMB}: phase 1: {SEQ}: `modifications`"],
    ),
]


@pytest.mark.parametrize(("name", "kwargs", "expected"), BAD)
def test_errors_name_the_argument_what_was_given_and_what_is_allowed(
    name: str, kwargs: Any, expected: list[str]
) -> None:
    with pytest.raises(ScheduleError) as raised:
        make_factory(name, kwargs, seed=0)
    message = str(raised.value)
    assert name in message
    for part in expected:
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("step", [-1, 100, 10**12, 1.0, "3", None, True])
def test_a_step_outside_the_schedule_is_an_error(step: Any) -> None:
    for name, kwargs in (
        (SEQ, _seq()),
        (RND, _rnd()),
        (EPS, _seq()),
        (COMB, {"modification_factory_kwargs": {SEQ: _seq()}}),
    ):
        with pytest.raises(ScheduleError, match="`step`"):
            make_factory(name, kwargs, seed=0).get_modification(step)


def test_numpy_integers_are_integers() -> None:
    factory = mf.RandomModificationFactory(np.int64(100), ["a", "b"], num_repetitions=np.int32(5), seed=1)
    assert factory.get_modification(np.int64(99)) == factory.get_modification(99)


@pytest.mark.parametrize(
    ("config", "total", "expected"),
    [
        ({}, None, ["`total_timesteps`", "`modification_factory`"]),
        ({"modification_factory_kwargs": {"a": 1}}, 10, ["`modification_factory_kwargs`", "is not"]),
        (_entry(RND, _rnd()), 101, ["`total_timesteps`", "at most 100", "got 101"]),
        (_entry(RND, _rnd()), 0, ["`total_timesteps`", "at least 1", "got 0"]),
        (_entry(RND, _rnd()), True, ["`total_timesteps`", "got True"]),
        (_entry(RND, {"modifications": ["a"]}), None, ["`num_total_steps` is missing"]),
        (_entry("RandomModification", {}), None, ["'RandomModification'", f"`{RND}`"]),
        ({"modification_factory": 5}, None, ["`modification_factory`", "5"]),
    ],
)
def test_errors_of_a_whole_configuration(config: Any, total: Any, expected: list[str]) -> None:
    with pytest.raises(ScheduleError) as raised:
        schedule_from_config(config, seed=0, total_timesteps=total)
    assert all(part in str(raised.value) for part in expected), str(raised.value)


def test_total_timesteps_fills_in_and_shortens() -> None:
    filled = schedule_from_config(_entry(RND, {"modifications": ["a", "b"]}), seed=1, total_timesteps=64)
    assert filled.num_total_steps == 64
    assert schedule_from_config(_entry(RND, _rnd()), seed=1, total_timesteps=10).num_total_steps == 100
    combined = _entry(COMB, {"modification_factory_kwargs": {RND: _rnd(), SEQ: _seq()}})
    assert schedule_from_config(combined, seed=1, total_timesteps=200).num_total_steps == 200


# -------------------------------------------------------------------------------------------------- custom classes
CUSTOM = '''
from continual_hackatari.schedules.factories import ModificationFactory

class Counting:
    """Counts calls and forgets nothing: wrong unless it is asked once per step, in order."""
    def __init__(self, num_total_steps, period=3):
        self.period, self.asked = period, []
    def get_modification(self, step):
        self.asked.append(step)
        return " m%d  x" % (len(self.asked) // self.period % 4)

class Seeded(ModificationFactory):
    def __init__(self, num_total_steps, seed):
        super().__init__(num_total_steps)
        self.seed = seed
    def get_modification(self, step):
        return "odd" if self.seed % 2 else "even"
    def possible_modifications(self):
        return ["odd", "even "]

class Unlisted(Seeded):
    def get_modification(self, step):
        return "odd" if step < 5 else "surprise"

class Numbers:
    def __init__(self, num_total_steps):
        self.num_total_steps = num_total_steps
    def get_modification(self, step):
        return step

class NoLength:
    def get_modification(self, step):
        return ""
'''


@pytest.fixture
def custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "schedules_of_this_test.py").write_text(CUSTOM)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "schedules_of_this_test", None)  # afterwards it is gone again
    del sys.modules["schedules_of_this_test"]
    return "schedules_of_this_test"


def test_a_custom_class_is_asked_once_per_step_in_order(custom: str) -> None:
    expected = [f"m{(step + 1) // 2 % 4} x" for step in range(40)]
    factory: Any = make_factory(f"{custom}:Counting", {"num_total_steps": 40, "period": 2}, seed=0)
    assert factory.num_total_steps == 40
    assert factory.possible_modifications() == []
    assert factory.get_modification(25) == expected[25]
    assert list(factory.segments(3, 9)) == [(3, 5, "m2 x"), (5, 7, "m3 x"), (7, 9, "m0 x")]
    assert _timeline(factory) == expected
    assert _expand(factory.segments()) == expected
    assert factory._custom.asked == list(range(40))


def test_a_custom_phase_in_an_epsilon_schedule(custom: str) -> None:
    phases = [
        _entry("NoModificationFactory", {"num_total_steps": 10}),
        _entry(f"{custom}:Counting", {"num_total_steps": 300}),
    ]
    kwargs = {"modification_factory_kwargs": phases, "epsilon": 0.3, "num_repetitions": 4}
    played = _timeline(make_factory("EpsCombinedModificationFactory", kwargs, seed=1))
    other = make_factory("EpsCombinedModificationFactory", kwargs, seed=1)
    assert [other.get_modification(step) for step in reversed(range(310))] == played[::-1]
    scheduled = _timeline(mf.CombinedModificationFactory(phases, seed=1))
    assert scheduled[10:] == [f"m{(step + 1) // 3 % 4} x" for step in range(300)]
    assert played[:12] == scheduled[:12]
    differing = [step for step in range(310) if played[step] != scheduled[step]]
    assert len(differing) > 20
    assert {played[step] for step in differing} == {""}


def test_custom_classes_get_the_seed_when_they_accept_it(custom: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, expected in ((3, "odd"), (4, "even")):
        factory = make_factory(f"{custom}:Seeded", {"num_total_steps": 4}, seed=seed)
        assert factory.possible_modifications() == ["odd", "even"]
        assert _timeline(factory) == [expected] * 4
    module = __import__(custom)
    monkeypatch.setitem(mf.modification_factory_mapping, "MyFactory", module.Seeded)
    assert make_factory("MyFactory", {"num_total_steps": 4, "seed": 1}, seed=0).get_modification(0) == "odd"


def test_a_custom_class_may_change_a_built_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Marked(mf.RandomModificationFactory):
        def get_modification(self, step: int) -> str:
            return super().get_modification(step) + " marked"

        def possible_modifications(self) -> list[str]:
            return [f"{name} marked" for name in super().possible_modifications()]

    monkeypatch.setitem(mf.modification_factory_mapping, "Marked", Marked)
    factory = make_factory("Marked", _rnd(), seed=1)
    plain = _timeline(mf.RandomModificationFactory(**_rnd(), seed=1))
    assert _timeline(factory) == _expand(factory.segments()) == [f"{name} marked" for name in plain]


def test_a_custom_class_that_changes_its_length_is_as_long_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubled(mf.NoModificationFactory):
        def __init__(self, num_total_steps: int) -> None:
            super().__init__(2 * num_total_steps)

    monkeypatch.setitem(mf.modification_factory_mapping, "Doubled", Doubled)
    assert make_factory("Doubled", {"num_total_steps": 30}, seed=0).num_total_steps == 60


def test_rewriting_a_custom_class_rewrites_its_list_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Prefixed(mf.SequentialModificationFactory):
        def __init__(self, num_total_steps: int) -> None:
            super().__init__(num_total_steps, ["x:a"], [])

    monkeypatch.setitem(mf.modification_factory_mapping, "Prefixed", Prefixed)
    factory = make_factory("Prefixed", {"num_total_steps": 4}, seed=0)
    factory.rewrite(lambda string: "a")
    assert factory.possible_modifications() == ["a"]
    assert factory.get_modification(0) == "a"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Unlisted", ["Unlisted", "step 5", "'surprise'", "possible_modifications"]),
        ("Numbers", ["Numbers", "get_modification(0)", "string", "got 0"]),
    ],
)
def test_wrong_answers_of_a_custom_class(custom: str, name: str, expected: list[str]) -> None:
    factory = make_factory(f"{custom}:{name}", {"num_total_steps": 10}, seed=0)
    with pytest.raises(ScheduleError) as raised:
        _timeline(factory)
    assert all(part in str(raised.value) for part in expected), str(raised.value)


def test_a_custom_class_without_length_or_with_a_typo(custom: str) -> None:
    with pytest.raises(ScheduleError, match="NoLength: `num_total_steps`"):
        make_factory(f"{custom}:NoLength", {}, seed=0)
    with pytest.raises(ScheduleError, match=r"unknown argument `perod`\. Did you mean `period`"):
        make_factory(f"{custom}:Counting", {"num_total_steps": 3, "perod": 1}, seed=0)
    with pytest.raises(ScheduleError, match="Did you mean `Counting`"):
        make_factory(f"{custom}:Countin", {"num_total_steps": 3}, seed=0)


# ------------------------------------------------------------------------------------------------ warning and speed
def test_warning_gives_the_arithmetic() -> None:
    config = _entry(SEQ, {"num_total_steps": 4000, "modifications": ["a", "b"], "switching_thresholds": [2000]})
    factory = schedule_from_config(config, seed=0)
    warning = survey.regime_warning(factory, 8)
    assert warning is not None
    for part in ("2,000.0 steps on average", "8 games", "250.0 steps per game", "switch_mode episode", "2,400 steps"):
        assert part in warning
    assert "most games are cut by a switch" in warning
    live = survey.regime_warning(factory, 8, switch_mode="live")
    assert live is not None
    assert "most games are played under several strings" in live
    assert "cut" not in live
    assert survey.regime_warning(factory, 6) is None  # 333 steps per game
    assert survey.regime_warning(factory, 8, switch_mode="episode") is None
    assert survey.regime_warning(factory, 8, total_timesteps=2000) is None  # nothing switches
    assert survey.regime_warning(mf.NoModificationFactory(10), 8) is None


def test_regimes_of_exactly_300_steps_per_game_need_no_warning() -> None:
    factory = mf.SequentialModificationFactory(4800, ["a", "b"], [2400])
    assert survey.regime_warning(factory, 8) is None
    assert survey.regime_warning(factory, 9) is not None


def test_regimes_between_two_questions_do_not_count() -> None:
    factory = mf.SequentialModificationFactory(24, ["a", "b", "a"], [9, 15])
    assert list(survey.as_asked(factory.segments(), 8)) == [(0, 24, "a")]
    assert list(survey.as_asked(factory.segments(), 3)) == [(0, 9, "a"), (9, 15, "b"), (15, 24, "a")]
    timeline = _timeline(mf.RandomModificationFactory(1000, NAMES, num_repetitions=7, seed=2))
    random_factory = mf.RandomModificationFactory(1000, NAMES, num_repetitions=7, seed=2)
    asked = [timeline[step] for step in range(0, 1000, 8)]
    assert _expand(survey.as_asked(random_factory.segments(), 8))[::8] == asked


ADVERSARIAL = [
    (RND, {"num_total_steps": 50_000_000, "modifications": NAMES}),
    (
        "EpsCombinedModificationFactory",
        {
            "modification_factory_kwargs": [
                _entry(RND, {"num_total_steps": 25_000_000, "modifications": ["a", "b"]}),
                _entry(RND, {"num_total_steps": 25_000_000, "modifications": NAMES}),
            ]
        },
    ),
    (EPS, {"num_total_steps": 50_000_000, "modifications": ["a", "b"], "switching_thresholds": [49_000_000]}),
    (EPS, {"num_total_steps": 50_000_000, "modifications": ["a", "b"], "switching_thresholds": [9], "epsilon": 1}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kwargs"), ADVERSARIAL)
def test_fifty_million_steps_are_no_burden(name: str, kwargs: dict[str, Any]) -> None:
    factory = make_factory(name, kwargs, seed=1)
    begin = time.process_time()
    survey.regime_warning(factory, 8)
    assert time.process_time() - begin < 5  # about 0.5 s
    late = make_factory(name, kwargs, seed=1)
    begin = time.process_time()
    for step in range(49_500_000, 49_900_000, 8):
        late.get_modification(step)
    assert (time.process_time() - begin) / 50_000 < 2e-5  # about 1 microsecond


def test_sampled_surveys_estimate_the_mean() -> None:
    factory = mf.RandomModificationFactory(5_000_000, ["a", "b"], num_repetitions=10, seed=1)
    found = survey.survey_of(factory, 5_000_000, 10)
    assert not found.complete
    assert abs(found.mean_length - 20) < 1  # a hold is continued by an equal draw with probability one half


def test_a_sample_counts_long_regimes_no_more_than_short_ones() -> None:
    phases = [
        {
            "modification_factory": "RandomModificationFactory",
            "modification_factory_kwargs": {"num_total_steps": 2_000_000, "modifications": names, "num_repetitions": n},
        }
        for names, n in ((["a", "b"], 10), (["c", "d"], 100))
    ]
    kwargs = {"modification_factory_kwargs": phases}
    factory = make_factory("CombinedModificationFactory", kwargs, seed=1)
    found = survey.survey_of(factory, 4_000_000, 1)
    assert not found.complete
    assert found.mean_length == pytest.approx(4_000_000 / len(list(factory.segments())), rel=0.05)
    assert found.shares["a"] + found.shares["b"] == pytest.approx(0.5, abs=0.02)


LONG_AND_SHORT = {
    "one long, many short": [(["c"], 1_000_000, 1_000_000), (["a", "b"], 8, 1_000_000)],
    "several long": [(["c", "d"], 500_000, 1_000_000), (["a", "b"], 16, 3_000_000)],
    "four in each part": [(["c", "d"], 5_000, 1_000_000), (["a", "b"], 8, 1_000_000)],
    "long, and short by seven": [(["a", "b"], 7, 1_000_006), (["c", "d"], 330_000, 1_320_000)],
    "one after the other": [(["a", "b"], 10, 100_000), (["c"], 100_000, 100_000)] * 10,
}
"""parts of a schedule that goes round: strings, steps of each, steps of the part"""


@pytest.mark.parametrize("num_envs", [1, 8])
@pytest.mark.parametrize("kind", LONG_AND_SHORT)
def test_a_sample_tells_what_the_whole_schedule_would(kind: str, num_envs: int) -> None:
    parts = [
        {"modifications": names, "steps": each, "num_cycles": stop // each // len(names)}
        for names, each, stop in LONG_AND_SHORT[kind]
    ]
    phases = [
        {"modification_factory": "CyclicModificationFactory", "modification_factory_kwargs": part} for part in parts
    ]
    factory = make_factory("CombinedModificationFactory", {"modification_factory_kwargs": phases}, seed=1)
    stop = factory.num_total_steps
    found = survey.survey_of(factory, stop, num_envs)
    assert not found.complete
    whole = list(survey.as_asked(factory.segments(), num_envs))
    assert found.mean_length == pytest.approx(stop / len(whole), rel=0.03)
    shares = Counter[str]()
    for start, end, name in whole:
        shares[name] += (end - start) / stop
    assert found.shares == pytest.approx(dict(shares), abs=0.015)
    longest = max(end - start for start, end, _ in whole)
    assert max(end - start for start, end, _ in found.regimes) == pytest.approx(longest, abs=num_envs)


@pytest.mark.parametrize(
    ("name", "kwargs", "num_envs"),
    [
        # a fifth of the samples would begin with the short ones, which are a tenth
        ("CyclicModificationFactory", {"modifications": ["a", "b"] * 550 + [""], "steps": [10] * 1100 + [100_000]}, 8),
        ("RandomModificationFactory", {"num_total_steps": 200_000, "modifications": ["a", "b"]}, 8),
        ("RandomModificationFactory", {"num_total_steps": 200_000, "modifications": ["a", "b"]}, 64),
    ],
)
def test_a_sample_of_parts_that_are_of_two_kinds_or_of_few_questions(
    name: str, kwargs: dict[str, Any], num_envs: int
) -> None:
    more = {"num_cycles": 100} if "steps" in kwargs else {"num_repetitions": 1}
    factory = make_factory(name, kwargs | more, seed=1)
    found = survey.survey_of(factory, factory.num_total_steps, num_envs)
    whole = list(survey.as_asked(factory.segments(), num_envs))
    if found.complete:  # so many games ask few questions
        assert found.regimes == whole
    assert found.complete == (name == "RandomModificationFactory")
    assert found.mean_length == pytest.approx(whole[-1][1] / len(whole), rel=0.08)
    of_a = sum(end - start for start, end, name in whole if name == "a") / whole[-1][1]
    assert found.shares["a"] == pytest.approx(of_a, abs=0.02)


def test_regimes_that_end_before_anybody_asks_again_are_not_seen() -> None:
    """1,024 games ask at even steps only, where `a` is played."""
    kwargs = {"modifications": ["a", "b"], "steps": 1, "num_cycles": 30_000}
    factory = make_factory("CyclicModificationFactory", kwargs, seed=1)
    found = survey.survey_of(factory, 60_000, 1024)
    assert (found.complete, found.shares, len(found.regimes)) == (True, {"a": 1.0}, 1)
    assert survey.regime_warning(factory, 1024) is None
    assert survey.survey_of(factory, 60_000, 1_000_000).regimes == [(0, 1_000_000, "a")], "more games than steps"


def test_samples_are_spread_over_the_whole_schedule() -> None:
    factory = mf.RandomModificationFactory(5_000_000, ["a", "b"], num_repetitions=10, seed=1)
    found = survey.survey_of(factory, 5_000_000, 10)
    assert {start // 50_000 for start, _, _ in found.regimes} == set(range(100))


# ------------------------------------------------------------------------------------------------- shipped configs
TRAINING_KEYS = {
    "notes",
    "exp_name",
    "env_id",
    "backend",
    "obs_mode",
    "frameskip",
    "num_envs",
    "num_steps",
    "learning_rate",
    "anneal_lr",
    "switch_mode",
    "save_agent_with_switch",
    "test_modifs",
    "modification_factory",
    "modification_factory_kwargs",
}


def test_run_config_is_the_documented_example() -> None:
    assert mf.load_config(ROOT / "run_config.json") == {
        "env_id": "ALE/Freeway-v5",
        "modification_factory": "EpsCombinedModificationFactory",
        "modification_factory_kwargs": {
            "modification_factory_kwargs": {
                "SequentialModificationFactory": {
                    "num_total_steps": 1000,
                    "modifications": ["disable_cars"],
                    "switching_thresholds": [],
                },
                "AllCombinationsRandomModificationFactory": {
                    "num_total_steps": 1000,
                    "modifications": [
                        ["all_green_cars", "all_pink_cars", "all_white_cars", "all_blue_cars"],
                        ["", "reverse_car_speed_bottom", "reverse_car_speed_top"],
                    ],
                    "num_repetitions": 20,
                },
            },
            "epsilon": 0.005,
        },
    }
    factory = schedule_from_config(mf.load_config(ROOT / "run_config.json"), seed=42)
    assert factory.num_total_steps == 2000
    assert len(factory.possible_modifications()) == 13


# The first run is a demonstration, see test_first_run.py; cleanrl_atari is another project's settings, no schedule.
OTHERS = {ROOT / "configs" / name for name in ("first_run.json", "cleanrl_atari.json")}
EXPERIMENTS = sorted(set((ROOT / "configs").glob("*.json")) - OTHERS)


def test_three_experiments_ship() -> None:
    games = {mf.load_config(path).get("env_id", "ALE/Pong-v5") for path in EXPERIMENTS}
    assert {"ALE/Freeway-v5", "ALE/Pong-v5", "ALE/Breakout-v5"} <= games


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("seed", [1, 42])
def test_shipped_experiments_walk_from_end_to_end(path: Path, seed: int) -> None:
    config = mf.load_config(path)
    assert set(config) <= TRAINING_KEYS
    factory = schedule_from_config(config, seed=seed)
    (held_back,) = config["test_modifs"]
    assert held_back in config["notes"]
    assert held_back not in factory.possible_modifications()
    segments = list(factory.segments())
    assert len(segments) > 3
    assert min(stop - start for start, stop, _ in segments) >= 100_000
    for start, stop, modification in segments:
        for step in (start, (start + stop) // 2, stop - 1):
            assert factory.get_modification(step) == modification
    asked = range(0, factory.num_total_steps, 1000)
    assert {factory.get_modification(step) for step in asked} == {modification for _, _, modification in segments}
    assert survey.regime_warning(factory, config.get("num_envs", 8)) is None


def test_whole_numbers_may_be_written_as_json_writes_large_ones() -> None:
    factory = make_factory("RandomModificationFactory", {"num_total_steps": 1e6, "modifications": ["a"]}, seed=1)
    assert (factory.num_total_steps, type(factory.num_total_steps)) == (1_000_000, int)
    with pytest.raises(ScheduleError, match=r"`num_total_steps` must be an integer of at least 1, got 1\.5"):
        make_factory("RandomModificationFactory", {"num_total_steps": 1.5, "modifications": ["a"]}, seed=1)
