"""A smaller hidden width: one set of kept dimensions over embeddings, all layers and their LayerNorms.

What passes from layer to layer is one vector per token, so a dimension goes everywhere or nowhere. Unlike
heads and rows this changes what is computed: LayerNorm's mean and variance are those of the dimensions that
are left. So it has to be trained with. The head keeps its own width; it reads fewer inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.structure.architectures import architecture_of, encoder_layers
from edgeprune.structure.slicing import slice_linear

__all__ = ["hidden_width", "kept_hidden", "slice_hidden"]

_KEPT = "edgeprune_hidden"


def kept_hidden(model: Any) -> tuple[int, ...] | None:
    """Dimensions that `slice_hidden` has left, by their numbers in the dense model; None: all."""
    return getattr(model, _KEPT, None)


def hidden_width(model: Any) -> int:
    """Width of the states that pass from layer to layer now."""
    kept = kept_hidden(model)
    return int(model.config.hidden_size) if kept is None else len(kept)


def slice_hidden(model: Any, kept: Sequence[int]) -> None:
    """Keep these hidden dimensions; in place.

    Args:
        model: A sequence classifier of a known architecture.
        kept: Ascending, in the model's own numbers.

    Raises:
        EdgepruneError: A dimension that the model does not have, or none at all.
        UnsupportedError: The table has no such architecture, or its head begins with no linear layer.
    """
    width = hidden_width(model)
    if not kept or sorted(set(kept)) != list(kept) or kept[0] < 0 or kept[-1] >= width:
        raise EdgepruneError(f"kept hidden dimensions must be among the model's {width}, in order")
    entry, index = architecture_of(model), torch.tensor(list(kept))
    _slice_embeddings(model.base_model, index, width)
    for layer in encoder_layers(model):
        for kind, path in entry.linears.items():
            module = _found(layer, path)
            if isinstance(module, nn.Linear):
                reads = kind in ("query", "key", "value", "up")
                slice_linear(module, **({"columns": index} if reads else {"rows": index}))
            elif getattr(module, "bias", None) is not None:  # what is left of an empty sub-layer
                module.bias = nn.Parameter(module.bias.detach()[index], module.bias.requires_grad)
        for path in (entry.attention_norm, entry.ffn_norm):
            _slice_norm(layer.get_submodule(path), index)
    slice_linear(_first_linear(model, entry.head), columns=index)
    before = kept_hidden(model) or range(width)
    setattr(model, _KEPT, tuple(before[number] for number in kept))


def _found(layer: Any, path: str) -> Any:
    """The module there; None in an attention module without heads, which has no Q, K and V."""
    try:
        return layer.get_submodule(path)
    except AttributeError:
        return None


def _slice_embeddings(base: Any, index: torch.Tensor, width: int) -> None:
    """Token, position and segment tables and their LayerNorm; or the projection behind narrower ones."""
    projection = getattr(base, "embeddings_project", None)
    if isinstance(projection, nn.Linear):  # ELECTRA: the tables have a width of their own
        slice_linear(projection, rows=index)
        return
    for module in base.embeddings.modules():
        if isinstance(module, nn.Embedding) and module.embedding_dim == width:
            module.weight = nn.Parameter(
                module.weight.detach()[:, index].contiguous(), module.weight.requires_grad
            )
            module.embedding_dim = len(index)
        elif isinstance(module, nn.LayerNorm):
            _slice_norm(module, index)


def _slice_norm(norm: nn.LayerNorm, index: torch.Tensor) -> None:
    norm.weight = nn.Parameter(norm.weight.detach()[index], norm.weight.requires_grad)
    norm.bias = nn.Parameter(norm.bias.detach()[index], norm.bias.requires_grad)
    norm.normalized_shape = (len(index),)


def _first_linear(model: Any, paths: Sequence[str]) -> nn.Linear:
    for path in paths:
        for module in model.get_submodule(path).modules():
            if isinstance(module, nn.Linear):
                return module
    raise UnsupportedError("the head begins with no linear layer", where=type(model).__name__)
