"""PINS's self-regularization: the best checkpoint so far teaches what comes after it.

It begins as the original. Every tenth of the run the model is scored on a part of the training examples
that it is not trained on; when it is better than any before, it becomes the teacher.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.durable import write_text

if TYPE_CHECKING:
    import torch

__all__ = ["SelfTeacher"]

_WEIGHTS, _SCORE = "self_teacher.safetensors", "self_teacher.json"
_TIMES = 10


class SelfTeacher:
    """Holds the teacher.

    Args:
        student: The model that is trained, masked or not; its `state_dict` is what is kept of it.
        original: The fine-tuned dense model: the teacher until a checkpoint has been scored.
        quality: Scores the student, higher is better.
    """

    def __init__(self, student: Any, original: Any, quality: Callable[[Any], float]) -> None:
        self._student = student
        self._quality = quality
        self._teacher = original.eval().requires_grad_(False)
        self._own = False
        self._best = float("-inf")

    def begin_step(self, step: int, total: int) -> None:
        """Every tenth of the run: score the student, and let it teach if it is the best so far."""
        if step == 0 or step % max(1, total // _TIMES):
            return
        self._student.eval()
        score = self._quality(self._student)
        self._student.train()
        if score > self._best:
            self._best = score
            self._take(self._student.state_dict())

    def _take(self, state: Mapping[str, torch.Tensor]) -> None:
        if not self._own:
            self._teacher = copy.deepcopy(self._student).eval().requires_grad_(False)
            self._own = True
        self._teacher.load_state_dict(state)

    def logits(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """The teacher's logits on a batch, [batch, classes], float32."""
        import torch

        inputs = {name: item for name, item in batch.items() if name not in ("labels", "teacher")}
        with torch.no_grad():
            self._teacher.to(inputs["input_ids"].device)  # the Trainer may have moved the student
            logits: torch.Tensor = self._teacher(**inputs).logits.float()
        return logits

    def save(self, checkpoint: Path) -> None:
        """Write the teacher, if it is a checkpoint of the student, and its score."""
        from safetensors.torch import save_file

        if self._own:
            state = {name: item.contiguous() for name, item in self._teacher.state_dict().items()}
            save_file(state, checkpoint / _WEIGHTS)
        write_text(checkpoint / _SCORE, json.dumps({"best": self._best if self._own else None}))

    def load(self, checkpoint: Path) -> None:
        """Go on from what `save` wrote."""
        from safetensors.torch import load_file

        best = json.loads((checkpoint / _SCORE).read_text(encoding="utf-8"))["best"]
        if best is not None:
            self._best = float(best)
            self._take(load_file(checkpoint / _WEIGHTS))
