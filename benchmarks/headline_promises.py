"""What the shipped recipes promise: floors and goals in one table, and whether measured values meet them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeprune.measurement.latency import Length
from edgeprune.measurement.statistics import Interval

__all__ = ["MODELS", "PROMISES", "Finding", "Promise", "Unit", "Verdict", "formatted", "verdicts"]

Unit = Literal["points", "times", "MB", "minutes"]
Word = Literal["goal met", "floor met", "missed", "not measured"]


@dataclass(frozen=True)
class Promise:
    """A value that a recipe is to reach.

    Attributes:
        model: Which recipe's.
        what: For the reader.
        unit: Of the value.
        floor: What it must reach.
        goal: What it should reach.
        at_least: Whether more is better.
        each_length: Whether it is promised at every length of inputs.
        together: Promises with the same word are met together or not at all: a smaller pack may be less
            accurate, so neither of the two values says anything alone.
    """

    model: str
    what: str
    unit: Unit
    floor: float
    goal: float
    at_least: bool = True
    each_length: bool = False
    together: str = ""

    def short_of(self, value: float, limit: float) -> float:
        """How much a value lacks to a limit; 0 or less: nothing."""
        return limit - value if self.at_least else value - limit


MODELS = ("mobile", "tiny", "taskpack")
ACCURACY = "accuracy against the original in FP32"
PROMISES: Mapping[str, Promise] = {
    "mobile accuracy": Promise("mobile", ACCURACY, "points", -0.5, 0),
    "mobile pytorch": Promise(
        "mobile", "faster than dense FP32 in PyTorch", "times", 14, 25, each_length=True
    ),
    "mobile runtime": Promise(
        "mobile", "faster than dense FP32 on the same runtime", "times", 5.5, 9, each_length=True
    ),
    "mobile peer": Promise(
        "mobile", "faster than the best dense low-precision peer", "times", 2.8, 5, each_length=True
    ),
    "mobile size": Promise("mobile", "bundle smaller than the original's files", "times", 8, 20),
    "tiny accuracy": Promise("tiny", ACCURACY, "points", -2, -2),
    "tiny peer": Promise(
        "tiny", "faster than the best dense low-precision peer", "times", 4, 7, each_length=True
    ),
    "taskpack accuracy": Promise("taskpack", ACCURACY, "points", -0.5, -1, together="pack"),
    "taskpack size": Promise(
        "taskpack", "masks and head together", "MB", 0.75, 0.3, at_least=False, together="pack"
    ),
    "mobile minutes": Promise("mobile", "whole recipe from a cold cache", "minutes", 120, 60, at_least=False),
    "quickstart minutes": Promise(
        "quickstart", "whole recipe from a cold cache", "minutes", 15, 10, at_least=False
    ),
}


@dataclass(frozen=True)
class Finding:
    """What was measured for a promise.

    Attributes:
        key: Of `PROMISES`.
        length: Of the inputs; None: the promise is not about a length.
        value: None: it was not measured.
        seeds: Value of every seed, in their order.
        detail: What is behind the value; empty where `what` says it all.
        rivals: Names of the models that it is a ratio to.
        problem: Why there is no value.
    """

    key: str
    length: Length | None = None
    value: Interval | None = None
    seeds: tuple[float, ...] = ()
    detail: str = ""
    rivals: tuple[str, ...] = ()
    problem: str = ""

    @property
    def promise(self) -> Promise:
        """What was promised."""
        return PROMISES[self.key]


@dataclass(frozen=True)
class Verdict:
    """What became of a promise; `text` also says by how much it was missed."""

    word: Word
    text: str


def verdicts(found: Sequence[Finding]) -> list[Verdict]:
    """One for each finding. The measured value decides, not its interval."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in found:
        groups.setdefault(_group(finding), []).append(finding)
    return [_verdict(groups[_group(finding)]) for finding in found]


def _group(finding: Finding) -> tuple[object, ...]:
    return finding.promise.together or finding.key, finding.length


def _verdict(group: Sequence[Finding]) -> Verdict:
    values = [(item.promise, item.value.estimate) for item in group if item.value]
    if len(values) < len(group):
        missing = next(item.problem for item in group if item.value is None)
        return Verdict("not measured", f"not measured: {missing}")
    if all(promise.short_of(value, promise.goal) <= 0 for promise, value in values):
        return Verdict("goal met", "goal met")
    lacking = [(promise, promise.short_of(value, promise.floor)) for promise, value in values]
    gaps = [f"{gap:.2g}{_GAPS[promise.unit]}" for promise, gap in lacking if gap > 0]
    if not gaps:
        return Verdict("floor met", "floor met")
    return Verdict("missed", f"missed by {' and '.join(gaps)}")


def formatted(value: float, unit: Unit, *, with_unit: bool = True) -> str:
    """A value for the reader, e.g. `+0.31`, `2.80×`, `0.74 MB`, `23 min`."""
    number = format(value, _FORMATS[unit])
    if not float(number):
        number = number.lstrip("+-")
    return number.replace("-", "−") + (_SIGNS[unit] if with_unit else "")


_FORMATS: Mapping[Unit, str] = {"points": "+.2f", "times": ".2f", "MB": ".2f", "minutes": ".1f"}
_SIGNS: Mapping[Unit, str] = {"points": "", "times": "×", "MB": " MB", "minutes": " min"}
_GAPS: Mapping[Unit, str] = {**_SIGNS, "points": " points"}
