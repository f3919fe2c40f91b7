"""Which layers go: by an independent search, and that what goes leaves nothing to choose from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.stages.structure_depth import Depth, choose_depth, without
from edgeprune.structure.importance import Importance

WORTH = st.lists(st.integers(-50, 50), min_size=1, max_size=7)


@given(WORTH, st.data())
def test_of_layers_that_stand_alone_the_best_stay(worth: list[int], data: st.DataObject) -> None:
    """Where losses add up, one after another is as good as all subsets compared."""
    most = data.draw(st.integers(1, len(worth)))

    def lost(kept: Sequence[int]) -> float:
        return -sum(worth[place] for place in kept)

    depth = choose_depth(len(worth), most, lost)
    assert sorted(worth[place] for place in depth.kept) == sorted(worth)[len(worth) - most :]
    assert list(depth.kept) == sorted(depth.kept)
    assert sorted([*depth.kept, *(place for place, _ in depth.gone)]) == list(range(len(worth)))
    for step, (place, loss) in enumerate(depth.gone):
        left = set(range(len(worth))) - {other for other, _ in depth.gone[: step + 1]}
        assert place not in left
        assert loss == lost(sorted(left))


@given(st.integers(1, 8), st.data())
def test_it_asks_no_more_than_it_says(layers: int, data: st.DataObject) -> None:
    most = data.draw(st.integers(1, layers))
    asked: list[tuple[int, ...]] = []

    def lost(kept: Sequence[int]) -> float:
        asked.append(tuple(kept))
        return math.sin(sum(3**place for place in kept))

    choose_depth(layers, most, lost)
    assert len(asked) == len(set(asked)) == sum(range(most + 1, layers + 1)) <= layers * (layers + 1) / 2


def test_what_goes_has_no_units() -> None:
    units = Importance(tuple(np.ones((3, 2))), tuple(np.ones((3, 4))))
    left = without(units, Depth(kept=(0, 2), gone=((1, 0.5),)))
    assert [len(part) for part in left.heads] == [2, 0, 2]
    assert [len(part) for part in left.rows] == [4, 0, 4]
