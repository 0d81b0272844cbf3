"""Flags and what they belong to: nothing that is given is ignored without a word."""

import dataclasses
import typing

import pytest
from conftest import write_config

import continual_training_example as training
from experiment.config import ConfigError, as_plain_dict, check_belongings, from_plain_dict

SCHEDULE = {
    "modification_factory": "SequentialModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 96,
        "modifications": ["all_black_cars", "no_modif"],
        "switching_thresholds": [48],
    },
}
FREEWAY = {"env_id": "ALE/Freeway-v5", "total_timesteps": 64, "num_envs": 2, "num_steps": 16, "cuda": False}
OFF = {
    "modifs": SCHEDULE,
    "anneal_lr_per_regime": {"anneal_lr": False},
    "fire_reset": {"game_start": "original"},
    "worker_timeout": {"num_workers": 0},
}
"""What switches off that to which the flag belongs, where the defaults do not."""
ON = {
    "game_specific_goals": {"her": True, "env_id": "ALE/Kangaroo-v5"},
    "her_importance_clip": {"her": True},
    "encoder_dims": {"architecture": "PPO_OBJ", "obs_mode": "obj"},
    "decoder_dims": {"architecture": "PPO_OBJ", "obs_mode": "obj"},
    **{name: {"architecture": "PPO_CBP"} for name in training.BELONGINGS[2].flags},
    **{name: {"shrink_and_perturb": True} for name in training.BELONGINGS[3].flags},
    "eval_games": {"eval_every": 0},
    "eval_episodes": {"test_modifs": "no_modif"},
    "save_agent_wandb": {"track": True},
}
FLAGS = [name for row in training.BELONGINGS for name in row.flags]


def another(name):
    """A value that is allowed and is not the default."""
    default, hint = getattr(training.Args, name), typing.get_type_hints(training.Args)[name]
    if typing.get_origin(hint) is typing.Literal:
        return next(value for value in typing.get_args(hint) if value != default)
    if name == "modifs":
        return "all_pink_cars"
    if isinstance(default, bool):
        return not default
    if isinstance(default, float):
        return default / 2 or 0.5
    return default + 1 if isinstance(default, int) else [8]


def on_command_line(settings):
    words = []
    for name, value in settings.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def refusal(words):
    with pytest.raises(ConfigError) as refused:
        training.prepare(words)
    return str(refused.value)


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_of_something_that_is_off_is_refused_wherever_it_stands(name, workdir):
    settings = {**FREEWAY, **OFF.get(name, {})}
    value = another(name)
    path = write_config(workdir, **settings)
    for words in (
        ["--config", path, *on_command_line({name: value})],
        ["--config", write_config(workdir / "..", **settings, **{name: value})],
    ):
        error = refusal(words)
        assert error.startswith(f"`{name}` ")
        assert f"leave `{name}` at its default" in error
        assert "\n" not in error
    assert not (workdir / "runs").exists()
    default = as_plain_dict(training.Args())[name]
    training.prepare(["--config", write_config(workdir, **settings, **{name: default})])


@pytest.mark.parametrize("name", FLAGS)
def test_the_same_flag_is_accepted_where_it_says_something(name):
    args = from_plain_dict(training.Args, {name: another(name), **ON.get(name, {})})
    check_belongings(args, training.BELONGINGS)


def test_flags_that_carry_the_name_of_what_they_belong_to_are_in_the_table():
    names = {field.name for field in dataclasses.fields(training.Args)}
    assert {name for name in names if name.startswith(("her_", "perturb_", "shrink_f"))} <= set(FLAGS)
    assert set(FLAGS) <= names
    assert len(set(FLAGS)) == len(FLAGS)


def test_project_entity_and_folder_of_wandb_are_never_refused(workdir):
    words = ["--wandb_project_name", "a", "--wandb_entity", "b", "--wandb_dir", "c"]
    setup = training.prepare(["--config", write_config(workdir, **FREEWAY), *words])
    assert (setup.args.wandb_project_name, setup.args.wandb_entity, setup.args.wandb_dir) == ("a", "b", "c")


def test_a_run_that_goes_on_keeps_what_it_began_with_and_takes_nothing_more():
    old = from_plain_dict(training.Args, {"replacement_rate": 0.5})
    check_belongings(old, training.BELONGINGS, accepted=old)
    with pytest.raises(ConfigError, match="`save_agent_wandb` true"):
        check_belongings(dataclasses.replace(old, save_agent_wandb=True), training.BELONGINGS, accepted=old)
