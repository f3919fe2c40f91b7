"""An exponential moving average of the weights: what is kept is steadier than the last step's weights.

    average ← d · average + (1 - d) · weights,    d = min(decay, (1 + step) / (10 + step))

The ramp of d keeps the random start out of a short run's average (as in TensorFlow's
`ExponentialMovingAverage`). The update runs every fourth step with d⁴, which changes nothing that
matters and costs a quarter.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["WeightAverage"]

_FILE = "average.safetensors"
_EVERY = 4


class WeightAverage:
    """The average of a model's trained parameters.

    Args:
        model: Whose parameters are averaged; not changed before `put`.
        decay: How slowly the average forgets, 0..1; about 1 / (1 - decay) steps count.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = {name: item for name, item in model.named_parameters() if item.requires_grad}
        self._average = {name: item.detach().clone() for name, item in self._weights.items()}

    def update(self, step: int) -> None:
        """Take in the weights after optimizer step number `step` (from 1)."""
        import torch

        if step % _EVERY:
            return
        decay = min(self._decay, (1 + step) / (10 + step)) ** _EVERY
        with torch.no_grad():
            weights = [item.detach() for item in self._weights.values()]
            torch._foreach_lerp_(list(self._average.values()), weights, 1 - decay)

    def put(self) -> None:
        """Make the average the model's weights."""
        import torch

        with torch.no_grad():
            for name, item in self._weights.items():
                item.copy_(self._average[name])

    def save(self, checkpoint: Path) -> None:
        """Write the average into a checkpoint's folder."""
        from safetensors.torch import save_file

        save_file(self._average, checkpoint / _FILE)

    def load(self, checkpoint: Path) -> None:
        """Go on from the average in a checkpoint's folder."""
        from safetensors.torch import load_file

        found = load_file(checkpoint / _FILE)
        self._average = {name: found[name] for name in self._weights}
