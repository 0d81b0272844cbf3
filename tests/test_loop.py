"""The training loop against a recording made beside it: what it stores, computes and writes, and whether it learns.

The real `train` plays the made-up game of made_up_game.py. Everything that it derives from the game is derived a second
time here, from the recording alone: in float64, in plain loops, without a function of the project.
"""

import math

import numpy as np
import pytest
import torch
from conftest import read_csv
from made_up_game import ACTIONS, REGIMES, SmallAgent, play
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from continual_hackatari import continual_training_example as training
from continual_hackatari.agents import make_agent
from continual_hackatari.agents.acceleration import ActingAgent
from continual_hackatari.training.checkpoints import load_checkpoint

N, T = 4, 16  # games, steps of a rollout
PPO = ["--gamma", "0.9", "--gae_lambda", "0.8", "--clip_coef", "0.15", "--learning_rate", "0.003", "--amp", "off"]
SHRINK = ["--shrink_and_perturb", "--noise_scale", "0"]
# Switches at step 10 of a rollout, at the border of two, and at steps 3 and 5 of one rollout.
REGIMES_OF_360 = [(0, REGIMES[0]), (104, REGIMES[1]), (128, REGIMES[2]), (204, REGIMES[0]), (212, REGIMES[1])]
SHORT = ["--total_timesteps", "360", *PPO]

RUNS = {
    "live": (
        [*SHORT, "--switch_mode", "live", "--reward_scaling", "clip", "--no_anneal_lr", "--capture_video"],
        REGIMES_OF_360,
    ),
    "episode": ([*SHORT, "--switch_mode", "episode", "--no_norm_adv", "--no_clip_vloss"], REGIMES_OF_360),
    "unscaled": ([*SHORT, "--reward_scaling", "none", "--ent_coef", "0.1", "--vf_coef", "1"], REGIMES_OF_360),
    "shrunk": ([*SHORT, *SHRINK], REGIMES_OF_360),
    "shrunk live": ([*SHORT, *SHRINK, "--switch_mode", "live", "--perturb_optimizer", "keep"], REGIMES_OF_360),
    "bfloat16": ([*SHORT, *SHRINK, "--amp", "bf16"], REGIMES_OF_360),
    "long": (["--total_timesteps", "2000", *PPO], [(0, REGIMES[0]), (640, REGIMES[1]), (1000, REGIMES[2])]),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Recordings by the name of their run, each played once."""
    recordings = {}

    def of(name):
        if name not in recordings:
            flags, regimes = RUNS[name]
            with pytest.MonkeyPatch.context() as patch:
                recordings[name] = play(patch, tmp_path_factory.mktemp("run"), *flags, regimes=regimes)
        return recordings[name]

    return of


SLOWLY = ("unscaled", "shrunk", "long")


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOWLY)) for name in RUNS]
)
def run(request, recorded):
    return recorded(request.param)


# -------------------------------------------------------------------------------------- the same things a second time


def rollouts_of(run):
    """(first step, step after the last, gradient steps) of every rollout."""
    firsts = range(0, len(run.steps), T)
    stops = [min(first + T, len(run.steps)) for first in firsts]
    return [(a, b, [u for u in run.updates if u.step == b]) for a, b in zip(firsts, stops, strict=True)]


def network(weights, frames, precision=torch.float64):
    """Logits [B, ACTIONS] and values [B] of SmallAgent: its layer in `precision`, its heads in at least float32."""
    layer, bias, actor, actor_bias, critic, critic_bias = weights.values()
    x = torch.as_tensor(frames).flatten(1).to(precision) / 255
    hidden = torch.tanh(x @ layer.to(precision).T + bias.to(precision))
    hidden, heads = (hidden, torch.float64) if precision == torch.float64 else (hidden.float(), torch.float32)
    logits = hidden @ actor.to(heads).T + actor_bias.to(heads)
    return logits, (hidden @ critic.to(heads).T + critic_bias.to(heads)).squeeze(1)


def evaluated(run, weights, frames, actions):
    """Log-probabilities of `actions` and values [B], as the run acts: in float32 (here float64) or in bfloat16."""
    logits, values = network(weights, frames, torch.bfloat16 if run.args.amp == "bf16" else torch.float64)
    log_probs = logits - logits.exp().sum(1, keepdim=True).log()
    return log_probs[range(len(actions)), actions].detach().numpy(), values.detach().numpy()


def close(run, actual, expected):
    tolerance = {"rtol": 0.02, "atol": 0.02} if run.args.amp == "bf16" else {"rtol": 1e-4, "atol": 2e-5}
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), **tolerance)


def cut_after(run):
    """Steps after which a switch cut all games."""
    return {switch.step - 1 for switch in run.switches if switch.mode == "reset"}


def scaled_rewards(run):
    """Every reward over the deviation of all discounted returns so far, and one guess of weight 1e-4; [steps][N]."""
    if run.args.reward_scaling != "normalize":
        return [np.sign(s.reward) if run.args.reward_scaling == "clip" else s.reward for s in run.steps]
    returns, all_returns, scaled = [0.0] * N, [], []
    for k, step in enumerate(run.steps):
        for i in range(N):
            returns[i] = run.args.gamma * returns[i] + step.reward[i]
        all_returns += returns
        weight = len(all_returns) + 1e-4
        mean = sum(all_returns) / weight
        variance = (sum(value**2 for value in all_returns) + 1e-4) / weight - mean**2
        scaled.append([min(max(reward / math.sqrt(variance + 1e-8), -10), 10) for reward in step.reward])
        for i in range(N):
            if step.terminated[i] or step.truncated[i] or k in cut_after(run):
                returns[i] = 0.0
    return scaled


def advantages_of(run, first, stop, weights, scaled):
    """Advantages [steps][N] of one rollout by their recursion, every value computed where a step really led."""
    advantages = np.zeros((stop - first, N))
    for i in range(N):
        following = 0.0
        for k in reversed(range(first, stop)):
            step = run.steps[k]
            _, (value, value_after) = evaluated(run, weights, np.stack([step.seen[i], step.led_to[i]]), [0, 0])
            if step.terminated[i]:
                value_after = 0.0
            if step.terminated[i] or step.truncated[i] or k in cut_after(run):
                following = 0.0
            delta = scaled[k][i] + run.args.gamma * value_after - value
            following = delta + run.args.gamma * run.args.gae_lambda * following
            advantages[k - first, i] = following
    return advantages


def gradient_step(update, args, rate):
    """Gradient norm, and how each parameter and Adam's two averages change; None close to a kink of the loss."""
    rollout, t, n = update.rollout, update.rows // N, update.rows % N
    weights = {name: weight.double().requires_grad_() for name, weight in update.before.items()}
    logits, values = network(weights, rollout.observations[t, n])
    log_probs = logits - logits.exp().sum(1, keepdim=True).log()
    entropy = -(log_probs.exp() * log_probs).sum(1)
    ratio = (log_probs[range(len(t)), rollout.actions[t, n]] - rollout.log_probs[t, n]).exp()
    advantage, returns, old = (x[t, n].double() for x in (rollout.advantages, rollout.returns, rollout.values))
    if args.norm_adv:
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    low, high, eps = 1 - args.clip_coef, 1 + args.clip_coef, args.clip_coef
    policy_loss = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage).mean()
    plain, clipped = (values - returns) ** 2, (old + (values - old).clamp(-eps, eps) - returns) ** 2
    value_loss = (torch.maximum(plain, clipped) if args.clip_vloss else plain).mean() / 2
    (policy_loss - args.ent_coef * entropy.mean() + args.vf_coef * value_loss).backward()
    outside = (values - old).abs() > eps
    kinks = torch.cat([ratio - low, ratio - high, (values - old).abs() - eps, (plain - clipped)[outside]])
    if kinks.abs().min() < 1e-4:
        return None
    norm = math.sqrt(sum(float((weight.grad**2).sum()) for weight in weights.values()))
    changes, averages = {}, []
    for (name, weight), state in zip(weights.items(), update.state_before, strict=True):
        gradient = weight.grad * min(1.0, args.max_grad_norm / (norm + 1e-6))
        number = float(state.get("step", 0)) + 1
        mean = 0.9 * state.get("exp_avg", 0.0) + 0.1 * gradient
        square = 0.999 * state.get("exp_avg_sq", 0.0) + 0.001 * gradient**2
        changes[name] = -rate * (mean / (1 - 0.9**number)) / ((square / (1 - 0.999**number)).sqrt() + 1e-5)
        averages.append((number, mean, square))
    return norm, changes, averages


# -------------------------------------------------------------------------------------------------------------- tests


def test_rows_hold_what_was_seen_done_and_given(run):
    for first, stop, updates in rollouts_of(run):
        rollout = updates[0].rollout
        for t, k in enumerate(range(first, stop)):
            step, cut = run.steps[k], k in cut_after(run) and k + 1 < stop
            assert np.array_equal(rollout.observations[t], step.seen)
            assert np.array_equal(rollout.actions[t], step.action)
            assert np.array_equal(rollout.rewards[t], step.reward)
            assert np.array_equal(rollout.terminated[t], step.terminated)
            assert np.array_equal(rollout.done[t], step.terminated | step.truncated | cut)
            assert np.array_equal(rollout.achieved[t], step.achieved)
    ends = np.array([(step.terminated, step.truncated) for step in run.steps])
    assert all(ends[:, 0].any(0)), "every game loses lives"
    assert (ends[:, 1] & ~ends[:, 0]).sum() > 1, "some are cut by their time limit"


def test_actions_are_drawn_from_the_policy(run):
    """Their log-probabilities add up to what they do on average, and each action comes as often as it should.

    Once per step and group, and never from the same random numbers again.
    """
    assert len(set(run.drawn_from)) == len(run.drawn_from) == 2 * len(run.steps)
    surprise, variance, excess, spread = 0.0, 0.0, np.zeros(ACTIONS), np.zeros(ACTIONS)
    for step in run.steps:
        for i in range(N):
            logits, _ = network(step.weights[i // 2], step.seen[[i]])
            p = logits.detach().softmax(1).numpy()[0]
            surprise += np.log(p[step.action[i]]) - (p * np.log(p)).sum()
            variance += (p * np.log(p) ** 2).sum() - (p * np.log(p)).sum() ** 2
            excess += np.eye(ACTIONS)[step.action[i]] - p
            spread += p * (1 - p)
    assert abs(surprise) < 5 * math.sqrt(variance)
    assert (np.abs(excess) < 5 * np.sqrt(spread)).all()


def test_log_probabilities_and_values_are_those_of_the_weights_that_the_update_starts_from(run):
    """Of the weights that acted, therefore; and after a switch has shrunk them, of these for the earlier rows too."""
    for first, stop, updates in rollouts_of(run):
        start, rollout = updates[0].before, updates[0].rollout
        for t, k in enumerate(range(first, stop)):
            log_probs, values = evaluated(run, start, run.steps[k].seen, run.steps[k].action)
            close(run, rollout.log_probs[t], log_probs)
            close(run, rollout.values[t], values)
            for acted in run.steps[k].weights:
                shrunk_later = run.args.shrink_and_perturb and any(k < s.step < stop for s in run.switches)
                assert all(torch.equal(acted[name], start[name]) for name in start) != shrunk_later
        one = dict(zip(training.OF_GRADIENT_STEP, updates[0].numbers.tolist(), strict=True))
        assert abs(one["old_approx_kl"]) < (0.01 if run.args.amp == "bf16" else 1e-5), "all ratios start at 1"
        assert one["clipfrac"] == 0


def test_advantages_are_those_of_the_recording(run):
    scaled = scaled_rewards(run)
    for first, stop, updates in rollouts_of(run):
        rollout, start = updates[0].rollout, updates[0].before
        advantages = advantages_of(run, first, stop, start, scaled)
        close(run, rollout.advantages[: stop - first], advantages)
        close(run, rollout.returns[: stop - first] - rollout.values[: stop - first], advantages)


def test_columns_of_a_rollout_may_be_computed_by_themselves():
    """As the halves of hindsight may, with rewards of their own; a cut stands for what follows, the last step's too."""
    draw = torch.Generator().manual_seed(1)
    rewards, values = torch.randn(2, 5, 6, generator=draw)
    last, terminated, done = (
        torch.randn(6, generator=draw),
        torch.zeros(5, 6, dtype=bool),
        torch.zeros(5, 6, dtype=bool),
    )
    terminated[1, 3] = done[1, 3] = done[2, 1] = done[2, 4] = done[4, 5] = True
    cuts = [(2, [1, 4], [7.0, 8.0]), (4, [5], [9.0])]

    def of(columns):
        own = [
            (t, np.array([columns.index(c) for c in cut if c in columns], int), None,
             torch.tensor([value for c, value in zip(cut, of_cut, strict=True) if c in columns]))
            for t, cut, of_cut in cuts
        ]  # fmt: skip
        parts = (part[..., columns] for part in (rewards, values, last, terminated, done))
        rewards_, values_, last_, terminated_, done_ = parts
        return training.rollout_advantages(rewards_, values_, last_, own, terminated_, done_, 0.9, 0.8)

    advantages, returns = of(list(range(6)))
    halves = [of(list(range(3))), of(list(range(3, 6)))]
    assert torch.equal(torch.cat([half[0] for half in halves], 1), advantages)
    assert torch.equal(returns, advantages + values)
    led_to = torch.cat([values[1:], last[None]])
    for t, columns, of_cut in cuts:
        led_to[t, columns] = torch.tensor(of_cut)
    for column in range(6):
        following = 0.0
        for t in reversed(range(5)):
            delta = rewards[t, column] + 0.9 * led_to[t, column] * ~terminated[t, column] - values[t, column]
            following = float(delta + 0.72 * following * ~done[t, column])
            assert float(advantages[t, column]) == pytest.approx(following, abs=1e-5)


def test_every_gradient_step_is_adams_with_the_rate_of_its_rollout(run):
    """`Adam` with eps 1e-5, gradients clipped, weights and averages as in its paper; from the rows of its minibatch."""
    total, state, number, skipped = len(run.steps) * N, [{}] * 6, 0, 0
    for first, stop, updates in rollouts_of(run):
        rate = 0.003 * (1 - N * first / total if run.args.anneal_lr else 1)
        if any(first <= s.step < stop for s in run.switches) and run.args.shrink_and_perturb:
            state = [{}] * 6 if run.args.perturb_optimizer == "reset" else state
        for update in updates:
            assert update.settings["lr"] == pytest.approx(rate)
            assert (update.settings["eps"], update.settings["weight_decay"]) == (1e-5, 0)
            assert all(old.keys() == new.keys() for old, new in zip(state, update.state_before, strict=True))
            assert all(torch.equal(o[k], n[k]) for o, n in zip(state, update.state_before, strict=True) for k in o)
            state = update.state_after
            number += 1
            if run.args.amp == "bf16" or (len(run.updates) > 100 and number % 7):  # in the long run some of them
                continue
            expected = gradient_step(update, run.args, rate)
            if expected is None:
                skipped += 1
                continue
            norm, changes, averages = expected
            assert float(update.numbers[6]) == pytest.approx(norm, rel=1e-3)
            for name, change in changes.items():
                moved = update.after[name].double() - update.before[name].double()
                torch.testing.assert_close(moved, change, rtol=0.01, atol=0.02 * rate)
            for after, (age, mean, square) in zip(state, averages, strict=True):
                assert float(after["step"]) == age
                torch.testing.assert_close(after["exp_avg"].double(), mean, rtol=1e-3, atol=1e-6)
                torch.testing.assert_close(after["exp_avg_sq"].double(), square, rtol=1e-3, atol=1e-9)
    assert skipped < len(run.updates) / 4


def test_weights_change_in_gradient_steps_and_where_a_switch_shrinks_them(run):
    factor = 0.7 if run.args.shrink_and_perturb else 1.0
    assert [switch.step for switch in run.switches] == [-(-step // N) for step, _ in run.regimes[1:]]
    assert [switch.to for switch in run.switches] == [string for _, string in run.regimes[1:]]
    assert {switch.mode for switch in run.switches} == {run.args.switch_mode}
    for switch in run.switches:
        updated = [update.after for update in run.updates if update.step == switch.step]  # at a rollout's border
        for name, before in (updated[-1] if updated else switch.before).items():
            torch.testing.assert_close(switch.after[name], factor * before, rtol=1e-6, atol=0)
    last = None
    for first, stop, updates in rollouts_of(run):
        for update in updates:
            shrunk = update is updates[0] and factor < 1 and any(first <= s.step < stop for s in run.switches)
            assert last is None or shrunk or all(torch.equal(last[n], update.before[n]) for n in last)
            assert any(not torch.equal(update.before[n], update.after[n]) for n in update.before)
            last = update.after
    checkpoint = load_checkpoint(run.folder / "model.cleanrl_model")
    assert all(torch.equal(last[name], checkpoint.model_weights[name]) for name in last)
    assert checkpoint.global_step == N * len(run.steps)


def test_every_epoch_takes_every_row_once_in_an_order_of_its_own(run):
    orders = set()
    for first, stop, updates in rollouts_of(run):
        number = (stop - first) * N
        assert len(updates) == 16, "4 epochs of 4 minibatches"
        assert {len(update.rows) for update in updates} == {number // 4}
        for epoch in range(4):
            order = torch.cat([update.rows for update in updates[4 * epoch : 4 * epoch + 4]]).tolist()
            assert sorted(order) == list(range(number))
            assert order != sorted(order)
            orders.add(tuple(order))
    assert len(orders) == len(run.updates) // 4


def test_layers_compute_in_the_precision_of_the_run_when_acting_and_learning(run):
    precision = torch.bfloat16 if run.args.amp == "bf16" else torch.float32
    assert {(precision, False), (precision, True)} <= run.agent.computed
    assert {found for found, learning in run.agent.computed if learning} == {precision}
    assert {weight.dtype for weight in run.agent.parameters()} == {torch.float32}


def test_files_say_what_happened(run):
    games = sorted(run.games, key=lambda game: (game[0], game[1].cut, game[1].env))
    expected = [(k, g.env, g.modification, g.score, g.length, g.lives, g.cut, g.live_switches) for k, g in games]
    names = ("global_step", "env", "modification", "return", "length", "lives", "cut", "live_switches")
    rows = read_csv(run.folder / "episodes.csv")
    written = [tuple(row[name] if name == "modification" else float(row[name]) for name in names) for row in rows]
    assert written == expected

    strings = [string for _, string in run.regimes]
    switches = read_csv(run.folder / "switches.csv")
    assert [(int(r["global_step"]), r["from"], r["to"], r["mode"]) for r in switches] == [
        (N * s.step, strings[i], strings[i + 1], run.args.switch_mode) for i, s in enumerate(run.switches)
    ]
    starts = [(0, strings[0]), *((N * switch.step, switch.to) for switch in run.switches)]
    videos = [(i, f"step{step:09d}_{string}") for i, (step, string) in enumerate(starts)]
    assert run.videos == ([(max(i - 1, 0), name) for i, name in videos] if run.args.capture_video else [])
    events = EventAccumulator(str(run.folder)).Reload()
    logged = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    numbers = {name: [] for name in (*training.LOSSES, "explained_variance")}
    rates, indices, seen = [], [], []
    for first, stop, updates in rollouts_of(run):
        step, rollout = N * stop, updates[0].rollout
        last, mean = updates[-1].numbers, torch.stack([update.numbers for update in updates]).mean(0)
        for i, name in enumerate(training.LOSSES):
            numbers[name].append((step, float((mean if name == "clipfrac" else last)[i])))
        returns, values = (x[: stop - first].double().numpy() for x in (rollout.returns, rollout.values))
        numbers["explained_variance"].append((step, 1 - (returns - values).var() / returns.var()))
        rates.append((step, updates[0].settings["lr"]))
        played = strings[sum(s.step < stop for s in run.switches)]
        seen += [played] if played not in seen else []
        indices.append((step, seen.index(played)))
    for name, expected in numbers.items():
        assert_logged(logged[f"losses/{name}"], expected)
    assert_logged(logged["charts/learning_rate"], rates)
    assert_logged(logged["charts/modification_index"], indices)
    borders = [0, *(N * switch.step for switch in run.switches)]
    assert_logged(logged["switch/regime_steps"], list(zip(borders[1:], np.diff(borders), strict=True)))
    assert_logged(logged["switch/number"], [(step, i) for i, step in enumerate(borders) if i])


def assert_logged(logged, expected):
    assert [step for step, _ in logged] == [step for step, _ in expected]
    assert [v for _, v in logged] == pytest.approx([v for _, v in expected], rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_it_learns(recorded):
    right = np.array([step.right for step in recorded("long").steps]).mean(1)
    assert right[-125:].mean() > 0.75
    assert right[:25].mean() < 0.6


def test_a_last_rollout_may_have_fewer_rows_than_there_are_minibatches(monkeypatch, tmp_path):
    run = play(monkeypatch, tmp_path, "--total_timesteps", "68", "--num_minibatches", "8", *PPO)
    sizes = [[len(update.rows) for update in updates] for _, _, updates in rollouts_of(run)]
    assert sizes == [[8] * 32, [1] * 16]


# ------------------------------------------------------------------------- weights that change at a switch, elsewhere

ONE_SWITCH = [(0, REGIMES[0]), (104, REGIMES[1])]  # at step 10 of the second rollout
HINDSIGHT = ["--her", "--her_importance_clip", "1.5"]
ELSEWHERE = {
    "hindsight": (HINDSIGHT, SmallAgent, (3, 3)),
    "hindsight in bfloat16": ([*HINDSIGHT, "--amp", "bf16"], SmallAgent, (3, 3)),
    "hindsight, live": ([*HINDSIGHT, "--switch_mode", "live"], SmallAgent, (3, 3)),
    "continual backpropagation": (["--architecture", "PPO_CBP"], None, (84, 84)),
    "the convolutions in bfloat16": (["--amp", "bf16"], None, (84, 84)),
}


def convolutions(shape, generator):
    """The network of the real agents with a policy that is not uniform, so that it matters by how much it shrinks."""
    agent = make_agent("PPO_CBP", shape, ACTIONS, generator=generator)
    with torch.no_grad():
        agent.actor.weight.mul_(50)
    return agent


@pytest.mark.slow
@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_update_starts_from_what_the_switch_made_of_the_weights(name, monkeypatch, tmp_path):
    flags, small, plane_shape = ELSEWHERE[name]
    flags = ["--total_timesteps", "128", "--update_epochs", "1", *PPO, *SHRINK, *flags]
    make = None if small else convolutions
    run = play(monkeypatch, tmp_path, *flags, regimes=ONE_SWITCH, make_agent=make, plane_shape=plane_shape)
    (switch,) = run.switches
    update = next(update for update in run.updates if update.step == 32)
    assert all(torch.equal(update.before[name], switch.after[name]) for name in update.before)
    rollout, rows = update.rollout, update.rollout.actions.numel()
    frames = rollout.observations[:, torch.arange(rows // T) % N].flatten(0, 1).clone()
    if rollout.goals is not None:
        frames[:, 2:] = rollout.goals.flatten(0, 1)[:, :, None, None]
    actions = rollout.actions.flatten()

    def by(weights):
        if small:
            return evaluated(run, weights, frames, actions)
        agent = convolutions(tuple(frames.shape[1:]), None)
        agent.load_state_dict(weights)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=run.args.amp == "bf16"):
            _, log_probs, _, values = agent.get_action_and_value(frames, actions)
        return log_probs.numpy(), values.numpy()

    log_probs, values = by(switch.after)
    close(run, rollout.log_probs.flatten(), log_probs)
    close(run, rollout.values.flatten(), values)
    before, values_before = by(switch.before)
    early = np.arange(rows) < rows // T * 10
    assert np.abs(before - log_probs)[early].mean() > 0.1, "with the old weights they were others"
    assert np.abs(values_before - values)[early].mean() > 0.1
    one = dict(zip(training.OF_GRADIENT_STEP, update.numbers.tolist(), strict=False))
    assert abs(one["old_approx_kl"]) < (0.01 if run.args.amp == "bf16" else 1e-5), (
        "in either half all ratios start at 1"
    )
    assert one["clipfrac"] == 0
    for t, step in enumerate(run.steps[16:]):
        assert np.array_equal(rollout.achieved[t], step.achieved)
    if rollout.weights is not None:
        halves = log_probs.reshape(T, 2, N)
        close(run, rollout.weights[:, N:], np.exp(halves[:, 1] - halves[:, 0]).clip(max=1.5))


@pytest.mark.parametrize("noise", ["gaussian", "initialiser"])
def test_the_switch_perturbs_as_its_flags_say_each_time_anew(noise, monkeypatch, tmp_path):
    flags = ["--shrink_and_perturb", "--shrink_factor", "0.9", "--noise_scale", "0.1", "--perturb_noise", noise]
    regimes = [(0, REGIMES[0]), (24, REGIMES[1]), (40, REGIMES[2])]
    run = play(monkeypatch, tmp_path, "--total_timesteps", "64", *flags, regimes=regimes)
    added = [{n: s.after[n] - 0.9 * before for n, before in s.before.items()} for s in run.switches]
    scale = {"gaussian": 0.1, "initialiser": 0.1 * math.sqrt(2 / 24)}[noise]  # orthogonal 24 x 18, of gain sqrt(2)
    for drawn in added:
        assert drawn["layer.weight"].square().mean().sqrt() == pytest.approx(scale, rel=0.2)
        assert (drawn["layer.bias"].abs().max() > 0.01) == (noise == "gaussian")
    assert (added[0]["layer.weight"] - added[1]["layer.weight"]).abs().max() > 0.01


def test_nothing_is_computed_anew_where_no_weight_changes(monkeypatch, tmp_path):
    """Without shrinking no row is looked at again, at a rollout's border neither; a factor of 1 changes no bit."""
    looked_at = []
    evaluate = ActingAgent.evaluate
    monkeypatch.setattr(
        ActingAgent, "evaluate", lambda self, x, action: looked_at.append(len(x)) or evaluate(self, x, action)
    )
    identity = ["--shrink_and_perturb", "--shrink_factor", "1", "--noise_scale", "0", "--perturb_optimizer", "keep"]
    at_a_border = [(0, REGIMES[0]), (64, REGIMES[1])]
    runs = []
    for name, flags, regimes, number in (
        ("plain", [], ONE_SWITCH, 0),
        ("identity", identity, ONE_SWITCH, 10 * N),
        ("border", SHRINK, at_a_border, 0),
    ):
        (tmp_path / name).mkdir()
        looked_at.clear()
        runs.append(play(monkeypatch, tmp_path / name, "--total_timesteps", "128", *PPO, *flags, regimes=regimes))
        assert sum(looked_at) == number, "rows before the switch, and each of them once"
    plain, same, border = ([update.rollout for update in run.updates[::16]] for run in runs)
    for one, other in zip(plain, same, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a is b or torch.equal(a, b)
    for a, b in zip(plain[0], border[0], strict=True):
        assert a is b or torch.equal(a, b), "the rollout before the border is the one of the old weights"


# ----------------------------------------------------------------------------------------------------------- target_kl


def test_target_kl_ends_an_update_after_the_epoch_that_moved_too_far(monkeypatch, tmp_path):
    """What every gradient step says of its distance is made up; only an epoch's last one counts."""
    small, far = 0.01, 0.03
    script = [
        [[far, far, far, small]] * 4,
        [[small] * 4, [small, small, small, far]],
        [[small, small, small, far]],
        [[small] * 4, [small] * 4, [small] * 4, [small, small, small, far]],
        [[far, small, small, small]] * 4,
    ]
    said = iter([distance for update in script for epoch in update for distance in epoch])

    def step(*_, **__):
        numbers = torch.full((len(training.OF_GRADIENT_STEP),), 5.0)
        numbers[training.OF_GRADIENT_STEP.index("approx_kl")] = next(said)
        return numbers

    monkeypatch.setattr(training, "minibatch_step", step)
    run = play(monkeypatch, tmp_path, "--total_timesteps", "320", "--target_kl", "0.02")
    updates = [len(updates) for _, _, updates in rollouts_of(run)]
    assert updates == [4 * len(epochs) for epochs in script]
    assert next(said, None) is None
