"""From a calibrated graph to a training with its numbers, and from what was learned back to a graph.

A training moves weights and steps, and nothing else: smoothing scales, zero points and what is quantized
stay what they were. So the trained weights are exported anew, the same scales are moved into them, and each
activation gets the range that was learned for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError
from edgeprune.quantization.dialects import RULES, Dialect
from edgeprune.quantization.engines import Calibrated, CalibrationSettings
from edgeprune.quantization.graphs import activations, operators, prepared
from edgeprune.quantization.observing import Batch, observe
from edgeprune.quantization.ranges import Range
from edgeprune.quantization.sites import Site
from edgeprune.quantization.smoothing import migrate, scales

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Start", "carried_over", "start"]

Scales = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Start:
    """Where a training begins.

    Attributes:
        plain: As exported, prepared.
        calibrated: What post-training quantization would write; its FP32 graph is smoothed.
        scales: [channels] by activation: what smoothing divided it by, in the order of its channels.
    """

    plain: ModelProto
    calibrated: Calibrated
    scales: Scales


def start(
    model: ModelProto,
    batches: Sequence[Batch],
    settings: CalibrationSettings,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Start:
    """Calibrate as the engine onnxruntime does (see `engines.calibrate`), and keep what smoothing did.

    Raises:
        EdgepruneError: There are no examples, or an activation is NaN or infinite.
    """
    plain = prepared(model)
    passes = 1 if settings.smoothing is None else 2
    found: Scales = {}
    smoothed, notes = plain, []
    if settings.smoothing is not None:
        linear = [operator for operator in operators(plain) if operator.kind == "linear"]
        first = observe(
            plain, activations(linear), batches, lambda done: progress(done, passes * len(batches))
        )
        found = scales(plain, first.channel_peaks, alpha=settings.smoothing)
        smoothed, moved = migrate(plain, found)
        notes.append(f"outliers moved into weights in {len(moved)} places (alpha {settings.smoothing:g})")
    offset = (passes - 1) * len(batches)
    seen = observe(
        smoothed,
        activations(operators(smoothed)),
        batches,
        lambda done: progress(offset + done, passes * len(batches)),
    )
    ranges = {
        dialect: seen.ranges(settings.method, symmetric=rules.symmetric, share=settings.share)
        for dialect, rules in RULES.items()
    }
    return Start(plain, Calibrated(smoothed, ranges, notes=(*notes, *seen.notes())), found)


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
    moved = {names[name]: scale for name, scale in begun.scales.items()}
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
