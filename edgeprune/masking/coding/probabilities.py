"""Probabilities as integers: what a coded mask says in bytes, every machine reads as the same frequencies.

| in the stream | means |
|---|---|
| level, 1 byte | probability of a one: the logistic function of (level - 128) / 12 |
| weights, 1 byte a symbol | probabilities of an alphabet's symbols, in these proportions |

Frequencies are shares of `rans.TOTAL`. No floating-point number decides one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeprune.masking.coding.rans import TOTAL

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["LEVEL_FREQUENCIES", "byte_weights", "cumulate", "levels_of", "nearest_frequency", "symbol_bits"]

_LEVELS_PER_UNIT = 12
_MIDDLE = 128
_FRACTION_BITS = 62
_ROOT = 5012460208549160503
"""exp(1 / 12) as a fixed-point number with `_FRACTION_BITS` bits after the point."""


def _level_frequencies() -> npt.NDArray[np.uint16]:
    odds = [1 << _FRACTION_BITS]
    for _ in range(_MIDDLE):
        odds.append(odds[-1] * _ROOT >> _FRACTION_BITS)
    one = 1 << _FRACTION_BITS
    above = [min((TOTAL * item + (one + item) // 2) // (one + item), TOTAL - 1) for item in odds]
    below = [TOTAL - item for item in reversed(above[1:])]
    return np.array([*below, *above[:-1]], np.uint16)


LEVEL_FREQUENCIES = _level_frequencies()
"""Frequency of a one at each level; uint16, [256], never falling, from 1 or more to 65535 or less."""


def levels_of(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """The levels nearest to some shares of ones, 0..1."""
    bounded = np.clip(shares, 1e-6, 1 - 1e-6)
    logits = np.log(bounded / (1 - bounded))
    levels = np.rint(logits * _LEVELS_PER_UNIT) + _MIDDLE
    return np.asarray(np.clip(levels, 0, 255), np.uint8)


def nearest_frequency(ones: int, total: int) -> int:
    """The frequency of a one, 1..65535, nearest to ones / total."""
    return min(max((TOTAL * ones + total // 2) // total, 1), TOTAL - 1)


def byte_weights(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Counts scaled to 0..255; what occurs has at least 1. At least one symbol must occur."""
    scaled = np.rint(counts * (255 / counts.max()))
    return np.where(counts > 0, np.maximum(scaled, 1), 0).astype(np.uint8)


def cumulate(weights: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Where the intervals of an alphabet start, and `TOTAL` at the end.

    Args:
        weights: One a symbol, at most 256 and at least one of them positive, so that a positive weight
            is at least 1 / 65280 of the sum and its interval is never empty.

    Returns:
        [symbols + 1].
    """
    wide = weights.astype(np.int64)
    frequencies = wide * TOTAL // wide.sum()
    frequencies[wide.argmax()] += TOTAL - frequencies.sum()
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(frequencies)])


def symbol_bits(frequencies: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """What a symbol of each frequency costs in bits; much where the frequency is 0."""
    return np.asarray(np.log2(TOTAL / np.maximum(frequencies, 1e-3)), np.float64)
