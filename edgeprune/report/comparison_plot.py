"""The plots of a comparison: the metric against latency or size, with the front of what nothing beats.

The colour of a mark says the run, its shape the status. Marks carry ids that end with the row's number, so
that the page can hide those that a filter takes out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.report.content import metric_heading
from edgeprune.report.drawing import add_axes, quiet, round_ticks, title
from edgeprune.report.drawing import draw as draw_svg
from edgeprune.report.formatting import score
from edgeprune.report.label_layout import Box
from edgeprune.report.page_svg import COLOURS
from edgeprune.report.plot import MARKERS
from edgeprune.report.plot_labels import Label, label_area, place, put_labels, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SERIES", "Point", "draw", "front"]

SERIES = 6
"""Colours that there are for runs; more runs begin again with the first."""

_HEIGHT = 310.0
_SIZES = {"chosen": 170.0, "inconclusive": 40.0, "rejected": 56.0}


@dataclass(frozen=True)
class Point:
    """One row: its number, run, name, status, what it costs (ms or MB) and its metric times 100."""

    row: int
    run: str
    series: int
    name: str
    status: str
    cost: float
    value: float


def front(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats: none is as good at less cost, or better at the same; cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.value, point.row)):
        if not best or point.value > best[-1].value:
            best.append(point)
    return best


def draw(points: Sequence[Point], *, metric: str, cost: str, uid: str, name: str) -> str:
    """Draws points and their front.

    Args:
        points: At least one; costs are positive.
        metric: The judged metric.
        cost: What the horizontal axis holds, with its unit.
        uid: Prefix of all ids, unique on the page.
        name: What the plot shows, for those who do not see it.

    Returns:
        An ``<svg>`` element without size, with a title and a description.
    """
    best = front(points)

    def paint(figure: Figure) -> None:
        axes = add_axes(figure, 40, 45, 345, 285)
        _scale(axes, points)
        quiet(axes)
        _front(axes, best)
        for point in points:
            _mark(axes, point)
        _labels(axes, points, best)
        axes.set_xlabel(f"{cost} (log scale)", color=COLOURS["muted"])
        title(axes, metric_heading(metric))

    listed = "; ".join(
        f"{point.run} {point.name}, {point.status}: {point.cost:.4g}, {score(point.value / 100)}"
        for point in best
    )
    described = f"Cheapest and best, from cheap to dear, {cost}: {listed}."
    return draw_svg(paint, _HEIGHT, uid=uid, title=name, description=described)


def _scale(axes: Axes, points: Sequence[Point]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    values, costs = [point.value for point in points], [point.cost for point in points]
    room = max(max(values) - min(values), 0.5) * 0.15
    axes.set_ylim(min(values) - 1.5 * room, max(values) + 3 * room)
    low, high = min(costs) / 1.35, max(costs) * 1.35
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(round_ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    plain_number: Callable[[float, int], str] = _plain_number
    axes.xaxis.set_major_formatter(FuncFormatter(plain_number))
    axes.yaxis.set_major_formatter(FuncFormatter(plain_number))


def _plain_number(value: float, _: int) -> str:
    return f"{value:.6g}"


def _front(axes: Axes, best: Sequence[Point]) -> None:
    """What can be had at a cost: a step at each point of the front, to the edges of the frame."""
    costs = [*(point.cost for point in best), axes.get_xlim()[1]]
    values = [*(point.value for point in best), best[-1].value]
    first = [(best[0].cost, axes.get_ylim()[0])]
    steps = [*first, *zip(costs, values, strict=True)]
    axes.step(
        [cost for cost, _ in steps],
        [value for _, value in steps],
        where="post",
        color=COLOURS["muted"],
        linewidth=1.0,
        zorder=1,
    )


def _mark(axes: Axes, point: Point) -> None:
    colour = COLOURS[f"series-{point.series % SERIES + 1}"]
    hollow = point.status == "inconclusive"
    axes.scatter(
        [point.cost],
        [point.value],
        marker=MARKERS.get(point.status, "s"),
        s=_SIZES.get(point.status, 44.0),
        facecolor=COLOURS["surface"] if hollow else colour,
        edgecolor=colour if hollow else COLOURS["surface"],
        linewidth=1.6 if hollow else 0.9,
        zorder=3,
        gid=f"mark-row-{point.row}",
    )


def _labels(axes: Axes, points: Sequence[Point], best: Sequence[Point]) -> None:
    """Names for the front alone: with those of all points of all runs nobody could read any."""
    obstacles = []
    for point in points:
        x, y = place(axes, point.cost, point.value)
        obstacles.append(Box(x - 6, y - 6, x + 6, y + 6))
    area = label_area(axes)
    corners = [place(axes, point.cost, point.value) for point in best]
    ends = [x for x, _ in corners[1:]] + [area.x1]
    below = [area.y0] + [y for _, y in corners[:-1]]
    for (x, y), end, low in zip(corners, ends, below, strict=True):
        obstacles += [Box(x, y - 1, end, y + 1), Box(x - 1, low, x + 1, y)]
    labels = [
        Label(
            shorten(f"{point.run} {point.name}"),
            f"series-{point.series % SERIES + 1}",
            bold=point.status == "chosen",
            gid=f"row-{point.row}",
        )
        for point in best
    ]
    put_labels(axes, corners, labels, obstacles)
