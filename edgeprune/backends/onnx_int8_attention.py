"""onnxruntime's own attention operators in a quantized graph.

Its offline optimizer fuses no attention between Q and DQ, nor where the residual path is scaled (see
`quantization.smoothing`). Here a layer becomes one of two operators:

| projections | operator | what runs in INT8 |
|---|---|---|
| all three in INT8, from one unsigned activation | QAttention | the projections, in the operator |
| any other | MultiHeadAttention | the projections that are, before it |

Scores, softmax and context stay in FP32, as they were. Measured with onnxruntime 1.32 in docs/lab-notes.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprune.backends.onnx_attention_form import Attention, find_attention
from edgeprune.backends.onnx_int8_products import DOMAIN, Linear, drop_unread, linear_layers, opset_of_domain
from edgeprune.quantization.graphs import add_initializer, initializers

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["fuse_int8_attention"]

_MASK = "attention_mask"
_INT32, _INT64 = 6, 7
_LEAST_HIDDEN = -1000.0  # exp of it is 0 in FP32, and scores do not make up for it


def fuse_int8_attention(model: ModelProto) -> tuple[ModelProto, list[str]]:
    """A copy with fused attention, and what was done in sentences.

    Args:
        model: A graph with explicit QDQ; left as it is.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    every = sum(node.op_type == "Softmax" for node in model.graph.node)
    fuser = _Fuser(result)
    kinds = [fuser.fuse(layer) for layer in find_attention(model)]
    fused = sum(kind is not None for kind in kinds)
    notes = []
    if fused:
        fuser.finish()
        apart = kinds.count("MultiHeadAttention")
        notes.append(
            f"attention of {_layers(fused)} fused before compiling"
            + (f", in {_layers(apart)} without its projections" if apart else "")
        )
    if fused < every:
        notes.append(f"attention of {_layers(every - fused)} is left as quantized: its form has no operator")
    return result, notes


def _layers(count: int) -> str:
    return f"{count} {'layer' if count == 1 else 'layers'}"


@dataclass(frozen=True)
class _Padding:
    """A mask that only hides padding.

    Attributes:
        hidden: What is added to the scores of hidden tokens.
    """

    hidden: float


class _Fuser:
    """Replaces the operators of layers, one after another."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.constants = initializers(model)
        self.linear = {layer.result: layer for layer in linear_layers(model)}
        self.instead: dict[str, NodeProto] = {}
        self.masks: dict[str, _Padding | None] = {}

    def fuse(self, layer: Attention) -> str | None:
        """Which operator a layer becomes; None: it stays as it is."""
        from onnx.helper import make_node

        padding = self._padding(layer.mask)
        if layer.mask and padding is None:
            return None
        given: dict[str, Any] = {"domain": DOMAIN, "num_heads": layer.heads}
        if padding is not None:
            given["mask_filter_value"] = padding.hidden
        mask = f"{_MASK}_int32" if padding is not None else ""
        name = f"{layer.name}/fused"
        parts = [self.linear.get(part) for part in (layer.query, layer.key, layer.value)]
        joined = self._join([part for part in parts if part is not None], name)
        if joined is not None:
            kind, inputs = "QAttention", [*joined[:5], mask, *joined[5:]]
        else:
            kind, inputs = "MultiHeadAttention", [layer.query, layer.key, layer.value, "", mask]
        self.instead[layer.result] = make_node(kind, inputs, [layer.result], name, **given)
        return kind

    def finish(self) -> None:
        """Put the operators in, and take out what nothing reads any more."""
        from onnx.helper import make_node

        graph = self.model.graph
        nodes = [self.instead.get(node.output[0], node) for node in graph.node]
        if any(self.masks.values()):
            nodes.insert(0, make_node("Cast", [_MASK], [f"{_MASK}_int32"], f"{_MASK}/int32", to=_INT32))
        del graph.node[:], graph.value_info[:]
        graph.node.extend(nodes)
        opset_of_domain(self.model)
        drop_unread(self.model)

    def _padding(self, name: str) -> _Padding | None:
        if name and name not in self.masks:
            self.masks[name] = _hides_padding(self.model, name)
        return self.masks.get(name)

    def _join(self, parts: list[Linear], name: str) -> list[str] | None:
        """Inputs of QAttention for Q, K and V side by side; None where they cannot be."""
        activations = {part.activation for part in parts}
        shapes = {tuple(self.constants[part.weight].dims) for part in parts}
        biased = [part.bias for part in parts if part.bias]
        if len(biased) < 3 or len(activations) > 1 or len(shapes) > 1 or not parts[0].unsigned:
            return None
        first = parts[0].activation
        columns = next(iter(shapes))[1]
        weight, scale, bias = f"{name}/weight", f"{name}/scale", f"{name}/bias"
        self._store(weight, [self._values(part.weight) for part in parts], axis=1)
        self._store(scale, [np.broadcast_to(self._values(part.scale), columns) for part in parts])
        self._store(bias, [self._values(each) for each in biased])
        return [first[0], weight, bias, first[1], scale, first[2]]

    def _values(self, name: str) -> npt.NDArray[Any]:
        from onnx.numpy_helper import to_array

        return to_array(self.constants[name])

    def _store(self, name: str, parts: list[npt.NDArray[Any]], axis: int = 0) -> None:
        add_initializer(self.model, name, np.ascontiguousarray(np.concatenate(parts, axis)))


def _hides_padding(model: ModelProto, name: str) -> _Padding | None:
    """Whether a tensor adds 0 to the scores of all tokens of a text, and nothing but a low number to others.

    Seen from what it gives for two texts, one of them padded, as exports spell masks out in many ways.
    """
    import onnxruntime
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info

    part = _only_what_makes(model, name)
    names = {value.name: value.type.tensor_type.elem_type for value in part.graph.input}
    if names.get(_MASK) != _INT64 or set(names.values()) != {_INT64}:
        return None
    part.graph.output.append(make_tensor_value_info(name, TensorProto.FLOAT, None))
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    feed: Mapping[str, Any] = {each: mask if each == _MASK else np.ones_like(mask) for each in names}
    session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    (added,) = session.run([name], feed)
    if added.ndim != 4 or not np.isfinite(added).all():
        return None
    added = np.broadcast_to(added, (2, 1, 5, 5))
    shown = np.broadcast_to(mask[:, None, None, :] == 1, added.shape)
    hidden = added[~shown]
    if added[shown].any() or hidden.max() > _LEAST_HIDDEN or hidden.min() < hidden.max():
        return None
    return _Padding(float(hidden.max()))


def _only_what_makes(model: ModelProto, name: str) -> ModelProto:
    """The part of a graph that a tensor is computed by, without outputs."""
    import onnx

    wanted = {name}
    nodes: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            wanted.update(node.input)
            nodes.insert(0, node)
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = model.graph.name
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(each for each in model.graph.initializer if each.name in wanted)
    part.graph.input.extend(each for each in model.graph.input if each.name in wanted)
    return part
