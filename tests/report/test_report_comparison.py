from __future__ import annotations

from functools import cache

import pytest
from comparison_sample import sample_comparison
from golden_text import same_as_golden
from hostile import ATTACK
from hypothesis import given
from hypothesis import strategies as st
from page import Page
from rich.cells import cell_len

from edgeprune.report import comparison_console, comparison_content, comparison_page
from edgeprune.report.comparison import Comparison, grouped
from edgeprune.report.comparison_plot import Point, front

FORMS = (comparison_page.render, comparison_console.to_text)


@cache
def sample_page() -> str:
    return comparison_page.render(sample_comparison())


def point(row: int, cost: float, value: float) -> Point:
    return Point(row, "A", 0, f"v{row}", "accepted", cost, value)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(pairs):
    points = [point(row, cost, value) for row, (cost, value) in enumerate(pairs)]
    best = front(points)

    def beats(other: Point, one: Point) -> bool:
        no_worse = other.cost <= one.cost and other.value >= one.value
        return no_worse and (other.cost, other.value) != (one.cost, one.value)

    wanted = {(p.cost, p.value) for p in points if not any(beats(other, p) for other in points)}
    assert {(p.cost, p.value) for p in best} == wanted
    assert [p.cost for p in best] == sorted({p.cost for p in best})


def test_rows_of_one_target_and_device_are_together():
    groups = grouped(sample_comparison().rows)
    assert [(target, bool(place)) for target, place, _ in groups] == [
        ("x86-server", True),
        ("arm64-board", False),
        ("arm64-board", True),
        ("arm64-board", True),
    ]
    assert sum(len(rows) for _, _, rows in groups) == len(sample_comparison().rows)


@pytest.mark.parametrize("form", FORMS)
def test_an_emulated_device_shows_no_latency(form):
    found = sample_comparison()
    emulated = found.model_copy(
        update={"rows": [row for row in found.rows if row.emulated], "differences": []}
    )
    text = " ".join(form(emulated).split())
    assert "Emulated" in text
    assert "p50 /" not in text
    assert "86.38" in text


@pytest.mark.parametrize("form", FORMS)
def test_every_run_device_and_note_is_shown(form):
    found = sample_comparison()
    text = " ".join(Page(sample_page()).text) if form is comparison_page.render else form(found)
    text = " ".join(text.split())
    for wanted in ("reviews-half", "reviews-third", "86.42", "Cortex-A76", "Tango", "its times do not"):
        assert wanted in text


def test_the_page_stands_alone_and_is_well_formed():
    page = Page(sample_page())
    assert page.tags["script"] == page.tags["link"] == page.tags["img"] == 0
    assert page.tags["caption"] == page.tags["table"] > 4
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    wanted = {value[1:] for value in page.values("href")} | set(page.values("for"))
    wanted |= {name for value in page.values("aria-labelledby") for name in value.split()}
    assert wanted <= set(ids)
    assert "default-src 'none'" in "".join(page.values("content"))


def test_every_filter_reaches_its_rows_and_marks():
    found = sample_comparison()
    page = Page(sample_page())
    assert page.tags["input"] == page.tags["label"] > 10
    rows = page.values("data-row")
    assert sorted(map(int, rows)) == list(range(len(found.rows)))
    marked = {value.rpartition("-")[2] for value in page.values("id") if "-mark-row-" in value}
    assert marked <= set(rows)
    assert len(marked) > 10


def test_the_same_comparison_gives_the_same_page():
    found = sample_comparison()
    few = found.model_copy(update={"rows": [row for row in found.rows if row.place.startswith("pi")]})
    assert comparison_page.render(few) == comparison_page.render(few)


def test_one_run_has_no_filter_of_runs_and_no_differences():
    found = sample_comparison()
    one = found.model_copy(
        update={
            "runs": found.runs[:1],
            "rows": [row for row in found.rows if row.run == "A"],
            "differences": [],
            "know": [],
        }
    )
    page = Page(comparison_page.render(one))
    headings = [text for level, text in page.headings if level == "h2"]
    assert not any(text.startswith("Against run") for text in headings)
    assert not any(value.startswith("show-run-") for value in page.values("id"))
    assert "Nothing was substituted" in comparison_console.to_text(one)


def hostile_comparison() -> Comparison:
    found = sample_comparison()
    rows = [
        row.model_copy(
            update={
                "target": row.target + ATTACK,
                "place": row.place and row.place + ATTACK,
                "variant": row.variant.model_copy(update={"name": row.variant.name + ATTACK}),
            }
        )
        for row in found.rows
    ]
    runs = [run.model_copy(update={"recipe": run.recipe + ATTACK, "encoder": ATTACK}) for run in found.runs]
    return found.model_copy(update={"rows": rows, "runs": runs})


def test_foreign_text_is_never_markup():
    source = comparison_page.render(hostile_comparison())
    page = Page(source)
    assert page.tags["script"] == page.tags["img"] == 0
    assert page.tags["style"] == 1
    assert "alert" not in source[source.index("<style>") : source.index("</style>")]
    for text in (source, comparison_console.to_text(hostile_comparison())):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_the_console_output_is_the_golden_text():
    same_as_golden("comparison.txt", comparison_console.to_text(sample_comparison()))


@pytest.mark.parametrize("width", [72, 100, 160])
def test_no_line_is_wider_than_the_console(width):
    text = comparison_console.to_text(sample_comparison(), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width


def test_a_metric_without_an_interval_says_so():
    found = sample_comparison()
    rows = [row.model_copy(update={"interval": None}) for row in found.rows]
    text = comparison_content.caption(found.model_copy(update={"metric": "f1", "rows": rows}))
    assert "F1 %, without an interval" in text
