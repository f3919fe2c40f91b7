"""The forms change no answer."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import quantization_kit as kit

from edgeprune.quantization.forms import rows_first, unsigned
from edgeprune.quantization.graphs import initializers
from edgeprune.quantization.qdq import Settings, quantize_graph


def symmetric(embeddings: str = "rows", *, products: bool = False) -> onnx.ModelProto:
    settings = Settings("symmetric", embeddings=embeddings, products=products)  # type: ignore[arg-type]
    return quantize_graph(kit.graph("bert"), kit.ranges("bert", symmetric=True), settings)[0]


@pytest.mark.parametrize("embeddings", ["rows", "table"])
def test_rows_are_gathered_in_int8(embeddings: str) -> None:
    model = symmetric(embeddings)
    before = model.SerializeToString()
    changed = rows_first(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(changed)
    np.testing.assert_allclose(kit.all_logits(changed), kit.all_logits(model), atol=1e-6)
    tables = [
        name for name in initializers(changed) if "embeddings.weight" in name and name.endswith("_int8")
    ]
    assert len(tables) == 3
    for node in changed.graph.node:
        assert not (node.op_type == "DequantizeLinear" and node.input[0] in tables)
    sizes = [len(graph.SerializeToString()) for graph in (model, changed)]
    assert sizes[1] < sizes[0] * 1.02


@pytest.mark.parametrize("products", [False, True])
def test_unsigned_activations_are_the_same_levels(products: bool) -> None:
    model = symmetric(products=products)
    changed = unsigned(model)
    onnx.checker.check_model(changed)
    # Signed activations run partly in FP32 on x86, so sums are rounded differently.
    np.testing.assert_allclose(kit.all_logits(changed), kit.all_logits(model), atol=1e-4)
    kept = initializers(changed)
    zeros = [
        onnx.numpy_helper.to_array(kept[node.input[2]])
        for node in changed.graph.node
        if node.op_type == "QuantizeLinear"
    ]
    assert Counter((zero.dtype.name, int(zero)) for zero in zeros) == {("uint8", 128): len(zeros)}


@pytest.mark.parametrize("change", [rows_first, unsigned])
def test_a_form_is_taken_once(change: object) -> None:
    once = change(symmetric())  # type: ignore[operator]
    assert change(once) == once  # type: ignore[operator]


@pytest.mark.parametrize("change", [rows_first, unsigned])
def test_fp32_comes_back_as_it_was(change: object) -> None:
    np.testing.assert_array_equal(
        kit.all_logits(change(kit.graph("bert"))),  # type: ignore[operator]
        kit.fp32_logits("bert"),
    )


def test_values_beyond_the_range_are_clipped_alike() -> None:
    narrow = {
        name: type(found)(found.low / 4, found.high / 4)
        for name, found in kit.ranges("bert", symmetric=True).items()
    }
    model, _ = quantize_graph(kit.graph("bert"), narrow, Settings("symmetric"))
    np.testing.assert_allclose(kit.all_logits(unsigned(model)), kit.all_logits(model), atol=1e-4)
