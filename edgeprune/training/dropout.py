"""Another share of dropout than the one that a model was pre-trained with, for as long as it is in memory.

A student that learns from a teacher's answers on many texts does not learn them by heart, and a small one has
no units to spare; on a processor, drawing the random numbers is a good part of a small student's step.
"""

from __future__ import annotations

from typing import Any

__all__ = ["set_dropout"]

# Fused attention drops out by itself, and modules that use it keep the share under this name.
_FUSED = "dropout_prob"


def set_dropout(model: Any, share: float) -> None:
    """Set every dropout of a model, in place. Its config, and so what is saved, stays.

    Args:
        model: A Hugging Face model.
        share: Of the values that are dropped while it is trained, 0..1.
    """
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        if isinstance(getattr(module, _FUSED, None), float):
            setattr(module, _FUSED, share)
