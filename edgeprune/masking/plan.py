"""What mask learning is asked for, and what each method means by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeprune.masking.granularity import Granularity
from edgeprune.masking.scheduling import Shape

__all__ = ["METHODS", "Allocation", "MaskPlan", "Method", "MethodName"]

MethodName = Literal["smp", "movement", "movement-soft", "magnitude", "l0", "pst", "pins"]
Allocation = Literal["uniform", "score", "global"]


@dataclass(frozen=True)
class Method:
    """What a method is, and the values that its paper or published code uses.

    Attributes:
        summary: One line: score, mask, what is trained.
        base_frozen: The encoder's own parameters are not trained.
        granularities: Kinds of units that it can prune.
        allocations: How it can share the budget; the first is its own.
        score_rate: Learning rate of what it learns beside weights; 0 when there is nothing.
        weight_rate: Learning rate of the encoder's weights; 0 when they are frozen.
        score_init: Scores at the beginning.
        regularizer: λ.
    """

    summary: str
    base_frozen: bool
    granularities: tuple[str, ...]
    allocations: tuple[Allocation, ...]
    score_rate: float
    weight_rate: float
    score_init: float = 0.0
    regularizer: float = 0.0


_ALL = ("weight", "block", "n:m", "row", "head", "head+row")

METHODS: dict[str, Method] = {
    "smp": Method(
        "first-order scores, Top-v, frozen encoder", True, _ALL, ("score", "uniform", "global"), 2e-2, 0.0,
        regularizer=400.0,
    ),
    "movement": Method(
        "first-order scores, Top-v, weights trained too", False, _ALL, ("uniform", "score", "global"), 1e-2,
        3e-5,
    ),
    "movement-soft": Method(
        "first-order scores above a threshold, weights trained too", False,
        ("weight", "block", "row", "head", "head+row"), ("global",), 1e-2, 3e-5, regularizer=400.0,
    ),
    "magnitude": Method(
        "absolute weights, Top-v, weights trained", False, _ALL, ("uniform", "global"), 0.0, 3e-5
    ),
    "l0": Method(
        "hard concrete gates, weights trained too", False, ("weight", "block", "row", "head", "head+row"),
        ("global",), 1e-1, 3e-5, score_init=2.197, regularizer=125.0,
    ),
    "pst": Method(
        "data-free and low-rank scores, Top-v, low-rank change of frozen weights", True, ("weight", "n:m"),
        ("uniform", "global"), 3e-5, 0.0,
    ),
    "pins": Method(
        "sensitivity times uncertainty, global Top-v, weights trained against the best checkpoint", False,
        ("weight",), ("global",), 0.0, 3e-5,
    ),
}  # fmt: skip
"""Every method by its name in recipes. Values: Sanh et al. 2020; SMP's, PST's and PINS's published code."""


@dataclass(frozen=True)
class MaskPlan:
    """How masks are learned.

    Attributes:
        method: A key of `METHODS`.
        density: Share of the prunable weights that is kept at the end.
        granularity: The unit.
        allocation: `uniform`: every matrix alike. `score`: shared over the layers of a matrix type by mean
            σ(S/p). `global`: one threshold over all matrices of comparable units.
        score_init: Scores at the beginning.
        share_temperature: p of `score`; above 1 evens the shares out.
        regularizer: λ at the end of the run.
        tau: Soft movement's threshold at the end.
        shape: How the density falls.
        warmup: Share of the run that is dense.
        hold: Share of the run, at its end, at the final density.
        rank: r of PST.
        seed: Of PST's random start.
    """

    method: MethodName
    density: float
    granularity: Granularity
    allocation: Allocation
    score_init: float
    share_temperature: float
    regularizer: float
    tau: float
    shape: Shape
    warmup: float
    hold: float
    rank: int
    seed: int
