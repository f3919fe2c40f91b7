"""Encoded examples as what every model's `run` takes.

Shapes: ids, mask, types int64 [batch, length].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from edgeprune.tasks.encoding import Encoded, collate

__all__ = ["Batch", "batches", "make_batch"]


class Batch(NamedTuple):
    """What `run(*batch)` takes. `mask` is 1 for tokens and 0 for padding."""

    ids: np.ndarray
    mask: np.ndarray
    types: np.ndarray


def make_batch(encoded: Encoded, indices: Sequence[int], pad_id: int, length: int | None = None) -> Batch:
    """One batch of the examples at `indices`; types are 0 where the tokenizer makes none.

    Args:
        encoded: All examples.
        indices: Positions of the batch's examples.
        pad_id: Token that padding is made of.
        length: Tokens per row; left out: the longest example's.

    Raises:
        EdgepruneError: An example is longer than `length`.
    """
    arrays = collate(encoded, indices, pad_id, length)
    ids = arrays["input_ids"]
    return Batch(ids, arrays["attention_mask"], arrays.get("token_type_ids", np.zeros_like(ids)))


def batches(encoded: Encoded, size: int, pad_id: int, length: int | None = None) -> Iterator[Batch]:
    """All examples in their own order, `size` at a time; the last batch may be smaller.

    Args:
        encoded: All examples.
        size: Rows per batch.
        pad_id: Token that padding is made of.
        length: See `make_batch`.
    """
    for start in range(0, len(encoded), size):
        yield make_batch(encoded, range(start, min(start + size, len(encoded))), pad_id, length)
