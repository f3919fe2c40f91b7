"""What every stage that trains lets its user say about how."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from edgeprune.recipe.schema import Section, Share

__all__ = ["TrainingConfig"]


class TrainingConfig(Section):
    """Steps, batches, decay and precision."""

    epochs: float = Field(gt=0, le=1000, description="Passes over the training data; may be a fraction.")
    batch_size: int = Field(32, ge=1, le=65536, description="Examples a step.")
    weight_decay: float = Field(0.01, ge=0, description="Decoupled; not on biases and LayerNorm.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="`auto`: bf16 autocast where the processor has it. Weights are FP32 always."
    )
    word_dropout: Share = Field(
        0.0, description="Share of each training text's tokens that is hidden behind the mask token."
    )
    checkpoint_steps: int = Field(500, ge=1, description="A killed run loses at most this many steps.")

    def resolved(self) -> Self:
        """`auto` replaced by this machine's precision: it decides the weights, so it belongs in the key."""
        from edgeprune.training.fitting import resolve_precision

        return self.model_copy(update={"precision": resolve_precision(self.precision)})
