"""The runner's tokens are those that the model was trained with."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import runner_bundle_kit
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from edgeprune.measurement.batches import make_batch
from edgeprune.runner.texts import Texts, softmax
from edgeprune.runner.variant import RunnerError, Variant
from edgeprune.tasks.encoding import encode
from edgeprune.tasks.examples import Examples

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    [
        "",
        " ",
        "[SEP]",
        "[CLS] film",
        "Ünïcode İ",
        "good\x00bad",
        "\u200bfilm",
        "👍🏽 film",
        "a" * 300,
        "x\r\ny",
    ]
)


def _variant(max_length: int) -> Variant:
    return Variant("onnxruntime", "fp32", {}, [], [], max_length, "x86_64", pad_id=0)


def _bpe() -> Tokenizer:
    """Byte-level, as RoBERTa has it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    numbers = {token: number for number, token in enumerate(["<pad>", "<s>", "</s>", *alphabet, "fi", "lm"])}
    made = Tokenizer(models.BPE(numbers, [("f", "i"), ("l", "m")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), add_prefix_space=False)
    made.add_special_tokens(["<pad>", "<s>", "</s>"])
    return made


def _saved(kind: str, side: str) -> Tokenizer:
    """As `save_pretrained` leaves it: with what it was last asked to do."""
    made = runner_bundle_kit.tokenizer() if kind == "wordpiece" else _bpe()
    made.enable_padding(length=50)
    made.enable_truncation(7, strategy="only_first", direction=side)
    return made


@cache
def _readers(kind: str, side: str, max_length: int) -> tuple[Texts, object]:
    from transformers import PreTrainedTokenizerFast

    with TemporaryDirectory() as folder:
        _saved(kind, side).save(f"{folder}/tokenizer.json")
        known = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json", truncation_side=side)
        return Texts(Path(folder), _variant(max_length)), known


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
@pytest.mark.parametrize("side", ["right", "left"])
@settings(max_examples=40)
@given(st.data())
def test_ids_masks_and_types_are_those_of_the_pipeline(kind: str, side: str, data: st.DataObject) -> None:
    width = data.draw(st.sampled_from([1, 2]))
    examples = data.draw(st.lists(st.tuples(*[TEXT] * width), min_size=1, max_size=4))
    texts, known = _readers(kind, side, data.draw(st.sampled_from([6, 16, 64])))
    columns = list(zip(*examples, strict=True))
    asked = Examples(("x",), columns[0], (0,) * len(examples), columns[1] if width == 2 else None)
    encoded = encode(known, asked, texts.max_length)  # type: ignore[arg-type]
    assert texts.lengths(examples) == encoded.lengths.tolist()
    for length in (None, texts.max_length):
        wanted = make_batch(encoded, range(len(examples)), 0, length)
        for found, array in zip(texts.batch(examples, length), wanted, strict=True):
            assert found.dtype == np.int64
            np.testing.assert_array_equal(found, array)


def test_padding_is_the_models_and_longer_than_asked_for_is_an_error(tmp_path: Path) -> None:
    runner_bundle_kit.tokenizer().save(str(tmp_path / "tokenizer.json"))
    texts = Texts(tmp_path, Variant("onnxruntime", "fp32", {}, [], [], 16, "x86_64", pad_id=5))
    ids, mask, types = texts.batch([("good",), ("the film",)], 6)
    assert ids.tolist() == [[2, 59, 3, 5, 5, 5], [2, 56, 57, 3, 5, 5]]
    assert mask.tolist() == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]]
    assert not types.any()
    with pytest.raises(RunnerError, match="an example of 4 tokens does not fit a length of 3"):
        texts.batch([("the film",)], 3)


@pytest.mark.parametrize("content", [None, "", "{}", "[]"])
def test_a_file_that_is_no_tokenizer_is_an_error_of_ours(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunnerError, match="cannot be read as a tokenizer"):
        Texts(tmp_path, _variant(8))


def test_softmax_of_large_and_equal_logits() -> None:
    scores = softmax(np.array([[1e4, 0.0, -1e4], [2.0, 2.0, 2.0]], np.float32))
    np.testing.assert_allclose(scores, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
