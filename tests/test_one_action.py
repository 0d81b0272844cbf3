"""The player that always presses the same button: what `benchmarks.one_action` measures of it, and where it is kept."""

import json
from types import SimpleNamespace

import pytest
import torch

from benchmarks import one_action
from continual_hackatari.agents.player import act_and_describe


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(one_action, "FILE", tmp_path / "one_action.json")
    return tmp_path / "one_action.json"


def test_it_looks_at_nothing_and_has_no_choice():
    actions, said = act_and_describe(
        one_action.OneAction(2), torch.zeros(3, 4, 84, 84), deterministic=False, generator=None
    )
    assert actions.tolist() == [2, 2, 2]
    assert said["entropy"].tolist() == [0, 0, 0]


def test_on_an_empty_road_up_scores_and_the_others_do_not(monkeypatch):
    """A crossing takes some 50 steps."""
    monkeypatch.setattr(one_action, "GAMES", 2)
    monkeypatch.setattr(one_action, "MOST_STEPS", 150)
    scores = one_action.play("ALE/Freeway-v5", {}, "disable_cars")
    assert list(scores) == ["NOOP", "UP", "DOWN"]
    assert scores["UP"] >= 2
    assert scores["NOOP"] == scores["DOWN"] == 0


@pytest.mark.parametrize(("string", "actions"), [("gravity", 4), ("Breakout: gravity", 18)])
def test_the_mean_of_the_games_of_evaluations_with_the_settings_asked_for(monkeypatch, string, actions):
    asked = []

    def evaluate(agent, game, strings, **options):
        asked.append((agent.action, game, strings, options))
        return {strings[0]: [SimpleNamespace(score=agent.action + game) for game in range(5)]}

    monkeypatch.setattr(one_action, "evaluate", evaluate)
    scores = one_action.play("ALE/Breakout-v5", {"frameskip": 2}, string)
    assert list(scores.values()) == [action + 2 for action in range(actions)]
    for action, (number, game, strings, options) in enumerate(asked):
        assert (number, strings) == (action, [string])
        assert (game.frameskip, game.max_num_frames_per_episode) == (2, 2 * one_action.MOST_STEPS)
        assert {"seed": 1, "episodes": 5, "num_envs": 5}.items() <= options.items(), "as evaluations play by default"


def test_strings_are_added_and_found(file, tmp_path, monkeypatch, capsys):
    played = []
    monkeypatch.setattr(
        one_action, "play", lambda *asked: played.append(asked) or {"NOOP": 1.0, "UP": float(len(played))}
    )
    path = tmp_path / "own.json"
    kwargs = {
        "num_total_steps": 100,
        "modifications": ["Freeway: disable_cars", "Breakout:"],
        "switching_thresholds": [50],
    }
    config = {"env_id": "ALE/Freeway-v5", "modification_factory": "SequentialModificationFactory"}
    config["full_action_space"] = True
    path.write_text(json.dumps({**config, "modification_factory_kwargs": kwargs}))
    monkeypatch.setattr("sys.argv", ["one_action", str(path)])
    one_action.main()
    assert [(env_id, string) for env_id, _, string in played] == [
        ("ALE/Breakout-v5", "Breakout:"),
        ("ALE/Freeway-v5", "Freeway:"),
        ("ALE/Freeway-v5", "Freeway: disable_cars"),
    ]
    assert "ALE/Freeway-v5 Freeway: disable_cars: UP 3\n" in capsys.readouterr().out
    one_action.main()
    assert len(played) == 3, "what is there is not played again"
    monkeypatch.setattr("sys.argv", ["one_action", "--again", str(path)])
    one_action.main()
    assert len(played) == 6
    assert one_action.scores_of("ALE/Breakout-v5", {}, "Freeway: disable_cars") == {"NOOP": 1, "UP": 6}
    assert one_action.scores_of("ALE/Freeway-v5", {"frameskip": 2}, "Freeway: disable_cars") == {}
    assert one_action.scores_of("ALE/Freeway-v5", {}, "all_red_cars") == {}


def test_what_cannot_be_read_is_one_sentence(file, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["one_action", str(tmp_path / "none.json")])
    with pytest.raises(SystemExit, match=r"error: .*none\.json"):
        one_action.main()
