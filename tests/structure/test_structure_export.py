"""A label-word head goes through the exporter like any classifier's."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import structure_kit as kit

from edgeprune.structure.loading import load, pretrained, save

pytestmark = pytest.mark.recipe  # importing the exporter alone takes seconds


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert"])
def test_the_exported_label_words_answer_as_pytorch_does(model_type: str, tmp_path: Path) -> None:
    import onnxruntime
    from optimum.exporters.onnx import onnx_export_from_model

    checkpoint = kit.save_masked(model_type, tmp_path / "checkpoint")
    _, model, _ = pretrained(checkpoint, tuple(kit.WORDS), head="label-words", label_words=kit.WORDS)
    save(model, tmp_path / "saved")
    loaded = load(tmp_path / "saved")
    logging.getLogger("optimum").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx_export_from_model(
            loaded, output=tmp_path / "onnx", task="text-classification", opset=18, do_validation=False
        )
    session = onnxruntime.InferenceSession(
        tmp_path / "onnx" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    batch = {name: values.numpy() for name, values in kit.batch(model_type).items()}
    batch["token_type_ids"] = np.zeros_like(batch["input_ids"])
    names = {entry.name for entry in session.get_inputs()}
    for rows in (slice(0, 1), slice(1, 5)):
        (answers,) = session.run(["logits"], {name: batch[name][rows] for name in names})
        np.testing.assert_allclose(answers, kit.logits(model, model_type)[rows], atol=1e-5)
