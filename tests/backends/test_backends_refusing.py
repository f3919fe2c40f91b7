"""What a runtime cannot run, and a runtime that cannot be loaded: an error of ours that says what and what next."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
import tensorrt_kit
import tiny_model
from onnx import helper
from test_backends_table import make_target

from edgeprune import backends
from edgeprune.errors import ExitCode, UnsupportedError
from edgeprune.runner.cpu import describe

HERE = describe().architecture
OTHER = {"x86_64": "aarch64"}.get(HERE, "x86_64")
STRANGE = "the strange one"


def _strange(folder: Path, domain: str) -> Path:
    """An exported model that ends in an operator that nobody knows."""
    tiny_model.save_onnx(folder)
    model = onnx.load(folder / "model.onnx")
    last = model.graph.node[-1]
    name = last.output[0]
    last.output[0] = "before"
    model.graph.node.append(helper.make_node("Strange", ["before"], [name], STRANGE, domain=domain))
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(model, folder / "model.onnx")
    return folder


@pytest.mark.parametrize("domain", ["", "com.example"])
@pytest.mark.parametrize(
    ("backend", "variant", "kind", "architecture"),
    [
        ("onnxruntime", "fp32", "local", HERE),
        ("onnxruntime", "int8-dynamic", "local", HERE),
        ("onnxruntime", "fp32", "none", OTHER),
        ("onnxruntime", "int8-dynamic", "none", OTHER),
        ("openvino", "fp32", "local", HERE),
        ("openvino", "fp32", "none", OTHER),
        pytest.param("tensorrt", "fp32", "none", HERE, marks=tensorrt_kit.needs_wheels),
    ],
)
def test_an_operator_that_a_backend_cannot_run_is_named(
    tmp_path: Path, backend: str, variant: str, kind: str, architecture: str, domain: str
) -> None:
    """Also for a device elsewhere, where nothing is opened afterwards."""
    pytest.importorskip({"tensorrt": "tensorrt_rtx_bindings"}.get(backend, backend))
    source, target = _strange(tmp_path / "in", domain), make_target(kind, architecture)
    with pytest.raises(UnsupportedError) as caught:
        backends.compile_variant(backend, source, variant, target, tmp_path / "out", max_length=32)
    # onnxruntime says the node only where the operator is said to be of the standard.
    assert ("Strange" if backend == "onnxruntime" and domain else STRANGE) in caught.value.message
    assert caught.value.exit_code == ExitCode.UNSUPPORTED
    assert "\n" not in caught.value.message
    assert caught.value.hint or backend == "tensorrt"


def test_other_words_of_openvino_are_kept(tmp_path: Path) -> None:
    folder = tiny_model.save_onnx(tmp_path / "in")
    model = onnx.load(folder / "model.onnx")
    model.graph.node[-1].input[1] = "nowhere"
    onnx.save(model, folder / "model.onnx")
    pytest.importorskip("openvino")
    with pytest.raises(UnsupportedError, match=r"OpenVINO cannot read the model: .*nowhere") as caught:
        backends.compile_variant("openvino", folder, "fp32", make_target(), tmp_path / "out", max_length=32)
    assert "\n" not in caught.value.message


def test_a_runtime_that_is_there_and_cannot_be_loaded_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "openvino"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "raise ImportError('libopenvino.so: cannot open shared object file')"
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(package.parent)
    folder = tiny_model.save_onnx(tmp_path / "in")
    with pytest.raises(UnsupportedError, match=r"cannot be loaded: libopenvino\.so") as caught:
        backends.compile_variant("openvino", folder, "fp32", make_target(), tmp_path / "out", max_length=32)
    assert caught.value.where == "openvino/fp32"
    assert 'pip install --force-reinstall "edgeprune[openvino]"' in caught.value.hint
