"""What a report says, in words and table cells: shared by all renderers, so that they never disagree.

Nothing here knows a medium. Foreign text (names, labels, reasons) has gone through `plain`; escaping for
HTML, Markdown or a terminal is the renderer's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeprune.report.formatting import (
    MISSING,
    confidence,
    count,
    difference,
    milliseconds,
    minutes,
    percent,
    plain,
    points,
    score,
    size,
    speedup,
    times,
)
from edgeprune.report.model import DeviceRow, LatencyRow, Note, Quality, Report, TargetRow, VariantRow

__all__ = [
    "CandidateCells",
    "Label",
    "LatencyCells",
    "LatencyGroup",
    "acceptance",
    "candidates",
    "candidates_caption",
    "data_counts",
    "device",
    "headline",
    "label_counts",
    "latency_caption",
    "latency_groups",
    "length_name",
    "metric_heading",
    "metric_name",
    "metric_value",
    "notes_by_weight",
    "ordered_variants",
    "other_metrics",
    "stages_caption",
    "status",
    "statuses_plotted",
    "verdict",
]

Tone = Literal["good", "bad", "open", "quiet"]

_METRICS = {"accuracy": "accuracy", "f1": "F1", "matthews": "Matthews"}


@dataclass(frozen=True)
class Label:
    """A word that says how something ended, with its tone for whoever can show one."""

    word: str
    tone: Tone


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


def verdict(word: str) -> Label:
    """The label of a target's or a run's verdict."""
    tones: dict[str, Tone] = {"pass": "good", "fail": "bad", "inconclusive": "open"}
    return Label(word.upper(), tones[word])


def status(variant: VariantRow) -> Label:
    """The label of a candidate's status; the chosen one says so."""
    tones: dict[str, Tone] = {"accepted": "good", "rejected": "bad", "inconclusive": "open"}
    if variant.chosen:
        return Label("chosen", "good")
    return Label(variant.status, tones.get(variant.status, "quiet"))


def metric_name(metric: str) -> str:
    """The metric's name in a sentence."""
    return _METRICS.get(metric, plain(metric))


def metric_heading(metric: str) -> str:
    """The metric's name over a column: scores are times 100, which is percent for accuracy and F1."""
    return f"{metric_name(metric)} ×100" if metric == "matthews" else f"{metric_name(metric)} %"


def metric_value(quality: Quality, metric: str) -> float:
    """The judged metric of a `Quality`, as a number (0..1, Matthews -1..1)."""
    return {"accuracy": quality.accuracy, "f1": quality.f1, "matthews": quality.matthews}[metric]


def other_metrics(metric: str) -> tuple[str, ...]:
    """The metrics that are reported but not judged by."""
    return tuple(name for name in _METRICS if name != metric)


def length_name(length: int | str) -> str:
    """An input length in words."""
    return "real lengths" if length == "real" else f"{length} tokens"


def acceptance(report: Report) -> str:
    """What was demanded, in one sentence."""
    demands = [
        f"it loses at most {points(report.max_drop).lstrip('+')} points of {metric_name(report.metric)} "
        f"against the original ({confidence(report.confidence)} interval, same examples)"
    ]
    if report.min_agreement is not None:
        demands.append(f"at least {percent(report.min_agreement)} of its answers equal the original's")
    if report.min_speedup is not None:
        demands.append(f"it is at least {times(report.min_speedup)} as fast as the original at every length")
    return f"A candidate is accepted when {_join(demands)}."


def _join(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def ordered_variants(target: TargetRow) -> list[VariantRow]:
    """The original first, the rest in the report's own order."""
    return sorted(target.variants, key=lambda variant: variant.status != "reference")


def headline(target: TargetRow, metric: str) -> list[tuple[str, str]]:
    """The key figures of what ships: pairs of name and value; empty when nothing was chosen."""
    chosen = next((variant for variant in target.variants if variant.chosen), None)
    if chosen is None:
        return []
    figures = [("ships", plain(chosen.name))]
    if chosen.quality is not None:
        unit = "" if metric == "matthews" else " %"
        figures.append((metric_name(metric), f"{score(metric_value(chosen.quality, metric))}{unit}"))
    if chosen.difference_points is not None:
        figures.append(("points against the original", difference(chosen.difference_points)))
    faster = [(row.length, row.speedup_original) for row in chosen.latency if row.speedup_original is not None]
    if faster:
        lengths = ", ".join("real lengths" if length == "real" else str(length) for length, _ in faster)
        tokens = "" if lengths.endswith("real lengths") else " tokens"
        figures.append((f"speed-up at {lengths}{tokens}", " · ".join(times(ratio.estimate) for _, ratio in faster)))
    if chosen.file_bytes is not None:
        figures.append(("file", size(chosen.file_bytes)))
    if chosen.peak_memory_bytes is not None:
        figures.append(("peak memory", size(chosen.peak_memory_bytes)))
    return figures


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
        notes=tuple(plain(note) for note in variant.notes),
    )


def _runs(variant: VariantRow) -> str:
    """What the name does not say: backend and precision, and what the runtime says it runs."""
    asked = [plain(word) for word in (variant.backend, variant.precision) if word not in variant.name]
    if variant.executed and variant.executed != variant.precision:
        asked.append(f"runs as {plain(variant.executed)}")
    return " ".join(asked)


def candidates_caption(report: Report, target: TargetRow) -> str:
    """What the table of candidates holds, and how its intervals were made."""
    found = [variant for variant in target.variants if variant.quality is not None]
    if not found or found[0].quality is None:
        return "Candidates; none was measured."
    text = f"Candidates on {count(found[0].quality.n)} validation examples."
    intervals = [item.difference_points for item in found if item.difference_points is not None]
    if not intervals:
        return text
    return (
        f"{text} Difference: {metric_name(report.metric)} minus the original's, in points, with its "
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


def statuses_plotted(target: TargetRow) -> list[tuple[str, Tone]]:
    """The statuses that occur among the measured candidates, with their tones: a plot's legend."""
    measured = (status(variant) for variant in ordered_variants(target) if variant.latency and variant.quality)
    return list(dict.fromkeys((label.word, label.tone) for label in measured))


def device(row: DeviceRow) -> str:
    """A device in one line."""
    cores = f"{row.cores} core{'s' if row.cores != 1 else ''}"
    threads = f"{row.threads} thread{'s' if row.threads != 1 else ''} used"
    parts = [plain(row.cpu), plain(row.architecture), f"{cores}, {threads}"]
    if row.emulated:
        parts.append("emulated: its times say nothing about a real device")
    if row.features:
        parts.append(" ".join(plain(feature) for feature in row.features))
    return " · ".join(parts)


def data_counts(report: Report) -> list[tuple[str, str]]:
    """How many rows went where: pairs of name and number."""
    data = report.data
    unusable = sum(row.count for row in data.unusable)
    return [
        ("training examples", count(data.train)),
        ("validation examples", count(data.validation)),
        ("left out by the recipe's filter", count(data.filtered)),
        ("unusable", count(unusable)),
    ]


def label_counts(report: Report) -> list[tuple[str, str, str]]:
    """Per label: its name, its training examples, its validation examples."""
    data = report.data
    return [
        (plain(name), count(data.train_per_label.get(name, 0)), count(data.validation_per_label.get(name, 0)))
        for name in data.labels
    ]


def notes_by_weight(notes: Sequence[Note]) -> list[Note]:
    """Warnings before information, each in the report's order."""
    return sorted(notes, key=lambda note: note.level != "warning")


def stages_caption(report: Report) -> str:
    """How long the run took and how much of it came from earlier runs."""
    cached = [row for row in report.stages if row.cached]
    text = f"This run took {minutes(report.seconds)}."
    if not cached:
        return f"{text} No stage was cached."
    spared = minutes(sum(row.seconds for row in cached))
    return f"{text} {len(cached)} of {len(report.stages)} stages were cached: {spared} spared."
