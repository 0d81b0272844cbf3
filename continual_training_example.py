"""Train a PPO agent on an Atari game whose rules and looks change on a schedule.

    python continual_training_example.py --config run_config.json
    python continual_training_example.py --env_id ALE/Pong-v5 --modifs lazy_enemy --total_timesteps 1000000

    python continual_training_example.py --resume runs/<folder of a stopped run>
    torchrun --nproc_per_node 2 continual_training_example.py --config run_config.json

This file is the algorithm; read `train` from top to bottom. Its phases carry banners: RESUME, SWITCH, ROLLOUT,
HINDSIGHT, ADVANTAGES, UPDATE, LOG + CHECKPOINT. What surrounds any training, from the command line to the run folder,
is in `training/`, above all `training/run.py`. docs/ explains the words, the flags and the schedules.
"""

from __future__ import annotations

import os

# Threads that spin for long while they wait would steal the cores that the emulators need; a few thousand turns bridge
# the gaps between the operations of an update. It must be set before torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

from continual_hackatari.training.signals import end_on_interrupt

if __name__ == "__main__":
    end_on_interrupt(at_once=True)

from continual_hackatari.training.system import check_system

check_system()  # before anything imports OpenCV

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from continual_hackatari.agents import (
    ActorCritic,
    RewardScaler,
    check_architecture,
    make_agent,
)
from continual_hackatari.agents.acceleration import ActingAgent, GraphedStep, put_channels_last
from continual_hackatari.agents.advantages import explained_variance
from continual_hackatari.agents.hindsight import RewardRule, frame_rows, means_of_halves, normalise_halves, show_goals
from continual_hackatari.agents.own import is_own
from continual_hackatari.agents.plasticity import PlasticityProbe, choose_rows
from continual_hackatari.agents.restartable_adam import RestartableAdam
from continual_hackatari.methods.moments import MOMENTS
from continual_hackatari.methods.together import NO_METHODS, Methods
from continual_hackatari.schedules.survey import decay_note
from continual_hackatari.training import scripts
from continual_hackatari.training import setup as setups
from continual_hackatari.training.annealing import annealing_borders, remaining_share, set_learning_rate
from continual_hackatari.training.config import Belonging, ConfigError, Range
from continual_hackatari.training.devices import choose_device
from continual_hackatari.training.earlier_flags import EARLIER_RULES, EarlierFlags
from continual_hackatari.training.hindsight import fill_relabelled_half, join_relabelling, scale_halves
from continual_hackatari.training.ranks import ALONE, Ranks
from continual_hackatari.training.resume import ResumeError
from continual_hackatari.training.rollouts import (
    Cut,
    Rollout,
    bytes_of_rows,
    collect,
    cut_running,
    empty_rollout,
    evaluate_anew,
    pin,
    rollout_advantages,
    scale_rewards,
    take_rows,
    to_device,
)
from continual_hackatari.training.run import Part, Run, derive_seeds
from continual_hackatari.training.run_methods import files_of, make_methods, played
from continual_hackatari.training.settings import LARGE, MANY, Rule
from continual_hackatari.training.setup import Script, Setup
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.goals import goal_kind


@dataclass
class Args(EarlierFlags):
    exp_name: str = "continual_training_example"
    """name of the experiment, part of the run folder's name"""

    # PPO. The numbers are the defaults of CleanRL's ppo_atari (Huang et al. 2022, "The 37 implementation details of
    # PPO"). The games are not: rewards are divided by the deviation of their return (there cut to their sign), actions
    # are sticky in v5 ids, frames are not max-pooled, no-ops count in steps (there in frames) and FIRE alone follows
    # them (there action 2 as well), the frame stack goes on after a lost life (there it is filled anew), a time limit
    # is bootstrapped (there it is an end). `configs/cleanrl_atari.json` changes what flags can change of that.
    learning_rate: float = 2.5e-4
    """step size of Adam"""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """decays of Adam's averages of gradients and of their squares; with equal ones no step exceeds the learning rate"""
    weight_decay: float = 0.0
    """this times each weight is added to its gradient (coupled, as in Adam's L2 penalty; not as in AdamW)"""
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
    reward_scaling: Literal["auto", "normalize", "clip", "none"] = "auto"
    """divide rewards by the running deviation of the return, keep only their sign (clip), or leave them (auto:
    normalize, and clip where several games are played)"""

    # agent
    architecture: str = "PPO"
    """PPO: convolutions over frames; PPO_OBJ: an MLP over object features (obs_mode obj); PPO_CBP: PPO with continual
    backpropagation; package.module:Class: an actor and critic of your own"""
    encoder_dims: tuple[int, ...] = (256, 512, 1024, 512)
    """hidden layers of PPO_OBJ's encoder"""
    decoder_dims: tuple[int, ...] = (512,)
    """hidden layers of PPO_OBJ's decoder"""
    compile: bool = False
    """compile the network with torch.compile (slower start)"""
    cuda_graphs: bool = False
    """on a GPU, replay each gradient step as one CUDA graph"""
    plasticity_every: int = 20
    """rollouts between two measurements of the network's plasticity (0: never)"""

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

    @property
    def gradient_steps(self) -> int:
        return self.update_epochs * self.num_minibatches

    @property
    def goal_kind(self) -> str:
        return goal_kind(self.her, self.game_specific_goals)

    @property
    def has_fixed_length(self) -> bool:
        return self.anneal_lr or super().has_fixed_length


HINDSIGHT = Belonging("says how hindsight works, which is off", lambda args: args.her, "add `--her`")
OBJECTS = Belonging(
    "says how PPO_OBJ is built, which is another architecture",
    lambda args: args.architecture == "PPO_OBJ",
    "choose `--architecture PPO_OBJ --obs_mode obj`",
)
DECAY = Belonging(
    "says how the learning rate decays, and it does not", lambda args: args.anneal_lr, "leave out `--no_anneal_lr`"
)
RULES = {
    **EARLIER_RULES,
    "learning_rate": Rule(Range(0, LARGE, above=True)),
    "adam_betas": Rule(Range(0, 1)),
    "weight_decay": Rule(Range(0, LARGE)),
    "anneal_lr_per_regime": Rule(of=DECAY, at_switches=True),
    "gamma": Rule(Range(0, 1)),
    "gae_lambda": Rule(Range(0, 1)),
    "num_minibatches": Rule(Range(1, MANY)),
    "update_epochs": Rule(Range(1, MANY)),
    "clip_coef": Rule(Range(0, LARGE, above=True)),
    "ent_coef": Rule(Range(0, LARGE)),
    "vf_coef": Rule(Range(0, LARGE)),
    "max_grad_norm": Rule(Range(0, LARGE, above=True)),
    "target_kl": Rule(Range(0, LARGE, above=True)),
    "encoder_dims": Rule(Range(1, 10**9), of=OBJECTS),
    "decoder_dims": Rule(Range(1, 10**9), of=OBJECTS),
    "plasticity_every": Rule(Range(0, MANY)),
    **dict.fromkeys(("game_specific_goals", "her_rewards", "her_relabel"), Rule(of=HINDSIGHT)),
    "her_weight": Rule(Range(0, LARGE), of=HINDSIGHT),
    "her_importance_clip": Rule(Range(0, LARGE), of=HINDSIGHT),
}

LOSSES = ("value_loss", "policy_loss", "entropy", "old_approx_kl", "approx_kl", "clipfrac")
OF_GRADIENT_STEP = (*LOSSES, "gradient_norm")  # what `minibatch_step` returns, followed by those of hindsight
HINDSIGHT_LOSSES = ("original_policy_loss", "relabelled_policy_loss", "original_value_loss", "relabelled_value_loss")


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything a user can get wrong, then train."""
    scripts.main(SCRIPT, train, argv)


def train(setup: Setup[Args]) -> None:
    """The whole run: schedule -> games -> rollouts -> updates -> logs and checkpoints."""
    args, device, ranks, goal = setup.args, setup.device, setup.ranks, setup.game.goal
    weights_seed, action_seed, minibatch_seed = derive_seeds(args.seed, 3)
    if not ranks.is_main:  # what concerns games and rows of this process is its own, what concerns the agent is common
        action_seed, minibatch_seed = derive_seeds(args.seed, 2, ranks.rank)
    N = setup.games_per_rank  # noqa: N806 - as in the shape comments; games of this process
    generators = {
        "actions": torch.Generator(device).manual_seed(action_seed),
        "minibatches": torch.Generator().manual_seed(minibatch_seed),
    }
    num_threads = torch.get_num_threads()

    with Run(setup) as run:
        envs, timer, on_gpu = run.envs, run.timer, device.type == "cuda"
        agent: ActorCritic = run.new_agent(torch.Generator().manual_seed(weights_seed))
        put_channels_last(agent)
        optimizer = make_optimizer(args, agent)
        pin(envs.arrays.observations, device)
        if args.compile:
            agent.compile()
        autocast = torch.autocast(device.type, setup.precision, enabled=setup.precision != torch.float32)
        acting_agent = ActingAgent(agent, setup.precision)
        reward_scaler, her_scaler = scalers = make_scalers(args)
        methods = make_methods(args, agent, optimizer, ranks, beside=scalers)  # each in a file of `methods/`
        rollout = empty_rollout(envs, args.num_steps, device, twice=args.her, weighed=bool(args.her_importance_clip))
        probe = PlasticityProbe(args.plasticity_every)
        update = GraphedStep(
            functools.partial(minibatch_step, args, agent, optimizer, autocast, rollout, methods=methods, ranks=ranks),
            args.cuda_graphs and on_gpu,
        )
        length = (setup.schedule, setup.total_timesteps, args.num_envs)
        annealing = annealing_borders(*length, per_regime=args.anneal_lr_per_regime)

        # ============================== RESUME ==============================
        # A run is saved between two updates: what happened before is in these and in what `run` itself knows (its
        # place, the games, files, generators of libraries). The schedule has no state, it is asked by step.
        parts: dict[str, Part | None] = {"optimizer": optimizer, "methods": methods, "plasticity": probe}
        parts |= {"reward_scaler": reward_scaler, "her_scaler": her_scaler}
        saved_with_agent = functools.partial(besides_weights, methods, reward_scaler)
        run.start(agent, parts=parts, generators=generators, files=files_of(methods), checkpoint=saved_with_agent)

        while run.goes_on:
            steps, first = run.begin_round(), run.global_step  # the last rollout may be shorter
            cuts: list[Cut] = []
            shown = begun = 0  # the first step that methods have not seen, and the first that is learned from
            if args.anneal_lr:
                share = remaining_share(annealing, first, first + (steps - 1) * args.num_envs)
                set_learning_rate(optimizer, share * args.learning_rate)
            if periods := run.end_period():  # with `boundary` every:STEPS, between two rollouts
                methods.boundary(*periods, run.clock())
                update.reset()
            acting_agent.refresh()  # in bf16 it acts with a copy of the weights
            if not on_gpu:
                torch.set_num_threads(1)  # during the rollout the cores belong to the emulators
            wait_for = functools.partial(collect, run, rollout, cuts, acting_agent, first)  # (step, group of games)

            for t in range(steps):
                # ============================== SWITCH ==============================
                # 1. The schedule asks for another modification string; the same one again is no switch. 2. The agent of
                # the old regime is saved (with `save_agent_with_switch`) and noted for evaluation. 3. Mode `reset` cuts
                # the games in progress: a truncation, so step t-1 is bootstrapped with the value of the last
                # observation of the old regime. 4. Methods see the rows of the old regime, look at the agent, then
                # change what they will. Where that is the weights, what they said of the rollout's earlier rows is
                # computed anew; where the agent begins anew, these rows are dropped. 5. The games change: at once, or
                # in mode `episode` each at its own next start.
                modification = run.asked_for()
                switching = modification != run.modification
                if switching:
                    for group in range(len(envs.groups) if t > 0 else 0):
                        wait_for(t - 1, group)
                    timer.lap("emulation")
                    run.end_regime()
                    if args.switch_mode == "reset" and t == 0:  # the rollout before ended here, bootstrapped just so
                        reward_scaler.returns[:] = 0.0
                    elif args.switch_mode == "reset":
                        cut_running(rollout, cuts, envs, acting_agent, t - 1)
                    if methods.keeps_rows and t > shown:
                        methods.rows(played(run, rollout, shown, t))
                        shown = t
                    if methods.acts_at_boundaries and args.boundary == "schedule":
                        if args.weights_change_at_switches:
                            run.weights_change()
                        changed = methods.boundary(run.modification, modification, run.clock())
                        update.reset()  # the optimizer's state may be new
                        acting_agent.refresh()
                        if changed.everything:
                            begun = t
                            cuts.clear()
                        elif changed.weights:
                            evaluate_anew(acting_agent, rollout, cuts, t, envs.groups)
                    run.begin_regime(modification)

                # ============================== ROLLOUT ==============================
                # One vector step: N games, N agent steps. The games are in groups: while the agent thinks about one,
                # the emulators play the other. An episode that ends is followed by the next at once, so observations
                # never show the end of one; `final_observations` do.
                for group, games in enumerate(envs.groups):
                    if t > 0 and not switching:
                        wait_for(t - 1, group)
                    seen = torch.from_numpy(envs.arrays.observations[games])
                    rollout.observations[t, games].copy_(seen, non_blocking=True)
                    action, log_prob, value = acting_agent.act(rollout.observations[t, games], generators["actions"])
                    rollout.actions[t, games] = action
                    rollout.log_probs[t, games] = log_prob
                    rollout.values[t, games] = value
                    chosen = action.cpu().numpy()  # on a GPU the only moment of a step that waits for it
                    timer.lap("inference")
                    envs.step_async(chosen, group)
                run.stepped()
            for group in range(len(envs.groups)):
                wait_for(steps - 1, group)
            run.log_games()
            if methods.keeps_rows:
                methods.rows(played(run, rollout, shown, steps))

            if not on_gpu:
                torch.set_num_threads(num_threads)
            rewards, terminated, done = rollout.rewards[:steps], rollout.terminated[:steps], rollout.done[:steps]
            last = to_device(envs.arrays.observations, device)

            # ============================== HINDSIGHT ==============================
            # Every game a second time, in the columns N to 2N - 1: the goal of each stretch of play, up to the end of
            # its episode or of the rollout, that missed its own becomes what it achieved at its end (strategy `final`
            # of Andrychowicz et al. 2017, https://arxiv.org/abs/1707.01495). Frames and actions stay; where the goal is
            # another, log-probabilities and values are computed anew, and rewards are those of the goal and have a
            # scale of their own, so that they cannot drown the game's. All other rows are copies. Filled are these
            # columns of the rollout's goals, relabelled, actions, log_probs, values and weights, and added to `cuts`;
            # `agents/hindsight.py` says what each step means and which part of this is on-policy.
            if goal is None:
                scaled = scale_rewards(reward_scaler, rewards, done, ranks, start=begun)  # float32 [steps, M]
            else:
                relabelling = fill_relabelled_half(
                    *(rollout, goal, acting_agent, done, last, cuts),
                    failures_only=args.her_relabel == "failures",
                    importance_clip=args.her_importance_clip,
                )
                scaled = scale_halves(args.her_rewards, rewards, done, relabelling, scalers, ranks)
                terminated, done = np.tile(terminated, (1, 2)), np.tile(done, (1, 2))
                timer.lap("hindsight")

            # ============================== ADVANTAGES ==============================
            # Generalised advantage estimation from scaled rewards, see `rollout_advantages`. What really followed
            # a step is the next observation, or, where the game was truncated or cut by a switch, its last observation
            # before the restart; so no reward and no value counts across the border of an episode.
            values = rollout.values[:steps]
            last_values = acting_agent.value(last).repeat(values.shape[1] // N)  # for the second half `cuts` has others
            advantages, returns = rollout_advantages(
                scaled, values, last_values, cuts, terminated, done, args.gamma, args.gae_lambda
            )
            timer.lap("advantages")

            # ============================== UPDATE ==============================
            # PPO (Schulman et al. 2017, https://arxiv.org/abs/1707.06347): several epochs over the rollout's rows,
            # [T, M] -> [T * M], in minibatches drawn without replacement; see `minibatch_step` below. With hindsight a
            # minibatch is twice as large, so that there are as many gradient steps as without. With several processes
            # it is the union of what they draw from their own rows.
            rollout.advantages[:steps], rollout.returns[:steps] = advantages, returns
            losses: list[Tensor] = []
            with run.updating(losses, OF_GRADIENT_STEP + HINDSIGHT_LOSSES):  # a number that is not finite ends the run
                for _ in range(args.update_epochs):
                    order = torch.randperm(values[begun:].numel(), generator=generators["minibatches"]).to(device)
                    order = order + begun * values.shape[1] if begun else order
                    for rows in order.tensor_split(min(args.num_minibatches, len(order))):
                        losses.append(update(rows))
                    if args.target_kl is not None and losses[-1][LOSSES.index("approx_kl")] > args.target_kl:
                        break

            # ============================== LOG + CHECKPOINT ==============================
            # `end_round` writes `resume.pt` where that is due, never within a rollout, with what RESUME above names.
            # Agents are saved at the end, at switches with `save_agent_with_switch`, and before an update that made
            # numbers that are not finite: weights, settings, place in the run, and `besides_weights` below.
            returns, values = ranks.join(returns[begun:]), ranks.join(values[begun:])
            of_last_step, of_update = losses[-1].tolist(), torch.stack(losses).mean(0).tolist()
            numbers = {f"losses/{name}": of_last_step[i] for i, name in enumerate(LOSSES)}
            numbers["losses/clipfrac"] = of_update[LOSSES.index("clipfrac")]
            numbers |= explained_variance(returns, values)
            numbers["charts/learning_rate"] = float(optimizer.param_groups[0]["lr"])
            numbers |= methods.numbers()
            if goal is not None:
                of_halves = zip(HINDSIGHT_LOSSES, of_update[len(OF_GRADIENT_STEP) :], strict=True)
                shares = join_relabelling(relabelling, ranks).shares
                numbers |= {f"her/{name}": number for name, number in (*of_halves, *shares.items())}
                numbers |= {"her/scale_original": reward_scaler.divisor, "her/scale_relabelled": her_scaler.divisor}
            if probe.due() and ranks.is_main:  # `due` counts, so every rank asks
                timer.lap("logging")  # the same observations in the whole run: a sample of its first rollout
                if probe.observations is None:
                    probe.observations = take_rows(rollout.observations[:steps], choose_rows(steps * N).to(device))
                of_network = {**probe.measure(agent), "gradient_norm": of_update[len(LOSSES)]}
                numbers |= {f"plasticity/{name}": number for name, number in of_network.items()}
                timer.lap("plasticity")
            run.end_round(numbers)

        run.finish()


def minibatch_step(
    args: Args,
    agent: ActorCritic,
    optimizer: torch.optim.Optimizer,
    autocast: torch.autocast,
    rollout: Rollout,
    rows: Tensor,
    methods: Methods = NO_METHODS,
    ranks: Ranks = ALONE,
) -> Tensor:
    """One gradient step on the rows `rows` of the rollout, with what `methods` do in it.

    Returns `OF_GRADIENT_STEP`, [7], with hindsight followed by `HINDSIGHT_LOSSES`, [11].

    With several processes the minibatch is the union of their rows, of which each has equally many: statistics, the
    gradient and what is returned are those of the union.
    """
    num_envs = rollout.observations.shape[1]
    advantage, returns = rollout.advantages.flatten()[rows], rollout.returns.flatten()[rows]
    old_values, old_log_probs = rollout.values.flatten()[rows], rollout.log_probs.flatten()[rows]
    hidden: list[Tensor] = []  # outputs of hidden layers, for methods that look at them
    actions = rollout.actions.flatten()[rows]
    if rollout.goals is None or rollout.relabelled is None:
        observations = take_rows(rollout.observations, rows)
    else:
        relabelled = rollout.relabelled.flatten()[rows]
        observations = take_rows(rollout.observations, frame_rows(rows, num_envs))
        show_goals(observations, rollout.goals.flatten(0, 1)[rows])
    with autocast:
        if methods.needs_hidden:
            _, log_probs, entropy, values, hidden = agent.get_action_value_and_hidden(observations, actions)
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
    if methods.adds_to_loss:
        loss = loss + methods.loss(observations, {"log_prob": log_probs, "entropy": entropy, "value": values}, hidden)
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
    methods.gradients()
    gradient_norm = nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
    optimizer.step()
    methods.weights(hidden)  # outputs of this forward pass, weights after this step
    return torch.cat([losses[: len(LOSSES)], gradient_norm.reshape(1), losses[len(LOSSES) :]])


def make_scalers(args: Args) -> tuple[RewardScaler, RewardScaler]:
    """Of rewards as played and as relabelled by hindsight; for all ranks' games, on every rank."""
    mode = "normalize" if args.reward_scaling == "auto" else args.reward_scaling
    played, relabelled = (RewardScaler(args.num_envs, args.gamma, mode) for _ in range(2))
    return played, relabelled


def make_optimizer(args: Args, agent: ActorCritic) -> torch.optim.Optimizer:
    """Adam with PPO's epsilon; on a GPU the learning rate is a tensor, so that a recorded graph sees it decay."""
    device, on_gpu = next(agent.parameters()).device, next(agent.parameters()).is_cuda
    rate = torch.tensor(args.learning_rate, device=device) if on_gpu else args.learning_rate
    adam = RestartableAdam if args.restarts_units else torch.optim.Adam
    decays: Any = {"betas": args.adam_betas, "weight_decay": args.weight_decay}
    return adam(agent.parameters(), lr=rate, eps=1e-5, fused=True, capturable=on_gpu, **decays)


def besides_weights(methods: Methods, reward_scaler: RewardScaler) -> dict[str, Any]:
    """What a saved agent holds besides its weights, its settings and its place in the run."""
    # Without the rewards' variance nobody knows the unit of values.
    return {"reward_variance": reward_scaler.variance, **methods.in_checkpoint()}


# ----------------------------------------------------------------------------------------------------- before the start


def build(args: Args, shape: Sequence[int], num_actions: int, generator: torch.Generator) -> ActorCritic:
    """An untrained agent."""
    dims: Any = {"encoder_dims": args.encoder_dims, "decoder_dims": args.decoder_dims}
    dims["changes"] = args.changes_of_network
    return make_agent(args.architecture, shape, num_actions, **dims, generator=generator)


def check(args: Args, saved: Mapping[str, Any] | None, ranks: Ranks) -> None:
    """Raise AgentError, ConfigError or ResumeError for settings that do not fit each other."""
    rows = args.batch_size // ranks.size
    if args.batch_size % args.num_minibatches:
        raise ConfigError(
            f"`num_minibatches` {args.num_minibatches} does not divide the batch of num_envs * num_steps = "
            f"{args.num_envs} * {args.num_steps} = {args.batch_size} rows; choose a divisor of it"
        )
    if rows % args.num_minibatches:
        raise ConfigError(
            f"`num_minibatches` {args.num_minibatches} does not divide the {rows} rows of each of "
            f"the {ranks.size} processes (num_envs * num_steps / {ranks.size}); choose a divisor of that"
        )
    if args.cuda_graphs and not ranks.alone:
        raise ConfigError("`cuda_graphs` replays gradient steps without torchrun's other processes; leave one out")
    if args.her and saved is not None and "her_scaler" not in saved:
        raise ResumeError(
            f"`resume`: the run in `{args.resume}` has one scale for the rewards of both halves of hindsight, by which "
            "the game's own came to next to nothing, and that cannot be undone; start it anew"
        )
    check_architecture(args.architecture)
    if max(args.adam_betas) >= 1:
        raise ConfigError(
            f"`adam_betas` is {args.adam_betas}; allowed is 0 to just below 1, or nothing would be learned"
        )
    if args.cuda_graphs and args.detect_anomaly:
        raise ConfigError("`detect_anomaly` looks at operations that `cuda_graphs` replays unseen; leave one out")
    if not is_own(args.architecture) and (args.obs_mode == "obj") != (args.architecture == "PPO_OBJ"):
        raise ConfigError(
            f"`architecture` {args.architecture} does not fit `obs_mode` {args.obs_mode}; "
            "PPO_OBJ goes with `--obs_mode obj`, the others with `--obs_mode dqn`"
        )


def complete(args: Args, games: Sequence[str]) -> Args:
    """The scaling of rewards, where it is not said.

    The running deviation is that of all games so far: after one with large rewards, those of the next count for little.
    """
    if args.reward_scaling != "auto":
        return args
    return replace(args, reward_scaling="normalize" if len(games) == 1 else "clip")


def notes(args: Args, schedule: Any) -> list[str | None]:
    """Lines for the user."""
    lines = [decay_note(schedule, args.total_timesteps)] if args.anneal_lr and not args.anneal_lr_per_regime else []
    idle_graphs = args.cuda_graphs and choose_device(args.device, args.cuda).type != "cuda"
    return [*lines, "note: `cuda_graphs` does nothing without a GPU of CUDA" if idle_graphs else None]


def memory(args: Args, game: GameConfig) -> tuple[int, str]:
    """Bytes that a process needs at least, and the settings that make it less.

    Too small rather than too large: observations, and the weights of big layers with gradients and Adam's averages.
    """
    smaller = "`num_envs`, `num_steps` or `buffer_window_size`"
    in_minibatch = args.batch_size // args.num_minibatches * (2 if args.her else 1)
    needed = bytes_of_rows(args, game, args.batch_size, in_minibatch)
    if args.obs_mode == "dqn":
        return needed, smaller
    decoder = (game.window * (args.encoder_dims or (1,))[-1], *args.decoder_dims)
    weights = sum(a * b for layers in (args.encoder_dims, decoder) for a, b in pairwise(layers))
    return needed + 16 * weights, f"`encoder_dims`, `decoder_dims`, {smaller}" if weights else smaller


SCRIPT = Script(
    file=__file__,
    description=__doc__ or "",
    settings=Args,
    rules=RULES,
    parts=("optimizer", "methods", "reward_scaler"),
    moments=frozenset({*MOMENTS, "every", "hidden", "fisher", "initialise"}),
    check=check,
    complete=complete,
    notes=notes,
    memory=memory,
    build=build,
)


prepare = functools.partial(setups.prepare, SCRIPT)  # read and check the settings, and stop there


if __name__ == "__main__":
    end_on_interrupt()
    main()
