"""EWC: the Fisher information of a softmax, the penalty against the explicit sum, and who is held when."""

import copy
from itertools import pairwise

import made_up_game
import numpy as np
import pytest
import torch
from copies import Largest
from made_up_game import REGIMES
from made_up_methods import copy_of, method_on, seeded, small_agent
from torch import nn

from continual_hackatari.methods import ewc
from continual_hackatari.methods.ewc import Held, LastRows, fisher, information_of, normalised
from continual_hackatari.methods.moments import Boundary, Clock, Learner, Rows

CLOCK = Clock(10, 0, None)


class Softmax(nn.Module):
    """A policy without hidden layers: probabilities softmax(W x)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.5, -0.2], [0.1, 0.3], [-0.4, 0.6]]))

    def fisher_terms(self, x, generator):
        log_probs = (x @ self.weight.T).log_softmax(-1)
        drawn = torch.multinomial(log_probs.detach().exp(), 1, generator=generator)
        return {"log_prob": log_probs.gather(-1, drawn)[:, 0]}


class EveryAction(Softmax):
    """All actions, each with its probability in the place of a draw: no luck is left in the mean over rows."""

    def fisher_terms(self, x, generator):
        log_probs = (x @ self.weight.T).log_softmax(-1)
        return {str(a): log_probs.detach()[:, a].mul(0.5).exp() * log_probs[:, a] for a in range(3)}


def test_the_information_of_a_softmax_is_p_times_one_minus_p_times_x_squared():
    policy, x = EveryAction(), torch.randn(50, 2, generator=seeded(1))
    p = (x @ policy.weight.T).softmax(-1).detach()
    expected = ((p * (1 - p))[:, :, None] * x.square()[:, None]).mean(0)
    torch.testing.assert_close(fisher(policy, x, seeded(2))["weight"], expected, rtol=1e-5, atol=1e-7)


def test_each_row_is_squared_by_itself():
    """Of two rows with opposite inputs the gradients may cancel; their squares do not."""
    policy = Softmax()
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(50, 1)
    by_hand, generator = torch.zeros(3, 2), seeded(2)
    for row in x.split(1):
        p = (row @ policy.weight.T).softmax(-1).detach()
        action = torch.multinomial(p, 1, generator=generator)
        by_hand += ((nn.functional.one_hot(action[0, 0], 3) - p[0])[:, None] * row).square() / len(x)
    found = fisher(policy, x, seeded(2))["weight"]
    torch.testing.assert_close(found, by_hand)
    assert float(found[:, 0].sum()) > 0.5


@pytest.mark.parametrize("architecture", ["PPO", "PPO_OBJ"])
def test_an_agents_information_is_that_of_its_policy_and_its_value(architecture):
    agent = small_agent(architecture)
    shape = (2, 2, 3) if architecture == "PPO_OBJ" else (2, 2, 84, 84)
    seen = torch.rand(shape, generator=seeded(3)) * 255
    found = fisher(agent, seen, seeded(4))
    # Of the critic's bias it is 1, of its weights the mean of the squared features; of the actor's bias (e_a - p)^2.
    assert float(found["critic.bias"]) == pytest.approx(1.0)
    features = agent.hidden(seen).detach()
    torch.testing.assert_close(found["critic.weight"][0], features.square().mean(0), rtol=1e-4, atol=1e-6)
    assert bool((found["actor.bias"] <= 1).all())
    assert float(found["actor.bias"].sum()) == pytest.approx(0.75, abs=0.05), "near uniform: (3/4)^2 + 3 (1/4)^2"
    assert all(bool(each.isfinite().all()) for each in found.values())
    assert not any(each.requires_grad for each in found.values())


def test_the_action_of_each_row_is_drawn_from_the_policy():
    """The most likely one, or those that were played, would make the information that of another policy."""
    agent, p = small_agent(), torch.tensor([0.5, 0.25, 0.15, 0.1])
    with torch.no_grad():
        agent.actor.weight.zero_()
        agent.actor.bias.copy_(p.log())
        drawn = agent.fisher_terms(torch.zeros(4000, 2, 3), seeded(5))["log_prob"].exp()
    counts = torch.stack([torch.isclose(drawn, each, rtol=1e-4).float().mean() for each in p])
    torch.testing.assert_close(counts, p, rtol=0, atol=0.03)  # four deviations of the largest share


def test_scaled_information_has_a_mean_of_one():
    agent = small_agent()
    found = {name: torch.rand(each.shape) * len(name) for name, each in agent.named_parameters()}
    scaled = normalised(found)
    every = torch.cat([each.flatten() for each in scaled.values()])
    assert float(every.mean()) == pytest.approx(1.0, rel=1e-5)
    factor = scaled["actor.bias"][0] / found["actor.bias"][0]
    for name, each in scaled.items():  # by one factor: layers keep what they mean beside each other
        torch.testing.assert_close(each, found[name] * factor)
    zero = {"a": torch.zeros(3)}
    assert not normalised(zero)["a"].any()


def test_the_sum_in_the_room_of_one_is_the_explicit_sum():
    theta = {"a": nn.Parameter(torch.randn(5, 3, generator=seeded(1))), "b": nn.Parameter(torch.zeros(4))}
    held, terms = Held(theta), []
    for number in range(4):
        draw = seeded(10 + number)
        information = {name: torch.rand(each.shape, generator=draw) for name, each in theta.items()}
        information["a"][number] = 0  # nothing is known of some
        weights = {name: torch.randn(each.shape, generator=draw) for name, each in theta.items()}
        held.add(information, weights)
        terms.append((information, weights))
    explicit = sum((f[name] * (theta[name] - w[name]).square()).sum() for f, w in terms for name in theta)
    torch.testing.assert_close(held.distance(theta), explicit)
    found = torch.autograd.grad(held.distance(theta), list(theta.values()))
    for mine, its in zip(found, torch.autograd.grad(explicit, list(theta.values())), strict=True):
        torch.testing.assert_close(mine, its)


def test_the_last_rows_are_kept():
    def steps(first, number):
        return torch.arange(first, first + 2 * number).reshape(number, 2, 1)

    last = LastRows(5)
    last.add(steps(0, 0))
    assert last.observations is None
    for first, number, expected in ((0, 1, [0, 1]), (2, 2, [1, 2, 3, 4, 5]), (6, 4, [9, 10, 11, 12, 13])):
        last.add(steps(first, number))
        assert last.observations.flatten().tolist() == expected
        assert last.observations.untyped_storage().nbytes() == 8 * len(expected), "all of a storage is saved"
    last.add(steps(0, 0))
    assert last.observations.flatten().tolist() == expected
    last.clear()
    assert last.observations is None


def test_further_rows_cost_a_copy_of_these_alone():
    last = LastRows(100)
    last.load(torch.zeros(100, 5), torch.device("cpu"))
    with Largest() as largest:
        for number in range(30):
            last.add(torch.full((2, 2, 5), float(number)))
    assert largest.numbers == 2 * 2 * 5
    assert last.observations[:, 0].tolist() == [n for n in range(5, 30) for _ in range(4)]
    assert sum(map(len, last._parts)) == 100, "no more is kept"


def play(method, task, seed):
    observations = torch.rand(4, 2, 2, 3, generator=seeded(seed)) * 255
    method.rows(Rows(observations, *[None] * 4, task, CLOCK))


def switch(method, before, after, seed):
    play(method, before, seed)
    boundary = Boundary(before, after, CLOCK)
    method.before_boundary(boundary)
    method.boundary(boundary)


def penalty(method):
    return method.loss(torch.zeros(1), {}, [])


def move(agent, seed):
    with torch.no_grad():
        for each in agent.parameters():
            each.add_(0.1 * torch.randn(each.shape, generator=seeded(seed)))


def test_only_earlier_tasks_hold_weights_and_one_met_again_replaces_what_was_remembered():
    agent = small_agent()
    method = method_on(agent, "ewc", samples=8, strength=3.0)
    assert float(penalty(method).detach()) == 0.0
    switch(method, "a", "b", 1)
    assert float(penalty(method).detach()) == 0.0, "right after, nothing has moved"
    at_a, of_a = copy_of(agent), method._tasks["a"][0]
    move(agent, 1)

    def explicit(*terms):
        every = dict(agent.named_parameters())
        return 1.5 * sum((f[n] * (every[n] - w[n]).square()).sum() for f, w in terms for n in every).item()

    assert float(penalty(method).detach()) == pytest.approx(explicit((of_a, at_a)), rel=1e-4)
    switch(method, "b", "a", 2)
    at_b, of_b = copy_of(agent), method._tasks["b"][0]
    move(agent, 2)
    assert float(penalty(method).detach()) == pytest.approx(explicit((of_b, at_b)), rel=1e-4), "not the one in training"
    switch(method, "a", "c", 3)
    again, of_again = copy_of(agent), method._tasks["a"][0]
    move(agent, 3)
    assert float(penalty(method).detach()) == pytest.approx(explicit((of_b, at_b), (of_again, again)), rel=1e-4)
    assert method.numbers()["tasks"] == 2


def test_the_sum_counts_every_task_that_ended():
    agent = small_agent()
    method = method_on(agent, "ewc", samples=8, strength=2.0, memory="sum")
    terms = []
    for number, (before, after) in enumerate((("a", "b"), ("b", "a"), ("a", "b"))):
        play(method, before, number)
        information = normalised(
            fisher(agent, method._last.observations, seeded(7).set_state(method.learner.generator.get_state()))
        )
        terms.append((information, copy_of(agent)))
        method.before_boundary(Boundary(before, after, CLOCK))
        method.boundary(Boundary(before, after, CLOCK))
        move(agent, number)
        every = dict(agent.named_parameters())
        expected = sum((f[n] * (every[n] - w[n]).square()).sum() for f, w in terms for n in every)
        torch.testing.assert_close(penalty(method), expected, rtol=1e-4, atol=1e-5)
    assert method.numbers()["tasks"] == 3


def test_the_minimum_of_loss_and_penalty_is_that_of_the_quadratic_toy():
    """Of (theta - b)^2 / 2 + strength / 2 F (theta - a)^2: (b + strength F a) / (1 + strength F)."""
    theta = {"x": nn.Parameter(torch.zeros(3, dtype=torch.float64))}
    a, b, f = (torch.tensor(each, dtype=torch.float64) for each in ([1.0, 2, 3], [-1.0, 0, 5], [0.5, 0, 2]))
    held = Held(theta)
    held.add({"x": f}, {"x": a})
    optimizer = torch.optim.SGD(theta.values(), lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        (0.5 * (theta["x"] - b).square().sum() + 0.5 * 3.0 * held.distance(theta)).backward()
        optimizer.step()
    torch.testing.assert_close(theta["x"].detach(), (b + 3 * f * a) / (1 + 3 * f))


def test_a_task_that_ended_before_anything_was_played_is_not_remembered():
    method = method_on(small_agent(), "ewc", samples=8)
    method.before_boundary(Boundary("a", "b", CLOCK))
    method.boundary(Boundary("a", "b", CLOCK))
    assert method.numbers() == {"penalty": 0.0, "tasks": 0.0}


@pytest.mark.parametrize("name", ["ewc", "online_ewc"])
def test_nothing_is_computed_where_nothing_is_held(name):
    agent = small_agent()
    method = method_on(agent, name, samples=8)
    with Largest() as largest:
        assert float(penalty(method)) == 0.0
    assert largest.numbers == 1
    switch(method, "a", "b", 1)
    move(agent, 1)
    assert float(penalty(method).detach()) == pytest.approx(method.numbers()["penalty"]) != 0
    if name == "ewc":  # the only task that it knows is trained again
        method.before_boundary(Boundary("b", "a", CLOCK))
        method.boundary(Boundary("b", "a", CLOCK))
        assert float(penalty(method)) == method.numbers()["penalty"] == 0.0


@pytest.mark.parametrize("name", ["ewc", "online_ewc"])
def test_a_task_is_measured_on_its_own_rows(name):
    method = method_on(small_agent(), name, samples=100)
    for before, after in (("a", "b"), ("b", "a")):
        play(method, before, 1)
        assert len(method._last.observations) == 8
        method.before_boundary(Boundary(before, after, CLOCK))
        method.boundary(Boundary(before, after, CLOCK))
        assert method.large_state()["rows"] is None


@pytest.mark.parametrize("name", ["ewc", "online_ewc"])
def test_a_run_that_goes_on_in_the_middle_of_a_task_measures_all_of_its_rows(name):
    agent = small_agent()
    method, again = (method_on(agent, name, samples=100) for _ in range(2))
    switch(method, "a", "b", 1)
    move(agent, 1)
    play(method, "b", 2)
    again.learner.generator.set_state(method.learner.generator.get_state())
    again.load_state_dict(method.state_dict())
    again.load_large_state(copy.deepcopy(method.large_state()))
    assert float(penalty(again).detach()) == pytest.approx(float(penalty(method).detach()), rel=1e-5) != 0
    for each in (method, again):
        switch(each, "b", "c", 3)
    move(agent, 2)
    assert float(penalty(again).detach()) == pytest.approx(float(penalty(method).detach()), rel=1e-5) != 0
    assert again.numbers() == pytest.approx(method.numbers(), rel=1e-5)


@pytest.mark.parametrize("name", ["ewc", "online_ewc"])
def test_in_a_run_the_information_is_of_the_last_rows_of_the_task_that_ends(name, monkeypatch, tmp_path):
    """Also where one ends within a rollout, or two in one. A faint pixel of the made-up game says what is played."""
    measured, real = [], ewc.fisher
    monkeypatch.setattr(
        ewc, "fisher", lambda agent, seen, draws: (measured.append(seen.clone()), real(agent, seen, draws))[1]
    )
    regimes = [(0, REGIMES[0]), (104, REGIMES[1]), (128, REGIMES[2]), (204, REGIMES[0]), (212, REGIMES[1])]
    run = made_up_game.play(
        monkeypatch, tmp_path, "--total_timesteps", "240", "--methods", name, f"--{name}.samples=24", regimes=regimes
    )
    borders = [start // 4 for start, _ in regimes]  # in steps of all four games
    assert len(measured) == len(borders) - 1
    for (start, stop), (_, string), seen in zip(pairwise(borders), regimes, measured, strict=False):
        expected = np.concatenate([step.seen for step in run.steps[start:stop]])[-24:]
        assert np.array_equal(seen.numpy(), expected)
        assert set(seen[:, 1, 0, 0].tolist()) == {1 + REGIMES.index(string)}


def test_the_information_is_the_mean_over_all_processes():
    agent, seen = small_agent(), torch.rand(3, 2, 3, generator=seeded(2)) * 255
    learner = Learner(agent, torch.optim.SGD(agent.parameters(), 1.0), seeded(3), average=lambda mine: 2 * mine)
    alone = fisher(agent, seen, seeded(3))
    for name, together in information_of(learner, seen, normalise=False).items():
        assert torch.equal(together, 2 * alone[name])


@pytest.mark.parametrize("memory", ["tasks", "sum"])
def test_the_penalty_of_several_tasks_goes_on(memory):
    agent = small_agent()
    method, again = (method_on(agent, "ewc", samples=8, memory=memory) for _ in range(2))
    for seed, (before, after) in enumerate(("ab", "bc")):
        switch(method, before, after, seed)
        move(agent, seed)
    again.load_state_dict(method.state_dict())
    again.load_large_state(copy.deepcopy(method.large_state()))
    assert float(penalty(again).detach()) == pytest.approx(float(penalty(method).detach()), rel=1e-5)
