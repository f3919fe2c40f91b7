"""What pulls scores down, so that those which the task needs stand out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from edgeprune.masking.binarizing import HIGH, LOW, TEMPERATURE

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["expected_l0", "mean_sigmoid"]


def mean_sigmoid(scores: Sequence[Tensor]) -> Tensor:
    """R = mean over matrices of mean σ(S) (SMP's and movement pruning's published code).

    A mean, not the sum that SMP's equation 6 writes: λ = 400 presumes it.

    Args:
        scores: One tensor per matrix.

    Returns:
        Zero-dimensional, differentiable.
    """
    return torch.stack([torch.sigmoid(item).mean() for item in scores]).mean()


def expected_l0(
    log_alphas: Sequence[Tensor],
    *,
    temperature: float = TEMPERATURE,
    low: float = LOW,
    high: float = HIGH,
) -> Tensor:
    """Expected share of open hard concrete gates, mean over matrices (Louizos et al. 2018, equation 12).

    P(gate > 0) = σ(log α - b · log(-low / high)).
    """
    shift = temperature * math.log(-low / high)
    return mean_sigmoid([item - shift for item in log_alphas])
