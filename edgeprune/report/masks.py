"""What a mask-learning stage left in its record, read for the renderers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from edgeprune.report.model import Quality, StageRow
from edgeprune.report.records import Count, Curve, Lenient, LenientTuple, Number, Part, Share

__all__ = [
    "SHOWN_HERE",
    "Density",
    "MaskRecord",
    "Matrix",
    "Pack",
    "Scores",
    "Trace",
    "kinds_of",
    "layers_of",
    "mask_record",
]

SHOWN_HERE = frozenset({"matrices", "trace", "curve"})
"""Parts of a record that are plots; as text they would be pages of numbers."""

_KINDS = ("query", "key", "value", "output", "up", "down")


def _rectangular(rows: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        raise ValueError("rows are missing, empty or not of one length")
    return rows


_Map = Annotated[tuple[tuple[Annotated[float, Field(ge=0, le=100)], ...], ...], AfterValidator(_rectangular)]


class Density(Part):
    """Kept weights over prunable weights, 0..1.

    `kept` is of the matrices that the granularity can mask, `encoder` of all of the encoder's linear layers.
    """

    kept: Share
    target: Annotated[Share | None, Lenient] = None
    kept_weights: Annotated[Count | None, Lenient] = None
    prunable_weights: Annotated[Count | None, Lenient] = None
    encoder: Annotated[Share | None, Lenient] = None


class Scores(Part):
    """Histogram of one matrix's scores: counts of equally wide bins from `low` to `high`."""

    low: Number
    high: Number
    counts: tuple[Count, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _holds_something(self) -> Scores:
        if self.low > self.high or sum(self.counts) == 0:
            raise ValueError("no histogram")
        return self

    def threshold(self, density: float) -> float:
        """The score above which a share `density` of all scores lies; linear within a bin."""
        above = (1 - density) * sum(self.counts)
        width = (self.high - self.low) / len(self.counts)
        for index, total in enumerate(accumulate(self.counts)):
            if total >= above and self.counts[index]:
                inside = 1 - (total - above) / self.counts[index]
                return self.low + width * (index + max(0.0, inside))
        return self.high


class Matrix(Part):
    """One masked matrix: its place, its density, its scores and where its weights were kept.

    `map` holds per cent of weights kept, by equal parts of the matrix: first axis outputs, second inputs.
    """

    layer: Annotated[int, Field(ge=0)]
    kind: str
    density: Share
    shape: Annotated[tuple[Count, Count] | None, Lenient] = None
    scores: Annotated[Scores | None, Lenient] = None
    map: Annotated[_Map | None, Lenient] = None


class Trace(Part):
    """Density and regularizer (as it entered the loss) at some steps of the training."""

    step: tuple[Count, ...] = Field(min_length=2)
    density: Annotated[tuple[Share, ...] | None, Lenient] = None
    regularizer: Annotated[tuple[Number, ...] | None, Lenient] = None

    @model_validator(mode="after")
    def _one_value_a_step(self) -> Trace:
        for values in (self.density, self.regularizer):
            if values is not None and len(values) != len(self.step):
                raise ValueError("not one value a step")
        return self


class Pack(Part):
    """The mask pack: its size, and how near its masks come to the entropy of as many independent bits."""

    bytes: Count
    mask_bytes: Annotated[Count | None, Lenient] = None
    head_bytes: Annotated[Count | None, Lenient] = None
    bits_per_weight: Annotated[float | None, Lenient] = None
    entropy_bound: Annotated[float | None, Lenient] = None


class MaskRecord(Part):
    """What is known of the masks that one stage made; `id` is the stage's place in the plan."""

    id: str
    method: Annotated[str | None, Lenient] = None
    allocation: Annotated[str | None, Lenient] = None
    granularity: Annotated[str | None, Lenient] = None
    distilled: Annotated[bool | None, Lenient] = None
    head: Annotated[str | None, Lenient] = None
    quality: Annotated[Quality | None, Lenient] = None
    density: Annotated[Density | None, Lenient] = None
    trained_parameters: Annotated[Count | None, Lenient] = None
    new_parameters: Annotated[Count | None, Lenient] = None
    encoder_parameters: Annotated[Count | None, Lenient] = None
    curve: Annotated[Curve | None, Lenient] = None
    trace: Annotated[Trace | None, Lenient] = None
    matrices: Annotated[tuple[Matrix, ...], LenientTuple] = ()
    pack: Annotated[Pack | None, Lenient] = None


def mask_record(row: StageRow) -> MaskRecord | None:
    """The record of one stage; None where it tells of no masks."""
    found = MaskRecord.model_validate({**row.record, "id": row.id})
    return found if found.density is not None or found.matrices else None


def kinds_of(matrices: Sequence[Matrix]) -> list[str]:
    """The kinds of matrix that occur: those of an encoder in the order of computation, then any others."""
    found = dict.fromkeys(matrix.kind for matrix in matrices)
    return [kind for kind in _KINDS if kind in found] + [kind for kind in found if kind not in _KINDS]


def layers_of(matrices: Sequence[Matrix]) -> list[int]:
    """The layers that occur, first to last."""
    return sorted({matrix.layer for matrix in matrices})
