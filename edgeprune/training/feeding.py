"""From the visits that a sampler yields (see `batching`) to the padded tensors of one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgeprune.errors import UnsupportedError
from edgeprune.training.augmenting import hide_tokens

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedTokenizerBase

    from edgeprune.tasks.encoding import Encoded

__all__ = ["Visits", "batch_maker"]

Bring = Callable[[list[int], dict[str, "np.ndarray"]], "dict[str, torch.Tensor]"]
"""Indices of the examples and their arrays to what the loss needs beside them."""


class Visits:
    """Stands in for a dataset: what the sampler yields is all that a batch is made from."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, visit: int) -> int:
        return visit


def batch_maker(
    encoded: Encoded,
    labels: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    bring: Bring,
    *,
    word_dropout: float,
    seed: int,
) -> Callable[[list[int]], dict[str, torch.Tensor]]:
    """What makes a batch of a list of visits; a function of nothing but these arguments and the visits.

    Args:
        encoded: Token ids of the n training examples.
        labels: Their class ids, [n].
        tokenizer: Names the padding, mask and other special tokens.
        bring: Sees the texts before any word is hidden.
        word_dropout: Share of each text's tokens that is hidden behind the mask token.
        seed: Of which these are.

    Raises:
        UnsupportedError: Word dropout is asked for and the tokenizer has no mask token.
    """
    from edgeprune.tasks.encoding import collate

    mask_id = tokenizer.mask_token_id
    if word_dropout and mask_id is None:
        raise UnsupportedError(
            "the tokenizer has no mask token, so words cannot be hidden", hint="set word_dropout to 0"
        )

    def batch(visits: list[int]) -> dict[str, torch.Tensor]:
        import torch

        indices = [visit % len(encoded) for visit in visits]
        arrays = collate(encoded, indices, tokenizer.pad_token_id)
        extra = bring(indices, dict(arrays))
        if word_dropout:
            arrays["input_ids"] = hide_tokens(
                arrays["input_ids"],
                word_dropout,
                mask_id=mask_id,
                special_ids=tokenizer.all_special_ids,
                seed=(seed, *visits),
            )
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        tensors["labels"] = torch.tensor([labels[index] for index in indices])
        return tensors | extra

    return batch
