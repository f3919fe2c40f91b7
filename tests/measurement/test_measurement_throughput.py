"""Rounds in which models that are told what to answer take turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgeprune.measurement.batches import Batch
from edgeprune.measurement.throughput import Rounds, measure_rounds
from edgeprune.runner.throughput import Callers, Throughput


def _batches(offset: int) -> list[Batch]:
    """Batch i has i + 1 texts; `offset` tells whose they are."""
    return [Batch(*(np.full((rows + 1, 4), offset),) * 3) for rows in range(6)]


class Told(Callers):
    """Answers as many batches in a round as it is told, and writes down what it is asked to do."""

    def __init__(self, name: str, answered: int, diary: list[tuple[str, str, tuple[int, ...]]]) -> None:
        super().__init__(lambda ids, mask, types: ids, streams=answered)
        self._name, self._diary = name, diary

    def warm_up(self, batches: Sequence[Batch]) -> None:  # type: ignore[override]
        self._note("warm up", batches)

    def measure(self, batches: Sequence[Batch], seconds: float, clock: object = None) -> Throughput:  # type: ignore[override]
        self._note("measure", batches)
        return Throughput(sum(len(batch.ids) for batch in batches[: self.streams]), seconds, self.streams)

    def _note(self, what: str, batches: Sequence[Batch]) -> None:
        self._diary.append((self._name, what, tuple(len(batch.ids) for batch in batches)))


def test_all_models_warm_up_and_then_answer_the_same_texts_in_turns() -> None:
    diary: list[tuple[str, str, tuple[int, ...]]] = []
    names = {"slow": 1, "fast": 4, "faster": 6}
    models = {name: Told(name, answered, diary) for name, answered in names.items()}
    batches = {name: _batches(number) for number, name in enumerate(names)}
    found = measure_rounds(models, batches, 0.5, rounds=5)
    assert [entry[:2] for entry in diary[:3]] == [(name, "warm up") for name in names]
    rounds = [diary[start : start + 3] for start in range(3, len(diary), 3)]
    assert len(rounds) == 5
    for entries in rounds:
        assert sorted(name for name, _, _ in entries) == sorted(names)
        assert {what for _, what, _ in entries} == {"measure"}
        assert len({texts for _, _, texts in entries}) == 1, "the same texts in the same order"
    orders = {entries[0][2] for entries in rounds}
    assert len(orders) > 1, "another order in another round"
    assert {tuple(sorted(order)) for order in orders} == {(1, 2, 3, 4, 5, 6)}
    assert len({tuple(name for name, _, _ in entries) for entries in rounds}) > 1
    assert found["faster"] == Rounds([21] * 5, [0.5] * 5, 6)
    assert found["slow"].texts == [entries[0][2][0] for entries in rounds]
    assert measure_rounds(models, batches, 0.5, rounds=5) == found


def test_a_rate_is_over_all_rounds_and_its_spread_is_of_single_ones() -> None:
    rounds = Rounds([100, 300], [1.0, 2.0], 2)
    assert rounds.texts_per_second == pytest.approx(400 / 3)
    assert rounds.spread == (100.0, 150.0)
