from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_model
from onnx import TensorProto, helper
from test_backends_table import make_target

from edgeprune import backends
from edgeprune.backends import fusions, onnx_attention
from edgeprune.backends.fusions import Fusions, find_fusions, fused_operators
from edgeprune.backends.onnx_attention import load_with_attention
from edgeprune.runner.cpu import describe
from edgeprune.runner.session import SESSIONS, Operator, open_session

HERE = describe()
TARGET = make_target("local", HERE.architecture)
TOLERANCE = {"fp32": 1e-5, "bf16": 0.05, "int8-dynamic": 0.1, "fp16": 0.01}
ALL = [
    (name, variant)
    for name in SESSIONS
    for variant in backends.BACKENDS[name].variants
    if backends.dialect(name, variant) is None and not variant.endswith("-ort")
]


def _save(path: Path, kinds: Sequence[str]) -> Path:
    """A chain of operators; nothing runs it."""
    nodes = [helper.make_node(kind, [f"x{i}"], [f"x{i + 1}"]) for i, kind in enumerate(kinds)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x0", f"x{len(kinds)}")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "chain", ends[:1], ends[1:])), path)
    return path


def test_an_operator_that_replaces_several_is_fused() -> None:
    operators = [
        Operator("Subgraph", ("a", "b")),
        Operator("Subgraph", ("c",)),
        Operator("FullyConnected", ("d", "e")),
        Operator("FullyConnected", ("f", "g")),
        Operator("Reorder", ()),
    ]
    assert fused_operators(operators, ()) == {"FullyConnected": 2, "Subgraph": 1}


def test_where_a_runtime_does_not_say_an_operator_that_the_model_lacks_is_fused() -> None:
    operators = [Operator("MatMul"), Operator("BiasGelu"), Operator("BiasGelu"), Operator("Attention")]
    assert fused_operators(operators, {"MatMul", "Erf"}) == {"BiasGelu": 2, "Attention": 1}


@pytest.mark.parametrize(
    ("kinds", "runs", "expected"),
    [
        (["Softmax", "MatMul", "Softmax"], ["Softmax", "MatMul", "Softmax"], (2, 0)),
        (["Softmax", "MatMul", "Softmax"], ["Softmax", "Attention"], (2, 1)),
        (["Softmax", "MatMul", "Softmax"], ["Attention", "Attention"], (2, 2)),
        (["MatMul"], ["MatMul"], (0, 0)),
        (["Attention"], ["Attention"], (1, 1)),
    ],
)
def test_an_attention_whose_softmax_runs_by_itself_is_not_fused(
    tmp_path: Path, kinds: list[str], runs: list[str], expected: tuple[int, int]
) -> None:
    model = _save(tmp_path / "model.onnx", kinds)
    found = find_fusions([Operator(kind) for kind in runs], model, model)
    assert (found.attention_layers, found.attention_fused) == expected


def test_what_quantizing_brought_in_is_not_called_fused(tmp_path: Path) -> None:
    exported = _save(tmp_path / "exported.onnx", ["MatMul", "Softmax"])
    compiled = _save(tmp_path / "compiled.onnx", ["DynamicQuantizeLinear", "MatMulInteger", "Softmax"])
    runs = [Operator("DynamicQuantizeLinear"), Operator("MatMulIntegerToFloat"), Operator("Softmax")]
    assert find_fusions(runs, exported, compiled) == Fusions({"MatMulIntegerToFloat": 1}, 1, 0)


def test_what_was_fused_before_compiling_is_called_fused(tmp_path: Path) -> None:
    exported = _save(tmp_path / "exported.onnx", ["MatMul", "Softmax"])
    compiled = onnx.load(exported)
    del compiled.graph.node[:]
    compiled.graph.node.append(helper.make_node("Attention", ["x0"], ["x2"], domain="com.microsoft"))
    onnx.save(compiled, tmp_path / "compiled.onnx")
    found = find_fusions([Operator("Attention")], exported, tmp_path / "compiled.onnx")
    assert found == Fusions({"Attention": 1}, 1, 1)


def test_the_record_is_plain_data() -> None:
    record = Fusions({"BiasGelu": 5}, 6, 4).record()
    assert record == {"fused": {"BiasGelu": 5}, "attention": {"layers": 6, "fused": 4}}
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_model_without_attention_says_so(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    exported = tiny_model.save_onnx(tmp_path / "exported")
    compiled = backends.compile_variant(backend, exported, "fp32", TARGET, tmp_path / "out", max_length=32)
    assert compiled.unknown == ()
    assert compiled.fusions is not None
    assert compiled.fusions.attention_layers == 0


def test_of_a_target_elsewhere_nothing_is_claimed(tmp_path: Path) -> None:
    exported = tiny_model.save_onnx(tmp_path / "exported")
    target = make_target("none", "aarch64")
    compiled = backends.compile_variant(
        "onnxruntime", exported, "fp32", target, tmp_path / "o", max_length=32
    )
    assert (compiled.fusions, compiled.unknown) == (None, ())


def test_a_graph_that_cannot_be_inspected_is_noted_and_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, *, standard: bool = False) -> None:
        raise RuntimeError(f"no such thing as {path.name}")

    monkeypatch.setattr(fusions, "operator_kinds", broken)
    exported = tiny_model.save_onnx(tmp_path / "exported")
    compiled = backends.compile_variant(
        "onnxruntime", exported, "fp32", TARGET, tmp_path / "out", max_length=32
    )
    assert compiled.fusions is None
    assert str(compiled.executed).startswith("onnxruntime")
    assert compiled.notes == [
        "which operators onnxruntime fused is not known: RuntimeError: no such thing as model.onnx"
    ]


def test_a_graph_without_known_attention_is_left_as_exported(tmp_path: Path) -> None:
    exported = tiny_model.save_onnx(tmp_path / "exported")
    model, notes = load_with_attention(exported / "model.onnx")
    assert model == onnx.load(exported / "model.onnx")
    assert notes == []


def test_a_graph_that_the_optimizer_fails_on_is_left_as_exported_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(model: Any) -> None:
        del model.graph.node[:]
        raise KeyError("x7")

    monkeypatch.setattr(onnx_attention, "_fused", fails)
    exported = tiny_model.save_onnx(tmp_path / "exported")
    compiled = backends.compile_variant(
        "onnxruntime", exported, "fp32", TARGET, tmp_path / "out", max_length=32
    )
    assert compiled.notes == ["attention is left as exported: KeyError: 'x7'"]
    inputs = tiny_model.batch(3, 13)
    logits = open_session(compiled.folder).run(*inputs)
    np.testing.assert_allclose(logits, tiny_model.expected(*inputs), atol=1e-5)


@pytest.mark.recipe
def test_ragged_layers_are_fused_as_dense_ones(tmp_path: Path) -> None:
    """Layers with 4, 3, 1 and no heads, odd numbers of rows and none, beside four dense layers."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from edgeprune.stages.export import write_onnx
    from edgeprune.structure.description import KeptLayer
    from edgeprune.structure.slicing import slice_layers

    kept = [KeptLayer(0, (0, 1, 2, 3), tuple(range(64))), KeptLayer(1, (0, 2, 3), tuple(range(17)))]
    kept += [KeptLayer(2, (1,), ()), KeptLayer(3, (), (5, 6, 7))]
    found: dict[tuple[str, str, str], Fusions] = {}
    for form in ("dense", "ragged"):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=64,
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
        )
        model = BertForSequenceClassification(config).eval()
        if form == "ragged":
            slice_layers(model, kept)
        exported = tmp_path / form
        write_onnx(model, exported)
        (exported / "tokenizer.json").write_text("{}", encoding="utf-8")
        for backend, variant in ALL:
            if backends.check(backend, variant, TARGET):
                continue
            output = tmp_path / f"{form}-{backend}-{variant}"
            compiled = backends.compile_variant(backend, exported, variant, TARGET, output, max_length=32)
            assert compiled.fusions is not None, compiled.unknown
            found[form, backend, variant] = compiled.fusions
            inputs = tiny_model.batch(2, 11)
            with torch.no_grad():
                expected = model(*(torch.tensor(array) for array in inputs)).logits.numpy()
            logits = open_session(output).run(*inputs)
            np.testing.assert_allclose(logits, expected, atol=TOLERANCE[variant])
            again = tmp_path / f"{form}-{backend}-{variant}-again"
            backends.compile_variant(backend, exported, variant, TARGET, again, max_length=32)
            for path in output.iterdir():
                assert path.read_bytes() == (again / path.name).read_bytes(), path.name
    for (form, backend, variant), fusion in found.items():
        dense = found["dense", backend, variant]
        assert set(fusion.fused) == set(dense.fused), (form, backend, variant)
        assert (dense.attention_layers, fusion.attention_layers) == (4, 4 if form == "dense" else 3)
        if backend == "onnxruntime" or HERE.architecture == "x86_64":
            assert fusion.attention_fused == fusion.attention_layers
        assert "SkipLayerNormalization" not in fusion.fused, "slower than its parts"
    gelu = found["ragged", "onnxruntime", "fp32"].fused["BiasGelu"]
    assert (found["dense", "onnxruntime", "fp32"].fused["BiasGelu"], gelu) == (4, 3)
