"""The comparison with published results: the data, the conditions that are trained, and what the tables say."""

import json

import pytest
import torch
from conftest import ROOT
from pages import section

from benchmarks import published
from continual_hackatari.continual_training_example import Args, complete
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.training.checkpoints import save_checkpoint
from continual_hackatari.training.config import apply_config_file, as_plain_dict
from continual_hackatari.wrappers.config import check_string, game_config
from continual_hackatari.wrappers.modifications.supplementary import ALIASES

GROUPS = list(published.GROUPS)
STRINGS = [
    (published.game_of(group), string)
    for group, entry in published.GROUPS.items()
    for string in [*entry["scores"], *entry["modification_factory_kwargs"]["modifications"]]
]


def config_of(group):
    """The settings that a run has which is given the file of a group and nothing else."""
    args, _ = apply_config_file(Args(), published.CONFIGS / f"{group}.json")
    game, _ = game_config(args.env_id, frameskip=args.frameskip, game_start=args.game_start)
    return as_plain_dict(complete(args, [game.game])) | game.chosen


def evaluation(group, steps=1000, **means):
    strings = {string for string in published.compared(group).values() if string is not None}
    return published.Evaluation("a", steps, {}, {**dict.fromkeys(strings, -5.0), **means})


# ------------------------------------------------------------------------------------------------------------ the data
def test_the_data_are_whole():
    assert len(GROUPS) == 16
    assert sum(len(group["seeds"]) for group in published.GROUPS.values()) == 60
    for group in published.GROUPS.values():
        assert all(
            len(scores) == len(group["seeds"]) for scores in [group["after_training"], *group["scores"].values()]
        )
    assert sum(len(group["scores"]) for group in published.GROUPS.values()) == 125


@pytest.mark.parametrize(
    ("group", "string", "scores"),
    [  # from the public table, by hand
        ("freeway_baseline", "disable_cars", [17.381, 39.0952, 35.9048, 36.2381, 37.1905]),
        ("breakout_baseline", "color_all_blocks_yellow", [336.4762, 313.7619, 349.7143]),
        ("breakout_baseline", "no_modif", [409.381, 376.4286, 388.3333]),
        ("pong_parallel_perturbation", "random_pertubation_enemy", [12.7143, None, -4.8095]),
    ],
)
def test_some_numbers(group, string, scores):
    found = published.GROUPS[group]["scores"][string]
    assert sorted(found, key=str) == sorted(scores, key=str)


def test_ten_games_follow_from_the_last_learning_rate():
    rows = published.PUBLISHED["derived"]["num_envs"]["value"] * published.PUBLISHED["settings"]["num_steps"]
    for group in published.GROUPS.values():
        rollouts = group["total_timesteps"] // rows
        assert group["global_step"] == rollouts * rows
        assert group["last_learning_rate"] == pytest.approx(published.PUBLISHED["settings"]["learning_rate"] / rollouts)


# ----------------------------------------------------------------------------------------------------------- the names
def test_every_name_has_one_row_and_every_row_has_a_name():
    occurring = {(game, word) for game, string in STRINGS for word in string.split()} - {
        (game, "no_modif") for game in ("Freeway", "Pong", "Breakout")
    }
    rows = [(row["game"], row["published"]) for row in published.NAMES]
    assert set(rows) == occurring
    assert len(set(rows)) == len(rows)
    assert all(len(row["evidence"].split()) > 5 for row in published.NAMES)


@pytest.mark.parametrize(
    ("game", "string", "ours"),
    [
        ("Freeway", "stop_all_cars", "stop_all_cars_tunnel"),
        ("Freeway", "vary_cars_speeds", "no_modif"),
        ("Freeway", "all_pink_cars vary_cars_speeds", "all_pink_cars"),
        ("Freeway", "", "no_modif"),
        ("Freeway", "stop_random_car", None),
        ("Pong", "parallel_enemy", "parallel_enemy_after_hit"),
        ("Pong", "random_pertubation_enemy", "no_modif"),
        ("Pong", "random_perturbation_enemy", "random_perturbation_enemy"),
        ("Breakout", "color_all_blocks_yellow", None),
        ("Breakout", "no_modif", "no_modif"),
    ],
)
def test_translations(game, string, ours):
    assert published.translate(game, string) == ours


def test_a_name_without_a_row_is_no_guess():
    with pytest.raises(KeyError, match="no_such_name"):
        published.translate("Pong", "no_such_name")


@pytest.mark.parametrize("game", ["Freeway", "Pong", "Breakout"])
def test_what_is_compared_can_be_played_under_exactly_this_name(game):
    config, _ = game_config(f"ALE/{game}-v5")
    for row in published.NAMES:
        if row["game"] == game and row["ours"]:
            assert check_string(config, row["ours"]) == (row["ours"], [])
            assert row["ours"] not in ALIASES.get(game, {}), "it would play what another name means"


def test_evidence_in_numbers_is_in_the_data():
    """Scores that the rows quote, from the data."""
    rows = {row["published"]: row["evidence"] for row in published.NAMES}
    baseline = published.GROUPS["breakout_baseline"]["scores"]
    yellow, plain = ([f"{v:.0f}" for v in baseline[name]] for name in ("color_all_blocks_yellow", "no_modif"))
    assert (
        "{}, {} and {} under it, and {}, {} and {} unmodified".format(*yellow, *plain)
        in rows["color_all_blocks_yellow"]
    )
    two = [published.GROUPS[f"freeway_{name}"] for name in ("vary_car_speeds", "colours_vary_car_speeds")]
    for quoted in (
        [v for g in two for v in g["after_training"]],
        [v for g in two for v in g["scores"]["vary_car_speeds"]],
    ):
        assert f"{min(quoted):.1f} to {max(quoted):.1f}" in rows["vary_cars_speeds"]
    group = published.GROUPS["pong_parallel_perturbation"]
    pairs = zip(group["scores"]["random_pertubation_enemy"], group["after_training"], strict=True)
    under, final = zip(*[pair for pair in pairs if pair[0] is not None], strict=True)
    assert (
        f"{under[0]:.1f} and {under[1]:.1f} under it, and {final[0]} and {final[1]} unmodified"
        in rows["random_pertubation_enemy"]
    )
    group = published.GROUPS["freeway_disable_cars"]
    for quoted in (group["scores"]["disable_cars"], group["after_training"]):
        assert f"{min(quoted):.1f} to {max(quoted):.1f}" in rows["disable_cars"]
    edge = [v for g in published.GROUPS.values() for v in g["scores"].get("stop_all_cars_edge", [])]
    assert f"{min(edge):.1f} to {max(edge):.1f}" in rows["stop_all_cars_edge"]


# ---------------------------------------------------------------------------------------------------------- the configs
def test_there_is_one_file_for_every_group():
    assert sorted(path.stem for path in published.CONFIGS.glob("*.json")) == sorted(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_a_run_with_the_file_has_the_published_settings(group):
    settings = config_of(group)
    wanted = published.settings_of(group)
    assert {name: settings[name] for name in wanted} == wanted
    assert published.differences(group, settings) == {}


@pytest.mark.parametrize("group", GROUPS)
def test_the_file_has_the_published_schedule(group):
    entry, settings = published.GROUPS[group], config_of(group)
    theirs = dict(entry["modification_factory_kwargs"])
    strings = [published.translate(published.game_of(group), string) for string in theirs["modifications"]]
    theirs["modifications"] = ["" if string == "no_modif" else string for string in strings]
    rollout = settings["num_envs"] * settings["num_steps"]
    theirs["num_repetitions"] = (theirs["num_repetitions"] + 1) * rollout
    assert theirs["num_repetitions"] == published.PUBLISHED["derived"]["num_repetitions"]["value"]
    assert settings["modification_factory"] == entry["modification_factory"]
    assert settings["modification_factory_kwargs"] == theirs
    schedule = schedule_from_config(settings, seed=1)
    assert schedule.num_total_steps == entry["total_timesteps"]
    assert all(start % rollout == 0 for start, _, _ in schedule.segments()), "switches are between rollouts, as there"
    game, _ = game_config(entry["env_id"])
    for string in schedule.possible_modifications():
        check_string(game, string)
    assert f'"{entry["group"]}"' in json.loads((published.CONFIGS / f"{group}.json").read_text())["notes"]


def test_held_out_colours_are_not_trained_on():
    for group, held_out in (
        ("freeway_colours", {"all_black_cars", "all_red_cars"}),
        ("breakout_colour_blocks", {"color_all_blocks_red"}),
        ("breakout_colour_paddle_and_ball", {"color_player_and_ball_red"}),
    ):
        strings = schedule_from_config(config_of(group), seed=1).possible_modifications()
        assert not held_out & set(strings)
        assert held_out <= set(published.GROUPS[group]["scores"])


def test_differences_name_what_is_not_as_published():
    settings = config_of("pong_lazy_enemy")
    other = {**settings, "num_envs": 8, "modifs": "", "modification_factory": "", "modification_factory_kwargs": {}}
    other["total_timesteps"] = 500
    assert published.differences("pong_lazy_enemy", other) == {"num_envs": 8, "schedule": "another"}
    assert published.differences("pong_baseline", other) == {"num_envs": 8}, "unmodified either way"
    del other["game_start"]
    assert published.differences("pong_baseline", other)["game_start"] is None


# ----------------------------------------------------------------------------------------------------------- the tables
def test_table_has_means_intervals_and_ranges():
    group = "pong_parallel_perturbation"
    first, second = (evaluation(group, no_modif=value) for value in (10.0, 30.0))
    rows = published.table(group, [first, second]).splitlines()
    # by hand: t(0.975, 2) = 4.303 standard errors; two agents have no interval
    assert rows[2] == "| at the end of training | `no_modif` | 8.2 ± 27.4 (-4.4 to 16.1) | 20.0 (10.0 to 30.0) |"
    assert "| `parallel_enemy` | `parallel_enemy_after_hit` | 18.8 ± 2.5 (18.0 to 20.0) | -5.0 (-5.0" in rows[4]
    assert rows[5].startswith("| `random_pertubation_enemy` | `no_modif` | 4.0 (-4.8 to 12.7) | 20.0 (10.0")
    assert "| 10.0 (10.0 to 10.0) |" in published.table(group, [first]), "one agent has no interval"


def test_what_cannot_be_compared_has_no_number_of_ours():
    rows = published.table("breakout_baseline", [evaluation("breakout_baseline")]).splitlines()
    for label in ("at the end of training", "`color_all_blocks_yellow`"):
        (row,) = [row for row in rows if row.startswith(f"| {label} |")]
        assert row.split(" | ")[1] == "-"
        assert row.endswith("| - |")
    assert sum(row.endswith("| - |") for row in rows) == 2


@pytest.mark.parametrize("group", GROUPS)
def test_every_published_string_is_printed_with_or_without_results_of_ours(group):
    for evaluations in ([], [evaluation(group)]):
        text = published.report(group, evaluations)
        for string in published.GROUPS[group]["scores"]:
            assert f"\n| `{string}` |" in text


def test_what_is_missing_is_said_with_its_command():
    group = "freeway_colours"
    short = evaluation(group)
    whole = evaluation(group, steps=10_000_000)
    other = whole._replace(differs={"num_envs": 8})
    command = "python -m benchmarks.published --groups freeway_colours --train"
    for evaluations, number in (([], 5), ([short, other], 5), ([whole, short], 4)):
        assert published.missing(group, evaluations).startswith(f"missing: {number} agents of 10,000,000 steps")
        assert published.missing(group, evaluations).endswith(command)
    assert published.missing(group, [whole] * 5) is None
    assert "ours: none" in published.report(group, [])
    assert "2 of 1,000 and 10,000,000 steps, with num_envs 8" in published.report(group, [short, other])
    assert "1 of 10,000,000 steps, all else as published" in published.report(group, [whole])


def test_the_command_prints_all_groups_and_runs_nothing(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["published"])
    monkeypatch.setattr(published, "OURS", ROOT / "no such file")
    monkeypatch.setattr("subprocess.run", None)
    published.main()
    printed = capsys.readouterr().out
    assert printed.count("| published as |") == printed.count("missing: ") == 16


def test_an_agent_is_evaluated_under_our_names_once_and_stored(tmp_path, monkeypatch, capsys):
    """The strings that eval.py is given, and what is kept: no folder of this machine."""
    agent = tmp_path / "runs" / "a" / "model.cleanrl_model"
    agent.parent.mkdir(parents=True)
    args = {**config_of("pong_parallel_perturbation"), "num_envs": 8}
    save_checkpoint(agent, model_weights={"w": torch.zeros(1)}, args=args, global_step=7)
    commands = []

    def play(command, **_):
        commands.append(command)
        folder = published.Path(command[command.index("--output_dir") + 1])
        folder.mkdir(parents=True)
        strings = command[command.index("--modifs") + 1].split(",")
        results = [{"modification": "" if s == "no_modif" else s, "mean": len(s)} for s in strings]
        (folder / "summary.json").write_text(json.dumps({"results": results}))

    monkeypatch.setattr("subprocess.run", play)
    monkeypatch.setattr(published, "machine", dict)
    monkeypatch.setattr(published, "OURS", tmp_path / "published.json")
    flags = ["--groups", "pong_parallel_perturbation", "--agents", str(agent)]
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["published", *flags])
        published.main()
    (command,) = commands
    expected = {"no_modif", "lazy_enemy", "parallel_enemy_after_hit", "random_perturbation_enemy"}
    assert set(command[command.index("--modifs") + 1].split(",")) == expected
    means = {string: len(string) for string in expected}
    assert published.stored()["pong_parallel_perturbation"] == [
        published.Evaluation("runs/a/model.cleanrl_model", 7, {"num_envs": 8}, means)
    ]
    assert "| `random_pertubation_enemy` | `no_modif` | 4.0 (-4.8 to 12.7) | 8.0 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--groups", "pong_lazy"], ["pong_lazy:", "pong_lazy_enemy"]),
        (["--agents", "a"], ["one group"]),
        (["--groups", "pong_baseline", "--agents", "a", "--train"], ["takes the place of"]),
        (["--steps", "5"], ["add `--train`"]),
        (["--folder", "no/such"], ["no/such", "no such folder"]),
        (["--groups", "pong_baseline", "--agents", "no.cleanrl_model"], ["no.cleanrl_model", "no such file"]),
    ],
)
def test_wrong_flags_are_refused(monkeypatch, capsys, flags, words):
    monkeypatch.setattr("sys.argv", ["published", *flags])
    with pytest.raises(SystemExit) as stop:
        published.parse()
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words)


# ------------------------------------------------------------------------------------------------------------ the page
def test_the_page_has_the_tables():
    page = section("Published results")
    assert published.names_table() in page
    assert published.table("freeway_baseline", published.stored()["freeway_baseline"]) in page
    for group, entry in published.GROUPS.items():
        assert f"| `{group}.json` | {entry['group']} |" in page
