from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hostile import hostile_report
from hypothesis import given, settings
from hypothesis import strategies as st
from sample import arm_target, candidate, latency, original, points, quality, x86_target

from edgeprune.report.label_layout import Box, place_labels
from edgeprune.report.model import TargetRow
from edgeprune.report.plot import draw, plotted_lengths

AREA = Box(40, 45, 340, 280)
SVG = "{http://www.w3.org/2000/svg}"

places = st.tuples(st.floats(AREA.x0, AREA.x1), st.floats(AREA.y0, AREA.y1))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(places, st.floats(30, 160)), min_size=1, max_size=8))
def test_labels_never_overlap_nor_leave_the_frame(labelled):
    anchors = [anchor for anchor, _ in labelled]
    obstacles = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in anchors]
    boxes = place_labels(anchors, [(width, 13.0) for _, width in labelled], obstacles, AREA)
    for index, box in enumerate(boxes):
        assert AREA.x0 <= box.x0
        assert box.x1 <= AREA.x1 + 1e-6
        assert AREA.y0 <= box.y0
        assert box.y1 <= AREA.y1 + 1e-6
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_a_lone_label_stands_beside_its_point():
    (box,) = place_labels([(100, 100)], [(50, 12)], [Box(94, 94, 106, 106)], AREA)
    assert (box.x0, box.y0) == (107, 94)


def parsed(target: TargetRow, length: int | str = "real", **changes) -> ElementTree.Element:
    options = {"metric": "accuracy", "max_drop": 1.0, "uid": "p"} | changes
    return ElementTree.fromstring(draw(target, length, **options))


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


def test_every_measured_candidate_is_labelled_once_and_the_limit_is_drawn():
    written = texts(parsed(x86_target()))
    for name in (
        "original",
        "openvino/fp32",
        "openvino/bf16",
        "onnxruntime/fp32",
        "onnxruntime/int8-dynamic",
    ):
        assert written.count(name) == 1
    assert "onnxruntime/bf16" not in written  # refused: there is nothing to draw
    assert "limit −1.00" in written


def test_the_drawing_is_the_same_every_time_whatever_the_user_has_configured():
    import matplotlib

    first = draw(x86_target(), 64, metric="accuracy", max_drop=1.0, uid="p")
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        assert draw(x86_target(), 64, metric="accuracy", max_drop=1.0, uid="p") == first


def test_the_drawing_brings_neither_colours_nor_fonts_nor_a_date():
    svg = draw(x86_target(), 128, metric="accuracy", max_drop=1.0, uid="p")
    assert "#0101" not in svg
    assert "font-family" not in svg
    assert "<metadata" not in svg
    assert "<style" not in svg
    assert "var(--good)" in svg


def test_ids_are_unique_and_references_meet_them():
    root = parsed(x86_target(), uid="p7")
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(name.startswith("p7-") for name in ids)
    wanted = [element.get("href") for element in root.iter() if element.get("href")]
    assert wanted
    assert all(reference[1:] in ids for reference in wanted)


def test_those_who_do_not_see_it_get_a_title_and_the_numbers():
    root = parsed(x86_target())
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "p-title p-desc"
    assert root.findtext(f"{SVG}title") == "accuracy against latency on x86-server, real lengths"
    assert "onnxruntime/int8-dynamic, chosen: 0.75 ms, 86.38" in (root.findtext(f"{SVG}desc") or "")


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews"])
def test_every_metric_can_be_drawn(metric):
    assert "original" in texts(parsed(x86_target(), metric=metric))


def test_nothing_measured_means_nothing_to_plot():
    assert plotted_lengths(arm_target()) == []
    assert plotted_lengths(x86_target()) == ["real", 64, 128]


def test_one_candidate_alone_and_no_original_can_be_drawn():
    lone = candidate(
        "b", "fp32", status="accepted", reason="", quality=quality(0.9), latency=latency((1.0, 2.0, 3.0))
    )
    written = texts(parsed(x86_target().model_copy(update={"variants": [lone]})))
    assert "b/fp32" in written
    assert not any(text.startswith("limit") for text in written)


def test_eight_candidates_on_one_spot_are_all_labelled():
    crowd = [
        candidate(
            "onnxruntime",
            f"variant-number-{index}",
            status="accepted",
            reason="",
            quality=quality(0.86),
            difference_points=points(-0.4, -1.0, 0.2),
            latency=latency((1.0, 2.0, 3.0)),
        )
        for index in range(8)
    ]
    target = x86_target().model_copy(update={"variants": [original(measured=True), *crowd]})
    written = texts(parsed(target))
    assert all(written.count(f"onnxruntime/variant-number-{index}") == 1 for index in range(8))


def test_hostile_names_stay_text():
    svg = draw(hostile_report().targets[0], "real", metric="accuracy", max_drop=1.0, uid="p")
    assert "<script" not in svg
    assert "<img" not in svg
