"""A small ONNX classifier made by hand: embeddings, masked mean, two linear layers. Nothing to export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeprune.runner.variant import Variant, write_variant

VOCABULARY, HIDDEN = 64, 32
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    return {
        "tokens": normal(VOCABULARY, HIDDEN),
        "segments": normal(2, HIDDEN),
        "dense": normal(HIDDEN, HIDDEN) / np.float32(HIDDEN**0.5),
        "head": normal(HIDDEN, 3) / np.float32(HIDDEN**0.5),
    }


def expected(ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
    """What the model answers, in numpy."""
    w = weights()
    states = np.tanh((w["tokens"][ids] + w["segments"][types]) @ w["dense"])
    kept = mask[..., None].astype(np.float32)
    return ((states * kept).sum(1) / kept.sum(1)) @ w["head"]


def save_onnx(folder: Path, inputs: list[str] | None = None) -> Path:
    """An exported-model folder; without `token_type_ids` in `inputs` the model has no segments."""
    inputs = inputs or INPUTS
    folder.mkdir(parents=True, exist_ok=True)
    segments = "token_type_ids" in inputs
    nodes = [helper.make_node("Gather", ["tokens", "input_ids"], ["token_states"], name="tokens_gather")]
    if segments:
        nodes.append(helper.make_node("Gather", ["segments", "token_type_ids"], ["segment_states"]))
        nodes.append(helper.make_node("Add", ["token_states", "segment_states"], ["embedded"]))
    nodes += [
        helper.make_node(
            "MatMul", ["embedded" if segments else "token_states", "dense"], ["mixed"], name="dense"
        ),
        helper.make_node("Tanh", ["mixed"], ["states"]),
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["column"]),
        helper.make_node("Mul", ["states", "column"], ["visible"]),
        helper.make_node("ReduceSum", ["visible", "middle"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["column", "middle"], ["count"], keepdims=0),
        helper.make_node("Div", ["total", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "head"], ["logits"], name="head"),
    ]
    constants = {"last": np.array([2], np.int64), "middle": np.array([1], np.int64)}
    used = {name: value for name, value in weights().items() if segments or name != "segments"}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value, name) for name, value in {**used, **constants}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    labels = {"2": "neutral", "0": "negative", "1": "positive"}
    config = {"id2label": labels, "pad_token_id": 5}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    return folder


def save_artifact(folder: Path, backend: str, **changes: object) -> Path:
    """A compiled artifact without a compiler: both runtimes read ONNX as it is."""
    save_onnx(folder, changes.get("inputs"))  # type: ignore[arg-type]
    values: dict[str, object] = {
        "backend": backend,
        "precision": "fp32",
        "files": {"model": "model.onnx"},
        "inputs": INPUTS,
        "labels": ["negative", "positive", "neutral"],
        "max_length": 32,
        "architecture": "x86_64",
        "threads": 1,
        **changes,
    }
    write_variant(folder, Variant(**values))  # type: ignore[arg-type]
    return folder


def batch(rows: int = 2, length: int = 11, padded: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random inputs; the last row ends with `padded` padding tokens."""
    random = np.random.default_rng(rows * 100 + length)
    ids = random.integers(0, VOCABULARY, size=(rows, length))
    mask = np.ones_like(ids)
    mask[-1, length - padded :] = 0
    return ids, mask, random.integers(0, 2, size=ids.shape)
