"""Draws with matplotlib for a page: one look, and bytes that depend on what is drawn alone.

No date, a fixed salt for ids, and matplotlib's own defaults instead of whatever the user has configured.
Sizes are SVG pixels; a drawing is as wide as a phone shows it, and the page scales it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeprune.report.page_svg import COLOURS, adopt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FONT", "WIDTH", "add_axes", "draw", "quiet", "round_ticks", "title"]

WIDTH = 350.0
FONT = 11.0


def draw(paint: Callable[[Figure], None], height: float, *, uid: str, title: str, description: str) -> str:
    """An ``<svg>`` element without size, of `WIDTH` times `height`.

    Args:
        paint: Draws on an empty figure, with the colours of `page_svg.COLOURS`.
        height: Of the drawing, in SVG pixels.
        uid: Prefix of all ids, unique on the page.
        title: What it shows, for those who do not see it.
        description: The same at more length.
    """
    from matplotlib import rc_context, rcdefaults
    from matplotlib.figure import Figure

    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    buffer = io.StringIO()
    with rc_context(), warnings.catch_warnings():
        rcdefaults()
        # The browser brings the font; what matplotlib's own lacks does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "edgeprune", "font.size": FONT}):
            figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
            paint(figure)
            figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return adopt(buffer.getvalue(), uid, title, description)


def add_axes(figure: Figure, left: float, bottom: float, right: float, top: float) -> Axes:
    """Axes with these edges, in SVG pixels from the lower left corner of the figure."""
    width, height = figure.get_size_inches() * 72
    return figure.add_axes((left / width, bottom / height, (right - left) / width, (top - bottom) / height))


def quiet(axes: Axes) -> None:
    """Horizontal grid lines and a base line, everything in the background's colours."""
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=COLOURS["line"], linewidth=0.6)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLOURS["muted"])
    axes.tick_params(axis="both", which="both", colors=COLOURS["muted"], length=0)
    axes.tick_params(axis="x", length=3)


def title(axes: Axes, text: str) -> None:
    """What the vertical axis holds, above it on the left."""
    axes.set_title(text, loc="left", fontsize=FONT, color=COLOURS["muted"], pad=6, parse_math=False)


def round_ticks(low: float, high: float) -> list[float]:
    """Ticks for a logarithmic axis: 1, 2 and 5 times powers of ten.

    Ten times finer steps where those would be fewer than two.
    """
    steps = [1.0, 2.0, 5.0]
    for digits in (steps, [step / 4 for step in range(4, 40)]):
        values = [float(f"{digit}e{power}") for power in range(-6, 7) for digit in digits]
        ticks = [value for value in values if low <= value <= high]
        if len(ticks) >= 2:
            return ticks[:: max(1, len(ticks) // 5)] if digits is not steps else ticks
    return ticks
