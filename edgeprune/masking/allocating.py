"""Who gets how much of the budget: densities per matrix that meet one density over all.

SMP-L gives every matrix the same density. SMP-S shares the budget of one matrix type over the layers by
the mean of σ(S/p): v_l = v · L · r_l / Σ r (SMP, equation 4). That can pass 1; the published code loses
what is above, here it goes to the other layers, so that the density target is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from edgeprune.masking.binarizing import kept_count, top_threshold

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["global_threshold", "score_allocation", "uniform_allocation", "unit_counts"]


def uniform_allocation(sizes: Sequence[int], density: float) -> list[float]:
    """The same density for every matrix (SMP-L)."""
    return [density] * len(sizes)


def score_allocation(shares: Sequence[float], sizes: Sequence[int], density: float) -> list[float]:
    """Densities in proportion to the shares, none above 1, that meet `density` over all (SMP-S).

    Args:
        shares: r_l ≥ 0: mean σ(S/p) of each layer's matrix, of one matrix type.
        sizes: Weights of each matrix.
        density: Share of all their weights to keep, 0..1.

    Returns:
        v_l, in the order of the shares; Σ v_l·n_l = density · Σ n_l.
    """
    budget = density * sum(sizes)
    found = [0.0] * len(sizes)
    # Without any share there is nothing to go by: all count the same.
    weights = [float(share) for share in shares] if any(share > 0 for share in shares) else [1.0] * len(sizes)
    open_ = [index for index, weight in enumerate(weights) if weight > 0]
    while open_:
        factor = budget / sum(weights[index] * sizes[index] for index in open_)
        full = [index for index in open_ if factor * weights[index] >= 1.0]
        if not full:
            for index in open_:
                found[index] = factor * weights[index]
            return found
        for index in full:
            found[index] = 1.0
            budget -= sizes[index]
        budget = max(budget, 0.0)
        open_ = [index for index in open_ if index not in full]
    # Layers without a share take what the full ones cannot.
    rest = [index for index, weight in enumerate(weights) if weight <= 0]
    for index in rest:
        found[index] = min(budget / sum(sizes[other] for other in rest), 1.0)
    return found


def unit_counts(densities: Sequence[float], sizes: Sequence[int]) -> list[int]:
    """Whole units to keep of each matrix, rounded so that their sum is the budget's (largest remainder).

    Rounding each down by itself would lose up to a unit a matrix: of 12 heads, far more than 0.1 %.

    Args:
        densities: v_l, 0..1.
        sizes: Units of each.
    """
    wanted = [density * size for density, size in zip(densities, sizes, strict=True)]
    counts = [kept_count(size, density) for density, size in zip(densities, sizes, strict=True)]
    missing = round(sum(wanted)) - sum(counts)
    # Where remainders are equal the earlier layer gets the unit.
    order = sorted(range(len(sizes)), key=lambda index: (counts[index] - wanted[index], index))
    for index in order[: max(missing, 0)]:
        counts[index] = min(counts[index] + 1, sizes[index])
    return counts


def global_threshold(scores: Sequence[Tensor], density: float) -> Tensor:
    """One threshold over all matrices, so that important ones keep more (PINS; movement, section 4).

    Returns:
        Zero-dimensional, as `top_threshold`.
    """
    return top_threshold(torch.cat([item.detach().reshape(-1) for item in scores]), density)
