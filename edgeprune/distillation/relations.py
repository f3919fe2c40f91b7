"""Losses on self-attention relations: which tokens resemble which, by their queries, keys or values.

Shapes: B examples, T tokens, W width of the vectors of all heads together (of student and teacher each its
own), R relation heads; vectors [B, T, W], mask [B, T] with 1 for tokens and 0 for padding. Everything is
computed in FP32 at least. No gradient reaches the teacher.

MiniLMv2 (Wang et al. 2021, section 3.1) puts the vectors of all attention heads in a row, cuts the row into R
relation heads of W / R and compares

    softmax(A Aᵀ / sqrt(W / R))        A [T, W / R], softmax over the tokens

of student and teacher by KL divergence. Since R has nothing to do with the number of attention heads, the
student may have fewer of them, or narrower ones.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["relation_heads", "relation_loss"]


def relation_heads(student_width: int, teacher_width: int, most: int) -> int:
    """How many relation heads two widths allow: the largest number up to `most` that divides both.

    Args:
        student_width: Of the student's vectors, all heads together; at least 1.
        teacher_width: Of the teacher's; at least 1.
        most: At least 1.

    Returns:
        1 at least: whatever the widths, one relation head can be compared.

    Raises:
        ValueError: A number is below 1.
    """
    if min(student_width, teacher_width, most) < 1:
        raise ValueError(f"widths {student_width} and {teacher_width}, at most {most} heads: below 1")
    common = math.gcd(student_width, teacher_width)
    return next(count for count in range(min(most, common), 0, -1) if common % count == 0)


def relation_loss(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
    """KL(teacher || student) of the relations, mean over relation heads and tokens.

    Args:
        student: Queries, keys or values [B, T, W of the student].
        teacher: The same of the teacher [B, T, W of the teacher]; taken as constant.
        mask: [B, T], 1 for tokens and 0 for padding. Padding is in no relation, on either side.
        heads: R; divides both widths.

    Returns:
        Zero-dimensional, in nats.

    Raises:
        ValueError: The shapes do not fit, R does not divide the widths, or there is no token.
    """
    if student.dim() != 3 or not student.shape[:2] == teacher.shape[:2] == mask.shape:
        raise ValueError(
            f"student vectors {list(student.shape)}, teacher vectors {list(teacher.shape)} and mask "
            f"{list(mask.shape)} are not of the same [examples, tokens]"
        )
    if heads < 1 or student.shape[-1] % heads or teacher.shape[-1] % heads:
        raise ValueError(
            f"{heads} relation heads do not divide widths {student.shape[-1]} and {teacher.shape[-1]}"
        )
    kept = mask.to(torch.bool)
    tokens = int(kept.sum())
    if not tokens:
        raise ValueError("there is no token in the batch, only padding")
    padding = ~kept[:, None, None, :]
    theirs, ours = (_log_relations(item, padding, heads) for item in (teacher.detach(), student))
    # A relation to padding has log probability -inf on both sides, and their difference would be NaN.
    difference = (theirs - ours).masked_fill(padding, 0.0)
    divergence = (theirs.exp() * difference).sum(dim=-1)  # [B, R, T]
    return (divergence.mean(dim=1) * kept).sum() / tokens


def _log_relations(vectors: Tensor, padding: Tensor, heads: int) -> Tensor:
    """[B, R, T, T], log probabilities over the last dimension; -inf where that is padding."""
    full = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    split = full.unflatten(-1, (heads, -1)).transpose(1, 2)  # [B, R, T, W / R]
    scores = split @ split.transpose(-1, -2) / math.sqrt(split.shape[-1])
    return functional.log_softmax(scores.masked_fill(padding, float("-inf")), dim=-1)
