"""What each step brought, as finished cells: the original and what was made of it, in each precision.

Nothing here knows a medium; escaping is the renderer's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeprune.report.content import length_name, metric_heading, metric_value
from edgeprune.report.formatting import MISSING, milliseconds, plain, score, size, speedup, times
from edgeprune.report.model import AblationRow, Gain, LatencyRow, TargetRow, VariantRow
from edgeprune.report.tables import Grid

__all__ = ["HEADING", "BackendSteps", "introduction", "steps_by_backend"]

HEADING = "What each step brought"
_SLOWER = "not faster"

Length = int | Literal["real"]


@dataclass(frozen=True)
class BackendSteps:
    """One backend: a row per step, and in words what each step brought with its interval."""

    backend: str
    grid: Grid
    facts: tuple[tuple[str, str], ...]


def introduction(target: TargetRow) -> str:
    """What the tables hold, or why there are none; empty where the report knows nothing of it."""
    found = target.ablation
    if found is None:
        return ""
    if found.missing:
        return f"The original without compression is not shown beside the candidates: {plain(found.missing)}."
    if not found.compressed:
        text = "Nothing here masks, cuts or distils the model, so dense and compressed are the same."
    else:
        text = "Dense: the original as it is. Compressed: what this recipe made of it."
    if not any(row.gains for row in found.rows):
        answered = next((row.stand_in for row in target.variants if row.stand_in), "")
        accuracy = f" Accuracy: of a stand-in, {plain(answered)}." if answered else ""
        return f"{text}{accuracy} No latency was measured." if found.rows else text
    return (
        f"{text} Per length: p50 in milliseconds, and how many times faster than the first row, all measured "
        "interleaved. Not faster: the interval is not above 1."
    )


def steps_by_backend(target: TargetRow, metric: str) -> list[BackendSteps]:
    """The tables, one per backend that has more than one row."""
    if target.ablation is None or target.ablation.missing:
        return []
    rows = target.ablation.rows
    by_name = {variant.name: variant for variant in [*target.variants, *target.dense]}
    backends = dict.fromkeys(row.backend for row in rows)
    groups = [(backend, [row for row in rows if row.backend == backend]) for backend in backends]
    return [
        _backend_steps(backend, found, by_name, metric, named=target.ablation.compressed)
        for backend, found in groups
        if len(found) > 1
    ]


def _backend_steps(
    backend: str,
    rows: Sequence[AblationRow],
    by_name: dict[str, VariantRow],
    metric: str,
    *,
    named: bool,
) -> BackendSteps:
    lengths = list(dict.fromkeys(entry.length for row in rows for entry in by_name[row.variant].latency))
    cells = tuple(
        (_label(row, named=named), _cells(row, by_name[row.variant], lengths, metric)) for row in rows
    )
    heads = ("model", metric_heading(metric), *map(length_name, lengths), "file")
    facts = [(_step(row, rows[0], named=named), _brought(row.gains)) for row in rows if row.gains]
    facts += [
        (f"{_precision(row)} after compression", _brought(gains))
        for row in rows
        if row.compressed and row.precision != "fp32" and (gains := _over_fp32(by_name[row.variant]))
    ]
    facts += [
        (f"which {_side(row) if named else ''}{_precision(row)}", f"{_variant(row)}, {plain(row.picked)}")
        for row in rows
        if row.picked
    ]
    return BackendSteps(plain(backend), Grid(plain(backend), heads, cells), tuple(facts))


def _label(row: AblationRow, *, named: bool) -> str:
    """Which model a row is, e.g. ``dense INT8 (int8-dynamic)``; `named`: whether there are two sides."""
    which = "" if _variant(row) == row.precision else f" ({_variant(row)})"
    return f"{_side(row) if named else ''}{_precision(row)}{which}"


def _side(row: AblationRow) -> str:
    return "compressed " if row.compressed else "dense "


def _precision(row: AblationRow) -> str:
    return plain(row.precision).upper()


def _variant(row: AblationRow) -> str:
    return plain(row.variant.rpartition("/")[2])


def _step(row: AblationRow, first: AblationRow, *, named: bool) -> str:
    """What lies between the first row and this one."""
    precision = _precision(row)
    if not row.compressed:
        return f"{precision} alone" if named else precision
    return "compression alone" if row.precision == first.precision else f"compression and {precision}"


def _cells(row: AblationRow, variant: VariantRow, lengths: Sequence[Length], metric: str) -> tuple[str, ...]:
    gains = {gain.length: gain for gain in row.gains}
    latency = {entry.length: entry for entry in variant.latency}
    return (
        MISSING if variant.quality is None else score(metric_value(variant.quality, metric)),
        *(_timed(latency.get(length), gains.get(length)) for length in lengths),
        size(variant.file_bytes),
    )


def _timed(entry: LatencyRow | None, gain: Gain | None) -> str:
    """A median, and how many times faster than the first row's it is, or that it is not: ``1.60 (3.53×)``."""
    if entry is None:
        return MISSING
    if gain is None:
        return milliseconds(entry.p50_ms)
    return f"{milliseconds(entry.p50_ms)} ({times(gain.speedup.estimate) if gain.faster else _SLOWER})"


def _over_fp32(variant: VariantRow) -> list[Gain]:
    """How many times faster than the same model in FP32 on the same backend."""
    return [
        Gain(length=entry.length, speedup=entry.speedup_fp32)
        for entry in variant.latency
        if entry.speedup_fp32 is not None
    ]


def _brought(gains: Sequence[Gain]) -> str:
    """Ratios with their intervals at each length, ``not faster`` where that is so."""
    parts = [
        f"{speedup(gain.speedup)} at {length_name(gain.length)}{'' if gain.faster else f' ({_SLOWER})'}"
        for gain in gains
    ]
    if len(gains) > 1 and not any(gain.faster for gain in gains):
        return f"{_SLOWER}: {', '.join(parts).replace(f' ({_SLOWER})', '')}"
    return ", ".join(parts)
