"""A graph that breaks a dialect's rules is told where."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import quantization_kit as kit
from onnx import helper, numpy_helper

from edgeprune.quantization.dialects import violations
from edgeprune.quantization.qdq import Settings, quantize_graph


def linear(**changes: Any) -> onnx.ModelProto:
    """One linear layer in the symmetric dialect, with parts of it replaced."""
    parts: dict[str, Any] = {
        "scale": np.float32(0.1),
        "zero": np.int8(0),
        "weight": np.ones((4, 3), np.int8),
        "weight_scale": np.full(3, 0.1, np.float32),
        "weight_zero": np.zeros(3, np.int8),
        "bias": np.zeros(3, np.float32),
    } | changes
    extra = parts.pop("nodes", [])
    axis = parts.pop("axis", 1)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"], "q"),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"], "dq"),
        helper.make_node(
            "DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["w"], "wdq", axis=axis
        ),
        helper.make_node("MatMul", ["xd", "w"], ["p"], "product"),
        helper.make_node("Add", ["p", "bias"], ["y"], "add"),
        *extra,
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 4])],
        [helper.make_tensor_value_info("y", 1, ["n", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in parts.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_a_graph_that_keeps_the_rules_breaks_none() -> None:
    assert violations(linear(), "symmetric") == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"zero": np.int8(3)}, "q: the activation is asymmetric: zero point 3, not 0"),
        ({"zero": np.uint8(128)}, "q: the activation is UINT8, not INT8"),
        ({"weight_zero": np.int8([0, 1, 0])}, "wdq: weight weight has a zero point other than 0"),
        (
            {"weight": np.ones((4, 3), np.uint8), "weight_zero": np.zeros(3, np.uint8)},
            "wdq: weight weight is UINT8, not INT8",
        ),
        (
            {"weight_scale": np.float32(0.1), "weight_zero": np.int8(0)},
            "wdq: weight weight has one scale for all output channels of product",
        ),
        (
            {
                "weight": np.ones((3, 3), np.int8),
                "axis": 0,
            },
            "wdq: weight weight has scales along inputs, not output channels, of product",
        ),
    ],
)
def test_what_breaks_the_symmetric_rules_is_named(changes: dict[str, Any], expected: str) -> None:
    assert violations(linear(**changes), "symmetric") == [expected]


def test_one_scale_is_fine_where_channels_are_not_asked_for() -> None:
    model = linear(weight_scale=np.float32(0.1), weight_zero=np.int8(0))
    assert violations(model, "symmetric", per_channel=False) == []


def test_signed_activations_break_the_asymmetric_rules() -> None:
    assert violations(linear(), "asymmetric") == ["q: the activation is INT8, not UINT8"]
    assert violations(linear(zero=np.uint8(7)), "asymmetric") == []


def test_a_zero_point_that_is_left_out_counts_as_uint8() -> None:
    model = linear()
    for node in model.graph.node[:2]:
        del node.input[2]
    assert violations(model, "symmetric") == ["q: the activation is UINT8, not INT8"]


def test_a_quantized_bias_is_named() -> None:
    model = linear(bias_int=np.zeros(3, np.int32), bias_scale=np.float32(1))
    model.graph.node.insert(
        4, helper.make_node("DequantizeLinear", ["bias_int", "bias_scale"], ["b"], "bias_dq")
    )
    model.graph.node[5].input[1] = "b"
    assert violations(model, "symmetric") == ["bias_dq: bias bias_int is quantized"]


def test_a_weight_that_is_quantized_while_running_is_named() -> None:
    model = linear(fp32=np.ones((4, 3), np.float32))
    model.graph.node.insert(
        0, helper.make_node("QuantizeLinear", ["fp32", "weight_scale", "weight_zero"], ["late"], "wq", axis=1)
    )
    model.graph.node[3].input[0] = "late"
    assert violations(model, "symmetric") == ["wq: weight fp32 is stored in FP32 and quantized while running"]


def test_constants_may_be_nodes() -> None:
    model = linear()
    (zero,) = (tensor for tensor in model.graph.initializer if tensor.name == "zero")
    value = numpy_helper.from_array(np.int8(5))
    model.graph.initializer.remove(zero)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["zero"], "constant", value=value))
    assert violations(model, "symmetric") == ["q: the activation is asymmetric: zero point 5, not 0"]


def test_operators_that_are_int8_by_themselves_are_named() -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["y"], ["a", "b", "c"], "dynamic"),
        helper.make_node("QAttention", ["y"], ["d"], "attention", domain="com.microsoft"),
    ]
    assert violations(linear(nodes=nodes), "asymmetric")[1:] == [
        "dynamic: DynamicQuantizeLinear is not explicit QDQ",
        "attention: com.microsoft.QAttention is not explicit QDQ",
    ]


def test_what_is_quantized_must_be_dequantized() -> None:
    found = violations(linear(nodes=[helper.make_node("Cast", ["xq"], ["c"], "cast", to=1)]), "symmetric")
    assert found == ["q: its result does not go into DequantizeLinear alone"]


def test_tensorrt_takes_no_rows_that_are_gathered_in_int8() -> None:
    model, _ = quantize_graph(kit.graph("bert"), kit.ranges("bert", symmetric=False), Settings("asymmetric"))
    assert any(
        "INT8 constant bert.embeddings.word_embeddings.weight_axis0_int8 does not go straight" in line
        for line in violations(model, "symmetric")
    )
