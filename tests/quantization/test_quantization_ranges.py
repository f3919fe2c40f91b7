"""Ranges against plain NumPy on the raw values, and what holds for any values."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.errors import EdgepruneError
from edgeprune.quantization.ranges import METHODS, Observed, Range, find_range, grid, percentile

Values = npt.NDArray[np.float32]
BIN = 2.0**-11  # a bin is at most this share of the largest magnitude

some_values = hnp.arrays(
    np.float32,
    st.integers(1, 200),
    elements=st.floats(-1e6, 1e6, width=32, allow_nan=False, allow_subnormal=False),
)


def observed(*batches: Values) -> Observed:
    seen = Observed("x")
    for batch in batches:
        seen.add(batch)
    return seen


def heavy_tailed(seed: int = 0, size: int = 20_000) -> Values:
    return np.random.default_rng(seed).standard_t(3, size).astype(np.float32)


def rounded(values: Values, found: Range, *, symmetric: bool) -> npt.NDArray[np.float64]:
    """What 8 bits make of the values, written out."""
    if symmetric:
        scale = found.high / 127
        return np.clip(np.rint(values / scale), -127, 127) * scale
    scale = (found.high - found.low) / 255
    zero = np.rint(-found.low / scale)
    return (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale


@given(some_values, st.integers(0, 200))
def test_batches_and_their_order_do_not_matter(values: Values, cut: int) -> None:
    whole, parts = observed(values), observed(values[cut:][::-1], values[:cut])
    assert (whole.low, whole.high, whole.count) == (parts.low, parts.high, parts.count)
    assert whole.histogram()[1] == parts.histogram()[1]
    np.testing.assert_array_equal(whole.histogram()[0], parts.histogram()[0])


@given(some_values)
def test_the_histogram_is_numpys(values: Values) -> None:
    counts, width = observed(values).histogram()
    half = len(counts) // 2
    expected, _ = np.histogram(values.astype(np.float64), bins=(np.arange(len(counts) + 1) - half) * width)
    np.testing.assert_array_equal(counts, expected)
    assert width <= max(np.abs(values).max() * BIN, 1e-300) or not values.any()


@given(some_values, st.sampled_from(METHODS), st.booleans())
def test_every_range_holds_zero_and_stays_inside_what_was_seen(
    values: Values, method: str, symmetric: bool
) -> None:
    seen = observed(values)
    found = find_range(seen, method, symmetric=symmetric)  # type: ignore[arg-type]
    assert found.low <= 0 <= found.high
    if symmetric:
        assert found.low == -found.high
        assert found.high <= seen.whole().peak
    else:
        assert seen.whole().low <= found.low
        assert found.high <= seen.whole().high


@given(some_values, st.booleans())
def test_within_its_range_a_value_moves_by_at_most_half_a_level(values: Values, symmetric: bool) -> None:
    found = find_range(observed(values), "minmax", symmetric=symmetric)
    levels = grid(found, symmetric=symmetric)
    low, high = (-127, 127) if symmetric else (0, 255)
    steps = np.clip(np.rint(values / levels.scale) + levels.zero_point, low, high) - levels.zero_point
    # A zero point between two levels costs the outermost values up to half a level more.
    allowed = levels.scale * (0.5 if symmetric else 1.0)
    assert np.abs(steps * levels.scale - values).max() <= allowed * (1 + 1e-5)


@given(some_values)
def test_zero_is_a_level(values: Values) -> None:
    levels = grid(find_range(observed(values), "minmax", symmetric=False), symmetric=False)
    assert 0 <= levels.zero_point <= 255
    assert levels.scale > 0
    assert math.isfinite(levels.scale)


def test_minmax_is_numpys() -> None:
    values = heavy_tailed()
    assert find_range(observed(values), "minmax", symmetric=False) == Range(values.min(), values.max())
    peak = float(np.abs(values).max())
    assert find_range(observed(values), "minmax", symmetric=True) == Range(-peak, peak)


@pytest.mark.parametrize("share", [50.0, 99.0, 99.9, 100.0])
def test_percentiles_are_numpys_within_a_bin(share: float) -> None:
    values = heavy_tailed()
    slack = float(np.abs(values).max()) * BIN

    def bounds(of: Values, where: float) -> tuple[float, float]:
        """The values next to a percentile; any point between them leaves as many on each side."""
        below, above = (np.percentile(of, where, method=side) for side in ("lower", "higher"))
        return float(below) - slack, float(above) + slack

    found = percentile(observed(values), share, symmetric=True)
    below, above = bounds(np.abs(values), share)
    assert below <= found.high <= above
    found = percentile(observed(values), share, symmetric=False)
    for end, where in ((found.low, (100 - share) / 2), (found.high, 100 - (100 - share) / 2)):
        below, above = bounds(values, where)
        assert below <= end <= above


@pytest.mark.parametrize("share", [0.0, 100.1, -3.0])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        percentile(observed(heavy_tailed()), share, symmetric=True)


@pytest.mark.parametrize("symmetric", [True, False])
def test_mse_is_about_the_best_that_a_search_over_raw_values_finds(symmetric: bool) -> None:
    values = heavy_tailed()
    values[:100] = np.abs(values[:100]) * 3  # an asymmetric tail

    def error(found: Range) -> float:
        return float(np.square(rounded(values, found, symmetric=symmetric) - values).mean())

    found = find_range(observed(values), "mse", symmetric=symmetric)
    whole = observed(values).whole()
    steps = np.linspace(0.02, 1.0, 60)
    if symmetric:
        tried = [Range(-whole.peak * step, whole.peak * step) for step in steps]
    else:
        tried = [Range(whole.low * a, whole.high * b) for a in steps for b in steps]
    assert error(found) <= min(map(error, tried)) * 1.05
    assert error(found) < error(find_range(observed(values), "minmax", symmetric=symmetric))


def plain_divergence(counts: npt.NDArray[np.int64], end: int) -> float:
    """Migacz's procedure with loops: `counts` of magnitudes, 128 levels, cut at bin `end`."""
    real = counts[:end].astype(float)
    real[-1] += counts[end:].sum()
    quantized = np.zeros(end)
    bounds = [level * end // 128 for level in range(129)]
    for begin, stop in pairwise(bounds):
        bins = counts[begin:stop]
        for index in range(begin, stop):
            if counts[index]:
                quantized[index] = bins.sum() / np.count_nonzero(bins)
    real /= real.sum()
    quantized = np.maximum(quantized / quantized.sum(), 1e-12)
    return sum(p * math.log(p / q) for p, q in zip(real, quantized, strict=True) if p)


def test_entropy_takes_the_cut_with_the_least_divergence() -> None:
    values = heavy_tailed(size=5_000)
    seen = observed(values)
    counts, width = seen.histogram()
    half = len(counts) // 2
    magnitudes = counts[half:] + counts[:half][::-1]
    found = find_range(seen, "entropy", symmetric=True)
    ours = plain_divergence(magnitudes, round(found.high / width))
    used = int(np.flatnonzero(magnitudes)[-1]) + 1
    others = [plain_divergence(magnitudes, end) for end in range(128, used + 1, 61)]
    assert ours <= min(others) * 1.1  # the two try different cuts


def test_entropy_cuts_an_outlier_off() -> None:
    values = np.append(np.random.default_rng(0).normal(0, 1, 50_000), 60.0).astype(np.float32)
    assert 2 < find_range(observed(values), "entropy", symmetric=True).high < 30


def test_entropy_moves_both_ends_of_an_asymmetric_range() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(0, 1, 50_000), [-40.0, 90.0]]).astype(np.float32)
    found = find_range(observed(values), "entropy", symmetric=False)
    assert -40 < found.low < -2
    assert 2 < found.high < 45


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("constant", [3.0, -3.0, 1e-30, 1e30])
def test_a_constant_keeps_its_value(method: str, symmetric: bool, constant: float) -> None:
    seen = observed(np.full(50, constant, np.float32))
    assert seen.is_constant
    found = find_range(seen, method, symmetric=symmetric)  # type: ignore[arg-type]
    levels = grid(found, symmetric=symmetric)
    low, high = (-127, 127) if symmetric else (0, 255)
    step = np.clip(round(constant / levels.scale) + levels.zero_point, low, high) - levels.zero_point
    assert step * levels.scale == pytest.approx(constant, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_zeros_alone_get_a_range_without_width_and_a_usable_scale(method: str, symmetric: bool) -> None:
    found = find_range(observed(np.zeros((4, 5), np.float32)), method, symmetric=symmetric)  # type: ignore[arg-type]
    assert found == Range(0.0, 0.0)
    assert grid(found, symmetric=symmetric).scale == 1.0


@pytest.mark.parametrize("method", METHODS)
def test_values_of_one_sign_lose_no_level_to_the_other(method: str) -> None:
    found = find_range(observed(np.abs(heavy_tailed())), method, symmetric=False)  # type: ignore[arg-type]
    assert found.low == 0
    assert grid(found, symmetric=False).zero_point == 0


def test_a_larger_value_after_zeros_and_small_ones_is_held() -> None:
    seen = observed(np.zeros(3, np.float32), np.float32([1e-20, -1e-20]), np.float32([1e20]))
    counts, _ = seen.histogram()
    assert counts.sum() == seen.count == 6
    assert seen.whole() == Range(np.float32(-1e-20), np.float32(1e20))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_errors_that_name_the_tensor(bad: float) -> None:
    seen = Observed("/layer.0/output")
    with pytest.raises(EdgepruneError, match="1 of 3 values") as caught:
        seen.add(np.float32([1, bad, 2]))
    assert caught.value.where == "activation /layer.0/output"
    assert seen.count == 0


def test_nothing_seen_is_an_error() -> None:
    with pytest.raises(EdgepruneError, match="no values"):
        find_range(observed(np.zeros(0, np.float32)), "minmax", symmetric=True)
