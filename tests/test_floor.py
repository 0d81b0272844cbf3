"""The uniformly random player, its measured scores, and metrics that are relative to them."""

import hashlib
import json
import math
from types import SimpleNamespace

import ale_py
import numpy as np
import pandas as pd
import pytest
import torch
from ale_py import roms
from conftest import ROOT
from evaluations import make_rows
from scipy import stats

from benchmarks import floor as benchmark
from continual_hackatari import eval as evaluation
from continual_hackatari.agents.random_player import RandomPlayer
from continual_hackatari.names import full_id
from continual_hackatari.reporting import floor
from continual_hackatari.reporting.asked import Asked, Place
from continual_hackatari.reporting.evaluations import Evaluations
from continual_hackatari.reporting.floor import USUAL, Floor, conditions_of, floor_of, floors_of, measured
from continual_hackatari.reporting.metrics import NO_FLOOR, continual_metrics, metrics_of
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.statistics import human_normalised
from continual_hackatari.wrappers.config import game_config

FLOORS = {"a": Floor(-20.0, -21.0, -19.0), "b": Floor(0.0, 0.0, 0.0), "c": "not measured"}


def test_every_action_is_equally_likely_and_greedy_is_no_other():
    player, seen = RandomPlayer(6), torch.zeros(60_000, 1)
    drawn = [player.act(seen, deterministic=greedy, generator=torch.Generator().manual_seed(1)) for greedy in (0, 1)]
    assert torch.equal(*drawn)
    assert stats.chisquare(torch.bincount(drawn[0], minlength=6)).pvalue > 0.001
    assert player.describe(seen)["entropy"][0] == pytest.approx(math.log(6))


def test_eval_plays_it_like_an_agent(tmp_path, capsys):
    words = [
        "--env_id",
        "ALE/Breakout-v5",
        "--modifs",
        "no_modif, mode_4",
        "--eval_episodes",
        "2",
        "--num_workers",
        "0",
    ]
    evaluation.main(
        ["--agent_path", "random", *words, "--no-cuda", "--num_workers", "0", "--output_dir", str(tmp_path / "out")]
    )
    out = capsys.readouterr().out
    assert "mode_4" in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["architecture"], summary["game_start"], summary["sticky"]) == ("random", "steps", 0.25)
    with pytest.raises(SystemExit):
        evaluation.main(["--agent_path", "random", "--no-cuda"])
    assert capsys.readouterr().err == (
        "error: `agent_path` random plays any game; say which with `--env_id`, such as ALE/Freeway-v5\n"
    )


@pytest.mark.slow
def test_the_measured_scores_are_those_of_an_independent_random_player():
    """Breakout in ale-py alone: no-op steps, FIRE, then uniform actions; 15 games of it against the committed 21."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.25)
    ale.setInt("random_seed", 3)
    ale.loadROM(roms.get_rom_path("breakout"))
    actions, draws = ale.getMinimalActionSet(), np.random.default_rng(3)
    scores = []
    for _ in range(15):
        ale.reset_game()
        for _ in range(4 * int(draws.integers(1, 31))):
            ale.act(ale_py.Action.NOOP)
        lives, score = 6, 0.0
        while not ale.game_over():
            action = actions[draws.integers(4)]
            if 0 < ale.lives() < lives:
                lives, action = ale.lives(), ale_py.Action.FIRE
            score += sum(ale.act(action) for _ in range(4))
        scores.append(score)
    committed = measured()["ALE/Breakout-v5"]["4"][""]
    assert len(committed) == benchmark.GAMES
    assert stats.mannwhitneyu(scores, committed).pvalue > 0.01
    found = floor_of("ALE/Breakout-v5", "4", "")
    assert (found.mean, found.low <= found.mean <= found.high) == (pytest.approx(np.mean(committed)), True)


def test_the_command_measures_what_is_missing_and_only_that(tmp_path, monkeypatch):
    config = {"env_id": "ALE/Breakout-v5", "modification_factory": "SequentialModificationFactory"}
    schedule = {"num_total_steps": 20, "modifications": ["", "gravity"], "switching_thresholds": [10]}
    path, result = tmp_path / "mine.json", tmp_path / "floors.json"
    path.write_text(json.dumps({**config, "held_out_modifs": ["mode_4"], "modification_factory_kwargs": schedule}))
    result.write_text(json.dumps({"scores": {"ALE/Breakout-v5": {"4": {"gravity": [7.0]}}}}))
    monkeypatch.setattr(benchmark, "RESULT", result)
    monkeypatch.setattr(benchmark, "play", lambda *place: [float(len(str(place)))])
    monkeypatch.setattr("sys.argv", ["floor.py", str(path)])
    benchmark.main()
    written = json.loads(result.read_text())["scores"]["ALE/Breakout-v5"]["4"]
    assert written.keys() == {"", "gravity", "mode_4"}
    assert written["gravity"] == [7.0]


def test_names_of_somebodys_own_have_the_floor_of_their_file(tmp_path, monkeypatch):
    """Other strings keep that of everybody: the file changes nothing under them."""
    rules = tmp_path / "rules.py"
    rules.write_text(
        "from continual_hackatari.wrappers.modifications import ConstantWrites\n"
        'MODIFICATIONS = {"Freeway": {"high_start": ConstantWrites("High.", ((14, 100),), runs="reset")}}\n'
    )
    schedule = {"num_total_steps": 20, "modifications": ["mode_1", "high_start"], "switching_thresholds": [10]}
    config = {"env_id": "ALE/Freeway-v5", "modification_file": str(rules), "modification_factory_kwargs": schedule}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**config, "modification_factory": "SequentialModificationFactory"}))
    digest = hashlib.sha256(rules.read_bytes()).hexdigest()
    own = f"4, modification_digest {digest}"
    wanted = benchmark.wanted([path])
    assert {place[1:] for place in wanted} == {("4", ""), ("4", "mode_1"), (own, "high_start")}
    played = []
    monkeypatch.setattr(
        benchmark, "evaluate", lambda player, game, strings, **more: played.append(game) or {"high_start": []}
    )
    benchmark.play("ALE/Freeway-v5", wanted["ALE/Freeway-v5", own, "high_start"], "high_start")
    assert played[0].modification_digest == digest

    monkeypatch.setattr(
        floor, "measured", lambda: {"ALE/Freeway-v5": {"4": {"": [0.0, 2.0]}, own: {"high_start": [3.0, 5.0]}}}
    )
    floor.floor_of.cache_clear()
    mine = floors_of("ALE/Freeway-v5", {"modification_digest": digest}, ["", "high_start"])
    others = floors_of("ALE/Freeway-v5", {"modification_digest": "0" * 64}, ["", "high_start"])
    floor.floor_of.cache_clear()
    assert (mine[""].mean, mine["high_start"].mean, others[""].mean) == (1.0, 4.0, 1.0)
    assert others["high_start"] == "no score of a random player under high_start is known"


def test_a_configuration_that_cannot_be_played_gets_a_sentence(tmp_path, monkeypatch):
    schedule = {"num_total_steps": 20, "modifications": ["", "gravitation"], "switching_thresholds": [10]}
    path = tmp_path / "mine.json"
    config = {"env_id": "ALE/Breakout-v5", "modification_factory": "SequentialModificationFactory"}
    path.write_text(json.dumps({**config, "modification_factory_kwargs": schedule}))
    for given, words in ((path, "did you mean gravity"), (tmp_path / "none.json", "No such file")):
        monkeypatch.setattr("sys.argv", ["floor.py", str(given)])
        with pytest.raises(SystemExit, match=f"^error: .*{words}"):
            benchmark.main()


@pytest.mark.slow
def test_every_string_of_what_ships_has_a_floor_under_its_own_conditions():
    missing = [
        place
        for place in benchmark.wanted(benchmark.configurations())
        if len(measured().get(place[0], {}).get(place[1], {}).get(place[2], [])) != benchmark.GAMES
    ]
    assert not missing, "`python -m benchmarks.floor` plays them"


def test_the_conditions_are_those_of_the_configuration():
    wanted = benchmark.wanted([ROOT / "configs" / "cora" / "clear.json"])
    conditions = {conditions for _, conditions, _ in wanted}
    assert conditions == {"4, sticky 0.0, game_start original, time_limit 40000"}
    (settings, *_) = wanted.values()
    game, _ = game_config("SpaceInvadersNoFrameskip-v4", full_action_space=True, **settings)
    assert conditions == {conditions_of({**game.chosen, "frameskip": game.frameskip, "fire_reset": game.fire_reset})}


def test_a_short_id_has_the_floor_of_its_game(tmp_path):
    for env_id in ("Freeway", "ALE/Freeway-v5", "FreewayNoFrameskip-v4"):
        assert full_id(env_id) == ("ALE/Freeway-v5" if env_id == "Freeway" else env_id)
    run = SimpleNamespace(args={"env_id": "Breakout"})
    assert isinstance(floors_of(Run.env_id.fget(run), run.args, [""])[""], Floor)
    assert floors_of("Breakout", {}, ["", "Pong:"]) == floors_of("ALE/Breakout-v5", {}, ["", "Pong:"])


def test_a_run_logs_the_same_by_the_short_id_of_its_game():
    rows = make_rows(["", "disable_cars"], lambda *_: 30.0)
    settings = [{"env_id": env_id} for env_id in ("Freeway", "ALE/Freeway-v5")]
    short, full = (continual_metrics(rows, settings=of_run) for of_run in settings)
    assert short == full
    assert {"learned_share", "gem_forward_transfer"} <= set(short)


def test_a_floor_that_does_not_fit_the_run_is_not_used():
    others = {"sticky": 0.0, "game_start": "none", "fire_reset": False, "time_limit": 600}
    for name, value in others.items():
        (reason,) = floors_of("ALE/Breakout-v5", {name: value}, [""]).values()
        assert reason == f"no score of a random player under no_modif at frame skip 4, {name} {value} is known"
    config = game_config("ALE/Breakout-v5")[0]
    played = {**config.chosen, "fire_reset": config.fire_reset}
    assert {name: played[name] for name in USUAL} == USUAL, "what a run has by default"
    for args in ({}, played):
        assert floors_of("ALE/Breakout-v5", args, [""])[""] == floor_of("ALE/Breakout-v5", "4", "")
    assert floors_of("ALE/Breakout-v5", {"frameskip": 3}, [""])[""] == floor_of("ALE/Breakout-v5", "3", "")
    assert floor_of("ALE/Breakout-v5", "3", "") == "no score of a random player under no_modif at frame skip 3 is known"


def test_missing_floors_are_one_footnote_with_all_their_strings():
    run = Evaluations.of(make_rows(["a", "b", "c"], lambda *_: 1.0))
    metrics = metrics_of(run, "ALE/Pong-v5", normalise="floor", floors=floors_of("ALE/Pong-v5", {}, ["a", "b", "c"]))
    assert metrics["average_performance"].reason == "no score of a random player under a, b, c is known"
    others = floors_of("ALE/Pong-v5", {"frameskip": 3}, ["a", "b", "c"])
    metrics = metrics_of(run, "ALE/Pong-v5", normalise="floor", floors=others)
    reason = "no score of a random player under a, b, c at frame skip 3 is known"
    assert metrics["average_performance"].reason == reason
    left = "no score of a random player under a, b at frame skip 3 is known"
    assert metrics["forgetting_isolated"].reason == left, "of a string that is left twice, its name once"


def test_a_floor_is_the_mean_of_its_games_and_as_uncertain_as_they_say():
    scores = np.array(measured()["ALE/Breakout-v5"]["4"][""])
    found, half = floor_of("ALE/Breakout-v5", "4", ""), 1.96 * scores.std(ddof=1) / len(scores) ** 0.5
    assert found.mean == pytest.approx(scores.mean())
    assert [found.mean - found.low, found.high - found.mean] == pytest.approx([half, half], rel=0.25)


# a is learned and then forgotten; b never gets above its floor; c's floor is not known
SCORES = {("a", 0): -5.0, ("a", 1): -15.0, ("a", 2): -18.0, ("b", 0): 0.0, ("b", 1): 0.0, ("b", 2): 2.0}


def of(normalise):
    def score(string, phase, step):
        return -20.0 if (string, step) == ("a", 0) else SCORES.get((string, phase), 3.0) if step else 0.0

    run = Evaluations.of(make_rows(["a", "b", "c"], score))
    return metrics_of(run, "ALE/Pong-v5", normalise=normalise, floors=FLOORS)


def test_scores_are_relative_to_the_floor_and_what_was_never_learned_is_not_forgotten():
    metrics = of("floor")
    assert metrics["average_performance"].units == pytest.approx({"a": 2.0, "b": 2.0, "c": math.nan}, nan_ok=True)
    isolated = metrics["forgetting_isolated"]
    assert (isolated.units["a, phase 1"], isolated.units["a, phase 2"]) == (10.0, 3.0)
    unlearned = "never learned: no better than the random player"
    assert isolated.reasons == {"b, phase 2": unlearned}
    assert metrics["forgetting_maximal"].units["a, phase 0"] == 13.0
    assert metrics["forgetting_maximal"].reasons.keys() == metrics["backward_transfer"].reasons.keys() == {"b, phase 1"}
    assert metrics["backward_transfer"].value == -13.0
    learned = metrics["learned_share"]
    assert (learned.units["a"], learned.units["b"], learned.reasons) == (1.0, 0.0, {"c": "not measured"})


def test_raw_metrics_stay_and_gems_transfer_counts_from_the_floor():
    raw = of("raw")
    assert raw["forgetting_isolated"].units["b, phase 2"] == -2.0
    assert raw["backward_transfer"].units == {"a, phase 0": -13.0, "b, phase 1": 2.0}
    gem = raw["gem_forward_transfer"]
    assert (gem.units["b"], gem.reasons) == (0.0, {"c": "not measured"})
    assert raw["learned_share"].value == 0.5
    human = of("human")["learned_share"]
    assert human.value == 0.5, "whatever the scale"


# string -> step -> score where it is not 0; phases begin at 0, 100 and 200
BY_CHANCE = {"a": Floor(1.0, 0.0, 3.0), "b": Floor(4.0, 2.0, 6.0), "c": Floor(1.0, 0.0, 2.0)}
AT = {
    "a": {0: 5.0, 50: 3.0, 100: 2.0},
    "b": {100: 9.0, 150: 6.0, 200: 5.0},
    "c": {100: 7.0, 200: -2.0, 250: 2.5, 300: 1.0},
}


def test_gems_transfer_and_what_was_learned_by_hand():
    """a and b are above the limit at the beginning of their phase only, and above the mean later; c in the middle."""
    run = Evaluations.of(make_rows(["a", "b", "c"], lambda string, phase, step: AT[string].get(step, 0.0)))
    metrics = metrics_of(run, "ALE/Pong-v5", floors=BY_CHANCE)
    assert metrics["gem_forward_transfer"].units == {"b": 9.0 - 4.0, "c": -2.0 - 1.0}
    assert metrics["learned_share"].units == {"a": 0.0, "b": 0.0, "c": 1.0}


def test_what_was_never_learned_is_not_forgotten_in_human_units_either():
    assert of("human")["forgetting_isolated"].reasons["b, phase 2"].startswith("never learned")
    assert "b, phase 2" not in of("raw")["forgetting_isolated"].reasons


def test_what_may_never_have_been_learned_is_not_forgotten():
    rows = make_rows(["a", "b"], lambda string, phase, step: 5.0 if (string, phase) == ("a", 0) and step else -20.0)
    forgetting = ("forgetting_isolated", "forgetting_maximal", "backward_transfer")
    for floors, value in (({"a": FLOORS["a"]}, 1.0), ({"a": "not measured"}, math.nan), ({}, math.nan)):
        metrics = metrics_of(Evaluations.of(rows), "ALE/Pong-v5", normalise="human", floors=floors)
        assert metrics["learned_share"].units["a"] == pytest.approx(value, nan_ok=True)
        for name in forgetting:
            reasons = set(metrics[name].reasons.values())
            assert reasons == ({floors.get("a", NO_FLOOR)} if math.isnan(value) else set()), name
    metrics = metrics_of(Evaluations.of(rows), "ALE/Pong-v5", floors={"a": "not measured"})
    assert all(metrics[name].reasons == {} for name in forgetting), "raw metrics are what they always were"
    # The middle of phase 0, in which a may have been learned, is still to be evaluated; its end is there.
    late = rows.assign(score=rows["score"].where(rows["global_step"] == 50, -20.0))
    places = late[["global_step", "phase", "trained_on"]].drop_duplicates().itertuples(index=False)
    asked = Asked([Place(step, phase, string, step + 1) for step, phase, string in places], [])
    run = Evaluations.of(late[late["global_step"] != 50], "sampled", asked)
    metrics = metrics_of(run, "ALE/Pong-v5", normalise="human", floors=FLOORS)
    assert metrics["forgetting_isolated"].reasons["a, phase 1"] == "a has not been evaluated at all of phase 0 yet"
    assert math.isnan(metrics["forgetting_isolated"].value)


def test_a_run_of_several_games_logs_shares_of_their_humans():
    rows = make_rows(["Pong:", "Freeway:"], lambda string, phase, step: 10.0)
    human = [human_normalised(game, 10.0) for game in ("Pong", "Freeway")]
    assert continual_metrics(rows)["average_performance"] == pytest.approx(sum(human) / 2)


def test_the_floor_of_a_task_is_that_of_its_game():
    settings = {"full_action_space": True}
    floors = floors_of("ALE/Freeway-v5", settings, ["Breakout:", "Freeway: disable_cars"])
    assert floors["Breakout:"] == floor_of("ALE/Breakout-v5", "4", "Breakout:")
    assert floors["Freeway: disable_cars"] == floor_of("ALE/Freeway-v5", "4", "Freeway: disable_cars")
    assert floors["Breakout:"] != floors["Freeway: disable_cars"]
    assert all(isinstance(floor, Floor) for floor in floors.values())


def test_a_run_logs_what_metrics_py_computes_of_the_player_that_counts():
    """The first one in the file is the knowledge base, whatever the names; floors are those of the run's settings."""
    strings = ["UpNDown:", "Freeway:"]
    settings = {"env_id": "ALE/Freeway-v5", "full_action_space": True}
    scores = {"kb": {"UpNDown:": 500.0, "Freeway:": 20.0}, "ac": {"UpNDown:": 5000.0, "Freeway:": 0.0}}
    players = [
        make_rows(strings, lambda string, *_, own=own: own[string]).assign(agent=name) for name, own in scores.items()
    ]
    logged = continual_metrics(pd.concat(players), settings=settings)
    run = Evaluations.of(players[0])
    floors = floors_of("ALE/Freeway-v5", settings, strings)
    assert all(isinstance(floor, Floor) for floor in floors.values())
    expected = metrics_of(run, "", normalise="human", floors=floors)
    assert logged == {name: metric.value for name, metric in expected.items() if np.isfinite(metric.value)}
    assert logged["learned_share"] == 0.5, "at UpNDown it is no better than a random player"
