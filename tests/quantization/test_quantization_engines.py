"""From a model to INT8 by each engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import quantization_kit as kit
import torch
from onnx import helper, numpy_helper

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.quantization import neural_compressor
from edgeprune.quantization.dialects import violations
from edgeprune.quantization.engines import CalibrationSettings, Source, calibrate, quantize
from edgeprune.quantization.graphs import initializers, operators
from edgeprune.quantization.qdq import Settings, quantize_graph
from edgeprune.quantization.ranges import Range
from edgeprune.quantization.stripping import strip


@pytest.mark.parametrize(
    "settings",
    [
        CalibrationSettings(),
        CalibrationSettings("percentile", 99.9),
        CalibrationSettings("mse", smoothing=0.5),
    ],
    ids=str,
)
def test_onnxruntime_calibrates_once_for_both_dialects(settings: CalibrationSettings) -> None:
    told: list[tuple[int, int]] = []
    found = calibrate(
        "onnxruntime",
        Source(kit.exported(kit.classifier())),
        kit.batches(),
        settings,
        lambda *done: told.append(done),
    )
    assert told == [(number + 1, told[-1][1]) for number in range(len(told))]
    assert told[-1][0] == told[-1][1] == 4 * (2 if settings.smoothing else 1)
    assert any("outliers moved into weights in 6 places" in note for note in found.notes) == bool(
        settings.smoothing
    )
    expected = kit.fp32_logits("bert")
    for dialect in kit.DIALECTS:
        model, record = quantize(found, Settings(dialect))  # type: ignore[arg-type]
        assert violations(model, dialect) == []  # type: ignore[arg-type]
        assert record.notes == found.notes
        assert np.abs(kit.all_logits(model) - expected).max() < 0.2 * np.abs(expected).max()


def test_the_same_examples_give_the_same_bytes() -> None:
    models = []
    for _ in range(2):
        found = calibrate(
            "onnxruntime",
            Source(kit.graph("bert")),
            kit.batches(),
            CalibrationSettings("entropy", smoothing=0.5),
        )
        models.append(quantize(found, Settings("asymmetric"))[0].SerializeToString(deterministic=True))
    assert models[0] == models[1]


def test_one_example_is_noted_in_the_record() -> None:
    found = calibrate("onnxruntime", Source(kit.graph("bert")), kit.batches(1, 1), CalibrationSettings())
    _, record = quantize(found, Settings("symmetric"))
    assert record.notes[0] == "INT8 ranges come from one calibration example"


def test_an_engine_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="no engine 'tflite'"):
        calibrate("tflite", Source(kit.graph("bert")), kit.batches(), CalibrationSettings())  # type: ignore[arg-type]


def test_neural_compressor_needs_the_pytorch_model() -> None:
    with pytest.raises(UnsupportedError, match="needs the PyTorch model"):
        calibrate("neural-compressor", Source(kit.graph("bert")), kit.batches(), CalibrationSettings())


def test_neural_compressor_moves_no_outliers() -> None:
    source = Source(kit.graph("bert"), kit.classifier())
    with pytest.raises(UnsupportedError, match="moves no outliers"):
        calibrate("neural-compressor", source, kit.batches(), CalibrationSettings(smoothing=0.5))


def test_neural_compressor_that_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neural_compressor, "find_spec", lambda name: None if name == "onnxscript" else True)
    with pytest.raises(UnsupportedError, match="needs what is not installed: onnxscript") as caught:
        calibrate(
            "neural-compressor",
            Source(kit.graph("bert"), kit.classifier()),
            kit.batches(),
            CalibrationSettings(),
        )
    assert 'pip install "neural-compressor[pt]" onnxscript' in caught.value.hint


def test_the_command_line_starts_without_it() -> None:
    code = (
        "import sys\nfrom edgeprune.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'neural_compressor', 'torchao', 'onnxscript', 'torch', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_neural_compressor_that_cannot_be_loaded_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "neural_compressor"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('it wants another torch')")
    for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    source = Source(kit.graph("bert"), kit.classifier())
    with pytest.raises(UnsupportedError, match="cannot be loaded: it wants another torch"):
        calibrate("neural-compressor", source, kit.batches(), CalibrationSettings())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_neural_compressor_is_given_no_broken_weights(bad: float) -> None:
    """It would answer with ranges all the same."""
    model = kit.classifier()
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.weight[3, 4] = bad
    with pytest.raises(EdgepruneError, match="1 of 2048 values are NaN or infinite") as caught:
        calibrate("neural-compressor", Source(kit.graph("bert"), model), kit.batches(), CalibrationSettings())
    assert caught.value.where == "weight bert.encoder.layer.1.output.dense.weight"


@pytest.mark.parametrize(
    ("given", "method", "match"), [([], "minmax", "no calibration"), (None, "entropy", "entropy")]
)
def test_neural_compressor_is_asked_for_what_it_has(given: Any, method: Any, match: str) -> None:
    batches = kit.batches() if given is None else given
    with pytest.raises(EdgepruneError, match=match):
        calibrate(
            "neural-compressor",
            Source(kit.graph("bert"), kit.classifier()),
            batches,
            CalibrationSettings(method),
        )


@pytest.mark.recipe  # a minute
@pytest.mark.parametrize(
    ("name", "method"), [("bert", "minmax"), ("bert", "mse"), ("ragged", "minmax"), ("wide", "mse")]
)
def test_neural_compressor_ends_in_both_dialects(name: str, method: Any) -> None:
    source = Source(kit.graph(name), kit.model(name))
    found = calibrate("neural-compressor", source, kit.batches(), CalibrationSettings(method))
    expected = kit.fp32_logits(name)
    np.testing.assert_allclose(kit.all_logits(found.model), expected, atol=1e-5)
    kinds = {operator.name: operator.kind for operator in operators(found.model)}
    assert {kinds[node] for node in found.keep} <= {"product"}
    for dialect in kit.DIALECTS:
        model, record = quantize(found, Settings(dialect))  # type: ignore[arg-type]
        assert violations(model, dialect) == []  # type: ignore[arg-type]
        assert len(record.operators["linear"]) == sum(kind == "linear" for kind in kinds.values())
        assert np.abs(kit.all_logits(model) - expected).max() < 0.25 * np.abs(expected).max()


@pytest.mark.recipe
def test_what_neural_compressor_was_given_too_little_of_is_noted() -> None:
    """One example, and a layer whose output is constant; and where each node comes from is not in the model."""
    model = kit.classifier()
    with torch.no_grad():
        model.bert.encoder.layer[0].output.LayerNorm.weight.zero_()
    models = []
    for _ in range(2):
        source = Source(kit.exported(model), model)
        found = calibrate("neural-compressor", source, kit.batches(1, 1), CalibrationSettings())
        notes = "\n".join(found.notes)
        assert "ranges by neural-compressor (minmax)" in notes
        assert "INT8 ranges come from one calibration example" in notes
        assert "activations never changed during calibration" in notes
        models.append(quantize(found, Settings("symmetric"))[0].SerializeToString(deterministic=True))
    assert models[0] == models[1]
    assert b".py" not in models[0]


def emitted(
    *changes: tuple[str, Any], extra: tuple[Any, ...] = (), extra_scale: bool = False
) -> onnx.ModelProto:
    """A linear layer as neural-compressor's way emits it: the weight [out, in] in FP32, quantized while running.

    With `extra_scale` its scales are stored twice, as exporters do with more than a thousand values.
    """
    random = np.random.default_rng(0)
    parts: dict[str, Any] = {
        "weight": random.normal(size=(3, 4)).astype(np.float32),
        "ws": np.full(3, 0.02, np.float32),
        "wz": np.zeros(3, np.int8),
        "low": np.int8(-128),
        "high": np.int8(127),
        "xs": np.float32(0.05),
        "xz": np.uint8(100),
    } | dict(changes)
    again = "ws"
    if extra_scale:
        again = "ws2"
        parts[again] = parts["ws"]
    nodes = [
        helper.make_node("QuantizeLinear", ["weight", "ws", "wz"], ["q"], "wq", axis=0),
        helper.make_node("Clip", ["q", "low", "high"], ["c"], "clip"),
        helper.make_node("DequantizeLinear", ["c", again, "wz"], ["d"], "wdq", axis=0),
        helper.make_node("Transpose", ["d"], ["t"], "transpose", perm=[1, 0]),
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"], "xq"),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"], "xdq"),
        helper.make_node("MatMul", ["xd", "t"], ["logits"], "product"),
        *extra,
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 4])],
        [helper.make_tensor_value_info("logits", 1, ["n", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in parts.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_an_emitted_layer_is_brought_to_a_dialect() -> None:
    model = emitted()
    assert any("quantized while running" in line for line in violations(model, "asymmetric"))
    plain, ranges = strip(model)
    assert [node.op_type for node in plain.graph.node] == ["MatMul"]
    assert ranges == {"x": Range(-100 * np.float32(0.05), 155 * np.float32(0.05))}
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    weight = numpy_helper.to_array(initializers(model)["weight"])
    np.testing.assert_allclose(kit.all_logits(plain, given=[{"x": x}]), x @ weight.T, rtol=1e-5, atol=1e-6)
    again, _ = strip(emitted(extra_scale=True))
    assert [node.op_type for node in again.graph.node] == ["MatMul"]
    folded, _ = quantize_graph(plain, ranges, Settings("asymmetric"))
    assert violations(folded, "asymmetric") == []
    (zero,) = (t for t in folded.graph.initializer if t.data_type == onnx.TensorProto.UINT8)
    assert numpy_helper.to_array(zero) == 100


@pytest.mark.parametrize("dialect", kit.DIALECTS)
@pytest.mark.parametrize("products", [False, True])
def test_our_own_graphs_come_back_with_their_ranges(dialect: str, products: bool) -> None:
    ranges = kit.ranges("bert", symmetric=dialect == "symmetric")
    settings = Settings(dialect, products=products, embeddings="none")  # type: ignore[arg-type]
    model, _ = quantize_graph(kit.graph("bert"), ranges, settings)
    plain, found = strip(model)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in plain.graph.node}
    again, _ = quantize_graph(plain, found, settings)
    np.testing.assert_allclose(kit.all_logits(again), kit.all_logits(model), atol=2e-2)
    for name, entry in found.items():
        width = ranges[name].high - ranges[name].low
        assert abs(entry.high - ranges[name].high) <= width / 200
        assert abs(entry.low - ranges[name].low) <= width / 100


@pytest.mark.parametrize(
    ("model", "node", "message"),
    [
        (emitted(("xz", np.int16(3))), "xq", "activation x is not quantized to 8 bits"),
        (emitted(("xs", np.ones(4, np.float32)), ("xz", np.zeros(4, np.uint8))), "xq", "one scale"),
        (
            emitted(extra=(helper.make_node("Cast", ["xq"], ["y"], "cast", to=1),)),
            "cast",
            "reads the INT8 tensor",
        ),
        (
            emitted(extra=(helper.make_node("DequantizeLinear", ["xq", "other", "xz"], ["y"], "odd"),)),
            "odd",
            "other scales",
        ),
        (
            emitted(
                ("close", np.float32(0.050001)),
                extra=(helper.make_node("DequantizeLinear", ["xq", "close", "xz"], ["y"], "odd"),),
            ),
            "odd",
            "other scales",
        ),
        (
            emitted(extra=(helper.make_node("DequantizeLinear", ["unknown", "xs", "xz"], ["y"], "odd"),)),
            "odd",
            "not known what",
        ),
    ],
)
def test_what_cannot_be_brought_to_a_dialect_names_the_node(
    model: onnx.ModelProto, node: str, message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        strip(model)
    assert caught.value.where == f"node {node}"
    assert "engine onnxruntime" in caught.value.hint
