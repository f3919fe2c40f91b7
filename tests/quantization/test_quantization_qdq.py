"""Graphs in INT8: near FP32 on the runtimes, really small, and true to their dialect."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import quantization_kit as kit
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.quantization.dialects import violations
from edgeprune.quantization.graphs import activations, initializers, operators, prepared
from edgeprune.quantization.observing import observe
from edgeprune.quantization.qdq import Settings, chosen, quantize_graph
from edgeprune.quantization.ranges import Range
from edgeprune.quantization.weights import round_matrix

NEAR = 0.12
"""Largest difference of a logit, as a share of the largest logit; a random net has no margins to lean on."""
MODELS = ("bert", "ragged")
MORE_MODELS = ("distilbert", "electra", "mpnet", "roberta")


def quantized(name: str, dialect: str, **settings: object) -> onnx.ModelProto:
    model, _ = quantize_graph(
        kit.graph(name),
        kit.ranges(name, symmetric=dialect == "symmetric"),
        Settings(dialect, **settings),  # type: ignore[arg-type]
    )
    onnx.checker.check_model(model)
    return model


def assert_near(
    model: onnx.ModelProto, name: str, near: float = NEAR, runtimes: tuple[str, ...] = kit.RUNTIMES
) -> None:
    expected = kit.fp32_logits(name)
    for runtime in runtimes:
        off = np.abs(kit.all_logits(model, runtime) - expected).max()
        assert 0 < off < near * np.abs(expected).max(), runtime


@pytest.mark.parametrize("dialect", kit.DIALECTS)
@pytest.mark.parametrize("name", MODELS)
def test_the_answers_are_near_those_of_fp32(name: str, dialect: str) -> None:
    model = quantized(name, dialect)
    assert violations(model, dialect) == []  # type: ignore[arg-type]
    assert_near(model, name)


@pytest.mark.thorough
@pytest.mark.parametrize("dialect", kit.DIALECTS)
@pytest.mark.parametrize("name", MORE_MODELS)
def test_other_architectures_are_near_fp32_too(name: str, dialect: str) -> None:
    model = quantized(name, dialect)
    assert violations(model, dialect) == []  # type: ignore[arg-type]
    assert_near(model, name)


@pytest.mark.parametrize("dialect", kit.DIALECTS)
@pytest.mark.parametrize(
    "settings",
    [
        {"products": True},
        {"embeddings": "table"},
        {"embeddings": "none"},
        {"per_channel": False},
        {"weight_bits": 7},
    ],
    ids=str,
)
def test_every_setting_is_near_fp32(dialect: str, settings: dict[str, object]) -> None:
    model = quantized("bert", dialect, **settings)
    per_channel = settings.get("per_channel", True)
    assert violations(model, dialect, per_channel=bool(per_channel)) == []  # type: ignore[arg-type]
    assert_near(model, "bert", NEAR * 2, ("onnxruntime",))


@pytest.mark.parametrize("dialect", kit.DIALECTS)
@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_every_method_is_near_fp32(dialect: str, method: str) -> None:
    ranges = kit.calibration("bert").ranges(method, symmetric=dialect == "symmetric")  # type: ignore[arg-type]
    model, _ = quantize_graph(kit.graph("bert"), ranges, Settings(dialect))  # type: ignore[arg-type]
    assert_near(model, "bert", NEAR * 2, ("onnxruntime",))


@pytest.mark.parametrize("dialect", kit.DIALECTS)
def test_the_file_is_four_times_smaller_in_its_matrices(dialect: str) -> None:
    """Wide enough that scales and zero points, which a matrix has one of per channel, do not count."""
    model = prepared(kit.exported(kit.classifier(hidden_size=128, intermediate_size=256, vocab_size=2000)))
    found = observe(model, activations(operators(model)), kit.batches(1))
    smaller, record = quantize_graph(
        model,
        found.ranges("minmax", symmetric=dialect == "symmetric"),
        Settings(dialect),  # type: ignore[arg-type]
    )
    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    before = sum(len(initializers(model)[name].raw_data) for name in matrices)
    kept = initializers(smaller)
    assert not matrices & kept.keys()
    after = sum(len(tensor.raw_data) for name, tensor in kept.items() if name not in initializers(model))
    assert record.fp32_bytes == before
    assert after <= record.int8_bytes * 1.01
    assert before / after > 3.75
    rest = len(model.SerializeToString()) - before
    assert len(smaller.SerializeToString()) < before / 3.75 + rest * 1.3


def test_weights_are_rounded_per_output_channel() -> None:
    model, constants = quantized("bert", "symmetric"), initializers(kit.graph("bert"))
    kept = initializers(model)
    linear = [operator for operator in operators(kit.graph("bert")) if operator.kind == "linear"]
    for weight in {operator.weight for operator in linear}:
        matrix = onnx.numpy_helper.to_array(constants[str(weight)])
        scale = np.abs(matrix).max(axis=0) / 127
        levels = onnx.numpy_helper.to_array(kept[f"{weight}_axis1_int8"])
        np.testing.assert_allclose(
            onnx.numpy_helper.to_array(kept[f"{weight}_axis1_scale"]), scale, rtol=1e-6
        )
        assert np.abs(levels * scale - matrix).max() <= scale.max() / 2 * (1 + 1e-4)


def test_one_activation_is_quantized_once_for_all_that_read_it() -> None:
    model = quantized("bert", "asymmetric")
    sources = [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert max(Counter(sources).values()) == 1
    linear = [operator for operator in operators(kit.graph("bert")) if operator.kind == "linear"]
    assert set(sources) == {operator.activations[0] for operator in linear}


def test_a_bias_stays_in_fp32() -> None:
    types = {tensor.data_type for tensor in quantized("bert", "symmetric").graph.initializer}
    assert onnx.TensorProto.INT32 not in types


@pytest.mark.parametrize("dialect", kit.DIALECTS)
def test_what_is_to_be_kept_is_kept(dialect: str) -> None:
    model = kit.graph("bert")
    names = [operator.name for operator in operators(model) if operator.kind != "product"]
    everything = frozenset(names)
    same, record = quantize_graph(model, {}, Settings(dialect, keep=everything))  # type: ignore[arg-type]
    np.testing.assert_array_equal(kit.all_logits(same), kit.fp32_logits("bert"))
    assert set(record.kept) >= everything
    assert record.int8_bytes == 0
    one = next(operator for operator in operators(model) if operator.kind == "linear")
    ranges = kit.ranges("bert", symmetric=dialect == "symmetric")
    part, record = quantize_graph(model, ranges, Settings(dialect, keep=frozenset([one.name])))  # type: ignore[arg-type]
    assert one.weight in initializers(part)
    assert one.name not in record.operators["linear"]
    assert violations(part, dialect) == []  # type: ignore[arg-type]


def test_keeping_what_is_no_operator_is_an_error() -> None:
    with pytest.raises(EdgepruneError, match="/bert/typo"):
        chosen(kit.graph("bert"), Settings("symmetric", keep=frozenset(["/bert/typo"])))


def test_a_missing_range_is_an_error_that_names_the_node() -> None:
    with pytest.raises(EdgepruneError, match="no range") as caught:
        quantize_graph(kit.graph("bert"), {}, Settings("symmetric"))
    assert caught.value.where.startswith("node /bert/encoder/layer.0/attention")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_weight_is_an_error_that_names_it(bad: float) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(kit.graph("bert"))
    weight = next(operator.weight for operator in operators(model) if operator.kind == "linear")
    tensor = initializers(model)[str(weight)]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[1, 2] = bad
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    with pytest.raises(EdgepruneError, match="1 of 1024 values are NaN or infinite") as caught:
        quantize_graph(model, kit.ranges("bert", symmetric=True), Settings("symmetric"))
    assert caught.value.where == f"weight {weight}"


@pytest.mark.parametrize("dialect", kit.DIALECTS)
@pytest.mark.parametrize("constant", [0.0, 0.7, -5.0])
def test_constant_activations_give_what_fp32_gives(dialect: str, constant: float) -> None:
    """The first LayerNorm answers the same for every token, so its range is that of one value."""
    model = onnx.ModelProto()
    model.CopyFrom(kit.graph("bert"))
    (node, *_) = (node for node in model.graph.node if node.op_type == "LayerNormalization")
    for name, value in ((node.input[1], 0.0), (node.input[2], constant)):
        tensor = initializers(model)[name]
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(32, value, np.float32), name))
    found = observe(model, activations(operators(model)), kit.batches(1))
    ranges = found.ranges("mse", symmetric=dialect == "symmetric")
    smaller, record = quantize_graph(model, ranges, Settings(dialect))  # type: ignore[arg-type]
    expected = kit.all_logits(model)
    for runtime in kit.RUNTIMES:
        assert np.abs(kit.all_logits(smaller, runtime) - expected).max() < NEAR * np.abs(expected).max()
    assert any("was zero" in note for note in record.notes) == (constant == 0)


def test_an_operator_set_without_scales_per_channel_is_refused() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(kit.graph("bert"))
    model.opset_import[0].version = 12
    with pytest.raises(UnsupportedError, match="operator set 12"):
        quantize_graph(model, {}, Settings("symmetric"))


def test_preparing_changes_no_answer_and_nothing_twice() -> None:
    model = kit.exported(kit.classifier())
    before = model.SerializeToString()
    once = prepared(model)
    assert model.SerializeToString() == before
    np.testing.assert_allclose(kit.all_logits(once), kit.all_logits(model), atol=1e-6)
    assert prepared(once) == once
    assert not {"Gemm", "Identity"} & {node.op_type for node in once.graph.node}
    names = [node.name for node in once.graph.node]
    assert len(set(names)) == len(names)


def test_all_matrix_products_of_an_encoder_are_found() -> None:
    found = Counter(operator.kind for operator in operators(kit.graph("bert")))
    assert found == {"linear": 2 * 6 + 2, "product": 2 * 2, "embedding": 3}
    found = Counter(operator.kind for operator in operators(kit.graph("ragged")))
    assert found == {"linear": 6 + 2 + 2, "product": 2, "embedding": 3}


def test_products_of_other_forms_are_left_with_the_reason() -> None:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "stack"], ["a"], "stacked"),
        onnx.helper.make_node("Gemm", ["y", "w"], ["b"], "transposing", transA=1),
        onnx.helper.make_node("Gemm", ["y", "w"], ["c"], "plain"),
    ]
    random = np.random.default_rng(0)
    constants = {"stack": random.normal(size=(2, 4, 4)), "w": random.normal(size=(4, 4))}
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes,
            "g",
            [onnx.helper.make_tensor_value_info(*entry) for entry in (("x", 1, [2, 3, 4]), ("y", 1, [4, 4]))],
            [onnx.helper.make_tensor_value_info(name, 1, None) for name in "abc"],
            [
                onnx.numpy_helper.from_array(value.astype(np.float32), name)
                for name, value in constants.items()
            ],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
    )
    smaller, record = quantize_graph(model, {"y": Range(-3.0, 3.0)}, Settings("symmetric"))
    assert record.operators == {"linear": ("plain",), "product": (), "embedding": ()}
    assert set(record.left) == {"stacked", "transposing"}
    assert "w" in initializers(smaller)


def test_a_graph_with_control_flow_is_refused() -> None:
    body = onnx.helper.make_graph([], "body", [], [onnx.helper.make_tensor_value_info("z", 1, None)])
    model = onnx.ModelProto()
    model.CopyFrom(kit.graph("bert"))
    node = onnx.helper.make_node("If", ["c"], ["z"], "branch", then_branch=body, else_branch=body)
    model.graph.node.append(node)
    with pytest.raises(UnsupportedError, match="If holds a graph") as caught:
        quantize_graph(model, {}, Settings("symmetric"))
    assert caught.value.where == "node branch"


matrices = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(-1e6, 1e6, width=32)
)


@given(matrices, st.sampled_from([0, 1, None]), st.sampled_from([7, 8]))
def test_a_rounded_matrix_is_within_half_a_level(matrix: np.ndarray, axis: int | None, bits: int) -> None:  # type: ignore[type-arg]
    found = round_matrix(matrix, axis, name="w", bits=bits)
    assert found.levels.dtype == found.zero_point.dtype == np.int8
    assert np.abs(found.levels.astype(int)).max() <= 2 ** (bits - 1) - 1
    scale = found.scale if axis is None else np.expand_dims(found.scale, 1 - axis)
    assert (scale > 0).all()
    off = np.abs(found.levels * scale.astype(np.float64) - matrix)
    assert (off <= scale * 0.5 * (1 + 1e-4)).all()
    assert (found.levels[matrix == 0] == 0).all()


def test_a_channel_of_zeros_stays_zero() -> None:
    matrix = np.float32([[0, 1], [0, -2]])
    found = round_matrix(matrix, 1, name="w")
    np.testing.assert_array_equal(found.levels, [[0, 64], [0, -127]])
    np.testing.assert_allclose(found.scale, [1, 2 / 127])
