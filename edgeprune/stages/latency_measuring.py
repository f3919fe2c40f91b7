"""What heads, FFN rows and layers cost on a target: the table behind a latency budget."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.stages.contract import Work

if TYPE_CHECKING:
    from edgeprune.measurement.latency_table import MeasuredCosts
    from edgeprune.stages.prune_structure import MeasuredLatency

__all__ = ["measured_costs"]


def measured_costs(work: Work, config: Any, width: int) -> MeasuredCosts:
    """Time models of the encoder's kind on the target of the budget, which is this machine.

    Args:
        work: Of the stage.
        config: The dense model's Hugging Face config.
        width: Hidden width that costs are asked at.

    Raises:
        UnsupportedError: The architecture is not known, or the runtime does not take such a model.
    """
    from edgeprune import backends
    from edgeprune.measurement.latency_table import measure_costs
    from edgeprune.runner.cpu import describe, usable_cores
    from edgeprune.stages.export import write_onnx

    latency: MeasuredLatency = work.config.budget.latency
    backend, _, variant = str(latency.variant).partition("/")

    def build(model: Any, folder: Path) -> Path:
        write_onnx(model, folder / "onnx")
        shutil.copyfile(work.inputs["original"] / "tokenizer.json", folder / "onnx" / "tokenizer.json")
        max_length: int = max(latency.length, work.sections["model.max_length"])
        compiled = folder / "compiled"
        backends.compile_variant(
            backend, folder / "onnx", variant, latency.machine, compiled, max_length=max_length
        )
        return compiled

    return measure_costs(
        config,
        build,
        threads=latency.machine.device.threads or usable_cores(describe()),
        length=latency.length,
        alignment=work.config.alignment or 1,
        batch=latency.batch,
        hidden=None if width == config.hidden_size else width,
        progress=work.progress,
    )
