"""What a `measure` or an `answer` artifact holds, opened: answers, calls, and what follows from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.measurement import statistics
from edgeprune.measurement.latency import Timings
from edgeprune.measurement.throughput import Rounds
from edgeprune.measurement.verdict import Candidate
from edgeprune.recipe.schema import Length, RecipeShell
from edgeprune.report.model import Interval, LatencyRow, Throughput
from edgeprune.stages.answering import ORIGINAL
from edgeprune.stages.measure import timing_name

__all__ = [
    "Measured",
    "candidate",
    "difference_to",
    "latency_rows",
    "open_measured",
    "reported",
    "throughput",
]


@dataclass(frozen=True)
class Measured:
    """Raw results of one target.

    Attributes:
        models: Name to what is known of it: `quality`, and what the device told where there was one.
        labels: True class ids, int64 [examples].
        answers: Name to class ids, int64 [examples].
        timings: Every call; None where nothing was timed.
        lengths: The recipe's lengths; none where nothing was timed.
    """

    models: dict[str, dict[str, Any]]
    labels: npt.NDArray[np.int64]
    answers: dict[str, npt.NDArray[np.int64]]
    timings: Timings | None
    lengths: tuple[Length, ...]

    def speedup(self, reference: str, name: str, length: Length, confidence: float) -> statistics.Interval:
        """How many times faster than another model one is at a length."""
        assert self.timings is not None
        calls = self.timings.nanoseconds
        return statistics.ratio_of_medians(calls[reference][length], calls[name][length], confidence)


def open_measured(path: Path, lengths: Sequence[Length]) -> Measured:
    """Opens the artifact in a folder."""
    models = json.loads((path / "measured.json").read_text(encoding="utf-8"))
    with np.load(path / "logits.npz") as logits:
        labels = logits["labels"]
        answers = {name: logits[name].argmax(axis=1) for name in models}
    if not (path / "nanoseconds.npz").exists():
        return Measured(models, labels, answers, None, ())
    with np.load(path / "nanoseconds.npz") as calls:
        nanoseconds = {
            name: {length: calls[timing_name(name, length)] for length in lengths} for name in models
        }
    return Measured(models, labels, answers, Timings(nanoseconds), tuple(lengths))


def candidate(name: str, measured: Measured | None, shell: RecipeShell, stand_in: str = "") -> Candidate:
    """What was measured of a model against the original, to be judged.

    Args:
        name: Of the model.
        measured: Raw results; None, or without this model: it was not measured.
        shell: The recipe's sections.
        stand_in: What answered in its place.
    """
    if measured is None or name not in measured.models:
        return Candidate(name)
    confidence = shell.acceptance.confidence
    original, answers = measured.answers[ORIGINAL], measured.answers[name]
    difference = difference_to(original, answers, measured.labels, shell)
    timings = measured.timings
    return Candidate(
        name,
        difference=difference,
        agreement=statistics.agreement(original, answers, confidence),
        median_ms={length: timings.summary(name, length).p50_ms for length in measured.lengths}
        if timings
        else {},
        speedup={length: measured.speedup(ORIGINAL, name, length, confidence) for length in measured.lengths},
        stand_in=stand_in,
    )


def difference_to(
    original: npt.NDArray[np.int64],
    answers: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    shell: RecipeShell,
) -> statistics.Interval:
    """The task's metric of some answers minus that of the original's, points; all three int64 [examples]."""
    confidence, metric = shell.acceptance.confidence, shell.task.metric
    if metric == "accuracy":
        return statistics.accuracy_difference(labels, original, answers, confidence)
    classes = len(shell.task.label_names)
    return statistics.metric_difference(metric, labels, original, answers, confidence, classes=classes)


def latency_rows(measured: Measured, name: str, shell: RecipeShell) -> list[LatencyRow]:
    """Latency at every length, with speed-ups against the original and the same backend in FP32."""
    if measured.timings is None:
        return []
    plain = f"{name.rpartition('/')[0]}/fp32"
    rows = []
    for length in measured.lengths:
        against: dict[str, Interval | None] = {}
        for reference in (ORIGINAL, plain):
            if name not in (reference, ORIGINAL) and reference in measured.models:
                ratio = measured.speedup(reference, name, length, shell.acceptance.confidence)
                against[reference] = reported(ratio)
        rows.append(
            LatencyRow(
                length=length,
                batch=shell.measurement.batch,
                speedup_original=against.get(ORIGINAL),
                speedup_fp32=against.get(plain),
                **asdict(measured.timings.summary(name, length)),
            )
        )
    return rows


def throughput(facts: Mapping[str, Any]) -> Throughput | None:
    """Texts a second, from what is known of a model; None where that was not measured."""
    if "throughput" not in facts:
        return None
    rounds = Rounds(**facts["throughput"])
    low, high = rounds.spread
    return Throughput(
        texts_per_second=rounds.texts_per_second,
        low=low,
        high=high,
        rounds=len(rounds.texts),
        streams=rounds.streams,
    )


def reported(interval: statistics.Interval) -> Interval:
    """An interval as reports hold it."""
    return Interval(**asdict(interval))
