"""Batches of similar length, as a pure function of (lengths, batch size, seed, epoch).

transformers' own length-grouped sampler draws from the global random state, so a resumed run would see
other batches than an uninterrupted one. Here nothing is drawn from anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["LengthGroupedOrder", "length_grouped_order"]

# Batches whose examples are sorted together: larger pads less, smaller shuffles better.
_BATCHES_PER_GROUP = 50


def length_grouped_order(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[int]:
    """The order in which one epoch visits the examples.

    All indices are shuffled, cut into groups of 50 batches, sorted by length inside each group, cut into
    batches, and the batches shuffled; the only short batch comes last. The batch with the longest example
    comes first, so that a machine with too little memory fails at once and not after an hour.

    Args:
        lengths: Tokens of each example, [n].
        batch_size: Examples a batch.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.

    Returns:
        A permutation of ``range(n)``; consecutive runs of `batch_size` are the batches.
    """
    random = np.random.default_rng((seed, epoch))
    sizes = np.asarray(lengths)
    shuffled = random.permutation(len(sizes))
    whole = len(sizes) - len(sizes) % batch_size
    body, rest = shuffled[:whole], shuffled[whole:]
    span = batch_size * _BATCHES_PER_GROUP
    groups = [body[start : start + span] for start in range(0, whole, span)]
    ordered = [group[np.argsort(-sizes[group], kind="stable")] for group in groups]
    batches = np.concatenate(ordered).reshape(-1, batch_size) if ordered else np.empty((0, batch_size), int)
    batches = batches[random.permutation(len(batches))]
    if len(batches):
        longest = int(np.argmax(sizes[batches].max(axis=1)))
        batches[[0, longest]] = batches[[longest, 0]]
    return [int(index) for index in np.concatenate([batches.reshape(-1), rest])]


class LengthGroupedOrder:
    """`length_grouped_order` as a sampler for torch's DataLoader; the loop calls `set_epoch`.

    It yields visits, not examples: visit ``epoch · n + index`` is the example's visit in that epoch, so
    that whatever is drawn anew for every visit can be a function of the visit alone.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration visits."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        first = self._epoch * len(self)
        order = length_grouped_order(self._lengths, self._batch_size, self._seed, self._epoch)
        return (first + index for index in order)
