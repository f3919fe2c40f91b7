"""Classes for the rows and columns of a mask: those with which it takes the fewest bytes.

Rows begin in classes by their log-odds against those of the matrix, `step` apart, columns likewise. Then, by
turns, every row moves to the class that makes the row and its own class's name cheapest while all else
stays, and the same for columns; classes that do not pay for themselves empty on the way. Each turn is two
small matrix products on counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.masking.coding.alphabet import Alphabet
from edgeprune.masking.coding.mask_models import MOST_CLASSES, RowsAndColumns
from edgeprune.masking.coding.probabilities import LEVEL_FREQUENCIES, levels_of, symbol_bits
from edgeprune.masking.coding.rans import TOTAL

if TYPE_CHECKING:
    import numpy.typing as npt

    Counts = npt.NDArray[np.float64]

__all__ = ["fit_rows_and_columns"]

_TURNS = 4


@dataclass(frozen=True)
class _Table:
    """Cost in bits of a one and of a zero for each pair of classes, [R, C] each."""

    one: Counts
    zero: Counts


def fit_rows_and_columns(mask: npt.NDArray[np.bool_], step: float) -> RowsAndColumns:
    """The cheapest model that is found on the way.

    Args:
        mask: A matrix that holds both ones and zeros, [rows, columns].
        step: Distance of two classes in units of log-odds.
    """
    weights = mask.astype(np.float32)
    share = float(weights.mean())
    rows = _first_classes(weights.sum(1, dtype=np.float64), mask.shape[1], share, step)
    columns = _first_classes(weights.sum(0, dtype=np.float64), mask.shape[0], share, step)
    found: list[tuple[float, RowsAndColumns]] = []
    for _ in range(_TURNS):
        by_column_class = weights @ _members(columns)
        model, table = _model(rows, columns, by_column_class, step, share)
        found.append((model.bits(mask), model))
        sizes = np.bincount(columns)
        rows = _cheapest(by_column_class, sizes, table.one, table.zero, model.row_classes)
        by_row_class = weights.T @ _members(rows, len(model.row_classes.weights))
        sizes = np.bincount(rows, minlength=len(model.row_classes.weights))
        columns = _cheapest(by_row_class, sizes, table.one.T, table.zero.T, model.column_classes)
        rows, columns = rows - rows.min(), columns - columns.min()
    return min(found, key=lambda item: item[0])[1]


def _first_classes(ones: Counts, length: int, share: float, step: float) -> npt.NDArray[np.intp]:
    """Log-odds of each line against the matrix's, in steps; one weight of the matrix's share is added."""
    odds = (ones + share) / (length - ones + 1 - share)
    steps = np.rint(np.log(odds * (1 - share) / share) / step).astype(np.intp)
    return np.asarray(np.minimum(steps - steps.min(), MOST_CLASSES - 1), np.intp)


def _members(classes: npt.NDArray[np.intp], size: int = 0) -> npt.NDArray[np.float32]:
    """1 where a line is in a class, [lines, classes]."""
    return np.eye(max(size, int(classes.max()) + 1), dtype=np.float32)[classes]


def _model(
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    by_column_class: npt.NDArray[np.float32],
    step: float,
    share: float,
) -> tuple[RowsAndColumns, _Table]:
    """The model of given classes with the levels that suit them, and what it charges."""
    row_sizes, column_sizes = np.bincount(rows), np.bincount(columns)
    sums = np.arange(len(row_sizes))[:, None] + np.arange(len(column_sizes))[None, :]
    ones = np.bincount(sums.reshape(-1), (_members(rows).T @ by_column_class).reshape(-1))
    total = np.bincount(sums.reshape(-1), np.outer(row_sizes, column_sizes).reshape(-1))
    # A sum of classes that does not occur yet gets what its place on the scale of log-odds says.
    middle = float(total @ np.arange(len(total))) / float(total.sum())
    logits = np.log(share / (1 - share)) + step * (np.arange(len(total)) - middle)
    expected = 1 / (1 + np.exp(-logits))
    levels = levels_of((ones + expected) / (total + 1))
    model = RowsAndColumns(
        Alphabet.fit(rows, len(row_sizes)),
        Alphabet.fit(columns, len(column_sizes)),
        levels,
        rows.astype(np.uint8),
        columns.astype(np.uint8),
    )
    frequency = LEVEL_FREQUENCIES[levels].astype(np.int64)[sums]
    return model, _Table(symbol_bits(frequency), symbol_bits(TOTAL - frequency))


def _cheapest(
    ones: npt.NDArray[np.float32],
    sizes: npt.NDArray[np.intp],
    one: Counts,
    zero: Counts,
    names: Alphabet,
) -> npt.NDArray[np.intp]:
    """For each line the class that costs least.

    Args:
        ones: Of each line in each class of the other kind, [lines, others].
        sizes: Of those classes, [others].
        one: Cost of a one for each pair, [classes, others].
        zero: Cost of a zero, [classes, others].
        names: What it costs to name a class.

    Returns:
        [lines].
    """
    costs = ones @ (one - zero).T + sizes @ zero.T + names.bits()
    return np.asarray(costs.argmin(1), np.intp)
