"""Sections of stages that have something of their own to tell, for the page: words, tables and drawings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from edgeprune.report import (
    distill_tables,
    distillations,
    mask_pictures,
    mask_plots,
    mask_tables,
    masks,
    structure_plots,
    structure_tables,
    structures,
)
from edgeprune.report.formatting import plain
from edgeprune.report.model import Report, StageRow
from edgeprune.report.tables import Grid

__all__ = ["Panel", "StageSection", "shown_in_sections", "stage_sections"]


@dataclass(frozen=True)
class Panel:
    """A drawing under a heading, with a line on how to read it; its SVG is escaped."""

    heading: str
    explained: str
    svg: Markup


@dataclass(frozen=True)
class StageSection:
    """One section; its parts stand in this order where there is room for one column only."""

    kind: Literal["Masks", "Structure", "Distillation"]
    id: str
    facts: list[tuple[str, str]]
    parts: list[Panel | Grid]


def stage_sections(report: Report) -> list[StageSection]:
    """The sections of all stages, in the report's order."""
    sections: list[StageSection] = []
    for row in report.stages:
        if (mask := masks.mask_record(row)) is not None:
            sections.append(_masks(report, mask, len(sections)))
        if (structure := structures.structure_record(row)) is not None:
            sections.append(_structure(report, structure, len(sections)))
        if (distill := distillations.distill_record(row)) is not None:
            sections.append(_distillation(report, distill, len(sections)))
    return sections


def shown_in_sections(row: StageRow) -> frozenset[str]:
    """Parts of a stage's record that its sections show better than the table of stages could."""
    shown: frozenset[str] = frozenset()
    if masks.mask_record(row) is not None:
        shown |= masks.SHOWN_HERE
    if structures.structure_record(row) is not None:
        shown |= structures.SHOWN_HERE
    if distillations.distill_record(row) is not None:
        shown |= distillations.SHOWN_HERE
    return shown


def _masks(report: Report, record: masks.MaskRecord, index: int) -> StageSection:
    coloured = " In colour: kept." if mask_pictures.is_thresholded(record) else ""
    return StageSection(
        "Masks",
        plain(record.id),
        mask_tables.facts(record, report.metric),
        _there(
            Panel(
                "Density by layer",
                "Dashed: all matrices together." if record.density else "",
                Markup(mask_plots.draw_density(record, f"density-{index}")),
            ),
            Panel(
                "Training",
                "Dashed: the density aimed at." if record.trace and record.density else "",
                Markup(mask_plots.draw_training(record, f"training-{index}")),
            ),
            Panel(
                "Where weights were kept",
                "A picture for each matrix, layers downwards; in each, outputs downwards and inputs to the "
                "right. The more weights a part keeps, the stronger its colour.",
                Markup(mask_pictures.draw_map(record, f"map-{index}")),
            ),
            mask_tables.density_table(record),
            Panel(
                "Scores",
                "A histogram for each matrix, layers downwards; heights are square roots of counts."
                f"{coloured}",
                Markup(mask_pictures.draw_scores(record, f"scores-{index}")),
            ),
        ),
    )


def _structure(report: Report, record: structures.StructureRecord, index: int) -> StageSection:
    outlined = " Dashed: the whole layer is gone." if any(item.gone for item in record.layers) else ""
    return StageSection(
        "Structure",
        plain(record.id),
        structure_tables.facts(record, report.metric),
        _there(
            structure_tables.changes(record),
            Panel(
                "What is left of each layer",
                f"Full bars are the dense model, layers downwards.{outlined}",
                Markup(structure_plots.draw_layers(record, f"layers-{index}")),
            ),
            structure_tables.layers_table(record),
        ),
    )


def _distillation(report: Report, record: distillations.DistillRecord, index: int) -> StageSection:
    return StageSection(
        "Distillation",
        plain(record.id),
        distill_tables.facts(record, report.metric),
        _there(
            Panel(
                "Loss",
                "Mean of the training texts since the point before.",
                Markup(distill_tables.draw_loss(record, f"loss-{index}")),
            ),
            Panel(
                "Parts of the loss",
                "Before they are weighted and summed.",
                Markup(distill_tables.draw_parts(record, f"parts-{index}")),
            ),
        ),
    )


def _there(*parts: Panel | Grid | None) -> list[Panel | Grid]:
    """Without tables and drawings that there is nothing for."""
    return [part for part in parts if part is not None and (isinstance(part, Grid) or part.svg)]
