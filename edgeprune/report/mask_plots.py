"""Plots of learned masks with axes: density by layer and kind of matrix, and how training got there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprune.report.drawing import FONT, WIDTH, add_axes, draw, quiet, round_ticks, title
from edgeprune.report.formatting import count, percent, plain
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
_PANEL_HEIGHT, _PANEL_GAP, _PANEL_BASE = 86.0, 32.0, 42.0


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


@dataclass(frozen=True)
class _Curve:
    """One panel of the training plot: values in the unit of its title, over steps."""

    title: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    colour: str
    goal: float | None = None


def draw_training(record: MaskRecord, uid: str) -> str:
    """Loss, density and regularizer over the steps, as SVG; empty where there is none of them."""
    curves = _curves(record)
    if not curves:
        return ""
    height = _PANEL_BASE + len(curves) * (_PANEL_HEIGHT + _PANEL_GAP)

    def paint(figure: Figure) -> None:
        last = max(curve.steps[-1] for curve in curves)
        for index, curve in enumerate(curves):
            top = height - _PANEL_GAP + 8 - index * (_PANEL_HEIGHT + _PANEL_GAP)
            axes = add_axes(figure, 40, top - _PANEL_HEIGHT, WIDTH - 16, top)
            _paint_curve(axes, curve, last)
            if index < len(curves) - 1:
                axes.set_xticklabels([])
        axes.set_xlabel("step", color=COLOURS["muted"])

    told = "; ".join(
        f"{curve.title}: {curve.values[0]:.3g} at step {count(curve.steps[0])}, "
        f"{curve.values[-1]:.3g} at step {count(curve.steps[-1])}"
        for curve in curves
    )
    return draw(paint, height, uid=uid, title=f"Training of {plain(record.id)}", description=f"{told}.")


def _curves(record: MaskRecord) -> list[_Curve]:
    curves = []
    if record.curve and len(record.curve) > 1:
        steps, losses = zip(*record.curve, strict=True)
        curves.append(_Curve("loss", steps, losses, "ink"))
    trace = record.trace
    if trace is not None and trace.density:
        goal = record.density.target if record.density else None
        shown = tuple(100 * value for value in trace.density)
        curves.append(_Curve("density, %", trace.step, shown, "accent", None if goal is None else 100 * goal))
    if trace is not None and trace.regularizer and any(trace.regularizer):
        curves.append(_Curve("regularizer, as it enters the loss", trace.step, trace.regularizer, "open"))
    return curves


def _paint_curve(axes: Axes, curve: _Curve, last: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    quiet(axes)
    if curve.goal is not None:
        axes.axhline(curve.goal, color=COLOURS["muted"], linewidth=1.0, dashes=(5, 3))
    axes.plot(curve.steps, curve.values, color=COLOURS[curve.colour], linewidth=1.4)
    low, high = min(0.0, *curve.values), max(curve.values)
    axes.set_xlim(0, last)
    axes.set_ylim(low, low + (high - low) * 1.08 or 1)
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
    title(axes, curve.title)
