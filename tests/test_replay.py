"""The replay: what is read back, who stays, what is drawn, and that a saved one goes on as if nothing had been."""

import copy
import tracemalloc
from contextlib import closing
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from scipy import stats

from continual_hackatari.replay import Layout, Replay, ReplayError
from continual_hackatari.replay.blocks import Block, Unpacked
from continual_hackatari.replay.keepers import KEEP, Room, keeper
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

FIELDS = {"actions": (np.int64, ()), "logits": (np.float32, (3,))}
FRAMES = Layout((4, 6, 6), np.uint8, FIELDS)


def replay_of(layout=FRAMES, num_envs=2, **settings):
    settings = {"block_steps": 5, "steps": 10_000, "mb": 100.0, "stride": num_envs} | settings
    return Replay(layout, num_envs, **settings)


class Played:
    """Steps of made-up games, [T, N, ...], and `after`, what really followed each."""

    def __init__(self, seen, after, done, fields):
        self.seen, self.after, self.done, self.fields = seen, after, done, fields

    def __getitem__(self, rows):
        fields = {name: each[rows] for name, each in self.fields.items()}
        return Played(self.seen[rows], self.after[rows], self.done[rows], fields)


class Games:
    """Windows of random planes; lives are lost, games are over, and episodes are cut."""

    def __init__(self, layout=FRAMES, num_envs=2, seed=0):
        self.draws, self.layout, self.num_envs = np.random.default_rng(seed), layout, num_envs
        self.seen = np.stack([self.start() for _ in range(num_envs)])

    def start(self):
        drawn = self.draws.integers(0, 256, self.layout.shape)
        if self.layout.frames:  # those of goals stay as they are drawn
            drawn[: self.layout.window] = drawn[0]
        return drawn.astype(self.layout.dtype)

    def moved(self, seen, planes):
        if not self.layout.frames:
            return self.start()
        moved, frames = seen.copy(), self.layout.window
        moved[:frames] = np.roll(seen[:frames], -planes, axis=0)
        new = moved[frames - planes : frames]
        new[:] = self.draws.integers(0, 256, new.shape)
        return moved

    def play(self, steps, ends=0.05):
        seen, after, done = [], [], []
        for _ in range(steps):
            follows = np.stack([self.moved(each, 1) for each in self.seen])
            how = self.draws.choice(["", "life", "over", "cut"], self.num_envs, p=[1 - 3 * ends, ends, ends, ends])
            seen.append(self.seen)
            after.append(follows.copy())
            done.append(how != "")
            for n, end in enumerate(how):
                if end == "life":  # FIRE is pressed, and the window moves on by as many planes
                    follows[n] = self.moved(follows[n], int(self.draws.integers(1, 3)))
                elif end:
                    follows[n] = self.start()
            self.seen = follows
        rows = (steps, self.num_envs)
        fields = {
            "actions": self.draws.integers(0, 9, rows),
            "logits": self.draws.random((*rows, 3)).astype(np.float32),
        }
        return Played(np.stack(seen), np.stack(after), np.stack(done), fields)

    def fill(self, replay, steps, tasks="", step=0, ends=0.05):
        """Play and add as a script does; returns what was played."""
        played = self.play(steps, ends)
        over = [(t, np.flatnonzero(row), played.after[t][row]) for t, row in enumerate(played.done) if row.any()]
        replay.add(played.seen, played.fields, done=played.done, tasks=tasks, step=step, last=self.seen, ends=over)
        return played


def joined(parts):
    fields = {name: np.concatenate([part.fields[name] for part in parts]) for name in parts[0].fields}
    return Played(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("seen", "after", "done")), fields
    )


def assert_same_blocks(one, two):
    for name, mine in one._asdict().items():
        its = getattr(two, name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, its)
        elif isinstance(mine, dict):
            for field, values in mine.items():
                np.testing.assert_array_equal(values, its[field])


# --------------------------------------------------------------------------------------------------- what is read back

CHUNKS = {"whole": [40], "single": [1] * 40, "blocks": [5] * 8, "any": [3, 7, 1, 13, 16]}
LAYOUTS = {
    "frames": FRAMES,
    "one plane": Layout((1, 6, 6), np.uint8, FIELDS),
    "odd": Layout((3, 5, 7), np.uint8, FIELDS),
    "goals": Layout((5, 6, 6), np.uint8, FIELDS, goals=2),
    "vectors": Layout((9,), np.float32, FIELDS),
    "features": Layout((4, 9), np.float64, FIELDS),
}


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_read_back_is_what_was_shown(layout, chunks):
    """Bit for bit, over lost lives, game overs and cuts, however the steps come."""
    layout = LAYOUTS[layout]
    replay, games, parts, step = replay_of(layout), Games(layout), [], 0
    for length in CHUNKS[chunks]:
        parts.append(games.fill(replay, length, step=2 * step))
        replay.add(parts[0].seen[:0], {}, done=parts[0].done[:0], tasks="", step=0)  # nothing
        step += length
    played = joined(parts)
    batch = replay.sample(100)
    assert played.done.any()
    assert len(batch.tasks) == len(replay) == 16
    assert batch.mask.all()
    assert sorted(zip(batch.environments, batch.first_steps, strict=True)) == [
        (game, first) for game in range(2) for first in range(0, 80, 10)
    ]
    for i, (game, first) in enumerate(zip(batch.environments, batch.first_steps // 2, strict=True)):
        here, mine = played[first : first + 5], batch.ends.columns == i
        np.testing.assert_array_equal(batch.observations[:, i], here.seen[:, game])
        np.testing.assert_array_equal(batch.last[i], here.after[-1, game])
        np.testing.assert_array_equal(batch.fields["done"][:, i], here.done[:, game])
        for name, values in here.fields.items():
            assert batch.fields[name].dtype == layout.row[name].base
            np.testing.assert_array_equal(batch.fields[name][:, i], values[:, game])
        assert batch.ends.steps[mine].tolist() == np.flatnonzero(here.done[:, game]).tolist()
        np.testing.assert_array_equal(batch.ends.observations[mine], here.after[here.done[:, game], game])


@pytest.mark.parametrize("n", [1, 3, 8])
def test_single_steps_come_with_what_followed_them_in_their_episode_and_block(n):
    replay, games = replay_of(), Games()
    played = games.fill(replay, 40)
    where = {block.number: (block.environment, block.first_step // 2) for block in replay}
    steps = replay.sample_steps(300, n)
    assert steps.observations.shape == (300, 4, 6, 6)
    for i, (number, position) in enumerate(zip(steps.numbers, steps.positions, strict=True)):
        game, first = where[number]
        t, m = first + position, 1
        while m < n and position + m < 5 and not played.done[t + m - 1, game]:
            m += 1
        assert steps.span[i] == m
        assert steps.mask[:, i].tolist() == [k < m for k in range(n)]
        np.testing.assert_array_equal(steps.observations[i], played.seen[t, game])
        np.testing.assert_array_equal(steps.after[i], played.after[t + m - 1, game])
        np.testing.assert_array_equal(steps.fields["actions"][:m, i], played.fields["actions"][t : t + m, game])
        np.testing.assert_array_equal(steps.fields["done"][:m, i], played.done[t : t + m, game])
        assert not steps.fields["actions"][m:, i].any()
    assert {1, min(n, 5)} <= set(steps.span.tolist())
    again = replay.take(steps.numbers, steps.positions, n)
    np.testing.assert_array_equal(again.after, steps.after)


@pytest.mark.parametrize(
    ("game", "window", "frameskip", "steps"),
    [
        ("Breakout", 4, 4, 250),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("Breakout", 4, 4, 5000),
                ("Freeway", 4, 4, 5000),
                ("SpaceInvaders", 1, 6, 1500),
                ("Pong", 7, 1, 1500),
            )
        ),
    ],
)
def test_what_is_read_back_is_what_the_emulator_showed(game, window, frameskip, steps):
    """With lost lives, games over, time limits and a switch, beside full copies of everything."""
    config, _ = game_config(f"ALE/{game}-v5", frameskip=frameskip, window=window, time_limit=700 * frameskip)
    played = []
    with closing(ModifiedVectorEnv(config, 2, num_workers=0, copy=False)) as envs:
        envs.reset(seed=3)
        replay = Replay(Layout(envs.observation_shape, np.uint8, {}), 2, block_steps=20, steps=10**6, mb=500, stride=2)
        draws, arrays = np.random.default_rng(1), envs.arrays
        for step in range(steps):
            seen = arrays.observations.copy()
            envs.step(draws.integers(envs.num_actions, size=2))
            done, after = arrays.terminated | arrays.truncated, arrays.observations.copy()
            after[done] = arrays.final_observations[done]
            if step == steps // 2:
                done = np.ones(2, bool)
                envs.set_modifications("mode_0", "reset")
            played.append((seen, after, done.copy()))
            task = "a" if step <= steps // 2 else "b"
            ends = [(0, np.flatnonzero(done), after[done])]
            replay.add(seen[None], {}, done=done[None], tasks=task, step=2 * step, last=after, ends=ends)
    replay.begin("")
    seen, after, done = (np.stack(each) for each in zip(*played, strict=True))
    assert done.sum() > (2 if game == "Pong" else 4)
    assert replay.num_steps == 2 * steps
    for block in replay:
        rows = slice(block.first_step // 2, block.first_step // 2 + block.steps)
        unpacked = Unpacked(replay.layout, block)
        np.testing.assert_array_equal(unpacked.observations(), seen[rows, block.environment])
        np.testing.assert_array_equal(unpacked.after(np.arange(block.steps)), after[rows, block.environment])
        np.testing.assert_array_equal(unpacked.field("done"), done[rows, block.environment])
    planes = sum(len(Unpacked(replay.layout, block)._planes) for block in replay)
    assert planes < 2 * steps * 1.6, "each plane once, but for the first windows of blocks and games"


@pytest.mark.parametrize("layout", ["frames", "goals"])
def test_every_plane_is_stored_once(layout):
    layout = LAYOUTS[layout]
    replay, games = replay_of(layout, block_steps=20), Games(layout)
    games.fill(replay, 20, ends=0)
    for block in replay:
        planes = Unpacked(layout, block)._planes
        first = layout.window - 1
        assert len(planes) == first + 20 + 1, "the first window, a plane for each further step, what followed the last"
        distinct = {plane.tobytes() for plane in planes}
        assert len(distinct) == len(planes) - first, "a game begins with equal planes"


def test_frames_that_change_little_take_little():
    replay, still = replay_of(block_steps=20), np.random.default_rng(1).integers(0, 256, (4, 6, 6), np.uint8)
    seen = np.broadcast_to(still, (20, 2, 4, 6, 6))
    fields = {"actions": np.zeros((20, 2), np.int64), "logits": np.zeros((20, 2, 3), np.float32)}
    replay.add(seen, fields, done=np.zeros((20, 2), bool), tasks="", step=0)
    rows = 20 * FRAMES.row.itemsize
    assert all(len(block.content) - rows < 5 * 36 for block in replay)


def test_without_last_observations_it_is_not_known_what_followed():
    replay, games = replay_of(), Games()
    played = games.play(5, ends=0.1)
    assert played.done.any()
    replay.add(played.seen, played.fields, done=played.done, tasks="", step=0)
    batch = replay.sample(2)
    assert not batch.last.any()
    assert len(batch.ends.steps) == 0
    np.testing.assert_array_equal(batch.observations, played.seen[:, batch.environments])


def test_a_block_is_of_one_task():
    replay, games = replay_of(), Games()
    games.fill(replay, 12, tasks=["a"] * 7 + ["b"] * 5)
    games.fill(replay, 3, tasks="b", step=24)
    games.fill(replay, 1, tasks="c", step=30)
    batch = replay.sample(100)
    found = sorted(
        (first // 2, int(rows), task)
        for first, rows, task in zip(batch.first_steps, batch.mask.sum(0), batch.tasks, strict=True)
    )
    assert found == sorted([(0, 5, "a"), (5, 2, "a"), (7, 5, "b"), (12, 3, "b")] * 2)
    short = batch.mask.sum(0) == 2
    assert not batch.observations[2:, short].any()
    assert batch.last[short].any()
    assert replay.num_steps == 32, "with the steps of the blocks that are not whole"
    assert replay.numbers()["tasks"] == 2


def test_what_does_not_fit_is_said():
    replay, games = replay_of(), Games()
    played = games.play(5)
    given = {"done": played.done, "tasks": "", "step": 0}
    for observations, fields, more, sentence in (
        (
            played.seen[:, :1],
            played.fields,
            {},
            r"observations are uint8 \[5, 1, 4, 6, 6\]; this replay keeps uint8 \[T, 2, 4",
        ),
        (played.seen.astype(np.float32), played.fields, {}, "observations are float32"),
        (played.seen, {"actions": played.fields["actions"]}, {}, r"the fields are \['actions'\]; this replay keeps"),
        (played.seen, played.fields, {"done": played.done[:3]}, r"`done` has \[3, 2\] steps and games"),
        (played.seen, played.fields, {"tasks": ["a"]}, "`tasks` has"),
    ):
        with pytest.raises(ReplayError, match=sentence):
            replay.add(observations, fields, **given | more)
    with pytest.raises(ReplayError, match="before its first block is whole"):
        replay.sample_steps(3)
    assert len(replay.sample(3).tasks) == 0


# ---------------------------------------------------------------------------------------------------------- who stays


def test_a_room_for_less_than_a_block_of_each_game_is_refused_with_the_arithmetic():
    replay_of(num_envs=4, steps=40, keep="half")
    with pytest.raises(
        ReplayError, match=r"half of the replay .*, one of 19 steps cannot hold a block of each game: 4 g"
    ):
        replay_of(num_envs=4, steps=39, keep="half")
    with pytest.raises(ReplayError, match="19 steps cannot hold a block of each game: 4 games x 5 steps = 20 steps"):
        replay_of(num_envs=4, steps=19)
    block = FRAMES.bytes_of_block(5)
    with pytest.raises(ReplayError, match=r"4 games x \(5 \+ 4 observations of 36 bytes \+ 5 steps of 29 bytes"):
        replay_of(num_envs=4, mb=4 * block / 1e6 - 1e-6)
    replay_of(num_envs=4, mb=4 * block / 1e6 + 1e-6, steps=20)
    with pytest.raises(ReplayError, match="`keep` is 'all'; allowed are reservoir, fifo"):
        replay_of(keep="all")


@pytest.mark.parametrize("keep", KEEP)
@pytest.mark.parametrize("room", [{"steps": 60}, {"mb": 0.015}], ids=["steps", "mb"])
def test_both_limits_are_hard_and_used(keep, room):
    replay, games = replay_of(keep=keep, **room), Games()
    for step in range(100):
        games.fill(replay, 1 + step % 6, tasks="ab"[step // 7 % 2])
        assert replay.num_steps <= room.get("steps", 10_000)
        assert replay.num_bytes <= room.get("mb", 100) * 1e6
        assert replay.num_steps >= sum(block.steps for block in replay)
    assert len(replay) >= (6 if "steps" in room else 5)


def moving_squares(steps, seed):
    """Windows of frames in which something moves, [steps, 1, 4, 84, 84], for any number of chunks."""
    draws = np.random.default_rng(seed)
    frames = np.zeros((steps + 3, 84, 84), np.uint8)
    for frame, (x, y) in zip(frames, draws.integers(0, 70, (steps + 3, 2)), strict=True):
        frame[x : x + 8, y : y + 8] = draws.integers(0, 256, (8, 8))
    return np.lib.stride_tricks.sliding_window_view(frames, 4, axis=0).transpose(0, 3, 1, 2)[:, None]


@pytest.mark.parametrize(
    ("steps", "mb"), [(4_000, 1.5), pytest.param(200_000, 80, marks=pytest.mark.slow)], ids=["short", "long"]
)
@pytest.mark.parametrize("binding", ["steps", "mb"])
def test_it_takes_no_more_memory_than_it_says(binding, steps, mb):
    layout = Layout((4, 84, 84), np.uint8, {"actions": (np.int64, ()), "logits": (np.float32, (18,))})
    room = {"steps": steps, "mb": mb} if binding == "steps" else {"steps": 10**9, "mb": mb / 2}
    fields = {"actions": np.zeros((20, 1), np.int64), "logits": np.ones((20, 1, 18), np.float32)}
    chunks, done = [moving_squares(20, seed) for seed in range(7)], np.zeros((20, 1), bool)
    tracemalloc.start()
    try:
        replay = Replay(layout, 1, block_steps=20, **room)
        for number in range(steps // 20 * 5 // 4):
            replay.add(chunks[number % 7], fields, done=done, tasks="", step=20 * number)
        used, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert replay.num_steps == steps if binding == "steps" else replay.num_bytes > 0.48e6 * mb
    assert peak < room["mb"] * 1e6 + 2e6, "and what it takes to put one block together"
    assert 0.8 * replay.num_bytes < used < replay.num_bytes


def test_fifo_keeps_the_newest():
    replay, games = replay_of(keep="fifo", steps=40), Games()
    for _ in range(7):
        games.fill(replay, 10)
    assert [block.number for block in replay] == list(range(20, 28))


def offered(keep, tasks, room, seed, sizes=None):
    """Numbers of the blocks that a keeper keeps of these."""
    rule, draws, kept, left = keeper(keep), np.random.default_rng(seed), {}, -1.0
    for number, task in enumerate(tasks):
        content = b"" if sizes is None else bytes(int(sizes[number]))
        block = Block(number, float(draws.random()), 0, int(task), 0, 1, content)
        kept[number] = block
        for gone in rule.put(block, room):
            del kept[gone.number]
            left = max(left, gone.key)
    if keep == "reservoir":
        assert all(block.key > left for block in kept.values()), "those with the largest keys, and no other"
    return sorted(kept)


def assert_uniform(counts, expected):
    assert stats.chisquare(counts, np.asarray(expected) * np.sum(counts) / np.sum(expected)).pvalue > 1e-3


@pytest.mark.parametrize(("blocks", "seeds"), [(800, 60), pytest.param(20_000, 200, marks=pytest.mark.slow)])
def test_a_reservoir_is_uniform_over_the_whole_history(blocks, seeds):
    """Shares of regimes of unequal length, and two blocks independently of each other."""
    lengths = np.array([0.1, 0.3, 0.05, 0.35, 0.2]) * blocks
    regimes, slots = np.repeat(np.arange(5), lengths.astype(int)), blocks // 40
    kept = [offered("reservoir", regimes, Room(slots, np.inf), seed) for seed in range(seeds)]
    assert {len(each) for each in kept} == {slots}
    counts = np.bincount(regimes[np.concatenate(kept)], minlength=5)
    assert_uniform(counts, lengths)
    # Halves of the history: neighbours in it are kept together as often as any two are.
    numbers = np.concatenate(kept)
    assert_uniform(np.bincount(numbers * 20 // blocks, minlength=20), np.ones(20))
    pairs = sum(int(np.sum(np.diff(each) == 1)) for each in kept)
    expected = seeds * (blocks - 1) * slots * (slots - 1) / (blocks * (blocks - 1))
    assert abs(pairs - expected) < 4 * np.sqrt(expected)


def algorithm_r(blocks, slots, seed):
    draws, kept = np.random.default_rng(seed), []
    for number in range(blocks):
        if len(kept) < slots:
            kept.append(number)
        elif (place := int(draws.integers(number + 1))) < slots:
            kept[place] = number
    return sorted(kept)


@pytest.mark.parametrize("seeds", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_a_reservoir_is_distributed_as_algorithm_r_has_it(seeds):
    mine = [offered("reservoir", np.zeros(500), Room(25, np.inf), seed) for seed in range(seeds)]
    its = [algorithm_r(500, 25, 1000 + seed) for seed in range(seeds)]
    assert stats.ks_2samp(np.concatenate(mine), np.concatenate(its)).pvalue > 1e-3
    for statistic in (np.mean, np.min, np.max):
        assert stats.ks_2samp([statistic(each) for each in mine], [statistic(each) for each in its]).pvalue > 1e-3


def test_large_blocks_stay_as_often_as_small_ones():
    """The room in bytes must not prefer small ones: nothing enters below a key that had to go."""
    draws = np.random.default_rng(5)
    sizes = np.where(draws.random(600) < 0.5, 100, 3000)
    kept = [offered("reservoir", np.zeros(600), Room(10**9, 60_000), seed, sizes) for seed in range(60)]
    large = [number for each in kept for number in each if sizes[number] == 3000]
    assert_uniform([len(large), sum(map(len, kept)) - len(large)], [np.sum(sizes == 3000), np.sum(sizes == 100)])
    assert_uniform(np.bincount(np.concatenate(kept) * 5 // 600, minlength=5), np.ones(5))


def test_equal_shares_for_every_regime():
    regimes = np.repeat([0, 1, 0, 2], [400, 100, 300, 30])
    kept = np.concatenate([offered("per_regime", regimes, Room(60, np.inf), seed) for seed in range(30)])
    assert np.bincount(regimes[kept]).tolist() == [600] * 3
    of_first = kept[regimes[kept] == 0]
    assert_uniform([np.sum(of_first < 400), np.sum(of_first >= 400)], [400, 300])
    assert len(offered("per_regime", [0] * 50 + [1] * 5, Room(30, np.inf), 0)) == 30, (
        "a share that is not needed is used"
    )


def test_half_of_it_is_the_newest_and_half_a_sample_of_all_before():
    kept = [offered("half", np.zeros(500), Room(40, np.inf), seed) for seed in range(40)]
    assert all(each[20:] == list(range(480, 500)) for each in kept)
    older = np.concatenate([each[:20] for each in kept])
    assert_uniform(np.bincount(older * 6 // 480, minlength=6), np.ones(6))


@pytest.mark.parametrize("keep", KEEP)
def test_a_switch_can_empty_it(keep):
    replay, games = replay_of(keep=keep, steps=40, forgets=True), Games()
    games.fill(replay, 50, tasks="a")
    games.fill(replay, 13, tasks=["a"] * 5 + ["b"] * 8, step=100)
    batch = replay.sample(100)
    assert set(batch.tasks) == {"b"}
    assert replay.num_steps == 16
    games.fill(replay, 40, tasks="b", step=126)
    assert replay.num_steps > 34, "a border of the forgotten does not keep the new out"
    replay.begin("a")
    assert replay.num_steps == len(replay) == 0


# ------------------------------------------------------------------------------------------------------ what is drawn


def test_blocks_are_drawn_evenly_and_none_twice():
    replay, games = replay_of(), Games()
    games.fill(replay, 50)
    counts = np.zeros(20)
    for _ in range(300):
        numbers = replay.sample(4).numbers
        assert len(set(numbers.tolist())) == 4
        counts[numbers] += 1
    assert_uniform(counts, np.ones(20))


def test_single_steps_are_drawn_evenly_whatever_block_they_are_in():
    replay, games = replay_of(num_envs=1), Games(num_envs=1)
    games.fill(replay, 12, tasks=["a"] * 5 + ["b"] + ["a"] * 4 + ["c"] * 2)
    replay.begin("")
    steps = replay.sample_steps(3000)
    counts = np.zeros((4, 5))
    np.add.at(counts, (steps.numbers, steps.positions), 1)
    there = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], bool)
    assert not counts[~there].any()
    assert_uniform(counts[there], np.ones(12))


def test_steps_of_one_task_can_be_left_out():
    replay, games = replay_of(), Games()
    games.fill(replay, 15, tasks=["a"] * 5 + ["b"] * 10)
    assert set(replay.sample_steps(60).tasks) == {"a", "b"}
    assert set(replay.sample_steps(60, but="b").tasks) == {"a"}
    games.fill(replay, 5, tasks="c")
    replay.begin("")
    assert set(replay.sample_steps(60, but="a").tasks) == {"b", "c"}
    assert replay.others("a") == 6
    only = replay_of()
    games.fill(only, 5, tasks="a")
    assert only.others("a") == 0
    with pytest.raises(ReplayError, match="nothing can be drawn"):
        only.sample_steps(3, but="a")


def test_rare_steps_are_drawn_as_fast_as_all():
    """One block of the other task among many: nothing is drawn in vain."""
    replay, games = replay_of(num_envs=1), Games(num_envs=1)
    games.fill(replay, 5, tasks="rare")
    games.fill(replay, 500, tasks="long")
    replay.begin("")
    draws = replay._draws
    replay._draws = SimpleNamespace(integers=Mock(side_effect=draws.integers))
    assert set(replay.sample_steps(20, but="long").tasks) == {"rare"}
    assert replay._draws.integers.call_count == 2 * 20, "a block and a step of it"


def test_drawing_and_keeping_do_not_disturb_each_other():
    one, two, games = replay_of(steps=40), replay_of(steps=40), Games()
    played = [games.play(10) for _ in range(6)]
    for each in played:
        for replay in (one, two):
            replay.add(each.seen, each.fields, done=each.done, tasks="", step=0)
        one.sample(3)
    assert [block.number for block in one] == [block.number for block in two]
    other = replay_of(steps=40, seed=1)
    for each in played:
        other.add(each.seen, each.fields, done=each.done, tasks="", step=0)
    assert [block.number for block in one] != [block.number for block in other]


# -------------------------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("keep", KEEP)
@pytest.mark.parametrize("chunk", [5, 3])
def test_one_that_goes_on_from_its_state_is_the_same(keep, chunk):
    settings = {"keep": keep, "steps": 60}
    replay, games = replay_of(**settings), Games()
    for k in range(20):
        games.fill(replay, chunk, tasks="ab"[k // 6 % 2], step=2 * k * chunk)
        replay.sample(2)
    state = copy.deepcopy(replay.state_dict())
    other, its_games = replay_of(**settings), copy.deepcopy(games)
    other.load_state_dict(state, [(block.content, None) for block in replay])
    assert other.num_bytes == replay.num_bytes
    for each, player in ((replay, games), (other, its_games)):
        for k in range(12):
            player.fill(each, chunk, tasks="abc"[k // 5], step=1000 + 2 * k * chunk)
    assert_same_blocks(replay.sample(10), other.sample(10))
    np.testing.assert_array_equal(replay.sample_steps(20, 3).after, other.sample_steps(20, 3).after)
    assert [block.content for block in replay] == [block.content for block in other]


def test_blocks_are_read_as_they_were_written_before_goals_were_told_from_frames():
    whole, other = (replay_of(Layout((5, 6, 6), np.uint8, FIELDS, goals=goals)) for goals in (0, 2))
    Games(LAYOUTS["goals"]).fill(whole, 40)
    state = copy.deepcopy(whole.state_dict())
    assert state["layout"][0].pop("goals") == 0
    other.load_state_dict(state, [(block.content, None) for block in whole])
    assert_same_blocks(whole.sample(10), other.sample(10))


def test_equal_shares_of_the_bytes_where_these_are_short():
    regimes = np.repeat([0, 1], 300)
    sizes = np.where(regimes == 0, 360, 1360)  # with what each block costs besides: 1000 and 2000
    kept = offered("per_regime", regimes, Room(10**9, 60_000), 0, sizes)
    assert np.bincount(regimes[kept]).tolist() == [30, 15]


def test_numbers_are_steps_and_megabytes():
    replay, games = replay_of(), Games()
    games.fill(replay, 12)
    assert replay.numbers() == {"steps": 24, "mb": replay.num_bytes / 1e6, "blocks": 4, "tasks": 1}
