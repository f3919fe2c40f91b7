"""Layer maps by hand, and what every map must be."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.distillation.layer_maps import closest, last, taught_layers, uniform

LAYERS = st.integers(1, 24)


@pytest.mark.parametrize(
    ("students", "teachers", "pairs"),
    [
        (3, 3, ((0, 0), (1, 1), (2, 2))),
        (6, 12, ((0, 1), (1, 3), (2, 5), (3, 7), (4, 9), (5, 11))),
        (4, 6, ((0, 1), (1, 2), (2, 4), (3, 5))),
        (1, 6, ((0, 5),)),
        (4, 2, ((0, 0), (1, 0), (2, 1), (3, 1))),
    ],
)
def test_uniform(students: int, teachers: int, pairs: tuple[tuple[int, int], ...]) -> None:
    assert uniform(students, teachers) == pairs


@given(LAYERS, LAYERS)
def test_uniform_keeps_the_order_and_ends_at_the_end(students: int, teachers: int) -> None:
    pairs = uniform(students, teachers)
    assert [mine for mine, _ in pairs] == list(range(students))
    its = [layer for _, layer in pairs]
    assert its == sorted(its)
    assert its[0] >= 0
    assert its[-1] == teachers - 1
    if students <= teachers:
        assert len(set(its)) == students


def test_last() -> None:
    assert last(4, 12) == ((3, 11),)


@pytest.mark.parametrize(
    ("students", "teachers", "taught"),
    [(12, 12, (2, 5, 8, 11)), (6, 6, (2, 5)), (1, 6, (5,)), (2, 12, (5, 11)), (2, 2, (1,)), (9, 1, (0,))],
)
def test_a_third_of_the_layers_teaches(students: int, teachers: int, taught: tuple[int, ...]) -> None:
    assert taught_layers(students, teachers) == taught


def test_closest_by_hand() -> None:
    distances = [[5.0, 9.0], [1.0, 8.0], [4.0, 7.0], [3.0, 6.0]]
    assert closest(distances, (2, 5)) == ((1, 2), (3, 5))


def test_closest_keeps_the_order_even_where_each_alone_would_not() -> None:
    distances = [[5.0, 1.0], [4.0, 9.0], [1.0, 9.0]]  # alone: layer 2 for the first, 0 for the second
    assert closest(distances, (2, 5)) == ((1, 2), (2, 5))  # 4 + 9; from the first layer on it is 5 + 9


def test_of_equals_the_earlier() -> None:
    assert closest([[1.0], [1.0], [2.0]], (3,)) == ((0, 3),)


def test_as_many_layers_as_taught_leave_no_choice() -> None:
    assert closest([[9.0, 0.0], [0.0, 9.0]], (0, 1)) == ((0, 0), (1, 1))


@given(
    st.integers(1, 3).flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(0, 9).map(float), min_size=columns, max_size=columns),
            min_size=columns,
            max_size=6,
        )
    )
)
def test_closest_is_the_best_of_all_maps_in_order(distances: list[list[float]]) -> None:
    taught = tuple(range(2, 2 + len(distances[0])))
    found = closest(distances, taught)
    assert [layer for _, layer in found] == list(taught)
    mine = [layer for layer, _ in found]
    assert mine == sorted(set(mine))
    best = min(
        sum(distances[layer][column] for column, layer in enumerate(chosen))
        for chosen in combinations(range(len(distances)), len(taught))
    )
    assert _total(distances, found, taught) == best


def _total(
    distances: list[list[float]], pairs: tuple[tuple[int, int], ...], taught: tuple[int, ...]
) -> float:
    return sum(distances[mine][taught.index(its)] for mine, its in pairs)


@pytest.mark.parametrize("make", [uniform, last, taught_layers])
def test_models_without_layers(make: object) -> None:
    assert callable(make)
    for students, teachers in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match="below 1"):
            make(students, teachers)


def test_distances_that_do_not_fit() -> None:
    for distances in ([], [[1.0]], [[1.0, 2.0]], [[1.0, 2.0], [1.0]]):
        with pytest.raises(ValueError, match="do not fit"):
            closest(distances, (0, 1))
    with pytest.raises(ValueError, match="do not fit"):
        closest([[]], ())
    with pytest.raises(ValueError, match="not finite"):
        closest([[float("nan")]], (0,))
