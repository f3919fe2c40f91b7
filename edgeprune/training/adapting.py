"""What a stage may do in training beside plain fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

__all__ = ["Adaptation"]


class Adaptation:
    """Hooks into `fit`, in the order in which a step calls them. By default none of them does anything.

    Steps are counted from 0. Whatever a later step depends on and is in no parameter or buffer of the
    model must be in `save`, or a resumed run would not be the uninterrupted one.
    """

    def parameter_groups(self) -> list[dict[str, Any]] | None:
        """Groups for AdamW (`params`, `lr`, `weight_decay`, and a `name` to find them by); None: as usual."""
        return None

    def begin_step(self, step: int, total: int) -> None:
        """Before the forward pass of a step."""

    def bring(
        self, indices: Sequence[int], texts: Mapping[str, npt.NDArray[np.int64]]
    ) -> dict[str, torch.Tensor]:
        """What `loss` is to find in a batch beside the model's inputs; asked for ahead of the batch's step.

        Args:
            indices: Numbers of the examples of the batch.
            texts: Their tokens before words are hidden: the model's inputs, [batch, tokens] each.
        """
        return {}

    def loss(self, logits: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor | None:
        """The loss of a batch; None: the model's own cross-entropy.

        Args:
            logits: [batch, classes].
            batch: The model's inputs, `labels` [batch], and what `bring` gave.
        """
        return None

    def gradients_ready(self, step: int, groups: Sequence[Mapping[str, Any]]) -> None:
        """After the backward pass and clipping; the optimizer's groups have this step's rates."""

    def weights_updated(self, step: int, total: int) -> None:
        """After the optimizer's step."""

    def save(self, checkpoint: Path) -> None:
        """Write what is in no parameter or buffer into a checkpoint's folder."""

    def load(self, checkpoint: Path) -> None:
        """Go on from what `save` wrote."""
