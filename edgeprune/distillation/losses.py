"""Losses on a student's logits: what the labels say, and what a teacher says.

Shapes: B examples, C classes; logits [B, C], labels [B]. Everything is computed in FP32 at least, also
where autocast made the logits. No gradient reaches the teacher.

Why T²: softened by a temperature T, both distributions flatten, and the gradient with respect to the
student's logits shrinks as 1/T². The factor keeps it of the labels' size, so that the weight between
teacher and labels means the same at every temperature (Hinton, Vinyals, Dean 2015, section 2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["certainty", "confidence_weighted", "logit_distillation", "mixed", "soft_cross_entropy"]


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · cross entropy of the student under the softened teacher, of each example.

    Differs from T² · KL(teacher || student) by T² · H(teacher), which the student cannot change: both have
    the same gradient, but only the KL is 0 where the two agree.

    Args:
        student: Logits [B, C].
        teacher: Logits [B, C]; taken as constant.
        temperature: T > 0; both logits are divided by it.

    Returns:
        [B], in nats.

    Raises:
        ValueError: The shapes differ or are not [B, C], or the temperature is not positive.
    """
    expected, log_student = _softened(student, teacher, temperature)
    return -(expected.exp() * log_student).sum(dim=-1) * temperature**2


def logit_distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL(teacher || student) of the softened distributions, mean over the batch.

    This direction is that of SMP's and movement pruning's published code (T = 2); SMP's paper writes the
    other one.

    Args:
        student: Logits [B, C].
        teacher: Logits [B, C]; taken as constant.
        temperature: T > 0; both logits are divided by it.

    Returns:
        Zero-dimensional, in nats; 0 where both agree up to a constant per example.

    Raises:
        ValueError: The shapes differ or are not [B, C], or the temperature is not positive.
    """
    expected, log_student = _softened(student, teacher, temperature)
    # From logarithms, so that a probability that underflows to 0 counts 0 and not 0 · -inf.
    return (expected.exp() * (expected - log_student)).sum(dim=-1).mean() * temperature**2


def mixed(
    student_logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, temperature: float, weight: float
) -> Tensor:
    """Teacher and labels: weight · T² · KL(teacher || student) + (1 - weight) · CE(labels, student).

    SMP's and movement pruning's published setting is T = 2 and weight = 0.5.

    Args:
        student_logits: [B, C].
        labels: Class ids [B].
        teacher_logits: [B, C]; taken as constant.
        temperature: T > 0, of the first term alone.
        weight: Of the teacher, 0..1.

    Returns:
        Zero-dimensional, mean over the batch.

    Raises:
        ValueError: The shapes do not fit, the temperature is not positive or the weight is outside 0..1.
    """
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"the teacher's weight is {weight}, outside 0..1")
    from_teacher = logit_distillation(student_logits, teacher_logits, temperature)
    from_labels = functional.cross_entropy(_full(student_logits), labels)
    return weight * from_teacher + (1.0 - weight) * from_labels


def certainty(logits: Tensor) -> Tensor:
    """How sure a model is of each example: 1 - H / ln C, H being the entropy of its distribution.

    Args:
        logits: [B, C], not softened.

    Returns:
        [B] in 0..1: 0 for a uniform distribution, 1 for a single class. Carries no gradient.
    """
    classes = logits.shape[-1]
    if classes == 1:  # no entropy to have, and ln 1 = 0 to divide it by
        return torch.ones_like(_full(logits)[..., 0]).detach()
    log_probability = functional.log_softmax(_full(logits.detach()), dim=-1)
    entropy = -(log_probability.exp() * log_probability).sum(dim=-1)
    return (1.0 - entropy / math.log(classes)).clamp(0.0, 1.0)


def confidence_weighted(
    student_logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, temperature: float
) -> Tensor:
    """Per example α · T² · soft CE(teacher, student) + (1 - α) · CE(labels, student), then the mean.

    α is the student's own `certainty`: the surer it is of an example, the more its teacher decides and
    the less the label (PINS, published code, run_glue.py; T = 2 there). No gradient passes through α.

    Args:
        student_logits: [B, C].
        labels: Class ids [B].
        teacher_logits: [B, C]; taken as constant.
        temperature: T > 0, of the teacher's term alone; α is of the distribution as it is.

    Returns:
        Zero-dimensional, mean over the batch.

    Raises:
        ValueError: The shapes do not fit or the temperature is not positive.
    """
    from_teacher = soft_cross_entropy(student_logits, teacher_logits, temperature)
    from_labels = functional.cross_entropy(_full(student_logits), labels, reduction="none")
    alpha = certainty(student_logits)
    return (alpha * from_teacher + (1.0 - alpha) * from_labels).mean()


def _softened(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log probabilities [B, C] of teacher (constant) and student at a temperature."""
    if student.shape != teacher.shape or student.dim() != 2:
        raise ValueError(
            f"student logits {list(student.shape)} and teacher logits {list(teacher.shape)} "
            "are not one [examples, classes]"
        )
    if not temperature > 0.0:
        raise ValueError(f"the temperature is {temperature}, not above 0")
    return (
        functional.log_softmax(_full(teacher.detach()) / temperature, dim=-1),
        functional.log_softmax(_full(student) / temperature, dim=-1),
    )


def _full(logits: Tensor) -> Tensor:
    """FP32 where autocast made them shorter; FP64 stays FP64."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
