"""Compiled models side by side: the texts that they are timed on, and ratios of how long they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprune.errors import UsageError
from edgeprune.measurement.latency import Length, measure_interleaved
from edgeprune.measurement.statistics import Interval

if TYPE_CHECKING:
    from edgeprune.measurement.accuracy import Predictor
    from edgeprune.measurement.batches import Batch
    from edgeprune.measurement.reading import Reading

__all__ = [
    "CONFIDENCE",
    "Calls",
    "Times",
    "inputs_of",
    "stacked",
    "streams_of",
    "time_ratio",
    "timed",
    "timed_apart",
    "typical_ms",
]

CONFIDENCE = 0.95
RESAMPLES = 2000

Calls = Mapping[Length, npt.NDArray[np.int64]]
"""Length to nanoseconds [blocks, calls], as `measure_interleaved` gives them."""
Times = Mapping[Length, npt.NDArray[np.int64]]
"""Length to nanoseconds [groups, blocks, calls]; a group is a process, or a model of the same kind."""


def inputs_of(reading: Reading, lengths: Sequence[Length], batch: int) -> dict[Length, list[Batch]]:
    """The texts as what models are timed on, in the form that runs are measured in.

    Args:
        reading: The texts as tokens.
        lengths: `real`: each batch at the length of its longest text; a number: the texts that fit, padded.
        batch: Texts of a call.

    Raises:
        UsageError: No text is short enough for a length.
    """
    return {length: found[""] for length, found in streams_of({"": reading}, lengths, batch).items()}


def streams_of(
    readings: Mapping[str, Reading], lengths: Sequence[Length], batch: int
) -> dict[Length, dict[str, list[Batch]]]:
    """The same texts as the tokens of each model, which may have a vocabulary of its own.

    Args:
        readings: Of every model, the texts as its tokens.
        lengths: See `inputs_of`; a text fits if it does for every model.
        batch: Texts of a call.

    Raises:
        UsageError: No text is short enough for a length.
    """
    from edgeprune.measurement.reading import fitting

    found: dict[Length, dict[str, list[Batch]]] = {}
    for length in lengths:
        whole = None if length == "real" else length
        chosen = fitting(readings, whole)
        if not chosen:
            shortest = min(int(reading.encoded.lengths.min()) for reading in readings.values())
            raise UsageError(f"no text has {length} tokens or fewer; the shortest has {shortest}")
        groups = [chosen[start : start + batch] for start in range(0, len(chosen), batch)]
        found[length] = {name: reading.batches(groups, whole) for name, reading in readings.items()}
    return found


def timed(
    models: Mapping[str, Predictor],
    inputs: Mapping[Length, Sequence[Batch]],
    calls: int,
    warmup: int,
    seed: int = 0,
) -> dict[str, Calls]:
    """Times all models on the same inputs (see `measure_interleaved`)."""
    callers = {name: lambda batch, model=model: model.run(*batch) for name, model in models.items()}
    return dict(measure_interleaved(callers, inputs, calls, warmup, seed=seed).nanoseconds)


def timed_apart(
    models: Mapping[str, Predictor],
    streams: Mapping[Length, Mapping[str, Sequence[Batch]]],
    calls: int,
    warmup: int,
    seed: int = 0,
) -> dict[str, Calls]:
    """Times all models on the same texts, each as it reads them (see `streams_of`)."""

    def caller(name: str, model: Predictor) -> Callable[[tuple[Length, int]], Any]:
        own = {length: stream[name] for length, stream in streams.items()}
        return lambda place: model.run(*own[place[0]][place[1]])

    callers = {name: caller(name, model) for name, model in models.items()}
    places = {
        length: [(length, number) for number in range(len(next(iter(stream.values()))))]
        for length, stream in streams.items()
    }
    return dict(measure_interleaved(callers, places, calls, warmup, seed=seed).nanoseconds)


def stacked(groups: Sequence[Calls]) -> Times:
    """Calls of several processes, or of models of the same kind, that were timed alike."""
    return {length: np.stack([calls[length] for calls in groups]) for length in groups[0]}


def typical_ms(times: Times) -> float:
    """Geometric mean over groups and lengths of the median latency, as variants are chosen by."""
    logarithms = [np.log(np.median(rows / 1e6, axis=(1, 2))) for rows in times.values()]
    return exp(float(np.mean(logarithms)))


def time_ratio(
    numerator: Times, denominator: Times, *, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """Ratio of typical latencies, with a bootstrap over groups and over whole blocks within them.

    Calls of one block share what the machine did then, so blocks are drawn, the same for both; blocks of one
    group share what its process is like, so groups are drawn first.

    Args:
        numerator: At one length or more.
        denominator: At the same lengths, row by row timed beside `numerator`.
        confidence: E.g. 0.95.
        seed: Of the resampling.

    Raises:
        ValueError: The two were not timed beside each other.
    """
    shapes = [{length: rows.shape for length, rows in times.items()} for times in (numerator, denominator)]
    if shapes[0] != shapes[1] or not shapes[0]:
        raise ValueError(f"need the same lengths, groups, blocks and calls, got {shapes[0]} and {shapes[1]}")
    groups = next(iter(shapes[0].values()))[0]
    random = np.random.default_rng(seed)
    sums = np.zeros(RESAMPLES)
    for _ in range(groups):
        group = random.integers(0, groups, RESAMPLES)[:, None]  # [R, 1]
        for length, upper in numerator.items():
            blocks = random.integers(0, upper.shape[1], (RESAMPLES, upper.shape[1]))  # [R, B]
            sums += _log_medians(upper[group, blocks]) - _log_medians(denominator[length][group, blocks])
    drawn = np.exp(sums / (groups * len(numerator)))
    low, high = np.percentile(drawn, [50 * (1 - confidence), 50 * (1 + confidence)]).tolist()
    method = f"bootstrap over {groups} groups and their blocks, {RESAMPLES} resamples"
    return Interval(typical_ms(numerator) / typical_ms(denominator), low, high, confidence, method)


def _log_medians(picked: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """[R, B, C] -> [R]."""
    medians: npt.NDArray[np.float64] = np.log(np.median(picked.reshape(len(picked), -1), axis=1))
    return medians
