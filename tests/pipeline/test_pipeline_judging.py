"""From known answers and known nanoseconds to verdicts, exit codes and notes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pipeline_kit
import pytest
from pipeline_kit import MEASURED

from edgeprune.errors import ExitCode
from edgeprune.pipeline import running
from edgeprune.report.model import Fusions, LatencyRow, Report, TargetRow, Throughput, VariantRow
from edgeprune.runner import cpu

pytestmark = pytest.mark.usefixtures("imitated")

Judge = Callable[..., Report]


@pytest.fixture
def judge(recipe: Path, tmp_path: Path) -> Judge:
    """The report of a run whose `measure` found `pipeline_kit.MEASURED`."""

    def run(*overrides: str) -> Report:
        loaded = running.load(recipe, overrides)
        return running.run(loaded, cache=tmp_path / "cache", runs=tmp_path / "runs").report

    return run


def _pc(report: Report) -> TargetRow:
    (target,) = [target for target in report.targets if target.name == "pc"]
    return target


def _rows(report: Report) -> dict[str, VariantRow]:
    return {row.name: row for row in _pc(report).variants}


def test_the_fastest_accepted_variant_is_chosen_and_the_others_say_why_not(judge: Judge) -> None:
    report = judge()
    rows = _rows(report)
    assert {name: row.status for name, row in rows.items()} == {
        "original": "reference",
        "onnxruntime/fp32": "accepted",
        "onnxruntime/int8-dynamic": "accepted",
        "openvino/fp32": "accepted",
        "openvino/bf16": "refused",
    }
    assert [name for name, row in rows.items() if row.chosen] == ["onnxruntime/int8-dynamic"]
    assert (_pc(report).verdict, _pc(report).chosen) == ("pass", "onnxruntime/int8-dynamic")
    assert rows["onnxruntime/fp32"].reason.startswith(
        "accepted, but 2.00× slower than onnxruntime/int8-dynamic; "
    )
    assert rows["openvino/fp32"].reason.startswith("accepted, but 1.33× slower")
    assert "Model 7" in rows["openvino/bf16"].reason
    assert (report.verdict, report.exit_code) == ("pass", ExitCode.ACCEPTED)


def test_the_numbers_are_those_that_were_measured(judge: Judge) -> None:
    rows = _rows(judge())
    original, int8 = rows["original"], rows["onnxruntime/int8-dynamic"]
    assert original.quality is not None
    assert original.quality.accuracy == 0.9
    assert (original.difference_points, original.agreement) == (None, None)
    assert original.file_bytes == len("xxxx seed 1"), "the model's weights"
    assert int8.difference_points is not None
    assert int8.difference_points.estimate == 0.0
    assert int8.difference_points.low < 0 < int8.difference_points.high, "ten answers differ"
    assert int8.agreement == 0.99
    assert (int8.file_bytes, int8.notes) == (1000, ["made as int8-dynamic"])
    assert (int8.load_seconds, int8.peak_memory_bytes, int8.executed) == (0.5, 10**8, "f32")
    assert int8.fusions == Fusions(operators={"Gelu": 2}, attention_layers=3, attention_fused=1)
    assert original.fusions is None
    same = rows["onnxruntime/fp32"].difference_points
    assert same is not None
    assert same.low < 0 < same.high, "1,000 equal answers do not prove that no answer ever differs"


def test_latency_is_compared_with_the_original_and_with_the_same_runtime_in_fp32(judge: Judge) -> None:
    rows = _rows(judge())

    def at(name: str, length: object) -> LatencyRow:
        (row,) = [row for row in rows[name].latency if row.length == length]
        return row

    for length in ("real", 16):
        original, int8 = at("original", length), at("onnxruntime/int8-dynamic", length)
        assert (original.p50_ms, original.p99_ms, original.calls, original.batch) == (12.0, 12.0, 100, 1)
        assert (original.speedup_original, original.speedup_fp32) == (None, None)
        assert (int8.p50_ms, int8.p90_ms, int8.mean_ms) == (3.0, 3.0, 3.0)
        assert int8.speedup_original is not None
        assert int8.speedup_fp32 is not None
        assert (int8.speedup_original.low, int8.speedup_original.estimate) == (4.0, 4.0)
        assert int8.speedup_fp32.estimate == 2.0
        assert at("openvino/fp32", length).speedup_fp32 is None


def test_throughput_is_over_all_rounds_with_the_slowest_and_the_fastest(judge: Judge) -> None:
    """None for a model that was measured without it, as all were in older artifacts."""
    rows = _rows(judge())
    assert rows["original"].throughput == Throughput(
        texts_per_second=105.0, low=100.0, high=110.0, rounds=2, streams=1
    )
    assert rows["onnxruntime/int8-dynamic"].throughput == Throughput(
        texts_per_second=900 / 3.25, low=100.0, high=400.0, rounds=3, streams=2
    )
    assert rows["onnxruntime/fp32"].throughput is None


def test_a_variant_that_loses_too_much_is_not_chosen_however_fast(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from edgeprune import backends

    machine = replace(pipeline_kit.MACHINE, features=("avx2", "avx512_bf16"))
    monkeypatch.setattr(cpu, "describe", lambda: machine)
    monkeypatch.setattr(backends, "describe", lambda: machine)
    row = _rows(judge())["openvino/bf16"]
    assert row.status == "rejected"
    assert row.difference_points is not None
    assert row.difference_points.estimate == pytest.approx(-10)
    assert "accuracy -10.00 points" in row.reason.replace("−", "-")
    assert "more than the 1 that may be lost" in row.reason


@pytest.mark.parametrize(
    ("overrides", "verdict", "code"),
    [
        (["acceptance.min_speedup=3.9"], "pass", ExitCode.ACCEPTED),
        (["acceptance.min_speedup=4.1"], "fail", ExitCode.REJECTED),
        (["acceptance.min_agreement=0.97"], "pass", ExitCode.ACCEPTED),
        (["acceptance.max_drop=0"], "inconclusive", ExitCode.REJECTED),
        (["acceptance.max_drop=0.1", "acceptance.confidence=0.999"], "inconclusive", ExitCode.REJECTED),
    ],
)
def test_acceptance_decides(judge: Judge, overrides: list[str], verdict: str, code: int) -> None:
    report = judge(*overrides)
    assert (_pc(report).verdict, report.verdict, report.exit_code) == (verdict, verdict, code)
    assert (_pc(report).chosen is None) == (verdict != "pass")


def test_what_is_judged_is_in_the_report(judge: Judge) -> None:
    report = judge("acceptance.min_speedup=1.5", "acceptance.min_agreement=0.9", "acceptance.confidence=0.9")
    assert (report.metric, report.max_drop, report.confidence) == ("accuracy", 1.0, 0.9)
    assert (report.min_speedup, report.min_agreement, report.batch) == (1.5, 0.9, 1)
    difference = _rows(report)["onnxruntime/int8-dynamic"].difference_points
    assert difference is not None
    assert difference.confidence == 0.9


@pytest.mark.parametrize("metric", ["f1", "matthews"])
def test_another_metric_is_judged_with_its_own_interval(judge: Judge, metric: str) -> None:
    row = _rows(judge(f"task.metric={metric}", "acceptance.max_drop=5"))["onnxruntime/int8-dynamic"]
    assert row.status == "accepted"
    assert row.difference_points is not None
    assert "bootstrap" in row.difference_points.method


def test_an_inconclusive_target_is_among_what_you_should_know(judge: Judge) -> None:
    report = judge("acceptance.max_drop=0")
    (note,) = [note for note in report.know if note.where == "target pc" and "left out" not in note.text]
    assert "not enough examples to tell" in note.text


def test_a_target_without_a_device_neither_passes_nor_fails_the_run(judge: Judge) -> None:
    report = judge()
    (board,) = [target for target in report.targets if target.name == "board"]
    assert (board.measured, board.verdict, board.chosen, board.device) == (False, "inconclusive", None, None)
    assert [(row.name, row.status, row.latency) for row in board.variants] == [
        ("onnxruntime/fp32", "not measured", [])
    ]
    assert "no device" in board.reason
    alone = judge("targets=[board.yaml]")
    assert (alone.verdict, alone.exit_code) == ("inconclusive", ExitCode.ACCEPTED)
    assert judge("acceptance.min_speedup=99").exit_code == ExitCode.REJECTED


def test_everything_that_was_substituted_or_left_out_is_noted(judge: Judge) -> None:
    report = judge("model.source=[file://missing, file://model]")
    told = {(note.where, note.level): note.text for note in report.know}
    assert set(told) == {
        ("target pc", "warning"),
        ("target board", "warning"),
        ("asset model", "info"),
        ("prepare", "warning"),
    }
    assert "openvino/bf16 is left out: " in told["target pc", "warning"]
    assert told["asset model", "info"].startswith("served by file://model, after: file://missing: ")
    assert told["prepare", "warning"] == "a row was empty"
    (asset,) = [asset for asset in report.assets if asset.role == "model"]
    assert len(asset.tried) == 1


def test_the_machine_is_in_the_report(judge: Judge) -> None:
    report = judge()
    for row in (report.machine, _pc(report).device):
        assert row is not None
        assert (row.cpu, row.architecture, row.cores) == ("Model 7", "x86_64", 2)
        assert row.features == ["avx2", "avx512_vnni"]
        assert not row.emulated


def test_the_kit_measures_what_its_targets_list() -> None:
    assert next(iter(MEASURED)) == "original"
    assert {"onnxruntime/fp32", "openvino/bf16"} < set(MEASURED)
