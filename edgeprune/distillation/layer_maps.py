"""Which layer of the teacher a layer of the student learns from.

A map is a list of pairs (student's layer, teacher's layer), both counted from 0 and ascending. Layers that
are in no pair learn from what comes after them.

    uniform   every student layer: the i-th of S learns from layer ceil((i + 1) · T / S) - 1 of T, so that
              each answers for the same depth and the last for the whole (TinyBERT's g(m) = m · N / M)
    last      the last from the last alone (as MiniLM does)
    closest   every third layer of the teacher (CoFi: 2, 5, 8 and 11 of 12) is learned by the student's layer
              that is closest to it, no two by the same one and in the order of the teacher's layers
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

__all__ = ["LayerMap", "Pair", "closest", "last", "taught_layers", "uniform"]

LayerMap = Literal["uniform", "last", "closest"]
Pair = tuple[int, int]

# Of CoFi's published code: 4 of 12 layers teach.
_EVERY = 3


def uniform(students: int, teachers: int) -> tuple[Pair, ...]:
    """Every layer of the student, at the same relative depth of the teacher.

    Args:
        students: Layers of the student, 1 at least.
        teachers: Layers of the teacher, 1 at least.

    Raises:
        ValueError: A number is below 1.
    """
    _require_layers(students, teachers)
    return tuple((layer, -(-(layer + 1) * teachers // students) - 1) for layer in range(students))


def last(students: int, teachers: int) -> tuple[Pair, ...]:
    """The last layer of the student, from the last of the teacher.

    Args:
        students: Layers of the student, 1 at least.
        teachers: Layers of the teacher, 1 at least.

    Raises:
        ValueError: A number is below 1.
    """
    _require_layers(students, teachers)
    return ((students - 1, teachers - 1),)


def taught_layers(students: int, teachers: int) -> tuple[int, ...]:
    """The teacher's layers that `closest` finds a student for: a third of them, the last always, ascending.

    Args:
        students: Layers of the student, 1 at least; more layers than these are not taught.
        teachers: Layers of the teacher, 1 at least.

    Raises:
        ValueError: A number is below 1.
    """
    _require_layers(students, teachers)
    count = min(students, -(-teachers // _EVERY))
    return tuple(layer for _, layer in uniform(count, teachers))


def closest(distances: Sequence[Sequence[float]], taught: Sequence[int]) -> tuple[Pair, ...]:
    """The map of smallest total distance among all that keep the order.

    CoFi's published code goes from the last of the teacher's layers to the first and takes the closest layer
    that is left below the one before; looking at all layers together, by dynamic programming, is never worse
    and never runs out of layers. Of maps that are equally good, the one with the earlier layers is taken.

    Args:
        distances: [student's layers][taught layers], each finite and of any scale.
        taught: The teacher's layers that the columns stand for, ascending; no more than student's layers.

    Raises:
        ValueError: The sizes do not fit, there are fewer student's layers than taught ones, or a distance is
            not finite.
    """
    if not taught or len(distances) < len(taught) or any(len(row) != len(taught) for row in distances):
        raise ValueError(f"{len(distances)} rows of distances do not fit {len(taught)} taught layers")
    if not all(math.isfinite(item) for row in distances for item in row):
        raise ValueError("a distance between layers is not finite")
    # best[layer]: total and layers of the best map of the columns so far that ends at this layer at most.
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())] * (len(distances) + 1)
    for column in range(len(taught)):
        ending: list[tuple[float, tuple[int, ...]]] = [(math.inf, ())]
        for layer, row in enumerate(distances):
            total, chosen = best[layer]
            here = (total + row[column], (*chosen, layer))
            ending.append(min(ending[-1], here, key=lambda item: item[0]))
        best = ending
    return tuple(zip(best[-1][1], taught, strict=True))


def _require_layers(students: int, teachers: int) -> None:
    if min(students, teachers) < 1:
        raise ValueError(f"{students} layers of a student and {teachers} of a teacher: below 1")
