"""The picture that a training leaves in its run folder: the returns, drawn as the report draws them."""

from __future__ import annotations

from continual_hackatari.reporting.figures import LIGHT, Keys, draw_returns, drawing, explain_returns, render
from continual_hackatari.reporting.groups import Group
from continual_hackatari.reporting.runs import Run
from continual_hackatari.reporting.words import shown


def returns_png(run: Run) -> bytes:
    """The scores of all whole games of a run over its steps, as a PNG file.

    It is `draw_returns` of the report with a title and a legend, because here no caption stands below it.
    """
    keys = Keys([regime.modification for regime in run.regimes])
    with drawing(LIGHT):
        figure = draw_returns([Group(run.name, [run])], keys, LIGHT)
        game = run.env_id or "Score"
        explain_returns(figure.axes[0], f"{shown(game, 60)}, seed {run.seed}")
        return render(figure, "png")
