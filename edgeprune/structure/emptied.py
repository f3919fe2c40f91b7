"""What is left of a sub-layer of which no head, or no FFN row, is kept: the bias of its output.

The residual connection and the LayerNorm around it stay, so the model is exactly the one whose units are
all zero: LayerNorm(x + b). Whether that is worth keeping is for whoever chooses the structure to say; a
layer that is left out as a whole costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NoAttention", "OutputBias"]


class OutputBias(nn.Module):  # type: ignore[misc]
    """In the place of a linear layer that has no inputs left.

    Args:
        bias: [outputs]; None: the layer had none.
    """

    def __init__(self, bias: Tensor | None) -> None:
        super().__init__()
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), bias.requires_grad)

    def forward(self, states: Tensor) -> Tensor:
        """The bias, to be added to any states; theirs do not matter."""
        return states.new_zeros(()) if self.bias is None else self.bias


class NoAttention(nn.Module):  # type: ignore[misc]
    """In the place of an attention module without heads.

    Gives its input on, or, where the module holds the output matrix too, that matrix's bias.

    Args:
        output: Name of the output matrix in the module; empty where it lies outside.
        bias: Of that matrix.
    """

    def __init__(self, output: str = "", bias: Tensor | None = None) -> None:
        super().__init__()
        self._output = output
        if output:
            self.add_module(output, OutputBias(bias))

    def forward(self, *states: Tensor, **named: Any) -> tuple[Tensor, None]:
        """A tuple as attention modules give it: what to add, and no attention probabilities."""
        given = states[0] if states else next(iter(named.values()))
        return (self.get_submodule(self._output)(given) if self._output else given), None
