"""Binarizers: from real scores to a mask of kept (True) and pruned (False) weights.

Every mask here is a function of the scores alone, so that what is saved can be made again. Gradients go
through `straight_through`: the mask counts as if it were the scores themselves, so a pruned weight keeps
learning and may come back (Sanh et al. 2020, Movement Pruning, section 3; SMP, equation 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "gate",
    "group_mask",
    "hard_concrete_gate",
    "hard_concrete_sample",
    "kept_count",
    "sigmoid_threshold",
    "straight_through",
    "thresholded",
    "top_mask",
    "top_threshold",
]

# Limits of the stretched interval and temperature of the hard concrete distribution (Louizos et al. 2018).
LOW, HIGH, TEMPERATURE = -0.1, 1.1, 2.0 / 3.0


def kept_count(numel: int, density: float) -> int:
    """How many of `numel` weights a density keeps: ``floor(density · numel)``, as the papers' code has it.

    A product that is a whole number but for rounding (0.29 · 100 = 28.999…) counts as that number.
    """
    return min(max(int(density * numel + 1e-9 + 1e-12 * numel), 0), numel)


def top_mask(scores: Tensor, density: float) -> Tensor:
    """Top-v: the largest scores are kept, exactly `kept_count` of them (SMP, section 3).

    Args:
        scores: Any shape; no NaN.
        density: Share to keep, 0..1.

    Returns:
        Bool, of the scores' shape. Among equal scores the one with the lower flat index is kept.
    """
    kept = kept_count(scores.numel(), density)
    flat = scores.detach().reshape(-1)
    if kept == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = _largest(flat, kept)
    mask = flat > threshold
    ties = torch.nonzero(flat == threshold).reshape(-1)
    mask[ties[: kept - int(mask.sum())]] = True
    return mask.reshape(scores.shape)


def top_threshold(scores: Tensor, density: float) -> Tensor:
    """The smallest score that Top-v keeps, so that ``scores >= threshold`` is `top_mask` but for ties.

    Returns:
        Zero-dimensional: -inf when everything is kept, +inf when nothing is.
    """
    kept = kept_count(scores.numel(), density)
    if kept == 0 or kept == scores.numel():
        return scores.new_full((), float("inf") if kept == 0 else float("-inf")).detach()
    return _largest(scores.detach().reshape(-1), kept)


def _largest(flat: Tensor, rank: int) -> Tensor:
    """The rank-th largest value (from 1), by selection."""
    position = flat.numel() - rank
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        # numpy's vectorised selection takes a fortieth of the time of torch's kthvalue on processors.
        return flat.new_tensor(np.partition(flat.numpy(), position)[position])
    return torch.kthvalue(flat, position + 1).values


def group_mask(scores: Tensor, kept: int, group: int) -> Tensor:
    """N:M: of every `group` neighbours along the last dimension the `kept` largest stay.

    Args:
        scores: [..., inputs].
        kept: N, 0..group.
        group: M.

    Returns:
        Bool, of the scores' shape. Among equal scores the lower index is kept.

    Raises:
        ValueError: The last dimension is no multiple of `group`, or `kept` is outside 0..group.
    """
    if scores.shape[-1] % group:
        raise ValueError(f"{scores.shape[-1]} inputs are no multiple of the group of {group}")
    if not 0 <= kept <= group:
        raise ValueError(f"cannot keep {kept} of every {group}")
    members = scores.detach().reshape(*scores.shape[:-1], -1, group).unbind(-1)
    # A rank is the count of neighbours that come first: a few comparisons cost far less than a sort.
    kept_ones = []
    for index, own in enumerate(members):
        rank = torch.zeros_like(own, dtype=torch.int16)
        for place, other in enumerate(members):
            if place != index:
                rank += other >= own if place < index else other > own
        kept_ones.append(rank < kept)
    return torch.stack(kept_ones, dim=-1).reshape(scores.shape)


def sigmoid_threshold(tau: float) -> Tensor:
    """The score at which σ(S) = τ: soft movement keeps what is above (Sanh et al. 2020, section 4)."""
    return torch.logit(torch.tensor(tau))


def hard_concrete_sample(
    log_alpha: Tensor,
    uniform: Tensor,
    *,
    temperature: float = TEMPERATURE,
    low: float = LOW,
    high: float = HIGH,
) -> Tensor:
    """A stochastic gate of the hard concrete distribution, differentiable in `log_alpha`.

    s = σ((log u - log(1 - u) + log α) / b), stretched to (low, high), clamped to 0..1
    (Louizos et al. 2018, equations 10 and 11).

    Args:
        log_alpha: Scores, any shape.
        uniform: Draws from (0, 1), same shape.
        temperature: b.
        low: Lower end of the stretched interval, below 0.
        high: Its upper end, above 1.

    Returns:
        Gates in 0..1, of the scores' shape.
    """
    noise = torch.log(uniform) - torch.log1p(-uniform)
    return (torch.sigmoid((noise + log_alpha) / temperature) * (high - low) + low).clamp(0, 1)


def hard_concrete_gate(log_alpha: Tensor, *, low: float = LOW, high: float = HIGH) -> Tensor:
    """The deterministic gate that is used after training: clamp(σ(S)·(high - low) + low, 0, 1)."""
    return (torch.sigmoid(log_alpha) * (high - low) + low).clamp(0, 1)


class _StraightThrough(torch.autograd.Function):  # type: ignore[misc]
    """M ⊙ W forward; backward as if M were S for the scores, and as it is for the weights."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(weight, mask)
        return weight * mask

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, mask = ctx.saved_tensors
        to_weight = gradient * mask if ctx.needs_input_grad[0] else None
        to_scores = gradient * weight if ctx.needs_input_grad[1] else None
        return to_weight, to_scores, None


class _Thresholded(torch.autograd.Function):  # type: ignore[misc]
    """`_StraightThrough` with S > t as the mask, and mean σ(S) beside it.

    Nothing but the result is written: the mask is never made, and σ is computed again in the backward
    pass, which costs less than to keep it. ATen's `threshold_backward` is a kernel for where(S > t, W, 0).
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, scores: Tensor, below: float, regularized: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(weight, scores)
        ctx.below, ctx.regularized = below, regularized
        masked = torch.ops.aten.threshold_backward(weight, scores, below)
        return masked, torch.sigmoid(scores).mean() if regularized else scores.new_zeros(())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, of_mean: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        weight, scores = ctx.saved_tensors
        to_weight = None
        if ctx.needs_input_grad[0]:
            to_weight = torch.ops.aten.threshold_backward(gradient, scores, ctx.below)
        if not ctx.regularized:
            return to_weight, gradient * weight, None, None
        each = (of_mean / scores.numel()).expand_as(scores)
        to_scores = torch.ops.aten.sigmoid_backward(each, torch.sigmoid(scores))
        return to_weight, to_scores.addcmul_(gradient, weight), None, None


class _Gate(torch.autograd.Function):  # type: ignore[misc]
    """The mask as numbers; backward the identity, into the scores."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor) -> Tensor:
        return mask.to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def gate(scores: Tensor, mask: Tensor) -> Tensor:
    """The mask as 0.0 and 1.0, whose gradient goes to the scores unchanged.

    For units that are larger than a weight: spread over the weights and multiplied, the score of a unit
    gets the sum of (∂L/∂W') ⊙ W over the unit.
    """
    gates: Tensor = _Gate.apply(scores, mask)
    return gates


def straight_through(weight: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """The masked weight W' = M ⊙ W, with ∂L/∂S = (∂L/∂W') ⊙ W, also where the mask is 0.

    Args:
        weight: W, any shape.
        scores: S, same shape; only its gradient is used, its values are in the mask already.
        mask: M, bool, same shape.

    Returns:
        W', same shape. ∂L/∂W = (∂L/∂W') ⊙ M.
    """
    masked: Tensor = _StraightThrough.apply(weight, scores, mask)
    return masked


def thresholded(
    weight: Tensor, scores: Tensor, threshold: Tensor, *, regularized: bool
) -> tuple[Tensor, Tensor]:
    """`straight_through` with ``scores >= threshold`` as the mask, and mean σ(S), in one pass.

    Args:
        weight: W, any shape.
        scores: S, same shape.
        threshold: Zero-dimensional.
        regularized: Whether mean σ(S) is needed.

    Returns:
        W' and mean σ(S), zero-dimensional (0 where it is not needed). Both carry gradients to S.
    """
    below = float(torch.nextafter(threshold, threshold.new_tensor(float("-inf"))))
    masked, mean = _Thresholded.apply(weight, scores, below, regularized)
    return masked, mean
