"""Examples -> token ids -> padded arrays. Shapes: B examples of a batch, T tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.tasks.examples import Examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Encoded", "by_length", "collate", "encode"]

# Texts per tokenizer call: enough to keep its threads busy, few enough that its offsets stay small.
_CHUNK: Final = 4096


@dataclass(frozen=True, eq=False)
class Encoded:
    """Unpadded token ids; the attention mask of an example is ones over its length.

    Attributes:
        input_ids: Token ids of each example.
        token_type_ids: Segment of each token; None where the tokenizer makes none.
        lengths: [examples], tokens per example, special tokens included.
        truncated: How many examples were cut.
        max_length: Tokens at which they were cut.
    """

    input_ids: list[list[int]]
    token_type_ids: list[list[int]] | None
    lengths: npt.NDArray[np.int64]
    truncated: int
    max_length: int

    def __len__(self) -> int:
        return len(self.input_ids)

    def notes(self) -> list[str]:
        """What a reader should know of these tokens."""
        if not self.truncated:
            return []
        return [f"{self.truncated:,} of {len(self):,} training texts are cut at {self.max_length} tokens"]


def encode(tokenizer: PreTrainedTokenizerBase, examples: Examples, max_length: int) -> Encoded:
    """Tokenize sentences or pairs and cut what is too long (of a pair, the longer part first).

    Args:
        tokenizer: A fast Hugging Face tokenizer. Padding and truncation that it was saved with do not count.
        examples: What to encode.
        max_length: Tokens, special tokens included.

    Raises:
        UnsupportedError: The tokenizer is not a fast one; devices run the fast one only.
    """
    if not tokenizer.is_fast:
        raise UnsupportedError(
            f"{type(tokenizer).__name__} is not a fast tokenizer",
            hint="use a model that has a tokenizer.json",
        )
    input_ids: list[list[int]] = []
    token_type_ids: list[list[int]] = []
    truncated = 0
    for start in range(0, len(examples), _CHUNK):
        part = slice(start, start + _CHUNK)
        batch = tokenizer(
            list(examples.texts[part]),
            None if examples.text_pairs is None else list(examples.text_pairs[part]),
            truncation="longest_first",
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
        )
        input_ids.extend(batch["input_ids"])
        token_type_ids.extend(batch.get("token_type_ids", []))
        truncated += sum(1 for encoding in batch.encodings if encoding.overflowing)
    return Encoded(
        input_ids=input_ids,
        token_type_ids=token_type_ids if "token_type_ids" in tokenizer.model_input_names else None,
        lengths=np.array([len(ids) for ids in input_ids], dtype=np.int64),
        truncated=truncated,
        max_length=max_length,
    )


def by_length(
    lengths: npt.NDArray[np.int64], batch_size: int
) -> tuple[npt.NDArray[np.int64], list[npt.NDArray[np.int64]]]:
    """Batches of examples of similar lengths, which need little padding.

    Args:
        lengths: [examples], tokens of each.
        batch_size: Examples a batch; the last may have fewer.

    Returns:
        The order of all examples, [examples], shortest first, and the same cut into batches.
    """
    order = np.argsort(lengths, kind="stable")
    return order, [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def collate(
    encoded: Encoded, indices: Sequence[int] | npt.NDArray[np.int64], pad_id: int, length: int | None = None
) -> dict[str, npt.NDArray[np.int64]]:
    """Put examples in one batch, padded at the right.

    Args:
        encoded: All examples.
        indices: Positions of the B examples of the batch.
        pad_id: Token id of padding; its segment is 0 and its attention 0.
        length: T; left out: the longest example of the batch.

    Returns:
        int64 [B, T] each: `input_ids`, `attention_mask` and, where the tokenizer makes it, `token_type_ids`.

    Raises:
        EdgepruneError: An example is longer than `length`.
    """
    lengths = encoded.lengths[np.asarray(indices, dtype=np.int64)]
    longest = int(lengths.max(initial=0))
    if length is not None and longest > length:
        raise EdgepruneError(
            f"an example of {longest} tokens does not fit a batch of length {length}",
            hint="encode with max_length of at most the batch's length",
        )
    width = longest if length is None else length
    mask = np.arange(width) < lengths[:, None]
    batch = {
        "input_ids": _fill(encoded.input_ids, indices, mask, pad_id),
        "attention_mask": mask.astype(np.int64),
    }
    if encoded.token_type_ids is not None:
        batch["token_type_ids"] = _fill(encoded.token_type_ids, indices, mask, 0)
    return batch


def _fill(
    rows: list[list[int]],
    indices: Sequence[int] | npt.NDArray[np.int64],
    mask: npt.NDArray[np.bool_],
    padding: int,
) -> npt.NDArray[np.int64]:
    filled = np.full(mask.shape, padding, dtype=np.int64)
    filled[mask] = [token for index in indices for token in rows[index]]
    return filled
