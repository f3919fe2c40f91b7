"""Plots of learned masks with axes: density by layer and kind of matrix, and how training got there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprune.report.curves import Panel, draw_panels, loss_panel
from edgeprune.report.drawing import FONT, WIDTH, add_axes, draw, quiet, round_ticks, title
from edgeprune.report.formatting import percent, plain
from edgeprune.report.masks import MaskRecord, Matrix, kinds_of, layers_of
from edgeprune.report.page_svg import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_density", "draw_training", "spread"]

_MARKERS = ("o", "s", "^", "D", "P", "X")
_LINE_HEIGHT = 13.0
_LABEL_CHARACTERS = 9
_WIDE = 8.0  # from this ratio of largest to smallest density on, the axis is logarithmic

_DENSITY_HEIGHT = 300.0


def draw_density(record: MaskRecord, uid: str) -> str:
    """Density over layers, one line per kind of matrix, as SVG; empty without matrices."""
    matrices = record.matrices
    if not matrices:
        return ""

    def paint(figure: Figure) -> None:
        axes = add_axes(figure, 40, 42, WIDTH - 64, _DENSITY_HEIGHT - 24)
        _scale_density(axes, matrices, record.density.kept if record.density else None)
        quiet(axes)
        ends = [_line(axes, matrices, kind, index) for index, kind in enumerate(kinds_of(matrices))]
        _name_ends(axes, ends)
        if record.density is not None:
            axes.axhline(100 * record.density.kept, color=COLOURS["muted"], linewidth=1.0, dashes=(5, 3))
        axes.set_xlabel("layer", color=COLOURS["muted"])
        title(axes, f"weights kept, %{' (log scale)' if axes.get_yscale() == 'log' else ''}")

    ranges = "; ".join(f"{plain(kind)} {_range(matrices, kind)}" for kind in kinds_of(matrices))
    return draw(
        paint,
        _DENSITY_HEIGHT,
        uid=uid,
        title=f"Density per layer and kind of matrix, {plain(record.id)}",
        description=f"Lowest and highest over the layers: {ranges}. The table has every value.",
    )


def _range(matrices: Sequence[Matrix], kind: str) -> str:
    found = [matrix.density for matrix in matrices if matrix.kind == kind]
    return f"{percent(min(found))} to {percent(max(found))}"


def _scale_density(axes: Axes, matrices: Sequence[Matrix], kept: float | None) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    values = [100 * matrix.density for matrix in matrices] + ([] if kept is None else [100 * kept])
    low, high = min(values), max(values)
    if low > 0 and high / low >= _WIDE:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.25, min(high * 1.25, 115))
        axes.yaxis.set_major_locator(FixedLocator(round_ticks(low / 1.25, min(high * 1.25, 100))))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, min(high * 1.12, 104) or 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    layers = layers_of(matrices)
    axes.set_xlim(layers[0] - 0.3, layers[-1] + 0.3)
    axes.xaxis.set_major_locator(FixedLocator(layers[:: -(-len(layers) // 13)]))


@dataclass(frozen=True)
class _End:
    """Where a kind's line ends (data coordinates), and what is written beside it."""

    name: str
    colour: str
    x: float
    y: float


def _line(axes: Axes, matrices: Sequence[Matrix], kind: str, index: int) -> _End:
    points = sorted((matrix.layer, 100 * matrix.density) for matrix in matrices if matrix.kind == kind)
    colour = COLOURS[f"series-{index % 6 + 1}"]
    axes.plot(
        [layer for layer, _ in points],
        [density for _, density in points],
        color=colour,
        linewidth=1.4,
        marker=_MARKERS[index % 6],
        markersize=6.5,
        markeredgecolor=COLOURS["surface"],
        markeredgewidth=0.8,
    )
    return _End(_shorten(plain(kind)), colour, *points[-1])


def _shorten(name: str) -> str:
    return name if len(name) <= _LABEL_CHARACTERS else f"{name[: _LABEL_CHARACTERS - 1]}…"


def _name_ends(axes: Axes, ends: Sequence[_End]) -> None:
    """The kinds' names beside the ends of their lines, moved apart where they would touch."""
    frame = axes.bbox
    places = [axes.transData.transform((end.x, end.y)) for end in ends]
    wanted = [float(y) for _, y in places]
    heights = spread(wanted, _LINE_HEIGHT, float(frame.y0), float(frame.y1))
    for end, (x, y), height in zip(ends, places, heights, strict=True):
        left = float(frame.x1) + 8
        look: dict[str, Any] = {"transform": None, "color": end.colour}  # None: pixels
        axes.plot([x + 5, left - 2], [y, height], linewidth=0.7, clip_on=False, **look)
        axes.text(left, height - FONT * 0.35, end.name, parse_math=False, **look)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near those wanted, in their order and at least `gap` apart.

    They stay between `low` and `high` as long as there is room for them at all.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    values = [wanted[index] for index in order]
    raised = _pushed_up(values, gap, low, high)
    lowered = [-value for value in _pushed_up([-value for value in values[::-1]], gap, -high, -low)][::-1]
    middle = [(one + other) / 2 for one, other in zip(raised, lowered, strict=True)]
    return [position for _, position in sorted(zip(order, middle, strict=True))]


def _pushed_up(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending values moved up until they are apart, then down again as far as `high` asks for."""
    placed: list[float] = []
    for value in values:
        placed.append(max(value, placed[-1] + gap if placed else low))
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], high)
        high = placed[index] - gap
    return placed


def draw_training(record: MaskRecord, uid: str) -> str:
    """Loss, density and regularizer over the steps, as SVG; empty where there is none of them."""
    return draw_panels(_curves(record), uid, f"Training of {plain(record.id)}")


def _curves(record: MaskRecord) -> list[Panel]:
    curves = loss_panel(record.curve)
    trace = record.trace
    if trace is not None and trace.density:
        goal = record.density.target if record.density else None
        shown = tuple(100 * value for value in trace.density)
        curves.append(Panel("density, %", trace.step, shown, "accent", None if goal is None else 100 * goal))
    if trace is not None and trace.regularizer and any(trace.regularizer):
        curves.append(Panel("regularizer, as it enters the loss", trace.step, trace.regularizer, "open"))
    return curves
