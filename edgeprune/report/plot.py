"""The plot of a target: the judged metric against latency, as SVG to be put into a page.

Colours are the page's own (CSS variables), so that one drawing serves light and dark; the shape of a
marker says the status too. The bytes depend on the report alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.report.content import (
    length_name,
    metric_heading,
    metric_name,
    metric_value,
    ordered_variants,
    status,
)
from edgeprune.report.drawing import draw as draw_svg
from edgeprune.report.drawing import quiet, round_ticks, title
from edgeprune.report.formatting import milliseconds, plain, points, score
from edgeprune.report.label_layout import Box
from edgeprune.report.model import Interval, TargetRow, VariantRow
from edgeprune.report.page_svg import COLOURS
from edgeprune.report.plot_labels import Label, extent, label_area, place, put_labels, shorten, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MARKERS", "draw", "plotted_lengths"]

HEIGHT = 310.0
_MARGINS = {"left": 0.115, "right": 0.985, "bottom": 0.145, "top": 0.92}

MARKERS = {"chosen": "*", "accepted": "o", "inconclusive": "D", "rejected": "X", "reference": "s"}
"""Marker shape by status, in matplotlib's letters."""

_TONES = {"chosen": "good", "accepted": "good", "inconclusive": "open", "rejected": "bad"}
_MARKER_SIZES = {"chosen": 230.0, "inconclusive": 48.0, "rejected": 70.0}


@dataclass(frozen=True)
class _Point:
    """One candidate: median in ms, metric times 100, and its interval carried over from the difference."""

    name: str
    status: str
    x: float
    y: float
    low: float
    high: float


def plotted_lengths(target: TargetRow) -> list[int | str]:
    """The lengths at which a plot can be drawn: some candidate has both latency and quality there."""
    return list(
        dict.fromkeys(
            row.length
            for variant in ordered_variants(target)
            if variant.quality
            for row in variant.latency
            if row.p50_ms > 0
        )
    )


def draw(target: TargetRow, length: int | str, *, metric: str, max_drop: float, uid: str) -> str:
    """Draws the metric against the median latency at one length.

    Args:
        target: The target whose candidates are drawn.
        length: One of `plotted_lengths`.
        metric: The judged metric.
        max_drop: Points that may be lost; drawn as a line below the original.
        uid: Prefix of all ids, unique on the page.

    Returns:
        An ``<svg>`` element without size, with a title and a description for those who do not see it.
    """
    found = _points(target, length, metric)
    reference = next((point.y for point in found if point.status == "reference"), None)
    limit = None if reference is None else reference - max_drop

    def paint(figure: Figure) -> None:
        axes = figure.add_axes(_frame())
        _scale(axes, found, limit)
        _lines(axes, reference, limit)
        _marks(axes, found)
        _labels(axes, found, None if limit is None else (limit, f"limit {points(-max_drop)}"))
        axes.set_xlabel("median latency, ms (log scale)", color=COLOURS["muted"])
        title(axes, metric_heading(metric))

    name = f"{metric_name(metric)} against latency on {plain(target.name)}, {length_name(length)}"
    return draw_svg(paint, HEIGHT, uid=uid, title=name, description=_description(found, max_drop))


def _points(target: TargetRow, length: int | str, metric: str) -> list[_Point]:
    return [
        point
        for variant in ordered_variants(target)
        for row in variant.latency
        if row.length == length and (point := _point(variant, row.p50_ms, metric)) is not None
    ]


def _point(variant: VariantRow, median: float, metric: str) -> _Point | None:
    if variant.quality is None or median <= 0:
        return None
    y = metric_value(variant.quality, metric) * 100
    gap = variant.difference_points or Interval(estimate=0, low=0, high=0, confidence=0.5, method="none")
    low, high = y + gap.low - gap.estimate, y + gap.high - gap.estimate
    return _Point(shorten(plain(variant.name)), status(variant).word, median, y, low, high)


def _description(found: list[_Point], max_drop: float) -> str:
    rows = [
        f"{point.name}, {point.status}: {milliseconds(point.x)} ms, {score(point.y / 100)}" for point in found
    ]
    return f"Acceptance limit: {points(-max_drop)} points from the original. {'; '.join(rows)}."


def _frame() -> tuple[float, float, float, float]:
    left, bottom = _MARGINS["left"], _MARGINS["bottom"]
    return left, bottom, _MARGINS["right"] - left, _MARGINS["top"] - bottom


def _scale(axes: Axes, found: list[_Point], limit: float | None) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    xs = [point.x for point in found]
    ys = [value for point in found for value in (point.low, point.high)] + ([] if limit is None else [limit])
    room = max(max(ys) - min(ys), 0.5) * 0.12
    axes.set_ylim(min(ys) - room, max(ys) + 2 * room)
    axes.set_xscale("log")
    axes.set_xlim(min(xs) / 1.35, max(xs) * 1.35)
    axes.xaxis.set_major_locator(FixedLocator(round_ticks(min(xs) / 1.35, max(xs) * 1.35)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def _lines(axes: Axes, reference: float | None, limit: float | None) -> None:
    quiet(axes)
    if reference is not None:
        axes.axhline(reference, color=COLOURS["muted"], linewidth=1.0)
    if limit is not None:
        axes.axhspan(axes.get_ylim()[0], limit, color=COLOURS["bad"], alpha=0.07, linewidth=0)
        axes.axhline(limit, color=COLOURS["bad"], linewidth=1.2, dashes=(5, 3))


def _marks(axes: Axes, found: list[_Point]) -> None:
    for point in found:
        colour = COLOURS[_TONES.get(point.status, "ink")]
        if point.low < point.high:
            bar = [[point.y - point.low], [point.high - point.y]]
            axes.errorbar(
                [point.x], [point.y], yerr=bar, ecolor=colour, elinewidth=1.3, capsize=3, fmt="none"
            )
        axes.scatter(
            [point.x],
            [point.y],
            marker=MARKERS.get(point.status, "s"),
            s=_MARKER_SIZES.get(point.status, 52.0),
            facecolor=COLOURS["surface"] if point.status == "inconclusive" else colour,
            edgecolor=colour if point.status == "inconclusive" else COLOURS["surface"],
            linewidth=1.6 if point.status == "inconclusive" else 0.9,
            zorder=3,
        )


def _labels(axes: Axes, found: list[_Point], limit: tuple[float, str] | None) -> None:
    area = label_area(axes)
    obstacles = []
    if limit is not None:
        width, height = extent(limit[1])
        _, along = place(axes, found[0].x, limit[0])
        obstacles.append(Box(area.x1 - width - 2, along - height - 2, area.x1, along + 1))
        write(axes, Label(limit[1], "bad"), obstacles[-1])
        obstacles.append(Box(area.x0, along - 1, area.x1, along + 1))
    for point in found:
        (x, y), (_, low), (_, high) = (
            place(axes, point.x, value) for value in (point.y, point.low, point.high)
        )
        obstacles += [Box(x - 6, y - 6, x + 6, y + 6), Box(x - 3, low, x + 3, high)]
        if point.status == "reference":
            obstacles.append(Box(area.x0, y - 1, area.x1, y + 1))
    labels = [
        Label(point.name, _TONES.get(point.status, "ink"), bold=point.status == "chosen") for point in found
    ]
    put_labels(axes, [place(axes, point.x, point.y) for point in found], labels, obstacles)
