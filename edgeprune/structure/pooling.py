"""Mean pooling: what the head sees is the mean over all tokens, not the state of the first one.

Encoders that were trained to give sentence embeddings (sentence-transformers) keep what they know about a
text in the mean of their token states; their first token has learned nothing in particular. So that every
architecture's own head, exporter and trainer work on, the mean is put where heads look: in the place of the
first token's last state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from edgeprune.structure.architectures import architecture_of

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["MeanPooling", "attach_mean_pooling", "has_mean_pooling"]

_ATTRIBUTE = "edgeprune_pooling"


class MeanPooling:
    """Two hooks: one sees the attention mask on its way in, the other the last states on their way out."""

    def __init__(self) -> None:
        self._mask: Tensor | None = None

    def remember(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Before the base model: keep the attention mask, [batch, tokens], 1 for tokens and 0 for padding."""
        mask = named.get("attention_mask")
        if mask is None and len(arguments) > 1:
            mask = arguments[1]
        self._mask = mask

    def pool(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        """After the stack of layers: the first state becomes the mean of those of all tokens."""
        states = output[0]
        pooled = torch.cat([masked_mean(states, self._mask), states[:, 1:]], dim=1)
        self._mask = None
        if isinstance(output, tuple):
            return (pooled, *output[1:])
        output["last_hidden_state"] = pooled
        return output


def masked_mean(states: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over tokens, padding left out.

    Args:
        states: [batch, tokens, hidden].
        mask: [batch, tokens], 1 for tokens and 0 for padding; None: no padding.

    Returns:
        [batch, 1, hidden].
    """
    if mask is None:
        return states.mean(dim=1, keepdim=True)
    kept = mask.unsqueeze(-1).to(states.dtype)
    return (states * kept).sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True)


def attach_mean_pooling(model: Any) -> None:
    """Let a classifier's head see the mean over all tokens.

    Raises:
        UnsupportedError: The table has no such architecture.
    """
    entry = architecture_of(model)
    pooling = MeanPooling()
    model.base_model.register_forward_pre_hook(pooling.remember, with_kwargs=True)
    stack = model.base_model.get_submodule(entry.layers.rpartition(".")[0])
    stack.register_forward_hook(pooling.pool)
    setattr(model, _ATTRIBUTE, pooling)


def has_mean_pooling(model: Any) -> bool:
    """Whether `attach_mean_pooling` was called on a model."""
    return isinstance(getattr(model, _ATTRIBUTE, None), MeanPooling)
