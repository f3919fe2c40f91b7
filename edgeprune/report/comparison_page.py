"""A comparison as one self-contained HTML page: no script, no network; filters are style sheets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgeprune.report import comparison_content as words
from edgeprune.report import comparison_plot, content
from edgeprune.report.comparison import ComparedRow, Comparison
from edgeprune.report.comparison_plot import Point
from edgeprune.report.content import length_name, metric_name
from edgeprune.report.formatting import plain
from edgeprune.report.pages import fill
from edgeprune.report.plot import MARKERS

__all__ = ["render"]


@dataclass(frozen=True)
class _Choice:
    """One value of a filter: what it is called, and the numbers of the rows that have it."""

    id: str
    name: str
    rows: tuple[int, ...]
    series: int | None = None


@dataclass(frozen=True)
class _Filter:
    heading: str
    choices: tuple[_Choice, ...]


@dataclass(frozen=True)
class _Panel:
    heading: str
    svg: Markup


def render(comparison: Comparison) -> str:
    """The whole page. A pure function of the comparison: the same one gives the same bytes."""
    groups = words.groups(comparison)
    filters = _filters(comparison)
    return fill(
        "comparison.html.j2",
        comparison=comparison,
        words=words,
        groups=groups,
        panels=[list(_panels(comparison, group, index)) for index, group in enumerate(groups)],
        filters=filters,
        rules=Markup("\n").join(_rules(filters, groups)),
        series={run.letter: index % comparison_plot.SERIES + 1 for index, run in enumerate(comparison.runs)},
        statuses=_statuses(comparison.rows),
        notes=content.notes_by_weight(comparison.know),
    )


def _filters(comparison: Comparison) -> list[_Filter]:
    rows = comparison.rows
    recipes = {run.letter: f"{run.letter} {plain(run.recipe)}" for run in comparison.runs}
    letters = [run.letter for run in comparison.runs]
    found = [
        ("Run", [recipes[row.run] for row in rows]),
        ("Target", [plain(row.target) for row in rows]),
        ("Device", [plain(row.place) or "not measured" for row in rows]),
        ("Variant", [plain(row.variant.name) for row in rows]),
        ("Status", [row.status for row in rows]),
    ]
    filters = []
    for heading, values in found:
        choices = tuple(
            _Choice(
                f"show-{heading.lower()}-{number}",
                name,
                tuple(index for index, value in enumerate(values) if value == name),
                letters.index(name.partition(" ")[0]) % comparison_plot.SERIES + 1
                if heading == "Run"
                else None,
            )
            for number, name in enumerate(dict.fromkeys(values))
        )
        if len(choices) > 1:
            filters.append(_Filter(heading, choices))
    return filters


def _rules(filters: Sequence[_Filter], groups: Sequence[words.Group]) -> Iterator[Markup]:
    """Rows and marks go when a choice that they have is not ticked; a section goes with the last of its rows.

    Ids and numbers alone are in the rules, nothing that comes from a file.
    """
    for item in filters:
        for choice in item.choices:
            off = f"body:has(#{choice.id}:not(:checked))"
            gone = ", ".join(f'[data-row="{row}"], [id$="-row-{row}"]' for row in choice.rows)
            yield Markup(f"{off} :is({gone}) {{ display: none; }}")
            for number, group in enumerate(groups):
                if {cell.index for cell in group.cells} <= set(choice.rows):
                    yield Markup(f'{off} [data-group="{number}"] {{ display: none; }}')


def _statuses(rows: Sequence[ComparedRow]) -> list[content.Label]:
    """The statuses that some mark has: a plot's legend."""
    found = (content.status(row.variant) for row in rows if row.score is not None)
    return list({label.word: label for label in found if label.word in MARKERS}.values())


def _panels(comparison: Comparison, group: words.Group, number: int) -> Iterator[_Panel]:
    """A plot per input length, and one of the size."""
    metric = metric_name(comparison.metric)
    for index, length in enumerate(group.lengths):
        costs = [_median(row, length) for row in group.rows]
        heading = f"{metric} against latency, {length_name(length)}"
        yield from _panel(comparison, group, costs, heading, "median latency, ms", f"plot-{number}-{index}")
    costs = [(row.variant.file_bytes or 0) / 1e6 for row in group.rows]
    yield from _panel(comparison, group, costs, f"{metric} against size", "size, MB", f"plot-{number}-size")


def _median(row: ComparedRow, length: int | str) -> float:
    """0 where it was not measured."""
    return next((entry.p50_ms for entry in row.variant.latency if entry.length == length), 0.0)


def _panel(
    comparison: Comparison, group: words.Group, costs: Sequence[float], heading: str, cost: str, uid: str
) -> Iterator[_Panel]:
    """Of the rows that have a cost and a score; none where there is nothing to choose between."""
    letters = [run.letter for run in comparison.runs]
    points = [
        Point(
            cell.index, row.run, letters.index(row.run), cell.name, cell.status.word, value, 100 * row.score
        )
        for row, cell, value in zip(group.rows, group.cells, costs, strict=True)
        if row.score is not None and value > 0
    ]
    if len(points) > 1:
        name = f"{heading}, {group.heading}"
        svg = comparison_plot.draw(points, metric=comparison.metric, cost=cost, uid=uid, name=name)
        yield _Panel(f"{heading[:1].upper()}{heading[1:]}", Markup(svg))
