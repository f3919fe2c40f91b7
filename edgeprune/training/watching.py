"""What a model computes on its way to the logits: states behind its layers, queries, keys and values.

All of them are outputs of a module that the architecture table names, so one kind of hook sees them all,
whatever a class of transformers gives out by itself, and whatever is done to its last state afterwards (mean
pooling). Shapes: B examples, T tokens, W width of the state; states [B, T, W].
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from edgeprune.structure.architectures import architecture_of, encoder_layers, linear_sites

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["State", "Vectors", "Watch", "hidden_state", "vectors_of"]

Vectors = Literal["query", "key", "value"]


@dataclass(frozen=True)
class State:
    """One thing to see of a model.

    Attributes:
        name: `hidden.<layer>`, or `query.<layer>` and so on.
        module: Path of the module whose output it is, from the model's root.
        width: W; of queries, keys and values, all heads together.
    """

    name: str
    module: str
    width: int


def hidden_state(model: Any, layer: int) -> State:
    """What a layer gives to the next: its last LayerNorm's output.

    Raises:
        UnsupportedError: The table has no such architecture.
    """
    norm = encoder_layers(model)[layer].get_submodule(architecture_of(model).ffn_norm)
    path = next(name for name, module in model.named_modules() if module is norm)
    return State(f"hidden.{layer}", path, int(norm.weight.shape[0]))


def vectors_of(model: Any, kind: Vectors) -> dict[int, State]:
    """Queries, keys or values of every layer that has attention heads, by the layer's number, ascending.

    Raises:
        UnsupportedError: The table has no such architecture.
    """
    return {
        site.layer: State(f"{kind}.{site.layer}", site.name, model.get_submodule(site.name).out_features)
        for site in linear_sites(model)
        if site.kind == kind
    }


class Watch:
    """Keeps, of every forward pass, what was asked for, until it is taken.

    Args:
        model: Whose modules are watched; the states name them.
        states: What to keep.
    """

    def __init__(self, model: Any, states: Collection[State]) -> None:
        self._seen: dict[str, Tensor] = {}
        self._handles = [
            model.get_submodule(state.module).register_forward_hook(partial(self._keep, state.name))
            for state in states
        ]

    def _keep(self, name: str, module: Any, arguments: tuple[Any, ...], output: Tensor) -> None:
        self._seen[name] = output

    def take(self) -> dict[str, Tensor]:
        """What the last forward pass gave, by the states' names; nothing of it is held any longer."""
        seen, self._seen = self._seen, {}
        return seen

    def remove(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()
        self._seen = {}
