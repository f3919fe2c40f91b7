"""Differences between two models that never answered side by side, from what was kept of each.

Per-example answers are not kept with a report, so the paired intervals of `statistics` cannot be had. What
can be had is wider, and each interval says by its `method` what it rests on.
"""

from __future__ import annotations

from math import exp, hypot, log

from edgeprune.measurement.statistics import Interval, tango_interval, wilson_interval

__all__ = ["difference_by_agreement", "quotient", "unpaired_difference"]

_BY_AGREEMENT = (
    "Tango's score interval for the most answers that can differ, given how many of each equal those of the "
    "same original"
)
_UNPAIRED = "Newcombe's score interval, as if each had answered other examples"
_QUOTIENT = "quotient of two ratios to the same original, each measured interleaved in a session of its own"


def difference_by_agreement(
    right_before: int, right_now: int, changed: int, n: int, confidence: float
) -> Interval | None:
    """Difference of two accuracies on the same examples, in points, without knowing which ones are right.

    If a of n answers of one model differ from the original's, and b of another's, at most a + b of their
    answers differ from each other. The width of a paired interval grows with the number of examples that
    only one of the two has right, so the most that is possible gives an interval that is too wide rather
    than too narrow.

    Args:
        right_before: Right answers of the model that is compared with.
        right_now: Right answers of the other.
        changed: Answers of the two together that differ from the original's (a + b).
        n: Examples.
        confidence: E.g. 0.95.

    Returns:
        The interval, or None where so few changed answers cannot explain the difference.
    """
    surplus = right_now - right_before
    gained = min((changed + surplus) // 2, n - right_before, right_now)
    lost = gained - surplus
    if gained < 0 or lost < 0:
        return None
    low, high = tango_interval(gained, lost, n, confidence)
    return Interval(100 * surplus / n, 100 * low, 100 * high, confidence, _BY_AGREEMENT)


def unpaired_difference(before: tuple[int, int], now: tuple[int, int], confidence: float) -> Interval:
    """Difference of two accuracies, in points, as if the examples were others.

    R. G. Newcombe, Interval estimation for the difference between independent proportions: comparison of
    eleven methods, Statistics in Medicine 17 (1998) 873–890, method 10. Two models of the same examples
    mostly err on the same ones, and then it is too wide.

    Args:
        before: Right answers and examples of the model that is compared with.
        now: The same of the other.
        confidence: E.g. 0.95.
    """
    first, second = before[0] / before[1], now[0] / now[1]
    first_low, first_high = wilson_interval(*before, confidence)
    second_low, second_high = wilson_interval(*now, confidence)
    estimate = second - first
    low = estimate - hypot(second - second_low, first_high - first)
    high = estimate + hypot(second_high - second, first - first_low)
    return Interval(100 * estimate, 100 * max(low, -1.0), 100 * min(high, 1.0), confidence, _UNPAIRED)


def quotient(now: Interval, before: Interval) -> Interval:
    """How many times as fast one model is as another, from how much faster each is than the same original.

    The sessions are independent: the bounds' distances from the estimates, as logarithms, add up as squares.
    """
    estimate = now.estimate / before.estimate
    below = hypot(log(now.estimate / now.low), log(before.high / before.estimate))
    above = hypot(log(now.high / now.estimate), log(before.estimate / before.low))
    confidence = min(now.confidence, before.confidence)
    return Interval(estimate, estimate * exp(-below), estimate * exp(above), confidence, _QUOTIENT)
