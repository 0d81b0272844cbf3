"""Train a PPO agent on an Atari game whose rules and looks change on a schedule.

    python continual_training_example.py --config run_config.json
    python continual_training_example.py --env_id ALE/Pong-v5 --modifs lazy_enemy --total_timesteps 1000000

    python continual_training_example.py --resume runs/<folder of a stopped run>
    torchrun --nproc_per_node 2 continual_training_example.py --config run_config.json

This file is the whole training loop; read `train` from top to bottom. Its phases carry banners: RESUME, SWITCH,
ROLLOUT, HINDSIGHT, ADVANTAGES, UPDATE, LOG + CHECKPOINT. docs/ explains the words, the flags and the schedules.
"""

from __future__ import annotations

import os

# Threads that spin for long while they wait would steal the cores that the emulators need; a few thousand turns bridge
# the gaps between the operations of an update. It must be set before torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

from continual_hackatari.training.signals import StopSignals, end_on_interrupt

if __name__ == "__main__":
    end_on_interrupt(at_once=True)

from continual_hackatari.training.system import check_system, keep_freed_memory, memory_of

check_system()  # before anything imports OpenCV

import contextlib
import copy
import functools
import math
import shlex
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from continual_hackatari.agents import (
    PPOCBP,
    ActorCritic,
    AgentError,
    ContinualBackprop,
    check_architecture,
    generalised_advantages,
    make_agent,
    shrink_and_perturb,
)
from continual_hackatari.agents.acceleration import ActingAgent, GraphedStep, choose_precision
from continual_hackatari.agents.continual_backprop import check_continual_backprop
from continual_hackatari.agents.finite import NotFiniteError, not_finite
from continual_hackatari.agents.hindsight import (
    Relabelling,
    RewardRule,
    frame_rows,
    goal_rewards,
    importance_weights,
    means_of_halves,
    normalise_halves,
    reevaluate,
    relabel,
    show_goals,
)
from continual_hackatari.agents.plasticity import PlasticityProbe, choose_rows
from continual_hackatari.agents.restartable_adam import RestartableAdam
from continual_hackatari.agents.reward_scaling import RewardScaler
from continual_hackatari.schedules.factories import (
    ScheduleError,
    decay_note,
    key_of,
    normalise_modification,
    regime_starts,
    regime_warning,
    schedule_from_config,
)
from continual_hackatari.training.asked import Asked, asked_for
from continual_hackatari.training.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from continual_hackatari.training.config import (
    Belonging,
    ConfigError,
    Range,
    apply_config_file,
    as_plain_dict,
    check_belongings,
    check_ranges,
    from_plain_dict,
    given_flags,
    parse_command_line,
    sentence,
)
from continual_hackatari.training.evaluations import RESULTS, ContinualEvaluation
from continual_hackatari.training.files import atomic_path
from continual_hackatari.training.plan import Plan, place_evaluations, read_plan
from continual_hackatari.training.playing import evaluate, load_agent
from continual_hackatari.training.progress import ProgressBar
from continual_hackatari.training.ranks import ALONE, Ranks, RanksError
from continual_hackatari.training.resume import (
    PREVIOUS,
    RESUME,
    ResumeError,
    SaveClock,
    can_go_on,
    exclusive,
    forget_states,
    generator_states,
    load_state,
    remove_leftovers,
    save_state,
    set_generator_states,
)
from continual_hackatari.training.run_folder import (
    UNMODIFIED,
    create_run_folder,
    folder_of_job,
    forget_job,
    slug,
    write_args,
    write_job,
)
from continual_hackatari.training.strings import canonical_strings, choose_evaluated, choose_modifications
from continual_hackatari.training.summary import summarise, table
from continual_hackatari.training.timing import PhaseTimer
from continual_hackatari.training.tracking import Tracker, check_wandb
from continual_hackatari.training.versions import made_by
from continual_hackatari.wrappers.config import GameConfig, check_string, game_config, waiting_note
from continual_hackatari.wrappers.errors import GameError, ModificationError, WorkerError
from continual_hackatari.wrappers.goals import Goal, goal_kind
from continual_hackatari.wrappers.interfaces import GameRecord, VectorGames
from continual_hackatari.wrappers.processes import available_cores
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

USER_ERRORS = (AgentError, ConfigError, GameError, ModificationError, ResumeError, ScheduleError)
FAILURES = (CheckpointError, NotFiniteError, RanksError, WorkerError)  # of a run that was well begun


@dataclass
class Args:
    # run
    config: str = ""
    """JSON file with a schedule and any of these settings; what it says wins over the command line"""
    exp_name: str = "continual_training_example"
    """name of the experiment, part of the run folder's name"""
    resume: str = ""
    """run folder of a stopped run: go on exactly where it was saved, with its settings"""
    checkpoint_every: int | None = None
    """agent steps between two saves of the run for --resume (default: about every 5 minutes; 0: only when it begins
    and when it stops)"""
    seed: int = 42
    """seed of everything random: weights, actions, minibatches, games, modifications, schedule"""
    torch_deterministic: bool = True
    """use only deterministic GPU kernels (slower on a GPU, no effect on a CPU)"""
    cuda: bool = True
    """train on the GPU if there is one"""
    amp: Literal["auto", "bf16", "off"] = "off"
    """arithmetic of the big layers: off is float32; auto is bfloat16 where the hardware is faster with it"""
    compile: bool = False
    """compile the network with torch.compile (slower start)"""
    cuda_graphs: bool = False
    """on a GPU, replay each gradient step as one CUDA graph"""
    detect_anomaly: bool = False
    """name the operation whose gradient is not a number (PyTorch's anomaly mode; much slower)"""

    # environment
    env_id: str = "ALE/Pong-v5"
    """the game"""
    backend: Literal["HackAtari", "OCAtari", "Gym"] = "HackAtari"
    """HackAtari can be modified; OCAtari is unmodified with objects; Gym is unmodified with max-pooled frames"""
    obs_mode: Literal["dqn", "obj"] = "dqn"
    """what the agent sees: grey 84 x 84 frames, or the properties of the game's objects"""
    modifs: str = ""
    """modification string for the whole run; used when the config file has no schedule"""
    new_rf: str = ""
    """Python file whose reward_function(env) -> float replaces the reward (it is executed); scores stay the game's"""
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

    # PPO. The numbers are the defaults of CleanRL's ppo_atari (Huang et al. 2022, "The 37 implementation details of
    # PPO"). The games are not: rewards are divided by the deviation of their return (there cut to their sign), actions
    # are sticky in v5 ids, frames are not max-pooled, no-ops count in steps (there in frames) and FIRE alone follows
    # them (there action 2 as well), the frame stack goes on after a lost life (there it is filled anew), a time limit
    # is bootstrapped (there it is an end). `configs/cleanrl_atari.json` changes what flags can change of that.
    total_timesteps: int | None = None
    """agent steps over all games (default: the length of the schedule; without a schedule 10,000,000)"""
    learning_rate: float = 2.5e-4
    """step size of Adam"""
    num_envs: int = 8
    """games played in parallel (with torchrun: by all of its processes together)"""
    num_steps: int = 128
    """agent steps per game between two updates"""
    anneal_lr: bool = True
    """decrease the learning rate linearly to zero over the run"""
    anneal_lr_per_regime: bool = False
    """with anneal_lr: to zero within each regime, from the full rate at its start"""
    gamma: float = 0.99
    """discount factor"""
    gae_lambda: float = 0.95
    """lambda of generalised advantage estimation"""
    num_minibatches: int = 4
    """minibatches per epoch; must divide num_envs * num_steps (with torchrun each process' share of it)"""
    update_epochs: int = 4
    """passes over the data of a rollout"""
    norm_adv: bool = True
    """normalise advantages in each minibatch"""
    clip_coef: float = 0.1
    """clipping range of the probability ratio"""
    clip_vloss: bool = True
    """clip the value loss as well"""
    ent_coef: float = 0.01
    """weight of the entropy bonus"""
    vf_coef: float = 0.5
    """weight of the value loss"""
    max_grad_norm: float = 0.5
    """gradients are clipped to this global norm"""
    target_kl: float | None = None
    """stop the epochs of an update when the policy has moved further than this"""
    reward_scaling: Literal["normalize", "clip", "none"] = "normalize"
    """divide rewards by the running deviation of the return, keep only their sign (clip), or leave them"""

    # agent
    architecture: Literal["PPO", "PPO_OBJ", "PPO_CBP"] = "PPO"
    """PPO: convolutions over frames; PPO_OBJ: an MLP over object features (obs_mode obj); PPO_CBP: PPO with continual
    backpropagation"""
    encoder_dims: tuple[int, ...] = (256, 512, 1024, 512)
    """hidden layers of PPO_OBJ's encoder"""
    decoder_dims: tuple[int, ...] = (512,)
    """hidden layers of PPO_OBJ's decoder"""
    replacement_rate: float = 1e-5
    """PPO_CBP: share of the eligible units of a layer that is replaced per gradient step (0: none, the same as PPO)"""
    init: Literal["default", "xavier", "lecun", "kaiming", "orthogonal"] = "kaiming"
    """PPO_CBP: distribution of the incoming weights of new units (orthogonal: that of the network's own start)"""
    maturity_threshold: int = 100
    """PPO_CBP: gradient steps for which a new unit is protected"""
    decay_rate: float = 0.99
    """PPO_CBP: decay of the running averages of utility and output"""
    utility: Literal["contribution", "zero_contribution", "adaptation", "adaptable_contribution"] = "contribution"
    """PPO_CBP: what makes a unit useful"""
    accumulate: bool = True
    """PPO_CBP: fractions of a unit add up until one is due; without it they are its probability in each step"""
    count: Literal["eligible", "all"] = "eligible"
    """PPO_CBP: the replacement rate applies to the eligible units, or to all units of the layer"""

    # hindsight
    her: bool = False
    """hindsight: learn from every rollout a second time, under the goals that it did reach"""
    game_specific_goals: bool = False
    """with her: the game's own goals instead of a target position"""
    her_rewards: RewardRule = "game"
    """with her: `game` leaves played steps their rewards and gives relabelled ones 1 at their goal, else 0; `original`
    gives `(reward + 1) * 2` at the goal in both"""
    her_relabel: Literal["failures", "all"] = "failures"
    """with her: which stretches of play get a new goal, those that did not reach the desired one or all"""
    her_weight: float = 1.0
    """with her: how much a relabelled step counts in policy and value loss; a played one counts 1"""
    her_importance_clip: float = 0.0
    """with her: weigh relabelled steps by how likely their action is under the new goal, at most this (0: do not)"""

    # switch
    shrink_and_perturb: bool = False
    """at every switch: weights <- shrink_factor * weights + noise_scale * noise"""
    shrink_factor: float = 0.7
    """factor on all weights (1: unchanged). PPO's logits pass five layers and shrink by about factor**5: 0.7 makes a
    policy nearly random at once (on Freeway 18.6 crossings per game became 1.9, with 0.9 they became 13.4)"""
    noise_scale: float = 0.01
    """scale of the noise added to all weights (0: none)"""
    perturb_noise: Literal["gaussian", "initialiser"] = "gaussian"
    """noise from N(0, 1), or a fresh draw of each layer's own initialiser"""
    perturb_optimizer: Literal["reset", "keep"] = "reset"
    """what shrink and perturb does to Adam's state and to PPO_CBP's record of its units"""
    save_agent_with_switch: bool = False
    """save the agent at every switch, before its weights are shrunk"""

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
    plasticity_every: int = 20
    """rollouts between two measurements of the network's plasticity (0: never)"""
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
    save_agent_wandb: bool = False
    """upload checkpoints as W&B artifacts"""
    test_modifs: str = ""
    """modification strings, separated by commas, to evaluate at the end (no_modif: the unmodified game)"""
    eval_episodes: int = 21
    """games per string of test_modifs"""

    # config file only
    modification_factory: Annotated[str, tyro.conf.Suppress] = ""
    """class of the schedule"""
    modification_factory_kwargs: Annotated[dict[str, Any], tyro.conf.Suppress] = field(default_factory=dict)
    """its arguments"""
    notes: Annotated[str, tyro.conf.Suppress] = ""
    """free text, kept with the run"""

    @property
    def batch_size(self) -> int:
        return self.num_envs * self.num_steps

    @property
    def minibatch_size(self) -> int:
        return self.batch_size // self.num_minibatches


MANY = 10**15  # steps; more could not be counted one by one in floating point
LARGE = 1e30  # larger numbers do not fit the float32 of the networks
RANGES = {
    "checkpoint_every": Range(0, MANY),
    "frameskip": Range(1, 1000),
    "buffer_window_size": Range(1, 1000),
    "sticky": Range(0, 1),
    "time_limit": Range(1, 2**31 - 1),
    "total_timesteps": Range(1, MANY),
    "num_workers": Range(0, 10_000),
    "worker_timeout": Range(1, 86_400),
    "learning_rate": Range(0, LARGE, above=True),
    "num_envs": Range(1, 10_000),
    "num_steps": Range(1, 10**9),
    "gamma": Range(0, 1),
    "gae_lambda": Range(0, 1),
    "num_minibatches": Range(1, MANY),
    "update_epochs": Range(1, MANY),
    "clip_coef": Range(0, LARGE, above=True),
    "ent_coef": Range(0, LARGE),
    "vf_coef": Range(0, LARGE),
    "max_grad_norm": Range(0, LARGE, above=True),
    "target_kl": Range(0, LARGE, above=True),
    "encoder_dims": Range(1, 10**9),
    "decoder_dims": Range(1, 10**9),
    "shrink_factor": Range(0, 1),
    "noise_scale": Range(0, LARGE),
    "replacement_rate": Range(0, 1),
    "maturity_threshold": Range(0, MANY),
    "decay_rate": Range(0, 1),
    "her_weight": Range(0, LARGE),
    "her_importance_clip": Range(0, LARGE),
    "plasticity_every": Range(0, MANY),
    "eval_episodes": Range(1, 10**9),
    "eval_every": Range(0, MANY),
    "eval_games": Range(1, 10**9),
    "seed": Range(0, 2**63 - 1),
}

BELONGINGS = (
    Belonging(
        ("game_specific_goals", "her_rewards", "her_relabel", "her_weight", "her_importance_clip"),
        "says how hindsight works, which is off",
        lambda args: args.her,
        "add `--her`",
    ),
    Belonging(
        ("encoder_dims", "decoder_dims"),
        "says how PPO_OBJ is built, which is another architecture",
        lambda args: args.architecture == "PPO_OBJ",
        "choose `--architecture PPO_OBJ --obs_mode obj`",
    ),
    Belonging(
        ("replacement_rate", "init", "maturity_threshold", "decay_rate", "utility", "accumulate", "count"),
        "says how PPO_CBP replaces units, which is another architecture",
        lambda args: args.architecture == "PPO_CBP",
        "choose `--architecture PPO_CBP`",
    ),
    Belonging(
        ("shrink_factor", "noise_scale", "perturb_noise", "perturb_optimizer"),
        "says how shrink and perturb works, which is off",
        lambda args: args.shrink_and_perturb,
        "add `--shrink_and_perturb`",
    ),
    Belonging(
        ("modifs",),
        "is what a run without a schedule plays, and this run has one",
        lambda args: not args.modification_factory,
        "take `modification_factory` out of the file",
    ),
    Belonging(
        ("anneal_lr_per_regime",),
        "says how the learning rate decays, and it does not",
        lambda args: args.anneal_lr,
        "leave out `--no_anneal_lr`",
    ),
    Belonging(
        ("fire_reset",),
        "says how a game starts, but `game_start` original presses the original's buttons, FIRE among them",
        lambda args: args.game_start != "original",
        "choose another `--game_start`",
    ),
    Belonging(
        ("worker_timeout",),
        "is how long to wait for the processes that run the games, and `num_workers` 0 has none",
        lambda args: args.num_workers != 0,
        "choose another `--num_workers`",
    ),
    Belonging(
        ("eval_games",),
        "says how continual evaluation works, which is off",
        lambda args: evaluates_continually(args),
        "add `--eval_every`",
    ),
    Belonging(
        ("eval_episodes",),
        "says how `test_modifs` are evaluated, and there are none",
        lambda args: bool(args.test_modifs),
        "name some with `--test_modifs`",
    ),
    Belonging(
        ("save_agent_wandb",),
        "uploads to Weights & Biases, to which nothing is logged",
        lambda args: args.track,
        "add `--track`",
    ),
)
"""Flags of something that may be off: a run that would ignore one of them is refused. Not among them are project,
entity and folder of W&B: they say who you are rather than what this run does."""

GONE = {
    "noop_max": "`game_start` says how a game starts; what was `noop_max` 0 is `game_start` none, and any other number "
    "becomes `game_start` frames, 1 to 30 no-op frames as with 30"
}
"""Flags and keys of earlier versions, and what to write instead."""

CHANGEABLE = (
    *("checkpoint_every", "detect_anomaly", "num_workers", "worker_timeout", "cuda"),
    *("test_modifs", "eval_episodes"),
    *("save_agent_with_switch", "capture_video", "save_agent_wandb"),
    *("track", "wandb_project_name", "wandb_entity", "wandb_dir"),
)
"""Flags that may be changed with `resume`: they cannot change what was learned before. See also `may_extend`."""

FINAL = "model.cleanrl_model"
"""The agent at the end, in the run folder."""

SAVED = (
    *("args", "machine", "counters", "agent", "optimizer", "continual_backprop", "reward_scaler", "generators"),
    *("envs", "tracker", "progress"),
)
"""What `resume.pt` holds, see `save_run`."""

PROBED_STEPS = 2500  # of a game that tells what evaluation costs: more than one of Freeway, a second or two

LOSSES = ("value_loss", "policy_loss", "entropy", "old_approx_kl", "approx_kl", "clipfrac")
OF_GRADIENT_STEP = (*LOSSES, "gradient_norm")  # what `minibatch_step` returns, followed by those of hindsight
HINDSIGHT_LOSSES = ("original_policy_loss", "relabelled_policy_loss", "original_value_loss", "relabelled_value_loss")


class Rollout(NamedTuple):
    """What the agent did and saw in T steps of N games; row t is vector step t.

    ``done`` marks every end of an episode: a lost life or game over (``terminated``: nothing follows), a truncation, or
    a switch that cut the game. The arrays are filled by the emulators, the tensors by the agent. With hindsight M is 2N
    and column N + n is game n again, under the goal that it reached; frames are not kept twice. Without, M is N.
    """

    observations: Tensor  # [T, N, *observation_shape], uint8 or float32
    actions: Tensor  # int64 [T, M]
    log_probs: Tensor  # [T, M]
    values: Tensor  # [T, M]
    advantages: Tensor  # [T, M], filled after the rollout
    returns: Tensor  # [T, M], filled after the rollout
    rewards: np.ndarray  # float64 [T, N], unscaled
    terminated: np.ndarray  # bool [T, N]
    done: np.ndarray  # bool [T, N]
    achieved: np.ndarray  # float32 [T, N, G], what goal each step achieved; G is 0 without hindsight
    goals: Tensor | None  # uint8 [T, M, G], the goal of each row in grey levels; None without hindsight
    weights: Tensor | None  # [T, M], importance weights; None: all rows weigh the same
    relabelled: Tensor | None = None  # bool [T, M], the row has a new goal; None without hindsight


Cut = tuple[int, np.ndarray, Tensor, Tensor]
"""Episodes that ended in step t of a rollout, but not in the game: t, their columns int64 [K], the last observations
[K, *observation_shape] and the values [K] of these, which stand for what would have followed."""


class Parts(NamedTuple):
    """What of a run changes while it runs; with `Counters` all that `resume.pt` needs."""

    ranks: Ranks
    agent: ActorCritic
    optimizer: torch.optim.Optimizer
    cbp: ContinualBackprop | None
    reward_scaler: RewardScaler
    her_scaler: RewardScaler  # of what hindsight relabels
    probe: PlasticityProbe
    generators: dict[str, torch.Generator]
    envs: VectorGames
    tracker: Tracker
    progress: ProgressBar
    evaluations: ContinualEvaluation


class Counters(NamedTuple):
    """Where a run is, between two updates."""

    global_step: int
    num_switches: int
    last_switch: int
    modification: str
    modification_index: dict[str, int]
    seconds: float


class Setup(NamedTuple):
    """A run that has passed every check; nothing is started or written yet."""

    args: Args
    schedule: Any
    total_timesteps: int
    game: GameConfig
    device: torch.device
    precision: torch.dtype
    saved: dict[str, Any] | None
    """With `resume`: the state to go on from."""
    ranks: Ranks
    """This process among those of torchrun, or alone."""
    plan: Plan | None
    """What is evaluated while it trains, if anything."""

    @property
    def finished(self) -> bool:
        """With `resume`: the run has ended, there is nothing to go on with."""
        return bool(self.args.resume) and self.saved is None


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything a user can get wrong, then train."""
    ranks = Ranks.of_this_process()
    try:
        with ranks:
            setup = prepare(argv, ranks)
            if setup.finished:
                test_finished_run(setup)
            else:
                train(setup)
    except USER_ERRORS as error:
        print(f"error: {ranks.name}{sentence(error)}", file=sys.stderr)
        ranks.end(2)
    except FAILURES as error:
        print(f"error: {ranks.name}{error}", file=sys.stderr)
        ranks.end(1)
    except SystemExit as stop:  # help, a signal, or the main rank has said why
        if ranks.alone or not isinstance(stop.code, int):
            raise
        ranks.end(stop.code)


def train(setup: Setup) -> None:
    """The whole run: schedule -> games -> rollouts -> updates -> logs and checkpoints."""
    keep_freed_memory()
    args, schedule, total_timesteps, game, device, precision, saved, ranks, plan = setup
    weights_seed, action_seed, minibatch_seed, perturb_seed, cbp_seed = derive_seeds(args.seed, 5)
    if not ranks.is_main:  # what concerns games and rows of this process is its own, what concerns the agent is common
        action_seed, minibatch_seed = derive_seeds(args.seed, 2, ranks.rank)
    N, goal = args.num_envs // ranks.size, game.goal  # noqa: N806 - as in the shape comments; games of this process
    action_generator = torch.Generator(device).manual_seed(action_seed)
    minibatch_generator = torch.Generator().manual_seed(minibatch_seed)
    perturb_generator = torch.Generator().manual_seed(perturb_seed)
    num_threads = torch.get_num_threads()

    folder = ranks.from_main(lambda: Path(args.resume) if saved is not None else new_run_folder(args, game))
    with (
        ranks.only_on_main(lambda: exclusive(folder)),
        saying_how_to_resume(folder, ranks),
        ranks.main_first(lambda: open_tracker(args, folder, saved, ranks)) as tracker,
        closing(open_games(args, game, ranks)) as envs,
        ProgressBar(
            total_timesteps, enabled=ranks.is_main, **(saved["progress"] if saved is not None else {})
        ) as progress,
        StopSignals(supervised=bool(ranks.job), quiet=not ranks.is_main) as stop,
        ranks.main_first(lambda: continual_evaluation(args, plan, folder, saved, progress, ranks)) as evaluations,
    ):
        progress.write(f"run folder: {folder}")
        agent = make_agent(
            args.architecture,
            envs.observation_shape,
            envs.num_actions,
            encoder_dims=args.encoder_dims,
            decoder_dims=args.decoder_dims,
            generator=torch.Generator().manual_seed(weights_seed),
        ).to(device)
        ranks.start_alike(agent)
        agent.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        on_gpu = device.type == "cuda"
        learning_rate = torch.tensor(args.learning_rate, device=device) if on_gpu else args.learning_rate
        if on_gpu:
            pin(envs.arrays.observations)
        adam = RestartableAdam if isinstance(agent, PPOCBP) else torch.optim.Adam
        optimizer = adam(agent.parameters(), lr=learning_rate, eps=1e-5, fused=True, capturable=on_gpu)
        cbp = continual_backprop(args, agent, optimizer, cbp_seed, ranks) if isinstance(agent, PPOCBP) else None
        if args.compile:
            agent.compile()
        autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)
        acting_agent = ActingAgent(agent, precision)
        reward_scaler, her_scaler = make_scalers(args)
        rollout = empty_rollout(args, envs, device)
        probe = PlasticityProbe(args.plasticity_every)
        update = GraphedStep(
            functools.partial(minibatch_step, args, agent, optimizer, autocast, rollout, cbp=cbp, ranks=ranks),
            args.cuda_graphs and on_gpu,
        )
        modification_index: dict[str, int] = {}
        num_switches = last_switch = global_step = 0
        start_time, timer = time.perf_counter(), PhaseTimer()
        annealing = annealing_borders(args, schedule, game, total_timesteps)

        # ============================== RESUME ==============================
        # A run is saved between two updates: what happened before is in `parts` and the counters, nothing else. The
        # schedule has no state, it is asked by step.
        generators = {"actions": action_generator, "minibatches": minibatch_generator, "perturb": perturb_generator}
        parts = Parts(
            *(ranks, agent, optimizer, cbp, reward_scaler, her_scaler),
            *(probe, generators, envs, tracker, progress, evaluations),
        )
        if saved is not None:
            global_step, num_switches, last_switch, modification, modification_index, seconds = restore(
                parts, saved, folder / "videos" if args.capture_video else None
            )
            start_time -= seconds
        else:
            modification = canonical(schedule.get_modification(0), game)
            if args.capture_video:
                envs.record_next_game(video_path(folder, 0, modification))
            envs.set_modifications(modification, "reset")
            # A run can go on from its first moment, and a disk without room for that is noticed before anything else.
            save_run(folder, args, parts, Counters(0, 0, 0, modification, modification_index, seconds=0.0))
        save_clock = SaveClock(args.checkpoint_every, global_step)

        while global_step < total_timesteps:
            missing = total_timesteps - global_step
            steps = min(args.num_steps, -(-missing // args.num_envs))  # the last rollout may be shorter
            finished: list[tuple[int, GameRecord]] = []  # games, and the step where each of them ended
            cuts: list[Cut] = []
            if args.anneal_lr:
                last_step = global_step + (steps - 1) * args.num_envs
                annealed = remaining_share(annealing, global_step, last_step) * args.learning_rate
                if isinstance(learning_rate, Tensor):
                    learning_rate.fill_(annealed)
                else:
                    optimizer.param_groups[0]["lr"] = annealed
            evaluations.begin_rollout(global_step, num_switches, modification)
            acting_agent.refresh()
            if not on_gpu:
                torch.set_num_threads(1)  # during the rollout the cores belong to the emulators

            def collect(
                t: int,
                group: int,
                rollout: Rollout = rollout,
                cuts: list[Cut] = cuts,
                finished: list = finished,
                first: int = global_step,
            ) -> None:
                """Wait for step t of one group of games and note what it gave."""
                records, games, arrays = envs.step_wait(group), envs.groups[group], envs.arrays
                timer.lap("emulation")
                rollout.rewards[t, games] = arrays.rewards[games]
                rollout.terminated[t, games] = arrays.terminated[games]
                rollout.done[t, games] = arrays.terminated[games] | arrays.truncated[games]
                rollout.achieved[t, games] = arrays.achieved[games]
                truncated = np.flatnonzero(arrays.truncated[games] & ~arrays.terminated[games]) + games.start
                if len(truncated):
                    last = to_device(arrays.final_observations[truncated], device)
                    cuts.append((t, truncated, last, acting_agent.value(last)))
                finished.extend((first + (t + 1) * args.num_envs, record) for record in records)

            for t in range(steps):
                # ============================== SWITCH ==============================
                # 1. The schedule asks for another modification string. 2. Mode `reset` cuts the games in progress: a
                # truncation, so step t-1 is bootstrapped with the value of the last observation of the old regime.
                # 3. The agent of the old regime is saved and noted for evaluation. 4. Its weights are shrunk and
                # perturbed, and what they said of the rollout's earlier rows is computed anew. 5. The games change.
                new_modification = canonical(schedule.get_modification(global_step), game)
                switching = new_modification != modification
                if switching:
                    for group in range(len(envs.groups) if t > 0 else 0):
                        collect(t - 1, group)
                    timer.lap("emulation")
                    switch_start = time.perf_counter()
                    num_switches += 1
                    if args.switch_mode == "reset" and t == 0:  # the last rollout ended here, bootstrapped just so
                        reward_scaler.returns[:] = 0.0
                    elif args.switch_mode == "reset":
                        running = np.flatnonzero(~rollout.done[t - 1])
                        last = to_device(envs.arrays.observations[running], device)
                        cuts.append((t - 1, running, last, acting_agent.value(last)))
                        rollout.done[t - 1] = True
                    checkpoint = ""
                    if args.save_agent_with_switch:
                        path = switch_checkpoint(folder, num_switches, global_step, modification)
                        save_agent(path, tracker, agent, args, global_step, modification, cbp, reward_scaler)
                        checkpoint = path.name
                    evaluations.note(global_step, num_switches - 1, modification)
                    if args.shrink_and_perturb:
                        evaluations.snapshot(agent)
                        shrink_and_perturb(
                            agent,
                            optimizer,
                            shrink_factor=args.shrink_factor,
                            noise_scale=args.noise_scale,
                            noise=args.perturb_noise,
                            optimizer_state=args.perturb_optimizer,
                            generator=perturb_generator,
                        )
                        if cbp is not None and args.perturb_optimizer == "reset":
                            cbp.reset_statistics()  # what was measured of the old weights
                        acting_agent.refresh()
                        update.reset()  # the optimizer's state may be new
                        evaluate_anew(acting_agent, rollout, cuts, t, envs.groups)
                    evaluations.note(global_step, num_switches, new_modification)
                    if args.capture_video:
                        envs.record_next_game(video_path(folder, global_step, new_modification))
                    _, info = envs.set_modifications(new_modification, args.switch_mode)
                    finished.extend((global_step, record) for record in info["games"])
                    log_games(tracker, progress, finished, ranks)
                    finished.clear()
                    seconds = time.perf_counter() - switch_start
                    tracker.switch(
                        {
                            "switch": num_switches,
                            "global_step": global_step,
                            "from": modification,
                            "to": new_modification,
                            "mode": args.switch_mode,
                            "seconds": f"{seconds:.4f}",
                            "shrink_and_perturb": args.shrink_and_perturb,
                            "checkpoint": checkpoint,
                        }
                    )
                    tracker.scalar("switch/number", num_switches, global_step)
                    tracker.scalar("switch/seconds", seconds, global_step)
                    tracker.scalar("switch/regime_steps", global_step - last_switch, global_step)
                    modification, last_switch = new_modification, global_step
                    timer.lap("switch")

                # ============================== ROLLOUT ==============================
                # One vector step: N games, N agent steps. The games are in groups: while the agent thinks about one,
                # the emulators play the other. An episode that ends is followed by the next at once, so observations
                # never show the end of one; `final_observations` do.
                for group, games in enumerate(envs.groups):
                    if t > 0 and not switching:
                        collect(t - 1, group)
                    seen = torch.from_numpy(envs.arrays.observations[games])
                    rollout.observations[t, games].copy_(seen, non_blocking=True)
                    action, log_prob, value = acting_agent.act(rollout.observations[t, games], action_generator)
                    rollout.actions[t, games] = action
                    rollout.log_probs[t, games] = log_prob
                    rollout.values[t, games] = value
                    chosen = action.cpu().numpy()  # on a GPU the only moment of a step that waits for it
                    timer.lap("inference")
                    envs.step_async(chosen, group)
                global_step += args.num_envs
                progress.update(global_step, modification)
            for group in range(len(envs.groups)):
                collect(steps - 1, group)
            log_games(tracker, progress, finished, ranks)

            if not on_gpu:
                torch.set_num_threads(num_threads)

            rewards, terminated, done = rollout.rewards[:steps], rollout.terminated[:steps], rollout.done[:steps]
            last = to_device(envs.arrays.observations, device)

            # ============================== HINDSIGHT ==============================
            # Every game a second time, in the columns N to 2N - 1: the goal of each episode that missed its own becomes
            # what it achieved at its end (strategy `final` of Andrychowicz et al. 2017,
            # https://arxiv.org/abs/1707.01495). Frames and actions stay, log-probabilities and values are computed
            # anew, rewards are those of the goals and have a scale of their own, so that they cannot drown the game's.
            # `agents/hindsight.py` says which part of this is on-policy.
            if goal is None:
                scaled = scale_rewards(reward_scaler, rewards, done, ranks)  # float32 [steps, M]
            else:
                relabelling = fill_relabelled_half(args, rollout, goal, acting_agent, done, last, cuts)
                scaled = scale_halves(args, rewards, done, relabelling, reward_scaler, her_scaler, ranks)
                terminated, done = np.tile(terminated, (1, 2)), np.tile(done, (1, 2))
                timer.lap("hindsight")

            # ============================== ADVANTAGES ==============================
            # Generalised advantage estimation from scaled rewards, see `rollout_advantages` below. What really followed
            # a step is the next observation, or, where the game was truncated or cut by a switch, its last observation
            # before the restart; so no reward and no value counts across the border of an episode.
            values = rollout.values[:steps]
            last_values = acting_agent.value(last).repeat(values.shape[1] // N)  # the second half's are in `cuts`
            advantages, returns = rollout_advantages(
                to_device(scaled, device),
                values,
                last_values,
                cuts,
                to_device(terminated, device),
                to_device(done, device),
                args.gamma,
                args.gae_lambda,
            )
            timer.lap("advantages")

            # ============================== UPDATE ==============================
            # PPO (Schulman et al. 2017, https://arxiv.org/abs/1707.06347): several epochs over the rollout's rows,
            # [T, M] -> [T * M], in minibatches drawn without replacement; see `minibatch_step` below. With hindsight a
            # minibatch is twice as large, so that there are as many gradient steps as without. With several processes
            # it is the union of what they draw from their own rows.
            rollout.advantages[:steps], rollout.returns[:steps] = advantages, returns
            losses: list[Tensor] = []
            evaluations.snapshot(agent)
            with stopping_if_not_finite(args, folder, parts, losses, global_step, modification):
                for _ in range(args.update_epochs):
                    order = torch.randperm(values.numel(), generator=minibatch_generator).to(device)
                    for rows in order.tensor_split(min(args.num_minibatches, len(order))):
                        losses.append(update(rows))
                    if args.target_kl is not None and losses[-1][LOSSES.index("approx_kl")] > args.target_kl:
                        break
            timer.lap("update")

            # ============================== LOG + CHECKPOINT ==============================
            returns, values = ranks.join(returns), ranks.join(values)
            explained = 1 - (returns - values).var(correction=0) / returns.var(correction=0)
            tracker.scalar("charts/learning_rate", float(optimizer.param_groups[0]["lr"]), global_step)
            tracker.scalar("charts/SPS", global_step / (time.perf_counter() - start_time), global_step)
            tracker.scalar(
                "charts/modification_index",
                modification_index.setdefault(modification, len(modification_index)),
                global_step,
            )
            of_last_step, of_update = losses[-1].tolist(), torch.stack(losses).mean(0).tolist()
            for i, name in enumerate(LOSSES):
                tracker.scalar(f"losses/{name}", of_update[i] if name == "clipfrac" else of_last_step[i], global_step)
            tracker.scalar("losses/explained_variance", explained.item(), global_step)
            for name, number in (cbp.summary() if cbp is not None else {}).items():
                tracker.scalar(f"cbp/{name}", number, global_step)
            if goal is not None:
                for name, number in zip(HINDSIGHT_LOSSES, of_update[len(OF_GRADIENT_STEP) :], strict=True):
                    tracker.scalar(f"her/{name}", number, global_step)
                for name, number in join_relabelling(relabelling, ranks).shares.items():
                    tracker.scalar(f"her/{name}", number, global_step)
                tracker.scalar("her/scale_original", reward_scaler.divisor, global_step)
                tracker.scalar("her/scale_relabelled", her_scaler.divisor, global_step)
            if probe.due() and ranks.is_main:  # the same observations in the whole run: a sample of its first rollout
                timer.lap("logging")
                if probe.observations is None:
                    probe.observations = take_rows(rollout.observations[:steps], choose_rows(steps * N).to(device))
                numbers = {**probe.measure(agent), "gradient_norm": of_update[len(LOSSES)]}
                tracker.scalars({f"plasticity/{name}": number for name, number in numbers.items()}, global_step)
                timer.lap("plasticity")
            evaluations.log(tracker)
            for phase, seconds in timer.take().items():
                tracker.scalar(f"time/{phase}", seconds, global_step)
            stopping, saving = ranks.any(stop.requested or ranks.orphaned, save_clock.due(global_step))
            if saving or stopping or global_step >= total_timesteps:
                where = (global_step, num_switches, last_switch, modification, modification_index)
                save_run(folder, args, parts, Counters(*where, seconds=time.perf_counter() - start_time))
                save_clock.saved(global_step)
            timer.lap("logging")
            if stopping:
                stop.request()
                break

        stop.at_once()  # the run is saved, here a signal ends it
        log_games(tracker, progress, [(global_step, record) for record in envs.cut_games()], ranks)
        final = save_agent(folder / FINAL, tracker, agent, args, global_step, modification, cbp, reward_scaler)
        evaluations.note(global_step, num_switches, modification)
        evaluations.snapshot(agent)
        progress.close()
        envs.close()  # completes the videos
        upload_videos(tracker, folder, global_step)
        if args.test_modifs and ranks.is_main:
            test(args, agent, game, tracker, global_step)
        asked = asked_for(folder, as_plain_dict(args))
        log_continual_metrics(evaluations.finish(tracker), asked, tracker, global_step)
        if ranks.is_main:
            forget_states(folder, keep_last=not has_fixed_length(args))

    if ranks.is_main:
        say_what_there_is(folder, final, game)


def say_what_there_is(folder: Path, final: Path, game: GameConfig) -> None:
    """Draw the returns, then print where everything of a finished run is and the commands that make more of it."""
    picture = folder / "returns.png"
    try:
        from continual_hackatari.reporting.picture import returns_png  # here, because matplotlib loads slowly

        drawn = returns_png(folder)
        if drawn is not None:
            with atomic_path(picture) as temporary:
                temporary.write_bytes(drawn)
    except Exception as error:  # whatever it is, the run is whole
        print(f"warning: no picture of the returns: {type(error).__name__}: {error}")
    print(f"run folder: {folder}")
    for name, path in (("picture:   ", picture), ("evaluated: ", folder / RESULTS)):
        if path.exists():
            print(f"{name} {path}")
    report, script = (os.path.relpath(Path(__file__).with_name(name)) for name in ("report.py", "eval.py"))
    print("report:     " + shlex.join(["python", report, str(folder)]))
    print("evaluate:   " + shlex.join(["python", script, "--agent_path", str(final), "--env_id", game.env_id]))


def evaluate_anew(
    acting_agent: ActingAgent, rollout: Rollout, cuts: list[Cut], steps: int, groups: Sequence[slice]
) -> None:
    """Log-probabilities and values of the rollout's first `steps` rows and of `cuts`, with the present weights.

    For a switch in the middle of a rollout at which something has changed the weights. The update starts from the new
    ones, and PPO holds it near the policy whose log-probabilities are stored. Were those the old policy's, it would
    begin far from it: shrinking by 0.7 is a KL divergence of 0.43 for a policy that plays well, so that nearly every
    earlier row is clipped, or, with a negative advantage and a ratio above the range, pushes without a bound. Now every
    ratio starts at 1. The price: the earlier actions are the old policy's, and count as if the new one had chosen them.

    It costs what acting in these steps did (no emulation). Rows are computed in the groups that acted, not in larger
    batches, so that weights that did not change give the same bits. The second half of hindsight comes later anyway.
    """
    for t in range(steps):
        for games in groups:
            log_probs, values = acting_agent.evaluate(rollout.observations[t, games], rollout.actions[t, games])
            rollout.log_probs[t, games], rollout.values[t, games] = log_probs, values
    cuts[:] = [(t, games, seen, acting_agent.value(seen)) for t, games, seen, _ in cuts]


def rollout_advantages(
    rewards: Tensor,
    values: Tensor,
    last_values: Tensor,
    cuts: Sequence[Cut],
    terminated: Tensor,
    done: Tensor,
    gamma: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:
    """Advantages and returns [T, M] of a rollout, or of some columns of it that have rewards of their own.

    rewards [T, M] are scaled; values, terminated and done [T, M] are those of `Rollout`. last_values [M] are of the
    observations after the last step. cuts: the steps whose episode something ended from outside; their columns count
    among these M. See `generalised_advantages`, which raises AgentError when shapes differ.
    """
    next_values = torch.cat([values[1:], last_values.unsqueeze(0)])
    for t, columns, _, of_last_observation in cuts:
        next_values[t, torch.from_numpy(columns).to(values.device)] = of_last_observation
    return generalised_advantages(rewards, values, next_values, terminated, done, gamma, gae_lambda)


def minibatch_step(
    args: Args,
    agent: ActorCritic,
    optimizer: torch.optim.Optimizer,
    autocast: torch.autocast,
    rollout: Rollout,
    rows: Tensor,
    cbp: ContinualBackprop | None = None,
    ranks: Ranks = ALONE,
) -> Tensor:
    """One gradient step on the rows `rows` of the rollout, then one of `cbp`; returns `OF_GRADIENT_STEP`, [7].

    With several processes the minibatch is the union of their rows, of which each has equally many: statistics, the
    gradient and what is returned are those of the union.
    """
    num_envs = rollout.observations.shape[1]
    advantage, returns = rollout.advantages.flatten()[rows], rollout.returns.flatten()[rows]
    old_values, old_log_probs = rollout.values.flatten()[rows], rollout.log_probs.flatten()[rows]
    features: list[Tensor] = []
    actions = rollout.actions.flatten()[rows]
    if rollout.goals is None or rollout.relabelled is None:
        observations = take_rows(rollout.observations, rows)
    else:
        relabelled = rollout.relabelled.flatten()[rows]
        observations = take_rows(rollout.observations, frame_rows(rows, num_envs))
        show_goals(observations, rollout.goals.flatten(0, 1)[rows])
    with autocast:
        if isinstance(agent, PPOCBP):
            _, log_probs, entropy, values, features = agent.get_action_value_and_features(observations, actions)
        else:
            _, log_probs, entropy, values = agent.get_action_and_value(observations, actions)
    log_ratio = log_probs - old_log_probs
    ratio = log_ratio.exp()
    if args.norm_adv:
        advantage = ranks.join(advantage)
        if rollout.goals is not None:
            advantage = normalise_halves(advantage, ranks.join(relabelled))
        elif len(advantage) > 1:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        advantage = ranks.own(advantage)
    if rollout.weights is not None:
        advantage = advantage * rollout.weights.flatten()[rows]
    clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
    policy_error = torch.max(-advantage * ratio, -advantage * clipped)
    value_error = (values - returns) ** 2
    if args.clip_vloss:
        change = (values - old_values).clamp(-args.clip_coef, args.clip_coef)
        value_error = torch.max(value_error, (old_values + change - returns) ** 2)
    weight = torch.ones_like(advantage)
    if rollout.goals is not None:
        weight = torch.where(relabelled, args.her_weight, weight)
        weight = weight / ranks.join(weight).mean().clamp(min=1e-8)  # 0 where there are only rows that do not count
    policy_loss, value_loss = (weight * policy_error).mean(), 0.5 * (weight * value_error).mean()
    loss = policy_loss - args.ent_coef * entropy.mean() + args.vf_coef * value_loss
    with torch.no_grad():
        approx_kl = ((ratio - 1) - log_ratio).mean()  # http://joschu.net/blog/kl-approx.html
        clipfrac = ((ratio - 1.0).abs() > args.clip_coef).float().mean()
        numbers = [value_loss, policy_loss, entropy.mean(), -log_ratio.mean(), approx_kl, clipfrac]
        if rollout.goals is not None:
            halves = ranks.join(relabelled)
            numbers += means_of_halves(ranks.join(policy_error), halves)
            numbers += means_of_halves(ranks.join(0.5 * value_error), halves)
        losses = torch.stack(numbers)

    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    losses = ranks.mean_gradients(agent, losses)
    gradient_norm = nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
    optimizer.step()
    if cbp is not None:
        cbp.step(features)  # replaces units of low utility: outputs of this forward pass, weights after this step
    return torch.cat([losses[: len(LOSSES)], gradient_norm.reshape(1), losses[len(LOSSES) :]])


def prepare(argv: Sequence[str] | None, ranks: Ranks = ALONE) -> Setup:
    """Read the command line and the config file and check all of it; print what a user should know.

    Raises:
        USER_ERRORS: one sentence; nothing was started or written.
    """
    args, saved = ranks.from_main(lambda: read_settings(argv, ranks))
    return ranks.main_first(lambda: check_settings(args, saved, ranks))


def read_settings(argv: Sequence[str] | None, ranks: Ranks) -> tuple[Args, dict[str, Any] | None]:
    """The settings of a new run, or those and the state of the run to go on with; without one, of a finished run.

    Raises SystemExit(0) for a finished run that is asked for nothing.
    """
    args, saved = parse_command_line(Args, argv, description=__doc__, gone=GONE), None
    interrupted = folder_of_job("runs", ranks.job) if ranks.restarts else None
    if ranks.job and not ranks.restarts:
        forget_job("runs", ranks.job)
    if args.resume:
        args, saved, lines = settings_of_run(args.resume, argv)
    elif interrupted is not None and (can_go_on(interrupted) or (interrupted / FINAL).exists()):
        args, saved, lines = settings_of_run(str(interrupted), ["--resume", str(interrupted)])
        lines.insert(0, f"torchrun has started the job anew: it goes on in {interrupted}")
    else:
        given = given_flags(Args, argv)
        args, lines = apply_config_file(args, args.config, given, GONE) if args.config else (args, [])
    print(*lines, sep="\n", end="\n" if lines else "", flush=True)
    if args.resume and saved is None and not args.test_modifs:
        raise SystemExit(0)
    return args, saved


def check_settings(args: Args, saved: dict[str, Any] | None, ranks: Ranks) -> Setup:
    """Check everything that a user can get wrong; `prepare` after the settings are read."""
    check_ranges(args, RANGES)
    if not ranks.alone or saved is not None:
        check_ranks(args, saved, ranks)
    if args.batch_size % args.num_minibatches:
        raise ConfigError(
            f"`num_minibatches` {args.num_minibatches} does not divide the batch of num_envs * num_steps = "
            f"{args.num_envs} * {args.num_steps} = {args.batch_size} rows; choose a divisor of it"
        )
    before = from_plain_dict(Args, saved["args"]) if saved is not None else args if args.resume else None
    check_belongings(args, BELONGINGS, before)
    if args.her and saved is not None and "her_scaler" not in saved:
        raise ResumeError(
            f"`resume`: the run in `{args.resume}` has one scale for the rewards of both halves of hindsight, by which "
            "the game's own came to next to nothing, and that cannot be undone; start it anew"
        )

    game, notes = choose_game(args)
    args = replace(args, **game.chosen)  # what the defaults stand for, so that a checkpoint says it
    check_architecture(args.architecture)
    check_continual_backprop(
        args.replacement_rate, args.maturity_threshold, args.decay_rate, args.utility, args.init, args.count
    )
    if args.cuda_graphs and args.architecture == "PPO_CBP":
        raise ConfigError(
            "`cuda_graphs` replays the same operations in every gradient step, but PPO_CBP decides in each one which "
            "units to replace; leave one of the two out"
        )
    if args.cuda_graphs and args.detect_anomaly:
        raise ConfigError(
            "`detect_anomaly` looks at every operation, which `cuda_graphs` replays unseen; leave one out"
        )
    if (args.obs_mode == "obj") != (args.architecture == "PPO_OBJ"):
        raise ConfigError(
            f"`architecture` {args.architecture} does not fit `obs_mode` {args.obs_mode}; "
            "PPO_OBJ goes with `--obs_mode obj`, the others with `--obs_mode dqn`"
        )
    schedule, lines = choose_schedule(args, game)
    notes += lines
    if args.switch_mode == "live":
        strings = [canonical(string, game) for string in schedule.possible_modifications()]
        notes += filter(None, [waiting_note(game, strings)])
    if args.test_modifs:
        notes += choose_modifications("test_modifs", args.test_modifs, game)[1]
    evaluated_games = args.eval_episodes * len(args.test_modifs.split(",")) if args.test_modifs else 0
    plan: Plan | None = None
    if evaluates_continually(args):
        plan, games, lines = plan_continual_evaluation(args, saved, schedule, game)
        evaluated_games += games
        notes += lines
    notes += filter(None, [regime_warning(schedule, args.num_envs, args.total_timesteps, args.switch_mode)])
    if args.anneal_lr and not args.anneal_lr_per_regime:
        notes += filter(None, [decay_note(schedule, args.total_timesteps)])

    device = torch.device("cuda" if args.cuda and torch.cuda.is_available() else "cpu")
    if device.type == "cuda" and not ranks.alone:
        device = torch.device("cuda", ranks.local_rank)
    if args.cuda and device.type == "cpu":
        notes.append("no GPU found: training on the CPU")
    precision, line = choose_precision(args.amp, device)
    notes.append(line)
    # What `auto` chose holds for the whole run, on whatever machine it goes on.
    args = replace(args, amp="off" if precision == torch.float32 else "bf16")
    check_memory(replace(args, num_envs=args.num_envs // ranks.size), game, device)  # what each process needs
    if args.torch_deterministic:
        torch.backends.cudnn.deterministic = True
    if args.track and ranks.is_main:
        check_wandb()
    if saved is not None:
        notes += what_is_not_exact(saved, device)
    elif evaluated_games and ranks.is_main:
        notes.append(cost_of_games(evaluated_games, game, args))
    if not ranks.alone:
        notes.append(f"{ranks.size} processes of torchrun, {args.num_envs // ranks.size} games each")
    total_timesteps = args.total_timesteps or schedule.num_total_steps
    setup = Setup(args, schedule, total_timesteps, game, device, precision, saved, ranks, plan)
    if setup.finished:  # all else is about training
        notes = choose_modifications("test_modifs", args.test_modifs, game)[1]
    print(*dict.fromkeys(notes), sep="\n", end="\n" if notes else "")
    return setup


def choose_game(args: Args) -> tuple[GameConfig, list[str]]:
    """The game that these settings describe, and lines for the user.

    Raises:
        GameError: unknown game or backend, or a combination that cannot work.
    """
    return game_config(
        args.env_id,
        backend=args.backend,
        obs_mode=args.obs_mode,
        frameskip=args.frameskip,
        window=args.buffer_window_size,
        episodic_life=not args.deactivate_episodic_life,
        game_start=args.game_start,
        fire_reset=args.fire_reset,
        max_pool=args.max_pool,
        sticky=args.sticky,
        time_limit=args.time_limit,
        reward_file=args.new_rf,
        goal_kind=goal_kind(args.her, args.game_specific_goals),
        seed=args.seed,
    )


def choose_schedule(args: Args, game: GameConfig) -> tuple[Any, list[str]]:
    """The schedule of these settings, and lines for the user about its modifications.

    Raises:
        ScheduleError: a class or an argument of it is wrong.
        ModificationError: the game cannot play a name; it says where that stands.
    """
    has_schedule, kwargs = bool(args.modification_factory), args.modification_factory_kwargs
    schedule = schedule_from_config(
        {"modification_factory": args.modification_factory, "modification_factory_kwargs": kwargs},
        seed=args.seed,
        total_timesteps=args.total_timesteps or (None if has_schedule else 10_000_000),
        modifs=args.modifs,
    )
    strings = schedule.possible_modifications()
    for name in dict.fromkeys(name for string in strings for name in string.split()):
        key = key_of(kwargs, name, "modification_factory_kwargs") or "modification_factory"
        check_string(game, name, key if has_schedule else "modifs")
    return schedule, [line for string in strings for line in check_string(game, string)[1]]


def check_file(path: str | Path) -> list[str]:
    """Check keys and names of a config file as a run with it would, whatever its flags; lines for the user.

    Raises:
        USER_ERRORS: one sentence.
    """
    args, _ = apply_config_file(Args(), path, gone=GONE)
    check_ranges(args, RANGES)
    game, notes = choose_game(args)
    notes += choose_schedule(args, game)[1]
    if args.test_modifs:
        notes += choose_modifications("test_modifs", args.test_modifs, game)[1]
    for name in ("eval_modifs", "held_out_modifs"):
        notes += canonical_strings(name, getattr(args, name), game)[1]
    return list(dict.fromkeys(notes))


def check_ranks(args: Args, saved: dict[str, Any] | None, ranks: Ranks) -> None:
    """Raise ConfigError or ResumeError unless this number of processes can do what is asked for."""
    size = ranks.size
    before = 1 if saved is None else 1 + len(saved.get("other_ranks", []))
    if saved is not None and before != size:
        start = "without torchrun" if before == 1 else f"with torchrun and {before} processes"
        raise ResumeError(
            f"`resume`: the run in `{args.resume}` is one of {before} process{'es' * (before > 1)} and this job has "
            f"{size}; start it {start}"
        )
    if args.num_envs % size:
        raise ConfigError(
            f"`num_envs` {args.num_envs} games cannot be shared equally among the {size} processes of torchrun; choose "
            f"a multiple of {size}"
        )
    if args.batch_size // size % args.num_minibatches:
        raise ConfigError(
            f"`num_minibatches` {args.num_minibatches} does not divide the {args.batch_size // size} rows of each of "
            f"the {size} processes (num_envs * num_steps / {size}); choose a divisor of that"
        )
    if args.cuda_graphs and size > 1:
        raise ConfigError(
            "`cuda_graphs` replays gradient steps without the other processes of torchrun; leave out one of the two"
        )
    if args.cuda and torch.cuda.is_available() and ranks.local_size > torch.cuda.device_count():
        raise ConfigError(
            f"`cuda`: torchrun has started {ranks.local_size} processes on this machine, which has "
            f"{torch.cuda.device_count()} GPUs, and each needs its own; start fewer, or add `--no-cuda`"
        )


def check_memory(args: Args, game: GameConfig, device: torch.device) -> None:
    """Raise ConfigError for a run that cannot fit the memory, instead of the crash in which it would end.

    The estimate is too small rather than too large: observations of a rollout, the first layer over a minibatch of
    them, and weights with their gradients and Adam's two averages.
    """
    pixels = 84 * 84
    if args.obs_mode == "dqn":
        planes = game.window + game.num_goals
        rows = args.batch_size * planes * pixels
        minibatch = args.minibatch_size * (2 if args.her else 1) * planes * pixels * 4
        sizes: list[int] = []
    else:
        rows, minibatch = args.batch_size * game.window * 4, 0
        decoder_input = game.window * (args.encoder_dims or (1,))[-1]
        sizes = [inputs * outputs for inputs, outputs in pairwise(args.encoder_dims)]
        sizes += [inputs * outputs for inputs, outputs in pairwise((decoder_input, *args.decoder_dims))]
    needed, present = rows + minibatch + 16 * sum(sizes), memory_of(device.type)
    if present is not None and needed > present:
        layers = "`encoder_dims`, `decoder_dims`, " if sizes else ""
        raise ConfigError(
            f"the run needs at least {needed / 2**30:,.0f} GiB of memory for its rollouts and its network, but there "
            f"are {present / 2**30:,.0f}; choose smaller {layers}`num_envs`, `num_steps` or `buffer_window_size`"
        )


def evaluates_continually(args: Args) -> bool:
    """Whether the run is evaluated while it trains."""
    return args.eval_every is not None or bool(args.eval_modifs or args.held_out_modifs)


def plan_continual_evaluation(
    args: Args, saved: dict[str, Any] | None, schedule: Any, game: GameConfig
) -> tuple[Plan, int, list[str]]:
    """What is evaluated while the run trains, how many games that is, and lines for the user.

    Raises:
        ConfigError: what is held out is trained on, a string is named twice, or there would be too many evaluations.
        ModificationError: the game cannot play one of them.
    """
    total_timesteps, every = args.total_timesteps or schedule.num_total_steps, args.eval_every or 0
    before = None if saved is None else read_plan(Path(args.resume))
    places = place_evaluations(
        ((start, stop, canonical(string, game)) for start, stop, string in schedule.segments(0, total_timesteps)),
        total_timesteps=total_timesteps,
        num_envs=args.num_envs,
        num_steps=args.num_steps,
        every=every,
        shrink_and_perturb=args.shrink_and_perturb,
    )
    if before is not None:  # the run may have been made longer, all else is as it was
        splits, notes = before.splits, list[str]()
    else:
        # In the order of the file, not of the draw, so that all seeds of a random schedule are evaluated on the same.
        trained_on = [*(canonical(string, game) for string in schedule.possible_modifications()), *places.strings]
        splits, notes = choose_evaluated(args.eval_modifs, args.held_out_modifs, trained_on, game)
    notes.append(
        f"evaluations: {len(places.labels):,}, of which {places.played:,} are played (the others have the same "
        f"weights); each {len(splits)} modification strings x {args.eval_games} games, greedy and sampled"
    )
    plan = Plan(every, args.eval_games, splits, places.labels)
    return plan, 2 * places.played * len(splits) * args.eval_games, notes


def cost_of_games(number: int, game: GameConfig, args: Args) -> str:
    """A line that says how many steps and minutes so many games of evaluation take, by one that is played now."""
    network = (args.architecture, tuple(args.encoder_dims), tuple(args.decoder_dims))
    length, seconds = length_and_seconds(replace(game, seed=0, reward_file=""), *network)
    limit = game.max_num_frames_per_episode // game.frameskip
    return (
        f"cost of the evaluations: {number:,} games, about {number * length:,} steps and "
        f"{math.ceil(number * seconds / 60):,} min of one core, if all are as the one that an untrained agent played "
        f"just now, {length:,} steps at {length / seconds:,.0f} a second; a game may last up to {limit:,}"
    )


@functools.lru_cache
def length_and_seconds(
    game: GameConfig, architecture: str, encoder_dims: tuple[int, ...], decoder_dims: tuple[int, ...]
) -> tuple[int, float]:
    """Steps and seconds of the first game of an untrained agent, or of its first `PROBED_STEPS`."""
    game = replace(game, max_num_frames_per_episode=min(game.max_num_frames_per_episode, PROBED_STEPS * game.frameskip))
    with closing(ModifiedVectorEnv(game, 1, num_workers=0)) as envs:
        shape, num_actions = envs.observation_shape, envs.num_actions
    generator = torch.Generator().manual_seed(0)
    dims = {"encoder_dims": encoder_dims, "decoder_dims": decoder_dims}
    agent = make_agent(architecture, shape, num_actions, **dims, generator=generator)
    how = {"episodes": 1, "seed": 0, "deterministic": False, "num_envs": 1, "num_workers": 0}
    begin = time.perf_counter()
    (record,) = evaluate(agent, game, [""], **how, device=torch.device("cpu"))[""]
    return record.length, time.perf_counter() - begin


def continual_evaluation(
    args: Args, plan: Plan | None, folder: Path, saved: dict[str, Any] | None, progress: ProgressBar, ranks: Ranks
) -> ContinualEvaluation:
    """What evaluates snapshots in another process beside the training; does nothing unless that was asked for.

    On the main rank only: elsewhere it does nothing either.
    """
    script = Path(__file__).with_name("eval.py")
    return ContinualEvaluation(
        folder,
        [sys.executable, str(script), "--run", str(folder), "--follow", str(os.getpid())],
        by_hand=shlex.join(["python", os.path.relpath(script), "--run", str(folder)]),
        args=as_plain_dict(replace(args, resume="")),
        plan=plan if ranks.is_main else None,
        batch_size=args.batch_size,
        resume_step=None if saved is None or not ranks.is_main else saved["counters"]["global_step"],
        logged=() if saved is None else saved.get("evaluations", ()),
        report=progress.write,
    )


def settings_of_run(folder: str, argv: Sequence[str] | None) -> tuple[Args, dict[str, Any] | None, list[str]]:
    """The settings of a stopped run with the changes of the command line, its state, and lines for the user.

    Of a finished run that is not to be made longer the state is None, and `test_modifs` what is asked for now.

    Raises:
        ResumeError: the folder holds nothing to go on from.
        CheckpointError: the agent of a finished run cannot be read.
        ConfigError: a flag would change what has been learned already.
    """
    saved: dict[str, Any] | None = None
    lines: list[str] = []
    if can_go_on(folder) or not (Path(folder) / FINAL).exists():
        saved, lines = load_state(folder)
        missing = [name for name in SAVED if name not in saved]
        if missing:
            raise ResumeError(f"`resume`: the {RESUME} of `{folder}` lacks `{missing[0]}`: it was not written by a run")
        before, step = from_plain_dict(Args, saved["args"]), saved["counters"]["global_step"]
    else:
        final = load_checkpoint(Path(folder) / FINAL)
        before, step = from_plain_dict(Args, final.args), final.global_step or 0
    args = parse_command_line(Args, argv, description=__doc__, default=before)
    if args.amp == "auto":  # has chosen already
        args = replace(args, amp=before.amp)
    for name, old in as_plain_dict(before).items():
        new = as_plain_dict(args)[name]
        if name != "resume" and new != old:
            if name not in CHANGEABLE and not (saved is not None and may_extend(name, args, saved)):
                raise ConfigError(
                    f"`{name}` cannot change in a run that goes on: it was {old!r} and is {new!r} now; with `--resume` "
                    f"leave it out (these may change: {', '.join(CHANGEABLE)})"
                )
            lines.append(f"--resume changes {name}: {old!r} -> {new!r}")
    # Only a run that ended, all of it, has removed the state before the last one.
    ended = saved is None or ((Path(folder) / FINAL).exists() and not (Path(folder) / PREVIOUS).exists())
    if ended and args.total_timesteps == before.total_timesteps:
        asked = parse_command_line(Args, argv, description=__doc__, default=replace(before, test_modifs="")).test_modifs
        line = f"the run in `{folder}` is finished, after {step:,} steps"
        line += "" if asked else " (`--test_modifs` would evaluate its agent)"
        return replace(args, test_modifs=asked), None, [line]
    return args, saved, lines


def may_extend(name: str, args: Args, saved: dict[str, Any]) -> bool:
    """Whether this is a new `total_timesteps`, and neither the learning rate nor a schedule depends on it."""
    longer = (args.total_timesteps or 0) >= saved["counters"]["global_step"]
    return name == "total_timesteps" and not has_fixed_length(args) and longer


def has_fixed_length(args: Args) -> bool:
    """Whether the learning rate or a schedule depends on how long the run is."""
    return args.anneal_lr or bool(args.modification_factory)


def what_is_not_exact(saved: dict[str, Any], device: torch.device) -> list[str]:
    """A line for everything that keeps a continued run from being the uninterrupted one, bit for bit."""
    now = machine(device)
    return [
        f"note: the run was saved with {name} {old} and goes on with {now[name]}: the same run, but not bit for bit"
        for name, old in saved["machine"].items()
        if now[name] != old
    ]


def machine(device: torch.device) -> dict[str, Any]:
    """What arithmetic depends on besides the settings."""
    return {"device": device.type, "threads": torch.get_num_threads(), "torch": str(torch.__version__)}


def continual_backprop(
    args: Args, agent: PPOCBP, optimizer: torch.optim.Optimizer, seed: int, ranks: Ranks
) -> ContinualBackprop:
    """What replaces units of `agent`, with random numbers of its own; the same units on all ranks."""
    return ContinualBackprop(
        agent.cbp_layers(),
        replacement_rate=args.replacement_rate,
        maturity_threshold=args.maturity_threshold,
        decay_rate=args.decay_rate,
        utility=args.utility,
        init=args.init,
        accumulate=args.accumulate,
        count=args.count,
        optimizer=optimizer,
        generator=torch.Generator().manual_seed(seed),
        average=ranks.mean,
    )


def test(args: Args, agent: ActorCritic, game: GameConfig, tracker: Tracker, global_step: int) -> None:
    """Evaluate the final agent under `test_modifs`, as eval.py does; print and log the results."""
    games = evaluate(
        agent,
        game,
        choose_modifications("test_modifs", args.test_modifs, game)[0],
        episodes=args.eval_episodes,
        seed=args.seed,
        deterministic=False,
        num_envs=args.num_envs,
        num_workers=args.num_workers,
        device=next(agent.parameters()).device,
    )
    results = summarise(games, game.env_id, args.seed)
    for result in results:
        tracker.scalar(f"eval/{result.modification or UNMODIFIED}/mean", result.mean, global_step)
    print(table(results))


def test_finished_run(setup: Setup) -> None:
    """What was asked of the agent of a run that has ended, as at its end."""
    args, game, folder = setup.args, setup.game, Path(setup.args.resume)
    if not setup.ranks.is_main:
        return
    final = load_checkpoint(folder / FINAL)
    agent = load_agent(str(folder / FINAL), final, args.architecture, game).to(setup.device)
    agent.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with (
        exclusive(folder),
        Tracker(
            folder,
            csv_files=False,
            track=args.track,
            config=as_plain_dict(args),
            project=args.wandb_project_name,
            entity=args.wandb_entity,
            wandb_dir=args.wandb_dir or None,
            wandb_run_id=final.extra.get("wandb_run_id"),
        ) as tracker,
    ):
        test(args, agent, game, tracker, final.global_step or 0)


def log_continual_metrics(
    results: Sequence[Mapping[str, str]], asked: Asked | None, tracker: Tracker, global_step: int
) -> None:
    """Log what metrics.py computes from the rows of evals.csv as `continual/<metric>`; no rows, no metrics."""
    if not results:
        return
    import pandas as pd  # here, because it loads slowly and most runs do not need it

    from continual_hackatari.metrics import MetricsError, continual_metrics

    try:
        metrics = continual_metrics(pd.DataFrame(results), asked)
    except MetricsError as error:  # somebody changed the file; the run itself is whole
        print(f"warning: no continual metrics: {error}")
    else:
        tracker.scalars({f"continual/{name}": value for name, value in metrics.items()}, global_step)


@functools.lru_cache(maxsize=4096)
def canonical(modification: str, game: GameConfig) -> str:
    """The schedule's string as the games take it: whitespace normalised, old spellings replaced."""
    return check_string(game, normalise_modification(modification))[0]


def annealing_borders(args: Args, schedule: Any, game: GameConfig, total_timesteps: int) -> list[int]:
    """Where the learning rate begins anew, from 0, and the end of the run: the whole run or each of its regimes."""
    if not args.anneal_lr_per_regime:
        return [0, total_timesteps]
    segments = ((start, stop, canonical(name, game)) for start, stop, name in schedule.segments(0, total_timesteps))
    return [*regime_starts(segments, args.num_envs), total_timesteps]


def remaining_share(borders: Sequence[int], step: int, last_step: int) -> float:
    """The part of the learning rate that is left, 1 to 0, for a rollout whose vector steps begin at these two steps.

    Of a rollout that holds a switch it is that of the new regime, which is about to be learned.
    """
    index = bisect_right(borders, last_step) - 1
    start, stop = borders[index], borders[index + 1]
    return 1.0 - max(0, step - start) / (stop - start)


def derive_seeds(seed: int, number: int, *key: int) -> list[int]:
    """Independent seeds for the generators of a run, so that none shifts another; each `key` gives other ones."""
    return [int(word) for word in np.random.SeedSequence(seed, spawn_key=key).generate_state(number)]


def make_scalers(args: Args) -> tuple[RewardScaler, RewardScaler]:
    """Of rewards as played and as relabelled by hindsight; for all ranks' games, on every rank."""
    played, relabelled = (RewardScaler(args.num_envs, args.gamma, args.reward_scaling) for _ in range(2))
    return played, relabelled


def scale_rewards(
    scaler: RewardScaler, rewards: np.ndarray, done: np.ndarray, ranks: Ranks, counted: np.ndarray | None = None
) -> np.ndarray:
    """Scaled rewards float32 [T, N] of this process' games; `counted` bool [T, N] says which enter the statistics.

    Every rank shows the scaler the rewards of all ranks' games, as one process that plays them all would.
    """
    steps, share = rewards.shape
    counted = np.ones(rewards.shape, np.bool_) if counted is None else counted
    everyones = [ranks.join_games(array) for array in (rewards, done, counted)]
    scaled = np.stack([scaler(*(array[t] for array in everyones)) for t in range(steps)])
    return scaled[:, ranks.rank * share : (ranks.rank + 1) * share]


def scale_halves(
    args: Args,
    rewards: np.ndarray,
    done: np.ndarray,
    relabelling: Relabelling,
    played_scaler: RewardScaler,
    her_scaler: RewardScaler,
    ranks: Ranks = ALONE,
) -> np.ndarray:
    """Scaled rewards float32 [T, 2N] of a rollout and its relabelled half, from the game's own and `done`, [T, N].

    Each half has its own scaler; with `her_rewards` `game` the first half is what there would be without hindsight.
    """
    played, relabelled = goal_rewards(rewards, relabelling, args.her_rewards)
    as_played = scale_rewards(played_scaler, played, done, ranks)
    anew = scale_rewards(her_scaler, relabelled, relabelling.ends, ranks, counted=relabelling.changed)
    return np.hstack([as_played, np.where(relabelling.changed, anew, as_played)])


def fill_relabelled_half(
    args: Args,
    rollout: Rollout,
    goal: Goal,
    acting_agent: ActingAgent,
    done: np.ndarray,
    last: Tensor,
    cuts: list[Cut],
) -> Relabelling:
    """Fill the columns N to 2N - 1 of the first T steps of a rollout: what was played, under the goals it reached.

    done: bool [T, N]. last: the N observations after the rollout. cuts: (t, games, their last observations, values),
    where play was cut; added to it are the same of the columns from N on, and what follows their step T - 1.
    """
    assert rollout.goals is not None
    assert rollout.relabelled is not None
    steps, games = done.shape
    played, second, device = np.s_[:steps, :games], np.s_[:steps, games:], rollout.goals.device
    failures_only = args.her_relabel == "failures"
    relabelling = relabel(rollout.achieved[:steps], done, goal.target, goal.reached, failures_only)
    rollout.relabelled[second] = changed = to_device(relabelling.changed, device)
    rollout.goals[second] = to_device(goal.grey(relabelling.goals), device)
    rollout.actions[second] = rollout.actions[played]
    new = reevaluate(
        acting_agent.evaluate,
        rollout.observations[:steps].flatten(0, 1),
        rollout.actions[second].flatten(),
        rollout.goals[second].flatten(0, 1),
    )
    for of_rows, anew in zip((rollout.log_probs, rollout.values), new, strict=True):
        of_rows[second] = torch.where(changed, anew.view(steps, games), of_rows[played])
    for t, ended, seen, _ in [(steps - 1, np.arange(games), last, last), *cuts]:
        seen = show_goals(seen.clone(), rollout.goals[t, games + torch.from_numpy(ended).to(device)])
        cuts.append((t, games + ended, seen, acting_agent.value(seen)))
    if rollout.weights is not None:
        rollout.weights[second] = importance_weights(
            rollout.log_probs[second], rollout.log_probs[played], args.her_importance_clip
        )
    return relabelling


def join_relabelling(relabelling: Relabelling, ranks: Ranks) -> Relabelling:
    """That of all ranks' games, for its shares."""
    goals, *flags = relabelling
    return Relabelling(goals, *(ranks.join_games(array) for array in flags))


def open_games(args: Args, game: GameConfig, ranks: Ranks = ALONE) -> VectorGames:
    """This process' games, in two groups, so that one is emulated while the agent thinks about the other."""
    share, num_workers = args.num_envs // ranks.size, args.num_workers
    if num_workers is None and not ranks.alone:
        num_workers = max(1, available_cores() // ranks.local_size)
    return ModifiedVectorEnv(
        game,
        share,
        first_env=ranks.rank * share,
        total_envs=args.num_envs,
        num_workers=num_workers,
        num_groups=min(2, share),
        copy=False,
        worker_timeout=args.worker_timeout,
    )


def empty_rollout(args: Args, envs: VectorGames, device: torch.device) -> Rollout:
    """Storage for one rollout; frames stay uint8, a quarter of the memory of floats."""
    steps = (args.num_steps, envs.num_envs)
    rows = (args.num_steps, envs.num_envs * (2 if args.her else 1))
    shape, goal = envs.observation_shape, envs.config.goal
    if args.obs_mode == "dqn":  # channels last, [T, N, 84, 84, planes] in memory: the layout that convolutions want
        planes, height, width = shape
        observations = torch.zeros((*steps, height, width, planes), dtype=torch.uint8, device=device)
        observations = observations.permute(0, 1, 4, 2, 3)
    else:
        observations = torch.zeros((*steps, *shape), device=device)
    goals = None if goal is None else to_device(goal.grey(goal.target), device).expand(*rows, -1).clone()
    return Rollout(
        observations=observations,
        actions=torch.zeros(rows, dtype=torch.int64, device=device),
        log_probs=torch.zeros(rows, device=device),
        values=torch.zeros(rows, device=device),
        advantages=torch.zeros(rows, device=device),
        returns=torch.zeros(rows, device=device),
        rewards=np.zeros(steps),
        terminated=np.zeros(steps, np.bool_),
        done=np.zeros(steps, np.bool_),
        achieved=np.zeros((*steps, envs.config.num_goals), np.float32),
        goals=goals,
        weights=torch.ones(rows, device=device) if args.her_importance_clip else None,
        relabelled=None if goal is None else torch.zeros(rows, dtype=torch.bool, device=device),
    )


def take_rows(observations: Tensor, rows: Tensor) -> Tensor:
    """Copies of some rows of `[T, N, ...]` observations, `[B, ...]`; in the memory's order, seven times faster."""
    if observations.dim() == 5:  # frames lie channels last
        return observations.permute(0, 1, 3, 4, 2).flatten(0, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return observations.flatten(0, 1).index_select(0, rows)


def pin(array: np.ndarray) -> None:
    """Lock the array's memory, which the emulators write to, so that a GPU copies from it without waiting."""
    status = torch.cuda.cudart().cudaHostRegister(array.ctypes.data, array.nbytes, 0)
    if int(status) != 0:
        print(f"note: the observations could not be pinned (CUDA status {int(status)}); copies to the GPU are slower")


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A copy of `array` as a tensor."""
    return torch.tensor(array, device=device)


def new_run_folder(args: Args, game: GameConfig) -> Path:
    """Create the folder of a new run."""
    return create_run_folder(
        "runs",
        env_id=game.env_id,
        seed=args.seed,
        exp_name=args.exp_name,
        architecture=args.architecture,
        shrink_and_perturb=args.shrink_and_perturb,
    )


@contextlib.contextmanager
def saying_how_to_resume(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Print the command that goes on with the run when it ends before its time."""
    try:
        yield
    except BaseException:  # an error, a signal
        if can_go_on(folder):
            start = ["python"] if ranks.alone else ["torchrun", f"--nproc_per_node={ranks.local_size}"]
            if ranks.local_size < ranks.size:
                start.append(f"--nnodes={ranks.size // ranks.local_size}")
            print("resume:     " + shlex.join([*start, os.path.relpath(__file__), "--resume", str(folder)]), flush=True)
        raise


def save_run(folder: Path, args: Args, parts: Parts, counters: Counters) -> None:
    """Write `resume.pt`: everything that the run needs to go on from here.

    The main rank writes it, with what the others have of their own: their games and generators.

    Raises:
        CheckpointError: it could not be written.
        RanksError: the ranks do not have the same weights any more.
    """
    parts.ranks.require_alike(parts.agent)
    generators, envs = generator_states(parts.generators), parts.envs.get_state()
    of_all_ranks = parts.ranks.gather([{"generators": generators, "envs": envs}])
    if not parts.ranks.is_main:
        return
    try:
        files = parts.tracker.save(counters.global_step)
    except OSError as error:
        raise CheckpointError(f"`{folder}` cannot be written any more: {error.strerror or error}.") from error
    state = {
        "args": as_plain_dict(replace(args, resume="")),
        "machine": machine(next(parts.agent.parameters()).device),
        "counters": counters._asdict(),
        "agent": parts.agent.state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "continual_backprop": None if parts.cbp is None else parts.cbp.state_dict(),
        "reward_scaler": parts.reward_scaler.state_dict(),
        "her_scaler": parts.her_scaler.state_dict(),
        "plasticity": parts.probe.state_dict(),
        "generators": generators,
        "envs": envs,
        "other_ranks": of_all_ranks[1:],
        "tracker": files,
        "progress": {"initial_step": counters.global_step, "recent_returns": parts.progress.recent_returns},
        "evaluations": parts.evaluations.state_dict(),
    }
    save_state(folder, state)


def restore(parts: Parts, saved: dict[str, Any], videos: Path | None) -> Counters:
    """Put everything that `save_run` saved in its place; videos that were being made are made again in `videos`."""
    parts.agent.load_state_dict(saved["agent"])
    settings = [{k: v for k, v in group.items() if k != "params"} for group in parts.optimizer.param_groups]
    parts.optimizer.load_state_dict(saved["optimizer"])
    for group, own in zip(parts.optimizer.param_groups, settings, strict=True):
        group.update(own)  # the learning rate may be a tensor that others hold, and the device another one
    if parts.cbp is not None:
        parts.cbp.load_state_dict(saved["continual_backprop"])
    parts.reward_scaler.load_state_dict(saved["reward_scaler"])
    if "her_scaler" in saved:  # runs without hindsight did not always save it
        parts.her_scaler.load_state_dict(saved["her_scaler"])
    if "plasticity" in saved:  # it was not always saved; then the probe is of the first rollout from here
        parts.probe.load_state_dict(saved["plasticity"], next(parts.agent.parameters()).device)
    own = saved if parts.ranks.is_main else saved["other_ranks"][parts.ranks.rank - 1]
    parts.envs.set_state(own["envs"], videos)
    set_generator_states(parts.generators, own["generators"])
    return Counters(**saved["counters"])


@contextlib.contextmanager
def stopping_if_not_finite(
    args: Args, folder: Path, parts: Parts, losses: list[Tensor], global_step: int, modification: str
) -> Iterator[None]:
    """Around an update: where it breaks the agent, save what it was before and end the run.

    Raises:
        NotFiniteError: a loss or a weight is NaN or infinite.
    """
    agent, optimizer, cbp = parts.agent, parts.optimizer, parts.cbp
    before = copy.deepcopy((agent.state_dict(), optimizer.state_dict()))
    cbp_before = None if cbp is None else cbp.state_dict()
    problem = ""
    try:
        with torch.autograd.set_detect_anomaly(args.detect_anomaly):
            yield
        problem = not_finite(losses, OF_GRADIENT_STEP + HINDSIGHT_LOSSES, agent)
    except RuntimeError as error:
        if not args.detect_anomaly or "returned nan values" not in str(error):
            raise
        problem = f"the gradient in gradient step {len(losses) + 1}, {error}"
    if problem:
        agent.load_state_dict(before[0])
        optimizer.load_state_dict(before[1])
        if cbp is not None and cbp_before is not None:
            cbp.load_state_dict(cbp_before)
        path = folder / f"before_update_step{global_step}.cleanrl_model"
        save_agent(path, parts.tracker, agent, args, global_step, modification, cbp, parts.reward_scaler)
        kept = f"the agent before it is in `{path}`; " if path.exists() else ""
        raise NotFiniteError(
            f"the update after step {global_step} is not finite: {problem}; {kept}"
            "try a lower `learning_rate`, or look closer with `--resume` and `--detect_anomaly`"
        )


def open_tracker(args: Args, folder: Path, saved: dict[str, Any] | None, ranks: Ranks) -> Tracker:
    """Start W&B (if tracked), TensorBoard and the CSV files of this run, or go on with them; on the main rank only."""
    if not ranks.is_main:
        return Tracker(folder, active=False)
    files = None if saved is None else saved["tracker"]
    try:
        if files is not None:
            remove_leftovers(folder)
        tracker = Tracker(
            folder,
            track=args.track,
            config=as_plain_dict(args),
            project=args.wandb_project_name,
            entity=args.wandb_entity,
            wandb_dir=args.wandb_dir or None,
            wandb_run_id=files and files["wandb_run_id"],
            saved=files,
        )
        step = 0 if saved is None else saved["counters"]["global_step"]
        write_args(folder, {**as_plain_dict(replace(args, resume="")), **made_by(folder, step)})
        if ranks.job:
            write_job(folder, ranks.job)
    except OSError as error:
        raise ConfigError(f"the run folder `{folder}` cannot be written: {error.strerror or error}") from None
    return tracker


def log_games(
    tracker: Tracker, progress: ProgressBar, finished: Sequence[tuple[int, GameRecord]], ranks: Ranks
) -> None:
    """One row of episodes.csv per game that ended on any rank, in the order in which one process would see them end."""
    for global_step, game in sorted(ranks.gather(finished), key=lambda item: (item[0], item[1].cut, item[1].env)):
        tracker.episode(
            {
                "global_step": global_step,
                "env": game.env,
                "modification": game.modification,
                "return": game.score,
                "length": game.length,
                "lives": game.lives,
                "cut": game.cut,
                "live_switches": game.live_switches,
            }
        )
        if not game.cut:
            progress.game(game.score)


def save_agent(
    path: Path,
    tracker: Tracker,
    agent: nn.Module,
    args: Args,
    global_step: int,
    modification: str,
    cbp: ContinualBackprop | None,
    reward_scaler: RewardScaler,
) -> Path:
    """Write a checkpoint, with PPO_CBP's records and its optimizer, and upload it where that was asked for.

    Only where the tracker is active: in the process that writes.
    """
    if not tracker.active:
        return path
    extra = {}
    if cbp is not None and cbp.optimizer is not None:
        extra = {"continual_backprop": cbp.state_dict(), "optimizer": cbp.optimizer.state_dict()}
    save_checkpoint(
        path,
        model_weights=agent.state_dict(),
        args=as_plain_dict(replace(args, resume="")),
        global_step=global_step,
        modification=modification,
        wandb_run_id=tracker.wandb_run_id,
        reward_variance=reward_scaler.variance,  # without it nobody knows the unit of the values
        **extra,
    )
    if args.save_agent_wandb:
        tracker.save_artifact(path, f"{path.parent.name}-{path.stem}")
    return path


def switch_checkpoint(folder: Path, number: int, global_step: int, modification: str) -> Path:
    """Where the agent of the regime of `modification` is saved at the switch that ends it."""
    return folder / f"switch_{number}_step{global_step}_{slug(modification)}.cleanrl_model"


def video_path(folder: Path, global_step: int, modification: str) -> Path:
    """Where the first game after a switch is recorded, without suffix."""
    return folder / "videos" / f"step{global_step:09d}_{slug(modification)}"


def upload_videos(tracker: Tracker, folder: Path, global_step: int) -> None:
    """Send the run's finished videos to W&B."""
    for path in sorted((folder / "videos").glob("*.mp4")):
        tracker.video(path, f"videos/{path.stem}", global_step)


if __name__ == "__main__":
    end_on_interrupt()
    main()
