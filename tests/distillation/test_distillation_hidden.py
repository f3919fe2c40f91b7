"""The hidden-state loss against NumPy, its padding and its gradient; projections."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.distillation.hidden import hidden_loss, projection

Floats = npt.NDArray[np.float64]


def drawn(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).normal(size=shape)


def mask_of(lengths: list[int], tokens: int) -> npt.NDArray[np.int64]:
    return (np.arange(tokens) < np.array(lengths)[:, None]).astype(np.int64)


def reference(student: Floats, teacher: Floats, mask: npt.NDArray[np.int64]) -> float:
    """1 - R², token by token."""
    ours = [student[b, t] for b, t in zip(*np.nonzero(mask), strict=True)]
    theirs = [teacher[b, t] for b, t in zip(*np.nonzero(mask), strict=True)]
    mean = np.mean(theirs, axis=0)
    missed = sum(float(((a - b) ** 2).sum()) for a, b in zip(ours, theirs, strict=True))
    return missed / sum(float(((b - mean) ** 2).sum()) for b in theirs)


SHAPES = st.tuples(st.integers(1, 4), st.integers(2, 6), st.integers(1, 8))


@settings(deadline=None, max_examples=50)
@given(SHAPES, st.integers(0, 99), st.data())
def test_it_is_the_share_of_the_variance_that_is_missed(
    shape: tuple[int, int, int], seed: int, data: st.DataObject
) -> None:
    batch, tokens, _ = shape
    lengths = data.draw(st.lists(st.integers(1, tokens), min_size=batch, max_size=batch))
    lengths[0] = max(2, lengths[0])  # a single token has no variance
    mask = mask_of(lengths, tokens)
    student, teacher = drawn(seed, *shape), drawn(seed + 1, *shape)
    found = hidden_loss(torch.tensor(student), torch.tensor(teacher), torch.tensor(mask))
    assert float(found) == pytest.approx(reference(student, teacher, mask), rel=1e-9)


def test_agreement_costs_nothing_and_knowing_the_mean_costs_one() -> None:
    teacher = torch.tensor(drawn(0, 3, 5, 8)) * 7.0 + 3.0
    mask = torch.tensor(mask_of([5, 2, 4], 5))
    mean = teacher[mask.bool()].mean(dim=0).expand_as(teacher)
    assert float(hidden_loss(teacher, teacher, mask)) == 0.0
    assert float(hidden_loss(mean, teacher, mask)) == pytest.approx(1.0)


def test_scale_and_offset_of_the_encoder_do_not_matter() -> None:
    student, teacher = torch.tensor(drawn(1, 2, 4, 6)), torch.tensor(drawn(2, 2, 4, 6))
    mask = torch.ones(2, 4, dtype=torch.int64)
    plain = float(hidden_loss(student, teacher, mask))
    assert float(hidden_loss(40 * student + 9, 40 * teacher + 9, mask)) == pytest.approx(plain)


def test_padding_neither_counts_nor_learns() -> None:
    mask = torch.tensor(mask_of([4, 2], 4))
    student = torch.tensor(drawn(3, 2, 4, 6), requires_grad=True)
    teacher = torch.tensor(drawn(4, 2, 4, 6))
    loss = hidden_loss(student, teacher, mask)
    loss.backward()
    assert student.grad is not None
    assert not bool(student.grad[1, 2:].any())
    assert bool(student.grad[1, :2].all())
    changed = teacher.clone()
    changed[1, 2:] = 1e3
    assert torch.equal(hidden_loss(student, changed, mask), loss)


def test_the_gradient_is_that_of_the_formula() -> None:
    mask, teacher = torch.tensor(mask_of([3, 1], 3)), torch.tensor(drawn(5, 2, 3, 4))
    student = torch.tensor(drawn(6, 2, 3, 4), requires_grad=True)
    assert torch.autograd.gradcheck(lambda states: hidden_loss(states, teacher, mask), [student])


def test_no_gradient_reaches_the_teacher() -> None:
    student = torch.tensor(drawn(7, 1, 3, 4), requires_grad=True)
    teacher = torch.tensor(drawn(8, 1, 3, 4), requires_grad=True)
    hidden_loss(student, teacher, torch.ones(1, 3)).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_short_floats_are_computed_in_fp32() -> None:
    student, teacher = (torch.tensor(drawn(seed, 2, 3, 4), dtype=torch.float32) for seed in (9, 10))
    mask = torch.ones(2, 3)
    found = hidden_loss(student.bfloat16(), teacher.half(), mask)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(hidden_loss(student, teacher, mask)), rel=0.02)


def test_a_teacher_that_does_not_vary_gives_a_finite_loss() -> None:
    teacher = torch.ones(1, 3, 4)
    assert bool(torch.isfinite(hidden_loss(torch.zeros(1, 3, 4), teacher, torch.ones(1, 3))))
    assert float(hidden_loss(teacher, teacher, torch.ones(1, 3))) == 0.0


@pytest.mark.parametrize(
    ("student", "teacher", "mask"),
    [((2, 3, 4), (2, 3, 5), (2, 3)), ((2, 3, 4), (2, 3, 4), (2, 4)), ((2, 3), (2, 3), (2, 3))],
)
def test_shapes_that_do_not_fit(
    student: tuple[int, ...], teacher: tuple[int, ...], mask: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="not of one"):
        hidden_loss(torch.zeros(student), torch.zeros(teacher), torch.ones(mask))


def test_nothing_but_padding() -> None:
    with pytest.raises(ValueError, match="no token"):
        hidden_loss(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.zeros(1, 2))


@pytest.mark.parametrize(("student", "teacher"), [(4, 7), (7, 4), (5, 5)])
def test_a_random_projection_stretches_nothing(student: int, teacher: int) -> None:
    layer = projection(student, teacher, seed=3)
    assert layer.bias is None
    weight = layer.weight.detach()
    assert weight.shape == (teacher, student)
    small = weight.T @ weight if student <= teacher else weight @ weight.T
    torch.testing.assert_close(small, torch.eye(min(student, teacher)), atol=1e-5, rtol=0)
    assert torch.equal(weight, projection(student, teacher, seed=3).weight)
    assert not torch.equal(weight, projection(student, teacher, seed=4).weight)


def test_a_cut_student_begins_at_its_own_dimensions() -> None:
    layer = projection(3, 5, kept=(0, 2, 4))
    assert layer(torch.tensor([7.0, 8.0, 9.0])).tolist() == [7.0, 0.0, 8.0, 0.0, 9.0]


@pytest.mark.parametrize("kept", [(0, 1), (0, 1, 1), (0, 1, 5), (0, 1, 2, 3)])
def test_kept_dimensions_that_cannot_be(kept: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="kept dimensions"):
        projection(3, 5, kept=kept)
