"""What the records of `prune_structure` and `distill` become: rows, words, tables and plots."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from golden_text import same_as_golden
from hostile import ATTACK
from mask_sample import mask_record
from page import Page
from sample import sample_report
from structure_sample import (
    distill_record,
    hostile_distill,
    hostile_structure,
    structure_record,
    structure_report,
)

from edgeprune.report import distillations, markdown, structures
from edgeprune.report.console import to_text
from edgeprune.report.distill_tables import draw_loss, draw_parts
from edgeprune.report.distill_tables import facts as distill_facts
from edgeprune.report.distillations import DistillRecord
from edgeprune.report.html import render
from edgeprune.report.model import StageRow
from edgeprune.report.stage_texts import stage_texts
from edgeprune.report.structure_plots import draw_layers
from edgeprune.report.structure_tables import changes, facts, head_ranges, layers_table, summary
from edgeprune.report.structures import StructureRecord

SVG = "{http://www.w3.org/2000/svg}"
HUGE = 10**400
BROKEN = [
    None,
    7,
    "36",
    [],
    {},
    [1, "x"],
    {"before": "x"},
    float("nan"),
    float("inf"),
    -1,
    HUGE,
    [{}],
    [[]],
    True,
]


def row(record: dict[str, Any]) -> StageRow:
    return StageRow(id="stage", stage="x", key="0", cached=False, seconds=1.0, record=record)


def cut(**changed: Any) -> StructureRecord:
    found = structures.structure_record(row(structure_record(**changed)))
    assert found is not None
    return found


def distilled(**changed: Any) -> DistillRecord:
    found = distillations.distill_record(row(distill_record(**changed)))
    assert found is not None
    return found


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def all_forms(*records: dict[str, Any]) -> list[str]:
    report = structure_report(*records)
    return [form(report) for form in (render, to_text, markdown.render)]


# Reading a record


def test_the_whole_record_of_a_cut_is_read() -> None:
    raw, found = structure_record(), cut()
    assert [item.model_dump(mode="json") for item in found.layers] == raw["layers"]
    for name in ("hidden", "heads", "rows", "encoder_parameters", "flops", "parameters"):
        assert getattr(found, name).model_dump() == raw[name]
    assert found.budget is not None
    assert found.budget.latency is not None
    assert found.budget.latency.ratio == 0.45
    assert (found.importance_kept, found.alignment) == (0.9312, 16)
    assert found.vocabulary is not None
    assert found.vocabulary.after == 9_871


def test_the_whole_record_of_a_distillation_is_read() -> None:
    raw, found = distill_record(), distilled()
    assert found.curve == tuple(map(tuple, raw["curve"]))
    assert found.parts is not None
    assert list(found.parts.whole) == ["logits", "hidden", "relations"]
    assert found.parts.whole["hidden"] == tuple(raw["parts"]["hidden"])
    assert [item.step for item in found.layer_map] == [0, 24]
    assert found.relations[0].model_dump() == raw["relations"][0]


def test_only_stages_that_tell_of_it_have_a_section() -> None:
    assert stage_texts(sample_report()) == []  # whose heads and rows are plain lists
    records = (mask_record(2, 96, cells=6), structure_record(2), distill_record())
    assert [text.heading.split(" (")[0] for text in stage_texts(structure_report(*records))] == [
        "Masks",
        "Structure",
        "Distillation",
    ]


@pytest.mark.parametrize("name", [*structure_record(), *distill_record()])
def test_a_part_that_is_missing_or_broken_takes_only_itself_away(name: str) -> None:
    for make, kind in ((structure_record, "Structure"), (distill_record, "Distillation")):
        raw = make()
        if name not in raw:
            continue
        for value in BROKEN:
            report = structure_report(raw | {name: value})
            (section,) = stage_texts(report)
            assert section.heading.startswith(kind)
        whole = stage_texts(structure_report(raw))[0]
        less = stage_texts(structure_report({key: raw[key] for key in raw if key != name}))[0]
        assert len(less.facts) <= len(whole.facts)


@pytest.mark.thorough
@pytest.mark.parametrize("value", BROKEN, ids=range(len(BROKEN)))
def test_no_broken_part_breaks_the_page(value: Any) -> None:
    for make in (structure_record, distill_record):
        for name in make():
            Page(render(structure_report(make() | {name: value})))


@pytest.mark.parametrize(
    "raw",
    [
        {"heads": {"after": 3}},
        {"flops": {"before": 0, "after": 0}},
        {"layers": [{"layer": 4}]},
        {"vocabulary": {"before": 30522, "after": 22000}},
        {"layers": [{"layer": 0, "there": True, "heads": [0], "rows": 9}], "quality": {"n": 1}},
    ],
)
def test_of_a_cut_of_which_hardly_anything_is_known_there_is_a_section(raw: dict[str, Any]) -> None:
    assert all("Structure (prune" in text for text in all_forms(raw))


@pytest.mark.parametrize("raw", [{"teacher_cache": "none"}, {"parts": {"step": [1], "logits": [0.5]}}])
def test_of_a_distillation_of_which_hardly_anything_is_known_there_is_a_section(raw: dict[str, Any]) -> None:
    assert all("Distillation (" in text for text in all_forms(raw))


def test_the_largest_numbers_that_are_read_can_be_shown() -> None:
    most = 2**63 - 1
    ends = {"before": 1, "after": most}
    layer = {"layer": most, "heads": [most], "all_heads": 1, "rows": most, "all_rows": 1, "there": True}
    large = structure_record(layers=[layer], heads=ends, flops=ends | {"length": most}, parameters=ends)
    steps = [most - 1, most]
    curve = [[steps[0], -1e30], [steps[1], 1e30]]
    trained = distill_record(curve=curve, parts={"step": steps, "logits": [1e30, -1e30]})
    assert all(f"{most:,}" in text for text in all_forms(large, trained))


# Words and tables of a cut


def test_the_table_says_what_was_and_what_is() -> None:
    table = changes(cut())
    assert table is not None
    cells = dict(table.rows)
    assert cells["attention heads"] == ("72", "34", "47.2 %")
    assert cells["layers"] == ("6", "5", "83.3 %")
    assert cells["hidden width"] == ("384", "256", "66.7 %")
    assert cells["encoder GFLOPs at 128 tokens"] == ("2.87", "1.16", "40.5 %")
    assert list(cells)[-1] == "all parameters"
    half = changes(cut(heads={"after": 3}, rows={"before": 0, "after": 0}))
    assert half is not None
    assert dict(half.rows)["attention heads"] == ("–", "3", "–")
    assert dict(half.rows)["FFN rows"] == ("0", "0", "–")


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"heads": 0.5, "ffn": 0.45}, "50.0 % of heads, 45.0 % of FFN rows (met with 47.2 %, 45.5 %)"),
        ({"ffn": 0.45}, "45.0 % of FFN rows (met with 45.5 %)"),
        ({"parameters": 0.45}, "45.0 % of the encoder's parameters (met with 44.2 %)"),
        ({"flops": 0.45}, "45.0 % of the encoder's FLOPs (met with 44.2 %)"),
        (
            {"latency": {"ratio": 0.45}},
            "45.0 % of the dense model's time (met with 44.2 % by the cost table)",
        ),
        ({"latency": {"target": "pc"}}, None),
        ({"ffn": 45}, None),
        ({}, None),
    ],
)
def test_a_budget_says_what_was_asked_for_and_what_it_came_to(budget: Any, said: str | None) -> None:
    assert dict(facts(cut(budget=budget), "accuracy")).get("budget") == said


def test_a_budget_that_was_timed_says_what_it_took() -> None:
    timed = {"estimate": 0.461, "low": 0.452, "high": 0.47}
    cost = {"ratio": 0.442, "measured": timed, "rounds": [{"asked": 0.45}]}
    budget = {"latency": {"ratio": 0.45}}
    once = dict(facts(cut(budget=budget, cost=cost), "accuracy"))["budget"]
    assert once == "45.0 % of the dense model's time (measured: 46.1 %, 45.2 % to 47.0 %)"
    again = cut(budget=budget, cost=cost | {"rounds": [{}, {}, {}]})
    assert dict(facts(again, "accuracy"))["budget"].endswith("47.0 %, the nearest of 3 that were timed)")


def test_a_budget_without_a_result_says_what_was_asked_for() -> None:
    bare = cut(cost=None, heads=None)
    assert dict(facts(bare, "f1"))["budget"].endswith("(x86-server, openvino/fp32, 64 tokens, batch 1)")
    assert dict(facts(cut(budget={"heads": 0.5}, heads=None), "f1"))["budget"] == "50.0 % of heads"


@pytest.mark.parametrize(
    ("errors", "width", "said"),
    [
        ({"384": 0.012, "256": -0.0313}, 256, "−3.13 %"),
        ({"384": 0.012, "256": -0.0313}, 384, "+1.20 %"),
        ({"384": 0.012, "256": -0.0313}, 128, None),
        ({"384": 0.012}, 128, "+1.20 %"),
        ({"384": "x"}, 384, None),
        ({}, 384, None),
    ],
)
def test_the_error_of_the_cost_table_is_that_of_the_chosen_width(
    errors: dict[str, Any], width: int, said: str | None
) -> None:
    found = cut(cost={"ratio": 0.4, "errors": errors}, hidden={"before": 384, "after": width})
    error = dict(facts(found, "accuracy")).get("error of the cost table")
    assert (error and error.partition(" (")[0]) == said


def test_a_sum_that_is_rounded_above_one_is_one() -> None:
    assert dict(facts(cut(importance_kept=1.0000000002), "f1"))["importance kept"] == "100 %"
    assert "importance kept" not in dict(facts(cut(importance_kept=1.1), "f1"))


def test_layers_that_are_gone_are_told_from_empty_ones() -> None:
    told = dict(summary(cut(), "accuracy"))
    assert told["heads left by layer"] == "12 · 10 · 7 · 5 · gone · 0"
    assert told["FFN rows left by layer"].endswith(" · gone · 112")
    table = layers_table(cut())
    assert table is not None
    assert table.rows[1] == ("1", ("0–2, 4–9, 11", "91.3 %", "1,168", "87.2 %"))
    assert [cells[0] for _, cells in table.rows[-2:]] == ["gone", "none"]


@pytest.mark.parametrize(
    ("heads", "said"), [((), "none"), ((3,), "3"), ((0, 1), "0, 1"), ((0, 1, 2, 5, 7, 8), "0–2, 5, 7, 8")]
)
def test_heads_are_written_as_people_write_them(heads: tuple[int, ...], said: str) -> None:
    assert head_ranges(heads) == said


# Words of a distillation


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        ([[[0, 1], [1, 3]]], "0→1 · 1→3"),
        ([[[0, 1]], [[0, 2]]], "0→2 (since step 10; changed once)"),
        ([[[0, 1]], [[0, 2]], [[0, 1]]], "0→1 (since step 20; changed 2 times)"),
    ],
)
def test_the_layer_map_is_the_last_and_says_how_often_it_changed(maps: list[Any], said: str) -> None:
    raw = [{"step": 10 * index, "pairs": pairs} for index, pairs in enumerate(maps)]
    assert dict(distill_facts(distilled(layer_map=raw), "f1"))["layers compared, student → teacher"] == said


@pytest.mark.parametrize(
    ("place", "said"),
    [("disk", "stored on disk"), ("online", "in every step"), ("none", "labels alone"), ("moon", "moon")],
)
def test_the_teacher_is_told(place: str, said: str) -> None:
    assert dict(distill_facts(distilled(teacher_cache=place), "f1"))["teacher"].endswith(said)


def test_trained_parameters_are_of_all() -> None:
    told = dict(distill_facts(distilled(parameters=10_000_000), "accuracy"))
    assert told["trained parameters"] == "9,402,114 (of 10,000,000)"


def test_console_and_markdown_are_the_golden_texts() -> None:
    report = structure_report(structure_record(), distill_record(), structure_record(12, weights="model"))
    text, marked = to_text(report), markdown.render(report)
    same_as_golden("structure.txt", text[text.index("Structure (") : text.index("Stages\n")])
    same_as_golden("structure.md", marked[marked.index("## Structure (") : marked.index("## Stages\n")])


# Plots


def test_the_plot_of_layers_has_every_layer_and_its_numbers() -> None:
    written = texts(draw_layers(cut(), "u"))
    assert {"attention heads", "FFN rows", *map(str, range(6))} <= set(written)
    assert written.count("gone") == 2
    assert {"12", "10", "7", "1,536", "1,168", "112"} <= set(written)
    assert "layer 4: gone" in draw_layers(cut(), "u")


def test_a_layer_of_which_nothing_is_known_has_a_dash() -> None:
    assert texts(draw_layers(cut(layers=[{"layer": 3}]), "u")).count("–") == 2
    assert draw_layers(cut(layers=[]), "u") == ""


def test_every_part_of_the_loss_has_a_panel_with_its_name() -> None:
    assert {"loss", "step"} <= set(texts(draw_loss(distilled(), "u")))
    written = set(texts(draw_parts(distilled(), "u")))
    assert {
        "logits: T² · KL",
        "hidden states: share of variance missed",
        "relations between tokens: KL",
    } <= written
    assert "labels: cross entropy" not in written


@pytest.mark.parametrize(
    "parts",
    [
        None,
        {"step": [1], "logits": [0.5]},
        {"logits": [0.5, 0.4]},
        {"step": [1, 2], "logits": [0.5]},
        {"step": [1, 2], "logits": [0.5, float("nan")]},
        {"step": [1, 2]},
    ],
)
def test_parts_that_cannot_be_drawn_are_not(parts: Any) -> None:
    assert draw_parts(distilled(parts=parts), "u") == ""
    assert draw_loss(distilled(parts=parts), "u") != ""


@pytest.mark.parametrize("draw", [lambda: draw_layers(cut(), "p7"), lambda: draw_parts(distilled(), "p7")])
def test_the_drawings_are_at_home_on_the_page(draw: Any) -> None:
    svg = draw()
    assert svg == draw()
    assert not re.search("#010[12]", svg)
    root = ElementTree.fromstring(svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(reference in ids for reference in re.findall(r"url\(#([^)]+)\)", svg))
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title")
    assert root.findtext(f"{SVG}desc")


# The page


def test_the_page_shows_each_stage_in_the_order_of_the_chain() -> None:
    records = (structure_record(), distill_record(), structure_record(12), distill_record())
    source = render(structure_report(*records))
    page = Page(source)
    assert [text for level, text in page.headings if level == "h2"][-7:-3] == [
        "Structure (prune_structure)",
        "Distillation (distill)",
        "Structure (prune_structure-2)",
        "Distillation (distill-2)",
    ]
    assert page.values("role").count("img") == 3 + 2 * (1 + 2)
    assert page.tags["caption"] == page.tags["table"]
    assert page.tags["th"] == len(page.values("scope"))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {name for value in page.values("aria-labelledby") for name in value.split()} <= set(ids)
    assert json.dumps(records[0]["cost"]["attention"]) not in source
    assert json.dumps(records[1]["parts"]["hidden"][:3])[1:-1] not in source


@pytest.mark.parametrize("attack", [ATTACK, "$\\frac{1}$", "{{ 7 * 7 }}", "-" + "x" * 300])
def test_foreign_text_in_a_record_is_never_markup(attack: str) -> None:
    page, text, marked = all_forms(hostile_structure(attack), hostile_distill(attack))
    attacked = Page(page)
    assert not {"script", "img", "i"} & set(attacked.tags)
    assert not [name for _, name, _ in attacked.attributes if name.startswith("on")]
    for form in (page, text, marked):
        assert "\x1b" not in form
        assert "\u202e" not in form
        assert "taylor49" not in form
    assert "<script" not in marked
