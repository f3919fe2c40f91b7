"""The report as one self-contained HTML page: no script, no network, opens from disk.

The templates hold structure and style, `content` the words and cells, `plot` the drawings. Everything
that comes from a recipe, a data file or a runtime is escaped by Jinja.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from edgeprune.report import content, formatting, mask_pictures, mask_plots, mask_tables, plot, tables
from edgeprune.report.masks import SHOWN_HERE, MaskRecord, mask_records
from edgeprune.report.model import Report, StageRow, TargetRow

__all__ = ["render"]


@dataclass(frozen=True)
class _Drawing:
    """One plot: its length in words and its SVG, which `plot` has escaped."""

    length: str
    svg: Markup


@dataclass(frozen=True)
class _Masks:
    """What one stage's masks are, with a drawing (escaped) for each part of its record that can be drawn."""

    record: MaskRecord
    facts: list[tuple[str, str]]
    table: mask_tables.DensityTable | None
    density: Markup
    training: Markup
    map: Markup
    scores: Markup
    thresholded: bool


def render(report: Report) -> str:
    """The whole page. A pure function of the report: the same report gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("edgeprune.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "plain": formatting.plain,
        "content_heading": content.metric_heading,
        "capital": _capital,
        "breakable": _breakable,
    }
    masks = mask_records(report)
    drawings = [_drawings(report, target, index) for index, target in enumerate(report.targets)]
    return environment.get_template("report.html.j2").render(
        report=report,
        content=content,
        tables=tables,
        format=formatting,
        drawings=drawings,
        masks=[_masks(report, record, index) for index, record in enumerate(masks)],
        records={row.id: _record(row, masks) for row in report.stages},
        slowest_stage=max((row.seconds for row in report.stages), default=0.0) or 1.0,
        notes=content.notes_by_weight(report.know),
        warnings=sum(note.level == "warning" for note in report.know),
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _breakable(name: str) -> Markup:
    """A name that may be broken after its slashes."""
    return Markup("/<wbr>").join(escape(part) for part in name.split("/"))


def _drawings(report: Report, target: TargetRow, index: int) -> list[_Drawing]:
    return [
        _Drawing(
            content.length_name(length),
            Markup(
                plot.draw(
                    target,
                    length,
                    metric=report.metric,
                    max_drop=report.max_drop,
                    uid=f"plot-{index}-{number}",
                )
            ),
        )
        for number, length in enumerate(plot.plotted_lengths(target))
    ]


def _masks(report: Report, record: MaskRecord, index: int) -> _Masks:
    return _Masks(
        record=record,
        facts=mask_tables.facts(record, report.metric),
        table=mask_tables.density_table(record),
        density=Markup(mask_plots.draw_density(record, f"density-{index}")),
        training=Markup(mask_plots.draw_training(record, f"training-{index}")),
        map=Markup(mask_pictures.draw_map(record, f"map-{index}")),
        scores=Markup(mask_pictures.draw_scores(record, f"scores-{index}")),
        thresholded=mask_pictures.is_thresholded(record),
    )


def _record(row: StageRow, masks: Sequence[MaskRecord]) -> list[tuple[str, str]]:
    """A stage's numbers as pairs of text; nested values as JSON. What is a plot elsewhere is left out."""
    drawn = SHOWN_HERE if any(item.id == row.id for item in masks) else frozenset()
    return [
        (formatting.plain(name), _value(value))
        for name, value in sorted(row.record.items())
        if name not in drawn
    ]


def _value(value: Any) -> str:
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    )
    return formatting.plain(text)
