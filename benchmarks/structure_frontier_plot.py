"""The plot of benchmarks/structure_frontier.py: accuracy against the share of heads and FFN rows, as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING

from grid_cells import DENSE
from grid_results import Row
from grid_table import groups_of, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # safe for the colour-blind
_MARKERS = ("o", "s", "^", "D", "v", "P")
_GREY = "#666666"


def plot(rows: Sequence[Row], methods: Sequence[str], metric: str) -> str | None:
    """An SVG file: after distilling on the left, right after the cut on the right; same rows, same bytes.

    Args:
        rows: Results of cells, at most one per method, share and seed.
        methods: Names of the methods in the order of the grid.
        metric: Name of the score in each row's qualities.

    Returns:
        The file's text, or None where nothing was cut yet.
    """
    from matplotlib import rc_context, rcdefaults
    from matplotlib.figure import Figure

    if all(row["method"] == DENSE for row in rows):
        return None
    buffer = io.StringIO()
    with rc_context():
        rcdefaults()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "edgeprune", "font.size": 10}):
            figure = Figure(figsize=(9, 4), layout="constrained")
            left, right = figure.subplots(1, 2)
            _panel(left, rows, methods, metric, "quality", "after distilling")
            _panel(right, rows, methods, metric, "cut_quality", "right after the cut")
            left.set_ylabel(f"{metric}, %")
            left.legend(frameon=False, loc="lower right")
            figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _panel(
    axes: Axes, rows: Sequence[Row], methods: Sequence[str], metric: str, part: str, heading: str
) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    dense = [points(row, metric) for row in rows if row["method"] == DENSE]
    if dense:
        axes.axhline(mean(dense), color=_GREY, linewidth=1, label="original")
        axes.axhspan(
            mean(dense) - _deviation(dense), mean(dense) + _deviation(dense), color=_GREY, alpha=0.15
        )
    groups = [group for group in groups_of(rows, "share", methods) if group[0]["method"] != DENSE]
    for number, method in enumerate(methods):
        own = sorted((group for group in groups if group[0]["method"] == method), key=lambda g: g[0]["share"])
        if not own:
            continue
        scores = [[points(row, metric, part) for row in group] for group in own]
        axes.errorbar(
            [100 * group[0]["share"] for group in own],
            [mean(values) for values in scores],
            yerr=[_deviation(values) for values in scores],
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            capsize=3,
            linewidth=1.3,
            label=method,
        )
    shares = sorted({100 * group[0]["share"] for group in groups})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(shares))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("share of heads and FFN rows that is kept, % (log scale)")
    axes.set_title(heading, loc="left")
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
