"""From what was seen of a tensor to the range that its 256 levels cover. NumPy alone.

| method | the range is |
|---|---|
| minmax | everything that was seen |
| percentile | all but a given share of the values |
| entropy | where the quantized distribution tells least apart from the real one (Kullback-Leibler) |
| mse | where the mean squared error of quantizing and dequantizing is least |

A symmetric range is [-t, t] with zero at level 0. An asymmetric one is [low, high]. Both hold zero, as
padding and masked values are zeros and must stay so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError

__all__ = [
    "METHODS",
    "Grid",
    "Method",
    "Observed",
    "Range",
    "entropy",
    "find_range",
    "grid",
    "minmax",
    "mse",
    "percentile",
]

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

_BINS_LOG2 = 12
_BINS = 2**_BINS_LOG2
"""Bins on each side of zero."""
_CHUNK = 2**20
_CANDIDATES = 96
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Range:
    """What the levels cover; values outside are clipped. ``low <= 0 <= high``."""

    low: float
    high: float

    @property
    def peak(self) -> float:
        """The larger magnitude."""
        return max(-self.low, self.high)


@dataclass(frozen=True)
class Grid:
    """Levels of 8 bits: level q stands for ``scale · (q - zero_point)``."""

    scale: float
    zero_point: int


class Observed:
    """Statistics of one tensor, of bounded size, from any number of batches in any order.

    The histogram has 4,096 bins on each side of zero. Their width is a power of two, the smallest with which
    they hold all values; a larger value doubles it and merges bins in pairs. So the result depends on the
    values alone, not on their order or their batches.

    Args:
        name: The tensor, for errors.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.low = math.inf
        self.high = -math.inf
        self._exponent: int | None = None  # of the bins' width; None while all values are zero
        self._counts: npt.NDArray[np.int64] = np.zeros(2 * _BINS, np.int64)

    def add(self, values: npt.NDArray[Any]) -> None:
        """Count one batch.

        Args:
            values: Any shape; floats.

        Raises:
            EdgepruneError: One of them is NaN or infinite.
        """
        flat = np.asarray(values).reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            bad = int(np.count_nonzero(~np.isfinite(flat)))
            raise EdgepruneError(
                f"{bad} of {flat.size} values are NaN or infinite",
                where=f"activation {self.name}",
                hint="look for NaN or very large weights in the model that is to be quantized",
            )
        self._widen(max(abs(low), abs(high)))
        for start in range(0, flat.size, _CHUNK):
            self._count(flat[start : start + _CHUNK])
        self.count += int(flat.size)
        self.low, self.high = min(self.low, low), max(self.high, high)

    def histogram(self) -> tuple[npt.NDArray[np.int64], float]:
        """Counts [2 · bins] and the bins' width; bin k begins at ``(k - bins) · width``."""
        return self._counts.copy(), 2.0 ** (self._exponent or 0)

    @property
    def is_constant(self) -> bool:
        """Whether all values are equal: its range says nothing about other inputs."""
        return self.low == self.high

    def whole(self) -> Range:
        """Everything that was seen, and zero.

        Raises:
            EdgepruneError: Nothing was seen.
        """
        if not self.count:
            raise EdgepruneError(
                "no values were seen", where=f"activation {self.name}", hint="give calibration examples"
            )
        return Range(min(self.low, 0.0), max(self.high, 0.0))

    def _count(self, values: npt.NDArray[Any]) -> None:
        bins = np.floor(values.astype(np.float64) / 2.0 ** (self._exponent or 0)).astype(np.int64)
        self._counts += np.bincount(bins + _BINS, minlength=2 * _BINS)

    def _widen(self, peak: float) -> None:
        if peak == 0.0:
            return
        needed = math.frexp(peak)[1] - _BINS_LOG2
        if self._exponent is None:
            self._exponent = needed
        for _ in range(min(needed - self._exponent, _BINS_LOG2 + 1)):
            pairs = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.pad(pairs, _BINS // 2)
        self._exponent = max(self._exponent, needed)


def grid(found: Range, *, symmetric: bool) -> Grid:
    """The 8-bit levels that cover a range: -127…127 around 0, or 0…255.

    A range without width, of a tensor that is always zero, gets scale 1: every scale holds zero exactly.
    """
    width = found.peak / 127 if symmetric else (found.high - found.low) / 255
    scale = max(width, _SMALLEST_SCALE) if width else 1.0
    return Grid(scale, 0 if symmetric else round(min(max(-found.low / scale, 0), 255)))


def find_range(observed: Observed, method: Method, *, symmetric: bool, share: float = 99.99) -> Range:
    """The range of one tensor by one method.

    Args:
        observed: What was seen of it.
        method: See the table above.
        symmetric: Whether the levels will lie symmetrically around zero.
        share: For `percentile`: per cent of the values to cover.

    Raises:
        EdgepruneError: Nothing was seen.
    """
    if method == "percentile":
        return percentile(observed, share, symmetric=symmetric)
    find = {"minmax": minmax, "entropy": entropy, "mse": mse}[method]
    return find(observed, symmetric=symmetric)


def minmax(observed: Observed, *, symmetric: bool) -> Range:
    """Everything that was seen."""
    return _as_asked(observed.whole(), symmetric)


def percentile(observed: Observed, share: float, *, symmetric: bool) -> Range:
    """The range of `share` per cent of the values; of the rest, half lies beyond either asymmetric end.

    Raises:
        ValueError: `share` is not in (0, 100].
    """
    if not 0 < share <= 100:
        raise ValueError(f"share must be in (0, 100], not {share}")
    whole = observed.whole()
    counts, width = observed.histogram()
    outside = (1 - share / 100) * observed.count
    if symmetric:
        return _around_zero(min(_cut(_magnitudes(counts), outside) * width, whole.peak))
    high = (_cut(counts, outside / 2) - _BINS) * width
    low = -(_cut(counts[::-1], outside / 2) - _BINS) * width
    return Range(min(max(low, whole.low), 0.0), max(min(high, whole.high), 0.0))


def entropy(observed: Observed, *, symmetric: bool) -> Range:
    """The range with the least Kullback-Leibler divergence of the quantized distribution from the real one.

    As in NVIDIA's "8-bit Inference with TensorRT" (Migacz, GTC 2017): values outside count as the outermost
    bin in the real distribution, and are missing in the quantized one. The original compares magnitudes at
    128 levels, which is what a symmetric range gets; for an asymmetric one the same divergence is taken at
    256 levels and both ends are moved in turn.
    """
    whole = observed.whole()
    counts, width = observed.histogram()
    if symmetric:
        magnitudes = _magnitudes(counts)
        ends = _candidates(_used(whole.peak, width))
        best = min(reversed(ends), key=lambda end: _divergence(magnitudes, 0, end, 128))
        return _around_zero(min(best * width, whole.peak))

    def cost(low: int, high: int) -> float:
        return _divergence(counts, _BINS - low, _BINS + high, 256)

    return _move_ends(whole, width, cost)


def mse(observed: Observed, *, symmetric: bool) -> Range:
    """The range with the least mean squared error, every value taken at the middle of its bin."""
    whole = observed.whole()
    counts, width = observed.histogram()
    filled = np.flatnonzero(counts)
    middles = np.clip((filled - _BINS + 0.5) * width, whole.low, whole.high)
    weights = counts[filled] / observed.count

    def error(found: Range) -> float:
        levels = grid(found, symmetric=symmetric)
        lowest = -127 if symmetric else -levels.zero_point
        steps = np.clip(np.round(middles / levels.scale), lowest, 127 if symmetric else lowest + 255)
        return float(((steps * levels.scale - middles) ** 2 * weights).sum())

    if symmetric:
        peaks = [min(end * width, whole.peak) for end in _candidates(_used(whole.peak, width))]
        return _around_zero(min(reversed(peaks), key=lambda peak: error(_around_zero(peak))))
    return _move_ends(whole, width, lambda low, high: error(Range(-low * width, high * width)))


def _as_asked(found: Range, symmetric: bool) -> Range:
    return _around_zero(found.peak) if symmetric else found


def _around_zero(peak: float) -> Range:
    return Range(-peak, peak)


def _magnitudes(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Histogram [bins] of the values without their signs."""
    return counts[_BINS:] + counts[:_BINS][::-1]


def _cut(counts: npt.NDArray[np.int64], above: float) -> float:
    """Where, in bins, `above` of the counted values lie further up; even spread within a bin."""
    from_top = np.cumsum(counts[::-1])
    position = int(np.searchsorted(from_top, above, side="right"))
    if position == len(counts):
        return 0.0
    inside = counts[len(counts) - 1 - position]
    into = above - (from_top[position] - inside)
    return float(len(counts) - position - into / inside)


def _used(edge: float, width: float) -> int:
    """Bins from zero to `edge`."""
    return min(math.floor(edge / width) + 1, _BINS) if edge else 0


def _candidates(used: int) -> list[int]:
    """Ends to try, in bins, ascending; the last is the whole range."""
    if not used:
        return [0]
    return sorted({max(1, round(used * step / _CANDIDATES)) for step in range(1, _CANDIDATES + 1)})


def _move_ends(whole: Range, width: float, cost: Callable[[int, int], float]) -> Range:
    """Coordinate descent over (bins below zero, bins above zero) from the whole range; two rounds."""
    lows = _candidates(_used(-whole.low, width))
    highs = _candidates(_used(whole.high, width))
    low, high = lows[-1], highs[-1]
    for _ in range(2):
        high = min(reversed(highs), key=lambda end: cost(low, end))
        low = min(reversed(lows), key=lambda end: cost(end, high))
    return Range(-min(low * width, -whole.low), min(high * width, whole.high))


def _divergence(counts: npt.NDArray[np.int64], start: int, end: int, levels: int) -> float:
    """KL(real ‖ quantized) when bins `start` to `end` are kept at this many levels."""
    kept = counts[start:end].astype(np.float64)
    total = float(counts.sum())
    if len(kept) < levels or not kept.any():
        return math.inf
    real = kept.copy()
    real[0] += counts[:start].sum()
    real[-1] += counts[end:].sum()
    filled = kept > 0
    bounds = np.unique(np.arange(levels) * len(kept) // levels)
    members = np.diff(np.append(bounds, len(kept)))
    per_level = np.add.reduceat(kept, bounds) / np.maximum(np.add.reduceat(filled, bounds, dtype=np.int64), 1)
    quantized = np.repeat(per_level, members) * filled / kept.sum()
    occupied = real > 0
    real = real[occupied] / total
    return float((real * np.log(real / np.maximum(quantized[occupied], 1e-12))).sum())
