"""From importance and a budget to the units that are kept.

Two kinds of budget: shares of heads and FFN rows (`by_share`), and a share of what the dense model costs in
parameters, FLOPs or time (`by_cost`), also across hidden widths (`by_cost_and_width`). Budgets are global:
no layer is promised anything, and one may lose all heads, all rows, or both. Where importance is equal the
lower layer, and in it the lower number, is kept, so that the same input gives the same structure.

Shapes: L layers, H heads and R FFN rows per layer, B units of cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, fsum, inf, isfinite
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError, Problem, RecipeError
from edgeprune.structure.costs import CostTable, Kept, aligned_widths
from edgeprune.structure.description import KeptLayer
from edgeprune.structure.importance import FloatArray, Importance
from edgeprune.structure.knapsack import Knapsack

__all__ = ["Choice", "by_cost", "by_cost_and_width", "by_share"]

Key = tuple[str | int, ...]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """A structure, in the numbers that its importance was given in.

    Attributes:
        layers: What is kept of each layer that stays.
        kept_importance: Sum over kept heads and rows.
        all_importance: Sum over all.
        cost_ratio: Cost by the table, of the dense model's; None where no table was asked.
        hidden: Kept hidden dimensions; None: their number was not up for choice.
    """

    layers: tuple[KeptLayer, ...]
    kept_importance: float
    all_importance: float
    cost_ratio: float | None = None
    hidden: tuple[int, ...] | None = None

    @property
    def counts(self) -> tuple[Kept, ...]:
        """Kept heads and rows of each layer that stays, as `costs` takes them."""
        return tuple((len(layer.heads), len(layer.rows)) for layer in self.layers)


def by_share(
    importance: Importance,
    heads: float | None,
    rows: float | None,
    alignment: int,
    *,
    drop_layers: bool = True,
    of: Kept | None = None,
) -> Choice:
    """Keep the most important heads, and the most important rows, over all layers.

    Heads are ranked one by one; their number is the share's, rounded. A layer's rows are taken in blocks of
    `alignment`, best first, and what its width leaves over as a last, smaller block. Blocks are ranked by
    their mean. The means of a layer never rise, so a block is always there before the next one of its
    layer, and no structure with as many rows keeps more importance. The number of rows is that of the
    ranking's prefix nearest to the share: at most half a block away.

    Args:
        importance: Of all units.
        heads: Share of all heads to keep, 0..1; None: all.
        rows: Share of all FFN rows to keep, 0..1; None: all.
        alignment: Kept widths are multiples of it, or a layer's whole width.
        drop_layers: A layer that keeps nothing goes as a whole.
        of: How many heads and rows the shares are of; left out: all that have an importance. Give the
            dense model's where some units are gone already.

    Raises:
        RecipeError: A share outside 0..1, of which not as much is left, or that keeps nothing at all; keys
            `heads` and `ffn`.
        EdgepruneError: Importance that is no importance.
    """
    _require_importance(importance)
    for key, share in (("heads", heads), ("ffn", rows)):
        if share is not None and not 0 <= share <= 1:
            _refuse((key,), f"a share of {share:g} cannot be kept", "shares lie between 0 and 1")
    there = sum(map(len, importance.heads)), sum(map(len, importance.rows))
    whole = there if of is None else of
    for key, share, left, dense in zip(("heads", "ffn"), (heads, rows), there, whole, strict=True):
        if share is not None and round(share * dense) > left:
            _refuse(
                (key,),
                f"a share of {share:g} cannot be kept: {left / dense:.4g} is left",
                f"give a share below {left / dense:.4g}, or leave it out to keep what is there",
            )
    head_counts = _counts(importance.heads, 1, heads, whole[0])
    widths = _counts(importance.rows, alignment, rows, whole[1])
    if not any(head_counts) and not any(widths):
        smallest = {
            "heads": _smallest_share(importance.heads, 1, whole[0]),
            "ffn": _smallest_share(importance.rows, alignment, whole[1]),
        }
        _refuse(
            ("heads",) if heads is not None else ("ffn",),
            "these shares keep no head and no FFN row in any layer",
            "the smallest that keep any: " + ", ".join(f"{k}: {v:g}" for k, v in smallest.items() if v),
        )
    return _choice(importance, list(zip(head_counts, widths, strict=True)), drop_layers)


def by_cost(
    importance: Importance,
    table: CostTable,
    ratio: float,
    alignment: int,
    *,
    drop_layers: bool = True,
    dense_cost: float | None = None,
    key: Key = ("ratio",),
) -> Choice:
    """Keep as much importance as the budget allows: the cost never exceeds `ratio` of the dense model's.

    A dynamic programme over layers, where a layer is dropped or has its h best heads and r best rows. Heads
    and rows must be comparable: importance on one scale. Costs are counted in units of 1/131,072 of the dense
    cost, or in their greatest common divisor where that is coarser, and rounded up. With the divisor the
    choice is the best there is. Otherwise it keeps at least as much as any structure that costs 2L + 1 units
    less than the budget (0.02 % of the dense cost for 12 layers). A larger ratio never keeps less. Of
    choices that keep the same the cheapest is taken: units without importance are not kept for nothing.

    Args:
        importance: Of all units.
        table: What they cost.
        ratio: Largest cost, of the dense one; above what is fixed, below 1.
        alignment: Kept widths are multiples of it, or a layer's whole width.
        drop_layers: A layer that keeps nothing goes as a whole and costs nothing.
        dense_cost: What the ratio is of; left out: cost of all units that have an importance. Give the dense
            model's where some units are gone already.
        key: Where the recipe states the ratio, for the error.

    Raises:
        RecipeError: The ratio cannot be met, or leaves nothing to cut; the hint says what can be met.
        EdgepruneError: Importance that is no importance, or units that the table has no cost of.
    """
    _require_importance(importance)
    _require_costs(importance, table)
    now = table.total(_all_counts(importance))
    whole = now if dense_cost is None else dense_cost
    _require_ratio(ratio, now / whole, key)
    knapsack = Knapsack(importance, table, whole, alignment, drop_layers)
    counts = knapsack.best(ratio * whole)
    if counts is None:
        _refuse(
            key,
            f"a ratio of {ratio:g} cannot be met: what is fixed is {table.fixed / whole:.4f} of the dense "
            f"cost in {table.unit}, and the cheapest structure that keeps anything is above the ratio",
            f"the smallest ratio that can be met is {_above(knapsack.smallest() / whole):g}",
        )
    choice = _choice(importance, counts, drop_layers)
    return replace(choice, cost_ratio=table.total(choice.counts) / whole)


def by_cost_and_width(
    importance: Importance,
    hidden: FloatArray,
    tables: Mapping[int, CostTable],
    ratio: float,
    alignment: int,
    *,
    drop_layers: bool = True,
    dense_cost: float | None = None,
    key: Key = ("ratio",),
) -> Choice:
    """`by_cost` at the hidden width that loses the least importance of heads, rows and dimensions together.

    Args:
        importance: Of all heads and rows; on one scale with `hidden`.
        hidden: Importance of the hidden dimensions, float64 [H].
        tables: Candidate width to what units cost at it; the dense width must be among them.
        ratio: Largest cost, of the dense one at the dense width.
        alignment: Kept FFN widths are multiples of it, or a layer's whole width.
        drop_layers: See `by_cost`.
        dense_cost: See `by_cost`; left out: cost of all units at the dense width.
        key: Where the recipe states the ratio, for the error.

    Raises:
        RecipeError: The ratio cannot be met at any width, or leaves nothing to cut.
        EdgepruneError: Importance that is no importance, or tables that do not fit.
    """
    _require_importance(importance)
    _require_numbers((hidden,), "hidden dimensions")
    if len(hidden) not in tables or not all(0 < width <= len(hidden) for width in tables):
        raise EdgepruneError(
            f"tables are for the hidden widths {sorted(tables)}, the dense width is {len(hidden)}"
        )
    for table in tables.values():
        _require_costs(importance, table)
    now = tables[len(hidden)].total(_all_counts(importance))
    whole = now if dense_cost is None else dense_cost
    _require_ratio(ratio, now / whole, key)
    found: tuple[float, Choice] | None = None
    smallest = inf
    for width in sorted(tables, reverse=True):
        knapsack = Knapsack(importance, tables[width], whole, alignment, drop_layers)
        counts = knapsack.best(ratio * whole)
        if counts is None:
            smallest = min(smallest, knapsack.smallest())
            continue
        dimensions = _top(hidden, width)
        choice = _choice(importance, counts, drop_layers)
        lost = choice.all_importance - choice.kept_importance + fsum(hidden) - fsum(hidden[list(dimensions)])
        if found is None or lost < found[0]:
            cost = tables[width].total(choice.counts) / whole
            found = lost, replace(choice, cost_ratio=cost, hidden=dimensions)
    if found is None:
        _refuse(
            key,
            f"a ratio of {ratio:g} cannot be met at any hidden width of {sorted(tables)}",
            f"the smallest ratio that can be met is {_above(smallest / whole):g}",
        )
    return found[1]


# Shares.


@dataclass(frozen=True)
class _Ranking:
    """Blocks of units of all layers, best first: the layer of each, and its number of units."""

    owners: IntArray
    sizes: IntArray


def _ranking(values: Sequence[FloatArray], block: int) -> _Ranking:
    means: list[float] = []
    owners, sizes = [], []
    for number, layer in enumerate(values):
        ranked = np.sort(layer)[::-1]
        ends = list(pairwise(aligned_widths(len(layer), block)))
        # Rounded, the mean of a smaller block of equal values may be the larger one.
        means += np.minimum.accumulate([ranked[start:end].mean() for start, end in ends]).tolist()
        owners += [number] * len(ends)
        sizes += [end - start for start, end in ends]
    order = np.argsort(-np.asarray(means), kind="stable")
    return _Ranking(np.asarray(owners, np.int64)[order], np.asarray(sizes, np.int64)[order])


def _counts(values: Sequence[FloatArray], block: int, share: float | None, whole: int) -> list[int]:
    """Units to keep of each layer: the best blocks over all layers, as near to the share as they come."""
    if share is None:
        return [len(layer) for layer in values]
    ranking = _ranking(values, block)
    sums = np.cumsum([0, *ranking.sizes])
    taken = int(np.argmin(np.abs(sums - share * whole)))
    counts = np.zeros(len(values), np.int64)
    np.add.at(counts, ranking.owners[:taken], ranking.sizes[:taken])
    return [int(count) for count in counts]


def _smallest_share(values: Sequence[FloatArray], block: int, whole: int) -> float | None:
    """The smallest share that keeps a block, rounded up; None: there is none to keep."""
    sizes = _ranking(values, block).sizes
    return _above(0.5 * sizes[0] / whole) if len(sizes) else None


# Units.


def _choice(importance: Importance, counts: Sequence[Kept], drop_layers: bool) -> Choice:
    layers = tuple(
        KeptLayer(number, _top(importance.heads[number], heads), _top(importance.rows[number], rows))
        for number, (heads, rows) in enumerate(counts)
        if heads or rows or not drop_layers
    )
    kept = [importance.heads[layer.source][list(layer.heads)] for layer in layers]
    kept += [importance.rows[layer.source][list(layer.rows)] for layer in layers]
    everything = [*importance.heads, *importance.rows]
    return Choice(layers, _sum(kept), _sum(everything))


def _top(values: FloatArray, count: int) -> tuple[int, ...]:
    """Numbers of the largest values, ascending; of equal ones the lowest numbers."""
    return tuple(sorted(np.argsort(-values, kind="stable")[:count].tolist()))


def _sum(arrays: Sequence[FloatArray]) -> float:
    return fsum(value for array in arrays for value in array.tolist())


def _all_counts(importance: Importance) -> list[Kept]:
    return [(len(h), len(r)) for h, r in zip(importance.heads, importance.rows, strict=True)]


# Refusals.


def _require_importance(importance: Importance) -> None:
    if len(importance.heads) != len(importance.rows) or not importance.heads:
        raise EdgepruneError(
            f"importance is of {len(importance.heads)} layers' heads and {len(importance.rows)} layers' rows"
        )
    _require_numbers(importance.heads, "heads")
    _require_numbers(importance.rows, "FFN rows")
    if not _sum([*importance.heads, *importance.rows]):
        raise EdgepruneError(
            "all importance is 0, so that there is nothing to choose by",
            hint="importance from masks needs masks that keep something; from gradients, a loss",
        )


def _require_numbers(values: Sequence[FloatArray], what: str) -> None:
    for number, array in enumerate(values):
        if array.ndim != 1 or not np.isfinite(array).all() or (array < 0).any():
            raise EdgepruneError(
                f"importance of {what} must be one array of numbers from 0 on per layer; "
                f"number {number} has shape {array.shape} and values {array.ravel()[:4].tolist()} …"
            )


def _require_costs(importance: Importance, table: CostTable) -> None:
    heads, rows = max(map(len, importance.heads)), max(map(len, importance.rows))
    if heads > table.heads or rows > table.rows:
        raise EdgepruneError(
            f"layers have up to {heads} heads and {rows} FFN rows, the cost table up to {table.heads} and "
            f"{table.rows}"
        )
    if not table.total(_all_counts(importance)) > table.fixed:
        raise EdgepruneError(f"nothing that can be cut costs any {table.unit}")


def _require_ratio(ratio: float, now: float, key: Key) -> None:
    if not isfinite(ratio) or ratio <= 0:
        _refuse(key, f"a ratio of {ratio:g} is no share of the dense cost", "ratios lie between 0 and 1")
    if ratio >= now:
        _refuse(
            key,
            f"a ratio of {ratio:g} leaves nothing to cut: the model costs {now:.4f} of the dense one now",
            f"give a ratio below {now:.4g}, or leave the stage out",
        )


def _above(value: float) -> float:
    """The value rounded up to four digits after the point: what is met with it in a recipe."""
    return ceil(value * 10_000 + 1e-9) / 10_000


def _refuse(key: Key, message: str, hint: str) -> NoReturn:
    raise RecipeError([Problem(key, message, hint)])
