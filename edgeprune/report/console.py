"""The report on a console: a rich renderable, and the same as plain text.

All text is given to rich as `Text`, never as markup, so that a name such as ``[red]`` stays a name. On
a console without Unicode every sign is replaced by its ASCII cousin.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgeprune.report import ablations, content, tables, throughputs
from edgeprune.report.formatting import minutes, moment, plain, short_hash, to_ascii
from edgeprune.report.model import Report, TargetRow
from edgeprune.report.stage_texts import stage_texts

__all__ = ["ReportView", "show", "to_text"]

_STYLES = {"good": "bold green", "bad": "bold red", "open": "bold yellow", "quiet": "dim"}
_VERDICT_WIDTH = len("INCONCLUSIVE")


class ReportView:
    """A report as something that a rich `Console` can print."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _Writer(self._report, to_ascii if options.ascii_only else str).pieces()


def show(report: Report) -> None:
    """Print a report to standard output; plain text, 100 columns wide, where that is no terminal."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=100)
    console.print(ReportView(report))


def to_text(report: Report, width: int = 100) -> str:
    """The report as plain text, no colour codes, no line wider than `width` columns."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(ReportView(report))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


class _Writer:
    """Builds the pieces of one report; `sign` turns text into what the console can show."""

    def __init__(self, report: Report, sign: Callable[[str], str]) -> None:
        self._report = report
        self._sign = sign

    def pieces(self) -> Iterator[RenderableType]:
        report = self._report
        yield self._text(
            f"{plain(report.recipe)} · run {plain(report.run_id)} · {moment(report.started)}", "bold"
        )
        yield self._text(plain(report.description))
        yield self._text(content.acceptance(report), "dim")
        yield Text()
        for target in report.targets:
            yield self._verdict(target)
        for target in report.targets:
            yield from self._target(target)
        yield from self._data()
        yield from self._know()
        yield from self._sections()
        yield from self._stages()

    def _text(self, text: str, style: str = "") -> Text:
        return Text(self._sign(text), style=style)

    def _heading(self, text: str) -> RenderableType:
        return Padding(self._text(text, "bold underline"), (1, 0, 0, 0))

    def _grid(self, rows: Sequence[tuple[Text, ...]], first: int | None = None) -> Table:
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

    def _table(self, columns: Sequence[tuple[str, bool]]) -> Table:
        """An empty table of named columns; the flag says whether a column holds numbers."""
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
        for name, is_number in columns:
            table.add_column(self._text(name), justify="right" if is_number else "left", overflow="fold")
        return table

    def _verdict(self, target: TargetRow) -> RenderableType:
        label = content.verdict(target.verdict)
        lines = [self._text(f"{plain(target.name)}: {content.reason(target)}")]
        figures = content.headline(target, self._report.metric)
        if figures:
            lines.append(self._text(" · ".join(f"{name} {value}" for name, value in figures), "dim"))
        word = self._text(label.word, _STYLES[label.tone])
        return self._grid([(word, Text("\n").join(lines))], first=_VERDICT_WIDTH)

    def _target(self, target: TargetRow) -> Iterator[RenderableType]:
        yield self._heading(f"Target {plain(target.name)}")
        yield self._text(plain(target.description))
        if target.device is not None:
            yield self._text(content.device(target.device), "dim")
        yield Text()
        yield self._text(tables.candidates_caption(self._report, target), "italic")
        yield Text()
        yield self._candidates(target)
        yield Text()
        yield self._reasons(target)
        groups = tables.latency_groups(target)
        if groups:
            yield Text()
            yield self._text(tables.latency_caption(target), "italic")
        for group in groups:
            yield Text()
            yield self._text(f"{group.length} ({group.calls})", "bold")
            yield self._latency(group)
        yield from self._throughput(target)
        yield from self._ablation(target)

    def _throughput(self, target: TargetRow) -> Iterator[RenderableType]:
        introduction = throughputs.introduction(target, self._report.batch)
        if not introduction:
            return
        yield Text()
        yield self._text(introduction, "italic")
        yield Text()
        table = self._table([(name, index > 0) for index, name in enumerate(throughputs.HEADS)])
        for row in throughputs.cells(target):
            cells = (row.texts, row.rounds, row.streams)
            table.add_row(
                self._text(row.name, "bold" if row.chosen else ""), *(self._text(cell) for cell in cells)
            )
        yield table

    def _ablation(self, target: TargetRow) -> Iterator[RenderableType]:
        introduction = ablations.introduction(target)
        if not introduction:
            return
        yield Text()
        yield self._text(ablations.HEADING, "bold")
        yield self._text(introduction, "italic")
        for steps in ablations.steps_by_backend(target, self._report.metric):
            yield Text()
            yield self._text(steps.backend, "bold")
            yield self._small_table(steps.grid)
            if steps.facts:
                yield Text()
                yield self._facts(steps.facts)

    def _candidates(self, target: TargetRow) -> RenderableType:
        table = self._table(
            [
                ("candidate", False),
                (content.metric_heading(self._report.metric), True),
                ("difference", True),
                ("agree", True),
                ("file", True),
                ("peak mem", True),
                ("load", True),
            ]
        )
        for row in tables.candidates(target, self._report.metric):
            table.add_row(
                self._text(row.name, "bold" if row.chosen else ""),
                *(self._text(cell) for cell in (row.metric, row.difference, row.agreement)),
                *(self._text(cell) for cell in (row.file, row.memory, row.load)),
            )
        return table

    def _reasons(self, target: TargetRow) -> RenderableType:
        rows = []
        for row in tables.candidates(target, self._report.metric):
            fused = [f"fused by the runtime: {row.fused}"] if row.fused else []
            reason = "\n".join([row.reason, *fused, *(f"note: {note}" for note in row.notes)])
            status = self._text(row.status.word, _STYLES[row.status.tone])
            rows.append((self._text(row.name, "bold" if row.chosen else ""), status, self._text(reason)))
        return self._grid(rows)

    def _latency(self, group: tables.LatencyGroup) -> RenderableType:
        table = self._table(
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
                self._text(row.name, "bold" if row.chosen else ""), *(self._text(cell) for cell in cells)
            )
        return table

    def _data(self) -> Iterator[RenderableType]:
        data = self._report.data
        yield self._heading("Data")
        yield self._text(" · ".join(f"{name} {number}" for name, number in content.data_counts(self._report)))
        yield self._text(f"split: {plain(data.split)}")
        for name, train, validation in content.label_counts(self._report):
            yield self._text(f"label {name}: {train} training, {validation} validation")
        for row in data.unusable:
            places = ", ".join(plain(place) for place in row.places)
            yield self._text(f"unusable: {plain(row.reason)}, {row.count} rows, first at {places}")

    def _know(self) -> Iterator[RenderableType]:
        yield self._heading("What you should know")
        if not self._report.know:
            yield self._text("Nothing was substituted, skipped or taken from a second source.")
            return
        rows = []
        for note in content.notes_by_weight(self._report.know):
            style = _STYLES["open"] if note.level == "warning" else "dim"
            rows.append(
                (self._text(note.level, style), self._text(f"{plain(note.where)}: {plain(note.text)}"))
            )
        yield self._grid(rows)

    def _sections(self) -> Iterator[RenderableType]:
        for section in stage_texts(self._report):
            yield self._heading(section.heading)
            if section.table is not None:
                yield self._small_table(section.table)
                yield Text()
            yield self._facts(section.facts)

    def _small_table(self, grid: tables.Grid) -> Table:
        table = self._table([(name, index > 0) for index, name in enumerate(grid.heads)])
        for name, cells in grid.rows:
            table.add_row(*(self._text(cell) for cell in (name, *cells)))
        return table

    def _facts(self, facts: Sequence[tuple[str, str]]) -> Table:
        return self._grid([(self._text(name, "dim"), self._text(value)) for name, value in facts])

    def _stages(self) -> Iterator[RenderableType]:
        yield self._heading("Stages")
        yield self._text(content.stages_caption(self._report))
        yield Text()
        table = self._table(
            [("stage", False), ("time", True), ("", False), ("artifact", False), ("notes", False)]
        )
        for row in self._report.stages:
            table.add_row(
                self._text(plain(row.id)),
                self._text(minutes(row.seconds)),
                self._text("cached" if row.cached else "made", "dim" if row.cached else ""),
                self._text(short_hash(row.key), "dim"),
                self._text("; ".join(plain(note) for note in row.notes)),
            )
        yield table
