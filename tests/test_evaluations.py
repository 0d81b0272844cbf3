"""Continual evaluation: training stays the same, and every evaluation is in evals.csv once, and right."""

import contextlib
import functools
import json
import os
import re
import shlex
import shutil
import signal
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, assert_refused, only_run, read_csv, write_config
from lives import Life
from made_up_runs import make_run
from siblings import EVERY, PPO, Q_LEARNER
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_resume import assert_same_run

from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari import metrics
from continual_hackatari.reporting.asked import Asked, Place, asked_for, still_to_do
from continual_hackatari.reporting.groups import experiment_settings, group_runs
from continual_hackatari.reporting.plan import Label, Plan, read_plan
from continual_hackatari.reporting.rows import RunFolderError
from continual_hackatari.reporting.runs import Run
from continual_hackatari.training import evaluations, playing, run_evaluation
from continual_hackatari.training.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.ending import log_continual_metrics
from continual_hackatari.training.evaluations import ContinualEvaluation, Evaluator, RunEvaluation
from continual_hackatari.training.plan import Places, place_evaluations, write_plan
from continual_hackatari.training.resume import exclusive
from continual_hackatari.training.strings import choose_evaluated
from continual_hackatari.wrappers.config import game_config

SMALL = ["--num_envs", "2", "--num_steps", "16", "--num_workers", "0", "--no-cuda"]
SMALL += ["--update_epochs", "1", "--num_minibatches", "1"]
EVALUATED = ["--eval_games", "1", "--eval_modifs", "no_modif", "--held_out_modifs", "right_drift"]
# A frameskip that makes whole games short: a dozen steps.
BREAKOUT = {
    "env_id": "ALE/Breakout-v5",
    "frameskip": 40,
    "modification_factory": "SequentialModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 128,
        "modifications": ["", "left_drift"],
        "switching_thresholds": [44],
    },
}
PERTURBED = ["--shrink_and_perturb", "--save_agent_with_switch"]
PLAN = Plan(32, 1, {"": "train"}, [Label(0, 0, "")])
RESULT = ("modification", "deterministic", "episode", "score", "length", "lives")


def train(folder, *flags, config=BREAKOUT, sibling=PPO):
    """Train in this process; returns the run folder."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        small = SMALL if sibling is PPO else sibling.small
        sibling.main(["--config", write_config(folder, **config), *small, *flags])
    return only_run(folder)


def train_and_play_nothing(folder, *flags, config=BREAKOUT):
    """The same, but no game of its evaluations is played."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluator, "play", lambda *_: True)
        return train(folder, *flags, config=config)


def evaluate_later(run, *flags):
    evaluation.main(["--run", str(run), "--num_workers", "0", *flags])


def labels(run):
    """(global_step, phase, trained_on) of all evaluations in the order of the file."""
    rows = read_csv(run / "evals.csv")
    return list(dict.fromkeys((int(r["global_step"]), int(r["phase"]), r["trained_on"]) for r in rows))


def results_at(rows, step, phase):
    return [
        tuple(row[column] for column in RESULT)
        for row in rows
        if (row["global_step"], row["phase"]) == (str(step), str(phase))
    ]


def played_independently(path, strings, games=1, num_envs=1, architecture="PPO"):
    """What `eval.evaluate` finds out about a checkpoint, in the columns of `RESULT`."""
    checkpoint = load_checkpoint(path)
    game, _ = game_config("ALE/Breakout-v5", frameskip=40)
    agent = playing.load_agent(str(path), checkpoint, architecture, game)
    found = []
    for deterministic in (False, True):
        records = playing.evaluate(
            agent,
            game,
            strings,
            episodes=games,
            seed=1,
            deterministic=deterministic,
            num_envs=num_envs,
            num_workers=0,
            device=torch.device("cpu"),
        )
        for string in strings:
            for episode, record in enumerate(records[string]):
                numbers = (int(deterministic), episode, record.score, record.length, record.lives)
                found.append((string, *map(str, numbers)))
    return found


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A run with a switch that perturbs its weights, evaluated while it trains."""
    return train(tmp_path_factory.mktemp("evaluated"), *EVALUATED, *PERTURBED, "--eval_every", "64")


EXPECTED = [(0, 0, ""), (44, 0, ""), (44, 1, "left_drift"), (64, 1, "left_drift"), (128, 1, "left_drift")]


@pytest.mark.slow
def test_training_is_the_same_with_and_without(evaluated, tmp_path):
    plain = train(tmp_path, *PERTURBED)
    assert not (plain / "evals").exists()
    assert not (plain / "evals.csv").exists()
    for name in ("model.cleanrl_model", "switch_1_step44_no_modif.cleanrl_model"):
        first, second = (load_checkpoint(run / name).model_weights for run in (evaluated, plain))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert (evaluated / "episodes.csv").read_bytes() == (plain / "episodes.csv").read_bytes()
    switches = [[{**row, "seconds": ""} for row in read_csv(run / "switches.csv")] for run in (evaluated, plain)]
    assert switches[0] == switches[1]


@pytest.mark.slow
def test_every_evaluation_is_there_once_and_right(evaluated):
    assert labels(evaluated) == EXPECTED
    rows = read_csv(evaluated / "evals.csv")
    assert tuple(rows[0]) == evaluations.EVALUATION_COLUMNS
    assert len(rows) == len(EXPECTED) * 2 * 2
    assert {(row["run"], row["seed"], row["evaluation_seed"]) for row in rows} == {(evaluated.name, "42", "1")}
    splits = {"": "train", "right_drift": "held_out"}
    assert {row["modification"]: row["split"] for row in rows} == splits
    for step, phase, name in ((44, 0, "switch_1_step44_no_modif"), (128, 1, "model")):
        expected = played_independently(evaluated / f"{name}.cleanrl_model", list(splits))
        assert results_at(rows, step, phase) == expected
    assert results_at(rows, 44, 0) != results_at(rows, 44, 1), "shrunk in between"
    assert [path.name for path in (evaluated / "evals").iterdir()] == ["plan.json"]


@pytest.mark.slow
def test_an_agent_of_ones_own_is_evaluated_while_it_trains_and_later(tmp_path, monkeypatch, capsys):
    """By the class that its `architecture` names; it has no actor and no critic."""
    flags = [*EVALUATED, "--eval_every", "64", "--save_agent_with_switch"]
    plain = train(tmp_path / "plain", sibling=Q_LEARNER)
    run = train(tmp_path / "run", *flags, sibling=Q_LEARNER)
    first, second = (load_checkpoint(each / "model.cleanrl_model").model_weights for each in (plain, run))
    assert all(torch.equal(first[name], second[name]) for name in first), "evaluation changes nothing"
    assert (plain / "episodes.csv").read_bytes() == (run / "episodes.csv").read_bytes()
    assert labels(run) == EXPECTED
    rows, own = read_csv(run / "evals.csv"), "q_learner:QNetwork"
    expected = played_independently(run / "model.cleanrl_model", ["", "right_drift"], architecture=own)
    assert results_at(rows, 128, 1) == expected
    assert "continual/average_performance" in EventAccumulator(str(run)).Reload().Tags()["scalars"]
    command = re.findall(r"^evaluate: +(.*)$", capsys.readouterr().out, re.M)[-1]
    assert re.match(r"env PYTHONPATH=\S*tests python \S*eval.py .* --architecture q_learner:QNetwork$", command)
    words = shlex.split(command)[4:]
    monkeypatch.chdir(tmp_path / "run")
    evaluation.main([*words, "--eval_episodes", "2", "--num_workers", "0", "--no-cuda"])
    assert re.fullmatch(r"\d+\.\d\d \+- \d+\.\d\d", capsys.readouterr().out.splitlines()[-1])
    with pytest.raises(SystemExit):
        evaluation.main(words[:-2])
    assert "if you trust that code, say so" in capsys.readouterr().err


@pytest.mark.slow
def test_what_a_run_asked_for_is_known_from_its_files(evaluated, tmp_path, capsys):
    settings = json.loads((evaluated / "args.json").read_text())
    asked = Run(evaluated).asked
    assert sorted(place[:3] for place in asked.places) == sorted(labels(evaluated))
    assert asked.strings == ["", "right_drift"]
    run = Path(shutil.copytree(evaluated, tmp_path / "cut"))
    assert not Run(run).evaluations().pending
    lines = (run / "evals.csv").read_text().splitlines()
    (run / "evals.csv").write_text("\n".join(lines[: len(lines) // 3]) + "\n")
    metrics.main([str(run), "-o", str(tmp_path / "m")])
    printed = capsys.readouterr().out
    assert f"eval.py --run {run}` does the rest, as far as the run has kept its weights" in printed
    assert "evaluations that the run asked for are not there yet" in printed
    assert "no_modif has not been evaluated at the end of phase 1 yet" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("average_performance")]
    assert row.split()[1:4] == ["-", "-", "-"]
    # Without evaluations in training: the checkpoints that the run keeps. Weights changed at the switch.
    # What is still there are the weights before the switch and those at the end.
    evaluate_later(run)
    assert "note: 2 evaluations that the run has asked for cannot be done" in capsys.readouterr().out
    assert Run(run).evaluations().pending
    (run / "evals" / "plan.json").unlink()
    changed = {**settings, "eval_every": None, "eval_modifs": [], "held_out_modifs": []}
    (run / "args.json").write_text(json.dumps(changed))
    asked = Run(run).asked
    assert [place[:2] for place in asked.places] == [(44, 0), (128, 1)]


ASKING = {"num_envs": 4, "num_steps": 8, "eval_every": 64}
SWITCH = {"global_step": "96", "to": "a", "checkpoint": "", "shrink_and_perturb": "0"}
PLANNED = Plan(
    64, 1, {"": "train"}, [*(Label(step, 0, "") for step in (0, 64, 96)), *(Label(s, 1, "a") for s in (96, 128))]
)


@pytest.mark.parametrize(
    ("plan", "games", "switches", "finished", "due"),
    [
        (PLANNED, [64], [], False, [(0, 0)]),  # a game ended there; whether another round began, nobody knows
        (PLANNED, [65], [], False, [(0, 0), (64, 0)]),
        (PLANNED, [90], [SWITCH], False, [(0, 0), (64, 0), (96, 0), (96, 1)]),
        (PLANNED, [128], [SWITCH], False, [(0, 0), (64, 0), (96, 0), (96, 1)]),
        (PLANNED, [128], [SWITCH], True, [(0, 0), (64, 0), (96, 0), (96, 1), (128, 1)]),
        (PLANNED, [], [], False, None),
        (None, [64], [], False, [(0, 0)]),
        (None, [120], [SWITCH], False, [(0, 0), (64, 0), (96, 0), (96, 1)]),
        (None, [140], [{**SWITCH, "global_step": "128"}], False, [(0, 0), (64, 0), (128, 0), (128, 1)]),
        (None, [128], [SWITCH], True, [(0, 0), (64, 0), (96, 0), (96, 1), (128, 1)]),
    ],
)
def test_what_is_due_of_a_run_that_stands_somewhere(plan, games, switches, finished, due):
    """With its plan, and as it follows from the settings of a run of an earlier version."""
    asked = asked_for(ASKING, plan, switches, games, "", finished)
    assert (asked and [(place.global_step, place.phase) for place in asked.places]) == due


def test_an_old_run_that_named_strings_asked_for_the_switches_and_the_start():
    """Without a plan, and without `eval_every`, which was 0 then; without strings it was not evaluated at all."""
    settings = {**ASKING, "eval_every": None}
    for name in ("eval_modifs", "held_out_modifs"):
        asked = asked_for({**settings, name: ["no_modif"]}, None, [SWITCH], [120], "", False)
        assert [place[:2] for place in asked.places] == [(0, 0), (96, 0), (96, 1)]
        assert asked.strings == [""]
    assert asked_for(settings, None, [SWITCH], [120], "", False) == ([], [])


def test_an_evaluation_of_the_next_round_is_not_the_one_that_is_missing():
    asked = Asked([Place(64, 0, "", 96)], ["a"])
    for step, missing in ((63, True), (64, False), (95, False), (96, True)):
        assert bool(still_to_do(asked, [("a", 0, step)])) == missing, step
    assert still_to_do(asked, [("a", 1, 64), ("", 0, 64)]) == [("a", 0, 64)]


def test_a_run_whose_evaluations_were_cut_short_logs_no_metric_that_needs_them(tmp_path):
    run, logged = make_run(tmp_path, evaluated=lambda *_: 3.0, num_envs=2, num_steps=25, eval_every=500), []
    rows = evaluations.read_results(run)
    tracker = SimpleNamespace(scalars=lambda values, step: logged.append((values, step)))
    for kept in (rows, rows[: len(rows) // 3]):
        log_continual_metrics(kept, run, tracker, 3000)
    (whole, step), (cut, _) = logged
    assert (whole["continual/average_performance"], step) == (3.0, 3000)
    assert "continual/average_performance" not in cut


def test_a_run_that_is_not_finished_says_so_where_its_scores_are_read(tmp_path):
    for finished in (True, False):
        folder = make_run(tmp_path / str(finished), evaluated=lambda *_: 3.0, finished=finished, eval_every=500)
        notes = " ".join(Run(folder).evaluations().notes)
        assert ("it is not finished: its last evaluation so far counts as the end of a phase" in notes) != finished


def test_results_that_contradict_each_other_do_not_end_a_run_that_is_whole(tmp_path, capsys):
    run = make_run(tmp_path, evaluated=lambda *_: 3.0, num_envs=2, num_steps=25, eval_every=500)
    rows = evaluations.read_results(run)
    log_continual_metrics([*rows, {**rows[0], "score": "99"}], run, SimpleNamespace(), 3000)  # nothing can be logged
    assert re.match(r"warning: no continual metrics: .*stands there twice", capsys.readouterr().out)


def test_the_training_logs_each_result_at_its_own_step(evaluated):
    events = EventAccumulator(str(evaluated)).Reload()
    rows = read_csv(evaluated / "evals.csv")
    for string in ("no_modif", "right_drift"):
        for deterministic, mode in enumerate(("sampled", "greedy")):
            expected = [
                (int(row["global_step"]), float(row["score"]))
                for row in rows
                if (row["modification"] or "no_modif", row["deterministic"]) == (string, str(deterministic))
            ]
            assert [(e.step, e.value) for e in events.Scalars(f"eval/{string}/{mode}")] == expected
    (final,) = events.Scalars("continual/average_performance")
    (score,) = (
        float(row["score"])
        for row in rows
        if (row["global_step"], row["modification"], row["deterministic"]) == ("128", "", "0")
    )
    assert (final.step, final.value) == (128, score), "of the only task that is evaluated, sampled"


@pytest.mark.slow
def test_agents_that_were_saved_every_so_many_steps_are_evaluated_later(tmp_path, capsys):
    """At 32, 64, 96 and, as its last one, at 128; the switch was at 44."""
    run = train(tmp_path, "--save_agent_every", "20")
    assert "agents saved on the way: 4 (`save_agent_every`)" in capsys.readouterr().out
    evaluate_later(run, "--eval_games", "1", "--eval_modifs", "no_modif")
    where = [(32, 0, ""), *((step, 1, "left_drift") for step in (64, 96, 128))]
    assert sorted(labels(run)) == where
    rows = read_csv(run / "evals.csv")
    assert len(rows) == 2 * len(where), "the end is there once"
    path = run / "agent_step64_left_drift.cleanrl_model"
    assert results_at(rows, 64, 1) == played_independently(path, [""])


@pytest.mark.slow
def test_later_it_finds_the_same_and_nothing_twice(evaluated, tmp_path):
    run = tmp_path / evaluated.name
    shutil.copytree(evaluated, run)
    before = (run / "evals.csv").read_bytes()
    evaluate_later(run)
    assert (run / "evals.csv").read_bytes() == before
    evaluate_later(run, "--eval_modifs", "", "color_all_blocks_red")
    added = (run / "evals.csv").read_bytes().removeprefix(before).decode().splitlines()
    assert len(added) == 2 * 2, "greedy and sampled, before the switch and at the end; other weights are gone"
    assert all(",color_all_blocks_red,train," in line for line in added)

    (run / "evals.csv").unlink()
    evaluate_later(run)
    kept = [row for row in read_csv(evaluated / "evals.csv") if row["global_step"] + row["phase"] in ("440", "1281")]
    assert read_csv(run / "evals.csv") == kept


@pytest.mark.parametrize(
    ("games", "strings", "num_workers", "opened"),
    [
        *[(3, 1, 0, [(3, 0)]), (8, 1, 1, [(8, 1)]), (9, 1, 2, [(8, 1)] * 2), (9, 1, 16, [(8, 8)] * 2)],
        *[(5, 6, 2, [(5, 1)] * 2), (5, 6, 16, [(5, 1)] * 12)],
        pytest.param(5, 6, 8, [(5, 1)] * 6, id="12 jobs in 2 rounds"),
        pytest.param(5, 20, 64, [(5, 4)] * 14, id="40 jobs in 3 rounds, 16 at once at most"),
    ],
)
def test_at_most_eight_games_are_played_beside_each_other(games, strings, num_workers, opened, tmp_path, monkeypatch):
    """How many share the random numbers of a batch decides which actions are sampled, so it is always the same."""
    splits = dict.fromkeys(map(str, range(strings)), "train")
    seen = []
    monkeypatch.setattr(
        evaluations,
        "evaluation_games",
        lambda game, num_envs, *, seed, num_workers, worker_timeout: seen.append((num_envs, num_workers)) or seen,
    )
    how = RunEvaluation(tmp_path, 42, game_config("ALE/Breakout-v5")[0], splits, games, num_workers)
    assert Evaluator(how).play([], None)
    assert not seen, "nothing to play"
    monkeypatch.setattr(evaluations, "play_one", lambda *_, **__: iter(()))
    Evaluator(how)._open()
    assert seen == opened


class Forgetful(torch.nn.Module):
    """Keeps what it sees for the next line, as recurrent and noisy agents do: in an attribute and in a buffer."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.nn.Parameter(weights, requires_grad=False)
        self.register_buffer("noted", torch.zeros(2, dtype=torch.int64))

    def act(self, x, *, deterministic=False, generator=None):
        self.thread = threading.get_ident()
        self.noted.fill_(self.thread)
        self.seen = x.float().mean((1, 2, 3))
        time.sleep(0.002)  # another thread's turn
        assert {self.thread, *self.noted.tolist()} == {threading.get_ident()}, "another thread's notes"
        logits = self.seen[:, None] * self.weights
        return logits.argmax(-1) if deterministic else logits.softmax(-1).multinomial(1, generator=generator)[:, 0]

    def describe(self, x):
        return {}


def test_what_is_played_at_once_is_what_is_played_one_after_the_other(tmp_path):
    """Whatever the number of workers: each job has its games, its random numbers and its notes for itself."""
    game, _ = game_config("ALE/Breakout-v5", frameskip=40)
    agents = [Forgetful(torch.randn(4, generator=torch.Generator().manual_seed(seed)) / 9) for seed in (0, 1)]
    asked = []

    def agent_of(number):
        asked.append(number)
        return agents[number]

    played = []
    for num_workers in (0, 1, 4):
        folder = tmp_path / str(num_workers)
        folder.mkdir()
        how = RunEvaluation(folder, 42, game, {"": "train", "left_drift": "train"}, 2, num_workers)
        with closing(Evaluator(how)) as evaluator:
            assert evaluator.play(evaluator.missing([[Label(0, 0, "")], [Label(8, 0, "")]]), agent_of)
        played.append([tuple(row.values())[1:] for row in read_csv(folder / "evals.csv")])
    assert asked == [0, 1] * 3, "an agent is made once"
    assert len(played[0]) == 2 * 4 * 2
    assert played[1] == played[0]
    assert played[2] == played[0]
    for num_workers in (0, 4):
        games = playing.evaluate(
            agents[0],
            game,
            ["", "left_drift"],
            episodes=2,
            seed=1,
            deterministic=False,
            num_envs=2,
            num_workers=num_workers,
            device=torch.device("cpu"),
        )
        scores = [(string, str(record.score)) for string, records in games.items() for record in records]
        assert scores == [(row[3], row[8]) for row in played[0][:4]]


@pytest.mark.parametrize("how_it_ends", ["stopped", "an agent fails", "a file is in the way", "Ctrl-C"])
def test_no_thread_goes_on_playing(how_it_ends, tmp_path, monkeypatch):
    game, _ = game_config("ALE/Breakout-v5")
    how = RunEvaluation(tmp_path, 42, game, {"": "train", "left_drift": "train"}, 1, 0)
    monkeypatch.setattr(evaluations, "evaluation_games", lambda *_, **__: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(RunEvaluation, "num_workers", 4)  # sets, none of which has a process
    begun, asked = [], []

    def play_one(agent, envs, string, *, deterministic, **settings):
        begun.append(threading.current_thread())
        while len(begun) < 4 or string or deterministic:  # games without an end, but for those of the first job
            yield 0
            time.sleep(0.001)
        if how_it_ends == "an agent fails":
            raise ZeroDivisionError
        while how_it_ends != "a file is in the way":
            yield 0
            time.sleep(0.001)
        return []

    def stopped():
        asked.append(0)
        if how_it_ends == "Ctrl-C" and len(begun) == 4:
            raise KeyboardInterrupt
        return how_it_ends == "stopped" and len(begun) == 4

    def add_results(*_):
        raise CheckpointError("a file is in the way")

    monkeypatch.setattr(evaluations, "play_one", play_one)
    monkeypatch.setattr(evaluations, "SECONDS_WITHOUT_A_WORD", 0.0)
    monkeypatch.setattr(evaluations, "add_results", add_results)
    jobs = [evaluations.Job(0, [Label(0, 0, "")], string, mode) for string in how.splits for mode in (False, True)]
    expected = {"an agent fails": ZeroDivisionError, "a file is in the way": CheckpointError}
    raised = expected.get(how_it_ends, KeyboardInterrupt)
    with contextlib.nullcontext() if how_it_ends == "stopped" else pytest.raises(raised):
        assert not Evaluator(how).play(jobs, lambda _: torch.nn.Identity(), stopped)
    assert len(set(begun)) == 4
    assert not any(thread.is_alive() for thread in begun)


@pytest.mark.parametrize("stop", [False, True])
def test_the_threads_of_the_training_are_as_before(stop, tmp_path, monkeypatch):
    """While games are played there is one; the next update needs all of them again."""
    seen = []

    def play_one(*_, **__):
        seen.append(torch.get_num_threads())
        yield 0
        return []

    games = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(evaluations, "evaluation_games", lambda *_, **__: games)
    monkeypatch.setattr(evaluations, "play_one", play_one)
    monkeypatch.setattr(evaluations, "add_results", lambda *_: None)
    how = RunEvaluation(tmp_path, 42, game_config("ALE/Breakout-v5")[0], {"": "train"}, 1, 0)
    job = evaluations.Job(0, [Label(0, 0, "")], "", False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert Evaluator(how).play([job], lambda _: torch.nn.Identity(), lambda: stop) is not stop
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_nine_games_are_those_of_a_batch_of_eight(evaluated, tmp_path):
    run = tmp_path / evaluated.name
    shutil.copytree(evaluated, run)
    (run / "evals.csv").unlink()
    evaluate_later(run, "--eval_games", "9")
    strings, path = ["", "right_drift"], run / "model.cleanrl_model"
    eight, nine = (played_independently(path, strings, 9, num_envs) for num_envs in (8, 9))
    assert results_at(read_csv(run / "evals.csv"), 128, 1) == eight != nine


@pytest.mark.slow
def test_weights_that_did_not_change_are_played_once(tmp_path, capfd):
    """Two switches in one rollout, without shrink and perturb."""
    schedule = {"num_total_steps": 64, "modifications": ["", "left_drift", ""], "switching_thresholds": [8, 20]}
    config = {**BREAKOUT, "modification_factory_kwargs": schedule}
    run = train(tmp_path, *EVALUATED, config=config)
    out = capfd.readouterr().out
    assert "evaluations: 6, of which 2 are played" in out
    assert re.findall(r"^evaluating .*$", out, re.M) == [
        f"evaluating the weights of step {step}: 4 games" for step in (0, 64)
    ]
    expected = [(0, 0, ""), (8, 0, ""), (8, 1, "left_drift"), (20, 1, "left_drift"), (20, 2, "")]
    assert labels(run) == [*expected, (64, 2, "")]
    rows = read_csv(run / "evals.csv")
    for step, phase, _ in expected[1:]:
        assert results_at(rows, step, phase) == results_at(rows, 0, 0)
    assert len(rows) == 6 * 2 * 2


def test_a_file_is_whole_after_a_fault(tmp_path, monkeypatch):
    row = (tmp_path.name, 1, 0, 0, "a, b", "train", 0, 1, 0, 2.0, 10, 5, "")
    evaluations.add_results(tmp_path, [row])
    before = (tmp_path / "evals.csv").read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        evaluations.add_results(tmp_path, [row] * 100)
    assert (tmp_path / "evals.csv").read_bytes() == before
    assert evaluations.read_results(tmp_path) == [dict(zip(evaluations.EVALUATION_COLUMNS, map(str, row), strict=True))]
    (tmp_path / "evals.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RunFolderError, match="other columns"):
        evaluations.read_results(tmp_path)


def results_row(run="run", seed=1, step=0, score=2.0):
    return (run, seed, 0, step, "", "train", 0, 1, 0, score, 10, 5, "")


def test_a_renamed_run_has_one_name_in_its_file(tmp_path):
    (tmp_path / "old").mkdir()
    evaluations.add_results(tmp_path / "old", [results_row("old")])
    with open(tmp_path / "old" / "evals.csv", "a") as file:
        file.write("no row")
    new = (tmp_path / "old").rename(tmp_path / "new")
    assert [row["run"] for row in evaluations.read_results(new)] == ["new"]
    evaluations.name_results(new, 1)
    evaluations.add_results(new, [results_row("new", step=8)])
    lines = (new / "evals.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["run", "new", "no row", "new"]
    (new / "evals.csv").write_text((new / "evals.csv").read_text() + ",".join(map(str, results_row("x", seed=2))))
    assert {row["run"] for row in evaluations.read_results(new)} == {"new", "x"}  # of two seeds: no one run


def test_rows_of_several_players_say_which_of_them_played(tmp_path):
    """In a column that files of other agents do not have; what is there is not played again."""
    for agent, step in (("kb", 0), ("ac", 0), ("kb", 8)):
        evaluations.add_results(tmp_path, [(*results_row(tmp_path.name, step=step), agent)])
    rows = evaluations.read_results(tmp_path)
    assert [(row["global_step"], row["agent"]) for row in rows] == [("0", "kb"), ("0", "ac"), ("8", "kb")]
    how = evaluations.RunEvaluation(tmp_path, 1, None, {"": "train"}, 1, 0, ("kb", "ac"))
    taken = [[evaluations.Label(0, 0, ""), evaluations.Label(8, 0, "")]]
    missing = [(job.player, job.deterministic, [*job.labels]) for job in evaluations.Evaluator(how).missing(taken)]
    assert missing == [("ac", False, taken[0][1:]), ("kb", True, taken[0]), ("ac", True, taken[0])]
    evaluations.forget_after(tmp_path, 4)
    assert [row["agent"] for row in evaluations.read_results(tmp_path)] == ["kb", "ac"]
    evaluations.add_results(tmp_path, [(*results_row(tmp_path.name, step=8), "kb")])
    assert (tmp_path / "evals.csv").read_text().splitlines()[0].endswith(",trained_on,agent")


def test_a_renamed_run_gives_its_name_to_its_own_rows_alone(tmp_path):
    """Somebody has put the results of two seeds into one file."""
    name = tmp_path.name
    for row in (results_row("other", seed=2), results_row("old"), results_row(name, step=8)):
        evaluations.add_results(tmp_path, [row])
    evaluations.name_results(tmp_path, 1)
    lines = (tmp_path / "evals.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [["other", "2"], [name, "1"], [name, "1"]]


def test_a_renamed_run_is_noticed_once_whatever_the_number_of_jobs(tmp_path, monkeypatch):
    """Taking all rows apart takes long where there are many, and each job adds some."""
    evaluations.add_results(tmp_path, [results_row("old")])
    read = []
    read_lines = evaluations.read_lines
    monkeypatch.setattr(evaluations, "read_lines", lambda path: read.append(path) or read_lines(path))

    def play_one(*_, **__):
        yield 0
        return [SimpleNamespace(record=SimpleNamespace(score=1.0, length=10, lives=5))]

    games = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(evaluations, "evaluation_games", lambda *_, **__: games)
    monkeypatch.setattr(evaluations, "play_one", play_one)
    how = RunEvaluation(tmp_path, 1, game_config("ALE/Breakout-v5")[0], {"": "train"}, 1, 0)
    jobs = [evaluations.Job(0, [Label(step, 0, "")], "", False) for step in (8, 16, 24)]
    assert Evaluator(how).play(jobs, lambda _: torch.nn.Identity())
    lines = (tmp_path / "evals.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [tmp_path.name] * 4
    assert len(read) == 1


def watched(folder, said=print):
    """The evaluations of a run in `folder` that goes on at step 32."""
    how = RunEvaluation(folder, 1, game_config("ALE/Breakout-v5")[0], PLAN.splits, PLAN.games, 0)
    agent = functools.partial(torch.nn.Linear, 1, 1)
    saved = {"counters": {"global_step": 32}}
    return ContinualEvaluation(how, plan=PLAN, batch_size=32, make_agent=agent, saved=saved, report=said)


@pytest.mark.parametrize("foreign", ["a note", '"half a quotation', "x,1,zero,0,,train,0,1,0,2,1,5,", ",,,\x00,\xff"])
def test_a_foreign_line_is_one_warning_and_left_out(foreign, tmp_path):
    said, logged = [], []
    tracker = SimpleNamespace(scalar=lambda *row: logged.append(row))
    evaluations.add_results(tmp_path, [results_row()])
    with open(tmp_path / "evals.csv", "a") as file:
        file.write(foreign)
    with watched(tmp_path, said.append) as evaluation:
        assert evaluation.evaluate(tracker)
        evaluations.add_results(tmp_path, [results_row(step=8, score=3.0)])
        assert [row["score"] for row in evaluation.finish(tracker)] == ["2.0", "3.0"]
    assert logged == [("eval/no_modif/sampled", 2.0, 0), ("eval/no_modif/sampled", 3.0, 8)]
    (warning,) = said
    assert "in line 3 what is no evaluation; it is left out" in warning


def test_other_columns_end_a_training_with_a_sentence(tmp_path):
    """Its state is saved; once the file is as it was, it goes on."""
    with watched(tmp_path) as evaluation:
        (tmp_path / "evals.csv").write_text("a,b\n1,2\n")
        with pytest.raises(RunFolderError, match="has other columns than"):
            evaluation.finish(SimpleNamespace())


def test_what_a_run_does_again_is_forgotten(tmp_path):
    for step, phase in ((0, 0), (32, 0), (32, 1), (40, 1)):
        evaluations.add_results(tmp_path, [("run", 1, phase, step, "", "train", 0, 1, 0, 2.0, 10, 5, "")] * 2)
    (tmp_path / "evals").mkdir()
    for steps in ((30,), (32,), (32, 33), (64,)):
        save_checkpoint(
            tmp_path / "evals" / f"{'_'.join(map(str, steps))}.cleanrl_model",
            model_weights={"w": torch.zeros(1)},
            args={},
            global_step=steps[0],
            evaluations=[[step, 0, ""] for step in steps],
        )
    evaluations.forget_after(tmp_path, 32)
    assert [(int(row["global_step"]), row["phase"]) for row in evaluations.read_results(tmp_path)] == [
        *[(0, "0")] * 2,
        *[(32, "0")] * 2,
        *[(32, "1")] * 2,
    ]
    assert [path.stem for path in evaluations.snapshot_paths(tmp_path)] == ["30", "32"]


def test_a_run_that_goes_on_evaluates_what_an_earlier_version_left(tmp_path):
    weights = {"w": torch.zeros(1)}
    path = tmp_path / "evals" / "x.cleanrl_model"
    path.parent.mkdir()
    save_checkpoint(path, model_weights=weights, args={}, global_step=32, evaluations=[[32, 0, ""]])
    with watched(tmp_path) as evaluation:
        assert evaluation.state_dict()["pending_evaluations"] == [[[[32, 0, ""]], weights]]


def test_one_process_at_a_time(evaluated, capsys):
    with exclusive(evaluated), pytest.raises(SystemExit) as stopped:
        evaluate_later(evaluated)
    assert stopped.value.code == 2
    assert "error: another process is running in" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------------- the plan


def brute_force(strings_at, total, num_envs, num_steps, every, shrink):
    """Walk through a run step by step and collect labels, and weights by number of updates and perturbations."""
    found, weights, step, rollout, perturbed, phase, current = [], set(), 0, 0, 0, 0, strings_at(0)
    last_regular = None

    def note():
        if (step, phase, current) not in found:
            found.append((step, phase, current))
            weights.add((rollout, perturbed))

    while step < total:
        interval = step // every if every else 0
        if last_regular is None or interval > last_regular:
            note()
        last_regular = interval
        for _ in range(num_steps):
            if step >= total:
                break
            new = strings_at(step)
            if new != current:
                note()
                phase, perturbed, current = phase + 1, perturbed + shrink, new
                note()
            step += num_envs
        rollout += 1
    note()
    return found, len(weights)


@pytest.mark.parametrize("shrink", [False, True])
@pytest.mark.parametrize("every", [0, 1, 24, 100, 10_000])
@pytest.mark.parametrize("hold", [3, 8, 50, 200])
def test_the_plan_counts_what_a_run_does(hold, every, shrink):
    total, num_envs, num_steps = 410, 4, 8
    names = ["", "a", "a", "b"]
    regimes = [(start, start + hold, names[start // hold % 4]) for start in range(0, total, hold)]
    plan = place_evaluations(
        iter(regimes),
        total_timesteps=total,
        num_envs=num_envs,
        num_steps=num_steps,
        every=every,
        weights_change=shrink,
    )
    expected = brute_force(lambda step: names[step // hold % 4], total, num_envs, num_steps, every, shrink)
    assert (plan.labels, plan.played) == expected


def test_too_many_evaluations_are_refused_at_once():
    def endless():
        step = 0
        while True:
            yield step, step + 4, str(step)
            step += 4

    settings = {"total_timesteps": 10**9, "num_envs": 4, "num_steps": 10**6, "weights_change": False}
    with pytest.raises(ConfigError, match=r"at most 1,000 are allowed; make the regimes longer"):
        place_evaluations(endless(), every=0, **settings)
    one = place_evaluations([(0, 10**9, "")], every=0, **settings)
    assert one == Places([Label(0, 0, ""), Label(10**9, 0, "")], 2)
    assert one.strings == [""]
    with pytest.raises(ConfigError, match="at least 1,001"):
        place_evaluations([(0, 10**9, "")], every=1, **{**settings, "num_steps": 250_000})


def chosen(strings, held_out, trained_on):
    return choose_evaluated(strings, held_out, trained_on, game_config("ALE/Freeway-v5")[0])


def test_what_is_evaluated_by_default():
    assert chosen([], [], ["all_black_cars", "all_black_cars"]) == ({"all_black_cars": "train", "": "train"}, [])
    assert chosen([], ["no_modif"], ["all_black_cars"])[0] == {"all_black_cars": "train", "": "held_out"}
    trained_on = [f"stop_all_cars_tunnel {colour}" for colour in ("a", "b", "c", "d", "e", "f", "g", "h", "i")]
    splits, (note,) = chosen([], [], trained_on)
    assert list(splits) == [*trained_on[:7], ""]
    assert note.endswith("Left out: stop_all_cars_tunnel h, stop_all_cars_tunnel i")
    assert len(chosen([], [], trained_on[:7])[0]) == 8
    assert chosen(["no_modif"], [], trained_on)[0] == {"": "train"}


def test_of_several_games_what_is_trained_on_is_evaluated_first():
    game, _ = game_config("ALE/Freeway-v5", full_action_space=True)
    names = ("Freeway", "Pong", "Breakout", "SpaceInvaders", "Kangaroo", "BankHeist", "Boxing", "MsPacman", "Hero")
    trained_on = [f"{name}: difficulty_0" for name in names]
    splits, _ = choose_evaluated([], [], trained_on[:5], game)
    assert list(splits) == [*trained_on[:5], "Freeway:", "Pong:", "Breakout:"]
    splits, (note,) = choose_evaluated([], [], trained_on, game)
    assert list(splits) == trained_on[:8]
    assert note.endswith("Left out: Hero: difficulty_0")


TRAINED = {**BREAKOUT, "modification_factory_kwargs": {**BREAKOUT["modification_factory_kwargs"]}}
TRAINED["modification_factory_kwargs"]["modifications"] = ["", "left_drift  color_all_blocks_red"]
QUICK = {
    "env_id": "ALE/Breakout-v5",
    "modification_factory": "RandomModificationFactory",
    "modification_factory_kwargs": {"num_total_steps": 10**6, "modifications": ["", "left_drift"]},
}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"held_out_modifs": ["color_all_blocks_red left_drift"]}, ["held_out_modifs", "is trained on"]),
        ({"held_out_modifs": ["no_modif"]}, ["held_out_modifs", "'no_modif'", "is trained on"]),
        ({"held_out_modifs": ["right_drift"], "eval_modifs": ["right_drift"]}, ["is in `eval_modifs` too"]),
        (
            {
                "held_out_modifs": ["color_all_blocks_red right_drift"],
                "eval_modifs": ["right_drift color_all_blocks_red"],
            },
            ["is in `eval_modifs` too"],
        ),
        ({"eval_modifs": ['["no_modif", "right_drift"']}, ["`eval_modifs` has", "no list that can be read"]),
        ({"eval_modifs": ["right_drift,"]}, ["`eval_modifs` has right_drift,", "nothing stands beside a comma"]),
        ({"held_out_modifs": ["right_drift", " right_drift"]}, ["held_out_modifs", "twice"]),
        ({"eval_modifs": ["", "no_modif"]}, ["eval_modifs", "'no_modif'", "twice"]),
        ({"eval_modifs": ["left_drft"]}, ["left_drft", "left_drift"]),
        ({"eval_every": -1}, ["eval_every", "-1"]),
        ({"eval_every": 0, "eval_games": 0}, ["eval_games", "0"]),
        ({"eval_games": 3}, ["eval_games", "--eval_every"]),
        ({"eval_every": 0, **QUICK}, ["at most 1,000"]),
    ],
    ids=str,
)
def test_what_cannot_be_evaluated_is_refused_before_anything_starts(config, words, workdir, capsys):
    assert_refused(training.main, {**TRAINED, **config}, words, workdir, capsys)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["agent_path", "--run"]),
        (["--run", "nowhere"], ["`run` names", "nowhere", "does not exist", "run folders are made by training"]),
        (["--run", "RUN", "--deterministic"], ["deterministic", "one checkpoint"]),
        (["--run", "RUN", "--agent_path", "x"], ["agent_path", "one checkpoint"]),
        (["--run", "RUN", "--eval_games", "2"], ["eval_games", "evals.csv", "1 and 1"]),
        (["--run", "RUN", "--seed", "2"], ["seed", "evals.csv"]),
        (["--run", "RUN", "--held_out_modifs", "left_drift"], ["left_drift", "is trained on"]),
        (["--run", ""], ["`run` is given and empty"]),
        (["--agent_path", "x", "--eval_modifs", "left_drift"], ["eval_modifs", "--run"]),
        (["--agent_path", "RUN/model.cleanrl_model", "--play", "x.mp4", "--format", "csv"], ["`format`", "`play`"]),
        (["--agent_path", "RUN/model.cleanrl_model", "--play", "x.mp4", "--eval_episodes", "3"], ["`eval_episodes`"]),
    ],
    ids=str,
)
def test_flags_of_evaluating_a_run(flags, words, evaluated, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where no run is that could be meant
    before = (evaluated / "evals.csv").read_bytes()
    with pytest.raises(SystemExit) as stopped:
        evaluation.main([flag.replace("RUN", str(evaluated)) for flag in flags])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert (evaluated / "evals.csv").read_bytes() == before


def test_the_settings_are_as_given_and_the_plan_says_what_came_of_them(evaluated):
    settings = json.loads((evaluated / "args.json").read_text())
    assert settings["eval_modifs"] == ["no_modif"]
    assert settings["held_out_modifs"] == ["right_drift"]
    checkpoint = load_checkpoint(evaluated / "model.cleanrl_model")
    assert checkpoint.args["eval_modifs"] == ["no_modif"]
    plan = read_plan(evaluated)
    assert plan == Plan(64, 1, {"": "train", "right_drift": "held_out"}, labels(evaluated))


@pytest.mark.slow
def test_what_is_chosen_by_default_is_in_the_plan_alone(tmp_path, monkeypatch):
    config = {**BREAKOUT, "eval_every": 0, "eval_games": 1}
    run = train_and_play_nothing(tmp_path, config=config)
    settings = json.loads((run / "args.json").read_text())
    assert (settings["eval_modifs"], settings["held_out_modifs"], settings["total_timesteps"]) == ([], [], None)
    # The end of the run was not reached yet: what will be trained on is evaluated all the same.
    monkeypatch.setattr(run_evaluation, "trained_strings", lambda folder: [""])
    args = run_evaluation.Args(run=str(run))
    planned, _ = planned_for(args, run)
    assert planned.splits == {"": "train", "left_drift": "train"}
    named = ("no_modif", "color_all_blocks_red")
    further, _ = planned_for(run_evaluation.Args(run=str(run), eval_modifs=named), run)
    assert further.splits == {**planned.splits, "color_all_blocks_red": "train"}
    assert Run(run).asked.strings == ["", "left_drift"]
    (run / "evals" / "plan.json").unlink()
    planned, (note,) = planned_for(args, run)
    assert planned.splits == {"": "train"}
    assert note.endswith("plan.json is gone, so what is evaluated is chosen anew: no_modif")


def planned_for(args, run):
    """How `eval.py --run` would evaluate it, and its lines."""
    how, _, notes = run_evaluation.plan_run(args, run, run_evaluation.settings_of(run))
    return how, notes


def as_by_an_earlier_version(run):
    """Earlier versions had no plan: `args.json` held what it says."""
    plan, path = read_plan(run), run / "args.json"
    settings = json.loads(path.read_text())
    settings |= {"eval_modifs": plan.strings("train"), "held_out_modifs": plan.strings("held_out")}
    path.write_text(json.dumps({**settings, "eval_every": plan.every}))
    (run / "evals" / "plan.json").unlink()
    return run


def test_a_run_of_an_earlier_version_is_read(evaluated, tmp_path, capsys):
    run = as_by_an_earlier_version(Path(shutil.copytree(evaluated, tmp_path / evaluated.name)))
    asked, as_now = Run(run).asked, Run(evaluated).asked
    assert asked.strings == as_now.strings
    assert [place[:3] for place in asked.places] == [place[:3] for place in as_now.places] == sorted(labels(run))
    before = (run / "evals.csv").read_bytes()
    evaluate_later(run)
    assert (run / "evals.csv").read_bytes() == before
    assert "note" not in capsys.readouterr().out
    assert not Run(run).evaluations().pending


@pytest.mark.parametrize("content", ["", "[]", '{"eval_every": 0}', '{"eval_every": "x"', "\xff"])
def test_a_damaged_plan_is_one_sentence(content, evaluated, tmp_path, capsys):
    run = Path(shutil.copytree(evaluated, tmp_path / evaluated.name))
    (run / "evals" / "plan.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(SystemExit) as stopped:
        evaluate_later(run)
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1
    assert "plan.json" in error
    assert "move it away" in error
    assert Run(run).evaluations().strings == ["", "right_drift"]


@pytest.mark.slow
def test_a_run_that_was_made_longer_has_its_plan(tmp_path, monkeypatch):
    """Its rollouts are shifted, from step 48 on: what is planned at 64 and 96 is evaluated at 80 and 112."""
    monkeypatch.chdir(tmp_path)
    flags = ["--env_id", "ALE/Breakout-v5", "--frameskip", "40", "--no_anneal_lr", "--eval_every", "32"]
    training.main([*flags, *SMALL, "--eval_games", "1", "--total_timesteps", "48"])
    run = only_run(tmp_path)
    assert [label.global_step for label in read_plan(run).labels] == [0, 32, 48]
    training.main(["--resume", str(run), "--total_timesteps", "128"])
    assert read_plan(run) == Plan(32, 1, {"": "train"}, [Label(step, 0, "") for step in (0, 32, 64, 96, 128)])
    assert [step for step, *_ in labels(run)] == [0, 32, 48, 80, 112, 128]
    assert not Run(run).evaluations().pending


def test_a_plan_is_whole_after_a_fault(tmp_path, monkeypatch):
    write_plan(tmp_path, PLAN)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ConfigError, match="No space left"):
        write_plan(tmp_path, PLAN._replace(games=2))
    assert read_plan(tmp_path) == PLAN
    assert [path.name for path in (tmp_path / "evals").iterdir()] == ["plan.json"]


@pytest.mark.slow
def test_all_seeds_of_a_random_schedule_are_one_group(tmp_path, capsys):
    """What is evaluated of both is the same; the draw, and with it the plan's places, is not."""
    schedule = {"num_total_steps": 64, "modifications": ["", "left_drift", "right_drift"], "num_repetitions": 16}
    config = {**BREAKOUT, "modification_factory": "RandomModificationFactory", "modification_factory_kwargs": schedule}
    runs = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        runs.append(train_and_play_nothing(folder, "--eval_every", "0", "--seed", seed, config=config))
    plans = [read_plan(run) for run in runs]
    assert plans[0].splits == plans[1].splits
    assert plans[0].labels != plans[1].labels
    settings = [json.loads((run / "args.json").read_text()) for run in runs]
    assert experiment_settings(settings[0]) == experiment_settings(settings[1])
    assert len(group_runs([Run(run) for run in runs])) == 1


def test_all_seeds_of_a_random_schedule_are_evaluated_on_the_same():
    flags = ["--config", str(ROOT / "configs" / "pong_opponents.json"), "--eval_every", "0", "--no-cuda", "--seed"]
    for seed in ("1", "2"):  # their draws begin with different strings
        splits = training.prepare([*flags, seed]).plan.splits
        assert list(splits) == ["", "lazy_enemy", "parallel_enemy", "up_drift", "left_drift"]


def test_lists_on_the_command_line():
    flags = ["--eval_modifs", "no_modif", "all_black_cars stop_random_car", "--eval_every", "100"]
    setup = training.prepare(["--env_id", "ALE/Freeway-v5", "--total_timesteps", "1000", *flags])
    assert setup.args.eval_modifs == ("no_modif", "all_black_cars stop_random_car")
    assert list(setup.plan.splits) == ["", "all_black_cars stop_random_car"]


def test_labels_are_required(tmp_path):
    save_checkpoint(tmp_path / "x", model_weights={"w": torch.zeros(1)}, args={}, global_step=1)
    with pytest.raises(CheckpointError, match="no snapshot"):
        evaluations.labels_of(tmp_path / "x", load_checkpoint(tmp_path / "x"))
    assert Label(3, 1, "") == (3, 1, "")


# --------------------------------------------------------------------------------------------- kills, stops and resume


class GoneError(BaseException):
    """The process is gone, in the middle of what it did."""


def at_results(number, act):
    """Call `act` before the results of the job of this number are added to evals.csv."""
    calls, add = iter(range(1, 10**9)), evaluations.add_results

    def replacement(*args):
        if next(calls) == number:
            act()
        add(*args)

    return replacement


def die():
    raise GoneError


def interrupt():
    signal.raise_signal(signal.SIGINT)


def go_on(run):
    training.main(["--resume", str(run)])


def of_rows(run):
    return [{**row, "run": ""} for row in read_csv(run / "evals.csv")]


def interrupted(act, number, begin):
    """Call `begin`, in which `act` happens before the results of the job of this number are added to evals.csv."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluations, "SECONDS_WITHOUT_A_WORD", 0.0)  # so that jobs end one by one, however fast they are
        patch.setattr(evaluations, "add_results", at_results(number, act))
        begin()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "error", "by_hand", "then"),
    [(die, GoneError, True, "44: 8"), (interrupt, SystemExit, False, "0 and 44: 9")],
)
def test_what_is_interrupted_is_not_played_again(act, error, by_hand, then, evaluated, tmp_path, monkeypatch, capfd):
    """A kill or a stop in the middle of two evaluations: of four jobs for the weights of the beginning, and of four
    each for those before a switch and those between its perturbation and the update.

    A job that is done before a stop is obeyed counts. Both evaluations begin with a save, as `checkpoint_every` is far.
    A run that goes on evaluates what is left together with what its next rollout asks for, unless somebody did before.
    """
    flags = [*EVALUATED, *PERTURBED, "--eval_every", "64", "--checkpoint_every", "10000"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        interrupted(act, 3, lambda: train(tmp_path, *flags))
    run = only_run(tmp_path)
    assert len(read_csv(run / "evals.csv")) == (2 if act is die else 3)
    if by_hand:
        evaluate_later(run)
        assert len(read_csv(run / "evals.csv")) == 4
    with pytest.raises(error):
        interrupted(act, 8, lambda: go_on(run))
    go_on(run)
    said = re.findall(r"^evaluating the weights of step (.*) games$", capfd.readouterr().out, re.M)
    assert said == ["0: 4", then, "44 and 64: 5", "128: 4"]
    assert of_rows(run) == of_rows(evaluated)


@pytest.mark.slow
@EVERY
def test_killed_in_evaluations_a_run_ends_as_if_nothing_had_happened(sibling, tmp_path):
    """Real kills in the middle of games, which worker processes play, and between two results."""
    flags = [*sibling.small, *EVALUATED, "--eval_every", "64", "--checkpoint_every", "10000", "--num_workers", "2"]
    flags = ["--config", write_config(tmp_path, **BREAKOUT), *flags, *sibling.method]

    def live(name, *flags, fault=None):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "output.txt").unlink(missing_ok=True)
        code = Life(tmp_path / name, *flags, fault=fault and ("die_in_evaluation", *fault), sibling=sibling).end()
        said = (tmp_path / name / "output.txt").read_text()
        assert code == (-signal.SIGKILL if fault else 0), said
        return [int(games) for games in re.findall(r"^evaluating the weights of step .*: (\d+) games$", said, re.M)]

    live("whole", *flags)
    live("killed", *flags, fault=("_advance", 5))
    whole, run = only_run(tmp_path / "whole"), only_run(tmp_path / "killed")
    written = []
    for fault in (("add_results", 3), ("_advance", 10), ("add_results", 7)):
        live("killed", "--resume", str(run), fault=fault)
        written.append(len(of_rows(run)))
    announced = live("killed", "--resume", str(run))
    assert_same_run(run, whole)
    assert of_rows(run) == of_rows(whole)
    assert labels(run) == [
        (0, 0, ""),
        (44, 0, ""),
        (44, 1, "left_drift"),
        (64, 1, "left_drift"),
        (128, 1, "left_drift"),
    ]
    assert 2 == written[0] <= written[1] < written[2] < len(of_rows(run))
    assert sum(announced) == len(of_rows(run)) - written[-1], "nothing is played twice"


def test_what_an_earlier_version_left_is_evaluated(evaluated, tmp_path):
    """It kept weights in files until another process had evaluated them."""
    run = Path(shutil.copytree(evaluated, tmp_path / evaluated.name))
    expected = results_at(read_csv(run / "evals.csv"), 128, 1)
    evaluations.forget_after(run, 44)
    label = [64, 1, "left_drift"]
    weights = load_checkpoint(run / "model.cleanrl_model").model_weights
    save_checkpoint(
        run / "evals" / "x.cleanrl_model", model_weights=weights, args={}, global_step=64, evaluations=[label]
    )
    (run / "model.cleanrl_model").unlink()
    evaluate_later(run)
    assert labels(run) == [*EXPECTED[:3], tuple(label)]
    assert results_at(read_csv(run / "evals.csv"), 64, 1) == expected
    assert not evaluations.snapshot_paths(run)
