"""The update of continual_clear.py: against the formulas written a second time, and row by row in a run."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import NEEDS_HACKATARI, only_run, read_csv, write_config
from scipy.stats import entropy as relative_entropy
from test_minibatch import LinearAgent
from test_vtrace import double_sum

from continual_hackatari import continual_clear as training
from continual_hackatari import continual_progress_compress
from continual_hackatari.agents import RewardScaler
from continual_hackatari.agents.actor_critic import divergence
from continual_hackatari.agents.restartable_rmsprop import RestartableRMSprop
from continual_hackatari.methods.ewc import EWC
from continual_hackatari.methods.from_scratch import FromScratch
from continual_hackatari.methods.moments import Changed
from continual_hackatari.methods.reset_optimizer import ResetOptimizer
from continual_hackatari.methods.together import NO_METHODS
from continual_hackatari.replay import Replay
from continual_hackatari.training.config import ConfigError
from continual_hackatari.training.ranks import Ranks
from continual_hackatari.training.run import Run
from continual_hackatari.training.unrolls import Unrolls, replayed_unrolls, trace
from continual_hackatari.wrappers.config import game_config

PLANES, ACTIONS = 3, 3
NO_AUTOCAST = torch.autocast("cpu", torch.bfloat16, enabled=False)


def made_up_unrolls(steps, games, seed, agent=None, short=False):
    """Unrolls of frames of one pixel, with an end in the game and a cut in them; stored by `agent` or by some other.

    short: the last game has one row less, which is followed by something else.
    """
    draw = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (steps + 1, games, PLANES, 1, 1), generator=draw, dtype=torch.uint8)
    chosen = torch.randint(0, ACTIONS, (steps, games), generator=draw)
    logits, values = 2 * torch.randn(steps, games, ACTIONS, generator=draw), torch.randn(steps, games, generator=draw)
    if agent is not None:
        with torch.no_grad():
            logits, values = (x.unflatten(0, (steps, games)) for x in agent(frames[:steps].flatten(0, 1)))
    terminated, cut = torch.zeros(2, steps, games, dtype=torch.bool)
    terminated[0, 0] = cut[1, -1] = True
    mask, done = torch.ones_like(terminated), terminated | cut
    places = [(steps - 1, game) for game in range(games)]
    if short:
        mask[-1, -1], done[-2, -1], done[-1, -1] = False, True, True
        places[-1] = (steps - 2, games - 1)
    seen = torch.randint(0, 256, (games + 1, PLANES, 1, 1), generator=draw, dtype=torch.uint8)
    return Unrolls(
        frames[:steps],
        chosen,
        logits.log_softmax(-1),
        values,
        torch.randn(steps, games, generator=draw),
        terminated,
        done,
        mask,
        seen,
        tuple(torch.tensor([*places, (1, games - 1)]).T),
    )


def by_hand(args, agent, unrolls):
    """The loss in float64 from its definition, game by game; and the sums that it is made of."""
    twin = copy.deepcopy(agent).double()

    def outputs(frames):
        features = frames.flatten(1).double() / 255
        return twin.actor(features).log_softmax(-1), twin.critic(features)[:, 0]

    sums = dict.fromkeys(("policy", "value", "entropy", "policy_cloning", "value_cloning"), torch.zeros(()))
    for number, each in enumerate(unrolls):
        for game in range(each.actions.shape[1]):
            length = int(each.mask[:, game].sum())
            log_policies, values = outputs(each.observations[:length, game])
            chosen = each.actions[:length, game, None]
            log_probs = log_policies.gather(-1, chosen)[:, 0]
            behaviour = each.log_policies[:length, game].double().gather(-1, chosen)[:, 0]
            next_values = [0.0] * length
            for t in range(length):
                next_values[t] = values[t + 1].item() if t + 1 < length else 0.0
            for t, column, seen in zip(*each.places, each.after, strict=True):
                if int(column) == game:
                    next_values[int(t)] = outputs(seen[None])[1].item()
            columns = [each.rewards[:length, game], values.detach(), torch.tensor(next_values)]
            columns += [each.terminated[:length, game], each.done[:length, game]]
            log_ratios = (log_probs.detach() - behaviour)[:, None]
            bounds = (args.gamma, args.rho_bar, args.c_bar, args.vtrace_lambda)
            targets, advantages = double_sum(log_ratios, [c[:, None] for c in columns], 0, *bounds)
            for t in range(length):
                policy = log_policies[t].exp()
                sums["policy"] = sums["policy"] - advantages[t] * log_probs[t]
                sums["value"] = sums["value"] + 0.5 * (targets[t] - values[t]) ** 2
                sums["entropy"] = sums["entropy"] - (policy * log_policies[t]).sum()
                if number > 0:
                    stored = each.log_policies[t, game].double()
                    sums["policy_cloning"] = sums["policy_cloning"] + (stored.exp() * (stored - log_policies[t])).sum()
                    sums["value_cloning"] = sums["value_cloning"] + (values[t] - each.values[t, game]) ** 2
    total = sums["policy"] + args.vf_coef * sums["value"] - args.ent_coef * sums["entropy"]
    total = total + args.policy_cloning * sums["policy_cloning"] + args.value_cloning * sums["value_cloning"]
    loss = args.reference_rows / (args.num_envs * args.num_steps) * total
    return loss, sums, twin


def gradients_of(agent):
    return torch.cat([parameter.grad.flatten().double() for parameter in agent.parameters()])


@pytest.mark.parametrize("bounds", [{}, {"rho_bar": 1.5, "c_bar": 0.7, "vtrace_lambda": 0.8, "gamma": 0.9}])
@pytest.mark.parametrize("replayed", [False, True])
def test_one_step_is_that_of_the_formulas(bounds, replayed):
    weights = {"ent_coef": 0.3, "policy_cloning": 0.4, "value_cloning": 0.6, "max_grad_norm": 1e9}
    args = training.Args(num_envs=2, num_steps=4, **weights, **bounds)
    agent = LinearAgent(PLANES)
    unrolls = [made_up_unrolls(4, 2, 1), made_up_unrolls(5, 3, 2, short=True)][: 2 if replayed else 1]
    loss, sums, twin = by_hand(args, agent, unrolls)
    loss.backward()
    optimizer = torch.optim.SGD(agent.parameters(), 0.0)
    numbers, targets, values = training.minibatch_step(args, agent, optimizer, NO_AUTOCAST, unrolls)
    torch.testing.assert_close(gradients_of(agent), gradients_of(twin), rtol=1e-4, atol=1e-4)
    found = dict(zip(training.OF_GRADIENT_STEP, numbers.tolist(), strict=True))
    rows = sum(int(each.mask.sum()) for each in unrolls)
    assert found["policy_loss"] == pytest.approx(sums["policy"].item() / rows, rel=1e-4, abs=1e-5)
    assert found["value_loss"] == pytest.approx(sums["value"].item() / rows, rel=1e-4)
    assert found["entropy"] == pytest.approx(sums["entropy"].item() / rows, rel=1e-4)
    assert found["gradient_norm"] == pytest.approx(float(gradients_of(twin).norm()), rel=1e-4)
    assert targets.shape == values.shape == (8,)
    for name in ("policy_cloning", "value_cloning"):
        assert found[name] == pytest.approx(float(sums[name].detach()) / 14, rel=1e-4, abs=1e-9), (
            "a row of 15 is not there"
        )
    assert bool(found["clipped_ratio"]) == bool(found["policy_cloning"]) == replayed


def test_a_shorter_block_is_traced_as_if_no_other_were_longer():
    """A switch in mode `episode` ends a block and not the game: what followed counts by its value, no row below."""
    replay = Replay(num_envs=1, block_steps=4, steps=100, mb=1.0)
    for task, length in (("a", 3), ("b", 4)):
        draw = np.random.default_rng(length)
        numbers = {name: draw.normal(size=(length, 1)).astype(np.float32) for name in ("values", "rewards")}
        policies = np.log(draw.dirichlet(np.ones(ACTIONS), (length, 1))).astype(np.float32)
        frames, last = (draw.integers(0, 256, (n, 1, PLANES, 1, 1)).astype(np.uint8) for n in (length, 1))
        never = np.zeros((length, 1), bool)
        fields = {**numbers, "log_policies": policies, "actions": np.zeros((length, 1), np.int64), "terminated": never}
        replay.add(frames, fields, done=never, tasks=task, step=0, last=last[0])
    replay.begin("c")
    both = replayed_unrolls(replay.sample(2), torch.device("cpu"))
    game = both.mask.sum(0).tolist().index(3)
    args, values, after = training.Args(), torch.linspace(-2, 3, 8), torch.tensor([5.0, 7.0])
    log_probs = both.log_policies[..., 0] + 0.1
    found = trace(args, both, log_probs, values, after).targets[:3, game]
    expected, following = [], float(after[both.places[1].tolist().index(game)])
    for reward in both.rewards[:3, game].flip(0).tolist():  # ratios above 1 count as 1, so these are the returns
        following = reward + args.gamma * following
        expected.insert(0, following)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_step_is_as_long_whatever_the_number_of_games():
    """Losses count as of `reference_rows` new rows: the same games twice give the same gradient."""
    agent, once = LinearAgent(PLANES), made_up_unrolls(4, 2, 1)
    twice = Unrolls(
        *(torch.cat([part, part], 1) for part in once[:8]),
        torch.cat([once.after] * 2),
        (once.places[0].repeat(2), torch.cat([once.places[1], once.places[1] + 2])),
    )
    found = []
    for games, unrolls in ((2, once), (4, twice)):
        args = training.Args(num_envs=games, num_steps=4, max_grad_norm=1e9)
        training.minibatch_step(args, agent, torch.optim.SGD(agent.parameters(), 0.0), NO_AUTOCAST, [unrolls])
        found.append(gradients_of(agent))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


def test_the_strength_of_a_method_is_that_beside_a_mean_over_reference_rows():
    """A method that adds the mean value gives the bias of the value head a gradient of 1, that is of all these rows."""

    class MeanValue(type(NO_METHODS)):
        def loss(self, observations, outputs, hidden):
            return outputs["value"].mean()

    added = MeanValue()
    added.adds_to_loss = True
    args, agent = training.Args(num_envs=2, num_steps=4, max_grad_norm=1e9), LinearAgent(PLANES)

    def strength(*unrolls):
        found = []
        for methods in (added, NO_METHODS):
            optimizer = torch.optim.SGD(agent.parameters(), 0.0)
            training.minibatch_step(args, agent, optimizer, NO_AUTOCAST, unrolls, methods)
            found.append(float(agent.critic.bias.grad))
        return found[0] - found[1]

    new, old = (made_up_unrolls(4, 2, seed) for seed in (1, 2))
    assert strength(new) == pytest.approx(args.reference_rows, rel=1e-3)
    assert strength(new, old) == pytest.approx(args.reference_rows, rel=1e-3), "replayed rows add nothing to it"
    half = new._replace(mask=new.mask & (torch.arange(4) < 2)[:, None])
    assert strength(half) == pytest.approx(args.reference_rows / 2, rel=1e-3), "as the other losses of a short unroll"


def test_methods_see_rows_that_there_are_and_no_others():
    """A unit that is silent on all that was played is not saved by the empty rows of a block that is shorter."""
    seen = {}

    class Seeing(type(NO_METHODS)):
        def loss(self, observations, outputs, hidden):
            seen["loss"] = [observations, *hidden, outputs["value"]]
            return outputs["value"].sum() * 0

        def weights(self, hidden):
            seen["weights"] = hidden

    class Looking(LinearAgent):
        def forward(self, x, with_hidden=False):
            outputs = super().forward(x)
            return (*outputs, [x.flatten(1)]) if with_hidden else outputs

    args, agent = training.Args(num_envs=2, num_steps=4), Looking(PLANES)
    unrolls = [made_up_unrolls(4, 2, 1), made_up_unrolls(5, 3, 2, short=True)]
    methods, optimizer = Seeing(), torch.optim.SGD(agent.parameters(), 0.0)
    methods.needs_hidden = methods.adds_to_loss = True
    training.minibatch_step(args, agent, optimizer, NO_AUTOCAST, unrolls, methods)
    frames = torch.cat([each.observations.flatten(0, 1) for each in unrolls])
    expected = frames[torch.cat([each.mask.flatten() for each in unrolls])]
    assert len(expected) == len(frames) - 1
    assert torch.equal(seen["weights"][0], expected.flatten(1))
    assert torch.equal(seen["loss"][0], expected)
    assert torch.equal(seen["loss"][1], expected.flatten(1))
    torch.testing.assert_close(seen["loss"][2], agent(expected)[1])


def test_nothing_is_cloned_where_the_weights_are_those_that_played():
    """And something is after one step; rows just played are never held where they are."""
    args, agent = training.Args(num_envs=2, num_steps=4), LinearAgent(PLANES)
    unrolls = [made_up_unrolls(4, 2, seed, agent) for seed in (1, 2)]
    optimizer, found = torch.optim.SGD(agent.parameters(), 1e-3), []
    for _ in range(2):
        numbers, *_ = training.minibatch_step(args, agent, optimizer, NO_AUTOCAST, unrolls)
        found.append(dict(zip(training.OF_GRADIENT_STEP, numbers.tolist(), strict=True)))
    for name in ("policy_cloning", "value_cloning"):
        assert abs(found[0][name]) < 1e-6
        assert found[1][name] > 1e-6
    assert found[0]["clipped_ratio"] == pytest.approx(1, abs=1e-5)
    new = [unrolls[0]._replace(log_policies=unrolls[0].log_policies.roll(1, -1), values=unrolls[0].values + 9)]
    numbers, *_ = training.minibatch_step(args, agent, optimizer, NO_AUTOCAST, new)
    assert numbers[3:5].tolist() == [0, 0]


@pytest.mark.parametrize("behaviour", ["its own policy", "another policy"])
def test_it_learns_which_action_a_frame_asks_for(behaviour):
    """Games of one step, in which one of three planes is lit; also from actions of a policy that never learns."""
    args, agent = training.Args(num_envs=16, num_steps=20, learning_rate=0.03), LinearAgent(PLANES)
    optimizer, draw = training.make_optimizer(args, agent), torch.Generator().manual_seed(1)
    over = torch.ones(20, 16, dtype=torch.bool)
    for _ in range(100):
        right = torch.randint(ACTIONS, (20, 16), generator=draw)
        frames = (255 * torch.nn.functional.one_hot(right, PLANES)).to(torch.uint8)[..., None, None]
        with torch.no_grad():
            logits, values = (x.unflatten(0, (20, 16)) for x in agent(frames.flatten(0, 1)))
        if behaviour != "its own policy":
            logits = torch.zeros_like(logits)
        chosen = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=draw).view(20, 16)
        rewards, nothing = (chosen == right).float(), (torch.zeros(0, dtype=torch.int64),) * 2
        policies = logits.log_softmax(-1)
        new = Unrolls(frames, chosen, policies, values, rewards, over, over, over, frames[0, :0], nothing)
        training.minibatch_step(args, agent, optimizer, NO_AUTOCAST, [new])
    with torch.no_grad():
        logits, values = agent((255 * torch.eye(PLANES)).to(torch.uint8)[..., None, None])
    assert bool((logits.softmax(-1).diagonal() > 0.9).all()), logits.softmax(-1)
    assert bool((values > 0.6).all()), values


@pytest.mark.parametrize("seed", range(2))
def test_the_divergence_is_from_the_stored_policy_to_the_present_one(seed):
    before, now = torch.randn(2, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)
    found = float(divergence(before.log(), now.log()))
    assert found == pytest.approx(relative_entropy(before.numpy(), now.numpy()), abs=1e-9)
    assert found != pytest.approx(relative_entropy(now.numpy(), before.numpy()), abs=1e-3)


def test_restarted_units_begin_as_in_a_new_optimizer():
    """RMSProp's own state is alike in all entries, so the next step of a restarted row is the first of a new one."""
    weights = [torch.nn.Parameter(torch.ones(3, 2)) for _ in range(2)]
    settings = {"lr": 0.1, "alpha": 0.9, "eps": 0.01}
    ours, new = RestartableRMSprop([weights[0]], **settings), torch.optim.RMSprop([weights[1]], **settings)
    for _ in range(3):
        weights[0].grad = torch.full((3, 2), 2.0)
        ours.step()
    ours.restart(weights[0], 0, torch.tensor([1]))
    before = weights[0].detach().clone()
    for weight, optimizer in zip(weights, (ours, new), strict=True):
        weight.grad = torch.full((3, 2), 2.0)
        optimizer.step()
    steps = before - weights[0].detach()
    first = 1 - weights[1].detach()
    torch.testing.assert_close(steps[1], first[1], rtol=1e-4, atol=0)
    assert bool((steps[[0, 2]] < 0.9 * first[[0, 2]]).all())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--architecture", "PPO_OBJ"], "PPO_OBJ is one of continual_training_example.py; choose PPO"),
        (["--architecture", "PPO_CBP"], "`--methods continual_backprop`"),
        (["--anneal_lr_per_regime"], "says how the learning rate decays, and it does not; add `--anneal_lr`"),
        (["--rms_alpha", "2"], "`rms_alpha` is 2.0"),
        (["--reference_rows", "0"], "`reference_rows` is 0"),
        (["--her"], "--her"),
        (["--replay_ratio", "0.01"], "`replay_ratio` 0.01 of 16 unrolls is less than half of one"),
        (["--replay_ratio", "-1"], "`replay_ratio` is -1.0"),
        (["--replay_ratio", "0", "--replay_keep", "fifo"], "`replay_keep` fifo says how the past is replayed"),
        (["--replay_ratio", "0", "--policy_cloning", "1"], "`policy_cloning` 1.0 says how the past is replayed"),
        (["--replay_steps", "300"], "cannot hold a block of each game: 16 games x 20 steps"),
        (["--replay_mb", "1"], "a replay of 1 MB cannot hold"),
    ],
)
def test_what_cannot_be_is_one_sentence(words, sentence, workdir, capsys):
    with pytest.raises(SystemExit) as stopped:
        training.main(["--env_id", "ALE/Freeway-v5", "--no_cuda", *words])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert not (workdir / "runs").exists()


SMALL = ["--num_envs", "2", "--num_steps", "8", "--num_workers", "0", "--no_cuda"]
EPISODES = {
    "env_id": "ALE/Breakout-v5",
    "total_timesteps": 160,
    "game_start": "none",
    "time_limit": 100,  # 25 agent steps: truncations besides lost lives
    "modification_factory": "SequentialModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 160,
        "modifications": ["", "left_drift"],
        "switching_thresholds": [88],
    },
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What `minibatch_step` was given in each update of a run of an agent that stays as it is, and that agent."""
    folder = tmp_path_factory.mktemp("clear")
    updates, agents = [], []

    def learn(args, agent, optimizer, autocast, unrolls, *rest):
        agents[:] = [agent]
        updates.append(copy.deepcopy(list(unrolls)))
        return original(args, agent, optimizer, autocast, unrolls, *rest)

    original = training.minibatch_step
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(training, "minibatch_step", learn)
        training.main(["--config", write_config(folder, **EPISODES), *SMALL, "--learning_rate", "1e-30"])
    return updates, agents[0], only_run(folder)


@NEEDS_HACKATARI
def test_every_stored_policy_and_value_is_of_its_own_row(seen):
    updates, agent, _ = seen
    assert len(updates) == 10
    for unrolls in updates:
        for each in unrolls:
            with torch.no_grad():
                logits, values = agent(each.observations.flatten(0, 1))
            there = each.mask.flatten()
            apart = divergence(each.log_policies.flatten(0, 1), logits.log_softmax(-1))[there]
            assert float(apart.abs().max()) < 1e-5
            assert float((values - each.values.flatten())[there].abs().max()) < 1e-4


@NEEDS_HACKATARI
def test_what_followed_a_row_is_known_where_the_next_row_does_not_say_it(seen):
    """The switch cuts both games after step 44 of each, in the sixth unroll, and a time limit cuts others."""
    updates, _, run = seen
    assert [len(unrolls) for unrolls in updates] == [1] + [2] * 9, "nothing can be replayed in the first"
    (switch,) = read_csv(run / "switches.csv")
    assert switch["global_step"] == "88"
    cut_at = np.zeros((80, 2), bool)
    for number, (new, *_) in enumerate(updates):
        border = new.done.clone()
        border[-1] = True
        places = torch.zeros_like(border)
        places[new.places] = True
        assert len(new.after) == int(places.sum()), "no row twice"
        assert torch.equal(places, border & ~new.terminated)
        cut_at[8 * number : 8 * number + 8] = (new.done & ~new.terminated).numpy()
        for (t, n), after in zip(zip(*new.places, strict=True), new.after, strict=True):
            assert torch.equal(after[:-1], new.observations[t, n][1:]), "its older planes are the row's newer ones"
    assert cut_at[43].all()
    assert cut_at.sum() > 4, "the time limit too"


def rows_of(unrolls, game):
    """What one game saw, did, got and what was said of it, each row as bytes."""
    columns = (unrolls.observations, unrolls.actions, unrolls.log_policies, unrolls.values, unrolls.rewards)
    columns = [column[:, game] for column in (*columns, unrolls.terminated)]
    there = int(unrolls.mask[:, game].sum())
    return [b"".join(column[t].contiguous().numpy().tobytes() for column in columns) for t in range(there)]


@NEEDS_HACKATARI
def test_replayed_unrolls_are_what_was_played_in_earlier_updates(seen):
    """Steps in a row of one game and one regime, bit for bit, and none of the same update."""
    updates, _, _ = seen
    history = [[], []]
    for new, *old in updates:
        for each in old:
            found = [rows_of(each, game) for game in range(each.actions.shape[1])]
            assert len(found) == 2
            assert found[0] != found[1], "drawn without replacement"
            for rows in found:
                places = [
                    range(start, start + len(rows))
                    for played in history
                    for start in range(len(played) - len(rows) + 1)
                    if played[start : start + len(rows)] == rows
                ]
                assert any(44 not in place[1:] for place in places), "of one regime: the switch is after 44 steps"
        for game in range(2):
            history[game] += rows_of(new, game)
    lengths = {len(rows_of(each, game)) for _, *old in updates for each in old for game in range(2)}
    assert 8 in lengths


@NEEDS_HACKATARI
def test_the_numbers_of_replay_are_logged(seen):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    *_, run = seen
    events = EventAccumulator(str(run)).Reload()
    names = {name for name in events.Tags()["scalars"] if name.startswith("replay/")}
    assert names == {f"replay/{name}" for name in (*training.OF_REPLAY, "steps", "mb", "blocks", "tasks")}
    assert [event.value for event in events.Scalars("replay/steps")] == [16.0 * i for i in range(1, 11)]
    assert max(abs(event.value) for event in events.Scalars("replay/policy_cloning")) < 1e-6
    assert [event.value for event in events.Scalars("replay/tasks")] == [1.0] * 6 + [2.0] * 4, "of whole unrolls"


def test_optimizer_settings_reach_rmsprop():
    args = training.Args(learning_rate=0.3, rms_alpha=0.9, rms_eps=0.2)
    (group,) = training.make_optimizer(args, LinearAgent(PLANES)).param_groups
    assert (group["lr"], group["alpha"], group["eps"], group["momentum"]) == (0.3, 0.9, 0.2, 0)


def test_gradients_are_clipped_to_their_norm():
    args, agent = training.Args(num_envs=2, num_steps=4, max_grad_norm=0.5), LinearAgent(PLANES)
    optimizer = torch.optim.SGD(agent.parameters(), 0.0)
    numbers, *_ = training.minibatch_step(args, agent, optimizer, NO_AUTOCAST, [made_up_unrolls(4, 2, 1)])
    assert float(numbers[-1]) > 1
    assert float(gradients_of(agent).norm()) == pytest.approx(0.5, rel=1e-4)


def test_two_processes_make_the_step_of_one():
    """Each has half of the games; `mean_gradients` makes the mean of theirs."""
    whole, found = made_up_unrolls(4, 2, 1), []
    args, ranks = training.Args(num_envs=2, num_steps=4, max_grad_norm=1e9), SimpleNamespace(size=2)
    ranks.mean_gradients = lambda agent, numbers: numbers
    for which, those in (((0, 1), training.ALONE), ((0,), ranks), ((1,), ranks)):
        rows = torch.isin(whole.places[1], torch.tensor(which))
        part = Unrolls(
            *(each[:, list(which)] for each in whole[:8]),
            whole.after[rows],
            (whole.places[0][rows], whole.places[1][rows] - which[0]),
        )
        agent = LinearAgent(PLANES)
        optimizer = torch.optim.SGD(agent.parameters(), 0.0)
        training.minibatch_step(args, agent, optimizer, NO_AUTOCAST, [part], NO_METHODS, those)
        found.append(gradients_of(agent))
    torch.testing.assert_close((found[1] + found[2]) / 2, found[0], rtol=1e-4, atol=1e-4)


@NEEDS_HACKATARI
@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_as_many_unrolls_are_replayed_as_the_ratio_says(ratio, workdir, monkeypatch):
    drawn, sample = [], Replay.sample
    monkeypatch.setattr(Replay, "sample", lambda replay, number: (drawn.append(number), sample(replay, number))[1])
    training.main(["--config", write_config(workdir, **EPISODES), *SMALL, "--replay_ratio", str(ratio)])
    assert drawn == [2 * ratio] * 9


@NEEDS_HACKATARI
def test_methods_are_shown_rows_of_their_own_regime_and_act_in_every_step(workdir, monkeypatch):
    seen, terms = [], []
    see, term = EWC.rows, EWC.loss
    monkeypatch.setattr(EWC, "rows", lambda self, rows: (seen.append((rows.task, len(rows.actions))), see(self, rows)))
    monkeypatch.setattr(EWC, "loss", lambda *given: (terms.append(1), term(*given))[1])
    words = ["--methods", "ewc", "--ewc.samples", "8"]
    training.main(["--config", write_config(workdir, **EPISODES), *SMALL, *words])
    assert [sum(n for task, n in seen if task == name) for name in ("", "left_drift")] == [44, 36]
    assert len(terms) == 10


@NEEDS_HACKATARI
def test_boundaries_every_so_many_steps(workdir, monkeypatch):
    told = []
    monkeypatch.setattr(ResetOptimizer, "boundary", lambda self, boundary: (told.append(boundary[:2]), Changed())[1])
    words = ["--methods", "reset_optimizer", "--boundary", "every:64"]
    training.main(["--config", write_config(workdir, **EPISODES), *SMALL, *words])
    assert told == [("period 0", "period 1"), ("period 1", "period 2")]


@NEEDS_HACKATARI
def test_an_agent_that_begins_anew_learns_from_nothing_of_before(workdir, monkeypatch):
    """The switch is after step 4 of the sixth unroll: of it four rows are left, and none to replay."""
    updates, states, step, begin = [], [], training.minibatch_step, FromScratch.boundary

    def learn(args, agent, optimizer, autocast, unrolls, *rest):
        updates.append([len(each.actions) for each in unrolls])
        return step(args, agent, optimizer, autocast, unrolls, *rest)

    def boundary(method, boundary):
        changed = begin(method, boundary)
        states.extend(part.state_dict()["count"] for part in method.learner.beside)
        return changed

    monkeypatch.setattr(training, "minibatch_step", learn)
    monkeypatch.setattr(FromScratch, "boundary", boundary)
    words = ["--methods", "from_scratch", "--reward_scaling", "normalize"]
    training.main(["--config", write_config(workdir, **EPISODES), *SMALL, *words])
    assert updates == [[8], *[[8, 8]] * 4, [4], [8], *[[8, 8]] * 3]
    assert states == [RewardScaler(2, 0.99).count]


@NEEDS_HACKATARI
def test_the_learning_rate_falls_to_nothing(workdir, monkeypatch):
    rates, step = [], training.minibatch_step
    monkeypatch.setattr(
        training, "minibatch_step", lambda *given: (rates.append(given[2].param_groups[0]["lr"]), step(*given))[1]
    )
    words = ["--anneal_lr", "--learning_rate", "0.001"]
    training.main(["--config", write_config(workdir, **EPISODES), *SMALL, *words])
    assert rates == pytest.approx([0.001 * (1 - k / 10) for k in range(10)])


def test_main_memory_has_room_for_the_replay(monkeypatch):
    game, _ = game_config("ALE/Freeway-v5")
    given = [
        training.Args(replay_mb=mb, replay_ratio=ratio) for mb, ratio in ((500.0, 1.0), (1500.0, 1.0), (1500.0, 0.0))
    ]
    small, large, none = (training.memory(each, game)[0] for each in given)
    assert large == small > none, "the replay is not where the rows are, which may be a GPU"
    monkeypatch.setattr("continual_hackatari.training.replay.memory_of", {"cpu": 8 * 10**9}.get)
    args = training.Args(env_id="ALE/Freeway-v5", replay_mb=9000.0)
    for ranks in (Ranks(), Ranks(0, 2, 0, 2)):
        with pytest.raises(ConfigError, match="may take 9,000 MB of this machine's memory, which has 8,000 MB; choose"):
            training.check(args, None, ranks)
    training.check(args, None, Ranks(0, 2, 0, 1))  # on two machines
    training.check(replace(args, replay_mb=7000.0), None, Ranks())
    training.check(replace(args, resume="runs/it_goes_on"), None, Ranks())  # which cannot take less any more


@NEEDS_HACKATARI
@pytest.mark.parametrize("script", [training, continual_progress_compress], ids=["clear", "progress_compress"])
def test_returns_begin_anew_at_a_switch_on_a_border_of_two_unrolls(script, workdir, monkeypatch):
    """What the scale of rewards is measured by; the games were cut there."""
    scalers, seen, begin = [], [], Run.begin_regime
    make = script.RewardScaler
    monkeypatch.setattr(script, "RewardScaler", lambda *given: (scalers.append(make(*given)), scalers[-1])[1])

    def begin_regime(run, modification):
        seen.append(scalers[-1].returns.copy())
        begin(run, modification)

    monkeypatch.setattr(Run, "begin_regime", begin_regime)
    scale, before = script.scale_rewards, []

    def scale_rewards(scaler, *given, **others):
        found = scale(scaler, *given, **others)
        scaler.returns[:] = 1.0  # as if something had been scored at the very end
        before.append(1)
        return found

    monkeypatch.setattr(script, "scale_rewards", scale_rewards)
    kwargs = {**EPISODES["modification_factory_kwargs"], "switching_thresholds": [80]}
    config = write_config(workdir, **{**EPISODES, "modification_factory_kwargs": kwargs})
    script.main(["--config", config, *SMALL, "--reward_scaling", "normalize"])
    assert before
    assert [each.tolist() for each in seen] == [[0.0, 0.0]]
