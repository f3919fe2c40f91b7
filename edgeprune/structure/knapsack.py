"""The dynamic programme behind cost budgets: the most important structure whose cost fits.

One state per whole unit of cost. Layer by layer, and in each first for its heads and then for its rows, the
best value at each cost is found from the best values before. So the work is (heads + widths) · units per
layer and not heads · widths · units: only the cost of being there ties a layer's heads to its rows.

Shapes: H heads of a layer, W FFN widths that it may have, B units of cost that may be spent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor

import numpy as np
import numpy.typing as npt

from edgeprune.structure.costs import CostTable, Kept, aligned_widths
from edgeprune.structure.importance import FloatArray, Importance

__all__ = ["MOST_UNITS", "Knapsack"]

IntArray = npt.NDArray[np.int64]

MOST_UNITS = 131_072
"""The dense model's cost is counted in at most this many units. Costs are rounded up to whole ones."""

_ROUNDING = 1e-9  # of a unit: what sums of floats may be off by


@dataclass(frozen=True)
class _Options:
    """What a layer that is there may keep.

    Attributes:
        head_values: Importance of its 0, 1, … H best heads, [H + 1].
        head_units: Their cost with that of the layer itself, [H + 1].
        widths: FFN widths, ascending from 0, [W].
        row_values: Importance of that many best rows, [W].
        row_units: Their cost, [W].
    """

    head_values: FloatArray
    head_units: IntArray
    widths: tuple[int, ...]
    row_values: FloatArray
    row_units: IntArray


@dataclass(frozen=True, eq=False)
class Knapsack:
    """What may be kept, what it is worth and what it costs.

    Attributes:
        importance: Of all units.
        table: What they cost.
        dense_cost: Of the dense model; above 0.
        alignment: Kept widths are multiples of it, or a layer's whole width.
        drop_layers: A layer that keeps nothing costs nothing; otherwise it costs what an empty one does.
    """

    importance: Importance
    table: CostTable
    dense_cost: float
    alignment: int
    drop_layers: bool

    @cached_property
    def unit(self) -> float:
        """The costs' greatest common divisor, or, where that is too fine, a part of the dense cost.

        It does not depend on the budget, so a larger budget has all choices of a smaller one.
        """
        widths = {
            width for rows in self.importance.rows for width in aligned_widths(len(rows), self.alignment)
        }
        costs = np.array([self.table.layer, *self.table.attention, *self.table.ffn_at(sorted(widths))])
        if (costs == np.round(costs)).all():
            divisor = int(np.gcd.reduce(costs.astype(np.int64)))
            if divisor * MOST_UNITS >= self.dense_cost:
                return float(divisor)
        return self.dense_cost / MOST_UNITS

    @cached_property
    def _options(self) -> list[_Options]:
        found = []
        for heads, rows in zip(self.importance.heads, self.importance.rows, strict=True):
            widths = aligned_widths(len(rows), self.alignment)
            attention = np.asarray(self.table.attention[: len(heads) + 1])
            found.append(
                _Options(
                    _best_sums(heads),
                    self._in_units(attention + self.table.layer),
                    widths,
                    _best_sums(rows)[list(widths)],
                    self._in_units(self.table.ffn_at(widths)),
                )
            )
        return found

    def _in_units(self, costs: FloatArray) -> IntArray:
        units: IntArray = np.ceil(costs / self.unit - _ROUNDING).astype(np.int64)
        return units

    def best(self, budget: float) -> list[Kept] | None:
        """Heads and rows of each layer, (0, 0) where it keeps nothing.

        Of choices that are worth the same the cheapest, and of those the one that keeps more of the lower
        layers.

        Args:
            budget: Largest cost of the whole structure, with what is fixed.

        Returns:
            None where the budget is too small to keep anything.
        """
        most = sum(int(layer.head_units.max() + layer.row_units.max()) for layer in self._options)
        units = min(floor((budget - self.table.fixed) / self.unit + _ROUNDING), most)
        counts = self._fill(units) if units >= 0 else None
        return counts if counts is not None and any(map(any, counts)) else None

    def _fill(self, units: int) -> list[Kept] | None:
        values = np.full(units + 1, -np.inf)  # of the layers so far, by exact cost
        values[0] = 0.0
        steps = []
        for layer in self._options:
            with_heads, heads = _extended(values, layer.head_values, layer.head_units)
            with_rows, rows = _extended(with_heads, layer.row_values, layer.row_units)
            stays = with_rows > values if self.drop_layers else np.ones(units + 1, np.bool_)
            values = np.where(stays, with_rows, values)
            steps.append((stays, heads, rows))
        state = int(np.argmax(values))
        if values[state] == -np.inf:
            return None
        counts: list[Kept] = []
        for layer, (stays, heads, rows) in zip(reversed(self._options), reversed(steps), strict=True):
            if not stays[state]:
                counts.append((0, 0))
                continue
            row = int(rows[state])
            state -= int(layer.row_units[row])
            head = int(heads[state])
            state -= int(layer.head_units[head])
            counts.append((head, layer.widths[row]))
        return counts[::-1]

    def smallest(self) -> float:
        """The smallest budget that keeps any unit of importance."""
        empty = [int(layer.head_units[0] + layer.row_units[0]) for layer in self._options]
        others = 0 if self.drop_layers else sum(empty)
        cheapest = min(
            others + int(cost) - (0 if self.drop_layers else nothing)
            for layer, nothing in zip(self._options, empty, strict=True)
            for values, costs in (
                (layer.head_values, layer.head_units + layer.row_units[0]),
                (layer.row_values, layer.row_units + layer.head_units[0]),
            )
            for cost in costs[values > 0]
        )
        return self.table.fixed + cheapest * self.unit


def _extended(
    values: FloatArray, gains: FloatArray, units: IntArray
) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """The best value at each cost after taking one option, and which one; the first where several are.

    Args:
        values: By exact cost, [B + 1]; -∞: no choice costs that.
        gains: Importance of each option.
        units: Its cost.
    """
    best: FloatArray = np.full_like(values, -np.inf)
    taken = np.zeros(len(values), np.int32)
    for option, (gain, cost) in enumerate(zip(gains.tolist(), units.tolist(), strict=True)):
        if cost >= len(values):
            continue
        candidate = values[: len(values) - cost] + gain
        better = candidate > best[cost:]
        np.copyto(best[cost:], candidate, where=better)
        taken[cost:][better] = option
    return best, taken


def _best_sums(values: Sequence[float] | FloatArray) -> FloatArray:
    """Sums of the 0, 1, … n largest of n values, [n + 1]."""
    sums: FloatArray = np.concatenate([[0.0], np.cumsum(np.sort(values)[::-1])])
    return sums
