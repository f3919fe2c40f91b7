"""Regularizers against NumPy written from the formulas, values and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.masking.binarizing import hard_concrete_sample
from edgeprune.masking.regularizing import expected_l0, mean_sigmoid

Array = np.ndarray
MATRICES = st.lists(
    hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=1, max_dims=2, max_side=5), elements=st.floats(-1e4, 1e4)
    ),
    min_size=1,
    max_size=4,
)


def sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


@given(MATRICES)
def test_mean_sigmoid_is_a_mean_over_matrices_of_means(matrices: list[Array]) -> None:
    scores = [torch.from_numpy(matrix).requires_grad_() for matrix in matrices]
    found = mean_sigmoid(scores)
    assert found.shape == ()
    assert found.item() == pytest.approx(np.mean([sigmoid(matrix).mean() for matrix in matrices]), abs=1e-12)
    (3.0 * found).backward()
    for score, matrix in zip(scores, matrices, strict=True):
        slope = sigmoid(matrix) * (1 - sigmoid(matrix)) / (matrix.size * len(matrices))
        assert score.grad is not None
        assert score.grad.numpy() == pytest.approx(3.0 * slope, abs=1e-12)


@given(MATRICES, st.floats(0.1, 2.0), st.floats(-0.5, -0.01), st.floats(1.01, 1.5))
def test_expected_l0_is_the_published_formula(
    matrices: list[Array], temperature: float, low: float, high: float
) -> None:
    scores = [torch.from_numpy(matrix).requires_grad_() for matrix in matrices]
    found = expected_l0(scores, temperature=temperature, low=low, high=high)
    assert found.shape == ()
    open_ = [sigmoid(matrix - temperature * np.log(-low / high)) for matrix in matrices]
    assert found.item() == pytest.approx(np.mean([share.mean() for share in open_]), abs=1e-12)
    found.backward()
    for score, share in zip(scores, open_, strict=True):
        assert score.grad is not None
        assert score.grad.numpy() == pytest.approx(
            share * (1 - share) / (share.size * len(matrices)), abs=1e-12
        )


def test_by_hand() -> None:
    # Ten scores of 0 and one of ln 3: (0.5 + 0.75)/2, whatever the matrices' sizes.
    scores = [torch.zeros(2, 5), torch.tensor([[math.log(3.0)]])]
    assert mean_sigmoid(scores).item() == pytest.approx(0.625)
    # At log α = 0: σ(⅔·ln 11) = 0.8318.
    assert expected_l0([torch.zeros(3, 3)]).item() == pytest.approx(0.8318, abs=1e-4)
    # The published start, 2.197 = ln 9: σ(2.197 + 1.5986) = 0.978.
    assert expected_l0([torch.full((3,), 2.197)]).item() == pytest.approx(0.97803, abs=1e-4)


@pytest.mark.parametrize("log_alpha", [-4.0, -1.0, 0.0, 2.197])
def test_expected_l0_is_the_share_of_gates_that_open(log_alpha: float) -> None:
    draws = 100_000
    uniform = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws  # evenly, in place of chance
    scores = torch.full((draws,), log_alpha, dtype=torch.float64)
    share = (hard_concrete_sample(scores, uniform) > 0).double().mean().item()
    assert expected_l0([scores]).item() == pytest.approx(share, abs=2 / draws)


def test_extreme_scores_are_finite_in_value_and_gradient() -> None:
    for regularizer in (mean_sigmoid, expected_l0):
        scores = torch.tensor([[-1e4, 1e4, 3e38, -3e38]], requires_grad=True)
        value = regularizer([scores])
        value.backward()
        assert value.item() == pytest.approx(0.5)
        assert scores.grad is not None
        assert scores.grad.tolist() == [[0.0, 0.0, 0.0, 0.0]]


def test_scores_are_left_as_they_were() -> None:
    scores = torch.tensor([0.3, -0.7], requires_grad=True)
    before = scores.detach().clone()
    mean_sigmoid([scores]).backward()
    expected_l0([scores]).backward()
    assert torch.equal(scores.detach(), before)


def test_without_learned_scores_there_is_no_gradient_to_make() -> None:
    assert not mean_sigmoid([torch.zeros(3)]).requires_grad
    assert mean_sigmoid([torch.zeros(3)]).item() == 0.5
