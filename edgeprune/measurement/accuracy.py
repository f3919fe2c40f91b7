"""Answers of a model to a whole set of examples."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from edgeprune.errors import EdgepruneError
from edgeprune.measurement.batches import batches
from edgeprune.tasks.encoding import Encoded

__all__ = ["Predictor", "predict"]


class Predictor(Protocol):
    """A model that answers: a compiled one (`runner.session`) or the original (`measurement.pytorch`)."""

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        """Logits float32 [batch, classes] of int64 [batch, length] inputs."""


def predict(model: Predictor, examples: Encoded, batch: int, pad_id: int, name: str = "") -> np.ndarray:
    """Logits of all examples, in their order.

    Examples are never reordered by length: quantized activations share one scale per batch, so that a
    different composition would be a different result.

    Args:
        model: Answers.
        examples: Encoded examples, at least one.
        batch: Rows per call.
        pad_id: Token that padding is made of.
        name: Of the model, for errors.

    Returns:
        float32 [examples, classes].

    Raises:
        EdgepruneError: There are no examples, or a logit is NaN or infinite.
    """
    if not len(examples):
        raise EdgepruneError("there are no examples to measure accuracy on", where=name)
    logits = np.concatenate([model.run(*inputs) for inputs in batches(examples, batch, pad_id)])
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if broken.size:
        first = int(broken[0])
        raise EdgepruneError(
            f"{broken.size} of {len(examples)} answers are not numbers; "
            f"the first is example {first} (counted from 0) with logits {logits[first].tolist()}",
            where=name,
            hint="the precision may be too narrow for this model; leave the variant out of the target",
        )
    return logits
