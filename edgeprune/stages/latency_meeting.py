"""A latency budget is met by what was measured, not by what a table says: choose, time, correct, again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from edgeprune.errors import RecipeError

if TYPE_CHECKING:
    from edgeprune.measurement.statistics import Interval
    from edgeprune.structure.choosing import Choice

__all__ = ["MISS", "Met", "Round", "meet"]

ROUNDS = 4
CLOSE = 0.03  # relative; nearer than that, two measurements of one structure differ as much
STEEPEST = 4.0  # noise between two near ratios says nothing beyond it
MISS = 0.1  # relative; further than that the user is told


@dataclass(frozen=True)
class Round:
    """One structure that was chosen and timed.

    Attributes:
        asked: Ratio that it was chosen for.
        predicted: Its ratio by the cost table.
        measured: Its ratio beside the dense model.
    """

    asked: float
    predicted: float
    measured: Interval


@dataclass(frozen=True)
class Met:
    """The structure whose time is nearest to the budget, and how it was found."""

    choice: Choice
    ratio: Interval
    rounds: tuple[Round, ...]


def _slope(rounds: Sequence[Round]) -> float:
    """By how much the measured time grows with the ratio that is asked for, in logarithms; 1 to begin with.

    What is fixed takes time at any ratio, so time may grow much slower than the ratio.
    """
    if len(rounds) < 2:
        return 1.0
    before, now = rounds[-2:]
    grown = log(now.measured.estimate / before.measured.estimate) / log(now.asked / before.asked)
    return min(max(grown, 1 / STEEPEST), STEEPEST)


def meet(wanted: float, choose: Callable[[float], Choice], measure: Callable[[Choice], Interval]) -> Met:
    """Choose by the table, time the result, and ask the table for more or less by what it missed.

    Stops when the measured time is within 3 % of what is wanted, when nothing new is chosen, when the
    corrected ratio cannot be chosen for, or after 4 structures.

    Args:
        wanted: Share of the dense model's time, between 0 and 1.
        choose: The best structure for a ratio by the table.
        measure: Its time, of the dense model's.

    Raises:
        RecipeError: `choose` refuses what is wanted.
    """
    asked, rounds = wanted, list[Round]()
    choices: list[Choice] = []
    for _ in range(ROUNDS):
        try:
            choice = choose(asked)
        except RecipeError:
            if not rounds:
                raise
            break
        if any(choice.counts == earlier.counts for earlier in choices):
            break
        choices.append(choice)
        measured = measure(choice)
        rounds.append(Round(asked, choice.cost_ratio or asked, measured))
        if abs(measured.estimate / wanted - 1) <= CLOSE:
            break
        asked *= (wanted / measured.estimate) ** (1 / _slope(rounds))
    misses = [abs(log(item.measured.estimate / wanted)) for item in rounds]
    best = misses.index(min(misses))
    return Met(choices[best], rounds[best].measured, tuple(rounds))
