"""The replay: what is read back, who stays, what is drawn, and that a saved one goes on as if nothing had been."""

import numpy as np
import pytest

from continual_hackatari.replay import Layout, Replay

FIELDS = {"actions": (np.int64, ()), "logits": (np.float32, (3,))}


def frames(window=4, size=6):
    return Layout((window, size, size), np.uint8, FIELDS)


def replay_of(layout, num_envs=2, **settings):
    settings = {"block_steps": 5, "steps": 10_000, "mb": 100.0, "stride": num_envs} | settings
    return Replay(layout, num_envs, **settings)


class Games:
    """Made-up games: windows of random planes, which restart at a game over, and are cut or lose a life now and then."""

    def __init__(self, layout, num_envs, seed=0):
        self.draws, self.layout, self.num_envs = np.random.default_rng(seed), layout, num_envs
        self.seen = np.stack([self.fresh() for _ in range(num_envs)])

    def fresh(self):
        drawn = self.draws.integers(0, 256, self.layout.shape)
        return (np.broadcast_to(drawn[:1], drawn.shape) if self.layout.frames else drawn).astype(self.layout.dtype)

    def moved(self, seen, planes):
        if not self.layout.frames:
            return self.fresh()
        moved = np.roll(seen, -planes, axis=0)
        moved[-planes:] = self.draws.integers(0, 256, moved[-planes:].shape)
        return moved

    def play(self, steps):
        """Steps as a script has them, and `after` [T, N], what really followed each."""
        seen, after, done, terminated = [], [], [], []
        for _ in range(steps):
            seen.append(self.seen.copy())
            follows = np.stack([self.moved(each, 1) for each in self.seen])
            end = self.draws.choice(["", "life", "over", "cut"], self.num_envs, p=[0.85, 0.05, 0.05, 0.05])
            after.append(follows.copy())
            done.append(end != "")
            terminated.append((end == "life") | (end == "over"))
            for n, what in enumerate(end):
                if what == "life":  # FIRE is pressed: the window has moved on by some planes
                    follows[n] = self.moved(follows[n], int(self.draws.integers(1, 3)))
                elif what:
                    follows[n] = self.fresh()
            self.seen = follows
        rows = (steps, self.num_envs)
        fields = {
            "actions": self.draws.integers(0, 9, rows),
            "logits": self.draws.random((*rows, 3)).astype(np.float32),
        }
        return np.stack(seen), np.stack(after), np.stack(done), np.stack(terminated), fields

    def fill(self, replay, steps, task="", step=0, finals=True):
        """Play and add; returns what was played."""
        seen, after, done, terminated, fields = self.play(steps)
        ends = [(t, np.flatnonzero(done[t]), after[t][done[t]]) for t in range(steps) if done[t].any()]
        replay.add(seen, fields, done=done, tasks=task, step=step, last=self.seen, ends=ends if finals else ())
        return seen, after, done, terminated, fields


def all_blocks(replay):
    batch = replay.sample(len(replay))
    return batch, np.argsort(batch.numbers)


# --------------------------------------------------------------------------------------------------- what is read back


@pytest.mark.parametrize(
    "chunks", [[40], [1] * 40, [5] * 8, [3, 7, 1, 13, 16]], ids=["whole", "single", "blocks", "any"]
)
@pytest.mark.parametrize("shape", [(4, 6, 6), (1, 6, 6), (3, 5, 7)], ids=str)
def test_observations_read_back_are_those_that_were_shown(shape, chunks):
    """Over lost lives, game overs and cuts, however the steps come."""
    layout = Layout(shape, np.uint8, FIELDS)
    replay, games = replay_of(layout), Games(layout, 2)
    step, parts = 0, []
    for length in chunks:
        parts.append(games.fill(replay, length, step=step * 2))
        step += length
    seen, after, done, _, _ = (np.concatenate(each) for each in list(zip(*parts, strict=True))[:4] + [parts[0][2:3]])
    fields = {name: np.concatenate([part[4][name] for part in parts]) for name in FIELDS}
    assert done.any()
    assert len(replay) == 16
    batch = replay.sample(100)
    assert batch.mask.all()
    for i, (game, first) in enumerate(zip(batch.environments, batch.first_steps // 2, strict=True)):
        rows = slice(first, first + 5)
        np.testing.assert_array_equal(batch.observations[:, i], seen[rows, game])
        np.testing.assert_array_equal(batch.fields["done"][:, i], done[rows, game])
        np.testing.assert_array_equal(batch.last[i], after[first + 4, game])
        for name, values in fields.items():
            np.testing.assert_array_equal(batch.fields[name][:, i], values[rows, game])
        mine = batch.ends.columns == i
        assert batch.ends.steps[mine].tolist() == np.flatnonzero(done[rows, game]).tolist()
        np.testing.assert_array_equal(batch.ends.observations[mine], after[rows, game][done[rows, game]])
