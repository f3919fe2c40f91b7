"""`edgeprune compare` from what runs and deployments left on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from comparison_sample import OTHER, keep
from deployment_sample import sample_deployment
from sample import sample_report

from edgeprune.cli.failing import exit_code_of
from edgeprune.errors import UsageError
from edgeprune.pipeline.comparing import Filters, compare, select
from edgeprune.report.comparison import Comparison
from edgeprune.report.deployment import Sample
from edgeprune.report.model import Report


def other(**changes: object) -> Report:
    return sample_report().model_copy(update=OTHER | changes)


def without_stage_keys(report: Report) -> Report:
    rows = [row.model_copy(update={"key": f"0{row.key[1:]}"}) for row in report.stages]
    return report.model_copy(update={"stages": rows})


def two(folder: Path, second: Report) -> Comparison:
    return compare([keep(sample_report(), folder / "a"), keep(second, folder / "b")])


def notes(found: Comparison) -> str:
    return "\n".join(f"{note.where}: {note.text}" for note in found.know)


def test_the_same_run_counts_once(tmp_path):
    folder = keep(sample_report(), tmp_path / "one")
    (tmp_path / "latest").symlink_to(folder)
    found = compare([folder, tmp_path / "latest", folder / "report.json"])
    assert [run.letter for run in found.runs] == ["A"]
    assert notes(found).count("is the run A") == 2


def test_runs_of_one_original_have_narrow_intervals_and_speeds(tmp_path):
    found = two(tmp_path, other())
    row = next(item for item in found.differences if item.variant == "onnxruntime/int8-dynamic")
    assert row.interval is not None
    assert "same original" in row.interval.method
    assert row.interval.low == pytest.approx(-0.88, abs=0.01)
    assert [gain.length for gain in row.speed] == ["real", 64, 128]
    assert all(gain.speedup.low < 1 < gain.speedup.high for gain in row.speed)
    assert not any(item.variant == "original" for item in found.differences)


def test_runs_of_two_originals_are_compared_as_if_unpaired_and_say_so(tmp_path):
    found = two(tmp_path, without_stage_keys(other()))
    row = next(item for item in found.differences if item.variant == "onnxruntime/int8-dynamic")
    assert row.interval is not None
    assert "as if each had answered other examples" in row.interval.method
    assert "have two originals" in notes(found)
    assert any(item.variant == "original" for item in found.differences)


def test_runs_of_other_examples_have_no_difference(tmp_path):
    report = other()
    data = report.data.model_copy(update={"validation_per_label": {"rotten": 1_000, "fresh": 1_562}})
    found = two(tmp_path, report.model_copy(update={"data": data}))
    assert all(item.points is None and item.interval is None for item in found.differences)
    assert "judged on other validation examples (2,562 and 2,562)" in notes(found)


def test_another_base_model_has_no_speed(tmp_path):
    report = other()
    assets = [report.assets[0].model_copy(update={"sha256": "0" * 64}), *report.assets[1:]]
    found = two(tmp_path, report.model_copy(update={"assets": assets}))
    assert all(not item.speed for item in found.differences)
    assert any("other base models" in text for item in found.differences for text in item.why)


def test_a_metric_that_needs_the_answers_has_no_interval(tmp_path):
    report = sample_report().model_copy(update={"metric": "f1"})
    found = compare([keep(report, tmp_path / "a"), keep(other(metric="f1"), tmp_path / "b")])
    measured = [item for item in found.differences if item.points is not None]
    assert measured
    assert all(item.interval is None and "needs the answers" in item.why[0] for item in measured)
    assert all(row.interval is None for row in found.rows)


def test_another_metric_confidence_or_version_is_said(tmp_path):
    versions = sample_report().versions | {"onnxruntime": "1.33.0"}
    found = two(tmp_path, other(metric="f1", confidence=0.9, versions=versions))
    assert "judged by F1, shown is accuracy" in notes(found)
    assert "95 % and 90 %" in notes(found)
    assert "onnxruntime 1.32.0 and 1.33.0" in notes(found)
    theirs = [row for row in found.rows if row.run == "B"]
    assert all(row.variant.difference_points is None for row in theirs)


def test_of_several_deployments_to_a_device_the_newest_is_shown(tmp_path):
    old = sample_deployment(started="2026-11-22T10:00:00+00:00", verdict="fail")
    found = compare([keep(sample_report(), tmp_path / "a", sample_deployment(), old)])
    deployed = [row for row in found.rows if row.deployed and row.variant.name != "original"]
    assert [row.status for row in deployed] == ["chosen"]
    assert "the newest is shown" in notes(found)


def test_a_sample_is_not_compared_with_the_whole(tmp_path):
    part = sample_deployment(sampled=Sample(answered=2_000, available=2_562, seed=3))
    theirs = sample_deployment(recipe=OTHER["recipe"], run_id=OTHER["run_id"])
    found = compare([keep(sample_report(), tmp_path / "a", part), keep(other(), tmp_path / "b", theirs)])
    row = next(item for item in found.differences if "pi" in item.place and item.variant != "original")
    assert (row.points, row.why[0]) == (None, "they did not answer the same examples")


def test_deployments_that_do_not_belong_or_cannot_be_read_are_left_out_and_said(tmp_path):
    foreign = sample_deployment(run_id="20200101-000000-0000")
    folder = keep(sample_report(), tmp_path / "a", foreign)
    (folder / "deployments" / "torn").mkdir()
    (folder / "deployments" / "torn" / "deployment.json").write_text('{"format": "edgeprune.deploy')
    found = compare([folder])
    assert not any(row.deployed for row in found.rows)
    assert "deployment 0: left out: it is of the run reviews-half, 20200101" in notes(found)
    assert "deployment torn: left out: the deployment is not valid JSON" in notes(found)


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (Filters(variants=("INT8-dyn",)), {"onnxruntime/int8-dynamic"}),
        (Filters(statuses=("rejected", "refused")), {"onnxruntime/int8-static-s8s8", "onnxruntime/bf16"}),
        (Filters(targets=("arm64",), devices=("pi",)), {"original", "onnxruntime/int8-dynamic"}),
        (Filters(devices=("not measured",), variants=("fp32",)), {"onnxruntime/fp32"}),
    ],
)
def test_filters_keep_what_they_name(tmp_path, filters, kept):
    theirs = sample_deployment(recipe=OTHER["recipe"], run_id=OTHER["run_id"])
    whole = compare(
        [keep(sample_report(), tmp_path / "a", sample_deployment()), keep(other(), tmp_path / "b", theirs)]
    )
    found = select(whole, filters)
    assert {row.variant.name for row in found.rows} == kept
    assert {item.variant for item in found.differences} <= kept


def test_filters_that_leave_nothing_say_what_there_is(tmp_path):
    whole = compare([keep(sample_report(), tmp_path / "a")])
    with pytest.raises(UsageError, match="no row is left") as caught:
        select(whole, Filters(targets=("riscv",)))
    assert "targets: x86-server, arm64-board" in caught.value.hint


def test_a_run_without_a_report_is_bad_usage(tmp_path, capsys):
    assert exit_code_of(["compare", str(tmp_path)]) == 2
    assert "there is no report" in capsys.readouterr().err
    folder = keep(sample_report(), tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "report.json").write_text('{"format": "edgeprune.report/9"}')
    assert exit_code_of(["compare", str(folder), str(tmp_path / "b")]) == 2
    assert "edgeprune.report/9" in capsys.readouterr().err
    assert exit_code_of(["compare"]) == 2


def test_the_command_prints_writes_and_filters(tmp_path, capsys):
    folder, page = keep(sample_report(), tmp_path / "a"), tmp_path / "new" / "c.html"
    assert exit_code_of(["compare", str(folder), "--variant", "openvino"]) == 0
    said = capsys.readouterr().out
    assert "openvino/bf16" in said
    assert "onnxruntime" not in said.partition("What you should know")[0]
    assert exit_code_of(["compare", str(folder), "--html", "-o", str(page), "--status", "chosen"]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert "<!DOCTYPE html>" in page.read_text(encoding="utf-8")
    assert exit_code_of(["compare", str(folder), "--json"]) == 0
    assert Comparison.model_validate(json.loads(capsys.readouterr().out)).runs[0].recipe == "reviews-half"


def test_a_page_that_cannot_be_written_is_bad_usage(tmp_path, capsys):
    folder = keep(sample_report(), tmp_path / "a")
    (tmp_path / "file").write_text("")
    words = ["compare", str(folder), "--html", "-o", str(tmp_path / "file" / "c.html"), "--status", "chosen"]
    assert exit_code_of(words) == 2
    assert "the page cannot be written" in capsys.readouterr().err
