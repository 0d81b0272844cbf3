"""Tables of text, as people read them in a terminal, a web page or a paper."""

import csv
import io
from collections.abc import Sequence

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "#$%&_{}"},
    "±": r"$\pm$",
}


def format_table(rows: Sequence[Sequence[str]], style: str = "text") -> str:
    """`rows`, the first of them the heading, as a table; its first column is for words, the others for numbers.

    style: text, markdown, latex (which needs the package booktabs), or csv (with quotes as in RFC 4180).
    """
    if style == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue().rstrip("\n")
    if style == "markdown":
        lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
        lines.insert(1, "|---" + "|---:" * (len(rows[0]) - 1) + "|")
        return "\n".join(lines)
    if style == "latex":
        lines = [" & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in row) + r" \\" for row in rows]
        head = rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}"
        return "\n".join([head, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"])
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    aligned = (
        [row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))] for row in rows
    )
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)
