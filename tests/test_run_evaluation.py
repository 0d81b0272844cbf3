"""`eval.py --run` and `--play` without a game: what they choose, refuse and say, and which strings flags name."""

import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_runs import make_run
from test_evaluations import planned_for

from continual_hackatari.reporting.plan import Label, Plan, read_plan
from continual_hackatari.reporting.rows import EVALUATION_COLUMNS
from continual_hackatari.training import evaluations, run_evaluation, watching
from continual_hackatari.training.checkpoints import Checkpoint
from continual_hackatari.training.config import ConfigError, check_ranges
from continual_hackatari.training.plan import MAX_EVALUATIONS, place_evaluations, write_plan
from continual_hackatari.training.strings import canonical_strings, choose_evaluated
from continual_hackatari.wrappers.config import game_config

FREEWAY = game_config("ALE/Freeway-v5")[0]
BLACK, WHITE = "all_black_cars", "all_white_cars"
STRINGS = ("", BLACK)


# ----------------------------------------------------------------------------------------------------------- eval --run


def unfinished(folder, **settings):
    """A run that keeps no weights: what it was trained on, its switches say."""
    return make_run(folder, strings=STRINGS, finished=False, num_envs=2, num_steps=25, **settings)


def planned(run, **flags):
    return planned_for(run_evaluation.Args(run=str(run), **flags), run)[0]


def add_game(run, *, episode=0, seed=1, step=0, phase=0, modes=(0,)):
    for mode in modes:
        evaluations.add_results(run, [(run.name, 1, phase, step, "", "train", episode, seed, mode, 2.0, 10, 5, "")])


def test_without_a_plan_games_and_strings_are_as_the_run_named_them(tmp_path):
    run = unfinished(tmp_path, seed=3, eval_games=4, eval_modifs=[BLACK], held_out_modifs=[WHITE])
    how = planned(run, num_workers=0)
    assert (how.seed, how.games, how.num_workers, how.evaluation_seed) == (3, 4, 0, 1)
    assert how.splits == {BLACK: "train", WHITE: "held_out"}
    assert planned(run, eval_games=2).games == 2


def test_a_plan_says_which_strings_and_how_many_games_and_flags_name_further_ones(tmp_path):
    run = unfinished(tmp_path, eval_games=4)
    write_plan(run, Plan(0, 3, {"": "train", WHITE: "held_out"}, []))
    assert (planned(run).games, planned(run).splits) == (3, {"": "train", WHITE: "held_out"})
    further = planned(run, eval_modifs=("no_modif", BLACK), held_out_modifs=("stop_random_car",))
    assert further.splits == {"": "train", BLACK: "train", WHITE: "held_out", "stop_random_car": "held_out"}


def test_what_was_never_named_is_what_it_trained_on_and_a_lost_plan_is_noted(tmp_path):
    args = run_evaluation.Args()
    chosen, notes = planned_for(args, unfinished(tmp_path / "a"))
    assert chosen.splits == {"": "train", BLACK: "train"}
    assert notes == [], "it never had a plan"
    _, (note,) = planned_for(args, unfinished(tmp_path / "b", eval_every=0))
    assert note.endswith(f"plan.json is gone, so what is evaluated is chosen anew: no_modif, {BLACK}")
    assert planned_for(args, unfinished(tmp_path / "c", eval_every=0, eval_modifs=[BLACK]))[1] == []


def test_games_are_added_to_those_of_the_same_seed_and_number_alone(tmp_path):
    run = unfinished(tmp_path)
    for episode in (0, 1, 2):
        add_game(run, episode=episode, seed=9)
    assert planned(run, eval_games=3, seed=9).games == 3
    for flags in ({"eval_games": 3}, {"eval_games": 2, "seed": 9}, {"seed": 9}):
        with pytest.raises(ConfigError, match=re.escape("are not those of")) as caught:
            planned(run, **flags)
        assert "evals.csv`, 3 and 9; leave the flags out" in str(caught.value)


def test_a_foreign_line_is_told_of_when_a_run_is_evaluated(tmp_path):
    run = unfinished(tmp_path)
    (run / "evals.csv").write_text(",".join(EVALUATION_COLUMNS) + "\na note\n")
    _, (note,) = planned_for(run_evaluation.Args(), run)
    assert "in line 2 what is no evaluation" in note


@pytest.mark.parametrize(
    "wrong", [{"eval_games": 0}, {"num_workers": -1}, {"seed": -1}, {"seed": 2**63}, {"eval_games": 10**6 + 1}]
)
def test_numbers_of_an_evaluation_have_limits(wrong):
    check_ranges(run_evaluation.Args(eval_games=1, num_workers=0, seed=0), run_evaluation.RANGES)
    with pytest.raises(ConfigError, match=f"`{next(iter(wrong))}` is "):
        check_ranges(run_evaluation.Args(**wrong), run_evaluation.RANGES)


def test_what_cannot_be_evaluated_any_more_is_counted_with_the_first_and_advice(tmp_path):
    """Asked for at the start, at the switch and, once it is finished, at the end; one of them is there."""
    run = unfinished(tmp_path, eval_every=0, eval_modifs=["no_modif"])
    missing = run_evaluation.what_cannot_be_done(run, [])
    assert missing.startswith("note: 3 evaluations that the run has asked for cannot be done")
    assert missing.endswith("the first at step 0 (phase 0), unless the training goes on and does them itself")
    add_game(run, modes=(0, 1))
    there = evaluations.read_results(run)
    assert "2 evaluations" in run_evaluation.what_cannot_be_done(run, there)
    (run / "model.cleanrl_model").write_bytes(b"a model")
    missing = run_evaluation.what_cannot_be_done(run, there)
    assert missing.endswith("are not kept, the first at step 1,000 (phase 0)"), "no advice: it does not go on"
    for step, phase in ((1000, 0), (1000, 1), (2000, 1)):
        add_game(run, step=step, phase=phase, modes=(0, 1))
    results = evaluations.read_results(run)
    assert run_evaluation.what_cannot_be_done(run, results) is None
    sampled = [row for row in results if row["deterministic"] == "0"]
    assert "4 evaluations" in run_evaluation.what_cannot_be_done(run, sampled), "none of them greedy"


def test_a_line_says_how_many_rows_came_of_which_weights(tmp_path, monkeypatch, capsys):
    """Weights before and after a switch that changes none are played once, and are two rows for each game."""
    labels, seen = [Label(1000, 0, ""), Label(1000, 1, BLACK)], []
    monkeypatch.setattr(run_evaluation, "load_agent", lambda path, checkpoint, architecture, game: architecture)
    how = evaluations.RunEvaluation(tmp_path, 1, FREEWAY, {"": "train"}, 3, 0)
    evaluator = SimpleNamespace(
        how=how,
        missing=lambda taken: [evaluations.Job(0, taken[0], "", False)],
        play=lambda jobs, agent_of: seen.append((len(jobs), agent_of(0))),
    )
    run_evaluation.evaluate_weights(evaluator, labels, "a path", Checkpoint({}, {}, None), "m:Own")
    assert re.match(r"step 1,000 \(phase 0\), 1,000 \(phase 1\): 6 rows, \d", capsys.readouterr().out)
    assert seen == [(1, "m:Own")]
    evaluator.missing = lambda taken: []
    run_evaluation.evaluate_weights(evaluator, labels, "a path", Checkpoint({}, {}, None), "m:Own")
    assert (capsys.readouterr().out, len(seen)) == ("", 1)


# ------------------------------------------------------------------------------------------------------------- the plan


def test_a_plan_that_is_a_file_in_the_way_is_none(tmp_path):
    (tmp_path / "evals").write_text("no folder")
    assert read_plan(tmp_path) is None
    assert read_plan(tmp_path / "nowhere") is None


def test_a_plan_is_read_as_it_was_written(tmp_path):
    splits = {"": "train", "ä b": "train", WHITE: "held_out"}
    plan = Plan(64, 2, splits, [Label(0, 0, ""), Label(96, 1, "ä b")])
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    assert plan.strings("held_out") == [WHITE]
    content = json.loads((tmp_path / "evals" / "plan.json").read_text(encoding="utf-8"))
    assert list(content) == ["eval_every", "eval_games", "eval_modifs", "held_out_modifs", "evaluations"]


def test_exactly_as_many_evaluations_as_are_allowed():
    """One at the start, one at each further round, and the end."""
    settings = {"num_envs": 1, "num_steps": 1, "every": 1, "weights_change": False}
    most = place_evaluations([(0, 10**6, "")], total_timesteps=MAX_EVALUATIONS - 1, **settings)
    assert len(most.labels) == MAX_EVALUATIONS == 1000
    with pytest.raises(ConfigError, match="at least 1,001"):
        place_evaluations([(0, 10**6, "")], total_timesteps=MAX_EVALUATIONS, **settings)


# ----------------------------------------------------------------------------------------------------- lists of strings


def test_one_word_may_hold_several_strings_with_spaces_around_commas():
    strings, notes = canonical_strings("modifs", [f"no_modif ,  {BLACK}", "disable_all_cars stop_random_car"], FREEWAY)
    assert strings == ["", BLACK, "disable_cars stop_random_car"]
    assert [note for note in notes if "`disable_all_cars` is played as `disable_cars`" in note]


@pytest.mark.parametrize("word", ["(no_modif, x", "[no_modif", " [no_modif", f"{BLACK}, ,no_modif", f",{BLACK}", ","])
def test_a_word_that_is_no_list_is_refused(word):
    with pytest.raises(ConfigError, match="`modifs` has"):
        canonical_strings("modifs", [word], FREEWAY)


def test_notes_about_held_out_strings_are_told_too():
    for strings, held_out in (([BLACK], ["disable_all_cars"]), (["disable_all_cars"], [BLACK])):
        (note,) = choose_evaluated(strings, held_out, [], FREEWAY)[1]
        assert "`disable_all_cars` is played as" in note


def test_the_unmodified_game_takes_a_place_of_its_own_only_where_it_is_not_trained_on():
    names = ["", *(f"a{number}" for number in range(7))]
    for trained_on in (names, [*names, *names]):
        splits, notes = choose_evaluated([], [], trained_on, FREEWAY)
        assert (list(splits), notes) == (names, [])
    splits, (note,) = choose_evaluated([], [], [*names, "b"], FREEWAY)
    assert list(splits) == names
    assert note.endswith("Left out: b")


# ---------------------------------------------------------------------------------------------------------- eval --play


def test_what_a_video_is_made_of(tmp_path, monkeypatch, capsys):
    """Every flag reaches the game, the agent or the file; the notes about the agent are told."""
    seen, length = {}, 1

    def played(game, string, choose, *, caption):
        seen.update(game_seed=game.seed, string=string, caption=caption, action=choose(np.zeros((4, 2)), 3))
        yield from [(np.zeros((2, 2, 3), np.uint8), None)] * length
        yield None, SimpleNamespace(score=7.5)
        raise AssertionError("the game is over")

    def write(argument, path, screens, total):
        seen.update(path=path, total=total)
        return len(list(screens))

    def act(observation, *, deterministic, generator):
        seen.update(shape=tuple(observation.shape), deterministic=deterministic, seed=generator.initial_seed())
        return 2

    agent = SimpleNamespace(act=act)
    chosen = SimpleNamespace(strings=[BLACK], agents=[agent], game=FREEWAY, device="cpu", notes=["a note", "a note"])
    monkeypatch.setattr(watching, "choose_agents", lambda args: chosen)
    monkeypatch.setattr(watching, "played", played)
    monkeypatch.setattr(watching, "write_video", write)
    args = watching.Args(agent_path=("x",), play=str(tmp_path / "a.mp4"), caption=True, deterministic=True, seed=5)
    watching.watch(args)
    out = capsys.readouterr().out.splitlines()
    assert out == ["a note", f"{tmp_path / 'a.mp4'}: 1 frames under {BLACK}, a whole game, score 7.5"]
    assert seen == {
        "game_seed": 5,
        "seed": 5,
        "string": BLACK,
        "caption": True,
        "deterministic": True,
        "action": 2,
        "shape": (1, 4, 2),
        "path": tmp_path / "a.mp4",
        "total": None,
    }
    length = 31
    watching.watch(dataclasses.replace(args, seconds=2.0, caption=False, deterministic=False))
    assert capsys.readouterr().out.endswith(f": 30 frames under {BLACK}, not a whole game\n")
    assert (seen["total"], seen["caption"], seen["deterministic"]) == (30, False, False)


def test_a_video_of_two_agents_is_refused_before_they_are_read(tmp_path):
    args = watching.Args(agent_path=("x", "y"), play=str(tmp_path / "a.mp4"))
    with pytest.raises(ConfigError, match="`play` records one game; give `agent_path` one value, not 2"):
        watching.watch(args)
