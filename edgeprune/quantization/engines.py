"""Engines: who calibrates. INT8 is written the same way for all of them.

| engine | what it does | methods | smoothing |
|---|---|---|---|
| onnxruntime | observes the exported model on calibration examples | all | yes |
| neural-compressor | exports the PyTorch model itself, and observes that | minmax, mse | no |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeprune.errors import UnsupportedError
from edgeprune.quantization.dialects import RULES, Dialect
from edgeprune.quantization.graphs import activations, operators, prepared
from edgeprune.quantization.observing import Batch, observe
from edgeprune.quantization.qdq import Quantized, Settings, quantize_graph
from edgeprune.quantization.ranges import Method, Range
from edgeprune.quantization.smoothing import migrate, scales

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgeprune.quantization.smoothing import FloatArray

__all__ = ["ENGINES", "Calibrated", "CalibrationSettings", "Engine", "Source", "calibrate", "quantize"]

Engine = Literal["onnxruntime", "neural-compressor"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


@dataclass(frozen=True)
class CalibrationSettings:
    """How to calibrate.

    Attributes:
        method: See `ranges`.
        share: Per cent of the values that `percentile` covers.
        smoothing: SmoothQuant's alpha; None moves no outliers.
    """

    method: Method = "minmax"
    share: float = 99.99
    smoothing: float | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """The FP32 model, in the forms that engines need.

    Attributes:
        onnx: As exported.
        torch: The live classifier in evaluation mode; for neural-compressor.
    """

    onnx: ModelProto
    torch: Any = None


@dataclass(frozen=True, eq=False)
class Calibrated:
    """An FP32 graph with what is needed to write it in either dialect.

    Attributes:
        model: Prepared (see `graphs.prepared`); smoothed if asked.
        ranges: By dialect and activation.
        keep: Operators without ranges, which stay in FP32.
        notes: What a reader of the report should know.
        scales: What smoothing divided an activation by, [channels] each.
    """

    model: ModelProto
    ranges: Mapping[Dialect, Mapping[str, Range]]
    keep: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    scales: Mapping[str, FloatArray] = field(default_factory=dict)

    def within(self, settings: Settings) -> Settings:
        """Settings that also keep in FP32 what has no range."""
        return replace(settings, keep=settings.keep | self.keep)


def calibrate(
    engine: Engine,
    source: Source,
    batches: Sequence[Batch],
    settings: CalibrationSettings,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Calibrated:
    """Ranges of all activations, for both dialects at once.

    Args:
        engine: See the module's table.
        source: The FP32 model.
        batches: Calibration examples, from training data; each batch of one length.
        settings: How to calibrate.
        progress: Told the passes over a batch that are done and their number.

    Raises:
        EdgepruneError: There are no examples, or an activation is NaN or infinite.
        UnsupportedError: The engine is not installed, or cannot do what is asked.
    """
    if engine == "neural-compressor":
        return _by_neural_compressor(source, batches, settings, progress)
    if engine != "onnxruntime":
        raise UnsupportedError(
            f"there is no engine {engine!r}", where="quantization", hint=f"It has: {', '.join(ENGINES)}"
        )
    model = prepared(source.onnx)
    passes = 1 if settings.smoothing is None else 2
    notes: list[str] = []
    divided: Mapping[str, FloatArray] = {}
    if settings.smoothing is not None:
        first = observe(
            model,
            activations([found for found in operators(model) if found.kind == "linear"]),
            batches,
            lambda done: progress(done, passes * len(batches)),
        )
        divided = scales(model, first.channel_peaks, alpha=settings.smoothing)
        model, moved = migrate(model, divided)
        notes.append(f"outliers moved into weights in {len(moved)} places (alpha {settings.smoothing:g})")
    offset = (passes - 1) * len(batches)
    seen = observe(
        model,
        activations(operators(model)),
        batches,
        lambda done: progress(offset + done, passes * len(batches)),
    )
    ranges = {
        dialect: seen.ranges(settings.method, symmetric=rules.symmetric, share=settings.share)
        for dialect, rules in RULES.items()
    }
    return Calibrated(model, ranges, notes=(*notes, *seen.notes()), scales=divided)


def quantize(calibrated: Calibrated, settings: Settings) -> tuple[ModelProto, Quantized]:
    """A calibrated model in INT8 (see `qdq.quantize_graph`); what has no range stays in FP32, as noted.

    Raises:
        EdgepruneError: A weight is NaN or infinite, or `settings.keep` names no operator.
    """
    ranges = calibrated.ranges[settings.dialect]
    model, record = quantize_graph(calibrated.model, ranges, calibrated.within(settings))
    return model, replace(record, notes=(*calibrated.notes, *record.notes))


def _by_neural_compressor(
    source: Source,
    batches: Sequence[Batch],
    settings: CalibrationSettings,
    progress: Callable[[int, int], None],
) -> Calibrated:
    """Its ranges, and what our own look at the same examples says of them: it warns of nothing itself."""
    from edgeprune.quantization.neural_compressor import ALGORITHMS, calibrate_torch

    if source.torch is None:
        raise UnsupportedError(
            "neural-compressor needs the PyTorch model",
            where="quantization",
            hint="use the engine onnxruntime for a model that is only there as ONNX",
        )
    if settings.smoothing is not None:
        raise UnsupportedError(
            "neural-compressor moves no outliers: its SmoothQuant needs a package at its end of life",
            where="quantization",
            hint="leave smoothing out, or use the engine onnxruntime",
        )
    model, ranges = calibrate_torch(source.torch, batches, settings.method)
    found = operators(model)
    seen = observe(model, activations(found), batches, lambda done: progress(done, len(batches)))
    missing = [operator for operator in found if not set(operator.activations) <= ranges.keys()]
    notes = [f"ranges by neural-compressor ({ALGORITHMS[settings.method]})"]
    linear = [operator.name for operator in missing if operator.kind == "linear"]
    if linear:
        notes.append(f"neural-compressor leaves {len(linear)} linear layers in FP32: {', '.join(linear)}")
    return Calibrated(
        model,
        dict.fromkeys(RULES, ranges),
        keep=frozenset(operator.name for operator in missing),
        notes=(*notes, *seen.notes()),
    )
