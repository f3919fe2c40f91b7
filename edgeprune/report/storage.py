"""Reports on disk: `report.json` is the report; `report.md` and `report.html` are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.durable import write_text
from edgeprune.report.documents import read_document, schema_of, to_json
from edgeprune.report.model import SCHEMA, Report

__all__ = ["ReportFiles", "files_of", "read", "schema", "write"]

_JSON, _MARKDOWN, _HTML = "report.json", "report.md", "report.html"


@dataclass(frozen=True)
class ReportFiles:
    """Where a report was written."""

    json: Path
    markdown: Path
    html: Path


def write(report: Report, folder: Path) -> ReportFiles:
    """Writes the report in its three forms; each file is replaced as a whole or not at all.

    The data come first, so that nothing a renderer does can lose what a run found.

    Args:
        report: What to write.
        folder: Where to; made if it is missing.

    Returns:
        The three paths.

    Raises:
        EdgepruneError: A number in the report is not finite, and JSON has no word for that.
    """
    from edgeprune.report import html, markdown

    folder.mkdir(parents=True, exist_ok=True)
    files = files_of(folder)
    write_text(files.json, to_json(report, "report"))
    write_text(files.markdown, markdown.render(report))
    write_text(files.html, html.render(report))
    return files


def files_of(path: Path) -> ReportFiles:
    """The three files of a run's folder, or those beside its `report.json`."""
    folder = path if path.is_dir() else path.parent
    return ReportFiles(folder / _JSON, folder / _MARKDOWN, folder / _HTML)


def read(path: Path) -> Report:
    """Reads a report.

    Args:
        path: A `report.json`, or the folder of a run that holds one.

    Raises:
        UsageError: There is no such file, it is not JSON, it has another version, or it is no report.
    """
    return read_document(
        files_of(path).json if path.is_dir() else path,
        Report,
        form=SCHEMA,
        noun="report",
        again="run the recipe again, finished stages are cached",
        nothing_there="give a run's folder or its report.json; a run that failed early has none",
    )


def schema() -> dict[str, Any]:
    """The JSON Schema of `report.json`."""
    return schema_of(Report, SCHEMA)
