"""Migration changes no answer in FP32, and evens activations out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import quantization_kit as kit
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.quantization.graphs import activations, initializers, operators, prepared
from edgeprune.quantization.observing import observe
from edgeprune.quantization.qdq import Settings, quantize_graph
from edgeprune.quantization.smoothing import factors, pairs, smooth


def observed(model: onnx.ModelProto) -> kit.Calibration:
    return observe(model, activations(operators(model)), kit.batches())


@pytest.mark.parametrize(
    "name",
    [
        "bert",
        "ragged",
        *(pytest.param(n, marks=pytest.mark.thorough) for n in ("distilbert", "electra", "mpnet", "roberta")),
    ],
)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_the_answers_are_those_of_before(name: str, alpha: float) -> None:
    model, done = smooth(kit.graph(name), observed(kit.graph(name)).channel_peaks, alpha=alpha)
    onnx.checker.check_model(model)
    expected = kit.fp32_logits(name)
    assert np.abs(kit.all_logits(model) - expected).max() < 1e-5 * max(1, np.abs(expected).max())
    assert len(done) == len(pairs(kit.graph(name))) > 0


def test_an_encoder_has_three_pairs_a_layer() -> None:
    found = [(pair.kind, len(pair.targets)) for pair in pairs(kit.graph("bert"))]
    assert found == [("norm", 3), ("value", 1), ("norm", 1)] * 2


def test_a_layer_without_heads_has_one_pair() -> None:
    found = [(pair.kind, len(pair.targets)) for pair in pairs(kit.graph("ragged"))]
    assert found == [("norm", 3), ("value", 1), ("norm", 1), ("norm", 1)]


def test_a_model_is_left_as_it_is() -> None:
    before = kit.graph("bert").SerializeToString()
    smooth(kit.graph("bert"), observed(kit.graph("bert")).channel_peaks)
    assert kit.graph("bert").SerializeToString() == before


def test_channels_are_evened_out() -> None:
    model = kit.graph("bert")
    before = observed(model).channel_peaks
    smoothed, done = smooth(model, before, alpha=1.0)
    after = observed(smoothed).channel_peaks
    for pair in done:
        name = pair.activation
        assert after[name].max() / after[name].min() < 1.01 < before[name].max() / before[name].min()


def with_outliers() -> onnx.ModelProto:
    """Some channels of every LayerNorm a hundred times larger, and the weights that read them smaller."""
    model = onnx.ModelProto()
    model.CopyFrom(kit.graph("bert"))
    for node in [node for node in model.graph.node if node.op_type == "LayerNormalization"]:
        for name in node.input[1:3]:
            tensor = initializers(model)[name]
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[::11] *= 100
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    for pair in pairs(model):
        if pair.kind == "norm":
            for node in [node for node in model.graph.node if node.name in pair.targets]:
                tensor = initializers(model)[node.input[1]]
                values = onnx.numpy_helper.to_array(tensor).copy()
                values[::11] /= 100
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return prepared(model)


@pytest.mark.parametrize("dialect", kit.DIALECTS)
def test_int8_loses_less_with_outliers_moved(dialect: str) -> None:
    model = with_outliers()
    expected = kit.all_logits(model)
    moved = {node for pair in pairs(model) if pair.kind == "norm" for node in pair.targets}
    rest = frozenset(op.name for op in operators(model) if op.kind == "linear") - moved
    settings = Settings(dialect, embeddings="none", keep=rest)  # type: ignore[arg-type]
    off = {}
    for label, graph in (("plain", model), ("smoothed", smooth(model, observed(model).channel_peaks)[0])):
        ranges = observed(graph).ranges("minmax", symmetric=dialect == "symmetric")
        smaller, _ = quantize_graph(graph, ranges, settings)
        off[label] = float(np.square(kit.all_logits(smaller) - expected).mean())
    assert off["smoothed"] < off["plain"] / 3


positive = st.floats(0, 1e4, width=32)


@given(
    hnp.arrays(np.float32, 6, elements=positive),
    hnp.arrays(np.float32, (6, 4), elements=st.floats(-1e3, 1e3, width=32)),
    st.floats(0, 1),
)
def test_factors_are_usable(peaks: np.ndarray, matrix: np.ndarray, alpha: float) -> None:  # type: ignore[type-arg]
    found = factors(peaks, [matrix], alpha)
    assert np.isfinite(found).all()
    assert (found >= 2.0**-10).all()
    assert (found <= 2.0**10).all()
    assert (found[(peaks == 0) | (matrix == 0).all(axis=1)] == 1).all()


def test_factors_are_smoothquants() -> None:
    peaks = np.float32([4, 9])
    weights = [np.float32([[1, -4], [0.5, 0.25]]), np.float32([[2], [1]])]
    np.testing.assert_allclose(factors(peaks, weights, 0.5), [np.sqrt(4 / 4), np.sqrt(9 / 1)])
    np.testing.assert_allclose(factors(peaks, weights, 1.0), peaks)


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_an_alpha_that_is_none_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        factors(np.ones(2, np.float32), [np.ones((2, 2), np.float32)], alpha)


def test_a_context_that_something_else_reads_is_left_alone() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(kit.graph("bert"))
    value = next(pair for pair in pairs(model) if pair.kind == "value")
    assert value.bias is not None
    node = next(node for node in model.graph.node if node.name == value.bias)
    model.graph.node.append(onnx.helper.make_node("Neg", [node.output[0]], ["extra"], "extra"))
    assert [pair.kind for pair in pairs(model)].count("value") == 1
