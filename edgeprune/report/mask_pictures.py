"""Pictures of learned masks: the scores of every matrix, and where its weights were kept.

Both are grids with a column per kind of matrix; layer 0 is at the top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.report.drawing import FONT, WIDTH, add_axes, draw
from edgeprune.report.formatting import plain
from edgeprune.report.masks import MaskRecord, Scores, kinds_of, layers_of
from edgeprune.report.page_svg import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_map", "draw_scores", "is_thresholded"]

_Cells = NDArray[np.float64]  # of a map: per cent kept, outputs down and inputs across

_LAYER_WIDTH, _RIGHT, _TOP, _BASE, _LEGEND = 26.0, 4.0, 22.0, 34.0, 38.0
_ACROSS = 6  # maps side by side that can still be seen on a phone
_COLUMNS = 3  # of histograms: six side by side would be too narrow
_FEW = 200  # up to so many scores (of heads, say), each bin is drawn as a line of its own
_TAIL = 0.001  # share of the scores at either end that may lie outside the plot
_CAPS = (1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100)


def draw_scores(record: MaskRecord, uid: str) -> str:
    """Histograms of the scores, one ridge per matrix, what was kept in colour; empty without scores."""
    matrices = [matrix for matrix in record.matrices if matrix.scores is not None]
    if not matrices:
        return ""
    kinds, layers = kinds_of(matrices), layers_of(matrices)
    columns = min(_COLUMNS, len(kinds))
    width = (WIDTH - _LAYER_WIDTH - _RIGHT) / columns
    tall = max(100.0, (26.0 if len(layers) <= 8 else 20.0) * len(layers) + 14)
    height = -(-len(kinds) // columns) * (tall + _TOP + _BASE)
    span = _span([matrix.scores for matrix in matrices if matrix.scores])
    split = is_thresholded(record)

    def paint(figure: Figure) -> None:
        for index, kind in enumerate(kinds):
            left = _LAYER_WIDTH + index % columns * width
            top = height - _TOP - index // columns * (tall + _TOP + _BASE)
            axes = add_axes(figure, left + 3, top - tall, left + width - 3, top)
            _frame_ridges(axes, plain(kind), layers, span, named=index % columns == 0)
            for matrix in matrices:
                if matrix.kind == kind and matrix.scores is not None:
                    limit = matrix.scores.threshold(matrix.density) if split else math.inf
                    _ridge(axes, matrix.scores, limit, layers.index(matrix.layer))

    kept = "; the scores of what was kept are coloured" if split else ""
    return draw(
        paint,
        height,
        uid=uid,
        title=f"Scores by layer and kind of matrix, {plain(record.id)}",
        description=f"One histogram per matrix{kept}.",
    )


def is_thresholded(record: MaskRecord) -> bool:
    """Whether each matrix keeps its largest scores: not so where small groups are compared (n:m)."""
    return record.granularity is not None and ":" not in record.granularity


def _span(found: Sequence[Scores]) -> tuple[float, float]:
    """The range of nearly all scores, every matrix counting the same: outliers do not squeeze the rest."""
    places = np.concatenate([_centres(scores) for scores in found])
    shares = np.concatenate([np.asarray(scores.counts, float) / sum(scores.counts) for scores in found])
    order = np.argsort(places)
    ends = np.searchsorted(np.cumsum(shares[order]) / len(found), (_TAIL, 1 - _TAIL))
    left, right = (float(places[order][end]) for end in ends)
    room = (right - left) * 0.04 or 0.5
    return left - room, right + room


def _centres(scores: Scores) -> NDArray[np.float64]:
    edges = np.linspace(scores.low, scores.high, len(scores.counts) + 1)
    return (edges[:-1] + edges[1:]) / 2


def _frame_ridges(
    axes: Axes, name: str, layers: Sequence[int], span: tuple[float, float], *, named: bool
) -> None:
    """Axes of one kind of matrix: scores across, a row per layer downwards, numbered in the first column."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(*span)
    axes.set_ylim(len(layers) - 1 + 0.15, -1.25)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLOURS["line"])
    axes.tick_params(axis="both", colors=COLOURS["muted"], length=0, labelsize=FONT - 1)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axes.set_yticks(range(len(layers)), [str(layer) for layer in layers] if named else [])
    axes.set_title(name, fontsize=FONT, color=COLOURS["ink"], pad=2, parse_math=False)


def _ridge(axes: Axes, scores: Scores, limit: float, row: int) -> None:
    """One histogram standing on its row; heights are square roots, so that thin tails can be seen."""
    counts = np.asarray(scores.counts, float)
    heights = np.sqrt(counts / counts.max())
    centres = _centres(scores)
    axes.axhline(row, color=COLOURS["line"], linewidth=0.6, zorder=0)
    if counts.sum() <= _FEW or scores.low == scores.high:
        for x, height in zip(centres[counts > 0], heights[counts > 0], strict=True):
            colour = COLOURS["accent" if x >= limit else "muted"]
            axes.plot([x, x], [row, row - height], color=colour, linewidth=1.6, solid_capstyle="butt")
        return
    xs = np.concatenate([[scores.low], centres, [scores.high]])
    ys = np.concatenate([[0], heights, [0]])
    _fill(axes, xs, row - ys, (-math.inf, limit), row, color=COLOURS["muted"], alpha=0.45)
    _fill(axes, xs, row - ys, (limit, math.inf), row, color=COLOURS["accent"], alpha=0.9)


def _fill(
    axes: Axes,
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    part: tuple[float, float],
    base: float,
    **look: Any,
) -> None:
    """The area between a line and its base, as far as `part` of the horizontal axis goes."""
    low, high = max(part[0], xs[0]), min(part[1], xs[-1])
    if low >= high:
        return
    inner = (xs > low) & (xs < high)
    across = np.concatenate([[low], xs[inner], [high]])
    along = np.interp(across, xs, ys)
    axes.fill([low, *across, high], [base, *along, base], linewidth=0, **look)


def draw_map(record: MaskRecord, uid: str) -> str:
    """A small picture per matrix of where its weights were kept, as SVG; empty without maps.

    The opacity of a cell is its density; with few kinds of matrix the layers stand in several blocks.
    """
    matrices = [matrix for matrix in record.matrices if matrix.map]
    if not matrices:
        return ""
    kinds, layers = kinds_of(matrices), layers_of(matrices)
    maps = {(matrix.layer, matrix.kind): np.asarray(matrix.map, float) for matrix in matrices}
    cells = np.concatenate([found.ravel() for found in maps.values()])
    cap = _cap(cells)
    blocks = max(1, min(_ACROSS // len(kinds), -(-len(layers) // 3)))
    rows = -(-len(layers) // blocks)
    block_width = (WIDTH - _RIGHT) / blocks
    pitch = (block_width - _LAYER_WIDTH) / len(kinds)
    height = _TOP + rows * pitch + _LEGEND

    def paint(figure: Figure) -> None:
        for block in range(blocks):
            left = block * block_width + _LAYER_WIDTH
            right, bottom = left + len(kinds) * pitch, height - _TOP - rows * pitch
            axes = add_axes(figure, left, bottom, right, height - _TOP)
            _paint_block(axes, maps, kinds, layers[block * rows : (block + 1) * rows], cap)
            axes.set_axis_off()
            axes.set_xlim(0, len(kinds))
            axes.set_ylim(rows, 0)
        _legend(figure, cap, clipped=bool(cells.max() > cap))

    return draw(
        paint,
        height,
        uid=uid,
        title=f"Where weights were kept, {plain(record.id)}",
        description="One picture per matrix, outputs downwards, inputs to the right. Parts of matrices keep "
        f"{cells.min():.0f} to {cells.max():.0f} per cent of their weights.",
    )


def _cap(cells: _Cells) -> float:
    """A round density, per cent, from which on the colour is full: few cells are above it."""
    high = float(np.quantile(cells, 0.995))
    return float(next((cap for cap in _CAPS if cap >= high), 100))


def _paint_block(
    axes: Axes,
    maps: Mapping[tuple[int, str], _Cells],
    kinds: Sequence[str],
    layers: Sequence[int],
    cap: float,
) -> None:
    """Layers down and kinds across, each map in a unit square less a gap, all in one raster."""
    from matplotlib.patches import Rectangle

    side = max(max(cells.shape) for cells in maps.values())
    pitch = side + max(1, side // 12)
    share = side / pitch
    raster = np.zeros((len(layers) * pitch, len(kinds) * pitch, 4))  # black; its opacity is all that counts
    for (layer, kind), cells in maps.items():
        if layer not in layers:
            continue
        row, column = layers.index(layer), kinds.index(kind)
        down, right = (np.arange(side) * size // side for size in cells.shape)
        area = np.s_[row * pitch : row * pitch + side, column * pitch : column * pitch + side, 3]
        raster[area] = np.minimum(cells[np.ix_(down, right)] / cap, 1)
        axes.add_patch(Rectangle((column, row), share, share, color=COLOURS["sunken"], linewidth=0))
    extent = (0, len(kinds), len(layers), 0)
    axes.imshow(raster, extent=extent, interpolation="none", aspect="auto", zorder=2)
    for column, kind in enumerate(kinds):
        name = plain(kind)
        axes.text(column + share / 2, -0.1, name, ha="center", color=COLOURS["ink"], parse_math=False)
    for row, layer in enumerate(layers):
        number = str(layer)
        axes.text(-0.12, row + share / 2, number, ha="right", va="center", color=COLOURS["muted"])


def _legend(figure: Figure, cap: float, *, clipped: bool) -> None:
    """What the colours mean: a ramp from nothing to `cap` per cent."""
    axes = add_axes(figure, _LAYER_WIDTH, 19, _LAYER_WIDTH + 120, 28)
    steps = 12
    axes.axhspan(0, 1, color=COLOURS["sunken"], linewidth=0)
    for index in range(steps):
        left, right = index / steps, (index + 1) / steps
        axes.axvspan(left, right, color=COLOURS["accent"], alpha=(index + 0.5) / steps, linewidth=0)
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    most = f"{cap:g} %{' and more' if clipped else ''} kept"
    axes.text(0, -0.5, "0 %", va="top", color=COLOURS["muted"])
    axes.text(0.8, -0.5, most, va="top", color=COLOURS["muted"])
