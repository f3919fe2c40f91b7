"""The report on a console: a rich renderable, and the same as plain text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from edgeprune.report import ablations, content, tables, throughputs
from edgeprune.report.console_pieces import View, print_view, view_text
from edgeprune.report.formatting import minutes, moment, plain, short_hash
from edgeprune.report.model import Report, TargetRow
from edgeprune.report.stage_texts import stage_texts

__all__ = ["ReportView", "show", "to_text"]


class ReportView(View):
    """A report as something that a rich `Console` can print."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def pieces(self) -> Iterator[RenderableType]:
        """The whole report, verdicts first."""
        report = self._report
        yield self.text(
            f"{plain(report.recipe)} · run {plain(report.run_id)} · {moment(report.started)}", "bold"
        )
        yield self.text(plain(report.description))
        yield self.text(content.acceptance(report), "dim")
        yield Text()
        for target in report.targets:
            yield self.verdict(target, report.metric)
        for target in report.targets:
            yield from self._target(target)
        yield from self._data()
        yield from self.know(report.know)
        yield from self._sections()
        yield from self._stages()

    def _target(self, target: TargetRow) -> Iterator[RenderableType]:
        yield self.heading(f"Target {plain(target.name)}")
        yield self.text(plain(target.description))
        if target.device is not None:
            yield self.text(content.device(target.device), "dim")
        yield Text()
        yield self.text(tables.candidates_caption(self._report.metric, target), "italic")
        yield Text()
        yield self.candidates(target, self._report.metric)
        yield Text()
        yield self.reasons(target, self._report.metric)
        groups = tables.latency_groups(target)
        if groups:
            yield Text()
            yield self.text(tables.latency_caption(target), "italic")
        for group in groups:
            yield Text()
            yield self.text(f"{group.length} ({group.calls})", "bold")
            yield self.latency(group)
        yield from self._throughput(target)
        yield from self._ablation(target)

    def _throughput(self, target: TargetRow) -> Iterator[RenderableType]:
        introduction = throughputs.introduction(target, self._report.batch)
        if not introduction:
            return
        yield Text()
        yield self.text(introduction, "italic")
        yield Text()
        table = self.table([(name, index > 0) for index, name in enumerate(throughputs.HEADS)])
        for row in throughputs.cells(target):
            cells = (row.texts, row.rounds, row.streams)
            table.add_row(
                self.text(row.name, "bold" if row.chosen else ""), *(self.text(cell) for cell in cells)
            )
        yield table

    def _ablation(self, target: TargetRow) -> Iterator[RenderableType]:
        introduction = ablations.introduction(target)
        if not introduction:
            return
        yield Text()
        yield self.text(ablations.HEADING, "bold")
        yield self.text(introduction, "italic")
        for steps in ablations.steps_by_backend(target, self._report.metric):
            yield Text()
            yield self.text(steps.backend, "bold")
            yield self.small_table(steps.grid)
            if steps.facts:
                yield Text()
                yield self.facts(steps.facts)

    def _data(self) -> Iterator[RenderableType]:
        data = self._report.data
        yield self.heading("Data")
        yield self.text(" · ".join(f"{name} {number}" for name, number in content.data_counts(self._report)))
        yield self.text(f"split: {plain(data.split)}")
        for name, train, validation in content.label_counts(self._report):
            yield self.text(f"label {name}: {train} training, {validation} validation")
        for row in data.unusable:
            places = ", ".join(plain(place) for place in row.places)
            yield self.text(f"unusable: {plain(row.reason)}, {row.count} rows, first at {places}")

    def _sections(self) -> Iterator[RenderableType]:
        for section in stage_texts(self._report):
            yield self.heading(section.heading)
            if section.table is not None:
                yield self.small_table(section.table)
                yield Text()
            yield self.facts(section.facts)

    def _stages(self) -> Iterator[RenderableType]:
        yield self.heading("Stages")
        yield self.text(content.stages_caption(self._report))
        yield Text()
        table = self.table(
            [("stage", False), ("time", True), ("", False), ("artifact", False), ("notes", False)]
        )
        for row in self._report.stages:
            table.add_row(
                self.text(plain(row.id)),
                self.text(minutes(row.seconds)),
                self.text("cached" if row.cached else "made", "dim" if row.cached else ""),
                self.text(short_hash(row.key), "dim"),
                self.text("; ".join(plain(note) for note in row.notes)),
            )
        yield table


def show(report: Report) -> None:
    """Print a report to standard output; plain text, 100 columns wide, where that is no terminal."""
    print_view(ReportView(report))


def to_text(report: Report, width: int = 100) -> str:
    """The report as plain text, no colour codes, no line wider than `width` columns."""
    return view_text(ReportView(report), width)
