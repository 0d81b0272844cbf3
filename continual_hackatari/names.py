"""Words that several rooms need, which may not import each other: above all, how a task is written.

A *task string* is ``[<Game>:] <names of modifications>``:

    Pong: lazy_enemy        in another game than the run's own
    Breakout:               that game unmodified; so is `Breakout: no_modif`
    all_pink_cars           in the run's own game

Which games and names there are, the games know (`wrappers.config.check_string`).
"""

from __future__ import annotations

from typing import NamedTuple

UNMODIFIED = "no_modif"
"""what people and files call the unmodified game; as a modification string it is also \"\""""


class Task(NamedTuple):
    """A game and its modifications, as they are written: nothing is checked."""

    game: str
    """as in the environment id, `Freeway`; empty: the run's own"""
    names: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join([f"{self.game}:", *self.names] if self.game else self.names)


def parse(string: str) -> Task:
    """Take a task string apart; `str` of the result has single spaces, and `UNMODIFIED` is no name in it."""
    game, colon, rest = string.partition(":")
    if not (colon and game.strip()):
        game, rest = "", string
    names = tuple(rest.split())
    return Task(" ".join(game.split()), () if names == (UNMODIFIED,) else names)


def game_of(env_id: str) -> str:
    """`ALE/Freeway-v5`, `FreewayNoFrameskip-v4` -> `Freeway`."""
    return env_id.removeprefix("ALE/").split("-")[0].removesuffix("NoFrameskip").removesuffix("Deterministic")


def full_id(env_id: str) -> str:
    """`Freeway`, which people may write, is `ALE/Freeway-v5`; any other id is as it is."""
    return env_id if "/" in env_id or "-v" in env_id or not env_id else f"ALE/{env_id}-v5"


def id_in_game(env_id: str, game: str) -> str:
    """The id of this game, of the same kind: (`PongNoFrameskip-v4`, `Breakout`) -> `BreakoutNoFrameskip-v4`.

    game: as in a task string, empty for the id's own.
    """
    return env_id.replace(game_of(env_id), game, 1) if game else env_id
