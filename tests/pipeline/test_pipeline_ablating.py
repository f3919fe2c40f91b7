"""From known nanoseconds to what each step brought; and runs in which the dense side fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pipeline_kit
import pytest
from pipeline_kit import CUT, ids

from edgeprune import stages
from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.pipeline import running
from edgeprune.pipeline.ablating import _pick
from edgeprune.report.model import AblationRow, LatencyRow, Report, TargetRow, VariantRow
from edgeprune.stages.contract import Outcome, Work

pytestmark = pytest.mark.usefixtures("imitated")

DENSE = [
    f"compile pc/dense/{name}" for name in ("onnxruntime/fp32", "onnxruntime/int8-dynamic", "openvino/fp32")
]


class Runs:
    """Runs of the recipe with a cut, in one cache; `events` are the last one's."""

    def __init__(self, recipe: Path, folder: Path) -> None:
        self.recipe, self.cache, self.runs = recipe, folder / "cache", folder / "runs"
        self.events: list[dict[str, Any]] = []

    def __call__(self, *overrides: str, until: str = "") -> Report | None:
        self.events = []
        loaded = running.load(self.recipe, [CUT, *overrides])
        places = {"cache": self.cache, "runs": self.runs, "listeners": [self.events.append]}
        if until:
            running.run_until(loaded, until, **places)
            return None
        return running.run(loaded, **places).report

    def report(self, *overrides: str) -> Report:
        found = self(*overrides)
        assert found is not None
        return found

    def did(self, kind: str) -> list[str]:
        return ids(self.events, kind)


@pytest.fixture
def run(recipe: Path, tmp_path: Path) -> Runs:
    return Runs(recipe, tmp_path)


def _target(report: Report, name: str = "pc") -> TargetRow:
    return next(target for target in report.targets if target.name == name)


def _steps(target: TargetRow) -> dict[tuple[str, bool, str], AblationRow]:
    assert target.ablation is not None
    return {(row.backend, row.compressed, row.precision): row for row in target.ablation.rows}


def test_each_step_is_compared_with_the_dense_model_in_fp32(run: Runs) -> None:
    target = _target(run.report())
    steps = _steps(target)
    assert list(steps) == [
        ("onnxruntime", False, "fp32"), ("onnxruntime", False, "int8"),
        ("onnxruntime", True, "fp32"), ("onnxruntime", True, "int8"),
        ("openvino", False, "fp32"), ("openvino", True, "fp32"),
    ]  # fmt: skip
    gained = {step: [gain.speedup.estimate for gain in row.gains] for step, row in steps.items()}
    assert gained["onnxruntime", False, "fp32"] == []
    assert gained["onnxruntime", False, "int8"] == [6.0, 6.0], "INT8 alone"
    assert gained["onnxruntime", True, "fp32"] == [2.0, 2.0], "compression alone"
    assert gained["onnxruntime", True, "int8"] == [4.0, 4.0], "both"
    assert [gain.length for gain in steps["onnxruntime", True, "int8"].gains] == ["real", 16]
    assert [gain.faster for gain in steps["openvino", True, "fp32"].gains] == [False, False], "just as fast"
    assert target.ablation is not None
    assert (target.ablation.compressed, target.ablation.missing) == (True, "")


def test_dense_counterparts_are_rows_of_their_own_and_never_chosen(run: Runs) -> None:
    target = _target(run.report())
    assert target.chosen == "onnxruntime/int8-dynamic", "although its dense counterpart is faster"
    assert [row.name for row in target.dense] == [name.removeprefix("compile pc/") for name in DENSE]
    for row in target.dense:
        assert (row.status, row.chosen, row.backend) == ("reference", False, row.name.split("/")[1])
        assert row.quality is not None
        assert [entry.length for entry in row.latency] == ["real", 16]
    assert not {row.name for row in target.dense} & {row.name for row in target.variants}
    int8 = next(row for row in target.dense if row.precision == "int8-dynamic")
    assert int8.latency[0].speedup_fp32 is not None
    assert int8.latency[0].speedup_fp32.estimate == 6.0, "against the dense FP32 model of its backend"


def test_without_compression_the_candidates_are_the_dense_side(run: Runs) -> None:
    target = _target(run.report("stages=[{finetune: {epochs: 1, learning_rate: 1e-4}}, export]"))
    assert target.dense == []
    assert target.ablation is not None
    assert (target.ablation.compressed, target.ablation.missing) == (False, "")
    steps = _steps(target)
    assert [gain.speedup.estimate for gain in steps["onnxruntime", False, "int8"].gains] == [2.0, 2.0]
    assert {row.variant for row in steps.values()} < {row.name for row in target.variants}


def test_left_out_it_says_so(run: Runs) -> None:
    target = _target(run.report("measurement.ablation=false"))
    assert not [name for name in run.did("node_started") if "dense" in name or "original" in name]
    assert target.ablation is not None
    assert target.ablation.missing == "`measurement.ablation` is false"
    assert not any(row.gains for row in target.ablation.rows)


def test_a_target_that_is_not_measured_has_sizes(run: Runs) -> None:
    target = _target(run.report(), "board")
    assert [row.file_bytes for row in target.dense] == [1000]
    assert [(row.compressed, row.gains) for row in _steps(target).values()] == [(False, []), (True, [])]


def test_stand_ins_answer_and_nothing_is_accepted_or_timed(run: Runs) -> None:
    report = run.report("targets=[gpu.yaml]")
    target = _target(report, "gpu")
    assert (target.measured, target.verdict, target.chosen, target.device) == (
        False, "inconclusive", None, None,
    )  # fmt: skip
    assert report.exit_code == 0
    rows = {row.name: row for row in target.variants}
    assert list(rows) == ["original", "tensorrt/fp32", "tensorrt/fp16"]
    for name in ("tensorrt/fp32", "tensorrt/fp16"):
        row = rows[name]
        assert (row.status, row.latency, row.load_seconds) == ("not measured", [], None)
        assert row.stand_in == "the same ONNX on onnxruntime's CPU provider"
        assert row.agreement is not None
        assert row.stand_in in row.reason
    assert "more than the 1 that may be lost" in rows["tensorrt/fp16"].reason, "ten points worse"
    assert rows["tensorrt/fp16"].difference_points is not None
    assert rows["tensorrt/fp16"].difference_points.estimate == pytest.approx(-10)
    assert rows["original"].quality is not None
    assert (rows["original"].latency, rows["original"].load_seconds) == ([], None)
    (note,) = [note for note in report.know if note.where == "target gpu"]
    assert note.text == "accuracy of the ONNX on onnxruntime CPU; latency not measured here: no NVIDIA GPU"
    assert [row.quality is not None for row in target.dense] == [True, True]


def _replaced(monkeypatch: pytest.MonkeyPatch, attribute: str, apply: Callable[[Work], Outcome]) -> None:
    monkeypatch.setattr(pipeline_kit, attribute, replace(getattr(pipeline_kit, attribute), apply=apply))
    stages.get.cache_clear()


def _is_dense(work: Work) -> bool:
    return "half" not in (work.inputs["onnx"] / "model.onnx").read_text()


@pytest.fixture
def no_dense_int8(imitated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dense model cannot be compiled as INT8."""

    def compile_(work: Work) -> Outcome:
        if work.config.variant == "int8-dynamic" and _is_dense(work):
            raise UnsupportedError("no such operator", hint="take another")
        return pipeline_kit.compile_(work)

    _replaced(monkeypatch, "COMPILE", compile_)


@pytest.mark.usefixtures("no_dense_int8")
def test_a_counterpart_that_cannot_be_compiled_is_a_note(run: Runs) -> None:
    report = run.report()
    assert (report.verdict, report.exit_code) == ("pass", 0)
    (note,) = [note for note in report.know if note.where == DENSE[1]]
    assert note.text == "left out, as nothing that ships needs it: no such operator"
    assert [event["where"] for event in run.events if event["kind"] == "note"] == [DENSE[1]]
    target = _target(report)
    assert [row.name for row in target.dense] == ["dense/onnxruntime/fp32", "dense/openvino/fp32"]
    steps = _steps(target)
    assert ("onnxruntime", False, "int8") not in steps
    assert [gain.speedup.estimate for gain in steps["onnxruntime", True, "int8"].gains] == [4.0, 4.0]
    assert DENSE[1] not in [row.id for row in report.stages]


@pytest.mark.usefixtures("no_dense_int8")
def test_it_is_tried_again_and_what_was_measured_without_it_is_found(
    run: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.report()
    run.report()
    assert run.did("node_started") == [DENSE[1]]
    assert "measure pc" in run.did("node_cached")
    assert list((run.cache / "tmp").glob("compile-*")) != [], "an attempt's output, swept by the next one"
    with monkeypatch.context() as mended:
        _replaced(mended, "COMPILE", pipeline_kit.compile_)
        report = run.report()
    assert run.did("node_started") == [DENSE[1], "measure pc"]
    assert len(_target(report).dense) == 3


def test_without_the_exported_original_there_is_one_note(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(work: Work) -> Outcome:
        if "half" not in (work.inputs["model"] / "model.safetensors").read_text():
            raise ValueError("a bug")
        return pipeline_kit.export(work)

    _replaced(monkeypatch, "EXPORT", export)
    report = run.report()
    notes = [note for note in report.know if "left out, as" in note.text]
    assert [note.where for note in notes] == ["export original"]
    assert notes[0].text.endswith("ValueError: a bug")
    target = _target(report)
    assert (target.verdict, target.dense) == ("pass", [])
    assert target.ablation is not None
    assert target.ablation.missing == "the original could not be compiled without compression"


@pytest.mark.usefixtures("no_dense_int8")
def test_who_stops_at_a_counterpart_wants_it(run: Runs) -> None:
    with pytest.raises(EdgepruneError, match="no such operator") as caught:
        run(until=DENSE[1])
    assert caught.value.where == DENSE[1]
    assert run.events[-1]["kind"] == "run_failed"
    run(until="compile pc/openvino/fp32")
    assert not [name for name in run.did("node_started") if "dense" in name]
    run(until="measure pc")
    assert run.did("node_finished")[-1] == "measure pc"


def test_an_interrupt_of_the_dense_side_ends_the_run(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_(work: Work) -> Outcome:
        if _is_dense(work):
            raise KeyboardInterrupt
        return pipeline_kit.compile_(work)

    with monkeypatch.context() as patch:
        _replaced(patch, "COMPILE", compile_)
        with pytest.raises(KeyboardInterrupt):
            run()
    stages.get.cache_clear()
    report = run.report()
    assert "compile pc/onnxruntime/fp32" in run.did("node_cached")
    assert len(_target(report).dense) == 3
    run.report()
    assert run.did("node_started") == []


def _int8(
    name: str, milliseconds: float | None, *, size: int = 1, accuracy: float | None = None
) -> VariantRow:
    from edgeprune.report.model import Interval

    latency = []
    if milliseconds is not None:
        times = dict.fromkeys(("p50_ms", "p90_ms", "p99_ms", "mean_ms"), milliseconds)
        latency = [LatencyRow(length=64, batch=1, calls=20, **times)]
    points = None
    if accuracy is not None:
        points = Interval(estimate=accuracy, low=-9, high=9, confidence=0.95, method="made up")
    return VariantRow(
        name=name, backend="x", precision="int8", status="not measured", reason="",
        latency=latency, file_bytes=size, difference_points=points,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "accepted", "picked", "why"),
    [
        ([_int8("a", 1.0)], [], "a", ""),
        ([_int8("a", 1.0), _int8("b", 2.0)], ["a", "b"], "a", "the fastest that meets the acceptance, of 2"),
        ([_int8("a", 1.0), _int8("b", 2.0)], ["b"], "b", "the fastest that meets the acceptance, of 2"),
        ([_int8("a", 1.0), _int8("b", 2.0)], [], "a", "none meets the acceptance"),
        (
            [_int8("a", None, accuracy=-1.0), _int8("b", None, accuracy=0.1)],
            [],
            "b",
            "the most accurate of 2 INT8 variants; none is timed",
        ),
        ([_int8("a", None, size=9), _int8("b", None, size=2)], [], "b", "the smallest of 2"),
    ],
)
def test_one_int8_variant_stands_for_all(
    rows: list[VariantRow], accepted: list[str], picked: str, why: str
) -> None:
    row, words = _pick(rows, accepted)
    assert row.name == picked
    assert why in words
    assert bool(words) == (len(rows) > 1)
