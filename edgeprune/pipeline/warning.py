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


# Runtimes are faster without them; as zeros inside a matrix they are multiplied like all others.
_TO_BE_CUT = frozenset({"row", "head", "layer"})


def pattern_warnings(nodes: Sequence[Node], targets: Sequence[Target]) -> tuple[str, ...]:
    """Sparsity patterns that a recipe asks for and that none of its targets turns into speed.

    A stage that requires `masks` takes out what the masks before it made zero; those need no warning. Heads,
    rows and layers that nothing takes out get one, whatever the targets are.

    Args:
        nodes: The nodes of a plan, in order.
        targets: Its targets.

    Returns:
        One sentence per stage and pattern.
    """
    fast = {pattern for target in targets for pattern in target.speeds_up}
    places = ", ".join(f"{target.name}/{entry.backend}" for target in targets for entry in target.backends)
    found = []
    for index, node in enumerate(nodes):
        if any("masks" in later.stage.requires for later in nodes[index + 1 :]):
            continue
        gain = "smaller mask pack only" if node.stage.packs(node.config) else "smaller when compressed only"
        for pattern in _patterns(node):
            words = _WORDS.get(pattern, f"{pattern} zeros")
            if pattern in fast and pattern in _TO_BE_CUT:
                found.append(f"{node.id}: {words}: no speed-up, as no later stage takes them out; {gain}")
            elif pattern not in fast:
                found.append(f"{node.id}: {words}: no speed-up on {places}; {gain}")
    return tuple(found)


def _patterns(node: Node) -> list[str]:
    found = node.stage.pattern(node.config)
    return found.split("+") if found else []
