"""Draw docs/freeway.png, a picture of docs/first-run.md, from the real game and a real run.

    python continual_training_example.py --config docs/freeway.json --exp_name picture
    python docs/draw_first_picture.py runs/<the run folder that the first command printed>

Above: the same moment of Freeway under four modification strings. Below: the score of every whole game of that run, the
regimes as bands. Nothing in it is touched up: screens come from the emulator, scores from the run's episodes.csv.
"""

from __future__ import annotations

import csv
import sys
from itertools import pairwise
from pathlib import Path

# `python docs/draw_first_picture.py` puts docs/ on the path, not the folder above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from continual_hackatari.wrappers.config import check_string, game_config
from continual_hackatari.wrappers.modified_game import ModifiedGame

PICTURE = Path(__file__).with_name("freeway.png")
SHOWN = ("", "all_pink_cars", "stop_all_cars_tunnel", "disable_cars")
STEPS_BEFORE_THE_SCREEN = 90
PIXEL_HEIGHT = 3 / 4 * 160 / 210  # a television shows 160 x 210 pixels on 4:3, so a pixel is wider than high
UP = 1  # Freeway's actions: no-op, up, down
# Okabe and Ito's palette, which people with any kind of colour vision can tell apart.
DOTS, MEAN = "#0072B2", "#D55E00"
BANDS = ("#E4EAF1", "#FFFFFF")


def main(run_folder: Path) -> None:
    """Draw the picture of one run."""
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 10})
    figure = plt.figure(figsize=(10, 5.6))
    grid = figure.add_gridspec(
        2,
        len(SHOWN),
        height_ratios=(1.0, 1.75),
        hspace=0.16,
        wspace=0.06,
        left=0.065,
        right=0.985,
        top=0.95,
        bottom=0.09,
    )
    for column, modification in enumerate(SHOWN):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(screen(modification), interpolation="nearest", aspect=PIXEL_HEIGHT)
        axes.set_title(modification or "unmodified", fontsize=11)
        axes.set_axis_off()
    draw_scores(figure.add_subplot(grid[1, :]), run_folder)
    figure.savefig(PICTURE, dpi=110)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


def screen(modification: str) -> np.ndarray:
    """The emulator's screen, uint8 [210, 160, 3], after the same seeded steps under `modification`."""
    config, _ = game_config("ALE/Freeway-v5")
    names = tuple(check_string(config, modification)[0].split())
    game = ModifiedGame(config, seed=3, modification_seed=3)
    game.start(names, observe=lambda: None)
    for step in range(STEPS_BEFORE_THE_SCREEN):
        game.step(UP if step >= STEPS_BEFORE_THE_SCREEN - 12 else 0)
    return game.view.getScreenRGB()


def draw_scores(axes: Axes, run_folder: Path) -> None:
    """Every whole game as a dot where it ended, the mean per round of games as a line, regimes as bands."""
    games = [row for row in read(run_folder / "episodes.csv") if row["cut"] == "0"]
    switches = read(run_folder / "switches.csv")
    last_step = max(int(row["global_step"]) for row in games)
    borders = [0, *(int(row["global_step"]) for row in switches), last_step]
    names = [switches[0]["from"], *(row["to"] for row in switches)]
    steps = np.array([int(row["global_step"]) for row in games])
    scores = np.array([float(row["return"]) for row in games])

    for i, ((begin, end), name) in enumerate(zip(pairwise(borders), names, strict=True)):
        axes.axvspan(begin, end, color=BANDS[i % 2], linewidth=0)
        axes.text(
            (begin + end) / 2,
            0.97,
            wrapped(name),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="top",
            fontsize=8.5,
        )
        inside = (steps > begin) & (steps <= end)
        if not inside.any():
            continue
        rounds = np.array_split(np.flatnonzero(inside), max(1, round(inside.sum() / 8)))
        axes.plot(
            [steps[chosen].mean() for chosen in rounds],
            [scores[chosen].mean() for chosen in rounds],
            color=MEAN,
            linewidth=2,
            marker="o",
            markersize=5,
            zorder=3,
            clip_on=False,
            label="mean of eight games" if i == 0 else None,
        )
    axes.scatter(steps, scores, s=14, color=DOTS, alpha=0.45, linewidth=0, label="one game", zorder=2, clip_on=False)
    axes.set_xlim(0, last_step)
    axes.set_ylim(-1, 53)  # room for the names above the scores
    axes.set_yticks(range(0, 45, 10))
    axes.set_ylabel("score (crossings per game)")
    axes.set_xlabel("global_step")
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.legend(loc="lower right", fontsize=8.5, framealpha=0.9, ncols=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def wrapped(modification: str) -> str:
    """The name on at most three lines, broken at underscores."""
    if not modification:
        return "unmodified"
    lines = [""]
    for word in modification.replace("_", "_ ").replace("  ", " ").split(" "):
        if len(lines[-1]) + len(word) > 15:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
