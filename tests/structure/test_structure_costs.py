"""Costs are counted on real models by other means, and must be what the formulas say."""

from __future__ import annotations

from typing import Any

import pytest
import structure_kit as kit
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.structure.architectures import encoder_layers, linear_sites
from edgeprune.structure.costs import CostTable, Shape, aligned_widths, flops, parameters, shape_of
from edgeprune.structure.description import KeptLayer
from edgeprune.structure.emptied import OutputBias
from edgeprune.structure.narrowing import slice_hidden
from edgeprune.structure.slicing import slice_layers

MINILM = Shape(6, 384, 12, 32, 1536, embedding_parameters=11_918_592, head_parameters=148_610)
DENSE = [(kit.HEADS, kit.FFN)] * kit.LAYERS
CUT = [KeptLayer(0, (1, 3), (0, 5, 6)), KeptLayer(2, (), tuple(range(8)))]


def _counted(model: Any, biases: bool) -> int:
    """Parameters of the encoder's linear layers and of what is left of them, read off the model."""
    linears = [model.get_submodule(site.name) for site in linear_sites(model)]
    left = [part for part in encoder_layers(model).modules() if isinstance(part, OutputBias)]
    weights = sum(linear.weight.numel() for linear in linears)
    return weights + biases * sum(part.bias.numel() for part in [*linears, *left])


@pytest.mark.parametrize("model_type", kit.TYPES)
@pytest.mark.parametrize("biases", [True, False])
def test_parameters_are_those_of_the_dense_and_of_the_cut_model(model_type: str, biases: bool) -> None:
    model = kit.classifier(model_type)
    shape = shape_of(model)
    assert parameters(shape, DENSE, biases=biases) == _counted(model, biases)
    slice_layers(model, CUT)
    assert parameters(shape, [(2, 3), (0, 8)], biases=biases) == _counted(model, biases)


@pytest.mark.parametrize("model_type", kit.TYPES)
def test_the_whole_model_is_counted_but_for_its_layernorms(model_type: str) -> None:
    model = kit.classifier(model_type)
    norms = kit.LAYERS * 2 * 2 * kit.HIDDEN
    whole = sum(weight.numel() for weight in model.parameters())
    assert parameters(shape_of(model), DENSE, scope="model") == whole - norms


@pytest.mark.parametrize("model_type", kit.TYPES)
def test_a_narrowed_shape_is_that_of_the_narrowed_model(model_type: str) -> None:
    model = kit.classifier(model_type)
    expected = shape_of(model).narrowed(10)
    slice_hidden(model, range(3, 13))
    assert shape_of(model) == expected
    assert expected.hidden == 10
    assert parameters(expected, DENSE) == _counted(model, biases=True)


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_flops_are_those_that_pytorch_counts(model_type: str) -> None:
    model = kit.classifier(model_type, attn_implementation="eager")
    shape, length = shape_of(model), 7
    head = 2 * kit.HIDDEN * kit.HIDDEN + 2 * kit.HIDDEN * len(kit.WORDS)
    ids = torch.full((1, length), 6)

    def counted() -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
        return int(counter.get_total_flops())

    assert flops(shape, DENSE, length) == counted() - head
    slice_layers(model, CUT)
    assert flops(shape, [(2, 3), (0, 8)], length) == counted() - head


def test_known_numbers_of_minilm() -> None:
    dense = [(12, 1536)] * 6
    assert parameters(MINILM, dense, biases=False) == 10_616_832
    assert parameters(MINILM, dense, scope="model") == 22_713_986 - 6 * 4 * 384
    assert flops(MINILM, dense, 64) == 2 * 64 * 10_616_832 + 6 * 4 * 64 * 64 * 384
    assert parameters(MINILM, []) == flops(MINILM, [], 64) == 0


def test_costs_of_a_model_that_is_cut_already_are_refused() -> None:
    model = kit.classifier("bert")
    slice_layers(model, CUT)
    with pytest.raises(UnsupportedError, match="the layers differ"):
        shape_of(model)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 96)), max_size=6),
    st.booleans(),
    st.sampled_from(["encoder", "model"]),
)
def test_tables_add_up_to_the_formulas(kept: list[tuple[int, int]], biases: bool, scope: Any) -> None:
    aligned = [(heads, 16 * blocks) for heads, blocks in kept]
    by_parameters = CostTable.from_parameters(MINILM, 16, biases=biases, scope=scope)
    by_flops = CostTable.from_flops(MINILM, 16, 64, scope=scope)
    assert by_parameters.total(aligned) == parameters(MINILM, aligned, biases=biases, scope=scope)
    assert by_flops.total(aligned) == flops(MINILM, aligned, 64, scope=scope)
    assert by_flops.dense(6) == flops(MINILM, [(12, 1536)] * 6, 64, scope=scope)


def test_measured_points_are_kept_and_joined_by_lines() -> None:
    table = CostTable.from_latency({2: 1.0, 4: 3.0}, {32: 2.0, 50: 2.9}, layer=0.5, fixed=4.0, alignment=16)
    assert table.attention == (0.0, 0.5, 1.0, 2.0, 3.0)
    assert table.widths == (0, 16, 32, 48, 50)
    assert table.ffn == pytest.approx((0.0, 1.0, 2.0, 2.8, 2.9))
    assert table.total([(4, 50), (0, 0)]) == pytest.approx(4.0 + 0.5 + 3.0 + 2.9 + 0.5)
    assert table.ffn_at([8, 49]).tolist() == pytest.approx([0.5, 2.85])
    assert (table.heads, table.rows) == (4, 50)


def test_a_width_that_is_no_multiple_may_be_kept_whole() -> None:
    assert aligned_widths(40, 16) == (0, 16, 32, 40)
    assert aligned_widths(32, 16) == (0, 16, 32)
    assert aligned_widths(8, 16) == (0, 8)
    assert aligned_widths(0, 16) == (0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": (0.0, -1.0)}, "numbers from 0 on"),
        ({"attention": (1.0, 2.0)}, "0 for no heads"),
        ({"layer": float("nan")}, "numbers from 0 on"),
        ({"ffn": (0.0,)}, "with a cost each"),
        ({"widths": (16, 32)}, "ascend from 0"),
        ({"widths": (0, 0)}, "ascend from 0"),
    ],
)
def test_a_table_that_is_none_is_refused(changes: dict[str, Any], message: str) -> None:
    parts: dict[str, Any] = {
        "attention": (0.0, 1.0), "widths": (0, 16), "ffn": (0.0, 1.0), "layer": 0.1, "fixed": 1.0, "unit": "ms"
    }  # fmt: skip
    with pytest.raises(EdgepruneError, match=message):
        CostTable(**(parts | changes))
