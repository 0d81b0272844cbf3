"""The Q-learner of docs/your-own-agent.md: its update, its replay and how it acts."""

import numpy as np
import pytest
import torch
from q_learner import Args, QNetwork, Replay, build, minibatch_step

from continual_hackatari.methods.together import NO_METHODS
from continual_hackatari.training.ranks import Ranks

SHAPE = (1, 84, 84)


def agent_of(seed):
    return build(Args(), SHAPE, 3, torch.Generator().manual_seed(seed))


def frames(number, seed=0):
    return torch.randint(256, (number, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("terminated", [False, True])
def test_the_loss_is_that_of_the_formula(terminated):
    """One step, by hand: the Huber loss of r + gamma * max Q'(s', a') - Q(s, a), without what follows an end."""
    agent, target = agent_of(1), agent_of(2)
    batch = {"observations": frames(1, 3), "next_observations": frames(1, 4), "actions": torch.tensor([2])}
    batch |= {"rewards": torch.tensor([7.0]), "terminated": torch.tensor([terminated])}
    with torch.no_grad():
        follows = 0.0 if terminated else 0.9 * float(target(batch["next_observations"]).max())
        error = abs(1.0 + follows - float(agent(batch["observations"])[0, 2]))  # the sign of the reward
        before = agent(batch["observations"])[0, 2]
    optimizer = torch.optim.SGD(agent.parameters(), 1e-3)
    (loss,) = minibatch_step(Args(gamma=0.9), agent, target, optimizer, batch, Ranks(), NO_METHODS)
    assert float(loss) == pytest.approx(0.5 * error**2 if error < 1 else error - 0.5, rel=1e-4)
    with torch.no_grad():
        after = abs(1.0 + follows - float(agent(batch["observations"])[0, 2]))
    assert after < error, "one step towards the target"
    assert before.isfinite()


@pytest.mark.slow
def test_it_learns_what_each_action_is_worth():
    """Games of one step: action 0 wins a point, 1 nothing, 2 loses one."""
    agent, target = agent_of(1), agent_of(2)
    optimizer = torch.optim.Adam(agent.parameters(), 1e-3)
    actions = torch.arange(3).repeat(4)
    seen = frames(1).repeat(12, 1, 1, 1)
    batch = {"observations": seen, "next_observations": seen, "actions": actions, "rewards": 1.0 - actions}
    batch["terminated"] = torch.ones(12, dtype=torch.bool)
    for _ in range(100):
        minibatch_step(Args(), agent, target, optimizer, batch, Ranks(), NO_METHODS)
    assert agent(seen[:1])[0].tolist() == pytest.approx([1.0, 0.0, -1.0], abs=0.3)
    assert agent.act(seen, deterministic=True).tolist() == [0] * 12


def test_it_explores_as_its_checkpoint_says():
    agent, copy = agent_of(1), QNetwork(SHAPE, 3)
    agent.epsilon.fill_(0.0)
    copy.load_state_dict(agent.state_dict())
    seen = frames(1).repeat(300, 1, 1, 1)
    (best,) = set(copy.act(seen, generator=torch.Generator().manual_seed(1)).tolist())
    assert copy.act(seen[:1], deterministic=True).tolist() == [best]
    copy.epsilon.fill_(1.0)
    draws = [copy.act(seen, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert set(draws[0].tolist()) == {0, 1, 2}
    assert set(copy.act(seen, deterministic=True).tolist()) == {best}
    assert copy.describe(seen)["value"].shape == (300,)


def step_of(number):
    """A step of two games that says in all of its columns which one it is."""
    rows = 2 * number + np.arange(2)
    shown = np.broadcast_to(rows.reshape(2, 1, 1, 1), (2, *SHAPE)).astype(np.uint8)
    numbers = {"actions": rows, "rewards": rows.astype(np.float32), "terminated": rows % 2 == 1}
    return {"observations": shown, "next_observations": shown + 1, **numbers}


@pytest.mark.parametrize(("steps", "kept"), [(1, {0, 1}), (2, {0, 1, 2, 3}), (4, {3, 4, 5, 6, 7})])
def test_the_replay_keeps_the_last_steps_also_in_its_file(steps, kept, tmp_path):
    replay, again = Replay(5, SHAPE), Replay(5, SHAPE)
    for number in range(steps):
        replay.add(**step_of(number))
    replay.save(tmp_path / "replay.pt")
    again.load(tmp_path / "replay.pt")
    for one in (replay, again):
        batch = one.sample(200, torch.Generator().manual_seed(1), torch.device("cpu"))
        assert set(batch["actions"].tolist()) == kept
        assert torch.equal(batch["observations"][:, 0, 0, 0].long(), batch["actions"])
        assert torch.equal(batch["next_observations"][:, 0, 5, 5].long(), batch["actions"] + 1)
        assert torch.equal(batch["rewards"].long(), batch["actions"])
        assert torch.equal(batch["terminated"], batch["actions"] % 2 == 1)
        one.add(**step_of(steps))
    assert all(np.array_equal(again.columns[name], column) for name, column in replay.columns.items())
