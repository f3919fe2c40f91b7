"""How long one compiled model takes beside another, on inputs of one length."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeprune.measurement.batches import Batch
from edgeprune.measurement.latency import Length, measure_interleaved
from edgeprune.measurement.statistics import Interval, ratio_of_medians
from edgeprune.measurement.synthetic import caller, open_compiled, random_inputs

__all__ = ["measure_ratio"]

_CONFIDENCE = 0.95


def measure_ratio(
    model: Path,
    reference: Path,
    config: Any,
    *,
    threads: int,
    length: int,
    batch: int = 1,
    calls: int = 200,
    warmup: int = 10,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Interval:
    """Median time of a model's call, of the reference's; the two take turns.

    Args:
        model: Artifact of the one.
        reference: Artifact of the other.
        config: Hugging Face config of the one with fewer tokens: inputs are drawn from them.
        threads: Threads that each may use.
        length: Tokens of each input.
        batch: Inputs per call.
        calls: Timed calls of each.
        warmup: Untimed calls of each before the first.
        clock: Nanoseconds.

    Raises:
        UnsupportedError: The runtime does not take one of them.
    """
    folders = {"model": model, "reference": reference}
    callers = {
        name: caller(open_compiled(folder, threads, "latency of a structure"))
        for name, folder in folders.items()
    }
    inputs: dict[Length, list[Batch]] = {length: random_inputs(config, batch, length)}
    calls_of = measure_interleaved(callers, inputs, calls, warmup, clock=clock).nanoseconds
    return ratio_of_medians(calls_of["model"][length], calls_of["reference"][length], _CONFIDENCE)
