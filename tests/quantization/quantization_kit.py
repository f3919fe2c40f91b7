"""Tiny classifiers as ONNX, dense and ragged, and batches for them."""

from __future__ import annotations

import io
import warnings
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import openvino
import torch
import transformers

from edgeprune.quantization.graphs import activations, operators, prepared
from edgeprune.quantization.observing import Calibration, observe, open_model
from edgeprune.quantization.ranges import Range
from edgeprune.structure.description import KeptLayer
from edgeprune.structure.slicing import slice_layers

Arrays = dict[str, npt.NDArray[Any]]
VOCABULARY = 200
DIALECTS = ("symmetric", "asymmetric")
RUNTIMES = ("onnxruntime", "openvino")


def classifier(model_type: str = "bert", **changes: Any) -> Any:
    """A random classifier with weights of usual sizes: 2 layers, hidden width 32."""
    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "max_position_embeddings": 40}
    if model_type == "distilbert":
        sizes |= {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    else:
        sizes |= {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
        }
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **(sizes | {"num_labels": 3} | changes))
    model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.25 if parameter.ndim > 1 else 0.1
            base = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            parameter.copy_(base + torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


def ragged(model_type: str = "bert") -> Any:
    """Two heads and five rows in the first layer; no heads and thirty rows in the second."""
    model = classifier(model_type)
    slice_layers(model, (KeptLayer(0, (1, 3), tuple(range(5))), KeptLayer(1, (), tuple(range(30)))))
    return model


def exported(model: Any, opset: int = 18) -> onnx.ModelProto:
    """The classifier as ONNX with dynamic batch and length."""
    ids = torch.ones(2, 7, dtype=torch.int64)
    axes = {0: "batch", 1: "length"}
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (ids, torch.ones_like(ids)),
            stream,
            dynamo=False,
            opset_version=opset,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}},
        )
    return onnx.load_from_string(stream.getvalue())


def model(name: str) -> Any:
    """A classifier by name: a model type, `ragged`, or `wide`: FFN rows beyond what exporters look through."""
    if name == "wide":
        return classifier(intermediate_size=1040)
    return ragged() if name == "ragged" else classifier(name)


@cache
def graph(name: str) -> onnx.ModelProto:
    """The prepared graph of `model(name)`. Not to be changed."""
    return prepared(exported(model(name)))


def batches(count: int = 4, size: int = 4, seed: int = 0) -> list[Arrays]:
    """Random ids of several lengths, without padding."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        ids = random.integers(5, VOCABULARY, (size, 6 + 5 * (number % 4)))
        found.append({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return found


@cache
def calibration(name: str) -> Calibration:
    """What all activations of `graph(name)` were on the batches."""
    model = graph(name)
    return observe(model, activations(operators(model)), batches())


def ranges(name: str, *, symmetric: bool) -> dict[str, Range]:
    """Minmax ranges of `graph(name)`."""
    return calibration(name).ranges("minmax", symmetric=symmetric)


def all_logits(
    model: onnx.ModelProto, runtime: str = "onnxruntime", given: list[Arrays] | None = None
) -> npt.NDArray[np.float32]:
    """A runtime's answers to batches, below each other; left out: to some that were not calibrated on."""
    names = {value.name for value in model.graph.input}
    given = [
        {name: values for name, values in arrays.items() if name in names}
        for arrays in given or batches(seed=9)
    ]
    if runtime == "onnxruntime":
        session = open_model(model)
        return np.concatenate([session.run(["logits"], arrays)[0] for arrays in given])
    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", hints)
    return np.concatenate([compiled(arrays)["logits"] for arrays in given])


@cache
def fp32_logits(name: str) -> npt.NDArray[np.float32]:
    """Answers of `graph(name)`."""
    return all_logits(graph(name))
