"""Every model reads the texts with its own tokenizer; equal tokenizers are asked once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers

from edgeprune.errors import EdgepruneError
from edgeprune.measurement.reading import fitting, read_texts
from edgeprune.runner.variant import Variant, write_variant
from edgeprune.tasks.examples import Examples

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "go", "##od", "bad", "film"]
TEXTS = Examples(("bad", "good"), ("good film", "bad", "good good film bad"), (1, 0, 1))


def saved(folder: Path, words: list[str]) -> Path:
    """As a trained model's folder has it."""
    folder.mkdir()
    (folder / "words.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(folder / "words.txt")).save_pretrained(folder)
    return folder


def compiled(folder: Path, source: Path, pad_id: int = 0) -> Path:
    """As a compiled model's folder has it."""
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    (folder / "model.onnx").write_bytes(b"model")
    variant = Variant(
        backend="onnxruntime", precision="fp32", files={"model": "model.onnx"}, inputs=[], labels=["bad", "good"], max_length=16,
        architecture="x86_64", threads=None, bucket=1, pad_id=pad_id, made_with={}, notes=[],
    )  # fmt: skip
    write_variant(folder, variant)
    return folder


def test_a_smaller_vocabulary_spells_with_other_tokens(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole", WORDS)
    cut = compiled(tmp_path / "cut", saved(tmp_path / "small", [word for word in WORDS if word != "good"]))
    found = read_texts({"original": whole, "cut": cut}, TEXTS, 16)
    assert found["original"].encoded.input_ids[0] == [2, 5, 9, 3]
    assert found["cut"].encoded.input_ids[0] == [2, 5, 6, 8, 3]  # [CLS] go ##od film [SEP], renumbered
    assert fitting(found, None) == [0, 1, 2]
    assert fitting(found, 4) == [1], "a text must fit for both"
    (batch,) = found["cut"].batches([[0, 1]], 6)
    assert batch.ids.tolist() == [[2, 5, 6, 8, 3, 0], [2, 7, 3, 0, 0, 0]]
    assert batch.mask.sum(1).tolist() == [5, 3]


def test_the_same_tokenizer_is_one_reading_whatever_it_did_last(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole", WORDS)
    other = compiled(tmp_path / "other", whole)
    content = json.loads((other / "tokenizer.json").read_text())
    content["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (other / "tokenizer.json").write_text(json.dumps(content))
    found = read_texts({"original": whole, "other": other}, TEXTS, 16)
    assert found["original"] is found["other"]


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(EdgepruneError, match="tokenizer") as caught:
        read_texts({"a": tmp_path}, TEXTS, 16)
    assert str(tmp_path) in str(caught.value.where)
