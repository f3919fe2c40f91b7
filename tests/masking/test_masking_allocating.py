"""Allocation against an independent solution by bisection, and its budget."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.masking.allocating import (
    global_threshold,
    score_allocation,
    uniform_allocation,
    unit_counts,
)

Array = np.ndarray
DENSITIES = st.sampled_from([0.0, 1.0]) | st.floats(0, 1)


@st.composite
def layers(draw: st.DrawFn, smallest: float = 0.0) -> tuple[list[float], list[int]]:
    """Shares (means of sigmoids) and sizes of up to twelve layers."""
    count = draw(st.integers(1, 12))
    share = st.floats(max(smallest, 1e-6), 1)
    if smallest == 0.0:
        share = st.just(0.0) | share
    return (
        draw(st.lists(share, min_size=count, max_size=count)),
        draw(st.lists(st.integers(1, 5000), min_size=count, max_size=count)),
    )


def water_level(shares: Array, sizes: Array, density: float) -> Array:
    """v_l = min(1, c·r_l) with c such that Σ v_l·n_l is the budget, c found by bisection in its logarithm."""
    budget = density * sizes.sum()
    if not (shares > 0).any():
        return np.full(len(shares), density)
    positive = shares > 0
    if budget >= sizes[positive].sum():
        rest = sizes[~positive].sum()
        left = budget - sizes[positive].sum()
        return np.where(positive, 1.0, left / rest if rest else 0.0)
    low, high = -60.0, 60.0
    for _ in range(200):
        middle = (low + high) / 2
        if (np.minimum(1, np.exp(middle) * shares) * sizes).sum() < budget:
            low = middle
        else:
            high = middle
    return np.minimum(1, np.exp(low) * shares)


@given(layers(), DENSITIES)
def test_allocation_is_the_water_level(case: tuple[list[float], list[int]], density: float) -> None:
    shares, sizes = case
    found = score_allocation(shares, sizes, density)
    assert found == pytest.approx(water_level(np.array(shares), np.array(sizes), density), abs=1e-7)


@given(layers(), DENSITIES)
def test_the_budget_is_met_and_nothing_is_kept_twice(
    case: tuple[list[float], list[int]], density: float
) -> None:
    shares, sizes = case
    found = score_allocation(shares, sizes, density)
    assert all(0.0 <= value <= 1.0 for value in found)
    total = sum(sizes)
    kept = sum(value * size for value, size in zip(found, sizes, strict=True))
    assert kept / total == pytest.approx(density, abs=1e-9)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=12), st.integers(1, 5000), st.floats(0, 1))
def test_without_excess_it_is_the_published_formula(shares: list[float], size: int, density: float) -> None:
    published = [density * len(shares) * share / sum(shares) for share in shares]
    assume(max(published) <= 1)
    assert score_allocation(shares, [size] * len(shares), density) == pytest.approx(published, abs=1e-9)


@given(layers(), DENSITIES, DENSITIES)
def test_a_larger_budget_takes_nothing_away(
    case: tuple[list[float], list[int]], one: float, other: float
) -> None:
    fewer, more = (score_allocation(*case, density) for density in sorted((one, other)))
    assert all(less <= much + 1e-9 for less, much in zip(fewer, more, strict=True))


@given(layers(smallest=1e-3), st.floats(0.01, 0.99), st.floats(0.01, 100))
def test_only_proportions_of_the_shares_count(
    case: tuple[list[float], list[int]], density: float, factor: float
) -> None:
    shares, sizes = case
    scaled = [share * factor for share in shares]
    assert score_allocation(scaled, sizes, density) == pytest.approx(
        score_allocation(shares, sizes, density), abs=1e-9
    )


def test_allocation_by_hand() -> None:
    # v·L·r/Σr = 0.5·2·(0.2, 0.6)/0.8.
    assert score_allocation([0.2, 0.6], [100, 100], 0.5) == pytest.approx([0.25, 0.75])
    # 0.6·3·(0.6, 0.2, 0.2) = (1.08, 0.36, 0.36): 0.08 too much, which the others share evenly.
    assert score_allocation([0.6, 0.2, 0.2], [10, 10, 10], 0.6) == pytest.approx([1.0, 0.4, 0.4])
    # 0.7·4·(5, 3, 1, 1)/10 = (1.4, .84, .28, .28); of the 1.8 left the second would get 1.08: full as well.
    assert score_allocation([0.5, 0.3, 0.1, 0.1], [7] * 4, 0.7) == pytest.approx([1.0, 1.0, 0.4, 0.4])
    # Unequal sizes: c·(0.1·100 + 0.3·300) = 0.25·400, so c = 1.
    assert score_allocation([0.1, 0.3], [100, 300], 0.25) == pytest.approx([0.1, 0.3])


@given(layers())
def test_the_ends(case: tuple[list[float], list[int]]) -> None:
    shares, sizes = case
    assert score_allocation(shares, sizes, 1.0) == pytest.approx([1.0] * len(sizes), abs=1e-12)
    assert score_allocation(shares, sizes, 0.0) == [0.0] * len(sizes)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), DENSITIES)
def test_equal_or_absent_shares_are_the_uniform_allocation(sizes: list[int], density: float) -> None:
    uniform = uniform_allocation(sizes, density)
    assert uniform == [density] * len(sizes)
    for share in (0.0, 0.3):
        assert score_allocation([share] * len(sizes), sizes, density) == pytest.approx(uniform, abs=1e-9)


def test_a_layer_without_a_share_takes_only_what_the_others_cannot() -> None:
    assert score_allocation([0.0, 0.5], [10, 10], 0.3) == pytest.approx([0.0, 0.6])
    assert score_allocation([0.0, 0.5], [10, 10], 0.8) == pytest.approx([0.6, 1.0])


# Whole units


@given(layers(smallest=1e-3), st.floats(0, 1))
def test_whole_units_meet_the_budget_and_are_off_by_less_than_one(
    case: tuple[list[float], list[int]], density: float
) -> None:
    shares, sizes = case
    densities = score_allocation(shares, sizes, density)
    counts = unit_counts(densities, sizes)
    assert abs(sum(counts) - density * sum(sizes)) <= 0.5 + 1e-4
    for count, value, size in zip(counts, densities, sizes, strict=True):
        assert 0 <= count <= size
        assert abs(count - value * size) < 1 + 1e-4


def test_whole_units_by_hand() -> None:
    # 3.6, 3.6 and 3.6 of 12 heads: 10.8, so 11, and the earlier layers get what is over.
    assert unit_counts([0.3, 0.3, 0.3], [12, 12, 12]) == [4, 4, 3]
    # 1.2 and 4.7: 5.9, so 6; the larger remainder is rounded up.
    assert unit_counts([0.12, 0.47], [10, 10]) == [1, 5]
    assert unit_counts([1.0, 0.0], [4, 4]) == [4, 0]


# One threshold over all


@given(
    st.lists(
        hnp.arrays(
            np.float32,
            hnp.array_shapes(min_dims=1, max_dims=2, max_side=6),
            elements=st.floats(-(2.0**99), 2.0**99, width=32),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 1000),
)
def test_global_threshold_is_the_rank_over_all_matrices(scores: list[Array], thousandths: int) -> None:
    together = np.sort(np.concatenate([item.reshape(-1) for item in scores]))
    kept = thousandths * together.size // 1000
    threshold = global_threshold([torch.from_numpy(item) for item in scores], thousandths / 1000)
    assert threshold.shape == ()
    if kept == together.size:
        assert threshold.item() == -np.inf
    elif kept == 0:
        assert threshold.item() == np.inf
    else:
        assert threshold.item() == together[together.size - kept]
        if len(np.unique(together)) == together.size:
            assert sum(int((item >= threshold.item()).sum()) for item in scores) == kept


def test_global_threshold_by_hand() -> None:
    scores = [torch.tensor([[0.9, 0.8], [0.7, 0.1]]), torch.tensor([[0.6, -1.0]])]
    threshold = global_threshold(scores, 0.5)
    assert threshold.item() == pytest.approx(0.7)
    assert [int((item >= threshold).sum()) for item in scores] == [3, 0]
