"""Which of PyTorch's attention kernels a step is trained with on a processor.

Fused attention saves memory, not time, where texts are short: its backward pass multiplies one small block
after another, and in bfloat16 each of them costs a call to the matrix library. The plain products are one
call for the whole batch. docs/lab-notes.md has the times.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["LONGEST_PLAIN", "attention_kernels"]

LONGEST_PLAIN = 128
"""Tokens. At twice as many the fused backward pass is faster; plain memory grows with the square."""


def attention_kernels(ids: torch.Tensor, *, bf16: bool) -> AbstractContextManager[None]:
    """The fastest kernels for forward and backward passes over one batch, active during the forward one.

    Args:
        ids: Of tokens, [batch, tokens], on the device that the model is on.
        bf16: Whether the pass runs under bfloat16 autocast.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    plain = bf16 and ids.device.type == "cpu" and ids.shape[-1] <= LONGEST_PLAIN
    return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()
