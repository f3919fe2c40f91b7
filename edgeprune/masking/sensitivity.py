"""PINS: weights ranked by sensitivity times uncertainty, both averaged over training.

I = |-w·g + η·g²| is what the loss would change by if the updated weight were zero; it is averaged over a
window, then exponentially over windows, as is its distance from that average, the uncertainty
(PINS's published code; Zhang et al. 2022, PLATON, has the same two averages).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgeprune.masking.units import Units

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["WINDOW", "SensitivityUnits", "sensitivity"]

WINDOW = 10
"""Steps over which sensitivity is averaged (ΔT)."""

_AVERAGE, _UNCERTAINTY = 0.85, 0.99  # β1, β2


def sensitivity(weight: Tensor, gradient: Tensor, rate: float) -> Tensor:
    """|-w·g + η·g²|, same shape.

    Args:
        weight: w.
        gradient: g, of the loss by w.
        rate: η, the learning rate of this step.
    """
    return (gradient * (rate * gradient - weight)).abs()


class SensitivityUnits(Units):
    """The weights of one matrix under PINS. They are zeroed in place, get gradients, and may come back."""

    window: Tensor
    average: Tensor
    uncertainty: Tensor

    def __init__(self, *about: object, weight: nn.Parameter) -> None:
        super().__init__(*about)  # type: ignore[arg-type]
        self._weight = (weight,)  # a tuple, so that the weight is not registered a second time
        for name in ("window", "average", "uncertainty"):
            self.register_buffer(name, torch.zeros_like(weight))

    def ranking(self) -> Tensor:
        """Average sensitivity times average uncertainty."""
        return self.average * self.uncertainty

    def look(self, step: int, rate: float) -> None:
        """Take in the gradient of one step (from 0)."""
        weight = self._weight[0]
        if weight.grad is None:
            return
        with torch.no_grad():
            now = sensitivity(weight, weight.grad, rate)
            place = step % WINDOW
            if place == 0:
                self.average.lerp_(self.window, 1 - _AVERAGE)
                self.uncertainty.lerp_((self.window - self.average).abs(), 1 - _UNCERTAINTY)
                self.window.copy_(now)
            else:
                self.window.lerp_(now, 1 / (place + 1))

    def prune(self) -> None:
        """Zero the weights below the threshold."""
        with torch.no_grad():
            self._weight[0].masked_fill_(self.ranking() < self.threshold, 0.0)

    def gates(self) -> Tensor:
        """Ones: what is pruned is zero in the weight itself."""
        return torch.ones((), device=self.average.device)

    def masked(self, weight: Tensor, axis: str, repeat: int) -> Tensor:
        """The weight as it is; at the end, under the final mask."""
        return weight if self.final is None else super().masked(weight, axis, repeat)
