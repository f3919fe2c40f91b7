"""Short texts in bfloat16 on a processor are trained with plain attention; everything else is as PyTorch chooses."""

from __future__ import annotations

import pytest
import torch

from edgeprune.training.attention import LONGEST_PLAIN, attention_kernels

FUSED = "ScaledDotProductFlashAttention"


def _backward(tokens: int, *, bf16: bool) -> str:
    """Name of the backward pass that attention gets."""
    states = torch.ones(2, 3, 4, 8, requires_grad=True)
    with attention_kernels(torch.zeros(2, tokens, dtype=torch.long), bf16=bf16):
        result = torch.nn.functional.scaled_dot_product_attention(states, states, states)
    assert result.grad_fn is not None
    return str(result.grad_fn.name())


@pytest.mark.parametrize(
    ("tokens", "bf16", "fused"),
    [(5, True, False), (LONGEST_PLAIN, True, False), (LONGEST_PLAIN + 1, True, True), (5, False, True)],
)
def test_plain_where_it_is_faster(tokens: int, bf16: bool, fused: bool) -> None:
    assert (FUSED in _backward(tokens, bf16=bf16)) is fused


def test_the_choice_ends_with_the_pass() -> None:
    _backward(5, bf16=True)
    assert torch.backends.cuda.flash_sdp_enabled()
