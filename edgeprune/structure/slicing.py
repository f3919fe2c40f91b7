"""Cutting attention heads, FFN rows and layers out of a model, so that its matrices are smaller.

A head goes with its rows of Q, K and V, their biases, and its columns of O; an FFN row with its bias and
its column of the second matrix. Q and K keep the same rows, and the head size stays, and so does the scaling
by 1/√(head size). The result computes what the same model computes with those units set to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.structure.architectures import Architecture, architecture_of, encoder_layers
from edgeprune.structure.description import KeptLayer
from edgeprune.structure.emptied import NoAttention, OutputBias

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["dense_layers", "kept_layers", "slice_layers", "slice_linear"]

_KEPT = "edgeprune_kept"


def kept_layers(model: Any) -> tuple[KeptLayer, ...] | None:
    """What `slice_layers` has left of a model, by the numbers of the dense one; None: all of it."""
    return getattr(model, _KEPT, None)


def dense_layers(model: Any) -> tuple[KeptLayer, ...]:
    """Everything that a model has now, in its own numbers: what to choose from.

    Raises:
        UnsupportedError: The table has no such architecture.
    """
    entry = architecture_of(model)
    found = []
    for number, layer in enumerate(encoder_layers(model)):
        heads = int(getattr(layer.get_submodule(entry.attention), entry.heads))
        up = layer.get_submodule(entry.linears["up"])
        rows = up.out_features if isinstance(up, nn.Linear) else 0
        found.append(KeptLayer(number, tuple(range(heads)), tuple(range(rows))))
    return tuple(found)


def slice_layers(model: Any, kept: Sequence[KeptLayer]) -> None:
    """Keep these layers, heads and rows of a model; in place.

    Args:
        model: A Hugging Face model of a known architecture, with or without a head, sliced before or not.
        kept: In ascending order of layers, in the model's own numbers. A layer without heads or rows stays
            with its LayerNorms and output biases; one that is not listed goes as a whole.

    Raises:
        EdgepruneError: A layer, head or row that the model does not have, or that is listed twice.
        UnsupportedError: The table has no such architecture.
    """
    entry = architecture_of(model)
    now = dense_layers(model)
    _require_parts(kept, now)
    before = kept_layers(model) or now
    layers = encoder_layers(model)
    for item in kept:
        layer = layers[item.source]
        if item.heads != now[item.source].heads:
            _slice_attention(entry, layer, item.heads)
        if item.rows != now[item.source].rows:
            _slice_ffn(entry, layer, item.rows)
    stack, _, name = entry.layers.rpartition(".")
    remaining = nn.ModuleList([layers[item.source] for item in kept])
    setattr(model.base_model.get_submodule(stack), name, remaining)
    setattr(model, _KEPT, tuple(_compose(before[item.source], item) for item in kept))


def _compose(before: KeptLayer, now: KeptLayer) -> KeptLayer:
    """What was kept of what was kept, in the numbers of the dense model."""
    heads = tuple(before.heads[index] for index in now.heads)
    return KeptLayer(before.source, heads, tuple(before.rows[index] for index in now.rows))


def _require_parts(kept: Sequence[KeptLayer], now: Sequence[KeptLayer]) -> None:
    if not _ascending([item.source for item in kept], len(now)):
        raise EdgepruneError(
            f"layers {[item.source for item in kept]} are not layers of a model of {len(now)}, in order"
        )
    for item in kept:
        for what, part, whole in (
            ("heads", item.heads, now[item.source].heads),
            ("FFN rows", item.rows, now[item.source].rows),
        ):
            if not _ascending(part, len(whole)):
                raise EdgepruneError(
                    f"layer {item.source} has {len(whole)} {what}; kept ones must be among them, in order"
                )


def _ascending(numbers: Sequence[int], count: int) -> bool:
    steps = zip([-1, *numbers], [*numbers, count], strict=True)
    return all(low < high for low, high in steps)


def _slice_attention(entry: Architecture, layer: Any, heads: tuple[int, ...]) -> None:
    attention = layer.get_submodule(entry.attention)
    size = getattr(attention, entry.attention_width) // getattr(attention, entry.heads)
    output = entry.linears["output"]
    if not heads:
        bias = layer.get_submodule(output).bias
        inside = output.removeprefix(f"{entry.attention}.")
        if inside != output:
            empty = NoAttention(inside, bias)
        else:
            empty = NoAttention()
            layer.set_submodule(output, OutputBias(bias))
        setattr(empty, entry.heads, 0)
        setattr(empty, entry.attention_width, 0)
        layer.set_submodule(entry.attention, empty)
        return
    width = torch.cat([torch.arange(head * size, (head + 1) * size) for head in heads])
    for kind in ("query", "key", "value"):
        slice_linear(layer.get_submodule(entry.linears[kind]), rows=width)
    slice_linear(layer.get_submodule(output), columns=width)
    setattr(attention, entry.heads, len(heads))
    setattr(attention, entry.attention_width, len(heads) * size)
    if entry.position_bias:
        _slice_position_bias(attention, heads)


def _slice_position_bias(attention: Any, heads: tuple[int, ...]) -> None:
    """All layers get one bias [1, heads, T, T]; this one reads that of its own heads."""
    last = getattr(attention, "edgeprune_heads", None)
    chosen = list(heads) if last is None else [last[head] for head in heads]
    attention.edgeprune_heads = chosen
    if last is None:
        attention.register_forward_pre_hook(_read_own_heads, with_kwargs=True)


def _read_own_heads(
    attention: Any, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Before an attention module: the position bias, by name or fourth, with the heads that are left."""
    if named.get("position_bias") is not None:
        return arguments, named | {"position_bias": named["position_bias"][:, attention.edgeprune_heads]}
    if len(arguments) > 3 and arguments[3] is not None:
        return (*arguments[:3], arguments[3][:, attention.edgeprune_heads], *arguments[4:]), named
    return arguments, named


def _slice_ffn(entry: Architecture, layer: Any, rows: tuple[int, ...]) -> None:
    up, down = (layer.get_submodule(entry.linears[kind]) for kind in ("up", "down"))
    if rows:
        chosen = torch.tensor(rows)
        slice_linear(up, rows=chosen)
        slice_linear(down, columns=chosen)
        return
    layer.set_submodule(entry.linears["up"], nn.Identity())
    layer.set_submodule(entry.linears["down"], OutputBias(down.bias))


def slice_linear(linear: nn.Linear, *, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
    """Keep these outputs (rows, with their biases) and inputs (columns) of a linear layer; in place."""
    weight = linear.weight.detach()
    if rows is not None:
        weight = weight[rows]
        if linear.bias is not None:
            linear.bias = nn.Parameter(linear.bias.detach()[rows], linear.bias.requires_grad)
    if columns is not None:
        weight = weight[:, columns]
    linear.weight = nn.Parameter(weight.contiguous(), linear.weight.requires_grad)
    linear.out_features, linear.in_features = weight.shape
