"""Units: what has one score each, how it is ranked, and how it masks weights in training.

A set of units belongs to one matrix (`weight`, `block`, `n:m`) or to one layer (`head`, `row`); its mask is
``ranking() >= threshold``. The sets live in the model as the submodule `SCORES`, so that their scores and
thresholds are in its `state_dict` and in every checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from edgeprune.masking.binarizing import (
    HIGH,
    LOW,
    gate,
    group_mask,
    hard_concrete_gate,
    hard_concrete_sample,
    straight_through,
    thresholded,
    top_mask,
    top_threshold,
)
from edgeprune.masking.granularity import Granularity, expand
from edgeprune.masking.regularizing import mean_sigmoid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = [
    "OPEN",
    "SCORES",
    "HardConcreteUnits",
    "LowRankUnits",
    "MagnitudeUnits",
    "Masked",
    "ScoredUnits",
    "Units",
]

SCORES = "edgeprune_scores"
"""Name of the submodule that holds the sets of units while a model is being masked."""

OPEN = float(torch.logit(torch.tensor(-LOW / (HIGH - LOW), dtype=torch.float64)))
"""Score above which the hard concrete gate is open: σ(S)·(high - low) + low > 0."""


_LARGE, _STRIDE = 2**16, 5


class Units(nn.Module):  # type: ignore[misc]
    """A set of units that compete with each other.

    Args:
        name: Module path of the matrix, or of the layer's units, e.g. `layer 3 heads`.
        layer: Number of the encoder layer.
        kind: Matrix type (`query` …), or `head`, `row`.
        granularity: What a unit is.
        shape: Of the weight, (outputs, inputs); for heads and rows (units, 1).
    """

    threshold: Tensor
    chosen: Tensor

    def __init__(
        self, name: str, layer: int, kind: str, granularity: Granularity, shape: tuple[int, int]
    ) -> None:
        super().__init__()
        self.name, self.layer, self.kind = name, layer, kind
        self.granularity, self.shape = granularity, shape
        self.register_buffer("threshold", torch.tensor(float("-inf")))
        # A threshold cannot say which of a group are kept: N:M has its mask made at every step.
        kept = torch.ones(shape, dtype=torch.bool) if granularity.group else torch.ones((), dtype=torch.bool)
        self.register_buffer("chosen", kept)
        self.final: Tensor | None = None

    def ranking(self) -> Tensor:
        """What units are ranked by, higher is kept; [rows, columns] of units, or [units]."""
        raise NotImplementedError

    def select(self, density: float) -> None:
        """Choose the threshold that keeps that share of the units, in training.

        Of a large matrix a fifth of the weights is looked at, which is a fifth of the work and hits the
        density to a few per cent of its value; the final mask (`settle`) counts them all.
        """
        with torch.no_grad():
            if self.granularity.group:
                kept, group = self.granularity.group
                # From all of a group to N of it in whole steps, as the density falls from 1 to N / M.
                now = min(max(round(density * group), kept), group)
                self.chosen.copy_(group_mask(self.ranking(), now, group))
            else:
                ranking = self.ranking()
                # A stride that no width is a multiple of goes through all columns.
                looked_at = ranking.reshape(-1)[::_STRIDE] if ranking.numel() > _LARGE else ranking
                self.threshold.copy_(top_threshold(looked_at, density))

    def select_above(self, threshold: Tensor, least: float) -> None:
        """Take a threshold that is given, lowered where less than a share `least` would be left."""
        with torch.no_grad():
            lowest = top_threshold(self.ranking(), least) if least else threshold
            self.threshold.copy_(torch.minimum(threshold.to(lowest), lowest))

    def settle(self, density: float) -> None:
        """Choose the final mask: exactly that share, ties decided."""
        with torch.no_grad():
            if self.granularity.group:
                self.final = group_mask(self.ranking(), *self.granularity.group)
            else:
                self.final = top_mask(self.ranking(), density)

    def begin(self) -> None:
        """Begin a step: draw its noise, forget what the step before has left."""

    def mask(self) -> Tensor:
        """Bool per unit."""
        if self.final is not None:
            return self.final
        if self.granularity.group:
            return self.chosen
        with torch.no_grad():
            return self.ranking() >= self.threshold

    def gates(self) -> Tensor:
        """A factor per unit, differentiable where the method learns scores."""
        raise NotImplementedError

    def spread(self, values: Tensor, axis: str, repeat: int) -> Tensor:
        """One value per unit -> something that multiplies a weight or bias.

        Args:
            values: Of the ranking's shape.
            axis: `full`: the matrix by itself. `rows`, `columns`, `bias`: heads and rows.
            repeat: Rows of a weight per unit: a head's width, or 1.
        """
        if axis == "full":
            return expand(values, self.granularity, self.shape)
        wide = values.repeat_interleave(repeat) if repeat > 1 else values
        return {"rows": wide[:, None], "columns": wide[None, :], "bias": wide}[axis]

    def masked(self, weight: Tensor, axis: str, repeat: int) -> Tensor:
        """The weight (or bias) with what is pruned set to zero."""
        if self.final is not None:
            mask = self.spread(self.final, axis, repeat)
            return torch.where(mask, weight, torch.zeros((), dtype=weight.dtype, device=weight.device))
        return weight * self.spread(self.gates(), axis, repeat)


class ScoredUnits(Units):
    """Learned scores, Top-v or thresholded: SMP, movement, soft movement."""

    def __init__(self, *about: object, units: Sequence[int], initial: float) -> None:
        super().__init__(*about)  # type: ignore[arg-type]
        self.scores = nn.Parameter(torch.full(tuple(units), float(initial)))
        self.regularized = False
        self._mean: Tensor | None = None

    def ranking(self) -> Tensor:
        """The learned scores."""
        return self.scores

    def gates(self) -> Tensor:
        """The mask, with the identity as its gradient."""
        return gate(self.scores, self.mask())

    def masked(self, weight: Tensor, axis: str, repeat: int) -> Tensor:
        """As `Units.masked`; where units are weights, without a tensor of gates."""
        if self.final is None and self.scores.shape == weight.shape:
            if self.granularity.group:
                return straight_through(weight, self.scores, self.chosen)
            regularized = self.regularized and torch.is_grad_enabled()
            masked, mean = thresholded(weight, self.scores, self.threshold, regularized=regularized)
            self._mean = mean if regularized else None
            return masked
        return super().masked(weight, axis, repeat)

    def mean_sigma(self) -> Tensor:
        """Mean σ(S), differentiable; the one of this step's forward pass, where that has made it."""
        mean, self._mean = self._mean, None
        return mean_sigmoid([self.scores]) if mean is None else mean

    def begin(self) -> None:
        """A new step: what the last one's forward pass left is of no use any more."""
        self._mean = None


class HardConcreteUnits(ScoredUnits):
    """Stochastic gates in training, deterministic ones after (L0).

    `threshold` is the score at which the deterministic gate opens: the scores are shifted by its distance
    from where the distribution has it, which is how the density target is met.
    """

    def __init__(self, *about: object, units: Sequence[int], initial: float) -> None:
        super().__init__(*about, units=units, initial=initial)
        self.threshold.fill_(OPEN)
        self._uniform: Tensor | None = None

    @property
    def log_alpha(self) -> Tensor:
        """Scores, shifted so that the gate opens at the threshold."""
        return self.scores + (OPEN - self.threshold)

    def begin(self) -> None:
        """Draw the noise of one step; every matrix of a head sees the same."""
        self._uniform = torch.rand_like(self.scores).clamp_(1e-6, 1 - 1e-6)

    def gates(self) -> Tensor:
        """Sampled in training, deterministic otherwise."""
        if not self.training or self._uniform is None:
            return hard_concrete_gate(self.log_alpha)
        return hard_concrete_sample(self.log_alpha, self._uniform)

    def masked(self, weight: Tensor, axis: str, repeat: int) -> Tensor:
        """As `Units.masked`; what is kept stays multiplied by its gate."""
        if self.final is None:
            return weight * self.spread(self.gates(), axis, repeat)
        gates = self.spread(hard_concrete_gate(self.log_alpha), axis, repeat)
        return torch.where(self.spread(self.final, axis, repeat), weight * gates, torch.zeros_like(weight))


class MagnitudeUnits(Units):
    """Ranked by the weights themselves: |W|, or its mean over a unit. Nothing is learned but the weights."""

    def __init__(self, *about: object, parts: Sequence[tuple[nn.Parameter, str, int]]) -> None:
        super().__init__(*about)  # type: ignore[arg-type]
        self._parts = tuple(parts)  # a tuple, so that the weights are not registered a second time

    def ranking(self) -> Tensor:
        """Mean |W| of a block, or the sum of |W| over a head or row."""
        with torch.no_grad():
            if not self.granularity.structured:
                ((weight, _, _),) = self._parts
                return _block_mean(weight.abs(), self.granularity)
            sums = [_unit_sum(weight.abs(), axis, repeat) for weight, axis, repeat in self._parts]
            return torch.stack(sums).sum(0)

    def gates(self) -> Tensor:
        """The mask; there is nothing to learn about it."""
        return self.mask().float()


def _block_mean(values: Tensor, granularity: Granularity) -> Tensor:
    if granularity.block is None:
        return values
    rows, columns = granularity.block
    pooled: Tensor = nn.functional.avg_pool2d(
        values[None, None], (rows, columns), ceil_mode=True, count_include_pad=False
    )
    return pooled[0, 0]


def _unit_sum(values: Tensor, axis: str, repeat: int) -> Tensor:
    """Sum over each unit's weights, [units]."""
    lines = {"rows": lambda: values.sum(1), "columns": lambda: values.sum(0), "bias": lambda: values}[axis]()
    return lines.reshape(-1, repeat).sum(1)


class LowRankUnits(Units):
    """PST: W̃ = W + β·UV, ranked by |W̃| + α₁·AB + α₂·(R + C) (Li et al. 2022, equations 5 to 9).

    U and A begin as N(0, 1), V, B, R and C as 0: at first W̃ = W and the ranking is |W|.
    """

    def __init__(self, *about: object, weight: nn.Parameter, rank: int) -> None:
        super().__init__(*about)  # type: ignore[arg-type]
        outputs, inputs = weight.shape
        self._weight = (weight,)
        self.u = nn.Parameter(torch.randn(outputs, rank))
        self.v = nn.Parameter(torch.zeros(rank, inputs))
        self.a = nn.Parameter(torch.randn(outputs, rank))
        self.b = nn.Parameter(torch.zeros(rank, inputs))
        self.r = nn.Parameter(torch.zeros(outputs))
        self.c = nn.Parameter(torch.zeros(inputs))

    def _adapted(self) -> Tensor:
        return self._weight[0] + self.u @ self.v

    def _scores(self, adapted: Tensor) -> Tensor:
        return adapted.abs() + self.a @ self.b + (self.r[:, None] + self.c[None, :])

    def ranking(self) -> Tensor:
        """|W̃| and the learned terms."""
        with torch.no_grad():
            return self._scores(self._adapted())

    def masked(self, weight: Tensor, axis: str, repeat: int) -> Tensor:
        """M ⊙ W̃, with gradients into U, V, A, B, R and C."""
        # The published code lets the gradient into W̃ through the data-free term |W̃| too, and so do we.
        with torch.autocast(weight.device.type, enabled=False):
            adapted = self._adapted()
            if self.final is not None:
                return torch.where(self.final, adapted, torch.zeros_like(adapted))
            scores = self._scores(adapted)
            mask = self.chosen if self.granularity.group else scores.detach() >= self.threshold
            return straight_through(adapted, scores, mask)


class Masked(nn.Module):  # type: ignore[misc]
    """The parametrization of one weight or bias: reads the units that it belongs to."""

    def __init__(self, units: Units, axis: str, repeat: int = 1) -> None:
        super().__init__()
        self._units = (units,)  # a tuple: the units are registered in the model once, under SCORES
        self.axis, self.repeat = axis, repeat

    def forward(self, weight: Tensor) -> Tensor:
        """The masked weight."""
        return self._units[0].masked(weight, self.axis, self.repeat)
