"""Pieces of Markdown that all documents share.

Foreign text is escaped so that a name such as ``*x*`` or ``<script>`` stays what it is; cells cannot end
their table row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from edgeprune.report import content, tables
from edgeprune.report.formatting import plain
from edgeprune.report.model import Note, TargetRow

__all__ = ["candidates", "code", "escape", "know", "latency", "naming", "table"]

_ACTIVE = re.compile(r"([\\`*_{}\[\]#|~>])")
_AT_THE_START = re.compile(r"^(\d*)([-+.)])(?=[\s-]|$)")


def escape(text: str) -> str:
    r"""Foreign text as text: nothing in it is markup, HTML or the end of a table cell.

    >>> escape("a|b <i> *c*")
    'a\\|b &lt;i\\> \\*c\\*'
    """
    escaped = _ACTIVE.sub(r"\\\1", plain(text).replace("&", "&amp;")).replace("<", "&lt;")
    return _AT_THE_START.sub(r"\1\\\2", escaped)


def code(text: str) -> str:
    """A code span; a backtick inside is replaced, since no escape works there."""
    return f"`{plain(text).replace('`', 'ˋ')}`"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> str:
    """A table; columns after the first `text_columns` are aligned right. Cells are finished Markdown."""
    rules = ["---" if index < text_columns else "---:" for index in range(len(heads))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rules, *rows))


def naming(name: str, *, chosen: bool) -> str:
    """A name, bold where it was chosen."""
    return f"**{escape(name)}**" if chosen else escape(name)


def candidates(target: TargetRow, metric: str) -> str:
    """A target's table of candidates."""
    others = ", ".join(content.metric_heading(name) for name in content.other_metrics(metric))
    heads = ("Candidate", "Status", "Why", content.metric_heading(metric), "Difference, points")
    return table(
        (*heads, "Same answer", others, "File", "Peak memory", "Load"),
        (
            (
                "<br>".join(part for part in (naming(row.name, chosen=row.chosen), escape(row.runs)) if part),
                row.status.word,
                "<br>".join(_why(row)),
                *(
                    row.metric,
                    row.difference,
                    row.agreement,
                    row.other_metrics,
                    row.file,
                    row.memory,
                    row.load,
                ),
            )
            for row in tables.candidates(target, metric)
        ),
        text_columns=3,
    )


def _why(row: tables.CandidateCells) -> Iterator[str]:
    yield escape(row.reason)
    if row.fused:
        yield f"Fused by the runtime: {escape(row.fused)}"
    yield from (f"Note: {escape(note)}" for note in row.notes)


def latency(group: tables.LatencyGroup) -> str:
    """The latencies of all candidates at one input length."""
    return table(
        ("Candidate", "p50 ms", "p90 ms", "p99 ms", "Against the original", "Against fp32"),
        (
            (naming(row.name, chosen=row.chosen), row.p50, row.p90, row.p99, row.vs_original, row.vs_fp32)
            for row in group.rows
        ),
    )


def know(notes: Sequence[Note]) -> str:
    """What the reader should know, warnings first."""
    if not notes:
        return "Nothing was substituted, skipped or taken from a second source."
    return "\n".join(
        f"- **{note.level}**, {escape(note.where)}: {escape(note.text)}"
        for note in content.notes_by_weight(notes)
    )
