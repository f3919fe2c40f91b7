from __future__ import annotations

from typing import Any

import pytest

from edgeprune.measurement.statistics import Interval
from edgeprune.measurement.verdict import Candidate, judge, judge_target
from edgeprune.recipe.schema import Acceptance


def _interval(estimate: float, low: float, high: float) -> Interval:
    return Interval(estimate, low, high, 0.95, "made up")


GOOD, BAD, OPEN = _interval(-0.2, -0.8, 0.4), _interval(-3.0, -4.0, -2.0), _interval(-0.9, -1.9, 0.1)
ONE_POINT = Acceptance(max_drop=1.0)


def _candidate(name: str, difference: Interval | None = GOOD, ms: float = 2.0, **more: Any) -> Candidate:
    return Candidate(name, difference, median_ms={"real": ms, 64: 2 * ms}, **more)


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [
        (-0.5, 0.5, "accepted"),
        (-1.0, 0.5, "accepted"),  # the floor itself is allowed
        (-1.001, 0.5, "inconclusive"),
        (-2.0, -1.0, "inconclusive"),
        (-2.0, -1.001, "rejected"),
    ],
)
def test_the_whole_interval_decides(low: float, high: float, status: str) -> None:
    assert judge(_candidate("a", _interval((low + high) / 2, low, high)), ONE_POINT).status == status


def test_reasons_have_the_numbers() -> None:
    assert judge(_candidate("a", GOOD), ONE_POINT, "f1").reason == (
        "f1 −0.20 points (95 % interval −0.80 to +0.40), at most 1 may be lost"
    )
    assert judge(_candidate("a", BAD), ONE_POINT).reason == (
        "accuracy −3.00 points (95 % interval −4.00 to −2.00), more than the 1 that may be lost"
    )
    assert judge(_candidate("a", OPEN), ONE_POINT).reason == (
        "accuracy −0.90 points (95 % interval −1.90 to +0.10), "
        "not enough examples to tell whether more than 1 are lost"
    )


def test_one_slow_length_rejects_and_only_it_is_named() -> None:
    speedup = {"real": _interval(3.0, 2.8, 3.2), 128: _interval(1.1, 1.0, 1.2)}
    judgement = judge(_candidate("a", speedup=speedup), Acceptance(max_drop=1.0, min_speedup=1.5))
    assert judgement.status == "rejected"
    assert judgement.reason == (
        "1.10× the original's speed at 128 tokens (95 % interval 1.00 to 1.20), below the 1.5× that is needed"
    )


def test_a_failure_outweighs_an_open_question() -> None:
    acceptance = Acceptance(max_drop=1.0, min_agreement=0.99)
    judgement = judge(_candidate("a", OPEN, agreement=_interval(0.9, 0.88, 0.92)), acceptance)
    assert judgement.status == "rejected"
    assert judgement.reason == (
        "90.0% of answers are the original's (95 % interval 88.0% to 92.0%), below the 99.0% that is needed"
    )


def test_what_is_asked_but_not_measured_is_not_passed() -> None:
    assert judge(_candidate("a"), Acceptance(max_drop=1.0, min_speedup=2.0)).status == "inconclusive"
    assert judge(_candidate("a"), Acceptance(max_drop=1.0, min_agreement=0.9)).status == "inconclusive"


def test_the_fastest_accepted_is_chosen_and_losers_know_why() -> None:
    candidates = [
        _candidate("ort/fp32", ms=2.62),
        _candidate("ov/bf16", ms=2.0),
        _candidate("ort/int8", BAD, ms=0.5),
        _candidate("ov/int8", None, refused="this CPU has no such thing"),
    ]
    target = judge_target(candidates, ONE_POINT)
    assert (target.verdict, target.chosen) == ("pass", "ov/bf16")
    assert target.reason.startswith("ov/bf16 is the fastest of 2 accepted variants: accuracy −0.20 points")
    assert [variant.name for variant in target.variants] == [candidate.name for candidate in candidates]
    assert [variant.status for variant in target.variants] == ["accepted", "accepted", "rejected", "refused"]
    assert [variant.chosen for variant in target.variants] == [False, True, False, False]
    assert target.variants[0].reason.startswith("accepted, but 1.31× slower than ov/bf16; accuracy −0.20")
    assert target.variants[3].reason == "this CPU has no such thing"


def test_speed_is_the_geometric_mean_over_lengths() -> None:
    even = Candidate("even", GOOD, median_ms={"real": 2.0, 128: 10.0})
    short = Candidate("short", GOOD, median_ms={"real": 1.0, 128: 16.0})  # worse by arithmetic mean
    assert judge_target([even, short], ONE_POINT).chosen == "short"


@pytest.mark.parametrize(
    ("candidates", "verdict", "reason"),
    [
        (
            [_candidate("a", BAD), _candidate("b", OPEN)],
            "inconclusive",
            "no variant is accepted, 1 inconclusive: b: ",
        ),
        ([_candidate("a", BAD), _candidate("b", BAD)], "fail", "no variant is accepted: a: accuracy −3.00"),
        (
            [Candidate("a"), Candidate("b")],
            "inconclusive",
            "no variant is accepted, 2 not measured: a: compiled, but",
        ),
        ([Candidate("a", refused="no bf16")], "fail", "no variant is accepted: a: no bf16"),
        ([], "fail", "no variant is accepted: there is none"),
    ],
)
def test_a_target_without_an_accepted_variant(candidates: list[Candidate], verdict: str, reason: str) -> None:
    target = judge_target(candidates, ONE_POINT)
    assert (target.verdict, target.chosen) == (verdict, None)
    assert target.reason.startswith(reason)


def test_speeds_at_different_lengths_are_not_compared() -> None:
    other = Candidate("b", GOOD, median_ms={128: 1.0})
    with pytest.raises(ValueError, match="same lengths"):
        judge_target([_candidate("a"), other], ONE_POINT)
    with pytest.raises(ValueError, match="same lengths"):
        judge_target([Candidate("a", GOOD)], ONE_POINT)


@pytest.mark.parametrize("difference", [GOOD, BAD, OPEN])
def test_what_a_stand_in_answered_is_told_and_never_accepted_or_rejected(difference: Interval) -> None:
    candidate = Candidate("tensorrt/int8", difference, agreement=GOOD, stand_in="its ONNX on the CPU")
    acceptance = Acceptance(max_drop=1.0, min_speedup=2.0)
    judgement = judge(candidate, acceptance)
    assert judgement.status == "not measured"
    own = judge(Candidate("a", difference), ONE_POINT).reason
    assert judgement.reason == f"compiled, but not measured; its ONNX on the CPU: {own}"
    target = judge_target([candidate], acceptance)
    assert (target.verdict, target.chosen) == ("inconclusive", None)
