"""Cloning: 0 for the weights that played, its divergence against scipy's, and what it holds and remembers."""

import made_up_game
import numpy as np
import pytest
import torch
from made_up_methods import copy_of, method_on, seeded, small_agent
from scipy import stats

from continual_hackatari.methods.moments import Clock, Rows
from continual_hackatari.replay import Replay

CLOCK = Clock(10, 0, None)


def seen_by(architecture, steps=20, games=2, seed=1):
    shape = (2, 3) if architecture == "PPO_OBJ" else (2, 84, 84)
    seen = torch.rand((steps, games, *shape), generator=seeded(seed)) * 255
    return seen if architecture == "PPO_OBJ" else seen.to(torch.uint8)


def rows_of(seen, task="a", clock=CLOCK):
    size = tuple(seen.shape[:2])
    return Rows(seen, torch.zeros(size), {}, np.zeros(size), np.zeros(size, bool), task, clock)


def opinionated(architecture="PPO_OBJ", how=1000):
    """An agent whose policy depends on what it sees."""
    agent = small_agent(architecture)
    with torch.no_grad():
        agent.actor.weight *= how
    return agent


def loss_of(method):
    return method.loss(torch.zeros(1), {}, [])


def changed(agent, by=0.3):
    with torch.no_grad():
        for name, weight in agent.named_parameters():
            weight += by * torch.randn(weight.shape, generator=seeded(len(name)))


@pytest.mark.parametrize("architecture", ["PPO", "PPO_OBJ"])
def test_it_is_0_for_the_weights_that_played_and_then_grows(architecture):
    agent = opinionated(architecture)
    method = method_on(agent, "cloning", samples=30)
    assert float(loss_of(method)) == 0.0, "before anything was played"
    method.rows(rows_of(seen_by(architecture)[:0]))
    method.rows(rows_of(seen_by(architecture)))
    before = loss_of(method)
    assert float(before.detach()) == pytest.approx(0, abs=1e-5)
    before.backward()
    assert all(float(weight.grad.abs().max()) < 1e-2 for weight in agent.actor.parameters())
    assert method.numbers()["policy"] == pytest.approx(0, abs=1e-6)
    changed(agent, 0.01)
    assert float(loss_of(method).detach()) > 1e-4


def test_it_is_the_divergence_of_the_policy_that_played_from_the_present_one_and_the_squared_change_of_the_value():
    agent = opinionated()
    seen = seen_by("PPO_OBJ", 16, 1)
    method = method_on(agent, "cloning", policy=2.0, value=3.0, samples=500)
    with torch.no_grad():
        then = agent(seen.flatten(0, 1))
        method.rows(rows_of(seen))
        changed(agent)
        now = agent(seen.flatten(0, 1))
    old, new = (logits.softmax(-1).double().numpy() for logits, _ in (then, now))
    by_row = stats.entropy(old, new, axis=-1)
    assert abs(by_row.mean() - stats.entropy(new, old, axis=-1).mean()) > 0.1 * by_row.mean(), "the direction counts"
    distances = agent.distances(agent.outputs(seen[:, 0]), {"logits": then[0], "value": then[1]})
    np.testing.assert_allclose(distances["policy"].detach(), by_row, rtol=1e-4, atol=1e-6)
    squared = (now[1] - then[1]).square()
    torch.testing.assert_close(distances["value"].detach(), squared)
    term = loss_of(method)
    numbers = method.numbers()
    assert float(term.detach()) == pytest.approx(2 * numbers["policy"] + 3 * numbers["value"], rel=1e-5)
    drawn = method.memory.sample_steps(4000)  # 500 rows drawn from 16
    weights = np.bincount(drawn.positions, minlength=16) / 4000
    assert numbers["policy"] == pytest.approx(float(weights @ by_row), rel=0.3)
    assert by_row.min() < numbers["policy"] < by_row.max()


def test_steps_against_it_lead_back_to_what_was_said():
    agent = opinionated()
    seen = seen_by("PPO_OBJ", 16, 2)
    with torch.no_grad():
        then = agent(seen.flatten(0, 1))[0].softmax(-1)
    method = method_on(agent, "cloning", samples=64)
    method.rows(rows_of(seen))
    changed(agent, 0.1)
    optimizer, apart = torch.optim.Adam(agent.parameters(), 3e-3), []
    for _ in range(150):
        optimizer.zero_grad()
        loss_of(method).backward()
        optimizer.step()
        with torch.no_grad():
            apart.append(float((agent(seen.flatten(0, 1))[0].softmax(-1) - then).abs().mean()))
    assert apart[-1] < 0.5 * apart[0]


def test_it_keeps_what_was_said_when_it_was_played():
    """Not what the agent says of the same rows later."""
    agent = opinionated()
    method = method_on(agent, "cloning", samples=10)
    first, second = (seen_by("PPO_OBJ", 16, 2, seed) for seed in (1, 2))
    said = []
    for task, seen in (("a", first), ("b", second)):
        with torch.no_grad():
            said.append(agent(seen.flatten(0, 1))[0])
        method.rows(rows_of(seen, task))
        changed(agent)
    batch = method.memory.sample(10)
    assert sorted(batch.tasks) == ["a", "a", "b", "b"]
    for column, (task, game) in enumerate(zip(batch.tasks, batch.environments, strict=True)):
        logits = said["ab".index(task)].unflatten(0, (16, 2))[:, game]
        torch.testing.assert_close(torch.from_numpy(batch.fields["logits"][:, column]), logits)
        seen = (first, second)["ab".index(task)][:, game]
        np.testing.assert_array_equal(batch.observations[:, column], seen)


def test_planes_of_goals_are_kept_beside_frames():
    agent = small_agent("PPO")
    method, seen = method_on(agent, "cloning"), seen_by("PPO", 16, 1)
    method.rows(rows_of(seen)._replace(goals=1))
    np.testing.assert_array_equal(method.memory.sample(1).observations[:, 0], seen[:, 0])
    assert method.memory.layout.goals == method.memory.layout.window == 1


def test_its_memory_has_a_size():
    agent = opinionated()
    method = method_on(agent, "cloning", steps=64, keep="fifo")
    for seed in range(5):
        method.rows(rows_of(seen_by("PPO_OBJ", 16, 2, seed)))
    assert method.numbers()["memory_steps"] == 64
    assert method.in_checkpoint() == {}
    before = copy_of(agent)
    method.begin()
    assert method.numbers()["memory_steps"] == 0
    assert all(torch.equal(before[name], weight) for name, weight in agent.named_parameters())


@pytest.mark.parametrize("name", ["cloning", "a_gem"])
def test_it_notes_where_in_the_run_each_block_was_played(name):
    """Two games in each of two processes: the run's step grows by 4."""
    method = method_on(opinionated(), name)
    for step, steps in ((96, 24), (160, 16)):
        rows = rows_of(seen_by("PPO_OBJ", steps), clock=Clock(step, 0, None))
        method.rows(rows._replace(stride=4))
    assert [block.first_step for block in method.memory] == [0, 0, 64, 64]
    assert [block.first_step for block in method.memory._open.values()] == [128, 128]


def test_in_a_run_a_chunk_begins_where_the_one_before_it_ended(monkeypatch, tmp_path):
    chunks, add = [], Replay.add

    def noting(memory, observations, *given, **named):
        chunks.append((named["step"], len(observations), memory.stride))
        add(memory, observations, *given, **named)

    monkeypatch.setattr(Replay, "add", noting)
    regimes = [(0, made_up_game.REGIMES[0]), (40, made_up_game.REGIMES[1])]
    flags = ["--total_timesteps", "100", "--update_epochs", "1", "--methods", "cloning"]
    made_up_game.play(monkeypatch, tmp_path, *flags, regimes=regimes)
    assert chunks == [(0, 10, 4), (40, 6, 4), (64, 9, 4)]


@pytest.mark.parametrize("name", ["cloning", "a_gem"])
@pytest.mark.parametrize("given", [{}, {"steps": 640, "mb": 3.0, "keep": "half"}])
def test_the_memory_is_of_the_settings(name, given):
    method = method_on(opinionated(), name, **given)
    assert method.memory._keep == method.settings.keep
    assert method.memory._room == (method.settings.steps, method.settings.mb * 1e6)
