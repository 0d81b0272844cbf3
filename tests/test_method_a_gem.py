"""A-GEM: a gradient that would make the agent forget is projected, any other is left as it is."""

import pytest
import torch
from made_up_methods import BOUNDARY, method_on, seeded
from test_method_cloning import changed, opinionated, rows_of, seen_by

from continual_hackatari.methods.a_gem import inner
from continual_hackatari.methods.cloning import distances_from_then, weighted


def gradients_of(agent):
    return [weight.grad.clone() for weight in agent.parameters()]


def set_gradients(agent, gradients):
    for weight, gradient in zip(agent.parameters(), gradients, strict=True):
        weight.grad = gradient.clone()


def drawn(agent, seed):
    return [torch.randn(weight.shape, generator=seeded(seed)) for weight in agent.parameters()]


def remembering(task="a"):
    """An agent that has left a task, and its method."""
    agent = opinionated(how=100)
    method = method_on(agent, "a_gem", samples=40)
    method.rows(rows_of(seen_by("PPO_OBJ"), task))
    method.boundary(BOUNDARY)
    changed(agent)
    return agent, method


def reference_of(agent, method):
    """The gradient that `gradients` takes next: the same rows are drawn."""
    state = method.memory._draws.bit_generator.state
    distances = distances_from_then(method.memory, method.learner, 40, but="b")
    found = torch.autograd.grad(weighted(distances, method.settings), list(agent.parameters()))
    method.memory._draws.bit_generator.state = state
    return list(found)


def test_a_gradient_that_would_forget_becomes_orthogonal_to_the_reference():
    """To that of earlier tasks alone, although the memory has rows of the present one too."""
    agent, method = remembering()
    method.rows(rows_of(seen_by("PPO_OBJ", 16), "b"))
    assert method.memory.others("a") > 0
    reference = reference_of(agent, method)
    given = [0.1 * noise - each for noise, each in zip(drawn(agent, 3), reference, strict=True)]
    assert inner(given, reference) < 0
    set_gradients(agent, given)
    method.gradients()
    found = gradients_of(agent)
    scale = (inner(found, found) * inner(reference, reference)).sqrt()
    assert abs(float(inner(found, reference) / scale)) < 1e-5
    factor = float(inner(given, reference) / inner(reference, reference))
    for mine, before, each in zip(found, given, reference, strict=True):
        torch.testing.assert_close(mine, before - factor * each, rtol=1e-4, atol=1e-6)
    assert method.numbers()["projected"] == 1.0
    assert method.numbers()["cosine"] < 0


def test_one_that_would_not_is_left_bit_for_bit():
    agent, method = remembering()
    reference = reference_of(agent, method)
    given = [0.1 * noise + each for noise, each in zip(drawn(agent, 3), reference, strict=True)]
    assert inner(given, reference) > 0
    set_gradients(agent, given)
    method.gradients()
    assert all(torch.equal(mine, its) for mine, its in zip(gradients_of(agent), given, strict=True))
    assert method.numbers()["projected"] == 0.0


def test_all_weights_are_judged_together():
    """Not layer by layer: one layer's gradient may point against the reference."""
    agent, method = remembering()
    reference = reference_of(agent, method)
    given = [3 * each for each in reference]
    given[0] = -0.5 * reference[0]
    assert inner(given, reference) > 0
    set_gradients(agent, given)
    method.gradients()
    assert all(torch.equal(mine, its) for mine, its in zip(gradients_of(agent), given, strict=True))


def test_a_reference_of_zero_changes_nothing():
    agent, method = remembering()
    method = method_on(agent, "a_gem", samples=40, policy=0.0, value=0.0)
    method.rows(rows_of(seen_by("PPO_OBJ")))
    method.boundary(BOUNDARY)
    given = drawn(agent, 3)
    set_gradients(agent, given)
    method.gradients()
    assert all(torch.equal(mine, its) for mine, its in zip(gradients_of(agent), given, strict=True))
    assert method.numbers()["cosine"] == 0.0


def test_a_step_along_the_projected_gradient_does_not_raise_the_loss_on_earlier_tasks():
    agent, method = remembering()

    state = method.memory._draws.bit_generator.state

    def loss():
        method.memory._draws.bit_generator.state = state
        found = weighted(distances_from_then(method.memory, method.learner, 40, but="b"), method.settings)
        method.memory._draws.bit_generator.state = state
        return float(found.detach())

    reference = reference_of(agent, method)
    given = [0.1 * noise - each for noise, each in zip(drawn(agent, 3), reference, strict=True)]
    changes = {}
    for name in ("plain", "projected"):
        weights = {key: value.clone() for key, value in agent.state_dict().items()}
        set_gradients(agent, given)
        before = loss()
        if name == "projected":
            method.gradients()
        with torch.no_grad():
            for weight in agent.parameters():
                weight -= 1e-4 * weight.grad
        changes[name] = loss() - before
        agent.load_state_dict(weights)
    assert changes["plain"] > 0
    assert changes["projected"] < 0.1 * changes["plain"]


@pytest.mark.parametrize(("task", "acts"), [("a", True), ("b", False)])
def test_only_earlier_tasks_count(task, acts):
    """Of "b", which is trained now, earlier rows are left out too."""
    agent, method = remembering(task)
    method.rows(rows_of(seen_by("PPO_OBJ", 16), "whatever the game is called"))
    assert method.memory.others("b") == (4 if task == "a" else 0)
    set_gradients(agent, drawn(agent, 3))
    method.gradients()
    assert (method.numbers()["cosine"] != 0) == acts


def test_before_the_first_boundary_it_does_nothing():
    agent = opinionated(how=100)
    method = method_on(agent, "a_gem")
    method.rows(rows_of(seen_by("PPO_OBJ")))
    given = drawn(agent, 3)
    set_gradients(agent, given)
    method.gradients()
    assert all(torch.equal(mine, its) for mine, its in zip(gradients_of(agent), given, strict=True))
    assert method.numbers()["memory_steps"] == 40


@pytest.mark.parametrize("has_rows", [True, False])
def test_the_reference_is_the_mean_over_the_processes_that_remember(has_rows):
    agent, method = remembering()
    reference = reference_of(agent, method)
    other = [0.5 * each for each in reference] if has_rows else [torch.zeros_like(each) for each in reference]
    others = iter([torch.tensor(float(has_rows)), *other])
    method.learner = method.learner._replace(average=lambda mine: (mine + next(others)) / 2)
    found = method._reference(list(agent.parameters()))
    for mine, its, each in zip(found, other, reference, strict=True):
        torch.testing.assert_close(mine, (each + its) / 2 if has_rows else each)
