"""Several games in one run: what a task string is, how games change inside the workers, and what a run makes of it."""

import json
import pickle
import signal
import sys

import numpy as np
import pytest
import torch
from conftest import NEEDS_HACKATARI, assert_refused, mostly_slow, only_run, read_csv, write_config
from siblings import CLEAR, PPO, PROGRESS_COMPRESS
from test_resume import assert_same_run, begin, go_on, said
from torch import nn

import modification_factories
from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari.metrics import main as metrics
from continual_hackatari.names import Task, game_of, id_in_game, parse
from continual_hackatari.reporting.figures import OKABE_ITO, Keys
from continual_hackatari.reporting.metrics import metrics_of
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.statistics import human_normalised
from continual_hackatari.schedules.base import ModificationFactory
from continual_hackatari.schedules.factories import make_factory
from continual_hackatari.training import setup as settings_of_runs
from continual_hackatari.training.playing import evaluate
from continual_hackatari.training.setup import written_in
from continual_hackatari.wrappers.config import check_string, game_config
from continual_hackatari.wrappers.errors import GameError, ModificationError
from continual_hackatari.wrappers.standalone import ContinualAtariEnv, ContinualAtariVectorEnv
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

UP = 2  # among all 18 actions
THREE = ["Pong:", "Breakout: mode_4", "Freeway:"]
CYCLES = {
    "env_id": "ALE/Pong-v5",
    "full_action_space": True,
    "modification_factory": "CyclicModificationFactory",
    "modification_factory_kwargs": {"modifications": THREE, "steps": 64, "num_cycles": 2},
}


def config_of(game, **settings):
    return game_config(f"ALE/{game}-v5", full_action_space=True, **settings)[0]


def vector(game="Pong", num_envs=2, num_workers=0, **settings):
    return ModifiedVectorEnv(config_of(game, **settings), num_envs, num_workers=num_workers)


def play(envs, steps, rng):
    """What all games gave in so many steps of random actions."""
    seen = []
    for _ in range(steps):
        observations, rewards, terminated, truncated, info = envs.step(rng.integers(0, 18, envs.num_envs))
        seen.append((observations.tobytes(), rewards.tobytes(), terminated.tobytes(), truncated.tobytes()))
        seen.append([record._replace(number=0) for record in info.get("games", [])])
    return seen


# ------------------------------------------------------------------------------------------------------- task strings


def test_a_task_string_is_a_game_and_names():
    assert parse("Pong:  lazy_enemy up_drift ") == Task("Pong", ("lazy_enemy", "up_drift"))
    assert parse("Breakout: no_modif") == parse(" Breakout :") == Task("Breakout", ())
    assert parse("a b") == Task("", ("a", "b"))
    assert str(parse("Pong:x")) == "Pong: x"
    assert (str(Task("Pong", ())), str(Task("", ()))) == ("Pong:", "")
    for env_id, other in (
        ("ALE/Pong-v5", "ALE/Breakout-v5"),
        ("PongNoFrameskip-v4", "BreakoutNoFrameskip-v4"),
        ("PongDeterministic-v0", "BreakoutDeterministic-v0"),
        ("Pong-v4", "Breakout-v4"),
    ):
        assert game_of(env_id) == "Pong"
        assert (id_in_game(env_id, "Breakout"), id_in_game(env_id, "")) == (other, env_id)


def test_one_task_has_one_string():
    """It names the game where the agent has all actions: there a run may play several."""
    several, one = config_of("Pong"), game_config("ALE/Pong-v5")[0]
    for string, canonical in {
        "": "Pong:",
        "no_modif": "Pong:",
        "Pong:": "Pong:",
        "mode_1": "Pong: mode_1",
        "Breakout: no_modif": "Breakout:",
        "Breakout:mode_4": "Breakout: mode_4",
    }.items():
        assert check_string(several, string)[0] == check_string(several, canonical)[0] == canonical
    assert [check_string(one, string)[0] for string in ("", "Pong:", "Pong: mode_1")] == ["", "", "mode_1"]


SPELLINGS = ["", "Pong:", "Pong: no_modif", "Breakout:", "Breakout: no_modif"]


def sequential(modifications, steps):
    borders = [steps * number for number in range(1, len(modifications))]
    kwargs = {"num_total_steps": steps * len(modifications), "modifications": modifications}
    return {"SequentialModificationFactory": {**kwargs, "switching_thresholds": borders}}


class Spelling(ModificationFactory):
    """A schedule of a user's own, which says the same in several ways."""

    def get_modification(self, step):
        return SPELLINGS[step // 64]


FACTORIES = {
    "SequentialModificationFactory": sequential(SPELLINGS, 64)["SequentialModificationFactory"],
    "CyclicModificationFactory": {"modifications": SPELLINGS, "steps": 64, "num_cycles": 1},
    "EpsSequentialModificationFactory": {
        **sequential(SPELLINGS, 64)["SequentialModificationFactory"],
        "epsilon": 0.0,
    },
    "CombinedModificationFactory": {
        "modification_factory_kwargs": [
            {"modification_factory": name, "modification_factory_kwargs": kwargs}
            for part in (SPELLINGS[:2], SPELLINGS[2:])
            for name, kwargs in sequential(part, 64).items()
        ]
    },
    f"{__name__}:Spelling": {"num_total_steps": 320},
}


@pytest.mark.parametrize("factory", FACTORIES)
def test_schedules_see_one_task_behind_its_spellings(factory, capsys, tmp_path, monkeypatch):
    """Regimes are those of tasks: a run switches once here, and a preview says so."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Spelling.__module__])
    config = {**CYCLES, "modification_factory": factory, "modification_factory_kwargs": FACTORIES[factory]}
    path = write_config(tmp_path, **config)
    setup = training.prepare(["--config", path, *PPO.small])
    assert list(setup.schedule.segments()) == [(0, 192, "Pong:"), (192, 320, "Breakout:")]
    assert [setup.modification_at(step) for step in (0, 64, 191, 192, 319)] == ["Pong:"] * 3 + ["Breakout:"] * 2
    capsys.readouterr()
    assert modification_factories.main([path]) == 0
    assert "Pong: 60" in " ".join(capsys.readouterr().out.split())


def test_a_class_that_is_asked_for_every_step_has_its_strings_checked_once(monkeypatch):
    checked = []
    monkeypatch.setattr(settings_of_runs, "check_string", lambda game, string: (checked.append(string) or string, []))
    form = written_in(config_of("Pong"))
    assert [form(string) for string in ["a", "b", "a"] * 1000] == ["a", "b", "a"] * 1000
    assert checked == ["a", "b"]


def test_a_task_of_two_spellings_is_replayed_no_more_often_than_another():
    phases = sequential(["", "Pong:", "Breakout:"], 10) | {"NoModificationFactory": {"num_total_steps": 4000}}
    kwargs = {"modification_factory_kwargs": phases, "epsilon": 1.0}
    schedule = make_factory("EpsCombinedModificationFactory", kwargs, seed=1)
    schedule.rewrite(written_in(config_of("Pong")))
    played = [schedule.get_modification(step) for step in range(30, 4030)]
    assert played.count("Breakout:") == pytest.approx(2000, abs=200)


@pytest.mark.parametrize(
    ("string", "settings", "words"),
    [
        ("Braekout: mode_1", {}, ["'Braekout'", "did you mean Breakout"]),
        ("xyzzy:", {}, ["'xyzzy'", "games are named as in Freeway"]),
        ("Breakout: mode_99", {}, ["Breakout has no such mode"]),
        ("Breakout: nonsense", {}, ["Breakout has no modification of this name"]),
        ("Breakout:", {"full_action_space": False}, ["all 18 actions", "`--full_action_space`"]),
        pytest.param("Breakout:", {"obs_mode": "obj"}, ["`obs_mode` obj", "one game"], marks=NEEDS_HACKATARI),
        ("Breakout:", {"env_id": "Freeway", "goal_kind": "position"}, ["`her`", "one game, here Freeway"]),
    ],
)
def test_what_cannot_be_played_is_one_sentence(string, settings, words):
    game, _ = game_config(**{"env_id": "ALE/Pong-v5", "full_action_space": True, **settings})
    with pytest.raises(ModificationError) as refused:
        check_string(game, string)
    assert all(word in str(refused.value) for word in words), refused.value


def test_another_game_has_an_id_of_the_same_kind():
    game, _ = game_config("PongNoFrameskip-v4", full_action_space=True)
    assert check_string(game, "Breakout:")[0] == "Breakout:"
    with pytest.raises(ModificationError, match="no TetrisNoFrameskip-v4; choose an `--env_id` such as ALE/Pong-v5"):
        check_string(game, "Tetris:")


# ------------------------------------------------------------------------------------------------------ environments


def test_the_second_game_is_what_it_is_in_an_environment_of_its_own():
    """For the same actions, and also when it comes back: what happens in one game, the others do not notice."""
    envs, alone = vector("Pong"), vector("Breakout")
    first, before = [], ""
    for visit, string in enumerate(["Pong:", "Breakout:", "Freeway:", "Breakout: mode_4", "Pong:"]):
        observations, info = envs.set_modifications(string)
        assert [(game.modification, game.cut) for game in info["games"]] == [(before, True)] * (2 if before else 0)
        first.append(observations)
        seen, before = play(envs, 40, np.random.default_rng(visit)), string
        if "Breakout" in string:
            assert np.array_equal(observations, alone.set_modifications(string)[0])
            assert seen == play(alone, 40, np.random.default_rng(visit))
    assert not np.array_equal(first[0], first[4]), "the second game of Pong is another than the first"
    envs.close()
    alone.close()


@pytest.mark.slow
def test_it_is_the_same_with_any_number_of_workers_which_live_on():
    seen = []
    for num_workers in (0, 1, 2):
        envs, rng = vector(num_envs=3, num_workers=num_workers), np.random.default_rng(0)
        pids = envs.worker_pids()
        for string in ("Pong:", "Breakout:", "Pong: mode_1"):
            observations, info = envs.set_modifications(string)
            seen.append((num_workers, observations.tobytes(), info, play(envs, 20, rng)))
        assert envs.worker_pids() == pids
        envs.close()
    for one in (1, 2):
        assert [part[1:] for part in seen if part[0] == one] == [part[1:] for part in seen if part[0] == 0]


def test_in_mode_episode_each_game_changes_at_its_own_next_start():
    """Breakout's games end at other moments; each record says what was played."""
    envs, rng = vector("Breakout", num_envs=3), np.random.default_rng(1)
    envs.set_modifications("Breakout:")
    play(envs, 3, rng)
    before = envs.arrays.observations.copy()
    observations, info = envs.set_modifications("Freeway:", "episode")
    assert np.array_equal(observations, before)
    assert info["games"] == []
    ended, width = {}, len("Breakout:")
    while len(ended) < 3:
        *_, info = envs.step(rng.integers(0, 18, 3))
        for record in info.get("games", []):
            assert (record.modification[:width], record.cut) == ("Breakout:", False)
            ended[record.env] = record
    assert len({record.length for record in ended.values()}) > 1
    play(envs, 2, rng)
    assert [record.modification for record in envs.cut_games()] == ["Freeway:"] * 3
    envs.close()


def test_live_cannot_change_the_game():
    envs = vector()
    envs.set_modifications("Pong:")
    with pytest.raises(GameError, match="live cannot change Pong in mid-game to Breakout"):
        envs.set_modifications("Breakout:", "live")
    envs.set_modifications("Pong: difficulty_1", "live")
    envs.close()


@pytest.mark.slow
@pytest.mark.parametrize("moment", mostly_slow(["first game again", "second game", "before any change"], 3))
def test_a_saved_state_knows_all_games(moment):
    """Also those that wait: what comes after them is the same in new environments."""
    envs, rng = vector(), np.random.default_rng(5)
    played = {"second game": ["Pong:", "Breakout:"], "before any change": ["Pong:"]}
    for string in played.get(moment, ["Pong:", "Breakout:", "Freeway:", "Pong: mode_1"]):
        envs.set_modifications(string)
        play(envs, 25, rng)
    state = pickle.loads(pickle.dumps(envs.get_state()))
    resumed = vector(num_workers=1)
    resumed.set_state(state)
    assert resumed.string == envs.string
    later = []
    for each in (envs, resumed):
        rng, seen = np.random.default_rng(6), []
        for string in ("", "Breakout:", "Pong:", "Freeway:"):
            if string:
                observations, info = each.set_modifications(string)
                seen += [observations.tobytes(), info]
            seen += play(each, 15, rng)
        later.append(seen)
        each.close()
    assert later[0] == later[1]


def test_a_saved_state_knows_seeds_that_were_given_as_a_list():
    """For games that nobody has played yet, and for one that was put aside under the seed before."""
    envs, resumed, other = vector(num_envs=1, seed=3), vector(num_envs=1, seed=3), vector(num_envs=1, seed=3)
    envs.set_modifications("Pong:")
    envs.set_modifications("Breakout:")
    envs.reset(seed=[9])
    state = pickle.loads(pickle.dumps(envs.get_state()))
    resumed.set_state(state)
    for game in state["games"]:
        del game["seed"], game["seed_index"]
    other.set_state(state)  # as by an earlier version, which did not know them
    later = []
    for each in (envs, resumed, other):
        rng, seen = np.random.default_rng(6), []
        for string in ("Breakout:", "Pong:", "Freeway:"):
            each.set_modifications(string)
            seen.append(play(each, 25, rng))
        later.append(seen)
        each.close()
    assert later[0] == later[1]
    assert [one == another for one, another in zip(later[0], later[2], strict=True)] == [True, False, False]


@pytest.mark.slow
def test_a_new_seed_is_for_all_games():
    envs, fresh = vector(seed=3), vector(seed=4)
    for string in ("Pong:", "Breakout:"):
        envs.set_modifications(string)
    envs.reset(seed=4, options={"modifications": "Pong:"})
    fresh.set_modifications("Pong:")
    for string in ("Pong:", "Breakout:"):
        first, second = (each.set_modifications(string)[0] for each in (envs, fresh))
        assert np.array_equal(first, second)
    envs.close()
    fresh.close()


def test_fire_is_pressed_where_the_game_has_the_button():
    """All 18 actions hold FIRE, which in Freeway does nothing: its start is that of the game's own actions."""
    start = {"game_start": "none", "sticky": 0.0}
    for game in ("Freeway", "Breakout"):
        own = ModifiedVectorEnv(game_config(f"ALE/{game}-v5", **start)[0], 1, num_workers=0)
        both = [envs.set_modifications("")[0] for envs in (own, vector(game, 1, **start))]
        assert np.array_equal(*both)


def test_gymnasiums_environments_play_several_games():
    single = ContinualAtariEnv("ALE/Pong-v5", full_action_space=True, modifications="Breakout:")
    many = ContinualAtariVectorEnv("ALE/Pong-v5", 1, full_action_space=True, num_workers=0, autoreset_mode="SameStep")
    first, info = single.reset(seed=7)
    assert single.strings[info["modification"]] == "Breakout:"
    others, info = many.reset(seed=[7], options={"modifications": "Breakout:"})
    assert many.strings[int(info["modification"][0])] == "Breakout:"
    assert np.array_equal(first, others[0])
    assert single.action_space.n == many.single_action_space.n == 18
    single.close()
    many.close()


class Upward(nn.Module):
    """Always presses UP."""

    def act(self, x, *, deterministic=False, generator=None):
        return torch.full((len(x),), UP)

    def describe(self, x):
        return {}


@NEEDS_HACKATARI
def test_who_always_goes_up_crosses_freeway_also_as_second_game():
    """Without cars a crossing takes about 50 steps, with them at most three times that."""
    envs, scores = vector("Pong"), {}
    for string in ("Pong:", "Freeway: disable_cars", "Freeway:"):
        envs.set_modifications(string)
        scores[string] = sum(envs.step(np.full(2, UP))[1] for _ in range(200))
    envs.close()
    assert all(score < 0 for score in scores["Pong:"])
    assert all(3 <= score <= 4 for score in scores["Freeway: disable_cars"])
    assert all(1 <= score <= 3 for score in scores["Freeway:"])


@pytest.mark.slow
@NEEDS_HACKATARI
@pytest.mark.parametrize("home", ["Freeway", "Pong"])
def test_who_always_goes_up_has_the_known_scores_on_freeway(home):
    how = {"episodes": 4, "seed": 1, "deterministic": True, "num_envs": 4, "num_workers": 0}
    strings = ["Freeway:", "Freeway: disable_cars"]
    strings = strings if home == "Freeway" else ["Pong:", *strings]
    games = evaluate(Upward(), config_of(home), strings, device=torch.device("cpu"), **how)
    assert all(17 <= record.score <= 27 for record in games["Freeway:"])
    assert all(38 <= record.score <= 43 for record in games["Freeway: disable_cars"])
    if home == "Pong":
        assert all(record.score < 0 for record in games["Pong:"])


# --------------------------------------------------------------------------------------------------------------- runs


def prepared(folder, *flags, **config):
    return PPO.prepare(["--config", write_config(folder, **{**CYCLES, **config}), *flags, "--no-cuda"])


@pytest.mark.parametrize("script", [CLEAR, PROGRESS_COMPRESS], ids=["clear", "progress_compress"])
def test_the_other_scripts_say_it_too(script, workdir, capsys):
    script.prepare(["--config", write_config(workdir, **CYCLES), "--no-cuda"])
    assert "note: 3 games have points of different sizes" in capsys.readouterr().out


def test_rewards_count_by_their_sign_where_there_are_several_games(workdir, capsys):
    assert prepared(workdir).args.reward_scaling == "clip"
    assert "3 games have points of different sizes" in capsys.readouterr().out
    for flags in (["--reward_scaling", "normalize"], ["--reward_scaling", "none"]):
        assert prepared(workdir, *flags).args.reward_scaling == flags[1]
    one = {**CYCLES["modification_factory_kwargs"], "modifications": ["Freeway:", "Freeway: mode_1"]}
    assert prepared(workdir, env_id="Freeway", modification_factory_kwargs=one).args.reward_scaling == "normalize"
    assert "of different sizes" not in capsys.readouterr().out


def test_names_that_wait_with_live_are_looked_up_in_the_game_that_is_played(workdir, capsys):
    """One game, which is not the one of `env_id`; its mode waits for the start of a game."""
    one = {**CYCLES["modification_factory_kwargs"], "modifications": ["Breakout:", "Breakout: mode_4"]}
    prepared(workdir, env_id="Pong", modification_factory_kwargs=one, switch_mode="live")
    assert "note: `mode_4` acts at the start of a game only" in capsys.readouterr().out
    named = {**one, "modifications": ["Breakout:", "Breakout: left_drift"]}
    prepared(workdir, env_id="Pong", modification_factory_kwargs=named, switch_mode="live")


def test_evaluated_are_the_tasks_and_the_unmodified_games(workdir):
    plan = prepared(workdir, "--eval_every", "0", held_out_modifs=["Breakout: mode_8"]).plan
    tasks = [*THREE, "Breakout:"]
    assert plan.splits == {**dict.fromkeys(tasks, "train"), "Breakout: mode_8": "held_out"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"full_action_space": False}, ["all 18 actions", "modification_factory_kwargs.modifications[1]"]),
        ({"switch_mode": "live"}, ["`switch_mode` live", "3 games", "choose reset or episode"]),
        ({"held_out_modifs": ["Braekout:"]}, ["`held_out_modifs`", "did you mean Breakout"]),
        ({"held_out_modifs": ["Breakout: mode_4 no"]}, ["`held_out_modifs`", "Breakout has no modification"]),
        ({"held_out_modifs": [" Freeway : no_modif"], "eval_every": 0}, ["`held_out_modifs`", "is trained on"]),
        ({"eval_modifs": ["Breakout:", "Breakout: no_modif"]}, ["`eval_modifs`", "'Breakout:' twice"]),
        ({"env_id": "Freeway", "her": True}, ["`her`", "one game"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(change, words, workdir, capsys):
    assert_refused(training.main, {**CYCLES, "cuda": False, **change}, words, workdir, capsys)


def test_a_name_is_checked_against_its_own_game(workdir, capsys):
    """The sentence says where in the file it stands, also where another game has the name."""
    kwargs = {"modifications": ["Freeway: mode_7", "Pong: mode_7"], "steps": 64, "num_cycles": 1}
    words = ["Pong has no such mode", "modification_factory_kwargs.modifications[1]"]
    assert_refused(training.main, {**CYCLES, "modification_factory_kwargs": kwargs}, words, workdir, capsys)
    kwargs["modifications"] = ["Freeway: mode_7", "Pong: mode_0 mode_1"]
    words = ["a game has one mode: keep one", "modification_factory_kwargs.modifications[1]"]
    assert_refused(training.main, {**CYCLES, "modification_factory_kwargs": kwargs}, words, workdir, capsys)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three games, two cycles, evaluated at each switch."""
    folder = tmp_path_factory.mktemp("several")
    flags = ["--eval_every", "0", "--eval_games", "1", "--time_limit", "400", "--save_agent_with_switch"]
    assert begin(folder, *flags, config=CYCLES, every=0).end() == 0, said(folder)
    return only_run(folder)


@pytest.mark.slow
def test_a_run_writes_each_game_by_its_name(run):
    tasks = [*THREE, "Breakout:"]
    rows = read_csv(run / "evals.csv")
    moments = {(row["phase"], row["global_step"]) for row in rows}
    assert len(moments) > 6
    for moment in moments:
        assert {r["modification"] for r in rows if (r["phase"], r["global_step"]) == moment} == set(tasks)
    assert [row["to"] for row in read_csv(run / "switches.csv")] == [*THREE[1:], *THREE]
    assert [row["from"] for row in read_csv(run / "switches.csv")] == [*THREE, *THREE[:2]]
    assert {row["modification"] for row in read_csv(run / "episodes.csv")} == set(THREE)
    args = json.loads((run / "args.json").read_text())
    assert (args["full_action_space"], args["reward_scaling"]) == (True, "clip")
    assert len(list(run.glob("switch_*.cleanrl_model"))) == 5


@pytest.mark.slow
def test_metrics_are_per_task_and_normalised_by_each_game(run, workdir, capsys):
    metrics([str(run)])
    assert "of several games, whose points differ in size" in capsys.readouterr().out
    units = json.loads((workdir / "metrics.json").read_text())["groups"][0]["runs"][0]["metrics"]
    assert units["forgetting_isolated"]["value"] is not None
    metrics([str(run), "--normalise", "human"])
    assert "of several games" not in capsys.readouterr().out
    raw = Run(run).evaluations()
    human = metrics_of(raw, "ALE/Pong-v5", normalise="human")["average_performance"]
    for task in THREE:
        score = raw.score(task, raw.num_phases - 1).value
        assert human.units[task] == pytest.approx(human_normalised(parse(task).game, score))


@pytest.mark.slow
def test_its_agent_is_evaluated_on_all_games(run, workdir, capsys):
    words = ["--agent_path", str(run), "--eval_episodes", "1", "--num_workers", "0", "--no_cuda", "--time_limit", "800"]
    evaluation.main([*words, "--modifs", "no_modif, Breakout: mode_4", "--output_dir", "out"])
    table = capsys.readouterr().out
    assert "Pong:" in table
    assert "Breakout: mode_4" in table
    summary = json.loads((workdir / "out" / "summary.json").read_text())
    assert summary["full_action_space"] is True
    for result in summary["results"]:
        game = parse(result["modification"]).game
        assert result["human_normalised"] == pytest.approx(human_normalised(game, result["mean"]))
    with pytest.raises(SystemExit):
        evaluation.main([*words, "--no_full_action_space"])
    assert "`full_action_space` False contradicts the checkpoint" in capsys.readouterr().err
    evaluation.main(["--run", str(run), "--num_workers", "0"])
    new = [row for row in read_csv(run / "evals.csv") if row["global_step"] == "224"]
    assert {row["modification"] for row in new} == {*THREE, "Breakout:"}, "the agent that was saved on the way"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["reset", "episode"])
def test_killed_in_a_change_of_games_it_ends_as_if_nothing_had_happened(mode, tmp_path):
    flags = ["--switch_mode", mode, "--time_limit", "400", "--num_workers", "1"]
    assert begin(tmp_path / "whole", *flags, config=CYCLES, every=0).end() == 0, said(tmp_path / "whole")
    cut = tmp_path / "cut"
    fault = ("die_in_switch", "set_modifications", 4)
    assert begin(cut, *flags, config=CYCLES, fault=fault).end() == -signal.SIGKILL
    assert go_on(cut).end() == 0, said(cut)
    assert_same_run(only_run(cut), only_run(tmp_path / "whole"))


# ------------------------------------------------------------------------------------------------------------- report


def test_colours_tell_games_and_modifications_apart():
    strings = ["Pong:", "Pong: mode_1", "Breakout:", "Breakout: gravity", "Breakout: left_drift"]
    many = Keys([*(f"SpaceInvaders: mode_{mode}" for mode in range(16)), "Pong:"])
    assert len({many.colour(string) for string in many.modifications}) == 17
    games = Keys([f"{letter}:" for letter in "ABCDEFGHIJKLMNOPQRST"])
    assert len({games.colour(string) for string in games.modifications}) == 20
    keys = Keys(strings)
    colours = [keys.colour(string) for string in strings]
    assert len(set(colours)) == len(strings)
    assert (keys.colour("Pong:"), keys.colour("Breakout:")) == OKABE_ITO[:2]
    assert Keys(["", "a", "b"]).colour("b") == Keys(["Pong:", "Pong: a", "Pong: b"]).colour("Pong: b") == OKABE_ITO[2]


@pytest.mark.slow
def test_a_report_has_a_panel_for_each_game(run, workdir):
    from continual_hackatari.reporting import figures, report

    gathered = report.gather([Run(run)])
    with figures.drawing(figures.LIGHT):
        drawn = figures.draw_returns(gathered.groups, gathered.keys, figures.LIGHT)
    assert [axes.get_ylabel().split("\n")[0] for axes in drawn.axes] == ["Pong", "Breakout", "Freeway"]
    page = report.compose(gathered)
    assert "ALE/Pong-v5, ALE/Breakout-v5, ALE/Freeway-v5" in page
