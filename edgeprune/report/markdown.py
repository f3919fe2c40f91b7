"""The report as GitHub Markdown, for a pull request, an issue or a job summary."""

from __future__ import annotations

from collections.abc import Iterator

from edgeprune.report import ablations, content, tables, throughputs
from edgeprune.report.formatting import MISSING, minutes, moment, plain, short_hash, size
from edgeprune.report.markdown_pieces import candidates, code, escape, know, latency, naming, table
from edgeprune.report.model import AssetRow, Report, TargetRow
from edgeprune.report.stage_texts import stage_texts

__all__ = ["render"]


def render(report: Report) -> str:
    """The whole report as one Markdown document. A pure function of the report."""
    parts = [
        f"# {escape(report.recipe)}: {content.verdict(report.verdict).word}",
        escape(report.description),
        f"{moment(report.started)} · took {minutes(report.seconds)} · run {code(report.run_id)}",
        escape(content.acceptance(report)),
        _verdicts(report),
        *(part for target in report.targets for part in _target(report, target)),
        "## What you should know",
        know(report.know),
        *_sections(report),
        "## Stages",
        content.stages_caption(report),
        _stages(report),
        "## Data",
        *_data(report),
        "## Provenance",
        *_provenance(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdicts(report: Report) -> str:
    rows = []
    for target in report.targets:
        figures = "<br>".join(
            f"{name}: {escape(value)}" for name, value in content.headline(target, report.metric)
        )
        word = f"**{content.verdict(target.verdict).word}**"
        rows.append((word, escape(target.name), escape(content.reason(target)), figures or MISSING))
    return table(("Verdict", "Target", "Reason", "What ships"), rows, text_columns=4)


def _target(report: Report, target: TargetRow) -> Iterator[str]:
    yield f"## Target {escape(target.name)}"
    yield escape(target.description)
    if target.device is not None:
        yield escape(content.device(target.device))
    yield escape(tables.candidates_caption(report.metric, target))
    yield candidates(target, report.metric)
    if groups := tables.latency_groups(target):
        yield "### Latency"
        yield escape(tables.latency_caption(target))
        for group in groups:
            yield f"**{group.length}** ({group.calls})"
            yield latency(group)
    if introduction := throughputs.introduction(target, report.batch):
        yield "### Throughput"
        yield escape(introduction)
        yield _throughput(target)
    yield from _ablation(target, report.metric)


def _ablation(target: TargetRow, metric: str) -> Iterator[str]:
    introduction = ablations.introduction(target)
    if not introduction:
        return
    yield f"### {ablations.HEADING}"
    yield escape(introduction)
    for steps in ablations.steps_by_backend(target, metric):
        yield f"**{escape(steps.backend)}**"
        yield _small_table(steps.grid)
        yield "\n".join(f"- {escape(name)}: {escape(value)}" for name, value in steps.facts)


def _throughput(target: TargetRow) -> str:
    return table(
        tuple(head.capitalize() for head in throughputs.HEADS),
        (
            (naming(row.name, chosen=row.chosen), row.texts, row.rounds, row.streams)
            for row in throughputs.cells(target)
        ),
    )


def _sections(report: Report) -> Iterator[str]:
    for section in stage_texts(report):
        yield f"## {escape(section.heading)}"
        if section.table is not None:
            yield _small_table(section.table)
        if section.facts:
            rows = ((escape(name), escape(value)) for name, value in section.facts)
            yield table(("What", "Value"), rows, text_columns=2)


def _small_table(grid: tables.Grid) -> str:
    heads = tuple(head[:1].upper() + head[1:] for head in grid.heads)
    return table(heads, ((escape(name), *map(escape, cells)) for name, cells in grid.rows))


def _stages(report: Report) -> str:
    return table(
        ("Stage", "From", "Artifact", "Notes", "Time"),
        (
            (
                escape(row.id),
                "cached" if row.cached else "this run",
                code(short_hash(row.key)),
                "<br>".join(escape(note) for note in row.notes),
                minutes(row.seconds),
            )
            for row in report.stages
        ),
        text_columns=4,
    )


def _data(report: Report) -> Iterator[str]:
    yield " · ".join(f"{name} {number}" for name, number in content.data_counts(report))
    yield f"Split: {escape(report.data.split)}."
    rows = [(escape(name), train, validation) for name, train, validation in content.label_counts(report)]
    yield table(("Label", "Training", "Validation"), rows)
    if report.data.unusable:
        yield table(
            ("Unusable because", "First places", "Rows"),
            (
                (escape(row.reason), escape(", ".join(row.places)), str(row.count))
                for row in report.data.unusable
            ),
            text_columns=2,
        )


def _provenance(report: Report) -> Iterator[str]:
    versions = ", ".join(
        f"{escape(name)} {escape(version)}" for name, version in sorted(report.versions.items())
    )
    yield f"Run it again:\n\n    {plain(report.command)}"
    yield "\n".join(
        [
            f"- Recipe {escape(report.recipe_path)}, seed {report.seed}",
            f"- Encoder {escape(report.encoder)}; {report.parameters:,} parameters",
            f"- Machine {escape(content.device(report.machine))}",
            f"- Versions {versions}",
            *(_asset(asset) for asset in report.assets),
        ]
    )


def _asset(asset: AssetRow) -> str:
    text = f"- Asset {escape(asset.role)}: {escape(asset.uri)}, {size(asset.size_bytes)}"
    digest = f"sha256 {code(asset.sha256)}"
    return "; ".join([text, digest, *(f"tried before: {escape(failed)}" for failed in asset.tried)])
