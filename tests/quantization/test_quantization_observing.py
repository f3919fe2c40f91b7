from __future__ import annotations

import numpy as np
import onnx
import pytest
import quantization_kit as kit

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.quantization.graphs import activations, operators
from edgeprune.quantization.observing import observe


def test_what_is_kept_is_what_onnxruntime_computes() -> None:
    model = kit.graph("bert")
    names = activations(operators(model))
    batches = kit.batches()
    found = observe(model, names, batches)
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    for name in names:
        shown.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    session = kit.open_model(shown)
    every = [dict(zip(names, session.run(list(names), arrays), strict=True)) for arrays in batches]
    for name in names:
        values = [arrays[name] for arrays in every]
        assert found.tensors[name].count == sum(array.size for array in values)
        assert found.tensors[name].low == min(array.min() for array in values)
        assert found.tensors[name].high == max(array.max() for array in values)
    linear = [operator for operator in operators(model) if operator.kind == "linear"]
    for (name,) in (operator.activations for operator in linear):
        peaks = [np.abs(arrays[name]).reshape(-1, arrays[name].shape[-1]).max(axis=0) for arrays in every]
        np.testing.assert_array_equal(found.channel_peaks[name], np.max(peaks, axis=0))
    assert found.examples == 16
    assert found.notes() == []


def test_the_number_of_batches_is_told() -> None:
    told: list[int] = []
    observe(kit.graph("bert"), (), kit.batches(3), told.append)
    assert told == [1, 2, 3]


def test_one_example_is_enough_and_noted() -> None:
    model = kit.graph("bert")
    names = activations(operators(model))
    found = observe(model, names, kit.batches(1, 1))
    assert found.notes()[0] == "INT8 ranges come from one calibration example"
    assert set(found.ranges("entropy", symmetric=False)) == set(names)


def test_no_example_is_an_error() -> None:
    with pytest.raises(EdgepruneError, match="no calibration examples"):
        observe(kit.graph("bert"), (), [])


def test_an_activation_that_never_changes_is_noted() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(kit.graph("bert"))
    name = "bert.embeddings.LayerNorm.weight"
    (entry,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    entry.CopyFrom(onnx.numpy_helper.from_array(np.zeros(32, np.float32), name))
    bias = next(
        tensor for tensor in model.graph.initializer if tensor.name.endswith("embeddings.LayerNorm.bias")
    )
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(32, 0.5, np.float32), bias.name))
    found = observe(model, activations(operators(model)), kit.batches(1))
    assert any("never changed during calibration" in note for note in found.notes())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_activation_is_an_error_that_names_it(bad: float) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(kit.graph("bert"))
    table = next(tensor for tensor in model.graph.initializer if "word_embeddings" in tensor.name)
    values = onnx.numpy_helper.to_array(table).copy()
    values[:, 3] = bad
    table.CopyFrom(onnx.numpy_helper.from_array(values, table.name))
    with pytest.raises(EdgepruneError, match="NaN or infinite") as caught:
        observe(model, activations(operators(model)), kit.batches(1))
    assert "activation /bert/" in caught.value.where


def test_a_model_that_onnxruntime_refuses_is_a_clear_error() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(kit.graph("bert"))
    model.graph.node[-1].op_type = "NoSuchOperator"
    with pytest.raises(UnsupportedError, match="NoSuchOperator"):
        observe(model, (), kit.batches(1))


def test_a_batch_that_does_not_fit_is_a_clear_error() -> None:
    ids = np.full((1, 4), kit.VOCABULARY + 3)
    with pytest.raises(UnsupportedError, match=r"input_ids \[1, 4\]") as caught:
        observe(
            kit.graph("bert"),
            ("/bert/embeddings/Add_output_0",),
            [{"input_ids": ids, "attention_mask": np.ones_like(ids)}],
        )
    assert "tokenizer" in caught.value.hint
