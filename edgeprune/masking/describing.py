"""Masks and scores as numbers that a report can show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from edgeprune.masking.attached import MaskedMatrix

__all__ = ["describe_matrix", "score_histogram", "total_density", "weights_map"]

_BINS = 40
_CELLS = 24


def total_density(matrices: Sequence[MaskedMatrix]) -> tuple[int, int]:
    """(kept, prunable) weights over all matrices."""
    return sum(int(item.mask.sum()) for item in matrices), sum(item.mask.numel() for item in matrices)


def score_histogram(scores: Tensor, bins: int = _BINS) -> dict[str, Any]:
    """Counts of the scores in equal bins from their lowest to their highest value."""
    low, high = float(scores.min()), float(scores.max())
    counts = torch.histc(scores.float(), bins, low, high) if low < high else torch.zeros(bins)
    found = [int(count) for count in counts]
    if low == high:
        found[0] = scores.numel()
    return {"low": round(low, 6), "high": round(high, 6), "counts": found}


def weights_map(mask: Tensor, cells: int = _CELLS) -> list[list[int]]:
    """Per cent of weights kept in each part of a matrix, at most `cells` by `cells` parts."""
    sizes = (min(cells, mask.shape[0]), min(cells, mask.shape[1]))
    pooled = torch.nn.functional.adaptive_avg_pool2d(mask[None].float(), sizes)[0]
    return [[round(100 * float(value)) for value in row] for row in pooled]


def describe_matrix(matrix: MaskedMatrix, *, learned: bool) -> dict[str, Any]:
    """One matrix for the record: place, shape, density, scores (where they are learned), map."""
    found: dict[str, Any] = {
        "name": matrix.name,
        "layer": matrix.layer,
        "kind": matrix.kind,
        "shape": list(matrix.mask.shape),
        "density": round(float(matrix.mask.float().mean()), 6),
        "map": weights_map(matrix.mask),
    }
    if learned:
        found["scores"] = score_histogram(matrix.scores)
    return found
