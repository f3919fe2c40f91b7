"""2:4 weights: found in a graph, required by the variant, and claimed on the builder's word only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorrt_kit as kit
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgeprune.backends.tensorrt import Tensorrt
from edgeprune.backends.two_four import sparse_kernels, two_four_products
from edgeprune.errors import UnsupportedError

# Multiples of 32, which sparse kernels want; small enough to build at once.
WIDTH = 64


def pruned(weights: np.ndarray) -> np.ndarray:
    """Two of each four neighbours along the first axis set to zero."""
    groups = weights.reshape(-1, 4, weights.shape[1]).copy()
    smallest = np.argsort(np.abs(groups), axis=1)[:, :2]
    np.put_along_axis(groups, smallest, 0, axis=1)
    return groups.reshape(weights.shape)


def classifier(weights: np.ndarray, *, turned: str = "no") -> Any:
    """An embedding and one product; the weights stored as they are, transposed, or for a Gemm with transB."""
    random = np.random.default_rng(1)
    constants = {"table": random.normal(size=(kit.ROWS, WIDTH)).astype(np.float32)}
    constants["weight"] = weights if turned == "no" else np.ascontiguousarray(weights.T)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["x"], name="gather")]
    if turned == "node":
        nodes.append(helper.make_node("Transpose", ["weight"], ["w"], name="turn", perm=[1, 0]))
    name = "w" if turned == "node" else "weight"
    if turned == "gemm":
        constants["shape"] = np.array([-1, WIDTH], np.int64)
        nodes.append(helper.make_node("Reshape", ["x", "shape"], ["flat"], name="flat"))
        nodes.append(helper.make_node("Gemm", ["flat", name], ["logits"], name="linear", transB=1))
        return kit.graph(nodes, constants, ["tokens", WIDTH])
    nodes.append(helper.make_node("MatMul", ["x", name], ["logits"], name="linear"))
    return kit.graph(nodes, constants, ["batch", "length", WIDTH])


def random_weights(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(WIDTH, WIDTH)).astype(np.float32) * 0.1


@given(seed=st.integers(0, 2**32 - 1), turned=st.sampled_from(["no", "node", "gemm"]))
def test_the_pattern_is_found_along_the_axis_that_is_summed_over(seed: int, turned: str) -> None:
    weights = random_weights(seed)
    assert two_four_products(classifier(pruned(weights), turned=turned)).sparse == ("linear",)
    assert two_four_products(classifier(weights, turned=turned)).dense == ("linear",)
    # Along the other axis it is another pattern.
    assert two_four_products(classifier(pruned(weights.T).T, turned=turned)).dense == ("linear",)


def test_one_weight_too_many_breaks_the_pattern() -> None:
    weights = pruned(random_weights())
    weights[np.flatnonzero(weights[:4, 0] == 0)[0], 0] = 1e-3
    assert two_four_products(classifier(weights)).dense == ("linear",)


def test_a_quantized_product_counts_by_its_int8_weights() -> None:
    dense = kit.quantized()
    assert two_four_products(dense).dense == ("linear",)
    (weight,) = (tensor for tensor in dense.graph.initializer if tensor.name == "weight")
    levels = pruned(np.frombuffer(weight.raw_data, np.int8).reshape(kit.WIDTH, kit.WIDTH).copy())
    weight.raw_data = levels.tobytes()
    assert two_four_products(dense).sparse == ("linear",)


def test_a_product_of_two_activations_is_none() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"], name="gather"),
        helper.make_node("Transpose", ["x"], ["y"], name="turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "y"], ["logits"], name="scores"),
    ]
    model = kit.graph(nodes, {"table": np.zeros((4, 8), np.float32)}, ["batch", "length", "length"])
    found = two_four_products(model)
    assert (found.sparse, found.dense) == ((), ())


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ([], None),
        (["(Sparsity) Found 3 layer(s) eligible to use sparse tactics: a, b, c"], None),
        (["(Sparsity) Found 3 layer(s) …", "(Sparsity) Chose 2 layer(s) using sparse tactics: a, b"], 2),
        (["(Sparsity) Chose 0 layer(s) using sparse tactics"], 0),
        (["(Sparsity) TRT inference plan picked sparse implementation for layers: a, b, c"], 3),
        (["(Sparsity) TRT inference plan picked sparse implementation for layers:"], 0),
    ],
)
def test_the_log_is_believed(log: list[str], found: int | None) -> None:
    assert sparse_kernels(log) == found


@pytest.mark.parametrize("variant", ["2:4", "int8-2:4"])
@kit.needs_wheels
def test_without_the_pattern_the_variant_is_refused(tmp_path: Path, variant: str) -> None:
    model = kit.quantized(rows_read_by="dequantize") if "int8" in variant else classifier(random_weights())
    with pytest.raises(UnsupportedError, match="none of the model's 1 products has 2:4 weights") as caught:
        Tensorrt().compile(kit.make_request(kit.save(model, tmp_path / "in"), variant, tmp_path / "out"))
    assert "granularity: 2:4" in caught.value.hint


@kit.needs_wheels
def test_with_it_sparse_kernels_are_allowed_and_not_claimed(tmp_path: Path) -> None:
    """TensorRT for RTX picks kernels on the device, so its log says nothing of them here."""
    folder = kit.save(classifier(pruned(random_weights())), tmp_path / "in")
    compiled = Tensorrt().compile(kit.make_request(folder, "2:4", tmp_path / "out"))
    notes = "\n".join(compiled.notes)
    assert "1 of 1 products have 2:4 weights, so sparse kernels are allowed" in notes
    assert (
        "sm86.rtx.engine: the builder does not say whether it picked sparse kernels, so none are claimed"
        in notes
    )
    assert "--sparsity=enable" in (tmp_path / "out" / "build.sh").read_text(encoding="utf-8")
