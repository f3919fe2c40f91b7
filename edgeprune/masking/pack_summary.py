"""What a mask pack weighs, and the bound that its masks are measured by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.masking.coding import entropy

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["MatrixSummary", "PackSummary", "summarize"]


@dataclass(frozen=True)
class MatrixSummary:
    """One masked tensor.

    Attributes:
        name: Module path of its weight, or the name of a bias.
        layer: The first number in the name; None where there is none.
        shape: Of the tensor.
        kept: Weights that the mask keeps.
        weights: Weights that it has.
    """

    name: str
    layer: int | None
    shape: tuple[int, ...]
    kept: int
    weights: int

    @property
    def density(self) -> float:
        """Share that is kept; 1 of nothing."""
        return self.kept / self.weights if self.weights else 1.0


@dataclass(frozen=True)
class PackSummary:
    """What a pack weighs, beside what its masks must weigh at least if they had no structure.

    Attributes:
        bytes: The whole file.
        mask_bytes: The coded masks with all that decoding them needs.
        head_bytes: The head's tensors.
        kept: Weights that the masks keep.
        weights: Weights that are under masks.
        bits_per_weight: Of the coded masks.
        entropy_bound: H(density over all) in bits a weight.
        entropy_bound_per_matrix: Mean over the weights of H(density of their matrix).
        matrices: Each masked tensor.
    """

    bytes: int
    mask_bytes: int
    head_bytes: int
    kept: int
    weights: int
    bits_per_weight: float
    entropy_bound: float
    entropy_bound_per_matrix: float
    matrices: tuple[MatrixSummary, ...]

    @property
    def density(self) -> float:
        """Share of the weights under masks that is kept; 1 of nothing."""
        return self.kept / self.weights if self.weights else 1.0

    def record(self) -> dict[str, float]:
        """The numbers that a stage reports."""
        return {
            "bytes": self.bytes,
            "mask_bytes": self.mask_bytes,
            "head_bytes": self.head_bytes,
            "bits_per_weight": self.bits_per_weight,
            "entropy_bound": self.entropy_bound,
        }


def summarize(
    masks: Mapping[str, npt.NDArray[np.bool_]], *, mask_bytes: int, head_bytes: int, total_bytes: int
) -> PackSummary:
    """The summary of a pack.

    Args:
        masks: Name of each masked tensor to its mask.
        mask_bytes: Size of the coded masks.
        head_bytes: Size of the head's tensors.
        total_bytes: Size of the file.
    """
    matrices = tuple(
        MatrixSummary(name, _layer(name), mask.shape, int(np.count_nonzero(mask)), mask.size)
        for name, mask in masks.items()
    )
    kept, weights = sum(item.kept for item in matrices), sum(item.weights for item in matrices)
    per_matrix = sum(item.weights * entropy(item.density) for item in matrices)
    return PackSummary(
        bytes=total_bytes,
        mask_bytes=mask_bytes,
        head_bytes=head_bytes,
        kept=kept,
        weights=weights,
        bits_per_weight=8 * mask_bytes / max(weights, 1),
        entropy_bound=entropy(kept / max(weights, 1)),
        entropy_bound_per_matrix=per_matrix / max(weights, 1),
        matrices=matrices,
    )


def _layer(name: str) -> int | None:
    found = re.search(r"(?:^|\.)(\d{1,9})(?:\.|$)", name)
    return int(found[1]) if found else None
