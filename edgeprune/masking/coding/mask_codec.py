"""Binary masks to bytes and back, exactly, at about their entropy or below it.

Each mask is first reduced by its tiles: where blocks, whole rows or whole columns share one value, one value
of each is kept. Then the model that makes it shortest (`mask_models`) is written, and all masks are
coded into one stream (`rans`). A mask without structure costs H(density) bits a weight and a fraction of a
per cent; one with uneven rows and columns costs less. numpy alone decodes; the result does not depend on
the machine.

    byte 0          version, 1
    byte 1          base-2 logarithm of the number of lanes
    number          how many masks
    per mask        numbers: rows, columns, rows of a tile, columns of a tile; a byte: code of the model;
                    the model's header
    the rest        the stream; of each mask, in order, its classes of rows and columns, then its weights

Numbers are LEB128.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, gcd, log2
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.errors import UnsupportedError
from edgeprune.masking.coding.bytes_in_order import ByteReader, damaged, varint
from edgeprune.masking.coding.mask_models import (
    MODELS,
    PATTERN_WIDTHS,
    Constant,
    Model,
    Patterns,
    Uniform,
)
from edgeprune.masking.coding.rans import Decoder, Encoder
from edgeprune.masking.coding.row_column_fit import fit_rows_and_columns

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

__all__ = ["MOST_WEIGHTS", "decode_masks", "encode_masks", "entropy"]

MOST_WEIGHTS = 1 << 29
"""Masks of more weights than this, together, are not decoded unless the caller allows it."""

_VERSION = 1
_STEPS = (0.5, 1.0)
_LONGEST_SIDE = 1 << 31
# Lanes cost bytes, and too few of them cost time: the one is kept below this share of the stream, the other
# below this many symbols a lane.
_BITS_PER_LANE = 32
_OVERHEAD = 0.0025
_SYMBOLS_PER_LANE = 1 << 17
_MOST_LANES_LOG = 12


def entropy(share: float) -> float:
    """Bits that a weight costs at least when a share of all, 0..1, is kept at random: H(share)."""
    if share <= 0 or share >= 1:
        return 0.0
    return -share * log2(share) - (1 - share) * log2(1 - share)


def encode_masks(masks: Sequence[Mask]) -> bytes:
    """Code masks, in order.

    Args:
        masks: Bool, [rows, columns] each, of any sizes, 0 included.

    Raises:
        ValueError: One is no bool matrix.
    """
    coded = [_choose(mask) for mask in masks]
    symbols = sum(item.model.symbols(item.reduced.shape) for item in coded)
    lanes_log = _lanes_log(symbols, sum(item.bits for item in coded))
    encoder = Encoder(1 << lanes_log, symbols)
    for item in reversed(coded):
        item.model.push(item.reduced, encoder)
    headers = [
        b"".join(map(varint, (*mask.shape, *item.tile))) + bytes([item.model.code]) + item.model.header()
        for mask, item in zip(masks, coded, strict=True)
    ]
    start = bytes([_VERSION, lanes_log]) + varint(len(coded))
    return start + b"".join(headers) + encoder.finish()


def decode_masks(data: bytes, *, most_weights: int = MOST_WEIGHTS) -> list[Mask]:
    """The masks that `encode_masks` coded.

    Args:
        data: All of what it gave.
        most_weights: Refuse more than so many weights before any memory is taken for them.

    Raises:
        UnsupportedError: Another version wrote them, or they are more than `most_weights`.
        EdgepruneError: The bytes are damaged or too few.
    """
    reader = ByteReader(data)
    version, lanes_log = reader.byte(), reader.byte()
    if version != _VERSION:
        raise UnsupportedError(
            f"the masks are coded in version {version}; this edgeprune reads version {_VERSION}"
        )
    plans = [_read_plan(reader) for _ in range(_count(reader, len(data)))]
    weights = sum(plan.shape[0] * plan.shape[1] for plan in plans)
    if weights > most_weights:
        raise UnsupportedError(
            f"the masks claim {weights:,} weights; at most {most_weights:,} are decoded",
            hint="the file is damaged, or its model too large for this function's limit",
        )
    symbols = sum(plan.model.symbols(plan.reduced) for plan in plans)
    if lanes_log > _MOST_LANES_LOG or symbols > _SYMBOLS_PER_LANE << lanes_log:
        raise damaged(f"{symbols:,} symbols do not go with {1 << min(lanes_log, 64):,} lanes")
    decoder = Decoder(reader.rest(), 1 << lanes_log)
    masks = [_widen(plan.model.decode(plan.reduced, decoder), plan) for plan in plans]
    decoder.finish()
    return masks


@dataclass(frozen=True)
class _Coded:
    """A mask, reduced by its tiles, with the model that makes it shortest and what that costs."""

    reduced: Mask
    tile: tuple[int, int]
    model: Model
    bits: float


@dataclass(frozen=True)
class _Plan:
    """What the header says of one mask."""

    shape: tuple[int, int]
    tile: tuple[int, int]
    model: Model

    @property
    def reduced(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return ceil(self.shape[0] / self.tile[0]), ceil(self.shape[1] / self.tile[1])


def _choose(mask: Mask) -> _Coded:
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"a mask is a bool matrix, not {mask.dtype} of shape {mask.shape}")
    tile = (_period(mask, 0), _period(mask, 1))
    reduced = np.ascontiguousarray(mask[:: tile[0], :: tile[1]])
    models = list(_candidates(reduced))
    costs = [model.bits(reduced) for model in models]
    best = int(np.argmin(costs))
    return _Coded(reduced, tile, models[best], costs[best])


def _candidates(mask: Mask) -> list[Model]:
    ones = int(np.count_nonzero(mask))
    if ones in (0, mask.size):
        return [Constant(ones > 0)]
    widths = [width for width in PATTERN_WIDTHS if mask.shape[1] % width == 0]
    return [
        Uniform.fit(mask),
        *(fit_rows_and_columns(mask, step) for step in _STEPS),
        *(Patterns.fit(mask, width) for width in widths),
    ]


def _period(mask: Mask, axis: int) -> int:
    """Largest tile along an axis: lines differ from the one before only at its multiples."""
    length = int(mask.shape[axis])
    if mask.size == 0 or length < 2:
        return max(length, 1)
    before, after = (mask[:-1], mask[1:]) if axis == 0 else (mask[:, :-1], mask[:, 1:])
    changes = np.flatnonzero((before != after).any(1 - axis)) + 1
    return gcd(*changes.tolist()) if changes.size else length


def _widen(reduced: Mask, plan: _Plan) -> Mask:
    wide = reduced
    for axis in (0, 1):
        if plan.tile[axis] > 1:
            wide = np.repeat(wide, plan.tile[axis], axis)
    return np.ascontiguousarray(wide[: plan.shape[0], : plan.shape[1]])


def _lanes_log(symbols: int, bits: float) -> int:
    affordable = max(bits * _OVERHEAD / _BITS_PER_LANE, 1)
    needed = max(symbols / _SYMBOLS_PER_LANE, 1)
    return min(max(int(log2(affordable)), ceil(log2(needed))), _MOST_LANES_LOG)


def _count(reader: ByteReader, size: int) -> int:
    count = reader.varint()
    if count > size:  # each takes bytes of its own
        raise damaged(f"{count:,} masks in {size:,} bytes")
    return count


def _read_plan(reader: ByteReader) -> _Plan:
    rows, columns, tile_rows, tile_columns = (reader.varint() for _ in range(4))
    if max(rows, columns) > _LONGEST_SIDE or not (
        0 < tile_rows <= max(rows, 1) and 0 < tile_columns <= max(columns, 1)
    ):
        raise damaged(f"a mask of {rows:,} × {columns:,} in tiles of {tile_rows:,} × {tile_columns:,}")
    code = reader.byte()
    if code not in MODELS or (rows * columns == 0 and code != Constant.code):
        raise damaged(f"there is no model {code} of a mask of {rows:,} × {columns:,}")
    return _Plan((rows, columns), (tile_rows, tile_columns), MODELS[code].read(reader))
