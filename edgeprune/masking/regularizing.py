"""What pulls scores down, so that those which the task needs stand out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from edgeprune.masking.binarizing import HIGH, LOW, TEMPERATURE

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["expected_l0", "mean_sigmoid"]


class _MeanSigmoid(torch.autograd.Function):  # type: ignore[misc]
    """mean σ(S - shift) of one matrix; the derivative is made in the forward pass, in one buffer."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, shift: float) -> Tensor:
        sigma = torch.sigmoid(scores - shift) if shift else torch.sigmoid(scores)
        mean = sigma.mean()
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(sigma.mul_(1.0 - sigma).div_(scores.numel()))
        return mean

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (derivative,) = ctx.saved_tensors
        return derivative * gradient, None


def mean_sigmoid(scores: Sequence[Tensor]) -> Tensor:
    """R = mean over matrices of mean σ(S) (SMP's and movement pruning's published code).

    A mean, not the sum that SMP's equation 6 writes: λ = 400 presumes it.

    Args:
        scores: One tensor per matrix.

    Returns:
        Zero-dimensional, differentiable.
    """
    return torch.stack([_MeanSigmoid.apply(item, 0.0) for item in scores]).mean()


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
    return torch.stack([_MeanSigmoid.apply(item, shift) for item in log_alphas]).mean()
