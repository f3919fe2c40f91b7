"""Which variant is bundled: the one asked for, the chosen one, or the likeliest."""

from __future__ import annotations

from typing import Any

import pytest

from edgeprune.errors import AcceptanceError, UnsupportedError, UsageError
from edgeprune.pipeline.picking import pick
from edgeprune.report.model import Interval, Report, TargetRow, VariantRow


def _points(estimate: float) -> Interval:
    return Interval(estimate=estimate, low=estimate - 0.5, high=estimate + 0.5, confidence=0.95, method="m")


def row(name: str, status: str = "not measured", drop: float | None = None, **rest: Any) -> VariantRow:
    backend, _, precision = name.partition("/")
    difference = None if drop is None else _points(-drop)
    return VariantRow(
        name=name, backend=backend, precision=precision, status=status, reason=f"{name} {status}",
        difference_points=difference, **rest,
    )  # fmt: skip


def target(
    *rows: VariantRow, name: str = "board", measured: bool = False, chosen: str | None = None
) -> TargetRow:
    return TargetRow(
        name=name, description="d", architecture="aarch64", verdict="inconclusive", reason="no device",
        measured=measured, chosen=chosen, variants=list(rows),
    )  # fmt: skip


def report(*targets: TargetRow) -> Report:
    return Report.model_construct(recipe="tiny", max_drop=1.0, targets=list(targets))


FP32, DYNAMIC, STATIC = (row(f"onnxruntime/{name}") for name in ("fp32", "int8-dynamic", "int8-static-s8s8"))


def test_the_chosen_one() -> None:
    made = target(
        row("original", "reference"),
        FP32,
        row("openvino/int8", "accepted"),
        measured=True,
        chosen="openvino/int8",
    )
    found = pick(report(made), made)
    assert (found.row.name, found.warning) == ("openvino/int8", "")
    assert found.reason.startswith("chosen by the run: ")


def test_nothing_accepted_is_not_shipped_unless_it_is_named() -> None:
    made = target(row("onnxruntime/fp32", "rejected"), measured=True)
    with pytest.raises(AcceptanceError, match="no variant of target board is accepted") as caught:
        pick(report(made), made)
    assert caught.value.exit_code == 3
    assert "--variant" in caught.value.hint
    found = pick(report(made), made, "onnxruntime/fp32")
    assert found.warning == "onnxruntime/fp32 is rejected on board: onnxruntime/fp32 rejected"


def test_the_likeliest_where_nothing_was_measured() -> None:
    made = target(FP32, STATIC, DYNAMIC, row("onnxruntime/fp16", "refused"))
    found = pick(report(made), made)
    assert found.row is DYNAMIC
    assert found.reason == "not timed on this target; expected to be the fastest of 3 variants"
    assert found.warning == "board was not measured: no device"


def test_a_variant_that_lost_too_much_elsewhere_is_left_aside() -> None:
    pc = target(row("onnxruntime/int8-dynamic", "rejected", drop=2.5), name="pc", measured=True)
    made = target(FP32, row("onnxruntime/int8-dynamic-ort"), DYNAMIC, STATIC)
    found = pick(report(pc, made), made)
    assert found.row is STATIC
    assert found.reason.endswith(
        "left aside: onnxruntime/int8-dynamic, which lost 2.50 points on pc; "
        "onnxruntime/int8-dynamic-ort, which lost 2.50 points on pc"
    )


def test_a_drop_that_may_be_small_enough_leaves_nothing_aside() -> None:
    pc = target(row("onnxruntime/int8-dynamic", "inconclusive", drop=1.2), name="pc", measured=True)
    made = target(FP32, DYNAMIC)
    assert pick(report(pc, made), made).row is DYNAMIC


def test_a_stand_in_that_lost_counts() -> None:
    made = target(
        row("tensorrt/int8-fp16", drop=9.0, stand_in="ONNX"), row("tensorrt/fp16", drop=0.0, stand_in="ONNX")
    )
    assert pick(report(made), made).row.name == "tensorrt/fp16"
    lost = target(row("tensorrt/int8-fp16", drop=9.0, stand_in="ONNX"))
    with pytest.raises(AcceptanceError, match="lost more than 1 points"):
        pick(report(lost), lost)


def test_the_runner_comes_before_apps() -> None:
    made = target(row("onnxruntime/int8-dynamic-ort"), DYNAMIC, FP32)
    assert pick(report(made), made).row is DYNAMIC
    apps = target(row("onnxruntime/fp32-ort"), row("onnxruntime/int8-dynamic-ort"))
    assert pick(report(apps), apps).row.name == "onnxruntime/int8-dynamic-ort"


def test_a_precision_names_a_variant_where_one_backend_has_it() -> None:
    made = target(FP32, row("openvino/fp32"), STATIC)
    assert pick(report(made), made, "int8-static-s8s8").row is STATIC
    with pytest.raises(UsageError, match=r"'fp32' of target board is one of onnxruntime/fp32, openvino/fp32"):
        pick(report(made), made, "fp32")


def test_what_is_not_there_or_was_not_compiled() -> None:
    made = target(row("original", "reference"), FP32, row("onnxruntime/fp16", "refused"))
    with pytest.raises(UsageError, match="is not there") as caught:
        pick(report(made), made, "original")
    assert caught.value.hint == "it has: onnxruntime/fp32"
    with pytest.raises(UnsupportedError, match="was not compiled: onnxruntime/fp16 refused"):
        pick(report(made), made, "fp16")
