"""Measuring contestants in turn, and showing the result as a table, JSON and a bar chart."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from continual_hackatari.reporting.statistics import students_interval

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "ale-py", "gymnasium", "hackatari", "ocatari", "stable-baselines3", "envpool")


@dataclass
class Row:
    """One contestant: its figure in every round, or why it has none."""

    name: str
    values: list[float] = field(default_factory=list)
    missing: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def write_scores(path: Path, about: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    """A JSON file with one line per string, so that a change shows which.

    Args:
        path: of the file.
        about: what else it says, above them.
        scores: nested objects, written in alphabetical order; the innermost list or object is of a string, written as
            it is.
    """
    text = json.dumps({**about, "scores": in_order(scores)}, indent=1)
    lines = re.sub(r"\[[^][]*]|\{[^][{}]*}", lambda found: json.dumps(json.loads(found[0])), text)
    path.write_text(lines + "\n", encoding="utf-8")


def in_order(scores: Any) -> Any:
    """Nested objects in alphabetical order, but for those that hold single numbers."""
    if not isinstance(scores, Mapping) or not any(isinstance(value, (Mapping, list)) for value in scores.values()):
        return scores
    return {key: in_order(value) for key, value in sorted(scores.items())}


class MissingPeerError(Exception):
    """A contestant that is not installed; the text says what to install."""


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    try:  # every thread has children of its own
        children = [
            child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
        ]
    except OSError:  # it has just ended
        return []
    return [pid, *(grandchild for child in children for grandchild in tree(int(child)))]


def spread() -> None:
    """Bind all descendants of this process, and its own further threads, to the allowed cores in turn (on Linux).

    Some machines put processes that wait for each other on one core while another is idle, or do not, by chance: that
    would decide a comparison. Every contestant is treated alike.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    own_threads = sorted(int(name) for name in os.listdir("/proc/self/task") if int(name) != os.getpid())
    for tasks in (sorted(tree(os.getpid())[1:]), own_threads):
        for i, task in enumerate(tasks):
            os.sched_setaffinity(task, {cores[i % len(cores)]})


def in_turn(contestants: Mapping[str, Callable[[], float]], rounds: int) -> list[Row]:
    """Measure every contestant once per round, after one round that does not count.

    Taking turns makes a machine that drifts slow all of them alike.
    """
    rows = {name: Row(name) for name in contestants}
    for turn in range(rounds + 1):
        for name, measure in contestants.items():
            if rows[name].missing:
                continue
            try:
                value = measure()
            except MissingPeerError as error:
                rows[name].missing = str(error)
                continue
            if turn:
                rows[name].values.append(value)
                print(f"round {turn}/{rounds}  {name}: {value:,.1f}", file=sys.stderr, flush=True)
    return list(rows.values())


def table(rows: Sequence[Row], reference: str, unit: str) -> str:
    """The rows with their ratio to the row named `reference`; minimum and maximum show how quiet the machine was."""
    base = next((row.median for row in rows if row.name == reference and row.values), None)
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}}  {unit:>12}   (min - max)          ratio to {reference}"]
    for row in rows:
        if row.missing:
            lines.append(f"{row.name:{width}}  {row.missing}")
            continue
        spread = f"({min(row.values):,.1f} - {max(row.values):,.1f})"
        ratio = f"{row.median / base:.2f} x" if base else "-"
        lines.append(f"{row.name:{width}}  {row.median:12,.1f}   {spread:20} {ratio}")
    return "\n".join(lines)


def with_interval(values: Sequence[float], sign: str = "") -> str:
    """Mean ± half of its 95 % interval over seeds; fewer than three have none. sign: `+` where a gain shows one."""
    mean, half = students_interval(values)
    return f"{mean:{sign}.1f}" + ("" if math.isnan(half) else f" ± {half:.1f}")


def machine() -> dict[str, Any]:
    """What a figure depends on: processor, cores, load, versions."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions,
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def report(title: str, rows: Sequence[Row], reference: str, unit: str, settings: Mapping[str, Any]) -> None:
    """Print the table, write `<title>.json` and `<title>.png`."""
    print(table(rows, reference, unit))
    RESULTS.mkdir(exist_ok=True)
    content = {
        "title": title,
        "unit": unit,
        "reference": reference,
        "settings": dict(settings),
        "machine": machine(),
        "rows": [{**asdict(row), "median": row.median if row.values else None} for row in rows],
    }
    (RESULTS / f"{title}.json").write_text(json.dumps(content, indent=2) + "\n")
    bar_chart(RESULTS / f"{title}.png", title, rows, unit)
    print(f"files: {RESULTS / title}.json, .png")


def bar_chart(path: Path, title: str, rows: Sequence[Row], unit: str) -> None:
    """One bar per measured row, with its spread."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [row for row in rows if row.values][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.45 * len(shown)), layout="constrained")
    medians = [row.median for row in shown]
    spread = [
        [median - min(row.values) for row, median in zip(shown, medians, strict=True)],
        [max(row.values) - median for row, median in zip(shown, medians, strict=True)],
    ]
    colours = ["#0072b2" if row.name.startswith("this project") else "#999999" for row in shown]
    axes.barh([row.name for row in shown], medians, xerr=spread, color=colours, error_kw={"elinewidth": 1})
    for i, median in enumerate(medians):
        axes.text(median, i, f" {median:,.0f}" if median >= 1000 else f" {median:.4g}", va="bottom", fontsize=8)
    axes.set_xlabel(unit)
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
