"""What of a quantized ONNX model TensorRT does not take, found before it is asked, node by node.

TensorRT takes QuantizeLinear and DequantizeLinear with zero point 0 on INT8, and refuses the rest late, in
its own words, or takes it for something else: UINT8 values it reads as INT8, with no more than a warning.

| case | why it is not taken |
|---|---|
| values are not INT8 | UINT8 is asymmetric, INT32 is a quantized bias |
| zero point is not 0, or computed | asymmetric |
| INT8 weights that something else than DequantizeLinear reads | they must be dequantized first |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["is_quantized", "qdq_problems"]

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def is_quantized(model: Any) -> bool:
    """Whether there is anything that goes from INT8 to floating point."""
    return any(node.op_type == _DEQUANTIZE for node in model.graph.node)


def qdq_problems(model: Any) -> list[str]:
    """One sentence per node that TensorRT does not take; empty when the model is symmetric INT8 or FP32."""
    constants = _constants(model.graph)
    problems = []
    for node in model.graph.node:
        if node.op_type in (_QUANTIZE, _DEQUANTIZE):
            reason = _type_problem(node, constants) or _zero_problem(node, constants)
        else:
            reason = _reader_problem(node, constants)
        if reason:
            problems.append(f"node {node.name or node.output[0]!r} ({node.op_type}) {reason}")
    return problems


def _constants(graph: Any) -> dict[str, Any]:
    """Name to tensor of all weights and constants."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            value = next((entry for entry in node.attribute if entry.name == "value"), None)
            if value is not None:
                found[node.output[0]] = value.t
    return found


def _type_problem(node: Any, constants: Mapping[str, Any]) -> str:
    """The type of the quantized side: that of the zero point, else of the values or of an attribute."""
    from onnx import TensorProto

    kind = None
    if (zero := _zero_point(node)) is not None:
        kind = constants[zero].data_type if zero in constants else None
    elif node.op_type == _QUANTIZE:
        said = next((entry.i for entry in node.attribute if entry.name == "output_dtype"), 0)
        kind = said or TensorProto.UINT8  # ONNX's default
    elif node.input[0] in constants:
        kind = constants[node.input[0]].data_type
    if kind is None or kind == TensorProto.INT8:
        return ""
    name = TensorProto.DataType.Name(kind)
    return {
        "UINT8": "is asymmetric: its values are UINT8",
        "INT32": "is a quantized bias: its values are INT32",
    }.get(name, f"has {name} values; they must be INT8")


def _zero_problem(node: Any, constants: Mapping[str, Any]) -> str:
    from onnx import numpy_helper

    zero = _zero_point(node)
    if zero is None:
        return ""
    if zero not in constants:
        return "has a zero point that is computed; it must be the constant 0"
    values = numpy_helper.to_array(constants[zero])
    if (odd := values[values != 0]).size:
        return f"is asymmetric: its zero point is {odd.flat[0]}, not 0"
    return ""


def _zero_point(node: Any) -> str | None:
    return node.input[2] if len(node.input) > 2 and node.input[2] else None


def _reader_problem(node: Any, constants: Mapping[str, Any]) -> str:
    from onnx import TensorProto

    for name in node.input:
        if name in constants and constants[name].data_type == TensorProto.INT8:
            return f"reads the INT8 weights {name!r}; they must go through DequantizeLinear first"
    return ""
