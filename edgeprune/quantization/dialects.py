"""The two ways in which INT8 is written down, and where a graph breaks their rules.

| | symmetric | asymmetric |
|---|---|---|
| activations | INT8, zero point 0 | UINT8, any zero point |
| linear weights | INT8 constants, zero point 0, one scale per output channel | the same |
| embeddings | INT8 rows, dequantized, then gathered | INT8 rows, gathered, then dequantized |
| biases, LayerNorm, softmax | FP32 | FP32 |
| written for | TensorRT, which takes nothing else | CPU runtimes |

TensorRT refuses an INT8 constant that does not go straight into DequantizeLinear. onnxruntime would
dequantize the whole table in every call. Hence the two orders of embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgeprune.quantization.graphs import attributes, consumers

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["DIALECTS", "RULES", "Dialect", "Rules", "violations"]

Dialect = Literal["symmetric", "asymmetric"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

_IMPLICIT = {
    "ConvInteger",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
}
"""Operators that compute in INT8 by themselves: not explicit QDQ."""


@dataclass(frozen=True)
class Rules:
    """What a dialect asks of a graph.

    Attributes:
        symmetric: Whether activations have zero point 0 and a sign.
        table_first: Whether an embedding table is dequantized before its rows are gathered.
    """

    symmetric: bool
    table_first: bool

    @property
    def activation(self) -> type[np.int8] | type[np.uint8]:
        """Type of quantized activations."""
        return np.int8 if self.symmetric else np.uint8


RULES: Mapping[Dialect, Rules] = MappingProxyType(
    {
        "symmetric": Rules(symmetric=True, table_first=True),
        "asymmetric": Rules(symmetric=False, table_first=False),
    }
)


def violations(model: ModelProto, dialect: Dialect, *, per_channel: bool = True) -> list[str]:
    """Where a graph breaks a dialect's rules; empty when it does not.

    Args:
        model: A graph with explicit QDQ; operators left in FP32 break no rule.
        dialect: Whose rules.
        per_channel: Whether linear weights must have one scale per output channel.

    Returns:
        Sentences, each beginning with the node's name.
    """
    return [f"{node}: {what}" for node, what in _Check(model, RULES[dialect], per_channel).found()]


class _Check:
    """One look over a graph."""

    def __init__(self, model: ModelProto, rules: Rules, per_channel: bool) -> None:
        self.nodes = list(model.graph.node)
        self.rules = rules
        self.per_channel = per_channel
        self.constants = _constants(model)
        self.readers = consumers(model)

    def found(self) -> Iterator[tuple[str, str]]:
        for node in self.nodes:
            name = node.name or node.op_type
            if node.op_type in _IMPLICIT or node.domain not in ("", "ai.onnx"):
                domain = f"{node.domain}." if node.domain else ""
                yield name, f"{domain}{node.op_type} is not explicit QDQ"
            elif node.op_type == "QuantizeLinear":
                for what in self._quantize(node):
                    yield name, what
            elif node.op_type == "DequantizeLinear":
                for what in self._dequantize(node):
                    yield name, what
            elif self.rules.table_first:
                for what in self._early(node):
                    yield name, what

    def _quantize(self, node: NodeProto) -> Iterator[str]:
        if node.input[0] in self.constants:
            yield f"weight {node.input[0]} is stored in FP32 and quantized while running"
            return
        zero = self._zero_point(node)
        if zero is None:
            yield "the zero point is computed while running"
        elif zero.dtype != self.rules.activation:
            wanted = np.dtype(self.rules.activation).name.upper()
            yield f"the activation is {zero.dtype.name.upper()}, not {wanted}"
        elif self.rules.symmetric and zero.any():
            yield f"the activation is asymmetric: zero point {int(zero.flat[0])}, not 0"
        if any(reader.op_type != "DequantizeLinear" for reader in self.readers.get(node.output[0], ())):
            yield "its result does not go into DequantizeLinear alone"

    def _dequantize(self, node: NodeProto) -> Iterator[str]:
        weight = self.constants.get(node.input[0])
        if weight is None:
            return
        if weight.dtype == np.int32:
            yield f"bias {node.input[0]} is quantized"
            return
        if weight.dtype != np.int8:
            yield f"weight {node.input[0]} is {weight.dtype.name.upper()}, not INT8"
        zero = self._zero_point(node)
        if zero is None or zero.any():
            yield f"weight {node.input[0]} has a zero point other than 0"
        scale = self.constants.get(node.input[1])
        for reader in self.readers.get(node.output[0], ()):
            axis = _channel_axis(reader, node.output[0])
            if axis is None or not self.per_channel or weight.ndim != 2:
                continue
            if scale is None or scale.size != weight.shape[axis]:
                yield f"weight {node.input[0]} has one scale for all output channels of {reader.name}"
            elif scale.size > 1 and attributes(node).get("axis", 1) % weight.ndim != axis:
                yield f"weight {node.input[0]} has scales along inputs, not output channels, of {reader.name}"

    def _early(self, node: NodeProto) -> Iterator[str]:
        for name in node.input:
            constant = self.constants.get(name)
            if constant is not None and constant.dtype == np.int8:
                yield f"INT8 constant {name} does not go straight into DequantizeLinear"

    def _zero_point(self, node: NodeProto) -> npt.NDArray[Any] | None:
        """None when it is not constant. Left out it is 0, and the type that of the quantized tensor."""
        if len(node.input) > 2 and node.input[2]:
            return self.constants.get(node.input[2])
        quantized = self.constants.get(node.input[0])
        return np.zeros((), np.uint8 if quantized is None else quantized.dtype)


def _channel_axis(node: NodeProto, name: str) -> int | None:
    """Axis of a matrix's output channels in the operator that multiplies by it."""
    if len(node.input) < 2 or node.input[1] != name:
        return None
    if node.op_type == "MatMul":
        return 1
    if node.op_type == "Gemm":
        return 0 if attributes(node).get("transB", 0) else 1
    return None


def _constants(model: ModelProto) -> dict[str, npt.NDArray[Any]]:
    """Initializers and results of Constant nodes by name."""
    from onnx.numpy_helper import to_array

    found = {tensor.name: to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        given = attributes(node) if node.op_type == "Constant" else {}
        if "value" in given:
            found[node.output[0]] = to_array(given["value"])
        elif given:
            found[node.output[0]] = np.asarray(next(iter(given.values())))
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found
