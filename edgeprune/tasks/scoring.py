"""Logits -> answers, and answers -> scores. Shapes: N examples, C classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError

__all__ = ["Scores", "decode", "score"]


@dataclass(frozen=True)
class Scores:
    """How well answers match; field for field `report.model.Quality`, and by name what `task.metric` may be.

    Attributes:
        n: Number of examples.
        accuracy: Share of right answers, 0..1.
        f1: F1, 0..1, averaged as `f1_average` says.
        f1_average: `binary`: of the class with id 1. `macro`: mean over the classes that occur in labels or
            predictions.
        matthews: Matthews correlation, -1..1; 0 where it has no value because one side knows one class only.
    """

    n: int
    accuracy: float
    f1: float
    f1_average: Literal["binary", "macro"]
    matthews: float


def decode(logits: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Turn logits into answers.

    Args:
        logits: [N, C], any float type.

    Returns:
        Class ids [N] (of equal logits, the lowest id) and softmax probabilities [N, C].

    Raises:
        EdgepruneError: The shape is not [N, C], or a logit is not finite.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise EdgepruneError(f"logits have shape {list(values.shape)} instead of [examples, classes]")
    broken = int((~np.isfinite(values)).any(axis=1).sum())
    if broken:
        raise EdgepruneError(f"logits of {broken:,} of {len(values):,} examples are not finite numbers")
    # Shifting by the maximum changes no probability and keeps exp() from overflowing.
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return values.argmax(axis=1).astype(np.int64), powers / powers.sum(axis=1, keepdims=True)


def score(predictions: npt.ArrayLike, labels: npt.ArrayLike, classes: int) -> Scores:
    """Score answers against labels.

    Matthews correlation for more than two classes is Gorodkin's R_K (Comput. Biol. Chem. 28, 2004).

    Args:
        predictions: [N], class ids.
        labels: [N], class ids.
        classes: C, how many classes the task has; decides how F1 is averaged.

    Raises:
        EdgepruneError: There are no examples, the shapes differ, or an id is not in 0..C-1.
    """
    answers, truth = np.asarray(predictions), np.asarray(labels)
    _check_ids(answers, truth, classes)
    from sklearn.metrics import f1_score, matthews_corrcoef

    binary = classes == 2
    f1 = f1_score(truth, answers, labels=[1] if binary else None, average="macro", zero_division=0.0)
    one_sided = len(np.unique(truth)) == 1 or len(np.unique(answers)) == 1
    return Scores(
        n=len(truth),
        accuracy=float((answers == truth).mean()),
        f1=float(f1),
        f1_average="binary" if binary else "macro",
        matthews=0.0 if one_sided else float(matthews_corrcoef(truth, answers)),
    )


def _check_ids(answers: npt.NDArray[np.int64], truth: npt.NDArray[np.int64], classes: int) -> None:
    if answers.ndim != 1 or answers.shape != truth.shape or not len(truth):
        raise EdgepruneError(
            f"predictions {list(answers.shape)} and labels {list(truth.shape)} are not the same N > 0 ids"
        )
    low, high = min(answers.min(), truth.min()), max(answers.max(), truth.max())
    if low < 0 or high >= classes:
        raise EdgepruneError(f"class ids {low}..{high} are not all in 0..{classes - 1}")
