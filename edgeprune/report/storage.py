"""Reports on disk: `report.json` is the report; `report.md` and `report.html` are made from it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgeprune.durable import write_text
from edgeprune.errors import EdgepruneError, UsageError
from edgeprune.report.model import SCHEMA, Report

__all__ = ["ReportFiles", "files_of", "read", "schema", "write"]

_JSON, _MARKDOWN, _HTML = "report.json", "report.md", "report.html"
_SHOWN_PROBLEMS = 3


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
    write_text(files.json, _to_json(report))
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
    file = files_of(path).json if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            "there is no report",
            where=str(file),
            hint="give a run's folder or its report.json; a run that failed early has none",
        ) from error
    except OSError as error:
        raise UsageError(f"the report cannot be read: {error.strerror}", where=str(file)) from error
    except ValueError as error:
        raise UsageError(
            f"the report is not valid JSON: {error}",
            where=str(file),
            hint="it was changed or cut short; run the recipe again, finished stages are cached",
        ) from error
    return _parse(document, file)


def schema() -> dict[str, Any]:
    """The JSON Schema of `report.json`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        **Report.model_json_schema(),
    }


def _parse(document: Any, file: Path) -> Report:
    found = document.get("format") if isinstance(document, dict) else None
    if found != SCHEMA:
        what = f"a report of format {found!r}" if found is not None else "no edgeprune report"
        raise UsageError(
            f"this is {what}; this version of edgeprune reads {SCHEMA!r}",
            where=str(file),
            hint="read it with the edgeprune version that wrote it, or run the recipe again",
        )
    try:
        return Report.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        shown = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in problems[:_SHOWN_PROBLEMS]
        )
        more = len(problems) - _SHOWN_PROBLEMS
        raise UsageError(
            f"the report does not fit its format: {shown}{f'; and {more} more' if more > 0 else ''}",
            where=str(file),
            hint="it was changed after it was written; run the recipe again, finished stages are cached",
        ) from error


def _to_json(report: Report) -> str:
    document = report.model_dump(mode="python")
    broken = list(_not_finite(document, ""))
    if broken:
        raise EdgepruneError(
            f"the report holds numbers that are not finite: {', '.join(broken)}",
            hint="this is a bug in what measured them; please report it",
        )
    return json.dumps(report.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _not_finite(value: Any, path: str) -> Iterator[str]:
    """Paths of all numbers that JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _not_finite(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{path}.{index}")
