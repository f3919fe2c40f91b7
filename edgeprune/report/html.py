"""The report as one self-contained HTML page: no script, no network, opens from disk.

The templates hold structure and style, `content` the words and cells, `plot` the drawings. Everything
that comes from a recipe, a data file or a runtime is escaped by Jinja.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from edgeprune.report import content, formatting, plot
from edgeprune.report.model import Report, StageRow, TargetRow
from edgeprune.report.pages import fill
from edgeprune.report.stage_sections import shown_in_sections, stage_sections

__all__ = ["render"]

_LONG = 12  # items of a list


@dataclass(frozen=True)
class _Drawing:
    """One plot: its length in words and its SVG, which `plot` has escaped."""

    length: str
    svg: Markup


def render(report: Report) -> str:
    """The whole page. A pure function of the report: the same report gives the same bytes."""
    drawings = [_drawings(report, target, index) for index, target in enumerate(report.targets)]
    return fill(
        "report.html.j2",
        report=report,
        drawings=drawings,
        sections=stage_sections(report),
        records={row.id: _record(row) for row in report.stages},
        slowest_stage=max((row.seconds for row in report.stages), default=0.0) or 1.0,
        notes=content.notes_by_weight(report.know),
        warnings=sum(note.level == "warning" for note in report.know),
    )


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


def _record(row: StageRow) -> list[tuple[str, str]]:
    """A stage's numbers as pairs of text; nested values as JSON. What a section shows is left out."""
    shown = shown_in_sections(row)
    return [
        (formatting.plain(name), _value(value))
        for name, value in sorted(row.record.items())
        if name not in shown
    ]


def _value(value: Any) -> str:
    text = (
        value
        if isinstance(value, str)
        else json.dumps(_shortened(value), sort_keys=True, ensure_ascii=False, default=str)
    )
    return formatting.plain(text)


def _shortened(value: Any) -> Any:
    """Without the middle of long lists, which nobody reads on a page; `report.json` has them whole."""
    if isinstance(value, Mapping):
        return {name: _shortened(item) for name, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    items = [_shortened(item) for item in value]
    return items if len(items) <= _LONG else [*items[:2], f"… {len(items) - 4} more …", *items[-2:]]
