"""The TensorRT backend: what is refused without TensorRT, and real engines where it is installed.

The wheels of TensorRT for RTX build without a GPU, so wherever `pip install "edgeprune[tensorrt]"` was run
these tests run. The tier `-m gpu` builds with full TensorRT, and fails where there is none.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import pytest
import tensorrt_kit as kit
import tiny_model
from onnx import helper
from pydantic import ValidationError
from test_backends_table import make_cpu

from edgeprune import backends
from edgeprune.backends.contract import Compiler
from edgeprune.backends.nvidia_gpu import compute_capability
from edgeprune.backends.tensorrt import Tensorrt
from edgeprune.backends.tensorrt_toolkit import Shapes, open_toolkits, parse
from edgeprune.errors import UnsupportedError
from edgeprune.pipeline import running
from edgeprune.recipe.schema import Target
from edgeprune.runner.session import open_session
from edgeprune.runner.variant import RunnerError

NO_GPU = compute_capability() is None
# Loading the wheels prints nothing, but it takes a while on a busy machine.
SHAPES = Shapes((1, 1), (1, 16), (1, 32))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.save_onnx(tmp_path_factory.mktemp("exported"))


def _compile(exported: Path, variant: str, output: Path, target: Target) -> backends.CompiledVariant:
    return backends.compile_variant(
        "tensorrt", exported, variant, target, output, max_length=32, batch=2, cpu=make_cpu()
    )


def _built(exported: Path, variant: str, output: Path, target: Target | None = None) -> Compiler:
    return Tensorrt().compile(kit.make_request(exported, variant, output, target))


def test_without_the_wheels_it_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(backends.BACKENDS["tensorrt"], package="no_such_module", instead=("nor_this",))
    monkeypatch.setattr(backends, "BACKENDS", MappingProxyType({"tensorrt": missing}))
    assert backends.check("tensorrt", "fp16", kit.make_target()) == (
        "backend 'tensorrt' is not installed (pip install \"edgeprune[tensorrt]\")"
    )


@pytest.mark.skipif(not NO_GPU, reason="is about machines without an NVIDIA GPU")
def test_full_tensorrt_alone_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.backends.tensorrt.find_spec", lambda name: None)
    refused = Tensorrt().refusal("fp32", kit.make_target(), make_cpu())
    assert str(refused).startswith("full TensorRT builds only where there is an NVIDIA GPU")
    monkeypatch.setattr("edgeprune.backends.tensorrt_toolkit.find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="here is none"):
        open_toolkits()


def test_bindings_without_their_library_are_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tensorrt_rtx_bindings"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('libtensorrt_rtx.so.1: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt_rtx_bindings", raising=False)
    with pytest.raises(UnsupportedError, match=r"cannot be loaded: libtensorrt_rtx\.so\.1") as caught:
        open_toolkits()
    assert "edgeprune[tensorrt]" in caught.value.hint


def test_int8_is_made_from_a_symmetric_model_and_a_device_waits_for_a_session() -> None:
    assert [backends.dialect("tensorrt", name) for name in ("fp32", "int8", "int8-fp16")] == [
        None, "symmetric", "symmetric",
    ]  # fmt: skip
    refusal = Tensorrt().refusal("fp32", kit.make_target(kind="local"), make_cpu())
    assert "no TensorRT session" in str(refusal)


def test_a_capability_that_no_gpu_has_is_an_error_in_the_target() -> None:
    with pytest.raises(ValidationError, match=r"no NVIDIA GPU has compute capability 8\.8; there are 7\.5"):
        kit.make_target(8.8)
    with pytest.raises(ValidationError, match="lists one twice"):
        kit.make_target(8.6, 8.6)
    assert kit.make_target(12.0, 8.6).compute_capabilities == [12.0, 8.6]


@pytest.mark.parametrize("name", ["nvidia", "jetson"])
def test_the_shipped_targets_are_for_this_backend(name: str) -> None:
    target = running.target(name)
    assert target.compute_capabilities
    for entry in target.backends:
        assert set(entry.variants) <= set(backends.BACKENDS[entry.backend].variants)


def test_no_driver_is_no_gpu() -> None:
    assert compute_capability("no-such-driver.so") is None


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, for a driver of the test's own")
@pytest.mark.parametrize(
    ("init", "count", "found"), [(0, 1, 12.1), (100, 1, None), (0, 0, None)], ids=["one", "broken", "none"]
)
def test_the_driver_is_asked(tmp_path: Path, init: int, count: int, found: float | None) -> None:
    source = tmp_path / "driver.c"
    source.write_text(
        f"int cuInit(unsigned flags) {{ return {init}; }}\n"
        f"int cuDeviceGet(int *device, int place) {{ *device = 7; return {count} ? 0 : 101; }}\n"
        "int cuDeviceGetAttribute(int *value, int attribute, int device) {\n"
        "  *value = attribute == 75 ? 12 : attribute == 76 ? 1 : -1; return device == 7 ? 0 : 1; }\n"
    )
    library = tmp_path / f"driver-{init}-{count}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    assert compute_capability(str(library)) == found


@kit.needs_wheels
@pytest.mark.parametrize("variant", ["fp32", "fp16"])
def test_an_engine_is_built_per_capability(exported: Path, tmp_path: Path, variant: str) -> None:
    compiled = _compile(exported, variant, tmp_path / "out", kit.make_target(8.6, 8.9))
    engines = {"sm86.rtx.engine", "sm89.rtx.engine"}
    files = {path.name: path for path in compiled.folder.iterdir()}
    assert set(files) == {"model.onnx", "build.sh", "tokenizer.json", "variant.json", *engines}
    assert all(files[name].stat().st_size > 50_000 for name in engines)
    assert files["sm86.rtx.engine"].read_bytes() != files["sm89.rtx.engine"].read_bytes()
    assert set(compiled.variant.files.values()) == {"model.onnx", "build.sh", *engines}
    assert compiled.variant.inputs == tiny_model.INPUTS
    assert (compiled.executed, compiled.fusions) == (None, None)
    assert compiled.variant.made_with == backends.versions("tensorrt")
    assert "tensorrt-rtx-cu13-libs" in compiled.variant.made_with
    notes = "\n".join(compiled.notes)
    assert "engines take 1×1 to 2×32 (examples × tokens), tuned for 2×16" in notes
    assert "sm89.rtx.engine: " in notes
    assert ("in FP32; TF32 is off" in notes) is (variant == "fp32")
    assert ("latency not measured here: no NVIDIA GPU" in notes) is NO_GPU
    assert "warns" not in notes
    assert "--maxShapes=input_ids:2x32," in files["build.sh"].read_text(encoding="utf-8")


@kit.needs_wheels
@pytest.mark.parametrize(("variant", "tolerance"), [("fp32", 1e-5), ("fp16", 5e-3)])
def test_what_was_built_answers_alike_on_the_cpu(
    exported: Path, tmp_path: Path, variant: str, tolerance: float
) -> None:
    _compile(exported, variant, tmp_path, kit.make_target(8.6))
    inputs = tiny_model.batch(2, 13)
    logits = kit.answer(tmp_path / "model.onnx", dict(zip(tiny_model.INPUTS, inputs, strict=True)))
    np.testing.assert_allclose(logits, tiny_model.expected(*inputs), atol=tolerance)


@kit.needs_wheels
def test_the_artifact_does_not_pass_for_one_that_runs_here(exported: Path, tmp_path: Path) -> None:
    _compile(exported, "fp32", tmp_path, kit.make_target(8.6))
    with pytest.raises(RunnerError, match="is for 'tensorrt'; this runner knows"):
        open_session(tmp_path)


@kit.needs_wheels
def test_the_same_model_gives_the_same_bytes_but_for_the_engines(exported: Path, tmp_path: Path) -> None:
    """The builder leaves the order of some tables open, so of engines only the size is the same."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        _compile(exported, "fp16", folder, kit.make_target(8.6))
    one, two = (
        {path.name: path.stat().st_size if path.suffix == ".engine" else path.read_bytes() for path in each}
        for each in (list(folder.iterdir()) for folder in folders)
    )
    assert one == two


LEFT_BEHIND = """
import gc, sys
from pathlib import Path
from edgeprune.backends import tensorrt_toolkit

plain = tensorrt_toolkit._make_log

def make_log(trt):
    class Collecting(type(plain(trt))):
        def log(self, severity, message):
            gc.set_threshold(1)
            super().log(severity, [message for _ in [[] for _ in range(100)]][0])
    return Collecting()

(toolkit,), model = tensorrt_toolkit.open_toolkits(), Path(sys.argv[1])
left = [tensorrt_toolkit.parse(toolkit, model)]
left.append(left)
gc.set_threshold(10**6)
tensorrt_toolkit._make_log = make_log
del left
tensorrt_toolkit.parse(toolkit, model)
"""


@kit.needs_wheels
def test_a_builder_that_a_failure_left_behind_stops_no_other(exported: Path) -> None:
    """Collected while TensorRT tells something, it would wait for ever for the lock that TensorRT holds then."""
    words = [sys.executable, "-c", LEFT_BEHIND, str(exported / "model.onnx")]
    subprocess.run(words, check=True, timeout=120)


@kit.needs_wheels
def test_left_out_capabilities_are_those_of_common_cards(exported: Path, tmp_path: Path) -> None:
    _built(exported, "fp32", tmp_path, kit.make_target())
    assert {path.name for path in tmp_path.glob("*.engine")} == {"sm86.rtx.engine", "sm89.rtx.engine"}


@kit.needs_wheels
def test_a_capability_that_cannot_be_built_for_is_said(exported: Path, tmp_path: Path) -> None:
    compiled = _built(exported, "fp32", tmp_path, kit.make_target(8.6, 9.0))
    assert {path.name for path in tmp_path.glob("*.engine")} == {"sm86.rtx.engine"}
    (note,) = (note for note in compiled.notes if "no engine" in note)
    assert note == (
        "no engine for compute capability 9.0: TensorRT for RTX cannot build for it here; build.sh is for it"
    )


@kit.needs_wheels
def test_a_gpu_that_lacks_what_a_variant_needs_fails_alone(exported: Path, tmp_path: Path) -> None:
    """TensorRT for RTX has no FP32 products for compute capability 7.5."""
    compiled = _built(exported, "fp32", tmp_path / "both", kit.make_target(7.5, 8.6))
    assert {path.name for path in (tmp_path / "both").glob("*.engine")} == {"sm86.rtx.engine"}
    (note,) = (note for note in compiled.notes if "no engine" in note)
    assert "builds no engine for compute capability 7.5: " in note
    assert "FP32 GEMM" in note
    with pytest.raises(UnsupportedError, match=r"builds no engine for compute capability 7\.5: .*FP32 GEMM"):
        _built(exported, "fp32", tmp_path / "alone", kit.make_target(7.5))
    assert "engine sm75.rtx.engine" in _built(exported, "fp16", tmp_path / "half", kit.make_target(7.5)).files


@kit.needs_wheels
def test_for_another_host_the_model_is_parsed_and_the_engine_left_to_it(
    exported: Path, tmp_path: Path
) -> None:
    compiled = _built(exported, "fp16", tmp_path, running.target("jetson"))
    assert compiled.files == {"model": "model.onnx", "build": "build.sh"}
    assert (
        "no engine for compute capability 8.7: this machine is x86_64, the device aarch64; build.sh is for it"
    ) in compiled.notes


@kit.needs_wheels
@pytest.mark.parametrize("variant", ["int8", "int8-fp16"])
@pytest.mark.parametrize("rows", ["none", "dequantize"])
def test_symmetric_int8_is_built(tmp_path: Path, variant: str, rows: str) -> None:
    """Rows of a table are taken in INT8 with a scale each, if the table is dequantized before they are read."""
    folder = kit.save(kit.quantized(rows_read_by=rows), tmp_path / "in")
    compiled = _built(folder, variant, tmp_path / "out", kit.make_target(8.6, 8.9))
    assert {"sm86.rtx.engine", "sm89.rtx.engine"} <= set(compiled.files.values())
    kept = (tmp_path / "out" / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert kept is (variant == "int8")


@kit.needs_wheels
def test_int8_in_the_model_is_int8_in_the_engine(tmp_path: Path) -> None:
    """The weights of a large table are in the engine as they are in the model: a byte each, with or without FP16."""
    model = kit.quantized(rows_read_by="dequantize", rows=40_000)
    folder = kit.save(model, tmp_path / "in")
    for variant in ("int8", "int8-fp16"):
        _built(folder, variant, tmp_path / variant)
        size = (tmp_path / variant / "sm86.rtx.engine").stat().st_size
        assert size < (40_000 * kit.WIDTH) * 1.6 + 400_000  # a scale per row, and what every engine has


@kit.needs_wheels
def test_an_operator_that_tensorrt_does_not_know_is_named(tmp_path: Path) -> None:
    gather = helper.make_node("Gather", ["table", "input_ids"], ["x"], name="gather")
    known = helper.make_node("Identity", ["x"], ["logits"])
    model = kit.graph([gather, known], {"table": np.ones((20, 8), np.float32)}, ["batch", "length", 8])
    strange = helper.make_node("Strange", ["x"], ["logits"], name="the strange one", domain="com.example")
    model.graph.node[1].CopyFrom(strange)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(
        UnsupportedError, match=r"TensorRT for RTX \S+ does not take the model: node 'the strange one' \(Str"
    ) as caught:
        _built(kit.save(model, tmp_path / "in"), "fp32", tmp_path / "out")
    assert "\n" not in caught.value.message


@kit.needs_wheels
@pytest.mark.parametrize(
    "model",
    [
        kit.quantized(zero=np.int8(3)),
        kit.quantized(zero=np.uint8(128)),
        kit.quantized(weight_zero=1),
        kit.quantized(bias=True),
        kit.quantized(rows_read_by="gather"),
    ],
    ids=["zero", "uint8", "weights", "bias", "rows"],
)
def test_what_we_refuse_tensorrt_refuses_too(tmp_path: Path, model: Any) -> None:
    """Only later, and without a plain word; and what it says is one error of ours as well."""
    (toolkit,) = (each for each in open_toolkits() if each.ending == "rtx.engine")
    path = kit.save(model, tmp_path) / "model.onnx"
    with pytest.raises(UnsupportedError, match=r"does not take the model|builds no engine") as caught:
        parse(toolkit, path).build(8.6, SHAPES)
    assert "\n" not in caught.value.message
    assert "/_src" not in caught.value.message
    assert "Cuda Runtime" not in caught.value.message


@kit.needs_wheels
def test_what_the_parser_warns_of_reaches_the_notes(tmp_path: Path) -> None:
    """UINT8 with zero point 0: read as INT8, said in a warning only. It is refused; here we look past that."""
    (toolkit,) = (each for each in open_toolkits() if each.ending == "rtx.engine")
    network = parse(toolkit, kit.save(kit.quantized(zero=np.uint8(0)), tmp_path) / "model.onnx")
    assert any("UINT8" in text and "INT8 instead" in text for text in network.warnings)


@kit.needs_wheels
@pytest.mark.recipe
@pytest.mark.parametrize("shape", ["dense", "ragged"])
def test_a_transformer_is_built_in_every_variant(tmp_path: Path, shape: str) -> None:
    """BERT with three layers; ragged: a layer of two heads, one without any, one without FFN rows."""
    exported = _export(shape, tmp_path / "exported")
    random = np.random.default_rng(0)
    ids = random.integers(0, 12, (2, 20))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    inputs["attention_mask"][1, 12:] = 0
    expected = kit.answer(exported / "model.onnx", inputs)
    _quantize(exported, tmp_path / "quantized", inputs)
    for variant, tolerance in (("fp32", 0.0), ("fp16", 5e-3), ("int8", 0.3), ("int8-fp16", 0.3)):
        source = tmp_path / "quantized" if "int8" in variant else exported
        output = tmp_path / variant
        compiled = _built(source, variant, output, kit.make_target(8.6, 8.9))
        assert {"sm86.rtx.engine", "sm89.rtx.engine"} <= set(compiled.files.values())
        assert not any("warns" in note for note in compiled.notes)
        np.testing.assert_allclose(kit.answer(output / "model.onnx", inputs), expected, atol=tolerance)


def _export(shape: str, folder: Path) -> Path:
    sys.path.append(str(Path(__file__).parents[1] / "structure"))
    structure_kit = import_module("structure_kit")

    from edgeprune.stages.export import write_onnx
    from edgeprune.structure.description import KeptLayer
    from edgeprune.structure.slicing import slice_layers

    model = structure_kit.classifier("bert")
    if shape == "ragged":
        slice_layers(model, (KeptLayer(0, (1, 3), (0, 5)), KeptLayer(1, (), (2,)), KeptLayer(2, (0,), ())))
    write_onnx(model, folder)
    return folder


def _quantize(exported: Path, folder: Path, inputs: dict[str, np.ndarray]) -> None:
    """Symmetric QDQ by onnxruntime's own quantizer."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [inputs]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    kit.save(onnx.load(exported / "model.onnx"), folder)
    quantize_static(
        exported / "model.onnx",
        folder / "model.onnx",
        Reader(),
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul"],
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )


@pytest.mark.gpu
def test_full_tensorrt_builds_for_the_gpu_here(exported: Path, tmp_path: Path) -> None:
    """Nothing is skipped here: a machine of this tier has an NVIDIA GPU and full TensorRT."""
    here = compute_capability()
    assert here is not None, "the tier -m gpu needs an NVIDIA driver that finds a GPU"
    assert import_module("tensorrt").__version__
    target = kit.make_target(here)
    for variant in ("fp32", "fp16"):
        compiled = _built(exported, variant, tmp_path / variant, target)
        assert f"sm{here:.1f}".replace(".", "") + ".engine" in compiled.files.values()
        described = json.dumps(compiled.notes)
        assert "by TensorRT " in described
        assert "no NVIDIA GPU" not in described
