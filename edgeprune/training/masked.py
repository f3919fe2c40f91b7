"""Training under masks: parameter groups, the loss with its penalty and teacher, and a trace of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.distillation.losses import confidence_weighted, mixed
from edgeprune.durable import write_text
from edgeprune.training.adapting import Adaptation

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from edgeprune.masking.attached import Masking
    from edgeprune.training.self_teaching import SelfTeacher
    from edgeprune.training.teaching import Teacher

__all__ = ["MaskedTraining", "Rates", "Trace"]

_TRACE = "trace.json"
_POINTS = 100
_CLOSEST = 4  # steps; to count what the masks keep is not free


@dataclass(frozen=True)
class Rates:
    """Peak learning rates by what is trained.

    Attributes:
        scores: Of scores, and of PST's factors.
        head: Of the task head.
        weights: Of the encoder's own parameters.
        decay: Decoupled weight decay on matrices of the encoder and head; scores have none.
    """

    scores: float
    head: float
    weights: float
    decay: float


@dataclass(frozen=True)
class Trace:
    """About a hundred points of the run.

    Attributes:
        step: Optimizer steps done.
        density: Share of the units that the masks kept in the forward pass.
        regularizer: λ·R as it entered the loss; 0 for methods without one.
    """

    step: list[int]
    density: list[float]
    regularizer: list[float]


class MaskedTraining(Adaptation):
    """Adapts `fit` to a masked model.

    Args:
        masking: Masks on the model that is trained.
        rates: Learning rates.
        temperature: Of distillation.
        weight: Share of the teacher's part of the loss.
        teacher: Whose logits are learned beside the labels; None: the labels alone.
        self_teacher: The best checkpoint so far as the teacher (PINS); None for all other methods.
    """

    def __init__(
        self,
        masking: Masking,
        rates: Rates,
        *,
        temperature: float,
        weight: float,
        teacher: Teacher | None = None,
        self_teacher: SelfTeacher | None = None,
    ) -> None:
        self._masking = masking
        self._rates = rates
        self._temperature, self._weight = temperature, weight
        self._teacher = teacher
        self._self_teacher = self_teacher
        self._points: list[tuple[int, float, float]] = []
        self._penalty, self._kept = 0.0, 1.0
        self._due = False

    @property
    def trace(self) -> Trace:
        """What was noted so far."""
        steps, densities, penalties = zip(*self._points, strict=True) if self._points else ((), (), ())
        return Trace(list(steps), list(densities), list(penalties))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Scores, head, encoder; biases and LayerNorm without decay."""
        rates = {"scores": self._rates.scores, "head": self._rates.head, "weights": self._rates.weights}
        groups: list[dict[str, Any]] = []
        for role, parameters in self._masking.trained().items():
            for matrices in (True, False):
                chosen = [item for item in parameters if (item.dim() > 1) is matrices]
                if chosen:
                    decay = self._rates.decay if matrices and role != "scores" else 0.0
                    groups.append({"name": role, "params": chosen, "lr": rates[role], "weight_decay": decay})
        return groups

    def begin_step(self, step: int, total: int) -> None:
        """New density, thresholds and penalty; a note for the trace every hundredth of the run."""
        if self._self_teacher:
            self._self_teacher.begin_step(step, total)
        self._masking.begin_step(step, total)
        self._due = step % max(_CLOSEST, total // _POINTS) == 0 or step == total - 1
        if self._due:
            self._kept = self._masking.kept()

    def bring(
        self, indices: Sequence[int], texts: Mapping[str, npt.NDArray[np.int64]]
    ) -> dict[str, torch.Tensor]:
        """What the teacher needs, or says."""
        return self._teacher.bring(indices, texts) if self._teacher else {}

    def loss(self, logits: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
        """Task loss, or its mixture with the teacher's, plus λ·R."""
        import torch

        with torch.autocast(logits.device.type, enabled=False):
            loss = self._task_loss(logits.float(), batch)
            penalty = self._masking.penalty()
            if penalty is None:
                return loss
            if self._due:
                self._penalty = float(penalty.detach())
            return loss + penalty

    def _task_loss(self, logits: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
        import torch

        labels = batch["labels"]
        if self._self_teacher:
            best = self._self_teacher.logits(batch)
            return confidence_weighted(logits, labels, best, temperature=self._temperature)
        if not self._teacher:
            loss: torch.Tensor = torch.nn.functional.cross_entropy(logits, labels)
            return loss
        taught = self._teacher.answers(batch).logits
        return mixed(logits, labels, taught, temperature=self._temperature, weight=self._weight)

    def gradients_ready(self, step: int, groups: Sequence[Mapping[str, Any]]) -> None:
        """PINS looks at gradients at this step's rate."""
        rates = [group["lr"] for group in groups if group.get("name") == "weights"]
        self._masking.gradients_ready(step, float(rates[0]) if rates else 0.0)

    def weights_updated(self, step: int, total: int) -> None:
        """PINS zeroes what it prunes; the trace takes its note."""
        self._masking.weights_updated(step, total)
        if self._due:
            self._points.append((step + 1, self._kept, self._penalty))

    def save(self, checkpoint: Path) -> None:
        """The trace, and PINS's teacher."""
        write_text(checkpoint / _TRACE, json.dumps(self._points))
        if self._self_teacher:
            self._self_teacher.save(checkpoint)

    def load(self, checkpoint: Path) -> None:
        """Go on from them."""
        found = json.loads((checkpoint / _TRACE).read_text(encoding="utf-8"))
        self._points = [(int(step), float(density), float(penalty)) for step, density, penalty in found]
        if self._self_teacher:
            self._self_teacher.load(checkpoint)
