"""Plots of how a training went: one panel per value, all over the same steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.report.drawing import WIDTH, add_axes, draw, quiet, title
from edgeprune.report.formatting import count
from edgeprune.report.page_svg import COLOURS
from edgeprune.report.records import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Panel", "draw_panels", "loss_panel"]

_HEIGHT, _GAP, _BASE = 86.0, 32.0, 42.0


@dataclass(frozen=True)
class Panel:
    """One panel: values in the unit of its title, over steps; `goal` is drawn as a dashed line."""

    title: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    colour: str
    goal: float | None = None


def loss_panel(curve: Curve | None) -> list[Panel]:
    """The training loss; no panel where there are fewer than two points."""
    if not curve or len(curve) < 2:
        return []
    steps, losses = zip(*curve, strict=True)
    return [Panel("loss", steps, losses, "ink")]


def draw_panels(panels: Sequence[Panel], uid: str, heading: str) -> str:
    """The panels below each other, as SVG; empty where there is none.

    Args:
        panels: Of two points or more each.
        uid: Prefix of all ids, unique on the page.
        heading: What it shows, for those who do not see it.
    """
    if not panels:
        return ""
    height = _BASE + len(panels) * (_HEIGHT + _GAP)

    def paint(figure: Figure) -> None:
        last = max(panel.steps[-1] for panel in panels)
        for index, panel in enumerate(panels):
            top = height - _GAP + 8 - index * (_HEIGHT + _GAP)
            axes = add_axes(figure, 40, top - _HEIGHT, WIDTH - 16, top)
            _paint(axes, panel, last)
            if index < len(panels) - 1:
                axes.set_xticklabels([])
        axes.set_xlabel("step", color=COLOURS["muted"])

    told = "; ".join(
        f"{panel.title}: {panel.values[0]:.3g} at step {count(panel.steps[0])}, "
        f"{panel.values[-1]:.3g} at step {count(panel.steps[-1])}"
        for panel in panels
    )
    return draw(paint, height, uid=uid, title=heading, description=f"{told}.")


def _paint(axes: Axes, panel: Panel, last: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    quiet(axes)
    if panel.goal is not None:
        axes.axhline(panel.goal, color=COLOURS["muted"], linewidth=1.0, dashes=(5, 3))
    axes.plot(panel.steps, panel.values, color=COLOURS[panel.colour], linewidth=1.4)
    low, high = min(0.0, *panel.values), max(panel.values)
    axes.set_xlim(0, last or 1)
    axes.set_ylim(low, low + (high - low) * 1.08 or 1)
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
    title(axes, panel.title)
