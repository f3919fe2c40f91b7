"""Changed models go through the exporter like any classifier."""

from __future__ import annotations

from pathlib import Path

import pytest
import structure_kit as kit

from edgeprune.structure.description import KeptLayer
from edgeprune.structure.loading import load, pretrained, save
from edgeprune.structure.narrowing import slice_hidden
from edgeprune.structure.pooling import attach_mean_pooling
from edgeprune.structure.slicing import slice_layers

pytestmark = pytest.mark.recipe  # importing the exporter alone takes seconds


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert"])
def test_the_exported_label_words_answer_as_pytorch_does(model_type: str, tmp_path: Path) -> None:
    checkpoint = kit.save_masked(model_type, tmp_path / "checkpoint")
    _, model, _ = pretrained(checkpoint, tuple(kit.WORDS), head="label-words", label_words=kit.WORDS)
    save(model, tmp_path / "saved")
    kit.assert_exports_alike(load(tmp_path / "saved"), model_type, tmp_path / "onnx")


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert"])
def test_the_exported_mean_pools_as_pytorch_does(model_type: str, tmp_path: Path) -> None:
    model = kit.classifier(model_type)
    attach_mean_pooling(model)
    kit.assert_exports_alike(model, model_type, tmp_path)


@pytest.mark.parametrize("model_type", kit.TYPES)
def test_the_exported_cut_model_answers_as_pytorch_does(model_type: str, tmp_path: Path) -> None:
    """A layer with few heads, one without heads, one without FFN rows; a narrower hidden width."""
    model = kit.classifier(model_type)
    slice_layers(model, (KeptLayer(0, (1, 3), (0, 5)), KeptLayer(1, (), (2,)), KeptLayer(2, (0,), ())))
    slice_hidden(model, range(0, kit.HIDDEN, 2))
    kit.assert_exports_alike(model, model_type, tmp_path)
