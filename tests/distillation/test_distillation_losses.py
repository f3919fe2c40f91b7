"""Losses of distillation against NumPy written from the formulas, hand-computed numbers and gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from edgeprune.distillation.losses import (
    certainty,
    confidence_weighted,
    logit_distillation,
    mixed,
    soft_cross_entropy,
)

pytestmark = pytest.mark.thorough

Array = np.ndarray
LOGITS = st.floats(-30, 30, width=32)
TEMPERATURES = st.floats(0.5, 8.0)


def softmax(logits: Array) -> Array:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def divergence(p: Array, q: Array) -> Array:
    """KL(p || q) = Σ p·ln(p/q) of each row."""
    return (p * np.log(p / q)).sum(axis=1)


def cross_entropy(logits: Array, labels: Array) -> Array:
    return -np.log(softmax(logits)[np.arange(len(labels)), labels])


@st.composite
def batches(draw: st.DrawFn, least_classes: int = 2) -> tuple[Array, Array, Array]:
    """Student logits, labels, teacher logits, in double precision."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(least_classes, 5)))
    student, teacher = (draw(hnp.arrays(np.float64, shape, elements=LOGITS)) for _ in range(2))
    labels = draw(hnp.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    return student, labels, teacher


@given(batches(), TEMPERATURES)
def test_logit_distillation_is_the_divergence_from_the_teacher(
    batch: tuple[Array, Array, Array], temperature: float
) -> None:
    student, _, teacher = batch
    expected = (
        temperature**2 * divergence(softmax(teacher / temperature), softmax(student / temperature)).mean()
    )
    found = logit_distillation(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-8, abs=1e-10)


@given(batches(), TEMPERATURES)
def test_soft_cross_entropy_exceeds_the_divergence_by_the_entropy_of_the_teacher(
    batch: tuple[Array, Array, Array], temperature: float
) -> None:
    student, _, teacher = batch
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    found = soft_cross_entropy(torch.from_numpy(student), torch.from_numpy(teacher), temperature).numpy()
    assert found.shape == (len(student),)
    assert found == pytest.approx(-(temperature**2) * (p * np.log(q)).sum(axis=1), rel=1e-8, abs=1e-10)
    entropy = -(p * np.log(p)).sum(axis=1)
    assert found == pytest.approx(temperature**2 * (divergence(p, q) + entropy), rel=1e-8, abs=1e-8)


@given(batches(), TEMPERATURES, st.floats(0, 1))
def test_mixed_weighs_teacher_and_labels(
    batch: tuple[Array, Array, Array], temperature: float, weight: float
) -> None:
    student, labels, teacher = batch
    soft = temperature**2 * divergence(softmax(teacher / temperature), softmax(student / temperature)).mean()
    expected = weight * soft + (1 - weight) * cross_entropy(student, labels).mean()
    found = mixed(*map(torch.from_numpy, batch), temperature=temperature, weight=weight)
    assert found.item() == pytest.approx(expected, rel=1e-8, abs=1e-10)


@given(batches(), TEMPERATURES)
def test_confidence_weighted_weighs_each_example_by_the_student(
    batch: tuple[Array, Array, Array], temperature: float
) -> None:
    student, labels, teacher = batch
    p = softmax(student)
    alpha = 1 + (p * np.log(p)).sum(axis=1) / np.log(student.shape[1])
    soft = -(temperature**2) * (softmax(teacher / temperature) * np.log(softmax(student / temperature))).sum(
        1
    )
    expected = (alpha * soft + (1 - alpha) * cross_entropy(student, labels)).mean()
    assert certainty(torch.from_numpy(student)).numpy() == pytest.approx(alpha, abs=1e-9)
    found = confidence_weighted(*map(torch.from_numpy, batch), temperature=temperature)
    assert found.item() == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_by_hand() -> None:
    # At T = 2 the teacher's odds are 3 : 1 and the student's 1 : 1; at T = 1 the student says 1/2 too.
    teacher = torch.tensor([[2 * log(3.0), 0.0]])
    student = torch.tensor([[0.0, 0.0]])
    label = torch.tensor([0])
    divergence_at_two = 0.75 * log(1.5) + 0.25 * log(0.5)
    assert logit_distillation(student, teacher, 2.0).item() == pytest.approx(4 * divergence_at_two, rel=1e-6)
    assert soft_cross_entropy(student, teacher, 2.0).tolist() == pytest.approx([4 * log(2)], rel=1e-6)
    assert mixed(student, label, teacher, temperature=2.0, weight=0.5).item() == pytest.approx(
        0.5 * 4 * divergence_at_two + 0.5 * log(2), rel=1e-6
    )
    # A student that is not sure at all learns from the label alone.
    assert confidence_weighted(student, label, teacher, temperature=2.0).item() == pytest.approx(
        log(2), rel=1e-6
    )


def test_certainty_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [log(3.0), 0.0], [1e4, 0.0]])
    entropy = 0.75 * log(4 / 3) + 0.25 * log(4)
    assert certainty(logits).tolist() == pytest.approx([0.0, 1 - entropy / log(2), 1.0], abs=1e-6)
    assert certainty(torch.tensor([[5.0, 5.0, 5.0]])).tolist() == pytest.approx([0.0], abs=1e-6)


def test_confidence_weighted_by_hand() -> None:
    # Odds 3 : 1 at T = 1; the label is the less likely class, the teacher is undecided at any temperature.
    student = torch.tensor([[log(3.0), 0.0]])
    teacher = torch.zeros(1, 2)
    alpha = 1 - (0.75 * log(4 / 3) + 0.25 * log(4)) / log(2)
    root = 3**0.5  # odds at T = 2
    soft = -4 * (0.5 * log(root / (1 + root)) + 0.5 * log(1 / (1 + root)))
    expected = alpha * soft + (1 - alpha) * log(4)
    found = confidence_weighted(student, torch.tensor([1]), teacher, temperature=2.0)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_the_divergence_is_taken_under_the_teacher() -> None:
    # A student that gives hardly anything to what the teacher deems possible is punished; not the reverse.
    spread = torch.zeros(1, 2)
    narrow = torch.tensor([[20.0, 0.0]])
    missing = logit_distillation(narrow, spread, 1.0).item()
    wasted = logit_distillation(spread, narrow, 1.0).item()
    assert missing == pytest.approx(10 - log(2), abs=1e-4)  # ½·ln(½) + ½·(ln(½) + 20)
    assert wasted == pytest.approx(log(2), abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_the_gradient_of_the_student_is_t_times_the_difference(temperature: float) -> None:
    """∂(T²·KL)/∂z = T·(q - p) / B, so with T² it tends to (z_s - z_t)/C instead of vanishing with 1/T²."""
    generator = np.random.default_rng(3)
    student, teacher = generator.normal(size=(2, 4, 3))
    difference = softmax(student / temperature) - softmax(teacher / temperature)
    for loss in (
        partial(logit_distillation, temperature=temperature),
        lambda s, t: soft_cross_entropy(s, t, temperature).mean(),
    ):
        logits = torch.from_numpy(student).requires_grad_()
        loss(logits, torch.from_numpy(teacher)).backward()
        assert logits.grad is not None
        assert logits.grad.numpy() == pytest.approx(temperature * difference / 4, abs=1e-12)


def test_the_gradient_does_not_vanish_with_temperature() -> None:
    student, teacher = (
        torch.tensor([[1.0, -1.0]], dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
    )
    logits = student.clone().requires_grad_()
    logit_distillation(logits, teacher, 1000.0).backward()
    assert logits.grad is not None
    assert logits.grad.tolist()[0] == pytest.approx([0.5, -0.5], abs=1e-3)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "logit": lambda s, _, t: logit_distillation(s, t, 2.0),
    "soft": lambda s, _, t: soft_cross_entropy(s, t, 2.0).mean(),
    "mixed": partial(mixed, temperature=2.0, weight=0.5),
    "confidence": partial(confidence_weighted, temperature=2.0),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@every_loss
def test_no_gradient_reaches_the_teacher(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(4, 3, generator=generator).requires_grad_() for _ in range(2))
    loss(student, torch.tensor([0, 1, 2, 0]), teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


def test_alpha_counts_as_a_constant() -> None:
    """Of α·f + (1-α)·g the student's gradient is α·f' + (1-α)·g': nothing pulls α itself."""
    generator = np.random.default_rng(5)
    student, teacher = generator.normal(size=(2, 4, 3))
    labels = np.array([0, 2, 1, 1])
    alpha = (1 + (softmax(student) * np.log(softmax(student))).sum(1) / np.log(3))[:, None]
    to_teacher = 2.0 * (softmax(student / 2) - softmax(teacher / 2))
    to_labels = softmax(student) - np.eye(3)[labels]
    logits = torch.from_numpy(student).requires_grad_()
    confidence_weighted(
        logits, torch.from_numpy(labels), torch.from_numpy(teacher), temperature=2.0
    ).backward()
    assert logits.grad is not None
    assert logits.grad.numpy() == pytest.approx((alpha * to_teacher + (1 - alpha) * to_labels) / 4, abs=1e-12)
    assert not certainty(logits).requires_grad


@every_loss
@given(st.data())
def test_extreme_logits_give_finite_values_and_gradients(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], data: st.DataObject
) -> None:
    extremes = st.sampled_from([-1e4, -1e2, 0.0, 1e-30, 1e2, 1e4])
    student, teacher = (
        torch.from_numpy(data.draw(hnp.arrays(np.float32, (2, 3), elements=extremes))) for _ in range(2)
    )
    student.requires_grad_()
    value = loss(student, torch.tensor([0, 2]), teacher)
    value.backward()
    assert torch.isfinite(value)
    assert value >= -1e-3
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_extreme_logits_by_hand() -> None:
    student, teacher = torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]])
    # p = (0, 1) and ln q of that class is -20000/T: T²·20000/T = 40000 at T = 2.
    assert logit_distillation(student, teacher, 2.0).item() == pytest.approx(40000)
    assert confidence_weighted(student, torch.tensor([0]), teacher, temperature=2.0).item() == pytest.approx(
        40000
    )


@given(batches(), st.floats(-100, 100), TEMPERATURES)
def test_agreement_up_to_a_constant_costs_nothing(
    batch: tuple[Array, Array, Array], shift: float, temperature: float
) -> None:
    student = torch.from_numpy(batch[0])
    assert logit_distillation(student, student + shift, temperature).item() == pytest.approx(0, abs=1e-8)


@every_loss
def test_one_class_has_nothing_to_learn(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    student = torch.tensor([[3.0], [-1e4]], requires_grad=True)
    value = loss(student, torch.tensor([0, 0]), torch.tensor([[1.0], [2.0]]))
    value.backward()
    assert value.item() == 0.0
    assert student.grad is not None
    assert student.grad.tolist() == [[0.0], [0.0]]
    assert certainty(student).tolist() == [1.0, 1.0]
    assert not certainty(student).requires_grad


@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-1e4, 1e4, width=32)
    )
)
def test_certainty_is_a_share(logits: Array) -> None:
    found = certainty(torch.from_numpy(logits))
    assert found.shape == (len(logits),)
    assert bool(((found >= 0) & (found <= 1)).all())


@given(batches())
def test_a_uniform_answer_is_not_certain_at_all(batch: tuple[Array, Array, Array]) -> None:
    level = torch.from_numpy(batch[0][:, :1].repeat(batch[0].shape[1], axis=1)).float()
    assert certainty(level).tolist() == pytest.approx([0.0] * len(level), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_loss
def test_short_logits_are_counted_in_full_precision(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(4, 3, generator=generator).to(dtype) for _ in range(2))
    labels = torch.tensor([0, 1, 2, 0])
    found = loss(student, labels, teacher)
    assert found.dtype == torch.float32
    assert found == loss(student.float(), labels, teacher.float())


def test_what_cannot_be_compared() -> None:
    pair = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"\[2, 3\] and teacher logits \[2, 2\]"):
        logit_distillation(pair, torch.zeros(2, 2), 2.0)
    with pytest.raises(ValueError, match=r"student logits \[3\]"):
        soft_cross_entropy(pair[0], pair[0], 2.0)
    with pytest.raises(ValueError, match=r"temperature is 0\.0"):
        logit_distillation(pair, pair, 0.0)
    with pytest.raises(ValueError, match=r"weight is 1\.5"):
        mixed(pair, torch.zeros(2, dtype=torch.long), pair, temperature=2.0, weight=1.5)


def test_the_mix_has_its_two_ends() -> None:
    student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    label = torch.tensor([1])
    labels_alone = mixed(student, label, teacher, temperature=4.0, weight=0.0).item()
    assert labels_alone == pytest.approx(log(1 + exp(1)), rel=1e-6)
    teacher_alone = mixed(student, label, teacher, temperature=4.0, weight=1.0)
    assert teacher_alone == logit_distillation(student, teacher, 4.0)
