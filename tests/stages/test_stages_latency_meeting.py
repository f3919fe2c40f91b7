"""How a latency budget is met, on tables that are wrong in known ways; nothing is timed here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.errors import Problem, RecipeError
from edgeprune.measurement.statistics import Interval
from edgeprune.stages.latency_meeting import CLOSE, MISS, ROUNDS, Met, meet
from edgeprune.structure.choosing import Choice
from edgeprune.structure.description import KeptLayer

STEP = 1 / 256  # of the dense cost: what one row more costs


def _choose(asked: float) -> Choice:
    """As many rows as the ratio has room for; refuses as `by_cost` does."""
    rows = int(asked / STEP)
    if not 0 < rows < 256:
        raise RecipeError([Problem(("ratio",), f"{asked} cannot be met", "")])
    return Choice((KeptLayer(0, (), tuple(range(rows))),), 1.0, 1.0, rows * STEP)


def _meet(wanted: float, truth: Callable[[float], float]) -> Met:
    def measure(choice: Choice) -> Interval:
        assert choice.cost_ratio is not None
        value = truth(choice.cost_ratio)
        return Interval(value, value, value, 0.95, "exact")

    return meet(wanted, _choose, measure)


def test_a_table_that_is_right_is_asked_once() -> None:
    met = _meet(0.5, lambda ratio: ratio)
    assert [(item.asked, item.predicted) for item in met.rounds] == [(0.5, 0.5)]
    assert met.ratio.estimate == 0.5


@given(st.floats(0.2, 0.7), st.floats(0.8, 1.2))
def test_a_table_that_is_wrong_by_a_factor_is_corrected(wanted: float, factor: float) -> None:
    met = _meet(wanted, lambda ratio: ratio * factor)
    assert met.ratio.estimate == pytest.approx(wanted, rel=CLOSE)
    assert len(met.rounds) <= 3


@given(st.floats(0.3, 0.7), st.floats(0.0, 0.15), st.floats(0.7, 1.3))
def test_a_table_that_misses_what_is_fixed_is_corrected(wanted: float, fixed: float, power: float) -> None:
    met = _meet(wanted, lambda ratio: fixed + (1 - fixed) * ratio**power)
    assert met.ratio.estimate == pytest.approx(wanted, rel=MISS)


def test_the_nearest_of_those_timed_is_taken() -> None:
    times = iter([0.7, 0.52, 0.4, 0.6])
    met = _meet(0.5, lambda _: next(times))
    assert met.ratio.estimate == 0.52
    assert len(met.rounds) == ROUNDS
    assert met.choice.cost_ratio == met.rounds[1].predicted


def test_it_ends_where_the_table_has_nothing_for_the_corrected_ratio() -> None:
    met = _meet(0.9, lambda ratio: ratio / 2)  # 1.8 of the dense model
    assert len(met.rounds) == 1
    assert met.ratio.estimate == pytest.approx(0.45, rel=0.01)


def test_it_ends_where_the_corrected_ratio_gives_the_same_structure() -> None:
    met = _meet(0.012, lambda ratio: ratio)  # three rows; what is wanted is a little more
    assert len(met.rounds) == 1


def test_what_cannot_be_chosen_at_all_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"0\.001 cannot be met"):
        _meet(0.001, lambda ratio: ratio)
