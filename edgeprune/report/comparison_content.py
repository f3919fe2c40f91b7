"""What a comparison says, in words and cells: shared by its page and its console form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeprune.report.comparison import ComparedRow, ComparedRun, Comparison, RunDifference, grouped
from edgeprune.report.content import Label, length_name, metric_heading, metric_name, status
from edgeprune.report.formatting import (
    MISSING,
    confidence,
    count,
    difference,
    milliseconds,
    moment,
    percent,
    plain,
    points,
    score,
    size,
    speedup,
)

__all__ = [
    "DIFFERENCE_HEADS",
    "RUN_HEADS",
    "Cells",
    "Group",
    "LatencyCells",
    "caption",
    "difference_rows",
    "differences_caption",
    "groups",
    "run_rows",
]

Length = int | Literal["real"]

RUN_HEADS = ("run", "recipe", "verdict", "encoder", "parameters", "validation", "when")
DIFFERENCE_HEADS = ("run", "variant", "against", "difference, points", "times as fast")


@dataclass(frozen=True)
class LatencyCells:
    """Of one row at one length: medians and tails as finished text."""

    p50: str
    p99: str
    speedup: str


@dataclass(frozen=True)
class Cells:
    """One row; numbers are finished text. `index` is its place among all rows of the comparison."""

    index: int
    run: str
    name: str
    where: str
    status: Label
    score: str
    difference: str
    agreement: str
    latency: tuple[LatencyCells, ...]
    file: str
    memory: str


@dataclass(frozen=True)
class Group:
    """The rows of one target on one device, which may be compared with each other."""

    target: str
    place: str
    emulated: bool
    lengths: tuple[Length, ...]
    rows: tuple[ComparedRow, ...]
    cells: tuple[Cells, ...]

    @property
    def length_names(self) -> tuple[str, ...]:
        """The lengths in words."""
        return tuple(length_name(length) for length in self.lengths)

    @property
    def heading(self) -> str:
        """Target and device in words."""
        return (
            f"{plain(self.target)} on {self.place}" if self.place else f"{plain(self.target)}, not measured"
        )

    @property
    def caption(self) -> str:
        """How many rows, and how the latencies were measured."""
        text = f"{count(len(self.rows))} row{'s' if len(self.rows) != 1 else ''}."
        entries = [entry for row in self.rows for entry in row.variant.latency]
        ways = dict.fromkeys(f"batch {entry.batch}, {count(entry.calls)} calls" for entry in entries)
        return f"{text} Latency: {'; '.join(ways)}." if ways else text


def groups(comparison: Comparison) -> list[Group]:
    """All rows by target and device."""
    indices = {id(row): index for index, row in enumerate(comparison.rows)}
    return [_group(target, place, rows, indices) for target, place, rows in grouped(comparison.rows)]


def _group(target: str, place: str, rows: Sequence[ComparedRow], indices: dict[int, int]) -> Group:
    lengths = tuple(dict.fromkeys(entry.length for row in rows for entry in row.variant.latency))
    return Group(
        target=target,
        place=plain(place),
        emulated=any(row.emulated for row in rows),
        lengths=lengths,
        rows=tuple(rows),
        cells=tuple(_cells(row, indices[id(row)], lengths) for row in rows),
    )


def _cells(row: ComparedRow, index: int, lengths: Sequence[Length]) -> Cells:
    variant = row.variant
    by_length = {entry.length: entry for entry in variant.latency}
    found = (by_length.get(length) for length in lengths)
    return Cells(
        index=index,
        run=row.run,
        name=plain(variant.name),
        where=_where(row),
        status=status(variant),
        score=_score(row),
        difference=difference(variant.difference_points),
        agreement=MISSING if variant.agreement is None else percent(variant.agreement),
        latency=tuple(
            LatencyCells(MISSING, MISSING, MISSING)
            if entry is None
            else LatencyCells(
                milliseconds(entry.p50_ms), milliseconds(entry.p99_ms), speedup(entry.speedup_original)
            )
            for entry in found
        ),
        file=size(variant.file_bytes),
        memory=size(variant.peak_memory_bytes),
    )


def _where(row: ComparedRow) -> str:
    parts = ["deployed"] if row.deployed else []
    parts += [row.sampled] if row.sampled else []
    parts += [f"answered by {plain(row.variant.stand_in)}"] if row.variant.stand_in else []
    return ", ".join(parts)


def _score(row: ComparedRow) -> str:
    """The metric with its interval, e.g. ``86.42 [85.04, 87.69]``."""
    if row.score is None:
        return MISSING
    if row.interval is None:
        return score(row.score)
    return f"{score(row.score)} [{score(row.interval.low)}, {score(row.interval.high)}]"


def caption(comparison: Comparison) -> str:
    """What the tables hold."""
    name = metric_name(comparison.metric)
    interval = next((row.interval for row in comparison.rows if row.interval), None)
    own = (
        f"{metric_heading(comparison.metric)} with its {confidence(interval.confidence)} interval "
        f"({plain(interval.method)})"
        if interval
        else f"{metric_heading(comparison.metric)}, without an interval: it would need the answers themselves"
    )
    return (
        f"{own[:1].upper()}{own[1:]}; difference of {name} to the run's own original, in points; latency in "
        "milliseconds per call, with how many times as fast as the original."
    )


def run_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The runs, in the order of `RUN_HEADS`."""
    return [_run(run) for run in comparison.runs]


def _run(run: ComparedRun) -> tuple[str, ...]:
    return (
        run.letter,
        f"{plain(run.recipe)} ({plain(run.run_id)})",
        run.verdict.upper(),
        plain(run.encoder),
        count(run.parameters),
        count(run.validation),
        moment(run.started),
    )


def differences_caption(comparison: Comparison) -> str:
    """What the differences between runs are, and what their intervals are worth."""
    methods = list(
        dict.fromkeys(
            plain(interval.method)
            for item in comparison.differences
            for interval in (item.interval, *(gain.speedup for gain in item.speed))
            if interval
        )
    )
    text = "Reports do not hold the answers themselves, so no interval here is as narrow as a paired one."
    if any(item.speed for item in comparison.differences):
        text += (
            " Speeds come from sessions of their own: what else the machine did meanwhile is in the numbers "
            "and not in the intervals."
        )
    return f"{text} Intervals: {'; '.join(methods)}." if methods else text


def difference_rows(comparison: Comparison) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Differences between runs by target and device, in the order of `DIFFERENCE_HEADS`."""
    result: dict[str, list[tuple[str, ...]]] = {}
    for item in comparison.differences:
        result.setdefault(f"{plain(item.target)} on {plain(item.place)}", []).append(_difference(item))
    return list(result.items())


def _difference(item: RunDifference) -> tuple[str, ...]:
    gap = MISSING if item.points is None else points(item.points)
    speeds = " · ".join(f"{length_name(gain.length)} {speedup(gain.speedup)}" for gain in item.speed)
    why = "; ".join(item.why)
    return (
        item.run,
        plain(item.variant),
        item.against_run if item.against == item.variant else f"{item.against_run} {plain(item.against)}",
        difference(item.interval) if item.interval else gap,
        " · ".join(part for part in (speeds, why) if part) or MISSING,
    )
