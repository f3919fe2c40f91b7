"""What a report says, in words: shared by all renderers, so that they never disagree.

Nothing here knows a medium. Foreign text (names, labels, reasons) has gone through `plain`; escaping for
HTML, Markdown or a terminal is the renderer's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeprune.report.deployment import Deployment
from edgeprune.report.formatting import (
    confidence,
    count,
    difference,
    minutes,
    percent,
    plain,
    points,
    score,
    size,
    times,
)
from edgeprune.report.model import DeviceRow, Note, Quality, Report, TargetRow, VariantRow

__all__ = [
    "Label",
    "acceptance",
    "data_counts",
    "device",
    "headline",
    "label_counts",
    "length_name",
    "measured",
    "metric_heading",
    "metric_name",
    "metric_value",
    "notes_by_weight",
    "ordered_variants",
    "other_metrics",
    "reason",
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


def verdict(word: str) -> Label:
    """The label of a target's or a run's verdict."""
    tones: dict[str, Tone] = {"pass": "good", "fail": "bad", "inconclusive": "open"}
    return Label(word.upper(), tones[word])


def reason(target: TargetRow) -> str:
    """Why the verdict is what it is; a target that was not measured says so in any case."""
    text = plain(target.reason)
    return text if target.measured or "not measured" in text else f"not measured: {text}"


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


def measured(quality: Quality, metric: str, when: str) -> tuple[str, str]:
    """What a stage itself measured of the judged metric: name, which says when and on how much, and value."""
    unit = "" if metric == "matthews" else " %"
    value = f"{score(metric_value(quality, metric))}{unit}"
    return f"{metric_name(metric)} {when}, {count(quality.n)} examples", value


def length_name(length: int | str) -> str:
    """An input length in words."""
    return "real lengths" if length == "real" else f"{length} tokens"


def acceptance(report: Report | Deployment) -> str:
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
    faster = [
        (row.length, row.speedup_original) for row in chosen.latency if row.speedup_original is not None
    ]
    if faster:
        lengths = ", ".join("real lengths" if length == "real" else str(length) for length, _ in faster)
        tokens = "" if lengths.endswith("real lengths") else " tokens"
        figures.append(
            (f"speed-up at {lengths}{tokens}", " · ".join(times(ratio.estimate) for _, ratio in faster))
        )
    if chosen.file_bytes is not None:
        figures.append(("file", size(chosen.file_bytes)))
    if chosen.peak_memory_bytes is not None:
        figures.append(("peak memory", size(chosen.peak_memory_bytes)))
    return figures


def statuses_plotted(target: TargetRow) -> list[tuple[str, Tone]]:
    """The statuses that occur among the measured candidates, with their tones: a plot's legend."""
    measured = (
        status(variant) for variant in ordered_variants(target) if variant.latency and variant.quality
    )
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
    """How long the run took and how much time earlier runs spared it."""
    cached = [row for row in report.stages if row.cached]
    text = f"This run took {minutes(report.seconds)}."
    if not cached:
        return f"{text} No stage came from an earlier run."
    spared = minutes(sum(row.seconds for row in cached))
    return f"{text} {len(cached)} of {len(report.stages)} stages came from an earlier run: {spared} spared."
