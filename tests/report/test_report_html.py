from __future__ import annotations

import pytest
from hostile import hostile_report
from markupsafe import escape
from page import Page
from sample import sample_report

from edgeprune.report import markdown
from edgeprune.report.console import to_text
from edgeprune.report.html import render
from edgeprune.report.model import StageRow


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(sample_report()))


def test_the_page_stands_alone(page):
    source = render(sample_report())
    assert page.tags["script"] == page.tags["link"] == page.tags["img"] == page.tags["iframe"] == 0
    assert all(value.startswith("#") for value in page.values("href"))
    assert page.values("src") == []
    assert "url(http" not in source
    assert "@import" not in source
    assert "default-src 'none'" in "".join(page.values("content"))


def test_rendering_is_a_function_of_the_report():
    assert render(sample_report()) == render(sample_report())


def test_verdicts_come_first_then_each_target_then_what_to_know(page):
    headings = [text for level, text in page.headings if level == "h2"]
    assert headings == [
        "Verdict",
        "Target x86-server",
        "Target arm64-board",
        "What you should know",
        "Stages",
        "Data",
        "Provenance",
    ]


def test_warnings_come_before_information():
    text = " ".join("".join(Page(render(sample_report())).text).split())
    assert text.index("openvino/fp32 was pinned to f32") < text.index("17 of 13,905 rows were unusable")


def test_the_page_has_one_plot_per_measured_length(page):
    assert page.values("role").count("img") == 3


def test_everything_of_provenance_is_there(page):
    text = "".join(page.text)
    report = sample_report()
    assert report.command in text
    assert report.encoder in text
    assert all(asset.sha256 in text and asset.uri in text for asset in report.assets)
    assert all(failed in text for asset in report.assets for failed in asset.tried)
    assert all(f"{name} {version}" in " ".join(text.split()) for name, version in report.versions.items())
    assert all(place in text for row in report.data.unusable for place in row.places)


def test_what_was_fused_stands_with_its_candidate(page):
    text = " ".join("".join(page.text).split())
    assert "Fused by the runtime: attention in 6 of 6 layers, 12 × Subgraph, 7 × FullyConnected" in text
    assert "Fused by the runtime: attention in none of 6 layers, 20 × DynamicQuantizeMatMul" in text
    assert text.count("Fused by the runtime") == 3, "not of candidates that were not looked into"


def test_throughput_is_shown_where_it_was_measured(page):
    text = " ".join("".join(page.text).split())
    assert text.count("Texts answered a second") == 1, "not of the target that no device measured"
    assert "onnxruntime/int8-dynamic 1,8341,768 to 1,866 2" in text


def test_ids_are_unique_and_links_meet_them(page):
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    wanted = {value[1:] for value in page.values("href")}
    wanted |= {name for value in page.values("aria-labelledby") for name in value.split()}
    assert wanted <= set(ids)


def test_tables_have_captions_and_scopes(page):
    assert page.tags["caption"] == page.tags["table"] > 0
    assert page.tags["th"] == len(page.values("scope"))


def test_foreign_text_is_never_markup():
    attacked = Page(render(hostile_report()))
    harmless = Page(render(sample_report()))
    assert set(attacked.tags) == set(harmless.tags)
    assert attacked.tags["svg"] == harmless.tags["svg"]
    assert not [name for _, name, _ in attacked.attributes if name.startswith("on")]
    assert "alert('x')" in "".join(attacked.text)
    assert "\x1b" not in render(hostile_report())


def test_a_report_with_nothing_in_it_can_be_shown():
    report = sample_report()
    bare = report.model_copy(
        update={
            "targets": [],
            "stages": [],
            "assets": [],
            "know": [],
            "versions": {},
            "machine": report.machine,
        }
    )
    assert "Nothing was substituted" in "".join(Page(render(bare)).text)


def test_an_emulated_device_says_that_its_times_mean_nothing():
    report = sample_report()
    device = report.machine.model_copy(update={"emulated": True})
    target = report.targets[0].model_copy(update={"device": device})
    text = "".join(Page(render(report.model_copy(update={"targets": [target]}))).text)
    assert "emulated: its times say nothing about a real device" in text


@pytest.mark.parametrize("form", [render, to_text, markdown.render])
def test_every_form_says_that_a_target_was_not_measured(form):
    report = sample_report()
    silent = report.targets[1].model_copy(update={"reason": "no device", "variants": []})
    assert "not measured: no device" in form(report.model_copy(update={"targets": [silent]}))


def test_the_middle_of_long_lists_is_left_to_the_json():
    stages = (
        StageRow(
            id="x",
            stage="x",
            key="0",
            seconds=1.0,
            cached=False,
            record={"curve": [[n, n / 8] for n in range(40)]},
        ),
    )
    found = render(sample_report().model_copy(update={"stages": stages}))
    assert escape('[[0, 0.0], [1, 0.125], "… 36 more …", [38, 4.75], [39, 4.875]]') in found
