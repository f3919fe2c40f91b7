"""Granularities: what recipes write, shapes of scores, and from units to weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.masking.binarizing import straight_through
from edgeprune.masking.granularity import Granularity, expand, score_shape

SIDES = st.integers(1, 12)


@pytest.mark.parametrize(
    ("value", "expected", "text"),
    [
        ("weight", Granularity("weight"), "weight"),
        ("row", Granularity("row"), "row"),
        ("head", Granularity("head"), "head"),
        ("head+row", Granularity("head+row"), "head+row"),
        ("2:4", Granularity("n:m", group=(2, 4)), "2:4"),
        ("1:16", Granularity("n:m", group=(1, 16)), "1:16"),
        ({"block": [4, 8]}, Granularity("block", block=(4, 8)), "block 4x8"),
        ({"block": (1, 1)}, Granularity("block", block=(1, 1)), "block 1x1"),
    ],
)
def test_granularities_read_and_write(value: Any, expected: Granularity, text: str) -> None:
    assert Granularity.parse(value) == expected
    assert str(Granularity.parse(value)) == text


@pytest.mark.parametrize(
    "value",
    [
        "", "rows", "Weight", "4:2", "4:4", "0:4", "2:4 ", "2:4:8", "-1:4", "block", "2.0:4",
        {}, {"block": [4]}, {"block": [4, 4, 4]}, {"block": [0, 4]}, {"block": [4, -1]},
        {"block": [4, 4], "row": [1, 1]}, {"row": [4, 4]},
    ],
)  # fmt: skip
def test_what_is_no_granularity(value: str | Mapping[str, Sequence[int]]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Granularity.parse(value)


def test_a_refusal_says_what_was_written_and_what_could_be() -> None:
    with pytest.raises(ValueError, match=r"'rows'.*weight.*row.*head"):
        Granularity.parse("rows")
    with pytest.raises(ValueError, match="4:2"):
        Granularity.parse("4:2")


def test_a_granularity_is_a_value() -> None:
    assert hash(Granularity.parse("2:4")) == hash(Granularity.parse("2:4"))
    with pytest.raises(AttributeError):
        Granularity.parse("weight").kind = "row"  # type: ignore[misc]


@given(SIDES, SIDES)
def test_one_score_a_weight(outputs: int, inputs: int) -> None:
    assert score_shape(Granularity.parse("weight"), (outputs, inputs)) == (outputs, inputs)
    assert score_shape(Granularity.parse("1:2"), (outputs, 2 * inputs)) == (outputs, 2 * inputs)


def test_groups_must_divide_the_inputs() -> None:
    with pytest.raises(ValueError, match=r"6.*4"):
        score_shape(Granularity.parse("2:4"), (4, 6))


@given(SIDES, SIDES, st.integers(1, 5), st.integers(1, 5))
def test_blocks_cover_every_weight_once(outputs: int, inputs: int, rows: int, columns: int) -> None:
    granularity = Granularity.parse({"block": [rows, columns]})
    shape = score_shape(granularity, (outputs, inputs))
    assert shape == (-(-outputs // rows), -(-inputs // columns))
    numbers = torch.arange(shape[0] * shape[1]).reshape(shape)
    spread = expand(numbers, granularity, (outputs, inputs))
    expected = [[numbers[i // rows, j // columns].item() for j in range(inputs)] for i in range(outputs)]
    assert spread.tolist() == expected


@given(
    hnp.arrays(bool, st.tuples(SIDES, SIDES)),
    st.sampled_from(["weight", "1:2"]),
)
def test_masks_of_single_weights_are_as_they_are(mask: np.ndarray, name: str) -> None:
    found = expand(torch.from_numpy(mask), Granularity.parse(name), mask.shape)
    assert found.dtype == torch.bool
    assert np.array_equal(found.numpy(), mask)


def test_expand_by_hand() -> None:
    mask = torch.tensor([[True, False], [False, True]])
    # The last row and column of blocks are cut short.
    assert expand(mask, Granularity.parse({"block": [2, 2]}), (3, 3)).int().tolist() == [
        [1, 1, 0],
        [1, 1, 0],
        [0, 0, 1],
    ]
    assert expand(mask, Granularity.parse({"block": [1, 2]}), (2, 4)).int().tolist() == [
        [1, 1, 0, 0],
        [0, 0, 1, 1],
    ]


def test_a_block_learns_from_all_of_its_weights() -> None:
    """∂L/∂S of a block is Σ (∂L/∂W') ⊙ W over its weights, pruned or not."""
    granularity = Granularity.parse({"block": [2, 2]})
    weight = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    scores = torch.zeros(1, 2, requires_grad=True)
    mask = torch.tensor([[True, False]])
    slope = torch.tensor([[1.0, 1.0, 2.0], [1.0, -1.0, 3.0]])
    masked = straight_through(weight, expand(scores, granularity, (2, 3)), expand(mask, granularity, (2, 3)))
    assert masked.tolist() == [[1.0, 2.0, 0.0], [4.0, 5.0, 0.0]]
    (masked * slope).sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[1 + 2 + 4 - 5, 6 + 18]]


@pytest.mark.parametrize("name", ["row", "head", "head+row"])
def test_structures_span_matrices(name: str) -> None:
    with pytest.raises(ValueError, match="several matrices"):
        score_shape(Granularity.parse(name), (4, 4))
