"""Train by Progress & Compress on an Atari game that changes on a schedule: learn it anew, then keep what was learned.

    python continual_progress_compress.py --config run_config.json
    python continual_progress_compress.py --config run_config.json --progress_steps 500000

    python continual_progress_compress.py --resume runs/<folder of a stopped run>
    torchrun --nproc_per_node 2 continual_progress_compress.py --config run_config.json

This file is the algorithm; read `train` from top to bottom, then `progress_loss` and `compress_loss`. Its phases carry
the banners of continual_training_example.py: RESUME, SWITCH, ROLLOUT, UPDATE, LOG + CHECKPOINT. What surrounds any
training is in `training/`, the network in `agents/two_columns.py`, what holds the knowledge base in
`methods/online_ewc.py`. docs/methods/progress-and-compress.md says what the method is and how it differs from others of
its name.
"""

from __future__ import annotations

import os

# As in continual_training_example.py: threads that spin would steal the emulators' cores. Before torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

from continual_hackatari.training.signals import end_on_interrupt

if __name__ == "__main__":
    end_on_interrupt(at_once=True)

from continual_hackatari.training.system import check_system

check_system()  # before anything imports OpenCV

import functools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from continual_hackatari.agents import TWO_COLUMNS, RewardScaler, TwoColumns, make_agent
from continual_hackatari.agents.acceleration import ActingAgent, put_channels_last
from continual_hackatari.agents.actor_critic import divergence
from continual_hackatari.agents.restartable_rmsprop import RestartableRMSprop
from continual_hackatari.methods.moments import MOMENTS
from continual_hackatari.methods.online_ewc import OnlineEWC
from continual_hackatari.methods.together import NO_METHODS, Methods
from continual_hackatari.reporting.words import counted
from continual_hackatari.training import scripts
from continual_hackatari.training import setup as setups
from continual_hackatari.training.annealing import annealing_borders, set_learning_rate
from continual_hackatari.training.config import Belonging, ConfigError, Range
from continual_hackatari.training.ranks import ALONE, Ranks
from continual_hackatari.training.rollouts import (
    Cut,
    act,
    bytes_of_rows,
    collect,
    empty_rollout,
    pin,
    scale_rewards,
    to_device,
)
from continual_hackatari.training.run import Run, derive_seeds
from continual_hackatari.training.run_methods import files_of, make_methods, played
from continual_hackatari.training.settings import LARGE, MANY, Rule, RunSettings
from continual_hackatari.training.settings import RULES as RUN_RULES
from continual_hackatari.training.setup import Script, Setup
from continual_hackatari.training.unrolls import Unrolls, played_unrolls, trace
from continual_hackatari.wrappers.config import GameConfig


@dataclass
class Args(RunSettings):
    exp_name: str = "continual_progress_compress"
    """name of the experiment, part of the run folder's name"""

    # Progress & Compress. Of Schwarz et al. 2018, https://arxiv.org/abs/1805.06370; the shares are those of CORA.
    progress_share: float = 0.5
    """part of each regime, from its start on, in which the active column learns to play; in the rest the knowledge base
    learns to play as it does"""
    progress_steps: int = 0
    """agent steps of that part, as many in every regime (0: progress_share says it)"""
    distill_policy: float = 1.0
    """weight of the divergence of the knowledge base's policy from the active column's"""
    distill_value: float = 0.005
    """weight of the squared difference of their values"""
    ewc_strength: float = 1.0
    """how strongly weights of the knowledge base are held where earlier regimes left them, as of the method online_ewc
    (0: not at all)"""
    ewc_decay: float = 0.99
    """what is left of the Fisher information of earlier regimes when another one ends"""
    ewc_samples: int = 1024
    """the last observations of a regime, from which its Fisher information is measured (of each process)"""

    # V-trace. The numbers are those of continual_clear.py, and of CORA's configurations for Atari (Powers et al. 2021,
    # https://arxiv.org/abs/2110.10067); there 32 unrolls make an update.
    num_envs: int = 16
    """games played in parallel (with torchrun: by all of its processes together)"""
    num_steps: int = 20
    """agent steps per game between two updates: the length of an unroll"""
    learning_rate: float = 4e-4
    """step size of RMSProp, of both columns"""
    rms_alpha: float = 0.99
    """decay of RMSProp's average of squared gradients"""
    rms_eps: float = 0.01
    """added to the root of that average"""
    anneal_lr: bool = False
    """decrease the learning rate linearly to zero within each phase, from the full rate at its start"""
    gamma: float = 0.99
    """discount factor"""
    rho_bar: float = 1.0
    """bound of the probability ratios by which errors count"""
    c_bar: float = 1.0
    """bound of the probability ratios by which errors reach earlier steps"""
    vtrace_lambda: float = 1.0
    """factor on these ratios: less looks less far ahead"""
    ent_coef: float = 0.01
    """weight of the entropy bonus"""
    vf_coef: float = 0.5
    """weight of the value loss"""
    max_grad_norm: float = 40.0
    """gradients are clipped to this global norm, those of each column by themselves"""
    reference_rows: int = 640
    """losses are summed over the rows of an update as if so many of them were new, whatever num_envs and num_steps:
    learning rate, rms_eps and max_grad_norm are made for 32 unrolls of 20 steps"""
    reward_scaling: Literal["clip", "normalize", "none"] = "clip"
    """keep only the sign of rewards (clip), divide them by the running deviation of the return, or leave them"""

    # agent
    architecture: Literal["TWO_COLUMNS"] = "TWO_COLUMNS"
    """a knowledge base and an active column, each the network of the PPO script"""
    obs_mode: Literal["dqn"] = "dqn"
    """what the agent sees: grey 84 x 84 frames"""

    @property
    def chosen_methods(self) -> dict[str, Any]:
        """Online EWC, which holds the knowledge base, and what `methods` names."""
        held = OnlineEWC.Settings(self.ewc_strength, self.ewc_decay, self.ewc_samples)
        return {"online_ewc": held, **super().chosen_methods}

    @property
    def weights_change_at_switches(self) -> bool:
        return True

    @property
    def has_fixed_length(self) -> bool:
        return self.anneal_lr or self.progress_steps == 0 or super().has_fixed_length


SHARE = Belonging(
    "is a part of each regime, and `progress_steps` says how many steps",
    lambda args: args.progress_steps == 0,
    "leave one of them out",
)
SWITCHES = Belonging("says when a task ends, which is at every switch here", lambda args: False, "leave it out")
RULES = {
    **RUN_RULES,
    "boundary": Rule(of=SWITCHES),
    "progress_share": Rule(Range(0, 1, above=True), of=SHARE),
    "progress_steps": Rule(Range(0, MANY)),
    "ewc_samples": Rule(Range(1, 10**6)),
    "reference_rows": Rule(Range(1, MANY)),
    **dict.fromkeys(("distill_policy", "distill_value", "ewc_strength"), Rule(Range(0, LARGE))),
    **dict.fromkeys(("learning_rate", "rms_eps", "max_grad_norm"), Rule(Range(0, LARGE, above=True))),
    **dict.fromkeys(("ent_coef", "vf_coef", "rho_bar", "c_bar"), Rule(Range(0, LARGE))),
    **dict.fromkeys(("ewc_decay", "rms_alpha", "gamma", "vtrace_lambda"), Rule(Range(0, 1))),
}

OF_PROGRESS = ("distillation", "value_loss", "policy_loss", "entropy", "gradient_norm")
OF_COMPRESS = ("distillation", "value_distillation", "gradient_norm")
"""What `minibatch_step` returns in the two phases."""


class Phase(NamedTuple):
    """A part of a regime in which one column learns, in steps of the run."""

    begin: int
    end: int
    progress: bool
    """the active column learns to play; else the knowledge base learns from it"""


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything a user can get wrong, then train."""
    scripts.main(SCRIPT, train, argv)


def train(setup: Setup[Args]) -> None:
    """The whole run: schedule -> games -> unrolls -> updates -> logs and checkpoints."""
    args, device, ranks = setup.args, setup.device, setup.ranks
    weights_seed, action_seed, columns_seed = derive_seeds(args.seed, 3)
    if not ranks.is_main:  # games and actions of this process are its own, the agent is common
        (action_seed,) = derive_seeds(args.seed, 1, ranks.rank)
    actions = torch.Generator(device).manual_seed(action_seed)
    columns = torch.Generator().manual_seed(columns_seed)  # from which each new active column is drawn
    num_threads = torch.get_num_threads()

    with Run(setup) as run:
        envs = run.envs
        agent: TwoColumns = run.new_agent(torch.Generator().manual_seed(weights_seed))
        put_channels_last(agent)
        knowledge, active = make_optimizers(args, agent)
        acting_agent = ActingAgent(agent, setup.precision)  # the active column
        autocast = torch.autocast(device.type, setup.precision, enabled=setup.precision != torch.float32)
        scaler = RewardScaler(args.num_envs, args.gamma, args.reward_scaling)
        methods = make_methods(args, agent.knowledge_base, knowledge, ranks)  # online EWC, and what the user adds
        rollout = empty_rollout(envs, args.num_steps, device, whole_policies=True)
        rewards = np.zeros(rollout.rewards.shape, np.float32)  # scaled
        pin(envs.arrays.observations, device)
        borders = annealing_borders(setup.schedule, setup.total_timesteps, args.num_envs, per_regime=True)

        # ============================== RESUME ==============================
        # A run is saved between two rounds; what is not named here `run` itself knows, or follows from the step: that
        # says which phase it is.
        run.start(
            agent,
            parts={"optimizer": knowledge, "active_optimizer": active, "methods": methods, "reward_scaler": scaler},
            generators={"actions": actions, "columns": columns},
            files=files_of(methods),
            checkpoint=lambda: {"reward_variance": scaler.variance, **methods.in_checkpoint()},
        )

        while run.goes_on:
            steps, first, stop = run.begin_round(), run.global_step, 0  # the last round may be shorter
            cuts: list[Cut] = []
            shown: dict[str, float] = {}
            # A round is one unroll of each game. Where a phase ends in it, what was played so far is learned from
            # there, so that every step counts in its own phase.
            while stop < steps:
                # ============================== SWITCH ==============================
                # 1. The schedule asks for another modification string; the same one again is no switch. The unroll has
                # ended here, bootstrapped with the value of its last observations. 2. The agent of the old regime is
                # saved (with `save_agent_with_switch`) and noted for evaluation. 3. Online EWC measures the knowledge
                # base on the rows of the old regime, and holds it where it is from now on. 4. The active column, its
                # adaptors and its optimizer begin anew; no weight of the knowledge base changes. 5. The games change:
                # at once, or in mode `episode` each at its own next start.
                modification = run.asked_for()
                if modification != run.modification:
                    run.end_regime()
                    if args.switch_mode == "reset":
                        scaler.returns[:] = 0.0
                    run.weights_change()
                    methods.boundary(run.modification, modification, run.clock())
                    agent.initialise(columns)
                    active.state.clear()
                    run.begin_regime(modification)

                # ============================== ROLLOUT ==============================
                # The active column plays, in both phases, to the end of the round or of the phase.
                phase = phase_at(args, borders, run.global_step)
                start, stop = stop, min(steps, stop - (run.global_step - phase.end) // args.num_envs)
                acting_agent.refresh()  # in bf16 it acts with a copy of the weights
                torch.set_num_threads(num_threads if device.type == "cuda" else 1)  # the cores are the emulators'
                wait_for = functools.partial(collect, run, rollout, cuts, acting_agent, first)  # (step, group of games)
                begun = run.global_step
                for t in range(start, stop):
                    for group in range(len(envs.groups)):
                        if t > start:
                            wait_for(t - 1, group)
                        act(run, rollout, acting_agent, actions, t, group)
                    run.stepped()
                for group in range(len(envs.groups)):
                    wait_for(stop - 1, group)
                torch.set_num_threads(num_threads)
                methods.rows(played(run, rollout, start, stop))

                # ============================== UPDATE ==============================
                # One gradient step of one column; see `minibatch_step` below.
                new = slice(start, stop)
                rewards[new] = scale_rewards(scaler, rollout.rewards[new], rollout.done[new], ranks)
                last = to_device(envs.arrays.observations, device)
                unrolls = played_unrolls(rollout, rewards, cuts, last, start, stop)
                optimizer, names = (active, OF_PROGRESS) if phase.progress else (knowledge, OF_COMPRESS)
                if args.anneal_lr:
                    left = (phase.end - begun) / (phase.end - phase.begin)
                    set_learning_rate(optimizer, left * args.learning_rate)
                losses: list[Tensor] = []
                with run.updating(losses, names):  # a number that is not finite ends the run
                    losses.append(minibatch_step(args, agent, optimizer, autocast, unrolls, phase, methods, ranks))
                shown |= {f"losses/{name}": number for name, number in zip(names, losses[0].tolist(), strict=True)}

            # ============================== LOG + CHECKPOINT ==============================
            # `end_round` writes `resume.pt` where that is due, never within a round, with what RESUME above names.
            run.log_games()
            shown["charts/learning_rate"] = float(optimizer.param_groups[0]["lr"])
            shown["charts/compressing"] = float(not phase.progress)
            run.end_round({**shown, **methods.numbers()})

        run.finish()


def phase_at(args: Args, borders: Sequence[int], step: int) -> Phase:
    """The phase that has this step. borders: where regimes begin, and the end of the run.

    It depends on the step alone. All games take a step together, so a phase has whole steps of all games. However small
    the share, the active column learns for one: there is nothing to be learned from one that has not.
    """
    regime = bisect_right(borders, step) - 1
    begin, end = borders[regime], borders[regime + 1]
    progress = args.progress_steps or max(1, round(args.progress_share * (end - begin)))
    turn = min(begin + -(-progress // args.num_envs) * args.num_envs, end)
    return Phase(begin, turn, True) if step < turn else Phase(turn, end, False)


def minibatch_step(
    args: Args,
    agent: TwoColumns,
    optimizer: torch.optim.Optimizer,
    autocast: torch.autocast,
    unrolls: Unrolls,
    phase: Phase,
    methods: Methods = NO_METHODS,
    ranks: Ranks = ALONE,
) -> Tensor:
    """One gradient step of the column that learns in this phase, whose optimizer this is; the other one stays.

    Losses are sums over rows; `reference_rows` says as of how many. With several processes the gradient is the mean
    over them. Returns `OF_PROGRESS` or `OF_COMPRESS`, means over rows.
    """
    hidden: list[Any] = []
    if phase.progress:
        loss, sums = progress_loss(args, agent, autocast, unrolls)
    else:
        loss, sums, *hidden = compress_loss(args, agent, autocast, unrolls, methods)
    agent.zero_grad(set_to_none=True)
    (args.reference_rows / (args.batch_size / ranks.size) * loss).backward()
    numbers = ranks.mean_gradients(agent, sums.detach() / unrolls.actions.numel())
    if not phase.progress:
        methods.gradients()
    gradient_norm = nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], args.max_grad_norm)
    optimizer.step()
    if not phase.progress:
        methods.weights(*hidden or [[]])  # outputs of this forward pass, weights after this step
    return torch.cat([numbers, gradient_norm.reshape(1)])


def progress_loss(args: Args, agent: TwoColumns, autocast: torch.autocast, unrolls: Unrolls) -> tuple[Tensor, Tensor]:
    """Of the active column: V-trace's, as IMPALA's learner has them; and the sums of the numbers to show.

    No update lies between the playing and the learning, so all probability ratios are 1, and this is an actor-critic
    with the returns of whole unrolls. How far the knowledge base is behind, which is still what it was, is measured and
    not learned from.
    """
    with torch.no_grad(), autocast:
        after = agent.get_value(unrolls.after)
    with autocast:  # anew: what the one above has cast for itself has no gradients
        features = agent.hidden(unrolls.observations.flatten(0, 1))
        logits, values = agent.heads(features)
        with torch.no_grad():
            known, _ = agent.earlier.heads(features.chunk(2, 1)[1])
    log_policies = logits.log_softmax(-1)
    log_probs = log_policies.gather(-1, unrolls.actions.flatten()[:, None])[:, 0]
    traced = trace(args, unrolls, log_probs.detach(), values.detach(), after)
    value_loss = 0.5 * (traced.targets.flatten() - values).square().sum()
    policy_loss = -(traced.advantages.flatten() * log_probs).sum()
    entropy = -(log_policies.exp() * log_policies).sum()
    apart = divergence(log_policies.detach(), known.log_softmax(-1)).sum()
    loss = policy_loss + args.vf_coef * value_loss - args.ent_coef * entropy
    return loss, torch.stack([apart, value_loss, policy_loss, entropy])


def compress_loss(
    args: Args, agent: TwoColumns, autocast: torch.autocast, unrolls: Unrolls, methods: Methods
) -> tuple[Any, ...]:
    """Of the knowledge base: KL(active || knowledge base), their values, and what holds it where it was before.

    The active column does not learn now, so what it said while it played is what it says: it needs no pass. Returns the
    loss, the sums of the numbers to show, and hidden outputs for methods that look at them.
    """
    observations = unrolls.observations.flatten(0, 1)
    base = agent.knowledge_base
    with autocast:
        logits, values, *hidden = base(observations, True) if methods.needs_hidden else base(observations)
    log_policies = logits.log_softmax(-1)
    sums = [
        divergence(unrolls.log_policies.flatten(0, 1), log_policies).sum(),
        (values - unrolls.values.flatten()).square().sum(),
    ]
    # A strength means the same as beside a loss that is a mean.
    log_probs = log_policies.gather(-1, unrolls.actions.flatten()[:, None])[:, 0]
    entropy = -(log_policies.exp() * log_policies).sum(-1)
    outputs = {"log_prob": log_probs, "entropy": entropy, "value": values}
    held = len(values) * methods.loss(observations, outputs, *hidden or [[]])
    return args.distill_policy * sums[0] + args.distill_value * sums[1] + held, torch.stack(sums), *hidden


def make_optimizers(args: Args, agent: TwoColumns) -> list[torch.optim.RMSprop]:
    """Of the knowledge base and of the active column: RMSProp as IMPALA has it, without momentum."""
    columns = (list(agent.knowledge_base.parameters()), agent.active_parameters())
    how: dict[str, Any] = {"lr": args.learning_rate, "alpha": args.rms_alpha, "eps": args.rms_eps}
    return [RestartableRMSprop(parameters, **how) for parameters in columns]


# ----------------------------------------------------------------------------------------------------- before the start


def build(args: Args, shape: Sequence[int], num_actions: int, generator: torch.Generator) -> TwoColumns:
    """An untrained agent."""
    agent = make_agent(TWO_COLUMNS, shape, num_actions, generator=generator)
    assert isinstance(agent, TwoColumns)
    return agent


def notes(args: Args, schedule: Any) -> list[str]:
    """Lines for the user. Raises ConfigError where the knowledge base would never learn."""
    # Not all of them, there may be millions.
    segments = islice(schedule.segments(0, args.total_timesteps or schedule.num_total_steps), 1000)
    lengths = [-((start - stop) // args.num_envs) * args.num_envs for start, stop, _ in segments]
    uncompressed = [length for length in lengths if phase_at(args, [0, length], 0).end == length]
    how = "progress_steps" if args.progress_steps else "progress_share"
    what = f"`{how}` {getattr(args, how):g}"
    if len(uncompressed) == len(lengths):
        raise ConfigError(
            f"{what} leaves no step in which the knowledge base learns: the longest regime has {max(lengths):,} steps; "
            "choose less, or longer regimes"
        )
    short = counted(len(uncompressed), "regime")
    return [f"note: {what}: the knowledge base learns nothing from {short}, too short for it"] if uncompressed else []


def memory(args: Args, game: GameConfig) -> tuple[int, str]:
    """Bytes that a process needs at least, and the settings that make it less."""
    rows = bytes_of_rows(args, game, args.batch_size + args.ewc_samples, args.batch_size)
    return rows, "`num_envs`, `num_steps`, `buffer_window_size` or `ewc_samples`"


PLACES = frozenset({*MOMENTS, "hidden", "fisher", "initialise"}) - {"build", "playing"}
TAUGHT = "compares with what the knowledge base said of a game, which it said before it was taught the game"
REFUSED = {
    "a_gem": TAUGHT,
    "cloning": TAUGHT,
    "ewc": "holds the knowledge base, and online EWC holds it here already (see `ewc_strength`)",
    "from_scratch": "lets an agent begin anew at switches: the active column does here, the knowledge base must not",
    "online_ewc": "is built in here (see `ewc_strength`)",
    "shrink_perturb": "changes weights at switches, and those of the knowledge base are to be kept there",
}
PARTS = ("optimizer", "active_optimizer", "methods", "reward_scaler")
SCRIPT = Script(
    file=__file__,
    description=__doc__ or "",
    settings=Args,
    rules=RULES,
    build=build,
    parts=PARTS,
    notes=notes,
    moments=PLACES,
    refused=REFUSED,
    memory=memory,
)
prepare = functools.partial(setups.prepare, SCRIPT)  # read and check the settings, and stop there


if __name__ == "__main__":
    end_on_interrupt()
    main()
