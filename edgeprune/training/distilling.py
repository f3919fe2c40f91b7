"""Training under a teacher: parameter groups, the loss and its parts, the layer map, zeros that stay zero."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.distillation.hidden import hidden_loss, projection
from edgeprune.distillation.layer_maps import Pair, closest
from edgeprune.distillation.losses import logit_distillation
from edgeprune.distillation.relations import relation_loss
from edgeprune.durable import write_text
from edgeprune.training.adapting import Adaptation
from edgeprune.training.watching import Watch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from edgeprune.training.curriculum import Curriculum
    from edgeprune.training.teaching import Answers, Teacher

__all__ = ["Course", "Distilling"]

_FILE = "distilling.json"
_POINTS = 100
_MATCHES = 50
# Where the projection sits in the student while it is trained, so that checkpoints hold it.
_ATTRIBUTE = "edgeprune_projection"


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes:
        step: Optimizer steps done, about a hundred points.
        parts: Part of the loss (`logits`, `labels`, `hidden`, `relations`) to its mean since the point
            before, without its weight.
        maps: (step from which on it was used, pairs of layers) whenever the layer map changed; empty where
            no hidden states are compared.
    """

    step: list[int]
    parts: dict[str, list[float]]
    maps: list[tuple[int, list[Pair]]]


class Distilling(Adaptation):
    """Adapts `fit` to a student and its teacher.

    The student is watched, and has a projection on it where its hidden width is not its teacher's, until
    `detach`.

    Args:
        student: The classifier that is trained.
        curriculum: What is compared.
        teacher: Answers every batch; None where only labels teach.
        rate: Peak learning rate of everything.
        decay: Decoupled weight decay, on the student's matrices only.
        kept: Which of the teacher's hidden dimensions the student's are, where it was cut from it.
        pruned: Parameter name to a mask of the same shape, true where its weight is to be 0 and stay so.
        seed: Of the projection.
    """

    def __init__(
        self,
        student: Any,
        curriculum: Curriculum,
        teacher: Teacher | None,
        *,
        rate: float,
        decay: float,
        kept: Sequence[int] | None = None,
        pruned: Mapping[str, torch.Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        self._student, self._curriculum, self._teacher = student, curriculum, teacher
        self._rate, self._decay = rate, decay
        self._own = [(name, item) for name, item in student.named_parameters() if item.requires_grad]
        self._watch = Watch(student, curriculum.student_states)
        self._project = _attach_projection(student, curriculum, kept, seed)
        self._handles = _hold_at_zero(dict(student.named_parameters()), pruned or {})
        self._pairs = curriculum.pairs
        self._maps: list[tuple[int, list[Pair]]] = []
        self._points: list[tuple[int, dict[str, float]]] = []
        self._sums: dict[str, float] = {}
        self._summed = 0
        self._step = 0
        self._rematch = self._due = False

    @property
    def course(self) -> Course:
        """How it went so far."""
        names = self._points[0][1] if self._points else {}
        parts = {name: [point[name] for _, point in self._points] for name in names}
        return Course([step for step, _ in self._points], parts, list(self._maps))

    @property
    def trained(self) -> int:
        """Parameters of the student that are trained; the projection is none of them."""
        return sum(item.numel() for _, item in self._own)

    def detach(self) -> None:
        """Leave the student as it is saved: without hooks and projection."""
        self._watch.remove()
        for handle in self._handles:
            handle.remove()
        if self._project is not None:
            delattr(self._student, _ATTRIBUTE)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices, the rest without decay, and the projection without decay: it begins at no length of 0."""
        matrices = [item for _, item in self._own if item.dim() > 1]
        rest = [item for _, item in self._own if item.dim() <= 1]
        learned = [] if self._project is None else list(self._project.parameters())
        groups = (("weights", matrices, self._decay), ("rest", rest, 0.0), ("projection", learned, 0.0))
        return [
            {"name": name, "params": items, "lr": self._rate, "weight_decay": decay}
            for name, items, decay in groups
            if items
        ]

    def bring(
        self, indices: Sequence[int], texts: Mapping[str, npt.NDArray[np.int64]]
    ) -> dict[str, torch.Tensor]:
        """What the teacher needs, or what it said."""
        return self._teacher.bring(indices, texts) if self._teacher else {}

    def begin_step(self, step: int, total: int) -> None:
        """A note every hundredth of the run; with `closest`, layers are matched anew every fiftieth."""
        self._step = step
        self._due = (step + 1) % max(1, total // _POINTS) == 0 or step == total - 1
        wanted = self._curriculum.losses.hidden and self._curriculum.losses.layers == "closest"
        self._rematch = bool(wanted) and step % max(1, total // _MATCHES) == 0

    def loss(self, logits: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
        """The weighted sum of all parts."""
        import torch

        answers = self._teacher.answers(batch) if self._teacher else None
        states = self._watch.take()
        losses = self._curriculum.losses
        with torch.autocast(logits.device.type, enabled=False):
            parts: dict[str, torch.Tensor] = {}
            if losses.labels:
                parts["labels"] = torch.nn.functional.cross_entropy(logits.float(), batch["labels"])
            if answers and losses.logits:
                parts["logits"] = logit_distillation(logits, answers.logits, losses.temperature)
            if answers and self._pairs:
                parts["hidden"] = self._hidden(states, answers, batch["attention_mask"])
            if answers and self._curriculum.relations:
                parts["relations"] = self._relations(states, answers, batch["attention_mask"])
            total = torch.stack([getattr(losses, name) * part for name, part in parts.items()]).sum()
        for name, part in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(part.detach())
        self._summed += 1
        return total

    def _hidden(
        self, states: Mapping[str, torch.Tensor], answers: Answers, mask: torch.Tensor
    ) -> torch.Tensor:
        """Mean over the pairs of layers."""
        import torch

        ours = {layer: states[state.name] for layer, state in self._curriculum.student_hidden.items()}
        theirs = {layer: answers.states[item.name] for layer, item in self._curriculum.teacher_hidden.items()}
        if self._rematch:
            with torch.no_grad():
                self._pairs = self._closest(ours, theirs, mask)
        if not self._maps or self._maps[-1][1] != list(self._pairs):
            self._maps.append((self._step, list(self._pairs)))
        return torch.stack([self._missed(ours[i], theirs[j], mask) for i, j in self._pairs]).mean()

    def _closest(
        self, ours: Mapping[int, torch.Tensor], theirs: Mapping[int, torch.Tensor], mask: torch.Tensor
    ) -> tuple[Pair, ...]:
        rows = [[float(self._missed(mine, its, mask)) for its in theirs.values()] for mine in ours.values()]
        return closest(rows, list(theirs))

    def _missed(self, ours: torch.Tensor, theirs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        projected = ours.float() if self._project is None else self._project(ours.float())
        return hidden_loss(projected, theirs, mask)

    def _relations(
        self, states: Mapping[str, torch.Tensor], answers: Answers, mask: torch.Tensor
    ) -> torch.Tensor:
        """Mean over the kinds of vectors."""
        import torch

        found = [
            relation_loss(states[item.student.name], answers.states[item.teacher.name], mask, item.heads)
            for item in self._curriculum.relations
        ]
        return torch.stack(found).mean()

    def weights_updated(self, step: int, total: int) -> None:
        """The trace takes its note."""
        if self._due and self._summed:
            self._points.append((step + 1, {name: item / self._summed for name, item in self._sums.items()}))
            self._sums, self._summed = {}, 0

    def save(self, checkpoint: Path) -> None:
        """The layer map, and the trace with its open sums."""
        values = {
            "pairs": self._pairs,
            "maps": self._maps,
            "points": self._points,
            "sums": self._sums,
            "summed": self._summed,
        }
        write_text(checkpoint / _FILE, json.dumps(values))

    def load(self, checkpoint: Path) -> None:
        """Go on from them."""
        found = json.loads((checkpoint / _FILE).read_text(encoding="utf-8"))
        self._pairs = tuple((int(mine), int(its)) for mine, its in found["pairs"])
        self._maps = [(int(step), [(int(i), int(j)) for i, j in pairs]) for step, pairs in found["maps"]]
        self._points = [(int(step), dict(point)) for step, point in found["points"]]
        self._sums, self._summed = dict(found["sums"]), int(found["summed"])


def _attach_projection(student: Any, curriculum: Curriculum, kept: Sequence[int] | None, seed: int) -> Any:
    """A projection on the student, in its own device and precision, where widths differ; else None.

    One serves all layers, as in CoFi, so that a change of the layer map changes nothing else.
    """
    if not curriculum.pairs:
        return None
    ours = next(iter(curriculum.student_hidden.values())).width
    theirs = next(iter(curriculum.teacher_hidden.values())).width
    if ours == theirs:
        return None
    layer = projection(ours, theirs, kept=kept, seed=seed).to(next(student.parameters()))
    setattr(student, _ATTRIBUTE, layer)
    return layer


def _hold_at_zero(parameters: Mapping[str, torch.Tensor], pruned: Mapping[str, torch.Tensor]) -> list[Any]:
    """Set pruned weights to 0 and let no gradient reach them; AdamW then leaves them there, to the bit.

    A weight of 0 decays to 0, and moments that began at 0 and saw no gradient move nothing. Zeroing after
    each step would do as well, but for the gradients of what is gone, which would be clipped along.
    """
    import torch

    with torch.no_grad():
        for name, mask in pruned.items():
            parameters[name].masked_fill_(mask, 0.0)
    return [parameters[name].register_hook(partial(_without, mask)) for name, mask in pruned.items()]


def _without(pruned: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    return gradient.masked_fill(pruned.to(gradient.device), 0.0)
