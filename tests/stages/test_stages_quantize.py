"""`quantize` on models that calibration says little about, or nothing that could be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stages_kit as kit

from edgeprune import stages
from edgeprune.errors import EdgepruneError, Problem, RecipeError, UnsupportedError
from edgeprune.quantization import neural_compressor
from edgeprune.recipe.schema import Target
from edgeprune.stages.contract import Outcome

BODY: dict[str, Any] = {"dialects": ["symmetric", "asymmetric"], "weight_bits": 8}
QUANTIZE = stages.get("quantize")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return kit.write_world(tmp_path_factory.mktemp("world"))


def _quantized(world: dict[str, Path], folder: Path, change: Any, **body: Any) -> Outcome:
    """The stage on the world's original, changed and exported."""
    import torch

    from edgeprune.stages.export import copy_companions, write_onnx
    from edgeprune.structure.loading import load

    model = load(world["original"])
    with torch.no_grad():
        change(model.bert.encoder.layer[0])
    write_onnx(model, folder / "onnx")
    copy_companions(world["original"], folder / "onnx")
    inputs = {"data": world["data"], "onnx": folder / "onnx"}
    return QUANTIZE.apply(kit.work(QUANTIZE, world, folder, BODY | body, inputs=inputs))


@pytest.mark.parametrize(
    ("method", "shift"),
    [("minmax", 0.3), ("percentile", 0.3), ("entropy", 0.3), ("mse", 0.3), ("minmax", 0.0), ("entropy", 0.0)],
)
def test_constant_activations_are_noted_and_change_no_answer(
    world: dict[str, Path], tmp_path: Path, method: str, shift: float
) -> None:
    """A LayerNorm that gives its shift alone: whatever the layer after it reads is the same for all texts."""

    def change(layer: Any) -> None:
        layer.output.LayerNorm.weight.zero_()
        layer.output.LayerNorm.bias.fill_(shift)

    found = _quantized(world, tmp_path, change, method=method, smoothing=0.0)
    assert any("activations never changed during calibration" in note for note in found.notes), found.notes
    for record in found.record["dialects"].values():
        assert record["agreement"]["written"] == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_weights_are_an_error_that_names_what_they_break(
    world: dict[str, Path], tmp_path: Path, bad: float
) -> None:
    def change(layer: Any) -> None:
        layer.intermediate.dense.weight[2, 1] = bad

    with pytest.raises(EdgepruneError, match="values are NaN or infinite") as caught:
        _quantized(world, tmp_path, change)
    assert "layer.0" in caught.value.where
    assert "weights" in caught.value.hint


def test_one_calibration_example_is_noted(world: dict[str, Path], tmp_path: Path) -> None:
    found = _quantized(world, tmp_path, lambda layer: None, calibration={"examples": 1})
    assert "INT8 ranges come from one calibration example" in found.notes
    assert found.record["examples"]["calibration"] == 1


def test_seven_bits_are_noted(world: dict[str, Path], tmp_path: Path) -> None:
    found = _quantized(world, tmp_path, lambda layer: None, weight_bits=7)
    assert sum("7 of 8 bits" in note for note in found.notes) == 1


def _target(backend: str, variant: str) -> Target:
    return Target.model_validate(
        {
            "name": "board",
            "description": "For tests.",
            "architecture": "x86_64",
            "device": {"kind": "none"},
            "backends": [{"backend": backend, "variants": [variant]}],
            "speeds_up": [],
        }
    )


def test_a_dialect_that_a_variant_is_compiled_from_cannot_be_left_out() -> None:
    config = QUANTIZE.config.model_validate({"dialects": ["asymmetric"]})
    with pytest.raises(RecipeError) as caught:
        QUANTIZE.fit(config, [_target("tensorrt", "int8"), _target("openvino", "int8")])
    assert caught.value.problems == (
        Problem(
            ("dialects",),
            "tensorrt/int8 of target board is compiled from the dialect symmetric",
            "add it, or leave `dialects` out: those that the targets need are made",
        ),
    )
    more = QUANTIZE.config.model_validate({"dialects": ["asymmetric", "symmetric"]})
    assert QUANTIZE.fit(more, [_target("tensorrt", "int8")]).dialects == ["asymmetric", "symmetric"]


def test_an_engine_that_is_not_installed_is_said_when_the_plan_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neural_compressor, "find_spec", lambda name: None if name == "torchao" else True)
    config = QUANTIZE.config.model_validate({"engine": "neural-compressor"})
    with pytest.raises(UnsupportedError, match="needs what is not installed: torchao") as caught:
        QUANTIZE.fit(config, [_target("openvino", "int8")])
    assert caught.value.where == "stages.quantize.engine"


# What the user decides


def _unchanged(layer: Any) -> None:
    """The original as it is."""


def test_what_is_named_stays_in_fp32(world: dict[str, Path], tmp_path: Path) -> None:
    search = {"min_agreement": 0.0}  # sends nothing else back
    whole = _quantized(world, tmp_path / "all", _unchanged, search=search)
    names = ["*layer.0/attention/self", "*nothing*"]
    kept = _quantized(world, tmp_path / "kept", _unchanged, search=search, keep=names)
    for dialect, record in kept.record["dialects"].items():
        all_linear = whole.record["dialects"][dialect]["int8_operators"]["linear"]
        assert record["int8_operators"]["linear"] == all_linear - 3, "Q, K and V of one layer"
        assert record["fp32_operators"] == whole.record["dialects"][dialect]["fp32_operators"] + 3
    assert "`keep` has '*nothing*', which names no operator of this model" in kept.notes
    assert not any("*layer.0" in note for note in kept.notes)


def test_a_target_says_what_it_needs_in_fp32() -> None:
    target = {
        "name": "board", "description": "A board.", "architecture": "aarch64", "device": {"kind": "none"},
        "backends": [{"backend": "onnxruntime", "variants": ["int8-static-s8s8"]}], "speeds_up": [],
        "full_precision": ["*classifier*", "*pooler*"],
    }  # fmt: skip
    config = QUANTIZE.config.model_validate({"keep": ["*layer.0*", "*pooler*"]})
    found = QUANTIZE.fit(config, [Target.model_validate(target)])
    assert found.keep == ["*layer.0*", "*pooler*", "*classifier*"]


def test_a_scale_for_a_whole_matrix(world: dict[str, Path], tmp_path: Path) -> None:
    sizes = {}
    for per_channel in (True, False):
        folder = tmp_path / str(per_channel)
        found = _quantized(world, folder, _unchanged, per_channel=per_channel)
        sizes[per_channel] = found.record["dialects"]["symmetric"]["matrix_bytes"]["int8"]
    assert sizes[False] < sizes[True]
    (problem,) = QUANTIZE.check(QUANTIZE.config.model_validate({"mode": "qat", "per_channel": False}))
    assert problem.key == ("per_channel",)
