"""Which operators of an exported encoder can be quantized, and what they read.

| kind | operator | read |
|---|---|---|
| linear | MatMul with a constant matrix [in, out] | one activation |
| product | MatMul of two activations: attention's scores and its context | two activations |
| embedding | Gather of rows of a constant matrix [rows, width] | none: its input are ids |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgeprune.errors import UnsupportedError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = [
    "Kind",
    "Operator",
    "activations",
    "add_initializer",
    "attributes",
    "consumers",
    "drop_unused",
    "initializers",
    "operators",
    "prepared",
]

Kind = Literal["linear", "product", "embedding"]
_FIRST_OPSET_WITH_AXES = 13


@dataclass(frozen=True)
class Operator:
    """One operator that can be quantized.

    Attributes:
        name: Its node.
        kind: See the module's table.
        activations: Tensors whose range it needs.
        weight: Its constant matrix; None for a product.
    """

    name: str
    kind: Kind
    activations: tuple[str, ...]
    weight: str | None


def prepared(model: ModelProto) -> ModelProto:
    """A copy in the form that everything here works on; it computes the same.

    Constants that an exporter found twice and passes through Identity are read directly, a Gemm becomes
    MatMul and Add so that every matrix lies [in, out], and every node has a name of its own. Tensors keep
    their names. A prepared model comes back equal.

    Raises:
        UnsupportedError: The operator set is too old for scales per channel, or a node holds a graph.
    """
    import onnx

    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _FIRST_OPSET_WITH_AXES:
        raise UnsupportedError(
            f"operator set {opset} has no scales per channel",
            hint=f"export with operator set {_FIRST_OPSET_WITH_AXES} or later",
        )
    _refuse_control_flow(model)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = initializers(result)
    aliases: dict[str, str] = {}
    nodes: list[NodeProto] = []
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = aliases.get(name, name)
        if node.op_type == "Identity" and node.input[0] in constants and node.output[0] not in outputs:
            aliases[node.output[0]] = node.input[0]
        elif _is_plain_gemm(node, constants):
            nodes.extend(_matmul_and_add(node, result, constants))
        else:
            nodes.append(node)
    _name(nodes)
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused(result)
    return result


def operators(model: ModelProto) -> tuple[Operator, ...]:
    """What can be quantized in a prepared model, in the order of its nodes."""
    return tuple(_operators(model))


def activations(found: Sequence[Operator]) -> tuple[str, ...]:
    """Tensors whose range these operators need, each once."""
    return tuple(dict.fromkeys(name for operator in found for name in operator.activations))


def initializers(model: ModelProto) -> dict[str, TensorProto]:
    """Constants by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def consumers(model: ModelProto) -> dict[str, list[NodeProto]]:
    """Nodes that read a tensor, by its name."""
    found: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            found.setdefault(name, []).append(node)
    return found


def attributes(node: NodeProto) -> dict[str, Any]:
    """Attributes of a node by name."""
    from onnx.helper import get_attribute_value

    return {entry.name: get_attribute_value(entry) for entry in node.attribute}


def _operators(model: ModelProto) -> Iterator[Operator]:
    constants = initializers(model)
    floats = {name for name, tensor in constants.items() if tensor.data_type == 1}
    matrices = {name for name in floats if len(constants[name].dims) == 2 and 0 not in constants[name].dims}
    made = {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
    for node in model.graph.node:
        if node.op_type == "MatMul":
            left, right = node.input
            if right in matrices and left not in constants:
                yield Operator(node.name, "linear", (left,), right)
            elif not {left, right} & (constants.keys() | made):
                yield Operator(node.name, "product", (left, right), None)
        elif node.op_type == "Gather" and node.input[0] in matrices and not attributes(node).get("axis", 0):
            yield Operator(node.name, "embedding", (), node.input[0])


def _refuse_control_flow(model: ModelProto) -> None:
    import onnx

    for node in model.graph.node:
        if any(entry.type == onnx.AttributeProto.GRAPH for entry in node.attribute):
            raise UnsupportedError(
                f"{node.op_type} holds a graph of its own; encoders have none",
                where=f"node {node.name}",
                hint="export the model without control flow",
            )


def _is_plain_gemm(node: NodeProto, constants: dict[str, TensorProto]) -> bool:
    if node.op_type != "Gemm" or node.input[1] not in constants:
        return False
    given = attributes(node)
    return not given.get("transA", 0) and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0


def _matmul_and_add(
    node: NodeProto, model: ModelProto, constants: dict[str, TensorProto]
) -> Iterator[NodeProto]:
    from onnx.helper import make_node
    from onnx.numpy_helper import to_array

    weight, output = node.input[1], node.output[0]
    if attributes(node).get("transB", 0):
        name = f"{weight}_transposed"
        if name not in constants:
            add_initializer(model, name, np.ascontiguousarray(to_array(constants[weight]).T))
            constants[name] = model.graph.initializer[-1]
        weight = name
    has_bias = len(node.input) > 2 and node.input[2]
    product = f"{output}_product" if has_bias else output
    yield make_node("MatMul", [node.input[0], weight], [product], node.name)
    if has_bias:
        yield make_node("Add", [product, node.input[2]], [output], f"{node.name}_bias" if node.name else "")


def add_initializer(model: ModelProto, name: str, values: npt.NDArray[Any]) -> None:
    """Add a constant."""
    from onnx.numpy_helper import from_array

    model.graph.initializer.append(from_array(values, name))


def _name(nodes: Sequence[NodeProto]) -> None:
    taken = Counter(node.name for node in nodes)
    for index, node in enumerate(nodes):
        if not node.name or taken[node.name] > 1:
            node.name = f"{node.name or node.op_type}#{index}"


def drop_unused(model: ModelProto) -> None:
    """Take out constants that nothing reads."""
    read = {name for node in model.graph.node for name in node.input}
    read |= {value.name for value in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    if len(kept) < len(model.graph.initializer):
        gone = {tensor.name for tensor in model.graph.initializer if tensor.name not in read}
        inputs = [value for value in model.graph.input if value.name not in gone]
        del model.graph.initializer[:], model.graph.input[:]
        model.graph.initializer.extend(kept)
        model.graph.input.extend(inputs)
