"""Importance against the definition: what the loss does when a unit's part is scaled, and sums by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import structure_kit as kit
import torch

from edgeprune.structure.architectures import architecture_of, encoder_layers, linear_sites
from edgeprune.structure.description import KeptLayer
from edgeprune.structure.importance import (
    TaylorMeter,
    by_magnitude,
    by_scores,
    by_survivors,
    measure_taylor,
    survivors,
)
from edgeprune.structure.slicing import slice_layers

every_type = pytest.mark.parametrize("model_type", kit.TYPES)
SIZE = kit.HIDDEN // kit.HEADS


def batch(model_type: str) -> dict[str, Any]:
    found = dict(kit.batch(model_type))
    return found | {"labels": torch.arange(len(found["input_ids"])) % 3}


def loss_of_each(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    logits = model(**{name: item for name, item in inputs.items() if name != "labels"}).logits
    return torch.nn.functional.cross_entropy(logits, inputs["labels"], reduction="none")


@every_type
def test_taylor_is_the_slope_of_each_texts_loss_along_the_units_gate(model_type: str) -> None:
    """Reference: finite differences of a gate on the unit's columns, in double precision."""
    model, inputs = kit.classifier(model_type).double().eval(), batch(model_type)
    found, _ = measure_taylor(model, [inputs])
    entry, step = architecture_of(model), 1e-5
    for layer, kind, unit, columns in (
        (0, "output", 1, slice(SIZE, 2 * SIZE)),
        (2, "output", 3, slice(3 * SIZE, 4 * SIZE)),
        (1, "down", 5, slice(5, 6)),
    ):
        weight = encoder_layers(model)[layer].get_submodule(entry.linears[kind]).weight
        before, losses = weight.detach().clone(), []
        with torch.no_grad():
            for sign in (1, -1):
                weight[:, columns] = before[:, columns] * (1 + sign * step)
                losses.append(loss_of_each(model, inputs))
                weight.copy_(before)
        slope = ((losses[0] - losses[1]) / (2 * step)).abs().mean().item()
        part = found.heads if kind == "output" else found.rows
        assert part[layer][unit] == pytest.approx(slope, rel=1e-3), (layer, kind, unit)


def test_taylor_does_not_depend_on_how_texts_are_batched() -> None:
    model, inputs = kit.classifier("bert"), batch("bert")
    whole, width = measure_taylor(model, [inputs])
    parts = [{name: item[rows] for name, item in inputs.items()} for rows in (slice(0, 2), slice(2, None))]
    split, width_split = measure_taylor(model, parts)
    for one, other in zip((*whole.heads, *whole.rows), (*split.heads, *split.rows), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    np.testing.assert_allclose(width, width_split, rtol=1e-4)
    assert all(item.grad is None for item in model.parameters())


@every_type
def test_taylor_of_hidden_dimensions_counts_every_layer(model_type: str) -> None:
    _, width = measure_taylor(kit.classifier(model_type), [batch(model_type)])
    assert width.shape == (kit.HIDDEN,)
    assert (width > 0).all()


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="no text"):
        TaylorMeter(kit.classifier("bert")).importance()


@every_type
def test_magnitude_by_hand(model_type: str) -> None:
    model = kit.classifier(model_type)
    linear = {
        (s.layer, s.kind): model.get_submodule(s.name).weight.detach().numpy() for s in linear_sites(model)
    }
    heads = np.array(
        [
            [
                np.sqrt(
                    sum(
                        (linear[layer, kind][head * SIZE : (head + 1) * SIZE] ** 2).sum()
                        for kind in ("query", "key", "value")
                    )
                    + (linear[layer, "output"][:, head * SIZE : (head + 1) * SIZE] ** 2).sum()
                )
                for head in range(kit.HEADS)
            ]
            for layer in range(kit.LAYERS)
        ]
    )
    rows = np.array(
        [
            np.sqrt((linear[layer, "up"] ** 2).sum(1) + (linear[layer, "down"] ** 2).sum(0))
            for layer in range(kit.LAYERS)
        ]
    )
    found = by_magnitude(model)
    np.testing.assert_allclose(np.stack(found.heads), heads / heads.sum(), rtol=1e-5)
    np.testing.assert_allclose(np.stack(found.rows), rows / rows.sum(), rtol=1e-5)


def test_survivors_and_scores_by_hand() -> None:
    model = kit.classifier("bert")
    masks = {
        site.name: torch.zeros_like(model.get_submodule(site.name).weight) for site in linear_sites(model)
    }
    scores = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    layer = "bert.encoder.layer.1"
    masks[f"{layer}.attention.self.key"][SIZE, 0] = 1  # head 1
    masks[f"{layer}.attention.output.dense"][3, 2 * SIZE] = 1  # head 2
    scores[f"{layer}.attention.output.dense"][3, 2 * SIZE] = 100
    masks[f"{layer}.output.dense"][0, 7] = 1  # row 7
    counts = survivors(model, masks)
    assert [part.tolist() for part in counts.heads] == [[0] * 4, [0, 1, 1, 0], [0] * 4]
    assert np.flatnonzero(counts.rows[1]).tolist() == [7]
    assert by_survivors(model, masks).heads[1].tolist() == [0, 0.5, 0.5, 0]
    np.testing.assert_allclose(by_scores(model, masks, scores).heads[1], [0, 1 / 3, 2 / 3, 0])


def test_scores_of_units_and_blocks_are_spread_over_their_weights() -> None:
    model = kit.classifier("bert")
    layer = "bert.encoder.layer.0"
    scores = {
        f"{layer}.attention.self.query": torch.tensor([0.0, 100.0, -100.0, 0.0]),
        f"{layer}.attention.output.dense": torch.tensor([0.0, 100.0, -100.0, 0.0]),
        f"{layer}.intermediate.dense": torch.zeros(kit.FFN // 2, kit.HIDDEN // 4),
    }
    ones = {name: torch.ones_like(model.get_submodule(name).weight) for name in scores}
    found = by_scores(model, ones, scores)
    whole = SIZE * kit.HIDDEN
    # Query and output by their scores, key and value (which have none) whole; the other layers are whole.
    expected = np.array([1 + 2, 2 + 2, 0 + 2, 1 + 2]) * whole
    assert found.heads[0] / found.heads[0][0] == pytest.approx(expected / expected[0])
    assert found.rows[0][0] / found.rows[1][0] == pytest.approx((0.5 + 1) / 2)


@every_type
def test_a_sliced_model_is_measured_by_what_it_has(model_type: str) -> None:
    model = kit.classifier(model_type)
    slice_layers(model, (KeptLayer(0, (1, 3), ()), KeptLayer(2, (), (0, 4, 5))))
    for found in (by_magnitude(model), measure_taylor(model, [batch(model_type)])[0]):
        assert [part.size for part in found.heads] == [2, 0]
        assert [part.size for part in found.rows] == [0, 3]
