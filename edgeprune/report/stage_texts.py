"""Sections of stages that have something of their own to tell, for forms that show no plots."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.report import distill_tables, mask_tables, structure_tables
from edgeprune.report.distillations import distill_record
from edgeprune.report.formatting import plain
from edgeprune.report.masks import mask_record
from edgeprune.report.model import Report
from edgeprune.report.structures import structure_record
from edgeprune.report.tables import Grid

__all__ = ["StageText", "stage_texts"]


@dataclass(frozen=True)
class StageText:
    """One section: its heading, a table where it has one, and pairs of name and value."""

    heading: str
    table: Grid | None
    facts: list[tuple[str, str]]


def stage_texts(report: Report) -> list[StageText]:
    """The sections of all stages, in the report's order."""
    sections = []
    for row in report.stages:
        if (masks := mask_record(row)) is not None:
            told = mask_tables.summary(masks, report.metric)
            sections.append(StageText(f"Masks ({plain(row.id)})", None, told))
        if (structure := structure_record(row)) is not None:
            told = structure_tables.summary(structure, report.metric)
            table = structure_tables.changes(structure)
            sections.append(StageText(f"Structure ({plain(row.id)})", table, told))
        if (distill := distill_record(row)) is not None:
            told = distill_tables.summary(distill, report.metric)
            sections.append(StageText(f"Distillation ({plain(row.id)})", None, told))
    return sections
