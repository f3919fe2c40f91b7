"""Heads against rows: what is tried, what is asked, and that the divergence is the one of the formula."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.stages.structure_balance import FACTORS, Asked, Balance, balance
from edgeprune.structure.choosing import Choice, by_cost
from edgeprune.structure.costs import CostTable, Shape
from edgeprune.structure.importance import Importance


class Linear(torch.nn.Module):
    """Answers with a row of its table per text."""

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__()
        self.table = torch.tensor(table)

    def forward(self, input_ids: torch.Tensor) -> Answer:
        return Answer(self.table[input_ids[:, 0]])


@dataclass
class Answer:
    logits: torch.Tensor


TEXTS = [
    {"input_ids": torch.tensor([[0], [1]]), "labels": torch.tensor([0, 0])},
    {"input_ids": torch.tensor([[2]])},
]


def divergence(before: list[list[float]], after: list[list[float]]) -> float:
    """KL(before || after) in NumPy, mean over rows."""
    one, two = (
        np.exp(table) / np.exp(table).sum(1, keepdims=True) for table in (np.array(before), np.array(after))
    )
    return float((one * np.log(one / two)).sum(1).mean())


def test_the_same_model_loses_nothing() -> None:
    table = [[1.0, 0.0], [0.0, 2.0], [0.5, 0.5]]
    assert Asked(Linear(table), TEXTS).lost(Linear(table)) == pytest.approx(0, abs=1e-7)


number = st.floats(-4, 4, width=32)
tables = st.lists(st.lists(number, min_size=2, max_size=2), min_size=3, max_size=3)


@given(before=tables, after=tables)
def test_what_is_lost_is_the_divergence_a_text(before: list[list[float]], after: list[list[float]]) -> None:
    found = Asked(Linear(before), TEXTS).lost(Linear(after))
    assert found == pytest.approx(divergence(before, after), abs=1e-4)


def importance(seed: int) -> Importance:
    rng = np.random.default_rng(seed)
    return Importance(tuple(rng.random((2, 4)) * 0.01), tuple(rng.random((2, 32))))


def choose(weighed: Importance) -> Choice:
    return by_cost(weighed, CostTable.from_parameters(Shape(2, 16, 4, 4, 32), 1), 0.5, 1)


@given(seed=st.integers(0, 1000), wanted=st.integers(0, 8))
def test_the_structure_that_loses_least_is_found(seed: int, wanted: int) -> None:
    """Loss is the distance of the number of heads from a wanted one: more weight never keeps fewer heads."""
    units = importance(seed)

    def heads(choice: Choice) -> int:
        return sum(len(layer.heads) for layer in choice.layers)

    found = balance(units, choose, lambda choice: abs(heads(choice) - wanted))
    each = [abs(heads(choose(Balance(factor, ()).applied(units))) - wanted) for factor in FACTORS]
    assert abs(heads(choose(found.applied(units))) - wanted) == min(each)
    assert [item.factor for item in found.tried] == sorted({item.factor for item in found.tried})
    assert found.factor == next(item.factor for item in found.tried if item.lost == min(each))


def test_a_structure_that_another_balance_gave_is_not_asked_again() -> None:
    asked = []
    units = importance(3)
    only = choose(units)

    def lost(choice: Choice) -> float:
        asked.append(choice)
        return 1.0

    found = balance(units, lambda weighed: only, lost)
    assert (found.factor, len(found.tried), len(asked)) == (1.0, 1, 1)


def test_rows_and_the_order_of_heads_stay() -> None:
    units = importance(5)
    weighed = Balance(4.0, ()).applied(units)
    assert weighed.rows is units.rows
    for before, after in zip(units.heads, weighed.heads, strict=True):
        np.testing.assert_allclose(after, 4 * before)
