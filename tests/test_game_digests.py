"""Every modification plays the same game on every Python, numpy and processor: digests, recorded once.

    PYTHONPATH=. python tests/test_game_digests.py      # record them anew, where hackatari is installed

A digest is the SHA-256 of RAM, reward and screen after each step, with fixed seeds and actions. Names that need what is
not installed here are left out of the comparison.
"""

import hashlib
import json
import random
import sys
from pathlib import Path

import pytest
from conftest import mostly_slow

from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.emulator import ale_games
from continual_hackatari.wrappers.modifications import catalogue
from continual_hackatari.wrappers.modified_game import ModifiedGame

FILE = Path(__file__).parent / "data" / "game_digests.json"
QUICK, THOROUGH = 50, 750
RECORDED = json.loads(FILE.read_text()) if FILE.is_file() else {}


def digests(game, marks):
    """name -> {number of steps: digest} for the unmodified game and each name that can be played here."""
    config, _ = game_config(f"ALE/{game}-v5")
    played = ModifiedGame(config, seed=3, modification_seed=5)
    beginning = played.carried_over()
    names = [name for name, modification in catalogue(game).items() if not modification.refused]
    return {name: dict(_play(played, beginning, name, marks)) for name in ["", *names]}


def _play(played, beginning, name, marks):
    played.carry_over(beginning)  # loading the ROM anew for each name would take longer than the steps
    played.start((name,) if name else (), lambda: None)
    actions, digest = random.Random(7), hashlib.sha256()
    for step in range(1, max(marks) + 1):
        reward = played.step(actions.randrange(len(played.actions)))
        digest.update(played.ale.getRAM().tobytes() + repr(reward).encode() + played.ale.getScreen().tobytes())
        if step in marks:
            yield str(step), digest.hexdigest()
        if played.terminated or played.truncated:
            played.start((name,) if name else (), lambda: None)


def assert_as_recorded(game, steps):
    here = digests(game, [steps])
    assert set(here) <= set(RECORDED[game]), "a modification without a recorded digest: record them anew"
    differing = {name for name, found in here.items() if found[str(steps)] != RECORDED[game][name][str(steps)]}
    assert not differing


@pytest.mark.parametrize("game", mostly_slow([game for game in ale_games() if catalogue(game)], 3))
def test_every_modification_plays_as_recorded(game):
    assert_as_recorded(game, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("game", [game for game in ale_games() if catalogue(game)])
def test_every_modification_plays_long_as_recorded(game):
    assert_as_recorded(game, THOROUGH)


def test_what_is_recorded_tells_modifications_apart():
    names = {(game, name) for game, recorded in RECORDED.items() for name in recorded if name}
    assert len(names) == 198
    for game, recorded in RECORDED.items():
        assert len({found[str(THOROUGH)] for found in recorded.values()}) > len(recorded) / 2, game


if __name__ == "__main__":
    found = {game: digests(game, [QUICK, THOROUGH]) for game in ale_games() if catalogue(game)}
    FILE.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{FILE}: {sum(len(names) - 1 for names in found.values())} modifications of {len(found)} games")
    sys.exit()
