from __future__ import annotations

import numpy as np
import onnx
import pytest
import quantization_kit as kit
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.errors import EdgepruneError
from edgeprune.quantization.graphs import activations, initializers, operators
from edgeprune.quantization.observing import observe
from edgeprune.quantization.qdq import Settings, quantize_graph
from edgeprune.quantization.sensitivity import Group, compare, costs, fewest_to_keep, groups


def test_a_layer_has_groups_that_its_matrices_are_named_after() -> None:
    found = groups(kit.graph("bert"), Settings("symmetric", products=True))
    layer = [group for group in found if "layer.0" in group.name]
    assert [(group.name, group.kind, len(group.nodes)) for group in layer] == [
        ("bert/encoder/layer.0/attention/self (linear)", "linear", 3),
        ("bert/encoder/layer.0/attention/self (product)", "product", 2),
        ("bert/encoder/layer.0/attention/output/dense", "linear", 1),
        ("bert/encoder/layer.0/intermediate/dense", "linear", 1),
        ("bert/encoder/layer.0/output/dense", "linear", 1),
    ]
    assert [group.name for group in found if group.kind == "embedding"] == [
        "bert/embeddings/word_embeddings",
        "bert/embeddings/token_type_embeddings",
        "bert/embeddings/position_embeddings",
    ]
    assert [group.name for group in found[-2:]] == ["bert/pooler/dense", "classifier"]


@pytest.mark.parametrize("name", ["bert", "ragged"])
def test_groups_share_out_all_that_is_quantized(name: str) -> None:
    settings = Settings("asymmetric", products=True)
    nodes = [node for group in groups(kit.graph(name), settings) for node in group.nodes]
    assert sorted(nodes) == sorted(operator.name for operator in operators(kit.graph(name)))
    names = [group.name for group in groups(kit.graph(name), settings)]
    assert len(set(names)) == len(names)


def test_the_matrix_that_int8_cannot_hold_costs_most() -> None:
    """One weight of a column a thousand times larger than the others leaves those three levels."""
    model = onnx.ModelProto()
    model.CopyFrom(kit.graph("bert"))
    up = next(operator for operator in operators(model) if "layer.1/intermediate" in operator.name)
    tensor = initializers(model)[str(up.weight)]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0] = 40.0
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    norm = next(t for t in model.graph.initializer if t.name.endswith("1.attention.output.LayerNorm.weight"))
    quiet = onnx.numpy_helper.to_array(norm).copy()
    quiet[0] = 1e-3
    norm.CopyFrom(onnx.numpy_helper.from_array(quiet, norm.name))
    batches = kit.batches(2)
    found = observe(model, activations(operators(model)), batches)
    told: list[tuple[int, int]] = []
    ranking = costs(
        model,
        found.ranges("minmax", symmetric=True),
        Settings("symmetric"),
        batches,
        lambda *done: told.append(done),
    )
    first = next(iter(ranking))
    assert first.nodes == (up.name,)
    assert [cost.divergence for cost in ranking.values()] == sorted(
        (cost.divergence for cost in ranking.values()), reverse=True
    )
    assert told == [(number + 1, len(ranking)) for number in range(len(ranking))]


def test_a_group_costs_what_the_model_with_it_alone_does() -> None:
    model, batches = kit.graph("bert"), kit.batches(1)
    ranges = kit.ranges("bert", symmetric=False)
    found = costs(model, ranges, Settings("asymmetric"), batches)
    group, cost = next(iter(found.items()))
    keep = frozenset(operator.name for operator in operators(model) if operator.kind != "product")
    alone, _ = quantize_graph(model, ranges, Settings("asymmetric", keep=keep - set(group.nodes)))
    assert cost == compare(kit.all_logits(alone, given=batches), kit.all_logits(model, given=batches))
    assert cost.squared_error > 0


def test_costs_need_examples() -> None:
    with pytest.raises(EdgepruneError, match="no calibration examples"):
        costs(kit.graph("bert"), {}, Settings("symmetric"), [])


def test_the_cost_is_that_of_plain_numpy() -> None:
    random = np.random.default_rng(0)
    found, expected = random.normal(size=(2, 50, 3)).astype(np.float32) * 4
    p, q = (
        np.exp(x.astype(float)) / np.exp(x.astype(float)).sum(1, keepdims=True) for x in (expected, found)
    )
    cost = compare(found, expected)
    assert cost.divergence == pytest.approx(np.mean(np.sum(p * np.log(p / q), axis=1)))
    assert cost.squared_error == pytest.approx(np.mean((found.astype(float) - expected) ** 2))
    assert cost.changed == np.mean(found.argmax(1) != expected.argmax(1))
    same = compare(expected, expected)
    assert (same.divergence, same.squared_error, same.changed) == (0, 0, 0)


def test_large_logits_do_not_overflow() -> None:
    big = np.float32([[1e4, -1e4]])
    assert np.isfinite(compare(-big, big).divergence)


RANKING = tuple(Group(f"g{number}", "linear", (f"a{number}", f"b{number}")) for number in range(6))


@given(st.sets(st.integers(0, 5)))
def test_the_search_keeps_exactly_what_is_needed(needed: set[int]) -> None:
    wanted = frozenset(f"{letter}{number}" for number in needed for letter in "ab")
    search = fewest_to_keep(RANKING, lambda kept: (wanted <= kept, f"{len(kept)} kept"))
    assert search.accepted
    assert search.nodes == wanted
    assert {group.name for group in search.kept} == {f"g{number}" for number in needed}
    assert search.trail[0].kept == ()
    assert len(search.trail) <= 2 * len(RANKING) + 1
    assert any(trial.accepted and set(trial.kept) == {g.name for g in search.kept} for trial in search.trail)


def test_a_search_says_when_it_is_not_enough() -> None:
    search = fewest_to_keep(RANKING, lambda kept: ("a5" in kept, "no"), most=2)
    assert not search.accepted
    assert [trial.kept for trial in search.trail] == [(), ("g0",), ("g0", "g1")]
    assert {trial.detail for trial in search.trail} == {"no"}
    assert search.nodes == {"a0", "b0", "a1", "b1"}


def test_nothing_is_kept_when_nothing_is_lost() -> None:
    search = fewest_to_keep(RANKING, lambda kept: (True, "fine"))
    assert (search.kept, len(search.trail)) == ((), 1)
