"""Settings of a training: those that every script has, and one table of what holds for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from continual_hackatari.methods import all_methods
from continual_hackatari.training.config import Belonging, Range, check_belongings, check_ranges
from continual_hackatari.training.method_settings import changes_of_network, settings_of


@dataclass
class RunSettings:
    """The settings of any training. A script's own settings are a subclass: it adds those of its algorithm.

    A run goes in rounds of `num_steps` steps per game: between two of them it is logged, saved, evaluated and stopped.
    """

    # run
    config: str = ""
    """JSON file with a schedule and any of these settings; what it says wins over the command line"""
    seed: int = 42
    """seed of everything random: weights, actions, minibatches, games, modifications, schedule"""
    total_timesteps: int | None = None
    """agent steps over all games (default: the length of the schedule; without a schedule 10,000,000)"""
    num_envs: int = 8
    """games played in parallel (with torchrun: by all of its processes together)"""
    num_steps: int = 128
    """agent steps per game between two updates"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """where to train (auto: on a GPU of CUDA if there is one, else on a Mac's, mps, else on the CPU; with --no_cuda on
    the CPU); one that is not there is an error"""
    amp: Literal["auto", "bf16", "off"] = "off"
    """arithmetic of the big layers: off is float32; auto is bfloat16 where the hardware is faster with it"""
    resume: str = ""
    """run folder of a stopped run: go on exactly where it was saved, with its settings"""
    start_from: str = ""
    """checkpoint (.cleanrl_model) of another run: a new run that begins with its weights, and nothing else of it"""
    exp_name: str = "continual_training"
    """name of the experiment, part of the run folder's name"""
    runs_dir: str = "runs"
    """folder of all runs, in which each gets a folder of its own"""
    checkpoint_every: int | None = None
    """agent steps between two saves of the run for --resume (default: about every 5 minutes; 0: only when it begins
    and when it stops)"""
    save_agent_every: int = 0
    """agent steps after which the agent is saved, at the next border of two rounds; all of them are kept (0: never)"""
    torch_deterministic: bool = True
    """deterministic kernels of cuDNN, NVIDIA's library for convolutions (slower on a GPU, no effect on a CPU)"""
    cuda: bool = True
    """train on the GPU if there is one"""
    detect_anomaly: bool = False
    """name the operation whose gradient is not a number (PyTorch's anomaly mode; much slower)"""
    architecture: str = ""
    """what the agent is, as eval.py builds it"""

    # environment
    env_id: str = "ALE/Pong-v5"
    """the game; strings may name others, as in `Breakout: gravity`"""
    full_action_space: bool = False
    """the agent has all 18 actions of the console instead of the game's own, with which it can play several games"""
    backend: Literal["HackAtari", "OCAtari", "Gym"] = "HackAtari"
    """HackAtari can be modified; OCAtari is unmodified with objects; Gym is unmodified with max-pooled frames"""
    obs_mode: Literal["dqn", "obj"] = "dqn"
    """what the agent sees: grey 84 x 84 frames, or the properties of the game's objects"""
    modifs: str = ""
    """modification string for the whole run; used when the config file has no schedule"""
    new_rf: str = ""
    """Python file whose reward_function(env) -> float replaces the reward (it is executed); scores stay the game's"""
    modification_file: str = ""
    """Python file with modifications of your own, which stand beside those of the game (it is executed)"""
    frameskip: int = 4
    """emulated frames per agent step"""
    buffer_window_size: int = 4
    """number of past frames the agent sees at once"""
    deactivate_episodic_life: bool = False
    """end a training episode at game over only, not at every lost life"""
    game_start: Literal["auto", "frames", "steps", "original", "none"] = "auto"
    """a game starts with 1 to 30 no-op frames; or as many no-op agent steps; or as in the original system (no-op steps,
    then actions 1 and 2); or at once (auto: steps, and frames where they are max-pooled)"""
    fire_reset: bool = True
    """press FIRE at the start of a game and after a lost life, where the game has that button (original has its own)"""
    max_pool: bool | None = None
    """--max_pool: see the maximum of a step's last two frames, so that nothing blinks (default: backend Gym only)"""
    sticky: float | None = None
    """probability that an emulated frame repeats the last action (default: the id's own, 0.25 in v5 ids)"""
    time_limit: int | None = None
    """emulated frames after which a game is cut, 60 to a second (default: the id's own, mostly 108,000)"""
    switch_mode: Literal["reset", "episode", "live"] = "reset"
    """at a switch: restart all games; or change each game at its own next start; or change them in mid-game"""
    num_workers: int | None = None
    """processes that run the games (default: one per core; 0: none, play in this process); with torchrun for each of
    its processes"""
    worker_timeout: float = 60.0
    """seconds after which a process that does not answer a step counts as hanging and ends the run"""

    # switch
    save_agent_with_switch: bool = False
    """save the agent at every switch, before any method changes its weights"""

    # methods
    methods: tuple[str, ...] = ()
    """what keeps the agent learning, or what it has learned, in this order; `--methods NAME --help` shows the settings
    of one, which carry its name, also where a config file names it"""
    boundary: str = "schedule"
    """when methods are told that a task ends: schedule (at every switch), none (never), or every:STEPS (every so many
    agent steps, at the border of two rounds, whatever the schedule does)"""

    # continual evaluation, on with any of the first three
    eval_every: int | None = None
    """evaluate at start, before and after every switch, at the end, and every so many agent steps (0: not these)"""
    eval_modifs: tuple[str, ...] = ()
    """modification strings to evaluate (default: those of the schedule and no_modif, at most 8)"""
    held_out_modifs: tuple[str, ...] = ()
    """further ones to evaluate, which the schedule must not train on"""
    eval_games: int = 5
    """games per string, once greedy and once sampled"""

    # tracking
    track: bool = False
    """log to Weights & Biases as well (TensorBoard and CSV are always written)"""
    wandb_project_name: str = "continual-hackatari"
    """W&B project"""
    wandb_entity: str | None = None
    """W&B user or team"""
    wandb_dir: str = ""
    """where W&B keeps its local files, outside the run folder (default: the current folder)"""
    capture_video: bool = False
    """mp4 of environment 0: the first game after each switch"""
    capture_video_every: int = 0
    """mp4 of environment 0: the next game that begins after every so many agent steps (0: none)"""
    caption: bool = False
    """write the modification string and the score so far above the screen in these videos"""
    save_agent_wandb: bool = False
    """upload checkpoints as W&B artifacts"""
    test_modifs: tuple[str, ...] = ()
    """modification strings to evaluate at the end (no_modif: the unmodified game)"""
    eval_episodes: int = 21
    """games per string of test_modifs"""

    # config file only
    modification_factory: Annotated[str, tyro.conf.Suppress] = ""
    """class of the schedule"""
    modification_factory_kwargs: Annotated[dict[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """its arguments"""
    notes: Annotated[str, tyro.conf.Suppress] = ""
    """free text, kept with the run"""
    modification_digest: Annotated[str, tyro.conf.Suppress] = ""
    """SHA-256 of `modification_file`, which the run records; another file than that of a given one is refused"""
    new_rf_digest: Annotated[str, tyro.conf.Suppress] = ""
    """SHA-256 of `new_rf`, which the run records; another file than that of a given one is refused"""
    start_from_digest: Annotated[str, tyro.conf.Suppress] = ""
    """SHA-256 of the file `start_from`, which the run records; another file than that of a given one is refused"""
    start_from_experiment: Annotated[str, tyro.conf.Suppress] = ""
    """the same of the experiment that trained it, whatever its seed"""

    prefixed: Annotated[dict[str, Any], tyro.conf.Suppress] = field(default_factory=dict)

    @staticmethod
    def sections() -> dict[str, type]:
        """What has settings that carry its name: the methods, with the dataclass of each."""
        return {name: method.Settings for name, method in all_methods().items()}

    @property
    def chosen_methods(self) -> dict[str, Any]:
        """The settings of each method that is on, by its name, in the order in which they act."""
        return {name: settings_of(name, self.prefixed) for name in self.methods}

    @property
    def changes_of_network(self) -> dict[str, Any]:
        """What these methods change of the network, by the names of the arguments of the agent's class."""
        return changes_of_network(self.chosen_methods)

    @property
    def restarts_units(self) -> bool:
        """Whether a method makes single units start over in the optimizer."""
        return any(all_methods()[name].restarts for name in self.chosen_methods)

    @property
    def boundary_every(self) -> int:
        """Agent steps between two boundaries with `boundary` every:STEPS, else 0."""
        word, _, steps = self.boundary.partition(":")
        return int(steps) if word == "every" and steps.isdecimal() else 0

    @property
    def batch_size(self) -> int:
        """Agent steps of a round, over all games."""
        return self.num_envs * self.num_steps

    @property
    def gradient_steps(self) -> int | None:
        """Gradient steps of a round at most, after each of which methods act; None where nobody has said."""
        return None

    @property
    def goal_kind(self) -> str:
        """The goals that the games show and report, see `wrappers.goals.goal_kind`."""
        return ""

    @property
    def agent_name(self) -> str:
        """What the run folder calls the agent and its methods."""
        return "_".join([self.architecture, *self.methods])

    @property
    def methods_change_weights(self) -> bool:
        """Whether methods change the weights where a task ends, be that a switch or not."""
        return any(all_methods()[name].changes_weights for name in self.chosen_methods)

    @property
    def weights_change_at_switches(self) -> bool:
        """Whether the weights after a switch are other ones than before, so that both are evaluated."""
        return self.boundary == "schedule" and self.methods_change_weights

    @property
    def has_fixed_length(self) -> bool:
        """Whether what is computed depends on how long the run is, so that it cannot be made longer."""
        return bool(self.modification_factory)

    @property
    def captures_video(self) -> bool:
        """Whether games are recorded."""
        return self.capture_video or self.capture_video_every > 0

    @property
    def evaluates_continually(self) -> bool:
        """Whether the run is evaluated while it trains."""
        return self.eval_every is not None or bool(self.eval_modifs or self.held_out_modifs)


class Rule(NamedTuple):
    """What holds for one setting."""

    range: Range | None = None
    """the numbers that are allowed"""
    changeable: bool = False
    """it may change in a run that goes on: it cannot change what was learned before"""
    of: Belonging | None = None
    """what it says something about, which may be off: then a run that would ignore it is refused"""
    at_switches: bool = False
    """it says what happens at a switch, which is nothing in a run without one"""


MANY = 10**15  # steps; more could not be counted one by one in floating point
LARGE = 1e30  # larger numbers do not fit the float32 of the networks

WITHOUT_SCHEDULE = Belonging(
    "is what a run without a schedule plays, and this run has one",
    lambda args: not args.modification_factory,
    "take `modification_factory` out of the file",
)
BUTTONS = Belonging(
    "says how a game starts, but `game_start` original presses the original's buttons, FIRE among them",
    lambda args: args.game_start != "original",
    "choose another `--game_start`",
)
PROCESSES = Belonging(
    "is how long to wait for the processes that run the games, and `num_workers` 0 has none",
    lambda args: args.num_workers != 0,
    "choose another `--num_workers`",
)
EVALUATION = Belonging(
    "says how continual evaluation works, which is off",
    lambda args: args.evaluates_continually,
    "add `--eval_every`",
)
TESTS = Belonging(
    "says how `test_modifs` are evaluated, and there are none",
    lambda args: bool(args.test_modifs),
    "name some with `--test_modifs`",
)
OWN_RULES = Belonging(
    "is recorded of somebody's own modifications, and there are none",
    lambda args: bool(args.modification_file),
    "give `modification_file`",
)
OWN_REWARD = Belonging(
    "is recorded of somebody's own reward, and there is none",
    lambda args: bool(args.new_rf),
    "give `new_rf`",
)
START = Belonging(
    "is recorded of the agent that a run starts from, and there is none",
    lambda args: bool(args.start_from),
    "give `start_from`",
)
VIDEOS = Belonging(
    "is written into videos, and none are made",
    lambda args: args.captures_video,
    "add `--capture_video` or `--capture_video_every`",
)
WANDB = Belonging(
    "uploads to Weights & Biases, to which nothing is logged",
    lambda args: args.track,
    "add `--track`",
)

RULES: dict[str, Rule] = {
    "checkpoint_every": Rule(Range(0, MANY), changeable=True),
    "save_agent_every": Rule(Range(0, MANY), changeable=True),
    "seed": Rule(Range(0, 2**63 - 1)),
    "cuda": Rule(changeable=True),
    "device": Rule(changeable=True),
    "detect_anomaly": Rule(changeable=True),
    "total_timesteps": Rule(Range(1, MANY)),  # see `setup.may_extend`
    "num_envs": Rule(Range(1, 10_000)),
    "num_steps": Rule(Range(1, 10**9)),
    "modifs": Rule(of=WITHOUT_SCHEDULE),
    "frameskip": Rule(Range(1, 1000)),
    "buffer_window_size": Rule(Range(1, 1000)),
    "fire_reset": Rule(of=BUTTONS),
    "sticky": Rule(Range(0, 1)),
    "time_limit": Rule(Range(1, 2**31 - 1)),
    "num_workers": Rule(Range(0, 10_000), changeable=True),
    "worker_timeout": Rule(Range(1, 86_400), changeable=True, of=PROCESSES),
    "switch_mode": Rule(at_switches=True),
    "save_agent_with_switch": Rule(changeable=True, at_switches=True),
    "eval_every": Rule(Range(0, MANY)),
    "eval_games": Rule(Range(1, 10**9), of=EVALUATION),
    "test_modifs": Rule(changeable=True),
    "eval_episodes": Rule(Range(1, 10**9), changeable=True, of=TESTS),
    # Project, entity and folder of W&B belong to nothing: they say who you are rather than what this run does.
    "track": Rule(changeable=True),
    "wandb_project_name": Rule(changeable=True),
    "wandb_entity": Rule(changeable=True),
    "wandb_dir": Rule(changeable=True),
    "capture_video": Rule(changeable=True),
    "capture_video_every": Rule(Range(0, MANY), changeable=True),
    "caption": Rule(changeable=True, of=VIDEOS),
    "save_agent_wandb": Rule(changeable=True, of=WANDB),
    "modification_digest": Rule(of=OWN_RULES),
    "new_rf_digest": Rule(of=OWN_REWARD),
    **dict.fromkeys(("start_from_digest", "start_from_experiment"), Rule(of=START)),
}
"""Of the settings in `RunSettings`; those that are not here may be anything of their type, and never change."""

GONE = {
    "noop_max": "`game_start` says how a game starts; what was `noop_max` 0 is `game_start` none, and any other number "
    "becomes `game_start` frames, 1 to 30 no-op frames as with 30"
}
"""Flags and keys of earlier versions, and what to write instead."""


def ranges_of(rules: Mapping[str, Rule]) -> dict[str, Range]:
    """The settings with limits."""
    return {name: rule.range for name, rule in rules.items() if rule.range is not None}


def changeable(rules: Mapping[str, Rule]) -> list[str]:
    """The settings that may change in a run that goes on."""
    return [name for name, rule in rules.items() if rule.changeable]


def check_values(args: RunSettings, rules: Mapping[str, Rule], accepted: RunSettings | None = None) -> None:
    """Raise ConfigError for the first setting that is out of its range, or says something about what is off.

    accepted: settings of a run that goes on; what was so in them stays.
    """
    check_ranges(args, ranges_of(rules))
    check_belongings(args, {name: rule.of for name, rule in rules.items() if rule.of is not None}, accepted)
