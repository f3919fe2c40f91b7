"""Which layers stay where a recipe bounds their number.

A runtime spends time on every layer, however little is left of it, so that fewer and wider layers may take
as long as more and narrower ones. Importance of heads and rows does not see that: it is measured where all
layers are there, and training makes up for a layer better than for its units. So the number is the recipe's,
and which layers go is decided one after another, by what the model answers without each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeprune.errors import Problem, RecipeError

if TYPE_CHECKING:
    from edgeprune.stages.structure_balance import Asked
    from edgeprune.structure.importance import FloatArray, Importance

__all__ = ["Depth", "choose_depth", "fewer_layers", "without"]


@dataclass(frozen=True)
class Depth:
    """Which layers may stay.

    Attributes:
        kept: Their places in the model before the cut, ascending.
        gone: (place, mean divergence of the answers without it and those before, nats a text), in order.
    """

    kept: tuple[int, ...]
    gone: tuple[tuple[int, float], ...]


def fewer_layers(model: Any, most: int, asked: Asked, progress: Callable[..., None]) -> Depth:
    """`choose_depth` for a classifier, which is not changed.

    Args:
        model: Before the cut.
        most: How many of its layers may stay.
        asked: Texts, and what `model` answers to them.
        progress: Called with a text.

    Raises:
        RecipeError: The model does not have as many; key `layers`.
    """
    from copy import deepcopy

    from edgeprune.structure.slicing import dense_layers, slice_layers

    layers = dense_layers(model)
    if most > len(layers):
        problem = f"{most} layers cannot stay: the model has {len(layers)}"
        raise RecipeError([Problem(("layers",), problem, "leave it out to keep all")])

    def lost(places: Sequence[int]) -> float:
        progress(text=f"answers of {len(places)} layers")
        left = deepcopy(model)
        slice_layers(left, [layers[place] for place in places])
        return asked.lost(left)

    return choose_depth(len(layers), most, lost)


def choose_depth(layers: int, most: int, lost: Callable[[Sequence[int]], float]) -> Depth:
    """Takes the layer away whose absence changes the answers least, until `most` are left.

    Args:
        layers: Of the model.
        most: How many may stay.
        lost: What the model loses with these layers alone; called for each that may go, and so at most
            layers · (layers + 1) / 2 times.
    """
    kept, gone = list(range(layers)), []
    while len(kept) > most:
        losses = [lost([other for other in kept if other != place]) for place in kept]
        least = min(range(len(kept)), key=losses.__getitem__)
        gone.append((kept.pop(least), losses[least]))
    return Depth(tuple(kept), tuple(gone))


def without(importance: Importance, depth: Depth) -> Importance:
    """The importance of what is left: layers that go have no units to choose from."""
    stay = frozenset(depth.kept)

    def left(parts: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        return tuple(part if place in stay else part[:0] for place, part in enumerate(parts))

    return replace(importance, heads=left(importance.heads), rows=left(importance.rows))
