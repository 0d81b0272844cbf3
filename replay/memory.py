"""A replay: what is added to it, who stays, and what is drawn from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from continual_hackatari.replay.blocks import DONE, Block, Layout, OpenBlock, Unpacked
from continual_hackatari.replay.errors import ReplayError
from continual_hackatari.replay.keepers import KEEP, Room, keeper

Arrays = dict[str, np.ndarray]
End = tuple[int, np.ndarray, np.ndarray]
"""Episodes that ended in step t of a chunk: t, their games int64 [K], and their last observations [K, *shape]."""


class Ends(NamedTuple):
    """What followed the steps with which an episode ended, where that is known."""

    steps: np.ndarray
    """int64 [K], in the block"""
    columns: np.ndarray
    """int64 [K], which block"""
    observations: np.ndarray
    """[K, *shape]"""


class Blocks(NamedTuple):
    """Drawn blocks, a column each. A block that is shorter than T steps has zeros below."""

    observations: np.ndarray
    """[T, n, *shape], what each step saw"""
    last: np.ndarray
    """[n, *shape], what followed the last step of each; zeros where that is not known"""
    ends: Ends
    fields: Arrays
    """[T, n, ...] by name; `done` is among them"""
    mask: np.ndarray
    """bool [T, n], which steps there are"""
    environments: np.ndarray
    """int64 [n]"""
    tasks: list[str]
    first_steps: np.ndarray
    """int64 [n], the run's step at which the first step was played"""
    numbers: np.ndarray
    """int64 [n], which blocks they are"""


class Steps(NamedTuple):
    """Drawn steps, with what came of them up to n steps later."""

    observations: np.ndarray
    """[B, *shape]"""
    after: np.ndarray
    """[B, *shape], what was there `span` steps later; zeros where that is not known"""
    span: np.ndarray
    """int64 [B], 1 to n: fewer where the episode or the block ended before"""
    fields: Arrays
    """[n, B, ...] by name, of the step and those after it"""
    mask: np.ndarray
    """bool [n, B], which of these there are"""
    tasks: list[str]
    numbers: np.ndarray
    """int64 [B], of their blocks"""
    positions: np.ndarray
    """int64 [B], in these blocks"""


class Replay:
    """Past steps of several games, in blocks of consecutive steps of one game under one task.

    Args:
        layout: of one step; None: that of the first chunk.
        num_envs: games whose steps are added; without a layout as many as the first chunk has.
        block_steps: length of a block. A change of the task ends blocks early.
        steps, mb: what is kept at most, in steps and in megabytes (10^6 bytes). Both are hard limits.
        keep: who stays, see `keepers.keeper`.
        forgets: whether a change of the task empties the replay.
        seed: of its own two generators, one for what stays and one for what is drawn.
        stride: steps of the run between two steps of a game.

    Raises:
        ReplayError: it cannot hold a block of every game.
    """

    def __init__(
        self,
        layout: Layout | None = None,
        num_envs: int = 0,
        *,
        block_steps: int,
        steps: int,
        mb: float,
        keep: str = "reservoir",
        forgets: bool = False,
        seed: int = 0,
        stride: int = 1,
    ) -> None:
        if keep not in KEEP:
            raise ReplayError(f"`keep` is {keep!r}; allowed are {', '.join(KEEP)}")
        self.block_steps, self.stride = block_steps, stride
        self.task: str | None = None
        """that is played"""
        self._room, self._keep, self._forgets = Room(steps, mb * 1e6), keep, forgets
        self._layout: Layout | None = None
        if layout is not None:
            self._lay_out(layout, num_envs)
        keys, draws = np.random.SeedSequence(seed).spawn(2)
        self._keys, self._draws = (
            np.random.Generator(np.random.PCG64(keys)),
            np.random.Generator(np.random.PCG64(draws)),
        )
        self._tasks: list[str] = []
        self._added = 0  # blocks that ever came
        self._open: dict[int, OpenBlock] = {}
        self.forget()

    def _lay_out(self, layout: Layout, num_envs: int) -> None:
        check_room(layout, num_envs, self.block_steps, self._room.steps, self._room.num_bytes / 1e6, self._keep)
        self._layout, self.num_envs = layout, num_envs

    @property
    def layout(self) -> Layout:
        """Of one step."""
        if self._layout is None:
            raise ReplayError("nothing can be drawn from a replay to which nothing was added")
        return self._layout

    # ------------------------------------------------------------------------------------------------------- filling

    def forget(self) -> None:
        """Keep nothing of what was added."""
        self._keeper = keeper(self._keep)
        self._blocks: list[Block] = []  # in any order, from which is drawn
        self._places: dict[int, int] = {}  # number of a block -> where in this list
        self._open.clear()
        self._of_task = [0] * len(self._tasks)  # blocks
        self._steps = self._num_bytes = 0

    def begin(self, task: str) -> None:
        """Another task begins, or goes on; `add` says so too."""
        if task == self.task:
            return
        if self._forgets and self.task is not None:
            self.forget()
        for environment in sorted(self._open):
            self._close(environment)
        self.task = task

    def add(
        self,
        observations: np.ndarray,
        fields: Mapping[str, np.ndarray],
        *,
        done: np.ndarray,
        tasks: str | Sequence[str],
        step: int,
        last: np.ndarray | None = None,
        ends: Iterable[End] = (),
        goals: int = 0,
    ) -> None:
        """Add a chunk of T consecutive steps of all games, which goes on where the one before it ended.

        observations: [T, N, *shape], what each step saw. fields: those of the layout, [T, N, ...]. done: bool [T, N],
        the episode ended with this step. tasks: what was played, in all steps or in each of the T. step: of the run, at
        which the first was played. last: [N, *shape], what there is to see after the chunk. ends: last observations of
        episodes that ended; without these it is not known what followed the end of an episode. goals: of the layout, of
        a replay that was made without one.
        """
        length = len(observations)
        if length == 0:
            return
        if self._layout is None:
            described = {name: (each.dtype, each.shape[2:]) for name, each in fields.items()}
            layout = Layout(observations.shape[2:], observations.dtype, described, goals)
            self._lay_out(layout, observations.shape[1])
        self._check(observations, fields, done, tasks)
        of_steps = [tasks] * length if isinstance(tasks, str) else list(tasks)
        finals = {(t, int(game)): each for t, games, seen in ends for game, each in zip(games, seen, strict=True)}
        borders = [t for t in range(1, length) if of_steps[t] != of_steps[t - 1]]
        for start, stop in zip([0, *borders], [*borders, length], strict=True):
            self.begin(of_steps[start])
            for game in range(self.num_envs):
                t = start
                while t < stop:
                    block = self._open.get(game)
                    if block is None:
                        block = OpenBlock(self.layout, game, step + t * self.stride, self.block_steps)
                        self._open[game] = block
                    until = min(stop, t + block.room)
                    own = {name: each[t:until, game] for name, each in fields.items()}
                    over = {at - t: finals[at, game] for at in range(t, until) if (at, game) in finals}
                    block.extend(observations[t:until, game], own, done[t:until, game], over)
                    following = observations[until] if until < length else last
                    if following is not None and not done[until - 1, game]:
                        block.follow(following[game])
                    if block.room == 0:
                        self._close(game)
                    t = until
        self._leave(self._keeper.make_fit(self._left()))

    def _check(
        self, observations: np.ndarray, fields: Mapping[str, np.ndarray], done: np.ndarray, tasks: str | Sequence[str]
    ) -> None:
        rows, shape = (len(observations), self.num_envs), self.layout.shape
        if observations.shape != (*rows, *shape) or observations.dtype != self.layout.dtype:
            raise ReplayError(
                f"observations are {observations.dtype} {list(observations.shape)}; this replay keeps "
                f"{self.layout.dtype} [T, {self.num_envs}, {', '.join(map(str, shape))}]"
            )
        expected = {name for name in self.layout.names if name != DONE}
        if set(fields) != expected:
            raise ReplayError(f"the fields are {sorted(fields)}; this replay keeps {sorted(expected)}")
        shapes = {"done": done.shape[:2], **{name: each.shape[:2] for name, each in fields.items()}}
        if not isinstance(tasks, str):
            shapes["tasks"] = (len(tasks), self.num_envs)
        for name, found in shapes.items():
            if tuple(found) != rows:
                raise ReplayError(f"`{name}` has {list(found)} steps and games, the observations have {list(rows)}")

    def _close(self, environment: int) -> None:
        """A block is whole: it is kept, or not."""
        whole = self._open.pop(environment)
        if self.task not in self._tasks:
            self._tasks.append(str(self.task))
            self._of_task.append(0)
        block = Block(
            number=self._added,
            key=float(self._keys.random()),
            environment=environment,
            task=self._tasks.index(str(self.task)),
            first_step=whole.first_step,
            steps=whole.steps,
            content=whole.pack(),
        )
        self._added += 1
        self._join(block)
        self._leave(self._keeper.put(block, self._left()))

    def _left(self) -> Room:
        """What there is for whole blocks."""
        return self._room._replace(
            steps=self._room.steps - sum(block.steps for block in self._open.values()),
            num_bytes=self._room.num_bytes - sum(block.num_bytes for block in self._open.values()),
        )

    def _join(self, block: Block) -> None:
        self._places[block.number] = len(self._blocks)
        self._blocks.append(block)
        self._of_task[block.task] += 1
        self._steps += block.steps
        self._num_bytes += block.num_bytes

    def _leave(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            place, other = self._places.pop(block.number), self._blocks.pop()
            if other is not block:
                self._blocks[place] = other
                self._places[other.number] = place
            self._of_task[block.task] -= 1
            self._steps -= block.steps
            self._num_bytes -= block.num_bytes

    # ------------------------------------------------------------------------------------------------------- drawing

    def __len__(self) -> int:
        """Blocks from which is drawn: the whole ones."""
        return len(self._blocks)

    def __iter__(self) -> Iterator[Block]:
        """These blocks, as they came."""
        return iter(sorted(self._blocks, key=lambda block: block.number))

    @property
    def num_steps(self) -> int:
        """Steps that are kept, those of blocks that are not whole yet too."""
        return self._steps + sum(block.steps for block in self._open.values())

    @property
    def num_bytes(self) -> int:
        """Memory that they take."""
        return self._num_bytes + sum(block.num_bytes for block in self._open.values())

    def numbers(self) -> dict[str, float]:
        """To log."""
        tasks = sum(number > 0 for number in self._of_task)
        return {"steps": self.num_steps, "mb": self.num_bytes / 1e6, "blocks": len(self), "tasks": tasks}

    def sample(self, number: int) -> Blocks:
        """So many different blocks, any with the same probability; all there are where these are fewer."""
        chosen: Any = self._draws.choice(len(self), min(number, len(self)), replace=False) if len(self) else []
        return self._blocks_of([self._blocks[place] for place in chosen])

    def others(self, task: str | None) -> int:
        """How many of the blocks are of another task than this one."""
        return sum(number for each, number in zip(self._tasks, self._of_task, strict=True) if each != task)

    def sample_steps(self, number: int, n: int = 1, *, but: str | None = None) -> Steps:
        """So many steps, any with the same probability, drawn with replacement.

        n: see `take`. but: a task none of whose steps is drawn.
        """
        if not self.others(but):
            raise ReplayError("nothing can be drawn from a replay before its first block is whole")
        blocks = self._blocks if but is None else [each for each in self._blocks if self._tasks[each.task] != but]
        numbers: list[int] = []
        positions: list[int] = []
        while len(numbers) < number:  # a shorter block is met as often, but some of its steps are not there
            block = blocks[int(self._draws.integers(len(blocks)))]
            position = int(self._draws.integers(self.block_steps))
            if position < block.steps:
                numbers.append(block.number)
                positions.append(position)
        return self.take(np.array(numbers, np.int64), np.array(positions, np.int64), n)

    def take(self, numbers: np.ndarray, positions: np.ndarray, n: int = 1) -> Steps:
        """Steps by their places: each with those after it in its episode and block, n in all, and what followed."""
        B, layout = len(numbers), self.layout  # noqa: N806 - as in the shape comments
        seen, after = (np.zeros((B, *layout.shape), layout.dtype) for _ in range(2))
        fields = {name: np.zeros((n, B, *layout.row[name].shape), layout.row[name].base) for name in layout.names}
        count, tasks = np.zeros(B, np.int64), [""] * B
        for number in np.unique(numbers):
            block = self._blocks[self._places[int(number)]]
            steps = Unpacked(layout, block)
            for i in np.flatnonzero(numbers == number):
                start = int(positions[i])
                over = np.flatnonzero(steps.field(DONE)[start : start + n])
                stop = start + int(over[0]) + 1 if len(over) else min(start + n, len(steps))
                seen[i] = steps.observations(np.array([start]))[0]
                after[i] = steps.after(np.array([stop - 1]))[0]
                count[i], tasks[i] = stop - start, self._tasks[block.task]
                for name, values in fields.items():
                    values[: stop - start, i] = steps.field(name)[start:stop]
        mask = np.arange(n)[:, None] < count
        return Steps(seen, after, count, fields, mask, tasks, np.asarray(numbers), np.asarray(positions))

    def _blocks_of(self, blocks: Sequence[Block]) -> Blocks:
        T, n, layout = self.block_steps, len(blocks), self.layout  # noqa: N806 - as in the shape comments
        seen, last = np.zeros((T, n, *layout.shape), layout.dtype), np.zeros((n, *layout.shape), layout.dtype)
        fields = {name: np.zeros((T, n, *layout.row[name].shape), layout.row[name].base) for name in layout.names}
        ends: list[tuple[np.ndarray, np.ndarray]] = []
        for i, block in enumerate(blocks):
            steps = Unpacked(layout, block)
            seen[: len(steps), i] = steps.observations()
            last[i] = steps.after(np.array([len(steps) - 1]))[0]
            for name, values in fields.items():
                values[: len(steps), i] = steps.field(name)
            over = np.flatnonzero(steps.field(DONE) & steps.followed)
            ends.append((over, steps.after(over)))
        observations = [each for _, each in ends if len(each)] or [np.zeros((0, *layout.shape), layout.dtype)]
        return Blocks(
            observations=seen,
            last=last,
            ends=Ends(
                np.concatenate([np.zeros(0, np.int64), *(over for over, _ in ends)]),
                np.repeat(np.arange(n), np.array([len(over) for over, _ in ends], np.int64)),
                np.concatenate(observations),
            ),
            fields=fields,
            mask=np.arange(T)[:, None] < np.array([block.steps for block in blocks], np.int64),
            environments=np.array([block.environment for block in blocks], np.int64),
            tasks=[self._tasks[block.task] for block in blocks],
            first_steps=np.array([block.first_step for block in blocks], np.int64),
            numbers=np.array([block.number for block in blocks], np.int64),
        )

    # --------------------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Plain data of everything but the content of whole blocks, see `__iter__`."""
        blocks = list(self)
        return {
            "layout": None if self._layout is None else [self._layout.state_dict(), self.num_envs],
            "keys": self._keys.bit_generator.state,
            "draws": self._draws.bit_generator.state,
            "task": self.task,
            "tasks": list(self._tasks),
            "added": self._added,
            "numbers": np.array([block.number for block in blocks], np.int64),
            "block_keys": np.array([block.key for block in blocks]),
            "environments": np.array([block.environment for block in blocks], np.int64),
            "block_tasks": np.array([block.task for block in blocks], np.int64),
            "first_steps": np.array([block.first_step for block in blocks], np.int64),
            "steps": np.array([block.steps for block in blocks], np.int64),
            "order": np.array([block.number for block in self._blocks], np.int64),
            "keeper": self._keeper.state_dict(),
            "open": [block.state_dict() for _, block in sorted(self._open.items())],
        }

    def load_state_dict(
        self, state: Mapping[str, Any], contents: Iterable[tuple[bytes, tuple[str, int] | None]]
    ) -> None:
        """Go on from a state. contents: of its blocks, as they came, and where they are saved."""
        if state.get("layout") is not None:  # also where there is one: blocks are read as they were written
            layout, num_envs = state["layout"]
            self._lay_out(Layout(**layout), num_envs)
        self._keys.bit_generator.state, self._draws.bit_generator.state = state["keys"], state["draws"]
        self.task, self._tasks, self._added = state["task"], list(state["tasks"]), state["added"]
        self.forget()
        names = ("numbers", "block_keys", "environments", "block_tasks", "first_steps", "steps")
        described = zip(*(state[name].tolist() for name in names), contents, strict=True)
        blocks = {each[0]: Block(*each, *content) for *each, content in described}
        for number in state["order"].tolist():
            self._join(blocks[number])
        self._keeper.load_state_dict(state["keeper"], blocks)
        for each in state["open"]:
            self._open[each["environment"]] = OpenBlock.from_state(self.layout, each)


def check_room(layout: Layout, num_envs: int, block_steps: int, steps: int, mb: float, keep: str = "reservoir") -> None:
    """Raise ReplayError where a replay, or each of its halves, could not hold a block of every game, not compressed."""
    what = "a replay"
    if keep == "half":
        what, steps, mb = "half of the replay (`half` has two), one", steps // 2, mb / 2
    if steps < num_envs * block_steps:
        raise ReplayError(
            f"{what} of {steps:,} steps cannot hold a block of each game: {num_envs} games x {block_steps} steps = "
            f"{num_envs * block_steps:,} steps"
        )
    block = layout.bytes_of_block(block_steps)
    if mb * 1e6 < num_envs * block:
        raise ReplayError(
            f"{what} of {mb:g} MB cannot hold a block of each game: {num_envs} games x ({block_steps} + "
            f"{layout.window} observations of {layout.plane_bytes:,} bytes + {block_steps} steps of "
            f"{layout.row.itemsize} bytes) = {num_envs * block / 1e6:.1f} MB before it is compressed"
        )
