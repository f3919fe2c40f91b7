from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_model

from edgeprune.runner.cpu import describe
from edgeprune.runner.session import Session, open_session
from edgeprune.runner.variant import RunnerError, read_variant, write_variant

BACKENDS = ["onnxruntime", "openvino"]
HAS_BF16 = {"avx512_bf16", "amx_bf16"} & set(describe().features)


def _open(folder: Path, backend: str, **changes: object) -> Session:
    pytest.importorskip(backend)
    return open_session(tiny_model.save_artifact(folder, backend, **changes))


@pytest.mark.parametrize("backend", BACKENDS)
def test_answers_are_the_models(tmp_path: Path, backend: str) -> None:
    session = _open(tmp_path, backend)
    for rows, length in [(1, 5), (3, 11), (1, 32), (1, 5)]:  # lengths come and go
        inputs = tiny_model.batch(rows, length)
        logits = session.run(*inputs)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, tiny_model.expected(*inputs), atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_answer_is_not_overwritten_by_the_next(tmp_path: Path, backend: str) -> None:
    session = _open(tmp_path, backend)
    first = session.run(*tiny_model.batch(2, 6))
    before = first.copy()
    session.run(*tiny_model.batch(2, 9))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_the_inputs_that_the_model_has_are_fed(tmp_path: Path, backend: str) -> None:
    session = _open(tmp_path, backend, inputs=["input_ids", "attention_mask"])
    ids, mask, types = tiny_model.batch()
    np.testing.assert_array_equal(session.run(ids, mask, types), session.run(ids, mask, 1 - types))


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_need_not_be_contiguous_or_int64(tmp_path: Path, backend: str) -> None:
    session = _open(tmp_path, backend)
    inputs = tiny_model.batch(2, 8)
    strided = [np.asfortranarray(array.astype(np.int32)) for array in inputs]
    np.testing.assert_allclose(session.run(*strided), tiny_model.expected(*inputs), atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_buckets_change_no_answer(tmp_path: Path, backend: str) -> None:
    plain = _open(tmp_path / "plain", backend)
    bucketed = _open(tmp_path / "bucketed", backend, bucket=8)
    for length in (1, 7, 8, 9, 31):
        inputs = tiny_model.batch(2, length, padded=0)
        np.testing.assert_allclose(bucketed.run(*inputs), plain.run(*inputs), atol=1e-5)


@pytest.mark.parametrize(
    ("length", "bucket", "maximum", "padded"),
    [(9, 8, 32, 16), (8, 8, 32, 8), (9, 1, 32, 9), (29, 8, 30, 30), (33, 8, 32, 33)],
)
def test_padding_stops_at_the_bucket_and_at_the_models_maximum(
    tmp_path: Path, length: int, bucket: int, maximum: int, padded: int
) -> None:
    session = _open(tmp_path, "onnxruntime", bucket=bucket, max_length=maximum, pad_id=5)
    ids, mask, types = session._pad(*tiny_model.batch(1, length, padded=0))
    assert ids.shape == mask.shape == types.shape == (1, padded)
    assert (ids[:, length:] == 5).all()
    assert (mask[:, length:] == 0).all()
    assert (types[:, length:] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_runs_is_read_from_the_runtime(tmp_path: Path, backend: str) -> None:
    executed = _open(tmp_path, backend).executed()
    assert executed.products == {"f32": 2}
    assert executed.summary.startswith(backend)


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bfloat16")
def test_openvino_runs_bf16_when_and_only_when_asked(tmp_path: Path) -> None:
    assert "bf16" not in _open(tmp_path / "fp32", "openvino").executed().summary
    assert "precision hint bf16" in _open(tmp_path / "bf16", "openvino", precision="bf16").executed().summary


def test_sparse_weights_are_refused_where_no_product_uses_them(tmp_path: Path) -> None:
    """The tiny model has neither zeros nor sizes for it, on whatever processor."""
    with pytest.raises(RunnerError, match="OpenVINO does that for no product: it takes an Intel AMX"):
        _open(tmp_path, "openvino", precision="int8-sparse")


def test_threads(tmp_path: Path) -> None:
    folder = tiny_model.save_artifact(tmp_path, "onnxruntime", threads=1)
    assert open_session(folder).threads == 1
    assert open_session(folder, threads=2).threads == 2


def test_shapes_that_differ_are_refused(tmp_path: Path) -> None:
    session = _open(tmp_path, "onnxruntime")
    ids, mask, types = tiny_model.batch()
    with pytest.raises(RunnerError, match=r"\(2, 11\), \(2, 10\)"):
        session.run(ids, mask[:, :-1], types)


def test_a_backend_that_the_runner_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = tiny_model.save_artifact(tmp_path, "abacus")
    with pytest.raises(RunnerError, match="is for 'abacus'; this runner knows onnxruntime, openvino"):
        open_session(folder)


def test_inputs_that_the_runner_does_not_feed_are_refused(tmp_path: Path) -> None:
    folder = tiny_model.save_artifact(tmp_path, "onnxruntime")
    write_variant(folder, replace(read_variant(folder), inputs=["input_ids", "pixels"]))
    with pytest.raises(RunnerError, match=r"needs the inputs \['pixels'\]"):
        open_session(folder)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_broken_model_is_an_error_of_ours(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    folder = tiny_model.save_artifact(tmp_path, backend)
    (folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(RunnerError, match=f"{backend} cannot load"):
        open_session(folder)
