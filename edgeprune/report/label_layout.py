"""Where the labels of a scatter plot go, so that they never cover each other.

Pure geometry in any one unit (the plot uses SVG pixels). Greedy: labels are placed one after another,
the most crowded point first, each at the cheapest free place of a fixed set of candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "place_labels"]

_STEP = 4.0
_GAP = 7.0
_OBSTACLE_COST = 60.0
_AMBIGUITY_COST = 40.0
_GRID_COST = 6.0


@dataclass(frozen=True)
class Box:
    """An upright rectangle by its corners; `x0 <= x1` and `y0 <= y1`."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share more than an edge."""
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of the box that is nearest to a point."""
        return min(max(x, self.x0), self.x1), min(max(y, self.y0), self.y1)


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    area: Box,
) -> list[Box]:
    """Places one label per point inside `area`.

    No two labels overlap as long as there is room at all. Covering an obstacle (a marker, an error bar, a
    line) and lying nearer to somebody else's point are avoided where that does not cost much distance.

    Args:
        points: What is labelled, one position each.
        sizes: Width and height of each label, in the same order.
        obstacles: Boxes that a label should rather not cover.
        area: What no label may leave.

    Returns:
        One box per point, in the order of `points`.
    """
    placed: dict[int, Box] = {}
    for index in sorted(range(len(points)), key=lambda index: (_freedom(index, points), index)):
        corners, cost = _candidates(points[index], sizes[index], area)
        own = _distance(corners, points[index], sizes[index])
        others = [_distance(corners, point, sizes[index]) for i, point in enumerate(points) if i != index]
        cost = (
            cost + own + _AMBIGUITY_COST * sum((other < own + 2 for other in others), np.zeros(len(corners)))
        )
        cost += _OBSTACLE_COST * _covered(corners, sizes[index], obstacles)
        cost += 1e6 * _covered(corners, sizes[index], list(placed.values()))
        x, y = corners[int(np.argmin(cost))]
        placed[index] = Box(float(x), float(y), float(x) + sizes[index][0], float(y) + sizes[index][1])
    return [placed[index] for index in range(len(points))]


def _freedom(index: int, points: Sequence[tuple[float, float]]) -> float:
    x, y = points[index]
    others = [float(np.hypot(x - u, y - v)) for i, (u, v) in enumerate(points) if i != index]
    return min(others, default=0.0)


def _candidates(
    point: tuple[float, float], size: tuple[float, float], area: Box
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where a label may lie: the four sides of its point, and a grid over the area, which costs a little.

    Returns:
        Lower corners, shape (places, 2), and costs, shape (places,).
    """
    (x, y), (width, height) = point, size
    right, top = max(area.x1 - width, area.x0), max(area.y1 - height, area.y0)
    sides = [
        (x + _GAP, y - height / 2),
        (x - _GAP - width, y - height / 2),
        (x - width / 2, y + _GAP),
        (x - width / 2, y - _GAP - height),
    ]
    inside = [(u, v) for u, v in sides if area.x0 <= u <= right and area.y0 <= v <= top]
    columns, rows = np.arange(area.x0, right + 1e-9, _STEP), np.arange(area.y0, top + 1e-9, _STEP)
    grid = np.stack(np.meshgrid(columns, rows, indexing="ij"), axis=-1).reshape(-1, 2)
    corners = np.concatenate([np.array(inside).reshape(-1, 2), grid])
    return corners, np.repeat([0.0, _GRID_COST], [len(inside), len(grid)])


def _distance(corners: NDArray[Any], point: tuple[float, float], size: tuple[float, float]) -> NDArray[Any]:
    """From the point to the nearest point of each label box."""
    across = np.clip(point[0], corners[:, 0], corners[:, 0] + size[0]) - point[0]
    along = np.clip(point[1], corners[:, 1], corners[:, 1] + size[1]) - point[1]
    distance: NDArray[Any] = np.hypot(across, along)
    return distance


def _covered(corners: NDArray[Any], size: tuple[float, float], boxes: Sequence[Box]) -> NDArray[Any]:
    """How many of the boxes each candidate would overlap. Shape (places,)."""
    total = np.zeros(len(corners))
    for box in boxes:
        in_x = (corners[:, 0] < box.x1) & (corners[:, 0] + size[0] > box.x0)
        in_y = (corners[:, 1] < box.y1) & (corners[:, 1] + size[1] > box.y0)
        total += in_x & in_y
    return total
