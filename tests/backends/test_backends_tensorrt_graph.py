"""What the TensorRT backend makes of a model, and refuses, before TensorRT sees it. Needs no TensorRT."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorrt_kit as kit
import tiny_model
from onnx import TensorProto, helper

from edgeprune.backends.onnx_half import in_half
from edgeprune.backends.symmetric_qdq import is_quantized, qdq_problems
from edgeprune.backends.tensorrt import Tensorrt
from edgeprune.backends.tensorrt_toolkit import Shapes
from edgeprune.backends.trtexec_script import write_script
from edgeprune.errors import EdgepruneError, UnsupportedError


def test_symmetric_int8_is_taken() -> None:
    for rows in ("none", "dequantize"):
        model = kit.quantized(rows_read_by=rows)
        assert qdq_problems(model) == []
        assert is_quantized(model)


@pytest.mark.parametrize(
    ("changes", "nodes"),
    [
        (
            {"zero": np.int8(3)},
            [
                "node 'act_q' (QuantizeLinear) is asymmetric: its zero point is 3, not 0",
                "node 'act_dq' (DequantizeLinear) is asymmetric: its zero point is 3, not 0",
            ],
        ),
        (
            {"zero": np.uint8(0)},  # TensorRT would read the values as INT8, with no more than a warning
            [
                "node 'act_q' (QuantizeLinear) is asymmetric: its values are UINT8",
                "node 'act_dq' (DequantizeLinear) is asymmetric: its values are UINT8",
            ],
        ),
        ({"zero": None}, ["node 'act_q' (QuantizeLinear) is asymmetric: its values are UINT8"]),
        (
            {"weight_zero": 1},
            ["node 'weight_dq' (DequantizeLinear) is asymmetric: its zero point is 1, not 0"],
        ),
        ({"bias": True}, ["node 'bias_dq' (DequantizeLinear) is a quantized bias: its values are INT32"]),
        (
            {"rows_read_by": "gather"},
            [
                "node 'gather' (Gather) reads the INT8 weights 'table'; "
                "they must go through DequantizeLinear first"
            ],
        ),
        (
            {"zero": np.uint8(0), "name": ""},
            [
                "node '_q' (QuantizeLinear) is asymmetric: its values are UINT8",
                "node '_dq' (DequantizeLinear) is asymmetric: its values are UINT8",
            ],
        ),
    ],
    ids=["zero", "uint8", "no zero", "weights", "bias", "rows", "other name"],
)
def test_what_is_not_symmetric_is_named(changes: dict[str, Any], nodes: list[str]) -> None:
    assert qdq_problems(kit.quantized(**changes)) == nodes


def test_a_node_without_a_name_is_named_by_what_it_gives() -> None:
    model = kit.quantized(zero=np.int8(-5))
    for node in model.graph.node:
        node.name = ""
    assert [problem.split()[1] for problem in qdq_problems(model)] == ["'xq'", "'xd'"]


def test_a_zero_point_that_is_computed_is_named() -> None:
    model = kit.quantized()
    node = helper.make_node("Cast", ["scale"], ["late"], to=TensorProto.INT8, name="late")
    model.graph.node.insert(0, node)
    (quantize,) = (node for node in model.graph.node if node.op_type == "QuantizeLinear")
    quantize.input[2] = "late"
    assert qdq_problems(model) == [
        "node 'act_q' (QuantizeLinear) has a zero point that is computed; it must be the constant 0"
    ]


def test_constants_in_nodes_count_as_weights() -> None:
    model = kit.quantized(zero=np.int8(7))
    (zero,) = (tensor for tensor in model.graph.initializer if tensor.name == "zero")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["zero"], value=zero))
    model.graph.initializer.remove(zero)
    assert len(qdq_problems(model)) == 2


@pytest.mark.parametrize(
    ("variant", "model", "message"),
    [
        (
            "int8",
            kit.quantized(zero=np.uint8(128)),
            r"symmetric INT8 only: node 'act_q' \(Quan.*\(and 1 more\)",
        ),
        ("int8", kit.quantized(bias=True), "symmetric INT8 only: node 'bias_dq'.* quantized bias"),
        ("fp32", kit.quantized(), "already quantized"),
    ],
    ids=["uint8", "bias", "quantized"],
)
def test_compiling_refuses_before_tensorrt_does(
    tmp_path: Path, variant: str, model: Any, message: str
) -> None:
    request = kit.make_request(kit.save(model, tmp_path / "in"), variant, tmp_path / "out")
    with pytest.raises(UnsupportedError, match=message):
        Tensorrt().compile(request)


def test_int8_is_never_claimed_of_a_model_that_is_not_quantized(tmp_path: Path) -> None:
    request = kit.make_request(tiny_model.save_onnx(tmp_path / "in"), "int8", tmp_path / "out")
    with pytest.raises(UnsupportedError, match="not quantized"):
        Tensorrt().compile(request)


def test_a_model_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    folder = tiny_model.save_onnx(tmp_path / "in")
    (folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(EdgepruneError, match="cannot be read"):
        Tensorrt().compile(kit.make_request(folder, "fp32", tmp_path / "out"))


def test_weights_in_files_of_their_own_are_refused(tmp_path: Path) -> None:
    folder = tiny_model.save_onnx(tmp_path / "in")
    (folder / "model.onnx_data").write_bytes(b"weights")
    with pytest.raises(UnsupportedError, match="files of their own"):
        Tensorrt().compile(kit.make_request(folder, "fp32", tmp_path / "out"))


def test_half_answers_nearly_alike_and_is_half_the_size(tmp_path: Path) -> None:
    folder = tiny_model.save_onnx(tmp_path)
    half, notes = in_half(onnx.load(folder / "model.onnx"))
    onnx.checker.check_model(half, full_check=True)
    onnx.save(half, tmp_path / "half.onnx")
    inputs = tiny_model.batch(3, 13)
    logits = kit.answer(tmp_path / "half.onnx", dict(zip(tiny_model.INPUTS, inputs, strict=True)))
    np.testing.assert_allclose(logits, tiny_model.expected(*inputs), atol=5e-3)
    assert logits.dtype == np.float32
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert {kinds[name] for name in tiny_model.weights()} == {TensorProto.FLOAT16}
    sums = [node for node in half.graph.node if node.op_type == "ReduceSum"]
    casts = {out: node for node in half.graph.node if node.op_type == "Cast" for out in node.output}
    assert all(casts[node.input[0]].attribute[0].i == TensorProto.FLOAT for node in sums)
    assert notes[0] == "weights and activations in FP16; LayerNorm, sums over tokens and the logits in FP32"


def test_layer_norm_of_large_states_does_not_overflow_in_half(tmp_path: Path) -> None:
    """States of 3,000: their squares are beyond FP16, they themselves are not."""
    random = np.random.default_rng(0)
    states = (random.normal(size=(kit.ROWS, kit.WIDTH)) * 3_000).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"], name="gather"),
        helper.make_node("LayerNormalization", ["x", "gain"], ["logits"], axis=-1, name="norm"),
    ]
    constants = {"table": states, "gain": np.ones(kit.WIDTH, np.float32)}
    half, _ = in_half(kit.graph(nodes, constants, ["batch", "length", kit.WIDTH]))
    (norm,) = (node for node in half.graph.node if node.op_type == "LayerNormalization")
    casts = {out: node for node in half.graph.node if node.op_type == "Cast" for out in node.output}
    assert casts[norm.input[0]].attribute[0].i == TensorProto.FLOAT
    onnx.save(half, tmp_path / "half.onnx")
    ids = np.arange(kit.ROWS, dtype=np.int64)[None]
    expected = (states - states.mean(-1, keepdims=True)) / states.std(-1, keepdims=True)
    np.testing.assert_allclose(kit.answer(tmp_path / "half.onnx", {"input_ids": ids})[0], expected, atol=5e-3)


def test_a_quantized_model_in_half_keeps_its_int8_and_answers_nearly_alike(tmp_path: Path) -> None:
    model = kit.quantized(rows_read_by="dequantize")
    onnx.save(model, tmp_path / "model.onnx")
    half, notes = in_half(onnx.load(tmp_path / "model.onnx"))
    onnx.checker.check_model(half, full_check=True)
    onnx.save(half, tmp_path / "half.onnx")
    assert qdq_problems(half) == []
    before, after = ({tensor.name: tensor for tensor in each.graph.initializer} for each in (model, half))
    for name in ("rows", "weight"):
        assert after[name] == before[name]
    for name in ("row_scale", "weight_scale", "scale"):
        assert after[name].data_type == TensorProto.FLOAT16
    inputs = {"input_ids": np.arange(kit.ROWS, dtype=np.int64)[None]}
    expected = kit.answer(tmp_path / "model.onnx", inputs)
    found = kit.answer(tmp_path / "half.onnx", inputs)
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())
    assert not any("coarsely" in note for note in notes)


def test_scales_that_half_holds_coarsely_are_counted() -> None:
    _, notes = in_half(kit.quantized(rows_read_by="dequantize", row_scale=1e-6))
    (note,) = (note for note in notes if "coarsely" in note)
    assert note == "20 of 29 scales are below 8e-06: FP16 holds them coarsely"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, "a value that is no finite number"),
        (-np.inf, "a value that is no finite number"),
        (2e5, "a value of 200000"),
    ],
)
def test_a_weight_that_half_cannot_hold_is_named(tmp_path: Path, value: float, said: str) -> None:
    model = onnx.load(tiny_model.save_onnx(tmp_path) / "model.onnx")
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == "dense")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0, 3] = value
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, "dense"))
    with pytest.raises(UnsupportedError, match=f"weight 'dense' has {said}") as caught:
        in_half(model)
    assert "fp32" in caught.value.hint


def test_half_needs_layer_norm_as_one_operator(tmp_path: Path) -> None:
    model = onnx.load(tiny_model.save_onnx(tmp_path) / "model.onnx")
    model.opset_import[0].version = 14
    with pytest.raises(UnsupportedError, match="in opset 14 LayerNorm is spelled out") as caught:
        in_half(model)
    assert caught.value.hint == "set stages.export.opset to 17 or more"


def test_the_script_runs_trtexec_in_its_folder(tmp_path: Path) -> None:
    """With a `trtexec` that says where it is and what it was given."""
    shapes = Shapes((1, 1), (4, 32), (4, 64))
    folder = tmp_path / "artifact folder"
    folder.mkdir()
    write_script(folder / "build.sh", ["input_ids", "attention_mask"], shapes)
    fake = tmp_path / "trtexec"
    fake.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    fake.chmod(0o755)
    done = subprocess.run(
        [folder / "build.sh", "--verbose", "--device=1"],
        env={"TRTEXEC": str(fake), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        str(folder),
        "--onnx=model.onnx",
        "--saveEngine=model.engine",
        "--stronglyTyped",
        "--noTF32",
        "--skipInference",
        "--minShapes=input_ids:1x1,attention_mask:1x1",
        "--optShapes=input_ids:4x32,attention_mask:4x32",
        "--maxShapes=input_ids:4x64,attention_mask:4x64",
        "--verbose",
        "--device=1",
    ]
