"""Linear layers of a quantized graph as onnxruntime's own INT8 operator, bias included.

A session makes it by itself of DQ, DQ and MatMul, but first it makes a Gemm of MatMul and Add wherever a
matrix has no length axis, as in the pooler; that Gemm stays in FP32, and its INT8 weights are dequantized in
every call. Measured with onnxruntime 1.32 on x86, one thread, in the shape of MiniLM-L6: 0.23 ms a call, a
third of what a quarter of heads and FFN rows takes at 16 tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.quantization.graphs import attributes, consumers, drop_unused, initializers

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["DOMAIN", "Linear", "drop_unread", "explicit_products", "linear_layers", "opset_of_domain"]

DOMAIN = "com.microsoft"
_UINT8, _INT8 = 2, 3


@dataclass(frozen=True)
class Linear:
    """One linear layer in INT8.

    Attributes:
        name: Its MatMul.
        activation: Quantized tensor, its scale and its zero point.
        unsigned: Whether that tensor is UINT8.
        weight: INT8 constant [in, out].
        scale: Of the weight: one, or one for each of `out`.
        zero_point: Of the weight; 0 everywhere.
        bias: Constant [out] that is added; empty where there is none.
        result: Tensor that it computes, with the bias.
    """

    name: str
    activation: tuple[str, str, str]
    unsigned: bool
    weight: str
    scale: str
    zero_point: str
    bias: str
    result: str


def explicit_products(model: ModelProto) -> ModelProto:
    """A copy whose linear layers in INT8 are one operator each."""
    import onnx
    from onnx.helper import make_node

    result = onnx.ModelProto()
    result.CopyFrom(model)
    instead = {}
    for layer in linear_layers(result):
        left, left_scale, left_zero = layer.activation
        inputs = [left, layer.weight, left_scale, layer.scale, left_zero, layer.zero_point]
        inputs += [layer.bias] if layer.bias else []
        node = make_node("MatMulIntegerToFloat", inputs, [layer.result], layer.name, domain=DOMAIN)
        instead[layer.result] = node
    nodes = [instead.get(node.output[0], node) for node in result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    if instead:
        opset_of_domain(result)
    drop_unread(result)
    return result


def linear_layers(model: ModelProto) -> tuple[Linear, ...]:
    """Linear layers whose activation and matrix are both in INT8, in the order of the nodes."""
    constants = initializers(model)
    made_by = {name: node for node in model.graph.node for name in node.output}
    readers = consumers(model)
    outputs = {value.name for value in model.graph.output}
    found = []
    for node in model.graph.node:
        if node.op_type != "MatMul":
            continue
        left, right = (made_by.get(name) for name in node.input)
        if not (_dequantizes(left) and _dequantizes(right)):
            continue
        assert left is not None
        assert right is not None
        kind = _activation_type(left, constants)
        if kind is None or not _is_matrix(right, constants):
            continue
        bias, result = "", node.output[0]
        following = readers.get(result, [])
        if len(following) == 1 and result not in outputs and following[0].op_type == "Add":
            (other,) = [name for name in following[0].input if name != result] or [""]
            if other in constants and list(constants[other].dims) == [constants[right.input[0]].dims[1]]:
                bias, result = other, following[0].output[0]
        activation = (left.input[0], left.input[1], left.input[2])
        weight, scale, zero = right.input
        unsigned = kind == _UINT8
        found.append(Linear(node.name, activation, unsigned, weight, scale, zero, bias, result))
    return tuple(found)


def opset_of_domain(model: ModelProto) -> None:
    """Says in a model that it has operators of onnxruntime's own."""
    from onnx.helper import make_opsetid

    if all(entry.domain != DOMAIN for entry in model.opset_import):
        model.opset_import.append(make_opsetid(DOMAIN, 1))


def drop_unread(model: ModelProto) -> None:
    """Takes out operators and constants that nothing reads."""
    read = {value.name for value in model.graph.output}
    kept: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if read & set(node.output):
            read.update(node.input)
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    drop_unused(model)


def _dequantizes(node: NodeProto | None) -> bool:
    return node is not None and node.op_type == "DequantizeLinear" and len(node.input) == 3


def _activation_type(node: NodeProto, constants: dict[str, TensorProto]) -> int | None:
    """UINT8 or INT8, of an activation with one scale; None for anything else."""
    scale, zero = (constants.get(name) for name in node.input[1:])
    if node.input[0] in constants or scale is None or zero is None or list(scale.dims):
        return None
    return zero.data_type if zero.data_type in (_UINT8, _INT8) else None


def _is_matrix(node: NodeProto, constants: dict[str, TensorProto]) -> bool:
    """Whether it dequantizes an INT8 constant [in, out], with one scale or one per output."""
    from onnx.numpy_helper import to_array

    levels, scale, zero = (constants.get(name) for name in node.input)
    if levels is None or scale is None or zero is None or levels.data_type != _INT8 or len(levels.dims) != 2:
        return False
    along = not scale.dims or (attributes(node).get("axis", 1) in (1, -1) and scale.dims[0] == levels.dims[1])
    return bool(along) and not to_array(zero).any()
