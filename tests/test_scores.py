"""Human-normalised scores and intervals, against the emulator's own names and scipy."""

import json
import math
from pathlib import Path

import ale_py
import gymnasium
import numpy as np
import pytest
from scipy import stats

from continual_hackatari.reporting.statistics import human_normalised, mean_std_interval

REFERENCE = json.loads((Path(__file__).parents[1] / "reporting" / "atari_scores.json").read_text())["scores"]
gymnasium.register_envs(ale_py)
ALE_IDS = sorted(env_id for env_id in gymnasium.registry if env_id.startswith("ALE/"))


def test_published_scores_are_plausible():
    assert len(REFERENCE) == 57
    for game, entry in REFERENCE.items():
        assert entry["human"] > entry["random"], game


def test_every_environment_id_finds_the_scores_of_its_rom():
    found = set()
    for env_id in ALE_IDS:
        rom = gymnasium.registry[env_id].kwargs["game"]  # the emulator's own name, in snake case
        entry = REFERENCE.get(rom)
        if entry is None:
            assert human_normalised(env_id, 1.0) is None, env_id
            continue
        found.add(rom)
        for name in (env_id, env_id[4:-3], rom, f"{env_id[4:-3]}NoFrameskip-v4", f"{env_id[4:-3]}Deterministic-v0"):
            assert human_normalised(name, entry["random"]) == 0.0, name
            assert human_normalised(name, entry["human"]) == 1.0, name
    assert found == set(REFERENCE)


def test_known_values():
    # Computed by hand from the published references, e.g. Kangaroo: random 52.0, human 3035.0.
    assert human_normalised("ALE/Freeway-v5", 14.8) == pytest.approx(0.5)
    assert human_normalised("ALE/Pong-v5", -20.7) == 0.0
    assert human_normalised("ALE/Kangaroo-v5", 52.0 + 2983.0 / 4) == pytest.approx(0.25)
    assert human_normalised("ALE/Frostbite-v5", 65.2 - 4269.5) == pytest.approx(-1.0)
    assert human_normalised("ALE/Tetris-v5", 3.0) is None
    assert human_normalised("no such game", 3.0) is None


def test_interval_agrees_with_scipy():
    scores = np.random.default_rng(3).gamma(2.0, 10.0, size=21)
    mean, std, low, high = mean_std_interval(scores.tolist(), seed=1)
    assert mean == pytest.approx(np.sum(scores) / 21)
    assert std == pytest.approx(math.sqrt(np.sum((scores - mean) ** 2) / 20))
    reference = stats.bootstrap((scores,), np.mean, method="percentile", n_resamples=200_000, random_state=0)
    width = reference.confidence_interval.high - reference.confidence_interval.low
    assert low == pytest.approx(reference.confidence_interval.low, abs=0.03 * width)
    assert high == pytest.approx(reference.confidence_interval.high, abs=0.03 * width)


@pytest.mark.slow
def test_interval_covers_the_true_mean_about_95_times_in_100():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        _, _, low, high = mean_std_interval(generator.normal(5.0, 2.0, size=60), seed=trial)
        covered += low <= 5.0 <= high
    assert 180 <= covered <= 198


def test_same_seed_same_interval_and_global_generator_untouched():
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert mean_std_interval([1, 2, 5], seed=3) == mean_std_interval([1, 2, 5], seed=3)
    assert mean_std_interval(list(range(50)), seed=3) != mean_std_interval(list(range(50)), seed=4)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_one_game_has_no_spread_and_none_is_an_error():
    mean, *rest = mean_std_interval([4.0])
    assert mean == 4.0
    assert all(math.isnan(value) for value in rest)
    assert mean_std_interval([4.0, 4.0, 4.0]) == (4.0, 0.0, 4.0, 4.0)
    with pytest.raises(ValueError, match="at least one"):
        mean_std_interval([])
