"""From a calibrated graph to a training with its numbers, and from what was learned back to a graph.

A training moves weights and steps, and nothing else: smoothing scales, zero points and what is quantized
stay what they were. So the trained weights are exported anew, the same scales are moved into them, and each
activation gets the range that was learned for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.errors import EdgepruneError
from edgeprune.quantization.dialects import Dialect
from edgeprune.quantization.engines import Calibrated
from edgeprune.quantization.ranges import Range
from edgeprune.quantization.sites import Site
from edgeprune.quantization.smoothing import migrate

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Start", "carried_over"]


@dataclass(frozen=True, eq=False)
class Start:
    """Where a training begins.

    Attributes:
        plain: As exported, prepared.
        calibrated: What post-training quantization would write; its FP32 graph is smoothed.
    """

    plain: ModelProto
    calibrated: Calibrated


def carried_over(
    begun: Start,
    before: Sequence[Site],
    exported: ModelProto,
    after: Sequence[Site],
    learned: Mapping[Dialect, Mapping[str, Range]],
) -> Calibrated:
    """A newly exported graph with what was learned.

    Args:
        begun: Where the training began.
        before: Sites of its graph.
        exported: The trained weights, prepared.
        after: Sites of that graph.
        learned: Ranges by dialect and activation of the graph of `begun`.

    Raises:
        EdgepruneError: The two graphs are not of one model.
    """
    names = _renamed(before, after)
    moved = {names[name]: scale for name, scale in begun.calibrated.scales.items()}
    model, done = migrate(exported, moved)
    if missing := moved.keys() - {pair.activation for pair in done}:
        raise EdgepruneError(
            f"outliers of {sorted(missing)[0]} cannot be moved into weights any longer",
            where="quantization",
            hint="quantize with smoothing: 0",
        )
    ranges = {
        dialect: {names[name]: span for name, span in found.items() if name in names}
        for dialect, found in learned.items()
    }
    return Calibrated(model, ranges, notes=begun.calibrated.notes)


def _renamed(before: Sequence[Site], after: Sequence[Site]) -> dict[str, str]:
    """Activations of one graph to those of the other, by the modules that read them."""
    there = {site.module: site.activation for site in after}
    names: dict[str, str] = {}
    for site in before:
        name = there.get(site.module)
        if site.activation is None:
            continue
        if name is None or names.setdefault(site.activation, name) != name:
            raise EdgepruneError(
                f"{site.module} reads another activation after the training than before it",
                where="quantization",
                hint="this is a bug: the exporter has written two different graphs of one model",
            )
    return names
