"""Attention as exports spell it out, found by what it computes: softmax(Q Kᵀ / √d + mask) V.

Exports differ in where the scale is applied, in how heads are split off, and in what shape arithmetic lies
between. So a layer is found from its softmax outwards, by the sources, the order of axes and the scale that
reach its two products, whatever operators these took.

Shapes: queries, keys, values and result [batch, length, heads · d].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprune.quantization.graphs import attributes, consumers, initializers

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["Attention", "find_attention"]

_AS_GIVEN = (0, 1, 2, 3)  # axes: batch, length, head, d
_BY_HEAD = (0, 2, 1, 3)
_TURNED = (0, 2, 3, 1)  # by head, with d before length: Kᵀ
_SCALE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Attention:
    """One layer's attention.

    Attributes:
        name: Its softmax.
        query: Tensor that holds the queries of all heads.
        key: The keys.
        value: The values.
        heads: How many.
        mask: Tensor that is added to the scaled scores; empty where nothing is.
        result: Tensor that holds the results of all heads, before they are projected.
    """

    name: str
    query: str
    key: str
    value: str
    heads: int
    mask: str
    result: str


def find_attention(model: ModelProto) -> tuple[Attention, ...]:
    """Every attention of a graph whose form is known, in the order of its nodes.

    What is not found is an attention of another form: one with two products in INT8, or with positions in its
    scores.
    """
    graph = _Graph(model)
    found = (graph.attention(node) for node in model.graph.node if node.op_type == "Softmax")
    return tuple(layer for layer in found if layer is not None)


@dataclass(frozen=True)
class _Heads:
    """A tensor as it lies in one of attention's products: split into heads, turned, scaled."""

    source: str
    heads: int
    depth: int
    order: tuple[int, ...]
    factor: float


class _Graph:
    """A graph with ways back from a tensor to what it was made of."""

    def __init__(self, model: ModelProto) -> None:
        from onnx.numpy_helper import to_array

        self.made_by = {name: node for node in model.graph.node for name in node.output}
        self.readers = consumers(model)
        self.stored = initializers(model)
        self.small = {
            name: to_array(tensor) for name, tensor in self.stored.items() if math.prod(tensor.dims) <= 4
        }
        for node in model.graph.node:
            if node.op_type == "Constant" and "value" in (given := attributes(node)):
                self.small[node.output[0]] = to_array(given["value"])

    def attention(self, softmax: NodeProto) -> Attention | None:
        """What is around one softmax, if it is attention."""
        if attributes(softmax).get("axis", -1) not in (-1, 3):
            return None
        for scores, mask in self._summands(softmax.input[0]):
            product, factor = self._unscaled(scores)
            if product is None or product.op_type != "MatMul":
                continue
            query, key = (self._heads(name) for name in product.input)
            context = self._only_reader(softmax.output[0], "MatMul")
            if query is None or key is None or context is None or context.input[0] != softmax.output[0]:
                continue
            value, result = self._heads(context.input[1]), self._joined(context.output[0])
            if value is None or result is None:
                continue
            factor *= query.factor * key.factor * math.sqrt(query.depth)
            alike = len({(part.heads, part.depth) for part in (query, key, value)}) == 1
            orders = (query.order, key.order, value.order) == (_BY_HEAD, _TURNED, _BY_HEAD)
            if alike and orders and value.factor == 1 and abs(factor - 1) < _SCALE_TOLERANCE:
                sources = (query.source, key.source, value.source)
                return Attention(softmax.name, *sources, query.heads, mask, result)
        return None

    def _summands(self, name: str) -> list[tuple[str, str]]:
        """(scores, mask) of what goes into a softmax, either way round."""
        node = self.made_by.get(name)
        if node is None or node.op_type != "Add":
            return [(name, "")]
        left, right = node.input
        return [(left, right), (right, left)]

    def _unscaled(self, name: str) -> tuple[NodeProto | None, float]:
        """What made a tensor, before it was multiplied by numbers, and the product of these."""
        factor = 1.0
        node = self.made_by.get(name)
        while node is not None and (step := self._scaling(node)) is not None:
            name, number = step
            factor *= number
            node = self.made_by.get(name)
        return node, factor

    def _scaling(self, node: NodeProto) -> tuple[str, float] | None:
        """(tensor, number) where a node multiplies or divides a tensor by a number."""
        if node.op_type not in ("Mul", "Div"):
            return None
        left, right = node.input
        if (number := self._number(right)) is not None:
            return left, number if node.op_type == "Mul" else 1 / number
        if node.op_type == "Mul" and (number := self._number(left)) is not None:
            return right, number
        return None

    def _heads(self, name: str) -> _Heads | None:
        """The way of a tensor from where it was split into heads."""
        order, factor = _AS_GIVEN, 1.0
        while True:
            node, number = self._unscaled(name)
            factor *= number
            if node is None or node.op_type not in ("Transpose", "Reshape"):
                return None
            if node.op_type == "Reshape":
                break
            turned = attributes(node).get("perm", ())
            if len(turned) != len(order):
                return None
            order = tuple(turned[axis] for axis in order)
            name = node.input[0]
        sizes = self._sizes(node.input[1])
        if len(sizes) != len(order) or sizes[3] < 1:
            return None
        heads = sizes[2] if sizes[2] > 0 else self._width(node.input[0]) // sizes[3]
        return _Heads(node.input[0], heads, sizes[3], order, factor) if heads else None

    def _joined(self, name: str) -> str | None:
        """The tensor in which the heads lie side by side again, from their results by head."""
        turn = self._only_reader(name, "Transpose")
        if turn is None or tuple(attributes(turn).get("perm", ())) != _BY_HEAD:
            return None
        join = self._only_reader(turn.output[0], "Reshape")
        return join.output[0] if join is not None and len(self._sizes(join.input[1])) == 3 else None

    def _only_reader(self, name: str, kind: str) -> NodeProto | None:
        """The one operator that reads a tensor; reading its shape does not count."""
        readers = [node for node in self.readers.get(name, ()) if node.op_type != "Shape"]
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind else None

    def _sizes(self, name: str) -> Sequence[int]:
        """A shape that a Reshape is given; −1 where it is not constant."""
        if name in self.small:
            return [int(size) for size in self.small[name].reshape(-1)]
        node = self.made_by.get(name)
        if node is None or node.op_type != "Concat":
            return ()
        # Each part is one size: an exporter joins them one by one.
        return [self._size(part) for part in node.input]

    def _size(self, name: str) -> int:
        return int(self.small[name].item()) if name in self.small and self.small[name].size == 1 else -1

    def _width(self, name: str) -> int:
        """Of a projection, by its bias; 0 where it has none."""
        node = self.made_by.get(name)
        if node is None or node.op_type != "Add":
            return 0
        biases = [self.stored[part].dims for part in node.input if part in self.stored]
        return int(biases[0][0]) if len(biases) == 1 and len(biases[0]) == 1 else 0

    def _number(self, name: str) -> float | None:
        """A single number, also one that is computed from d, which exports read off a shape."""
        if name in self.small:
            value: Any = self.small[name]
            return float(value.item()) if value.size == 1 else None
        node = self.made_by.get(name)
        if node is None:
            return None
        if node.op_type in ("Slice", "Gather"):
            return self._last_size(node)
        if node.op_type not in ("Cast", "Identity", "Squeeze", "Unsqueeze", "Sqrt", "Mul", "Div"):
            return None
        count = 2 if node.op_type in ("Mul", "Div") else 1
        numbers = [self._number(part) for part in node.input[:count]]
        first, last = numbers[0], numbers[-1]
        if first is None or last is None:
            return None
        if node.op_type == "Sqrt":
            return math.sqrt(first)
        if node.op_type == "Mul":
            return first * last
        return first / last if node.op_type == "Div" else first

    def _last_size(self, node: NodeProto) -> float | None:
        """What is read off the end of a shape: d of a tensor that is split into heads."""
        shape = self.made_by.get(node.input[0])
        if shape is None or shape.op_type != "Shape" or self._size(node.input[1]) not in (-1, 3):
            return None
        if node.input[1] not in self.small:
            return None
        heads = self._heads(shape.input[0])
        return float(heads.depth) if heads is not None and heads.order[3] == 3 else None
