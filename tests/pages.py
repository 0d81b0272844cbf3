"""The README and the pages of docs/, for tests of what they say."""

import re

from conftest import ROOT

README = ROOT / "README.md"
FILES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {path: path.read_text(encoding="utf-8") for path in FILES}
EVERYTHING = "\n".join(TEXTS.values())


def blocks(language, text=EVERYTHING):
    """The code blocks of one language, the README's first."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def headings(path):
    """(level, title, begin, end of its line) of every heading; comments in code are none."""
    code = re.compile(r"^```.*?^```", re.S | re.M)
    text = code.sub(lambda found: re.sub("[^\n]", " ", found[0]), TEXTS[path])
    return [(len(m[1]), m[2], m.start(), m.end()) for m in re.finditer(r"^(#+) (.*)$", text, re.M)]


def section(title, page=None):
    """The text under the one heading of this title, down to the next heading of the same or a higher level."""
    found = []
    for path in FILES:
        all_of_page = headings(path)
        for i, (level, name, _, begin) in enumerate(all_of_page):
            if name == title and page in (None, path.name):
                ends = [start for other, _, start, _ in all_of_page[i + 1 :] if other <= level]
                found.append(TEXTS[path][begin : ends[0] if ends else len(TEXTS[path])])
    (text,) = found
    return text


def anchors(path):
    """What links to headings of this page name, as forges and the site make it."""
    names, seen = set(), {}
    for _, title, _, _ in headings(path):
        name = re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-")
        seen[name] = seen.get(name, -1) + 1
        names.add(f"{name}-{seen[name]}" if seen[name] else name)
    return names


def rows(text, columns=3):
    """The cells of all table rows whose first cell is code."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == columns:
            found.append([cell.strip("| ") for cell in cells])
    return found
