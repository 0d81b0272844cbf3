"""The interface of methods: their settings, their moments, and that they go together."""

import copy
import dataclasses
import importlib
import io
import itertools
import json
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import made_up_game
import numpy as np
import pytest
import q_learner
import torch
from conftest import ROOT, mostly_slow, write_config
from made_up_game import REGIMES
from made_up_methods import BOUNDARY, copy_of, method_on, small_agent
from pages import headings, section
from pages import rows as rows_of_table
from siblings import CLEAR, PPO, Q_LEARNER
from test_training import TWO_REGIMES, assert_same_weights, train_in, weights

from continual_hackatari import continual_clear, continual_progress_compress, sweep
from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari.agents import RewardScaler, make_agent
from continual_hackatari.agents.layers import HiddenLayer
from continual_hackatari.methods import all_methods
from continual_hackatari.methods.ewc import EWC
from continual_hackatari.methods.moments import Boundary, Changed, Clock, Method, moments_of
from continual_hackatari.methods.together import Methods
from continual_hackatari.schedules.factories import schedule_from_config
from continual_hackatari.schedules.survey import regime_end
from continual_hackatari.training import sweep_checks
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.command_line import parse_command_line
from continual_hackatari.training.config import ConfigError, Range, apply_config_file, as_plain_dict, from_plain_dict
from continual_hackatari.training.evaluations import ContinualEvaluation, saved_weights
from continual_hackatari.training.help import groups_of, prefixed_flags
from continual_hackatari.training.method_settings import check_methods, complete_methods, with_methods_part
from continual_hackatari.training.ranks import ALONE
from continual_hackatari.training.rollouts import Rollout
from continual_hackatari.training.run import Run
from continual_hackatari.training.run_methods import files_of, make_methods
from continual_hackatari.training.unrolls import played_unrolls

NAMES = list(all_methods())
RECURRENT = ["--architecture", "own_network:Recurrent"]
FREEWAY = {"env_id": "ALE/Freeway-v5", "total_timesteps": 64, "num_envs": 2, "num_steps": 16, "cuda": False}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# ----------------------------------------------------------------------------------------------------------- settings


def args_of(words, path=None):
    args = parse_command_line(training.Args, words)
    args, lines = apply_config_file(args, path) if path else (args, [])
    return complete_methods(args), lines


def test_settings_come_from_the_command_line_and_from_a_file_which_wins(workdir):
    words = ["--methods", "shrink_perturb", "continual_backprop", "--shrink_perturb.factor", "0.5", "--seed", "3"]
    words += ["--shrink_perturb.noise-scale=1e-3", "--continual_backprop.no_accumulate"]
    args, _ = args_of(words)
    assert (args.seed, list(args.chosen_methods)) == (3, ["shrink_perturb", "continual_backprop"])
    shrinking, units = args.chosen_methods.values()
    assert (shrinking.factor, shrinking.noise_scale, shrinking.noise) == (0.5, 1e-3, "gaussian")
    assert not units.accumulate
    for content in ({"shrink_perturb": {"factor": 0.25}}, {"shrink_perturb.factor": 0.25}):
        args, lines = args_of(words, write_config(workdir, **content))
        assert args.chosen_methods["shrink_perturb"].factor == 0.25
        assert lines == ["config.json overrides --shrink_perturb.factor: 0.5 -> 0.25"]
    args, _ = args_of([], write_config(workdir, methods=["shrink_perturb"], shrink_perturb={"factor": 1}))
    assert args.chosen_methods["shrink_perturb"].factor == 1.0
    plain = as_plain_dict(args)
    assert plain["shrink_perturb.noise_scale"] == 0.01, "the record holds all settings of what is on"
    assert "continual_backprop.utility" not in plain
    assert from_plain_dict(training.Args, json.loads(json.dumps(plain))) == args
    swept, _ = args_of(["--methods=continual_backprop", "--continual_backprop.accumulate=False", "--no_anneal_lr"])
    assert not swept.chosen_methods["continual_backprop"].accumulate
    assert not swept.anneal_lr


@pytest.mark.parametrize(
    ("words", "content", "sentence"),
    [
        (
            ["--methods", "layer_norm+redo:every=50"],
            {},
            r'write `--methods layer_norm redo --redo.every 50`, in a JSON file `"methods": \["layer_norm", "redo"\], '
            '"redo": {"every": 50}`',
        ),
        (["--methods", "layer_norm,redo"], {}, "which is none; write `--methods layer_norm redo`, in a JSON"),
        (
            ["--methods", "layer_norm", "redo crelu"],
            {},
            "`redo crelu`, which is none; write `--methods layer_norm redo c",
        ),
        (["--methods", "redo:every:50"], {}, "write `--methods redo --redo.every 50`, in"),
        (
            ["--methods", "redo:every=5+redo:threshold=1"],
            {},
            r'write `--methods redo --redo.every 5 --redo.threshold 1`, .* `"methods": \["redo"\], "redo": {"every": 5',
        ),
        (["--methods", "ewc:strength"], {}, "write `--methods ewc --ewc.strength VALUE`, in"),
        (["--methods", "layer_norm,rego"], {}, "nearest is `layer_norm`"),
        (["--methods", "shrink_pertub"], {}, "`methods` names `shrink_pertub`.*nearest is `shrink_perturb`"),
        (["--methods", "shrink_perturb", "shrink_perturb"], {}, "twice"),
        (["--methods", "l2_init", "--l2_init.strength", "-1"], {}, "`l2_init.strength` is -1"),
        (["--zzz.strength", "1"], {}, "nothing called `zzz` has settings here; these do: a_gem, cloning, "),
        (
            ["--shrink_perturb.factor", "1"],
            {},
            "`shrink_perturb.factor` is a setting of a method that is off: `methods` is empty; add `shrink_perturb` to",
        ),
        (
            ["--methods", "shrink_perturb", "--shrink_perturb.factor", "1"],
            {"methods": ["redo", "ewc"]},
            "`shrink_perturb.factor` is a setting of a method that is off: `methods` is redo ewc; add",
        ),
        ([], {"shrink_perturb": {"factor": 1}}, "`shrink_perturb.factor` is a setting of a method that is off"),
        (["--methods", "none"], {}, "`methods` names `none`, which is none; leave `methods` out for a run without any"),
        (
            ["--methods", "redo", "--redo-every", "5"],
            {},
            "`--redo_every` is no flag here; the nearest is `--redo.every`",
        ),
        (
            ["--methods", "shrink_perturb", "--shrink_factor", "0.9"],
            {},
            "add `--shrink_and_perturb`, or give the method of `--methods` `--shrink_perturb.factor`, or leave",
        ),
        (
            ["--methods", "continual_backprop", "--maturity_threshold", "9"],
            {},
            "or give the method of `--methods` `--continual_backprop.maturity_threshold`, or leave",
        ),
        (["--shrink_perturb.facto", "1"], {}, "`shrink_perturb.facto` is not a .* nearest is `shrink_perturb.factor`"),
        ([], {"shrink_perturb": {"facto": 1}}, "`shrink_perturb.facto` in config.json is not a setting of shrink"),
        (["--shrink_pertub.factor", "1"], {}, "`--shrink_pertub.factor`: nothing.*the nearest is `shrink_perturb`"),
        ([], {"shrink_perturb": {"factor": "x"}}, "`shrink_perturb.factor` in config.json must be a number"),
        (
            [],
            {"shrink_perturb": 3},
            "`shrink_perturb` in config.json must be an object of its settings, but is a whole",
        ),
        ([], {"shrink_perturb": {"factor": 1}, "shrink_perturb.factor": 1}, "says `shrink_perturb.factor` twice"),
        (["--methods", "shrink_perturb", "--shrink_perturb.factor", "2"], {}, "`shrink_perturb.factor` is 2.0, but"),
        (
            ["--methods", "continual_backprop", "--continual_backprop.decay_rate", "1"],
            {},
            "^`continual_backprop.decay_rate` is 1.0; allowed is 0 to just below 1",
        ),
        (["--architecture", "PPO_CBP", "--decay_rate", "1"], {}, "^`decay_rate` is 1.0; allowed is 0 to just below 1"),
        (
            ["--methods", "l2_init", "--l2_init.form", "decoupled", "--l2_init.strength", "5000"],
            {},
            "`l2_init.strength` 5000 with `learning_rate` 0.00025: .* move by 1.25 times the way back .* smaller "
            "`l2_init.strength`, or `l2_init.form` loss",
        ),
        (["--methods", "shrink_perturb", "--boundary", "never"], {}, "`boundary` is 'never'; allowed are schedule"),
        (["--methods", "shrink_perturb", "--boundary", "every:0"], {}, "`boundary` is 'every:0'"),
        *(
            (
                ["--methods", name, "--boundary", "none"],
                {},
                f"{name} needs to know where a task ends.*; leave `boundary` at schedule, or {name} out",
            )
            for name in ("shrink_perturb", "from_scratch", "reset_optimizer", "ewc", "online_ewc", "a_gem")
        ),
        (["--methods", "continual_backprop", "--cuda_graphs"], {}, "`continual_backprop` and `cuda_graphs`: "),
        (["--architecture", "PPO_CBP", "--cuda_graphs"], {}, "`continual_backprop` and `cuda_graphs`: "),
        (
            ["--architecture", "PPO_CBP", "--methods", "continual_backprop"],
            {},
            "continual_backprop is on already, by the flag",
        ),
        (["--shrink_and_perturb", "--methods", "shrink_perturb"], {}, "shrink_perturb is on already, by the flag"),
        *(
            ([*flags, *RECURRENT], {}, rf"{flags[-1]} draws weights anew, and .*\(cell.weight_ih, .*, \.\.\.\); give")
            for flags in (
                ["--methods", "from_scratch"],
                ["--methods", "soft_shrink_perturb"],
                ["--shrink_perturb.noise", "initialiser", "--methods", "shrink_perturb"],
            )
        ),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_is_written(words, content, sentence, workdir):
    with pytest.raises(ConfigError, match=sentence) as refused:
        training.prepare(["--config", write_config(workdir, **FREEWAY, **content), *words])
    assert "\n" not in str(refused.value)
    assert not (workdir / "runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--methods", "from_scratch", "soft_shrink_perturb", "--architecture", "own_network:DrawnRecurrent"],
        ["--methods", "shrink_perturb", *RECURRENT],
        ["--methods", "from_scratch", "--architecture", "own_network:OwnNetwork"],
    ],
)
def test_what_draws_weights_anew_goes_with_networks_that_draw_all_of_theirs(words, workdir):
    training.prepare(["--config", write_config(workdir, **FREEWAY), *words])


@pytest.mark.parametrize(
    "words", [["--l2_init.strength", "4000"], ["--l2_init.strength", "5000", "--l2_init.form", "loss"]]
)
def test_a_pull_that_does_not_overshoot_is_allowed(words):
    decoupled = ["--methods", "l2_init", "--l2_init.form", "decoupled", *words]
    check_methods(args_of(decoupled)[0], training.SCRIPT.moments, "the script")


def test_an_agent_that_begins_anew_goes_with_no_method_that_says_it_remembers(monkeypatch):
    remembering = {name for name, method in all_methods().items() if method.remembers}
    assert remembering == {"a_gem", "cloning", "ewc", "online_ewc"}
    monkeypatch.setattr(all_methods()["reset_optimizer"], "remembers", True)
    for name in (*sorted(remembering), "reset_optimizer"):
        for words in ([name, "from_scratch"], ["from_scratch", name]):
            with pytest.raises(ConfigError, match=f"`from_scratch` and `{name}`: .* nothing to remember; leave one"):
                check_methods(args_of(["--methods", *words])[0], training.SCRIPT.moments, "the script")


def test_both_spellings_of_a_flag_work_in_both_of_its_parts():
    args, _ = args_of(
        ["--methods", "shrink_perturb", "--shrink-perturb.noise-scale=0.25", "--shrink_perturb.factor", "1"]
    )
    settings = args.chosen_methods["shrink_perturb"]
    assert (settings.noise_scale, settings.factor) == (0.25, 1.0)


@pytest.mark.parametrize("words", [["--shrink_perturb.factor", "half"], ["--shrink-perturb.noise", "loud"]])
def test_a_value_of_a_wrong_type_is_refused_with_the_flag_as_it_was_given(words):
    with pytest.raises(ConfigError) as caught:
        parse_command_line(training.Args, ["--methods", "shrink_perturb", *words])
    flag = words[0].replace("-perturb", "_perturb")
    assert str(caught.value).startswith(f"`{flag}` is `{words[1]}`, but it must be ")


def test_what_waits_for_a_switch_is_said_to_do_nothing_without_one(workdir, capsys):
    words = ["--methods", "ewc", "reset_optimizer", "layer_norm"]
    for settings, idle in (({}, True), ({"boundary": "every:32"}, False)):
        training.prepare(["--config", write_config(workdir, **FREEWAY, **settings), *words])
        note = "note: nothing switches in this run, so `methods` ewc, `methods` reset_optimizer will do nothing"
        assert (note in capsys.readouterr().out) == idle


def test_a_run_that_is_shorter_than_its_schedule_knows_what_it_will_not_come_to(workdir, capsys):
    """TWO_REGIMES switches once; the first run ends there, the second one step of all games later."""
    (switch_at,) = TWO_REGIMES["modification_factory_kwargs"]["switching_thresholds"]
    config = write_config(workdir, **TWO_REGIMES)
    words = ["--config", config, "--num_envs", "2", "--num_steps", "16", "--no_cuda", "--methods", "ewc"]
    for steps, more, note in (
        (switch_at, [], "note: nothing switches in this run, so `methods` ewc will do nothing"),
        (switch_at + 2, [], "note: nothing"),
        (64, ["--boundary", "every:64"], "note: a run of 64 steps is over before `boundary` every:64"),
    ):
        training.prepare([*words, *more, "--total_timesteps", str(steps)])
        assert (note in capsys.readouterr().out) == (steps != switch_at + 2)


@pytest.mark.parametrize(
    ("steps", "note"),
    [
        (64, "a run of 64 steps is over before `boundary` every:64, so it will do nothing"),
        (63, None),
        (32, None),
        (31, "`boundary` every:31 falls on the borders of rollouts, which are 32 steps"),
    ],
)
def test_a_boundary_that_never_falls_or_not_where_it_was_asked_for_is_said(steps, note, workdir, capsys):
    config = write_config(workdir, **FREEWAY)
    training.prepare(["--config", config, "--methods", "ewc", "--boundary", f"every:{steps}"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ") and "boundary" in line]
    assert lines == ([f"note: {note}"] if note else [])


@pytest.mark.parametrize(
    ("sibling", "words", "note"),
    [
        (PPO, ["--methods", "redo", "--redo.every", "33"], "`redo.every` is 33 gradient steps, {} 32, so redo"),
        (PPO, ["--methods", "redo", "--redo.every", "32"], None),
        (
            PPO,
            ["--architecture", "PPO_CBP", "--maturity_threshold", "1000"],
            "`maturity_threshold` is 1,000 gradient steps, {} 32, so continual_backprop",
        ),
        (PPO, ["--architecture", "PPO_CBP", "--maturity_threshold", "31"], None),
        (
            PPO,
            ["--architecture", "PPO_CBP", "--maturity_threshold", "32"],
            "`maturity_threshold` is 32 gradient steps, {} 32, so continual_backprop",
        ),
        (CLEAR, ["--methods", "redo", "--redo.every", "3"], "`redo.every` is 3 gradient steps, {} 2, so redo"),
    ],
)
def test_what_would_act_for_the_first_time_after_the_end_is_said_to_do_nothing(sibling, words, note, workdir, capsys):
    """The last of the two rounds of 32 steps is a short one."""
    sibling.prepare(["--config", write_config(workdir, **{**FREEWAY, "total_timesteps": 34}), *words])
    lines = [line for line in capsys.readouterr().out.splitlines() if "gradient steps" in line]
    assert lines == ([f"note: {note.format('and this run makes at most')} will do nothing"] if note else [])


def test_what_is_frozen_stays_as_it_is(tmp_path, monkeypatch):
    """With every method that an agent of somebody's own may have, through a switch."""
    more = ["soft_shrink_perturb", "shrink_perturb", "l2_init", "reset_optimizer", "cloning", "a_gem"]
    architecture = ["--architecture", "own_network:Frozen"]
    plain = weights(train_in(tmp_path / "plain", monkeypatch, *architecture, config=TWO_REGIMES))
    for methods in (["ewc", *more], ["online_ewc", *more], ["from_scratch", "soft_shrink_perturb", "l2_init"]):
        words = [*architecture, "--soft_shrink_perturb.factor", "0.9", "--methods", *methods]
        own = weights(train_in(tmp_path / methods[0], monkeypatch, *words, config=TWO_REGIMES))
        assert torch.equal(own["layer.weight"], plain["layer.weight"])
        assert not torch.equal(own["actor.weight"], plain["actor.weight"])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("redo", {"every": 1, "threshold": 1.0}),
        ("continual_backprop", {"replacement_rate": 1.0, "maturity_threshold": 0}),
        ("from_scratch", {}),
        ("shrink_perturb", {}),
        ("soft_shrink_perturb", {"factor": 0.5, "noise_scale": 0.5}),
        ("l2_init", {"form": "decoupled", "strength": 1.0}),
    ],
)
@pytest.mark.parametrize(
    ("frozen", "trained"),
    [
        (["encoder", "norm.encoder1"], ["decoder.0.weight", "actor.weight"]),
        (["norm.encoder1"], ["decoder.0.weight", "actor.weight"]),
        (["actor", "critic"], ["encoder.0.weight"]),
    ],
    ids=str,
)
def test_frozen_layers_stay_as_they_are_though_their_units_are_known(name, settings, frozen, trained):
    """Gains of a normaliser and what reads a unit as well; l2_init has something to draw back."""
    agent = small_agent(changes={"layer_norm": True})
    for part in frozen:
        agent.get_submodule(part).requires_grad_(False)
    methods = Methods({name: method_on(agent, name, **settings)})
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(0.1)
    before = copy_of(agent)
    methods.weights(agent(torch.rand(6, 2, 3) * 255, True)[2])
    methods.boundary(*BOUNDARY)
    same = {each for each, parameter in agent.named_parameters() if torch.equal(parameter, before[each])}
    assert {each for each, parameter in agent.named_parameters() if not parameter.requires_grad} <= same
    assert not {*trained} & same


def test_a_boundary_for_no_method_is_said_to_do_nothing(workdir, capsys):
    """And is no fault: a comparison gives plain PPO the flags of the others."""
    for methods, idle in ((["redo"], True), ([], True), (["redo", "ewc"], False)):
        words = ["--methods", *methods] if methods else []
        training.prepare(["--config", write_config(workdir, **FREEWAY), *words, "--boundary", "every:32"])
        assert ("so `boundary` every:32 will do nothing" in capsys.readouterr().out) == idle


def test_a_sweep_varies_a_setting_unless_the_file_holds_it(workdir):
    for content, fault in (
        ({}, None),
        ({"shrink_perturb": {"factor": 0.3}}, "a run is told `shrink_perturb.factor`, but"),
    ):
        path = write_config(workdir, **FREEWAY, **content)
        words = ["--config", path, "--methods", "shrink_perturb", "--shrink_perturb.factor=0.5"]
        found = sweep_checks.first_fault(
            str(ROOT / sweep.TRAINING), [({"shrink_perturb.factor": 0.5}, words)], ["shrink_perturb.factor"]
        )
        assert found is None if fault is None else found.startswith(fault)


def test_help_shows_the_settings_of_the_methods_that_are_named(capsys):
    for words, shown in (([], False), (["--methods", "shrink_perturb"], True)):
        with pytest.raises(SystemExit):
            parse_command_line(training.Args, [*words, "--help"])
        text = capsys.readouterr().out
        assert ("settings of shrink_perturb:" in text) == shown
        assert ("--shrink_perturb.factor FLOAT" in text) == shown
        assert "--continual_backprop." not in text


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_a_text_and_a_default_in_its_range(name):
    method = all_methods()[name]
    assert set(method.ranges) <= {field.name for field in dataclasses.fields(method.Settings)}
    args = complete_methods(training.Args(methods=(name,)))
    assert args.agent_name == f"PPO_{name}"
    check_methods(args, training.SCRIPT.moments, "x.py")
    assert moments_of(method)


def test_a_script_without_a_place_for_a_method_refuses_it(workdir):
    with pytest.raises(ConfigError, match="continual_backprop looks at hidden layers, for which q_learner"):
        Q_LEARNER.prepare(["--config", write_config(workdir, **FREEWAY), "--methods", "continual_backprop"])


CHOSEN = {"init": ("kaiming", "orthogonal")}
"""Of continual backpropagation: what the original has, and what is the method's default."""


def test_the_earlier_flags_say_what_the_settings_of_their_methods_say():
    flags = {flag.name: flag for group in groups_of(training.Args).values() for flag in group}
    for method, earlier in training.Args().earlier_flags.items():
        ranges = all_methods()[method].ranges
        settings = {
            flag.name.partition(".")[2]: flag for flag in prefixed_flags(method, all_methods()[method].Settings)
        }
        assert list(settings) == list(earlier)
        for name, setting in settings.items():
            flag = flags[earlier[name]]
            assert flag.text.removeprefix("PPO_CBP: ") == setting.text
            assert flag.kind == setting.kind
            assert (flag.default, setting.default) == CHOSEN.get(name, (flag.default, flag.default))
            assert training.RULES[flag.name].range == (Range(*ranges[name]) if name in ranges else None)


# ------------------------------------------------------------------------------------------------------------ moments


class Noting(Method):
    """Writes down what happens to it."""

    changed = Changed()

    def begin(self):
        self.notes = ["begin"]

    def forget(self):
        self.notes.append("forget")

    def before_boundary(self, boundary):
        self.notes.append(f"end of {boundary.before}")

    def boundary(self, boundary):
        self.notes.append(f"begin of {boundary.after}")
        return self.changed


class Changing(Noting):
    changed = Changed(weights=True, optimizer=True)


class Renewing(Noting):
    changed = Changed(weights=True, optimizer=True, everything=True)


class Pushing(Noting):
    changed = Changed(weights=True)


class Restarting(Noting):
    changed = Changed(optimizer=True)


@pytest.mark.parametrize(
    ("other", "then"),
    [(Noting, []), (Pushing, []), (Restarting, []), (Changing, ["forget"]), (Renewing, ["begin"])],
    ids=["looks", "changes weights", "renews the optimizer", "changes both", "renews all"],
)
def test_all_look_before_any_changes_and_hear_of_what_the_others_changed(other, then):
    one, two = Noting(None, None), other(None, None)
    changed = Methods({"one": one, "two": two}).boundary("a", "b", Clock(5, 0, None))
    expected = ["begin", "end of a", "begin of b", *then]
    assert one.notes == (["begin"] if then == ["begin"] else expected)
    assert two.notes == expected[:3]
    assert changed == other.changed


class Replacing(Noting):
    """Replaces units in some steps, and is told of units."""

    units = None

    def weights(self, hidden):
        self.notes.append("step")
        return self.units

    def forget_units(self, units):
        self.notes.append(units)


def test_methods_hear_at_once_of_units_that_others_replaced():
    methods = {name: Replacing(None, None) for name in ("one", "two", "three")} | {"deaf": Noting(None, None)}
    together, units = Methods(methods), [torch.tensor([2]), torch.tensor([0, 1])]
    together.weights([])
    methods["two"].units = units
    together.weights([])
    told = {name: each.notes for name, each in methods.items()}
    assert told["one"] == ["begin", "step", "step", units]
    assert told["two"] == ["begin", "step", "step"]
    assert told["three"] == ["begin", "step", units, "step"]
    assert told["deaf"] == ["begin"]


def test_the_order_of_methods_is_the_one_in_which_they_are_named_after_those_of_earlier_flags():
    for names in (("redo", "l2_init", "ewc"), ("ewc", "redo", "l2_init")):
        assert list(Learning(small(*names), "PPO_OBJ").methods.state_dict()) == list(names)
    late = small("redo", "ewc", learner="PPO_CBP")
    assert list(late.chosen_methods) == ["continual_backprop", "redo", "ewc"]


def ended_periods(boundary, starts):
    """What a run is told at the start of each round, where there is something."""
    told = {}
    for before, began in itertools.pairwise([0, *starts]):
        run = SimpleNamespace(args=training.Args(boundary=boundary), _round_before=before, _round_began=began)
        run.asked_for, run.modification, run.weights_change = lambda: "", "", lambda: None
        if periods := Run.end_period(run):
            told[began] = periods
    return told


def test_boundaries_every_so_many_steps_fall_on_borders_of_rounds():
    told = ended_periods("every:100", range(0, 640, 32))
    assert list(told) == [128, 224, 320, 416, 512, 608]
    assert list(told.values()) == [(f"period {number}", f"period {number + 1}") for number in range(6)]
    assert ended_periods("schedule", range(0, 640, 32)) == {}
    # A run of 1,000 steps that was made longer: its last round was a short one.
    assert list(ended_periods("every:320", [0, 320, 640, 960, 1008, 1328])) == [320, 640, 960, 1328]


@pytest.mark.slow
def test_a_regime_that_ends_with_a_period_is_saved_and_evaluated_as_it_was(monkeypatch, tmp_path):
    """Before a method changes the weights, and once."""
    happened = []

    def noting(owner, name, what):
        original = getattr(owner, name)

        def noted(self, *args):
            happened.append(what(*args))
            return original(self, *args)

        monkeypatch.setattr(owner, name, noted)

    noting(ContinualEvaluation, "note", lambda step, phase, _: (step, phase))
    noting(ContinualEvaluation, "keep", lambda agent: "kept")
    noting(all_methods()["from_scratch"], "boundary", lambda boundary: boundary.after)
    flags = ["--total_timesteps", "128", "--update_epochs", "1", "--save_agent_with_switch", "--methods"]
    regimes, saved = [(0, REGIMES[0]), (64, REGIMES[1])], {}
    for method in (["from_scratch", "--boundary", "every:64"], ["reset_optimizer"]):
        folder = tmp_path / method[0]
        folder.mkdir()
        made_up_game.play(monkeypatch, folder, *flags, *method, regimes=regimes)
        (path,) = folder.rglob("switch_1_*.cleanrl_model")
        saved[method[0]] = load_checkpoint(path).model_weights
        if method[0] == "from_scratch":
            at = happened.index("period 1")
            assert happened[at - 2 : at + 2] == [(64, 0), "kept", "period 1", (64, 1)]
            assert happened.count((64, 0)) == 1
        labels = [(label.global_step, label.phase) for label in dict(saved_weights(path.parent))[path]]
        assert labels == ([(64, 0)] if method[0] == "from_scratch" else [(64, 0), (64, 1)])
    for name, weight in saved["reset_optimizer"].items():
        assert torch.equal(saved["from_scratch"][name], weight), name


@pytest.mark.slow
def test_a_run_with_boundaries_every_so_many_steps_tells_of_these_and_of_no_switch(monkeypatch, tmp_path):
    """Its rollouts are of 64 steps; the game switches within the second, and within the fifth."""
    told, method = [], all_methods()["reset_optimizer"]
    monkeypatch.setattr(method, "boundary", lambda self, boundary: (told.append(boundary), Changed())[1])
    flags = ["--total_timesteps", "320", "--update_epochs", "1", "--methods", "reset_optimizer"]
    regimes = [(0, REGIMES[0]), (100, REGIMES[1]), (280, REGIMES[2])]
    made_up_game.play(monkeypatch, tmp_path, *flags, "--boundary", "every:128", regimes=regimes)
    assert told == [
        Boundary("period 0", "period 1", Clock(128, 100, 280)),
        Boundary("period 1", "period 2", Clock(256, 100, 280)),
    ]


def test_a_state_of_an_earlier_version_has_the_methods_where_they_were():
    units, drawn = {"records": [1], "generator": torch.ones(1)}, torch.zeros(1)
    saved = with_methods_part({"continual_backprop": units, "generators": {"own": {"perturb": drawn}}})
    assert saved["methods"]["continual_backprop"] == {"generator": units["generator"], "state": units}
    assert saved["methods"]["shrink_perturb"]["generator"] is drawn
    assert with_methods_part(saved) is saved
    assert with_methods_part({"generators": {"own": {}}})["methods"] == {}


# -------------------------------------------------------------------------------------------------- hidden layers

AGENTS = {
    "PPO": ((2, 84, 84), {}),
    "PPO_OBJ": ((3, 5), {"encoder_dims": (6, 4), "decoder_dims": (7,)}),
    "one frame": ((1, 5), {"encoder_dims": (6, 4), "decoder_dims": (7,)}),
    "encoder alone": ((3, 5), {"encoder_dims": (6,), "decoder_dims": ()}),
    "decoder alone": ((3, 5), {"encoder_dims": (), "decoder_dims": (6, 4)}),
}


def agent_and_rows(kind, rows=3, **changes):
    shape, sizes = AGENTS[kind]
    architecture = "PPO" if kind == "PPO" else "PPO_OBJ"
    agent = make_agent(architecture, shape, 4, **sizes, changes=changes, generator=seeded(1))
    with torch.no_grad():
        agent.actor.weight *= 100
        for layer in agent.hidden_layers():
            layer.layer.bias += 0.5
    return agent, torch.rand((rows, *shape), generator=seeded(2)) * 255


@pytest.mark.parametrize("changes", [{}, {"crelu": 0.5}], ids=["relu", "crelu"])
@pytest.mark.parametrize("kind", AGENTS)
def test_a_unit_without_its_columns_is_a_unit_that_gives_nothing(kind, changes):
    """What makes a unit silent and what makes it unread must be the same for the heads, unit by unit."""
    agent, seen = agent_and_rows(kind, **changes)
    before = {name: tensor.clone() for name, tensor in agent.state_dict().items()}
    with torch.no_grad():
        plain, outputs = agent(seen)[0], agent(seen, True)[2]
        assert [len(outputs)] == [len(agent.hidden_layers())]
        for position, layer in enumerate(agent.hidden_layers()):
            assert isinstance(layer, HiddenLayer)
            axis = 1 if outputs[position].dim() == 4 else -1
            counts = []
            firing = outputs[position].movedim(axis, 0).flatten(1).abs().amax(1)
            for output in firing.argsort(descending=True)[:3].tolist():
                unit = output % layer.units
                units = torch.tensor([unit])
                layer.layer.weight[unit] = layer.layer.bias[unit] = 0
                silent = agent(seen)[0]
                agent.load_state_dict(before)
                for consumer in layer.consumers:
                    consumer.weight[:, layer.columns_of(consumer, units)] = 0
                torch.testing.assert_close(agent(seen)[0], silent, rtol=1e-5, atol=1e-5)
                agent.load_state_dict(before)
                counts.append(not torch.allclose(silent, plain, rtol=1e-5, atol=1e-5))
            assert any(counts), "a unit of this layer counts for something"


@pytest.mark.parametrize("kind", ["PPO_OBJ", "encoder alone", "one frame"])
def test_continual_backpropagation_counts_a_unit_of_several_frames_once(kind):
    agent, seen = agent_and_rows(kind)
    outputs = agent(seen, True)[2]
    settings = {"replacement_rate": 1e-9, "maturity_threshold": 9, "decay_rate": 0.0}
    args = SimpleNamespace(
        chosen_methods={"continual_backprop": all_methods()["continual_backprop"].Settings(**settings)}
    )
    args.seed = 1
    (method,) = make_methods(args, agent, torch.optim.Adam(agent.parameters()), ALONE)
    method.weights(outputs)
    last = len(AGENTS[kind][1]["encoder_dims"]) - 1
    record, hidden = method.units.records[last], outputs[last]  # [B, frames, units]
    rows = torch.cat([consumer.weight for consumer in record.consumers])
    by_hand = []
    for unit in range(hidden.shape[-1]):
        columns = [frame * hidden.shape[-1] + unit for frame in range(hidden.shape[1])]
        each = [hidden[:, f, unit].abs().mean() * rows[:, c].abs().mean() for f, c in enumerate(columns)]
        by_hand.append(torch.stack(each).mean())
    torch.testing.assert_close(record.utility, torch.stack(by_hand).detach())
    torch.testing.assert_close(record.mean_feature, hidden.mean([0, 1]).detach())


@pytest.mark.parametrize("name", [name for name, method in all_methods().items() if "hidden" in method.needs])
def test_what_looks_at_hidden_layers_looks_at_those_of_one_frame_too(name):
    agent, seen = agent_and_rows("one frame")
    settings = {"every": 1} if name == "redo" else {"maturity_threshold": 1, "replacement_rate": 1.0}
    method = method_on(agent, name, **settings)
    with torch.no_grad():
        agent.encoder[0].weight[2] = agent.encoder[0].bias[2] = 0
        for _ in range(3):
            method.weights(agent(seen, True)[2])
    assert agent.encoder[0].weight[2].any(), "a silent unit of this layer is replaced"


# --------------------------------------------------------------------------------------------- together, and resumed


def made_up_rollout(kind, seed, her=False):
    shape, steps, games = AGENTS[kind][0], 8, 2
    draw = seeded(seed)
    played, rows = (steps, games), (steps, games * (1 + her))
    observations = torch.rand((*played, *shape), generator=draw) * 255
    numbers = [torch.randn(rows, generator=draw) for _ in range(3)]
    return Rollout(
        observations.to(torch.uint8) if kind == "PPO" else observations,
        torch.randint(4, rows, generator=draw),
        torch.full(rows, -1.4),
        *numbers,
        np.zeros(played),
        np.zeros(played, bool),
        np.zeros(played, bool),
        np.zeros((*played, int(her)), np.float32),
        torch.randint(256, (*rows, 1), dtype=torch.uint8, generator=draw) if her else None,
        None,
        (torch.arange(rows[1]) >= games).repeat(steps, 1) if her else None,
    )


class Learning:
    """An agent that learns from made-up rollouts, with methods, as the PPO script does."""

    def __init__(self, args, kind):
        self.args, self.kind = args, kind
        self.make()
        self.methods = make_methods(args, self.agent, self.optimizer, ALONE, self.scalers)

    def make(self):
        shape, sizes = AGENTS[self.kind]
        self.agent = training.build(dataclasses.replace(self.args, **sizes), shape, 4, seeded(1))
        self.optimizer = training.make_optimizer(self.args, self.agent)
        self.scalers = training.make_scalers(self.args)

    def update(self, rollout, autocast):
        for rows in torch.arange(rollout.values.numel()).split(8 * (1 + self.args.her)):
            training.minibatch_step(self.args, self.agent, self.optimizer, autocast, rollout, rows, self.methods)

    def see(self, rollout, seed):
        if self.methods.keeps_rows:
            run = SimpleNamespace(modification=f"task {seed % 2}", clock=lambda: Clock(seed, 0, None), args=self.args)
            self.methods.rows(training.played(run, rollout, 0, 8))

    def learn(self, seed):
        rollout = made_up_rollout(self.kind, seed, getattr(self.args, "her", False))
        self.see(rollout, seed)
        self.update(rollout, torch.autocast("cpu", enabled=False))
        self.methods.boundary(f"task {seed % 2}", f"task {(seed + 1) % 2}", Clock(seed, 0, None))

    def state(self):
        parts = (self.agent, self.optimizer, self.methods, *self.scalers)
        torch.save([part.state_dict() for part in parts], buffer := io.BytesIO())
        buffer.seek(0)
        folder = tempfile.TemporaryDirectory()
        for name, filed in files_of(self.methods).items():
            filed.save(Path(folder.name) / f"{name}_step1.pt")
        return torch.load(buffer, weights_only=True), folder

    def load(self, state):
        states, folder = state
        for part, own in zip((self.agent, self.optimizer, self.methods, *self.scalers), states, strict=True):
            part.load_state_dict(own)
        for name, filed in files_of(self.methods).items():
            filed.load(Path(folder.name) / f"{name}_step1.pt")


class LearningByClear(Learning):
    """The same as continual_clear.py does."""

    def make(self):
        self.agent = continual_clear.build(self.args, AGENTS["PPO"][0], 4, seeded(1))
        self.optimizer = continual_clear.make_optimizer(self.args, self.agent)
        self.scalers = [RewardScaler(2, 0.99, "clip")]

    def update(self, rollout, autocast):
        rollout = rollout._replace(log_policies=torch.full((8, 2, 4), -np.log(4)))
        unrolls = played_unrolls(rollout, rollout.rewards.astype(np.float32), [], rollout.observations[-1], 0, 8)
        for _ in range(2):
            continual_clear.minibatch_step(self.args, self.agent, self.optimizer, autocast, [unrolls], self.methods)


class LearningByProgressCompress(Learning):
    """The same as continual_progress_compress.py does: methods act on the knowledge base, while that learns."""

    def __init__(self, args, kind):
        super().__init__(args, kind)
        self.methods = make_methods(args, self.agent.knowledge_base, self.optimizer, ALONE)

    def make(self):
        self.agent = continual_progress_compress.build(self.args, AGENTS["PPO"][0], 4, seeded(1))
        self.optimizer, _ = continual_progress_compress.make_optimizers(self.args, self.agent)
        self.scalers = [RewardScaler(2, 0.99, "clip")]

    def update(self, rollout, autocast):
        rollout = rollout._replace(log_policies=torch.full((8, 2, 4), -np.log(4)))
        unrolls = played_unrolls(rollout, rollout.rewards.astype(np.float32), [], rollout.observations[-1], 0, 8)
        phase = continual_progress_compress.Phase(0, 16, False)
        for _ in range(2):
            continual_progress_compress.minibatch_step(
                self.args, self.agent, self.optimizer, autocast, unrolls, phase, self.methods
            )


def small(*names, learner="PPO_OBJ"):
    """Settings with which each of these methods does something in every step."""
    given = {f"{name}.{key}": value for name in names for key, value in BUSY.get(name, {}).items()}
    script, flags = SCRIPTS.get(learner, training), LEARNERS[learner].flags
    args = complete_methods(script.Args(methods=names, prefixed=given, num_envs=2, num_steps=8, **flags))
    check_methods(args, script.SCRIPT.moments, "x.py", script.SCRIPT.refused)
    return args


SCRIPTS = {"CLEAR": continual_clear, "Progress & Compress": continual_progress_compress}
"""Learners with scripts of their own."""
BUSY = {
    "continual_backprop": {"replacement_rate": 0.2, "maturity_threshold": 1},
    "a_gem": {"samples": 5},
    "cloning": {"samples": 5, "policy": 10.0},
    "ewc": {"samples": 5, "strength": 10.0},
    "l2_init": {"strength": 0.1},
    "online_ewc": {"samples": 5, "strength": 10.0},
    "redo": {"every": 1, "threshold": 0.5},
    "soft_shrink_perturb": {"factor": 0.99, "noise_scale": 0.01},
}
"""Settings with which a method does much."""


def assert_it_goes_on_alike(args, kind):
    make = {continual_clear.Args: LearningByClear, continual_progress_compress.Args: LearningByProgressCompress}.get(
        type(args), Learning
    )
    one = make(args, kind)
    one.learn(1)
    two = make(args, kind)
    two.load(one.state())
    for learner in (one, two):
        learner.learn(2)
        learner.learn(3)
    assert_same_weights(one.agent.state_dict(), two.agent.state_dict())
    assert all(bool(tensor.isfinite().all()) for tensor in one.agent.state_dict().values())
    assert all(np.isfinite(number) for number in one.methods.numbers().values())
    assert one.methods.numbers() == two.methods.numbers()


class Learner(NamedTuple):
    kind: str
    """of `AGENTS`"""
    flags: dict[str, Any]
    refused: dict[str, str]
    """methods that it refuses, with a part of the sentence"""


LEARNERS = {
    "PPO": Learner("PPO", {}, {}),
    "PPO_OBJ": Learner("PPO_OBJ", {"architecture": "PPO_OBJ", "obs_mode": "obj"}, {}),
    "PPO_CBP": Learner(
        "PPO",
        {"architecture": "PPO_CBP", "replacement_rate": 0.2, "maturity_threshold": 1},
        {"continual_backprop": "is on already", "crelu": "a unit of CReLU has two outputs"},
    ),
    "--her": Learner("PPO", {"her": True}, {"from_scratch": "drops the rows before it"}),
    "CLEAR": Learner("PPO", {}, {}),
    "Progress & Compress": Learner(
        "PPO",
        {"ewc_samples": 5},
        {
            **continual_progress_compress.REFUSED,
            **dict.fromkeys(("crelu", "layer_norm"), "changes the network, for which x.py has no place"),
        },
    ),
}
"""By the head of their column in docs/methods/index.md."""
REFUSED_PAIRS = {
    ("a_gem", "from_scratch"): "nothing to remember",
    ("cloning", "from_scratch"): "nothing to remember",
    ("continual_backprop", "crelu"): "a unit of CReLU has two outputs",
    ("crelu", "redo"): "none is ever dormant",
    ("ewc", "from_scratch"): "nothing to remember",
    ("ewc", "online_ewc"): "both hold weights where earlier tasks left them",
    ("from_scratch", "online_ewc"): "nothing to remember",
    ("from_scratch", "shrink_perturb"): "cannot be shrunk",
}
"""Pairs that are refused, with a part of the sentence."""


CELLS = [(learner, name) for learner in LEARNERS for name in NAMES]


@pytest.mark.parametrize(("learner", "name"), mostly_slow(CELLS, 6))
def test_every_method_works_with_every_learner_or_says_why_not(learner, name):
    kind, _, refused = LEARNERS[learner]
    if name in refused:
        with pytest.raises(ConfigError, match=re.escape(refused[name])):
            small(name, learner=learner)
        return
    assert_it_goes_on_alike(small(name, learner=learner), kind)


OF_THE_Q_LEARNER = ("l2_init", "reset_optimizer")
"""Methods that need nothing of an agent but its weights."""


@pytest.mark.parametrize("name", NAMES)
def test_the_moments_work_in_a_script_of_another_kind(name):
    args = complete_methods(q_learner.Args(methods=(name,)))
    if name not in OF_THE_Q_LEARNER:
        with pytest.raises(ConfigError, match=f"{name} .*, for which q_learner.py has no place"):
            check_methods(args, q_learner.SCRIPT.moments, "q_learner.py")
        return
    check_methods(args, q_learner.SCRIPT.moments, "q_learner.py")
    frames = torch.randint(256, (4, 1, 84, 84), dtype=torch.uint8, generator=seeded(3))
    batch = {"observations": frames, "next_observations": frames.flip(0), "actions": torch.arange(4) % 3}
    batch |= {"rewards": torch.ones(4), "terminated": torch.zeros(4, dtype=torch.bool)}

    def learner():
        agent = q_learner.build(args, (1, 84, 84), 3, seeded(1))
        optimizer = torch.optim.Adam(agent.parameters(), 1e-3)
        return agent, optimizer, make_methods(args, agent, optimizer, ALONE)

    def learn(agent, optimizer, methods):
        q_learner.minibatch_step(args, agent, target, optimizer, batch, ALONE, methods)
        methods.boundary("a", "b", Clock(1, 0, None))

    target, _, _ = learner()
    one, two = learner(), learner()
    learn(*one)
    for mine, its in zip(two, one, strict=True):
        mine.load_state_dict(copy.deepcopy(its.state_dict()))
    for each in (one, two):
        learn(*each)
    assert_same_weights(one[0].state_dict(), two[0].state_dict())


def test_the_table_of_what_goes_with_what_is_that_of_the_code():
    text, columns = section("What goes with what"), len(LEARNERS) + 3
    head = [cell.strip(" `") for cell in re.search(r"^\| method \|(.*)$", text, re.M)[1].split("|")]
    assert head[: len(LEARNERS)] == list(LEARNERS)
    table = {row[0].strip("`"): row[1:] for row in rows_of_table(text, columns=columns)}
    assert list(table) == NAMES
    for name, (*cells, q, refused) in table.items():
        assert cells == ["no" if name in learner.refused else "yes" for learner in LEARNERS.values()]
        assert q == ("yes" if name in OF_THE_Q_LEARNER else "no")
        others = {word.removeprefix("--") for word in re.findall(r"`([\w-]+)`", refused)}
        pairs = {other for pair in REFUSED_PAIRS if name in pair for other in pair} - {name}
        assert others == pairs | ({*all_methods()[name].not_with} - {*NAMES})


def test_the_first_table_says_of_every_method_what_it_is_against():
    """Those that remember are against forgetting, all others against the loss of plasticity."""
    page = (ROOT / "docs" / "methods" / "index.md").read_text()
    lines = re.findall(r"^\| \[.*\| (`--methods .*`) \| .* \| (.*) \| .* \|$", page, re.M)
    told = {name: against for flags, against in lines for name in re.findall(r"--methods (\w+)", flags)}
    remembering = {name: method.remembers for name, method in all_methods().items()}
    assert told == {name: "forgetting" if yes else "loss of plasticity" for name, yes in remembering.items()}


PAGES = {
    "continual_backprop": "continual-backpropagation",
    "shrink_perturb": "shrink-and-perturb",
    "soft_shrink_perturb": "soft-shrink-and-perturb",
}
"""Pages that do not have their method's name."""
ASKED = ("When it acts", "Defaults and where they come from", "Cost", "When not to expect an effect", "Results")


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_method_says_what_one_asks(name):
    page = ROOT / "docs" / "methods" / f"{PAGES.get(name, name.replace('_', '-'))}.md"
    titles = [title for _, title, _, _ in headings(page)]
    assert [title for title in titles if title in ASKED] == list(ASKED)
    assert all(len(section(title, page.name).split()) > 3 for title in ASKED)
    settings = {field.name: field.default for field in dataclasses.fields(all_methods()[name].Settings)}
    told = dict(re.findall(rf"^\| `--{name}\.(\w+)` \| `?([^|`]+?)`? \|", page.read_text(), re.M))
    assert set(told) == set(settings) or name in ("crelu", "shrink_perturb"), "these have tables of another kind"
    for key, cell in told.items():
        default = settings[key]
        assert cell == default if isinstance(default, str) else cell in ("on", "off") or float(cell) == default
        assert not isinstance(default, bool) or (cell == "on") == default


@pytest.mark.parametrize("pair", mostly_slow([(pair,) for pair in itertools.combinations(NAMES, 2)], 4), ids="+".join)
def test_every_pair_works_or_says_why_not(pair):
    if pair in REFUSED_PAIRS:
        for names in (pair, pair[::-1]):
            with pytest.raises(ConfigError, match=REFUSED_PAIRS[pair]):
                small(*names)
        return
    assert_it_goes_on_alike(small(*pair), "PPO_OBJ")
    assert_it_goes_on_alike(small(*pair[::-1]), "PPO_OBJ")


# --------------------------------------------------------------------------------------------------------------- runs


def test_a_run_records_its_methods_and_can_be_evaluated(tmp_path, monkeypatch, capsys):
    words = [
        "--methods",
        "layer_norm",
        "continual_backprop",
        "shrink_perturb",
        "--continual_backprop.replacement_rate",
        "0.05",
    ]
    words += ["--continual_backprop.maturity_threshold", "2", "--update_epochs", "1"]
    kwargs = {**TWO_REGIMES["modification_factory_kwargs"], "num_total_steps": 64, "switching_thresholds": [20]}
    short = {**TWO_REGIMES, "modification_factory_kwargs": kwargs}
    run = train_in(tmp_path, monkeypatch, *words, config=short)
    assert run.name.split("__")[2] == "PPO_layer_norm_continual_backprop_shrink_perturb"
    settings = json.loads((run / "args.json").read_text())
    assert settings["methods"] == ["layer_norm", "continual_backprop", "shrink_perturb"]
    assert settings["continual_backprop.replacement_rate"] == 0.05
    assert settings["shrink_perturb.factor"] == 0.7
    checkpoint = load_checkpoint(run / "model.cleanrl_model")
    assert "norm.fc.weight" in checkpoint.model_weights, "eval.py builds the network that the method changed"
    assert checkpoint.extra["continual_backprop"]["records"][3]["replaced"] > 0
    evaluation.main(["--agent_path", str(run), "--eval_episodes", "1", "--time_limit", "400", "--num_workers", "0"])
    assert capsys.readouterr().out.splitlines()[-1].endswith(" (one game: no deviation)")


@pytest.mark.slow
def test_the_earlier_flags_compute_the_same(tmp_path, monkeypatch):
    units = {"replacement_rate": "0.01", "maturity_threshold": "5", "init": "orthogonal"}
    early = ["--architecture", "PPO_CBP", "--shrink_and_perturb", "--shrink_factor", "0.9"]
    early += [word for name, value in units.items() for word in (f"--{name}", value)]
    now = ["--methods", "continual_backprop", "shrink_perturb", "--shrink_perturb.factor", "0.9"]
    now += [word for name, value in units.items() for word in (f"--continual_backprop.{name}", value)]
    first = train_in(tmp_path / "early", monkeypatch, *early, config=TWO_REGIMES)
    second = train_in(tmp_path / "now", monkeypatch, *now, config=TWO_REGIMES)
    assert_same_weights(weights(first), weights(second))


@pytest.mark.parametrize("sibling", [PPO, CLEAR], ids=str)
def test_methods_are_told_where_the_regime_of_their_rows_begins_and_ends(sibling, tmp_path, monkeypatch):
    """One switch inside a rollout, asked for at step 41 and made at 42, and one at the border of rollouts."""
    rows, boundaries, see, act = [], [], EWC.rows, EWC.boundary
    monkeypatch.setattr(EWC, "rows", lambda method, seen: (rows.append(seen), see(method, seen))[1])
    monkeypatch.setattr(EWC, "boundary", lambda method, border: (boundaries.append(border), act(method, border))[1])
    strings = ["all_black_cars", "all_white_cars", "all_red_cars"]
    kwargs = {**TWO_REGIMES["modification_factory_kwargs"], "modifications": strings, "switching_thresholds": [41, 96]}
    config = {**TWO_REGIMES, "modification_factory_kwargs": kwargs}
    train_in(tmp_path, monkeypatch, "--methods", "ewc", "--ewc.samples", "4", config=config, sibling=sibling)
    of = {"all_black_cars": (0, 42), "all_white_cars": (42, 96), "all_red_cars": (96, 128)}
    assert {each.task: each.clock[1:] for each in rows} == of
    assert all(each.clock[1:] == of[each.task] for each in rows)
    assert all(len(each.actions) for each in rows), "nothing is nothing to show"
    assert [(border.before, border.clock) for border in boundaries] == [
        ("all_black_cars", (42, 0, 42)),
        ("all_white_cars", (96, 42, 96)),
    ]


LAZY = """
class Lazy:
    asked = []

    def __init__(self, num_total_steps):
        self.num_total_steps = num_total_steps

    def get_modification(self, step):
        self.asked.append(step)
        return ""

    def possible_modifications(self):
        return [""]
"""


def test_a_schedule_of_ones_own_is_not_asked_for_all_of_a_long_regime(tmp_path, monkeypatch):
    """Each of its steps has to be asked: neither its notes nor the clock of methods may need millions."""
    (tmp_path / "lazy_schedule.py").write_text(LAZY)
    monkeypatch.syspath_prepend(tmp_path)
    config = {"env_id": "ALE/Freeway-v5", "modification_factory": "lazy_schedule:Lazy"}
    long = {**config, "modification_factory_kwargs": {"num_total_steps": 3_000_000}}
    training.prepare([*PPO.small, "--config", write_config(tmp_path, **long), "--methods", "ewc"])
    asked = importlib.import_module("lazy_schedule").Lazy.asked
    assert 0 < max(asked) < 1_000_001
    clocks, see = [], EWC.rows
    monkeypatch.setattr(EWC, "rows", lambda method, seen: (clocks.append(seen.clock), see(method, seen))[1])
    short = {**config, "modification_factory_kwargs": {"num_total_steps": 64}}
    train_in(tmp_path / "run", monkeypatch, "--methods", "ewc", "--ewc.samples", "4", config=short)
    assert clocks == [(32, 0, 64), (64, 0, 64)], "so much is asked"
    lazy = importlib.import_module("lazy_schedule").Lazy
    own = schedule_from_config(long, seed=0)
    lazy.asked.clear()
    assert regime_end(own, 0, 320, 8, 3_000_000) is None
    assert max(lazy.asked) < 1_000_001
    assert regime_end(own, 0, 2_999_999, 8, 3_000_000) == 3_000_000


def test_a_change_between_two_questions_ends_no_regime():
    kwargs = {"num_total_steps": 80, "modifications": ["a", "b", "a", "c"], "switching_thresholds": [9, 11, 40]}
    factory = {"modification_factory": "SequentialModificationFactory", "modification_factory_kwargs": kwargs}
    schedule = schedule_from_config(factory, seed=0)
    assert [regime_end(schedule, began, began, 8, 80) for began in (0, 40)] == [40, 80]
    assert regime_end(schedule, 0, 0, 1, 80) == 9
