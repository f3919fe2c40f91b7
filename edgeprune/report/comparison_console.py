"""A comparison on a console: a rich renderable, and the same as plain text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from edgeprune.report import comparison_content as words
from edgeprune.report.comparison import Comparison
from edgeprune.report.console_pieces import STYLES, View, print_view, view_text
from edgeprune.report.content import metric_heading
from edgeprune.report.formatting import MISSING

__all__ = ["ComparisonView", "show", "to_text"]


class ComparisonView(View):
    """A comparison as something that a rich `Console` can print."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self._comparison = comparison

    def pieces(self) -> Iterator[RenderableType]:
        """Runs, then a table per target and device, then what lies between the runs."""
        found = self._comparison
        yield self._plain_table(words.RUN_HEADS, words.run_rows(found))
        yield Text()
        yield self.text(words.caption(found), "italic")
        for group in words.groups(found):
            yield self.heading(group.heading)
            if group.emulated:
                yield self.text("Emulated: no latency is shown.", STYLES["open"])
            yield self._quality(group)
            if group.lengths:
                yield Text()
                yield self._latency(group)
        if found.differences:
            yield self.heading(f"Against run {found.runs[0].letter}")
            yield self.text(words.differences_caption(found), "italic")
        for where, rows in words.difference_rows(found):
            yield Text()
            yield self.text(where, "bold")
            yield self._plain_table(words.DIFFERENCE_HEADS, rows)
        yield from self.know(found.know)

    def _plain_table(self, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> RenderableType:
        table = self.table([(head, False) for head in heads])
        for row in rows:
            table.add_row(*(self.text(cell) for cell in row))
        return table

    def _quality(self, group: words.Group) -> RenderableType:
        heads = (metric_heading(self._comparison.metric), "difference", "agree", "file", "peak mem")
        table = self.table([("", False), ("variant", False), *((head, True) for head in heads)])
        for row in group.cells:
            name = f"{row.name}, {row.where}" if row.where else row.name
            table.add_row(
                self.text(row.run),
                self.text(name, _weight(row)),
                *(
                    self.text(cell)
                    for cell in (row.score, row.difference, row.agreement, row.file, row.memory)
                ),
            )
        return table

    def _latency(self, group: words.Group) -> RenderableType:
        lengths = [(f"{name}: p50 / p99 ms", True) for name in group.length_names]
        table = self.table([("", False), ("variant", False), ("status", False), *lengths])
        for row in group.cells:
            if any(entry.p50 != MISSING for entry in row.latency):
                table.add_row(
                    self.text(row.run),
                    self.text(row.name, _weight(row)),
                    self.text(row.status.word, STYLES[row.status.tone]),
                    *(self.text(_speed(entry)) for entry in row.latency),
                )
        return table


def _weight(row: words.Cells) -> str:
    return "bold" if row.status.word == "chosen" else ""


def _speed(entry: words.LatencyCells) -> str:
    times = entry.speedup.partition(" [")[0]
    latency = f"{entry.p50} / {entry.p99}"
    return latency if times == MISSING else f"{latency}  {times}"


def show(comparison: Comparison) -> None:
    """Print a comparison to standard output; plain text, 100 columns wide, where that is no terminal."""
    print_view(ComparisonView(comparison))


def to_text(comparison: Comparison, width: int = 100) -> str:
    """The comparison as plain text, no colour codes, no line wider than `width` columns."""
    return view_text(ComparisonView(comparison), width)
