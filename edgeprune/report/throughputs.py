"""Throughput of a target's candidates as finished cells: shared by all renderers."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.report.content import ordered_variants
from edgeprune.report.formatting import count, plain, rate
from edgeprune.report.model import TargetRow, Throughput, VariantRow

__all__ = ["HEADS", "ThroughputCells", "cells", "introduction"]

HEADS = ("candidate", "texts a second", "slowest to fastest round", "batches at once")


@dataclass(frozen=True)
class ThroughputCells:
    """One row; `share` is its texts a second over the most that a candidate has (0..1)."""

    name: str
    chosen: bool
    texts: str
    rounds: str
    streams: str
    share: float


def introduction(target: TargetRow, batch: int) -> str:
    """What the table holds; empty where throughput was not measured.

    Args:
        target: The target.
        batch: Texts of a batch.
    """
    rounds = sorted({found.rounds for _, found in _measured(target)})
    if not rounds:
        return ""
    return (
        f"Texts answered a second, at their real lengths and in batches of {count(batch)}, while more are "
        f"always waiting: {_numbers(rounds)} rounds, in which the models took turns. Slowest and fastest "
        "round are no confidence interval. Candidates are chosen by latency, not by this."
    )


def cells(target: TargetRow) -> list[ThroughputCells]:
    """A row for each model whose throughput was measured, the original first."""
    rows = _measured(target)
    most = max((found.texts_per_second for _, found in rows), default=0.0)
    return [
        ThroughputCells(
            name=plain(variant.name),
            chosen=variant.chosen,
            texts=rate(found.texts_per_second),
            rounds=f"{rate(found.low)} to {rate(found.high)}",
            streams=count(found.streams),
            share=found.texts_per_second / most if most > 0 else 0.0,
        )
        for variant, found in rows
    ]


def _measured(target: TargetRow) -> list[tuple[VariantRow, Throughput]]:
    rows = ordered_variants(target)
    return [(variant, variant.throughput) for variant in rows if variant.throughput is not None]


def _numbers(values: list[int]) -> str:
    return count(values[0]) if len(values) == 1 else f"{count(values[0])}–{count(values[-1])}"
