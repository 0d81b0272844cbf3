"""The comparison with published results: what is trained, and what the table says."""

import json
from itertools import chain
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from benchmarks import published
from experiment.checkpoints import save_checkpoint
from modification_factories import schedule_from_config
from wrappers.vector import check_string, game_config


def schedule(game, condition):
    config = Path(published.run_of(game, condition, 1, None).flags[1])
    return schedule_from_config(json.loads(config.read_text()), seed=1)


@pytest.mark.parametrize("game", published.PUBLISHED)
def test_what_is_trained_and_evaluated_can_be_played(game):
    config, _ = game_config(f"ALE/{game}-v5")
    trained = chain.from_iterable(schedule(game, c).possible_modifications() for c in published.conditions(game))
    for string in [*trained, *published.PUBLISHED[game]]:
        check_string(config, "" if string == published.UNMODIFIED else string)


@pytest.mark.parametrize(("game", "steps"), [("Freeway", 10_000_000), ("Pong", 10_000_000), ("Breakout", 50_000_000)])
def test_conditions_last_as_long_as_published(game, steps):
    assert "baseline" in published.conditions(game)
    assert schedule(game, "baseline").possible_modifications() == [""]
    assert {schedule(game, c).num_total_steps for c in published.conditions(game)} == {steps}


def test_table_says_steps_means_and_where_they_lie():
    means = dict.fromkeys(published.PUBLISHED["Pong"], -5.0)
    first = published.Evaluation("a", 1000, {**means, published.UNMODIFIED: 10.0})
    second = published.Evaluation("b", 1000, {**means, published.UNMODIFIED: 30.0})
    lines = published.table("Pong", "baseline", [first, second]).splitlines()
    assert lines[0] == "Pong, trained on baseline, 2 agents of 1,000 steps"
    assert lines[4] == "| `no_modif` | 13 to 18.5 | 20.0 | 10.0 to 30.0 | above |"
    assert lines[5] == "| `lazy_enemy` | -15 to -6 | -5.0 | -5.0 to -5.0 | above |"
    assert lines[6] == "| `parallel_enemy` | -2 to 5 | -5.0 | -5.0 to -5.0 | below |"


def test_the_result_names_agents_without_this_machines_folders(tmp_path):
    folder = tmp_path / "runs" / "a" / "eval"
    folder.mkdir(parents=True)
    agent = tmp_path / "runs" / "a" / "model.cleanrl_model"
    save_checkpoint(agent, model_weights={"w": torch.zeros(1)}, args={}, global_step=7)
    (folder / "summary.json").write_text(json.dumps({"results": [{"modification": "", "mean": 2.5}]}))
    expected = published.Evaluation("runs/a/model.cleanrl_model", 7, {published.UNMODIFIED: 2.5})
    assert published.evaluate(agent, "Pong", folder) == expected


def test_readme_has_the_table_of_the_result():
    result = json.loads((ROOT / "benchmarks" / "results" / "published_freeway.json").read_text())
    evaluations = [published.Evaluation(**agent) for agent in result["conditions"]["baseline"]["agents"]]
    text = published.table("Freeway", "baseline", evaluations)
    assert text == result["conditions"]["baseline"]["table"]
    assert text.split("\n\n")[1] in (ROOT / "README.md").read_text()


def test_other_conditions_have_nothing_published_beside_them():
    means = dict.fromkeys(published.PUBLISHED["Pong"], 0.0)
    lines = published.table("Pong", "lazy_enemy", [published.Evaluation("a", 1000, means)]).splitlines()
    assert all("| - |" in line and line.endswith("| - |") for line in lines[4:])


def test_unknown_condition_is_refused_with_those_there_are(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["published", "--game", "Pong", "--conditions", "lazy"])
    with pytest.raises(SystemExit) as stop:
        published.parse()
    assert stop.value.code == 2
    assert "Pong has baseline, lazy_enemy, parallel_enemy" in capsys.readouterr().err
