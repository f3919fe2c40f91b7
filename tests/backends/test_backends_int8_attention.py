from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import quantization_kit as kit
from onnx import helper, numpy_helper
from test_backends_table import make_target

from edgeprune import backends
from edgeprune.backends import onnx_int8_attention
from edgeprune.backends.onnx_attention_form import find_attention
from edgeprune.backends.onnx_int8_attention import fuse_int8_attention
from edgeprune.backends.onnx_int8_products import explicit_products
from edgeprune.quantization.dialects import DIALECTS, Dialect
from edgeprune.quantization.engines import Calibrated, CalibrationSettings, Source, calibrate, quantize
from edgeprune.quantization.forms import rows_first
from edgeprune.quantization.graphs import initializers, operators
from edgeprune.quantization.qdq import Settings
from edgeprune.runner.cpu import describe
from edgeprune.runner.session import open_session

KINDS = {"symmetric": "MultiHeadAttention", "asymmetric": "QAttention"}


@cache
def calibrated(model_type: str = "bert", form: str = "dense") -> Calibrated:
    """With outliers moved, so that residual paths are scaled."""
    model = kit.exported(kit.ragged(model_type) if form == "ragged" else kit.classifier(model_type))
    batches = [_batch(4, 12, seed=1)]
    return calibrate("onnxruntime", Source(model), batches, CalibrationSettings(smoothing=0.5))


def _batch(count: int, length: int, seed: int = 2) -> dict[str, npt.NDArray[Any]]:
    """Texts of which the last is padded."""
    ids = np.random.default_rng(seed).integers(5, kit.VOCABULARY, (count, length))
    mask = np.ones_like(ids)
    mask[-1, length // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _quantized(dialect: Dialect, *args: str, **settings: Any) -> onnx.ModelProto:
    return rows_first(quantize(calibrated(*args), Settings(dialect, **settings))[0])


def _answers(model: onnx.ModelProto, batch: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits: npt.NDArray[np.float32] = session.run(["logits"], batch)[0]
    return logits


def _kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("form", ["dense", "ragged"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_fused_model_answers_as_before(dialect: Dialect, form: str) -> None:
    """INT8 around attention only: further on, the last bit of a float may change a rounding."""
    keep = frozenset(
        found.name
        for found in operators(calibrated("bert", form).model)
        if found.kind == "linear" and not any(part in found.name for part in ("query", "key", "value"))
    )
    model = _quantized(dialect, "bert", form, keep=keep)
    before = model.SerializeToString()
    fused, notes = fuse_int8_attention(model)
    layers = 2 if form == "dense" else 1  # the other one has no heads
    assert _kinds(fused)[KINDS[dialect]] == layers
    assert not _kinds(fused)["Softmax"]
    assert notes[0].startswith(f"attention of {layers} layer")
    assert model.SerializeToString() == before
    final = explicit_products(fused)
    for length in (2, 7, 40):
        expected = _answers(model, _batch(3, length))
        np.testing.assert_allclose(_answers(final, _batch(3, length)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_all_linear_layers_become_one_operator_each(dialect: Dialect, model_type: str) -> None:
    model = _quantized(dialect, model_type)
    linear = sum(found.kind == "linear" for found in operators(calibrated(model_type).model))
    fused = explicit_products(fuse_int8_attention(model)[0])
    inside = 6 if dialect == "asymmetric" else 0  # Q, K and V of two layers
    assert _kinds(fused)["MatMulIntegerToFloat"] == linear - inside
    assert not _kinds(fused)["MatMul"]
    onnx.checker.check_model(fused)
    expected = _answers(model, _batch(3, 9))
    np.testing.assert_allclose(_answers(fused, _batch(3, 9)), expected, atol=0.02 * np.abs(expected).max())


def test_a_layer_with_a_projection_in_fp32_is_fused_without_its_projections() -> None:
    (kept,) = [
        found.name
        for found in operators(calibrated().model)
        if "layer.0/" in found.name and "query" in found.name
    ]
    model = _quantized("asymmetric", keep=frozenset({kept}))
    fused, notes = fuse_int8_attention(model)
    assert (_kinds(fused)["QAttention"], _kinds(fused)["MultiHeadAttention"]) == (1, 1)
    assert notes == ["attention of 2 layers fused before compiling, in 1 layer without its projections"]
    np.testing.assert_allclose(_answers(fused, _batch(3, 9)), _answers(model, _batch(3, 9)), atol=0.05)


def test_attention_whose_products_are_in_int8_stays_as_it_is() -> None:
    model = _quantized("asymmetric", products=True)
    fused, notes = fuse_int8_attention(model)
    assert fused == model
    assert notes == ["attention of 2 layers is left as quantized: its form has no operator"]


def test_a_mask_that_does_more_than_hide_padding_is_kept() -> None:
    model = _quantized("asymmetric")
    (mask,) = {layer.mask for layer in find_attention(model)}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == mask:
                node.input[index] = "shifted"
    place = next(index for index, node in enumerate(model.graph.node) if mask in node.output)
    model.graph.node.insert(place + 1, helper.make_node("Add", [mask, "shift"], ["shifted"], "shift"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0.5], np.float32), "shift"))
    fused, notes = fuse_int8_attention(model)
    assert fused == model
    assert notes == ["attention of 2 layers is left as quantized: its form has no operator"]


def test_another_scale_is_not_taken_for_attention() -> None:
    model = _quantized("asymmetric")
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    model.graph.initializer.append(numpy_helper.from_array(np.array(2, np.float32), "two"))
    place = list(model.graph.node).index(softmax)
    model.graph.node.insert(place, helper.make_node("Mul", [softmax.input[0], "two"], ["doubled"], "double"))
    softmax.input[0] = "doubled"
    assert len(find_attention(model)) == 1


def _folder(path: Path, dialect: Dialect) -> Path:
    path.mkdir()
    onnx.save(quantize(calibrated(), Settings(dialect))[0], path / "model.onnx")
    labels = {"id2label": {"0": "bad", "1": "good", "2": "neither"}, "pad_token_id": 0}
    (path / "config.json").write_text(json.dumps(labels), encoding="utf-8")
    (path / "tokenizer.json").write_text("{}", encoding="utf-8")
    return path


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_report_says_what_was_fused_and_all_products_run_in_int8(
    tmp_path: Path, dialect: Dialect
) -> None:
    variant = "int8-static-s8s8" if dialect == "symmetric" else "int8-static-u8s8"
    target = make_target("local", describe().architecture)
    source = _folder(tmp_path / "source", dialect)
    compiled = backends.compile_variant(
        "onnxruntime", source, variant, target, tmp_path / "out", max_length=40
    )
    assert compiled.fusions is not None
    assert (compiled.fusions.attention_layers, compiled.fusions.attention_fused) == (2, 2)
    assert "attention of 2 layers fused before compiling" in "; ".join(compiled.notes)
    found = open_session(compiled.folder).executed()
    pooled = {"Gemm", "FusedGemm"} & {operator.kind for operator in found.operators}
    assert not pooled, "its weights would be dequantized in every call"
    inside = sum(operator.kind == "MultiHeadAttention" for operator in found.operators)
    assert found.products.get("f32", 0) == inside


def test_a_graph_that_the_search_fails_on_is_compiled_without_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(model: onnx.ModelProto) -> None:
        raise KeyError("x7")

    monkeypatch.setattr(onnx_int8_attention, "find_attention", fails)
    source = _folder(tmp_path / "source", "asymmetric")
    target = make_target("local", describe().architecture)
    compiled = backends.compile_variant(
        "onnxruntime", source, "int8-static-u8s8", target, tmp_path / "out", max_length=40
    )
    assert compiled.notes == ["attention is left as quantized: KeyError: 'x7'"]
    assert compiled.fusions is not None
    assert compiled.fusions.attention_fused == 0


def test_signed_activations_stay_signed_for_arm(tmp_path: Path) -> None:
    source = _folder(tmp_path / "source", "symmetric")
    target = make_target("none", "aarch64")
    backends.compile_variant(
        "onnxruntime", source, "int8-static-s8s8", target, tmp_path / "out", max_length=40
    )
    model = onnx.load(tmp_path / "out" / "model.onnx")
    zeros = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    types = {initializers(model)[name].data_type for name in zeros}
    assert types == {onnx.TensorProto.INT8}
    assert _kinds(model)["MultiHeadAttention"] == 2
    batch = _batch(3, 9)
    logits = open_session(tmp_path / "out").run(*batch.values(), np.zeros_like(batch["input_ids"]))
    expected = _answers(_quantized("symmetric"), batch)
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())
