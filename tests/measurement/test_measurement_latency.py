from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from edgeprune.measurement.latency import SETTLING_CALLS, measure_interleaved, plan_blocks
from edgeprune.measurement.statistics import ratio_of_medians


class FakeMachine:
    """A clock that only models move, and a diary of who was called with what."""

    def __init__(self) -> None:
        self.now = 0
        self.calls: list[tuple[str, Any]] = []
        self.collecting: list[bool] = []

    def model(self, name: str, cost: int, after_other: int = 0) -> Any:
        def answer(value: Any) -> None:
            disturbed = bool(self.calls) and self.calls[-1][0] != name
            self.now += cost + (after_other if disturbed else 0)
            self.calls.append((name, value))
            self.collecting.append(gc.isenabled())

        return answer

    def clock(self) -> int:
        return self.now


@pytest.mark.parametrize(
    ("calls", "plan"), [(20, (20, 1)), (40, (20, 2)), (200, (20, 10)), (205, (21, 10)), (1000, (100, 10))]
)
def test_blocks_hold_at_least_the_calls(calls: int, plan: tuple[int, int]) -> None:
    assert plan_blocks(calls) == plan


def test_raw_times_come_in_blocks_per_model_and_length() -> None:
    machine = FakeMachine()
    models = {"slow": machine.model("slow", 30), "fast": machine.model("fast", 10)}
    timings = measure_interleaved(models, {"real": [1, 2, 3], 64: [4]}, 40, 2, clock=machine.clock)
    for length in ("real", 64):
        assert timings.nanoseconds["slow"][length].tolist() == [[30, 30]] * 20
        assert timings.nanoseconds["fast"][length].tolist() == [[10, 10]] * 20
    ratio = ratio_of_medians(timings.nanoseconds["slow"]["real"], timings.nanoseconds["fast"]["real"], 0.95)
    assert (ratio.estimate, ratio.low, ratio.high) == (3, 3, 3)


def test_every_model_sees_the_same_inputs_in_the_same_order() -> None:
    machine = FakeMachine()
    names = ["a", "b", "c"]
    measure_interleaved(
        {name: machine.model(name, 1) for name in names}, {"real": list(range(7))}, 60, 3, clock=machine.clock
    )
    seen = {name: [value for who, value in machine.calls if who == name] for name in names}
    assert seen["a"] == seen["b"] == seen["c"]
    assert len(seen["a"]) == 3 + 20 * (SETTLING_CALLS + 3)


def test_what_the_model_before_leaves_behind_is_not_timed() -> None:
    machine = FakeMachine()
    models = {name: machine.model(name, 10, after_other=500) for name in ("a", "b")}
    timings = measure_interleaved(models, {8: [0, 1]}, 200, 1, clock=machine.clock)
    assert timings.nanoseconds["a"][8].max() == timings.nanoseconds["b"][8].max() == 10


def test_the_order_of_models_changes_and_is_seeded() -> None:
    def order(seed: int) -> list[str]:
        machine = FakeMachine()
        models = {name: machine.model(name, 1) for name in "abc"}
        measure_interleaved(models, {8: [0]}, 8, 1, seed=seed, clock=machine.clock)
        called = [who for who, _ in machine.calls[3:]]
        return called[:: SETTLING_CALLS + 1]

    first = order(0)
    rounds = {tuple(first[start : start + 3]) for start in range(0, len(first), 3)}
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(rounds) > 2
    assert first == order(0) != order(1)


def test_garbage_is_not_collected_meanwhile_but_afterwards() -> None:
    machine = FakeMachine()
    measure_interleaved({"a": machine.model("a", 1)}, {8: [0]}, 20, 1, clock=machine.clock)
    assert not any(machine.collecting[1:])
    assert gc.isenabled()


def test_garbage_collection_comes_back_after_a_failure() -> None:
    def fail(value: int) -> None:
        if not gc.isenabled():
            raise OSError(value)

    with pytest.raises(OSError, match="0"):
        measure_interleaved({"a": fail}, {8: [0]}, 20, 1)
    assert gc.isenabled()


def test_summary_is_in_milliseconds() -> None:
    machine = FakeMachine()
    timings = measure_interleaved({"a": machine.model("a", 2_500_000)}, {8: [0]}, 25, 1, clock=machine.clock)
    summary = timings.summary("a", 8)
    assert (summary.calls, summary.p50_ms, summary.p90_ms, summary.p99_ms, summary.mean_ms) == (
        25,
        2.5,
        2.5,
        2.5,
        2.5,
    )
    assert timings.nanoseconds["a"][8].dtype == np.int64
