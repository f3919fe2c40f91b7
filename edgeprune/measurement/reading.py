"""How each model reads the same texts: a cut vocabulary spells some words with other tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.errors import EdgepruneError
from edgeprune.measurement.batches import Batch, make_batch
from edgeprune.tasks.encoding import Encoded, encode
from edgeprune.tasks.examples import Examples

__all__ = ["Reading", "fitting", "read_texts"]

# What a tokenizer was last asked to do; it is asked anew.
_STATE = ("truncation", "padding")


@dataclass(frozen=True, eq=False)
class Reading:
    """Texts as one model's tokens.

    Attributes:
        encoded: The tokens.
        pad_id: Token that padding is made of.
    """

    encoded: Encoded
    pad_id: int

    def batches(self, groups: Sequence[Sequence[int]], length: int | None) -> list[Batch]:
        """Groups of texts as inputs, padded to `length` or to the longest of their group."""
        return [make_batch(self.encoded, group, self.pad_id, length) for group in groups]


def read_texts(folders: Mapping[str, Path], examples: Examples, max_length: int) -> dict[str, Reading]:
    """Encode the texts for every model; models with the same tokenizer share the tokens.

    Args:
        folders: Model to its folder: a saved model's, or a compiled one's with `tokenizer.json` and
            `variant.json`.
        examples: The texts.
        max_length: Tokens at which they are cut.

    Raises:
        EdgepruneError: A folder has no tokenizer that can be read.
    """
    found: dict[str, Reading] = {}
    known: dict[str, Reading] = {}
    for name, folder in folders.items():
        key = _identity(folder)
        if key not in known:
            tokenizer, pad_id = _tokenizer(folder)
            known[key] = Reading(encode(tokenizer, examples, max_length), pad_id)
        found[name] = known[key]
    return found


def fitting(readings: Mapping[str, Reading], length: int | None) -> list[int]:
    """Positions of the texts that have at most `length` tokens for every model; None: all of them."""
    lengths = [reading.encoded.lengths for reading in readings.values()]
    count = len(lengths[0])
    return [
        index for index in range(count) if length is None or all(item[index] <= length for item in lengths)
    ]


def _identity(folder: Path) -> str:
    path = folder / "tokenizer.json"
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EdgepruneError(f"the tokenizer cannot be read: {error}", where=str(path)) from error
    return json.dumps({name: value for name, value in content.items() if name not in _STATE}, sort_keys=True)


def _tokenizer(folder: Path) -> tuple[Any, int]:
    import transformers

    if (folder / "tokenizer_config.json").is_file():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return tokenizer, int(tokenizer.pad_token_id)
    from edgeprune.runner.variant import read_variant

    plain = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    return plain, read_variant(folder).pad_id
