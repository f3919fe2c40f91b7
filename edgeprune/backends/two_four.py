"""2:4 sparsity in an ONNX model: which products have it, and whether TensorRT made use of it.

Of each four neighbours along the axis that a product sums over, two or more are zero; the tensor cores since
Ampere multiply such weights twice as fast. A builder that is allowed to use these kernels need not pick them,
so what it says of that is read from its log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Products", "sparse_kernels", "two_four_products"]

_GROUP, _KEPT = 4, 2
# What TensorRT's log says at the end of a build with sparse kernels allowed: 10.x counts, 8.x listed.
_COUNTED = re.compile(r"\(Sparsity\) Chose (\d+) layer")
_LISTED = re.compile(
    r"\(Sparsity\) TRT inference plan picked sparse implementation for layers:(.*)", re.DOTALL
)


@dataclass(frozen=True)
class Products:
    """Matrix products with weights, by the name of their node.

    Attributes:
        sparse: Those whose weights have the pattern.
        dense: The others.
    """

    sparse: tuple[str, ...]
    dense: tuple[str, ...]


def two_four_products(model: Any) -> Products:
    """Sorts the products of an ONNX model, FP32 or with explicit Q/DQ, by whether their weights are 2:4."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    found: dict[bool, list[str]] = {True: [], False: []}
    for node in model.graph.node:
        weights = _weights(node, constants, makers)
        if weights is not None:
            found[_has_pattern(weights)].append(node.name or node.output[0])
    return Products(tuple(found[True]), tuple(found[False]))


def _weights(
    node: Any, constants: Mapping[str, Any], makers: Mapping[str, Any]
) -> npt.NDArray[np.generic] | None:
    """Weights [summed over, outputs] of a product; None: it is none, or multiplies two activations."""
    if node.op_type not in ("MatMul", "Gemm"):
        return None
    weights = _constant(node.input[1], constants, makers)
    if weights is None or weights.ndim != 2:
        return None
    turned = any(entry.name == "transB" and entry.i for entry in node.attribute)
    return weights.T if turned else weights


def _constant(
    name: str, constants: Mapping[str, Any], makers: Mapping[str, Any]
) -> npt.NDArray[np.generic] | None:
    """A constant, through what neither moves zeros nor makes them: symmetric Q/DQ, casts, transpositions."""
    from onnx import numpy_helper

    if name in constants:
        return numpy_helper.to_array(constants[name])
    node = makers.get(name)
    if node is None or node.op_type not in ("QuantizeLinear", "DequantizeLinear", "Cast", "Transpose"):
        return None
    found = _constant(node.input[0], constants, makers)
    if found is None or node.op_type != "Transpose":
        return found
    order = next((list(entry.ints) for entry in node.attribute if entry.name == "perm"), None)
    return np.transpose(found, order)


def _has_pattern(weights: npt.NDArray[np.generic]) -> bool:
    rows, columns = weights.shape
    if rows % _GROUP:
        return False
    kept = (weights != 0).reshape(rows // _GROUP, _GROUP, columns).sum(axis=1)
    return bool((kept <= _KEPT).all())


def sparse_kernels(log: Sequence[str]) -> int | None:
    """How many layers got sparse kernels, as TensorRT's log says; None: it does not say."""
    for line in log:
        if match := _COUNTED.search(line):
            return int(match[1])
        if match := _LISTED.search(line):
            return len([name for name in re.split(r"[,\n]", match[1]) if name.strip()])
    return None
