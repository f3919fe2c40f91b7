"""Which variant of a target goes into its bundle, and why. Pure: a report in, a name and a sentence out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeprune.errors import AcceptanceError, UnsupportedError, UsageError
from edgeprune.report.model import Report, TargetRow, VariantRow

__all__ = ["Pick", "pick"]

# The order in which variants are expected to be fast, where none was timed. INT8 with activations quantized
# while running is most often the fastest on a CPU; of the static ones, ARM has products of signed numbers. A
# variant for apps comes right after the same one for the runner.
_EXPECTED = (
    "int8-dynamic",
    "int8-static-s8s8",
    "int8-static-u8s8",
    "int8-fp16",
    "int8",
    "bf16",
    "fp16",
    "fp32",
)
_MOBILE = "-ort"


@dataclass(frozen=True)
class Pick:
    """A variant.

    Attributes:
        row: What the report says of it.
        reason: Why this one, in a sentence.
        warning: What speaks against shipping it; empty when nothing does.
    """

    row: VariantRow
    reason: str
    warning: str = ""


def pick(report: Report, target: TargetRow, wanted: str | None = None) -> Pick:
    """The variant that was asked for; else the chosen one; else, if nothing was measured, the likeliest.

    Args:
        report: Of the run.
        target: One of its targets.
        wanted: ``backend/precision``, or a precision that one backend of the target has.

    Raises:
        UsageError: The target has no such variant, or the word fits several.
        UnsupportedError: The variant could not be compiled.
        AcceptanceError: The target was measured, and no variant of it is accepted.
    """
    if wanted is not None:
        return _wanted(target, wanted)
    if target.chosen is not None:
        return Pick(_named(target, target.chosen), f"chosen by the run: {target.reason}")
    if target.measured:
        raise AcceptanceError(
            f"no variant of target {target.name} is accepted: {target.reason}",
            where=report.recipe,
            hint="--variant bundles one all the same, and the bundle says that it was not accepted",
        )
    return _likeliest(report, target)


def _candidates(target: TargetRow) -> list[VariantRow]:
    """Everything that was compiled: neither the original nor what was refused."""
    return [row for row in target.variants if row.status not in ("reference", "refused")]


def _named(target: TargetRow, name: str) -> VariantRow:
    return next(row for row in target.variants if row.name == name)


def _wanted(target: TargetRow, wanted: str) -> Pick:
    rows = [
        row for row in target.variants if row.status != "reference" and wanted in (row.name, row.precision)
    ]
    if len(rows) != 1:
        has = ", ".join(row.name for row in _candidates(target))
        what = f"is one of {', '.join(row.name for row in rows)}" if rows else "is not there"
        raise UsageError(f"variant {wanted!r} of target {target.name} {what}", hint=f"it has: {has}")
    (row,) = rows
    if row.status == "refused":
        raise UnsupportedError(f"{row.name} was not compiled: {row.reason}", where=f"target {target.name}")
    poor = row.status in ("rejected", "inconclusive")
    warning = f"{row.name} is {row.status} on {target.name}: {row.reason}" if poor else ""
    return Pick(row, "asked for by name", warning or _not_measured(target))


def _likeliest(report: Report, target: TargetRow) -> Pick:
    rows = sorted(_candidates(target), key=lambda row: _rank(row.precision))
    poor = {row.name: lost for row in rows if (lost := _lost(report, row))}
    left = [row for row in rows if row.name not in poor]
    if not left:
        raise AcceptanceError(
            f"every variant of target {target.name} lost more than {report.max_drop:g} points: "
            + "; ".join(poor.values()),
            where=report.recipe,
            hint="--variant bundles one all the same",
        )
    aside = f"; left aside: {'; '.join(poor.values())}" if poor else ""
    reason = f"not timed on this target; expected to be the fastest of {len(rows)} variants{aside}"
    return Pick(left[0], reason, _not_measured(target))


def _not_measured(target: TargetRow) -> str:
    return "" if target.measured else f"{target.name} was not measured: {target.reason}"


def _rank(precision: str) -> tuple[int, bool]:
    plain = precision.removesuffix(_MOBILE)
    place = _EXPECTED.index(plain) if plain in _EXPECTED else len(_EXPECTED)
    return place, plain != precision


def _lost(report: Report, row: VariantRow) -> str:
    """Where this precision was seen to lose too much, on any target of the run; empty: nowhere."""
    for place, seen in _same(report, row):
        found = seen.difference_points
        if found is not None and found.high < -report.max_drop:
            return f"{row.name}, which lost {-found.estimate:.2f} points on {place}"
    return ""


def _same(report: Report, row: VariantRow) -> Iterator[tuple[str, VariantRow]]:
    """The rows of one backend and precision on all targets; a file for apps answers as the plain one."""
    plain = row.precision.removesuffix(_MOBILE)
    for target in report.targets:
        for seen in target.variants:
            if seen.backend == row.backend and seen.precision.removesuffix(_MOBILE) == plain:
                yield target.name, seen
