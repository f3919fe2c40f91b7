"""The original beside what was made of it: words, cells, and reports that know nothing of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hostile import hostile_report
from page import Page
from sample import ablation, ratio, sample_report, stand_in_target, x86_target

from edgeprune.errors import UsageError
from edgeprune.report import ablations, html, markdown, storage
from edgeprune.report.console import to_text
from edgeprune.report.model import Ablation, Gain, Report, TargetRow

FORMS = pytest.mark.parametrize("form", [html.render, to_text, markdown.render])


def _with(target: TargetRow) -> Report:
    return sample_report().model_copy(update={"targets": [target]})


def _facts(target: TargetRow) -> dict[str, dict[str, str]]:
    return {item.backend: dict(item.facts) for item in ablations.steps_by_backend(target, "accuracy")}


def _words(text: str) -> str:
    return " ".join("".join(Page(text).text).split()) if text.startswith("<!DOCTYPE") else text


def test_a_row_per_step_and_its_median_over_the_first() -> None:
    steps = {item.backend: item.grid for item in ablations.steps_by_backend(x86_target(), "accuracy")}
    assert steps["onnxruntime"].heads == (
        "model", "accuracy %", "real lengths", "64 tokens", "128 tokens", "file",
    )  # fmt: skip
    assert dict(steps["onnxruntime"].rows) == {
        "dense FP32": ("86.42", "3.18", "5.65", "9.16", "91.0 MB"),
        "dense INT8 (int8-dynamic)": ("86.50", "1.33 (2.39×)", "2.41 (2.34×)", "4.70 (1.95×)", "23.1 MB"),
        "compressed FP32": ("86.30", "1.78 (1.79×)", "3.19 (1.77×)", "5.24 (1.75×)", "60.2 MB"),
        "compressed INT8 (int8-dynamic)": (
            "86.38", "0.75 (4.23×)", "1.56 (3.62×)", "3.04 (3.01×)", "15.1 MB",
        ),
    }  # fmt: skip
    cells = dict(steps["openvino"].rows)["dense BF16"]
    assert cells[1:4] == ("2.30 (not faster)", "2.83 (not faster)", "5.15 (not faster)")


def test_each_step_has_its_interval_and_what_is_not_faster_says_so() -> None:
    facts = _facts(x86_target())
    assert facts["openvino"]["BF16 alone"].startswith("not faster: 0.98× [0.95, 1.00] at real lengths, 0.99×")
    assert facts["openvino"]["compression alone"] == (
        "0.98× [0.96, 1.00] at real lengths (not faster), 1.04× [1.01, 1.06] at 64 tokens, "
        "1.02× [0.99, 1.04] at 128 tokens (not faster)"
    )
    assert set(facts["onnxruntime"]) == {
        "INT8 alone", "compression alone", "compression and INT8", "INT8 after compression",
        "which dense INT8", "which compressed INT8",
    }  # fmt: skip
    assert facts["onnxruntime"]["which dense INT8"] == (
        "int8-dynamic, the fastest that meets the acceptance, of 2 INT8 variants"
    )


@pytest.mark.parametrize(
    ("low", "high", "faster"), [(1.01, 1.2, True), (1.0, 1.2, False), (0.8, 1.2, False), (0.7, 0.9, False)]
)
def test_faster_is_only_what_has_its_whole_interval_above_one(low: float, high: float, faster: bool) -> None:
    speedup = ratio(1.0).model_copy(update={"estimate": (low + high) / 2, "low": low, "high": high})
    assert Gain(length=64, speedup=speedup).faster is faster


@FORMS
def test_every_form_shows_it(form: Any) -> None:
    text = _words(form(_with(x86_target())))
    assert ablations.HEADING in text
    for words in ("2.30", "not faster", "the fastest that meets the acceptance"):
        assert words in text


@FORMS
def test_every_form_says_why_there_is_nothing_to_compare(form: Any) -> None:
    plain = x86_target().model_copy(update={"dense": []})
    off = Ablation(compressed=True, missing="`measurement.ablation` is false")
    text = _words(form(_with(plain.model_copy(update={"ablation": off}))))
    assert "not shown beside the candidates" in text
    same = _words(form(_with(plain.model_copy(update={"ablation": Ablation(compressed=False)}))))
    assert "dense and compressed are the same" in " ".join(same.split())


def test_without_compression_there_is_one_side_and_int8_is_the_step() -> None:
    rows = [row for row in ablation().rows if row.backend == "onnxruntime" and not row.compressed]
    target = x86_target().model_copy(update={"ablation": Ablation(compressed=False, rows=rows)})
    (steps,) = ablations.steps_by_backend(target, "accuracy")
    assert [name for name, _ in steps.grid.rows] == ["FP32", "INT8 (int8-dynamic)"]
    assert [name for name, _ in steps.facts] == ["INT8", "which INT8"]
    assert ablations.introduction(target).startswith("Nothing here masks, cuts or distils the model")


@FORMS
def test_every_form_says_that_a_stand_in_answered(form: Any) -> None:
    text = " ".join(_words(form(_with(stand_in_target()))).split())
    assert "A stand-in answered for them, the same ONNX on onnxruntime's CPU provider" in text
    assert "accuracy of the ONNX on onnxruntime CPU; latency not measured here: no NVIDIA GPU" in text
    assert "86.30" in text
    assert "No latency was measured." in text


def test_a_stand_in_has_no_plot_and_no_latency() -> None:
    page = Page(html.render(_with(stand_in_target())))
    assert page.values("role").count("img") == 0
    assert [text for level, text in page.headings if level == "h3" and text == "Latency"] == []


def _document(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report.model_dump_json())
    return found


def test_a_report_that_was_written_before_there_was_any_is_read(tmp_path: Any) -> None:
    document = _document(sample_report())
    for target in document["targets"]:
        del target["dense"], target["ablation"]
        for row in target["variants"]:
            del row["stand_in"]
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    report = storage.read(path)
    assert [target.ablation for target in report.targets] == [None, None]
    for form in (html.render, to_text, markdown.render):
        assert ablations.HEADING not in _words(form(report))


def test_a_step_without_its_row_is_no_report(tmp_path: Any) -> None:
    document = _document(sample_report())
    document["targets"][0]["dense"] = []
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="`ablation` names rows that are not there: dense/openvino/fp32"):
        storage.read(path)


def test_foreign_names_stay_text() -> None:
    page = Page(html.render(hostile_report()))
    assert set(page.tags) == set(Page(html.render(sample_report())).tags)
