"""A comparison of runs as data: rows = run × target × device × variant, and what lies between the runs.

Units are as in `report.model`. Runs are called A, B, C … in the order in which they were given; differences
between runs are against the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field

from edgeprune.report.model import Gain, Interval, Note, Row, VariantRow, Verdict

__all__ = ["COMPARISON_SCHEMA", "ComparedRow", "ComparedRun", "Comparison", "RunDifference", "grouped"]

COMPARISON_SCHEMA: Final = "edgeprune.comparison/1"


class ComparedRun(Row):
    """One run. `examples` names its validation examples: runs that share it answered the same ones."""

    letter: str
    recipe: str
    run_id: str
    path: str
    started: str
    verdict: Verdict
    encoder: str
    parameters: int
    validation: int
    examples: str
    timed_beside: str = Field(description="Base model and PyTorch of the original; empty: not known.")
    original: str = Field(description="Key of the artifact that is the original; empty: not known.")


class ComparedRow(Row):
    """One variant of one run, where it was measured.

    `place` is the device in words, the same for all that was measured there; empty: nothing was measured.
    `score` is the judged metric, 0..1 (Matthews -1..1), without an interval where none can be had.
    """

    run: str = Field(description="The run's letter.")
    target: str
    place: str
    emulated: bool = False
    deployed: bool = Field(default=False, description="Answered by the runner in an installed bundle.")
    variant: VariantRow
    score: float | None = None
    interval: Interval | None = Field(default=None, description="Of the score; a share as the score is.")
    sampled: str = Field(default="", description="Which part of the validation examples; empty: all.")

    @property
    def status(self) -> str:
        """The variant's status; `chosen` for what ships."""
        return "chosen" if self.variant.chosen else self.variant.status


class RunDifference(Row):
    """What a run's variant has before that of the first run, at one place.

    `points` and `speed` are None and empty where there is nothing sensible to say; `why` says why, or what
    the interval is worth.
    """

    target: str
    place: str
    run: str
    variant: str
    against_run: str
    against: str
    points: float | None = None
    interval: Interval | None = Field(default=None, description="Of `points`.")
    speed: list[Gain] = Field(default_factory=list)
    why: list[str] = Field(default_factory=list)


class Comparison(Row):
    """Everything that a comparison shows."""

    format: Literal["edgeprune.comparison/1"] = COMPARISON_SCHEMA
    metric: str
    confidence: float
    runs: list[ComparedRun]
    rows: list[ComparedRow]
    differences: list[RunDifference] = Field(default_factory=list)
    know: list[Note] = Field(default_factory=list)


def grouped(rows: Sequence[ComparedRow]) -> list[tuple[str, str, list[ComparedRow]]]:
    """Rows that may be compared with each other: target, place, and its rows; in the order of the rows."""
    groups: dict[tuple[str, str], list[ComparedRow]] = {}
    for row in rows:
        groups.setdefault((row.target, row.place), []).append(row)
    return [(target, place, found) for (target, place), found in groups.items()]
