"""Pieces of a console's output that a report, a deployment and a comparison share.

All text is given to rich as `Text`, never as markup, so that a name such as ``[red]`` stays a name. On
a console without Unicode every sign is replaced by its ASCII cousin.
"""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeprune.report import content, tables
from edgeprune.report.formatting import plain, to_ascii
from edgeprune.report.model import Note, TargetRow

__all__ = ["STYLES", "View", "print_view", "view_text"]

STYLES = {"good": "bold green", "bad": "bold red", "open": "bold yellow", "quiet": "dim"}
"""How a tone looks on a terminal that has colours."""

_VERDICT_WIDTH = len("INCONCLUSIVE")


class View(ABC):
    """Something that a rich `Console` can print; `sign` turns text into what that console can show."""

    def __init__(self) -> None:
        self.sign: Callable[[str], str] = str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.sign = to_ascii if options.ascii_only else str
        yield from self.pieces()

    @abstractmethod
    def pieces(self) -> Iterator[RenderableType]:
        """What is printed, from the top."""

    def text(self, text: str, style: str = "") -> Text:
        """Text in signs that the console has."""
        return Text(self.sign(text), style=style)

    def heading(self, text: str) -> RenderableType:
        """The heading of a section."""
        return Padding(self.text(text, "bold underline"), (1, 0, 0, 0))

    def grid(self, rows: Sequence[tuple[Text, ...]], first: int | None = None) -> Table:
        """Rows without lines; the last column takes what is left of the width."""
        grid = Table.grid(padding=(0, 2, 0, 0))
        for index in range(max((len(row) for row in rows), default=0)):
            is_last = index == len(rows[0]) - 1
            grid.add_column(
                min_width=first if index == 0 else None, ratio=1 if is_last else None, overflow="fold"
            )
        for row in rows:
            grid.add_row(*row)
        return grid

    def table(self, columns: Sequence[tuple[str, bool]]) -> Table:
        """An empty table of named columns; the flag says whether a column holds numbers."""
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
        for name, is_number in columns:
            table.add_column(self.text(name), justify="right" if is_number else "left", overflow="fold")
        return table

    def verdict(self, target: TargetRow, metric: str) -> RenderableType:
        """A target's verdict, why, and the key figures of what ships."""
        label = content.verdict(target.verdict)
        lines = [self.text(f"{plain(target.name)}: {content.reason(target)}")]
        figures = content.headline(target, metric)
        if figures:
            lines.append(self.text(" · ".join(f"{name} {value}" for name, value in figures), "dim"))
        word = self.text(label.word, STYLES[label.tone])
        return self.grid([(word, Text("\n").join(lines))], first=_VERDICT_WIDTH)

    def candidates(self, target: TargetRow, metric: str) -> RenderableType:
        """What was measured of a target's candidates."""
        table = self.table(
            [
                ("candidate", False),
                (content.metric_heading(metric), True),
                ("difference", True),
                ("agree", True),
                ("file", True),
                ("peak mem", True),
                ("load", True),
            ]
        )
        for row in tables.candidates(target, metric):
            table.add_row(
                self.text(row.name, "bold" if row.chosen else ""),
                *(self.text(cell) for cell in (row.metric, row.difference, row.agreement)),
                *(self.text(cell) for cell in (row.file, row.memory, row.load)),
            )
        return table

    def reasons(self, target: TargetRow, metric: str) -> RenderableType:
        """Why each candidate of a target ended as it did."""
        rows = []
        for row in tables.candidates(target, metric):
            fused = [f"fused by the runtime: {row.fused}"] if row.fused else []
            reason = "\n".join([row.reason, *fused, *(f"note: {note}" for note in row.notes)])
            status = self.text(row.status.word, STYLES[row.status.tone])
            rows.append((self.text(row.name, "bold" if row.chosen else ""), status, self.text(reason)))
        return self.grid(rows)

    def latency(self, group: tables.LatencyGroup) -> RenderableType:
        """The latencies of all candidates at one input length."""
        table = self.table(
            [
                ("candidate", False),
                ("p50 ms", True),
                ("p90 ms", True),
                ("p99 ms", True),
                ("against the original", True),
                ("against fp32", True),
            ]
        )
        for row in group.rows:
            cells = (row.p50, row.p90, row.p99, row.vs_original, row.vs_fp32)
            table.add_row(
                self.text(row.name, "bold" if row.chosen else ""), *(self.text(cell) for cell in cells)
            )
        return table

    def know(self, notes: Sequence[Note]) -> Iterator[RenderableType]:
        """What the reader should know, warnings first."""
        yield self.heading("What you should know")
        if not notes:
            yield self.text("Nothing was substituted, skipped or taken from a second source.")
            return
        rows = []
        for note in content.notes_by_weight(notes):
            style = STYLES["open"] if note.level == "warning" else "dim"
            rows.append((self.text(note.level, style), self.text(f"{plain(note.where)}: {plain(note.text)}")))
        yield self.grid(rows)

    def small_table(self, grid: tables.Grid) -> Table:
        """A small table as it is."""
        table = self.table([(name, index > 0) for index, name in enumerate(grid.heads)])
        for name, cells in grid.rows:
            table.add_row(*(self.text(cell) for cell in (name, *cells)))
        return table

    def facts(self, facts: Sequence[tuple[str, str]]) -> Table:
        """Pairs of name and value."""
        return self.grid([(self.text(name, "dim"), self.text(value)) for name, value in facts])


def print_view(view: View) -> None:
    """Print to standard output; plain text, 100 columns wide, where that is no terminal."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=100)
    console.print(view)


def view_text(view: View, width: int = 100) -> str:
    """As plain text, no colour codes, no line wider than `width` columns."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(view)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
