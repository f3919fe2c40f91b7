"""What compression and INT8 each brought: the way from the dense model in full precision, step by step."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from operator import attrgetter

from edgeprune.pipeline.measured import Measured, reported
from edgeprune.pipeline.targeting import TargetPlan
from edgeprune.recipe.schema import RecipeShell
from edgeprune.report.model import Ablation, AblationRow, Gain, VariantRow
from edgeprune.stages.answering import dense_name

__all__ = ["ablation"]

_OFF = "`measurement.ablation` is false"
_FAILED = "the original could not be compiled without compression"

_TYPICAL = attrgetter("typical_ms")


def ablation(
    plan: TargetPlan,
    rows: Sequence[VariantRow],
    dense: Sequence[VariantRow],
    accepted: Collection[str],
    measured: Measured | None,
    shell: RecipeShell,
) -> Ablation:
    """The ablation of one target.

    Args:
        plan: The target's part of the plan.
        rows: Its compiled candidates.
        dense: Those of their dense counterparts that there are.
        accepted: Names of both kinds that meet the acceptance.
        measured: Raw results of both kinds; None: there are none.
        shell: The recipe's sections.
    """
    by_name = {row.name: row for row in [*rows, *dense]}
    sides: dict[bool, list[VariantRow]] = {False: [], True: []}
    for variant, node in plan.compiled.items():
        own = plan.dense.get(variant) == node
        sides[not own].append(by_name[variant])
        if not own and dense_name(variant) in by_name:
            sides[False].append(by_name[dense_name(variant)])
    missing = "" if sides[False] else _OFF if not plan.dense else _FAILED
    found = []
    for backend in dict.fromkeys(row.backend for row in rows):
        steps = [
            step
            for compressed, side in sides.items()
            for step in _steps([row for row in side if row.backend == backend], accepted, compressed)
        ]
        found += _with_gains(steps, measured, shell)
    return Ablation(compressed=plan.compressed, missing=missing, rows=found)


def _steps(rows: Sequence[VariantRow], accepted: Collection[str], compressed: bool) -> Iterator[AblationRow]:
    """One backend's rows of one side: each of its higher precisions, FP32 first, then INT8."""
    int8 = [row for row in rows if row.precision.startswith("int8")]
    plain = [row for row in rows if row not in int8]
    for row in sorted(plain, key=lambda row: row.precision != "fp32"):
        yield AblationRow(
            backend=row.backend, compressed=compressed, precision=row.precision, variant=row.name
        )
    if int8:
        row, picked = _pick(int8, accepted)
        yield AblationRow(
            backend=row.backend, compressed=compressed, precision="int8", variant=row.name, picked=picked
        )


def _pick(rows: Sequence[VariantRow], accepted: Collection[str]) -> tuple[VariantRow, str]:
    """The INT8 variant that stands for all of one backend, and why it does."""
    if len(rows) == 1:
        return rows[0], ""
    several = f"{len(rows)} INT8 variants"
    timed = [row for row in rows if row.latency]
    if good := [row for row in timed if row.name in accepted]:
        return min(good, key=_TYPICAL), f"the fastest that meets the acceptance, of {several}"
    if timed:
        return min(timed, key=_TYPICAL), f"the fastest of {several}; none meets the acceptance"
    if answered := [row for row in rows if row.difference_points]:
        return max(answered, key=_difference), f"the most accurate of {several}; none is timed"
    return min(rows, key=lambda row: row.file_bytes or 0), f"the smallest of {several}; none is measured"


def _difference(row: VariantRow) -> float:
    assert row.difference_points is not None
    return row.difference_points.estimate


def _with_gains(
    steps: Sequence[AblationRow], measured: Measured | None, shell: RecipeShell
) -> list[AblationRow]:
    """The rows of one backend with their gains over the first one, if that is dense."""
    if not steps or steps[0].compressed or measured is None:
        return list(steps)
    first, *rest = steps
    timed = [step for step in rest if {first.variant, step.variant} <= measured.models.keys()]
    return [
        step.model_copy(update={"gains": _gains(first.variant, step.variant, measured, shell)})
        if step in timed
        else step
        for step in steps
    ]


def _gains(first: str, name: str, measured: Measured, shell: RecipeShell) -> list[Gain]:
    confidence = shell.acceptance.confidence
    return [
        Gain(length=length, speedup=reported(measured.speedup(first, name, length, confidence)))
        for length in measured.lengths
    ]
