from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_model
from test_backends_table import make_target

from edgeprune import backends
from edgeprune.backends.onnx_mobile import OPERATORS
from edgeprune.errors import UnsupportedError
from edgeprune.runner.cpu import describe
from edgeprune.runner.session import open_session

LOCAL = make_target("local", describe().architecture)


@pytest.mark.parametrize("variant", ["fp32", "int8-dynamic"])
def test_a_mobile_variant_answers_to_the_bit_as_the_plain_one(tmp_path: Path, variant: str) -> None:
    exported = tiny_model.save_onnx(tmp_path / "exported")
    for name in (variant, f"{variant}-ort"):
        compiled = backends.compile_variant(
            "onnxruntime", exported, name, LOCAL, tmp_path / name, max_length=32
        )
    assert compiled.variant.files == {"model": "model.ort"}
    assert compiled.file_bytes == (compiled.folder / "model.ort").stat().st_size
    assert f"model.ort: {compiled.file_bytes / 1e6:.1f} MB" in "; ".join(compiled.notes)
    plain, mobile = open_session(tmp_path / variant), open_session(compiled.folder)
    assert mobile.model_path.name == "model.ort"
    assert mobile.executed().products == plain.executed().products
    for rows, length in ((1, 4), (3, 13)):
        inputs = tiny_model.batch(rows, length)
        np.testing.assert_array_equal(mobile.run(*inputs), plain.run(*inputs))
    alike = backends.compile_variant(
        "onnxruntime", exported, variant, LOCAL, tmp_path / "again", max_length=32
    )
    assert compiled.fusions == alike.fusions  # what quantizing brought in is no fusion, in either format


def test_the_operators_of_a_minimal_build_are_those_of_the_model(tmp_path: Path) -> None:
    exported = tiny_model.save_onnx(tmp_path / "exported")
    target = make_target("none", "aarch64")
    backends.compile_variant(
        "onnxruntime", exported, "int8-dynamic-ort", target, tmp_path / "out", max_length=32
    )
    text = (tmp_path / "out" / OPERATORS).read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert f"--include_ops_by_config {OPERATORS}" in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert {line.split(";")[0] for line in lines} >= {"ai.onnx", "com.microsoft"}
    listed = set(re.findall(r"[;,}](?=[A-Z])(\w+)", text))
    stored = {node.op_type for node in onnx.load(tmp_path / "out" / "model.onnx").graph.node}
    assert listed >= stored - {"MatMulInteger", "DynamicQuantizeLinear", "Constant", "Cast", "Mul"}
    assert "int64_t" in text  # types, so that a build can leave out the others


def test_weights_in_files_of_their_own_are_refused(tmp_path: Path) -> None:
    exported = tiny_model.save_onnx(tmp_path / "exported")
    model = onnx.load(exported / "model.onnx")
    onnx.save(
        model,
        exported / "model.onnx",
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=0,
    )
    with pytest.raises(UnsupportedError, match="at most 2 GB"):
        backends.compile_variant("onnxruntime", exported, "fp32-ort", LOCAL, tmp_path / "out", max_length=32)


def test_fp16_for_arm_is_half_as_large_and_answers_alike(tmp_path: Path) -> None:
    """Here the runtime computes it in FP32, from the same weights."""
    exported = tiny_model.save_onnx(tmp_path / "exported")
    target = make_target("none", "aarch64")
    for variant in ("fp32", "fp16"):
        compiled = backends.compile_variant(
            "onnxruntime", exported, variant, target, tmp_path / variant, max_length=32
        )
    sizes = [(tmp_path / variant / "model.onnx").stat().st_size for variant in ("fp32", "fp16")]
    assert 1.5 < sizes[0] / sizes[1] < 2
    assert any("depends on the device's onnxruntime" in note for note in compiled.notes)
    inputs = tiny_model.batch(3, 13)
    logits = open_session(compiled.folder).run(*inputs)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, tiny_model.expected(*inputs), atol=0.01)
