"""Puts names beside the marks of a scatter plot: where `label_layout` says, with a line where that is far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.report.drawing import FONT
from edgeprune.report.label_layout import Box, place_labels
from edgeprune.report.page_svg import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Label", "extent", "label_area", "place", "put_labels", "shorten", "write"]

_CHARACTERS = 30
_ADJACENT = 8.5  # a label that is farther than this from its marker gets a line to it


@dataclass(frozen=True)
class Label:
    """A text and its look. `gid`: id of its element in the drawing; empty: none."""

    text: str
    colour: str
    bold: bool = False
    gid: str = ""


def shorten(name: str) -> str:
    """A name without its middle where it is too long to stand beside a mark."""
    if len(name) <= _CHARACTERS:
        return name
    half = _CHARACTERS // 2
    return f"{name[:half]}…{name[-half + 1 :]}"


def extent(text: str, *, bold: bool = False) -> tuple[float, float]:
    """Width and height of a text, in SVG pixels."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(size=FONT, weight="bold" if bold else "normal")
    width, _, _ = TextToPath().get_text_width_height_descent(text, font, ismath=False)
    return float(width), FONT * 1.15


def place(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Where a point of the data lies, in SVG pixels."""
    across, along = axes.transData.transform((x, y))
    return float(across), float(along)


def label_area(axes: Axes) -> Box:
    """What no label may leave, in SVG pixels."""
    frame = axes.bbox
    return Box(float(frame.x0) + 2, float(frame.y0) + 2, float(frame.x1) - 1, float(frame.y1) - 1)


def put_labels(
    axes: Axes, anchors: Sequence[tuple[float, float]], labels: Sequence[Label], obstacles: Sequence[Box]
) -> None:
    """Writes a label for each anchor so that none covers another.

    Args:
        axes: Whose limits are final.
        anchors: Where the marks lie, in SVG pixels (see `place`).
        labels: One per anchor.
        obstacles: What labels should rather not cover.
    """
    sizes = [extent(label.text, bold=label.bold) for label in labels]
    boxes = place_labels(anchors, sizes, obstacles, label_area(axes))
    for label, anchor, box in zip(labels, anchors, boxes, strict=True):
        _leader(axes, anchor, box, label.gid)
        write(axes, label, box)


def _leader(axes: Axes, anchor: tuple[float, float], box: Box, gid: str) -> None:
    end = box.nearest(*anchor)
    if (end[0] - anchor[0]) ** 2 + (end[1] - anchor[1]) ** 2 < _ADJACENT**2:
        return
    axes.plot(
        [anchor[0], end[0]],
        [anchor[1], end[1]],
        transform=None,
        color=COLOURS["muted"],
        linewidth=0.6,
        zorder=1,
        gid=f"leader-{gid}" if gid else None,
    )


def write(axes: Axes, label: Label, box: Box) -> None:
    """A text in its box."""
    axes.text(
        (box.x0 + box.x1) / 2,
        box.y0 + FONT * 0.27,
        label.text,
        transform=None,
        ha="center",
        va="baseline",
        color=COLOURS[label.colour],
        fontweight="bold" if label.bold else "normal",
        parse_math=False,
        zorder=4,
        gid=f"label-{label.gid}" if label.gid else None,
    )
