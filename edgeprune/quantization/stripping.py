"""From a QDQ graph back to FP32 and its ranges: how another quantizer's result is brought to a dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprune.errors import UnsupportedError
from edgeprune.quantization.graphs import (
    add_initializer,
    attributes,
    drop_unused,
    initializers,
    prepared,
)
from edgeprune.quantization.ranges import Range

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["strip"]

_LIMITS: Mapping[str, tuple[int, int]] = {"int8": (-128, 127), "uint8": (0, 255)}


def strip(model: ModelProto) -> tuple[ModelProto, dict[str, Range]]:
    """The graph without its Q and DQ, prepared, and the range of each activation that was quantized.

    Constants that are quantized while running come back as they are stored, so nothing of them is lost. INT8
    constants come back rounded. A constant that is transposed while running is stored transposed.

    Args:
        model: Any graph with explicit QDQ; left as it is.

    Raises:
        UnsupportedError: Quantization in a form that is not known; the node is named.
    """
    result = prepared(model)
    _forget_origin(result)
    ranges = _Stripper(result).run()
    _store_transposed(result)
    drop_unused(result)
    return prepared(result), ranges


class _Stripper:
    """One pass over the nodes of a graph, in their order."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.constants = initializers(model)
        self.quantized: dict[str, tuple[str, NodeProto]] = {}
        """By INT8 tensor: what was quantized, and the QuantizeLinear."""
        self.instead: dict[str, str] = {}
        self.ranges: dict[str, Range] = {}

    def run(self) -> dict[str, Range]:
        kept: list[NodeProto] = []
        for node in self.model.graph.node:
            if node.op_type == "QuantizeLinear":
                self.quantized[node.output[0]] = (self.instead.get(node.input[0], node.input[0]), node)
            elif node.op_type == "Clip" and node.input[0] in self.quantized:
                self.quantized[node.output[0]] = self.quantized[node.input[0]]
            elif node.op_type == "DequantizeLinear":
                self._dequantize(node)
            else:
                for index, name in enumerate(node.input):
                    if name in self.quantized:
                        raise _unknown(node, f"{node.op_type} reads the INT8 tensor {name}")
                    node.input[index] = self.instead.get(name, name)
                kept.append(node)
        for value in self.model.graph.output:
            if value.name in self.instead or value.name in self.quantized:
                raise UnsupportedError(
                    f"the output {value.name} is quantized", where=f"output {value.name}", hint=_HINT
                )
        del self.model.graph.node[:]
        self.model.graph.node.extend(kept)
        return self.ranges

    def _dequantize(self, node: NodeProto) -> None:
        name = node.input[0]
        if name in self.quantized:
            source, quantizer = self.quantized[name]
            if not self._reverses(quantizer, node):
                raise _unknown(node, "it dequantizes with other scales than were quantized with")
            if source not in self.constants:
                self._observe(source, quantizer)
        elif name in self.constants:
            source = f"{name}_fp32"
            if source not in self.constants:
                add_initializer(self.model, source, self._values(node))
                self.constants[source] = self.model.graph.initializer[-1]
        else:
            raise _unknown(node, f"it is not known what {name} was before it was quantized")
        self.instead[node.output[0]] = source

    def _reverses(self, quantizer: NodeProto, node: NodeProto) -> bool:
        """Whether one has the other's scales and zero points; exporters store large equal constants twice."""
        if attributes(quantizer).get("axis", 1) != attributes(node).get("axis", 1):
            return False
        given, taken = quantizer.input[1:], node.input[1:]
        return len(given) == len(taken) and all(map(self._equal, given, taken))

    def _equal(self, one: str, other: str) -> bool:
        from onnx.numpy_helper import to_array

        if one == other:
            return True
        if not {one, other} <= self.constants.keys():
            return False
        first, second = (to_array(self.constants[name]) for name in (one, other))
        return first.dtype == second.dtype and np.array_equal(first, second)

    def _observe(self, name: str, quantizer: NodeProto) -> None:
        scale, zero = (self._constant(quantizer, index) for index in (1, 2))
        if scale.size != 1 or zero.dtype.name not in _LIMITS:
            raise _unknown(quantizer, f"activation {name} is not quantized to 8 bits with one scale")
        lowest, highest = _LIMITS[zero.dtype.name]
        step, offset = float(scale.reshape(())), int(zero.reshape(()))
        if lowest == -128 and offset == 0:
            lowest = -127  # the range that gives the same scale again
        found = Range(min(0.0, (lowest - offset) * step), max(0.0, (highest - offset) * step))
        before = self.ranges.setdefault(name, found)
        self.ranges[name] = Range(min(found.low, before.low), max(found.high, before.high))

    def _constant(self, node: NodeProto, index: int) -> npt.NDArray[Any]:
        from onnx.numpy_helper import to_array

        if index == 2 and len(node.input) < 3:
            return np.zeros((), np.uint8)
        if node.input[index] not in self.constants:
            raise _unknown(node, f"{node.input[index]} is computed while running")
        return to_array(self.constants[node.input[index]])

    def _values(self, node: NodeProto) -> npt.NDArray[np.float32]:
        levels, scale = self._constant(node, 0), self._constant(node, 1)
        zero = self._constant(node, 2) if len(node.input) > 2 else np.zeros((), levels.dtype)
        if scale.size > 1:
            axis = attributes(node).get("axis", 1) % levels.ndim
            others = tuple(index for index in range(levels.ndim) if index != axis)
            scale, zero = np.expand_dims(scale, others), np.expand_dims(zero, others)
        return np.asarray((levels.astype(np.float32) - zero.astype(np.float32)) * scale, np.float32)


_HINT = "quantize with the engine onnxruntime"


def _forget_origin(model: ModelProto) -> None:
    """Takes out what an exporter says of where each part came from: source lines, with this machine's paths.

    It says so of every node and tensor, which in a small model is more than the model.
    """
    graph = model.graph
    parts = (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""


def _unknown(node: NodeProto, what: str) -> UnsupportedError:
    return UnsupportedError(what, where=f"node {node.name}", hint=_HINT)


def _store_transposed(model: ModelProto) -> None:
    from onnx.numpy_helper import to_array

    constants = initializers(model)
    kept: list[NodeProto] = []
    instead: dict[str, str] = {}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = instead.get(name, name)
        if node.op_type == "Transpose" and node.input[0] in constants:
            name = f"{node.input[0]}_transposed"
            values = to_array(constants[node.input[0]])
            order = attributes(node).get("perm", list(reversed(range(values.ndim))))
            name += "" if values.ndim == 2 else "_" + "_".join(map(str, order))
            if name not in constants:
                add_initializer(model, name, np.ascontiguousarray(values.transpose(order)))
                constants[name] = model.graph.initializer[-1]
            instead[node.output[0]] = name
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
