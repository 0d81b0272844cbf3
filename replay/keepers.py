"""Who stays when a replay is full.

Every block has a rank, and the one with the least leaves. With its number as rank that is the oldest one; with a random
key it is anyone: the blocks that stay are then a uniform sample of all that ever came, as Vitter's algorithm R gives
it, but it can be cut to any size at any time. For that, nothing may enter below a rank that has left: where blocks are
of different sizes a smaller one would find room, although greater keys than its own had to go.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

from continual_hackatari.replay.blocks import Block

Keep = Literal["reservoir", "fifo", "per_regime", "half"]
"""The rules; `keeper` explains them."""
KEEP = get_args(Keep)


class Room(NamedTuple):
    """How much there is, or may be."""

    steps: int
    num_bytes: float

    def holds(self, steps: int, num_bytes: int) -> bool:
        return steps <= self.steps and num_bytes <= self.num_bytes


class Shelf:
    """Blocks in the order of their rank."""

    def __init__(self, rank: Callable[[Block], float]) -> None:
        self.border = -1.0
        """the greatest rank that ever left"""
        self.blocks: dict[int, Block] = {}
        self.steps = self.num_bytes = 0
        self._rank = rank
        self._heap: list[tuple[float, int]] = []

    def put(self, block: Block) -> bool:
        """Take the block, unless its rank is below the border."""
        rank = self._rank(block)
        if rank < self.border:
            return False
        heapq.heappush(self._heap, (rank, block.number))
        self.blocks[block.number] = block
        self.steps += block.steps
        self.num_bytes += block.num_bytes
        return True

    def drop(self) -> Block:
        """Take out the block with the least rank."""
        self.border, number = heapq.heappop(self._heap)
        block = self.blocks.pop(number)
        self.steps -= block.steps
        self.num_bytes -= block.num_bytes
        return block

    def state_dict(self) -> dict[str, Any]:
        return {"border": self.border, "numbers": sorted(self.blocks)}

    def load_state_dict(self, state: Mapping[str, Any], blocks: Mapping[int, Block]) -> None:
        for number in state["numbers"]:
            self.put(blocks[number])
        self.border = state["border"]


class Whole:
    """`reservoir` and `fifo`: one shelf."""

    def __init__(self, rank: Callable[[Block], float]) -> None:
        self._shelf = Shelf(rank)

    def put(self, block: Block, room: Room) -> list[Block]:
        """Offer a block; returns those that are not kept (any more), perhaps itself."""
        if not self._shelf.put(block):
            return [block]
        return self.make_fit(room)

    def make_fit(self, room: Room) -> list[Block]:
        """Take out what there is no room for."""
        gone = []
        while self._shelf.blocks and not room.holds(self._shelf.steps, self._shelf.num_bytes):
            gone.append(self._shelf.drop())
        return gone

    def state_dict(self) -> dict[str, Any]:
        return self._shelf.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], blocks: Mapping[int, Block]) -> None:
        self._shelf.load_state_dict(state, blocks)


class PerTask:
    """`per_regime`: a reservoir for each task, and the largest gives way, so that all get equal shares."""

    def __init__(self) -> None:
        self._shelves: dict[int, Shelf] = {}

    def put(self, block: Block, room: Room) -> list[Block]:
        if not self._shelves.setdefault(block.task, Shelf(by_key)).put(block):
            return [block]
        return self.make_fit(room)

    def make_fit(self, room: Room) -> list[Block]:
        gone, shelves = [], list(self._shelves.values())
        steps, num_bytes = sum(each.steps for each in shelves), sum(each.num_bytes for each in shelves)
        while steps > 0 and not room.holds(steps, num_bytes):
            too_long = steps > room.steps
            gone.append(max(shelves, key=lambda shelf: shelf.steps if too_long else shelf.num_bytes).drop())
            steps, num_bytes = steps - gone[-1].steps, num_bytes - gone[-1].num_bytes
        return gone

    def state_dict(self) -> dict[str, Any]:
        return {"shelves": [[task, shelf.state_dict()] for task, shelf in self._shelves.items()]}

    def load_state_dict(self, state: Mapping[str, Any], blocks: Mapping[int, Block]) -> None:
        for task, shelf in state["shelves"]:
            self._shelves[task] = Shelf(by_key)
            self._shelves[task].load_state_dict(shelf, blocks)


class Half:
    """`half`: the newest in one half; what leaves it is offered to a reservoir, which is the other half."""

    def __init__(self) -> None:
        self._new, self._old = Whole(by_age), Whole(by_key)

    def put(self, block: Block, room: Room) -> list[Block]:
        return self._pass_on(self._new.put(block, _half(room)), room)

    def make_fit(self, room: Room) -> list[Block]:
        return self._pass_on(self._new.make_fit(_half(room)), room)

    def _pass_on(self, blocks: list[Block], room: Room) -> list[Block]:
        gone = [other for block in blocks for other in self._old.put(block, _half(room))]
        return gone + self._old.make_fit(_half(room))

    def state_dict(self) -> dict[str, Any]:
        return {"new": self._new.state_dict(), "old": self._old.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], blocks: Mapping[int, Block]) -> None:
        self._new.load_state_dict(state["new"], blocks)
        self._old.load_state_dict(state["old"], blocks)


Keeper = Whole | PerTask | Half


def by_key(block: Block) -> float:
    return block.key


def by_age(block: Block) -> float:
    return block.number


def keeper(keep: str) -> Keeper:
    """A rule by its name.

    reservoir: a uniform sample of all blocks. fifo: the newest. per_regime: a reservoir for each task, all with equal
    shares. half: the newest in one half, in the other a uniform sample of all that are older.
    """
    if keep == "half":
        return Half()
    return PerTask() if keep == "per_regime" else Whole(by_key if keep == "reservoir" else by_age)


def _half(room: Room) -> Room:
    return Room(room.steps // 2, room.num_bytes / 2)
