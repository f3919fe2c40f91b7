"""What a stage that cuts a model left in its record, read for the renderers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from edgeprune.report.model import Quality, StageRow
from edgeprune.report.records import Count, Lenient, LenientTuple, Number, Part, Share

__all__ = ["SHOWN_HERE", "Budget", "Change", "Cost", "Flops", "Layer", "StructureRecord", "structure_record"]

SHOWN_HERE = frozenset({"layers", "cost", "balance", "depth"})
"""Parts of a record that are plots and tables; as text they would be pages of numbers."""


class Change(Part):
    """A number before and after the cut; one of them may not be known."""

    before: Annotated[Count | None, Lenient] = None
    after: Annotated[Count | None, Lenient] = None

    @model_validator(mode="after")
    def _says_something(self) -> Change:
        if self.before is None and self.after is None:
            raise ValueError("neither before nor after")
        return self

    @property
    def share(self) -> float | None:
        """What is left, of what there was; None where that is not known, or was nothing."""
        return self.after / self.before if self.before and self.after is not None else None


class Flops(Change):
    """FLOPs of the encoder for one text of `length` tokens."""

    length: Annotated[Count | None, Lenient] = None


class Layer(Part):
    """What is left of one layer, of which all but its number may be unknown.

    `layer` and `heads` are numbers in the dense model.
    """

    layer: Count
    there: Annotated[bool | None, Lenient] = None
    heads: Annotated[tuple[Count, ...] | None, Lenient] = None
    all_heads: Annotated[Count | None, Lenient] = None
    rows: Annotated[Count | None, Lenient] = None
    all_rows: Annotated[Count | None, Lenient] = None
    head_importance_kept: Annotated[Share | None, Lenient] = None
    row_importance_kept: Annotated[Share | None, Lenient] = None

    @property
    def gone(self) -> bool:
        """Whether the layer left as a whole; one that is there without heads and rows did not."""
        return self.there is False


class LatencyAsked(Part):
    """A budget of time, as a share of the dense model's on a target."""

    ratio: Share
    target: Annotated[str | None, Lenient] = None
    variant: Annotated[str | None, Lenient] = None
    length: Annotated[Count | None, Lenient] = None
    batch: Annotated[Count | None, Lenient] = None


class Budget(Part):
    """What was asked for, as shares."""

    heads: Annotated[Share | None, Lenient] = None
    ffn: Annotated[Share | None, Lenient] = None
    parameters: Annotated[Share | None, Lenient] = None
    flops: Annotated[Share | None, Lenient] = None
    latency: Annotated[LatencyAsked | None, Lenient] = None


class Timed(Part):
    """A measured share of the dense model's time, with its confidence interval."""

    estimate: Annotated[Number, Field(ge=0)]
    low: Annotated[Number, Field(ge=0)]
    high: Annotated[Number, Field(ge=0)]


class Cost(Part):
    """What the structure costs by the table that the budget was met with, as a share of the dense model.

    `measured` is the same share, timed beside the dense model, after one or more `rounds`. `errors` has, by
    hidden width, how much a measured table misses a model it was not made from, relative.
    """

    ratio: Annotated[Annotated[Number, Field(ge=0)] | None, Lenient] = None
    errors: Annotated[dict[str, Annotated[Number | None, Lenient]] | None, Lenient] = None
    measured: Annotated[Timed | None, Lenient] = None
    rounds: Annotated[tuple[Any, ...], LenientTuple] = ()


class Balance(Part):
    """How heads were weighed against FFN rows; `tried`: the balances that were compared."""

    factor: Annotated[Annotated[Number, Field(gt=0)] | None, Lenient] = None
    tried: Annotated[tuple[Any, ...], LenientTuple] = ()


class Depth(Part):
    """Layers that were allowed to stay, by their places before the cut."""

    kept: tuple[Count, ...] = Field(min_length=1)


class StructureRecord(Part):
    """What is known of the structure that one stage made; `id` is the stage's place in the plan."""

    id: str
    quality: Annotated[Quality | None, Lenient] = None
    importance: Annotated[str | None, Lenient] = None
    weights: Annotated[str | None, Lenient] = None
    budget: Annotated[Budget | None, Lenient] = None
    alignment: Annotated[Count | None, Lenient] = None
    layers: Annotated[tuple[Layer, ...], LenientTuple] = ()
    hidden: Annotated[Change | None, Lenient] = None
    heads: Annotated[Change | None, Lenient] = None
    rows: Annotated[Change | None, Lenient] = None
    encoder_parameters: Annotated[Change | None, Lenient] = None
    flops: Annotated[Flops | None, Lenient] = None
    importance_kept: Annotated[Share | None, Lenient] = None
    cost: Annotated[Cost | None, Lenient] = None
    balance: Annotated[Balance | None, Lenient] = None
    depth: Annotated[Depth | None, Lenient] = None
    parameters: Annotated[Change | None, Lenient] = None
    vocabulary: Annotated[Change | None, Lenient] = None

    @property
    def cost_error(self) -> float | None:
        """The cost table's own error, relative, at the hidden width that was chosen."""
        errors = (self.cost and self.cost.errors) or {}
        if self.hidden is not None and str(self.hidden.after) in errors:
            return errors[str(self.hidden.after)]
        return next(iter(errors.values())) if len(errors) == 1 else None


def structure_record(row: StageRow) -> StructureRecord | None:
    """The record of one stage; None where it tells of no cut."""
    found = StructureRecord.model_validate({**row.record, "id": row.id})
    told = (found.heads, found.rows, found.encoder_parameters, found.flops, found.vocabulary)
    return found if found.layers or any(part is not None for part in told) else None
