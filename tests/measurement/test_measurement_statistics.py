from __future__ import annotations

from math import log
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from edgeprune.measurement import statistics as st


def _score_by_search(gained: int, lost: int, n: int, difference: float) -> float:
    """Tango's statistic with the constrained maximum found by search instead of by his formula."""

    def likelihood(p: float) -> float:
        cells = [(gained, p + difference), (lost, p), (n - gained - lost, 1 - 2 * p - difference)]
        return sum(count * log(max(share, 1e-300)) for count, share in cells if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    for _ in range(200):
        third = (high - low) / 3
        if likelihood(low + third) < likelihood(high - third):
            low += third
        else:
            high -= third
    spread = n * (2 * (low + high) / 2 + difference - difference**2)
    return (gained - lost - n * difference) / spread**0.5


@given(some.data())
@settings(max_examples=60)
def test_tango_ends_where_the_score_is_z(data: some.DataObject) -> None:
    n = data.draw(some.integers(5, 2000))
    gained = data.draw(some.integers(0, n))
    lost = data.draw(some.integers(0, n - gained))
    low, high = st.tango_interval(gained, lost, n, 0.95)
    z = NormalDist().inv_cdf(0.975)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    for end, wanted in ((low, z), (high, -z)):
        if abs(end) < 0.999:
            assert _score_by_search(gained, lost, n, end) == pytest.approx(wanted, rel=1e-3)


@given(some.integers(0, 40), some.integers(0, 40), some.integers(80, 900))
def test_tango_swaps_with_the_models(gained: int, lost: int, n: int) -> None:
    low, high = st.tango_interval(gained, lost, n, 0.9)
    assert st.tango_interval(lost, gained, n, 0.9) == pytest.approx((-high, -low), abs=1e-12)


def test_tango_at_zero_is_mcnemar() -> None:
    assert st.tango_score(30, 14, 500, 0.0) == pytest.approx((30 - 14) / (30 + 14) ** 0.5)


def test_no_disagreement_is_not_certainty() -> None:
    z2 = NormalDist().inv_cdf(0.975) ** 2
    expected = z2 / (872 + z2)
    assert st.tango_interval(0, 0, 872, 0.95) == pytest.approx((-expected, expected))


@pytest.mark.parametrize(("gain", "loss", "n"), [(0.03, 0.05, 200), (0.01, 0.01, 400), (0.10, 0.02, 100)])
def test_tango_covers_as_often_as_it_says(gain: float, loss: float, n: int) -> None:
    draws = np.random.default_rng(1).multinomial(n, [gain, loss, 1 - gain - loss], size=4000)
    pairs, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    covered = 0
    for (gained, lost), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        low, high = st.tango_interval(gained, lost, n, 0.95)
        covered += count * (low <= gain - loss <= high)
    assert 0.935 < covered / 4000 < 0.985


def test_accuracy_difference_is_in_points_and_paired() -> None:
    labels = np.zeros(200, np.int64)
    original, variant = labels.copy(), labels.copy()
    original[:4] = 1  # only the variant is right
    variant[100:110] = 1  # only the original is right
    variant[150:] = original[150:] = 1  # both wrong
    interval = st.accuracy_difference(labels, original, variant, 0.95)
    assert interval.estimate == pytest.approx(-3.0)
    assert interval.low < -3 < interval.high
    assert (interval.low, interval.high) == pytest.approx(
        [100 * e for e in st.tango_interval(4, 10, 200, 0.95)]
    )


def test_agreement() -> None:
    answers = np.arange(100) % 3
    other = answers.copy()
    other[:2] = 5
    interval = st.agreement(answers, other, 0.95)
    assert interval.estimate == 0.98
    assert interval.low < 0.98 < interval.high < 1
    z2 = NormalDist().inv_cdf(0.975) ** 2
    assert st.wilson_interval(100, 100, 0.95) == pytest.approx((100 / (100 + z2), 1.0))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("metric", ["f1", "matthews"])
def test_metric_difference_is_that_of_scikit_learn(metric: str, classes: int) -> None:
    from sklearn.metrics import f1_score, matthews_corrcoef

    labels, original, variant = np.random.default_rng(3).integers(0, classes, size=(3, 300))

    def score(answers: np.ndarray) -> float:
        if metric == "matthews":
            return float(matthews_corrcoef(labels, answers))
        return float(f1_score(labels, answers, average="binary" if classes == 2 else "macro"))

    interval = st.metric_difference(metric, labels, original, variant, 0.95, classes=classes)  # type: ignore[arg-type]
    assert interval.estimate == pytest.approx(100 * (score(variant) - score(original)))
    assert interval.low < interval.estimate < interval.high


def test_bootstrap_of_counts_is_bootstrap_of_rows() -> None:
    random = np.random.default_rng(5)
    labels = random.integers(0, 2, 400)
    original = np.where(random.random(400) < 0.9, labels, 1 - labels)
    variant = np.where(random.random(400) < 0.8, labels, 1 - labels)
    from sklearn.metrics import f1_score

    drawn = []
    for _ in range(400):
        rows = random.integers(0, 400, 400)
        drawn.append(100 * (f1_score(labels[rows], variant[rows]) - f1_score(labels[rows], original[rows])))
    interval = st.metric_difference("f1", labels, original, variant, 0.9, classes=2)
    assert (interval.low, interval.high) == pytest.approx(np.percentile(drawn, [5, 95]), abs=0.8)


def test_bootstrap_is_seeded_and_says_when_it_has_no_width() -> None:
    labels, original, variant = np.random.default_rng(3).integers(0, 2, size=(3, 100))
    first, second, other = (
        st.metric_difference("f1", labels, original, variant, 0.95, classes=2, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == second != other
    same = st.metric_difference("matthews", labels, original, original, 0.95, classes=2)
    assert (same.low, same.high) == (0, 0)
    assert "no answer differs" in same.method


def test_one_sided_answers_have_matthews_0() -> None:
    labels = np.array([0, 1, 0, 1])
    interval = st.metric_difference("matthews", labels, labels, np.zeros(4, np.int64), 0.95, classes=2)
    assert interval.estimate == -100


def test_noise_that_blocks_share_cancels() -> None:
    random = np.random.default_rng(0)
    weather = np.exp(random.normal(0, 0.5, size=(40, 1)))  # what the machine did in each round
    slow = 2000 * weather * random.uniform(0.99, 1.01, (40, 10))
    fast = 1000 * weather * random.uniform(0.99, 1.01, (40, 10))
    paired = st.ratio_of_medians(slow, fast, 0.95)
    shuffled = st.ratio_of_medians(slow, random.permutation(fast), 0.95)
    assert paired.low < 2 < paired.high
    assert paired.high - paired.low < 0.2 * (shuffled.high - shuffled.low)


def test_ratio_in_parts_is_the_ratio_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = np.random.default_rng(0).uniform(1, 2, (2, 20, 5))
    whole = st.ratio_of_medians(slow, fast, 0.95)
    monkeypatch.setattr(st, "VALUES_AT_ONCE", 700)
    assert st.ratio_of_medians(slow, fast, 0.95) == whole


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="alike"):
        st.accuracy_difference(np.zeros(3), np.zeros(3), np.zeros(4), 0.95)
    with pytest.raises(ValueError, match="alike"):
        st.ratio_of_medians(np.ones((2, 3)), np.ones((3, 2)), 0.95)
