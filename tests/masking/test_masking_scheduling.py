"""Schedules against their formulas, and the laws that a run relies on."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.masking.scheduling import density_at, regularizer_weight, tau_at

SHARES = st.floats(0, 1)
SHAPES = st.sampled_from(["cubic", "linear"])


@st.composite
def windows(draw: st.DrawFn) -> tuple[float, float]:
    """(warmup, hold) with something between them."""
    warmup = draw(st.floats(0, 0.9))
    return warmup, draw(st.floats(0, 0.95 - warmup))


def reference(progress: float, initial: float, final: float, warmup: float, hold: float, power: int) -> float:
    """Flat, then v_f + (v_i - v_f)·(1 - x)^power over what lies between warm-up and hold, then flat."""
    if progress <= warmup:
        return initial
    if progress >= 1 - hold:
        return final
    x = (progress - warmup) / (1 - warmup - hold)
    return final + (initial - final) * (1 - x) ** power


@given(SHARES, SHARES, SHARES, windows(), SHAPES)
def test_density_is_the_published_formula(
    progress: float,
    final: float,
    initial: float,
    window: tuple[float, float],
    shape: Literal["cubic", "linear"],
) -> None:
    warmup, hold = window
    found = density_at(progress, final=final, warmup=warmup, hold=hold, shape=shape, initial=initial)
    power = 3 if shape == "cubic" else 1
    assert found == pytest.approx(reference(progress, initial, final, warmup, hold, power), abs=1e-9)


@given(SHARES, SHARES, windows())
def test_tau_rises_by_the_cube(progress: float, final: float, window: tuple[float, float]) -> None:
    warmup, hold = window
    found = tau_at(progress, final=final, warmup=warmup, hold=hold)
    assert found == pytest.approx(reference(progress, 0.0, final, warmup, hold, 3), abs=1e-9)


def test_density_by_hand() -> None:
    # Half way: 0.1 + 0.9/8; linear: 0.55.
    assert density_at(0.5, final=0.1) == pytest.approx(0.2125)
    assert density_at(0.5, final=0.1, shape="linear") == pytest.approx(0.55)
    # Warm-up of a tenth, hold of three tenths: at 0.4 half of the way is done.
    assert density_at(0.4, final=0.1, warmup=0.1, hold=0.3) == pytest.approx(0.2125)
    assert density_at(0.5, final=0.2, initial=0.6) == pytest.approx(0.2 + 0.4 / 8)
    # SMP's own run: MNLI to 10 % in T - 30,000 of T = 73,632 steps; a hold of 30,000/73,632.
    hold = 30_000 / 73_632
    step = 20_000
    assert density_at(step / 73_632, final=0.1, hold=hold) == pytest.approx(
        0.1 + 0.9 * (1 - step / 43_632) ** 3
    )


def test_tau_by_hand() -> None:
    assert tau_at(0.5, final=0.1) == pytest.approx(0.1 - 0.1 / 8)
    assert tau_at(0.5, final=0.1, initial=0.02) == pytest.approx(0.1 - 0.08 / 8)
    assert tau_at(1.0, final=0.1, warmup=0.1, hold=0.2) == pytest.approx(0.1)


def test_regularizer_weight_by_hand() -> None:
    assert regularizer_weight(0.5, final=400.0) == pytest.approx(350.0)
    assert regularizer_weight(0.1, final=400.0) == pytest.approx(400 * (1 - 0.729))


@given(SHARES, SHARES, windows(), SHAPES)
def test_density_starts_at_initial_and_ends_at_final(
    initial: float, final: float, window: tuple[float, float], shape: Literal["cubic", "linear"]
) -> None:
    warmup, hold = window

    def at(progress: float) -> float:
        return density_at(progress, final=final, warmup=warmup, hold=hold, shape=shape, initial=initial)

    for progress in (0.0, warmup / 2, warmup):
        assert at(progress) == pytest.approx(initial, abs=1e-12)
    for progress in (1 - hold, 1 - hold / 2, 1.0):
        assert at(progress) == pytest.approx(final, abs=1e-12)


@given(SHARES, SHARES, SHARES, SHARES, windows(), SHAPES)
def test_density_moves_one_way_and_stays_between_its_ends(
    one: float,
    other: float,
    initial: float,
    final: float,
    window: tuple[float, float],
    shape: Literal["cubic", "linear"],
) -> None:
    warmup, hold = window
    early, late = (
        density_at(progress, final=final, warmup=warmup, hold=hold, shape=shape, initial=initial)
        for progress in sorted((one, other))
    )
    # From initial towards final, whichever is larger.
    assert (late - early) * (final - initial) >= -1e-15
    for value in (early, late):
        assert min(initial, final) - 1e-12 <= value <= max(initial, final) + 1e-12


@given(SHARES, SHARES, st.floats(0, 1000))
def test_the_regularizer_rises_over_the_whole_run(one: float, other: float, final: float) -> None:
    early, late = (regularizer_weight(progress, final=final) for progress in sorted((one, other)))
    assert early <= late + 1e-12
    assert regularizer_weight(one, final=final) == pytest.approx(final * (1 - (1 - one) ** 3), abs=1e-9)
    assert regularizer_weight(0.0, final=final) == 0.0
    assert regularizer_weight(1.0, final=final) == pytest.approx(final)


@pytest.mark.parametrize(("warmup", "hold"), [(0.0, 1.0), (0.3, 0.7), (0.9, 0.1), (0.5, 0.5), (1.0, 0.0)])
def test_a_run_without_room_for_a_slope_still_ends_at_its_target(warmup: float, hold: float) -> None:
    assert density_at(1.0, final=0.1, warmup=warmup, hold=hold) == pytest.approx(0.1)


@pytest.mark.parametrize("progress", [-0.5, 1.5])
def test_progress_outside_the_run_counts_as_its_end(progress: float) -> None:
    end = min(max(progress, 0.0), 1.0)
    assert density_at(progress, final=0.1) == density_at(end, final=0.1)
    assert regularizer_weight(progress, final=400.0) == regularizer_weight(end, final=400.0)
