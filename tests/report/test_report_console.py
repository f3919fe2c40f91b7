"""The console and Markdown forms, asserted whole.

After a wanted change: `EDGEPRUNE_REGENERATE=1 pytest tests/report/test_report_console.py`, then read the
difference of `tests/report/golden/` as a user would, before it is committed.
"""

from __future__ import annotations

import io

import pytest
from golden_text import same_as_golden
from hostile import hostile_report
from rich.cells import cell_len
from rich.console import Console
from sample import sample_report

from edgeprune.report import markdown
from edgeprune.report.console import ReportView, to_text


def test_the_console_output_is_the_golden_text():
    same_as_golden("console.txt", to_text(sample_report()))


def test_the_markdown_is_the_golden_text():
    same_as_golden("report.md", markdown.render(sample_report()))


@pytest.mark.parametrize("width", [50, 72, 80, 100, 160])
def test_no_line_is_wider_than_the_console_and_no_number_is_lost(width):
    text = to_text(sample_report(), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    for number in ("86.42", "22.19", "−2.15", "1.94 s", "10.4×"):
        assert number in text


def printed(encoding: str, report, **options) -> bytes:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, newline="\n") as stream:
        Console(file=stream, width=100, legacy_windows=False, **options).print(ReportView(report))
        stream.flush()
        return raw.getvalue()


def test_a_console_without_unicode_gets_ascii():
    text = printed("ascii", sample_report(), force_terminal=False).decode("ascii")
    assert "-0.04 [-0.71, +0.62]" in text
    assert "10.4x" in text


def test_only_a_terminal_gets_colour():
    assert b"\x1b[" not in printed("utf-8", sample_report(), force_terminal=False)
    assert b"\x1b[" in printed("utf-8", sample_report(), force_terminal=True, color_system="standard")


def test_names_cannot_colour_or_escape():
    text = to_text(hostile_report())
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "*[red]" in text


def test_markdown_keeps_foreign_text_text():
    markdown_it = pytest.importorskip("markdown_it")
    html = markdown_it.MarkdownIt("commonmark").enable("table").render(markdown.render(hostile_report()))
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<h1>") == 1
    for row in html.split("<thead>")[1:]:
        head, body = row.split("</thead>", 1)
        widths = {line.count("<td") for line in body.split("</table>")[0].split("</tr>") if "<td" in line}
        assert widths == {head.count("<th>") + head.count("<th ")}


def test_an_empty_list_of_notes_says_so():
    text = to_text(sample_report().model_copy(update={"know": []}))
    assert "Nothing was substituted, skipped or taken from a second source." in text
