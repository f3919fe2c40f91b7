"""Tables as finished cells, those of a target first: shared by all renderers, so that they never disagree.

Nothing here knows a medium; escaping is the renderer's part. The original is always a target's first row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeprune.report.content import (
    Label,
    length_name,
    metric_name,
    metric_value,
    ordered_variants,
    other_metrics,
    status,
)
from edgeprune.report.formatting import (
    MISSING,
    confidence,
    count,
    difference,
    milliseconds,
    minutes,
    percent,
    plain,
    score,
    size,
    speedup,
)
from edgeprune.report.model import Fusions, LatencyRow, TargetRow, VariantRow

__all__ = [
    "CandidateCells",
    "Grid",
    "LatencyCells",
    "LatencyGroup",
    "candidates",
    "candidates_caption",
    "latency_caption",
    "latency_groups",
]


@dataclass(frozen=True)
class Grid:
    """A small table of numbers: a name at the head of each row, then a cell per column after the first."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class CandidateCells:
    """One row of a target's table of candidates; numbers are finished text."""

    name: str
    runs: str
    status: Label
    reason: str
    chosen: bool
    metric: str
    difference: str
    agreement: str
    other_metrics: str
    file: str
    memory: str
    load: str
    fused: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class LatencyCells:
    """One row of a latency table; `share` is its median over the slowest median at that length (0..1)."""

    name: str
    chosen: bool
    p50: str
    p90: str
    p99: str
    vs_original: str
    vs_fp32: str
    share: float


@dataclass(frozen=True)
class LatencyGroup:
    """All candidates at one input length."""

    length: str
    calls: str
    rows: tuple[LatencyCells, ...]


def candidates(target: TargetRow, metric: str) -> list[CandidateCells]:
    """The rows of a target's table of candidates, the original first."""
    return [_candidate(variant, metric) for variant in ordered_variants(target)]


def _candidate(variant: VariantRow, metric: str) -> CandidateCells:
    quality = variant.quality
    return CandidateCells(
        name=plain(variant.name),
        runs=_runs(variant),
        status=status(variant),
        reason=plain(variant.reason),
        chosen=variant.chosen,
        metric=MISSING if quality is None else score(metric_value(quality, metric)),
        difference=difference(variant.difference_points),
        agreement=MISSING if variant.agreement is None else percent(variant.agreement),
        other_metrics=MISSING
        if quality is None
        else ", ".join(score(metric_value(quality, name)) for name in other_metrics(metric)),
        file=size(variant.file_bytes),
        memory=size(variant.peak_memory_bytes),
        load=minutes(variant.load_seconds),
        fused=_fused(variant.fusions),
        notes=tuple(plain(note) for note in variant.notes),
    )


def _runs(variant: VariantRow) -> str:
    """What the name does not say: backend, precision, what the runtime says it runs, what answered for it."""
    asked = [plain(word) for word in (variant.backend, variant.precision) if word not in variant.name]
    if variant.executed and variant.executed != variant.precision:
        asked.append(f"runs as {plain(variant.executed)}")
    if variant.stand_in:
        asked.append(f"answered by {plain(variant.stand_in)}")
    return " ".join(asked)


def _fused(fusions: Fusions | None) -> str:
    """What the runtime fused, in words; empty where that was not looked into."""
    if fusions is None:
        return ""
    layers, fused = fusions.attention_layers, fusions.attention_fused
    parts = [f"attention in {count(fused) if fused else 'none'} of {count(layers)} layers"] if layers else []
    most_first = sorted(fusions.operators.items(), key=lambda item: (-item[1], item[0]))
    parts += [f"{count(number)} × {plain(name)}" for name, number in most_first]
    return ", ".join(parts) or "nothing"


def candidates_caption(metric: str, target: TargetRow) -> str:
    """What the table of candidates holds, and how its intervals were made."""
    found = [variant for variant in target.variants if variant.quality is not None]
    if not found or found[0].quality is None:
        return "Candidates; none was measured."
    text = f"Candidates on {count(found[0].quality.n)} validation examples."
    for stand_in in dict.fromkeys(item.stand_in for item in found if item.stand_in):
        text += f" A stand-in answered for them, {plain(stand_in)}: latency was not measured."
    intervals = [item.difference_points for item in found if item.difference_points is not None]
    if not intervals:
        return text
    return (
        f"{text} Difference: {metric_name(metric)} minus the original's, in points, with its "
        f"{confidence(intervals[0].confidence)} interval ({plain(intervals[0].method)})."
    )


def latency_groups(target: TargetRow) -> list[LatencyGroup]:
    """Latency by input length, lengths in the order in which they were measured; empty if none was."""
    variants = ordered_variants(target)
    lengths = dict.fromkeys(row.length for variant in variants for row in variant.latency)
    return [_latency_group(length, variants) for length in lengths]


def _latency_group(length: int | Literal["real"], variants: Sequence[VariantRow]) -> LatencyGroup:
    pairs = [(variant, row) for variant in variants for row in variant.latency if row.length == length]
    slowest = max(row.p50_ms for _, row in pairs)
    calls = sorted({row.calls for _, row in pairs})
    batches = sorted({row.batch for _, row in pairs})
    return LatencyGroup(
        length=length_name(length),
        calls=f"batch {_spread(batches)}, {_spread(calls)} calls",
        rows=tuple(_latency_cells(variant, row, slowest) for variant, row in pairs),
    )


def _spread(values: Sequence[int]) -> str:
    return count(values[0]) if len(values) == 1 else f"{count(values[0])}–{count(values[-1])}"


def _latency_cells(variant: VariantRow, row: LatencyRow, slowest: float) -> LatencyCells:
    return LatencyCells(
        name=plain(variant.name),
        chosen=variant.chosen,
        p50=milliseconds(row.p50_ms),
        p90=milliseconds(row.p90_ms),
        p99=milliseconds(row.p99_ms),
        vs_original=speedup(row.speedup_original),
        vs_fp32=speedup(row.speedup_fp32),
        share=row.p50_ms / slowest if slowest > 0 else 0.0,
    )


def latency_caption(target: TargetRow) -> str:
    """What the latency tables hold."""
    rows = [row for variant in target.variants for row in variant.latency if row.speedup_original is not None]
    text = "Milliseconds per call. Speed-ups are ratios of medians, measured interleaved in one process"
    if rows and rows[0].speedup_original is not None:
        interval = rows[0].speedup_original
        text += f", with their {confidence(interval.confidence)} interval ({plain(interval.method)})"
    return f"{text}; above 1 is faster."
