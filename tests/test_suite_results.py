"""The committed results of suites: a record says what its run folder says, and the page is made of the records."""

import json
import math
import shutil
from types import SimpleNamespace

import pytest
from conftest import ROOT
from made_up_runs import make_run

from benchmarks import one_action, suite_results
from benchmarks.suites import labels, page, records, results, tables
from continual_hackatari.methods.ewc import EWC
from continual_hackatari.reporting.floor import Floor, floors_of
from continual_hackatari.reporting.metrics_tables import Settings, evaluate_groups
from continual_hackatari.reporting.rows import RunFolderError
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.words import DASH, number

SUITE = "freeway-dynamics-cpu-v2"
CONFIG = json.loads((ROOT / "configs" / "suites" / "freeway-dynamics" / "cpu.json").read_text())
STRINGS = tuple(CONFIG["modification_factory_kwargs"]["modifications"])
PPO = {"script": "continual_training_example.py"}
ANOTHER_SEQUENCE = suite_results.another_sequence
VERSIONS = {"commit": "0123456789abcdef", "torch": "2"}


def made_up(
    root,
    methods=(),
    seed=1,
    strings=STRINGS,
    gain=1.0,
    exp_name=SUITE,
    held_out=("stop_top_4",),
    score_of=None,
    regime=1024,
    **more,
):
    """A run that scores 20, less on what is not trained at present, or `score_of(string, step)`."""

    def score(string, phase, step):
        if score_of:
            return score_of(string, step)
        if step == 0:
            return 0.0
        return 20.0 * gain + seed if string == strings[phase] else 20.0 * gain - 3 * phase - len(string) % 5

    settings = {
        "methods": list(methods),
        "num_envs": 8,
        "num_steps": 128,
        "frameskip": 4,
        "sticky": 0.25,
        "eval_every": 512,
    }
    made = {"versions": VERSIONS, "processor": "a processor", "command": "/usr/bin/python3 train.py --seed=1"}
    folder = make_run(
        root / ("+".join(methods) or "none"),
        seed=seed,
        strings=strings,
        regime=regime,
        exp_name=exp_name,
        evaluated=score,
        held_out=held_out,
        scalars=(),
        **{**settings, **made, **more},
    )
    head, *rows = (folder / "evals.csv").read_text().splitlines()
    greedy = [
        ",".join([*cells[:8], "1", str(float(cells[9]) - 1), *cells[10:]]) for cells in (row.split(",") for row in rows)
    ]
    (folder / "evals.csv").write_text("\n".join([head, *rows, *greedy, ""]))
    return folder


def metrics(runs, alone=(), normalise="floor"):
    found = evaluate_groups(runs, alone, Settings(normalise=normalise))
    return [{name: (m.value, m.reason, m.units) for name, m in of_run.items()} for r in found for of_run in r.metrics]


def test_a_record_says_what_its_run_folder_says(tmp_path):
    folders = [made_up(tmp_path, seed=seed, gain=1 + seed, games_every=128) for seed in (1, 2)]
    runs = [Run(folder, events=False) for folder in folders]
    alone = made_up(tmp_path / "alone", strings=("",), exp_name="single-task", held_out=(), num_steps=64)
    kept = [record for run in [*runs, Run(alone, events=False)] for record in records.records_of(run)]
    path = tmp_path / "file.json"
    records.write(path, {"runs": kept[:2], "single_task": kept[2:]})
    read = records.read(path)
    assert read == {"runs": kept[:2], "single_task": kept[2:]}
    again = [records.as_folder(record, tmp_path / "again", i) for i, record in enumerate(read["runs"])]
    alone_again = records.as_folder(read["single_task"][0], tmp_path / "again", 2)
    assert str(metrics(again)) == str(metrics(runs))  # as text, since NaN is not NaN
    transfer = [metrics(*each, "single_task") for each in ((runs, [Run(alone)]), (again, [alone_again]))]
    assert str(transfer[0]) == str(transfer[1])
    assert [run.regimes for run in again] == [run.regimes for run in runs]
    games = [run.games.modification[~run.games.cut].tolist() for run in (runs[0], again[0])]
    assert games[0] == games[1], "the last game of a regime belongs to it"
    whole = runs[0].games.score[~runs[0].games.cut].tolist()
    assert again[0].games.score[~again[0].games.cut].tolist() == whole, "so few games are kept one by one"
    assert kept[0]["command"] == "python train.py --seed=1"
    assert kept[0]["args"]["eval_every"] == 512, "what was asked for is kept, by which baselines are known"
    assert str(tmp_path) not in path.read_text(), "where somebody's files lay is nobody's business"


def test_many_games_are_averaged_neighbour_by_neighbour_within_a_regime(tmp_path):
    folder = made_up(tmp_path, games_every=4, score=lambda step, string: step + 0.125)
    returns = records.records_of(Run(folder, events=False))[0]["returns"]
    assert sum(count for *_, count in returns) == 4 * 1024 // 4
    assert len(returns) <= records.MOST_GAMES + len(STRINGS)
    assert all((step - 1) // 1024 == (step - 4 * (count - 1) - 1) // 1024 for step, _, count in returns)
    assert all(mean == pytest.approx(step + 0.125 - 4 * (count - 1) / 2, abs=1e-9) for step, mean, count in returns)


def test_what_is_not_finished_or_not_evaluated_is_refused(tmp_path):
    unfinished = Run(made_up(tmp_path / "a", finished=False), events=False)
    with pytest.raises(RunFolderError, match="is not finished"):
        records.records_of(unfinished)
    folder = made_up(tmp_path / "b")
    lines = (folder / "evals.csv").read_text().splitlines(keepends=True)
    for mode in (0, 1):  # sampled games, greedy ones
        kept = [line for line in lines if ",4096," not in line or line.split(",")[8] != str(mode)]
        assert len(kept) < len(lines)
        (folder / "evals.csv").write_text("".join(kept))
        with pytest.raises(RunFolderError, match="is not evaluated wholly"):
            records.records_of(Run(folder, events=False))
    shutil.rmtree(folder)
    with pytest.raises(RunFolderError, match=r"is not there any more$"):
        records.records_of(Run(folder, events=False))


@pytest.mark.parametrize("missing", ["versions", "processor", "command", "seed", "exp_name"])
def test_a_run_that_does_not_say_what_made_it_is_refused(tmp_path, missing):
    path = made_up(tmp_path) / "args.json"
    path.write_text(
        json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != missing})
    )
    with pytest.raises(RunFolderError, match=rf"args\.json does not say {missing}; a run of this version"):
        records.records_of(Run(path.parent, events=False))
    path.write_text("{")
    with pytest.raises(RunFolderError, match=r"args\.json cannot be read"):
        records.records_of(Run(path.parent, events=False))


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """An empty folder in the place of the committed files, and a page of nobody, for runs of a few thousand steps."""
    monkeypatch.setattr(records, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(suite_results, "another_sequence", lambda *_: "")
    monkeypatch.setattr(one_action, "FILE", tmp_path / "one_action.json")
    return tmp_path / "results"


def test_runs_are_added_and_a_repeated_one_takes_the_place_of_the_old(committed, tmp_path, capsys):
    sweep = tmp_path / "sweeps" / "some"
    runs = [made_up(tmp_path / "runs"), made_up(tmp_path / "runs", ("ewc",), **{"ewc.strength": 1.0})]
    for place, run in enumerate(runs):
        (sweep / f"{place}").mkdir(parents=True)
        (sweep / f"{place}" / "result.json").write_text(json.dumps({"run_folder": str(run.relative_to(tmp_path))}))
    suite_results.collect([sweep])
    path = committed / f"{SUITE}.json"
    first = path.read_text()
    suite_results.collect(records.run_folders_of(sweep)[::-1])
    assert path.read_text() == first, "neither order nor repetition changes the file"
    shutil.rmtree(runs[0])
    suite_results.collect([made_up(tmp_path / "runs", gain=2.0), made_up(tmp_path / "runs", seed=2)])
    assert [each["args"]["seed"] for each in records.read(path)["runs"]] == [1, 2, 1]
    assert path.read_text() != first
    suite_results.collect([made_up(tmp_path / "other", exp_name="my-own")])
    assert "`my-own`, which is no suite" in capsys.readouterr().out


def test_what_is_neither_a_sweep_nor_a_run_is_left_out_with_a_sentence(committed, tmp_path, capsys):
    begun = tmp_path / "sweeps" / "begun"
    begun.mkdir(parents=True)
    unfinished = made_up(tmp_path / "unfinished", finished=False)
    suite_results.collect([tmp_path / "nowhere", begun, unfinished, made_up(tmp_path / "runs")])
    nowhere, no_run, no_end, added = capsys.readouterr().out.splitlines()
    assert no_end == f"left out: `{unfinished}` is not finished"
    assert nowhere.startswith(f"left out: `folders` names `{tmp_path / 'nowhere'}`, which does not exist")
    assert no_run.startswith(f"left out: `folders` names `{begun}`, which is no run folder")
    assert no_run.endswith("a sweep has a `result.json` for each run that is finished")
    assert added == f"{SUITE}.json: 1 run, 0 on one task", "the others are added"


def test_a_run_on_one_task_belongs_to_every_suite_that_compares_with_it(tmp_path):
    (record,) = records.records_of(
        Run(made_up(tmp_path, strings=("",), exp_name="single-task", held_out=(), num_steps=64), events=False)
    )
    record["steps"] = 40_000
    record["args"] |= {"modifs": "", "anneal_lr": False, "eval_every": 20_000, "eval_games": 5}

    def suites():
        return [n for n, config in records.known_sequences().items() if records.is_baseline(record, config)]

    assert suites() == [f"freeway-{name}-cpu-v2" for name in ("dynamics", "looks", "mixed")]
    right = record
    for changed in (
        *({"steps": steps} for steps in (20_000, 80_000)),
        *({"args": right["args"] | o} for o in ({"modifs": "mode_7"}, {"frameskip": 16}, {"methods": ["redo"]})),
        *({"args": right["args"] | o} for o in ({"architecture": "PPO_CBP"}, {"shrink_and_perturb": True})),
    ):
        record = {**right, **changed}
        assert suites() == [], changed


def test_runs_on_one_task_alone_are_shown_before_and_after_training(tmp_path):
    alone = {"strings": ("",), "exp_name": "single-task", "held_out": ()}
    runs = [Run(made_up(tmp_path / str(seed), seed=seed, **alone), events=False) for seed in (1, 2)]
    longer = Run(made_up(tmp_path / "longer", seed=3, regime=2048, **alone), events=False)
    assert len(tables.alone_table([*runs, longer], CONFIG).splitlines()[2:]) == 2
    (row,) = tables.alone_table(runs, CONFIG).splitlines()[2:]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["`no_modif`", "1,024", "1, 2", "0", "21.5"]


@pytest.mark.slow
def test_the_table_has_pairs_of_the_same_seed_and_says_what_one_seed_is_worth(committed, tmp_path):
    folders = [made_up(tmp_path, seed=seed) for seed in (1, 2, 3)]
    folders += [made_up(tmp_path, ("redo",), seed=seed, gain=1 + 0.1 * seed) for seed in (2, 3, 4)]
    folders += [made_up(tmp_path, ("ewc",), seed=1, **{"ewc.strength": 7.0})]
    suite_results.collect(folders)
    text = page.page()
    assert "Runs on one task alone, as the game" not in text
    table = {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in lines_of(text, "| methods | seeds")}
    assert list(table) == ["`none`", "`ewc:strength=7`", "`redo`"]
    assert table["`none`"][0] == "1, 2, 3"
    assert table["`none`"][3] == ""
    assert table["`redo`"][3] == "5 (2 pairs)"  # 20 * (0.2, 0.3) more with seeds 2 and 3, and no pair with seed 4
    assert table["`ewc:strength=7`"][3] == "0 (1 pair)"
    assert "[" in table["`none`"][1]
    assert "[" not in table["`ewc:strength=7`"][1], "one seed has no interval"
    assert "One seed says what happened in one run. It is no evidence" in text
    assert (
        "seeds 1, 2, 3: `layer_norm` 1, 2, 3; `redo` 1; `layer_norm+redo` 1, 2, 3; `ewc` 2, 3; `from_scratch`" in text
    )


def test_a_record_for_each_player_of_an_agent(committed, tmp_path):
    of_script = {"script": "/home/somebody/continual_progress_compress.py", "progress_share": 0.5, "ewc_strength": 7.0}
    folder = made_up(tmp_path, architecture="TWO_COLUMNS", **of_script)
    head, *rows = (folder / "evals.csv").read_text().splitlines()
    cells = [row.split(",") for row in rows]
    other = [",".join([*each[:9], str(float(each[9]) - 2), *each[10:], "ac"]) for each in cells]
    (folder / "evals.csv").write_text("\n".join([f"{head},agent", *(f"{row},kb" for row in rows), *other, ""]))
    knowledge_base, active = records.records_of(Run(folder, events=False))
    for mode in ("sampled", "greedy"):
        for string, scores in knowledge_base[mode].items():
            assert active[mode][string] == [score - 2 for score in scores]
    assert active["args"] | {"player": "kb"} == knowledge_base["args"]
    assert knowledge_base["args"]["script"] == "continual_progress_compress.py"
    suite_results.collect([folder, made_up(tmp_path / "ppo")])
    table = lines_of(page.page(), "| methods | seeds")
    ends = {row[1].strip(): float(row[3]) for row in table}
    name = "`progress_compress:num_envs=8:num_steps=128:ewc_strength=7 ({})`".format
    assert sorted(ends) == ["`none`", name("active column"), name("knowledge base")]
    assert ends[name("active column")] == ends[name("knowledge base")] - 2 == ends["`none`"] - 2


@pytest.mark.parametrize(
    ("args", "config", "label"),
    [
        ({"replay_ratio": 0.0}, {}, "clear:replay_ratio=0"),
        ({"replay_ratio": 1.0, "num_envs": 16, "num_workers": 3}, {}, "clear"),
        ({"replay_ratio": 0.5, "gamma": 0.9}, {"gamma": 0.9}, "clear:replay_ratio=0.5"),
        ({"amp": "bf16", "replay_ratio": 0.0}, {}, "clear:amp=bf16:replay_ratio=0"),
        ({"methods": ["ewc"], "ewc.strength": 3.0}, {}, "clear+ewc:strength=3"),
        ({**PPO, "reward_scaling": "normalize", "gamma": 0.99, "sticky": 0.25, "frameskip": 4}, {}, "none"),
        ({**PPO, "gamma": 0.9, "methods": ["ewc"]}, {}, "ppo:gamma=0.9+ewc"),
        ({**PPO, "num_envs": 16}, {}, "ppo:num_envs=16"),
        ({**PPO, "num_envs": 16}, {"num_envs": 16}, "none"),
        ({**PPO, "sticky": 0.0, "game_start": "none"}, {}, "ppo:game_start=none:sticky=0"),
        ({**PPO, "modifs": "mode_1", "total_timesteps": 7, "exp_name": "single-task"}, {}, "none"),
        ({**PPO, "total_timesteps": 7}, {}, "ppo:total_timesteps=7"),
    ],
)
def test_a_label_names_every_setting_that_the_sequence_does_not_say(args, config, label):
    assert labels.label_of({"script": "continual_clear.py", **args}, CONFIG | config) == label


def test_the_scaling_of_rewards_follows_from_the_games():
    config = records.known_sequences()["three-games-cpu-v2"]
    without = {name: value for name, value in config.items() if name != "reward_scaling"}
    for own in (config, without):
        assert labels.label_of({**PPO, "reward_scaling": "clip"}, own) == "none"
    assert labels.label_of({**PPO, "reward_scaling": "normalize"}, without) == "ppo:reward_scaling=normalize"


def test_runs_of_one_label_with_other_settings_are_left_out(committed, tmp_path, capsys):
    """`others` is a setting of which the scripts know nothing, as those of another version might."""
    suite_results.collect([made_up(tmp_path)])
    path = committed / f"{SUITE}.json"
    before = path.read_text()
    suite_results.collect([made_up(tmp_path / "again", seed=2, others=7)])
    assert path.read_text() == before
    assert (
        f"left out: `none`, seed 2, of `{SUITE}` has others 7, but {SUITE}.json has runs of the same label with "
        "others unknown; take those out" in capsys.readouterr().out
    )
    alone = {"strings": ("",), "exp_name": "single-task", "held_out": ()}
    both = [records.records_of(Run(made_up(tmp_path / "a", seed=s, others=s, **alone)))[0] for s in (1, 2)]
    assert "has others 2" in suite_results.unlike(both[1], {"runs": [], "single_task": both[:1]}, CONFIG)
    suite_results.collect([made_up(tmp_path / "named", seed=2, amp="bf16")])
    named = [row[1].strip() for row in lines_of(page.page(), "| methods | seeds")]
    assert sorted(named) == ["`none`", "`ppo:amp=bf16`"]


def test_no_two_groups_of_the_committed_runs_have_one_label():
    for name, config in records.known_sequences().items():
        content = records.read(records.file_of(name))
        found = {suite_results.unlike(record, content, config) for kind in content.values() for record in kind}
        assert found <= {""}


def test_the_usual_script_is_not_recorded_and_a_foreign_one_refused(tmp_path):
    (record,) = records.records_of(Run(made_up(tmp_path, script="/x/continual_training_example.py"), events=False))
    assert "script" not in record["args"]
    with pytest.raises(RunFolderError, match=r"made by mine\.py, which is no script of this project"):
        records.records_of(Run(made_up(tmp_path / "mine", script="/x/mine.py"), events=False))


def test_transfer_is_beside_runs_on_one_task_of_the_same_script(tmp_path):
    clear = {"script": "continual_clear.py"}
    more = {"strings": (STRINGS[1],), "exp_name": "single-task", "held_out": (), "games_every": 64}
    alone = [
        Run(made_up(tmp_path / f"{gain}", gain=gain, replay_ratio=ratio, **clear, **more), events=False)
        for ratio, gain in ((1.0, 1.1), (0.0, 1.2))
    ]
    own = {**clear, "replay_ratio": 0.0}
    runs = [Run(made_up(tmp_path / name, **more), events=False) for name, more in (("ppo", {}), ("clear", own))]
    assert results.forward_transfer(runs[:1], alone, CONFIG) == DASH
    (only,) = evaluate_groups(runs[1:], alone[1:], Settings(normalise="single_task"))
    expected = only.summaries["forward_transfer"].mean
    assert not math.isnan(expected)
    assert results.forward_transfer(runs[1:], alone, CONFIG) == f"{number(expected)} (1 of 4 tasks)"
    both = [*runs[1:], Run(made_up(tmp_path / "more", seed=2, **own), events=False)]
    assert results.forward_transfer(both, alone, CONFIG).endswith(" (2 of 8 tasks)")
    rows = [row.split("|")[1].strip() for row in tables.alone_table(alone, CONFIG).splitlines()[2:]]
    assert rows == [f"`no_modif`, `clear:num_envs=8:num_steps=128{own}`" for own in ("", ":replay_ratio=0")]


def test_a_switch_with_nothing_to_recover_is_not_counted_and_the_table_says_so(committed, tmp_path):
    """The first task scores nothing throughout, so at the first switch there is no level to come back to."""
    scores = {STRINGS[0]: 0.0, STRINGS[1]: 10.0, STRINGS[2]: 20.0, STRINGS[3]: 15.0}
    folder = made_up(tmp_path, score_of=lambda string, step: scores.get(string, 0.0) if step else 0.0)
    suite_results.collect([folder])
    (row,) = lines_of(page.page(), "| methods | seeds")
    assert row[8].strip() == "0.5 (0; 2 of 3 switches)"


def test_what_was_hardly_learned_is_named(committed, tmp_path):
    """Of one string 2 points above 0 beside 20 of another method; a tenth of it would be enough."""
    low = {STRINGS[1]: 1.9, STRINGS[2]: 2.0}
    folders = [
        made_up(tmp_path, methods, score_of=lambda string, step, own=own: own.get(string, 20.0) if step else 0.0)
        for methods, own in (((), {}), (("redo",), low))
    ]
    suite_results.collect(folders)
    lines = [line for line in page.page().splitlines() if "how-low-this-bar-is" in line]
    assert len(lines) == 1
    assert lines[0].startswith("- `redo`, seed 1: `no_modif` counts as [learned]")
    assert "with at best 1.9 points above a random player in its first regime; others came to 20." in lines[0]


def test_what_was_evaluated_and_not_trained_on_is_in_the_tables_too(committed, tmp_path):
    folder = made_up(tmp_path, held_out=("stop_top_4", "a"))
    evaluations = folder / "evals.csv"
    kept = [line.replace("held_out", "train") if ",a," in line else line for line in evaluations.open()]
    evaluations.write_text("".join(kept))
    suite_results.collect([folder])
    text = page.page().partition("as the game counts them:")[2]
    (row,) = lines_of(text, "| methods |")
    assert "| `stop_top_4` (held out) | `a` (not trained on) |\n" in text
    found = Run(folder, events=False).evaluations()
    one_button(tmp_path, "ALE/Freeway-v5", {key: {"UP": 7.0} for key in (*STRINGS, "stop_top_4", "a")})
    of_button = lines_of(page.page().partition("as the game counts them:")[2], "| methods |")[1]
    assert (of_button[1].strip(), float(of_button[-2])) == ("always `UP`", 7.0)
    assert float(row[-2]) == found.score("a", found.num_phases - 1).value


BEGINS = [0, 40_000, 80_000, 120_000]


def of_suite(begins=BEGINS, strings=STRINGS, **args):
    own = {name: CONFIG[name] for name in ("env_id", "eval_every", "eval_games", "held_out_modifs")}
    own |= {"exp_name": SUITE, "num_envs": 8, "eval_modifs": [], "total_timesteps": None}
    return {"args": own | args, "regimes": [list(each) for each in zip(begins, strings, strict=True)]}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (of_suite(), ""),
        (of_suite(total_timesteps=160_000), ""),  # as long as it is
        (of_suite(begins=[0, 40_002, 80_001, 120_000], num_envs=3), ""),  # when three games notice the switches
        (of_suite(total_timesteps=5), "with `total_timesteps` 5,"),
        (of_suite(eval_modifs=["no_modif"]), 'with `eval_modifs` ["no_modif"],'),
        (of_suite(held_out_modifs=[]), "with `held_out_modifs` [],"),
        (of_suite(eval_games=1), "with `eval_games` 1,"),
        (of_suite(eval_every=40_000), "with `eval_every` 40000,"),
        (of_suite(env_id="ALE/Pong-v5"), "with `env_id` ALE/Pong-v5,"),
        (of_suite(begins=[0, 1, 2, 3]), 'through [[0, "disable_cars"], [1, ""], '),
        (of_suite(BEGINS[:2], STRINGS[:2]), "through [[0, "),
        (of_suite(strings=STRINGS[::-1]), "through [[0, "),
    ],
)
def test_a_run_of_another_length_or_evaluated_otherwise_is_none_of_a_suite(record, words):
    why = ANOTHER_SEQUENCE(record, CONFIG)
    assert why.startswith(f"a run of `{SUITE}` {words}" if words else "")
    assert bool(why) == bool(words)


def test_what_is_committed_is_of_its_sequence():
    for name, config in records.known_sequences().items():
        for record in records.read(records.file_of(name))["runs"]:
            assert ANOTHER_SEQUENCE(record, config) == ""


def test_a_run_of_another_sequence_takes_nobodys_place(committed, tmp_path, capsys, monkeypatch):
    suite_results.collect([made_up(tmp_path / "good")])
    kept = records.file_of(SUITE).read_text()
    capsys.readouterr()
    monkeypatch.setattr(suite_results, "another_sequence", lambda record, config: f"not {config['exp_name']}")
    suite_results.collect([made_up(tmp_path / "other", gain=2.0)])
    assert capsys.readouterr().out == f"left out: not {SUITE}\n"
    assert records.file_of(SUITE).read_text() == kept


def test_a_run_alone_with_which_nothing_compares_is_said_to_be_left_out(committed, tmp_path, capsys, monkeypatch):
    """With a sequence that chooses strengths nothing compares."""
    of = {"stop_bottom_4": SUITE, "": "strengths-freeway-v1"}
    monkeypatch.setattr(
        suite_results, "is_baseline", lambda record, config: config["exp_name"] == of.get(record["args"]["modifs"])
    )
    for string, more, said in (
        ("stop_bottom_4", {}, []),
        ("", {}, ["`no_modif` alone"]),
        ("stop_top_4", {"methods": ("ewc",)}, ["`stop_top_4` alone with methods"]),
    ):
        alone = {"exp_name": "single-task", "held_out": (), "modifs": string, "num_steps": 64}
        suite_results.collect([made_up(tmp_path / f"alone{string}", strings=(string,), **alone, **more)])
        left_out = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out")]
        assert left_out == [f"left out: a run on {each}, with which no suite compares" for each in said]


@pytest.mark.parametrize(
    ("mean", "end", "words"),
    [
        (0.3, 0.1 + 0.2, "no more than any row"),
        (-1e-17, 0.0, "no more than any row"),
        (0.3, 0.1 + 0.2 + 1e-6, "more than 1 of 1 row"),
    ],
)
def test_what_differs_in_the_last_bits_is_equal(mean, end, words, monkeypatch):
    monkeypatch.setattr(page, "solved", lambda *_: False)
    row = SimpleNamespace(summaries={"average_performance": SimpleNamespace(mean=mean)})
    one = results.OneAction("UP", {}, end)
    found = SimpleNamespace(one=one, above=[row], points=[])
    (line,) = page.what_one_action_says(found)
    assert line.endswith(f"{words}.")


def one_button(tmp_path, env_id, of_strings):
    """Make it so that this is what was measured of players with one button."""
    (tmp_path / "one_action.json").write_text(json.dumps({"scores": {env_id: {"4": of_strings}}}))


@pytest.mark.parametrize(
    ("gain", "words"), [(1.0, " at the end, more than 3 of 3 rows. "), (1.2, "more than 1 of 3 rows.")]
)
def test_a_player_with_one_button_stands_beside_the_agents(committed, tmp_path, gain, words):
    """UP is best over the tasks, though DOWN is under the first one; random players have 0.24 and three times 0."""
    scores = {STRINGS[0]: {"UP": 30.24, "DOWN": 31.0}, **{key: {"UP": 20.0, "DOWN": 1.0} for key in STRINGS[1:]}}
    one_button(tmp_path, "ALE/Freeway-v5", scores)
    equal = {"score_of": lambda string, step: 20.0 * gain if step else 0.0}
    others = [made_up(tmp_path, (name,), **equal) for name in ("redo", "layer_norm")]
    suite_results.collect([made_up(tmp_path), *others])
    text = page.page()
    row = lines_of(text, "| methods | seeds")[-1]
    floor = sum(floors_of("ALE/Freeway-v5", {}, STRINGS)[string].mean for string in STRINGS) / 4
    assert row[1].strip() == "always `UP`"
    assert float(row[3]) == pytest.approx((30.24 + 3 * 20) / 4 - floor, abs=0.06)
    after = text.partition("after the last regime, as the game counts them:")[2]
    sampled, greedy = lines_of(after, "| methods |"), lines_of(after.partition("in greedy games")[2], "| methods |")
    assert [cell.strip() for cell in sampled[-1][1:-1]] == ["always `UP`", "30.2", "20", "20", "20", DASH]
    assert [cell.strip() for cell in greedy[-1][1:-1]] == ["always `UP`", "30.2", "20", "20", "20", DASH]
    assert float(sampled[1][2]) == 20 * gain
    assert float(greedy[1][2]) == 20 * gain - 1
    (line,) = (line for line in text.splitlines() if line.startswith("- A player that always presses"))
    assert words in line
    assert ("It does not show which method remembers more" in line) == (gain == 1)


def test_solved_is_nine_tenths_of_the_best_row_above_the_random_player_under_every_task():
    def row(*seeds, tasks=("",)):
        played = [
            SimpleNamespace(
                tasks=tasks,
                num_phases=3,
                score=lambda task, phase, points=points: SimpleNamespace(value=points if phase == 2 else 0.0),
            )
            for points in seeds
        ]
        return SimpleNamespace(
            evaluations=played, group=SimpleNamespace(runs=[SimpleNamespace(args={"env_id": "ALE/Breakout-v5"})])
        )

    floor = floors_of("ALE/Breakout-v5", {}, [""])[""].mean
    assert floor > 1
    rows = [row(5.0, 5.0), row(floor + 10, floor + 30)]  # the best one: 20 above
    for above, answer in ((17.9, False), (18.1, True)):
        one = results.OneAction("LEFT", {"": floor + above, "nobody knows": 99.0}, 0.0)
        assert results.solved(one, rows) == answer
    assert not results.solved(one, [row(5.0, tasks=("nobody knows",))]), "whose random player is not known"


def test_a_button_that_is_nearly_as_good_solves_the_sequence_too_and_one_measured_under_some_tasks_is_left_out(
    committed, tmp_path
):
    scores = {STRINGS[0]: {"UP": 19.0, "DOWN": 99.0}, **{key: {"UP": 19.0} for key in STRINGS[1:]}}
    one_button(tmp_path, "ALE/Freeway-v5", scores)
    suite_results.collect([made_up(tmp_path, score_of=lambda string, step: 20.0 if step else 0.0)])
    (line,) = (line for line in page.page().splitlines() if line.startswith("- A player that always presses"))
    assert line.startswith("- A player that always presses `UP`")
    assert "at the end, no more than any row. What one action solves" in line


def test_of_several_games_the_best_button_is_the_one_of_the_human_scale(committed, tmp_path, monkeypatch):
    """In points UP would be best."""
    games = ("Freeway:", "UpNDown:")
    more = {"exp_name": "three-games-cpu-v2", "strings": games, "held_out": (), "full_action_space": True}
    scores = {"ALE/Freeway-v5": {"UP": 0.0, "FIRE": 14.8}, "ALE/UpNDown-v5": {"UP": 600.0, "FIRE": 533.4}}
    measured = {env_id: {"4": {game: of_game}} for (env_id, of_game), game in zip(scores.items(), games, strict=True)}
    (tmp_path / "one_action.json").write_text(json.dumps({"scores": measured}))
    suite_results.collect([made_up(tmp_path, **more)])
    row = lines_of(page.page(), "| methods | seeds")[-1]
    assert [cell.strip() for cell in row[1:4]] == ["always `FIRE`", "", "0.25"]


def test_what_was_not_learned_alone_is_said(tmp_path):
    alone = {"exp_name": "single-task", "held_out": ()}
    low = {"score_of": lambda string, step: 0.0}
    runs = [made_up(tmp_path / str(seed), (), seed, ("",), **alone, **more) for seed, more in ((1, low), (2, {}))]
    first, second = (Run(run, events=False) for run in runs)
    breakout = {**alone, "env_id": "ALE/Breakout-v5"}
    floor = floors_of("ALE/Breakout-v5", {}, [""])[""]
    for where, score, nothing in (("low", floor.high - 0.01, True), ("high", floor.high + 0.01, False)):
        one = made_up(tmp_path / where, strings=("",), **breakout, score_of=lambda string, step, score=score: score)
        assert bool(page.learned_nothing([Run(one, events=False)], CONFIG)) == nothing, "within the floor's interval"
    assert "nothing was learned of `no_modif` (no better" in page.learned_nothing([first], CONFIG)
    assert "nothing was learned of `no_modif` with seed 1 (no better" in page.learned_nothing([first, second], CONFIG)
    assert page.learned_nothing([second], CONFIG) == ""
    other = Run(made_up(tmp_path / "other", (), 1, ("stop_bottom_4",), **alone, **low), events=False)
    both = page.learned_nothing([first, second, other], CONFIG)
    assert "nothing was learned of `no_modif` with seed 1, `stop_bottom_4` (no better" in both
    better = Run(made_up(tmp_path / "better", (), 1, ("",), **alone, learning_rate=0.5), events=False)
    assert "of `no_modif`, `ppo" in (text := page.learned_nothing([first, better], CONFIG)) or "`no_modif` (" in text


def test_what_other_strings_cost_a_string_is_told_in_points(committed, tmp_path):
    suite_results.collect([made_up(tmp_path)])
    (row,) = lines_of(page.page().partition(tables.LOST)[2], "| methods |")
    # 21 points when it is learned, then 15, 12 and 9; 21, then 14 and 11; 21, then 8; and the last one
    assert [cell.strip() for cell in row[2:-1]] == ["4", "5", "13", DASH]


def test_what_was_scored_in_training_is_that_of_the_last_quarter_of_each_regime(committed, tmp_path):
    """Games end every 128 of 1,024 steps: the last quarter has two, which are 64 steps before its end on average."""
    runs = [
        made_up(tmp_path, seed=seed, games_every=128, score=lambda step, string, seed=seed: float(seed * step))
        for seed in (1, 2)
    ]
    suite_results.collect([*runs, made_up(tmp_path, ("redo",), games_every=1024, score=lambda step, string: 7.0)])
    plain, redo = lines_of(page.page().partition(tables.TRAINED)[2], "| methods |")[:2]
    assert [float(cell.replace(",", "")) for cell in plain[2:-1]] == [
        pytest.approx(1.5 * (end - 64), rel=0.005) for end in (1024, 2048, 3072, 4096)
    ]
    assert [cell.strip() for cell in redo[2:-1]] == ["7"] * 4
    assert f"{tables.TRAINED}, 1 to 2 of each run." in page.page()
    several = [[700, 1.0, 10], [900, 5.0, 10], [1000, 8.0, 30], [1024, 2.0, 10], [1100, 9.0, 10]]
    run = Run(runs[0], events=False)
    assert results.last_quarter(run, 0, several) == (6.5, 40), "those to 900 began before the quarter, at 768"
    assert results.last_quarter(run, 0, [[700, 1.0, 1], [900, 5.0, 1]]) == (5.0, 1)
    assert math.isnan(results.last_quarter(run, 1, several[:-1])[0])


def test_scores_of_several_games_are_compared_by_their_humans(committed, tmp_path, monkeypatch):
    games = ("Freeway:", "Breakout:")
    more = {"exp_name": "three-games-cpu-v2", "strings": games, "held_out": (), "full_action_space": True}
    suite_results.collect([made_up(tmp_path, **more), made_up(tmp_path / "other", seed=2, **more)])
    (row,) = lines_of(page.page(), "| methods | seeds")
    freeway, breakout = 14 / 29.6, (21.5 - 1.7) / (30.5 - 1.7)  # 14 points, and 21 and 22
    assert float(row[3]) == pytest.approx((freeway + breakout) / 2, abs=0.001)
    text = page.page()
    (lost,) = lines_of(text.partition(tables.LOST)[2], "| methods |")
    assert lost[2].strip() == "7.5", "points, 21 - 14 and 22 - 14, and not shares of a human's"
    assert "of 4 rows and seeds 1, 2, 3: `clear:replay_ratio=0` 1, 2, 3; `clear` 1, 2, 3;" in text


def test_of_three_strengths_the_best_is_marked(committed, tmp_path):
    more = {"exp_name": "strengths-freeway-v1", "strings": ("disable_cars", "reverse_car_speed_top"), "held_out": ()}
    for strength, gain in ((1.0, 1.0), (100.0, 1.3), (10000.0, 1.3)):
        folder = made_up(tmp_path / str(strength), ("ewc",), gain=gain, **more, **{"ewc.strength": strength})
        suite_results.collect([folder])
    suite_results.collect([made_up(tmp_path / "plain", gain=2.0, **more)])
    rows = lines_of(page.page(), "| methods | setting")
    assert [(row[2].strip(), row[-2].strip()) for row in rows] == [
        ("", ""),
        ("`ewc.strength` 1", ""),
        ("`ewc.strength` 100", "yes"),
        ("`ewc.strength` 10000", ""),
    ]


def test_the_page_says_of_each_setting_whether_it_was_chosen_on_this_game(committed, tmp_path):
    sequence = {"exp_name": "strengths-freeway-v1", "strings": ("disable_cars", "reverse_car_speed_top")}
    for strength, gain in ((1.0, 1.0), (10000.0, 0.5)):
        more = {"held_out": (), "ewc.strength": strength}
        suite_results.collect([made_up(tmp_path / str(strength), ("ewc",), gain=gain, **sequence, **more)])
    breakout = json.loads((ROOT / "configs" / "suites" / "breakout-dynamics" / "cpu.json").read_text())
    strings = tuple(breakout["modification_factory_kwargs"]["modifications"])
    elsewhere = {"exp_name": breakout["exp_name"], "strings": strings, "env_id": breakout["env_id"], "held_out": ()}
    for place, of, strength in (("a", {}, 1.0), ("b", {}, 2.0), ("c", elsewhere, 1.0), ("d", elsewhere, 2.0)):
        more = {**of, "ewc.strength": strength, "redo.every": 7}
        suite_results.collect([made_up(tmp_path / place, ("redo", "ewc"), **more)])
    text = page.page()
    of_freeway = text.partition(f"## {SUITE}\n")[2].partition("\n## ")[0]
    of_breakout = text.partition(f"## {breakout['exp_name']}\n")[2].partition("\n## ")[0]
    assert "- `ewc.strength` 2 was not chosen for this game; 1 [was](#strengths-freeway-v1).\n" in of_freeway
    assert "- `ewc.strength` 1 was" not in of_freeway
    assert "- `ewc.strength` 1 was chosen on Freeway, not on this game.\n" in of_breakout
    assert "- `ewc.strength` 2 is no measured choice.\n" in of_breakout
    assert "- `redo.every` 7 is no measured choice.\n" in of_freeway
    assert "- `redo.every` 7 is no measured choice.\n" in of_breakout
    defaults = "- Settings that a label does not name are the defaults; they were not chosen for this game"
    assert f"{defaults}.\n" in of_freeway


def test_what_was_chosen_on_two_games_was_chosen_on_neither(committed, tmp_path):
    games = json.loads((ROOT / "configs" / "strengths" / "games.json").read_text())
    assert (labels.game_in_words(games), labels.game_in_words(CONFIG)) == ("Breakout and Freeway", "Freeway")
    sequence = {"exp_name": games["exp_name"], "strings": tuple(games["eval_modifs"]), "held_out": ()}
    for strength, gain in ((1.0, 1.0), (2.0, 0.5)):
        more = {**sequence, "full_action_space": True, "reward_scaling": "clip", "ewc.strength": strength}
        suite_results.collect([made_up(tmp_path / str(strength), ("ewc",), gain=gain, **more)])
    suite_results.collect([made_up(tmp_path, ("ewc",), **{"ewc.strength": 1.0})])
    of_freeway = page.page().partition(f"## {SUITE}\n")[2].partition("\n## ")[0]
    assert "- `ewc.strength` 1 was chosen on Breakout and Freeway, not on this game.\n" in of_freeway


def test_the_page_says_which_default_was_chosen_on_this_game(committed, tmp_path):
    default = EWC.Settings().strength
    sequence = {"exp_name": "strengths-freeway-v1", "strings": ("disable_cars", "reverse_car_speed_top")}
    for strength, gain in ((default, 1.0), (default * 10, 0.5)):
        more = {"held_out": (), "ewc.strength": strength}
        suite_results.collect([made_up(tmp_path / str(strength), ("ewc",), gain=gain, **sequence, **more)])
    suite_results.collect([made_up(tmp_path, ("ewc",), **{"ewc.strength": default})])
    of_freeway = page.page().partition(f"## {SUITE}\n")[2].partition("\n## ")[0]
    assert f"game, but `ewc.strength` {default} [was](#strengths-freeway-v1).\n" in of_freeway
    assert of_freeway.count("`ewc.strength`") == 1


def test_what_made_the_runs_is_told_of_each(committed, tmp_path):
    later = {"versions": {**VERSIONS, "commit": "f" * 16}}
    elsewhere = {"versions": {"torch": "2"}, "processor": "another one"}
    for seed, more in ((1, {}), (2, {"resumed": [later]}), (3, {}), (4, {"resumed": [elsewhere]})):
        suite_results.collect([made_up(tmp_path, seed=seed, **more)])
    text = page.page()
    assert (
        "- `none`, seeds 1, 3: commit 0123456789ab, a processor; seed 2: commit 0123456789ab, then ffffffffffff, a "
        "processor; seed 4: commit 0123456789ab, then unknown, a processor, then another one; `python train" in text
    )
    assert "- The runs were made on different processors, a processor and another one. " in text


def lines_of(page, head):
    """The cells of the rows of the table with this head."""
    table = page.partition(f"{head} ")[2].partition("\n\n")[0]
    return [line.split("|") for line in table.splitlines()[2:]]


def test_the_page_is_made_of_the_committed_files():
    assert (ROOT / "docs" / "suite-results.md").read_text(encoding="utf-8") == page.page(), (
        "`python -m benchmarks.suite_results` makes the page anew"
    )


def test_every_row_is_drawn(committed, tmp_path, monkeypatch):
    drawn, saved = [], {}
    maps, returns = (
        SimpleNamespace(savefig=lambda path, dpi, kind=kind: saved.update({path.name: kind}))
        for kind in ("maps", "returns")
    )
    monkeypatch.setattr(suite_results.figures, "draw_heat_maps", lambda each, *_: drawn.append(len(each)) or maps)
    monkeypatch.setattr(suite_results.figures, "draw_returns", lambda *_: returns)
    rows = [(), *((name,) for name in ("redo", "layer_norm", "crelu", "ewc", "l2_init", "reset_optimizer"))]
    suite_results.collect([made_up(tmp_path, row) for row in rows])
    drawn.clear()
    suite_results.draw_all()
    assert drawn == [7]
    assert saved == {f"{SUITE}-evaluation.png": "maps", f"{SUITE}-returns.png": "returns"}


@pytest.mark.slow
def test_the_pictures_can_be_drawn(committed, tmp_path):
    suite_results.collect([made_up(tmp_path), made_up(tmp_path, ("redo",))])
    suite_results.draw_all()
    assert {path.name for path in committed.glob("*.png")} == {f"{SUITE}-returns.png", f"{SUITE}-evaluation.png"}


def test_a_record_says_who_went_on_with_its_run(tmp_path):
    resumed = [{"global_step": 7, "versions": {"torch": "3"}, "processor": "another one", "command": "python x.py"}]
    (record,) = records.records_of(Run(made_up(tmp_path, resumed=resumed), events=False))
    assert record["args"]["resumed"] == [{"versions": {"torch": "3"}, "processor": "another one"}]


def test_everybody_who_went_on_with_a_run_is_named(tmp_path):
    parts = [{"versions": {"commit": letter * 40}, "processor": f"processor {letter}"} for letter in "xy"]
    made = page.made_by([Run(made_up(tmp_path, resumed=parts), events=False)])
    commits = [VERSIONS["commit"][:12], "x" * 12, "y" * 12]
    assert f"commit {', then '.join(commits)}, a processor, then processor x, then processor y; " in made


def test_a_write_that_is_interrupted_leaves_the_records_as_they_were(committed, tmp_path, monkeypatch):
    suite_results.collect([made_up(tmp_path)])
    path = records.file_of(SUITE)
    kept = path.read_text()

    def interrupted(self, text, **_):
        with self.open("w") as file:
            file.write(text[:5])
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        records.write(path, records.read(path))
    assert path.read_text() == kept


def test_what_was_hardly_learned_at_first_is_named_though_it_came_back(monkeypatch):
    """Learned is what its first regime taught."""

    def run(first):
        of_phase = {0: [(1024, first)], 2: [(3072, 20.0)]}
        found = SimpleNamespace(
            tasks=["a"], phases_of=lambda _: [*of_phase], points_since=lambda _, phase: of_phase[phase]
        )
        metrics = {"learned_share": SimpleNamespace(units={"a": 1})}
        of_run = SimpleNamespace(env_id="", args={}, seed="1")
        return SimpleNamespace(group=SimpleNamespace(runs=[of_run]), evaluations=[found], metrics=[metrics])

    monkeypatch.setattr(page, "floors_of", lambda *_: {"a": Floor(0.0, 0.0, 0.0)})
    lines = page.barely_learned(SimpleNamespace(labels=["none", "redo"], points=[run(1.0), run(19.0)]))
    assert [line.partition(":")[0] for line in lines] == ["`none`, seed 1"]


def test_collected_runs_on_one_task_are_kept_apart(committed, tmp_path, monkeypatch):
    monkeypatch.setattr(suite_results, "is_baseline", lambda record, config: config["exp_name"] == SUITE)
    alone = made_up(tmp_path / "alone", strings=("",), exp_name="single-task", held_out=(), num_steps=64)
    suite_results.collect([made_up(tmp_path), alone])
    content = records.read(committed / f"{SUITE}.json")
    assert [len(content[kind]) for kind in ("runs", "single_task")] == [1, 1]
