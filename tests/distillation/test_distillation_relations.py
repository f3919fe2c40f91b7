"""Relations of tokens against NumPy, with padding, with other numbers of heads, and their gradient."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.distillation.relations import relation_heads, relation_loss

Floats = npt.NDArray[np.float64]


def drawn(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).normal(size=shape)


def mask_of(lengths: list[int], tokens: int) -> npt.NDArray[np.int64]:
    return (np.arange(tokens) < np.array(lengths)[:, None]).astype(np.int64)


def relation(vectors: Floats) -> Floats:
    """softmax(A Aᵀ / sqrt(d)) of one text without padding and one head, [T, T]."""
    scores = vectors @ vectors.T / np.sqrt(vectors.shape[1])
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def reference(student: Floats, teacher: Floats, lengths: list[int], heads: int) -> float:
    """Text by text, each cut to its own length; head by head, token by token."""
    found = []
    for text, length in enumerate(lengths):
        for head in range(heads):
            ours, theirs = (
                relation(np.split(vectors[text, :length], heads, axis=1)[head])
                for vectors in (student, teacher)
            )
            found += [(b * np.log(b / a)).sum() for a, b in zip(ours, theirs, strict=True)]
    return float(np.mean(found))


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 99),
    st.data(),
)
def test_it_is_the_divergence_of_the_relations(
    batch: int, tokens: int, heads: int, mine: int, its: int, seed: int, data: st.DataObject
) -> None:
    lengths = data.draw(st.lists(st.integers(1, tokens), min_size=batch, max_size=batch))
    student, teacher = drawn(seed, batch, tokens, heads * mine), drawn(seed + 1, batch, tokens, heads * its)
    mask = torch.tensor(mask_of(lengths, tokens))
    found = relation_loss(torch.tensor(student), torch.tensor(teacher), mask, heads)
    assert float(found) == pytest.approx(reference(student, teacher, lengths, heads), abs=1e-12, rel=1e-9)


def test_agreement_costs_nothing() -> None:
    vectors = torch.tensor(drawn(0, 2, 4, 6))
    assert float(relation_loss(vectors, vectors, torch.tensor(mask_of([4, 2], 4)), 3)) == 0.0


def test_a_rotation_of_the_vectors_is_no_difference() -> None:
    """Relations are inner products: what a head calls its dimensions does not matter."""
    vectors = torch.tensor(drawn(1, 2, 4, 6))
    turn = torch.linalg.qr(torch.tensor(drawn(2, 6, 6)))[0]
    loss = relation_loss(vectors @ turn, vectors, torch.ones(2, 4), 1)
    assert float(loss) == pytest.approx(0.0, abs=1e-12)


def test_padding_neither_counts_nor_learns() -> None:
    mask = torch.tensor(mask_of([4, 2], 4))
    student = torch.tensor(drawn(3, 2, 4, 6), requires_grad=True)
    teacher = torch.tensor(drawn(4, 2, 4, 6))
    loss = relation_loss(student, teacher, mask, 2)
    loss.backward()
    assert student.grad is not None
    assert bool(torch.isfinite(student.grad).all())
    assert not bool(student.grad[1, 2:].any())
    assert bool(student.grad[1, :2].any())
    changed = teacher.clone()
    changed[1, 2:] = 1e3
    assert torch.equal(relation_loss(student, changed, mask, 2), loss)


def test_the_gradient_is_that_of_the_formula() -> None:
    mask, teacher = torch.tensor(mask_of([3, 2], 3)), torch.tensor(drawn(5, 2, 3, 8))
    student = torch.tensor(drawn(6, 2, 3, 4), requires_grad=True)
    assert torch.autograd.gradcheck(lambda vectors: relation_loss(vectors, teacher, mask, 2), [student])


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = (torch.tensor(drawn(seed, 1, 3, 4), requires_grad=True) for seed in (7, 8))
    relation_loss(student, teacher, torch.ones(1, 3), 2).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_short_floats_are_computed_in_fp32() -> None:
    student, teacher = torch.randn(1, 3, 4).bfloat16(), torch.randn(1, 3, 4).half()
    assert relation_loss(student, teacher, torch.ones(1, 3), 2).dtype == torch.float32


@pytest.mark.parametrize(
    ("student", "teacher", "most", "heads"),
    [
        (384, 384, 12, 12),
        (96, 384, 12, 12),  # 3 of 12 heads, in pieces of 8 beside pieces of 32
        (160, 384, 12, 8),  # 5 heads: 12 does not divide 160
        (32, 384, 12, 8),
        (7, 384, 12, 1),  # nothing but 1 divides both
        (384, 384, 1, 1),
    ],
)
def test_relation_heads_divide_both_widths(student: int, teacher: int, most: int, heads: int) -> None:
    assert relation_heads(student, teacher, most) == heads


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 16))
def test_there_are_always_relation_heads(student: int, teacher: int, most: int) -> None:
    found = relation_heads(student, teacher, most)
    assert 1 <= found <= most
    assert student % found == teacher % found == 0
    assert all(student % more or teacher % more for more in range(found + 1, most + 1))


def test_what_cannot_be_compared() -> None:
    vectors, mask = torch.zeros(1, 2, 6), torch.ones(1, 2)
    with pytest.raises(ValueError, match="do not divide"):
        relation_loss(vectors, vectors, mask, 4)
    with pytest.raises(ValueError, match="do not divide"):
        relation_loss(vectors, vectors, mask, 0)
    with pytest.raises(ValueError, match="not of the same"):
        relation_loss(vectors, torch.zeros(1, 3, 6), mask, 2)
    with pytest.raises(ValueError, match="no token"):
        relation_loss(vectors, vectors, torch.zeros(1, 2), 2)
    with pytest.raises(ValueError, match="below 1"):
        relation_heads(0, 6, 2)
