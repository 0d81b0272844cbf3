"""What a modification is, and the names of a modification string."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from continual_hackatari.names import UNMODIFIED

Hook = Callable[[], None]
MOMENTS = ("reset", "frame", "post")
"""once after a reset; before every emulated frame; after object detection, once per agent step and once per reset"""


@dataclass(frozen=True)
class Modification:
    """One selectable name."""

    name: str
    origin: str
    """``hackatari``, ``continual-hackatari``, ``console`` or the name of somebody's file"""
    runs: str
    """``frame``, ``reset``, ``post`` or several, as in ``frame + post`` (see `MOMENTS`)"""
    description: str
    writes: tuple[int, ...] = ()
    """RAM addresses"""
    refused: str = ""
    """why it cannot be played"""
    no_effect: str = ""
    """why it makes no difference"""
    objects_only: bool = False
    """changes the detected objects, not the RAM: no observation but ``obs_mode`` obj shows it"""


def split_modifications(string: str) -> tuple[str, ...]:
    """The names of a modification string, in order, each once; none for `UNMODIFIED`."""
    names = tuple(dict.fromkeys(string.split()))
    return () if names == (UNMODIFIED,) else names
