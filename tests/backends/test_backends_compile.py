from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_model
from test_backends_table import make_cpu, make_target

from edgeprune import backends
from edgeprune.backends.onnx_mobile import OPERATORS
from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.quantization.dialects import DIALECTS
from edgeprune.quantization.engines import CalibrationSettings, Source, calibrate, quantize
from edgeprune.quantization.qdq import Settings
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import describe
from edgeprune.runner.session import SESSIONS, open_session

HERE = describe()
# What this machine can open; TensorRT's artifacts have tests of their own.
ALL = [(name, variant) for name in SESSIONS for variant in backends.BACKENDS[name].variants]
INT8 = dict.fromkeys(("int8-dynamic", "int8-static-u8s8", "int8-static-s8s8", "int8"), 0.1)
PLAIN = {"fp32": 1e-5, "fp16": 0.01, "bf16": 0.05, **INT8}
TOLERANCE = PLAIN | {f"{variant}-ort": value for variant, value in PLAIN.items()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.save_onnx(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def quantized(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model in INT8, by dialect, calibrated on the texts of the tests."""
    model = onnx.load(exported / "model.onnx")
    names = [entry.name for entry in model.graph.input]
    batches = [dict(zip(names, tiny_model.batch(3, length), strict=False)) for length in (5, 9, 13)]
    calibrated = calibrate("onnxruntime", Source(model), batches, CalibrationSettings())
    folders = {}
    for dialect in DIALECTS:
        folder = folders[dialect] = tmp_path_factory.mktemp(dialect)
        shutil.copytree(exported, folder, dirs_exist_ok=True)
        onnx.save(quantize(calibrated, Settings(dialect))[0], folder / "model.onnx")
    return folders


@pytest.fixture
def source(exported: Path, quantized: dict[str, Path], backend: str, variant: str) -> Path:
    """What that variant is compiled from."""
    dialect = backends.dialect(backend, variant)
    return quantized[dialect] if dialect else exported


def _target() -> Target:
    return make_target("local", HERE.architecture)


@pytest.mark.parametrize(("backend", "variant"), ALL, ids=lambda value: value)
def test_what_is_compiled_opens_and_answers(source: Path, tmp_path: Path, backend: str, variant: str) -> None:
    pytest.importorskip(backend)
    refused = backends.check(backend, variant, _target())
    if refused:
        with pytest.raises(UnsupportedError, match=r"this CPU|for aarch64"):
            backends.compile_variant(backend, source, variant, _target(), tmp_path, max_length=32)
        return
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    compiled = backends.compile_variant(backend, source, variant, _target(), tmp_path / "out", max_length=32)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before  # left as it was
    inputs = tiny_model.batch(3, 13)
    logits = open_session(compiled.folder).run(*inputs)
    np.testing.assert_allclose(logits, tiny_model.expected(*inputs), atol=TOLERANCE[variant])
    assert compiled.executed is not None
    assert compiled.executed.startswith(backend)
    assert compiled.variant.labels == ["negative", "positive", "neutral"]
    assert (compiled.variant.pad_id, compiled.variant.max_length, compiled.variant.threads) == (5, 32, 1)
    assert compiled.variant.made_with == backends.versions(backend)
    assert (compiled.folder / "tokenizer.json").read_bytes() == before["tokenizer.json"]
    files = {path.name for path in compiled.folder.iterdir()}
    beside = {"model.onnx", OPERATORS} if variant.endswith("-ort") else set()
    assert files == {*compiled.variant.files.values(), *beside, "tokenizer.json", "variant.json"}
    assert compiled.file_bytes > 0


@pytest.mark.parametrize(("backend", "variant"), ALL, ids=lambda value: value)
def test_the_same_model_gives_the_same_bytes(
    source: Path, tmp_path: Path, backend: str, variant: str
) -> None:
    pytest.importorskip(backend)
    if backends.check(backend, variant, _target()):
        pytest.skip("refused on this CPU")
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        backends.compile_variant(backend, source, variant, _target(), folder, max_length=32)
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    # onnxruntime writes a table of its own format in the order of hashes that differ each time.
    assert len(one.pop("model.ort", b"")) == len(two.pop("model.ort", b""))
    assert one == two


@pytest.mark.parametrize(
    ("variant", "form", "words"),
    [
        ("int8-static-u8s8", None, "takes a model of dialect asymmetric, and this one is not quantized"),
        ("int8-dynamic", "asymmetric", "takes no model that is quantized"),
    ],
)
def test_a_model_of_the_wrong_form_is_refused(
    exported: Path, quantized: dict[str, Path], tmp_path: Path, variant: str, form: str | None, words: str
) -> None:
    folder = quantized[form] if form else exported
    with pytest.raises(UnsupportedError, match=words):
        backends.compile_variant("onnxruntime", folder, variant, _target(), tmp_path, max_length=32)


def test_int8_holds_int8_and_says_so(exported: Path, tmp_path: Path) -> None:
    cpu = make_cpu("avx512_vnni", architecture=HERE.architecture)
    compiled = backends.compile_variant(
        "onnxruntime", exported, "int8-dynamic", _target(), tmp_path, max_length=32, cpu=cpu
    )
    assert "2 in int8" in str(compiled.executed)
    assert "f32" not in str(compiled.executed)
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert kinds["dense_quantized"] == onnx.TensorProto.INT8
    assert kinds["tokens_quantized"] == onnx.TensorProto.UINT8
    assert compiled.notes[0].startswith("linear layers: weights symmetric INT8 per output channel")


@pytest.mark.skipif(HERE.architecture != "x86_64", reason="the question only arises on x86")
def test_x86_without_vnni_gets_seven_bits_and_a_note(exported: Path, tmp_path: Path) -> None:
    compiled = backends.compile_variant(
        "onnxruntime", exported, "int8-dynamic", _target(), tmp_path, max_length=32, cpu=make_cpu("avx2")
    )
    weights = {tensor.name: tensor for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert np.abs(onnx.numpy_helper.to_array(weights["dense_quantized"]).astype(int)).max() <= 64
    assert any("no VNNI" in note for note in compiled.notes)


def test_a_target_elsewhere_is_compiled_and_not_claimed_to_have_run(exported: Path, tmp_path: Path) -> None:
    target = make_target("none", "x86_64")
    for backend, variant in (("onnxruntime", "int8-dynamic"), ("openvino", "bf16")):
        pytest.importorskip(backend)
        compiled = backends.compile_variant(
            backend, exported, variant, target, tmp_path / backend, max_length=32, cpu=make_cpu()
        )
        assert compiled.executed is None
        assert any("VNNI" in note or "not known" in note for note in compiled.notes)


def test_compiling_leaves_logging_alone(
    exported: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = list(logging.getLogger().handlers)
    backends.compile_variant("onnxruntime", exported, "int8-dynamic", _target(), tmp_path, max_length=32)
    assert logging.getLogger().handlers == handlers
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "message"),
    [("tokenizer.json", "no tokenizer.json"), ("config.json", "config.json cannot be read")],
)
def test_an_incomplete_export_is_named(tmp_path: Path, name: str, message: str) -> None:
    folder = tiny_model.save_onnx(tmp_path / "exported")
    (folder / name).unlink()
    with pytest.raises(EdgepruneError, match=message) as caught:
        backends.compile_variant("onnxruntime", folder, "fp32", _target(), tmp_path / "out", max_length=32)
    assert caught.value.where == str(folder)


@pytest.mark.parametrize(
    ("backend", "variant"), [("onnxruntime", "fp32"), ("onnxruntime", "int8-dynamic"), ("openvino", "fp32")]
)
@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_a_model_that_cannot_be_read_is_an_error_of_ours(
    tmp_path: Path, backend: str, variant: str, damage: str
) -> None:
    pytest.importorskip(backend)
    folder = tiny_model.save_onnx(tmp_path / "exported")
    if damage == "missing":
        (folder / "model.onnx").unlink()
    else:
        (folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(EdgepruneError, match=r"cannot (be )?read"):
        backends.compile_variant(backend, folder, variant, _target(), tmp_path / "out", max_length=32)


@pytest.mark.recipe
def test_a_transformer_answers_alike_in_all_variants(tmp_path: Path) -> None:
    import torch
    from optimum.exporters.onnx import onnx_export_from_model
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=3,
    )
    model = BertForSequenceClassification(config).eval()
    onnx_export_from_model(model, output=tmp_path / "exported", task="text-classification", opset=18)
    (tmp_path / "exported" / "tokenizer.json").write_text(json.dumps({}), encoding="utf-8")
    inputs = tiny_model.batch(2, 11)
    with torch.no_grad():
        expected = model(*(torch.tensor(array) for array in inputs)).logits.numpy()
    for backend, variant in (entry for entry in ALL if backends.dialect(*entry) is None):
        if backends.check(backend, variant, _target()):
            continue
        output = tmp_path / backend / variant
        backends.compile_variant(backend, tmp_path / "exported", variant, _target(), output, max_length=32)
        np.testing.assert_allclose(open_session(output).run(*inputs), expected, atol=TOLERANCE[variant])
