"""How density, threshold and regularizer move over a run. Progress is step / steps, 0..1.

Warm-up and hold are shares of the run, so that a schedule means the same for 1,000 steps as for 100,000
(the published scripts give them in steps and refuse short runs).
"""

from __future__ import annotations

from typing import Literal

__all__ = ["Shape", "density_at", "regularizer_weight", "tau_at"]

Shape = Literal["cubic", "linear"]


def _way(progress: float, warmup: float, hold: float) -> float:
    """How much of the way between warm-up and hold is done, 0..1."""
    span = 1.0 - warmup - hold
    if span <= 0.0:  # nothing between them: the change is a step at the end of the warm-up
        return float(progress >= warmup)
    return min(max((progress - warmup) / span, 0.0), 1.0)


def density_at(
    progress: float,
    *,
    final: float,
    warmup: float = 0.0,
    hold: float = 0.0,
    shape: Shape = "cubic",
    initial: float = 1.0,
) -> float:
    """Density at a moment of the run: v_f + (v_i - v_f)(1 - x)³, or linear (Zhu & Gupta 2017; SMP, §3).

    Args:
        progress: Share of the run that is done.
        final: Density at the end.
        warmup: Share of the run at `initial`.
        hold: Share of the run, at its end, at `final`; masks may still swap weights.
        shape: `cubic` prunes fast first, `linear` evenly.
        initial: Density at the beginning.
    """
    left = 1.0 - _way(progress, warmup, hold)
    return final + (initial - final) * (left**3 if shape == "cubic" else left)


def tau_at(
    progress: float, *, final: float, warmup: float = 0.0, hold: float = 0.0, initial: float = 0.0
) -> float:
    """Soft movement's threshold τ: cubic from `initial` to `final` (Sanh et al. 2020, appendix A)."""
    return density_at(progress, final=final, warmup=warmup, hold=hold, initial=initial)


def regularizer_weight(progress: float, *, final: float) -> float:
    """λ_t = λ · (1 - (1 - t/T)³) over the whole run (SMP's published code; the paper ties it to density)."""
    return final * (1.0 - (1.0 - min(max(progress, 0.0), 1.0)) ** 3)
