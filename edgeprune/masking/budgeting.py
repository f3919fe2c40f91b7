"""Who stays within the budget: thresholds and final masks of all sets of units.

A budget is shared by sets whose units are alike: one matrix type over the layers, heads, rows; with
`global` all matrices. Soft movement and L0 have a threshold that is given and reach a density only through
their penalty; in the hold phase, and at the end, the threshold is moved to where the density is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from edgeprune.masking.allocating import global_threshold, score_allocation, uniform_allocation, unit_counts
from edgeprune.masking.binarizing import sigmoid_threshold, top_mask
from edgeprune.masking.scheduling import tau_at
from edgeprune.masking.units import OPEN

if TYPE_CHECKING:
    from torch import Tensor

    from edgeprune.masking.plan import MaskPlan
    from edgeprune.masking.units import Units

__all__ = ["Budget"]

# Soft movement never empties a matrix (as its published code).
_LEAST = 0.005


class Budget:
    """Shares a density over sets of units.

    Args:
        sets: The sets of units.
        plan: Method, allocation, thresholds.
    """

    def __init__(self, sets: Sequence[Units], plan: MaskPlan) -> None:
        self._plan = plan
        # N:M keeps N of M everywhere: there is nothing to share.
        self._allocation = "uniform" if plan.granularity.group else plan.allocation
        together = self._allocation == "global" and not plan.granularity.structured
        kinds = {id(units): "all" if together else units.kind for units in sets}
        self._groups = [
            [units for units in sets if kinds[id(units)] == kind] for kind in dict.fromkeys(kinds.values())
        ]

    @property
    def by_penalty(self) -> bool:
        """The density follows from the penalty, which therefore has to be steered."""
        return self._plan.method in ("movement-soft", "l0")

    def select(self, density: float, progress: float) -> None:
        """Thresholds for one step: those that meet the density, or those that the method prescribes."""
        held = progress >= 1 - self._plan.hold
        for group in self._groups:
            if not self.by_penalty:
                for units, share in zip(group, self._densities(group, density), strict=True):
                    units.select(share)
                continue
            threshold = _middle(group, density) if held else self._prescribed(progress)
            for units in group:
                units.select_above(threshold, 0.0 if self._plan.method == "l0" else _LEAST)

    def _prescribed(self, progress: float) -> Tensor:
        plan = self._plan
        if plan.method == "l0":
            return torch.tensor(OPEN)
        return sigmoid_threshold(tau_at(progress, final=plan.tau, warmup=plan.warmup, hold=plan.hold))

    def settle(self) -> None:
        """Final masks: the target density exactly, ties decided by position."""
        density = self._plan.density
        for group in self._groups:
            if self._allocation == "global":
                self._settle_together(group)
                continue
            for units, share in zip(group, self._densities(group, density), strict=True):
                units.settle(share)

    def _settle_together(self, group: Sequence[Units]) -> None:
        """One ranking over the sets of a group."""
        rankings = [units.ranking().detach() for units in group]
        sizes = [item.numel() for item in rankings]
        (kept,) = unit_counts([self._plan.density], [sum(sizes)])
        mask = top_mask(torch.cat([item.reshape(-1) for item in rankings]), kept / sum(sizes))
        threshold = _middle(group, kept / sum(sizes))
        for units, ranking, part in zip(group, rankings, mask.split(sizes), strict=True):
            units.threshold.copy_(threshold)
            units.final = part.reshape(ranking.shape)

    def _densities(self, group: Sequence[Units], density: float) -> list[float]:
        """Share that each set of a group keeps, in whole units."""
        rankings = [units.ranking().detach() for units in group]
        sizes = [item.numel() for item in rankings]
        if self._allocation == "global":
            threshold = global_threshold(rankings, density)
            counts = [int((item >= threshold).sum()) for item in rankings]
        elif self._allocation == "score":
            p = self._plan.share_temperature
            shares = [float(torch.sigmoid(item if p == 1 else item / p).mean()) for item in rankings]
            counts = unit_counts(score_allocation(shares, sizes, density), sizes)
        else:
            counts = unit_counts(uniform_allocation(sizes, density), sizes)
        return [count / size for count, size in zip(counts, sizes, strict=True)]


def _middle(group: Sequence[Units], density: float) -> Tensor:
    """A threshold between the last score that is kept and the first that is not.

    At the last score itself L0's gate would be shut: what counts as kept would be zero.
    """
    rankings = torch.cat([units.ranking().detach().reshape(-1) for units in group])
    last = global_threshold([rankings], density)
    below = rankings[rankings < last]
    return (last + below.max()) / 2 if below.numel() and torch.isfinite(last) else last
