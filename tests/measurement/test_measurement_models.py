from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_model

from edgeprune.errors import EdgepruneError
from edgeprune.measurement.accuracy import predict
from edgeprune.measurement.batches import Batch, batches
from edgeprune.measurement.fresh import probe_artifact, probe_original
from edgeprune.runner.session import open_session
from edgeprune.tasks.encoding import Encoded


def _encoded(lengths: list[int], types: bool = True) -> Encoded:
    random = np.random.default_rng(2)
    ids = [random.integers(1, tiny_model.VOCABULARY, length).tolist() for length in lengths]
    return Encoded(ids, [[0] * length for length in lengths] if types else None, np.array(lengths), 0, 32)


class Recording:
    """Answers with the row's first token, and keeps the shapes it was asked for."""

    def __init__(self, broken: int | None = None) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.broken = broken

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        self.shapes.append(ids.shape)
        logits = np.stack([ids[:, 0], mask.sum(1)], axis=1).astype(np.float32)
        logits[ids[:, 0] == self.broken] = np.nan
        return logits


def test_examples_keep_their_order_and_the_recipes_batch() -> None:
    encoded = _encoded([9, 3, 7, 5, 4])
    model = Recording()
    logits = predict(model, encoded, batch=2, pad_id=0, name="a")
    assert model.shapes == [(2, 9), (2, 7), (1, 4)]
    assert logits[:, 0].tolist() == [ids[0] for ids in encoded.input_ids]
    assert logits[:, 1].tolist() == [9, 3, 7, 5, 4]


def test_a_tokenizer_without_types_gets_zeros() -> None:
    batch = next(batches(_encoded([3, 5], types=False), 2, pad_id=0, length=8))
    assert batch.types.shape == batch.ids.shape == (2, 8)
    assert not batch.types.any()


def test_the_first_answer_that_is_no_number_is_named() -> None:
    encoded = _encoded([4, 4, 4])
    model = Recording(broken=encoded.input_ids[1][0])
    with pytest.raises(EdgepruneError, match=r"first is example 1 .*nan") as caught:
        predict(model, encoded, batch=1, pad_id=0, name="openvino/bf16")
    assert caught.value.where == "openvino/bf16"


def test_no_examples_is_an_error() -> None:
    with pytest.raises(EdgepruneError, match="no examples"):
        predict(Recording(), _encoded([]), batch=1, pad_id=0, name="a")


def test_batches_change_no_answer_of_a_real_session(tmp_path: Path) -> None:
    session = open_session(tiny_model.save_artifact(tmp_path, "onnxruntime"))
    encoded = _encoded([9, 3, 7, 5, 4])
    alone = predict(session, encoded, batch=1, pad_id=0, name="a")
    np.testing.assert_allclose(predict(session, encoded, batch=4, pad_id=0, name="a"), alone, atol=1e-5)


def test_peak_memory_is_not_that_of_the_process_that_asks(tmp_path: Path) -> None:
    ballast = np.ones(2**29 // 8)  # 512 MiB, resident while the probe is started
    probed = probe_artifact(
        tiny_model.save_artifact(tmp_path, "onnxruntime"), 1, Batch(*tiny_model.batch(2, 7))
    )
    assert ballast[-1] == 1
    assert probed.shape == (2, 7)
    assert 2**20 < probed.peak_memory_bytes < 2**29
    assert 0 < probed.import_seconds < probed.load_seconds


def test_a_probe_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(EdgepruneError, match="exit code 5") as caught:
        probe_artifact(tmp_path / "nowhere", 1)
    assert "variant.json cannot be read" in caught.value.message
    assert "edgeprune.runner probe" in caught.value.where


@pytest.mark.recipe
def test_the_original_answers_as_transformers_does_and_can_be_probed(tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from edgeprune.measurement.pytorch import open_original

    config = BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        num_labels=3,
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    ids, mask, types = tiny_model.batch()
    original = open_original(tmp_path, threads=1)
    with torch.no_grad():
        expected = model(torch.tensor(ids), torch.tensor(mask), torch.tensor(types)).logits.numpy()
    logits = original.run(ids, mask, types)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert torch.get_num_threads() == 1
    assert "float32, sdpa attention, 1 threads" in original.executed
    probed = probe_original(tmp_path, 1, Batch(ids, mask, types))
    assert probed.shape == (2, 11)
    assert 0 < probed.import_seconds < probed.load_seconds
    with pytest.raises(EdgepruneError, match="original cannot be loaded"):
        open_original(tmp_path / "nowhere", 1)
