"""Encoding through a real fast tokenizer with a vocabulary of letters, and padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.tasks.encoding import Encoded, by_length, collate, encode
from edgeprune.tasks.examples import Examples

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d"]
CLS, SEP, A, B, C = (VOCABULARY.index(token) for token in ("[CLS]", "[SEP]", "a", "b", "c"))


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY), encoding="utf-8")
    return str(path)


@pytest.fixture
def tokenizer(vocabulary: str) -> Any:
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab_file=vocabulary)


def sentences(*texts: str, pairs: tuple[str, ...] | None = None) -> Examples:
    return Examples(("no", "yes"), texts, (0,) * len(texts), pairs)


def test_sentences_by_hand(tokenizer: Any) -> None:
    encoded = encode(tokenizer, sentences("a b", "a b c", "a b c d"), max_length=5)
    assert encoded.input_ids == [[CLS, A, B, SEP], [CLS, A, B, C, SEP], [CLS, A, B, C, SEP]]
    assert encoded.token_type_ids == [[0] * 4, [0] * 5, [0] * 5]
    assert encoded.lengths.tolist() == [4, 5, 5]
    assert (encoded.truncated, encoded.max_length, len(encoded)) == (1, 5, 3)


def test_pairs_by_hand_cut_the_longer_part(tokenizer: Any) -> None:
    encoded = encode(tokenizer, sentences("a", "a b c", pairs=("b", "c")), max_length=6)
    assert encoded.input_ids == [[CLS, A, SEP, B, SEP], [CLS, A, B, SEP, C, SEP]]
    assert encoded.token_type_ids == [[0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]
    assert encoded.truncated == 1


def test_padding_and_truncation_that_a_tokenizer_was_saved_with_do_not_count(
    tokenizer: Any, tmp_path: Path
) -> None:
    tokenizer.backend_tokenizer.enable_padding(length=7)
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.save_pretrained(tmp_path)
    loaded = type(tokenizer).from_pretrained(tmp_path, local_files_only=True)
    assert encode(loaded, sentences("a b"), max_length=8).input_ids == [[CLS, A, B, SEP]]


def test_a_tokenizer_without_segments(tokenizer: Any) -> None:
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    encoded = encode(tokenizer, sentences("a"), max_length=8)
    assert encoded.token_type_ids is None
    assert sorted(collate(encoded, [0], 0)) == ["attention_mask", "input_ids"]


def test_many_examples_keep_their_order_over_chunks(tokenizer: Any) -> None:
    texts = [" ".join("abcd"[: index % 4 + 1]) for index in range(5000)]
    encoded = encode(tokenizer, sentences(*texts), max_length=5)
    assert encoded.lengths.tolist() == [min(index % 4 + 3, 5) for index in range(5000)]
    assert encoded.truncated == 1250


def test_no_examples(tokenizer: Any) -> None:
    encoded = encode(tokenizer, sentences(), max_length=5)
    assert (len(encoded), encoded.token_type_ids, encoded.truncated) == (0, [], 0)
    assert collate(encoded, [], 0)["input_ids"].shape == (0, 0)


def test_a_slow_tokenizer_is_refused(vocabulary: str) -> None:
    from transformers import BertTokenizer

    with pytest.raises(UnsupportedError, match="BertTokenizer is not a fast tokenizer"):
        encode(BertTokenizer(vocab_file=vocabulary), sentences("a"), max_length=5)


def made(rows: list[list[int]], segments: bool) -> Encoded:
    return Encoded(
        input_ids=rows,
        token_type_ids=[[token % 2 for token in row] for row in rows] if segments else None,
        lengths=np.array([len(row) for row in rows], dtype=np.int64),
        truncated=0,
        max_length=9,
    )


ROWS = st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=8)


@given(ROWS, st.data(), st.booleans(), st.sampled_from([0, 1, 100]), st.booleans())
def test_collate_pads_at_the_right_and_changes_nothing_else(
    rows: list[list[int]], data: st.DataObject, segments: bool, pad_id: int, fixed: bool
) -> None:
    indices = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=10))
    longest = max(len(rows[index]) for index in indices)
    length = data.draw(st.integers(longest, 12)) if fixed else None
    batch = collate(made(rows, segments), indices, pad_id, length)
    shape = (len(indices), length or longest)
    assert sorted(batch) == ["attention_mask", "input_ids"] + ["token_type_ids"] * segments
    assert all(array.shape == shape and array.dtype == np.int64 for array in batch.values())
    for position, index in enumerate(indices):
        row, padding = rows[index], shape[1] - len(rows[index])
        assert batch["input_ids"][position].tolist() == row + [pad_id] * padding
        assert batch["attention_mask"][position].tolist() == [1] * len(row) + [0] * padding
        if segments:
            assert batch["token_type_ids"][position].tolist() == [token % 2 for token in row] + [0] * padding


def test_collate_takes_index_arrays_and_refuses_what_does_not_fit() -> None:
    encoded = made([[1, 2, 3], [4]], segments=False)
    assert collate(encoded, np.array([1]), 0)["input_ids"].tolist() == [[4]]
    with pytest.raises(EdgepruneError, match="an example of 3 tokens does not fit a batch of length 2"):
        collate(encoded, [0, 1], 0, length=2)


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 12))
def test_batches_by_length_hold_every_example_once(lengths: list[int], size: int) -> None:
    order, batches = by_length(np.array(lengths, np.int64), size)
    assert [index for batch in batches for index in batch] == order.tolist()
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert [lengths[index] for index in order] == sorted(lengths)
    assert all(len(batch) == size for batch in batches[:-1])
