"""Latency of several models, interleaved so that they share whatever the machine is doing meanwhile.

One round: a block of consecutive calls of every model on the same inputs, models in a new random order.
Before each block a few calls are made and not counted, as caches and threads still belong to the model
before. Blocks of one round are neighbours in time, so ratios between models are taken block by block
(`statistics.ratio_of_medians`).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgeprune.runner.collecting import no_garbage_collection

__all__ = ["Length", "Summary", "Timings", "measure_interleaved", "plan_blocks"]

Length = int | Literal["real"]

MOST_CALLS_PER_BLOCK = 10
FEWEST_BLOCKS = 20  # an interval that resamples fewer blocks says little
SETTLING_CALLS = 2


@dataclass(frozen=True)
class Summary:
    """One model at one length, milliseconds per call."""

    calls: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float


@dataclass(frozen=True)
class Timings:
    """Raw measurements.

    Attributes:
        nanoseconds: Model to length to int64 [blocks, calls per block], in the order of measuring; row i of
            every model at one length was measured in the same round on the same inputs.
    """

    nanoseconds: Mapping[str, Mapping[Length, np.ndarray]]

    def summary(self, model: str, length: Length) -> Summary:
        """Percentiles over all blocks."""
        milliseconds = self.nanoseconds[model][length] / 1e6
        p50, p90, p99 = np.percentile(milliseconds, [50, 90, 99]).tolist()
        return Summary(milliseconds.size, p50, p90, p99, float(milliseconds.mean()))


def plan_blocks(calls: int) -> tuple[int, int]:
    """Blocks, and calls in each, for at least `calls` calls: blocks of 10, or smaller to have 20 of them."""
    per_block = max(1, min(MOST_CALLS_PER_BLOCK, calls // FEWEST_BLOCKS))
    return -(-calls // per_block), per_block


def measure_interleaved(
    models: Mapping[str, Callable[[Any], Any]],
    inputs: Mapping[Length, Sequence[Any]],
    calls: int,
    warmup: int,
    *,
    seed: int = 0,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Timings:
    """Times all models at all lengths.

    Inputs are taken in order and from the start again when they run out; every model gets the same ones.
    The uncounted calls before a block use the inputs before that block's, so that no input is timed right
    after itself.

    Args:
        models: Name to a function of one input.
        inputs: Length to its inputs, at least one each.
        calls: Timed calls per model and length; rounded up to whole blocks.
        warmup: Untimed calls per model and length before the first block.
        seed: Of the order of models.
        clock: Nanoseconds.
    """
    order = np.random.default_rng(seed)
    blocks, per_block = plan_blocks(calls)
    times: dict[str, dict[Length, np.ndarray]] = {name: {} for name in models}
    for length, stream in inputs.items():
        for model in models.values():
            for index in range(warmup):
                model(stream[index % len(stream)])
        for name in models:
            times[name][length] = np.empty((blocks, per_block), np.int64)
        names = list(models)
        gc.collect()
        with no_garbage_collection():
            for block in range(blocks):
                first = block * per_block
                for position in order.permutation(len(names)).tolist():
                    name = names[position]
                    for index in range(first - SETTLING_CALLS, first):
                        models[name](stream[index % len(stream)])
                    row = times[name][length][block]
                    for offset in range(per_block):
                        row[offset] = _timed(models[name], stream[(first + offset) % len(stream)], clock)
    return Timings(times)


def _timed(model: Callable[[Any], Any], value: Any, clock: Callable[[], int]) -> int:
    start = clock()
    model(value)
    return clock() - start
