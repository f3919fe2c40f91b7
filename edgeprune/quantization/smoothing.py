"""Moving outliers of activations into weights, where INT8 holds them per channel. Exact in FP32.

For a channel j of an activation X and the rows W_j that multiply it, ``X W = (X / s)(s W)`` with any s > 0.
SmoothQuant (Xiao et al., arXiv 2211.10438, equation 4) takes ``s_j = max|X_j|^α / max|W_j|^(1-α)``.

| pair | 1/s goes into | what else changes |
|---|---|---|
| LayerNorm → Q, K, V | scale and shift of the LayerNorm | the residual path is multiplied by s again |
| LayerNorm → first FFN matrix | the same | the same |
| V → O | columns of V and its bias | nothing: attention's context is linear in V, channel by channel |

The second FFN matrix reads GELU, through which no scale can be moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgeprune.quantization.graphs import (
    Operator,
    add_initializer,
    consumers,
    drop_unused,
    initializers,
    operators,
    prepared,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["Pair", "factors", "migrate", "pairs", "scales", "smooth"]

FloatArray = npt.NDArray[np.float32]
_LARGEST = 2.0**10
"""Factors stay within [1/1024, 1024], so that a channel that is nearly never used is not blown up."""


@dataclass(frozen=True)
class Pair:
    """A scale migration.

    Attributes:
        kind: See the module's table.
        source: Node that takes 1/s: the LayerNormalization, or V's MatMul.
        bias: V's bias addition; None without one, and for a LayerNorm.
        activation: What the targets read.
        targets: MatMul nodes that take s.
    """

    kind: Literal["norm", "value"]
    source: str
    bias: str | None
    activation: str
    targets: tuple[str, ...]


def pairs(model: ModelProto) -> tuple[Pair, ...]:
    """Migrations that a prepared model allows; what is not of a known form is left alone."""
    return tuple(_pairs(model))


def factors(peaks: FloatArray, weights: Sequence[FloatArray], alpha: float) -> FloatArray:
    """What to divide each channel of an activation by.

    Args:
        peaks: [channels], largest magnitudes of the activation.
        weights: Matrices [channels, out] that multiply it.
        alpha: 0 leaves the activation as it is up to what the weights gain; 1 makes all its channels alike.

    Returns:
        [channels], 1 where the activation or the weights are zero throughout.

    Raises:
        ValueError: `alpha` is not in [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], not {alpha}")
    rows = np.max([np.abs(matrix).max(axis=1) for matrix in weights], axis=0).astype(np.float64)
    used = (peaks > 0) & (rows > 0)
    found = np.ones(len(peaks))
    found[used] = peaks[used].astype(np.float64) ** alpha / rows[used] ** (1 - alpha)
    return np.clip(found, 1 / _LARGEST, _LARGEST).astype(np.float32)


def smooth(
    model: ModelProto, peaks: Mapping[str, FloatArray], *, alpha: float = 0.5
) -> tuple[ModelProto, tuple[Pair, ...]]:
    """The same function with outliers moved into the weights.

    Ranges must be observed anew on the result: the activations have other values, and those of LayerNorms
    have the names that they had.

    Args:
        model: FP32; left as it is.
        peaks: Largest magnitude per channel by activation (see `observing.Calibration.channel_peaks`); a
            pair whose activation is missing is left alone.
        alpha: See `factors`.

    Returns:
        The model, and the pairs that were migrated.
    """
    return migrate(model, scales(model, peaks, alpha=alpha))


def scales(
    model: ModelProto, peaks: Mapping[str, FloatArray], *, alpha: float = 0.5
) -> dict[str, FloatArray]:
    """What each channel of an activation is to be divided by, by activation; arguments as of `smooth`."""
    whole = prepared(model)
    nodes = {node.name: node for node in whole.graph.node}
    return {
        pair.activation: factors(
            peaks[pair.activation], [_values(whole, nodes[name].input[1]) for name in pair.targets], alpha
        )
        for pair in pairs(whole)
        if pair.activation in peaks
    }


def migrate(model: ModelProto, scales: Mapping[str, FloatArray]) -> tuple[ModelProto, tuple[Pair, ...]]:
    """The same function with these scales moved into the weights.

    Args:
        model: FP32; left as it is.
        scales: [channels] by activation; a pair whose activation is missing is left alone.

    Returns:
        The model, and the pairs that were migrated.
    """
    result = prepared(model)
    done = []
    for pair in pairs(result):
        if pair.activation in scales:
            _migrate(result, pair, scales[pair.activation])
            done.append(pair)
    drop_unused(result)
    return result, tuple(done)


def _migrate(model: ModelProto, pair: Pair, scale: FloatArray) -> None:
    nodes = {node.name: node for node in model.graph.node}
    targets = [nodes[name] for name in pair.targets]
    for node in targets:
        _replace(model, node, 1, _values(model, node.input[1]) * scale[:, None])
    source = nodes[pair.source]
    if pair.kind == "norm":
        _replace(model, source, 1, _values(model, source.input[1]) / scale)
        if len(source.input) > 2 and source.input[2]:
            _replace(model, source, 2, _values(model, source.input[2]) / scale)
        _restore_others(model, source, pair, scale)
    else:
        _replace(model, source, 1, _values(model, source.input[1]) / scale)
        if pair.bias is not None:
            bias = nodes[pair.bias]
            index = next(i for i, name in enumerate(bias.input) if name not in source.output)
            _replace(model, bias, index, _values(model, bias.input[index]) / scale)


def _restore_others(model: ModelProto, source: NodeProto, pair: Pair, scale: FloatArray) -> None:
    """Whoever else reads the LayerNorm, as the residual path does, reads it times s."""
    from onnx.helper import make_node

    name = pair.activation
    others = [node for node in consumers(model)[name] if node.name not in pair.targets]
    others = [node for node in others if node.op_type != "Shape"]
    if not others:
        return
    restored = f"{name}_restored"
    add_initializer(model, f"{name}_factors", scale)
    for node in others:
        for index, entry in enumerate(node.input):
            if entry == name:
                node.input[index] = restored
    at = next(index for index, node in enumerate(model.graph.node) if node.name == source.name)
    added = make_node("Mul", [name, f"{name}_factors"], [restored], f"{source.name}/restore")
    model.graph.node.insert(at + 1, added)


def _replace(model: ModelProto, node: NodeProto, index: int, values: npt.NDArray[Any]) -> None:
    """Give one input of one node new values; another node that shares the constant keeps the old ones."""
    name, taken = f"{node.name}/smoothed_{index}", initializers(model)
    while name in taken:  # V takes part in two pairs
        name += "+"
    add_initializer(model, name, np.ascontiguousarray(values, np.float32))
    node.input[index] = name


def _values(model: ModelProto, name: str) -> FloatArray:
    from onnx.numpy_helper import to_array

    return np.asarray(to_array(initializers(model)[name]), np.float32)


def _pairs(model: ModelProto) -> Iterator[Pair]:
    linear = [operator for operator in operators(model) if operator.kind == "linear"]
    by_activation: dict[str, list[Operator]] = {}
    for operator in linear:
        by_activation.setdefault(operator.activations[0], []).append(operator)
    made_by = {name: node for node in model.graph.node for name in node.output}
    constants = initializers(model)
    readers = consumers(model)
    outputs = {value.name for value in model.graph.output}
    for activation, group in by_activation.items():
        maker = made_by.get(activation)
        targets = tuple(operator.name for operator in group)
        if maker is None or activation in outputs:
            continue
        if maker.op_type == "LayerNormalization" and set(maker.input[1:]) - {""} <= constants.keys():
            yield Pair("norm", maker.name, None, activation, targets)
            continue
        trace = _trace_value(maker, made_by, readers)
        if trace is not None:
            source, bias = trace
            if source.input[1] in constants and (bias is None or set(bias.input) & constants.keys()):
                yield Pair("value", source.name, bias.name if bias else None, activation, targets)


def _trace_value(
    node: NodeProto, made_by: Mapping[str, NodeProto], readers: Mapping[str, Sequence[NodeProto]]
) -> tuple[NodeProto, NodeProto | None] | None:
    """From attention's context back to V's MatMul and its bias, if nothing else reads what lies between.

    Context: Reshape(Transpose(MatMul(probabilities, Transpose(Reshape(V))))). Heads are split and joined in
    the same order, so that channel j of the context is made of channel j of V.
    """
    steps = ("Reshape", "Transpose", "MatMul", "Transpose", "Reshape")
    current: NodeProto | None = node
    for number, step in enumerate(steps):
        if current is None or current.op_type != step:
            return None
        following = current.input[1 if step == "MatMul" else 0]
        if number and _shared(current, readers):
            return None
        current = made_by.get(following)
    if current is None or _shared(current, readers):
        return None
    if current.op_type == "MatMul":
        return current, None
    if current.op_type != "Add":
        return None
    found = [made_by[name] for name in current.input if name in made_by]
    products = [maker for maker in found if maker.op_type == "MatMul"]
    if len(products) != 1 or _shared(products[0], readers):
        return None
    return products[0], current


def _shared(node: NodeProto, readers: Mapping[str, Sequence[NodeProto]]) -> bool:
    """Whether a node's result has more readers than one; reading its shape does not count."""
    return sum(reader.op_type != "Shape" for reader in readers.get(node.output[0], ())) > 1
