"""Time on the target of a latency budget, which is this machine: the table behind it, and what it came to."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edgeprune.stages.contract import Work

if TYPE_CHECKING:
    from edgeprune.measurement.latency_table import MeasuredCosts
    from edgeprune.measurement.statistics import Interval
    from edgeprune.stages.prune_structure import MeasuredLatency

__all__ = ["LatencyMeter"]


class LatencyMeter:
    """Compiles and times models as the budget says: its target and variant, length and batch.

    Used as a context manager; what it compiled is gone afterwards.

    Args:
        work: Of the stage, with a budget of latency.
        original: The dense model.
    """

    def __init__(self, work: Work, original: Any) -> None:
        self._work = work
        self._original = original
        self._latency: MeasuredLatency = work.config.budget.latency
        self._folder = TemporaryDirectory(prefix="edgeprune-")
        self._dense: Path | None = None
        self._timed = 0

    def __enter__(self) -> LatencyMeter:
        """Itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove what was compiled."""
        self._folder.cleanup()

    def costs(self, width: int) -> MeasuredCosts:
        """What heads, FFN rows and layers cost, from models of the encoder's kind.

        Args:
            width: Hidden width that costs are asked at.

        Raises:
            UnsupportedError: The architecture is not known, or the runtime does not take such a model.
        """
        from edgeprune.measurement.latency_table import measure_costs

        config = self._original.config
        return measure_costs(
            config,
            self._build,
            threads=self._threads,
            length=self._latency.length,
            alignment=self._work.config.alignment or 1,
            batch=self._latency.batch,
            hidden=None if width == config.hidden_size else width,
            progress=self._work.progress,
        )

    def ratio(self, model: Any) -> Interval:
        """Time of a model's call, of the dense one's, timed in turns.

        Args:
            model: A live classifier.

        Raises:
            UnsupportedError: The runtime does not take it.
        """
        from edgeprune.measurement.side_by_side import measure_ratio

        if self._dense is None:
            self._dense = self._build(self._original, self._place("dense"))
        self._timed += 1
        fewer = min(self._original.config, model.config, key=lambda config: int(config.vocab_size))
        self._work.progress(text=f"latency of the chosen structure beside the dense model, {self._timed}")
        return measure_ratio(
            self._build(model, self._place(str(self._timed))),
            self._dense,
            fewer,
            threads=self._threads,
            length=self._latency.length,
            batch=self._latency.batch,
        )

    @property
    def _threads(self) -> int:
        from edgeprune.runner.cpu import describe, usable_cores

        return self._latency.machine.device.threads or usable_cores(describe())

    def _place(self, name: str) -> Path:
        folder = Path(self._folder.name) / name
        folder.mkdir()
        return folder

    def _build(self, model: Any, folder: Path) -> Path:
        """Export and compile in an empty folder, as the recipe's own model will be."""
        from edgeprune import backends
        from edgeprune.stages.export import write_onnx

        backend, _, variant = str(self._latency.variant).partition("/")
        write_onnx(model, folder / "onnx")
        shutil.copyfile(self._work.inputs["original"] / "tokenizer.json", folder / "onnx" / "tokenizer.json")
        max_length: int = max(self._latency.length, self._work.sections["model.max_length"])
        compiled = folder / "compiled"
        backends.compile_variant(
            backend, folder / "onnx", variant, self._latency.machine, compiled, max_length=max_length
        )
        return compiled
