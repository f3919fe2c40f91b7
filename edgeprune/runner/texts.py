"""Texts to what a model reads, with the `tokenizers` library alone, and logits to scores.

Shapes: B examples, T tokens, K classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Sequence, Tuple

import numpy as np

from .examples import Example
from .variant import RunnerError, Variant

__all__ = ["FILE", "Batch", "Texts", "softmax"]

FILE = "tokenizer.json"

Batch = Tuple[np.ndarray, np.ndarray, np.ndarray]


class Texts:
    """A compiled model's tokenizer: the ids are those that the model was trained and judged with.

    Args:
        folder: Holds `tokenizer.json`.
        variant: Says where texts are cut, and the token that padding is made of.

    Attributes:
        max_length: Tokens that texts are cut to, special tokens included.

    Raises:
        RunnerError: The library is not installed, or the file is not one of its.
    """

    def __init__(self, folder: Path, variant: Variant) -> None:
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise RunnerError("tokenizers is not installed here: pip install tokenizers") from error
        path = folder / FILE
        try:
            self._tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises nothing more special
            raise RunnerError(f"{path} cannot be read as a tokenizer: {error}") from error
        # Padding and truncation that the file was saved with do not count, but for the side that is cut.
        side = (self._tokenizer.truncation or {}).get("direction", "right")
        self._tokenizer.enable_truncation(variant.max_length, strategy="longest_first", direction=side)
        self._tokenizer.no_padding()
        self._pad_id = variant.pad_id
        self.max_length = variant.max_length

    def lengths(self, examples: Sequence[Example]) -> list[int]:
        """Tokens of each example, special tokens included, after what is too long was cut."""
        return [len(self._tokenizer.encode(*example).ids) for example in examples]

    def batch(self, examples: Sequence[Example], length: int | None = None) -> Batch:
        """Ids, mask and types of some examples, padded at the right.

        Args:
            examples: One text or two each; at least one example.
            length: T; left out: the longest example's tokens.

        Returns:
            int64 [B, T] each; the mask is 1 for tokens, types are 1 for the second text of a pair.

        Raises:
            RunnerError: An example has more than `length` tokens.
        """
        # One by one: encoding many at once starts threads of its own, beside those that were asked for.
        encodings = [self._tokenizer.encode(*example) for example in examples]
        longest = max(len(encoding.ids) for encoding in encodings)
        width = longest if length is None else length
        if longest > width:
            raise RunnerError(f"an example of {longest} tokens does not fit a length of {width}")
        ids = np.full((len(encodings), width), self._pad_id, np.int64)
        mask = np.zeros_like(ids)
        types = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            count = len(encoding.ids)
            ids[row, :count] = encoding.ids
            mask[row, :count] = 1
            types[row, :count] = encoding.type_ids
        return ids, mask, types


def softmax(logits: np.ndarray) -> np.ndarray:
    """Scores float64 [B, K], each row of which adds up to 1, of logits [B, K]."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    scores: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return scores
