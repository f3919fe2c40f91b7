"""Estimates with confidence intervals, as pure functions of arrays.

Shapes: N examples, K classes, B blocks of C calls, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np

__all__ = [
    "Interval",
    "accuracy_difference",
    "agreement",
    "metric_difference",
    "ratio_of_medians",
    "tango_interval",
    "tango_score",
    "wilson_interval",
]

RESAMPLES = 2000
# Values that one step of a bootstrap may hold at once; more are worked through in parts.
VALUES_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A measured value with its confidence interval; `method` says how it was made."""

    estimate: float
    low: float
    high: float
    confidence: float
    method: str


def tango_score(gained: int, lost: int, n: int, difference: float) -> float:
    """Score statistic of a difference of paired proportions; standard normal if `difference` is the true one.

    With x = gained, y = lost, Δ = `difference`, and p the maximum-likelihood estimate of the probability of
    a loss under the constraint that gains are more probable by Δ:

        T(Δ) = (x - y - nΔ) / sqrt(n (2p + Δ (1 - Δ)))
        p    = (sqrt(b² - 4ac) - b) / 2a,  a = 2n,  b = -(x + y) + (2n - x + y) Δ,  c = -y Δ (1 - Δ)

    Source: T. Tango, Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design, Statistics in Medicine 17 (1998) 891–908. At Δ = 0 it is McNemar's statistic.

    Args:
        gained: Examples that only the variant has right.
        lost: Examples that only the original has right.
        n: All examples.
        difference: Supposed difference, strictly between -1 and 1.
    """
    p = _constrained_loss(gained, lost, n, difference)
    spread = n * (2 * p + difference * (1 - difference))
    distance = gained - lost - n * difference
    if spread <= 0:
        return 0.0 if distance == 0 else float(np.copysign(np.inf, distance))
    return distance / sqrt(spread)


def _constrained_loss(gained: int, lost: int, n: int, difference: float) -> float:
    b = -(gained + lost) + (2 * n - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    root = sqrt(max(0.0, b * b - 8 * n * c))
    # The same root of the quadratic in the form that does not subtract nearly equal numbers.
    p = -2 * c / (b + root) if b > 0 else (root - b) / (4 * n)
    return max(p, 0.0, -difference)


def tango_interval(gained: int, lost: int, n: int, confidence: float) -> tuple[float, float]:
    """Differences of paired proportions that `tango_score` does not reject, as shares -1..1.

    Without any disagreement it is ±z² / (n + z²), not zero: n examples cannot show that there is none.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    estimate = (gained - lost) / n

    def edge(limit: float, wanted: float) -> float:
        inside, outside = estimate, limit
        for _ in range(80):  # halves an interval of at most 2 until it is below the spacing of floats
            middle = (inside + outside) / 2
            rejected = abs(tango_score(gained, lost, n, middle)) > wanted
            inside, outside = (inside, middle) if rejected else (middle, outside)
        return inside

    return edge(-1.0, z), edge(1.0, z)


def wilson_interval(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion (E. B. Wilson, JASA 22 (1927) 209–212), as shares 0..1."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def accuracy_difference(
    labels: np.ndarray, original: np.ndarray, variant: np.ndarray, confidence: float
) -> Interval:
    """Accuracy of the variant minus the original's on the same examples, in points.

    Args:
        labels: True class ids, int [N].
        original: The original's answers, int [N].
        variant: The variant's answers, int [N].
        confidence: E.g. 0.95.
    """
    n = _paired_size(labels, original, variant)
    right_before, right_now = original == labels, variant == labels
    gained = int((right_now & ~right_before).sum())
    lost = int((right_before & ~right_now).sum())
    low, high = tango_interval(gained, lost, n, confidence)
    estimate = (gained - lost) / n
    return Interval(100 * estimate, 100 * low, 100 * high, confidence, "Tango's score interval, paired")


def agreement(original: np.ndarray, variant: np.ndarray, confidence: float) -> Interval:
    """Share of examples, 0..1, on which two models give the same answer.

    Args:
        original: Answers, int [N].
        variant: Answers, int [N].
        confidence: E.g. 0.95.
    """
    n = _paired_size(original, variant)
    same = int((original == variant).sum())
    low, high = wilson_interval(same, n, confidence)
    return Interval(same / n, low, high, confidence, "Wilson's score interval")


def metric_difference(
    metric: Literal["f1", "matthews"],
    labels: np.ndarray,
    original: np.ndarray,
    variant: np.ndarray,
    confidence: float,
    *,
    classes: int,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """F1 or Matthews of the variant minus the original's, in points, with a paired percentile bootstrap.

    Examples are drawn with both answers (B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13). F1 is that of class 1 for two classes and the mean over occurring classes for more.

    Args:
        metric: Which.
        labels: True class ids, int [N].
        original: The original's answers, int [N].
        variant: The variant's answers, int [N].
        confidence: E.g. 0.95.
        classes: Number of classes, K.
        seed: Of the resampling.
        resamples: At least 2000 for a 95 % interval.
    """
    n = _paired_size(labels, original, variant)
    # Metrics only depend on how often each (label, original, variant) occurs, so counts are drawn: U cells.
    cells, counts = np.unique(np.stack([labels, original, variant], axis=1), axis=0, return_counts=True)
    score = _f1 if metric == "f1" else _matthews

    def difference(weights: np.ndarray) -> np.ndarray:  # [R, U] -> [R]
        true = cells[:, 0]
        after = score(*_class_counts(true, cells[:, 2], weights, classes))
        before = score(*_class_counts(true, cells[:, 1], weights, classes))
        points: np.ndarray = 100 * (after - before)
        return points

    generator = np.random.default_rng(seed)
    part = max(1, VALUES_AT_ONCE // max(len(cells), classes))
    drawn = [
        difference(generator.multinomial(n, counts / n, size=min(part, resamples - done)).astype(np.float64))
        for done in range(0, resamples, part)
    ]
    low, high = _percentile_interval(np.concatenate(drawn), confidence)
    estimate = float(difference(counts[None].astype(np.float64))[0])
    method = f"paired percentile bootstrap, {resamples} resamples"
    if np.array_equal(original, variant):
        method += "; no answer differs, so it has no width"
    return Interval(estimate, low, high, confidence, method)


def ratio_of_medians(
    numerator: np.ndarray,
    denominator: np.ndarray,
    confidence: float,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Ratio of the medians of two interleaved measurements, with a bootstrap over whole blocks.

    Calls of one block share what the machine did then, so blocks are drawn, the same for both.

    Args:
        numerator: [B, C]; the original's latency for a speedup.
        denominator: [B, C], row by row measured beside `numerator`; the variant's latency.
        confidence: E.g. 0.95.
        seed: Of the resampling.
        resamples: At least 2000 for a 95 % interval.
    """
    if numerator.shape != denominator.shape or numerator.ndim != 2:
        raise ValueError(f"need two arrays [blocks, calls] alike, got {numerator.shape}, {denominator.shape}")
    blocks = numerator.shape[0]
    picks = np.random.default_rng(seed).integers(0, blocks, size=(resamples, blocks))  # [R, B]
    part = max(1, VALUES_AT_ONCE // numerator.size)
    drawn = [
        _medians(numerator, picks[done : done + part]) / _medians(denominator, picks[done : done + part])
        for done in range(0, resamples, part)
    ]
    low, high = _percentile_interval(np.concatenate(drawn), confidence)
    estimate = float(np.median(numerator) / np.median(denominator))
    method = f"bootstrap over {blocks} interleaved blocks, {resamples} resamples"
    return Interval(estimate, low, high, confidence, method)


def _medians(values: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """Median of all calls of the picked blocks: values [B, C], picks [R, B] -> [R]."""
    medians: np.ndarray = np.median(values[picks].reshape(len(picks), -1), axis=1)
    return medians


def _percentile_interval(drawn: np.ndarray, confidence: float) -> tuple[float, float]:
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail]).tolist()
    return low, high


def _class_counts(
    true: np.ndarray, answers: np.ndarray, weights: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, answers and truths per class, each [R, K], of cells that occur `weights` [R, U] times."""
    identity = np.eye(classes)
    truths, given = identity[true], identity[answers]  # [U, K]
    return weights @ (truths * given), weights @ given, weights @ truths


def _f1(hits: np.ndarray, given: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """F1 [R]: of class 1 for two classes, else the mean over classes that occur; 0 where undefined."""
    both = given + truths
    scores = np.divide(2 * hits, both, out=np.zeros_like(both), where=both > 0)  # [R, K]
    if scores.shape[1] == 2:
        binary: np.ndarray = scores[:, 1]
        return binary
    mean: np.ndarray = scores.sum(axis=1) / (both > 0).sum(axis=1)
    return mean


def _matthews(hits: np.ndarray, given: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Matthews correlation [R] for K classes (J. Gorodkin, Comput. Biol. Chem. 28 (2004) 367–374)."""
    n = truths.sum(axis=1)
    covariance = hits.sum(axis=1) * n - (given * truths).sum(axis=1)
    spread = (n**2 - (given**2).sum(axis=1)) * (n**2 - (truths**2).sum(axis=1))
    zeros = np.zeros_like(covariance)
    correlation: np.ndarray = np.divide(covariance, np.sqrt(spread), out=zeros, where=spread > 0)
    return correlation


def _paired_size(*arrays: np.ndarray) -> int:
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1 or not arrays[0].size:
        raise ValueError(f"need arrays [N] alike with N > 0, got {[array.shape for array in arrays]}")
    return int(arrays[0].size)
