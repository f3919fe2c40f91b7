"""An FP32 graph with explicit QuantizeLinear and DequantizeLinear around what is to run in INT8.

Written by hand rather than with onnxruntime's quantizer. That one has no scales per row for embeddings, takes
a matrix that reaches its MatMul through Identity for an activation, needs every shape inferred first, and
leaves an activation whose range is missing in FP32 without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError
from edgeprune.quantization.dialects import RULES, Dialect
from edgeprune.quantization.forms import rows_first
from edgeprune.quantization.graphs import (
    Operator,
    add_initializer,
    drop_unused,
    initializers,
    operators,
    prepared,
)
from edgeprune.quantization.ranges import Range, grid
from edgeprune.quantization.weights import Rounded, round_matrix

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["Quantized", "Settings", "chosen", "quantize_graph"]


@dataclass(frozen=True)
class Settings:
    """How a graph is quantized.

    Attributes:
        dialect: See `dialects`.
        per_channel: One scale per output channel of a linear layer, or one for all.
        products: Whether attention's two products run in INT8, too.
        embeddings: One scale per row, one per table, or FP32.
        weight_bits: 7 for x86 CPUs without VNNI, which add products in saturating 16 bits.
        keep: Nodes that stay in FP32.
    """

    dialect: Dialect
    per_channel: bool = True
    products: bool = False
    embeddings: Literal["rows", "table", "none"] = "rows"
    weight_bits: Literal[7, 8] = 8
    keep: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Quantized:
    """What was done to a graph.

    Attributes:
        dialect: Of the graph.
        operators: Nodes that run in INT8, by kind (see `graphs`).
        kept: Nodes that could, and were left in FP32 as asked.
        left: Matrix products that cannot, with the reason.
        fp32_bytes: Bytes of the matrices that are INT8 now, as they were.
        int8_bytes: Bytes of them now, with their scales and zero points.
        notes: What a reader of the report should know.
    """

    dialect: Dialect
    operators: Mapping[str, tuple[str, ...]]
    kept: tuple[str, ...]
    left: Mapping[str, str] = field(default_factory=dict)
    fp32_bytes: int = 0
    int8_bytes: int = 0
    notes: tuple[str, ...] = ()


def chosen(model: ModelProto, settings: Settings) -> tuple[Operator, ...]:
    """Operators of a prepared model that these settings have in INT8.

    Raises:
        EdgepruneError: `keep` names a node that cannot be quantized, so that keeping it says nothing.
    """
    found = operators(model)
    unknown = settings.keep - {operator.name for operator in found}
    if unknown:
        raise EdgepruneError(
            f"to be kept in FP32, but no operator that INT8 is for: {', '.join(sorted(unknown))}",
            where="quantization",
            hint="name nodes of linear layers, attention products or embeddings",
        )
    wanted = {"linear"}
    if settings.products:
        wanted.add("product")
    if settings.embeddings != "none":
        wanted.add("embedding")
    return tuple(
        operator for operator in found if operator.kind in wanted and operator.name not in settings.keep
    )


def quantize_graph(
    model: ModelProto, ranges: Mapping[str, Range], settings: Settings
) -> tuple[ModelProto, Quantized]:
    """The graph in INT8, and what was done.

    Weights become INT8 constants, and the FP32 ones go. Each activation is quantized once for all operators
    in INT8; the others read it in FP32 as before. Biases stay in FP32.

    Args:
        model: FP32; left as it is.
        ranges: Of every activation that the chosen operators read (see `observing.Calibration.ranges`).
        settings: What to quantize and how.

    Raises:
        EdgepruneError: A range is missing, a weight is NaN or infinite, or `settings.keep` names no operator.
        UnsupportedError: The graph's operator set is too old, or it has control flow.
    """
    result = prepared(model)
    every = operators(result)
    targets = chosen(result, settings)
    writer = _Writer(result, settings)
    for operator in targets:
        for name in operator.activations:
            if name not in ranges:
                raise EdgepruneError(
                    f"there is no range for activation {name}",
                    where=f"node {operator.name}",
                    hint="observe it on calibration examples first",
                )
        if operator.kind == "embedding":
            writer.embed(operator)
        else:
            writer.multiply(operator, ranges)
    writer.finish()
    if not RULES[settings.dialect].table_first:
        result = rows_first(result)
    names = {operator.name for operator in targets}
    return result, Quantized(
        dialect=settings.dialect,
        operators={
            kind: tuple(operator.name for operator in targets if operator.kind == kind)
            for kind in ("linear", "product", "embedding")
        },
        kept=tuple(operator.name for operator in every if operator.name not in names),
        left=_left(result, {operator.name for operator in every}),
        fp32_bytes=writer.fp32_bytes,
        int8_bytes=writer.int8_bytes,
        notes=tuple(writer.notes),
    )


class _Writer:
    """Adds nodes to a graph; each goes right before the first node that reads it."""

    def __init__(self, model: ModelProto, settings: Settings) -> None:
        self.model = model
        self.settings = settings
        self.rules = RULES[settings.dialect]
        self.nodes = {node.name: node for node in model.graph.node}
        self.constants = initializers(model)
        self.before: dict[str, list[NodeProto]] = {}
        self.activations: dict[str, str] = {}
        self.weights: dict[str, str] = {}
        self.fp32_bytes = 0
        self.int8_bytes = 0
        self.notes: list[str] = []

    def multiply(self, operator: Operator, ranges: Mapping[str, Range]) -> None:
        """Quantize the inputs of a matrix product."""
        node = self.nodes[operator.name]
        for name in operator.activations:
            replacement = self._activation(name, ranges[name], node)
            for index, entry in enumerate(node.input):
                if entry == name:
                    node.input[index] = replacement
        if operator.weight is not None:
            node.input[1] = self._weight(operator.weight, 1 if self.settings.per_channel else None, node)

    def embed(self, operator: Operator) -> None:
        """Quantize a table whose rows are gathered."""
        assert operator.weight is not None
        node = self.nodes[operator.name]
        axis = 0 if self.settings.embeddings == "rows" else None
        node.input[0] = self._weight(operator.weight, axis, node)

    def finish(self) -> None:
        """Put the new nodes into the graph, and take out what they replace."""
        ordered: list[NodeProto] = []
        for node in self.model.graph.node:
            ordered += [*self.before.get(node.name, ()), node]
        del self.model.graph.node[:]
        self.model.graph.node.extend(ordered)
        del self.model.graph.value_info[:]
        drop_unused(self.model)

    def _activation(self, name: str, found: Range, reader: NodeProto) -> str:
        from onnx.helper import make_node

        if name in self.activations:
            return self.activations[name]
        levels = grid(found, symmetric=self.rules.symmetric)
        scale, zero = f"{name}_scale", f"{name}_zero_point"
        self._add(scale, np.array(levels.scale, np.float32))
        self._add(zero, np.array(levels.zero_point, self.rules.activation))
        quantized, result = f"{name}_quantized", f"{name}_dequantized"
        self.before.setdefault(reader.name, []).extend(
            [
                make_node("QuantizeLinear", [name, scale, zero], [quantized], f"{name}/QuantizeLinear"),
                make_node("DequantizeLinear", [quantized, scale, zero], [result], f"{name}/DequantizeLinear"),
            ]
        )
        self.activations[name] = result
        if not found.peak:
            self.notes.append(f"activation {name} was zero on all calibration examples")
        return result

    def _weight(self, name: str, axis: int | None, reader: NodeProto) -> str:
        """INT8 constants and a DequantizeLinear in the place of an FP32 constant."""
        from onnx.helper import make_node

        prefix, rounded = self._store(name, axis)
        if prefix in self.weights:
            return self.weights[prefix]
        inputs = [f"{prefix}_int8", f"{prefix}_scale", f"{prefix}_zero_point"]
        self._add(inputs[1], rounded.scale)
        self._add(inputs[2], rounded.zero_point)
        result = f"{prefix}_dequantized"
        along: dict[str, Any] = {} if axis is None else {"axis": axis}
        node = make_node("DequantizeLinear", inputs, [result], f"{prefix}/DequantizeLinear", **along)
        self.before.setdefault(reader.name, []).append(node)
        self.weights[prefix] = result
        return result

    def _store(self, name: str, axis: int | None) -> tuple[str, Rounded]:
        """Round a matrix and store its levels; the prefix of its constants' names, and the result."""
        from onnx.numpy_helper import to_array

        bits = self.settings.weight_bits
        matrix = to_array(self.constants[name])
        rounded = round_matrix(matrix, axis, name=name, bits=bits)
        prefix = name if axis is None else f"{name}_axis{axis}"
        if f"{prefix}_int8" not in self.constants:
            self._add(f"{prefix}_int8", rounded.levels)
            self.fp32_bytes += matrix.nbytes
            self.int8_bytes += rounded.bytes
        return prefix, rounded

    def _add(self, name: str, values: npt.NDArray[Any]) -> None:
        if name not in self.constants:
            add_initializer(self.model, name, values)
            self.constants[name] = self.model.graph.initializer[-1]


def _left(model: ModelProto, possible: set[str]) -> dict[str, str]:
    """Matrix products that no dialect has a form for."""
    reasons = {
        "MatMul": "its inputs are neither one activation and one constant matrix nor two activations",
        "Gemm": "it is scaled or transposes its activation, or its matrix is no constant",
    }
    return {
        node.name: reasons[node.op_type]
        for node in model.graph.node
        if node.op_type in reasons and node.name not in possible
    }
