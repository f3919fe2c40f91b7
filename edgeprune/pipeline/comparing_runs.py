"""What lies between two runs: differences of accuracy and quotients of speed, as honest as reports allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgeprune.measurement import between, statistics
from edgeprune.pipeline.measured import reported
from edgeprune.report.comparison import ComparedRow, ComparedRun, RunDifference, grouped
from edgeprune.report.content import metric_name
from edgeprune.report.model import Gain, Interval

__all__ = ["run_differences"]


def run_differences(
    runs: Sequence[ComparedRun], rows: Sequence[ComparedRow], metric: str, confidence: float
) -> list[RunDifference]:
    """Each run against the first one, at each place where both were measured.

    The same variant is compared with the same; where two runs chose different ones, also those two.
    """
    known = {run.letter: run for run in runs}
    return [
        _difference(now, before, known, metric, confidence)
        for _, place, found in grouped(rows)
        if place
        for run in runs[1:]
        for now, before in _pairs(found, runs[0], run)
    ]


def _pairs(
    rows: Sequence[ComparedRow], first: ComparedRun, other: ComparedRun
) -> Iterator[tuple[ComparedRow, ComparedRow]]:
    ours = [row for row in rows if row.run == first.letter]
    theirs = [row for row in rows if row.run == other.letter]
    chosen = [next((row for row in side if row.variant.chosen), None) for side in (theirs, ours)]
    if chosen[0] and chosen[1] and chosen[0].variant.name != chosen[1].variant.name:
        yield chosen[0], chosen[1]
    named = {(row.variant.name, row.deployed): row for row in ours}
    same_original = bool(first.original) and first.original == other.original
    for row in theirs:
        before = named.get((row.variant.name, row.deployed))
        if before is None or (row.score is None and before.score is None):
            continue
        if not (row.status == "reference" and same_original):
            yield row, before


def _difference(
    now: ComparedRow,
    before: ComparedRow,
    runs: Mapping[str, ComparedRun],
    metric: str,
    confidence: float,
) -> RunDifference:
    mine, other = runs[now.run], runs[before.run]
    same_original = bool(mine.original) and mine.original == other.original
    points, interval, unsure = _accuracy(
        now, before, mine.examples == other.examples, same_original, metric, confidence
    )
    alike = bool(mine.timed_beside) and mine.timed_beside == other.timed_beside
    speed, untimed = _speed(now, before, alike)
    return RunDifference(
        target=now.target,
        place=now.place,
        run=now.run,
        variant=now.variant.name,
        against_run=before.run,
        against=before.variant.name,
        points=points,
        interval=interval,
        speed=speed,
        why=[text for text in (unsure, untimed) if text],
    )


def _accuracy(
    now: ComparedRow,
    before: ComparedRow,
    same_examples: bool,
    same_original: bool,
    metric: str,
    confidence: float,
) -> tuple[float | None, Interval | None, str]:
    """Points, their interval, and why one of them is missing."""
    if now.score is None or before.score is None or now.variant.quality is None:
        return None, None, "one of the two was not measured"
    if not same_examples or now.sampled != before.sampled:
        return None, None, "they did not answer the same examples"
    points = 100 * (now.score - before.score)
    if metric != "accuracy":
        return points, None, f"an interval of {metric_name(metric)} needs the answers themselves"
    n = now.variant.quality.n
    right_before, right_now = round(before.score * n), round(now.score * n)
    changed = _changed(now, before, n) if same_original else None
    found = None
    if changed is not None:
        found = between.difference_by_agreement(right_before, right_now, changed, n, confidence)
    if found is None:
        found = between.unpaired_difference((right_before, n), (right_now, n), confidence)
    return points, reported(found), ""


def _changed(now: ComparedRow, before: ComparedRow, n: int) -> int | None:
    """Answers of both together that are not the original's."""
    shares = [1.0 if row.status == "reference" else row.variant.agreement for row in (now, before)]
    if any(share is None for share in shares):
        return None
    return sum(round((1 - share) * n) for share in shares if share is not None)


def _speed(now: ComparedRow, before: ComparedRow, alike: bool) -> tuple[list[Gain], str]:
    """How many times as fast at each length, and why there is none where there are latencies."""
    if "reference" in (now.status, before.status) or not (now.variant.latency and before.variant.latency):
        return [], ""
    if not alike:
        return [], "no speed: their originals are of other base models or other versions of PyTorch"
    ours = {(row.length, row.batch): row.speedup_original for row in before.variant.latency}
    gains = [
        Gain(length=row.length, speedup=reported(between.quotient(_kept(ratio), _kept(other))))
        for row in now.variant.latency
        if (ratio := row.speedup_original) and (other := ours.get((row.length, row.batch)))
    ]
    return gains, "" if gains else "no speed: they were not timed beside the original"


def _kept(interval: Interval) -> statistics.Interval:
    return statistics.Interval(**interval.model_dump())
