"""What two processes compute together, for comparison with one: `rank_math.py <folder>` as a process of a job.

The functions below are also called by the test, alone.
"""

import contextlib
import copy
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import numpy as np
import torch

from continual_hackatari import continual_training_example as training
from continual_hackatari.agents import make_agent
from continual_hackatari.agents.hindsight import Relabelling
from continual_hackatari.agents.restartable_adam import RestartableAdam
from continual_hackatari.methods.moments import Clock
from continual_hackatari.reporting.plan import Label
from continual_hackatari.training import evaluations
from continual_hackatari.training.evaluations import Evaluator, RunEvaluation
from continual_hackatari.training.hindsight import scale_halves
from continual_hackatari.training.ranks import ALONE, Ranks
from continual_hackatari.training.rollouts import Rollout
from continual_hackatari.training.run_methods import make_methods, played
from continual_hackatari.wrappers.config import game_config

STEPS, GAMES, ACTIONS, UPDATES = 6, 8, 3, 5
METHODS = ("PPO", "PPO_CBP", "HER", "redo", "ewc", "online_ewc")
"""Algorithms, and methods of `--methods`."""
ACTS_AT = 3
"""Of the methods: after so many steps they recycle units, or a task ends."""
SETTINGS = {"redo": {"every": ACTS_AT, "threshold": 0.0}, "ewc": {"strength": 10.0}, "online_ewc": {"strength": 10.0}}


def rollout_of(method, games):
    """The part of one fixed rollout that belongs to these games."""
    draw = torch.Generator().manual_seed(7)
    halves = 2 if method == "HER" else 1
    planes = 4 + (halves - 1)

    def per_row(make):
        return make((STEPS, halves, GAMES))[:, :, games].reshape(STEPS, -1)

    def normal(shape):
        return torch.randn(shape, generator=draw)

    frames = torch.randint(0, 256, (STEPS, GAMES, planes, 84, 84), generator=draw, dtype=torch.uint8)
    goals = torch.randint(0, 256, (STEPS, halves, GAMES, 1), generator=draw, dtype=torch.uint8)
    own = frames[:, games].permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)  # the layout of `empty_rollout`
    none = np.zeros(0)
    return Rollout(
        observations=own,
        actions=per_row(lambda shape: torch.randint(0, ACTIONS, shape, generator=draw)),
        log_probs=per_row(normal) * 0.1 - 1.1,
        values=per_row(normal),
        # Not centred, and of another size in every game: statistics of one rank's rows are those of no other's.
        advantages=per_row(lambda shape: normal(shape) * (1 + torch.arange(GAMES)) + torch.arange(GAMES)),
        returns=per_row(normal),
        rewards=none,
        terminated=none,
        done=none,
        achieved=none,
        goals=goals[:, :, games].reshape(STEPS, -1, 1) if method == "HER" else None,
        weights=None,
        relabelled=per_row(lambda shape: torch.rand(shape, generator=draw) < torch.tensor([0.0, 0.7])[None, :, None])
        if method == "HER"
        else None,
    )


def rows_of(group, number, ranks, num_blocks):
    """Rows of half of the games, the share of one of two ranks, in one gradient step; of either half as it comes."""
    draw = torch.Generator().manual_seed(2 * number + group)
    blocks = torch.randperm(num_blocks, generator=draw)[
        : num_blocks // 2
    ]  # (t, half) pairs, from each a row of every game
    share, first = GAMES // ranks.size, group * GAMES // 2 if ranks.alone else 0
    return (blocks[:, None] * share + first + torch.arange(GAMES // 2)).flatten()


def update(method, ranks):
    """Some gradient steps, all on the same rows however many processes share them; what comes out."""
    share = GAMES // ranks.size
    games = slice(ranks.rank * share, (ranks.rank + 1) * share)
    rollout = rollout_of(method, games)
    args = settings_of(method, samples=STEPS * share)
    planes = rollout.observations.shape[2]
    agent = make_agent(args.architecture, (planes, 84, 84), ACTIONS, generator=torch.Generator().manual_seed(1))
    if method in SETTINGS:
        prepare_for_methods(agent)
    start = copy.deepcopy(agent.state_dict())
    adam = RestartableAdam if args.restarts_units else torch.optim.Adam
    optimizer = adam(agent.parameters(), lr=1e-3, eps=1e-5)
    methods = make_methods(args, agent, optimizer, ranks)
    cbp = next((one.units for one in methods if hasattr(one, "units")), None)
    autocast = torch.autocast("cpu", enabled=False)
    losses = []
    blocks = rollout.values.numel() // share
    for number in range(UPDATES):
        rows = torch.cat(
            [rows_of(group, number, ranks, blocks) for group in (0, 1) if ranks.alone or group == ranks.rank]
        )
        losses.append(training.minibatch_step(args, agent, optimizer, autocast, rollout, rows, methods, ranks))
        if number + 1 == ACTS_AT and methods.keeps_rows:
            task = SimpleNamespace(modification="a", clock=lambda: Clock(1, 0, None), args=args)
            methods.rows(played(task, rollout._replace(rewards=np.zeros((STEPS, share))), 0, STEPS))
            methods.boundary("a", "b", Clock(1, 0, None))
    return {
        "numbers": methods.numbers(),
        "large": methods.large_state(),
        "start": start,
        "agent": agent.state_dict(),
        "losses": torch.stack(losses),
        "ages": None if cbp is None else torch.cat([record.age for record in cbp.records]),
        "utility": None if cbp is None else torch.cat([record.utility for record in cbp.records]),
        "dormant": None if cbp is None else [record.replaced_dormant for record in cbp.records],
    }


def settings_of(method, samples):
    """samples: of a task, for methods that keep rows."""
    args = training.Args(num_envs=GAMES, num_steps=STEPS, her=method == "HER", her_weight=0.7)
    args.architecture = "PPO_CBP" if method == "PPO_CBP" else "PPO"
    args.replacement_rate, args.maturity_threshold, args.utility = 0.01, 1, "adaptable_contribution"
    if method in SETTINGS:
        own = {**SETTINGS[method], **({} if method == "redo" else {"samples": samples})}
        args.methods, args.prefixed = (method,), {f"{method}.{name}": value for name, value in own.items()}
    return args


def prepare_for_methods(agent):
    """Units that are silent whatever they see, and terms of the Fisher information that are nobody's draw.

    Each rank draws for its own rows, one process for all of them: with draws the information would differ.
    """
    with torch.no_grad():
        for layer in agent.hidden_layers():
            layer.layer.weight[::7] = 0
            layer.layer.bias[::7] = -1

    def fisher_terms(x, generator):
        logits, value = agent(x)
        return {"log_prob": logits.log_softmax(-1)[:, 0], "value": value}

    agent.fisher_terms = fisher_terms


def scaled_rewards(ranks):
    """Rewards of hindsight's two halves, scaled in two rollouts; and the scalers' states."""
    draw = np.random.default_rng(5)
    rewards = draw.normal(size=(2, STEPS, GAMES)) * (1 + np.arange(GAMES))
    done, changed, ends, reached = draw.random((4, 2, STEPS, GAMES)) < [[[[0.2]]], [[[0.7]]], [[[0.2]]], [[[0.5]]]]
    share = GAMES // ranks.size
    own = np.s_[:, ranks.rank * share : (ranks.rank + 1) * share]
    args = training.Args(num_envs=GAMES, her=True)
    scalers = training.make_scalers(args)
    scaled = []
    for i in range(2):
        relabelling = Relabelling(np.zeros(0), reached[i][own], done[i][own], changed[i][own], ends[i][own])
        scaled.append(scale_halves(args.her_rewards, rewards[i][own], done[i][own], relabelling, scalers, ranks))
    return {"scaled": torch.from_numpy(np.stack(scaled)), "state": [scaler.state_dict() for scaler in scalers]}


def evaluate(ranks, folder):
    """Six jobs of one game each, into `folder`: whether it was done, with a stop and without, after how many words."""
    folder.mkdir(exist_ok=True)
    game, _ = game_config("ALE/Breakout-v5", frameskip=40)
    splits = {"": "train", "left_drift": "train", "right_drift": "held_out"}
    agent = make_agent("PPO", (4, 84, 84), 4, generator=torch.Generator().manual_seed(3)).eval()
    words = []
    evaluations.SECONDS_WITHOUT_A_WORD = 0.0
    with contextlib.closing(Evaluator(RunEvaluation(folder, 1, game, splits, 1, 0), ranks)) as evaluator:
        jobs = ranks.from_main(lambda: evaluator.missing([[Label(0, 0, "")]]))
        stopped = evaluator.play(jobs, lambda _: agent, lambda: ranks.rank == ranks.size - 1)
        done = evaluator.play(jobs, lambda _: agent, lambda: bool(words.append(0)))
    return {"jobs": len(jobs), "done": (stopped, done), "words": len(words)}


def talk(ranks):
    """The messages themselves; two ranks."""
    rank = ranks.rank
    heard = {
        "any": ranks.any(rank == 1, False, rank == 0),
        "gather": ranks.gather([f"item {i} of rank {rank}" for i in range(rank + 1)]),
        "join": ranks.join(torch.tensor([[rank, 10.0]])),
        "own": ranks.own(torch.arange(4)),
        "bools": ranks.join(torch.tensor([True, rank == 1])),
        "games": torch.from_numpy(np.array(ranks.join_games(np.array([[rank, 5.0], [7.0, rank]])))),
        "mean": ranks.mean(torch.tensor([rank, 3.0])),
        "from_main": ranks.from_main(lambda: {"rank": rank, "pi": 3.14}),
        "main_first": ranks.main_first(lambda: rank),
        "silent": sys.stdout.name != "<stdout>",
    }
    with contextlib.suppress(KeyError, SystemExit):  # the main rank raises, the others end with it
        ranks.from_main(lambda: {}["nothing"])
        heard["raised"] = "nothing"
    return heard


def everything(ranks=ALONE):
    return {**{method: update(method, ranks) for method in METHODS}, "rewards": scaled_rewards(ranks)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with Ranks.of_this_process() as ranks:
        folder = Path(sys.argv[1])
        found = {**everything(ranks), "talk": talk(ranks), "evaluated": evaluate(ranks, folder / "run")}
        torch.save(found, folder / f"rank{ranks.rank}.pt")
