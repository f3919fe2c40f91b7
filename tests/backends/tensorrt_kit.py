"""Graphs for the tests of the TensorRT backend: small classifiers, quantized in every way."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.backends.contract import Request
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import Cpu

ROWS, WIDTH = 20, 8
ZERO = np.int8(0)

needs_wheels = pytest.mark.skipif(
    find_spec("tensorrt_rtx_bindings") is None, reason='needs pip install "edgeprune[tensorrt]"'
)


def make_target(*capabilities: float, architecture: str = "x86_64", kind: str = "none") -> Target:
    return Target.model_validate(
        {
            "name": "gpu-box",
            "description": "For tests.",
            "architecture": architecture,
            "device": {"kind": kind},
            "compute_capabilities": list(capabilities) or None,
            "backends": [{"backend": "tensorrt", "variants": ["fp32"]}],
            "speeds_up": [],
        }
    )


def make_request(exported: Path, variant: str, output: Path, target: Target | None = None) -> Request:
    output.mkdir(parents=True, exist_ok=True)
    cpu = Cpu("Some CPU", "x86_64", 2, 2, None, ())
    return Request(exported, variant, target or make_target(8.6), 32, output, cpu)


def graph(nodes: list[Any], constants: dict[str, np.ndarray], last: list[Any]) -> Any:
    """A model from `input_ids` [batch, length] to `logits`."""
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, last)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def quantized(
    *,
    zero: Any = ZERO,
    weight_zero: int = 0,
    bias: bool = False,
    rows_read_by: str = "none",
    rows: int = ROWS,
    row_scale: float = 0.02,
    name: str = "act",
) -> Any:
    """An embedding and a linear layer with explicit Q/DQ; by default what TensorRT takes.

    Args:
        zero: Zero point of the activation; None: none, which for ONNX means UINT8.
        weight_zero: That of the weights, for all channels.
        bias: Whether the layer has a bias in INT32.
        rows_read_by: ``none``: the table is FP32; ``dequantize``: INT8, dequantized as a whole with a scale
            per row; ``gather``: INT8 rows are taken out first.
        rows: Rows of the table.
        row_scale: Scale of each of them, where it is INT8.
        name: Of the activation's two nodes.
    """
    random = np.random.default_rng(0)

    def int8(*shape: int) -> np.ndarray:
        return random.integers(-127, 128, shape).astype(np.int8)

    constants: dict[str, np.ndarray] = {
        "weight": int8(WIDTH, WIDTH),
        "weight_scale": np.full(WIDTH, 0.01, np.float32),
        "weight_zero": np.full(WIDTH, weight_zero, np.int8),
        "scale": np.float32(0.05),
    }
    nodes = _table(rows_read_by, constants, int8(rows, WIDTH), np.float32(row_scale))
    points = ["scale"]
    if zero is not None:
        constants["zero"] = zero
        points.append("zero")
    nodes += [
        helper.make_node("QuantizeLinear", ["x", *points], ["xq"], name=f"{name}_q"),
        helper.make_node("DequantizeLinear", ["xq", *points], ["xd"], name=f"{name}_dq"),
        helper.make_node(
            "DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["wd"], axis=1, name="weight_dq"
        ),
        helper.make_node("MatMul", ["xd", "wd"], ["product"], name="linear"),
    ]
    if bias:
        constants |= {
            "bias": np.arange(WIDTH, dtype=np.int32),
            "bias_scale": np.full(WIDTH, 1e-3, np.float32),
        }
        constants["bias_zero"] = np.zeros(WIDTH, np.int32)
        points = ["bias", "bias_scale", "bias_zero"]
        nodes.append(helper.make_node("DequantizeLinear", points, ["bd"], axis=0, name="bias_dq"))
    else:
        constants["bd"] = np.zeros(WIDTH, np.float32)
    nodes.append(helper.make_node("Add", ["product", "bd"], ["logits"], name="add"))
    return graph(nodes, constants, ["batch", "length", WIDTH])


def _table(
    rows_read_by: str, constants: dict[str, np.ndarray], levels: np.ndarray, scale: np.float32
) -> list[Any]:
    gather = helper.make_node("Gather", ["table", "input_ids"], ["x"], name="gather")
    points = ["rows", "row_scale", "row_zero"]
    if rows_read_by == "none":
        constants["table"] = levels.astype(np.float32) / 100
        return [gather]
    if rows_read_by == "dequantize":
        constants |= {"rows": levels, "row_scale": np.full(len(levels), scale)}
        constants["row_zero"] = np.zeros(len(levels), np.int8)
        return [helper.make_node("DequantizeLinear", points, ["table"], axis=0, name="table_dq"), gather]
    constants |= {"table": levels, "row_scale": scale, "row_zero": ZERO}
    gather.output[0] = points[0] = "row"
    return [gather, helper.make_node("DequantizeLinear", points, ["x"], name="row_dq")]


def save(model: Any, folder: Path) -> Path:
    """As an exported-model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "config.json").write_text('{"id2label": {"0": "a", "1": "b"}}', encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    return folder


def answer(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Logits of an ONNX file on onnxruntime's CPU provider."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    (logits,) = session.run(["logits"], {name: inputs[name] for name in names})
    found: np.ndarray = logits
    return found
