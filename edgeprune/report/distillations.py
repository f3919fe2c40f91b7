"""What a stage that trained under a teacher left in its record, read for the renderers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from edgeprune.report.model import Quality, StageRow
from edgeprune.report.records import Count, Curve, Lenient, LenientTuple, Number, Part

__all__ = [
    "SHOWN_HERE",
    "DistillRecord",
    "LayerMap",
    "LossParts",
    "Relation",
    "distill_record",
]

SHOWN_HERE = frozenset({"curve", "parts", "layer_map", "relations", "losses"})
"""Parts of a record that are plots or words; as text they would be pages of numbers."""

_PARTS = ("logits", "labels", "hidden", "relations")


class LossParts(Part):
    """Parts of the loss, without their weights, at some steps of the training.

    A record has them as one mapping, `step` among them; those that have not one value a step are left out.
    """

    step: tuple[Count, ...] = Field(min_length=1)
    values: dict[str, Annotated[tuple[Number, ...] | None, Lenient]]

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, record: Any) -> Any:
        if not isinstance(record, Mapping):
            raise ValueError("no mapping")
        return {
            "step": record.get("step"),
            "values": {str(name): found for name, found in record.items() if name != "step"},
        }

    @property
    def whole(self) -> dict[str, tuple[float, ...]]:
        """Parts that can be shown: those that every distillation may have first, then any others."""
        order = {name: index for index, name in enumerate(_PARTS)}
        names = sorted(self.values, key=lambda name: order.get(name, len(order)))
        return {
            name: found for name in names if (found := self.values[name]) and len(found) == len(self.step)
        }


class LossSetting(Part):
    """How much a part of the loss counts, and the temperature of logits."""

    weight: Annotated[Number, Field(ge=0)]
    temperature: Annotated[Number | None, Lenient] = None


class LayerMap(Part):
    """Which layers were compared from a step on: (student's, teacher's), each counted from its own first."""

    pairs: tuple[tuple[Count, Count], ...] = Field(min_length=1)
    step: Annotated[Count | None, Lenient] = None


class Relation(Part):
    """Vectors whose relations between tokens were compared, e.g. `value.5` with `value.11`."""

    student: str
    teacher: str
    heads: Annotated[Count | None, Lenient] = None


class LearnedTexts(Part):
    """What was learned from: training texts, and texts that were made of them."""

    training: Count
    synthetic: Count


class DistillRecord(Part):
    """What is known of one distillation; `id` is the stage's place in the plan."""

    id: str
    quality: Annotated[Quality | None, Lenient] = None
    teacher: Annotated[str | tuple[str, ...] | None, Lenient] = None
    losses: Annotated[dict[str, Annotated[LossSetting | None, Lenient]] | None, Lenient] = None
    texts: Annotated[LearnedTexts | None, Lenient] = None
    steps: Annotated[Count | None, Lenient] = None
    curve: Annotated[Curve | None, Lenient] = None
    parts: Annotated[LossParts | None, Lenient] = None
    layer_map: Annotated[tuple[LayerMap, ...], LenientTuple] = ()
    relations: Annotated[tuple[Relation, ...], LenientTuple] = ()
    teacher_cache: Annotated[str | None, Lenient] = None
    precision: Annotated[str | None, Lenient] = None
    parameters: Annotated[Count | None, Lenient] = None
    trained_parameters: Annotated[Count | None, Lenient] = None


def distill_record(row: StageRow) -> DistillRecord | None:
    """The record of one stage; None where it tells of no teacher."""
    found = DistillRecord.model_validate({**row.record, "id": row.id})
    told = found.parts is not None or found.teacher_cache is not None
    return found if told or found.layer_map or found.relations else None
