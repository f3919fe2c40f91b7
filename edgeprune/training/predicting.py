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

    from edgeprune.tasks.encoding import collate

    model.eval()
    device = next(model.parameters()).device
    by_length = np.argsort(encoded.lengths, kind="stable")
    parts = []
    with torch.inference_mode():
        for start in range(0, len(by_length), batch_size):
            arrays = collate(encoded, by_length[start : start + batch_size], pad_id)
            tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
            parts.append(model(**tensors).logits.float().cpu().numpy())
    ordered = np.concatenate(parts)
    logits = np.empty_like(ordered)
    logits[by_length] = ordered
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
