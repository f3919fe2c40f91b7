"""What about a recipe is possible but will disappoint, said before anything is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeprune.recipe.schema import Target

if TYPE_CHECKING:
    from edgeprune.pipeline.planning import Node

__all__ = ["pattern_warnings"]

_WORDS = {
    "weight": "weight-level zeros",
    "block": "blocks of zeros",
    "row": "rows of zeros",
    "head": "heads of zeros",
    "layer": "layers of zeros",
}


def pattern_warnings(nodes: Sequence[Node], targets: Sequence[Target]) -> tuple[str, ...]:
    """Sparsity patterns that a recipe asks for and that none of its targets turns into speed.

    A stage that requires `masks` takes out what the masks before it made zero; those need no warning.

    Args:
        nodes: The nodes of a plan, in order.
        targets: Its targets.

    Returns:
        One sentence per stage and pattern.
    """
    fast = {pattern for target in targets for pattern in target.speeds_up}
    places = ", ".join(f"{target.name}/{entry.backend}" for target in targets for entry in target.backends)
    return tuple(
        f"{node.id}: {_WORDS.get(pattern, f'{pattern} zeros')}: no speed-up on {places}; "
        "smaller mask pack only"
        for index, node in enumerate(nodes)
        if not any("masks" in later.stage.requires for later in nodes[index + 1 :])
        for pattern in _patterns(node)
        if pattern not in fast
    )


def _patterns(node: Node) -> list[str]:
    found = node.stage.pattern(node.config)
    return found.split("+") if found else []
