"""FP32 matrices as INT8 with scales. NumPy alone.

| axis of scales | scale shape | for |
|---|---|---|
| 1 | [out] of a matrix [in, out] | linear layers: one scale per output channel |
| 0 | [rows] of a matrix [rows, width] | embeddings: one scale per row |
| None | [] | one scale for all |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError

__all__ = ["Rounded", "require_finite", "round_matrix"]

_SMALLEST_SCALE = np.finfo(np.float32).tiny


@dataclass(frozen=True, eq=False)
class Rounded:
    """A matrix in INT8.

    Attributes:
        levels: INT8, of the matrix's shape, in [-(2^(bits-1) - 1), 2^(bits-1) - 1].
        scale: FP32; see the module's table for its shape.
        axis: Of the scales in the matrix.
    """

    levels: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    axis: int | None

    @property
    def zero_point(self) -> npt.NDArray[np.int8]:
        """Zeros, in the shape of the scales."""
        return np.zeros(self.scale.shape, np.int8)

    @property
    def bytes(self) -> int:
        """Bytes of levels, scales and zero points."""
        return self.levels.nbytes + self.scale.nbytes + self.scale.size


def require_finite(values: npt.NDArray[Any], name: str) -> None:
    """Nothing, if all values are numbers.

    Raises:
        EdgepruneError: One is NaN or infinite.
    """
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise EdgepruneError(
            f"{bad} of {values.size} values are NaN or infinite",
            where=f"weight {name}",
            hint="the training diverged: train again with a smaller learning rate",
        )


def round_matrix(matrix: npt.NDArray[Any], axis: int | None, *, name: str, bits: int = 8) -> Rounded:
    """Symmetric rounding to the nearest level; the largest magnitude of a channel is its last level.

    A channel of zeros alone, as pruning leaves them, gets scale 1 and stays zero exactly.

    Args:
        matrix: [rows, columns], floats.
        axis: Of the scales.
        name: Of the matrix, for errors.
        bits: 8, or 7 for CPUs that would overflow their 16-bit sums.

    Raises:
        EdgepruneError: A weight is NaN or infinite.
    """
    require_finite(matrix, name)
    top = 2 ** (bits - 1) - 1
    others = tuple(index for index in range(matrix.ndim) if index != axis) if axis is not None else None
    peaks = np.abs(matrix).max(axis=others)
    scale = np.where(peaks > 0, np.maximum(peaks / top, _SMALLEST_SCALE), 1.0).astype(np.float32)
    steps = matrix / (np.expand_dims(scale, others) if others is not None else scale)
    levels = np.clip(np.rint(steps), -top, top).astype(np.int8)
    return Rounded(levels, scale, axis)
