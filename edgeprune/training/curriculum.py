"""What is compared of a student and its teacher, and what has to be seen of both for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from edgeprune.distillation.layer_maps import LayerMap, Pair, last, taught_layers, uniform
from edgeprune.distillation.relations import relation_heads
from edgeprune.errors import UnsupportedError
from edgeprune.structure.architectures import encoder_layers, heads_per_layer
from edgeprune.training.watching import State, Vectors, hidden_state, vectors_of

__all__ = ["Curriculum", "Losses", "Relation", "RelationsOf", "plan_curriculum"]

RelationsOf = Literal["value", "query-key", "all"]

_VECTORS: dict[RelationsOf, tuple[Vectors, ...]] = {
    "value": ("value",),
    "query-key": ("query", "key"),
    "all": ("query", "key", "value"),
}


@dataclass(frozen=True)
class Losses:
    """Weights of the parts of the loss; a part of weight 0 is not computed.

    Attributes:
        logits: Of T² · KL(teacher || student).
        temperature: T.
        labels: Of the cross entropy under the labels.
        hidden: Of the hidden states, mean over pairs of layers.
        layers: Which layers are paired.
        relations: Of the attention relations, mean over the kinds of vectors.
        relations_of: These kinds.
    """

    logits: float = 0.0
    temperature: float = 2.0
    labels: float = 0.0
    hidden: float = 0.0
    layers: LayerMap = "uniform"
    relations: float = 0.0
    relations_of: RelationsOf = "value"


@dataclass(frozen=True)
class Relation:
    """One kind of vectors whose relations are compared.

    Attributes:
        student: Of the student's last layer that has attention heads.
        teacher: Of the teacher's.
        heads: Relation heads.
    """

    student: State
    teacher: State
    heads: int

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return {"student": self.student.name, "teacher": self.teacher.name, "heads": self.heads}


@dataclass(frozen=True)
class Curriculum:
    """All that is compared.

    Attributes:
        losses: With which weights.
        pairs: (student's layer, teacher's layer) whose hidden states are compared in the beginning.
        student_hidden: The student's hidden states that are seen, by layer.
        teacher_hidden: The teacher's, by layer: those that teach.
        relations: What relations are compared.
    """

    losses: Losses
    pairs: tuple[Pair, ...]
    student_hidden: dict[int, State]
    teacher_hidden: dict[int, State]
    relations: tuple[Relation, ...]

    @property
    def needs_teacher(self) -> bool:
        """Whether anything but the labels teaches."""
        return bool(self.losses.logits or self.pairs or self.relations)

    @property
    def student_states(self) -> list[State]:
        """What has to be seen of the student."""
        return [*self.student_hidden.values(), *(item.student for item in self.relations)]

    @property
    def teacher_states(self) -> list[State]:
        """What has to be seen of the teacher."""
        return [*self.teacher_hidden.values(), *(item.teacher for item in self.relations)]


def plan_curriculum(student: Any, teacher: Any, losses: Losses) -> Curriculum:
    """Find layers and vectors that can be compared.

    Args:
        student: A classifier; may have fewer layers, heads, rows and hidden dimensions than its teacher.
        teacher: A classifier.
        losses: What is asked for.

    Raises:
        UnsupportedError: The student has no layer, or no attention heads, for what is asked for; or the table
            has no such architecture.
    """
    pairs: tuple[Pair, ...] = ()
    students: dict[int, State] = {}
    teachers: dict[int, State] = {}
    if losses.hidden:
        pairs, candidates = _hidden_pairs(len(encoder_layers(student)), len(encoder_layers(teacher)), losses)
        students = {layer: hidden_state(student, layer) for layer in candidates}
        teachers = {layer: hidden_state(teacher, layer) for layer in sorted({pair[1] for pair in pairs})}
    relations: tuple[Relation, ...] = ()
    if losses.relations:
        most = max(heads_per_layer(teacher))
        relations = tuple(_relation(student, teacher, kind, most) for kind in _VECTORS[losses.relations_of])
    return Curriculum(losses, pairs, students, teachers, relations)


def _hidden_pairs(students: int, teachers: int, losses: Losses) -> tuple[tuple[Pair, ...], list[int]]:
    """The first map, and the student's layers that it or a later one may hold."""
    if not students:
        raise UnsupportedError(
            "the student has no layers, so there are no hidden states to learn",
            hint="set losses.hidden: null",
        )
    if losses.layers == "closest":
        taught = taught_layers(students, teachers)
        return tuple(enumerate(taught)), list(range(students))
    pairs = (uniform if losses.layers == "uniform" else last)(students, teachers)
    return pairs, [layer for layer, _ in pairs]


def _relation(student: Any, teacher: Any, kind: Vectors, most: int) -> Relation:
    ours, theirs = vectors_of(student, kind), vectors_of(teacher, kind)
    if not ours or not theirs:
        raise UnsupportedError(
            "the student or its teacher has no attention heads, so there are no relations to learn",
            hint="set losses.relations: null",
        )
    mine, its = ours[max(ours)], theirs[max(theirs)]
    return Relation(mine, its, relation_heads(mine.width, its.width, most))
