"""What units are ranked by, and how a mask is made of it, against NumPy written from the formulas."""

from __future__ import annotations

from typing import Any

import masking_kit as kit
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.masking.sensitivity import WINDOW, sensitivity
from edgeprune.masking.units import OPEN
from edgeprune.structure.architectures import linear_sites

Array = np.ndarray
LAYER = "bert.encoder.layer.0."


def weights_of(model: Any) -> dict[str, Array]:
    return {name: item.detach().double().numpy().copy() for name, item in model.named_parameters()}


# Magnitude


@pytest.mark.parametrize("sides", [(4, 4), (4, 3), (5, 7), (1, 16), (40, 40)])
def test_magnitude_ranks_blocks_by_their_mean(sides: tuple[int, int]) -> None:
    model = kit.tiny_model()
    weights = weights_of(model)
    masking = kit.attach(model, kit.plan("magnitude", {"block": list(sides)}))
    rows, columns = sides
    for units in masking.sets:
        weight = np.abs(weights[f"{units.name}.weight"])
        expected = [
            [weight[i : i + rows, j : j + columns].mean() for j in range(0, weight.shape[1], columns)]
            for i in range(0, weight.shape[0], rows)
        ]
        np.testing.assert_allclose(units.ranking().numpy(), expected, rtol=1e-5)


def test_magnitude_ranks_weights_by_themselves() -> None:
    model = kit.tiny_model()
    weights = weights_of(model)
    for units in kit.attach(model, kit.plan("magnitude")).sets:
        assert np.array_equal(units.ranking().double().numpy(), np.abs(weights[f"{units.name}.weight"]))


def test_magnitude_ranks_heads_and_rows_by_all_that_goes_with_them() -> None:
    model = kit.tiny_model()
    weights = {name: np.abs(item) for name, item in weights_of(model).items()}
    sets = {
        units.kind: units
        for units in kit.attach(model, kit.plan("magnitude", "head+row")).sets
        if not units.layer
    }
    lines = weights[f"{LAYER}attention.output.dense.weight"].sum(0)
    for name in ("query", "key", "value"):
        lines += weights[f"{LAYER}attention.self.{name}.weight"].sum(1)
        lines += weights[f"{LAYER}attention.self.{name}.bias"]
    heads = lines.reshape(kit.HEADS, kit.HEAD_SIZE).sum(1)
    assert sets["head"].ranking().numpy() == pytest.approx(heads, rel=1e-5)
    rows = (
        weights[f"{LAYER}intermediate.dense.weight"].sum(1)
        + weights[f"{LAYER}intermediate.dense.bias"]
        + weights[f"{LAYER}output.dense.weight"].sum(0)
    )
    assert sets["row"].ranking().numpy() == pytest.approx(rows, rel=1e-5)


# PST


def test_pst_begins_as_magnitude() -> None:
    dense = kit.logits(kit.tiny_model())
    model = kit.tiny_model()
    weights = weights_of(model)
    masking = kit.attach(model, kit.plan("pst"))
    for units in masking.sets:
        assert units.ranking().double().numpy() == pytest.approx(
            np.abs(weights[f"{units.name}.weight"]), rel=1e-6
        )
    masking.begin_step(0, 10)
    assert torch.allclose(kit.logits(model), dense, atol=1e-6)


def test_pst_is_the_published_formula() -> None:
    """W̃ = W + UV; rank by |W̃| + AB + R + C; the mask multiplies W̃; ∂L/∂S = (∂L/∂W') ⊙ W̃."""
    model = kit.tiny_model()
    weights = weights_of(model)
    masking = kit.attach(model, kit.plan("pst", hold=0.5, warmup=0.0))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for units in masking.sets:
            for item in units.parameters():
                item.copy_(0.3 * torch.randn(item.shape, generator=generator))
    masking.begin_step(6, 10)
    for units in masking.sets:
        learned = {name: item.detach().double().numpy() for name, item in units.named_parameters()}
        adapted = weights[f"{units.name}.weight"] + learned["u"] @ learned["v"]
        scores = np.abs(adapted) + learned["a"] @ learned["b"] + learned["r"][:, None] + learned["c"][None, :]
        assert units.ranking().numpy() == pytest.approx(scores, rel=1e-4, abs=1e-5)
        kept = round(0.3 * scores.size)
        threshold = np.sort(scores.reshape(-1))[scores.size - kept]
        mask = scores >= threshold - 1e-7
        module = model.get_submodule(units.name)
        masked = module.weight
        assert masked.detach().numpy() == pytest.approx(adapted * mask, abs=1e-5)
        slope = torch.randn(masked.shape, generator=generator)
        (masked * slope).sum().backward()
        to_scores = slope.numpy() * adapted
        # U and V through the kept part of W̃, and through |W̃| in the scores.
        to_adapted = slope.numpy() * mask + to_scores * np.sign(adapted)
        expected = {
            "u": to_adapted @ learned["v"].T,
            "v": learned["u"].T @ to_adapted,
            "a": to_scores @ learned["b"].T,
            "b": learned["a"].T @ to_scores,
            "r": to_scores.sum(1),
            "c": to_scores.sum(0),
        }
        for name, item in units.named_parameters():
            assert item.grad is not None
            assert item.grad.numpy() == pytest.approx(expected[name], rel=1e-3, abs=1e-4), name
        assert module.parametrizations.weight.original.grad is None


# PINS


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 0.1))
def test_sensitivity_is_the_published_formula(weight: float, gradient: float, rate: float) -> None:
    found = sensitivity(
        torch.tensor(weight, dtype=torch.float64), torch.tensor(gradient, dtype=torch.float64), rate
    )
    assert found.item() == pytest.approx(abs(-weight * gradient + rate * gradient**2), abs=1e-12)


def test_sensitivity_by_hand() -> None:
    # |-2·0.5 + 0.1·0.25|.
    assert sensitivity(torch.tensor(2.0), torch.tensor(0.5), 0.1).item() == pytest.approx(0.975)


def test_pins_averages_over_windows_as_published() -> None:
    """Mean over ten steps; then Ī ← .85·Ī + .15·I and U ← .99·U + .01·|I - Ī|; ranked by Ī·U."""
    model = kit.tiny_model()
    masking = kit.attach(model, kit.plan("pins"))
    site = linear_sites(model)[0].name
    units = next(units for units in masking.sets if units.name == site)
    weight = model.get_submodule(site).parametrizations.weight.original
    generator = np.random.default_rng(4)
    mean = average = uncertainty = np.zeros(weight.shape)
    for step in range(3 * WINDOW + 4):
        gradient = generator.normal(size=weight.shape)
        values = generator.normal(size=weight.shape)
        rate = 1e-3 * (step + 1)
        now = np.abs(-values * gradient + rate * gradient**2)
        if step % 10 == 0:
            average = 0.85 * average + 0.15 * mean
            uncertainty = 0.99 * uncertainty + 0.01 * np.abs(mean - average)
            mean = now
        else:
            mean = (mean * (step % 10) + now) / (step % 10 + 1)
        with torch.no_grad():
            weight.copy_(torch.from_numpy(values))
        weight.grad = torch.from_numpy(gradient).float()
        masking.gradients_ready(step, rate)
    assert WINDOW == 10
    assert units.ranking().numpy() == pytest.approx(average * uncertainty, rel=1e-4, abs=1e-7)


def test_pins_zeroes_what_it_prunes_in_the_weights() -> None:
    model = kit.tiny_model()
    masking = kit.attach(model, kit.plan("pins", hold=0.4))
    kit.train(masking, kit.optimizer_of(masking), total=30)
    originals = [
        model.get_submodule(units.name).parametrizations.weight.original.detach() for units in masking.sets
    ]
    zeros = sum(int((item == 0).sum()) for item in originals)
    assert zeros / sum(item.numel() for item in originals) == pytest.approx(0.7, abs=1e-3)


# Hard concrete gates


def test_the_gate_opens_above_its_threshold() -> None:
    assert 1 / (1 + np.exp(-OPEN)) * 1.2 - 0.1 == pytest.approx(0.0, abs=1e-12)
    model = kit.tiny_model()
    weights = weights_of(model)
    masking = kit.attach(model, kit.plan("l0"))
    units = masking.sets[0]
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        units.scores.copy_(3 * torch.randn(units.scores.shape, generator=generator))
    scores = units.scores.detach().double().numpy()
    gate = np.clip(1 / (1 + np.exp(-scores)) * 1.2 - 0.1, 0, 1)
    model.eval()
    masked = model.get_submodule(units.name).weight.detach().numpy()
    assert masked == pytest.approx(weights[f"{units.name}.weight"] * gate, abs=1e-5)
    assert np.array_equal(units.mask().numpy(), gate > 0)


def test_a_step_of_l0_has_one_draw_for_all_that_a_head_masks() -> None:
    model = kit.tiny_model()
    weights = weights_of(model)
    masking = kit.attach(model, kit.plan("l0", "head", score_init=0.0))
    torch.manual_seed(11)
    model.train()
    masking.begin_step(0, 10)

    def factors(name: str, axis: int) -> Array:
        ratio = model.get_submodule(name).weight.detach().numpy() / weights[f"{name}.weight"]
        lines = np.moveaxis(ratio, axis, 0).reshape(kit.HEADS, -1)
        assert lines.std(axis=1) == pytest.approx(np.zeros(kit.HEADS), abs=1e-4)
        return lines.mean(axis=1)

    found = [factors(f"{LAYER}attention.self.{name}", 0) for name in ("query", "key", "value")]
    found.append(factors(f"{LAYER}attention.output.dense", 1))
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-4)
    assert np.ptp(found[0]) > 0.1
    masking.begin_step(1, 10)
    assert np.ptp(factors(f"{LAYER}attention.self.query", 0) - found[0]) > 0.01  # every step draws anew
