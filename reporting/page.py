"""The HTML of a report: text in, escaped markup out, one page that asks the network for nothing. See `templates/`."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape


class Section(NamedTuple):
    """One part of the page."""

    anchor: str
    title: str
    blocks: Sequence[Markup]


def plain(value: object) -> object:
    """What no screen can show is replaced, for names, in which a backtick is a backtick; Markup stays."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value)


def words(value: object) -> Markup:
    """Anything as HTML: Markup stays, other text is escaped, and what stands between backticks becomes code."""
    if isinstance(value, Markup):
        return value
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(plain(str(value))))))


def is_long(value: object) -> bool:
    """Whether a cell must break its lines."""
    return len(re.sub(r"<[^>]*>", "", str(value))) > 40


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates", encoding="utf-8"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
    finalize=plain,
)
_TEMPLATES.filters |= {"words": words, "is_long": is_long}
_BLOCKS: Any = _TEMPLATES.get_template("blocks.html").module


def paragraph(text: str) -> Markup:
    return Markup(_BLOCKS.paragraph(text))


def note(*lines: str) -> Markup:
    """What the reader must know before believing the rest; nothing without lines."""
    return Markup(_BLOCKS.note(lines))


def details(summary: str, *blocks: Markup) -> Markup:
    return Markup(_BLOCKS.details(summary, blocks))


def key(letter: str, colour: str) -> Markup:
    """The letter of a modification string on its colour."""
    return Markup(_BLOCKS.key(letter, colour))


def highlighted(value: object) -> Markup:
    return Markup(_BLOCKS.highlighted(value))


def with_reason(value: str, reason: str) -> Markup:
    """A value, and below it in small letters what there is to say about it."""
    return Markup(_BLOCKS.with_reason(value, reason))


def table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = (), tall: int = 30
) -> Markup:
    """A table that scrolls beyond `tall` rows; `numbers`: columns aligned right."""
    return Markup(_BLOCKS.table(caption, header, rows, numbers, tall))


def figure(name: str, light: bytes, dark: bytes, alternative: str, caption: str) -> Markup:
    """A figure as SVG, for light and dark screens."""
    addresses = (Markup("data:image/svg+xml;base64," + base64.b64encode(svg).decode()) for svg in (light, dark))
    return Markup(_BLOCKS.figure(name, *addresses, alternative, caption))


def page(title: str, introduction: Sequence[Markup], sections: Sequence[Section], footer: str) -> str:
    """The whole document."""
    template = _TEMPLATES.get_template("page.html")
    return template.render(title=title, introduction=introduction, sections=sections, footer=words(footer))
