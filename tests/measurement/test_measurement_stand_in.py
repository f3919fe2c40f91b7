from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_model

from edgeprune.errors import UnsupportedError
from edgeprune.measurement.stand_in import open_stand_in
from edgeprune.runner.session import open_session
from edgeprune.runner.variant import read_variant, write_variant

sys.path.append(str(Path(__file__).parents[1] / "backends"))
import tensorrt_kit as kit


def test_it_answers_with_the_models_own_onnx(tmp_path: Path) -> None:
    session = open_stand_in(tiny_model.save_artifact(tmp_path, "tensorrt"), 1)
    inputs = tiny_model.batch(2, 9)
    np.testing.assert_allclose(session.run(*inputs), tiny_model.expected(*inputs), atol=1e-5)


def test_it_runs_q_and_dq_as_they_are_written(tmp_path: Path) -> None:
    """onnxruntime's own session would put an integer product in their place, exact on some processors only."""
    folder = tiny_model.save_artifact(tmp_path, "onnxruntime")
    onnx.save(kit.quantized(), folder / "model.onnx")
    write_variant(folder, replace(read_variant(folder), inputs=["input_ids"]))

    def operators(session: object) -> set[str]:
        return {operator.kind for operator in session.executed().operators}  # type: ignore[attr-defined]

    own, stand_in = operators(open_session(folder, 1)), operators(open_stand_in(folder, 1))
    assert "MatMul" in stand_in
    assert "MatMul" not in own
    assert {"QuantizeLinear", "DequantizeLinear"} <= stand_in
    ids = np.array([[1, 2, 3]])
    inputs = (ids, np.ones_like(ids), np.zeros_like(ids))
    expected = kit.answer(folder / "model.onnx", {"input_ids": ids})
    np.testing.assert_allclose(open_stand_in(folder, 1).run(*inputs), expected, rtol=0.02, atol=0.02)


def test_what_has_no_onnx_has_no_stand_in(tmp_path: Path) -> None:
    folder = tiny_model.save_artifact(tmp_path, "tensorrt", files={"model": "model.engine"})
    (folder / "model.onnx").rename(folder / "model.engine")
    with pytest.raises(
        UnsupportedError, match=r"no ONNX file answers for tensorrt: its model is model\.engine"
    ):
        open_stand_in(folder, 1)


def test_an_onnx_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    folder = tiny_model.save_artifact(tmp_path, "tensorrt")
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(UnsupportedError, match=r"cannot load the ONNX of tensorrt/fp32") as caught:
        open_stand_in(folder, 1)
    assert caught.value.where == str(folder)
