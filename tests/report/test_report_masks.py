"""What a mask-learning stage's record becomes: rows, words, tables and plots."""

from __future__ import annotations

import base64
import json
import re
from copy import deepcopy
from functools import cache
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from golden_text import same_as_golden
from hypothesis import given
from hypothesis import strategies as st
from mask_sample import KINDS, head_record, hostile_record, mask_record, mask_report
from page import Page
from sample import sample_report

from edgeprune.report import markdown, mask_pictures, mask_plots
from edgeprune.report.console import to_text
from edgeprune.report.html import render
from edgeprune.report.mask_plots import spread
from edgeprune.report.mask_tables import density_table, facts
from edgeprune.report.masks import MaskRecord, Scores
from edgeprune.report.masks import mask_record as mask_record_of

pytestmark = pytest.mark.thorough

SVG = "{http://www.w3.org/2000/svg}"
DRAWINGS = {
    "density": mask_plots.draw_density,
    "training": mask_plots.draw_training,
    "map": mask_pictures.draw_map,
    "scores": mask_pictures.draw_scores,
}


@cache
def _six_layers() -> dict[str, Any]:
    return mask_record()


@cache
def _small() -> dict[str, Any]:
    return mask_record(2, 96, kinds=("query", "down"), cells=6)


def record(**changes: Any) -> dict[str, Any]:
    """The whole record of six layers with some parts replaced."""
    return deepcopy(_six_layers()) | changes


def small(**changes: Any) -> dict[str, Any]:
    """A record of four matrices with some parts replaced; those that are None are taken out."""
    return {name: value for name, value in (_small() | changes).items() if value is not None}


def read(raw: dict[str, Any]) -> MaskRecord:
    (found,) = [found for row in mask_report(raw).stages if (found := mask_record_of(row))]
    return found


def drawn(raw: dict[str, Any]) -> set[str]:
    return {name for name, draw in DRAWINGS.items() if draw(read(raw), "u")}


def parsed(name: str, raw: dict[str, Any]) -> ElementTree.Element:
    return ElementTree.fromstring(DRAWINGS[name](read(raw), "p7"))


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


# Reading a record


def test_the_whole_record_is_read() -> None:
    found = read(record())
    raw = _six_layers()
    assert [(item.layer, item.kind) for item in found.matrices] == [
        (layer, kind) for layer in range(6) for kind in KINDS
    ]
    assert all(item.scores and item.map for item in found.matrices)
    assert found.pack is not None
    assert found.pack.model_dump() == raw["pack"]
    assert found.density is not None
    assert found.density.model_dump() == raw["density"]
    assert found.trace is not None
    assert found.curve == tuple(map(tuple, raw["curve"]))


def test_stages_without_masks_have_no_section() -> None:
    assert not any(
        map(mask_record_of, sample_report().stages)
    )  # one of its stages has a density, a plain number
    assert "Masks (" not in render(sample_report()) + to_text(sample_report())


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, {"density", "training", "map", "scores"}),
        ({"matrices": None}, {"training"}),
        ({"matrices": [{"layer": 0}]}, {"training"}),
        ({"matrices": "36"}, {"training"}),
        ({"trace": None, "curve": None}, {"density", "map", "scores"}),
        ({"trace": {"step": [1, 2], "density": [1.0]}, "curve": [[1, 0.5]]}, {"density", "map", "scores"}),
        ({"trace": {"step": [1, 2], "density": [1.0, float("nan")]}, "curve": 3}, {"density", "map", "scores"}),
        ({"density": None, "pack": None, "quality": None, "method": 7}, {"density", "training", "map", "scores"}),
    ],
)  # fmt: skip
def test_a_part_that_is_missing_or_broken_has_no_plot(changes: dict[str, Any], left: set[str]) -> None:
    assert drawn(small(**changes)) == left


def test_a_record_of_which_hardly_anything_is_known_still_has_its_section() -> None:
    for raw in ({"density": {"kept": 0.5}}, {"matrices": [{"layer": 3, "kind": "gate", "density": 0.5}]}):
        assert "Masks (learn_masks)" in "".join(Page(render(mask_report(raw))).text)
        assert "Masks (learn_masks)" in to_text(mask_report(raw))


@pytest.mark.parametrize(
    ("part", "value", "missing"),
    [
        ("scores", None, "scores"),
        ("scores", {"low": 1.0, "high": -1.0, "counts": [1]}, "scores"),
        ("scores", {"low": 0.0, "high": 1.0, "counts": [0, 0]}, "scores"),
        ("scores", {"low": 0.0, "high": 1.0}, "scores"),
        ("map", None, "map"),
        ("map", [[0, 200]], "map"),
        ("map", [[]], "map"),
        ("map", [[1, 2], [3]], "map"),
    ],
)
def test_a_matrix_without_a_good_part_keeps_its_others(part: str, value: Any, missing: str) -> None:
    matrices = [row | {part: value} for row in _small()["matrices"]]
    assert drawn(small(matrices=matrices)) == set(DRAWINGS) - {missing}


def test_a_method_without_scores_regularizer_or_pack() -> None:
    matrices = [{name: row[name] for name in row if name != "scores"} for row in _small()["matrices"]]
    trace = _small()["trace"] | {"regularizer": [0.0] * 100}
    raw = small(matrices=matrices, method="magnitude", trace=trace, pack=None)
    assert drawn(raw) == {"density", "training", "map"}
    assert not any("regularizer" in text for text in texts(parsed("training", raw)))
    assert "mask pack" not in dict(facts(read(raw), "accuracy"))


# Thresholds


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any),
    st.floats(-5, 5),
    st.floats(0.1, 10),
    st.floats(0, 1),
)
def test_above_the_threshold_is_the_share_that_was_kept(
    counts: list[int], low: float, width: float, density: float
) -> None:
    scores = Scores(low=low, high=low + width * len(counts), counts=tuple(counts))
    limit = scores.threshold(density)
    position = (limit - low) / width
    above = sum(count * min(1.0, max(0.0, index + 1 - position)) for index, count in enumerate(counts))
    assert above / sum(counts) == pytest.approx(density, abs=1e-6)


def test_groups_of_weights_have_no_common_threshold() -> None:
    assert mask_pictures.is_thresholded(read(small()))
    grouped = read(small(granularity="2:4"))
    assert not mask_pictures.is_thresholded(grouped)
    assert "var(--accent)" in mask_pictures.draw_scores(read(small()), "u")
    assert "var(--accent)" not in mask_pictures.draw_scores(grouped, "u")


# Words and tables


def test_a_density_says_of_what() -> None:
    said = dict(facts(read(record()), "accuracy"))
    assert said["kept of the encoder's linear layers"].startswith("10.0 % (target 10.0 %; 1,06")
    heads = dict(facts(read(head_record()), "accuracy"))
    assert heads["kept of the matrices that were masked"].startswith("60.4 % (target 50.0 %; ")
    assert heads["kept of the encoder's linear layers"] == "86.8 %"
    unknown = record(density={"kept": 0.25})
    assert dict(facts(read(unknown), "f1"))["kept of the matrices that were masked"] == "25.0 %"


def test_the_table_has_every_density_and_weighs_its_sums_by_size() -> None:
    table = density_table(read(record()))
    assert table is not None
    assert table.heads == ("layer", *KINDS, "all")
    assert [name for name, _ in table.rows] == ["0", "1", "2", "3", "4", "5", "all"]
    shown = [cell for _, cells in table.rows[:-1] for cell in cells[:-1]]
    assert shown == [f"{100 * row['density']:.1f}" for row in _six_layers()["matrices"]]
    assert table.rows[-1][1][-1] == f"{100 * _six_layers()['density']['kept']:.1f}"


def test_a_gap_in_the_table_is_a_dash() -> None:
    matrices = [row for row in _six_layers()["matrices"] if (row["layer"], row["kind"]) != (2, "up")]
    matrices[0] = matrices[0] | {"shape": None}
    table = density_table(read(record(matrices=matrices)))
    assert table is not None
    assert table.rows[2][1][KINDS.index("up")] == "–"
    assert [cells[-1] == "–" for _, cells in table.rows] == [True, False, False, False, False, False, True]


@pytest.mark.parametrize(
    ("name", "form", "end"),
    [("masks.txt", to_text, "Stages\n"), ("masks.md", markdown.render, "## Stages\n")],
)
def test_the_section_is_the_golden_text(name: str, form: Any, end: str) -> None:
    text = form(mask_report(record(), head_record()))
    start = text.index("Masks (learn_masks)") if name == "masks.txt" else text.index("## Masks (")
    same_as_golden(name, text[start : text.index(end)])


# Plots


@given(st.lists(st.floats(-20, 120), min_size=1, max_size=8))
def test_labels_beside_a_plot_stand_apart_and_in_order(wanted: list[float]) -> None:
    placed = spread(wanted, 13, 0, 100)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    heights = [placed[index] for index in order]
    assert all(above - below >= 13 - 1e-9 for below, above in pairwise(heights))
    if len(wanted) * 13 <= 100:
        assert heights[0] >= -1e-9
        assert heights[-1] <= 100 + 1e-9


def test_labels_that_have_room_stay_where_they_are() -> None:
    assert spread([80, 10, 40], 13, 0, 100) == [80, 10, 40]


def test_the_density_plot_names_every_kind_and_widens_its_scale() -> None:
    written = texts(parsed("density", record()))
    assert all(written.count(kind) == 1 for kind in KINDS)
    assert "weights kept, % (log scale)" in written
    assert {"2", "5", "10", "20"} <= set(written)
    assert "weights kept, %" in texts(parsed("density", head_record()))


def test_the_training_plot_has_loss_density_and_regularizer() -> None:
    written = texts(parsed("training", record()))
    assert {"loss", "density, %", "regularizer, as it enters the loss", "step"} <= set(written)


@pytest.mark.parametrize("name", ["map", "scores"])
def test_pictures_have_a_name_per_kind_and_a_number_per_layer(name: str) -> None:
    written = texts(parsed(name, mask_record(12, 96, cells=6)))
    assert all(written.count(kind) == 1 for kind in KINDS)
    assert {str(layer) for layer in range(12)} <= set(written)


def test_the_map_is_one_raster_in_the_pages_colour() -> None:
    root = parsed("map", record())
    (image,) = root.iter(f"{SVG}image")
    png = base64.b64decode(image.attrib["href"].partition(",")[2])
    assert png.startswith(b"\x89PNG")
    assert (image.get("width"), image.get("height")) == ("156", "156")  # 6 maps of 24 cells, and gaps of 2
    (mask,) = root.iter(f"{SVG}mask")
    (tinted,) = [item for item in root.iter(f"{SVG}rect") if item.get("mask") == f"url(#{mask.get('id')})"]
    assert "var(--accent)" in tinted.attrib["style"]


def test_few_kinds_of_matrix_stand_in_blocks() -> None:
    assert len(list(parsed("map", head_record()).iter(f"{SVG}image"))) == 4
    assert texts(parsed("map", head_record())).count("output") == 4


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_are_at_home_on_the_page(name: str) -> None:
    svg = DRAWINGS[name](read(small()), "p7")
    assert svg == DRAWINGS[name](read(small()), "p7")
    assert "#0101" not in svg
    assert "#0102" not in svg
    root = ElementTree.fromstring(svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    wanted = [element.get("href") for element in root.iter(f"{SVG}use")]
    wanted += re.findall(r"url\((#[^)]+)\)", svg)
    assert all(reference and reference[1:] in ids for reference in wanted)
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title")
    assert root.findtext(f"{SVG}desc")


def test_scores_that_are_all_the_same_can_be_drawn() -> None:
    same = {"low": 0.0, "high": 0.0, "counts": [384 * 384]}
    matrices = [row | {"scores": same, "density": 0.0, "map": [[0]]} for row in _small()["matrices"]]
    assert drawn(small(matrices=matrices)) == set(DRAWINGS)


# The page


def test_the_page_shows_each_stage_with_all_its_drawings_and_its_table() -> None:
    page = Page(render(mask_report(record(), head_record())))
    headings = [text for level, text in page.headings if level == "h2"]
    assert headings[-5:] == ["Masks (learn_masks)", "Masks (learn_masks-2)", "Stages", "Data", "Provenance"]
    assert page.values("role").count("img") == 3 + 8
    assert page.tags["caption"] == page.tags["table"]
    assert page.tags["th"] == len(page.values("scope"))
    ids = page.values("id")
    assert len(ids) == len(set(ids))


def test_the_page_still_stands_alone_stays_small_and_spells_no_plot_out() -> None:
    source = render(mask_report())
    assert json.dumps(_six_layers()["matrices"][0]["map"][0]) not in source
    assert len(source) < 250_000
    page = Page(source)
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in page.values("href"))
    assert page.tags["script"] == page.tags["img"] == 0
    (policy,) = [value for value in page.values("content") if "default-src" in value]
    assert "img-src data:" in policy


def test_foreign_text_in_a_record_is_never_markup() -> None:
    report = mask_report(hostile_record())
    source = render(report)
    attacked = Page(source)
    assert not {"script", "img", "i"} & set(attacked.tags)
    assert not [name for _, name, _ in attacked.attributes if name.startswith("on")]
    assert "alert('x')" in "".join(attacked.text)
    for text in (source, to_text(report), markdown.render(report)):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "<script" not in markdown.render(report)
