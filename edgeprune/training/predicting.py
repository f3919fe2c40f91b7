"""A PyTorch classifier's answers on many examples, in FP32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edgeprune.tasks.encoding import Encoded
    from edgeprune.tasks.examples import Examples
    from edgeprune.tasks.scoring import Scores

__all__ = ["logits_of", "quality_of"]


def logits_of(model: Any, encoded: Encoded, *, pad_id: int, batch_size: int = 64) -> npt.NDArray[np.float32]:
    """Logits of every example, in the order of the examples.

    Examples are visited by length so that batches need little padding.

    Args:
        model: A Hugging Face classifier; left in evaluation mode.
        encoded: n examples.
        pad_id: Token id that fills short rows.
        batch_size: Examples a batch.

    Returns:
        [n, classes], float32.
    """
    import torch

    from edgeprune.tasks.encoding import by_length, collate

    model.eval()
    device = next(model.parameters()).device
    order, batches = by_length(encoded.lengths, batch_size)
    parts = []
    with torch.inference_mode():
        for indices in batches:
            arrays = collate(encoded, indices, pad_id)
            tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
            parts.append(model(**tensors).logits.float().cpu().numpy())
    found = np.concatenate(parts)
    logits = np.empty_like(found)
    logits[order] = found
    return logits


def quality_of(model: Any, examples: Examples, encoded: Encoded, *, pad_id: int) -> Scores:
    """How well a classifier answers.

    Args:
        model: A Hugging Face classifier; left in evaluation mode.
        examples: What to answer, with labels.
        encoded: Their tokens.
        pad_id: Token id that fills short rows.
    """
    from edgeprune.tasks.scoring import decode, score

    answers, _ = decode(logits_of(model, encoded, pad_id=pad_id))
    return score(answers, examples.labels, len(examples.classes))
