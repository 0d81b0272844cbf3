"""Train by V-trace, with replay that keeps the past (CLEAR), on an Atari game that changes on a schedule.

    python continual_clear.py --config run_config.json
    python continual_clear.py --env_id ALE/Pong-v5 --replay_ratio 0 --total_timesteps 1000000

    python continual_clear.py --resume runs/<folder of a stopped run>
    torchrun --nproc_per_node 2 continual_clear.py --config run_config.json

This file is the algorithm; read `train` from top to bottom, then `minibatch_step`. Its phases carry the banners of
continual_training_example.py: RESUME, SWITCH, ROLLOUT, REPLAY, UPDATE, LOG + CHECKPOINT. What surrounds any training is
in `training/`. docs/methods/clear.md says what the method is and how it differs from others of its name.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from continual_hackatari.agents import ActorCritic, AgentError, RewardScaler, check_architecture, make_agent
from continual_hackatari.agents.acceleration import ActingAgent, put_channels_last
from continual_hackatari.agents.actor_critic import divergence
from continual_hackatari.agents.advantages import explained_variance
from continual_hackatari.agents.own import is_own
from continual_hackatari.agents.plasticity import PlasticityProbe, choose_rows
from continual_hackatari.agents.restartable_rmsprop import RestartableRMSprop
from continual_hackatari.methods.moments import MOMENTS
from continual_hackatari.methods.together import NO_METHODS, Methods
from continual_hackatari.replay import Replay
from continual_hackatari.schedules.survey import decay_note
from continual_hackatari.training import scripts
from continual_hackatari.training import setup as setups
from continual_hackatari.training.annealing import annealing_borders, remaining_share, set_learning_rate
from continual_hackatari.training.config import Belonging, ConfigError, Range
from continual_hackatari.training.ranks import ALONE, Ranks
from continual_hackatari.training.replay import (
    REPLAY_RULES,
    ReplayFile,
    ReplaySettings,
    check_replay,
    make_replay,
    numbers_of,
)
from continual_hackatari.training.rollouts import (
    Cut,
    act,
    bytes_of_rows,
    collect,
    cut_running,
    empty_rollout,
    pin,
    scale_rewards,
    take_rows,
    to_device,
)
from continual_hackatari.training.run import Run, derive_seeds
from continual_hackatari.training.run_methods import files_of, make_methods, played
from continual_hackatari.training.settings import LARGE, MANY, Rule, RunSettings
from continual_hackatari.training.settings import RULES as RUN_RULES
from continual_hackatari.training.setup import Script, Setup
from continual_hackatari.training.unrolls import (
    Unrolls,
    fields_of_unrolls,
    keep_unrolls,
    played_unrolls,
    replayed_unrolls,
    trace,
)
from continual_hackatari.wrappers.config import GameConfig


@dataclass
class Args(ReplaySettings, RunSettings):
    exp_name: str = "continual_clear"
    """name of the experiment, part of the run folder's name"""

    # CLEAR. Of Rolnick et al. 2019, https://arxiv.org/abs/1811.11682.
    replay_ratio: float = 1.0
    """replayed unrolls in an update, as a multiple of those just played (0: no replay, IMPALA's learner)"""
    policy_cloning: float = 0.01
    """weight of the divergence of the present policy from the one that played the replayed steps"""
    value_cloning: float = 0.005
    """weight of the squared difference of the present values from those of then"""

    # V-trace. The numbers are those of CORA's configurations for Atari (Powers et al. 2021,
    # https://arxiv.org/abs/2110.10067), which are IMPALA's (Espeholt et al. 2018); there 32 unrolls make an update.
    num_envs: int = 16
    """games played in parallel (with torchrun: by all of its processes together)"""
    num_steps: int = 20
    """agent steps per game between two updates: the length of an unroll"""
    learning_rate: float = 4e-4
    """step size of RMSProp"""
    rms_alpha: float = 0.99
    """decay of RMSProp's average of squared gradients"""
    rms_eps: float = 0.01
    """added to the root of that average"""
    anneal_lr: bool = False
    """decrease the learning rate linearly to zero over the run"""
    anneal_lr_per_regime: bool = False
    """with anneal_lr: to zero within each regime, from the full rate at its start"""
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
    """gradients are clipped to this global norm"""
    reference_rows: int = 640
    """losses are summed over the rows of an update as if so many of them were new, whatever num_envs and num_steps:
    learning rate, rms_eps and max_grad_norm are made for 32 unrolls of 20 steps"""
    reward_scaling: Literal["clip", "normalize", "none"] = "clip"
    """keep only the sign of rewards (clip), divide them by the running deviation of the return, or leave them"""

    # agent
    architecture: str = "PPO"
    """PPO: convolutions over frames, the network of the PPO script; package.module:Class: an actor and critic of your
    own"""
    obs_mode: Literal["dqn"] = "dqn"
    """what the agent sees: grey 84 x 84 frames"""
    compile: bool = False
    """compile the network with torch.compile (slower start)"""
    plasticity_every: int = 64
    """updates between two measurements of the network's plasticity (0: never)"""

    @property
    def gradient_steps(self) -> int:
        return 1

    @property
    def has_fixed_length(self) -> bool:
        return self.anneal_lr or super().has_fixed_length


REPLAY = Belonging(
    "says how the past is replayed, and it is not", lambda args: args.replay_ratio > 0, "choose a `--replay_ratio`"
)
DECAY = Belonging(
    "says how the learning rate decays, and it does not", lambda args: args.anneal_lr, "add `--anneal_lr`"
)
RULES = {
    **RUN_RULES,
    **{one.name: REPLAY_RULES.get(one.name, Rule())._replace(of=REPLAY) for one in fields(ReplaySettings)},
    "replay_ratio": Rule(Range(0, 1000)),
    **dict.fromkeys(("policy_cloning", "value_cloning"), Rule(Range(0, LARGE), of=REPLAY)),
    **dict.fromkeys(("learning_rate", "rms_eps", "max_grad_norm"), Rule(Range(0, LARGE, above=True))),
    **dict.fromkeys(("ent_coef", "vf_coef", "rho_bar", "c_bar"), Rule(Range(0, LARGE))),
    **dict.fromkeys(("rms_alpha", "gamma", "vtrace_lambda"), Rule(Range(0, 1))),
    "anneal_lr_per_regime": Rule(of=DECAY, at_switches=True),
    "reference_rows": Rule(Range(1, MANY)),
    "plasticity_every": Rule(Range(0, MANY)),
}

LOSSES = ("value_loss", "policy_loss", "entropy")
OF_REPLAY = ("policy_cloning", "value_cloning", "clipped_ratio")
OF_GRADIENT_STEP = (*LOSSES, *OF_REPLAY, "gradient_norm")
"""What `minibatch_step` returns."""
MOST_ACTIONS = 18
"""of any game of this console"""


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything a user can get wrong, then train."""
    scripts.main(SCRIPT, train, argv)


def train(setup: Setup[Args]) -> None:
    """The whole run: schedule -> games -> unrolls -> updates -> logs and checkpoints."""
    args, device, ranks = setup.args, setup.device, setup.ranks
    weights_seed, action_seed = derive_seeds(args.seed, 2)
    if not ranks.is_main:  # games and actions of this process are its own, the agent is common
        (action_seed,) = derive_seeds(args.seed, 1, ranks.rank)
    actions = torch.Generator(device).manual_seed(action_seed)
    num_threads = torch.get_num_threads()

    with Run(setup) as run:
        envs, timer = run.envs, run.timer
        agent: ActorCritic = run.new_agent(torch.Generator().manual_seed(weights_seed))
        put_channels_last(agent)
        optimizer = make_optimizer(args, agent)
        acting_agent = ActingAgent(agent, setup.precision)
        if args.compile:
            agent.compile()
        autocast = torch.autocast(device.type, setup.precision, enabled=setup.precision != torch.float32)
        scaler = RewardScaler(args.num_envs, args.gamma, args.reward_scaling)
        methods = make_methods(args, agent, optimizer, ranks, beside=[scaler])  # each in a file of `methods/`
        replay: Replay | None = None
        if args.replay_ratio > 0:
            kept = fields_of_unrolls(envs.num_actions)
            replay = make_replay(args, ranks, envs, block_steps=args.num_steps, fields=kept)
        rollout = empty_rollout(envs, args.num_steps, device, whole_policies=True)
        pin(envs.arrays.observations, device)
        probe = PlasticityProbe(args.plasticity_every)
        length = (setup.schedule, setup.total_timesteps, args.num_envs)
        annealing = annealing_borders(*length, per_regime=args.anneal_lr_per_regime)

        # ============================== RESUME ==============================
        # A run is saved between two updates; what is not named here `run` itself knows, or follows from the step.
        run.start(
            agent,
            parts={"optimizer": optimizer, "methods": methods, "plasticity": probe, "reward_scaler": scaler},
            generators={"actions": actions},
            files=files_of(methods) | ({} if replay is None else {"replay": ReplayFile(replay)}),
            checkpoint=lambda: {"reward_variance": scaler.variance, **methods.in_checkpoint()},
        )

        while run.goes_on:
            steps, first = run.begin_round(), run.global_step  # the last unroll may be shorter
            cuts: list[Cut] = []
            tasks: list[str] = []  # what is played in each step
            shown = begun = 0  # the first step that methods have not seen, and the first that is learned from
            if args.anneal_lr:
                share = remaining_share(annealing, first, first + (steps - 1) * args.num_envs)
                set_learning_rate(optimizer, share * args.learning_rate)
            if periods := run.end_period():  # with `boundary` every:STEPS, between two unrolls
                changed = methods.boundary(*periods, run.clock())
                if changed.everything and replay is not None:
                    replay.forget()
            acting_agent.refresh()  # in bf16 it acts with a copy of the weights
            torch.set_num_threads(num_threads if device.type == "cuda" else 1)  # the cores belong to the emulators
            wait_for = functools.partial(collect, run, rollout, cuts, acting_agent, first)  # (step, group of games)

            for t in range(steps):
                # ============================== SWITCH ==============================
                # 1. The schedule asks for another modification string; the same one again is no switch. 2. The agent of
                # the old regime is saved (with `save_agent_with_switch`) and noted for evaluation. 3. Mode `reset` cuts
                # the games in progress: a truncation, bootstrapped with the value of the last observation of the old
                # regime. 4. Methods see the rows of the old regime, look at the agent, then change what they will.
                # Earlier rows of this unroll keep the log-probabilities of the weights that chose their actions:
                # V-trace weighs them by how far the policy has moved. Where the agent begins anew they are dropped.
                # 5. The games change: at once, or in mode `episode` each at its own next start.
                modification = run.asked_for()
                switching = modification != run.modification
                if switching:
                    for group in range(len(envs.groups) if t > 0 else 0):
                        wait_for(t - 1, group)
                    run.end_regime()
                    if args.switch_mode == "reset" and t > 0:
                        cut_running(rollout, cuts, envs, acting_agent, t - 1)
                    elif args.switch_mode == "reset":  # the unroll before ended here, and was bootstrapped just so
                        scaler.returns[:] = 0.0
                    if methods.keeps_rows and t > shown:
                        methods.rows(played(run, rollout, shown, t))
                        shown = t
                    if methods.acts_at_boundaries and args.boundary == "schedule":
                        if args.weights_change_at_switches:
                            run.weights_change()
                        if methods.boundary(run.modification, modification, run.clock()).everything:
                            begun = t
                            if replay is not None:
                                replay.forget()
                        acting_agent.refresh()
                    run.begin_regime(modification)
                    if replay is not None:
                        replay.begin(modification)
                tasks.append(modification)

                # ============================== ROLLOUT ==============================
                # One vector step: N games, N agent steps. The games are in groups: while the agent thinks about one,
                # the emulators play the other. What is stored is the policy as it acted, over all actions.
                for group in range(len(envs.groups)):
                    if t > 0 and not switching:
                        wait_for(t - 1, group)
                    act(run, rollout, acting_agent, actions, t, group)
                run.stepped()
            for group in range(len(envs.groups)):
                wait_for(steps - 1, group)
            torch.set_num_threads(num_threads)
            if methods.keeps_rows:
                methods.rows(played(run, rollout, shown, steps))
            run.log_games()

            # ============================== REPLAY ==============================
            # Unrolls of the past are drawn before the new ones join them, so none is replayed while it is new. Kept is
            # what the agent saw, did, said and got, and what followed where an episode was cut.
            scaled = scale_rewards(scaler, rollout.rewards[:steps], rollout.done[:steps], ranks, start=begun)
            last = envs.arrays.observations
            unrolls = [played_unrolls(rollout, scaled, cuts, to_device(last, device), begun, steps)]
            if replay is not None:
                if len(replay) > 0:
                    drawn = replay.sample(round(args.replay_ratio * setup.games_per_rank))
                    unrolls.append(replayed_unrolls(drawn, device))
                first_new = first + begun * args.num_envs
                keep_unrolls(replay, rollout, scaled, cuts, last, tasks, begun, steps, first_new)
                timer.lap("replay")

            # ============================== UPDATE ==============================
            # One gradient step on all of them; see `minibatch_step` below.
            losses: list[Tensor] = []
            with run.updating(losses, OF_GRADIENT_STEP):  # a number that is not finite ends the run
                numbers, targets, values = minibatch_step(args, agent, optimizer, autocast, unrolls, methods, ranks)
                losses.append(numbers)

            # ============================== LOG + CHECKPOINT ==============================
            # `end_round` writes `resume.pt` where that is due, never within an unroll, with what RESUME above names.
            of_update = dict(zip(OF_GRADIENT_STEP, losses[0].tolist(), strict=True))
            targets, values = ranks.join(targets), ranks.join(values)
            shown_numbers = {f"losses/{name}": of_update[name] for name in LOSSES}
            if replay is not None:
                of_replay = {name: of_update[name] for name in OF_REPLAY} if len(unrolls) > 1 else {}
                of_replay |= numbers_of(replay, ranks)
                shown_numbers |= {f"replay/{name}": number for name, number in of_replay.items()}
            shown_numbers |= explained_variance(targets, values)
            shown_numbers["charts/learning_rate"] = float(optimizer.param_groups[0]["lr"])
            shown_numbers |= methods.numbers()
            if probe.due() and ranks.is_main:  # `due` counts, so every rank asks
                timer.lap("logging")
                if probe.observations is None:  # the same in the whole run: those of its first unroll
                    rows = choose_rows(steps * setup.games_per_rank).to(device)
                    probe.observations = take_rows(rollout.observations[:steps], rows)
                measured = {**probe.measure(agent), "gradient_norm": of_update["gradient_norm"]}
                shown_numbers |= {f"plasticity/{name}": number for name, number in measured.items()}
                timer.lap("plasticity")
            run.end_round(shown_numbers)

        run.finish()


def minibatch_step(
    args: Args,
    agent: ActorCritic,
    optimizer: torch.optim.Optimizer,
    autocast: torch.autocast,
    unrolls: Sequence[Unrolls],
    methods: Methods = NO_METHODS,
    ranks: Ranks = ALONE,
) -> tuple[Tensor, Tensor, Tensor]:
    """One gradient step on unrolls, those just played and then replayed ones, with what `methods` do in it.

    V-trace corrects for what the policy was when it chose the actions, so all rows count alike, whatever their age.
    Cloning holds policy and value near what they were, in replayed rows alone. Losses are sums over rows;
    `reference_rows` says as of how many new ones. With several processes the gradient is the mean over them.

    Returns `OF_GRADIENT_STEP` as means over rows, and the targets and values of the unrolls just played, [T * M] each.
    """
    observations = torch.cat([each.observations.flatten(0, 1) for each in unrolls])
    actions = torch.cat([each.actions.flatten() for each in unrolls])
    with torch.no_grad(), autocast:
        after = agent.get_value(torch.cat([each.after for each in unrolls]))
    with autocast:  # anew: what the one above has cast for itself has no gradients
        logits, values, *hidden = agent(observations, True) if methods.needs_hidden else agent(observations)
    log_policies = logits.log_softmax(-1)
    log_probs = log_policies.gather(-1, actions[:, None])[:, 0]
    entropy = -(log_policies.exp() * log_policies).sum(-1)

    sizes = [each.actions.numel() for each in unrolls]
    of_unrolls = (
        log_probs.detach().split(sizes),
        values.detach().split(sizes),
        after.split([len(u.after) for u in unrolls]),
    )
    traces = [trace(args, *each) for each in zip(unrolls, *of_unrolls, strict=True)]
    targets = torch.cat([each.targets.flatten() for each in traces])
    advantages = torch.cat([each.advantages.flatten() for each in traces])

    there = torch.cat([each.mask.flatten() for each in unrolls])
    old = there & (torch.arange(len(there), device=there.device) >= sizes[0])
    before = torch.cat([each.log_policies.flatten(0, 1) for each in unrolls])
    values_before = torch.cat([each.values.flatten() for each in unrolls])
    of_rows = {"value_loss": 0.5 * (targets - values) ** 2, "policy_loss": -advantages * log_probs, "entropy": entropy}
    cloned = {"policy_cloning": divergence(before, log_policies), "value_cloning": (values - values_before) ** 2}
    sums = {name: (each * there).sum() for name, each in of_rows.items()}
    sums |= {name: (each * old).sum() for name, each in cloned.items()}
    total = sums["policy_loss"] + args.vf_coef * sums["value_loss"] - args.ent_coef * sums["entropy"]
    total = total + args.policy_cloning * sums["policy_cloning"] + args.value_cloning * sums["value_cloning"]
    hidden = [[output[there] for output in outputs] for outputs in hidden]  # methods see rows that there are
    if methods.adds_to_loss:  # a strength means the same as beside a loss that is a mean over the new rows
        outputs = {"log_prob": log_probs[there], "entropy": entropy[there], "value": values[there]}
        total = total + there[: sizes[0]].sum() * methods.loss(observations[there], outputs, *hidden or [[]])
    loss = args.reference_rows / (args.batch_size / ranks.size) * total

    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    with torch.no_grad():
        ratios = (log_probs - before.gather(-1, actions[:, None])[:, 0]).exp().clamp(max=1)
        rows = torch.stack([there.sum()] * len(LOSSES) + [old.sum().clamp(min=1)] * len(OF_REPLAY))
        numbers = torch.stack([*sums.values(), (ratios * old).sum()]) / rows
    numbers = ranks.mean_gradients(agent, numbers)
    methods.gradients()
    gradient_norm = nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
    optimizer.step()
    methods.weights(*hidden or [[]])  # outputs of this forward pass, weights after this step
    return torch.cat([numbers, gradient_norm.reshape(1)]), targets[: sizes[0]], values[: sizes[0]].detach()


def make_optimizer(args: Args, agent: ActorCritic) -> RestartableRMSprop:
    """RMSProp as IMPALA has it, without momentum."""
    return RestartableRMSprop(agent.parameters(), lr=args.learning_rate, alpha=args.rms_alpha, eps=args.rms_eps)


# ----------------------------------------------------------------------------------------------------- before the start


def build(args: Args, shape: Sequence[int], num_actions: int, generator: torch.Generator) -> ActorCritic:
    """An untrained agent."""
    return make_agent(args.architecture, shape, num_actions, changes=args.changes_of_network, generator=generator)


def check(args: Args, saved: Mapping[str, Any] | None, ranks: Ranks) -> None:
    """Raise AgentError or ConfigError for settings that do not fit each other."""
    games = args.num_envs // ranks.size
    if args.replay_ratio > 0:
        if round(args.replay_ratio * games) == 0:
            raise ConfigError(
                f"`replay_ratio` {args.replay_ratio:g} of {games} unrolls is less than half of one; choose 0, or at "
                f"least {1 / games:g}"
            )
        check_replay(args, ranks, block_steps=args.num_steps, fields=fields_of_unrolls(MOST_ACTIONS))
    check_architecture(args.architecture)
    if args.architecture != "PPO" and not is_own(args.architecture):
        instead = "; continual backpropagation is `--methods continual_backprop` here"
        raise AgentError(
            f"`architecture` {args.architecture} is one of continual_training_example.py; choose PPO or a "
            f"`package.module:Class`{instead if args.architecture == 'PPO_CBP' else ''}"
        )


def notes(args: Args, schedule: Any) -> list[str | None]:
    """Lines for the user."""
    return [decay_note(schedule, args.total_timesteps)] if args.anneal_lr and not args.anneal_lr_per_regime else []


def memory(args: Args, game: GameConfig) -> tuple[int, str]:
    """Bytes that a process needs at least, and the settings that make it less."""
    in_update = args.batch_size + int(args.batch_size * args.replay_ratio)
    rows = bytes_of_rows(args, game, args.batch_size, in_update)
    return rows, "`num_envs`, `num_steps`, `buffer_window_size` or `replay_ratio`"


PLACES = frozenset({*MOMENTS, "every", "hidden", "fisher", "initialise"})
PARTS = ("optimizer", "methods", "reward_scaler")
SCRIPT = Script(
    file=__file__,
    description=__doc__ or "",
    settings=Args,
    rules=RULES,
    build=build,
    parts=PARTS,
    check=check,
    notes=notes,
    moments=PLACES,
    memory=memory,
)
prepare = functools.partial(setups.prepare, SCRIPT)  # read and check the settings, and stop there


if __name__ == "__main__":
    end_on_interrupt()
    main()
