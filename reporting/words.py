"""How values, numbers and modification strings are written for people."""

import json
import math
from typing import Any

from continual_hackatari.names import UNMODIFIED

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def shown(value: Any, limit: int = 0) -> str:
    """A setting on one line."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


def name_of(modification: str, limit: int = 0) -> str:
    """A modification string; the unmodified game has a name."""
    return shown(modification or UNMODIFIED, limit)


def number(value: float, digits: int = 3) -> str:
    """A number for people: thousands with commas, else `digits` significant digits."""
    if not math.isfinite(value):
        return DASH
    rounded = float(f"{value:.{digits}g}")
    text = f"{value:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"
    return text.replace("-", MINUS)


def counted(amount: int, thing: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{amount} {thing}{'' if amount == 1 else 's'}"
