"""May a target's variants ship, and which one is chosen. Pure: intervals in, words out.

A criterion is a floor under a measured value. Above it with the whole interval is a pass, below it with
the whole interval a fail, and anything between says that the measurement cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log
from typing import Literal

from edgeprune.measurement.latency import Length
from edgeprune.measurement.statistics import Interval
from edgeprune.recipe.schema import Acceptance

__all__ = ["Candidate", "Judgement", "TargetJudgement", "judge", "judge_target"]

Status = Literal["accepted", "rejected", "inconclusive", "refused", "not measured"]
Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class Candidate:
    """One compiled variant with what was measured of it.

    Attributes:
        name: E.g. ``openvino/bf16``.
        difference: Metric of this variant minus the original's, points; None: not measured.
        agreement: Share of examples with the original's answer, 0..1; None: not measured.
        median_ms: Length to median latency, the same lengths for all candidates of a target.
        speedup: Length to how many times faster than the original it is.
        refused: Why it could not be compiled or loaded; empty when it could.
        stand_in: What gave the answers in its place, since its device is not here; empty: it did itself.
            Such a candidate is never accepted or rejected, as what would ship was not measured.
    """

    name: str
    difference: Interval | None = None
    agreement: Interval | None = None
    median_ms: Mapping[Length, float] = field(default_factory=dict)
    speedup: Mapping[Length, Interval] = field(default_factory=dict)
    refused: str = ""
    stand_in: str = ""

    @property
    def typical_ms(self) -> float:
        """Geometric mean over lengths of the median latency: a factor counts the same at every length."""
        return exp(sum(log(value) for value in self.median_ms.values()) / len(self.median_ms))


@dataclass(frozen=True)
class Judgement:
    """What became of one candidate, and why, in words."""

    name: str
    status: Status
    reason: str
    chosen: bool = False


@dataclass(frozen=True)
class TargetJudgement:
    """What became of a target. `variants` has the order of the candidates."""

    verdict: Verdict
    reason: str
    chosen: str | None
    variants: tuple[Judgement, ...]


@dataclass(frozen=True)
class _Finding:
    verdict: Verdict
    text: str


def judge(candidate: Candidate, acceptance: Acceptance, metric: str = "accuracy") -> Judgement:
    """Judges one variant by itself.

    Args:
        candidate: What was measured.
        acceptance: What is asked of it.
        metric: Name of what `candidate.difference` is a difference of.
    """
    if candidate.refused:
        return Judgement(candidate.name, "refused", candidate.refused)
    if candidate.difference is None:
        return Judgement(candidate.name, "not measured", "compiled, but not measured")
    findings = [_judge_drop(candidate.difference, acceptance.max_drop, metric)]
    if acceptance.min_agreement is not None:
        findings.append(_judge_agreement(candidate.agreement, acceptance.min_agreement))
    if candidate.stand_in:
        words = "; ".join(finding.text for finding in findings)
        return Judgement(
            candidate.name, "not measured", f"compiled, but not measured; {candidate.stand_in}: {words}"
        )
    if acceptance.min_speedup is not None:
        findings += _judge_speed(candidate.speedup, acceptance.min_speedup)
    verdicts = {finding.verdict for finding in findings}
    if "fail" in verdicts:
        return Judgement(candidate.name, "rejected", _join(findings, "fail"))
    if "inconclusive" in verdicts:
        return Judgement(candidate.name, "inconclusive", _join(findings, "inconclusive"))
    return Judgement(candidate.name, "accepted", _join(findings, "pass"))


def judge_target(
    candidates: Sequence[Candidate], acceptance: Acceptance, metric: str = "accuracy"
) -> TargetJudgement:
    """Judges all variants of a target and chooses the fastest accepted one.

    Args:
        candidates: Compiled and refused variants, without the original.
        acceptance: What is asked of each.
        metric: Name of what the differences are differences of.

    Raises:
        ValueError: Accepted candidates were measured at different lengths, or at none, so that their
            speeds cannot be compared.
    """
    judged = {candidate.name: judge(candidate, acceptance, metric) for candidate in candidates}
    accepted = [candidate for candidate in candidates if judged[candidate.name].status == "accepted"]
    if not accepted:
        return _nothing_accepted(tuple(judged.values()))
    if len({frozenset(candidate.median_ms) for candidate in accepted}) > 1 or not accepted[0].median_ms:
        lengths = {candidate.name: sorted(map(str, candidate.median_ms)) for candidate in accepted}
        raise ValueError(f"accepted variants need latencies at the same lengths, got {lengths}")
    best = min(accepted, key=lambda candidate: candidate.typical_ms)
    for candidate in accepted:
        judgement = judged[candidate.name]
        if candidate is best:
            judged[candidate.name] = replace(judgement, chosen=True)
            continue
        times = candidate.typical_ms / best.typical_ms
        reason = f"accepted, but {times:.2f}× slower than {best.name}; {judgement.reason}"
        judged[candidate.name] = replace(judgement, reason=reason)
    count = (
        f"the fastest of {len(accepted)} accepted variants"
        if len(accepted) > 1
        else "the only accepted variant"
    )
    reason = f"{best.name} is {count}: {judged[best.name].reason}"
    return TargetJudgement("pass", reason, best.name, tuple(judged.values()))


def _nothing_accepted(judgements: tuple[Judgement, ...]) -> TargetJudgement:
    """Undecided as long as one variant is undecided or unmeasured: measuring it better could accept it."""
    for status in ("inconclusive", "not measured"):
        open_ones = [judgement for judgement in judgements if judgement.status == status]
        if open_ones:
            first = open_ones[0]
            reason = f"no variant is accepted, {len(open_ones)} {status}: {first.name}: {first.reason}"
            return TargetJudgement("inconclusive", reason, None, judgements)
    details = "; ".join(f"{judgement.name}: {judgement.reason}" for judgement in judgements)
    return TargetJudgement("fail", f"no variant is accepted: {details or 'there is none'}", None, judgements)


def _compare(interval: Interval, floor: float) -> Verdict:
    if interval.low >= floor:
        return "pass"
    return "fail" if interval.high < floor else "inconclusive"


def _judge_drop(difference: Interval, max_drop: float, metric: str) -> _Finding:
    verdict = _compare(difference, -max_drop)
    measured = f"{metric} {_number(difference.estimate, '+.2f')} points {_range(difference, '+.2f')}"
    ending = {
        "pass": f"at most {max_drop:g} may be lost",
        "fail": f"more than the {max_drop:g} that may be lost",
        "inconclusive": f"not enough examples to tell whether more than {max_drop:g} are lost",
    }
    return _Finding(verdict, f"{measured}, {ending[verdict]}")


def _judge_agreement(agreement: Interval | None, floor: float) -> _Finding:
    if agreement is None:
        return _Finding("inconclusive", f"agreement was not measured, at least {floor:.1%} is needed")
    verdict = _compare(agreement, floor)
    measured = f"{agreement.estimate:.1%} of answers are the original's {_range(agreement, '.1%')}"
    return _Finding(verdict, f"{measured}, {_floor_words(verdict, f'{floor:.1%}')}")


def _judge_speed(speedups: Mapping[Length, Interval], floor: float) -> list[_Finding]:
    if not speedups:
        return [_Finding("inconclusive", f"speed was not measured, at least {floor:g}× is needed")]
    findings = []
    for length, speedup in speedups.items():
        verdict = _compare(speedup, floor)
        place = "real lengths" if length == "real" else f"{length} tokens"
        measured = f"{speedup.estimate:.2f}× the original's speed at {place} {_range(speedup, '.2f')}"
        findings.append(_Finding(verdict, f"{measured}, {_floor_words(verdict, f'{floor:g}×')}"))
    return findings


def _floor_words(verdict: Verdict, floor: str) -> str:
    words = {"pass": "at least {} is needed", "fail": "below the {} that is needed"}
    return words.get(verdict, "not enough measured to tell whether it reaches {}").format(floor)


def _range(interval: Interval, form: str) -> str:
    low, high = _number(interval.low, form), _number(interval.high, form)
    return f"({interval.confidence * 100:g} % interval {low} to {high})"


def _number(value: float, form: str) -> str:
    """A formatted number with a true minus sign, as in the tables of the report."""
    return f"{value:{form}}".replace("-", "−")


def _join(findings: Sequence[_Finding], verdict: Verdict) -> str:
    return "; ".join(finding.text for finding in findings if finding.verdict == verdict)
