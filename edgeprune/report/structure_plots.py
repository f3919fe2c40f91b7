"""The plot of a cut model: what is left of each layer, heads and FFN rows side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeprune.report.drawing import FONT, WIDTH, add_axes, draw
from edgeprune.report.formatting import MISSING, count, plain
from edgeprune.report.page_svg import COLOURS
from edgeprune.report.structure_tables import GONE
from edgeprune.report.structures import Layer, StructureRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_layers"]

_NUMBERS, _GAP, _TOP, _BASE = 26.0, 14.0, 24.0, 6.0
_PITCH, _BAR = 21.0, 0.62
_TRACK = 0.66  # of a column; the number of units stands beside it

_Unit = tuple[str, str, list[int | None], list[int | None]]  # name, colour, left, of how many


def draw_layers(record: StructureRecord, uid: str) -> str:
    """A bar per layer for heads and one for FFN rows, layer 0 at the top, as SVG; empty without layers.

    A bar is as long as the share that is left; a layer that went as a whole has an empty outline.
    """
    layers = record.layers
    if not layers:
        return ""
    height = _TOP + _PITCH * len(layers) + _BASE
    units: list[_Unit] = [
        (
            "attention heads",
            "series-1",
            [None if item.heads is None else len(item.heads) for item in layers],
            [item.all_heads for item in layers],
        ),
        ("FFN rows", "series-5", [item.rows for item in layers], [item.all_rows for item in layers]),
    ]

    def paint(figure: Figure) -> None:
        width = (WIDTH - _NUMBERS - _GAP) / 2
        for index, unit in enumerate(units):
            left = _NUMBERS + index * (width + _GAP)
            axes = add_axes(figure, left, _BASE, left + width, height - _TOP)
            _column(axes, unit, layers, numbered=index == 0)

    return draw(
        paint,
        height,
        uid=uid,
        title=f"What is left of each layer, {plain(record.id)}",
        description="; ".join(f"layer {count(item.layer)}: {_told(item)}" for item in layers) + ".",
    )


def _told(item: Layer) -> str:
    if item.gone:
        return GONE
    heads = None if item.heads is None else len(item.heads)
    return f"{_of(heads, item.all_heads)} heads, {_of(item.rows, item.all_rows)} FFN rows"


def _of(left: int | None, whole: int | None) -> str:
    known = MISSING if left is None else count(left)
    return known if whole is None else f"{known} of {count(whole)}"


def _column(axes: Axes, unit: _Unit, layers: Sequence[Layer], *, numbered: bool) -> None:
    name, colour, left, whole = unit
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(layers), 0)
    axes.set_title(name, loc="left", fontsize=FONT, color=COLOURS["ink"], pad=5, parse_math=False)
    for row, layer in enumerate(layers):
        _bar(axes, row, layer.gone, left[row], whole[row], colour)
        if numbered:
            number = count(layer.layer)
            axes.text(-0.05, row + 0.5, number, ha="right", va="center", color=COLOURS["muted"])


def _bar(axes: Axes, row: int, gone: bool, left: int | None, whole: int | None, colour: str) -> None:
    """The share that is left on a track that is all of it, and the number beside it."""
    from matplotlib.patches import Rectangle

    place = (0, row + (1 - _BAR) / 2)
    if gone:
        look: dict[str, Any] = {"fill": False, "edgecolor": COLOURS["muted"], "linestyle": (0, (2, 2))}
        axes.add_patch(Rectangle(place, _TRACK, _BAR, linewidth=0.8, **look))
    else:
        axes.add_patch(Rectangle(place, _TRACK, _BAR, color=COLOURS["sunken"], linewidth=0))
        if left and whole:
            share = min(1.0, left / whole)
            axes.add_patch(Rectangle(place, _TRACK * share, _BAR, color=COLOURS[colour], linewidth=0))
    text = GONE if gone else MISSING if left is None else count(left)
    tone = "muted" if gone or not left else "ink"
    axes.text(_TRACK + 0.05, row + 0.5, text, va="center", color=COLOURS[tone])
