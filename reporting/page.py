"""The HTML of a report: plain text in, escaped markup out, one page that asks the network for nothing."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from typing import NamedTuple

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #5c6168; --paper: #ffffff; --line: #d9dce0; --wash: #f4f5f7;
  --mark: #fff3d6; --link: #0060a0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e3; --soft: #a4a9b0; --paper: #16181c; --line: #363a41;
  --wash: #1f2228; --mark: #4a3a10; --link: #7cc0f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main, header, footer { max-width: 62rem; margin: 0 auto; padding: 0 1rem; overflow-wrap: anywhere; }
header { padding-top: 2rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .7rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: .5rem 0; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; padding: 0; margin: 1rem 0; }
figure { margin: 1rem 0 1.6rem; }
.scroll { overflow-x: auto; max-width: 100%; }
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.tall { max-height: 28rem; overflow-y: auto; }
figure img { display: block; width: 100%; min-width: 38rem; height: auto; }
figcaption { color: var(--soft); font-size: .92rem; max-width: 46rem; margin-top: .4rem; }
caption { padding: .4rem 0; text-align: left; font-weight: 600; }
caption span { display: inline-block; position: sticky; left: 0; max-width: calc(100vw - 2rem); }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; margin: .4rem 0 1rem; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  overflow-wrap: normal; }
th { font-weight: 600; }
thead th { background: var(--paper); position: sticky; top: 0; }
.number { text-align: right; white-space: nowrap; }
.wide { min-width: 16rem; overflow-wrap: anywhere; }
td small { color: var(--soft); }
mark { background: var(--mark); color: inherit; padding: 0 .2rem; }
code { font: .88em ui-monospace, monospace; background: var(--wash); padding: .08em .25em; border-radius: 3px; }
.note { border-left: 4px solid #e69f00; background: var(--wash); padding: .5rem .8rem; margin: .7rem 0;
  max-width: 46rem; }
.note p { margin: .2rem 0; }
.key { display: inline-block; min-width: 1.5em; text-align: center; padding: 0 .3em; border-radius: 3px;
  font-weight: 600; }
details { margin: .6rem 0 1rem; } summary { cursor: pointer; color: var(--link); }
footer { color: var(--soft); font-size: .88rem; padding: 2rem 1rem; }
@media print { nav, summary { display: none; } figure { break-inside: avoid; } .tall { max-height: none; } }
"""
# The browser itself then refuses whatever would leave the page, should a string ever slip through unescaped.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Markup(str):
    """Text that is HTML already; everything else is escaped."""


class Section(NamedTuple):
    """One part of the page."""

    anchor: str
    title: str
    blocks: Sequence[Markup]


def text(value: object) -> Markup:
    """Anything as HTML: Markup stays, other text is escaped, and what stands between backticks becomes code."""
    if isinstance(value, Markup):
        return value
    printable = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    escaped = html.escape(printable)
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escaped))


def plain(value: object) -> Markup:
    """Text escaped and nothing else: for names, in which a backtick is a backtick."""
    return Markup(html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))))


def paragraph(words: str) -> Markup:
    return Markup(f"<p>{text(words)}</p>\n")


def note(*lines: str) -> Markup:
    """What the reader must know before believing the rest; nothing without lines."""
    if not lines:
        return Markup("")
    return Markup('<div class="note">' + "".join(f"<p>{text(line)}</p>" for line in lines) + "</div>\n")


def details(summary: str, *blocks: Markup) -> Markup:
    return Markup(f"<details><summary>{text(summary)}</summary>\n{''.join(blocks)}</details>\n")


def key(letter: str, colour: str) -> Markup:
    """The letter of a modification string on its colour."""
    return Markup(f'<span class="key" style="background:{html.escape(colour)}88">{html.escape(letter)}</span>')


def highlighted(value: object) -> Markup:
    return Markup(f"<mark>{plain(value)}</mark>")


def with_reason(value: str, reason: str) -> Markup:
    """A value, and below it in small letters what there is to say about it."""
    return Markup(f"{text(value)}<br><small>{plain(reason)}</small>" if reason else str(text(value)))


def table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = (), tall: int = 30
) -> Markup:
    """A table in a box of its own that scrolls, sideways on a narrow screen, and down beyond `tall` rows.

    `numbers`: columns aligned right. The first cell of each row is its header.
    """

    def cell(tag: str, column: int, value: object) -> str:
        long = len(re.sub(r"<[^>]*>", "", str(value))) > 40
        kind = "number" if column in numbers else "wide" if long else ""
        opening = tag + (' scope="row"' if tag == "th" else "") + (f' class="{kind}"' if kind else "")
        return f"<{opening}>{value if isinstance(value, Markup) else plain(value)}</{tag}>"

    number = ' class="number"'
    head = "".join(
        f'<th scope="col"{number if column in numbers else ""}>{plain(name)}</th>' for column, name in enumerate(header)
    )
    body = "".join(
        "<tr>" + "".join(cell("th" if i == 0 else "td", i, value) for i, value in enumerate(row)) + "</tr>\n"
        for row in rows
    )
    size = " tall" if len(rows) > tall else ""
    return Markup(
        f'<div class="scroll{size}" role="region" tabindex="0" aria-label="{html.escape(caption)}">\n<table>'
        f"<caption><span>{text(caption)}</span></caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def figure(name: str, light: bytes, dark: bytes, alternative: str, caption: str) -> Markup:
    """A figure as SVG in the page, with a dark version for dark screens; on a narrow one it scrolls in its box."""

    def address(svg: bytes) -> str:
        return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()

    described = html.escape(alternative)
    return Markup(
        f'<figure id="figure-{html.escape(name)}">\n<div class="scroll" role="region" tabindex="0" '
        f'aria-label="Figure: {described}">\n<picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="{address(dark)}"><img src="{address(light)}" alt="{described}"></picture></div>\n'
        f"<figcaption>{text(caption)}</figcaption></figure>\n"
    )


def page(title: str, introduction: Sequence[Markup], sections: Sequence[Section], footer: str) -> str:
    """The whole document."""
    contents = "".join(f'<li><a href="#{html.escape(s.anchor)}">{text(s.title)}</a></li>' for s in sections)
    body = "".join(
        f'<section id="{html.escape(anchor)}">\n<h2>{text(heading_)}</h2>\n{"".join(blocks)}</section>\n'
        for anchor, heading_, blocks in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{plain(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>{plain(title)}</h1>\n{"".join(introduction)}<nav aria-label="Contents"><ul>{contents}</ul></nav>'
        f"</header>\n<main>\n{body}</main>\n<footer>{text(footer)}</footer>\n</body>\n</html>\n"
    )
