"""Losses on hidden states: how much of what a teacher's layer says a student's layer does not.

Shapes: B examples, T tokens, H hidden width; states [B, T, H], mask [B, T] with 1 for tokens and 0 for
padding. Everything is computed in FP32 at least. No gradient reaches the teacher.

TinyBERT (Jiao et al. 2020, section 3.1) and CoFi (Xia, Zhong, Chen 2022, section 3.2) take the plain mean
squared error. How large that is depends on the encoder: the states behind a LayerNorm are as large as its
learned gain makes them. Divided by the teacher's own variance it is a share, and one weight fits all
encoders and layers:

    loss = Σ (student - teacher)² / Σ (teacher - mean of teacher over tokens)²     over tokens and widths

which is 0 where both agree and 1 for a student that knows no more than the mean state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["hidden_loss", "projection"]

# Below this variance a batch of the teacher's states is taken as constant: nothing is divided by 0.
_LEAST_VARIANCE = 1e-6


def hidden_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """The teacher's variance that the student misses, as a share of it.

    Args:
        student: States [B, T, H], projected to the teacher's width where its own is another.
        teacher: States [B, T, H]; taken as constant.
        mask: [B, T], 1 for tokens and 0 for padding.

    Returns:
        Zero-dimensional, at least 0.

    Raises:
        ValueError: The shapes do not fit, or there is no token.
    """
    if student.shape != teacher.shape or student.dim() != 3 or mask.shape != student.shape[:2]:
        raise ValueError(
            f"student states {list(student.shape)}, teacher states {list(teacher.shape)} and mask "
            f"{list(mask.shape)} are not of one [examples, tokens, width]"
        )
    kept = mask.to(torch.bool)
    tokens = int(kept.sum())
    if not tokens:
        raise ValueError("there is no token in the batch, only padding")
    ours, theirs = _full(student), _full(teacher.detach())
    weight = kept.unsqueeze(-1).to(theirs.dtype)
    centre = (theirs * weight).sum(dim=(0, 1)) / tokens
    spread = ((theirs - centre).square().sum(dim=-1) * weight[..., 0]).sum()
    missed = ((ours - theirs).square().sum(dim=-1) * weight[..., 0]).sum()
    return missed / spread.clamp_min(_LEAST_VARIANCE * tokens * theirs.shape[-1])


def projection(
    student_width: int, teacher_width: int, *, kept: Sequence[int] | None = None, seed: int = 0
) -> nn.Linear:
    """A map from a student's states to the teacher's width, without bias, to be learned beside the student.

    Args:
        student_width: Of the student's states.
        teacher_width: Of the teacher's.
        kept: Which of the teacher's dimensions the student's are, where it was cut from the teacher: each
            begins as itself. None: a random matrix with orthonormal rows or columns, so that no direction
            is stretched.
        seed: Of that matrix.

    Raises:
        ValueError: `kept` does not name one of the teacher's dimensions for each of the student's.
    """
    layer = nn.Linear(student_width, teacher_width, bias=False)
    with torch.no_grad():
        if kept is None:
            nn.init.orthogonal_(layer.weight, generator=torch.Generator().manual_seed(seed))
        else:
            own = set(kept)
            if (
                len(own) != student_width
                or len(kept) != student_width
                or not own <= set(range(teacher_width))
            ):
                raise ValueError(
                    f"{len(own)} different kept dimensions are not {student_width} of {teacher_width}"
                )
            layer.weight.zero_()
            layer.weight[list(kept), range(student_width)] = 1.0
    return layer


def _full(states: Tensor) -> Tensor:
    """FP32 where autocast or a cache made them shorter; FP64 stays FP64."""
    return states.to(torch.promote_types(states.dtype, torch.float32))
