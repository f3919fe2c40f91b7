from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.measurement.between import difference_by_agreement, quotient, unpaired_difference
from edgeprune.measurement.statistics import Interval, accuracy_difference, wilson_interval

CONFIDENCE = 0.95


def answers(labels: np.ndarray, generator: np.random.Generator, changed: float) -> np.ndarray:
    flips = generator.random(labels.size) < changed
    return np.where(flips, 1 - labels, labels)


@given(
    st.integers(20, 400), st.floats(0, 0.5), st.floats(0, 0.3), st.floats(0, 0.3), st.integers(0, 2**32 - 1)
)
def test_the_interval_by_agreement_holds_the_paired_one(n, errors, change_one, change_two, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, n)
    original = answers(labels, generator, errors)
    before, now = (answers(original, generator, share) for share in (change_one, change_two))
    paired = accuracy_difference(labels, before, now, CONFIDENCE)
    changed = int((before != original).sum() + (now != original).sum())
    right_before, right_now = (int((found == labels).sum()) for found in (before, now))
    found = difference_by_agreement(right_before, right_now, changed, n, CONFIDENCE)
    assert found is not None
    assert found.estimate == pytest.approx(paired.estimate)
    assert found.low <= paired.low + 1e-6
    assert found.high >= paired.high - 1e-6


def test_few_changed_answers_give_a_narrower_interval_than_none_known():
    narrow = difference_by_agreement(860, 855, 30, 1000, CONFIDENCE)
    wide = unpaired_difference((860, 1000), (855, 1000), CONFIDENCE)
    assert narrow is not None
    assert wide.low < narrow.low < -0.5 < narrow.high < wide.high


def test_a_difference_that_the_changed_answers_cannot_explain_has_no_interval():
    assert difference_by_agreement(500, 600, 20, 1000, CONFIDENCE) is None
    assert difference_by_agreement(600, 500, 20, 1000, CONFIDENCE) is None


def test_the_unpaired_interval_is_the_published_one():
    """Newcombe 1998, table II, example (a): 56 of 70 and 48 of 80, method 10."""
    found = unpaired_difference((48, 80), (56, 70), CONFIDENCE)
    assert found.estimate == pytest.approx(20.0)
    assert (found.low, found.high) == (pytest.approx(5.24, abs=0.005), pytest.approx(33.39, abs=0.005))


@given(st.integers(0, 50), st.integers(0, 50))
def test_the_unpaired_interval_changes_its_sign_with_the_sides(one, other):
    there = unpaired_difference((one, 50), (other, 50), CONFIDENCE)
    back = unpaired_difference((other, 50), (one, 50), CONFIDENCE)
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))
    assert -100 <= there.low <= there.estimate <= there.high <= 100
    assert wilson_interval(one, 50, CONFIDENCE)[0] <= one / 50


def ratio(estimate: float, low: float, high: float) -> Interval:
    return Interval(estimate, low, high, CONFIDENCE, "given")


def test_a_quotient_is_as_unsure_as_both_together():
    found = quotient(ratio(6.0, 5.7, 6.3), ratio(3.0, 2.9, 3.1))
    assert found.estimate == pytest.approx(2.0)
    assert 2.0 * 5.7 / 6.0 > found.low > 2.0 * (5.7 / 6.0) * (3.0 / 3.1)
    assert 2.0 * 6.3 / 6.0 < found.high < 2.0 * (6.3 / 6.0) * (3.0 / 2.9)


def test_the_quotient_with_something_exact_keeps_the_interval():
    found = quotient(ratio(6.0, 5.7, 6.3), ratio(2.0, 2.0, 2.0))
    assert (found.low, found.high) == (pytest.approx(2.85), pytest.approx(3.15))
