"""Word dropout: a random share of a training text's tokens is hidden behind the mask token.

Small sets of phrases are learned by heart within an epoch or two; a text that looks different on every
visit is not. As in denoising pre-training, but the label stays and nothing is predicted for what is hidden.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

__all__ = ["hide_tokens"]


def hide_tokens(
    ids: npt.NDArray[np.int64],
    share: float,
    *,
    mask_id: int,
    special_ids: Collection[int],
    seed: tuple[int, ...],
) -> npt.NDArray[np.int64]:
    """Replace each token by the mask token with probability `share`, independently.

    Args:
        ids: Token ids, [batch, length].
        share: Probability, 0..1.
        mask_id: Id of the mask token.
        special_ids: Ids that are never hidden: class and separator tokens, padding.
        seed: Decides the draw, together with the shape of `ids`, and nothing else does.

    Returns:
        A new array, [batch, length].
    """
    hidden = np.random.default_rng(seed).random(ids.shape) < share
    hidden &= ~np.isin(ids, list(special_ids))
    return np.where(hidden, mask_id, ids)
