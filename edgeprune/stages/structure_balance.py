"""How much attention heads count beside FFN rows, decided by what the cut model answers.

A budget of cost trades heads against rows by their importance, which adds up what each unit loses alone. That
holds for a few units. It says too little of heads: those of a layer stand in for one another, so that each
alone matters little and all together much, and a budget of latency, in which a layer's first head is dear, is
then met best by an encoder without attention. So several balances are tried, and what is left is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.structure.choosing import Choice
    from edgeprune.structure.importance import Importance

__all__ = ["FACTORS", "Asked", "Balance", "Tried", "balance"]

FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@dataclass(frozen=True)
class Tried:
    """One balance.

    Attributes:
        factor: By which the importance of heads was multiplied.
        lost: Mean divergence of the cut model's answers from those before, nats a text.
    """

    factor: float
    lost: float


@dataclass(frozen=True)
class Balance:
    """The balance that loses least.

    Attributes:
        factor: By which the importance of heads is multiplied.
        tried: All that led to different structures, in the order of their factors.
    """

    factor: float
    tried: tuple[Tried, ...]

    def applied(self, importance: Importance) -> Importance:
        """The importance that the budget is spent by."""
        return replace(importance, heads=tuple(part * self.factor for part in importance.heads))


class Asked:
    """Texts and what a model answers to them, to be compared with what is left of it after a cut.

    Args:
        model: Before the cut.
        texts: Batches as the model takes them, labels not needed.
    """

    def __init__(self, model: Any, texts: Iterable[Mapping[str, Any]]) -> None:
        self._texts = [{name: item for name, item in batch.items() if name != "labels"} for batch in texts]
        self._before = [_log_scores(model, batch) for batch in self._texts]

    def lost(self, model: Any) -> float:
        """Mean Kullback-Leibler divergence KL(before || `model`) over the texts, nats."""
        import torch

        sums = [
            torch.nn.functional.kl_div(_log_scores(model, batch), before, reduction="sum", log_target=True)
            for batch, before in zip(self._texts, self._before, strict=True)
        ]
        return float(torch.stack(sums).sum()) / sum(len(before) for before in self._before)


def balance(
    importance: Importance, choose: Callable[[Importance], Choice], lost: Callable[[Choice], float]
) -> Balance:
    """Tries each of `FACTORS`; of equal losses the smallest factor wins.

    Args:
        importance: Of heads and rows, as it was measured.
        choose: What is kept by an importance.
        lost: What the model loses with it.

    Raises:
        RecipeError: `choose` refuses the budget.
    """
    tried: dict[Any, Tried] = {}
    for factor in FACTORS:
        choice = choose(Balance(factor, ()).applied(importance))
        key = (choice.layers, choice.hidden)
        if key not in tried:
            tried[key] = Tried(factor, lost(choice))
    best = min(tried.values(), key=lambda item: item.lost)
    return Balance(best.factor, tuple(tried.values()))


def _log_scores(model: Any, batch: Mapping[str, Any]) -> Any:
    """Logarithms of the class probabilities, float32 [texts, classes]."""
    import torch

    model.eval()
    with torch.inference_mode():
        return torch.log_softmax(model(**batch).logits.float(), dim=-1)
