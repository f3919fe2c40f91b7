"""From what was measured of every seed to a value, an interval and values by seed for each promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import mean, stdev

import numpy as np
from headline_promises import PROMISES, Finding
from interleaved import CONFIDENCE, Times, time_ratio, typical_ms
from peers_int8_measuring import Measured, Scores
from peers_int8_table import Overall, overall

from edgeprune.measurement.latency import Length
from edgeprune.measurement.statistics import Interval

__all__ = ["ORIGINAL", "Facts", "SeedMeasured", "dense_name", "findings", "mean_over_seeds"]

ORIGINAL = "dense FP32 in PyTorch"
LEFT_OUT = "left out"
MEGABYTE = 1e6

Rival = tuple[tuple[str, ...], Times]
"""Names of the models, one or another by seed, and their times."""


@dataclass(frozen=True)
class Facts:
    """What is known of a run without measuring it again.

    Attributes:
        seed: Of the run.
        minutes: That its steps took when they were made.
        original_bytes: Of the original's files.
        shipped_bytes: Of the bundle, or of the mask pack.
        runtime: That the compiled model is for; empty where nothing is compiled.
    """

    seed: int
    minutes: float
    original_bytes: int = 0
    shipped_bytes: int = 0
    runtime: str = ""


@dataclass(frozen=True)
class SeedMeasured:
    """All models of one seed, side by side in one process.

    Attributes:
        seed: Of the runs.
        timed: Dense references, peers, and what ships of the recipes, by name; also those that failed.
        scores: What ships of each recipe, against its own original.
    """

    seed: int
    timed: Sequence[Measured] = ()
    scores: Mapping[str, Scores] = field(default_factory=dict)


def dense_name(runtime: str) -> str:
    """Name of the dense model in FP32 on a runtime."""
    return f"dense {runtime}/fp32"


def findings(measured: Sequence[SeedMeasured], facts: Mapping[str, Mapping[int, Facts]]) -> list[Finding]:
    """One for every promise, or for every promise and length.

    Args:
        measured: Of every seed.
        facts: Recipe to seed to what is known of that run.
    """
    everyone, problems = overall([item.timed for item in measured])
    timed = {row.name: row for row in everyone}
    runtimes = {
        model: [facts[model][item.seed].runtime for item in measured if item.seed in facts[model]]
        for model in facts
    }
    lengths = list(timed[ORIGINAL].times) if ORIGINAL in timed else []

    def faster(key: str, rival: Callable[[Length], Rival | None]) -> list[Finding]:
        model = PROMISES[key].model
        if model not in facts or model not in timed:
            return [Finding(key, problem=problems.get(model, LEFT_OUT))]
        return [_faster(key, timed[model], length, rival(length)) for length in lengths]

    def on_runtime(model: str) -> Callable[[Length], Rival | None]:
        return lambda length: _on_runtimes(timed, runtimes[model], length)

    def best_peer(length: Length) -> Rival | None:
        return _fastest([row for row in everyone if row.entrant.side == "peer"], length)

    return [
        _accuracy("mobile accuracy", measured, facts),
        *faster("mobile pytorch", lambda length: ((ORIGINAL,), _at(timed[ORIGINAL], length))),
        *faster("mobile runtime", on_runtime("mobile")),
        *faster("mobile peer", best_peer),
        _of_facts("mobile size", facts, lambda item: item.original_bytes / item.shipped_bytes),
        _accuracy("tiny accuracy", measured, facts),
        *faster("tiny peer", best_peer),
        _accuracy("taskpack accuracy", measured, facts),
        _of_facts("taskpack size", facts, lambda item: item.shipped_bytes / MEGABYTE),
        _of_facts("mobile minutes", facts, lambda item: item.minutes),
        _of_facts("quickstart minutes", facts, lambda item: item.minutes),
    ]


def mean_over_seeds(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean with Student's t interval; a single seed has none, and its value is both ends."""
    estimate = mean(values)
    if len(values) < 2:
        return Interval(estimate, estimate, estimate, confidence, "one seed, no interval")
    from scipy import stats

    quantile = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1))
    reach = quantile * stdev(values) / sqrt(len(values))
    method = f"Student's t over {len(values)} seeds"
    return Interval(estimate, estimate - reach, estimate + reach, confidence, method)


def _accuracy(
    key: str, measured: Sequence[SeedMeasured], facts: Mapping[str, Mapping[int, Facts]]
) -> Finding:
    model = PROMISES[key].model
    if model not in facts:
        return Finding(key, problem=LEFT_OUT)
    scores = [item.scores[model] for item in measured if model in item.scores]
    if len(scores) < len(measured) or not scores:
        return Finding(key, problem="it did not answer in every seed")
    values = tuple(item.difference.estimate for item in scores)
    now = mean(100 * item.correct / item.n for item in scores)
    detail = f"{now:.2f} %, the original {now - mean(values):.2f} % of {scores[0].n} sentences"
    interval = mean_over_seeds(values) if len(values) > 1 else scores[0].difference
    return Finding(key, None, interval, values, detail)


def _of_facts(
    key: str, facts: Mapping[str, Mapping[int, Facts]], value_of: Callable[[Facts], float]
) -> Finding:
    found = facts.get(PROMISES[key].model)
    if not found:
        return Finding(key, problem=LEFT_OUT)
    values = tuple(value_of(found[seed]) for seed in sorted(found))
    return Finding(key, None, mean_over_seeds(values), values)


def _faster(key: str, mine: Overall, length: Length, rival: Rival | None) -> Finding:
    if rival is None:
        return Finding(key, length, problem="there is nothing to compare with in every seed")
    names, theirs = rival
    own = _at(mine, length)
    pairs = zip(theirs[length], own[length], strict=True)
    seeds = tuple(float(np.median(upper) / np.median(lower)) for upper, lower in pairs)
    detail = f"{', '.join(names)}: {typical_ms(theirs):.2f} ms, {mine.name}: {typical_ms(own):.2f} ms"
    return Finding(key, length, time_ratio(theirs, own), seeds, detail, names)


def _on_runtimes(timed: Mapping[str, Overall], runtimes: Sequence[str], length: Length) -> Rival | None:
    """The dense model in FP32 on the runtime that ships, which may be another one for each seed."""
    names = [dense_name(runtime) for runtime in runtimes]
    if any(name not in timed for name in names):
        return None
    rows = np.stack([timed[name].times[length][group] for group, name in enumerate(names)])
    return tuple(dict.fromkeys(names)), {length: rows}


def _fastest(rivals: Sequence[Overall], length: Length) -> Rival | None:
    """However accurate they are."""
    times = {row.name: _at(row, length) for row in rivals}
    if not times:
        return None
    best = min(times, key=lambda name: typical_ms(times[name]))
    return (best,), times[best]


def _at(row: Overall, length: Length) -> Times:
    return {length: row.times[length]}
