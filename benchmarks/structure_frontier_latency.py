"""How long a cut model takes beside its original: onnxruntime in FP32, interleaved in one process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from grid_results import Row

from edgeprune.measurement.latency import Length, measure_interleaved
from edgeprune.measurement.statistics import ratio_of_medians
from edgeprune.runner.cpu import describe

if TYPE_CHECKING:
    from edgeprune.recipe.schema import Target
    from edgeprune.runner.session import Session

__all__ = ["QUIET", "Conditions", "compare", "opened", "others_percent"]

QUIET = 10.0  # per cent of the processor; what is timed while others take more is timed again
INPUTS = 8  # different ones, taken in turn
CONFIDENCE = 0.95
ORIGINAL, CUT = "original", "cut"


@dataclass(frozen=True)
class Conditions:
    """What is timed beside the models themselves.

    Attributes:
        batch: Texts of a call.
        length: Tokens of each text.
        threads: Of the runtime.
        calls: Timed calls of each model.
        warmup: Calls before them.
    """

    batch: int = 1
    length: int = 64
    threads: int = 2
    calls: int = 300
    warmup: int = 20

    def identity(self) -> Row:
        """What makes two measurements of one structure comparable."""
        return {
            "batch": self.batch,
            "length": self.length,
            "threads": self.threads,
            "runtime": f"onnxruntime {version('onnxruntime')}",
            "cpu": describe().model,
        }


def others_percent(seconds: float = 1.0) -> float:
    """Share of the whole processor that others take, in per cent, while this process waits."""
    import psutil

    return float(psutil.cpu_percent(interval=seconds))


def opened(model: Path, target: Target, conditions: Conditions) -> Session:
    """A saved classifier, exported and compiled as for a target, and loaded.

    Args:
        model: Folder of the saved classifier.
        target: Of the grid's recipe.
        conditions: Length and threads.
    """
    from edgeprune import backends
    from edgeprune.runner.session import open_session
    from edgeprune.stages.export import write_onnx
    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.structure.loading import load

    quiet_libraries()
    with TemporaryDirectory(prefix="edgeprune-bench-") as name:
        onnx, compiled = Path(name) / "onnx", Path(name) / "compiled"
        write_onnx(load(model), onnx)
        shutil.copyfile(model / "tokenizer.json", onnx / "tokenizer.json")
        backends.compile_variant("onnxruntime", onnx, "fp32", target, compiled, max_length=conditions.length)
        return open_session(compiled, conditions.threads)


def compare(original: Session, cut: Session, vocabulary: int, conditions: Conditions) -> Row:
    """Times both on the same inputs.

    Args:
        original: The dense model.
        cut: Its cut version.
        vocabulary: Tokens that both know.
        conditions: What is timed.

    Returns:
        Medians in ms, how many times faster the cut model is, and the ratio's interval.
    """
    random = np.random.default_rng(0)
    inputs = []
    for _ in range(INPUTS):
        ids = random.integers(1, vocabulary, (conditions.batch, conditions.length))
        inputs.append((ids, np.ones_like(ids), np.zeros_like(ids)))
    streams: dict[Length, list[Any]] = {conditions.length: inputs}
    callers: dict[str, Callable[[Any], Any]] = {
        ORIGINAL: lambda arrays: original.run(*arrays),
        CUT: lambda arrays: cut.run(*arrays),
    }
    before = others_percent()
    timings = measure_interleaved(callers, streams, conditions.calls, conditions.warmup)
    blocks = {name: timings.nanoseconds[name][conditions.length] for name in callers}
    ratio = ratio_of_medians(blocks[ORIGINAL], blocks[CUT], CONFIDENCE, seed=0)
    summaries = {name: timings.summary(name, conditions.length) for name in callers}
    return {
        "original_ms": summaries[ORIGINAL].p50_ms,
        "cut_ms": summaries[CUT].p50_ms,
        "ratio": ratio.estimate,
        "low": ratio.low,
        "high": ratio.high,
        "confidence": ratio.confidence,
        "calls": summaries[CUT].calls,
        "others_percent": max(before, others_percent()),
    }
