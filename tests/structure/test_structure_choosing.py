"""Choices are compared with all there are, on models small enough to try them all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.errors import EdgepruneError, RecipeError
from edgeprune.structure.choosing import Choice, by_cost, by_cost_and_width, by_share
from edgeprune.structure.costs import CostTable, Shape, aligned_widths
from edgeprune.structure.importance import FloatArray, Importance
from edgeprune.structure.knapsack import MOST_UNITS, Knapsack

Counts = tuple[tuple[int, int], ...]


def _importance(heads: Sequence[Sequence[float]], rows: Sequence[Sequence[float]]) -> Importance:
    def arrays(values: Sequence[Sequence[float]]) -> tuple[FloatArray, ...]:
        return tuple(np.asarray(layer, np.float64) for layer in values)

    return Importance(arrays(heads), arrays(rows))


@st.composite
def importances(draw: st.DrawFn, most_layers: int = 3) -> Importance:
    """Layers of different sizes, with many equal values and zeros among them."""
    numbers = st.one_of(st.integers(0, 3).map(float), st.floats(0.01, 10.0))
    layers = draw(st.integers(1, most_layers))
    heads = [draw(st.lists(numbers, min_size=1, max_size=3)) for _ in range(layers)]
    rows = [draw(st.lists(numbers, min_size=1, max_size=7)) for _ in range(layers)]
    heads[0][0] += 1.0
    return _importance(heads, rows)


@st.composite
def tables(draw: st.DrawFn, whole: bool) -> CostTable:
    """Costs for up to 3 heads and 7 rows, not always rising, as measured ones are not."""
    numbers = st.integers(1, 20).map(lambda number: 2.0 * number) if whole else st.floats(0.01, 20.0)
    attention = (0.0, *(draw(numbers) for _ in range(3)))
    ffn = (0.0, *(draw(numbers) for _ in range(4)))
    return CostTable(attention, (0, 2, 4, 6, 7), ffn, draw(numbers), draw(numbers), "ms")


def _all_counts(importance: Importance, alignment: int) -> Iterator[Counts]:
    """Every structure by its counts; of each layer the best heads and rows."""
    options = [
        list(itertools.product(range(len(heads) + 1), aligned_widths(len(rows), alignment)))
        for heads, rows in zip(importance.heads, importance.rows, strict=True)
    ]
    return itertools.product(*options)


def _value(importance: Importance, counts: Counts) -> float:
    parts = [
        np.sort(heads)[::-1][:h].sum() + np.sort(rows)[::-1][:r].sum()
        for (h, r), heads, rows in zip(counts, importance.heads, importance.rows, strict=True)
    ]
    return float(sum(parts))


def _cost(table: CostTable, counts: Counts, drop: bool) -> float:
    return table.total(pair for pair in counts if any(pair) or not drop)


def _full_counts(choice: Choice, layers: int) -> Counts:
    found = {layer.source: (len(layer.heads), len(layer.rows)) for layer in choice.layers}
    return tuple(found.get(number, (0, 0)) for number in range(layers))


# Shares.


@given(importances(), st.floats(0.05, 1.0), st.floats(0.05, 1.0), st.integers(1, 4))
def test_shares_keep_the_most_that_as_many_units_can(
    importance: Importance, heads: float, rows: float, alignment: int
) -> None:
    try:
        choice = by_share(importance, heads, rows, alignment)
    except RecipeError:
        return
    kept = _full_counts(choice, len(importance.heads))
    kept_heads, kept_rows = (sum(pair[index] for pair in kept) for index in (0, 1))
    most_heads, most_rows = (sum(map(len, part)) for part in (importance.heads, importance.rows))
    assert abs(kept_heads - heads * most_heads) <= 0.5
    assert abs(kept_rows - rows * most_rows) <= alignment / 2
    best = max(
        _value(importance, counts)
        for counts in _all_counts(importance, alignment)
        if sum(h for h, _ in counts) <= kept_heads and sum(r for _, r in counts) <= kept_rows
    )
    assert choice.kept_importance == pytest.approx(best)
    for number, (_, width) in enumerate(kept):
        assert width in aligned_widths(len(importance.rows[number]), alignment)


@given(st.lists(st.lists(st.floats(0, 9), min_size=12, max_size=12), min_size=1, max_size=4), st.floats(0, 1))
def test_where_widths_are_multiples_the_share_is_met_as_nearly_as_they_permit(
    rows: list[list[float]], share: float
) -> None:
    importance = _importance([[1.0]] * len(rows), rows)
    choice = by_share(importance, None, share, 4)
    kept = sum(width for _, width in _full_counts(choice, len(rows)))
    wanted = share * 12 * len(rows)
    assert abs(kept - wanted) == pytest.approx(min(abs(4 * k - wanted) for k in range(3 * len(rows) + 1)))


def test_equal_importance_keeps_lower_layers_and_lower_numbers() -> None:
    importance = _importance([[1.0] * 4] * 3, [[0.1] * 100] * 3)
    choice = by_share(importance, 0.5, 0.5, 16)
    assert [layer.heads for layer in choice.layers] == [(0, 1, 2, 3), (0, 1)]
    assert [layer.rows for layer in choice.layers] == [tuple(range(100)), tuple(range(48))]


def test_the_last_smaller_block_of_equal_rows_is_never_kept_first() -> None:
    importance = _importance([[1.0]], [[0.7] * 5])
    assert np.mean(importance.rows[0][:2]) > np.mean(importance.rows[0][:3])  # by how they are rounded
    assert by_share(importance, None, 0.5, 3).counts == ((1, 3),)


def test_a_layer_may_lose_all_and_goes_or_stays_empty() -> None:
    importance = _importance([[5.0, 4.0], [0.0, 1.0], [3.0, 2.0]], [[9.0, 9.0], [0.0, 0.0], [9.0, 9.0]])
    gone = by_share(importance, 4 / 6, 4 / 6, 1)
    assert [(layer.source, layer.heads, layer.rows) for layer in gone.layers] == [
        (0, (0, 1), (0, 1)),
        (2, (0, 1), (0, 1)),
    ]
    empty = by_share(importance, 4 / 6, 4 / 6, 1, drop_layers=False)
    assert empty.counts == ((2, 2), (0, 0), (2, 2))
    assert gone.kept_importance == empty.kept_importance == 50.0
    assert gone.all_importance == 51.0
    assert gone.cost_ratio is None


def test_shares_are_of_the_dense_model_where_some_of_it_is_gone() -> None:
    """8 of 16 heads and 32 of 64 rows are left: a quarter of all is half of what is there."""
    random = np.random.default_rng(0)
    left = Importance(
        tuple(random.random(count) for count in (5, 3)), tuple(random.random(16) for _ in range(2))
    )
    chosen = by_share(left, 0.25, 0.25, 8, of=(16, 64))
    assert chosen == by_share(left, 0.5, 0.5, 8)
    assert by_share(left, None, 0.25, 8, of=(16, 64)).counts == by_share(left, None, 0.5, 8).counts
    assert sum(heads for heads, _ in by_share(left, 0.5, 0.5, 8, of=(16, 64)).counts) == 8
    with pytest.raises(RecipeError) as caught:
        by_share(left, 0.75, 0.25, 8, of=(16, 64))
    (problem,) = caught.value.problems
    assert problem.key == ("heads",)
    assert "0.5 is left" in problem.message


def test_no_share_keeps_all() -> None:
    importance = _importance([[1.0, 0.0]] * 2, [[1.0, 2.0, 0.0]] * 2)
    assert by_share(importance, None, None, 2).counts == ((2, 3), (2, 3))
    assert by_share(importance, 0.0, None, 2).counts == ((0, 3), (0, 3))
    assert by_share(importance, None, 0.0, 2).counts == ((2, 0), (2, 0))


@pytest.mark.parametrize(("heads", "rows"), [(0.0, 0.0), (0.01, 0.001), (0.0, 0.1)])
def test_shares_that_keep_nothing_are_refused_with_the_smallest_that_do(heads: float, rows: float) -> None:
    importance = _importance([[1.0, 2.0]] * 3, [[1.0] * 24] * 3)
    with pytest.raises(RecipeError, match="no head and no FFN row") as caught:
        by_share(importance, heads, rows, 16)
    problem = caught.value.problems[0]
    assert problem.key == ("heads",)
    assert problem.hint == "the smallest that keep any: heads: 0.0834, ffn: 0.1112"
    assert sum(len(layer.heads) for layer in by_share(importance, 0.0834, 0.0, 16).layers) == 1
    assert sum(len(layer.rows) for layer in by_share(importance, 0.0, 0.1112, 16).layers) == 16


@pytest.mark.parametrize("share", [-0.1, 1.1, inf, float("nan")])
def test_a_share_must_be_one(share: float) -> None:
    with pytest.raises(RecipeError, match="cannot be kept") as caught:
        by_share(_importance([[1.0]], [[1.0]]), None, share, 1)
    assert caught.value.problems[0].key == ("ffn",)


# Costs.


@settings(max_examples=80)
@given(importances(), tables(whole=True), st.floats(0.05, 0.99), st.integers(1, 4), st.booleans())
def test_with_whole_costs_the_choice_is_the_best_of_all(
    importance: Importance, table: CostTable, ratio: float, alignment: int, drop: bool
) -> None:
    whole = table.total([(3, 7)] * 3)
    knapsack = Knapsack(importance, table, whole, alignment, drop)
    assert knapsack.unit >= 1
    fitting = [
        (_value(importance, counts), -_cost(table, counts, drop))
        for counts in _all_counts(importance, alignment)
        if _cost(table, counts, drop) <= ratio * whole
    ]
    best, cheapest = max(fitting, default=(0.0, 0.0))
    chosen = knapsack.best(ratio * whole)
    if chosen is None:
        assert best == 0.0
        return
    assert _cost(table, tuple(chosen), drop) <= ratio * whole
    assert _value(importance, tuple(chosen)) == pytest.approx(best)
    everything = np.concatenate([*importance.heads, *importance.rows])
    if (everything == np.round(everything)).all():  # else equal sums may differ by how they are rounded
        assert _cost(table, tuple(chosen), drop) == -cheapest


@settings(max_examples=60)
@given(importances(), tables(whole=False), st.floats(0.05, 0.95), st.booleans())
def test_with_any_costs_the_budget_holds_and_nothing_much_cheaper_keeps_more(
    importance: Importance, table: CostTable, ratio: float, drop: bool
) -> None:
    layers = len(importance.heads)
    whole = table.total([(3, 7)] * layers)
    slack = (2 * layers + 1) * whole / MOST_UNITS
    try:
        choice = by_cost(importance, table, ratio, 2, drop_layers=drop, dense_cost=whole)
    except RecipeError:
        return
    counts = _full_counts(choice, layers)
    assert _cost(table, counts, drop) <= ratio * whole * (1 + 1e-12)
    lower = max(
        (
            _value(importance, other)
            for other in _all_counts(importance, 2)
            if _cost(table, other, drop) <= ratio * whole - slack
        ),
        default=0.0,
    )
    assert choice.kept_importance >= lower * (1 - 1e-12)


@settings(max_examples=40)
@given(importances(), tables(whole=False), st.lists(st.floats(0.01, 0.99), min_size=2, max_size=6))
def test_a_larger_budget_never_keeps_less(
    importance: Importance, table: CostTable, ratios: list[float]
) -> None:
    whole = table.total([(3, 7)] * len(importance.heads))
    knapsack = Knapsack(importance, table, whole, 2, drop_layers=True)
    kept = [
        0.0 if counts is None else _value(importance, tuple(counts))
        for counts in (knapsack.best(ratio * whole) for ratio in sorted(ratios))
    ]
    assert all(high >= low * (1 - 1e-12) for low, high in itertools.pairwise(kept))


@settings(max_examples=60)
@given(importances(), tables(whole=False), st.booleans())
def test_the_ratio_that_a_refusal_names_can_be_met(
    importance: Importance, table: CostTable, drop: bool
) -> None:
    whole = 10 * table.total([(3, 7)] * len(importance.heads))
    with pytest.raises(RecipeError, match="cannot be met") as caught:
        by_cost(importance, table, 1e-6, 2, drop_layers=drop, dense_cost=whole, key=("flops",))
    problem = caught.value.problems[0]
    assert problem.key == ("flops",)
    named = float(problem.hint.rpartition(" ")[2])
    now = table.total([(len(h), len(r)) for h, r in zip(importance.heads, importance.rows, strict=True)])
    if named < now / whole:
        choice = by_cost(importance, table, named, 2, drop_layers=drop, dense_cost=whole)
        assert choice.kept_importance > 0
        assert choice.cost_ratio is not None
        assert choice.cost_ratio <= named


SHAPE = Shape(12, 768, 12, 64, 3072, embedding_parameters=1_000_000)


def _falling(layers: int = 12) -> Importance:
    """Importance of a model whose later layers matter less, and whose units differ by orders."""
    random = np.random.default_rng(5)
    heads = tuple(random.random(12) ** 3 * 20 / (1 + number) for number in range(layers))
    return Importance(heads, tuple(random.random(3072) ** 8 / (1 + number) for number in range(layers)))


def test_a_large_model_is_cut_to_just_below_the_ratio() -> None:
    importance = _falling()
    for table in (CostTable.from_parameters(SHAPE, 16), CostTable.from_flops(SHAPE, 16, 128)):
        choice = by_cost(importance, table, 0.25, 16)
        assert choice.cost_ratio is not None
        assert 0.249 < choice.cost_ratio <= 0.25
        assert table.total(choice.counts) == pytest.approx(choice.cost_ratio * table.dense(12))
        assert all(rows % 16 == 0 for _, rows in choice.counts)
        assert by_cost(importance, table, 0.25, 16) == choice


def test_layers_go_where_being_there_costs_much() -> None:
    importance = _falling()
    counted = CostTable.from_parameters(SHAPE, 16, biases=False)
    dear = CostTable(counted.attention, counted.widths, counted.ffn, counted.dense(1), 0.0, "ms")
    assert len(by_cost(importance, counted, 0.2, 16).layers) == 12
    assert len(by_cost(importance, dear, 0.2, 16).layers) < 6
    assert len(by_cost(importance, dear, 0.6, 16, drop_layers=False).layers) == 12


def test_units_without_importance_are_not_kept_for_nothing() -> None:
    importance = _importance([[3.0, 0.0], [0.0, 0.0]], [[2.0, 0.0, 0.0, 0.0], [0.0] * 4])
    table = CostTable.from_parameters(Shape(2, 8, 2, 4, 4), 1)
    choice = by_cost(importance, table, 0.99, 1)
    assert [(layer.source, layer.heads, layer.rows) for layer in choice.layers] == [(0, (0,), (0,))]


def test_equal_choices_keep_more_of_the_lower_layers() -> None:
    importance = _importance([[1.0, 1.0]] * 3, [[1.0] * 4] * 3)
    table = CostTable.from_parameters(Shape(3, 8, 2, 4, 4), 1, biases=False)
    choice = by_cost(importance, table, 0.5, 1)
    counts = _full_counts(choice, 3)
    assert counts == tuple(sorted(counts, reverse=True))
    for layer in choice.layers:
        assert layer.heads == tuple(range(len(layer.heads)))
        assert layer.rows == tuple(range(len(layer.rows)))


@pytest.mark.parametrize("ratio", [1.0, 1.5, inf])
def test_a_ratio_that_leaves_nothing_to_cut_is_refused(ratio: float) -> None:
    table = CostTable.from_parameters(SHAPE, 16)
    with pytest.raises(RecipeError, match=r"no share|leaves nothing to cut: the model costs 1\.0000"):
        by_cost(_falling(), table, ratio, 16)
    with pytest.raises(RecipeError):
        by_cost_and_width(_falling(), np.ones(768), {768: table}, ratio, 16)


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan")])
def test_a_ratio_must_be_one(ratio: float) -> None:
    with pytest.raises(RecipeError, match="no share of the dense cost"):
        by_cost(_falling(), CostTable.from_parameters(SHAPE, 16), ratio, 16)


def test_what_is_fixed_bounds_the_ratio() -> None:
    whole = CostTable.from_parameters(Shape(2, 8, 2, 4, 4, 1000), 1, scope="model")
    importance = _importance([[1.0, 2.0]] * 2, [[1.0] * 4] * 2)
    with pytest.raises(
        RecipeError, match=r"what is fixed is 0\.\d+ of the dense cost in parameters"
    ) as caught:
        by_cost(importance, whole, 0.5, 1)
    named = float(caught.value.problems[0].hint.rpartition(" ")[2])
    assert by_cost(importance, whole, named, 1).kept_importance >= 1.0
    with pytest.raises(RecipeError):
        by_cost(importance, whole, named - 0.0002, 1)


def test_importance_that_is_none_is_refused() -> None:
    table = CostTable.from_parameters(Shape(1, 8, 2, 4, 4), 1)
    good = np.ones(2), np.ones(4)
    for heads, rows, message in [
        ((np.zeros(2),), (np.zeros(4),), "all importance is 0"),
        ((np.array([1.0, np.nan]),), (good[1],), "importance of heads"),
        ((good[0],), (np.array([1.0, -1.0]),), "importance of FFN rows"),
        ((good[0],), (np.ones((2, 2)),), "importance of FFN rows"),
        ((good[0],), (), "of 1 layers' heads and 0 layers' rows"),
        ((), (), "of 0 layers' heads"),
        ((np.ones(3),), (good[1],), "the cost table up to 2 and 4"),
    ]:
        with pytest.raises(EdgepruneError, match=message):
            by_cost(Importance(heads, rows), table, 0.5, 1)


def test_a_second_cut_is_of_the_dense_models_cost() -> None:
    shape = Shape(2, 8, 4, 2, 32)
    table = CostTable.from_parameters(shape, 8)
    left = _importance([[1.0, 2.0], [3.0]], [[1.0] * 16, [1.0] * 8])
    whole = table.dense(2)
    now = table.total([(2, 16), (1, 8)]) / whole
    choice = by_cost(left, table, 0.3, 8, dense_cost=whole)
    assert choice.cost_ratio == table.total(choice.counts) / whole
    assert choice.cost_ratio <= 0.3 < now < 0.4
    assert by_cost_and_width(left, np.ones(8), {8: table}, 0.3, 8, dense_cost=whole).layers == choice.layers
    with pytest.raises(RecipeError, match=f"the model costs {now:.4f} of the dense one now"):
        by_cost(left, table, 0.4, 8, dense_cost=whole)


# Hidden width.


def test_the_width_that_loses_least_is_chosen() -> None:
    shape = Shape(4, 16, 4, 4, 64)
    tables = {width: CostTable.from_parameters(shape.narrowed(width), 16) for width in (16, 12, 8, 4)}
    random = np.random.default_rng(3)
    importance = Importance(
        tuple(random.random(4) for _ in range(4)), tuple(random.random(64) for _ in range(4))
    )
    even = by_cost_and_width(importance, np.full(16, 100.0), tables, 0.4, 16)
    assert even.hidden == tuple(range(16))
    hidden = np.where(np.arange(16) % 2, 1.0, 0.0)
    half = by_cost_and_width(importance, hidden, tables, 0.4, 16)
    assert half.hidden == (1, 3, 5, 7, 9, 11, 13, 15)
    for choice, width in ((even, 16), (half, 8)):
        assert choice.cost_ratio is not None
        assert choice.cost_ratio <= 0.4
        assert choice.cost_ratio == tables[width].total(choice.counts) / tables[16].dense(4)
    lost = {}
    for width in tables:
        best = Knapsack(importance, tables[width], tables[16].dense(4), 16, True).best(
            0.4 * tables[16].dense(4)
        )
        assert best is not None
        lost[width] = np.sort(hidden)[: 16 - width].sum() - _value(importance, tuple(best))
    assert min(lost, key=lambda width: lost[width]) == 8


def test_a_narrower_model_meets_what_the_dense_width_cannot() -> None:
    shape = Shape(2, 16, 4, 4, 32, embedding_parameters=16_000)
    tables = {w: CostTable.from_parameters(shape.narrowed(w), 16, scope="model") for w in (16, 8)}
    importance = _importance([[1.0] * 4] * 2, [[1.0] * 32] * 2)
    choice = by_cost_and_width(importance, np.ones(16), tables, 0.55, 16)
    assert choice.hidden == tuple(range(8))
    with pytest.raises(RecipeError, match=r"at any hidden width of \[8, 16\]") as caught:
        by_cost_and_width(importance, np.ones(16), tables, 0.3, 16)
    named = float(caught.value.problems[0].hint.rpartition(" ")[2])
    assert by_cost_and_width(importance, np.ones(16), tables, named, 16).layers
    with pytest.raises(EdgepruneError, match="the dense width is 12"):
        by_cost_and_width(importance, np.ones(12), tables, 0.5, 16)
