"""Binarizers against NumPy written from the formulas, laws, and gradients written out."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.masking.binarizing import (
    gate,
    group_mask,
    hard_concrete_gate,
    hard_concrete_sample,
    kept_count,
    sigmoid_threshold,
    straight_through,
    top_mask,
    top_threshold,
)

Array = np.ndarray
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9)
# Few values: many ties. Then anything that FP32 holds, infinities included.
TIED = st.sampled_from([-2.0, -1e-3, -0.0, 0.0, 1.0])
ANY = st.floats(width=32, allow_nan=False)
MODERATE = st.floats(-10, 10, width=32)
SCORES = hnp.arrays(np.float32, SHAPES, elements=TIED) | hnp.arrays(np.float32, SHAPES, elements=ANY)
UNTIED = hnp.arrays(np.float32, SHAPES, elements=ANY, unique=True)
# Densities as recipes write them: decimals.
DECIMALS = st.integers(0, 10_000).map(lambda tens: Fraction(tens, 10_000))
DENSITIES = st.sampled_from([0.0, 1.0]) | DECIMALS.map(float)


def sigmoid(scores: Array) -> Array:
    return 1 / (1 + np.exp(-scores.astype(np.float64)))


def kept_first(scores: Array, kept: int) -> Array:
    """The `kept` largest along the last dimension; equal ones in order of their index."""
    order = np.argsort(-scores, axis=-1, kind="stable")[..., :kept]
    mask = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(mask, order, values=True, axis=-1)
    return mask


# kept_count


@given(st.integers(0, 200_000_000), DECIMALS)
def test_kept_count_is_the_floor_of_the_decimal_product(numel: int, density: Fraction) -> None:
    assert kept_count(numel, float(density)) == math.floor(density * numel)


@pytest.mark.parametrize(
    ("numel", "density", "kept"),
    [
        (100, 0.29, 29),  # 28.999999999999996 in floating point
        (1000, 0.57, 570),  # 569.9999999999999
        (10, 0.99, 9),
        (3, 0.3334, 1),
        (3, 0.333, 0),
        (0, 0.5, 0),
        (7, 0.0, 0),
        (7, 1.0, 7),
        (147_456, 0.1, 14_745),
        (7, -0.1, 0),
        (7, 1.1, 7),
    ],
)
def test_kept_count_by_hand(numel: int, density: float, kept: int) -> None:
    assert kept_count(numel, density) == kept


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_kept_count_never_falls_with_density(numel: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= kept_count(numel, low) <= kept_count(numel, high) <= numel


# top_mask, top_threshold


@given(SCORES, DENSITIES)
def test_top_mask_keeps_the_largest(scores: Array, density: float) -> None:
    found = top_mask(torch.from_numpy(scores), density)
    assert found.dtype == torch.bool
    expected = kept_first(scores.reshape(-1), kept_count(scores.size, density)).reshape(scores.shape)
    assert np.array_equal(found.numpy(), expected)


@given(SCORES, DECIMALS)
def test_top_mask_keeps_exactly_as_many_as_the_density_says(scores: Array, density: Fraction) -> None:
    mask = top_mask(torch.from_numpy(scores), float(density))
    assert int(mask.sum()) == math.floor(density * scores.size)


@given(SCORES, DENSITIES, DENSITIES)
def test_masks_of_one_set_of_scores_are_nested(scores: Array, one: float, other: float) -> None:
    low, high = sorted((one, other))
    fewer, more = (top_mask(torch.from_numpy(scores), density) for density in (low, high))
    assert not bool((fewer & ~more).any())


@given(UNTIED, DENSITIES)
def test_threshold_and_mask_agree_where_there_are_no_ties(scores: Array, density: float) -> None:
    assume(len(np.unique(scores)) == scores.size)  # 0.0 and -0.0 are a tie to arithmetic
    tensor = torch.from_numpy(scores)
    threshold = top_threshold(tensor, density)
    assert threshold.shape == ()
    assume(not (kept_count(scores.size, density) == 0 and np.isposinf(scores).any()))
    assert torch.equal(tensor >= threshold, top_mask(tensor, density))


@given(SCORES, DENSITIES)
def test_threshold_is_the_smallest_score_that_is_kept(scores: Array, density: float) -> None:
    kept = kept_count(scores.size, density)
    if kept == 0:
        expected = np.inf
    elif kept == scores.size:
        expected = -np.inf
    else:
        expected = np.sort(scores.reshape(-1))[scores.size - kept]
    assert top_threshold(torch.from_numpy(scores), density).item() == expected


def test_top_mask_by_hand() -> None:
    scores = torch.tensor([[0.5, -3.0, 0.5], [2.0, 0.5, 1e30]])
    assert top_mask(scores, 0.5).tolist() == [[True, False, False], [True, False, True]]
    assert top_mask(scores, 0.67).tolist() == [[True, False, True], [True, False, True]]
    assert top_mask(scores, 0.0).any().item() is False
    assert top_mask(scores, 1.0).all().item() is True
    assert top_threshold(scores, 0.5).item() == 0.5
    assert top_threshold(scores, 0.34).item() == 2.0
    # At the start all scores are 0: the first ones are kept, always the same ones.
    assert top_mask(torch.zeros(2, 3), 0.5).tolist() == [[True, True, True], [False, False, False]]


def test_masks_carry_no_gradient_and_leave_the_scores_alone() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, 0.0]], requires_grad=True)
    before = scores.detach().clone()
    for mask in (top_mask(scores, 0.5), group_mask(scores, 2, 4)):
        assert mask.dtype == torch.bool
        assert mask.shape == scores.shape
        assert not mask.requires_grad
    assert not top_threshold(scores, 0.5).requires_grad
    assert torch.equal(scores.detach(), before)


def test_scores_that_do_not_lie_in_one_piece() -> None:
    scores = torch.arange(12.0).reshape(3, 4).t()
    assert torch.equal(top_mask(scores, 0.5), scores >= 6)
    assert torch.equal(
        group_mask(torch.arange(16.0).reshape(4, 4).t(), 1, 4)[:, 3], torch.ones(4, dtype=torch.bool)
    )


# group_mask


@st.composite
def grouped(draw: st.DrawFn) -> tuple[Array, int, int]:
    group = draw(st.integers(1, 8))
    kept = draw(st.integers(0, group))
    lead = draw(st.lists(st.integers(1, 4), max_size=2))
    shape = (*lead, group * draw(st.integers(1, 4)))
    return draw(hnp.arrays(np.float32, shape, elements=TIED | ANY)), kept, group


@given(grouped())
def test_group_mask_keeps_the_largest_of_every_group(case: tuple[Array, int, int]) -> None:
    scores, kept, group = case
    found = group_mask(torch.from_numpy(scores), kept, group).numpy()
    groups = found.reshape(-1, group)
    assert (groups.sum(axis=1) == kept).all()
    assert np.array_equal(groups, kept_first(scores.reshape(-1, group), kept))


def test_group_mask_by_hand() -> None:
    scores = torch.tensor([[1.0, 4.0, 2.0, 3.0, -1.0, -1.0, -1.0, -2.0]])
    assert group_mask(scores, 2, 4).int().tolist() == [[0, 1, 0, 1, 1, 1, 0, 0]]
    assert group_mask(scores, 1, 2).int().tolist() == [[0, 1, 0, 1, 1, 0, 1, 0]]


@pytest.mark.parametrize(("kept", "group", "message"), [(2, 3, "8.*3"), (5, 4, "5"), (-1, 4, "-1")])
def test_groups_that_do_not_fit(kept: int, group: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group_mask(torch.zeros(2, 8), kept, group)


# sigmoid_threshold


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(-60, 60, width=32)), st.floats(0.001, 0.999))
def test_scores_above_the_sigmoid_threshold_are_those_whose_sigmoid_is_above_tau(
    scores: Array, tau: float
) -> None:
    # Where σ(S) and τ differ by rounding alone, either answer is right.
    assume((np.abs(sigmoid(scores) - tau) > 1e-6).all())
    found = (torch.from_numpy(scores) >= sigmoid_threshold(tau)).numpy()
    assert np.array_equal(found, sigmoid(scores) > tau)


def test_the_sigmoid_threshold_by_hand() -> None:
    assert sigmoid_threshold(0.5).item() == 0.0
    assert sigmoid_threshold(0.27).item() == pytest.approx(math.log(0.27 / 0.73))
    assert sigmoid_threshold(0.0).item() == -math.inf
    assert sigmoid_threshold(1.0).item() == math.inf


# Hard concrete gates

LOG_ALPHAS = hnp.arrays(np.float64, 7, elements=st.floats(-20, 20))
UNIFORM = hnp.arrays(np.float64, 7, elements=st.floats(0.001, 0.999))
STRETCH = st.tuples(st.floats(0.1, 2.0), st.floats(-0.5, -0.01), st.floats(1.01, 1.5))


@given(LOG_ALPHAS, UNIFORM, STRETCH)
def test_hard_concrete_sample_is_the_published_formula(
    log_alpha: Array, uniform: Array, stretch: tuple[float, float, float]
) -> None:
    temperature, low, high = stretch
    s = sigmoid((np.log(uniform) - np.log(1 - uniform) + log_alpha) / temperature)
    inside = s * (high - low) + low
    scores = torch.from_numpy(log_alpha).requires_grad_()
    found = hard_concrete_sample(
        scores, torch.from_numpy(uniform), temperature=temperature, low=low, high=high
    )
    assert found.detach().numpy() == pytest.approx(np.clip(inside, 0, 1), abs=1e-9)
    assume((np.minimum(np.abs(inside), np.abs(inside - 1)) > 1e-9).all())
    found.sum().backward()
    open_ = (inside > 0) & (inside < 1)
    assert scores.grad is not None
    assert scores.grad.numpy() == pytest.approx(open_ * (high - low) * s * (1 - s) / temperature, abs=1e-9)


@given(LOG_ALPHAS, STRETCH)
def test_hard_concrete_gate_is_the_published_formula(
    log_alpha: Array, stretch: tuple[float, float, float]
) -> None:
    _, low, high = stretch
    found = hard_concrete_gate(torch.from_numpy(log_alpha), low=low, high=high).numpy()
    assert found == pytest.approx(np.clip(sigmoid(log_alpha) * (high - low) + low, 0, 1), abs=1e-9)


def test_hard_concrete_by_hand() -> None:
    scores = torch.tensor([0.0, math.log(9.0), 3.0, -3.0])
    # σ(ln 9) = 0.9, and 0.9·1.2 - 0.1 = 0.98; σ(±3) = 0.953, 0.047 lie in the clamped tails.
    assert hard_concrete_gate(scores).tolist() == pytest.approx([0.5, 0.98, 1.0, 0.0], abs=1e-6)
    # At u = 1/2 there is no noise, only the temperature of 2/3: σ(1.5 · ln 9) = 27/28.
    sample = hard_concrete_sample(scores, torch.full((4,), 0.5))
    assert sample.tolist() == pytest.approx([0.5, 1.0, 1.0, 0.0], abs=1e-6)
    assert hard_concrete_sample(torch.tensor([math.log(4.0)]), torch.tensor([0.2])).item() == pytest.approx(
        0.5
    )


def test_draws_at_the_ends_close_and_open_gates() -> None:
    scores = torch.zeros(2, requires_grad=True)
    gates = hard_concrete_sample(scores, torch.tensor([0.0, 1.0]))
    gates.sum().backward()
    assert gates.tolist() == [0.0, 1.0]
    assert scores.grad is not None
    assert scores.grad.tolist() == [0.0, 0.0]


# straight_through


@given(st.data(), st.integers(1, 6), st.integers(1, 6), DENSITIES)
def test_scores_learn_as_if_the_mask_were_they(
    data: st.DataObject, outputs: int, inputs: int, density: float
) -> None:
    """For L = ½‖x·W'ᵀ - y‖²: ∂L/∂W' = (x·W'ᵀ - y)ᵀ·x, ∂L/∂S is that ⊙ W everywhere, ∂L/∂W that ⊙ M."""

    def draw(*shape: int) -> Array:
        return data.draw(hnp.arrays(np.float64, shape, elements=MODERATE))

    weight, scores = draw(outputs, inputs), draw(outputs, inputs)
    x, y = draw(4, inputs), draw(4, outputs)
    mask = kept_first(scores.reshape(-1), math.floor(density * weight.size + 1e-9)).reshape(weight.shape)
    masked = weight * mask
    gradient = (x @ masked.T - y).T @ x

    weights = torch.from_numpy(weight).requires_grad_()
    learned = torch.from_numpy(scores).requires_grad_()
    found = straight_through(weights, learned, torch.from_numpy(mask))
    assert np.array_equal(found.detach().numpy(), masked)
    (0.5 * (torch.from_numpy(x) @ found.T - torch.from_numpy(y)).square().sum()).backward()
    assert learned.grad is not None
    assert weights.grad is not None
    assert learned.grad.numpy() == pytest.approx(gradient * weight, rel=1e-9, abs=1e-9)
    assert weights.grad.numpy() == pytest.approx(gradient * mask, rel=1e-9, abs=1e-9)


def test_a_pruned_weight_comes_back() -> None:
    """L = w'₁ + 4·w'₂ with W = (2, -1): ∂L/∂S = (2, -4), one step at 0.1 turns the order of the scores."""
    weight = torch.tensor([2.0, -1.0])
    scores = torch.tensor([0.1, 0.0], requires_grad=True)
    mask = top_mask(scores, 0.5)
    assert mask.tolist() == [True, False]
    (straight_through(weight, scores, mask) * torch.tensor([1.0, 4.0])).sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [2.0, -4.0]
    stepped = scores.detach() - 0.1 * scores.grad
    assert stepped.tolist() == pytest.approx([-0.1, 0.4])
    assert top_mask(stepped, 0.5).tolist() == [False, True]


def test_what_is_frozen_gets_no_gradient() -> None:
    weight, scores = torch.ones(2), torch.zeros(2, requires_grad=True)
    mask = torch.tensor([True, False])
    straight_through(weight, scores, mask).sum().backward()
    assert weight.grad is None
    assert scores.grad is not None
    weight, scores = torch.ones(2, requires_grad=True), torch.zeros(2)
    straight_through(weight, scores, mask).sum().backward()
    assert scores.grad is None
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, 0.0]


@given(SCORES, DENSITIES)
def test_a_gate_is_the_mask_with_the_gradient_of_the_scores(scores: Array, density: float) -> None:
    learned = torch.from_numpy(scores).requires_grad_()
    mask = top_mask(learned, density)
    found = gate(learned, mask)
    assert found.dtype == learned.dtype
    assert np.array_equal(found.detach().numpy(), mask.numpy().astype(np.float32))
    slope = np.arange(scores.size, dtype=np.float32).reshape(scores.shape) - 1
    (found * torch.from_numpy(slope)).sum().backward()
    assert learned.grad is not None
    assert np.array_equal(learned.grad.numpy(), slope)
